"""The right to import the spool: one process at a time, until it lets go or dies."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator

from common.files import open_private

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_FILE = "spool.lock"
#: Seconds to wait for another import. It takes milliseconds, unless its process is stopped.
PATIENCE = 3.0
_LOOK = 0.005
_HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK, errno.EWOULDBLOCK)


@contextlib.contextmanager
def exclusive(queue_dir: str) -> Iterator[bool]:
    """Hold the lock; where the file system has no locks, go on without.

    Yields:
        False when another process still held the lock after `PATIENCE` seconds.

    Raises:
        OSError: the lock file can't be opened.
    """
    descriptor = open_private(os.path.join(queue_dir, LOCK_FILE), os.O_RDWR | os.O_CREAT)
    try:
        deadline = time.monotonic() + PATIENCE
        while is_held := not _lock(descriptor):
            if time.monotonic() >= deadline:
                break
            time.sleep(_LOOK)
        yield not is_held
    finally:
        os.close(descriptor)  # which also unlocks


def _lock(descriptor: int) -> bool:
    """Take the lock; return False when somebody holds it."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _HELD
    return True
