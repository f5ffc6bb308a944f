"""Plan what to write to an item: from (Stash says, Plex has, the history knows) to edits.

The rules (README, "What goes where, and what wins"), per field:

- Stash's value changed: it is written. With `preserve` only where Plex is empty or has ours.
- It did not change, and Plex's differs from what was last seen: if the field is locked, a person
  changed it, and it stays. If it is not locked, it was a refresh or an item added again, and the
  field is repaired, more and more seldom.
- First meeting: an unlocked list becomes what Stash says, a locked one is added to. A locked text
  that differs is a person's: it stays in bulk work.
- Of a list only what we added ever goes; a text is emptied only where Plex still has ours.
- If the user says that a library's values came from Stash, its lists are taken over: once per
  item, the names that were there before us count as ours.
- What the user said about a single field comes first: it is held, or Stash's value is taken.
- Where only rules or settings ask for another value, a person's edit stays until Stash's changes.
- A field that only rules fill gets back what it had when no rule fills it any more.
- What may hide an item from restricted accounts goes, or gets weaker, only after a yes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from history.fields import DECLINED, GRANTED, OPEN, Fields, FieldState, Value
from plex.desired import (
    FROM_STASH,
    OPTIONAL,
    PARTLY_MINE,
    Sources,
    Switches,
    title_of,
    values,
)
from plex.items import PlexItem
from plex.names import folds, unique, within, without
from validation.metadata import SyncMetadata

_DAY = 86_400.0
#: Seconds between the repairs of a field that keeps drifting; after the last it is left.
REPAIR_AFTER = (0.0, _DAY, 7 * _DAY)
#: Plex stores a rating per user and moves it without a lock: it is never repaired.
NEVER_REPAIRED = ("userRating",)
#: Lists that belong to the user: they are only ever added to.
_ONLY_ADDED_TO = ("collection", "label")
#: Lists whose names may be taken for Stash's where another program wrote them.
_MAY_BE_TAKEN_OVER = ("genre", "actor", "director", "collection")
#: Fields that may hide an item from restricted accounts, and seconds between two repairs of one.
PROTECTIVE = ("contentRating", "label")
_PROTECT_AFTER = 300.0
#: Content ratings from the weakest on. Of others it is not known which is the stronger one.
_STRONGER = ("g", "pg", "pg-13", "r", "nc-17", "x", "xxx")


@dataclass(frozen=True)
class Intent:
    """Why an item is written."""

    #: the user saved this scene, or asked for it
    saved: bool = False
    #: go over a person's edit in Plex
    force: bool = False
    #: try again what Plex refused
    retry: bool = False
    #: after this attempt the job is given up
    is_last: bool = False
    #: Stash is as at the last sync: only rules and settings can ask for something else
    unchanged: bool = False
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
    staying: Sequence[str] = (),
) -> Edits:
    """Plan the edits that bring `item` to what Stash says.

    Args:
        stem: the file name's stem, the title of a scene without one.
        known: what the history knows of this item's fields; empty: never met.
        now: epoch seconds.
        pinned: collections that the item must not leave; they are a person's from now on.
        staying: collections that it must not leave yet.
    """
    plan = _Plan(item, known, switches, intent, now, Sources(metadata, stem))
    plan.pinned, plan.staying = pinned, staying
    desired = values(metadata, stem, switches)
    rules = switches.rules
    # Without a title, the file's stem stands in: as a part, or where the template renders nothing.
    is_stand_in = not rules.shown(metadata.title) and (
        "title" in rules.title.parts or not title_of(metadata, stem, rules.title, rules)
    )
    for name, wanted in desired.items():
        if plan.is_decided(name, wanted):
            continue
        if isinstance(wanted, tuple):
            plan.list(name, wanted)
        elif name == "title" and is_stand_in:
            plan.stand_in(name, wanted)
        else:
            plan.text(name, wanted)
    for name in OPTIONAL:
        if name in known and name not in desired:
            plan.take_back(name)
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


def weakens(name: str, current: Value, target: Value) -> bool:
    """Return whether restricted accounts may see an item after an edit that did not before it."""
    if name not in PROTECTIVE:
        return False
    if isinstance(current, tuple):
        return bool(without(current, names_of(target)))
    order = {one: rank for rank, one in enumerate(_STRONGER)}
    before, after = (str(one).casefold() for one in (current, target))
    if not before or before == after:
        return False
    return order.get(after, -1) <= order.get(before, len(order))


def resolve(state: FieldState, current: Value) -> FieldState:
    """Confirm an unconfirmed write if Plex shows it."""
    if state.sent is None or not _shows(current, state):
        return state
    if _is_followed(state):
        state = replace(state, asked=None, asks="")
    return replace(
        state, ours=state.claimed, observed=current, take=False, form=None, sent=None,
        replaced=None, claim=None, misses=0, refused=False, why="",
    )  # fmt: skip


def may_repair(
    state: FieldState, switches: Switches, now: float, *, is_protective: bool = False
) -> bool:
    """Return whether a field that drifted is written again by now (epoch seconds).

    Args:
        is_protective: it may hide the item from restricted accounts, so it is never given up.
    """
    if is_protective:
        wait = _PROTECT_AFTER if state.repairs else 0.0
    elif not switches.repair or state.repairs >= len(REPAIR_AFTER):
        return False
    else:
        wait = REPAIR_AFTER[state.repairs]
    # A clock that was set back must not put a repair off for ever.
    return not 0 <= now - state.repaired_at < wait


def protects_at(fields: Fields) -> float | None:
    """Return when to look again for a repair of what may hide an item; None: none waits."""
    states = (fields[name] for name in PROTECTIVE if name in fields)
    waiting = [state.repaired_at for state in states if state.waits]
    # A second more: rounding must not make it too early.
    return min(waiting) + _PROTECT_AFTER + 1.0 if waiting else None


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
        self, item: PlexItem, known: Fields, switches: Switches, intent: Intent, now: float,
        sources: Sources,
    ) -> None:  # fmt: skip
        # A field whose switch is off keeps its state for the day it is switched on again.
        self.fields: dict[str, FieldState] = dict(known)
        self.changes: dict[str, tuple[Value, Value]] = {}
        self.kept: list[str] = []
        self.left: list[str] = []
        self.unlock: set[str] = set()
        self.pinned: Sequence[str] = ()
        self.staying: Sequence[str] = ()
        self._present = item.values
        self._locked = item.locked
        # After *Remove*, only content rating and labels may be left: the item counts as never met.
        self._is_known = any(name not in PROTECTIVE for name in known)
        self._switches = switches
        self._intent = intent
        self._now = now
        self._sources = sources

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
        is_new = self._is_new(name, state, wanted)
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
        elif not is_ours and self._is_persons(name, state, current):
            self._keep(name, state, wanted, current)
        elif is_new or (self._intent.saved and _is_kept_since_met(state, current)):
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

    def take_back(self, name: str) -> None:
        """Give a field what it had before us, as far as Plex still has what is ours; forget it."""
        current, state = self._present[name], resolve(self.fields[name], self._present[name])
        if state.held:
            self.fields[name] = replace(state, wanted=() if isinstance(current, tuple) else "")
            return
        before = names_of(state.before) if isinstance(current, tuple) else state.before or ""
        if isinstance(current, tuple):
            ours = unique((*names_of(state.ours), *names_of(state.claim)))
            target: Value = without(current, without(ours, names_of(before)))
        else:
            is_ours = bool(current) and current in (state.ours, state.sent, state.form)
            target = before if is_ours else current
        if same(target, current):
            del self.fields[name]
            return
        if state.refused and same(state.wanted, target) and not self._tries_again:
            self._keep(name, state, target, current)
            return
        self._write(
            name, state, target, target, current, claim=() if isinstance(target, tuple) else ""
        )
        if name in self.changes and not state.was_locked and same(target, before):
            self.unlock.add(name)

    def _is_only_a_rule(self, name: str, state: FieldState) -> bool:
        """Return whether rules alone ask for another value of a field that a person may own."""
        is_settled = state.wanted is not None and state.sent is None and not state.refused
        is_rule = self._intent.unchanged and not self._intent.saved
        if state.kept and state.source:  # a save of other fields changes nothing here
            is_rule = state.source == self._sources.of(name)
        return is_rule and is_settled and name in self._locked and not self._intent.force

    def _is_persons(self, name: str, state: FieldState, current: str) -> bool:
        """Return whether a text that is not ours is a person's, and stays in bulk work."""
        if state.wanted is None:  # first meeting: what is empty is nobody's
            is_given = name in self._locked or name in NEVER_REPAIRED
            return is_given and bool(current) and not (self._intent.saved or self._intent.additive)
        return current != state.wanted and self._is_only_a_rule(name, state)

    def _is_new(self, name: str, state: FieldState, wanted: Value) -> bool:
        """Return whether Stash's value has changed since the last sync, or was never written.

        What `preserve_plex_edits` kept never had Stash's value, so it can't have drifted.
        """
        is_free = name not in self._locked and name not in NEVER_REPAIRED
        was_preserved = state.kept and is_free and not self._switches.preserve
        return was_preserved or not same(state.wanted, wanted)

    def list(self, name: str, wanted: tuple[str, ...]) -> None:
        present = self._present[name]
        assert isinstance(present, tuple)
        state = self.fields.get(name, FieldState())
        if state.wanted is None and self._is_known:
            # On a known item, a list that was never looked at was empty on our side.
            state = replace(state, ours=state.ours or (), wanted=(), observed=present)
        known = resolve(state, present)
        state = self._taken_over(name, known, wanted, present)
        if state.ours is None and not _is_met(state, present):
            self._meet_list(name, state, wanted, present)
            return
        # A write that was not confirmed may have arrived in part.
        ours = unique((*names_of(state.ours), *within(names_of(state.claim), present)))
        kept, is_new = wanted, self._is_new(name, state, wanted)
        is_preserved = self._switches.preserve or (state is not known and not is_new)
        is_preserved = is_preserved or (is_new and self._is_only_a_rule(name, state))
        if is_preserved and state.sent is None and name in self._locked:
            kept = without(wanted, without(ours, present))  # what the user took out stays out
        is_all_theirs = not within(ours, present)
        if name == "collection":
            ours = without(ours, self.pinned)
        theirs = without(present, ours)
        staying = within(self.staying, ours) if name == "collection" else ()
        target = unique((*kept, *theirs, *staying))
        claim = (*within(ours, (*wanted, *staying)), *without(wanted, (*present, *ours)))
        # A refresh took out what was ours: a person's edit would have locked the list.
        is_reset = bool(ours) and name not in self._locked
        state = replace(state, ours=ours)
        is_left = state.waits and bool(within(without(ours, target), present))
        if same(target, present):
            self._note(name, state, wanted, present, ours=claim)
        elif self._switches.preserve and present and is_all_theirs and not is_reset:
            self._keep(name, state, wanted, present)
        elif is_new or state.sent is not None or self._intent.force or is_left:
            self._write(name, state, wanted, target, present, claim=claim)
        elif missing := self._missing(state, kept, present):
            self._drifted(name, state, wanted, present, (*present, *missing), claim=claim)
        else:
            self._note(name, state, wanted, present, ours=ours)
        if staying:  # each full pass looks again
            self.fields[name] = replace(self.fields[name], waits=True)

    def _taken_over(
        self, name: str, state: FieldState, wanted: tuple[str, ...], present: tuple[str, ...]
    ) -> FieldState:
        """Return the state of a list after the names that were there before us became ours, once.

        It is as if the user's answer, or `replace_lists`, had been there at the first meeting.
        """
        if state.taken_over or name not in _MAY_BE_TAKEN_OVER:
            return state
        if self._switches.preserve or self._intent.additive:
            return state
        is_locked = name in self._locked if state.before is None else state.was_locked
        is_from_stash = self._switches.origin == FROM_STASH and not is_locked
        is_replaced = self._switches.replace_met and name not in _ONLY_ADDED_TO
        is_met = state.ours is not None or _is_met(state, present)
        if not (is_from_stash or (is_replaced and is_met)):
            return state
        names = present
        if state.before is not None and name in self._locked:
            names = within(present, names_of(state.before))  # a person has added others since
        if not (wanted or is_from_stash):
            names = ()  # as at a first meeting: what Stash lacks is not emptied
        ours = unique((*names_of(state.ours), *names))
        # `waits`: what is to go is still there
        return replace(state, taken_over=True, ours=ours, waits=True)

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
        is_added_to = name in _ONLY_ADDED_TO or self._switches.origin == PARTLY_MINE
        if self._switches.replace_lists and name not in _ONLY_ADDED_TO:
            state = replace(state, taken_over=True)
        added = without(wanted, present)
        if added and present and self._switches.preserve:
            self._keep(name, replace(state, ours=()), wanted, present)
            return
        target, claim = wanted, wanted
        if not wanted or self._switches.preserve:
            target, claim = present or wanted, added
        elif is_added_to or is_locked or self._intent.additive:
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
        is_protective = name in PROTECTIVE
        if state.refused and self._tries_again:
            self._write(name, state, wanted, target, current, claim=claim)
        elif state.refused:
            self._keep(name, state, wanted, current)
        elif state.sent is not None and (not is_locked or _is_before(state, current)):
            # The write never arrived.
            self._write(name, state, wanted, target, current, claim=claim)
        elif is_locked:
            self._keep(name, state, wanted, current)
        elif self._intent.saved or may_repair(
            state, self._switches, self._now, is_protective=is_protective
        ):
            repaired = replace(state, repairs=state.repairs + 1, repaired_at=self._now)
            self._write(name, repaired, wanted, target, current, claim=claim)
        else:
            is_over = state.repairs >= len(REPAIR_AFTER) and not is_protective
            if self._switches.repair and is_over and state.repairs == len(REPAIR_AFTER):
                self.left.append(name)
                state = replace(state, repairs=state.repairs + 1)  # said once
            waits = is_protective or (self._switches.repair and not is_over)
            self.fields[name] = replace(state, observed=current, waits=waits)

    @property
    def _tries_again(self) -> bool:
        return self._intent.retry or self._intent.saved or self._intent.force

    def _keep(self, name: str, state: FieldState, wanted: Value, current: Value) -> None:
        """Leave what Plex has."""
        is_edited = _is_edited(state, current)
        state = _renewed(state, wanted)
        self.kept.append(name)
        # What is kept since the first meeting is so until the scene is saved.
        source = self._sources.of(name) if is_edited or state.before is not None else ""
        self.fields[name] = replace(
            state, wanted=wanted, observed=current, sent=None, replaced=None, claim=None,
            kept=not state.refused, edited=is_edited, source=source, waits=False,
        )  # fmt: skip

    def _ask(self, name: str, state: FieldState, target: Value, current: Value) -> None:
        """Leave a field until the user has agreed to what is to be written there."""
        is_declined = state.asks == DECLINED and _is_about(state, target)
        self.fields[name] = replace(
            state, observed=current, asked=target, asks=DECLINED if is_declined else OPEN,
            sent=None, replaced=None, claim=None, kept=False, waits=False,
        )  # fmt: skip

    def _write_what_hides(
        self, name: str, state: FieldState, target: Value, current: Value, claim: Value | None
    ) -> None:
        """Add the labels of a list that may not lose others without a yes."""
        asked, both = self.fields[name], unique((*names_of(target), *names_of(current)))
        if not isinstance(target, tuple) or same(both, current):
            return
        ours = unique((*names_of(claim), *within(names_of(state.ours), names_of(current))))
        # `wanted` stays as it was, so that the removal is still to be done when the yes comes.
        self._write(name, state, state.wanted or (), both, current, claim=ours)
        self.fields[name] = replace(self.fields[name], asked=target, asks=asked.asks)

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
        is_weaker = weakens(name, current, target)
        is_granted = state.take or (state.asks == GRANTED and _is_about(state, target))
        if is_weaker and not is_granted:
            self._ask(name, state, target, current)
            self._write_what_hides(name, state, target, current, claim)
            return
        answer = (state.asked, state.asks) if is_weaker else (None, "")
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
            asked=answer[0], asks=answer[1],  # a yes holds until a read shows the write
        )  # fmt: skip


def _renewed(state: FieldState, wanted: Value) -> FieldState:
    """Forget how Plex took the value that Stash had before, if Stash has another by now."""
    state = replace(state, asked=None, asks="")
    if same(state.wanted, wanted):
        return state
    return replace(
        state, form=None, refused=False, why="", kept=False, source="", misses=0, repairs=0
    )


def _is_about(state: FieldState, target: Value) -> bool:
    """Return whether the user's answer is about a value: of a list, about the names that go."""
    if isinstance(state.asked, tuple):
        return not without(state.asked, names_of(target))
    return same(state.asked, target)


def _is_followed(state: FieldState) -> bool:
    """Return whether the last write did all that the user has agreed to."""
    going = without(names_of(state.replaced), names_of(state.asked))
    return state.asks == GRANTED and not within(going, names_of(state.sent))


def _is_met(state: FieldState, present: tuple[str, ...]) -> bool:
    """Return whether a list was synced: its first write may have been lost."""
    added = without(names_of(state.claim), names_of(state.replaced))
    is_lost = state.sent is not None and not within(added, present)
    return state.wanted is not None and not is_lost


def _is_edited(state: FieldState, current: Value) -> bool:
    """Return whether Plex has another value than at the first meeting; asked before any write."""
    return state.edited or (state.wanted is not None and not same(state.observed, current))


def _is_kept_since_met(state: FieldState, current: Value) -> bool:
    """Return whether a person's text stays until the scene itself is saved, and no longer."""
    return state.kept and state.before is None and not _is_edited(state, current)


def _is_before(state: FieldState, current: Value) -> bool:
    """Return whether Plex has what it had before our last write."""
    return same(current, state.replaced) or same(current, state.ours)
