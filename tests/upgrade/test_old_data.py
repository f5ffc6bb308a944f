"""The frozen data directory and the grown ones say what they claim, by SQL and JSON alone."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.harness.base import TOKEN
from tests.simulators.plex import PlexSimulator
from tests.simulators.stash import StashSimulator
from tests.simulators.stash.library import unix
from tests.upgrade import old_data

MAX_BYTES = 150_000
DATABASES = ("queue/data.db", "dlq.db", "memory.db", "index.db")


@pytest.fixture
def plex() -> PlexSimulator:
    simulator = PlexSimulator(token=TOKEN)  # nobody asks it here
    simulator.add_library("Scenes", ["/media"])
    return simulator


@pytest.fixture
def stash(tmp_path: Path) -> StashSimulator:
    return StashSimulator(tmp_path / "stash" / "plugins")


def rows(folder: Path, name: str, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / name)) as database:
        return database.execute(query).fetchall()


def waiting(folder: Path) -> list[str]:
    query = "SELECT data FROM ack_queue_default WHERE status < 2 ORDER BY _id"
    return [json.loads(data)["job_key"] for (data,) in rows(folder, "queue/data.db", query)]


def timestamps(folder: Path) -> dict[int, float]:
    stored = json.loads((folder / "sync_timestamps.json").read_text(encoding="utf-8"))
    journal = (folder / "sync_timestamps.journal").read_text(encoding="utf-8").split("\n")
    moments: dict[int, Any] = {int(key): moment for key, moment in stored.items()}
    moments.update(json.loads(line) for line in journal if line)
    return {scene_id: moment for scene_id, moment in moments.items() if moment is not None}


def frozen_files() -> list[Path]:
    there = [path for path in old_data.FROZEN.rglob("*") if path.is_file()]
    return [*there, *old_data.FROZEN.parent.glob("*.json")]


# --- the frozen texts


def test_the_frozen_texts_are_small_and_neutral() -> None:
    files = frozen_files()
    assert sum(path.stat().st_size for path in files) < MAX_BYTES
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"127\.0\.0\.1:\d+", text)) <= {"127.0.0.1:32400"}, path
        sources = re.findall(r'File "(.+?)"', text)
        assert all(one.startswith(("/root/.stash/plugins/", "/usr/lib/")) for one in sources), path
        assert TOKEN not in text


def test_the_frozen_data_is_rich() -> None:
    there = old_data.expected()
    assert len(there["synced"]) > 40 and len(there["in_sync"]) > 30
    assert len(there["choices"]) == 2
    kinds = sorted(letter["error_type"] for letter in there["dead_letters"])
    assert kinds == [*["AmbiguousMatch"] * 2, "PlexNotFound", "PlexNotFound", "PlexPermanentError"]
    for name in ("timestamp_only", "covers", "pending", "in_progress", "retries", "bulk"):
        assert there[name], name
    for name in ("related", "spooled", "forgotten", "never_synced", "edited_in_plex"):
        assert there[name], name


# --- restore


def test_restored_files_are_private_and_the_databases_whole(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    old_data.restore(folder)
    for name in DATABASES:
        assert rows(folder, name, "PRAGMA integrity_check") == [("ok",)]
        assert rows(folder, name, "PRAGMA journal_mode") == [("wal",)]
    versions = [rows(folder, name, "PRAGMA user_version")[0][0] for name in DATABASES]
    assert versions == [1, 1, 0, 0]
    if os.name == "posix":
        for path in (folder, *folder.rglob("*")):
            wanted = 0o700 if path.is_dir() else 0o600
            assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_the_restored_data_says_what_is_expected(tmp_path: Path) -> None:
    old_data.restore(tmp_path)
    there = old_data.expected()
    assert waiting(tmp_path) == there["waiting"]
    started = rows(tmp_path, "queue/data.db", "SELECT data FROM ack_queue_default WHERE status = 2")
    assert [json.loads(data)["job_key"] for (data,) in started] == there["in_progress"]
    spool = (tmp_path / "queue" / "spool").iterdir()
    assert [json.loads(path.read_text())["job_key"] for path in spool] == there["spooled"]
    letters = rows(tmp_path, "dlq.db", "SELECT scene_id, error_type FROM dead_letters ORDER BY 1")
    assert letters == [(one["scene_id"], one["error_type"]) for one in there["dead_letters"]]
    written = rows(
        tmp_path, "memory.db", "SELECT scene_id, rating_key, pending, cover FROM written"
    )
    assert {str(one[0]): one[1] for one in written} == there["items"]
    assert [one[0] for one in written if one[2]] == there["pending"]
    assert [one[0] for one in written if one[3]] == there["covers"]
    choices = rows(tmp_path, "memory.db", "SELECT * FROM choices")
    assert {str(scene_id): key for scene_id, key in choices} == there["choices"]
    moments = timestamps(tmp_path)
    assert {str(scene_id): moment for scene_id, moment in moments.items()} == there["timestamps"]
    assert sorted(moments) == there["synced"]
    assert sorted(set(moments) - {one[0] for one in written}) == there["timestamp_only"]


def test_all_times_can_be_moved(tmp_path: Path) -> None:
    """Also in JSON inside the databases, and in addresses of covers."""
    old_data.restore(tmp_path / "then")
    old_data.restore(tmp_path / "now", later=1000)
    query = "SELECT failed_at, enqueued_at, job FROM dead_letters ORDER BY id"
    then, now = (rows(tmp_path / name, "dlq.db", query) for name in ("then", "now"))
    for before, after in zip(then, now, strict=True):
        assert after[:2] == pytest.approx([moment + 1000 for moment in before[:2]])
        assert json.loads(after[2])["enqueued_at"] == after[1]
    query = "SELECT cover_source FROM written WHERE scene_id = 5"
    (before,), (after,) = (rows(tmp_path / name, "memory.db", query)[0] for name in ("then", "now"))
    assert int(after.partition("t=")[2]) == int(before.partition("t=")[2]) + 1000
    assert old_data.expected(1000)["left_at"] == old_data.expected()["left_at"] + 1000
    scene, moved = (old_data.catalogue(later)["stash"]["scenes"][0] for later in (0, 1000))
    assert unix(moved["updated_at"]) == unix(scene["updated_at"]) + 1000
    for name in DATABASES:
        assert rows(tmp_path / "now", name, "PRAGMA integrity_check") == [("ok",)]


# --- populate


def test_both_servers_are_rebuilt_as_they_were(stash: StashSimulator, plex: PlexSimulator) -> None:
    old_data.populate(stash, plex)
    frozen = old_data.catalogue()
    for one in frozen["stash"]["scenes"]:
        scene = stash.scene(one["scene_id"])
        assert (scene.created_at, scene.updated_at) == (one["created_at"], one["updated_at"])
        assert scene.title == one.get("title", "")
        assert [[file.path, file.size] for file in scene.files] == one["files"]
        assert {stash.library.tags.get(id_).name for id_ in scene.tag_ids} == {*one.get("tags", ())}
    for one in frozen["plex"]["items"]:
        item = plex.item(one["rating_key"])
        assert item.paths == [one["path"], *one.get("versions", ())]
        assert item.tags == one.get("tags", {})
        assert one["values"].items() <= item.values.items()
        assert item.locked == set(one.get("locked", ()))
        assert item.updated_at == one["updated_at"]
    assert [tag.updated_at for tag in stash.library.tags.all()] == [
        tag["updated_at"] for tag in frozen["stash"]["tags"]
    ]
    keys = {one["rating_key"] for one in frozen["plex"]["items"]}
    assert plex.add_item(plex.libraries[0], "/media/new.mp4").rating_key > max(keys)


# --- grow


def test_a_grown_data_directory_has_what_was_asked_for(
    tmp_path: Path, stash: StashSimulator, plex: PlexSimulator
) -> None:
    folder = tmp_path / "data"
    grown = old_data.grow(folder, stash, plex, scenes=200, waiting=7, choices=3, letters=4)
    assert waiting(folder) == [f"scene_{scene_id}" for scene_id in grown.waiting]
    assert timestamps(folder).keys() == grown.synced.keys()
    choices = rows(folder, "memory.db", "SELECT * FROM choices")
    assert dict(choices) == grown.choices
    written = rows(folder, "memory.db", "SELECT scene_id, rating_key FROM written")
    assert dict(written) == grown.synced
    letters = rows(folder, "dlq.db", "SELECT scene_id, error_type FROM dead_letters")
    assert dict(letters) == grown.letters
    sizes = [len(one) for one in (grown.synced, grown.waiting, grown.choices, grown.letters)]
    assert sizes == [200, 7, 3, 4]
    assert len(stash.library.scenes()) == 204
    for name in DATABASES:
        assert rows(folder, name, "PRAGMA integrity_check") == [("ok",)]


def test_thousands_of_scenes_are_made_in_seconds(
    tmp_path: Path, stash: StashSimulator, plex: PlexSimulator
) -> None:
    started = time.process_time()
    old_data.grow(tmp_path, stash, plex, scenes=5_000, waiting=40, choices=10, letters=20)
    assert time.process_time() - started < 20.0


def test_grown_schemas_are_the_frozen_ones(
    tmp_path: Path, stash: StashSimulator, plex: PlexSimulator
) -> None:
    old_data.restore(tmp_path / "frozen")
    old_data.grow(tmp_path / "grown", stash, plex, scenes=1)
    query = "SELECT name, sql FROM sqlite_master ORDER BY name"
    for name in DATABASES:
        assert rows(tmp_path / "grown", name, query) == rows(tmp_path / "frozen", name, query)
