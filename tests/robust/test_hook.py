"""The hook never repairs and never waits: what the database can't take at once is spooled."""

from __future__ import annotations

import os
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from queue.ack_queue import JobQueue
from queue.spool import spooled
from tests.harness.plugin import run, save
from tests.harness.results import queued
from tests.queue.support import ROOT, environment
from worker.process import WorkerLock

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs locks and limits of POSIX")


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Path]:
    """A data directory whose worker lock is held, so that hooks start no worker."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    lock = WorkerLock(str(folder))
    assert lock.acquire()
    yield folder
    lock.release()


def assert_spools(busy: Path, scene_id: int) -> None:
    answer = run(save(scene_id), busy)
    assert answer.output["queued"] is True
    assert [level for level, _ in answer.log] == ["debug"]
    folder = busy / "queue" / "spool"
    texts = [(folder / name).read_text() for name in spooled(str(busy / "queue"))]
    assert any(f'"scene_id": {scene_id},' in text for text in texts)


def checkpoint(busy: Path) -> Path:
    """Empty the write-ahead log; return the database file."""
    file = busy / "queue" / "data.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file


@contextmanager
def read_locks_held(file: Path) -> Iterator[None]:
    """Hold all of the write-ahead log's read locks, for which SQLite waits ten seconds."""
    code = (
        "import fcntl, sys\n"
        "shm = open(sys.argv[1], 'r+b')\n"
        "fcntl.lockf(shm, fcntl.LOCK_EX, 5, 123)\n"
        "print('held', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    with closing(sqlite3.connect(file)) as keeps_it:
        # Before the process starts: the first read creates the file that it locks.
        keeps_it.execute("SELECT count(*) FROM ack_queue_default").fetchone()
        with subprocess.Popen(
            [sys.executable, "-c", code, f"{file}-shm"],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            try:
                yield
            finally:
                holder.communicate("go\n")


def test_locking_protocol(busy: Path) -> None:
    """SQLITE_PROTOCOL: the edit was refused after ten seconds."""
    run(save(1), busy)
    queued(busy)  # on a slow machine it was spooled
    with read_locks_held(busy / "queue" / "data.db"):
        assert_spools(busy, 2)
    assert [job["scene_id"] for job in queued(busy)] == [1, 2]


def test_a_long_write_ahead_log_is_left_to_the_worker(busy: Path) -> None:
    """Each hook recovered all of it, as no process kept the database open."""
    code = (
        "import os, sqlite3, sys\n"
        "database = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "database.execute('PRAGMA wal_autocheckpoint=0')\n"
        "database.execute('CREATE TABLE filler (x)')\n"
        "database.execute('INSERT INTO filler VALUES (zeroblob(49000000))')\n"
        "os._exit(0)\n"
    )
    run(save(1), busy)
    queued(busy)  # on a slow machine it was spooled
    file = checkpoint(busy)
    subprocess.run([sys.executable, "-c", code, str(file)], check=True, env=environment(), cwd=ROOT)
    log = Path(f"{file}-wal")
    before = log.stat()
    assert before.st_size > 40_000_000
    index = Path(f"{file}-shm")
    index.unlink()  # the first process that reads the log creates it again
    assert_spools(busy, 2)
    assert not index.exists(), "the hook opened the database"
    assert (log.stat().st_size, log.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert [job["scene_id"] for job in queued(busy)] == [1, 2]


def test_a_large_damaged_queue_is_not_checked(busy: Path) -> None:
    run(save(1), busy)
    queued(busy)  # on a slow machine it was spooled
    with closing(JobQueue(str(busy / "queue"))) as queue:
        queue.put_many(
            {
                "scene_id": number,
                "update_type": "metadata",
                "data": {"details": "x" * 500},
                "enqueued_at": 1.0,
                "job_key": f"scene_{number}",
            }
            for number in range(10, 20_000)
        )
    file = checkpoint(busy)
    content = bytearray(file.read_bytes())
    size = struct.unpack(">H", content[16:18])[0]
    content[size : 4 * size] = b"\xff" * (3 * size)
    file.write_bytes(content)
    assert_spools(busy, 2)
    assert file.read_bytes() == content
    assert not list(file.parent.glob("*.broken-*"))


def test_a_byte_of_the_header_that_makes_the_database_read_only(busy: Path) -> None:
    run(save(1), busy)
    queued(busy)  # on a slow machine it was spooled
    file = checkpoint(busy)
    content = bytearray(file.read_bytes())
    content[18] = 3
    file.write_bytes(content)
    assert_spools(busy, 2)


def test_a_database_that_is_just_being_renamed(busy: Path) -> None:
    run(save(1), busy)
    queued(busy)  # on a slow machine it was spooled
    guard = busy / "queue" / "data.db.rescue"
    guard.touch()
    later = time.time() + 3600  # it counts for ten seconds, and a hook may take longer
    os.utime(guard, (later, later))
    assert_spools(busy, 2)
    guard.unlink()
    assert [job["scene_id"] for job in queued(busy)] == [1, 2]


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00garbage\n" * 50,
        b'["no level", "text"]\n["", ""]\n',
        b'"ab"\n{"a": 1, "b": 2}\n7\nnull\n[1, 2]\n[[], {}]\n',
        b"[" * 100_000,
    ],
)
def test_a_garbled_deferred_log(busy: Path, content: bytes) -> None:
    (busy / "notices.jsonl").write_bytes(content + b'\n["warning", "still told"]\n')
    answer = run(save(1), busy)
    assert answer.output["queued"] is True
    assert b"Traceback" not in answer.stderr
    assert ("warning", "still told") in answer.log
