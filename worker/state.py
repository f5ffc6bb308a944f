"""How things are with the worker, left in a file for whoever asks: breakers, and what keeps it from working."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

from common.files import replace_private

FILE = "worker_state.json"


def save_state(data_dir: str, state: dict[str, Any]) -> None:
    """Leave the state; an unwritable folder loses only this."""
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
