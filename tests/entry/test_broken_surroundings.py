"""Missing packages, a full disk or a damaged queue cause one clear error and lose no edit."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from queue.operations import get_stats
from queue.spool import spooled
from tests.harness.plugin import Answer, run, save
from tests.harness.processes import wait_until, worker_pids
from tests.harness.results import queued, worker_log
from worker.process import WorkerLock

pytestmark = pytest.mark.skipif(
    os.name != "posix", reason="needs resource limits and links of POSIX"
)

PACKAGES = ("persistqueue", "plexapi", "requests", "pydantic")


def without_packages(tmp_path: Path, *present: str) -> dict[str, str]:
    """Return an environment for `python -S` with only these packages, all empty."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in present:
        (packages / name).mkdir()
        (packages / name / "__init__.py").write_text("", encoding="utf-8")
    return {"PYTHONPATH": str(packages)}


@pytest.mark.parametrize("missing", [("persistqueue",), ("plexapi", "pydantic"), PACKAGES])
def test_a_hook_without_packages_names_them_and_queues_the_edit(
    data_dir: Path, tmp_path: Path, missing: tuple[str, ...]
) -> None:
    present = set(PACKAGES) - set(missing)
    answer = run(save(), data_dir, env=without_packages(tmp_path, *present), flags=["-S"])
    for name in PACKAGES:
        assert (name in answer.error.partition(" run:")[0]) == (name in missing)
    assert "Install dependencies" in answer.error
    assert "queued" in answer.error
    assert [level for level, _ in answer.log] == ["debug"], "Stash logs the error"
    assert b"Traceback" not in answer.stderr
    assert len(queued(data_dir)) == 1
    assert worker_pids(data_dir) == []


def test_a_task_without_packages_names_them(data_dir: Path, tmp_path: Path) -> None:
    answer = run(
        b'{"args": {"mode": "sync_recent"}}', data_dir, env=without_packages(tmp_path), flags=["-S"]
    )
    assert all(name in answer.error for name in PACKAGES)
    assert answer.log == [], "Stash logs the error"


def assert_not_queued(answer: Answer) -> None:
    assert "could not be queued" in answer.error
    assert answer.log == [], "Stash logs the error"
    assert b"Traceback" not in answer.stderr


def test_a_file_size_limit_costs_no_edit_and_damages_nothing(busy: Path) -> None:
    import resource

    def no_file_may_grow() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_192, 8_192))

    assert run(save(1), busy).output["queued"] is True
    for scene_id in range(2, 6):
        run(save(scene_id, details="x" * 1_900), busy, before_exec=no_file_may_grow)
    assert len(spooled(str(busy / "queue"))) >= 4
    assert run(save(6), busy).output["queued"] is True
    # On a slow machine the first and the last were spooled as well.
    assert sorted(job["scene_id"] for job in queued(busy)) == [1, 2, 3, 4, 5, 6]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 256 KiB; skip the test without the permission to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("nothing may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_one_clear_error_and_free_space_ends_it(small_disk: Path) -> None:
    (small_disk / "worker.lock").touch()
    with (small_disk / "worker.lock").open("rb") as lock:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run(save(1), small_disk).output["queued"] is True
        filler = small_disk / "filler"
        fill(filler)
        answer = run(save(2), small_disk)
        assert_not_queued(answer)
        assert "disk" in answer.error
        filler.unlink()
        assert run(save(3), small_disk).output["queued"] is True
        # On a slow machine the first one was spooled, and comes later.
        assert sorted(job["scene_id"] for job in queued(small_disk)) == [1, 3]


def test_a_full_disk_from_the_start_is_one_clear_error(small_disk: Path) -> None:
    fill(small_disk / "filler")
    answer = run(save(1), small_disk)
    assert b"Traceback" not in answer.stderr
    assert "error" not in [level for level, _ in answer.log], "Stash logs it"
    assert answer.error


def fill(file: Path) -> None:
    """Write to the file until the disk is full."""
    with file.open("wb", buffering=0) as filler:
        for size in (4_096, 1):
            try:
                while filler.write(b"\0" * size):
                    pass
            except OSError:
                continue


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "noise": lambda content: os.urandom(8_192),
    "text": lambda content: b"this is no database\n" * 500,
    "half": lambda content: content[: len(content) // 2],
    "a broken page": lambda content: content[:4_096] + b"\xa5" * (len(content) - 4_096),
    "a broken header": lambda content: b"\0" * 100 + content[100:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_queue_loses_no_new_edit_and_is_never_deleted(
    data_dir: Path, damage: str
) -> None:
    lock = WorkerLock(str(data_dir))
    assert lock.acquire()
    for scene_id in (1, 2):
        run(save(scene_id), data_dir)
    assert len(queued(data_dir)) == 2  # queued() also checkpoints the write-ahead log
    file = data_dir / "queue" / "data.db"
    broken = DAMAGES[damage](file.read_bytes())
    file.write_bytes(broken)
    for scene_id in (40, 41):
        answer = run(save(scene_id), data_dir)
        assert answer.output["queued"] is True
        assert [level for level, _ in answer.log] == ["debug"]
    assert file.read_bytes() == broken, "a hook repairs nothing"
    lock.release()
    run(save(42), data_dir)
    wait_until(lambda: list(file.parent.glob("data.db.broken-*")), "the worker quarantines it")
    wait_until(lambda: not spooled(str(file.parent)), "the worker imports the spool")
    assert {40, 41, 42} <= {job["scene_id"] for job in queued(data_dir)}


def test_many_hooks_that_find_the_damage_at_once_lose_nothing(busy: Path) -> None:
    (busy / "queue").mkdir()
    (busy / "queue" / "data.db").write_bytes(b"this is no database\n" * 500)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda scene_id: run(save(scene_id), busy), range(1, 25)))
    assert all(answer.output["queued"] is True for answer in answers)
    assert len(spooled(str(busy / "queue"))) == 24


@pytest.mark.parametrize(
    "name",
    [
        *("dlq.db", "index.db", "history.db", "memory.db"),
        *("sync_timestamps.json", "connection.json"),
    ],
)
def test_another_damaged_file_stops_neither_hook_nor_worker(data_dir: Path, name: str) -> None:
    (data_dir / name).write_bytes(b"this is not what it should be\n" * 500)
    assert run(save(1), data_dir).output["queued"] is True
    wait_until(lambda: "Worker started" in worker_log(data_dir), "the worker runs")
    assert len(worker_pids(data_dir)) == 1
    assert (data_dir / "worker.stderr").read_bytes() == b""
    answer = run(save(2), data_dir)
    assert answer.output["queued"] is True
    # For a moment a job that the worker takes out of the spool is in both.
    wait_until(lambda: waiting(data_dir) == 2, lambda: f"two jobs, not {waiting(data_dir)}")


def waiting(data_dir: Path) -> int:
    stats = get_stats(data_dir)
    return stats["pending"] + stats["in_progress"]


def test_no_save_waits_for_a_process_that_holds_the_queue_locked_for_good(busy: Path) -> None:
    run(save(1), busy)
    assert len(queued(busy)) == 1, "none is in the spool"
    with closing(sqlite3.connect(busy / "queue" / "data.db", isolation_level=None)) as frozen:
        frozen.execute("BEGIN IMMEDIATE")
        for scene_id in (2, 3, 2):
            assert run(save(scene_id), busy).output["queued"] is True
        assert get_stats(busy)["pending"] == 4
        frozen.execute("ROLLBACK")
    assert [job["scene_id"] for job in queued(busy)] == [1, 2, 3]
    assert os.listdir(busy / "queue" / "spool") == []


def test_the_worker_imports_jobs_spooled_while_it_was_frozen(data_dir: Path) -> None:
    run(save(1), data_dir)
    wait_until(lambda: "Worker started" in worker_log(data_dir), "the worker runs")
    with closing(
        sqlite3.connect(data_dir / "queue" / "data.db", isolation_level=None, timeout=240)
    ) as frozen:
        frozen.execute("BEGIN IMMEDIATE")
        assert run(save(2), data_dir).output["queued"] is True
        assert os.listdir(data_dir / "queue" / "spool") != []
        frozen.execute("ROLLBACK")
    wait_until(
        lambda: os.listdir(data_dir / "queue" / "spool") == [],
        "the worker imports the spooled jobs",
    )
    assert {job["scene_id"] for job in queued(data_dir)} == {1, 2}
