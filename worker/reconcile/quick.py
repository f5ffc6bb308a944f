"""The quick pass: what changed last in Stash and in Plex, in a handful of requests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from history.records import Status
from plex.paths import folded, name_of, normalize
from queue.models import create_bulk_job
from queue.operations import enqueue
from queue.timestamps import parse_time
from stash.client import RELATED_KINDS
from stash.records import Scene
from worker.job_runner import JobRunner
from worker.parts import Parts
from worker.reconcile.comparer import Comparer, Scope
from worker.reconcile.passes import BASELINE, RELATED, SETTINGS, Pass, Passes

#: State in the history.
QUICK = "quick_pass"
RAN_AT = "quick_pass_ran_at"
INDEX = "index"
#: State: the keys of the libraries that the user was told about.
OFFERED = "offered_libraries"
#: Scenes, and related objects of a kind, that are read.
_PAGE = 100
#: Seconds below the watermark that are read again: clocks differ, and imports date back.
_OVERLAP = 7_200.0
#: Clock-skew allowance, in seconds.
_CLOCK_SKEW = 5.0
#: Scenes that are compared because Plex changed; with more a full pass does.
_MOST_CHANGED = 200
#: Scenes in one query.
_CHUNK = 40


class QuickPass:
    """Looks at the newest changes, every few minutes."""

    def __init__(self, parts: Parts, runner: JobRunner, passes: Passes) -> None:
        self._parts = parts
        self._runner = runner
        self._passes = passes
        self._comparer: Comparer = passes.comparer

    def is_due(self) -> bool:
        """Return whether the next quick pass is due."""
        return self.due_in() <= 0

    def due_in(self) -> float:
        """Return seconds until the next quick pass; a last one in the future counts as due."""
        passed: float = self._parts.env.time() - self._parts.history.get(RAN_AT, -math.inf)
        return self._parts.env.timing.quick_pass - passed if passed >= 0 else 0.0

    def run(self) -> None:
        """Look at the latest changes in Stash and in Plex.

        Raises:
            SettingsError, StashUnavailable, StashRefused, StashQueryError
            PlexTemporaryError, PlexPermanentError
        """
        state = self._state()
        self._parts.history.set(RAN_AT, self._parts.env.time())  # a failure waits for its turn
        self._parts.plex.libraries(look=True)
        self._look_at_scenes(state)
        self._look_at_related(state)
        self._parts.history.set(QUICK, state)
        self._look_at_plex()
        self._look_at_settings()
        self._offer_libraries()
        self._passes.ask_full_if_due()
        self._passes.approve()

    def _state(self) -> dict[str, Any]:
        state = self._parts.history.get(QUICK, {})
        return state if isinstance(state, dict) else {}

    def _look_at_scenes(self, state: dict[str, Any]) -> None:
        """Compare the scenes that were changed last, down to some time below the watermark."""
        parts = self._parts
        assert parts.stash is not None
        now, watermark = parts.env.time(), state.get("watermark")
        read_at = now
        scenes = parts.stash.latest(1, _PAGE)
        past = [time for scene in scenes if (time := _time(scene)) <= now + _CLOCK_SKEW]
        if scenes and not past:  # all are dated in the future
            past = [now]
        if not past:  # empty, or its database is not there: nothing is concluded
            return
        newest = max(past)
        if watermark is None:  # an installation syncs nothing that was there before
            state["watermark"] = newest
            if parts.history.get(BASELINE) is None:
                parts.history.set(BASELINE, newest)
            return
        if watermark > now + _CLOCK_SKEW:  # the clock was ahead: what came since is not known
            watermark = now - parts.env.timing.full_pass
            self._passes.ask_full("the clock was set back")
        since = watermark - _OVERLAP
        if newest < since:
            self._passes.ask_full("Stash's newest change went back")
        recent = [scene for scene in scenes if _time(scene) >= since]
        result = self._comparer.compare(
            recent, read_at, self._scope(only_stash=True), room=self._passes.room(),
            seconds=parts.env.timing.slice,
        )  # fmt: skip
        is_more = len(recent) == len(scenes) == _PAGE and self._wants_more(
            state, _time(recent[-1]), watermark, newest
        )
        if result.done < len(recent) or is_more:
            state["recent_at"] = now
            self._passes.start(
                Pass(RELATED, filter=parts.stash.updated_filter(since), since=since, why="recent")
            )
        if result.queued:
            parts.reporter.log(
                "info", f"{result.queued} scenes differ from what was synced; queued"
            )
        state["watermark"] = newest

    def _wants_more(
        self, state: dict[str, Any], oldest: float, watermark: float, newest: float
    ) -> bool:
        """Return whether to compare scenes beyond the page: those that changed since the last look.

        What lies further back was looked at already. It is compared again, as clocks and offsets
        change, but seldom, and for a day: after a bulk edit that may be the whole library.
        """
        now, timing = self._parts.env.time(), self._parts.env.timing
        if oldest > watermark:
            return True
        is_repeated = 0 <= now - state.get("recent_at", -math.inf) < timing.count_pass / 2
        return not is_repeated and now - newest < timing.full_pass

    def _look_at_related(self, state: dict[str, Any]) -> None:
        """Start a pass over the scenes of each performer, studio, tag and group that changed."""
        parts = self._parts
        assert parts.stash is not None
        known: dict[str, Any] = state.setdefault("related", {})
        for kind, (count, objects) in parts.stash.latest_related(1, _PAGE).items():
            before = known.get(kind)
            seen = {str(one_id): updated_at for one_id, updated_at in objects}
            known[kind] = {"count": count, "seen": seen}
            if before is None:
                continue
            if count < before["count"]:
                self._passes.ask_full(
                    f"there are fewer {RELATED_KINDS[kind]} in Stash",
                    at_most_every=parts.env.timing.count_pass,
                )
            changed = _changed(objects, before["seen"])
            if len(changed) == len(objects) == _PAGE:
                self._passes.ask_full(f"many {RELATED_KINDS[kind]} changed in Stash")
                continue
            for one_id in changed:
                self._passes.start(related_pass(kind, one_id))

    def _look_at_plex(self) -> None:
        """Compare scenes whose item changed in Plex, and those whose file is new there."""
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
        if len(scene_ids) > _MOST_CHANGED:
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
            self._comparer.compare(
                scenes, read_at, self._scope(), room=self._passes.room(), seconds=math.inf
            )

    def _look_at_new_files(self) -> list[int]:
        """Queue scenes that were not in Plex, or ambiguous, where a file of that name is new.

        Returns:
            Scenes whose file came back under another rating key, to be compared.
        """
        parts, again = self._parts, []
        index, known = parts.plex.index, parts.history.get(INDEX) or {}
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

    def _look_at_settings(self) -> None:
        """Ask for a full pass once other settings, or another version, have rested."""
        parts, generation = self._parts, self._runner.generation
        known = parts.history.get(SETTINGS) or {}
        now = parts.env.time()
        if known.get("seen") != generation:
            first = "seen" not in known
            done = generation if first else known.get("compared")
            known = {"seen": generation, "since": now, "compared": done}
            parts.history.set(SETTINGS, known)
        if known["compared"] != generation and not (
            0 <= now - known["since"] < parts.env.timing.settings_rest
        ):
            parts.history.set(SETTINGS, {**known, "compared": generation})
            self._passes.ask_full("other settings or another version")

    def _offer_libraries(self) -> None:
        """Tell the user once about each library that came after the first run."""
        offered, history = self._parts.plex.offered, self._parts.history
        said = history.get(OFFERED, [])
        if [library.key for library in offered] != said:
            history.set(OFFERED, [library.key for library in offered])
        for library in (one for one in offered if one.key not in said):
            self._parts.reporter.notify_user(
                "info",
                f"Plex has a new library {library.name!r}, which PlexSync leaves alone. To sync"
                " it, name it in the setting Plex libraries, with the others",
            )

    def _scope(self, *, only_stash: bool = False) -> Scope:
        return Scope(
            only_stash=only_stash,
            baseline=self._passes.baseline(),
            settled=self._passes.is_settled(),
        )


def related_pass(kind: str, object_id: int) -> Pass:
    """Return a pass over the scenes of a performer, studio, tag or group."""
    name = RELATED_KINDS[kind]
    return Pass(
        RELATED,
        filter={name: {"value": [str(object_id)], "modifier": "INCLUDES"}},
        why=f"{kind} {object_id}",
    )


def _changed(objects: Sequence[tuple[int, str]], seen: dict[str, str]) -> list[int]:
    """Return the objects that were changed since those in `seen` were listed.

    Objects that were not on the page then, and are older than all of it, were not changed.
    """
    oldest = min((parse_time(one) or 0.0 for one in seen.values()), default=-math.inf)
    is_whole = len(seen) < _PAGE
    return [
        one_id
        for one_id, updated_at in objects
        if seen.get(str(one_id)) != updated_at
        and (is_whole or str(one_id) in seen or (parse_time(updated_at) or math.inf) >= oldest)
    ]


def _time(scene: Scene) -> float:
    return parse_time(scene.updated_at) or 0.0
