"""What the worker leaves in files for others: its state, and when scenes were synced."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from common.env import Env
from common.files import read_json, replace_private
from queue.timestamps import load_sync_timestamps, save_sync_timestamps

FILE = "worker_state.json"
#: Seconds between two writes of the sync timestamps, and at least this many times their duration.
_FLUSH_AFTER = 2.0
_FLUSH_SHARE = 50.0


def save_state(data_dir: str, state: dict[str, Any]) -> None:
    """Write the state; in an unwritable folder only this is lost."""
    with contextlib.suppress(OSError):
        replace_private(os.path.join(data_dir, FILE), json.dumps(state))


def load_state(data_dir: str) -> dict[str, Any]:
    """Return the state that the last worker left, or nothing."""
    return read_json(os.path.join(data_dir, FILE))


class SyncTimes:
    """Collects sync timestamps and writes them together, as each write rewrites the file."""

    def __init__(self, data_dir: str | None, env: Env) -> None:
        """Collect nothing yet.

        Args:
            data_dir: None: the timestamps are not written.
        """
        self._data_dir = data_dir
        self._env = env
        self._changes: dict[int, float | None] = {}
        self._not_before = float("-inf")

    def note(self, scene_id: int, synced_at: float | None) -> None:
        """Note when a scene was synced, in epoch seconds; None: it is gone."""
        self._changes[scene_id] = synced_at

    def restore(self, synced: Mapping[int, float], gone: Iterable[int]) -> None:
        """Note what a killed worker did not write.

        Args:
            synced: scene id → epoch seconds, as the history says.
            gone: scenes that Stash does not have any more.
        """
        if self._data_dir is None:
            return
        known = load_sync_timestamps(self._data_dir)
        for scene_id, synced_at in synced.items():
            if known.get(scene_id, float("-inf")) < synced_at:
                self.note(scene_id, synced_at)
        for scene_id in gone:
            if scene_id in known:
                self.note(scene_id, None)

    def flush_if_due(self) -> None:
        """Write what was collected, unless that was done just now.

        Raises:
            OSError: the file can't be written.
        """
        if self._changes and self._env.monotonic() >= self._not_before:
            self.flush()

    def flush(self) -> None:
        """Write what was collected.

        Raises:
            OSError: the file can't be written; the changes are kept.
        """
        if not self._changes or self._data_dir is None:
            self._changes.clear()
            return
        start = self._env.monotonic()
        save_sync_timestamps(self._data_dir, self._changes)
        self._changes.clear()
        now = self._env.monotonic()
        self._not_before = now + max(_FLUSH_AFTER, _FLUSH_SHARE * (now - start))
