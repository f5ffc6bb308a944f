"""Two edits in one second of Stash's clock, the second one's hook killed: Plex shows the second all the same."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from queue.timestamps import parse_time
from tests.simulators.httpd import Answer, Delay, Request
from tests.simulators.stash import Scene
from tests.worker.test_catch_up import make_catch_up, start_worker
from tests.worker.world import HOUR, World


@pytest.fixture(autouse=True)
def _early_in_a_second(world: World) -> None:
    """There is room for a second edit in the same second."""
    world.clock.advance(math.ceil(world.clock.now) + 0.2 - world.clock.now)


def asks_for_scenes(request: Request) -> bool:
    return b"PlexSyncScenes" in request.body


def asks_for_scenes_in_log(world: World) -> int:
    return len([one for one in world.stash.log.all() if asks_for_scenes(one.request)])


def once(world: World, fits: Callable[[Request], bool], action: Callable[[], object]) -> None:
    """Do something once, when such a request has come to Stash and is not answered yet."""
    left = [action]

    def when(request: Request) -> bool:
        if left and fits(request):
            left.pop()()
        return False

    world.stash.faults.add(Delay(0), when=when)


def edit_and_again(world: World, scene: Scene, **second: object) -> None:
    """An edit that is told, and half a second later one that is not: after the first was read."""
    world.edit(scene, "First")
    world.clock.after(0.5, lambda: world.stash.change_silently(scene.id, **second))


def test_an_edit_in_the_same_second_whose_hook_was_killed_reaches_plex(world: World) -> None:
    scene, _ = world.pair("a")
    edit_and_again(world, scene, title="Second")

    world.run_for(60)

    assert world.title(scene) == "Second"
    assert world.waiting() == 0


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
def test_whatever_the_second_edit_changed(
    world: World, second: dict[str, object], of_item: Callable[[object], object], shown: object
) -> None:
    scene, _ = world.pair("a")
    edit_and_again(world, scene, **second)

    world.run_for(60)

    assert of_item(world.item_of(scene)) == shown


def test_a_whole_burst_in_one_second_is_read_again_in_few_queries(world: World) -> None:
    scenes = [world.pair(f"s{number}")[0] for number in range(30)]
    for scene in scenes:
        edit_and_again(world, scene, title=f"Second {scene.id}")
    world.run_for(0.4)
    assert {world.title(scene) for scene in scenes} == {"First"}
    asked = asks_for_scenes_in_log(world)

    world.run_for(60)

    assert [world.title(scene) for scene in scenes] == [f"Second {scene.id}" for scene in scenes]
    assert 1 <= asks_for_scenes_in_log(world) - asked <= 2 * asked + 2, (
        "as few as the first time, twice"
    )


def test_more_than_one_batch_is_read_again(world: World) -> None:
    scenes = [world.pair(f"s{number}")[0] for number in range(105)]
    for scene in scenes:
        world.edit(scene, "First")
    last = scenes[-1]
    world.clock.after(0.5, lambda: world.stash.change_silently(last.id, title="Second"))

    world.run_for(60)

    assert world.title(last) == "Second"


def test_a_scene_that_stayed_the_same_is_read_once_more_and_then_counts_as_synced(
    world: World,
) -> None:
    scene, _ = world.pair("a")
    world.edit(scene, "Only")

    world.run_for(HOUR / 2)

    end = parse_time(world.stash.scene(scene.id).updated_at)
    synced = world.synced_at(scene)
    assert end is not None
    assert synced is not None
    assert synced >= end
    assert asks_for_scenes_in_log(world) == 1
    assert len(world.plex.writes) == 1


def test_until_then_it_does_not_count_as_synced(world: World) -> None:
    """A worker that is killed before it has read again leaves the rest to the next one's look."""
    scene, _ = world.pair("a")
    world.edit(scene, "First")
    assert world.worker.drain()
    end = parse_time(world.stash.scene(scene.id).updated_at)
    synced = world.synced_at(scene)

    assert end is not None
    assert synced is not None
    assert synced < end


def test_a_worker_killed_before_it_has_read_again_leaves_it_to_the_next_one(world: World) -> None:
    scene, _ = world.pair("a")
    make_catch_up(world).look({})
    world.clock.advance(HOUR)
    world.edit(scene, "First")
    assert world.worker.drain()
    world.clock.advance(0.5)
    world.stash.change_silently(scene.id, title="Second")
    start_worker(world)

    world.run()

    assert world.title(scene) == "Second"


def test_an_edit_made_while_it_is_read_again_is_not_lost(world: World) -> None:
    scene, _ = world.pair("a")
    world.edit(scene, "First")
    once(world, asks_for_scenes, lambda: world.edit(scene, "Third"))

    world.run_for(60)

    assert world.title(scene) == "Third"


@pytest.mark.parametrize("status", [500, 503])
def test_a_stash_that_fails_when_it_is_read_again_leaves_it_to_the_next_look(
    world: World, status: int
) -> None:
    scene, _ = world.pair("a")
    make_catch_up(world).look({})
    world.clock.advance(HOUR)
    start_worker(world)
    world.stash.faults.add(Answer(status), when=asks_for_scenes, times=1)
    edit_and_again(world, scene, title="Second")

    world.run_for(HOUR)

    assert world.title(scene) == "Second"


def test_a_neighbour_destroyed_meanwhile_does_not_hide_the_second_edit(world: World) -> None:
    """Stash answers for no scene at all when one of those asked for is gone."""
    scene, _ = world.pair("a")
    gone, _ = world.pair("b")
    make_catch_up(world).look({})
    world.clock.advance(HOUR)
    start_worker(world)
    world.edit(gone, "Soon gone")
    edit_and_again(world, scene, title="Second")
    world.clock.after(0.6, lambda: world.stash.library.remove_scene(gone.id))

    world.run_for(HOUR)

    assert world.title(scene) == "Second"
    assert world.letters() == []


def test_a_scene_whose_hook_told_of_its_end_spoils_nothing(world: World) -> None:
    scene, _ = world.pair("a")
    gone, _ = world.pair("b")
    world.edit(gone, "Soon gone")
    edit_and_again(world, scene, title="Second")

    def destroy() -> None:
        world.stash.library.remove_scene(gone.id)
        world.edit(gone)

    world.clock.after(0.6, destroy)

    world.run_for(60)

    assert world.title(scene) == "Second", "it need not wait for the next look, ten minutes away"
    assert world.synced_at(gone) is None


def test_a_stash_whose_clock_is_ahead_or_behind_is_not_asked_for_ever(world: World) -> None:
    ahead, _ = world.pair("ahead")
    behind, _ = world.pair("behind")
    world.edit(ahead, "Ahead", updated_at=world.clock.now + HOUR)
    world.edit(behind, "Behind", updated_at=world.clock.now - HOUR)

    world.run_for(HOUR / 2)

    assert (world.title(ahead), world.title(behind)) == ("Ahead", "Behind")
    assert asks_for_scenes_in_log(world) <= 2
