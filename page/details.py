"""The views `details` and `command`: times, places and the log; the progress of a command."""

from __future__ import annotations

import os
import sys

import history.counts as counts
from common.daily import in_words
from common.files import read_json
from common.hook_times import hook_times, summarize_hook_times
from common.texts import cut, printable
from history.outages import readable_outages
from page.arguments import number
from page.readonly import has_table
from page.records import decoded
from page.state import (
    PLEX,
    STATE_FILE,
    compared,
    event_stream,
    look_at_worker,
    progress_of,
    since_when,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from typing import Any

    from page.look import Look

#: The worker's log (`worker.logfile`), the lines of it that are shown, and the bytes read for them.
LOG_FILE = "worker.log"
_LINES, _TAIL = 100, 65_536
_LONGEST_LINE = 1_000
#: State in the history: values of `worker.outages` and `worker.alerts`.
_OUTAGES, _WEBHOOK_PROBLEM = "outages", "webhook_problem"
#: By the numbers of `queue.commands`.
_STATUSES = ("waiting", "in_progress", "done", "dropped")


def details(look: Look) -> dict[str, Any]:
    """Return times, places and the end of the log."""
    log = look.path(LOG_FILE)
    files, listed_at, items = look.index(_index) or (0, None, 0)
    synced = look.history(_count_items) or 0
    known = look.history(lambda db: _told(db, look.now)) or {}
    return {
        "hook_ms": summarize_hook_times(hook_times(look.data_dir)) or None,
        "log": log,
        "data_dir": look.data_dir,
        "python": f"{sys.version.split()[0]} ({sys.executable})",
        "index": {"files": files, "listed_at": listed_at},
        "without_scene": max(0, items - synced),
        "events": event_stream(
            read_json(look.path(STATE_FILE)), look_at_worker(look.data_dir)["alive"]
        ),
        **known,
        "clock": in_words(look.now, look.now).partition(" ")[2],
        "lines": _tail(log),
    }


def _told(db: sqlite3.Connection, now: float) -> dict[str, Any]:
    """Return the latest outages, why the webhook can't be reached, and when all is compared."""
    return {
        "outages": readable_outages(counts.get_state(db, _OUTAGES)),
        "webhook_problem": since_when(counts.get_state(db, _WEBHOOK_PROBLEM)),
        **compared(db, now),
    }


def command(look: Look, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return how far a command is, and its result."""
    command_id = number(arguments, "id")
    row = look.queue(lambda db: _command(db, command_id))
    if row is None or row[0] not in range(len(_STATUSES)):
        return {"status": "unknown", "done": 0, "left": 0, "result": None}
    done, left = progress_of(row[1])
    result = decoded(row[2]) if row[2] is not None else None
    return {"status": _STATUSES[row[0]], "done": done, "left": left, "result": result}


def _command(db: sqlite3.Connection, command_id: int) -> tuple[Any, ...] | None:
    if not has_table(db, "commands"):
        return None
    row: tuple[Any, ...] | None = db.execute(
        "SELECT status, progress, result FROM commands WHERE id = ?", (command_id,)
    ).fetchone()
    return row


def _index(db: sqlite3.Connection) -> tuple[int, float | None, int]:
    """Return how many files Plex has, when they were listed, and of how many items they are."""
    (files,) = db.execute("SELECT count(*) FROM files WHERE path != ''").fetchone()
    (listed_at,) = db.execute("SELECT max(listed_at) FROM sections").fetchone()
    (items,) = db.execute(
        "SELECT count(*) FROM (SELECT DISTINCT section_id, rating_key FROM files)"
    ).fetchone()
    return files, listed_at, items


def _count_items(db: sqlite3.Connection) -> int:
    """Return how many items of this Plex are some scene's."""
    plex = counts.get_state(db, PLEX)
    server = plex.get("server") if isinstance(plex, dict) else None
    (items,) = db.execute(
        "SELECT count(DISTINCT rating_key) FROM agreements"
        " WHERE rating_key > 0 AND retired_at IS NULL AND server = ?",
        (server,),
    ).fetchone()
    return int(items)


def _tail(path: str) -> list[str]:
    """Return the last lines of the log."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - _TAIL))
            lines = file.read(_TAIL).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    if size > _TAIL:
        del lines[:1]  # its beginning is missing
    return [cut(printable(line), _LONGEST_LINE) for line in lines[-_LINES:]]
