"""The state of the libraries and its changes, with Plex's own bookkeeping."""

from __future__ import annotations

import re
import threading
import unicodedata
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from tests.simulators.plex.notifications import (
    CREATED,
    DELETED,
    PROCESSED,
    PROGRESS,
    Notifications,
)
from tests.simulators.plex.records import (
    COLLECTION_FIELDS,
    FIELDS,
    ITEM_TYPES,
    POSTERS,
    TAG_KINDS,
    DiskFile,
    Media,
    Part,
    PlexCollection,
    PlexItem,
    PlexLibrary,
    Poster,
    Record,
    Upload,
    Write,
)

_ARTICLE = re.compile(r"(?:the|an|a)\s+(?=\S)", re.IGNORECASE)
_SEPARATOR = re.compile(r"[\\/]")


def folded(name: str) -> str:
    """Fold a tag's name as SQLite's NOCASE does: only ASCII letters ignore case."""
    return name.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


def stem(path: str) -> str:
    """Return a file's name without folder and suffix, for paths of any system."""
    name = _SEPARATOR.split(path)[-1]
    return name.rpartition(".")[0] or name


def sort_title(title: str) -> str:
    """Return Plex's default `titleSort`: no leading article, no accents."""
    bare = _ARTICLE.sub("", title, count=1) if _ARTICLE.match(title) else title
    if bare.isascii():
        return bare
    decomposed = unicodedata.normalize("NFD", bare)
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def within(path: str, folder: str) -> bool:
    """Return whether a path is this folder or inside it; case-sensitive."""
    folder = folder.rstrip("/\\")
    return path.startswith(folder) and path[len(folder) : len(folder) + 1] in ("", "/", "\\")


class PlexState:
    """Libraries, items, collections, tags and files.

    Hold `lock` around changes that must be atomic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.libraries: dict[int, PlexLibrary] = {}
        self.items: dict[int, PlexItem] = {}
        self.collections: dict[int, PlexCollection] = {}
        self.files: dict[str, DiskFile] = {}
        self.writes: list[Write] = []
        self.ignored_writes: list[Write] = []
        self.uploads: list[Upload] = []
        self.art_uploads: list[Upload] = []
        self.collection_writes: list[Write] = []
        self.collection_uploads: list[Upload] = []
        self._by_path: dict[str, list[PlexItem]] = {}
        self._tag_ids: dict[tuple[str, str], tuple[int, str]] = {}
        self._tag_uses: Counter[tuple[int, str, str]] = Counter()
        self._late_moves: list[tuple[float, PlexItem]] = []
        self.notifications = Notifications()
        self.last_key = 0
        self._last_change = 1000

    def now(self) -> int:
        return int(self.clock())

    # -- libraries --

    def add_library(
        self, title: str, locations: Sequence[str], kind: str, agent: str
    ) -> PlexLibrary:
        if kind not in ITEM_TYPES:
            raise ValueError(f"a library's type is one of {', '.join(ITEM_TYPES)}")
        key = max(self.libraries, default=0) + 1
        now = self.now()
        library = PlexLibrary(
            key,
            title,
            kind,
            agent,
            list(locations),
            now,
            now,
            now,
            str(uuid.UUID(int=0xC0DE0000 + key)),
        )
        self.libraries[key] = library
        self.touch_library(library)
        return library

    def touch_library(self, library: PlexLibrary) -> None:
        self._last_change += 1
        library.content_changed_at = self._last_change
        library.revision += 1

    def record(self, rating_key: int) -> Record | None:
        """Return the item or collection of this key."""
        return self.items.get(rating_key) or self.collections.get(rating_key)

    # -- items --

    def new_key(self) -> int:
        self.last_key += 1
        return self.last_key

    def add_item(
        self,
        library: PlexLibrary,
        versions: Sequence[Sequence[tuple[str, int]]],
        *,
        values: Mapping[str, object],
        tags: Mapping[str, Iterable[str]],
        added_at: int,
        duration: int,
        agent_metadata: Mapping[str, object],
        guids: tuple[str, ...] = (),
        rating_key: int | None = None,
    ) -> PlexItem:
        """Add an item; `versions` are lists of (path, size). Later keys follow a given one."""
        if library.type != "movie":
            raise ValueError("only movie libraries hold items here")
        if rating_key is not None and self.record(rating_key) is not None:
            raise ValueError(f"rating key {rating_key} is taken")
        self.last_key = max(self.last_key, rating_key or 0)
        media = [
            Media(
                self.new_key(),
                [Part(self.new_key(), path, size, duration, added_at) for path, size in version],
            )
            for version in versions
        ]
        item = PlexItem(
            rating_key or self.new_key(),
            library,
            media,
            added_at,
            self.now(),
            {},
            guids=guids,
            agent_metadata={**agent_metadata},
        )
        self.set_values(item, {"title": stem(item.path), "summary": "", **values})
        for kind, names in tags.items():
            self.set_tags(item, kind, names)
        self.items[item.rating_key] = library.items[item.rating_key] = item
        for path in item.paths:
            self._by_path.setdefault(path, []).append(item)
        self.touch_library(library)
        self.notifications.tell(item, CREATED, PROGRESS)
        return item

    def load(
        self, libraries: Sequence[PlexLibrary], items: Sequence[PlexItem], last_key: int
    ) -> None:
        """Replace the whole database by these records."""
        self.libraries = {library.key: library for library in libraries}
        self.items = {item.rating_key: item for item in items}
        self.collections = {
            collection.rating_key: collection
            for library in libraries
            for collection in library.collections.values()
        }
        self.last_key = last_key
        self._late_moves.clear()
        self._by_path.clear()
        self._tag_uses.clear()
        for library in libraries:
            library.items.clear()
            library.revision += 1
        for item in items:
            item.library.items[item.rating_key] = item
            for path in item.paths:
                self._by_path.setdefault(path, []).append(item)
            for kind, names in item.tags.items():
                self._count_uses(item.library, kind, names, +1)

    def at_path(self, path: str) -> list[PlexItem]:
        """Return the items of this file; several when libraries overlap."""
        return list(self._by_path.get(path, ()))

    def remove_item(self, item: PlexItem) -> None:
        for kind in TAG_KINDS:
            self.set_tags(item, kind, ())
        for path in item.paths:
            self._forget_path(item, path)
        del self.items[item.rating_key], item.library.items[item.rating_key]
        self.touch_library(item.library)
        self.notifications.tell(item, DELETED)

    def add_media(self, item: PlexItem, media: Media) -> None:
        """Add a version to an item; the caller moves `updatedAt`."""
        item.media.append(media)
        for part in media.parts:
            self._by_path.setdefault(part.file, []).append(item)

    def remove_media(self, item: PlexItem, media: Media) -> None:
        """Remove a version of an item; the caller moves `updatedAt`."""
        item.media.remove(media)
        for part in media.parts:
            self._forget_path(item, part.file)

    def move_part(self, item: PlexItem, part: Part, path: str) -> None:
        self._forget_path(item, part.file)
        part.file = path
        self._by_path.setdefault(path, []).append(item)
        self.touch(item)

    def touch(self, record: Record) -> None:
        """Move the `updatedAt` of an item or collection."""
        record.updated_at = self.now()
        self.changed(record)
        self.processed(record)

    def processed(self, record: Record) -> None:
        """Tell the event streams that an item was processed."""
        if isinstance(record, PlexItem):
            self.notifications.tell(record, PROCESSED)

    def changed(self, record: Record) -> None:
        """Note a change of an item or collection that leaves its `updatedAt`."""
        if isinstance(record, PlexItem):
            record.rendered = None
        self.touch_library(record.library)

    def touch_later(self, item: PlexItem, delay: float) -> None:
        """Move the item's `updatedAt` some seconds from now."""
        self._late_moves.append((self.clock() + delay, item))
        self.changed(item)

    def catch_up(self) -> None:
        """Carry out the moves of `updatedAt` that are due."""
        now = self.clock()
        for due, item in [move for move in self._late_moves if move[0] <= now]:
            self._late_moves.remove((due, item))
            item.updated_at = int(due)
            self.changed(item)
            self.processed(item)

    def set_values(self, item: PlexItem, values: Mapping[str, object]) -> None:
        """Set fields by Plex's names; None and "" clear. A free sort title follows the title."""
        item.rendered = None
        for name, value in values.items():
            if name not in FIELDS:
                raise ValueError(f"no field of a movie: {name}")
            text = "" if value is None else str(value)
            if name == "addedAt":
                item.added_at = int(text)
            elif text or name in ("title", "summary"):
                item.values[name] = text
            else:
                item.values.pop(name, None)
        derive = (
            "title" in values and "titleSort" not in item.locked and not values.get("titleSort")
        )
        if derive or "titleSort" not in item.values:
            item.values["titleSort"] = sort_title(item.title)

    def _forget_path(self, item: PlexItem, path: str) -> None:
        holders = self._by_path[path]
        holders.remove(item)
        if not holders:
            del self._by_path[path]

    # -- tags --

    def set_tags(
        self,
        item: PlexItem,
        kind: str,
        names: Iterable[str],
        roles: Mapping[str, str] | None = None,
    ) -> None:
        """Set an item's tags of a kind; the first spelling of a tag is kept."""
        if kind not in TAG_KINDS:
            raise ValueError(f"no kind of tag: {kind}")
        before = item.tags.pop(kind, [])
        library = item.library
        after = list(dict.fromkeys(self._spelling(library, kind, name) for name in names if name))
        if after:
            item.tags[kind] = after
        if kind == "actor":
            known = {folded(name): role for name, role in (roles or {}).items()}
            item.roles = {name: known[folded(name)] for name in after if known.get(folded(name))}
        # In this order, so that a collection is not removed and created anew by its only item.
        self._count_uses(library, kind, after, +1)
        self._count_uses(library, kind, before, -1)
        item.rendered = None

    def tag_id(self, kind: str, name: str) -> int:
        return self._tag(kind, name)[0]

    def vocabulary(self, library: PlexLibrary, kind: str) -> list[tuple[int, str]]:
        """Return the used tags of a kind in a library: (id, name), sorted by name."""
        used = [key for section, k, key in self._tag_uses if (section, k) == (library.key, kind)]
        tags = [self._tag_ids[kind, key] for key in used]
        if kind == "collection":
            tags = [(number, self._spelling(library, kind, name)) for number, name in tags]
        return sorted(tags, key=lambda tag: folded(tag[1]))

    def uses(self, library: PlexLibrary, kind: str, name: str) -> int:
        return self._tag_uses[library.key, kind, folded(name)]

    def _spelling(self, library: PlexLibrary, kind: str, name: str) -> str:
        """Return a tag's stored spelling; in its library a collection's title comes first."""
        collection = library.collections.get(folded(name)) if kind == "collection" else None
        return self._tag(kind, name)[1] if collection is None else collection.title

    def _tag(self, kind: str, name: str) -> tuple[int, str]:
        key = (kind, folded(name))
        known = self._tag_ids.get(key)
        if known is None:
            spelling = name[:1].upper() + name[1:] if kind == "label" else name
            known = self._tag_ids[key] = (len(self._tag_ids) + 1, spelling)
        return known

    def _count_uses(self, library: PlexLibrary, kind: str, names: Iterable[str], step: int) -> None:
        for name in names:
            key = (library.key, kind, folded(name))
            self._tag_uses[key] += step
            if not self._tag_uses[key]:
                del self._tag_uses[key]
        if kind == "collection":
            self._follow_collections(library, names)

    def _follow_collections(self, library: PlexLibrary, names: Iterable[str]) -> None:
        """Create a collection with its first item and remove it with its last."""
        for name in names:
            known = library.collections.get(folded(name))
            used = bool(self.uses(library, "collection", name))
            if known is None and used:
                self._add_collection(library, name)
            elif known is not None and not used:
                del library.collections[folded(name)], self.collections[known.rating_key]

    # -- collections --

    def members(self, collection: PlexCollection) -> list[PlexItem]:
        """Return the items of a collection."""
        wanted = folded(collection.title)
        return [
            item
            for item in collection.library.items.values()
            if any(folded(name) == wanted for name in item.tags.get("collection", ()))
        ]

    def set_collection_values(self, collection: PlexCollection, values: Mapping[str, str]) -> None:
        """Set a collection's fields; "" clears. The caller moves its `updatedAt`."""
        for name, text in values.items():
            if name not in COLLECTION_FIELDS:
                raise ValueError(f"no field of a collection: {name}")
            if name == "title":
                self._rename_collection(collection, text)
            elif text or name == "summary":
                collection.values[name] = text
            else:
                collection.values.pop(name, None)

    def _add_collection(self, library: PlexLibrary, name: str) -> None:
        now = self.now()
        collection = PlexCollection(
            self.new_key(), library, now, now, {"title": name, "summary": ""}
        )
        library.collections[folded(name)] = collection
        self.collections[collection.rating_key] = collection

    def _rename_collection(self, collection: PlexCollection, title: str) -> None:
        """Rename a collection and its tag on all its items, whose `updatedAt` stays."""
        library, old, new = collection.library, folded(collection.title), folded(title)
        for item in self.members(collection):
            names = item.tags["collection"]
            item.tags["collection"] = [title if folded(name) == old else name for name in names]
            self.changed(item)
        number, _ = self._tag("collection", title)
        self._tag_ids["collection", new] = (number, title)
        uses = self._tag_uses.pop((library.key, "collection", old))
        self._tag_uses[library.key, "collection", new] = uses
        del library.collections[old]
        library.collections[new] = collection
        collection.values["title"] = title

    # -- metadata and posters --

    def refresh(self, item: PlexItem) -> None:
        """Let the agent overwrite the fields that are not locked; the caller tells of it."""
        says = item.agent_metadata
        values = {"title": stem(item.path), "summary": ""} | {
            name: says[name] for name in FIELDS if name in says
        }
        agents_own = [name for name in FIELDS if name not in ("titleSort", "userRating", "addedAt")]
        free = {name: values.get(name) for name in agents_own if name not in item.locked}
        self.set_values(item, free)
        for kind in TAG_KINDS:
            if kind not in item.locked:
                names = says.get(kind, ())
                if not isinstance(names, list | tuple):
                    raise TypeError(f"the agent's tags are a list: {kind}")
                self.set_tags(item, kind, names)
        if "thumb" not in item.locked:
            item.poster = None
        if "art" not in item.locked:
            item.art = None
        item.updated_at = self.now()
        self.changed(item)

    def select_poster(self, record: Record, poster: Poster | None, name: str = "thumb") -> None:
        """Add the picture unless it exists, select it (None: Plex's own), and lock its field.

        The caller moves `updatedAt`.

        Args:
            name: "thumb", or "art" for a background.
        """
        selected, listed = POSTERS[name]
        if poster is not None:
            uploaded: list[Poster] = getattr(record, listed)
            known = next((each for each in uploaded if each.key == poster.key), None)
            if known is None:
                uploaded.append(poster)
            poster = known or poster
        setattr(record, selected, poster)
        record.locked.add(name)
