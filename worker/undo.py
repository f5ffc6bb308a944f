"""Take back what was written to Plex: one field, one scene, one run, or all that is on record.

An undo is a pass on disk. Each step can be repeated: it compares Plex with what was written, and
a change that was taken back already needs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from history.changes import CONFIRMED, DROPPED, UNDONE, Change
from history.fields import FieldState, Value, read_at
from history.records import PICTURES, Agreement, CoverState, Status
from history.store import History
from plex.exceptions import PlexNotFound, PlexPermanentError, PlexRejected, PlexTemporaryError
from plex.items import PlexItem
from plex.plan import PROTECTIVE, Edits, same, weakens
from plex.undo import CHANGED_SINCE, Undone, Written, hold, of_record, undo
from worker.covers import resolved, restore_picture, sha1_in_plex
from worker.item_writer import VERIFY_AFTER, outcomes
from worker.parts import Parts
from worker.refusals import reason_of, refuse_fields, status_of

#: Items that are read in one request.
STEP = 20
#: Failures at one item after which it is left.
MOST_FAILURES = 3
#: Fields that a result names because something of them stays.
MOST_LEFT = 200

GONE = "its item is not in Plex any more"
OTHER_SERVER = "its item is in another Plex"
NOT_KNOWN = "nothing is on record that PlexSync wrote there"
FAILED = "each attempt at it failed"
NOT_TAKEN = "Plex does not take the former value"
MAY_BE_SEEN = (
    "it may hide the item from restricted accounts, so it stays until you take back this field"
    " itself, or undo with visible"
)

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Unit:
    """The changes of one item that are to be taken back."""

    row: Agreement
    #: field → what was written; None: all that is on record
    fields: Mapping[str, Written | None]
    #: field → its changes in the journal
    changes: Mapping[str, list[int]] = field(default_factory=dict)
    #: the user agrees that restricted accounts may see the item afterwards
    may_show: bool = False


@dataclass
class Outcome:
    """What became of a unit."""

    #: fields that have their former value again
    undone: list[str] = field(default_factory=list)
    #: fields that had it already
    same: list[str] = field(default_factory=list)
    #: field → why something of ours stays
    left: dict[str, str] = field(default_factory=dict)

    def add(
        self, unit: Unit, planned: Mapping[str, Undone], errors: Mapping[str, Exception]
    ) -> None:
        """Add texts and lists that were sent.

        Args:
            errors: field → why Plex refuses its former value.
        """
        for name, one in planned.items():
            if name in errors:
                self.left[name] = f"{NOT_TAKEN}: {errors[name]}"
                continue
            if one.why_left:
                self.left[name] = one.why_left
            if not one.why_left or one.target is not None:
                self.add_undone(unit, name, is_sent=one.target is not None)

    def add_undone(self, unit: Unit, name: str, *, is_sent: bool) -> None:
        """Add a field that is as it was before; without a change on record, it was so already."""
        is_news = is_sent or bool(unit.changes.get(name))
        (self.undone if is_news else self.same).append(name)


class ItemFailed(PlexTemporaryError):
    """Plex failed while an item was given back what it had."""


class Undo:
    """Takes changes back, some items at a time."""

    def __init__(self, parts: Parts) -> None:
        """Take nothing back yet."""
        self._parts = parts

    def run(
        self, arguments: Arguments, number: int, cursor: int, failures: int = 0
    ) -> tuple[int, list[Any]]:
        """Take back what comes next.

        Args:
            number: of the undo.
            cursor: what an earlier call returned; 0 at first.
            failures: `ItemFailed` in a row. After one, items go one by one; after three, the next
                one is left, so that it does not stop the others.

        Returns:
            (where the next call goes on, -1: nothing is left; the units with their outcomes)

        Raises:
            ItemFailed
            SettingsError, PlexTemporaryError, PlexRejected
        """
        history = self._parts.history
        limit = 1 if failures else STEP
        cursor, units = find(history, arguments, number, cursor, limit)
        if not units:
            return cursor, []
        is_asked = any(arguments.get(name) for name in ("visible", "field", "change"))
        units = [replace(unit, may_show=is_asked) for unit in units]
        plex = self._parts.plex
        plex.identify()
        here = [
            one.row.rating_key
            for one in units
            if one.row.server == plex.server and one.row.has_item
        ]
        items = {item.rating_key: item for item in plex.read(list(dict.fromkeys(here)))}
        is_whole = bool(arguments.get("all"))
        retired = history.retired(one.row.id for one in units) if is_whole else []
        done = []
        try:
            for unit in units:
                self._parts.heartbeat.beat()
                item = items.get(unit.row.rating_key) if unit.row.server == plex.server else None
                if item is not None and unit.row.path and unit.row.path not in item.paths:
                    item = None
                if failures >= MOST_FAILURES:
                    done.append((unit, self._leave(unit, number)))
                else:
                    done.append((unit, self._undo(unit, item, number, is_whole=is_whole)))
        except PlexTemporaryError as error:
            raise ItemFailed(str(error), status=error.status) from error
        finally:
            history.retire(retired)  # these scenes are synced again
        return cursor, done

    def _leave(self, unit: Unit, number: int) -> Outcome:
        """Leave an item at which Plex fails again and again."""
        row, outcome = self._held(unit), Outcome(left=dict.fromkeys(unit.fields, FAILED))
        self._conclude(unit, row, number, outcome)
        return outcome

    def _held(self, unit: Unit) -> Agreement:
        row = unit.row
        held = {name: hold(row.fields.get(name, FieldState()), None) for name in unit.fields}
        return replace(row, fields={**row.fields, **held})

    def _undo(self, unit: Unit, item: PlexItem | None, number: int, *, is_whole: bool) -> Outcome:
        outcome, row = Outcome(), unit.row
        if item is not None:
            item = self._renewed(item)
        if item is None:
            why = GONE if row.server == self._parts.plex.server else OTHER_SERVER
            outcome.left = dict.fromkeys(unit.fields, why)
            row = self._held(unit)
        else:
            row = self._take_back(unit, item, number, outcome)
        if is_whole and item is not None:  # else it can be tried again
            row = replace(row, status=Status.HELD, reason="taken back, as you said")
        self._conclude(unit, row, number, outcome)
        return outcome

    def _renewed(self, item: PlexItem) -> PlexItem | None:
        """Return an item as it is now: others may have been written since it was read."""
        try:
            return self._parts.plex.renewed(item)
        except PlexNotFound:
            return None

    def _take_back(self, unit: Unit, item: PlexItem, number: int, outcome: Outcome) -> Agreement:
        """Send the former values; the record is on disk before."""
        row = unit.row
        planned = plan(unit, item.values)
        edits = _edits(row, item, planned)
        after = self._save(row, item, edits, number)
        errors: Mapping[str, Exception] = {}
        try:
            if edits.changes or edits.unlock:
                errors = self._parts.plex.write(item, edits)
            for name in PICTURES:
                if name in unit.fields:
                    after = self._take_back_picture(unit, item, after, name, number, outcome)
        except PlexRejected:
            raise
        except (PlexNotFound, PlexPermanentError) as error:
            why = GONE if isinstance(error, PlexNotFound) else str(error)
            outcome.left = dict.fromkeys(unit.fields, why)
            return self._held(replace(unit, row=after))
        outcome.add(unit, planned, errors)
        refused = {name: error for name, error in errors.items() if name in edits.changes}
        if refused:
            held = refuse_fields(after.fields, refused)
            after = replace(after, fields=held, reason=reason_of(held))
            self._parts.history.changes.settle(after, dict.fromkeys(refused, DROPPED))
        return after

    def _save(self, row: Agreement, item: PlexItem, edits: Edits, number: int) -> Agreement:
        """Record the edits before they are sent, with their changes."""
        env, history = self._parts.env, self._parts.history
        fields, now = {**row.fields, **edits.fields}, env.time()
        verify_at = row.verify_at  # for other fields
        if edits.changes:
            verify_at = now + VERIFY_AFTER * env.timing.scale
        status = row.status
        if status in (Status.IN_SYNC, Status.WRITTEN, Status.REFUSED):
            status = status_of(fields, is_written=verify_at is not None)
        new = {
            name: values
            for name, values in edits.changes.items()
            if not same(row.fields.get(name, FieldState()).sent, values[1])
        }
        with history.transaction():
            after = history.save(
                replace(
                    row,
                    fields=fields,
                    status=status,
                    item_updated_at=read_at(fields, item.updated_at),
                    verify_at=verify_at,
                )
            )
            history.changes.settle(after, outcomes(row.fields, fields))
            history.changes.note(after, new, f"{UNDONE}-{number}", now)
        return after

    def _take_back_picture(
        self,
        unit: Unit,
        item: PlexItem,
        row: Agreement,
        name: str,
        number: int,
        outcome: Outcome,
    ) -> Agreement:
        """Select the former poster or background, if ours is selected and that is still there."""
        plex, changes = self._parts.plex.client(), self._parts.history.changes
        selected = plex.selected_picture(item, name)
        row = resolved(row, name, selected)
        state = row.fields.get(name, FieldState())
        written = unit.fields[name] or _picture_of(row, name)
        if written is None:
            outcome.left[name] = NOT_KNOWN
            return row
        before = str(written.before)
        if selected != before:
            if not selected.endswith(f"/{written.after}"):
                outcome.left[name] = CHANGED_SINCE
                return row.with_field(name, hold(state, None))
            known = changes.of_run(f"{UNDONE}-{number}", scene_id=row.scene_id)
            if all(one.field != name or one.agreement != row.id for one in known):
                values = {name: (selected, before)}
                changes.note(row, values, f"{UNDONE}-{number}", self._parts.env.time())
            why = restore_picture(plex, item, name, before, was_locked=state.was_locked)
            if why:
                changes.settle(row, {name: DROPPED})
                outcome.left[name] = why
                return row.with_field(name, hold(state, None))
        elif not state.was_locked and name in item.locked:
            plex.edit(item, {f"{name}.locked": 0})
        changes.settle(row, {name: CONFIRMED})
        outcome.add_undone(unit, name, is_sent=selected != before)
        ours = before.rpartition("/")[2] if written.earlier is not None else ""
        row = row.with_field(name, replace(hold(state, None), wanted=None))
        return row.with_cover(name, CoverState(sha1=ours))

    def _conclude(self, unit: Unit, row: Agreement, number: int, outcome: Outcome) -> None:
        """Note what was taken back, and what was left and why."""
        history, now = self._parts.history, self._parts.env.time()
        with history.transaction():
            if row.id:  # else the record is gone
                history.save(row)
            for name, ids in unit.changes.items():
                if name in (*outcome.undone, *outcome.same):
                    history.changes.mark_undone(ids, number, now)
                else:
                    history.changes.mark_left(ids, number, outcome.left.get(name, NOT_KNOWN))


def find(
    history: History, arguments: Arguments, number: int, cursor: int, limit: int
) -> tuple[int, list[Unit]]:
    """Return what an undo takes back next, and where it goes on; -1: nothing is left.

    Args:
        arguments: `run`, or `change`, or `scene_id` with or without `field`, or `all` with or
            without `section`; `visible`: also what may hide items from restricted accounts.
        number: of the undo; what it has dealt with is left out.
    """
    if arguments.get("run"):
        run = str(arguments["run"])
        scenes = history.changes.scenes_to_undo(run, number, cursor, limit)
        units = [
            unit
            for scene_id in scenes
            for unit in _units(history, history.changes.of_run(run, scene_id=scene_id), number)
        ]
        return (scenes[-1] if scenes else -1), units
    if arguments.get("change"):
        one = history.changes.get(int(arguments["change"]))
        return -1, _units(history, [one] if one else [], number)
    if arguments.get("scene_id"):
        rows = [row for row in history.of_scene(int(arguments["scene_id"])) if row.has_item]
        name = arguments.get("field")
        return -1, [_whole(history, row, None if name is None else str(name)) for row in rows]
    rows = history.with_items(cursor, limit, arguments.get("section"))
    units = [_whole(history, row, None) for row in rows if row.status is not Status.HELD]
    if arguments.get("visible"):  # what an earlier one has left
        units += filter(None, (_left(history, row) for row in rows if row.status is Status.HELD))
    return (rows[-1].id if rows else -1), units


def _left(history: History, row: Agreement) -> Unit | None:
    """Return the fields that an undo left, as restricted accounts might have seen the item."""
    unit = _whole(history, row, None)
    ours = {name for name in PROTECTIVE if row.fields.get(name, FieldState()).ours}
    fields = {name: written for name, written in unit.fields.items() if name in ours}
    changes = {name: ids for name, ids in unit.changes.items() if name in ours}
    return replace(unit, fields=fields, changes=changes) if fields else None


def plan(unit: Unit, values: Mapping[str, Value]) -> dict[str, Undone]:
    """Return the outcome for each text and list of a unit.

    Args:
        values: what Plex has.
    """
    planned = {}
    for name, written in unit.fields.items():
        if name in PICTURES or name not in values:
            continue
        state, current = unit.row.fields.get(name, FieldState()), values[name]
        known = written or of_record(state, current)
        if known is None:
            why = CHANGED_SINCE if state.before is not None and not state.held else NOT_KNOWN
            is_back = state.held and same(current, state.before)
            planned[name] = Undone(hold(state, current), why_left="" if is_back else why)
        else:
            one = undo(name, state, current, known)
            if one.target is not None and weakens(name, current, one.target) and not unit.may_show:
                one = Undone(hold(state, current), why_left=MAY_BE_SEEN)
            planned[name] = one
    return planned


def _units(history: History, changes: Iterable[Change], number: int) -> list[Unit]:
    """Return what these changes, of one scene, amount to for each item."""
    found: dict[int, dict[str, list[Change]]] = {}
    for one in changes:
        if one.undone_at is None and _counts(one) and one.undo != number:
            found.setdefault(one.agreement, {}).setdefault(one.field, []).append(one)
    units = []
    for agreement, fields in found.items():
        first = next(iter(fields.values()))[0]
        rows = history.of_scene(first.scene_id)
        row = next((one for one in rows if one.id == agreement), None)
        if row is None:  # the item is another scene's by now, or the scene is gone
            row = Agreement(first.scene_id, server=first.server)
        written = {name: _net(history, some) for name, some in fields.items()}
        ids = {name: [one.id for one in some] for name, some in fields.items()}
        units.append(Unit(row, written, ids))
    return units


def _net(history: History, changes: list[Change]) -> Written:
    """Return what changes of a field, one after the other, amount to."""
    first, last = changes[0], changes[-1]
    known = history.changes.of_field(first.scene_id, first.agreement, first.field)
    earlier = [one for one in known if one.id < first.id and _counts(one)]
    return Written(first.before, last.after, earlier[-1].after if earlier else None)


def _counts(change: Change) -> bool:
    """Return whether a change can be taken back: Plex took it, and it is not an undo itself."""
    return change.status != DROPPED and change.cause != UNDONE


def _whole(history: History, row: Agreement, name: str | None) -> Unit:
    """Return all that is on record of an item, or of one field."""
    written = [
        one
        for one, state in row.fields.items()
        if state.before is not None or (one in PICTURES and row.cover_of(one).sha1)
    ]
    names = written if name is None else [name]
    changes: dict[str, list[int]] = {one: [] for one in names}
    for change in history.changes.of_scene(row.scene_id):
        is_open = change.undone_at is None and change.cause != UNDONE
        if is_open and change.agreement == row.id and change.field in changes:
            changes[change.field].append(change.id)
    return Unit(row, dict.fromkeys(names), changes)


def _edits(row: Agreement, item: PlexItem, planned: Mapping[str, Undone]) -> Edits:
    values = item.values
    changes = {
        name: (values[name], one.target) for name, one in planned.items() if one.target is not None
    }
    unlock = {
        name
        for name, one in planned.items()
        if name in item.locked
        and one.why_left not in (CHANGED_SINCE, NOT_KNOWN, MAY_BE_SEEN)
        and not row.fields.get(name, FieldState()).was_locked
    }
    fields = {name: one.state for name, one in planned.items()}
    # a server that locks edited fields does not lock these
    return Edits(changes, fields, lock=False, unlock=frozenset({*unlock, *_free(row, changes)}))


def _free(row: Agreement, changes: Iterable[str]) -> set[str]:
    return {name for name in changes if not row.fields.get(name, FieldState()).was_locked}


def _picture_of(row: Agreement, name: str) -> Written | None:
    state, sha1 = row.fields.get(name), sha1_in_plex(row, name)
    if state is None or state.before is None or not (row.cover_of(name).sha1 and sha1):
        return None
    return Written(state.before, sha1)
