"""What the user decides: a field's value, a pause, a try, and the removal of all of it."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from history.changes import TAKEN, TRY
from history.records import POSTER, Agreement, Status
from tests.harness.clock import HOUR
from tests.harness.in_process import WorkerHarness
from tests.simulators.httpd import Reset
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene
from tests.worker.support import PNG, row_of, synced
from worker.paused import PAUSED, REMOVED, YOU, paused
from worker.put_cover import NO_PICTURE, NOT_SYNCED, file_of


@pytest.fixture
def harness(harness: WorkerHarness) -> WorkerHarness:
    harness.new_worker(compares=True)
    return harness


def take(harness: WorkerHarness, scene: Scene, field: str) -> dict[str, Any]:
    result = harness.command("take", scene_id=scene.id, field=field)
    harness.run_for(30)
    return result


# --- one field


def test_plexs_value_is_kept_from_now_on(harness: WorkerHarness) -> None:
    scene, item = synced(harness)
    harness.plex.person_sets(item.rating_key, "title", "Mine")
    assert harness.command("hold", scene_id=scene.id, field="title")["field"] == "title"
    harness.edit(scene, "Saved again", details="New")
    harness.run_for(HOUR)
    assert (item.title, item.summary) == ("Mine", "New")
    assert row_of(harness, scene).held_fields == ["title"]


def test_stashs_value_is_taken_over_a_persons_and_only_that_field(harness: WorkerHarness) -> None:
    scene, item = synced(harness, details="About")
    harness.plex.person_sets(item.rating_key, "title", "Mine")
    harness.plex.person_sets(item.rating_key, "summary", "Mine")
    harness.edit(scene, "Saved a")
    harness.run_for(30)
    assert row_of(harness, scene).kept_fields == ["title", "summary"]
    result = take(harness, scene, "title")
    assert (item.title, item.summary) == ("Saved a", "Mine")
    assert result["reason"] is None
    assert row_of(harness, scene).kept_fields == ["summary"]
    change = harness.worker.history.changes.of_scene(scene.id)[-1]
    assert (change.cause, change.before, change.after) == (TAKEN, "Mine", "Saved a")


def test_it_ends_a_hold_and_the_field_is_synced_again(harness: WorkerHarness) -> None:
    scene, item = synced(harness)
    harness.command("undo", scene_id=scene.id)
    harness.edit(scene, "Saved again")
    harness.run_for(30)
    assert item.title == "a"
    take(harness, scene, "title")
    assert item.title == "Saved again"
    assert row_of(harness, scene).held_fields == []
    harness.edit(scene, "And again")
    harness.run_for(30)
    assert item.title == "And again"


def test_stashs_list_replaces_plexs_and_collections_are_added_to(harness: WorkerHarness) -> None:
    scene, item = synced(harness, tags=["T"], studio="S")
    harness.plex.person_adds(item.rating_key, "genre", "Mine")
    harness.plex.person_removes(item.rating_key, "genre", "T")
    harness.plex.person_adds(item.rating_key, "collection", "Mine")
    harness.plex.person_removes(item.rating_key, "collection", "S")
    take(harness, scene, "genre")
    assert item.genres == ["T"]
    take(harness, scene, "collection")
    assert set(item.collections) == {"S", "Mine"}


def test_it_goes_over_preserve_plex_edits(harness: WorkerHarness) -> None:
    scene, item = synced(harness)
    harness.configure(preserve_plex_edits=True)
    harness.plex.person_sets(item.rating_key, "title", "Mine")
    take(harness, scene, "title")
    assert item.title == "Saved a"


def test_a_poster_is_taken_and_kept(harness: WorkerHarness) -> None:
    harness.configure(sync_poster=True)
    scene, item = synced(harness, cover=PNG)
    ours = item.poster
    harness.plex.person_selects_poster(item.rating_key, b"a person's")
    take(harness, scene, POSTER)
    assert item.poster is not None
    assert ours is not None
    assert item.poster.key == ours.key
    harness.plex.person_selects_poster(item.rating_key, b"a person's")
    mine = item.poster
    harness.command("hold", scene_id=scene.id, field=POSTER)
    harness.edit(scene, cover=PNG + b"2")
    harness.run_for(30)
    assert item.poster is mine


def test_what_plex_refused_is_no_trouble_once_it_is_held(harness: WorkerHarness) -> None:
    scene, _ = harness.pair("a")
    harness.plex.settings.ignored.names = {"title"}
    harness.edit(scene, "Saved")
    harness.run_for(HOUR)
    assert row_of(harness, scene).status is Status.REFUSED
    harness.command("hold", scene_id=scene.id, field="title")
    assert row_of(harness, scene).status is Status.IN_SYNC


def test_a_held_field_outlives_its_scene_and_its_items_rating_key(harness: WorkerHarness) -> None:
    scene, _ = synced(harness)
    harness.command("undo", scene_id=scene.id)
    item = harness.plex.replace_item("/media/a.mp4")
    harness.edit(scene, "Saved again")
    harness.run_for(HOUR)
    assert item.title == "a"
    assert row_of(harness, scene).rating_key == item.rating_key


@pytest.mark.parametrize("name", ["take", "hold"])
def test_a_scene_without_an_item_is_said(harness: WorkerHarness, name: str) -> None:
    scene = harness.add_scene("a")
    assert "not synced" in harness.command(name, scene_id=scene.id, field="title")["error"]


# --- a pause


def test_while_it_is_paused_edits_wait_and_nothing_is_written(harness: WorkerHarness) -> None:
    scene, item = synced(harness)
    assert harness.command("pause", on=True)["paused"]
    harness.edit(scene, "While paused")
    harness.run_for(3 * HOUR)
    harness.restart().run_again()  # it leaves after a while without work
    assert item.title == "Saved a"
    assert harness.waiting() == 1
    state = paused(harness.worker.history)
    assert state is not None
    assert state["why"] == YOU
    assert not harness.command("pause", on=False)["paused"]
    harness.run_for(30)
    assert item.title == "While paused"


def test_a_sync_and_a_re_sync_say_that_it_is_paused(harness: WorkerHarness) -> None:
    scene, item = synced(harness)
    harness.stash.change_silently(scene.id, title="Other")
    harness.command("pause", on=True)
    for name, arguments in (("sync", {}), ("resync", {"scene_id": scene.id}), ("drain", {})):
        assert harness.command(name, **arguments)["reason"] == PAUSED
    assert item.title == "Saved a"
    harness.command("pause", on=False)
    harness.run_for(30)
    assert item.title == "Other"


def test_what_was_written_can_be_taken_back_while_it_is_paused(harness: WorkerHarness) -> None:
    scene, item = synced(harness)
    harness.command("pause", on=True)
    harness.edit(scene, "While paused")
    assert harness.command("undo", scene_id=scene.id)["scenes"] == 1
    assert item.title == "a"


# --- the removal


def test_all_is_taken_back_and_nothing_is_synced_until_the_user_says_so(
    harness: WorkerHarness,
) -> None:
    pairs = [synced(harness, name, tags=["T"]) for name in "abc"]
    harness.plex.person_sets(pairs[1][1].rating_key, "title", "Mine")
    result = harness.command("remove")
    assert (result["scenes"], result["left_count"]) == (3, 1)
    harness.edit(pairs[0][0], "Saved again")
    new, its_item = harness.pair("new")
    harness.edit(new, "New")
    harness.run_for(HOUR)
    assert [item.title for _, item in pairs] == ["a", "Mine", "c"]
    assert [item.genres for _, item in pairs] == [[], [], []]
    assert its_item.title == "new"
    state = paused(harness.worker.history)
    assert state is not None
    assert state["why"] == REMOVED
    assert {row_of(harness, scene).status for scene, _ in pairs} == {Status.HELD}
    assert harness.command("remove")["scenes"] == 0

    harness.command("pause", on=False)
    harness.run_for(HOUR)
    assert its_item.title == "New"
    assert pairs[0][1].title == "a", "what was taken back stays so"

    assert harness.command("restore")["scenes"] == 3
    harness.command("sync")
    harness.run_for(30)
    assert [item.title for _, item in pairs] == ["Saved again", "Mine", "Saved c"]
    assert [item.genres for _, item in pairs] == [["T"]] * 3


def test_what_was_written_for_a_scene_that_is_gone_from_stash_is_taken_back_too(
    harness: WorkerHarness,
) -> None:
    (scene, item), (moved, its_item) = synced(harness), synced(harness, "b")
    history = harness.worker.history
    history.retire([row_of(harness, scene).id])
    history.retire([row_of(harness, moved).id])  # another scene has its item by now
    history.save(replace(Agreement(99, Status.IN_SYNC), rating_key=its_item.rating_key,
                         server=harness.plex.machine_identifier))  # fmt: skip
    result = harness.command("remove")
    assert (result["scenes"], item.title, its_item.title) == (1, "a", "Saved b")
    assert history.of_scene(scene.id) == [], "it stays forgotten"


def test_one_library_is_taken_back_alone(harness: WorkerHarness) -> None:
    scene, item = synced(harness)
    result = harness.command("remove", section=harness.library.key + 1)
    assert (result["scenes"], item.title) == (0, "Saved a")
    result = harness.command("remove", section=harness.library.key)
    assert (result["scenes"], item.title) == (1, "a")
    assert paused(harness.worker.history) is None
    assert row_of(harness, scene).status is Status.HELD


# --- a try


def test_a_try_syncs_some_scenes_that_would_change_as_one_run(harness: WorkerHarness) -> None:
    pairs = [harness.pair(f"s{number}", updated_at=1e9) for number in range(6)]
    harness.plex.person_sets(pairs[0][1].rating_key, "title", pairs[0][0].title)
    harness.add_scene("not in Plex", updated_at=1e9)
    harness.run_for(30)
    result = harness.command("try", count=3)
    harness.run_for(30)
    shown = [item.title for _, item in pairs]
    assert shown == [*(scene.title for scene, _ in pairs[:4]), "s4", "s5"]
    found = harness.worker.history.changes.of_run(result["run"])
    assert [(one.scene_id, one.cause) for one in found] == [
        (scene.id, TRY) for scene, _ in pairs[1:4]
    ]
    assert harness.command("undo", run=result["run"])["scenes"] == 3
    assert [item.title for _, item in pairs[1:]] == ["s1", "s2", "s3", "s4", "s5"]
    harness.command("try", count=20)
    harness.run_for(30)
    shown = [item.title for _, item in pairs[1:]]
    assert shown == ["s1", "s2", "s3", *(scene.title for scene, _ in pairs[4:])]


# --- a cover that the browser has scaled down


JPEG = b"\xff\xd8\xff" + bytes(50)


def leave(harness: WorkerHarness, scene: Scene, picture: bytes = JPEG) -> Path:
    """Leave a picture for the worker, as the command does."""
    file = Path(file_of(str(harness.data_dir), scene.id))
    file.parent.mkdir(exist_ok=True)
    file.write_text(base64.b64encode(picture).decode())
    return file


def put(harness: WorkerHarness, scene: Scene, picture: bytes = JPEG) -> dict[str, Any]:
    file = leave(harness, scene, picture)
    result = harness.command("put_cover", scene_id=scene.id)
    harness.run_for(30)
    assert not file.exists()
    return result


def refused_cover(harness: WorkerHarness) -> tuple[Scene, PlexItem]:
    harness.configure(sync_poster=True)
    harness.plex.settings.max_poster = 100
    scene, item = synced(harness, cover=PNG + bytes(100))
    assert row_of(harness, scene).refused_fields == [POSTER]
    return scene, item


def test_a_cover_that_was_scaled_down_stands_in_for_the_one_that_plex_refused(
    harness: WorkerHarness,
) -> None:
    scene, item = refused_cover(harness)
    assert put(harness, scene)["scenes"] == 1
    assert item.poster is not None
    assert item.poster.data == JPEG
    assert row_of(harness, scene).status is Status.IN_SYNC
    uploads = len(harness.plex.uploads)
    harness.edit(scene, "Saved again")
    harness.run_for(HOUR)
    assert len(harness.plex.uploads) == uploads, "Stash's own is not tried again"
    harness.edit(scene, cover=PNG)
    harness.run_for(30)
    harness.plex.settings.max_poster = None
    harness.edit(scene, cover=PNG + b"3")
    harness.run_for(30)
    assert item.poster.data == PNG + b"3", "another cover in Stash goes to Plex"


def met_in_bulk(harness: WorkerHarness) -> tuple[Scene, PlexItem]:
    """Return a scene whose cover was left out, as a person had chosen the poster in Plex."""
    harness.configure(sync_poster=True)
    scene, item = harness.pair("a", cover=PNG, updated_at=1e9)
    harness.plex.person_selects_poster(item.rating_key, b"a person's")
    harness.command("sync")
    harness.run_for(HOUR)
    assert row_of(harness, scene).status is Status.IN_SYNC
    return scene, item


def test_a_cover_of_the_users_own_stays_until_stashs_changes(harness: WorkerHarness) -> None:
    scene, item = met_in_bulk(harness)
    put(harness, scene)
    assert item.poster is not None
    harness.clock.advance(HOUR)
    harness.edit(scene, "Another title")
    harness.run_for(HOUR)
    assert (item.title, item.poster.data) == ("Another title", JPEG)
    harness.edit(scene, cover=PNG + b"2")
    harness.run_for(30)
    assert item.poster.data == PNG + b"2"


def test_it_waits_for_stash(harness: WorkerHarness) -> None:
    """Without Stash's cover, a later one could not be told from the one of now."""
    scene, item = met_in_bulk(harness)
    rule = harness.stash.faults.add(Reset())
    leave(harness, scene)
    assert "Stash" in harness.command("put_cover", scene_id=scene.id)["reason"]
    assert item.poster is not None
    assert item.poster.data == b"a person's"
    rule.remove()
    harness.run_for(HOUR)
    assert item.poster.data == JPEG


def test_it_can_be_taken_back(harness: WorkerHarness) -> None:
    harness.plex.settings.own_poster = True
    scene, item = refused_cover(harness)
    put(harness, scene)
    result = harness.command("undo", scene_id=scene.id, field=POSTER)
    assert result["fields"] == {POSTER: 1}
    assert item.poster is None
    assert POSTER not in item.locked


def test_one_that_plex_refuses_too_is_said(harness: WorkerHarness) -> None:
    scene, item = refused_cover(harness)
    before = item.poster
    (left,) = put(harness, scene, JPEG + bytes(100))["left"]
    assert left[:2] == [scene.id, POSTER]
    assert item.poster is before
    assert row_of(harness, scene).status is Status.REFUSED


def test_an_outage_keeps_it(harness: WorkerHarness) -> None:
    scene, item = refused_cover(harness)
    rule = harness.plex.faults.add(Reset())
    leave(harness, scene)
    assert harness.command("put_cover", scene_id=scene.id)["reason"]
    rule.remove()
    harness.run_for(HOUR)
    assert item.poster is not None
    assert item.poster.data == JPEG


def test_no_picture_or_no_item_is_said(harness: WorkerHarness) -> None:
    scene = harness.add_scene("a")
    assert harness.command("put_cover", scene_id=scene.id)["left"] == [
        [scene.id, POSTER, NO_PICTURE]
    ]
    assert put(harness, scene)["left"] == [[scene.id, POSTER, NOT_SYNCED]]
