"""Defer log lines until a process runs whose log Stash reads.

Stash does not read the worker's output. The worker saves the lines that a user must act on in
`notices.jsonl`; the next hook or task logs them.
"""

from __future__ import annotations

import json
import os

from common.files import append_private
from stash.log import LEVELS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = "notices.jsonl"
#: File size in bytes from which further lines are dropped; the worker's log has all of them.
_MAX_SIZE = 32_768


def defer_log_line(data_dir: str, level: str, text: str, *, passing: bool = False) -> None:
    """Save a line for the next hook or task.

    If the folder is not writable, the line is dropped; the worker's log has it.

    Args:
        passing: the line is withdrawn once its cause is gone.
    """
    path = os.path.join(data_dir, FILE)
    try:
        if not os.path.exists(path) or os.stat(path).st_size < _MAX_SIZE:
            line = [level, text, "passing"] if passing else [level, text]
            append_private(path, json.dumps(line) + "\n")
    except OSError:
        return


def withdraw_passing_lines(data_dir: str) -> None:
    """Remove the lines whose cause is gone; a folder that is not writable keeps them."""
    path = os.path.join(data_dir, FILE)
    try:
        for line in _take_lines(path):
            if not line.endswith(', "passing"]\n'):
                append_private(path, line)
    except OSError:
        return


def take_deferred_lines(data_dir: str) -> Iterator[tuple[str, str]]:
    """Yield (level, text) of the saved lines and remove them; only one process gets each line."""
    for line in _take_lines(os.path.join(data_dir, FILE)):
        try:
            level, text, *passing = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            continue
        if isinstance(level, str) and level in LEVELS and passing in ([], ["passing"]):
            yield level, str(text)


def _take_lines(path: str) -> list[str]:
    """Return the saved lines and remove the file."""
    claimed = f"{path}.{os.getpid()}.tmp"
    try:
        os.rename(path, claimed)
        with open(claimed, encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
        os.unlink(claimed)
    except OSError:
        return []
    return lines
