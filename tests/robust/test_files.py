"""A damaged database costs only what can't be read in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from queue.dlq import DeadLetterQueue
from queue.models import create_sync_job
from queue.recovery import check_database
from tests.harness.base import PLUGIN
from tests.harness.installation import ProcessHarness
from tests.harness.processes import stop_workers, wait_until
from tests.harness.results import queued
from tests.robust.support import no_worker, run_sql, wait_for_titles, wait_until_said, waiting_edits


def checkpointed(file: Path) -> bytearray:
    """Return the content of a database, without what is in its write-ahead log only."""
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return bytearray(file.read_bytes())


@pytest.mark.parametrize("byte", [18, 19])
def test_a_header_that_makes_the_queue_read_only(harness: ProcessHarness, byte: int) -> None:
    with no_worker(harness):
        pairs = waiting_edits(harness, 2)
        file = harness.data_dir / "queue" / "data.db"
        content = checkpointed(file)
        content[byte] = 3
        file.write_bytes(content)
    pairs.append(harness.pair("last"))
    harness.save(pairs[-1][0], "Last")
    harness.wait_for_title(pairs[-1][1], "Last")
    if byte == 18:  # of byte 19 nothing in the file can be read
        wait_for_titles(harness, pairs)
    assert list(file.parent.glob("data.db.broken-*"))


def test_an_index_whose_report_is_not_utf8(harness: ProcessHarness) -> None:
    scene, item = harness.pair("a")
    harness.save(scene, "One")
    harness.wait_for_title(item, "One")
    assert stop_workers(harness.data_dir)
    file = harness.data_dir / "index.db"
    content = checkpointed(file)
    name = b"files_by_path"
    for old in (b"files_by_path", b"files_by_name"):
        content = content.replace(old, old[:-4] + b"\xff\xfe\xff\xfe")
    assert name not in content
    file.write_bytes(content)
    with (
        pytest.raises((sqlite3.Error, UnicodeDecodeError)),
        closing(sqlite3.connect(file)) as database,
    ):
        database.execute("PRAGMA integrity_check").fetchall()
    harness.save(scene, "Two")
    harness.wait_for_title(item, "Two")


def test_a_damaged_index_of_the_dead_letters_loses_none(harness: ProcessHarness) -> None:
    harness.data_dir.mkdir(mode=0o700)
    with closing(DeadLetterQueue(harness.data_dir)) as letters:
        for number in range(1, 31):
            letters.add(create_sync_job(1000 + number, "metadata", {}), ValueError("no"), 0)
    file = harness.data_dir / "dlq.db"
    content = checkpointed(file)
    ((root,),) = run_sql(
        file, "SELECT rootpage FROM sqlite_master WHERE name = 'one_letter_per_job'"
    )
    size = int.from_bytes(content[16:18], "big")
    assert isinstance(root, int)
    content[(root - 1) * size : root * size] = b"\xa5" * size
    file.write_bytes(content)
    scene, item = harness.pair("a")
    harness.save(scene, "New")
    harness.wait_for_title(item, "New")
    assert len(harness.letters()) == 30
    wait_until_said(harness, "30 failed scenes were read from it")


@pytest.mark.parametrize(
    ("column", "value"), [("fields", b"\xff\xfe"), ("files", "{"), ("status", 7)]
)
def test_a_byte_of_a_history_row(harness: ProcessHarness, column: str, value: object) -> None:
    """The scene syncs again, at its next save and by *Re-sync*.

    `tests/worker/test_damaged_records.py` has every column, in one process.
    """
    scene, item = harness.pair("a", tags=["One"])
    harness.save(scene, "One")
    harness.wait_for_title(item, "One")
    harness.wait_for_empty_queue()
    assert stop_workers(harness.data_dir)
    place = "CAST(? AS TEXT)" if isinstance(value, bytes) else "?"
    run_sql(harness.data_dir / "history.db", f"UPDATE agreements SET {column} = {place}", value)
    harness.save(scene, "Two")
    harness.wait_for_title(item, "Two")
    job = harness.stash.run_task(PLUGIN, "Re-sync scene", {"scene_id": str(scene.id)})
    job.wait(240)
    harness.wait_for_title(item, "Two")
    wait_until(lambda: not queued(harness.data_dir), "an empty queue")


def test_a_read_only_byte_is_noticed_in_every_database(tmp_path: Path) -> None:
    file = tmp_path / "some.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE t (x)")
        database.commit()
    assert check_database(str(file)) is None
    content = bytearray(file.read_bytes())
    content[18] = 3
    file.write_bytes(content)
    assert check_database(str(file)) is not None
