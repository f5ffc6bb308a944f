"""Define the job: a dict with a scene id and the event's data, never a copy of the scene."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypedDict

    class SyncJob(TypedDict, total=False):
        """One job. The first five keys are always present."""

        scene_id: int  # 0: none, see `create_related_job`
        update_type: str  # "metadata", "performer", "studio", "tag" or "group"
        data: dict[str, Any]  # the event's fields, small values only
        enqueued_at: float  # epoch seconds
        job_key: str  # "scene_<id>", "tag_<id>" …; at most one waiting job per key
        retry_count: int  # retries after this kind of error; absent before the first failure
        attempts: int  # retries after any error
        # Due time in epoch seconds. Absent: due now, before all jobs that have one.
        next_retry_at: float
        last_error_type: str
        deaths: int  # times in a row that the worker's process died with this job in hand
        pqid: int  # row id, never stored: persist-queue uses the same key

else:  # importing typing would cost the hook milliseconds
    SyncJob = dict

#: Key in the `data` of a job for a new scene; the only key until an edit is merged.
CREATED = "created"
#: Key in the `data` of a job for a change that never reached a hook.
MISSED = "missed"
#: Key in the `data` of a bulk job, which goes after the user's own edits.
BULK = "bulk"
#: Key in the `data` of a bulk job: the pass that queued it.
PASS = "pass"
#: Keys in the `data` of a job that goes over a person's edit in Plex, and of one that tries again
#: what Plex refused.
FORCE = "force"
RETRY = "retry"
#: Key in the `data` of a job that no save caused: the run that its changes are recorded under.
RUN = "run"
#: Keys of jobs that come from no save in Stash.
_UNASKED = frozenset((CREATED, BULK, PASS, RETRY, RUN))
#: The `update_type` of a scene's job; others name what was renamed.
METADATA = "metadata"
DEATHS = "deaths"
RETRY_FIELDS = ("retry_count", "attempts", "next_retry_at", "last_error_type", DEATHS)
#: Deaths after which a job is tried alone and after all others, and after which it has failed.
SUSPECT_AFTER, FATAL_AFTER = 2, 3
_NUMBER = (int, float)
_REQUIRED: dict[str, type | tuple[type, ...]] = {
    "scene_id": int, "update_type": str, "data": dict, "enqueued_at": _NUMBER, "job_key": str
}  # fmt: skip
_OPTIONAL: dict[str, type | tuple[type, ...]] = {
    "retry_count": int, "attempts": int, "next_retry_at": _NUMBER, "last_error_type": str,
    DEATHS: int,
}  # fmt: skip
_LARGEST = 2**63


def create_sync_job(
    scene_id: int, update_type: str, data: dict[str, Any], *, now: float | None = None
) -> SyncJob:
    """Return a new job.

    Args:
        now: time of the event in epoch seconds; by default the current time.
    """
    return {
        "scene_id": int(scene_id),
        "update_type": update_type,
        "data": data,
        "enqueued_at": time.time() if now is None else now,
        "job_key": f"scene_{int(scene_id)}",
    }


def defect(job: object) -> str | None:
    """Return why something that was read from disk is not a job; None: it is one."""
    if not isinstance(job, dict):
        return f"it is a {type(job).__name__}"
    for name, kind in {**_REQUIRED, **_OPTIONAL}.items():
        value = job.get(name)
        if value is None and (name not in _REQUIRED):
            continue
        if not isinstance(value, kind) or isinstance(value, bool):
            return f"its {name} is missing or wrong"
    if not (0 <= job["scene_id"] < _LARGEST and job["job_key"].isascii()):
        return "its scene is wrong"
    return None


def create_bulk_job(
    scene_id: int, *, now: float | None = None, delay: float = 0.0, **marks: Any
) -> SyncJob:
    """Return a job that is claimed after all jobs for edits in Stash.

    Args:
        delay: seconds until it is due.
        marks: further keys of `data`: `PASS`, `CREATED`, `FORCE`, `RETRY`, `MISSED` or `RUN`.
    """
    job = create_sync_job(scene_id, METADATA, {BULK: True, **marks}, now=now)
    job["next_retry_at"] = job["enqueued_at"] + delay
    return job


def is_bulk(job: SyncJob) -> bool:
    """Tell whether no user waits for a job: no edit was merged into it."""
    return BULK in (job.get("data") or ())


def is_saved(job: SyncJob) -> bool:
    """Tell whether the scene itself was saved, or the user asked for it."""
    data = job.get("data") or {}
    return not data or not _UNASKED.issuperset(data)


def create_related_job(kind: str, object_id: int) -> SyncJob:
    """Return a job for all scenes of a performer, studio, tag or group.

    The worker replaces it by one job per scene.

    Args:
        kind: "performer", "studio", "tag" or "group".
    """
    job = create_sync_job(0, kind, {"id": object_id})
    job["job_key"] = f"{kind}_{object_id}"
    return job


def create_destroyed_job(kind: str) -> SyncJob:
    """Return a job to compare all scenes, as a performer, studio, tag or group was deleted.

    Args:
        kind: "performer", "studio", "tag" or "group".
    """
    job = create_sync_job(0, kind, {})
    job["job_key"] = f"{kind}_deleted"
    return job


def merge_jobs(waiting: SyncJob, newer: SyncJob) -> SyncJob:
    """Merge two jobs: the newest value of each field, and the earlier `enqueued_at`.

    The waiting job's retry state is dropped, so a new edit is tried immediately.
    """
    merged: SyncJob = {**waiting, **newer}
    merged["data"] = {**waiting.get("data", {}), **newer.get("data", {})}
    if not (is_bulk(waiting) and is_bulk(newer)):  # an edit is never bulk work
        for mark in (BULK, PASS, RUN):
            merged["data"].pop(mark, None)
    merged["enqueued_at"] = min(
        waiting.get("enqueued_at", newer["enqueued_at"]), newer["enqueued_at"]
    )
    for field in RETRY_FIELDS:
        if field not in newer:
            merged.pop(field, None)  # type: ignore[misc]
    return merged
