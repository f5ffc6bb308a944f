"""What PlexSync reads from Stash, as frozen records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from common.media import MediaFile


@dataclass(frozen=True)
class Scene:
    """A scene as it is in Stash now. Its first file is the primary one; it may have none."""

    id: int
    title: str
    details: str
    date: str | None
    director: str
    rating100: int | None
    organized: bool
    updated_at: str
    studio: str
    performers: tuple[str, ...]
    tags: tuple[str, ...]
    groups: tuple[str, ...]
    files: tuple[MediaFile, ...]
    #: path and query of the cover's address below Stash's own
    cover: str

    def as_metadata(self) -> dict[str, Any]:
        """Return what `validation.metadata.SyncMetadata` takes."""
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
class Cover:
    """A scene's cover as Stash answered with it."""

    #: a JPEG, PNG, GIF or WebP, or None: the scene has none
    picture: bytes | None
    #: when, by Stash's clock, in epoch seconds; None: unknown
    at: float | None = None


def read_scene(answer: dict[str, Any]) -> Scene:
    """Make a record of GraphQL's `Scene` (fields: `stash.client.SCENE_FIELDS`)."""
    return Scene(
        id=int(answer["id"]),
        title=answer["title"] or "",
        details=answer["details"] or "",
        date=answer["date"],
        director=answer["director"] or "",
        rating100=answer["rating100"],
        organized=answer["organized"],
        updated_at=answer["updated_at"],
        studio=answer["studio"]["name"] if answer["studio"] else "",
        performers=tuple(performer["name"] for performer in answer["performers"]),
        tags=tuple(tag["name"] for tag in answer["tags"]),
        groups=tuple(group["group"]["name"] for group in answer["groups"]),
        files=tuple(MediaFile(file["path"], file["size"]) for file in answer["files"]),
        cover=answer["paths"]["screenshot"] or "",
    )
