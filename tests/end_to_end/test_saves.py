"""A scene saved in Stash reaches its Plex item, for all ways to save."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.end_to_end.conftest import TASK
from tests.harness.installation import ProcessHarness
from tests.harness.processes import wait_until
from tests.harness.results import queued
from tests.simulators.httpd import Hang


def test_a_save_with_no_worker_alive_reaches_plex(harness: ProcessHarness) -> None:
    scene, item = harness.pair(studio="Studio", performers=["Ann", "Bea"], tags=["One"])
    assert harness.workers() == []
    run = harness.save(scene, title="Seen", details="A text", date="2024-05-06")
    assert run.ended
    assert run.exit_code == 0
    assert len(harness.workers()) == 1, "the worker lives on after its hook"
    harness.wait_for_title(item, "Seen")
    wait_until(lambda: item.summary == "A text")
    assert (item.studio, item.year, item.originally_available_at) == ("Studio", 2024, "2024-05-06")
    assert (sorted(item.actors), item.genres) == (["Ann", "Bea"], ["One"])
    assert {"title", "summary", "studio", "genre", "actor"} <= item.locked
    harness.wait_for_empty_queue()


def test_all_fields_of_a_save_go_out_in_one_request_and_once(harness: ProcessHarness) -> None:
    scene, item = harness.pair(tags=["One"], performers=["Ann"])
    harness.save(scene, title="T", details="D", date="2024-05-06")
    harness.wait_for_title(item, "T")
    harness.wait_for_empty_queue()
    harness.save(scene, title="T")
    harness.wait_for_empty_queue()
    assert len(harness.plex.writes) == 1


def test_later_edits_of_a_scene_that_waits_win(harness: ProcessHarness) -> None:
    """Plex does not respond, so the scene waits during all edits."""
    scene, item = harness.pair()
    hang = harness.plex.faults.add(Hang())
    for title in ("First", "Second", "Third"):
        harness.save(scene, title=title, details=f"Text of {title}")
    assert len(queued(harness.data_dir)) <= 2, "one at work, one that waits"
    hang.remove()
    harness.wait_for_title(item, "Third")
    wait_until(lambda: item.summary == "Text of Third")
    harness.wait_for_empty_queue()
    assert (item.title, item.summary) == ("Third", "Text of Third")


def test_edits_of_a_scene_that_is_being_processed_win(harness: ProcessHarness) -> None:
    """The worker has read the scene and is writing it; then two more edits come."""
    scene, item = harness.pair()
    hang = harness.plex.faults.add(Hang(), method="PUT", times=1)
    harness.save(scene, title="First")
    assert harness.plex.log.wait_for(method="PUT", timeout=240)
    harness.save(scene, title="Second")
    harness.save(scene, title="Third")
    hang.remove()
    harness.wait_for_title(item, "Third")
    harness.wait_for_empty_queue()
    assert item.title == "Third"


def test_an_edit_after_the_scene_was_read_does_not_count_as_synced(harness: ProcessHarness) -> None:
    """Another edit comes while the worker has read the scene and waits for Plex's item."""
    scene, item = harness.pair()
    hang = harness.plex.faults.add(
        Hang(), method="GET", path=f"/library/metadata/{item.rating_key}", times=1
    )
    harness.save(scene, title="First")
    assert harness.plex.log.wait_for(path=f"/library/metadata/{item.rating_key}", timeout=240)
    harness.save(scene, title="Second")
    hang.remove()
    harness.wait_for_title(item, "Second")
    harness.wait_for_empty_queue()
    assert item.title == "Second"


def test_an_edit_without_a_hook_during_a_sync_is_newer_than_that_sync(
    harness: ProcessHarness,
) -> None:
    """A sync reads the scene before the edit and is recorded after it; the task finds the edit."""
    scene, item = harness.pair()
    hang = harness.plex.faults.add(Hang(), method="PUT", times=1)
    harness.save(scene, title="First")
    assert harness.plex.log.wait_for(method="PUT", timeout=240)
    harness.stash.change_silently(scene.id, title="Second")
    time.sleep(1.1)  # Stash's times are whole seconds
    hang.remove()
    harness.wait_for_empty_queue()
    job = harness.stash.run_task("PlexSync", TASK)
    assert job.wait(240)
    harness.wait_for_title(item, "Second")


def test_a_bulk_edit_reaches_every_scene(harness: ProcessHarness) -> None:
    pairs = harness.pairs(30)
    result = harness.stash.bulk_save(
        [scene.id for scene, _ in pairs], studio="Everybody's", tags=["Bulk"]
    )
    assert [run.output["queued"] for run in result.hooks] == [True] * 30
    wait_until(
        lambda: all((item.studio, item.genres) == ("Everybody's", ["Bulk"]) for _, item in pairs),
        "all show it",
    )
    harness.wait_for_empty_queue()
    assert len(harness.workers()) == 1


def test_the_tagger_gives_each_scene_its_own(harness: ProcessHarness) -> None:
    pairs = harness.pairs(3)
    harness.stash.tagger_save(
        [{"id": scene.id, "title": f"Number {scene.id}"} for scene, _ in pairs]
    )
    for scene, item in pairs:
        harness.wait_for_title(item, f"Number {scene.id}")


def test_identify_and_a_cleared_field_reach_plex_and_a_scan_does_not(
    harness: ProcessHarness,
) -> None:
    scene, item = harness.pair()
    (run,) = harness.stash.scan_update(scene.id).hooks
    assert run.output == {"scene_id": scene.id, "queued": False}
    assert harness.workers() == []
    harness.stash.identify(scene.id, title="Identified", details="Text", groups=["Group"])
    harness.wait_for_title(item, "Identified")
    wait_until(lambda: item.collections == ["Group"])
    harness.save(scene, details="")
    wait_until(
        lambda: item.summary == "", "a text that PlexSync wrote and that was cleared in Stash goes"
    )
    assert item.title == "Identified"


def test_an_outage_loses_no_edit(harness: ProcessHarness) -> None:
    pairs = harness.pairs(8)
    harness.save(pairs[0][0], title="Before")
    harness.wait_for_title(pairs[0][1], "Before")
    harness.plex.stop()
    for scene, _ in pairs:
        harness.save(scene, title=f"During {scene.id}")
    wait_until(lambda: "Plex fails" in harness.worker_log())
    harness.plex.start()
    for scene, item in pairs:
        harness.wait_for_title(item, f"During {scene.id}")
    harness.wait_for_empty_queue()


def test_a_killed_worker_is_replaced_and_no_edit_is_lost(
    harness: ProcessHarness,
) -> None:
    pairs = harness.pairs(6)
    hang = harness.plex.faults.add(Hang(), method="PUT")
    for scene, _ in pairs:
        harness.save(scene, title=f"Title {scene.id}")
    assert harness.plex.log.wait_for(method="PUT", timeout=240)
    (pid,) = harness.workers()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pid not in harness.workers())
    hang.remove()
    assert {job["scene_id"] for job in queued(harness.data_dir)} == {scene.id for scene, _ in pairs}
    other, other_item = harness.pair("other")
    harness.save(other, title="After the kill")
    harness.wait_for_title(other_item, "After the kill")
    for scene, item in pairs:
        harness.wait_for_title(item, f"Title {scene.id}")


def test_a_worker_ends_on_request_and_the_next_save_starts_another(harness: ProcessHarness) -> None:
    scene, item = harness.pair()
    harness.save(scene, title="One")
    harness.wait_for_title(item, "One")
    (pid,) = harness.workers()
    os.kill(pid, signal.SIGTERM)
    harness.wait_for_exit()
    assert "Worker ends" in harness.worker_log()
    harness.save(scene, title="Two")
    harness.wait_for_title(item, "Two")


def test_an_idle_worker_exits_and_the_next_edit_arrives(
    make_harness: Callable[..., ProcessHarness],
) -> None:
    harness = make_harness(env={"PLEXSYNC_IDLE_TIMEOUT": "0.3"})
    scene, item = harness.pair()
    for number in range(3):
        harness.save(scene, title=f"Title {number}")
        harness.wait_for_title(item, f"Title {number}")
        time.sleep(0.25 + 0.1 * number)  # so that some saves meet a worker that is about to exit
    harness.wait_for_exit()


def test_parallel_saves_from_many_tabs_reach_plex_through_one_worker(
    harness: ProcessHarness,
) -> None:
    pairs = harness.pairs(50)
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda pair: harness.save(pair[0], title=f"Tab {pair[0].id}"), pairs))
    for scene, item in pairs:
        harness.wait_for_title(item, f"Tab {scene.id}")
    assert harness.worker_log().count("Worker started") == 1
    assert len(harness.workers()) == 1


def test_a_deleted_scene_leaves_plex_alone(harness: ProcessHarness) -> None:
    scene, item = harness.pair()
    harness.save(scene, title="Here")
    harness.wait_for_title(item, "Here")
    harness.stash.destroy_scene(scene.id)
    harness.wait_for_empty_queue()
    wait_until(lambda: "gone from Stash" in harness.worker_log())
    assert item.title == "Here"


def test_an_expired_session_is_replaced_by_that_of_the_next_save(
    make_harness: Callable[..., ProcessHarness],
) -> None:
    harness = make_harness(username="user", password="secret-of-the-user")
    first, second = harness.pairs(2)
    harness.save(first[0], title="One")
    harness.wait_for_title(first[1], "One")
    harness.stash.invalidate_sessions()
    harness.save(second[0], title="Two")
    harness.wait_for_title(second[1], "Two")
