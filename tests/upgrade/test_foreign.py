"""Databases of an older program with the same id and place, and of a newer PlexSync."""

from __future__ import annotations

import json
import pickle
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import common.layout as layout
from queue.spool import spooled
from tests.harness.installation import ProcessHarness
from tests.harness.processes import wait_until
from tests.harness.results import queued
from tests.tasks import run_task
from worker.foreign import foreign_letters, foreign_queue

_TABLE = (
    "CREATE TABLE ack_queue_default"
    " (_id INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB, timestamp FLOAT, status INTEGER)"
)
_JOB = {"scene_id": 1, "update_type": "metadata", "data": {}, "job_key": "scene_1"}


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ProcessHarness]:
    with ProcessHarness(tmp_path) as harness:
        harness.data_dir.mkdir(mode=0o700)
        yield harness


def make(file: Path, *statements: str | tuple[str, tuple[object, ...]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file)) as database:
        for statement in statements:
            if isinstance(statement, str):
                database.execute(statement)
            else:
                database.execute(*statement)
        database.commit()


def row(data: bytes, status: int) -> tuple[str, tuple[object, ...]]:
    insert = "INSERT INTO ack_queue_default (data, timestamp, status) VALUES (?, 1.0, ?)"
    return insert, (data, status)


@pytest.mark.parametrize("status", [0, 1, 2])
def test_pickled_rows_are_set_aside_and_every_save_goes_through(
    harness: ProcessHarness, status: int
) -> None:
    """Its dead letters have other columns: each save ended with an error, no worker started."""
    scene, item = harness.pair()
    queue, dlq = harness.data_dir / "queue" / "data.db", harness.data_dir / "dlq.db"
    make(queue, _TABLE, row(pickle.dumps(_JOB), status))
    make(
        dlq,
        "CREATE TABLE dead_letters (id INTEGER PRIMARY KEY, job_data BLOB, failed TIMESTAMP)",
        "INSERT INTO dead_letters VALUES (1, 'theirs', 5)",
    )
    harness.save(scene, "First")
    harness.wait_for_title(item, "First")
    harness.save(scene, "Second")
    harness.wait_for_title(item, "Second")
    (kept,) = queue.parent.glob("data.db.broken-*")
    with closing(sqlite3.connect(kept)) as database:
        assert database.execute("SELECT data FROM ack_queue_default").fetchall() == [
            (pickle.dumps(_JOB),)
        ]
    (letters,) = harness.data_dir.glob("dlq.db.broken-*")
    with closing(sqlite3.connect(letters)) as database:
        assert database.execute("SELECT job_data FROM dead_letters").fetchall() == [("theirs",)]
    said = [text for text in harness.errors_in_stash() if "another program's" in text]
    assert len(said) == 2
    assert any("1 edits that waited in it can't be read" in text for text in said)


def test_a_task_sets_them_aside_too(harness: ProcessHarness) -> None:
    scene, item = harness.pair()
    make(harness.data_dir / "queue" / "data.db", _TABLE, row(pickle.dumps(_JOB), 1))
    run_task(harness, "Sync all scenes")
    assert item.title == scene.title
    assert list((harness.data_dir / "queue").glob("data.db.broken-*"))


def test_jobs_in_json_without_our_indexes_stay(tmp_path: Path) -> None:
    """persist-queue alone writes such a file; its jobs are ours."""
    file = tmp_path / "data.db"
    make(file, _TABLE, row(json.dumps(_JOB).encode(), 1), row(json.dumps(_JOB).encode(), 5))
    assert foreign_queue(str(file)) is None


@pytest.mark.parametrize(
    "statements",
    [
        [_TABLE, row(b"\x80\x04", 5)],
        [_TABLE, row(b"[1]", 1)],
        [_TABLE, row(b"{}", 1)],
        ["CREATE TABLE ack_queue_default (id INTEGER, payload BLOB)"],
    ],
)
def test_other_rows_and_columns_are_foreign(
    tmp_path: Path, statements: list[str | tuple[str, tuple[object, ...]]]
) -> None:
    file = tmp_path / "data.db"
    make(file, *statements)
    assert foreign_queue(str(file))


def test_our_own_databases_are_not_foreign(harness: ProcessHarness) -> None:
    scene, item = harness.pair()
    harness.save(scene, "First")
    harness.wait_for_title(item, "First")
    assert foreign_queue(str(harness.data_dir / "queue" / "data.db")) is None
    assert foreign_letters(str(harness.data_dir / "dlq.db")) is None


# --- a newer PlexSync


def newer(file: Path) -> bytes:
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA user_version=99")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file.read_bytes()


@pytest.mark.parametrize("name", ["queue/data.db", "dlq.db", "layout.json"])
def test_what_a_newer_version_wrote_is_left_alone_and_edits_are_kept(
    harness: ProcessHarness, name: str
) -> None:
    scene, item = harness.pair()
    harness.save(scene, "First")
    harness.wait_for_title(item, "First")
    harness.wait_for_empty_queue()
    harness.stop_worker()
    file = harness.data_dir / name
    if name == "layout.json":
        file.write_text(json.dumps({"version": 99, "later": True}))
        before = file.read_bytes()
    else:
        before = newer(file)
    harness.save(scene, "Second")
    wait_until((harness.data_dir / "notices.jsonl").exists, "the worker has left")
    harness.wait_for_exit()
    harness.save(scene, "Third")
    harness.wait_for_exit()
    assert item.title == "First"
    assert file.read_bytes() == before
    assert [text for text in harness.errors_in_stash() if "newer PlexSync" in text]
    if name == "dlq.db":
        assert len(queued(harness.data_dir)) == 1
    else:
        assert len(spooled(str(harness.data_dir / "queue"))) == 2
    stderr = harness.data_dir / "worker.stderr"
    assert "Traceback" not in stderr.read_text()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": "1"}', '{"version": true}'])
def test_a_layout_that_can_not_be_read_is_found_out_anew(
    harness: ProcessHarness, content: str
) -> None:
    scene, item = harness.pair()
    harness.save(scene, "First")
    harness.wait_for_title(item, "First")
    harness.stop_worker()
    (harness.data_dir / "layout.json").write_text(content)
    harness.save(scene, "Second")
    harness.wait_for_title(item, "Second")
    assert layout.version_of(layout.load(str(harness.data_dir))) == layout.VERSION
