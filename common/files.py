"""Files that only their owner can read, replaced as a whole. Loaded by the hook: os and stat only."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

# Windows has neither: a planted link needs administrator rights there.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)


def make_private_dir(path: str) -> None:
    """Create `path`, and its parents where they are missing, with mode 0700, whatever the umask.

    Raises:
        OSError: it can't be made, or something else has that name.
    """
    if not os.path.isdir(path):
        parent = os.path.dirname(path)
        if parent and not os.path.isdir(parent):
            make_private_dir(parent)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:  # another process was faster
            if not os.path.isdir(path):
                raise
    if os.name == "posix" and stat.S_IMODE(os.stat(path).st_mode) != 0o700:
        with contextlib.suppress(
            PermissionError
        ):  # somebody else's that we may write to; our files are private
            os.chmod(path, 0o700)


def open_private(path: str, flags: int) -> int:
    """Open `path` with mode 0600 and return its descriptor; never through a symbolic link.

    Raises:
        OSError: it can't be opened, or it is a link (ELOOP).
    """
    descriptor = os.open(path, flags | _NO_LINK | _BINARY, 0o600)
    if os.name == "posix" and stat.S_IMODE(os.fstat(descriptor).st_mode) != 0o600:
        os.fchmod(descriptor, 0o600)
    return descriptor


def ensure_private(path: str) -> None:
    """Make sure that `path` exists with mode 0600, for a library that opens files by name.

    An existing file is never opened here: closing it again would drop every POSIX lock that this process has on
    it, SQLite's among them, and another process would then take the database for unused (sqlite.org/howtocorrupt).

    Raises:
        OSError: it can't be made, or it is a symbolic link.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        try:
            os.close(open_private(path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        except FileExistsError:  # another process was faster, and did the same
            return
        return
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, "is a symbolic link", path)
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        os.chmod(path, 0o600)


def append_private(path: str, text: str) -> None:
    """Add `text` at the end of `path` in one write, so that two writers don't mix their lines.

    Raises:
        OSError: it can't be written, or not all of it.
    """
    content = text.encode("utf-8")
    descriptor = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        if os.write(descriptor, content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    finally:
        os.close(descriptor)


def replace_private(path: str, text: str, *, durable: bool = False) -> None:
    """Give `path` the content `text` as a whole: a reader sees the old file or the new one.

    Args:
        durable: wait until it is on disk. Most of what is kept this way can be made again, and a hook must not
            wait for the disk twice.

    Raises:
        OSError: the folder can't be written or the disk is full; the old file is then untouched.
    """
    temporary = f"{path}.{os.getpid()}.tmp"
    descriptor = open_private(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode("utf-8"))
            if durable:
                file.flush()
                os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    if durable and os.name == "posix":  # the name as well; elsewhere folders can't be opened
        _sync_folder(os.path.dirname(path))


def _sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def quarantine(path: str, stamp: str) -> str:
    """Rename a broken file to `<path>.broken-<stamp>` and return the new name; nothing is deleted."""
    aside = f"{path}.broken-{stamp}"
    count = 1
    while os.path.exists(aside):
        count += 1
        aside = f"{path}.broken-{stamp}-{count}"
    os.replace(path, aside)
    return aside


def remove_leftovers(folder: str) -> None:
    """Remove what killed processes left of `replace_private`. Only for the holder of the worker lock."""
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        pid = name[: -len(".tmp")].rpartition(".")[2] if name.endswith(".tmp") else ""
        if pid.isascii() and pid.isdecimal() and not _alive(int(pid)):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, name))


def _alive(pid: int) -> bool:
    if os.name != "posix":  # there, os.kill(pid, 0) would end the process
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
