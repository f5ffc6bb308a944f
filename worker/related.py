"""Queue the scenes of a renamed performer, studio, tag or group."""

from __future__ import annotations

from collections.abc import Container

from queue.ack_queue import JobQueue
from queue.models import SyncJob, create_bulk_job
from stash.client import StashClient
from validation.errors import PermanentError


def queue_scenes(
    job: SyncJob, stash: StashClient | None, queue: JobQueue, synced: Container[int], now: float
) -> int:
    """Queue the scenes that have what `job` is about, and return how many.

    Only scenes that were synced before: Plex does not show the old name of the others.

    Args:
        synced: ids of the scenes that were synced before.
        now: epoch seconds.

    Raises:
        PermanentError: the job names nothing.
        StashUnavailable, StashRefused, StashQueryError
        sqlite3.Error: the queue can't be written; jobs already queued are merged the next time.
    """
    object_id = job["data"].get("id")
    if stash is None or not isinstance(object_id, int):
        raise PermanentError(f"the scenes of this {job['update_type']} are not known")
    count = 0
    for page in stash.scenes_of(job["update_type"], object_id):
        jobs = [create_bulk_job(scene_id, now=now) for scene_id in page if scene_id in synced]
        queue.put_many(jobs)
        count += len(jobs)
    return count
