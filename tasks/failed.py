"""Show, retry and clear scenes that need the user; clear the queue."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any

from common.files import replace_private
from history.records import Agreement, Status
from plex.matcher import describe
from queue.dlq import DeadLetterQueue
from queue.manager import QueueManager
from tasks.context import Context, Result, is_set
from tasks.summary import summarize
from tasks.wording import STATUS_WORDS, counted, error_words
from worker.attention import has_reason, needing_user
from worker.bootstrap import open_history_readonly

#: Marker of a user who has just asked what clearing the queue would drop.
CLEAR_ASKED_FILE = "clear_asked"
#: Seconds within which asking again means yes.
_ASK_AGAIN = 60.0
#: Scenes shown in each state, also by `failed --json`.
_SHOWN = 100


def show_failed(context: Context, arguments: Mapping[str, Any]) -> Result:
    """List the scenes that need the user; for ambiguous scenes, also their candidates.

    Args:
        arguments: `reason`: only this status, or this type of error.

    Raises:
        OSError, sqlite3.Error: The records are not readable.
    """
    reason = _reason(arguments)
    with open_history_readonly(context.data_dir) as history:
        rows = list(needing_user(history, reason))
    counts = Counter(row.status.value for row in rows)
    found = [_brief(row) for row in _first_of_each(rows)]
    with closing(_letters(context)) as dlq:
        known = {row.scene_id for row in rows}
        others = [
            letter
            for letter in dlq.get_recent(dlq.get_count())
            if letter["scene_id"] not in known
            and letter["error_type"] != "PlexNotFound"
            and has_reason(letter["error_type"], reason)
        ]
    counts.update(letter["error_type"] for letter in others)
    found += [_brief_letter(letter) for letter in others[:_SHOWN]]
    text = (
        f"Failed: {sum(counts.values())} ({counted(counts)}), {len(found)} shown"
        if counts
        else "Failed: none"
    )
    return Result(text, {"counts": dict(counts), "failed": found}, [*map(_line, found)])


def retry_failed(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Queue failed scenes again and sync them.

    Args:
        arguments: `reason`: only this status, or this type of error.

    Raises:
        ValueError, OSError, sqlite3.Error: See `tasks.foreground.run_command`.
    """
    started = {"started_at": time.time()}  # a worker may be done before the second command
    result = context.run("retry", {"reason": _reason(arguments)})
    if result.get("reason"):
        return Result(f"Retry failed: {result['reason']}", result, ok=False)
    count = result.get("retried", 0)
    if not count:
        return Result("Retry failed: nothing to retry", {"retried": 0})
    done = summarize(f"Retry failed: {count} retried", context.run("drain", started))
    return Result(done.summary, {"retried": count, **done.data}, done.lines, ok=done.ok)


def clear_failed(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Clear the list of failed scenes. They stay unsynced until they are saved again.

    Args:
        arguments: `reason`: only this status, or this type of error.

    Raises:
        ValueError, OSError, sqlite3.Error: See `tasks.foreground.run_command`.
    """
    result = context.run("clear_failed", {"reason": _reason(arguments)})
    if result.get("reason"):
        return Result(f"Clear failed: {result['reason']}", result, ok=False)
    return Result(f"Clear failed: {result['dropped']} removed from the list", result)


def clear_queue(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Count the queued edits; drop them if this is asked for twice within a minute.

    Args:
        arguments: `confirm`: drop them at once, or, if false, only count them.

    Raises:
        ValueError, OSError, sqlite3.Error: See `tasks.foreground.run_command`.
    """
    asked = os.path.join(context.data_dir, CLEAR_ASKED_FILE)
    confirmed = is_set(arguments, "confirm") if "confirm" in arguments else _is_recent(asked)
    if confirmed:
        result = context.run("clear_queue", {})
        if result.get("reason"):
            return Result(f"Clear queue: {result['reason']}", result, ok=False)
        text = f"Clear queue: {result['dropped']} queued edits dropped"
        return Result(f"{text}. The next comparison finds their scenes again", result)
    with QueueManager(context.data_dir) as queue:
        queue.import_spool()  # an edit may be in both: its hook gave up waiting for the database
        count = queue.counts()["pending"] + queue.count_spooled()
    if count:
        replace_private(asked, "")
    again = ". To drop them, run it again within a minute" if count else ""
    return Result(f"Clear queue: {count} queued edits{again}", {"would_drop": count}, ok=not count)


def _is_recent(marker: str) -> bool:
    """Remove a marker; return whether it was left within the last minute."""
    try:
        age = time.time() - os.stat(marker).st_mtime
        os.unlink(marker)
    except OSError:
        return False
    return 0 <= age < _ASK_AGAIN


def _letters(context: Context) -> DeadLetterQueue:
    return DeadLetterQueue(context.data_dir, redact=context.redactor.redact)


def _reason(arguments: Mapping[str, Any]) -> str | None:
    return str(arguments.get("reason") or "").strip() or None


def _first_of_each(rows: Iterable[Agreement]) -> list[Agreement]:
    shown: Counter[Status] = Counter()
    found = []
    for row in rows:
        shown[row.status] += 1
        if shown[row.status] <= _SHOWN:
            found.append(row)
    return found


def _brief(row: Agreement) -> dict[str, Any]:
    details = row.details or {}
    return {
        "scene_id": row.scene_id,
        "status": row.status.value,
        "reason": row.reason,
        "rating_key": row.rating_key or None,
        "candidates": details.get("candidates", []),
        "failed_at": row.checked_at,
    }


def _brief_letter(letter: dict[str, Any]) -> dict[str, Any]:
    details = letter["details"] if isinstance(letter["details"], dict) else {}
    return {
        "scene_id": letter["scene_id"] or None,
        "status": letter["error_type"],
        "reason": letter["error_message"],
        "rating_key": None,
        "candidates": details.get("candidates", []),
        "failed_at": letter["failed_at"],
        "job": letter["job_key"],
    }


def _line(one: dict[str, Any]) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one["failed_at"]))
    name = str(one.get("job") or f"scene {one['scene_id']}").replace("_", " ")
    try:
        words = STATUS_WORDS[Status(one["status"])]
    except ValueError:
        words = error_words(one["status"])
    line = f"{when} {name}: {words}: {one['reason']}"
    choices = "; ".join(
        f"rating_key {each['rating_key']} = {describe([each])}" for each in one["candidates"]
    )
    if not choices or one["status"] != Status.AMBIGUOUS:
        return line
    return (
        f"{line} - to choose, run resync {one['scene_id']} --rating-key KEY (README, Tasks and"
        f" commands); KEY is both, or one of: {choices}"
    )
