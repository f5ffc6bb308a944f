"""Idle-time maintenance: find edits that missed their hook, retry files not in Plex."""

from __future__ import annotations

import logging

from common.env import Env
from common.media import MediaFile
from plex.history import WriteHistory
from plex.session import PlexSession
from queue.ack_queue import JobQueue
from queue.dlq import DeadLetterQueue
from queue.operations import enqueue, load_sync_timestamps, save_sync_timestamp
from queue.timestamps import forget_sync_timestamp
from stash.client import StashClient
from validation.config import PlexSyncConfig
from worker.catch_up import CatchUp
from worker.health import Health
from worker.recheck import RecheckList
from worker.reporter import Reporter

log = logging.getLogger("plexsync")
#: Jobs between two status lines while there are dead letters, and between two clean-ups of the
#: queue.
STATUS_EVERY = 10
COMPACT_EVERY = 500
_NOT_FOUND = "PlexNotFound"


class Maintenance:
    """Keeps one queue, its dead letters and the records of scenes up to date."""

    def __init__(
        self,
        queue: JobQueue,
        dlq: DeadLetterQueue,
        history: WriteHistory,
        data_dir: str | None,
        plex: PlexSession,
        stash: StashClient | None,
        reporter: Reporter,
        env: Env,
        *,
        catch_up: CatchUp | None = None,
    ) -> None:
        """Start with nothing due but the catch-up scan and the check for missing files.

        Args:
            catch_up: None: edits that missed their hook are not looked for.
        """
        self._queue = queue
        self._dlq = dlq
        self._history = history
        self._data_dir = data_dir
        self._plex = plex
        self._stash = stash
        self._reporter = reporter
        self._env = env
        self._catch_up = catch_up
        #: scenes that were synced within the second of their last change
        self.recheck = RecheckList()
        self._caught_up_at = float("-inf")
        self._revived_at = float("-inf")
        self._retention: int | None = None

    def at_start(self) -> None:
        """Drop finished rows, then log how things are."""
        self._queue.compact()
        self.log_status()

    def configure(self, config: PlexSyncConfig) -> None:
        """Drop dead letters past their retention where that is new."""
        if config.dlq_retention_days != self._retention:
            self._dlq.delete_older_than(config.dlq_retention_days)
            self._retention = config.dlq_retention_days

    def after_job(self, done: int) -> None:
        """Do what is due every `STATUS_EVERY` jobs; `done` is the number of jobs so far."""
        self.log_status()
        if done % COMPACT_EVERY == 0:
            self._queue.compact()

    def log_status(self) -> None:
        """Log how many jobs wait and how many failed, while any have failed."""
        letters = self._dlq.count_by_error()
        if letters:
            reasons = ", ".join(f"{count} {error}" for error, count in letters.items())
            text = f"{self._queue.size} waiting; dead letters: {reasons}"
            self._reporter.log("info", text)

    def forget(self, scene_id: int) -> None:
        """Drop all that is known of a scene that is gone from Stash."""
        if self._data_dir is not None:
            forget_sync_timestamp(self._data_dir, scene_id)
        self._history.delete(scene_id)
        self._dlq.delete_scene(scene_id)
        self._reporter.log("info", f"Scene {scene_id}: gone from Stash")

    def run_due(self, health: Health) -> bool:
        """Do the next step that is due; return whether one was, so that there may be jobs now."""
        now, timing = self._env.monotonic(), self._env.timing
        if self.recheck.are_due(self._env.time()) and health.ready():
            return health.attempt(self._recheck_scenes)
        if (
            self._catch_up is not None
            and now - self._caught_up_at >= timing.catch_up
            and health.ready()
        ):
            self._caught_up_at = now
            return health.attempt(self._find_missed_edits)
        if (
            now - self._revived_at >= timing.revival
            and _NOT_FOUND in self._dlq.count_by_error()
            and health.ready()
        ):
            self._revived_at = now
            return health.attempt(self._retry_found_files)
        return False

    def _recheck_scenes(self) -> None:
        assert self._stash is not None
        read_at = self._env.time()
        same, changed = self.recheck.check(self._stash)
        for scene_id in same:
            if self._data_dir is not None:
                save_sync_timestamp(self._data_dir, scene_id, read_at)
        for scene_id in changed:
            enqueue(self._queue, scene_id, "metadata", {})

    def _find_missed_edits(self) -> None:
        assert self._catch_up is not None
        synced = load_sync_timestamps(self._data_dir) if self._data_dir is not None else {}
        missed = self._catch_up.scan({**synced, **self._dlq.failed_scenes()})
        if missed:
            text = f"{missed} scenes were changed without PlexSync being told; queued"
            self._reporter.log("info", text)
        for scene_id in self._catch_up.vanished(synced):
            self.forget(scene_id)

    def _retry_found_files(self) -> None:
        """Queue the scenes again whose file Plex has by now."""
        self._plex.libraries()
        for letter in self._dlq.get_by_error(_NOT_FOUND):
            details = letter["details"] or {}
            files = [MediaFile(path, size) for path, size in details.get("files", [])]
            # "not": items that are known to be another scene's
            if self._plex.indexed(files).difference(details.get("not", ())):
                scene_id = letter["scene_id"]
                enqueue(self._queue, scene_id, "metadata", letter["job"].get("data") or {})
                self._dlq.delete_scene(scene_id)
                self._reporter.log("info", f"Scene {scene_id}: Plex has its file now")
