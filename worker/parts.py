"""The parts that the steps of the worker's loop share, handed over whole."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from common.env import Env
from history.store import History
from plex.session import PlexSession
from queue.ack_queue import JobQueue
from queue.dlq import DeadLetterQueue
from stash.client import StashClient
from worker.in_hand import InHand
from worker.process import WorkerLock
from worker.reporter import Reporter
from worker.state import SyncTimes


class Heartbeat:
    """Shows that the holder of the worker's lock makes progress."""

    def __init__(self, lock: WorkerLock | None, env: Env) -> None:
        self._lock = lock
        self._env = env
        self._beaten_at = float("-inf")

    def beat(self) -> None:
        """Touch the lock file, unless that was done just now."""
        now = self._env.monotonic()
        if self._lock is not None and now - self._beaten_at >= self._env.timing.heartbeat:
            self._beaten_at = now
            with suppress(OSError):  # *Status* shows it; the work goes on
                self._lock.beat()

    def rest(self) -> None:
        """Show that there is nothing to do; called again, it writes nothing."""
        self._beaten_at = float("-inf")
        if self._lock is not None:
            with suppress(OSError):
                self._lock.rest()

    def is_lost(self) -> bool:
        """Return whether another process may hold the lock by now; see `WorkerLock.is_lost`."""
        return self._lock is not None and self._lock.is_lost()


@dataclass(frozen=True)
class Parts:
    """Queue, history, both servers, and what every step needs besides."""

    queue: JobQueue
    dlq: DeadLetterQueue
    history: History
    plex: PlexSession
    #: None: jobs carry all that is known of a scene
    stash: StashClient | None
    reporter: Reporter
    env: Env
    #: None: nothing is left in files
    data_dir: str | None
    times: SyncTimes
    heartbeat: Heartbeat
    in_hand: InHand
