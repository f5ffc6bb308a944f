"""The second of two edits in one second is synced even if its hook was killed."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from queue.timestamps import parse_time
from tests.harness.clock import HOUR
from tests.harness.in_process import WorkerHarness
from tests.simulators.httpd import Answer, Delay, Request
from tests.simulators.stash import Scene


@pytest.fixture(autouse=True)
def _early_in_a_second(harness: WorkerHarness) -> None:
    """Set the clock so that a second edit fits into the same second."""
    harness.clock.advance(math.ceil(harness.clock.now) + 0.2 - harness.clock.now)


def asks_for_scenes(request: Request) -> bool:
    return b"PlexSyncScenes" in request.body


def asks_for_scenes_in_log(harness: WorkerHarness) -> int:
    return len([one for one in harness.stash.log.all() if asks_for_scenes(one.request)])


def once(
    harness: WorkerHarness, fits: Callable[[Request], bool], action: Callable[[], object]
) -> None:
    """Run the action once, when Stash has received such a request and not responded yet."""
    left = [action]

    def when(request: Request) -> bool:
        if left and fits(request):
            left.pop()()
        return False

    harness.stash.faults.add(Delay(0), when=when)


def edit_and_again(harness: WorkerHarness, scene: Scene, **second: object) -> None:
    """Edit with a hook; half a second later, after the read, edit again without one."""
    harness.edit(scene, "First")
    harness.clock.after(0.5, lambda: harness.stash.change_silently(scene.id, **second))


def test_an_edit_in_the_same_second_whose_hook_was_killed_reaches_plex(
    harness: WorkerHarness,
) -> None:
    scene, _ = harness.pair("a")
    edit_and_again(harness, scene, title="Second")

    harness.run_for(60)

    assert harness.title(scene) == "Second"
    assert harness.waiting() == 0


@pytest.mark.parametrize(
    ("second", "of_item", "shown"),
    [
        ({"tags": ["New"]}, lambda item: item.genres, ["New"]),
        ({"performers": ["Ann"]}, lambda item: item.actors, ["Ann"]),
        ({"date": "2020-02-02"}, lambda item: item.year, 2020),
        ({"director": "D"}, lambda item: item.directors, ["D"]),
    ],
    ids=["tags", "performers", "date", "director"],
)
def test_any_field_of_the_second_edit_is_synced(
    harness: WorkerHarness,
    second: dict[str, object],
    of_item: Callable[[object], object],
    shown: object,
) -> None:
    scene, _ = harness.pair("a")
    edit_and_again(harness, scene, **second)

    harness.run_for(60)

    assert of_item(harness.item_of(scene)) == shown


def test_a_burst_in_one_second_is_rechecked_in_few_queries(harness: WorkerHarness) -> None:
    scenes = [harness.pair(f"s{number}")[0] for number in range(30)]
    for scene in scenes:
        edit_and_again(harness, scene, title=f"Second {scene.id}")
    harness.run_for(0.4)
    assert {harness.title(scene) for scene in scenes} == {"First"}
    asked = asks_for_scenes_in_log(harness)

    harness.run_for(60)

    assert [harness.title(scene) for scene in scenes] == [f"Second {scene.id}" for scene in scenes]
    assert 1 <= asks_for_scenes_in_log(harness) - asked <= 2 * asked + 2, (
        "as few as the first time, twice"
    )


def test_more_than_one_batch_is_rechecked(harness: WorkerHarness) -> None:
    scenes = [harness.pair(f"s{number}")[0] for number in range(105)]
    for scene in scenes:
        harness.edit(scene, "First")
    last = scenes[-1]
    harness.clock.after(0.5, lambda: harness.stash.change_silently(last.id, title="Second"))

    harness.run_for(60)

    assert harness.title(last) == "Second"


def test_an_unchanged_scene_is_rechecked_once_and_then_counts_as_synced(
    harness: WorkerHarness,
) -> None:
    scene, _ = harness.pair("a")
    harness.edit(scene, "Only")

    harness.run_for(HOUR / 2)

    end = parse_time(harness.stash.scene(scene.id).updated_at)
    synced = harness.synced_at(scene)
    assert end is not None
    assert synced is not None
    assert synced >= end
    assert asks_for_scenes_in_log(harness) == 1
    assert len(harness.plex.writes) == 1


def test_before_the_recheck_a_scene_does_not_count_as_synced(harness: WorkerHarness) -> None:
    """If a worker is killed before the recheck, the next worker's scan finds the edit."""
    scene, _ = harness.pair("a")
    harness.edit(scene, "First")
    assert harness.worker.drain()
    end = parse_time(harness.stash.scene(scene.id).updated_at)
    synced = harness.synced_at(scene)

    assert end is not None
    assert synced is not None
    assert synced < end


def test_after_a_kill_before_the_recheck_the_next_worker_finds_the_edit(
    harness: WorkerHarness,
) -> None:
    scene, _ = harness.pair("a")
    harness.make_catch_up().scan({})
    harness.clock.advance(HOUR)
    harness.edit(scene, "First")
    assert harness.worker.drain()
    harness.clock.advance(0.5)
    harness.stash.change_silently(scene.id, title="Second")
    harness.new_worker(catch_up=True)

    harness.run()

    assert harness.title(scene) == "Second"


def test_an_edit_made_during_the_recheck_is_not_lost(harness: WorkerHarness) -> None:
    scene, _ = harness.pair("a")
    harness.edit(scene, "First")
    once(harness, asks_for_scenes, lambda: harness.edit(scene, "Third"))

    harness.run_for(60)

    assert harness.title(scene) == "Third"


@pytest.mark.parametrize("status", [500, 503])
def test_after_a_failed_recheck_the_next_scan_finds_the_edit(
    harness: WorkerHarness, status: int
) -> None:
    scene, _ = harness.pair("a")
    harness.make_catch_up().scan({})
    harness.clock.advance(HOUR)
    harness.new_worker(catch_up=True)
    harness.stash.faults.add(Answer(status), when=asks_for_scenes, times=1)
    edit_and_again(harness, scene, title="Second")

    harness.run_for(HOUR)

    assert harness.title(scene) == "Second"


def test_a_destroyed_scene_in_the_batch_does_not_hide_the_second_edit(
    harness: WorkerHarness,
) -> None:
    """Stash returns no scene of a batch if one of them was deleted."""
    scene, _ = harness.pair("a")
    gone, _ = harness.pair("b")
    harness.make_catch_up().scan({})
    harness.clock.advance(HOUR)
    harness.new_worker(catch_up=True)
    harness.edit(gone, "Soon gone")
    edit_and_again(harness, scene, title="Second")
    harness.clock.after(0.6, lambda: harness.stash.library.remove_scene(gone.id))

    harness.run_for(HOUR)

    assert harness.title(scene) == "Second"
    assert harness.letters() == []


def test_a_scene_destroyed_before_the_recheck_does_no_harm(harness: WorkerHarness) -> None:
    scene, _ = harness.pair("a")
    gone, _ = harness.pair("b")
    harness.edit(gone, "Soon gone")
    edit_and_again(harness, scene, title="Second")

    def destroy() -> None:
        harness.stash.library.remove_scene(gone.id)
        harness.edit(gone)

    harness.clock.after(0.6, destroy)

    harness.run_for(60)

    assert harness.title(scene) == "Second", "it need not wait for the next scan, in ten minutes"
    assert harness.synced_at(gone) is None


def test_a_wrong_clock_in_stash_does_not_repeat_the_recheck_for_ever(
    harness: WorkerHarness,
) -> None:
    ahead, _ = harness.pair("ahead")
    behind, _ = harness.pair("behind")
    harness.edit(ahead, "Ahead", updated_at=harness.clock.now + HOUR)
    harness.edit(behind, "Behind", updated_at=harness.clock.now - HOUR)

    harness.run_for(HOUR / 2)

    assert (harness.title(ahead), harness.title(behind)) == ("Ahead", "Behind")
    assert asks_for_scenes_in_log(harness) <= 2
