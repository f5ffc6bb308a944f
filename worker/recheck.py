"""Scenes that were read within the very second of their last change.

Stash's times have whole seconds: a further edit in the rest of that second shows the same one. If its hook was
killed, nobody would ever know. So such a scene is read once more when the second is over; mostly it is the same,
and only then the sync time may say so.
"""

from __future__ import annotations

from queue.timestamps import parse_time
from stash.client import StashClient, StashUnavailable
from stash.records import Scene

#: Scenes that are read again in one query, and that are kept for it; what is over that, the catch-up finds.
_BATCH = 100
_MOST = 2_000
#: Seconds by which a change may seem to lie ahead of us; more than that, and the clocks differ.
_AHEAD = 5.0


class RecheckList:
    """The scenes to be read once more, and from when on."""

    def __init__(self) -> None:
        self._scenes: dict[int, tuple[float, Scene]] = {}

    def add(self, scene: Scene, read_at: float) -> None:
        """Take note of a scene that was synced, if the second of its last change was not over at `read_at`."""
        self._scenes.pop(scene.id, None)
        end = parse_time(scene.updated_at)
        if end is not None and read_at < end <= read_at + _AHEAD and len(self._scenes) < _MOST:
            self._scenes[scene.id] = (end, scene)

    def are_due(self, now: float) -> bool:
        """Whether all of them can be read again."""
        return bool(self._scenes) and max(end for end, _ in self._scenes.values()) <= now

    def check(self, stash: StashClient) -> tuple[list[int], list[int]]:
        """Read some again; return the ids of those that are the same, and of those that changed.

        Raises:
            StashUnavailable: what was to be read will be found by the catch-up.
            StashRefused, StashQueryError
        """
        batch = [scene for _, scene in list(self._scenes.values())[:_BATCH]]
        for scene in batch:
            del self._scenes[scene.id]
        try:
            found: list[Scene | None] = [*stash.find_scenes([scene.id for scene in batch])]
        except StashUnavailable:  # one of them is gone, maybe: then Stash answers for none
            found = [stash.find_scene(scene.id) for scene in batch]
        now = {scene.id: scene for scene in found if scene is not None}
        same = [scene.id for scene in batch if now.get(scene.id) == scene]
        return same, [scene.id for scene in batch if now.get(scene.id) != scene]
