"""Sync recent scenes, all scenes, one scene, or the queued edits."""

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
from tasks.foreground import drain_queue
from tasks.wording import error_words
from worker.bootstrap import HISTORY_FILE, open_readonly
from worker.job_runner import desired

DAY = 86_400.0


def sync_recent(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Sync the scenes that changed in the last 24 hours and are not in sync.

    Args:
        arguments: `force`: also scenes that are in sync.

    Raises:
        See `_sync`.
    """
    since = time.time() - DAY
    recent = [
        one for one in context.stash.updated_since(since) if (parse_time(one[1]) or since) >= since
    ]
    return _sync(context, "Sync recent scenes", [recent], force=is_set(arguments, "force"))


def sync_all(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Sync all scenes that are not in sync. After a stop, the next run resumes.

    Args:
        arguments: `force`: also scenes that are in sync.

    Raises:
        See `_sync`.
    """
    return _sync(
        context, "Sync all scenes", context.stash.all_scenes(), force=is_set(arguments, "force")
    )


def process_queue(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Process all queued edits that are due.

    Raises:
        ValueError, OSError, sqlite3.Error: See `tasks.foreground.drain_queue`.
    """
    reason = drain_queue(context.data_dir, context.entry, context.progress, context.tell)
    text = f"Process queue: {reason}" if reason else "Process queue: all due edits are processed"
    return Result(text, {"waiting": reason} if reason else {}, ok=reason is None)


def resync(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Sync one scene and its cover, even if it is in sync.

    Args:
        arguments: `scene_id`; `rating_key`: the Plex item of this scene from now on.

    Raises:
        UsageError: Stash has no such scene, or the item is not a candidate.
        TransientError, PermanentError, SettingsError
        ValueError, OSError, sqlite3.Error: See `tasks.foreground.drain_queue`.
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
    reason = drain_queue(context.data_dir, context.entry, context.progress, context.tell)
    return _outcome(context, scene, started, reason)


def _sync(
    context: Context, name: str, pages: Iterable[list[tuple[int, str]]], *, force: bool
) -> Result:
    """Queue the scenes that are not in sync and process the queue.

    Args:
        pages: (id, updated_at) of scenes.

    Raises:
        StashUnavailable, StashRefused, StashQueryError
        ValueError, OSError, sqlite3.Error: See `tasks.foreground.drain_queue`.
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
    reason = drain_queue(context.data_dir, context.entry, context.progress, context.tell)
    text = f"{name}: {queued} queued, {in_sync} already in sync. {reason or 'All done'}"
    data = {"queued": queued, "in_sync": in_sync, **({"waiting": reason} if reason else {})}
    return Result(text, data, ok=reason is None)


def _check_choice(context: Context, scene: Scene, rating_key: int) -> None:
    """Check that the item is a candidate of the scene.

    Raises:
        UsageError: It is not; the text names the candidates.
    """
    candidates: list[dict[str, Any]] = []
    with open_readonly(context.data_dir, context.config(), context.stash) as runner:
        # Only in a read-only copy: an earlier choice must not hide the other candidates.
        runner.history.choose(scene.id, None)
        try:
            if runner.match(desired(scene), scene).rating_key == rating_key:
                return
        except AmbiguousMatch as error:
            candidates = error.details["candidates"]
        except PlexNotFound as error:
            raise UsageError(f"scene {scene.id}: {error}") from None
    if rating_key not in [one["rating_key"] for one in candidates]:
        known = "; ".join(f"{one['rating_key']} = {describe([one])}" for one in candidates)
        reason = f"its candidates are {known}" if known else "its match with another is certain"
        raise UsageError(f"item {rating_key} is not a candidate of scene {scene.id}: {reason}")


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
    """Return the reason why a scene that is not a dead letter is not in sync."""
    with QueueManager(context.data_dir) as queue:
        job = queue.find_waiting(f"scene_{scene.id}")
    if job is None:
        return "it is not organized, and the setting Only organized scenes is on"
    error_type = job.get("last_error_type")
    if error_type == PlexNotFound.__name__:
        reason = f"no Plex item has the file {scene.files[0].path}"
    else:
        reason = error_words(error_type) if error_type else "it is queued"
    return f"{reason}; PlexSync tries again automatically"
