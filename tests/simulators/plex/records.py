"""Records of the simulated server: libraries, items, collections, writes.

`PlexItem`, `PlexCollection` and `PlexLibrary` are live: they show a client's edits at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

TEXT_FIELDS = (
    "title",
    "titleSort",
    "originalTitle",
    "editionTitle",
    "studio",
    "contentRating",
    "summary",
    "tagline",
)
NUMBER_FIELDS = ("year", "rating", "audienceRating", "userRating", "addedAt")
FIELDS = (*TEXT_FIELDS, "originallyAvailableAt", *NUMBER_FIELDS)
"""The fields of a movie that a client may set."""

LOCK_ONLY = ("thumb", "art", "theme", "clearLogo")

TAG_KINDS = (
    "genre",
    "country",
    "collection",
    "director",
    "writer",
    "actor",
    "producer",
    "label",
    "similar",
)

POSTERS = {"thumb": ("poster", "posters"), "art": ("art", "arts")}
"""Field of a picture → the record's selected picture, and all its uploaded ones."""

COLLECTION_FIELDS = ("title", "titleSort", "summary", "contentRating")
"""The fields of a collection that a client may set."""

ITEM_TYPES = {"movie": 1, "show": 2, "artist": 8, "photo": 13}
"""Kinds of libraries and the type numbers of their items."""
COLLECTION_TYPE = 18
"""The type number of collections, in libraries of every kind."""


class Editable(NamedTuple):
    """The names that an edit of one type of record may have."""

    fields: tuple[str, ...]
    tags: tuple[str, ...]
    locks: tuple[str, ...]
    """What can be locked, but not set by an edit."""


MOVIE = Editable(FIELDS, TAG_KINDS, LOCK_ONLY)
COLLECTION = Editable(COLLECTION_FIELDS, (), ("thumb", "art"))


@dataclass(slots=True)
class Part:
    """One file of an item."""

    id: int
    file: str
    size: int
    duration: int
    modified_at: int


@dataclass(slots=True)
class Media:
    """One version of an item: one file, or several for CD1, CD2 ..."""

    id: int
    parts: list[Part]


@dataclass(frozen=True, slots=True)
class Poster:
    """An uploaded poster or background; without data when the server could not fetch it."""

    key: str
    data: bytes


@dataclass(slots=True, eq=False)
class PlexLibrary:
    """A section."""

    key: int
    title: str
    type: str
    agent: str
    locations: list[str]
    created_at: int
    updated_at: int
    scanned_at: int
    uuid: str
    content_changed_at: int = 0
    """A counter, not a time."""
    revision: int = 0
    """Moves with every change and, unlike the counter, never back."""
    scans: int = 0
    """Number of running scans."""
    items: dict[int, PlexItem] = field(default_factory=dict, repr=False)
    collections: dict[str, PlexCollection] = field(default_factory=dict, repr=False)
    """The collections by folded name."""


@dataclass(slots=True, eq=False)
class PlexItem:
    """A movie: values by Plex's field names, tags by kind."""

    rating_key: int
    library: PlexLibrary = field(repr=False)
    media: list[Media]
    added_at: int
    updated_at: int
    values: dict[str, str]
    """Texts and numbers as in the XML; unset fields are absent, except the summary."""
    tags: dict[str, list[str]] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    """Character names by actor."""
    locked: set[str] = field(default_factory=set)
    guids: tuple[str, ...] = ()
    posters: list[Poster] = field(default_factory=list, repr=False)
    poster: Poster | None = field(default=None, repr=False)
    """The selected poster; None for Plex's own picture."""
    arts: list[Poster] = field(default_factory=list, repr=False)
    art: Poster | None = field(default=None, repr=False)
    """The selected background; None for Plex's own picture, or for none."""
    own_art: bool = True
    """True: Plex made the background; False: an agent or a person did."""
    agent_metadata: dict[str, object] = field(default_factory=dict, repr=False)
    """The agent's metadata for a refresh, by field name and tag kind; default: the file's stem."""
    rendered: tuple[object, str] | None = field(default=None, repr=False)
    """The cached XML for listings and its options, until the item changes."""

    @property
    def title(self) -> str:
        return self.values["title"]

    @property
    def summary(self) -> str:
        return self.values["summary"]

    @property
    def studio(self) -> str | None:
        return self.values.get("studio")

    @property
    def year(self) -> int | None:
        return int(self.values["year"]) if "year" in self.values else None

    @property
    def originally_available_at(self) -> str | None:
        return self.values.get("originallyAvailableAt")

    @property
    def user_rating(self) -> float | None:
        return float(self.values["userRating"]) if "userRating" in self.values else None

    @property
    def genres(self) -> list[str]:
        return list(self.tags.get("genre", ()))

    @property
    def collections(self) -> list[str]:
        return list(self.tags.get("collection", ()))

    @property
    def labels(self) -> list[str]:
        return list(self.tags.get("label", ()))

    @property
    def actors(self) -> list[str]:
        return list(self.tags.get("actor", ()))

    @property
    def directors(self) -> list[str]:
        return list(self.tags.get("director", ()))

    @property
    def parts(self) -> list[Part]:
        return [part for media in self.media for part in media.parts]

    @property
    def paths(self) -> list[str]:
        return [part.file for part in self.parts]

    @property
    def path(self) -> str:
        """Return the path of the first file."""
        return self.media[0].parts[0].file


@dataclass(slots=True, eq=False)
class PlexCollection:
    """A collection of a library: it exists as long as an item has its title as a tag."""

    rating_key: int
    library: PlexLibrary = field(repr=False)
    added_at: int
    updated_at: int
    values: dict[str, str]
    """Texts as in the XML; unset fields are absent, except the summary."""
    locked: set[str] = field(default_factory=set)
    posters: list[Poster] = field(default_factory=list, repr=False)
    poster: Poster | None = field(default=None, repr=False)
    """The selected poster; None: Plex shows its items' posters side by side."""
    arts: list[Poster] = field(default_factory=list, repr=False)
    art: Poster | None = field(default=None, repr=False)

    @property
    def title(self) -> str:
        return self.values["title"]

    @property
    def summary(self) -> str:
        return self.values["summary"]

    @property
    def title_sort(self) -> str | None:
        return self.values.get("titleSort")

    @property
    def content_rating(self) -> str | None:
        return self.values.get("contentRating")


Record = PlexItem | PlexCollection
"""What has a rating key of its own."""


class DiskFile(NamedTuple):
    """A file that a scan can find."""

    size: int
    modified_at: int
    agent_metadata: Mapping[str, object]


class Write(NamedTuple):
    """An edit that was carried out, one for each edited item or collection."""

    rating_key: int
    parameters: dict[str, str]
    at: float


class Upload(NamedTuple):
    """An uploaded picture; with `url` the server had to fetch it, and it has no data."""

    rating_key: int
    data: bytes
    at: float
    url: str | None = None
