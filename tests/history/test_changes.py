"""The journal of what was written to Plex: what it holds, and what it drops."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

import pytest

from history import changes as module
from history.changes import CONFIRMED, DROPPED, SENT
from history.fields import FieldState, decode, encode
from history.records import Agreement
from history.store import History
from tests.harness.clock import FakeClock

DAY = 86_400.0


def note(history: History, scene_id: int, run: str = "saved", at: float = 1.0) -> Agreement:
    row = history.save(
        Agreement(scene_id, server="plex", section=3, rating_key=scene_id + 100, path="/a")
    )
    history.changes.note(row, {"title": ("old", "new"), "genre": (("A",), ("A", "B"))}, run, at)
    return row


def test_a_change_says_what_was_written_where_and_why(history: History) -> None:
    row = note(history, 7, "sync-12", 5.0)
    title, genre = history.changes.of_scene(7)
    assert (title.at, title.run, title.cause) == (5.0, "sync-12", "sync")
    assert (title.agreement, title.scene_id, title.rating_key) == (row.id, 7, 107)
    assert (title.server, title.section) == ("plex", 3)
    assert (title.field, title.before, title.after) == ("title", "old", "new")
    assert (genre.field, genre.before, genre.after) == ("genre", ("A",), ("A", "B"))
    assert (title.status, title.undone_at, title.why_left) == (SENT, None, "")


def test_changes_of_no_pass_belong_to_their_cause_and_day(history: History) -> None:
    row = note(history, 7, "saved", 1_700_000_000.0)
    day = time.strftime("%Y-%m-%d", time.localtime(1_700_000_000.0))
    history.changes.note(row, {"year": ("1", "2")}, "saved", 1_700_000_000.0, repaired=["year"])
    history.changes.note(row, {"year": ("1", "2")}, "sync-3", 1_700_000_000.0, repaired=["year"])
    found = [(one.run, one.cause) for one in history.changes.of_scene(7)]
    assert found[1:] == [(f"saved-{day}", "saved"), (f"repaired-{day}", "repaired"),
                         ("sync-3", "sync")]  # fmt: skip


def test_what_became_of_a_write_is_noted_for_that_item_only(history: History) -> None:
    row = note(history, 7)
    history.changes.note(Agreement(7, id=99), {"title": ("x", "y")}, "saved", 1.0)
    history.changes.settle(row, {"title": CONFIRMED, "genre": DROPPED})
    assert [one.status for one in history.changes.of_scene(7)] == [CONFIRMED, DROPPED, SENT]
    history.changes.settle(row, {"title": DROPPED})
    assert history.changes.of_scene(7)[0].status == CONFIRMED, "settled once"


def test_a_change_is_undone_once(history: History) -> None:
    note(history, 7)
    title, genre = history.changes.of_scene(7)
    history.changes.mark_undone([title.id], 4, 9.0)
    history.changes.mark_left([title.id, genre.id], 5, "changed in Plex since")
    title, genre = history.changes.of_scene(7)
    assert (title.undone_at, title.undo, title.why_left) == (9.0, 4, "")
    assert (genre.undone_at, genre.undo, genre.why_left) == (None, 5, "changed in Plex since")


def test_an_undo_gets_each_scene_of_its_run_once(history: History) -> None:
    for scene_id in (3, 1, 2):
        note(history, scene_id, "sync-1")
    note(history, 4, "sync-2")
    changes = history.changes
    assert changes.scenes_to_undo("sync-1", 9, 0, 2) == [1, 2]
    changes.mark_undone([one.id for one in changes.of_scene(1)], 9, 1.0)
    changes.mark_left([one.id for one in changes.of_scene(2)], 9, "gone")
    assert changes.scenes_to_undo("sync-1", 9, 0, 10) == [3]
    assert changes.scenes_to_undo("sync-1", 10, 0, 10) == [2, 3], "another undo tries again"
    assert changes.count_run("sync-1") == (2, 4)


def test_old_changes_and_those_beyond_the_limit_go_and_their_run_is_named(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 5)
    note(history, 1, "sync-1", 0.0)
    assert history.changes.trim(91 * DAY) == []
    assert history.changes.count() == 0
    for scene_id in (2, 3, 4):
        note(history, scene_id, "sync-2", 91 * DAY)
    assert history.changes.trim(91 * DAY) == ["sync-2"]
    assert history.changes.count() == 5
    assert history.changes.trim(92 * DAY) == []


def test_a_clock_that_was_ahead_does_not_empty_the_journal(
    history: History, clock: FakeClock
) -> None:
    note(history, 1, at=clock.time() + 400 * DAY)
    note(history, 2, at=clock.time())
    history.changes.trim(clock.time())
    assert history.changes.count() == 4


def test_a_damaged_change_is_left_out(open_file: Callable[[], sqlite3.Connection]) -> None:
    connection = open_file()
    history = History(connection)
    note(history, 7)
    connection.execute("UPDATE changes SET after = '{broken' WHERE field = 'title'")
    assert [one.field for one in history.changes.of_scene(7)] == ["genre"]


def test_it_is_part_of_the_records_transaction(history: History) -> None:
    with pytest.raises(ZeroDivisionError), history.transaction():
        note(history, 7)
        raise ZeroDivisionError
    assert history.changes.count() == 0
    assert history.of_scene(7) == []


def test_what_the_user_said_about_a_field_is_kept(history: History) -> None:
    states = {"title": FieldState(held=True, was_locked=True), "year": FieldState(take=True)}
    assert decode(encode(states)) == states
    assert encode({"a": FieldState()}) == {"a": {}}
    row = history.save(Agreement(7, rating_key=1, fields=states))
    history.save(Agreement(8, rating_key=2))
    assert row.held_fields == ["title"]
    assert history.count_held() == 1
