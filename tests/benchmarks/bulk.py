"""Bulk sync: *Sync all scenes* over a whole library for the first time, and again."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import tempfile
from contextlib import closing

from history.store import FILE
from tests.benchmarks.hooks import make_data_dir
from tests.benchmarks.measure import ENTRY, Log, Ratio, Result, Scale, run_measured
from tests.benchmarks.remote import Remote
from tests.harness.processes import stop_workers, wait_until

#: Highest allowed requests per changed scene, the reads back included and covers aside.
REQUESTS = 2.2
COLUMNS = ("ms/scene", "CPU ms/scene", "requests/scene", "covers/scene", "peak MB", "KB/scene")


def measure(scale: Scale, log: Log) -> Result:
    """Measure bulk syncs."""
    result = Result("Bulk: Sync all scenes, from first to last", COLUMNS)
    if sys.platform == "win32":
        return result
    for scenes in scale.bulk:
        log(f"{scenes:,} scenes")
        _from_first_to_last(result, scenes)
    result.notes.append(
        "the whole task with the start of its process; CPU excludes the simulators, ms includes"
        " them; requests include the reads back that a worker does after the task's end; KB is the"
        " size of history.db"
    )
    return result


def _from_first_to_last(result: Result, scenes: int) -> None:
    """Run the task as Stash does, twice."""
    with (
        tempfile.TemporaryDirectory(prefix="plexsync-bench-") as folder,
        Remote("servers") as servers,
    ):
        data_dir = make_data_dir(folder, "data")
        connection = servers.call("start")
        servers.call("fill", scenes=scenes)
        task = SyncAll(data_dir, servers, connection, scenes)
        first = task.run()
        result.rows[f"{scenes:,} scenes, first time"] = first
        result.rows[f"{scenes:,} scenes, again"] = task.run()
    name = f"requests for a changed scene of {scenes:,}, covers aside"
    result.ratios.append(Ratio(name, first[2], first[2], first[2], at_most=REQUESTS))


class SyncAll:
    """The task in its own process."""

    def __init__(
        self, data_dir: str, servers: Remote, connection: dict[str, object], scenes: int
    ) -> None:
        self._data_dir = data_dir
        self._servers = servers
        self._scenes = scenes
        self._environ = {**os.environ, "STASH_PLUGIN_DATA": data_dir, "NO_PROXY": "127.0.0.1"}
        self._stdin = {"server_connection": connection, "args": {"mode": "sync_all"}}

    def run(self) -> list[float]:
        """Run it once, until all is read back; return a row of the table."""
        self._servers.call("requests")
        usage = run_measured(
            [sys.executable, str(ENTRY)], json.dumps(self._stdin).encode(), self._environ
        )
        try:
            wait_until(lambda: not _to_read_back(self._data_dir), "all to be read back")
        finally:
            stop_workers(self._data_dir)
        requests = self._servers.call("requests")
        missing = self._servers.call("differing", first=1, count=self._scenes)
        if missing:
            raise RuntimeError(f"{missing} of {self._scenes} scenes are not in sync")
        each = 1000 / self._scenes
        return [
            usage.seconds * each,
            usage.cpu * each,
            (requests["Plex"] + requests["Stash"]) / self._scenes,
            requests["covers"] / self._scenes,
            usage.peak_mb,
            history_size(self._data_dir) / self._scenes / 1000,
        ]


def history_size(data_dir: str) -> int:
    """Return the bytes of the history, once its journal is folded in."""
    file = os.path.join(data_dir, FILE)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return os.path.getsize(file)


def _to_read_back(data_dir: str) -> int:
    with closing(sqlite3.connect(os.path.join(data_dir, FILE))) as connection:
        found = connection.execute("SELECT count(*) FROM agreements WHERE verify_at IS NOT NULL")
        return int(found.fetchone()[0])
