"""A clock that a test moves by hand."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable

from common.env import Env

HOUR = 3600.0


class FakeClock(Env):
    """A clock that only waits advance; a test can schedule actions at times that a wait passes."""

    def __init__(self, now: float | None = None) -> None:
        super().__init__()
        self.started = time.time() if now is None else now
        self.now = self.started
        self._planned: list[tuple[float, int, Callable[[], object]]] = []
        self._number = itertools.count()

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now - self.started + 1000.0

    def uniform(self, low: float, high: float) -> float:
        """Return the upper bound of the jitter, so that due times are known."""
        return high

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.advance(max(0.001, seconds))
        return event.is_set()

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._planned and self._planned[0][0] <= end:
            moment, _, action = heapq.heappop(self._planned)
            self.now = max(self.now, moment)
            action()
        self.now = max(self.now, end)

    def after(self, seconds: float, action: Callable[[], object]) -> int:
        """Schedule an action after that time; return its number for `cancel`."""
        number = next(self._number)
        heapq.heappush(self._planned, (self.now + seconds, number, action))
        return number

    def cancel(self, number: int) -> None:
        self._planned = [one for one in self._planned if one[1] != number]
        heapq.heapify(self._planned)
