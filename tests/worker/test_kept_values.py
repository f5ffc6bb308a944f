"""Values in Plex that were kept, and until when they are."""

from __future__ import annotations

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


def test_an_edit_while_a_rule_left_the_scene_out_arrives_later(following: WorkerHarness) -> None:
    scene, item = edited_in_plex(following, "title", "A person's")
    following.configure(exclude_scenes="path /data")
    following.restart()
    following.edit(scene, "Newer in Stash")
    following.run_for(HOUR)
    assert item.title == "A person's"
    following.configure()
    for _ in range(3):
        day(following)
    assert item.title == "Newer in Stash"


def test_an_edit_while_the_switch_is_off_arrives_later(following: WorkerHarness) -> None:
    scene, item = edited_in_plex(following, "summary", "A person's")
    following.configure(sync_details=False)
    day(following)
    following.edit(scene, details="Newer in Stash")
    following.run_for(HOUR)
    assert item.summary == "A person's"
    following.configure()
    for _ in range(3):
        day(following)
    assert item.summary == "Newer in Stash"


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
