"""Operations on dead letters and on what waits: show, try again, drop."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from plex.matcher import describe
from queue.dlq import DeadLetterQueue
from queue.inbox import Inbox
from queue.manager import QueueManager
from queue.models import RETRY_FIELDS, SyncJob
from tasks.context import Context, Result, is_set
from tasks.foreground import work_off

#: Letters of each type of error that are shown; `failed --json` has as many.
_SHOWN = 100
#: Of these, a person can do something about each.
_FIRST = "AmbiguousMatch"


def show_failed(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Show the dead letters, the latest first; of ambiguous scenes also their candidates.

    Args:
        arguments: `reason`: only those of this type of error.

    Raises:
        OSError, sqlite3.Error: they can't be read.
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
    reasons = ", ".join(f"{count} {error}" for error, count in counts.items())
    text = (
        f"Failed: {sum(counts.values())} ({reasons}), {len(shown)} of them shown"
        if counts
        else "Failed: none"
    )
    return Result(
        text, {"counts": counts, "failed": [_brief(one) for one in shown]}, [*map(_line, shown)]
    )


def retry_failed(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Queue the jobs of dead letters again, and have them synced.

    Args:
        arguments: `reason`: only those of this type of error.

    Raises:
        ValueError, OSError, sqlite3.Error: see `tasks.foreground.work_off`.
    """
    reason = _reason(arguments)
    count = 0
    with closing(_letters(context)) as dlq, closing(Inbox(context.data_dir)) as inbox:
        for letter in dlq.get_recent(dlq.get_count()):
            if letter["job"] and reason in (None, letter["error_type"]):
                inbox.put(_fresh(letter["job"]))  # first: a kill in between leaves both
                dlq.delete(letter["id"])
                count += 1
    waiting = (
        work_off(context.data_dir, context.entry, context.progress, context.tell) if count else None
    )
    with closing(_letters(context)) as dlq:
        left = dlq.get_count()
    text = f"Retry failed: {count} tried again, {left} failed now" + (
        f". {waiting}" if waiting else ""
    )
    return Result(text, {"retried": count, "failed": left}, ok=waiting is None)


def clear_failed(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Drop dead letters; what they are about stays as it is in Plex until it is saved again.

    Args:
        arguments: `reason`: only those of this type of error.

    Raises:
        OSError, sqlite3.Error: they can't be written.
    """
    with closing(_letters(context)) as dlq:
        count = dlq.clear(_reason(arguments))
    return Result(f"Clear failed: {count} dropped", {"dropped": count})


def clear_queue(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Drop the edits that wait, if that is confirmed; else say what would be dropped.

    Args:
        arguments: `confirm`: do it.

    Raises:
        OSError, sqlite3.Error: the queue can't be written.
    """
    confirmed = is_set(arguments, "confirm")
    with QueueManager(context.data_dir) as queue:
        queue.import_spool()
        count = queue.clear_waiting() if confirmed else queue.counts()["pending"]
    if confirmed:
        return Result(
            f"Clear queue: {count} dropped. Sync all scenes brings them back", {"dropped": count}
        )
    text = f"Clear queue: {count} waiting edits would be dropped. Run it with confirm=true (--confirm) to do it"
    return Result(text, {"would_drop": count}, ok=count == 0)


def _letters(context: Context) -> DeadLetterQueue:
    return DeadLetterQueue(context.data_dir, redact=context.redactor.redact)


def _reason(arguments: Mapping[str, Any]) -> str | None:
    return str(arguments.get("reason") or "").strip() or None


def _fresh(job: SyncJob) -> SyncJob:
    """Return the job as it was before it failed."""
    return {key: value for key, value in job.items() if key not in RETRY_FIELDS}  # type: ignore[return-value]


def _brief(letter: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "scene_id", "error_type", "error_message", "details", "retry_count", "failed_at")
    return {name: letter[name] for name in names}


def _line(letter: dict[str, Any]) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(letter["failed_at"]))
    name = str(letter["job_key"] or f"scene {letter['scene_id']}").replace("_", " ")
    line = f"{when} {name}: {letter['error_type']}: {letter['error_message']}"
    candidates = (letter["details"] or {}).get("candidates", [])
    choices = "; ".join(f"rating_key {one['rating_key']} = {describe([one])}" for one in candidates)
    return f"{line} - choose with Re-sync scene: {choices}" if choices else line
