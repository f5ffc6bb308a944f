"""Frozen records of Plex's libraries and items: reading an attribute can't become a request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element

from common.media import MediaFile
from plex.exceptions import PlexTemporaryError, translated
from plex.paths import normalize

_LIBRARY_KEY = "librarySectionID"
#: Agents that look nothing up ("Personal Media"), and how Plex's own and custom ones begin.
_NO_AGENT = ("", "tv.plex.agents.none", "com.plexapp.agents.none")
_CURRENT_AGENT, _CUSTOM_AGENT = "tv.plex.agents.", "tv.plex.agents.custom."
#: The largest number that SQLite can store.
_MAX_NUMBER = 2**63 - 1


@dataclass(frozen=True)
class Library:
    """A library section of Plex."""

    key: int
    title: str
    type: str  # "movie", "show", …
    locations: tuple[str, ...] = ()
    #: what a person calls it: the title, and the folders where two have the same
    name: str = ""
    #: what Plex takes metadata from, such as "tv.plex.agents.none"
    agent: str = ""

    def __post_init__(self) -> None:
        """Use the title where no name was given."""
        if not self.name:
            object.__setattr__(self, "name", self.title)

    @property
    def has_legacy_agent(self) -> bool:
        """Return whether its agent is a plug-in of the old kind, which Plex is removing."""
        return self.agent not in _NO_AGENT and not self.agent.startswith(_CURRENT_AGENT)

    @property
    def has_foreign_agent(self) -> bool:
        """Return whether its agent is not Plex's own, so that it may take metadata from Stash."""
        return self.has_legacy_agent or self.agent.startswith(_CUSTOM_AGENT)


@dataclass(frozen=True)
class PlexItem:
    """The observed state of an item. Missing texts are empty."""

    rating_key: int
    library_key: int
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
    has_art: bool = False
    #: epoch seconds of Plex's clock; moves with most edits, and may go back
    updated_at: int = 0
    files: tuple[MediaFile, ...] = ()
    content_rating: str = ""
    tagline: str = ""
    original_title: str = ""
    #: "" where Plex derives it from the title
    title_sort: str = ""
    labels: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """The normalized paths of its files."""
        return tuple(normalize(file.path) for file in self.files)

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
            "contentRating": self.content_rating,
            "label": self.labels,
            "tagline": self.tagline,
            "originalTitle": self.original_title,
            "titleSort": self.title_sort,
        }


@dataclass(frozen=True)
class Collection:
    """A collection of a library."""

    rating_key: int
    library_key: int
    title: str
    size: int  # items
    summary: str = ""
    #: the fields that a person, or a tool, has set; known of one that was read whole
    locked: frozenset[str] = frozenset()
    #: "" where Plex sorts by the title
    title_sort: str = ""

    @property
    def is_edited(self) -> bool:
        """Return whether a person gave it a text, a picture or an order of its own."""
        return bool(self.summary) or bool(self.locked)


def parse_collection(data: Element, library_key: int) -> Collection:
    """Make a record of a collection's XML; only one that is read whole names its locks."""
    return Collection(
        int_attribute(data, "ratingKey"),
        library_key,
        data.get("title", ""),
        int_attribute(data, "childCount"),
        data.get("summary", ""),
        _locked(data),
        data.get("titleSort", ""),
    )


def parse_item(data: Element, container: Element | None = None) -> PlexItem:
    """Make a record of an item's XML, read whole (a listing cuts tags short).

    Args:
        container: the `MediaContainer` around it, which may carry the library instead.
    """
    around = data if container is None else container
    locked = _locked(data)
    rating = data.get("userRating")
    try:
        stars = float(rating) if rating else None
    except ValueError:
        raise PlexTemporaryError("Plex's answer can't be understood (userRating)") from None
    return PlexItem(
        rating_key=int_attribute(data, "ratingKey"),
        library_key=int_attribute(data, _LIBRARY_KEY) or int_attribute(around, _LIBRARY_KEY),
        library=data.get("librarySectionTitle") or around.get("librarySectionTitle") or "",
        title=data.get("title", ""),
        summary=data.get("summary", ""),
        studio=data.get("studio", ""),
        date=data.get("originallyAvailableAt", "")[:10],
        year=data.get("year", ""),
        rating=format_rating(stars),
        genres=_tags(data, "Genre"),
        actors=_tags(data, "Role"),
        directors=_tags(data, "Director"),
        collections=_tags(data, "Collection"),
        characters={
            role.get("tag", ""): role.get("role", "")
            for role in data.findall("Role")
            if role.get("role")
        },
        locked=locked,
        has_poster=bool(data.get("thumb")),
        has_art=bool(data.get("art")),
        updated_at=int_attribute(data, "updatedAt", "addedAt"),
        files=tuple(
            MediaFile(part.get("file", ""), int_attribute(part, "size") or None)
            for part in data.findall("Media/Part")
            if part.get("file")
        ),
        content_rating=data.get("contentRating", ""),
        tagline=data.get("tagline", ""),
        original_title=data.get("originalTitle", ""),
        title_sort=_title_sort(data) if "titleSort" in locked else "",
        labels=_tags(data, "Label"),
    )


def read_item(item: Any) -> PlexItem:
    """Make a record of a plexapi item; read it whole first, as a listing cuts tags short.

    Raises:
        PlexTemporaryError, PlexPermanentError, PlexNotFound
    """
    with translated():
        # What was fetched by its own key is whole, even where plexapi misses an include parameter.
        path = str(getattr(item, "_initpath", "") or "").partition("?")[0]
        if not path.startswith("/library/metadata/") and not item.isFullObject():
            item.reload()
        item._autoReload = False  # reading an attribute must not send a request
        container = Element("MediaContainer", librarySectionID=str(item.librarySectionID or 0))
        container.set("librarySectionTitle", item.librarySectionTitle or "")
        return parse_item(item._data, container)


def int_attribute(element: Element, *names: str) -> int:
    """Return the first of these attributes that is there as a whole number; 0 when none is.

    Raises:
        PlexTemporaryError: it is not a number.
    """
    text = next((element.get(name) for name in names if element.get(name)), None)
    try:
        number = int(text or 0)
    except ValueError:
        number = _MAX_NUMBER + 1
    if abs(number) > _MAX_NUMBER:
        raise PlexTemporaryError(f"Plex's answer can't be understood ({names[0]})")
    return number


def format_rating(value: float | None) -> str:
    """Return a rating from 0 to 10 as Plex writes it."""
    return "" if value is None else f"{float(value):.1f}"


def _title_sort(data: Element) -> str:
    """Return a sort title; Plex leaves it out where it is the title.

    One that Plex derived looks like one that was set, so only a locked one is read.
    """
    return data.get("titleSort") or data.get("title") or ""


def _locked(data: Element) -> frozenset[str]:
    fields = data.findall("Field")
    return frozenset(one.get("name", "") for one in fields if one.get("locked") == "1")


def _tags(data: Element, kind: str) -> tuple[str, ...]:
    return tuple(tag for one in data.findall(kind) if (tag := one.get("tag")))
