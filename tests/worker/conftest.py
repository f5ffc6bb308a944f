"""Fixtures: a fake clock, both simulators and a worker that uses them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.base import TOKEN
from tests.harness.clock import FakeClock
from tests.harness.in_process import WorkerHarness
from tests.simulators.plex import PlexSimulator
from tests.simulators.stash import StashSimulator


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def plex() -> Iterator[PlexSimulator]:
    with PlexSimulator(token=TOKEN) as simulator:
        yield simulator
        assert simulator.server.errors == []


@pytest.fixture
def stash(tmp_path: Path, clock: FakeClock) -> Iterator[StashSimulator]:
    plugins = tmp_path / "stash" / "plugins"
    plugins.mkdir(parents=True)
    with StashSimulator(plugins_dir=plugins, clock=clock.time) as simulator:
        yield simulator
        assert simulator.server.errors == []


@pytest.fixture
def harness(
    tmp_path: Path, plex: PlexSimulator, stash: StashSimulator, clock: FakeClock
) -> Iterator[WorkerHarness]:
    harness = WorkerHarness(tmp_path, plex, stash, clock)
    yield harness
    harness.close()


@pytest.fixture
def filled(harness: WorkerHarness) -> WorkerHarness:
    """Return a harness whose Stash has a hierarchy of studios and tags."""
    stash = harness.stash
    stash.add_studio("Acme")
    stash.add_studio("Blue", parent="Acme")
    for name, parents in (("Place", ()), ("Nature", ["Place"]), ("Beach", ["Nature"])):
        stash.add_tag(name, parents)
    stash.add_tag("Blond")
    stash.add_performer("Ann", tags=["Blond"])
    harness.new_worker(compares=True)
    harness.run_for(60)
    return harness
