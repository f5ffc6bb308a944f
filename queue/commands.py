"""Store commands for the worker, and their results, in the queue's database.

Only the holder of the worker lock writes the history, the choices and the index. Tasks and the
command line add a command, and read its progress and its result by its id.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from common.files import make_private_dir
from common.sqlite import write
from queue.inbox import open_queue_database
from queue.recovery import identity

WAITING, STARTED, DONE, DROPPED = 0, 1, 2, 3

_CREATE_TABLE = (
    "CREATE TABLE IF NOT EXISTS commands ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, arguments TEXT NOT NULL,"
    " lease TEXT, created_at REAL NOT NULL, finished_at REAL, status INTEGER NOT NULL,"
    " progress TEXT, result TEXT)"
)
# Ids start at the time of creation. So a task that waits for a command of a replaced database does
# not find another task's command under the same id.
_FIRST_ID = (
    "INSERT INTO sqlite_sequence (name, seq) SELECT 'commands', ?"
    " WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'commands')"
)
# As BLOB, because sqlite3 can't return a TEXT that is not UTF-8, not even to skip its row.
_COLUMNS = "id, CAST(name AS BLOB), CAST(arguments AS BLOB), CAST(lease AS BLOB), status"
_DAMAGE = (TypeError, ValueError, RecursionError)


@dataclass(frozen=True)
class Command:
    """One command."""

    id: int
    name: str
    arguments: dict[str, Any]
    #: name of the lease (`queue.lease`) of the task that waits for it; None: no task waits
    lease: str | None
    #: `WAITING`, `STARTED`, `DONE` or `DROPPED`
    status: int


class Commands:
    """The commands of one data directory. Thread-safe.

    Any process may add commands and read them. Only the holder of the worker lock may call `next`,
    `start`, `report`, `finish`, `drop` and `forget_finished`.
    """

    def __init__(
        self, database: str | sqlite3.Connection, *, now: Callable[[], float] = time.time
    ) -> None:
        """Open the queue's database `<data_dir>/queue/data.db`; create it if it is missing.

        Args:
            database: its path, or an open connection that nothing else uses.
            now: returns epoch seconds.

        Raises:
            sqlite3.Error: not a database, or locked for too long.
            OSError: the file can't be written.
        """
        self._lock = threading.Lock()
        self._now = now
        self._file = database if isinstance(database, str) else None
        self._identity: object = None
        if isinstance(database, str):
            self._connection = self._open(database)
        else:
            self._connection = database
            _install(database, now())

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()

    def add(self, name: str, arguments: dict[str, Any], lease: str | None = None) -> int:
        """Add a command and return its id; it is on disk on return.

        Args:
            arguments: JSON data.
            lease: name of the lease of the task that waits for it; None: no task waits.

        Raises:
            sqlite3.Error, OSError: the command could not be written.
        """
        values = (name, json.dumps(arguments), lease, self._now(), WAITING)
        with self._database() as connection, write(connection):
            cursor = connection.execute(
                "INSERT INTO commands (name, arguments, lease, created_at, status)"
                " VALUES (?, ?, ?, ?, ?)",
                values,
            )
            assert cursor.lastrowid is not None
            return cursor.lastrowid

    def next(self, *, after: int = 0) -> Command | None:
        """Return the oldest unfinished command, or None.

        A new worker gets the commands that its predecessor had started: their status is `STARTED`.
        A row that can't be read is dropped.

        Args:
            after: only commands with a greater id. While a long command is in progress, this finds
                the newer ones.
        """
        with self._database() as connection:
            while True:
                row = connection.execute(
                    f"SELECT {_COLUMNS} FROM commands WHERE status IN (?, ?) AND id > ?"
                    " ORDER BY id LIMIT 1",
                    (WAITING, STARTED, after),
                ).fetchone()
                if row is None:
                    return None
                try:
                    return _command(row)
                except _DAMAGE:
                    after = row[0]
                    self._end(connection, after, DROPPED, None)

    def start(self, command_id: int) -> None:
        """Mark a waiting command as started."""
        self._update(command_id, "status = ?", STARTED)

    def report(self, command_id: int, done: int, left: int) -> None:
        """Store the progress of an unfinished command."""
        self._update(command_id, "progress = ?", json.dumps([done, left]))

    def finish(self, command_id: int, result: dict[str, Any]) -> None:
        """Mark an unfinished command as done and store its result.

        Args:
            result: JSON data.
        """
        text = json.dumps(result)
        with self._database() as connection:
            self._end(connection, command_id, DONE, text)

    def drop(self, command_id: int) -> None:
        """Mark an unfinished command as dropped; it has no result."""
        with self._database() as connection:
            self._end(connection, command_id, DROPPED, None)

    def get(self, command_id: int) -> Command | None:
        """Return a command; None if it is unknown, for example because the database was replaced.

        If its row can't be read, the name and the arguments are empty.
        """
        row = self._select(command_id, _COLUMNS)
        if row is None:
            return None
        try:
            return _command(row)
        except _DAMAGE:
            return Command(row[0], "", {}, None, row[4])

    def result(self, command_id: int) -> dict[str, Any] | None:
        """Return the result of a command that is done; empty if it can't be read.

        None if it is not done. `get` tells whether it will be: not if it is dropped or unknown.
        """
        row = self._select(command_id, "status, CAST(result AS BLOB)")
        if row is None or row[0] != DONE:
            return None
        found = _loads(row[1])
        return found if isinstance(found, dict) else {}

    def progress(self, command_id: int) -> tuple[int, int] | None:
        """Return (done, left) as last reported, or None."""
        row = self._select(command_id, "CAST(progress AS BLOB)")
        match row and _loads(row[0]):
            case [int(done), int(left)]:
                return done, left
        return None

    def forget_finished(self, older_than: float) -> int:
        """Delete commands that were done or dropped long ago; return their number.

        Args:
            older_than: seconds since their end.
        """
        with self._database() as connection, write(connection):
            # abs: a command that ended in the future was finished before the clock was corrected.
            return connection.execute(
                "DELETE FROM commands WHERE status IN (?, ?) AND abs(? - finished_at) > ?",
                (DONE, DROPPED, self._now(), older_than),
            ).rowcount

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """Return the connection; reopen the database if another process replaced the file."""
        with self._lock:
            if self._file is not None and identity(self._file) != self._identity:
                self._connection.close()
                self._connection = self._open(self._file)
            yield self._connection

    def _open(self, file: str) -> sqlite3.Connection:
        if folder := os.path.dirname(file):
            make_private_dir(folder)
        # Before it is opened: a replacement in between then causes another reopening.
        found = identity(file)
        connection = open_queue_database(file, any_thread=True)
        try:
            _install(connection, self._now())
        except BaseException:
            connection.close()
            raise
        self._identity = found
        return connection

    def _select(self, command_id: int, columns: str) -> tuple[Any, ...] | None:
        with self._database() as connection:
            row: tuple[Any, ...] | None = connection.execute(
                f"SELECT {columns} FROM commands WHERE id = ?", (command_id,)
            ).fetchone()
        return row

    def _update(self, command_id: int, assignment: str, value: object) -> None:
        with self._database() as connection, write(connection):
            connection.execute(
                f"UPDATE commands SET {assignment} WHERE id = ? AND status IN (?, ?)",
                (value, command_id, WAITING, STARTED),
            )

    def _end(
        self, connection: sqlite3.Connection, command_id: int, status: int, result: str | None
    ) -> None:
        with write(connection):
            connection.execute(
                "UPDATE commands SET status = ?, result = ?, finished_at = ?"
                " WHERE id = ? AND status IN (?, ?)",
                (status, result, self._now(), command_id, WAITING, STARTED),
            )


def _install(connection: sqlite3.Connection, now: float) -> None:
    exists = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'commands'"
    if connection.execute(exists).fetchone():
        return
    with write(connection):
        connection.execute(_CREATE_TABLE)
        connection.execute(_FIRST_ID, (int(now),))


def _command(row: tuple[Any, ...]) -> Command:
    """Return the command of a row.

    Raises:
        TypeError, ValueError, RecursionError: the row is damaged.
    """
    command_id, name, arguments, lease, status = row
    parsed = json.loads(arguments)
    if not isinstance(parsed, dict):
        raise TypeError("the arguments are not an object")
    return Command(
        command_id,
        str(name, "utf-8"),
        parsed,
        None if lease is None else str(lease, "utf-8"),
        status,
    )


def _loads(text: bytes | None) -> Any:
    """Parse JSON; return None if it is invalid or missing."""
    try:
        return None if text is None else json.loads(text)
    except _DAMAGE:
        return None
