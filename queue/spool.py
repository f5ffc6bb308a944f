"""Where an edit goes while the queue's database can't be written: one small file each, beside it.

A save in Stash must not wait for a process that holds the database locked: one that is frozen, or gives back
disk space. The holder of the worker's lock takes the files in. Loaded by the hook.
"""

from __future__ import annotations

import json
import os
import time

from common.files import make_private_dir, quarantine, replace_private

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


def import_spool(queue_dir: str, put: Callable[[SyncJob], object]) -> int:
    """Hand what waits to `put`, oldest first, and remove it then; return how many.

    A kill between the two hands it over again, which the queue merges.

    Raises:
        OSError, sqlite3.Error: the rest stays where it is.
    """
    taken = 0
    for name in spooled(queue_dir):
        file = os.path.join(queue_dir, FOLDER, name)
        try:
            with open(file, encoding="utf-8") as content:
                job = json.load(content)
            if not isinstance(job.get("scene_id"), int) or not job.get("job_key"):
                raise ValueError("no job")
        except (ValueError, AttributeError, RecursionError):
            quarantine(file, time.strftime("%Y%m%d-%H%M%S"))
            continue
        put(job)
        os.unlink(file)
        taken += 1
    return taken
