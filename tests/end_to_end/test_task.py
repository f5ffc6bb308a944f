"""The task button Sync recent scenes: with and without a worker, in every weather, stopped and started again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from tests.end_to_end.conftest import TASK, World
from tests.entry.processes import queued, until
from tests.simulators.httpd import Delay, Hang
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Job, Scene

HOUR = 3600.0


def start(world: World) -> Job:
    return world.stash.run_task("PlexSync", TASK)


def run(world: World) -> dict[str, Any]:
    """Run the task to its end; it must not fail."""
    job = start(world)
    assert job.wait(240)
    assert job.run is not None
    assert (job.status, job.run.exit_code, job.run.error) == ("FINISHED", 0, None), job.run
    assert all(0.0 <= fraction <= 1.0 for fraction in job.progress)
    assert job.progress == sorted(job.progress)
    assert job.progress[-1] == 1.0
    output = job.run.output
    assert isinstance(output, dict)
    return output


def counts(output: dict[str, Any]) -> dict[str, Any]:
    """The answer but for its one line."""
    assert output["ok"], output
    return {key: value for key, value in output.items() if key not in ("summary", "ok")}


def changed(world: World, count: int, *, ago: float = HOUR) -> list[tuple[Scene, PlexItem]]:
    """Scenes that were changed without a hook, as Auto Tag does."""
    return [
        world.pair(f"file{number}", title=f"Title {number}", updated_at=time.time() - ago)
        for number in range(count)
    ]


def assert_all_show(world: World, pairs: list[tuple[Scene, PlexItem]]) -> None:
    for scene, item in pairs:
        world.shows(item, scene.title)


def test_without_a_worker_the_task_does_it_all_itself_with_progress(world: World) -> None:
    pairs = changed(world, 12)
    _, old_item = world.pair("old", title="Changed long ago", updated_at=time.time() - 30 * HOUR)
    job = start(world)
    assert job.wait(240)
    assert job.run is not None
    assert counts(job.run.output) == {"queued": 12, "in_sync": 0}
    assert [item.title for _, item in pairs] == [scene.title for scene, _ in pairs], (
        "done when the task is"
    )
    assert old_item.title == "old"
    assert any(0.0 < fraction < 1.0 for fraction in job.progress)
    assert len(set(job.progress)) > 5
    assert not world.workers()
    assert [line.level for line in job.run.log] == ["info"]


def test_what_is_in_sync_is_left_out_and_nothing_to_do_is_fine(world: World) -> None:
    assert counts(run(world)) == {"queued": 0, "in_sync": 0}
    pairs = changed(world, 3)
    assert run(world)["queued"] == 3
    assert counts(run(world)) == {"queued": 0, "in_sync": 3}
    assert len(world.plex.writes) == 3
    world.stash.change_silently(pairs[0][0].id, title="Newer", updated_at=time.time())
    assert counts(run(world)) == {"queued": 1, "in_sync": 2}
    assert pairs[0][1].title == "Newer"


def test_with_a_worker_alive_the_task_leaves_the_work_to_it(world: World) -> None:
    first, item = world.pair()
    world.save(first, title="Saved")
    world.shows(item, "Saved")
    workers = world.workers()
    assert len(workers) == 1
    pairs = changed(world, 8)
    world.plex.faults.add(Delay(0.05), method="PUT")
    output = run(world)
    assert "waiting" not in output
    assert [item.title for _, item in pairs] == [scene.title for scene, _ in pairs]
    assert world.workers() == workers


def test_with_plex_down_the_task_says_so_and_the_scenes_arrive_when_it_is_back(
    world: World,
) -> None:
    pairs = changed(world, 3)
    world.plex.stop()
    output = run(world)
    assert output["queued"] == 3
    assert "Plex is down" in output["waiting"]
    assert any("Plex is down" in text for text in world.errors_in_stash())
    world.plex.start()
    assert_all_show(world, pairs)


def test_with_a_wrong_setting_the_task_names_it_and_correcting_it_is_enough(world: World) -> None:
    world.settings(plex_token="a-token-that-plex-rejects")
    pairs = changed(world, 3)
    output = run(world)
    assert "plex_token" in output["waiting"]
    assert any("plex_token" in text for text in world.errors_in_stash())
    assert world.plex.writes == []
    world.settings()
    assert_all_show(world, pairs)


def test_switched_off_the_task_queues_and_says_so(world: World) -> None:
    world.settings(enabled=False)
    changed(world, 2)
    assert "switched off" in run(world)["waiting"]
    assert world.plex.writes == []
    assert len(queued(world.data_dir)) == 2


def test_stopped_halfway_and_started_again_it_brings_the_rest(world: World) -> None:
    pairs = changed(world, 12)
    slow = world.plex.faults.add(Delay(0.1), method="PUT")
    job = start(world)
    until(lambda: len(world.plex.writes) >= 3, "some are written")
    job.stop()
    assert job.wait(240)
    assert job.status == "CANCELLED"
    slow.remove()
    assert len(world.plex.writes) < 12
    run(world)
    assert_all_show(world, pairs)
    world.drained()


def test_stopped_halfway_the_rest_comes_with_the_next_save(world: World) -> None:
    pairs = changed(world, 6)
    slow = world.plex.faults.add(Delay(0.1), method="PUT")
    job = start(world)
    until(lambda: len(world.plex.writes) >= 2)
    job.stop()
    assert job.wait(240)
    slow.remove()
    other, item = world.pair("other")
    world.save(other, title="Another save")
    world.shows(item, "Another save")
    assert_all_show(world, pairs)


def test_a_save_while_the_task_is_at_work_is_synced_too(world: World) -> None:
    changed(world, 8)
    slow = world.plex.faults.add(Delay(0.1), method="PUT")
    job = start(world)
    until(lambda: len(world.plex.writes) >= 2)
    other, item = world.pair("other")
    world.save(other, title="In between")
    slow.remove()
    assert job.wait(240)
    world.shows(item, "In between")


def test_when_the_worker_dies_while_the_task_looks_on_somebody_takes_over(world: World) -> None:
    """The task found a worker alive and left the work to it; then that one is killed. No other event comes."""
    first, item = world.pair()
    world.save(first, title="Saved")
    world.shows(item, "Saved")
    pairs = changed(world, 3)
    hang = world.plex.faults.add(Hang(), method="PUT")
    requests_before = world.plex.log.count(method="PUT")
    job = start(world)
    assert world.plex.log.wait_for(requests_before + 1, method="PUT", timeout=240)
    (pid,) = world.workers()
    os.kill(pid, signal.SIGKILL)
    until(lambda: pid not in world.workers())
    hang.remove()
    assert job.wait(240)
    for scene, item in pairs:
        until(lambda scene=scene, item=item: item.title == scene.title, scene.title)  # type: ignore[misc]


def test_a_stash_that_asks_for_a_login_answers_a_task(make_world: Callable[..., World]) -> None:
    world = make_world(
        username="user", password="secret-of-the-user", api_key="api-key-0123456789abcdef"
    )
    pairs = changed(world, 2)
    assert run(world)["queued"] == 2
    assert_all_show(world, pairs)


def test_an_operation_without_a_known_mode_is_an_error(world: World) -> None:
    job = world.stash.run_task("PlexSync", None, {"mode": "dance"})
    assert job.wait(240)
    assert job.run is not None
    assert "dance" in (job.run.error or "")
