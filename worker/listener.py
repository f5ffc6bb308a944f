"""Hear Plex's events in a thread of its own; the worker's loop decides what they mean."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from common.env import Env
from plex.events import (
    DELETED,
    PROCESSED,
    PROGRESS,
    EventStream,
    EventStreamLost,
    NoEventStream,
    PlexEvent,
)
from worker.backoff import max_delay

log = logging.getLogger("plexsync")

#: Items of which events are kept one by one. With more, only that there were many.
MOST_KEPT = 2_000
#: States that end in others: an event in one of these takes back the hint of an earlier one.
_UNDER_WAY = range(2, 5)
#: What a connection depends on.
Address = tuple[str, str, float, float]


@dataclass
class Heard:
    """What was heard since the loop last took it. Times are of the monotonic clock."""

    #: rating key → its newest event that says something
    items: dict[int, PlexEvent] = field(default_factory=dict)
    #: rating key → an event that may be its last, and when it came
    hints: dict[int, tuple[PlexEvent, float]] = field(default_factory=dict)
    #: there were more items than are kept
    is_many: bool = False
    first_at: float = 0.0
    last_at: float = 0.0

    @property
    def has_items(self) -> bool:
        """Return whether something is due once it has rested."""
        return bool(self.items) or self.is_many

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is due, sooner or later."""
        return not (self.has_items or self.hints)


class Listener:
    """Keeps one stream open, and collects what it says."""

    def __init__(self, env: Env, wake: threading.Event) -> None:
        """Connect to nothing yet.

        Args:
            wake: set when the loop has something new to look at.
        """
        self._env = env
        self._wake = wake
        self._lock = threading.Lock()
        self._heard = Heard()
        self._following: _Following | None = None
        self._thread: threading.Thread | None = None
        self._server = ""
        self._state: dict[str, Any] | None = None
        self._must_look = False
        self._received = self._received_before = 0

    # --- for the loop

    def follow(self, address: Address) -> None:
        """Listen to a server: connect in a thread, and again whenever the connection is lost.

        Args:
            address: URL and token; seconds to connect, and between two bytes of a usual answer.
        """
        if self._following is not None and self._following.address == address:
            return
        self.stop()
        following = _Following(address)
        with self._lock:
            self._following = following
            self._state = self._not_connected("connecting")
        self._thread = threading.Thread(
            target=self._run, args=(following,), name="plexsync-events", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Listen to nothing any more; forget what was heard."""
        with self._lock:
            following, self._following = self._following, None
            self._heard, self._state, self._server = Heard(), None, ""
            self._must_look = False
        if following is not None:
            following.end()

    @property
    def server(self) -> str:
        """The machineIdentifier of the server that the events come from; "": none yet."""
        return self._server

    @property
    def received(self) -> int:
        """Return the number of events so far."""
        return self._received

    @property
    def is_connected(self) -> bool:
        """Return whether Plex tells of its changes now."""
        state = self._state
        return state is not None and bool(state["connected"])

    def take_use(self) -> bool:
        """Return whether Plex told of anything since this was last asked: it is used."""
        received, self._received_before = self._received_before, self._received
        return received != self._received

    @property
    def must_look(self) -> bool:
        """Whether the stream was connected anew, so that events may have been missed."""
        return self._must_look

    def looked(self) -> None:
        """Note that a look at all of Plex's latest changes begins."""
        with self._lock:
            self._must_look = False

    def look_again(self) -> None:
        """Have a look at all of Plex's latest changes follow, as events could not be used."""
        with self._lock:
            self._must_look = self._following is not None

    def due_in(self) -> float:
        """Return seconds until what was heard is to be taken; infinite: nothing was."""
        now, timing = self._env.monotonic(), self._env.timing
        with self._lock:
            heard = self._heard
            moments = [came + timing.event_hint for _, came in heard.hints.values()]
            if heard.has_items:
                rested = heard.last_at + timing.event_rest
                moments.append(min(rested, heard.first_at + timing.event_latest))
        return max(0.0, min(moments, default=math.inf) - now)

    def quiet_for(self) -> float:
        """Return seconds since the last event."""
        return self._env.monotonic() - self._heard.last_at

    def take(self) -> Heard:
        """Return what was heard, hints only as far as they are due; it is forgotten here."""
        now, timing = self._env.monotonic(), self._env.timing
        with self._lock:
            taken, self._heard = self._heard, Heard()
            self._heard.last_at = taken.last_at
            for key, (event, came) in taken.hints.items():
                if now - came >= timing.event_hint:
                    taken.items.setdefault(key, event)
                else:
                    self._heard.hints[key] = (event, came)
        return taken

    def to_dict(self) -> dict[str, Any] | None:
        """Return the state of the stream for *Status*, in JSON's types; None: it is off."""
        with self._lock:
            return self._state

    # --- the thread

    def _run(self, following: _Following) -> None:
        failures = refusals = 0
        timing = self._env.timing
        while not following.is_ended:
            started = self._env.monotonic()
            stream = EventStream(*following.stream_arguments(timing.stream_silent))
            try:
                if following.take(stream):
                    self._connected(following, stream.open())
                    refusals = 0
                    while not following.is_ended:
                        self._collect(following, stream.read())
            except NoEventStream as error:
                delay = max_delay(refusals, timing.stream_refused, timing.stream_refused_latest)
                failures, refusals = 0, refusals + 1
                self._lost(following, str(error))
            except EventStreamLost as error:
                if self._env.monotonic() - started >= timing.stream_stable:
                    failures = 0
                delay = max_delay(failures, timing.stream_lost, timing.stream_lost_latest)
                failures += 1
                self._lost(following, str(error))
            except Exception as error:
                delay = timing.stream_refused_latest
                log.debug("Plex's events: unexpected error", exc_info=error)
                self._lost(following, f"unexpected error ({type(error).__name__})")
            finally:
                stream.release()
            if not following.is_ended:
                following.wait(self._env.uniform(0, delay))

    def _collect(self, following: _Following, events: Iterable[PlexEvent]) -> None:
        now = self._env.monotonic()
        with self._lock:
            if self._following is not following:
                return
            was_empty, had_items = self._heard.is_empty, self._heard.has_items
            for event in events:
                self._received += 1
                self._note(event, now)
            is_sooner = self._heard.has_items and not had_items
            is_first = was_empty and not self._heard.is_empty
        if is_first or is_sooner:
            self._wake.set()

    def _note(self, event: PlexEvent, now: float) -> None:
        heard, key = self._heard, event.rating_key
        if event.state in (PROCESSED, DELETED):
            heard.hints.pop(key, None)
            if not heard.has_items:
                heard.first_at = now
            heard.last_at = now
            heard.items[key] = event
        elif event.state == PROGRESS:
            if key not in heard.items:
                heard.hints[key] = (event, now)
        elif event.state in _UNDER_WAY:
            heard.hints.pop(key, None)
        if len(heard.items) + len(heard.hints) > MOST_KEPT:
            if not heard.has_items:
                heard.first_at = now
            heard.last_at = now
            heard.is_many = True
            heard.items.clear()
            heard.hints.clear()

    def _connected(self, following: _Following, server: str) -> None:
        with self._lock:
            if self._following is not following:
                return
            self._server, self._must_look = server, True
            self._state = {"connected": True, "since": self._env.time(), "problem": None}
        log.debug("Plex's events: connected")
        self._wake.set()

    def _lost(self, following: _Following, problem: str) -> None:
        with self._lock:
            if self._following is not following:
                return
            known = self._state or {}
            if not known.get("connected") and known.get("problem") == problem:
                return  # the same as before: "since" stays
            self._state = self._not_connected(problem)
        log.debug("Plex's events: %s", problem)
        self._wake.set()

    def _not_connected(self, problem: str) -> dict[str, Any]:
        return {"connected": False, "since": self._env.time(), "problem": problem}


class _Following:
    """One thread's work, until another server is to be listened to."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._stream: EventStream | None = None

    @property
    def is_ended(self) -> bool:
        return self._ended.is_set()

    def stream_arguments(self, silence: float) -> tuple[str, str, tuple[float, float], float]:
        url, token, connect_timeout, read_timeout = self.address
        return url, token, (connect_timeout, read_timeout), silence

    def take(self, stream: EventStream) -> bool:
        """Use a stream, which `end` closes; return False if that has happened."""
        with self._lock:
            self._stream = stream
            return not self.is_ended

    def end(self) -> None:
        with self._lock:
            self._ended.set()
            if self._stream is not None:
                self._stream.close()

    def wait(self, seconds: float) -> None:
        """Wait until the next attempt: in real time, as it is about a real connection."""
        self._ended.wait(seconds)
