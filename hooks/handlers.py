"""Turn a hook event into a job in the queue."""

from __future__ import annotations

from hooks.events import (
    PLEX_FIELDS,
    RELATED,
    RELATED_DESTROYED,
    RELATED_FIELDS,
    TAG_MERGE,
    changed_fields,
    job_data,
)
from queue.models import create_destroyed_job, create_related_job
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
    "on_related_destroyed",
    "on_related_update",
    "on_scene_update",
    "requires_plex_sync",
    "unmark_scene_pending",
]


def requires_plex_sync(update_data: Mapping[str, Any]) -> bool:
    """Tell whether an update can change what Plex shows."""
    return not PLEX_FIELDS.isdisjoint(changed_fields(update_data))


def on_scene_update(
    scene_id: int,
    update_data: Mapping[str, Any],
    queue: Putter,
    data_dir: str | None = None,
    sync_timestamps: Mapping[int, float] | LazyTimestamps | None = None,
) -> bool:
    """Queue a job for an updated scene, or merge it into the scene's waiting job.

    Args:
        update_data: the scene's input as Stash sends it; see `hooks.events.read_event`.
        data_dir: data directory to read the sync timestamps from if they are not given.
        sync_timestamps: scene id → epoch seconds of the last sync.

    Returns:
        False if the update does not affect Plex or was synced already, else True.

    Raises:
        sqlite3.Error, OSError: the queue can't be written.
    """
    if not requires_plex_sync(update_data):
        return False
    updated_at = update_data.get("updated_at")
    # Stash's own events have no `updated_at`: they are never skipped, and no timestamps are read.
    if updated_at is not None:
        if sync_timestamps is None:
            sync_timestamps = load_sync_timestamps(data_dir) if data_dir is not None else {}
        if is_synced(updated_at, sync_timestamps.get(scene_id)):
            return False
    enqueue(queue, scene_id, "metadata", job_data(update_data))
    mark_scene_pending(scene_id)
    return True


def on_related_destroyed(kind: str, queue: Putter) -> bool:
    """Queue a comparison of all scenes: one of their performers, studios, tags or groups is gone.

    Args:
        kind: the event type; a key of `hooks.events.RELATED_DESTROYED`.

    Raises:
        sqlite3.Error, OSError: the queue can't be written.
    """
    queue.put(create_destroyed_job(RELATED_DESTROYED[kind]))
    return True


def on_related_update(
    kind: str, object_id: int, update_data: Mapping[str, Any], queue: Putter
) -> bool:
    """Queue a job for the scenes of a renamed performer, studio, tag or group.

    Args:
        kind: the event type; a key of `hooks.events.RELATED`.

    Returns:
        False if nothing changed that Plex may show, else True.

    Raises:
        sqlite3.Error, OSError: the queue can't be written.
    """
    if kind != TAG_MERGE and not RELATED_FIELDS & changed_fields(update_data):
        return False
    queue.put(create_related_job(RELATED[kind], object_id))
    return True
