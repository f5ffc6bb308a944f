"""Stash's data: scenes and related objects, as immutable records."""

from __future__ import annotations

import hashlib
import re
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone, tzinfo
from typing import Any, Generic, TypeVar

Names = Iterable[str | int]


@dataclass(frozen=True)
class VideoFile:
    id: int
    path: str
    size: int = 0
    mod_time: str = ""
    created_at: str = ""
    updated_at: str = ""
    duration: float = 60.0
    width: int = 1920
    height: int = 1080
    frame_rate: float = 25.0
    bit_rate: int = 1_000_000
    format: str = "mp4"
    video_codec: str = "h264"
    audio_codec: str = "aac"
    parent_folder_id: int = 1
    hashes: Mapping[str, str] = field(default_factory=dict)

    @property
    def basename(self) -> str:
        return re.split(r"[/\\]", self.path)[-1]

    @property
    def fingerprints(self) -> list[dict[str, str]]:
        return [{"type": kind, "value": value} for kind, value in self.hashes.items()]


FileSpec = VideoFile | str | tuple[str, int] | Mapping[str, Any]


@dataclass(frozen=True)
class Entity:
    """The common fields of performers, studios, tags and groups."""

    id: int
    name: str
    created_at: str
    updated_at: str
    urls: tuple[str, ...] = ()
    rating100: int | None = None
    favorite: bool = False
    tag_ids: tuple[int, ...] = ()
    details: str = ""


@dataclass(frozen=True)
class Performer(Entity):
    disambiguation: str = ""
    gender: str | None = None
    birthdate: str | None = None
    alias_list: tuple[str, ...] = ()
    custom_fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Studio(Entity):
    parent_id: int | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tag(Entity):
    sort_name: str = ""
    description: str = ""
    aliases: tuple[str, ...] = ()
    parent_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Group(Entity):
    aliases: str = ""
    duration: int | None = None
    date: str | None = None
    director: str = ""
    synopsis: str = ""
    studio_id: int | None = None


@dataclass(frozen=True)
class Scene:
    id: int
    created_at: str
    updated_at: str
    title: str = ""
    code: str = ""
    details: str = ""
    director: str = ""
    date: str | None = None
    rating100: int | None = None
    organized: bool = False
    urls: tuple[str, ...] = ()
    studio_id: int | None = None
    performer_ids: tuple[int, ...] = ()
    tag_ids: tuple[int, ...] = ()
    group_ids: tuple[tuple[int, int | None], ...] = ()
    """Groups, each with its scene_index."""
    stash_ids: tuple[Mapping[str, Any], ...] = ()
    files: tuple[VideoFile, ...] = ()
    cover: bytes | None = field(default=None, repr=False)
    o_counter: int = 0
    play_count: int = 0
    play_duration: float = 0.0
    resume_time: float = 0.0
    last_played_at: str | None = None

    @property
    def path(self) -> str:
        """Return the primary file's path; "" without a file."""
        return self.files[0].path if self.files else ""


class NotFound(LookupError):
    """The record does not exist."""


E = TypeVar("E", bound=Entity)


class Shelf(Generic[E]):
    """The entities of one kind by id and name."""

    def __init__(self, make: type[E], now: Callable[[], str]) -> None:
        self.make = make
        self._now = now
        self._next_id = 0
        self._by_id: dict[int, E] = {}
        self._by_name: dict[str, int] = {}

    def add(self, name: str, **fields: Any) -> E:
        if name in self._by_name:
            raise ValueError(f"{self.make.__name__.lower()} with name {name!r} already exists")
        self._next_id += 1
        now = self._now()
        times = {"created_at": now, "updated_at": now}
        return self.keep(self.make(id=self._next_id, name=name, **{**times, **fields}))

    def change(self, entity_id: int, **fields: Any) -> E:
        before = self.get(entity_id)
        if fields.get("name", before.name) != before.name:
            if fields["name"] in self._by_name:
                raise ValueError(f"{self.make.__name__.lower()} {fields['name']!r} already exists")
            del self._by_name[before.name]
        return self.keep(replace(before, **{"updated_at": self._now(), **fields}))

    def remove(self, entity_id: int) -> None:
        del self._by_name[self._by_id.pop(self.get(entity_id).id).name]

    def get(self, entity_id: int) -> E:
        if entity_id not in self._by_id:
            raise NotFound(f"{self.make.__name__.lower()} with id {entity_id} not found")
        return self._by_id[entity_id]

    def find(self, entity_id: int) -> E | None:
        return self._by_id.get(entity_id)

    def all(self) -> list[E]:
        return list(self._by_id.values())

    def known(self, name_or_id: str | int) -> E:
        """Return the entity with this name or id; raise NotFound when it does not exist."""
        if isinstance(name_or_id, int):
            return self.get(name_or_id)
        if name_or_id not in self._by_name:
            raise NotFound(f"{self.make.__name__.lower()} {name_or_id!r} not found")
        return self.get(self._by_name[name_or_id])

    def snapshot(self) -> ShelfSnapshot:
        return ShelfSnapshot(self._next_id, tuple(self._by_id.values()))

    def restore(self, snapshot: ShelfSnapshot) -> None:
        self._next_id = snapshot.next_id
        self._by_name = {entity.name: entity.id for entity in snapshot.entities}
        self._by_id = {entity.id: entity for entity in snapshot.entities}

    def id_of(self, name_or_id: str | int) -> int:
        """Return an id unchanged, or a name's id; add an entity for a new name."""
        if isinstance(name_or_id, int):
            return self.get(name_or_id).id
        if name_or_id not in self._by_name:
            self.add(name_or_id)
        return self._by_name[name_or_id]

    def keep(self, entity: E) -> E:
        """Store a record as it is."""
        self._by_id[entity.id] = entity
        self._by_name[entity.name] = entity.id
        return entity


@dataclass(frozen=True)
class ShelfSnapshot:
    """The entities of one kind at one moment."""

    next_id: int = 0
    entities: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """All records at one moment; without arguments an empty database."""

    next_scene: int = 0
    next_file: int = 0
    scenes: tuple[Scene, ...] = ()
    shelves: Mapping[str, ShelfSnapshot] = field(default_factory=dict)


KINDS = ("performer", "studio", "tag", "group")


class Library:
    """All records. Writers hold `lock`; readers get an immutable record."""

    def __init__(self, clock: Callable[[], float], zone: tzinfo | None = None) -> None:
        self.lock = threading.RLock()
        self._clock = clock
        self._zone = zone
        self._scenes: dict[int, Scene] = {}
        self._ids: list[int] | None = None
        """The sorted ids, until a scene comes or goes."""
        self._next_scene = 0
        self._next_file = 0
        self.performers = Shelf(Performer, self.now)
        self.studios = Shelf(Studio, self.now)
        self.tags = Shelf(Tag, self.now)
        self.groups = Shelf(Group, self.now)
        self.folders: list[str] = []
        """The library folders of the settings, as Stash writes them."""

    def shelf(self, kind: str) -> Shelf[Any]:
        """Return the shelf of "performer", "studio", "tag" or "group"."""
        shelves: dict[str, Shelf[Any]] = {
            "performer": self.performers,
            "studio": self.studios,
            "tag": self.tags,
            "group": self.groups,
        }
        return shelves[kind]

    def epoch(self) -> float:
        """Return the time by Stash's clock, in epoch seconds."""
        return self._clock()

    def now(self) -> str:
        return self.timestamp(self._clock())

    def timestamp(self, moment: float | str | datetime) -> str:
        """Format as RFC 3339 in whole seconds with the local offset; keep a text unchanged."""
        if isinstance(moment, str):
            return moment
        if not isinstance(moment, datetime):
            moment = datetime.fromtimestamp(int(moment), timezone.utc)
        text = moment.astimezone(self._zone).isoformat(timespec="seconds")
        return text.replace("+00:00", "Z")  # as Go writes it

    def add_scene(
        self,
        *,
        studio: str | int | None = None,
        performers: Names = (),
        tags: Names = (),
        groups: Names = (),
        files: Iterable[FileSpec] = (),
        created_at: float | str | datetime | None = None,
        updated_at: float | str | datetime | None = None,
        scene_id: int | None = None,
        **fields: Any,
    ) -> Scene:
        """Add a scene; `scene_id` must be free, default: the next id."""
        with self.lock:
            if scene_id in self._scenes:
                raise ValueError(f"scene {scene_id} already exists")
            if scene_id is None:
                scene_id = self._next_scene + 1
            self._next_scene = max(self._next_scene, scene_id)
            now = self._clock()
            scene = Scene(
                scene_id,
                self.timestamp(now if created_at is None else created_at),
                self.timestamp(now if updated_at is None else updated_at),
                studio_id=None if studio is None else self.studios.id_of(studio),
                performer_ids=tuple(sorted({self.performers.id_of(name) for name in performers})),
                tag_ids=tuple(dict.fromkeys(self.tags.id_of(name) for name in tags)),
                group_ids=tuple((self.groups.id_of(name), None) for name in groups),
                files=tuple(self.make_file(file) for file in files),
                **{**fields, "urls": tuple(fields.get("urls", ()))},
            )
            self._scenes[scene.id] = scene
            self._ids = None
            return scene

    def make_file(self, spec: FileSpec) -> VideoFile:
        """Make a file from a path, a path and a size, or fields; keep a file unchanged."""
        if isinstance(spec, VideoFile):
            return spec
        if isinstance(spec, str):
            spec = {"path": spec}
        elif isinstance(spec, tuple):
            spec = {"path": spec[0], "size": spec[1]}
        self._next_file += 1
        now = self.now()
        oshash = hashlib.sha256(spec["path"].encode("utf-8", "surrogatepass")).hexdigest()[:16]
        known = {
            "mod_time": now,
            "created_at": now,
            "updated_at": now,
            "hashes": {"oshash": oshash},
        }
        return VideoFile(id=self._next_file, **{**known, **spec})

    def scene(self, scene_id: int) -> Scene:
        found = self._scenes.get(scene_id)
        if found is None:
            raise NotFound(f"scene with id {scene_id} not found")
        return found

    def find_scene(self, scene_id: int) -> Scene | None:
        return self._scenes.get(scene_id)

    def scenes(self, above: int = 0) -> list[Scene]:
        """Return the scenes with a larger id, in the order of their ids."""
        with self.lock:
            if self._ids is None:
                self._ids = sorted(self._scenes)
            ids = self._ids[bisect_right(self._ids, above) :] if above > 0 else self._ids
            return [self._scenes[scene_id] for scene_id in ids]

    def change_scene(self, scene_id: int, *, touch: bool = True, **fields: Any) -> Scene:
        """Replace fields; `touch` also sets updated_at."""
        with self.lock:
            if touch:
                fields.setdefault("updated_at", self.now())
            changed = replace(self.scene(scene_id), **fields)
            self._scenes[scene_id] = changed
            return changed

    def remove_scene(self, scene_id: int) -> Scene:
        with self.lock:
            gone = self.scene(scene_id)
            del self._scenes[scene_id]
            self._ids = None
            return gone

    def forget(self, kind: str, entity_id: int) -> None:
        """Remove an entity from every scene; like Stash, without changing updated_at."""
        with self.lock:
            for scene in self.scenes():
                changes = _without(scene, kind, entity_id)
                if changes:
                    self.change_scene(scene.id, touch=False, **changes)

    def destroy(self, kind: str, entity_id: int) -> None:
        """Delete an entity and take it from every scene, and from other entities."""
        with self.lock:
            self.shelf(kind).remove(entity_id)
            self.forget(kind, entity_id)
            if kind == "tag":
                self._replace_in_entities(entity_id, None)
            elif kind == "studio":
                for studio in self.studios.all():
                    if studio.parent_id == entity_id:
                        self.studios.keep(replace(studio, parent_id=None))

    def set_children(self, tag_id: int, child_ids: Iterable[int]) -> None:
        """Set the tags below a tag; like Stash, without changing their updated_at."""
        with self.lock:
            wanted = {self.tags.get(child).id for child in child_ids}
            for tag in self.tags.all():
                parents = [one for one in tag.parent_ids if one != tag_id]
                if tag.id in wanted:
                    parents.append(tag_id)
                self.tags.keep(replace(tag, parent_ids=tuple(parents)))

    def children(self, tag: Tag) -> list[int]:
        """Return the ids of the tags directly below a tag."""
        return [one.id for one in self.tags.all() if tag.id in one.parent_ids]

    def below(self, kind: str, entity_id: int, depth: int = -1) -> set[int]:
        """Return a tag or studio and what is below it, so many levels deep; -1: all."""
        found, level = {entity_id}, {entity_id}
        while depth and level:
            level = {
                one.id for one in self.shelf(kind).all() if level.intersection(parents_of(one))
            } - found
            found |= level
            depth -= 1
        return found

    def snapshot(self) -> Snapshot:
        with self.lock:
            shelves = {kind: self.shelf(kind).snapshot() for kind in KINDS}
            return Snapshot(self._next_scene, self._next_file, tuple(self.scenes()), shelves)

    def restore(self, snapshot: Snapshot) -> None:
        """Replace all records."""
        with self.lock:
            for kind in KINDS:
                self.shelf(kind).restore(snapshot.shelves.get(kind, ShelfSnapshot()))
            self._next_scene, self._next_file = snapshot.next_scene, snapshot.next_file
            self._scenes = {scene.id: scene for scene in snapshot.scenes}
            self._ids = None

    def merge(self, kind: str, sources: Iterable[int], destination: int) -> None:
        """Merge tags or performers as Stash does: no scene's updated_at changes.

        A tag keeps its updated_at and takes the sources' names as aliases; a performer's changes.
        """
        with self.lock:
            shelf = self.shelf(kind)
            target, gone = shelf.get(destination), [shelf.get(source) for source in sources]
            if target in gone:
                raise ValueError("cannot merge where source == destination")
            for source in gone:
                self._replace(kind, source.id, destination)
                if kind == "tag":
                    self._replace_in_entities(source.id, destination)
                shelf.remove(source.id)
            if kind == "performer":
                shelf.change(destination)
            else:
                target = shelf.get(destination)
                names = [alias for one in gone for alias in (one.name, *one.aliases)]
                shelf.keep(replace(target, aliases=(*target.aliases, *names)))

    def _replace_in_entities(self, old: int, new: int | None) -> None:
        """Put another tag in a tag's place in all entities, or none; no updated_at changes."""
        instead = () if new is None else (new,)
        for kind in KINDS:
            for one in self.shelf(kind).all():
                tag_ids = _exchanged(one.tag_ids, old, instead)
                changes: dict[str, Any] = {} if tag_ids == one.tag_ids else {"tag_ids": tag_ids}
                if kind == "tag":
                    inherited = self.tags.find(old) if one.id == new else None
                    parents = [*one.parent_ids, *(inherited.parent_ids if inherited else ())]
                    kept = _exchanged(tuple(parents), old, instead)
                    changes["parent_ids"] = tuple(id_ for id_ in kept if id_ != one.id)
                if changes:
                    self.shelf(kind).keep(replace(one, **changes))

    def _replace(self, kind: str, old: int, new: int) -> None:
        name = f"{kind}_ids"
        for scene in self.scenes():
            ids: tuple[int, ...] = getattr(scene, name)
            if old in ids:
                after = tuple(dict.fromkeys(new if id_ == old else id_ for id_ in ids))
                if kind == "performer":
                    after = tuple(sorted(after))
                self.change_scene(scene.id, touch=False, **{name: after})


def parents_of(entity: Tag | Studio) -> tuple[int, ...]:
    """Return the ids of what a tag or studio is directly below."""
    if isinstance(entity, Tag):
        return entity.parent_ids
    return () if entity.parent_id is None else (entity.parent_id,)


def _exchanged(ids: tuple[int, ...], old: int, instead: tuple[int, ...]) -> tuple[int, ...]:
    if old not in ids:
        return ids
    kept = (new for id_ in ids for new in (instead if id_ == old else (id_,)))
    return tuple(dict.fromkeys(kept))


def _without(scene: Scene, kind: str, entity_id: int) -> dict[str, Any]:
    if kind == "studio":
        return {"studio_id": None} if scene.studio_id == entity_id else {}
    if kind == "group":
        left: tuple[Any, ...] = tuple(entry for entry in scene.group_ids if entry[0] != entity_id)
        return {"group_ids": left} if left != scene.group_ids else {}
    name = f"{kind}_ids"
    ids: tuple[int, ...] = getattr(scene, name)
    return {name: tuple(id_ for id_ in ids if id_ != entity_id)} if entity_id in ids else {}


def unix(timestamp: str) -> int:
    return int(datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp())
