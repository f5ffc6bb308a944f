"""Fixtures: a history in memory, and one on disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.sqlite import connect
from history.store import History
from tests.harness.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_700_000_000.0)


@pytest.fixture
def history(clock: FakeClock) -> History:
    return History(now=clock.time)


@pytest.fixture
def open_file(tmp_path: Path) -> Iterator[Callable[[], sqlite3.Connection]]:
    """Return a function that opens the same database file once more."""
    connections: list[sqlite3.Connection] = []

    def open_again() -> sqlite3.Connection:
        connections.append(connect(str(tmp_path / "history.db"), any_thread=True))
        return connections[-1]

    yield open_again
    for connection in connections:
        connection.close()
