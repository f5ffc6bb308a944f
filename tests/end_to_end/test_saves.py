"""A scene saved in Stash reaches its Plex item, in every way in which one can save."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.end_to_end.conftest import TASK, World
from tests.entry.processes import queued, until
from tests.simulators.httpd import Hang


def test_a_save_with_no_worker_alive_reaches_plex(world: World) -> None:
    scene, item = world.pair(studio="Studio", performers=["Ann", "Bea"], tags=["One"])
    assert world.workers() == []
    run = world.save(scene, title="Seen", details="A text", date="2024-05-06")
    assert run.ended
    assert run.exit_code == 0
    assert len(world.workers()) == 1, "the worker lives on after its hook"
    world.shows(item, "Seen")
    until(lambda: item.summary == "A text")
    assert (item.studio, item.year, item.originally_available_at) == ("Studio", 2024, "2024-05-06")
    assert (sorted(item.actors), item.genres) == (["Ann", "Bea"], ["One"])
    assert {"title", "summary", "studio", "genre", "actor"} <= item.locked
    world.drained()


def test_all_fields_of_a_save_go_out_in_one_request_and_once(world: World) -> None:
    scene, item = world.pair(tags=["One"], performers=["Ann"])
    world.save(scene, title="T", details="D", date="2024-05-06")
    world.shows(item, "T")
    world.drained()
    world.save(scene, title="T")
    world.drained()
    assert len(world.plex.writes) == 1


def test_later_edits_of_a_scene_that_waits_win(world: World) -> None:
    """Plex does not answer, so that the scene waits for the whole of the edits."""
    scene, item = world.pair()
    hang = world.plex.faults.add(Hang())
    for title in ("First", "Second", "Third"):
        world.save(scene, title=title, details=f"Text of {title}")
    assert len(queued(world.data_dir)) <= 2, "one at work, one that waits"
    hang.remove()
    world.shows(item, "Third")
    until(lambda: item.summary == "Text of Third")
    world.drained()
    assert (item.title, item.summary) == ("Third", "Text of Third")


def test_edits_of_a_scene_that_is_being_processed_win(world: World) -> None:
    """The worker has read the scene and is writing it; then two more edits come."""
    scene, item = world.pair()
    hang = world.plex.faults.add(Hang(), method="PUT", times=1)
    world.save(scene, title="First")
    assert world.plex.log.wait_for(method="PUT", timeout=240)
    world.save(scene, title="Second")
    world.save(scene, title="Third")
    hang.remove()
    world.shows(item, "Third")
    world.drained()
    assert item.title == "Third"


def test_an_edit_after_the_scene_was_read_is_not_taken_for_synced(world: World) -> None:
    """The worker has read the scene from Stash and waits for Plex's item; then another edit comes."""
    scene, item = world.pair()
    hang = world.plex.faults.add(
        Hang(), method="GET", path=f"/library/metadata/{item.rating_key}", times=1
    )
    world.save(scene, title="First")
    assert world.plex.log.wait_for(path=f"/library/metadata/{item.rating_key}", timeout=240)
    world.save(scene, title="Second")
    hang.remove()
    world.shows(item, "Second")
    world.drained()
    assert item.title == "Second"


def test_an_edit_without_a_hook_during_a_sync_is_newer_than_that_sync(world: World) -> None:
    """What was read before the edit is recorded after it; the task must still find the edit."""
    scene, item = world.pair()
    hang = world.plex.faults.add(Hang(), method="PUT", times=1)
    world.save(scene, title="First")
    assert world.plex.log.wait_for(method="PUT", timeout=240)
    world.stash.change_silently(scene.id, title="Second")
    time.sleep(1.1)  # Stash's times are whole seconds
    hang.remove()
    world.drained()
    job = world.stash.run_task("PlexSync", TASK)
    assert job.wait(240)
    world.shows(item, "Second")


def test_a_bulk_edit_reaches_every_scene(world: World) -> None:
    pairs = world.pairs(30)
    result = world.stash.bulk_save(
        [scene.id for scene, _ in pairs], studio="Everybody's", tags=["Bulk"]
    )
    assert [run.output["queued"] for run in result.hooks] == [True] * 30
    for _, item in pairs:
        until(lambda item=item: item.studio == "Everybody's" and item.genres == ["Bulk"], item.path)  # type: ignore[misc]
    world.drained()
    assert len(world.workers()) == 1


def test_the_tagger_gives_each_scene_its_own(world: World) -> None:
    pairs = world.pairs(3)
    world.stash.tagger_save([{"id": scene.id, "title": f"Number {scene.id}"} for scene, _ in pairs])
    for scene, item in pairs:
        world.shows(item, f"Number {scene.id}")


def test_identify_and_a_cleared_field_reach_plex_and_a_scan_does_not(world: World) -> None:
    scene, item = world.pair()
    (run,) = world.stash.scan_update(scene.id).hooks
    assert run.output == {"scene_id": scene.id, "queued": False}
    assert world.workers() == []
    world.stash.identify(scene.id, title="Identified", details="Text", groups=["Group"])
    world.shows(item, "Identified")
    until(lambda: item.collections == ["Group"])
    world.save(scene, details="")
    until(
        lambda: item.summary == "", "a text that PlexSync wrote and that was cleared in Stash goes"
    )
    assert item.title == "Identified"


def test_an_outage_in_the_middle_costs_nothing(world: World) -> None:
    pairs = world.pairs(8)
    world.save(pairs[0][0], title="Before")
    world.shows(pairs[0][1], "Before")
    world.plex.stop()
    for scene, _ in pairs:
        world.save(scene, title=f"During {scene.id}")
    until(lambda: "Plex fails" in world.worker_log())
    world.plex.start()
    for scene, item in pairs:
        world.shows(item, f"During {scene.id}")
    world.drained()


def test_a_worker_that_is_killed_at_work_is_replaced_and_nothing_is_lost(world: World) -> None:
    pairs = world.pairs(6)
    hang = world.plex.faults.add(Hang(), method="PUT")
    for scene, _ in pairs:
        world.save(scene, title=f"Title {scene.id}")
    assert world.plex.log.wait_for(method="PUT", timeout=240)
    (pid,) = world.workers()
    os.kill(pid, signal.SIGKILL)
    until(lambda: pid not in world.workers())
    hang.remove()
    assert {job["scene_id"] for job in queued(world.data_dir)} == {scene.id for scene, _ in pairs}
    other, other_item = world.pair("other")
    world.save(other, title="After the kill")
    world.shows(other_item, "After the kill")
    for scene, item in pairs:
        world.shows(item, f"Title {scene.id}")


def test_a_worker_ends_on_request_and_the_next_save_starts_another(world: World) -> None:
    scene, item = world.pair()
    world.save(scene, title="One")
    world.shows(item, "One")
    (pid,) = world.workers()
    os.kill(pid, signal.SIGTERM)
    until(lambda: not world.workers())
    assert "Worker ends" in world.worker_log()
    world.save(scene, title="Two")
    world.shows(item, "Two")


def test_a_worker_with_nothing_to_do_leaves_and_the_edit_after_that_arrives(
    make_world: Callable[..., World],
) -> None:
    world = make_world(env={"PLEXSYNC_IDLE_TIMEOUT": "0.3"})
    scene, item = world.pair()
    for number in range(3):
        world.save(scene, title=f"Title {number}")
        world.shows(item, f"Title {number}")
        time.sleep(0.25 + 0.1 * number)  # so that some saves meet a worker that is about to leave
    until(lambda: not world.workers())


def test_saves_at_once_from_many_tabs_reach_plex_by_one_worker(world: World) -> None:
    pairs = world.pairs(50)
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda pair: world.save(pair[0], title=f"Tab {pair[0].id}"), pairs))
    for scene, item in pairs:
        world.shows(item, f"Tab {scene.id}")
    assert world.worker_log().count("Worker started") == 1
    assert len(world.workers()) == 1


def test_a_deleted_scene_leaves_plex_alone(world: World) -> None:
    scene, item = world.pair()
    world.save(scene, title="Here")
    world.shows(item, "Here")
    world.stash.destroy_scene(scene.id)
    world.drained()
    until(lambda: "gone from Stash" in world.worker_log())
    assert item.title == "Here"


def test_a_session_that_ran_out_is_replaced_by_the_next_saves(
    make_world: Callable[..., World],
) -> None:
    world = make_world(username="user", password="secret-of-the-user")
    first, second = world.pairs(2)
    world.save(first[0], title="One")
    world.shows(first[1], "One")
    world.stash.invalidate_sessions()
    world.save(second[0], title="Two")
    world.shows(second[1], "Two")
