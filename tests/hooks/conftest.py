"""Fixtures: a data directory with a real queue, and its jobs on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from queue.inbox import Inbox
from tests.harness.results import queued

Rows = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def data_dir(tmp_path: Path) -> str:
    return str(tmp_path)


@pytest.fixture
def inbox(data_dir: str) -> Iterator[Inbox]:
    opened = Inbox(data_dir, lock_timeout=240)  # a busy machine may be slow
    yield opened
    opened.close()


@pytest.fixture
def jobs(data_dir: str) -> Rows:
    """Return a function that reads the jobs from the database as another process would."""

    def read() -> list[dict[str, Any]]:
        return queued(data_dir)  # with what was spooled on a busy machine

    return read
