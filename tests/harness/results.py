"""Read the results in a data directory: jobs, dead letters, the worker's log."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from queue.ack_queue import JobQueue
from queue.dlq import DeadLetterQueue
from queue.operations import get_stats
from tests.harness.processes import wait_until

_ALL = 10_000


def queued(data_dir: str | Path) -> list[dict[str, Any]]:
    """Return the unfinished jobs on disk; import the spool and check the database."""
    file = Path(data_dir, "queue", "data.db")
    if not file.parent.is_dir():
        return []
    with closing(JobQueue(str(file.parent))) as queue:
        # More than once: it gives up after some seconds if another process imports, and pauses.
        wait_until(lambda: queue.import_spool() or not queue.count_spooled(), "the spool's import")
    with closing(sqlite3.connect(file, timeout=240.0)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = connection.execute(
            "SELECT data FROM ack_queue_default WHERE status < 5 ORDER BY _id"
        ).fetchall()
    return [json.loads(row[0]) for row in rows]


def jobs_left(data_dir: str | Path) -> int:
    """Count the jobs that are waiting or in progress."""
    stats = get_stats(data_dir)
    return stats["pending"] + stats["in_progress"]


def letters(data_dir: str | Path) -> list[dict[str, Any]]:
    """Return the dead letters, the newest first."""
    with closing(DeadLetterQueue(data_dir)) as dlq:
        return dlq.get_recent(_ALL)


def worker_log(data_dir: str | Path) -> str:
    """Return the workers' log; empty before the first worker."""
    log = Path(data_dir, "worker.log")
    return log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
