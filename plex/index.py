"""The index of Plex's files, in SQLite: path, size and rating key of every part.

Plex has no search by path. So the libraries are listed once, page by page, and then only changes
are read. The index may be stale at any time: it says where to look, never what to write.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar
from xml.etree.ElementTree import Element

from common.sqlite import connect_in_memory, write
from plex.client import MOVIE, PAGE, PlexClient
from plex.items import int_attribute
from plex.paths import folded, name_of, normalize

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS files"
    " (rating_key INTEGER NOT NULL, section_id INTEGER NOT NULL, path TEXT NOT NULL,"
    " normal TEXT NOT NULL, folded_name TEXT NOT NULL, size INTEGER, round INTEGER NOT NULL,"
    " PRIMARY KEY (rating_key, path)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS files_by_path ON files(normal)",
    "CREATE INDEX IF NOT EXISTS files_by_name ON files(folded_name)",
    "CREATE INDEX IF NOT EXISTS files_by_section ON files(section_id, rating_key)",
    # what Plex told about a section when it was last listed
    "CREATE TABLE IF NOT EXISTS sections (section_id INTEGER PRIMARY KEY, marks TEXT NOT NULL,"
    " newest INTEGER NOT NULL, round INTEGER NOT NULL, listed_at REAL NOT NULL)",
)
#: Attributes of a section that change with its content, in one version of Plex or another.
_MARKS = ("scannedAt", "contentChangedAt", "updatedAt", "refreshing")
#: Parts of a listing that are not needed.
_LEAN = (
    "excludeElements=Genre,Country,Director,Writer,Role,Collection,Guid,Image,UltraBlurColors"
    "&excludeFields=summary"
)
#: Seconds after which a section is listed whole again, even if its marks are the same.
_LIST_AGAIN = 86_400.0

T = TypeVar("T")


@dataclass(frozen=True)
class IndexedFile:
    """One file that Plex knew when the index was brought up to date."""

    rating_key: int
    section_id: int
    path: str  # as Plex writes it
    normal: str
    size: int | None  # bytes


class FileIndex:
    """The index of one Plex server. Not for use from two threads at once."""

    def __init__(
        self, connection: sqlite3.Connection | None = None, *, now: Callable[[], float] = time.time
    ) -> None:
        """Use the database behind `connection`, or memory that ends with this object."""
        self._db = connection or connect_in_memory(self)
        self._now = now
        self._refreshed_at = float("-inf")
        with write(self._db):
            for statement in _SCHEMA:
                self._db.execute(statement)

    def by_path(self, normal: str, section_ids: Iterable[int]) -> list[IndexedFile]:
        """Return the files with this normalized path."""
        return self._find("normal = ?", normal, section_ids)

    def by_name(self, name: str, section_ids: Iterable[int]) -> list[IndexedFile]:
        """Return the files with this name, upper and lower case alike."""
        return self._find("folded_name = ?", folded(name), section_ids)

    def forget(self, rating_key: int) -> None:
        """Drop an item that is gone or elsewhere; the next refresh lists its section again."""
        with write(self._db):
            self._db.execute(
                "UPDATE sections SET marks = ''"
                " WHERE section_id IN (SELECT section_id FROM files WHERE rating_key = ?)",
                (rating_key,),
            )
            self._db.execute("DELETE FROM files WHERE rating_key = ?", (rating_key,))

    def age(self) -> float:
        """Return seconds since the last refresh; infinite if the clock was set back since."""
        age = self._now() - self._refreshed_at
        return age if age >= 0 else float("inf")

    def knows(self, section_ids: Iterable[int]) -> bool:
        """Return whether all these sections were listed before."""
        listed = {row[0] for row in self._db.execute("SELECT section_id FROM sections")}
        return listed.issuperset(section_ids)

    def count(self) -> int:
        """Return the number of files."""
        return int(self._db.execute("SELECT count(*) FROM files WHERE path != ''").fetchone()[0])

    def paths(self) -> Iterator[str]:
        """Yield all paths, as Plex writes them."""
        for row in self._db.execute("SELECT path FROM files WHERE path != ''"):
            yield row[0]

    def listed_at(self) -> float | None:
        """Return when a section was last listed whole, in epoch seconds, or None."""
        newest: float | None = self._db.execute("SELECT max(listed_at) FROM sections").fetchone()[0]
        return newest

    def refresh(self, client: PlexClient, section_ids: Iterable[int]) -> bool:
        """Bring the sections up to date, asking only for what changed; return whether anything had.

        Costs one request when nothing changed.
        """
        wanted = set(section_ids)
        changed, asked_at = False, self._now()
        for section in client.get("/library/sections"):
            section_id = int_attribute(section, "key")
            if section_id in wanted and self._refresh_section(client, section_id, _marks(section)):
                changed = True
        self._refreshed_at = asked_at
        return changed

    def _refresh_section(self, client: PlexClient, section_id: int, marks: str) -> bool:
        known = self._db.execute(
            "SELECT marks, newest, listed_at FROM sections WHERE section_id = ?", (section_id,)
        ).fetchone()
        if known is None or not 0 <= self._now() - known[2] < _LIST_AGAIN:
            self._list_all(client, section_id, marks)
            return True
        if known[0] == marks:
            return False
        if not self._list_changed(client, section_id, marks, newest=known[1]):
            self._list_all(client, section_id, marks)
        return True

    def _list_all(self, client: PlexClient, section_id: int, marks: str) -> None:
        """List every item; drop items that are gone at the end, not before."""
        # from the files: an incomplete listing has left some of its round
        last = self._db.execute(
            "SELECT max(round) FROM files WHERE section_id = ?", (section_id,)
        ).fetchone()[0]
        this_round = (last or 0) + 1
        path = f"/library/sections/{section_id}/all?type={MOVIE}&sort=id&{_LEAN}"
        newest, listed_at = 0, self._now()
        totals: set[int] = set()
        for page in _chunks(client.list_items(path)):
            newest = max(
                newest, self._store(section_id, [element for element, _ in page], this_round)
            )
            totals.update(total for _, total in page)
        if len(totals) > 1:  # items came or went between two pages, so that others were skipped
            listed_at = 0.0
        with write(self._db):
            self._db.execute(
                "DELETE FROM files WHERE section_id = ? AND round < ?", (section_id, this_round)
            )
            self._db.execute(
                "INSERT OR REPLACE INTO sections VALUES (?, ?, ?, ?, ?)",
                (section_id, marks, newest, this_round, listed_at),
            )

    def _list_changed(self, client: PlexClient, section_id: int, marks: str, newest: int) -> bool:
        """List what was updated since; return whether the index is complete again."""
        path = f"/library/sections/{section_id}/all?type={MOVIE}&sort=updatedAt:desc&{_LEAN}"
        this_round = self._db.execute(
            "SELECT round FROM sections WHERE section_id = ?", (section_id,)
        ).fetchone()[0]
        changed: list[Element] = []
        total = 0
        for element, total in client.list_items(path, size=100):  # noqa: B007 - the last total
            if _updated_at(element) < newest:
                break
            changed.append(element)
        newest = max(newest, self._store(section_id, changed, this_round))
        items = self._db.execute(
            "SELECT count(DISTINCT rating_key) FROM files WHERE section_id = ?", (section_id,)
        )
        if items.fetchone()[0] != total:
            return False
        self._db.execute(
            "UPDATE sections SET marks = ?, newest = ? WHERE section_id = ?",
            (marks, newest, section_id),
        )
        return True

    def _store(self, section_id: int, elements: list[Element], this_round: int) -> int:
        """Replace the rows of these items; return the newest `updatedAt` among them."""
        newest = 0
        with write(self._db):
            for element in elements:
                key = int_attribute(element, "ratingKey")
                self._db.execute("DELETE FROM files WHERE rating_key = ?", (key,))
                self._db.executemany(
                    "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [(key, section_id, *row, this_round) for row in _rows(element)],
                )
                newest = max(newest, _updated_at(element))
        return newest

    def _find(self, where: str, value: str, section_ids: Iterable[int]) -> list[IndexedFile]:
        wanted = set(section_ids)
        rows = self._db.execute(
            f"SELECT rating_key, section_id, path, normal, size FROM files WHERE {where}"
            " ORDER BY rating_key",
            (value,),
        )
        return [file for file in (IndexedFile(*row) for row in rows) if file.section_id in wanted]


def _rows(element: Element) -> list[tuple[str, str, str, int | None]]:
    """Return the rows of an item; one without files has a row too, so that items can be counted."""
    parts = [part for part in element.iter("Part") if part.get("file")]
    return [_row(part.get("file") or "", int_attribute(part, "size")) for part in parts] or [
        _row("", 0)
    ]


def _row(path: str, size: int) -> tuple[str, str, str, int | None]:
    normal = normalize(path)
    return path, normal, folded(name_of(normal)), size or None


def _chunks(elements: Iterable[T], size: int = PAGE) -> Iterator[list[T]]:
    chunk: list[T] = []
    for element in elements:
        chunk.append(element)
        if len(chunk) >= size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _marks(section: Element) -> str:
    return ",".join(section.get(name) or "" for name in _MARKS)


def _updated_at(element: Element) -> int:
    return int_attribute(element, "updatedAt", "addedAt")
