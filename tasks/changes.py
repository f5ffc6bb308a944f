"""Take changes back, decide about single fields, pause, try, and remove PlexSync from Plex."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from history.fields import FieldState, Value
from history.records import ART, PICTURES, POSTER
from history.store import History
from tasks.context import Context, Result, UsageError, is_set, number_of, scene_id_of
from tasks.summary import summarize
from worker.bootstrap import open_history_readonly
from worker.maintenance import CUT_RUNS
from worker.undo import GONE, MOST_LEFT, Unit, find, plan

#: Name for the user → the field's name in Plex. Both are accepted.
FIELDS = {
    "title": "title",
    "details": "summary",
    "date": "originallyAvailableAt",
    "year": "year",
    "studio": "studio",
    "rating": "userRating",
    "performers": "actor",
    "director": "director",
    "tags": "genre",
    "collections": "collection",
    "content rating": "contentRating",
    "labels": "label",
    "tagline": "tagline",
    "original title": "originalTitle",
    "sort title": "titleSort",
    "poster": POSTER,
    "background": ART,
}
_WORDS = {name: words for words, name in FIELDS.items()}
#: Scenes of a try, and the most.
_TRY, _MOST_TRIED = 20, 1_000
_STEP = 200
_LONGEST_RUN = 80


def undo(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Give fields in Plex back what they had before PlexSync, and sync them no more.

    Args:
        arguments: `change`, `scene_id` (all its fields, or `field`), or `run`; `preview`: only show
            what would be taken back; `visible`: also what hides items from restricted accounts.

    Raises:
        UsageError
        ValueError, OSError, sqlite3.Error: See `tasks.foreground.run_command`.
    """
    what = _what(arguments)
    if is_set(arguments, "visible"):
        what["visible"] = True
    if is_set(arguments, "preview"):
        return _preview(context, "Undo", what)
    result = _outcome("Undo", context.run("undo", what))
    if what.get("run"):
        with open_history_readonly(context.data_dir) as history:
            if what["run"] in history.get(CUT_RUNS, []):
                text = f"{result.summary}. Its oldest changes are not on record any more"
                return Result(text, result.data, result.lines, ok=False)
    return result


def remove(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Take back all that PlexSync wrote to Plex, and sync nothing until you say so.

    Args:
        arguments: `preview`: only show it; `section`: only this library, by its number in Plex;
            `off`: sync again what was taken back; `visible`: also what hides items from restricted
            accounts.

    Raises:
        UsageError
        ValueError, OSError, sqlite3.Error: See `tasks.foreground.run_command`.
    """
    name = "Remove PlexSync from Plex"
    if is_set(arguments, "off"):
        result = context.run("restore", {})
        if result.get("reason"):
            return Result(f"{name}: {result['reason']}", result, ok=False)
        count = result["scenes"]
        return Result(f"{count} scenes are synced again from the next comparison on", result)
    what: dict[str, Any] = {"visible": True} if is_set(arguments, "visible") else {}
    if str(arguments.get("section") or "").strip():
        what["section"] = number_of(arguments, "section", "a library", "its number in Plex")
    if is_set(arguments, "preview"):
        return _preview(context, name, {"all": True, **what})
    return _outcome(name, context.run("remove", what))


def take(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Decide about one field of a scene: write Stash's value, or keep Plex's from now on.

    Args:
        arguments: `scene_id`, `field`, `from`: `stash` or `plex`; `agreement`: only this item.

    Raises:
        UsageError
        ValueError, OSError, sqlite3.Error: See `tasks.foreground.run_command`.
    """
    scene_id, name = scene_id_of(arguments), _field(arguments)
    source = str(arguments.get("from") or "").strip().casefold()
    if source not in ("stash", "plex"):
        raise UsageError("from: it is stash (write Stash's value) or plex (keep Plex's)")
    what: dict[str, Any] = {"scene_id": scene_id, "field": name}
    if str(arguments.get("agreement") or "").strip():
        hint = "as the page names it"
        what["agreement"] = number_of(arguments, "agreement", "an item of the scene", hint)
    result = context.run("take" if source == "stash" else "hold", what)
    data, words = {"scene_id": scene_id, "field": name}, _WORDS[name]
    reason = result.get("reason")
    if not reason and source == "stash":
        reason = _why_waiting(context, scene_id, name)
    if reason:
        text = f"Scene {scene_id}: {words}: {reason}"
        return Result(text, {**data, "reason": reason}, ok=False)
    if source == "plex":
        return Result(f"Scene {scene_id}: {words} stays as it is in Plex from now on", data)
    return Result(f"Scene {scene_id}: {words} is as in Stash, and is synced again", data)


def pause(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Write nothing to Plex until it goes on. Edits are kept.

    Args:
        arguments: `on`: false to go on; default: true.

    Raises:
        ValueError, OSError, sqlite3.Error: See `tasks.foreground.run_command`.
    """
    is_on = is_set(arguments, "on") if arguments.get("on") is not None else True
    result = context.run("pause", {"on": is_on})
    if result.get("reason"):
        return Result(f"Pause: {result['reason']}", result, ok=False)
    if is_on:
        return Result("PlexSync is paused: edits are kept, and nothing is written to Plex", result)
    return Result("PlexSync goes on", result)


def try_some(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Sync some scenes that would change in Plex, as one run that can be taken back.

    Args:
        arguments: `count`: of scenes, 20 by default.

    Raises:
        UsageError
        ValueError, OSError, sqlite3.Error: See `tasks.foreground.run_command`.
    """
    count = _TRY
    if str(arguments.get("count") or "").strip():
        count = number_of(arguments, "count", "a number of scenes", f"1 to {_MOST_TRIED}")
    if count > _MOST_TRIED:
        raise UsageError(f"count: at most {_MOST_TRIED} scenes")
    result = context.run("try", {"count": count, "started_at": time.time()})
    found = summarize(f"Try {count} scenes", {**result, "left": {}})
    run = result.get("run")
    lines = [*found.lines, *([f"To take it back: undo --run {run}"] if run else [])]
    return Result(found.summary, {**found.data, "run": run}, lines, ok=found.ok)


def _what(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an undo is about.

    Raises:
        UsageError: It is not said, or said twice.
    """
    named = [
        name for name in ("change", "scene_id", "run") if str(arguments.get(name) or "").strip()
    ]
    if len(named) != 1:
        raise UsageError("name what to undo: a change, a scene_id, or a run")
    if named == ["run"]:
        return {"run": str(arguments["run"]).strip()[:_LONGEST_RUN]}
    if named == ["change"]:
        hint = "the number that the list of changes shows"
        return {"change": number_of(arguments, "change", "a change", hint)}
    what: dict[str, Any] = {"scene_id": scene_id_of(arguments)}
    if str(arguments.get("field") or "").strip():
        what["field"] = _field(arguments)
    return what


def _field(arguments: Mapping[str, Any]) -> str:
    """Return Plex's name of the argument `field`.

    Raises:
        UsageError
    """
    text = str(arguments.get("field") or "").strip()
    if text in _WORDS:
        return text
    if text not in FIELDS:
        problem = f"{text[:80]!r} is not a field" if text else "it is missing"
        raise UsageError(f"field: {problem}; it is one of: {', '.join(FIELDS)}")
    return FIELDS[text]


def _why_waiting(context: Context, scene_id: int, name: str) -> str | None:
    """Return why Stash's value of a field is not in Plex, or None."""
    with open_history_readonly(context.data_dir) as history:
        rows = history.of_scene(scene_id)
    for row in rows:
        state = row.fields.get(name, FieldState())
        if state.refused:
            return row.reason
        if state.take and state.sent is None:
            return row.reason or "it is queued; PlexSync tries again automatically"
    return None


def _outcome(name: str, result: Mapping[str, Any]) -> Result:
    """Return the result of an undo in words."""
    fields: Mapping[str, int] = result.get("fields") or {}
    left, count = result.get("left") or [], result.get("left_count", 0)
    undone, scenes = sum(fields.values()), result.get("scenes", 0)
    data = {
        "scenes": scenes,
        "fields": dict(fields),
        "undone": undone,
        "left": [{"scene_id": one[0], "field": one[1], "why": one[2]} for one in left],
        "left_count": count,
        "run": result.get("run"),
    }
    parts = [f"{undone} fields of {scenes} scenes are as before"] if undone else []
    if count:
        whys = Counter(one[2] for one in left)
        said = "; ".join(f"{number}: {why}" for why, number in whys.most_common(5))
        parts.append(f"{count} fields were left ({said})")
    reason = result.get("reason")
    text = f"{name}: {', '.join(parts) or ('' if reason else 'nothing to take back')}"
    if reason:
        data["reason"] = reason
        text = f"{text}{'. ' if parts else ''}{reason}"
    lines = [f"Scene {one[0]}: {_WORDS.get(one[1], one[1])} left: {one[2]}" for one in left]
    return Result(text, data, lines, ok=not reason)


def _preview(context: Context, name: str, what: dict[str, Any]) -> Result:
    """Show what would be taken back, as far as Plex is known."""
    fields: Counter[str] = Counter()
    scenes: set[int] = set()
    shown: list[dict[str, Any]] = []
    left = 0
    with open_history_readonly(context.data_dir) as history:
        for unit in _units(history, what):
            for one in _looks(unit):
                if one["why"] and one["back"] is None:
                    left += 1
                else:
                    scenes.add(unit.row.scene_id)
                    fields[one["field"]] += 1
                if len(shown) < MOST_LEFT:
                    shown.append(one)
    total = sum(fields.values())
    by_field = ", ".join(f"{count} {_WORDS.get(one, one)}" for one, count in fields.most_common())
    text = f"{name}: {total} fields of {len(scenes)} scenes would be as before"
    text += f" ({by_field})" if by_field else ""
    text += f"; {left} fields would be left" if left else ""
    data = {"scenes": len(scenes), "fields": dict(fields), "left_count": left, "changes": shown}
    lines = [
        f"Scene {one['scene_id']}: {_WORDS.get(one['field'], one['field'])}: "
        + (f"{one['now']!r} → {one['back']!r}" if one["back"] is not None else str(one["why"]))
        for one in shown
    ]
    return Result(text, data, lines)


def _units(history: History, what: dict[str, Any]) -> Iterator[Unit]:
    cursor = 0
    while cursor >= 0:
        cursor, units = find(history, what, -1, cursor, _STEP)
        yield from units


def _looks(unit: Unit) -> Iterator[dict[str, Any]]:
    """Yield a line for each field of a unit that would be looked at."""
    row = unit.row
    # What was just sent, and not read back yet, is taken for what Plex has.
    known = {
        name: state.observed if state.sent is None else state.sent
        for name, state in row.fields.items()
    }
    seen = {name: value for name, value in known.items() if value is not None}
    planned = plan(unit, seen)
    for name, written in unit.fields.items():
        one: dict[str, Any] = {
            "scene_id": row.scene_id, "rating_key": row.rating_key or None, "field": name,
            "now": _json(seen.get(name)), "back": None, "why": "",
        }  # fmt: skip
        if name in PICTURES:
            before = written.before if written else row.fields.get(name, FieldState()).before
            is_known = bool(before) or (name == ART and before is not None)
            one["back"] = before if is_known else None
            one["why"] = "" if is_known else f"the former {PICTURES[name]} is not known"
        elif name in planned:
            one["back"], one["why"] = _json(planned[name].target), planned[name].why_left
            if one["back"] is None and not one["why"]:
                continue  # it is as before already
        elif not row.has_item:
            one["why"] = GONE
        yield one


def _json(value: Value | None) -> Any:
    return list(value) if isinstance(value, tuple) else value
