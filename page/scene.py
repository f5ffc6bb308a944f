"""The view `scene`: one scene, its items in Plex, and field by field what happened, and why."""

from __future__ import annotations

import history.counts as counts
import queue.table as table
from page.arguments import number
from page.readonly import has_table
from page.records import brief_status, candidates_of, fields_of, pictures_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from typing import Any

    from page.look import Look

#: Field of a picture → its key in what the page gets.
_PICTURES = {"thumb": "cover", "art": "art"}
#: Plex's fields, in the order in which they are shown; others follow.
_ORDER = (
    *("title", "summary", "originallyAvailableAt", "year", "studio", "userRating"),
    *("actor", "director", "genre", "collection"),
    *("contentRating", "label", "tagline", "originalTitle", "titleSort"),
)
_VALUES = ("wanted", "observed", "before", "ours")
#: Characters of a poster's key or hash that are shown.
_BRIEF = 12
#: What the user can do about a field in a state. *Undo* depends on what was written.
_ACTIONS = {
    "in_sync": ("keep_plex",),
    "waiting": ("keep_plex",),
    "kept": ("take_stash",),
    "held": ("take_stash",),
    "refused": ("take_stash", "keep_plex"),
    "not_ours": ("take_stash",),
    "unknown": ("take_stash", "keep_plex"),
}
#: Key of a field's record → its state, and why; the first that is set counts.
_FLAGS = (
    ("held", "held", "not synced until you say so"),
    ("take", "waiting", "Stash's value is about to be written"),
    ("refused", "refused", "Plex does not take this value"),
    ("kept", "kept", "stays as it is in Plex: changed there, or there before PlexSync"),
    ("sent", "waiting", "written, and not read back yet"),
    ("waits", "waiting", "a refresh in Plex changed it; it is repaired again later"),
)
#: A scene that the history does not know.
_UNKNOWN = "unknown"


def scene(look: Look, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the records of a scene."""
    scene_id = number(arguments, "scene_id")
    known = look.history(lambda db: _scene(db, scene_id)) or _nothing(scene_id)
    is_queued = look.attempt(lambda: look.queue(lambda db: _is_queued(db, scene_id))) or False
    return {**known, "is_queued": is_queued}


def _is_queued(db: sqlite3.Connection, scene_id: int) -> bool:
    try:
        return table.find_unfinished(db, f"scene_{scene_id}") is not None
    except table.UnreadableRow:
        return True


def _nothing(scene_id: int) -> dict[str, Any]:
    return {
        "scene_id": scene_id,
        "status": _UNKNOWN,
        "reason": "PlexSync has not compared this scene yet",
        "at": None,
        "choice": [],
        "is_ignored": False,
        "items": [],
        "candidates": [],
        "more_candidates": 0,
    }


def _scene(db: sqlite3.Connection, scene_id: int) -> dict[str, Any]:
    rows = db.execute(
        "SELECT id, status, reason, server, section, rating_key, path, checked_at, synced_at,"
        " fields, details, cover FROM agreements"
        " WHERE scene_id = ? AND retired_at IS NULL ORDER BY id",
        (scene_id,),
    ).fetchall()
    choice = db.execute(
        "SELECT rating_key FROM choices WHERE scene_id = ? ORDER BY rating_key", (scene_id,)
    ).fetchall()
    found = {**_nothing(scene_id), "choice": [one[0] for one in choice]}
    if not rows:
        return found
    status = brief_status(row[1] for row in rows)
    first = next(row for row in rows if row[1] == status)
    plex = counts.get_state(db, "plex")
    writes = _writes(db, scene_id)
    items = [
        _item(row, plex if isinstance(plex, dict) else {}, writes.get(row[0], {}))
        for row in rows
        if row[5]
    ]
    shown, more = candidates_of(first[10])
    return {
        **found,
        "status": status,
        "reason": first[2],
        "at": first[7] or None,
        "is_ignored": any(row[1] == "ignored" for row in rows),
        "items": items,
        "candidates": shown,
        "more_candidates": more,
    }


def _writes(db: sqlite3.Connection, scene_id: int) -> dict[int, dict[str, tuple[float, bool]]]:
    """Return record → field → when it was last written, and whether that can be undone."""
    if not has_table(db, "changes"):
        return {}
    found: dict[int, dict[str, tuple[float, bool]]] = {}
    for agreement, field, at, can_undo in db.execute(
        "SELECT agreement, field, at, undone_at IS NULL AND cause != 'undone' FROM changes"
        " WHERE scene_id = ? AND status != 'dropped' ORDER BY id",
        (scene_id,),
    ):
        fields = found.setdefault(agreement, {})
        before = fields.get(field, (0.0, False))
        fields[field] = (at, before[1] or bool(can_undo))
    return found


def _item(
    row: tuple[Any, ...], plex: Mapping[str, Any], writes: Mapping[str, tuple[float, bool]]
) -> dict[str, Any]:
    agreement, status, reason, server, section, key, path, checked_at, synced_at = row[:9]
    fields, up = fields_of(row[9]), pictures_of(row[11])
    is_here = plex.get("server") == server
    libraries = plex.get("libraries")
    names = [
        one.get("name")
        for one in (libraries if isinstance(libraries, list) and is_here else ())
        if isinstance(one, dict) and one.get("key") == section
    ]
    order = [name for name in _ORDER if name in fields]
    order += sorted(name for name in fields if name not in (*_ORDER, *_PICTURES))
    shown = [_field(name, fields[name], writes.get(name), synced_at) for name in order]
    pictures = {}
    for name, kind in _PICTURES.items():
        one = fields.get(name)
        if one is not None and one.get("observed") is None:
            one = {**one, "observed": up.get(name)}
        pictures[kind] = one and _brief(_field(name, one, writes.get(name), synced_at))
    return {
        "agreement": agreement,
        "rating_key": key,
        "section": section,
        "library": names[0] if names else None,
        "path": path,
        "plex_url": _web_address(plex, key) if is_here else None,
        "status": status,
        "reason": reason,
        "checked_at": checked_at or None,
        "synced_at": synced_at,
        "fields": shown,
        **pictures,
    }


def _web_address(plex: Mapping[str, Any], key: int) -> str | None:
    """Return the address of an item in Plex's own web app."""
    url, server = plex.get("url"), plex.get("server")
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        return None
    return f"{url}/web/index.html#!/server/{server}/details?key=%2Flibrary%2Fmetadata%2F{key}"


def _field(
    name: str,
    one: Mapping[str, Any],
    written: tuple[float, bool] | None,
    synced_at: float | None,
) -> dict[str, Any]:
    state, why = _judge(one)
    if state == "kept":
        last: dict[str, Any] = {"by": "person", "at": None}
    elif one.get("waits"):
        last = {"by": "plex", "at": None}
    elif written is not None:
        last = {"by": "plexsync", "at": written[0]}
    elif one.get("ours"):
        last = {"by": "plexsync", "at": synced_at}
    else:
        last = {"by": "", "at": None}
    actions = list(_ACTIONS[state])
    if one.get("wanted") is None:
        actions = [action for action in actions if action != "take_stash"]
    if written is not None and written[1]:
        actions.append("undo")
    return {
        "name": name,
        **{value: one.get(value) for value in _VALUES},
        "last": last,
        "state": state,
        "why": why,
        "actions": actions,
    }


def _judge(one: Mapping[str, Any]) -> tuple[str, str]:
    """Return the state of a field, and why it is so."""
    for key, state, why in _FLAGS:
        if one.get(key) not in (None, False):
            return state, str(one.get("why") or why) if key == "refused" else why
    wanted, observed = one.get("wanted"), one.get("observed")
    if wanted is None or observed is None:
        return _UNKNOWN, "not compared yet"
    if observed in (wanted, one.get("form")):
        return "in_sync", "Plex has Stash's value"
    if isinstance(wanted, list) and isinstance(observed, list) and _has_all(observed, wanted):
        return "in_sync", "Plex has Stash's names, and others that are not PlexSync's"
    if one.get("ours") is None:
        return "not_ours", "Plex had a value of its own, and PlexSync left it"
    return _UNKNOWN, "Plex has another value; it is compared again"


def _has_all(observed: list[Any], wanted: list[Any]) -> bool:
    there = {str(one).casefold() for one in observed}
    return all(str(one).casefold() in there for one in wanted)


def _brief(field: dict[str, Any]) -> dict[str, Any]:
    """Return a picture's row; its values are keys and hashes."""
    short = {
        name: value[:_BRIEF] if isinstance(value := field[name], str) else None for name in _VALUES
    }
    return {**field, **short}
