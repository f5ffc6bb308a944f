"""What PlexSync last wrote, per scene: with it the user's own edits in Plex can be told from ours."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field

from common.sqlite import MEMORY, connect

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS written (scene_id INTEGER PRIMARY KEY, rating_key INTEGER NOT NULL,"
    " fields TEXT NOT NULL, cover TEXT)"
)


@dataclass(frozen=True)
class Written:
    """What PlexSync wrote to one item."""

    rating_key: int
    #: Plex field → the text, or the list of names, that was written
    fields: Mapping[str, str | list[str]] = field(default_factory=dict)
    #: SHA-1 of the cover that went up, in hex
    cover: str | None = None

    def text(self, name: str) -> str | None:
        """Return the text that was written to a field, or None."""
        value = self.fields.get(name)
        return value if isinstance(value, str) else None

    def names(self, name: str) -> tuple[str, ...] | None:
        """Return the list that was written to a tag field, or None."""
        value = self.fields.get(name)
        return tuple(value) if isinstance(value, list) else None


class SyncMemory:
    """The memory of all scenes. Not for use from two threads at once."""

    def __init__(self, connection: sqlite3.Connection | None = None) -> None:
        """Use the database behind `connection`, or memory that ends with this object."""
        self._db = connection or connect(MEMORY, any_thread=True)
        self._db.execute(_SCHEMA)

    def recall(self, scene_id: int, rating_key: int) -> Written:
        """Return what was written for the scene to this item; nothing, if it was another item."""
        row = self._db.execute(
            "SELECT fields, cover FROM written WHERE scene_id = ? AND rating_key = ?", (scene_id, rating_key)
        ).fetchone()
        return Written(rating_key) if row is None else Written(rating_key, json.loads(row[0]), row[1])

    def remember(self, scene_id: int, written: Written) -> None:
        """Keep what was written; on disk when this returns."""
        self._db.execute(
            "INSERT OR REPLACE INTO written VALUES (?, ?, ?, ?)",
            (scene_id, written.rating_key, json.dumps(dict(written.fields)), written.cover),
        )

    def forget(self, scene_id: int) -> None:
        """Drop a scene that is gone."""
        self._db.execute("DELETE FROM written WHERE scene_id = ?", (scene_id,))
