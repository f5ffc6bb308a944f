"""Help to damage an installation's files while no worker, or a worker, is alive."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.harness.installation import ProcessHarness
from tests.harness.processes import stop_workers, wait_until
from tests.harness.results import queued
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene
from worker.process import WorkerLock
from worker.reconcile.passes import FULL_ENDED


def run_sql(file: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file, timeout=240.0)) as database, database:
        return database.execute(statement, values).fetchall()


@contextmanager
def no_worker(harness: ProcessHarness) -> Iterator[None]:
    """End the worker; no hook can start one meanwhile."""
    assert stop_workers(harness.data_dir)
    harness.data_dir.mkdir(mode=0o700, exist_ok=True)
    lock = WorkerLock(str(harness.data_dir))
    assert lock.acquire()
    try:
        yield
    finally:
        lock.release()


def prime(harness: ProcessHarness) -> None:
    """Let a first worker compare once: scenes that are edited later are not taken for old ones."""
    scene, item = harness.pair("prime")
    harness.save(scene, "Prime")
    harness.wait_for_title(item, "Prime")
    file = harness.data_dir / "history.db"
    wait_until(
        lambda: run_sql(file, "SELECT 1 FROM state WHERE name = ?", FULL_ENDED), "the first pass"
    )
    time.sleep(1.1)  # Stash's times have a resolution of a second


def waiting_edits(harness: ProcessHarness, count: int) -> list[tuple[Scene, PlexItem]]:
    """Save scenes while no worker can start; return them with their items."""
    pairs = [harness.pair(f"s{number}") for number in range(count)]
    for scene, _ in pairs:
        harness.save(scene, f"New {scene.id}")
        queued(harness.data_dir)  # imports what a hook spooled on a busy machine: in their order
    return pairs


def damage_row(harness: ProcessHarness, scene: Scene, data: bytes) -> None:
    """Replace the content of a waiting row behind the indexes' back, as a flipped bit does."""
    file = harness.data_dir / "queue" / "data.db"
    with closing(sqlite3.connect(file, isolation_level=None, timeout=240.0)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (old,) = database.execute(
            "SELECT data FROM ack_queue_default NOT INDEXED WHERE CAST(data AS TEXT) LIKE ?",
            (f'%"scene_id":{scene.id},%',),
        ).fetchone()
    assert len(data) <= len(old)
    content = file.read_bytes()
    assert content.count(old) == 1
    file.write_bytes(content.replace(old, data.ljust(len(old))))


def wait_for_titles(harness: ProcessHarness, pairs: list[tuple[Scene, PlexItem]]) -> None:
    for scene, item in pairs:
        harness.wait_for_title(item, harness.stash.scene(scene.id).title)


def said(harness: ProcessHarness, text: str) -> int:
    """Count the lines of Stash's log that contain a text."""
    return sum(text in line.text for line in harness.stash.plugin_log)


def wait_until_said(harness: ProcessHarness, text: str) -> None:
    """Save an unrelated scene until a hook has told what the worker left."""
    scene, _ = harness.pair("told")

    def is_said() -> bool:
        harness.save(scene, f"Told {len(harness.stash.plugin_log)}")
        return said(harness, text) > 0

    wait_until(is_said, lambda: [line.text for line in harness.stash.plugin_log][-10:])
