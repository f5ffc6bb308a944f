"""The hook's end of the queue: it only puts. Any number of processes may, at the same time."""

from __future__ import annotations

import os
import sqlite3

import queue.table as table
from common.files import make_private_dir
from common.sqlite import BUSY_TIMEOUT, connect
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
#: Seconds that a save in Stash may wait for a lock.
_PATIENCE = 0.05


class Inbox:
    """Writes jobs to the table that persist-queue reads, without the time that importing it takes."""

    def __init__(self, data_dir: str, *, patience: float = _PATIENCE) -> None:
        """Use `<data_dir>/queue/data.db`, opened by the first `put`, made where it is missing or damaged.

        Args:
            patience: seconds to wait for whoever holds the database locked.

        Raises:
            OSError: the folder can't be made.
        """
        self._folder = os.path.join(data_dir, QUEUE_DIR)
        make_private_dir(self._folder)
        self._file = os.path.join(self._folder, DATABASE)
        self._patience = patience
        #: where a damaged database was set aside, if one was
        self.quarantined: str | None = None
        self._connection: sqlite3.Connection | None = None

    def put(self, job: SyncJob) -> int | None:
        """Add `job` or merge it into the one that waits; on disk when this returns.

        Returns:
            The row's id; None when the database is locked, and the job therefore in the spool beside it.

        Raises:
            sqlite3.Error, OSError: it could not be written.
        """
        try:
            return self._retrying(lambda connection: table.put(connection, job))
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
        spool(self._folder, job)
        return None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _retrying(self, step: Callable[[sqlite3.Connection], T]) -> T:
        """Do something with the database; where that shows damage, set it aside and do it with a new one."""
        for attempts_left in (2, 1, 0):
            try:
                if self._connection is None:
                    self._connection = open_queue_database(self._file, timeout=self._patience)
                return step(self._connection)
            except sqlite3.DatabaseError as error:
                if not is_damage(error) or not attempts_left:
                    raise
                self.close()
                self.quarantined = quarantine_database(self._file) or self.quarantined
        raise AssertionError("unreachable")


def open_queue_database(
    file: str, *, timeout: float = BUSY_TIMEOUT, any_thread: bool = False
) -> sqlite3.Connection:
    """Open a queue's database with its table and indexes; see `common.sqlite.connect`."""
    wait_for_recovery(file, timeout)
    connection = connect(file, timeout=timeout, any_thread=any_thread)
    try:
        table.install(connection)
    except BaseException:
        connection.close()
        raise
    return connection
