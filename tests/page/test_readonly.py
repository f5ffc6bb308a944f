"""A view changes no byte, creates no file, and says so where a database can't be read."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

import page.look
from history import schema
from page.readonly import Unreadable, look
from page.views import answer
from plex import index
from queue import dlq, table
from tests.page.support import VIEWS, ask, contents, writer

DATABASES = ("history.db", "dlq.db", "queue/data.db", "index.db")


def look_at_all(data_dir: Path) -> dict[str, object]:
    """Ask every view; return view → answer or error."""
    found: dict[str, object] = {}
    for view, arguments in VIEWS.items():
        try:
            found[view] = ask(data_dir, view, **arguments)
        except ValueError as error:
            found[view] = str(error)
    json.dumps(found)
    return found


def test_every_view_is_tried() -> None:
    assert set(VIEWS) == set(page.views.VIEWS)


def test_a_look_changes_no_byte(filled: Path) -> None:
    before = contents(filled)
    found = look_at_all(filled)
    assert all(isinstance(one, dict) for one in found.values()), found
    assert contents(filled) == before


def test_a_look_changes_no_byte_of_databases_that_a_worker_has_open(filled: Path) -> None:
    with writer(*(filled / name for name in DATABASES)) as other:
        other.run("CREATE TABLE another (id INTEGER)")  # stands in the write-ahead logs
        before = contents(filled)
        found = look_at_all(filled)
        assert all(isinstance(one, dict) for one in found.values()), found
        assert contents(filled) == before
        other.run("INSERT INTO another VALUES (1)")  # nobody's lock is in the way


def test_a_look_sees_what_stands_in_the_log_of_a_killed_worker_and_leaves_it(filled: Path) -> None:
    with writer(filled / "history.db") as other:
        other.run("UPDATE agreements SET status = 'failed' WHERE scene_id = 1")
        other.kill()
    before = contents(filled)
    assert "history.db-wal" in before
    found = ask(filled, "state")
    assert (found["problem"], found["counts"]["failed"]) == (None, 4)
    assert contents(filled) == before


def test_an_empty_log_that_was_left_is_no_obstacle(filled: Path) -> None:
    (filled / "history.db-wal").touch()
    before = contents(filled)
    assert ask(filled, "state")["counts"]["failed"] == 3
    assert contents(filled) == before


def test_a_log_that_only_the_worker_can_recover_is_said_and_left(filled: Path) -> None:
    with writer(filled / "history.db") as other:
        other.run("UPDATE agreements SET status = 'failed' WHERE scene_id = 1")
        other.kill()
    (filled / "history.db-shm").unlink()
    before = contents(filled)
    found = look_at_all(filled)
    assert "history.db was left open by a process that ended" in str(found["needs"])
    state = found["state"]
    assert isinstance(state, dict)
    assert "history.db was left open" in state["problem"]["text"]
    assert state["waiting"] == 2, "the queue is readable"
    assert contents(filled) == before


def test_a_missing_data_directory_is_not_created(tmp_path: Path) -> None:
    found = look_at_all(tmp_path / "data")
    assert list(tmp_path.iterdir()) == []
    state = found["state"]
    assert isinstance(state, dict)
    assert (state["problem"], state["needs"], state["is_set_up"]) == (None, 0, False)
    assert all(isinstance(one, dict) for one in found.values()), found


def test_databases_whose_tables_are_just_being_made_are_empty(tmp_path: Path) -> None:
    (tmp_path / "queue").mkdir()
    for name in DATABASES:
        (tmp_path / name).touch()
    (tmp_path / "layout.json").write_text('{"version": 1}', encoding="ascii")
    assert all(isinstance(one, dict) for one in look_at_all(tmp_path).values())


@pytest.mark.parametrize("name", DATABASES)
def test_a_damaged_database_is_said_in_one_sentence_and_the_others_are_read(
    filled: Path, name: str
) -> None:
    (filled / name).write_bytes(b"this is no database" * 1000)
    before = contents(filled)
    found = look_at_all(filled)
    assert contents(filled) == before
    errors = [one for one in found.values() if isinstance(one, str)]
    assert all("is damaged" in one and "\n" not in one for one in errors), errors
    state = found["state"]
    assert isinstance(state, dict)
    if name != "index.db":  # which is not asked for that
        assert f"{Path(name).name} is damaged" in state["problem"]["text"]
        assert state["problem"]["action"] == "check"
        assert ask(filled, "count")["problem"] is True
    if name != "history.db":
        assert state["counts"]["in_sync"] == 2


def test_a_damaged_page_does_not_end_the_process(filled: Path) -> None:
    file = filled / "history.db"
    content = bytearray(file.read_bytes())
    for start in range(4096, len(content), 4096):
        content[start : start + 64] = os.urandom(64)
    file.write_bytes(content)
    found = look_at_all(filled)
    assert "history.db is damaged" in str(found["needs"])


def test_a_text_that_is_not_utf_8_does_not_hide_the_others(filled: Path) -> None:
    with closing(sqlite3.connect(filled / "history.db")) as db, db:
        db.execute("UPDATE agreements SET reason = CAST(x'ff41' AS TEXT) WHERE scene_id = 2")
        db.execute("UPDATE agreements SET details = CAST(x'7bff' AS TEXT) WHERE scene_id = 3")
    found = ask(filled, "needs")
    assert found["rows"][0]["reason"] == "�A"
    assert [row["scene_id"] for row in found["rows"]] == [2, 15, 3, 5, 7, 6, 21]


COLUMNS = {
    "history.db": (
        "agreements.scene_id status reason server section rating_key path updated_at files"
        " checked_at synced_at fields cover details folder",
        "choices.rating_key", "changes.at run cause agreement scene_id field before after status",
        "state.value", "passes.content",
    ),
    "dlq.db": ("dead_letters.scene_id error_type error_message failed_at details",),
    "queue/data.db": ("ack_queue_default.data status", "commands.name progress result status"),
    "index.db": ("sections.listed_at", "files.path"),
}  # fmt: skip
WRONG = ("x'ff00fe'", "'text'", "9e999", "-1", "''")


@pytest.mark.parametrize("name", COLUMNS)
def test_whatever_a_column_holds_a_view_answers_or_says_one_sentence(
    filled: Path, name: str
) -> None:
    file, good = filled / name, (filled / name).read_bytes()
    columns = [
        (table, column)
        for one in COLUMNS[name]
        for table, _, names in [one.partition(".")]
        for column in names.split()
    ]
    for table_name, column in columns:
        for value in WRONG:
            # An index on a part of the JSON refuses some.
            with closing(sqlite3.connect(file)) as db, db, suppress(sqlite3.OperationalError):
                db.execute(f"UPDATE OR IGNORE {table_name} SET {column} = {value}")
            for view, answered in look_at_all(filled).items():
                where = (table_name, column, value, view)
                assert isinstance(answered, dict) or "\n" not in str(answered), where
                json.dumps(answered, allow_nan=False)
            file.write_bytes(good)


@pytest.mark.parametrize("name", ["history.db", "queue/data.db", "dlq.db"])
def test_a_newer_schema_is_left_alone_and_said(filled: Path, name: str) -> None:
    with closing(sqlite3.connect(filled / name)) as db:
        db.execute("PRAGMA user_version=99")
    text = ask(filled, "state")["problem"]["text"]
    assert "a newer PlexSync has used this data directory" in text


def test_the_newest_schemas_are_those_of_the_stores() -> None:
    assert page.look.HISTORY_SCHEMA == schema.VERSION
    assert page.look.QUEUE_SCHEMA == table._VERSION
    assert page.look.LETTERS_SCHEMA == dlq._VERSION
    assert page.look.INDEX_SCHEMA == index._VERSION


def test_a_newer_data_directory_is_left_alone_and_said(filled: Path) -> None:
    (filled / "layout.json").write_text('{"version": 99}', encoding="ascii")
    assert "a newer PlexSync" in ask(filled, "state")["problem"]["text"]


def test_data_of_an_older_version_are_said_to_wait(filled: Path) -> None:
    (filled / "layout.json").unlink()
    assert "of an older version" in ask(filled, "state")["problem"]["text"]


def test_a_locked_database_is_said_and_not_waited_for(filled: Path) -> None:
    with writer(filled / "history.db") as other:
        other.run("PRAGMA locking_mode=EXCLUSIVE")
        other.run("CREATE TABLE another (id INTEGER)")
        problem = ask(filled, "state")["problem"]
    assert "history.db is locked by another process" in problem["text"]
    assert problem["action"] == "retry"


def test_a_database_that_is_being_replaced_is_not_opened(filled: Path) -> None:
    (filled / "history.db.rescue").touch()
    assert "is being replaced" in ask(filled, "state")["problem"]["text"]


def test_a_database_that_was_written_during_the_look_is_read_again(filled: Path) -> None:
    """Without a write-ahead log, SQLite takes no lock and sees nothing of another process."""
    path = str(filled / "history.db")
    seen: list[str] = []

    def read(db: sqlite3.Connection) -> str:
        if not seen:
            with writer(Path(path)) as other:
                other.run("UPDATE agreements SET reason = 'new' WHERE scene_id = 3")
                other.run("PRAGMA wal_checkpoint(TRUNCATE)")
                other.kill()
            for side in ("-wal", "-shm"):
                Path(path + side).unlink()
        (reason,) = db.execute("SELECT reason FROM agreements WHERE scene_id = 3").fetchone()
        seen.append(reason)
        return str(reason)

    assert look(path, 99, read) == "new"
    assert len(seen) == 2


def test_a_database_that_a_process_opens_and_closes_meanwhile_is_read_right(filled: Path) -> None:
    """Between two looks at its file, a process may have written and gone."""
    script = (
        "import sqlite3, sys\n"
        "for number in range(150):\n"
        "    db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "    db.execute('UPDATE agreements SET reason = ?, path = ? WHERE scene_id = 3',"
        " (str(number), str(number)))\n"
        "    db.close()\n"
    )
    path = str(filled / "history.db")
    other = subprocess.Popen([sys.executable, "-c", script, path])
    query = "SELECT reason, path FROM agreements WHERE scene_id = 3"
    last, looks = -1, 0
    while other.poll() is None:
        try:
            row = look(path, 99, lambda db: db.execute(query).fetchone())
        except Unreadable as error:
            assert "in a moment" in str(error) or "left open" in str(error), error
            continue
        assert row is not None
        looks += 1
        if row[0].isdecimal():
            assert row[0] == row[1]
            assert int(row[0]) >= last
            last = int(row[0])
    assert other.returncode == 0
    assert looks


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_path_may_have_any_character(tmp_path: Path) -> None:
    folder = tmp_path / "100% of #1? é"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "a.db")) as db:
        db.execute("CREATE TABLE one (id INTEGER)")
        db.execute("PRAGMA user_version=1")
    path = str(folder / "a.db")
    assert look(path, 1, lambda db: db.execute("SELECT count(*) FROM one").fetchone()) == (0,)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anything")
def test_a_data_directory_that_can_only_be_read_is_shown(filled: Path) -> None:
    for path in (filled, filled / "queue"):
        path.chmod(0o500)
    try:
        assert ask(filled, "state")["counts"]["in_sync"] == 2
    finally:
        for path in (filled, filled / "queue"):
            path.chmod(0o700)


def test_a_copy_without_side_files_reads_the_same(filled: Path, tmp_path: Path) -> None:
    shutil.copytree(filled, tmp_path / "copy")
    one, other = (answer(str(place), {"view": "needs"}) for place in (filled, tmp_path / "copy"))
    assert one["rows"] == other["rows"]
