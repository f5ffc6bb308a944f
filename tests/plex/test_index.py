"""The index of Plex's files: complete after every change, and cheap when there was none."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.sqlite import IN_MEMORY, connect
from plex.client import PAGE
from plex.exceptions import PlexTemporaryError
from plex.index import FileIndex
from plex.paths import normalize
from tests.plex.support import Clock, World, open_index
from tests.simulators.httpd import Answer, Reset
from tests.simulators.plex import PlexLibrary, PlexSimulator


def truth(plex: PlexSimulator, *libraries: PlexLibrary) -> set[tuple[int, str, int]]:
    """What Plex has: (rating key, path, size) of every part."""
    return {
        (item.rating_key, part.file, part.size)
        for library in libraries
        for item in plex.items(library)
        for part in item.parts
    }


def known(
    index: FileIndex, plex: PlexSimulator, *libraries: PlexLibrary
) -> set[tuple[int, str, int | None]]:
    """What the index says of the paths that Plex has."""
    keys = [library.key for library in libraries]
    paths = {path for _, path, _ in truth(plex, *libraries)}
    return {
        (one.rating_key, one.path, one.size)
        for path in paths
        for one in index.by_path(normalize(path), keys)
    }


def fill(world: World, count: int, folder: str = "/media/many") -> None:
    """Items that Plex found over a while, fifty a second."""
    for start in range(0, count, 50):
        numbers = range(start, min(count, start + 50))
        world.plex.add_items(world.scenes, [f"{folder}/{number:05d}.mp4" for number in numbers])
        world.clock.tick(1)


def assert_complete(world: World) -> None:
    assert known(world.index, world.plex, world.scenes) == truth(world.plex, world.scenes)
    assert world.index.count() == len(truth(world.plex, world.scenes))


# --- building -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2000])
def test_a_library_of_any_size_is_listed_whole(world: World, count: int) -> None:
    fill(world, count)
    world.refresh()
    assert_complete(world)
    pages = world.plex.log.count("GET", "/library/sections/1/all")
    assert pages == max(1, -(-count // PAGE))


@pytest.mark.parametrize(("count", "page"), [(10, 3), (9, 3), (25, 7), (1005, 400)])
def test_pages_that_hold_fewer_items_than_asked_for_lose_none(
    world: World, count: int, page: int
) -> None:
    world.plex.settings.max_page = page
    fill(world, count)
    world.refresh()
    assert_complete(world)


def test_twenty_thousand_items_are_listed_in_pages(world: World) -> None:
    fill(world, 20_000)
    world.refresh()
    assert world.index.count() == 20_000
    assert world.plex.log.count("GET", "/library/sections/1/all") == 20
    sizes = {
        one.request.headers.get("X-Plex-Container-Size")
        for one in world.plex.log.matching("GET", r".*/all")
    }
    assert sizes == {"1000"}
    assert [one.path for one in world.index.by_name("12345.MP4", [1])] == ["/media/many/12345.mp4"]
    world.plex.log.clear()
    world.clock.tick()
    world.plex.add_item(world.scenes, "/media/new.mp4")
    assert world.refresh()
    assert world.index.by_path("/media/new.mp4", [1])
    assert len(world.plex.log) == 2


def test_every_part_of_every_version_is_known(world: World) -> None:
    item = world.plex.add_item(
        world.scenes, "/media/CD1.avi", parts=["/media/CD2.avi"], versions=["/media/4k.mkv"]
    )
    world.refresh()
    for path in ("/media/CD1.avi", "/media/CD2.avi", "/media/4k.mkv"):
        assert [one.rating_key for one in world.index.by_path(path, [1])] == [item.rating_key]


def test_no_request_is_made_for_a_single_item(world: World) -> None:
    fill(world, 50)
    world.refresh()
    assert world.plex.log.count("GET", "/library/metadata") == 0


def test_an_item_without_a_file_costs_no_full_listing_at_every_change(world: World) -> None:
    fill(world, 2500)
    world.plex.add_item(world.scenes, "/media/ghost.mp4").parts[0].file = ""
    world.refresh()
    world.plex.log.clear()
    world.clock.tick()
    world.plex.add_item(world.scenes, "/media/new.mp4")
    world.refresh()
    assert len(world.plex.log) <= 3


def test_only_the_sections_asked_for_are_searched(world: World) -> None:
    other = world.plex.add_library("Other", ["/other"])
    world.plex.add_item(world.scenes, "/media/a.mp4")
    world.plex.add_item(other, "/other/a.mp4")
    world.refresh()
    assert len(world.index.by_name("a.mp4", [world.scenes.key, other.key])) == 2
    assert [one.path for one in world.index.by_name("a.mp4", [other.key])] == ["/other/a.mp4"]
    assert world.index.by_name("a.mp4", []) == []
    assert world.index.knows([world.scenes.key, other.key])
    assert not world.index.knows([world.scenes.key, 99])


# --- staying up to date -------------------------------------------------------------------------------------


def test_nothing_changed_is_one_request(world: World) -> None:
    fill(world, 30)
    world.refresh()
    world.plex.log.clear()
    assert not world.refresh()
    assert [one.request.path for one in world.plex.log.all()] == ["/library/sections"]


CHANGES = [
    "add",
    "edit",
    "move",
    "remove",
    "replace",
    "many",
    "add and remove",
    "move and remove",
    "swap",
]


def _change(world: World, kind: str) -> None:
    plex, library = world.plex, world.scenes
    items = plex.items(library)
    if kind in ("add", "add and remove"):
        plex.add_item(library, "/media/new/new.mp4", size=77)
    if kind == "edit":
        plex.add_item(library, "/media/x.mp4")
        plex.refresh_item(items[3].rating_key)
    if kind in ("move", "move and remove"):
        plex.move_file(items[4].rating_key, "/media/moved/4.mp4")
    if kind in ("remove", "add and remove", "move and remove"):
        plex.remove_item(items[5].rating_key)
    if kind == "replace":
        plex.replace_item(items[6].path)
    if kind == "many":
        plex.add_items(library, [f"/media/more/{number}.mp4" for number in range(250)])
        for item in items[10:20]:
            plex.remove_item(item.rating_key)
    if kind == "swap":
        one, other = items[7], items[8]
        first, second = one.path, other.path
        plex.move_file(one.rating_key, "/media/aside.mp4")
        plex.move_file(other.rating_key, first)
        plex.move_file(one.rating_key, second)


@pytest.mark.parametrize("later", [0.0, 10.0], ids=["same second", "later"])
@pytest.mark.parametrize("kind", CHANGES)
def test_after_any_change_the_index_is_complete(world: World, kind: str, later: float) -> None:
    fill(world, 40)
    world.refresh()
    before = {path for _, path, _ in truth(world.plex, world.scenes)}
    world.clock.tick(later)
    _change(world, kind)
    assert world.refresh()
    assert_complete(world)
    gone = before - {path for _, path, _ in truth(world.plex, world.scenes)}
    assert not [path for path in gone if world.index.by_path(path, [world.scenes.key])]
    assert not world.refresh()


def test_a_few_changes_in_a_large_library_cost_few_requests(world: World) -> None:
    fill(world, 5000)
    world.refresh()
    world.plex.log.clear()
    for number in range(3):
        world.clock.tick()
        world.plex.add_item(world.scenes, f"/media/new/{number}.mp4")
        world.refresh()
    assert len(world.plex.log) == 6
    assert_complete(world)


def test_a_change_in_one_library_costs_the_other_nothing(world: World) -> None:
    other = world.plex.add_library("Other", ["/other"])
    world.plex.add_item(other, "/other/a.mp4")
    fill(world, 5)
    world.refresh()
    world.plex.log.clear()
    world.clock.tick()
    world.plex.add_item(world.scenes, "/media/new.mp4")
    world.refresh()
    assert world.plex.log.count("GET", f"/library/sections/{other.key}/all") == 0


def test_an_item_that_was_forgotten_comes_back_with_the_next_refresh(world: World) -> None:
    """Whoever drops an item by mistake must not lose it for ever."""
    fill(world, 5)
    world.refresh()
    world.index.forget(world.plex.items(world.scenes)[2].rating_key)
    world.refresh()
    assert_complete(world)


def test_an_index_is_stale_after_the_clock_was_set_back(world: World, clock: Clock) -> None:
    """Whoever asks for its age must not take the time that was lost for freshness."""
    connection = connect(IN_MEMORY)
    index = FileIndex(connection, now=clock)
    index.refresh(world.client, world.section_ids)
    assert index.age() == 0
    clock.tick(-3600)
    assert not index.age() < 0
    connection.close()


def test_a_listing_that_broke_off_leaves_no_ghosts(world: World) -> None:
    fill(world, 2500)
    gone = world.plex.items(world.scenes)[10]
    rule = world.plex.faults.add(
        Answer(503),
        path="/library/sections/1/all",
        when=lambda request: request.headers.get("X-Plex-Container-Start") == "1000",
    )
    with pytest.raises(PlexTemporaryError):
        world.refresh()
    rule.remove()
    world.plex.remove_item(gone.rating_key)
    world.refresh()
    assert world.index.by_path(gone.path, [1]) == []
    assert_complete(world)


def test_a_refresh_that_breaks_off_is_made_up_for(world: World) -> None:
    fill(world, 20)
    world.refresh()
    world.clock.tick()
    _change(world, "move and remove")
    rule = world.plex.faults.add(Reset(), path="/library/sections/1/all")
    with pytest.raises(PlexTemporaryError):
        world.refresh()
    rule.remove()
    world.refresh()
    assert_complete(world)


def test_a_listing_that_ends_early_is_no_complete_one(world: World) -> None:
    fill(world, 20)
    world.refresh()
    world.clock.tick()
    _change(world, "replace")
    body = b'<MediaContainer size="0" totalSize="20" offset="0"/>'
    rule = world.plex.faults.add(Answer(200, body), path="/library/sections/1/all")
    with pytest.raises(PlexTemporaryError):
        world.refresh()
    rule.remove()
    world.refresh()
    assert_complete(world)


def test_items_that_go_while_the_pages_are_read_are_made_up_for(world: World) -> None:
    fill(world, 3000)
    first = world.plex.items(world.scenes)[0]

    def remove_one(request: object) -> bool:
        if (
            first.rating_key in world.scenes.items
            and world.plex.log.count("GET", "/library/sections/1/all") == 2
        ):
            world.plex.remove_item(first.rating_key)
        return False

    world.plex.faults.add(Answer(500), path="/library/sections/1/all", when=remove_one)
    world.refresh()
    world.refresh()
    assert_complete(world)


# --- on disk ------------------------------------------------------------------------------------------------


def test_an_index_on_disk_is_as_warm_after_a_restart(world: World, tmp_path: Path) -> None:
    fill(world, 30)
    with open_index(tmp_path / "index.db") as index:
        index.refresh(world.client, world.section_ids)
    world.plex.log.clear()
    with open_index(tmp_path / "index.db") as index:
        assert index.knows(world.section_ids)
        assert index.count() == 30
        assert not index.refresh(world.client, world.section_ids)
        assert len(world.plex.log) == 1
        world.clock.tick()
        _change(world, "add and remove")
        index.refresh(world.client, world.section_ids)
        assert known(index, world.plex, world.scenes) == truth(world.plex, world.scenes)
        assert index.count() == 30
