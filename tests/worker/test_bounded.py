"""The data directory holds the waiting jobs plus a small constant, even after many edits."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.redaction import Redactor
from common.sqlite import connect
from history.store import History
from queue.ack_queue import KEPT_ROWS, JobQueue
from queue.dlq import DeadLetterQueue
from queue.inbox import Inbox
from queue.manager import QueueManager
from queue.models import SyncJob, create_sync_job
from queue.operations import (
    ack_job,
    enqueue,
    fail_job,
    get_pending,
    load_sync_timestamps,
    nack_job,
)
from queue.spool import spool
from queue.timestamps import save_sync_timestamps
from stash.connection import StashConnection, save_connection
from stash.deferred_log import defer_log_line, take_deferred_lines
from tests.harness.clock import FakeClock
from tests.harness.in_process import WorkerHarness
from worker.bootstrap import build_worker
from worker.logfile import close_log, open_log
from worker.maintenance import COMPACT_EVERY
from worker.process import WorkerLock
from worker.reporter import Reporter

BURST = 6_000
LARGE = {"title": "A title of a usual length, somewhat longer", "details": True, "tags": [1, 2, 3]}
CONSTANT = 1_000_000
"""Bytes that may stay of what has passed."""
WAL_LIMIT = 4_194_304 + 65_536
DAY = 86_400.0


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[QueueManager]:
    manager = QueueManager(tmp_path / "data", auto_resume=True)
    yield manager
    manager.shutdown()


@pytest.fixture
def queue(manager: QueueManager) -> JobQueue:
    return manager.get_queue()


def size_of(folder: str | Path) -> int:
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def sizes(folder: str | Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()}


def rows(queue: JobQueue) -> int:
    return int(queue._putter.execute("SELECT count(*) FROM ack_queue_default").fetchone()[0])


def process_all(queue: JobQueue) -> None:
    """Process all jobs as the worker does: two of three succeed, with regular clean-up."""
    done = 0
    while (job := get_pending(queue)) is not None:
        (fail_job if job["scene_id"] % 3 == 0 else ack_job)(queue, job)
        done += 1
        if done % COMPACT_EVERY == 0:
            queue.compact()
    queue.compact()


# --- the queue


def test_after_a_burst_its_rows_and_disk_space_are_freed(
    manager: QueueManager, queue: JobQueue
) -> None:
    for number in range(BURST):
        enqueue(queue, number, "metadata", LARGE)
    assert size_of(manager.data_dir) > CONSTANT

    process_all(queue)

    assert rows(queue) <= KEPT_ROWS
    assert sizes(manager.data_dir)["data.db"] <= CONSTANT, "while the worker lives"
    assert sizes(manager.data_dir)["data.db-wal"] <= WAL_LIMIT
    manager.shutdown()
    assert size_of(manager.data_dir) <= CONSTANT, sizes(manager.data_dir)


@pytest.mark.parametrize("answer", [ack_job, fail_job])
def test_done_and_failed_rows_are_removed(
    queue: JobQueue, answer: Callable[[JobQueue, SyncJob], None]
) -> None:
    queue.put_many(create_sync_job(number, "metadata", {}) for number in range(KEPT_ROWS + 200))
    while (job := get_pending(queue)) is not None:
        answer(queue, job)

    queue.compact()

    assert rows(queue) == KEPT_ROWS


def test_waiting_and_claimed_jobs_are_never_removed(queue: JobQueue) -> None:
    queue.put_many(create_sync_job(number, "metadata", LARGE) for number in range(KEPT_ROWS + 500))
    in_hand = [get_pending(queue) for _ in range(10)]
    waiting = queue.counts()["pending"]

    queue.compact()

    assert queue.counts() == {
        "pending": waiting,
        "in_progress": len(in_hand),
        "completed": 0,
        "failed": 0,
    }


def test_a_scene_that_fails_again_and_again_takes_no_more_space(
    manager: QueueManager, queue: JobQueue
) -> None:
    for number in range(600):
        enqueue(queue, 1, "metadata", {"title": f"Title {number}"})
        if number % 3 == 0:
            job = get_pending(queue)
            assert job is not None
            enqueue(queue, 1, "metadata", {"details": f"Meanwhile {number}"})
            nack_job(queue, job)

    queue.compact()

    assert queue.counts()["pending"] == 1
    assert rows(queue) <= KEPT_ROWS + 1
    assert sizes(manager.queue_path)["data.db"] <= CONSTANT


def test_the_write_ahead_log_stays_small_while_hooks_write(
    manager: QueueManager, queue: JobQueue
) -> None:
    inbox = Inbox(manager.data_dir, lock_timeout=240)
    for number in range(1_000):
        inbox.put(create_sync_job(number, "metadata", LARGE))
        if number % 2:
            job = get_pending(queue)
            if job is not None:  # on a slow disk, an edit is spooled
                ack_job(queue, job)
    inbox.close()

    assert sizes(manager.queue_path)["data.db-wal"] <= WAL_LIMIT


def test_the_write_ahead_log_shrinks_again_after_a_long_read(
    manager: QueueManager, queue: JobQueue
) -> None:
    """A backup or an open sqlite3 shell prevents checkpoints of the log."""
    file = os.path.join(manager.queue_path, "data.db")
    reader = sqlite3.connect(file, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM ack_queue_default").fetchone()
    for number in range(1_000):
        enqueue(queue, number % 400, "metadata", LARGE)
    grown = sizes(manager.queue_path)["data.db-wal"]
    reader.execute("COMMIT")
    reader.close()

    for number in range(200):
        enqueue(queue, number, "metadata", LARGE)
    process_all(queue)

    assert grown > WAL_LIMIT
    assert sizes(manager.queue_path)["data.db-wal"] <= WAL_LIMIT


def test_the_spool_is_empty_after_an_import(manager: QueueManager, queue: JobQueue) -> None:
    for number in range(200):
        spool(manager.queue_path, create_sync_job(number, "metadata", LARGE))

    assert queue.import_spool() == 200

    assert [path for path in Path(manager.queue_path, "spool").iterdir() if path.is_file()] == []
    assert queue.counts()["pending"] == 200


# --- dead letters


def add_letters(dlq: DeadLetterQueue, count: int, start: int = 0) -> None:
    try:
        raise ValueError("no Plex item has the file /data/a/usual/path/of/a/usual/scene.mp4")
    except ValueError as error:
        for number in range(start, start + count):
            dlq.add(
                {**create_sync_job(number, "metadata", LARGE), "enqueued_at": float(number)},
                error,
                12,
            )


def test_a_scene_that_fails_permanently_again_and_again_has_one_dead_letter(
    harness: WorkerHarness,
) -> None:
    scene = harness.stash.add_scene(title="no file")
    for number in range(30):
        harness.edit(scene, f"Title {number}")
        harness.run_for(1)

    assert len(harness.letters()) == 1


def test_deleting_dead_letters_frees_their_disk_space(tmp_path: Path) -> None:
    """A wrong mapping made a dead letter of every scene; now all are in Plex."""
    dlq = DeadLetterQueue(tmp_path)
    add_letters(dlq, 2_000)
    assert size_of(tmp_path) > CONSTANT
    for number in range(2_000):
        dlq.delete_scene(number)
    dlq.close()
    dlq = DeadLetterQueue(tmp_path)
    dlq.delete_older_than(30)
    assert dlq.get_count() == 0
    dlq.close()

    assert size_of(tmp_path) <= CONSTANT, sizes(tmp_path)


def test_old_dead_letters_are_deleted(tmp_path: Path) -> None:
    clock = FakeClock()
    dlq = DeadLetterQueue(tmp_path, now=clock.time)
    for day in range(60):
        add_letters(dlq, 20, start=day * 20)
        clock.advance(86_400)
        dlq.delete_older_than(30)
    count = dlq.get_count()
    dlq.close()

    assert count <= 31 * 20


# --- timestamps


def test_the_timestamps_take_the_space_of_one_entry_per_scene(tmp_path: Path) -> None:
    scenes = 900
    for round_ in range(3):
        for start in range(0, scenes, 30):
            some = range(start, start + 30)
            save_sync_timestamps(tmp_path, dict.fromkeys(some, 1_700_000_000.5 + round_))
    one_round = len(json.dumps({str(one): 1_700_000_000.5 for one in range(scenes)}))
    assert size_of(tmp_path) == one_round

    save_sync_timestamps(tmp_path, {**dict.fromkeys(range(scenes)), 1: 1_700_000_000.5})

    assert load_sync_timestamps(tmp_path) == {1: 1_700_000_000.5}
    assert size_of(tmp_path) <= 40, sizes(tmp_path)


# --- log, deferred log, connection


@contextmanager
def logging_to(folder: Path) -> Iterator[logging.Logger]:
    handler = open_log(str(folder), Redactor())
    try:
        yield logging.getLogger("plexsync")
    finally:
        close_log(handler)


def test_the_log_rotates_and_stays_within_three_files(tmp_path: Path) -> None:
    for _ in range(4):
        with logging_to(tmp_path) as log:
            for number in range(8_000):
                log.info(
                    "Scene %s: wrote title, summary, genre, actor and this and that, and then some",
                    number,
                )

    assert len(list(tmp_path.iterdir())) <= 3
    assert size_of(tmp_path) <= 3_100_000
    if os.name == "posix":
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_one_huge_line_does_not_break_the_log(tmp_path: Path) -> None:
    with logging_to(tmp_path) as log:
        for number in range(5):
            log.error("%s %s", number, "x" * 1_500_000)
        log.error("the last")

    assert size_of(tmp_path) <= 5_000_000
    assert "the last" in (tmp_path / "worker.log").read_text(encoding="utf-8")


def test_the_deferred_log_is_bounded_and_read_once(tmp_path: Path) -> None:
    reporter = Reporter(str(tmp_path))
    for number in range(3_000):
        reporter.notify_user("warning", f"Scene {number} may be any of many")

    assert size_of(tmp_path) <= 40_000
    taken = list(take_deferred_lines(str(tmp_path)))
    assert 50 < len(taken) < 3_000
    assert list(tmp_path.iterdir()) == []
    defer_log_line(str(tmp_path), "error", "heard again")
    assert list(take_deferred_lines(str(tmp_path))) == [("error", "heard again")]


def test_the_repeat_filter_of_a_reporter_is_bounded() -> None:
    reporter = Reporter()
    for number in range(10_000):
        reporter.notify_user("info", f"Sentence {number}")

    assert len(reporter._logged) <= 1_000
    assert len(reporter._notified) <= 1_000


def test_the_connection_file_is_replaced_not_appended_to(tmp_path: Path) -> None:
    for number in range(50):
        save_connection(
            str(tmp_path),
            StashConnection(
                {"Host": "h", "SessionCookie": {"Name": "session", "Value": "x" * 900}}
            ),
        )
        if not number:
            first = size_of(tmp_path)

    assert size_of(tmp_path) == first
    assert len(list(tmp_path.iterdir())) == 1


# --- leftovers


@pytest.fixture(scope="module")
def ended_process() -> int:
    """Return the id of a process that has exited."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.skipif(
    os.name != "posix",
    reason="only POSIX can check whether a process is alive without killing it",
)
@pytest.mark.parametrize(
    "name",
    [
        "connection.json.{}.tmp",
        "sync_timestamps.json.{}.tmp",
        "notices.jsonl.{}.tmp",
        "worker_state.json.{}.tmp",
        "queue/spool/00001-1.json.{}.tmp",
    ],
)
def test_leftovers_of_killed_processes_are_removed_at_the_next_start(
    tmp_path: Path, ended_process: int, name: str
) -> None:
    left, in_use = tmp_path / name.format(ended_process), tmp_path / name.format(os.getpid())
    for file in (left, in_use):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text("{", encoding="utf-8")

    open_and_close_worker(tmp_path)

    assert not left.exists()
    assert in_use.exists()


def open_and_close_worker(data_dir: Path) -> None:
    lock = WorkerLock(str(data_dir))
    assert lock.acquire()
    with build_worker(str(data_dir), lock, environ={}):
        pass
    lock.release()


def test_many_worker_starts_leave_the_same_few_files(tmp_path: Path) -> None:
    open_and_close_worker(tmp_path)
    first = sizes(tmp_path)
    for _ in range(10):
        open_and_close_worker(tmp_path)

    after = sizes(tmp_path)
    assert set(after) == set(first)
    assert size_of(tmp_path) - sum(first.values()) <= 10_000, (first, after)


def test_a_busy_worker_leaves_no_unexpected_files(harness: WorkerHarness) -> None:
    for number in range(40):
        scene = harness.add_scene(f"s{number}")
        if number % 4:
            harness.add_item(f"s{number}")
        harness.edit(scene, f"New {number}")
    harness.run_for(7_200)
    harness.close()

    names = {
        path.relative_to(harness.data_dir).as_posix()
        for path in Path(harness.data_dir).rglob("*")
        if path.is_file()
    }
    assert names <= {
        "connection.json",
        "dlq.db",
        "queue/data.db",
        "sync_timestamps.json",
        "settings_page.json",
        "worker_state.json",
    }


def rows_of(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT count(*) FROM agreements").fetchone()[0])


def test_the_history_of_deleted_scenes_goes_with_their_items(
    harness: WorkerHarness, tmp_path: Path
) -> None:
    """What Plex had before the first write stays until the item is gone too."""
    database = connect(str(tmp_path / "history.db"), any_thread=True)
    harness.new_worker(compares=True, history=History(database, now=harness.clock.time))
    for number in range(30):
        harness.add_scene(f"other{number}")
    scenes = harness.edited(20)
    harness.run_for(60)
    assert rows_of(database) == 50
    for scene in scenes:
        harness.stash.delete_silently(scene.id)
    for _ in range(3):
        harness.restart()
        harness.run_for(DAY)
    assert rows_of(database) == 50
    assert harness.worker.history.known_scenes() == 30
    assert load_sync_timestamps(harness.data_dir) == {}

    for item in harness.plex.items(harness.library):
        harness.plex.remove_item(item.rating_key)
    for _ in range(2):
        harness.restart()
        harness.run_for(DAY)
    left = rows_of(database)
    harness.worker.stop()
    database.close()
    assert left == 30


def test_ended_commands_and_passes_leave_no_rows(harness: WorkerHarness) -> None:
    harness.new_worker(compares=True)
    for _ in range(5):
        harness.command("drain")
        harness.command("sync")
        harness.run_for(DAY)
        harness.restart()
    harness.run_for(60)
    assert harness.worker.history.passes() == {}
    count = harness.queue._putter.execute("SELECT count(*) FROM commands").fetchone()[0]
    assert count <= 2
