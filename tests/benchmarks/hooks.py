"""Shared by the hook benchmarks: input, data directories in every state, and a running worker."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import common.layout as layout
from queue.ack_queue import JobQueue
from queue.dlq import DeadLetterQueue
from queue.inbox import DATABASE, QUEUE_DIR, Inbox
from queue.models import create_sync_job
from tests.benchmarks.measure import ENTRY, Case
from tests.harness.processes import stop_workers
from tests.isolation import closed_port
from worker.process import WorkerLock

SCENE = 7
STAMPS = "sync_timestamps.json"
_DONE = 5  # persist-queue's state
#: The first scene id of a backlog, above the hook's own scene.
_OTHERS = 1_000
#: A hook's stdin for an edit of a scene's title.
_EVENT: dict[str, Any] = {
    "server_connection": {
        "Scheme": "http",
        "Host": "0.0.0.0",
        "Port": closed_port(),
        "SessionCookie": {"Name": "session", "Value": "benchmark-session-cookie"},
        # No Stash is there. Without PluginDir, the hook leaves no note in this repository.
        "Dir": os.path.join(tempfile.gettempdir(), "plexsync-benchmark-without-stash"),
    },
    "args": {
        "hookContext": {
            "id": SCENE,
            "type": "Scene.Update.Post",
            "input": {
                "clientMutationId": None,
                "id": str(SCENE),
                "title": "A title",
                "details": None,
                "tag_ids": None,
            },
            "inputFields": ["id", "title"],
        }
    },
}


def event(**fields: object) -> bytes:
    """Return a hook's stdin, with extra input fields."""
    content = json.loads(json.dumps(_EVENT))
    content["args"]["hookContext"]["input"].update(fields)
    return json.dumps(content).encode()


def hook_case(name: str, data_dir: str, stdin: bytes | None = None) -> Case:
    """Return the hook's command as Stash runs it."""
    return Case(name, [sys.executable, str(ENTRY)], stdin or event(), environ(data_dir))


def environ(data_dir: str) -> dict[str, str]:
    """Return the hook's environment."""
    return {**os.environ, "STASH_PLUGIN_DATA": data_dir}


def make_data_dir(folder: str, name: str) -> str:
    """Create a data directory with an empty queue, as a worker leaves it.

    Before a worker has recorded the layout, hooks spool.
    """
    data_dir = os.path.join(folder, name)
    os.makedirs(data_dir)
    layout.record(data_dir, layout.VERSION, "by a benchmark")
    Inbox(data_dir).close()
    JobQueue(os.path.join(data_dir, QUEUE_DIR)).close()
    return data_dir


def add_waiting(data_dir: str, count: int) -> None:
    """Queue jobs of other scenes."""
    with queue_database(data_dir) as connection:
        connection.executemany(
            "INSERT INTO ack_queue_default (data, timestamp, status) VALUES (?, 0, 0)",
            ((json.dumps(create_sync_job(_OTHERS + number, "metadata", {"title": "x"})).encode(),)
             for number in range(count)),
        )  # fmt: skip


def add_seen(data_dir: str, count: int) -> None:
    """Add finished jobs to the queue, and compact it as the worker does."""
    with queue_database(data_dir) as connection:
        connection.executemany(
            f"INSERT INTO ack_queue_default (data, timestamp, status) VALUES (?, 0, {_DONE})",
            ((_job(_OTHERS + number % 50_000),) for number in range(count)),
        )
    queue = JobQueue(os.path.join(data_dir, QUEUE_DIR))
    queue.compact()
    queue.close()


def _job(scene_id: int) -> bytes:
    return json.dumps(create_sync_job(scene_id, "metadata", {"title": "x"})).encode()


def add_timestamps(data_dir: str, count: int) -> None:
    """Add old sync timestamps for other scenes and the hook's own."""
    stamp_scenes(data_dir, [SCENE, *range(_OTHERS, _OTHERS + count)])


def stamp_scenes(data_dir: str, scene_ids: Iterable[int], moment: float = 1_700_000_000.5) -> None:
    """Write the sync timestamps of these scenes."""
    stamps = {str(scene_id): moment for scene_id in scene_ids}
    Path(data_dir, STAMPS).write_text(json.dumps(stamps), encoding="utf-8")


def add_dead_letters(data_dir: str, count: int) -> None:
    """Add dead letters of other scenes."""
    DeadLetterQueue(data_dir).close()
    connection = sqlite3.connect(os.path.join(data_dir, "dlq.db"))
    with connection:
        connection.executemany(
            "INSERT INTO dead_letters (scene_id, job, error_type, error_message, stack_trace,"
            " retry_count, failed_at)"
            " VALUES (?, ?, 'PermanentError', 'it is so', 'a line\n', 5, ?)",
            ((number, json.dumps(create_sync_job(number, "metadata", {})), time.time())
             for number in range(_OTHERS, _OTHERS + count)),
        )  # fmt: skip
    connection.close()


@contextmanager
def worker_held(data_dir: str) -> Iterator[None]:
    """Hold the worker's lock: a hook sees no more of a running worker."""
    lock = WorkerLock(data_dir)
    assert lock.acquire()
    try:
        yield
    finally:
        lock.release()


def end_worker(data_dir: str) -> None:
    """Kill the worker that a hook has just started."""
    stop_workers(data_dir)
    Path(data_dir, "worker.lock").write_text("", encoding="ascii")


@contextmanager
def queue_database(data_dir: str) -> Iterator[sqlite3.Connection]:
    """Open the queue's database directly; commit when the block ends."""
    connection = sqlite3.connect(os.path.join(data_dir, QUEUE_DIR, DATABASE))
    try:
        with connection:
            yield connection
    finally:
        connection.close()
