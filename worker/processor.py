"""`SyncWorker`: takes jobs from the queue, syncs their scenes, and has each job answered for."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from hooks.handlers import unmark_scene_pending
from plex.client import PlexClient
from plex.edits import Edits
from plex.history import WriteHistory
from plex.index import FileIndex
from plex.matcher import find_plex_items_with_confidence
from queue.ack_queue import JobQueue
from queue.dlq import DeadLetterQueue
from queue.models import CREATED, MISSED, SyncJob
from queue.operations import load_sync_timestamps, nack_job, save_sync_timestamp
from queue.recovery import is_damage
from queue.timestamps import forget_sync_timestamp
from stash.client import StashClient
from stash.records import Scene
from validation.config import PlexSyncConfig
from validation.errors import PermanentError, TransientError
from validation.metadata import SyncMetadata, validate_metadata
from worker.answers import DOUBTFUL, Answers, name_of
from worker.backoff import calculate_delay
from worker.catch_up import CatchUp
from worker.flights import AT_ONCE, Flight, Flights, Traffic, Visit
from worker.gate import PASSING, REFUSALS, Gate
from worker.patrol import Patrol
from worker.plex_side import PlexSide, connect_plex
from worker.related import expand, is_related
from worker.reporter import Reporter
from worker.scene_sync import SceneSync
from worker.timing import Clock, Timing
from worker.upkeep import Upkeep

log = logging.getLogger("plexsync")

__all__ = ["PermanentError", "SyncWorker", "TransientError"]

#: Jobs that are taken at once, their scenes read from Stash in one query.
_BATCH = 20


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
        stash: StashClient | None = None,
        load_config: Callable[[], PlexSyncConfig] | None = None,
        index: FileIndex | None = None,
        memory: WriteHistory | None = None,
        catch_up: CatchUp | None = None,
        connect: Callable[[PlexSyncConfig], PlexClient] = connect_plex,
        reporter: Reporter | None = None,
        heartbeat: Callable[[], object] = lambda: None,
        publish: Callable[[dict[str, Any]], object] = lambda state: None,
        clock: Clock | None = None,
        timing: Timing | None = None,
        delay: Callable[[int, float, float], float] = calculate_delay,
        at_once: int = AT_ONCE,
    ) -> None:
        """Start nothing yet.

        Args:
            queue: this worker alone takes from it; others may put.
            config: None: `load_config` is asked before the first job.
            data_dir: where sync timestamps are kept; None: nowhere.
            max_retries: for errors without patience of their own; while there is a `load_config`, the setting
                of that name counts.
            stash: where scenes are read; None: what the jobs carry is all there is.
            load_config: asks for the settings again; raises SettingsError, StashUnavailable, StashRefused.
            catch_up: finds edits of which no hook told; None: nobody does.
            heartbeat: called now and then while the worker is not stuck.
            publish: is called with how things are, for whoever asks (see `worker.gate.Gate.state`).
            delay: (retries so far, base, cap) → seconds.
            at_once: scenes that are written at once, where Plex is slow.
        """
        self.queue = queue
        self.dlq = dlq
        self.done = 0  # jobs dealt with, either way
        self.at_once = at_once
        self._data_dir = data_dir
        self._max_retries = max_retries
        self._follow_config = load_config is not None
        self._stash = stash
        self._heartbeat = heartbeat
        self._publish = publish
        self._published: dict[str, Any] | None = None
        self._clock = clock or Clock()
        self._timing = timing or Timing()
        self._reporter = reporter or Reporter()
        self._memory = memory or WriteHistory()
        self._upkeep = Upkeep(queue, dlq, self._reporter)
        self._plex = PlexSide(
            lambda: self.gate.current(),
            index or FileIndex(),
            connect=connect,
            reporter=self._reporter,
            clock=self._clock,
            timing=self._timing,
        )
        self.gate = Gate(
            config,
            load_config=load_config,
            probe_plex=lambda: self._get_plex_client().probe(),
            probe_stash=lambda: stash and stash.check(),
            on_new_config=lambda new: self._upkeep.drop_old(new.dlq_retention_days),
            disconnect=self._plex.close,
            reporter=self._reporter,
            clock=self._clock,
            timing=self._timing,
            delay=delay,
        )
        self._scenes = SceneSync(
            self.gate.current,
            self._plex,
            self._memory,
            stash,
            find=lambda *where, **how: find_plex_items_with_confidence(*where, **how),
            reporter=self._reporter,
            name_fresh=self._timing.name_fresh,
        )
        self._patrol = Patrol(
            queue,
            dlq,
            data_dir,
            stash=stash,
            catch_up=catch_up,
            plex=self._plex,
            gate=self.gate,
            upkeep=self._upkeep,
            forget=self._forget,
            reporter=self._reporter,
            clock=self._clock,
            timing=self._timing,
        )
        self._answers = Answers(
            queue,
            dlq,
            self.gate,
            finished=self._finished,
            max_retries=self._most_retries,
            reporter=self._reporter,
            clock=self._clock,
            timing=self._timing,
            delay=delay,
        )
        self._apart = False  # the next jobs are written one at a time
        self._traffic = Traffic(self._timing.slow_write)
        self._unanswered = False  # a job in hand could not be answered for
        self.damage: Exception | None = None  # what ended the worker, when its database is damaged
        self._beaten_at = float("-inf")
        self._idle_since: float | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    # --- life ---------------------------------------------------------------------------------------------

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
        """Whether the thread is alive."""
        return self._thread is not None and self._thread.is_alive()

    def run(self) -> None:
        """Work in this thread until `stop`, an idle while, or the plugin is switched off."""
        self._guarded(self._start_up)
        self._idle_since = None
        while self._may_go_on() and not self._idle_for_long():
            self._beat()
            if not self._guarded(self._round):
                self._pause(self.gate.closed_for())
        self._tell_state()

    def _round(self) -> None:
        """Deal with a job if one is due, else look around, else wait for one."""
        seen = (
            self.queue.version()
        )  # before the look at the queue: what comes in after it ends the wait
        due = self._next_due()
        if due is not None:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = self._clock.monotonic()
        if due is not None and due <= self._clock.time():
            if not self._work_once():
                self._pause(self.gate.closed_for())
        elif not self._patrol.look_around():
            self._wait_for_work(seen, due)

    def _guarded(self, step: Callable[[], object]) -> bool:
        """Do something that must not end the worker, whatever happens; return whether it went well."""
        try:
            step()
        except (
            sqlite3.Error,
            OSError,
        ) as error:  # the network's errors were translated: this is our own disk
            self._unanswered = True
            self.damage = error if is_damage(error) else None
            self.gate.pause(
                f"PlexSync can't write its files: {error}. Edits are kept, and synced once it can"
            )
        except Exception as error:  # noqa: BLE001
            self._unanswered = True
            self.gate.stumble(error)
        else:
            return True
        return False

    def _idle_for_long(self) -> bool:
        return (
            self._idle_since is not None
            and self._clock.monotonic() - self._idle_since >= self._timing.idle_timeout
        )

    def _may_go_on(self) -> bool:
        return not (self._stop.is_set() or self.gate.disabled or self.damage or self.queue.replaced)

    def drain(self, progress: Callable[[int, int], object] = lambda done, left: None) -> bool:
        """Work in this thread until nothing is due; return whether that was reached.

        It ends early where waiting would be all it could do: `gate` says why.

        Args:
            progress: called with jobs done and jobs left after each one.
        """
        self._start_up()
        start, waiting = self.done, self.queue.counts(due_at=self._clock.time())["pending"]
        try:
            reached = self._drain(lambda: progress(*self._progress(start, waiting)))
        finally:
            with suppress(sqlite3.Error, OSError):  # else whoever opens the queue next does it
                self.queue.requeue_in_progress()
        self._tell_state()
        return reached

    def _drain(self, after_job: Callable[[], object]) -> bool:
        while self._may_go_on() and self._has_due_job():
            self._beat()
            before = self.done
            if not self._guarded(partial(self._work_once, after_job)):
                return False
            if self.done > before:
                continue
            if self.gate.disabled or self.gate.problem or not self.gate.plex.can_execute():
                return False
            self._pause(self.gate.closed_for())
        return not self._stop.is_set()

    def _progress(self, start: int, waiting: int) -> tuple[int, int]:
        done = self.done - start
        return done, max(0, waiting - done)

    def _start_up(self) -> None:
        if self.gate.config is not None:  # else when the settings are known
            self._upkeep.drop_old(self.gate.config.dlq_retention_days)
        self._upkeep.at_start()

    def _has_due_job(self) -> bool:
        due = self._next_due()
        return due is not None and due <= self._clock.time()

    def _next_due(self) -> float | None:
        if self._unanswered:
            self.queue.requeue_in_progress()
            self._unanswered = False
        self.queue.import_spool()
        return self.queue.next_due()

    def _work_once(self, after_job: Callable[[], object] = lambda: None) -> bool:
        """Deal with the next few jobs; return whether any was dealt with."""
        if not self.gate.enter():
            return False
        before = self.done
        self._handle_all(self.queue.claim_many(_BATCH, self._clock.time()), after_job)
        return self.done > before

    def _handle_all(self, jobs: Sequence[SyncJob], after_job: Callable[[], object]) -> None:
        """Deal with jobs that were taken together, as far as may be; the others get their places back."""
        read_at = self._clock.time()  # an edit that is made from here on counts as newer
        scenes = self._read_ahead(jobs)
        at_once, self._apart = 1 if self._apart else self.at_once, False
        with Flights(
            self._write,
            partial(self._land, after_job=after_job),
            self._may_begin,
            self._traffic,
            at_once=at_once,
            now=self._clock.monotonic,
        ) as flights:
            for position, job in enumerate(jobs):
                self._beat()
                scene = scenes.get(job["scene_id"])
                find = partial(self._find, job, None if scene is None else (scene, read_at))
                if (position and not self._may_begin()) or not flights.send(job, find):
                    flights.land_all()
                    for left in jobs[position:]:
                        nack_job(self.queue, left)
                    return
            flights.land_all()

    def _may_begin(self) -> bool:
        return not (self._stop.is_set() or self._apart) and self.gate.enter()

    def _read_ahead(self, jobs: Sequence[SyncJob]) -> dict[int, Scene]:
        """Read the scenes of several jobs in one query, and their items. What fails is asked for job by job."""
        scene_ids = [job["scene_id"] for job in jobs if not is_related(job)]
        if self._stash is None or len(scene_ids) < 2:
            return {}
        scenes: dict[int, Scene] = {}
        with suppress(
            *PASSING, *REFUSALS
        ):  # one of them is gone, maybe: then Stash answers for none
            scenes = {scene.id: scene for scene in self._stash.find_scenes(scene_ids)}
        try:
            self._scenes.read_ahead(scenes.values())
        except (sqlite3.Error, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - it only saves requests, and one scene must not stop the others
            log.debug("Not read ahead: %s", type(error).__name__)
        return scenes

    def _wait_for_work(self, seen: object, due: float | None) -> None:
        """Wait until a job is due or another process has put one. A waiting retry costs no look at the table."""
        if due is not None:
            seconds = due - self._clock.time()
        else:
            seconds = self._timing.idle_timeout - (
                self._clock.monotonic() - (self._idle_since or 0.0)
            )
        self._pause(
            min(seconds, self._timing.heartbeat), until=lambda: self.queue.version() != seen
        )

    def _pause(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Wait, but not past `stop`; look every poll interval whether `until` came true."""
        poll = self.gate.config.poll_interval if self.gate.config else 1.0
        end = self._clock.monotonic() + seconds
        while (left := end - self._clock.monotonic()) > 0:
            self._beat()
            if self._clock.wait(self._stop, min(poll, left)) or until():
                return

    def _beat(self) -> None:
        now = self._clock.monotonic()
        if now - self._beaten_at >= self._timing.heartbeat:
            self._beaten_at = now
            self._heartbeat()
        self._tell_state()

    def _tell_state(self) -> None:
        state = self.gate.state()
        if state != self._published:
            self._published = state
            self._publish(state)

    # --- one job ------------------------------------------------------------------------------------------

    def _land(self, flight: Flight, after_job: Callable[[], object]) -> None:
        """Answer for a job whose write is over."""

        def settle() -> None:
            edits = flight.outcome.result()
            if flight.visit is not None and edits is not None:
                self._record(flight.job, flight.visit, edits)

        self._beat()
        if not flight.alone and isinstance(flight.outcome.exception(), DOUBTFUL):
            # What it failed with may be the doing, or the past, of those beside it: so once more, by itself.
            nack_job(self.queue, flight.job)
            self._apart = True
            return
        before = self.done
        self._answers.answer(flight.job, settle)
        if self.done > before:
            after_job()

    def _finished(self, job: SyncJob) -> None:
        unmark_scene_pending(job["scene_id"])
        self.done += 1
        self._upkeep.after_job(self.done)

    def _most_retries(self) -> int:
        return self.gate.current().max_retries if self._follow_config else self._max_retries

    # --- one scene ----------------------------------------------------------------------------------------

    def _process_job(self, job: SyncJob) -> None:
        """Bring one scene to Plex.

        Raises:
            TransientError: try again later (Plex's and Stash's own are subclasses).
            PermanentError: a person must help.
            SettingsError: nothing can be synced with these settings.
        """
        visit = self._find(job)
        if visit is not None:
            self._record(job, visit, self._write(visit))

    def _find(self, job: SyncJob, read: tuple[Scene, float] | None = None) -> Visit | None:
        """Find a scene's item; None: there is nothing to write.

        Args:
            read: the scene, and the moment before it was read (epoch seconds), where it was read already.

        Raises:
            what `_process_job` raises
        """
        if is_related(job):
            self._expand(job)
            return None
        scene_id = job["scene_id"]
        scene, read_at = read or (None, self._clock.time())
        if scene is None and self._stash:
            scene = self._stash.find_scene(scene_id)
            if scene is None:
                self._forget(scene_id)
                return None
        metadata = _metadata(job, scene)
        reason = self._skipped(job, metadata)
        if reason:
            self._reporter.log("debug", f"{name_of(job)}: {reason}, so not synced")
            return None
        return Visit(self._scenes.find(metadata, scene), metadata, scene, read_at)

    def _write(self, visit: Visit) -> Edits:
        """Bring the item to what Stash says; called from several threads at once, each with an item of its own."""
        edits = self._update_metadata(visit.item, visit.metadata)
        if visit.scene is not None:
            self._scenes.update_poster(visit.item, visit.scene)
        return edits

    def _record(self, job: SyncJob, visit: Visit, edits: Edits) -> None:
        """Keep that the scene is in sync."""
        scene_id = job["scene_id"]
        if self._data_dir is not None:
            save_sync_timestamp(self._data_dir, scene_id, visit.read_at)
        if visit.scene is not None:
            self._patrol.was_synced(visit.scene, visit.read_at)
        self.dlq.delete_scene(scene_id)
        self._reporter.log("info", f"{name_of(job)}: {_summary(edits)}")

    def _skipped(self, job: SyncJob, metadata: SyncMetadata) -> str | None:
        """Return why a scene is none of our business, or None."""
        if self.gate.current().only_organized and not metadata.organized:
            return "not organized"
        is_news = {CREATED, MISSED}.issuperset(job.get("data") or {"": None})
        if is_news and metadata.is_blank and not self._memory.knows(job["scene_id"]):
            return "new, and nothing is known of it yet"
        return None

    def _expand(self, job: SyncJob) -> None:
        if self._stash is None:
            raise PermanentError("without Stash nobody knows which scenes this is about")
        synced = load_sync_timestamps(self._data_dir) if self._data_dir is not None else {}
        count = expand(job, self._stash, synced, self.queue.put_many, self._clock.time)
        self._reporter.log(
            "info", f"{name_of(job)}: changed; {count} scenes that show it are queued"
        )

    def _update_metadata(self, plex_item: Any, data: SyncMetadata | Mapping[str, Any]) -> Edits:
        """Write what differs to an item, in one request, and remember what was written.

        Args:
            plex_item: of plexapi.
            data: the scene's metadata.

        Raises:
            PermanentError: the metadata are not valid.
            PlexTemporaryError, PlexPermanentError, PlexNotFound
        """
        return self._scenes.update(
            plex_item, data if isinstance(data, SyncMetadata) else _validated(dict(data))
        )

    def _forget(self, scene_id: int) -> None:
        """The scene is gone from Stash: so is what we know of it."""
        if self._data_dir is not None:
            forget_sync_timestamp(self._data_dir, scene_id)
        self._scenes.forget(scene_id)
        self.dlq.delete_scene(scene_id)
        self._reporter.log("info", f"Scene {scene_id}: gone from Stash")

    def _get_plex_client(self) -> PlexClient:
        """Return the Plex client for the settings in effect; it connects on first use."""
        return self._plex.client()


def _metadata(job: SyncJob, scene: Scene | None) -> SyncMetadata:
    """What was read from Stash goes before what the job carries."""
    read = scene.as_metadata() if scene else {}
    return _validated({**(job.get("data") or {}), "scene_id": job["scene_id"], **read})


def _validated(data: dict[str, Any]) -> SyncMetadata:
    metadata, problem = validate_metadata(data)
    if metadata is None:
        raise PermanentError(f"the scene's metadata are not valid: {problem}")
    return metadata


def _summary(edits: Edits) -> str:
    return f"wrote {', '.join(edits.changes)}" if edits.changes else "in sync"
