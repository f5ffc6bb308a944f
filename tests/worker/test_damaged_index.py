"""A damaged value in the list of Plex's files stops nothing: the list is made anew."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from common.sqlite import connect
from plex.index import FileIndex
from tasks.check import check
from tasks.context import Context
from tasks.status import status
from tests.harness.in_process import WorkerHarness
from tests.harness.plugin import ENTRY
from tests.harness.size import some

NOT_UTF8 = "CAST(x'ff00fe' AS TEXT)"


def columns() -> list[tuple[str, str]]:
    """Return (table, column) of the whole database; but not of a row id, which is a number."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        FileIndex(db)
        return [
            (table, column[1])
            for table in ("about", "sections", "files")
            for column in db.execute(f"PRAGMA table_info({table})")
            if (table, column[1]) != ("sections", "section_id")
        ]


DAMAGE = [
    (table, column, value)
    for table, column in columns()
    for value in (NOT_UTF8, "x'ff00fe'", "0.5")
]
#: These stopped all syncing, or that of one scene.
WORST = [
    ("about", "server", NOT_UTF8),
    ("sections", "marks", NOT_UTF8),
    ("sections", "newest", "'x'"),
    ("sections", "listed_at", "'x'"),
    ("files", "path", NOT_UTF8),
]


def context(harness: WorkerHarness) -> Context:
    return Context(
        str(harness.data_dir), str(ENTRY), harness.client, harness.redactor,
        lambda *_: None, lambda *_: None, environ={},
    )  # fmt: skip


@pytest.mark.parametrize(("table", "column", "value"), WORST + some(DAMAGE, 23))
def test_the_running_worker_goes_on(
    harness: WorkerHarness, table: str, column: str, value: str
) -> None:
    scene, item = harness.pair()
    harness.edit(scene, "One")
    harness.run_for(60)
    assert item.title == "One"
    harness.worker.index._db.execute(f"UPDATE {table} SET {column} = {value}")
    other, new = harness.pair("b")
    harness.edit(scene, "Two")
    harness.edit(other, "New")
    harness.run_for(60)
    assert (item.title, new.title) == ("Two", "New")
    assert harness.jobs() == []
    assert harness.letters() == []
    assert "can't write its files" not in str(harness.notices())


def test_the_user_reads_one_line(harness: WorkerHarness) -> None:
    scene, _ = harness.pair()
    harness.edit(scene, "One")
    harness.run_for(60)
    harness.worker.index._db.execute(f"UPDATE files SET path = {NOT_UTF8}")
    harness.edit(scene, "Two")
    harness.run_for(60)
    ((level, text),) = harness.notices()
    assert level == "warning"
    assert "index.db) was damaged; Plex is asked for it again" in text


@pytest.mark.parametrize(("table", "column", "value"), WORST)
def test_check_setup_and_status_go_on(
    harness: WorkerHarness, table: str, column: str, value: str
) -> None:
    harness.pair()
    assert check(context(harness), {}).ok
    with closing(connect(str(harness.data_dir / "index.db"))) as db:
        db.execute(f"UPDATE {table} SET {column} = {value}")
    assert status(context(harness), {}).ok
    result = check(context(harness), {})
    assert result.ok, result.lines
    assert "Libraries: Scenes with 1 files" in result.lines
