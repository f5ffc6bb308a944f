"""Task *Preview*: show what a sync would change in Plex, field by field; write nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from plex.exceptions import PlexNotFound, PlexPermanentError
from plex.matcher import AmbiguousMatch
from queue.timestamps import parse_time
from stash.client import StashUnavailable
from stash.records import Scene
from tasks.context import Context, Result, UsageError, scene_id_of
from tasks.sync import DAY
from validation.errors import PermanentError
from worker.bootstrap import open_readonly
from worker.job_runner import JobRunner

SCOPES = ("recent", "all", "scene")
#: Scenes read from Stash in one query.
_BATCH = 40
#: Scenes whose changes are shown.
_SHOWN = 500
#: Outcome → its words in the summary.
_WORDS = {
    "changed": "would change",
    "in_sync": "in sync",
    "ambiguous": "ambiguous",
    "not_found": "not in Plex",
    "skipped": "skipped",
}


def preview(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Compare scenes with their items in Plex.

    Args:
        arguments: `scope`: "recent" (24 hours, the default), "all", or "scene" with `scene_id`.

    Raises:
        UsageError
        StashUnavailable, StashRefused, StashQueryError, SettingsError
        PlexTemporaryError, PlexPermanentError
    """
    config = context.config()
    changed: list[dict[str, Any]] = []
    counts = dict.fromkeys(_WORDS, 0)
    ids = _scene_ids(context, arguments)
    with open_readonly(context.data_dir, config, context.stash) as runner:
        for done, scene in enumerate(_read(context, ids), 1):
            in_scope = scene.organized or not config.only_organized
            kind, changes = _preview_one(runner, scene) if in_scope else ("skipped", {})
            counts[kind] += 1
            if changes and len(changed) < _SHOWN:
                changed.append({"scene_id": scene.id, "changes": changes})
            context.progress(done, len(ids) - done)
    text = ", ".join(f"{count} {_WORDS[kind]}" for kind, count in counts.items())
    return Result(f"Preview: {text}", {**counts, "scenes": changed}, [*_lines(changed)])


def _scene_ids(context: Context, arguments: Mapping[str, Any]) -> list[int]:
    scope = str(arguments.get("scope") or ("scene" if arguments.get("scene_id") else "recent"))
    if scope == "scene":
        return [scene_id_of(arguments)]
    if scope == "all":
        return [scene_id for page in context.stash.all_scenes() for scene_id, _ in page]
    if scope == "recent":
        since = time.time() - DAY
        found = context.stash.updated_since(since)
        return [
            scene_id for scene_id, updated_at in found if (parse_time(updated_at) or since) >= since
        ]
    raise UsageError(f"scope is {scope!r}: must be one of {', '.join(SCOPES)}")


def _read(context: Context, ids: list[int]) -> Iterator[Scene]:
    for start in range(0, len(ids), _BATCH):
        batch = ids[start : start + _BATCH]
        if len(batch) == 1:
            scene = context.stash.find_scene(batch[0])
            if scene is None:
                raise UsageError(f"Stash has no scene {batch[0]}")
            yield scene
        else:
            yield from _read_batch(context, batch)


def _read_batch(context: Context, batch: list[int]) -> Iterator[Scene]:
    try:
        yield from context.stash.find_scenes(batch)
    except StashUnavailable:  # one missing scene makes Stash reject the whole query
        yield from (scene for scene in map(context.stash.find_scene, batch) if scene is not None)


def _preview_one(runner: JobRunner, scene: Scene) -> tuple[str, dict[str, Any]]:
    try:
        item, edits = runner.preview(scene)
    except PlexNotFound:
        return "not_found", {}
    except AmbiguousMatch:
        return "ambiguous", {}
    except PlexPermanentError:  # concerns all scenes
        raise
    except PermanentError:  # the scene has no file
        return "skipped", {}
    if not edits.changes:
        return "in_sync", {}
    fields = {
        name: {"from": before, "to": after} for name, (before, after) in edits.changes.items()
    }
    return "changed", {"item": f"{item.title} ({item.library})", "fields": fields}


def _lines(changed: list[dict[str, Any]]) -> Iterator[str]:
    for one in changed:
        for name, change in one["changes"]["fields"].items():
            before, after = _shown(change["from"]), _shown(change["to"])
            yield f"Scene {one['scene_id']} {name}: {before} -> {after}"


def _shown(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return repr(text if len(text) <= 100 else f"{text[:99]}…")
