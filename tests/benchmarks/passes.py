"""A library in sync: quick and full passes, single scenes, *Sync all*; small beside large."""

from __future__ import annotations

import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.bulk import REQUESTS, SyncAll, history_size
from tests.benchmarks.hooks import make_data_dir
from tests.benchmarks.measure import Log, Ratio, Result, Scale, ratio
from tests.benchmarks.remote import Remote

#: Highest allowed time per scene, as a multiple of the smaller library's.
FLAT = 1.2
#: Highest allowed CPU seconds, and MB, of a full pass.
SECONDS, MEGABYTES = 60.0, 120.0
#: Quick passes in a row, of which the median counts.
_QUICK = 5
_COLUMNS = (
    "ms", "CPU ms", "simulators' CPU", "CPU ms/scene", "Stash", "Plex", "covers", "peak MB",
)  # fmt: skip


def measure(scale: Scale, log: Log) -> Result:
    """Measure a small and a large library, in turn."""
    result = Result("A library in sync", _COLUMNS)
    with tempfile.TemporaryDirectory(prefix="plexsync-bench-") as folder, ExitStack() as stack:
        both = [_library(stack, folder, scenes, log) for scenes in scale.sizes]
        _passes(result, both, scale, log)
        _windows(result, both, scale, log)
        if sys.platform != "win32":
            _sync_all(result, both, scale, log)
        sizes = [f"{one.size / one.scenes:.0f} bytes of {one.scenes:,}" for one in both]
    result.notes.append(f"history.db per scene: {', '.join(sizes)}")
    result.notes.append(
        "CPU is PlexSync's, the median; Stash, Plex and covers are requests, in windows per scene;"
        " a full pass reads one thirtieth of the items whole, as every day; peak MB is the"
        " process's since its start"
    )
    return result


@dataclass
class _Library:
    """Both servers with all scenes in sync, and a worker that was started afterwards."""

    scenes: int
    data_dir: str
    servers: Remote
    connection: dict[str, Any]
    size: int
    subject: Remote
    next_scene: int = 1
    #: kind → seconds, and PlexSync's CPU seconds, round by round
    seconds: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)
    #: kind → the last round: CPU seconds, the simulators', requests by kind, peak MB
    last: dict[str, dict[str, Any]] = field(default_factory=dict)

    def run(self, kind: str, method: str, *, read_back: bool = False) -> None:
        """Measure one call of the worker."""
        self.servers.call("requests")
        before = self.servers.call("cpu")
        taken: dict[str, Any] = self.subject.call(method)
        if read_back:
            for name, value in self.subject.call("read_back").items():
                taken[name] += value
        simulators = self.servers.call("cpu") - before
        self.seconds.setdefault(kind, []).append(taken["seconds"])
        self.cpu.setdefault(kind, []).append(taken["cpu"])
        self.last[kind] = {**taken, "simulators": simulators, **self.servers.call("requests")}

    def window(self, count: int) -> None:
        """Sync the next scenes twice: changed, then unchanged."""
        first = self.next_scene if self.next_scene + count <= self.scenes else 1
        self.next_scene = first + count
        self.servers.call("edit", first=first, count=count)
        self.subject.call("enqueue", first=first, count=count)
        self.run("changed", "drain", read_back=True)
        self.subject.call("enqueue", first=first, count=count)
        self.run("unchanged", "drain")

    def row(self, kind: str, scenes: int, unit: int = 1) -> list[float | str | None]:
        """Return a row of the table.

        Args:
            scenes: that were looked at.
            unit: that the requests are divided by.
        """
        one, cpu = self.last[kind], statistics.median(self.cpu[kind])
        return [
            statistics.median(self.seconds[kind]) * 1000,
            cpu * 1000,
            one["simulators"] * 1000,
            f"{cpu / scenes * 1000:.3f}",
            one["Stash"] / unit,
            one["Plex"] / unit,
            one["covers"] / unit,
            one.get("peak_mb"),
        ]


def _library(stack: ExitStack, folder: str, scenes: int, log: Log) -> _Library:
    log(f"a library of {scenes:,} scenes")
    data_dir = make_data_dir(folder, str(scenes))
    servers = stack.enter_context(Remote("servers"))
    connection = servers.call("start")
    servers.call("fill", scenes=scenes, in_sync=True)
    with Remote("subject") as adopting:
        adopting.call("open", data_dir=data_dir, connection=connection)
        adopting.call("adopt")
    size = history_size(data_dir)
    subject = stack.enter_context(Remote("subject"))
    subject.call("open", data_dir=data_dir, connection=connection)
    return _Library(scenes, data_dir, servers, connection, size, subject)


def _passes(result: Result, both: list[_Library], scale: Scale, log: Log) -> None:
    for _ in range(_QUICK):
        for library in both:
            library.run("quick", "quick_pass")
    for number in range(scale.passes):
        log(f"full passes, turn {number + 1} of {scale.passes}")
        for library in both:
            library.run("full", "full_pass")
    for library in both:
        name = f"{library.scenes:,} scenes"
        result.rows[f"{name}: quick pass, nothing changed"] = library.row("quick", library.scenes)
        result.rows[f"{name}: full pass, nothing changed"] = library.row("full", library.scenes)
    small, large = both
    name = f"a scene of {large.scenes:,}, of one of {small.scenes:,}"
    for what, one, other, most in (
        ("PlexSync's CPU", small.cpu, large.cpu, FLAT),
        ("time, with the simulators", small.seconds, large.seconds, None),
    ):
        each = [value / large.scenes for value in other["full"]]
        theirs = [value / small.scenes for value in one["full"]]
        result.ratios.append(ratio(f"full pass: {name}, {what}", each, theirs, at_most=most))
    name = f"full pass over {large.scenes:,}:"
    for unit, value, most in (
        ("CPU seconds", large.last["full"]["cpu"], SECONDS),
        ("peak MB", large.last["full"]["peak_mb"], MEGABYTES),
    ):
        result.ratios.append(Ratio(f"{name} {unit}", value, value, value, at_most=most))
    quick = [one.cpu["quick"] for one in both]
    name = f"quick pass: {large.scenes:,} scenes, of {small.scenes:,}, PlexSync's CPU"
    result.ratios.append(ratio(name, quick[1], quick[0]))


def _windows(result: Result, both: list[_Library], scale: Scale, log: Log) -> None:
    """Compare the cost of single scenes in a small and in a large library."""
    count = min(scale.window, scale.sizes[0])
    for number in range(-1, scale.turns):
        log(f"windows of {count} scenes, turn {number + 1} of {scale.turns}")
        for library in both:
            library.window(count)
            if number < 0:  # warms up
                library.seconds.clear()
                library.cpu.clear()
    small, large = both
    name = f"a scene among {large.scenes:,}, of one among {small.scenes:,}"
    for kind in ("changed", "unchanged"):
        mine, theirs = large.seconds[kind], small.seconds[kind]
        result.ratios.append(ratio(f"{kind}: {name}", mine, theirs, at_most=FLAT))
        for library in both:
            row = library.row(kind, count, count)
            result.rows[f"{count} of {library.scenes:,} scenes, {kind}"] = row
    last = large.last["changed"]
    requests = (last["Stash"] + last["Plex"]) / count
    name = "requests for a changed scene with its read back, covers aside"
    result.ratios.append(Ratio(name, requests, requests, requests, at_most=REQUESTS))


def _sync_all(result: Result, both: list[_Library], scale: Scale, log: Log) -> None:
    """Run the task where nothing has changed."""
    tasks = []
    for library in both:
        library.subject.__exit__()
        tasks.append(SyncAll(library.data_dir, library.servers, library.connection, library.scenes))
    runs = []
    for number in range(scale.passes):
        log(f"Sync all scenes, turn {number + 1} of {scale.passes}")
        runs.append([task.run() for task in tasks])
    small, large = zip(*runs, strict=True)
    for library, rows in zip(both, (small, large), strict=True):
        each, cpu, requests, covers, peak, _ = sorted(rows)[len(rows) // 2]
        result.rows[f"{library.scenes:,} scenes: Sync all, nothing changed"] = [
            each * library.scenes, cpu * library.scenes, "", f"{cpu:.3f}",
            requests * library.scenes, "", covers * library.scenes, peak,
        ]  # fmt: skip
    name = f"Sync all: a scene of {both[1].scenes:,}, of one of {both[0].scenes:,}, CPU"
    result.ratios.append(
        ratio(name, [row[1] for row in large], [row[1] for row in small], at_most=FLAT)
    )
