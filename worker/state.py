"""The worker's state in a file, for *Status*."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

from common.files import replace_private

FILE = "worker_state.json"


def save_state(data_dir: str, state: dict[str, Any]) -> None:
    """Write the state; in an unwritable folder only this is lost."""
    with contextlib.suppress(OSError):
        replace_private(os.path.join(data_dir, FILE), json.dumps(state))


def load_state(data_dir: str) -> dict[str, Any]:
    """Return the state that the last worker left, or nothing."""
    try:
        with open(os.path.join(data_dir, FILE), encoding="utf-8") as file:
            state = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return state if isinstance(state, dict) else {}
