"""What PlexSync last wrote, per scene: with it the user's own edits in Plex can be told from ours."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field

from common.sqlite import MEMORY, connect

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS written (scene_id INTEGER PRIMARY KEY, rating_key INTEGER NOT NULL,"
    " fields TEXT NOT NULL, pending TEXT, cover TEXT)"
)

Fields = Mapping[str, "str | list[str]"]


@dataclass(frozen=True)
class Written:
    """What PlexSync wrote to one item."""

    rating_key: int
    #: Plex field → the text, or the list of names, that was written
    fields: Fields = field(default_factory=dict)
    #: the same of a write that was begun, and of which nobody knows whether Plex has it; None: there is none
    pending: Fields | None = None
    #: SHA-1 of the cover that went up, in hex
    cover: str | None = None

    def texts(self, name: str) -> frozenset[str]:
        """Return the texts in a field that would be ours: what was written, and what perhaps was."""
        return frozenset(value for value in self._values(name) if isinstance(value, str))

    def names(self, name: str) -> tuple[str, ...] | None:
        """Return the names in a tag field that are ours, or None when it was never written."""
        lists = [value for value in self._values(name) if isinstance(value, list)]
        return tuple(one for value in lists for one in value) if lists else None

    def _values(self, name: str) -> list[str | list[str] | None]:
        return [self.fields.get(name), (self.pending or {}).get(name)]


class SyncMemory:
    """The memory of all scenes. Not for use from two threads at once."""

    def __init__(self, connection: sqlite3.Connection | None = None) -> None:
        """Use the database behind `connection`, or memory that ends with this object."""
        self._db = connection or connect(MEMORY, any_thread=True)
        self._db.execute(_SCHEMA)

    def recall(self, scene_id: int, rating_key: int) -> Written:
        """Return what was written for the scene to this item; nothing, if it was another item."""
        row = self._db.execute(
            "SELECT fields, pending, cover FROM written WHERE scene_id = ? AND rating_key = ?", (scene_id, rating_key)
        ).fetchone()
        if row is None:
            return Written(rating_key)
        return Written(rating_key, json.loads(row[0]), json.loads(row[1]) if row[1] else None, row[2])

    def remember(self, scene_id: int, written: Written) -> None:
        """Keep what was written; on disk when this returns."""
        self._db.execute(
            "INSERT OR REPLACE INTO written (scene_id, rating_key, fields, pending, cover) VALUES (?, ?, ?, ?, ?)",
            (
                scene_id,
                written.rating_key,
                json.dumps(dict(written.fields)),
                None if written.pending is None else json.dumps(dict(written.pending)),
                written.cover,
            ),
        )

    def forget(self, scene_id: int) -> None:
        """Drop a scene that is gone."""
        self._db.execute("DELETE FROM written WHERE scene_id = ?", (scene_id,))
