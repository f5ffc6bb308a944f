"""The cost of an idle worker."""

from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from tests.benchmarks.hooks import make_data_dir
from tests.benchmarks.measure import Log, Result, Scale, memory
from tests.benchmarks.remote import Remote
from tests.harness.processes import stop_workers, worker_pids

#: The default and the shortest poll interval.
POLL_INTERVALS = (1.0, 0.1)
_HOUR = 3600.0
#: Linux derives the id of a process's CPU clock from the process id.
_CPU_CLOCK = 2
#: Seconds after which a worker is idle after a sync.
_SETTLED = 4.0


def measure(scale: Scale, log: Log) -> Result:
    """Measure idle workers, on systems with /proc."""
    result = Result(
        f"An idle worker, {scale.idle:.0f} s watched", ("CPU s/hour", "resident MB", "peak MB")
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
        "an idle worker exits after 15 minutes; its quick pass every 10 is not in this"
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
            before = _cpu(pid)
            time.sleep(seconds)
            spent = _cpu(pid) - before
            megabytes = memory(pid)
        finally:
            stop_workers(data_dir)
    return [spent / seconds * _HOUR, megabytes["VmRSS"], megabytes["VmHWM"]]


def _cpu(pid: int) -> float:
    """Return the CPU seconds of a process with its threads; /proc resolves only 10 ms."""
    return time.clock_gettime((~pid << 3) | _CPU_CLOCK)
