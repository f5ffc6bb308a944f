"""A worker that stays: who wakes it, and that nothing is lost while it is away."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.harness.installation import ProcessHarness
from tests.harness.processes import kill_workers, wait_until
from tests.simulators.httpd import Answer
from worker.process import is_unfinished

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="asks /proc")


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ProcessHarness]:
    """An installation with a resident worker that has nothing to do."""
    env = {"PLEXSYNC_IDLE_TIMEOUT": "", "PLEXSYNC_TIME_SCALE": "0.005"}
    with ProcessHarness(tmp_path, env=env) as harness:
        scene, item = harness.pair()
        harness.save(scene, "First")
        harness.wait_for_title(item, "First")
        harness.wait_for_empty_queue()
        yield harness
    harness.check()


def filtered_save(harness: ProcessHarness) -> None:
    """Save what Plex does not show: the hook queues nothing."""
    (run,) = harness.stash.save_scene(1, play_duration=5.0).hooks
    assert (run.output or {}).get("queued") is False, run


def test_killed_with_nothing_to_do_it_comes_back_with_the_next_save(
    harness: ProcessHarness,
) -> None:
    kill_workers(harness.data_dir)
    harness.wait_for_exit()
    filtered_save(harness)
    wait_until(harness.workers, "another worker")


def test_it_leaves_when_stash_is_gone_and_the_page_wakes_it(harness: ProcessHarness) -> None:
    harness.stash.change_silently(1, title="Changed by a script")
    harness.stash.faults.add(Answer(503))
    harness.wait_for_exit()
    assert "Worker ends: Stash has not answered for a while" in harness.worker_log()
    assert is_unfinished(str(harness.data_dir))
    harness.stash.faults.clear()
    found = harness.stash.run_operation("PlexSync", {"mode": "page", "view": "state"})
    assert found["must_wake"] is True
    assert found["worker"]["left_because"] == "Stash has not answered for a while"
    assert found["worker"]["left_at"] > 0
    harness.stash.run_operation("PlexSync", {"mode": "wake"})
    harness.wait_for_title(harness.item_of(harness.stash.scene(1)), "Changed by a script")


def test_a_task_wakes_it_too(harness: ProcessHarness) -> None:
    kill_workers(harness.data_dir)
    harness.wait_for_exit()
    harness.stash.run_operation("PlexSync", {"mode": "status"})
    wait_until(harness.workers, "another worker")


def test_after_a_task_that_was_the_worker_one_is_there(harness: ProcessHarness) -> None:
    kill_workers(harness.data_dir)
    harness.wait_for_exit()
    started = harness.worker_log().count("Worker started")
    harness.stash.run_operation("PlexSync", {"mode": "process"})
    wait_until(lambda: harness.worker_log().count("Worker started") > started, "another worker")


def test_two_browsers_and_a_task_at_once_start_one_worker(harness: ProcessHarness) -> None:
    kill_workers(harness.data_dir)
    harness.wait_for_exit()
    started = harness.worker_log().count("Worker started")
    asked = [
        {"mode": "wake"}, {"mode": "page", "view": "state"}, {"mode": "wake"}, {"mode": "status"},
        {"mode": "wake"},
    ]  # fmt: skip
    with ThreadPoolExecutor(2 * len(asked)) as pool:
        list(pool.map(lambda it: harness.stash.run_operation("PlexSync", it), 2 * asked))
    wait_until(lambda: harness.worker_log().count("Worker started") > started, "a worker")
    harness.save(harness.stash.scene(1), "By that worker")
    harness.wait_for_title(harness.item_of(harness.stash.scene(1)), "By that worker")
    assert harness.worker_log().count("Worker started") == started + 1
    assert len(harness.workers()) == 1
