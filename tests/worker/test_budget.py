"""What a sync costs: requests to Plex and queries to Stash, counted on the servers' side."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.sqlite import connect
from plex.index import FileIndex
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene
from tests.worker.test_catch_up import make_catch_up
from tests.worker.world import HOUR, World

SCENES = 50
PNG = b"\x89PNG\r\n\x1a\n" + bytes(200)
#: What a worker asks that concerns no scene: connecting, libraries, index, settings, login.
OVERHEAD = 12

_ITEM = re.compile(r"/library/metadata/\d+$")
_OPERATION = re.compile(rb"query (\w+)")


def plex_requests(world: World) -> Counter[str]:
    """Requests by kind: reads of items, writes, posters, listings, and all others."""
    return Counter(kind_of(one.request.method, one.request.path) for one in world.plex.log.all())


def kind_of(method: str, path: str) -> str:
    if method == "PUT":
        return "write"
    if method == "POST":
        return "poster"
    if _ITEM.match(path):
        return "read"
    return "listing" if path.endswith("/all") else "other"


def stash_queries(world: World) -> Counter[str]:
    """Queries by the name of their operation; covers are requests of their own."""
    counted: Counter[str] = Counter()
    for one in world.stash.log.all():
        found = _OPERATION.search(one.request.body)
        counted[found[1].decode() if found else one.request.path.rpartition("/")[2]] += 1
    return counted


def scene_reads(world: World) -> int:
    """Queries that read scenes whole, one or several at once."""
    return sum(one.request.body.count(b"performers { name }") > 0 for one in world.stash.log.all())


def clear_logs(world: World) -> None:
    world.plex.log.clear()
    world.stash.log.clear()


def long_ago(world: World) -> float:
    """Edits in this very second would be read twice, which is another file's concern."""
    return world.clock.now - 100


def edit_all(
    world: World, scenes: list[Scene], title: Callable[[int], str] = "Title {}".format
) -> None:
    for number, scene in enumerate(scenes):
        world.edit(scene, title(number), updated_at=long_ago(world))


SHAPES: dict[str, dict[str, Any]] = {
    "bare": {},
    "full": {
        "details": "Much to say. " * 40, "date": "2021-03-04", "studio": "S", "director": "D", "rating100": 80,
        "performers": ["P1", "P2", "P3", "P4"], "groups": ["G1", "G2"], "tags": ["T1"],
    },
    "many tags": {"tags": [f"Tag {number}" for number in range(60)]},
    "many performers": {"performers": [f"Performer {number}" for number in range(40)]},
}  # fmt: skip


def several(world: World, shape: dict[str, Any]) -> list[Scene]:
    return [world.pair(f"s{number:03}", **shape)[0] for number in range(SCENES)]


def several_files(world: World) -> list[Scene]:
    scenes: list[Scene] = []
    for number in range(SCENES):
        files = [(f"/data/{number}-{part}.mp4", 100 + part) for part in (1, 2, 3)]
        scenes.append(world.stash.add_scene(title="t", files=files, tags=["T"]))
        paths = [path.replace("/data/", "/plex/") for path, _ in files]
        world.plex.add_item(world.library, paths[0], size=101, versions=paths[1:])
    return scenes


def assert_budget(world: World, *, writes: int, posters: int = 0, listings: int = 1) -> None:
    counted = plex_requests(world)
    assert counted["write"] == writes
    assert counted["poster"] == posters
    assert counted["read"] <= SCENES, "one read a scene, nothing hidden"
    assert counted["listing"] <= listings
    assert counted["other"] <= OVERHEAD


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_changed_scene_costs_one_read_and_one_write_an_unchanged_one_a_read(
    world: World, shape: dict[str, Any]
) -> None:
    scenes = several(world, shape)
    edit_all(world, scenes)
    world.run_for(5)
    assert_budget(world, writes=SCENES)
    assert 1 <= scene_reads(world) <= SCENES

    clear_logs(world)
    edit_all(world, scenes)
    world.run_for(5)

    assert_budget(world, writes=0)
    assert 1 <= scene_reads(world) <= SCENES


def test_one_query_to_stash_per_scene_and_a_few_for_the_settings(world: World) -> None:
    edit_all(world, several(world, SHAPES["full"]))

    world.run_for(5)

    assert scene_reads(world) <= SCENES
    assert stash_queries(world).total() - scene_reads(world) <= 5


def test_a_scene_gone_among_others_costs_one_query_more(world: World) -> None:
    """Stash answers for no scene at all when one of those asked for is gone."""
    scenes = several(world, {})
    edit_all(world, scenes)
    for scene in scenes[::25]:
        world.stash.library.remove_scene(scene.id)

    world.run_for(5)

    assert scene_reads(world) <= SCENES + 10
    assert plex_requests(world)["write"] == SCENES - 2


def test_scenes_of_several_files_cost_no_more(world: World) -> None:
    edit_all(world, several_files(world))

    world.run_for(5)

    assert_budget(world, writes=SCENES)
    assert 1 <= scene_reads(world) <= SCENES


def test_a_changed_poster_costs_one_upload_and_an_unchanged_one_none(world: World) -> None:
    world.set(sync_poster=True)
    scenes = several(world, {"cover": PNG})
    edit_all(world, scenes)
    world.run_for(5)
    assert_budget(world, writes=SCENES, posters=SCENES)

    clear_logs(world)
    edit_all(world, scenes, "Again {}".format)
    world.run_for(5)
    assert_budget(world, writes=SCENES)

    clear_logs(world)
    for scene in scenes:
        world.edit(scene, cover=PNG + b"another", updated_at=long_ago(world))
    world.run_for(5)
    assert_budget(world, writes=0, posters=SCENES)


def test_scenes_found_by_file_name_cost_one_more_query_once(world: World) -> None:
    world.set(path_mappings="/none => /nowhere")
    scenes = several(world, {})
    edit_all(world, scenes)
    world.run_for(5)
    assert_budget(world, writes=SCENES)
    assert stash_queries(world)["PlexSyncNamesakes"] == SCENES

    clear_logs(world)
    edit_all(world, scenes, "Again {}".format)
    world.run_for(5)
    assert_budget(world, writes=SCENES)
    assert stash_queries(world)["PlexSyncNamesakes"] == 0


def test_an_empty_item_makes_plexapi_ask_nothing_by_itself(world: World) -> None:
    """Reading an empty attribute of an item that is not whole sends a request (plexapi.base.PlexPartialObject)."""
    items: list[PlexItem | None] = [world.pair(f"s{number}")[1] for number in range(SCENES)]
    assert all(item is not None and item.studio is None and not item.genres for item in items)
    edit_all(world, world.stash.library.scenes(), lambda _: "")

    world.run_for(5)

    assert plex_requests(world)["read"] <= SCENES


def test_a_thousand_edits_of_one_scene_are_one_read_and_one_write(world: World) -> None:
    scene, _ = world.pair("a")
    for number in range(300):
        world.edit(scene, f"Title {number}", updated_at=long_ago(world))

    world.run_for(5)

    assert plex_requests(world)["read"] == 1
    assert plex_requests(world)["write"] == 1
    assert scene_reads(world) == 1


def test_edits_far_apart_refresh_the_index_without_listing_the_library(world: World) -> None:
    scenes = several(world, {})
    world.use(world.make_worker(index=FileIndex(now=world.clock.time)))
    edit_all(world, scenes)
    world.run_for(5)
    clear_logs(world)
    for number, scene in enumerate(scenes[:10]):
        world.edit(scene, f"Later {number}", updated_at=long_ago(world))
        world.run_for(300)

    counted = plex_requests(world)
    assert counted["write"] == 10
    assert counted["read"] <= 10
    assert counted["other"] + counted["listing"] <= 10 * 5


def test_a_worker_start_with_a_warm_index_sends_a_handful_of_requests(
    world: World, tmp_path: Path
) -> None:
    for old in world.plex.add_items(
        world.library, [f"/plex/other/{number}.mp4" for number in range(2_500)]
    ):
        old.updated_at -= 1_000
    scene, _ = world.pair("a")
    database = connect(str(tmp_path / "index.db"), any_thread=True)
    world.use(world.make_worker(index=FileIndex(database)))
    world.edit(scene, "Cold", updated_at=long_ago(world))
    world.run_for(5)
    assert plex_requests(world)["listing"] == 3
    world.worker.close()
    clear_logs(world)

    world.use(world.make_worker(index=FileIndex(database), catch_up=make_catch_up(world)))
    world.clock.advance(HOUR)
    world.edit(scene, "Warm", updated_at=long_ago(world))
    world.run_for(5)
    database.close()

    counted = plex_requests(world)
    assert world.title(scene) == "Warm"
    assert (counted["read"], counted["write"]) == (1, 1)
    assert counted["listing"] <= 1, "Plex's own answer to the last write may have moved its marks"
    assert counted["other"] <= 5
    assert stash_queries(world).total() <= 10


def test_a_worker_start_with_nothing_to_do_asks_plex_nothing(world: World) -> None:
    several(world, {})
    world.clock.advance(HOUR)
    world.use(world.make_worker(catch_up=make_catch_up(world)))

    world.run()

    assert len(world.plex.log) == 0
    assert stash_queries(world).total() <= 16
