"""Tasks that queue scenes: which ones, and then have them synced."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from queue.inbox import Inbox
from queue.operations import enqueue, load_sync_timestamps
from queue.timestamps import is_synced, parse_time
from stash.client import StashClient
from tasks.foreground import Progress, work_off

DAY = 86_400.0


def sync_recent(
    data_dir: str, entry: str, stash: StashClient, progress: Progress, *, now: Callable[[], float] = time.time
) -> dict[str, Any]:
    """Queue the scenes that were changed in the last 24 hours and are not in sync, and have them synced.

    Returns:
        `queued`, `in_sync` (left out) and, where not all could be done, `waiting` with the reason.

    Raises:
        StashUnavailable, StashRefused, StashQueryError
        ValueError, OSError, sqlite3.Error: see `tasks.foreground.work_off`.
    """
    since = now() - DAY
    synced = load_sync_timestamps(data_dir)
    queued = in_sync = 0
    inbox = Inbox(data_dir)
    try:
        for scene_id, updated_at in stash.updated_since(since):
            if (parse_time(updated_at) or since) < since:
                continue
            if is_synced(updated_at, synced.get(scene_id)):
                in_sync += 1
                continue
            enqueue(inbox, scene_id, "metadata", {})
            queued += 1
    finally:
        inbox.close()
    reason = work_off(data_dir, entry, progress)
    return {"queued": queued, "in_sync": in_sync, **({"waiting": reason} if reason else {})}
