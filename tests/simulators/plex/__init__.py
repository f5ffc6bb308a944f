"""A simulated Plex Media Server: an HTTP server that plexapi can't tell from the real one.

A test needs only `PlexSimulator`, which returns the records, and the values for its `settings`.
"""

from tests.simulators.plex.backups import Backup
from tests.simulators.plex.edits import BadValueError, TakenNameError
from tests.simulators.plex.habits import TAGS_AND_RATING, Ignored, UpdatedAt
from tests.simulators.plex.normalize import (
    Normalize,
    cut,
    in_order,
    spelled,
    trimmed,
    whole_stars,
)
from tests.simulators.plex.pictures import picture_kind
from tests.simulators.plex.records import (
    DiskFile,
    Media,
    Part,
    PlexCollection,
    PlexItem,
    PlexLibrary,
    Upload,
    Write,
)
from tests.simulators.plex.simulator import PlexSimulator

__all__ = [
    "TAGS_AND_RATING", "Backup", "BadValueError", "DiskFile", "Ignored", "Media", "Normalize",
    "Part", "PlexCollection", "PlexItem", "PlexLibrary", "PlexSimulator", "TakenNameError",
    "UpdatedAt", "Upload", "Write", "cut", "in_order", "picture_kind", "spelled", "trimmed",
    "whole_stars",
]  # fmt: skip
