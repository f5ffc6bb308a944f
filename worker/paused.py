"""The user's *Pause*: PlexSync writes nothing to Plex, while edits are queued."""

from __future__ import annotations

from typing import Any

from history.store import History

#: State in the history: {"since": epoch seconds, "why": `YOU` or `REMOVED`}.
STATE = "paused"
YOU, REMOVED = "you", "removed"

PAUSED = "PlexSync is paused; edits are kept until you let it go on"


def paused(history: History) -> dict[str, Any] | None:
    """Return since when nothing is written, and why; None: it is not paused."""
    found = history.get(STATE)
    return found if isinstance(found, dict) else None


def set_paused(history: History, now: float, why: str = YOU) -> None:
    """Write nothing to Plex from now (epoch seconds) on."""
    known = paused(history) or {}
    history.set(STATE, {"since": known.get("since", now), "why": why})


def resume(history: History) -> None:
    """Write to Plex again."""
    history.set(STATE, None)
