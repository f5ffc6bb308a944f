"""The write history: tells a user's own edits in Plex from ours."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from common.sqlite import connect_in_memory

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS written"
    " (scene_id INTEGER PRIMARY KEY, rating_key INTEGER NOT NULL,"
    " fields TEXT NOT NULL, pending TEXT, cover TEXT, cover_source TEXT)",
    "CREATE INDEX IF NOT EXISTS written_items ON written(rating_key)",
    "CREATE TABLE IF NOT EXISTS choices"
    " (scene_id INTEGER PRIMARY KEY, rating_key INTEGER NOT NULL)",
)

Fields = Mapping[str, "str | list[str]"]


@dataclass(frozen=True)
class Written:
    """The record of our writes to one item for one scene."""

    rating_key: int
    #: Plex field → the text, or the list of names, that was written
    fields: Fields = field(default_factory=dict)
    #: the same of a write that was begun but not confirmed: Plex may have it or not
    pending: Fields | None = None
    #: SHA-1 of the cover that was uploaded, in hex
    cover: str | None = None
    #: address of that cover in Stash; kept only once the address can't stand for another cover
    cover_source: str | None = None

    def reconcile_pending(self, present: Mapping[str, str | tuple[str, ...]]) -> Written:
        """Return what is ours, given how much of an unconfirmed write Plex shows.

        Args:
            present: Plex field → what Plex has there.
        """
        if self.pending is None:
            return self
        fields: dict[str, str | list[str]] = {}
        for name in {**self.fields, **self.pending}:
            before, begun = self.fields.get(name), self.pending.get(name)
            now = present.get(name, "")
            if isinstance(now, str):
                if now in (before, begun):
                    fields[name] = now
            else:
                ours = _our_names(before, begun, now)
                if ours is not None:
                    fields[name] = ours
        return dataclasses.replace(self, fields=fields, pending=None)


def _our_names(before: object, begun: object, present: tuple[str, ...]) -> list[str] | None:
    """Return the names of a list that are ours; None when we may never have written it."""
    old, new = (value if isinstance(value, list) else None for value in (before, begun))
    there = _keys(present)
    if old is None:  # the first write of a list leaves exactly what was sent
        return new if new is not None and there >= _keys(new) else None
    # A name we meant to keep but that is gone was removed by the user; remember that.
    to_stay = _keys(old) if new is None else _keys(old) & _keys(new)
    known = {name.casefold(): name for name in (*old, *(new or ()))}
    return [name for key, name in known.items() if key in there | to_stay]


def _keys(names: Iterable[str]) -> set[str]:
    return {name.casefold() for name in names}


class WriteHistory:
    """The write history of all scenes, and the user's choices."""

    def __init__(self, connection: sqlite3.Connection | None = None) -> None:
        """Use the database behind `connection`, or memory that ends with this object."""
        self._db = connection or connect_in_memory(self)
        self._lock = threading.Lock()
        for statement in _SCHEMA:
            self._run(statement)

    def get(self, scene_id: int, rating_key: int) -> Written:
        """Return what was written for the scene to this item; nothing, if it was another item."""
        rows = self._run(
            "SELECT fields, pending, cover, cover_source FROM written"
            " WHERE scene_id = ? AND rating_key = ?",
            scene_id,
            rating_key,
        )
        for fields, pending, cover, source in rows:
            begun = json.loads(pending) if pending else None
            return Written(rating_key, json.loads(fields), begun, cover, source)
        return Written(rating_key)

    def save(self, scene_id: int, written: Written) -> None:
        """Keep what was written; on disk when this returns."""
        self._run(
            "INSERT OR REPLACE INTO written"
            " (scene_id, rating_key, fields, pending, cover, cover_source)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            scene_id,
            written.rating_key,
            json.dumps(dict(written.fields)),
            None if written.pending is None else json.dumps(dict(written.pending)),
            written.cover,
            written.cover_source,
        )

    def delete(self, scene_id: int) -> None:
        """Drop all that is known of a scene."""
        self._run("DELETE FROM written WHERE scene_id = ?", scene_id)
        self._run("DELETE FROM choices WHERE scene_id = ?", scene_id)

    def texts(self) -> Iterator[str]:
        """Yield all texts and names that were written to any item."""
        for row in self._db.execute("SELECT fields, pending FROM written"):
            for fields in (json.loads(column) for column in row if column):
                for value in fields.values():
                    yield from [value] if isinstance(value, str) else value

    def has(self, scene_id: int) -> bool:
        """Return whether the scene was ever written to an item."""
        return bool(self._run("SELECT 1 FROM written WHERE scene_id = ?", scene_id))

    def is_sole_owner(self, scene_id: int, rating_key: int) -> bool:
        """Return whether this scene, and no other, was written to the item."""
        rows = self._run("SELECT scene_id FROM written WHERE rating_key = ?", rating_key)
        return rows == [(scene_id,)]

    def forget_cover(self, scene_id: int) -> None:
        """Have the scene's cover uploaded again; that the one in Plex is ours stays known."""
        self._run(
            "UPDATE written SET cover = '', cover_source = NULL"
            " WHERE scene_id = ? AND cover IS NOT NULL",
            scene_id,
        )

    def choice(self, scene_id: int) -> int | None:
        """Return the rating key of the item that the user chose for the scene, or None."""
        rows = self._run("SELECT rating_key FROM choices WHERE scene_id = ?", scene_id)
        return int(rows[0][0]) if rows else None

    def choose(self, scene_id: int, rating_key: int | None) -> None:
        """Remember which item the user chose for an ambiguous scene; None: forget it."""
        self._run("DELETE FROM choices WHERE scene_id = ?", scene_id)
        if rating_key is not None:
            self._run("INSERT INTO choices VALUES (?, ?)", scene_id, rating_key)

    def _run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(statement, values).fetchall()
