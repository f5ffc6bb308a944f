"""Tests of the spool: jobs that arrive while the database is locked."""

from __future__ import annotations

import json
import os
import sqlite3
from _thread import allocate_lock
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import common.layout as layout
from hooks.session import HookSession
from queue.ack_queue import JobQueue
from queue.inbox import Inbox
from queue.manager import QueueManager
from queue.models import SyncJob, create_sync_job
from queue.operations import get_stats
from queue.spool import import_spool, spool, spooled
from tests.queue.support import waiting


@pytest.fixture
def queue_dir(data_dir: Path) -> str:
    return str(data_dir / "queue")


@pytest.fixture
def locked(jobs: JobQueue, data_dir: Path) -> Iterator[sqlite3.Connection]:
    """Hold the queue's database locked."""
    with closing(
        sqlite3.connect(data_dir / "queue" / "data.db", isolation_level=None)
    ) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


def put(data_dir: Path, scene_id: int, **data: object) -> int | None:
    with closing(Inbox(str(data_dir))) as inbox:
        return inbox.put(create_sync_job(scene_id, "metadata", data))


def test_jobs_are_spooled_while_the_database_is_locked(
    locked: sqlite3.Connection, jobs: JobQueue, data_dir: Path, queue_dir: str
) -> None:
    seen = jobs.version()
    assert put(data_dir, 1, title="Old") is None
    assert put(data_dir, 1, title="New", details="D") is None
    assert put(data_dir, 2) is None
    assert len(spooled(queue_dir)) == 3
    assert jobs.version() != seen, "a waiting worker would not notice"
    assert get_stats(data_dir)["pending"] == 3

    locked.execute("ROLLBACK")
    assert jobs.import_spool() == 3
    assert waiting(data_dir) == {1: {"title": "New", "details": "D"}, 2: {}}
    assert spooled(queue_dir) == []
    assert jobs.import_spool() == 0


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_the_spool_is_private(locked: sqlite3.Connection, data_dir: Path) -> None:
    put(data_dir, 1)
    folder = data_dir / "queue" / "spool"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [file.stat().st_mode & 0o777 for file in folder.iterdir()] == [0o600]


def test_a_queue_that_is_not_locked_has_no_spool(data_dir: Path) -> None:
    with closing(Inbox(str(data_dir), lock_timeout=60.0)) as inbox:  # a busy machine may be slow
        assert inbox.put(create_sync_job(1, "metadata", {})) is not None
    assert not (data_dir / "queue" / "spool").exists()


def test_a_hook_waits_at_most_a_twentieth_of_a_second(
    locked: sqlite3.Connection,
    data_dir: Path,
    queue_dir: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits: list[float] = []

    class RecordingLock:
        """Record the time limits of `acquire`."""

        def __init__(self) -> None:
            self._lock = allocate_lock()
            self.release = self._lock.release

        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
            limits.append(timeout)
            return self._lock.acquire(blocking, timeout)

    monkeypatch.setattr("queue.inbox.allocate_lock", RecordingLock)
    layout.record(str(data_dir), layout.VERSION, "new")  # else the hook does not open the queue
    with closing(HookSession(str(data_dir), {})) as hook:
        assert hook.put(create_sync_job(1, "metadata", {})) is None
    assert len(spooled(queue_dir)) == 1
    first, *waits = limits  # the first takes the lock, which nobody else has yet
    assert first == -1
    assert waits
    assert all(0 <= limit <= 0.05 for limit in waits)


def test_a_hook_does_not_check_the_database(
    jobs: JobQueue, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check reads the whole file, and the save in Stash waits for the hook."""
    statements: list[str] = []
    connect = sqlite3.connect

    def traced(*arguments: Any, **named: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **named)
        connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", traced)
    with closing(Inbox(str(data_dir), lock_timeout=60.0)) as inbox:  # a busy machine may be slow
        for scene_id in (1, 2):
            assert inbox.put(create_sync_job(scene_id, "metadata", {})) is not None
    assert any("INSERT" in text for text in statements)
    assert [text for text in statements if "_check" in text.lower()] == []


def test_jobs_that_cannot_be_put_stay_in_the_spool(queue_dir: str) -> None:
    for scene_id in (1, 2, 3):
        spool(queue_dir, create_sync_job(scene_id, "metadata", {}))
    imported: list[int] = []

    def fail_at_the_second(job: SyncJob) -> None:
        if job["scene_id"] == 2:
            raise sqlite3.OperationalError("disk I/O error")
        imported.append(job["scene_id"])

    with pytest.raises(sqlite3.OperationalError):
        import_spool(queue_dir, fail_at_the_second)
    assert imported == [1]
    assert len(spooled(queue_dir)) == 2


def test_a_job_that_is_imported_twice_is_one_job(
    jobs: JobQueue, data_dir: Path, queue_dir: str
) -> None:
    """This happens after a kill between the queue's commit and the removal of the file."""
    spool(queue_dir, create_sync_job(1, "metadata", {"title": "T"}))
    file = data_dir / "queue" / "spool" / spooled(queue_dir)[0]
    content = file.read_bytes()
    jobs.import_spool()
    file.write_bytes(content)
    jobs.import_spool()
    assert waiting(data_dir) == {1: {"title": "T"}}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'{"scene_id": "1"}', b"\xff\xfe", b"[" * 100_000]
)
def test_an_invalid_file_is_quarantined_and_does_not_block_others(
    jobs: JobQueue, data_dir: Path, queue_dir: str, content: bytes
) -> None:
    folder = data_dir / "queue" / "spool"
    folder.mkdir(parents=True)
    (folder / "0-1.json").write_bytes(content)
    spool(queue_dir, create_sync_job(7, "metadata", {}))
    assert jobs.import_spool() == 1
    assert set(waiting(data_dir)) == {7}
    assert [name.partition(".json")[2][:8] for name in os.listdir(folder)] == [".broken-"]


def test_a_file_that_cannot_be_read_stays_and_does_not_block_others(
    jobs: JobQueue, data_dir: Path, queue_dir: str
) -> None:
    folder = data_dir / "queue" / "spool"
    (folder / "0-1.json").mkdir(parents=True)  # like a bad sector, it can't be read as a file
    spool(queue_dir, create_sync_job(7, "metadata", {}))
    assert jobs.import_spool() == 1
    assert set(waiting(data_dir)) == {7}
    assert spooled(queue_dir) == ["0-1.json"]
    assert jobs.count_unread() == 1
    (folder / "0-1.json").rmdir()
    assert jobs.count_unread() == 0
    (folder / "0-1.json").write_text(json.dumps(create_sync_job(8, "metadata", {})))
    assert jobs.import_spool() == 1
    assert set(waiting(data_dir)) == {7, 8}


@pytest.mark.parametrize("is_file", [True, False])
def test_an_unread_file_is_counted_until_it_was_reported(
    jobs: JobQueue, data_dir: Path, is_file: bool
) -> None:
    """Once, by whichever process: a look changes nothing that a waiting worker would notice."""
    file = data_dir / "queue" / "spool" / "0-1.json"
    file.parent.mkdir(parents=True)
    if is_file:
        file.write_text("{")
    else:
        file.mkdir()
    jobs.import_spool()  # perhaps a task's, whose process ends here
    with QueueManager(data_dir, auto_resume=True) as queue:
        queue.import_spool()
        seen = queue.version()
        queue.import_spool()
        assert queue.count_quarantined() == jobs.count_quarantined() == 1
        assert queue.version() == seen
        queue.mark_reported()
        queue.import_spool()
        assert queue.count_quarantined() == 0
    with QueueManager(data_dir, auto_resume=True) as queue:
        queue.import_spool()
        assert queue.count_quarantined() == 0


@pytest.mark.skipif(os.name != "posix", reason="Windows can't force a folder to the disk")
def test_a_spooled_job_is_on_disk_with_its_name(
    queue_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced, fsync = set(), os.fsync

    def recorded(descriptor: int) -> None:
        forced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    spool(queue_dir, create_sync_job(1, "metadata", {"title": "T"}))
    folder = Path(queue_dir, "spool")
    (file,) = folder.iterdir()
    assert {folder.stat().st_ino, file.stat().st_ino} <= forced
