"""Write Stash's plugin log protocol: lines on stderr with a level (pkg/logger/plugin.go)."""

from __future__ import annotations

import sys

from common.texts import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

LEVELS = {"trace": "t", "debug": "d", "info": "i", "warning": "w", "error": "e"}
#: Maximum length of a line. Stash stops reading at 64 KiB; the next write would then fail.
_MAX_LENGTH = 8_000


def log(level: str, text: str, *, stream: TextIO | None = None) -> None:
    """Write `text` as one line of Stash's log.

    Args:
        level: trace, debug, info, warning or error.
    """
    _send(LEVELS[level], one_line(text) or "-", stream)


def progress(fraction: float, *, stream: TextIO | None = None) -> None:
    """Report the task's progress to Stash.

    Args:
        fraction: 0 to 1.
    """
    _send("p", f"{min(max(fraction, 0.0), 1.0):.4f}", stream)


def _send(letter: str, text: str, stream: TextIO | None) -> None:
    if len(text) > _MAX_LENGTH:
        text = text[: _MAX_LENGTH - 1] + "…"
    target = stream or sys.stderr
    try:
        target.write(f"\x01{letter}\x02{text}\n")
        target.flush()
    except (OSError, ValueError):  # stderr is closed; work goes on
        return
