"""Fixtures of the simulators' own tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulators.plex import PlexLibrary, PlexSimulator
from tests.simulators.stash import StashSimulator
from tests.simulators.support import FOLDER, HOUR, TOKEN, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def plex(clock: Clock) -> Iterator[PlexSimulator]:
    with PlexSimulator(token=TOKEN, clock=clock, scan_delay=0.01) as plex:
        yield plex
    assert plex.server.errors == []


@pytest.fixture
def scenes(plex: PlexSimulator) -> PlexLibrary:
    return plex.add_library("Scenes", [FOLDER])


@pytest.fixture
def stash(tmp_path: Path, clock: Clock) -> Iterator[StashSimulator]:
    with StashSimulator(tmp_path / "plugins", clock=clock, zone=HOUR) as simulator:
        yield simulator
        assert simulator.server.errors == []
