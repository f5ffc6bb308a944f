"""Where an edit goes while the queue's database can't be written: one small file each, beside it.

A save in Stash must not wait for a process that holds the database locked: one that is frozen, or gives back
disk space. A worker or a task imports the files, one process at a time. Loaded by the hook.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress

from common.files import make_private_dir, replace_private, set_aside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from queue.models import SyncJob

FOLDER = "spool"
_ENDING = ".json"


def spool(queue_dir: str, job: SyncJob) -> None:
    """Write `job` to a file of its own; on disk when this returns.

    Raises:
        OSError: it can't be written.
    """
    folder = os.path.join(queue_dir, FOLDER)
    make_private_dir(folder)
    name = f"{time.time_ns():020d}-{os.getpid()}{_ENDING}"
    replace_private(os.path.join(folder, name), json.dumps(job), durable=True)


def spooled(queue_dir: str) -> list[str]:
    """Return the names of the files that wait, oldest first."""
    try:
        return sorted(
            name for name in os.listdir(os.path.join(queue_dir, FOLDER)) if name.endswith(_ENDING)
        )
    except FileNotFoundError:
        return []


def take_in(queue_dir: str, put: Callable[[SyncJob], object]) -> int:
    """Hand what waits to `put`, oldest first, and remove it then; return how many.

    Two processes at once: one waits for the other, so that each file is imported once, and in order.
    A kill between the two steps hands a file over again, which the queue merges.

    Raises:
        OSError, sqlite3.Error: the rest stays where it is.
    """
    if not spooled(queue_dir):
        return 0
    from queue.spool_lock import exclusive  # a hook never imports the spool

    with exclusive(queue_dir) as is_ours:
        return _take_in(queue_dir, put) if is_ours else 0


def _take_in(queue_dir: str, put: Callable[[SyncJob], object]) -> int:
    taken = 0
    for name in spooled(queue_dir):
        file = os.path.join(queue_dir, FOLDER, name)
        try:
            with open(file, encoding="utf-8") as content:
                job = json.load(content)
            if not isinstance(job.get("scene_id"), int) or not job.get("job_key"):
                raise ValueError("no job")
        except FileNotFoundError:  # another process was faster, where there are no locks
            continue
        except (ValueError, AttributeError, RecursionError):
            with suppress(FileNotFoundError):
                set_aside(file, time.strftime("%Y%m%d-%H%M%S"))
            continue
        put(job)
        with suppress(FileNotFoundError):
            os.unlink(file)
        taken += 1
    return taken
