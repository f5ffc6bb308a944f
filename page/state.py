"""The views `state` and `count`: how PlexSync is, in numbers, and what keeps it from working."""

from __future__ import annotations

import json
import os

import history.counts as counts
import queue.table as table
from common.files import read_json
from common.locks import NoLocks
from queue.inbox import QUEUE_DIR
from queue.spool import spooled
from worker.process import (
    SILENT_AFTER,
    SUCCESSOR_FILE,
    WorkerLock,
    is_unfinished,
    worker_alive,
    worker_pid,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from typing import Any

    from page.look import Look

#: What the worker left (`worker.state`).
STATE_FILE = "worker_state.json"
#: Type of error of a dead letter that is none: its file may still come to Plex.
_NOT_IN_PLEX = "PlexNotFound"
#: State in the history: values of `worker.reconcile` and `plex.session`.
_HELD, _FEWER, _PAUSED, PLEX = "held", "fewer_scenes", "paused", "plex"
_QUICK_RAN, _FULL_ENDED = "quick_pass_ran_at", "full_pass_ended_at"
#: As `queue.commands` has it, which is not light.
_STARTED = 1


def state(look: Look) -> dict[str, Any]:
    """Return the page's first lines: is all well, and what is waiting."""
    worker = look_at_worker(look.data_dir)
    known = look.attempt(lambda: look.history(lambda db: _history_numbers(db, look.now))) or {}
    queue = look.attempt(lambda: look.queue(_queue_numbers)) or {}
    letters = look.attempt(lambda: look.letters(failed_jobs)) or []
    needing = known.get("needing", {})
    waiting = queue.get("waiting", 0) + len(spooled(look.path(QUEUE_DIR)))
    stored = read_json(look.path(STATE_FILE))
    problem = find_problem(look, worker, stored, waiting)
    by_status = known.get("counts", {})
    is_alive = worker["alive"]
    return {
        "problem": problem,
        "counts": {
            **{status: by_status.get(status, 0) for status in counts.STATUSES},
            "kept": known.get("kept", 0),
        },
        "needs": count_needs(needing, letters),
        "waiting": waiting,
        "in_progress": queue.get("in_progress", 0),
        "last_change_at": known.get("last_change_at"),
        "checked_at": known.get("checked_at"),
        "full_at": known.get("full_at"),
        "plex": known.get("plex", {"name": None, "libraries": []}),
        "paused": bool(known.get("paused")),
        "pause": known.get("paused"),
        "approval": known.get("approval"),
        "worker": {"alive": is_alive, "since": None},
        "is_set_up": bool(known.get("is_set_up")),
        "must_wake": not known.get("paused") and must_wake(look.data_dir, waiting, worker),
        "running": (queue.get("running") or known.get("running")) if is_alive else None,
        "folders": known.get("folders", {}),
    }


def count(look: Look) -> dict[str, Any]:
    """Return how many scenes need the user, and whether something is wrong."""
    worker = look_at_worker(look.data_dir)
    needing = look.attempt(lambda: look.history(lambda db: counts.needing(db, look.now))) or {}
    letters = look.attempt(lambda: look.letters(failed_jobs)) or []
    queue = look.attempt(lambda: look.queue(_queue_numbers)) or {}
    waiting = queue.get("waiting", 0) + len(spooled(look.path(QUEUE_DIR)))
    stored = read_json(look.path(STATE_FILE))
    problem = find_problem(look, worker, stored, waiting)
    return {"needs": count_needs(needing, letters), "problem": problem is not None}


def failed_jobs(db: sqlite3.Connection) -> list[tuple[int, int | None]]:
    """Return (id, scene id) of the dead letters that need the user, the newest first."""
    return db.execute(
        "SELECT id, scene_id FROM dead_letters WHERE error_type != ? ORDER BY id DESC",
        (_NOT_IN_PLEX,),
    ).fetchall()


def count_needs(needing: Mapping[str, list[int]], letters: list[tuple[int, int | None]]) -> int:
    """Return how many need the user: scenes on record, and failed jobs of other scenes."""
    scenes = {scene_id for found in needing.values() for scene_id in found}
    return len(scenes) + sum(1 for _, scene_id in letters if scene_id not in scenes)


def look_at_worker(data_dir: str) -> dict[str, Any]:
    """Return whether a worker is `alive` and `silent`, or the `obstacle` why none can be."""
    try:
        alive = worker_alive(data_dir)
    except NoLocks as error:
        return {"alive": False, "silent": False, "obstacle": str(error)}
    except OSError as error:
        return {"alive": False, "silent": False, "obstacle": f"the lock can't be read: {error}"}
    silent = alive and WorkerLock(data_dir).silent_for() > SILENT_AFTER
    return {"alive": alive, "silent": silent, "obstacle": None}


def must_wake(data_dir: str, waiting: int, worker: Mapping[str, Any]) -> bool:
    """Return whether edits wait and nobody works."""
    if worker["alive"] or worker["obstacle"] or not (waiting or is_unfinished(data_dir)):
        return False
    return not worker_alive(data_dir, file=SUCCESSOR_FILE)


def stored_problem(stored: Mapping[str, Any], is_alive: bool) -> str | None:
    """Return what keeps the worker from working, as it has written it down."""
    problem = stored.get("problem")
    if not isinstance(problem, str) or not problem:
        return None
    return problem if is_alive else f"when the worker last ran: {problem}"


def find_problem(
    look: Look, worker: Mapping[str, Any], stored: Mapping[str, Any], waiting: int
) -> dict[str, Any] | None:
    """Return the one problem that is to be solved first: its text, and what mends it."""
    if look.problems:
        passing = "in a moment" in look.problems[0]
        return _problem(look.problems[0], "retry" if passing else "check")
    if look.obstacle:
        return _problem(look.obstacle, "install")
    if worker["obstacle"]:
        return _problem(worker["obstacle"], None)
    if worker["silent"]:
        who = worker_pid(look.data_dir)
        return _problem(
            f"PlexSync's worker makes no progress; edits are kept. End its process ({who})", None
        )
    since = _changed_at(look.path(STATE_FILE))
    text = stored_problem(stored, worker["alive"])
    if text:
        action = stored.get("action")
        return _problem(text, action if action in ("setup", "resume") else "check", since)
    for key, name in (("plex", "Plex"), ("stash", "Stash")):
        if stored.get(key) == "open" and (worker["alive"] or waiting):
            count = "1 edit waits" if waiting == 1 else f"{waiting or 'no'} edits wait"
            edits = f"{count}; nothing is lost"
            return _problem(f"{name} does not answer. {edits}", "check", since)
    return None


def _problem(text: str, action: str | None, since: float | None = None) -> dict[str, Any]:
    return {"text": text, "action": action, "since": since}


def _history_numbers(db: sqlite3.Connection, now: float) -> dict[str, Any]:
    plex = counts.get_state(db, PLEX)
    plex = plex if isinstance(plex, dict) else {}
    libraries = plex.get("libraries")
    return {
        "counts": counts.count_by_status(db),
        "kept": counts.count_kept(db),
        "needing": counts.needing(db, now),
        "folders": counts.count_folders(db),
        "last_change_at": _last_change(db),
        "checked_at": _moment(counts.get_state(db, _QUICK_RAN)),
        "full_at": _moment(counts.get_state(db, _FULL_ENDED)),
        "paused": counts.get_state(db, _PAUSED),
        "approval": _approval(db),
        "plex": {
            "name": plex.get("name"),
            "libraries": [
                one["name"]
                for one in (libraries if isinstance(libraries, list) else ())
                if isinstance(one, dict) and isinstance(one.get("name"), str)
            ],
        },
        # Plex's libraries were listed: address and token were right once
        "is_set_up": bool(plex or counts.get_state(db, counts.LOCATIONS)),
        "running": _running_pass(db),
    }


def _last_change(db: sqlite3.Connection) -> float | None:
    if not _has_table(db, "changes"):
        return None
    row = db.execute(
        "SELECT at FROM changes WHERE status != 'dropped' ORDER BY id DESC LIMIT 1"
    ).fetchone()
    return row[0] if row else None


def _approval(db: sqlite3.Connection) -> dict[str, Any] | None:
    """Return what waits for the user's approval, or None."""
    fewer = counts.get_state(db, _FEWER)
    if isinstance(fewer, int):
        return {
            "kind": "fewer_scenes",
            "count": fewer,
            "reason": f"Stash shows {fewer} scenes, less than half of those that it had: check that"
            " its database and its disks are there",
        }
    held = counts.get_state(db, _HELD)
    reasons = held.get("reasons") if isinstance(held, dict) else None
    if not isinstance(reasons, dict) or not reasons:
        return None
    why = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
    number = sum(one for one in reasons.values() if isinstance(one, int))
    return {"kind": "writes", "count": number, "reason": why}


def _running_pass(db: sqlite3.Connection) -> dict[str, Any] | None:
    """Return the pass that a worker is on, without a command."""
    for (content,) in db.execute("SELECT content FROM passes ORDER BY id"):
        try:
            one = json.loads(content)
            total, done = int(one["total"]), int(one["done"])
            kind = str(one["kind"])
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        if total and one.get("command") is None:
            return {"name": kind, "done": done, "left": max(0, total - done)}
    return None


def _queue_numbers(db: sqlite3.Connection) -> dict[str, Any]:
    found = table.count(db)
    return {
        "waiting": found["pending"],
        "in_progress": found["in_progress"],
        "running": _running_command(db),
    }


def _running_command(db: sqlite3.Connection) -> dict[str, Any] | None:
    if not _has_table(db, "commands"):
        return None
    row = db.execute(
        "SELECT id, name, progress FROM commands WHERE status = ? ORDER BY id LIMIT 1", (_STARTED,)
    ).fetchone()
    if row is None:
        return None
    done, left = progress_of(row[2])
    return {"name": row[1], "done": done, "left": left, "command": row[0]}


def progress_of(stored: object) -> tuple[int, int]:
    """Return (done, left) as a command has reported it; zeros where it has not."""
    try:
        done, left = json.loads(stored)  # type: ignore[arg-type]
        return int(done), int(left)
    except (ValueError, TypeError, RecursionError):
        return 0, 0


def _has_table(db: sqlite3.Connection, name: str) -> bool:
    found = db.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)
    ).fetchone()
    return found is not None


def _moment(value: object) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _changed_at(path: str) -> float | None:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return None
