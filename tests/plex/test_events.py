"""The event stream's parser and client: any bytes, limits, and what a connection sends."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plex.events import (
    MAX_MESSAGE,
    EventParser,
    EventStream,
    EventStreamLost,
    NoEventStream,
    PlexEvent,
)
from tests.plex.support import TOKEN
from tests.simulators.httpd import Answer, Endless, Hang, Response
from tests.simulators.plex import PlexSimulator

EVENT = PlexEvent(2, 34, 5, 1_700_000_000)
ENTRY = {
    "identifier": "com.plexapp.plugins.library",
    "sectionID": 2,
    "itemID": 34,
    "type": 1,
    "title": "A title",
    "state": 5,
    "metadataState": "processed",
    "updatedAt": 1_700_000_000,
}


def message(content: object, kind: str = "timeline", end: str = "\n") -> bytes:
    return f"event: {kind}{end}data: {json.dumps(content)}{end}{end}".encode()


def parse(*pieces: bytes) -> list[PlexEvent]:
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)]


# --- the parser


@pytest.mark.parametrize(
    "content",
    [
        {"TimelineEntry": [ENTRY]},
        {"TimelineEntry": ENTRY},
        {"type": "timeline", "size": 1, "TimelineEntry": [ENTRY]},
        {"NotificationContainer": {"type": "timeline", "TimelineEntry": [ENTRY]}},
        ENTRY,
        {"TimelineEntry": [{name: str(value) for name, value in ENTRY.items()}]},
        {"TimelineEntry": [{n: v for n, v in ENTRY.items() if n != "identifier"}]},
        {"TimelineEntry": [7, None, {"type": []}, ENTRY]},
    ],
)
def test_each_form_is_understood(content: object) -> None:
    assert parse(message(content)) == [EVENT]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_each_end_of_a_line_is_understood(end: str) -> None:
    assert parse(message({"TimelineEntry": [ENTRY]}, end=end)) == [EVENT]


def test_a_message_of_several_lines_with_comments_is_put_together() -> None:
    lines = json.dumps({"TimelineEntry": [ENTRY]}, indent=1).splitlines()
    text = "".join(f"data: {line}\n: a comment\n" for line in lines)
    assert parse(f"id: 7\nevent: timeline\n{text}retry: 5\n\n".encode()) == [EVENT]


def test_the_type_in_a_container_counts_where_the_message_has_none() -> None:
    content = {"NotificationContainer": {"type": "timeline", "TimelineEntry": [ENTRY]}}
    assert parse(f"data: {json.dumps(content)}\n\n".encode()) == [EVENT]


@pytest.mark.parametrize(
    "change",
    [
        {"identifier": "com.plexapp.system"},
        {"type": 2},
        {"type": None},
        {"itemID": -1},
        {"itemID": "34a"},
        {"itemID": 2**80},
        {"itemID": "9" * 5000},
        {"itemID": True},
        {"sectionID": 0},
        {"state": 10},
        {"state": None},
    ],
)
def test_what_is_about_something_else_or_wrong_is_left_out(change: dict[str, object]) -> None:
    assert parse(message({"TimelineEntry": [{**ENTRY, **change}]})) == []


@pytest.mark.parametrize("kind", ["playing", "activity", "status", "backgroundProcessingQueue"])
def test_other_messages_are_left_out(kind: str) -> None:
    content = {"type": kind, "TimelineEntry": [ENTRY]}
    assert parse(message(content, kind), message({"NotificationContainer": content}, "")) == []


def test_a_time_that_is_wrong_is_unknown() -> None:
    entry = {**ENTRY, "updatedAt": "yesterday"}
    assert parse(message({"TimelineEntry": [entry]})) == [PlexEvent(2, 34, 5, 0)]


@pytest.mark.parametrize(
    "long",
    [
        b"data: " + b"x" * 1_000_000 + b"\n\n",
        b"event: timeline\n" + b"data: x\n" * 200_000 + b"\n",
        b"x" * 1_000_000 + b"\n\n",
        message({"TimelineEntry": [{**ENTRY, "title": "x" * MAX_MESSAGE}]}),
    ],
    ids=["a line", "many lines", "no field", "a title"],
)
def test_a_message_that_is_too_long_is_skipped_up_to_its_end(long: bytes) -> None:
    parser = EventParser()
    for start in range(0, len(long), 16_384):
        assert list(parser.feed(long[start : start + 16_384])) == []
        held = len(parser._line) + sum(map(len, parser._data))
        assert held <= 2 * MAX_MESSAGE
    assert list(parser.feed(message({"TimelineEntry": [ENTRY]}))) == [EVENT]


def test_brackets_within_brackets_are_no_message() -> None:
    deep = b"[" * 60_000
    assert parse(b"event: timeline\ndata: " + deep + b"\n\n", message(ENTRY)) == [EVENT]


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_any_bytes_are_taken_apart(pieces: list[bytes]) -> None:
    parse(*pieces)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*ENTRY, "TimelineEntry", "NotificationContainer"]), inner, max_size=5
        )
    ),
    max_leaves=15,
)


@given(_JSON)
def test_any_message_is_taken_apart(content: object) -> None:
    for event in parse(message(content)):
        assert event.rating_key > 0
        assert event.section > 0
        assert 0 <= event.updated_at < 2**63


@given(st.lists(st.integers(1, 400), max_size=30))
def test_where_the_bytes_are_cut_makes_no_difference(cuts: list[int]) -> None:
    whole = message({"TimelineEntry": [ENTRY]}, end="\r\n") * 3
    pieces, start = [], 0
    for cut in cuts:
        pieces.append(whole[start : start + cut])
        start += cut
    assert parse(*pieces, whole[start:]) == [EVENT] * 3


# --- a connection


@pytest.fixture
def plex(plex: PlexSimulator) -> Iterator[PlexSimulator]:
    """Return Plex; what an error's frames hold of it is let go before it ends."""
    yield plex
    gc.collect()


@pytest.fixture
def stream(plex: PlexSimulator) -> Iterator[EventStream]:
    one = EventStream(plex.url, TOKEN, (60.0, 60.0), 3600.0)
    yield one
    one.close()
    one.release()


def events_of(stream: EventStream, count: int) -> list[PlexEvent]:
    found: list[PlexEvent] = []
    while len(found) < count:
        found += stream.read()
    return found


@pytest.mark.parametrize("chunked", [True, False])
def test_events_arrive(plex: PlexSimulator, stream: EventStream, *, chunked: bool) -> None:
    plex.events.chunked = chunked
    library = plex.add_library("Films", ["/media"])
    item = plex.add_item(library, "/media/a.mp4")
    assert stream.open() == plex.machine_identifier
    plex.refresh_item(item.rating_key)
    plex.remove_item(item.rating_key)
    found = events_of(stream, 2)
    assert found == [
        PlexEvent(library.key, item.rating_key, 5, item.updated_at),
        PlexEvent(library.key, item.rating_key, 9, item.updated_at),
    ]


def test_the_token_is_in_no_address(plex: PlexSimulator, stream: EventStream) -> None:
    stream.open()
    (asked,) = plex.log.matching(path="/:/eventsource")
    assert asked.request.headers["X-Plex-Token"] == TOKEN
    assert asked.request.headers["X-Plex-Product"] == "PlexSync"
    assert TOKEN not in asked.request.target


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Response(404), NoEventStream),
        (Response(401), NoEventStream),
        (Response(302, headers={"Location": "http://elsewhere/"}), NoEventStream),
        (Response(200, b"<html>", {"Content-Type": "text/html"}), NoEventStream),
        (
            Response(200, b"x", {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}),
            NoEventStream,
        ),
        (Response(502), EventStreamLost),
        (Response(503), EventStreamLost),
    ],
    ids=["404", "401", "redirect", "HTML", "packed", "502", "503"],
)
def test_what_is_no_stream_is_refused(
    plex: PlexSimulator, stream: EventStream, answer: Response, error: type[Exception]
) -> None:
    plex.events.refusal = answer
    with pytest.raises(error):
        stream.open()


def test_another_server_than_plex_is_refused(plex: PlexSimulator, stream: EventStream) -> None:
    plex.faults.add(Answer(200, b"<html></html>"), path="/identity")
    with pytest.raises(NoEventStream):
        stream.open()


def test_an_error_tells_no_secret(stream: EventStream, plex: PlexSimulator) -> None:
    plex.stop()
    with pytest.raises(EventStreamLost) as raised:
        stream.open()
    assert TOKEN not in str(raised.value)
    assert "http" not in str(raised.value)
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("how", ["close", "reset", "stop"])
def test_a_connection_that_ends_is_lost(plex: PlexSimulator, stream: EventStream, how: str) -> None:
    stream.open()
    if how == "stop":
        plex.stop()
    else:
        plex.events.drop_all(reset=how == "reset")
    with pytest.raises(EventStreamLost):
        stream.read()


def test_a_silent_connection_is_lost_after_its_time(plex: PlexSimulator) -> None:
    one = EventStream(plex.url, TOKEN, (5.0, 5.0), 0.05)
    with pytest.raises(EventStreamLost):
        one.open()  # on a busy machine the answer itself comes too late
        one.read()
    one.release()


def test_a_read_can_be_ended_from_another_thread(plex: PlexSimulator, stream: EventStream) -> None:
    stream.open()
    ended = threading.Event()

    def read() -> None:
        with pytest.raises(EventStreamLost):
            stream.read()
        ended.set()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    stream.close()
    assert ended.wait(60)
    thread.join()


def test_bytes_without_an_end_are_read_piece_by_piece(
    plex: PlexSimulator, stream: EventStream
) -> None:
    endless = Endless(b"x" * 4096, {"Content-Type": "text/event-stream"})
    plex.faults.add(endless, path="/:/eventsource")
    stream.open()
    for _ in range(200):
        assert stream.read() == []
    assert len(stream._parser._line) <= MAX_MESSAGE


def test_an_answer_that_does_not_begin_is_given_up(plex: PlexSimulator) -> None:
    plex.faults.add(Hang(), path="/identity")
    one = EventStream(plex.url, TOKEN, (5.0, 0.1), 3600.0)
    with pytest.raises(EventStreamLost):
        one.open()
    one.release()
