"""The worker process: from taking the lock to the last check of the queue."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import sys
import threading
import time
from types import FrameType

from queue.operations import get_stats
from worker.bootstrap import build_worker
from worker.presence import MANIFEST, version_in
from worker.process import (
    SILENT_AFTER,
    SUCCESSOR_FILE,
    WorkerLock,
    ensure_worker,
    is_signed_by_us,
    is_unfinished,
    mark_disabled,
    mark_enabled,
    mark_finished,
    mark_unfinished,
    worker_alive,
)
from worker.processor import SyncWorker

log = logging.getLogger("plexsync")
#: Seconds between two looks at a lock, or at the files of an update.
_LOOK = 0.5
#: Seconds for which the main thread sleeps at most. Signals wake it, but not on Windows.
_SLEEP = 0.5 if sys.platform == "win32" else 60.0
#: Damaged databases after which the worker leaves: the disk itself must be faulty.
_MOST_DAMAGES = 3
#: Seconds for which an update may leave the plugin without its files, and for the last of them.
_UPDATE = 20.0
_UNPACKING = 2.0


def run_worker(
    data_dir: str,
    *,
    inherited_lock: int | None = None,
    is_successor: bool = False,
    idle_timeout: float | None = None,
    rest: float = 0.0,
    entry: str | None = None,
) -> int:
    """Run the worker of a data directory until it was idle for a while, or SIGTERM.

    Args:
        inherited_lock: descriptor of the lock, taken by the process that started this one; for a
            successor that of `worker.process.SUCCESSOR_FILE`.
        is_successor: wait for the end of a worker of another version, of a task, or of a look at
            the lock; then work if anything is left to do.
        idle_timeout: seconds; default: PLEXSYNC_IDLE_TIMEOUT, else 15 minutes.
        rest: seconds to wait first, with the lock held, as the plugin was switched off just now.
        entry: path of `PlexSync.py`; see `worker.bootstrap.build_worker`.

    Returns:
        The exit status: 0, also when another worker is there already.

    Raises:
        ValueError: a PLEXSYNC_ variable is wrong.
        OSError, sqlite3.Error: the data directory can't be used.
    """
    lock = WorkerLock(data_dir, inherited=None if is_successor else inherited_lock)
    stop = _StopOnSignal()
    asked_to_stop = stop.asked
    damages = 0
    if is_successor and not _succeed(data_dir, lock, inherited_lock, asked_to_stop):
        return 0
    if rest and lock.acquire():
        asked_to_stop.wait(rest)
    while lock.acquire() and not asked_to_stop.is_set():
        lock.sign()
        mark_unfinished(data_dir)
        worker = _work(data_dir, lock, stop, idle_timeout, damages > 0, entry)
        damages += worker.damage is not None
        absent, is_replaced = worker.presence.reason, worker.presence.is_replaced
        is_left = asked_to_stop.is_set() or worker.disabled or damages > _MOST_DAMAGES
        is_left = is_left or worker.paused  # edits wait for the user; the mark says so
        is_wanted = absent or worker.damage or worker.is_to_be_woken
        if not (is_left or is_wanted or lock.is_lost()):
            mark_finished(data_dir)
        lock.release()
        if entry is not None and is_replaced:
            _hand_over(data_dir, entry, asked_to_stop, stays=worker.stays)
        if is_left or absent is not None:
            break
        # A hook that saw the lock held wrote its job before: check once more, now that it is free.
        if not (
            worker.damage or worker.stays or _anything_waits(data_dir, worker.queue.count_unread())
        ):
            break
    return 0


class _StopOnSignal:
    """Ends the worker when the process is asked to end."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._worker: SyncWorker | None = None
        for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), self._on_signal)

    def wait_for(self, worker: SyncWorker) -> None:
        """Wait for the end of a worker that was started; it is asked to stop by a signal."""
        self._worker = worker
        if self.asked.is_set():  # before we knew it
            worker.ask_to_leave()
        while worker.running:
            worker.join(_SLEEP)
        self._worker = None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # in a thread of its own: this one may be inside the event's own lock
        threading.Thread(target=self._stop).start()

    def _stop(self) -> None:
        self.asked.set()
        worker = self._worker
        if worker is not None:
            worker.ask_to_leave()


def _succeed(
    data_dir: str, lock: WorkerLock, descriptor: int | None, asked_to_stop: threading.Event
) -> bool:
    """Wait for the lock; return whether it is held now and something is left to do.

    Args:
        descriptor: of the lock of `SUCCESSOR_FILE`; None where it can't be inherited.
    """
    successor = WorkerLock(data_dir, inherited=descriptor, file=SUCCESSOR_FILE)
    if not successor.acquire():
        return False
    while not (lock.acquire() or asked_to_stop.wait(_LOOK)):
        if not worker_alive(data_dir):
            continue  # a process that looks at the lock held it
        if is_signed_by_us(data_dir) or lock.silent_for() > SILENT_AFTER:
            break  # a hook was faster: its worker has the lock
    successor.release()
    while lock.acquire():
        if is_unfinished(data_dir):
            return True
        lock.release()
        if not is_unfinished(data_dir):  # a hook that saw the lock held marks, then looks again
            break
    return False


def _hand_over(data_dir: str, entry: str, asked_to_stop: threading.Event, *, stays: bool) -> None:
    """Start a worker of the version that was installed, if anything waits, or it is to stay.

    An update removes the files one by one, then unpacks the new ones.
    """
    needed = [os.path.join(os.path.dirname(entry), name) for name in (MANIFEST, "worker/main.py")]
    end = time.monotonic() + _UPDATE
    while not asked_to_stop.wait(_LOOK) and time.monotonic() < end:
        if all(version_in(file) if file == needed[0] else os.path.exists(file) for file in needed):
            asked_to_stop.wait(_UNPACKING)
            if stays or _anything_waits(data_dir):
                ensure_worker(data_dir, entry)
            return


def _anything_waits(data_dir: str, unread: int = 0) -> bool:
    """Return whether edits wait, besides `unread` ones that this process can't read."""
    try:
        return get_stats(data_dir)["pending"] > unread
    except sqlite3.Error:  # damaged: opening it again quarantines it
        return True


def _work(
    data_dir: str,
    lock: WorkerLock,
    stop: _StopOnSignal,
    idle_timeout: float | None,
    after_damage: bool,
    entry: str | None,
) -> SyncWorker:
    """Run a worker's thread to its end; return the worker, closed."""
    with build_worker(
        data_dir,
        lock,
        idle_timeout=idle_timeout,
        after_damage=after_damage,
        is_stopped=stop.asked.is_set,
        entry=entry,
    ) as worker:
        log.info("Worker started")
        worker.start()
        stop.wait_for(worker)
        worker.stop(timeout=None)  # after the job in hand
        disabled = worker.disabled
        if lock.is_lost():
            return worker
        (mark_disabled if disabled else mark_enabled)(data_dir)
        log.info(
            "Worker ends: %s",
            worker.presence.reason
            or ("switched off" if disabled else "asked to" if stop.asked.is_set() else "idle"),
        )
    return worker
