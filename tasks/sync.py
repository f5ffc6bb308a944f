"""Operations that bring scenes to Plex: recent ones, all, one, and whatever waits."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any

from common.sqlite import connect
from plex.exceptions import PlexNotFound
from plex.history import WriteHistory
from plex.matcher import AmbiguousMatch, describe
from queue.dlq import DeadLetterQueue
from queue.inbox import Inbox
from queue.manager import QueueManager
from queue.models import create_bulk_job
from queue.operations import enqueue, load_sync_timestamps
from queue.timestamps import is_synced, parse_time
from stash.records import Scene
from tasks.context import Context, Result, UsageError, is_set, rating_key_of, scene_id_of
from tasks.foreground import work_off
from worker.bootstrap import HISTORY_FILE, open_readonly
from worker.job_runner import desired

DAY = 86_400.0


def sync_recent(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Sync the scenes that were changed in the last 24 hours and are not in sync.

    Raises:
        what `_sync` raises
    """
    since = time.time() - DAY
    recent = [
        one for one in context.stash.updated_since(since) if (parse_time(one[1]) or since) >= since
    ]
    return _sync(context, "Sync recent scenes", [recent], force=is_set(arguments, "force"))


def sync_all(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Sync all scenes that are not in sync; stopped half-way, the next run goes on where it was.

    Args:
        arguments: `force`: also those that are.

    Raises:
        what `_sync` raises
    """
    return _sync(
        context, "Sync all scenes", context.stash.all_scenes(), force=is_set(arguments, "force")
    )


def process_queue(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Work off what waits, now.

    Raises:
        ValueError, OSError, sqlite3.Error: see `tasks.foreground.work_off`.
    """
    reason = work_off(context.data_dir, context.entry, context.progress, context.tell)
    text = f"Process queue: {reason}" if reason else "Process queue: nothing that is due is left"
    return Result(text, {"waiting": reason} if reason else {}, ok=reason is None)


def resync(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Sync one scene, its cover too, whether it is in sync or not.

    Args:
        arguments: `scene_id`; `rating_key`: the item of Plex that it is, where several may be; it is remembered.

    Raises:
        UsageError: the scene is not there, or the item is none of its candidates.
        what `work_off`, and whoever looks into Stash and Plex, raises
    """
    scene_id, rating_key = scene_id_of(arguments), rating_key_of(arguments)
    scene = context.stash.find_scene(scene_id)
    if scene is None:
        raise UsageError(f"Stash has no scene {scene_id}")
    if rating_key is not None:
        _check_choice(context, scene, rating_key)
    with closing(connect(os.path.join(context.data_dir, HISTORY_FILE))) as stored:
        history = WriteHistory(stored)
        history.forget_cover(scene_id)
        if rating_key is not None:
            history.choose(scene_id, rating_key)
    started = time.time()
    with closing(Inbox(context.data_dir)) as inbox:
        enqueue(inbox, scene_id, "metadata", {"resync": True})
    reason = work_off(context.data_dir, context.entry, context.progress, context.tell)
    return _outcome(context, scene, started, reason)


def _sync(
    context: Context, name: str, pages: Iterable[list[tuple[int, str]]], *, force: bool
) -> Result:
    """Queue scenes that are not in sync, and have them synced.

    Args:
        pages: (id, updated_at) of scenes.

    Raises:
        StashUnavailable, StashRefused, StashQueryError
        ValueError, OSError, sqlite3.Error: see `tasks.foreground.work_off`.
    """
    synced = load_sync_timestamps(context.data_dir)
    queued = in_sync = 0
    with QueueManager(context.data_dir) as queue:
        for page in pages:
            todo = [
                one
                for one, updated_at in page
                if force or not is_synced(updated_at, synced.get(one))
            ]
            queue.put_many(create_bulk_job(scene_id) for scene_id in todo)
            queued += len(todo)
            in_sync += len(page) - len(todo)
    reason = work_off(context.data_dir, context.entry, context.progress, context.tell)
    text = f"{name}: {queued} queued, {in_sync} already in sync. {reason or 'All done'}"
    data = {"queued": queued, "in_sync": in_sync, **({"waiting": reason} if reason else {})}
    return Result(text, data, ok=reason is None)


def _check_choice(context: Context, scene: Scene, rating_key: int) -> None:
    """See to it that the item is one of those that the scene may be.

    Raises:
        UsageError: it is not; the text names those that are.
    """
    candidates: list[dict[str, Any]] = []
    with open_readonly(context.data_dir, context.config(), context.stash) as runner:
        runner.history.choose(
            scene.id, None
        )  # in a copy: an earlier choice must not hide the others
        try:
            if runner.match(desired(scene), scene).rating_key == rating_key:
                return
        except AmbiguousMatch as error:
            candidates = error.details["candidates"]
        except PlexNotFound as error:
            raise UsageError(f"scene {scene.id}: {error}") from None
    if rating_key not in [one["rating_key"] for one in candidates]:
        known = (
            "; ".join(f"{one['rating_key']} = {describe([one])}" for one in candidates)
            or "it is certain already"
        )
        raise UsageError(
            f"item {rating_key} is none of those that scene {scene.id} may be: {known}"
        )


def _outcome(context: Context, scene: Scene, started: float, reason: str | None) -> Result:
    scene_id, data = scene.id, {"scene_id": scene.id}
    if load_sync_timestamps(context.data_dir).get(scene_id, 0.0) >= started:
        return Result(f"Scene {scene_id} is in sync", data)
    with closing(DeadLetterQueue(context.data_dir, redact=context.redactor.redact)) as dlq:
        letters = [
            letter for letter in dlq.get_by_scene(scene_id) if letter["failed_at"] >= started
        ]
    why = letters[0]["error_message"] if letters else reason or _why_not(context, scene)
    return Result(f"Scene {scene_id} could not be synced: {why}", {**data, "reason": why}, ok=False)


def _why_not(context: Context, scene: Scene) -> str:
    """Say why a scene that did not fail for good is not in sync."""
    with QueueManager(context.data_dir) as queue:
        job = queue.find_waiting(f"scene_{scene.id}")
    if job is None:
        return "it is not marked organized, and only_organized is on"
    if job.get("last_error_type") == PlexNotFound.__name__:
        return f"no Plex item has the file {scene.files[0].path}; it is tried again by itself"
    return f"{job.get('last_error_type') or 'it waits'}; it is tried again by itself"
