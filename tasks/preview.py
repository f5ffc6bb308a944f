"""Task *Preview*: show what a sync would change in Plex, sums first; write nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from history.fields import OPEN
from plex.exceptions import PlexNotFound, PlexPermanentError
from plex.items import Library, PlexItem
from plex.matcher import AmbiguousMatch
from plex.names import fold, without
from plex.plan import Edits
from queue.timestamps import parse_time
from stash.records import Scene
from tasks.context import Context, Result, UsageError, scene_id_of
from tasks.rules import config_with
from tasks.sync import DAY
from validation.errors import PermanentError
from worker.bootstrap import open_readonly
from worker.job_runner import JobRunner
from worker.reconcile.approval import describe_visible

SCOPES = ("recent", "all", "scene")
#: Scenes read from Stash in one query, and items from Plex.
_PAGE = 200
_BATCH = 20
#: Scenes whose changes are shown.
_SHOWN = 500
#: Reasons for leaving scenes out that are shown.
_REASONS = 20
#: Outcome → its words in the summary.
_WORDS = {
    "changed": "would change",
    "in_sync": "in sync",
    "ambiguous": "ambiguous",
    "not_found": "not in Plex",
    "skipped": "skipped",
}
_LISTS = {
    "collection": "collections",
    "genre": "genres",
    "actor": "actors",
    "label": "labels",
}


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
    #: why a scene is left out → scenes
    left_out: Counter[str] = field(default_factory=Counter)
    #: scenes in which a content rating or a label would wait for a question of its own
    asking: int = 0
    #: kind → folded name → name that Plex would get
    names: dict[str, dict[str, str]] = field(default_factory=dict)
    #: Plex field → names that would go from it, summed over all items
    removed: Counter[str] = field(default_factory=Counter)
    #: items from which names would go
    items_with_removed: int = 0
    #: picture → bytes that would be uploaded
    sizes: Counter[str] = field(default_factory=Counter)

    def add(self, item: PlexItem, edits: Edits, pictures: Mapping[str, bytes]) -> None:
        """Add one item's changes."""
        gone = {name: len(names) for name, names in names_removed(edits).items()}
        self.removed.update(gone)
        self.items_with_removed += bool(gone)
        for name, (before, after) in edits.changes.items():
            self.fields[name] += 1
            self.locked[name] += name in item.locked
            if isinstance(after, tuple) and isinstance(before, tuple):
                added = self.names.setdefault(name, {})
                added.update({fold(one): one for one in without(after, before)})
        self.kept.update(edits.kept)
        self.asking += any(state.asks == OPEN for state in edits.fields.values())
        for name, picture in pictures.items():
            self.fields[name] += 1
            self.sizes[name] += len(picture)


def names_removed(edits: Edits) -> dict[str, tuple[str, ...]]:
    """Return Plex field → names that would go from it, of the lists that lose some."""
    removed = {
        name: without(before, after)
        for name, (before, after) in edits.changes.items()
        if isinstance(before, tuple) and isinstance(after, tuple)
    }
    return {name: names for name, names in removed.items() if names}


def preview(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Compare scenes with their items in Plex.

    Args:
        arguments: `scope`: "recent" (24 hours, the default), "all", or "scene" with `scene_id`;
            `rules`: rules that are not saved, see `tasks.rules.rules_of`.

    Raises:
        UsageError
        StashUnavailable, StashRefused, StashQueryError, SettingsError
        PlexTemporaryError, PlexPermanentError
    """
    return _preview(context, arguments)


def preview_origin(context: Context, library: Library, answer: str) -> Result:
    """Show which names would go from a library's lists if the user gave an answer about it.

    Raises:
        See `preview`.
    """
    return _preview(context, {"scope": "all"}, library, answer)


def _preview(
    context: Context, arguments: Mapping[str, Any], library: Library | None = None, answer: str = ""
) -> Result:
    config, sums = config_with(context, arguments), Sums()
    changed: list[dict[str, Any]] = []
    is_asked = bool(arguments.get("scene_id") or arguments.get("force"))
    with open_readonly(context.data_dir, config, context.stash) as runner:
        if library is not None:
            runner.origins.assume(library.key, answer)
        for scene, done, total in _scenes(context, runner, arguments):
            kind, changes = _preview_one(runner, scene, sums, library, is_asked=is_asked)
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
        "removed": {name: count for name, count in sums.removed.items() if count},
        "items_with_removed": sums.items_with_removed,
        "left_out": dict(sums.left_out),
        "visible": sums.asking,
        "poster_bytes": sums.sizes["poster"],
        "scenes": changed,
    }
    if library is not None:
        text = f"{library.name}: {_removed(sums)}"
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


def _preview_one(
    runner: JobRunner, scene: Scene, sums: Sums, library: Library | None, *, is_asked: bool
) -> tuple[str, dict[str, Any]]:
    try:
        found = runner.preview(scene, is_asked=is_asked)
        if library is not None:
            found = [
                (item, _only_removals(edits), {})
                for item, edits, _ in found
                if item.library_key == library.key
            ]
    except PlexNotFound:
        return "not_found", {}
    except AmbiguousMatch:
        return "ambiguous", {}
    except PlexPermanentError:  # concerns all scenes
        raise
    except PermanentError:  # the scene has no file
        return "skipped", {}
    if not found:
        sums.left_out[runner.why_skipped(scene, is_asked=is_asked)] += 1
        return "skipped", {}
    fields: dict[str, Any] = {}
    kept: list[str] = []
    for item, edits, pictures in found:
        sums.add(item, edits, pictures)
        kept += edits.kept
        changes: dict[str, Any] = {
            name: {"from": one, "to": other} for name, (one, other) in edits.changes.items()
        }
        for name, picture in pictures.items():
            cover = f"the scene's cover, {len(picture)} bytes"
            back = {"from": "the scene's cover", "to": "what was there before"}
            changes[name] = {"from": "", "to": cover} if picture else back
        fields |= changes
    if not fields and not kept:
        return "in_sync", {}
    item = found[0][0]
    shown = {"item": f"{item.title} ({item.library})", "fields": fields, "kept": kept}
    return ("changed" if fields else "in_sync"), shown


def preview_all(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Compare all scenes with their items in Plex; see `preview`."""
    return preview(context, {**arguments, "scope": "all"})


def _only_removals(edits: Edits) -> Edits:
    """Return edits without what takes no name out of a list."""
    changes = {name: edits.changes[name] for name in names_removed(edits)}
    return replace(edits, changes=changes, kept=())


def _removed(sums: Sums) -> str:
    """Return how many names would go, from how many items."""
    each = ", ".join(f"{count} of {name}" for name, count in sums.removed.items() if count)
    count = sum(sums.removed.values())
    return f"{count} names would go from {sums.items_with_removed} items" + (
        f" ({each})" if each else ""
    )


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
        size = f", {sums.sizes[name] / 1e6:.1f} MB" if sums.sizes[name] else ""
        yield f"{name}: {count} scenes would change{locked}{size}"
    if sums.items_with_removed:
        yield f"Lists: {_removed(sums)}"
    for kind, words in _LISTS.items():
        if new[kind]:
            yield f"New {words} in Plex: {len(new[kind])} ({_shown(new[kind][:10])})"
    for name, count in sums.kept.items():
        yield f"{name}: kept in {count} scenes as it is in Plex (locked there)"
    for reason, count in sums.left_out.most_common(_REASONS):
        yield f"{count} scene{'s' if count > 1 else ''}: {reason}"
    if sums.asking:
        yield f"{describe_visible(sums.asking)}: that is asked before it is written"


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
