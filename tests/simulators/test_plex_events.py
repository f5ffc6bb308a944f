"""The simulated event stream: what it tells by itself, and what a test can have it do."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.processes import wait_until
from tests.simulators.httpd import Response
from tests.simulators.plex import PlexLibrary, PlexSimulator

PATH = "/:/eventsource/notifications"
AGENT = "tv.plex.agents.movie"


@pytest.fixture
def plex() -> Iterator[PlexSimulator]:
    with PlexSimulator(scan_delay=0.01) as simulator:
        yield simulator
        assert simulator.server.errors == []


@pytest.fixture
def library(plex: PlexSimulator) -> PlexLibrary:
    return plex.add_library("Films", ["/media"], agent=AGENT)


class Stream:
    """A client that reads frames."""

    def __init__(self, plex: PlexSimulator, filters: str = "", token: str | None = None) -> None:
        self._connection = http.client.HTTPConnection(plex.server.host, plex.server.port)
        path = f"{PATH}?filters={filters}" if filters else PATH
        token = plex.token if token is None else token
        self._connection.request("GET", path, headers={"X-Plex-Token": token})
        self.response = self._connection.getresponse()

    def frame(self) -> tuple[str, dict[str, Any]]:
        """Return the next frame: the event's name and its data."""
        fields = {}
        while line := self.response.readline().decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            fields[name] = value
        return fields["event"], json.loads(fields["data"])

    def states(self, count: int) -> list[tuple[int, int]]:
        """Return (item, state) of the next timeline entries."""
        found: list[tuple[int, int]] = []
        while len(found) < count:
            kind, data = self.frame()
            assert kind == "timeline"
            found += [(int(one["itemID"]), int(one["state"])) for one in data["TimelineEntry"]]
        return found

    def close(self) -> None:
        self.response.close()
        self._connection.close()


@pytest.fixture
def stream(plex: PlexSimulator, library: PlexLibrary) -> Iterator[Stream]:
    one = Stream(plex)
    yield one
    one.close()


def test_a_scan_tells_of_each_step(
    plex: PlexSimulator, library: PlexLibrary, stream: Stream
) -> None:
    plex.add_file("/media/a.mp4")
    plex.scan(library)
    assert plex.settle()
    item = plex.find("/media/a.mp4")
    assert item is not None
    assert stream.states(6) == [(item.rating_key, state) for state in (0, 1, 2, 3, 4, 5)]


def test_a_library_without_an_agent_ends_at_1(plex: PlexSimulator, stream: Stream) -> None:
    bare = plex.add_library("Bare", ["/bare"])
    plex.add_file("/bare/a.mp4")
    plex.scan(bare)
    assert plex.settle()
    plex.events.send("status", {"StatusNotification": [{}]})
    assert [state for _, state in stream.states(2)] == [0, 1]
    assert stream.frame()[0] == "status"


def test_edits_refreshes_and_removals_are_told(
    plex: PlexSimulator, library: PlexLibrary, stream: Stream
) -> None:
    item = plex.add_item(library, "/media/a.mp4")
    stream.states(3)
    key = item.rating_key
    edit = f"/library/sections/{library.key}/all?type=1&id={key}&title.value=New"
    client = http.client.HTTPConnection(plex.server.host, plex.server.port)
    client.request("PUT", edit, headers={"X-Plex-Token": plex.token})
    client.getresponse().read()
    client.close()
    plex.refresh_item(key)
    plex.person_sets(key, "title", "By hand")
    plex.touch_item(key)
    plex.remove_item(key)
    assert stream.states(5) == [(key, 5)] * 4 + [(key, 9)]


def test_a_frame_has_the_fields_that_are_known(
    plex: PlexSimulator, library: PlexLibrary, stream: Stream
) -> None:
    plex.events.send_timeline(library.key, 7, updated_at=5, title="A title")
    kind, data = stream.frame()
    assert (kind, data["type"]) == ("timeline", "timeline")
    assert data["TimelineEntry"] == [
        {
            "identifier": "com.plexapp.plugins.library", "title": "A title", "sectionID": 1,
            "itemID": 7, "type": 1, "state": 5, "metadataState": "processed", "updatedAt": 5,
        }
    ]  # fmt: skip


@pytest.mark.parametrize("chunked", [True, False])
def test_forms_differ_as_a_test_wants(
    plex: PlexSimulator, library: PlexLibrary, *, chunked: bool
) -> None:
    events = plex.events
    events.is_wrapped = events.is_single = events.has_text_numbers = True
    events.chunked = chunked
    stream = Stream(plex)
    events.send_timeline(library.key, 7)
    _, data = stream.frame()
    assert data["NotificationContainer"]["TimelineEntry"]["itemID"] == "7"
    stream.close()


def test_a_stream_needs_the_token(plex: PlexSimulator) -> None:
    stream = Stream(plex, token="wrong")
    assert stream.response.status == 401
    stream.close()


def test_a_filter_leaves_other_messages_out(plex: PlexSimulator, library: PlexLibrary) -> None:
    stream = Stream(plex, filters="timeline")
    plex.events.send_activity()
    plex.events.send_timeline(library.key, 7)
    assert stream.frame()[0] == "timeline"
    stream.close()


def test_every_nth_event_can_be_lost(
    plex: PlexSimulator, library: PlexLibrary, stream: Stream
) -> None:
    plex.events.lose_every = 2
    for key in range(1, 6):
        plex.events.send_timeline(library.key, key)
    assert [key for key, _ in stream.states(3)] == [1, 3, 5]


def test_a_stream_can_be_refused(plex: PlexSimulator) -> None:
    plex.events.refusal = Response(404)
    stream = Stream(plex)
    assert stream.response.status == 404
    stream.close()


@pytest.mark.parametrize("how", ["drop", "stop"])
def test_streams_end(plex: PlexSimulator, stream: Stream, how: str) -> None:
    assert plex.events.streams == 1
    if how == "drop":
        assert plex.events.drop_all() == 1
    else:
        plex.stop()
    try:
        assert stream.response.read() == b""
    except http.client.IncompleteRead as error:
        assert error.partial == b""
    assert plex.events.streams == 0


def test_a_client_that_leaves_ends_its_stream(plex: PlexSimulator, stream: Stream) -> None:
    stream.close()
    wait_until(lambda: plex.server.connections == 0)
    wait_until(lambda: plex.events.streams == 0)
