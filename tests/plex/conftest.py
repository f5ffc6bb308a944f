"""Fixtures: a Plex simulator and the objects that the worker uses to talk to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from common.sqlite import IN_MEMORY, connect
from history.store import History
from plex.client import PlexClient
from plex.index import FileIndex
from tests.harness.clock import FakeClock
from tests.harness.plex_only import PlexHarness
from tests.plex.support import TOKEN, FakeSleep, open_index
from tests.simulators.plex import PlexSimulator


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_700_000_000.0)


@pytest.fixture
def fake_sleep() -> FakeSleep:
    return FakeSleep()


@pytest.fixture
def plex(clock: FakeClock) -> Iterator[PlexSimulator]:
    with PlexSimulator(token=TOKEN, clock=clock.time, scan_delay=0.01) as plex:
        yield plex
    assert plex.server.errors == []


@pytest.fixture
def client(plex: PlexSimulator, fake_sleep: FakeSleep) -> Iterator[PlexClient]:
    client = PlexClient(plex.url, TOKEN, sleep=fake_sleep)
    yield client
    client.close()


@pytest.fixture
def index() -> Iterator[FileIndex]:
    with open_index() as index:
        yield index


@pytest.fixture
def history(clock: FakeClock) -> Iterator[History]:
    connection = connect(IN_MEMORY, any_thread=True)
    yield History(connection, now=clock.time)
    connection.close()


@pytest.fixture
def harness(
    plex: PlexSimulator,
    clock: FakeClock,
    client: PlexClient,
    index: FileIndex,
    history: History,
) -> PlexHarness:
    return PlexHarness(plex, clock, client, index, history)
