"""A generated library full of similar names never yields a wrong match with high confidence.

Three libraries hold few names in many folders, and few sizes. Plex then changes while the index
does not: files move and swap paths, items are replaced, removed and added. The generator made both
sides, so it knows each scene's item.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from plex.exceptions import PlexNotFound
from plex.matcher import MatchConfidence
from tests.harness.plex_only import PlexHarness
from tests.simulators.plex import PlexItem, PlexLibrary

NAMES = [
    "1.mp4",
    "01.mp4",
    "scene.mp4",
    "Scene.mp4",
    "SCENE.MP4",
    "clip [4k].mkv",
    "Café.mp4",
    "trailer.mp4",
]
FOLDERS = ["a", "b", "A", "new", "old", "Season 1", "extras"]
SIZES = [100, 200, 300]
SITES = 12
MAPPINGS = (("/data/one", "/plex1"), ("/data/two/", "/plex2"), ("D:\\three", "/plex3"))
ROOTS = ("/data/one", "/data/two", "D:\\three")
PLEX_ROOTS = ("/plex1", "/plex2", "/plex3")
COUNT = 260
#: `PLEXSYNC_SEEDS=50` for a long run.
SEEDS = int(os.environ.get("PLEXSYNC_SEEDS", "1"))


@dataclass
class Scene:
    """A scene in Stash and its item's rating key, None if Plex does not have it."""

    path: str
    size: int
    plex_path: str
    key: int | None


class Generated:
    """Both servers' libraries and the correct matches between them."""

    def __init__(self, harness: PlexHarness, seed: int) -> None:
        self.random = random.Random(seed)
        self.harness = harness
        harness.stash_folders = ROOTS
        self.libraries: list[PlexLibrary] = [
            harness.plex.add_library(f"Library {number}", [root])
            for number, root in enumerate(PLEX_ROOTS, 1)
        ]
        self.scenes: list[Scene] = []
        self._unique_size = 10_000
        places = {self._place() for _ in range(COUNT * 2)}
        for number, place in enumerate(sorted(places)[:COUNT]):
            self._add_scene(place, absent=number % 9 == 0)

    def _place(self) -> tuple[int, str, str]:
        depth = self.random.randint(0, 2)
        folders = [f"site{self.random.randrange(SITES)}", *self.random.choices(FOLDERS, k=depth)]
        return self.random.randrange(3), "/".join(folders), self.random.choice(NAMES)

    def new_size(self) -> int:
        """Return a size that no other file has, for files whose path is ambiguous."""
        self._unique_size += 1
        return self._unique_size

    def _add_scene(self, place: tuple[int, str, str], *, absent: bool) -> None:
        root, folders, name = place
        size = self.new_size() if absent else self.random.choice(SIZES)
        path = f"{ROOTS[root]}/{folders}/{name}"
        plex_path = f"{PLEX_ROOTS[root]}/{folders}/{name}"
        key = None
        if not absent:
            key = self.harness.plex.add_item(self.libraries[root], plex_path, size=size).rating_key
        if root == 2:
            path = path.replace("/", "\\")
        self.scenes.append(Scene(path, size, plex_path, key))

    def item(self, scene: Scene) -> PlexItem:
        assert scene.key is not None
        return self.harness.plex.item(scene.key)

    def change_plex(self) -> None:
        """Change Plex without the index; Stash follows where it would for a user."""
        self.harness.clock.advance(10)
        present = [scene for scene in self.scenes if scene.key is not None]
        absent = [scene for scene in self.scenes if scene.key is None]
        self.random.shuffle(present)
        portions = [present[start : start + 20] for start in range(0, 120, 20)]
        self._replace(portions[0])
        self._remove(portions[1])
        self._move(portions[2])
        self._exchange(portions[3])
        self._add_again(portions[4])
        for scene in absent[:20]:  # Plex has scanned them meanwhile
            root = PLEX_ROOTS.index(scene.plex_path[: len(PLEX_ROOTS[0])])
            scene.size = self.random.choice(SIZES)
            scene.key = self.harness.plex.add_item(
                self.libraries[root], scene.plex_path, size=scene.size
            ).rating_key

    def _replace(self, scenes: Sequence[Scene]) -> None:
        for scene in scenes:
            scene.key = self.harness.plex.replace_item(scene.plex_path).rating_key

    def _remove(self, scenes: Sequence[Scene]) -> None:
        for scene in scenes:
            self.harness.plex.remove_item(self.item(scene).rating_key)
            scene.key, scene.size = None, self.new_size()

    def _move(self, scenes: Sequence[Scene]) -> None:
        """Move files to unused paths on disk; both Plex and Stash see them there."""
        for scene in scenes:
            number = self.new_size()
            name = scene.plex_path.rpartition("/")[2]
            scene.plex_path = f"/plex1/moved/{number}/{name}"
            scene.path = f"/data/one/moved/{number}/{name}"
            self.harness.plex.move_file(self.item(scene).rating_key, scene.plex_path)

    def _exchange(self, scenes: Sequence[Scene]) -> None:
        """Swap the paths of pairs of files; the scenes keep their paths, so their items swap."""
        for one, other in zip(scenes[::2], scenes[1::2], strict=True):
            first, second = self.item(one), self.item(other)
            self.harness.plex.move_file(first.rating_key, f"/plex1/aside/{first.rating_key}.tmp")
            self.harness.plex.move_file(second.rating_key, one.plex_path)
            self.harness.plex.move_file(first.rating_key, other.plex_path)
            one.key, other.key = second.rating_key, first.rating_key
            one.size, other.size = second.parts[0].size, first.parts[0].size

    def _add_again(self, scenes: Sequence[Scene]) -> None:
        """Remove items and add them again after other items."""
        gone = [(scene, self.item(scene)) for scene in scenes]
        for _, item in gone:
            self.harness.plex.remove_item(item.rating_key)
        self.harness.clock.advance(10)
        for scene, item in gone:
            number = self.new_size()
            self.harness.plex.add_item(item.library, f"/plex1/filler/{number}.mp4", size=number)
            scene.key = self.harness.plex.add_item(
                item.library, scene.plex_path, size=scene.size
            ).rating_key

    def check(self, *, mapped: bool, indexed: bool = True, every: int = 1) -> Counter[str]:
        """Look up the scenes and require that no wrong match is certain.

        Returns:
            How often each result came.
        """
        answers: Counter[str] = Counter()
        self.harness._sections = None
        for scene in self.scenes[::every]:
            try:
                confidence, key, candidates = self.harness.find(
                    scene.path, scene.size, mappings=MAPPINGS if mapped else (), indexed=indexed
                )
            except PlexNotFound:
                assert scene.key is None, f"{scene} is in Plex"
                answers["not found"] += 1
                continue
            if confidence is MatchConfidence.HIGH:
                assert key == scene.key, f"WRONG ITEM {key} for {scene}"
                answers["high"] += 1
            else:
                assert key is None
                assert not mapped, f"{scene} has a mapping, and exactly one item"
                assert scene.key in candidates, f"{scene} is not among the candidates"
                answers["low"] += 1
        return answers


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("mapped", [True, False], ids=["mapped", "unmapped"])
def test_no_wrong_match_is_high_before_and_after_plex_has_changed(
    harness: PlexHarness, seed: int, mapped: bool
) -> None:
    generated = Generated(harness, seed)
    harness.refresh()
    before = generated.check(mapped=mapped)
    assert before["high"] > COUNT * 0.6
    generated.change_plex()
    after = generated.check(mapped=mapped)
    assert after["high"] > COUNT * 0.6
    assert after["not found"] > 10


@pytest.mark.parametrize("mapped", [True, False], ids=["mapped", "unmapped"])
def test_without_an_index_the_results_are_the_same(harness: PlexHarness, mapped: bool) -> None:
    generated = Generated(harness, 99)
    generated.change_plex()
    assert generated.check(mapped=mapped, indexed=False, every=12)["high"] > 15


@pytest.mark.parametrize("mapped", [True, False], ids=["mapped", "unmapped"])
def test_many_small_changes_never_lead_to_a_wrong_match(harness: PlexHarness, mapped: bool) -> None:
    generated = Generated(harness, 7)
    harness.refresh()
    for _ in range(2):
        generated.change_plex()
        generated.check(mapped=mapped, every=3)
