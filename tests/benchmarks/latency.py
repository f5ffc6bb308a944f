"""Latency from the save in Stash to the edit in Plex, with an idle worker."""

from __future__ import annotations

import random
import tempfile
import time

from tests.benchmarks.hooks import make_data_dir
from tests.benchmarks.measure import SPREAD, Log, Result, Scale, spread
from tests.benchmarks.remote import Remote
from tests.harness.processes import stop_workers

#: The default and the shortest poll interval.
POLL_INTERVALS = (1.0, 0.1)
#: Shortest and longest pause between two saves, in poll intervals: a save comes at any time
#: between two polls.
_PAUSE = (1.0, 2.0)


def measure(scale: Scale, log: Log) -> Result:
    """Measure the latency."""
    result = Result("From save to Plex, idle worker", SPREAD)
    for poll in POLL_INTERVALS:
        log(f"poll_interval {poll} s")
        with tempfile.TemporaryDirectory(prefix="plexsync-bench-") as folder:
            saves = _saves(make_data_dir(folder, "data"), poll, scale.saves)
        result.rows[f"poll_interval {poll} s"] = spread([save["latency"] for save in saves])
        result.rows[f"poll_interval {poll} s, of which the hook"] = spread(
            [save["blocked"] for save in saves]
        )
    return result


def _saves(data_dir: str, poll: float, count: int) -> list[dict[str, float]]:
    with Remote("servers") as servers:
        servers.call("start", data_dir=data_dir)
        servers.call("set", poll_interval=poll)
        servers.call("fill", scenes=20)
        try:
            servers.call("save")  # starts the worker
            saves = []
            pauses = random.Random(4)
            for _ in range(count):
                time.sleep(poll * pauses.uniform(*_PAUSE))
                saves.append(servers.call("save"))
        finally:
            stop_workers(data_dir)
    return saves
