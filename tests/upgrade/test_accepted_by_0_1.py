"""The code of version 0.1 accepts the frozen and the grown data directories as its own.

All that needs this version's code is in this file. When the history replaces memory.db, delete the
file: `test_old_data` and the tests of the upgrade need nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from common.sqlite import connect
from plex.history import WriteHistory
from queue.dlq import DeadLetterQueue
from queue.operations import enqueue, get_stats, load_sync_timestamps
from stash.deferred_log import take_deferred_lines
from tests.harness.base import TOKEN
from tests.harness.clock import FakeClock
from tests.harness.in_process import WorkerHarness
from tests.harness.installation import ProcessHarness
from tests.simulators.plex import PlexSimulator
from tests.simulators.stash import StashSimulator
from tests.tasks import run_task
from tests.upgrade import old_data
from worker.bootstrap import HISTORY_FILE


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[StashSimulator, PlexSimulator]]:
    plugins = tmp_path / "stash" / "plugins"
    plugins.mkdir(parents=True)
    with StashSimulator(plugins) as stash, PlexSimulator(token=TOKEN) as plex:
        yield stash, plex
        assert (stash.server.errors, plex.server.errors) == ([], [])


@contextmanager
def worker_on(
    folder: Path, servers: tuple[StashSimulator, PlexSimulator], **settings: Any
) -> Iterator[WorkerHarness]:
    """Open a data directory in `folder`, with the write history in its file."""
    stash, plex = servers
    harness = WorkerHarness(folder, plex, stash, FakeClock())
    harness.configure(sync_poster=True, **settings)
    with closing(connect(str(harness.data_dir / HISTORY_FILE), any_thread=True)) as database:
        try:
            harness.new_worker(history=WriteHistory(database))
            yield harness
        finally:
            harness.close()


def wrote(plex: PlexSimulator) -> set[int]:
    """Return the rating keys of the items that were edited or got a poster."""
    edited = {write.rating_key for write in plex.writes}
    return edited | {upload.rating_key for upload in plex.uploads}


def test_the_frozen_data_opens(tmp_path: Path) -> None:
    old_data.restore(tmp_path)
    there = old_data.expected()
    stats = get_stats(tmp_path)
    assert stats["pending"] == len(there["waiting"]) + len(there["spooled"])
    assert stats["in_progress"] == len(there["in_progress"])
    with closing(DeadLetterQueue(tmp_path)) as dlq:
        for letter in there["dead_letters"]:
            (found,) = dlq.get_by_scene(letter["scene_id"])
            assert found["error_type"] == letter["error_type"]
            details = found["details"] or {}
            keys = [one["rating_key"] for one in details.get("candidates", ())]
            assert keys == letter.get("candidates", [])
            assert details.get("files", []) == letter.get("files", [])
    with closing(connect(str(tmp_path / HISTORY_FILE))) as database:
        history = WriteHistory(database)
        for scene_id, rating_key in there["choices"].items():
            assert history.choice(int(scene_id)) == rating_key
        for scene_id in there["pending"]:
            assert history.get(scene_id, there["items"][str(scene_id)]).pending
    moments = {str(key): moment for key, moment in load_sync_timestamps(tmp_path).items()}
    assert moments == there["timestamps"]
    assert [level for level, _ in take_deferred_lines(str(tmp_path))] == ["warning"]


def test_waiting_edits_of_the_frozen_data_arrive_and_nothing_else_is_written(
    tmp_path: Path, servers: tuple[StashSimulator, PlexSimulator]
) -> None:
    stash, plex = servers
    later = old_data.since_left()
    there = old_data.expected(later)
    old_data.restore(tmp_path / "data", later)
    with worker_on(tmp_path, servers, **there["settings"]) as harness:
        old_data.populate(stash, plex, later)
        harness.log_in()
        for scene_id in there["in_sync"]:
            enqueue(harness.queue, scene_id, "metadata", {})
        harness.run_for(120.0)
        assert harness.waiting() == 0
        assert len(harness.letters()) == len(there["dead_letters"])
        renamed = set(there["renamed"]["scenes"]) & set(there["synced"])
        for scene_id in there["edited"]:
            item = plex.item(there["items"][str(scene_id)])
            assert item.title == stash.scene(scene_id).title
        for scene_id in renamed:
            assert "Ultra HD" in plex.item(there["items"][str(scene_id)]).genres
        due = {there["items"][str(scene_id)] for scene_id in renamed | set(there["edited"])}
        assert wrote(plex) == due


def test_preview_says_what_of_the_frozen_data_is_in_sync(tmp_path: Path) -> None:
    later = old_data.since_left()
    there = old_data.expected(later)
    old_data.restore(tmp_path / "data", later)
    with ProcessHarness(tmp_path, settings=there["settings"]) as harness:
        old_data.populate(harness.stash, harness.plex, later)
        done = run_task(harness, "Preview", scope="all")
        changed = {one["scene_id"] for one in done.output["scenes"]}
        assert changed.isdisjoint(there["in_sync"])
        assert done.output["ambiguous"] == done.output["not_found"] - 1 == 2
        failed = {letter["scene_id"] for letter in there["dead_letters"]}
        expected = {*there["edited"], *there["renamed"]["scenes"]} - failed
        expected |= {*there["edited_in_plex"], *map(int, there["replaced_in_plex"])}
        expected |= {*there["never_synced"], *there["pending"]}
        without_item = {57}
        assert changed == expected - without_item
        assert harness.plex.writes == []


def test_grown_data_is_in_sync_but_for_the_waiting_edits(
    tmp_path: Path, servers: tuple[StashSimulator, PlexSimulator]
) -> None:
    stash, plex = servers
    plex.add_library("Scenes", ["/media"])
    grown = old_data.grow(tmp_path / "data", stash, plex, 120, waiting=5, choices=4, letters=4)
    with worker_on(tmp_path, servers) as harness:
        harness.log_in()
        for scene_id in grown.synced:
            enqueue(harness.queue, scene_id, "metadata", {})
        harness.run()
        assert wrote(plex) == {grown.synced[scene_id] for scene_id in grown.waiting}
        for scene_id, title in grown.waiting.items():
            assert plex.item(grown.synced[scene_id]).title == title
        assert len(harness.letters()) == 4


def test_grown_data_is_what_a_sync_of_bare_items_leaves(
    tmp_path: Path, servers: tuple[StashSimulator, PlexSimulator]
) -> None:
    stash, plex = servers
    model = PlexSimulator(token=TOKEN)
    grown = old_data.grow(tmp_path / "grown", stash, model, 120)
    with worker_on(tmp_path, servers) as harness:
        harness.log_in()
        for key in grown.synced.values():
            part = model.item(key).parts[0]
            plex.add_item(harness.library, part.file, size=part.size, rating_key=key)
        for scene_id in grown.synced:
            enqueue(harness.queue, scene_id, "metadata", {})
        harness.run()
        with closing(connect(str(tmp_path / "grown" / HISTORY_FILE))) as database:
            claimed = WriteHistory(database)
            for scene_id, key in grown.synced.items():
                item, wanted = plex.item(key), model.item(key)
                assert (item.values, item.tags) == (wanted.values, wanted.tags)
                assert (item.locked, item.poster) == (wanted.locked, wanted.poster)
                assert harness.worker.history.get(scene_id, key) == claimed.get(scene_id, key)


def test_preview_says_that_grown_data_is_in_sync(tmp_path: Path) -> None:
    with ProcessHarness(tmp_path) as harness:
        grown = old_data.grow(
            harness.data_dir, harness.stash, harness.plex, 150, waiting=5, choices=4, letters=6
        )
        done = run_task(harness, "Preview", scope="all")
        assert {one["scene_id"] for one in done.output["scenes"]} == set(grown.waiting)
        counts = {name: done.output[name] for name in ("in_sync", "ambiguous", "not_found")}
        assert counts == {"in_sync": 145, "ambiguous": 3, "not_found": 3}
        assert harness.plex.writes == []
