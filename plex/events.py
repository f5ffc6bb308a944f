"""Plex's event stream: server-sent events about items, as hints of where to look.

The messages have no published schema, so each form that was seen is understood, and what is not
understood is left out. See docs/decisions/0014-plex-events-as-hints.md.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import ParseError, fromstring

import requests
from urllib3.exceptions import HTTPError

from common.limited import LimitedStream
from common.texts import cut, printable
from plex.client import MOVIE, RetryingSession, identity

PATH = "/:/eventsource/notifications?filters=timeline"
#: Bytes of one message. A real one has 500.
MAX_MESSAGE = 65_536
#: States of an item: processed, the end where a library has no agent, and deleted.
PROCESSED, PROGRESS, DELETED = 5, 1, 9
_STATES = range(10)
_LIBRARY = "com.plexapp.plugins.library"
_TIMELINE = "timeline"
_LARGEST = 2**63 - 1
#: Characters of a number as text that are looked at.
_DIGITS = 19
_OK = 200
_FAILURES = (requests.RequestException, HTTPError, http.client.HTTPException, OSError)


class EventStreamLost(Exception):
    """Signal that Plex can't be reached, or that a stream has ended."""


class NoEventStream(Exception):
    """Signal that Plex, or a proxy in its place, answers but offers no stream."""


@dataclass(frozen=True)
class PlexEvent:
    """One message of Plex about an item."""

    section: int
    rating_key: int
    state: int
    #: the item's `updatedAt` in epoch seconds; 0: not told
    updated_at: int = 0


class EventParser:
    """Takes a stream of server-sent events apart; whatever the bytes are, memory is bounded."""

    def __init__(self) -> None:
        self._line = bytearray()
        #: the line, or the message, is too long: it is skipped up to its end
        self._skips_line = self._skips_message = False
        self._ended_with_cr = False
        self._kind = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, content: bytes) -> Iterator[PlexEvent]:
        """Yield the events that end with these bytes."""
        # A line ends with CR LF, which may be cut in two, with LF or with CR.
        if self._ended_with_cr:
            content = content.removeprefix(b"\n")
        self._ended_with_cr = content.endswith(b"\r")
        lines = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for piece in lines[:-1]:
            self._add(piece)
            line, self._line = bytes(self._line), bytearray()
            is_skipped, self._skips_line = self._skips_line, False
            if is_skipped:
                self._skips_message = True
            elif line:
                self._take_line(line)
            else:
                yield from self._end_message()
        self._add(lines[-1])

    def _add(self, piece: bytes) -> None:
        if self._skips_line or len(self._line) + len(piece) > MAX_MESSAGE:
            self._skips_line = True
            self._line.clear()
        else:
            self._line += piece

    def _take_line(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._kind = value.decode("utf-8", "replace")
        elif name == b"data":
            self._size += len(value) + 1
            if self._size > MAX_MESSAGE:
                self._skips_message = True
                self._data.clear()
            else:
                self._data.append(value)

    def _end_message(self) -> Iterator[PlexEvent]:
        kind, data, is_skipped = self._kind, b"\n".join(self._data), self._skips_message
        self._kind, self._data, self._size, self._skips_message = "", [], 0, False
        if data and not is_skipped and kind in ("", "message", "notification", _TIMELINE):
            yield from _parse(kind, data)


class EventStream:
    """One connection to Plex's events, with the rules of all other requests to Plex."""

    def __init__(self, url: str, token: str, timeout: tuple[float, float], silence: float) -> None:
        """Prepare a connection; nothing is sent yet.

        Args:
            timeout: seconds to connect, and between two bytes of an ordinary answer.
            silence: seconds between two bytes of the stream.
        """
        self._url = url.rstrip("/")
        self._token = token
        own = identity(url)
        self._ask = RetryingSession(self._url, timeout, own)
        self._session = RetryingSession(self._url, (timeout[0], silence), own)
        for session in (self._ask, self._session):
            session.attempts = 1  # the caller tries again, and waits longer
        self._parser = EventParser()
        self._stream: LimitedStream | None = None
        self._is_closed = False

    def open(self) -> str:
        """Connect; return the server's machineIdentifier.

        Raises:
            EventStreamLost, NoEventStream
        """
        try:
            response = self._ask.request("GET", f"{self._url}/identity")
            if response.status_code != _OK:
                raise _refusal(response.status_code, "")
            server = fromstring(response.content).get("machineIdentifier")
            if not server:
                raise NoEventStream("what answers is not a Plex server")
            headers = {
                "Accept": "text/event-stream",
                "Accept-Encoding": "identity",
                "X-Plex-Token": self._token,
            }
            stream = self._session.open_stream(f"{self._url}{PATH}", headers=headers)
        except ParseError:
            raise NoEventStream("what answers is not a Plex server") from None
        except _FAILURES as error:
            # its text may have the address, and with it a password
            raise EventStreamLost(f"Plex can't be reached ({type(error).__name__})") from None
        self._stream = stream
        if stream.status != _OK or stream.kind != "text/event-stream" or stream.is_packed:
            raise _refusal(stream.status, stream.kind)
        if self._is_closed:
            stream.close()
        return server

    def read(self) -> list[PlexEvent]:
        """Wait for the next bytes; return the events that end with them.

        Raises:
            EventStreamLost
        """
        assert self._stream is not None
        try:
            content = self._stream.read()
        except _FAILURES as error:
            raise EventStreamLost(f"the connection was lost ({type(error).__name__})") from None
        if not content:
            raise EventStreamLost("Plex ended the connection")
        return list(self._parser.feed(content))

    def close(self) -> None:
        """End the connection, also while another thread reads."""
        self._is_closed = True
        if self._stream is not None:
            self._stream.close()

    def release(self) -> None:
        """Close the connection; for the thread that reads."""
        if self._stream is not None:
            self._stream.release()
        self._ask.close()
        self._session.close()


def _refusal(status: int, kind: str) -> Exception:
    if status in (500, 502, 503, 504):  # it may be starting up
        return EventStreamLost(f"Plex answered {status}")
    if status != _OK:
        return NoEventStream(f"Plex answered {status}")
    shown = cut(printable(kind), 40) or "something else"
    return NoEventStream(f"Plex, or a proxy, answered with {shown} instead of events")


def _parse(kind: str, data: bytes) -> Iterator[PlexEvent]:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(message, dict):
        return
    inner = message.get("NotificationContainer", message)
    if not isinstance(inner, dict) or (inner.get("type") or kind) not in (_TIMELINE, MOVIE, "1"):
        return
    found = inner.get("TimelineEntry", inner)
    for entry in found if isinstance(found, list) else [found]:
        event = _event(entry)
        if event is not None:
            yield event


def _event(entry: Any) -> PlexEvent | None:
    """Return what an entry says of a movie of a library; None: it is about something else."""
    if not isinstance(entry, dict) or entry.get("identifier", _LIBRARY) != _LIBRARY:
        return None
    names = ("type", "sectionID", "itemID", "state", "updatedAt")
    kind, section, key, state, updated_at = (_number(entry.get(name)) for name in names)
    if kind != MOVIE or not section or not key or state is None or state not in _STATES:
        return None
    return PlexEvent(section, key, state, updated_at or 0)


def _number(value: object) -> int | None:
    """Return a whole number, not negative, that came as a number or a text; None: it is not one."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= _DIGITS:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= _LARGEST else None
