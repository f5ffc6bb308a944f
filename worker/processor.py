"""`SyncWorker`: takes jobs from the queue, syncs their scenes, and answers for each job.

Whose fault is an error? A job that fails because Plex or Stash is down loses nothing; so after a passing error
the server itself is asked one cheap question. It answers: the job was at fault, and goes its own way through
retries to the dead letters. It doesn't: an outage; the job keeps its place, and the circuit breaker counts.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from hooks.handlers import unmark_scene_pending
from plex.client import PlexClient
from plex.edits import Edits, Switches
from plex.exceptions import PlexNotFound, PlexPermanentError
from plex.index import FileIndex
from plex.matcher import (
    AmbiguousMatch,
    MatchConfidence,
    choose,
    describe_candidates,
    find_plex_items_with_confidence,
)
from plex.memory import SyncMemory, Written
from plex.scans import Scans
from plex.writer import upload_poster, wants_poster, write_item
from queue.ack_queue import JobQueue
from queue.dlq import DeadLetterQueue
from queue.models import SyncJob
from queue.operations import ack_job, enqueue, fail_job, load_sync_timestamps, nack_job, save_sync_timestamp
from queue.rescue import is_damage
from queue.timestamps import forget_sync_timestamp
from stash.client import StashClient
from stash.records import Scene
from validation.config import PlexSyncConfig
from validation.errors import PermanentError, SettingsError, TransientError
from validation.metadata import SyncMetadata, validate_metadata
from worker.backoff import calculate_delay
from worker.catch_up import CatchUp
from worker.circuit_breaker import CircuitBreaker
from worker.decisions import GiveUp, decide
from worker.gate import PASSING, REFUSALS, Gate
from worker.matching import check_claim, describe, found_by_path
from worker.reporter import Reporter
from worker.timing import Clock, Timing
from worker.unsettled import Unsettled
from worker.upkeep import Upkeep

__all__ = ["PermanentError", "SyncWorker", "TransientError"]

#: Seconds that a job steps back when the server went down with it in hand twice in a row.
_SUSPECT_PAUSE = 60.0


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
        memory: SyncMemory | None = None,
        catch_up: CatchUp | None = None,
        reporter: Reporter | None = None,
        heartbeat: Callable[[], object] = lambda: None,
        clock: Clock | None = None,
        timing: Timing | None = None,
        delay: Callable[[int, float, float], float] = calculate_delay,
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
            delay: (retries so far, base, cap) → seconds.
        """
        self.queue = queue
        self.dlq = dlq
        self.done = 0  # jobs dealt with, either way
        self._data_dir = data_dir
        self._max_retries = max_retries
        self._follow_config = load_config is not None
        self._stash = stash
        self._index = index or FileIndex()
        self._memory = memory or SyncMemory()
        self._catch_up = catch_up
        self._reporter = reporter or Reporter()
        self._heartbeat = heartbeat
        self._clock = clock or Clock()
        self._timing = timing or Timing()
        self._delay = delay
        self._scans = Scans(self._clock.monotonic)
        self._upkeep = Upkeep(queue, dlq, self._reporter)
        self.gate = Gate(
            config,
            load_config=load_config,
            probe_plex=lambda: self._get_plex_client().probe(),
            probe_stash=lambda: stash and stash.check(),
            on_new_config=lambda new: self._upkeep.drop_old(new.dlq_retention_days),
            disconnect=self._close_plex,
            reporter=self._reporter,
            clock=self._clock,
            timing=self._timing,
            delay=delay,
        )
        self._plex: PlexClient | None = None
        self._sections: list[Any] = []
        self._index_read_at = float("-inf")
        self._revived_at = float("-inf")
        self._looked_at = float("-inf")
        self._unsettled = Unsettled()
        self._unanswered = False  # a job in hand could not be answered for
        self.damage: Exception | None = None  # what ended the worker, when its database is damaged
        self._beaten_at = float("-inf")
        self._idle_since: float | None = None
        self._suspect: int | None = None  # the row in hand when a server went down
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

    def _round(self) -> None:
        """Deal with a job if one is due, else look around, else wait for one."""
        seen = self.queue.version()  # before the look at the queue: what comes in after it ends the wait
        self.queue.take_in()
        due = self.queue.next_due()
        if due is not None:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = self._clock.monotonic()
        if due is not None and due <= self._clock.time():
            if not self._work_once():
                self._pause(self.gate.closed_for())
        elif not self._look_around():
            self._wait_for_work(seen, due)

    def _guarded(self, step: Callable[[], object]) -> bool:
        """Do something that must not end the worker, whatever happens; return whether it went well."""
        try:
            step()
        except (sqlite3.Error, OSError) as error:  # the network's errors were translated: this is our own disk
            self._unanswered = True
            self.damage = error if is_damage(error) else None
            self.gate.pause(f"PlexSync can't write its files: {error}. Edits are kept, and synced once it can")
        except Exception as error:  # noqa: BLE001
            self._unanswered = True
            self.gate.stumble(error)
        else:
            return True
        return False

    def _idle_for_long(self) -> bool:
        return self._idle_since is not None and self._clock.monotonic() - self._idle_since >= self._timing.idle_timeout

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
        while self._may_go_on() and self._has_due_job():
            self._beat()
            before = self.done
            if not self._guarded(self._work_once):
                return False
            if self.done > before:
                progress(self.done - start, max(0, waiting - (self.done - start)))
            elif self.gate.disabled or self.gate.problem or not self.gate.plex.can_execute():
                return False
            else:
                self._pause(self.gate.closed_for())
        return not self._stop.is_set()

    def _start_up(self) -> None:
        if self.gate.config is not None:  # else when the settings are known
            self._upkeep.drop_old(self.gate.config.dlq_retention_days)
        self._upkeep.at_start()

    def _has_due_job(self) -> bool:
        self.queue.take_in()
        due = self.queue.next_due()
        return due is not None and due <= self._clock.time()

    def _work_once(self) -> bool:
        """Deal with one job; return whether one was dealt with."""
        if not self.gate.enter():
            return False
        if self._unanswered:
            self.queue.take_back()
            self._unanswered = False
        before = self.done
        job = self.queue.take(self._clock.time())
        if job is not None:
            self._handle(job)
        return self.done > before

    def _wait_for_work(self, seen: object, due: float | None) -> None:
        """Wait until a job is due or another process has put one. A waiting retry costs no look at the table."""
        if due is not None:
            seconds = due - self._clock.time()
        else:
            seconds = self._timing.idle_timeout - (self._clock.monotonic() - (self._idle_since or 0.0))
        self._pause(min(seconds, self._timing.heartbeat), until=lambda: self.queue.version() != seen)

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

    # --- one job ------------------------------------------------------------------------------------------

    def _handle(self, job: SyncJob) -> None:
        """Sync a job's scene and answer for the job. Every way out leaves it in the queue or in the dead letters."""
        try:
            self._process_job(job)
        except REFUSALS as error:
            nack_job(self.queue, job)
            self.gate.refuse(error)
        except (*PASSING, PlexPermanentError) as error:
            breaker = self.gate.breaker_of(error)
            if self.gate.is_well(breaker):
                self._failed(job, error)
            else:
                self._keep(job, breaker)
        except (sqlite3.Error, OSError):
            raise  # our own disk; the network's errors were translated
        except Exception as error:  # noqa: BLE001 - a bug in one scene's data must not end the worker
            self._failed(job, error)
        else:
            self.gate.succeed()
            ack_job(self.queue, job)
            self._finished(job)

    def _keep(self, job: SyncJob, breaker: CircuitBreaker) -> None:
        """Put a job back as it was, in its place, without a retry lost.

        Only if the server, back again, went down at once with the same job in hand, the others go first: that
        job may be what brings it down.
        """
        if self._suspect == job["pqid"] and breaker.failures == 1:
            job["next_retry_at"] = self._clock.time() + _SUSPECT_PAUSE * self._timing.scale
        self._suspect = job["pqid"]
        nack_job(self.queue, job)

    def _failed(self, job: SyncJob, error: Exception) -> None:
        max_retries = self.gate.current().max_retries if self._follow_config else self._max_retries
        verdict = decide(error, job, self._clock.time(), max_retries, self._scaled_delay)
        if isinstance(verdict, GiveUp):
            self._give_up(job, error, verdict.retries)
        else:
            nack_job(self.queue, verdict.job)
            self._reporter.say("info", f"{_name(job)}: {error}; next attempt in {verdict.delay:.0f} s")
        self._finished(job)

    def _scaled_delay(self, retries: int, base: float, cap: float) -> float:
        return self._delay(retries, base * self._timing.scale, cap * self._timing.scale)

    def _give_up(self, job: SyncJob, error: Exception, retries: int) -> None:
        """Dead letter first, then out of the queue: a kill in between leaves both, never none."""
        letter = self.dlq.add(job, error, retries)
        fail_job(self.queue, job)
        self.dlq.delete_scene(job["scene_id"], older_than=letter)
        if isinstance(error, PlexNotFound):  # a Plex library may hold less than Stash on purpose
            self._reporter.say("info", f"{_name(job)}: {error}; taken up again when Plex has it")
        else:
            self._reporter.tell("warning", f"{_name(job)} could not be synced: {error}")

    def _finished(self, job: SyncJob) -> None:
        unmark_scene_pending(job["scene_id"])
        self._suspect = None
        self.done += 1
        self._upkeep.after_job(self.done)

    # --- one scene ----------------------------------------------------------------------------------------

    def _process_job(self, job: SyncJob) -> None:
        """Bring one scene to Plex.

        Raises:
            TransientError: try again later (Plex's and Stash's own are subclasses).
            PermanentError: a person must help.
            SettingsError: nothing can be synced with these settings.
        """
        scene_id = job["scene_id"]
        read_at = self._clock.time()  # an edit that is made from here on counts as newer
        scene = self._stash.find_scene(scene_id) if self._stash else None
        if self._stash and scene is None:
            self._forget(scene_id)
            return
        metadata = _metadata(job, scene)
        if self.gate.current().only_organized and not metadata.organized:
            self._reporter.say("debug", f"{_name(job)}: not organized, so not synced")
            return
        item = self._match(metadata, scene)
        edits = self._update_metadata(item, metadata)
        if scene is not None:
            self._update_poster(item, scene)
        if self._data_dir is not None:
            save_sync_timestamp(self._data_dir, scene_id, read_at)
        if scene is not None:
            self._unsettled.add(scene, read_at)
        self.dlq.delete_scene(scene_id)
        self._reporter.say("info", f"{_name(job)}: {_summary(edits)}")

    def _match(self, metadata: SyncMetadata, scene: Scene | None) -> Any:
        """Return the one plexapi item for the scene.

        Raises:
            PlexNotFound, AmbiguousMatch
        """
        config = self.gate.current()
        files: list[tuple[str, int | None]] = [(metadata.path or "", None)]
        if scene is not None:
            files = [(file.path, file.size) for file in scene.files]
        if not files or not files[0][0]:
            raise PermanentError("the scene has no file")
        sections = self._libraries()
        try:
            confidence, item, candidates = find_plex_items_with_confidence(
                sections,
                files[0][0],
                config.path_mappings,
                files[0][1],
                other_files=files[1:],
                index=self._index,
                fresh_for=self._timing.name_fresh,
            )
        except PlexNotFound as error:
            error.details = {"files": files}
            if config.trigger_plex_scan:
                self._request_scan(sections, files[0][0], config)
            raise
        if confidence is MatchConfidence.LOW:
            described = describe_candidates(candidates)
            text = f"Scene {metadata.scene_id} {metadata.title!r} {files[0][0]} may be any of {describe(described)}"
            item = self._unsure(AmbiguousMatch(text, described), candidates[0])
        elif scene is not None and not found_by_path(item, files, config.path_mappings):
            self._check_claim(item, scene.id, files)
        return item

    def _check_claim(self, item: Any, scene_id: int, files: list[tuple[str, int | None]]) -> None:
        """An item that was found by file name: ask Stash who else has such a file, unless we did before."""
        if self._stash is None or self._memory.recall(scene_id, int(item.ratingKey)).fields:
            return
        rivals = self._stash.scenes_with_name([path for path, _ in files])
        try:
            check_claim(item, scene_id, files, rivals, self.gate.current().path_mappings)
        except AmbiguousMatch as error:
            self._unsure(error, item)

    def _unsure(self, error: AmbiguousMatch, first: Any) -> Any:
        """Return the first candidate where the user said so.

        Raises:
            AmbiguousMatch: with strict matching.
        """
        if self.gate.current().strict_matching:
            raise error
        self._reporter.tell("warning", f"{error}. Synced to the first, as strict_matching is off")
        return first

    def _request_scan(self, sections: list[Any], path: str, config: PlexSyncConfig) -> None:
        folder = self._scans.request(sections, path, config.path_mappings)
        if folder is not None:
            self._reporter.say("info", f"Plex was asked to scan {folder}")

    def _update_metadata(self, plex_item: Any, data: SyncMetadata | Mapping[str, Any]) -> Edits:
        """Write what differs to an item, in one request, and remember what was written.

        Args:
            plex_item: of plexapi.
            data: the scene's metadata.

        Raises:
            PermanentError: the metadata are not valid.
            PlexTemporaryError, PlexPermanentError, PlexNotFound
        """
        metadata = data if isinstance(data, SyncMetadata) else _validated(dict(data))
        scene_id = metadata.scene_id or 0  # no scene has 0: who hands in metadata alone has no memory
        written = self._memory.recall(scene_id, int(plex_item.ratingKey)) if scene_id else Written(0)
        remember = partial(self._memory.remember, scene_id) if scene_id else _forgetful
        return write_item(plex_item, metadata, written, switches_of(self.gate.current()), remember)

    def _update_poster(self, plex_item: Any, scene: Scene) -> None:
        """Upload the scene's cover if it is another than the last one. Events don't tell: it has to be looked at.

        Raises:
            StashUnavailable, StashRefused
            PlexTemporaryError, PlexPermanentError, PlexNotFound
        """
        written = self._memory.recall(scene.id, int(plex_item.ratingKey))
        if self._stash is None or not wants_poster(plex_item, written, switches_of(self.gate.current())):
            return
        cover = self._stash.fetch_cover(scene)
        now = upload_poster(plex_item, cover, written) if cover else written
        if now != written:
            self._memory.remember(scene.id, now)

    def _forget(self, scene_id: int) -> None:
        """The scene is gone from Stash: so is what we know of it."""
        if self._data_dir is not None:
            forget_sync_timestamp(self._data_dir, scene_id)
        self._memory.forget(scene_id)
        self.dlq.delete_scene(scene_id)
        self._reporter.say("info", f"Scene {scene_id}: gone from Stash")

    # --- Plex ---------------------------------------------------------------------------------------------

    def _get_plex_client(self) -> PlexClient:
        """Return the Plex client for the settings in effect; it connects on first use."""
        if self._plex is None:
            config = self.gate.current()
            self._plex = PlexClient(
                config.plex_url, config.plex_token, config.plex_connect_timeout, config.plex_read_timeout
            )
        return self._plex

    def _libraries(self) -> list[Any]:
        """Return the chosen sections, and see to it that the index of their files is fresh.

        Raises:
            SettingsError: a library that the settings name is not there.
            PlexTemporaryError, PlexPermanentError
        """
        now = self._clock.monotonic()
        if self._sections and now - self._index_read_at < self._timing.index_fresh:
            return self._sections
        client = self._get_plex_client()
        try:
            self._sections = client.libraries(self.gate.current().plex_libraries)
        except PlexNotFound as error:
            raise SettingsError(f"plex_libraries: {error}") from error
        if self._index.refresh(client.server, self._section_ids()):
            self._reporter.say("debug", f"The index of Plex's files holds {self._index.count()}")
        self._index_read_at = now
        return self._sections

    def _section_ids(self) -> list[int]:
        return [int(section.key) for section in self._sections]

    def _close_plex(self) -> None:
        if self._plex is not None:
            self._plex.close()
        self._plex = None
        self._sections = []

    # --- without a job ------------------------------------------------------------------------------------

    def _look_around(self) -> bool:
        """Now and then, look for edits of which no hook told, and for files that Plex did not have.

        Returns:
            Whether something was looked for, so that there may be work now.
        """
        now = self._clock.monotonic()
        if self._unsettled.are_due(self._clock.time()) and self.gate.enter():
            return self.gate.guard(self._settle)
        if self._catch_up is not None and now - self._looked_at >= self._timing.catch_up and self.gate.enter():
            self._looked_at = now
            return self.gate.guard(self._find_missed)
        if now - self._revived_at >= self._timing.revival and self._upkeep.has_unfound() and self.gate.enter():
            self._revived_at = now
            return self.gate.guard(self._find_files)
        return False

    def _settle(self) -> None:
        assert self._stash is not None
        read_at = self._clock.time()
        same, changed = self._unsettled.settle(self._stash)
        for scene_id in same:
            if self._data_dir is not None:
                save_sync_timestamp(self._data_dir, scene_id, read_at)
        for scene_id in changed:
            enqueue(self.queue, scene_id, "metadata", {})

    def _find_missed(self) -> None:
        assert self._catch_up is not None
        synced = load_sync_timestamps(self._data_dir) if self._data_dir is not None else {}
        missed = self._catch_up.look({**synced, **self.dlq.failed_scenes()})
        if missed:
            self._reporter.say("info", f"{missed} scenes were changed without PlexSync being told; queued")
        for scene_id in self._catch_up.vanished(synced):
            self._forget(scene_id)

    def _find_files(self) -> None:
        self._libraries()
        mappings, sections = self.gate.current().path_mappings, self._section_ids()
        self._upkeep.take_up_again(lambda files: bool(choose(self._index, files, mappings, sections)))


def switches_of(config: PlexSyncConfig) -> Switches:
    """Return what the settings say about writing."""
    return Switches(
        title=config.sync_title,
        details=config.sync_details,
        date=config.sync_date,
        studio=config.sync_studio,
        performers=config.sync_performers,
        tags=config.sync_tags,
        collections=config.sync_collections,
        poster=config.sync_poster,
        rating=config.sync_rating,
        lock=config.lock_fields,
        preserve=config.preserve_plex_edits,
    )


def _forgetful(written: Written) -> None:
    """Remember nothing."""


def _metadata(job: SyncJob, scene: Scene | None) -> SyncMetadata:
    """What was read from Stash goes before what the job carries."""
    read = scene.as_metadata() if scene else {}
    return _validated({**(job.get("data") or {}), "scene_id": job["scene_id"], **read})


def _validated(data: dict[str, Any]) -> SyncMetadata:
    metadata, problem = validate_metadata(data)
    if metadata is None:
        raise PermanentError(f"the scene's metadata are not valid: {problem}")
    return metadata


def _name(job: SyncJob) -> str:
    return f"Scene {job['scene_id']}"


def _summary(edits: Edits) -> str:
    return f"wrote {', '.join(edits.changes)}" if edits.changes else "in sync"
