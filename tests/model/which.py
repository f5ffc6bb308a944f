"""README, "Which item?": the items that the rules make certain for a scene."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from tests.model.world import World
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene

#: How well a scene fits an item; a better fit has a larger number.
CHOSEN, PATH_AND_SIZE, PATH, NAME, NOTHING = 4, 3, 2, 1, 0


@dataclass(frozen=True)
class Found:
    """The items of a scene."""

    must: frozenset[int] = frozenset()
    """PlexSync must write these."""
    may: frozenset[int] = frozenset()
    """It may write these and no others; README leaves open whether it does."""
    why: str = ""


@dataclass
class Finder:
    """Applies the two tables; `owners` says which scene each item was synced with last."""

    world: World
    owners: dict[int, int | None] = field(default_factory=dict)
    unsure: set[int] = field(default_factory=set)
    """Items that may have been synced with another scene since."""

    def of_scene(self, scene: Scene) -> Found:
        """Return the items of a scene."""
        if self.world.left_out(scene):
            return Found(why="left out")
        if not scene.files:
            return Found(why="without a file")
        items = self.world.all_items()
        found = self._chosen(scene, items) or self._by_path(scene, items) or (
            self._by_name(scene, items)
        )  # fmt: skip
        return self._against_others(scene, found, items)

    def writers(self) -> tuple[dict[int, int], dict[int, set[int]]]:
        """Return the scene that must write each item, and the scenes that may."""
        must: dict[int, int] = {}
        may: dict[int, set[int]] = {}
        for scene in self.world.all_scenes():
            found = self.of_scene(scene)
            for key in found.must:
                must[key] = scene.id
            for key in found.must | found.may:
                may.setdefault(key, set()).add(scene.id)
        unsure = [key for key, scenes in may.items() if len(scenes) > 1]
        for key in unsure:
            must.pop(key, None)
        return must, may

    # --- rules 1 to 9

    def _chosen(self, scene: Scene, items: list[PlexItem]) -> Found | None:
        """Rules 1 and 2: the user's choice, as long as the items have the files that they had."""
        choice = self.world.choices.get(scene.id)
        if not choice:
            return None
        by_key = {item.rating_key: item for item in items}
        same = {
            key for key, paths in choice.items()
            if key in by_key and set(by_key[key].paths) == set(paths)
        }  # fmt: skip
        if len(same) == len(choice):
            return Found(frozenset(same), why="rule 1: chosen")
        # README does not say whether an item that was added again is the one that was chosen.
        chosen_paths = {path for paths in choice.values() for path in paths}
        again = {item.rating_key for item in items if set(item.paths) <= chosen_paths}
        return Found(may=frozenset(same | again), why="rule 2: the chosen item is gone")

    def _by_path(self, scene: Scene, items: list[PlexItem]) -> Found | None:
        """Rules 3 to 5: the mapped path of the first file, then of the others."""
        first, *others = [self.mapped(file.path) for file in scene.files]
        at_first = self._at(first, items)
        if len(at_first) == 1:
            return Found(frozenset(at_first), why="rule 3: the path of its first file")
        if at_first:
            if self.world.settings.get("write_all_copies"):
                return Found(frozenset(at_first), why="rule 4: all copies")
            return self._several(at_first, "rule 4: in several items")
        at_others = [keys for path in others if (keys := self._at(path, items))]
        if not at_others:
            return None
        together = frozenset().union(*at_others)
        if len(together) == 1:
            return Found(together, why="rule 5: the path of another file")
        return self._several(together, "rule 5: its other files are in several items")

    def _by_name(self, scene: Scene, items: list[PlexItem]) -> Found:
        """Rules 6 to 9: the name of a file, and its size."""
        fits = {
            item.rating_key: self.tail(scene, item) for item in items if self.same_name(scene, item)
        }
        if not fits:
            return Found(why="not in Plex")
        if len(fits) == 1 or not self.world.settings["strict_matching"]:
            return Found(
                frozenset(fits) if len(fits) == 1 else frozenset(), frozenset(fits), "rule 8: name"
            )
        best = max(fits.values())
        longest = frozenset(key for key, length in fits.items() if length == best)
        if best >= 3 and len(longest) == 1:  # two folders and the name
            return Found(may=longest, why="rule 6 or 7: the end of the path")
        return Found(why="rule 9: other items with a file of that name")

    def _several(self, keys: frozenset[int], why: str) -> Found:
        if self.world.settings["strict_matching"]:
            return Found(why=why)
        return Found(may=keys, why=why)

    # --- other scenes

    def _against_others(self, scene: Scene, found: Found, items: list[PlexItem]) -> Found:
        """Drop the items that another scene fits better or equally well."""
        by_key = {item.rating_key: item for item in items}
        must, may = set(found.must), set(found.must | found.may)
        why = found.why
        for key in sorted(may):
            verdict = self._against(scene, by_key[key])
            if verdict is None:
                continue
            must.discard(key)
            if verdict == "no":
                may.discard(key)
                why += f"; item {key} is another scene's, or nobody's"
        return Found(frozenset(must), frozenset(may), why)

    def _against(self, scene: Scene, item: PlexItem) -> str | None:
        """Return None if no other scene counts, "no" if one wins, "open" if README is unclear."""
        mine = self.fit(scene, item)
        rivals = [
            (self.fit(other, item), other)
            for other in self.world.all_scenes()
            if other.id != scene.id and not self.world.left_out(other)
        ]
        best = max((fit for fit, _ in rivals), default=NOTHING)
        if best == NOTHING or best < mine:
            return None
        if not self._asks(scene, item, mine):
            return "open" if best >= mine else None
        if best > mine:
            return "no"
        # Equally well: the scene that is synced with the item already keeps it.
        equal = {other.id for fit, other in rivals if fit == mine}
        owner = self.owners.get(item.rating_key)
        if item.rating_key in self.unsure:
            return "open"
        if owner == scene.id:
            return None if len(item.parts) > 1 else "open"
        if owner in equal:
            return "no"
        return "no"

    def _asks(self, scene: Scene, item: PlexItem, mine: int) -> bool:
        """Return whether PlexSync asks about other scenes: found by name, or not the only file."""
        return mine != PATH_AND_SIZE or len(item.parts) > 1

    def fit(self, scene: Scene, item: PlexItem) -> int:
        """Return how well a scene fits an item."""
        choice = self.world.choices.get(scene.id, {})
        if item.rating_key in choice and set(item.paths) == set(choice[item.rating_key]):
            return CHOSEN
        sizes = {part.file: part.size for part in item.parts}
        at = [file for file in scene.files if self.mapped(file.path) in sizes]
        if any(file.size == sizes[self.mapped(file.path)] for file in at):
            return PATH_AND_SIZE
        if at:
            return PATH
        return NAME if self.same_name(scene, item) else NOTHING

    # --- paths

    def mapped(self, path: str) -> str:
        """Apply the longest path mapping that fits."""
        fitting = [
            (ours, theirs) for ours, theirs in self.world.mappings if path.startswith(ours + "/")
        ]
        if not fitting:
            return path
        ours, theirs = max(fitting, key=lambda pair: len(pair[0]))
        return theirs + path[len(ours) :]

    def same_name(self, scene: Scene, item: PlexItem) -> bool:
        """Return whether they have a file of one name and one size."""
        return any(
            _name(file.path) == _name(part.file) and file.size == part.size
            for file in scene.files
            for part in item.parts
        )

    def tail(self, scene: Scene, item: PlexItem) -> int:
        """Return the number of equal path parts from the end, where one path ends with the other.

        A path below Stash's or Plex's folder is compared, too.
        """
        best = 1
        for file in scene.files:
            for part in item.parts:
                ours, theirs = _parts(file.path), _parts(part.file)
                equal = 0
                while (
                    equal < min(len(ours), len(theirs)) and ours[-1 - equal] == theirs[-1 - equal]
                ):
                    equal += 1
                best = max(best, equal)
        return best

    def _at(self, path: str, items: list[PlexItem]) -> frozenset[int]:
        return frozenset(item.rating_key for item in items if path in item.paths)


def stems(scene: Scene) -> list[str]:
    """Return the file names of a scene without their endings."""
    return [PurePosixPath(file.path).stem for file in scene.files]


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _parts(path: str) -> list[str]:
    return re.split("/", path.strip("/"))
