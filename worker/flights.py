"""Writes on their way to Plex: one at a time, or a few side by side where Plex takes its time to answer.

Only the writing itself is done in threads. Items are found before it, and jobs answered for after it, in the
caller's own thread and in the order of the jobs: nothing else has to know of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from plex.edits import Edits
from queue.models import SyncJob
from stash.records import Scene
from validation.metadata import SyncMetadata

#: Writes on their way at once; docs/benchmarks.md shows what each number gains.
AT_ONCE = 4


@dataclass(frozen=True)
class Visit:
    """A scene and its item, found and not yet written."""

    item: Any  # of plexapi
    metadata: SyncMetadata
    scene: Scene | None
    read_at: float  # epoch seconds: the moment before the scene was read


@dataclass(frozen=True)
class Flight:
    """A job whose write was begun."""

    job: SyncJob
    visit: Visit | None  # None: there is nothing to write, or no item
    #: what was sent, once it is there; or what went wrong, in the finding or in the writing
    outcome: Future[Edits | None]


class Flights:
    """The writes of some jobs. A context manager: none is on its way when it ends, whatever happens."""

    def __init__(
        self,
        write: Callable[[Visit], Edits],
        land: Callable[[Flight], object],
        *,
        at_once: int,
        slow: float,
        now: Callable[[], float],
    ) -> None:
        """Begin nothing yet.

        Args:
            write: carries out a write, in any thread.
            land: answers for a job whose outcome is there. After one that failed, no other write is on its way.
            at_once: writes on their way at once, where Plex is slow.
            slow: seconds for the last write that went alone, from which Plex counts as slow.
            now: seconds, never going back.
        """
        self._write = write
        self._land = land
        self._at_once = at_once
        self._slow = slow
        self._now = now
        self._took = float("-inf")
        self._aloft: deque[Flight] = deque()
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="plexsync-write")

    def __enter__(self) -> Flights:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def send(self, job: SyncJob, find: Callable[[], Visit | None]) -> None:
        """Find a job's item and begin to write it; when all places are taken, wait for the first job to land.

        Args:
            find: returns None where there is nothing to write.
        """
        places = self._places  # before the write: one that goes alone lands before the next is begun
        visit, outcome = None, _finished()
        try:
            visit = find()
            if visit is not None and self._is_aloft(visit.item):  # it was read while it was being written
                self.land_all()
                visit = find()
        except Exception as error:  # noqa: BLE001 - whatever it is: `land` learns of it
            outcome, places = _finished(error=error), 1  # and at once: there may be no use in going on
        else:
            if visit is not None:
                outcome = self._begin(visit)
        self._aloft.append(Flight(job, visit, outcome))
        while len(self._aloft) >= places:
            self._land_next()

    def land_all(self) -> None:
        """Wait for what is on its way."""
        while self._aloft:
            self._land_next()

    @property
    def _places(self) -> int:
        return self._at_once if self._took >= self._slow else 1

    def _begin(self, visit: Visit) -> Future[Edits | None]:
        if self._places > 1:
            return self._pool.submit(self._write, visit)
        start = self._now()
        try:
            return _finished(self._write(visit))
        except Exception as error:  # noqa: BLE001 - as a thread's
            return _finished(error=error)
        finally:
            self._took = self._now() - start

    def _is_aloft(self, item: Any) -> bool:
        return any(flight.visit is not None and flight.visit.item.ratingKey == item.ratingKey for flight in self._aloft)

    def _land_next(self) -> None:
        flight = self._aloft.popleft()
        if flight.outcome.exception() is not None:
            wait([other.outcome for other in self._aloft])
        self._land(flight)


def _finished(edits: Edits | None = None, *, error: Exception | None = None) -> Future[Edits | None]:
    outcome: Future[Edits | None] = Future()
    if error is None:
        outcome.set_result(edits)
    else:
        outcome.set_exception(error)
    return outcome
