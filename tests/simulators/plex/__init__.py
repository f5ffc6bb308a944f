"""A simulated Plex Media Server: an HTTP server that plexapi can't tell from the real one.

A test needs only `PlexSimulator`, which returns the records, and the values for its `settings`.
"""

from tests.simulators.plex.backups import Backup
from tests.simulators.plex.habits import TAGS_AND_RATING, Ignored, UpdatedAt
from tests.simulators.plex.normalize import (
    Normalize,
    cut,
    in_order,
    spelled,
    trimmed,
    whole_stars,
)
from tests.simulators.plex.records import DiskFile, Part, PlexItem, PlexLibrary, Upload, Write
from tests.simulators.plex.simulator import PlexSimulator

__all__ = [
    "TAGS_AND_RATING", "Backup", "DiskFile", "Ignored", "Normalize", "Part", "PlexItem",
    "PlexLibrary", "PlexSimulator", "UpdatedAt", "Upload", "Write", "cut", "in_order", "spelled",
    "trimmed", "whole_stars",
]  # fmt: skip
