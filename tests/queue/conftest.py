"""Fixtures of the queue's tests: a data directory, and the queue in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from queue.ack_queue import JobQueue
from queue.manager import QueueManager


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Return a data directory that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
def jobs(data_dir: Path) -> Iterator[JobQueue]:
    """Return the queue of `data_dir`."""
    manager = QueueManager(data_dir)
    try:
        yield manager.get_queue()
    finally:
        manager.shutdown()
