"""Find, await and end worker processes. They detach themselves, so tests hold no handle."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from worker.process import worker_alive

#: Windows has only one way to end a process.
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
_CONTINUE = getattr(signal, "SIGCONT", None)
#: Seconds after which a wait fails.
PATIENCE = 240.0
#: Seconds that a worker gets to finish its current job.
_POLITE = 15.0
_SHORTEST_PAUSE, _PAUSE = 0.005, 0.1
_PROC = Path("/proc")
_WINDOWS = 'Get-CimInstance Win32_Process | ForEach-Object { "$($_.ProcessId) $($_.CommandLine)" }'


def wait_until(
    condition: Callable[[], object],
    what: str | Callable[[], object] = "",
    timeout: float = PATIENCE,
) -> None:
    """Wait for a condition.

    Args:
        what: the condition's name for the error, or a function that returns it after the wait.

    Raises:
        AssertionError: it did not come true in time.
    """
    end = time.monotonic() + timeout
    pause = _SHORTEST_PAUSE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain: {what() if callable(what) else what}")
        time.sleep(pause)
        pause = min(1.2 * pause, _PAUSE)


def worker_pids(folder: str | Path) -> list[int]:
    """Return the running workers of a data directory or a folder of them, without zombies."""
    return [
        pid
        for pid, command in _processes()
        if " worker --data-dir " in command and str(folder) in command
    ]


def signal_workers(folder: str | Path, number: int) -> list[int]:
    """Send the workers a signal; return their process ids."""
    pids = worker_pids(folder)
    _signal(pids, number)
    return pids


def kill_workers(folder: str | Path) -> list[int]:
    """Kill the workers, as a crash would; return their process ids."""
    return signal_workers(folder, KILL)


def stop_workers(data_dir: str | Path, patience: float = PATIENCE) -> bool:
    """Stop the workers, and kill those that do not stop; return whether all have ended.

    Call it after all hooks have ended, because a hook could start a worker.
    """
    start = time.monotonic()
    while (pids := worker_pids(data_dir)) or worker_alive(str(data_dir)):
        waited = time.monotonic() - start
        if waited > patience:
            return False
        _signal(pids, signal.SIGTERM if waited < _POLITE else KILL)
        if _CONTINUE is not None:  # a frozen worker does not see the signal
            _signal(pids, _CONTINUE)
        time.sleep(_PAUSE)
    return True


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):  # it has already ended
            os.kill(pid, number)


def _processes() -> Iterator[tuple[int, str]]:
    """Yield every visible process with its command line."""
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
