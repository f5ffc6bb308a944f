"""Open and close the queue of a data directory."""

from __future__ import annotations

import os
from collections.abc import Iterable

from common.data_dir import plugin_data_dir
from common.files import make_private_dir
from queue.ack_queue import JobQueue
from queue.inbox import QUEUE_DIR


class QueueManager:
    """Own the queue of one data directory. As a context manager, return the queue and close it."""

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        auto_resume: bool = False,
        died_in_hand: Iterable[int] = (),
    ) -> None:
        """Open the queue in `<data_dir>/queue`.

        Args:
            data_dir: by default the plugin's data directory (`PlexSync.get_plugin_data_dir`).
            auto_resume: see `JobQueue`; only for the holder of the worker lock.
            died_in_hand: see `JobQueue`.

        Raises:
            sqlite3.Error: not a database, or locked for too long.
            OSError: the file can't be written.
        """
        if data_dir is None:
            data_dir = plugin_data_dir()
        self.data_dir = os.fspath(data_dir)
        self.queue_path = os.path.join(self.data_dir, QUEUE_DIR)
        make_private_dir(self.data_dir)
        self._queue: JobQueue | None = JobQueue(
            self.queue_path, auto_resume=auto_resume, died_in_hand=died_in_hand
        )

    def __enter__(self) -> JobQueue:
        return self.get_queue()

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def get_queue(self) -> JobQueue:
        """Return the queue.

        Raises:
            RuntimeError: `shutdown` was called.
        """
        if self._queue is None:
            raise RuntimeError("the queue was shut down")
        return self._queue

    def shutdown(self) -> None:
        """Close the queue; jobs stay on disk. May be called more than once."""
        if self._queue is not None:
            self._queue.close()
            self._queue = None
