"""Stash's log protocol: one line each on stderr, marked with its level (pkg/logger/plugin.go)."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

_LEVELS = {"trace": "t", "debug": "d", "info": "i", "warning": "w", "error": "e"}
#: Stash stops reading at 64 KiB a line, and the plugin's next write would then fail.
_LONGEST = 8_000


def log(level: str, text: str, *, stream: TextIO | None = None) -> None:
    """Write `text` as one line of Stash's log.

    Args:
        level: trace, debug, info, warning or error.
    """
    _send(_LEVELS[level], " ".join(text.splitlines()).strip() or "-", stream)


def progress(fraction: float, *, stream: TextIO | None = None) -> None:
    """Tell Stash how much of the task is done, 0 to 1."""
    _send("p", f"{min(max(fraction, 0.0), 1.0):.4f}", stream)


def _send(letter: str, text: str, stream: TextIO | None) -> None:
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 1] + "…"
    target = stream or sys.stderr
    try:
        target.write(f"\x01{letter}\x02{text}\n")
        target.flush()
    except (OSError, ValueError):  # nobody listens any more; the work goes on
        return
