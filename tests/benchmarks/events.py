"""Plex's events: from "processed" to the edit in Plex, and a storm of them."""

from __future__ import annotations

import sys
import tempfile
import time

from tests.benchmarks.hooks import make_data_dir
from tests.benchmarks.measure import Log, Result, Scale, percentile
from tests.benchmarks.remote import Remote
from tests.harness.processes import stop_workers

_COLUMNS = ("median ms", "95 %", "requests to Plex", "to Stash", "CPU s", "grown MB", "seconds")
#: Seconds after which all writes were read back.
_READ_BACK = 6.0


def measure(scale: Scale, log: Log) -> Result:
    """Measure single events, and a storm; POSIX only."""
    result = Result("Plex's events", _COLUMNS)
    log(f"{scale.saves} events")
    seconds = _single(scale.saves)
    result.rows["from an event to the edit in Plex"] = [
        percentile(seconds, 0.5) * 1000, percentile(seconds, 0.95) * 1000, *[None] * 5
    ]  # fmt: skip
    if sys.platform != "win32":
        scenes = min(scale.storm, scale.sizes[0])
        for changes in (False, True):
            what = f"{scale.storm:,} items {'overwritten' if changes else 're-read'}"
            log(f"a storm: {what}")
            row = _storm(scale.storm, scenes, changes)
            result.rows[f"{what}, {scenes:,} with a scene"] = [None, None, *row]
    result.notes.append(
        "an event rests for a second before its item is read; a storm counts until all is quiet:"
        " from its first event to the last request. CPU and memory are the worker's"
    )
    return result


def _single(count: int) -> list[float]:
    with (
        tempfile.TemporaryDirectory(prefix="plexsync-bench-") as folder,
        Remote("servers") as servers,
    ):
        data_dir = make_data_dir(folder, "data")
        servers.call("start", data_dir=data_dir)
        servers.call("set", poll_interval=1.0)
        servers.call("fill", scenes=count)
        try:
            servers.call("save_all", scenes=count)
            time.sleep(_READ_BACK)
            return [servers.call("refresh", scene_id=number + 1) for number in range(count)]
        finally:
            stop_workers(data_dir)


def _storm(items: int, scenes: int, changes: bool) -> list[float]:
    with (
        tempfile.TemporaryDirectory(prefix="plexsync-bench-") as folder,
        Remote("servers") as servers,
    ):
        data_dir = make_data_dir(folder, "data")
        connection = servers.call("start")
        servers.call("fill", scenes=scenes, in_sync=True)
        servers.call("fill_plex", items=items - scenes, first=scenes)
        with Remote("subject") as subject:
            subject.call("open", data_dir=data_dir, connection=connection)
            subject.call("adopt")
            subject.call("follow")
            servers.call("wait_for_stream")
            before = subject.call("usage")
            servers.call("requests")
            seconds = servers.call("storm", changes=changes)
            after = subject.call("usage")
            counts = servers.call("requests")
    grown = after["peak_mb"] - before["peak_mb"]
    cpu = after["cpu"] - before["cpu"]
    return [counts["Plex"], counts["Stash"], cpu, grown, seconds]
