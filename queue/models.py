"""A job: a plain dict with a scene id and what is known about the event, never a copy of the scene."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypedDict

    class SyncJob(TypedDict, total=False):
        """One scene to be synced. The first five keys are always there."""

        scene_id: int  # 0: none, see `create_related_job`
        update_type: str  # "metadata"; or "performer", "studio", "tag", "group"
        data: dict[str, Any]  # what the event said: small values only
        enqueued_at: float  # epoch seconds
        job_key: str  # "scene_<id>", "tag_<id>" …; at most one waiting job per key
        retry_count: int  # retries for this kind of error; absent before the first failure
        attempts: int  # retries for any
        next_retry_at: (
            float  # epoch seconds: not before, and after all that have none; absent: at once
        )
        last_error_type: str
        pqid: int  # row id, in memory only: on disk persist-queue would take it for its own

else:  # typing would cost the hook milliseconds
    SyncJob = dict

#: Noted in the `data` of a job for a new scene, until somebody edits it.
CREATED = "created"
#: The same of a job for a scene that was found changed, without a hook that told.
MISSED = "missed"
#: The same of a job that nobody waits for.
BULK = "bulk"
RETRY_FIELDS = ("retry_count", "attempts", "next_retry_at", "last_error_type")


def create_sync_job(
    scene_id: int, update_type: str, data: dict[str, Any], *, now: float | None = None
) -> SyncJob:
    """Return a new job.

    Args:
        now: the moment of the event in epoch seconds; default: this one.
    """
    return {
        "scene_id": int(scene_id),
        "update_type": update_type,
        "data": data,
        "enqueued_at": time.time() if now is None else now,
        "job_key": f"scene_{int(scene_id)}",
    }


def create_bulk_job(scene_id: int, *, now: float | None = None) -> SyncJob:
    """Return a job that is due at once, but after all that somebody has just saved and waits for."""
    job = create_sync_job(scene_id, "metadata", {BULK: True}, now=now)
    job["next_retry_at"] = job["enqueued_at"]
    return job


def create_related_job(kind: str, object_id: int) -> SyncJob:
    """Return a job for all scenes of a performer, studio, tag or group; the worker makes scene jobs of it.

    Args:
        kind: "performer", "studio", "tag" or "group".
    """
    job = create_sync_job(0, kind, {"id": object_id})
    job["job_key"] = f"{kind}_{object_id}"
    return job


def merge_jobs(waiting: SyncJob, newer: SyncJob) -> SyncJob:
    """Return one job for both: the newest value of each field, and the age of the older.

    The retries of the waiting job are forgotten: a new edit deserves a fresh start, at once.
    """
    merged: SyncJob = {**waiting, **newer}
    merged["data"] = {**waiting.get("data", {}), **newer.get("data", {})}
    merged["enqueued_at"] = min(
        waiting.get("enqueued_at", newer["enqueued_at"]), newer["enqueued_at"]
    )
    for field in RETRY_FIELDS:
        if field not in newer:
            merged.pop(field, None)  # type: ignore[misc]
    return merged
