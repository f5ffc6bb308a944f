"""Shows results: as tables on the terminal, and as JSON."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
import sqlite3
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.measure import Ratio, Result, Scale


def machine() -> dict[str, object]:
    """Return the facts about this machine that the figures depend on."""
    return {
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
    }


def show(console: Console, result: Result) -> None:
    """Print one measurement: its figures, then its ratios with their targets, then notes."""
    if result.rows:
        table = Table(title=result.title, title_justify="left")
        table.add_column("", overflow="fold")
        for column in result.columns:
            table.add_column(column, justify="right")
        for name, values in result.rows.items():
            table.add_row(name, *(_text(value) for value in values))
        console.print(table)
    if result.ratios:
        table = Table(
            title=f"{result.title}: ratios, side by side in this run", title_justify="left"
        )
        table.add_column("")
        for column in ("median", "25 % to 75 %", "target", ""):
            table.add_column(column, justify="right")
        for one in result.ratios:
            table.add_row(
                one.name,
                f"{one.median:.2f}",
                f"{one.low:.2f} to {one.high:.2f}",
                _target(one),
                _met(one),
            )
        console.print(table)
    for note in result.notes:
        console.print(note, highlight=False)
    console.print()


def save(file: Path, scale: Scale, results: dict[str, Result], seconds: dict[str, float]) -> None:
    """Write all figures as JSON."""
    content = {
        "machine": machine(),
        "scale": dataclasses.asdict(scale),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "results": {name: _as_dict(result) for name, result in results.items()},
    }
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _as_dict(result: Result) -> dict[str, object]:
    ratios = [{**dataclasses.asdict(one), "met": one.met} for one in result.ratios]
    return {**dataclasses.asdict(result), "ratios": ratios}


def _text(value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return (
        f"{value:,.0f}"
        if abs(value) >= 1000
        else f"{value:.1f}"
        if abs(value) >= 10
        else f"{value:.2f}"
    )


def _target(one: Ratio) -> str:
    if one.at_most is not None:
        return f"at most {one.at_most}"
    return "" if one.at_least is None else f"at least {one.at_least}"


def _met(one: Ratio) -> str:
    return {None: "", True: "[green]met[/]", False: "[red]missed[/]"}[one.met]
