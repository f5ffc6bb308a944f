"""Writes on their way to Plex: one at a time, or a few side by side where Plex takes its time to answer.

Only the writing itself is done in threads. Items are found before it, and jobs answered for after it, in the
caller's own thread and in the order of the jobs: nothing else has to know of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from plex.edits import Edits
from queue.models import SyncJob
from stash.records import Scene
from validation.metadata import SyncMetadata

#: Writes on their way at once; docs/benchmarks.md shows what each number gains.
AT_ONCE = 4
#: Writes alone that must all have been slow: a single one is, now and then, for any reason.
_SAMPLES = 3
#: Writes beside others after which one goes alone, as only that shows how long Plex takes.
_MEASURE_AGAIN = 30


@dataclass(frozen=True)
class Visit:
    """A scene and its item, found and not yet written."""

    item: Any  # of plexapi
    metadata: SyncMetadata
    scene: Scene | None
    read_at: float  # epoch seconds: the moment before the scene was read

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of the scene that become tags and collections in Plex, which ignores case."""
        metadata = self.metadata
        names = (
            *metadata.performers,
            *metadata.tags,
            *metadata.groups,
            metadata.studio,
            metadata.director,
        )
        return frozenset(name.casefold() for name in names if name)


@dataclass(frozen=True)
class Flight:
    """A job whose write was begun."""

    job: SyncJob
    visit: Visit | None  # None: there is nothing to write, or no item
    alone: bool  # no other was on its way at any time
    #: what was sent, once it is there; or what went wrong, in the finding or in the writing
    outcome: Future[Edits | None]


class Traffic:
    """What is learned from one write for later ones: how long Plex takes, and which names it has."""

    def __init__(self, slow: float) -> None:
        """Begin with a Plex that is fast, and knows no names.

        Args:
            slow: seconds of a write, from which Plex counts as slow.
        """
        self.names: set[str] = set()
        self._slow = slow
        self._alone: deque[float] = deque([0.0] * _SAMPLES, maxlen=_SAMPLES)
        self._beside = 0

    @property
    def slow(self) -> bool:
        """Whether the last few writes that went alone all were slow. Now and then one more has to go alone."""
        return min(self._alone) >= self._slow and self._beside < _MEASURE_AGAIN

    def took(self, seconds: float) -> None:
        """A write went alone."""
        self._alone.append(seconds)
        self._beside = 0

    def went_beside(self) -> None:
        """A write did not."""
        self._beside += 1


class Flights:
    """The writes of some jobs. A context manager: none is on its way when it ends, whatever happens."""

    def __init__(
        self,
        write: Callable[[Visit], Edits],
        land: Callable[[Flight], object],
        go_on: Callable[[], bool],
        traffic: Traffic,
        *,
        at_once: int,
        now: Callable[[], float],
    ) -> None:
        """Begin nothing yet.

        Args:
            write: carries out a write, in any thread.
            land: answers for a job whose outcome is there. After one that failed, no other write is on its way.
            go_on: asked after writes had to be waited for: whether another may begin.
            at_once: writes on their way at once, where Plex is slow.
            now: seconds, never going back.
        """
        self._write = write
        self._land = land
        self._go_on = go_on
        self._traffic = traffic
        self._at_once = at_once
        self._now = now
        self._aloft: deque[Flight] = deque()
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="plexsync-write")

    def __enter__(self) -> Flights:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def send(self, job: SyncJob, find: Callable[[], Visit | None]) -> bool:
        """Find a job's item and begin to write it; when all places are taken, wait for the first job to land.

        Args:
            find: returns None where there is nothing to write.

        Returns:
            Whether it was begun. If not, `go_on` said no, and `land` will not hear of it.
        """
        places = self._at_once if self._traffic.slow else 1
        visit, outcome = None, _finished()
        try:
            visit = find()
            if visit is not None and self._aloft and (places == 1 or self._must_wait(visit)):
                outdated = self._is_aloft(visit.item)  # what was read of it
                self.land_all()
                if not self._go_on():
                    return False
                visit = find() if outdated else visit
        except Exception as error:  # noqa: BLE001 - whatever it is: `land` learns of it
            alone = not self._aloft
            outcome, places = (
                _finished(error=error),
                1,
            )  # and at once: there may be no use in going on
        else:
            alone = places == 1
            if visit is not None:
                outcome = self._fly_alone(visit) if alone else self._fly(visit)
        self._aloft.append(Flight(job, visit, alone, outcome))
        while len(self._aloft) >= places:
            self._land_next()
        return True

    def land_all(self) -> None:
        """Wait for what is on its way."""
        while self._aloft:
            self._land_next()

    def _fly(self, visit: Visit) -> Future[Edits | None]:
        self._traffic.went_beside()
        try:
            return self._pool.submit(self._write, visit)
        except RuntimeError:  # there may be no more threads, as in a container that limits them
            self._pool.shutdown()  # waits: it may have been queued for one that there is
            self._at_once = 1
            return self._fly_alone(visit)

    def _fly_alone(self, visit: Visit) -> Future[Edits | None]:
        start = self._now()
        try:
            edits = self._write(visit)
        except Exception as error:  # noqa: BLE001 - as a thread's
            return _finished(error=error)
        if edits.parameters:
            self._traffic.took(self._now() - start)
        return _finished(edits)

    def _must_wait(self, visit: Visit) -> bool:
        """Whether what is on its way must be there first.

        The same item: what was read of it is outdated. And the same name, if it is new to Plex: nobody says what
        becomes of a tag that two requests create at once.
        """
        new = visit.names - self._traffic.names
        return self._is_aloft(visit.item) or any(
            not new.isdisjoint(other.names) for other in self._visits()
        )

    def _is_aloft(self, item: Any) -> bool:
        return any(visit.item.ratingKey == item.ratingKey for visit in self._visits())

    def _visits(self) -> list[Visit]:
        return [flight.visit for flight in self._aloft if flight.visit is not None]

    def _land_next(self) -> None:
        flight = self._aloft.popleft()
        if flight.outcome.exception() is not None:
            wait([other.outcome for other in self._aloft])
        elif flight.visit is not None:
            self._traffic.names |= flight.visit.names
        self._land(flight)


def _finished(
    edits: Edits | None = None, *, error: Exception | None = None
) -> Future[Edits | None]:
    outcome: Future[Edits | None] = Future()
    if error is None:
        outcome.set_result(edits)
    else:
        outcome.set_exception(error)
    return outcome
