"""The worker's throughput against a bare loop of its requests, and the gain of parallel writes.

The worker reads the items of several scenes in one request. The bare loop reads each item with its
own request; a second row replays the worker's requests unchanged.
"""

from __future__ import annotations

import re
import statistics
import tempfile
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.measure import Log, Result, Scale, ratio
from tests.benchmarks.remote import Remote
from worker.write_pool import PARALLEL_WRITES

#: The share of the bare loop's scenes per second that the worker must reach.
TARGET = 0.7
SLOW = 0.02
#: Numbers of parallel writes, besides the worker's default.
_OTHERS = (1, 2, 8)
_ALL, _PLEX = "each item by itself", "each item by itself, to Plex alone"
_OWN = "the worker's own requests"
_MANY_ITEMS = re.compile(r"(/library/metadata/)(\d+(?:,\d+)+)")


@dataclass
class Turns:
    """The results for one delay of Plex: seconds per scene, turn by turn."""

    scenes: int
    worker: list[float] = field(default_factory=list)
    worker_cpu: list[float] = field(default_factory=list)
    #: see `_kinds`
    bare: dict[str, list[float]] = field(default_factory=dict)
    bare_cpu: dict[str, list[float]] = field(default_factory=dict)
    #: the worker with other numbers of parallel writes
    others: dict[int, list[float]] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    #: seconds from each item's read to its write
    windows: list[float] = field(default_factory=list)
    #: the reads back of the same scenes: seconds and CPU seconds per scene, and requests
    read_back: list[float] = field(default_factory=list)
    read_back_cpu: list[float] = field(default_factory=list)
    read_back_requests: int = 0


def measure(scale: Scale, log: Log) -> Result:
    """Measure the throughput with both delays."""
    with (
        tempfile.TemporaryDirectory(prefix="plexsync-bench-") as data_dir,
        Remote("servers") as servers,
    ):
        connection = servers.call("start")
        servers.call("fill", scenes=scale.scenes)
        with Remote("subject") as subject:
            subject.call("open", data_dir=data_dir, connection=connection)
            _sync(
                servers, subject, scale.scenes
            )  # the first sync also builds the index and writes every field
            subject.call("read_back")
            fast = _turns(servers, subject, scale.scenes, scale.turns, 0.0, log)
            slow = _turns(servers, subject, scale.slow_scenes, scale.turns, SLOW, log)
    result = Result("Worker throughput", ("scenes/s", "CPU ms/scene", "requests/scene"))
    for label, turns in (("Plex at once", fast), ("Plex 20 ms", slow)):
        _tell(result, label, turns)
        result.notes.append(
            f"{label}: from an item's read to its write"
            f" {statistics.median(turns.windows) * 1000:.0f} ms (median), at most"
            f" {max(turns.windows) * 1000:.0f} ms"
        )
    _tell_gain(result, slow)
    return result


def _turns(
    servers: Remote, subject: Remote, scenes: int, count: int, delay: float, log: Log
) -> Turns:
    turns = Turns(scenes)
    servers.call("delay", seconds=delay)
    for number in range(count):
        log(f"turn {number + 1} of {count}, Plex {delay * 1000:.0f} ms")
        taken = _sync(servers, subject, scenes)
        recorded = servers.call("record")
        turns.windows += servers.call("windows")
        servers.call("requests")
        read_back = subject.call("read_back")
        turns.read_back.append(read_back["seconds"] / scenes)
        turns.read_back_cpu.append(read_back["cpu"] / scenes)
        turns.read_back_requests = sum(servers.call("requests").values())
        turns.worker.append(taken["seconds"] / scenes)
        turns.worker_cpu.append(taken["cpu"] / scenes)
        for kind, some in _kinds(recorded).items():
            again = subject.call("replay", recorded=some)
            turns.bare.setdefault(kind, []).append(again["seconds"] / scenes)
            turns.bare_cpu.setdefault(kind, []).append(again["cpu"] / scenes)
            turns.requests[kind] = len(some)
        for at_once in _OTHERS if delay else ():
            again = _sync(servers, subject, scenes, at_once=at_once)
            subject.call("read_back")
            turns.others.setdefault(at_once, []).append(again["seconds"] / scenes)
    servers.call("delay", seconds=0.0)
    return turns


def _sync(
    servers: Remote, subject: Remote, scenes: int, at_once: int = PARALLEL_WRITES
) -> dict[str, Any]:
    servers.call("edit", first=1, count=scenes)
    subject.call("enqueue", first=1, count=scenes)
    servers.call("requests")
    taken: dict[str, Any] = subject.call("drain", at_once=at_once)
    missing = servers.call("differing", first=1, count=scenes)
    if missing:
        raise RuntimeError(f"{missing} of {scenes} scenes are not in sync")
    return taken


def _kinds(recorded: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    apart = [single for one in recorded for single in _one_by_one(one)]
    return {
        _ALL: apart,
        _PLEX: [one for one in apart if "graphql" not in one["url"] and not one["cover"]],
        _OWN: recorded,
    }


def _one_by_one(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Split a request for several items into one for each."""
    found = _MANY_ITEMS.search(request["url"])
    if found is None:
        return [request]
    before, after = request["url"][: found.start()], request["url"][found.end() :]
    return [{**request, "url": f"{before}{found[1]}{key}{after}"} for key in found[2].split(",")]


def _tell(result: Result, label: str, turns: Turns) -> None:
    rate, cpu = 1 / statistics.median(turns.worker), statistics.median(turns.worker_cpu) * 1000
    result.rows[f"{label}: worker"] = [rate, cpu, turns.requests[_OWN] / turns.scenes]
    result.rows[f"{label}: worker, and its reads back"] = [
        1 / statistics.median(_sums(turns.worker, turns.read_back)),
        statistics.median(_sums(turns.worker_cpu, turns.read_back_cpu)) * 1000,
        (turns.requests[_OWN] + turns.read_back_requests) / turns.scenes,
    ]
    for kind, seconds in turns.bare.items():
        cpu = statistics.median(turns.bare_cpu[kind]) * 1000
        result.rows[f"{label}: bare loop, {kind}"] = [
            1 / statistics.median(seconds), cpu, turns.requests[kind] / turns.scenes
        ]  # fmt: skip
        target = TARGET if kind == _ALL else None
        name = f"{label}: worker's scenes/s of the bare loop's, {kind}"
        result.ratios.append(ratio(name, seconds, turns.worker, at_least=target))
    name = f"{label}: worker's CPU of the bare loop's, {_ALL}"
    result.ratios.append(ratio(name, turns.worker_cpu, turns.bare_cpu[_ALL]))


def _sums(one: list[float], other: list[float]) -> list[float]:
    return [first + second for first, second in zip(one, other, strict=True)]


def _tell_gain(result: Result, slow: Turns) -> None:
    alone = slow.others[1]
    for at_once, seconds in sorted({**slow.others, PARALLEL_WRITES: slow.worker}.items()):
        if at_once > 1:
            usual = ", as usual" if at_once == PARALLEL_WRITES else ""
            name = (
                f"Plex 20 ms: worker's scenes/s with {at_once} writes at once{usual},"
                " of one at a time"
            )
            result.ratios.append(ratio(name, alone, seconds))
