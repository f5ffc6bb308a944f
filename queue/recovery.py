"""A damaged queue database: set aside under a dated name, never deleted; what can be read is carried over.

Two steps, for two kinds of process. A hook has no time: it renames the files and begins anew. The worker, who
has, reads what is readable in the old ones and puts it into the new. Loaded by the hook.
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
_CARRIED = ".carried"
_SIDE_FILES = ("-wal", "-shm")
_GUARD = ".rescue"
#: Seconds after which a rescue counts as given up.
_LONGEST_RESCUE = 10.0


def is_damage(error: BaseException) -> bool:
    """Whether an error means that the database itself is damaged, not that it is busy or the disk full."""
    text = str(error).replace("malformed JSON", "")  # a row of ours, not the file
    return isinstance(error, sqlite3.DatabaseError) and (
        "malformed" in text or "not a database" in text
    )


def is_busy(error: sqlite3.OperationalError) -> bool:
    """Whether an error means that another process has the database, and for how long nobody knows."""
    return "locked" in str(error) or "busy" in str(error)


def check_database(database: str) -> str | None:
    """Set a database aside if it is damaged; return its new name, or None when it is well, or not there.

    Reads all of it, so not for hooks.
    """
    return (
        quarantine_database(database)
        if os.path.exists(database) and _is_damaged(database)
        else None
    )


def quarantine_database(database: str) -> str | None:
    """Rename a damaged database and what belongs to it; return its new name.

    Of several processes that find the damage at once one does it. The others wait until it is done and get
    None, as does whoever finds the database well: they only have to open it again.

    Raises:
        OSError: it can't be renamed.
    """
    guard = database + _GUARD
    try:
        os.close(open_private(guard, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        wait_for_recovery(database)
        return None
    try:
        return _rename(database) if _is_damaged(database) else None
    finally:
        os.unlink(guard)


def wait_for_recovery(database: str, timeout: float = 2 * _LONGEST_RESCUE) -> None:
    """Wait while another process sets the database aside: who opened it meanwhile would begin a new log for it.

    Raises:
        sqlite3.OperationalError: it takes longer than `timeout` seconds.
    """
    guard = database + _GUARD
    deadline = time.monotonic() + timeout
    while True:
        try:
            age = time.time() - os.stat(guard).st_mtime
        except FileNotFoundError:
            return
        if age > _LONGEST_RESCUE:  # whoever made it was killed
            try:
                os.unlink(guard)
            except FileNotFoundError:
                return
        if time.monotonic() >= deadline:
            raise sqlite3.OperationalError(
                "database is locked: it was damaged, and is being set aside"
            )
        time.sleep(0.005)


def _rename(database: str) -> str:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for side in _SIDE_FILES:  # first: a new database must not find an old log beside it
        if os.path.exists(database + side):
            os.replace(database + side, f"{database}{_BROKEN}{stamp}{side}")
    return quarantine(database, stamp)


def salvage(database: str, connection: sqlite3.Connection) -> int:
    """Put what is readable in set-aside databases into the queue; return how many jobs.

    Only for the holder of the worker's lock.

    Args:
        connection: the new queue's.
    """
    folder, name = os.path.split(database)
    carried = 0
    for entry in sorted(os.listdir(folder)):
        if entry.startswith(name + _BROKEN) and not entry.endswith((*_SIDE_FILES, _CARRIED)):
            path = os.path.join(folder, entry)
            for job in _readable_jobs(path):
                if (
                    isinstance(job, dict)
                    and job.get("job_key")
                    and isinstance(job.get("scene_id"), int)
                ):
                    table.put(connection, job, older=True)
                    carried += 1
            os.replace(path, path + _CARRIED)
    return carried


def _is_damaged(database: str) -> bool:
    """Look again, once nobody else is at it: another process may have been faster."""
    try:
        connection = sqlite3.connect(database, timeout=1)
        try:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok")
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        return is_damage(error)


def _readable_jobs(database: str) -> Iterator[SyncJob]:
    """Yield the unfinished jobs, from the front until the damage, then from the back until it."""
    import pathlib  # not on the hook's way

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
                if row_id not in seen and status <= table.TAKEN:
                    seen.add(row_id)
                    yield json.loads(data)
        except (sqlite3.Error, ValueError):
            continue
        finally:
            connection.close()
