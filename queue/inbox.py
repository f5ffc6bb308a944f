"""Put jobs into the queue from a hook. Any number of processes may do so at once."""

from __future__ import annotations

import os
import sqlite3

import queue.table as table
from common.files import make_private_dir
from common.sqlite import BUSY_TIMEOUT, NewerSchema, connect
from queue.recovery import is_busy, is_damage, quarantine_database, wait_for_recovery
from queue.spool import spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from queue.models import SyncJob

    T = TypeVar("T")

QUEUE_DIR = "queue"
DATABASE = "data.db"
#: Seconds that a hook, and so a save in Stash, may wait for a database lock.
_LOCK_TIMEOUT = 0.05


class Inbox:
    """Write jobs to persist-queue's table without importing persist-queue, which is slow."""

    def __init__(self, data_dir: str, *, lock_timeout: float = _LOCK_TIMEOUT) -> None:
        """Use `<data_dir>/queue/data.db`; the first `put` opens it.

        A missing database is created, a damaged one is replaced.

        Args:
            lock_timeout: seconds to wait for a lock that another process holds.

        Raises:
            OSError: the folder can't be created.
        """
        self._folder = os.path.join(data_dir, QUEUE_DIR)
        make_private_dir(self._folder)
        self._file = os.path.join(self._folder, DATABASE)
        self._lock_timeout = lock_timeout
        #: new name of a damaged database that was replaced, or None
        self.quarantined: str | None = None
        self._connection: sqlite3.Connection | None = None

    def put(self, job: SyncJob) -> int | None:
        """Add `job`, or merge it into the waiting job of its key; it is on disk on return.

        Returns:
            The row id, or None if the job was spooled: the database is locked, or a newer
            PlexSync has written it.

        Raises:
            sqlite3.Error, OSError: the job could not be written.
        """
        try:
            return self._run(lambda connection: table.put(connection, job))
        except NewerSchema:
            pass
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
        spool(self._folder, job)
        return None

    def close(self) -> None:
        """Close the database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _run(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run an operation; quarantine a damaged database and retry on a new one."""
        for attempts_left in (2, 1, 0):
            try:
                if self._connection is None:
                    self._connection = open_queue_database(self._file, timeout=self._lock_timeout)
                return operation(self._connection)
            except sqlite3.DatabaseError as error:
                if not is_damage(error) or not attempts_left:
                    raise
                self.close()
                self.quarantined = quarantine_database(self._file) or self.quarantined
        raise AssertionError("unreachable")


def open_queue_database(
    file: str, *, timeout: float = BUSY_TIMEOUT, any_thread: bool = False
) -> sqlite3.Connection:
    """Open a queue's database and create missing tables; see `common.sqlite.connect`."""
    wait_for_recovery(file, timeout)
    connection = connect(file, timeout=timeout, any_thread=any_thread)
    try:
        table.install(connection)
    except BaseException:
        connection.close()
        raise
    return connection
