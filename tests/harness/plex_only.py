"""Plex alone: what the worker uses to find and write items, without Stash and without a worker."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from plex.client import PlexClient
from plex.edits import Edits, Switches
from plex.history import WriteHistory
from plex.index import FileIndex
from plex.matcher import MatchConfidence, find_plex_items_with_confidence
from plex.records import PlexItem, read_item
from plex.writer import upload_poster, wants_poster, write_item
from tests.harness.base import PLEX_FOLDER, STASH_FOLDER
from tests.harness.clock import FakeClock
from tests.simulators.plex import PlexLibrary, PlexSimulator
from validation.metadata import SyncMetadata


def metadata_of(**fields: Any) -> SyncMetadata:
    """Return a scene's metadata; by default scene 1 at /data/a/One.mp4."""
    return SyncMetadata.model_validate({"scene_id": 1, "path": "/data/a/One.mp4", **fields})


class PlexHarness:
    """A worker's tools without the worker: client, index and history, on one library of Plex."""

    def __init__(
        self,
        plex: PlexSimulator,
        clock: FakeClock,
        client: PlexClient,
        index: FileIndex,
        history: WriteHistory,
    ) -> None:
        self.plex = plex
        self.clock = clock
        self.client = client
        self.index = index
        self.history = history
        self.library: PlexLibrary = plex.add_library("Scenes", [PLEX_FOLDER])
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
        mappings: Sequence[tuple[str, str]] = ((STASH_FOLDER, PLEX_FOLDER),),
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

    def sync(
        self,
        rating_key: int,
        *,
        switches: Switches | None = None,
        cover: bytes | None = None,
        **fields: Any,
    ) -> Edits:
        """Write a scene to an item as the worker does: recall, write, remember."""
        metadata, how = metadata_of(**fields), switches or Switches()
        item = self.item(rating_key)
        remember = partial(self.history.remember, 1)
        edits = write_item(item, metadata, self.history.recall(1, rating_key), how, remember)
        written = self.history.recall(1, rating_key)
        if cover is not None and wants_poster(item, written, how):
            remember(upload_poster(item, cover, written))
        return edits
