"""Tests of concurrent spool imports: each file is imported once, without an error."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest

import queue.table as table
from queue.ack_queue import JobQueue
from queue.models import SyncJob, create_sync_job
from queue.operations import get_stats
from queue.spool import import_spool, spool, spooled
from tests.queue.support import python, waiting

T = TypeVar("T")
#: Seconds in which a second import would finish if it did not wait for the first.
TEMPTING = 0.5


@pytest.fixture
def queue_dir(data_dir: Path) -> str:
    folder = str(data_dir / "queue")
    for scene_id in (1, 2):
        spool(folder, create_sync_job(scene_id, "metadata", {}))
    return folder


def run_during_import(queue_dir: str, second: Callable[[], T]) -> tuple[list[int], T]:
    """Import the spool and start `second` during the import.

    Returns:
        The imported scenes and the result of `second`.
    """
    imported: list[int] = []
    late: list[Future[T]] = []

    def put(job: SyncJob) -> None:
        imported.append(job["scene_id"])
        if not late:
            late.append(pool.submit(second))
            threading.Event().wait(TEMPTING)

    with ThreadPoolExecutor(1) as pool:
        import_spool(queue_dir, put)
        return imported, late[0].result(240)


def test_each_file_is_imported_once_and_in_order(queue_dir: str) -> None:
    others: list[int] = []
    imported, count = run_during_import(
        queue_dir, lambda: import_spool(queue_dir, lambda job: others.append(job["scene_id"]))
    )
    assert (imported, others, count) == ([1, 2], [], 0)
    assert spooled(queue_dir) == []


def test_clear_queue_during_an_import_drops_the_imported_jobs(
    data_dir: Path, queue_dir: str, jobs: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queue.spool.LOCK_TIMEOUT", 240.0)  # the first import may be slow
    started = threading.Event()
    dropped: list[Any] = []

    def clear() -> None:
        started.set()
        with closing(JobQueue(queue_dir)) as queue:  # as the worker does on command
            queue.import_spool()
            dropped.append(queue.clear_waiting())

    def put(job: SyncJob) -> None:
        if not started.is_set():
            clearing.start()
            started.wait(240)
            clearing.join(TEMPTING)
        jobs.put(job)

    clearing = threading.Thread(target=clear)
    import_spool(queue_dir, put)
    clearing.join(240)
    assert dropped == [2]
    assert waiting(data_dir) == {}


def test_a_vanished_file_was_imported_by_another_process(
    queue_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without locks, another import may be faster at any step."""
    names = [*spooled(queue_dir), "0-0.json"]
    monkeypatch.setattr("queue.spool.spooled", lambda _: names)
    imported: list[int] = []

    def put(job: SyncJob) -> None:
        imported.append(job["scene_id"])
        for name in names[:2]:
            Path(queue_dir, "spool", name).unlink(missing_ok=True)

    assert import_spool(queue_dir, put) == 1
    assert imported == [1]


def test_an_import_during_a_count_hides_no_job(
    queue_dir: str, jobs: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong count makes a task see an empty queue and report that all is done."""
    count = table.count

    def count_then_import(connection: sqlite3.Connection, **when: float) -> dict[str, int]:
        counted = count(connection, **when)
        jobs.import_spool()
        return counted

    monkeypatch.setattr(table, "count", count_then_import)
    assert get_stats(queue_dir)["pending"] >= 2


def test_a_requeued_job_is_in_one_of_the_counts(jobs: JobQueue) -> None:
    jobs.put(create_sync_job(1, "metadata", {}))
    statements: list[str] = []
    jobs._putter.set_trace_callback(statements.append)
    assert jobs.counts()["pending"] == 1
    assert len(statements) == 1, "between two statements it can go from one count to the other"


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_process_killed_during_its_import_blocks_and_loses_nothing(
    data_dir: Path, queue_dir: str
) -> None:
    dies = (
        "import os, signal, sys\n"
        "from queue.spool import import_spool\n"
        "import_spool(sys.argv[1], lambda job: os.kill(os.getpid(), signal.SIGKILL))\n"
    )
    with python("-c", dies, queue_dir) as process:
        assert process.wait(240) < 0
    with closing(JobQueue(queue_dir)) as queue:
        assert queue.import_spool() == 2
    assert waiting(data_dir) == {1: {}, 2: {}}


def test_a_stalled_import_leaves_the_files_to_another_process(
    queue_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queue.spool.LOCK_TIMEOUT", 0.05)
    held = (
        "import os, sys\n"
        "from common.locks import try_lock\n"
        "lock = os.open(os.path.join(sys.argv[1], 'spool.lock'), os.O_RDWR | os.O_CREAT, 0o600)\n"
        "assert try_lock(lock)\n"
        "print('held', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    with python("-c", held, queue_dir) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert import_spool(queue_dir, lambda job: None) == 0
        try:
            process.communicate("go\n", timeout=240)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert import_spool(queue_dir, lambda job: None) == 2
