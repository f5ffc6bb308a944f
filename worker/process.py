"""The worker's process: its lock, its heartbeat and its start by a hook. Loaded by the hook.

The operating system releases the lock when the process dies, however it dies. Where a lock can be
inherited, the hook that finds it free takes it and hands it to the worker that it starts. So fifty
hooks at once start one worker.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress

from common.files import open_private
from common.locks import NoLocks, try_lock
from common.version import VERSION
from queue.operations import get_stats

LOCK_FILE = "worker.lock"
#: Lock of the process that waits to be the worker after one of another version.
SUCCESSOR_FILE = "successor.lock"
ERRORS_FILE = "worker.stderr"
#: Marker of a worker that found the plugin switched off; its time is that of the last check.
DISABLED_FILE = "disabled"
#: Marker: a worker is wanted. A hook that queued an edit and a worker leave it; a worker removes it
#: that has nothing left to do and does not stay.
UNFINISHED_FILE = "unfinished"
#: Touched when a page of Stash is opened while a worker waits for something to happen.
OPENED_FILE = "opened"
#: Seconds between two checks whether a plugin that is switched off is on again.
_REST = 30.0
#: Seconds without a heartbeat after which a worker counts as hanging. Its longest step is one
#: request to Plex or Stash (120 s to read, at most) with its quick retries.
SILENT_AFTER = 600.0
#: Time of the lock file, in epoch seconds, while its holder waits for work. It writes nothing to
#: the disk then, so it can't show that it is alive; who leaves work for it sets the time.
_RESTING = 1_000_000_000.0

ALIVE, STARTED, SILENT = "alive", "started", "silent"
#: As in `signal`, which the hook does not load.
_SIGTERM = 15
#: Offset of the signature in the lock file: on Windows nobody else can read the locked first byte.
_SIGNED_AT = 1 if sys.platform == "win32" else 0
#: Where Linux shows processes, by their ids.
_PROC = "/proc"
#: Seconds that `ps` may take; a hook waits for it. If it takes longer, the next one asks again.
_PS = 0.05
#: Written into the lock file by a task that does the worker's work.
TASK = "task"
#: Attempts at a lock that another process holds shared, for a moment, to look at it.
_LOOKS = 20


class WorkerLock:
    """The right to be the worker of a data directory."""

    def __init__(
        self, data_dir: str, *, inherited: int | None = None, file: str = LOCK_FILE
    ) -> None:
        """Prepare the lock; nothing is held yet.

        Args:
            inherited: descriptor of the lock file, locked by the process that started this one.
            file: `SUCCESSOR_FILE` for the right to be the next worker.
        """
        self.path = os.path.join(data_dir, file)
        self.descriptor = inherited
        if inherited is not None:
            os.set_inheritable(inherited, False)

    def acquire(self) -> bool:
        """Take the lock if it is free; return whether it is held now.

        Raises:
            NoLocks: the file system of the data directory has no locks.
            OSError: the lock file can't be opened.
        """
        if self.descriptor is not None:
            return True
        descriptor = open_private(self.path, os.O_RDWR | os.O_CREAT)
        try:
            is_locked = _lock(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise _no_locks(os.path.dirname(self.path), error) from error
        if not is_locked:
            os.close(descriptor)
            return False
        self.descriptor = descriptor
        if self.is_lost():  # deleted after it was opened: the lock is another file's by now
            self.release()
            return self.acquire()
        self.beat()
        return True

    def is_lost(self) -> bool:
        """Return whether the lock file was deleted or replaced since it was locked.

        Then another process may hold the lock of the file that is there now.
        """
        if self.descriptor is None:
            return False
        try:
            return not os.path.samestat(os.fstat(self.descriptor), os.stat(self.path))
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False

    def sign(self, role: str = "") -> None:
        """Write process id and version into the lock file; only the lock says who is alive.

        Args:
            role: `TASK`, or nothing for a worker.
        """
        assert self.descriptor is not None
        os.ftruncate(self.descriptor, _SIGNED_AT)
        os.lseek(self.descriptor, _SIGNED_AT, os.SEEK_SET)
        os.write(self.descriptor, f"{os.getpid()} {VERSION} {role}".strip().encode("ascii"))

    def release(self) -> None:
        """Let another process be the worker."""
        if self.descriptor is not None:
            os.close(self.descriptor)  # which also unlocks
            self.descriptor = None

    def beat(self) -> None:
        """Show that the holder makes progress."""
        os.utime(self.path)

    def rest(self) -> None:
        """Show that the holder waits for work."""
        if os.stat(self.path).st_mtime != _RESTING:
            os.utime(self.path, (_RESTING, _RESTING))

    def expect_beat(self) -> None:
        """Note that there is work from now on: a holder that waits for some must soon beat."""
        with suppress(OSError):  # it only tells later that the holder hangs
            if os.stat(self.path).st_mtime == _RESTING:
                os.utime(self.path)

    def silent_for(self) -> float:
        """Seconds since the holder's last heartbeat, or since there was work for it."""
        try:
            beaten_at = os.stat(self.path).st_mtime
        except OSError:
            return 0.0
        return 0.0 if beaten_at == _RESTING else time.time() - beaten_at


def ensure_worker(data_dir: str, entry: str) -> str:
    """Start a worker if none is alive, and don't wait for it.

    Call it after the job is on disk. The exiting worker unlocks, then re-checks the queue; the hook
    writes, then checks the lock. One of them sees the job.

    Args:
        entry: path of `PlexSync.py`.

    Returns:
        `ALIVE`, `STARTED` or `SILENT` (it lives but makes no progress).

    Raises:
        NoLocks: the file system of the data directory has no locks.
        OSError: no process could be started.
    """
    lock = WorkerLock(data_dir)
    if not lock.acquire():
        if not worker_alive(data_dir):  # only processes that look at the lock hold it
            mark_unfinished(data_dir)
            start_successor(data_dir, entry)
            return STARTED
        _replace_other_version(data_dir, entry)
        lock.expect_beat()
        return SILENT if lock.silent_for() > SILENT_AFTER else ALIVE
    try:
        _start(data_dir, entry, lock, rest=_rest_left(data_dir))
        return STARTED
    finally:
        lock.release()


def ensure_worker_if_wanted(data_dir: str, entry: str) -> str | None:
    """Start a worker if one is wanted, none is alive, and no successor is about to take over.

    Returns:
        As `ensure_worker`; None: none is wanted, or a successor is there.

    Raises:
        NoLocks, OSError: see `ensure_worker`.
        sqlite3.Error: the queue can't be read.
    """
    mark_if_wanted(data_dir)
    if is_unfinished(data_dir) and not worker_alive(data_dir, file=SUCCESSOR_FILE):
        return ensure_worker(data_dir, entry)
    return None


def worker_alive(data_dir: str, *, file: str = LOCK_FILE) -> bool:
    """Return whether some process holds the lock.

    Args:
        file: `SUCCESSOR_FILE` for the right to be the next worker.

    Raises:
        NoLocks: the file system of the data directory has no locks.
    """
    try:
        descriptor = open_private(os.path.join(data_dir, file), os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not _look(descriptor)
    except OSError as error:
        raise _no_locks(data_dir, error) from error
    finally:
        os.close(descriptor)


def probe_lock(data_dir: str) -> None:
    """Check that a worker can hold the lock; create the lock file if it is missing.

    Raises:
        NoLocks: the file system of the data directory has no locks.
        OSError: the lock file can't be opened.
    """
    os.close(open_private(os.path.join(data_dir, LOCK_FILE), os.O_RDWR | os.O_CREAT))
    worker_alive(data_dir)


def mark_unfinished(data_dir: str) -> None:
    """Mark that a worker is wanted, so that any hook or task sees to it that one is alive."""
    path = os.path.join(data_dir, UNFINISHED_FILE)
    if not os.path.exists(path):
        os.close(open_private(path, os.O_WRONLY | os.O_CREAT))


def mark_if_wanted(data_dir: str) -> None:
    """Mark as `mark_unfinished` does if `is_wanted`.

    Raises:
        OSError, sqlite3.Error: the queue can't be read, or the mark can't be left.
    """
    if is_wanted(data_dir):
        mark_unfinished(data_dir)


def mark_finished(data_dir: str) -> None:
    """Remove the mark of `mark_unfinished`. Only for the holder of the lock.

    Look at the queue again after the lock is released: a hook queues first, then marks.
    """
    try:
        os.unlink(os.path.join(data_dir, UNFINISHED_FILE))
    except FileNotFoundError:
        return


def mark_opened(data_dir: str) -> None:
    """Let the worker know that a page of Stash was opened: Stash is in use."""
    path = os.path.join(data_dir, OPENED_FILE)
    os.close(open_private(path, os.O_WRONLY | os.O_CREAT))
    os.utime(path)


def opened_at(data_dir: str) -> float | None:
    """Return when `mark_opened` was last called, in epoch seconds; None: never."""
    try:
        return os.stat(os.path.join(data_dir, OPENED_FILE)).st_mtime
    except OSError:
        return None


def is_unfinished(data_dir: str) -> bool:
    """Return whether a worker is wanted: edits may wait, or it was to stay."""
    return os.path.exists(os.path.join(data_dir, UNFINISHED_FILE))


def is_wanted(data_dir: str) -> bool:
    """Return whether a worker is wanted, also by edits without a mark: those of version 0.1.

    Raises:
        OSError, sqlite3.Error: the queue can't be read.
    """
    if is_unfinished(data_dir):
        return True
    stats = get_stats(data_dir)
    return stats["pending"] + stats["in_progress"] > 0  # a killed worker's are in progress


def worker_pid(data_dir: str) -> int | None:
    """Return the process id that the last worker wrote down, or None; it may have ended since."""
    return _signature(data_dir)[0]


def _signature(data_dir: str) -> tuple[int | None, str, str]:
    """Return process id, version and role that the last holder of the lock wrote down."""
    try:
        with open(os.path.join(data_dir, LOCK_FILE), "rb") as file:
            file.seek(_SIGNED_AT)
            pid, version, role = [*file.read().decode("ascii").split(), "", "", ""][:3]
            return int(pid), version, role
    except (OSError, ValueError):
        return None, "", ""


def is_signed_by_us(data_dir: str) -> bool:
    """Return whether the last holder of the lock is a worker of this version, or is not known.

    Unlike `other_version`, this holds for a process that is about to end, too: it has lost its
    command line then, but not yet the lock.
    """
    pid, version, role = _signature(data_dir)
    return role != TASK and (pid is None or version == VERSION)


def other_version(data_dir: str) -> int | None:
    """Return the process id of a worker of another version that holds the lock, or None."""
    pid, version, _ = _signature(data_dir)
    return None if version == VERSION else _holder(data_dir, pid)


def lock_holder(data_dir: str) -> int | None:
    """Return the process id of the worker that holds the lock, or None.

    Only where the system shows that it does: the id that it wrote down may be another process's by
    now. Windows does not show it.
    """
    return _holder(data_dir, worker_pid(data_dir))


def _holder(data_dir: str, pid: int | None) -> int | None:
    """Return a process id if it is that of a worker that holds the lock, else None."""
    if pid is None or pid <= 0 or sys.platform == "win32":
        return None
    if not os.path.isdir(f"{_PROC}/self"):
        return pid if _is_worker_of(data_dir, pid) else None
    try:
        with open(f"{_PROC}/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
        if b"worker" in words and any(word.endswith(b"PlexSync.py") for word in words):
            return pid if _has_open(pid, os.path.join(data_dir, LOCK_FILE)) else None
    except OSError:
        pass
    return None


def _is_worker_of(data_dir: str, pid: int) -> bool:
    """Return whether `ps` shows a process as a worker of this data directory: for macOS and BSD."""
    import subprocess  # only where a worker of another version has the lock

    command = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    try:
        found = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return False
    shown = os.fsdecode(found.stdout).strip()
    _, is_there, rest = shown.partition(f"PlexSync.py worker --data-dir {data_dir}")
    return bool(is_there) and (not rest or rest.startswith(" --"))


def _has_open(pid: int, path: str) -> bool:
    """Return whether a process has a file open."""
    wanted = os.stat(path)
    folder = f"{_PROC}/{pid}/fd"
    for name in os.listdir(folder):
        try:
            if os.path.samestat(os.stat(os.path.join(folder, name)), wanted):
                return True
        except OSError:  # closed meanwhile
            continue
    return False


def _replace_other_version(data_dir: str, entry: str) -> None:
    """Ask a worker of another version to leave, and start one that waits for its end.

    An upgrade touches no process that is running.
    """
    pid = other_version(data_dir)
    if pid is None:
        return
    try:
        os.kill(pid, _SIGTERM)
    except OSError:  # it has ended, or another user's process has its id now
        return
    mark_unfinished(data_dir)
    start_successor(data_dir, entry)


def start_successor(data_dir: str, entry: str) -> None:
    """Start a worker that waits until the lock is free; one is enough, so it has its own lock.

    Raises:
        OSError: no process could be started.
    """
    successor = WorkerLock(data_dir, file=SUCCESSOR_FILE)
    if successor.acquire():
        try:
            _start(data_dir, entry, successor, is_successor=True)
        finally:
            successor.release()


def mark_disabled(data_dir: str) -> None:
    """Mark the plugin as switched off, so that not every save starts a worker that leaves again."""
    path = os.path.join(data_dir, DISABLED_FILE)
    os.close(open_private(path, os.O_WRONLY | os.O_CREAT))
    os.utime(path)


def mark_enabled(data_dir: str) -> None:
    """Remove the mark of `mark_disabled`."""
    try:
        os.unlink(os.path.join(data_dir, DISABLED_FILE))
    except FileNotFoundError:
        return


def _rest_left(data_dir: str) -> float:
    """Return seconds until the next check whether the plugin is on again; 0: now."""
    try:
        since = time.time() - os.stat(os.path.join(data_dir, DISABLED_FILE)).st_mtime
    except OSError:
        return 0.0
    return _REST - since if 0 <= since < _REST else 0.0


def _start(
    data_dir: str, entry: str, lock: WorkerLock, *, rest: float = 0.0, is_successor: bool = False
) -> None:
    """Start a worker without our stdin, stdout and stderr: Stash waits until stdout is closed.

    Args:
        lock: to hand over; for a successor that of `SUCCESSOR_FILE`.
    """
    import functools
    import subprocess  # only the hook that starts a worker pays for it

    command = [sys.executable or "python3", entry, "worker", "--data-dir", data_dir]
    if rest:
        command += ["--rest", f"{rest:.1f}"]
    if is_successor:
        command.append("--successor")
    errors = open_private(
        os.path.join(data_dir, ERRORS_FILE), os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    )
    try:
        start = functools.partial(
            subprocess.Popen,
            cwd=os.path.dirname(entry) or None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        if sys.platform == "win32":
            # Locks are not inherited there. Each process takes its own, and surplus ones leave.
            lock.release()
            start(
                command,
                creationflags=subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP,
            )
        else:
            assert lock.descriptor is not None
            command += ["--lock", str(lock.descriptor)]
            start(command, start_new_session=True, pass_fds=(lock.descriptor,))
    finally:
        os.close(errors)


def _lock(descriptor: int) -> bool:
    """Take the lock if it is free; processes that only look at it are waited for."""
    for _ in range(_LOOKS):
        if try_lock(descriptor):
            return True
        if sys.platform == "win32" or not _look(descriptor):
            return False
        time.sleep(0.001)
    return False


def _look(descriptor: int) -> bool:
    """Return whether the lock is free: any number of processes may share a look."""
    return try_lock(descriptor, shared=True)


def _no_locks(data_dir: str, error: OSError) -> NoLocks:
    return NoLocks(
        f"the file system of {data_dir} has no file locks ({error.strerror}), so no worker can run"
        " there, and no edit reaches Plex. Set the environment variable STASH_PLUGIN_DATA to a"
        " folder on a local disk, and restart Stash"
    )
