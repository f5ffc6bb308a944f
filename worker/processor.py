"""`SyncWorker`: claim jobs, sync their scenes, acknowledge them."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from common.env import Env
from plex.client import PlexClient
from plex.edits import Edits
from plex.history import WriteHistory
from plex.index import FileIndex
from plex.items import read_item
from plex.matcher import find_plex_items_with_confidence
from plex.session import PlexSession
from queue.ack_queue import JobQueue
from queue.dlq import DeadLetterQueue
from queue.models import METADATA, SyncJob
from queue.operations import (
    ack_job,
    load_sync_timestamps,
    nack_job,
    save_sync_timestamp,
    unmark_scene_pending,
)
from queue.recovery import is_damage
from stash.client import StashClient
from stash.records import Scene
from validation.config import PlexSyncConfig
from validation.errors import PermanentError, TransientError
from validation.metadata import SyncMetadata
from worker.backoff import STANDARD
from worker.catch_up import CatchUp
from worker.config_provider import ConfigProvider
from worker.health import ALL_WELL, OUTAGES, REFUSALS, Health
from worker.job_runner import JobRunner, SceneGone, SyncTarget, validated
from worker.maintenance import STATUS_EVERY, Maintenance
from worker.outcome import JobOutcome, display_name
from worker.process import WorkerLock
from worker.related import queue_scenes
from worker.reporter import Reporter
from worker.state import save_state
from worker.write_pool import WritePool

log = logging.getLogger("plexsync")

__all__ = [
    "PermanentError",
    "SyncWorker",
    "TransientError",
    "find_plex_items_with_confidence",
    "save_sync_timestamp",
    "unmark_scene_pending",
]

#: Jobs that are claimed at once; their scenes are read from Stash in one query.
_BATCH = 20

Wave = list[tuple[SyncJob, SyncTarget]]


class SyncWorker:
    """Syncs the scenes of a queue's jobs, in a thread of its own or in the caller's."""

    def __init__(
        self,
        queue: JobQueue,
        dlq: DeadLetterQueue,
        config: PlexSyncConfig | None,
        data_dir: str | None = None,
        max_retries: int = 5,
        *,
        provider: ConfigProvider | None = None,
        stash: StashClient | None = None,
        plex: PlexSession | None = None,
        history: WriteHistory | None = None,
        catch_up: CatchUp | None = None,
        lock: WorkerLock | None = None,
        reporter: Reporter | None = None,
        env: Env | None = None,
    ) -> None:
        """Build the parts that were not handed in; start nothing yet.

        Args:
            queue: only this worker claims from it; others may put.
            config: the settings, unless there is a `provider`.
            data_dir: where sync timestamps and the worker's state are kept; None: nowhere.
            max_retries: retry limit for errors that define none, unless there is a `provider`.
            stash: where scenes are read; None: what the jobs carry is all there is.
            catch_up: finds edits that missed their hook; None: they are not looked for.
            lock: gets a heartbeat.
        """
        self.queue = queue
        self.dlq = dlq
        self.done = 0  # jobs that were finished, either way
        #: the error of a damaged database, which ends the worker
        self.damage: Exception | None = None
        self._env = env or Env()
        self._data_dir = data_dir
        self._stash = stash
        self._lock = lock
        self._reporter = reporter or Reporter()
        if config is not None:
            config = config.model_copy(update={"max_retries": max_retries})
        self._provider = provider or ConfigProvider(config, self._env)
        self._plex = plex or PlexSession(FileIndex(), self._env)
        if config is not None:
            self._plex.configure(config)
        history = history or WriteHistory()
        self.health = Health(self._provider, self._plex, stash, self._reporter, self._env)
        self.maintenance = Maintenance(
            queue,
            dlq,
            history,
            data_dir,
            self._plex,
            stash,
            self._reporter,
            self._env,
            catch_up=catch_up,
        )
        self._runner = JobRunner(self._plex, stash, history, self._reporter)
        self.pool = WritePool(self._runner, self._env)
        self._outcome = JobOutcome(queue, dlq, self.health, self._reporter, self._env)
        self._must_requeue = False  # a step failed with jobs claimed
        self._progress: Callable[[], object] | None = None
        self._published: dict[str, Any] | None = None
        self._beaten_at = float("-inf")
        self._idle_since: float | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    # --- life ---

    def start(self) -> None:
        """Work in a daemon thread until `stop`, or until there was nothing to do for a while."""
        if not self.running:
            self._stop.clear()
            self._thread = threading.Thread(target=self.run, name="plexsync-worker", daemon=True)
            self._thread.start()

    def stop(self, timeout: float | None = 30.0) -> None:
        """Let the thread finish the job in hand and end.

        Args:
            timeout: seconds to wait for it; None: for ever.
        """
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    @property
    def running(self) -> bool:
        """Return whether the thread is alive."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def disabled(self) -> bool:
        """Return whether the user switched the plugin off."""
        return self._provider.disabled

    def run(self) -> None:
        """Work in this thread until `stop`, an idle while, or the plugin is switched off."""
        self._guarded(self.maintenance.at_start)
        self._idle_since = None
        while self._may_go_on() and not self._idle_for_long():
            self._beat()
            if not self._guarded(self._step):
                self._pause(self.health.retry_after())
        self._publish_state()

    def drain(self, progress: Callable[[int, int], object] = lambda done, left: None) -> bool:
        """Work in this thread until nothing is due; return whether that was reached.

        It ends early where it could only wait: `health` says why.

        Args:
            progress: called with jobs done and jobs left after each one.
        """
        self.maintenance.at_start()
        start = self.done
        waiting = self.queue.counts(due_at=self._env.time())["pending"]

        def report() -> None:
            done = self.done - start
            progress(done, max(0, waiting - done))

        self._progress = report
        try:
            reached = self._drain()
        finally:
            self._progress = None
            with suppress(sqlite3.Error, OSError):  # else the next to open the queue does it
                self.queue.requeue_in_progress()
        self._publish_state()
        return reached

    def _drain(self) -> bool:
        while self._may_go_on() and self._is_due(self._next_due()):
            self._beat()
            before = self.done
            if not self._guarded(self._run_batch):
                return False
            if self.done > before:
                continue
            if self.disabled or self.health.problem or self.health.is_open():
                return False
            self._pause(self.health.retry_after())
        return self._may_go_on()

    def _step(self) -> None:
        """Run due jobs, else maintenance that is due, else wait for a job."""
        seen = self.queue.version()  # before the look at the queue: later changes end the wait
        due = self._next_due()
        if due is not None:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = self._env.monotonic()
        if self._is_due(due):
            if not self._run_batch():
                self._pause(self.health.retry_after())
        elif not self.maintenance.run_due(self.health):
            self._wait_for_work(seen, due)

    def _guarded(self, step: Callable[[], object]) -> bool:
        """Run a step that must not end the worker; return whether it went well."""
        try:
            step()
        except (sqlite3.Error, OSError) as error:
            # Our own disk: the network's errors were translated.
            self._must_requeue = True
            self.damage = error if is_damage(error) else None
            self.health.pause(
                f"PlexSync can't write its files: {error}. Edits are kept, and synced once it can"
            )
        except Exception as error:  # noqa: BLE001
            self._must_requeue = True
            self.health.unexpected(error)
        else:
            return True
        return False

    def _may_go_on(self) -> bool:
        return not (self._stop.is_set() or self.disabled or self.damage or self.queue.replaced)

    def _idle_for_long(self) -> bool:
        since = self._idle_since
        return since is not None and self._env.monotonic() - since >= self._env.timing.idle_timeout

    def _next_due(self) -> float | None:
        if self._must_requeue:
            self.queue.requeue_in_progress()
            self._must_requeue = False
        self.queue.import_spool()
        return self.queue.next_due()

    def _is_due(self, due: float | None) -> bool:
        return due is not None and due <= self._env.time()

    def _wait_for_work(self, seen: object, due: float | None) -> None:
        """Wait until a job is due or another process has put one."""
        timing = self._env.timing
        if due is not None:
            seconds = due - self._env.time()
        else:
            seconds = timing.idle_timeout - (self._env.monotonic() - (self._idle_since or 0.0))
        self._pause(min(seconds, timing.heartbeat), unless_changed=seen)

    def _pause(self, seconds: float, unless_changed: object = None) -> None:
        """Wait, but not past `stop`; every poll interval check whether the queue changed."""
        config = self._provider.config
        poll = config.poll_interval if config else 1.0
        end = self._env.monotonic() + seconds
        while (left := end - self._env.monotonic()) > 0:
            self._beat()
            self._publish_state()
            if self._env.wait(self._stop, min(poll, left)):
                return
            if unless_changed is not None and self.queue.version() != unless_changed:
                return

    def _beat(self) -> None:
        now = self._env.monotonic()
        if self._lock is not None and now - self._beaten_at >= self._env.timing.heartbeat:
            self._beaten_at = now
            with suppress(OSError):  # *Status* shows it; the work goes on
                self._lock.beat()

    def _publish_state(self) -> None:
        """Leave the state for *Status* when it changed."""
        state = self.health.to_dict()
        if state != self._published and self._data_dir is not None:
            self._published = state
            save_state(self._data_dir, state)

    # --- jobs ---

    def _run_batch(self) -> bool:
        """Run the next few jobs and requeue the rest; return whether any finished."""
        if not self._may_start():
            return False
        before = self.done
        jobs = deque(self.queue.claim_many(_BATCH, self._env.time()))
        read_at = self._env.time()  # an edit that is made from here on counts as newer
        scenes = self._read_ahead(jobs)
        wave: Wave = []
        while jobs:
            self._beat()
            job = jobs[0]
            scene = scenes.pop(job["scene_id"], None)
            target = self._prepare(job, scene, read_at if scene else self._env.time(), wave)
            if target is not None:
                if self.pool.conflicts(target, [other for _, other in wave]):
                    self._write(wave)
                    if not self._may_start():
                        break
                    continue  # item and settings may be other ones by now: prepare the job again
                wave.append((job, target))
            jobs.popleft()
            if len(wave) >= self.pool.width:
                self._write(wave)
            # Settings change only between two waves: a target is never written to another Plex.
            if jobs and not wave and not self._may_start():
                break
        self._write(wave)
        for left in jobs:
            nack_job(self.queue, left)
        return self.done > before

    def _may_start(self) -> bool:
        if self._stop.is_set() or not self.health.ready():
            return False
        self.maintenance.configure(self._plex.config)
        if self._published != ALL_WELL:  # a long run must not look like an outage that is over
            self._publish_state()
        return True

    def _read_ahead(self, jobs: Iterable[SyncJob]) -> dict[int, Scene]:
        """Read several jobs' scenes in one query, and their items; the rest is read later."""
        scene_ids = [job["scene_id"] for job in jobs if job["update_type"] == METADATA]
        if self._stash is None or len(scene_ids) < 2:
            return {}
        scenes: dict[int, Scene] = {}
        with suppress(*OUTAGES, *REFUSALS):  # if one of them is gone, Stash returns none
            scenes = {scene.id: scene for scene in self._stash.find_scenes(scene_ids)}
        try:
            self._runner.read_ahead(scenes.values())
        except (sqlite3.Error, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - one scene must not stop the others
            log.debug("Not read ahead: %s", type(error).__name__)
        return scenes

    def _prepare(
        self, job: SyncJob, scene: Scene | None, read_at: float, wave: Wave
    ) -> SyncTarget | None:
        """Match a job's scene; None: the job was settled, as there is nothing to write.

        Args:
            wave: targets that wait to be written; they go first when this one fails.
        """
        try:
            target = self._match(job, scene, read_at)
        except (sqlite3.Error, OSError):
            raise  # our own disk; the network's errors were translated
        except Exception as error:  # noqa: BLE001 - one scene must not end the worker
            self._write(wave)
            self._failed(job, error)
            return None
        if target is None:
            self._succeeded(job)
        return target

    def _match(self, job: SyncJob, scene: Scene | None, read_at: float) -> SyncTarget | None:
        """Return what is to be written for a job; None: nothing.

        Raises:
            what `_process_job` raises
        """
        if job["update_type"] != METADATA:
            self._queue_related(job)
            return None
        self._plex.use(self._get_plex_client())  # another one, where a caller replaced the method
        try:
            target = self._runner.prepare(job, scene, read_at)
        except SceneGone:
            self.maintenance.forget(job["scene_id"])
            return None
        if isinstance(target, str):
            self._reporter.log("debug", f"{display_name(job)}: {target}, so not synced")
            return None
        return target

    def _write(self, wave: Wave) -> None:
        """Write targets and settle their jobs; retry a failed concurrent write alone first."""
        batch = list(wave)
        wave.clear()
        if not batch:
            return
        again = []
        for (job, target), result in zip(
            batch, self.pool.write([target for _, target in batch]), strict=True
        ):
            on_our_disk = isinstance(result, (sqlite3.Error, OSError))
            if len(batch) > 1 and isinstance(result, Exception) and not on_our_disk:
                again.append(job)
            else:
                self._settle(job, target, result)
        for job in again:
            if not self._may_start():
                nack_job(self.queue, job)
                continue
            alone = self._prepare(job, None, self._env.time(), [])
            if alone is not None:
                self._settle(job, alone, *self.pool.write([alone]))

    def _settle(self, job: SyncJob, target: SyncTarget, result: Edits | Exception) -> None:
        """Acknowledge a job that was written, or decide what follows its error."""
        if isinstance(result, (sqlite3.Error, OSError)):
            raise result
        if isinstance(result, Exception):
            self._failed(job, result)
        else:
            self._record(job, target, result)
            self._succeeded(job)

    def _succeeded(self, job: SyncJob) -> None:
        if self.health.failing:
            self._outcome.succeeded()
        ack_job(self.queue, job)
        self._finished(job)

    def _failed(self, job: SyncJob, error: Exception) -> None:
        config = self._provider.config
        if self._outcome.failed(job, error, config.max_retries if config else STANDARD[2]):
            self._finished(job)

    def _finished(self, job: SyncJob) -> None:
        unmark_scene_pending(job["scene_id"])
        self.done += 1
        if self.done % STATUS_EVERY == 0:
            self.maintenance.after_job(self.done)
        if self._progress is not None:
            self._progress()

    # --- one scene ---

    def _process_job(self, job: SyncJob) -> None:
        """Bring one scene to Plex.

        Raises:
            TransientError: try again later (Plex's and Stash's own are subclasses).
            PermanentError: a person must help.
            SettingsError: nothing can be synced with these settings.
        """
        target = self._match(job, None, self._env.time())
        if target is not None:
            self._record(job, target, self._runner.write(target))

    def _update_metadata(self, plex_item: Any, data: SyncMetadata | Mapping[str, Any]) -> Edits:
        """Write what differs to an item, in one request, and keep what was written.

        Args:
            plex_item: of plexapi.
            data: the scene's metadata.

        Raises:
            PermanentError: the metadata are not valid.
            PlexTemporaryError, PlexPermanentError, PlexNotFound
        """
        metadata = data if isinstance(data, SyncMetadata) else validated(dict(data))
        self._plex.use(self._get_plex_client())
        return self._runner.write_fields(read_item(plex_item), metadata)

    def _get_plex_client(self) -> PlexClient:
        """Return the Plex client for the settings in effect; it connects on first use."""
        return self._plex.client()

    def _record(self, job: SyncJob, target: SyncTarget, edits: Edits) -> None:
        """Keep that the scene is in sync."""
        if self._data_dir is not None:
            save_sync_timestamp(self._data_dir, job["scene_id"], target.read_at)
        if target.scene is not None:
            self.maintenance.recheck.add(target.scene, target.read_at)
        self.dlq.delete_scene(job["scene_id"])
        wrote = f"wrote {', '.join(edits.changes)}" if edits.changes else "in sync"
        self._reporter.log("info", f"Scene {job['scene_id']}: {wrote}")

    def _queue_related(self, job: SyncJob) -> None:
        synced = load_sync_timestamps(self._data_dir) if self._data_dir is not None else {}
        count = queue_scenes(job, self._stash, self.queue, synced, self._env.time())
        name = display_name(job)
        self._reporter.log("info", f"{name}: changed; {count} scenes that show it are queued")
