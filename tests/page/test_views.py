"""What each view answers, out of a data directory with something of everything."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from common.locks import NoLocks
from common.sqlite import connect
from common.version import VERSION
from history.counts import STATUSES
from history.records import Status
from history.store import History
from page import state
from page.look import Look
from plex.index import FileIndex
from tests.page.support import CANDIDATES, NOW, OUTAGE, SERVER, ask, record
from worker.process import WorkerLock, mark_unfinished
from worker.state import save_state


def history(data_dir: Path) -> Any:
    return closing(connect(str(data_dir / "history.db")))


# --- state


def test_the_state_in_numbers(filled: Path) -> None:
    found = ask(filled, "state")
    assert found["version"] == VERSION
    assert found["now"] >= NOW
    counts = {name: number for name, number in found["counts"].items() if number}
    assert counts == {
        "baseline": 1, "in_sync": 2, "written": 1, "not_in_plex": 4, "ambiguous": 1, "failed": 3,
        "refused": 1, "skipped": 1, "ignored": 1, "kept": 1,
    }  # fmt: skip
    assert set(found["counts"]) == {*(status.value for status in Status), "kept"}
    # on record: 2, 3, 5, 6, 7, 15; and a failed job of scene 21
    assert found["needs"] == 7
    assert (found["waiting"], found["in_progress"]) == (2, 0)
    assert (found["checked_at"], found["full_at"], found["last_change_at"]) == (2000, 1990, 3002)
    assert found["plex"] == {"name": "NAS", "libraries": ["Films"]}
    assert found["folders"] == {"/data/a": 3, "/data/elsewhere": 1}
    assert (found["paused"], found["pause"]) == (False, None)
    assert (found["approval"], found["running"]) == (None, None)
    assert found["worker"] == {
        "alive": False, "since": None, "left_at": None, "left_because": None,
    }  # fmt: skip
    assert (found["is_set_up"], found["must_wake"], found["problem"]) == (True, True, None)
    assert ask(filled, "count").items() >= {"needs": 7, "problem": False}.items()


def test_the_statuses_are_those_of_the_records() -> None:
    assert set(STATUSES) == {status.value for status in Status}


def test_the_view_needs_no_index_of_a_database_from_before_them(filled: Path) -> None:
    before = ask(filled, "needs")
    with history(filled) as db:
        for name in ("in_trouble", "absent", "kept", "by_folder"):
            db.execute(f"DROP INDEX agreements_{name}")
        db.execute("ALTER TABLE agreements DROP COLUMN folder")
        db.execute("DROP TABLE changes")
        db.execute("PRAGMA user_version=2")
    assert ask(filled, "needs")["rows"] == before["rows"]
    found = ask(filled, "state")
    assert (found["needs"], found["folders"], found["last_change_at"]) == (7, {}, None)
    assert ask(filled, "changes")["runs"] == ask(filled, "run", run="x")["rows"] == []
    assert ask(filled, "scene", scene_id=5)["items"][0]["fields"]


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("count_by_status", "agreements_by_status"),
        ("count_kept", "agreements_kept"),
        ("count_folders", "agreements_by_folder"),
        ("needing", "agreements_absent"),
        ("needing", "agreements_in_trouble"),
    ],
)
def test_the_numbers_come_out_of_the_indexes(filled: Path, statement: str, index: str) -> None:
    """Reading 100,000 records at each poll would take longer than all the rest."""
    import history.counts as counts

    asked: list[str] = []
    with history(filled) as db:
        db.set_trace_callback(asked.append)
        ask_for = getattr(counts, statement)
        ask_for(db, NOW) if statement == "needing" else ask_for(db)
        db.set_trace_callback(None)
        plans = [
            str(db.execute(f"EXPLAIN QUERY PLAN {one}").fetchall())
            for one in asked
            if "agreements" in one
        ]
    assert any(f"INDEX {index}" in plan for plan in plans), plans
    assert all("INDEX" in plan for plan in plans), plans


def test_a_living_worker_is_shown_with_what_it_does(filled: Path) -> None:
    with history(filled) as db:
        History(db).save_pass(None, {"kind": "full", "total": 10, "done": 4, "command": None})
    lock = WorkerLock(str(filled))
    assert lock.acquire()
    try:
        found = ask(filled, "state")
        assert (found["worker"]["alive"], found["must_wake"]) == (True, True), "its look is old"
        with history(filled) as db:
            History(db).set("quick_pass_ran_at", time.time() - 300)
        assert ask(filled, "state")["must_wake"] is ask(filled, "count")["must_wake"] is False
        command = found["running"].pop("command")
        assert found["running"] == {"name": "sync", "done": 0, "left": 0}
        assert ask(filled, "command", id=command)["status"] == "in_progress"
        with closing(sqlite3.connect(filled / "queue" / "data.db")) as db, db:
            db.execute("UPDATE commands SET status = 2")
        assert ask(filled, "state")["running"] == {"name": "full", "done": 4, "left": 6}
    finally:
        lock.release()
    assert ask(filled, "state")["running"] is None


def test_since_when_the_worker_is_there_or_not(filled: Path) -> None:
    life = {"since": 10.0, "left_at": 20.0, "left_because": "Stash has not answered for a while"}
    save_state(str(filled), life)
    assert ask(filled, "state")["worker"] == {**life, "alive": False, "since": None}
    lock = WorkerLock(str(filled))
    assert lock.acquire()
    try:
        assert ask(filled, "state")["worker"] == {
            "alive": True, "since": 10.0, "left_at": None, "left_because": None,
        }  # fmt: skip
    finally:
        lock.release()
    save_state(str(filled), {"since": "x", "left_at": [], "left_because": {}})
    assert ask(filled, "state")["worker"]["left_because"] is None


def test_a_worker_that_makes_no_progress_is_a_problem(filled: Path) -> None:
    import os

    lock = WorkerLock(str(filled))
    assert lock.acquire()
    try:
        lock.sign()
        os.utime(lock.path, (1.0, 1.0))
        assert "makes no progress" in ask(filled, "state")["problem"]["text"]
        assert ask(filled, "count")["problem"] is True
    finally:
        lock.release()


@pytest.mark.parametrize(
    ("stored", "text", "action"),
    [
        ({"problem": "plex_url is not set: enter it", "action": "setup"}, "plex_url", "setup"),
        ({"problem": "PlexSync is switched off; edits are kept", "action": "resume"}, "off",
         "resume"),
        ({"problem": "Unexpected error: x"}, "Unexpected error: x", "check"),
        ({"plex": "open"}, "Plex does not answer. 2 edits wait; nothing is lost", "check"),
        ({"stash": "open", "plex": "closed"}, "Stash does not answer", "check"),
    ],
)  # fmt: skip
def test_the_workers_problem_is_the_pages(
    filled: Path, stored: dict[str, Any], text: str, action: str
) -> None:
    save_state(str(filled), stored)
    problem = ask(filled, "state")["problem"]
    assert text in problem["text"]
    assert problem["action"] == action
    assert problem["since"] >= NOW - 5
    assert ("when the worker last ran" in problem["text"]) is ("problem" in stored)
    assert ask(filled, "count")["problem"] is True


def test_an_outage_that_is_over_or_that_nobody_waits_for_is_no_problem(filled: Path) -> None:
    (filled / "unfinished").unlink(missing_ok=True)
    with closing(sqlite3.connect(filled / "queue" / "data.db")) as db, db:
        db.execute("DELETE FROM ack_queue_default")
    save_state(str(filled), {"plex": "open", "stash": "closed", "problem": None})
    assert ask(filled, "state")["problem"] is None
    save_state(str(filled), {"plex": "closed", "stash": "closed", "problem": None})
    mark_unfinished(str(filled))
    assert ask(filled, "state")["problem"] is None


def test_missing_packages_are_a_problem_and_the_numbers_are_shown(filled: Path) -> None:
    found = state.state(Look(str(filled), NOW, "Python packages are missing: requests"))
    assert found["problem"]["action"] == "install"
    assert found["needs"] == 7


def test_a_file_system_without_locks_is_a_problem(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (filled / "worker.lock").touch()

    def no_locks(descriptor: int, *, shared: bool = False) -> bool:
        raise NoLocks(95, "not supported")

    monkeypatch.setattr("worker.process.try_lock", no_locks)
    found = ask(filled, "state")
    assert "has no file locks" in found["problem"]["text"]
    assert found["must_wake"] is False


def test_what_waits_for_approval(filled: Path) -> None:
    with history(filled) as db:
        known = History(db)
        known.set("held", {"count": 300, "reasons": {"changed in Plex": 250, "new": 50}})
        assert ask(filled, "state")["approval"] == {
            "kind": "writes", "count": 300, "reason": "250 changed in Plex, 50 new",
        }  # fmt: skip
        known.set("fewer_scenes", 3)
        found = ask(filled, "state")["approval"]
        assert (found["kind"], found["count"]) == ("fewer_scenes", 3)
        known.set("paused", {"since": 1.0, "why": "you"})
        found = ask(filled, "state")
        assert (found["paused"], found["pause"]) == (True, {"since": 1.0, "why": "you"})
        assert found["must_wake"] is False, "a worker would do nothing"


# --- needs


def test_the_scenes_that_need_the_user(filled: Path) -> None:
    found = ask(filled, "needs")
    assert (found["total"], found["next"]) == (7, None)
    rows = found["rows"]
    assert [(row["scene_id"], row["status"]) for row in rows] == [
        (2, "ambiguous"), (15, "failed"), (3, "failed"), (5, "refused"),
        (7, "not_in_plex"), (6, "not_in_plex"), (21, "failed"),
    ]  # fmt: skip
    ambiguous, _, failed, refused, *_, job = rows
    assert ambiguous["reason"] == "may be any of 12"
    assert ambiguous["actions"] == ["choose", "retry", "ignore"]
    assert (len(ambiguous["candidates"]), ambiguous["more_candidates"]) == (8, 4)
    first = {key: value for key, value in CANDIDATES[0].items() if key != "files"}
    assert ambiguous["candidates"][0] == {
        **first, "path": "/media/1/one.mp4", "size": 100, "files": 1,
    }  # fmt: skip
    assert (failed["error"], failed["at"]) == ("PermanentError", 1003.0)
    assert refused["fields"] == ["studio", "thumb"]
    assert refused["actions"] == ["scale_cover", "retry", "ignore"]
    assert (refused["section"], refused["rating_key"]) == (2, 50)
    assert (job["error"], job["reason"], job["at"]) == ("PermanentError", "never on record", 500.0)


@pytest.mark.parametrize(
    ("status", "scenes"),
    [
        ("ambiguous", [2]),
        ("failed", [15, 3, 21]),
        ("refused", [5]),
        ("not_in_plex", [7, 6]),
        ("", [2, 15, 3, 5, 7, 6, 21]),
    ],
)
def test_pages_of_rows_have_each_scene_once(filled: Path, status: str, scenes: list[int]) -> None:
    for limit in range(1, 9):
        seen: list[int] = []
        after = ""
        for _ in range(20):
            found = ask(filled, "needs", status=status, after=after, limit=str(limit))
            assert found["total"] == len(scenes)
            assert len(found["rows"]) <= limit
            seen += [row["scene_id"] for row in found["rows"]]
            if found["next"] is None:
                break
            after = found["next"]
        assert seen == scenes, limit


def test_a_scene_with_two_troubles_is_listed_once_under_the_first(filled: Path) -> None:
    with history(filled) as db:
        History(db).save(record(5, Status.FAILED, reason="another item"))
    found = ask(filled, "needs")
    assert found["total"] == ask(filled, "count")["needs"] == 7
    assert [row["scene_id"] for row in found["rows"]] == [2, 15, 5, 3, 7, 6, 21]
    assert ask(filled, "needs", status="refused")["rows"] == []


def test_a_scene_that_was_solved_between_two_pages_is_skipped(filled: Path) -> None:
    found = ask(filled, "needs", limit=2)
    with history(filled) as db:
        known = History(db)
        (row,) = known.of_scene(3)
        known.update([row.id], status="in_sync")
    assert ask(filled, "needs", after=found["next"])["rows"][0]["scene_id"] == 5


def test_a_failed_job_without_a_scene_can_only_be_retried(filled: Path) -> None:
    with closing(sqlite3.connect(filled / "dlq.db")) as db, db:
        db.execute("UPDATE dead_letters SET scene_id = NULL WHERE scene_id = 21")
    row = ask(filled, "needs")["rows"][-1]
    assert (row["scene_id"], row["actions"]) == (None, ["retry"])


# --- scene


def test_a_scene_field_by_field(filled: Path) -> None:
    found = ask(filled, "scene", scene_id="5")
    assert (found["status"], found["reason"], found["is_queued"]) == ("refused", "no", True)
    (item,) = found["items"]
    assert (item["library"], item["path"]) == ("Films", "/media/a/5.mp4")
    assert item["plex_url"] == (
        f"http://nas:32400/web/index.html#!/server/{SERVER}/details?key=%2Flibrary%2Fmetadata%2F50"
    )
    fields = {one["name"]: one for one in item["fields"]}
    assert list(fields) == ["title", "summary", "studio", "genre"]
    states = {name: (one["state"], one["last"]) for name, one in fields.items()}
    assert states == {
        "title": ("in_sync", {"by": "plexsync", "at": 3000.0}),
        "summary": ("kept", {"by": "person", "at": None}),
        "studio": ("refused", {"by": "", "at": None}),
        "genre": ("in_sync", {"by": "plexsync", "at": 3001.0}),
    }
    assert fields["title"]["actions"] == ["keep_plex", "undo"]
    assert fields["summary"]["actions"] == ["take_stash"]
    assert fields["studio"]["why"] == "'X': no"
    assert fields["title"].items() >= {"wanted": "T", "before": "Old", "ours": "T"}.items()
    assert fields["genre"]["observed"] == ["a", "Mine"]
    assert item["cover"]["wanted"] == "0123456789ab"
    assert "413" in item["cover"]["why"]
    assert (item["art"]["wanted"], item["art"]["before"]) == ("fedcba987654", "media://of-p")
    assert item["art"]["state"] == "in_sync", "the record of the cover says what is up"
    assert "art" not in fields


def test_a_scene_of_two_items_shows_both_and_what_is_worst(filled: Path) -> None:
    found = ask(filled, "scene", scene_id=15)
    assert (found["status"], found["reason"]) == ("failed", "the second item")
    assert [item["rating_key"] for item in found["items"]] == [15, 16]


def test_an_ambiguous_scene_has_its_candidates_and_the_choice(filled: Path) -> None:
    found = ask(filled, "scene", scene_id=2)
    assert (found["items"], found["choice"]) == ([], [3])
    assert (len(found["candidates"]), found["more_candidates"]) == (8, 4)
    assert ask(filled, "scene", scene_id=11)["is_ignored"] is True


def test_an_unknown_scene_is_no_error(filled: Path) -> None:
    found = ask(filled, "scene", scene_id=99)
    assert (found["status"], found["items"], found["is_queued"]) == ("unknown", [], False)
    assert ask(filled, "scene", scene_id=31)["is_queued"] is True


@pytest.mark.parametrize(
    ("known", "state"),
    [
        ({"held": True, "kept": True}, "held"),
        ({"take": True, "kept": True}, "waiting"),
        ({"wanted": "a", "observed": "b", "sent": "a"}, "waiting"),
        ({"wanted": "a", "observed": "b", "waits": True}, "waiting"),
        ({"wanted": "a", "observed": "B", "form": "B"}, "in_sync"),
        ({"wanted": ["a"], "same": ["observed"]}, "in_sync"),
        ({"wanted": "a", "observed": "b"}, "not_ours"),
        ({"wanted": "a", "observed": "b", "ours": "a"}, "unknown"),
        ({"wanted": "a"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_state_of_a_field_and_why(filled: Path, known: dict[str, Any], state: str) -> None:
    with history(filled) as db:
        db.execute(
            "UPDATE agreements SET fields = ? WHERE scene_id = 1", (json.dumps({"title": known}),)
        )
    (field,) = ask(filled, "scene", scene_id=1)["items"][0]["fields"]
    assert field["state"] == state
    assert field["why"]
    assert ("take_stash" in field["actions"]) is (
        state not in ("in_sync", "waiting") and "wanted" in known
    )


def test_fields_that_cannot_be_read_are_left_out(filled: Path) -> None:
    with history(filled) as db:
        db.execute("UPDATE agreements SET fields = '[1', details = '7' WHERE scene_id IN (2, 5)")
    assert ask(filled, "scene", scene_id=5)["items"][0]["fields"] == []
    rows = ask(filled, "needs")["rows"]
    assert (rows[0]["candidates"], rows[3]["fields"]) == ([], [])


# --- changes, badges, command, details


def test_runs_the_latest_first(filled: Path) -> None:
    with history(filled) as db:
        known = History(db)
        (row,) = known.of_scene(1)
        for number in range(3):
            known.changes.note(
                row, {"title": (str(number), "T")}, f"sync-{number}", 4000.0 + number
            )
    found = ask(filled, "changes")
    runs = [(one["run"], one["cause"], one["fields"], one["scenes"]) for one in found["runs"]]
    assert runs[:3] == [(f"sync-{number}", "sync", 1, 1) for number in (2, 1, 0)]
    saved = next(one for one in found["runs"] if one["cause"] == "saved")
    assert (saved["first_at"], saved["last_at"]) == (3000.0, 3002.0)
    assert (saved["scenes"], saved["fields"], saved["can_undo"]) == (2, 2, True)
    assert saved["text"] == "saved in Stash"
    pages = []
    page = ask(filled, "changes", limit=2)
    while page["next"] is not None:
        pages += page["runs"]
        page = ask(filled, "changes", after=page["next"], limit=2)
    pages += page["runs"]
    assert pages == found["runs"]


def test_the_changes_of_a_run_by_scene(filled: Path) -> None:
    run = next(one["run"] for one in ask(filled, "changes")["runs"] if one["cause"] == "saved")
    with history(filled) as db:
        db.execute("UPDATE changes SET undone_at = 9.0 WHERE scene_id = 1")
    first = ask(filled, "run", run=run, limit=1)
    second = ask(filled, "run", run=run, limit=1, after=first["next"])
    rows = [*first["rows"], *second["rows"]]
    assert second["next"] is None
    assert [(row["scene_id"], row["is_undone"], row["can_undo"]) for row in rows] == [
        (1, True, False), (5, False, True),
    ]  # fmt: skip
    assert (rows[1]["before"], rows[1]["after"], rows[1]["rating_key"]) == ("Old", "T", 50)
    assert ask(filled, "run", run="another")["rows"] == []


def test_the_badges_of_a_page_of_cards(filled: Path) -> None:
    found = ask(filled, "badges", scene_ids=[1, "2", 15, 99])["statuses"]
    assert found == {"1": "in_sync", "2": "ambiguous", "15": "failed"}
    assert ask(filled, "badges", scene_ids="5,6")["statuses"] == {
        "5": "refused", "6": "not_in_plex",
    }  # fmt: skip
    assert ask(filled, "badges", scene_ids=[])["statuses"] == {}


def test_a_command_and_its_result(filled: Path) -> None:
    with closing(sqlite3.connect(filled / "queue" / "data.db")) as db, db:
        (done,) = db.execute("SELECT id FROM commands WHERE name = 'approve'").fetchone()
        db.execute("UPDATE commands SET progress = '[3, 4]' WHERE id = ?", (done,))
    assert ask(filled, "command", id=done).items() >= {
        "status": "done", "done": 3, "left": 4, "result": {"approved": 3},
    }.items()  # fmt: skip
    assert ask(filled, "command", id=7)["status"] == "unknown"


def test_the_details(filled: Path) -> None:
    (filled / "worker.log").write_text(
        "".join(f"line {number} \x1b[31m{'x' * 2000}\n" for number in range(200)), encoding="utf-8"
    )
    found = ask(filled, "details")
    assert found["hook_ms"].items() >= {"count": 3, "median": 20.0, "p95": 30.0}.items()
    assert found["data_dir"] == str(filled)
    assert (found["index"]["files"], found["without_scene"]) == (0, 0)
    lines = found["lines"]
    assert 0 < len(lines) <= 100
    assert lines[-1].startswith(r"line 199 \x1b[31m")
    assert all(len(line) < 1100 for line in lines)


def test_the_details_say_whether_plexs_events_are_followed(filled: Path) -> None:
    stream = {"connected": False, "since": NOW - 60, "problem": "Plex answered 404"}
    save_state(str(filled), {"plex": "closed", "stash": "closed", "events": stream})
    assert ask(filled, "details")["events"] is None, "without a worker nobody follows them"
    lock = WorkerLock(str(filled))
    assert lock.acquire()
    try:
        assert ask(filled, "details")["events"] == stream
        save_state(str(filled), {"events": {"connected": "yes"}})
        assert ask(filled, "details")["events"] is None
    finally:
        lock.release()


def test_the_details_say_outages_and_the_time_there(filled: Path) -> None:
    found = ask(filled, "details")
    assert found["outages"] == [OUTAGE]
    assert found["webhook_problem"]["text"] == "it answers 404"
    assert (found["full_at"], found["next_full"]) == (1990, ask(filled, "state")["next_full"])
    assert re.fullmatch(r"\d\d:\d\d \S.*", found["clock"])


@pytest.mark.parametrize("damaged", ["noon", "", 7, None, ["03:30"]])
def test_without_a_time_of_day_the_next_comparison_is_not_known(
    filled: Path, damaged: object
) -> None:
    with history(filled) as db:
        db.execute("UPDATE state SET value = ? WHERE name = 'compare_at'", (json.dumps(damaged),))
        db.execute("UPDATE state SET value = '[' WHERE name = 'outages'")
    assert ask(filled, "state")["next_full"] is None
    assert ask(filled, "details")["outages"] == []


def test_the_details_count_the_items_that_are_no_scenes(filled: Path) -> None:
    with closing(connect(str(filled / "index.db"))) as db:
        FileIndex(db)
        db.executemany(
            "INSERT INTO files VALUES (?, 1, ?, ?, ?, 1, 1, 1, ?)",
            [(1000 + n, path, path, path, n) for n, path in enumerate("abcdefghij")],
        )
    assert ask(filled, "details")["without_scene"] > 0
    before = ask(filled, "details")["without_scene"]
    with history(filled) as db:
        History(db).save(record(77, Status.IN_SYNC, 1003))
    assert ask(filled, "details")["without_scene"] == before - 1


def test_many_scenes_come_page_by_page(filled: Path) -> None:
    with history(filled) as db:
        History(db).save_all(record(number, Status.FAILED) for number in range(1000, 3000))
    found = ask(filled, "needs", status="failed", limit=100)
    assert (found["total"], found["next"]) == (2003, "1:2900")
    assert [row["scene_id"] for row in found["rows"]] == list(range(2999, 2899, -1))
