"""Process the queue in the foreground, or follow the worker that is already running."""

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

#: Seconds between two looks at a worker's progress.
_LOOK = 0.5
#: Seconds without progress after which the problem that the worker reports is the reason.
_STALLED = 3.0
#: Seconds without progress after which following ends.
_GIVE_UP = 30.0

Progress = Callable[[int, int], object]
Tell = Callable[[str, str], object]


def drain_queue(data_dir: str, entry: str, progress: Progress, tell: Tell) -> str | None:
    """Process all jobs that are due.

    Args:
        entry: Path of `PlexSync.py`.
        progress: Called with jobs done and jobs left.
        tell: Called with (level, text) of a message to the user.

    Returns:
        None when no due job is left, else the reason in one line.

    Raises:
        ValueError, OSError, sqlite3.Error: See `worker.bootstrap.build_worker`.
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
        ensure_worker(data_dir, entry)  # for retries and for jobs that were added meanwhile
    if finished:
        return None
    return f"{_problem(state) or 'Plex or Stash does not answer'}; {left} scenes are queued"


def _follow(data_dir: str, entry: str, progress: Progress) -> str | None:
    """Report the progress of the running worker until no due job is left or it stalls."""
    with QueueManager(data_dir) as queue:
        start = least = _due(queue)
        last_progress = time.monotonic()
        while left := _due(queue):
            if left < least:
                least, last_progress = left, time.monotonic()
                progress(start - left, left)
            ensure_worker(data_dir, entry)  # it may have exited or died
            idle = time.monotonic() - last_progress
            problem = _problem(load_state(data_dir)) if idle > _STALLED else None
            if problem is not None:
                return f"{problem}; {left} scenes are queued"
            if idle > _GIVE_UP:
                return f"{left} scenes are queued; the worker continues in the background"
            time.sleep(_LOOK)
    return None


def _due(queue: JobQueue) -> int:
    spooled = queue.count_spooled()  # before: an import meanwhile hides no job
    counts = queue.counts(due_at=time.time())
    return counts["pending"] + counts["in_progress"] + spooled


def _problem(state: dict[str, Any]) -> str | None:
    """Return the problem in a worker's own state, or None."""
    if state.get("problem"):
        return str(state["problem"])
    return next(
        (f"{name.capitalize()} is down" for name in ("plex", "stash") if state.get(name) == "open"),
        None,
    )
