"""Forget scenes that Stash no longer has, but not because Stash looks empty for a while."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from history.records import Choice
from history.store import History, Row
from validation.errors import TransientError
from worker.parts import Parts

#: State in the history: how few scenes Stash shows, and how few the user accepts. That holds
#: until the records of the others are gone, and rises with the scenes that Stash shows.
FEWER = "fewer_scenes"
ACCEPTED = "fewer_scenes_accepted"
#: Known scenes from which on it is strange that most of them are gone.
_MANY = 20


class ScenesMissing(TransientError):
    """Stash shows less than half of the scenes that it had."""


class Forgetting:
    """Decides what becomes of the records of scenes that are gone."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def scene_gone(self, scene_id: int) -> None:
        """Note that Stash does not find a scene.

        Raises:
            ScenesMissing: Stash shows less than half of what it had. Its database may be
                missing, so nothing is concluded.
            StashUnavailable, StashQueryError
        """
        parts = self._parts
        if parts.stash is not None:
            check_scenes_there(parts, parts.stash.scene_count())
        rows = parts.history.of_scene(scene_id)
        now = parts.env.time()
        parts.history.update(
            [row.id for row in rows if row.missing_since is None], missing_since=now
        )
        self._note_choices(scene_id, now)
        parts.times.note(scene_id, None)
        parts.dlq.delete_scene(scene_id)
        parts.reporter.log("info", f"Scene {scene_id}: gone from Stash")

    def conclude(self, missing: Sequence[Row]) -> None:
        """Forget scenes that a complete pass missed, if one a day before missed them too."""
        parts = self._parts
        now, after = parts.env.time(), parts.env.timing.forget_after
        first = [row for row in missing if row.missing_since is None]
        parts.history.update([row.id for row in first], missing_since=now)
        for row in first:
            self._note_choices(row.scene_id, now)
            parts.times.note(row.scene_id, None)
        again = [row for row in missing if _is_over(row.missing_since, now, after)]
        parts.history.retire([row.id for row in again])
        for row in again:
            parts.dlq.delete_scene(row.scene_id)
        left = {row.scene_id for row in missing} - {row.scene_id for row in again}
        if len(left) <= parts.history.known_scenes() / 2:
            parts.history.set(ACCEPTED, None)  # the guard needs no exception any more
        if missing:
            parts.reporter.log("info", f"{len(missing)} scenes are gone from Stash")
        self._forget_choices(now)

    def came_back(self, rows: Iterable[Row]) -> None:
        """Note that Stash has scenes again."""
        back = [row for row in rows if row.missing_since is not None]
        self._parts.history.update([row.id for row in back], missing_since=None)
        for row in back:
            self._note_choices(row.scene_id, None)

    def _note_choices(self, scene_id: int, since: float | None) -> None:
        choices = self._parts.history.choices(scene_id)
        if any((choice.missing_since is None) is not (since is None) for choice in choices):
            self._parts.history.choose(
                scene_id, [replace(choice, missing_since=since) for choice in choices]
            )

    def _forget_choices(self, now: float) -> None:
        after = self._parts.env.timing.forget_choice
        gone: dict[int, list[Choice]] = {}
        for choice in self._parts.history.all_choices():
            if _is_over(choice.missing_since, now, after):
                gone.setdefault(choice.scene_id, []).append(choice)
        for scene_id in gone:
            self._parts.history.choose(scene_id, ())


def check_scenes_there(parts: Parts, count: int) -> None:
    """Check that Stash has most of the scenes that it had.

    Raises:
        ScenesMissing: it shows less than half of them, and the user has not said that this is so.
    """
    history = parts.history
    known, accepted = history.known_scenes(), history.get(ACCEPTED, math.inf)
    if known >= _MANY and count < min(known, accepted) / 2:
        history.set(FEWER, count)
        raise ScenesMissing(
            f"Stash shows {count} of the {known} scenes that it had: check that its database and"
            " its disks are there. If you have deleted them, run Approve changes"
        )
    if count > accepted:
        history.set(ACCEPTED, count)
    if history.get(FEWER) is not None:
        history.set(FEWER, None)


def accept_fewer(history: History) -> bool:
    """Note that the user has deleted most scenes; return whether that was asked."""
    count = history.get(FEWER)
    if count is None:
        return False
    history.set(ACCEPTED, count)
    history.set(FEWER, None)
    return True


def _is_over(since: float | None, now: float, after: float) -> bool:
    # A time in the future was noted while the clock was wrong.
    return since is not None and not 0 <= now - since < after
