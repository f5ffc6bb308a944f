"""Re-read scenes that were read within the very second of their last change.

Stash's times have whole seconds: another edit in the rest of that second shows the same time. If
its hook was killed, the edit would be lost. So such a scene is read once more when the second is
over; mostly it is the same, and only then the sync timestamp may say so.
"""

from __future__ import annotations

from queue.timestamps import parse_time
from stash.client import StashClient, StashUnavailable
from stash.records import Scene

#: Scenes that are re-read in one query, and that are kept at most; the catch-up finds the others.
_BATCH = 100
_MOST = 2_000
#: Seconds by which a change may lie ahead of our clock; with more, the clocks differ.
_AHEAD = 5.0


class RecheckList:
    """The scenes to re-read, and from when on."""

    def __init__(self) -> None:
        self._scenes: dict[int, tuple[float, Scene]] = {}

    def add(self, scene: Scene, read_at: float) -> None:
        """Note a synced scene if the second of its last change was not over at `read_at`."""
        self._scenes.pop(scene.id, None)
        end = parse_time(scene.updated_at)
        if end is not None and read_at < end <= read_at + _AHEAD and len(self._scenes) < _MOST:
            self._scenes[scene.id] = (end, scene)

    def are_due(self, now: float) -> bool:
        """Return whether all of them can be re-read."""
        return bool(self._scenes) and max(end for end, _ in self._scenes.values()) <= now

    def check(self, stash: StashClient) -> tuple[list[int], list[int]]:
        """Re-read some; return the ids of the unchanged ones, and of those that changed.

        Raises:
            StashUnavailable: the catch-up will find these scenes.
            StashRefused, StashQueryError
        """
        batch = [scene for _, scene in list(self._scenes.values())[:_BATCH]]
        for scene in batch:
            del self._scenes[scene.id]
        try:
            found: list[Scene | None] = [*stash.find_scenes([scene.id for scene in batch])]
        except StashUnavailable:  # if one of them is gone, Stash returns none
            found = [stash.find_scene(scene.id) for scene in batch]
        now = {scene.id: scene for scene in found if scene is not None}
        same = [scene.id for scene in batch if now.get(scene.id) == scene]
        return same, [scene.id for scene in batch if now.get(scene.id) != scene]
