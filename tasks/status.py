"""Task *Status*: show the state of queue, worker and servers from PlexSync's own files."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from common.hook_times import hook_times, summarize_hook_times
from common.locks import NoLocks
from common.sqlite import connect
from page.state import count_needs, failed_jobs, stored_problem
from plex.index import FileIndex
from queue.dlq import DeadLetterQueue
from queue.manager import QueueManager
from queue.operations import get_stats, load_sync_timestamps
from tasks.context import Context, Result
from tasks.wording import counted
from worker.bootstrap import INDEX_FILE, open_history_readonly
from worker.logfile import FILE as LOG_FILE
from worker.paused import paused
from worker.process import (
    SILENT_AFTER,
    WorkerLock,
    is_unfinished,
    probe_lock,
    worker_alive,
    worker_pid,
)
from worker.reconcile.approval import HELD, WHAT_TO_DO, describe
from worker.reconcile.passes import FULL_ENDED
from worker.reconcile.quick import RAN_AT
from worker.state import load_state


def status(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Show the state of PlexSync.

    Raises:
        OSError, sqlite3.Error: A file is not readable.
    """
    data, state = collect(context), load_state(context.data_dir)
    worker, hooks = data["worker"], data["hook_ms"]
    lines = [
        f"Queue: {data['waiting']} waiting{_retrying(data)}, {data['in_progress']} in progress",
        f"Scenes: {counted(data['scenes']) or 'none known yet'}",
        f"Needing you: {data['needing_you'] or 'none'}"
        + (" (Show failed and ambiguous lists them)" if data["needing_you"] else ""),
        f"Kept as changed in Plex: {data['kept']}",
        *(
            [f"Held, as you said: fields of {data['fields_held']} scenes"]
            if data["fields_held"]
            else []
        ),
        *(
            [
                f"Paused since {_when(data['paused']['since'])}: nothing is written to Plex"
                " until pause off"
            ]
            if data["paused"]
            else []
        ),
        *[f"Not in Plex: {count} in {folder}" for folder, count in data["folders"].items()],
        *([f"Waiting for your approval: {data['held']}. {WHAT_TO_DO}"] if data["held"] else []),
        f"Dead letters: {counted(data['failed']) or 'none'}",
        f"Compared with Stash and Plex: {_when(data['quick_pass_at'])} (recent changes),"
        f" {_when(data['full_pass_at'])} (all scenes)",
        f"Worker: {_worker(worker)}",
        f"Plex: {_server(state.get('plex'), worker['alive'])}",
        f"Stash: {_server(state.get('stash'), worker['alive'])}",
        f"Problem: {data['problem'] or 'none'}",
        f"Last sync: {_when(data['last_synced_at'])}; {data['synced']} scenes synced so far",
        f"Plex files: {data['index']['files']}, listed {_when(data['index']['listed_at'])}",
        f"Delay of a save: median {hooks['median']:.0f} ms, 95th percentile {hooks['p95']:.0f} ms"
        f" (last {hooks['count']} saves)"
        if hooks
        else "Delay of a save: no saves yet",
        f"Log: {data['log']}",
    ]
    ok = data["problem"] is None and not worker["silent"]
    need = f"{data['needing_you']} scenes need you"
    text = f"Status: {data['waiting']} waiting, {need}, worker {_worker(worker)}"
    if data["paused"]:
        text = f"{text}. Paused: nothing is written to Plex"
    return Result(f"{text}. {data['problem']}" if data["problem"] else text, data, lines, ok=ok)


def collect(context: Context) -> dict[str, Any]:
    """Return everything that *Status* shows as JSON types; times are epoch seconds.

    Raises:
        OSError, sqlite3.Error: A file is not readable.
    """
    data_dir = context.data_dir
    stats, synced, state = get_stats(data_dir), load_sync_timestamps(data_dir), load_state(data_dir)
    retrying, next_retry_at = _later(data_dir)
    with closing(DeadLetterQueue(data_dir, redact=context.redactor.redact)) as dlq:
        failed = dlq.count_by_error()
        jobs = dlq.ask(failed_jobs)
    alive, no_locks = _alive(data_dir)
    with open_history_readonly(data_dir) as history:
        scenes = {status.value: count for status, count in history.count().items()}
        held = history.get(HELD)
        compared = {
            "scenes": scenes,
            "needing_you": count_needs(history.needing(), jobs),
            "kept": history.count_kept(),
            "fields_held": history.count_held(),
            "paused": paused(history),
            "folders": history.count_folders(),
            "held": describe(held["reasons"]) if held else None,
            "quick_pass_at": history.get(RAN_AT),
            "full_pass_at": history.get(FULL_ENDED),
        }
    return {
        **compared,
        "waiting": stats["pending"],
        "in_progress": stats["in_progress"],
        "retrying": retrying,
        "next_retry_at": next_retry_at,
        "failed": failed,
        "worker": {
            "alive": alive,
            "pid": worker_pid(data_dir) if alive else None,
            "silent": alive and WorkerLock(data_dir).silent_for() > SILENT_AFTER,
            "wanted": is_unfinished(data_dir),
            "possible": no_locks is None,
        },
        "plex": state.get("plex", "closed"),
        "stash": state.get("stash", "closed"),
        "problem": no_locks or stored_problem(state, alive),
        "last_synced_at": max(synced.values(), default=None),
        "synced": len(synced),
        "index": _index(data_dir),
        "hook_ms": summarize_hook_times(hook_times(data_dir)),
        "log": os.path.join(data_dir, LOG_FILE),
    }


def _alive(data_dir: str) -> tuple[bool, str | None]:
    """Return whether a worker is alive, and why none can be, or None."""
    try:
        probe_lock(data_dir)
        return worker_alive(data_dir), None
    except NoLocks as error:
        return False, str(error)


def _later(data_dir: str) -> tuple[int, float | None]:
    with QueueManager(data_dir) as queue:
        return queue.count_delayed(time.time())


def _index(data_dir: str) -> dict[str, Any]:
    with closing(connect(os.path.join(data_dir, INDEX_FILE))) as connection:
        index = FileIndex(connection)
        return {"files": index.count(), "listed_at": index.listed_at()}


def _retrying(data: Mapping[str, Any]) -> str:
    if not data["retrying"]:
        return ""
    seconds = max(0, data["next_retry_at"] - time.time())
    return f" ({data['retrying']} for a retry, the next in {seconds:.0f} s)"


def _worker(worker: Mapping[str, Any]) -> str:
    if worker["silent"]:
        return f"makes no progress (end process {worker['pid']}; the next save starts another)"
    if worker["alive"]:
        return f"running (process {worker['pid']})"
    if not worker["possible"]:
        return "can't run here, see Problem"
    if worker["wanted"]:
        return "not running; one is started now, as edits may wait"
    return "not running; the next save or task starts one"


def _server(breaker: object, alive: bool) -> str:
    """Return the state of a server's circuit breaker in words."""
    if breaker is None:
        return "not tried yet"
    words = "reachable" if breaker == "closed" else "not reachable"
    if not alive:
        return f"{words} when the worker last ran"
    return words if breaker == "closed" else f"{words}, next attempt within a minute"


def _when(moment: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment)) if moment else "never"
