"""Work while somebody watches: drain the queue here when no worker is alive, else follow the one that is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from queue.ack_queue import JobQueue
from queue.manager import QueueManager
from queue.operations import get_stats
from worker.bootstrap import build_worker
from worker.process import WorkerLock, ensure_worker
from worker.state import load_state

#: Seconds between two looks at what a worker has left to do; without progress before its own account of what is
#: wrong is believed, and before we stop looking.
_LOOK = 0.5
_BELIEVE = 3.0
_PATIENCE = 30.0

Progress = Callable[[int, int], object]
Tell = Callable[[str, str], object]


def work_off(data_dir: str, entry: str, progress: Progress, tell: Tell) -> str | None:
    """Have the queue worked off.

    Args:
        entry: path of `PlexSync.py`.
        progress: called with jobs done and jobs left.
        tell: called with (level, text) of what a person must know.

    Returns:
        None when nothing that is due is left, else one line that says why.

    Raises:
        ValueError, OSError, sqlite3.Error: see `worker.bootstrap.build_worker`.
    """
    lock = WorkerLock(data_dir)
    if not lock.acquire():
        return _follow(data_dir, entry, progress)
    try:
        with build_worker(data_dir, lock, tell=tell) as worker:
            finished = worker.drain(progress)
            state, disabled = worker.health.to_dict(), worker.disabled
    finally:
        lock.release()
    left = get_stats(data_dir)["pending"]
    if left and not disabled:
        ensure_worker(data_dir, entry)  # retries, and what came in meanwhile
    return (
        None
        if finished
        else f"{_problem(state) or 'Plex or Stash does not answer'}; {left} scenes wait"
    )


def _follow(data_dir: str, entry: str, progress: Progress) -> str | None:
    """Report the progress of the worker that is alive, until it has nothing left that is due, or makes none."""
    with QueueManager(data_dir) as queue:
        start = least = _due(queue)
        last_progress = time.monotonic()
        while left := _due(queue):
            if left < least:
                least, last_progress = left, time.monotonic()
                progress(start - left, left)
            ensure_worker(data_dir, entry)  # in case it has just left, or died
            idle = time.monotonic() - last_progress
            problem = _problem(load_state(data_dir)) if idle > _BELIEVE else None
            if problem is not None:
                return f"{problem}; {left} scenes wait"
            if idle > _PATIENCE:
                return f"{left} scenes wait; the worker in the background goes on with them"
            time.sleep(_LOOK)
    return None


def _due(queue: JobQueue) -> int:
    spooled = queue.count_spooled()  # before: an import meanwhile hides no job
    counts = queue.counts(due_at=time.time())
    return counts["pending"] + counts["in_progress"] + spooled


def _problem(state: dict[str, Any]) -> str | None:
    """Return what keeps a worker from working, by its own account."""
    if state.get("problem"):
        return str(state["problem"])
    return next(
        (f"{name.capitalize()} is down" for name in ("plex", "stash") if state.get(name) == "open"),
        None,
    )
