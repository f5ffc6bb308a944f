"""The folder of packages: made beside the old one, whose place it takes when it is whole; by one process at a time."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator

from common.files import open_private
from tasks.install_errors import InstallError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

FOLDER = "dependencies"
_LOCK = f"{FOLDER}.lock"
_NEW, _OLD = f"{FOLDER}.new-", f"{FOLDER}.old-"


def swap(place: str, new: str) -> None:
    """Give the new folder, which lies in a staging folder, its name.

    A kill between the two renames is put right by the next `tidy`.

    Raises:
        InstallError: the old one can't be moved; it is where it was.
    """
    current = os.path.join(place, FOLDER)
    old = os.path.join(place, _OLD + os.path.basename(os.path.dirname(new))[len(_NEW) :])
    try:
        if os.path.lexists(current):
            os.rename(current, old)
        try:
            os.rename(new, current)
        except OSError:
            if os.path.lexists(old):
                os.rename(old, current)
            raise
    except OSError as error:
        raise InstallError(
            f"{current} can't be replaced ({error.strerror}): it is in use, or mounted there."
            " End PlexSync's worker or remove that folder, and run this again"
        ) from None
    _remove(old)


def tidy(place: str, say: Callable[[str], object]) -> None:
    """Remove what a killed installation left. Only for who holds the lock."""
    current = os.path.join(place, FOLDER)
    for name in sorted(os.listdir(place)):
        path = os.path.join(place, name)
        if name.startswith(_OLD) and not os.path.lexists(current):
            os.rename(path, current)
        elif name.startswith((_OLD, _NEW)) and not _remove(path):
            say(f"{path} can't be removed; it is not needed any more")


@contextlib.contextmanager
def staging(place: str, say: Callable[[str], object]) -> Iterator[str]:
    """A new folder beside the old one, on the same file system."""
    folder = tempfile.mkdtemp(prefix=_NEW, dir=place)
    try:
        yield folder
    finally:
        if not _remove(folder):
            say(f"{folder} can't be removed; it is not needed any more")


def _remove(path: str) -> bool:
    """Remove a folder, or a link to one; return whether it is gone."""
    if os.path.islink(path):
        with contextlib.suppress(OSError):
            os.unlink(path)
    else:
        shutil.rmtree(path, ignore_errors=True)
    return not os.path.lexists(path)


@contextlib.contextmanager
def alone(place: str) -> Iterator[None]:
    """Keep other installations into the same folder out; the operating system ends this with the process.

    Raises:
        InstallError: there is another.
        OSError: nothing can be written in `place`.
    """
    path = os.path.join(place, _LOCK)
    while True:
        descriptor = open_private(path, os.O_RDWR | os.O_CREAT)
        try:
            if not _lock(descriptor):
                raise InstallError(
                    f"Another installation is at work in {place}: wait until it is done"
                )
            if not _is_still(path, descriptor):
                continue  # whoever had it has just removed it
            try:
                yield
            finally:
                with contextlib.suppress(OSError):  # on Windows it is in use, and stays
                    os.unlink(path)
            return
        finally:
            os.close(descriptor)


def _is_still(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


if sys.platform == "win32":

    def _lock(descriptor: int) -> bool:
        """Take the lock, if nobody holds it."""
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def _lock(descriptor: int) -> bool:
        """Take the lock, if nobody holds it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (
            OSError
        ) as error:  # a file system without locks: each works in a folder of its own all the same
            return error.errno not in (errno.EAGAIN, errno.EACCES)
        return True
