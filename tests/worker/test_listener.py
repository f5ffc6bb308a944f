"""The thread that hears Plex's events: when it tries again, and what it keeps."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from plex.events import PlexEvent
from tests.harness.base import TOKEN
from tests.harness.clock import FakeClock
from tests.harness.processes import wait_until
from tests.simulators.httpd import Response
from tests.simulators.plex import PlexSimulator
from worker.listener import Listener


class Impatient(FakeClock):
    """A clock that notes how long a pause may be, and makes none."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []

    def uniform(self, low: float, high: float) -> float:
        assert low == 0.0
        self.pauses.append(high)
        return 0.0


@pytest.fixture
def clock() -> Impatient:
    return Impatient()


@pytest.fixture
def listener(clock: Impatient, plex: PlexSimulator) -> Iterator[Listener]:
    one = Listener(clock, threading.Event())
    yield one
    one.stop()
    if one._thread is not None:
        one._thread.join(60)


def follow(listener: Listener, plex: PlexSimulator) -> None:
    listener.follow((plex.url, TOKEN, 5.0, 5.0))


@pytest.mark.parametrize(
    ("status", "pauses"),
    [
        (404, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]),
        (503, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]),
    ],
)
def test_attempts_become_rare(
    listener: Listener, clock: Impatient, plex: PlexSimulator, status: int, pauses: list[float]
) -> None:
    plex.events.refusal = Response(status)
    follow(listener, plex)
    wait_until(lambda: len(clock.pauses) >= len(pauses))
    assert clock.pauses[: len(pauses)] == pauses


def test_a_stream_that_ends_at_once_is_tried_more_and_more_rarely(
    listener: Listener, clock: Impatient, plex: PlexSimulator
) -> None:
    follow(listener, plex)
    for count in range(1, 6):
        wait_until(lambda: plex.events.streams)
        plex.events.drop_all()
        wait_until(lambda count=count: len(clock.pauses) >= count)  # type: ignore[misc]
    assert clock.pauses[:5] == [1, 2, 4, 8, 16]


def test_after_a_long_connection_the_next_attempt_is_soon(
    listener: Listener, clock: Impatient, plex: PlexSimulator
) -> None:
    plex.events.refusal = Response(503)
    follow(listener, plex)
    wait_until(lambda: len(clock.pauses) >= 6)
    plex.events.refusal = None
    wait_until(lambda: listener.is_connected)
    before = len(clock.pauses)
    clock.advance(61)
    plex.events.drop_all()
    wait_until(lambda: len(clock.pauses) > before)
    assert clock.pauses[before] == 1


def test_the_state_says_since_when_and_why(
    listener: Listener, clock: Impatient, plex: PlexSimulator
) -> None:
    assert listener.to_dict() is None
    plex.events.refusal = Response(404)
    began = clock.now
    follow(listener, plex)
    wait_until(lambda: len(clock.pauses) >= 2)
    clock.advance(100)
    wait_until(lambda: len(clock.pauses) >= 50)
    assert listener.to_dict() == {
        "connected": False,
        "since": began,
        "problem": "Plex answered 404",
    }
    plex.events.refusal = None
    wait_until(lambda: listener.is_connected)
    assert listener.to_dict() == {"connected": True, "since": began + 100, "problem": None}
    listener.stop()
    assert listener.to_dict() is None
    wait_until(lambda: plex.events.streams == 0)


def test_what_one_hears_after_its_end_is_dropped(
    listener: Listener, clock: Impatient, plex: PlexSimulator
) -> None:
    follow(listener, plex)
    wait_until(lambda: listener.is_connected)
    following = listener._following
    assert following is not None
    listener.stop()
    listener._collect(following, [PlexEvent(1, 2, 5, 3)])
    assert listener.take().is_empty


def test_the_newest_event_of_an_item_counts(listener: Listener, clock: Impatient) -> None:
    for event in (
        PlexEvent(1, 7, 1, 10),
        PlexEvent(1, 7, 5, 11),
        PlexEvent(1, 7, 5, 12),
        PlexEvent(1, 8, 1, 10),
        PlexEvent(1, 8, 2, 10),
        PlexEvent(1, 9, 5, 10),
        PlexEvent(1, 9, 9, 10),
    ):
        listener._note(event, clock.monotonic())
    assert listener.due_in() == clock.timing.event_rest
    clock.advance(1)
    taken = listener.take()
    assert taken.items == {7: PlexEvent(1, 7, 5, 12), 9: PlexEvent(1, 9, 9, 10)}
    assert taken.hints == {}
    assert listener.take().items == {}


def test_events_rest_but_not_for_long(listener: Listener, clock: Impatient) -> None:
    waited = 0.0
    while listener.due_in() > 0:
        listener._note(PlexEvent(1, 7, 5, 1), clock.monotonic())
        clock.advance(0.5)
        waited += 0.5
    assert waited == clock.timing.event_latest
