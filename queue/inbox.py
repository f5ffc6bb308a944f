"""The hook's end of the queue: it only puts. Any number of processes may, at the same time."""

from __future__ import annotations

import os

import queue.table as table
from common.files import make_private_dir
from common.sqlite import connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from queue.models import SyncJob

QUEUE_DIR = "queue"
DATABASE = "data.db"


class Inbox:
    """Writes jobs to the table that persist-queue reads, without the time that importing it takes."""

    def __init__(self, data_dir: str) -> None:
        """Open `<data_dir>/queue/data.db`, made where it is missing.

        Raises:
            sqlite3.Error: the file is no database, or locked for long.
            OSError: it can't be written.
        """
        folder = os.path.join(data_dir, QUEUE_DIR)
        make_private_dir(folder)
        self._connection = connect(os.path.join(folder, DATABASE))
        table.install(self._connection)

    def put(self, job: SyncJob) -> int:
        """Add `job` or merge it into the one that waits; on disk when this returns the row's id."""
        return table.put(self._connection, job)

    def close(self) -> None:
        self._connection.close()
