"""Compare the items that Plex's events are about, seconds after.

An event is a hint of where to look. What it is about is read from Plex, and compared as a quick
pass does it; an event that was lost costs the time until the next pass.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection

from history.records import IN_PLEX, Agreement, Status
from plex.events import DELETED, PlexEvent
from validation.config import PlexSyncConfig
from worker.backoff import max_delay
from worker.listener import Address, Heard, Listener
from worker.parts import Parts
from worker.reconcile.passes import Passes
from worker.reconcile.plex_changes import PlexChanges

log = logging.getLogger("plexsync")

#: Items that are read one by one within the time of a quick pass. With more it is a storm: Plex
#: re-reads a library, and a listing of the latest changes costs less. As many as may be written
#: unasked: a library that changes bit by bit must wait for the user, too.
MOST_READ = 200
#: Deleted items that are asked for one by one; Plex may refuse to list others beside them.
_MOST_DELETED = 10
#: Items in one query of the history.
_CHUNK = 500


class EventStep:
    """Follows Plex's events while the settings say so, and looks at what they are about."""

    def __init__(
        self, parts: Parts, listener: Listener, plex_changes: PlexChanges, passes: Passes
    ) -> None:
        self._parts = parts
        self._listener = listener
        self._plex_changes = plex_changes
        self._passes = passes
        #: the settings that were last followed
        self._followed: PlexSyncConfig | None = None
        #: before which no quick pass follows, and how many have followed one another soon
        self._quick_pass_at, self._quick_passes = -math.inf, 0
        #: items that were read one by one, and since when they are counted
        self._read, self._read_since = 0, -math.inf
        #: since when very many items change, and when the latest changes were listed
        self._storm_since: float | None = None
        self._looked_at = -math.inf

    # --- what the loop asks

    def is_due(self) -> bool:
        """Return whether a step is due now."""
        return min(self._listener.due_in(), self._look_in()) <= 0

    def must_follow(self, config: PlexSyncConfig | None) -> bool:
        """Return whether these settings have to be followed.

        Args:
            config: those in effect; None: there are none, or they were not asked for yet.
        """
        return self._followed is None if config is None else config != self._followed

    def due_in(self) -> float:
        """Return seconds until the next step, or a quick pass for its sake; infinite: none."""
        waits = [self._listener.due_in(), self._look_in()]
        if self._listener.must_look:
            waits.append(max(0.0, self._quick_pass_at - self._parts.env.monotonic()))
        return min(waits)

    def wants_quick_pass(self) -> bool:
        """Return whether events may have been missed: the stream was connected anew."""
        return self._listener.must_look and self._parts.env.monotonic() >= self._quick_pass_at

    def before_quick_pass(self) -> None:
        """Have the quick pass ask anew which server it is, where events come from another one.

        What asks for one again and again has to wait, longer each time: a proxy may end each silent
        stream after a minute, and every look wakes disks.
        """
        if self._listener.must_look:
            now, timing = self._parts.env.monotonic(), self._parts.env.timing
            if now - self._quick_pass_at > timing.quick_pass:
                self._quick_passes = 0
            delay = max_delay(self._quick_passes, timing.recovery, timing.quick_pass)
            self._quick_pass_at, self._quick_passes = now + delay, self._quick_passes + 1
        self._listener.looked()
        server, plex = self._listener.server, self._parts.plex
        if server and plex.server and server != plex.server:
            plex.close()

    def quick_pass_failed(self) -> None:
        """Have another quick pass follow, but not at once."""
        self._quick_pass_at = self._parts.env.monotonic() + self._parts.env.timing.recovery
        self._listener.look_again()

    def follow(self, config: PlexSyncConfig) -> None:
        """Listen to the server of these settings, or to none; sends nothing itself."""
        if config == self._followed:
            return
        if config.plex_events:
            address: Address = (
                config.plex_url,
                config.plex_token,
                config.plex_connect_timeout,
                config.plex_read_timeout,
            )
            self._listener.follow(address)
        else:
            self._listener.stop()
            self._storm_since = None
        self._followed = config

    # --- the step

    def run(self) -> None:
        """Look at what was heard.

        Raises:
            SettingsError, StashUnavailable, StashRefused, StashQueryError
            PlexTemporaryError, PlexPermanentError
        """
        try:
            if self._listener.due_in() <= 0:
                self._look_at(self._listener.take())
            if self._look_in() <= 0:
                self._list_latest()
        except BaseException:
            self.quick_pass_failed()  # what these events were about is not known any more
            raise

    def _look_at(self, heard: Heard) -> None:
        plex = self._parts.plex
        if not plex.keys:
            plex.libraries()
        if self._listener.server != plex.server:  # its rating keys mean other items
            self._listener.look_again()
            return
        news = self._without_echoes(heard.items)
        deleted = sum(event.state == DELETED for event in news)
        if heard.is_many or deleted > _MOST_DELETED or not self._may_read(len(news)):
            if self._storm_since is None:
                self._storm_since = self._parts.env.monotonic()
        elif news and self._storm_since is None:
            plex.read_changed([event.rating_key for event in news])
            self._plex_changes.look()
            self._passes.approve()
            log.debug("Plex's events: %d items were compared", len(news))

    def _look_in(self) -> float:
        """Return seconds until the latest changes are to be listed; infinite: they need not be.

        That is when very many items have changed and it is quiet by now, or has not been for long.
        """
        if self._storm_since is None:
            return math.inf
        timing, now = self._parts.env.timing, self._parts.env.monotonic()
        quiet_in = timing.event_latest - self._listener.quiet_for()
        latest_in = self._storm_since + timing.storm_look - now
        rested_in = self._looked_at + timing.storm_look - now
        return max(0.0, rested_in, min(quiet_in, latest_in))

    def _list_latest(self) -> None:
        """List the latest changes of all libraries, and compare with them."""
        env = self._parts.env
        is_quiet = self._listener.quiet_for() >= env.timing.event_latest
        self._looked_at = env.monotonic()
        self._storm_since = None if is_quiet else self._looked_at
        self._parts.plex.libraries(look=True)
        self._plex_changes.look()
        if is_quiet:  # before, more may follow: the number of writes is not known
            self._passes.approve()

    def _may_read(self, count: int) -> bool:
        """Return whether some more items may be read one by one, and count them."""
        now = self._parts.env.monotonic()
        if now - self._read_since >= self._parts.env.timing.quick_pass:
            self._read_since, self._read = now, 0
        self._read += count
        return self._read <= MOST_READ

    def _without_echoes(self, items: dict[int, PlexEvent]) -> list[PlexEvent]:
        """Return the events that say something new: not those about our own writes."""
        plex, keys = self._parts.plex, list(items)
        rows: dict[int, list[Agreement]] = {}
        for start in range(0, len(keys), _CHUNK):
            some = keys[start : start + _CHUNK]
            for row in self._parts.history.of_items(plex.server, some):
                rows.setdefault(row.rating_key, []).append(row)
        times = plex.index.updated_at(keys)
        sections = set(plex.keys)
        return [
            event
            for key, event in items.items()
            if event.section in sections and not _is_known(event, rows.get(key, ()), times.get(key))
        ]


def _is_known(event: PlexEvent, rows: Collection[Agreement], indexed_at: int | None) -> bool:
    """Return whether an event says nothing new.

    Args:
        indexed_at: the item's `updatedAt` in the index; None: the index does not have it.
    """
    if event.state == DELETED or indexed_at is None:
        return event.state == DELETED and indexed_at is None
    if rows and all(row.status is Status.WRITTEN and row.verify_at for row in rows):
        return True  # of a write of ours; the read-back sees to it
    # Of other items the index alone knows, and those of scenes that are left alone stay behind.
    times = [row.item_updated_at for row in rows if row.status in IN_PLEX] or [indexed_at]
    return bool(event.updated_at) and all(event.updated_at == known for known in times)
