"""One scene and one item: observed → plan → record → write, then the cover."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from common.env import Env
from common.version import VERSION
from history.changes import CONFIRMED, DROPPED
from history.fields import Fields, FieldState, read_at
from history.records import POSTER, Agreement, Status
from history.store import History
from plex.exceptions import PLEX_ERRORS
from plex.items import PlexItem
from plex.paths import stem_of
from plex.plan import Edits, plan_edits, resolve, same
from plex.session import PlexSession
from stash.client import StashClient
from stash.records import Scene
from validation.config import PlexSyncConfig
from validation.metadata import SyncMetadata
from worker.agreements import Agreements
from worker.collections import Collections
from worker.covers import Covers
from worker.refusals import reason_of, refuse_fields, report_refusal, status_of
from worker.reporter import Reporter
from worker.target import SyncTarget, Written

#: Seconds after a write until it may be read back.
VERIFY_AFTER = 2.0


@dataclass(frozen=True)
class Draft:
    """What is to be written to one item of a target."""

    target: SyncTarget
    item: PlexItem
    #: what is known of the scene and the item
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
        self._plex = plex
        self._history = history
        self._reporter = reporter
        self._env = env
        self._covers = Covers(plex, stash, history, env)
        self._collections = Collections(plex, history, reporter, env)
        self._hashed: tuple[PlexSyncConfig | None, str] = (None, "")

    @property
    def generation(self) -> str:
        """A short hash of the settings that change the outcome, and of PlexSync's version."""
        config = self._plex.config
        if self._hashed[0] is not config:
            self._hashed = (config, f"{config.outcome_hash}-{VERSION}")
        return self._hashed[1]

    def draft(self, target: SyncTarget, item: PlexItem, pinned: Sequence[str] = ()) -> Draft:
        """Plan what is to be written to an item.

        Args:
            pinned: collections that it must not leave.
        """
        row = self.agreements.find(target, item)
        if row.generation != self.generation:  # other settings may let Plex take what it refused
            target = replace(target, intent=replace(target.intent, retry=True))
        path = target.metadata.path or (item.files[0].path if item.files else "")
        fields = {name: state for name, state in row.fields.items() if name != POSTER}
        edits = plan_edits(
            item, target.metadata, stem_of(path), fields, target.switches, target.intent,
            self._env.time(), pinned,
        )  # fmt: skip
        if POSTER in row.fields:
            edits = replace(edits, fields={**edits.fields, POSTER: row.fields[POSTER]})
        return Draft(target, item, row, edits)

    def preview(self, draft: Draft) -> bytes | None:
        """Return the poster that would be uploaded, or None.

        Raises:
            StashUnavailable, StashRefused
            PlexTemporaryError, PlexPermanentError
        """
        return self._covers.preview(draft.target, draft.item, draft.row)

    def differs(self, draft: Draft) -> bool:
        """Return whether something would be written; if not, record that.

        Raises:
            StashUnavailable, StashRefused
            PlexTemporaryError, PlexPermanentError
        """
        if draft.edits.changes:
            return True
        seen = self._covers.compare(draft.target, draft.item, draft.row)
        if seen is None:
            return True
        self._report(draft)
        with self._history.transaction():
            after = self._history.save(self._after(replace(draft, row=seen)))
            self._record(draft, after)
        return False

    def write(self, target: SyncTarget, item: PlexItem) -> Written:
        """Bring an item to what Stash says.

        Raises:
            StashUnavailable, StashRefused
            PlexTemporaryError, PlexPermanentError, PlexNotFound
        """
        draft = self.draft(target, item)
        if draft.edits.changes:
            draft = self._brought_up_to_date(draft)
        self._report(draft)
        after = self.write_fields(draft)
        if target.scene is None or not self._covers.is_wanted(draft.target, draft.item, after):
            return Written(tuple(draft.edits.changes), draft.edits.kept)
        return self._write_cover(draft, target.scene, after)

    def _brought_up_to_date(self, draft: Draft) -> Draft:
        """Return the draft for the item as it is right before the write."""
        target, item = draft.target, draft.item
        self._collections.follow_renames(target, item)
        now = self._plex.renewed(item)
        if now is not item:
            rows = self.agreements.of_scene(target.metadata.scene_id or 0, target.scene)
            draft = self.draft(replace(target, rows=tuple(rows)), now)
        pinned = self._collections.pinned(draft.item, draft.edits)
        if pinned:
            draft = self.draft(draft.target, draft.item, pinned)
        self._collections.note(target, draft.item, draft.edits)
        return draft

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
            refused = self._plex.write(draft.item, draft.edits)
        except PLEX_ERRORS:
            # In doubt. The job stays queued; until it is done nothing claims to be in sync.
            if has_scene:
                self._history.save(
                    replace(after, digest=row.digest, synced_at=row.synced_at, verify_at=None)
                )
            raise
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
        after, uploaded, is_final = self._covers.upload(target, scene, item, row)
        if uploaded:  # which moves the item's updatedAt
            verify_at = self._env.time() + VERIFY_AFTER * self._env.timing.scale
            after = replace(after, status=Status.WRITTEN, verify_at=verify_at)
        poster = after.fields.get(POSTER, FieldState())
        if after != row:
            is_written = after.verify_at is not None
            status, reason = status_of(after.fields, is_written=is_written), reason_of(after.fields)
            with self._history.transaction():
                after = self._history.save(replace(after, status=status, reason=reason))
                if uploaded or poster.refused:
                    outcome = CONFIRMED if uploaded else DROPPED
                    self._history.changes.settle(after, {POSTER: outcome})
        if poster.refused and poster != row.fields.get(POSTER):
            report_refusal(self._reporter, after, item)
        fields = (*edits.changes, "poster") if uploaded else tuple(edits.changes)
        kept = (*edits.kept, "poster") if poster.kept else edits.kept
        return Written(fields, kept, cover_is_final=is_final)

    def _after(self, draft: Draft) -> Agreement:
        """Return the record as it is once the edits were sent."""
        target, row, edits = draft.target, draft.row, draft.edits
        scene, now = target.scene, self._env.time()
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
        """Tell what is left alone: fields that drift again and again, and further files."""
        scene_id, left = draft.target.metadata.scene_id, draft.edits.left
        if left:
            self._reporter.notify_user(
                "warning",
                f"Scene {scene_id}: {', '.join(left)} in Plex changes again and again, so it is"
                " left as it is until the scene is saved or re-synced",
            )
        details = _details(draft.target)
        if details and details != draft.row.details:
            paths = "; ".join(file.path for file in draft.target.elsewhere)
            self._reporter.notify_user(
                "info",
                f"Scene {scene_id} has further files, which are items of their own in Plex."
                f" PlexSync leaves these alone: {paths}",
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
