"""Find edits that never reached a hook: killed hooks, Auto Tag, times when nothing ran.

The worker asks Stash for the scenes that were changed since its last scan and queues those not
synced since. The watermark, up to which it has scanned, is a time of Stash's own clock.
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
#: Clock-skew allowance, in seconds.
_CLOCK_SKEW = 5.0
_DAY = 86_400.0


class CatchUp:
    """Scans one Stash for missed edits, for one queue."""

    def __init__(
        self, data_dir: str, stash: StashClient, queue: Putter, *, now: Callable[[], float]
    ) -> None:
        """Scan nothing yet.

        Args:
            queue: see `queue.operations.enqueue`.
            now: returns epoch seconds.
        """
        self._file = os.path.join(data_dir, QUEUE_DIR, FILE)
        self._stash = stash
        self._queue = queue
        self._now = now

    def scan(self, synced: Mapping[int, float]) -> int:
        """Queue the scenes that were missed since the last scan; return how many.

        The first run only records a watermark; a fresh install does not sync the whole library.

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
            synced_at is not None and moment > self._now() + _CLOCK_SKEW
        ):  # dated by a wrong clock: not a new change
            return False
        return not is_synced(updated_at, synced_at)

    def vanished(self, synced: Mapping[int, float]) -> set[int]:
        """Return the scenes that Stash no longer has; read all ids daily, or if counts differ.

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
        """Return the watermark: the newest change, rounded up to its second once that is over."""
        now = self._now()
        end = (parse_time(newest) if newest else None) or now
        return end if now - end > _CLOCK_SKEW else min(end, now) - 1.0
