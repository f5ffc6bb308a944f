"""A data directory of version 0.1 under the worker of this version, in this process."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from history.store import History
from tests.harness.base import TOKEN
from tests.harness.clock import FakeClock
from tests.harness.compare import differences, in_stash
from tests.harness.in_process import WorkerHarness
from tests.simulators.plex import PlexSimulator
from tests.simulators.stash import StashSimulator
from tests.upgrade import old_data
from worker.reporter import Reporter
from worker.upgrade import open_history

#: Long enough for the waiting edits, the read-backs, a quick pass and a full pass.
A_WHILE = 300.0
_ASCII = str.maketrans({"“": '"', "”": '"', "’": "'", "…": "..."})


class UpgradeHarness(WorkerHarness):
    """A worker on the history that the upgrade leaves."""

    @contextmanager
    def opened(self) -> Iterator[History]:
        """Open the history as a starting worker does, and let the worker use it."""
        reporter = Reporter(str(self.data_dir), clock=self.clock.monotonic)
        with open_history(str(self.data_dir), self.dlq, reporter, self.clock) as history:
            self.new_worker(history=history, compares=True)
            try:
                yield history
            finally:
                self.worker.stop()

    def start(self, seconds: float = A_WHILE) -> None:
        """Run a worker for this time on the fake clock."""
        with self.opened():
            self.run_for(seconds)

    @property
    def wrote(self) -> set[int]:
        """Return the rating keys of the items that were edited or got a poster."""
        edited = {write.rating_key for write in self.plex.writes}
        return edited | {upload.rating_key for upload in self.plex.uploads}

    def written_fields(self, rating_key: int) -> set[str]:
        """Return the fields of an item that were written."""
        return {
            name.partition(".")[0].partition("[")[0]
            for write in self.plex.writes
            if write.rating_key == rating_key
            for name in write.parameters
        } - {"id", "type"}

    def said(self, text: str) -> int:
        """Return how many lines for the user had this text; they are taken from the file."""
        return sum(text in line for _, line in self.notices())

    def differs(self, scene_id: int, rating_key: int, own: tuple[str, ...] = ()) -> list[str]:
        """Return a line for each field of an item that is not as Stash says.

        Fields that are empty in Stash don't count: they are the user's own in Plex.

        Args:
            own: genres that a person added in Plex.
        """
        wanted = in_stash(self.stash, scene_id, own)
        lines = differences(
            {name: _as_plex_gets(value) for name, value in wanted.items()},
            self.plex.item(rating_key),
        )
        return [line for line in lines if "Stash has nothing" not in line]


@contextmanager
def both_servers(folder: Path, clock: FakeClock) -> Iterator[tuple[StashSimulator, PlexSimulator]]:
    """Start a Stash and a Plex without content."""
    plugins = folder / "stash" / "plugins"
    plugins.mkdir(parents=True)
    with (
        StashSimulator(plugins, clock=clock.time) as stash,
        PlexSimulator(token=TOKEN, clock=clock.time) as plex,
    ):
        yield stash, plex
        assert (stash.server.errors, plex.server.errors) == ([], [])


@contextmanager
def frozen(folder: Path, **settings: Any) -> Iterator[UpgradeHarness]:
    """Restore the frozen data directory, and both servers as they were."""
    clock, later = FakeClock(), old_data.since_left()
    with both_servers(folder, clock) as (stash, plex):
        old_data.restore(folder / "data", later)
        harness = UpgradeHarness(folder, plex, stash, clock)
        try:
            harness.configure(
                sync_poster=True, **{**old_data.expected(later)["settings"], **settings}
            )
            old_data.populate(stash, plex, later)
            yield harness
        finally:
            harness.close()


@contextmanager
def grown(
    folder: Path, scenes: int, waiting: int = 0, choices: int = 0, letters: int = 0
) -> Iterator[tuple[UpgradeHarness, old_data.Grown]]:
    """Make a data directory of any size, and both servers."""
    clock = FakeClock()
    with both_servers(folder, clock) as (stash, plex):
        plex.add_library("Scenes", ["/media"])
        made = old_data.grow(
            folder / "data", stash, plex, scenes, waiting, choices, letters, now=clock.now
        )
        harness = UpgradeHarness(folder, plex, stash, clock)
        try:
            harness.configure(sync_poster=True)
            yield harness, made
        finally:
            harness.close()


def _as_plex_gets(value: object) -> object:
    """Replace what PlexSync writes as ASCII."""
    if isinstance(value, set):
        return {_as_plex_gets(name) for name in value}
    return str(value).translate(_ASCII)


def dump(folder: Path) -> dict[str, object]:
    """Return the content of the history, without the times at which it was made."""
    content: dict[str, object] = {}
    with closing(sqlite3.connect(folder / "history.db")) as database:
        for table in ("agreements", "choices", "passes", "proposals", "state"):
            content[table] = database.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
    return content
