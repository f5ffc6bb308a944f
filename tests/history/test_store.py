"""The history keeps agreements, choices, passes and proposals, on disk when a call returns."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import pytest

from common.media import MediaFile
from history.fields import FieldState
from history.records import PICTURES, Agreement, Choice, CoverState, OwnCollection, Status
from history.store import History, ReadOnlyHistory
from tests.harness.clock import FakeClock

Open = Callable[[], sqlite3.Connection]
FULL = Agreement(
    scene_id=7,
    status=Status.WRITTEN,
    reason="why é 👩‍👩‍👧",
    server="server-1",
    section=2,
    rating_key=70,
    path="/media/a/one.mp4",
    created_at="2026-01-01T00:00:00Z",
    updated_at="2026-01-02T00:00:00+01:00",
    files=(MediaFile("/data/a/One.mp4", 100), MediaFile("/data/b.mp4", None)),
    digest="abc",
    generation="gen",
    item_updated_at=1_700_000_000,
    checked_at=12.5,
    synced_at=11.5,
    missing_since=10.5,
    verify_at=14.5,
    fields={
        "title": FieldState(before="Old", ours="T", wanted="T", observed="T"),
        "genre": FieldState((), ("A, B",), ("A, B", "User"), ("A, B", "User"), refused=True),
        "summary": FieldState(wanted="S", observed="Mine", kept=True),
    },
    cover=CoverState("/scene/7/screenshot?t=1", "ab12", 'W/"etag"', final=True),
    details={"candidates": [{"rating_key": 1, "files": [["/a", None]]}]},
)


def pair(scene_id: int, rating_key: int = 0, **more: Any) -> Agreement:
    """Return an agreement that is in sync with an item of server s."""
    status = Status.IN_SYNC if rating_key else Status.NOT_IN_PLEX
    values = {"status": status, "server": "s", "rating_key": rating_key, **more}
    return Agreement(scene_id, **values)


# --- agreements


def on_record(history: History) -> str:
    return str(history._db.execute("SELECT fields, files FROM agreements").fetchall())


def test_an_agreement_is_read_back_whole(history: History) -> None:
    empty = history.save(Agreement(1))
    full = history.save(FULL)
    assert history.of_scene(7) == [full]
    assert full == dataclasses.replace(FULL, id=full.id)
    assert history.of_scene(1) == [empty]
    assert empty == Agreement(1, id=empty.id)
    assert history.of_scene(99) == []
    assert full.refused_fields == ["genre"]
    assert full.kept_fields == ["summary"]


def test_it_is_on_disk_when_save_returns(open_file: Open) -> None:
    saved = History(open_file()).save(FULL)
    assert History(open_file()).of_scene(7) == [saved]


def test_a_scene_has_a_row_for_each_item(history: History) -> None:
    one, other = history.save(pair(7, 70)), history.save(pair(7, 71))
    assert one.id != other.id
    assert history.of_scene(7) == [one, other]
    changed = history.save(dataclasses.replace(one, reason="changed"))
    assert history.of_scene(7) == [changed, other]


def test_a_row_that_is_replaced_never_takes_anothers_number(history: History) -> None:
    first = history.save(pair(1))
    history.retire([first.id])
    assert history.purge("s", lambda key: False) == 1
    assert history.save(pair(2)).id > first.id


@pytest.mark.parametrize("attribute", [one.name for one in dataclasses.fields(Agreement)])
def test_a_record_is_immutable(attribute: str) -> None:
    with pytest.raises(AttributeError):
        setattr(FULL, attribute, None)


def test_agreements_with_items_of_one_server(history: History) -> None:
    mine = history.save(pair(1, 70))
    history.save(pair(2, 70, server="other"))
    second = history.save(pair(3, 71))
    history.save(pair(4))
    gone = history.save(pair(5, 70))
    history.retire([gone.id])
    assert history.of_items("s", [70, 71, 72]) == [mine, second]
    assert history.of_items("s", []) == []


def test_agreements_by_status_in_portions(history: History) -> None:
    history.save_all(pair(number) for number in range(1, 1202))
    history.save(pair(5000, 1))
    found = [one.scene_id for one in history.with_status(Status.NOT_IN_PLEX)]
    assert found == list(range(1, 1202))
    assert len(list(history.with_status(Status.NOT_IN_PLEX, Status.IN_SYNC))) == 1202
    assert list(history.with_status(Status.HELD)) == []


def test_agreements_without_a_server_get_one(history: History) -> None:
    history.save_all([pair(2, 20, server=""), pair(1, 10, server=""), pair(3, 30)])
    history.choose(1, [Choice(1, "", 10), Choice(1, "new", 10)])
    assert [one.scene_id for one in history.without_server()] == [1, 2]
    history.set_server("", "new")
    assert history.without_server() == []
    assert [one.server for scene in (1, 2, 3) for one in history.of_scene(scene)] == [
        "new", "new", "s",
    ]  # fmt: skip
    assert history.choices(1) == [Choice(1, "new", 10)]


def test_writes_that_are_due_to_be_read_back(history: History) -> None:
    assert history.next_verification() is None
    for scene, due in ((1, 30.0), (2, 10.0), (3, 20.0), (4, None)):
        history.save(pair(scene, scene * 10, verify_at=due))
    assert history.next_verification() == 10.0
    assert [one.scene_id for one in history.to_verify(9.9, 20)] == []
    assert [one.scene_id for one in history.to_verify(20.0, 20)] == [2, 3]
    assert [one.scene_id for one in history.to_verify(99.0, 2)] == [2, 3]
    history.retire([one.id for one in history.of_scene(2)])
    assert history.next_verification() == 20.0
    assert [one.scene_id for one in history.to_verify(99.0, 20)] == [3, 1]


def test_rows_say_enough_to_see_a_change(history: History) -> None:
    full = history.save(FULL)
    more = history.save(pair(7, 71))
    history.save(pair(9, 90))
    rows = history.rows(1, 8)
    assert list(rows) == [7]
    assert [row.id for row in rows[7]] == [full.id, more.id]
    row = rows[7][0]
    for name in row._fields:
        expected = full.cover.source if name == "cover_source" else getattr(full, name)
        assert getattr(row, name) == expected, name
    assert history.rows_of([9, 7, 5]) == history.rows(7, 9)
    assert history.rows_of([]) == {}


def test_rows_of_many_scenes(history: History) -> None:
    history.save_all(pair(number) for number in range(1, 1101))
    assert set(history.rows_of(list(range(1, 2000)))) == set(range(1, 1101))


def test_the_items_that_were_not_read_for_longest(history: History) -> None:
    for scene, checked in ((1, 30.0), (2, 10.0), (3, 20.0), (4, 99.0)):
        history.save(pair(scene, scene * 10, checked_at=checked))
    history.save(pair(5, 50, checked_at=1.0, status=Status.FAILED))
    history.save(pair(6, 60, checked_at=1.0, server="other"))
    history.save(pair(7, checked_at=1.0))
    history.save(pair(8, 80, checked_at=15.0, status=Status.REFUSED))
    assert history.oldest_read("s", 50.0, 10) == [2, 8, 3, 1]
    assert history.oldest_read("s", 50.0, 2) == [2, 8]
    assert history.oldest_read("s", 10.0, 10) == []


def test_columns_are_set_in_one_go(history: History) -> None:
    one, other = history.save(pair(1)), history.save(pair(2))
    history.update([one.id, other.id], digest=None, reason="again")
    history.update([], reason="nobody")
    assert [history.of_scene(scene)[0].reason for scene in (1, 2)] == ["again", "again"]


# --- forgetting


def test_a_retired_row_is_kept_until_its_item_is_gone(history: History) -> None:
    """What Plex had before our first write stays on record."""
    rows = [history.save(one) for one in (FULL, pair(7), pair(8, 80), pair(9, 90, server="other"))]
    history.retire(row.id for row in rows)
    for scene in (7, 8, 9):
        assert history.of_scene(scene) == []
        assert not history.is_known(scene)
    assert history.rows(1, 99) == history.rows_of([7, 8, 9]) == {}
    assert (history.count(), history.synced(), history.known_scenes()) == ({}, {}, 0)
    assert history.next_verification() is None
    assert history.purge("server-1", lambda key: True) == 1  # the one without an item
    assert "Old" in on_record(history)
    assert history.purge("server-1", lambda key: key != 70) == 1
    assert "Old" not in on_record(history)
    assert history.purge("s", lambda key: False) == 1
    assert history.purge("s", lambda key: False) == 0
    assert history.purge("other", lambda key: False) == 1


def test_a_row_in_use_is_never_purged(history: History) -> None:
    row = history.save(pair(7, 70))
    assert history.purge("s", lambda key: False) == 0
    assert history.of_scene(7) == [row]


def test_the_poster_stands_where_it_stood_before_there_were_backgrounds(history: History) -> None:
    def stored(scene_id: int) -> dict[str, Any]:
        ((text,),) = history._db.execute(
            "SELECT cover FROM agreements WHERE scene_id = ?", (scene_id,)
        ).fetchall()
        content: dict[str, Any] = json.loads(text)
        return content

    without = history.save(FULL)
    assert stored(7) == dataclasses.asdict(FULL.cover), "as earlier versions read and write it"
    art = CoverState("/scene/8/screenshot?t=10", "cd34", final=True)
    beside = history.save(dataclasses.replace(FULL, scene_id=8, art=art))
    assert (history.of_scene(7), history.of_scene(8)) == ([without], [beside])
    assert stored(8) == {**stored(7), "art": dataclasses.asdict(art)}
    (row,) = history.rows_of([8])[8]
    assert row.cover_source == art.source, "the later of both"

    history.forget_cover(8)
    assert [history.of_scene(8)[0].cover_of(name).sha1 for name in PICTURES] == ["-", "-"]


def test_forgetting_a_cover_keeps_that_it_is_ours(history: History) -> None:
    with_cover, without = history.save(FULL), history.save(pair(8, 80))
    history.forget_cover(7)
    history.forget_cover(8)
    assert history.of_scene(7)[0].cover == CoverState(sha1="-")
    assert history.of_scene(7)[0].fields == with_cover.fields
    assert history.of_scene(8) == [without]


PATHS = ("/media/a.mp4",)


def test_who_owns_an_item(history: History) -> None:
    first = history.save(pair(1, 70, path=PATHS[0]))
    history.save(pair(1, 70))
    history.save(pair(9, 70, path="/media/another.mp4"))  # the key was given away
    assert history.owners("s", 70, PATHS) == {1}
    assert history.owners("other", 70, PATHS) == set()
    other = history.save(pair(2, 70))
    assert history.owners("s", 70, PATHS) == {1, 2}
    history.retire([other.id])
    assert history.owners("s", 70, PATHS) == {1}
    assert history.is_known(first.scene_id)
    history.choose(1, [Choice(1, "s", 70, PATHS[0])])
    history.choose(2, [Choice(2, "s", 70, "/media/another.mp4"), Choice(2, "other", 70)])
    assert history.choosers("s", 70, PATHS) == [Choice(1, "s", 70, PATHS[0])]
    history.save(pair(3))
    assert not history.is_known(3)  # it was never in Plex


def test_counts_are_of_scenes(history: History) -> None:
    history.save_all([pair(1, 70, checked_at=10.0), pair(1, 71, checked_at=10.0)])
    history.save_all([pair(2, 72, checked_at=20.0), pair(3), pair(4, status=Status.AMBIGUOUS)])
    kept = {"summary": FieldState(wanted="S", kept=True)}
    history.save(pair(5, 75, checked_at=5.0, fields=kept))
    history.save(pair(6, 76, fields={"summary": FieldState(wanted='"kept": true')}))
    assert history.count() == {
        Status.IN_SYNC: 4, Status.NOT_IN_PLEX: 1, Status.AMBIGUOUS: 1,
    }  # fmt: skip
    assert history.count(since=10.0) == {Status.IN_SYNC: 2}
    assert history.known_scenes() == 6
    assert history.count_kept() == 1
    assert history.count_kept(since=6.0) == 0


def test_the_times_of_the_last_syncs(history: History) -> None:
    history.save_all([pair(1, 70, synced_at=5.0), pair(1, 71, synced_at=7.5), pair(2, 72)])
    assert history.synced() == {1: 7.5}


# --- choices


def test_choices_are_replaced_together(history: History) -> None:
    both = [Choice(7, "s", 70, "/a"), Choice(7, "s", 71, "/b", 12.5)]
    history.choose(7, both)
    history.choose(8, [Choice(8, "s", 70)])
    assert history.choices(7) == both
    assert history.all_choices() == [*both, Choice(8, "s", 70)]
    history.choose(7, [Choice(7, "s", 72)])
    assert history.choices(7) == [Choice(7, "s", 72)]
    history.choose(7, [])
    assert history.choices(7) == []
    assert history.choices(8) == [Choice(8, "s", 70)]


# --- passes, proposals, state


def test_passes_go_on_where_they_were(open_file: Open) -> None:
    history = History(open_file())
    first = history.save_pass(None, {"kind": "full", "after": 0})
    second = history.save_pass(None, {"kind": "quick"})
    assert history.save_pass(first, {"kind": "full", "after": 500}) == first
    again = History(open_file())
    assert again.passes() == {first: {"kind": "full", "after": 500}, second: {"kind": "quick"}}
    again.end_pass(first)
    assert list(history.passes()) == [second]
    history.end_pass(second)
    assert history.save_pass(None, {}) > second  # a number stands for one pass


def test_proposals_are_read_in_portions(history: History) -> None:
    history.propose([(3, "drift"), (1, "settings"), (2, "settings")])
    history.propose([(3, "settings"), (4, "drift")])
    assert history.proposals() == [
        (1, "settings"), (2, "settings"), (3, "settings"), (4, "drift"),
    ]  # fmt: skip
    assert history.proposals(after=1, limit=2) == [(2, "settings"), (3, "settings")]
    assert list(history.count_proposals().items()) == [("settings", 3), ("drift", 1)]
    history.drop_proposals([1, 4])
    assert [scene for scene, _ in history.proposals()] == [2, 3]
    history.drop_proposals()
    assert history.proposals() == []


@pytest.mark.parametrize("value", [0, "", [], {}, False, 1.5, {"a": [1, None]}, "é"])
def test_further_state(history: History, value: Any) -> None:
    assert history.get("name") is None
    assert history.get("name", 7) == 7
    history.set("name", value)
    history.set("other", 1)
    assert history.get("name") == value
    assert history.get("name", value) == value
    assert history.get("name", b"") == b"", "a value of another type is damaged"
    history.set("name", None)
    assert history.get("name", 7) == 7
    assert history.get("other") == 1


# --- transactions and threads


def test_an_error_inside_a_transaction_undoes_all_of_it(open_file: Open) -> None:
    history = History(open_file())
    row = history.save(pair(7, 70))
    with pytest.raises(RuntimeError), history.transaction():
        history.save(dataclasses.replace(row, reason="changed"))
        history.save_all([pair(8), pair(9)])
        history.choose(7, [Choice(7, "s", 70)])
        history.set("name", 1)
        history.retire([row.id])
        history.save_pass(None, {})
        history.propose([(1, "drift")])
        raise RuntimeError
    assert history.of_scene(7) == [row]
    assert history.known_scenes() == 1
    assert (history.all_choices(), history.get("name"), history.passes()) == ([], None, {})
    assert history.proposals() == []
    history.save(pair(8))  # and it can be written again
    assert History(open_file()).known_scenes() == 2


def test_nothing_of_a_transaction_is_seen_before_its_end(open_file: Open) -> None:
    history, other = History(open_file()), History(open_file())
    with history.transaction():
        history.save(pair(7))
        with history.transaction():
            history.save(pair(8))
        assert other.known_scenes() == 0
    assert other.known_scenes() == 2


def test_save_all_saves_all_or_none(history: History) -> None:
    broken = dataclasses.replace(pair(2), details={"not": {"JSON"}})
    with pytest.raises(TypeError):
        history.save_all([pair(1), broken])
    assert history.known_scenes() == 0


def test_two_threads_write_side_by_side(open_file: Open, clock: FakeClock) -> None:
    history = History(open_file(), now=clock.time)
    problems: list[BaseException] = []

    def write(first: int) -> None:
        try:
            for scene in range(first, first + 50):
                row = history.save(pair(scene, scene))
                with history.transaction():
                    history.save(dataclasses.replace(row, reason="a"))
                    assert history.of_scene(scene)[0].reason == "a"
                    history.save(dataclasses.replace(row, reason="b"))
        except Exception as error:  # noqa: BLE001 - a thread's error is shown below
            problems.append(error)

    threads = [threading.Thread(target=write, args=(first,)) for first in (1, 1001)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    found = list(History(open_file()).with_status(Status.IN_SYNC))
    assert len(found) == 100
    assert {(one.scene_id, one.reason) for one in found} == {
        (scene, "b") for first in (1, 1001) for scene in range(first, first + 50)
    }
    assert all(one.scene_id == one.rating_key for one in found)


def test_one_threads_transaction_holds_the_other_back(history: History) -> None:
    """Else its change would be undone, or seen half, with the transaction."""
    inside, done = threading.Event(), threading.Event()

    def write() -> None:
        inside.wait()
        history.save(pair(8))
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    with pytest.raises(RuntimeError), history.transaction():
        history.save(pair(7))
        inside.set()
        assert not done.wait(0.05)
        raise RuntimeError
    thread.join()
    assert [history.known_scenes(), len(history.of_scene(8))] == [1, 1]


def test_a_history_that_is_only_read_forgets_no_collection() -> None:
    history = History()
    own = OwnCollection("server", 1, "Saga")
    history.save_collection(own)
    reader = ReadOnlyHistory(history._db)
    reader.forget_collection("server", 1, "Saga")
    assert history.own_collections("server") == [own]
