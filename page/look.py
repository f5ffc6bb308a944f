"""One look at a data directory: where its files are, and what keeps PlexSync from working."""

from __future__ import annotations

import os

from common.layout import VERSION as LAYOUT
from common.layout import is_in_use, load, version_of
from page.readonly import Unreadable, look
from queue.inbox import DATABASE, QUEUE_DIR

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

#: The newest schemas that this version knows; tests compare them with the stores'.
HISTORY_SCHEMA, QUEUE_SCHEMA, LETTERS_SCHEMA, INDEX_SCHEMA = 6, 1, 1, 3


class Look:
    """One look at a data directory."""

    def __init__(self, data_dir: str, now: float, obstacle: str | None = None) -> None:
        """Open nothing yet.

        Args:
            data_dir: need not be there.
            now: epoch seconds.
            obstacle: why tasks and the worker can't run (missing packages), or None.
        """
        self.data_dir = data_dir
        self.now = now
        self.obstacle = obstacle
        #: why databases can't be read, as `attempt` found
        self.problems: list[str] = []

    def path(self, *names: str) -> str:
        """Return the path of a file in the data directory."""
        return os.path.join(self.data_dir, *names)

    def history(self, read: Callable[[sqlite3.Connection], T]) -> T | None:
        """Return what `read` finds in the history; None if there is none yet.

        Raises:
            Unreadable
        """
        self._check_layout()
        return look(self.path("history.db"), HISTORY_SCHEMA, read)

    def queue(self, read: Callable[[sqlite3.Connection], T]) -> T | None:
        """Return what `read` finds in the queue's database; see `history`."""
        self._check_layout()
        return look(self.path(QUEUE_DIR, DATABASE), QUEUE_SCHEMA, read)

    def letters(self, read: Callable[[sqlite3.Connection], T]) -> T | None:
        """Return what `read` finds among the dead letters; see `history`."""
        self._check_layout()
        return look(self.path("dlq.db"), LETTERS_SCHEMA, read)

    def index(self, read: Callable[[sqlite3.Connection], T]) -> T | None:
        """Return what `read` finds in the index of Plex's files; see `history`."""
        return look(self.path("index.db"), INDEX_SCHEMA, read)

    def attempt(self, ask: Callable[[], T]) -> T | None:
        """Return what `ask` returns; if a database can't be read, note why, and return None."""
        try:
            return ask()
        except Unreadable as error:
            self.problems.append(str(error))
            return None

    def _check_layout(self) -> None:
        """Check that the files are where this version has them.

        Raises:
            Unreadable
        """
        version = version_of(load(self.data_dir))
        if version > LAYOUT:
            raise Unreadable(
                "a newer PlexSync has used this data directory. Install that version again"
            )
        if version < LAYOUT and is_in_use(self.data_dir):
            raise Unreadable(
                "the data of an older version are still to be taken over: save any scene, and the"
                " worker does that"
            )
