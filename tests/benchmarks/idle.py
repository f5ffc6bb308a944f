"""The cost of a worker that waits for the next edit."""

from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.benchmarks.hooks import make_data_dir
from tests.benchmarks.measure import Log, Result, Scale, memory
from tests.benchmarks.remote import Remote
from tests.harness.processes import stop_workers, worker_pids

#: The default and the shortest poll interval.
POLL_INTERVALS = (1.0, 0.1)
_HOUR = 3600.0
#: Linux derives the id of a process's CPU clock from the process id.
_CPU_CLOCK = 2
#: Seconds after which a worker is idle after a sync: the edit was read back, all is on disk.
_SETTLED = 8.0


def measure(scale: Scale, log: Log) -> Result:
    """Measure idle workers, on systems with /proc."""
    result = Result(
        f"An idle worker, {scale.idle:.0f} s watched",
        ("CPU s/hour", "kB written/hour", "resident MB", "peak MB"),
    )
    if sys.platform != "linux":
        result.notes.append("not measured: only Linux lets one process read another's CPU clock")
        return result
    log(f"{scale.idle:.0f} s")
    with ThreadPoolExecutor() as pool:  # side by side: they use hardly any CPU
        watched = pool.map(lambda poll: _watch(poll, scale.idle), POLL_INTERVALS)
        result.rows = {
            f"poll_interval {poll} s": row
            for poll, row in zip(POLL_INTERVALS, watched, strict=True)
        }
    result.notes.append(
        "its quick pass, every 10 minutes or, while nothing is used, every hour, is not in this"
    )
    return result


def _watch(poll: float, seconds: float) -> list[float | str | None]:
    with (
        tempfile.TemporaryDirectory(prefix="plexsync-bench-") as folder,
        Remote("servers") as servers,
    ):
        data_dir = make_data_dir(folder, "data")
        servers.call("start", data_dir=data_dir)
        servers.call("set", poll_interval=poll)
        servers.call("fill", scenes=20)
        try:
            servers.call("save")
            time.sleep(_SETTLED)
            (pid,) = worker_pids(data_dir)
            before, written = _cpu(pid), _written(pid)
            time.sleep(seconds)
            spent, written = _cpu(pid) - before, _written(pid) - written
            megabytes = memory(pid)
        finally:
            stop_workers(data_dir)
    per_hour = _HOUR / seconds
    return [spent * per_hour, written * per_hour, megabytes["VmRSS"], megabytes["VmHWM"]]


def _written(pid: int) -> float:
    """Return the kilobytes that a process has caused to be written to disks."""
    lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
    (count,) = (line.partition(":")[2] for line in lines if line.startswith("write_bytes:"))
    return int(count) / 1024


def _cpu(pid: int) -> float:
    """Return the CPU seconds of a process with its threads; /proc resolves only 10 ms."""
    return time.clock_gettime((~pid << 3) | _CPU_CLOCK)
