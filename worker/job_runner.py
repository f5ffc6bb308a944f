"""One scene: desired → match → observed → plan → write. Knows nothing of the queue."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from common.env import Env
from common.version import VERSION
from history.fields import FieldState, read_at
from history.records import POSTER, UNTOUCHABLE, Agreement, Status
from history.store import LOST_AT, History
from plex.desired import switches_of
from plex.exceptions import PLEX_ERRORS, PlexNotFound
from plex.items import PlexItem
from plex.matcher import AmbiguousMatch
from plex.paths import map_path, stem_of
from plex.plan import Edits, Intent, plan_edits
from plex.session import PlexSession
from queue.models import CREATED, FORCE, RETRY, SyncJob, is_saved
from queue.timestamps import parse_time
from stash.client import StashClient
from stash.records import Scene
from validation.config import PlexSyncConfig
from validation.metadata import SyncMetadata
from worker.agreements import Agreements
from worker.collections import Collections
from worker.covers import Covers
from worker.refusals import reason_of, refuse_fields, report_refusal, status_of
from worker.reporter import Reporter
from worker.scene_matcher import SceneMatcher, files_as_json
from worker.target import SyncTarget, Written, desired

#: Seconds after a write until it may be read back.
VERIFY_AFTER = 2.0
#: Characters of a reason that are kept.
LONGEST_REASON = 1_000


class SceneGone(Exception):
    """Stash does not have the scene any more."""


class JobRunner:
    """Brings scenes to Plex, one after the other."""

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
            stash: None: jobs carry all that is known of a scene, and covers are left alone.
        """
        self.plex = plex
        self.history = history
        self._stash = stash
        self._reporter = reporter
        self._env = env
        self.matcher = SceneMatcher(plex, stash, history, reporter)
        self._agreements = Agreements(history, plex)
        self._covers = Covers(plex, stash, env)
        self._collections = Collections(plex, history, reporter, env)
        self._hashed: tuple[PlexSyncConfig | None, str] = (None, "")

    @property
    def generation(self) -> str:
        """A short hash of the settings that change the outcome, and of PlexSync's version."""
        config = self.plex.config
        if self._hashed[0] is not config:
            self._hashed = (config, f"{config.outcome_hash}-{VERSION}")
        return self._hashed[1]

    def prepare(self, job: SyncJob, scene: Scene | None, read_at: float) -> SyncTarget | str:
        """Match a job's scene to its item; return the target, or why nothing is to be written.

        Args:
            scene: as it was read already; None: it is read now.
            read_at: the moment before the scene is read, in epoch seconds.

        Raises:
            SceneGone
            PlexNotFound, AmbiguousMatch
            PermanentError: the scene has no file, or its metadata are not valid.
            SettingsError, StashUnavailable, StashRefused, StashQueryError
            PlexTemporaryError, PlexPermanentError
        """
        if scene is None and self._stash is not None:
            scene = self._stash.find_scene(job["scene_id"])
            if scene is None:
                raise SceneGone
        if self.is_untouchable(job["scene_id"]):
            return "ignored, as you said"
        data = job.get("data") or {}
        intent = Intent(saved=is_saved(job), force=FORCE in data, retry=RETRY in data)
        metadata = desired(scene, job)
        reason = self.reason_to_skip(metadata, is_new=CREATED in data and not intent.saved)
        if reason is not None:
            if scene is not None:
                self.record(scene.id, scene, Status.SKIPPED, reason)
            return reason
        try:
            return self._target(metadata, scene, read_at, intent)
        except PlexNotFound as error:
            if scene is not None:  # on record at once, as retries take hours
                self.record(scene.id, scene, Status.NOT_IN_PLEX, str(error), error.details)
            raise

    def reason_to_skip(self, metadata: SyncMetadata, *, is_new: bool = False) -> str | None:
        """Return why a filter leaves a scene out, or None.

        Args:
            is_new: nothing but its appearance in Stash is known of it.
        """
        if self.plex.config.only_organized and not metadata.organized:
            return "not organized"
        if is_new and metadata.is_blank and not self.history.is_known(metadata.scene_id or 0):
            return "new, and without any metadata yet"
        return None

    def is_untouchable(self, scene_id: int) -> bool:
        """Return whether the user said that the scene is left alone."""
        rows = self.history.rows_of([scene_id]).get(scene_id, ())
        return any(row.status in UNTOUCHABLE for row in rows)

    def read_ahead(self, scenes: Iterable[Scene]) -> None:
        """Read the items of scenes that are synced next, together.

        Raises:
            SettingsError, PlexTemporaryError, PlexPermanentError
        """
        every = not self.plex.config.only_organized
        self.plex.read_ahead(scene.files for scene in scenes if every or scene.organized)

    def preview(self, scene: Scene) -> list[tuple[PlexItem, Edits, bytes | None]]:
        """Return what a sync in bulk would write, per item, with the poster; writes nothing.

        Nothing for a scene that a filter leaves out.

        Raises:
            what `match` and `write` raise
        """
        metadata = desired(scene)
        if self.is_untouchable(scene.id) or self.reason_to_skip(metadata) is not None:
            return []
        target = self._target(metadata, scene, self._env.time(), Intent())
        found = []
        for item in target.items:
            row = self._agreements.find(target, item)
            target = self._renewed(target, row)
            edits = self._plan(target, item, row)
            found.append((item, edits, self._covers.preview(target, item, row)))
        return found

    def compare(self, scene: Scene, read_at: float, intent: Intent) -> bool:
        """Return whether something would be written for a scene; if not, record why.

        Raises:
            what `match` raises, but PlexNotFound and AmbiguousMatch
            StashUnavailable, StashRefused: the cover can't be fetched.
        """
        metadata = desired(scene)
        reason = self.reason_to_skip(metadata)
        if reason is not None:
            self.record(scene.id, scene, Status.SKIPPED, reason)
            return False
        try:
            target = self._target(metadata, scene, read_at, intent)
        except PlexNotFound as error:
            self.record(scene.id, scene, Status.NOT_IN_PLEX, str(error), error.details)
            return False
        except AmbiguousMatch as error:
            self.record(scene.id, scene, Status.AMBIGUOUS, str(error), error.details)
            return False
        differs = False
        for item in target.items:
            row = self._agreements.find(target, item)
            target = self._renewed(target, row)
            edits = self._plan(target, item, row)
            seen = None if edits.changes else self._covers.compare(target, item, row)
            if seen is None:
                differs = True
            else:
                self._report_left(target, edits)
                self.history.save(self._after(target, item, seen, edits))
        if not differs:
            self._agreements.retire_others(target)
        return differs

    def write(self, target: SyncTarget) -> Written:
        """Bring the items to what Stash says; may run in several threads, each with its own items.

        Raises:
            StashUnavailable, StashRefused
            PlexTemporaryError, PlexPermanentError, PlexNotFound
        """
        written = Written()
        self._agreements.retire_others(target)
        for item in target.items:
            try:
                one = self._write_item(target, item)
            except PlexNotFound as error:  # the item is gone; its file may come back
                files = target.scene.files if target.scene else ()
                error.details = {"files": files_as_json(files)}
                raise
            written = Written(
                tuple(dict.fromkeys((*written.fields, *one.fields))),
                tuple(dict.fromkeys((*written.kept, *one.kept))),
                written.cover_is_final and one.cover_is_final,
            )
        return written

    def write_fields(self, item: PlexItem, metadata: SyncMetadata) -> Edits:
        """Write the texts and lists that differ, as for a saved scene; return the edits.

        Raises:
            PlexTemporaryError, PlexPermanentError, PlexNotFound
        """
        now = self._env.time()
        self.plex.identify()
        switches = switches_of(self.plex.config)
        rows = tuple(self._agreements.of_scene(metadata.scene_id or 0, None))
        target = SyncTarget((item,), metadata, None, now, switches, Intent(saved=True), rows)
        row = self._agreements.find(target, item)
        edits = self._plan(target, item, row)
        self._write_fields(target, item, row, edits)
        return edits

    def record(
        self,
        scene_id: int,
        scene: Scene | None,
        status: Status,
        reason: str,
        details: dict[str, Any] | None = None,
    ) -> None:
        """Record that a scene is not in sync, and why; what was written before stays known.

        Args:
            scene: as it was read; None: it was not.
        """
        known: dict[str, Any] = {}
        path = ""
        rows = self._agreements.of_scene(scene_id, scene)
        if scene is not None:
            known = {
                "digest": scene.digest, "created_at": scene.created_at,
                "updated_at": scene.updated_at, "files": scene.files, "missing_since": None,
            }  # fmt: skip
            if scene.files:  # where Plex should have it
                path = map_path(scene.files[0].path, self.plex.config.path_mappings)[0]
        self.history.save_all(
            replace(
                row,
                path=row.path if row.has_item else path,
                status=status,
                reason=reason[:LONGEST_REASON],
                details=details,
                generation=self.generation,
                checked_at=self._env.time(),
                verify_at=None,
                **known,
            )
            for row in rows or [Agreement(scene_id)]
        )

    # --- one item

    def _target(
        self, metadata: SyncMetadata, scene: Scene | None, read_at: float, intent: Intent
    ) -> SyncTarget:
        found = self.matcher.match(metadata, scene)
        rows = self._agreements.of_scene(metadata.scene_id or 0, scene)
        switches = switches_of(self.plex.config)
        lost_at = self.history.get(LOST_AT)
        if lost_at and scene is not None and (parse_time(scene.created_at) or 0.0) < lost_at:
            intent = replace(intent, additive=True)
        return SyncTarget(
            found.items, metadata, scene, read_at, switches, intent, tuple(rows), found.elsewhere
        )

    def _renewed(self, target: SyncTarget, row: Agreement) -> SyncTarget:
        """Try again what Plex refused under other settings or by another version."""
        if row.generation == self.generation:
            return target
        return replace(target, intent=replace(target.intent, retry=True))

    def _find_again(self, target: SyncTarget, item: PlexItem) -> Agreement:
        rows = self._agreements.of_scene(target.metadata.scene_id or 0, target.scene)
        return self._agreements.find(replace(target, rows=tuple(rows)), item)

    def _plan(
        self, target: SyncTarget, item: PlexItem, row: Agreement, pinned: Sequence[str] = ()
    ) -> Edits:
        path = target.metadata.path or (item.files[0].path if item.files else "")
        fields = {name: state for name, state in row.fields.items() if name != POSTER}
        edits = plan_edits(
            item,
            target.metadata,
            stem_of(path),
            fields,
            target.switches,
            target.intent,
            self._env.time(),
            pinned,
        )
        if POSTER in row.fields:
            edits = replace(edits, fields={**edits.fields, POSTER: row.fields[POSTER]})
        return edits

    def _after(self, target: SyncTarget, item: PlexItem, row: Agreement, edits: Edits) -> Agreement:
        """Return the record as it is once the edits were sent."""
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
            item_updated_at=read_at(edits.fields, item.updated_at),
            checked_at=now,
            synced_at=target.read_at,
            missing_since=None,
            verify_at=now + VERIFY_AFTER * self._env.timing.scale if edits.changes else None,
        )

    def _write_item(self, target: SyncTarget, item: PlexItem) -> Written:
        row = self._agreements.find(target, item)
        target = self._renewed(target, row)
        edits = self._plan(target, item, row)
        if edits.changes:
            if self._collections.follow_renames(target, item):
                item, row = self.plex.read_again(item), self._find_again(target, item)
                edits = self._plan(target, item, row)
            elif (now := self.plex.renewed(item)) is not item:
                item, edits = now, self._plan(target, now, row)
            pinned = self._collections.pinned(item, edits)
            if pinned:
                edits = self._plan(target, item, row, pinned)
            self._collections.note(target, item, edits)
        self._report_left(target, edits)
        self._report_elsewhere(target, row)
        after = self._write_fields(target, item, row, edits)
        scene = target.scene
        if scene is None or not self._covers.is_wanted(target, item, after):
            return Written(tuple(edits.changes), edits.kept)
        return self._write_cover(target, scene, item, after, edits)

    def _write_cover(
        self, target: SyncTarget, scene: Scene, item: PlexItem, row: Agreement, edits: Edits
    ) -> Written:
        """Upload the scene's cover if it is another, and record it."""
        after, uploaded, is_final = self._covers.upload(target, scene, item, row)
        if uploaded:  # which moves the item's updatedAt
            verify_at = self._env.time() + VERIFY_AFTER * self._env.timing.scale
            after = replace(after, status=Status.WRITTEN, verify_at=verify_at)
        if after != row:
            is_written = after.verify_at is not None
            status, reason = status_of(after.fields, is_written=is_written), reason_of(after.fields)
            after = self.history.save(replace(after, status=status, reason=reason))
        poster = after.fields.get(POSTER, FieldState())
        if poster.refused and poster != row.fields.get(POSTER):
            report_refusal(self._reporter, after, item)
        fields = (*edits.changes, "poster") if uploaded else tuple(edits.changes)
        kept = (*edits.kept, "poster") if poster.kept else edits.kept
        return Written(fields, kept, cover_is_final=is_final)

    def _write_fields(
        self, target: SyncTarget, item: PlexItem, row: Agreement, edits: Edits
    ) -> Agreement:
        """Write what differs.

        The record is on disk before the write, as its answer may get lost.
        """
        after = self._after(target, item, row, edits)
        if target.metadata.scene_id:
            after = self.history.save(after)
        if not edits.changes:
            return after
        try:
            refused = self.plex.write(item, edits)
        except PLEX_ERRORS:
            # In doubt. The job stays queued; until it is done nothing claims to be in sync.
            if target.metadata.scene_id:
                self.history.save(
                    replace(after, digest=row.digest, synced_at=row.synced_at, verify_at=None)
                )
            raise
        return self._note_refused(item, after, refused) if refused else after

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
        return self.history.save(row) if row.scene_id else row

    def _report_elsewhere(self, target: SyncTarget, row: Agreement) -> None:
        """Tell once that further files of the scene are other items."""
        details = _details(target)
        if details and details != row.details:
            paths = "; ".join(file.path for file in target.elsewhere)
            self._reporter.notify_user(
                "info",
                f"Scene {target.metadata.scene_id} has further files, which are items of their own"
                f" in Plex. PlexSync leaves these alone: {paths}",
            )

    def _report_left(self, target: SyncTarget, edits: Edits) -> None:
        if edits.left:
            self._reporter.notify_user(
                "warning",
                f"Scene {target.metadata.scene_id}: {', '.join(edits.left)} in Plex changes again"
                " and again, so it is left as it is until the scene is saved or re-synced",
            )


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
