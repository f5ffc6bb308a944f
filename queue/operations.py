"""Enqueue, claim, acknowledge and count jobs. Loaded by the hook."""

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
        """A queue that accepts jobs: a `JobQueue`, an `Inbox` or a plain SQLiteAckQueue."""

        def put(self, item: SyncJob, /) -> object:
            """Add a job."""


__all__ = [
    "ack_job",
    "enqueue",
    "fail_job",
    "get_pending",
    "get_stats",
    "is_scene_pending",
    "load_sync_timestamps",
    "mark_scene_pending",
    "nack_job",
    "save_sync_timestamp",
    "unmark_scene_pending",
]

#: Seconds between two checks of a queue that other processes write to.
_POLL_INTERVAL = 0.05


def enqueue(queue: Putter, scene_id: int, update_type: str, data: dict[str, Any]) -> SyncJob:
    """Put a job for a scene into the queue and return it; a waiting job of the scene is merged.

    Raises:
        sqlite3.Error, OSError: the job could not be written.
    """
    job = create_sync_job(scene_id, update_type, data)
    queue.put(job)
    return job


def get_pending(queue: JobQueue, timeout: float = 0) -> SyncJob | None:
    """Claim the next due job; return None if there is none within `timeout` seconds.

    Only the holder of the worker lock may call this. The job's `pqid` is its row id, which the
    functions below need.
    """
    deadline = time.monotonic() + timeout
    while (job := queue.claim()) is None and time.monotonic() < deadline:
        time.sleep(_POLL_INTERVAL)
    return job


def ack_job(queue: JobQueue, job: SyncJob) -> None:
    """Acknowledge a processed job."""
    queue.ack(id=job["pqid"])


def nack_job(queue: JobQueue, job: SyncJob) -> None:
    """Put a claimed job back with its updated retry state."""
    queue.requeue(job)


def fail_job(queue: JobQueue, job: SyncJob) -> None:
    """Mark a claimed job as failed. Write its dead letter first."""
    queue.ack_failed(id=job["pqid"])


# Scenes queued by this process and not yet synced: a hint. One waiting job per scene is kept by the
# queue itself, across processes and restarts.
_pending: set[int] = set()


def mark_scene_pending(scene_id: int) -> None:
    """Mark the scene as queued by this process."""
    _pending.add(scene_id)


def unmark_scene_pending(scene_id: int) -> None:
    """Remove the mark: the scene's job was finished."""
    _pending.discard(scene_id)


def is_scene_pending(scene_id: int) -> bool:
    """Return whether this process queued a job for the scene that is not finished yet."""
    return scene_id in _pending


def get_stats(queue_path: str | os.PathLike[str]) -> dict[str, int]:
    """Count `pending`, `in_progress`, `completed` and `failed` jobs; zeros without a queue.

    Spooled jobs count as pending.

    Args:
        queue_path: the queue's folder, its database file, or the data directory.
    """
    path = os.fspath(queue_path)
    file = _database(path)
    if file is None:
        nothing = dict.fromkeys(table.COUNTS, 0)
        return {**nothing, "pending": sum(len(spooled(folder)) for folder in _folders(path))}
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


def _folders(path: str) -> tuple[str, str]:
    return path, os.path.join(path, QUEUE_DIR)


def _database(path: str) -> str | None:
    candidates = (path, *(os.path.join(folder, DATABASE) for folder in _folders(path)))
    return next((file for file in candidates if os.path.isfile(file)), None)
