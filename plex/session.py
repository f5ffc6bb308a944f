"""The Plex server of the settings: its client, the chosen libraries, and their file index."""

from __future__ import annotations

import logging
import threading
from collections.abc import Container, Iterable, Sequence

from common.env import Env
from common.media import MediaFile
from history.counts import LOCATIONS
from history.store import History
from plex.client import PlexClient
from plex.edits import Parameters, by_field, encode_edits
from plex.exceptions import (
    FAILURE_OR_BAD_DATA,
    PLEX_ERRORS,
    REFUSALS_OF_A_VALUE,
    PlexListingError,
    PlexNotFound,
    PlexPermanentError,
    PlexTemporaryError,
)
from plex.fit import Places
from plex.index import FileIndex
from plex.items import Library, PlexItem
from plex.matcher import Chosen, Match, choose, find_items
from plex.names import fold
from plex.paths import map_path, normalize
from plex.plan import Edits
from validation.config import PlexSyncConfig
from validation.errors import SettingsError

log = logging.getLogger("plexsync")
PlexRefusal = PlexPermanentError | PlexTemporaryError
#: Seconds for which no scan is asked for on account of the same file again.
SCAN_AGAIN = 3600.0
#: Files, and folders, of which it is remembered that a scan was asked for.
_MOST_SCANNED = 10_000
#: Items in one request of `read_changed`.
_READ_AT_ONCE = 100
#: State in the history: which Plex, its name, its address, and the chosen libraries.
PLEX = "plex"


class PlexSession:
    """One conversation with Plex. Threads may write distinct items side by side, nothing else.

    Every request may raise PlexTemporaryError, PlexPermanentError or PlexNotFound.
    """

    def __init__(
        self,
        index: FileIndex,
        env: Env,
        *,
        history: History | None = None,
        client_class: type[PlexClient] = PlexClient,
    ) -> None:
        """Prepare a session without settings; nothing is sent yet.

        Args:
            history: remembers which libraries were there at the first run.
        """
        self.index = index
        #: the machineIdentifier of the Plex that was last asked; "": none yet
        self.server = ""
        #: libraries that came after the first run and are not synced unless the settings name them
        self.offered: list[Library] = []
        self._history = history or History()
        self._env = env
        self._client_class = client_class
        self._config: PlexSyncConfig | None = None
        self._client: PlexClient | None = None
        self._libraries: list[Library] = []
        self._libraries_read_at = float("-inf")
        self._ahead: dict[int, PlexItem] = {}
        self._ahead_read_at = float("-inf")
        #: folder → when it was scanned last; file → when its folder was, on its account
        self._scanned_at: dict[str, float] = {}
        self._scanned_for: dict[str, float] = {}
        #: folder → its library and how Plex writes it, where a scan has to wait
        self._scans_left: dict[str, tuple[Library, str]] = {}
        #: rating key → (item, when it was read), while that is fresh enough to write
        self._fresh: dict[int, tuple[PlexItem, float]] = {}
        self._noting = threading.Lock()  # writes side by side change it

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
        for folder in self._scans_left:
            self._forget_scan(folder)
        self._scans_left = {}

    def identify(self) -> None:
        """Note which server this is; an index of another one is begun anew."""
        self.server = self.client().server_id()
        self.index.use_server(self.server)

    def libraries(self, *, look: bool = False) -> list[Library]:
        """Return the chosen libraries, and bring the index of their files up to date if it is due.

        Args:
            look: bring it up to date now, whatever Plex says about changes.

        Raises:
            SettingsError: a library that the settings name is not there.
            PlexListingError: Plex's libraries or files can't be listed.
            PlexRejected
        """
        now = self._env.monotonic()
        is_fresh = now - self._libraries_read_at < self._env.timing.index_fresh
        # Another look before that is due if the index was begun anew.
        if self._libraries and is_fresh and not look and self.index.knows(self.keys):
            return self._libraries
        client = self.client()
        try:
            libraries = client.libraries(self.config.plex_libraries)
        except PlexNotFound as error:
            raise SettingsError(f"plex_libraries: {error}") from error
        except PlexTemporaryError as error:
            raise PlexListingError(str(error), status=error.status) from error
        self.identify()
        if not self.config.plex_libraries:
            libraries = self._known(libraries)
        if self.index.refresh(client, [library.key for library in libraries], look=look):
            log.debug("The index of Plex's files holds %d", self.index.count())
        self._libraries, self._libraries_read_at = libraries, now
        self._note(libraries)
        return self._libraries

    def _note(self, libraries: Sequence[Library]) -> None:
        """Note Plex's name, its libraries and their folders, for those who do not ask Plex."""
        folders = [normalize(path).rstrip("/") + "/" for one in libraries for path in one.locations]
        name, _ = self.client().name_and_version()
        chosen = [self._noted(library) for library in libraries]
        plex = {
            "server": self.server, "name": name, "url": self.config.plex_url, "libraries": chosen,
        }  # fmt: skip
        for key, value in ((LOCATIONS, folders), (PLEX, plex)):
            if self._history.get(key) != value:
                self._history.set(key, value)

    def _noted(self, library: Library) -> dict[str, object]:
        noted: dict[str, object] = {"key": library.key, "name": library.name}
        if library.has_foreign_agent:
            noted["agent"] = library.agent
            noted["is_legacy"] = library.has_legacy_agent
            noted["locks"] = self.config.lock_fields
        return noted

    def _known(self, libraries: list[Library]) -> list[Library]:
        """Leave out libraries that came after the first run: the user has not chosen them."""
        name = f"libraries of {self.server}"
        keys = self._history.get(name, [])
        if keys and not libraries:  # Plex is starting up, or something answers in its place
            raise PlexListingError("it shows none of the libraries that it had")
        if not keys and libraries:
            keys = [library.key for library in libraries]
            self._history.set(name, keys)
        self.offered = [library for library in libraries if library.key not in keys]
        return [library for library in libraries if library.key in keys]

    @property
    def keys(self) -> list[int]:
        """The keys of the chosen libraries, as they were last read."""
        return [library.key for library in self._libraries]

    @property
    def places(self) -> Places:
        """Where the files of Stash and of the chosen libraries are."""
        config = self.config
        folders = {library.key: library.locations for library in self._libraries}
        return Places(config.path_mappings, config.stash_folders, folders)

    def choose(self, files: Sequence[MediaFile]) -> Chosen:
        """Return the items that may have a scene's files, by the index alone."""
        return choose(self.index, files, self.places)

    def read_ahead(self, scenes: Iterable[Sequence[MediaFile]]) -> None:
        """Read the items of several scenes in one request, where the index leaves no doubt.

        Args:
            scenes: the files of each scene.

        Raises:
            SettingsError, PlexTemporaryError, PlexPermanentError
        """
        self.libraries()
        found = [chosen.keys for chosen in map(self.choose, scenes) if chosen.is_certain]
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
            files,
            self.places,
            fresh_for=timing.name_fresh,
            read_before=self._ahead,
        )
        now = self._env.monotonic()
        for item in match.items:
            # A second edit in the same batch reads the item again.
            is_ahead = self._ahead.pop(item.rating_key, None) is item
            self._note_read([item], self._ahead_read_at if is_ahead else now)
        return match

    def renewed(self, item: PlexItem) -> PlexItem:
        """Return an item as it was last read; as it is now, if that is too long ago to write it.

        Raises:
            PlexNotFound: the item is gone, or has other files.
            PlexTemporaryError, PlexPermanentError
        """
        latest, read_at = self._fresh.get(item.rating_key, (item, float("-inf")))
        if self._env.monotonic() - read_at >= self._env.timing.item_fresh:
            return self.read_again(item)
        return _checked(latest, item)

    def forget_reads(self) -> None:
        """Read all items again before they are written: a collection has just been renamed."""
        self._ahead = {}
        with self._noting:
            self._fresh = {}

    def read_again(self, item: PlexItem) -> PlexItem:
        """Return an item as it is now.

        Raises:
            PlexNotFound: the item is gone, or has other files.
            PlexTemporaryError, PlexPermanentError
        """
        now = self._env.monotonic()
        found = self.client().fetch_items([item.rating_key])
        self._note_read(found, now)
        return _checked(found[0] if found else None, item)

    def _note_read(self, items: Iterable[PlexItem], read_at: float) -> None:
        """Note items that were read, and forget those that are not fresh any more."""
        oldest = self._env.monotonic() - self._env.timing.item_fresh
        with self._noting:
            known = {key: one for key, one in self._fresh.items() if one[1] > oldest}
            self._fresh = known | {item.rating_key: (item, read_at) for item in items}

    def write(
        self, item: PlexItem, edits: Edits, *, is_last_attempt: bool = False
    ) -> dict[str, PlexRefusal]:
        """Send edits of an item's texts and lists, in as few requests as possible.

        If Plex refuses a request, its fields are sent one by one.

        Args:
            is_last_attempt: a field that fails alone (500) while others are taken is refused, too.

        Returns:
            Field → why Plex refuses it.
        """
        refusals = {*REFUSALS_OF_A_VALUE, *([FAILURE_OR_BAD_DATA] if is_last_attempt else ())}
        refused: dict[str, PlexRefusal] = {}
        with self._noting:  # after this the item has other values than those read
            self._fresh.pop(item.rating_key, None)
        for parameters in encode_edits(item, edits):
            refused.update(self._send(item, parameters, refusals))
        if len(refused) == len(edits.changes):  # then it may be Plex itself that fails
            for error in refused.values():
                if isinstance(error, PlexTemporaryError):
                    raise error
        return refused

    def _send(
        self, item: PlexItem, parameters: Parameters, refusals: Container[int | None]
    ) -> dict[str, PlexRefusal]:
        """Send one request, or its fields one by one if it is refused; return refused fields."""
        try:
            self.client().edit(item, parameters)
        except (PlexPermanentError, PlexTemporaryError) as error:
            if error.status not in refusals:
                raise
            fields = by_field(parameters)
            if len(fields) == 1:
                return dict.fromkeys(fields, error)
            refused: dict[str, PlexRefusal] = {}
            for alone in fields.values():
                refused.update(self._send(item, alone, refusals))
            return refused
        return {}

    def read(self, rating_keys: Sequence[int]) -> list[PlexItem]:
        """Read items whole, in one request, and note in the index what they say."""
        now = self._env.monotonic()
        items = self.client().fetch_items(rating_keys)
        self._note_read(items, now)
        self.index.note_read(items)
        return items

    def read_changed(self, rating_keys: Sequence[int]) -> None:
        """Read items that may be new, changed or gone; the index learns what is so.

        Raises:
            PlexTemporaryError, PlexPermanentError
        """
        items: list[PlexItem] = []
        for start in range(0, len(rating_keys), _READ_AT_ONCE):
            items += self.client().fetch_items(rating_keys[start : start + _READ_AT_ONCE])
        self.index.learn(item for item in items if item.library_key in self.keys)
        gone = set(rating_keys).difference(item.rating_key for item in items)
        if gone:
            self.index.remove(gone)
        self.index.changed.update(item.rating_key for item in items)

    def vocabulary(self, kind: str) -> frozenset[str]:
        """Return the names of a kind of tag that the chosen libraries have, as Plex compares them.

        Args:
            kind: "genre", "actor" or "collection".
        """
        names: set[str] = set()
        for key in self.keys:
            root = self.client().get(f"/library/sections/{key}/{kind}")
            names.update(fold(one.get("title") or "") for one in root)
        return frozenset(names)

    def request_scan(self, file: MediaFile) -> None:
        """Ask Plex to scan the folder of a missing file, if the settings say so.

        Once an hour for a file. A folder is scanned at once, or as soon as its last scan was asked
        for some seconds ago: that one may have gone past the file.
        """
        if not self.config.trigger_plex_scan:
            return
        path = map_path(file.path, self.config.path_mappings)[0]
        folder, now = path.rpartition("/")[0], self._env.monotonic()
        if now - self._scanned_for.get(path, float("-inf")) < SCAN_AGAIN:
            return
        for library in self._libraries:
            written = _as_plex_writes(library, folder)
            if written is not None:  # outside of its locations Plex answers 200, and does nothing
                self._scans_left[folder] = (library, written)
                if self._scan_in(folder) <= 0:
                    self._scan(folder)
                _remember(self._scanned_for, path, now)
                return

    def scan_due_in(self) -> float:
        """Return seconds until a scan that had to wait may be asked for; infinite: none has."""
        return min(map(self._scan_in, self._scans_left), default=float("inf"))

    def run_scan(self) -> None:
        """Ask for the scan that is due first.

        Raises:
            PlexTemporaryError, PlexPermanentError, PlexNotFound
        """
        if self._scans_left:
            self._scan(min(self._scans_left, key=self._scan_in))

    def _scan_in(self, folder: str) -> float:
        last = self._scanned_at.get(folder, float("-inf"))
        return max(0.0, last + self._env.timing.scan_rest - self._env.monotonic())

    def _scan(self, folder: str) -> None:
        library, written = self._scans_left.pop(folder)
        _remember(self._scanned_at, folder, self._env.monotonic())
        try:
            self.client().scan(library, written)
        except PLEX_ERRORS:
            self._forget_scan(folder)
            raise
        log.info("Plex was asked to scan %s", folder)

    def _forget_scan(self, folder: str) -> None:
        """Let the next attempt at a file of a folder ask for its scan again."""
        for path in [one for one in self._scanned_for if one.rpartition("/")[0] == folder]:
            del self._scanned_for[path]


def _checked(latest: PlexItem | None, item: PlexItem) -> PlexItem:
    """Return an item as it was read later.

    Raises:
        PlexNotFound: it is gone, or has other files.
    """
    if latest is None or latest.paths != item.paths:
        raise PlexNotFound(f"the item {item.title!r} in Plex has just changed")
    return latest


def _remember(times: dict[str, float], name: str, now: float) -> None:
    """Note a time; the oldest ones are forgotten."""
    times.pop(name, None)
    times[name] = now
    if len(times) > _MOST_SCANNED:
        del times[next(iter(times))]


def _as_plex_writes(library: Library, folder: str) -> str | None:
    """Return a normalized folder with the library's own slashes; None: it is not in the library."""
    for location in library.locations:
        top = normalize(location).rstrip("/")
        if folder == top or folder.startswith(f"{top}/"):
            rest = folder[len(top) :]
            start = location.rstrip("/\\")
            return start + (rest.replace("/", "\\") if "\\" in location else rest)
    return None
