"""Outages of Plex and Stash, and times of refused settings: from when to when, and at what cost.

The latest ones are kept in the state of `history.db`. It is written when one begins, ends, or is
caught up with. A length is measured by the monotonic clock: one that is set does not change it.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import Any

from history.outages import readable_outages
from plex.session import PLEX as PLEX_STATE
from queue.ack_queue import JobQueue
from queue.table import EDITS, RETRIES
from worker.parts import Parts

#: Causes: a server is down; the token is rejected, or a setting is wrong.
PLEX, STASH, SETUP = "plex_down", "stash_down", "setup"
#: State in the history: the latest outages, the oldest first.
OUTAGES = "outages"
_MOST = 50


def unfinished(queue: JobQueue) -> int:
    """Return how many edits wait or are in progress."""
    counts = queue.counts()
    return counts["pending"] + counts["in_progress"]


class Outages:
    """The latest outages. One that the last worker left open goes on until its server answers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._all = readable_outages(parts.history.get(OUTAGES))
        self._is_changed = False
        #: cause → the outage, and its beginning on the monotonic clock
        self._open: dict[str, tuple[dict[str, Any], float]] = {}
        #: causes that a worker before has seen, and this one has not yet
        self._unconfirmed: set[str] = set()
        #: outages that are over, with edits of that time left, and their ends
        self._behind: list[tuple[dict[str, Any], float]] = []
        now, monotonic = parts.env.time(), parts.env.monotonic()
        for one in self._all:
            if one["until"] is None:
                one["since"] = min(one["since"], now)
                self._open[one["cause"]] = one, monotonic - (now - one["since"])
                self._unconfirmed.add(one["cause"])
            elif one["caught_up_after"] is None:
                self._behind.append((one, monotonic - max(0.0, now - one["until"])))

    def begin(self, cause: str) -> None:
        """Note that a cause keeps edits from being synced; an open outage of it goes on.

        Settings that were never right are no outage.
        """
        self._unconfirmed.discard(cause)
        if cause in self._open:
            return
        if cause == SETUP and not self._parts.history.get(PLEX_STATE):
            return
        env = self._parts.env
        one = {
            "cause": cause, "since": env.time(), "until": None, "seconds": None,
            "waiting": None, "caught_up_after": None,
        }  # fmt: skip
        self._open[cause] = one, env.monotonic()
        self._all = [*self._all, one][-_MOST:]
        self._is_changed = True

    def end(self, *causes: str) -> None:
        """Note that these causes are gone, if they were there."""
        for cause in self._open.keys() & causes:
            one, began_at = self._open.pop(cause)
            self._unconfirmed.discard(cause)
            now, monotonic = self._parts.env.time(), self._parts.env.monotonic()
            one["until"], one["seconds"] = now, monotonic - began_at
            if one["since"] > now:  # the clock was set back
                one["since"] = now - one["seconds"]
            with suppress(sqlite3.Error):
                one["waiting"] = unfinished(self._parts.queue)
            self._behind.append((one, monotonic))
            self._is_changed = True

    def is_open(self, *causes: str) -> bool:
        """Return whether an outage of one of these causes, or of any, goes on."""
        return bool(self._open.keys() & causes if causes else self._open)

    def open_for(self, cause: str) -> float | None:
        """Return for how many seconds a cause has been there; None: it is not."""
        found = self._open.get(cause)
        return None if found is None else self._parts.env.monotonic() - found[1]

    def is_confirmed(self, cause: str) -> bool:
        """Return whether this process has seen an open outage, too."""
        return cause in self._open and cause not in self._unconfirmed

    def last(self, cause: str) -> dict[str, Any] | None:
        """Return the latest outage of a cause; see `begin` and `end` for its keys."""
        return next((one for one in reversed(self._all) if one["cause"] == cause), None)

    def look(self) -> None:
        """Note whether the edits of an outage are done, and store what has changed.

        Raises:
            sqlite3.Error: it can't be stored; the next look tries again.
        """
        if self._behind and not self._open and not self._is_any_due():
            for one, ended_at in self._behind:
                one["caught_up_after"] = self._parts.env.monotonic() - ended_at
            self._behind = []
            self._is_changed = True
        if self._is_changed:
            self._parts.history.set(OUTAGES, self._all)
            self._is_changed = False

    def _is_any_due(self) -> bool:
        queue, now = self._parts.queue, self._parts.env.time()
        return queue.is_due(EDITS, now) or queue.is_due(RETRIES, now)
