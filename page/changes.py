"""The views `changes` and `run`: what was written to Plex lately, by cause."""

from __future__ import annotations

import json

import history.counts as counts
from page.arguments import WrongArgument, cursor, limit, text
from page.readonly import has_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from typing import Any

    from page.look import Look

#: Cause → what a line says about its changes.
_WORDS = {
    "saved": "saved in Stash",
    "renamed": "renamed in Stash",
    "repaired": "written again, as Plex had lost it",
    "compared": "found when Stash and Plex were compared",
    "sync": "Sync",
    "try": "Try",
    "taken": "taken from Stash, as you asked",
    "origin": "as you answered about a library in Plex",
    "undone": "undone",
}
_CAN_UNDO = "undone_at IS NULL AND status != 'dropped' AND cause != 'undone'"
#: State in the history: runs of which the first changes are not kept any more.
_CUT = "cut_runs"


def changes(look: Look, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a page of runs, the latest first."""
    most, after = limit(arguments), cursor(arguments, 1)
    runs = look.history(lambda db: _runs(db, after, most + 1)) or []
    following = runs[most - 1]["last_change"] if len(runs) > most else None
    return {"runs": runs[:most], "next": None if following is None else str(following)}


def run(look: Look, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a page of the changes of one run, by scene."""
    name = text(arguments, "run")
    if not name:
        raise WrongArgument("run is missing")
    most, after = limit(arguments), cursor(arguments, 2)
    rows = look.history(lambda db: _changes(db, name, after, most + 1)) or []
    last = rows[most - 1] if len(rows) > most else None
    return {
        "rows": rows[:most],
        "next": f"{last['scene_id']}:{last['change']}" if last else None,
    }


def _runs(db: sqlite3.Connection, after: list[int] | None, most: int) -> list[dict[str, Any]]:
    if not has_table(db, "changes"):
        return []
    found = db.execute(  # out of the index `changes_by_run` alone
        "SELECT run, min(id), max(id), count(*), count(DISTINCT scene_id) FROM changes GROUP BY run"
    ).fetchall()
    if after is not None:
        found = [row for row in found if row[2] < after[0]]
    found.sort(key=lambda row: -row[2])
    cut = counts.get_state(db, _CUT)
    return [_run(db, row, cut if isinstance(cut, list) else []) for row in found[:most]]


def _run(db: sqlite3.Connection, row: tuple[Any, ...], cut: list[Any]) -> dict[str, Any]:
    name, first, last, fields, scenes = row
    cause, last_at = _one(db, "SELECT cause, at FROM changes WHERE id = ?", last) or ("", None)
    (first_at,) = _one(db, "SELECT at FROM changes WHERE id = ?", first) or (None,)
    undoable = _one(db, f"SELECT 1 FROM changes WHERE run = ? AND {_CAN_UNDO} LIMIT 1", name)
    return {
        "run": name,
        "cause": cause,
        "text": _WORDS.get(cause, cause),
        "first_at": first_at,
        "last_at": last_at,
        "scenes": scenes,
        "fields": fields,
        "can_undo": undoable is not None,
        "is_cut": name in cut,
        "last_change": last,
    }


def _changes(
    db: sqlite3.Connection, name: str, after: list[int] | None, most: int
) -> list[dict[str, Any]]:
    if not has_table(db, "changes"):
        return []
    found = db.execute(
        "SELECT id, scene_id, section, rating_key, field, before, after, at, status, undone_at,"
        f" why_left, {_CAN_UNDO} FROM changes WHERE run = ? AND (scene_id, id) > (?, ?)"
        " ORDER BY scene_id, id LIMIT ?",
        (name, *(after or (-1, -1)), most),
    )
    return [
        {
            "change": change,
            "scene_id": scene_id,
            "section": section,
            "rating_key": key,
            "field": field,
            "before": _value(before),
            "after": _value(value),
            "at": at,
            "status": status,
            "is_undone": undone_at is not None,
            "can_undo": bool(can_undo),
            "why_left": why_left,
        }
        for change, scene_id, section, key, field, before, value, at, status, undone_at, why_left,
        can_undo in found
    ]  # fmt: skip


def _one(db: sqlite3.Connection, query: str, *values: object) -> tuple[Any, ...] | None:
    row: tuple[Any, ...] | None = db.execute(query, values).fetchone()
    return row


def _value(stored: object) -> Any:
    """Return a text or a list of names; None if it can't be read."""
    try:
        found = json.loads(stored)  # type: ignore[arg-type]
    except (ValueError, TypeError, RecursionError):
        return None
    return found if isinstance(found, (str, list)) else None
