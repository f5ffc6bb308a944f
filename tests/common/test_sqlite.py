"""Tests of SQLite connections: private files, durable commits, waiting for locks."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from common.sqlite import IN_MEMORY, connect, write


def pragma(connection: sqlite3.Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_a_commit_is_on_disk_when_it_returns_and_the_file_is_private(tmp_path: Path) -> None:
    with closing(connect(str(tmp_path / "a.db"))) as connection:
        assert (pragma(connection, "journal_mode"), pragma(connection, "synchronous")) == ("wal", 2)
        connection.execute("CREATE TABLE t (x)")
        if os.name == "posix":
            assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
            assert {file.name for file in tmp_path.iterdir()} >= {"a.db", "a.db-wal"}


def test_an_in_memory_database_creates_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(connect(IN_MEMORY)) as connection, write(connection):
        connection.execute("CREATE TABLE t (x)")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_transaction_that_fails_leaves_nothing_and_the_connection_usable(
    tmp_path: Path, error: type[BaseException]
) -> None:
    with closing(connect(str(tmp_path / "a.db"))) as connection:
        connection.execute("CREATE TABLE t (x)")
        with pytest.raises(error), write(connection):
            connection.execute("INSERT INTO t VALUES (1)")
            raise error
        with write(connection):
            connection.execute("INSERT INTO t VALUES (2)")
    with closing(connect(str(tmp_path / "a.db"))) as connection:
        assert connection.execute("SELECT x FROM t").fetchall() == [(2,)]


def test_a_writer_waits_for_another_and_sees_what_it_wrote(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    with closing(connect(path)) as first:
        first.execute("CREATE TABLE t (x)")
        first.execute("INSERT INTO t VALUES (0)")

        def count() -> None:
            with closing(connect(path, timeout=240)) as connection:  # a busy machine may be slow
                for _ in range(100):
                    with write(connection):
                        value = connection.execute("SELECT x FROM t").fetchone()[0]
                        connection.execute("UPDATE t SET x = ?", (value + 1,))

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert first.execute("SELECT x FROM t").fetchone() == (400,)


def test_a_lock_that_outlasts_the_timeout_is_an_error(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    with closing(connect(path)) as holder, closing(connect(path, timeout=0.01)) as other:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"), write(other):
            pass


@pytest.mark.parametrize("content", [b"no database " * 500, b"\0" * 4096])
def test_a_file_that_is_not_a_database_is_an_error_and_is_not_overwritten(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "a.db").write_bytes(content)
    with pytest.raises(sqlite3.DatabaseError):
        connect(str(tmp_path / "a.db"))
    assert (tmp_path / "a.db").read_bytes() == content


@pytest.mark.skipif(os.name != "posix", reason="links are POSIX's")
def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.db").symlink_to(tmp_path / "elsewhere.db")
    with pytest.raises(OSError, match=r"(?i)symbolic link"):
        connect(str(tmp_path / "a.db"))
    assert not (tmp_path / "elsewhere.db").exists()


def test_opening_waits_for_another_process_that_is_creating_the_file(tmp_path: Path) -> None:
    """SQLite refuses the switch to WAL at once, without its timeout, while another one writes."""
    path = str(tmp_path / "a.db")
    outcome: list[object] = []

    def open_it() -> None:
        try:
            with closing(connect(path, any_thread=True)) as connection:
                outcome.append(pragma(connection, "journal_mode"))
        except sqlite3.Error as error:
            outcome.append(error)

    with closing(sqlite3.connect(path, isolation_level=None)) as creator:
        creator.execute("CREATE TABLE t (x)")
        creator.execute("BEGIN IMMEDIATE")
        opening = threading.Thread(target=open_it)
        opening.start()
        opening.join(0.2)  # it ends only if it gave up
        creator.execute("COMMIT")
        opening.join()
    assert outcome == ["wal"]
