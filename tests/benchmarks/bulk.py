"""Bulk sync: a whole library for the first time and again, and the cost per scene as it grows."""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.hooks import STAMPS, make_data_dir, stamp_scenes
from tests.benchmarks.measure import ENTRY, Log, Result, Scale, ratio, run_measured
from tests.benchmarks.remote import Remote

#: Highest allowed time per scene, as a multiple of the smaller library's.
FLAT = 1.2
_COLUMNS = ("ms/scene", "CPU ms/scene", "requests/scene", "peak MB")


def measure(scale: Scale, log: Log) -> Result:
    """Measure bulk syncs."""
    result = Result("Bulk: Sync all scenes", _COLUMNS)
    if sys.platform != "win32":
        for scenes in scale.bulk:
            log(f"{scenes:,} scenes, from first to last")
            _from_first_to_last(result, scenes)
        _nothing_changed(result, scale, log)
    _windows(result, scale, log)
    result.notes.append(
        "first time, again, nothing changed: the whole task with the start of its process; some of"
        " them: a worker that checks each scene. CPU excludes the simulators, ms includes them"
    )
    return result


def _from_first_to_last(result: Result, scenes: int) -> None:
    """Run the task as Stash does, twice."""
    with (
        tempfile.TemporaryDirectory(prefix="plexsync-bench-") as folder,
        Remote("servers") as servers,
    ):
        task = _Task(make_data_dir(folder, "data"), servers, scenes)
        result.rows[f"{scenes:,} scenes, first time"] = task.run()
        result.rows[f"{scenes:,} scenes, again"] = task.run()


def _nothing_changed(result: Result, scale: Scale, log: Log) -> None:
    """Compare the task with nothing to do in a small and in a large library."""
    with tempfile.TemporaryDirectory(prefix="plexsync-bench-") as folder, ExitStack() as stack:
        tasks = []
        for scenes in scale.sizes:
            log(f"a library of {scenes:,} scenes, all in sync")
            data_dir = make_data_dir(folder, str(scenes))
            stamp_scenes(data_dir, range(1, scenes + 1), time.time())
            tasks.append(_Task(data_dir, stack.enter_context(Remote("servers")), scenes))
        runs = [[task.run() for task in tasks] for _ in range(max(1, scale.turns // 2))]
    small, large = zip(*runs, strict=True)
    for task, rows in zip(tasks, (small, large), strict=True):
        result.rows[f"{task.scenes:,} scenes, nothing changed"] = sorted(rows)[len(rows) // 2]
    name = f"nothing changed: a scene of {scale.sizes[1]:,}, of one of {scale.sizes[0]:,}"
    result.ratios.append(
        ratio(name, [row[0] for row in large], [row[0] for row in small], at_most=FLAT)
    )


class _Task:
    """The task in its own process, with its simulators."""

    def __init__(self, data_dir: str, servers: Remote, scenes: int) -> None:
        self.scenes = scenes
        self._environ = {**os.environ, "STASH_PLUGIN_DATA": data_dir, "NO_PROXY": "127.0.0.1"}
        self._servers = servers
        self._connection = servers.call("start")
        servers.call("fill", scenes=scenes, in_sync=os.path.exists(os.path.join(data_dir, STAMPS)))

    def run(self) -> list[float]:
        """Run it once; return a row of the table."""
        stdin = {"server_connection": self._connection, "args": {"mode": "sync_all"}}
        self._servers.call("requests")
        usage = run_measured(
            [sys.executable, str(ENTRY)], json.dumps(stdin).encode(), self._environ
        )
        requests = sum(self._servers.call("requests").values())
        missing = self._servers.call("differing", first=1, count=self.scenes)
        if missing:
            raise RuntimeError(f"{missing} of {self.scenes} scenes are not in sync")
        each = 1000 / self.scenes
        return [usage.seconds * each, usage.cpu * each, requests / self.scenes, usage.peak_mb]


@dataclass
class _Side:
    """One of two libraries of different size; equal windows of each are synced in turn."""

    scenes: int
    servers: Remote
    subject: Remote
    next_scene: int = 1
    #: kind → seconds per scene, window by window
    seconds: dict[str, list[float]] = field(default_factory=dict)
    #: kind → CPU ms, requests per scene and peak MB of the last window
    last: dict[str, list[float]] = field(default_factory=dict)

    def window(self, count: int) -> None:
        """Sync the next scenes twice: changed, then unchanged."""
        first = self.next_scene if self.next_scene + count <= self.scenes else 1
        self.next_scene = first + count
        self.servers.call("edit", first=first, count=count)
        for kind in ("changed", "unchanged"):
            self.servers.call("requests")
            self.subject.call("enqueue", first=first, count=count)
            taken: dict[str, Any] = self.subject.call("drain")
            requests = sum(self.servers.call("requests").values())
            self.seconds.setdefault(kind, []).append(taken["seconds"] / count)
            self.last[kind] = [taken["cpu"] / count * 1000, requests / count, taken["peak_mb"]]


def _windows(result: Result, scale: Scale, log: Log) -> None:
    """Compare the cost per scene in a small and in a large library that are already synced."""
    with tempfile.TemporaryDirectory(prefix="plexsync-bench-") as folder, ExitStack() as stack:
        small, large = (_side(stack, folder, scenes, log) for scenes in scale.sizes)
        count = min(scale.window, scale.sizes[0])
        for number in range(-1, scale.turns):
            log(f"windows of {count} scenes, turn {number + 1} of {scale.turns}")
            for side in (small, large):
                side.window(count)
                if number < 0:  # warms up
                    side.seconds.clear()
    name = f"a scene among {large.scenes:,}, of one among {small.scenes:,}"
    for kind in small.seconds:
        result.ratios.append(
            ratio(f"{kind}: {name}", large.seconds[kind], small.seconds[kind], at_most=FLAT)
        )
        for side in (small, large):
            row = [statistics.median(side.seconds[kind]) * 1000, *side.last[kind]]
            result.rows[f"{count} of {side.scenes:,} scenes, {kind}"] = row


def _side(stack: ExitStack, folder: str, scenes: int, log: Log) -> _Side:
    """Build a library that is indexed and synced; its other jobs are not due yet."""
    log(f"a library of {scenes:,} scenes")
    data_dir = make_data_dir(folder, str(scenes))
    servers = stack.enter_context(Remote("servers"))
    connection = servers.call("start")
    servers.call("fill", scenes=scenes)
    stamp_scenes(data_dir, range(1, scenes + 1))
    subject = stack.enter_context(Remote("subject"))
    subject.call("open", data_dir=data_dir, connection=connection)
    return _Side(scenes, servers, subject)
