"""Bring a data directory up to date: move it here from where an older version kept it.

Only the holder of the worker's lock does this; hooks spool meanwhile (`common/layout.py`). Kill it
at any instruction: the next start goes on to the same end. A file is in its old place until it is
whole in its new one.
"""

from __future__ import annotations

import errno
import filecmp
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import common.layout as layout
from common.data_dir import (
    CONNECTION_FILE,
    HERE,
    OWNER_FILE,
    SHARED_PREFIX,
    is_anothers,
    old_places,
    stash_dir_of,
)
from common.files import append_private, make_private_dir, quarantine, sync
from common.sqlite import NewerSchema
from queue.lease import FOLDER as LEASES
from queue.spool import LOCK_FILE as SPOOL_LOCK
from stash.connection import load_connection
from stash.deferred_log import FILE as DEFERRED
from worker.process import LOCK_FILE, SILENT_AFTER, SUCCESSOR_FILE, WorkerLock, lock_holder
from worker.reporter import Reporter

#: Files that say nothing in another place.
_STAYS = (LOCK_FILE, SUCCESSOR_FILE, SPOOL_LOCK)
#: Files of which the one that is here already is the right one.
_OURS = (CONNECTION_FILE, OWNER_FILE, layout.FILE)
#: Seconds between two attempts at the other lock.
_LOOK = 0.2
_DATABASE = ".db"
_SIDE_FILES = ("-wal", "-shm")


class OldPlaceInUse(ValueError):
    """Signal that another process is still at work in the place to be moved."""


def move_here(
    data_dir: str,
    lock: WorkerLock,
    reporter: Reporter,
    *,
    patience: float = SILENT_AFTER,
    is_stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Move this Stash's data directory here, unless there is none elsewhere.

    Args:
        lock: of this data directory, held.
        patience: seconds to wait for the worker that is still at work there.
        is_stopped: whether to give up, as this process was asked to leave.

    Raises:
        NewerSchema: a newer PlexSync has used this data directory.
        OldPlaceInUse: its worker does not leave.
        OSError: a file can't be moved.
    """
    recorded = layout.load(data_dir)
    version = layout.version_of(recorded)
    if version > layout.VERSION:
        raise NewerSchema("the data directory", version, layout.VERSION)
    source = recorded.get("moving_from")
    if not isinstance(source, str):
        is_over = version == layout.VERSION or "moved_from" in recorded
        source = None if is_over else _find_source(data_dir)
    if source is None:
        return
    there = WorkerLock(source)
    _take(there, lock, patience, is_stopped)
    try:
        if "moving_from" not in recorded:
            _set_queue_aside(data_dir)
            layout.record(data_dir, 0, "move begun", moving_from=source)
        keep = is_anothers(source, stash_dir_of(_server(data_dir)))
        for name in _files(source, but=data_dir):
            lock.beat()
            old, new = os.path.join(source, name), os.path.join(data_dir, name)
            if os.path.basename(name) in _OURS:
                continue  # the one here is the right one
            make_private_dir(os.path.dirname(new))
            (_copy_in_use if keep else _move)(old, new)
        if not keep:  # last: until here the old place says whose it is
            _forget(source)
        layout.record(data_dir, 0, "moved", moved_from=source)
    finally:
        there.release()
    if not keep:
        _remove_empty(source)
    reporter.log("info", f"The data directory {source} was {'copied' if keep else 'moved'} here")


def finish(data_dir: str) -> None:
    """Record that all steps were taken: hooks may use the database from here on.

    Raises:
        OSError: it can't be recorded.
    """
    if layout.version_of(layout.load(data_dir)) != layout.VERSION:
        layout.record(data_dir, layout.VERSION, "up to date")


def _server(data_dir: str) -> dict[str, object]:
    connection = load_connection(data_dir)
    return {} if connection is None else connection.server


def _find_source(data_dir: str) -> str | None:
    """Return the place to move here: the one that was used last; None if this one is in use."""
    if any(os.path.exists(os.path.join(data_dir, name)) for name in layout.STATE):
        return None
    server = _server(data_dir)
    places = old_places(data_dir, str(server.get("PluginDir") or HERE), server)
    found = [place for place in places if layout.is_in_use(place)]
    return max(found, key=_used_at, default=None)


def _used_at(place: str) -> float:
    try:
        return os.stat(os.path.join(place, CONNECTION_FILE)).st_mtime
    except OSError:
        return 0.0


def _take(
    there: WorkerLock, here: WorkerLock, patience: float, is_stopped: Callable[[], bool]
) -> None:
    """Take the lock of the old place; its worker is asked to leave after the job in hand."""
    end = time.monotonic() + patience
    asked = None
    while not there.acquire():
        holder = lock_holder(os.path.dirname(there.path))
        if holder is not None and holder != asked:
            asked = holder
            with suppress(OSError):
                os.kill(holder, signal.SIGTERM)
        if is_stopped() or time.monotonic() > end:
            raise OldPlaceInUse(
                f"A worker is still at work in {os.path.dirname(there.path)}, which is to be moved."
                " Edits are kept; end that process"
            )
        here.beat()
        time.sleep(_LOOK)


def _set_queue_aside(data_dir: str) -> None:
    """Set a queue aside that was begun here; its jobs are salvaged into the one that comes."""
    file = os.path.join(data_dir, layout.QUEUE)
    if os.path.exists(file):
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        quarantine(file, time.strftime("%Y%m%d-%H%M%S"))


def _files(folder: str, but: str) -> list[str]:
    """Return the files to bring, relative to the folder; databases after their side files.

    Args:
        but: a folder to leave out, should it lie inside.
    """
    found: list[str] = []
    for path, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if name != LEASES
            and not (path == folder and name.startswith(SHARED_PREFIX))
            and not os.path.samefile(os.path.join(path, name), but)
        ]
        inner = os.path.relpath(path, folder)
        found += [os.path.normpath(os.path.join(inner, name)) for name in names]
    return [
        name
        for name in sorted(found, key=lambda name: (name.endswith(_DATABASE), name))
        if os.path.basename(name) not in _STAYS and not name.endswith(".tmp")
    ]


def _move(source: str, target: str) -> None:
    """Move one file; what a hook began here meanwhile under its name stays too."""
    if os.path.exists(target):
        if filecmp.cmp(source, target, shallow=False):  # killed right after it was copied
            os.unlink(source)
            return
        if os.path.basename(source) == DEFERRED:
            with open(source, encoding="utf-8", errors="replace") as lines:
                append_private(target, lines.read())
            os.unlink(source)
            return
        target += ".moved"
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, target)
        os.unlink(source)


@contextmanager
def _whole(target: str) -> Iterator[str]:
    """Yield the name under which to make a file; it gets its own when it is whole and on disk."""
    temporary = f"{target}.{os.getpid()}.tmp"
    try:
        yield temporary
        os.chmod(temporary, 0o600)
        sync(temporary)
        os.replace(temporary, target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
    sync(os.path.dirname(target))


def _copy(source: str, target: str) -> None:
    with _whole(target) as temporary:
        shutil.copyfile(source, temporary, follow_symlinks=False)


def _copy_in_use(source: str, target: str) -> None:
    """Copy a file of another Stash, whose hooks may write to it meanwhile."""
    if os.path.exists(target) or source.endswith(_SIDE_FILES):
        return
    if not source.endswith(_DATABASE):
        _copy(source, target)
        return
    try:
        with (
            _whole(target) as temporary,
            closing(sqlite3.connect(source)) as theirs,
            closing(sqlite3.connect(temporary)) as ours,
        ):
            theirs.backup(ours)
    except sqlite3.DatabaseError:  # damaged: it is quarantined here
        _copy(source, target)


def _forget(source: str) -> None:
    """Remove from the old place what says whose it is."""
    for name in _OURS:
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(source, name))


def _remove_empty(source: str) -> None:
    """Remove the folders of the old place that are empty now."""
    for name in _STAYS:
        for folder in (source, os.path.join(source, "queue")):
            with suppress(OSError):
                os.unlink(os.path.join(folder, name))
    for path, _, _ in os.walk(source, topdown=False):
        with suppress(OSError):
            os.rmdir(path)
