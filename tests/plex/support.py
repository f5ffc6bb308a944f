"""What the tests of `plex` share: a clock that is moved by hand, a world with Plex and a client, short forms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

from common.sqlite import IN_MEMORY, connect
from plex.client import PlexClient
from plex.edits import Edits, Switches
from plex.history import WriteHistory
from plex.index import FileIndex
from plex.matcher import MatchConfidence, find_plex_items_with_confidence
from plex.records import PlexItem, read_item
from plex.writer import upload_poster, wants_poster, write_item
from tests.simulators.plex import PlexLibrary, PlexSimulator
from validation.metadata import SyncMetadata

TOKEN = "tok-1234567890abcdef"
MAPPINGS = (("/data", "/media"),)
PROPERTY = settings(
    deadline=None,
    database=None,
    derandomize=True,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


class Clock:
    """Plex's clock: it stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def tick(self, seconds: float = 10.0) -> None:
        self.now += seconds


class Naps:
    """A sleep that does not sleep and remembers for how long."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@contextmanager
def open_index(path: Path | None = None) -> Iterator[FileIndex]:
    connection = connect(IN_MEMORY if path is None else str(path))
    try:
        yield FileIndex(connection)
    finally:
        connection.close()


def requests_of(plex: PlexSimulator) -> list[tuple[str, str]]:
    return [(exchange.request.method, exchange.request.path) for exchange in plex.log.all()]


def scene(**fields: Any) -> SyncMetadata:
    """A scene's metadata; by default scene 1 at /data/a/One.mp4."""
    return SyncMetadata.model_validate({"scene_id": 1, "path": "/data/a/One.mp4", **fields})


class World:
    """Plex with one library, a client, an index and a memory: a worker's tools without the worker."""

    def __init__(
        self, plex: PlexSimulator, clock: Clock, client: PlexClient, index: FileIndex
    ) -> None:
        self.plex = plex
        self.clock = clock
        self.client = client
        self.index = index
        self.scenes: PlexLibrary = plex.add_library("Scenes", ["/media"])
        self._sections: list[Any] | None = None

    @property
    def sections(self) -> list[Any]:
        """The sections, read once."""
        if self._sections is None:
            self._sections = self.client.libraries()
        return self._sections

    @property
    def section_ids(self) -> list[int]:
        return [int(section.key) for section in self.sections]

    def refresh(self) -> bool:
        return self.index.refresh(self.client.server, self.section_ids)

    def find(
        self,
        path: str,
        size: int | None = None,
        *,
        mappings: Sequence[tuple[str, str]] = MAPPINGS,
        others: Sequence[tuple[str, int | None]] = (),
        indexed: bool = True,
    ) -> tuple[MatchConfidence, int | None, list[int]]:
        """Return (confidence, rating key or None, the candidates' rating keys)."""
        confidence, item, candidates = find_plex_items_with_confidence(
            self.sections,
            path,
            mappings,
            size,
            other_files=others,
            index=self.index if indexed else None,
        )
        keys = [int(each.ratingKey) for each in candidates]
        return confidence, None if item is None else int(item.ratingKey), keys

    def item(self, rating_key: int) -> Any:
        """A plexapi item, read anew."""
        return self.sections[0].fetchItem(rating_key)

    def read(self, rating_key: int) -> PlexItem:
        """What plexapi reads back."""
        return read_item(self.item(rating_key))


class Scribe:
    """Writes scenes to items as the worker does: recall, write, remember."""

    def __init__(self, world: World, memory: WriteHistory) -> None:
        self.world = world
        self.memory = memory

    def sync(
        self,
        rating_key: int,
        *,
        switches: Switches | None = None,
        cover: bytes | None = None,
        **fields: Any,
    ) -> Edits:
        metadata, how = scene(**fields), switches or Switches()
        item = self.world.item(rating_key)
        remember = partial(self.memory.remember, 1)
        edits = write_item(item, metadata, self.memory.recall(1, rating_key), how, remember)
        written = self.memory.recall(1, rating_key)
        if cover is not None and wants_poster(item, written, how):
            remember(upload_poster(item, cover, written))
        return edits


def forgetful(written: object) -> None:
    """Remembers nothing."""
