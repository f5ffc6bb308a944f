"""Passes over scenes by id, in slices: all of them, the recent ones, or those of a renamed object.

A pass is a row on disk: what it is about, and how far it is. A killed worker's successor goes on.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from common.daily import DAY, last_time, next_time
from history.changes import ORIGIN
from history.records import POSTER
from history.store import LOST_AT, Row
from queue.lease import is_held
from queue.table import BULK_WORK
from queue.timestamps import parse_time
from stash.records import Scene
from worker.agreements import is_same
from worker.collections import note_full_pass, sort_collections
from worker.job_runner import JobRunner
from worker.parts import Parts
from worker.put_cover import put_cover
from worker.reconcile.approval import Approval
from worker.reconcile.comparer import Comparer, Scope
from worker.reconcile.forgetting import Forgetting, ScenesMissing, check_scenes_there
from worker.undo import FAILED, MOST_FAILURES, MOST_LEFT, ItemFailed, Undo

#: Scenes that are read from Stash in one query.
PAGE = 500
#: Rows that a pass may have in the queue.
AHEAD = 200
#: Full passes of two days are not exactly a day apart.
_ALMOST = 0.8
#: Of the scenes in Plex, the share whose item a full pass reads whole.
_READ_SHARE = 30

#: Kinds of passes, in the order in which they get their slices.
RELATED, SYNC, TRY, APPROVED, FULL = "related", "sync", "try", "approved", "full"
UNDO = "undo"
_ORDER = (RELATED, TRY, SYNC, APPROVED, FULL)
#: Kinds that a task asks for: what they find differing is written.
_ASKED = (SYNC, TRY)

#: State in the history: when the last full pass ended, and when one was last asked for.
FULL_ENDED = "full_pass_ended_at"
ASKED_FOR = "full_pass_asked_for_at"
#: State: local time of day of the daily full pass, "HH:MM".
COMPARE_AT = "compare_at"
#: State: why another full pass is wanted, once enough time has passed since the last.
WANTED = "full_pass_wanted"
#: State: the settings (as a hash) that were seen last, since when, and the last compared ones.
SETTINGS = "settings"
#: State: scenes that were last changed by then were there when PlexSync was installed.
BASELINE = "baseline"
BASELINE_DONE = "baseline_done"


@dataclass
class Pass:
    """One pass, as it is on disk."""

    kind: str
    #: of Stash's scenes; None: all
    filter: dict[str, Any] | None = None
    #: only scenes that were changed since, in epoch seconds
    since: float | None = None
    #: id of the last scene that was dealt with
    cursor: int = 0
    started_at: float = 0.0
    total: int = 0
    done: int = 0
    #: all scenes were read; only queued rows are left
    is_read: bool = False
    force: bool = False
    command: int | None = None
    #: of the task that waits; if it is gone, the pass is dropped
    lease: str | None = None
    #: status → scenes that nothing was to be done for
    left: dict[str, int] = field(default_factory=dict)
    why: str = ""
    #: Stash may have been without its database: nothing is concluded
    is_void: bool = False
    #: scenes that may be queued in all; None: any number
    limit: int | None = None
    queued: int = 0
    #: of the run that its changes are recorded under; 0: the pass's own
    number: int = 0
    #: the changes to take back; see `worker.undo.find`
    undo: dict[str, Any] = field(default_factory=dict)
    #: times in a row that Plex failed at the next item of an undo, or that a worker died in it
    failures: int = 0
    #: what was taken back: "scenes" and "fields", and "left": [scene id, field, why]
    outcome: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what a damaged row may have.

        Raises:
            ValueError: the kind is unknown.
        """
        if self.kind not in (*_ORDER, UNDO):
            raise ValueError(f"no kind of pass: {self.kind!r}")

    def run_name(self, pass_id: int) -> str:
        """Return what its changes are recorded under; of one that was approved, some of them."""
        name = ORIGIN if self.kind == APPROVED else self.kind
        return f"{name}-{self.number or pass_id}"


@dataclass(frozen=True)
class Page:
    """Scenes that were read and not dealt with yet."""

    pass_id: int
    #: the moment before they were read, in epoch seconds
    read_at: float
    scenes: list[Scene]
    #: Stash has none after these
    is_last: bool


class Passes:
    """The passes that are not finished, and how to go on with them."""

    def __init__(self, parts: Parts, runner: JobRunner) -> None:
        self._parts = parts
        self._runner = runner
        self.comparer = Comparer(parts, runner)
        self.approval = Approval(parts)
        self._forgetting = Forgetting(parts)
        self._undo = Undo(parts)
        self._page: Page | None = None
        #: of the full pass that began in this process: rows that Stash's pages did not have
        self._missing: list[Row] = []
        self._watched: int | None = None
        self._to_read: frozenset[int] = frozenset()

    # --- asking for passes

    def ask_full(self, why: str, *, at_most_every: float = 0.0) -> None:
        """Ask for a full pass, unless one is under way or was asked for a moment ago."""
        now, history = self._parts.env.time(), self._parts.history
        last = history.get(ASKED_FOR, -math.inf)
        # One under way may be past what has changed now.
        if any(one.kind == FULL for one in self.all().values()) or 0 <= now - last < at_most_every:
            history.set(WANTED, why)
            return
        history.set(ASKED_FOR, now)
        history.set(WANTED, None)
        self.start(Pass(FULL, why=why))

    def ask_full_if_due(self) -> None:
        """Ask for the daily full pass, and for one that had to wait."""
        history, timing = self._parts.history, self._parts.env.timing
        clock = self._parts.plex.config.compare_at
        if history.get(COMPARE_AT) != clock:
            history.set(COMPARE_AT, clock)
        if self._is_full_due(clock):
            if all(one.kind != FULL for one in self.all().values()):
                self.ask_full("daily")
        elif history.get(WANTED):
            self.ask_full(history.get(WANTED), at_most_every=timing.count_pass)

    def next_full(self, after: float) -> float:
        """Return when the first daily comparison after a moment is due, both in epoch seconds."""
        clock = self._parts.history.get(COMPARE_AT, "")
        try:
            return next_time(clock, after) if clock else math.inf
        except ValueError:  # damaged; the pass that is due now stores it again
            return after

    def _is_full_due(self, clock: str) -> bool:
        now, timing = self._parts.env.time(), self._parts.env.timing
        ended = self._parts.history.get(FULL_ENDED, -math.inf)
        if ended > now or ended < last_time(clock, now):  # in the future: the clock was set back
            return True
        return timing.full_pass < DAY and now - ended >= timing.full_pass  # a day of tests

    def start(self, one: Pass) -> int:
        """Store a pass; the loop goes on with it.

        Returns:
            Its id, or that of a pass that will do the same.
        """
        if one.kind == RELATED:
            for pass_id, other in self.all().items():
                if _includes(other, one):
                    return pass_id
        one.started_at = one.started_at or self._parts.env.time()
        return self._parts.history.save_pass(None, dataclasses.asdict(one))

    def all(self) -> dict[int, Pass]:
        """Return the passes that are not finished; end those that can't be read."""
        found = {}
        for pass_id, content in self._parts.history.passes().items():
            try:
                found[pass_id] = Pass(**content)
            except (TypeError, ValueError):  # a damaged name of a value, or kind
                self._parts.history.end_pass(pass_id)
        return found

    def detach(self, pass_id: int) -> None:
        """Let a pass go on without the task that asked for it."""
        one = self.all().get(pass_id)
        if one is not None:
            one.lease = one.command = None
            self._save(pass_id, one)

    # --- going on

    def room(self) -> int:
        """Return how many rows may be queued now."""
        return AHEAD - self._parts.queue.count_kind(BULK_WORK)

    def drop_left(self) -> None:
        """Drop the passes whose task is gone.

        To be called before each batch: else their rows that are queued would still be written.
        """
        data_dir = self._parts.data_dir
        for pass_id, one in self.all().items():
            if one.lease and data_dir is not None and not is_held(data_dir, one.lease):
                self.drop(pass_id)

    def next(self) -> int | None:
        """Return the pass whose slice is next; end those without a task that are done."""
        self.drop_left()
        ready = []
        for pass_id, one in self.all().items():
            if not one.is_read:
                if one.kind != UNDO:
                    ready.append((pass_id, one))
            elif one.command is None:
                self._parts.history.end_pass(pass_id)
        ready.sort(key=lambda one: (one[1].failures >= MOST_FAILURES, _ORDER.index(one[1].kind)))
        return ready[0][0] if ready and self.room() > 0 else None

    def next_undo(self) -> int | None:
        """Return the undo whose step is next."""
        undos = (key for key, one in self.all().items() if one.kind == UNDO and not one.is_read)
        return next(undos, None)

    def count_death(self, pass_id: int | None) -> None:
        """Count the death of the last worker's process, if it had this pass in hand.

        After some deaths an undo leaves the item, and any other pass comes after the others.
        """
        one = None if pass_id is None else self.all().get(pass_id)
        if pass_id is None or one is None:
            return
        one.failures += 1
        self._save(pass_id, one)
        if one.kind != UNDO and one.failures == MOST_FAILURES:
            self._parts.reporter.notify_user(
                "warning",
                f"PlexSync's worker died {MOST_FAILURES} times while it compared scenes with Plex."
                " Edits and other comparisons go before this one",
            )

    def end_reading(self, pass_id: int) -> None:
        """Let a pass queue nothing more; drop its rows that were not started."""
        one = self.all().get(pass_id)
        if one is not None:
            self._parts.queue.drop_pass(pass_id)
            if one.kind == APPROVED:
                self.approval.withdraw()
            one.is_read = True
            self._save(pass_id, one)

    def drop(self, pass_id: int) -> None:
        """Stop a pass, with its rows that were not started; edits merged into them stay."""
        self._parts.queue.drop_pass(pass_id)
        self._parts.history.end_pass(pass_id)
        self._page = None

    def run_slice(self, pass_id: int) -> None:
        """Go on with a pass for one slice.

        Raises:
            SettingsError, StashUnavailable, StashRefused, StashQueryError
            PlexTemporaryError, PlexPermanentError
        """
        one = self.all()[pass_id]
        self._parts.in_hand.note_pass(pass_id)
        try:
            if one.kind == APPROVED:
                self._queue_approved(pass_id, one)
            elif one.kind == UNDO:
                self._undo_some(pass_id, one)
            else:
                self._read_slice(pass_id, one)
        finally:
            self._parts.in_hand.note(())

    def _read_slice(self, pass_id: int, one: Pass) -> None:
        try:
            self._slice(pass_id, one)
        except BaseException:
            self._page = None
            if self._watched == pass_id:
                self._watched = None  # nothing is concluded from a listing that failed
            raise

    def finished(self) -> list[Pass]:
        """Return the passes of commands of which nothing is left to do, and forget them."""
        ended = {
            pass_id: one
            for pass_id, one in self.all().items()
            if one.command is not None and one.is_read and not self._due_rows(pass_id)
        }
        for pass_id in ended:
            self._parts.history.end_pass(pass_id)
        return list(ended.values())

    def _due_rows(self, pass_id: int) -> int:
        return self._parts.queue.count_pass(pass_id, self._parts.env.time())

    def _slice(self, pass_id: int, one: Pass) -> None:
        parts = self._parts
        assert parts.stash is not None
        parts.plex.libraries()
        if one.cursor == 0:
            self._begin(pass_id, one)
        page = self._next_page(pass_id, one)
        scenes, is_last = page.scenes, page.is_last
        in_scope = [scene for scene in scenes if _is_since(scene, one.since)]
        compare = self.comparer.try_some if one.kind == TRY else self.comparer.compare
        result = compare(
            in_scope, page.read_at, self._scope(pass_id, one), room=self._room_of(one),
            seconds=parts.env.timing.slice,
        )  # fmt: skip
        one.queued += result.queued
        is_whole = result.done == len(in_scope)
        last = scenes[-1].id if is_whole and scenes else one.cursor
        if result.done and not is_whole:
            last = in_scope[result.done - 1].id
        if self._watched == pass_id:
            self._look_for_missing(one, scenes, last, is_end=is_whole and is_last)
        one.cursor, one.done, one.failures = last, one.done + result.done, 0
        one.left = dict(Counter(one.left) + result.left)
        left = [scene for scene in scenes if scene.id > last]
        self._page = dataclasses.replace(page, scenes=left) if left else None
        is_full = one.limit is not None and one.queued >= one.limit
        if (is_whole and is_last) or is_full:
            self._end_reading(pass_id, one)
        self._save(pass_id, one)

    def _room_of(self, one: Pass) -> int:
        """Return how many rows a pass may queue now."""
        return self.room() if one.limit is None else min(self.room(), one.limit - one.queued)

    def _undo_some(self, pass_id: int, one: Pass) -> None:
        """Take back the next changes, or put up the cover that the user has scaled down."""
        if "cover" in one.undo:
            scene_id = int(one.undo["cover"])
            is_left = one.failures >= MOST_FAILURES
            why = {POSTER: FAILED} if is_left else put_cover(self._parts, scene_id)
            left = [[scene_id, *each] for each in why.items()]
            one.outcome = {"scenes": int(not why), "left": left, "left_count": len(left)}
            one.is_read, one.done = True, 1
            self._save(pass_id, one)
            return
        number = one.number or pass_id
        try:
            cursor, done = self._undo.run(one.undo, number, one.cursor, one.failures)
        except ItemFailed:
            one.failures += 1
            self._save(pass_id, one)
            raise
        if done:
            one.failures = 0
        found = Counter(one.outcome.get("fields", {}))
        left = list(one.outcome.get("left", ()))
        for unit, outcome in done:
            found.update(outcome.undone)
            left += [[unit.row.scene_id, *each] for each in outcome.left.items()]
        scenes = {unit.row.scene_id for unit, _ in done}
        one.done += len(scenes)
        one.outcome = {
            "scenes": one.outcome.get("scenes", 0)
            + len({unit.row.scene_id for unit, outcome in done if outcome.undone}),
            "fields": dict(found),
            "left": left[:MOST_LEFT],
            "left_count": one.outcome.get("left_count", 0)
            + sum(len(outcome.left) for _, outcome in done),
        }
        one.cursor, one.is_read = max(one.cursor, cursor), cursor < 0
        self._save(pass_id, one)

    def _begin(self, pass_id: int, one: Pass) -> None:
        parts = self._parts
        assert parts.stash is not None
        one.total = parts.stash.scene_count(one.filter)
        self._page = None
        if one.kind != FULL:
            return
        try:
            check_scenes_there(parts, one.total)
            self._watched = pass_id
        except ScenesMissing as error:  # Stash may be without its database: nothing is concluded
            self._watched, one.is_void = None, True
            parts.reporter.notify_user("warning", str(error))
        self._missing = []
        if not (one.is_void or self.approval.is_granted()):
            parts.history.drop_proposals()
        known = sum(parts.history.count().values())
        some_time = parts.env.time() - parts.env.timing.full_pass / 2  # not those of just now
        count = math.ceil(known / _READ_SHARE)
        oldest = parts.history.oldest_read(parts.plex.server, some_time, count)
        self._to_read = frozenset(oldest)

    def _next_page(self, pass_id: int, one: Pass) -> Page:
        if self._page is not None and self._page.pass_id == pass_id:
            return self._page
        assert self._parts.stash is not None
        read_at = self._parts.env.time()
        scenes = self._parts.stash.page_after(one.cursor, PAGE, one.filter)
        return Page(pass_id, read_at, scenes, is_last=len(scenes) < PAGE)

    def unasked_scope(self, *, only_stash: bool = False) -> Scope:
        """Return the scope of a comparison that is neither asked for nor part of a pass."""
        return Scope(only_stash=only_stash, baseline=self.baseline(), settled=self.is_settled())

    def _scope(self, pass_id: int, one: Pass) -> Scope:
        return Scope(
            pass_id=pass_id if one.kind in _ASKED else None,
            run=one.run_name(pass_id) if one.kind in _ASKED else "",
            adopt=one.kind in _ASKED,
            force=one.force,
            only_stash=one.kind == RELATED,
            baseline=self.baseline(),
            settled=one.kind in _ASKED or self.is_settled(),
            read=self._to_read if one.kind == FULL else frozenset(),
        )

    def _look_for_missing(
        self, one: Pass, scenes: Sequence[Scene], last: int, *, is_end: bool
    ) -> None:
        """Note the rows whose scenes Stash's page does not have."""
        rows = self._parts.history.rows(one.cursor + 1, 2**62 if is_end else last)
        there = {scene.id: scene for scene in scenes}
        self._missing += [
            row for scene_id, found in rows.items() if scene_id not in there for row in found
        ]
        self._forgetting.came_back(
            row
            for scene_id, found in rows.items()
            for row in found
            if scene_id in there and is_same(row, there[scene_id])
        )

    def _end_reading(self, pass_id: int, one: Pass) -> None:
        one.is_read = True
        self._save(pass_id, one)
        if one.kind == SYNC and one.filter is None:
            self.approval.clear()  # the user has had all of it synced
            self.approval.forget_declined()
        if one.kind != FULL:
            self.approve()
            return
        history = self._parts.history
        if self._watched == pass_id:
            self.approval.lower_declined()
            self._forgetting.conclude(self._missing)
            self._purge()
            self._look_at_collections()
            history.set(BASELINE_DONE, True)
            if not history.count_proposals():
                history.set(LOST_AT, None)  # all scenes were met again
        self._watched, self._missing = None, []
        history.set(FULL_ENDED, self._parts.env.time())
        if not one.is_void:
            self.approve()

    def approve(self) -> None:
        """Go on with what was proposed, unless it is too much to be done unasked.

        A pass under way may propose more: then its end decides.
        """
        if any(one.kind in (RELATED, FULL) and not one.is_read for one in self.all().values()):
            return
        self.approval.decide()
        self.approval.ask_visible()
        self.start_approved()

    def start_approved(self) -> None:
        """Start the pass that queues granted proposals, unless it is under way."""
        if self.approval.is_granted() and all(one.kind != APPROVED for one in self.all().values()):
            self.start(Pass(APPROVED))

    def baseline(self) -> float | None:
        """Return the time of the installation, until all scenes of that time are known."""
        history = self._parts.history
        return None if history.get(BASELINE_DONE) else history.get(BASELINE, -math.inf)

    def is_settled(self) -> bool:
        """Return whether the settings in effect have rested, so that all scenes follow them."""
        known = self._parts.history.get(SETTINGS, {})
        return bool(known.get("compared") == self._runner.generation)

    def _look_at_collections(self) -> None:
        """Note which of ours may end soon, and give them their sort titles."""
        plex, env = self._parts.plex, self._parts.env
        if plex.index.is_complete(plex.keys):
            note_full_pass(self._parts.history, env.time(), env.timing.full_pass * _ALMOST)
        sort_collections(plex, self._parts.history, self._parts.reporter)

    def _purge(self) -> None:
        plex = self._parts.plex
        if plex.index.is_complete(plex.keys):
            self._parts.history.purge(plex.server, lambda key: bool(plex.index.updated_at([key])))

    def _queue_approved(self, pass_id: int, one: Pass) -> None:
        """Queue proposals that were approved, as far as there is room."""
        one.cursor = self.approval.queue_next(one.cursor, self.room(), pass_id)
        if one.cursor < 0:
            self._parts.history.end_pass(pass_id)
        else:
            self._save(pass_id, one)

    def _save(self, pass_id: int, one: Pass) -> None:
        self._parts.history.save_pass(pass_id, dataclasses.asdict(one))


def _includes(other: Pass, one: Pass) -> bool:
    """Return whether a pass that has not begun will compare all scenes of another one."""
    has_begun = other.is_read or other.cursor > 0
    is_same = (other.kind, other.why) == (one.kind, one.why)
    return is_same and not has_begun and (other.since or 0.0) <= (one.since or 0.0)


def _is_since(scene: Scene, since: float | None) -> bool:
    return since is None or (parse_time(scene.updated_at) or since) >= since
