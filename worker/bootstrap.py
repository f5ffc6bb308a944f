"""Puts a worker together for a data directory: queue, dead letters, index, memory, Stash, settings.

The one place that knows all the parts. Only the holder of the worker's lock may open it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial

# Before plexapi is imported: the user's own configuration of it is not about us.
os.environ["PLEXAPI_CONFIG_PATH"] = os.devnull

from common.files import remove_leftovers
from common.redaction import Redactor
from common.sqlite import IN_MEMORY, connect
from hooks.times import trim_hook_times
from plex.history import WriteHistory
from plex.index import FileIndex
from plex.matcher import find_plex_items_with_confidence
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
from worker.logfile import close_log, open_log
from worker.plex_side import PlexSide
from worker.process import WorkerLock
from worker.processor import SyncWorker
from worker.reporter import NullReporter, Reporter
from worker.scene_sync import SceneSync
from worker.settings import ShownDefaults, load_config
from worker.state import save_state
from worker.timing import Clock, Timing, timing_from

INDEX_FILE = "index.db"
HISTORY_FILE = "memory.db"

log = logging.getLogger("plexsync")


@contextmanager
def open_worker(
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
    timing = timing_from(environ, idle_timeout)
    redactor = Redactor()
    redactor.add(environ.get("PLEX_TOKEN"))
    handler = open_log(data_dir, redactor)
    try:
        for folder in (
            data_dir,
            os.path.join(data_dir, QUEUE_DIR),
            os.path.join(data_dir, QUEUE_DIR, SPOOL),
        ):
            remove_leftovers(folder)
        trim_hook_times(data_dir)
        for name in (
            os.path.join(QUEUE_DIR, QUEUE_DATABASE),
            DLQ_DATABASE,
            INDEX_FILE,
            HISTORY_FILE,
        ):
            aside = check_database(os.path.join(data_dir, name))
            if aside:
                log.error(
                    "The database %s was damaged; it is now %s, and a new one begun", name, aside
                )
        manager = QueueManager(data_dir, auto_resume=True)
        dlq = DeadLetterQueue(data_dir, redact=redactor.redact)
        index = connect(os.path.join(data_dir, INDEX_FILE), any_thread=True)
        memory = connect(os.path.join(data_dir, HISTORY_FILE), any_thread=True)
        stash = StashClient(
            lambda: load_connection(data_dir),
            learn_secret=redactor.add,
            learn_cookie=redactor.add_passing,
        )
        defaults = ShownDefaults(stash)
        reporter = Reporter(data_dir, redact=redactor.redact, tell=tell)
        worker = SyncWorker(
            manager.get_queue(),
            dlq,
            None,
            data_dir,
            stash=stash,
            load_config=lambda: load_config(
                stash, lambda: load_connection(data_dir), environ, redactor.add, defaults.show
            ),
            index=FileIndex(index),
            memory=WriteHistory(memory),
            catch_up=CatchUp(data_dir, stash, manager.get_queue(), now=time.time),
            reporter=reporter,
            heartbeat=lock.beat,
            publish=partial(save_state, data_dir),
            timing=timing,
        )
        try:
            yield worker
        finally:
            worker.stop()
            manager.shutdown()
            dlq.close()
            index.close()
            memory.close()
    finally:
        close_log(handler)


@contextmanager
def open_readonly(
    data_dir: str, config: PlexSyncConfig, stash: StashClient
) -> Iterator[tuple[PlexSide, SceneSync]]:
    """Yield what finds scenes in Plex as the worker does, for whoever only wants to know; it writes nothing.

    A worker may be at work meanwhile. The index of Plex's files is shared with it; its memory is a copy.

    Raises:
        OSError, sqlite3.Error: a file in the data directory can't be used.
    """
    config = config.model_copy(update={"trigger_plex_scan": False})
    reporter, timing = NullReporter(), Timing()
    with (
        closing(connect(os.path.join(data_dir, INDEX_FILE))) as index,
        closing(connect(os.path.join(data_dir, HISTORY_FILE))) as stored,
        closing(connect(IN_MEMORY)) as memory,
    ):
        stored.backup(memory)
        plex = PlexSide(
            lambda: config, FileIndex(index), reporter=reporter, clock=Clock(), timing=timing
        )
        try:
            yield (
                plex,
                SceneSync(
                    lambda: config,
                    plex,
                    WriteHistory(memory),
                    stash,
                    find=find_plex_items_with_confidence,
                    reporter=reporter,
                    name_fresh=timing.index_fresh,
                ),
            )
        finally:
            plex.close()
