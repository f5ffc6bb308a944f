"""What one does with the queue, as functions: put, take, answer for a job, count. Loaded by the hook."""

from __future__ import annotations

import os
import sqlite3
import time

import queue.table as table
from queue.inbox import DATABASE, QUEUE_DIR
from queue.models import create_sync_job
from queue.spool import spooled
from queue.timestamps import load_sync_timestamps, save_sync_timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from queue.ack_queue import JobQueue
    from queue.models import SyncJob

    class Putter(Protocol):
        """Anything a job can be put into: a `JobQueue`, an `Inbox`, a plain SQLiteAckQueue."""

        def put(self, item: SyncJob, /) -> object: ...


__all__ = [
    "ack_job",
    "enqueue",
    "fail_job",
    "get_pending",
    "get_stats",
    "load_sync_timestamps",
    "nack_job",
    "save_sync_timestamp",
]

#: Seconds between two looks at a queue that other processes write to.
_LOOK_AGAIN = 0.05


def enqueue(queue: Putter, scene_id: int, update_type: str, data: dict[str, Any]) -> SyncJob:
    """Put a job for a scene on disk, merged into the one that waits for this scene, and return it.

    Raises:
        sqlite3.Error, OSError: it could not be written.
    """
    job = create_sync_job(scene_id, update_type, data)
    queue.put(job)
    return job


def get_pending(queue: JobQueue, timeout: float = 0) -> SyncJob | None:
    """Take the next job that is due, or None when there is none within `timeout` seconds.

    Only for the holder of the worker's lock. The job's `pqid` names its row until it is answered for.
    """
    deadline = time.monotonic() + timeout
    while (job := queue.take()) is None and time.monotonic() < deadline:
        time.sleep(_LOOK_AGAIN)
    return job


def ack_job(queue: JobQueue, job: SyncJob) -> None:
    """The job is done."""
    queue.ack(id=job["pqid"])


def nack_job(queue: JobQueue, job: SyncJob) -> None:
    """The job waits again, with the retry state that it carries."""
    queue.release(job)


def fail_job(queue: JobQueue, job: SyncJob) -> None:
    """The job failed for good. Its dead letter must be written before."""
    queue.ack_failed(id=job["pqid"])


def get_stats(queue_path: str | os.PathLike[str]) -> dict[str, int]:
    """Count `pending`, `in_progress`, `completed` and `failed` jobs; zeros where there is no queue.

    Pending is also what waits in the spool.

    Args:
        queue_path: the queue's folder, its database file, or the data directory above it.
    """
    file = _database(os.fspath(queue_path))
    if file is None:
        return dict.fromkeys(table.COUNTS, 0)
    waiting = len(spooled(os.path.dirname(file)))  # before: an import meanwhile hides no job
    connection = sqlite3.connect(file)
    try:
        counts = (
            table.count(connection)
            if table.is_installed(connection)
            else dict.fromkeys(table.COUNTS, 0)
        )
    finally:
        connection.close()
    counts["pending"] += waiting
    return counts


def _database(path: str) -> str | None:
    candidates = (path, os.path.join(path, DATABASE), os.path.join(path, QUEUE_DIR, DATABASE))
    return next((file for file in candidates if os.path.isfile(file)), None)
