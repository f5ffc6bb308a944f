"""Immutable records of what PlexSync reads from Stash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from common.media import MediaFile

#: Between the two parts of a digest.
_PARTS = "-"

#: id of a tag that has parents → (id, name) of each
Hierarchy = Mapping[int, tuple[tuple[int, str], ...]]


@dataclass(frozen=True)
class Scene:
    """Hold a scene's current state in Stash. The first file, if any, is the primary one."""

    id: int
    title: str
    details: str
    date: str | None
    director: str
    rating100: int | None
    organized: bool
    created_at: str
    updated_at: str
    studio: str
    performers: tuple[str, ...]
    tags: tuple[str, ...]
    groups: tuple[str, ...]
    files: tuple[MediaFile, ...]
    #: URL of the cover, or ""
    cover: str
    #: ids of the studio (0: none) and of the groups, in their order
    studio_id: int = 0
    group_ids: tuple[int, ...] = ()
    code: str = ""
    parent_studio: str = ""
    #: id of the studio's parent; 0: none
    parent_studio_id: int = 0
    #: ids of the performers and of the tags, in their order
    performer_ids: tuple[int, ...] = ()
    tag_ids: tuple[int, ...] = ()
    #: tags of all performers, without repetitions
    performer_tags: tuple[str, ...] = ()
    has_stash_id: bool = False
    #: tag of the scene or of a performer, or above one → its ancestors, the nearest first
    tag_ancestors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """A short hash of the scene's metadata and files, without times and cover.

        It has two parts: records from before the second one hold only the first.
        """
        first = (
            self.title, self.details, self.date, self.director, self.rating100, self.organized,
            self.studio, self.performers, self.tags, self.groups,
            [(file.path, file.size) for file in self.files],
        )  # fmt: skip
        second = (
            self.code, self.parent_studio, self.performer_tags, self.has_stash_id,
            sorted(self.tag_ancestors.items()),
        )  # fmt: skip
        return f"{_short_hash(first, 12)}{_PARTS}{_short_hash(second, 8)}"

    def has_digest(self, known: str | None) -> bool:
        """Return whether a recorded digest, of today's form or the former, is the scene's."""
        if known is None or _PARTS in known:
            return known == self.digest
        return known == self.digest.partition(_PARTS)[0]

    def as_metadata(self) -> dict[str, Any]:
        """Return the input of `validation.metadata.SyncMetadata`."""
        return {
            "scene_id": self.id,
            "path": self.files[0].path if self.files else None,
            "title": self.title,
            "details": self.details,
            "date": self.date,
            "director": self.director,
            "rating100": self.rating100,
            "organized": self.organized,
            "studio": self.studio,
            "performers": self.performers,
            "tags": self.tags,
            "groups": self.groups,
            "code": self.code,
            "parent_studio": self.parent_studio,
            "performer_tags": self.performer_tags,
            "has_stash_id": self.has_stash_id,
            "tag_ancestors": self.tag_ancestors,
        }


@dataclass(frozen=True)
class SceneFiles:
    """Hold a scene's files, the primary one first."""

    id: int
    organized: bool
    created_at: str
    files: tuple[MediaFile, ...]


@dataclass(frozen=True)
class Cover:
    """Hold a scene's cover and when Stash sent it."""

    #: JPEG, PNG, GIF or WebP; None: no cover
    picture: bytes | None
    #: epoch seconds by Stash's clock; None: unknown
    at: float | None = None
    etag: str = ""
    #: it still has the ETag that was asked for
    is_unchanged: bool = False


def read_hierarchy(tags: Iterable[dict[str, Any]]) -> Hierarchy:
    """Return the hierarchy of GraphQL `Tag`s with id, and id and name of their parents."""
    return {
        int(tag["id"]): tuple((int(one["id"]), str(one["name"])) for one in tag["parents"])
        for tag in tags
    }


def read_scene(data: dict[str, Any], hierarchy: Hierarchy) -> Scene:
    """Return the record of a GraphQL `Scene` with the fields `stash.client.SCENE_FIELDS`."""
    studio = data["studio"] or {}
    parent = studio.get("parent_studio") or {}
    tags = [(int(tag["id"]), tag["name"]) for tag in data["tags"]]
    performers_tags = [
        (int(tag["id"]), tag["name"])
        for performer in data["performers"]
        for tag in performer["tags"]
    ]
    return Scene(
        id=int(data["id"]),
        title=data["title"] or "",
        details=data["details"] or "",
        date=data["date"],
        director=data["director"] or "",
        rating100=data["rating100"],
        organized=data["organized"],
        created_at=data["created_at"],
        updated_at=data["updated_at"],
        studio=studio.get("name", ""),
        performers=tuple(performer["name"] for performer in data["performers"]),
        tags=tuple(name for _, name in tags),
        groups=tuple(group["group"]["name"] for group in data["groups"]),
        files=tuple(MediaFile(file["path"], file["size"]) for file in data["files"]),
        cover=data["paths"]["screenshot"] or "",
        studio_id=int(studio.get("id", 0)),
        group_ids=tuple(int(group["group"]["id"]) for group in data["groups"]),
        code=data["code"] or "",
        parent_studio=parent.get("name", ""),
        parent_studio_id=int(parent.get("id", 0)),
        performer_ids=tuple(int(performer["id"]) for performer in data["performers"]),
        tag_ids=tuple(tag_id for tag_id, _ in tags),
        performer_tags=tuple(dict.fromkeys(name for _, name in performers_tags)),
        has_stash_id=bool(data["stash_ids"]),
        tag_ancestors=_lines((*tags, *performers_tags), hierarchy),
    )


def _lines(tags: Iterable[tuple[int, str]], hierarchy: Hierarchy) -> dict[str, tuple[str, ...]]:
    """Return name → ancestors, the nearest first, of tags and of their ancestors."""
    above = [(key, name, _ancestors(key, hierarchy)) for key, name in tags if key in hierarchy]
    found = {name: tuple(ancestors.values()) for _, name, ancestors in above}
    for _, _, ancestors in above:
        for key, name in ancestors.items():
            if key in hierarchy and name not in found:
                found[name] = tuple(_ancestors(key, hierarchy).values())
    return found


def _ancestors(tag_id: int, hierarchy: Hierarchy) -> dict[int, str]:
    """Return id → name of a tag's ancestors, the nearest first; each once, also in a circle."""
    found: dict[int, str] = {}
    level = [tag_id]
    while level:
        parents = dict(parent for one in level for parent in hierarchy.get(one, ()))
        new = {key: name for key, name in parents.items() if key not in found and key != tag_id}
        found |= new
        level = list(new)
    return found


def _short_hash(content: Any, size: int) -> str:
    """Return a hash of `size` bytes, in hexadecimal digits."""
    text = json.dumps(content).encode("ascii")
    return hashlib.blake2b(text, digest_size=size).hexdigest()


def read_scene_files(data: dict[str, Any]) -> SceneFiles:
    """Return the record of a GraphQL `Scene` with id, organized, created_at and files."""
    files = tuple(MediaFile(file["path"], file["size"]) for file in data["files"])
    return SceneFiles(int(data["id"]), bool(data["organized"]), data["created_at"], files)


@dataclass(frozen=True)
class PluginUse:
    """State of a plugin and of Stash; Stash answers it from memory."""

    #: None: Stash does not have the plugin
    is_enabled: bool | None
    #: a scan, an import, a batch tagger … is under way
    has_jobs: bool
    settings: dict[str, Any]
