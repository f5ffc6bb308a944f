"""One scene and one item: observed → plan → record → write, then the cover."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from common.env import Env
from common.texts import first_of
from common.version import VERSION
from history.changes import CONFIRMED, DROPPED
from history.fields import OPEN, Fields, FieldState, read_at
from history.records import PICTURES, Agreement, Status
from history.store import History
from plex.desired import FROM_STASH, genres_of
from plex.exceptions import PLEX_ERRORS, PlexTemporaryError
from plex.items import PlexItem
from plex.paths import stem_of
from plex.plan import Edits, names_of, plan_edits, resolve, same
from plex.session import PlexSession
from stash.client import StashClient
from stash.records import Scene
from validation.config import PlexSyncConfig
from validation.metadata import SyncMetadata
from worker.agreements import Agreements
from worker.collections import FIELD, NOTHING_KEPT, Collections, Kept, removed
from worker.covers import Covers
from worker.origins import Origins
from worker.refusals import reason_of, refuse_fields, report_refusal, status_of
from worker.reporter import Reporter
from worker.target import SyncTarget, Written

#: Seconds after a write until it may be read back.
VERIFY_AFTER = 2.0
#: Genres that a message names.
_MOST_NAMED = 10


@dataclass(frozen=True)
class Draft:
    """The planned writes to one item of a target."""

    target: SyncTarget
    item: PlexItem
    #: the record of the scene and the item
    row: Agreement
    edits: Edits


class ItemWriter:
    """Plans and writes single items."""

    def __init__(
        self,
        plex: PlexSession,
        stash: StashClient | None,
        history: History,
        reporter: Reporter,
        env: Env,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            stash: None: covers are left alone.
        """
        self.agreements = Agreements(history, plex)
        self.origins = Origins(plex, history)
        self._plex = plex
        self._history = history
        self._reporter = reporter
        self._env = env
        self._covers = Covers(plex, stash, history, reporter, env)
        self._collections = Collections(plex, history, reporter, env)
        self._hashed: tuple[PlexSyncConfig | None, str] = (None, "")

    @property
    def generation(self) -> str:
        """A short hash of the settings that change the outcome, and of PlexSync's version.

        Where the user said where libraries' values came from, a hash of that follows.
        """
        config = self._plex.config
        if self._hashed[0] is not config:
            self._hashed = (config, f"{config.outcome_hash}-{VERSION}")
        stamp = self.origins.stamp
        return f"{self._hashed[1]}-{stamp}" if stamp else self._hashed[1]

    def draft(self, target: SyncTarget, item: PlexItem, kept: Kept = NOTHING_KEPT) -> Draft:
        """Plan the writes to an item.

        Args:
            kept: collections that it must not leave.

        Raises:
            PlexTemporaryError, PlexPermanentError: its collections can't be read.
        """
        row = self.agreements.find(target, item)
        if row.generation != self.generation:  # other settings may let Plex take what it refused
            target = replace(target, intent=replace(target.intent, retry=True))
        if target.scene is not None and row.digest and target.scene.has_digest(row.digest):
            target = replace(target, intent=replace(target.intent, unchanged=True))
        path = target.metadata.path or (item.files[0].path if item.files else "")
        fields = {name: state for name, state in row.fields.items() if name not in PICTURES}
        switches = self.origins.switches_for(item.library_key, target.switches)
        now = self._env.time()

        def plan(pinned: Sequence[str]) -> Edits:
            return plan_edits(
                item, target.metadata, stem_of(path), fields, switches, target.intent, now,
                pinned, kept.staying,
            )  # fmt: skip

        edits = plan(kept.pinned)
        if switches.origin == FROM_STASH:
            edited = self._collections.edited(item, edits, fields.get(FIELD, FieldState()))
            if edited:
                edits = plan((*kept.pinned, *edited))
        pictures = {name: state for name, state in row.fields.items() if name in PICTURES}
        if pictures:
            edits = replace(edits, fields={**edits.fields, **pictures})
        return Draft(target, item, row, edits)

    def preview(self, draft: Draft) -> dict[str, bytes]:
        """Return the pictures that would be uploaded; see `Covers.preview`.

        Raises:
            StashUnavailable, StashRefused
            PlexTemporaryError, PlexPermanentError
        """
        return self._covers.preview(draft.target, draft.item, draft.row)

    def differing(self, draft: Draft) -> frozenset[str]:
        """Return the fields that would be written; if none, record that.

        Raises:
            StashUnavailable, StashRefused
            PlexTemporaryError, PlexPermanentError
        """
        if draft.edits.changes:
            return frozenset(draft.edits.changes)
        seen = self._covers.compare(draft.target, draft.item, draft.row)
        if seen is None:
            return frozenset(PICTURES)
        self._report(draft)
        self._note_wanted(draft)
        with self._history.transaction():
            after = self._history.save(self._after(replace(draft, row=seen)))
            self._record(draft, after)
        return frozenset()

    def write(self, target: SyncTarget, item: PlexItem) -> Written:
        """Bring an item to what Stash says.

        Raises:
            StashUnavailable, StashRefused
            PlexTemporaryError, PlexPermanentError, PlexNotFound
        """
        draft = self.draft(target, item)
        with ExitStack() as held:
            if draft.edits.changes:
                draft = self._brought_up_to_date(draft, held)
            self._report(draft)
            self._note_wanted(draft)
            after = self.write_fields(draft)
        if target.scene is None or not self._covers.is_wanted(draft.target, draft.item, after):
            return Written(tuple(draft.edits.changes), draft.edits.kept)
        return self._write_cover(draft, target.scene, after)

    def _brought_up_to_date(self, draft: Draft, held: ExitStack) -> Draft:
        """Return the draft for the item as it is right before the write.

        Collections are looked up before that, as it may take long.

        Args:
            held: gets the locks that are to be held until the write was sent.
        """
        target = draft.target
        self._collections.follow_renames(target, draft.item)
        while True:
            looked_up = draft.edits.changes.get(FIELD)
            if removed(draft.edits):
                held.enter_context(self._collections.leaving)
            kept = self._collections.look_up(draft.item, draft.edits)
            now = self._plex.renewed(draft.item)
            if now is not draft.item:
                rows = self.agreements.of_scene(target.metadata.scene_id or 0, target.scene)
                draft = self.draft(replace(target, rows=tuple(rows)), now)
            if draft.edits.changes.get(FIELD) == looked_up:
                break
        if kept != NOTHING_KEPT:
            draft = self.draft(draft.target, draft.item, kept)
        self._collections.note(target, draft.item, draft.edits)
        return draft

    def _note_wanted(self, draft: Draft) -> None:
        """Note the collections that the item was to leave and that Stash wants again."""
        known, state = draft.row.fields.get(FIELD), draft.edits.fields.get(FIELD)
        if known is not None and known.waits and state is not None:
            self._collections.note_wanted(draft.item, names_of(state.wanted))

    def write_fields(self, draft: Draft) -> Agreement:
        """Write the texts and lists that differ; return the record.

        It is on disk before the write, as its answer may get lost.

        Raises:
            PlexTemporaryError, PlexPermanentError, PlexNotFound
        """
        row, has_scene = draft.row, bool(draft.target.metadata.scene_id)
        after = self._after(draft)
        if has_scene:
            with self._history.transaction():  # one commit for both
                after = self._history.save(after)
                self._record(draft, after)
        if not draft.edits.changes:
            return after
        try:
            refused = self._plex.write(
                draft.item, draft.edits, is_last_attempt=draft.target.intent.is_last
            )
        except PLEX_ERRORS as error:
            is_refused = not isinstance(error, PlexTemporaryError)
            self._collections.note_failed(draft.item, draft.edits, is_refused=is_refused)
            # In doubt. The job stays queued; until it is done nothing claims to be in sync.
            if has_scene:
                self._history.save(
                    replace(after, digest=row.digest, synced_at=row.synced_at, verify_at=None)
                )
            raise
        if FIELD in refused:
            self._collections.note_failed(draft.item, draft.edits, is_refused=True)
        return self._note_refused(draft.item, after, refused) if refused else after

    def _record(self, draft: Draft, after: Agreement) -> None:
        """Record the changes that are about to be sent, and what became of earlier ones."""
        known, changes = draft.row.fields, self._history.changes
        changes.settle(after, outcomes(known, after.fields))
        new, repaired = {}, []
        for name, (current, target) in draft.edits.changes.items():
            was = known.get(name, FieldState())
            if was.sent is not None and same(was.sent, target):
                continue  # sent once more: it is on record
            new[name] = (current, target)
            if after.fields[name].repairs > was.repairs:
                repaired.append(name)
        changes.note(after, new, draft.target.run, self._env.time(), repaired=repaired)

    def _note_refused(
        self, item: PlexItem, row: Agreement, errors: Mapping[str, Exception]
    ) -> Agreement:
        """Record and report the fields that Plex refuses; the others were written."""
        fields = refuse_fields(row.fields, errors)
        is_written = any(state.sent is not None for state in fields.values())
        row = replace(
            row,
            fields=fields,
            status=status_of(fields, is_written=is_written),
            reason=reason_of(fields),
            verify_at=row.verify_at if is_written else None,
        )
        report_refusal(self._reporter, row, item)
        if row.scene_id:
            with self._history.transaction():
                row = self._history.save(row)
                self._history.changes.settle(row, dict.fromkeys(errors, DROPPED))
        return row

    def _write_cover(self, draft: Draft, scene: Scene, row: Agreement) -> Written:
        """Upload the scene's cover if it is another, and record it."""
        target, item, edits = draft.target, draft.item, draft.edits
        uploaded = self._covers.upload(target, scene, item, row)
        after = uploaded.row
        if uploaded.sent:  # which moves the item's updatedAt
            verify_at = self._env.time() + VERIFY_AFTER * self._env.timing.scale
            after = replace(after, status=Status.WRITTEN, verify_at=verify_at)
        pictures = {name: after.fields.get(name, FieldState()) for name in PICTURES}
        refused = [name for name, state in pictures.items() if state.refused]
        if after != row:
            is_written = after.verify_at is not None
            status, reason = status_of(after.fields, is_written=is_written), reason_of(after.fields)
            with self._history.transaction():
                after = self._history.save(replace(after, status=status, reason=reason))
                found = {
                    **dict.fromkeys(refused, DROPPED),
                    **dict.fromkeys(uploaded.sent, CONFIRMED),
                }
                self._history.changes.settle(after, found)
        if any(pictures[name] != row.fields.get(name) for name in refused):
            report_refusal(self._reporter, after, item)
        sent = [PICTURES[name] for name in uploaded.sent]
        kept = [PICTURES[name] for name, state in pictures.items() if state.kept]
        return Written(
            (*edits.changes, *sent), (*edits.kept, *kept), cover_is_final=uploaded.is_final
        )

    def _after(self, draft: Draft) -> Agreement:
        """Return the record as it is once the edits were sent."""
        target, edits = draft.target, draft.edits
        scene, now = target.scene, self._env.time()
        row = self._covers.note_left(target, draft.item, draft.row)
        return replace(
            row,
            status=status_of(edits.fields, is_written=bool(edits.changes)),
            reason=reason_of(edits.fields),
            details=_details(target),
            fields=edits.fields,
            digest=scene.digest if scene else _digest(target.metadata),
            generation=self.generation,
            created_at=scene.created_at if scene else row.created_at,
            updated_at=scene.updated_at if scene else row.updated_at,
            item_updated_at=read_at(edits.fields, draft.item.updated_at),
            checked_at=now,
            synced_at=target.read_at,
            missing_since=None,
            verify_at=now + VERIFY_AFTER * self._env.timing.scale if edits.changes else None,
        )

    def _report(self, draft: Draft) -> None:
        """Tell the user about fields that drift again and again, and about further files."""
        scene_id, left = draft.target.metadata.scene_id, draft.edits.left
        if left:
            self._reporter.notify_user(
                "warning",
                f"Scene {scene_id}: {', '.join(left)} in Plex changes again and again, so it is"
                " left as it is until the scene is saved or re-synced",
            )
        self._report_rules(draft)
        details = _details(draft.target)
        if details and details != draft.row.details:
            paths = "; ".join(file.path for file in draft.target.elsewhere)
            self._reporter.notify_user(
                "info",
                f"Scene {scene_id} has further files, which are items of their own in Plex."
                f" PlexSync leaves these alone: {paths}",
            )

    def _report_rules(self, draft: Draft) -> None:
        """Name the genres that are too many, and what waits for a yes."""
        target, fields = draft.target, draft.edits.fields
        limit = target.switches.rules.max_tags
        if limit and "genre" in draft.edits.changes:
            left_out = genres_of(target.metadata, target.switches)[limit:]
            if left_out:
                self._reporter.log(
                    "info",
                    f"Scene {target.metadata.scene_id} has more than {limit} genres; left out:"
                    f" {first_of(left_out, _MOST_NAMED)}",
                )
        known = draft.row.fields
        new = [
            name
            for name, state in fields.items()
            if state.asks == OPEN and known.get(name, FieldState()).asks != OPEN
        ]
        if new and target.intent.saved:
            self._reporter.notify_user(
                "warning",
                f"Scene {target.metadata.scene_id}: {', '.join(new)} in Plex stays as it is until"
                " you agree, as restricted accounts may see the item after that. Agree on"
                " PlexSync's page, or with the task Show to restricted accounts",
            )


def outcomes(before: Fields, after: Fields) -> dict[str, str]:
    """Return field → what a read has shown of its last write, where one was to be confirmed."""
    found = {}
    for name, was in before.items():
        now = after.get(name, FieldState())
        if was.sent is None or now.observed is None or same(now.sent, was.sent):
            continue
        is_there = resolve(was, now.observed).sent is None
        found[name] = CONFIRMED if is_there else DROPPED
    return found


def _details(target: SyncTarget) -> dict[str, Any] | None:
    """Return what the record keeps of a scene's further files that are other items."""
    if not target.elsewhere:
        return None
    return {
        "elsewhere": [
            {"rating_key": file.rating_key, "path": file.path} for file in target.elsewhere
        ]
    }


def _digest(metadata: SyncMetadata) -> str:
    return hashlib.blake2b(metadata.model_dump_json().encode(), digest_size=12).hexdigest()
