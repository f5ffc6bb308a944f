"""Quarantine a damaged queue database and salvage its readable jobs. Loaded by the hook.

A hook only renames the damaged files, because it must be fast, and a new database is created. The
worker later copies the readable jobs from the quarantined files. Nothing is deleted.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time

import queue.table as table
from common.files import open_private, quarantine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from queue.models import SyncJob

_BROKEN = ".broken-"
_SALVAGED = ".carried"
_SIDE_FILES = ("-wal", "-shm")
#: Suffix of the guard file that one process holds while it renames a damaged database.
_GUARD = ".rescue"
#: Age in seconds from which a guard file is stale: its process was killed.
_STALE_GUARD = 10.0


def is_damage(error: BaseException) -> bool:
    """Tell whether an error means a damaged database file, not a locked one or a full disk."""
    text = str(error).replace("malformed JSON", "")  # that is one invalid row, not the file
    return isinstance(error, sqlite3.DatabaseError) and (
        "malformed" in text or "not a database" in text
    )


def is_busy(error: sqlite3.OperationalError) -> bool:
    """Tell whether an error means that another process holds the database locked."""
    return "locked" in str(error) or "busy" in str(error)


def identity(database: str) -> object:
    """Return a value that changes when the file is replaced; None if it is missing."""
    try:
        status = os.stat(database)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def check_database(database: str, *, thorough: bool = False) -> str | None:
    """Quarantine a database if it is damaged. Not for hooks: this reads the whole file.

    Args:
        thorough: also compare indexes with their tables, which takes several times as long.

    Returns:
        The new name of the damaged database; None if it is intact or missing.
    """
    return (
        quarantine_database(database, thorough=thorough)
        if os.path.exists(database) and _is_damaged(database, thorough)
        else None
    )


def quarantine_database(database: str, *, thorough: bool = False) -> str | None:
    """Rename a damaged database and its WAL files; return its new name.

    If several processes find the damage at once, one renames the files; the others wait for it.

    Returns:
        None if another process renamed the database or if it is intact: just open it again.

    Raises:
        OSError: the files can't be renamed.
    """
    guard = database + _GUARD
    try:
        os.close(open_private(guard, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        wait_for_recovery(database)
        return None
    try:
        return rename_database(database) if _is_damaged(database, thorough) else None
    finally:
        os.unlink(guard)


def wait_for_recovery(database: str, timeout: float = 2 * _STALE_GUARD) -> None:
    """Wait while another process renames the database.

    Opening the database in between would create a new WAL file for the old database.

    Raises:
        sqlite3.OperationalError: `timeout` seconds have passed.
    """
    guard = database + _GUARD
    deadline = time.monotonic() + timeout
    while True:
        try:
            age = time.time() - os.stat(guard).st_mtime
        except FileNotFoundError:
            return
        if age > _STALE_GUARD:
            try:
                os.unlink(guard)
            except FileNotFoundError:
                return
        if time.monotonic() >= deadline:
            raise sqlite3.OperationalError(
                "database is locked: it was damaged and is being renamed"
            )
        time.sleep(0.005)


def rename_database(database: str) -> str:
    """Rename a database that can't be used, with its WAL files; return its new name."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for side in _SIDE_FILES:  # first: a new database must not use the old WAL file
        if os.path.exists(database + side):
            os.replace(database + side, f"{database}{_BROKEN}{stamp}{side}")
    return quarantine(database, stamp)


def salvage(database: str, connection: sqlite3.Connection) -> int:
    """Copy the readable jobs of quarantined databases into the queue; return their number.

    Only the holder of the worker lock may call this.

    Args:
        connection: connection to the new database.
    """
    folder, name = os.path.split(database)
    salvaged = 0
    for entry in sorted(os.listdir(folder)):
        if entry.startswith(name + _BROKEN) and not entry.endswith((*_SIDE_FILES, _SALVAGED)):
            path = os.path.join(folder, entry)
            for job in _readable_jobs(path):
                if (
                    isinstance(job, dict)
                    and job.get("job_key")
                    and isinstance(job.get("scene_id"), int)
                ):
                    table.put(connection, job, older=True)
                    salvaged += 1
            os.replace(path, path + _SALVAGED)
    return salvaged


def _is_damaged(database: str, thorough: bool) -> bool:
    """Check the database itself: another process may have replaced it already."""
    try:
        connection = sqlite3.connect(database, timeout=1)
        try:
            check = "integrity_check" if thorough else "quick_check"
            return bool(connection.execute(f"PRAGMA {check}(1)").fetchone()[0] != "ok")
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        return is_damage(error)


def _readable_jobs(database: str) -> Iterator[SyncJob]:
    """Yield the unfinished jobs: forwards up to the damage, then backwards up to it."""
    import pathlib  # here, so that the hook does not load it

    seen: set[int] = set()
    for order in ("", "DESC"):
        try:
            connection = sqlite3.connect(f"{pathlib.Path(database).as_uri()}?mode=ro", uri=True)
        except sqlite3.Error:
            return
        try:
            rows = connection.execute(
                f"SELECT _id, data, status FROM ack_queue_default ORDER BY _id {order}"
            )
            for row_id, data, status in rows:
                if row_id not in seen and status <= table.CLAIMED:
                    seen.add(row_id)
                    yield json.loads(data)
        except (sqlite3.Error, ValueError):
            continue
        finally:
            connection.close()
