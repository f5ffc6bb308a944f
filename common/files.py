"""Private files (mode 0600) and atomic replacement. Loaded by the hook."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Windows has no O_NOFOLLOW: creating a link needs administrator rights there.
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
# Only Windows has O_BINARY.
_BINARY = getattr(os, "O_BINARY", 0)


class ForeignOwner(PermissionError):
    """A file or folder belongs to another user, who could have written anything into it."""

    def __init__(self, path: str) -> None:
        """Name the file or folder."""
        super().__init__(errno.EPERM, "belongs to another user", path)


def make_private_dir(path: str) -> None:
    """Create the directory `path` and its missing parents with mode 0700.

    The umask does not affect the mode. A directory that is there keeps its mode.

    Raises:
        ForeignOwner: the directory belongs to another user.
        OSError: the directory can't be created, or `path` is not a directory.
    """
    if os.path.isdir(path):
        _check_owner(os.stat(path), path)
    else:
        parent = os.path.dirname(path)
        if parent and not os.path.isdir(parent):
            make_private_dir(parent)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:  # another process just created it
            _check_owner(os.stat(path), path)
            if not os.path.isdir(path):
                raise
        else:
            if os.name == "posix":
                if stat.S_IMODE(os.stat(path).st_mode) != 0o700:
                    os.chmod(path, 0o700)
                sync(parent or os.curdir)  # else a power cut takes all that is in it


def _check_owner(found: os.stat_result, path: str) -> None:
    if os.name == "posix" and found.st_uid != os.geteuid():
        raise ForeignOwner(path)


def open_private(path: str, flags: int) -> int:
    """Open `path` with mode 0600 and return its descriptor; never follow a symbolic link.

    Raises:
        ForeignOwner: the file belongs to another user.
        OSError: the file can't be opened, or it is a symbolic link (ELOOP).
    """
    # Another user's file is not emptied before that is known.
    descriptor = os.open(path, flags & ~os.O_TRUNC | _NO_FOLLOW | _BINARY, 0o600)
    try:
        found = os.fstat(descriptor)
        _check_owner(found, path)
        if os.name == "posix" and stat.S_IMODE(found.st_mode) != 0o600:
            os.fchmod(descriptor, 0o600)
        if flags & os.O_TRUNC:
            os.ftruncate(descriptor, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_private(path: str) -> str:
    """Return the text of `path`; never follow a symbolic link.

    Raises:
        ForeignOwner: the file belongs to another user.
        OSError: the file can't be opened, or it is a symbolic link (ELOOP).
        UnicodeDecodeError: it is not UTF-8.
    """
    with os.fdopen(open_private(path, os.O_RDONLY), encoding="utf-8") as file:
        return file.read()


def read_json(path: str) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one if it is missing or can't be read."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def ensure_private(path: str) -> None:
    """Make sure that `path` exists with mode 0600, for a library that opens files by name.

    An existing file is never opened here. Closing it would drop every POSIX lock that this process
    holds on it, SQLite's included. Another process would then consider the database unused
    (sqlite.org/howtocorrupt).

    Raises:
        ForeignOwner: the file belongs to another user.
        OSError: the file can't be created, or it is a symbolic link.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        try:
            os.close(open_private(path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        except FileExistsError:  # another process just created it, with the same mode
            return
        return
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, "is a symbolic link", path)
    _check_owner(found, path)
    if os.name == "posix" and stat.S_IMODE(found.st_mode) & 0o077:
        os.chmod(path, 0o600)


def append_private(path: str, text: str) -> None:
    """Append `text` to `path` in one write, so that the lines of two writers don't mix.

    Raises:
        OSError: the text can't be written, or only a part of it.
    """
    content = text.encode("utf-8")
    descriptor = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        if os.write(descriptor, content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    finally:
        os.close(descriptor)


def replace_private(path: str, text: str, *, durable: bool = False) -> None:
    """Replace the content of `path` atomically: a reader sees the old file or the new one.

    Args:
        durable: wait until the content is on disk (fsync). Most of these files can be regenerated,
            and a hook should not wait for the disk more than once.

    Raises:
        OSError: the folder is not writable or the disk is full; the old file is unchanged.
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
        with contextlib.suppress(FileNotFoundError):  # Ctrl-C right after the replacement
            os.unlink(temporary)
        raise
    if durable and os.name == "posix":  # fsync the name too; Windows can't open folders
        sync(os.path.dirname(path))


def sync(path: str) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def quarantine(path: str, stamp: str) -> str:
    """Rename a broken file to `<path>.broken-<stamp>` and return its new name."""
    target = f"{path}.broken-{stamp}"
    count = 1
    while os.path.exists(target):
        count += 1
        target = f"{path}.broken-{stamp}-{count}"
    os.replace(path, target)
    return target


def remove_leftovers(folder: str) -> None:
    """Remove the temporary files that killed processes left behind in `replace_private`.

    Only the holder of the worker lock may call this.
    """
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        pid = name[: -len(".tmp")].rpartition(".")[2] if name.endswith(".tmp") else ""
        if pid.isascii() and pid.isdecimal() and not is_alive(int(pid)):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, name))


def close_to_others(plugin_dir: str, *folders: str) -> None:
    """Let nobody else write to Python's caches below a folder, and to some folders in it.

    Python runs what is there. Version 0.1 left it writable for all where Stash has the umask 0.
    Folders of other users stay as they are, and so does what a symbolic link leads to.

    Raises:
        OSError: the folder can't be read.
    """
    if os.name != "posix":
        return
    for folder, _, names, descriptor in os.fwalk(plugin_dir):
        inside = os.path.relpath(folder, plugin_dir).split(os.sep)
        is_code = inside[0] in folders or "__pycache__" in inside
        # In a folder of another user, a link could take a file's place between look and change.
        if is_code and os.fstat(descriptor).st_uid == os.geteuid():
            for name in (".", *names):
                _close_to_others(name, descriptor)


def _close_to_others(name: str, folder: int) -> None:
    with contextlib.suppress(OSError):  # gone by now, or a file system without modes
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        mode = stat.S_IMODE(found.st_mode)
        is_link = stat.S_ISLNK(found.st_mode)
        if mode & 0o022 and found.st_uid == os.geteuid() and not is_link:
            os.chmod(name, mode & ~0o022, dir_fd=folder)


def is_alive(pid: int) -> bool:
    """Tell whether a process has this id; on Windows always True."""
    if os.name != "posix":  # on Windows os.kill(pid, 0) ends the process
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
