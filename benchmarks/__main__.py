"""`python -m benchmarks`: run the benchmarks, show a table, and write the figures as JSON if asked to."""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import PlexSync

PlexSync.host_queue_package()

from rich.console import Console  # noqa: E402 - after the standard queue hosts ours
from rich.table import Table  # noqa: E402

from benchmarks.hook import hook_benchmark  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="runs of each case (default: 40)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    chosen = parser.parse_args()
    figures = hook_benchmark(chosen.rounds)
    _show(figures)
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _show(figures: dict[str, Any]) -> None:
    console = Console()
    times = Table(title=f"One hook, start to exit ({figures['rounds']} rounds, Python {platform.python_version()})")
    for column in ("", "median ms", "95 %", "99 %"):
        times.add_column(column, justify="left" if not column else "right")
    for name, row in figures["milliseconds"].items():
        times.add_row(name, *(f"{row[key]:.1f}" for key in ("median", "p95", "p99")))
    console.print(times)
    ratios = Table(title="Ratios: the median over the rounds; these travel from machine to machine")
    ratios.add_column("")
    ratios.add_column("ratio", justify="right")
    for name, ratio in figures["ratios"].items():
        ratios.add_row(name, f"{ratio:.2f}")
    console.print(ratios)


if __name__ == "__main__":
    main()
