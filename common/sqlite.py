"""Open SQLite databases and run their transactions; nothing else does. Loaded by the hook."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager

from common.files import ensure_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

IN_MEMORY = ":memory:"
#: Seconds that a statement waits for another process's transaction.
BUSY_TIMEOUT = 10.0
#: Size limit in bytes of the write-ahead log after a checkpoint.
_JOURNAL_SIZE_LIMIT = 4_194_304
#: Free pages (4 KiB each) from which a VACUUM is worth its cost.
_MIN_FREE_PAGES = 256


class NewerSchema(ValueError):
    """Signal that a newer version of PlexSync has written this file, which is left alone."""

    def __init__(self, name: str, version: int, known: int) -> None:
        """Say what to do.

        Args:
            version: the schema of the file.
            known: the newest schema that this version knows.
        """
        super().__init__(
            f"{name} has schema {version}, and this PlexSync knows {known}: a newer PlexSync"
            " has used this data directory. Install that version again"
        )


def connect(
    path: str, *, timeout: float = BUSY_TIMEOUT, any_thread: bool = False
) -> sqlite3.Connection:
    """Open the database `path` (mode 0600) in WAL mode with durable commits.

    Statements outside `write` are autocommitted.

    Args:
        timeout: seconds to wait for a lock that another process holds.
        any_thread: allow other threads to use the connection, one at a time.

    Raises:
        sqlite3.Error: not a database, or locked for longer than `timeout`.
        OSError: the file can't be opened for writing.
    """
    if path != IN_MEMORY:
        ensure_private(path)
    connection = sqlite3.connect(
        path, timeout=timeout, isolation_level=None, check_same_thread=not any_thread
    )
    try:
        _use_wal(connection, timeout)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA journal_size_limit={_JOURNAL_SIZE_LIMIT}")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_in_memory(owner: object) -> sqlite3.Connection:
    """Open an in-memory database for any thread; close it when `owner` is garbage-collected."""
    import weakref  # here, so that the hook does not load it

    connection = connect(IN_MEMORY, any_thread=True)
    weakref.finalize(owner, connection.close)
    return connection


@contextmanager
def write(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Run a transaction that holds the write lock from its start; roll back on an exception."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def shrink(connection: sqlite3.Connection) -> None:
    """Return free pages to the disk when they are most of the file."""
    free, pages = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("freelist_count", "page_count")
    )
    if free > _MIN_FREE_PAGES and free > pages / 2:
        connection.execute("VACUUM")
        # VACUUM wrote the new database to the write-ahead log.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _use_wal(connection: sqlite3.Connection, timeout: float) -> None:
    """Switch to WAL mode; retry while other processes open the same new file.

    SQLite's busy timeout does not apply to this switch: it fails with "locked" at once.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= deadline:
                raise
            time.sleep(0.005)
