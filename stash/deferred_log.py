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


def defer_log_line(data_dir: str, level: str, text: str) -> None:
    """Save a line for the next hook or task.

    If the folder is not writable, the line is dropped; the worker's log has it.
    """
    path = os.path.join(data_dir, FILE)
    try:
        if not os.path.exists(path) or os.stat(path).st_size < _MAX_SIZE:
            append_private(path, json.dumps([level, text]) + "\n")
    except OSError:
        return


def take_deferred_lines(data_dir: str) -> Iterator[tuple[str, str]]:
    """Yield (level, text) of the saved lines and remove them; only one process gets each line."""
    path = os.path.join(data_dir, FILE)
    claimed = f"{path}.{os.getpid()}.tmp"
    try:
        os.rename(path, claimed)
        with open(claimed, encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
        os.unlink(claimed)
    except OSError:
        return
    for line in lines:
        try:
            level, text = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            continue
        if isinstance(level, str) and level in LEVELS:
            yield level, str(text)
