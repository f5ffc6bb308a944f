"""A Plex item as it is now, as a frozen record: reading an attribute can't become a request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from plex.exceptions import translated


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
        return _record(item)


def _is_whole(item: Any) -> bool:
    """What was fetched by its own key is whole, even where plexapi misses an include parameter."""
    path = str(getattr(item, "_initpath", "") or "").partition("?")[0]
    return path.startswith("/library/metadata/") or bool(item.isFullObject())


def _record(item: Any) -> PlexItem:
    roles = list(item.roles)
    return PlexItem(
        rating_key=int(item.ratingKey),
        library=item.librarySectionTitle or "",
        title=item.title or "",
        summary=item.summary or "",
        studio=item.studio or "",
        date=item.originallyAvailableAt.strftime("%Y-%m-%d") if item.originallyAvailableAt else "",
        year=str(item.year or ""),
        rating=format_rating(item.userRating),
        genres=_tags(item.genres),
        actors=_tags(roles),
        directors=_tags(item.directors),
        collections=_tags(item.collections),
        characters={role.tag: role.role for role in roles if role.role},
        locked=frozenset(one.name for one in item.fields if one.locked),
        has_poster=bool(item.thumb),
        files=tuple(PlexFile(part.file, part.size) for media in item.media for part in media.parts if part.file),
    )


def format_rating(value: float | None) -> str:
    """Return a rating from 0 to 10 as Plex writes it."""
    return "" if value is None else f"{float(value):.1f}"


def _tags(tags: Iterable[Any]) -> tuple[str, ...]:
    return tuple(tag.tag for tag in tags if tag.tag)
