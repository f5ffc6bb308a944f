"""What the hook's measurements share: its input, data directories in every state, and a worker that is alive."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from queue.ack_queue import JobQueue
from queue.dlq import DeadLetterQueue
from queue.inbox import DATABASE, QUEUE_DIR, Inbox
from queue.models import create_sync_job
from tests.benchmarks.measure import ENTRY, ROOT, Case
from tests.harness.processes import stop_workers
from tests.isolation import closed_port
from worker.process import WorkerLock

SCENE = 7
STAMPS = "sync_timestamps.json"
_DONE = 5  # persist-queue's state
#: The first scene id of a backlog: none of it is the hook's own scene.
_OTHERS = 1_000
#: What a scene's title edit looks like on a hook's stdin.
_EVENT: dict[str, Any] = {
    "server_connection": {
        "Scheme": "http",
        "Host": "0.0.0.0",
        "Port": closed_port(),
        "SessionCookie": {"Name": "session", "Value": "benchmark-session-cookie"},
        "Dir": "/root/.stash",
        "PluginDir": str(ROOT),
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
    """Return a hook's stdin, with more fields in its scene's input."""
    content = json.loads(json.dumps(_EVENT))
    content["args"]["hookContext"]["input"].update(fields)
    return json.dumps(content).encode()


def hook_case(name: str, data_dir: str, stdin: bytes | None = None) -> Case:
    """The hook as Stash runs it."""
    return Case(name, [sys.executable, str(ENTRY)], stdin or event(), environ(data_dir))


def environ(data_dir: str) -> dict[str, str]:
    """The hook's environment."""
    return {**os.environ, "STASH_PLUGIN_DATA": data_dir}


def make_data_dir(folder: str, name: str) -> str:
    """Make a data directory with an empty queue."""
    data_dir = os.path.join(folder, name)
    os.makedirs(data_dir)
    Inbox(data_dir).close()
    JobQueue(os.path.join(data_dir, QUEUE_DIR)).close()
    return data_dir


def add_waiting(data_dir: str, count: int) -> None:
    """Let jobs of other scenes wait."""
    with queue_database(data_dir) as connection:
        connection.executemany(
            "INSERT INTO ack_queue_default (data, timestamp, status) VALUES (?, 0, 0)",
            ((json.dumps(create_sync_job(_OTHERS + number, "metadata", {"title": "x"})).encode(),)
             for number in range(count)),
        )  # fmt: skip


def add_seen(data_dir: str, count: int) -> None:
    """Let the queue have seen jobs, and clean up after them as the worker does."""
    with queue_database(data_dir) as connection:
        connection.executemany(
            f"INSERT INTO ack_queue_default (data, timestamp, status) VALUES (?, 0, {_DONE})",
            ((json.dumps(create_sync_job(_OTHERS + number % 50_000, "metadata", {"title": "x"})).encode(),)
             for number in range(count)),
        )  # fmt: skip
    queue = JobQueue(os.path.join(data_dir, QUEUE_DIR))
    queue.compact()
    queue.close()


def add_timestamps(data_dir: str, count: int) -> None:
    """Let other scenes, and the hook's own, have been synced long ago."""
    stamp_scenes(data_dir, [SCENE, *range(_OTHERS, _OTHERS + count)])


def stamp_scenes(data_dir: str, scene_ids: Iterable[int], moment: float = 1_700_000_000.5) -> None:
    """Let scenes have been synced at that moment."""
    stamps = {str(scene_id): moment for scene_id in scene_ids}
    Path(data_dir, STAMPS).write_text(json.dumps(stamps), encoding="utf-8")


def add_dead_letters(data_dir: str, count: int) -> None:
    """Let other scenes have failed."""
    DeadLetterQueue(data_dir).close()
    connection = sqlite3.connect(os.path.join(data_dir, "dlq.db"))
    with connection:
        connection.executemany(
            "INSERT INTO dead_letters (scene_id, job, error_type, error_message, stack_trace, retry_count, failed_at)"
            " VALUES (?, ?, 'PermanentError', 'it is so', 'a line\n', 5, ?)",
            ((number, json.dumps(create_sync_job(number, "metadata", {})), time.time())
             for number in range(_OTHERS, _OTHERS + count)),
        )  # fmt: skip
    connection.close()


@contextmanager
def worker_held(data_dir: str) -> Iterator[None]:
    """Be the worker that is alive: all that a hook sees of one is its lock."""
    lock = WorkerLock(data_dir)
    assert lock.acquire()
    try:
        yield
    finally:
        lock.release()


def end_worker(data_dir: str) -> None:
    """End the worker that a hook has just started."""
    stop_workers(data_dir)
    Path(data_dir, "worker.lock").write_text("", encoding="ascii")


@contextmanager
def queue_database(data_dir: str) -> Iterator[sqlite3.Connection]:
    """The queue's database, opened past the queue; committed when the block ends."""
    connection = sqlite3.connect(os.path.join(data_dir, QUEUE_DIR, DATABASE))
    try:
        with connection:
            yield connection
    finally:
        connection.close()
