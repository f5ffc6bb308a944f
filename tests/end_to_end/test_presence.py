"""PlexSync is disabled, uninstalled or updated in Stash while its worker runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.installation import ProcessHarness
from tests.harness.plugin import ROOT
from tests.harness.processes import wait_until
from tests.harness.results import queued
from tests.simulators.httpd import Answer
from worker.process import other_version

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="asks /proc")


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ProcessHarness]:
    """An installation whose manifest is a file of its own."""
    with ProcessHarness(tmp_path) as harness:
        manifest = manifest_of(harness)
        manifest.unlink()
        shutil.copy(ROOT / "PlexSync.yml", manifest)
        yield harness
    harness.check()


def manifest_of(harness: ProcessHarness) -> Path:
    return harness.data_dir.parent / "plugins" / "PlexSync" / "PlexSync.yml"


def with_plex_down(harness: ProcessHarness) -> None:
    """Save an edit that waits, as Plex is down."""
    scene, item = harness.pair()
    harness.save(scene, "First")
    harness.wait_for_title(item, "First")
    harness.wait_for_empty_queue()
    harness.plex.faults.add(Answer(503))
    harness.save(scene, "Waits")


def came_to_plex(harness: ProcessHarness) -> bool:
    return any(item.title == "Waits" for item in harness.plex.items(harness.library))


def test_disabled_in_stash_the_worker_leaves_and_the_edit_is_kept(harness: ProcessHarness) -> None:
    with_plex_down(harness)
    harness.stash.plugins.disabled.add("PlexSync")
    harness.wait_for_exit()
    harness.plex.faults.clear()
    assert [job["scene_id"] for job in queued(harness.data_dir)] == [1]
    assert "PlexSync is disabled in Stash" in harness.worker_log()
    assert not came_to_plex(harness)
    harness.stash.plugins.disabled.clear()
    harness.save(harness.stash.scene(1), "Enabled again")
    harness.wait_for_title(harness.item_of(harness.stash.scene(1)), "Enabled again")


def test_uninstalled_in_stash_the_worker_leaves_and_the_edit_is_kept(
    harness: ProcessHarness,
) -> None:
    with_plex_down(harness)
    del harness.stash.plugins.manifests["PlexSync"]
    wait_until(lambda: "PlexSync was uninstalled" in harness.worker_log(), "it notices")
    started = harness.worker_log().count("Worker started")
    harness.wait_for_exit()
    assert harness.worker_log().count("Worker started") == started, "none follows"
    harness.plex.faults.clear()
    assert [job["scene_id"] for job in queued(harness.data_dir)] == [1]
    assert not came_to_plex(harness)


def test_without_its_files_the_worker_leaves(harness: ProcessHarness) -> None:
    with_plex_down(harness)
    manifest_of(harness).unlink()
    wait_until(lambda: "PlexSync was uninstalled" in harness.worker_log(), "it notices")
    harness.wait_for_exit()
    harness.plex.faults.clear()
    assert [job["scene_id"] for job in queued(harness.data_dir)] == [1]


def test_an_idle_worker_leaves_too(harness: ProcessHarness) -> None:
    scene, item = harness.pair()
    harness.save(scene, "First")
    harness.wait_for_title(item, "First")
    harness.stash.plugins.disabled.add("PlexSync")
    harness.wait_for_exit()


def test_an_outage_of_stash_is_no_reason_to_leave(tmp_path: Path) -> None:
    # Ten minutes without an answer would be one: here half a minute.
    with ProcessHarness(tmp_path, env={"PLEXSYNC_TIME_SCALE": "0.05"}) as harness:
        with_plex_down(harness)
        harness.stash.faults.add(Answer(503))
        asked = len(harness.stash.log)
        wait_until(lambda: len(harness.stash.log) > asked + 5, "it goes on asking")
        harness.stash.faults.clear()
        assert harness.workers()
    harness.check()


def test_a_worker_leaves_for_the_version_that_was_installed(harness: ProcessHarness) -> None:
    """What waits goes on at once, without another save."""
    with_plex_down(harness)
    first = harness.worker
    manifest = manifest_of(harness)
    text = manifest.read_text()
    manifest.unlink()  # as Stash does: the old files go first
    wait_until(lambda: "PlexSync was uninstalled" in harness.worker_log(), "it notices")
    manifest.write_text(text)
    harness.plex.faults.clear()
    harness.wait_for_title(harness.item_of(harness.stash.scene(1)), "Waits")
    wait_until(lambda: first not in harness.workers(), "the end of the first")
    assert harness.worker


def test_another_version_in_the_manifest_ends_the_worker_between_two_batches(
    harness: ProcessHarness,
) -> None:
    scenes = [scene for scene, _ in harness.pairs(60)]
    for scene in scenes[:-1]:
        harness.stash.change_silently(scene.id, title=f"New {scene.id}")
    harness.save(scenes[-1], "New")
    wait_until(lambda: harness.plex.writes, "the first write")
    first = harness.worker
    manifest = manifest_of(harness)
    text = manifest.read_text()
    newer = manifest.with_suffix(".new")
    newer.write_text(text.replace("version: ", "version: 9"))
    os.replace(newer, manifest)
    wait_until(lambda: "PlexSync was updated" in harness.worker_log(), "it notices")
    wait_until(lambda: first not in harness.workers(), "it leaves")
    assert other_version(str(harness.data_dir)) is None
    manifest.write_text(text)
    harness.save(scenes[0], "After the update")
    harness.wait_for_title(harness.item_of(scenes[0]), "After the update")
