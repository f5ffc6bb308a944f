"""Put jobs into the queue from a hook. Any number of processes may do so at once.

A save in Stash waits for the hook, so the hook never repairs the database and never waits for it.
Whatever is wrong with it, the job goes to the spool.
"""

from __future__ import annotations

import os
import sqlite3
from _thread import allocate_lock, start_new_thread  # importing threading takes milliseconds

import queue.table as table
from common.files import make_private_dir
from common.sqlite import BUSY_TIMEOUT, connect
from queue.recovery import identity, is_being_renamed, wait_for_recovery
from queue.spool import spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from queue.models import SyncJob

QUEUE_DIR = "queue"
DATABASE = "data.db"
#: Seconds that a hook, and so a save in Stash, may wait for the database.
_PATIENCE = 0.05
#: Size in bytes of a write-ahead log that a hook leaves to the worker. The first process to open
#: the database after a crash reads all of the log.
_LARGEST_LOG = 4_194_304


class Inbox:
    """Write jobs to persist-queue's table without importing persist-queue, which is slow."""

    def __init__(self, data_dir: str, *, lock_timeout: float = _PATIENCE) -> None:
        """Use `<data_dir>/queue/data.db`; the first `put` opens it, and creates a missing one.

        Args:
            lock_timeout: seconds to wait for the database.

        Raises:
            OSError: the folder can't be created.
        """
        self._folder = os.path.join(data_dir, QUEUE_DIR)
        make_private_dir(self._folder)
        self._file = os.path.join(self._folder, DATABASE)
        self._patience = lock_timeout
        self._opened: tuple[sqlite3.Connection, object] | None = None

    def put(self, job: SyncJob) -> int | None:
        """Add `job`, or merge it into the waiting job of its key; it is on disk on return.

        Returns:
            The row id, or None if the job was spooled: the database is locked, slow or damaged, or
            a newer PlexSync has written it.

        Raises:
            OSError: the job could not be written.
        """
        row_id = self._try(job) if self._is_quick() else None
        if row_id is None:
            spool(self._folder, job)
        return row_id

    def close(self) -> None:
        """Close the database."""
        if self._opened is not None:
            self._opened[0].close()
            self._opened = None

    def _is_quick(self) -> bool:
        """Return whether the database needs neither repair nor recovery."""
        try:
            log_size = os.stat(f"{self._file}-wal").st_size
        except OSError:
            log_size = 0
        return log_size <= _LARGEST_LOG and not is_being_renamed(self._file)

    def _try(self, job: SyncJob) -> int | None:
        """Put a job; return None if that fails or takes too long.

        SQLite can wait for long without a limit of ours, so this waits for another thread. If that
        one succeeds later, the job is put twice, and the second one is merged.
        """
        opened, self._opened = self._opened, None  # the other thread's, until it is done
        results: list[tuple[sqlite3.Connection, object, int]] = []
        done = allocate_lock()
        done.acquire()

        def work() -> None:
            try:
                connection, opened_as = opened or self._open()
                row_id = table.put(connection, job)
                if identity(self._file) == opened_as:  # else another process has renamed it
                    results.append((connection, opened_as, row_id))
            except (sqlite3.Error, OSError, ValueError, TypeError):
                pass  # the spool takes it, or says why it can't
            finally:
                done.release()

        start_new_thread(work, ())
        if not done.acquire(timeout=self._patience) or not results:
            return None
        connection, opened_as, row_id = results[0]
        self._opened = connection, opened_as
        return row_id

    def _open(self) -> tuple[sqlite3.Connection, object]:
        before = identity(self._file)
        connection = open_queue_database(self._file, timeout=self._patience, any_thread=True)
        return connection, before or identity(self._file)


def open_queue_database(
    file: str, *, timeout: float = BUSY_TIMEOUT, any_thread: bool = False, repair: bool = False
) -> sqlite3.Connection:
    """Open a queue's database and create missing tables; see `common.sqlite.connect`.

    Args:
        repair: move rows that can't be read out of the way; see `table.quarantine_rows`.
    """
    wait_for_recovery(file, timeout)
    connection = connect(file, timeout=timeout, any_thread=any_thread)
    try:
        if repair:
            table.quarantine_rows(connection)
        table.install(connection)
    except BaseException:
        connection.close()
        raise
    return connection
