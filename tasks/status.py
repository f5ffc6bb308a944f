"""Task *Status*: show the state of queue, worker and servers from PlexSync's own files."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from typing import Any

from common.hook_times import hook_times, summarize_hook_times
from common.locks import NoLocks
from common.sqlite import connect
from common.texts import duration_in_words
from common.times import is_time
from history.counts import count_needs, failed_jobs
from history.outages import readable_outages
from page.state import event_stream, next_comparison, stored_problem
from plex.index import FileIndex, IndexDamaged
from queue.dlq import DeadLetterQueue
from queue.manager import QueueManager
from queue.operations import get_stats, load_sync_timestamps
from tasks.context import Context, Result
from tasks.wording import counted
from worker.alerts import PROBLEM
from worker.bootstrap import INDEX_FILE, open_history_readonly
from worker.config_provider import RULE_PROBLEMS
from worker.logfile import FILE as LOG_FILE
from worker.outages import OUTAGES, PLEX, SETUP, STASH
from worker.paused import paused
from worker.process import (
    SILENT_AFTER,
    WorkerLock,
    is_wanted,
    probe_lock,
    worker_alive,
    worker_pid,
)
from worker.reconcile.approval import (
    HELD,
    WHAT_TO_DO,
    WHAT_TO_DO_VISIBLE,
    describe,
    describe_visible,
)
from worker.reconcile.passes import COMPARE_AT, FULL_ENDED
from worker.reconcile.quick import RAN_AT
from worker.state import load_state

#: Outages that are shown; all of them are in the data.
_OUTAGES_SHOWN = 5
#: Cause of an outage: how it is shown to a user.
_OUTAGE_WORDS = {
    PLEX: "Plex was not reachable",
    STASH: "Stash was not reachable",
    SETUP: "Plex rejected the token, or a setting was wrong,",
}


def status(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Show the state of PlexSync.

    Raises:
        OSError, sqlite3.Error: A file is not readable.
    """
    data, state = collect(context), load_state(context.data_dir)
    worker, hooks = data["worker"], data["hook_ms"]
    paused_at = (data["paused"] or {}).get("since", "damaged")
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
            [f"Paused since {_when(paused_at)}: nothing is written to Plex until pause off"]
            if data["paused"]
            else []
        ),
        *[f"Left out: {count}: {reason}" for reason, count in data["left_out"].items()],
        *(
            [f"Waiting for your yes: {describe_visible(data['visible'])}. {WHAT_TO_DO_VISIBLE}"]
            if data["visible"]
            else []
        ),
        *[f"Not in Plex: {count} in {folder}" for folder, count in data["folders"].items()],
        *([f"Waiting for your approval: {data['held']}. {WHAT_TO_DO}"] if data["held"] else []),
        f"Dead letters: {counted(data['failed']) or 'none'}",
        f"Compared with Stash and Plex: {_when(data['quick_pass_at'])} (recent changes),"
        f" {_when(data['full_pass_at'])} (all scenes)",
        f"Next comparison of all scenes: {data['next_full'] or 'when the worker runs'}",
        f"Worker: {_worker(worker)}",
        f"Plex: {_server(state.get('plex'), worker['alive'])}",
        f"Stash: {_server(state.get('stash'), worker['alive'])}",
        f"Plex's events: {_events(data['events'])}",
        f"Problem: {data['problem'] or 'none'}",
        *(f"Rule: {problem}" for problem in data["rule_problems"]),
        *_outages(data["outages"][-_OUTAGES_SHOWN:]),
        *(
            [f"The webhook can't be reached: {data['webhook_problem']['text']}"]
            if data["webhook_problem"]
            else []
        ),
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
    if data["rule_problems"]:
        text = f"{text}. A rule is wrong: {data['rule_problems'][0]}"
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
        held = history.get(HELD, {}).get("reasons")
        webhook = history.get(PROBLEM, {})
        compared = {
            "scenes": scenes,
            "needing_you": count_needs(history.needing(), jobs),
            "kept": history.count_kept(),
            "fields_held": history.count_held(),
            "paused": paused(history),
            "folders": history.count_folders(),
            "held": describe(held) if held else None,
            "left_out": history.count_skipped(),
            "visible": history.count_asking(),
            "quick_pass_at": history.get(RAN_AT),
            "full_pass_at": history.get(FULL_ENDED),
            **_next_full(history.get(COMPARE_AT)),
            "rule_problems": history.get(RULE_PROBLEMS, []),
            "outages": readable_outages(history.get(OUTAGES)),
            "webhook_problem": webhook if "text" in webhook else None,
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
            "wanted": is_wanted(data_dir),
            "possible": no_locks is None,
            "since": state.get("since") if alive else None,
            "left_at": None if alive else state.get("left_at"),
            "left_because": None if alive else state.get("left_because"),
        },
        "plex": state.get("plex", "closed"),
        "stash": state.get("stash", "closed"),
        "events": event_stream(state, alive),
        "problem": no_locks or stored_problem(state, alive),
        "last_synced_at": max(synced.values(), default=None),
        "synced": len(synced),
        "index": _index(data_dir),
        "hook_ms": summarize_hook_times(hook_times(data_dir)),
        "log": os.path.join(data_dir, LOG_FILE),
    }


def _next_full(clock: str | None) -> dict[str, Any]:
    """Return when the next daily comparison is, in epoch seconds and in words."""
    found = next_comparison(clock, time.time()) or {"at": None, "text": None}
    return {"next_full_at": found["at"], "next_full": found["text"]}


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
        with suppress(IndexDamaged):
            return {"files": index.count(), "listed_at": index.listed_at()}
        return {"files": 0, "listed_at": None}


def _retrying(data: Mapping[str, Any]) -> str:
    if not data["retrying"]:
        return ""
    seconds = max(0, data["next_retry_at"] - time.time())
    return f" ({data['retrying']} for a retry, the next in {seconds:.0f} s)"


def _worker(worker: Mapping[str, Any]) -> str:
    if worker["silent"]:
        return f"makes no progress (end process {worker['pid']}; the next save starts another)"
    if worker["alive"]:
        since = f", awake since {_when(worker['since'])}" if worker["since"] else ""
        return f"running (process {worker['pid']}{since})"
    if not worker["possible"]:
        return "can't run here, see Problem"
    why = f" ({worker['left_because']})" if worker["left_because"] else ""
    asleep = f"asleep since {_when(worker['left_at'])}{why}" if worker["left_at"] else "not running"
    if worker["wanted"]:
        return f"{asleep}; one is started now"
    return f"{asleep}; the next save or task starts one"


def _server(breaker: object, alive: bool) -> str:
    """Return the state of a server's circuit breaker in words."""
    if breaker is None:
        return "not tried yet"
    words = "reachable" if breaker == "closed" else "not reachable"
    if not alive:
        return f"{words} when the worker last ran"
    return words if breaker == "closed" else f"{words}, next attempt within a minute"


def _events(stream: Mapping[str, Any] | None) -> str:
    """Return in words whether the worker hears Plex's events."""
    if stream is None:
        return "not followed now"
    if stream["connected"]:
        return f"followed since {_when(stream['since'])}"
    return (
        f"not followed since {_when(stream['since'])} ({stream['problem']}); changes in Plex are"
        " found by the next look"
    )


def _when(moment: object) -> str:
    """Return a time in words; one that is damaged is not known."""
    if not moment:
        return "never"
    if not is_time(moment):
        return "unknown"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _outages(outages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each outage, the latest first; see `worker.outages`."""
    return [_outage(one) for one in reversed(outages)]


def _outage(one: Mapping[str, Any]) -> str:
    what = _OUTAGE_WORDS.get(one["cause"], one["cause"])
    if one["until"] is None:
        return f"{what} since {_moment(one['since'])}"
    line = f"{what} from {_moment(one['since'])} to {_moment(one['until'])}"
    line += f" ({duration_in_words(one['seconds'])})"
    if not one["waiting"]:
        return f"{line}; no edit waited"
    waited = "one edit" if one["waiting"] == 1 else f"{one['waiting']} edits"
    after = one["caught_up_after"]
    done = "not all done yet" if after is None else f"done {duration_in_words(after)} later"
    return f"{line}; {waited} waited, {done}"


def _moment(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))
