"""Stash's job queue: runs one job at a time, keeps the last ten finished."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.simulators.stash.runner import HookRun

REMEMBERED = 10
ENDED = ("FINISHED", "CANCELLED", "FAILED")


class JobFailed(Exception):
    """The job could not be started."""


@dataclass
class Job:
    """A job, with the plugin's run if it has one."""

    id: int
    description: str
    added: float
    status: str = "READY"
    started: float | None = None
    finished: float | None = None
    error: str | None = None
    run: HookRun | None = None
    cancelled: threading.Event = field(default_factory=threading.Event, repr=False)
    _queue: JobQueue | None = field(default=None, repr=False)
    _ended: threading.Event = field(default_factory=threading.Event, repr=False)
    _on_stop: Callable[[], None] = field(default=lambda: None, repr=False)

    @property
    def progress(self) -> list[float]:
        """Return every progress reported so far."""
        return list(self.run.progress) if self.run is not None else []

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a final status; return False on a timeout."""
        return self._ended.wait(timeout)

    def when_stopped(self, act: Callable[[], None]) -> None:
        """Call this when the job is stopped; at once if it already is."""
        self._on_stop = act
        if self.cancelled.is_set():
            act()

    def stop(self) -> bool:
        """Act as the stop button: leave the queue, or send SIGKILL."""
        return self._queue is not None and self._queue.stop(self.id)


Work = Callable[[Job], None]


class JobQueue:
    """Runs jobs one after another on its own thread."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._next_id = 0
        self._waiting: list[tuple[Job, Work]] = []
        self._running: Job | None = None
        self._past: list[Job] = []
        self._busy = False

    def submit(self, description: str, work: Work) -> Job:
        """Add a job. `work` raises JobFailed when it cannot start, and checks `job.cancelled`."""
        with self._changed:
            self._next_id += 1
            job = Job(self._next_id, description, self._clock(), _queue=self)
            self._waiting.append((job, work))
            if not self._busy:
                self._busy = True
                threading.Thread(target=self._work, name="stash-jobs", daemon=True).start()
        return job

    def queued(self) -> list[Job]:
        """Return the running job and those waiting."""
        with self._changed:
            running = [self._running] if self._running is not None else []
            return [*running, *(job for job, _ in self._waiting)]

    def find(self, job_id: int) -> Job | None:
        with self._changed:
            everything = [*self.queued(), *self._past]
        return next((job for job in everything if job.id == job_id), None)

    def stop(self, job_id: int) -> bool:
        job = self.find(job_id)
        if job is None or job.status in ENDED:
            return False
        with self._changed:
            waiting = next((entry for entry in self._waiting if entry[0] is job), None)
            if waiting is not None:
                self._waiting.remove(waiting)
                self._end(job, "CANCELLED")
                return True
            job.status = "STOPPING"
        job.cancelled.set()
        job._on_stop()
        return True

    def stop_all(self) -> None:
        for job in reversed(self.queued()):  # the waiting ones first, so that they do not start
            self.stop(job.id)

    def wait_idle(self, timeout: float | None = None) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy, timeout)

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._busy = False
                    self._changed.notify_all()
                    return
                job, work = self._waiting.pop(0)
                self._running = job
                job.status, job.started = "RUNNING", self._clock()
            status = "FINISHED"
            try:
                work(job)
            except JobFailed as failure:
                status, job.error = "FAILED", str(failure)
            with self._changed:
                self._running = None
                self._end(job, "CANCELLED" if job.cancelled.is_set() else status)

    def _end(self, job: Job, status: str) -> None:
        job.status, job.finished = status, self._clock()
        self._past = [job, *self._past][:REMEMBERED]
        job._ended.set()
