"""Build the parts of a worker for a data directory, once, and hand them over whole.

The one place that knows all the parts.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace

import common.layout as layout
from common.env import Env, Timing, timing_from
from common.files import close_to_others, remove_leftovers
from common.hook_times import trim_hook_times
from common.redaction import Redactor
from common.sqlite import connect
from history.store import FILE as HISTORY_FILE
from history.store import History, ReadOnlyHistory
from plex.index import FileIndex
from plex.session import PlexSession
from queue.dlq import DATABASE as DLQ_DATABASE
from queue.dlq import DeadLetterQueue
from queue.inbox import DATABASE as QUEUE_DATABASE
from queue.inbox import QUEUE_DIR
from queue.lease import remove_stale
from queue.manager import QueueManager
from queue.recovery import check_database, rename_database
from queue.spool import FOLDER as SPOOL
from stash.client import StashClient
from stash.connection import load_connection
from validation.config import PlexSyncConfig
from worker.commands import open_commands
from worker.config_provider import StashConfigProvider
from worker.foreign import FOREIGN
from worker.in_hand import died_in_hand
from worker.job_runner import JobRunner
from worker.logfile import close_log, open_log
from worker.migration import OldPlaceInUse, finish, move_here
from worker.presence import Presence
from worker.process import SILENT_AFTER, WorkerLock, ensure_worker, mark_if_wanted
from worker.processor import SyncWorker
from worker.reporter import NullReporter, Reporter
from worker.upgrade import OLD_HISTORY, open_history

log = logging.getLogger("plexsync")

INDEX_FILE = "index.db"
#: Seconds between two looks at a data directory that a worker brings up to date.
_LOOK = 0.2


@contextmanager
def build_worker(
    data_dir: str,
    lock: WorkerLock,
    *,
    environ: Mapping[str, str] = os.environ,
    idle_timeout: float | None = None,
    tell: Callable[[str, str], object] | None = None,
    after_damage: bool = False,
    is_stopped: Callable[[], bool] = lambda: False,
    entry: str | None = None,
) -> Iterator[SyncWorker]:
    """Open everything in `data_dir` and yield a worker on it that was not started.

    Args:
        lock: held by the caller: jobs in progress are taken for a dead worker's.
        idle_timeout: seconds.
        tell: where (level, text) for a person goes; default: left for the next hook or task.
        after_damage: a worker just met a damaged database, so they are checked thoroughly.
        is_stopped: whether this process was asked to leave.
        entry: path of `PlexSync.py`; with it, the worker leaves when PlexSync was disabled,
            uninstalled or updated.

    Raises:
        ValueError: a PLEXSYNC_ variable is wrong.
        NewerSchema: a newer PlexSync has used this data directory.
        OldPlaceInUse: it is to be moved, and a worker is still at work there.
        OSError, sqlite3.Error: a file in the data directory can't be used.
    """
    env = Env(timing_from(environ, idle_timeout))
    redactor = Redactor()
    redactor.add(environ.get("PLEX_TOKEN"))
    with ExitStack() as stack:
        stack.callback(close_log, open_log(data_dir, redactor))
        stack.push(_log_unexpected)
        reporter = Reporter(data_dir, redactor=redactor, tell=tell)
        if entry is not None:
            with suppress(OSError):  # syncing does not depend on it
                close_to_others(os.path.dirname(entry), "dependencies")
        is_queue_damaged = _prepare(data_dir, lock, reporter, is_stopped, thorough=after_damage)
        died = died_in_hand(data_dir).row_ids
        queue = stack.enter_context(QueueManager(data_dir, auto_resume=True, died_in_hand=died))
        dlq = stack.enter_context(closing(DeadLetterQueue(data_dir, redact=redactor.redact)))
        salvaged = dlq.salvage()
        if salvaged:
            reporter.notify_user("warning", f"{salvaged} failed scenes were read from it")
        commands = stack.enter_context(closing(open_commands(data_dir)))
        index = stack.enter_context(
            closing(connect(os.path.join(data_dir, INDEX_FILE), any_thread=True))
        )
        history = stack.enter_context(open_history(data_dir, dlq, reporter, env))
        stash = open_stash(data_dir, redactor)
        worker = SyncWorker(
            queue,
            dlq,
            None,
            data_dir,
            provider=StashConfigProvider(stash, data_dir, redactor, environ=environ, env=env),
            stash=stash,
            plex=PlexSession(FileIndex(index, now=env.time), env, history=history),
            history=history,
            commands=commands,
            lock=lock,
            reporter=reporter,
            env=env,
            compares=True,
            presence=Presence(
                None if entry is None else os.path.dirname(entry), stash, env, data_dir=data_dir
            ),
        )
        stack.callback(worker.stop)
        if is_queue_damaged:
            worker.passes.ask_full("the queue's database was damaged")
        yield worker


def _log_unexpected(kind: object, error: BaseException | None, trace: object) -> None:
    """Log the traceback of an error that is none of those that `build_worker` names."""
    if isinstance(error, Exception) and not isinstance(error, (ValueError, OSError, sqlite3.Error)):
        log.error("The worker failed", exc_info=error)


@contextmanager
def open_readonly(data_dir: str, config: PlexSyncConfig, stash: StashClient) -> Iterator[JobRunner]:
    """Yield what matches scenes as the worker does, for previews; it writes nothing.

    A worker may be at work meanwhile. The index of Plex's files is shared with it.

    Raises:
        OSError, sqlite3.Error: a file in the data directory can't be used.
    """
    with (
        closing(connect(os.path.join(data_dir, INDEX_FILE))) as index,
        open_history_readonly(data_dir) as history,
    ):
        timing = Timing()
        env = Env(replace(timing, name_fresh=timing.index_fresh))
        plex = PlexSession(FileIndex(index), env, history=history)
        plex.configure(config.model_copy(update={"trigger_plex_scan": False}))
        with closing(plex):
            yield JobRunner(plex, stash, history, NullReporter(), env)


@contextmanager
def open_trial(data_dir: str, config: PlexSyncConfig, stash: StashClient) -> Iterator[JobRunner]:
    """Yield what matches scenes with settings that are only tried: no history, no choices.

    Raises:
        PlexRejected, PlexTemporaryError: Plex can't be asked.
        OSError, sqlite3.Error: the index can't be used.
    """
    with closing(connect(os.path.join(data_dir, INDEX_FILE))) as shared:
        env = Env(replace(Timing(), name_fresh=Timing().index_fresh))
        index = FileIndex(shared)
        plex = PlexSession(index, env)
        plex.configure(config.model_copy(update={"trigger_plex_scan": False}))
        # That of another Plex would be begun anew, and the worker needs it.
        if index.server not in ("", plex.client().server_id()):
            plex.index = FileIndex()
        with closing(plex):
            yield JobRunner(plex, stash, History(), NullReporter(), env)


@contextmanager
def open_history_readonly(data_dir: str) -> Iterator[History]:
    """Yield the history for reading: only the holder of the worker's lock may write it.

    Raises:
        NewerSchema, OSError, sqlite3.Error: it can't be read.
    """
    file = os.path.join(data_dir, HISTORY_FILE)
    if not os.path.exists(file):
        yield ReadOnlyHistory()
        return
    with closing(connect(file, any_thread=True)) as connection:
        yield ReadOnlyHistory(connection)


def open_stash(data_dir: str, redactor: Redactor) -> StashClient:
    """Return a client for the Stash that the last hook or task came from."""
    return StashClient(lambda: load_connection(data_dir), redactor=redactor)


def make_ready(data_dir: str, entry: str, tell: Callable[[str, str], object]) -> None:
    """Bring the data directory up to date, or wait for the worker that does.

    Args:
        entry: path of `PlexSync.py`.
        tell: called with (level, text) of a message to the user.

    Raises:
        NewerSchema, OldPlaceInUse, OSError, sqlite3.Error: see `build_worker`.
    """
    end = time.monotonic() + SILENT_AFTER
    while layout.version_of(layout.load(data_dir)) != layout.VERSION:
        lock = WorkerLock(data_dir)
        if lock.acquire():
            log_handler = open_log(data_dir, Redactor())
            try:
                _prepare(data_dir, lock, Reporter(data_dir, tell=tell))
            finally:
                close_log(log_handler)
                lock.release()
            return
        ensure_worker(data_dir, entry)  # one of another version does not do it, and leaves
        if time.monotonic() > end:
            raise OldPlaceInUse(f"The worker of {data_dir} does not bring it up to date; end it")
        time.sleep(_LOOK)


def _prepare(
    data_dir: str,
    lock: WorkerLock,
    reporter: Reporter,
    is_stopped: Callable[[], bool] = lambda: False,
    *,
    thorough: bool = False,
) -> bool:
    """Bring the data directory up to date, and quarantine what can't be used.

    Returns:
        Whether edits may have been lost with the queue's database.
    """
    move_here(data_dir, lock, reporter, is_stopped=is_stopped)
    is_queue_damaged = _clean_up(data_dir, reporter, thorough=thorough)
    mark_if_wanted(data_dir)  # from `finish` on, hooks go by the mark alone
    finish(data_dir)
    return is_queue_damaged


def _clean_up(data_dir: str, reporter: Reporter, *, thorough: bool) -> bool:
    """Remove leftovers of killed processes, and quarantine damaged and foreign databases.

    Returns:
        Whether edits may have been lost with the queue's database.
    """
    queue_dir = os.path.join(data_dir, QUEUE_DIR)
    for folder in (data_dir, queue_dir, os.path.join(queue_dir, SPOOL)):
        remove_leftovers(folder)
    trim_hook_times(data_dir)
    remove_stale(data_dir)
    queue_file, is_queue_damaged = os.path.join(QUEUE_DIR, QUEUE_DATABASE), False
    for name in (queue_file, DLQ_DATABASE, INDEX_FILE, HISTORY_FILE, OLD_HISTORY):
        moved = check_database(os.path.join(data_dir, name), thorough=thorough)
        if moved:
            text = f"The database {name} was damaged; it is now {moved}, and a new one is begun"
            reporter.notify_user("warning", text)
            is_queue_damaged = is_queue_damaged or name == queue_file
    for name, what_is_foreign in FOREIGN.items():
        file = os.path.join(data_dir, name)
        what = what_is_foreign(file) if os.path.exists(file) else None
        if what:
            moved = rename_database(file)
            text = f"{name} is another program's ({what}); it is now {moved}; a new one is begun"
            reporter.notify_user("warning", text)
    return is_queue_damaged
