"""Carry out the commands that tasks and the command line leave.

A short command is done at once. A long one (a pass, the whole queue) is in progress until nothing
of it is left to do, or until only a person or a server that is down can change that.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from history.changes import TAKEN, UNDONE
from history.fields import Fields, FieldState
from history.records import UNTOUCHABLE, Agreement, Choice, Status
from history.store import History
from plex.exceptions import PlexNotFound
from plex.plan import PROTECTIVE
from plex.undo import hold, release
from queue.commands import WAITING, Command, Commands
from queue.inbox import DATABASE, QUEUE_DIR
from queue.lease import is_held
from queue.models import FORCE, RETRY, RETRY_FIELDS, RUN, SyncJob, create_bulk_job, create_sync_job
from queue.table import BULK_WORK
from worker.agreements import is_same
from worker.attention import CLEARED, has_reason, needing_user
from worker.origins import ANSWERS, set_answer
from worker.parts import Parts
from worker.paused import REMOVED, paused, resume, set_paused
from worker.reconcile.forgetting import accept_fewer
from worker.reconcile.passes import SYNC, TRY, UNDO, Pass, Passes
from worker.refusals import reason_of, status_of

log = logging.getLogger("plexsync")

#: Seconds for which results are kept.
_KEPT = 86_400.0
#: Reasons that a result names; characters of a reason.
_MOST_REASONS = 20
_REASON = 120
#: Commands that are passes.
_PASSES = ("sync", "try", "undo", "remove", "put_cover")

Arguments = Mapping[str, Any]


class CommandRunner:
    """Runs the commands of one data directory, for the holder of the worker's lock."""

    def __init__(self, parts: Parts, passes: Passes, commands: Commands) -> None:
        """Run nothing yet."""
        self.commands = commands
        self._parts = parts
        self._passes = passes
        #: the long commands in progress: what they wait for, and how many jobs there were
        self._long: dict[int, tuple[Command, float, int]] = {}
        self._last = 0
        self._short: dict[str, Callable[[Arguments], dict[str, Any]]] = {
            "choose": self._choose,
            "ignore": self._ignore,
            "retry": self._retry,
            "clear_failed": self._clear_failed,
            "clear_queue": self._clear_queue,
            "approve": self._approve,
            "hold": self._hold,
            "import": self._import,
            "pause": self._pause,
            "restore": self._restore,
            "library_origin": self._library_origin,
        }

    def at_start(self) -> None:
        """Delete old results."""
        self.commands.forget_finished(_KEPT)

    def run_next(self) -> bool:
        """Carry out the next command; return whether one was begun or finished."""
        self._passes.drop_left()
        finished = self._finish_long()
        command = self.commands.next(after=self._last)
        if command is None:
            return finished
        self.commands.forget_finished(_KEPT)  # a worker may stay for months
        try:
            self._run(command)
        except (KeyError, TypeError, ValueError) as error:
            log.error("Command %s can't be carried out", command.name, exc_info=error)
            problem = f"{type(error).__name__}: {error}"
            self.commands.finish(command.id, {"error": f"{command.name}: {problem}"})
        self._last = command.id
        return True

    def _run(self, command: Command) -> None:
        if self._is_left(command):
            self.commands.drop(command.id)
        elif command.name in (*_PASSES, "drain", "resync", "take"):
            self._start_long(command)
        elif command.name in self._short:
            self.commands.start(command.id)
            self.commands.finish(command.id, self._short[command.name](command.arguments))
        else:
            self.commands.finish(command.id, {"error": f"unknown command {command.name!r}"})

    def is_busy(self) -> bool:
        """Return whether a long command is in progress."""
        return bool(self._long)

    def block(self, reason: str) -> None:
        """End the long commands with the reason why they can't go on now.

        Their work stays, and goes on by itself once it can.
        """
        for command_id, (_, started, _) in list(self._long.items()):
            found = Pass(SYNC)
            for pass_id, one in self._passes.all().items():
                if one.command == command_id:
                    self._passes.detach(pass_id)
                    found = one if one.kind == UNDO else found
            self._end(command_id, started, found, reason)

    def _is_left(self, command: Command) -> bool:
        """Return whether the task that waited for a command is gone."""
        data_dir = self._parts.data_dir
        if command.lease is None or data_dir is None:
            return False
        return not is_held(data_dir, command.lease)

    # --- long commands

    def _start_long(self, command: Command) -> None:
        now = self._parts.env.time()
        started = float(command.arguments.get("started_at") or now)
        known = any(one.command == command.id for one in self._passes.all().values())
        if command.name in _PASSES and not known:
            one = self._pass_of(command)
            one.started_at, one.lease = started, command.lease
            one.command = one.number = command.id
            self._passes.start(one)
        elif command.name == "resync" and command.status == WAITING:
            self._resync(command.arguments)
        elif command.name == "take" and command.status == WAITING:
            self._take(command.arguments)
        self._long[command.id] = (command, started, self._due())
        self.commands.start(command.id)

    def _pass_of(self, command: Command) -> Pass:
        """Return the pass that a command asks for."""
        arguments = command.arguments
        if command.name == "sync":
            since = arguments.get("since")
            return Pass(
                SYNC,
                filter=arguments.get("filter"),
                since=None if since is None else float(since),
                force=bool(arguments.get("force")),
            )
        if command.name == "try":
            return Pass(TRY, limit=int(arguments["count"]))
        if command.name == "put_cover":
            return Pass(UNDO, undo={"cover": int(arguments["scene_id"])}, total=1)
        history = self._parts.history
        if command.name == "remove":
            section = arguments.get("section")
            what = {"all": True, "section": None if section is None else int(section)}
            what["visible"] = bool(arguments.get("visible"))
            if section is None:
                set_paused(history, self._parts.env.time(), REMOVED)
            return Pass(UNDO, undo=what, total=history.count_items(what["section"]))
        names = ("run", "change", "scene_id", "field", "visible")
        what = {name: arguments[name] for name in names if arguments.get(name) is not None}
        if not what.keys() & {"run", "change", "scene_id"}:
            raise ValueError("name a change, a scene or a run to take back")
        total = 1
        if "run" in what:
            total = history.changes.count_run(str(what["run"]))[0]
            self._end_run(str(what["run"]))
        return Pass(UNDO, undo=what, total=total)

    def _end_run(self, run: str) -> None:
        """Let a run that is taken back write nothing more."""
        for pass_id, one in self._passes.all().items():
            if run == one.run_name(pass_id):
                self._passes.end_reading(pass_id)

    def _finish_long(self) -> bool:
        before = len(self._long)
        for one in self._passes.finished():
            if one.command in self._long:
                self._end(one.command, one.started_at, one, None)
        for command_id, (command, started, _) in list(self._long.items()):
            if self._is_left(command):
                del self._long[command_id]
                self.commands.drop(command_id)
            elif command.name not in _PASSES and not self._is_due(command):
                self._end(command_id, started, Pass(SYNC), None)
        return len(self._long) < before

    def report(self) -> None:
        """Leave the progress of the long commands."""
        passes = {one.command: one for one in self._passes.all().values()}
        due = self._due()
        for command_id, (command, _, first) in self._long.items():
            one = passes.get(command_id)
            if command.name == "drain":
                self.commands.report(command_id, max(0, first - due), due)
            elif one is not None:
                total, done = one.total, one.done
                if one.limit is not None:
                    total, done = one.limit, one.queued
                left = max(0, total - done)
                if one.kind != UNDO:
                    left += self._parts.queue.count_kind(BULK_WORK)
                self.commands.report(command_id, max(0, total - left), left)

    def _end(self, command_id: int, started: float, one: Pass, reason: str | None) -> None:
        command, _, first = self._long.pop(command_id)
        parts = self._parts
        if one.kind == UNDO:
            nothing = {"scenes": 0, "fields": {}, "left": [], "left_count": 0}
            run = f"{UNDONE}-{command_id}"
            result = {**nothing, **one.outcome, "run": run, "reason": reason}
            self.commands.finish(command_id, result)
            return
        parts.times.flush()
        if reason is None and (one.total or first):  # no batch may have ended since the last report
            self.commands.report(command_id, one.total or first, 0)
        worked = {status.value: n for status, n in parts.history.count(since=started).items()}
        result = {
            "left": one.left,
            "worked": worked,
            "failures": _failures(parts.history),
            "not_in_plex": parts.history.count_folders(),
            "kept": parts.history.count_kept(since=started),
            "waiting": _count_waiting(parts),
            "reason": reason,
        }
        if command.name in _PASSES:
            result["run"] = f"{command.name}-{command_id}"
        self.commands.finish(command_id, result)

    def _is_due(self, command: Command) -> bool:
        """Return whether jobs that a command waits for are due or in progress."""
        if command.name == "drain":
            return self._due() > 0
        job = self._parts.queue.find_unfinished(f"scene_{command.arguments.get('scene_id')}")
        return job is not None and job.get("next_retry_at", 0.0) <= self._parts.env.time()

    def _due(self) -> int:
        counts = self._parts.queue.counts(due_at=self._parts.env.time())
        return counts["pending"] + counts["in_progress"]

    # --- short commands

    def _resync(self, arguments: Arguments) -> None:
        """Queue one scene, its cover too, over a person's edits; maybe choose its items."""
        scene_id = int(arguments["scene_id"])
        if arguments.get("items") is not None:
            self._choose(arguments)
        self._release(scene_id)
        self._parts.history.forget_cover(scene_id)
        job = create_sync_job(scene_id, "metadata", {FORCE: True}, now=self._parts.env.time())
        self._parts.queue.put(job)

    def _choose(self, arguments: Arguments) -> dict[str, Any]:
        """Remember which items the user chose for a scene."""
        scene_id = int(arguments["scene_id"])
        self._parts.history.choose(scene_id, _choices(arguments))
        self._retry_rivals({scene_id})
        return {"scene_id": scene_id}

    def _retry_rivals(self, scene_ids: set[int]) -> None:
        """Queue the scenes that are ambiguous because of these."""
        now, rows = self._parts.env.time(), self._parts.history.with_status(Status.AMBIGUOUS)
        rivals = [
            row.scene_id
            for row in rows
            if not scene_ids.isdisjoint((row.details or {}).get("scenes", ()))
        ]
        self._parts.queue.put_many(create_bulk_job(one, now=now) for one in rivals)

    def _ignore(self, arguments: Arguments) -> dict[str, Any]:
        """Leave a scene alone from now on, or no longer; or those of a folder that lack an item."""
        history, is_off = self._parts.history, bool(arguments.get("off"))
        if arguments.get("folder"):
            status = Status.IGNORED if is_off else Status.NOT_IN_PLEX
            scene_ids = history.scenes_in_folder(str(arguments["folder"]), status)
            for scene_id in scene_ids:
                self._ignore({"scene_id": scene_id, "off": is_off})
            return {"folder": arguments["folder"], "scenes": len(scene_ids)}
        scene_id = int(arguments["scene_id"])
        if is_off:
            self._release(scene_id)
            return {"scene_id": scene_id}
        self._leave_alone(scene_id, str(arguments.get("created_at") or ""))
        self._retry_rivals({scene_id})
        return {"scene_id": scene_id}

    def _leave_alone(self, scene_id: int, created_at: str = "") -> None:
        """Put on record that the user ignores a scene.

        Args:
            created_at: of the scene; "": not known.
        """
        history, scene = self._parts.history, Agreement(scene_id, created_at=created_at)
        rows = [row for row in history.of_scene(scene_id) if is_same(row, scene)]
        history.save_all(
            replace(row, status=Status.IGNORED, reason="ignored by you", verify_at=None)
            for row in rows or [scene]
        )
        self._parts.dlq.delete_scene(scene_id)

    def _import(self, arguments: Arguments) -> dict[str, Any]:
        """Take over choices and ignored scenes of a file; see `tasks.transfer`."""
        history, choices = self._parts.history, arguments.get("choices") or ()
        with history.transaction():
            for one in choices:
                history.choose(int(one["scene_id"]), _choices(one))
            ignores = arguments.get("ignores") or ()
            for one in ignores:
                self._leave_alone(int(one["scene_id"]), str(one["created_at"]))
            scene_ids = {int(one["scene_id"]) for one in ignores}
        chosen = {int(one["scene_id"]) for one in choices}
        self._retry_rivals({*chosen, *scene_ids})
        ambiguous = {row.scene_id for row in history.with_status(Status.AMBIGUOUS)}
        now = self._parts.env.time()
        self._parts.queue.put_many(
            create_bulk_job(one, now=now) for one in sorted(chosen & ambiguous)
        )
        return {"choices": len(chosen), "ignores": len(scene_ids)}

    def _release(self, scene_id: int) -> None:
        """Have a scene compared again that the user had excluded."""
        history = self._parts.history
        history.save_all(
            replace(
                row,
                status=Status.IN_SYNC if row.has_item else Status.FAILED,
                digest=None,
                # after *Remove*, the scene and its item meet for the first time again
                fields=_stayed(row.fields) if row.status is Status.HELD else row.fields,
                synced_at=None if row.status is Status.HELD else row.synced_at,
            )
            for row in history.of_scene(scene_id)
            if row.status in (Status.IGNORED, Status.HELD)
        )

    def _take(self, arguments: Arguments) -> None:
        """Write Stash's value of one field to Plex, whatever is there, and sync it again."""
        name, rows = self._rows_and_field(arguments)
        self._parts.history.save_all(
            replace(
                row,
                fields={**row.fields, name: release(row.fields.get(name, FieldState()))},
                digest=None,
            )
            for row in rows
        )
        job = create_sync_job(
            rows[0].scene_id, "metadata", {RETRY: True, RUN: TAKEN}, now=self._parts.env.time()
        )
        self._parts.queue.put(job)

    def _hold(self, arguments: Arguments) -> dict[str, Any]:
        """Leave one field in Plex as it is from now on."""
        name, rows = self._rows_and_field(arguments)
        for row in rows:
            fields = {**row.fields, name: hold(row.fields.get(name, FieldState()), None)}
            status = row.status
            if status in (Status.REFUSED, Status.WRITTEN, Status.IN_SYNC):
                status = status_of(fields, is_written=row.verify_at is not None)
            self._parts.history.save(
                replace(row, fields=fields, status=status, reason=reason_of(fields))
            )
        return {"scene_id": rows[0].scene_id, "field": name}

    def _rows_and_field(self, arguments: Arguments) -> tuple[str, list[Agreement]]:
        """Return the field and the records that the user decides about.

        Raises:
            ValueError: there are none.
        """
        scene_id, which = int(arguments["scene_id"]), arguments.get("agreement")
        rows = [
            row
            for row in self._parts.history.of_scene(scene_id)
            if row.has_item and which in (None, row.id) and row.status not in UNTOUCHABLE
        ]
        if not rows:
            raise ValueError(f"scene {scene_id} is not synced with an item in Plex")
        return str(arguments["field"]), rows

    def _pause(self, arguments: Arguments) -> dict[str, Any]:
        """Write nothing to Plex from now on, or go on."""
        history = self._parts.history
        if arguments.get("on"):
            set_paused(history, self._parts.env.time())
        else:
            resume(history)
        return {"paused": paused(history) is not None}

    def _library_origin(self, arguments: Arguments) -> dict[str, Any]:
        """Note where the values of a library in Plex came from; all scenes are compared soon."""
        section, answer = int(arguments["section"]), arguments.get("answer")
        if answer not in (None, *ANSWERS):
            raise ValueError(f"the answer is one of {', '.join(ANSWERS)}")
        set_answer(self._parts.history, str(arguments["server"]), section, answer)
        return {"section": section, "answer": answer}

    def _restore(self, arguments: Arguments) -> dict[str, Any]:
        """Sync again what *Remove* took back."""
        history = self._parts.history
        scenes = {row.scene_id for row in history.with_status(Status.HELD)}
        for scene_id in scenes:
            self._release(scene_id)
        resume(history)
        return {"scenes": len(scenes)}

    def _retry(self, arguments: Arguments) -> dict[str, Any]:
        """Queue failed scenes again: dead letters, and what passes could not sync."""
        parts, reason, now = self._parts, arguments.get("reason"), self._parts.env.time()
        retried = set()
        for row in list(needing_user(parts.history, reason)):
            parts.queue.put(create_bulk_job(row.scene_id, now=now, **{RETRY: True}))
            retried.add(f"scene_{row.scene_id}")
        for letter in parts.dlq.get_recent(parts.dlq.get_count()):
            if letter["job"] and has_reason(letter["error_type"], reason):
                parts.queue.put(_fresh(letter["job"]))  # before the delete: a kill loses no job
                parts.dlq.delete(letter["id"])
                retried.add(letter["job_key"])
        return {"retried": len(retried)}

    def _clear_failed(self, arguments: Arguments) -> dict[str, Any]:
        """Clear the list of failed scenes; they stay on record as failed."""
        history, dlq, reason = self._parts.history, self._parts.dlq, arguments.get("reason")
        cleared = set()
        for row in list(needing_user(history, reason)):
            for one in history.of_scene(row.scene_id):
                history.save(replace(one, details={**(one.details or {}), CLEARED: True}))
            cleared.add(f"scene_{row.scene_id}")
        for letter in dlq.get_recent(dlq.get_count()):
            if has_reason(letter["error_type"], reason):
                dlq.delete(letter["id"])
                cleared.add(letter["job_key"])
        return {"dropped": len(cleared)}

    def _clear_queue(self, arguments: Arguments) -> dict[str, Any]:
        """Drop the waiting edits. The next pass finds their scenes again."""
        self._parts.queue.import_spool()
        return {"dropped": self._parts.queue.clear_waiting()}

    def _approve(self, arguments: Arguments) -> dict[str, Any]:
        """Let the passes write what they hold back, or drop it."""
        if arguments.get("visible"):
            is_granted = not arguments.get("no")
            count = self._passes.approval.answer_visible(is_granted=is_granted)
            return {"approved": count if is_granted else 0}
        if arguments.get("no"):
            self._passes.approval.decline()
            return {"approved": 0}
        if accept_fewer(self._parts.history):
            self._passes.ask_full("most scenes were deleted")
        count = self._passes.approval.grant()
        self._passes.start_approved()
        return {"approved": count}


def _stayed(fields: Fields) -> dict[str, FieldState]:
    """Return the states of what *Remove* left in Plex, as restricted accounts might see the item.

    It is still ours, so that it goes when no rule wants it any more.
    """
    return {
        name: FieldState(before=one.before, ours=one.ours, was_locked=one.was_locked)
        for name, one in fields.items()
        if name in PROTECTIVE and one.ours
    }


def _choices(arguments: Arguments) -> list[Choice]:
    """Return the items that a command chooses for a scene."""
    return [
        Choice(
            int(arguments["scene_id"]),
            str(one["server"]),
            int(one["rating_key"]),
            str(one["path"]),
            created_at=str(arguments.get("created_at") or ""),
        )
        for one in arguments.get("items") or ()
    ]


def _failures(history: History) -> dict[str, int]:
    """Return reason → number of scenes that failed."""
    rows = history.with_status(Status.FAILED, Status.REFUSED)
    return dict(Counter(row.reason[:_REASON] for row in rows).most_common(_MOST_REASONS))


def _count_waiting(parts: Parts) -> int:
    """Return the number of waiting jobs, but those that wait for their file to appear in Plex."""
    return parts.queue.count_for_user(parts.env.time(), PlexNotFound.__name__)


def open_commands(data_dir: str) -> Commands:
    """Open the commands of a data directory.

    Raises:
        OSError, sqlite3.Error: the queue's database can't be used.
    """
    return Commands(os.path.join(data_dir, QUEUE_DIR, DATABASE))


def _fresh(job: SyncJob) -> SyncJob:
    """Return the job without its retry state."""
    return cast(SyncJob, {key: one for key, one in job.items() if key not in RETRY_FIELDS})
