"""A simulated Plex Media Server: an HTTP server that plexapi can't tell from the real one.

A test needs only `PlexSimulator`, which returns the records.
"""

from tests.simulators.plex.records import DiskFile, Part, PlexItem, PlexLibrary, Upload, Write
from tests.simulators.plex.simulator import PlexSimulator

__all__ = ["DiskFile", "Part", "PlexItem", "PlexLibrary", "PlexSimulator", "Upload", "Write"]
