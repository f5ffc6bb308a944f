"""Lines for Stash's log from a process that Stash does not listen to.

The worker leaves what a user must act on in `notices.jsonl`; the next hook or task takes them along.
"""

from __future__ import annotations

import json
import os

from common.files import append_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = "notices.jsonl"
#: Bytes after which no more is left: the worker's log has everything.
_ENOUGH = 32_768


def defer_log_line(data_dir: str, level: str, text: str) -> None:
    """Leave a line; an unwritable folder loses only this line, which the worker's log has as well."""
    path = os.path.join(data_dir, FILE)
    try:
        if not os.path.exists(path) or os.stat(path).st_size < _ENOUGH:
            append_private(path, json.dumps([level, text]) + "\n")
    except OSError:
        return


def take_deferred_lines(data_dir: str) -> Iterator[tuple[str, str]]:
    """Yield (level, text) of what was left, once: of several processes only one gets them."""
    path = os.path.join(data_dir, FILE)
    taken = f"{path}.{os.getpid()}.tmp"
    try:
        os.rename(path, taken)
        with open(taken, encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
        os.unlink(taken)
    except OSError:
        return
    for line in lines:
        try:
            level, text = json.loads(line)
            yield str(level), str(text)
        except (ValueError, TypeError, RecursionError):
            continue
