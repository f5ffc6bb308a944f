"""`JobQueue`: persist-queue's SQLiteAckQueue with merging, due times and counts that see other processes."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable

import persistqueue.serializers.json
from persistqueue.sqlackqueue import SQLiteAckQueue

import queue.table as table
from common.files import make_private_dir
from common.sqlite import IN_MEMORY, shrink
from queue.inbox import DATABASE, open_queue_database
from queue.models import SyncJob
from queue.recovery import salvage
from queue.spool import import_spool, spooled

#: Finished rows that are kept for the statistics.
KEPT_ROWS = 1000


class JobQueue(SQLiteAckQueue):
    """The queue in one folder. Many processes put; one takes: the holder of the worker's lock."""

    # persist-queue opens both in its __init__; its annotations don't say so
    _getter: sqlite3.Connection  # type: ignore[assignment]
    _putter: sqlite3.Connection  # type: ignore[assignment]

    def __init__(self, path: str, *, auto_resume: bool = False) -> None:
        """Open `<path>/data.db`, made where it is missing.

        Args:
            auto_resume: make jobs in progress wait again. Only for the holder of the worker's lock: another
                process's job would be done twice.

        Raises:
            sqlite3.Error: the file is no database, or locked for long.
            OSError: it can't be written.
        """
        self._resuming = auto_resume
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
        self._identity = _identity(self._file)
        if auto_resume and path != IN_MEMORY:
            salvage(self._file, self._putter)

    def _new_db_connection(
        self, path: str, multithreading: bool, timeout: float
    ) -> sqlite3.Connection:
        file = path if path == IN_MEMORY else self._file
        connection = open_queue_database(file, timeout=timeout, any_thread=multithreading)
        if (
            self._resuming
        ):  # before persist-queue does: the index forbids it to make a second waiting job
            table.resume(connection)
            self._resuming = False
        return connection

    def _count(self) -> int:
        return 0  # opening must not count a long table; `size` asks when somebody wants to know

    @property
    def size(self) -> int:
        """How many jobs wait, those of other processes included."""
        with self.tran_lock:
            return table.count(self._putter)["pending"]

    def put(self, item: SyncJob) -> int:
        """Add a job, or merge it into the one of its key that waits; return its row id."""
        with self.tran_lock:
            row_id = table.put(self._putter, item)
        self.put_event.set()
        return row_id

    def put_many(self, jobs: Iterable[SyncJob]) -> None:
        """Add jobs in one transaction; what waits already keeps its place and its values."""
        with self.tran_lock:
            table.put_many(self._putter, jobs)
        self.put_event.set()

    def claim(self, now: float | None = None) -> SyncJob | None:
        """Hand out the next job that is due (`pqid` is its row id), or None."""
        return next(iter(self.claim_many(1, now)), None)

    def claim_many(self, most: int, now: float | None = None) -> list[SyncJob]:
        """Hand out up to `most` jobs that are due; see `take`."""
        with self.tran_lock:
            taken = table.claim(self._putter, time.time() if now is None else now, most)
        for row_id, job in taken:
            job["pqid"] = row_id
        return [job for _, job in taken]

    def requeue(self, job: SyncJob) -> None:
        """Let a job that was taken wait again, with the retry state that it now carries."""
        with self.tran_lock:
            table.requeue(self._putter, job["pqid"], job)
        self.put_event.set()

    def next_due(self) -> float | None:
        """When the first waiting job is due in epoch seconds (0: at once), or None when none waits."""
        with self.tran_lock:
            return table.next_due(self._putter)

    def counts(self, *, due_at: float | None = None) -> dict[str, int]:
        """See `queue.table.count`."""
        with self.tran_lock:
            return table.count(self._putter, due_at=due_at)

    def count_later(self, now: float) -> tuple[int, float | None]:
        """See `queue.table.count_later`."""
        with self.tran_lock:
            return table.count_later(self._putter, now)

    def find_waiting(self, job_key: str) -> SyncJob | None:
        """Return the job of this key that waits, or None."""
        with self.tran_lock:
            return table.find_waiting(self._putter, job_key)

    def clear_waiting(self) -> int:
        """Drop all jobs that wait; return how many."""
        with self.tran_lock:
            return table.clear_waiting(self._putter)

    def version(self) -> tuple[int, object]:
        """Something that changes when another process has written; costs microseconds."""
        version = self._getter.execute("PRAGMA data_version").fetchone()[0]
        return version, (_identity(self._file), spooled(self._folder))

    def count_spooled(self) -> int:
        """How many jobs wait in the spool."""
        return len(spooled(self._folder))

    def import_spool(self) -> int:
        """Put what hooks left in the spool, while the database was locked, into the queue; return how many."""
        return import_spool(self._folder, self.put)

    def compact(self) -> None:
        """Drop finished rows but the newest `KEPT_ROWS`, and give back the disk space they took."""
        with self.tran_lock:
            table.drop_finished(self._putter, KEPT_ROWS)
            shrink(self._putter)

    def requeue_in_progress(self) -> None:
        """Let all jobs in progress wait again, after they could not be answered for (a full disk, say)."""
        with self.tran_lock:
            table.resume(self._putter)

    @property
    def replaced(self) -> bool:
        """Whether somebody set our database aside and began another: then this object must be given up."""
        return self.path != IN_MEMORY and _identity(self._file) != self._identity

    def __bool__(self) -> bool:
        return True  # an empty queue is a queue


def _identity(file: str) -> object:
    try:
        status = os.stat(file)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
