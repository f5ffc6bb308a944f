"""Waiting edits always have somebody: any hook and any task starts a worker for them."""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from tests.harness.base import PLUGIN
from tests.harness.installation import ProcessHarness
from tests.harness.plugin import ENTRY, PRODUCT, ROOT, run, save
from tests.harness.processes import kill_workers, wait_until, worker_pids
from tests.harness.results import queued
from tests.queue.support import run_python
from tests.simulators.httpd import Answer, Hang
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene
from tests.tasks import run_task
from worker.process import worker_alive

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")


def left_by_a_crash(harness: ProcessHarness) -> tuple[Scene, PlexItem]:
    """Return a scene whose edit waits, as the worker was killed with it in hand.

    Plex refuses the write that it holds. Otherwise it could carry the write out while the process
    dies: a dying process is not listed any more before its connections are closed.
    """
    scene, item = harness.pair("left")
    rules = [harness.plex.faults.add(fault, method="PUT") for fault in (Hang(), Answer(503))]
    harness.save(scene, "Left")
    assert harness.plex.log.wait_for(1, "PUT", timeout=240)
    kill_workers(harness.data_dir)
    harness.wait_for_exit()
    wait_until(lambda: not worker_alive(str(harness.data_dir)), "the end of the worker's lock")
    for rule in rules:
        rule.remove()
    assert harness.plex.writes == []
    return scene, item


def save_filtered(harness: ProcessHarness, scene: Scene) -> None:
    """Save what Plex does not show."""
    (hook,) = harness.stash.save_scene(scene.id, play_duration=1.0).hooks
    assert hook.output == {"scene_id": scene.id, "queued": False}


def test_after_a_crash_a_filtered_hook_is_enough(harness: ProcessHarness) -> None:
    _, item = left_by_a_crash(harness)
    other, _ = harness.pair("other")
    save_filtered(harness, other)
    harness.wait_for_title(item, "Left")


@pytest.mark.parametrize("task", ["Status", "Check setup", "Show failed and ambiguous"])
def test_after_a_crash_a_task_that_only_reads_is_enough(harness: ProcessHarness, task: str) -> None:
    _, item = left_by_a_crash(harness)
    harness.stash.run_task(PLUGIN, task).wait(240)
    harness.wait_for_title(item, "Left")


def test_edits_that_wait_without_a_mark_have_somebody_after_a_task(harness: ProcessHarness) -> None:
    """A full disk may have kept the hook from leaving the mark."""
    _, item = left_by_a_crash(harness)
    (harness.data_dir / "unfinished").unlink()
    done = run_task(harness, "Status")
    assert done.output["worker"]["wanted"]
    harness.wait_for_title(item, "Left")


def test_an_idle_workers_end_leaves_nothing_for_filtered_hooks(tmp_path: Path) -> None:
    with ProcessHarness(tmp_path, env={"PLEXSYNC_IDLE_TIMEOUT": "0.2"}) as harness:
        scene, item = harness.pair("a")
        harness.save(scene, "New")
        harness.wait_for_title(item, "New")
        harness.wait_for_exit()
        wait_until(lambda: not (harness.data_dir / "unfinished").exists(), "no mark")
        save_filtered(harness, scene)
        assert harness.workers() == []


def test_a_stopped_task_leaves_a_worker_for_the_edits(harness: ProcessHarness) -> None:
    """Stash stops a task by SIGKILL."""
    pairs = [harness.pair(f"s{number}") for number in range(3)]
    stuck = harness.plex.faults.add(Hang(), method="PUT")
    job = harness.stash.run_task(PLUGIN, "Sync all scenes")
    assert harness.plex.log.wait_for(1, "PUT", timeout=240)
    harness.save(pairs[0][0], "An edit meanwhile")
    job.stop()
    stuck.remove()
    harness.wait_for_title(pairs[0][1], "An edit meanwhile")


def test_a_task_that_was_the_worker_leaves_none_if_nothing_waits(harness: ProcessHarness) -> None:
    harness.stash.run_task(PLUGIN, "Process queue").wait(240)
    harness.wait_for_exit()
    assert not (harness.data_dir / "unfinished").exists()


def test_off_and_on_again_a_filtered_hook_is_enough(harness: ProcessHarness) -> None:
    scene, item = harness.pair("a")
    harness.configure(enabled=False)
    harness.save(scene, "While off")
    wait_until(lambda: "switched off" in harness.worker_log(), "the worker's end")
    harness.wait_for_exit()
    harness.configure(enabled=True)
    mark = harness.data_dir / "disabled"
    os.utime(mark, (mark.stat().st_mtime - 120,) * 2)
    save_filtered(harness, scene)
    harness.wait_for_title(item, "While off")


def test_a_worker_that_was_asked_to_leave_is_followed(harness: ProcessHarness) -> None:
    scene, item = harness.pair("a")
    harness.plex.stop()
    harness.save(scene, "New")
    wait_until(lambda: "Plex" in harness.worker_log(), "the outage")
    os.kill(harness.worker, signal.SIGTERM)
    harness.wait_for_exit()
    assert [job["scene_id"] for job in queued(harness.data_dir)] == [scene.id]
    harness.plex.start()
    save_filtered(harness, scene)
    harness.wait_for_title(item, "New")


# --- an old Python


@pytest.fixture
def too_old(tmp_path: Path) -> Path:
    """Return the entry of a copy that needs a Python which is newer than any."""
    folder = tmp_path / "plugin"
    folder.mkdir()
    for name in PRODUCT:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    entry = folder / ENTRY.name
    text = entry.read_text(encoding="utf-8")
    entry.write_text(re.sub(r"OLDEST_PYTHON = \(.*\)", "OLDEST_PYTHON = (3, 99)", text))
    return entry


def test_an_old_python_queues_first_and_then_complains(tmp_path: Path, too_old: Path) -> None:
    data_dir = tmp_path / "data"
    answer = run(save(7), data_dir, entry=too_old)
    assert answer.error.startswith("the edit is queued, but PlexSync needs Python 3.10 or newer")
    assert "Python path" in answer.error
    assert [job["scene_id"] for job in queued(data_dir)] == [7]
    assert worker_pids(data_dir) == []


def test_a_task_on_an_old_python_is_one_line(tmp_path: Path, too_old: Path) -> None:
    stdin = b'{"args": {"mode": "status"}, "server_connection": {}}'
    answer = run(stdin, tmp_path / "data", entry=too_old)
    assert "PlexSync needs Python 3.10 or newer" in answer.error


def test_a_hook_uses_nothing_that_an_old_python_lacks() -> None:
    """Only the grammar is checked: the oldest Python that runs hooks is not on every machine."""
    code = (
        "import hooks.plugin, hooks.session, sys\n"
        "print(*(module.__file__ for module in sys.modules.values()"
        " if getattr(module, '__file__', None)), sep='\\n')"
    )
    files = [Path(line) for line in run_python("-c", code).splitlines()]
    ours = [ENTRY, *(file for file in files if file.is_relative_to(ROOT))]
    assert len(ours) > 15
    for file in ours:
        if "tests" not in file.parts:
            ast.parse(file.read_text(encoding="utf-8"), str(file), feature_version=(3, 8))
