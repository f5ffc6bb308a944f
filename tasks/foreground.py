"""Work while somebody watches: drain the queue here when no worker is alive, else follow the one that is."""

from __future__ import annotations

import time
from collections.abc import Callable

from queue.operations import get_stats
from stash.log import log
from worker.process import WorkerLock, ensure_worker
from worker.workshop import open_worker

#: Seconds between two looks at what a worker has left to do, and without progress before we stop looking.
_LOOK = 0.5
_PATIENCE = 30.0

Progress = Callable[[int, int], object]


def work_off(data_dir: str, entry: str, progress: Progress) -> str | None:
    """Have the queue worked off.

    Args:
        entry: path of `PlexSync.py`.
        progress: called with jobs done and jobs left.

    Returns:
        None when nothing that is due is left, else one line that says why.

    Raises:
        ValueError, OSError, sqlite3.Error: see `worker.workshop.open_worker`.
    """
    lock = WorkerLock(data_dir)
    if not lock.acquire():
        return _follow(data_dir, entry, progress)
    try:
        with open_worker(data_dir, lock, tell=log) as worker:
            finished = worker.drain(progress)
            gate = worker.gate
            reason = (
                None if finished else gate.problem or ("PlexSync is switched off" if gate.disabled else "Plex is down")
            )
    finally:
        lock.release()
    left = get_stats(data_dir)["pending"]
    if left and not gate.disabled:
        ensure_worker(data_dir, entry)  # retries, and what came in meanwhile
    return None if reason is None else f"{reason}; {left} scenes wait"


def _follow(data_dir: str, entry: str, progress: Progress) -> str | None:
    """Report the progress of the worker that is alive, until it has nothing left or makes none."""
    start = least = get_stats(data_dir)["pending"]
    last_progress = time.monotonic()
    while True:
        stats = get_stats(data_dir)
        left = stats["pending"] + stats["in_progress"]
        if not left:
            return None
        if left < least:
            least, last_progress = left, time.monotonic()
            progress(start - left, left)
        ensure_worker(data_dir, entry)  # in case it has just left, or died
        if time.monotonic() - last_progress > _PATIENCE:
            return f"{left} scenes wait; the worker in the background goes on with them"
        time.sleep(_LOOK)
