"""Tests of the job queue: merging, due times, resuming, statistics, recovery."""

from __future__ import annotations

import os
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
from queue.models import (
    PASS,
    RETRY,
    RETRY_FIELDS,
    SyncJob,
    create_bulk_job,
    create_sync_job,
    is_bulk,
    is_saved,
    merge_jobs,
)
from queue.operations import ack_job, enqueue, fail_job, get_pending, get_stats, nack_job
from queue.recovery import check_database, rename_database, salvage
from queue.table import BULK_WORK, EDITS, RETRIES, drop_finished
from tests.queue.support import ROOT, environment, rows, run_python, waiting

Reopen = Callable[[], JobQueue]


@pytest.fixture(params=["file", "reopened", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopen]:
    """Return a function that opens the queue: in a file, reopened on each call, or in memory."""
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


def claim(queue: JobQueue, now: float = 1e9) -> SyncJob:
    job = queue.claim(now)
    assert job is not None
    return job


def scenes(queue: JobQueue, now: float) -> list[int]:
    """Claim all due jobs; return their scenes in that order."""
    return [job["scene_id"] for job in iter(lambda: queue.claim(now), None)]


def delayed(job: SyncJob, until: float, retries: int = 1) -> SyncJob:
    job["retry_count"] = retries
    job["next_retry_at"] = until
    job["last_error_type"] = "PlexNotFound"
    return job


# --- merging --------------------------------------------------------------------------------------


def test_a_job_comes_back_as_it_was_put(store: Reopen) -> None:
    row = put(store(), 5, now=123.25, title="Ü 🎬", nothing=None, deep={"a": [1, 2.5, False]})
    assert claim(store()) == {
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
    job = claim(store())
    assert job["data"] == {"title": "b", "details": "d", "x": None}
    assert job["enqueued_at"] == 100
    assert store().claim(1e9) is None


def test_a_merge_keeps_the_earlier_time_even_if_the_clock_went_back(store: Reopen) -> None:
    put(store(), now=200)
    put(store(), now=100)
    assert claim(store())["enqueued_at"] == 100


def test_edits_of_two_scenes_stay_two_jobs(store: Reopen) -> None:
    put(store(), 1, a=1)
    put(store(), 11, a=2)
    assert [claim(store())["data"], claim(store())["data"]] == [{"a": 1}, {"a": 2}]


def test_an_edit_of_a_started_scene_is_a_new_job(store: Reopen) -> None:
    queue = store()
    first = put(queue, title="a")
    claimed = claim(queue)
    second = put(queue, title="b")
    assert second != first
    assert queue.counts() == {"pending": 1, "in_progress": 1, "completed": 0, "failed": 0}
    ack_job(queue, claimed)
    assert claim(store())["data"] == {"title": "b"}


def test_a_new_edit_resets_the_retries_of_a_waiting_job(store: Reopen) -> None:
    queue = store()
    put(queue, title="a")
    nack_job(queue, delayed(claim(queue, now=50), until=1e6, retries=4))
    put(store(), title="b")
    job = claim(store(), now=60)
    assert not set(RETRY_FIELDS) & set(job)
    assert job["data"] == {"title": "b"}


def test_a_requeued_job_keeps_its_updated_retry_state(store: Reopen) -> None:
    queue = store()
    put(queue, title="a")
    job = delayed(claim(queue), until=500.0, retries=3)
    nack_job(queue, job)
    assert store().claim(499.9) is None
    again = claim(store(), now=500.0)
    assert (again["retry_count"], again["next_retry_at"], again["last_error_type"]) == (
        3,
        500.0,
        "PlexNotFound",
    )
    assert again["pqid"] == job["pqid"]
    assert again["data"] == {"title": "a"}


def test_requeueing_a_job_merges_it_into_a_waiting_job_of_its_scene(store: Reopen) -> None:
    queue = store()
    put(queue, now=100, title="old", details="kept")
    job = claim(queue)
    put(queue, now=200, title="new")
    nack_job(queue, delayed(job, until=1e6))
    assert queue.counts() == {"pending": 1, "in_progress": 0, "completed": 1, "failed": 0}
    merged = claim(store(), now=300)  # due now: the new edit dropped the retry state
    assert merged["data"] == {"title": "new", "details": "kept"}
    assert merged["enqueued_at"] == 100
    assert not set(RETRY_FIELDS) & set(merged)


def test_an_edit_during_the_second_attempt_is_not_lost(store: Reopen) -> None:
    queue = store()
    put(queue, a=1)
    nack_job(queue, delayed(claim(queue), until=10))
    job = claim(queue)
    put(queue, b=2)
    fail_job(queue, job)
    assert claim(store())["data"] == {"b": 2}


def test_finished_jobs_are_never_claimed_again(store: Reopen) -> None:
    queue = store()
    put(queue, 1)
    put(queue, 2)
    ack_job(queue, claim(queue))
    fail_job(queue, claim(queue))
    assert store().claim(1e9) is None
    assert store().next_due() is None
    assert store().counts() == {"pending": 0, "in_progress": 0, "completed": 1, "failed": 1}


def test_merging_does_not_modify_the_two_jobs() -> None:
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


# --- order and due times --------------------------------------------------------------------------


def test_fresh_jobs_go_in_order_before_retries_and_retries_by_due_time(store: Reopen) -> None:
    queue = store()
    for scene in (1, 2, 3):
        put(queue, scene)
    for until in (90.0, 70.0, 80.0):
        nack_job(queue, delayed(claim(queue, now=0), until=until))
    put(queue, 5)
    put(queue, 4)
    assert scenes(store(), now=100) == [5, 4, 2, 3, 1]


def test_a_delayed_retry_blocks_no_other_job_and_is_not_claimed_early(store: Reopen) -> None:
    queue = store()
    put(queue, 1)
    nack_job(queue, delayed(claim(queue), until=1000.0))
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
    nack_job(queue, delayed(claim(queue), until=1000.0))
    put(queue, 2)
    assert queue.counts(due_at=10)["pending"] == 1
    assert queue.counts(due_at=1000)["pending"] == 2
    assert queue.counts()["pending"] == 2


def test_jobs_delayed_by_a_clock_that_was_ahead_are_made_due(store: Reopen) -> None:
    queue = store()
    for scene in (1, 2, 3):
        put(queue, scene)
    for until in (1000.0, 1500.0, 9e8):
        nack_job(queue, delayed(claim(queue, now=0), until=until, retries=4))
    assert queue.pull_in(1600.0, 900.0) == 1
    assert store().pull_in(1600.0, 900.0) == 0
    assert scenes(store(), now=999.0) == [3]
    assert scenes(store(), now=1500.0) == [1, 2]


# --- kinds and passes -----------------------------------------------------------------------------

NOW = 1000.0


def put_bulk(queue: JobQueue, scene_id: int, **marks: Any) -> None:
    queue.put_many([create_bulk_job(scene_id, now=NOW, **marks)])


def test_bulk_work_that_is_merged_into_a_save_changes_nothing_of_it(store: Reopen) -> None:
    queue = store()
    put(queue, 1, title="the user's")
    queue.put_many([create_bulk_job(1, now=NOW, delay=60, title="another")])
    (job,) = store().claim_many(5, NOW, EDITS)
    assert job["data"] == {"title": "the user's"}
    assert "next_retry_at" not in job


@pytest.fixture
def kinds(store: Reopen) -> JobQueue:
    """Return a queue with edits (1, 2), retries (3, later 4) and bulk jobs (5, later 6)."""
    queue = store()
    for scene in (3, 4):
        put(queue, scene)
        nack_job(queue, delayed(claim(queue), until=NOW if scene == 3 else NOW + 60))
    put_bulk(queue, 5)
    queue.put_many([create_bulk_job(6, now=NOW, delay=60)])
    put(queue, 1)
    put(queue, 2)
    return store()


@pytest.mark.parametrize(
    ("kind", "due", "later"), [(EDITS, [1, 2], []), (RETRIES, [3], [4]), (BULK_WORK, [5], [6])]
)
def test_jobs_are_counted_and_claimed_by_kind(
    kinds: JobQueue, kind: str, due: list[int], later: list[int]
) -> None:
    assert kinds.count_kind(kind, NOW) == len(due)
    assert kinds.count_kind(kind) == len(due) + len(later)
    assert kinds.is_due(kind, NOW)
    assert [job["scene_id"] for job in kinds.claim_many(9, NOW, kind)] == due
    assert kinds.count_kind(kind) == len(later)
    assert not kinds.is_due(kind, NOW)
    assert kinds.is_due(kind, NOW + 60) is bool(later)
    assert [job["scene_id"] for job in kinds.claim_many(9, NOW + 60, kind)] == later


def test_every_job_is_of_one_kind(kinds: JobQueue) -> None:
    assert sum(kinds.count_kind(kind) for kind in (EDITS, RETRIES, BULK_WORK)) == kinds.size == 6
    assert len(kinds.claim_many(9, NOW + 60)) == 6


def test_bulk_work_for_a_waiting_edit_changes_nothing_of_it(store: Reopen) -> None:
    queue = store()
    put(queue, 1, title="a")
    put_bulk(queue, 1, **{PASS: 7})
    job = claim(store(), NOW)
    assert (job["data"]["title"], is_bulk(job), is_saved(job)) == ("a", False, True)
    assert PASS not in job["data"]


def test_an_edit_of_a_scene_with_bulk_work_is_an_edit(store: Reopen) -> None:
    put_bulk(store(), 1, **{PASS: 7})
    put(store(), 1, title="a")
    assert store().count_kind(EDITS, 0) == 1
    job = claim(store(), 0)
    assert (job["data"], is_bulk(job), is_saved(job)) == ({"title": "a"}, False, True)


def test_bulk_work_that_is_put_over_a_retry_makes_it_due_and_leaves_it_an_edit(
    store: Reopen,
) -> None:
    queue = store()
    put(queue, 1, title="a")
    nack_job(queue, delayed(claim(queue), until=NOW + 60))
    queue.put(create_bulk_job(1, now=NOW, **{RETRY: True}))
    job = claim(queue, NOW)
    assert (job["data"], is_bulk(job), is_saved(job)) == ({"title": "a", RETRY: True}, False, True)


def test_a_retry_of_bulk_work_stays_bulk_work(store: Reopen) -> None:
    put_bulk(store(), 1, **{PASS: 7})
    queue = store()
    nack_job(queue, delayed(claim(queue, NOW), until=NOW + 5))
    assert store().count_kind(BULK_WORK) == 1
    assert store().count_kind(RETRIES) == 0


def test_the_jobs_of_a_pass_are_counted_with_those_in_progress(store: Reopen) -> None:
    queue = store()
    for scene in (1, 2, 3):
        put_bulk(queue, scene, **{PASS: 7})
    put_bulk(queue, 4, **{PASS: 8})
    put_bulk(queue, 5)
    first = claim(queue, NOW)
    assert queue.count_pass(7, NOW) == 3
    nack_job(queue, delayed(first, until=NOW + 60))
    assert (queue.count_pass(7, NOW), queue.count_pass(7, NOW + 60)) == (2, 3)
    assert (queue.count_pass(8, NOW), queue.count_pass(9, NOW)) == (1, 0)


def test_a_dropped_pass_leaves_edits_other_passes_and_what_was_started(store: Reopen) -> None:
    queue = store()
    for scene in (1, 2, 3):
        put_bulk(queue, scene, **{PASS: 7})
    put_bulk(queue, 4, **{PASS: 8})
    put_bulk(queue, 5)
    put(queue, 2, title="a")
    started = claim(queue, NOW)  # the edit
    started_too = claim(queue, NOW)
    assert (started["scene_id"], started_too["scene_id"]) == (2, 1)
    put(queue, 6)

    assert queue.drop_pass(7) == 1

    assert sorted(scenes(queue, NOW)) == [4, 5, 6]
    assert queue.counts()["in_progress"] == 5


def test_clearing_drops_what_waits_only(store: Reopen) -> None:
    queue = store()
    for scene in (1, 2):
        put(queue, scene)
    put_bulk(queue, 3)
    claim(queue)
    assert queue.clear_waiting() == 2
    assert (queue.size, queue.counts()["in_progress"]) == (0, 1)


def test_bulk_work_that_is_put_off_is_nothing_that_a_user_waits_for(store: Reopen) -> None:
    queue = store()
    put(queue, 1)
    queue.put_many([create_bulk_job(2, now=100.0), create_bulk_job(3, now=100.0, delay=50.0)])
    assert queue.count_for_user(100.0, "PlexNotFound") == 2
    assert queue.count_for_user(150.0, "PlexNotFound") == 3
    for scene_id, error in ((4, "PlexNotFound"), (5, "PlexTemporaryError")):
        job = create_bulk_job(scene_id, now=100.0, delay=50.0)
        queue.put({**job, "last_error_type": error})
    assert queue.count_for_user(100.0, "PlexNotFound") == 3, "5 failed, and 4 is not in Plex"


def test_an_unfinished_job_waits_or_is_in_progress(store: Reopen) -> None:
    queue = store()
    assert queue.find_unfinished("scene_1") is None
    put(queue, 1, title="a")
    started = claim(queue)
    found = queue.find_unfinished("scene_1")
    assert found is not None
    assert found["data"] == {"title": "a"}
    put(queue, 1, title="b")
    found = queue.find_unfinished("scene_1")
    assert found is not None
    assert found["data"] == {"title": "b"}
    ack_job(queue, started)
    ack_job(queue, claim(queue))
    assert queue.find_unfinished("scene_1") is None


# --- resuming -------------------------------------------------------------------------------------


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
    with closing(JobQueue(str(data_dir / "queue"))) as observer:
        # The job may still be in progress: only the holder of the worker lock may resume it.
        assert observer.claim(1e9) is None
    with closing(JobQueue(str(data_dir / "queue"), auto_resume=True)) as queue:
        assert claim(queue)["data"] == {"title": "a"}


def test_resuming_merges_a_job_into_a_waiting_job_of_its_scene(data_dir: Path) -> None:
    with closing(JobQueue(str(data_dir / "queue"))) as queue:
        put(queue, 1, now=100, title="old", details="kept")
        nack_job(queue, delayed(claim(queue), until=50.0, retries=3))
        claim(queue)
        put(queue, 1, now=200, title="new")
        put(queue, 2, other=True)
        claim(queue)
    with closing(JobQueue(str(data_dir / "queue"), auto_resume=True)) as queue:
        assert queue.counts() == {"pending": 2, "in_progress": 0, "completed": 1, "failed": 0}
        found = {job["scene_id"]: job for job in (claim(queue), claim(queue))}
    assert found[1]["data"] == {"title": "new", "details": "kept"}
    assert found[1]["enqueued_at"] == 100
    assert not set(RETRY_FIELDS) & set(found[1])
    assert found[2]["data"] == {"other": True}


def test_resuming_many_jobs_with_and_without_duplicates_loses_no_field(data_dir: Path) -> None:
    with closing(JobQueue(str(data_dir / "queue"))) as queue:
        for scene in range(20):
            put(queue, scene, a=scene)
            claim(queue)
        for scene in range(0, 20, 2):
            put(queue, scene, b=scene)
    JobQueue(str(data_dir / "queue"), auto_resume=True).close()
    assert waiting(data_dir) == {n: {"a": n} if n % 2 else {"a": n, "b": n} for n in range(20)}


def test_a_resumed_retry_keeps_its_count(data_dir: Path) -> None:
    with closing(JobQueue(str(data_dir / "queue"))) as queue:
        put(queue)
        nack_job(queue, delayed(claim(queue), until=10, retries=4))
        claim(queue)
    with closing(JobQueue(str(data_dir / "queue"), auto_resume=True)) as queue:
        assert claim(queue)["retry_count"] == 4


def test_a_put_between_the_two_steps_of_resuming_is_kept_and_raises_nothing(
    data_dir: Path,
) -> None:
    class Interrupted(JobQueue):
        """Let a hook put a job just before persist-queue resumes the jobs in progress."""

        def resume_unack_tasks(self) -> None:
            with closing(Inbox(str(data_dir), lock_timeout=240)) as inbox:
                inbox.put(create_sync_job(1, "metadata", {"b": 2}))
            super().resume_unack_tasks()

    with closing(JobQueue(str(data_dir / "queue"))) as queue:
        put(queue, 1, a=1)
        claim(queue)
    with closing(Interrupted(str(data_dir / "queue"), auto_resume=True)) as queue:
        assert queue.counts()["pending"] == 1
        assert claim(queue)["data"] == {"a": 1, "b": 2}


def test_opening_with_auto_resume_twice_changes_nothing(data_dir: Path) -> None:
    with closing(JobQueue(str(data_dir / "queue"))) as queue:
        put(queue, 1, a=1)
        claim(queue)
    for _ in range(2):
        JobQueue(str(data_dir / "queue"), auto_resume=True).close()
    assert [(job["data"], status) for _, job, status in rows(data_dir)] == [({"a": 1}, 1)]


# --- the interface --------------------------------------------------------------------------------


def test_an_empty_queue_is_true_and_its_sizes_see_other_processes(
    jobs: JobQueue, data_dir: Path
) -> None:
    assert jobs
    assert (len(jobs), jobs.qsize(), jobs.size, jobs.empty()) == (0, 0, 0, True)
    with closing(Inbox(str(data_dir), lock_timeout=240)) as other:
        other.put(create_sync_job(1, "metadata", {}))
    assert (len(jobs), jobs.qsize(), jobs.size, jobs.empty()) == (1, 1, 1, False)


def test_the_version_changes_only_when_another_process_writes(
    jobs: JobQueue, data_dir: Path
) -> None:
    before = jobs.version()
    assert jobs.version() == before
    with closing(Inbox(str(data_dir), lock_timeout=240)) as other:
        other.put(create_sync_job(1, "metadata", {}))
    assert jobs.version() != before


def test_get_pending_without_a_job_is_none_and_does_not_wait(jobs: JobQueue) -> None:
    assert get_pending(jobs) is None
    assert get_pending(jobs, timeout=0.01) is None


def test_get_pending_sees_what_another_process_puts_while_it_waits(
    jobs: JobQueue, data_dir: Path
) -> None:
    code = "import sys; from queue.inbox import Inbox\n"
    code += "from queue.models import create_sync_job as new\n"
    code += "Inbox(sys.argv[1], lock_timeout=240).put(new(3, 'metadata', {}))"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(data_dir)], cwd=ROOT, env=environment()
    ) as process:
        job = get_pending(jobs, timeout=240)
        process.wait()
    assert job is not None
    assert job["scene_id"] == 3


def test_get_pending_does_not_return_a_delayed_retry(jobs: JobQueue) -> None:
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


@pytest.mark.parametrize("finish", [nack_job, ack_job, fail_job])
def test_the_row_id_is_never_stored_in_the_job(
    finish: Callable[[JobQueue, SyncJob], None], jobs: JobQueue, data_dir: Path
) -> None:
    put(jobs, a=1)
    job = claim(jobs)
    put(jobs, b=1)
    finish(jobs, job)
    put(jobs, c=1)
    assert all("pqid" not in stored for _, stored, _ in rows(data_dir))


def test_a_copy_of_a_job_can_be_acknowledged(jobs: JobQueue) -> None:
    put(jobs)
    ack_job(jobs, claim(jobs).copy())
    assert jobs.counts()["completed"] == 1


@pytest.mark.parametrize("finish", [ack_job, fail_job])
def test_finished_rows_do_not_pile_up(
    finish: Callable[[JobQueue, SyncJob], None], jobs: JobQueue, data_dir: Path
) -> None:
    status = 5 if finish is ack_job else 9
    with closing(sqlite3.connect(data_dir / "queue" / "data.db")) as connection, connection:
        connection.executemany(
            "INSERT INTO ack_queue_default (data, timestamp, status) VALUES (?, 0, ?)",
            [(f'{{"job_key": "scene_{n}"}}'.encode(), status) for n in range(3 * KEPT_ROWS)],
        )
    put(jobs, 1, a=1)
    jobs.compact()
    assert KEPT_ROWS <= len(rows(data_dir)) - 1 <= 2 * KEPT_ROWS
    assert waiting(data_dir) == {1: {"a": 1}}


def test_finished_rows_are_dropped_and_older_jobs_in_progress_stay(
    data_dir: Path, jobs: JobQueue
) -> None:
    put(jobs, 1)
    in_progress = claim(jobs)
    put(jobs, 2)
    ack_job(jobs, claim(jobs))
    with closing(sqlite3.connect(data_dir / "queue" / "data.db", isolation_level=None)) as file:
        drop_finished(file, keep=0)
        left = file.execute("SELECT _id FROM ack_queue_default").fetchall()
    assert left == [(in_progress["pqid"],)]


# --- get_stats and QueueManager -------------------------------------------------------------------


@pytest.fixture
def one_of_each(data_dir: Path, jobs: JobQueue) -> Path:
    """Return a data directory with 1 failed, 2 done, 3 claimed and 4 waiting jobs."""
    for scene in range(10):
        put(jobs, scene)
    for finish, times in ((fail_job, 1), (ack_job, 2), (lambda *_: None, 3)):
        for _ in range(times):
            finish(jobs, claim(jobs))
    return data_dir


@pytest.mark.parametrize(
    "below", ["", "queue", "queue/data.db"], ids=["data directory", "folder", "file"]
)
@pytest.mark.parametrize("kind", [str, Path])
def test_the_statistics_accept_each_form_of_path(
    one_of_each: Path, below: str, kind: type[Any]
) -> None:
    path = kind(one_of_each / below if below else one_of_each)
    assert get_stats(path) == {"pending": 4, "in_progress": 3, "completed": 2, "failed": 1}


NOTHING = {"pending": 0, "in_progress": 0, "completed": 0, "failed": 0}


def test_the_statistics_of_a_missing_queue_are_zeros_and_create_no_file(tmp_path: Path) -> None:
    assert get_stats(tmp_path / "no" / "such") == NOTHING
    assert get_stats(str(tmp_path)) == NOTHING
    assert list(tmp_path.iterdir()) == []


def test_the_statistics_of_a_file_that_another_process_is_creating_are_zeros(
    tmp_path: Path,
) -> None:
    (tmp_path / "data.db").touch()
    assert get_stats(tmp_path) == NOTHING


def test_the_statistics_do_not_disturb_an_open_queue(jobs: JobQueue, data_dir: Path) -> None:
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
    claim(jobs)
    second = QueueManager(str(data_dir))
    assert second.get_queue().counts()["in_progress"] == 1
    second.shutdown()


@pytest.mark.parametrize(
    "content", [b"this is not a database at all " * 100, b"\0" * 8192], ids=["text", "zeros"]
)
def test_a_damaged_database_is_left_to_the_worker_which_quarantines_it_unchanged(
    data_dir: Path, content: bytes
) -> None:
    folder = data_dir / "queue"
    folder.mkdir(parents=True)
    (folder / "data.db").write_bytes(content)
    with closing(Inbox(str(data_dir), lock_timeout=240)) as inbox:
        assert inbox.put(create_sync_job(1, "metadata", {"a": 1})) is None, "spooled"
    assert (folder / "data.db").read_bytes() == content
    check_database(str(folder / "data.db"))  # as the worker does before it opens the queue
    with closing(JobQueue(str(folder), auto_resume=True)) as queue:
        queue.import_spool()
    assert waiting(data_dir) == {1: {"a": 1}}
    assert [file.read_bytes() for file in folder.iterdir() if "broken" in file.name] == [content]


@pytest.mark.parametrize(("age", "is_put"), [(0, False), (60, True)])
def test_only_a_fresh_guard_keeps_an_edit_out_of_the_database(
    data_dir: Path, age: float, is_put: bool
) -> None:
    """It is there for milliseconds; an old one is left of a process that was killed."""
    with closing(Inbox(str(data_dir), lock_timeout=240)) as inbox:
        inbox.put(create_sync_job(1, "metadata", {"a": 1}))
        guard = data_dir / "queue" / "data.db.rescue"
        guard.touch()
        # fresh: from the future, as a busy machine may take longer than it counts
        made = time.time() + (-age if age else 3600)
        os.utime(guard, (made, made))
        assert (inbox.put(create_sync_job(2, "metadata", {"a": 1})) is not None) is is_put
    check_database(str(data_dir / "queue" / "data.db"))  # as a worker does when it starts
    assert not guard.exists()


def test_readable_jobs_of_a_damaged_database_are_salvaged(data_dir: Path) -> None:
    with closing(Inbox(str(data_dir), lock_timeout=240)) as inbox:
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


def set_aside(data_dir: Path) -> Path:
    """Rename the queue's database as a damaged one; return its new path."""
    broken = data_dir / "queue" / "data.db.broken-20260101-000000"
    (data_dir / "queue" / "data.db").rename(broken)
    return broken


def test_a_job_in_progress_is_salvaged_and_finished_ones_are_not(data_dir: Path) -> None:
    with closing(JobQueue(str(data_dir / "queue"))) as queue:
        for scene, finish in ((1, ack_job), (2, fail_job), (3, lambda *_: None)):
            put(queue, scene, a=1)
            finish(queue, claim(queue))
    set_aside(data_dir)
    QueueManager(data_dir, auto_resume=True).shutdown()
    assert waiting(data_dir) == {3: {"a": 1}}


def test_a_database_counts_as_salvaged_only_when_its_jobs_are_in_the_queue(
    data_dir: Path,
) -> None:
    with closing(JobQueue(str(data_dir / "queue"))) as queue:
        put(queue, 1, a=1)
    broken = set_aside(data_dir)
    database = data_dir / "queue" / "data.db"
    JobQueue(str(database.parent)).close()
    with (
        closing(sqlite3.connect(database, isolation_level=None)) as other,
        closing(sqlite3.connect(database, isolation_level=None, timeout=0.01)) as ours,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            salvage(str(database), ours)
        assert broken.exists()
        other.execute("ROLLBACK")
        assert salvage(str(database), ours) == 1
    assert not broken.exists()
    assert waiting(data_dir) == {1: {"a": 1}}


def test_a_damaged_database_is_renamed_after_its_side_files(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in between, the other order would leave the old log beside a new database."""
    folder = data_dir / "queue"
    folder.mkdir(parents=True)
    for name in ("data.db", "data.db-wal", "data.db-shm"):
        (folder / name).write_bytes(b"x")
    renamed, rename = [], os.replace

    def recorded(source: str, target: str) -> None:
        renamed.append(os.path.basename(source))
        rename(source, target)

    monkeypatch.setattr(os, "replace", recorded)
    rename_database(str(folder / "data.db"))
    assert renamed == ["data.db-wal", "data.db-shm", "data.db"]


def test_a_salvaged_job_does_not_overwrite_a_newer_edit(data_dir: Path) -> None:
    with closing(JobQueue(str(data_dir / "queue"))) as queue:
        put(queue, 1, now=1, title="old", details="kept")
        nack_job(queue, delayed(claim(queue), until=1e8))
    set_aside(data_dir)
    with closing(Inbox(str(data_dir), lock_timeout=240)) as inbox:
        inbox.put(create_sync_job(1, "metadata", {"title": "new"}, now=2))
    manager = QueueManager(data_dir, auto_resume=True)
    job = claim(manager.get_queue(), now=3)
    manager.shutdown()
    assert job["data"] == {"title": "new", "details": "kept"}
    assert job["enqueued_at"] == 1
