"""The worker as a process: start, single instance, exit, and resuming by the next worker."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from queue.operations import get_stats
from tests.harness.installation import ProcessHarness
from tests.harness.plugin import ENTRY
from tests.harness.processes import signal_workers, wait_until
from tests.harness.results import jobs_left, queued
from tests.simulators.httpd import Answer, Delay, Hang
from tests.simulators.plex import PlexSimulator
from tests.simulators.stash import Scene
from tests.tasks import run_command
from worker.process import (
    ALIVE,
    SILENT,
    SUCCESSOR_FILE,
    TASK,
    WorkerLock,
    ensure_worker,
    is_signed_by_us,
    worker_alive,
    worker_pid,
)

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="checks sessions, signals and modes of POSIX"
)
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

MakeHarness = Callable[..., ProcessHarness]


@pytest.fixture
def make_harness(tmp_path: Path, plex: PlexSimulator) -> Iterator[MakeHarness]:
    """Create installations, by default with production durations, all with one Plex."""
    with ExitStack() as stack:

        def make(name: str = "one", *, idle: float = 300.0, scale: float = 1.0) -> ProcessHarness:
            harness = ProcessHarness(
                tmp_path / name,
                plex=plex,
                env={"PLEXSYNC_IDLE_TIMEOUT": str(idle), "PLEXSYNC_TIME_SCALE": str(scale)},
                library=f"Library of {name}",
                plex_folder=f"/media/{name}",
                settings={"plex_libraries": f"Library of {name}", "sync_poster": False},
            )
            return stack.enter_context(harness)

        yield make


@pytest.fixture
def harness(make_harness: MakeHarness) -> ProcessHarness:
    return make_harness()


def starts(harness: ProcessHarness) -> int:
    return harness.worker_log().count("Worker started")


def test_a_hook_starts_a_worker_that_outlives_it_in_a_session_of_its_own(
    harness: ProcessHarness,
) -> None:
    scene, item = harness.pair("a")

    run = harness.save(scene, "New")

    assert run.ended, "stdout was closed and the process gone"
    harness.wait_for_title(item, "New")
    worker = harness.worker
    assert os.getsid(worker) == worker
    assert os.getsid(worker) != os.getsid(0)


@on_linux
def test_the_worker_inherits_no_descriptor_of_the_hook_and_no_secret(
    harness: ProcessHarness,
) -> None:
    harness.stash.set_credentials("me", "secret")
    harness.stash.set_api_key("api-key-0123456789-abcdef")
    scene, item = harness.pair("a")
    run = harness.save(scene, "New")
    harness.wait_for_title(item, "New")
    process = Path("/proc") / str(harness.worker)

    held = {number.name: os.readlink(number) for number in (process / "fd").iterdir()}
    assert (held["0"], held["1"]) == ("/dev/null", "/dev/null")
    assert held["2"] == str(harness.data_dir / "worker.stderr")
    assert not [target for target in held.values() if target.startswith("pipe:")]
    cookie = run.stdin["server_connection"]["SessionCookie"]["Value"]
    for place in ("cmdline", "environ"):
        content = (process / place).read_bytes().decode("utf-8", "replace")
        for secret in (harness.plex.token, "api-key-0123456789-abcdef", cookie):
            assert secret not in content


def test_fifty_hooks_at_once_start_one_worker_and_every_edit_arrives(
    harness: ProcessHarness,
) -> None:
    """`PLEXSYNC_BURSTS=20` repeats it twenty times."""
    pairs = [harness.pair(f"s{number}") for number in range(50)]
    for burst in range(int(os.environ.get("PLEXSYNC_BURSTS", "1"))):
        with ThreadPoolExecutor(len(pairs)) as pool:
            list(
                pool.map(
                    lambda pair, burst=burst: harness.save(pair[0], f"Burst {burst} {pair[0].id}"),
                    pairs,
                )
            )
        for scene, item in pairs:
            harness.wait_for_title(item, f"Burst {burst} {scene.id}", timeout=240)
    assert starts(harness) == 1
    assert len(harness.workers()) == 1
    said = harness.worker_log() + "".join(line.text for line in harness.stash.plugin_log)
    assert "locked" not in said.replace("lock_fields", "")


def test_a_second_worker_exits_at_once(harness: ProcessHarness) -> None:
    scene, item = harness.pair("a")
    harness.save(scene, "New")
    harness.wait_for_title(item, "New")
    first = harness.worker

    command = [
        sys.executable,
        str(ENTRY),
        "worker",
        "--data-dir",
        str(harness.data_dir),
    ]
    assert subprocess.run(command, timeout=240, check=False, capture_output=True).returncode == 0

    assert harness.workers() == [first]
    assert starts(harness) == 1


def test_it_exits_after_the_idle_timeout_and_the_next_hook_starts_another(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(idle=0.2)
    scene, item = harness.pair("a")
    for title in ("One", "Two"):
        harness.save(scene, title)
        harness.wait_for_title(item, title)
        harness.wait_for_exit()

    assert starts(harness) == 2
    assert harness.worker_log().count("Worker ends: idle") == 2
    assert (harness.data_dir / "worker.stderr").read_text() == ""


def test_sigterm_ends_it_after_the_current_job_and_keeps_the_rest(harness: ProcessHarness) -> None:
    first, first_item = harness.pair("first")
    second, second_item = harness.pair("second")
    stuck = harness.plex.faults.add(Hang(), method="PUT")  # until the second hook has ended
    slow = harness.plex.faults.add(Delay(1.0), method="PUT")
    harness.save(first, "First")
    assert harness.plex.log.wait_for(1, "PUT", timeout=240)
    harness.save(second, "Second")

    os.kill(harness.worker, signal.SIGTERM)
    stuck.remove()
    harness.wait_for_exit()

    assert first_item.title == "First"
    assert second_item.title == "second"
    assert get_stats(harness.data_dir)["in_progress"] == 0
    # A hook on a busy machine may leave its job in the queue and in the spool.
    assert [job["scene_id"] for job in queued(harness.data_dir)] == [second.id]
    slow.remove()
    third, third_item = harness.pair("third")
    harness.save(third, "Third")
    harness.wait_for_title(second_item, "Second")
    harness.wait_for_title(third_item, "Third")


def test_the_next_hook_replaces_a_killed_worker_and_its_job_is_resumed(
    harness: ProcessHarness,
) -> None:
    first, first_item = harness.pair("first")
    second, second_item = harness.pair("second")
    stuck = harness.plex.faults.add(Hang(), method="PUT")
    harness.save(first, "First")
    assert harness.plex.log.wait_for(1, "PUT", timeout=240)

    os.kill(harness.worker, signal.SIGKILL)
    harness.wait_for_exit()
    assert get_stats(harness.data_dir)["in_progress"] == 1
    stuck.remove()
    harness.save(second, "Second")

    harness.wait_for_title(first_item, "First")
    harness.wait_for_title(second_item, "Second")
    wait_until(lambda: not jobs_left(harness.data_dir), "an empty queue")


def test_an_edit_made_while_the_worker_exits_is_synced(
    make_harness: MakeHarness,
) -> None:
    """Thirty edits at random moments around the worker's exit: each must reach Plex by itself."""
    rng = random.Random(7)

    def edit_again_and_again(harness: ProcessHarness) -> None:
        scene, item = harness.pair("a")
        for number in range(10):
            harness.save(scene, f"Edit {number}")
            harness.wait_for_title(item, f"Edit {number}")
            time.sleep(rng.uniform(0.0, 0.8))

    harnesses = [  # before it exits, a worker reads back what it wrote
        make_harness(f"installation{number}", idle=0.05, scale=0.1) for number in range(3)
    ]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(edit_again_and_again, harnesses))

    assert sum(starts(harness) for harness in harnesses) > 3, "some edits met no worker"


def test_a_worker_that_hangs_is_reported_in_stashs_log_by_the_next_hook(
    harness: ProcessHarness,
) -> None:
    scene, item = harness.pair("a")
    harness.save(scene, "One")
    harness.wait_for_title(item, "One")
    os.kill(harness.worker, signal.SIGSTOP)
    long_ago = time.time() - 3600
    os.utime(harness.data_dir / "worker.lock", (long_ago, long_ago))

    run = harness.save(scene, "Two")

    assert [line.text for line in run.log if line.level == "warning"]
    os.kill(harness.worker, signal.SIGCONT)
    harness.wait_for_title(item, "Two")


# --- disabled plugin


def age_disabled_mark(harness: ProcessHarness, seconds: float) -> None:
    """Make the mark of the disabled plugin older by these seconds."""
    mark = harness.data_dir / "disabled"
    then = mark.stat().st_mtime - seconds
    os.utime(mark, (then, then))


def save_while_disabled(harness: ProcessHarness, *scenes: Scene) -> None:
    """Save while the plugin is disabled, and wait until the worker exits."""
    harness.configure(enabled=False)
    for scene in scenes:
        harness.save(scene, f"Off {scene.id}")
    wait_until(lambda: "switched off" in harness.worker_log(), "the first worker's end")
    harness.wait_for_exit()


def test_when_disabled_it_exits_keeps_jobs_and_is_not_started_at_every_save(
    harness: ProcessHarness,
) -> None:
    scenes = [harness.pair(f"s{number}")[0] for number in range(5)]
    save_while_disabled(harness, scenes[0])

    seen = set()
    for scene in scenes[1:]:
        harness.save(scene, "Off")
        seen |= set(harness.workers())

    assert len(seen) <= 1, "one that waits, at most"
    assert starts(harness) == 1
    assert {job["scene_id"] for job in queued(harness.data_dir)} == {one.id for one in scenes}
    assert harness.plex.writes == []


def test_while_it_is_paused_it_leaves_although_edits_wait_and_they_are_synced_afterwards(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(idle=1.0, scale=0.02)
    quick = {"PLEXSYNC_TIME_SCALE": "0.02", "PLEXSYNC_IDLE_TIMEOUT": "1.0"}
    scene, item = harness.pair("a")
    harness.save(scene, "New")
    harness.wait_for_title(item, "New")
    assert run_command(harness.data_dir, "pause", env=quick).exit_code == 0
    harness.save(scene, "While paused")
    wait_until(lambda: not harness.workers(), harness.worker_log)
    assert item.title == "New"
    assert [job["scene_id"] for job in queued(harness.data_dir)] == [scene.id]
    assert run_command(harness.data_dir, "pause", "off", env=quick).exit_code == 0
    harness.wait_for_title(item, "While paused")


def test_after_enabling_the_plugin_the_next_save_syncs_everything(
    harness: ProcessHarness,
) -> None:
    pairs = [harness.pair(f"s{number}") for number in range(3)]
    save_while_disabled(harness, pairs[0][0], pairs[1][0])
    age_disabled_mark(harness, 120)

    harness.configure(enabled=True)
    harness.save(pairs[2][0], "On")

    harness.wait_for_title(pairs[0][1], f"Off {pairs[0][0].id}")
    harness.wait_for_title(pairs[1][1], f"Off {pairs[1][0].id}")
    harness.wait_for_title(pairs[2][1], "On")


def test_soon_after_enabling_the_plugin_one_save_is_enough(
    harness: ProcessHarness,
) -> None:
    scene, item = harness.pair("a")
    save_while_disabled(harness, scene)
    age_disabled_mark(harness, 28)

    harness.configure(enabled=True)
    harness.save(scene, "On")

    harness.wait_for_title(item, "On")


def test_a_worker_of_a_disabled_plugin_can_be_stopped(
    harness: ProcessHarness,
) -> None:
    scene, _ = harness.pair("a")
    save_while_disabled(harness, scene)
    harness.save(scene, "Still off")

    signal_workers(harness.data_dir, signal.SIGTERM)

    harness.wait_for_exit()
    assert [job["scene_id"] for job in queued(harness.data_dir)] == [scene.id]


# --- privacy


def secrets_in(folder: Path, secrets: list[str]) -> list[tuple[str, str]]:
    return [
        (path.name, secret[:6])
        for path in folder.rglob("*")
        if path.is_file() and path.name != "connection.json"
        for secret in secrets
        for form in {secret, quote(secret, safe="")}
        if form.encode() in path.read_bytes()
    ]


def test_only_the_connection_file_holds_secrets_and_all_files_are_private(
    make_harness: MakeHarness,
) -> None:
    previous = os.umask(0)
    try:
        harness = make_harness()
        token, wrong, key = (
            harness.plex.token,
            "wrong-token/with+signs==0123",
            "api-key-0123456789-abcdef",
        )
        harness.stash.set_credentials("me", "secret")
        harness.stash.set_api_key(key)
        pairs = [harness.pair(f"s{number}") for number in range(3)]
        harness.plex.faults.add(
            Answer(405, b"bad"), method="PUT", times=1
        )  # a dead letter with a stack trace
        runs = [harness.save(pairs[0][0], "Refused")]
        wait_until(lambda: "could not be synced" in harness.worker_log(), "the dead letter")
        os.kill(harness.worker, signal.SIGTERM)
        harness.wait_for_exit()
        harness.configure(plex_token=wrong)
        harness.save(pairs[1][0], "With a wrong token")
        wait_until(
            lambda: "plex_token" in harness.worker_log().partition("could not be synced")[2],
            "the rejection",
        )
        os.kill(harness.worker, signal.SIGTERM)
        harness.wait_for_exit()
        harness.configure()
        harness.stash.invalidate_sessions()
        runs.append(harness.save(pairs[2][0], "Fine"))
        harness.wait_for_title(pairs[1][1], "With a wrong token")
        harness.wait_for_title(pairs[2][1], "Fine")
        os.kill(harness.worker, signal.SIGTERM)
        harness.wait_for_exit()

        cookies = [run.stdin["server_connection"]["SessionCookie"]["Value"] for run in runs]
        secrets = [token, wrong, key, *cookies]
        assert secrets_in(harness.data_dir, secrets) == []
        said = " ".join(line.text for line in harness.stash.plugin_log)
        assert not [secret for secret in secrets if secret in said]
        for path in (harness.data_dir, *harness.data_dir.rglob("*")):
            assert path.stat().st_mode & 0o077 == 0, path
    finally:
        os.umask(previous)


# --- the lock and the start


def test_one_process_holds_the_lock_until_it_releases_it(tmp_path: Path) -> None:
    first, second = WorkerLock(str(tmp_path)), WorkerLock(str(tmp_path))
    assert first.acquire()
    assert first.acquire(), "the holder may acquire it again"
    assert not second.acquire()
    assert worker_alive(str(tmp_path))

    first.release()
    first.release()

    assert not worker_alive(str(tmp_path))
    assert second.acquire()
    second.release()


def test_checking_for_a_worker_never_keeps_a_hook_from_starting_one(tmp_path: Path) -> None:
    """A task checks regularly; a hook must not take that check for a running worker."""
    data_dir = str(tmp_path)
    stop = threading.Event()

    def check() -> None:
        while not stop.is_set():
            worker_alive(data_dir)

    checker = threading.Thread(target=check)
    checker.start()
    try:
        for _ in range(2_000):
            lock = WorkerLock(data_dir)
            assert lock.acquire()
            lock.release()
    finally:
        stop.set()
        checker.join()


def test_a_hook_tells_a_running_worker_from_a_hanging_one(tmp_path: Path) -> None:
    lock = WorkerLock(str(tmp_path))
    assert lock.acquire()
    try:
        assert ensure_worker(str(tmp_path), "unused") == ALIVE
        long_ago = time.time() - 3600
        os.utime(lock.path, (long_ago, long_ago))
        assert ensure_worker(str(tmp_path), "unused") == SILENT
        lock.beat()
        assert ensure_worker(str(tmp_path), "unused") == ALIVE
    finally:
        lock.release()


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("keep")
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / "worker.lock").symlink_to(target)

    with pytest.raises(OSError):
        WorkerLock(str(data_dir)).acquire()

    assert target.read_text() == "keep"


# --- Windows: no process inherits a lock


#: Starts a successor as on Windows; it runs as it does here.
_START_AS_ON_WINDOWS = """
import subprocess, sys, types
import PlexSync
PlexSync.host_queue_package()
import worker.process as process
subprocess.DETACHED_PROCESS = subprocess.CREATE_NEW_PROCESS_GROUP = 0
process.sys = types.SimpleNamespace(platform="win32", executable=sys.executable)
process.start_successor(*sys.argv[1:])
"""


def test_on_windows_a_successor_waits_for_the_end_of_a_task(harness: ProcessHarness) -> None:
    data_dir = str(harness.data_dir)
    scene, item = harness.pair("a")
    harness.data_dir.mkdir(exist_ok=True)
    task = WorkerLock(data_dir)
    assert task.acquire()
    task.sign(TASK)
    harness.save(scene, "New")
    command = [sys.executable, "-c", _START_AS_ON_WINDOWS, data_dir, str(ENTRY)]
    env = {**os.environ, **harness.environment}
    subprocess.run(command, cwd=ENTRY.parent, env=env, timeout=240, check=True)
    wait_until(lambda: worker_alive(data_dir, file=SUCCESSOR_FILE), "the successor", 60)
    time.sleep(1)  # it looks at the lock every half second
    assert worker_alive(data_dir, file=SUCCESSOR_FILE)
    task.release()  # as when Stash stops a task
    harness.wait_for_title(item, "New")


def test_on_windows_too_the_lock_file_tells_a_task_from_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.process.sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr("worker.process._SIGNED_AT", 1, raising=False)
    lock = WorkerLock(str(tmp_path))
    assert lock.acquire()
    lock.sign(TASK)
    assert not is_signed_by_us(str(tmp_path))
    lock.sign()
    assert is_signed_by_us(str(tmp_path))
    assert worker_pid(str(tmp_path)) == os.getpid()
    assert (tmp_path / "worker.lock").read_bytes()[:1] == b"\0", "the byte that is locked"
    lock.release()
