"""A media file as Stash or Plex sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MediaFile:
    """Path and size of one file of a scene or of a Plex item."""

    path: str
    size: int | None  # bytes; None: unknown
