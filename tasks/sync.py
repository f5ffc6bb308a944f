"""Sync recent scenes, all scenes, one scene, or the queued edits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from history.records import Agreement, Status
from hooks.plugin import wake_if_waiting
from plex.exceptions import PlexNotFound
from plex.matcher import describe, describe_candidates
from stash.client import StashRefused, StashUnavailable
from stash.records import Scene
from tasks.context import Context, Result, UsageError, is_set, rating_keys_of, scene_id_of
from tasks.summary import summarize
from worker.bootstrap import open_history_readonly, open_readonly

DAY = 86_400.0


def sync_recent(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Sync the scenes that changed in the last 24 hours and are not in sync.

    Args:
        arguments: `force`: also scenes that are in sync, over edits made in Plex.

    Raises:
        StashUnavailable, StashRefused, StashQueryError
        ValueError, OSError, sqlite3.Error: See `tasks.foreground.run_command`.
    """
    since = time.time() - DAY
    recent = {"since": since, "filter": context.stash.updated_filter(since)}
    return _sync(context, "Sync recent scenes", {**recent, "force": is_set(arguments, "force")})


def sync_all(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Sync all scenes that are not in sync, those seen at installation too.

    Args:
        arguments: `force`: also scenes that are in sync, over edits made in Plex.

    Raises:
        See `sync_recent`.
    """
    return _sync(context, "Sync all scenes", {"force": is_set(arguments, "force")})


def process_queue(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Process all queued edits that are due.

    Raises:
        ValueError, OSError, sqlite3.Error: See `tasks.foreground.run_command`.
    """
    return summarize("Process queue", context.run("drain", {}))


def wake(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Start the worker if edits wait and none is running.

    Raises:
        OSError, sqlite3.Error: The queue is not readable, or no process could be started.
    """
    started = wake_if_waiting(context.data_dir, context.entry)
    text = "the worker was started" if started else "nothing to do"
    return Result(f"Wake: {text}", {"started": started})


def approve(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Write what PlexSync holds back because it is much, or drop it.

    Args:
        arguments: `no`: drop it; the scenes stay as they are in Plex. `visible`: what would show
            items to restricted accounts, which is a question of its own.

    Raises:
        ValueError, OSError, sqlite3.Error: See `tasks.foreground.run_command`.
    """
    refused, started = is_set(arguments, "no"), {"started_at": time.time()}
    visible = is_set(arguments, "visible")
    result = context.run("approve", {"no": refused, "visible": visible})
    name = "Show to restricted accounts" if visible else "Approve changes"
    if result.get("reason"):
        return Result(f"{name}: {result['reason']}", result, ok=False)
    if refused:
        return Result(f"{name}: dropped; Plex stays as it is", result)
    count = result.get("approved", 0)
    if not count:
        return Result(f"{name}: nothing waits for your approval", result)
    return summarize(f"{name}: {count} scenes approved", context.run("drain", started))


def ignore(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Leave a scene alone from now on, or those of a folder that are not in Plex.

    Args:
        arguments: `scene_id`, or `folder`: as *Status* names it; `off`: sync it again.

    Raises:
        UsageError
        StashQueryError
        ValueError, OSError, sqlite3.Error: See `tasks.foreground.run_command`.
    """
    is_off, folder = is_set(arguments, "off"), str(arguments.get("folder") or "").strip()
    if folder:
        result = context.run("ignore", {"folder": folder, "off": is_off})
        count = result.get("scenes", 0)
        who = f"{count} scene{'' if count == 1 else 's'} in {folder}"
        text = f"{who} {'synced again' if is_off else 'left alone from now on'}"
    else:
        scene_id = scene_id_of(arguments)
        command: dict[str, Any] = {"scene_id": scene_id, "off": is_off}
        if not is_off:
            with suppress(StashUnavailable, StashRefused):  # the scene's next comparison notes it
                scene = context.stash.find_scene(scene_id)
                command["created_at"] = scene.created_at if scene is not None else ""
        result = context.run("ignore", command)
        words = "is synced again" if is_off else "is left alone from now on"
        text = f"Scene {scene_id} {words}"
    reason = result.get("reason")
    return Result(f"{text}: {reason}" if reason else text, result, ok=not reason)


def candidates(context: Context, arguments: Mapping[str, Any]) -> Result:
    """List the items in Plex that may be a scene's. Writes nothing.

    Args:
        arguments: `scene_id`.

    Raises:
        UsageError: Stash has no such scene.
        TransientError, PermanentError, SettingsError
    """
    scene = scene_of(context, arguments)
    with open_readonly(context.data_dir, context.config(), context.stash) as runner:
        try:
            items = runner.matcher.candidates(scene).items
        except PlexNotFound:
            items = ()
    found = describe_candidates(items)
    lines = [f"rating_key {one['rating_key']}: {describe([one])}" for one in found]
    text = f"Scene {scene.id} may be {len(found)} items in Plex"
    return Result(text, {"scene_id": scene.id, "candidates": found}, lines)


def resync(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Sync one scene and its cover, even if it is in sync, over edits made in Plex.

    Args:
        arguments: `scene_id`: default: the scene saved last; `rating_key`: the Plex items of this
            scene from now on, separated by commas, or `both` for all candidates.

    Raises:
        UsageError: Stash has no such scene, or an item is not a candidate.
        TransientError, PermanentError, SettingsError
        ValueError, OSError, sqlite3.Error: See `tasks.foreground.run_command`.
    """
    scene = scene_of(context, arguments)
    wanted = rating_keys_of(arguments)
    command: dict[str, Any] = {"scene_id": scene.id, "created_at": scene.created_at}
    if wanted is not None:
        command["items"] = _choose(context, scene, wanted)
    started = time.time()
    result = context.run("resync", command)
    return _outcome(context, scene, started, result)


def scene_of(context: Context, arguments: Mapping[str, Any]) -> Scene:
    """Return the scene that `scene_id` names, else the one saved last.

    Raises:
        UsageError: Stash has no such scene.
        StashUnavailable, StashRefused, StashQueryError
    """
    if str(arguments.get("scene_id") or "").strip():
        scene_id = scene_id_of(arguments)
        scene = context.stash.find_scene(scene_id)
        if scene is None:
            raise UsageError(f"Stash has no scene {scene_id}")
        return scene
    latest = context.stash.latest(1, 1)
    if not latest:
        raise UsageError("Stash has no scene")
    return latest[0]


def _sync(context: Context, name: str, arguments: dict[str, Any]) -> Result:
    arguments["started_at"] = time.time()
    return summarize(name, context.run("sync", arguments))


def _choose(context: Context, scene: Scene, wanted: list[int] | str) -> list[dict[str, Any]]:
    """Return the chosen items for the command, all of them candidates.

    Raises:
        UsageError: One is not; the text names the candidates.
    """
    with open_readonly(context.data_dir, context.config(), context.stash) as runner:
        try:
            match = runner.matcher.candidates(scene)
        except PlexNotFound as error:
            raise UsageError(f"scene {scene.id}: {error}") from None
        candidates = match.chosen.keys
        keys = candidates if isinstance(wanted, str) else wanted
        items = {item.rating_key: item for item in match.items}
        beyond = [key for key in keys if key in candidates and key not in items]
        items.update((item.rating_key, item) for item in runner.plex.read(beyond))
        server = runner.plex.server
    stranger = next((key for key in keys if key not in items), None)
    if stranger is not None:
        known = "; ".join(
            f"{one['rating_key']} = {describe([one])}" for one in describe_candidates(match.items)
        )
        raise UsageError(
            f"item {stranger} is not a candidate of scene {scene.id}: its candidates are {known}"
        )
    paths = {key: item.paths[0] if item.paths else "" for key, item in items.items()}
    return [{"rating_key": key, "server": server, "path": paths[key]} for key in keys]


def _outcome(context: Context, scene: Scene, started: float, result: Mapping[str, Any]) -> Result:
    data: dict[str, Any] = {"scene_id": scene.id}
    with open_history_readonly(context.data_dir) as history:
        rows = history.of_scene(scene.id)
    fresh = [row for row in rows if row.checked_at >= started]
    if fresh and all(row.status in (Status.IN_SYNC, Status.WRITTEN) for row in fresh):
        return Result(f"Scene {scene.id} is in sync", data)
    why = _why_not(scene, fresh or rows, result)
    return Result(f"Scene {scene.id} could not be synced: {why}", {**data, "reason": why}, ok=False)


def _why_not(scene: Scene, rows: list[Agreement], result: Mapping[str, Any]) -> str:
    """Return the reason why a scene is not in sync."""
    if result.get("reason"):
        return str(result["reason"])
    status = next((row.status for row in rows), None)
    reason = next((row.reason for row in rows if row.reason), "")
    if status is Status.SKIPPED and reason == "not organized":
        return "it is not organized, and the setting Only organized scenes is on"
    if status is Status.NOT_IN_PLEX:
        path = scene.files[0].path if scene.files else ""
        return f"no Plex item has the file {path}; PlexSync tries again automatically"
    return reason or "it is queued; PlexSync tries again automatically"
