"""Fixtures: PlexSync installed between a Stash and a Plex, with real processes. POSIX only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.harness.installation import ProcessHarness
from tests.harness.plugin import install_plugin

TASK = "Sync recent scenes"

collect_ignore: list[str] = [] if os.name == "posix" else ["."]


@pytest.fixture(scope="session")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a plugins folder with PlexSync in it."""
    folder = tmp_path_factory.mktemp("stash") / "plugins"
    install_plugin(folder / "PlexSync")
    return folder


@pytest.fixture(autouse=True)
def quiet_environment(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def make_harness(tmp_path: Path, plugins: Path) -> Iterator[Callable[..., ProcessHarness]]:
    """Return a factory of harnesses, with options for the simulated Stash."""
    made: list[ProcessHarness] = []

    def make(env: Mapping[str, str] | None = None, **stash_options: Any) -> ProcessHarness:
        made.append(ProcessHarness(tmp_path, plugins=plugins, env=env, stash_options=stash_options))
        return made[-1]

    yield make
    for harness in made:
        harness.close()
        harness.check()


@pytest.fixture
def harness(make_harness: Callable[..., ProcessHarness]) -> ProcessHarness:
    return make_harness()
