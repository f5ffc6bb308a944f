"""Fixtures: a data directory with a real queue, and its jobs on disk."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from queue.inbox import Inbox

Rows = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def data_dir(tmp_path: Path) -> str:
    return str(tmp_path)


@pytest.fixture
def inbox(data_dir: str) -> Iterator[Inbox]:
    opened = Inbox(data_dir)
    yield opened
    opened.close()


@pytest.fixture
def jobs(data_dir: str) -> Rows:
    """Return a function that reads the jobs from the database as another process would."""

    def read() -> list[dict[str, Any]]:
        if not os.path.exists(os.path.join(data_dir, "queue", "data.db")):
            return []
        with closing(sqlite3.connect(Path(data_dir, "queue", "data.db"))) as connection:
            rows = connection.execute("SELECT data FROM ack_queue_default ORDER BY _id").fetchall()
        return [json.loads(row[0]) for row in rows]

    return read
