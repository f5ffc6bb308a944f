"""Show, retry and clear failed scenes; clear the queue."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any, cast

from plex.matcher import describe
from queue.dlq import DeadLetterQueue
from queue.inbox import Inbox
from queue.manager import QueueManager
from queue.models import RETRY_FIELDS, SyncJob
from tasks.context import Context, Result, is_set
from tasks.foreground import drain_queue
from tasks.wording import counted, error_words

#: Dead letters shown of each type of error, also by `failed --json`.
_SHOWN = 100
#: Listed first, because only the user can resolve an ambiguous match.
_FIRST = "AmbiguousMatch"


def show_failed(context: Context, arguments: Mapping[str, Any]) -> Result:
    """List the dead letters, latest first; for ambiguous scenes, also their candidates.

    Args:
        arguments: `reason`: only this type of error.

    Raises:
        OSError, sqlite3.Error: The dead letters are not readable.
    """
    reason = _reason(arguments)
    with closing(_letters(context)) as dlq:
        counts = dlq.count_by_error()
        types = (
            sorted(counts, key=lambda error: (error != _FIRST, error))
            if reason is None
            else [reason]
        )
        shown = [letter for error in types for letter in dlq.get_recent(_SHOWN, error_type=error)]
    text = (
        f"Failed: {sum(counts.values())} ({counted(counts)}), {len(shown)} shown"
        if counts
        else "Failed: none"
    )
    return Result(
        text, {"counts": counts, "failed": [_brief(one) for one in shown]}, [*map(_line, shown)]
    )


def retry_failed(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Queue the jobs of dead letters again and process the queue.

    Args:
        arguments: `reason`: only this type of error.

    Raises:
        ValueError, OSError, sqlite3.Error: See `tasks.foreground.drain_queue`.
    """
    reason = _reason(arguments)
    count = 0
    with closing(_letters(context)) as dlq, closing(Inbox(context.data_dir)) as inbox:
        for letter in dlq.get_recent(dlq.get_count()):
            if letter["job"] and reason in (None, letter["error_type"]):
                inbox.put(_fresh(letter["job"]))  # before the delete: a kill must not lose the job
                dlq.delete(letter["id"])
                count += 1
    waiting = None
    if count:
        waiting = drain_queue(context.data_dir, context.entry, context.progress, context.tell)
    with closing(_letters(context)) as dlq:
        left = dlq.get_count()
    text = f"Retry failed: {count} retried, {left} failed scenes left" + (
        f". {waiting}" if waiting else ""
    )
    return Result(text, {"retried": count, "failed": left}, ok=waiting is None)


def clear_failed(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Delete dead letters. Their scenes stay unsynced until they are saved again.

    Args:
        arguments: `reason`: only this type of error.

    Raises:
        OSError, sqlite3.Error: The dead letters are not writable.
    """
    with closing(_letters(context)) as dlq:
        count = dlq.clear(_reason(arguments))
    return Result(f"Clear failed: {count} removed from the list", {"dropped": count})


def clear_queue(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Drop all queued edits; without confirmation, only count them.

    Args:
        arguments: `confirm`: really drop them.

    Raises:
        OSError, sqlite3.Error: The queue is not writable.
    """
    confirmed = is_set(arguments, "confirm")
    with QueueManager(context.data_dir) as queue:
        queue.import_spool()
        count = queue.clear_waiting() if confirmed else queue.counts()["pending"]
    if confirmed:
        text = f"Clear queue: {count} queued edits dropped. Sync all scenes syncs their scenes"
        return Result(text, {"dropped": count})
    text = f"Clear queue: {count} queued edits" + (
        ". To drop them, run it with confirm=true (--confirm)" if count else ""
    )
    return Result(text, {"would_drop": count}, ok=count == 0)


def _letters(context: Context) -> DeadLetterQueue:
    return DeadLetterQueue(context.data_dir, redact=context.redactor.redact)


def _reason(arguments: Mapping[str, Any]) -> str | None:
    return str(arguments.get("reason") or "").strip() or None


def _fresh(job: SyncJob) -> SyncJob:
    """Return the job without its retry state."""
    fresh = {key: value for key, value in job.items() if key not in RETRY_FIELDS}
    return cast(SyncJob, fresh)


def _brief(letter: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "scene_id", "error_type", "error_message", "details", "retry_count", "failed_at")
    return {name: letter[name] for name in names}


def _line(letter: dict[str, Any]) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(letter["failed_at"]))
    name = str(letter["job_key"] or f"scene {letter['scene_id']}").replace("_", " ")
    line = f"{when} {name}: {error_words(letter['error_type'])}: {letter['error_message']}"
    candidates = (letter["details"] or {}).get("candidates", [])
    choices = "; ".join(f"rating_key {one['rating_key']} = {describe([one])}" for one in candidates)
    return f"{line} - choose one with Re-sync scene: {choices}" if choices else line
