"""The task Sync recent scenes: with and without a worker, with failures, stopped and restarted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from tests.end_to_end.conftest import TASK
from tests.harness.installation import ProcessHarness
from tests.harness.processes import stop_workers, wait_until
from tests.simulators.httpd import Delay, Hang
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Job, Scene

HOUR = 3600.0


def start(harness: ProcessHarness) -> Job:
    return harness.stash.run_task("PlexSync", TASK)


def run(harness: ProcessHarness) -> dict[str, Any]:
    """Run the task to its end and assert success."""
    job = start(harness)
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
    """Return the counts of the response that are not 0, but for work of the worker's own."""
    assert output["ok"], output
    others = ("summary", "ok", "waiting")
    return {key: value for key, value in output.items() if key not in others and value}


def changed(
    harness: ProcessHarness, count: int, *, ago: float = HOUR
) -> list[tuple[Scene, PlexItem]]:
    """Add scenes and change them without a hook, as Auto Tag does."""
    return [
        harness.pair(f"file{number}", title=f"Title {number}", updated_at=time.time() - ago)
        for number in range(count)
    ]


def stop(job: Job) -> None:
    """Stop the task, and wait for the end of its process."""
    job.stop()
    assert job.wait(240)
    assert job.run is not None
    assert job.run.wait(240)


def assert_all_show(harness: ProcessHarness, pairs: list[tuple[Scene, PlexItem]]) -> None:
    for scene, item in pairs:
        harness.wait_for_title(item, scene.title)


def test_without_a_worker_the_task_syncs_all_scenes_itself_with_progress(
    harness: ProcessHarness,
) -> None:
    pairs = changed(harness, 12)
    _, old_item = harness.pair("old", title="Changed long ago", updated_at=time.time() - 30 * HOUR)
    job = start(harness)
    assert job.wait(240)
    assert job.run is not None
    assert counts(job.run.output) == {"synced": 12}
    assert [item.title for _, item in pairs] == [scene.title for scene, _ in pairs], (
        "done when the task is"
    )
    assert old_item.title == "old"
    assert any(0.0 < fraction < 1.0 for fraction in job.progress)
    assert len(harness.workers()) <= 1, "it reads back what was written"
    assert [line.level for line in job.run.log] == ["info"]


def test_scenes_in_sync_are_skipped_and_an_empty_run_succeeds(harness: ProcessHarness) -> None:
    assert counts(run(harness)) == {}
    assert stop_workers(harness.data_dir)
    pairs = changed(harness, 3)
    assert run(harness)["synced"] == 3
    assert stop_workers(harness.data_dir)
    assert counts(run(harness)) == {"in_sync": 3}
    assert len(harness.plex.writes) == 3
    assert stop_workers(harness.data_dir)
    harness.stash.change_silently(pairs[0][0].id, title="Newer", updated_at=time.time())
    assert counts(run(harness)) == {"synced": 1, "in_sync": 2}
    assert pairs[0][1].title == "Newer"


def test_the_task_leaves_the_work_to_a_running_worker(harness: ProcessHarness) -> None:
    first, item = harness.pair()
    harness.save(first, title="Saved")
    harness.wait_for_title(item, "Saved")
    harness.wait_for_empty_queue()  # a hook on a busy machine spools its edit, too
    workers = harness.workers()
    assert len(workers) == 1
    pairs = changed(harness, 8)
    harness.plex.faults.add(Delay(0.05), method="PUT")
    output = run(harness)
    assert output["waiting"] == 0
    assert [item.title for _, item in pairs] == [scene.title for scene, _ in pairs]
    assert harness.workers() == workers


def test_with_plex_down_the_task_says_so_and_the_scenes_arrive_when_it_is_back(
    harness: ProcessHarness,
) -> None:
    pairs = changed(harness, 3)
    harness.plex.stop()
    output = run(harness)
    assert not output["ok"]
    assert "Plex is down" in output["reason"]
    assert any("Plex is down" in text for text in harness.errors_in_stash())
    harness.plex.start()
    assert_all_show(harness, pairs)


def test_with_a_wrong_setting_the_task_names_it_and_correcting_it_is_enough(
    harness: ProcessHarness,
) -> None:
    harness.configure(plex_token="a-token-that-plex-rejects")
    pairs = changed(harness, 3)
    output = run(harness)
    assert "plex_token" in output["reason"]
    assert any("plex_token" in text for text in harness.errors_in_stash())
    assert harness.plex.writes == []
    harness.configure()
    assert_all_show(harness, pairs)


def test_switched_off_the_task_says_so_and_goes_on_once_it_is_on(harness: ProcessHarness) -> None:
    harness.configure(enabled=False)
    pairs = changed(harness, 2)
    assert "switched off" in run(harness)["reason"]
    assert harness.plex.writes == []
    harness.configure()
    run(harness)
    assert_all_show(harness, pairs)


def test_stopped_halfway_and_restarted_it_syncs_the_rest(harness: ProcessHarness) -> None:
    pairs = changed(harness, 12)
    held = harness.hold_writes_after(3)
    job = start(harness)
    wait_until(lambda: len(harness.plex.writes) >= 3, "some are written")
    stop(job)
    assert job.status == "CANCELLED"
    held.remove()
    assert len(harness.plex.writes) < 12
    run(harness)
    assert_all_show(harness, pairs)
    harness.wait_for_empty_queue()


def test_stopped_halfway_nothing_more_is_synced_until_the_next_run(
    harness: ProcessHarness,
) -> None:
    """The next save starts a worker, which does not go on with what was stopped."""
    pairs = changed(harness, 6)
    held = harness.hold_writes_after(2)
    job = start(harness)
    wait_until(lambda: len(harness.plex.writes) >= 2)
    stop(job)
    held.remove()
    other, item = harness.pair("other")
    harness.save(other, title="Another save")
    harness.wait_for_title(item, "Another save")
    harness.wait_for_empty_queue()
    assert any(item.title != scene.title for scene, item in pairs)
    run(harness)
    assert_all_show(harness, pairs)


def test_a_save_while_the_task_runs_is_synced_too(harness: ProcessHarness) -> None:
    changed(harness, 8)
    slow = harness.plex.faults.add(Delay(0.1), method="PUT")
    job = start(harness)
    wait_until(lambda: len(harness.plex.writes) >= 2)
    other, item = harness.pair("other")
    harness.save(other, title="In between")
    slow.remove()
    assert job.wait(240)
    harness.wait_for_title(item, "In between")


def test_the_scenes_are_synced_when_the_worker_dies_during_the_task(
    harness: ProcessHarness,
) -> None:
    """The task leaves the work to a running worker, which is then killed. No other event comes."""
    first, item = harness.pair()
    harness.save(first, title="Saved")
    harness.wait_for_title(item, "Saved")
    pairs = changed(harness, 3)
    hang = harness.plex.faults.add(Hang(), method="PUT")
    requests_before = harness.plex.log.count(method="PUT")
    job = start(harness)
    assert harness.plex.log.wait_for(requests_before + 1, method="PUT", timeout=240)
    (pid,) = harness.workers()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pid not in harness.workers())
    hang.remove()
    assert job.wait(240)
    wait_until(
        lambda: all(item.title == scene.title for scene, item in pairs),
        lambda: [item.title for _, item in pairs],
    )


def test_a_task_works_with_a_stash_that_requires_a_login(
    make_harness: Callable[..., ProcessHarness],
) -> None:
    harness = make_harness(
        username="user", password="secret-of-the-user", api_key="api-key-0123456789abcdef"
    )
    pairs = changed(harness, 2)
    assert run(harness)["synced"] == 2
    assert_all_show(harness, pairs)


def test_an_operation_without_a_known_mode_is_an_error(harness: ProcessHarness) -> None:
    job = harness.stash.run_task("PlexSync", None, {"mode": "dance"})
    assert job.wait(240)
    assert job.run is not None
    assert "dance" in (job.run.error or "")
