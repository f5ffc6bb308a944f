"""Run batches of jobs: claim, read ahead, match, write, acknowledge."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Iterable
from contextlib import suppress

from queue.models import FATAL_AFTER, METADATA, RUN, SyncJob, create_bulk_job
from queue.operations import ack_job, nack_job, unmark_scene_pending
from queue.table import SUSPECTS
from stash.records import Scene
from validation.errors import PermanentError
from worker.health import OUTAGES, REFUSALS, Health
from worker.job_runner import JobRunner
from worker.maintenance import STATUS_EVERY, Maintenance
from worker.outcome import JobOutcome, display_name
from worker.parts import Parts
from worker.presence import Presence
from worker.reconcile.forgetting import Forgetting
from worker.reconcile.passes import Passes
from worker.reconcile.quick import related_passes
from worker.target import SyncTarget, Written
from worker.write_pool import WritePool

log = logging.getLogger("plexsync")

#: Jobs that are claimed at once; their scenes are read from Stash in one query.
BATCH = 20
#: Seconds after which a cover is looked at again that was read within the second of its change.
_LOOK_AGAIN = 2.0

Wave = list[tuple[SyncJob, SyncTarget]]


class WorkerDied(PermanentError):
    """Give up a job: the worker's process died each time that it had it in hand."""


class Batches:
    """Takes jobs from the queue and brings their scenes to Plex."""

    def __init__(
        self,
        parts: Parts,
        health: Health,
        runner: JobRunner,
        maintenance: Maintenance,
        passes: Passes,
        stop: threading.Event,
        presence: Presence,
    ) -> None:
        """Claim nothing yet.

        Args:
            stop: set when no further job may start.
            presence: says the same once the worker has to leave.
        """
        self.done = 0  # jobs that were finished, either way
        self.pool = WritePool(runner, parts.env)
        self.forgetting = Forgetting(parts)
        self._parts = parts
        self._health = health
        self._runner = runner
        self._maintenance = maintenance
        self._passes = passes
        self._stop = stop
        self._presence = presence
        self._outcome = JobOutcome(parts, health, runner)

    def run(self, kind: str | None = None) -> bool:
        """Run the next few jobs and requeue the rest; return whether any finished.

        Args:
            kind: see `queue.table.claim`.
        """
        if not self._may_start():
            return False
        parts, before = self._parts, self.done
        most = 1 if kind == SUSPECTS else BATCH  # alone: the others must not die with it
        jobs = deque(parts.queue.claim_many(most, parts.env.time(), kind))
        self._take_in_hand(jobs)
        read_at = parts.env.time()  # an edit that is made from here on counts as newer
        scenes = self._read_ahead(jobs)
        wave: Wave = []
        while jobs:
            parts.heartbeat.beat()
            job = jobs[0]
            self._take_in_hand([job, *(other for other, _ in wave)])
            scene = scenes.pop(job["scene_id"], None)
            target = self._prepare(job, scene, read_at if scene else parts.env.time(), wave)
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
        self._take_in_hand(())
        for left in jobs:
            nack_job(parts.queue, left)
        return self.done > before

    def read(self, job: SyncJob) -> Scene | None:
        """Return a job's scene; None: it is gone, or the job carries all that is known of it.

        Raises:
            StashUnavailable, StashRefused, StashQueryError
        """
        stash = self._parts.stash
        if stash is None or job["update_type"] != METADATA:
            return None
        return stash.find_scene(job["scene_id"])

    def match(self, job: SyncJob, scene: Scene | None, read_at: float) -> SyncTarget | None:
        """Return what is to be written for a job; None: nothing.

        Args:
            scene: see `read`.

        Raises:
            what `JobRunner.prepare` raises
        """
        if job["update_type"] != METADATA:
            self._start_related(job)
            return None
        if scene is None and self._parts.stash is not None:
            self.forgetting.scene_gone(job["scene_id"])
            return None
        target = self._runner.prepare(job, scene, read_at)
        if isinstance(target, str):
            text = f"{display_name(job)}: {target}, so not synced"
            self._parts.reporter.log("debug", text)
            return None
        return target

    def record(self, job: SyncJob, target: SyncTarget, written: Written) -> None:
        """Note what was written for a job."""
        parts, scene_id = self._parts, job["scene_id"]
        parts.times.note(scene_id, target.read_at)
        parts.dlq.delete_scene(scene_id)
        if not written.cover_is_final:
            due = create_bulk_job(
                scene_id, now=parts.env.time(), delay=_LOOK_AGAIN, **{RUN: target.run}
            )
            parts.queue.put_many([due])
        text = f"wrote {', '.join(written.fields)}" if written.fields else "in sync"
        if written.kept:
            text += f"; {', '.join(written.kept)} stays as it was changed in Plex"
        parts.reporter.log("info", f"Scene {scene_id}: {text}")

    def _may_start(self) -> bool:
        # A batch takes minutes where Plex is slow.
        if self._stop.is_set() or not self._presence.check() or not self._health.ready():
            return False
        self._maintenance.configure(self._parts.plex.config)
        return True

    def _take_in_hand(self, jobs: Iterable[SyncJob]) -> None:
        """Note that exactly these jobs are in hand."""
        self._parts.in_hand.note(job["pqid"] for job in jobs)

    def _read_ahead(self, jobs: Iterable[SyncJob]) -> dict[int, Scene]:
        """Read several jobs' scenes in one query, and their items; the rest is read later."""
        scene_ids = [job["scene_id"] for job in jobs if job["update_type"] == METADATA]
        if self._parts.stash is None or len(scene_ids) < 2:
            return {}
        scenes: dict[int, Scene] = {}
        with suppress(*OUTAGES, *REFUSALS):  # each is tried alone then
            scenes = {scene.id: scene for scene in self._parts.stash.find_scenes(scene_ids)}
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
        """Match a job's scene; None: the job was finished, as there is nothing to write.

        Args:
            wave: targets that wait to be written; they go first when this one fails.
        """
        deaths = job.pop("deaths", 0)  # an attempt that ends in another way begins the count anew
        try:
            if scene is None and deaths <= FATAL_AFTER:
                scene = self.read(job)  # an error's record needs it
            if deaths >= FATAL_AFTER:
                raise WorkerDied(
                    f"PlexSync's worker died {deaths} times while it synced this"
                    " (crash, out of memory, or killed)"
                )
            target = self.match(job, scene, read_at)
        except (sqlite3.Error, OSError):
            raise  # our own disk; the network's errors were translated
        except Exception as error:  # noqa: BLE001 - one scene must not end the worker
            self._write(wave)
            self._failed(job, error, scene)
            return None
        if target is None:
            self._succeeded(job)
        return target

    def _write(self, wave: Wave) -> None:
        """Write targets and finish their jobs; retry a failed concurrent write alone first."""
        batch = list(wave)
        wave.clear()
        if not batch:
            return
        self._take_in_hand(job for job, _ in batch)
        again = []
        for (job, target), result in zip(
            batch, self.pool.write([target for _, target in batch]), strict=True
        ):
            on_our_disk = isinstance(result, (sqlite3.Error, OSError))
            if len(batch) > 1 and isinstance(result, Exception) and not on_our_disk:
                again.append(job)
            else:
                self._finish(job, target, result)
        for job in again:
            if not self._may_start():
                nack_job(self._parts.queue, job)
                continue
            self._take_in_hand([job])
            alone = self._prepare(job, None, self._parts.env.time(), [])
            if alone is not None:
                self._finish(job, alone, *self.pool.write([alone]))

    def _finish(self, job: SyncJob, target: SyncTarget, result: Written | Exception) -> None:
        """Acknowledge a job that was written, or decide what follows its error."""
        if isinstance(result, (sqlite3.Error, OSError)):
            raise result
        if isinstance(result, Exception):
            self._failed(job, result, target.scene)
        else:
            self.record(job, target, result)
            if self._health.outages.is_open():  # while the job still counts as waiting
                self._health.succeeded()
            self._succeeded(job)

    def _succeeded(self, job: SyncJob) -> None:
        if self._health.failing:
            self._outcome.succeeded()
        ack_job(self._parts.queue, job)
        self._finished(job)

    def _failed(self, job: SyncJob, error: Exception, scene: Scene | None) -> None:
        if self._outcome.failed(job, error, self._health.max_retries, scene):
            self._finished(job)

    def _finished(self, job: SyncJob) -> None:
        unmark_scene_pending(job["scene_id"])
        self.done += 1
        if self.done % STATUS_EVERY == 0:
            self._maintenance.after_job(self.done)

    def _start_related(self, job: SyncJob) -> None:
        """Start a pass over the scenes of a renamed performer, studio, tag or group.

        Of a deleted one Stash does not tell the scenes: then over all.
        """
        if job["data"] == {} and self._parts.stash is not None:
            self._passes.ask_full(
                f"a {job['update_type']} was deleted in Stash",
                at_most_every=self._parts.env.timing.count_pass,
            )
            return
        object_id = job["data"].get("id")
        if self._parts.stash is None or not isinstance(object_id, int):
            raise PermanentError(f"the scenes of this {job['update_type']} are not known")
        for one in related_passes(job["update_type"], object_id):
            self._passes.start(one)
        self._parts.reporter.log("info", f"{display_name(job)}: changed; its scenes are compared")
