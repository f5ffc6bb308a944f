"""The demo's little world: a Stash with the plugin installed, a Plex with the same files elsewhere, a temp folder."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from queue.dlq import DeadLetterQueue
from queue.operations import get_stats
from tests.demo.catalogue import ALL, PLEX_FOLDER, STASH_FOLDER, TWIN, UNSCANNED, Sample
from tests.harness.compare import differences, in_stash
from tests.harness.plugin import install_plugin
from tests.harness.processes import stop_workers
from tests.simulators.plex import PlexItem, PlexLibrary, PlexSimulator
from tests.simulators.stash import HookRun, SaveResult, StashSimulator

#: Waiting is a hundred times shorter than at home: a minute until Plex is asked again becomes 0.6 s.
TIME_SCALE = 0.01
PLUGIN = "PlexSync"
TOKEN = "demo-token-of-nobody"
_WEEK = 7 * 86_400.0
_LOCAL = "127.0.0.1,localhost"

Prepare = Callable[[PlexSimulator], object]


class State(Enum):
    """How it stands with one scene."""

    UNTOUCHED = "not saved yet"
    WAITING = "waiting"
    IN_SYNC = "in sync"
    REVIEW = "for review"


@dataclass(frozen=True)
class Snapshot:
    """What the status shows."""

    states: tuple[State, ...]
    plex: str
    queued: int

    def count(self, state: State) -> int:
        return self.states.count(state)


@dataclass
class World:
    """Both servers, the plugin's data directory, and what was done so far."""

    plex: PlexSimulator
    stash: StashSimulator
    dlq: DeadLetterQueue
    data_dir: str
    films: PlexLibrary
    ids: dict[Sample, int]
    saved: set[Sample] = field(default_factory=set)
    own_tags: dict[Sample, str] = field(default_factory=dict)
    hooks: list[HookRun] = field(default_factory=list)

    # --- what a person does

    def save(self, sample: Sample, **fields: object) -> SaveResult:
        """The edit page's save button."""
        self.saved.add(sample)
        return self.stash.save_scene(self.ids[sample], **(fields or sample.edit()))

    def save_tagged(self, samples: Sequence[Sample]) -> SaveResult:
        """The tagger's save button."""
        self.saved.update(samples)
        return self.stash.tagger_save(
            [{"id": self.ids[sample], **sample.edit()} for sample in samples]
        )

    def add_tag(self, samples: Sequence[Sample], name: str) -> SaveResult:
        """The bulk edit dialog."""
        tag = {"ids": [str(self.stash.library.tags.id_of(name))], "mode": "ADD"}
        return self.stash.bulk_save([self.ids[sample] for sample in samples], tag_ids=tag)

    def tag_in_plex(self, sample: Sample, name: str) -> None:
        """The user adds a genre in Plex, as Plex's own app does: with the whole list."""
        item = self.item(sample)
        assert item is not None
        genres = [*item.genres, name]
        query = {"type": 1, "id": item.rating_key, "X-Plex-Token": TOKEN}
        query |= {f"genre[{index}].tag.tag": genre for index, genre in enumerate(genres)}
        url = (
            f"{self.plex.url}/library/sections/{self.films.key}/all?{urllib.parse.urlencode(query)}"
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        opener.open(urllib.request.Request(url, method="PUT")).close()
        self.own_tags[sample] = name

    # --- what there is to see

    def item(self, sample: Sample) -> PlexItem | None:
        return self.plex.find(sample.plex_path)

    def differences(self, sample: Sample) -> list[str]:
        own = {self.own_tags[sample]} if sample in self.own_tags else set()
        return differences(in_stash(self.stash, self.ids[sample], own), self.item(sample))

    def in_sync(self, sample: Sample) -> bool:
        return sample in self.saved and not self.differences(sample)

    def letters(self) -> list[dict[str, Any]]:
        """Each scene's newest dead letter, by scene."""
        newest = {
            letter["scene_id"]: letter for letter in reversed(self.dlq.get_recent(10 * len(ALL)))
        }
        return [newest[scene_id] for scene_id in sorted(newest)]

    def queued(self) -> int:
        """Edits that are on disk and not yet done."""
        stats = get_stats(self.data_dir)
        return stats["pending"] + stats["in_progress"]

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
        return State.WAITING if self.differences(sample) else State.IN_SYNC


def blocked(hooks: Sequence[HookRun]) -> tuple[float, float]:
    """How long each scene's save waited for the plugin: median and worst, in milliseconds."""
    times = [run.seconds * 1000 for run in hooks] or [0.0]
    return statistics.median(times), max(times)


@contextmanager
def open_world(prepare: Prepare) -> Iterator[World]:
    """Set everything up; in the end every process is stopped and the temp folder removed.

    Args:
        prepare: called with Plex before the first save.
    """
    with tempfile.TemporaryDirectory(prefix="plexsync-demo-", ignore_cleanup_errors=True) as folder:
        data_dir = os.path.join(folder, "data")
        plugins = Path(folder, "plugins")
        install_plugin(plugins / PLUGIN)
        with (
            PlexSimulator(token=TOKEN) as plex,
            StashSimulator(plugins, env=_environment(data_dir)) as stash,
        ):
            dlq = DeadLetterQueue(data_dir)
            try:
                world = World(plex, stash, dlq, data_dir, *_fill(plex, stash))
                prepare(plex)
                yield world
            finally:
                dlq.close()
                stash.stop()  # first: a hook that still runs could start a worker
                stop_workers(data_dir)


def _environment(data_dir: str) -> dict[str, str]:
    return {
        "STASH_PLUGIN_DATA": data_dir,
        "PLEXSYNC_TIME_SCALE": str(TIME_SCALE),
        "PLEXSYNC_IDLE_TIMEOUT": "30",
        "NO_PROXY": _LOCAL,
        "no_proxy": _LOCAL,
    }


def _fill(plex: PlexSimulator, stash: StashSimulator) -> tuple[PlexLibrary, dict[Sample, int]]:
    """The same files on both sides: in Stash as a scan finds them, in Plex with its own idea of each."""
    films = plex.add_library("Films", locations=[PLEX_FOLDER])
    family = plex.add_library("Family", locations=[os.path.dirname(TWIN.plex_path)])
    for sample in ALL:
        if sample is not UNSCANNED:
            agent = {"summary": "No description available."}
            for library in (films, family) if sample is TWIN else (films,):
                plex.add_item(library, sample.plex_path, size=sample.size, agent_metadata=agent)
    stash.set_plugin_settings(
        PLUGIN,
        {
            "plex_url": plex.url,
            "plex_token": TOKEN,
            "path_mappings": f"{STASH_FOLDER} => {PLEX_FOLDER}",
            "poll_interval": "0.2",
        },
    )
    scanned = time.time() - _WEEK
    return films, {
        sample: stash.add_scene(
            files=[(sample.stash_path, sample.size)], created_at=scanned, updated_at=scanned
        ).id
        for sample in ALL
    }
