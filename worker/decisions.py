"""What becomes of a job that failed by its own fault: a pure function decides, the worker carries it out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from plex.exceptions import PlexNotFound
from queue.models import BULK, SyncJob
from validation.errors import PermanentError, classify_exception
from worker.backoff import calculate_delay, get_retry_params

#: Retries of one job, whatever the reasons: more than the two kinds together can have one after the other.
MOST_ATTEMPTS = 40


@dataclass(frozen=True)
class Retry:
    """Try again: the job with its new retry state, and the delay in seconds."""

    job: SyncJob
    delay: float


@dataclass(frozen=True)
class GiveUp:
    """To the dead letters, after this many retries."""

    retries: int


def decide(
    error: BaseException,
    job: SyncJob,
    now: float,
    max_retries: int,
    delay: Callable[[int, float, float], float] = calculate_delay,
) -> Retry | GiveUp:
    """Return what to do about `job` after `error`.

    Args:
        now: epoch seconds.
        max_retries: for errors without patience of their own.
        delay: (retries so far, base, cap) → seconds.
    """
    base, cap, limit = get_retry_params(error)
    if not isinstance(error, PlexNotFound):
        limit = max_retries
    # Patience with a missing file is no patience with a fault: the two are counted apart, and both together.
    same_kind = _is_patient(job.get("last_error_type")) is isinstance(error, PlexNotFound)
    retries = job.get("retry_count", 0) if same_kind else 0
    attempts = job.get("attempts", 0)
    if isinstance(error, PlexNotFound) and set(job.get("data") or ()) == {BULK}:
        return GiveUp(0)  # nobody waits for it, and it is taken up again when its file appears
    if (
        issubclass(classify_exception(error), PermanentError)
        or retries >= limit
        or attempts >= MOST_ATTEMPTS
    ):
        return GiveUp(max(attempts, retries))
    pause = delay(retries, base, cap)
    retried: SyncJob = {
        **job,
        "retry_count": retries + 1,
        "attempts": attempts + 1,
        "next_retry_at": now + pause,
        "last_error_type": type(error).__name__,
    }
    return Retry(retried, pause)


def _is_patient(error_type: str | None) -> bool:
    return error_type == PlexNotFound.__name__
