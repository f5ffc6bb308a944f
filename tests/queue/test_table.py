"""Tests of the table on disk: same as persist-queue's, indexed, never unpickled."""

from __future__ import annotations

import json
import pickle
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import persistqueue
import persistqueue.serializers.json
import pytest

import queue.table as table
from common.sqlite import connect
from queue.ack_queue import JobQueue
from queue.inbox import Inbox
from queue.models import SyncJob, create_sync_job
from queue.operations import get_stats
from tests.queue.support import PROCESS_TIMEOUT, python, rows, waiting


def job(scene_id: int, **data: Any) -> SyncJob:
    return create_sync_job(scene_id, "metadata", data, now=1.0)


def plain(data_dir: Path, **options: Any) -> persistqueue.SQLiteAckQueue:
    return persistqueue.SQLiteAckQueue(
        str(data_dir / "queue"),
        serializer=persistqueue.serializers.json,
        auto_resume=False,
        **options,
    )


def columns(database: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("PRAGMA table_info(ack_queue_default)").fetchall()


def test_the_table_has_persist_queues_own_columns(tmp_path: Path) -> None:
    with closing(Inbox(str(tmp_path / "ours"), lock_timeout=240)) as inbox:
        inbox.put(job(1))
    plain(tmp_path / "theirs").close()
    assert columns(tmp_path / "ours" / "queue" / "data.db") == columns(
        tmp_path / "theirs" / "queue" / "data.db"
    )


def test_row_ids_are_never_reused_as_in_persist_queue(data_dir: Path) -> None:
    with closing(JobQueue(str(data_dir / "queue"))) as queue:
        first = queue.put(job(1))
        queue.claim()
        queue.ack(id=first)
        queue.clear_acked_data(keep_latest=0)
        assert queue.put(job(1)) > first


def test_a_plain_queue_reads_and_acknowledges_our_rows(data_dir: Path) -> None:
    with closing(Inbox(str(data_dir), lock_timeout=240)) as inbox:
        inbox.put(job(1, a=1))
        inbox.put(job(2))
        inbox.put(job(3))
    with closing(plain(data_dir)) as queue:
        assert queue.size == 3
        first = queue.get(block=False)
        assert first == job(1, a=1)
        queue.ack(first)
        queue.ack_failed(queue.get(block=False))
        queue.nack(queue.get(block=False))
    assert get_stats(data_dir) == {"pending": 1, "in_progress": 0, "completed": 1, "failed": 1}


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_we_claim_jobs_that_a_plain_queue_puts(data_dir: Path, first: str) -> None:
    if first == "ours":
        JobQueue(str(data_dir / "queue")).close()
    with closing(plain(data_dir)) as theirs:
        theirs.put(job(1, a=1))
    with closing(JobQueue(str(data_dir / "queue"))) as ours:
        ours.put(job(1, b=2))
        claimed = ours.claim()
    assert claimed is not None
    assert claimed["data"] == {"a": 1, "b": 2}


def test_duplicates_of_a_plain_queue_are_merged_when_our_indexes_are_created(
    data_dir: Path,
) -> None:
    with closing(plain(data_dir)) as theirs:
        for n in range(4):
            theirs.put(job(1, **{f"f{n}": n, "newest": n}))
        theirs.put(job(2))
    with closing(JobQueue(str(data_dir / "queue"))) as ours:
        assert ours.counts()["pending"] == 2
    assert waiting(data_dir)[1] == {"f0": 0, "f1": 1, "f2": 2, "f3": 3, "newest": 3}


def test_the_database_itself_refuses_a_second_waiting_job(data_dir: Path) -> None:
    with closing(Inbox(str(data_dir), lock_timeout=240)) as inbox:
        inbox.put(job(1))
    with closing(plain(data_dir)) as theirs, pytest.raises(sqlite3.IntegrityError):
        theirs.put(job(1))


def test_a_job_on_disk_is_json_with_the_contracts_keys_only(data_dir: Path) -> None:
    with closing(JobQueue(str(data_dir / "queue"))) as queue:
        with_row_id: SyncJob = {**job(1, title="ü"), "pqid": 77}
        queue.put(with_row_id)
        claimed = queue.claim()
        assert claimed is not None
        queue.requeue(claimed)
    with closing(sqlite3.connect(data_dir / "queue" / "data.db")) as connection:
        ((stored,),) = connection.execute("SELECT data FROM ack_queue_default").fetchall()
    assert isinstance(stored, bytes)
    assert json.loads(stored) == job(1, title="ü")


class Bomb:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("status", [0, 2, 5])
def test_a_pickle_in_the_table_is_never_opened(data_dir: Path, tmp_path: Path, status: int) -> None:
    plain(data_dir).close()
    with closing(sqlite3.connect(data_dir / "queue" / "data.db")) as connection, connection:
        connection.execute(
            "INSERT INTO ack_queue_default (data, timestamp, status) VALUES (?, 0, ?)",
            (pickle.dumps(Bomb(tmp_path / "boom")), status),
        )
    code = (
        "import sys; from queue.ack_queue import JobQueue\n"
        "JobQueue(sys.argv[1], auto_resume=True).claim()\n"
    )
    with python("-c", code, str(data_dir / "queue")) as process:
        process.communicate(timeout=PROCESS_TIMEOUT)  # it may refuse such a file
    assert not (tmp_path / "boom").exists()


def test_a_foreign_row_among_ours_does_not_stop_the_queue(data_dir: Path) -> None:
    """Such a row lacks the keys of a job: another tool or a later version wrote it."""
    with closing(plain(data_dir)) as theirs:
        theirs.put({"something": "else"})
        theirs.put({"something": "else"})
        theirs.put(job(1))
    with closing(JobQueue(str(data_dir / "queue"), auto_resume=True)) as queue:
        queue.put(job(2))
        claimed = [queue.claim() for _ in range(4)]
        assert queue.count_quarantined() == 2
    assert [found["scene_id"] for found in claimed if found] == [1, 2]


# --- query plans ----------------------------------------------------------------------------------


class Tracer:
    """Collect the statements that a connection runs, and their query plans."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._statements: list[str] = []

    def plans(self, action: Callable[[], object]) -> dict[str, str]:
        self._connection.set_trace_callback(self._statements.append)
        action()
        self._connection.set_trace_callback(None)
        wanted = [
            s for s in self._statements if s.split(" ", 1)[0] in ("SELECT", "UPDATE", "DELETE")
        ]
        self._statements.clear()
        return {
            statement: " / ".join(
                row[3] for row in self._connection.execute(f"EXPLAIN QUERY PLAN {statement}")
            )
            for statement in wanted
        }


@pytest.fixture
def filled(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """Return a queue with 100,000 waiting jobs, some of them retries, and 20,000 finished ones."""
    JobQueue(str(data_dir / "queue"), auto_resume=True).close()
    with closing(connect(str(data_dir / "queue" / "data.db"))) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO ack_queue_default (data, timestamp, status) VALUES (?, 0, ?)",
            (
                (
                    json.dumps(
                        {**job(n), "next_retry_at": 1e9 + n} if n % 10 == 0 else job(n)
                    ).encode(),
                    (n % 2) if n < 100_000 else 5,
                )
                for n in range(120_000)
            ),
        )
        connection.execute("COMMIT")
        yield connection


def steps(connection: sqlite3.Connection, action: Callable[[], object]) -> int:
    """Return an action's cost in thousands of virtual machine steps of SQLite."""
    count = 0

    def tick() -> None:
        nonlocal count
        count += 1

    connection.set_progress_handler(tick, 1000)
    action()
    connection.set_progress_handler(None, 1000)
    return count


def test_put_claim_requeue_and_next_due_cost_the_same_with_a_hundred_thousand_jobs(
    filled: sqlite3.Connection,
) -> None:
    claimed: list[Any] = []
    actions: dict[str, Callable[[], object]] = {
        "put a new scene": lambda: table.put(filled, job(500_000, a=1)),
        "put a waiting scene": lambda: table.put(filled, job(99_999, a=1)),
        "put a finished scene": lambda: table.put(filled, job(119_999, a=1)),
        "claim": lambda: claimed.append(table.claim(filled, 2.0)),
        "requeue": lambda: table.requeue(filled, *claimed[0][0]),
        "next_due": lambda: table.next_due(filled),
        "claim nothing due": lambda: table.claim(filled, -1.0),
        "claim an edit": lambda: table.claim(filled, 2.0, 1, table.EDITS),
        "claim a retry": lambda: table.claim(filled, 2e9, 1, table.RETRIES),
        "claim bulk work": lambda: table.claim(filled, 2e9, 1, table.BULK_WORK),
        "count bulk work": lambda: table.count_kind(filled, table.BULK_WORK, 2e9),
        "is an edit due": lambda: table.is_due(filled, table.EDITS, 2e9),
        "is a retry due": lambda: table.is_due(filled, table.RETRIES, 2e9),
        "count a pass": lambda: table.count_pass(filled, 7, 2e9),
        "find an unfinished job": lambda: table.find_unfinished(filled, "scene_99999"),
        "install again": lambda: table.install(filled),
    }
    for name, action in actions.items():
        plans = Tracer(filled).plans(action)
        for statement, plan in plans.items():
            assert "SCAN" not in plan or "USING INDEX" in plan, f"{name}: {statement} -> {plan}"
            assert "TEMP B-TREE" not in plan, f"{name}: {statement} -> {plan}"
    for name in (
        "put a new scene",
        "put a waiting scene",
        "claim",
        "next_due",
        "claim nothing due",
        "claim an edit",
        "claim a retry",
        "claim bulk work",
        "count bulk work",
        "is an edit due",
        "is a retry due",
        "count a pass",
        "find an unfinished job",
        "install again",
    ):
        assert steps(filled, actions[name]) <= 1, name


def test_opening_a_long_queue_does_not_read_its_rows(
    filled: sqlite3.Connection, data_dir: Path
) -> None:
    ticks: list[int] = []

    class Counted(JobQueue):
        """Count thousands of steps of each connection."""

        def _new_db_connection(
            self, path: str, multithreading: bool, timeout: float
        ) -> sqlite3.Connection:
            connection = super()._new_db_connection(path, multithreading, timeout)
            connection.set_progress_handler(lambda: ticks.append(1), 1000)
            return connection

    with closing(Counted(str(data_dir / "queue"))) as queue:
        assert queue.claim(2.0) is not None
    assert len(ticks) <= 1


def test_rows_are_found_by_key_in_differently_formatted_json(data_dir: Path) -> None:
    """persist-queue's serializer writes spaces and another order of keys."""
    with closing(plain(data_dir)) as theirs:
        theirs.put(dict(reversed(list(job(1, a=1).items()))))
    with closing(Inbox(str(data_dir), lock_timeout=240)) as inbox:
        inbox.put(job(1, b=2))
    assert waiting(data_dir) == {1: {"a": 1, "b": 2}}
    assert len(rows(data_dir)) == 1
