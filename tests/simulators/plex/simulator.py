"""`PlexSimulator`: libraries, their endpoints and the server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from tests.simulators.httpd import Faults, RequestLog, SimulatedServer
from tests.simulators.plex.backups import Backup, Order, backup, rebuild, restore
from tests.simulators.plex.behaviour import Behaviour
from tests.simulators.plex.edits import IndexedTags
from tests.simulators.plex.notifications import NO_AGENT, Notifications
from tests.simulators.plex.person import Person
from tests.simulators.plex.records import (
    DiskFile,
    Media,
    PlexCollection,
    PlexItem,
    PlexLibrary,
    Upload,
    Write,
)
from tests.simulators.plex.routes import Routes
from tests.simulators.plex.scans import Scanner
from tests.simulators.plex.state import PlexState, folded
from tests.simulators.plex.versions import add_version, merge, split


class PlexSimulator:
    """A Plex Media Server for tests.

    Start it (`with PlexSimulator(...) as plex:`), add libraries and items, and point a client at
    `url`. `settings` can be changed while it runs: tokens, `starting_up`, `indexed_tags` and so on.
    """

    def __init__(
        self,
        *,
        token: str = "plex-token",
        friendly_name: str = "Simulated Plex",
        machine_identifier: str = "0123456789abcdef0123456789abcdef01234567",
        version: str = "1.41.5.9522-a96edc606",
        indexed_tags: IndexedTags = "replace",
        lock_on_edit: bool = False,
        skip_unknown_ids: bool = False,
        max_page: int | None = None,
        max_request_line: int = 32_768,
        scan_delay: float = 0.05,
        clock: Callable[[], float] = time.time,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.token = token
        self.settings = Behaviour(
            friendly_name=friendly_name,
            machine_identifier=machine_identifier,
            version=version,
            valid_tokens={token},
            indexed_tags=indexed_tags,
            lock_on_edit=lock_on_edit,
            skip_unknown_ids=skip_unknown_ids,
            max_page=max_page,
            max_request_line=max_request_line,
        )
        self._state = PlexState(clock)
        self._scanner = Scanner(self._state, scan_delay)
        self._person = Person(self._state, self.settings)
        routes = Routes(self._state, self._scanner, self.settings)
        # The real server closes connections that were idle for 20 seconds.
        self.server = SimulatedServer(
            routes.handle, host=host, port=port, name="plex", idle_timeout=20.0
        )

    # -- the server --

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def log(self) -> RequestLog:
        return self.server.log

    @property
    def faults(self) -> Faults:
        return self.server.faults

    @property
    def valid_tokens(self) -> set[str]:
        return self.settings.valid_tokens

    @property
    def shared_tokens(self) -> set[str]:
        return self.settings.shared_tokens

    @property
    def starting_up(self) -> bool:
        return self.settings.starting_up

    @starting_up.setter
    def starting_up(self, value: bool) -> None:
        self.settings.starting_up = value

    @property
    def machine_identifier(self) -> str:
        return self.settings.machine_identifier

    def start(self) -> None:
        self.server.start()

    def stop(self) -> None:
        self.server.stop()
        self._scanner.cancel()

    def __enter__(self) -> PlexSimulator:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def events(self) -> Notifications:
        """The event streams: what they are told, and their faults."""
        return self._state.notifications

    # -- libraries and items --

    def add_library(
        self,
        title: str,
        locations: Sequence[str] = (),
        *,
        type: str = "movie",
        agent: str = NO_AGENT,
    ) -> PlexLibrary:
        with self._state.lock:
            return self._state.add_library(title, locations, type, agent)

    @property
    def libraries(self) -> list[PlexLibrary]:
        with self._state.lock:
            return list(self._state.libraries.values())

    def rename_library(self, library: PlexLibrary, title: str) -> None:
        with self._state.lock:
            library.title = title
            library.updated_at = self._state.now()
            self._state.touch_library(library)

    def add_item(
        self,
        library: PlexLibrary,
        path: str,
        *,
        size: int = 1_000_000,
        title: str | None = None,
        summary: str = "",
        studio: str | None = None,
        year: int | None = None,
        originally_available_at: str | None = None,
        genres: Iterable[str] = (),
        actors: Iterable[str] = (),
        directors: Iterable[str] = (),
        writers: Iterable[str] = (),
        producers: Iterable[str] = (),
        countries: Iterable[str] = (),
        collections: Iterable[str] = (),
        labels: Iterable[str] = (),
        values: Mapping[str, object] | None = None,
        locked: Iterable[str] = (),
        guids: Iterable[str] = (),
        parts: Iterable[str] = (),
        versions: Iterable[str] = (),
        duration: int = 1_200_000,
        added_at: float | None = None,
        agent_metadata: Mapping[str, object] | None = None,
        rating_key: int | None = None,
        own_art: bool = True,
    ) -> PlexItem:
        """Add an item and its files on the disk.

        `parts` are further files of the same version (CD2 …), `versions` are further versions of
        one file each, `values` are other fields by Plex's names, `agent_metadata` is the metadata
        that a refresh brings, `rating_key` is by default the next free one, and `own_art` says
        whether Plex made a background itself.
        """
        fields = {
            "title": title,
            "summary": summary,
            "studio": studio,
            "year": year,
            "originallyAvailableAt": originally_available_at,
        }
        tags = {
            "genre": genres,
            "actor": actors,
            "director": directors,
            "writer": writers,
            "producer": producers,
            "country": countries,
            "collection": collections,
            "label": labels,
        }
        files = [[path, *parts], *([version] for version in versions)]
        with self._state.lock:
            now = self._state.now()
            item = self._state.add_item(
                library,
                [[(file, size) for file in version] for version in files],
                values={k: v for k, v in fields.items() if v is not None} | dict(values or {}),
                tags={kind: names for kind, names in tags.items() if names},
                added_at=now if added_at is None else int(added_at),
                duration=duration,
                agent_metadata=agent_metadata or {},
                guids=tuple(guids),
                rating_key=rating_key,
            )
            item.locked |= set(locked)
            item.own_art = own_art
            for file in item.paths:
                self._state.files.setdefault(
                    file, DiskFile(size, item.added_at, item.agent_metadata)
                )
            self._state.processed(item)
            return item

    def add_items(
        self, library: PlexLibrary, paths: Iterable[str], **common: object
    ) -> list[PlexItem]:
        """Add an item for each path; the keywords of `add_item` apply to each."""
        with self._state.lock:
            return [self.add_item(library, path, **common) for path in paths]  # type: ignore[arg-type]

    def item(self, rating_key: int) -> PlexItem:
        """Return the item with this key, or raise KeyError."""
        with self._state.lock:
            self._state.catch_up()
        return self._state.items[rating_key]

    def items(self, library: PlexLibrary) -> list[PlexItem]:
        with self._state.lock:
            return list(library.items.values())

    def find(self, path: str) -> PlexItem | None:
        """Return the item of this file; the first one if several libraries hold it."""
        with self._state.lock:
            return next(iter(self._state.at_path(path)), None)

    def collection(self, library: PlexLibrary, name: str) -> PlexCollection | None:
        """Return a library's collection, without regard to ASCII case."""
        with self._state.lock:
            return library.collections.get(folded(name))

    def collections(self, library: PlexLibrary) -> list[str]:
        with self._state.lock:
            return [name for _, name in self._state.vocabulary(library, "collection")]

    def remove_item(self, rating_key: int) -> None:
        """Remove an item and its files."""
        with self._state.lock:
            item = self._state.items[rating_key]
            self._state.remove_item(item)
            for path in item.paths:
                if not self._state.at_path(path):
                    self._state.files.pop(path, None)

    def move_file(self, rating_key: int, new_path: str) -> None:
        """Move an item's first file; Plex keeps the item."""
        with self._state.lock:
            item = self._state.items[rating_key]
            part = item.parts[0]
            self._state.files[new_path] = self._state.files.pop(part.file)
            self._state.move_part(item, part, new_path)

    def replace_item(self, path: str) -> PlexItem:
        """Drop and re-add the item of this file: same path, new key, no edits."""
        with self._state.lock:
            old = self._state.at_path(path)[0]
            self._state.remove_item(old)
            new = self._state.add_item(
                old.library,
                [[(part.file, part.size) for part in media.parts] for media in old.media],
                values={},
                tags={},
                added_at=old.added_at,
                duration=old.parts[0].duration,
                agent_metadata=old.agent_metadata,
            )
            self._state.processed(new)
            return new

    def add_version(self, rating_key: int, path: str, *, size: int = 1_000_000) -> Media:
        """Add a version of one file to an item, and the file to the disk.

        A file in a folder of `Plex Versions` is marked as optimized by Plex.
        """
        with self._state.lock:
            item = self._state.items[rating_key]
            file = DiskFile(size, self._state.now(), item.agent_metadata)
            self._state.files.setdefault(path, file)
            return add_version(self._state, item, path, size)

    # -- the database as a whole --

    def backup(self) -> Backup:
        """Take a backup of the database: libraries and items with all that they hold."""
        with self._state.lock:
            return backup(self._state)

    def restore(self, saved: Backup) -> None:
        """Put an older database back: items, edits, posters and `updatedAt` as they were then."""
        with self._state.lock:
            restore(self._state, saved)

    def rebuild(
        self, *, machine_identifier: str | None = None, order: Order | None = None
    ) -> dict[str, PlexItem]:
        """Put a new database in place: no edits, and rating keys now mean other files.

        Args:
            machine_identifier: another server at the same address; default: the same server.
            order: from the old items to the order in which they take the old keys; default: each
                takes the key of the one before it, so that no key keeps its file.

        Returns:
            The new items by path.
        """
        with self._state.lock:
            if machine_identifier is not None:
                self.settings.machine_identifier = machine_identifier
            return rebuild(self._state, order)

    # -- the disk, scans and refreshes --

    @property
    def files(self) -> dict[str, DiskFile]:
        """Return the files on the server's disk, by path."""
        return self._state.files

    def add_file(
        self,
        path: str,
        size: int = 1_000_000,
        *,
        modified_at: float | None = None,
        agent_metadata: Mapping[str, object] | None = None,
    ) -> None:
        """Add a file that the next scan turns into an item."""
        with self._state.lock:
            stamp = self._state.now() if modified_at is None else int(modified_at)
            self._state.files[path] = DiskFile(size, stamp, agent_metadata or {})

    def remove_file(self, path: str) -> None:
        """Remove a file; its item stays until the next scan."""
        with self._state.lock:
            del self._state.files[path]

    @property
    def scan_delay(self) -> float:
        return self._scanner.delay

    @scan_delay.setter
    def scan_delay(self, seconds: float) -> None:
        self._scanner.delay = seconds

    def scan(self, library: PlexLibrary, path: str | None = None) -> None:
        """Start a scan as a client or Plex would; `settle` waits for its end."""
        self._scanner.request_scan(library, path)

    def run_next_steps(self) -> None:
        """Let each waiting scan and refresh carry out its next step now, whatever the delay."""
        self._scanner.run_next_steps()

    def settle(self, timeout: float = 240.0) -> bool:
        """Wait until all scans and refreshes have ended; return False on a timeout."""
        return self._scanner.wait_until_idle(timeout)

    def refresh_item(self, rating_key: int) -> None:
        """Refresh an item's metadata at once; overwrite the fields that are not locked."""
        with self._state.lock:
            item = self._state.items[rating_key]
            self._state.refresh(item)
            self._state.processed(item)

    def touch_item(self, rating_key: int) -> None:
        """Have the server process an item again, of which nothing but its `updatedAt` changes."""
        with self._state.lock:
            self._state.touch(self._state.items[rating_key])

    # -- changes by a person in Plex's web app: locked, and never in `writes` or `uploads` --

    def person_sets(self, rating_key: int, name: str, value: object) -> None:
        """Set a field by Plex's name; None and "" clear. Only userRating is not locked."""
        with self._state.lock:
            self._person.sets(self._state.items[rating_key], name, value)

    def person_adds(self, rating_key: int, kind: str, tag: str) -> None:
        """Add a tag behind the others; `kind` is "genre", "collection", "actor" and so on."""
        with self._state.lock:
            self._person.adds(self._state.items[rating_key], kind, tag)

    def person_removes(self, rating_key: int, kind: str, tag: str) -> None:
        """Remove a tag, or raise ValueError if the item does not have it."""
        with self._state.lock:
            self._person.removes(self._state.items[rating_key], kind, tag)

    def person_selects_poster(self, rating_key: int, data: bytes) -> None:
        """Upload a poster, which selects it."""
        with self._state.lock:
            self._person.selects_poster(self._state.items[rating_key], data)

    def person_selects_art(self, rating_key: int, data: bytes) -> None:
        """Upload a background, which selects it."""
        with self._state.lock:
            self._person.selects_poster(self._state.items[rating_key], data, "art")

    def edit_collection(
        self,
        collection: PlexCollection,
        *,
        summary: str | None = None,
        title_sort: str | None = None,
        poster: bytes | None = None,
        title: str | None = None,
    ) -> None:
        """Edit a collection; "" clears a text. A taken title raises TakenNameError."""
        texts = {"summary": summary, "titleSort": title_sort, "title": title}
        values = {name: text for name, text in texts.items() if text is not None}
        with self._state.lock:
            self._person.edits_collection(collection, values, poster)

    def merge_items(self, rating_key: int, others: Sequence[int]) -> PlexItem:
        """Merge items: the first keeps its key and metadata and gets the others' versions."""
        with self._state.lock:
            item = self._state.items[rating_key]
            merge(self._state, item, [self._state.items[key] for key in others])
            return item

    def split_item(self, rating_key: int) -> list[PlexItem]:
        """Split an item into one for each version.

        The first of them keeps the rating key and the metadata; the new ones have no edits, and
        the title is the file name.
        """
        with self._state.lock:
            return split(self._state, self._state.items[rating_key])

    # -- changes by clients --

    @property
    def writes(self) -> list[Write]:
        """Return the edits and ratings, one record for each edited item."""
        return self._state.writes

    @property
    def ignored_writes(self) -> list[Write]:
        """Return what `settings.ignored` kept from being carried out."""
        return self._state.ignored_writes

    @property
    def collection_writes(self) -> list[Write]:
        """Return the edits of collections, one record for each edited collection."""
        return self._state.collection_writes

    @property
    def collection_uploads(self) -> list[Upload]:
        """Return the posters that clients uploaded for collections."""
        return self._state.collection_uploads

    @property
    def art_uploads(self) -> list[Upload]:
        """Return the backgrounds that clients uploaded for items."""
        return self._state.art_uploads

    @property
    def uploads(self) -> list[Upload]:
        return self._state.uploads
