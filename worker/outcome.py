"""Decide a job's fate after a failed sync: retry, dead-letter or keep. A job is never dropped.

Whose fault is an error? A job that fails because Plex or Stash is down loses nothing. So after a
passing error the server itself is asked one cheap question. If it answers, the job was at fault and
goes its way through retries to the dead letters. If not, it is an outage: the job keeps its place,
and the circuit breaker counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.env import Env
from history.records import Status
from plex.exceptions import PlexListingError, PlexNotFound, PlexPermanentError
from plex.matcher import AmbiguousMatch
from queue.models import METADATA, SyncJob, is_bulk
from queue.operations import ack_job, fail_job, nack_job
from stash.records import Scene
from validation.errors import PermanentError, classify_exception
from worker.backoff import get_retry_params, max_delay
from worker.health import OUTAGES, REFUSALS, Health
from worker.job_runner import JobRunner
from worker.parts import Parts
from worker.reconcile.forgetting import ScenesMissing

#: Errors that may be the fault of the job, of a server, or of a setting.
DOUBTFUL = (*REFUSALS, *OUTAGES, PlexPermanentError)
#: Retries of one job, whatever the reasons: above 20 (`max_retries`) + 12 (not found).
MOST_ATTEMPTS = 40
#: Seconds that a job steps back when the server went down with it in hand twice in a row.
_SUSPECT_PAUSE = 60.0


@dataclass(frozen=True)
class Retry:
    """Try again: the job with its new retry state, and the delay in seconds."""

    job: SyncJob
    delay: float


@dataclass(frozen=True)
class GiveUp:
    """To the dead letters, after this many retries."""

    retries: int


def decide(error: BaseException, job: SyncJob, max_retries: int, env: Env) -> Retry | GiveUp:
    """Decide between a retry and the dead letters.

    Args:
        max_retries: for errors that define no retry limit.
    """
    base, cap, limit = get_retry_params(error)
    if not isinstance(error, PlexNotFound):
        limit = max_retries
    # Retries for a missing file and for faults are counted apart, and both together.
    is_same_kind = _is_not_found(job.get("last_error_type")) is isinstance(error, PlexNotFound)
    retries = job.get("retry_count", 0) if is_same_kind else 0
    attempts = job.get("attempts", 0)
    if isinstance(error, PlexNotFound) and is_bulk(job):
        return GiveUp(0)  # no user waits for it, and it is retried when its file appears
    is_permanent = issubclass(classify_exception(error), PermanentError)
    if is_permanent or retries >= limit or attempts >= MOST_ATTEMPTS:
        return GiveUp(max(attempts, retries))
    scale = env.timing.scale
    pause = env.uniform(0, max_delay(retries, base * scale, cap * scale))
    retried: SyncJob = {
        **job,
        "retry_count": retries + 1,
        "attempts": attempts + 1,
        "next_retry_at": env.time() + pause,
        "last_error_type": type(error).__name__,
    }
    return Retry(retried, pause)


class JobOutcome:
    """Carries out what becomes of failed jobs."""

    def __init__(self, parts: Parts, health: Health, runner: JobRunner) -> None:
        self._parts = parts
        self._runner = runner
        self._health = health
        self._suspect: int | None = None  # the row in hand when a server went down

    def failed(self, job: SyncJob, error: Exception, max_retries: int, scene: Scene | None) -> bool:
        """Retry, dead-letter or keep a job; return False if it keeps its place.

        Args:
            scene: as it was when it failed, if it was read.

        Raises:
            sqlite3.Error, OSError: our own disk fails; the job stays claimed.
        """
        queue = self._parts.queue
        if isinstance(error, ScenesMissing):
            env = self._parts.env
            job["next_retry_at"] = env.time() + env.timing.quick_pass
            nack_job(queue, job)
            self._parts.reporter.notify_user("warning", f"{error}. Edits are kept")
            return False
        if isinstance(error, REFUSALS):
            nack_job(queue, job)
            self._health.refused(error)
            return False
        if isinstance(error, PlexListingError):  # whatever a probe says, no job is to blame
            nack_job(queue, job)
            self._health.failed(error)
            return False
        if isinstance(error, DOUBTFUL) and not self._health.is_well(error):
            self._keep(job, error)
            return False
        self._suspect = None
        verdict = decide(error, job, max_retries, self._parts.env)
        if isinstance(verdict, GiveUp):
            self._give_up(job, error, verdict.retries, scene)
        else:
            nack_job(queue, verdict.job)
            # "not found" is logged once per job: there may be many
            if not (isinstance(error, PlexNotFound) and job.get("retry_count")):
                text = f"{display_name(job)}: {error}; next attempt in {verdict.delay:.0f} s"
                self._parts.reporter.log("info", text)
        return True

    def succeeded(self) -> None:
        """Note that a job went through."""
        self._suspect = None
        self._health.succeeded()

    def _keep(self, job: SyncJob, error: Exception) -> None:
        """Put a job back in its place without a retry lost.

        If the server fails twice in a row on the same job, that job may be the cause: the others
        go first.
        """
        if self._suspect == job["pqid"] and self._health.breaker_of(error).failures == 1:
            env = self._parts.env
            job["next_retry_at"] = env.time() + _SUSPECT_PAUSE * env.timing.scale
        self._suspect = job["pqid"]
        nack_job(self._parts.queue, job)

    def _give_up(self, job: SyncJob, error: Exception, retries: int, scene: Scene | None) -> None:
        """Put the reason on record, and an edit into the dead letters.

        The dead letter comes before the job's end: a kill in between leaves both, never none.
        """
        parts = self._parts
        if job["update_type"] == METADATA:
            reason, details = str(error), getattr(error, "details", None)
            self._runner.record(job["scene_id"], scene, _status_of(error), reason, details)
        if is_bulk(job):  # no edit: the record is enough, and the next pass goes by it
            ack_job(parts.queue, job)
        else:
            letter = parts.dlq.add(job, error, retries)
            fail_job(parts.queue, job)
            if job["update_type"] == METADATA:
                parts.dlq.delete_scene(job["scene_id"], older_than=letter)
        name = display_name(job)
        if isinstance(error, PlexNotFound):  # a Plex library may hold less than Stash on purpose
            parts.reporter.log("info", f"{name}: {error}; tried again when Plex has it")
        elif is_bulk(job):  # counted in the summary: there may be many
            parts.reporter.log("info", f"{name} could not be synced: {error}")
        else:
            text = f"{name} could not be synced: {error}"
            if isinstance(error, AmbiguousMatch):
                text = f"{text}. Nothing is written; Show failed and ambiguous lists the candidates"
            parts.reporter.notify_user("warning", text)


def _status_of(error: Exception) -> Status:
    if isinstance(error, PlexNotFound):
        return Status.NOT_IN_PLEX
    return Status.AMBIGUOUS if isinstance(error, AmbiguousMatch) else Status.FAILED


def display_name(job: SyncJob) -> str:
    """Return how a person calls a job, such as "Scene 7"."""
    return job.get("job_key", "job").replace("_", " ").capitalize()


def _is_not_found(error_type: str | None) -> bool:
    return error_type == PlexNotFound.__name__
