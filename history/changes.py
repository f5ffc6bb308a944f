"""Record each field that is written to Plex: the journal that an undo goes by."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from history.fields import Value
from history.reading import ask, is_damaged
from history.records import Agreement

#: Causes of a change.
SAVED, RENAMED, REPAIRED, COMPARED = "saved", "renamed", "repaired", "compared"
SYNC, TRY, TAKEN, UNDONE = "sync", "try", "taken", "undone"
#: The user said where the values of a library in Plex came from.
ORIGIN = "origin"
#: State of a write: not read back yet; Plex has it; Plex did not take it.
SENT, CONFIRMED, DROPPED = "sent", "confirmed", "dropped"

#: Changes that are kept, and for how many seconds.
MOST = 200_000
LONGEST = 90 * 86_400.0

_COLUMNS = (
    "id, at, run, cause, agreement, scene_id, server, section, rating_key, field, before, after,"
    " status, undone_at, undo, why_left"
)
_DAMAGE = (ValueError, TypeError, RecursionError)


@dataclass(frozen=True)
class Change:
    """One field that was written to Plex."""

    id: int
    #: epoch seconds
    at: float
    #: what the change is part of: "sync-12", or the cause and the day
    run: str
    cause: str
    #: row of the agreement
    agreement: int
    scene_id: int
    server: str
    section: int
    rating_key: int
    #: as Plex names it
    field: str
    #: of a poster, its key in Plex
    before: Value
    #: of a poster, the SHA-1 of ours
    after: Value
    status: str
    undone_at: float | None
    #: the undo that last dealt with it; 0: none
    undo: int
    #: why that undo left it
    why_left: str


class Changes:
    """The journal. It shares the history's connection, lock and transactions."""

    def __init__(self, connection: sqlite3.Connection, lock: Any) -> None:
        """Read and write nothing yet."""
        self._db = connection
        self._lock = lock

    # --- writing it down

    def note(
        self,
        row: Agreement,
        values: Mapping[str, tuple[Value, Value]],
        run: str,
        at: float,
        *,
        repaired: Iterable[str] = (),
    ) -> None:
        """Record writes that are about to be sent.

        Args:
            values: field → (before, after).
            run: a pass's, such as "sync-12", or the cause alone.
            at: epoch seconds.
            repaired: fields of which only a drift in Plex is corrected.
        """
        drifted = frozenset(repaired)
        rows = []
        for name, (before, after) in values.items():
            is_repair = name in drifted and "-" not in run
            whole = run_of(REPAIRED if is_repair else run, at)
            rows.append(
                (
                    at, whole, cause_of(whole), row.id, row.scene_id, row.server, row.section,
                    row.rating_key, name, _encoded(before), _encoded(after), SENT,
                )
            )  # fmt: skip
        with self._lock:
            self._db.executemany(
                "INSERT INTO changes (at, run, cause, agreement, scene_id, server, section,"
                " rating_key, field, before, after, status)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )

    def settle(self, row: Agreement, outcomes: Mapping[str, str]) -> None:
        """Note what became of writes.

        Args:
            outcomes: field → `CONFIRMED` or `DROPPED`.
        """
        if outcomes:
            with self._lock:
                self._db.executemany(
                    "UPDATE changes SET status = ? WHERE scene_id = ? AND agreement = ?"
                    " AND field = ? AND status = ?",
                    [
                        (outcome, row.scene_id, row.id, name, SENT)
                        for name, outcome in outcomes.items()
                    ],
                )

    def mark_undone(self, ids: Iterable[int], undo: int, at: float) -> None:
        """Note that changes were taken back by an undo."""
        self._mark(ids, undo, at, "")

    def mark_left(self, ids: Iterable[int], undo: int, why: str) -> None:
        """Note why an undo left changes."""
        self._mark(ids, undo, None, why)

    def _mark(self, ids: Iterable[int], undo: int, at: float | None, why: str) -> None:
        with self._lock:
            self._db.executemany(
                "UPDATE changes SET undone_at = ?, undo = ?, why_left = ?"
                " WHERE id = ? AND undone_at IS NULL",
                [(at, undo, why, one) for one in ids],
            )

    def trim(self, now: float) -> list[str]:
        """Delete changes that are old or too many; return the runs that lost their first rows.

        Args:
            now: epoch seconds.
        """
        # Ids grow with time, and have no gaps but at their beginning.
        newest = self._run("SELECT max(id) FROM changes")[0][0]
        if newest is None:
            return []
        young = self._run("SELECT id FROM changes WHERE at >= ? ORDER BY id LIMIT 1", now - LONGEST)
        last = max(newest - MOST, young[0][0] - 1 if young else newest)
        if not self._run("SELECT 1 FROM changes WHERE id <= ? LIMIT 1", last):
            return []
        cut = self._run(
            "SELECT DISTINCT run FROM changes AS one WHERE id <= ? AND EXISTS"
            " (SELECT 1 FROM changes WHERE run = one.run AND id > ?)",
            last,
            last,
        )
        self._run("DELETE FROM changes WHERE id <= ?", last)
        return [row[0] for row in cut if not is_damaged(row)]

    # --- reading it

    def get(self, change_id: int) -> Change | None:
        """Return a change, or None."""
        return next(iter(self._changes("id = ?", change_id)), None)

    def of_field(self, scene_id: int, agreement: int, field: str) -> list[Change]:
        """Return the changes of a field of an item that were not taken back, the oldest first."""
        return self._changes(
            "scene_id = ? AND agreement = ? AND field = ? AND undone_at IS NULL ORDER BY id",
            scene_id,
            agreement,
            field,
        )

    def of_scene(self, scene_id: int) -> list[Change]:
        """Return the changes of a scene, the oldest first."""
        return self._changes("scene_id = ? ORDER BY id", scene_id)

    def of_run(self, run: str, *, scene_id: int | None = None) -> list[Change]:
        """Return the changes of a run, the oldest first."""
        if scene_id is not None:
            return self._changes("run = ? AND scene_id = ? ORDER BY id", run, scene_id)
        return self._changes("run = ? ORDER BY id", run)

    def scenes_to_undo(self, run: str, undo: int, after: int, limit: int) -> list[int]:
        """Return scenes of a run that an undo has not dealt with yet, by id.

        Args:
            undo: its number.
            after: only scenes with a larger id.
        """
        rows = self._run(
            "SELECT DISTINCT scene_id FROM changes WHERE run = ? AND scene_id > ?"
            " AND undone_at IS NULL AND undo != ? AND status != ? ORDER BY scene_id LIMIT ?",
            run,
            after,
            undo,
            DROPPED,
            limit,
        )
        return [row[0] for row in rows]

    def count_run(self, run: str) -> tuple[int, int]:
        """Return the number of (scenes, changes) of a run that can be taken back."""
        found = self._run(
            "SELECT count(DISTINCT scene_id), count(*) FROM changes"
            " WHERE run = ? AND undone_at IS NULL AND status != ?",
            run,
            DROPPED,
        )
        return found[0][0], found[0][1]

    def count(self) -> int:
        """Return the number of changes on record."""
        return int(self._run("SELECT count(*) FROM changes")[0][0])

    def _changes(self, where: str, *values: object) -> list[Change]:
        """Return changes; leave out those that can't be read."""
        found = []
        for row in self._run(f"SELECT {_COLUMNS} FROM changes WHERE {where}", *values):
            if is_damaged(row):
                continue
            try:
                parts: list[Any] = [*row[:10], _decoded(row[10]), _decoded(row[11]), *row[12:]]
                found.append(Change(*parts))
            except _DAMAGE:
                continue
        return found

    def _run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return ask(self._db, lambda db: db.execute(statement, values).fetchall())


def run_of(run: str, at: float) -> str:
    """Return a run's whole name: that of a pass, or the cause and its day in local time."""
    return run if "-" in run else f"{run}-{time.strftime('%Y-%m-%d', time.localtime(at))}"


def cause_of(run: str) -> str:
    """Return the cause of a run."""
    return run.partition("-")[0]


def _encoded(value: Value) -> str:
    return json.dumps(value if isinstance(value, str) else list(value))


def _decoded(stored: str) -> Value:
    value = json.loads(stored)
    return value if isinstance(value, str) else tuple(map(str, value))
