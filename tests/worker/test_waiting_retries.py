"""Retries that are not due yet cost nothing: no delay for others, no read of the table."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import queue.table as table
from queue.inbox import Inbox
from queue.models import SyncJob, create_sync_job
from tests.harness.in_process import WorkerHarness

#: No retry waits for longer than ten minutes.
WAITING, DUE_IN = 500, 550.0


@contextmanager
def statements(harness: WorkerHarness) -> Iterator[list[str]]:
    """Record every SQL statement that the queue's connections execute."""
    seen: list[str] = []
    connections: tuple[sqlite3.Connection, ...] = (harness.queue._putter, harness.queue._getter)
    for connection in connections:
        connection.set_trace_callback(seen.append)
    yield seen
    for connection in connections:
        connection.set_trace_callback(None)


@pytest.fixture
def many_retries(harness: WorkerHarness) -> WorkerHarness:
    """Add many retries that are due in nine minutes."""
    harness.configure(poll_interval=1)
    jobs: list[SyncJob] = []
    for number in range(WAITING):
        job = create_sync_job(10_000 + number, "metadata", {"title": True})
        jobs.append({**job, "retry_count": 3, "next_retry_at": harness.clock.now + DUE_IN})
    connection = harness.queue._putter
    connection.execute("BEGIN")
    for job in jobs:
        table._insert(connection, job)
    connection.execute("COMMIT")
    return harness


def test_a_fresh_edit_overtakes_all_waiting_retries(many_retries: WorkerHarness) -> None:
    scene, _ = many_retries.pair("fresh")
    many_retries.edit(scene, "Fresh")
    start = many_retries.clock.now

    with statements(many_retries) as seen:
        many_retries.run_for(0.5)

    assert many_retries.title(scene) == "Fresh"
    assert many_retries.clock.now - start < 2
    assert many_retries.waiting() == WAITING
    assert len(seen) < 60, "what it costs does not grow with what waits"


def test_an_edit_put_by_another_connection_is_noticed_within_a_poll_interval(
    many_retries: WorkerHarness,
) -> None:
    scene, _ = many_retries.pair("fresh")
    many_retries.stash.change_silently(scene.id, title="Fresh")
    inbox = Inbox(str(many_retries.data_dir), lock_timeout=240)
    many_retries.clock.after(
        100, lambda: inbox.put(create_sync_job(scene.id, "metadata", {"title": True}))
    )

    many_retries.run_for(102)
    inbox.close()

    assert many_retries.title(scene) == "Fresh"


def test_waiting_retries_are_not_read_again_and_again(many_retries: WorkerHarness) -> None:
    with statements(many_retries) as seen:
        many_retries.run_for(500)

    reads = [statement for statement in seen if "data_version" not in statement]
    heartbeats = 500 / 30
    assert len(reads) <= heartbeats * 11 + 30, "a few reads per heartbeat"
    writes = [statement for statement in reads if "UPDATE" in statement or "INSERT" in statement]
    assert len(writes) <= 1, "at the end, what is in progress is put back"
    assert many_retries.stash.log.all() == []
    assert len(many_retries.plex.log) == 0


def test_the_query_for_due_jobs_uses_the_index(many_retries: WorkerHarness) -> None:
    with statements(many_retries) as seen:
        assert many_retries.queue.next_due() is not None
        assert many_retries.queue.claim(many_retries.clock.now) is None
    plans = [
        row[3]
        for statement in seen
        if statement.startswith("SELECT")
        for row in many_retries.queue._putter.execute(f"EXPLAIN QUERY PLAN {statement}")
    ]

    assert plans
    assert all(
        "USING INDEX due_jobs" in plan or "COVERING INDEX due_jobs" in plan for plan in plans
    ), plans


def test_retries_start_when_they_are_due_and_in_the_order_of_their_times(
    harness: WorkerHarness,
) -> None:
    names = {"late": 90.0, "early": 30.0, "middle": 60.0}
    for name, seconds in names.items():
        scene, _ = harness.pair(name)
        harness.stash.change_silently(scene.id, title=f"New {name}")
        job: SyncJob = {
            **create_sync_job(scene.id, "metadata", {}),
            "retry_count": 1,
            "next_retry_at": harness.clock.now + seconds,
        }
        harness.queue.put(job)

    harness.run_for(29)
    assert harness.plex.writes == []
    harness.run_for(200)

    titles = [harness.plex.item(write.rating_key).title for write in harness.plex.writes]
    assert titles == ["New early", "New middle", "New late"]
