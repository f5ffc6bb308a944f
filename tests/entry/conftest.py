"""Fixtures: a clean environment, a data directory, and one whose worker lock is held."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import common.layout as layout
from tests.harness.processes import stop_workers
from worker.process import WorkerLock


@pytest.fixture(autouse=True)
def quiet_environment(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("PLEXSYNC_IDLE_TIMEOUT", "300")


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """Create a data directory and stop its workers after the test."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    layout.record(str(folder), layout.VERSION, "by a worker")
    yield folder
    if any(tmp_path.rglob("worker.stderr")):
        stop_workers(tmp_path)


@pytest.fixture
def busy(data_dir: Path) -> Iterator[Path]:
    """Hold the worker lock of the data directory, so that hooks start no worker."""
    lock = WorkerLock(str(data_dir))
    assert lock.acquire()
    yield data_dir
    lock.release()
