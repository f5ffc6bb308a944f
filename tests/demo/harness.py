"""The demo's harness: samples on both servers, in a temp folder."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from tests.demo.catalogue import ALL, PLEX_FOLDER, STASH_FOLDER, TWIN, UNSCANNED, Sample
from tests.harness.compare import differences, in_stash
from tests.harness.installation import ProcessHarness
from tests.harness.results import jobs_left
from tests.simulators.plex import PlexItem, PlexSimulator
from tests.simulators.stash import HookRun, SaveResult

#: Durations are a hundred times shorter: a minute until Plex is asked again becomes 0.6 s.
TIME_SCALE = 0.01
_WEEK = 7 * 86_400.0

Prepare = Callable[[PlexSimulator], object]


class State(Enum):
    """The sync state of one scene."""

    UNTOUCHED = "not saved yet"
    WAITING = "waiting"
    IN_SYNC = "in sync"
    REVIEW = "for review"


@dataclass(frozen=True)
class Snapshot:
    """The figures of the status display."""

    states: tuple[State, ...]
    plex: str
    queued: int

    def count(self, state: State) -> int:
        return self.states.count(state)


class DemoHarness(ProcessHarness):
    """Samples on both servers, the user's actions on them, and their current state."""

    def __init__(self, folder: Path, *, stash_options: Mapping[str, Any] | None = None) -> None:
        super().__init__(
            folder,
            stash_options=stash_options,
            token="demo-token",
            env={"PLEXSYNC_TIME_SCALE": str(TIME_SCALE), "PLEXSYNC_IDLE_TIMEOUT": "30"},
            library="Films",
            plex_folder=PLEX_FOLDER,
            settings={
                "path_mappings": f"{STASH_FOLDER} => {PLEX_FOLDER}",
                "poll_interval": "0.2",
                "plex_events": True,
            },
        )
        self.ids: dict[Sample, int] = {}
        self.saved: set[Sample] = set()
        self.own_tags: dict[Sample, str] = {}
        self.hooks: list[HookRun] = []

    def fill(self) -> None:
        """Add the same files on both sides: in Stash as scanned, in Plex with its own data."""
        family = self.plex.add_library("Family", locations=[os.path.dirname(TWIN.plex_path)])
        scanned = time.time() - _WEEK
        for sample in ALL:
            if sample is not UNSCANNED:
                agent = {"summary": "No description available."}
                for library in (self.library, family) if sample is TWIN else (self.library,):
                    self.plex.add_item(
                        library, sample.plex_path, size=sample.size, agent_metadata=agent
                    )
            self.ids[sample] = self.stash.add_scene(
                files=[(sample.stash_path, sample.size)], created_at=scanned, updated_at=scanned
            ).id

    # --- user actions

    def save_sample(self, sample: Sample, **fields: object) -> SaveResult:
        """Save a sample on the edit page."""
        self.saved.add(sample)
        return self.stash.save_scene(self.ids[sample], **(fields or sample.edit()))

    def save_tagged(self, samples: Sequence[Sample]) -> SaveResult:
        """Save samples in the tagger."""
        self.saved.update(samples)
        return self.stash.tagger_save(
            [{"id": self.ids[sample], **sample.edit()} for sample in samples]
        )

    def add_tag(self, samples: Sequence[Sample], name: str) -> SaveResult:
        """Add a tag in the bulk edit dialog."""
        tag = {"ids": [str(self.stash.library.tags.id_of(name))], "mode": "ADD"}
        return self.stash.bulk_save([self.ids[sample] for sample in samples], tag_ids=tag)

    def tag_in_plex(self, sample: Sample, name: str) -> None:
        """Add a genre in Plex as Plex's own app does: by sending the whole list."""
        item = self.item_at(sample)
        assert item is not None
        genres = [*item.genres, name]
        query = {"type": 1, "id": item.rating_key, "X-Plex-Token": self.plex.token}
        query |= {f"genre[{index}].tag.tag": genre for index, genre in enumerate(genres)}
        section = f"{self.plex.url}/library/sections/{self.library.key}"
        url = f"{section}/all?{urllib.parse.urlencode(query)}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        opener.open(urllib.request.Request(url, method="PUT")).close()
        self.own_tags[sample] = name

    # --- state

    def item_at(self, sample: Sample) -> PlexItem | None:
        return self.plex.find(sample.plex_path)

    def differences_of(self, sample: Sample) -> list[str]:
        own = {self.own_tags[sample]} if sample in self.own_tags else set()
        return differences(in_stash(self.stash, self.ids[sample], own), self.item_at(sample))

    def in_sync(self, sample: Sample) -> bool:
        return sample in self.saved and not self.differences_of(sample)

    def letters(self) -> list[dict[str, Any]]:
        """Return the newest dead letter of each scene."""
        newest = {letter["scene_id"]: letter for letter in reversed(super().letters())}
        return [newest[scene_id] for scene_id in sorted(newest)]

    def queued(self) -> int:
        """Count the edits on disk that are not done yet."""
        return jobs_left(self.data_dir)

    def snapshot(self) -> Snapshot:
        dead = {letter["scene_id"] for letter in self.letters()}
        plex = "starting up" if self.plex.starting_up else "up"
        return Snapshot(
            tuple(self._state(sample, dead) for sample in ALL),
            plex if self.plex.server.running else "down",
            self.queued(),
        )

    def _state(self, sample: Sample, dead: set[object]) -> State:
        if sample not in self.saved:
            return State.UNTOUCHED
        if self.ids[sample] in dead:
            return State.REVIEW
        return State.WAITING if self.differences_of(sample) else State.IN_SYNC


def blocked(hooks: Sequence[HookRun]) -> tuple[float, float]:
    """Return how long saves waited for the plugin: median and worst, in milliseconds."""
    times = [run.seconds * 1000 for run in hooks] or [0.0]
    return statistics.median(times), max(times)


@contextmanager
def open_harness(prepare: Prepare) -> Iterator[DemoHarness]:
    """Set up the demo; at the end stop every process and remove the temp folder.

    Args:
        prepare: called with Plex before the first save.
    """
    with (
        tempfile.TemporaryDirectory(prefix="plexsync-demo-", ignore_cleanup_errors=True) as folder,
        DemoHarness(Path(folder)) as harness,
    ):
        harness.fill()
        prepare(harness.plex)
        yield harness
