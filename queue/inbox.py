"""The hook's end of the queue: it only puts. Any number of processes may, at the same time."""

from __future__ import annotations

import os
import sqlite3

import queue.table as table
from common.files import make_private_dir
from common.sqlite import BUSY_TIMEOUT, connect
from queue.rescue import is_damage, set_database_aside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from queue.models import SyncJob

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
        self._connection = self._open()

    def put(self, job: SyncJob) -> int:
        """Add `job` or merge it into the one that waits; on disk when this returns the row's id.

        Raises:
            sqlite3.Error, OSError: it could not be written.
        """
        try:
            return table.put(self._connection, job)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self._connection.close()
            self.set_aside = set_database_aside(self._file) or self.set_aside
            self._connection = self._open()
            return table.put(self._connection, job)

    def close(self) -> None:
        self._connection.close()

    def _open(self) -> sqlite3.Connection:
        try:
            return open_queue_database(self._file)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self.set_aside = set_database_aside(self._file) or self.set_aside
            return open_queue_database(self._file)


def open_queue_database(file: str, *, timeout: float = BUSY_TIMEOUT, any_thread: bool = False) -> sqlite3.Connection:
    """Open a queue's database with its table and indexes; see `common.sqlite.connect`."""
    connection = connect(file, timeout=timeout, any_thread=any_thread)
    try:
        table.install(connection)
    except BaseException:
        connection.close()
        raise
    return connection
