"""Read items back after a write: what did Plex make of it?

Plex answers 200 to edits that it does not carry out, and stores some values in a form of its own.
"""

from __future__ import annotations

import enum
from dataclasses import replace

from history.changes import CONFIRMED, DROPPED
from history.fields import FieldState, Value, read_at
from history.records import UNTOUCHABLE, Agreement
from plex.forms import is_form_of
from plex.items import PlexItem
from plex.names import unique, within, without
from plex.plan import NEVER_REPAIRED, names_of, resolve, same
from queue.models import RETRY, create_bulk_job
from worker.collections import list_collections, sort_collections
from worker.item_writer import VERIFY_AFTER
from worker.parts import Parts
from worker.refusals import reason_of, report_refusal, status_of

#: Items that are read in one request.
_BATCH = 20
#: Reads after which a field that shows another value each time counts as refused.
_MOST_READS = 4


class Verdict(enum.Enum):
    """What a read shows of a write."""

    TAKEN = "taken"
    #: Plex keeps a form of its own
    NORMALIZED = "normalized"
    #: another value: a person's, a tool's, or that of a refresh
    CHANGED = "changed"
    #: read once more: the value may still be on its way
    READ_AGAIN = "read again"
    WRITE_AGAIN = "write again"
    REFUSED = "refused"


_OUTCOMES = {
    Verdict.TAKEN: CONFIRMED,
    Verdict.NORMALIZED: CONFIRMED,
    Verdict.CHANGED: CONFIRMED,
    Verdict.REFUSED: DROPPED,
}


class ReadBack:
    """Reads back the writes that are due."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._started = False

    def is_due(self, *, idle: bool) -> bool:
        """Return whether writes are to be read back now.

        Args:
            idle: nothing else is due. Else writes wait until there are enough for one request, or
                the oldest has waited long; at the start of a worker they don't wait.
        """
        env = self._parts.env
        first = self._parts.history.next_verification()
        # A time too far ahead was written while the clock was wrong.
        far = env.time() + 2 * env.timing.verify_latest
        if first is None or env.time() < first <= far:
            return False
        if idle or not self._started or first > far:
            return True
        if env.time() - first >= env.timing.verify_latest - VERIFY_AFTER * env.timing.scale:
            return True
        return len(self._parts.history.to_verify(env.time(), _BATCH)) == _BATCH

    def run(self) -> None:
        """Read back up to twenty writes in one request.

        Raises:
            SettingsError, PlexTemporaryError, PlexPermanentError
        """
        env, history = self._parts.env, self._parts.history
        far = env.time() + 2 * env.timing.verify_latest
        due = history.to_verify(env.time(), _BATCH) or [
            row for row in history.to_verify(float("inf"), _BATCH) if (row.verify_at or 0) > far
        ]
        # What an earlier worker left is read as soon as it is due; later writes wait for others.
        self._started = self._started or len(due) < _BATCH
        if not due:
            return
        plex = self._parts.plex
        plex.identify()
        here = [row for row in due if row.server == plex.server]
        items = {item.rating_key: item for item in plex.read([row.rating_key for row in here])}
        again = []
        with history.transaction():
            for row in due:
                item = items.get(row.rating_key) if row.server == plex.server else None
                if item is None or (row.path and row.path not in item.paths):
                    # Gone, or another server: the next pass compares the scene.
                    history.save(replace(row, verify_at=None, digest=None))
                elif self._verify(row, item):
                    again.append(row.scene_id)
        self._parts.queue.put_many(
            create_bulk_job(scene_id, now=env.time(), **{RETRY: True}) for scene_id in again
        )
        new = history.unlisted_collections(plex.server)
        for section in new:  # written, so they exist by now
            list_collections(plex, history, section)
            history.forget_unlisted(plex.server, section)
        if new:
            sort_collections(plex, history, self._parts.reporter)

    def _verify(self, row: Agreement, item: PlexItem) -> bool:
        """Store what the item shows; return whether the scene must be compared again."""
        fields, verdicts = dict(row.fields), {}
        present = item.values
        for name, state in row.fields.items():
            if state.sent is not None and name in present:
                fields[name], verdicts[name] = judge(
                    state, present[name], is_locked=name in item.locked or name in NEVER_REPAIRED
                )
        wants_read = Verdict.READ_AGAIN in verdicts.values()
        wants_write = Verdict.WRITE_AGAIN in verdicts.values() or any(
            verdict is Verdict.CHANGED and not fields[name].kept
            for name, verdict in verdicts.items()
        )
        env, reporter = self._parts.env, self._parts.reporter
        after = replace(
            row,
            fields=fields,
            item_updated_at=read_at(fields, item.updated_at),
            status=row.status
            if row.status in UNTOUCHABLE
            else status_of(fields, is_written=wants_read or wants_write),
            reason=reason_of(fields),
            verify_at=env.time() + VERIFY_AFTER * env.timing.scale if wants_read else None,
        )
        self._parts.history.save(after)
        self._parts.history.changes.settle(
            row, {name: _OUTCOMES[one] for name, one in verdicts.items() if one in _OUTCOMES}
        )
        if Verdict.REFUSED in verdicts.values():
            report_refusal(reporter, after, item)
        for name, verdict in verdicts.items():
            missing = _missing(row.fields[name], present[name])
            if verdict is Verdict.NORMALIZED and missing:
                reporter.notify_user(
                    "warning",
                    f"Scene {row.scene_id}, {item.title!r} in {item.library!r}: Plex keeps all of"
                    f" {name} but {missing} names. The list may be too long for one request",
                )
        # A refresh between write and read-back changed other fields: nothing else would tell of it.
        return wants_write or any(
            name in present and not same(present[name], state.observed)
            for name, state in row.fields.items()
            if state.sent is None and state.observed is not None
        )


def judge(state: FieldState, current: Value, *, is_locked: bool) -> tuple[FieldState, Verdict]:
    """Decide what a read shows of a field's last write; return the new state too.

    Args:
        is_locked: nothing but a person, a tool, or Plex's own form of our value explains another
            value. In a field that is not locked a refresh does, so that is written once more.
    """
    taken = resolve(state, current)
    if taken.sent is None:
        return taken, Verdict.TAKEN
    misses = state.misses + 1
    seen = replace(state, misses=misses, observed=current)
    if same(current, state.replaced):
        if misses == 1:
            return seen, Verdict.WRITE_AGAIN
        return _refused(seen), Verdict.REFUSED
    if misses > 1 and same(current, state.observed):
        if _is_form(state, current):
            return _settled(seen, current, form=current), Verdict.NORMALIZED
        is_kept = is_locked and not state.held
        return replace(_settled(seen, current), kept=is_kept), Verdict.CHANGED
    if misses >= _MOST_READS:
        return _refused(seen), Verdict.REFUSED
    if is_locked or misses > 1:
        return seen, Verdict.READ_AGAIN
    return seen, Verdict.WRITE_AGAIN


def _refused(state: FieldState) -> FieldState:
    return replace(
        state, refused=True, take=False, sent=None, replaced=None, claim=None, asked=None, asks=""
    )


def _settled(state: FieldState, current: Value, form: Value | None = None) -> FieldState:
    """Return the state after a write of which the item shows something else for good.

    Args:
        form: how Plex stores what was sent: it is ours, and counts as in sync.
    """
    if isinstance(current, tuple):
        ours: Value | None = _ours_among(state, current)
    else:
        ours = state.claimed if form is None else form
    return replace(
        state, form=form, ours=ours, sent=None, replaced=None, claim=None, misses=0, asked=None,
        asks="",
    )  # fmt: skip


def _is_form(state: FieldState, current: Value) -> bool:
    """Return whether Plex shows the sent value, or less of it, in a form of its own."""
    if isinstance(current, tuple):
        known = (*names_of(state.sent), *names_of(state.replaced))
        return not without(without(current, known), _forms_among(state, current))
    return is_form_of(current, str(state.sent))


def _forms_among(state: FieldState, current: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of a list that are Plex's form of names that were sent."""
    before, sent = names_of(state.replaced), names_of(state.sent)
    missing = without(without(sent, before), current)
    return tuple(
        shown
        for shown in without(current, (*before, *sent))
        if any(is_form_of(shown, name) for name in missing)
    )


def _ours_among(state: FieldState, current: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of a list that are ours. A person or a program added the others."""
    added = without(within(current, names_of(state.sent)), names_of(state.replaced))
    known = within(names_of(state.ours), current)
    return unique((*added, *_forms_among(state, current), *known))


def _missing(state: FieldState, current: Value) -> int:
    """Return how many of the names that were sent Plex does not show under any name."""
    sent, there = names_of(state.sent), names_of(current)
    unknown = without(there, (*sent, *names_of(state.replaced)))
    return max(0, len(without(sent, there)) - len(unknown))
