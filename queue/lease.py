"""Leases: tell the worker whether the task that waits for a command is still alive.

Stash stops a task by SIGKILL, so the task can't take its command back. It holds a locked file
instead: the operating system releases the lock when the process dies, however it dies.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress

from common.files import is_alive, make_private_dir, open_private
from common.locks import try_lock

FOLDER = "leases"
_NAME = re.compile(r"([0-9]{1,10})-[0-9a-f]{16}\.lease")


class Lease:
    """A locked file of its own. As a context manager, release it at the end.

    Programs that this process starts do not inherit the lock: the file is closed on exec.
    """

    def __init__(self, path: str, descriptor: int) -> None:
        """Own a lease file that is open and locked; see `take`."""
        self.name = os.path.basename(path)
        self._path = path
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, data_dir: str) -> Lease:
        """Create `<data_dir>/leases/<name>` and lock it.

        Raises:
            OSError: the file can't be created.
        """
        folder = os.path.join(data_dir, FOLDER)
        make_private_dir(folder)
        while True:
            path = os.path.join(folder, f"{os.getpid()}-{os.urandom(8).hex()}.lease")
            descriptor = open_private(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            lease = cls(path, descriptor)
            # `remove_stale` may have seen the file before it was locked: then take another.
            if _lock(descriptor) and os.path.exists(path):
                return lease
            lease.release()

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Unlock and remove the file. May be called more than once."""
        if self._descriptor is not None:
            os.close(self._descriptor)  # which also unlocks
            self._descriptor = None
            with suppress(OSError):  # `remove_stale` removed it, or will
                os.unlink(self._path)


def is_held(data_dir: str, name: str) -> bool:
    """Tell whether the process that took the lease lives and has not released it.

    Any process may ask, also the one that holds the lease: locks belong to the open file (flock),
    not to the process, so opening and closing the file again neither gets nor drops its lock.

    Raises:
        OSError: the file can't be opened.
    """
    parts = _NAME.fullmatch(name)
    if parts is None:
        return False
    try:
        descriptor = open_private(os.path.join(data_dir, FOLDER, name), os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return _is_locked(descriptor, int(parts[1]))
    finally:
        os.close(descriptor)


def remove_stale(data_dir: str) -> None:
    """Remove the lease files that no process holds."""
    folder = os.path.join(data_dir, FOLDER)
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if parts := _NAME.fullmatch(name):
            with suppress(OSError):  # one file never stops the others
                _remove_if_stale(os.path.join(folder, name), int(parts[1]))


def _remove_if_stale(path: str, pid: int) -> None:
    descriptor = open_private(path, os.O_RDWR)
    try:
        if _is_locked(descriptor, pid):
            return
        if sys.platform != "win32":
            # Before unlocking: until then `take` can't lock the file that it has just created.
            os.unlink(path)
    finally:
        os.close(descriptor)
    if sys.platform == "win32":
        # Windows removes no open file: neither ours, nor one that `take` has just created.
        os.unlink(path)


def _lock(descriptor: int) -> bool:
    try:
        return try_lock(descriptor)
    except OSError:  # the file system has no locks: the process id in the name has to do
        return True


def _is_locked(descriptor: int, pid: int) -> bool:
    """Tell whether another open file has the lock; if not, hold it shared until closed."""
    try:
        return not try_lock(descriptor, shared=True)
    except OSError:
        # The file system has no locks. The lease counts as held while a process has the id in its
        # name. If a later process gets the same id, the command of a dead task runs to its end.
        return is_alive(pid)
