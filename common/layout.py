"""The version of a data directory, and the steps that brought it there. Loaded by the hook.

Only the holder of the worker's lock takes the steps (`worker/migration.py`). Until they are taken,
hooks spool: a database that is being moved must not be begun anew.
"""

from __future__ import annotations

import json
import os
import time

from common.files import read_json, replace_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

FILE = "layout.json"
#: Version of the data directory: the number of steps.
VERSION = 1
#: Files that hold what PlexSync knows. A directory with one of them is in use.
STATE = ("history.db", "memory.db", "dlq.db", "installed.json", "sync_timestamps.json")
#: File of queued edits.
QUEUE = os.path.join("queue", "data.db")


def load(data_dir: str) -> dict[str, Any]:
    """Return what is recorded; nothing if it is missing or can't be read."""
    return read_json(os.path.join(data_dir, FILE))


def version_of(recorded: dict[str, Any]) -> int:
    """Return the recorded version; 0 if there is none."""
    version = recorded.get("version")
    return version if isinstance(version, int) and not isinstance(version, bool) else 0


def record(data_dir: str, version: int, step: str, **more: Any) -> None:
    """Record, durably, that a step was taken.

    Args:
        more: what a step that is not over needs to go on after a kill.

    Raises:
        OSError: the file can't be written.
    """
    steps = load(data_dir).get("steps")
    taken = [*(steps if isinstance(steps, list) else []), {"step": step, "at": time.time()}]
    content = {"version": version, "steps": taken, **more}
    replace_private(os.path.join(data_dir, FILE), json.dumps(content), durable=True)


def is_in_use(data_dir: str) -> bool:
    """Return whether a directory holds anything of an earlier run."""
    return any(os.path.exists(os.path.join(data_dir, name)) for name in (*STATE, QUEUE))


def is_outdated(data_dir: str, others: Iterable[str]) -> bool:
    """Return whether steps are left to take. A new directory needs none.

    Args:
        others: other data directories of this Stash (`common.data_dir.old_places`); looked at only
            while nothing is recorded.
    """
    recorded = load(data_dir)
    if recorded or os.path.exists(os.path.join(data_dir, FILE)):
        return version_of(recorded) != VERSION
    return is_in_use(data_dir) or any(True for _ in others)


def is_ready(data_dir: str, others: Iterable[str]) -> bool:
    """Return whether a hook may use the database; record the version of a new directory.

    Args:
        others: see `is_outdated`.

    Raises:
        OSError: the directory can't be written.
    """
    if is_outdated(data_dir, others):
        return False
    if not os.path.exists(os.path.join(data_dir, FILE)):
        record(data_dir, VERSION, "new")
    return True
