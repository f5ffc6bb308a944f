"""Tests of commands: order, results, kills, damaged rows, and that the worker notices them."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from common.sqlite import IN_MEMORY, connect
from queue.ack_queue import JobQueue
from queue.commands import DONE, DROPPED, STARTED, WAITING, Command, Commands
from queue.inbox import Inbox
from queue.models import create_sync_job
from queue.recovery import quarantine_database
from tests.queue.support import (
    PROCESS_TIMEOUT,
    integrity,
    python,
    run_at_once,
    run_python,
    waiting,
)

OPEN = "import sys; from queue.commands import Commands; commands = Commands(sys.argv[1])\n"
READY = "print('ready', flush=True); sys.stdin.readline()\n"
DAY = 86_400.0


class Clock:
    """A clock that only moves when a test sets it."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(data_dir: Path) -> Path:
    return data_dir / "queue" / "data.db"


@pytest.fixture
def commands(database: Path, clock: Clock) -> Iterator[Commands]:
    with closing(Commands(str(database), now=clock)) as opened:
        yield opened


def execute(database: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Run a statement on another connection."""
    with closing(sqlite3.connect(database)) as connection, connection:
        return connection.execute(statement, values).fetchall()


def unfinished(commands: Commands) -> list[Command]:
    """Return what `next` finds one after the other."""
    found: list[Command] = []
    while command := commands.next(after=found[-1].id if found else 0):
        found.append(command)
    return found


def test_commands_come_in_the_order_in_which_they_were_added(commands: Commands) -> None:
    assert commands.next() is None
    first = commands.add("pass", {"scope": "all", "title": "ü \ud800"}, "1-a.lease")
    second = commands.add("choose", {})
    assert first < second
    pass_ = Command(first, "pass", {"scope": "all", "title": "ü \ud800"}, "1-a.lease", WAITING)
    assert commands.next() == pass_
    assert commands.get(first) == pass_
    commands.finish(first, {})
    assert commands.next() == Command(second, "choose", {}, None, WAITING)
    commands.drop(second)
    assert commands.next() is None


def test_a_long_command_stays_in_progress_while_newer_ones_run(
    commands: Commands, database: Path
) -> None:
    long = commands.add("pass", {})
    commands.start(long)
    short = commands.add("choose", {})
    command = commands.next(after=long)
    assert command is not None
    assert command.id == short
    commands.start(short)
    commands.finish(short, {})
    assert commands.next(after=long) is None
    with closing(Commands(str(database))) as restarted:
        assert restarted.next() == Command(long, "pass", {}, None, STARTED)


def test_progress_and_result_are_read_by_id(commands: Commands, database: Path) -> None:
    command_id = commands.add("pass", {})
    with closing(Commands(str(database))) as task:
        assert (task.progress(command_id), task.result(command_id)) == (None, None)
        commands.start(command_id)
        commands.report(command_id, 3, 7)
        assert (task.progress(command_id), task.result(command_id)) == ((3, 7), None)
        commands.report(command_id, 10, 0)
        commands.finish(command_id, {"written": 2})
        assert (task.progress(command_id), task.result(command_id)) == ((10, 0), {"written": 2})
        found = task.get(command_id)
        assert found is not None
        assert found.status == DONE
        for unknown in (command_id + 1, 0):
            assert task.get(unknown) is None
            assert (task.progress(unknown), task.result(unknown)) == (None, None)


def test_what_is_done_or_dropped_stays_so(commands: Commands) -> None:
    done, dropped = commands.add("pass", {}), commands.add("pass", {})
    commands.finish(done, {"first": True})
    commands.drop(dropped)
    for command_id in (done, dropped):
        commands.start(command_id)
        commands.report(command_id, 1, 1)
        commands.finish(command_id, {"first": False})
        commands.drop(command_id)
    assert commands.next() is None
    assert commands.result(done) == {"first": True}
    assert commands.progress(done) is None
    assert commands.result(dropped) is None
    found = commands.get(dropped)
    assert found is not None
    assert found.status == DROPPED


# --- processes ------------------------------------------------------------------------------------


def test_two_processes_that_add_at_once_lose_nothing_and_share_no_id(
    data_dir: Path, database: Path
) -> None:
    code = (
        f"import sys\n{READY}{OPEN}"
        "for n in range(50): print(commands.add('choose', {'by': sys.argv[2], 'n': n}))\n"
    )
    outputs = run_at_once([("-c", code, str(database), me) for me in "ab"])
    with closing(Commands(str(database))) as commands:
        found = unfinished(commands)
    for me, output in zip("ab", outputs, strict=True):
        mine = [command for command in found if command.arguments["by"] == me]
        assert [command.id for command in mine] == [int(line) for line in output.split()]
        assert [command.arguments["n"] for command in mine] == list(range(50))
    assert len(found) == 100
    assert integrity(database) == "ok"


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("step", ["add", "next", "start", "report"])
def test_a_command_whose_worker_was_killed_comes_again(database: Path, step: str) -> None:
    steps = {
        "add": "command = commands.add('pass', {'scope': 'all'}, '1-a.lease')\n",
        "next": "commands.next()\n",
        "start": "commands.start(command)\n",
        "report": "commands.report(command, 3, 7)\n",
    }
    names = list(steps)
    done = names[: names.index(step) + 1]
    code = OPEN + "".join(steps[name] for name in done)
    code += "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"
    with python("-c", code, str(database)) as process:
        assert process.wait(PROCESS_TIMEOUT) < 0
    with closing(Commands(str(database))) as commands:
        command = commands.next()
        assert command is not None
        assert command.arguments == {"scope": "all"}
        assert command.lease == "1-a.lease"
        assert command.status == (STARTED if "start" in done else WAITING)
        assert commands.progress(command.id) == ((3, 7) if "report" in done else None)


def add_in_process(database: Path) -> None:
    run_python("-c", f"{OPEN}commands.add('choose', {{}})", str(database))


def add_in_thread(database: Path) -> None:
    with closing(Commands(str(database))) as commands:
        thread = threading.Thread(target=commands.add, args=("choose", {}))
        thread.start()
        thread.join()


@pytest.mark.parametrize("add", [add_in_process, add_in_thread])
def test_the_worker_notices_a_new_command(
    database: Path, jobs: JobQueue, add: Callable[[Path], None]
) -> None:
    Commands(str(database)).close()  # the table's creation is a change too
    seen = jobs.version()
    assert jobs.version() == seen
    add(database)
    assert jobs.version() != seen, "a waiting worker would not notice"


def test_threads_may_share_it(commands: Commands) -> None:
    def run() -> None:
        for n in range(20):
            command_id = commands.add("choose", {"n": n})
            commands.report(command_id, n, 0)
            commands.finish(command_id, {"n": n})
            results.append((commands.result(command_id), commands.progress(command_id), n))

    results: list[tuple[object, object, int]] = []
    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 160
    assert all(result == {"n": n} and progress == (n, 0) for result, progress, n in results)


# --- damage ---------------------------------------------------------------------------------------

DAMAGE = {
    "no JSON": ("arguments", "{"),
    "no object": ("arguments", "[1]"),
    "empty": ("arguments", ""),
    "not UTF-8": ("arguments", b'{"a": "\xff"}'),
    "too deep": ("arguments", '{"a":' + "[" * 100_000),
    "a number": ("arguments", 7),
    "too long a number": ("arguments", '{"a": ' + "9" * 5000 + "}"),
    "name": ("name", b"\xff"),
    "lease": ("lease", b"\xff"),
}


@pytest.mark.parametrize(("column", "value"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_row_is_dropped_and_blocks_nothing(
    commands: Commands, database: Path, column: str, value: object
) -> None:
    damaged = [commands.add("pass", {}, "1-a.lease") for _ in range(2)]
    intact = commands.add("choose", {})
    stored = "CAST(? AS TEXT)" if isinstance(value, bytes) else "?"
    execute(
        database, f"UPDATE commands SET {column} = {stored} WHERE id IN (?, ?)", value, *damaged
    )
    for _ in range(2):
        command = commands.next()
        assert command is not None
        assert command.id == intact
    statuses = execute(database, "SELECT status FROM commands ORDER BY id")
    assert statuses == [(DROPPED,), (DROPPED,), (WAITING,)]
    assert commands.get(damaged[0]) == Command(damaged[0], "", {}, None, DROPPED)
    assert commands.result(damaged[0]) is None


def test_a_damaged_result_does_not_look_unfinished(commands: Commands, database: Path) -> None:
    for damage in ("{", "[]", None):
        command_id = commands.add("pass", {})
        commands.report(command_id, 1, 2)
        commands.finish(command_id, {"a": 1})
        execute(
            database,
            "UPDATE commands SET result = ?, progress = ? WHERE id = ?",
            damage,
            damage,
            command_id,
        )
        assert commands.result(command_id) == {}
        assert commands.progress(command_id) is None


def test_a_replaced_database_is_opened_again_and_knows_no_old_id(
    commands: Commands, clock: Clock, database: Path
) -> None:
    old = [commands.add("pass", {}) for _ in range(3)]
    with closing(Inbox(str(database.parent.parent), lock_timeout=240)) as inbox:
        inbox.put(create_sync_job(1, "metadata", {}))
    execute(database, "PRAGMA wal_checkpoint(TRUNCATE)")
    content = database.read_bytes()
    database.write_bytes(b"x" * 100 + content[100:])
    assert quarantine_database(str(database)) is not None
    clock.now += 60
    assert commands.get(old[0]) is None
    new = [commands.add("choose", {}) for _ in range(3)]
    assert not set(old) & set(new)
    assert [command.id for command in unfinished(commands)] == new
    with closing(Commands(str(database))) as other:
        assert [command.id for command in unfinished(other)] == new


# --- retention ------------------------------------------------------------------------------------


def test_results_are_forgotten_some_time_after_their_end(commands: Commands, clock: Clock) -> None:
    done, dropped, started, left = (commands.add("pass", {}) for _ in range(4))
    commands.start(started)
    commands.start(done)
    clock.now += 2 * DAY  # a long pass: its task has yet to read the result
    commands.finish(done, {})
    commands.drop(dropped)
    clock.now += DAY
    assert commands.forget_finished(DAY) == 0
    clock.now += 1
    assert commands.forget_finished(DAY) == 2
    assert commands.get(done) is None
    assert commands.get(dropped) is None
    assert [command.id for command in unfinished(commands)] == [started, left]


def test_a_command_that_ended_in_the_future_is_forgotten_too(
    commands: Commands, clock: Clock
) -> None:
    command_id = commands.add("pass", {})
    commands.finish(command_id, {})
    clock.now -= 365 * DAY
    assert commands.forget_finished(DAY) == 1


def test_a_forgotten_id_is_never_reused(commands: Commands, clock: Clock, database: Path) -> None:
    forgotten = commands.add("pass", {})
    commands.finish(forgotten, {})
    clock.now += 2 * DAY
    commands.forget_finished(DAY)
    with closing(Commands(str(database), now=clock)) as reopened:
        assert reopened.add("pass", {}) == forgotten + 1


# --- the database ---------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["commands", "jobs"])
def test_jobs_and_commands_share_the_database(data_dir: Path, database: Path, first: str) -> None:
    if first == "jobs":
        JobQueue(str(data_dir / "queue")).close()
        before = execute(database, "PRAGMA user_version")
    with closing(Commands(str(database))) as commands:
        command_id = commands.add("choose", {})
        with closing(JobQueue(str(data_dir / "queue"), auto_resume=True)) as queue:
            queue.put(create_sync_job(1, "metadata", {}))
            queue.compact()
        assert [command.id for command in unfinished(commands)] == [command_id]
    assert waiting(data_dir) == {1: {}}
    if first == "jobs":
        assert execute(database, "PRAGMA user_version") == before


def test_it_works_in_memory() -> None:
    with closing(Commands(IN_MEMORY)) as commands:
        command_id = commands.add("choose", {"a": 1})
        assert commands.next() == Command(command_id, "choose", {"a": 1}, None, WAITING)


@pytest.mark.parametrize("opened", [connect, sqlite3.connect])
def test_it_uses_a_given_connection(opened: Callable[[str], sqlite3.Connection]) -> None:
    connection = opened(IN_MEMORY)
    with closing(Commands(connection)) as commands:
        command_id = commands.add("choose", {})
        assert not connection.in_transaction
        commands.finish(command_id, {"a": 1})
        assert not connection.in_transaction
        assert commands.result(command_id) == {"a": 1}
