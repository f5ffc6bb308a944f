"""Times whole processes in turn: A B C A B C …, so that a machine that slows down slows all of them."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


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

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def percentile(self, share: float) -> float:
        """Return the time that `share` (0 to 1) of the runs stayed below."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def ratio_to(self, other: Case) -> float:
        """Return the median of the ratios, round by round."""
        return statistics.median(mine / theirs for mine, theirs in zip(self.seconds, other.seconds, strict=True))


def run_in_turn(cases: Sequence[Case], rounds: int, warm_up: int = 2) -> None:
    """Run all cases once per round, first `warm_up` rounds that do not count.

    Raises:
        RuntimeError: a command failed.
    """
    for number in range(-warm_up, rounds):
        for case in cases:
            seconds = _run(case)
            case.after()
            if number >= 0:
                case.seconds.append(seconds)


def _run(case: Case) -> float:
    """Return the time from the start until stdout is closed and the process has gone, as Stash waits for it."""
    start = time.perf_counter()
    done = subprocess.run(
        list(case.command),
        input=case.stdin,
        capture_output=True,
        env=case.environ,
        check=False,
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{case.name} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}")
    return seconds
