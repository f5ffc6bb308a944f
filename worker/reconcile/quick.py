"""The quick pass: what changed last in Stash and in Plex, in a handful of requests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from queue.timestamps import parse_time
from stash.client import RELATED_KINDS
from stash.records import Scene
from worker.job_runner import JobRunner
from worker.listener import Listener
from worker.parts import Parts
from worker.reconcile.comparer import Comparer
from worker.reconcile.passes import BASELINE, RELATED, SETTINGS, Pass, Passes
from worker.reconcile.plex_changes import PlexChanges

#: State in the history.
QUICK = "quick_pass"
RAN_AT = "quick_pass_ran_at"
#: State: the keys of the libraries that the user was told about.
OFFERED = "offered_libraries"
#: Scenes, and related objects of a kind, that are read.
_PAGE = 100
#: Kinds that have parents and children.
_NESTED = ("studio", "tag")
#: Seconds below the watermark that are read again: clocks differ, and imports date back.
_OVERLAP = 7_200.0
#: Clock-skew allowance, in seconds.
_CLOCK_SKEW = 5.0


class QuickPass:
    """Looks at the newest changes, every few minutes."""

    def __init__(
        self,
        parts: Parts,
        runner: JobRunner,
        passes: Passes,
        plex_changes: PlexChanges,
        listener: Listener,
    ) -> None:
        self._parts = parts
        self._runner = runner
        self._passes = passes
        self._plex_changes = plex_changes
        self._listener = listener
        self._comparer: Comparer = passes.comparer
        self._is_in_use = True
        self._ended_at = -math.inf

    def note_use(self) -> None:
        """Note that Stash or Plex was used since the last look: the next one is due sooner."""
        self._is_in_use = True

    def is_due(self) -> bool:
        """Return whether the next quick pass is due."""
        return self.due_in() <= 0

    def due_in(self) -> float:
        """Return seconds until the next quick pass; a last one in the future counts as due.

        While nothing is used it is due seldom, as it makes disks spin that sleep. Stash's own
        changes are noticed (`worker.presence`); Plex's only if it tells of them. One is always due
        when the daily comparison is.
        """
        timing, now = self._parts.env.timing, self._parts.env.time()
        ran_at = self._parts.history.get(RAN_AT, -math.inf)
        if not -math.inf < ran_at <= now:
            return 0.0
        is_quiet = self._listener.is_connected and not self._is_in_use
        # Counted from the end of a pass: one that takes long leaves time for other work.
        last = max(ran_at, self._ended_at) if self._ended_at <= now else ran_at
        due_at = last + (timing.quiet_pass if is_quiet else timing.quick_pass)
        return float(min(due_at, self._passes.next_full(ran_at)) - now)

    def run(self) -> None:
        """Look at the latest changes in Stash and in Plex.

        Raises:
            SettingsError, StashUnavailable, StashRefused, StashQueryError
            PlexTemporaryError, PlexPermanentError
        """
        self._parts.history.set(RAN_AT, self._parts.env.time())  # a failure waits for its turn
        self._is_in_use = True  # until it went well: the turn after a failure is the sooner one
        try:
            self._look()
        finally:
            self._ended_at = self._parts.env.time()
        self._is_in_use = False

    def _look(self) -> None:
        state = self._state()
        self._parts.plex.libraries(look=True)
        self._look_at_scenes(state)
        self._look_at_related(state)
        self._parts.history.set(QUICK, state)
        self._plex_changes.look()
        self._look_at_settings()
        self._offer_libraries()
        self._passes.ask_full_if_due()
        self._passes.approve()

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = self._parts.history.get(QUICK, {})
        return state

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
            recent, read_at, self._passes.unasked_scope(only_stash=True), room=self._passes.room(),
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
            before = known.get(kind, {})
            seen = {str(one_id): updated_at for one_id, updated_at in objects}
            known[kind] = {"count": count, "seen": seen}
            if not {"count", "seen"} <= before.keys():  # the first look, or damaged
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
                for one in related_passes(kind, one_id):
                    self._passes.start(one)

    def _look_at_settings(self) -> None:
        """Ask for a full pass once other settings, or another version, have rested."""
        parts, generation = self._parts, self._runner.generation
        known = parts.history.get(SETTINGS, {})
        now = parts.env.time()
        if known.get("seen") != generation:
            first = "seen" not in known
            done = generation if first else known.get("compared")
            known = {"seen": generation, "since": now, "compared": done}
            parts.history.set(SETTINGS, known)
            self._passes.approval.forget_declined()
        rested = now - known.get("since", -math.inf)
        if known.get("compared") != generation and not (
            0 <= rested < parts.env.timing.settings_rest
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


def related_passes(kind: str, object_id: int) -> list[Pass]:
    """Return passes over the scenes of a performer, studio, tag or group.

    What is below a studio or a tag shows its name too, and so do scenes whose performers have the
    tag. That is a pass of its own: with `performer_tags` in an OR, Stash answers "no such table".
    """
    criterion: dict[str, Any] = {"value": [str(object_id)], "modifier": "INCLUDES"}
    names = {RELATED_KINDS[kind]: f"{kind} {object_id}"}
    if kind in _NESTED:
        criterion["depth"] = -1
    if kind == "tag":
        names["performer_tags"] = f"performers' tag {object_id}"
    return [Pass(RELATED, filter={name: criterion}, why=why) for name, why in names.items()]


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
