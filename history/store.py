"""Store the history in SQLite. Only the holder of the worker's lock writes it."""

from __future__ import annotations

import dataclasses
import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import history.counts as counts
from common.media import MediaFile
from common.sqlite import connect_in_memory, write
from history.changes import Changes
from history.fields import FieldState, decode, encode, rename, rename_by_person
from history.reading import ask, fits, is_damaged
from history.records import (
    ART,
    PICTURES,
    UNKNOWN_COVER,
    Agreement,
    Choice,
    CoverState,
    OwnCollection,
    Status,
)  # fmt: skip
from history.schema import migrate

log = logging.getLogger("plexsync")

T = TypeVar("T")

FILE = "history.db"
#: The server of records that are set aside: which one is not known.
OTHER_SERVER = "?"
#: State: when the history was lost, in epoch seconds.
LOST_AT = "lost_at"

_COLUMNS = (
    "id, scene_id, status, reason, server, section, rating_key, path, created_at, updated_at,"
    " files, digest, generation, item_updated_at, checked_at, synced_at, missing_since, verify_at,"
    " fields, cover, details"
)
_NAMES = tuple(name.strip() for name in _COLUMNS.split(","))
#: Columns that repeat a part of another one, for an index.
_DERIVED = "cover_source, folder"
_PLACES = ", ".join("?" * (f"{_COLUMNS}, {_DERIVED}".count(",") + 1))
_INSERT = f"INSERT OR REPLACE INTO agreements ({_COLUMNS}, {_DERIVED}) VALUES ({_PLACES})"
_BROKEN = (ValueError, TypeError, AttributeError, KeyError, RecursionError)
_STATUSES = frozenset(status.value for status in Status)
_CHOICE = "scene_id, server, rating_key, path, missing_since, created_at"
#: Types of a collection's columns.
_COLLECTION = (str, int, str, str, int, int, str, str)
#: Values in one statement: SQLite allows 999 in old versions.
_MOST_VALUES = 500


#: Of several agreements with an item, those that count, else the last.
_LAST_OF_ITEM = (
    "rating_key > 0 AND (retired_at IS NULL OR NOT EXISTS (SELECT 1 FROM agreements AS other"
    " WHERE other.rating_key = agreements.rating_key AND other.server = agreements.server"
    " AND other.id != agreements.id AND (other.retired_at IS NULL OR other.id > agreements.id)))"
)


class Row(NamedTuple):
    """An agreement without its long fields: enough to see whether something changed."""

    id: int
    scene_id: int
    status: Status
    server: str
    rating_key: int
    path: str
    created_at: str
    updated_at: str
    digest: str | None
    generation: str
    item_updated_at: int
    checked_at: float
    missing_since: float | None
    cover_source: str
    synced_at: float | None


_ROW = (
    "id, scene_id, status, server, rating_key, path, created_at, updated_at, digest, generation,"
    " item_updated_at, checked_at, missing_since, cover_source, synced_at"
)


class History:
    """The history of all scenes. Thread-safe."""

    def __init__(
        self, connection: sqlite3.Connection | None = None, *, now: Callable[[], float] = time.time
    ) -> None:
        """Use the database behind `connection`, or memory that ends with this object.

        Raises:
            NewerSchema: a newer PlexSync has written it.
        """
        self._db = connection or connect_in_memory(self)
        self._lock = threading.RLock()
        self._now = now
        migrate(self._db, now())
        #: what was written to Plex, field by field
        self.changes = Changes(self._db, self._lock)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all changes inside at once, or none."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            with write(self._db):
                yield

    # --- agreements

    def of_scene(self, scene_id: int) -> list[Agreement]:
        """Return the agreements of a scene, the oldest first."""
        return self._agreements("scene_id = ? AND retired_at IS NULL ORDER BY id", scene_id)

    def of_items(self, server: str, rating_keys: Sequence[int]) -> list[Agreement]:
        """Return the agreements with these items."""
        marks = ", ".join("?" * len(rating_keys))
        return self._agreements(
            f"rating_key IN ({marks}) AND server = ? AND retired_at IS NULL ORDER BY id",
            *rating_keys,
            server,
        )

    def of_paths(self, server: str, paths: Sequence[str]) -> list[Row]:
        """Return the rows of agreements with items that have these normalized paths."""
        found = self._rows_with("path", paths, "AND server = ? AND rating_key > 0", server)
        return [row for rows in found.values() for row in rows]

    def with_status(self, *statuses: Status) -> Iterator[Agreement]:
        """Yield the agreements in these states, by scene."""
        marks = ", ".join("?" * len(statuses))
        last = 0
        while True:
            found = self._agreements(
                f"status IN ({marks}) AND retired_at IS NULL AND id > ? ORDER BY id LIMIT 500",
                *(status.value for status in statuses),
                last,
            )
            yield from found
            if len(found) < 500:
                return
            last = found[-1].id

    def with_items(self, after: int, limit: int, section: int | None = None) -> list[Agreement]:
        """Return the last agreement with each item, by its row, from the one after `after`.

        Retired ones too, as what was written to their items is still there.

        Args:
            section: only items of this library.
        """
        where, values = _LAST_OF_ITEM, [after, limit]
        if section is not None:
            where, values = f"{where} AND section = ?", [section, after, limit]
        return self._agreements(f"{where} AND id > ? ORDER BY id LIMIT ?", *values)

    def retired(self, ids: Iterable[int]) -> list[int]:
        """Return which of these agreements are retired."""
        return [
            one
            for one in ids
            if self._run("SELECT 1 FROM agreements WHERE id = ? AND retired_at IS NOT NULL", one)
        ]

    def count_items(self, section: int | None = None) -> int:
        """Return the number of items that there are agreements with.

        Args:
            section: only items of this library.
        """
        where, values = _LAST_OF_ITEM, []
        if section is not None:
            where, values = f"{where} AND section = ?", [section]
        return int(self._run(f"SELECT count(*) FROM agreements WHERE {where}", *values)[0][0])

    def without_server(self) -> list[Agreement]:
        """Return the agreements of which the server is not known."""
        return self._agreements("server = '' AND retired_at IS NULL ORDER BY scene_id")

    def set_server(self, old: str, new: str) -> None:
        """Assign agreements and choices to another server."""
        with self.transaction():
            for table in ("agreements", "choices"):
                self._db.execute(
                    f"UPDATE OR REPLACE {table} SET server = ? WHERE server = ?", (new, old)
                )

    def to_verify(self, before: float, limit: int) -> list[Agreement]:
        """Return agreements whose write is due to be read back, the longest due first."""
        return self._agreements(
            "verify_at <= ? AND retired_at IS NULL ORDER BY verify_at LIMIT ?", before, limit
        )

    def next_verification(self) -> float | None:
        """Return when the next write is due to be read back, in epoch seconds."""
        found: float | None = self._run(
            "SELECT min(verify_at) FROM agreements WHERE verify_at IS NOT NULL"
            " AND retired_at IS NULL"
        )[0][0]
        return found

    def rows(self, first: int, last: int) -> dict[int, list[Row]]:
        """Return scene id → its rows, for the scenes from `first` to `last`."""
        return _by_scene(
            self._run(
                f"SELECT {_ROW} FROM agreements"
                " WHERE scene_id BETWEEN ? AND ? AND retired_at IS NULL ORDER BY id",
                first,
                last,
            )
        )

    def rows_of(self, scene_ids: Sequence[int]) -> dict[int, list[Row]]:
        """Return scene id → its rows, for these scenes."""
        return self._rows_with("scene_id", scene_ids)

    def oldest_read(self, server: str, before: float, limit: int) -> list[int]:
        """Return scenes in Plex whose item was not read since `before`, the oldest first."""
        rows = self._run(
            "SELECT DISTINCT scene_id FROM agreements WHERE server = ? AND rating_key > 0"
            " AND retired_at IS NULL AND status IN ('in_sync', 'refused') AND checked_at < ?"
            " ORDER BY checked_at LIMIT ?",
            server,
            before,
            limit,
        )
        return [row[0] for row in rows]

    def save(self, agreement: Agreement) -> Agreement:
        """Store an agreement, durably; return it with its row."""
        with self._lock:
            cursor = self._db.execute(_INSERT, _stored(agreement))
            if agreement.id:
                return agreement
            assert cursor.lastrowid is not None
            return dataclasses.replace(agreement, id=cursor.lastrowid)

    def save_all(self, agreements: Iterable[Agreement]) -> None:
        """Store agreements in one transaction."""
        rows = [_stored(agreement) for agreement in agreements]
        if rows:
            with self.transaction():
                self._db.executemany(_INSERT, rows)

    def update(self, ids: Iterable[int], **columns: object) -> None:
        """Set columns of rows, in one transaction."""
        change = ", ".join(f"{name} = ?" for name in columns)
        rows = [(*columns.values(), one) for one in ids]
        if rows:
            with self.transaction():
                self._db.executemany(f"UPDATE agreements SET {change} WHERE id = ?", rows)

    def retire(self, ids: Iterable[int]) -> None:
        """Forget agreements. What Plex had before us stays on record until the item is gone."""
        self.update(ids, retired_at=self._now(), verify_at=None)

    def last_of_item(self, server: str, rating_key: int) -> Agreement | None:
        """Return the latest agreement with an item, be it retired, or None."""
        found = self._agreements(
            "rating_key = ? AND server = ?"
            " ORDER BY retired_at IS NULL DESC, retired_at DESC, id DESC LIMIT 1",
            rating_key,
            server,
        )
        return found[0] if found else None

    def purge(self, server: str, is_there: Callable[[int], bool]) -> int:
        """Delete retired agreements whose item is gone too; return how many.

        Args:
            is_there: whether Plex still has an item of this rating key.
        """
        gone = [
            row_id
            for row_id, key in self._run(
                "SELECT id, rating_key FROM agreements WHERE retired_at IS NOT NULL"
                " AND (rating_key = 0 OR server = ?)",
                server,
            )
            if not key or not is_there(key)
        ]
        with self.transaction():
            self._db.executemany("DELETE FROM agreements WHERE id = ?", [(one,) for one in gone])
        return len(gone)

    def known_scenes(self) -> int:
        """Return the number of scenes on record."""
        found = self._run(
            "SELECT count(DISTINCT scene_id) FROM agreements WHERE retired_at IS NULL"
        )
        return int(found[0][0])

    def is_known(self, scene_id: int) -> bool:
        """Return whether the scene was ever written to an item."""
        return bool(
            self._run(
                "SELECT 1 FROM agreements WHERE scene_id = ? AND retired_at IS NULL"
                " AND rating_key > 0 LIMIT 1",
                scene_id,
            )
        )

    def owners(self, server: str, rating_key: int, paths: Sequence[str]) -> set[int]:
        """Return the scenes that were synced with an item.

        Args:
            paths: the item's. A rebuilt Plex may have given the rating key to another file.
        """
        rows = self._run(
            "SELECT scene_id, path FROM agreements WHERE rating_key = ? AND server = ?"
            " AND retired_at IS NULL AND missing_since IS NULL",
            rating_key,
            server,
        )
        return {scene_id for scene_id, path in rows if path in ("", *paths)}

    def forget_cover(self, scene_id: int) -> None:
        """Have the scene's cover uploaded again; that the one in Plex is ours stays known."""
        for one in self.of_scene(scene_id):
            for name in PICTURES:
                sha1, state = one.cover_of(name).sha1, one.fields.get(name)
                if not sha1:
                    continue
                if state is not None and sha1 != UNKNOWN_COVER:
                    ours = state.ours or sha1  # which one, as Plex may refuse the next
                    one = one.with_field(name, dataclasses.replace(state, ours=ours))
                one = self.save(one.with_cover(name, CoverState(sha1=UNKNOWN_COVER)))

    def count(self, *, since: float | None = None) -> dict[Status, int]:
        """Return status → number of scenes.

        Args:
            since: only scenes that were compared since then, in epoch seconds.
        """
        if since is None:
            found = self._ask(counts.count_by_status)
        else:
            found = dict(
                self._run(
                    "SELECT status, count(DISTINCT scene_id) FROM agreements"
                    " WHERE retired_at IS NULL AND checked_at >= ? GROUP BY status",
                    since,
                )
            )
        return {Status(status): count for status, count in found.items() if status in _STATUSES}

    def count_kept(self, *, since: float | None = None) -> int:
        """Return the number of scenes with a person's edit in Plex that is kept.

        Args:
            since: only scenes that were compared since then, in epoch seconds.
        """
        if since is None:
            return self._ask(counts.count_kept)
        rows = self._run(
            "SELECT count(DISTINCT scene_id) FROM agreements"
            " WHERE retired_at IS NULL AND fields LIKE '%\"kept\": true%' AND checked_at >= ?",
            since,
        )
        return int(rows[0][0])

    def count_asking(self) -> int:
        """Return the number of scenes of which a field waits for a yes; see `counts`."""
        return self._ask(counts.count_asking)

    def count_skipped(self) -> dict[str, int]:
        """Return reason → scenes that are left out; see `counts`."""
        return self._ask(counts.count_skipped)

    def asking(self) -> list[Agreement]:
        """Return the records with a field that waits for a yes."""
        return self._agreements(f"retired_at IS NULL AND {counts.ASKING}")

    def count_folders(self) -> dict[str, int]:
        """Return folder → records that are not in Plex; the 20 largest numbers first."""
        return self._ask(counts.count_folders)

    def scenes_in_folder(self, folder: str, status: Status) -> list[int]:
        """Return the scenes without an item whose first file is in a folder of Stash."""
        found = self._run(
            "SELECT DISTINCT scene_id FROM agreements WHERE retired_at IS NULL"
            f" AND status = '{status.value}' AND folder = ? AND rating_key = 0 ORDER BY 1",
            folder,
        )
        return [row[0] for row in found]

    def needing(self) -> dict[str, list[int]]:
        """Return status → scenes that need the user now."""
        return self._ask(lambda db: counts.needing(db, self._now()))

    def needing_user(self, status: Status, now: float) -> Iterator[Agreement]:
        """Yield the agreements of a status whose scenes need the user, the oldest first.

        Args:
            now: epoch seconds.
        """
        where, values = self._ask(lambda db: counts.needing_where(db, status.value, now))
        last = 0
        while True:
            found = self._agreements(
                f"{where} AND id > ? ORDER BY id LIMIT {_MOST_VALUES}", *values, last
            )
            yield from found
            if len(found) < _MOST_VALUES:
                return
            last = found[-1].id

    def count_held(self) -> int:
        """Return the number of scenes with a field that is not synced until the user says so."""
        rows = self._run(
            "SELECT count(DISTINCT scene_id) FROM agreements"
            " WHERE retired_at IS NULL AND fields LIKE '%\"held\": true%'"
        )
        return int(rows[0][0])

    def synced(self) -> dict[int, float]:
        """Return scene id → epoch seconds of its last sync."""
        return dict(
            self._run(
                "SELECT scene_id, max(synced_at) FROM agreements"
                " WHERE retired_at IS NULL AND synced_at IS NOT NULL AND missing_since IS NULL"
                " GROUP BY scene_id"
            )
        )

    def missing(self) -> list[int]:
        """Return the scenes that Stash does not have any more."""
        rows = self._run(
            "SELECT DISTINCT scene_id FROM agreements"
            " WHERE retired_at IS NULL AND missing_since IS NOT NULL"
        )
        return [row[0] for row in rows]

    # --- choices

    def choices(self, scene_id: int) -> list[Choice]:
        """Return the items that the user chose for the scene."""
        return self._choices("scene_id = ? ORDER BY rating_key", scene_id)

    def choices_in(self, server: str, scene_id: int) -> list[Choice]:
        """Return the items in one Plex that the user chose for the scene."""
        return [choice for choice in self.choices(scene_id) if choice.server == server]

    def choose(self, scene_id: int, choices: Iterable[Choice]) -> None:
        """Replace the choices for a scene."""
        with self.transaction():
            self._db.execute("DELETE FROM choices WHERE scene_id = ?", (scene_id,))
            self._db.executemany(
                f"INSERT OR REPLACE INTO choices ({_CHOICE}) VALUES (?, ?, ?, ?, ?, ?)",
                [dataclasses.astuple(choice) for choice in choices],
            )

    def choosers(self, server: str, rating_key: int, paths: Sequence[str]) -> list[Choice]:
        """Return the choices of an item, by scene.

        Args:
            paths: the item's; see `owners`.
        """
        found = self._choices("rating_key = ? AND server = ? ORDER BY scene_id", rating_key, server)
        return [one for one in found if one.missing_since is None and one.path in ("", *paths)]

    def all_choices(self) -> list[Choice]:
        """Return every choice."""
        return self._choices("1")

    def _choices(self, where: str, *values: object) -> list[Choice]:
        """Return choices. If an item can't be read, none has its key, so the user chooses again."""
        found = []
        for row in self._run(f"SELECT {_CHOICE} FROM choices WHERE {where}", *values):
            if fits(row, int, str):
                rating_key, path, missing_since, created_at = row[2:]
                found.append(
                    Choice(
                        row[0],
                        row[1],
                        rating_key if isinstance(rating_key, int) else 0,
                        path if isinstance(path, str) else "",
                        missing_since if isinstance(missing_since, float) else None,
                        created_at if isinstance(created_at, str) else "",
                    )
                )
        return found

    # --- collections

    def collections(self, server: str, section: int, name: str) -> list[OwnCollection]:
        """Return the record of our collection of this name."""
        where = "server = ? AND section = ? AND name = ?"
        return self._collections(where, server, section, name)

    def collection_of(
        self, server: str, section: int, kind: str, source_id: int
    ) -> OwnCollection | None:
        """Return our collection for a studio, a group, …, or None."""
        found = self._collections(
            "server = ? AND section = ? AND kind = ? AND source_id = ?",
            server, section, kind, source_id,
        )  # fmt: skip
        return found[0] if found else None

    def own_collections(self, server: str) -> list[OwnCollection]:
        """Return all collections that we created in a Plex."""
        return self._collections("server = ?", server)

    def save_collection(self, own: OwnCollection) -> None:
        """Store that we created a collection; what it stands for has one at a time."""
        with self.transaction():
            if own.kind:
                self._run(
                    "UPDATE OR REPLACE collections SET kind = '', source_id = 0 WHERE server = ?"
                    " AND section = ? AND kind = ? AND source_id = ? AND name != ?",
                    own.server,
                    own.section,
                    own.kind,
                    own.source_id,
                    own.name,
                )
            self._run(
                "INSERT OR REPLACE INTO collections VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                *dataclasses.astuple(own),
            )

    def forget_collection(self, server: str, section: int, name: str) -> None:
        """Forget our collection of this name: it ends."""
        self._run(
            "DELETE FROM collections WHERE server = ? AND section = ? AND name = ?",
            server,
            section,
            name,
        )

    def unlisted_collections(self, server: str) -> list[int]:
        """Return the libraries in which we created collections of which no key is known."""
        found = self._collections("server = ? AND rating_key = 0", server)
        return sorted({own.section for own in found})

    def forget_unlisted(self, server: str, section: int) -> None:
        """Forget collections that we were about to create, and that did not come to be."""
        self._run(
            "DELETE FROM collections WHERE server = ? AND section = ? AND rating_key = 0",
            server,
            section,
        )

    def note_collection_keys(self, server: str, section: int, keys: Mapping[str, int]) -> None:
        """Note rating keys of our collections that were not known; forget those that have ended.

        Args:
            keys: name → rating key of all of the library's collections.
        """
        there = set(keys.values())
        known = self._collections("server = ? AND section = ? AND rating_key > 0", server, section)
        with self.transaction():
            for own in known:
                if own.rating_key not in there:
                    self.forget_collection(server, section, own.name)
            self._db.executemany(
                "UPDATE collections SET rating_key = ?"
                " WHERE server = ? AND section = ? AND name = ? AND rating_key = 0",
                [(key, server, section, name) for name, key in keys.items()],
            )

    def rename_collection(self, own: OwnCollection, name: str) -> None:
        """Note the new name of a collection, in the records of its items too."""
        with self.transaction():
            for gone in (own.name, name):
                self.forget_collection(own.server, own.section, gone)
            self.save_collection(dataclasses.replace(own, name=name, renaming=""))
            self._rename_in_items(own, name, rename)

    def release_collection(self, own: OwnCollection, name: str) -> None:
        """Note that a person has renamed a collection of ours: from now on it is theirs."""
        with self.transaction():
            self.forget_collection(own.server, own.section, own.name)
            self._rename_in_items(own, name, rename_by_person)

    def _rename_in_items(
        self, own: OwnCollection, name: str, renamed: Callable[..., dict[str, FieldState]]
    ) -> None:
        quoted = json.dumps(own.name).replace("\\", "\\\\")
        for mark in "%_":
            quoted = quoted.replace(mark, f"\\{mark}")
        rows = self._agreements(
            "server = ? AND section = ? AND fields LIKE ? ESCAPE '\\'",
            own.server,
            own.section,
            f"%{quoted}%",
        )
        self._db.executemany(
            "UPDATE agreements SET fields = ? WHERE id = ?",
            [
                (json.dumps(encode(renamed(row.fields, "collection", own.name, name))), row.id)
                for row in rows
            ],
        )

    def _collections(self, where: str, *values: object) -> list[OwnCollection]:
        """Return collections without those that can't be read: they count as a person's."""
        rows = self._run(
            "SELECT server, section, name, kind, source_id, rating_key, renaming, sort_title"
            f" FROM collections WHERE {where}",
            *values,
        )
        return [OwnCollection(*row) for row in rows if fits(row, *_COLLECTION)]

    # --- passes and proposals

    def passes(self) -> dict[int, dict[str, Any]]:
        """Return id → content of the passes that are not finished, the oldest first."""
        rows = self._run("SELECT id, content FROM passes ORDER BY id")
        return {pass_id: found for pass_id, content in rows if (found := _content(content))}

    def save_pass(self, pass_id: int | None, content: dict[str, Any]) -> int:
        """Store a pass; return its id.

        Args:
            pass_id: None: a new one.
        """
        with self._lock:
            cursor = self._db.execute(
                "INSERT OR REPLACE INTO passes VALUES (?, ?)", (pass_id, json.dumps(content))
            )
            assert cursor.lastrowid is not None
            return cursor.lastrowid

    def end_pass(self, pass_id: int) -> None:
        """Delete a pass."""
        self._run("DELETE FROM passes WHERE id = ?", pass_id)

    def propose(self, scenes: Iterable[tuple[int, str]]) -> None:
        """Add (scene id, reason) of scenes that a pass would write."""
        with self.transaction():
            self._db.executemany("INSERT OR REPLACE INTO proposals VALUES (?, ?)", scenes)

    def proposals(self, after: int = 0, limit: int = -1) -> list[tuple[int, str]]:
        """Return (scene id, reason) of proposed scenes with a larger id, by id."""
        rows = self._run(
            "SELECT scene_id, reason FROM proposals WHERE scene_id > ? ORDER BY 1 LIMIT ?",
            after,
            limit,
        )
        return [(scene_id, _reason(reason)) for scene_id, reason in rows]

    def count_proposals(self) -> dict[str, int]:
        """Return reason → number of proposed scenes, the most frequent first."""
        rows = self._run("SELECT reason, count(*) FROM proposals GROUP BY 1 ORDER BY 2 DESC, 1")
        return {_reason(reason): count for reason, count in rows}

    def drop_proposals(self, scene_ids: Iterable[int] | None = None) -> None:
        """Delete proposals; None: all."""
        with self.transaction():
            if scene_ids is None:
                self._db.execute("DELETE FROM proposals")
            else:
                self._db.executemany(
                    "DELETE FROM proposals WHERE scene_id = ?", [(one,) for one in scene_ids]
                )

    # --- further state

    def get(self, name: str, default: Any = None) -> Any:
        """Return a stored value in JSON's types.

        Args:
            default: stands in for a value that can't be read or is of another type; None: of any.
        """
        rows = self._run("SELECT value FROM state WHERE name = ?", name)
        try:
            value = json.loads(rows[0][0]) if rows else default
        except _BROKEN:
            return default
        kinds = (int, float) if isinstance(default, float) else type(default)
        return value if default is None or isinstance(value, kinds) else default

    def set(self, name: str, value: Any) -> None:
        """Store a value; None deletes it."""
        if value is None:
            self._run("DELETE FROM state WHERE name = ?", name)
        else:
            self._run("INSERT OR REPLACE INTO state VALUES (?, ?)", name, json.dumps(value))

    def version(self) -> int:
        """Return a number that grows with each change that is made through this object."""
        return self._db.total_changes

    def _agreements(self, where: str, *values: object) -> list[Agreement]:
        """Return agreements; set aside those that can't be read, so that the others go on.

        Their scenes are compared as if they had never been met.
        """
        found = []
        for row in self._run(f"SELECT {_COLUMNS} FROM agreements WHERE {where}", *values):
            try:
                found.append(_read(row))
            except _BROKEN as error:
                log.error("The record %s of scene %s can't be read: %r", row[0], row[1], error)
                self.retire([row[0]])
        return found

    def _rows_with(
        self, column: str, wanted: Sequence[object], also: str = "", *values: object
    ) -> dict[int, list[Row]]:
        """Return scene id → its rows, for the rows with one of these values in a column.

        Args:
            also: a further condition in SQL, with `values` for its marks.
        """
        found = []
        for start in range(0, len(wanted), _MOST_VALUES):
            some = wanted[start : start + _MOST_VALUES]
            marks = ", ".join("?" * len(some))
            found += self._run(
                f"SELECT {_ROW} FROM agreements WHERE {column} IN ({marks}) {also}"
                " AND retired_at IS NULL ORDER BY id",
                *some,
                *values,
            )
        return _by_scene(found)

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            return ask(self._db, question)

    def _run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self._ask(lambda db: db.execute(statement, values).fetchall())


class ReadOnlyHistory(History):
    """A history that is only read: changes are forgotten at once."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Change nothing."""
        yield

    def save(self, agreement: Agreement) -> Agreement:
        """Store nothing."""
        return agreement

    def save_all(self, agreements: Iterable[Agreement]) -> None:
        """Store nothing."""

    def update(self, ids: Iterable[int], **columns: object) -> None:
        """Change nothing."""

    def choose(self, scene_id: int, choices: Iterable[Choice]) -> None:
        """Store nothing."""

    def save_collection(self, own: OwnCollection) -> None:
        """Store nothing."""

    def forget_collection(self, server: str, section: int, name: str) -> None:
        """Change nothing."""

    def release_collection(self, own: OwnCollection, name: str) -> None:
        """Change nothing."""

    def note_collection_keys(self, server: str, section: int, keys: Mapping[str, int]) -> None:
        """Store nothing."""

    def set(self, name: str, value: Any) -> None:
        """Store nothing."""


def _stored(one: Agreement) -> tuple[object, ...]:
    return (
        one.id or None,
        one.scene_id,
        one.status.value,
        one.reason,
        one.server,
        one.section,
        one.rating_key,
        one.path,
        one.created_at,
        one.updated_at,
        json.dumps([(file.path, file.size) for file in one.files]),
        one.digest,
        one.generation,
        one.item_updated_at,
        one.checked_at,
        one.synced_at,
        one.missing_since,
        one.verify_at,
        json.dumps(encode(one.fields)),
        _stored_covers(one),
        None if one.details is None else json.dumps(one.details),
        max(one.cover.source, one.art.source, key=_age),
        _folder(one.files),
    )


def _stored_covers(one: Agreement) -> str:
    """Return the states of the cover; the poster's stand where those of earlier versions do."""
    content = dataclasses.asdict(one.cover)
    if one.art != CoverState():
        content[ART] = dataclasses.asdict(one.art)
    return json.dumps(content)


def _age(source: str) -> tuple[int, str]:
    """Return the order of two addresses of a cover, which end in the time of a change."""
    return len(source), source


def _folder(files: Sequence[MediaFile]) -> str:
    """Return the folder of a scene's first file; "" without one."""
    if not files:
        return ""
    return files[0].path.replace("\\", "/").rpartition("/")[0] or "/"


def _content(stored: str | bytes) -> dict[str, Any] | None:
    """Return the content of a pass; None if it is damaged: the next pass does its work."""
    try:
        content = json.loads(stored)
    except _BROKEN:
        return None
    return content if isinstance(content, dict) else None


def _reason(stored: object) -> str:
    return stored.decode("utf-8", "replace") if isinstance(stored, bytes) else str(stored)


def _read(row: tuple[Any, ...]) -> Agreement:
    if is_damaged(row):
        raise ValueError("a text is not UTF-8")
    values = dict(zip(_NAMES, row, strict=True))
    covers = dict(json.loads(values["cover"]))
    art = CoverState(**covers.pop(ART, {}))
    values.update(
        status=Status(values["status"]),
        files=tuple(MediaFile(*file) for file in json.loads(values["files"])),
        fields=decode(json.loads(values["fields"])),
        cover=CoverState(**covers),
        art=art,
        details=json.loads(values["details"]) if values["details"] else None,
    )
    return Agreement(**values)


def _by_scene(rows: Iterable[tuple[Any, ...]]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for row in rows:
        if is_damaged(row) or row[2] not in _STATUSES:
            continue  # its record is set aside when it is read
        one = Row(row[0], row[1], Status(row[2]), *row[3:])
        found.setdefault(one.scene_id, []).append(one)
    return found
