"""Shared by all benchmarks: spread, ratios, timing of whole processes, results."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENTRY = ROOT / "PlexSync.py"

Log = Callable[[str], object]


@dataclass(frozen=True)
class Scale:
    """The amount of work of one run."""

    name: str
    rounds: int  # runs of each timed process
    waiting: tuple[int, ...]  # backlog sizes of the growth benchmark
    timestamps: int
    dead_letters: int
    seen: int  # finished jobs of a queue
    edits: int  # edits of the burst, of `edited` scenes
    edited: int
    saves: int  # saves of the latency benchmark
    scenes: int  # scenes per round of the throughput benchmark
    slow_scenes: int  # the same with a slow Plex
    turns: int  # rounds of the throughput benchmark and of the bulk windows
    bulk: tuple[int, ...]  # scenes of the whole bulk task
    window: int  # scenes of one bulk window
    sizes: tuple[int, int]  # library sizes around the window, and of the passes
    passes: int  # rounds of full passes over each of the libraries
    items: tuple[int, ...]  # items of the index
    idle: float  # seconds
    storm: int  # items of the storm of events


TINY = Scale(
    "tiny", 1, (0, 10), 10, 10, 10, 4, 2, 2, 3, 3, 1, (10,), 3, (5, 10), 1, (10,), 0.5, 300
)
QUICK = Scale("quick", 6, (0, 1_000, 10_000), 10_000, 1_000, 10_000, 30, 15, 2, 50, 6, 2,
              (100,), 40, (100, 1_000), 2, (1_000, 5_000), 3.0, 1_000)  # fmt: skip
NORMAL = Scale("normal", 100, (0, 1_000, 100_000), 100_000, 10_000, 1_000_000, 500, 200, 20, 200,
               40, 5, (10_000,), 250, (1_000, 10_000), 3, (1_000, 10_000, 100_000), 75.0,
               20_000)  # fmt: skip
FULL = Scale("full", 200, (0, 1_000, 100_000), 100_000, 10_000, 1_000_000, 500, 200, 60, 500, 100,
             9, (10_000, 100_000), 1_000, (10_000, 100_000), 3, (1_000, 10_000, 100_000), 120.0,
             20_000)  # fmt: skip


@dataclass(frozen=True)
class Ratio:
    """One figure divided by another of the same round: median and quartiles over the rounds."""

    name: str
    median: float
    low: float
    high: float
    #: the target as (at most, at least)
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool | None:
        """Return whether the target is met; None without a target."""
        if self.at_most is not None:
            return self.median <= self.at_most
        return None if self.at_least is None else self.median >= self.at_least


@dataclass
class Result:
    """The results of one measurement."""

    title: str
    columns: Sequence[str] = ()
    rows: dict[str, Sequence[float | str | None]] = field(default_factory=dict)
    ratios: list[Ratio] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the percentile of the values at `share` (0 to 1)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def ratio(
    name: str,
    mine: Sequence[float],
    theirs: Sequence[float],
    *,
    at_most: float | None = None,
    at_least: float | None = None,
) -> Ratio:
    """Divide round by round: a slow machine slows both sides of a round."""
    quotients = [one / other for one, other in zip(mine, theirs, strict=True)]
    low, high = percentile(quotients, 0.25), percentile(quotients, 0.75)
    return Ratio(name, statistics.median(quotients), low, high, at_most, at_least)


def spread(seconds: Sequence[float]) -> list[float]:
    """Return median, quartiles, 95th and 99th percentile in milliseconds."""
    shares = [percentile(seconds, share) for share in (0.25, 0.75, 0.95, 0.99)]
    return [value * 1000 for value in (statistics.median(seconds), *shares)]


SPREAD = ("median ms", "25 %", "75 %", "95 %", "99 %")


def floor_command(database: str) -> list[str]:
    """Return the command of the smallest possible hook."""
    return [sys.executable, str(ROOT / "tests" / "benchmarks" / "floor.py"), database]


@dataclass
class Case:
    """One command and its seconds, run by run."""

    name: str
    command: Sequence[str]
    stdin: bytes = b""
    environ: Mapping[str, str] | None = None
    #: called after each run, not measured
    after: Callable[[], object] = lambda: None
    seconds: list[float] = field(default_factory=list)

    def run(self) -> float:
        """Run once; return the seconds until stdout is closed and the process has ended.

        Raises:
            RuntimeError: the command failed.
        """
        start = time.perf_counter()
        done = subprocess.run(
            list(self.command),
            input=self.stdin,
            capture_output=True,
            env=self.environ,
            cwd=ROOT,
            check=False,
        )
        seconds = time.perf_counter() - start
        if done.returncode:
            error = done.stderr.decode(errors="replace")[-500:]
            raise RuntimeError(f"{self.name} ended with {done.returncode}: {error}")
        return seconds


def run_in_turn(cases: Sequence[Case], rounds: int, warm_up: int = 2) -> None:
    """Run all cases once per round, A B C A B C …; the first `warm_up` rounds do not count."""
    for number in range(-warm_up, rounds):
        for case in cases:
            seconds = case.run()
            case.after()
            if number >= 0:
                case.seconds.append(seconds)


def memory(pid: int | str = "self") -> dict[str, float]:
    """Return a process's memory figures on Linux, in MB: VmRSS, VmHWM (the peak) and others.

    Raises:
        OSError: there is no such process, or no /proc.
    """
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    pairs = (line.split(":") for line in lines if line.endswith("kB"))
    return {name: int(value.split()[0]) / 1024 for name, value in pairs}


@dataclass(frozen=True)
class Usage:
    """The resources that a process used."""

    seconds: float
    cpu: float
    peak_mb: float


def run_measured(
    command: Sequence[str], stdin: bytes = b"", environ: Mapping[str, str] | None = None
) -> Usage:
    """Run a process and return the resources that it used; POSIX only.

    The small process `peak.py` starts it: before its `exec`, a child counts its parent's memory.

    Raises:
        RuntimeError: it failed.
    """
    launcher = [
        sys.executable,
        "-S",
        "-E",
        str(ROOT / "tests" / "benchmarks" / "peak.py"),
        *command,
    ]
    done = subprocess.run(
        launcher, input=stdin, capture_output=True, env=environ, cwd=ROOT, check=False
    )
    status, seconds, cpu, kib = json.loads(
        done.stderr.decode(errors="replace").rstrip().rpartition("\n")[2]
    )
    if status:
        raise RuntimeError(
            f"{command} ended with {status}: {done.stderr.decode(errors='replace')[-500:]}"
        )
    return Usage(seconds, cpu, kib / 1024)
