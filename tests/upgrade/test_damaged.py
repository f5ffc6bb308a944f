"""Damaged files of version 0.1: what can be read is taken over, the rest is said."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from history.records import Status
from queue.operations import load_sync_timestamps
from tests.harness.size import some
from tests.upgrade import old_data
from tests.upgrade.harness import UpgradeHarness, frozen, grown
from worker.reconcile.passes import BASELINE

SAID = "Not all that version 0.1 knew can be read"


@pytest.fixture
def old(tmp_path: Path) -> Iterator[UpgradeHarness]:
    """The frozen data directory, before the first start of this version."""
    with frozen(tmp_path) as harness:
        yield harness


def run_sql(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        for statement in statements:
            database.execute(statement)


def assert_nothing_is_lost(harness: UpgradeHarness) -> None:
    """Assert that all that waited arrived, and that no scene was pushed that never was synced."""
    there = old_data.expected(old_data.since_left())
    assert harness.waiting() == 0
    for scene_id in there["edited"]:
        item = harness.plex.item(there["items"][str(scene_id)])
        assert item.title == harness.stash.scene(scene_id).title
    fresh = {harness.find_item(harness.stash.scene(one)) for one in there["never_synced"]}
    assert harness.wrote.isdisjoint({item.rating_key for item in fresh if item is not None})
    for name, names in there["own_names_in_plex"].items():
        assert set(names) <= set(harness.plex.item(there["items"][name]).genres)


@pytest.mark.parametrize(
    "content", [b"", b"not a database" * 500, b"SQLite format 3\0" + b"\1" * 9000]
)
def test_an_unreadable_memory_db(old: UpgradeHarness, content: bytes) -> None:
    for side in ("-wal", "-shm"):
        (old.data_dir / f"memory.db{side}").unlink(missing_ok=True)
    (old.data_dir / "memory.db").write_bytes(content)
    old.start()
    assert old.said(SAID) == 1
    assert_nothing_is_lost(old)
    assert (old.data_dir / "memory.db.imported").exists()


def test_no_memory_db(old: UpgradeHarness) -> None:
    (old.data_dir / "memory.db").unlink()
    old.start()
    assert old.said("memory.db is missing") == 1
    assert_nothing_is_lost(old)


@pytest.mark.parametrize("table", ["written", "choices"])
def test_a_missing_table(old: UpgradeHarness, table: str) -> None:
    run_sql(old.data_dir / "memory.db", f"DROP TABLE {table}")
    with old.opened() as history:
        assert bool(history.all_choices()) == (table != "choices")
        old.run_for(300.0)
    assert old.said(f"no table {table}") == 1
    assert_nothing_is_lost(old)


def test_rows_that_make_no_sense(old: UpgradeHarness) -> None:
    """The other rows are taken over."""
    run_sql(
        old.data_dir / "memory.db",
        "UPDATE written SET fields = '{' WHERE scene_id = 5",
        "UPDATE written SET fields = '[1]' WHERE scene_id = 6",
        "UPDATE written SET pending = '{\"title\": 7}' WHERE scene_id = 25",
        "UPDATE written SET fields = CAST(x'ff7b' AS TEXT) WHERE scene_id = 8",
        "UPDATE written SET rating_key = 'x' WHERE scene_id = 9",
        "INSERT INTO written VALUES (-4, 1, '{}', NULL, NULL, NULL)",
        "INSERT INTO choices VALUES (48, 'none')",
    )
    with old.opened() as history:
        there = old_data.expected()
        taken = {row.scene_id for row in history.with_status(*Status) if row.has_item}
        assert taken == {int(one) for one in there["items"]} - {5, 6, 8, 9, 25}
        assert {choice.scene_id for choice in history.all_choices()} == {46, 47}
        old.run_for(300.0)
    assert old.said("the records of 6 scenes are broken") == 1
    assert_nothing_is_lost(old)


def test_a_damaged_page_costs_only_its_own_rows(tmp_path: Path) -> None:
    with grown(tmp_path, 600) as (harness, made):
        file = harness.data_dir / "memory.db"
        with closing(sqlite3.connect(file)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            size = database.execute("PRAGMA page_size").fetchone()[0]
            pages = database.execute("PRAGMA page_count").fetchone()[0]
        content = bytearray(file.read_bytes())
        page = pages // 2
        content[page * size : (page + 1) * size] = b"\xff" * size
        file.write_bytes(content)
        with harness.opened() as history:
            taken = {row.scene_id for row in history.with_status(*Status) if row.has_item}
            assert 300 < len(taken) < 600
            assert taken < set(made.synced)
            harness.run_for(600.0)
            assert history.count() == {Status.IN_SYNC: 600}
        assert harness.said("memory.db: it is damaged") == 1
        assert harness.wrote == set()


@pytest.mark.parametrize(
    "content", some([None, "", "{", '{"seen_until": NaN}', '{"seen_until": "x"}', "[]"], 3)
)
def test_no_watermark(old: UpgradeHarness, content: str | None) -> None:
    file = old.data_dir / "queue" / "catch_up.json"
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    old.start()
    assert old.said("catch_up.json is damaged") == (content is not None)
    assert_nothing_is_lost(old)


def test_a_watermark_in_the_future_is_now(old: UpgradeHarness) -> None:
    later = old.clock.now + 31_000_000.0
    (old.data_dir / "queue" / "catch_up.json").write_text(f'{{"seen_until": {later}}}')
    with old.opened() as history:
        assert history.get(BASELINE) <= old.clock.now


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ("", ()),
        ("not JSON", ()),
        ('{"1": 1795281804.5, "2": 1795281', (1,)),
        ('{"1": 1795281804.5, "2": "x", "3": true, "4": 1795281804}', (1, 4)),
        ('{"1": 1e300, "5": 1795281804.5}', (5,)),
    ],
)
def test_broken_timestamps(old: UpgradeHarness, content: str, kept: tuple[int, ...]) -> None:
    (old.data_dir / "sync_timestamps.json").write_text(content)
    (old.data_dir / "sync_timestamps.journal").unlink()
    with old.opened() as history:
        assert set(kept) <= set(history.synced())
        assert len(history.synced()) <= len(kept) + 1
        old.run_for(300.0)
    assert old.said("sync_timestamps.json is damaged") == 1
    assert_nothing_is_lost(old)
    assert load_sync_timestamps(old.data_dir)


def test_dead_letters_that_make_no_sense(old: UpgradeHarness) -> None:
    run_sql(
        old.data_dir / "dlq.db",
        "UPDATE dead_letters SET details = '[1, 2]' WHERE scene_id = 50",
        "UPDATE dead_letters SET details = '{\"files\": [7]}' WHERE scene_id = 51",
        "UPDATE dead_letters SET details = '{', job = '{' WHERE scene_id = 48",
        "UPDATE dead_letters SET scene_id = NULL WHERE scene_id = 49",
    )
    with old.opened() as history:
        (row,) = history.of_scene(50)
        assert row.status is Status.NOT_IN_PLEX
        old.run_for(300.0)
        assert {row.status for row in history.of_scene(51)} == {Status.NOT_IN_PLEX}
    assert_nothing_is_lost(old)
    assert len(old.letters()) == 4


def test_a_locked_memory_db_is_not_concluded_from(
    old: UpgradeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.sqlite.BUSY_TIMEOUT", 0.01)
    with closing(sqlite3.connect(old.data_dir / "memory.db")) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError), old.opened():
            pass
    with old.opened() as history:
        assert len(history.all_choices()) == 2


def test_an_empty_directory_is_a_fresh_installation(tmp_path: Path) -> None:
    with frozen(tmp_path) as harness:
        for path in harness.data_dir.glob("*"):
            if path.name.startswith(("memory", "sync_timestamps")):
                path.unlink()
        (harness.data_dir / "queue" / "catch_up.json").unlink()
        harness.dlq.delete_older_than(0.0)
        harness.queue.import_spool()
        harness.queue.clear_waiting()
        with harness.opened() as history:
            harness.run_for(600.0)
            assert set(history.count()) == {Status.BASELINE}
        assert harness.wrote == set()
        assert [text for level, text in harness.notices() if "0.1" in text] == []
