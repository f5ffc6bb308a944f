"""The upgrade of a data directory of version 0.1: nothing is lost, nothing is written unasked."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from history.records import Status
from history.store import OTHER_SERVER
from plex.paths import normalize
from queue.dlq import DeadLetterQueue
from queue.operations import get_stats, load_sync_timestamps
from queue.recovery import check_database
from tests.simulators.httpd import Answer
from tests.upgrade import old_data
from tests.upgrade.harness import UpgradeHarness, frozen, grown
from worker.reconcile.adoption import UNDECIDED
from worker.reconcile.passes import FULL_ENDED


@pytest.fixture
def old(tmp_path: Path) -> Iterator[UpgradeHarness]:
    """The frozen data directory, before the first start of this version."""
    with frozen(tmp_path) as harness:
        yield harness


@pytest.fixture(scope="module")
def there() -> dict[str, object]:
    return old_data.expected(old_data.since_left())


def keys_to_write(there: dict) -> set[int]:  # type: ignore[type-arg]
    """Return the rating keys of the items that differ from Stash, and that nobody edited."""
    items = {int(scene_id): key for scene_id, key in there["items"].items()}
    items.update({int(one): keys["now"] for one, keys in there["replaced_in_plex"].items()})
    renamed = set(there["renamed"]["scenes"]) & set(there["synced"])
    due = {*there["edited"], *there["pending"], *renamed, *map(int, there["replaced_in_plex"])}
    return {items[scene_id] for scene_id in due}


# --- the frozen data directory


def test_the_frozen_data_opens(tmp_path: Path, there: dict) -> None:  # type: ignore[type-arg]
    """Queue, dead letters and timestamps are readable as they are."""
    old_data.restore(tmp_path)
    there = old_data.expected()
    stats = get_stats(tmp_path)
    assert stats["pending"] == len(there["waiting"]) + len(there["spooled"])
    assert stats["in_progress"] == len(there["in_progress"])
    with closing(DeadLetterQueue(tmp_path)) as dlq:
        for letter in there["dead_letters"]:
            (found,) = dlq.get_by_scene(letter["scene_id"])
            assert found["error_type"] == letter["error_type"]
    moments = {str(key): moment for key, moment in load_sync_timestamps(tmp_path).items()}
    assert moments == there["timestamps"]


def test_everything_that_waited_is_done_and_nothing_else_is_written(
    old: UpgradeHarness,
    there: dict,  # type: ignore[type-arg]
) -> None:
    with old.opened() as history:
        old.run_for(300.0)
        assert history.get(FULL_ENDED), "no full pass"
        assert old.waiting() == 0
        assert history.passes() == {}
        assert old.wrote == keys_to_write(there)
        own = {int(one): tuple(names) for one, names in there["own_names_in_plex"].items()}
        keys = {int(one): key for one, key in there["items"].items()}
        keys.update({int(one): both["now"] for one, both in there["replaced_in_plex"].items()})
        for scene_id, key in keys.items():
            if scene_id not in there["edited_in_plex"]:
                assert old.differs(scene_id, key, own.get(scene_id, ())) == [], scene_id


def test_the_records_say_what_was_known(
    old: UpgradeHarness,
    there: dict,  # type: ignore[type-arg]
) -> None:
    """Choices, timestamps and dead letters are kept; not found and ambiguous are states now."""
    with old.opened() as history:
        old.run_for(300.0)
        for scene_id, key in there["choices"].items():
            (choice,) = history.choices(int(scene_id))
            assert (choice.rating_key, choice.server) == (key, old.plex.machine_identifier)
            assert choice.path in map(normalize, old.plex.item(key).paths)
        moments = load_sync_timestamps(old.data_dir)
        for scene_id, moment in there["timestamps"].items():
            assert moments[int(scene_id)] >= moment
        letters = {letter["scene_id"]: letter["error_type"] for letter in old.letters()}
        synced_now = 25  # its edit arrived
        assert letters == {
            letter["scene_id"]: letter["error_type"]
            for letter in there["dead_letters"]
            if letter["scene_id"] != synced_now
        }
        status = {
            letter["scene_id"]: {row.status for row in history.of_scene(letter["scene_id"])}
            for letter in there["dead_letters"]
        }
        assert status == {
            25: {Status.IN_SYNC},
            48: {Status.AMBIGUOUS},
            49: {Status.AMBIGUOUS},
            50: {Status.NOT_IN_PLEX},
            51: {Status.NOT_IN_PLEX},
        }
        for scene_id in there["never_synced"]:
            assert {row.status for row in history.of_scene(scene_id)} == {Status.BASELINE}
        for scene_id in there["synced"]:  # those with a timestamp only, too: they were compared
            (row,) = history.of_scene(scene_id)
            assert row.status is Status.IN_SYNC, scene_id
            assert row.digest
            assert row.path in map(normalize, old.plex.item(row.rating_key).paths)


def test_what_a_person_did_in_plex_stays(
    old: UpgradeHarness,
    there: dict,  # type: ignore[type-arg]
) -> None:
    titles = {
        scene_id: old.plex.item(there["items"][str(scene_id)]).title
        for scene_id in there["edited_in_plex"]
    }
    old.start()
    for scene_id, title in titles.items():
        assert old.plex.item(there["items"][str(scene_id)]).title == title
        assert title != old.stash.scene(scene_id).title
    for scene_id, names in there["own_names_in_plex"].items():
        assert set(names) <= set(old.plex.item(there["items"][scene_id]).genres)
    # What was ours goes when Stash drops it, and theirs stays, as before the upgrade.
    (scene_id, names), *_ = there["own_names_in_plex"].items()
    old.edit(old.stash.scene(int(scene_id)), tag_ids=[])
    old.start(60.0)
    assert old.plex.item(there["items"][scene_id]).genres == names


def test_an_item_that_was_added_again_has_one_record(
    old: UpgradeHarness,
    there: dict,  # type: ignore[type-arg]
) -> None:
    with old.opened() as history:
        old.run_for(300.0)
        for scene_id, keys in there["replaced_in_plex"].items():
            (row,) = history.of_scene(int(scene_id))
            assert row.rating_key == keys["now"]
            assert old.plex.item(keys["now"]).title == old.stash.scene(int(scene_id)).title


def test_a_second_start_and_a_second_day_write_nothing_more(
    old: UpgradeHarness,
    there: dict,  # type: ignore[type-arg]
) -> None:
    old.start()
    writes = len(old.plex.writes), len(old.plex.uploads)
    old.start()
    old.clock.advance(90_000.0)
    old.start()
    assert (len(old.plex.writes), len(old.plex.uploads)) == writes
    assert old.wrote == keys_to_write(there)


def test_the_old_files_stay_beside(old: UpgradeHarness) -> None:
    """Whoever goes back to 0.1 loses no file; the second upgrade overwrites none."""
    before = (old.data_dir / "memory.db").read_bytes()
    with old.opened():
        assert not (old.data_dir / "memory.db").exists()
    assert (old.data_dir / "memory.db.imported").read_bytes()[:100] == before[:100]
    assert (old.data_dir / "queue" / "catch_up.json.imported").exists()
    old_data.restore(old.data_dir.parent / "again")
    for name in ("memory.db", "queue/catch_up.json"):
        (old.data_dir.parent / "again" / name).replace(old.data_dir / name)
    with old.opened():
        pass
    names = {path.name for path in (old.data_dir.rglob("*.imported*"))}
    assert names >= {"memory.db.imported", "memory.db.imported-2"}
    assert names >= {"catch_up.json.imported", "catch_up.json.imported-2"}


@pytest.mark.parametrize("down", ["plex", "stash"])
def test_a_server_that_is_down_at_the_first_start_loses_nothing(
    old: UpgradeHarness,
    there: dict,  # type: ignore[type-arg]
    down: str,
) -> None:
    server = old.plex if down == "plex" else old.stash
    rule = server.faults.add(Answer(503))
    with old.opened() as history:
        waiting = sum(len(there[kind]) for kind in ("waiting", "in_progress", "spooled"))
        old.run_for(600.0)
        assert history.get(UNDECIDED)
        assert old.waiting() == waiting
        assert old.wrote == set()
    assert len(old.letters()) == len(there["dead_letters"])
    rule.remove()
    old.start()
    assert old.wrote == keys_to_write(there)
    assert old.waiting() == 0


# --- another Plex


@pytest.mark.parametrize("server", [None, "f" * 40])
def test_records_of_another_plex_are_set_aside(
    old: UpgradeHarness,
    there: dict,  # type: ignore[type-arg]
    server: str | None,
) -> None:
    """A rebuilt Plex: its rating keys mean other files, under another name of the server or not."""
    items = old.plex.rebuild(machine_identifier=server)
    paths = {int(scene_id): old.stash.scene(int(scene_id)).path for scene_id in there["timestamps"]}
    with old.opened() as history:
        old.run_for(300.0)
        assert old.said("another Plex server") == 1
        assert old.waiting() == 0
        for scene_id in there["choices"]:
            (choice,) = history.choices(int(scene_id))
            assert choice.server == OTHER_SERVER
            (path,) = {Path(paths[int(scene_id)]).name}
            for rival in items.values():
                if Path(rival.path).name == path:
                    assert rival.rating_key not in old.wrote
        set_aside = {
            scene_id: [row for row in history.of_scene(int(scene_id)) if row.server == OTHER_SERVER]
            for scene_id in there["items"]
        }
        for scene_id, rows in set_aside.items():
            assert [row.rating_key for row in rows] == [there["items"][scene_id]], scene_id
            assert rows[0].fields
    # Each item that was written has the scene's file, and the scenes are in Plex again.
    by_title = {}
    for scene_id, path in paths.items():
        for old_folder, new_folder in (("/data/", "/media/"), ("/old/", "/archive/")):
            path = path.replace(old_folder, new_folder, 1)
        by_title[scene_id] = items.get(path)
    compared = [scene_id for scene_id, item in by_title.items() if item is not None]
    assert len(compared) > 35
    for scene_id in compared:
        item = by_title[scene_id]
        assert item is not None
        assert old.differs(scene_id, item.rating_key) == [], scene_id


@pytest.mark.parametrize(("held", "is_same"), [(17, False), (18, True)])
def test_nine_of_ten_items_must_hold_their_files(tmp_path: Path, held: int, is_same: bool) -> None:
    """The items of the others have other files: they are another Plex's, or were added anew."""
    with grown(tmp_path, 20) as (harness, made):
        for key in list(made.synced.values())[held:]:
            harness.plex.remove_item(key)
            harness.plex.add_item(harness.library, f"/media/stranger {key}.mp4", rating_key=key)
        with harness.opened() as history:
            harness.run_for(60.0)
            assert not history.get(UNDECIDED)
            rows = [row for scene_id in made.synced for row in history.of_scene(scene_id)]
        set_aside = {row.scene_id: row.rating_key for row in rows if row.server == OTHER_SERVER}
        assert set_aside == ({} if is_same else made.synced)
        assert harness.said("another Plex server") == (0 if is_same else 1)


def test_a_pass_over_scenes_of_another_plex_ends(old: UpgradeHarness) -> None:
    """Records that are set aside don't have the scenes compared again and again."""
    old.plex.rebuild(machine_identifier="f" * 40)
    old.start()
    writes = len(old.plex.writes)
    with old.opened() as history:
        old.clock.advance(90_000.0)
        before = {row.id: row.checked_at for row in history.with_status(*Status)}
        old.run_for(300.0)
        checked = [
            row
            for row in history.with_status(*Status)
            if row.server == OTHER_SERVER and row.checked_at != before[row.id]
        ]
    assert checked == []
    assert len(old.plex.writes) == writes


def test_the_choice_of_an_item_that_has_another_file_is_not_applied(
    old: UpgradeHarness,
    there: dict,  # type: ignore[type-arg]
) -> None:
    """Also where the server is the same: its other items hold their files."""
    key = there["choices"]["46"]
    old.plex.remove_item(key)
    old.plex.add_item(old.plex.libraries[0], "/media/films/stranger.mp4", rating_key=key)
    with old.opened() as history:
        old.run_for(300.0)
        (row,) = history.of_scene(46)
        assert row.status is Status.AMBIGUOUS
    rival = old.plex.find("/media/one/Pick 1.mp4")
    assert rival is not None
    assert old.wrote.isdisjoint({key, rival.rating_key})


def test_scenes_that_are_gone_say_nothing_about_the_server(
    old: UpgradeHarness,
    there: dict,  # type: ignore[type-arg]
) -> None:
    old.plex.rebuild()
    for scene_id in list(there["items"])[::2]:
        old.stash.delete_silently(int(scene_id))
    with old.opened() as history:
        old.run_for(60.0)
        assert not history.get(UNDECIDED)
    assert old.said("another Plex server") == 1


def test_a_stash_without_its_database_decides_nothing(
    old: UpgradeHarness,
    there: dict,  # type: ignore[type-arg]
) -> None:
    old.stash.looks_empty = True
    with old.opened() as history:
        old.run_for(60.0)
        assert history.get(UNDECIDED)
    assert old.waiting() == 7
    old.stash.looks_empty = False
    old.start()
    assert old.wrote == keys_to_write(there)


@pytest.mark.parametrize("knows_files", [True, False])
def test_a_choice_without_a_record_is_not_applied_to_a_stranger(
    old: UpgradeHarness, knows_files: bool
) -> None:
    """Its key means the rejected item of the same name now, or an item of another name."""
    with closing(sqlite3.connect(old.data_dir / "memory.db")) as database, database:
        database.execute("DELETE FROM written")
    if not knows_files:
        (old.data_dir / "index.db").unlink()
    # Of both, the first item gets the key of the second, or both get keys of other names.
    old.plex.rebuild(order=None if knows_files else lambda items: items[2:] + items[:2])
    with old.opened() as history:
        old.run_for(300.0)
        assert not history.get(UNDECIDED)
    for item in old.plex.items(old.plex.libraries[0]):
        if Path(item.path).name.startswith("Pick"):
            assert item.rating_key not in old.wrote


def test_a_list_whose_write_was_not_confirmed(
    old: UpgradeHarness,
    there: dict,  # type: ignore[type-arg]
) -> None:
    """It arrived, beside a person's genre: what was added is ours, so it goes with its tag."""
    key = there["items"]["15"]
    names = list(there["own_names_in_plex"]["15"])
    added = old.stash.library.tags.get(2).name
    ours = [name for name in old.plex.item(key).genres if name not in names]
    with closing(sqlite3.connect(old.data_dir / "memory.db")) as database, database:
        (fields,) = database.execute("SELECT fields FROM written WHERE scene_id = 15").fetchone()
        pending = {**json.loads(fields), "genre": [*ours, added]}
        database.execute(
            "UPDATE written SET pending = ? WHERE scene_id = 15", (json.dumps(pending),)
        )
    old.plex.item(key).tags["genre"] = [*ours, added, *names]
    tags = old.stash.scene(15).tag_ids
    old.stash.change_silently(15, tag_ids=[*tags, 2])
    old.start()
    assert set(old.plex.item(key).genres) == {*ours, added, *names}
    old.edit(old.stash.scene(15), tag_ids=list(tags))
    old.start(60.0)
    assert set(old.plex.item(key).genres) == {*ours, *names}


def test_scenes_without_a_cover_are_not_held_back(tmp_path: Path) -> None:
    """After a loss, a scene counts as different only if a picture would go up."""
    with grown(tmp_path, 230) as (harness, _):
        harness.start(600.0)
        (harness.data_dir / "history.db").unlink()
        with harness.opened() as history:
            harness.run_for(600.0)
            assert history.get(FULL_ENDED)
            assert history.count_proposals() == {}
        assert harness.said("Nothing of it is written") == 0
        assert harness.wrote == set()


# --- a history that is lost


@pytest.mark.parametrize("how", ["deleted", "damaged"])
def test_a_lost_history_is_said_once_and_takes_nothing_out_of_lists(
    old: UpgradeHarness,
    there: dict,  # type: ignore[type-arg]
    how: str,
) -> None:
    old.start()
    old.notices()
    file = old.data_dir / "history.db"
    if how == "damaged":
        file.write_bytes(b"\xff" * 4096)
        assert check_database(str(file))
    else:
        file.unlink()
    scene = old.stash.scene(9)
    key = there["items"]["9"]
    old.plex.item(key).values["title"] = "Something else"
    old.plex.item(key).tags["genre"] = ["Theirs"]
    own = {int(one): tuple(names) for one, names in there["own_names_in_plex"].items()}
    genres = {one: set(old.plex.item(one).genres) for one in there["items"].values() if one != 72}
    with old.opened() as history:
        old.run_for(600.0)
        assert history.get(FULL_ENDED)
        assert history.count_proposals() == {}
    assert old.said("history is gone") == 1
    assert old.plex.item(key).title == scene.title
    for one, names in genres.items():
        assert names <= set(old.plex.item(one).genres)
    for scene_id, item in there["items"].items():
        if int(scene_id) in there["in_sync"]:
            assert old.differs(int(scene_id), item, (*own.get(int(scene_id), ()), *(
                ["Theirs"] if item == key else []))) == []  # fmt: skip
    old.start()
    assert old.said("history is gone") == 0


def test_many_differences_after_a_loss_are_held_back(tmp_path: Path) -> None:
    with grown(tmp_path, 230) as (harness, made):
        harness.start(600.0)
        assert harness.wrote == set()
        (harness.data_dir / "history.db").unlink()
        for key in made.synced.values():
            harness.plex.item(key).values["title"] = "Something else"
        with harness.opened() as history:
            harness.run_for(600.0)
            assert sum(history.count_proposals().values()) == 230
            assert harness.wrote == set()
        assert harness.said("Nothing of it is written") == 1
        some = harness.stash.scene(next(iter(made.synced)))
        harness.edit(some, "Saved meanwhile")
        harness.start(60.0)
        assert harness.wrote == {made.synced[some.id]}


# --- many scenes


def test_of_many_scenes_only_the_waiting_edits_are_written(tmp_path: Path) -> None:
    with grown(tmp_path, 400, waiting=40, choices=10, letters=20) as (harness, made):
        with harness.opened() as history:
            harness.run_for(1_200.0)
            assert history.get(FULL_ENDED)
            assert harness.waiting() == 0
            assert history.count_proposals() == {}
            assert history.count() == {
                Status.IN_SYNC: 400,
                Status.NOT_IN_PLEX: 10,
                Status.AMBIGUOUS: 10,
            }
            assert {one.scene_id: one.rating_key for one in history.all_choices()} == made.choices
        assert harness.wrote == {made.synced[scene_id] for scene_id in made.waiting}
        for scene_id, title in made.waiting.items():
            assert harness.plex.item(made.synced[scene_id]).title == title
            assert harness.written_fields(made.synced[scene_id]) == {"title"}
        assert len(harness.letters()) == 20
