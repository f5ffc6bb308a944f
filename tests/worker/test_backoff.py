"""Tables of backoff delays and of the fate of failed jobs."""

from __future__ import annotations

import itertools

import pytest
import requests

from plex.exceptions import PlexNotFound, PlexPermanentError, PlexRejected, PlexTemporaryError
from plex.matcher import AmbiguousMatch
from queue.models import SyncJob, create_sync_job
from stash.client import StashUnavailable
from tests.harness.clock import FakeClock
from validation.errors import PermanentError, TransientError
from worker.backoff import calculate_delay, get_retry_params
from worker.outcome import GiveUp, Retry, decide

ENV = FakeClock()

TRANSIENT: list[Exception] = [
    PlexTemporaryError("503", status=503),
    StashUnavailable("down"),
    TransientError("some"),
    RuntimeError("an unknown error"),
    OSError("disk"),
    requests.ConnectionError("gone"),
    requests.Timeout("late"),
]
PERMANENT: list[Exception] = [
    PlexPermanentError("400", status=400),
    PermanentError("no"),
    AmbiguousMatch("two", []),
    ValueError("data"),
]


def job(**retry_state: object) -> SyncJob:
    fresh = create_sync_job(7, "metadata", {"title": "x"})
    return {**fresh, **retry_state}  # type: ignore[typeddict-item]


@pytest.mark.parametrize(("base", "cap"), [(5.0, 80.0), (30.0, 600.0)])
@pytest.mark.parametrize("retries", [0, 1, 3, 4, 5, 12, 100, 10_000])
def test_a_delay_is_spread_between_zero_and_the_limit(
    retries: int, base: float, cap: float
) -> None:
    limit = min(cap, base * 2.0 ** min(retries, 50))
    drawn = [calculate_delay(retries, base, cap) for _ in range(400)]

    assert all(0 <= one <= limit for one in drawn)
    assert min(drawn) < 0.1 * limit < 0.9 * limit < max(drawn), "full jitter uses the whole range"


def test_a_seed_makes_the_delay_repeatable() -> None:
    assert calculate_delay(3, 5, 80, jitter_seed=42) == calculate_delay(3, 5, 80, jitter_seed=42)
    assert calculate_delay(3, 5, 80, jitter_seed=0) == calculate_delay(3, 5, 80, jitter_seed=0)
    assert calculate_delay(3, 5, 80, jitter_seed=42) != calculate_delay(3, 5, 80, jitter_seed=43)


@pytest.mark.parametrize("error", TRANSIENT)
def test_standard_errors_have_the_standard_backoff(error: Exception) -> None:
    assert get_retry_params(error) == (5.0, 80.0, 5)


def test_a_missing_item_has_a_longer_backoff() -> None:
    assert get_retry_params(PlexNotFound("x")) == (30.0, 600.0, 12)


def decided(error: Exception, max_retries: int = 5) -> tuple[list[float], int]:
    """Fail with the same error until the job becomes a dead letter.

    Returns:
        The delays, and the retry count of the final outcome.
    """
    current = job()
    delays: list[float] = []
    for _ in range(100):
        verdict = decide(error, current, max_retries, ENV)
        if isinstance(verdict, GiveUp):
            return delays, verdict.retries
        assert verdict.job.get("next_retry_at") == ENV.now + verdict.delay
        assert verdict.job.get("retry_count") == len(delays) + 1
        assert verdict.job.get("last_error_type") == type(error).__name__
        delays.append(verdict.delay)
        current = verdict.job
    raise AssertionError("never given up")


@pytest.mark.parametrize("error", TRANSIENT)
def test_standard_errors_are_retried_five_times_up_to_80_seconds(error: Exception) -> None:
    assert decided(error) == ([5, 10, 20, 40, 80], 5)


@pytest.mark.parametrize("max_retries", [1, 2, 8, 20])
def test_the_setting_limits_the_retries_of_standard_errors(max_retries: int) -> None:
    delays, retries = decided(PlexTemporaryError("x"), max_retries)

    assert (len(delays), retries) == (max_retries, max_retries)
    assert max(delays) <= 80


@pytest.mark.parametrize("max_retries", [1, 5, 20])
def test_a_missing_item_is_retried_twelve_times_under_any_setting(max_retries: int) -> None:
    assert decided(PlexNotFound("x"), max_retries) == ([30, 60, 120, 240, 480] + [600] * 7, 12)


@pytest.mark.parametrize("error", PERMANENT)
def test_permanent_errors_are_never_retried(error: Exception) -> None:
    assert decided(error) == ([], 0)


def test_a_rejected_setting_is_a_permanent_error() -> None:
    assert isinstance(decide(PlexRejected("401"), job(), 5, ENV), GiveUp)


def test_a_retry_keeps_the_data_of_the_job() -> None:
    verdict = decide(
        PlexTemporaryError("x"),
        job(retry_count=1, last_error_type="PlexTemporaryError"),
        5,
        ENV,
    )

    assert isinstance(verdict, Retry)
    assert verdict.job["scene_id"] == 7
    assert verdict.job["data"] == {"title": "x"}
    assert verdict.job["job_key"] == "scene_7"


def test_another_error_after_many_not_found_retries_has_its_own_retries() -> None:
    waited = job(retry_count=11, last_error_type="PlexNotFound")

    assert isinstance(decide(PlexTemporaryError("x"), waited, 5, ENV), Retry)


@pytest.mark.parametrize(
    "errors",
    [
        (PlexTemporaryError("a"), StashUnavailable("b")),
        (PlexTemporaryError("a"), RuntimeError("b"), OSError("c")),
        (PlexNotFound("a"), PlexTemporaryError("b")),
    ],
)
def test_alternating_failures_end_too(errors: tuple[Exception, ...]) -> None:
    current = job()
    for error in itertools.islice(itertools.cycle(errors), 60):
        verdict = decide(error, current, 5, ENV)
        if isinstance(verdict, GiveUp):
            return
        current = verdict.job
    raise AssertionError("a job that failed 60 times is still retried")
