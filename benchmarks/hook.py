"""The hook as Stash runs it: against Python's own start, against the bare floor, and with a large backlog."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measure import Case, run_in_turn
from queue.inbox import Inbox
from queue.models import create_sync_job
from worker.process import WorkerLock, worker_alive, worker_pid

ROOT = Path(__file__).resolve().parent.parent
BACKLOG = 100_000
#: What a scene's title edit looks like on a hook's stdin.
EVENT = {
    "server_connection": {
        "Scheme": "http",
        "Host": "0.0.0.0",
        "Port": 9999,
        "SessionCookie": {"Name": "session", "Value": "benchmark-session-cookie"},
        "Dir": "/root/.stash",
        "PluginDir": str(ROOT),
    },
    "args": {
        "hookContext": {
            "id": 7,
            "type": "Scene.Update.Post",
            "input": {"clientMutationId": None, "id": "7", "title": "A new title", "details": None, "tag_ids": None},
            "inputFields": ["id", "title"],
        }
    },
}


def hook_benchmark(rounds: int) -> dict[str, Any]:
    """Measure the hook; return its figures.

    Args:
        rounds: runs of each case.
    """
    with tempfile.TemporaryDirectory() as folder, _held(_data(folder, "alive")), _held(_filled(folder)):
        start = _data(folder, "start")
        cases = [
            Case("python -c pass", [sys.executable, "-c", "pass"]),
            Case("floor", [sys.executable, str(ROOT / "benchmarks/floor.py"), f"{folder}/floor.db"], _stdin()),
            _hook("hook, worker alive", _data(folder, "alive")),
            _hook("hook, 100,000 waiting", _data(folder, "filled")),
            _hook("hook, starts a worker", start),
        ]
        cases[-1].after = lambda: _end_worker(start)
        run_in_turn(cases, rounds)
    passing, floor, alive, filled, starting = cases
    return {
        "milliseconds": {
            case.name: {
                "median": round(case.median * 1000, 1),
                "p95": round(case.percentile(0.95) * 1000, 1),
                "p99": round(case.percentile(0.99) * 1000, 1),
            }
            for case in cases
        },
        "ratios": {
            "floor / python -c pass": round(floor.ratio_to(passing), 2),
            "hook, worker alive / floor (at most 2)": round(alive.ratio_to(floor), 2),
            "hook, starts a worker / floor": round(starting.ratio_to(floor), 2),
            "hook, 100,000 waiting / none (at most 1.2)": round(filled.ratio_to(alive), 2),
        },
        "rounds": rounds,
    }


def _hook(name: str, data_dir: str) -> Case:
    environ = {**os.environ, "STASH_PLUGIN_DATA": data_dir}
    return Case(name, [sys.executable, str(ROOT / "PlexSync.py")], _stdin(), environ)


def _stdin() -> bytes:
    return json.dumps(EVENT).encode()


def _data(folder: str, name: str) -> str:
    path = os.path.join(folder, name)
    os.makedirs(path, exist_ok=True)
    return path


def _filled(folder: str) -> str:
    """Make a data directory with a large backlog of jobs and timestamps."""
    data_dir = _data(folder, "filled")
    Inbox(data_dir).close()
    with sqlite3.connect(os.path.join(data_dir, "queue", "data.db")) as connection:
        connection.executemany(
            "INSERT INTO ack_queue_default (data, timestamp, status) VALUES (?, ?, 0)",
            (
                (json.dumps(create_sync_job(1000 + number, "metadata", {"title": "x"})).encode(), 0.0)
                for number in range(BACKLOG)
            ),
        )
    connection.close()
    stamps = {str(1000 + number): 1_700_000_000.5 for number in range(BACKLOG)}
    Path(data_dir, "sync_timestamps.json").write_text(json.dumps(stamps), encoding="utf-8")
    return data_dir


@contextmanager
def _held(data_dir: str) -> Iterator[None]:
    """Be the worker that is alive: all that a hook sees of one is its lock."""
    lock = WorkerLock(data_dir)
    assert lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _end_worker(data_dir: str) -> None:
    """End the worker that a hook has just started."""
    deadline = time.monotonic() + 30
    while worker_alive(data_dir) and time.monotonic() < deadline:
        pid = worker_pid(data_dir)
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
        time.sleep(0.02)
    Path(data_dir, "worker.lock").write_text("", encoding="ascii")
