"""*Status*: how things are, without asking anybody but our own files."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import closing
from statistics import median, quantiles
from typing import Any

from common.hook_times import hook_times
from common.sqlite import connect
from plex.index import FileIndex
from queue.dlq import DeadLetterQueue
from queue.manager import QueueManager
from queue.operations import get_stats, load_sync_timestamps
from tasks.context import Context, Result
from worker.bootstrap import INDEX_FILE
from worker.logfile import FILE as LOG_FILE
from worker.process import SILENT_AFTER, WorkerLock, worker_alive, worker_pid
from worker.state import load_state


def status(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Say how things are.

    Raises:
        OSError, sqlite3.Error: a file can't be read.
    """
    data = collect(context)
    worker, hooks = data["worker"], data["hook_ms"]
    lines = [
        f"Queue: {data['waiting']} waiting, {data['in_progress']} in progress, {_retrying(data)}",
        f"Failed: {_counted(data['failed'])}",
        f"Worker: {_worker(worker)}",
        f"Plex: circuit breaker {data['plex']}; Stash: circuit breaker {data['stash']}",
        f"Problem: {data['problem'] or 'none'}",
        f"Last sync: {_ago(data['last_synced_at'])}; {data['synced']} scenes synced so far",
        f"Index: {data['index']['files']} files of Plex, last listed {_ago(data['index']['listed_at'])}",
        f"Hooks: median {hooks['median']:.0f} ms, 95th percentile {hooks['p95']:.0f} ms, of the last {hooks['count']}"
        if hooks
        else "Hooks: none yet",
        f"Log: {data['log']}",
    ]
    ok = data["problem"] is None and not worker["silent"]
    text = f"Status: {data['waiting']} waiting, {sum(data['failed'].values())} failed, worker {_worker(worker)}"
    return Result(f"{text}. {data['problem']}" if data["problem"] else text, data, lines, ok=ok)


def collect(context: Context) -> dict[str, Any]:
    """Return all that *Status* shows, in JSON's types; times in epoch seconds.

    Raises:
        OSError, sqlite3.Error: a file can't be read.
    """
    data_dir = context.data_dir
    stats, synced, state = get_stats(data_dir), load_sync_timestamps(data_dir), load_state(data_dir)
    retrying, next_retry_at = _later(data_dir)
    with closing(DeadLetterQueue(data_dir, redact=context.redactor.redact)) as dlq:
        failed = dlq.count_by_error()
    alive = worker_alive(data_dir)
    return {
        "waiting": stats["pending"],
        "in_progress": stats["in_progress"],
        "retrying": retrying,
        "next_retry_at": next_retry_at,
        "failed": failed,
        "worker": {
            "alive": alive,
            "pid": worker_pid(data_dir) if alive else None,
            "silent": alive and WorkerLock(data_dir).silent_for() > SILENT_AFTER,
        },
        "plex": state.get("plex", "closed"),
        "stash": state.get("stash", "closed"),
        "problem": _problem(state, alive),
        "last_synced_at": max(synced.values(), default=None),
        "synced": len(synced),
        "index": _index(data_dir),
        "hook_ms": _hooks(hook_times(data_dir)),
        "log": os.path.join(data_dir, LOG_FILE),
    }


def _problem(state: Mapping[str, Any], alive: bool) -> str | None:
    problem = state.get("problem")
    return problem if alive or not problem else f"when the worker last looked: {problem}"


def _later(data_dir: str) -> tuple[int, float | None]:
    with QueueManager(data_dir) as queue:
        return queue.count_delayed(time.time())


def _index(data_dir: str) -> dict[str, Any]:
    with closing(connect(os.path.join(data_dir, INDEX_FILE))) as connection:
        index = FileIndex(connection)
        return {"files": index.count(), "listed_at": index.listed_at()}


def _hooks(times: list[float]) -> dict[str, Any]:
    if not times:
        return {}
    p95 = quantiles(times, n=20)[-1] if len(times) > 1 else times[0]
    return {"count": len(times), "median": median(times), "p95": p95, "worst": max(times)}


def _retrying(data: Mapping[str, Any]) -> str:
    if not data["retrying"]:
        return "none to be tried again later"
    seconds = max(0, data["next_retry_at"] - time.time())
    return f"{data['retrying']} of them to be tried again, the next in {seconds:.0f} s"


def _counted(failed: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {error}" for error, count in failed.items()) or "none"


def _worker(worker: Mapping[str, Any]) -> str:
    if worker["silent"]:
        return f"makes no progress (process {worker['pid']})"
    return (
        f"alive (process {worker['pid']})"
        if worker["alive"]
        else "not running; the next save or task starts one"
    )


def _ago(moment: float | None) -> str:
    return (
        "never" if not moment else f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(moment))}"
    )
