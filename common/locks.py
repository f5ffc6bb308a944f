"""File locks that the operating system releases when their process ends. Loaded by the hook."""

from __future__ import annotations

import errno
import sys

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


class NoLocks(OSError):
    """Report that the file system has no file locks."""


_HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK, errno.EWOULDBLOCK)


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file if no other process holds it; return whether it is locked now.

    Args:
        shared: any number of processes may hold the lock shared (on Windows only one).

    Raises:
        NoLocks: the file system has no locks.
    """
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise NoLocks(error.errno, error.strerror) from error
    return True
