"""Plan what to write to an item: from (Stash says, Plex has, the history knows) to edits.

The rules (README, "What goes where, and what wins"), per field:

- Stash's value changed: it is written. With `preserve` only where Plex is empty or has ours.
- It did not change, and Plex's differs from what was last seen: if the field is locked, a person
  changed it, and it stays. If it is not locked, it was a refresh or an item added again, and the
  field is repaired, more and more seldom.
- First meeting: an unlocked list becomes what Stash says, a locked one is added to. A locked text
  that differs is a person's: it stays in bulk work.
- Of a list only what we added ever goes; a text is emptied only where Plex still has ours.
- What the user said about a single field comes first: it is held, or Stash's value is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from history.fields import Fields, FieldState, Value
from plex.desired import Switches, lists, texts
from plex.items import PlexItem
from plex.names import folds, unique, within, without
from validation.metadata import SyncMetadata

_DAY = 86_400.0
#: Seconds between the repairs of a field that keeps drifting; after the last it is left.
REPAIR_AFTER = (0.0, _DAY, 7 * _DAY)
#: Plex stores a rating per user and moves it without a lock: it is never repaired.
NEVER_REPAIRED = ("userRating",)
#: Lists that belong to the user: they are only ever added to.
_ONLY_ADDED_TO = ("collection",)


@dataclass(frozen=True)
class Intent:
    """Why an item is written."""

    #: the user saved this scene, or asked for it
    saved: bool = False
    #: go over a person's edit in Plex
    force: bool = False
    #: try again what Plex refused
    retry: bool = False
    #: the history was lost: write texts that differ, take nothing out of a list
    additive: bool = False


@dataclass(frozen=True)
class Edits:
    """Planned edits of one item."""

    #: Plex field → (what it had, what it gets)
    changes: Mapping[str, tuple[Value, Value]] = field(default_factory=dict)
    #: the states of all fields, once the request was sent
    fields: Fields = field(default_factory=dict)
    #: fields in which something else than Stash's value stays in Plex
    kept: tuple[str, ...] = ()
    #: fields that drifted once more and are left from now on, as repairs did not last
    left: tuple[str, ...] = ()
    lock: bool = True
    #: fields whose lock is taken off
    unlock: frozenset[str] = frozenset()


def plan_edits(
    item: PlexItem,
    metadata: SyncMetadata,
    stem: str,
    known: Fields,
    switches: Switches,
    intent: Intent,
    now: float,
    pinned: Sequence[str] = (),
) -> Edits:
    """Plan the edits that bring `item` to what Stash says.

    Args:
        stem: the file name's stem, the title of a scene without one.
        known: what the history knows of this item's fields; empty: never met.
        now: epoch seconds.
        pinned: collections that the item must not leave; they are a person's from now on.
    """
    plan = _Plan(item, known, switches, intent, now)
    plan.pinned = pinned
    for name, wanted in texts(metadata, stem, switches):
        if not plan.is_decided(name, wanted):
            if name == "title" and not metadata.title:
                plan.stand_in(name, wanted)
            else:
                plan.text(name, wanted)
    for name, names in lists(metadata, switches):
        if not plan.is_decided(name, names):
            plan.list(name, names)
    return Edits(
        plan.changes, plan.fields, tuple(plan.kept), tuple(plan.left), switches.lock,
        frozenset(plan.unlock),
    )  # fmt: skip


def same(one: Value | None, other: Value | None) -> bool:
    """Return whether two values are the same to Plex; names in any order."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return folds(one) == folds(other)
    return one is not None and one == other


def names_of(value: Value | None) -> tuple[str, ...]:
    """Return the names of a list field's value; none for a text, or where nothing is known."""
    return value if isinstance(value, tuple) else ()


def resolve(state: FieldState, current: Value) -> FieldState:
    """Confirm an unconfirmed write if Plex shows it."""
    if state.sent is None or not _shows(current, state):
        return state
    # An undo leaves nothing of ours but what it claims.
    is_claimed = state.held or state.claim is not None
    return replace(
        state, ours=state.claim if is_claimed else state.sent, observed=current, take=False,
        form=None, sent=None, replaced=None, claim=None, misses=0, refused=False, why="",
    )  # fmt: skip


def may_repair(state: FieldState, switches: Switches, now: float) -> bool:
    """Return whether a field that drifted is written again by now (epoch seconds)."""
    if not switches.repair or state.repairs >= len(REPAIR_AFTER):
        return False
    # A clock that was set back must not put a repair off for ever.
    return not 0 <= now - state.repaired_at < REPAIR_AFTER[state.repairs]


def _shows(current: Value, state: FieldState) -> bool:
    """Return whether a write arrived; what others did to a list in the meantime does not count."""
    if not isinstance(state.sent, tuple) or not isinstance(current, tuple):
        return same(state.sent, current)
    there = (*names_of(state.replaced), *names_of(state.ours))
    added = without(state.sent, names_of(state.replaced))
    return not without(added, current) and not within(without(there, state.sent), current)


class _Plan:
    """Collects the decisions about an item's fields."""

    def __init__(
        self, item: PlexItem, known: Fields, switches: Switches, intent: Intent, now: float
    ) -> None:
        # A field whose switch is off keeps its state for the day it is switched on again.
        self.fields: dict[str, FieldState] = dict(known)
        self.changes: dict[str, tuple[Value, Value]] = {}
        self.kept: list[str] = []
        self.left: list[str] = []
        self.unlock: set[str] = set()
        self.pinned: Sequence[str] = ()
        self._present = item.values
        self._locked = item.locked
        self._is_known = bool(known)
        self._switches = switches
        self._intent = intent
        self._now = now

    def is_decided(self, name: str, wanted: Value) -> bool:
        """Do as the user has said about a field; return whether the user has."""
        state, current = self.fields.get(name), self._present[name]
        if state is None or not (state.held or state.take):
            return False
        if state.held:
            self._hold(name, resolve(state, current), wanted, current)
        else:
            self._take(name, resolve(state, current), wanted, current)
        return True

    def _hold(self, name: str, state: FieldState, wanted: Value, current: Value) -> None:
        """Leave a field alone; but an undo that did not arrive is sent once more."""
        if state.sent is not None and same(current, state.replaced):
            self.changes[name] = (current, state.sent)
            if not state.was_locked:
                self.unlock.add(name)
        else:
            state = replace(state, sent=None, replaced=None, claim=None, misses=0)
        self.fields[name] = replace(
            state, wanted=wanted, observed=current, kept=False, waits=False, take=False
        )

    def _take(self, name: str, state: FieldState, wanted: Value, current: Value) -> None:
        """Write Stash's value, whatever Plex has."""
        target, claim, ours = wanted, None, current if same(current, state.ours) else None
        if isinstance(wanted, tuple) and isinstance(current, tuple):
            if name in _ONLY_ADDED_TO:
                target = unique((*wanted, *current))
            known = names_of(state.ours)
            ours = claim = (*within(known, wanted), *without(wanted, (*current, *known)))
        if same(target, current):
            self._note(name, replace(state, take=False), wanted, current, ours=ours)
        else:
            self._write(name, state, wanted, target, current, claim=claim)

    def text(self, name: str, wanted: str) -> None:
        current = self._present[name]
        assert isinstance(current, str)
        state = resolve(self.fields.get(name, FieldState()), current)
        if state.refused and name in self._locked and current != state.observed:
            state = replace(state, refused=False, why="")  # a person has changed it since
        is_ours = state.ours is not None and current == state.ours
        is_new = state.wanted != wanted
        is_form = not is_new and state.form == current and not self._intent.force
        if wanted == current or is_form:
            self._note(name, state, wanted, current, ours=current if is_ours else None)
        elif state.refused and not is_new and not self._tries_again:
            self._keep(name, state, wanted, current)
        elif not wanted:
            # With `preserve`, too: the value is ours, and not an edit of the user.
            if is_ours:
                self._write(name, state, wanted, "", current)
            else:
                self._note(name, state, wanted, current, ours=state.ours)
        elif self._switches.preserve and current and not is_ours:
            self._keep(name, state, wanted, current)
        elif self._intent.force:
            self._write(name, state, wanted, wanted, current)
        elif state.wanted is None and not is_ours and self._is_persons(name, current):
            self._keep(name, state, wanted, current)
        elif is_new or (self._intent.saved and state.kept and state.before is None):
            # Kept at the first meeting until the scene itself is saved.
            self._write(name, state, wanted, wanted, current)
        else:
            self._drifted(name, state, wanted, current, wanted)

    def stand_in(self, name: str, wanted: str) -> None:
        """Decide about a text that Stash does not have: it replaces only what is empty or ours."""
        current = self._present[name]
        assert isinstance(current, str)
        state = resolve(self.fields.get(name, FieldState()), current)
        if current and current not in (state.ours, state.form):
            self._note(name, state, wanted, current, ours=state.ours)
        else:
            self.text(name, wanted)

    def _is_persons(self, name: str, current: str) -> bool:
        """Return whether a text at the first meeting is a person's; an empty one may be filled."""
        is_kept = not (self._intent.saved or self._intent.additive)
        return name in self._locked and bool(current) and is_kept

    def list(self, name: str, wanted: tuple[str, ...]) -> None:
        present = self._present[name]
        assert isinstance(present, tuple)
        state = self.fields.get(name, FieldState())
        if state.wanted is None and self._is_known:
            # On a known item, a list that was never looked at was empty on our side.
            state = replace(state, ours=state.ours or (), wanted=(), observed=present)
        state = resolve(state, present)
        if state.ours is None and not _is_met(state, present):
            self._meet_list(name, state, wanted, present)
            return
        # A write that was not confirmed may have arrived in part.
        ours = unique((*names_of(state.ours), *within(names_of(state.claim), present)))
        if name in _ONLY_ADDED_TO:
            ours = without(ours, self.pinned)
        theirs = without(present, ours)
        kept = wanted
        if self._switches.preserve and state.sent is None and name in self._locked:
            kept = without(wanted, without(ours, present))  # what the user took out stays out
        target = unique((*kept, *theirs))
        claim = (*within(ours, wanted), *without(wanted, (*present, *ours)))
        is_new = not same(state.wanted, wanted)
        # A refresh took out what was ours: a person's edit would have locked the list.
        is_reset = bool(ours) and name not in self._locked
        state = replace(state, ours=ours)
        if same(target, present):
            self._note(name, state, wanted, present, ours=claim)
        elif self._switches.preserve and present and theirs == present and not is_reset:
            # Nothing is ours.
            self._keep(name, state, wanted, present)
        elif is_new or state.sent is not None or self._intent.force:
            self._write(name, state, wanted, target, present, claim=claim)
        elif missing := self._missing(state, kept, present):
            self._drifted(name, state, wanted, present, (*present, *missing), claim=claim)
        else:
            self._note(name, state, wanted, present, ours=ours)

    def _missing(
        self, state: FieldState, kept: tuple[str, ...], present: tuple[str, ...]
    ) -> tuple[str, ...]:
        """Return the names to put back; none while Plex has its own form of what is ours."""
        if state.form is not None and not without(names_of(state.ours), present):
            return ()
        return without(kept, present)

    def _meet_list(
        self, name: str, state: FieldState, wanted: tuple[str, ...], present: tuple[str, ...]
    ) -> None:
        """Decide about a list of an item that was never synced."""
        is_locked = name in self._locked and not self._switches.replace_lists
        added = without(wanted, present)
        if added and present and self._switches.preserve:
            self._keep(name, replace(state, ours=()), wanted, present)
            return
        target, claim = wanted, wanted
        if not wanted or self._switches.preserve:
            target, claim = present or wanted, added
        elif name in _ONLY_ADDED_TO or is_locked or self._intent.additive:
            target, claim = (*present, *added), added
        if same(target, present):
            self._note(name, state, wanted, present, ours=claim)
        else:
            self._write(name, state, wanted, target, present, claim=claim)

    def _drifted(
        self, name: str, state: FieldState, wanted: Value, current: Value, target: Value,
        claim: Value | None = None,
    ) -> None:  # fmt: skip
        """Decide about a field that differs although Stash's value is the same as before."""
        is_locked = name in self._locked or name in NEVER_REPAIRED
        if state.refused and self._tries_again:
            self._write(name, state, wanted, target, current, claim=claim)
        elif state.refused:
            self._keep(name, state, wanted, current)
        elif state.sent is not None and (not is_locked or _is_before(state, current)):
            # The write never arrived.
            self._write(name, state, wanted, target, current, claim=claim)
        elif is_locked:
            self._keep(name, state, wanted, current)
        elif self._intent.saved or may_repair(state, self._switches, self._now):
            repaired = replace(state, repairs=state.repairs + 1, repaired_at=self._now)
            self._write(name, repaired, wanted, target, current, claim=claim)
        else:
            is_over = state.repairs >= len(REPAIR_AFTER)
            if self._switches.repair and state.repairs == len(REPAIR_AFTER):
                self.left.append(name)
                state = replace(state, repairs=state.repairs + 1)  # said once
            waits = self._switches.repair and not is_over
            self.fields[name] = replace(state, observed=current, waits=waits)

    @property
    def _tries_again(self) -> bool:
        return self._intent.retry or self._intent.saved or self._intent.force

    def _keep(self, name: str, state: FieldState, wanted: Value, current: Value) -> None:
        """Leave what Plex has."""
        state = _renewed(state, wanted)
        self.kept.append(name)
        self.fields[name] = replace(
            state, wanted=wanted, observed=current, sent=None, replaced=None, claim=None,
            kept=not state.refused, waits=False,
        )  # fmt: skip

    def _note(
        self, name: str, state: FieldState, wanted: Value, current: Value, ours: Value | None
    ) -> None:
        """Note that there is nothing to write."""
        state = _renewed(state, wanted)
        lasted = not 0 <= self._now - state.repaired_at < REPAIR_AFTER[-1]
        self.fields[name] = replace(
            state, wanted=wanted, observed=current, ours=ours,
            sent=None, replaced=None, claim=None, misses=0, kept=False, refused=False, why="",
            waits=False, repairs=0 if lasted else state.repairs,
        )  # fmt: skip

    def _write(
        self, name: str, state: FieldState, wanted: Value, target: Value, current: Value,
        claim: Value | None = None,
    ) -> None:  # fmt: skip
        # What a write that is repeated replaced is what the first attempt found.
        is_repeated = state.sent is not None and same(state.wanted, wanted)
        first = state.replaced if is_repeated and state.replaced is not None else current
        state = _renewed(state, wanted)
        self.changes[name] = (current, target)
        self.fields[name] = replace(
            state, before=current if state.before is None else state.before, wanted=wanted,
            was_locked=name in self._locked if state.before is None else state.was_locked,
            observed=current, sent=target, replaced=first, claim=claim, kept=False, refused=False,
            why="", waits=False, misses=0 if state.refused else state.misses,
        )  # fmt: skip


def _renewed(state: FieldState, wanted: Value) -> FieldState:
    """Forget how Plex took the value that Stash had before, if Stash has another by now."""
    if same(state.wanted, wanted):
        return state
    return replace(state, form=None, refused=False, why="", kept=False, misses=0, repairs=0)


def _is_met(state: FieldState, present: tuple[str, ...]) -> bool:
    """Return whether a list was synced: its first write may have been lost."""
    added = without(names_of(state.claim), names_of(state.replaced))
    is_lost = state.sent is not None and not within(added, present)
    return state.wanted is not None and not is_lost


def _is_before(state: FieldState, current: Value) -> bool:
    """Return whether Plex has what it had before our last write."""
    return same(current, state.replaced) or same(current, state.ours)
