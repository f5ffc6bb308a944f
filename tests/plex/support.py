"""What the tests of `plex` share: a clock that is moved by hand, a world with Plex and a client, short forms."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from hypothesis import HealthCheck, settings

from common.env import Env
from common.media import MediaFile
from common.sqlite import IN_MEMORY, connect
from plex.client import PlexClient
from plex.edits import Edits, Switches
from plex.history import WriteHistory
from plex.index import FileIndex
from plex.items import Library, PlexItem
from plex.matcher import MatchConfidence, find_items
from plex.session import PlexSession
from stash.client import StashClient
from stash.records import Cover, Scene
from tests.simulators.plex import PlexLibrary, PlexSimulator
from validation.config import PlexSyncConfig, validate_config
from validation.metadata import SyncMetadata
from worker.job_runner import JobRunner
from worker.reporter import NullReporter

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
        self._sections: list[Library] | None = None

    @property
    def sections(self) -> list[Library]:
        """The libraries, read once."""
        if self._sections is None:
            self._sections = self.client.libraries()
        return self._sections

    @property
    def section_ids(self) -> list[int]:
        return [library.key for library in self.sections]

    def refresh(self) -> bool:
        return self.index.refresh(self.client, self.section_ids)

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
        files = [MediaFile(path, size), *(MediaFile(*other) for other in others)]
        index = self.index if indexed else FileIndex()
        found = find_items(self.client, index, self.section_ids, files, mappings)
        keys = [item.rating_key for item in found.items]
        certain = len(keys) == 1
        confidence = MatchConfidence.HIGH if certain else MatchConfidence.LOW
        return confidence, keys[0] if certain else None, keys

    def item(self, rating_key: int) -> Any:
        """A plexapi item, read anew."""
        return self.client.server.fetchItem(rating_key)

    def read(self, rating_key: int) -> PlexItem:
        """What Plex has now."""
        (item,) = self.client.fetch_items([rating_key])
        return item


class Covers:
    """Stands where Stash would: it hands out one cover."""

    def __init__(self) -> None:
        self.picture: bytes | None = None

    def fetch_cover(self, scene: Scene) -> Cover:
        return Cover(self.picture)


class Scribe:
    """Writes scene 1 to items as the worker does: read the history, write, keep what was written."""

    def __init__(self, world: World, history: WriteHistory) -> None:
        self.world = world
        self.history = history
        self.covers = Covers()
        self.session = PlexSession(world.index, Env())
        self.runner = JobRunner(
            self.session, cast(StashClient, self.covers), history, NullReporter()
        )

    def sync(
        self,
        rating_key: int,
        *,
        switches: Switches | None = None,
        cover: bytes | None = None,
        **fields: Any,
    ) -> Edits:
        item = self.world.read(rating_key)
        edits = self.write(item, switches=switches, **fields)
        if cover is not None:
            self.covers.picture = cover
            written = self.history.get(1, rating_key)
            self.runner._write_poster(item, SCENE, written, switches or Switches())
        return edits

    def write(self, item: PlexItem, *, switches: Switches | None = None, **fields: Any) -> Edits:
        self.session._config = config_for(switches or Switches(), self.world.plex.url)
        self.session.use(self.world.client)
        return self.runner.write_fields(item, scene(**fields))


def config_for(switches: Switches, url: str) -> PlexSyncConfig:
    """The settings that stand for switches."""
    values = dataclasses.asdict(switches)
    settings: dict[str, Any] = {
        "lock_fields": values.pop("lock"),
        "preserve_plex_edits": values.pop("preserve"),
        **{f"sync_{name}": value for name, value in values.items()},
    }
    config, problem = validate_config({"plex_url": url, "plex_token": TOKEN, **settings})
    assert config is not None, problem
    return config


SCENE = Scene(
    id=1,
    title="",
    details="",
    date=None,
    director="",
    rating100=None,
    organized=False,
    updated_at="2026-01-01T00:00:00Z",
    studio="",
    performers=(),
    tags=(),
    groups=(),
    files=(),
    cover="/scene/1/screenshot?t=1",
)
