"""What all measurements share: spread, ratios side by side, whole processes timed in turn, results."""

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
    """How much is measured."""

    name: str
    rounds: int  # runs of each process that is timed
    waiting: tuple[int, ...]  # sizes of the growth's backlog
    timestamps: int
    dead_letters: int
    seen: int  # jobs that a queue has seen
    edits: int  # of the burst, of `edited` scenes
    edited: int
    saves: int  # of the latency
    scenes: int  # per round of the throughput
    slow_scenes: int  # the same, where Plex takes its time
    turns: int  # rounds of the throughput and of the bulk's windows
    bulk: tuple[int, ...]  # scenes that are synced from first to last
    window: int  # scenes of one window
    sizes: tuple[int, int]  # scenes around the window
    items: tuple[int, ...]  # of the index
    idle: float  # seconds


TINY = Scale("tiny", 1, (0, 10), 10, 10, 10, 4, 2, 2, 3, 3, 1, (10,), 3, (5, 10), (10,), 0.5)
QUICK = Scale("quick", 6, (0, 1_000, 10_000), 10_000, 1_000, 10_000, 30, 15, 2, 50, 6, 2, (100,), 40,
              (100, 1_000), (1_000, 5_000), 3.0)  # fmt: skip
NORMAL = Scale("normal", 100, (0, 1_000, 100_000), 100_000, 10_000, 1_000_000, 500, 200, 20, 200, 40, 5, (10_000,),
               250, (10_000, 100_000), (1_000, 10_000, 100_000), 20.0)  # fmt: skip
FULL = Scale("full", 200, (0, 1_000, 100_000), 100_000, 10_000, 1_000_000, 500, 200, 60, 500, 100, 9,
             (10_000, 100_000), 1_000, (10_000, 100_000), (1_000, 10_000, 100_000), 120.0)  # fmt: skip


@dataclass(frozen=True)
class Ratio:
    """One figure divided by another of the same round; the median over the rounds and the quartiles around it."""

    name: str
    median: float
    low: float
    high: float
    #: (at most, at least) that the issue asks for
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target holds; None where there is none."""
        if self.at_most is not None:
            return self.median <= self.at_most
        return None if self.at_least is None else self.median >= self.at_least


@dataclass
class Result:
    """What one measurement found."""

    title: str
    columns: Sequence[str] = ()
    rows: dict[str, Sequence[float | str | None]] = field(default_factory=dict)
    ratios: list[Ratio] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def percentile(values: Sequence[float], share: float) -> float:
    """Return what `share` (0 to 1) of the values stay at or below."""
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
    """Divide round by round: what slows one round down slows both of its sides down."""
    quotients = [one / other for one, other in zip(mine, theirs, strict=True)]
    low, high = percentile(quotients, 0.25), percentile(quotients, 0.75)
    return Ratio(name, statistics.median(quotients), low, high, at_most, at_least)


def spread(seconds: Sequence[float]) -> list[float]:
    """Return median, quartiles, 95th and 99th percentile in milliseconds."""
    shares = [percentile(seconds, share) for share in (0.25, 0.75, 0.95, 0.99)]
    return [value * 1000 for value in (statistics.median(seconds), *shares)]


SPREAD = ("median ms", "25 %", "75 %", "95 %", "99 %")


def floor_command(database: str) -> list[str]:
    """The bare floor of a hook: parse the JSON, insert one row."""
    return [sys.executable, str(ROOT / "tests" / "benchmarks" / "floor.py"), database]


@dataclass
class Case:
    """One command and what it took, run by run, in seconds."""

    name: str
    command: Sequence[str]
    stdin: bytes = b""
    environ: Mapping[str, str] | None = None
    #: called after each run, outside the measured time
    after: Callable[[], object] = lambda: None
    seconds: list[float] = field(default_factory=list)

    def run(self) -> float:
        """Return the time from the start until stdout is closed and the process has gone, as Stash waits for it.

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
    """Run all cases once per round, A B C A B C …; first `warm_up` rounds that do not count."""
    for number in range(-warm_up, rounds):
        for case in cases:
            seconds = case.run()
            case.after()
            if number >= 0:
                case.seconds.append(seconds)


def memory(pid: int | str = "self") -> dict[str, float]:
    """Return what Linux says of a process's memory, in MB: VmRSS, VmHWM (the most it had) and others.

    Raises:
        OSError: there is no such process, or no /proc.
    """
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    pairs = (line.split(":") for line in lines if line.endswith("kB"))
    return {name: int(value.split()[0]) / 1024 for name, value in pairs}


@dataclass(frozen=True)
class Usage:
    """What a process took, from its start to its end."""

    seconds: float
    cpu: float
    peak_mb: float


def run_measured(
    command: Sequence[str], stdin: bytes = b"", environ: Mapping[str, str] | None = None
) -> Usage:
    """Run a process and return what it took; POSIX only.

    A small process, `peak.py`, starts it: until its `exec`, a child counts its parent's memory.

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
