"""A Plex item as it is now, as a frozen record: reading an attribute can't become a request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast
from xml.etree.ElementTree import Element

from plex.exceptions import translated

_CACHE = "_plexsync_record"


@dataclass(frozen=True)
class PlexFile:
    """One file of an item; the path as Plex sees it."""

    path: str
    size: int | None  # bytes


@dataclass(frozen=True)
class PlexItem:
    """What PlexSync compares with Stash. Missing texts are empty."""

    rating_key: int
    library: str
    title: str
    summary: str
    studio: str
    date: str  # YYYY-MM-DD
    year: str
    rating: str  # 0 to 10, as text
    genres: tuple[str, ...]
    actors: tuple[str, ...]
    directors: tuple[str, ...]
    collections: tuple[str, ...]
    #: actor → the name of the character, where Plex has one
    characters: dict[str, str] = field(default_factory=dict)
    locked: frozenset[str] = frozenset()
    has_poster: bool = False
    files: tuple[PlexFile, ...] = ()

    @property
    def values(self) -> dict[str, str | tuple[str, ...]]:
        """Texts and lists by the names that Plex's edits have for them."""
        return {
            "title": self.title,
            "summary": self.summary,
            "originallyAvailableAt": self.date,
            "year": self.year,
            "studio": self.studio,
            "userRating": self.rating,
            "actor": self.actors,
            "director": self.directors,
            "genre": self.genres,
            "collection": self.collections,
        }


def read_item(item: Any) -> PlexItem:
    """Make a record of a plexapi item; a listing's item, whose tags are cut short, is read whole first.

    Raises:
        PlexTemporaryError, PlexPermanentError, PlexNotFound
    """
    with translated():
        if not _is_whole(item):
            item.reload()
        item._autoReload = False
        # Several steps of one sync look at the same item; plexapi replaces its element when it reloads.
        element, record = item.__dict__.get(_CACHE, (None, None))
        if element is not item._data or record is None:
            record = _record(item)
            item.__dict__[_CACHE] = (item._data, record)
        return cast(PlexItem, record)


def _is_whole(item: Any) -> bool:
    """What was fetched by its own key is whole, even where plexapi misses an include parameter."""
    path = str(getattr(item, "_initpath", "") or "").partition("?")[0]
    return path.startswith("/library/metadata/") or bool(item.isFullObject())


def _record(item: Any) -> PlexItem:
    """Read the item's XML itself: through plexapi's attributes it takes thirty times as long."""
    data: Element = item._data
    rating = data.get("userRating")
    return PlexItem(
        rating_key=int(item.ratingKey),
        library=item.librarySectionTitle or "",
        title=data.get("title", ""),
        summary=data.get("summary", ""),
        studio=data.get("studio", ""),
        date=data.get("originallyAvailableAt", "")[:10],
        year=data.get("year", ""),
        rating=format_rating(float(rating) if rating else None),
        genres=_tags(data, "Genre"),
        actors=_tags(data, "Role"),
        directors=_tags(data, "Director"),
        collections=_tags(data, "Collection"),
        characters={
            one.get("tag", ""): one.get("role", "")
            for one in data.findall("Role")
            if one.get("role")
        },
        locked=frozenset(
            one.get("name", "") for one in data.findall("Field") if one.get("locked") == "1"
        ),
        has_poster=bool(data.get("thumb")),
        files=tuple(_file(part) for part in data.findall("Media/Part") if part.get("file")),
    )


def _file(part: Element) -> PlexFile:
    return PlexFile(part.get("file", ""), int(part.get("size") or 0) or None)


def format_rating(value: float | None) -> str:
    """Return a rating from 0 to 10 as Plex writes it."""
    return "" if value is None else f"{float(value):.1f}"


def _tags(data: Element, kind: str) -> tuple[str, ...]:
    return tuple(tag for one in data.findall(kind) if (tag := one.get("tag")))
