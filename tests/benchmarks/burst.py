"""A burst of parallel edits: wait of each save, jobs written, time until Plex shows all."""

from __future__ import annotations

import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from tests.benchmarks.hooks import event, make_data_dir, queue_database
from tests.benchmarks.measure import SPREAD, Case, Log, Result, Scale, floor_command, ratio, spread
from tests.benchmarks.remote import Remote
from tests.harness.processes import stop_workers

AT_ONCE = 8


def measure(scale: Scale, log: Log) -> Result:
    """Measure bursts."""
    result = Result(
        f"Burst: {scale.edits} edits of {scale.edited} scenes, {AT_ONCE} at a time", SPREAD
    )
    log("the floor")
    floor = _floor(scale.edits)
    result.rows[f"the floor, {AT_ONCE} at a time"] = spread(floor)
    for name, start_worker in (("worker alive", True), ("no worker alive at first", False)):
        log(name)
        with tempfile.TemporaryDirectory(prefix="plexsync-bench-") as folder:
            hooks = _burst(result, name, make_data_dir(folder, "data"), scale, start_worker)
        medians = [statistics.median(hooks)], [statistics.median(floor)]
        result.ratios.append(ratio(f"a hook, {name}, of the floor {AT_ONCE} at a time", *medians))
    return result


def _floor(count: int) -> list[float]:
    """Measure the baseline of that many parallel processes."""
    with (
        tempfile.TemporaryDirectory(prefix="plexsync-bench-") as folder,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        case = Case("floor", floor_command(f"{folder}/floor.db"), event())
        case.run()  # makes the table
        return list(pool.map(lambda _: case.run(), range(count)))


def _burst(
    result: Result, name: str, data_dir: str, scale: Scale, start_worker: bool
) -> list[float]:
    with Remote("servers") as servers:
        servers.call("start", data_dir=data_dir)
        servers.call("fill", scenes=scale.edited)
        try:
            if start_worker:
                servers.call("save")
            before = _jobs_written(data_dir)
            burst = servers.call("burst", edits=scale.edits, scenes=scale.edited, at_once=AT_ONCE)
            time.sleep(0.2)
            written = _jobs_written(data_dir) - before
        finally:
            stop_workers(data_dir)
    if burst["failed"]:
        raise RuntimeError(f"{burst['failed']} hooks failed")
    result.rows[f"a hook, {name}"] = spread(burst["hooks"])
    result.notes.append(
        f"{name}: {scale.edits} edits of {burst['scenes']} scenes saved after"
        f" {burst['saved']:.1f} s and {written} jobs written; Plex shows all"
        f" {burst['shown'] - burst['saved']:.1f} s after the last save"
    )
    seconds: list[float] = burst["hooks"]
    return seconds


def _jobs_written(data_dir: str) -> int:
    with queue_database(data_dir) as connection:
        row = connection.execute(
            "SELECT seq FROM sqlite_sequence WHERE name = 'ack_queue_default'"
        ).fetchone()
        return int(row[0]) if row else 0
