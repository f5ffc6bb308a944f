"""Values of related objects: performers' tags, tags above a scene's tags, its studio's parent."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.env import Timing
from tests.harness.clock import HOUR
from tests.harness.in_process import WorkerHarness
from tests.simulators.stash import Scene, StashSimulator
from worker.reconcile.comparer import Scope

TURN = Timing().quick_pass + 60

Change = Callable[[StashSimulator], object]


def _silently(kind: str, before: str, **fields: object) -> Change:
    """Return a change without a hook."""

    def change(stash: StashSimulator) -> None:
        shelf = stash.library.shelf(kind)
        shelf.change(shelf.id_of(before), **fields)

    return change


CHANGES: dict[str, Change] = {
    "a performer's tag": _silently("performer", "Ann", tag_ids=(1,)),
    "the name of a performer's tag": _silently("tag", "Tall", name="Very tall"),
    "the name of what is above a performer's tag": _silently("tag", "Looks", name="Look"),
    "what a tag is below": _silently("tag", "Beach", parent_ids=()),
    "what a tag's parent is below": _silently("tag", "Outside", parent_ids=(1,)),
    "the name of what is above a tag's parent": _silently("tag", "Places", name="Place"),
    "a new tag below": lambda stash: stash.library.set_children(
        stash.library.tags.change(stash.add_tag("More")).id, [stash.library.tags.id_of("Beach")]
    ),
    "the studio's parent": _silently("studio", "Site", parent_id=None),
    "the name of the studio's parent": _silently("studio", "Network", name="Group"),
}


@pytest.fixture
def scene(harness: WorkerHarness) -> Scene:
    """Return a scene that was synced hours ago, with much above it."""
    stash = harness.stash
    stash.add_tag("Spare")
    stash.add_tag("Places")
    stash.add_tag("Outside", parents=["Places"])
    stash.add_tag("Beach", parents=["Outside"])
    stash.add_tag("Looks")
    stash.add_tag("Tall", parents=["Looks"])
    stash.add_studio("Network")
    stash.add_studio("Site", parent="Network")
    stash.add_performer("Ann", tags=["Tall"])
    harness.new_worker(compares=True)
    scene, _ = harness.pair("a", tags=["Beach"], studio="Site", performers=["Ann"])
    harness.edit(scene, "Synced")
    harness.run_for(60)
    harness.clock.advance(5 * HOUR)
    harness.pair("newer")  # a quick pass reads what changed in the two hours before
    harness.run_for(TURN)
    assert is_known(harness, scene)
    return scene


def is_known(harness: WorkerHarness, scene: Scene) -> bool:
    """Return whether the scene's record holds what Stash says now."""
    found = harness.client.find_scene(scene.id)
    (row,) = harness.worker.history.of_scene(scene.id)
    return found is not None and row.digest == found.digest


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_above_or_beside_a_scene_is_found(
    harness: WorkerHarness, scene: Scene, name: str
) -> None:
    harness.clock.advance(5)
    CHANGES[name](harness.stash)
    assert not is_known(harness, scene)
    queued = harness.queue.counts()["completed"]
    harness.run_for(TURN)
    assert is_known(harness, scene)
    assert harness.queue.counts()["completed"] == queued + 1


def test_a_record_of_an_earlier_version_is_in_sync_and_gets_the_new_form(
    harness: WorkerHarness, scene: Scene
) -> None:
    history = harness.worker.history
    (row,) = history.of_scene(scene.id)
    assert row.digest is not None
    history.update([row.id], digest=row.digest.partition("-")[0])
    queued = harness.queue.counts()["completed"]

    found = harness.client.find_scene(scene.id)
    assert found is not None
    comparer, now = harness.worker.passes.comparer, harness.clock.now
    result = comparer.compare([found], now, Scope(), room=9, seconds=1)
    assert (result.done, result.queued, result.left) == (1, 0, {"in_sync": 1})
    assert harness.queue.counts()["completed"] == queued
    assert is_known(harness, scene)

    harness.stash.library.performers.change(1, tag_ids=())
    harness.run_for(TURN)
    assert harness.queue.counts()["completed"] == queued + 1
    assert is_known(harness, scene)
