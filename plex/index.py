"""The index of Plex's files, in SQLite: path, size, item and `updatedAt` of every part.

Plex has no search by path. So the libraries are listed once, page by page, and then only changes
are read. The index may be stale at any time: it says where to look, never what to write. It is a
cache of one server: another server, or another version of the tables, begins it anew.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from xml.etree.ElementTree import Element

from common.media import MediaFile
from common.sqlite import connect_in_memory, write
from plex.client import MOVIE, PAGE, PlexClient
from plex.exceptions import PLEX_ERRORS, PlexListingError, PlexRejected
from plex.items import PlexItem, int_attribute
from plex.paths import folded, name_of, normalize

_VERSION = 3
_TABLES = ("files", "sections", "about")
_SCHEMA = (
    # `number` grows with every file that was not there before
    "CREATE TABLE files"
    " (rating_key INTEGER NOT NULL, section_id INTEGER NOT NULL, path TEXT NOT NULL,"
    " normal TEXT NOT NULL, folded_name TEXT NOT NULL, size INTEGER, updated_at INTEGER NOT NULL,"
    " round INTEGER NOT NULL, number INTEGER NOT NULL,"
    " PRIMARY KEY (rating_key, path)) WITHOUT ROWID",
    "CREATE INDEX files_by_path ON files(normal)",
    "CREATE INDEX files_by_name ON files(folded_name)",
    "CREATE INDEX files_by_section ON files(section_id, rating_key)",
    "CREATE INDEX files_by_number ON files(number)",
    # what Plex told about a section when it was last listed
    "CREATE TABLE sections (section_id INTEGER PRIMARY KEY, marks TEXT NOT NULL,"
    " newest INTEGER NOT NULL, round INTEGER NOT NULL, listed_at REAL NOT NULL,"
    # since when a listing is not believed, as it lacks most of the items; NULL: it is believed
    " doubted_at REAL)",
    "CREATE TABLE about (id TEXT NOT NULL, server TEXT NOT NULL, last_number INTEGER NOT NULL)",
)
#: Types of the columns that are not integers, as they are read.
_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("id", "server", "path", "normal", "marks"), str),
    "size": (int, type(None)),
    "max(round)": (int, type(None)),
    "listed_at": float,
    "max(listed_at)": (float, type(None)),
    "doubted_at": (float, type(None)),
}
#: Attributes of a section that change with its content, in one version of Plex or another.
_MARKS = ("scannedAt", "contentChangedAt", "updatedAt", "refreshing")
#: In place of these: the section is complete as far as known, and the next refresh looks again.
_DOUBTED = "?"
#: Parts of a listing that are not needed.
_LEAN = (
    "excludeElements=Genre,Country,Director,Writer,Role,Collection,Guid,Image,UltraBlurColors"
    "&excludeFields=summary"
)
#: Seconds after which a section is listed whole again, even if its marks are the same.
_LIST_AGAIN = 86_400.0
#: Seconds after which a listing is believed that lacks more than half of the items known before.
#: Plex shows an empty or short library for a while when a disk is not mounted, or after a restart.
SECOND_LOOK = 600.0
#: Items of a page of the latest changes.
_CHANGED_PAGE = 100
#: Values in one statement.
_MOST_VALUES = 500

T = TypeVar("T")
#: Of a file: path, normalized path, folded name, and size in bytes.
FileRow = tuple[str, str, str, int | None]


class IndexDamaged(sqlite3.DatabaseError):
    """Signal that a value of the index was damaged, and that the index was begun anew."""

    def __init__(self) -> None:
        """Say what happened."""
        super().__init__(
            "PlexSync's list of Plex's files (index.db) was damaged; Plex is asked for it again"
        )


@dataclass(frozen=True)
class IndexedFile:
    """One file that Plex knew when the index was brought up to date."""

    rating_key: int
    section_id: int
    path: str  # as Plex writes it
    normal: str
    size: int | None  # bytes


class FileIndex:
    """The index of one Plex server. Not for use from two threads at once.

    Every method may raise IndexDamaged. The caller must start over: an index that was emptied
    meanwhile must not count as a Plex without files.
    """

    def __init__(
        self, connection: sqlite3.Connection | None = None, *, now: Callable[[], float] = time.time
    ) -> None:
        """Use the database behind `connection`, or memory that ends with this object."""
        self._db = connection or connect_in_memory(self)
        self._now = now
        self._refreshed_at = float("-inf")
        #: an item's `updatedAt` differed from the index when a section was looked at
        self.changed: set[int] = set()
        _install(self._db)

    @property
    def id(self) -> str:
        """A name that changes when the index is begun anew, and its numbers with it."""
        return str(self._read("SELECT id FROM about")[0][0])

    @property
    def server(self) -> str:
        """Plex's machineIdentifier; "": none yet."""
        return str(self._read("SELECT server FROM about")[0][0])

    def use_server(self, server: str) -> None:
        """Begin anew if the index is about another server.

        Args:
            server: Plex's machineIdentifier.
        """
        known = self.server
        if known == server:
            return
        if known:
            _install(self._db, anew=True)
        self._db.execute("UPDATE about SET server = ?", (server,))

    def by_path(self, normal: str, section_ids: Iterable[int]) -> list[IndexedFile]:
        """Return the files with this normalized path."""
        return self._find("normal = ?", normal, section_ids)

    def by_name(self, name: str, section_ids: Iterable[int]) -> list[IndexedFile]:
        """Return the files with this name, upper and lower case alike."""
        return self._find("folded_name = ?", folded(name), section_ids)

    def updated_at(self, rating_keys: Sequence[int]) -> dict[int, int]:
        """Return rating key → `updatedAt` as last listed, of those items that are there."""
        found: dict[int, int] = {}
        for some in _chunks(rating_keys, _MOST_VALUES):
            marks = ", ".join("?" * len(some))
            found.update(
                self._read(
                    f"SELECT rating_key, updated_at FROM files WHERE rating_key IN ({marks})", *some
                )
            )
        return found

    def note_read(self, items: Iterable[PlexItem]) -> None:
        """Note the `updatedAt` of items that were read just now."""
        with write(self._db):
            self._db.executemany(
                "UPDATE files SET updated_at = ? WHERE rating_key = ? AND updated_at != ?",
                [(item.updated_at, item.rating_key, item.updated_at) for item in items],
            )

    def learn(self, items: Iterable[PlexItem]) -> None:
        """Note the files of items that were read just now, as a listing would.

        Items of sections that were never listed are left out.
        """
        rounds = dict(self._read("SELECT section_id, round FROM sections"))
        by_section: dict[int, list[PlexItem]] = {}
        for item in items:
            if item.library_key in rounds:
                by_section.setdefault(item.library_key, []).append(item)
        for section_id, some in by_section.items():
            found = [(item.rating_key, item.updated_at, _rows_of(item.files)) for item in some]
            self._store_rows(section_id, found, rounds[section_id])

    def remove(self, rating_keys: Collection[int]) -> None:
        """Drop items that Plex did not show when each was asked for, and distrust their sections.

        Before a name decides, the section is looked at again. Where these are more than half of its
        items, they stay until it is listed: Plex shows a short library for a while when a disk is
        not mounted.
        """
        self.changed.difference_update(rating_keys)
        marks = ", ".join("?" * len(rating_keys))
        counted = self._read(
            "SELECT section_id, count(DISTINCT rating_key) FROM files"
            f" WHERE rating_key IN ({marks}) GROUP BY section_id",
            *rating_keys,
        )
        with write(self._db):
            for section_id, count in counted:
                is_most = 2 * count > self._count_items(section_id)
                self._db.execute(
                    "UPDATE sections SET marks = ? WHERE section_id = ?",
                    ("" if is_most else _DOUBTED, section_id),
                )
                if not is_most:
                    self._db.execute(
                        f"DELETE FROM files WHERE section_id = ? AND rating_key IN ({marks})",
                        (section_id, *rating_keys),
                    )
        self._refreshed_at = float("-inf")  # one wrong answer must give a scene no other item

    def new_paths(self, after: int) -> tuple[list[str], int]:
        """Return the normalized paths of files that came after a number, and the last number."""
        rows = self._read("SELECT normal, number FROM files WHERE number > ? AND path != ''", after)
        return [row[0] for row in rows], max((row[1] for row in rows), default=after)

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
        listed = {row[0] for row in self._read("SELECT section_id FROM sections")}
        return listed.issuperset(section_ids)

    def is_complete(self, section_ids: Iterable[int]) -> bool:
        """Return whether each of these sections was listed whole, and not long ago."""
        whole = {
            section_id
            for section_id, listed_at in self._read(
                "SELECT section_id, listed_at FROM sections WHERE marks != ''"
            )
            if 0 <= self._now() - listed_at < 2 * _LIST_AGAIN
        }
        return whole.issuperset(section_ids)

    def count(self) -> int:
        """Return the number of files."""
        return int(self._read("SELECT count(*) FROM files WHERE path != ''")[0][0])

    def listed_at(self) -> float | None:
        """Return when a section was last listed whole, in epoch seconds, or None."""
        newest: float | None = self._read("SELECT max(listed_at) FROM sections")[0][0]
        return newest

    def refresh(
        self, client: PlexClient, section_ids: Iterable[int], *, look: bool = False
    ) -> bool:
        """Bring the sections up to date, asking only for what changed; return whether anything had.

        Costs one request when nothing changed.

        Args:
            look: read the latest changes of each section even if Plex's marks say there are none.

        Raises:
            PlexListingError: Plex's answer can't be used; no job is to blame for that.
            PlexRejected
        """
        try:
            return self._refresh(client, set(section_ids), look)
        except PlexRejected:
            raise
        except PLEX_ERRORS as error:
            raise PlexListingError(f"its list of files can't be read ({error})") from error

    def _refresh(self, client: PlexClient, wanted: set[int], look: bool) -> bool:
        changed, asked_at = False, self._now()
        for section in client.get("/library/sections"):
            section_id = int_attribute(section, "key")
            if section_id in wanted and self._refresh_section(
                client, section_id, _marks(section), look
            ):
                changed = True
        self._refreshed_at = asked_at
        return changed

    def _refresh_section(self, client: PlexClient, section_id: int, marks: str, look: bool) -> bool:
        (known,) = self._read(
            "SELECT marks, newest, listed_at FROM sections WHERE section_id = ?", section_id
        ) or (None,)
        if known is None or not 0 <= self._now() - known[2] < _LIST_AGAIN:
            self._list_all(client, section_id, marks)
            return True
        is_empty = not self._count_items(section_id)  # may be an error of Plex: look again
        if known[0] == marks and not look and not is_empty:
            return False
        if not self._list_changed(client, section_id, marks, newest=known[1]):
            self._list_all(client, section_id, marks)
        return not is_empty or bool(self._count_items(section_id))

    def _count_items(self, section_id: int, this_round: int = 0) -> int:
        """Return the number of items of a section, seen in this round or a later one."""
        found = self._read(
            "SELECT count(DISTINCT rating_key) FROM files WHERE section_id = ? AND round >= ?",
            section_id,
            this_round,
        )
        return int(found[0][0])

    def _list_all(self, client: PlexClient, section_id: int, marks: str) -> None:
        """List every item; drop items that are gone at the end, not before.

        A listing that lacks more than half of the items is believed when another one, some time
        later, does too. Until then the section counts as incomplete, and is listed again.
        """
        before = self._count_items(section_id)
        # from the files: an incomplete listing has left some of its round
        last = self._read("SELECT max(round) FROM files WHERE section_id = ?", section_id)[0][0]
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
        is_short = 2 * self._count_items(section_id, this_round) < before
        doubted_at = self._doubted_at(section_id) if is_short else None
        is_believed = doubted_at is None or self._now() - doubted_at >= SECOND_LOOK
        if is_believed:
            doubted_at = None
        else:
            marks = ""  # the next refresh lists it again
        with write(self._db):
            if is_believed:
                self._db.execute(
                    "DELETE FROM files WHERE section_id = ? AND round < ?", (section_id, this_round)
                )
            self._db.execute(
                "INSERT OR REPLACE INTO sections VALUES (?, ?, ?, ?, ?, ?)",
                (section_id, marks, newest, this_round, listed_at, doubted_at),
            )

    def _doubted_at(self, section_id: int) -> float:
        """Return since when this section's listing is not believed; now, if it was so far."""
        rows = self._read("SELECT doubted_at FROM sections WHERE section_id = ?", section_id)
        return min((self._now(), *(float(row[0]) for row in rows if row[0] is not None)))

    def _list_changed(self, client: PlexClient, section_id: int, marks: str, newest: int) -> bool:
        """List what was updated since; return whether the index is complete again.

        The first page is read in any case: the times of a restored Plex go back.
        """
        path = f"/library/sections/{section_id}/all?type={MOVIE}&sort=updatedAt:desc&{_LEAN}"
        this_round = self._read("SELECT round FROM sections WHERE section_id = ?", section_id)[0][0]
        changed: list[Element] = []
        total = latest = 0
        listed = client.list_items(path, size=_CHANGED_PAGE)
        for count, (element, total) in enumerate(listed, start=1):  # noqa: B007 - the last total
            changed.append(element)
            if count >= _CHANGED_PAGE and _updated_at(element) < newest:
                break
            if len(changed) >= PAGE:  # a library that was re-read does not fit into memory at once
                latest = max(latest, self._store(section_id, changed, this_round))
                changed = []
        newest = max(latest, self._store(section_id, changed, this_round))
        if self._count_items(section_id) != total:
            return False
        self._db.execute(
            "UPDATE sections SET marks = ?, newest = ?, doubted_at = NULL WHERE section_id = ?",
            (marks, newest, section_id),
        )
        return True

    def _store(self, section_id: int, elements: list[Element], this_round: int) -> int:
        """Replace the rows of these items; return the newest `updatedAt` among them."""
        found = [
            (int_attribute(element, "ratingKey"), _updated_at(element), _rows(element))
            for element in elements
        ]
        self._store_rows(section_id, found, this_round)
        return max((updated_at for _, updated_at, _ in found), default=0)

    def _store_rows(
        self, section_id: int, found: list[tuple[int, int, list[FileRow]]], this_round: int
    ) -> None:
        """Replace the rows of items: (rating key, `updatedAt`, files)."""
        with write(self._db):
            last = self._read("SELECT last_number FROM about")[0][0]
            for key, updated_at, files in found:
                known = {
                    path: (number, at)
                    for path, number, at in self._read(
                        "SELECT path, number, updated_at FROM files WHERE rating_key = ?", key
                    )
                }
                rows = []
                for path, normal, name, size in files:
                    number, at = known.get(path, (None, None))
                    if number is None:
                        last += 1
                        number = last
                    if at != updated_at:
                        self.changed.add(key)
                    rows.append(
                        (key, section_id, path, normal, name, size, updated_at, this_round, number)
                    )
                self._db.execute("DELETE FROM files WHERE rating_key = ?", (key,))
                self._db.executemany(
                    "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
                )
            self._db.execute("UPDATE about SET last_number = ?", (last,))

    def _find(self, where: str, value: str, section_ids: Iterable[int]) -> list[IndexedFile]:
        wanted = set(section_ids)
        rows = self._read(
            f"SELECT rating_key, section_id, path, normal, size FROM files WHERE {where}"
            " ORDER BY rating_key",
            value,
        )
        return [file for file in (IndexedFile(*row) for row in rows) if file.section_id in wanted]

    def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query; begin the index anew if one of them is damaged.

        SQLite's own checks miss a flipped bit in a value.

        Raises:
            IndexDamaged
        """
        cursor = self._db.cursor()
        try:
            rows = cursor.execute(query, values).fetchall()
        except sqlite3.OperationalError as error:
            if "decode" not in str(error):
                raise
            cursor.close()  # a query in progress locks its tables
            raise self._damaged() from error
        types = [_TYPES.get(column[0], int) for column in cursor.description]
        if not all(all(map(isinstance, row, types)) for row in rows):
            raise self._damaged()
        return rows

    def _damaged(self) -> IndexDamaged:
        """Begin the index anew; return the error for the caller."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        _install(self._db, anew=True)
        self._refreshed_at = float("-inf")
        return IndexDamaged()


def _install(connection: sqlite3.Connection, *, anew: bool = False) -> None:
    """Create the tables; drop those of another version, or all."""
    if not anew and connection.execute("PRAGMA user_version").fetchone()[0] == _VERSION:
        return
    with write(connection):
        for table in _TABLES:
            connection.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute("INSERT INTO about VALUES (?, '', 0)", (uuid.uuid4().hex,))
        connection.execute(f"PRAGMA user_version={_VERSION}")


def _rows_of(files: Iterable[MediaFile]) -> list[FileRow]:
    """Return the rows of an item with these files."""
    return [_row(file.path, file.size or 0) for file in files] or [_row("", 0)]


def _rows(element: Element) -> list[FileRow]:
    """Return the rows of an item; one without files has a row too, so that items can be counted."""
    parts = [part for part in element.iter("Part") if part.get("file")]
    return [_row(part.get("file") or "", int_attribute(part, "size")) for part in parts] or [
        _row("", 0)
    ]


def _row(path: str, size: int) -> FileRow:
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
