"""The circuit breaker with a clock that the test moves."""

from __future__ import annotations

import pytest

from worker.circuit_breaker import CircuitBreaker, CircuitState


class Seconds:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


def state_of(breaker: CircuitBreaker) -> CircuitState:
    return breaker.state


def opened(seconds: Seconds, **arguments: int) -> CircuitBreaker:
    breaker = CircuitBreaker(clock=seconds, **arguments)
    for _ in range(breaker.failure_threshold):
        breaker.record_failure()
    return breaker


def test_the_defaults_are_five_failures_sixty_seconds_one_success() -> None:
    breaker = CircuitBreaker()

    assert (breaker.failure_threshold, breaker.recovery_timeout, breaker.success_threshold) == (
        5,
        60.0,
        1,
    )


def test_the_fifth_consecutive_failure_opens_it(seconds: Seconds) -> None:
    breaker = CircuitBreaker(clock=seconds)
    for _ in range(4):
        breaker.record_failure()
        assert state_of(breaker) is CircuitState.CLOSED
        assert breaker.can_execute()

    breaker.record_failure()

    assert state_of(breaker) is CircuitState.OPEN
    assert not breaker.can_execute()


def test_a_success_in_between_resets_the_count(seconds: Seconds) -> None:
    breaker = CircuitBreaker(clock=seconds)
    for _ in range(3):
        for _ in range(4):
            breaker.record_failure()
        breaker.record_success()

    assert state_of(breaker) is CircuitState.CLOSED
    assert breaker.failures == 0


def test_calls_are_allowed_only_after_the_recovery_time(seconds: Seconds) -> None:
    breaker = opened(seconds)

    seconds.now += 59.9
    assert state_of(breaker) is CircuitState.OPEN
    assert breaker.retry_in() == pytest.approx(0.1)

    seconds.now += 0.1
    assert state_of(breaker) is CircuitState.HALF_OPEN
    assert breaker.can_execute()
    assert breaker.retry_in() == 0


def test_one_success_closes_it(seconds: Seconds) -> None:
    breaker = opened(seconds)
    seconds.now += 60

    breaker.record_success()

    assert state_of(breaker) is CircuitState.CLOSED
    assert breaker.retry_in() == 0


def test_a_failed_probe_opens_it_for_another_recovery_time(seconds: Seconds) -> None:
    breaker = opened(seconds)
    for _ in range(3):
        seconds.now += 60
        assert breaker.can_execute()
        breaker.record_failure()
        assert state_of(breaker) is CircuitState.OPEN
        assert breaker.retry_in() == 60


def test_after_it_closed_five_more_failures_are_needed(seconds: Seconds) -> None:
    breaker = opened(seconds)
    seconds.now += 60
    assert breaker.can_execute()
    breaker.record_success()

    for _ in range(4):
        breaker.record_failure()
    assert breaker.can_execute()
    breaker.record_failure()
    assert not breaker.can_execute()


def test_more_successes_can_be_required(seconds: Seconds) -> None:
    breaker = opened(seconds, success_threshold=2)
    seconds.now += 60

    breaker.record_success()
    assert state_of(breaker) is CircuitState.HALF_OPEN
    breaker.record_success()
    assert state_of(breaker) is CircuitState.CLOSED


def test_reset_restores_the_initial_state(seconds: Seconds) -> None:
    breaker = opened(seconds)

    breaker.reset()

    assert state_of(breaker) is CircuitState.CLOSED
    assert breaker.failures == 0
    for _ in range(4):
        breaker.record_failure()
    assert breaker.can_execute()


def test_a_late_success_while_it_is_open_does_not_close_it(seconds: Seconds) -> None:
    breaker = opened(seconds)

    breaker.record_success()

    assert state_of(breaker) is CircuitState.OPEN
