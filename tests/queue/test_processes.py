"""Tests with many processes on one data directory, some of them killed: no job is lost."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

import queue.table as table
from queue.ack_queue import JobQueue
from queue.dlq import DeadLetterQueue
from queue.inbox import Inbox
from queue.manager import QueueManager
from queue.models import create_sync_job
from queue.operations import ack_job, get_pending, get_stats
from queue.recovery import check_database, rename_database
from tests.queue.support import (
    PROCESS_TIMEOUT,
    ROOT,
    environment,
    integrity,
    python,
    rows,
    run_at_once,
    run_python,
    waiting,
)

READY = "print('ready', flush=True); sys.stdin.readline()\n"

INBOX = (  # never spools: a spooled edit is merged when it is imported, after newer ones
    "import queue.inbox as ours\n"
    "ours._LARGEST_LOG = 2**40\n"
    "from queue.inbox import Inbox; queue = Inbox(sys.argv[1], lock_timeout=240)\n"
)
JOB_QUEUE = (  # of many that write at once, one may wait for more than the usual ten seconds
    "import queue.ack_queue as ours\n"
    "opened = ours.open_queue_database\n"
    "def patient(file, **options): return opened(file, **{**options, 'timeout': 240})\n"
    "ours.open_queue_database = patient\n"
    "from queue.manager import QueueManager; queue = QueueManager(sys.argv[1]).get_queue()\n"
)
each_queue = pytest.mark.parametrize("opening", [INBOX, JOB_QUEUE], ids=["inbox", "job queue"])

PUT = "import sys\nfrom queue.models import create_sync_job as new\n"


def writer(opening: str, action: str) -> str:
    """Return a program that opens the queue once all are ready, then runs `action`.

    In `action`, `me` is the number of the process.
    """
    module, _, opens = opening.partition("; ")
    return f"{PUT}{module}\nme = int(sys.argv[2])\n{READY}{opens}{action}"


def import_spooled(data_dir: Path) -> None:
    """Import what was spooled, as the log was long or the database locked, as a worker does."""
    with closing(JobQueue(str(data_dir / "queue"))) as queue:
        queue.import_spool()


def put_one(data_dir: Path, scene_id: int, **data: object) -> None:
    """Put a job from another process that opens and closes the database."""
    code = (
        "import sys, json; from queue.inbox import Inbox\n"
        "from queue.models import create_sync_job as new\n"
        "inbox = Inbox(sys.argv[1], lock_timeout=240)\n"
        "inbox.put(new(int(sys.argv[2]), 'metadata', json.loads(sys.argv[3])))\n"
        "inbox.close()"
    )
    run_python("-c", code, str(data_dir), str(scene_id), json.dumps(data))


# --- concurrency ----------------------------------------------------------------------------------


@each_queue
def test_eight_processes_that_edit_one_scene_leave_one_job_with_every_field(
    data_dir: Path, opening: str
) -> None:
    code = writer(
        opening,
        "for n in range(50): queue.put(new(1, 'metadata', {f'{me}_{n}': n, f'last_{me}': n}))\n",
    )
    run_at_once([("-c", code, str(data_dir), str(me)) for me in range(8)])
    import_spooled(data_dir)
    expected = {f"{me}_{n}": n for me in range(8) for n in range(50)} | {
        f"last_{me}": 49 for me in range(8)
    }
    assert waiting(data_dir) == {1: expected}
    assert len(rows(data_dir)) == 1


def test_an_edit_whose_database_is_renamed_meanwhile_is_spooled(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It went into the damaged database, of which not everything may be salvaged."""
    put_one(data_dir, 1, a=1)
    put = table.put

    def put_and_rename(*arguments: Any, **options: Any) -> int:
        row_id = put(*arguments, **options)
        rename_database(str(data_dir / "queue" / "data.db"))
        return row_id

    monkeypatch.setattr(table, "put", put_and_rename)
    with closing(Inbox(str(data_dir), lock_timeout=240)) as inbox:
        assert inbox.put(create_sync_job(2, "metadata", {"b": 2})) is None
    monkeypatch.undo()
    import_spooled(data_dir)
    assert waiting(data_dir) == {2: {"b": 2}}


@each_queue
def test_eight_processes_that_edit_different_scenes_lose_none(data_dir: Path, opening: str) -> None:
    code = writer(
        opening, "for n in range(50): queue.put(new(n * 8 + me, 'metadata', {'by': me}))\n"
    )
    run_at_once([("-c", code, str(data_dir), str(me)) for me in range(8)])
    import_spooled(data_dir)
    assert waiting(data_dir) == {scene: {"by": scene % 8} for scene in range(400)}
    assert integrity(data_dir / "queue" / "data.db") == "ok"


def test_eight_processes_that_edit_the_same_scenes_merge_field_by_field(data_dir: Path) -> None:
    code = writer(
        INBOX,
        "for n in range(50): queue.put(new((n * 7 + me) % 10, 'metadata', {f'{me}_{n}': n}))\n",
    )
    run_at_once([("-c", code, str(data_dir), str(me)) for me in range(8)])
    import_spooled(data_dir)
    expected: dict[int, dict[str, int]] = {scene: {} for scene in range(10)}
    for me in range(8):
        for n in range(50):
            expected[(n * 7 + me) % 10][f"{me}_{n}"] = n
    assert waiting(data_dir) == expected


@pytest.mark.parametrize("folders", [1, 3], ids=["once", "three times"])
def test_twenty_processes_may_create_a_data_directory_at_once(data_dir: Path, folders: int) -> None:
    code = writer(INBOX, "").replace(
        "Inbox(sys.argv[1], ",
        f"[Inbox(f'{{sys.argv[1]}}/{{n}}', lock_timeout=240) for n in range({folders})] #",
    )
    code += "for inbox in queue: inbox.put(new(me, 'metadata', {}))\n"
    run_at_once([("-c", code, str(data_dir), str(me)) for me in range(20)])
    for n in range(folders):
        import_spooled(data_dir / str(n))
        assert waiting(data_dir / str(n)) == {me: {} for me in range(20)}


def test_hooks_put_while_the_worker_claims_and_every_field_is_seen(data_dir: Path) -> None:
    code = writer(
        INBOX, "for n in range(40): queue.put(new(n % 5, 'metadata', {f'{me}_{n}': n}))\n"
    )
    seen: set[str] = set()
    with ExitStack() as stack:
        hooks = [stack.enter_context(python("-c", code, str(data_dir), str(me))) for me in range(4)]
        manager = QueueManager(data_dir)
        stack.callback(manager.shutdown)
        queue = manager.get_queue()
        for hook in hooks:
            assert hook.stdin is not None
            hook.stdin.write("go\n")
            hook.stdin.flush()
        while any(hook.poll() is None for hook in hooks) or get_stats(data_dir)["pending"]:
            queue.import_spool()  # hooks spool while the write-ahead log is long
            job = get_pending(queue)
            if job is not None:
                seen |= job["data"].keys()
                ack_job(queue, job)
        assert [hook.returncode for hook in hooks] == [0] * 4
        assert queue.counts()["in_progress"] == 0
    assert seen == {f"{me}_{n}" for me in range(4) for n in range(40)}


def test_the_worker_may_start_while_hooks_put_for_scenes_in_progress(data_dir: Path) -> None:
    """A hook's put at any moment must not break `auto_resume`."""
    code = writer(INBOX, "for n in range(150): queue.put(new(n % 3, 'metadata', {f'{n}': n}))\n")
    seen: set[str] = set()
    with python("-c", code, str(data_dir), "0") as hook:
        JobQueue(str(data_dir / "queue")).close()
        assert hook.stdin is not None
        hook.stdin.write("go\n")
        hook.stdin.flush()
        ended = False
        while not ended:
            ended = hook.poll() is not None
            with closing(JobQueue(str(data_dir / "queue"), auto_resume=True)) as queue:
                queue.import_spool()  # hooks spool while the write-ahead log is long
                for job in iter(queue.claim, None):
                    seen |= job["data"].keys()  # never acknowledged: the next opening resumes them
        assert hook.returncode == 0
    assert seen == {str(n) for n in range(150)}


def test_eight_hooks_that_find_a_damaged_database_at_once_lose_nothing(data_dir: Path) -> None:
    (data_dir / "queue").mkdir(parents=True)
    (data_dir / "queue" / "data.db").write_bytes(b"this is not a database at all " * 1000)
    code = writer(INBOX, "queue.put(new(me, 'metadata', {}))\n")
    run_at_once([("-c", code, str(data_dir), str(me)) for me in range(8)])
    check_database(str(data_dir / "queue" / "data.db"))
    with closing(JobQueue(str(data_dir / "queue"), auto_resume=True)) as queue:
        queue.import_spool()
    assert waiting(data_dir) == {me: {} for me in range(8)}
    assert len([file for file in (data_dir / "queue").iterdir() if "broken" in file.name]) == 1


# --- visibility and locks -------------------------------------------------------------------------


def test_a_commit_is_visible_to_other_processes_at_once(data_dir: Path, jobs: JobQueue) -> None:
    for n in range(3):
        before = jobs.version()
        put_one(data_dir, n, by="them")
        assert jobs.version() != before
        jobs.put(create_sync_job(10 + n, "metadata", {"by": "us"}))
        counted = run_python(
            "-c",
            "import sys; from queue.operations import *; print(get_stats(sys.argv[1]))",
            str(data_dir),
        )
        assert f"'pending': {2 * n + 2}," in counted
    assert {job["scene_id"] for job in iter(jobs.claim, None)} == {0, 1, 2, 10, 11, 12}


def open_queue_and_close(data_dir: Path) -> None:
    QueueManager(data_dir).shutdown()


def open_inbox_and_close(data_dir: Path) -> None:
    Inbox(str(data_dir)).close()


def open_inbox_and_put(data_dir: Path) -> None:
    with closing(Inbox(str(data_dir), lock_timeout=240)) as inbox:
        inbox.put(create_sync_job(99, "metadata", {}))


def read_statistics(data_dir: Path) -> None:
    get_stats(data_dir)


@pytest.mark.parametrize(
    "touch",
    [open_queue_and_close, open_inbox_and_close, open_inbox_and_put, read_statistics],
    ids=lambda touch: touch.__name__,
)
def test_opening_the_queue_a_second_time_in_one_process_drops_no_lock(
    data_dir: Path, touch: Callable[[Path], object]
) -> None:
    """POSIX drops a process's locks on a file when it closes any descriptor of the file.

    See sqlite.org/howtocorrupt, 2.2.
    """
    manager = QueueManager(data_dir)
    queue = manager.get_queue()
    queue.put(create_sync_job(1, "metadata", {}))
    touch(data_dir)
    put_one(data_dir, 2)  # the last process to close would delete the log that we use
    queue.put(create_sync_job(3, "metadata", {}))
    put_one(data_dir, 4)
    expected = {1, 2, 3, 4} | ({99} if touch is open_inbox_and_put else set())
    assert set(waiting(data_dir)) == expected
    assert {job["scene_id"] for job in iter(queue.claim, None)} == expected
    manager.shutdown()
    assert integrity(data_dir / "queue" / "data.db") == "ok"


def test_opening_the_dead_letters_a_second_time_in_one_process_drops_no_lock(
    data_dir: Path,
) -> None:
    add = (
        "import sys; from queue.dlq import DeadLetterQueue\n"
        "from queue.models import create_sync_job as new\n"
        "letters = DeadLetterQueue(sys.argv[1])\n"
        "letters.add(new(int(sys.argv[2]), 'metadata', {}), ValueError(), 0)\n"
        "letters.close()"
    )
    with closing(DeadLetterQueue(data_dir)) as letters:
        letters.add(create_sync_job(1, "metadata", {}), ValueError(), 0)
        DeadLetterQueue(data_dir).close()
        run_python("-c", add, str(data_dir), "2")
        letters.add(create_sync_job(3, "metadata", {}), ValueError(), 0)
        run_python("-c", add, str(data_dir), "4")
        assert letters.get_count() == 4
    with closing(DeadLetterQueue(data_dir)) as letters:
        assert {letter["scene_id"] for letter in letters.get_recent()} == {1, 2, 3, 4}
    assert integrity(data_dir / "dlq.db") == "ok"


# --- kills ----------------------------------------------------------------------------------------

KILLED_WRITER = """
import sys
from queue.inbox import Inbox
from queue.models import create_sync_job as new
start = int(sys.argv[2])
inbox = Inbox(sys.argv[1], lock_timeout=240)
for n in range(start, start + 100_000):
    inbox.put(new(n % 50, "metadata", {f"{n}": n}))
    sys.stdout.write(f"{n}\\n")
    sys.stdout.flush()
"""

KILLED_WORKER = """
import sys
from queue.manager import QueueManager
from queue.operations import ack_job, get_pending, nack_job
jobs = QueueManager(sys.argv[1], auto_resume=True).get_queue()
turn = 0
while True:
    job = get_pending(jobs)
    if job is None:
        continue
    turn += 1
    if turn % 3:
        nack_job(jobs, {**job, "retry_count": turn})
    else:
        sys.stdout.write(" ".join(job["data"]) + "\\n")
        sys.stdout.flush()
        ack_job(jobs, job)
"""


def start(code: str, data_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(data_dir), *arguments],
        cwd=ROOT,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def kill_after(process: subprocess.Popen[str], lines: int) -> list[str]:
    """Kill a process after it has printed `lines` lines; return all its lines."""
    assert process.stdout is not None
    with process:
        printed = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        printed += process.stdout.readlines()
    return [line.strip() for line in printed if line.endswith("\n")]


def test_killing_a_writer_at_any_moment_damages_nothing_and_loses_no_acknowledged_job(
    data_dir: Path,
) -> None:
    generator = random.Random(20)
    acknowledged: set[str] = set()
    for turn in range(30):
        writing = start(KILLED_WRITER, data_dir, str(turn * 100_000))
        acknowledged |= set(kill_after(writing, lines=generator.randrange(12)))
        assert integrity(data_dir / "queue" / "data.db") == "ok"
    with closing(JobQueue(str(data_dir / "queue"))) as queue:
        queue.import_spool()
    stored = {field for data in waiting(data_dir).values() for field in data}
    assert acknowledged <= stored
    assert len(acknowledged) > 30


def test_killing_worker_and_writer_at_any_moment_loses_no_acknowledged_job(data_dir: Path) -> None:
    generator = random.Random(21)
    acknowledged: set[str] = set()
    done: set[str] = set()
    JobQueue(str(data_dir / "queue")).close()
    for turn in range(10):
        working = start(KILLED_WORKER, data_dir)
        writing = start(KILLED_WRITER, data_dir, str(turn * 100_000))
        acknowledged |= set(kill_after(writing, lines=10 + generator.randrange(20)))
        for line in kill_after(working, lines=generator.randrange(4)):
            done |= set(line.split())
        assert integrity(data_dir / "queue" / "data.db") == "ok"
    with closing(JobQueue(str(data_dir / "queue"), auto_resume=True)) as queue:
        queue.import_spool()
        for job in iter(lambda: queue.claim(1e12), None):
            done |= job["data"].keys()
    assert acknowledged <= done


def test_a_put_waits_for_a_database_that_another_process_holds(data_dir: Path) -> None:
    with closing(Inbox(str(data_dir), lock_timeout=240)) as inbox:
        inbox.put(create_sync_job(1, "metadata", {}))
    holder = sqlite3.connect(data_dir / "queue" / "data.db", isolation_level=None)
    with closing(holder):
        holder.execute("BEGIN IMMEDIATE")
        code = writer(INBOX, "queue.put(new(me, 'metadata', {}))\n").replace(
            READY, "print('ready', flush=True)\n"
        )
        with python("-c", code, str(data_dir), "2") as hook:
            assert hook.stdout is not None
            hook.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                hook.wait(0.3)
            holder.execute("COMMIT")
            assert hook.wait(PROCESS_TIMEOUT) == 0, hook.stderr and hook.stderr.read()
    assert set(waiting(data_dir)) == {1, 2}


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_every_file_of_a_used_data_directory_is_the_owners_alone(data_dir: Path) -> None:
    code = (
        "import os, sys\n"
        "os.umask(0)\n"
        "from queue.manager import QueueManager\n"
        "from queue.dlq import DeadLetterQueue\n"
        "from queue.operations import enqueue, save_sync_timestamp\n"
        "manager = QueueManager(sys.argv[1])\n"
        "job = enqueue(manager.get_queue(), 1, 'metadata', {})\n"
        "letters = DeadLetterQueue(sys.argv[1])\n"
        "letters.add(job, ValueError(), 0)\n"
        "for n in range(1000): save_sync_timestamp(sys.argv[1], n, n)\n"
        "os._exit(0)  # as a hook ends: the write-ahead logs stay\n"
    )
    run_python("-c", code, str(data_dir))
    modes = {
        str(path.relative_to(data_dir)): path.stat().st_mode & 0o777
        for path in [data_dir, *data_dir.rglob("*")]
    }
    assert modes["queue/data.db-wal"] == 0o600
    assert modes == {name: 0o700 if name in (".", "queue") else 0o600 for name in modes}
