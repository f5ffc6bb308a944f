"""Compare the scenes of items that have changed in Plex, or are new there."""

from __future__ import annotations

import math
from collections.abc import Sequence

from history.records import Status
from plex.paths import folded, name_of, normalize
from queue.models import create_bulk_job
from queue.operations import enqueue
from worker.parts import Parts
from worker.reconcile.passes import Passes

#: State in the history: the last file of the index that was looked at.
INDEX = "index"
#: Scenes that are compared because Plex changed; with more a full pass does.
MOST_CHANGED = 200
#: Scenes in one query.
_CHUNK = 40


class PlexChanges:
    """What the index of Plex's files has learned, and not been compared with yet."""

    def __init__(self, parts: Parts, passes: Passes) -> None:
        self._parts = parts
        self._passes = passes

    def look(self) -> None:
        """Compare scenes whose item changed in Plex, and those whose file is new there.

        The index says what that is: it has just listed the latest changes, or learned of some.

        Raises:
            SettingsError, StashUnavailable, StashRefused, StashQueryError
            PlexTemporaryError, PlexPermanentError
        """
        scene_ids = self._look_at_new_files()
        plex, history = self._parts.plex, self._parts.history
        changed = sorted(plex.index.changed)
        for start in range(0, len(changed), 500):
            some = changed[start : start + 500]
            times = plex.index.updated_at(some)
            scene_ids += [
                row.scene_id
                for row in history.of_items(plex.server, some)
                if row.status in (Status.IN_SYNC, Status.REFUSED)
                and times.get(row.rating_key) != row.item_updated_at
            ]
        scene_ids = list(dict.fromkeys(scene_ids))
        if len(scene_ids) > MOST_CHANGED:
            self._passes.ask_full("many items changed in Plex")
        elif scene_ids:
            self._compare_drifted(scene_ids)
        plex.index.changed.difference_update(changed)  # after a failure they are looked at again

    def _compare_drifted(self, scene_ids: Sequence[int]) -> None:
        parts = self._parts
        assert parts.stash is not None
        read_at = parts.env.time()
        for start in range(0, len(scene_ids), _CHUNK):
            scenes = parts.stash.find_scenes(list(scene_ids[start : start + _CHUNK]))
            scope, room = self._passes.unasked_scope(), self._passes.room()
            self._passes.comparer.compare(scenes, read_at, scope, room=room, seconds=math.inf)

    def _look_at_new_files(self) -> list[int]:
        """Queue scenes that were not in Plex, or ambiguous, where a file of that name is new.

        Returns:
            Scenes whose file came back under another rating key, to be compared.
        """
        parts, again = self._parts, []
        index, known = parts.plex.index, parts.history.get(INDEX, {})
        after = known.get("last", 0) if known.get("id") == index.id else 0
        paths, last = index.new_paths(after)
        names = {folded(name_of(path)) for path in paths}
        if names:
            for row in parts.history.with_status(Status.NOT_IN_PLEX, Status.AMBIGUOUS):
                files = {folded(name_of(normalize(file.path))) for file in row.files}
                if not files.isdisjoint(names):
                    self._revive(row.scene_id)
            rows = parts.history.of_paths(parts.plex.server, paths)
            there = index.updated_at([row.rating_key for row in rows])
            again = [row.scene_id for row in rows if row.rating_key not in there]
        if names or known.get("id") != index.id:
            parts.history.set(INDEX, {"id": index.id, "last": last})
        return again

    def _revive(self, scene_id: int) -> None:
        """Queue a scene again; if an edit of it failed, as that edit."""
        parts = self._parts
        letters = parts.dlq.get_by_scene(scene_id)
        if letters:
            enqueue(parts.queue, scene_id, "metadata", letters[0]["job"].get("data") or {})
        else:
            parts.queue.put(create_bulk_job(scene_id, now=parts.env.time()))
        parts.reporter.log("info", f"Scene {scene_id}: Plex has a file of that name now")
