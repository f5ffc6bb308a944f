"""Changes that no event tells of: PlexSync compares Stash, its records and Plex again and again."""

from __future__ import annotations

import os
import sqlite3
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from common.sqlite import connect
from history.store import History
from queue.inbox import Inbox
from queue.models import create_sync_job
from tests.harness.installation import ProcessHarness
from tests.harness.processes import stop_workers, wait_until
from tests.harness.results import queued
from tests.harness.size import long, some
from tests.simulators.plex import Ignored, PlexItem
from tests.simulators.stash import Scene
from tests.tasks import run_task
from worker.bootstrap import open_history_readonly
from worker.reconcile.passes import FULL_ENDED
from worker.reconcile.quick import RAN_AT

HOUR = 3600.0
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
#: A quick pass every second, a full one every two minutes.
OFTEN = {"PLEXSYNC_TIME_SCALE": "0.0015"}
#: A full pass every four seconds, and quick ones without a pause.
ALL_THE_TIME = {"PLEXSYNC_TIME_SCALE": "0.00005"}

Pairs = list[tuple[Scene, PlexItem]]
Make = Callable[..., ProcessHarness]

#: kind → (field of the scene, reader of the item's values in Plex, what it shows)
KINDS: dict[str, tuple[str, Callable[[PlexItem], object], object]] = {
    "performer": ("performers", lambda item: item.actors, ["New"]),
    "studio": ("studio", lambda item: item.studio, "New"),
    "tag": ("tags", lambda item: item.genres, ["New"]),
    "group": ("groups", lambda item: item.collections, ["New"]),
}


def synced(harness: ProcessHarness, count: int = 3, **fields: Any) -> Pairs:
    """Add scenes, sync them all by the task, and have a worker watch them."""
    fields = {"updated_at": time.time() - 40 * HOUR, **fields}
    pairs = [harness.pair(f"file{number}", **fields) for number in range(count)]
    done = run_task(harness, "Sync all scenes")
    assert done.output["synced"] == count, done.log
    watch(harness)
    return pairs


def watch(harness: ProcessHarness) -> None:
    """Have a worker at work, and wait until it has compared once."""
    scene, item = harness.pair(f"watched{time.monotonic_ns()}")
    harness.save(scene, title="Watched")
    harness.wait_for_title(item, "Watched")
    settle(harness)


def settle(harness: ProcessHarness) -> None:
    """Wait until a whole quick pass is over, and all that it queued."""
    before = passes(harness)
    wait_until(lambda: passes(harness) >= before + 2, "quick passes")
    harness.wait_for_empty_queue()


def make_full_pass_due(harness: ProcessHarness) -> None:
    """End the worker, and have the next one begin with a full pass, as after a day."""
    harness.stop_worker()
    with closing(connect(str(harness.data_dir / FILES["history.db"]))) as database:
        for state in (RAN_AT, FULL_ENDED):
            History(database).set(state, None)


def passes(harness: ProcessHarness) -> int:
    requests = [exchange.request for exchange in harness.stash.log.all()]
    return sum(b"PlexSyncLatest" in request.body for request in requests)


def wait_for(harness: ProcessHarness, condition: Callable[[], object]) -> None:
    wait_until(condition, lambda: harness.worker_log()[-3000:])


def edit_in_plex(harness: ProcessHarness, item: PlexItem, **fields: Any) -> None:
    """Edit an item as Plex's own app does, which locks the fields."""
    query = {"type": 1, "id": item.rating_key, "X-Plex-Token": harness.plex.token}
    for name, value in fields.items():
        names = {name: value} if isinstance(value, str) else dict(enumerate(value))
        for index, one in names.items():
            query[f"{name}.value" if isinstance(value, str) else f"{name}[{index}].tag.tag"] = one
        query[f"{name}.locked"] = 1
    section = f"{harness.plex.url}/library/sections/{item.library.key}"
    request = urllib.request.Request(f"{section}/all?{urllib.parse.urlencode(query)}", method="PUT")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).close()


def hooks(harness: ProcessHarness) -> int:
    return len(harness.stash.plugins.runs())


# --- renames, deletions and merges


@pytest.mark.parametrize(
    ("with_hook", "kind"), some([(one, kind) for kind in KINDS for one in (False, True)], 2)
)
def test_a_new_name_reaches_all_its_scenes_and_no_other(
    make_harness: Make, kind: str, with_hook: bool
) -> None:
    harness = make_harness(env=OFTEN)
    field, shown, new = KINDS[kind]
    named: dict[str, Any] = {field: "Old" if field == "studio" else ["Old"]}
    pairs = synced(harness, **named)
    _, other = harness.pair("other")
    settle(harness)
    ran, writes = hooks(harness), len(harness.plex.writes)
    if with_hook:
        getattr(harness.stash, f"rename_{kind}")("Old", "New")
    else:
        harness.stash.rename_silently(kind, "Old", "New")
    wait_for(harness, lambda: all(shown(item) == new for _, item in pairs))
    settle(harness)
    assert hooks(harness) == ran + with_hook
    written = {write.rating_key for write in harness.plex.writes[writes:]}
    if kind == "group":  # its collection is renamed, and no item is written
        assert (written, len(harness.plex.collection_writes)) == (set(), 1)
    else:
        assert written == {item.rating_key for _, item in pairs}
    assert other.title == "Title of other", "it was new, and synced before"


def test_a_deleted_tag_leaves_plex_and_so_does_a_merged_one(make_harness: Make) -> None:
    harness = make_harness(env=OFTEN)
    pairs = synced(harness, tags=["Stays", "Goes", "Source", "Target"])
    harness.stash.destroy_silently("tag", "Goes")
    wait_for(harness, lambda: all("Goes" not in item.genres for _, item in pairs))
    harness.stash.merge_silently("tag", ["Source"], "Target")
    stop_workers(harness.data_dir)
    run_task(harness, "Sync all scenes")
    assert {tuple(sorted(item.genres)) for _, item in pairs} == {("Stays", "Target")}


# --- imports, and covers within the second of an edit


def test_an_imported_scene_with_old_dates_is_synced(make_harness: Make) -> None:
    harness = make_harness(env=OFTEN)
    synced(harness, 1)
    make_full_pass_due(harness)
    item = harness.add_item("imported")
    long_ago = time.time() - 1000 * HOUR
    harness.stash.import_scene(
        created_at=long_ago,
        updated_at=long_ago,
        title="Imported",
        files=[("/data/imported.mp4", 100)],
    )
    watch(harness)
    wait_for(harness, lambda: item.title == "Imported")


def test_an_import_over_a_known_scene_that_moves_its_date_back_is_synced(
    make_harness: Make,
) -> None:
    harness = make_harness(env=OFTEN)
    ((scene, item),) = synced(harness, 1)
    make_full_pass_due(harness)
    harness.stash.import_scene(
        replaces=scene.id,
        created_at=scene.created_at,
        updated_at=time.time() - 1000 * HOUR,
        title="As it was",
    )
    watch(harness)
    wait_for(harness, lambda: item.title == "As it was")


def test_a_cover_set_in_the_second_of_a_synced_edit_is_uploaded(make_harness: Make) -> None:
    """Its address names that second, so until it is over the cover is looked at again."""
    harness = make_harness(env=OFTEN)
    watch(harness)
    scene, _ = harness.pair("cover", cover=PNG)
    second = int(time.time()) + 6  # still open when the first cover is fetched
    harness.stash.change_silently(scene.id, cover=PNG + b"first", updated_at=second)
    with closing(Inbox(str(harness.data_dir), lock_timeout=240)) as inbox:
        inbox.put(create_sync_job(scene.id, "metadata", {"cover_image": True}))
    wait_for(harness, lambda: bool(harness.plex.uploads))
    assert harness.plex.uploads[-1].data == PNG + b"first"
    harness.stash.change_silently(scene.id, cover=PNG + b"second", updated_at=second)
    wait_for(harness, lambda: harness.plex.uploads[-1].data == PNG + b"second")
    harness.wait_for_empty_queue()
    assert len(harness.plex.uploads) == 2


# --- items that are removed, added again, emptied


def test_an_item_that_was_removed_and_added_again_gets_everything_back(make_harness: Make) -> None:
    harness = make_harness(env=OFTEN)
    pairs = synced(harness, tags=["One"], studio="Studio", details="Text")
    new = [harness.plex.replace_item(item.path) for _, item in pairs]
    wait_for(harness, lambda: [item.title for item in new] == [scene.title for scene, _ in pairs])
    settle(harness)
    assert [harness.differences(scene) for scene, _ in pairs] == [[]] * 3
    assert run_task(harness, "Status").output["needing_you"] == 0


def test_an_item_emptied_by_a_refresh_gets_everything_back(make_harness: Make) -> None:
    """Without locks, a refresh replaces what PlexSync wrote."""
    harness = make_harness(env=OFTEN)
    harness.configure(lock_fields=False)
    ((scene, item),) = synced(harness, 1, tags=["One"], studio="Studio", details="Text")
    harness.plex.refresh_item(item.rating_key)
    assert item.title != scene.title
    wait_for(harness, lambda: item.title == scene.title)
    settle(harness)
    assert harness.differences(scene) == []


def test_an_item_that_comes_late_gets_the_scene_without_an_edit(make_harness: Make) -> None:
    harness = make_harness(env=OFTEN)
    synced(harness, 1)
    scene = harness.add_scene("late")
    settle(harness)
    assert not harness.letters()
    item = harness.add_item("late")
    wait_for(harness, lambda: item.title == scene.title)


def test_a_persons_change_in_plex_stays_until_stash_changes(make_harness: Make) -> None:
    harness = make_harness(env=OFTEN)
    ((scene, item),) = synced(harness, 1, details="Text")
    edit_in_plex(harness, item, title="By hand")
    settle(harness)
    assert item.title == "By hand"
    assert run_task(harness, "Status").output["kept"] == 1
    harness.stash.change_silently(scene.id, details="Other text")
    wait_for(harness, lambda: item.summary == "Other text")
    assert item.title == "By hand", "its own value did not change"
    harness.stash.change_silently(scene.id, title="Later")
    harness.wait_for_title(item, "Later")


# --- damaged files

FILES = {
    "sync_timestamps.json": "sync_timestamps.json",
    "history.db": "history.db",
    "dlq.db": "dlq.db",
    "index.db": "index.db",
    "queue": os.path.join("queue", "data.db"),
}


@pytest.mark.parametrize("name", some(FILES, 1))
@pytest.mark.parametrize("where", [0.5], ids=lambda where: f"at {where}")
def test_one_damaged_byte_loses_nothing_and_writes_nothing_wrong(
    make_harness: Make, name: str, where: float
) -> None:
    harness = make_harness(env=OFTEN)
    pairs = synced(harness, 4, tags=["One", "Two"], details="Text")
    lost = harness.stash.add_scene(title="No file")
    run_task(harness, "Re-sync scene", scene_id=lost.id)  # a dead letter
    by_hand = pairs[0][1]
    edit_in_plex(harness, by_hand, genre=["One", "Two", "Mine"])
    settle(harness)
    assert stop_workers(harness.data_dir)
    # This one waits while the file is damaged.
    with closing(Inbox(str(harness.data_dir), lock_timeout=240)) as inbox:
        for scene, _ in pairs[2:]:
            harness.stash.change_silently(scene.id, title=f"Edited {scene.id}")
            inbox.put(create_sync_job(scene.id, "metadata", {"title": f"Edited {scene.id}"}))
    file = harness.data_dir / FILES[name]
    merge_log(file)
    damage(file, where)
    writes = len(harness.plex.writes)
    harness.save(pairs[1][0], title="After the damage")
    harness.wait_for_title(pairs[1][1], "After the damage")
    settle(harness)
    for scene, item in pairs[2:]:
        harness.wait_for_title(item, f"Edited {scene.id}")
    assert sorted(by_hand.genres) == ["Mine", "One", "Two"], "nothing of a person's is taken away"
    assert not harness.differences(pairs[1][0])
    written = {write.rating_key for write in harness.plex.writes[writes:]}
    assert written <= {item.rating_key for _, item in pairs[1:]}
    assert run_task(harness, "Status").output
    assert file.exists()


VALUES: dict[str, object] = {"cut": '{"tit', "not UTF-8": b'{"title": "\xff"}'}


@pytest.mark.parametrize(("column", "value"), [("fields", "cut"), ("files", "not UTF-8")])
def test_one_unreadable_record_stops_no_other_scene(
    make_harness: Make, column: str, value: str
) -> None:
    """The database is whole, but one value in it is not what it was."""
    harness = make_harness(env=OFTEN)
    pairs = synced(harness, 3, tags=["One"])
    edit_in_plex(harness, pairs[0][1], genre=["One", "Mine"])
    settle(harness)
    assert stop_workers(harness.data_dir)
    with closing(sqlite3.connect(harness.data_dir / "history.db")) as connection:
        connection.execute(
            f"UPDATE agreements SET {column} = CAST(? AS TEXT) WHERE scene_id = ?",
            (VALUES[value], pairs[0][0].id),
        )
        connection.commit()
    assert run_task(harness, "Status").output
    assert run_task(harness, "Show failed and ambiguous").output
    for number in (0, 1):
        harness.save(pairs[number][0], title=f"Saved {number}")
        harness.wait_for_title(pairs[number][1], f"Saved {number}")
    settle(harness)
    assert run_task(harness, "Sync all scenes").output["failed"] == 0
    assert sorted(pairs[0][1].genres) == ["Mine", "One"]
    assert not harness.letters()


@pytest.mark.parametrize(
    "name", some([name for name in FILES if name != "sync_timestamps.json"], 2)
)
def test_the_user_reads_of_a_database_that_is_no_more(make_harness: Make, name: str) -> None:
    harness = make_harness(env=OFTEN)
    pairs = synced(harness, 2)
    assert stop_workers(harness.data_dir)
    file = harness.data_dir / FILES[name]
    merge_log(file)
    content = bytearray(file.read_bytes())
    content[:16] = b"this is no data."
    file.write_bytes(content)
    harness.save(pairs[0][0], title="After the damage")
    harness.wait_for_title(pairs[0][1], "After the damage")
    settle(harness)
    harness.save(pairs[1][0], title="Told by now")
    told = " ".join(harness.errors_in_stash())
    assert file.name in told, harness.worker_log()
    assert "damaged" in told
    assert [other for other in file.parent.iterdir() if ".broken-" in other.name], "it is kept"
    harness.wait_for_title(pairs[1][1], "Told by now")


def test_damage_that_only_shows_in_use_is_repaired(make_harness: Make) -> None:
    """The quick check at start does not see that an index does not fit its table."""
    harness = make_harness(env=OFTEN)
    pairs = synced(harness, 2)
    assert stop_workers(harness.data_dir)
    with closing(Inbox(str(harness.data_dir), lock_timeout=240)) as inbox:
        inbox.put(create_sync_job(4711, "metadata", {}))
    file = harness.data_dir / FILES["queue"]
    delete_behind_indexes(file, "ack_queue_default", "CAST(data AS TEXT) LIKE '%4711%'")
    for number, (scene, item) in enumerate(pairs):
        harness.save(scene, title=f"Saved {number}")
        harness.wait_for_title(item, f"Saved {number}")
    harness.wait_for_empty_queue()
    assert f"{file.name} was damaged" in harness.worker_log()


def delete_behind_indexes(file: Path, table: str, where: str) -> None:
    """Delete rows of a table, but not their entries in its indexes."""
    of_table = "type = 'index' AND sql IS NOT NULL AND tbl_name = ?"
    with closing(sqlite3.connect(file)) as connection:
        indexes = connection.execute(
            f"SELECT * FROM sqlite_master WHERE {of_table}", (table,)
        ).fetchall()
        assert indexes
        delete = f"DELETE FROM sqlite_master WHERE {of_table}"
        write_schema(connection, delete, [(table,)])
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute(f"DELETE FROM {table} WHERE {where}").rowcount
        connection.commit()
        write_schema(connection, "INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", indexes)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]


def write_schema(connection: sqlite3.Connection, statement: str, rows: list[Any]) -> None:
    connection.execute("PRAGMA writable_schema=ON")
    connection.executemany(statement, rows)
    connection.commit()


def merge_log(file: Path) -> None:
    """Move the content of a database's log into its file."""
    if file.suffix == ".db":
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def damage(file: Path, where: float) -> None:
    """Invert one byte at that fraction of the file."""
    content = bytearray(file.read_bytes())
    position = int(where * (len(content) - 1))
    content[position] ^= 0xFF
    file.write_bytes(content)


def test_a_history_that_is_deleted_takes_nothing_out_of_plex(make_harness: Make) -> None:
    harness = make_harness(env=OFTEN)
    pairs = synced(harness, 4, tags=["One"])
    edit_in_plex(harness, pairs[0][1], genre=["One", "Mine"])
    assert stop_workers(harness.data_dir)
    for path in harness.data_dir.glob("history.db*"):
        path.unlink()
    writes = len(harness.plex.writes)
    watch(harness)
    settle(harness)
    assert sorted(pairs[0][1].genres) == ["Mine", "One"]
    assert len(harness.plex.writes) == writes + 1, "all were in sync, but the one that is watched"
    assert any(
        "history is gone" in text for text in [*harness.errors_in_stash(), harness.worker_log()]
    )


# --- Stash looks empty


@long
def test_a_stash_that_looks_empty_for_a_while_loses_nothing(make_harness: Make) -> None:
    harness = make_harness(env=ALL_THE_TIME)
    pairs = synced(harness, 30, tags=["One"])
    waiting, item = harness.pair("waiting")
    with open_history_readonly(str(harness.data_dir)) as history:
        before = history.known_scenes()
    writes = len(harness.plex.writes)
    harness.stash.looks_empty = True
    with closing(Inbox(str(harness.data_dir), lock_timeout=240)) as inbox:
        inbox.put(create_sync_job(waiting.id, "metadata", {"title": "T"}))
    settle_empty(harness)
    assert [job["scene_id"] for job in queued(harness.data_dir)] == [waiting.id]
    harness.stash.looks_empty = False
    harness.wait_for_title(item, waiting.title)
    settle(harness)
    with open_history_readonly(str(harness.data_dir)) as history:
        assert history.known_scenes() >= before
        assert not [
            row for scene, _ in pairs for row in history.of_scene(scene.id) if row.missing_since
        ]
    assert len(harness.plex.writes) == writes + 1
    assert [one.genres for _, one in pairs] == [["One"]] * 30


def settle_empty(harness: ProcessHarness) -> None:
    """Wait for longer than two full passes and the time between them."""
    before = harness.stash.log.count()
    time.sleep(12.0)
    assert harness.stash.log.count() > before + 10


# --- writes that Plex answers 200 and does not carry out


def test_a_write_that_plex_does_not_carry_out_is_reported_by_scene_and_field(
    make_harness: Make,
) -> None:
    harness = make_harness(env=OFTEN)
    scene, item = harness.pair(studio="Studio", details="Text")
    harness.plex.settings.ignored = Ignored(names={"studio"})
    harness.save(scene, title="Saved")
    harness.wait_for_title(item, "Saved")
    wait_for(harness, lambda: "does not take studio" in harness.worker_log())
    settle(harness)
    assert (item.summary, item.studio) == ("Text", None)
    done = run_task(harness, "Show failed and ambiguous")
    assert done.output["counts"] == {"refused": 1}
    line = next(text for text in done.texts if f"scene {scene.id}" in text)
    assert "studio" in line
    assert "title" not in line.partition(": ")[2]
    assert len(harness.plex.ignored_writes) == 2, "tried once more, then not again and again"
    harness.plex.settings.ignored = Ignored()
    assert run_task(harness, "Retry failed").output["retried"] == 1
    wait_for(harness, lambda: item.studio == "Studio")
    wait_for(harness, lambda: run_task(harness, "Status").output["needing_you"] == 0)


def test_a_write_that_plex_does_not_carry_out_once_is_written_again(make_harness: Make) -> None:
    harness = make_harness(env=OFTEN)
    scene, item = harness.pair()
    harness.plex.settings.ignored = Ignored(names={"title"}, times=1)
    harness.save(scene, title="Saved")
    harness.wait_for_title(item, "Saved")
    settle(harness)
    assert run_task(harness, "Show failed and ambiguous").summary == "Failed: none"
