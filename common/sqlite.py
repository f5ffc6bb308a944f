"""The one place that opens SQLite files, and the one that owns their transactions. Loaded by the hook."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager

from common.files import ensure_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

IN_MEMORY = ":memory:"
#: Seconds a statement waits for another process's transaction.
BUSY_TIMEOUT = 10.0
#: Bytes of the write-ahead log that stay on disk once their content is in the database.
_JOURNAL_LIMIT = 4_194_304
#: Unused pages (4 KiB each) that are worth the work of giving them back.
_FREE_PAGES = 256


def connect(
    path: str, *, timeout: float = BUSY_TIMEOUT, any_thread: bool = False
) -> sqlite3.Connection:
    """Open the database file `path` (mode 0600) in WAL mode; every commit is on disk when it returns.

    Statements outside `write` commit by themselves.

    Args:
        timeout: seconds to wait for a lock that another process holds.
        any_thread: whether threads other than this one may use the connection (one at a time).

    Raises:
        sqlite3.Error: it is no database, or locked for longer than `timeout`.
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
        connection.execute(f"PRAGMA journal_size_limit={_JOURNAL_LIMIT}")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_in_memory(owner: object) -> sqlite3.Connection:
    """Open a database in memory, for any thread, that is closed when `owner` is garbage."""
    import weakref  # not for the hook

    connection = connect(IN_MEMORY, any_thread=True)
    weakref.finalize(owner, connection.close)
    return connection


@contextmanager
def write(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """One transaction that holds the write lock from its first statement; rolled back on an exception."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def shrink(connection: sqlite3.Connection) -> None:
    """Give the disk back what deleted rows leave, when that is most of the file."""
    free, pages = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("freelist_count", "page_count")
    )
    if free > _FREE_PAGES and free > pages / 2:
        connection.execute("VACUUM")
        connection.execute(
            "PRAGMA wal_checkpoint(TRUNCATE)"
        )  # which is where the new file was written first


def _use_wal(connection: sqlite3.Connection, timeout: float) -> None:
    """Switch to WAL. The switch answers "locked" at once when others open the new file: so try again."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= deadline:
                raise
            time.sleep(0.005)
