"""Items that come, go, and come back under another rating key; dead letters that are taken up again, once."""

from __future__ import annotations

from typing import Any

import pytest

from plex.index import FileIndex
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene
from tests.worker.world import HOUR, World

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
PATIENCE = 2 * HOUR


@pytest.fixture(autouse=True)
def _one_clock(world: World) -> None:
    """The index's age is told by the same clock as all else."""
    world.use(world.make_worker(index=FileIndex(now=world.clock.time)))


def edit(world: World, scene: Scene, title: str, **fields: Any) -> None:
    world.edit(scene, title, **{"updated_at": world.clock.now - 100, **fields})


def synced(world: World, **fields: Any) -> tuple[Scene, PlexItem]:
    scene, item = world.pair("a", **fields)
    edit(world, scene, "First")
    world.run_for(5)
    assert item is not None
    assert item.title == "First"
    return scene, item


def given_up(world: World, name: str = "late") -> Scene:
    """A scene whose file Plex has not, and all retries of which are over."""
    scene, _ = world.pair(name, in_plex=False)
    edit(world, scene, f"New {name}")
    world.run_for(PATIENCE)
    assert scene.id in {letter["scene_id"] for letter in world.letters()}
    return scene


def done(world: World) -> int:
    counts = world.queue.counts()
    return counts["completed"] + counts["failed"]


# --- an item under another key


@pytest.mark.parametrize("minutes", [0, 2, 600])
def test_an_item_deleted_and_added_again_gets_its_fields_at_the_next_edit(
    world: World, minutes: int
) -> None:
    full: dict[str, Any] = {
        "details": "About",
        "tags": ["T"],
        "performers": ["P"],
        "studio": "S",
        "date": "2020-01-02",
    }
    scene, old = synced(world, **full)
    world.clock.advance(minutes * 60)
    new = world.plex.replace_item("/plex/a.mp4")
    assert new.rating_key != old.rating_key
    assert new.title == "a"

    edit(world, scene, "Second")
    world.run_for(120)

    assert (new.title, new.summary, new.studio, new.year) == ("Second", "About", "S", 2020)
    assert (new.genres, new.actors) == (["T"], ["P"])


def test_the_memory_of_the_old_item_empties_nothing_in_the_new_one(world: World) -> None:
    """A tag and a summary that PlexSync had written to the old item are the user's own in the new one."""
    scene, _ = synced(world, details="About", tags=["Shared", "Kept"])
    new = world.plex.replace_item("/plex/a.mp4")
    new.values["summary"] = "About"
    new.tags["genre"] = ["Shared", "Mine"]

    edit(world, scene, "Second", details="", tags=[])
    world.run_for(120)

    assert new.title == "Second"
    assert new.summary == "About"
    assert new.genres == ["Shared", "Mine"]


def test_preserving_edits_the_new_items_own_values_are_kept(world: World) -> None:
    world.set(preserve_plex_edits=True)
    scene, old = world.pair("a", details="About")
    assert old is not None
    old.values["title"] = ""
    edit(world, scene, "First")
    world.run_for(5)
    assert old.title == "First"
    new = world.plex.replace_item("/plex/a.mp4")
    new.values["title"] = "First"

    edit(world, scene, "Second")
    world.run_for(120)

    assert new.title == "First", "nobody knows that it is ours, so it is the user's"
    assert new.summary == "About"


def test_the_poster_goes_up_again_to_the_new_item(world: World) -> None:
    world.set(sync_poster=True)
    scene, _ = synced(world, cover=PNG)
    assert len(world.plex.uploads) == 1
    new = world.plex.replace_item("/plex/a.mp4")

    edit(world, scene, "Second")
    world.run_for(120)

    assert [upload.rating_key for upload in world.plex.uploads[1:]] == [new.rating_key]


def test_an_item_that_is_gone_for_a_while_is_waited_for(world: World) -> None:
    scene, old = synced(world)
    world.plex.remove_item(old.rating_key)
    edit(world, scene, "Second")
    world.run_for(10)
    assert world.waiting() == 1
    new = world.plex.add_item(world.library, "/plex/a.mp4", size=100)

    world.run_for(600)

    assert new.title == "Second"
    assert world.letters() == []


def test_a_key_that_another_file_has_now_is_not_written_to(world: World) -> None:
    """The item moved on to another file: its key is no proof of anything."""
    scene, item = synced(world)
    world.plex.move_file(item.rating_key, "/plex/quite another.mp4")
    writes = len(world.plex.writes)

    edit(world, scene, "Second")
    world.run_for(20)

    assert len(world.plex.writes) == writes
    assert item.title == "First"


def test_a_file_that_moved_in_both_places_keeps_its_item_and_its_memory(world: World) -> None:
    scene, item = synced(world, tags=["Ours"])
    item.tags["genre"] = ["Ours", "Mine"]
    world.plex.move_file(item.rating_key, "/plex/moved/a.mp4")
    world.stash.move_file(scene.id, "/data/moved/a.mp4")

    edit(world, scene, "Second", tags=[])
    world.run_for(120)

    assert item.title == "Second"
    assert item.genres == ["Mine"]


# --- dead letters


def test_a_dead_letter_is_taken_up_again_when_its_file_appears(world: World) -> None:
    scene = given_up(world)
    item = world.plex.add_item(world.library, "/plex/late.mp4", size=100)

    world.run_for(700)

    assert item.title == "New late"
    assert world.letters() == []
    assert world.synced_at(scene) is not None


def test_a_dead_letter_is_taken_up_once(world: World) -> None:
    given_up(world)
    world.plex.add_item(world.library, "/plex/late.mp4", size=100)
    before = done(world)

    world.run_for(3 * HOUR)

    assert done(world) == before + 1
    assert len(world.plex.writes) == 1


def test_without_its_file_a_dead_letter_is_not_taken_up(world: World) -> None:
    given_up(world)
    before = done(world)
    (letter,) = world.letters()
    world.plex.add_item(world.library, "/plex/some other.mp4", size=100)

    for _ in range(5):
        world.run_for(HOUR)

    assert done(world) == before
    assert [one["id"] for one in world.letters()] == [letter["id"]]


def test_a_file_of_the_same_name_and_another_size_takes_nothing_up(world: World) -> None:
    given_up(world)
    before = done(world)
    item = world.plex.add_item(world.library, "/plex/elsewhere/late.mp4", size=77)

    world.run_for(3 * HOUR)

    assert done(world) == before
    assert item.title == "late"


def test_a_scene_given_up_because_the_item_is_anothers_is_taken_up_when_its_own_file_appears(
    world: World,
) -> None:
    world.plex.add_item(world.library, "/plex/right/late.mp4", size=100)
    world.stash.add_scene(title="owner", files=[("/data/right/late.mp4", 100)])
    given_up(world)
    mine = world.plex.add_item(world.library, "/plex/late.mp4", size=100)

    world.run_for(700)

    assert mine.title == "New late"
    assert world.letters() == []


def test_a_scene_given_up_because_the_item_is_anothers_is_not_taken_up_over_and_over(
    world: World,
) -> None:
    world.plex.add_item(world.library, "/plex/right/late.mp4", size=100)
    world.stash.add_scene(title="owner", files=[("/data/right/late.mp4", 100)])
    given_up(world)
    before = done(world)
    (letter,) = world.letters()

    for _ in range(4):
        world.run_for(PATIENCE)

    assert done(world) == before
    assert [one["id"] for one in world.letters()] == [letter["id"]]
    assert world.plex.writes == []


def test_a_scene_that_became_ambiguous_when_its_file_appeared_twice_is_told_once(
    world: World,
) -> None:
    given_up(world)
    for folder in ("one", "two"):
        world.plex.add_item(world.library, f"/plex/{folder}/late.mp4", size=100)

    world.run_for(4 * HOUR)

    (letter,) = world.letters()
    assert letter["error_type"] == "AmbiguousMatch"
    assert len(world.notices()) == 1
    assert world.plex.writes == []


def test_the_scene_destroyed_meanwhile_its_letter_goes_when_the_file_appears(world: World) -> None:
    scene = given_up(world)
    world.stash.library.remove_scene(scene.id)
    world.plex.add_item(world.library, "/plex/late.mp4", size=100)

    world.run_for(700)

    assert world.letters() == []
    assert world.plex.writes == []


def test_a_file_renamed_in_stash_is_looked_for_under_its_new_name_at_the_next_edit(
    world: World,
) -> None:
    scene = given_up(world)
    item = world.plex.add_item(world.library, "/plex/renamed.mp4", size=100)
    world.stash.move_file(scene.id, "/data/renamed.mp4")
    edit(world, scene, "By its new name")

    world.run_for(60)

    assert item.title == "By its new name"
    assert world.letters() == []


def test_a_mapping_that_is_corrected_takes_its_dead_letters_up_by_itself(world: World) -> None:
    world.set(path_mappings="/data => /wrong")
    scene = given_up(world, "same")
    world.plex.add_item(world.library, "/plex/same.mp4", size=55)
    world.run_for(700)
    assert world.synced_at(scene) is None

    world.set()
    world.clock.advance(HOUR)
    other, _ = world.pair("other")
    edit(world, other, "So that the settings are read")
    world.run_for(1300)

    assert world.title(scene) == "New same"
    assert world.letters() == []


def test_after_a_restart_the_letters_are_looked_through_at_once(world: World) -> None:
    scene = given_up(world)
    world.plex.add_item(world.library, "/plex/late.mp4", size=100)
    world.worker.close()
    world.use(world.make_worker(index=FileIndex(now=world.clock.time)))

    world.run_for(5)

    assert world.title(scene) == "New late"


def test_a_busy_worker_finds_time_for_its_dead_letters(world: World) -> None:
    scene = given_up(world)
    world.plex.add_item(world.library, "/plex/late.mp4", size=100)
    for number in range(30):
        other, _ = world.pair(f"busy{number}")
        world.clock.after(number * 40, lambda other=other: edit(world, other, "Busy"))  # type: ignore[misc]

    world.run_for(1_250)

    assert world.title(scene) == "New late"
