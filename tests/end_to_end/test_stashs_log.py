"""What Stash's own log shows: each failure once, and no error that is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.installation import ProcessHarness
from tests.harness.processes import wait_until
from tests.simulators.httpd import Answer
from tests.tasks import refused_task, run_task


def test_a_save_that_fails_is_logged_once(harness: ProcessHarness) -> None:
    scene, _ = harness.pair()
    harness.data_dir.write_text("a file in the way")
    (run,) = harness.stash.save_scene(scene.id, title="New").hooks
    assert "could not be queued" in str(run.error)
    lines = [line.text for line in harness.stash.plugin_log if "could not be queued" in line.text]
    assert lines == [f"error executing post hooks: {run.error}"]
    harness.data_dir.unlink()
    harness.data_dir.mkdir()


def test_an_edit_that_could_not_be_queued_is_found_by_the_next_pass(
    harness: ProcessHarness,
) -> None:
    (first, _), (lost, item) = harness.pair("a"), harness.pair("b")
    harness.save(first, "First")
    harness.wait_for_title(harness.item_of(first), "First")
    harness.wait_for_empty_queue()
    assert harness.workers()
    harness.stop_worker()
    away = Path(f"{harness.data_dir}.away")
    harness.data_dir.rename(away)
    harness.data_dir.write_text("a file in the way")
    (run,) = harness.stash.save_scene(lost.id, title="Lost").hooks
    assert run.error
    harness.data_dir.unlink()
    away.rename(harness.data_dir)
    harness.save(first, "Second")
    harness.wait_for_title(item, "Lost")


def test_a_task_that_fails_is_logged_once(harness: ProcessHarness) -> None:
    harness.configure(plex_url="http://[bad")
    error = refused_task(harness, "Re-sync scene", scene_id="abc")
    assert "abc" in error


def test_deleting_scenes_leaves_no_error(harness: ProcessHarness) -> None:
    """A query for several scenes by id fails as a whole, and is logged, if one is gone."""
    pairs = harness.pairs(12)
    harness.plex.faults.add(Answer(503))
    for scene, _ in pairs:
        harness.save(scene, f"New {scene.id}")
    for scene, _ in pairs[::2]:
        harness.stash.destroy_scene(scene.id)
    harness.plex.faults.clear()
    for scene, item in pairs[1::2]:
        harness.wait_for_title(item, f"New {scene.id}")
    harness.wait_for_empty_queue()
    assert not [
        exchange
        for exchange in harness.stash.log.all()
        if b"findScenes(ids" in exchange.request.body
    ]
    bodies = [exchange.request.body for exchange in harness.stash.log.all()]
    assert any(b"PlexSyncScenes" in body for body in bodies)


@pytest.mark.parametrize("place", ["plugins/community/PlexSync", "plugins/plexSync2"])
def test_check_setup_names_another_plugin_of_the_same_id(tmp_path: Path, place: str) -> None:
    with ProcessHarness(tmp_path) as harness:
        harness.pair()
        other = tmp_path / place
        other.mkdir(parents=True)
        (other / "plexsync.yml").write_text("name: PlexSync\n")
        done = run_task(harness, "Check setup")
        assert f"another plugin with the id PlexSync is in {other}" in done.summary
        assert done.output["other_plexsync"] == [str(other)]


def test_no_warning_after_its_cause_is_gone(harness: ProcessHarness) -> None:
    scene, item = harness.pair()
    harness.plex.faults.add(Answer(503))
    harness.save(scene, "Waits")
    notices = harness.data_dir / "notices.jsonl"
    wait_until(lambda: notices.exists() and "Plex is down" in notices.read_text(), "the outage")
    harness.plex.faults.clear()
    harness.wait_for_title(item, "Waits")
    harness.wait_for_empty_queue()
    run = harness.save(scene, "Later")
    assert [line.text for line in run.log if line.level in ("warning", "error")] == []
