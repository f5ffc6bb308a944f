"""The world of the tests of `plex`: a simulated Plex and what speaks to it, all of it closed again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from common.sqlite import IN_MEMORY, connect
from plex.client import PlexClient
from plex.history import WriteHistory
from plex.index import FileIndex
from tests.plex.support import TOKEN, Clock, Naps, Scribe, World, open_index
from tests.simulators.plex import PlexSimulator


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture
def plex(clock: Clock) -> Iterator[PlexSimulator]:
    with PlexSimulator(token=TOKEN, clock=clock, scan_delay=0.01) as plex:
        yield plex
    assert plex.server.errors == []


@pytest.fixture
def client(plex: PlexSimulator, naps: Naps) -> Iterator[PlexClient]:
    client = PlexClient(plex.url, TOKEN, sleep=naps)
    yield client
    client.close()


@pytest.fixture
def index() -> Iterator[FileIndex]:
    with open_index() as index:
        yield index


@pytest.fixture
def memory() -> Iterator[WriteHistory]:
    connection = connect(IN_MEMORY)
    yield WriteHistory(connection)
    connection.close()


@pytest.fixture
def world(plex: PlexSimulator, clock: Clock, client: PlexClient, index: FileIndex) -> World:
    return World(plex, clock, client, index)


@pytest.fixture
def scribe(world: World, memory: WriteHistory) -> Scribe:
    return Scribe(world, memory)
