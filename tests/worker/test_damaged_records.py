"""A value in `history.db` that can't be read costs no edit of a scene, and stops no pass."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from history.records import Choice
from history.schema import migrate
from history.store import _NAMES, LOST_AT
from plex.paths import normalize
from tasks.context import Context
from tasks.status import status
from tests.harness.damage import damaged
from tests.harness.in_process import WorkerHarness
from tests.harness.plugin import ENTRY
from tests.harness.size import some
from worker.alerts import ALERTS, PROBLEM
from worker.collections import CREATING, ENDING
from worker.config_provider import RULE_PROBLEMS
from worker.reconcile.approval import DECLINED, HELD, VISIBLE
from worker.reconcile.forgetting import ACCEPTED
from worker.reconcile.passes import ASKED_FOR, BASELINE, COMPARE_AT, FULL_ENDED, SETTINGS
from worker.reconcile.plex_changes import INDEX
from worker.reconcile.quick import OFFERED, QUICK, RAN_AT

HOUR, DAY = 3_600.0, 86_400.0

DAMAGE = [
    (column, value)
    for column in _NAMES
    if column not in ("id", "scene_id")
    for value in (b"\xff\xfe", "{", 7)
]
NOT_UTF8 = "CAST(x'fffe' AS TEXT)"


def other_columns() -> list[tuple[str, str, str]]:
    """Return (table, column, value) of all tables; but not of row ids, which are numbers."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrate(db, 0.0)
        tables = [
            row[0]
            for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if not row[0].startswith("sqlite_")
        ]
        return [
            (table, column[1], value)
            for table in tables
            for column in db.execute(f"PRAGMA table_info({table})")
            if (table, column[1]) not in ROW_IDS
            for value in (NOT_UTF8, "x'fffe'", "'{'")
        ]


ROW_IDS = {
    ("agreements", "id"), ("passes", "id"), ("proposals", "scene_id"), ("migrations", "step"),
    ("changes", "id"),
}  # fmt: skip
#: These stopped all scenes of a studio, or all passes.
WORST = [
    ("collections", "name", NOT_UTF8),
    ("collections", "renaming", NOT_UTF8),
    ("choices", "path", NOT_UTF8),
    ("changes", "before", NOT_UTF8),
    ("proposals", "reason", NOT_UTF8),
    ("passes", "content", """'{"kinx": "full"}'"""),
]


STATES: dict[str, Any] = {
    ACCEPTED: 3,
    ALERTS: {"plex_down": {"at": 1.7e9, "open": True, "needs": None}},
    ASKED_FOR: 1.7e9,
    BASELINE: 1.7e9,
    COMPARE_AT: "03:30",
    CREATING: {"server/1": {"series": [1]}},
    DECLINED: {"drift": 1},
    ENDING: {"server/1/7": {"since": 1.7e9, "passes": [1.7e9]}},
    FULL_ENDED: 1.7e9,
    HELD: {"count": 300, "reasons": {"drift": 300}, "since": 1.7e9},
    INDEX: {"id": "x", "last": 3},
    LOST_AT: 1.0,
    OFFERED: [3],
    PROBLEM: {"text": "it answers 404", "since": 1.7e9},
    QUICK: {"watermark": 1.7e9, "related": {"tag": {"count": 1, "seen": {"1": "2024"}}}},
    RAN_AT: 1.7e9,
    RULE_PROBLEMS: ["a rule"],
    SETTINGS: {"seen": "x", "since": 1.7e9, "compared": "x"},
    VISIBLE: 2,
}


@pytest.mark.parametrize("name", STATES)
def test_a_damaged_state_stops_no_look_and_no_pass(harness: WorkerHarness, name: str) -> None:
    scene, item = harness.pair(groups=["Series"], tags=["One"])
    harness.edit(scene, "One")
    harness.new_worker(compares=True)
    harness.run_for(HOUR)
    history = harness.worker.history
    whole = {key: history.get(key, value) for key, value in STATES.items()}
    for number, value in enumerate(some(damaged(whole[name]), 4)):
        for key, one in {**whole, name: value}.items():
            history.set(key, one)
        harness.restart()
        harness.stash.change_silently(scene.id, title=f"No hook told {number}")
        harness.clock.advance(DAY)
        harness.run_for(HOUR / 2)
        assert item.title == f"No hook told {number}", value
        assert harness.worker.health.problem is None, value
        assert history.get(FULL_ENDED) not in (whole[FULL_ENDED], value), value
    assert harness.jobs() == []


def context_of(harness: WorkerHarness) -> Context:
    return Context(
        str(harness.data_dir), str(ENTRY), harness.client, harness.redactor,
        lambda *_: None, lambda *_: None, environ={},
    )  # fmt: skip


@pytest.mark.parametrize(("column", "value"), some(DAMAGE, 23))
def test_the_scene_syncs_again(harness: WorkerHarness, column: str, value: object) -> None:
    """At its next edit and by *Re-sync*; `tests/robust/test_files.py` has it with processes."""
    scene, item = harness.pair(tags=["One"])
    harness.edit(scene, "One")
    harness.run_for(60)
    assert item.title == "One"
    place = "CAST(? AS TEXT)" if isinstance(value, bytes) else "?"
    harness.worker.history._db.execute(f"UPDATE agreements SET {column} = {place}", (value,))
    harness.restart()
    harness.edit(scene, "Two")
    harness.run_for(60)
    assert item.title == "Two"
    harness.plex.person_sets(item.rating_key, "title", "By hand")
    harness.command("resync", scene_id=scene.id)
    harness.run_for(60)
    assert item.title == "Two"
    assert harness.jobs() == []
    assert harness.letters() == []


@pytest.mark.parametrize(("table", "column", "value"), WORST + some(other_columns(), 30))
def test_whatever_is_damaged_edits_and_passes_go_on(
    harness: WorkerHarness, table: str, column: str, value: str
) -> None:
    scene, item = harness.pair(studio="Studio", groups=["Series"])
    harness.edit(scene, "One")
    harness.restart()
    harness.run_for(60)
    assert item.title == "One"
    history = harness.worker.history
    path = normalize(item.parts[0].file)
    history.choose(scene.id, [Choice(scene.id, harness.worker.plex.server, item.rating_key, path)])
    history.propose([(scene.id, "drift")])
    history.save_pass(None, {"kind": "full", "started_at": harness.clock.now})
    for name in ("agreements", "choices", "passes", "proposals", "state", "collections", "changes"):
        assert history._run(f"SELECT 1 FROM {name}"), name
    history._db.execute(f"UPDATE OR IGNORE {table} SET {column} = {value}")
    harness.restart()
    other, new = harness.pair("b", studio="Studio")
    harness.edit(scene, "Two")
    harness.edit(other, "New")
    harness.run_for(60)
    if table == "choices" and harness.letters():
        assert "choose again" in harness.letters()[0]["error_message"]
        harness.worker.history.choose(scene.id, [])
        harness.command("retry")
        harness.run_for(60)
    assert (item.title, new.title) == ("Two", "New")
    harness.command("resync", scene_id=scene.id)
    harness.run_for(2 * 86_400)
    assert harness.worker.health.problem is None
    assert harness.jobs() == []
    assert harness.letters() == []
    assert harness.worker.history.passes() == {}
    json.dumps(status(context_of(harness), {}).to_dict())
    assert harness.command("undo", scene_id=scene.id)["scenes"] == 1
