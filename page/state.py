"""The views `state` and `count`: how PlexSync is, in numbers, and what keeps it from working."""

from __future__ import annotations

import json
import os

import history.counts as counts
import queue.table as table
from common.daily import in_words, next_time
from common.files import read_json
from common.locks import NoLocks
from common.times import is_time
from page.readonly import has_table
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
#: State in the history: values of `worker.reconcile` and `plex.session`.
_HELD, _FEWER, _PAUSED, PLEX = "held", "fewer_scenes", "paused", "plex"
_ORIGINS = "origins"
_QUICK_RAN, _FULL_ENDED = "quick_pass_ran_at", "full_pass_ended_at"
_COMPARE_AT, _RULE_PROBLEMS = "compare_at", "rule_problems"
#: As `queue.commands` has it, which is not light.
_STARTED = 1
#: Seconds without a look of the worker at Stash, after which it is told that Stash is used, as a
#: page is open. Pages ask every five minutes: so what is changed there is found within fifteen.
_LOOK_DUE = 600.0


def state(look: Look) -> dict[str, Any]:
    """Return the page's first lines: is all well, and what is waiting."""
    known = look.attempt(lambda: look.history(lambda db: _history_numbers(db, look.now))) or {}
    now = _Now(look, known.get("needing", {}))
    worker, queue, waiting = now.worker, now.queue, now.waiting
    by_status = known.get("counts", {})
    is_alive = worker["alive"]
    return {
        "problem": now.problem,
        "counts": {
            **{status: by_status.get(status, 0) for status in counts.STATUSES},
            "kept": known.get("kept", 0),
        },
        "needs": now.needs,
        "waiting": waiting,
        "in_progress": queue.get("in_progress", 0),
        "last_change_at": known.get("last_change_at"),
        "checked_at": known.get("checked_at"),
        "full_at": known.get("full_at"),
        "next_full": known.get("next_full"),
        "plex": known.get("plex", {"name": None, "libraries": []}),
        "legacy": known.get("legacy", []),
        "paused": bool(known.get("paused")),
        "pause": known.get("paused"),
        "approval": known.get("approval"),
        "rule_problems": known.get("rule_problems", []),
        "worker": {"alive": is_alive, **_life(now.stored, is_alive)},
        "is_set_up": bool(known.get("is_set_up")),
        "must_wake": now.must_wake(known.get("paused"), known.get("checked_at")),
        "running": (queue.get("running") or known.get("running")) if is_alive else None,
        "folders": known.get("folders", {}),
    }


def count(look: Look) -> dict[str, Any]:
    """Return how many scenes need the user, whether something is wrong, and whether to wake."""
    known = look.attempt(lambda: look.history(lambda db: _few_numbers(db, look.now))) or {}
    now = _Now(look, known.get("needing", {}))
    return {
        "needs": now.needs,
        "problem": now.problem is not None,
        "must_wake": now.must_wake(known.get("paused"), known.get("checked_at")),
    }


class _Now:
    """Queue, dead letters and worker, as both views show them."""

    def __init__(self, look: Look, needing: Mapping[str, list[int]]) -> None:
        self.worker = look_at_worker(look.data_dir)
        queue = look.attempt(lambda: look.queue(_queue_numbers))
        letters = look.attempt(lambda: look.letters(counts.failed_jobs))
        self.queue: dict[str, Any] = queue or {}
        self.waiting = self.queue.get("waiting", 0) + len(spooled(look.path(QUEUE_DIR)))
        self.stored = read_json(look.path(STATE_FILE))
        self.needs = counts.count_needs(needing, letters or [])
        self.problem = find_problem(look, self.worker, self.stored, self.waiting)
        self._look = look

    def must_wake(self, is_paused: object, checked_at: float | None) -> bool:
        """Return whether to run *wake*: a worker is wanted, or is to learn that Stash is used."""
        if is_paused:
            return False
        if self.worker["alive"]:
            return checked_at is not None and self._look.now - checked_at > _LOOK_DUE
        return must_wake(self._look.data_dir, self.waiting, self.worker)


def _life(stored: Mapping[str, Any], is_alive: bool) -> dict[str, Any]:
    """Return since when the worker is there, or since when and why not; None: it is not known."""
    since = _moment(stored.get("since"))
    left_at, why = _moment(stored.get("left_at")), stored.get("left_because")
    if is_alive:
        return {"since": since, "left_at": None, "left_because": None}
    return {"since": None, "left_at": left_at, "left_because": why if left_at else None}


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
    """Return whether a worker is wanted, and none is there or about to be."""
    if worker["alive"] or worker["obstacle"] or not (waiting or is_unfinished(data_dir)):
        return False
    return not worker_alive(data_dir, file=SUCCESSOR_FILE)


def stored_problem(stored: Mapping[str, Any], is_alive: bool) -> str | None:
    """Return what keeps the worker from working, as it has written it down."""
    problem = stored.get("problem")
    if not isinstance(problem, str) or not problem:
        return None
    return problem if is_alive else f"when the worker last ran: {problem}"


def event_stream(stored: Mapping[str, Any], is_alive: bool) -> dict[str, Any] | None:
    """Return whether the worker hears Plex's events; None: it does not try to, or is not there.

    Returns:
        `connected`; `since` (epoch seconds) it is so; `problem`, why it is not connected, or None.
    """
    found = stored.get("events")
    if not is_alive or not isinstance(found, dict) or not isinstance(found.get("connected"), bool):
        return None
    problem = found.get("problem")
    return {
        "connected": found["connected"],
        "since": _moment(found.get("since")),
        "problem": problem if isinstance(problem, str) else None,
    }


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
    since = _moment(stored.get("changed_at")) or _changed_at(look.path(STATE_FILE))
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
        **compared(db, now),
        "paused": since_when(counts.get_state(db, _PAUSED)),
        "approval": _approval(db),
        "rule_problems": _texts(counts.get_state(db, _RULE_PROBLEMS)),
        "plex": {
            "name": plex.get("name"),
            "libraries": [
                one["name"]
                for one in (libraries if isinstance(libraries, list) else ())
                if isinstance(one, dict) and isinstance(one.get("name"), str)
            ],
        },
        "legacy": _legacy(plex, counts.get_state(db, _ORIGINS)),
        # Plex's libraries were listed: address and token were right once
        "is_set_up": bool(plex or counts.get_state(db, counts.LOCATIONS)),
        "running": _running_pass(db),
    }


def _legacy(plex: Mapping[str, Any], origins: object) -> list[dict[str, Any]]:
    """Return the libraries on an agent that is not Plex's own, with the user's answers."""
    libraries, server = plex.get("libraries"), plex.get("server")
    here = origins.get(server) if isinstance(origins, dict) else None
    answers = here if isinstance(here, dict) else {}
    return [
        {
            "section": one["key"],
            "name": one.get("name"),
            "agent": one["agent"],
            "is_legacy": bool(one.get("is_legacy")),
            "locks": bool(one.get("locks")),
            "answer": answers.get(str(one["key"])),
        }
        for one in (libraries if isinstance(libraries, list) else ())
        if isinstance(one, dict) and one.get("agent") and "key" in one
    ]


def _texts(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def compared(db: sqlite3.Connection, now: float) -> dict[str, Any]:
    """Return when all scenes were last compared, and when they will be, in words too."""
    following = next_comparison(counts.get_state(db, _COMPARE_AT), now)
    return {"full_at": _moment(counts.get_state(db, _FULL_ENDED)), "next_full": following}


def next_comparison(clock: object, now: float) -> dict[str, Any] | None:
    """Return when the next daily comparison is; None: it is not known.

    Args:
        clock: time of day as stored, "HH:MM".
        now: epoch seconds.

    Returns:
        "at": epoch seconds; "text": the same in words.
    """
    try:
        moment = next_time(clock, now) if isinstance(clock, str) else None
    except ValueError:  # damaged
        moment = None
    return None if moment is None else {"at": moment, "text": in_words(moment, now)}


def _few_numbers(db: sqlite3.Connection, now: float) -> dict[str, Any]:
    return {
        "needing": counts.needing(db, now),
        "paused": since_when(counts.get_state(db, _PAUSED)),
        "checked_at": _moment(counts.get_state(db, _QUICK_RAN)),
    }


def _last_change(db: sqlite3.Connection) -> float | None:
    if not has_table(db, "changes"):
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
        return _visible(db)
    why = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
    number = sum(one for one in reasons.values() if isinstance(one, int))
    return {"kind": "writes", "count": number, "reason": why}


def _visible(db: sqlite3.Connection) -> dict[str, Any] | None:
    """Return the question about what restricted accounts would see, or None."""
    count = counts.count_asking(db)
    if not count:
        return None
    reason = "their content rating or a label of theirs would go, or become weaker"
    return {"kind": "visible", "count": count, "reason": reason}


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
    if not has_table(db, "commands"):
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


def _moment(value: object) -> float | None:
    return value if is_time(value) else None


def since_when(value: object) -> dict[str, Any] | None:
    """Return a stored value that says since when something is so; None: it is not so."""
    return {**value, "since": _moment(value.get("since"))} if isinstance(value, dict) else None


def _changed_at(path: str) -> float | None:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return None
