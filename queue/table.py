"""The rules of the queue, as SQL on persist-queue's own table `ack_queue_default`.

Every function takes an open connection and is one transaction. They add what persist-queue has not: at most
one waiting job per key, kept so by the database, and due times that cost nothing to wait for. Loaded by the
hook, so it needs nothing but sqlite3 and json (importing persist-queue costs as much as all of the hook).
"""

from __future__ import annotations

import json
import sqlite3
import time

from common.sqlite import write
from queue.models import merge_jobs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from queue.models import SyncJob

# persist-queue's states (persistqueue.sqlackqueue.AckStatus): 0 is new, 1 is new again.
READY, TAKEN, DONE, FAILED = 1, 2, 5, 9

COUNTS = ("pending", "in_progress", "completed", "failed")

_VERSION = 1
_KEY = "json_extract(CAST(data AS TEXT), '$.job_key')"
_DUE = "coalesce(json_extract(CAST(data AS TEXT), '$.next_retry_at'), 0)"
_CREATE_TABLE = (  # as persist-queue does it
    "CREATE TABLE IF NOT EXISTS ack_queue_default"
    " (_id INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB, timestamp FLOAT, status INTEGER)"
)
_CREATE_INDEXES = (
    f"CREATE UNIQUE INDEX IF NOT EXISTS one_waiting_job ON ack_queue_default({_KEY}) WHERE status < 2",
    f"CREATE INDEX IF NOT EXISTS due_jobs ON ack_queue_default({_DUE}, _id) WHERE status < 2",
    "CREATE INDEX IF NOT EXISTS started_jobs ON ack_queue_default(status) WHERE status >= 2",
)


def install(connection: sqlite3.Connection) -> None:
    """Create the table and its indexes where they are missing."""
    if is_installed(connection):
        return
    with write(connection):
        connection.execute(_CREATE_TABLE)
        _fold_twins(connection, below=TAKEN)
        for statement in _CREATE_INDEXES:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={_VERSION}")


def is_installed(connection: sqlite3.Connection) -> bool:
    """Whether table and indexes are there: not yet, in a file that another process is just making."""
    return bool(connection.execute("PRAGMA user_version").fetchone()[0] >= _VERSION)


def put(connection: sqlite3.Connection, job: SyncJob, *, older: bool = False) -> int:
    """Add `job`, or merge it into the job with its key that waits; return the row's id.

    Args:
        older: the job was there before the one that waits (it was rescued): the other's values go first.
    """
    with write(connection):
        return _put(connection, job, older)


def put_many(connection: sqlite3.Connection, jobs: Iterable[SyncJob]) -> None:
    """Add jobs in one transaction; what waits already keeps its place and its values."""
    with write(connection):
        for job in jobs:
            _put(connection, job, older=True)


def take(connection: sqlite3.Connection, now: float, most: int = 1) -> list[tuple[int, SyncJob]]:
    """Hand out the next jobs that are due at `now` (epoch seconds): fresh ones in order, then by their time."""
    with write(connection):
        rows = connection.execute(
            f"SELECT _id, data FROM ack_queue_default WHERE status < 2 AND {_DUE} <= ? ORDER BY {_DUE}, _id LIMIT ?",
            (now, most),
        ).fetchall()
        for row_id, _ in rows:
            _set_status(connection, row_id, TAKEN)
    return [(row_id, _loads(data)) for row_id, data in rows]


def release(connection: sqlite3.Connection, row_id: int, job: SyncJob) -> None:
    """Let a taken job wait again, with the retry state that `job` now carries, in its own row.

    If an edit came in meanwhile, a job of its key waits already: that one takes over, and this row is done.
    """
    with write(connection):
        waiting = _waiting(connection, job.get("job_key", ""))
        if waiting is None:
            _set_data(connection, row_id, job)
            _set_status(connection, row_id, READY)
        else:
            _set_data(connection, waiting[0], merge_jobs(job, waiting[1]))
            _set_status(connection, row_id, DONE)


def resume(connection: sqlite3.Connection) -> None:
    """Let all taken jobs wait again; one whose key waits already is merged into that.

    It goes before persist-queue's own `auto_resume`, which knows no keys and then finds nothing left to do.
    """
    with write(connection):
        _fold_twins(connection, below=DONE)
        connection.execute(
            "UPDATE ack_queue_default SET status = ? WHERE status = ?", (READY, TAKEN)
        )


def next_due(connection: sqlite3.Connection) -> float | None:
    """Return when the first waiting job is due, in epoch seconds (0: at once), or None when none waits."""
    row = connection.execute(
        f"SELECT {_DUE} FROM ack_queue_default WHERE status < 2 ORDER BY {_DUE}, _id LIMIT 1"
    ).fetchone()
    return None if row is None else float(row[0])


def count_later(connection: sqlite3.Connection, now: float) -> tuple[int, float | None]:
    """Return how many waiting jobs are not due yet at `now`, and when the first of them is (epoch seconds)."""
    count, first = connection.execute(
        f"SELECT count(*), min({_DUE}) FROM ack_queue_default WHERE status < 2 AND {_DUE} > ?",
        (now,),
    ).fetchone()
    return count, first


def count(connection: sqlite3.Connection, *, due_at: float | None = None) -> dict[str, int]:
    """Return how many jobs are `pending`, `in_progress`, `completed` and `failed`.

    Args:
        due_at: count as pending only what is due at that moment (epoch seconds).
    """
    limit = float("inf") if due_at is None else due_at
    # One statement: between two, a job that goes back to wait would be in neither count.
    started = dict(
        connection.execute(
            f"SELECT {READY}, count(*) FROM ack_queue_default WHERE status < 2 AND {_DUE} <= ? UNION ALL"
            " SELECT status, count(*) FROM ack_queue_default WHERE status >= 2 GROUP BY status",
            (limit,),
        )
    )
    return {
        "pending": started[READY],
        "in_progress": started.get(TAKEN, 0),
        "completed": started.get(DONE, 0),
        "failed": started.get(FAILED, 0),
    }


def find_waiting(connection: sqlite3.Connection, key: str) -> SyncJob | None:
    """Return the job of this key that waits, or None."""
    found = _waiting(connection, key)
    return None if found is None else found[1]


def clear_waiting(connection: sqlite3.Connection) -> int:
    """Delete all jobs that wait; return how many."""
    with write(connection):
        return connection.execute("DELETE FROM ack_queue_default WHERE status < 2").rowcount


def drop_finished(connection: sqlite3.Connection, keep: int) -> None:
    """Delete the rows of jobs that are done or failed, but the newest `keep`."""
    with write(connection):
        # "status >= 2" word for word: only then SQLite uses the index that is limited so
        oldest_kept = connection.execute(
            "SELECT _id FROM ack_queue_default WHERE status >= 2 AND status > 2 ORDER BY _id DESC LIMIT 1 OFFSET ?",
            (keep,),
        ).fetchone()
        if oldest_kept is not None:
            connection.execute(
                "DELETE FROM ack_queue_default WHERE status >= 2 AND status > 2 AND _id <= ?",
                oldest_kept,
            )


def _fold_twins(connection: sqlite3.Connection, *, below: int) -> None:
    """Merge jobs of one key, among those whose status is less than `below`, into the newest of them."""
    newest: dict[str, tuple[int, SyncJob]] = {}
    rows = connection.execute(
        f"SELECT _id, data FROM ack_queue_default WHERE status < ? AND {_KEY} IN"
        f" (SELECT {_KEY} FROM ack_queue_default WHERE status < ? GROUP BY 1 HAVING count(*) > 1) ORDER BY _id",
        (below, below),
    ).fetchall()
    for row_id, data in rows:
        job = _loads(data)
        key = job["job_key"]
        if key in newest:
            older_id, older = newest[key]
            _set_status(connection, older_id, DONE)
            job = merge_jobs(older, job)
            _set_data(connection, row_id, job)
        newest[key] = (row_id, job)


def _put(connection: sqlite3.Connection, job: SyncJob, older: bool) -> int:
    waiting = _waiting(connection, job["job_key"])
    if waiting is None:
        return _insert(connection, job)
    row_id, present = waiting
    _set_data(connection, row_id, merge_jobs(job, present) if older else merge_jobs(present, job))
    return row_id


def _waiting(connection: sqlite3.Connection, key: str) -> tuple[int, SyncJob] | None:
    row = connection.execute(
        f"SELECT _id, data FROM ack_queue_default WHERE {_KEY} = ? AND status < 2", (key,)
    ).fetchone()
    return None if row is None else (row[0], _loads(row[1]))


def _insert(connection: sqlite3.Connection, job: SyncJob) -> int:
    cursor = connection.execute(
        "INSERT INTO ack_queue_default (data, timestamp, status) VALUES (?, ?, ?)",
        (_dumps(job), time.time(), 0),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _set_data(connection: sqlite3.Connection, row_id: int, job: SyncJob) -> None:
    connection.execute("UPDATE ack_queue_default SET data = ? WHERE _id = ?", (_dumps(job), row_id))


def _set_status(connection: sqlite3.Connection, row_id: int, status: int) -> None:
    connection.execute("UPDATE ack_queue_default SET status = ? WHERE _id = ?", (status, row_id))


def _dumps(job: SyncJob) -> bytes:
    stored = {key: value for key, value in job.items() if key != "pqid"}
    return json.dumps(stored, separators=(",", ":")).encode("ascii")


def _loads(data: bytes) -> SyncJob:
    job: SyncJob = json.loads(data)
    return job
