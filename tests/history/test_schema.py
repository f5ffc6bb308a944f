"""The tables are made step by step; a newer version's are left alone."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from history import schema
from history.fields import FieldState, encode
from history.records import Agreement, Choice
from history.schema import VERSION, NewerSchema, migrate
from history.store import History

Open = Callable[[], sqlite3.Connection]
TABLES = {
    *("agreements", "choices", "passes", "proposals", "state", "migrations"),
    "collections",
    "changes",
}


def tables(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {row[0] for row in rows if not row[0].startswith("sqlite_")}


def version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_an_empty_database_gets_all_tables_and_a_record_of_each_step(open_file: Open) -> None:
    connection = open_file()
    migrate(connection, 7.0)
    assert tables(connection) == TABLES
    assert version(connection) == VERSION
    steps = connection.execute("SELECT step, at FROM migrations ORDER BY step").fetchall()
    assert steps == [(step, 7.0) for step in range(1, VERSION + 1)]


def test_a_database_that_is_up_to_date_stays_as_it_is(open_file: Open) -> None:
    first = History(open_file(), now=lambda: 1.0)
    first.save(Agreement(7, reason="kept"))
    connection = open_file()
    again = History(connection, now=lambda: 2.0)
    assert [one.reason for one in again.of_scene(7)] == ["kept"]
    assert connection.execute("SELECT at FROM migrations").fetchall() == [(1.0,)] * VERSION


def of_version(number: int, open_file: Open, monkeypatch: pytest.MonkeyPatch) -> sqlite3.Connection:
    """Return a database of an older version."""
    with monkeypatch.context() as patch:
        patch.setattr(schema, "VERSION", number)
        connection = open_file()
        migrate(connection, 1.0)
    return connection


OLD_RECORD = (
    "INSERT INTO agreements (scene_id, status, reason, server, section, rating_key, path,"
    " created_at, updated_at, files, generation, item_updated_at, checked_at, fields, cover,"
    " cover_source) VALUES (?, ?, '', 's', 1, ?, '', '', '', ?, '', 0, 5.0, ?, '{}', '')"
)


def test_a_database_of_the_version_before_keeps_its_records_and_gets_the_journal(
    open_file: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = of_version(2, open_file, monkeypatch)
    fields = {"title": FieldState(before="a", ours="b")}
    connection.execute(OLD_RECORD, (7, "in_sync", 9, "[]", json.dumps(encode(fields))))

    history = History(open_file(), now=lambda: 2.0)

    (row,) = history.of_scene(7)
    assert row.fields == fields
    history.changes.note(row, {"title": ("b", "c")}, "saved", 3.0)
    assert [(one.before, one.after) for one in history.changes.of_scene(7)] == [("b", "c")]


def test_records_of_older_versions_are_counted_by_folder(
    open_file: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = of_version(3, open_file, monkeypatch)
    files = (
        '[["/data/a/b/c.mp4", 1], ["/data/other/c.mp4", 1]]',
        '[["/data/a/b/d.mp4", null]]',
        '[["/top.mp4", 1]]',
        r'[["D:\\x\\y.mp4", 1]]',
        "[]",
        "[damaged",
    )
    for number, one in enumerate(files, 1):
        connection.execute(OLD_RECORD, (number, "not_in_plex", 0, one, "{}"))

    history = History(open_file(), now=lambda: 2.0)

    assert history.count_folders() == {"/data/a/b": 2, "/": 1, "D:/x": 1}
    before = history.count_folders()
    readable = [number for number in range(1, 5) for _ in history.of_scene(number)]
    history.save_all(one for number in readable for one in history.of_scene(number))
    assert history.count_folders() == before, "as it is stored now"


def test_choices_of_older_versions_get_the_scene_that_was_written_to_their_item(
    open_file: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = of_version(5, open_file, monkeypatch)
    connection.execute(OLD_RECORD, (7, "in_sync", 9, "[]", "{}"))
    connection.execute("UPDATE agreements SET created_at = '2024-01-01T00:00:00Z'")
    connection.execute(
        "INSERT INTO choices VALUES (7, 's', 9, '/a', 12.5), (8, 's', 9, '/a', NULL)"
    )

    history = History(open_file(), now=lambda: 2.0)

    assert history.all_choices() == [
        Choice(7, "s", 9, "/a", 12.5, "2024-01-01T00:00:00Z"),
        Choice(8, "s", 9, "/a"),
    ]


def test_a_newer_database_is_left_alone(open_file: Open, tmp_path: Path) -> None:
    connection = open_file()
    connection.execute("CREATE TABLE agreements (something TEXT)")
    connection.execute(f"PRAGMA user_version={VERSION + 1}")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = (tmp_path / "history.db").read_bytes()
    with pytest.raises(NewerSchema, match="newer PlexSync"):
        History(open_file())
    assert (tmp_path / "history.db").read_bytes() == before
    assert tables(connection) == {"agreements"}


def test_a_step_that_fails_leaves_nothing(open_file: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = ("CREATE TABLE another (id INTEGER)", "CREATE TABLE no table")
    monkeypatch.setattr(schema, "_STEPS", (*schema._STEPS, broken))
    monkeypatch.setattr(schema, "VERSION", VERSION + 1)
    connection = open_file()
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, 1.0)
    assert version(connection) == VERSION  # the steps before it are kept
    assert tables(connection) == TABLES
    monkeypatch.setattr(schema, "_STEPS", (*schema._STEPS[:-1], broken[:1]))
    migrate(connection, 2.0)
    assert tables(connection) == {*TABLES, "another"}
    rows = connection.execute("SELECT step, at FROM migrations ORDER BY step").fetchall()
    assert rows[-1] == (VERSION + 1, 2.0)
