"""Read SQLite databases without changing a byte of the data directory.

`mode=ro` alone is not enough. SQLite creates the files `-wal` and `-shm` where they are missing,
and writes into `-shm` where they are not. So:

- While there is a write-ahead log, `readonly_shm` keeps SQLite from writing into `-shm`. What a
  killed process left in the log is read too, in memory.
- Without one, no process has the database open. It is read as `immutable`, without any lock. If
  its file differs afterwards, a process has written meanwhile, and it is read again.
- A log without `-shm` can't be read so. Only the worker recovers it.
"""

from __future__ import annotations

import os
import sqlite3
import time

from queue.recovery import is_being_renamed, is_damage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

#: Looks at a database that other processes open and close meanwhile, and seconds between two.
_ATTEMPTS = 5
_PAUSE = 0.01
#: Seconds to wait for a lock: nothing of ours holds a lock that a reader waits for.
_PATIENCE = 0.5


class Unreadable(ValueError):
    """Signal a database that can't be read. The text is one sentence for the user."""


def look(path: str, known: int, read: Callable[[sqlite3.Connection], T]) -> T | None:
    """Return what `read` finds in a database, in one transaction; None if it is missing or empty.

    Args:
        known: the newest schema that this version knows.
        read: may be called again.

    Raises:
        Unreadable
    """
    name = os.path.basename(path)
    problem: Exception | None = None
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE)
        before = _state(path)
        if before is None or (before[1] == 0 and before[-1] is None):
            return None
        if is_being_renamed(path):
            raise Unreadable(f"{name} was damaged and is being replaced: look again in a moment")
        has_log = before[-1] is not None
        try:
            found = _read(path, has_log, known, read)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            problem = error
            if _is_lasting(error) and _state(path) == before:
                break
        else:
            if has_log or _state(path) == before:
                return found
            problem = None
    if problem is not None:
        raise Unreadable(_explain(path, problem)) from problem
    raise Unreadable(f"{name} is in use by another process: look again in a moment")


def _is_lasting(error: Exception) -> bool:
    """Return whether another attempt is of no use, or has been waited for already.

    Anything else may come from a process that was just opening or closing the database.
    """
    return is_damage(error) or "locked" in str(error)


def _state(path: str) -> tuple[object, ...] | None:
    """Return what changes when a process writes the database; last the log's size, or None."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    try:
        log = os.stat(f"{path}-wal").st_size or None
    except OSError:
        log = None
    if log is None and os.path.exists(f"{path}-shm") and os.path.exists(f"{path}-wal"):
        log = 0  # empty, and open in another process or left by a killed one
    return found.st_ino, found.st_size, found.st_mtime_ns, log


def _read(
    path: str, has_log: bool, known: int, read: Callable[[sqlite3.Connection], T]
) -> T | None:
    how = "readonly_shm=1" if has_log else "immutable=1"
    connection = sqlite3.connect(
        f"{_uri(path)}?mode=ro&{how}", uri=True, timeout=_PATIENCE, isolation_level=None
    )
    try:
        # A damaged text must not hide the other rows.
        connection.text_factory = _text
        connection.execute("BEGIN")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > known:
            raise Unreadable(
                f"{os.path.basename(path)} has schema {version}, and this PlexSync knows {known}:"
                " a newer PlexSync has used this data directory. Install that version again"
            )
        return read(connection) if version else None  # 0: its tables are just being created
    finally:
        connection.close()


def _uri(path: str) -> str:
    """Return a path as SQLite's URIs have it; `pathlib` and `urllib` take too long to import."""
    path = os.path.abspath(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    if os.name == "nt":
        path = "/" + path.replace("\\", "/")
    return f"file://{path}" if path.startswith("/") else f"file:{path}"


def _text(stored: bytes) -> str:
    return stored.decode("utf-8", "replace")


def _explain(path: str, error: Exception) -> str:
    name, text = os.path.basename(path), str(error)
    if is_damage(error):
        return (
            f"{name} is damaged ({text}): save any scene, and the worker begins a new one with"
            " what can be read"
        )
    if "unable to open" in text and os.path.exists(f"{path}-wal"):
        return f"{name} was left open by a process that ended: save any scene, and it is recovered"
    if "locked" in text:
        return f"{name} is locked by another process: look again in a moment"
    if "readonly" in text:  # a process was just opening or closing it, at each attempt
        return f"{name} is in use by another process: look again in a moment"
    return f"{name} can't be read ({type(error).__name__}: {text})"


def has_table(db: sqlite3.Connection, name: str) -> bool:
    """Return whether a database has a table; one of an older version may not."""
    found = db.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)
    ).fetchone()
    return found is not None
