"""Have a command carried out: here, or by the worker that is already running."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from types import FrameType
from typing import Any

from queue.commands import DONE, DROPPED, Commands
from queue.lease import Lease
from worker.bootstrap import build_worker
from worker.commands import open_commands
from worker.process import (
    SILENT_AFTER,
    TASK,
    WorkerLock,
    ensure_worker,
    mark_finished,
    mark_unfinished,
    start_successor,
)
from worker.processor import SyncWorker

#: Seconds between two looks at a command's progress.
_LOOK = 0.2
#: Attempts at a command whose database was replaced meanwhile.
_ATTEMPTS = 3

Progress = Callable[[int, int], object]
Tell = Callable[[str, str], object]


def run_command(
    data_dir: str,
    entry: str,
    name: str,
    arguments: Mapping[str, Any],
    progress: Progress = lambda done, left: None,
    tell: Tell = lambda level, text: None,
) -> dict[str, Any]:
    """Leave a command for the worker, wait for its result and return it.

    Where no worker is alive, this process is the worker until the command is done. If this process
    is killed, the command and what it began are dropped.

    Args:
        entry: path of `PlexSync.py`.
        progress: called with (done, left).
        tell: called with (level, text) of a message to the user.

    Returns:
        The result; its `reason` says in one line why something is left to do.

    Raises:
        ValueError, OSError, sqlite3.Error: see `worker.bootstrap.build_worker`.
    """
    with Lease.take(data_dir) as lease, closing(open_commands(data_dir)) as commands:
        for _ in range(_ATTEMPTS):
            command_id = commands.add(name, dict(arguments), lease.name)
            lock = WorkerLock(data_dir)
            if lock.acquire():
                reason = _run_here(data_dir, entry, lock, command_id, progress, tell)
            else:
                reason = _follow(data_dir, entry, commands, command_id, progress)
            result = commands.result(command_id)
            if result is not None:
                return {"reason": result["error"]} if "error" in result else result
            if reason is not None:
                return {"reason": reason}
    return {"reason": "the queue's database was damaged; run this again"}


def _run_here(
    data_dir: str, entry: str, lock: WorkerLock, command_id: int, progress: Progress, tell: Tell
) -> str | None:
    """Be the worker until the command is done; return why it is not.

    A successor waits meanwhile. If Stash kills this process, it does the rest.
    """
    try:
        lock.sign(TASK)
        mark_unfinished(data_dir)
        with suppress(OSError):  # the next hook or task starts a worker
            start_successor(data_dir, entry)
        with build_worker(data_dir, lock, tell=tell, entry=entry) as worker:
            with _stopped_by_ctrl_c(worker):
                worker.run_until(command_id, progress)
            is_wanted = worker.has_work() or worker.is_to_be_woken
            reason = worker.presence.reason or worker.health.obstacle()
        if not (is_wanted or lock.is_lost()):
            mark_finished(data_dir)
    finally:
        lock.release()
    return reason


@contextmanager
def _stopped_by_ctrl_c(worker: SyncWorker) -> Iterator[None]:
    """Let Ctrl-C end the worker after the scenes in hand; a second one ends the process at once.

    Raises:
        KeyboardInterrupt: once the worker has ended. In the middle of its work it would close
            databases that the threads of `worker.write_pool` still use.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # which alone may set handlers
        return
    seen = []

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        seen.append(number)
        # in a thread of its own: this one may be inside the event's own lock
        threading.Thread(target=worker.ask_to_stop).start()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if seen:
        raise KeyboardInterrupt


def _follow(
    data_dir: str, entry: str, commands: Commands, command_id: int, progress: Progress
) -> str | None:
    """Wait for the running worker; return why it is not done."""
    last = None
    while True:
        command = commands.get(command_id)
        reached = commands.progress(command_id)
        if reached is not None and reached != last:
            last = reached
            progress(*reached)
        if command is None or command.status in (DONE, DROPPED):
            return None
        if WorkerLock(data_dir).silent_for() > SILENT_AFTER:
            return "the worker makes no progress"
        ensure_worker(data_dir, entry)  # it may have exited or died
        time.sleep(_LOOK)
