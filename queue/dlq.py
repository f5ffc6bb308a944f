"""Store dead letters in `dlq.db`: jobs that need a user or a change in Plex."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from common.files import make_private_dir
from common.redaction import cleaned
from common.sqlite import NewerSchema, connect, shrink, write
from common.texts import cut
from common.times import is_time
from queue.models import SyncJob
from queue.recovery import decode, mark_salvaged, readable_rows, to_salvage

T = TypeVar("T")

DATABASE = "dlq.db"
_SALVAGED = (
    *("scene_id", "job", "error_type", "error_message", "stack_trace", "details", "retry_count"),
    *("failed_at", "job_key", "enqueued_at"),
)
_DAY = 86_400.0
_MAX_ID = 2**62
_VERSION = 1
#: Characters that a letter keeps of a text, and of a stack trace: the last ones say most.
_MAX_LENGTH = 4_000
_MAX_TRACE = 40_000
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS dead_letters ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, scene_id INTEGER, job TEXT NOT NULL,"
    " error_type TEXT NOT NULL, error_message TEXT NOT NULL, stack_trace TEXT NOT NULL,"
    " details TEXT, retry_count INTEGER NOT NULL,"
    " failed_at REAL NOT NULL, job_key TEXT, enqueued_at REAL)",
    # A worker killed between writing the dead letter and failing the job repeats the job. The index
    # keeps that at one dead letter.
    "CREATE UNIQUE INDEX IF NOT EXISTS one_letter_per_job ON dead_letters(job_key, enqueued_at)",
    "CREATE INDEX IF NOT EXISTS letters_of_scene ON dead_letters(scene_id)",
    "CREATE INDEX IF NOT EXISTS letters_by_time ON dead_letters(failed_at)",
)


class DeadLetterQueue:
    """The dead letters of one data directory. Thread-safe."""

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        *,
        redact: Callable[[str], str] = str,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Open `<data_dir>/dlq.db`; create it if it is missing.

        Args:
            redact: masks the secrets in a text before it is stored.
            now: returns epoch seconds.

        Raises:
            NewerSchema: a newer PlexSync has written it.
            sqlite3.Error: not a database, or locked for too long.
            OSError: the file can't be written.
        """
        folder = os.fspath(data_dir)
        make_private_dir(folder)
        self.db_path = os.path.join(folder, DATABASE)
        self._redact = redact
        self._now = now
        self._connection = connect(self.db_path, any_thread=True)
        self._connection.row_factory = sqlite3.Row
        self._connection.text_factory = decode  # one damaged text must not hide the other rows
        self._lock = threading.Lock()
        _install(self._connection)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()

    def salvage(self) -> int:
        """Copy the readable dead letters of quarantined databases; return their number.

        Only the holder of the worker lock may call this.
        """
        salvaged = 0
        for path in to_salvage(self.db_path):
            with self._lock, write(self._connection) as connection:
                for row in readable_rows(path, "dead_letters", ", ".join(_SALVAGED), "id"):
                    salvaged += connection.execute(
                        f"INSERT OR IGNORE INTO dead_letters ({', '.join(_SALVAGED)})"
                        f" VALUES ({', '.join('?' * len(_SALVAGED))})",
                        row,
                    ).rowcount
            mark_salvaged(path)
        return salvaged

    def add(self, job: SyncJob, error: BaseException, retry_count: int) -> int:
        """Store a failed job durably; return the dead letter's id.

        Args:
            error: the last error; its `details` (JSON data) are stored too, for example the
                candidates of an ambiguous match.
        """
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        details = getattr(error, "details", None)
        values = (
            job.get("scene_id"),
            json.dumps(
                cleaned({key: value for key, value in job.items() if key != "pqid"}, self._store)
            ),
            type(error).__name__,
            self._store(str(error)),
            "\n".join(map(self._store, trace.splitlines()))[-_MAX_TRACE:],
            None if details is None else json.dumps(cleaned(details, self._store)),
            retry_count,
            self._now(),
            job.get("job_key"),
            job.get("enqueued_at"),
        )
        with self._lock, write(self._connection) as connection:
            cursor = connection.execute(
                "INSERT OR REPLACE INTO dead_letters"
                " (scene_id, job, error_type, error_message, stack_trace, details,"
                " retry_count, failed_at, job_key, enqueued_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            assert cursor.lastrowid is not None
            return cursor.lastrowid

    def get_recent(self, limit: int = 10, *, error_type: str | None = None) -> list[dict[str, Any]]:
        """Return the newest dead letters, newest first.

        Args:
            error_type: only those with this error type.
        """
        if error_type is None:
            return self._select("ORDER BY failed_at DESC, id DESC LIMIT ?", limit)
        return self._select(
            "WHERE error_type = ? ORDER BY failed_at DESC, id DESC LIMIT ?", error_type, limit
        )

    def get_by_id(self, dlq_id: int) -> dict[str, Any] | None:
        """Return a dead letter including its `job`, or None."""
        found = self._select("WHERE id = ?", dlq_id)
        return found[0] if found else None

    def get_by_error(self, error_type: str) -> list[dict[str, Any]]:
        """Return the dead letters with this error type, oldest first."""
        return self._select("WHERE error_type = ? ORDER BY id", error_type)

    def get_by_scene(self, scene_id: int) -> list[dict[str, Any]]:
        """Return the dead letters of a scene, newest first."""
        return self._select("WHERE scene_id = ? ORDER BY id DESC", scene_id)

    def get_count(self) -> int:
        """Return the number of dead letters."""
        with self._lock:
            return int(self._connection.execute("SELECT count(*) FROM dead_letters").fetchone()[0])

    def count_by_error(self) -> dict[str, int]:
        """Return error type → number of dead letters, most frequent first."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT CAST(error_type AS TEXT), count(*) FROM dead_letters"
                " GROUP BY 1 ORDER BY 2 DESC, 1"
            )
            return dict(rows)

    def delete_older_than(self, days: float = 30) -> int:
        """Delete dead letters older than `days` days; return their number.

        Also returns the free space of the file to the disk.
        """
        count = self._delete("failed_at < ?", self._now() - days * _DAY)
        with self._lock:
            shrink(self._connection)
        return count

    def delete(self, dlq_id: int) -> None:
        """Delete one dead letter."""
        self._delete("id = ?", dlq_id)

    def clear(self, error_type: str | None = None) -> int:
        """Delete all dead letters, or those with this error type; return their number."""
        return (
            self._delete("1") if error_type is None else self._delete("error_type = ?", error_type)
        )

    def delete_scene(self, scene_id: int, *, older_than: int | None = None) -> int:
        """Delete the dead letters of a scene that was synced or deleted; return their number.

        Args:
            older_than: only those with a smaller id than this.
        """
        where, values = "scene_id = ? AND id < ?", (scene_id, older_than or _MAX_ID)
        with self._lock:  # read first: most scenes have none, and that saves a write
            found = self._connection.execute(
                f"SELECT 1 FROM dead_letters WHERE {where}", values
            ).fetchone()
        return self._delete(where, *values) if found else 0

    def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Return the answer to a question in SQL; it must change nothing."""
        with self._lock:
            return question(self._connection)

    def failed_scenes(self) -> dict[int, float]:
        """Return scene id → epoch seconds of its latest dead letter."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT scene_id, max(failed_at) FROM dead_letters"
                " WHERE scene_id IS NOT NULL GROUP BY 1"
            ).fetchall()
        return {row[0]: row[1] for row in rows}

    def _store(self, text: str) -> str:
        """Return a text as it is stored: a foreign exception may hold an answer of megabytes."""
        return cut(self._redact(text), _MAX_LENGTH)

    def _select(self, clauses: str, *values: float | str) -> list[dict[str, Any]]:
        query = f"SELECT * FROM dead_letters {clauses}"
        with self._lock:
            rows = self._connection.execute(query, values).fetchall()
        return [_letter(row) for row in rows]

    def _delete(self, where: str, *values: float | str) -> int:
        with self._lock, write(self._connection) as connection:
            return connection.execute(f"DELETE FROM dead_letters WHERE {where}", values).rowcount


def _install(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > _VERSION:
        raise NewerSchema(DATABASE, version, _VERSION)
    if version == _VERSION:
        return
    with write(connection):
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={_VERSION}")


def _letter(row: sqlite3.Row) -> dict[str, Any]:
    letter = {
        name: decode(value) if isinstance(value, bytes) else value
        for name, value in dict(row).items()
    }
    job = _loads(letter["job"])
    letter["job"] = job if isinstance(job, dict) else {}
    letter["details"] = _loads(letter["details"])
    if not is_time(letter["failed_at"]):
        letter["failed_at"] = 0.0
    return letter


def _loads(text: str | None) -> Any:
    """Parse JSON; return None if it is invalid, so that one broken row does not hide the others."""
    try:
        return json.loads(text) if text else None
    except (ValueError, TypeError, RecursionError):
        return None
