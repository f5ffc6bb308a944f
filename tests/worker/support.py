"""Shared by the tests of what PlexSync wrote: a synced scene, its record and its changes."""

from __future__ import annotations

from typing import Any

from history.changes import Change
from history.records import Agreement
from tests.harness.in_process import WorkerHarness
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def synced(harness: WorkerHarness, name: str = "a", **fields: Any) -> tuple[Scene, PlexItem]:
    """Return a scene that was saved and synced a moment ago, and its item."""
    scene, item = harness.pair(name, **fields)
    harness.edit(scene, f"Saved {name}")
    harness.run_for(30)
    assert item.title == f"Saved {name}"
    return scene, item


def row_of(harness: WorkerHarness, scene: Scene) -> Agreement:
    """Return the scene's only record."""
    (row,) = harness.worker.history.of_scene(scene.id)
    return row


def changes_of(harness: WorkerHarness, scene: Scene) -> list[Change]:
    """Return what was written for the scene, the oldest first."""
    return harness.worker.history.changes.of_scene(scene.id)
