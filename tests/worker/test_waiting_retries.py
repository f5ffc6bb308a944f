"""Jobs whose time has not come cost nothing: no delay for others, no look at the table."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import queue.table as table
from queue.inbox import Inbox
from queue.models import SyncJob, create_sync_job
from tests.worker.world import World

WAITING = 2_000


@contextmanager
def statements(world: World) -> Iterator[list[str]]:
    """Every SQL statement that the queue's connections execute."""
    seen: list[str] = []
    connections: tuple[sqlite3.Connection, ...] = (world.queue._putter, world.queue._getter)
    for connection in connections:
        connection.set_trace_callback(seen.append)
    yield seen
    for connection in connections:
        connection.set_trace_callback(None)


@pytest.fixture
def crowded(world: World) -> World:
    """Many retries that are due in an hour and later."""
    jobs: list[SyncJob] = []
    for number in range(WAITING):
        job = create_sync_job(10_000 + number, "metadata", {"title": True})
        jobs.append({**job, "retry_count": 3, "next_retry_at": world.clock.now + 3600 + number})
    connection = world.queue._putter
    connection.execute("BEGIN")
    for job in jobs:
        table._insert(connection, job)
    connection.execute("COMMIT")
    return world


def test_a_fresh_edit_overtakes_all_waiting_retries(crowded: World) -> None:
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
    crowded: World,
) -> None:
    scene, _ = crowded.pair("fresh")
    crowded.stash.change_silently(scene.id, title="Fresh")
    inbox = Inbox(crowded.data_dir)
    crowded.clock.after(
        100, lambda: inbox.put(create_sync_job(scene.id, "metadata", {"title": True}))
    )

    crowded.run_for(102)
    inbox.close()

    assert crowded.title(scene) == "Fresh"


def test_waiting_retries_are_not_read_over_and_over(crowded: World) -> None:
    with statements(crowded) as seen:
        crowded.run_for(1800)

    looks = [statement for statement in seen if "data_version" not in statement]
    assert len(looks) <= 1800 / 30 * 2 + 30, "a look per heartbeat at most"
    assert not [statement for statement in looks if "UPDATE" in statement or "INSERT" in statement]
    assert crowded.stash.log.all() == []
    assert len(crowded.plex.log) == 0


def test_a_look_for_what_is_due_uses_the_index(crowded: World) -> None:
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


def test_retries_start_when_they_are_due_and_in_the_order_of_their_times(world: World) -> None:
    names = {"late": 90.0, "early": 30.0, "middle": 60.0}
    for name, seconds in names.items():
        scene, _ = world.pair(name)
        world.stash.change_silently(scene.id, title=f"New {name}")
        job: SyncJob = {
            **create_sync_job(scene.id, "metadata", {}),
            "retry_count": 1,
            "next_retry_at": world.clock.now + seconds,
        }
        world.queue.put(job)

    world.run_for(29)
    assert world.plex.writes == []
    world.run_for(200)

    titles = [world.plex.item(write.rating_key).title for write in world.plex.writes]
    assert titles == ["New early", "New middle", "New late"]
