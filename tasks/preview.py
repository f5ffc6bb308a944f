"""Task *Preview*: show what a sync would change in Plex, sums first; write nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from plex.exceptions import PlexNotFound, PlexPermanentError
from plex.items import PlexItem
from plex.matcher import AmbiguousMatch
from plex.names import fold, without
from plex.plan import Edits
from queue.timestamps import parse_time
from stash.records import Scene
from tasks.context import Context, Result, UsageError, scene_id_of
from tasks.sync import DAY
from validation.errors import PermanentError
from worker.bootstrap import open_readonly
from worker.job_runner import JobRunner

SCOPES = ("recent", "all", "scene")
#: Scenes read from Stash in one query, and items from Plex.
_PAGE = 200
_BATCH = 20
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
_LISTS = {"collection": "collections", "genre": "genres", "actor": "actors"}


@dataclass
class Sums:
    """The changes that a sync would make, summed over all scenes."""

    outcomes: Counter[str] = field(default_factory=Counter)
    #: Plex field → scenes in which it would be written
    fields: Counter[str] = field(default_factory=Counter)
    #: of these, where the field is locked in Plex
    locked: Counter[str] = field(default_factory=Counter)
    #: fields kept as a person changed them in Plex
    kept: Counter[str] = field(default_factory=Counter)
    #: kind → folded name → name that Plex would get
    names: dict[str, dict[str, str]] = field(default_factory=dict)
    #: bytes
    poster_size: int = 0

    def add(self, item: PlexItem, edits: Edits, poster: bytes | None) -> None:
        """Add one item's changes."""
        for name, (before, after) in edits.changes.items():
            self.fields[name] += 1
            self.locked[name] += name in item.locked
            if isinstance(after, tuple) and isinstance(before, tuple):
                added = self.names.setdefault(name, {})
                added.update({fold(one): one for one in without(after, before)})
        self.kept.update(edits.kept)
        if poster is not None:
            self.fields["poster"] += 1
            self.poster_size += len(poster)


def preview(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Compare scenes with their items in Plex.

    Args:
        arguments: `scope`: "recent" (24 hours, the default), "all", or "scene" with `scene_id`.

    Raises:
        UsageError
        StashUnavailable, StashRefused, StashQueryError, SettingsError
        PlexTemporaryError, PlexPermanentError
    """
    config, sums = context.config(), Sums()
    changed: list[dict[str, Any]] = []
    with open_readonly(context.data_dir, config, context.stash) as runner:
        for scene, done, total in _scenes(context, runner, arguments):
            kind, changes = _preview_one(runner, scene, sums)
            sums.outcomes[kind] += 1
            if changes and len(changed) < _SHOWN:
                changed.append({"scene_id": scene.id, **changes})
            context.progress(done, max(0, total - done))
        new = _new_names(runner, sums)
    text = ", ".join(f"{sums.outcomes[kind]} {words}" for kind, words in _WORDS.items())
    data = {
        **{kind: sums.outcomes[kind] for kind in _WORDS},
        "fields": dict(sums.fields),
        "locked": {name: count for name, count in sums.locked.items() if count},
        "kept": dict(sums.kept),
        "new": {kind: len(names) for kind, names in new.items()},
        "poster_bytes": sums.poster_size,
        "scenes": changed,
    }
    return Result(f"Preview: {text}", data, [*_sums_lines(sums, new), *_lines(changed)])


def _scenes(
    context: Context, runner: JobRunner, arguments: Mapping[str, Any]
) -> Iterator[tuple[Scene, int, int]]:
    """Yield (scene, number so far, total)."""
    scope = str(arguments.get("scope") or ("scene" if arguments.get("scene_id") else "recent"))
    if scope not in SCOPES:
        raise UsageError(f"scope is {scope!r}: must be one of {', '.join(SCOPES)}")
    stash = context.stash
    if scope == "scene":
        scene = stash.find_scene(scene_id_of(arguments))
        if scene is None:
            raise UsageError(f"Stash has no scene {scene_id_of(arguments)}")
        yield scene, 1, 1
        return
    since = time.time() - DAY if scope == "recent" else None
    wanted = None if since is None else stash.updated_filter(since)
    total, done, last = stash.scene_count(wanted), 0, 0
    while page := stash.page_after(last, _PAGE, wanted):
        last = page[-1].id
        some = [one for one in page if since is None or (parse_time(one.updated_at) or 0) >= since]
        done += len(page) - len(some)
        for start in range(0, len(some), _BATCH):
            batch = some[start : start + _BATCH]
            runner.read_ahead(batch)
            for scene in batch:
                done += 1
                yield scene, done, total


def _preview_one(runner: JobRunner, scene: Scene, sums: Sums) -> tuple[str, dict[str, Any]]:
    try:
        found = runner.preview(scene)
    except PlexNotFound:
        return "not_found", {}
    except AmbiguousMatch:
        return "ambiguous", {}
    except PlexPermanentError:  # concerns all scenes
        raise
    except PermanentError:  # the scene has no file
        return "skipped", {}
    if not found:
        return "skipped", {}
    fields: dict[str, Any] = {}
    kept: list[str] = []
    for item, edits, poster in found:
        sums.add(item, edits, poster)
        kept += edits.kept
        changes = {name: {"from": one, "to": other} for name, (one, other) in edits.changes.items()}
        if poster is not None:
            changes["poster"] = {"from": "", "to": f"the scene's cover, {len(poster)} bytes"}
        fields |= changes
    if not fields and not kept:
        return "in_sync", {}
    item = found[0][0]
    shown = {"item": f"{item.title} ({item.library})", "fields": fields, "kept": kept}
    return ("changed" if fields else "in_sync"), shown


def preview_all(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Compare all scenes with their items in Plex; see `preview`."""
    return preview(context, {**arguments, "scope": "all"})


def _new_names(runner: JobRunner, sums: Sums) -> dict[str, list[str]]:
    """Return kind → names that no item in Plex has yet."""
    new = {}
    for kind in _LISTS:
        added = sums.names.get(kind) or {}
        known = runner.plex.vocabulary(kind) if added else frozenset()
        new[kind] = [name for key, name in added.items() if key not in known]
    return new


def _sums_lines(sums: Sums, new: Mapping[str, list[str]]) -> Iterator[str]:
    for name, count in sums.fields.items():
        locked = f", {sums.locked[name]} of them locked in Plex" if sums.locked[name] else ""
        size = f", {sums.poster_size / 1e6:.1f} MB" if name == "poster" else ""
        yield f"{name}: {count} scenes would change{locked}{size}"
    for kind, words in _LISTS.items():
        if new[kind]:
            yield f"New {words} in Plex: {len(new[kind])} ({_shown(new[kind][:10])})"
    for name, count in sums.kept.items():
        yield f"{name}: kept in {count} scenes as it is in Plex (locked there)"


def _lines(changed: list[dict[str, Any]]) -> Iterator[str]:
    for one in changed:
        for name, change in one["fields"].items():
            before, after = _shown(change["from"]), _shown(change["to"])
            yield f"Scene {one['scene_id']} {name}: {before} -> {after}"
        for name in one["kept"]:
            yield f"Scene {one['scene_id']} {name}: kept as it is in Plex (locked there)"


def _shown(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return repr(text if len(text) <= 100 else f"{text[:99]}…")
