"""A media file as Stash or Plex sees it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class MediaFile:
    """Path and size of one file of a scene or of a Plex item."""

    path: str
    size: int | None  # bytes; None: unknown


def files_as_json(files: Iterable[MediaFile]) -> list[list[str | int | None]]:
    """Return files as an error's details keep them."""
    return [[file.path, file.size] for file in files]
