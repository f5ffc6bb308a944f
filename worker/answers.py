"""What becomes of a job whose scene was synced, or was not: every way out leaves it in the queue or the dead letters.

Whose fault is an error? A job that fails because Plex or Stash is down loses nothing; so after a passing error
the server itself is asked one cheap question. It answers: the job was at fault, and goes its own way through
retries to the dead letters. It doesn't: an outage; the job keeps its place, and the circuit breaker counts.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from plex.exceptions import PlexNotFound, PlexPermanentError
from queue.ack_queue import JobQueue
from queue.dlq import DeadLetterQueue
from queue.models import SyncJob
from queue.operations import ack_job, fail_job, nack_job
from worker.circuit_breaker import CircuitBreaker
from worker.decisions import GiveUp, decide
from worker.gate import PASSING, REFUSALS, Gate
from worker.related import is_related
from worker.reporter import Reporter
from worker.timing import Clock, Timing

#: What may be the fault of the job, of a server, or of a setting.
DOUBTFUL = (*REFUSALS, *PASSING, PlexPermanentError)
#: Seconds that a job steps back when the server went down with it in hand twice in a row.
_SUSPECT_PAUSE = 60.0


class Answers:
    """Answers for one job after the other."""

    def __init__(
        self,
        queue: JobQueue,
        dlq: DeadLetterQueue,
        gate: Gate,
        *,
        finished: Callable[[SyncJob], object],
        max_retries: Callable[[], int],
        reporter: Reporter,
        clock: Clock,
        timing: Timing,
        delay: Callable[[int, float, float], float],
    ) -> None:
        """Args:
        gate: is told of what concerns all jobs, and asks the servers.
        finished: called when a job was dealt with, either way.
        max_retries: returns how many there are for errors without patience of their own.
        delay: (retries so far, base, cap) → seconds.
        """
        self._queue = queue
        self._dlq = dlq
        self._gate = gate
        self._on_finished = finished
        self._max_retries = max_retries
        self._reporter = reporter
        self._clock = clock
        self._timing = timing
        self._delay = delay
        self._suspect: int | None = None  # the row in hand when a server went down

    def answer(self, job: SyncJob, settle: Callable[[], object]) -> None:
        """Answer for a job.

        Args:
            settle: does what is left to do for it; raises what went wrong.

        Raises:
            sqlite3.Error, OSError: our own disk fails; the job stays taken.
        """
        try:
            settle()
        except DOUBTFUL as error:
            self._doubt(job, error)
        except (sqlite3.Error, OSError):
            raise  # our own disk; the network's errors were translated
        except Exception as error:  # noqa: BLE001 - a bug in one scene's data must not end the worker
            self._failed(job, error)
        else:
            self._gate.succeed()
            ack_job(self._queue, job)
            self._finished(job)

    def _doubt(self, job: SyncJob, error: Exception) -> None:
        """Is it the job that is at fault, or a server, or a setting?"""
        if isinstance(error, REFUSALS):
            nack_job(self._queue, job)
            self._gate.refuse(error)
        else:
            breaker = self._gate.breaker_of(error)
            if self._gate.is_well(breaker):
                self._failed(job, error)
            else:
                self._keep(job, breaker)

    def _keep(self, job: SyncJob, breaker: CircuitBreaker) -> None:
        """Put a job back as it was, in its place, without a retry lost.

        Only if the server, back again, went down at once with the same job in hand, the others go first: that
        job may be what brings it down.
        """
        if self._suspect == job["pqid"] and breaker.failures == 1:
            job["next_retry_at"] = self._clock.time() + _SUSPECT_PAUSE * self._timing.scale
        self._suspect = job["pqid"]
        nack_job(self._queue, job)

    def _failed(self, job: SyncJob, error: Exception) -> None:
        verdict = decide(error, job, self._clock.time(), self._max_retries(), self._scaled_delay)
        if isinstance(verdict, GiveUp):
            self._give_up(job, error, verdict.retries)
        else:
            nack_job(self._queue, verdict.job)
            if not (
                isinstance(error, PlexNotFound) and job.get("retry_count")
            ):  # said once; there may be many
                self._reporter.log(
                    "info", f"{name_of(job)}: {error}; next attempt in {verdict.delay:.0f} s"
                )
        self._finished(job)

    def _scaled_delay(self, retries: int, base: float, cap: float) -> float:
        return self._delay(retries, base * self._timing.scale, cap * self._timing.scale)

    def _give_up(self, job: SyncJob, error: Exception, retries: int) -> None:
        """Dead letter first, then out of the queue: a kill in between leaves both, never none."""
        letter = self._dlq.add(job, error, retries)
        fail_job(self._queue, job)
        if not is_related(job):
            self._dlq.delete_scene(job["scene_id"], older_than=letter)
        if isinstance(error, PlexNotFound):  # a Plex library may hold less than Stash on purpose
            self._reporter.log("info", f"{name_of(job)}: {error}; taken up again when Plex has it")
        else:
            self._reporter.notify_user("warning", f"{name_of(job)} could not be synced: {error}")

    def _finished(self, job: SyncJob) -> None:
        self._suspect = None
        self._on_finished(job)


def name_of(job: SyncJob) -> str:
    """Return how a person calls a job."""
    return job.get("job_key", "job").replace("_", " ").capitalize()  # "Scene 7"
