"""Immutable records of what PlexSync reads from Stash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from common.media import MediaFile


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

    @cached_property
    def digest(self) -> str:
        """A short hash of the scene's metadata and files, without times and cover."""
        content = (
            self.title, self.details, self.date, self.director, self.rating100, self.organized,
            self.studio, self.performers, self.tags, self.groups,
            [(file.path, file.size) for file in self.files],
        )  # fmt: skip
        return hashlib.blake2b(json.dumps(content).encode("ascii"), digest_size=12).hexdigest()

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
        }


@dataclass(frozen=True)
class SceneFiles:
    """Hold a scene's files, the primary one first."""

    id: int
    organized: bool
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


def read_scene(data: dict[str, Any]) -> Scene:
    """Return the record of a GraphQL `Scene` with the fields `stash.client.SCENE_FIELDS`."""
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
        studio=data["studio"]["name"] if data["studio"] else "",
        performers=tuple(performer["name"] for performer in data["performers"]),
        tags=tuple(tag["name"] for tag in data["tags"]),
        groups=tuple(group["group"]["name"] for group in data["groups"]),
        files=tuple(MediaFile(file["path"], file["size"]) for file in data["files"]),
        cover=data["paths"]["screenshot"] or "",
        studio_id=int(data["studio"]["id"]) if data["studio"] else 0,
        group_ids=tuple(int(group["group"]["id"]) for group in data["groups"]),
    )


def read_scene_files(data: dict[str, Any]) -> SceneFiles:
    """Return the record of a GraphQL `Scene` with id, organized and files."""
    files = tuple(MediaFile(file["path"], file["size"]) for file in data["files"])
    return SceneFiles(int(data["id"]), bool(data["organized"]), files)
