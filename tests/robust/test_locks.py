"""The worker's lock: a file system without locks, a deleted lock file, an exchanged folder."""

from __future__ import annotations

import errno
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from queue.operations import get_stats, load_sync_timestamps
from tests.harness.base import PLUGIN
from tests.harness.installation import ProcessHarness
from tests.harness.processes import signal_workers, wait_until
from tests.isolation import search_path
from tests.simulators.httpd import Hang
from worker.process import LOCK_FILE, worker_alive, worker_pid

fcntl = pytest.importorskip("fcntl")

#: Runs in each child, before anything else: the kernel of a file system without locks.
NO_LOCKS = """
import fcntl

def flock(descriptor, operation):
    raise OSError({number}, "no locks here")

fcntl.flock = flock
"""


@pytest.fixture(params=["ENOLCK", "EOPNOTSUPP", "ENOSYS"])
def without_locks(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ProcessHarness]:
    folder = tmp_path / "site"
    folder.mkdir()
    code = NO_LOCKS.format(number=getattr(errno, request.param))
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    with ProcessHarness(
        tmp_path, env={"PYTHONPATH": search_path(str(folder))}, settings={"sync_poster": False}
    ) as harness:
        yield harness


def test_a_file_system_without_locks_is_said_everywhere(without_locks: ProcessHarness) -> None:
    harness = without_locks
    scene, _ = harness.pair("a")
    run = harness.save(scene, "New")
    warnings = [line.text for line in run.log if line.level == "warning"]
    assert any("no file locks" in text and "STASH_PLUGIN_DATA" in text for text in warnings)
    for name, part in (
        ("Check setup", "no file locks"),
        ("Status", "can't run here"),
        ("Sync recent scenes", "no file locks"),
    ):
        harness.stash.run_task(PLUGIN, name).wait(240)
        texts = [line.text for line in harness.stash.plugin_log]
        assert any(part in text for text in texts), (name, texts)
    texts = [line.text for line in harness.stash.plugin_log]
    assert not any("all is well" in text or "Worker: running" in text for text in texts)
    # On a busy machine the hook may have spooled it as well, after 50 ms.
    assert get_stats(harness.data_dir)["pending"] in (1, 2)


@pytest.fixture
def staying(tmp_path: Path) -> Iterator[ProcessHarness]:
    """A worker that stays, with nothing to do."""
    with ProcessHarness(
        tmp_path, env={"PLEXSYNC_IDLE_TIMEOUT": ""}, settings={"sync_poster": False}
    ) as harness:
        scene, item = harness.pair("a")
        harness.save(scene, "One")
        harness.wait_for_title(item, "One")
        harness.wait_for_empty_queue()
        yield harness


def has_one_worker(harness: ProcessHarness) -> bool:
    """Return whether one worker runs, and holds the lock of the file that is there now."""
    data_dir = str(harness.data_dir)
    return harness.workers() == [worker_pid(data_dir)] and worker_alive(data_dir)


def test_a_worker_whose_lock_file_was_deleted_takes_the_new_one(staying: ProcessHarness) -> None:
    """The worker sees it before any hook: it may stay, since no other worker can be there."""
    harness, scene = staying, staying.stash.scene(1)
    (harness.data_dir / LOCK_FILE).unlink()
    wait_until(lambda: has_one_worker(harness), harness.workers)
    first = harness.worker
    harness.save(scene, "Two")
    harness.wait_for_title(harness.item_of(scene), "Two")
    assert harness.worker == first
    assert has_one_worker(harness)


def test_a_worker_whose_lock_file_was_deleted_leaves_for_the_one_of_a_hook(
    staying: ProcessHarness,
) -> None:
    """A hook sees it before the worker, and starts another."""
    harness, scene = staying, staying.stash.scene(1)
    first = harness.worker
    signal_workers(harness.data_dir, signal.SIGSTOP)
    (harness.data_dir / LOCK_FILE).unlink()
    harness.save(scene, "Two")
    wait_until(lambda: worker_pid(str(harness.data_dir)), "the lock of a second worker")
    signal_workers(harness.data_dir, signal.SIGCONT)
    wait_until(lambda: has_one_worker(harness), harness.workers)
    assert harness.worker != first
    harness.wait_for_title(harness.item_of(scene), "Two")
    harness.save(scene, "Three")
    harness.wait_for_title(harness.item_of(scene), "Three")
    assert has_one_worker(harness)


def test_a_look_at_the_lock_that_takes_long_keeps_no_worker_away(harness: ProcessHarness) -> None:
    """A process that only looks whether a worker is there may be paused at that moment."""
    scene, item = harness.pair("a")
    harness.data_dir.mkdir(mode=0o700, exist_ok=True)
    with open(harness.data_dir / LOCK_FILE, "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        harness.save(scene, "One")
        wait_until(harness.workers, "a process that waits for the lock")
        time.sleep(2)  # it looks at the lock every half second
    harness.wait_for_title(item, "One")
    assert len(harness.workers()) == 1


def test_an_exchanged_data_directory_is_left_alone_by_the_old_worker(
    harness: ProcessHarness, tmp_path: Path
) -> None:
    scene, item = harness.pair("a")
    held = harness.plex.faults.add(Hang(), method="PUT")
    harness.save(scene, "One")
    assert harness.plex.log.wait_for(1, "PUT")
    first = harness.worker
    harness.data_dir.rename(tmp_path / "before")
    harness.data_dir.mkdir(mode=0o700)
    held.remove()
    harness.wait_for_title(item, "One")
    wait_until(lambda: first not in harness.workers(), "the old worker's end")
    assert load_sync_timestamps(harness.data_dir) == {}, "nothing of the old one gets in"
    harness.save(scene, "Two")
    harness.wait_for_title(item, "Two")
    assert len(harness.workers()) == 1
