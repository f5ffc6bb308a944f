"""Plex's notifications: server-sent events of what happens, and what a test sends besides.

No real server was asked: whether the frames have the outer object, and numbers as text, is a
setting, so that a client has to understand each form.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence

from tests.simulators.httpd import Channel, Request, Response
from tests.simulators.plex.records import ITEM_TYPES, PlexItem

LIBRARY = "com.plexapp.plugins.library"
#: States of an item in a timeline entry.
CREATED, PROGRESS, MATCHING, DOWNLOADING, PROCESSING, PROCESSED, DELETED = 0, 1, 2, 3, 4, 5, 9
NO_AGENT = "tv.plex.agents.none"

_METADATA_STATES = {CREATED: "created", PROCESSED: "processed", DELETED: "deleted"}


class Notifications:
    """The open streams of a server, and how it speaks there. Thread-safe."""

    def __init__(self) -> None:
        self.is_wrapped = False
        """Frames have the outer `NotificationContainer`, as on the WebSocket."""
        self.is_single = False
        """A list of one is written as its only element."""
        self.has_text_numbers = False
        self.chunked = True
        self.refusal: Response | None = None
        """What is answered in place of a stream."""
        self.lose_every = 0
        """Every n-th timeline entry is lost; 0: none."""
        self.is_silent = False
        """Streams are open, and nothing is sent."""
        self.sent = 0
        """Timeline entries that were sent, or would have been without `lose_every`."""
        self._lock = threading.Lock()
        #: each with the kinds of messages that it wants; none: all
        self._channels: list[tuple[Channel, frozenset[str]]] = []

    # -- streams --

    @property
    def streams(self) -> int:
        """Return the number of streams that were opened and not dropped."""
        with self._lock:
            self._channels = [one for one in self._channels if not one[0].is_closed]
            return len(self._channels)

    def subscribe(self, request: Request) -> Response:
        """Open a stream."""
        if self.refusal is not None:
            return self.refusal
        with self._lock:
            channel = Channel(chunked=self.chunked)
            kinds = (request.first("filters") or "").split(",")
            self._channels.append((channel, frozenset(kinds) - {""}))
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        return Response(200, headers=headers, channel=channel)

    def drop_all(self, *, reset: bool = False) -> int:
        """End all streams; return how many."""
        with self._lock:
            channels, self._channels = self._channels, []
        for channel, _ in channels:
            channel.close(reset=reset)
        return len(channels)

    # -- what is sent --

    def send_bytes(self, content: bytes, kind: str | None = None) -> None:
        """Send anything over all streams, or over those that want messages of this kind."""
        if self.is_silent:
            return
        with self._lock:
            for channel, kinds in self._channels:
                if kind is None or not kinds or kind in kinds:
                    channel.send(content)

    def send(self, kind: str, content: dict[str, object]) -> None:
        """Send a message over the streams that want such ones."""
        self.send_bytes(self.frame(kind, content), kind)

    def frame(self, kind: str, content: dict[str, object]) -> bytes:
        """Return a message as it stands in a stream."""
        inner = {"type": kind, "size": 1, **content}
        body = {"NotificationContainer": inner} if self.is_wrapped else inner
        return f"event: {kind}\ndata: {json.dumps(body)}\n\n".encode()

    def send_activity(self, kind: str = "library.update.section", **context: object) -> None:
        """Tell of an activity of the server."""
        activity = {"type": kind, "progress": 50, "Context": context, "title": "Scanning"}
        self.send(
            "activity", {"ActivityNotification": [{"event": "updated", "Activity": activity}]}
        )

    def send_timeline(
        self,
        section: int,
        item: int,
        state: int = PROCESSED,
        *,
        updated_at: int = 0,
        kind: int = ITEM_TYPES["movie"],
        identifier: str = LIBRARY,
        title: str = "",
    ) -> None:
        """Tell of one item."""
        self.send_entries([self.entry(section, item, state, updated_at, kind, identifier, title)])

    def send_entries(self, entries: Sequence[dict[str, object]]) -> None:
        """Send timeline entries in one message, as far as they are not lost."""
        kept = []
        for one in entries:
            self.sent += 1
            if not (self.lose_every and self.sent % self.lose_every == 0):
                kept.append(one)
        if kept:
            is_bare = self.is_single and len(kept) == 1
            self.send("timeline", {"TimelineEntry": kept[0] if is_bare else kept})

    def entry(
        self,
        section: int,
        item: int,
        state: int,
        updated_at: int = 0,
        kind: int = ITEM_TYPES["movie"],
        identifier: str = LIBRARY,
        title: str = "",
    ) -> dict[str, object]:
        """Return a timeline entry."""
        numbers: dict[str, int] = {
            "sectionID": section, "itemID": item, "type": kind, "state": state,
        }  # fmt: skip
        if updated_at:
            numbers["updatedAt"] = updated_at
        entry: dict[str, object] = {"identifier": identifier, "title": title}
        if state in _METADATA_STATES:
            entry["metadataState"] = _METADATA_STATES[state]
        if state == PROGRESS:
            entry["mediaState"] = "analyzing"
        return entry | {
            name: str(number) if self.has_text_numbers else number
            for name, number in numbers.items()
        }

    def tell(self, item: PlexItem, *states: int) -> None:
        """Tell that an item of a library is in these states, one after the other."""
        with self._lock:
            if not self._channels:
                return
        library = item.library
        kind = ITEM_TYPES[library.type]
        for state in states:
            self.send_timeline(
                library.key, item.rating_key, state,
                updated_at=item.updated_at, kind=kind, title=item.title,
            )  # fmt: skip
