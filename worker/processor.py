"""`SyncWorker`: the loop that decides what is done next, and the life of its thread."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from common.env import Env
from history.store import History
from plex.client import PlexClient
from plex.exceptions import PLEX_ERRORS
from plex.index import FileIndex, IndexDamaged
from plex.items import read_item
from plex.matcher import find_plex_items_with_confidence
from plex.plan import Edits
from plex.session import PlexSession
from queue.ack_queue import JobQueue
from queue.commands import DONE, DROPPED, Commands
from queue.dlq import DeadLetterQueue
from queue.models import SyncJob
from queue.operations import save_sync_timestamp, unmark_scene_pending
from queue.recovery import is_damage
from queue.table import BULK_WORK, EDITS, RETRIES, SUSPECTS
from stash.client import StashClient
from validation.config import PlexSyncConfig
from validation.errors import PermanentError, TransientError
from validation.metadata import SyncMetadata
from worker.alerts import Alerts
from worker.batch import Batches
from worker.commands import CommandRunner
from worker.config_provider import ConfigProvider
from worker.health import Health
from worker.in_hand import InHand
from worker.job_runner import JobRunner
from worker.listener import Listener
from worker.maintenance import Maintenance
from worker.parts import Heartbeat, Parts
from worker.paused import PAUSED, paused
from worker.presence import Presence
from worker.process import WorkerLock
from worker.reconcile.adoption import Adoption
from worker.reconcile.events import EventStep
from worker.reconcile.passes import Passes
from worker.reconcile.plex_changes import PlexChanges
from worker.reconcile.quick import QuickPass
from worker.reconcile.read_back import ReadBack
from worker.reporter import Reporter
from worker.state import SyncTimes
from worker.target import validated

log = logging.getLogger("plexsync")

__all__ = [
    "PermanentError",
    "SyncWorker",
    "TransientError",
    "find_plex_items_with_confidence",
    "save_sync_timestamp",
    "unmark_scene_pending",
]


class SyncWorker:
    """Keeps Plex as Stash says, in a thread of its own or in the caller's."""

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
        history: History | None = None,
        commands: Commands | None = None,
        lock: WorkerLock | None = None,
        reporter: Reporter | None = None,
        env: Env | None = None,
        compares: bool = False,
        presence: Presence | None = None,
    ) -> None:
        """Build the parts that were not handed in; start nothing yet.

        Args:
            queue: only this worker claims from it; others may put.
            config: the settings, unless there is a `provider`.
            data_dir: where sync timestamps and the worker's state are kept; None: nowhere.
            max_retries: retry limit for errors that define none, unless there is a `provider`.
            stash: where scenes are read; None: what the jobs carry is all there is.
            commands: of tasks and the command line; None: there are none.
            lock: gets a heartbeat.
            compares: compare all scenes again and again, not only those with a job.
            presence: notices when the worker has to leave; None: it leaves only when idle.
        """
        self.queue = queue
        self.dlq = dlq
        #: the error of a damaged database, which ends the worker
        self.damage: Exception | None = None
        #: at its end, the user wanted nothing to be written
        self.paused = False
        env = self._env = env or Env()
        if config is not None:
            config = config.model_copy(update={"max_retries": max_retries})
        self.presence = presence or Presence(None, None, env)
        self._provider = provider or ConfigProvider(config, env)
        history = history or History(now=env.time)
        plex = plex or PlexSession(FileIndex(), env, history=history)
        if config is not None:
            plex.configure(config)
        parts = self._parts = Parts(
            queue, dlq, history, plex, stash, reporter or Reporter(), env, data_dir,
            SyncTimes(data_dir, env), Heartbeat(lock, env), InHand(data_dir if lock else None),
        )  # fmt: skip
        self._stop = threading.Event()
        self._wake = threading.Event()  # ends a pause: to stop, or as Plex has told something
        self.listener = Listener(env, self._wake)
        self._thread: threading.Thread | None = None
        self.health = Health(self._provider, parts, self.listener)
        self.alerts = Alerts(parts, self._provider, self.health.outages)
        self._maintenance = Maintenance(parts)
        self.runner = JobRunner(plex, stash, history, parts.reporter, env)
        self._read_back = ReadBack(parts)
        self._adoption = Adoption(parts)
        self.passes = Passes(parts, self.runner)
        plex_changes = PlexChanges(parts, self.passes)
        self._quick = QuickPass(parts, self.runner, self.passes, plex_changes, self.listener)
        self._events = EventStep(parts, self.listener, plex_changes, self.passes)
        self.batches = Batches(
            parts,
            self.health,
            self.runner,
            self._maintenance,
            self.passes,
            self._stop,
            self.presence,
        )
        self._compares = compares and stash is not None
        self._commands = None if commands is None else CommandRunner(parts, self.passes, commands)
        self._follows = False  # Plex's events; a task in the foreground does not
        self._is_resting = False  # nothing is to be done, and nothing is written meanwhile
        self._was_undo = False  # the last step took something back
        self._must_requeue = False  # a step failed with jobs claimed
        self._idle_since: float | None = None
        self._lower_at = env.monotonic()  # when a step other than edits last had its turn

    # --- life ---

    def start(self) -> None:
        """Work in a daemon thread until `stop`, or until there was nothing to do for a while."""
        if not self.running:
            self._stop.clear()
            self._thread = threading.Thread(target=self.run, name="plexsync-worker", daemon=True)
            self._thread.start()

    def ask_to_stop(self) -> None:
        """Have the work end after the scenes in hand; don't wait for it."""
        self._stop.set()
        self._wake.set()

    def ask_to_leave(self) -> None:
        """Have the work end because the process was asked to end, and may be killed next."""
        self._parts.in_hand.close()
        self.ask_to_stop()

    def stop(self, timeout: float | None = 30.0) -> None:
        """Let the thread finish the job in hand and end.

        Args:
            timeout: seconds to wait for it; None: for ever.
        """
        self.ask_to_leave()
        self.listener.stop()
        self.join(timeout)

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end of the thread, at most `timeout` seconds; None: for ever."""
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

    @property
    def done(self) -> int:
        """Return the number of jobs that were finished, either way."""
        return self.batches.done

    def run(self) -> None:
        """Work in this thread until `stop`, an idle while, or the plugin is off or gone."""
        self._guarded(self._begin)
        self._follows = self._compares
        self._idle_since = None
        while self._may_go_on() and not self._idle_for_long():
            self._turn()
        self._end()

    def run_until(
        self, command_id: int, progress: Callable[[int, int], object] = lambda done, left: None
    ) -> None:
        """Work in this thread until a command is done, or nothing more can be done.

        Args:
            progress: called with (done, left) as they change.
        """
        assert self._commands is not None
        commands, last = self._commands.commands, None
        self._guarded(self._begin)
        while self._may_go_on():
            self._turn()
            command = commands.get(command_id)
            is_over = command is None or command.status in (DONE, DROPPED)
            if not is_over:
                self._commands.report()
            reached = commands.progress(command_id)
            if reached is not None and reached != last:
                last = reached
                progress(*reached)
            if is_over:
                break
        if self._provider.config is None:  # nothing was due; whether to stay is a setting
            self.health.ready()
        self._end()

    def _begin(self) -> None:
        self.health.begin()
        self._maintenance.at_start()
        if self._commands is not None:
            self._commands.at_start()
        self.passes.count_death(self._parts.in_hand.last.pass_id)

    def _turn(self) -> None:
        if not self._is_resting:
            self._parts.heartbeat.beat()
        if not self._guarded(self._step):
            if self._commands is not None and self.health.problem:
                with suppress(sqlite3.Error, OSError):
                    self._commands.block(self.health.problem)
            self._pause(self.health.retry_after())
        self._guarded(self.health.outages.look)
        self._guarded(self.alerts.look)

    def _end(self) -> None:
        if self._parts.heartbeat.is_lost():  # queue and files may be another worker's by now
            log.warning("The lock file was deleted or replaced, so this worker leaves")
            return
        with suppress(sqlite3.Error, OSError):  # else the next to open the queue does it
            self.queue.requeue_in_progress()
        with suppress(sqlite3.Error, OSError):
            self.alerts.close()
            self.health.outages.look()
        with suppress(sqlite3.Error, OSError):
            self._maintenance.at_end()
            self.paused = self._is_paused()
        self.health.leave(self.presence.reason)

    def _guarded(self, step: Callable[[], object]) -> bool:
        """Run a step that must not end the worker; return whether it went well."""
        try:
            step()
        except IndexDamaged as error:  # the same step, again, lists it
            self._must_requeue = True
            self._parts.reporter.notify_user("warning", str(error))
        except (sqlite3.Error, OSError) as error:
            # Our own disk: the network's errors were translated.
            self._must_requeue = True
            self.alerts.note_disk_failure()
            self.damage = error if is_damage(error) else None
            self.health.pause(
                f"PlexSync can't write its files: {error}. Edits are kept, and synced once it can"
            )
        except Exception as error:  # noqa: BLE001
            self._must_requeue = True
            self.health.unexpected(error)
        else:
            return True
        self._parts.in_hand.note(())
        return False

    def _may_go_on(self) -> bool:
        if self._stop.is_set() or self.disabled or self.damage:
            return False
        if self.queue.replaced or self._parts.heartbeat.is_lost():
            return False
        return self.presence.check()

    @property
    def stays(self) -> bool:
        """Whether the worker waits for the next edit, however long, and is to be there always.

        Only if it would notice that Stash, or the plugin, is gone.
        """
        return self._provider.config is not None and self.is_to_be_woken

    @property
    def is_to_be_woken(self) -> bool:
        """Return whether the next use of Stash starts another worker after this one has left.

        While no settings are valid, the default of `stay` counts: it does.
        """
        config = self._provider.config
        is_wanted = (config is None or config.stay) and not self._env.timing.ends_when_idle
        return is_wanted and self.presence.watches

    def _idle_for_long(self) -> bool:
        since = self._idle_since
        if (
            since is None
            or self.stays
            or self._env.monotonic() - since < self._env.timing.idle_timeout
        ):
            return False
        return not self.has_work()  # the last step may have found some

    # --- what is done next ---

    def _step(self) -> None:
        """Do what is due first, else wait for something to do."""
        seen = self.queue.version()  # before the look at the queue: later changes end the wait
        if self._must_requeue:
            self.queue.requeue_in_progress()
            self._must_requeue = False
        self.queue.import_spool()
        self._report_unreadable()
        if self._commands is not None and self._commands.run_next():
            self._provider.expire()  # the user may have changed them just before
            self._idle_since, self._is_resting = None, False
            return
        self._note_work()
        step = self._next_step()
        self._is_resting = step is None and self._idle_since is not None
        if step is None:
            self._rest(seen)
            return
        self._parts.heartbeat.beat()
        if not self.health.ready():
            self._block()
            self._pause(self.health.retry_after())
            return
        self._use_settings()
        if step():
            self._flush_times()
        else:
            self._block()
            self._pause(self.health.retry_after())

    def _use_settings(self) -> None:
        config = self._parts.plex.config
        self._maintenance.configure(config)
        if self._follows:
            self._events.follow(config)

    def _note_work(self) -> None:
        """Note since when there is no work, and whether Stash or Plex is used."""
        has_work = self.has_work()
        if has_work:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = self._env.monotonic()
        if self.presence.take_change():
            self._provider.expire()
            if self.health.ready():  # which says what is wrong with them, if anything
                self._use_settings()
        if self.presence.take_use() or self.listener.take_use() or has_work:
            self._quick.note_use()

    def _rest(self, seen: object) -> None:
        """Wait until something is due; `seen` is the queue's version before the look at it."""
        if self._is_paused():
            self._block()
        self._flush_times()
        if not self._maintenance.correct_due_times():
            self._wait_for_work(seen)

    def _flush_times(self) -> None:
        if not self._parts.heartbeat.is_lost():  # else the folder may be another worker's by now
            self._parts.times.flush_if_due()

    def _report_unreadable(self) -> None:
        """Say once that queued edits could not be read, and have their scenes compared."""
        count = self.queue.count_quarantined()
        if not count:
            return
        if self._compares:
            self.passes.ask_full("queued edits could not be read")
        self._parts.reporter.notify_user(
            "warning",
            f"{count} queued edit{'s' if count > 1 else ''} could not be read. All scenes are"
            " compared with Plex now, so nothing is lost",
        )
        self.queue.mark_reported()

    def has_work(self) -> bool:
        """Return whether jobs, read-backs, passes or commands wait, due or not.

        A quick pass alone does not count: else the worker would never leave.
        """
        history = self._parts.history
        if self._is_paused() and not self._is_busy():
            return history.next_verification() is not None
        return (
            self.queue.next_due() is not None
            or history.next_verification() is not None
            or bool(history.passes())
            or self._is_busy()
        )

    def _is_busy(self) -> bool:
        """Return whether a command or an undo is in progress."""
        is_busy = self._commands is not None and self._commands.is_busy()
        return is_busy or self.passes.next_undo() is not None

    def _next_step(self) -> Callable[[], bool] | None:
        """Return what is due first: edits, then the others in order of their urgency.

        After a while of nothing but edits, one of the others goes first.
        """
        if self._adoption.is_due():  # until then it is not known which items are ours
            return self._adopt
        undo_id = self.passes.next_undo()
        if undo_id is None:
            return self._usual_step()
        # An undo goes first, but that of a library lets edits through.
        step = None if not self._was_undo else self._usual_step()
        self._was_undo = step is None
        return step or (lambda: self.health.attempt(lambda: self.passes.run_slice(undo_id)))

    def _usual_step(self) -> Callable[[], bool] | None:
        """Return what is due first, without undos."""
        if self._is_paused():
            return self._run_read_back if self._read_back.is_due(idle=True) else None
        has_edits = self.queue.is_due(EDITS, self._env.time())
        waited = self._env.monotonic() - self._lower_at
        if has_edits and waited < self._env.timing.edits_only:
            return self._edits
        self._lower_at = self._env.monotonic()
        return self._lower_step(has_edits=has_edits) or (self._edits if has_edits else None)

    def _is_paused(self) -> bool:
        """Return whether the user wants nothing written, but undos."""
        return paused(self._parts.history) is not None

    def _lower_step(self, *, has_edits: bool) -> Callable[[], bool] | None:
        now = self._env.time()
        look = self._look_step()
        if look is not None:
            return look
        if self._read_back.is_due(idle=False):
            return self._run_read_back
        if self.queue.is_due(RETRIES, now):
            return lambda: self.batches.run(RETRIES)
        if self.queue.is_due(BULK_WORK, now):
            return lambda: self.batches.run(BULK_WORK)
        pass_id = self.passes.next() if self._parts.stash is not None else None
        if pass_id is not None:
            return lambda: self.health.attempt(lambda: self.passes.run_slice(pass_id))
        if not has_edits and self._read_back.is_due(idle=True):
            return self._run_read_back
        if self.queue.is_due(SUSPECTS, now):
            return lambda: self.batches.run(SUSPECTS)
        if self._follows and self._events.must_follow(self._provider.config):
            return lambda: True  # settings are read before each step, and followed
        return None

    def _look_step(self) -> Callable[[], bool] | None:
        """Return the step that looks at what has changed, or has Plex look for files."""
        if self._events.is_due():
            return lambda: self.health.attempt(self._events.run)
        if self._compares and (self._quick.is_due() or self._events.wants_quick_pass()):
            return self._run_quick
        return self._run_scan if self._parts.plex.scan_due_in() <= 0 else None

    def _edits(self) -> bool:
        return self.batches.run(EDITS)

    def _adopt(self) -> bool:
        return self.health.attempt(self._adoption.run)

    def _run_quick(self) -> bool:
        is_for_events = self.listener.must_look
        self._events.before_quick_pass()
        went_well = self.health.attempt(self._quick.run)
        if is_for_events and not went_well:
            self._events.quick_pass_failed()
        return went_well

    def _run_scan(self) -> bool:
        try:
            self._parts.plex.run_scan()
        except PLEX_ERRORS as error:  # the job's retries ask again
            self._parts.reporter.log("info", f"Plex could not be asked to scan: {error}")
        return True

    def _run_read_back(self) -> bool:
        return self.health.attempt(self._read_back.run)

    def _block(self) -> None:
        """End the commands that can't go on now; their work goes on once it can."""
        reason = self.health.obstacle() or (PAUSED if self._is_paused() else None)
        if self._commands is not None and self._commands.is_busy() and reason:
            self._commands.block(reason)

    def _wait_for_work(self, seen: object) -> None:
        """Wait until something is due, or another process has put a job or a command."""
        if self.health.confirm_in() <= 0:
            self.health.confirm()
        timing, now = self._env.timing, self._env.time()
        moments = [self._parts.history.next_verification()]
        if not self._is_paused():
            moments.append(self.queue.next_due())
        waits = [moment - now for moment in moments if moment is not None]
        if self._idle_since is not None and not self.stays:
            waits.append(timing.idle_timeout - (self._env.monotonic() - self._idle_since))
        if self._compares and not self._is_paused():
            waits += [self._quick.due_in(), self._events.due_in()]
            waits.append(self._parts.plex.scan_due_in())
        waits += [self.health.confirm_in(), self.alerts.due_in()]
        self._pause(max(0.0, min([timing.heartbeat, *waits])), unless_changed=seen)

    def _pause(self, seconds: float, unless_changed: object = None) -> None:
        """Wait, but not past `stop`; every poll interval check whether the queue changed."""
        config = self._provider.config
        poll = config.poll_interval if config else 1.0
        end = self._env.monotonic() + seconds
        self.health.publish()  # also before no pause at all, after a step that took long
        while (left := end - self._env.monotonic()) > 0:
            if self._is_resting:
                self._parts.heartbeat.rest()
            else:
                self._parts.heartbeat.beat()
            self.health.publish()
            if self._env.wait(self._wake, min(poll, left)) or self.presence.due_in() <= 0:
                self._wake.clear()
                self.health.publish()
                return
            if unless_changed is not None and self.queue.version() != unless_changed:
                return
            if self._parts.heartbeat.is_lost():
                return

    # --- one scene ---

    def _process_job(self, job: SyncJob) -> None:
        """Bring one scene to Plex.

        Raises:
            TransientError: try again later (Plex's and Stash's own are subclasses).
            PermanentError: a person must help.
            SettingsError: nothing can be synced with these settings.
        """
        self._parts.plex.use(self._get_plex_client())  # another, where a caller replaced the method
        read_at = self._env.time()
        target = self.batches.match(job, self.batches.read(job), read_at)
        if target is not None:
            self.batches.record(job, target, self.runner.write(target))
            if self._parts.data_dir is not None:
                save_sync_timestamp(self._parts.data_dir, job["scene_id"], target.read_at)

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
        self._parts.plex.use(self._get_plex_client())
        return self.runner.write_fields(read_item(plex_item), metadata)

    def _get_plex_client(self) -> PlexClient:
        """Return the Plex client for the settings in effect; it connects on first use."""
        return self._parts.plex.client()
