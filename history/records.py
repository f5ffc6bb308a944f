"""Records of the history: agreements between a scene and an item, and choices."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from typing import Any

from common.media import MediaFile
from history.fields import Fields, FieldState


class Status(str, enum.Enum):
    """The state of a scene, or of a scene and an item."""

    #: seen when PlexSync was installed, never synced
    BASELINE = "baseline"
    IN_SYNC = "in_sync"
    #: written, not read back yet
    WRITTEN = "written"
    NOT_IN_PLEX = "not_in_plex"
    #: several items may be the scene, or several scenes the item
    AMBIGUOUS = "ambiguous"
    FAILED = "failed"
    #: Plex does not take some fields
    REFUSED = "refused"
    #: a filter leaves the scene out
    SKIPPED = "skipped"
    #: the user excludes the scene
    IGNORED = "ignored"
    #: the user took our writes back
    HELD = "held"


#: The user said so; only the user changes it.
UNTOUCHABLE = (Status.IGNORED, Status.HELD)
#: A scene in one of these needs the user.
TROUBLE = (Status.AMBIGUOUS, Status.FAILED, Status.REFUSED)
#: A scene in one of these was written to its item.
IN_PLEX = (Status.IN_SYNC, Status.WRITTEN, Status.REFUSED)


#: Name that the poster has among an item's fields and locks.
POSTER = "thumb"
#: The same of the background.
ART = "art"
#: Picture that a scene's cover becomes → its name for the user.
PICTURES = {POSTER: "poster", ART: "background"}
#: SHA-1 of a poster that is ours without our knowing which.
UNKNOWN_COVER = "-"


@dataclass(frozen=True)
class CoverState:
    """The cover that was last uploaded, and the one that Stash last showed."""

    #: address in Stash; it carries the second of the scene's last change
    source: str = ""
    #: of the picture that was uploaded, in hex; "": none was
    sha1: str = ""
    #: Stash's ETag of the cover at `source`
    etag: str = ""
    #: fetched after the end of that second, so that the address means this cover for good
    final: bool = False


@dataclass(frozen=True)
class Agreement:
    """What the history knows of a scene and its item; a scene that has no item has a record too."""

    scene_id: int
    status: Status = Status.BASELINE
    #: why, in a few words for the user
    reason: str = ""
    #: row in the database; 0: not stored yet
    id: int = 0
    #: Plex's machineIdentifier
    server: str = ""
    section: int = 0
    #: 0: no item
    rating_key: int = 0
    #: the item's file, normalized; without an item, where Plex should have it
    path: str = ""
    #: of the scene, as Stash writes it: a reused scene id has another one
    created_at: str = ""
    #: the scene's `updated_at` when it was last compared
    updated_at: str = ""
    #: of the scene, as Stash sees them
    files: tuple[MediaFile, ...] = ()
    #: of the scene's metadata; None: unknown, so it has to be compared
    digest: str | None = None
    #: of the settings that it was synced with
    generation: str = ""
    #: the item's `updatedAt` when it was last read
    item_updated_at: int = 0
    #: epoch seconds of the last attempt, and of the moment before the synced version was read
    checked_at: float = 0.0
    synced_at: float | None = None
    #: since when Stash does not have the scene
    missing_since: float | None = None
    #: when the write is due to be read back
    verify_at: float | None = None
    fields: Fields = field(default_factory=dict)
    cover: CoverState = CoverState()
    #: the same of the background
    art: CoverState = CoverState()
    #: of an ambiguous scene: its candidates, in JSON's types
    details: dict[str, Any] | None = None

    def cover_of(self, name: str) -> CoverState:
        """Return the cover's state as the poster or as the background."""
        return self.art if name == ART else self.cover

    def with_cover(self, name: str, cover: CoverState) -> Agreement:
        """Return the record with another state of the cover."""
        return replace(self, art=cover) if name == ART else replace(self, cover=cover)

    def with_field(self, name: str, state: FieldState) -> Agreement:
        """Return the record with another state of a field."""
        return replace(self, fields={**self.fields, name: state})

    @property
    def has_item(self) -> bool:
        """Return whether this is about an item."""
        return bool(self.rating_key)

    @property
    def refused_fields(self) -> list[str]:
        """Return the fields that Plex does not take."""
        return [name for name, state in self.fields.items() if state.refused]

    @property
    def kept_fields(self) -> list[str]:
        """Return the fields in which a person's edit in Plex is kept."""
        return [name for name, state in self.fields.items() if state.kept]

    @property
    def held_fields(self) -> list[str]:
        """Return the fields that are not synced until the user says so."""
        return [name for name, state in self.fields.items() if state.held]


@dataclass(frozen=True)
class Choice:
    """An item that the user chose for a scene."""

    scene_id: int
    server: str
    rating_key: int
    #: the item's file, normalized; "": not known yet
    path: str = ""
    #: since when Stash does not have the scene
    missing_since: float | None = None
    #: of the scene, as Stash writes it; "": not known yet
    created_at: str = ""


@dataclass(frozen=True)
class OwnCollection:
    """A collection in Plex that PlexSync created."""

    server: str
    section: int
    name: str
    #: what it is for in Stash: "studio", "group", "performers", … or "", and its id
    kind: str = ""
    source_id: int = 0
    #: 0: not known yet
    rating_key: int = 0
    #: the name that it is about to get; "": none
    renaming: str = ""
    #: the sort title that we gave it; "": none
    sort_title: str = ""
