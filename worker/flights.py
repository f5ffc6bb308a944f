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
    alone: bool  # no other was on its way at any time
    #: what was sent, once it is there; or what went wrong, in the finding or in the writing
    outcome: Future[Edits | None]


class Flights:
    """The writes of some jobs. A context manager: none is on its way when it ends, whatever happens."""

    def __init__(
        self,
        write: Callable[[Visit], Edits],
        land: Callable[[Flight], object],
        go_on: Callable[[], bool],
        *,
        at_once: int,
        slow: float,
        now: Callable[[], float],
        known: set[str],
    ) -> None:
        """Begin nothing yet.

        Args:
            write: carries out a write, in any thread.
            land: answers for a job whose outcome is there. After one that failed, no other write is on its way.
            go_on: asked after writes had to be waited for: whether another may begin.
            at_once: writes on their way at once, where Plex is slow.
            slow: seconds for the last write that went alone, from which Plex counts as slow.
            now: seconds, never going back.
            known: names that Plex has, as earlier writes brought them; those of these writes come to them.
        """
        self._write = write
        self._land = land
        self._go_on = go_on
        self._at_once = at_once
        self._slow = slow
        self._now = now
        self._known = known
        self._took = float("-inf")
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
        places = self._places  # before the write: one that goes alone lands before the next is begun
        visit, outcome = None, _finished()
        try:
            visit = find()
            if visit is not None and (self._is_aloft(visit.item) or self._brings_the_same(visit)):
                outdated = self._is_aloft(visit.item)  # what was read of it
                self.land_all()
                if not self._go_on():
                    return False
                visit = find() if outdated else visit
        except Exception as error:  # noqa: BLE001 - whatever it is: `land` learns of it
            alone = not self._aloft
            outcome, places = _finished(error=error), 1  # and at once: there may be no use in going on
        else:
            alone = not self._aloft and self._places == 1
            if visit is not None:
                outcome = self._begin(visit)
        self._aloft.append(Flight(job, visit, alone, outcome))
        while len(self._aloft) >= places:
            self._land_next()
        return True

    def land_all(self) -> None:
        """Wait for what is on its way."""
        while self._aloft:
            self._land_next()

    @property
    def _places(self) -> int:
        return self._at_once if self._took >= self._slow else 1

    def _begin(self, visit: Visit) -> Future[Edits | None]:
        if self._places > 1:
            try:
                return self._pool.submit(self._write, visit)
            except RuntimeError:  # there may be no more threads, as in a container that limits them
                self._pool.shutdown()  # waits: it may have been queued for one that there is
                self._at_once = 1
        start = self._now()
        try:
            return _finished(self._write(visit))
        except Exception as error:  # noqa: BLE001 - as a thread's
            return _finished(error=error)
        finally:
            self._took = self._now() - start

    def _is_aloft(self, item: Any) -> bool:
        return any(visit.item.ratingKey == item.ratingKey for visit in self._visits())

    def _brings_the_same(self, visit: Visit) -> bool:
        """Whether one that is on its way may create the same tag: nobody says what Plex makes of two at once."""
        new = _names(visit.metadata) - self._known
        return any(not new.isdisjoint(_names(other.metadata)) for other in self._visits())

    def _visits(self) -> list[Visit]:
        return [flight.visit for flight in self._aloft if flight.visit is not None]

    def _land_next(self) -> None:
        flight = self._aloft.popleft()
        if flight.outcome.exception() is not None:
            wait([other.outcome for other in self._aloft])
        elif flight.visit is not None:
            self._known |= _names(flight.visit.metadata)
        self._land(flight)


def _names(metadata: SyncMetadata) -> set[str]:
    """Return the names of a scene that become tags and collections in Plex, which ignores case."""
    names = (*metadata.performers, *metadata.tags, *metadata.groups, metadata.studio, metadata.director)
    return {name.casefold() for name in names if name}


def _finished(edits: Edits | None = None, *, error: Exception | None = None) -> Future[Edits | None]:
    outcome: Future[Edits | None] = Future()
    if error is None:
        outcome.set_result(edits)
    else:
        outcome.set_exception(error)
    return outcome
