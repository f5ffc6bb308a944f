"""The upgrade on real processes: hooks, tasks, and a worker of version 0.1 that still runs."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from queue.operations import load_sync_timestamps
from tests.harness.installation import ProcessHarness
from tests.harness.processes import kill_workers, wait_until
from tests.harness.results import jobs_left, queued
from tests.tasks import run_task
from tests.upgrade import old_data
from tests.upgrade.test_upgrade import keys_to_write
from worker.bootstrap import make_ready
from worker.process import (
    ALIVE,
    WorkerLock,
    ensure_worker,
    is_unfinished,
    other_version,
    worker_pid,
)

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="asks /proc")

#: Holds the lock as the worker of version 0.1 does, until it is asked to leave.
_OLD_WORKER = """
import fcntl, os, signal, sys, time
if sys.argv[2] != "--data-dir":
    file = os.open(sys.argv[3], os.O_RDWR | os.O_CREAT, 0o600)
if sys.argv[2] == "hold":
    fcntl.flock(file, fcntl.LOCK_EX)
    os.ftruncate(file, 0)
    os.pwrite(file, str(os.getpid()).encode(), 0)
elif sys.argv[2] == "bystander":
    os.close(file)
signal.signal(signal.SIGTERM, lambda *_: os._exit(15))
print("ready", flush=True)
while True:
    time.sleep(60)
"""


@pytest.fixture
def old(tmp_path: Path) -> Iterator[ProcessHarness]:
    """An installation with the frozen data directory, before the first start of this version."""
    later = old_data.since_left()
    old_data.restore(tmp_path / "data", later)
    with ProcessHarness(tmp_path, settings=old_data.expected(later)["settings"]) as harness:
        old_data.populate(harness.stash, harness.plex, later)
        yield harness
    harness.check()


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ProcessHarness]:
    with ProcessHarness(tmp_path) as harness:
        yield harness
    harness.check()


@contextmanager
def process(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run `python PlexSync.py <arguments>` with the old worker's code."""
    script = folder / "old" / "PlexSync.py"
    script.parent.mkdir(exist_ok=True)
    script.write_text(_OLD_WORKER)
    command = [sys.executable, str(script), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == "ready\n"
            yield running
        finally:
            running.kill()


def wrote(harness: ProcessHarness) -> set[int]:
    edited = {write.rating_key for write in harness.plex.writes}
    return edited | {upload.rating_key for upload in harness.plex.uploads}


def is_settled(harness: ProcessHarness) -> bool:
    """Return whether the full pass has ended, and all jobs and passes with it."""
    with (
        suppress(sqlite3.OperationalError),  # not begun yet
        closing(sqlite3.connect(harness.data_dir / "history.db")) as database,
    ):
        ended = database.execute("SELECT 1 FROM state WHERE name = 'full_pass_ended_at'").fetchone()
        passes = database.execute("SELECT count(*) FROM passes").fetchone()[0]
        return bool(ended) and not passes and not jobs_left(harness.data_dir)
    return False


@pytest.mark.parametrize("kills", [0, 12])
def test_the_frozen_data_directory_is_taken_over(old: ProcessHarness, kills: int) -> None:
    """A save starts the first worker; kill -9 after each of its writes changes nothing."""
    there = old_data.expected(old_data.since_left())
    scene = old.stash.scene(9)
    old.save(scene, "Saved after the upgrade")
    for number in range(kills):
        wait_until(lambda number=number: len(old.plex.writes) >= number, "a write")  # type: ignore[misc]
        kill_workers(old.data_dir)
        old.wait_for_exit()
        old.save(scene, f"Saved after {number + 1} kills")
    item = old.plex.item(there["items"]["9"])
    old.wait_for_title(item, old.stash.scene(9).title)
    wait_until(lambda: is_settled(old), lambda: f"the full pass; {old.worker_log()[-3000:]}")
    assert wrote(old) == {*keys_to_write(there), item.rating_key}
    assert set(map(int, there["timestamps"])) <= set(load_sync_timestamps(old.data_dir))
    assert (old.data_dir / "memory.db.imported").exists()
    errors = [line.text for line in old.stash.plugin_log if line.level == "error"]
    assert errors == []


@pytest.mark.parametrize(
    "first", [("Status",), ("Check setup",), ("filtered hook",), ("Status", "filtered hook")]
)
def test_waiting_edits_are_done_after_the_upgrade_without_another_save(
    old: ProcessHarness, first: tuple[str, ...]
) -> None:
    for one in first:
        if one == "filtered hook":
            (hook,) = old.stash.save_scene(9, play_duration=1.0).hooks
            assert hook.output == {"scene_id": 9, "queued": False}
        else:
            run_task(old, one)
    wait_until(
        lambda: not jobs_left(old.data_dir), lambda: f"the edits; {old.worker_log()[-3000:]}"
    )


def test_a_task_that_is_killed_right_after_the_upgrade_leaves_the_mark(tmp_path: Path) -> None:
    old_data.restore(tmp_path)
    make_ready(str(tmp_path), "unused", lambda level, text: None)
    assert is_unfinished(str(tmp_path))


def test_an_old_worker_is_asked_to_leave_and_the_edit_waits_for_no_other(
    tmp_path: Path, harness: ProcessHarness
) -> None:
    scene, item = harness.pair()
    lock = harness.data_dir / "worker.lock"
    harness.data_dir.mkdir(exist_ok=True)
    with process(tmp_path, "worker", "hold", str(lock)) as old_worker:
        harness.save(scene, "For the new worker")
        assert old_worker.wait(240) == 15
        harness.wait_for_title(item, "For the new worker")
        (pid,) = harness.workers()
        assert worker_pid(str(harness.data_dir)) == pid


@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps")
@pytest.mark.parametrize(
    ("arguments", "is_found"),
    [
        (("worker", "--data-dir", "data"), True),
        (("worker", "--data-dir", "data", "--lock", "6"), True),
        (("worker", "--data-dir", "data2", "--lock", "6"), False),
        (("sync", "--data-dir", "data"), False),
    ],
)
def test_where_there_is_no_proc_ps_tells_whose_the_lock_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    is_found: bool,
) -> None:
    monkeypatch.setattr("worker.process._PROC", str(tmp_path / "proc"))
    monkeypatch.setattr("worker.process._PS", 240.0)
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    command, option, folder, *more = arguments
    with process(tmp_path, command, option, str(tmp_path / folder), *more) as running:
        (data_dir / "worker.lock").write_text(str(running.pid))
        assert other_version(str(data_dir)) == (running.pid if is_found else None)
    assert other_version(str(data_dir)) is None, "it has ended"


def test_many_hooks_start_one_successor(tmp_path: Path, harness: ProcessHarness) -> None:
    pairs = harness.pairs(8)
    lock = harness.data_dir / "worker.lock"
    harness.data_dir.mkdir(exist_ok=True)
    with process(tmp_path, "worker", "hold", str(lock)) as old_worker:
        os.kill(old_worker.pid, 19)  # frozen: it leaves only later
        for scene, _ in pairs:
            harness.save(scene, f"New {scene.id}")
            assert len(harness.workers()) <= 1
        os.kill(old_worker.pid, 18)
        for scene, item in pairs:
            harness.wait_for_title(item, f"New {scene.id}")
        assert len(harness.workers()) == 1


def test_a_successor_waits_for_one_that_is_about_to_end(
    tmp_path: Path, harness: ProcessHarness
) -> None:
    """A process that ends loses its command line before its locks: nothing tells whose they are."""
    scene, item = harness.pair()
    lock = harness.data_dir / "worker.lock"
    harness.data_dir.mkdir(exist_ok=True)
    with process(tmp_path, "worker", "hold", str(lock)) as old_worker:
        os.kill(old_worker.pid, 19)
        harness.save(scene, "New")
        wait_until(harness.workers, "the successor")
        lock.write_text(str(os.getpid()))  # this process is no worker
        time.sleep(2)  # it looks at the lock every half second
        os.kill(old_worker.pid, 18)
        harness.wait_for_title(item, "New")


def test_a_task_asks_an_old_worker_to_leave(tmp_path: Path, harness: ProcessHarness) -> None:
    scene, item = harness.pair()
    lock = harness.data_dir / "worker.lock"
    harness.data_dir.mkdir(exist_ok=True)
    with process(tmp_path, "worker", "hold", str(lock)) as old_worker:
        run_task(harness, "Sync all scenes")
        assert old_worker.wait(240) == 15
        assert item.title == scene.title


@pytest.mark.parametrize("arguments", [("worker", "bystander"), ("sync", "hold")])
def test_no_other_process_is_asked(tmp_path: Path, arguments: tuple[str, str]) -> None:
    """The id in the lock file is another process's by now: another worker's, or no worker's."""
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    lock = WorkerLock(str(data_dir))
    with process(tmp_path, *arguments, str(data_dir / "worker.lock")) as bystander:
        if arguments[1] == "bystander":
            assert lock.acquire()
            (data_dir / "worker.lock").write_text(str(bystander.pid))
        for _ in range(3):
            assert ensure_worker(str(data_dir), "PlexSync.py") == ALIVE
        with pytest.raises(subprocess.TimeoutExpired):
            bystander.wait(0.5)
        assert not (data_dir / "successor.lock").exists()
    lock.release()


@pytest.mark.parametrize("content", ["", "x", "-5", "0", "1", "99999999999999999999"])
def test_a_lock_file_without_a_worker_asks_nobody(tmp_path: Path, content: str) -> None:
    lock = WorkerLock(str(tmp_path))
    assert lock.acquire()
    (tmp_path / "worker.lock").write_text(content)
    assert ensure_worker(str(tmp_path), "PlexSync.py") == ALIVE
    lock.release()


def test_a_newer_history_is_left_alone_and_edits_are_kept(harness: ProcessHarness) -> None:
    scene, item = harness.pair()
    harness.save(scene, "First")
    harness.wait_for_title(item, "First")
    harness.wait_for_empty_queue()
    kill_workers(harness.data_dir)
    wait_until(lambda: not harness.workers(), "its end")
    file = harness.data_dir / "history.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA user_version=99")
        database.execute("CREATE TABLE later (something TEXT)")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = file.read_bytes()

    def said() -> list[str]:
        return [text for text in harness.errors_in_stash() if "newer PlexSync" in text]

    harness.save(scene, "Second")
    harness.wait_for_exit()
    # The first worker leaves the message; a hook that comes too soon for it says nothing.
    wait_until(lambda: harness.save(scene, "Third") and said(), "the message in Stash's log")
    harness.wait_for_exit()
    assert item.title == "First"
    (left,) = queued(harness.data_dir)
    assert left["job_key"] == f"scene_{scene.id}"
    assert file.read_bytes() == before
    (line,) = said()
    assert "Install that version again" in line
    job = harness.stash.run_task("PlexSync", "Process queue now", {})
    assert job.wait(240.0)
    assert job.run is not None
    assert "newer PlexSync" in str(job.run.error)
    assert "Unexpected" not in str(job.run.error)
    stderr = harness.data_dir / "worker.stderr"
    assert "Traceback" not in stderr.read_text()
    stderr.unlink()
