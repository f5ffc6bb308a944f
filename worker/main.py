"""The worker process: from taking the lock to the last check of the queue."""

from __future__ import annotations

import logging
import signal
import sqlite3
import threading
from collections.abc import Callable

from queue.operations import get_stats
from worker.bootstrap import build_worker
from worker.process import (
    SILENT_AFTER,
    SUCCESSOR_FILE,
    WorkerLock,
    is_held_by_task,
    is_unfinished,
    mark_disabled,
    mark_enabled,
    mark_finished,
    mark_unfinished,
    other_version,
)
from worker.processor import SyncWorker

log = logging.getLogger("plexsync")
#: Seconds between two checks whether the worker's thread is alive.
_LOOK = 0.5
#: Damaged databases after which the worker leaves: the disk itself must be faulty.
_MOST_DAMAGES = 3


def run_worker(
    data_dir: str,
    *,
    inherited_lock: int | None = None,
    successor: int | None = None,
    idle_timeout: float | None = None,
    rest: float = 0.0,
) -> int:
    """Run the worker of a data directory until it was idle for a while, or SIGTERM.

    Args:
        inherited_lock: descriptor of the lock, taken by the process that started this one.
        successor: descriptor of the lock of `worker.process.SUCCESSOR_FILE`: wait for the end of a
            worker of another version, or of a task; then work if anything is left to do.
        idle_timeout: seconds; default: PLEXSYNC_IDLE_TIMEOUT, else 15 minutes.
        rest: seconds to wait first, with the lock held, as the plugin was switched off just now.

    Returns:
        The exit status: 0, also when another worker is there already.

    Raises:
        ValueError: a PLEXSYNC_ variable is wrong.
        OSError, sqlite3.Error: the data directory can't be used.
    """
    lock = WorkerLock(data_dir, inherited=inherited_lock)
    asked_to_stop = threading.Event()
    for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: asked_to_stop.set())
    damages = 0
    if successor is not None and not _succeed(data_dir, lock, successor, asked_to_stop):
        return 0
    if rest and lock.acquire():
        asked_to_stop.wait(rest)
    while lock.acquire() and not asked_to_stop.is_set():
        lock.sign()
        mark_unfinished(data_dir)
        worker = _work(data_dir, lock, asked_to_stop, idle_timeout, damages > 0)
        damages += worker.damage is not None
        is_left = asked_to_stop.is_set() or worker.disabled or damages > _MOST_DAMAGES
        if not (is_left or worker.damage or lock.is_lost()):
            mark_finished(data_dir)
        lock.release()
        if is_left:
            break
        # A hook that saw the lock held wrote its job before: check once more, now that it is free.
        if worker.damage is None and not _anything_waits(data_dir):
            break
    return 0


def _succeed(
    data_dir: str, lock: WorkerLock, descriptor: int, asked_to_stop: threading.Event
) -> bool:
    """Wait for the lock; return whether it is held now and something is left to do."""
    successor = WorkerLock(data_dir, inherited=descriptor, file=SUCCESSOR_FILE)
    while not (lock.acquire() or asked_to_stop.wait(_LOOK) or lock.silent_for() > SILENT_AFTER):
        if other_version(data_dir) is None and not is_held_by_task(data_dir):
            break  # it has left; if a hook was faster, its worker has the lock
    successor.release()
    while lock.acquire():
        if is_unfinished(data_dir):
            return True
        lock.release()
        if not is_unfinished(data_dir):  # a hook that saw the lock held marks, then looks again
            break
    return False


def _anything_waits(data_dir: str) -> bool:
    try:
        return get_stats(data_dir)["pending"] > 0
    except sqlite3.Error:  # damaged: opening it again quarantines it
        return True


def _work(
    data_dir: str,
    lock: WorkerLock,
    asked_to_stop: threading.Event,
    idle_timeout: float | None,
    after_damage: bool,
) -> SyncWorker:
    """Run a worker's thread to its end; return the worker, closed."""
    with build_worker(
        data_dir, lock, idle_timeout=idle_timeout, after_damage=after_damage
    ) as worker:
        log.info("Worker started")
        worker.start()
        _wait(lambda: worker.running, asked_to_stop)
        worker.stop(timeout=None)  # after the job in hand
        disabled = worker.disabled
        if lock.is_lost():
            return worker
        (mark_disabled if disabled else mark_enabled)(data_dir)
        log.info(
            "Worker ends: %s",
            "switched off" if disabled else "asked to" if asked_to_stop.is_set() else "idle",
        )
    return worker


def _wait(alive: Callable[[], bool], asked_to_stop: threading.Event) -> None:
    while alive() and not asked_to_stop.wait(_LOOK):
        pass
