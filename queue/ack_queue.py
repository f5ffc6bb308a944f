"""Extend persist-queue's SQLiteAckQueue by job keys, due times and counts across processes."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import persistqueue.serializers.json
from persistqueue.sqlackqueue import SQLiteAckQueue

import queue.table as table
from common.files import make_private_dir
from common.sqlite import IN_MEMORY, shrink
from queue.inbox import DATABASE, open_queue_database
from queue.models import SyncJob
from queue.recovery import identity, salvage
from queue.spool import import_spool, spooled

T = TypeVar("T")

#: Number of finished rows to keep for the statistics.
KEPT_ROWS = 1000


class JobQueue(SQLiteAckQueue):
    """The job queue of one folder.

    Any process may put jobs. Only the holder of the worker lock may claim them.
    """

    # persist-queue opens both in __init__; its annotations do not say so.
    _getter: sqlite3.Connection  # type: ignore[assignment]
    _putter: sqlite3.Connection  # type: ignore[assignment]

    def __init__(
        self, path: str, *, auto_resume: bool = False, died_in_hand: Iterable[int] = ()
    ) -> None:
        """Open `<path>/data.db`; create it if it is missing.

        Args:
            auto_resume: requeue jobs in progress. Only for the holder of the worker lock, as
                another process's job would be processed twice.
            died_in_hand: rows that the last worker had in hand when its process died.

        Raises:
            sqlite3.Error: not a database, or locked for too long.
            OSError: the file can't be written.
        """
        self._resuming = auto_resume
        self._died_in_hand = died_in_hand
        self._may_be_unreported = auto_resume
        self._unread: set[str] = set()
        self._folder = path
        self._file = os.path.join(path, DATABASE)
        if path != IN_MEMORY:
            make_private_dir(path)
        super().__init__(
            path,
            multithreading=True,
            auto_resume=auto_resume,
            serializer=persistqueue.serializers.json,
        )
        self._identity = identity(self._file)
        if auto_resume and path != IN_MEMORY:
            salvage(self._file, self._putter)

    def _new_db_connection(
        self, path: str, multithreading: bool, timeout: float
    ) -> sqlite3.Connection:
        file = path if path == IN_MEMORY else self._file
        connection = open_queue_database(
            file, timeout=timeout, any_thread=multithreading, repair=self._resuming
        )
        # Before persist-queue resumes: our unique index rejects a second waiting job per key.
        if self._resuming:
            table.count_deaths(connection, self._died_in_hand)
            table.resume(connection)
            table.index_bulk_work(connection)
            self._resuming = False
        return connection

    def _count(self) -> int:
        return 0  # persist-queue counts all rows on opening; `size` counts when it is read

    @property
    def size(self) -> int:
        """Return the number of waiting jobs, other processes' jobs included."""
        return self._run(table.count)["pending"]

    def put(self, item: SyncJob) -> int:
        """Add a job, or merge it into the waiting job of its key; return the row id."""
        row_id = self._run(table.put, item)
        self.put_event.set()
        return row_id

    def put_many(self, jobs: Iterable[SyncJob]) -> None:
        """Add jobs in one transaction; a waiting job keeps its position and its values."""
        self._run(table.put_many, list(jobs))
        self.put_event.set()

    def claim(self, now: float | None = None) -> SyncJob | None:
        """Claim the next due job (`pqid` is its row id); return None if there is none."""
        return next(iter(self.claim_many(1, now)), None)

    def claim_many(
        self, n: int, now: float | None = None, kind: str | None = None
    ) -> list[SyncJob]:
        """Claim up to `n` due jobs; see `queue.table.claim`."""
        claimed = self._run(table.claim, time.time() if now is None else now, n, kind)
        for row_id, job in claimed:
            job["pqid"] = row_id
        return [job for _, job in claimed]

    def requeue(self, job: SyncJob) -> None:
        """Put a claimed job back with its updated retry state."""
        self._run(table.requeue, job["pqid"], job)
        self.put_event.set()

    def next_due(self) -> float | None:
        """Return the earliest due time in epoch seconds (0: now), or None without a waiting job."""
        return self._run(table.next_due)

    def counts(self, *, due_at: float | None = None) -> dict[str, int]:
        """Count the jobs of each state; see `queue.table.count`."""
        return self._run(table.count, due_at=due_at)

    def pull_in(self, latest: float, now: float) -> int:
        """Make jobs due now whose due time is after `latest`; see `queue.table.pull_in`."""
        return self._run(table.pull_in, latest, now)

    def count_delayed(self, now: float) -> tuple[int, float | None]:
        """Count the waiting jobs that are not due yet; see `queue.table.count_delayed`."""
        return self._run(table.count_delayed, now)

    def find_waiting(self, job_key: str) -> SyncJob | None:
        """Return the waiting job of this key, or None."""
        return self._run(table.find_waiting, job_key)

    def count_kind(self, kind: str, due_at: float = float("inf")) -> int:
        """Count the waiting jobs of a kind; see `queue.table.count_kind`."""
        return self._run(table.count_kind, kind, due_at)

    def is_due(self, kind: str, now: float) -> bool:
        """Tell whether a waiting job of a kind is due at `now` (epoch seconds)."""
        return self._run(table.is_due, kind, now)

    def count_for_user(self, now: float, but_error: str) -> int:
        """Count the jobs that a user would call waiting; see `queue.table.count_for_user`."""
        return self._run(table.count_for_user, now, but_error)

    def find_unfinished(self, job_key: str) -> SyncJob | None:
        """Return the job of this key that waits or is in progress, or None."""
        return self._run(table.find_unfinished, job_key)

    def count_pass(self, pass_id: int, due_at: float) -> int:
        """Count the jobs of a pass; see `queue.table.count_pass`."""
        return self._run(table.count_pass, pass_id, due_at)

    def drop_pass(self, pass_id: int) -> int:
        """Delete the waiting jobs of a pass; return their number."""
        return self._run(table.drop_pass, pass_id)

    def clear_waiting(self) -> int:
        """Delete all waiting jobs; return their number."""
        return self._run(table.clear_waiting)

    def version(self) -> tuple[int, object]:
        """Return a cheap change token (PRAGMA data_version plus spool listing)."""
        version = self._getter.execute("PRAGMA data_version").fetchone()[0]
        return version, (identity(self._file), spooled(self._folder))

    def count_spooled(self) -> int:
        """Return the number of jobs in the spool."""
        return len(spooled(self._folder))

    def import_spool(self) -> int:
        """Move the spooled jobs into the queue; return their number."""
        return import_spool(self._folder, self.put, self._note_unread)

    def count_unread(self) -> int:
        """Return the number of spooled files that this process could not read."""
        return len(self._unread.intersection(spooled(self._folder)))

    def _note_unread(self, name: str, why: str) -> None:
        if name not in self._unread:
            self._unread.add(name)
            self._run(table.quarantine_file, name, why)
            self._may_be_unreported = True

    def compact(self) -> None:
        """Delete all but the newest `KEPT_ROWS` finished rows and return the space to the disk."""
        self._run(table.drop_finished, KEPT_ROWS)
        with self.tran_lock:
            shrink(self._putter)

    def count_quarantined(self) -> int:
        """Return the number of rows and spooled files that can't be read, not reported yet."""
        count = self._run(table.count_quarantined) if self._may_be_unreported else 0
        self._may_be_unreported = count > 0
        return count

    def mark_reported(self) -> None:
        """Note that the user knows of the rows and files that can't be read."""
        self._run(table.mark_reported)

    def _run(self, operation: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Run an operation; if a row can't be read, move all such rows out of the way first."""
        with self.tran_lock:
            try:
                return operation(self._putter, *arguments, **options)
            except (table.UnreadableRow, sqlite3.OperationalError) as error:
                if not table.is_unreadable(error):
                    raise
            table.quarantine_rows(self._putter)
            self._may_be_unreported = True
            return operation(self._putter, *arguments, **options)

    def requeue_in_progress(self) -> None:
        """Requeue all jobs in progress, for example after a full disk prevented their ack."""
        self._run(table.resume)

    @property
    def replaced(self) -> bool:
        """Tell whether another process replaced the database file; if so, reopen the queue."""
        return self.path != IN_MEMORY and identity(self._file) != self._identity

    def __bool__(self) -> bool:
        return True  # an empty queue is a queue
