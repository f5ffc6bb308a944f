"""Take back what was written to a field of an item, as far as Plex still has it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from history.fields import FieldState, Value
from plex.names import unique, within, without
from plex.plan import names_of, resolve, same

#: Lists whose names stay in Plex when a write is taken back: they are the user's.
_STAY = ("collection",)

CHANGED_SINCE = "it was changed in Plex since"
COLLECTIONS_STAY = "collections that PlexSync added stay"


@dataclass(frozen=True)
class Written:
    """What was written to a field, by one write or several in a row."""

    #: what Plex had before the first of them
    before: Value
    #: what the last one wrote
    after: Value
    #: what an earlier write, which stays, had left in the field; None: there is none
    earlier: Value | None = None


@dataclass(frozen=True)
class Undone:
    """The outcome for one field."""

    state: FieldState
    #: what the field gets; None: it stays as it is
    target: Value | None = None
    #: why something of ours stays, or a sentence for the user; "": all is taken back
    why_left: str = ""


def of_record(state: FieldState, current: Value) -> Written | None:
    """Return all that was ever written to a field, by its record; None: nothing, or not known."""
    state = resolve(state, current)
    before = state.before
    if before is None or (state.ours is None and state.claim is None and state.sent is None):
        return None
    if isinstance(before, tuple):
        if state.held and not state.ours and state.sent is None:
            return None  # taken back already
        ours = unique((*names_of(state.ours), *within(names_of(state.claim), names_of(current))))
        there = within(before, names_of(current))
        return Written(before, unique((*ours, *there)))
    if current in (state.ours, state.sent, state.form):
        return Written(before, current)
    return Written(before, before if state.ours is None else state.ours)


def undo(name: str, state: FieldState, current: Value, written: Written) -> Undone:
    """Decide what a field gets back; its state holds it from now on.

    Args:
        current: what Plex has.
    """
    state = resolve(state, current)
    if isinstance(current, tuple):
        return _undo_list(name, state, current, written)
    is_form = state.form is not None and current == state.form and state.wanted == written.after
    kept = written.earlier if same(written.earlier, written.before) else None
    if same(current, written.before):
        return Undone(_held(state, current, ours=kept))
    if not (is_form or same(current, written.after)):
        return Undone(hold(state, current), why_left=CHANGED_SINCE)
    return Undone(_sent(state, current, written.before, kept), written.before)


def hold(state: FieldState, current: Value | None) -> FieldState:
    """Return the state of a field that is left as it is from now on.

    Args:
        current: what Plex has; None: not known.
    """
    ours = state.ours
    if state.sent is not None:  # it may have arrived
        claim = state.sent if state.claim is None else state.claim
        ours = unique((*names_of(ours), *claim)) if isinstance(claim, tuple) else claim
    return _held(state, state.observed if current is None else current, ours)


def release(state: FieldState) -> FieldState:
    """Return the state of a field that gets Stash's value, whatever Plex has."""
    return replace(
        state, held=False, take=True, kept=False, refused=False, why="", waits=False,
        sent=None, replaced=None, claim=None, misses=0, repairs=0,
    )  # fmt: skip


def _undo_list(name: str, state: FieldState, current: tuple[str, ...], written: Written) -> Undone:
    """Take away the names that were added and are still ours; put back those that were there."""
    before, after = names_of(written.before), names_of(written.after)
    mine = unique((*names_of(state.ours), *within(names_of(state.claim), current)))
    added = without(after, before)
    gone = within(within(mine, added), current)
    if state.form is not None and not without(names_of(state.wanted), after):
        gone = unique((*gone, *within(without(mine, after), current)))  # Plex's form of ours
    stay = gone if name in _STAY else ()
    gone = without(gone, stay)
    back = without(without(before, after), current)
    target = unique((*without(current, gone), *back))
    ours = unique((*without(mine, gone), *without(back, names_of(state.before))))
    why = COLLECTIONS_STAY if stay else ""
    if same(target, current):
        return Undone(_held(state, current, ours), why_left=why)
    return Undone(_sent(state, current, target, ours), target, why)


def _held(state: FieldState, current: Value | None, ours: Value | None) -> FieldState:
    return replace(
        state, held=True, take=False, kept=False, refused=False, why="", waits=False,
        observed=current, ours=ours, form=None, sent=None, replaced=None, claim=None, misses=0,
    )  # fmt: skip


def _sent(state: FieldState, current: Value, target: Value, ours: Value | None) -> FieldState:
    """Return the state of a field whose former value is about to be sent."""
    is_repeated = state.held and state.sent is not None and same(state.sent, target)
    return replace(
        _held(state, current, state.ours), form=state.form, sent=target, claim=ours,
        replaced=state.replaced if is_repeated else current,
        misses=state.misses if is_repeated else 0,
    )  # fmt: skip
