"""A simulated Plex Media Server: an HTTP server that plexapi can't tell from the real one.

`PlexSimulator` is all that a test needs; the records are what it hands out.
"""

from tests.simulators.plex.records import DiskFile, Part, PlexItem, PlexLibrary, Upload, Write
from tests.simulators.plex.simulator import PlexSimulator

__all__ = ["DiskFile", "Part", "PlexItem", "PlexLibrary", "PlexSimulator", "Upload", "Write"]
