"""Round trips: plexapi reads back what was written, also after a refresh in Plex."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from history.records import Agreement, CoverState
from history.store import History
from plex.desired import Switches
from plex.exceptions import PlexNotFound, PlexPermanentError, PlexTemporaryError
from plex.items import read_item
from plex.plan import Intent
from queue.dlq import DeadLetterQueue
from queue.manager import QueueManager
from tests.harness.in_process import make_worker
from tests.harness.plex_only import PlexHarness, metadata_of
from tests.plex.support import TOKEN
from tests.simulators.httpd import Answer, ResetAfter
from tests.simulators.plex import PlexItem, PlexSimulator
from validation.config import validate_config

EVERYTHING: dict[str, Any] = {
    "title": "Ein „Titel“ & mehr <b> 100%",
    "details": "First line\nsecond, with 'quotes' & ümläuts\n\n日本語 👩‍👩‍👧",
    "date": "2024-05-06",
    "studio": "Studio; Söhne",
    "performers": ["Ann, the 1st", 'Bob "B"', "Zoë", "Ann-Marie", "日本 花子", "Six"],
    "tags": ["A, B", "c&d", "é", "100%", "#5", "emoji 🇩🇪"],
    "groups": ["Group, One", "Two"],
    "director": "D'Arcy",
    "rating100": 85,
}
LOCKS = {
    "title",
    "summary",
    "originallyAvailableAt",
    "year",
    "studio",
    "actor",
    "genre",
    "collection",
    "director",
    "userRating",
}
ALL_ON = Switches(rating=True)
AGENT = {
    "title": "Agent",
    "summary": "Agent's",
    "studio": "Agent's",
    "year": 1999,
    "genre": ["Agent"],
    "actor": ["A"],
}


@pytest.fixture(params=["replace", "add"], autouse=True)
def indexed_tags(request: pytest.FixtureRequest, plex: PlexSimulator) -> str:
    """Run with both ways in which Plex may treat an indexed list (unverified)."""
    plex.settings.indexed_tags = request.param
    return str(request.param)


@pytest.fixture
def item(harness: PlexHarness) -> PlexItem:
    return harness.plex.add_item(harness.library, "/media/a/One.mp4", agent_metadata=AGENT)


@pytest.fixture
def other_item(harness: PlexHarness) -> Iterator[PlexItem]:
    """Add an item that no test may change."""
    other = harness.plex.add_item(
        harness.library, "/media/b/One.mp4", title="Mine", genres=["Own"], actors=["Own"]
    )
    before = (dict(other.values), dict(other.tags), set(other.locked))
    yield other
    assert (dict(other.values), dict(other.tags), set(other.locked)) == before
    assert other.rating_key not in {write.rating_key for write in harness.plex.writes}


def puts(harness: PlexHarness) -> int:
    return harness.plex.log.count("PUT")


def assert_all_written(harness: PlexHarness, item: PlexItem, *, locked: bool = True) -> None:
    read = harness.read(item.rating_key)
    assert read.title == 'Ein "Titel" & mehr <b> 100%'
    assert read.summary == EVERYTHING["details"]
    assert (read.date, read.year, read.studio, read.rating) == (
        "2024-05-06",
        "2024",
        "Studio; Söhne",
        "8.5",
    )
    assert sorted(read.actors) == sorted(EVERYTHING["performers"])
    assert sorted(read.genres) == sorted(EVERYTHING["tags"])
    assert sorted(read.collections) == sorted([*EVERYTHING["groups"], "Studio; Söhne"])
    assert read.directors == ("D'Arcy",)
    assert not locked or read.locked >= LOCKS


def test_every_field_and_lock_is_read_back(
    harness: PlexHarness, item: PlexItem, other_item: PlexItem
) -> None:
    harness.sync(item.rating_key, switches=ALL_ON, **EVERYTHING)
    assert_all_written(harness, item)


def test_a_refresh_in_plex_changes_nothing(
    harness: PlexHarness, item: PlexItem, other_item: PlexItem
) -> None:
    harness.sync(item.rating_key, switches=ALL_ON, **EVERYTHING)
    harness.plex.refresh_item(item.rating_key)
    assert_all_written(harness, item)


def test_a_full_sync_is_one_read_and_one_write(harness: PlexHarness, item: PlexItem) -> None:
    assert harness.sections
    harness.plex.log.clear()
    harness.sync(item.rating_key, switches=ALL_ON, **EVERYTHING)
    assert [(one.request.method, one.request.path) for one in harness.plex.log.all()] == [
        ("GET", f"/library/metadata/{item.rating_key}"),
        # are its collections new? Asked once a minute at most
        ("GET", f"/library/sections/{harness.library.key}/collections"),
        ("PUT", f"/library/sections/{harness.library.key}/all"),
    ]
    assert [write.rating_key for write in harness.plex.writes] == [item.rating_key]


def test_the_second_run_writes_nothing(harness: PlexHarness, item: PlexItem) -> None:
    harness.sync(item.rating_key, switches=ALL_ON, cover=b"picture", **EVERYTHING)
    harness.plex.log.clear()
    written = harness.sync(item.rating_key, switches=ALL_ON, cover=b"picture", **EVERYTHING)
    assert written.fields == ()
    assert [one.request.method for one in harness.plex.log.all()] == ["GET"]


def test_a_run_without_history_writes_nothing_either(harness: PlexHarness, item: PlexItem) -> None:
    harness.sync(item.rating_key, switches=ALL_ON, **EVERYTHING)
    harness.forget()
    harness.plex.log.clear()
    harness.sync(item.rating_key, switches=ALL_ON, **EVERYTHING)
    assert puts(harness) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"title": "Other"},
        {"details": "Other"},
        {"date": "2023"},
        {"studio": ""},
        {"performers": ["Zoë"]},
        {"tags": ["é", "New, one"]},
        {"groups": []},
        {"director": "Other"},
        {"rating100": 10},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_change_of_one_field_is_one_put_of_that_field(
    harness: PlexHarness, item: PlexItem, change: dict[str, Any]
) -> None:
    beside(harness)
    harness.sync(item.rating_key, switches=ALL_ON, **EVERYTHING)
    harness.plex.log.clear()
    written = harness.sync(item.rating_key, switches=ALL_ON, **{**EVERYTHING, **change})
    assert puts(harness) == 1
    assert len(written.fields) == (
        2 if change.keys() & {"date", "studio"} else 1
    )  # two fields of Plex
    harness.plex.log.clear()
    harness.sync(item.rating_key, switches=ALL_ON, **{**EVERYTHING, **change})
    assert puts(harness) == 0


def beside(harness: PlexHarness) -> None:
    """Add an item to the collections, so that none ends with the one that is synced."""
    names = [EVERYTHING["studio"], *EVERYTHING["groups"], "G"]
    harness.plex.add_item(harness.library, "/media/beside.mp4", collections=names)


def test_removals_arrive_and_the_users_own_names_stay(harness: PlexHarness, item: PlexItem) -> None:
    beside(harness)
    harness.sync(item.rating_key, performers=["Ann, A", "Bob"], tags=["X, Y", "Z"], groups=["G"])
    harness.item(item.rating_key).addGenre("Own, one").reload().addCollection("My own")
    harness.sync(item.rating_key, performers=["Bob"], tags=["Z", "W"], groups=[])
    read = harness.read(item.rating_key)
    assert read.actors == ("Bob",)
    assert sorted(read.genres) == ["Own, one", "W", "Z"]
    assert read.collections == ("My own",)


def test_without_a_history_the_list_becomes_the_one_in_stash(
    harness: PlexHarness,
) -> None:
    item = harness.plex.add_item(
        harness.library, "/media/a/One.mp4", genres=["Old, one", "Both"], actors=["Old"]
    )
    harness.sync(item.rating_key, tags=["both", "New"], performers=[])
    assert sorted(item.genres) == ["Both", "New"]
    assert item.actors == ["Old"]


def test_without_a_history_a_locked_list_is_added_to(harness: PlexHarness, item: PlexItem) -> None:
    harness.plex.refresh_item(item.rating_key)
    harness.item(item.rating_key).addGenre("Own, one").reload().addCollection("My own")
    beside(harness)
    harness.sync(item.rating_key, tags=["own, one", "New"], groups=["G"])
    assert sorted(item.genres) == ["Agent", "New", "Own, one"]
    assert sorted(item.collections) == ["G", "My own"]
    harness.sync(item.rating_key, tags=[], groups=[])
    assert sorted(item.genres) == ["Agent", "Own, one"]
    assert item.collections == ["My own"]


def test_a_persons_text_at_the_first_meeting_stays_until_the_scene_is_saved(
    harness: PlexHarness, item: PlexItem
) -> None:
    harness.item(item.rating_key).editSummary("Mine")
    written = harness.sync(item.rating_key, title="T", details="Stash's", intent=Intent())
    assert (item.summary, written.kept) == ("Mine", ("summary",))
    harness.sync(item.rating_key, title="Other", details="Stash's", intent=Intent())
    assert (item.title, item.summary) == ("Other", "Mine")
    harness.sync(item.rating_key, title="Saved", details="Stash's")
    assert (item.title, item.summary) == ("Saved", "Stash's")


def test_a_persons_text_stays_until_stash_changes_it(harness: PlexHarness, item: PlexItem) -> None:
    harness.sync(item.rating_key, title="T", details="Stash's")
    harness.sync(item.rating_key, title="T", details="Stash's")
    harness.item(item.rating_key).editSummary("Mine")
    written = harness.sync(item.rating_key, title="Other", details="Stash's")
    assert (item.title, item.summary, written.kept) == ("Other", "Mine", ("summary",))
    harness.sync(item.rating_key, title="Other", details="Later")
    assert item.summary == "Later"


def test_a_text_that_is_locked_at_first_is_replaced_when_its_scene_is_saved(
    harness: PlexHarness, item: PlexItem
) -> None:
    harness.item(item.rating_key).editSummary("Mine")
    harness.sync(item.rating_key, title="T", details="Stash's")
    assert item.summary == "Stash's"


def test_another_spelling_of_a_tag_in_plex_is_not_rewritten_again_and_again(
    harness: PlexHarness, item: PlexItem
) -> None:
    harness.plex.add_item(harness.library, "/media/c.mp4", genres=["Drama"], actors=["ANN"])
    harness.sync(item.rating_key, tags=["drama"], performers=["Ann"])
    assert (item.genres, item.actors) == (["Drama"], ["ANN"])
    harness.plex.log.clear()
    harness.sync(item.rating_key, tags=["drama"], performers=["Ann"])
    assert puts(harness) == 0


def test_only_fields_that_we_wrote_are_emptied(
    harness: PlexHarness,
) -> None:
    item = harness.plex.add_item(harness.library, "/media/a/One.mp4", studio="Theirs")
    harness.sync(
        item.rating_key, title="T", details="Ours", date="2024-05-06", rating100=50, switches=ALL_ON
    )
    harness.sync(item.rating_key, title="", details="", date=None, rating100=None, switches=ALL_ON)
    read = harness.read(item.rating_key)
    assert (read.title, read.summary, read.date, read.year, read.rating) == ("One", "", "", "", "")
    assert read.studio == "Theirs"


def test_drift_is_repaired(harness: PlexHarness, item: PlexItem) -> None:
    unlocked = dataclasses.replace(ALL_ON, lock=False)
    harness.sync(item.rating_key, switches=unlocked, **EVERYTHING)
    harness.plex.refresh_item(item.rating_key)
    assert item.title == "Agent"
    harness.sync(item.rating_key, switches=unlocked, **EVERYTHING)
    read = harness.read(item.rating_key)
    assert read.title == 'Ein "Titel" & mehr <b> 100%'
    assert set(EVERYTHING["tags"]) <= set(read.genres)
    assert not item.locked & {"title", "genre"}


def test_under_preserve_only_our_own_values_are_updated(
    harness: PlexHarness,
) -> None:
    item = harness.plex.add_item(
        harness.library, "/media/a/One.mp4", title="Theirs", genres=["Own"]
    )
    preserve = Switches(preserve=True)
    harness.sync(
        item.rating_key,
        switches=preserve,
        title="New",
        details="Ours",
        tags=["A"],
        performers=["Ann"],
    )
    assert (item.title, item.summary, item.genres, item.actors) == (
        "Theirs",
        "Ours",
        ["Own"],
        ["Ann"],
    )
    harness.sync(
        item.rating_key,
        switches=preserve,
        title="New",
        details="Later",
        tags=["B"],
        performers=["Bob"],
    )
    assert (item.title, item.summary, item.genres, item.actors) == (
        "Theirs",
        "Later",
        ["Own"],
        ["Bob"],
    )
    harness.item(item.rating_key).editSummary("User's")
    harness.sync(
        item.rating_key, switches=preserve, title="New", details="Even later", performers=["Bob"]
    )
    assert item.summary == "User's"


def test_a_character_name_survives(harness: PlexHarness, item: PlexItem) -> None:
    harness.item(item.rating_key).edit(
        **{"actor[0].tag.tag": "Ann", "actor[0].tagging.text": "The Queen"}
    )
    harness.sync(item.rating_key, performers=["Bob", "Ann"])
    assert harness.read(item.rating_key).characters == {"Ann": "The Queen"}


@pytest.mark.parametrize("letter", ["あ", "word ", "👩‍👩‍👧", "line\n"])
def test_a_very_long_summary_is_written_and_stays(
    harness: PlexHarness, item: PlexItem, letter: str
) -> None:
    text = (letter * 10_000)[:10_000]
    harness.sync(item.rating_key, title="T", details=text)
    assert item.summary
    assert text.startswith(item.summary)
    harness.plex.log.clear()
    harness.sync(item.rating_key, title="T", details=text)
    assert puts(harness) == 0


def test_a_scene_with_very_long_metadata_is_written(harness: PlexHarness, item: PlexItem) -> None:
    fields: dict[str, Any] = {
        "title": "題" * 255,
        "details": "あ" * 10_000,
        "tags": [f"タグの名前{number:03d}" for number in range(200)],
        "performers": [f"出演者{number:02d}" for number in range(30)],
    }
    harness.sync(item.rating_key, **fields)
    assert len(item.genres) == 200
    assert item.summary
    harness.plex.log.clear()
    harness.sync(item.rating_key, **fields)
    assert puts(harness) == 0


# --- posters


def test_a_poster_is_uploaded_once_per_changed_cover(harness: PlexHarness, item: PlexItem) -> None:
    for cover in (b"one", b"one", b"two", b"two", None, b"two", b"one"):
        harness.sync(item.rating_key, title="T", cover=cover)
    assert [upload.data for upload in harness.plex.uploads] == [b"one", b"two", b"one"]
    assert {upload.rating_key for upload in harness.plex.uploads} == {item.rating_key}
    assert {upload.url for upload in harness.plex.uploads} == {None}
    assert puts(harness) == 1


def test_a_poster_stays_after_a_refresh(harness: PlexHarness, item: PlexItem) -> None:
    harness.sync(item.rating_key, title="T", cover=b"one")
    harness.plex.refresh_item(item.rating_key)
    assert item.poster is not None
    assert item.poster.data == b"one"


def test_no_poster_is_uploaded_when_the_switch_is_off(harness: PlexHarness, item: PlexItem) -> None:
    harness.sync(item.rating_key, title="T", cover=b"one", switches=Switches(poster=False))
    assert harness.plex.uploads == []


# --- errors in each step


@pytest.mark.parametrize("status", [403, 404, 405, 500, 503])
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_errors_become_the_exceptions_of_the_contract(
    harness: PlexHarness, item: PlexItem, method: str, status: int
) -> None:
    permanent = dict.fromkeys((403, 405), PlexPermanentError)
    expected = {**permanent, 404: PlexNotFound}.get(status, PlexTemporaryError)
    harness.plex.faults.add(Answer(status), method=method)
    with pytest.raises(expected) as caught:
        harness.sync(item.rating_key, title="Secret", cover=b"picture")
    assert "Secret" not in str(caught.value)


def test_an_item_removed_before_the_write_is_not_found(
    harness: PlexHarness, item: PlexItem, other_item: PlexItem
) -> None:
    found = harness.read(item.rating_key)
    harness.plex.remove_item(item.rating_key)
    with pytest.raises(PlexNotFound):
        harness.write(found, title="New")
    assert harness.plex.writes == []


def test_an_item_from_a_listing_is_read_whole_before_its_lists_are_written(
    harness: PlexHarness,
) -> None:
    """A listing shortens lists: a missing name would not be removed, or would be lost."""
    item = harness.plex.add_item(
        harness.library, "/media/a/One.mp4", genres=["A", "B", "C", "D"], actors=list("VWXYZ")
    )
    listed = harness.client.get_library("Scenes").all()[0]
    harness.write(read_item(listed), title="T", tags=["A", "New"], performers=["V"])
    assert sorted(item.genres) == ["A", "New"]
    assert item.actors == ["V"]


# --- the write history after a failure

PRESERVE = Switches(preserve=True)
FIRST: dict[str, Any] = {"details": "First", "performers": ["Ann"]}
SECOND: dict[str, Any] = {"details": "Second", "performers": ["Bob"]}


def test_a_failed_poster_keeps_the_write_history(harness: PlexHarness, item: PlexItem) -> None:
    """Else preserve_plex_edits takes our text for the user's and later edits never arrive."""
    cover = CoverState(sha1="of an older cover")
    harness.history.save(Agreement(1, rating_key=item.rating_key, cover=cover))
    rule = harness.plex.faults.add(Answer(500), method="POST")
    with pytest.raises(PlexTemporaryError):
        harness.sync(item.rating_key, switches=PRESERVE, cover=b"picture", **FIRST)
    rule.remove()
    assert item.summary == "First"
    harness.sync(item.rating_key, switches=PRESERVE, cover=b"picture", **FIRST)
    harness.sync(item.rating_key, switches=PRESERVE, cover=b"picture", **SECOND)
    assert (item.summary, item.actors) == ("Second", ["Bob"])
    assert [upload.data for upload in harness.plex.uploads] == [b"picture"]


@pytest.mark.parametrize("again", [True, False], ids=["the same again", "changed meanwhile"])
def test_a_write_whose_response_was_lost_still_counts_as_ours(
    harness: PlexHarness, item: PlexItem, again: bool
) -> None:
    rule = harness.plex.faults.add(ResetAfter(), method="PUT")
    with pytest.raises(PlexTemporaryError):
        harness.sync(item.rating_key, switches=PRESERVE, **FIRST)
    rule.remove()
    assert item.summary == "First"
    if again:
        harness.sync(item.rating_key, switches=PRESERVE, **FIRST)
    harness.sync(item.rating_key, switches=PRESERVE, **SECOND)
    assert (item.summary, item.actors) == ("Second", ["Bob"])


def test_a_write_that_never_arrived_keeps_the_history(harness: PlexHarness, item: PlexItem) -> None:
    harness.sync(item.rating_key, switches=PRESERVE, **FIRST)
    rule = harness.plex.faults.add(Answer(500), method="PUT")
    with pytest.raises(PlexTemporaryError):
        harness.sync(item.rating_key, switches=PRESERVE, **SECOND)
    rule.remove()
    harness.sync(item.rating_key, switches=PRESERVE, details="", performers=[])
    assert (item.summary, item.actors) == ("", [])


def test_update_metadata_writes_and_saves_the_history(
    harness: PlexHarness, history: History, item: PlexItem, tmp_path: Path
) -> None:
    manager, dlq = QueueManager(str(tmp_path)), DeadLetterQueue(str(tmp_path))
    config, problem = validate_config(
        {"plex_url": harness.plex.url, "plex_token": TOKEN, "preserve_plex_edits": True}
    )
    assert problem is None
    worker = make_worker(manager.get_queue(), dlq, config, str(tmp_path), history=history)
    try:
        for fields in (FIRST, SECOND, SECOND):
            worker._update_metadata(harness.item(item.rating_key), metadata_of(**fields))
    finally:
        manager.shutdown()
        dlq.close()
    assert (item.summary, item.actors) == ("Second", ["Bob"])
    assert len(harness.plex.writes) == 2
