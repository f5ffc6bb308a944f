"""Summarize a sync: what was synced, what was not, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from history.records import TROUBLE, Status
from tasks.context import Result
from tasks.wording import STATUS_WORDS

_DONE = (Status.IN_SYNC, Status.WRITTEN)


def summarize(name: str, result: Mapping[str, Any]) -> Result:
    """Return the result of a sync: what was synced, and what was not, and why."""
    worked: Counter[str] = Counter(result.get("worked") or {})
    left: Counter[str] = Counter(result.get("left") or {})
    every = worked + left
    counts = {
        "synced": sum(worked[status.value] for status in _DONE),
        "in_sync": sum(left[status.value] for status in _DONE),
        **{
            status.value: every[status.value]
            for status in Status
            if status not in (*_DONE, Status.HELD)
        },
        "kept": result.get("kept", 0),
        "waiting": result.get("waiting", 0),
    }
    words = {
        "synced": "synced",
        "in_sync": "already in sync",
        "kept": "with fields kept as they were changed in Plex",
        "waiting": "waiting",
        **{status.value: STATUS_WORDS[status] for status in Status if status not in _DONE},
    }
    parts = [f"{count} {words[key]}" for key, count in counts.items() if count]
    reason = result.get("reason")
    text = f"{name}: {', '.join(parts) or reason or 'nothing to do'}"
    if reason:
        text += f". {reason}" if parts else ""
        if counts["waiting"]:
            text += f"; {counts['waiting']} scenes are queued"
    failures = result.get("failures") or {}
    lines = [f"{count} failed: {why}" for why, count in failures.items()]
    folders = result.get("not_in_plex") or {}
    lines += [f"Not in Plex: {count} in {folder}" for folder, count in folders.items()]
    is_ok = not reason and not any(counts[status.value] for status in TROUBLE)
    data = {**counts, "failures": failures, **({"reason": reason} if reason else {})}
    return Result(text, data, lines, ok=is_ok)
