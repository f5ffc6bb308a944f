"""Queue operations in SQL on persist-queue's table `ack_queue_default`. Loaded by the hook.

Each function takes an open connection and runs one transaction. They add two features to
persist-queue: at most one waiting job per key, enforced by a unique index, and indexed due times.
Only sqlite3 and json are imported: importing persist-queue takes as long as the whole hook.
"""

from __future__ import annotations

import json
import sqlite3
import time

from common.sqlite import NewerSchema, write
from queue.models import (
    BULK,
    DEATHS,
    METADATA,
    MISSED,
    PASS,
    SUSPECT_AFTER,
    create_sync_job,
    defect,
    merge_jobs,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from queue.models import SyncJob

# States of persist-queue (persistqueue.sqlackqueue.AckStatus). Waiting jobs have 0 (new) or 1
# (READY: requeued).
READY, CLAIMED, DONE, FAILED = 1, 2, 5, 9

COUNTS = ("pending", "in_progress", "completed", "failed")

# Kinds of waiting jobs, in the order in which a worker claims them.
EDITS, RETRIES, BULK_WORK, SUSPECTS = "edits", "retries", "bulk", "suspects"

_VERSION = 1
_IS_BULK = f"json_extract(CAST(data AS TEXT), '$.data.{BULK}') IS NOT NULL"
_PASS_OF = f"json_extract(CAST(data AS TEXT), '$.data.{PASS}')"
_KEY = "json_extract(CAST(data AS TEXT), '$.job_key')"
_DUE = "coalesce(json_extract(CAST(data AS TEXT), '$.next_retry_at'), 0)"
_DEATHS = f"coalesce(json_extract(CAST(data AS TEXT), '$.{DEATHS}'), 0)"
_IS_INNOCENT = f"{_DEATHS} < {SUSPECT_AFTER}"
_WHERE = {
    None: "",
    EDITS: f" AND {_IS_INNOCENT}",  # see `_latest_due`
    RETRIES: f" AND {_DUE} > 0 AND NOT {_IS_BULK} AND {_IS_INNOCENT}",
    BULK_WORK: f" AND {_IS_BULK} AND {_DUE} > 0 AND {_IS_INNOCENT}",
    SUSPECTS: f" AND NOT {_IS_INNOCENT}",
}
_CREATE_TABLE = (  # same as persist-queue's
    "CREATE TABLE IF NOT EXISTS ack_queue_default"
    " (_id INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB, timestamp FLOAT, status INTEGER)"
)
# Rows that can't be read, and names of such spooled files. They stay for a person to look at.
_CREATE_QUARANTINE = (
    "CREATE TABLE IF NOT EXISTS quarantined_jobs"
    " (id INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB, reason TEXT NOT NULL,"
    " quarantined_at REAL NOT NULL, is_reported INTEGER NOT NULL DEFAULT 0)"
)
_CREATE_INDEXES = (
    "CREATE UNIQUE INDEX IF NOT EXISTS one_waiting_job"
    f" ON ack_queue_default({_KEY}) WHERE status < 2",
    f"CREATE INDEX IF NOT EXISTS due_jobs ON ack_queue_default({_DUE}, _id) WHERE status < 2",
    "CREATE INDEX IF NOT EXISTS started_jobs ON ack_queue_default(status) WHERE status >= 2",
)
_CREATE_BULK_INDEX = (
    f"CREATE INDEX IF NOT EXISTS bulk_jobs ON ack_queue_default({_DUE})"
    f" WHERE status < 2 AND {_IS_BULK}"
)
_INDEXES = ("one_waiting_job", "due_jobs", "started_jobs", "bulk_jobs")
# All that is not finished, read without an index: those of a damaged row are of no use.
_SELECT_UNFINISHED = (
    "SELECT _id, CAST(data AS BLOB), status, json_valid(CAST(data AS TEXT))"
    f" FROM ack_queue_default NOT INDEXED WHERE status IS NULL OR status NOT IN ({DONE}, {FAILED})"
)


class UnreadableRow(ValueError):
    """Signal a row that holds no job. `quarantine_rows` moves it out of the way."""


def is_unreadable(error: BaseException) -> bool:
    """Tell whether an error means a row that can't be read; the others can."""
    return isinstance(error, UnreadableRow) or (
        isinstance(error, sqlite3.OperationalError) and "malformed JSON" in str(error)
    )


def install(connection: sqlite3.Connection) -> None:
    """Create the table and its indexes if they are missing.

    Raises:
        NewerSchema: a newer PlexSync has written it; it is left alone.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > _VERSION:
        raise NewerSchema("the queue", version, _VERSION)
    if version == _VERSION:
        return
    with write(connection):
        connection.execute(_CREATE_TABLE)
        _merge_duplicates(connection, below=CLAIMED)
        for statement in _CREATE_INDEXES:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={_VERSION}")


def index_bulk_work(connection: sqlite3.Connection) -> None:
    """Create the index of bulk work if it is missing. Not for hooks: a long queue takes a while."""
    with write(connection):
        connection.execute(_CREATE_BULK_INDEX)


def quarantine_rows(connection: sqlite3.Connection) -> int:
    """Move the rows that can't be read into a table of their own; return their number.

    Not for hooks: this reads the whole queue. Call it before `install`.
    """
    connection.execute(_CREATE_TABLE)
    if not any(map(_why_unreadable, connection.execute(_SELECT_UNFINISHED))):
        return 0
    with write(connection):
        # SQLite can't delete a row whose index entries it can't compute.
        for name in _INDEXES:
            connection.execute(f"DROP INDEX IF EXISTS {name}")
        connection.execute(_CREATE_QUARANTINE)
        found = [
            (row[0], row[1], why)
            for row in connection.execute(_SELECT_UNFINISHED).fetchall()
            if (why := _why_unreadable(row))
        ]
        for row_id, data, why in found:
            _add_to_quarantine(connection, data, why)
            connection.execute("DELETE FROM ack_queue_default WHERE _id = ?", (row_id,))
        _merge_duplicates(connection, below=CLAIMED)  # a damaged key may be another job's
        for statement in (*_CREATE_INDEXES, _CREATE_BULK_INDEX):
            connection.execute(statement)
        for _, data, _ in found:
            _put_again(connection, data)
    return len(found)


def quarantine(connection: sqlite3.Connection, data: object, why: str) -> None:
    """Keep the content of a salvaged row that can't be read, and have its scene synced."""
    with write(connection):
        _add_to_quarantine(connection, data, why)
        _put_again(connection, data)


def quarantine_file(connection: sqlite3.Connection, name: str, why: str) -> None:
    """Note that a spooled file can't be read, unless a process has done so before."""
    connection.execute(_CREATE_QUARANTINE)
    with write(connection):
        known = connection.execute("SELECT 1 FROM quarantined_jobs WHERE data = ?", (name,))
        if known.fetchone() is None:
            _add_to_quarantine(connection, name, why)


def _add_to_quarantine(connection: sqlite3.Connection, data: object, why: str) -> None:
    """Keep the content of a row that can't be read."""
    connection.execute(_CREATE_QUARANTINE)
    connection.execute(
        "INSERT INTO quarantined_jobs (data, reason, quarantined_at) VALUES (?, ?, ?)",
        (data, why, time.time()),
    )


def count_quarantined(connection: sqlite3.Connection) -> int:
    """Return the number of quarantined rows that were not reported yet."""
    connection.execute(_CREATE_QUARANTINE)
    found = connection.execute("SELECT count(*) FROM quarantined_jobs WHERE NOT is_reported")
    return int(found.fetchone()[0])


def mark_reported(connection: sqlite3.Connection) -> None:
    """Note that the user knows of all quarantined rows."""
    with write(connection):
        connection.execute("UPDATE quarantined_jobs SET is_reported = 1")


def is_installed(connection: sqlite3.Connection) -> bool:
    """Tell whether table and indexes exist; another process may be about to create them."""
    return bool(connection.execute("PRAGMA user_version").fetchone()[0] >= _VERSION)


def put(connection: sqlite3.Connection, job: SyncJob, *, older: bool = False) -> int:
    """Add `job`, or merge it into the waiting job of its key; return the row id.

    Args:
        older: `job` is older than a waiting job (it was salvaged): keep the waiting job's values.
    """
    with write(connection):
        return _put(connection, job, older)


def put_many(connection: sqlite3.Connection, jobs: Iterable[SyncJob]) -> None:
    """Add jobs in one transaction; a waiting job keeps its position and its values."""
    with write(connection):
        for job in jobs:
            _put(connection, job, older=True)


def claim(
    connection: sqlite3.Connection, now: float, n: int = 1, kind: str | None = None
) -> list[tuple[int, SyncJob]]:
    """Claim up to `n` jobs that are due at `now` (epoch seconds).

    New jobs come first, in order of insertion; then jobs with a due time, in order of that.

    Args:
        kind: only `EDITS` (new jobs), `RETRIES`, `BULK_WORK`, or `SUSPECTS` (jobs that may have
            killed the worker, which are in none of the others).
    """
    with write(connection):
        rows = connection.execute(
            f"SELECT _id, data FROM ack_queue_default WHERE status < 2 AND {_DUE} <= ?"
            f"{_WHERE[kind]} ORDER BY {_DUE}, _id LIMIT ?",
            (_latest_due(kind, now), n),
        ).fetchall()
        claimed = [(row_id, _loads(data)) for row_id, data in rows]
        for row_id, _ in claimed:
            _set_status(connection, row_id, CLAIMED)
    return claimed


def requeue(connection: sqlite3.Connection, row_id: int, job: SyncJob) -> None:
    """Put a claimed job back with the retry state in `job`.

    If a new edit has created a waiting job of the same key, merge into that and finish this row.
    """
    with write(connection):
        waiting = _find_waiting(connection, job.get("job_key", ""))
        if waiting is None:
            _set_data(connection, row_id, job)
            _set_status(connection, row_id, READY)
        else:
            _set_data(connection, waiting[0], merge_jobs(job, waiting[1]))
            _set_status(connection, row_id, DONE)


def count_deaths(connection: sqlite3.Connection, row_ids: Iterable[int]) -> None:
    """Count a death of the worker for the jobs that it had in hand. Call this before `resume`."""
    with write(connection):
        for row_id in row_ids:
            row = connection.execute(
                "SELECT data FROM ack_queue_default WHERE _id = ? AND status = ?", (row_id, CLAIMED)
            ).fetchone()
            if row is not None:
                job = _loads(row[0])
                _set_data(connection, row_id, {**job, "deaths": job.get("deaths", 0) + 1})


def resume(connection: sqlite3.Connection) -> None:
    """Put all claimed jobs back; merge them into waiting jobs of the same key.

    Call this before persist-queue's `auto_resume`, which ignores keys; it then finds no job left.
    """
    with write(connection):
        _merge_duplicates(connection, below=DONE)
        connection.execute(
            "UPDATE ack_queue_default SET status = ? WHERE status = ?", (READY, CLAIMED)
        )


def next_due(connection: sqlite3.Connection) -> float | None:
    """Return the earliest due time in epoch seconds (0: now), or None without a waiting job."""
    row = connection.execute(
        f"SELECT {_DUE} FROM ack_queue_default WHERE status < 2 ORDER BY {_DUE}, _id LIMIT 1"
    ).fetchone()
    return None if row is None else float(row[0])


def pull_in(connection: sqlite3.Connection, latest: float, now: float) -> int:
    """Make jobs due now whose due time is after `latest`; return their number.

    No delay is that long: these times were written while the clock was ahead.
    """
    query = f"SELECT _id, data FROM ack_queue_default WHERE status < 2 AND {_DUE} > ?"
    if connection.execute(f"{query} LIMIT 1", (latest,)).fetchone() is None:
        return 0
    with write(connection):
        rows = connection.execute(query, (latest,)).fetchall()
        for row_id, data in rows:
            _set_data(connection, row_id, {**_loads(data), "next_retry_at": now})
    return len(rows)


def count_delayed(connection: sqlite3.Connection, now: float) -> tuple[int, float | None]:
    """Count the waiting jobs that are not due at `now` (epoch seconds).

    Returns:
        (number, earliest due time in epoch seconds or None)
    """
    count, first = connection.execute(
        f"SELECT count(*), min({_DUE}) FROM ack_queue_default WHERE status < 2 AND {_DUE} > ?",
        (now,),
    ).fetchone()
    return count, first


def count(connection: sqlite3.Connection, *, due_at: float | None = None) -> dict[str, int]:
    """Count `pending` (waiting), `in_progress` (claimed), `completed` and `failed` jobs.

    Args:
        due_at: count only waiting jobs that are due at this time (epoch seconds).
    """
    limit = float("inf") if due_at is None else due_at
    # One statement: between two, a job that goes back to wait would be in neither count.
    started = dict(
        connection.execute(
            f"SELECT {READY}, count(*) FROM ack_queue_default WHERE status < 2 AND {_DUE} <= ?"
            " UNION ALL"
            " SELECT status, count(*) FROM ack_queue_default WHERE status >= 2 GROUP BY status",
            (limit,),
        )
    )
    return {
        "pending": started[READY],
        "in_progress": started.get(CLAIMED, 0),
        "completed": started.get(DONE, 0),
        "failed": started.get(FAILED, 0),
    }


def find_waiting(connection: sqlite3.Connection, key: str) -> SyncJob | None:
    """Return the waiting job of this key, or None."""
    found = _find_waiting(connection, key)
    return None if found is None else found[1]


def count_kind(connection: sqlite3.Connection, kind: str, due_at: float) -> int:
    """Count the waiting jobs of a kind that are due at `due_at` (epoch seconds)."""
    found = connection.execute(
        f"SELECT count(*) FROM ack_queue_default WHERE status < 2 AND {_DUE} <= ?{_WHERE[kind]}",
        (_latest_due(kind, due_at),),
    ).fetchone()
    return int(found[0])


def is_due(connection: sqlite3.Connection, kind: str, now: float) -> bool:
    """Tell whether a waiting job of a kind is due at `now` (epoch seconds)."""
    found = connection.execute(
        f"SELECT 1 FROM ack_queue_default WHERE status < 2 AND {_DUE} <= ?{_WHERE[kind]} LIMIT 1",
        (_latest_due(kind, now),),
    ).fetchone()
    return found is not None


def count_for_user(connection: sqlite3.Connection, now: float, but_error: str) -> int:
    """Count the waiting jobs that a user would call waiting.

    Bulk work that is only put off, such as a second look at a cover, is none of them.

    Args:
        but_error: jobs whose last attempt ended with this type of error do not count.
    """
    error = "json_extract(CAST(data AS TEXT), '$.last_error_type')"
    found = connection.execute(
        f"SELECT count(*) FROM ack_queue_default WHERE status < 2 AND {error} IS NOT ?"
        f" AND ({error} IS NOT NULL OR NOT {_IS_BULK} OR {_DUE} <= ?)",
        (but_error, now),
    ).fetchone()
    return int(found[0])


def find_unfinished(connection: sqlite3.Connection, key: str) -> SyncJob | None:
    """Return the job of this key that waits or is in progress, or None; the waiting one first."""
    waiting = find_waiting(connection, key)
    if waiting is not None:
        return waiting
    row = connection.execute(
        # "status >= 2": SQLite uses the partial index only if the query repeats its condition.
        "SELECT data FROM ack_queue_default"
        f" WHERE status >= 2 AND status = {CLAIMED} AND {_KEY} = ?",
        (key,),
    ).fetchone()
    return None if row is None else _loads(row[0])


def count_pass(connection: sqlite3.Connection, pass_id: int, due_at: float) -> int:
    """Count the jobs of a pass that are in progress, or due at `due_at` (epoch seconds)."""
    found = connection.execute(
        f"SELECT (SELECT count(*) FROM ack_queue_default WHERE status < 2 AND {_IS_BULK}"
        f" AND {_DUE} <= ? AND {_PASS_OF} = ?) + (SELECT count(*) FROM ack_queue_default"
        f" WHERE status >= 2 AND status = {CLAIMED} AND {_PASS_OF} = ?)",
        (due_at, pass_id, pass_id),
    ).fetchone()
    return int(found[0])


def drop_pass(connection: sqlite3.Connection, pass_id: int) -> int:
    """Delete the waiting jobs of a pass; return their number.

    A job into which a user's edit was merged stays: it is no longer bulk.
    """
    with write(connection):
        return connection.execute(
            f"DELETE FROM ack_queue_default WHERE status < 2 AND {_IS_BULK} AND {_PASS_OF} = ?",
            (pass_id,),
        ).rowcount


def clear_waiting(connection: sqlite3.Connection) -> int:
    """Delete all waiting jobs; return their number."""
    with write(connection):
        return connection.execute("DELETE FROM ack_queue_default WHERE status < 2").rowcount


def drop_finished(connection: sqlite3.Connection, keep: int) -> None:
    """Delete the rows of finished jobs (done or failed), except the newest `keep`."""
    with write(connection):
        # SQLite uses the partial index only if the query repeats its condition "status >= 2".
        newest_deleted = connection.execute(
            "SELECT _id FROM ack_queue_default WHERE status >= 2 AND status > 2"
            " ORDER BY _id DESC LIMIT 1 OFFSET ?",
            (keep,),
        ).fetchone()
        if newest_deleted is not None:
            connection.execute(
                "DELETE FROM ack_queue_default WHERE status >= 2 AND status > 2 AND _id <= ?",
                newest_deleted,
            )


def _put_again(connection: sqlite3.Connection, data: object) -> None:
    """Queue the scene that a row was probably about; a sync of a wrong one changes nothing."""
    import re  # here, so that the hook does not load it

    found = re.search(rb"scene_(\d{1,18})\b", data) if isinstance(data, bytes) else None
    if found:
        job = create_sync_job(int(found[1]), METADATA, {MISSED: True})
        _put(connection, job, older=True)


def _merge_duplicates(connection: sqlite3.Connection, *, below: int) -> None:
    """Merge jobs with the same key and a status less than `below` into the newest of them."""
    newest: dict[str, tuple[int, SyncJob]] = {}
    rows = connection.execute(
        f"SELECT _id, data FROM ack_queue_default WHERE status < ? AND {_KEY} IN"
        f" (SELECT {_KEY} FROM ack_queue_default WHERE status < ? GROUP BY 1 HAVING count(*) > 1)"
        " ORDER BY _id",
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
    found = _find_waiting(connection, job["job_key"])
    if found is None:
        return _insert(connection, job)
    row_id, waiting = found
    _set_data(connection, row_id, merge_jobs(job, waiting) if older else merge_jobs(waiting, job))
    return row_id


def _latest_due(kind: str | None, now: float) -> float:
    """Return the due time up to which jobs of a kind are due; edits have none, which counts as 0.

    With "= 0" SQLite would sort all edits for each claim.
    """
    return min(now, 0.0) if kind == EDITS else now


def _find_waiting(connection: sqlite3.Connection, key: str) -> tuple[int, SyncJob] | None:
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
    return json.dumps(stored, separators=(",", ":"), allow_nan=False).encode("ascii")


def _loads(data: bytes) -> SyncJob:
    """Parse a row; raise `UnreadableRow` if it holds no job."""
    job, why = parse_job(data)
    if job is None:
        raise UnreadableRow(f"a queued edit can't be read: {why}")
    return job


def parse_job(data: object) -> tuple[SyncJob | None, str]:
    """Return the job in a row, or None and why it holds none."""
    try:
        job = json.loads(data, parse_constant=_refuse)  # type: ignore[arg-type]
    except (ValueError, TypeError, RecursionError):
        return None, "it is not JSON"
    why = defect(job)
    return (job, "") if why is None else (None, why)


def _refuse(constant: str) -> object:
    """Refuse NaN and Infinity, which SQLite's JSON does not know."""
    raise ValueError(constant)


def _why_unreadable(row: tuple[int, bytes, object, object]) -> str | None:
    """Return why a row of `_SELECT_UNFINISHED` can't be worked on, or None."""
    _, data, status, is_json = row
    job, why = parse_job(data)
    if job is not None and not is_json:
        why = "it is not JSON"
    if not why and status not in (0, READY, CLAIMED):
        why = "its status is wrong"
    return why or None
