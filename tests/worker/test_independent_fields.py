"""What Plex refuses is reported by field, and stops nothing else; long lists; posters."""

from __future__ import annotations

import pytest

from history.records import POSTER, Status
from tests.harness.clock import HOUR
from tests.harness.in_process import WorkerHarness
from tests.simulators.httpd import Answer, Delay, Request, Reset, ResetAfter
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene

SOON, LATER = 30.0, 90.0
PNG = b"\x89PNG\r\n\x1a\n"
LARGE = PNG + bytes(20_000)


def save(harness: WorkerHarness, scene: Scene, **fields: object) -> None:
    harness.edit(scene, **fields)  # type: ignore[arg-type]
    harness.run_for(SOON)


def status(harness: WorkerHarness, scene: Scene) -> Status:
    (row,) = harness.worker.history.of_scene(scene.id)
    return row.status


def cover(harness: WorkerHarness, scene: Scene, picture: bytes) -> None:
    harness.stash.set_cover(scene.id, picture)
    harness.clock.advance(LATER)


# --- posters


@pytest.mark.parametrize("limit", ["size", "kind"])
def test_a_refused_poster_stops_no_later_save(harness: WorkerHarness, limit: str) -> None:
    harness.configure(sync_poster=True)
    if limit == "size":
        harness.plex.settings.max_poster = 10_000
    else:
        harness.plex.settings.poster_kinds = frozenset({"jpeg"})
    scene, item = harness.pair()
    cover(harness, scene, LARGE)
    save(harness, scene, title="First")
    assert (item.title, harness.plex.uploads, harness.letters()) == ("First", [], [])
    assert status(harness, scene) is Status.REFUSED
    (said,) = [text for _, text in harness.notices() if "does not take" in text]
    assert "poster" in said and ("413" if limit == "size" else "415") in said, said
    posts = harness.plex.log.count("POST")
    save(harness, scene, title="Second")
    assert item.title == "Second"
    assert harness.plex.log.count("POST") == posts, "the same picture is not tried again"
    assert not [text for _, text in harness.notices() if "does not take" in text], "said once"
    assert status(harness, scene) is Status.REFUSED

    cover(harness, scene, PNG if limit == "size" else b"\xff\xd8\xff jpeg")
    save(harness, scene, title="Third")
    assert len(harness.plex.uploads) == 1
    assert status(harness, scene) is Status.IN_SYNC


def test_a_refused_poster_is_tried_again_when_the_user_asks(harness: WorkerHarness) -> None:
    harness.configure(sync_poster=True)
    harness.plex.settings.max_poster = 10_000
    scene, _ = harness.pair()
    cover(harness, scene, LARGE)
    save(harness, scene, title="First")
    harness.plex.settings.max_poster = None
    harness.command("retry")
    harness.run_for(SOON)
    assert [upload.data for upload in harness.plex.uploads] == [LARGE]
    assert status(harness, scene) is Status.IN_SYNC


@pytest.mark.parametrize("way", ["retry", "other settings", "sync --force"])
def test_a_refused_poster_is_tried_again_after_one_that_plex_took(
    harness: WorkerHarness, way: str
) -> None:
    harness.configure(sync_poster=True)
    harness.new_worker(compares=True)
    scene, _ = harness.pair()
    cover(harness, scene, PNG)
    save(harness, scene, title="First")
    harness.plex.settings.max_poster = 10_000
    cover(harness, scene, LARGE)
    save(harness, scene, title="Second")
    assert status(harness, scene) is Status.REFUSED
    harness.plex.settings.max_poster = None
    if way == "retry":
        harness.command("retry")
    elif way == "sync --force":
        harness.command("sync", force=True)
    else:
        harness.configure(sync_poster=True, lock_fields=False)
        harness.command("sync")
    harness.run_for(HOUR)
    assert [upload.data for upload in harness.plex.uploads] == [PNG, LARGE]
    assert status(harness, scene) is Status.IN_SYNC


def test_with_preserve_a_poster_that_a_person_chose_after_ours_stays(
    harness: WorkerHarness,
) -> None:
    harness.configure(sync_poster=True)
    scene, item = harness.pair()
    cover(harness, scene, PNG + b"1")
    save(harness, scene, title="First")
    harness.configure(sync_poster=True, preserve_plex_edits=True)
    cover(harness, scene, PNG + b"2")
    save(harness, scene, title="Second")
    assert len(harness.plex.uploads) == 2, "ours is kept up to date"
    harness.plex.person_selects_poster(item.rating_key, PNG + b"mine")
    cover(harness, scene, PNG + b"3")
    save(harness, scene, title="Third")
    assert len(harness.plex.uploads) == 2
    assert item.poster is not None and item.poster.data == PNG + b"mine"
    (row,) = harness.worker.history.of_scene(scene.id)
    assert row.kept_fields == [POSTER]
    harness.command("resync", scene_id=scene.id)
    harness.run_for(SOON)
    assert len(harness.plex.uploads) == 3, "the user asks for it"


def test_the_same_cover_does_not_go_up_twice(harness: WorkerHarness) -> None:
    """Not even where it has to be read again, as Plex's lock on the poster is gone."""
    harness.configure(sync_poster=True, repair_drift=False)
    scene, item = harness.pair()
    cover(harness, scene, PNG + b"1")
    save(harness, scene, title="First")
    item.locked.discard(POSTER)
    save(harness, scene, title="Second")
    assert (item.title, len(harness.plex.uploads)) == ("Second", 1)
    item.poster = None  # a refresh
    save(harness, scene)
    assert len(harness.plex.uploads) == 2, "a save brings it back"
    cover(harness, scene, PNG + b"2")
    save(harness, scene, title="Third")
    assert len(harness.plex.uploads) == 3


def test_a_resync_without_posters_sends_none_once_they_are_synced_again(
    harness: WorkerHarness,
) -> None:
    harness.configure(sync_poster=True)
    scene, item = harness.pair(cover=PNG)
    save(harness, scene, title="New")
    harness.plex.person_selects_poster(item.rating_key, PNG + b"mine")
    harness.configure(sync_poster=False)
    harness.run_for(700)
    harness.command("resync", scene_id=scene.id)
    harness.run_for(SOON)
    harness.configure(sync_poster=True)
    harness.command("sync")
    harness.run_for(700)
    assert item.poster is not None and item.poster.data == PNG + b"mine"


def test_a_cover_that_was_saved_under_preserve_is_no_edit_for_ever(harness: WorkerHarness) -> None:
    """Neither now nor once the setting is off does it go over a person's poster."""
    harness.configure(sync_poster=True, poll_interval=30)
    harness.new_worker(compares=True)
    harness.run_for(60)
    scene, item = harness.pair()
    save(harness, scene, title="New")
    harness.configure(sync_poster=True, preserve_plex_edits=True, poll_interval=30)
    harness.plex.person_selects_poster(item.rating_key, PNG + b"mine")
    cover(harness, scene, PNG)
    save(harness, scene, title="Newer")
    assert item.title == "Newer"
    harness.clock.advance(86_400)
    harness.restart()
    harness.run_for(3_600)
    harness.configure(sync_poster=True, poll_interval=30)
    for _ in range(3):
        harness.clock.advance(86_400)
        harness.restart()
        harness.run_for(3_600)
    assert item.poster is not None and item.poster.data == PNG + b"mine"


def test_a_poster_whose_upload_breaks_off_each_time_is_refused(harness: WorkerHarness) -> None:
    harness.configure(sync_poster=True)
    fault = harness.plex.faults.add(Reset(), method="POST")
    scene, item = harness.pair()
    cover(harness, scene, PNG)
    save(harness, scene, title="New")
    harness.run_for(600)
    assert item.title == "New"
    assert harness.letters() == []
    assert status(harness, scene) is Status.REFUSED
    fault.remove()
    harness.command("retry")
    harness.run_for(SOON)
    assert len(harness.plex.uploads) == 1
    assert status(harness, scene) is Status.IN_SYNC


def lose_answers(harness: WorkerHarness) -> None:
    """Let the next upload arrive, and all answers to it get lost."""
    harness.plex.faults.add(ResetAfter(), method="POST", times=3)


@pytest.mark.parametrize("ends", ["remove", "another cover"])
def test_a_poster_whose_answer_got_lost_is_ours(harness: WorkerHarness, ends: str) -> None:
    harness.plex.settings.own_poster = True
    harness.configure(sync_poster=True)
    harness.new_worker(compares=True)
    scene, item = harness.pair()
    cover(harness, scene, PNG)
    lose_answers(harness)
    harness.command("sync")
    harness.run_for(HOUR)
    assert item.poster is not None and item.poster.data == PNG
    assert status(harness, scene) is Status.IN_SYNC
    if ends == "remove":
        assert harness.command("remove")["left"] == []
        assert item.poster is None
    else:
        harness.configure(sync_poster=True, preserve_plex_edits=True)
        cover(harness, scene, PNG + b"2")
        save(harness, scene, title="Second")
        assert item.poster.data == PNG + b"2"


def test_the_former_cover_goes_up_again_after_one_whose_answer_got_lost(
    harness: WorkerHarness,
) -> None:
    harness.configure(sync_poster=True)
    scene, item = harness.pair()
    cover(harness, scene, PNG)
    save(harness, scene, title="First")
    cover(harness, scene, PNG + b"2")

    def change(request: Request) -> bool:
        if request.method == "POST":
            harness.stash.set_cover(scene.id, PNG)
        return False

    harness.plex.faults.add(Delay(0), when=change)
    lose_answers(harness)
    save(harness, scene, title="Second")
    harness.run_for(HOUR)
    assert item.poster is not None and item.poster.data == PNG
    assert status(harness, scene) is Status.IN_SYNC


def test_a_poster_that_a_person_chooses_while_stash_sends_the_cover_stays(
    harness: WorkerHarness,
) -> None:
    harness.configure(sync_poster=True)
    harness.new_worker(compares=True)
    scene, item = harness.pair()
    cover(harness, scene, PNG)

    def choose(request: Request) -> bool:
        if "/screenshot" in request.path and item.poster is None:
            harness.clock.advance(20)
            harness.plex.person_selects_poster(item.rating_key, PNG + b"mine")
        return False

    harness.stash.server.faults.add(Delay(0), when=choose)
    harness.command("sync")
    harness.run_for(HOUR)
    assert item.poster is not None and item.poster.data == PNG + b"mine"
    assert status(harness, scene) is Status.IN_SYNC
    harness.command("sync", force=True)
    harness.run_for(HOUR)
    assert item.poster.data == PNG, "the user asks for it"


def test_while_an_answer_is_missing_a_person_chooses_a_poster(harness: WorkerHarness) -> None:
    """The upload never arrived, so that poster is not ours."""
    harness.configure(sync_poster=True)
    harness.new_worker(compares=True)
    scene, item = harness.pair()
    cover(harness, scene, PNG)

    def choose(request: Request) -> bool:
        if request.method == "POST" and item.poster is None:
            harness.plex.person_selects_poster(item.rating_key, PNG + b"mine")
        return request.method == "POST"

    harness.plex.faults.add(Reset(), when=choose)
    harness.command("sync")
    harness.run_for(HOUR)
    assert item.poster is not None and item.poster.data == PNG + b"mine"
    assert status(harness, scene) is Status.IN_SYNC
    (row,) = harness.worker.history.of_scene(scene.id)
    assert (row.cover.sha1, row.fields[POSTER].sent) == ("", None)


def test_a_poster_during_an_outage_is_not_refused(harness: WorkerHarness) -> None:
    harness.configure(sync_poster=True)
    scene, _ = harness.pair()
    cover(harness, scene, PNG)
    faults = harness.plex.faults
    upload = faults.add(Reset(), method="POST")
    save(harness, scene, title="New")
    harness.run_for(20)  # some of the attempts
    outage = faults.add(Reset())
    harness.run_for(600)
    outage.remove()
    upload.remove()
    harness.run_for(600)
    assert status(harness, scene) is Status.IN_SYNC
    assert len(harness.plex.uploads) == 1


# --- texts and lists


def refuse(harness: WorkerHarness, name: str, status: int) -> object:
    """Let Plex refuse each edit of a field."""

    def is_about(request: Request) -> bool:
        return request.method == "PUT" and f"{name}" in request.target

    return harness.plex.faults.add(Answer(status), when=is_about)


def test_of_several_fields_only_the_refused_one_stays_behind(harness: WorkerHarness) -> None:
    refuse(harness, "summary", 400)
    scene, item = harness.pair()
    save(harness, scene, title="New", details="Refused", tags=["A"])
    assert (item.title, item.summary, item.genres) == ("New", "", ["A"])
    assert harness.letters() == []
    assert status(harness, scene) is Status.REFUSED
    (row,) = harness.worker.history.of_scene(scene.id)
    assert row.refused_fields == ["summary"]
    for text in ("summary", "'Refused'", "400"):
        assert text in row.reason
    save(harness, scene, tags=["A", "B"])
    assert item.genres == ["A", "B"]
    assert status(harness, scene) is Status.REFUSED


def test_a_field_with_which_plex_fails_each_time_holds_up_no_other(harness: WorkerHarness) -> None:
    refuse(harness, "summary", 500)  # Plex answers bad data so, and when it fails itself
    scene, item = harness.pair()
    save(harness, scene, title="New", details="Bad", tags=["A"])
    assert item.title == "a", "it may be Plex itself that fails"
    harness.run_for(600)
    assert (item.title, item.summary, item.genres) == ("New", "", ["A"])
    assert harness.letters() == []
    assert status(harness, scene) is Status.REFUSED
    (row,) = harness.worker.history.of_scene(scene.id)
    assert row.refused_fields == ["summary"]
    assert "500" in row.reason


def test_while_plex_fails_with_every_field_none_counts_as_refused(harness: WorkerHarness) -> None:
    fault = harness.plex.faults.add(Answer(500), method="PUT")
    scene, _ = harness.pair()
    save(harness, scene, title="New", tags=["A"])
    harness.run_for(600)
    assert status(harness, scene) is Status.FAILED
    fault.remove()
    (row,) = harness.worker.history.of_scene(scene.id)
    assert row.refused_fields == []


def test_a_refused_field_is_written_when_its_value_changes(harness: WorkerHarness) -> None:
    rule = refuse(harness, "summary", 400)
    scene, item = harness.pair()
    save(harness, scene, title="New", details="Refused")
    rule.remove()  # type: ignore[attr-defined]
    save(harness, scene, details="Taken")
    assert item.summary == "Taken"
    assert status(harness, scene) is Status.IN_SYNC


def names(count: int, alphabet: str) -> list[str]:
    return [f"{alphabet}{number:04}" for number in range(count)]


ENGLISH, CYRILLIC = names(1_200, "Some English tag "), names(300, "Русский тег с именем ")


@pytest.mark.parametrize("tags", [ENGLISH, CYRILLIC], ids=["english", "cyrillic"])
def test_a_list_longer_than_a_request_arrives_where_plex_adds(
    harness: WorkerHarness, tags: list[str]
) -> None:
    harness.plex.settings.indexed_tags = "add"
    scene, item = harness.pair()
    harness.plex.person_adds(item.rating_key, "genre", "Mine")
    save(harness, scene, tags=tags)
    assert sorted(item.genres) == sorted([*tags, "Mine"])
    assert status(harness, scene) is Status.IN_SYNC
    assert_quiet(harness, scene)


@pytest.mark.parametrize("tags", [ENGLISH, CYRILLIC], ids=["english", "cyrillic"])
def test_as_many_as_fit_arrive_where_plex_replaces(harness: WorkerHarness, tags: list[str]) -> None:
    scene, item = harness.pair()
    harness.plex.person_adds(item.rating_key, "genre", "Mine")
    save(harness, scene, tags=tags)
    assert "Mine" in item.genres
    ours = [name for name in item.genres if name != "Mine"]
    assert 100 < len(ours) < len(tags)
    assert ours == sorted(tags)[: len(ours)], "in Stash's order"
    (said,) = [text for _, text in harness.notices() if "genre" in text]
    assert f"all of genre but {len(tags) - len(ours)} names" in said
    assert_quiet(harness, scene)


def test_a_long_list_that_shrinks_arrives_whole(harness: WorkerHarness) -> None:
    scene, item = harness.pair()
    save(harness, scene, tags=CYRILLIC)
    harness.plex.person_adds(item.rating_key, "genre", "Mine")
    save(harness, scene, tags=CYRILLIC[:20])
    assert sorted(item.genres) == sorted([*CYRILLIC[:20], "Mine"])


def test_the_cast_keeps_its_characters_in_a_long_list(harness: WorkerHarness) -> None:
    harness.plex.settings.indexed_tags = "add"
    scene, item = harness.pair()
    item.tags["actor"], item.roles = ["Ann"], {"Ann": "Herself"}
    item.locked.add("actor")
    save(harness, scene, performers=CYRILLIC)
    assert set(item.tags["actor"]) == {"Ann", *CYRILLIC}
    assert item.roles == {"Ann": "Herself"}


def assert_quiet(harness: WorkerHarness, scene: Scene) -> None:
    """Assert that another sync writes nothing."""
    writes = len(harness.plex.writes)
    harness.clock.advance(LATER)
    save(harness, scene, title=scene.title)
    assert len(harness.plex.writes) == writes


# --- the time between read and write


def test_an_item_that_was_read_too_long_ago_is_read_again(harness: WorkerHarness) -> None:
    """A person adds a tag while the items that were read with it are written."""
    harness.new_worker(parallel_writes=1)
    pairs = [harness.pair(f"s{number}", tags=["Ours"]) for number in range(6)]
    last = pairs[-1][1]
    for scene, _ in pairs:
        harness.edit(scene, f"New {scene.id}")

    def slow(item: PlexItem, _names: frozenset[str]) -> None:
        harness.clock.advance(1.0)
        if item is pairs[3][1]:
            harness.plex.person_adds(last.rating_key, "genre", "Mine")

    harness.plex.settings.after_edit = slow
    harness.run_for(SOON)
    assert sorted(last.genres) == ["Mine", "Ours"]


def test_a_tag_that_comes_while_the_collections_are_listed_stays(harness: WorkerHarness) -> None:
    scene, item = harness.pair(tags=["Ours"], groups=["Saga"])
    adds_while_collections_are_read(harness, item)
    save(harness, scene)
    assert sorted(item.genres) == ["Mine", "Ours"]
    assert item.collections == ["Saga"]


def test_a_tag_that_comes_while_a_collection_is_read_stays(harness: WorkerHarness) -> None:
    scene, item = harness.pair(tags=["Ours"], groups=["Saga"])
    save(harness, scene)
    adds_while_collections_are_read(harness, item)
    harness.stash.change_silently(scene.id, groups=[], tags=["Ours", "More"])
    save(harness, scene)
    assert sorted(item.genres) == ["Mine", "More", "Ours"]


def test_a_collection_that_comes_while_others_are_listed_stays(harness: WorkerHarness) -> None:
    scene, item = harness.pair(groups=["Saga"])
    adds_while_collections_are_read(harness, item, kind="collection")
    save(harness, scene)
    assert sorted(item.collections) == ["Mine", "Saga"]


def adds_while_collections_are_read(
    harness: WorkerHarness, item: PlexItem, kind: str = "genre"
) -> None:
    """Let each read of collections take long; during the first one, a person adds a name."""
    read_item = f"/library/metadata/{item.rating_key}"
    added: list[str] = []

    def add(request: Request) -> bool:
        is_about = "/collections" in request.path or "/library/metadata/" in request.path
        if request.method == "GET" and is_about and not request.path.startswith(read_item):
            harness.clock.advance(3.0)
            if not added:
                added.append(kind)
                harness.plex.person_adds(item.rating_key, kind, "Mine")
        return False

    harness.plex.faults.add(Delay(0), when=add)


# --- titles


@pytest.mark.parametrize("saved", [True, False])
def test_without_a_title_in_stash_a_persons_title_stays(
    harness: WorkerHarness, saved: bool
) -> None:
    scene, item = harness.pair(title="")
    harness.plex.person_sets(item.rating_key, "title", "Mine")
    if saved:
        save(harness, scene, details="New")
    else:
        harness.command("sync")
        harness.run_for(SOON)
    assert item.title == "Mine"
    assert status(harness, scene) is Status.IN_SYNC


def test_without_a_title_in_stash_the_file_name_replaces_ours(harness: WorkerHarness) -> None:
    scene, item = harness.pair("file name")
    save(harness, scene, title="Ours")
    assert item.title == "Ours"
    harness.stash.change_silently(scene.id, title="")
    save(harness, scene, details="New")
    assert item.title == "file name"
