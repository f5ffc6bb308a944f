"""Build the parts of a worker for a data directory, once, and hand them over whole.

The one place that knows all the parts.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace

from common.env import Env, Timing, timing_from
from common.files import remove_leftovers
from common.hook_times import trim_hook_times
from common.redaction import Redactor
from common.sqlite import IN_MEMORY, connect
from plex.history import WriteHistory
from plex.index import FileIndex
from plex.session import PlexSession
from queue.dlq import DATABASE as DLQ_DATABASE
from queue.dlq import DeadLetterQueue
from queue.inbox import DATABASE as QUEUE_DATABASE
from queue.inbox import QUEUE_DIR
from queue.manager import QueueManager
from queue.recovery import check_database
from queue.spool import FOLDER as SPOOL
from stash.client import StashClient
from stash.connection import load_connection
from validation.config import PlexSyncConfig
from worker.catch_up import CatchUp
from worker.config_provider import StashConfigProvider
from worker.job_runner import JobRunner
from worker.logfile import close_log, open_log
from worker.process import WorkerLock
from worker.processor import SyncWorker
from worker.reporter import NullReporter, Reporter

INDEX_FILE = "index.db"
HISTORY_FILE = "memory.db"

log = logging.getLogger("plexsync")


@contextmanager
def build_worker(
    data_dir: str,
    lock: WorkerLock,
    *,
    environ: Mapping[str, str] = os.environ,
    idle_timeout: float | None = None,
    tell: Callable[[str, str], object] | None = None,
) -> Iterator[SyncWorker]:
    """Open everything in `data_dir` and yield a worker on it that was not started.

    Args:
        lock: held by the caller: jobs in progress are taken for a dead worker's.
        idle_timeout: seconds.
        tell: where (level, text) for a person goes; default: left for the next hook or task.

    Raises:
        ValueError: a PLEXSYNC_ variable is wrong.
        OSError, sqlite3.Error: a file in the data directory can't be used.
    """
    env = Env(timing_from(environ, idle_timeout))
    redactor = Redactor()
    redactor.add(environ.get("PLEX_TOKEN"))
    with ExitStack() as stack:
        stack.callback(close_log, open_log(data_dir, redactor))
        _clean_up(data_dir)
        queue = stack.enter_context(QueueManager(data_dir, auto_resume=True))
        dlq = stack.enter_context(closing(DeadLetterQueue(data_dir, redact=redactor.redact)))
        index, history = (
            stack.enter_context(closing(connect(os.path.join(data_dir, name), any_thread=True)))
            for name in (INDEX_FILE, HISTORY_FILE)
        )
        stash = open_stash(data_dir, redactor)
        worker = SyncWorker(
            queue,
            dlq,
            None,
            data_dir,
            provider=StashConfigProvider(stash, data_dir, redactor, environ=environ, env=env),
            stash=stash,
            plex=PlexSession(FileIndex(index), env),
            history=WriteHistory(history),
            catch_up=CatchUp(data_dir, stash, queue, now=env.time),
            lock=lock,
            reporter=Reporter(data_dir, redactor=redactor, tell=tell),
            env=env,
        )
        stack.callback(worker.stop)
        yield worker


@contextmanager
def open_readonly(data_dir: str, config: PlexSyncConfig, stash: StashClient) -> Iterator[JobRunner]:
    """Yield what matches scenes as the worker does, for previews; it writes nothing.

    A worker may be at work meanwhile. The index of Plex's files is shared with it; the write
    history is a copy.

    Raises:
        OSError, sqlite3.Error: a file in the data directory can't be used.
    """
    with (
        closing(connect(os.path.join(data_dir, INDEX_FILE))) as index,
        closing(connect(os.path.join(data_dir, HISTORY_FILE))) as stored,
        closing(connect(IN_MEMORY)) as history,
    ):
        stored.backup(history)
        timing = Timing()
        env = Env(replace(timing, name_fresh=timing.index_fresh))
        plex = PlexSession(FileIndex(index), env)
        plex.configure(config.model_copy(update={"trigger_plex_scan": False}))
        with closing(plex):
            yield JobRunner(plex, stash, WriteHistory(history), NullReporter())


def open_stash(data_dir: str, redactor: Redactor) -> StashClient:
    """Return a client for the Stash that the last hook or task came from."""
    return StashClient(lambda: load_connection(data_dir), redactor=redactor)


def _clean_up(data_dir: str) -> None:
    """Remove leftovers of killed processes, and quarantine damaged databases."""
    queue_dir = os.path.join(data_dir, QUEUE_DIR)
    for folder in (data_dir, queue_dir, os.path.join(queue_dir, SPOOL)):
        remove_leftovers(folder)
    trim_hook_times(data_dir)
    for name in (os.path.join(QUEUE_DIR, QUEUE_DATABASE), DLQ_DATABASE, INDEX_FILE, HISTORY_FILE):
        moved = check_database(os.path.join(data_dir, name))
        if moved:
            log.error("The database %s was damaged; it is now %s, and a new one begun", name, moved)
