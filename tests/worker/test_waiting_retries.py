"""Jobs whose time has not come cost nothing: no delay for others, no look at the table."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import queue.table as table
from queue.inbox import Inbox
from queue.models import SyncJob, create_sync_job
from tests.harness.in_process import WorkerHarness

WAITING = 2_000


@contextmanager
def statements(harness: WorkerHarness) -> Iterator[list[str]]:
    """Every SQL statement that the queue's connections execute."""
    seen: list[str] = []
    connections: tuple[sqlite3.Connection, ...] = (harness.queue._putter, harness.queue._getter)
    for connection in connections:
        connection.set_trace_callback(seen.append)
    yield seen
    for connection in connections:
        connection.set_trace_callback(None)


@pytest.fixture
def crowded(harness: WorkerHarness) -> WorkerHarness:
    """Many retries that are due in an hour and later."""
    jobs: list[SyncJob] = []
    for number in range(WAITING):
        job = create_sync_job(10_000 + number, "metadata", {"title": True})
        jobs.append({**job, "retry_count": 3, "next_retry_at": harness.clock.now + 3600 + number})
    connection = harness.queue._putter
    connection.execute("BEGIN")
    for job in jobs:
        table._insert(connection, job)
    connection.execute("COMMIT")
    return harness


def test_a_fresh_edit_overtakes_all_waiting_retries(crowded: WorkerHarness) -> None:
    scene, _ = crowded.pair("fresh")
    crowded.edit(scene, "Fresh")
    start = crowded.clock.now

    with statements(crowded) as seen:
        crowded.run_for(0.5)

    assert crowded.title(scene) == "Fresh"
    assert crowded.clock.now - start < 2
    assert crowded.waiting() == WAITING
    assert len(seen) < 60, "what it costs does not grow with what waits"


def test_an_edit_put_by_another_connection_is_noticed_within_a_poll_interval(
    crowded: WorkerHarness,
) -> None:
    scene, _ = crowded.pair("fresh")
    crowded.stash.change_silently(scene.id, title="Fresh")
    inbox = Inbox(str(crowded.data_dir))
    crowded.clock.after(
        100, lambda: inbox.put(create_sync_job(scene.id, "metadata", {"title": True}))
    )

    crowded.run_for(102)
    inbox.close()

    assert crowded.title(scene) == "Fresh"


def test_waiting_retries_are_not_read_over_and_over(crowded: WorkerHarness) -> None:
    with statements(crowded) as seen:
        crowded.run_for(1800)

    looks = [statement for statement in seen if "data_version" not in statement]
    assert len(looks) <= 1800 / 30 * 2 + 30, "a look per heartbeat at most"
    assert not [statement for statement in looks if "UPDATE" in statement or "INSERT" in statement]
    assert crowded.stash.log.all() == []
    assert len(crowded.plex.log) == 0


def test_a_look_for_what_is_due_uses_the_index(crowded: WorkerHarness) -> None:
    with statements(crowded) as seen:
        assert crowded.queue.next_due() is not None
        assert crowded.queue.claim(crowded.clock.now) is None
    plans = [
        row[3]
        for statement in seen
        if statement.startswith("SELECT")
        for row in crowded.queue._putter.execute(f"EXPLAIN QUERY PLAN {statement}")
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
