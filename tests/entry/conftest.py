"""A data directory, an environment that says nothing, and the worker's lock held so that no worker starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
    """Whatever worker is started there ends with the test."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    yield folder
    if any(tmp_path.rglob("worker.stderr")):  # one was started
        stop_workers(tmp_path)


@pytest.fixture
def busy(data_dir: Path) -> Iterator[Path]:
    """The data directory, with its lock held: every hook finds a worker alive and starts none."""
    lock = WorkerLock(str(data_dir))
    assert lock.acquire()
    yield data_dir
    lock.release()
