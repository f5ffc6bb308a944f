"""Answer the page's questions: check the arguments, look, and answer in JSON's types."""

from __future__ import annotations

import json
import time

from common.version import VERSION
from page.arguments import WrongArgument
from page.changes import changes, run
from page.details import command, details
from page.look import Look
from page.needs import badges, needs
from page.readonly import Unreadable
from page.scene import scene
from page.state import count, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = ["VIEWS", "Unreadable", "WrongArgument", "answer"]

VIEWS: dict[str, Callable[[Look, Mapping[str, Any]], dict[str, Any]]] = {
    "state": lambda look, arguments: state(look),
    "count": lambda look, arguments: count(look),
    "needs": needs,
    "scene": scene,
    "changes": changes,
    "run": run,
    "badges": badges,
    "command": command,
    "details": lambda look, arguments: details(look),
}


def answer(
    data_dir: str, arguments: Mapping[str, Any], obstacle: str | None = None
) -> dict[str, Any]:
    """Return the answer of the view that the arguments name. Nothing is written.

    Args:
        data_dir: need not be there.
        obstacle: why tasks and the worker can't run, or None.

    Raises:
        WrongArgument: an argument is missing or wrong.
        Unreadable: a file that the view needs can't be read.
    """
    view = arguments.get("view")
    if not isinstance(view, str) or view not in VIEWS:
        raise WrongArgument(f"view must be one of {', '.join(VIEWS)}")
    now = time.time()
    found = VIEWS[view](Look(data_dir, now, obstacle), arguments)
    return _in_json_types({"version": VERSION, "now": now, **found})


def _in_json_types(found: dict[str, Any]) -> dict[str, Any]:
    """Return an answer that a browser can parse, whatever a damaged record holds."""
    text = json.dumps(found, default=str)
    plain: dict[str, Any] = json.loads(text, parse_constant=lambda constant: None)
    return plain
