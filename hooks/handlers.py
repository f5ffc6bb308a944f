"""From an event to a job on disk."""

from __future__ import annotations

from hooks.events import PLEX_FIELDS, RELATED, TAG_MERGE, changed_fields, job_data
from queue.models import create_related_job
from queue.operations import (
    enqueue,
    is_scene_pending,
    load_sync_timestamps,
    mark_scene_pending,
    unmark_scene_pending,
)
from queue.timestamps import is_synced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from queue.operations import Putter
    from queue.timestamps import LazyTimestamps

__all__ = [
    "is_scene_pending",
    "mark_scene_pending",
    "on_related_update",
    "on_scene_update",
    "requires_plex_sync",
    "unmark_scene_pending",
]


def requires_plex_sync(update_data: Mapping[str, Any]) -> bool:
    """Whether an update can change what Plex shows."""
    return not PLEX_FIELDS.isdisjoint(changed_fields(update_data))


def on_scene_update(
    scene_id: int,
    update_data: Mapping[str, Any],
    queue: Putter,
    data_dir: str | None = None,
    sync_timestamps: Mapping[int, float] | LazyTimestamps | None = None,
) -> bool:
    """Put a job for an updated scene into the queue, or merge it into the one that waits.

    Args:
        update_data: the scene's input as Stash sends it; see `hooks.events.read_event`.
        data_dir: where the sync timestamps are, for when they are not handed in.
        sync_timestamps: scene id → epoch seconds of the last sync.

    Returns:
        Whether it was put; not when Plex shows none of what changed, or shows it already.

    Raises:
        sqlite3.Error, OSError: the queue can't be written.
    """
    if not requires_plex_sync(update_data):
        return False
    updated_at = update_data.get("updated_at")
    if (
        updated_at is not None
    ):  # Stash's own events carry none: they are now, and nothing need be read
        if sync_timestamps is None:
            sync_timestamps = load_sync_timestamps(data_dir) if data_dir is not None else {}
        if is_synced(updated_at, sync_timestamps.get(scene_id)):
            return False
    enqueue(queue, scene_id, "metadata", job_data(update_data))
    mark_scene_pending(scene_id)
    return True


def on_related_update(
    kind: str, object_id: int, update_data: Mapping[str, Any], queue: Putter
) -> bool:
    """Put a job for the scenes of a performer, studio, tag or group into the queue, if Plex shows what changed.

    Args:
        kind: the event; see `hooks.events.RELATED`.

    Returns:
        Whether it was put: Plex shows their names alone.

    Raises:
        sqlite3.Error, OSError: the queue can't be written.
    """
    if kind != TAG_MERGE and "name" not in changed_fields(update_data):
        return False
    queue.put(create_related_job(RELATED[kind], object_id))
    return True
