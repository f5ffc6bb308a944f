"""`python -m tests.benchmarks`: PlexSync's speed, against baselines and as data grows.

Without options everything is measured, in under ten minutes on two cores. See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import PlexSync

PlexSync.host_queue_package()

from rich.console import Console  # noqa: E402 - after the standard queue hosts ours
from rich.status import Status  # noqa: E402

from tests.benchmarks import (  # noqa: E402
    bulk,
    burst,
    events,
    growth,
    hook,
    idle,
    index,
    latency,
    page,
    passes,
    report,
    throughput,
)
from tests.benchmarks.measure import FULL, NORMAL, QUICK, TINY, Log, Result, Scale  # noqa: E402
from tests.isolation import private_home  # noqa: E402

MEASUREMENTS: dict[str, Callable[[Scale, Log], Result]] = {
    "hook": hook.measure,
    "growth": growth.measure,
    "page": page.measure,
    "burst": burst.measure,
    "latency": latency.measure,
    "throughput": throughput.measure,
    "bulk": bulk.measure,
    "passes": passes.measure,
    "index": index.measure,
    "idle": idle.measure,
    "events": events.measure,
}
#: Width of the tables, in columns, when the output is not a terminal.
_WIDTH = 140
SCALES = {scale.name: scale for scale in (TINY, QUICK, NORMAL, FULL)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the measurements that the arguments choose."""
    chosen = _parser().parse_args(arguments)
    # Otherwise each hook compiles all its modules, which takes longer than the rest of it.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with private_home():
        _measure(chosen)


def _measure(chosen: argparse.Namespace) -> None:
    names = chosen.only or list(MEASUREMENTS)
    scale = SCALES[chosen.scale]
    console, progress = Console(), Console(stderr=True)
    if not console.is_terminal:
        console.width = _WIDTH  # a file allows long lines
    results: dict[str, Result] = {}
    seconds: dict[str, float] = {}
    for name in names:
        start = time.monotonic()
        with progress.status(name) as status:
            results[name] = MEASUREMENTS[name](scale, _logger(status, name))
        seconds[name] = time.monotonic() - start
        report.show(console, results[name])
    console.print(
        ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items()), highlight=False
    )
    if chosen.json:
        report.save(chosen.json, scale, results, seconds)


def _logger(status: Status, name: str) -> Log:
    return lambda text: status.update(f"{name}: {text}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=MEASUREMENTS, help="just this one; may be given again"
    )
    scales = parser.add_mutually_exclusive_group()
    for name, text in (
        ("quick", "under a minute; for a first impression"),
        ("full", "with 100,000 scenes from first to last; takes an hour"),
        ("tiny", "only whether everything runs"),
    ):
        scales.add_argument(
            f"--{name}", dest="scale", action="store_const", const=name, default="normal", help=text
        )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    return parser


if __name__ == "__main__":
    main()
