"""Stash as process 1 (its Docker image): it reaps only the processes that it started itself.

A worker that ended stays a zombie there. A second fork does not help: whoever starts the worker,
its parent at the end is process 1, or a process that itself ends below process 1. README says what
does help: an init process (`docker run --init`).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux")

#: Takes over orphans, as process 1 does, and reaps only its own child. The worker ends when its
#: stdin does, so that its end comes last.
_STASH = """
import ctypes, os, signal, subprocess, sys, time
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
hook = subprocess.Popen(
    [sys.executable, "-c", sys.argv[2]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
)
if sys.argv[1] == "ignores":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
worker = int(hook.stdout.readline())
hook.wait()
hook.stdin.close()
end = time.monotonic() + 240
while time.monotonic() < end:
    try:
        with open(f"/proc/{worker}/stat") as file:
            state, parent = file.read().rpartition(")")[2].split()[:2]
    except FileNotFoundError:
        state, parent = "gone", "0"
    if state in ("Z", "gone"):
        break
    time.sleep(0.01)
print(state, int(parent) == os.getpid())
"""
_ONE_FORK = """
import os
if (pid := os.fork()) == 0:
    os.setsid(); os.close(1); os.read(0, 1); os._exit(0)
print(pid, flush=True)
"""
_TWO_FORKS = """
import os
out, into = os.pipe()
if (pid := os.fork()) == 0:
    os.setsid()
    if (worker := os.fork()) == 0:
        os.close(1); os.read(0, 1); os._exit(0)
    os.write(into, str(worker).encode()); os._exit(0)
os.waitpid(pid, 0)
print(os.read(out, 20).decode(), flush=True)
"""


def end_of_the_worker(stash: str, hook: str) -> str:
    command = [sys.executable, "-c", _STASH, stash, hook]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("hook", [_ONE_FORK, _TWO_FORKS], ids=["one fork", "two forks"])
def test_a_worker_that_ended_waits_for_process_one_however_it_was_started(hook: str) -> None:
    """Linux hands every orphan to process 1, and sets the signal that asks it to reap."""
    assert end_of_the_worker("reaps its own", hook) == "Z True"


@pytest.mark.parametrize("hook", [_ONE_FORK, _TWO_FORKS], ids=["one fork", "two forks"])
def test_only_process_one_can_change_that(hook: str) -> None:
    assert end_of_the_worker("ignores", hook) == "gone False"


def test_the_readme_says_what_to_do() -> None:
    readme = Path(__file__).resolve().parents[2] / "README.md"
    assert "--init" in readme.read_text(encoding="utf-8")
