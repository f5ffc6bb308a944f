"""Asks Plex to scan the folder of a file that it does not have: just that folder, and not often."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from plex.exceptions import translated
from plex.paths import map_path, normalize

#: Seconds for which the same folder is not scanned again.
SCAN_AGAIN = 3600.0


class Scans:
    """Remembers which folders Plex was asked to scan."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Args:
        clock: seconds, never going back.
        """
        self._clock = clock
        self._asked: dict[str, float] = {}

    def request(
        self, sections: Iterable[Any], stash_path: str, mappings: Iterable[tuple[str, str]]
    ) -> str | None:
        """Have the file's folder scanned, if it lies in a library and was not lately.

        Returns:
            The folder as Plex sees it, or None when no scan was asked for.

        Raises:
            PlexTemporaryError, PlexPermanentError, PlexNotFound
        """
        folder = map_path(stash_path, mappings)[0].rpartition("/")[0]
        section = _section_of(sections, folder)
        now = self._clock()
        if section is None or now - self._asked.get(folder, float("-inf")) < SCAN_AGAIN:
            return None
        self._asked[folder] = now
        with translated():
            section.update(path=_as_plex_writes(section, folder))
        return folder


def _section_of(sections: Iterable[Any], folder: str) -> Any | None:
    """A scan outside of a library's locations is answered with 200, and nothing happens."""
    return next((one for one in sections if _location_of(one, folder) is not None), None)


def _location_of(section: Any, folder: str) -> str | None:
    for location in section.locations:
        top = normalize(location).rstrip("/")
        if folder == top or folder.startswith(f"{top}/"):
            return str(location)
    return None


def _as_plex_writes(section: Any, folder: str) -> str:
    """Return the folder with the library's own spelling of its location, and its kind of slashes."""
    location = (_location_of(section, folder) or "").rstrip("/\\")
    rest = folder[len(normalize(location)) :]
    return location + (rest.replace("/", "\\") if "\\" in location else rest)
