"""The views `needs` and `badges`: the scenes that need the user, and the state of some scenes."""

from __future__ import annotations

import history.counts as counts
from history.counts import failed_jobs
from page.arguments import cursor, limit, numbers, one_of
from page.records import brief_status, candidates_of, fields_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from typing import Any

    from page.look import Look

#: Scenes whose states are asked for at once.
_MOST_BADGES = 200
#: Of a dead letter: the status under which its scene is shown.
_STATUS_OF = {"AmbiguousMatch": "ambiguous"}
#: Rows come in this order; `_JOBS` stands for failed jobs of scenes without a record.
_JOBS = len(counts.NEEDING)
#: What the user can do.
_ACTIONS = {
    "ambiguous": ("choose", "retry", "ignore"),
    "failed": ("retry", "ignore"),
    "refused": ("retry", "ignore"),
    "not_in_plex": ("retry", "ignore"),
}
_POSTER = "thumb"


def needs(look: Look, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a page of the scenes that need the user."""
    status = one_of(arguments, "status", ("", *counts.NEEDING))
    most = limit(arguments)
    after = cursor(arguments, 2)

    def of_history(db: sqlite3.Connection) -> tuple[set[int], list[tuple[int, int]], Any]:
        needing = counts.needing(db, look.now)
        places = [
            (rank, scene_id)
            for rank, name in enumerate(counts.NEEDING)
            if status in ("", name)
            for scene_id in needing[name]
        ]
        page = _after(places, after)[: most + 1]
        scenes = {one for found in needing.values() for one in found}
        return scenes, places, {place: _row(db, *place) for place in page}

    known, places, found = look.history(of_history) or (set(), [], {})
    jobs = [
        one for one in look.attempt(lambda: look.letters(failed_jobs)) or [] if one[1] not in known
    ]
    kinds = _kinds(look, [one[0] for one in jobs]) if status and jobs else {}
    numbers_of_jobs = [(_JOBS, job) for job, _ in jobs if not status or kinds.get(job) == status]
    page = [*found, *_after(numbers_of_jobs, after)][: most + 1]
    letters = _letters(look, page, found)
    rows = [
        _with_error(found[place], letters) if place in found else letters.get(place[1])
        for place in page[:most]
    ]
    following = page[most - 1] if len(page) > most else None
    return {
        "total": len(places) + len(numbers_of_jobs),
        "rows": [row for row in rows if row is not None],
        "next": f"{following[0]}:{following[1]}" if following else None,
    }


def badges(look: Look, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the status of each of the scenes that is on record."""
    wanted = numbers(arguments, "scene_ids", _MOST_BADGES)

    def of_history(db: sqlite3.Connection) -> dict[int, list[str]]:
        marks = ", ".join("?" * len(wanted))
        found: dict[int, list[str]] = {}
        for scene_id, status in db.execute(
            "SELECT scene_id, status FROM agreements"
            f" WHERE scene_id IN ({marks}) AND retired_at IS NULL",
            wanted,
        ):
            found.setdefault(scene_id, []).append(status)
        return found

    found = (look.history(of_history) if wanted else None) or {}
    return {"statuses": {str(one): brief_status(statuses) for one, statuses in found.items()}}


def _after(places: list[tuple[int, int]], after: list[int] | None) -> list[tuple[int, int]]:
    """Return the places behind the cursor. Within a rank, the largest id comes first."""
    if after is None:
        return places
    rank, last = after
    return [one for one in places if one[0] > rank or (one[0] == rank and one[1] < last)]


def _row(db: sqlite3.Connection, rank: int, scene_id: int) -> dict[str, Any]:
    status = counts.NEEDING[rank]
    row = db.execute(
        "SELECT reason, checked_at, section, rating_key, details, fields FROM agreements"
        " WHERE scene_id = ? AND status = ? AND retired_at IS NULL ORDER BY id LIMIT 1",
        (scene_id, status),
    ).fetchone()
    reason, at, section, key, details, stored = row
    refused = {name: one for name, one in fields_of(stored).items() if one.get("refused") is True}
    actions = list(_ACTIONS[status])
    if "answered 413" in str(refused.get(_POSTER, {}).get("why")):  # too large
        actions.insert(0, "scale_cover")
    shown, more = candidates_of(details)
    return {
        "scene_id": scene_id,
        "status": status,
        "error": "",
        "reason": reason,
        "at": at,
        "section": section or None,
        "rating_key": key or None,
        "candidates": shown,
        "more_candidates": more,
        "fields": sorted(refused),
        "actions": actions,
    }


def _kinds(look: Look, jobs: list[int]) -> dict[int, str]:
    """Return id of a dead letter → the status under which it is shown."""

    def of_letters(db: sqlite3.Connection) -> dict[int, str]:
        rows = db.execute("SELECT id, error_type FROM dead_letters")
        return {one: _STATUS_OF.get(error, "failed") for one, error in rows}

    found = look.attempt(lambda: look.letters(of_letters)) or {}
    return {one: found.get(one, "failed") for one in jobs}


def _letters(look: Look, page: list[tuple[int, int]], scenes: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the dead letters of a page: of a failed job, and the latest of each scene."""
    jobs = [number for rank, number in page if rank == _JOBS]
    of_scenes = [number for rank, number in page if (rank, number) in scenes]

    def of_letters(db: sqlite3.Connection) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for job in jobs:
            row = db.execute(
                "SELECT scene_id, error_type, error_message, failed_at, details"
                " FROM dead_letters WHERE id = ?",
                (job,),
            ).fetchone()
            if row is not None:
                found[job] = _row_of_letter(*row)
        for scene_id in of_scenes:
            row = db.execute(
                "SELECT error_type FROM dead_letters WHERE scene_id = ? ORDER BY id DESC LIMIT 1",
                (scene_id,),
            ).fetchone()
            if row is not None:
                found["scene", scene_id] = row[0]
        return found

    return look.attempt(lambda: look.letters(of_letters)) or {}


def _with_error(row: dict[str, Any], letters: Mapping[Any, Any]) -> dict[str, Any]:
    return {**row, "error": letters.get(("scene", row["scene_id"]), "")}


def _row_of_letter(
    scene_id: int | None, error: str, reason: str, at: float, details: str | None
) -> dict[str, Any]:
    shown, more = candidates_of(details)
    status = _STATUS_OF.get(error, "failed")
    return {
        "scene_id": scene_id or None,
        "status": status,
        "error": error,
        "reason": reason,
        "at": at,
        "section": None,
        "rating_key": None,
        "candidates": shown,
        "more_candidates": more,
        "fields": [],
        "actions": list(_ACTIONS[status]) if scene_id else ["retry"],
    }
