"""From one changed performer, studio, tag or group to the scenes that show its name in Plex."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from queue.models import SyncJob, create_bulk_job
from stash.client import RELATED_KINDS, StashClient
from validation.errors import PermanentError


def is_related(job: SyncJob) -> bool:
    """Whether a job is about something that scenes have, and not about a scene."""
    return job["update_type"] in RELATED_KINDS


def expand(
    job: SyncJob,
    stash: StashClient,
    synced: Mapping[int, float],
    put_many: Callable[[list[SyncJob]], object],
    now: Callable[[], float],
) -> int:
    """Queue the scenes that have what `job` is about, and return how many.

    Only those that were synced before: Plex does not show the old name of the others.

    Args:
        synced: scene id → epoch seconds of its last sync.

    Raises:
        PermanentError: the job names nothing.
        StashUnavailable, StashRefused, StashQueryError
        sqlite3.Error: the queue can't be written; what is in it already will be merged the next time.
    """
    object_id = job["data"].get("id")
    if not isinstance(object_id, int):
        raise PermanentError(f"the job names no {job['update_type']}")
    count = 0
    for page in stash.scenes_of(job["update_type"], object_id):
        jobs = [create_bulk_job(scene_id, now=now()) for scene_id in page if scene_id in synced]
        put_many(jobs)
        count += len(jobs)
    return count
