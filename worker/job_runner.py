"""One scene: desired → match → target. `worker.item_writer` does the rest. Knows no queue."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from common.env import Env
from common.media import files_as_json
from history.records import Agreement, Status
from history.store import LOST_AT, History
from plex.desired import switches_of
from plex.exceptions import PlexNotFound
from plex.items import PlexItem
from plex.matcher import AmbiguousMatch
from plex.paths import map_path
from plex.plan import Edits, Intent
from plex.session import PlexSession
from queue.models import CREATED, FORCE, RETRY, SyncJob, is_saved
from queue.timestamps import parse_time
from stash.client import StashClient
from stash.records import Scene
from validation.errors import PermanentError
from validation.metadata import SyncMetadata
from worker.agreements import is_untouchable
from worker.item_writer import ItemWriter
from worker.reporter import Reporter
from worker.scene_matcher import SceneMatcher
from worker.target import SyncTarget, Written, desired, run_of_job

#: Characters of a reason that are kept.
LONGEST_REASON = 1_000


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
        self.matcher = SceneMatcher(plex, stash, history, reporter, env)
        self._items = ItemWriter(plex, stash, history, reporter, env)
        self._agreements = self._items.agreements
        #: where the values in Plex's libraries came from
        self.origins = self._items.origins

    @property
    def generation(self) -> str:
        """A short hash of the settings that change the outcome, and of PlexSync's version."""
        return self._items.generation

    def prepare(self, job: SyncJob, scene: Scene | None, read_at: float) -> SyncTarget | str:
        """Match a job's scene to its item; return the target, or why nothing is to be written.

        Args:
            scene: None: the job carries all that is known of it.
            read_at: the moment before the scene was read, in epoch seconds.

        Raises:
            PlexNotFound, AmbiguousMatch
            PermanentError: the scene has no file, or its metadata are not valid.
            SettingsError, StashUnavailable, StashRefused, StashQueryError
            PlexTemporaryError, PlexPermanentError
        """
        if is_untouchable(self.history, job["scene_id"], scene):
            return "ignored, as you said"
        data = job.get("data") or {}
        is_last = job.get("retry_count", 0) >= self.plex.config.max_retries
        intent = Intent(
            saved=is_saved(job), force=FORCE in data, retry=RETRY in data, is_last=is_last
        )
        metadata = desired(scene, job)
        reason = self.reason_to_skip(metadata, is_new=CREATED in data and not intent.saved)
        if reason is not None:
            if scene is not None:
                self.record(scene.id, scene, Status.SKIPPED, reason)
            return reason
        try:
            target = self._target(metadata, scene, read_at, intent)
            return replace(target, run=run_of_job(job))
        except PlexNotFound as error:
            if scene is not None:  # on record at once, as retries take hours
                self.record(scene.id, scene, Status.NOT_IN_PLEX, str(error), error.details)
            raise

    def reason_to_skip(self, metadata: SyncMetadata, *, is_new: bool = False) -> str | None:
        """Return why a filter leaves a scene out, or None.

        Args:
            is_new: nothing but its appearance in Stash is known of it.
        """
        left_out = self.plex.config.why_left_out(metadata)
        if left_out is not None:
            return left_out
        if is_new and metadata.is_blank and not self.history.is_known(metadata.scene_id or 0):
            return "new, and without any metadata yet"
        return None

    def read_ahead(self, scenes: Iterable[Scene]) -> None:
        """Read the items of scenes that are synced next, together.

        Raises:
            SettingsError, PlexTemporaryError, PlexPermanentError
        """
        config = self.plex.config
        every = not (config.only_organized or config.rules.filters_scenes)
        self.plex.read_ahead(scene.files for scene in scenes if every or self._is_wanted(scene))

    def _is_wanted(self, scene: Scene) -> bool:
        try:
            return self.reason_to_skip(desired(scene)) is None
        except PermanentError:  # its metadata are not valid: that is said at its turn
            return False

    def preview(
        self, scene: Scene, *, is_asked: bool = False
    ) -> list[tuple[PlexItem, Edits, dict[str, bytes]]]:
        """Return what a sync in bulk would write, per item, with pictures; writes nothing.

        See `Covers.preview` for these.

        Nothing for a scene that a filter leaves out.

        Raises:
            what `match` and `write` raise
        """
        metadata = desired(scene)
        if self.why_skipped(scene, is_asked=is_asked):
            return []
        target = self._target(metadata, scene, self._env.time(), Intent())
        drafts = [self._items.draft(target, item) for item in target.items]
        return [(one.item, one.edits, self._items.preview(one)) for one in drafts]

    def why_skipped(self, scene: Scene, *, is_asked: bool = False) -> str:
        """Return why `preview` has nothing for a scene.

        Args:
            is_asked: the user names this scene, or has all of them written again.

        Raises:
            PermanentError: its metadata are not valid.
        """
        if is_untouchable(self.history, scene.id, scene):
            return "ignored, or taken back, as you said"
        reason = self.reason_to_skip(desired(scene))
        return reason or ("" if is_asked else self._why_still_left_out(scene))

    def _why_still_left_out(self, scene: Scene) -> str:
        """Return why a scene that was left out before stays so: as long as it is the same."""
        rows = self._agreements.of_scene(scene.id, scene)
        is_same = all(
            row.status is Status.SKIPPED
            and scene.has_digest(row.digest)
            and row.generation == self.generation
            for row in rows
        )
        return rows[0].reason if rows and is_same else ""

    def compare(self, scene: Scene, read_at: float, intent: Intent) -> frozenset[str]:
        """Return the fields that would be written for a scene; if none, record why.

        Raises:
            what `match` raises, but PlexNotFound and AmbiguousMatch
            StashUnavailable, StashRefused: the cover can't be fetched.
        """
        metadata = desired(scene)
        reason = self.reason_to_skip(metadata)
        if reason is not None:
            self.record(scene.id, scene, Status.SKIPPED, reason)
            return frozenset()
        try:
            target = self._target(metadata, scene, read_at, intent)
        except PlexNotFound as error:
            self.record(scene.id, scene, Status.NOT_IN_PLEX, str(error), error.details)
            return frozenset()
        except AmbiguousMatch as error:
            self.record(scene.id, scene, Status.AMBIGUOUS, str(error), error.details)
            return frozenset()
        drafts = [self._items.draft(target, item) for item in target.items]
        fields = [self._items.differing(draft) for draft in drafts]
        if not any(fields):
            self._agreements.retire_others(target)
        return frozenset().union(*fields)

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
                one = self._items.write(target, item)
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
        draft = self._items.draft(target, item)
        self._items.write_fields(draft)
        return draft.edits

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

    def _target(
        self, metadata: SyncMetadata, scene: Scene | None, read_at: float, intent: Intent
    ) -> SyncTarget:
        found = self.matcher.match(metadata, scene)
        rows = self._agreements.of_scene(metadata.scene_id or 0, scene)
        switches = switches_of(self.plex.config)
        lost_at = self.history.get(LOST_AT, 0.0)
        if lost_at and scene is not None and (parse_time(scene.created_at) or 0.0) < lost_at:
            intent = replace(intent, additive=True)
        return SyncTarget(
            found.items, metadata, scene, read_at, switches, intent, tuple(rows), found.elsewhere
        )
