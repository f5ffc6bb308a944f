"""*Status* and the page say the same numbers and the same sentence."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from common.redaction import Redactor
from common.sqlite import connect
from plex.session import PLEX
from stash.client import StashClient
from tasks.context import Context
from tasks.failed import show_failed
from tasks.status import collect
from tasks.status import status as show_status
from tests.harness.damage import damaged
from tests.harness.plugin import ENTRY
from tests.page.support import OUTAGE, WRONG_RULE, ask
from worker.alerts import PROBLEM
from worker.config_provider import RULE_PROBLEMS
from worker.outages import OUTAGES
from worker.process import WorkerLock
from worker.reconcile.approval import HELD
from worker.reconcile.passes import COMPARE_AT, FULL_ENDED
from worker.reconcile.quick import RAN_AT
from worker.state import save_state

STATES: dict[str, Any] = {
    COMPARE_AT: "03:30",
    FULL_ENDED: 1.7e9,
    HELD: {"count": 300, "reasons": {"drift": 300}, "since": 1.7e9},
    OUTAGES: [OUTAGE],
    "paused": {"since": 1.7e9, "why": "you"},
    PLEX: {"server": "s", "name": "Plex", "url": "", "libraries": [{"key": 1, "name": "Films"}]},
    PROBLEM: {"text": "it answers 404", "since": 1.7e9},
    RAN_AT: 1.7e9,
    RULE_PROBLEMS: [WRONG_RULE],
}
LIFE: dict[str, Any] = {
    "since": 1.7e9,
    "left_at": 1.7e9,
    "left_because": "idle",
    "changed_at": 1.7e9,
    "problem": "Plex rejects the token",
    "events": {"connected": True, "since": 1.7e9, "problem": None},
}


def context(data_dir: Path) -> Context:
    stash = StashClient(lambda: None, redactor=Redactor())
    return Context(str(data_dir), str(ENTRY), stash, Redactor(), lambda *_: None, lambda *_: None)


def in_both(data_dir: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the page and what *Status* say, under the same names."""
    page, details = ask(data_dir, "state"), ask(data_dir, "details")
    status = collect(context(data_dir))
    one = {
        "scenes": {name: n for name, n in page["counts"].items() if n and name != "kept"},
        "kept": page["counts"]["kept"],
        "needs": page["needs"],
        "folders": page["folders"],
        "rule_problems": page["rule_problems"],
        "waiting": page["waiting"],
        "in_progress": page["in_progress"],
        "checked_at": page["checked_at"],
        "full_at": page["full_at"],
        "next_full": page["next_full"]["text"],
        "next_full_at": page["next_full"]["at"],
        "outages": details["outages"],
        "webhook_problem": details["webhook_problem"],
        "alive": page["worker"]["alive"],
        "problem": page["problem"] and page["problem"]["text"],
        "hook_ms": details["hook_ms"],
        "index": details["index"],
        "log": details["log"],
        "events": details["events"],
    }
    other = {
        **{name: status[name] for name in one if name in status},
        "needs": status["needing_you"],
        "checked_at": status["quick_pass_at"],
        "full_at": status["full_pass_at"],
        "alive": status["worker"]["alive"],
    }
    return one, other


def test_the_page_and_status_say_the_same(filled: Path) -> None:
    page, status = in_both(filled)
    assert page == status
    assert page["rule_problems"] == [WRONG_RULE]
    text = show_status(context(filled), {})
    assert (WRONG_RULE in text.summary, f"Rule: {WRONG_RULE}" in text.lines) == (True, True)
    assert page["needs"] == ask(filled, "count")["needs"] == ask(filled, "needs")["total"] == 7


def test_they_name_the_same_problem(filled: Path) -> None:
    save_state(str(filled), {"plex": "closed", "stash": "closed", "problem": "the disk is full"})
    page, status = in_both(filled)
    assert page["problem"] == status["problem"] == "when the worker last ran: the disk is full"


def test_the_list_of_failed_scenes_is_the_same(filled: Path) -> None:
    listed = show_failed(context(filled), {}).data["failed"]
    rows = ask(filled, "needs")["rows"]
    assert {row["scene_id"] for row in rows} == {one["scene_id"] for one in listed}
    assert {row["reason"] for row in rows} == {one["reason"] for one in listed}


@pytest.mark.parametrize("status", ["ambiguous", "failed", "refused"])
def test_a_filter_is_the_same(filled: Path, status: str) -> None:
    listed = show_failed(context(filled), {"reason": status}).data["failed"]
    rows = ask(filled, "needs", status=status)["rows"]
    on_record = {row["scene_id"] for row in rows if row["scene_id"] != 21}
    assert on_record == {one["scene_id"] for one in listed}
    json.dumps(rows)


def test_status_says_outages_and_the_next_comparison_in_words(filled: Path) -> None:
    lines = show_status(context(filled), {}).lines
    (outage,) = [line for line in lines if line.startswith("Plex was not reachable from ")]
    assert outage.endswith("(60 minutes); 12 edits waited, done 30 seconds later")
    assert "The webhook can't be reached: it answers 404" in lines
    (following,) = [line for line in lines if line.startswith("Next comparison of all scenes: ")]
    assert re.search(r": (today|tomorrow) 03:30 \S+", following)


def look_at_all(data_dir: Path) -> str:
    """Return all that both say."""
    views = [json.dumps(ask(data_dir, view)) for view in ("state", "count", "details")]
    return "\n".join([*views, *show_status(context(data_dir), {}).lines])


@pytest.mark.parametrize("name", STATES)
def test_a_damaged_state_stops_neither(filled: Path, name: str) -> None:
    for value in damaged(STATES[name]):
        with closing(connect(str(filled / "history.db"))) as db:
            db.executemany(
                "INSERT OR REPLACE INTO state VALUES (?, ?)",
                [(key, json.dumps(one)) for key, one in {**STATES, name: value}.items()],
            )
        shown = look_at_all(filled)
        assert name == HELD or "e+63" not in shown, "of what waits it is a number, not a time"


@pytest.mark.parametrize("is_alive", [True, False])
def test_a_damaged_file_of_the_worker_stops_neither(filled: Path, is_alive: bool) -> None:
    lock = WorkerLock(str(filled))
    assert not is_alive or lock.acquire()
    for value in damaged(LIFE):
        save_state(str(filled), value)
        assert "e+63" not in look_at_all(filled)
    lock.release()
