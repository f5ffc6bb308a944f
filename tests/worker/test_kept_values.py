"""Values in Plex that were kept, and until when they are."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.clock import HOUR
from tests.harness.in_process import WorkerHarness
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene

DAY = 24 * HOUR


def day(harness: WorkerHarness) -> None:
    """Run a day's full pass in a new worker, and what it queues."""
    harness.restart()
    harness.run_for(HOUR)
    harness.clock.advance(DAY)


def edited_in_plex(harness: WorkerHarness, name: str, value: str) -> tuple[Scene, PlexItem]:
    """Return a synced scene with a person's value in Plex that PlexSync has seen."""
    scene, item = harness.pair("p", details="About")
    harness.edit(scene, "Saved")
    harness.run_for(60)
    day(harness)
    harness.plex.person_sets(item.rating_key, name, value)
    day(harness)
    day(harness)
    (row,) = harness.worker.history.of_scene(scene.id)
    assert row.fields[name].kept
    return scene, item


@pytest.fixture
def following(harness: WorkerHarness) -> WorkerHarness:
    """Return a harness whose worker compares all scenes."""
    harness.take_long_steps()
    harness.new_worker(compares=True)
    harness.run_for(60)
    return harness


@pytest.mark.parametrize(
    ("field", "edit", "obstacle"),
    [("title", "title", {"exclude_scenes": "path /data"}),
     ("summary", "details", {"sync_details": False})],
    ids=["a rule leaves the scene out", "the switch is off"],
)  # fmt: skip
def test_an_edit_behind_an_obstacle_arrives_later(
    following: WorkerHarness, field: str, edit: str, obstacle: dict[str, Any]
) -> None:
    scene, item = edited_in_plex(following, field, "A person's")
    following.configure(**obstacle)
    day(following)
    following.edit(scene, **{edit: "Newer in Stash"})
    following.run_for(HOUR)
    assert item.values[field] == "A person's"
    following.configure()
    for _ in range(3):
        day(following)
    assert item.values[field] == "Newer in Stash"


@pytest.mark.parametrize("repair", [True, False])
def test_what_preserve_plex_edits_kept_is_written_once_that_is_off(
    following: WorkerHarness, repair: bool
) -> None:
    following.configure(preserve_plex_edits=True, repair_drift=repair)
    scene, item = following.pair("p", details="Stash", tags=["Red"])
    item.values["summary"], item.tags["genre"] = "Agent", ["Drama"]
    following.edit(scene, "Saved")
    following.run_for(120)
    assert (item.summary, item.tags["genre"]) == ("Agent", ["Drama"])
    following.configure(preserve_plex_edits=False, repair_drift=repair)
    day(following)
    day(following)
    assert item.summary == "Stash"
    assert "Red" in item.tags["genre"]
    writes = len(following.plex.writes)
    for _ in range(3):
        day(following)
    assert len(following.plex.writes) == writes
