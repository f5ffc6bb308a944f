"""The queue's rules: one waiting job per scene, nothing lost by a merge, due times, resuming."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from queue.ack_queue import KEPT_ROWS, JobQueue
from queue.inbox import Inbox
from queue.manager import QueueManager
from queue.models import RETRY_FIELDS, SyncJob, create_sync_job, merge_jobs
from queue.operations import ack_job, enqueue, fail_job, get_pending, get_stats, nack_job
from queue.rescue import check_database
from tests.queue.support import ROOT, environment, rows, run_python, waiting

Reopen = Callable[[], JobQueue]


@pytest.fixture(params=["file", "reopened", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopen]:
    """A function that returns the queue: in a file, opened anew each time it is asked for, or in memory."""
    opened: list[JobQueue] = []

    def get() -> JobQueue:
        if request.param == "reopened" and opened:
            opened.pop().close()
        if not opened:
            opened.append(
                JobQueue(":memory:" if request.param == "memory" else str(tmp_path / "queue"))
            )
        return opened[0]

    yield get
    for queue in opened:
        queue.close()


def put(queue: JobQueue, scene_id: int = 1, now: float = 100.0, **data: Any) -> int:
    return queue.put(create_sync_job(scene_id, "metadata", data, now=now))


def take(queue: JobQueue, now: float = 1e9) -> SyncJob:
    job = queue.take(now)
    assert job is not None
    return job


def scenes(queue: JobQueue, now: float) -> list[int]:
    """Take everything that is due; return the scenes in the order in which they were handed out."""
    return [job["scene_id"] for job in iter(lambda: queue.take(now), None)]


def delayed(job: SyncJob, until: float, retries: int = 1) -> SyncJob:
    job["retry_count"] = retries
    job["next_retry_at"] = until
    job["last_error_type"] = "PlexNotFound"
    return job


# --- merging ----------------------------------------------------------------------------------------------


def test_a_job_comes_back_as_it_was_put(store: Reopen) -> None:
    row = put(store(), 5, now=123.25, title="Ü 🎬", nothing=None, deep={"a": [1, 2.5, False]})
    assert take(store()) == {
        "scene_id": 5,
        "update_type": "metadata",
        "data": {"title": "Ü 🎬", "nothing": None, "deep": {"a": [1, 2.5, False]}},
        "enqueued_at": 123.25,
        "job_key": "scene_5",
        "pqid": row,
    }


def test_edits_of_one_scene_become_one_job_with_the_newest_value_of_each_field(
    store: Reopen,
) -> None:
    ids = {
        put(store(), now=100, title="a", details="d"),
        put(store(), now=200, title="b"),
        put(store(), now=300, x=None),
    }
    assert len(ids) == 1
    job = take(store())
    assert job["data"] == {"title": "b", "details": "d", "x": None}
    assert job["enqueued_at"] == 100
    assert store().take(1e9) is None


def test_a_clock_that_went_back_does_not_make_a_job_younger(store: Reopen) -> None:
    put(store(), now=200)
    put(store(), now=100)
    assert take(store())["enqueued_at"] == 100


def test_edits_of_two_scenes_stay_two_jobs(store: Reopen) -> None:
    put(store(), 1, a=1)
    put(store(), 11, a=2)
    assert [take(store())["data"], take(store())["data"]] == [{"a": 1}, {"a": 2}]


def test_an_edit_of_a_started_scene_is_a_new_job(store: Reopen) -> None:
    queue = store()
    first = put(queue, title="a")
    taken = take(queue)
    second = put(queue, title="b")
    assert second != first
    assert queue.counts() == {"pending": 1, "in_progress": 1, "completed": 0, "failed": 0}
    ack_job(queue, taken)
    assert take(store())["data"] == {"title": "b"}


def test_a_new_edit_resets_the_retries_of_a_job_that_waits(store: Reopen) -> None:
    queue = store()
    put(queue, title="a")
    nack_job(queue, delayed(take(queue, now=50), until=1e6, retries=4))
    put(store(), title="b")
    job = take(store(), now=60)
    assert not set(RETRY_FIELDS) & set(job)
    assert job["data"] == {"title": "b"}


def test_a_released_job_waits_with_the_retry_state_that_it_carries(store: Reopen) -> None:
    queue = store()
    put(queue, title="a")
    job = delayed(take(queue), until=500.0, retries=3)
    nack_job(queue, job)
    assert store().take(499.9) is None
    again = take(store(), now=500.0)
    assert (again["retry_count"], again["next_retry_at"], again["last_error_type"]) == (
        3,
        500.0,
        "PlexNotFound",
    )
    assert again["pqid"] == job["pqid"]
    assert again["data"] == {"title": "a"}


def test_releasing_a_job_whose_twin_waits_makes_one_job_of_both(store: Reopen) -> None:
    queue = store()
    put(queue, now=100, title="old", details="kept")
    job = take(queue)
    put(queue, now=200, title="new")
    nack_job(queue, delayed(job, until=1e6))
    assert queue.counts() == {"pending": 1, "in_progress": 0, "completed": 1, "failed": 0}
    merged = take(store(), now=300)  # at once: the new edit deserves a fresh start
    assert merged["data"] == {"title": "new", "details": "kept"}
    assert merged["enqueued_at"] == 100
    assert not set(RETRY_FIELDS) & set(merged)


def test_an_edit_during_the_second_attempt_is_not_lost(store: Reopen) -> None:
    queue = store()
    put(queue, a=1)
    nack_job(queue, delayed(take(queue), until=10))
    job = take(queue)
    put(queue, b=2)
    fail_job(queue, job)
    assert take(store())["data"] == {"b": 2}


def test_answered_jobs_are_gone_for_good(store: Reopen) -> None:
    queue = store()
    put(queue, 1)
    put(queue, 2)
    ack_job(queue, take(queue))
    fail_job(queue, take(queue))
    assert store().take(1e9) is None
    assert store().next_due() is None
    assert store().counts() == {"pending": 0, "in_progress": 0, "completed": 1, "failed": 1}


def test_merging_changes_neither_of_the_two() -> None:
    older = create_sync_job(1, "metadata", {"a": 1}, now=1)
    newer = create_sync_job(1, "metadata", {"b": 2}, now=2)
    merge_jobs(older, newer)
    assert (older["data"], newer["data"]) == ({"a": 1}, {"b": 2})


@pytest.mark.parametrize("scene_id", [7, "7"])
def test_a_new_job_has_the_five_keys_of_the_contract(scene_id: Any) -> None:
    before = time.time()
    job = create_sync_job(scene_id, "metadata", {"title": "x"})
    assert before <= job.pop("enqueued_at") <= time.time()
    assert job == {
        "scene_id": 7,
        "update_type": "metadata",
        "data": {"title": "x"},
        "job_key": "scene_7",
    }


# --- order and due times ----------------------------------------------------------------------------------


def test_fresh_jobs_go_in_order_before_retries_and_retries_by_due_time(store: Reopen) -> None:
    queue = store()
    for scene in (1, 2, 3):
        put(queue, scene)
    for until in (90.0, 70.0, 80.0):
        nack_job(queue, delayed(take(queue, now=0), until=until))
    put(queue, 5)
    put(queue, 4)
    assert scenes(store(), now=100) == [5, 4, 2, 3, 1]


def test_a_waiting_retry_delays_no_other_job_and_is_not_handed_out_early(store: Reopen) -> None:
    queue = store()
    put(queue, 1)
    nack_job(queue, delayed(take(queue), until=1000.0))
    put(queue, 2)
    assert scenes(store(), now=999.999) == [2]
    assert store().next_due() == 1000.0
    assert scenes(store(), now=1000.0) == [1]


def test_next_due_is_zero_for_a_fresh_job_and_none_without_any(store: Reopen) -> None:
    assert store().next_due() is None
    put(store())
    assert store().next_due() == 0


def test_a_merge_does_not_move_a_job_to_the_end(store: Reopen) -> None:
    put(store(), 1)
    put(store(), 2)
    put(store(), 1)
    assert scenes(store(), now=0) == [1, 2]


def test_counts_can_be_limited_to_what_is_due(store: Reopen) -> None:
    queue = store()
    put(queue, 1)
    nack_job(queue, delayed(take(queue), until=1000.0))
    put(queue, 2)
    assert queue.counts(due_at=10)["pending"] == 1
    assert queue.counts(due_at=1000)["pending"] == 2
    assert queue.counts()["pending"] == 2


# --- resuming ---------------------------------------------------------------------------------------------


def test_a_job_in_progress_waits_again_after_a_kill(data_dir: Path) -> None:
    run_python(
        "-c",
        "import os, sys\n"
        "from queue.manager import QueueManager\n"
        "from queue.operations import enqueue, get_pending\n"
        "jobs = QueueManager(sys.argv[1]).get_queue()\n"
        "enqueue(jobs, 1, 'metadata', {'title': 'a'})\n"
        "assert get_pending(jobs)\n"
        "os._exit(0)",
        str(data_dir),
    )
    with closing(JobQueue(str(data_dir / "queue"))) as onlooker:
        assert (
            onlooker.take(1e9) is None
        )  # it may still be in work: only the lock's holder may resume
    with closing(JobQueue(str(data_dir / "queue"), auto_resume=True)) as queue:
        assert take(queue)["data"] == {"title": "a"}


def test_resuming_beside_a_twin_makes_one_job_of_both(data_dir: Path) -> None:
    with closing(JobQueue(str(data_dir / "queue"))) as queue:
        put(queue, 1, now=100, title="old", details="kept")
        nack_job(queue, delayed(take(queue), until=50.0, retries=3))
        take(queue)
        put(queue, 1, now=200, title="new")
        put(queue, 2, other=True)
        take(queue)
    with closing(JobQueue(str(data_dir / "queue"), auto_resume=True)) as queue:
        assert queue.counts() == {"pending": 2, "in_progress": 0, "completed": 1, "failed": 0}
        found = {job["scene_id"]: job for job in (take(queue), take(queue))}
    assert found[1]["data"] == {"title": "new", "details": "kept"}
    assert found[1]["enqueued_at"] == 100
    assert not set(RETRY_FIELDS) & set(found[1])
    assert found[2]["data"] == {"other": True}


def test_resuming_many_jobs_with_and_without_twins_loses_no_field(data_dir: Path) -> None:
    with closing(JobQueue(str(data_dir / "queue"))) as queue:
        for scene in range(20):
            put(queue, scene, a=scene)
            take(queue)
        for scene in range(0, 20, 2):
            put(queue, scene, b=scene)
    JobQueue(str(data_dir / "queue"), auto_resume=True).close()
    assert waiting(data_dir) == {n: {"a": n} if n % 2 else {"a": n, "b": n} for n in range(20)}


def test_a_resumed_retry_keeps_its_count(data_dir: Path) -> None:
    with closing(JobQueue(str(data_dir / "queue"))) as queue:
        put(queue)
        nack_job(queue, delayed(take(queue), until=10, retries=4))
        take(queue)
    with closing(JobQueue(str(data_dir / "queue"), auto_resume=True)) as queue:
        assert take(queue)["retry_count"] == 4


def test_a_put_between_the_two_steps_of_resuming_neither_stops_the_worker_nor_is_lost(
    data_dir: Path,
) -> None:
    class Interrupted(JobQueue):
        """A hook's put comes in just before persist-queue turns jobs in progress into waiting ones."""

        def resume_unack_tasks(self) -> None:
            with closing(Inbox(str(data_dir))) as inbox:
                inbox.put(create_sync_job(1, "metadata", {"b": 2}))
            super().resume_unack_tasks()

    with closing(JobQueue(str(data_dir / "queue"))) as queue:
        put(queue, 1, a=1)
        take(queue)
    with closing(Interrupted(str(data_dir / "queue"), auto_resume=True)) as queue:
        assert queue.counts()["pending"] == 1
        assert take(queue)["data"] == {"a": 1, "b": 2}


def test_opening_with_auto_resume_twice_changes_nothing(data_dir: Path) -> None:
    with closing(JobQueue(str(data_dir / "queue"))) as queue:
        put(queue, 1, a=1)
        take(queue)
    for _ in range(2):
        JobQueue(str(data_dir / "queue"), auto_resume=True).close()
    assert [(job["data"], status) for _, job, status in rows(data_dir)] == [({"a": 1}, 1)]


# --- the object -------------------------------------------------------------------------------------------


def test_an_empty_queue_is_true_and_its_sizes_see_other_processes(
    jobs: JobQueue, data_dir: Path
) -> None:
    assert jobs
    assert (len(jobs), jobs.qsize(), jobs.size, jobs.empty()) == (0, 0, 0, True)
    with closing(Inbox(str(data_dir))) as other:
        other.put(create_sync_job(1, "metadata", {}))
    assert (len(jobs), jobs.qsize(), jobs.size, jobs.empty()) == (1, 1, 1, False)


def test_the_version_changes_when_somebody_else_writes_and_only_then(
    jobs: JobQueue, data_dir: Path
) -> None:
    before = jobs.version()
    assert jobs.version() == before
    with closing(Inbox(str(data_dir))) as other:
        other.put(create_sync_job(1, "metadata", {}))
    assert jobs.version() != before


def test_get_pending_without_a_job_is_none_and_does_not_wait(jobs: JobQueue) -> None:
    assert get_pending(jobs) is None
    assert get_pending(jobs, timeout=0.01) is None


def test_get_pending_sees_what_another_process_puts_while_it_waits(
    jobs: JobQueue, data_dir: Path
) -> None:
    code = "import sys; from queue.inbox import Inbox; from queue.models import create_sync_job as new\n"
    code += "Inbox(sys.argv[1]).put(new(3, 'metadata', {}))"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(data_dir)], cwd=ROOT, env=environment()
    ) as process:
        job = get_pending(jobs, timeout=240)
        process.wait()
    assert job is not None
    assert job["scene_id"] == 3


def test_a_retry_that_waits_is_not_pending_for_get_pending(jobs: JobQueue) -> None:
    enqueue(jobs, 1, "metadata", {})
    job = get_pending(jobs)
    assert job is not None
    nack_job(jobs, delayed(job, until=time.time() + 3600))
    assert get_pending(jobs) is None


def test_enqueue_returns_the_job_that_it_put(jobs: JobQueue, data_dir: Path) -> None:
    job = enqueue(jobs, 4, "metadata", {"title": "x"})
    assert [stored for _, stored, _ in rows(data_dir)] == [job]


def test_a_job_that_json_cannot_hold_is_refused_and_leaves_the_queue_usable(
    jobs: JobQueue, data_dir: Path
) -> None:
    with pytest.raises(TypeError):
        enqueue(jobs, 1, "metadata", {"bad": object()})
    enqueue(jobs, 1, "metadata", {"good": 1})
    with pytest.raises(TypeError):
        enqueue(jobs, 1, "metadata", {"bad": object()})
    assert waiting(data_dir) == {1: {"good": 1}}


@pytest.mark.parametrize("answer", [nack_job, ack_job, fail_job])
def test_no_answer_ever_writes_the_row_id_into_the_job(
    answer: Callable[[JobQueue, SyncJob], None], jobs: JobQueue, data_dir: Path
) -> None:
    put(jobs, a=1)
    job = take(jobs)
    put(jobs, b=1)
    answer(jobs, job)
    put(jobs, c=1)
    assert all("pqid" not in stored for _, stored, _ in rows(data_dir))


def test_an_answer_by_a_copy_of_the_job_counts_too(jobs: JobQueue) -> None:
    put(jobs)
    ack_job(jobs, take(jobs).copy())
    assert jobs.counts()["completed"] == 1


@pytest.mark.parametrize("ending", [ack_job, fail_job])
def test_finished_rows_do_not_pile_up(
    ending: Callable[[JobQueue, SyncJob], None], jobs: JobQueue, data_dir: Path
) -> None:
    status = 5 if ending is ack_job else 9
    with closing(sqlite3.connect(data_dir / "queue" / "data.db")) as connection, connection:
        connection.executemany(
            "INSERT INTO ack_queue_default (data, timestamp, status) VALUES (?, 0, ?)",
            [(f'{{"job_key": "scene_{n}"}}'.encode(), status) for n in range(3 * KEPT_ROWS)],
        )
    put(jobs, 1, a=1)
    jobs.tidy()
    assert KEPT_ROWS <= len(rows(data_dir)) - 1 <= 2 * KEPT_ROWS
    assert waiting(data_dir) == {1: {"a": 1}}


# --- get_stats and QueueManager -----------------------------------------------------------------------------


@pytest.fixture
def one_of_each(data_dir: Path, jobs: JobQueue) -> Path:
    """A data directory with 1 failed, 2 done, 3 started and 4 waiting jobs."""
    for scene in range(10):
        put(jobs, scene)
    for ending, times in ((fail_job, 1), (ack_job, 2), (lambda *_: None, 3)):
        for _ in range(times):
            ending(jobs, take(jobs))
    return data_dir


@pytest.mark.parametrize(
    "below", ["", "queue", "queue/data.db"], ids=["data directory", "folder", "file"]
)
@pytest.mark.parametrize("kind", [str, Path])
def test_the_statistics_take_each_form_of_path(
    one_of_each: Path, below: str, kind: type[Any]
) -> None:
    path = kind(one_of_each / below if below else one_of_each)
    assert get_stats(path) == {"pending": 4, "in_progress": 3, "completed": 2, "failed": 1}


NOTHING = {"pending": 0, "in_progress": 0, "completed": 0, "failed": 0}


def test_the_statistics_of_no_queue_are_zeros_and_make_no_file(tmp_path: Path) -> None:
    assert get_stats(tmp_path / "no" / "such") == NOTHING
    assert get_stats(str(tmp_path)) == NOTHING
    assert list(tmp_path.iterdir()) == []


def test_the_statistics_of_a_file_that_another_process_is_just_making_are_zeros(
    tmp_path: Path,
) -> None:
    (tmp_path / "data.db").touch()
    assert get_stats(tmp_path) == NOTHING


def test_asking_for_statistics_does_not_disturb_an_open_queue(
    jobs: JobQueue, data_dir: Path
) -> None:
    for scene in range(5):
        put(jobs, scene)
        assert get_stats(data_dir)["pending"] == scene + 1


def test_the_manager_uses_the_plugins_own_data_directory_by_default(tmp_path: Path) -> None:
    code = (
        "from queue.manager import QueueManager\n"
        "from queue.operations import enqueue\n"
        "manager = QueueManager()\n"
        "enqueue(manager.get_queue(), 1, 'metadata', {})\n"
        "manager.shutdown()\n"
    )
    run_python("-c", code, STASH_PLUGIN_DATA=str(tmp_path / "given"))
    assert get_stats(tmp_path / "given")["pending"] == 1
    run_python("-c", code, HOME=str(tmp_path / "home"), USERPROFILE=str(tmp_path / "home"))
    assert get_stats(tmp_path / "home" / ".stash" / "plugins" / "PlexSync" / "data")["pending"] == 1


def test_the_manager_can_be_shut_down_twice_and_the_jobs_stay(data_dir: Path) -> None:
    manager = QueueManager(data_dir)
    assert manager.get_queue() is manager.get_queue()
    enqueue(manager.get_queue(), 1, "metadata", {})
    manager.shutdown()
    manager.shutdown()
    with pytest.raises(RuntimeError):
        manager.get_queue()
    assert waiting(data_dir) == {1: {}}


def test_opening_without_auto_resume_leaves_jobs_in_progress_alone(
    data_dir: Path, jobs: JobQueue
) -> None:
    put(jobs)
    take(jobs)
    second = QueueManager(str(data_dir))
    assert second.get_queue().counts()["in_progress"] == 1
    second.shutdown()


@pytest.mark.parametrize(
    "content", [b"this is no database at all " * 100, b"\0" * 8192], ids=["text", "zeros"]
)
def test_a_damaged_database_is_set_aside_whole_and_the_job_is_kept(
    data_dir: Path, content: bytes
) -> None:
    folder = data_dir / "queue"
    folder.mkdir(parents=True)
    (folder / "data.db").write_bytes(content)
    with closing(Inbox(str(data_dir))) as inbox:
        inbox.put(create_sync_job(1, "metadata", {"a": 1}))
    assert waiting(data_dir) == {1: {"a": 1}}
    assert [file.read_bytes() for file in folder.iterdir() if "broken" in file.name] == [content]


def test_what_is_readable_in_a_damaged_database_is_carried_over(data_dir: Path) -> None:
    with closing(Inbox(str(data_dir))) as inbox:
        for scene in range(200):
            inbox.put(create_sync_job(scene, "metadata", {"text": "x" * 500}))
    database = data_dir / "queue" / "data.db"
    content = database.read_bytes()
    half = len(content) // 2 // 4096 * 4096
    database.write_bytes(content[:half] + b"\xff" * 4096 + content[half + 4096 :])
    assert check_database(str(database)) is not None  # as the worker does before it opens the queue
    QueueManager(data_dir, auto_resume=True).shutdown()
    found = waiting(data_dir)
    assert len(found) > 150
    assert all(data == {"text": "x" * 500} for data in found.values())


def test_a_carried_over_job_does_not_overwrite_a_newer_edit(data_dir: Path) -> None:
    with closing(JobQueue(str(data_dir / "queue"))) as queue:
        put(queue, 1, now=1, title="old", details="kept")
        nack_job(queue, delayed(take(queue), until=1e8))
    (data_dir / "queue" / "data.db").rename(data_dir / "queue" / "data.db.broken-20260101-000000")
    with closing(Inbox(str(data_dir))) as inbox:
        inbox.put(create_sync_job(1, "metadata", {"title": "new"}, now=2))
    manager = QueueManager(data_dir, auto_resume=True)
    job = take(manager.get_queue(), now=3)
    manager.shutdown()
    assert job["data"] == {"title": "new", "details": "kept"}
    assert job["enqueued_at"] == 1
