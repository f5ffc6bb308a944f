"""Tell databases of another program from ours: an older plugin has the same id and place."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing

from common.layout import QUEUE
from queue.dlq import DATABASE as DLQ
from queue.recovery import is_damage

_QUEUE_TABLE = "ack_queue_default"
_QUEUE_COLUMNS = {"_id", "data", "timestamp", "status"}
_LETTERS_TABLE = "dead_letters"
_LETTERS_COLUMNS = {
    *("id", "scene_id", "job", "error_type", "error_message", "stack_trace", "details"),
    *("retry_count", "failed_at", "job_key", "enqueued_at"),
}
#: States below this one are not finished.
_FINISHED = 5


def foreign_queue(file: str) -> str | None:
    """Return what makes a queue another program's, or None.

    Jobs are JSON with a key. Rows of pickles are never loaded.
    """
    with closing(sqlite3.connect(file, timeout=10.0)) as connection:
        columns = _columns(connection, _QUEUE_TABLE)
        if not columns:
            return None
        if not columns >= _QUEUE_COLUMNS:
            return "its table has other columns"
        if connection.execute("PRAGMA user_version").fetchone()[0] > 0:
            return None  # our indexes are there, and they accept only JSON
        rows = connection.execute(f"SELECT data, status FROM {_QUEUE_TABLE}").fetchall()
    foreign = [status for data, status in rows if not _is_job(data)]
    waiting = sum(status < _FINISHED for status in foreign)
    if not foreign:
        return None
    if not waiting:
        return "its rows are in another format"
    return f"{waiting} edits that waited in it can't be read: run Sync recent scenes"


def foreign_letters(file: str) -> str | None:
    """Return what makes a database of dead letters another program's, or None."""
    with closing(sqlite3.connect(file, timeout=10.0)) as connection:
        columns = _columns(connection, _LETTERS_TABLE)
    return "its table has other columns" if columns and not columns >= _LETTERS_COLUMNS else None


#: File in the data directory → what tells that it is foreign.
FOREIGN: dict[str, Callable[[str], str | None]] = {QUEUE: foreign_queue, DLQ: foreign_letters}


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    try:
        return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return set()
        raise


def _is_job(data: object) -> bool:
    try:
        job = json.loads(data)  # type: ignore[arg-type]
    except (ValueError, TypeError, RecursionError):
        return False
    return isinstance(job, dict) and "job_key" in job and "scene_id" in job
