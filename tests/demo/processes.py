"""Finds and ends the workers of one data directory. They detach themselves, so nobody holds a handle on them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from worker.process import worker_alive

#: Windows knows one way to end a process, and it is this harsh.
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
#: Seconds that a worker gets to finish the job in hand.
_POLITE, _LOOK = 5.0, 0.1
_PROC = Path("/proc")
_WINDOWS = 'Get-CimInstance Win32_Process | ForEach-Object { "$($_.ProcessId) $($_.CommandLine)" }'


def worker_pids(data_dir: str) -> list[int]:
    """The processes that were started as this data directory's worker."""
    return [pid for pid, command in _processes() if data_dir in command and " worker " in command]


def kill_workers(data_dir: str) -> list[int]:
    """End them at once, as a crash would; return which."""
    pids = worker_pids(data_dir)
    _signal(pids, KILL)
    return pids


def stop_workers(data_dir: str, patience: float = 20.0) -> bool:
    """Ask them to end, in the end without asking; return whether all are gone.

    Call it when no hook runs any more: one could start the next.
    """
    start = time.monotonic()
    while worker_alive(data_dir) or worker_pids(data_dir):
        waited = time.monotonic() - start
        if waited > patience:
            return False
        _signal(worker_pids(data_dir), signal.SIGTERM if waited < _POLITE else KILL)
        time.sleep(_LOOK)
    return True


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):  # it has left by itself
            os.kill(pid, number)


def _processes() -> Iterator[tuple[int, str]]:
    """Every process that can be seen, with its command line."""
    if _PROC.is_dir():  # Linux, where `ps` is not always installed
        for folder in _PROC.glob("[0-9]*"):
            with contextlib.suppress(OSError):
                yield (
                    int(folder.name),
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"),
                )
        return
    ask = (
        ["powershell", "-NoProfile", "-Command", _WINDOWS]
        if os.name == "nt"
        else ["ps", "-axwwo", "pid=,command="]
    )
    listing = subprocess.run(
        ask, capture_output=True, text=True, errors="replace", check=False
    ).stdout
    for line in listing.splitlines():
        pid, _, command = line.strip().partition(" ")
        if pid.isdecimal():
            yield int(pid), command
