"""Quarantine a damaged database, and read its readable rows. Loaded by the hook.

Only the holder of the worker lock renames a database and salvages jobs from it. A hook only looks
whether that is going on. Nothing is deleted.
"""

from __future__ import annotations

import os
import sqlite3
import time

import queue.table as table
from common.files import open_private, quarantine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_BROKEN = ".broken-"
_SALVAGED = ".carried"
_SIDE_FILES = ("-wal", "-shm")
#: Suffix of the guard file that is there while a damaged database is renamed.
_GUARD = ".rescue"
#: Age in seconds from which a guard file is stale: its process was killed.
_STALE_GUARD = 10.0


def is_damage(error: BaseException) -> bool:
    """Tell whether an error means a damaged database file, not a locked one or a full disk."""
    text = str(error).replace("malformed JSON", "")  # that is one invalid row, not the file
    return isinstance(error, sqlite3.DatabaseError) and (
        "malformed" in text or "not a database" in text
    )


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
    if os.path.exists(database) and _is_damaged(database, thorough):
        return quarantine_database(database)
    _remove_guard(database)  # its process was killed
    return None


def quarantine_database(database: str) -> str:
    """Rename a damaged database and its WAL files; return its new name.

    Raises:
        OSError: the files can't be renamed.
    """
    guard = database + _GUARD
    os.close(open_private(guard, os.O_WRONLY | os.O_CREAT))
    os.utime(guard)
    try:
        return rename_database(database)
    finally:
        os.unlink(guard)


def is_being_renamed(database: str) -> bool:
    """Tell whether the database must not be opened, as it is just being renamed."""
    try:
        age = time.time() - os.stat(database + _GUARD).st_mtime
    except FileNotFoundError:
        return False
    return age < _STALE_GUARD


def wait_for_recovery(database: str, timeout: float) -> None:
    """Wait while another process renames the database.

    Opening the database in between would create a new WAL file for the old database.

    Raises:
        sqlite3.OperationalError: `timeout` seconds have passed.
    """
    deadline = time.monotonic() + timeout
    while is_being_renamed(database):
        if time.monotonic() >= deadline:
            raise sqlite3.OperationalError(
                "database is locked: it was damaged and is being renamed"
            )
        time.sleep(0.005)


def rename_database(database: str) -> str:
    """Rename a database that can't be used, with its WAL files; return its new name."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    _rename_side_files(database, stamp)  # first: a new database must not use the old WAL file
    target = quarantine(database, stamp)
    _rename_side_files(database, stamp)  # of a process that was about to open the database
    return target


def _rename_side_files(database: str, stamp: str) -> None:
    for side in _SIDE_FILES:
        if os.path.exists(database + side):
            os.replace(database + side, f"{database}{_BROKEN}{stamp}{side}")


def _remove_guard(database: str) -> None:
    try:
        os.unlink(database + _GUARD)
    except FileNotFoundError:
        return


def salvage(database: str, connection: sqlite3.Connection) -> int:
    """Copy the readable jobs of quarantined databases into the queue; return their number.

    A job that can't be read goes to the table of quarantined rows. Only the holder of the worker
    lock may call this.

    Args:
        connection: connection to the new database.
    """
    salvaged = 0
    for path in to_salvage(database):
        for data, status in readable_rows(path, "ack_queue_default", "data, status", "_id"):
            if status in (table.DONE, table.FAILED):
                continue
            job, why = table.parse_job(data)
            if job is None:
                table.quarantine(connection, data, why)
            else:
                table.put(connection, job, older=True)
                salvaged += 1
        mark_salvaged(path)
    return salvaged


def to_salvage(database: str) -> list[str]:
    """Return the quarantined files of a database from which nothing was salvaged yet."""
    folder, name = os.path.split(database)
    return [
        os.path.join(folder, entry)
        for entry in sorted(os.listdir(folder))
        if entry.startswith(name + _BROKEN) and not entry.endswith((*_SIDE_FILES, _SALVAGED))
    ]


def mark_salvaged(path: str) -> None:
    """Note that everything readable was salvaged from a quarantined file."""
    os.replace(path, path + _SALVAGED)


def readable_rows(database: str, name: str, columns: str, key: str) -> Iterator[tuple[Any, ...]]:
    """Yield the readable rows of a damaged table: forwards up to the damage, then backwards.

    Args:
        columns: of the rows, separated by commas.
        key: the column that is the row id.
    """
    import pathlib  # here, so that the hook does not load it

    seen: set[int] = set()
    for order in ("", "DESC"):
        try:
            connection = sqlite3.connect(f"{pathlib.Path(database).as_uri()}?mode=ro", uri=True)
        except sqlite3.Error:
            return
        connection.text_factory = decode
        try:
            # No index: it may be the damaged part.
            for row in connection.execute(
                f"SELECT {key}, {columns} FROM {name} NOT INDEXED ORDER BY {key} {order}"
            ):
                if row[0] not in seen:
                    seen.add(row[0])
                    yield row[1:]
        except sqlite3.Error:
            continue
        finally:
            connection.close()


def decode(text: bytes) -> str:
    """Return a stored text; replace damaged bytes."""
    return text.decode("utf-8", "replace")


def _is_damaged(database: str, thorough: bool) -> bool:
    try:
        connection = sqlite3.connect(database, timeout=1, isolation_level=None)
        connection.text_factory = bytes  # the report of a damaged file need not be UTF-8
        try:
            check = "integrity_check" if thorough else "quick_check"
            if connection.execute(f"PRAGMA {check}(1)").fetchone()[0] != b"ok":
                return True
            # A wrong byte of the header makes a database read-only, and no check reports it.
            connection.execute("BEGIN IMMEDIATE")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            connection.execute(f"PRAGMA user_version={version}")
            connection.execute("ROLLBACK")
            return False
        finally:
            connection.close()
    except UnicodeDecodeError:  # the error itself names a damaged text
        return True
    except sqlite3.DatabaseError as error:
        return is_damage(error) or ("readonly" in str(error) and _may_write(database))


def _may_write(database: str) -> bool:
    """Tell whether this user may write the file, so that only its content makes it read-only."""
    return os.access(database, os.W_OK) and os.access(os.path.dirname(database), os.W_OK)
