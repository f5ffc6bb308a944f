"""Count scenes by their state, and say which need the user, in SQL. The page loads this module.

The worker, *Status* and the page ask the same statements, so they show the same numbers. Each one
is answered by an index of `history.db` alone, if its conditions stand here as they do there.
"""

from __future__ import annotations

import json
import sqlite3

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

#: Schema from which on `history.db` has the column and the indexes that are used here.
INDEXED_SINCE = 4
#: Every status (`history.records.Status`).
STATUSES = (
    *("baseline", "in_sync", "written", "not_in_plex", "ambiguous", "failed", "refused"),
    *("skipped", "ignored", "held"),
)
#: Statuses of scenes that need the user, the first to be shown first. One that is not in Plex needs
#: the user only if it was there before, or should be.
NEEDING = ("ambiguous", "failed", "refused", "not_in_plex")
#: Key in a record's details: the user does not want to see it any more.
CLEARED = "cleared"
#: State: the folders of the chosen libraries, normalized, each with a slash at its end.
LOCATIONS = "locations"
#: Folders that `count_folders` names.
MOST_FOLDERS = 20

_LIVE = "retired_at IS NULL"
_IS_KEPT = "instr(fields, '\"kept\": true') > 0"
#: Condition of records with a field that waits for a yes (`history.fields.OPEN`).
ASKING = 'instr(fields, \'"asks": "open"\') > 0'
#: Schema from which on that has an index.
_ASKING_SINCE = 5
_IS_SHOWN = "instr(ifnull(details, ''), '\"cleared\": true') = 0"
_IN_TROUBLE = "status IN ('ambiguous', 'failed', 'refused')"
_NOT_IN_PLEX = "status = 'not_in_plex'"
#: Folders in one statement: SQLite allows 999 values in old versions.
_MOST_LOCATIONS = 300
#: Seconds after which a saved scene should be in Plex, if Plex has its folder.
_DAY = 86_400.0
#: Type of error of a dead letter that is none: its file may still come to Plex.
_MAY_COME = "PlexNotFound"
#: The epoch's Julian day.
_EPOCH = 2440587.5


def get_state(db: sqlite3.Connection, name: str) -> Any:
    """Return a value of the table `state`, in JSON's types, or None."""
    row = db.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
    try:
        return json.loads(row[0]) if row else None
    except (ValueError, TypeError, RecursionError):  # damaged
        return None


def count_by_status(db: sqlite3.Connection) -> dict[str, int]:
    """Return status → number of scenes."""
    return dict(
        db.execute(
            f"SELECT status, count(DISTINCT scene_id) FROM agreements WHERE {_LIVE} GROUP BY status"
        ).fetchall()
    )


def count_kept(db: sqlite3.Connection) -> int:
    """Return the number of scenes with a person's edit in Plex that is kept."""
    return int(
        db.execute(
            f"SELECT count(DISTINCT scene_id) FROM agreements WHERE {_LIVE} AND {_IS_KEPT}"
        ).fetchone()[0]
    )


def count_asking(db: sqlite3.Connection) -> int:
    """Return the number of scenes that would become visible to restricted accounts, after a yes."""
    if not _is_since(db, _ASKING_SINCE):
        return 0
    statement = f"SELECT count(DISTINCT scene_id) FROM agreements WHERE {_LIVE} AND {ASKING}"
    return int(db.execute(statement).fetchone()[0])


def count_skipped(db: sqlite3.Connection) -> dict[str, int]:
    """Return reason → scenes that a setting or a rule leaves out; the largest numbers first."""
    rows = db.execute(
        "SELECT reason, count(DISTINCT scene_id) FROM agreements"
        f" WHERE {_LIVE} AND status = 'skipped' GROUP BY reason ORDER BY 2 DESC, 1 LIMIT ?",
        (MOST_FOLDERS,),
    ).fetchall()
    return {reason: count for reason, count in rows if isinstance(reason, str)}


def count_folders(db: sqlite3.Connection) -> dict[str, int]:
    """Return folder in Stash → records that are not in Plex; the 20 largest numbers first."""
    if not _is_since(db, INDEXED_SINCE):
        return {}
    rows = db.execute(
        "SELECT folder, count(*) FROM agreements INDEXED BY agreements_by_folder"
        f" WHERE {_LIVE} AND {_NOT_IN_PLEX} AND folder != '' GROUP BY folder"
        " ORDER BY 2 DESC, 1 LIMIT ?",
        (MOST_FOLDERS,),
    )
    return {folder: count for folder, count in rows if isinstance(folder, str)}


def needing(db: sqlite3.Connection, now: float) -> dict[str, list[int]]:
    """Return status → scenes that need the user, each only once, the largest id first.

    Args:
        now: epoch seconds.
    """
    seen: set[int] = set()
    found = {}
    for status in NEEDING:
        where, values = needing_where(db, status, now)
        index = ""
        # Without the hint SQLite takes another index, and reads each record.
        if _is_since(db, INDEXED_SINCE):
            name = "absent" if status == "not_in_plex" else "in_trouble"
            index = f"INDEXED BY agreements_{name}"
        rows = db.execute(f"SELECT scene_id FROM agreements {index} WHERE {where}", values)
        scenes = {row[0] for row in rows if isinstance(row[0], int)} - seen
        seen |= scenes
        found[status] = sorted(scenes, reverse=True)
    return found


def needing_where(db: sqlite3.Connection, status: str, now: float) -> tuple[str, list[object]]:
    """Return the condition for records of a status whose scenes need the user, and its values."""
    if status != "not_in_plex":
        return f"{_LIVE} AND {_IN_TROUBLE} AND {_IS_SHOWN} AND status = ?", [status]
    # It was there before, or Plex has its folder, and it was saved more than a day ago.
    is_missed = ["(rating_key > 0 AND synced_at IS NOT NULL)"]
    values: list[object] = []
    locations = get_state(db, LOCATIONS)
    for location in locations[:_MOST_LOCATIONS] if isinstance(locations, list) else ():
        folder = str(location).rstrip("/")
        is_missed.append("(path >= ? AND path < ? AND julianday(updated_at) <= ?)")
        values += [f"{folder}/", f"{folder}0", _EPOCH + (now - _DAY) / _DAY]  # "0" follows "/"
    return f"{_LIVE} AND {_NOT_IN_PLEX} AND {_IS_SHOWN} AND ({' OR '.join(is_missed)})", values


def _is_since(db: sqlite3.Connection, version: int) -> bool:
    """Return whether the history has a version of its schema, or a later one."""
    return bool(db.execute("PRAGMA user_version").fetchone()[0] >= version)


def failed_jobs(letters: sqlite3.Connection) -> list[tuple[int, int | None]]:
    """Return (id, scene id) of the dead letters that need the user, the newest first."""
    return letters.execute(
        "SELECT id, scene_id FROM dead_letters WHERE error_type != ? ORDER BY id DESC",
        (_MAY_COME,),
    ).fetchall()


def count_needs(needing: Mapping[str, list[int]], letters: list[tuple[int, int | None]]) -> int:
    """Return how many need the user: scenes on record, and failed jobs of other scenes.

    Args:
        needing: as `needing` returns them.
        letters: as `failed_jobs` returns them.
    """
    scenes = {scene_id for found in needing.values() for scene_id in found}
    return len(scenes) + sum(1 for _, scene_id in letters if scene_id not in scenes)
