"""Finds the edits of which no hook told: killed ones, bulk tasks without hooks, times when nothing ran.

The worker asks Stash for the scenes that were changed since its last look and queues those not synced since. How
far it has looked, the watermark, is a time of Stash's own clock, kept beside the queue's database.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping

from common.files import replace_private
from queue.inbox import QUEUE_DIR
from queue.models import MISSED
from queue.operations import enqueue
from queue.timestamps import is_synced, parse_time
from stash.client import StashClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from queue.operations import Putter

FILE = "catch_up.json"
#: Seconds after which nobody can change a scene within a past second any more, clocks being what they are.
_SETTLED = 5.0
_DAY = 86_400.0


class CatchUp:
    """Looks for missed edits of one Stash, for one queue."""

    def __init__(
        self, data_dir: str, stash: StashClient, queue: Putter, *, now: Callable[[], float]
    ) -> None:
        """Args:
        queue: see `queue.operations.enqueue`.
        now: epoch seconds.
        """
        self._file = os.path.join(data_dir, QUEUE_DIR, FILE)
        self._stash = stash
        self._queue = queue
        self._now = now

    def look(self, synced: Mapping[int, float]) -> int:
        """Queue what was missed since the last look; return how many scenes.

        The first look ever only notes where Stash stands: an installation pushes no library unasked.

        Args:
            synced: scene id → epoch seconds of its last sync.

        Raises:
            StashUnavailable, StashRefused, StashQueryError
            OSError, sqlite3.Error: the queue or the watermark can't be written.
        """
        newest = self._stash.newest_update()
        since = self._noted("seen_until")
        missed = 0
        if since is not None and newest is not None:
            for scene_id, updated_at in self._stash.updated_since(since):
                if self._is_missed(updated_at, since, synced.get(scene_id)):
                    enqueue(self._queue, scene_id, "metadata", {MISSED: True})
                    missed += 1
        self._note(seen_until=self._seen_until(newest))
        return missed

    def _is_missed(self, updated_at: str, since: float, synced_at: float | None) -> bool:
        moment = parse_time(updated_at)
        if moment is None or moment <= since:
            return False
        if (
            synced_at is not None and moment > self._now() + _SETTLED
        ):  # by a wrong clock; that is no new change
            return False
        return not is_synced(updated_at, synced_at)

    def vanished(self, synced: Mapping[int, float]) -> set[int]:
        """Return the scenes that Stash no longer has. Asks for all ids once a day, or when there must be some.

        Raises:
            StashUnavailable, StashRefused, StashQueryError
            OSError: it can't be noted.
        """
        counted_recently = 0 <= self._now() - (self._noted("compared_at") or 0.0) < _DAY
        if not synced or (counted_recently and len(synced) <= self._stash.scene_count()):
            return set()
        gone = set(synced) - set(self._stash.scene_ids())
        self._note(compared_at=self._now())
        return gone

    def _noted(self, name: str) -> float | None:
        try:
            with open(self._file, encoding="utf-8") as file:
                moment = float(json.load(file)[name])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return moment if math.isfinite(moment) else None

    def _note(self, **moments: float) -> None:
        known = {name: self._noted(name) for name in ("seen_until", "compared_at")}
        replace_private(self._file, json.dumps({**known, **moments}))

    def _seen_until(self, newest: str | None) -> float:
        """How far we have looked: the newest change, its second included once that is over."""
        now = self._now()
        end = (parse_time(newest) if newest else None) or now
        return end if now - end > _SETTLED else min(end, now) - 1.0
