"""The hook's end of the queue: it only puts. Any number of processes may, at the same time."""

from __future__ import annotations

import os
import sqlite3

import queue.table as table
from common.files import make_private_dir
from common.sqlite import BUSY_TIMEOUT, connect
from queue.rescue import is_damage, set_database_aside, wait_for_rescue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from queue.models import SyncJob

    T = TypeVar("T")

QUEUE_DIR = "queue"
DATABASE = "data.db"


class Inbox:
    """Writes jobs to the table that persist-queue reads, without the time that importing it takes."""

    def __init__(self, data_dir: str) -> None:
        """Open `<data_dir>/queue/data.db`, made where it is missing or damaged.

        Raises:
            sqlite3.Error: it is locked for long, or can't be written.
            OSError: it can't be written.
        """
        folder = os.path.join(data_dir, QUEUE_DIR)
        make_private_dir(folder)
        self._file = os.path.join(folder, DATABASE)
        #: where a damaged database was set aside, if one was
        self.set_aside: str | None = None
        self._connection: sqlite3.Connection | None = None
        self._retrying(lambda connection: None)

    def put(self, job: SyncJob) -> int:
        """Add `job` or merge it into the one that waits; on disk when this returns the row's id.

        Raises:
            sqlite3.Error, OSError: it could not be written.
        """
        return self._retrying(lambda connection: table.put(connection, job))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _retrying(self, step: Callable[[sqlite3.Connection], T]) -> T:
        """Do something with the database; where that shows damage, set it aside and do it with a new one."""
        for attempts_left in (2, 1, 0):
            try:
                if self._connection is None:
                    self._connection = open_queue_database(self._file)
                return step(self._connection)
            except sqlite3.DatabaseError as error:
                if not is_damage(error) or not attempts_left:
                    raise
                self.close()
                self.set_aside = set_database_aside(self._file) or self.set_aside
        raise AssertionError("unreachable")


def open_queue_database(file: str, *, timeout: float = BUSY_TIMEOUT, any_thread: bool = False) -> sqlite3.Connection:
    """Open a queue's database with its table and indexes; see `common.sqlite.connect`."""
    wait_for_rescue(file)
    connection = connect(file, timeout=timeout, any_thread=any_thread)
    try:
        table.install(connection)
    except BaseException:
        connection.close()
        raise
    return connection
