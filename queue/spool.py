"""Spool jobs in files while the queue's database is locked. Loaded by the hook.

A save in Stash must not wait for a process that holds the database locked for long, for example a
frozen one. A worker or a task imports the files, one process at a time.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress

from common.files import make_private_dir, open_private, quarantine, replace_private
from common.locks import try_lock
from queue.models import defect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from queue.models import SyncJob

FOLDER = "spool"
LOCK_FILE = "spool.lock"
#: Seconds to wait for another import. It takes milliseconds, unless its process is stopped.
LOCK_TIMEOUT = 3.0
_ENDING = ".json"


def spool(queue_dir: str, job: SyncJob) -> None:
    """Write `job` to a file of its own; it is on disk on return.

    Raises:
        OSError: the file can't be written.
    """
    folder = os.path.join(queue_dir, FOLDER)
    make_private_dir(folder)
    name = f"{time.time_ns():020d}-{os.getpid()}{_ENDING}"
    replace_private(os.path.join(folder, name), json.dumps(job, allow_nan=False), durable=True)


def spooled(queue_dir: str) -> list[str]:
    """Return the names of the spooled files, oldest first."""
    try:
        return sorted(
            name for name in os.listdir(os.path.join(queue_dir, FOLDER)) if name.endswith(_ENDING)
        )
    except FileNotFoundError:
        return []


def import_spool(
    queue_dir: str,
    put: Callable[[SyncJob], object],
    note_unread: Callable[[str, str], object] = lambda name, why: None,
) -> int:
    """Put the spooled jobs into the queue, oldest first, and remove their files.

    Of two processes one waits for the other, so that each file is imported once, and in order.
    After a kill between put and removal a job is put again; the queue merges it.

    A file that holds no job is quarantined. One that the disk does not let us read stays, as it may
    do so later.

    Args:
        note_unread: called with the name of such a file, and what is wrong with it.

    Returns:
        The number of jobs imported.

    Raises:
        OSError: the spool can't be changed; the remaining files stay there.
        sqlite3.Error: a job could not be put; the remaining files stay in the spool.
    """
    if not spooled(queue_dir):
        return 0
    lock = open_private(os.path.join(queue_dir, LOCK_FILE), os.O_RDWR | os.O_CREAT)
    try:
        return _import_files(queue_dir, put, note_unread) if _lock(lock) else 0
    finally:
        os.close(lock)  # which also unlocks


def _lock(descriptor: int) -> bool:
    """Wait for another import to end, but not for a stopped process; return whether it has."""
    deadline = time.monotonic() + LOCK_TIMEOUT
    try:
        while not try_lock(descriptor):
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.005)
    except OSError:  # the file system has no locks; a file that another process imported is skipped
        pass
    return True


def _import_files(
    queue_dir: str,
    put: Callable[[SyncJob], object],
    note_unread: Callable[[str, str], object],
) -> int:
    taken = 0
    for name in spooled(queue_dir):
        file = os.path.join(queue_dir, FOLDER, name)
        try:
            with open(file, encoding="utf-8") as content:
                job = json.load(content)
            if defect(job) is not None:
                raise ValueError("no job")
            put(job)
        except FileNotFoundError:  # imported by another process, on a file system without locks
            continue
        except OSError as error:
            note_unread(name, str(error))
            continue
        except (ValueError, RecursionError) as error:
            note_unread(name, str(error))  # first: a killed process must not have hidden it
            with suppress(FileNotFoundError):
                quarantine(file, time.strftime("%Y%m%d-%H%M%S"))
            continue
        with suppress(FileNotFoundError):
            os.unlink(file)
        taken += 1
    return taken
