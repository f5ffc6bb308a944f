"""The circuit breaker (M. Nygard, "Release It!"): spare a server that is down, then probe."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable


class CircuitState(enum.Enum):
    """The states of a circuit breaker."""

    #: calls go out
    CLOSED = "closed"
    #: no call goes out until the recovery time is over
    OPEN = "open"
    #: one call may probe whether the server is back
    HALF_OPEN = "half_open"


class CircuitBreaker:
    """Counts consecutive failures of one server. May be used from any thread."""

    def __init__(
        self,
        failure_threshold: int = 5,
        recovery_timeout: float = 60.0,
        success_threshold: int = 1,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start closed.

        Args:
            failure_threshold: consecutive failures that open it.
            recovery_timeout: seconds it stays open.
            success_threshold: successes in the half-open state that close it.
            clock: seconds, never going back.
        """
        self.failure_threshold = failure_threshold
        self.recovery_timeout = recovery_timeout
        self.success_threshold = success_threshold
        self._clock = clock
        self._lock = threading.Lock()
        self._state = CircuitState.CLOSED
        self._failures = 0
        self._successes = 0
        self._opened_at = 0.0

    @property
    def state(self) -> CircuitState:
        """The state; an open one becomes half-open by itself when the recovery time is over."""
        with self._lock:
            return self._current()

    @property
    def failures(self) -> int:
        """The number of consecutive failures so far."""
        return self._failures

    def can_execute(self) -> bool:
        """Return whether a call may go out now."""
        return self.state is not CircuitState.OPEN

    def retry_in(self) -> float:
        """Return seconds until a call may go out; 0: now."""
        with self._lock:
            if self._current() is not CircuitState.OPEN:
                return 0.0
            return max(0.0, self._opened_at + self.recovery_timeout - self._clock())

    def record_success(self) -> None:
        """Count a call that went through."""
        with self._lock:
            self._failures = 0
            if self._current() is CircuitState.HALF_OPEN:
                self._successes += 1
                if self._successes >= self.success_threshold:
                    self._state = CircuitState.CLOSED

    def record_failure(self) -> None:
        """Count a call that failed by the server's fault."""
        with self._lock:
            self._failures += 1
            if (
                self._current() is CircuitState.HALF_OPEN
                or self._failures >= self.failure_threshold
            ):
                self._state = CircuitState.OPEN
                self._opened_at = self._clock()
                self._successes = 0

    def reset(self) -> None:
        """Close it and forget all failures."""
        with self._lock:
            self._state = CircuitState.CLOSED
            self._failures = self._successes = 0

    def _current(self) -> CircuitState:
        if (
            self._state is CircuitState.OPEN
            and self._clock() >= self._opened_at + self.recovery_timeout
        ):
            self._state = CircuitState.HALF_OPEN
            self._successes = 0
        return self._state
