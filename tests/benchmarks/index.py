"""The index of Plex's files: build, refresh and lookups."""

from __future__ import annotations

import tempfile
from typing import Any

from tests.benchmarks.measure import Log, Result, Scale
from tests.benchmarks.remote import Remote

#: Share of the items that change before the refresh.
CHANGED = 0.01
_COLUMNS = (
    "build s",
    "CPU µs/item",
    "requests",
    "+ MB",
    "refresh 1 % s",
    "requests",
    "unchanged ms",
    "warm start ms",
    "lookups/s",
    "file MB",
)


def measure(scale: Scale, log: Log) -> Result:
    """Measure the index."""
    result = Result("Index of Plex's files", _COLUMNS)
    for items in scale.items:
        log(f"{items:,} items")
        result.rows[f"{items:,} items"] = _index(items)
    result.notes.append(
        "build: wall time, with Plex's simulator on the same two cores; warm start: the first"
        " refresh of a new process with nothing changed; + MB: peak memory over that before the"
        " build"
    )
    return result


def _index(items: int) -> list[float | str | None]:
    with (
        tempfile.TemporaryDirectory(prefix="plexsync-bench-") as folder,
        Remote("servers") as servers,
    ):
        servers.call("start")
        servers.call("fill_plex", items=items)
        where: dict[str, Any] = servers.call("plex_address")
        with Remote("subject") as subject:
            subject.call("open_index", folder=folder, **where)
            servers.call("requests")
            built = subject.call("refresh_index")
            requests = sum(servers.call("requests").values())
            unchanged = subject.call("refresh_index")
            servers.call("touch", items=max(1, int(items * CHANGED)))
            servers.call("requests")
            refreshed = subject.call("refresh_index")
            again = sum(servers.call("requests").values())
            lookups = subject.call("look_up", items=items)
        with Remote("subject") as subject:
            size = subject.call("open_index", folder=folder, **where)
            warm = subject.call("refresh_index")
    return [
        built["seconds"], built["cpu"] / items * 1e6, requests, built["grown_mb"],
        refreshed["seconds"], again, unchanged["seconds"] * 1000,
        warm["seconds"] * 1000, lookups, size,
    ]  # fmt: skip
