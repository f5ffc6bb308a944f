"""Plex without Stash or a worker: find and write items with the worker's tools."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

from common.media import MediaFile
from history.store import History
from plex.client import PlexClient
from plex.desired import Switches
from plex.fit import Places
from plex.index import FileIndex
from plex.items import Library, PlexItem
from plex.matcher import MatchConfidence, find_items
from plex.plan import Edits, Intent
from plex.session import PlexSession
from stash.client import StashClient
from stash.records import Cover, Scene
from tests.harness.base import PLEX_FOLDER, STASH_FOLDER
from tests.harness.clock import FakeClock
from tests.simulators.plex import PlexLibrary, PlexSimulator
from validation.config import PlexSyncConfig, validate_config
from validation.metadata import SyncMetadata
from worker.job_runner import JobRunner
from worker.reporter import NullReporter
from worker.target import SyncTarget, Written


def metadata_of(**fields: Any) -> SyncMetadata:
    """Return a scene's metadata; by default scene 1 at /data/a/One.mp4."""
    return SyncMetadata.model_validate({"scene_id": 1, "path": "/data/a/One.mp4", **fields})


class Covers:
    """Returns one cover, in place of Stash."""

    def __init__(self) -> None:
        self.picture: bytes | None = None

    def fetch_cover(self, scene: Scene, etag: str = "") -> Cover:
        return Cover(self.picture)


def config_for(switches: Switches, plex: PlexSimulator) -> PlexSyncConfig:
    """Return the settings with these switches."""
    values = dataclasses.asdict(switches)
    settings: dict[str, Any] = {
        "lock_fields": values.pop("lock"),
        "preserve_plex_edits": values.pop("preserve"),
        "repair_drift": values.pop("repair"),
        "replace_lists": values.pop("replace_lists"),
        **{f"sync_{name}": value for name, value in values.items()},
    }
    config, problem = validate_config({"plex_url": plex.url, "plex_token": plex.token, **settings})
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
    created_at="2026-01-01T00:00:00Z",
    updated_at="2026-01-01T00:00:00Z",
    studio="",
    performers=(),
    tags=(),
    groups=(),
    files=(),
    cover="/scene/1/screenshot?t=1",
)


class PlexHarness:
    """A worker's tools without the worker: client, index and write history, on one library."""

    def __init__(
        self,
        plex: PlexSimulator,
        clock: FakeClock,
        client: PlexClient,
        index: FileIndex,
        history: History,
    ) -> None:
        self.plex = plex
        self.clock = clock
        self.client = client
        self.index = index
        self.history = history
        self.library: PlexLibrary = plex.add_library("Scenes", [PLEX_FOLDER])
        self.stash_folders: Sequence[str] = [STASH_FOLDER, "/stash"]
        self._sections: list[Library] | None = None
        self._covers = Covers()
        self._session = PlexSession(index, clock, history=history)
        self._runner = JobRunner(
            self._session, cast(StashClient, self._covers), history, NullReporter(), clock
        )

    @property
    def sections(self) -> list[Library]:
        """Return the libraries; read them once."""
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
        mappings: Sequence[tuple[str, str]] = ((STASH_FOLDER, PLEX_FOLDER),),
        others: Sequence[tuple[str, int | None]] = (),
        indexed: bool = True,
    ) -> tuple[MatchConfidence, int | None, list[int]]:
        """Return (confidence, rating key or None, the candidates' rating keys)."""
        files = [MediaFile(path, size), *(MediaFile(*other) for other in others)]
        index = self.index if indexed else FileIndex()
        folders = {library.key: library.locations for library in self.sections}
        places = Places(mappings, self.stash_folders, folders)
        found = find_items(self.client, index, files, places)
        keys = [item.rating_key for item in found.items]
        if found.is_certain:
            return MatchConfidence.HIGH, keys[0], keys
        return MatchConfidence.LOW, None, keys

    def item(self, rating_key: int) -> Any:
        """Read a plexapi item from the server."""
        return self.client.server.fetchItem(rating_key)

    def read(self, rating_key: int) -> PlexItem:
        """Read the current values of an item."""
        (item,) = self.client.fetch_items([rating_key])
        return item

    def sync(
        self,
        rating_key: int,
        *,
        switches: Switches | None = None,
        intent: Intent | None = None,
        cover: bytes | None = None,
        **fields: Any,
    ) -> Written:
        """Write scene 1 to an item as the worker does for a saved scene, with its history."""
        switches = switches or Switches()
        self._configure(switches)
        (item,) = self._session.read([rating_key])
        self._covers.picture = cover
        scene = dataclasses.replace(SCENE, cover=SCENE.cover if cover is not None else "")
        target = SyncTarget(
            (item,), metadata_of(**fields), scene, self.clock.time(), switches,
            intent or Intent(saved=True), tuple(self.history.of_scene(scene.id)),
        )  # fmt: skip
        return self._runner.write(target)

    def write(self, item: PlexItem, *, switches: Switches | None = None, **fields: Any) -> Edits:
        """Write texts and lists of a saved scene to an item that was read before."""
        self._configure(switches or Switches())
        return self._runner.write_fields(item, metadata_of(**fields))

    def _configure(self, switches: Switches) -> None:
        self._session._config = config_for(switches, self.plex)
        self._session.use(self.client)
        self._session.identify()

    def forget(self) -> None:
        """Lose what is known of scene 1."""
        self.history.retire(row.id for row in self.history.of_scene(1))
