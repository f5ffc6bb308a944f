"""The Plex server of the settings: its client, the chosen libraries, and their file index."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from common.env import Env
from common.media import MediaFile
from plex.client import PlexClient
from plex.edits import Edits, split_requests
from plex.exceptions import PlexNotFound
from plex.index import FileIndex
from plex.items import Library, PlexItem
from plex.matcher import Match, choose, find_items
from plex.paths import map_path, normalize
from validation.config import PlexSyncConfig
from validation.errors import SettingsError

log = logging.getLogger("plexsync")
#: Seconds for which the same folder is not scanned again.
SCAN_AGAIN = 3600.0


class PlexSession:
    """One conversation with Plex. Threads may write distinct items side by side, nothing else.

    Every request may raise PlexTemporaryError, PlexPermanentError or PlexNotFound.
    """

    def __init__(
        self, index: FileIndex, env: Env, *, client_class: type[PlexClient] = PlexClient
    ) -> None:
        """Prepare a session without settings; nothing is sent yet."""
        self.index = index
        self._env = env
        self._client_class = client_class
        self._config: PlexSyncConfig | None = None
        self._client: PlexClient | None = None
        self._libraries: list[Library] = []
        self._libraries_read_at = float("-inf")
        self._ahead: dict[int, PlexItem] = {}
        self._ahead_read_at = float("-inf")
        self._scanned_at: dict[str, float] = {}

    @property
    def config(self) -> PlexSyncConfig:
        """The settings in effect.

        Raises:
            SettingsError: PlexSync has no settings yet.
        """
        if self._config is None:
            raise SettingsError("PlexSync has no settings yet")
        return self._config

    def configure(self, config: PlexSyncConfig) -> None:
        """Use these settings from now on; the connection made with others is given up."""
        if config != self._config:
            self.close()
            self._config = config

    def client(self) -> PlexClient:
        """Return the client for the settings in effect; it connects on first use."""
        if self._client is None:
            config = self.config
            self._client = self._client_class(
                config.plex_url,
                config.plex_token,
                config.plex_connect_timeout,
                config.plex_read_timeout,
            )
        return self._client

    def use(self, client: PlexClient) -> None:
        """Speak to Plex through this client."""
        if client is not self._client:
            self.close()
            self._client = client

    def close(self) -> None:
        """Close the connection; the next use makes another, with the settings in effect by then."""
        if self._client is not None:
            self._client.close()
        self._client = None
        self._libraries = []
        self._ahead = {}

    def libraries(self) -> list[Library]:
        """Return the chosen libraries, and bring the index of their files up to date if it is due.

        Raises:
            SettingsError: a library that the settings name is not there.
            PlexTemporaryError, PlexPermanentError
        """
        now = self._env.monotonic()
        if self._libraries and now - self._libraries_read_at < self._env.timing.index_fresh:
            return self._libraries
        client = self.client()
        try:
            libraries = client.libraries(self.config.plex_libraries)
        except PlexNotFound as error:
            raise SettingsError(f"plex_libraries: {error}") from error
        if self.index.refresh(client, [library.key for library in libraries]):
            log.debug("The index of Plex's files holds %d", self.index.count())
        self._libraries, self._libraries_read_at = libraries, now
        return self._libraries

    def indexed(self, files: Sequence[MediaFile]) -> set[int]:
        """Return the rating keys of the items that may have a scene's files, by the index alone."""
        found, _ = choose(self.index, files, self.config.path_mappings, self._keys())
        return {file.rating_key for file in found}

    def read_ahead(self, scenes: Iterable[Sequence[MediaFile]]) -> None:
        """Read the items of several scenes in one request, where the index leaves no doubt.

        Args:
            scenes: the files of each scene.

        Raises:
            SettingsError, PlexTemporaryError, PlexPermanentError
        """
        self.libraries()
        found = [keys for keys in map(self.indexed, scenes) if len(keys) == 1]
        certain = list(dict.fromkeys(key for keys in found for key in keys))
        self._ahead_read_at = self._env.monotonic()
        items = self.client().fetch_items(certain) if len(certain) > 1 else []
        self._ahead = {item.rating_key: item for item in items}

    def find(self, files: Sequence[MediaFile]) -> Match:
        """Find the items that may be a scene; `files` are the scene's, the primary one first.

        Raises:
            PlexNotFound: no item is a candidate.
            SettingsError, PlexTemporaryError, PlexPermanentError
        """
        self.libraries()
        timing = self._env.timing
        if self._env.monotonic() - self._ahead_read_at >= timing.ahead_fresh:
            self._ahead = {}
        match = find_items(
            self.client(),
            self.index,
            self._keys(),
            files,
            self.config.path_mappings,
            fresh_for=timing.name_fresh,
            read_before=self._ahead,
        )
        for item in match.items:  # a second edit in the same batch reads the item again
            self._ahead.pop(item.rating_key, None)
        return match

    def write(self, item: PlexItem, edits: Edits) -> None:
        """Send edits of an item's texts and lists, in as few requests as possible."""
        for parameters in split_requests(edits.parameters):
            self.client().edit(item, parameters)

    def request_scan(self, file: MediaFile) -> None:
        """Ask Plex to scan the folder of a missing file, if the settings say so, once an hour."""
        if not self.config.trigger_plex_scan:
            return
        folder = map_path(file.path, self.config.path_mappings)[0].rpartition("/")[0]
        now = self._env.monotonic()
        if now - self._scanned_at.get(folder, float("-inf")) < SCAN_AGAIN:
            return
        for library in self._libraries:
            written = _as_plex_writes(library, folder)
            if written is not None:  # outside of its locations Plex answers 200, and does nothing
                self._scanned_at[folder] = now
                self.client().scan(library, written)
                log.info("Plex was asked to scan %s", folder)
                return

    def _keys(self) -> list[int]:
        return [library.key for library in self._libraries]


def _as_plex_writes(library: Library, folder: str) -> str | None:
    """Return a normalized folder with the library's own slashes; None: it is not in the library."""
    for location in library.locations:
        top = normalize(location).rstrip("/")
        if folder == top or folder.startswith(f"{top}/"):
            rest = folder[len(top) :]
            start = location.rstrip("/\\")
            return start + (rest.replace("/", "\\") if "\\" in location else rest)
    return None
