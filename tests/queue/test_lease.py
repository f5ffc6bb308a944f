"""Tests of leases: held exactly as long as the process that took one lives and wants it."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import queue.lease
from common.locks import try_lock
from queue.lease import Lease, is_held, remove_stale
from tests.queue.support import PROCESS_TIMEOUT, python, run_python

posix_only = pytest.mark.skipif(os.name != "posix", reason="signals, modes and open files of POSIX")

TAKE = (
    "import subprocess, sys\n"
    "from queue.lease import Lease\n"
    "lease = Lease.take(sys.argv[1])\n"
    "print(lease.name, flush=True)\n"
)
LOOK = "import sys; from queue.lease import is_held; print(is_held(*sys.argv[1:]))"


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def send_line(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


@contextmanager
def holder(data_dir: Path, then: str = "") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a process that takes a lease; return it and the lease's name."""
    with python("-c", f"{TAKE}{then}\nsys.stdin.readline()", str(data_dir)) as process:
        yield process, read_line(process)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    assert process.wait(PROCESS_TIMEOUT) < 0 or os.name != "posix"


def names(data_dir: Path) -> list[str]:
    return sorted(os.listdir(data_dir / "leases"))


def test_a_lease_is_held_until_its_release(data_dir: Path) -> None:
    with Lease.take(str(data_dir)) as lease, Lease.take(str(data_dir)) as other:
        assert names(data_dir) == sorted([lease.name, other.name])
        assert is_held(str(data_dir), lease.name)
        other.release()
        other.release()
        assert not is_held(str(data_dir), other.name)
        assert is_held(str(data_dir), lease.name)
    assert not is_held(str(data_dir), lease.name)
    assert names(data_dir) == []


def test_a_release_also_unlocks(data_dir: Path) -> None:
    with Lease.take(str(data_dir)) as lease:
        seen = os.open(data_dir / "leases" / lease.name, os.O_RDWR)
        try:
            assert not try_lock(seen)
            lease.release()
            assert try_lock(seen)
        finally:
            os.close(seen)


@posix_only
def test_it_is_private(data_dir: Path) -> None:
    with Lease.take(str(data_dir)) as lease:
        folder = data_dir / "leases"
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / lease.name)]
    assert modes == [0o700, 0o600]


def test_a_look_by_its_own_process_does_not_end_it(data_dir: Path) -> None:
    """POSIX record locks would end with the first look: a foreground task is also the worker."""
    with Lease.take(str(data_dir)) as lease:
        assert [is_held(str(data_dir), lease.name) for _ in range(3)] == [True] * 3
        remove_stale(str(data_dir))
        assert run_python("-c", LOOK, str(data_dir), lease.name) == "True\n"


def test_a_lease_of_another_process_is_held_until_that_releases_it(data_dir: Path) -> None:
    then = "sys.stdin.readline(); lease.release(); print('released', flush=True)"
    with holder(data_dir, then) as (process, name):
        assert is_held(str(data_dir), name)
        send_line(process, "release")
        assert read_line(process) == "released"
        assert not is_held(str(data_dir), name)
        send_line(process, "exit")
        assert process.wait(PROCESS_TIMEOUT) == 0


def test_it_ends_with_its_process(data_dir: Path) -> None:
    with holder(data_dir) as (process, name):
        assert is_held(str(data_dir), name)
        kill(process)
        assert names(data_dir) == [name]
        assert not is_held(str(data_dir), name)


@posix_only
def test_a_child_that_outlives_the_killed_task_does_not_inherit_it(data_dir: Path) -> None:
    child = (
        "import sys; print('child', flush=True)\n"
        "for line in sys.stdin: print('child heard', line, end='', flush=True)\n"
    )
    # close_fds=False: not Popen but the descriptor's own flag has to close the file.
    then = (
        f"subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True,"
        " close_fds=False)\n"
        "import time; time.sleep(3600)"
    )
    with holder(data_dir, then) as (process, name):
        assert read_line(process) == "child"
        assert is_held(str(data_dir), name)
        kill(process)
        send_line(process, "ping")  # the child has the task's stdin and stdout
        assert read_line(process) == "child heard ping"
        assert not is_held(str(data_dir), name)


def test_stale_leases_are_removed_and_held_ones_stay(data_dir: Path) -> None:
    remove_stale(str(data_dir))  # there is no folder yet
    with Lease.take(str(data_dir)) as ours, holder(data_dir) as (_, theirs):
        with holder(data_dir) as (process, dead):
            kill(process)
        (data_dir / "leases" / "foreign.txt").touch()
        assert dead in names(data_dir)
        remove_stale(str(data_dir))
        assert names(data_dir) == sorted([ours.name, theirs, "foreign.txt"])
        assert is_held(str(data_dir), ours.name)
        assert is_held(str(data_dir), theirs)


@posix_only
def test_one_file_that_cannot_be_removed_does_not_stop_the_others(data_dir: Path) -> None:
    folder = data_dir / "leases"
    folder.mkdir(parents=True)
    blocked, removable = (folder / f"1-{digit * 16}.lease" for digit in "0f")
    blocked.mkdir()
    removable.touch()
    remove_stale(str(data_dir))
    assert names(data_dir) == [blocked.name]


@posix_only
def test_a_lease_that_is_removed_before_it_is_locked_is_taken_again(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = [remove_stale]

    def lock(descriptor: int, *, shared: bool = False) -> bool:
        if not shared and late:
            late.pop()(str(data_dir))
            assert names(data_dir) == [], "the checker came in between"
        return try_lock(descriptor, shared=shared)

    monkeypatch.setattr(queue.lease, "try_lock", lock)
    with Lease.take(str(data_dir)) as lease:
        assert names(data_dir) == [lease.name]
        assert is_held(str(data_dir), lease.name)


@posix_only
def test_a_lease_cannot_be_locked_while_a_checker_removes_it(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = data_dir / "leases" / f"1-{'0' * 16}.lease"
    path.parent.mkdir(parents=True)
    created = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    locked: list[bool] = []
    unlink = os.unlink

    def unlink_after_an_attempt(name: str) -> None:
        locked.append(try_lock(created))
        unlink(name)

    try:
        monkeypatch.setattr(os, "unlink", unlink_after_an_attempt)
        remove_stale(str(data_dir))
        monkeypatch.undo()
    finally:
        os.close(created)
    assert locked == [False]
    assert names(data_dir) == []


def test_leases_are_taken_safely_while_another_process_removes_stale_ones(data_dir: Path) -> None:
    code = (
        "import sys, threading\n"
        "from queue.lease import remove_stale\n"
        "threading.Thread(target=sys.stdin.readline, daemon=True).start()\n"
        "print('ready', flush=True)\n"
        "while threading.active_count() > 1: remove_stale(sys.argv[1])\n"
        "print('done', flush=True)\n"
    )
    with python("-c", code, str(data_dir)) as process:
        assert read_line(process) == "ready"
        for _ in range(500):
            with Lease.take(str(data_dir)) as lease:
                assert (data_dir / "leases" / lease.name).exists()
                assert is_held(str(data_dir), lease.name)
        send_line(process, "stop")
        assert read_line(process) == "done"
    remove_stale(str(data_dir))
    assert names(data_dir) == []


@posix_only
def test_without_locks_it_is_held_while_its_process_lives(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(descriptor: int, *, shared: bool = False) -> bool:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with holder(data_dir) as (process, dead):
        monkeypatch.setattr(queue.lease, "try_lock", no_locks)
        with Lease.take(str(data_dir)) as ours:
            assert is_held(str(data_dir), ours.name)
            assert is_held(str(data_dir), dead)
            kill(process)
            assert not is_held(str(data_dir), dead)
            remove_stale(str(data_dir))
            assert names(data_dir) == [ours.name]
        assert not is_held(str(data_dir), ours.name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../worker.lock", "1-\0.lease", "1-0.lease", "x-0000000000000000.lease"]
)
def test_a_name_that_no_lease_has_is_not_held(data_dir: Path, name: str) -> None:
    with Lease.take(str(data_dir)):
        lock = os.open(data_dir / "worker.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            assert try_lock(lock)
            assert not is_held(str(data_dir), name)
        finally:
            os.close(lock)


def test_a_missing_lease_is_not_held(tmp_path: Path) -> None:
    assert not is_held(str(tmp_path), f"{os.getpid()}-{'0' * 16}.lease")
