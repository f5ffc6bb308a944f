"""The worker's hold on Plex: one client, the chosen libraries, and an index of their files that is fresh enough."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from plex.client import PlexClient
from plex.exceptions import PlexNotFound
from plex.index import FileIndex
from plex.matcher import choose, fetch_items
from plex.scans import Scans
from validation.config import PlexSyncConfig
from validation.errors import SettingsError
from worker.reporter import Reporter
from worker.timing import Clock, Timing


def connect_plex(config: PlexSyncConfig) -> PlexClient:
    """Return a client for the settings; it connects on first use."""
    return PlexClient(
        config.plex_url, config.plex_token, config.plex_connect_timeout, config.plex_read_timeout
    )


class PlexSide:
    """One conversation with the Plex that the settings name. Not for use from two threads at once."""

    def __init__(
        self,
        config: Callable[[], PlexSyncConfig],
        index: FileIndex,
        *,
        connect: Callable[[PlexSyncConfig], PlexClient] = connect_plex,
        reporter: Reporter,
        clock: Clock,
        timing: Timing,
    ) -> None:
        """Nothing is sent yet.

        Args:
            config: returns the settings in effect; raises SettingsError when there are none.
        """
        self.index = index
        self._config = config
        self._connect = connect
        self._reporter = reporter
        self._clock = clock
        self._timing = timing
        self._scans = Scans(clock.monotonic)
        self._client: PlexClient | None = None
        self._sections: list[Any] = []
        self._index_read_at = float("-inf")
        self._ahead: dict[int, tuple[Any, float]] = {}

    def client(self) -> PlexClient:
        """Return the client for the settings in effect."""
        if self._client is None:
            self._client = self._connect(self._config())
        return self._client

    def libraries(self) -> list[Any]:
        """Return the chosen sections, and see to it that the index of their files is fresh.

        Raises:
            SettingsError: a library that the settings name is not there.
            PlexTemporaryError, PlexPermanentError
        """
        now = self._clock.monotonic()
        if self._sections and now - self._index_read_at < self._timing.index_fresh:
            return self._sections
        client = self.client()
        try:
            self._sections = client.libraries(self._config().plex_libraries)
        except PlexNotFound as error:
            raise SettingsError(f"plex_libraries: {error}") from error
        if self.index.refresh(client.server, self.section_ids()):
            self._reporter.log("debug", f"The index of Plex's files holds {self.index.count()}")
        self._index_read_at = now
        return self._sections

    def read_ahead(self, scenes: Iterable[Sequence[tuple[str, int | None]]]) -> None:
        """Read the items of several scenes in one request, where the index leaves no doubt which they are.

        Args:
            scenes: (path in Stash, size) of each scene's files.

        Raises:
            SettingsError, PlexTemporaryError, PlexPermanentError
        """
        sections, mappings = self.libraries(), self._config().path_mappings
        keys: dict[int, None] = {}
        for files in scenes:
            found = {
                one.rating_key for one in choose(self.index, files, mappings, self.section_ids())
            }
            if len(found) == 1:
                keys.update(dict.fromkeys(found))
        if len(keys) > 1:
            read_at = self._clock.monotonic()
            items = fetch_items(sections[0], list(keys))
            self._ahead = {int(item.ratingKey): (item, read_at) for item in items}

    def take_ahead(self, rating_key: int) -> Any:
        """Return an item that was read ahead, once and not for long; else None."""
        item, read_at = self._ahead.pop(rating_key, (None, float("-inf")))
        return item if self._clock.monotonic() - read_at < self._timing.ahead_fresh else None

    def section_ids(self) -> list[int]:
        """Return the ids of the chosen sections, as they were last read."""
        return [int(section.key) for section in self._sections]

    def request_scan(self, path: str) -> None:
        """Ask Plex to scan the folder of a file that it does not have, if the user wants that.

        Args:
            path: as Stash sees the file.

        Raises:
            PlexTemporaryError, PlexPermanentError, PlexNotFound
        """
        config = self._config()
        if config.trigger_plex_scan:
            folder = self._scans.request(self._sections, path, config.path_mappings)
            if folder is not None:
                self._reporter.log("info", f"Plex was asked to scan {folder}")

    def close(self) -> None:
        """Give up the connection; the next use makes another, with the settings in effect by then."""
        if self._client is not None:
            self._client.close()
        self._client = None
        self._sections = []
        self._ahead = {}
