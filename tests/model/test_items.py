"""Random small worlds: each scene writes the items that README's "Which item?" names, no others.

Several scenes and items share names, sizes, paths and files. The oracle is README's two tables,
with books of its own about who has written what.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from history.records import Choice
from tests.harness.base import TOKEN
from tests.harness.clock import FakeClock
from tests.harness.in_process import WorkerHarness
from tests.harness.size import some
from tests.simulators.plex import PlexItem, PlexSimulator
from tests.simulators.stash import Scene, StashSimulator

#: Worlds; `PLEXSYNC_WORLDS=2000` for a long run.
WORLDS = int(os.environ.get("PLEXSYNC_WORLDS", "25"))
FOLDERS = ("", "a/", "b/a/", "c/b/a/", "d/b/a/", "e/")
NAMES = ("x.mp4", "y.mp4")
SIZES = (100, 200)
NAME, TAIL, BELOW, PATH_ONLY, PATH = range(1, 6)


@dataclass
class World:
    """Scenes and items, and what the oracle remembers."""

    harness: WorkerHarness
    random: random.Random
    mappings: list[tuple[str, str]] = field(default_factory=list)
    #: the library folders of Stash
    tops: tuple[str, ...] = ()
    copies: bool = False
    strict: bool = True
    scenes: list[Scene] = field(default_factory=list)
    items: list[PlexItem] = field(default_factory=list)
    choices: dict[int, dict[int, str]] = field(default_factory=dict)
    ignored: set[int] = field(default_factory=set)
    #: rating key → scenes that have written it
    owners: dict[int, set[int]] = field(default_factory=dict)

    # --- what exists

    def build(self) -> None:
        draw = self.random
        self.mappings = draw.choice(
            [
                [("/data", "/media")],
                [("/data", "/media"), ("/alias", "/media")],
                [("/alias", "/media")],
                [("/no", "/no")],
            ]
        )
        self.tops = ("/data", "/alias")
        if self.mappings == [("/alias", "/media")]:  # a path of Plex needs no mapping
            self.tops = ("/media", "/alias")
        self.copies = draw.random() < 0.3
        self.strict = draw.random() < 0.7
        self.harness.configure(
            path_mappings="; ".join(f"{one} => {other}" for one, other in self.mappings),
            write_all_copies=self.copies,
            strict_matching=self.strict,
        )
        self.harness.stash.library.folders = list(self.tops)
        libraries = [self.harness.library, self.harness.plex.add_library("Other", ["/media"])]
        free = {one.key: self._paths("/media") for one in libraries}
        for _ in range(draw.randint(1, 4)):
            library = draw.choice(libraries)
            paths = [free[library.key].pop() for _ in range(draw.choice([1, 1, 1, 2]))]
            item = self.harness.plex.add_item(
                library, paths[0], size=draw.choice(SIZES), title="-", versions=paths[1:]
            )
            if draw.random() < 0.2:
                converted = f"/media/Plex Versions/TV/{item.rating_key}.mp4"
                self.harness.plex.add_version(item.rating_key, converted, size=7)
            self.items.append(item)
        ours = self._paths(self.tops[0]) + self._paths(self.tops[1])[:4]
        draw.shuffle(ours)
        for _ in range(draw.randint(1, 4)):
            files = [(ours.pop(), draw.choice(SIZES)) for _ in range(draw.choice([1, 1, 1, 2]))]
            self.scenes.append(self.harness.stash.add_scene(title="-", files=files))

    def _paths(self, top: str) -> list[str]:
        paths = [f"{top}/{folder}{name}" for folder in FOLDERS for name in NAMES]
        self.random.shuffle(paths)
        return paths

    # --- what happens

    def change(self) -> None:
        """Let the user choose or ignore, or let Plex merge items, or lose one."""
        draw = self.random
        what = draw.choice(["choose", "choose", "ignore", "merge", "remove", "none"])
        scene = draw.choice(self.scenes)
        if what == "choose":
            items = draw.sample(self.items, min(draw.choice([1, 1, 2]), len(self.items)))
            server = self.harness.plex.machine_identifier
            self.harness.worker.history.choose(
                scene.id, [Choice(scene.id, server, one.rating_key, one.path) for one in items]
            )
            self.choices[scene.id] = {one.rating_key: one.path for one in items}
        elif what == "ignore":
            self.harness.command("ignore", scene_id=scene.id)
            self.ignored.add(scene.id)
        elif what == "merge" and len({item.library.key for item in self.items}) < len(self.items):
            first = draw.choice(self.items)
            others = [
                one for one in self.items if one is not first and one.library is first.library
            ]
            if others:
                self.harness.plex.merge_items(first.rating_key, [others[0].rating_key])
                self.items.remove(others[0])
        elif what == "remove" and len(self.items) > 1:
            gone = draw.choice(self.items)
            self.harness.plex.remove_item(gone.rating_key)
            self.items.remove(gone)

    def sync(self) -> None:
        """Save all scenes, and check which items were written."""
        expected = {scene.id: self.items_of(scene) for scene in self.scenes}
        for scene in self.scenes:
            self.harness.edit(scene, f"{scene.id} at {self.harness.clock.now}")
        self.harness.clock.advance(90.0)
        before = len(self.harness.plex.writes)
        self.harness.run_for(60.0)
        written: dict[int, set[int]] = {scene.id: set() for scene in self.scenes}
        for write in self.harness.plex.writes[before:]:
            written[int(write.parameters["title.value"].split()[0])].add(write.rating_key)
        assert written == expected, self.told()
        for scene_id, keys in written.items():
            for key in keys:
                self.owners.setdefault(key, set()).add(scene_id)
        for key in {key for keys in written.values() for key in keys}:
            writers = {scene_id for scene_id, keys in written.items() if key in keys}
            self.owners[key] = writers

    def told(self) -> str:
        lines = [f"mappings {self.mappings}, copies {self.copies}, strict {self.strict}"]
        lines += [f"ignored {self.ignored}"]
        lines += [
            f"scene {one.id} {[(f.path, f.size) for f in one.files]} {self.choices.get(one.id)}"
            for one in self.scenes
        ]
        lines += [
            f"item {one.rating_key} library {one.library.key} "
            f"{[(part.file, part.size) for part in one.parts]} {self.owners.get(one.rating_key)}"
            for one in self.items
        ]
        return "\n".join(lines)

    # --- README, "Which item?"

    def items_of(self, scene: Scene) -> set[int]:
        """Return the items that the scene writes."""
        if scene.id in self.ignored:
            return set()
        there = {item.rating_key: item for item in self.items}
        if scene.id in self.choices:  # 1 and 2
            chosen = self.choices[scene.id]
            held = {key for key in chosen if key in there and chosen[key] in there[key].paths}
            return held if len(held) == len(chosen) else set()
        fits = self.candidates(scene)
        keys = sorted(fits)
        libraries = [there[key].library.key for key in keys]
        sizes = {part.size for key in keys for part in there[key].parts if self.has(scene, part)}
        one_file = (
            set(fits.values()) == {PATH} and len(set(libraries)) == len(keys) and len(sizes) == 1
        )
        is_certain = len(keys) == 1 or (one_file and self.copies)  # 4
        if self.strict and not is_certain:
            return set()
        verdicts = {key: self.is_ours(scene, there[key], fits[key]) for key in keys}
        ours = [key for key in keys if verdicts[key] is not False]
        if not is_certain:
            ours = ours[:1]
        return set() if any(verdicts[key] is None for key in ours) else set(ours)

    def candidates(self, scene: Scene) -> dict[int, int]:
        """Rules 3 to 9: the items that may be the scene's, and how well each fits."""
        for file in scene.files:  # 3 and 5
            path = self.mapped(file.path)
            found = {
                item.rating_key: part.size
                for item in self.items
                for part in item.parts
                if part.file == path
            }
            if found:
                return {
                    key: PATH if size == file.size else PATH_ONLY for key, size in found.items()
                }
        for file in scene.files:  # 6 to 9
            fits: dict[int, int] = {}
            for item in self.items:
                for part in item.parts:
                    if "Plex Versions" in part.file or part.size != file.size:
                        continue
                    if part.file.rpartition("/")[2] == file.path.rpartition("/")[2]:
                        how = self.by_name(file.path, part.file)
                        fits[item.rating_key] = max(how, fits.get(item.rating_key, 0))
            if fits:
                best = max(fits.values())
                return {key: how for key, how in fits.items() if how == best}
        return {}

    def by_name(self, ours: str, theirs: str) -> int:
        """Compare paths below the libraries' folders."""
        one, other = ours.split("/")[2:], theirs.split("/")[2:]
        if one == other:
            return BELOW
        shorter = min(len(one), len(other))
        return TAIL if shorter > 2 and one[-shorter:] == other[-shorter:] else NAME

    def is_ours(self, scene: Scene, item: PlexItem, fit: int) -> bool | None:
        """The second table: False if it is another scene's, None if it may be either's."""
        key = item.rating_key
        active = [one for one in self.scenes if one.id not in self.ignored and one is not scene]
        if any(self.choices.get(one.id, {}).get(key) in item.paths for one in active):
            return False
        own = [path for path in item.paths if "Plex Versions" not in path]
        is_shared = sum(self.mapped(top) == "/media" for top in self.tops) > 1
        if fit == PATH and len(own) == 1 and not is_shared:
            return True
        rivals = {
            one.id: found[key]
            for one in active
            if one.id not in self.choices and key in (found := self.candidates(one))
        }
        if any(how > fit for how in rivals.values()):
            return False
        equal = {other for other, how in rivals.items() if how == fit}
        owners = self.owners.get(key, set())
        return True if not equal or (scene.id in owners and not owners & equal) else None

    def has(self, scene: Scene, part: object) -> bool:
        return getattr(part, "file", "") in {self.mapped(file.path) for file in scene.files}

    def mapped(self, path: str) -> str:
        for ours, theirs in self.mappings:
            if f"{path}/".startswith(f"{ours}/"):
                return theirs + path[len(ours) :]
        return path


@contextmanager
def open_world(seed: int) -> Iterator[World]:
    clock = FakeClock(1_800_000_000.0)
    folder = Path(tempfile.mkdtemp())
    plugins = folder / "stash" / "plugins"
    plugins.mkdir(parents=True)
    with (
        PlexSimulator(token=TOKEN, clock=clock.time) as plex,
        StashSimulator(plugins_dir=plugins, clock=clock.time) as stash,
    ):
        harness = WorkerHarness(folder, plex, stash, clock)
        try:
            yield World(harness, random.Random(seed))
        finally:
            harness.close()
    shutil.rmtree(folder, ignore_errors=True)


def live(seed: int) -> None:
    with open_world(seed) as world:
        world.build()
        world.sync()
        for _ in range(3):
            world.change()
            world.sync()


@pytest.mark.parametrize("chunk", some(range(10), 5))
def test_scenes_write_their_items_and_no_others(chunk: int) -> None:
    for seed in _seeds(chunk):
        try:
            live(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def _seeds(chunk: int) -> Iterable[int]:
    return range(chunk * WORLDS // 10, (chunk + 1) * WORLDS // 10)
