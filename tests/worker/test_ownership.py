"""Whose is an item? Several scenes with files of one item, or with its path; choices; copies."""

from __future__ import annotations

from typing import Any

import pytest

from history.records import Choice, Status
from tests.harness.in_process import WorkerHarness
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene

SOON = 30.0


def scene_at(harness: WorkerHarness, *paths: str, size: int = 100, **fields: Any) -> Scene:
    files = [(path, size) for path in paths]
    return harness.stash.add_scene(**{"title": f"Title of {paths[0]}", "files": files, **fields})


def stacked(harness: WorkerHarness) -> tuple[PlexItem, Scene, Scene]:
    """Return an item of two parts, and a scene for each."""
    item = harness.plex.add_item(
        harness.library, "/media/part1.mp4", parts=["/media/part2.mp4"], size=100
    )
    return item, scene_at(harness, "/data/part1.mp4"), scene_at(harness, "/data/part2.mp4")


def save(harness: WorkerHarness, *scenes: Scene, title: str = "New {}") -> None:
    for scene in scenes:
        harness.edit(scene, title.format(scene.id))
        harness.run_for(SOON)


def status(harness: WorkerHarness, scene: Scene) -> Status:
    (row,) = {row.status for row in harness.worker.history.of_scene(scene.id)}
    return row


def choose(harness: WorkerHarness, scene: Scene, *items: PlexItem) -> None:
    server = harness.plex.machine_identifier
    chosen = [
        {"rating_key": item.rating_key, "server": server, "path": item.path} for item in items
    ]
    harness.command("choose", scene_id=scene.id, items=chosen)
    harness.run_for(SOON)


# --- one item, several scenes


def test_an_item_with_files_of_two_scenes_is_left_alone(harness: WorkerHarness) -> None:
    item, one, two = stacked(harness)
    save(harness, one, two)
    assert harness.plex.writes == []
    assert (status(harness, one), status(harness, two)) == (Status.AMBIGUOUS, Status.AMBIGUOUS)
    messages = [letter["error_message"] for letter in harness.letters()]
    for text in (f"scene {one.id} /data/part1", f"scene {two.id} /data/part2"):
        assert any(text.casefold() in message.casefold() for message in messages), messages
    assert item.title == "part1"


def test_items_that_were_merged_just_now_are_left_alone(harness: WorkerHarness) -> None:
    """Before any look at what has changed in Plex: what is read for the write tells."""
    items = [harness.add_item(name) for name in ("part1", "part2", "other")]
    one = scene_at(harness, "/data/part1.mp4")
    scene_at(harness, "/data/part2.mp4")
    save(harness, scene_at(harness, "/data/other.mp4"))  # the index is read
    writes = len(harness.plex.writes)
    harness.plex.merge_items(items[0].rating_key, [items[1].rating_key])
    save(harness, one)
    assert len(harness.plex.writes) == writes == 1
    assert status(harness, one) is Status.AMBIGUOUS


def test_the_scene_that_has_the_item_keeps_it(harness: WorkerHarness) -> None:
    item = harness.add_item("part1")
    one, two = scene_at(harness, "/data/part1.mp4"), scene_at(harness, "/data/part2.mp4")
    save(harness, one)
    harness.plex.remove_item(item.rating_key)
    item = harness.plex.add_item(
        harness.library, "/media/part1.mp4", versions=["/media/part2.mp4"],
        rating_key=item.rating_key, size=100,
    )  # fmt: skip
    harness.clock.advance(60)
    save(harness, two)
    assert status(harness, two) is Status.AMBIGUOUS
    save(harness, one, title="Mine {}")
    assert item.title == f"Mine {one.id}"


def test_scenes_that_both_wrote_the_item_wait_for_the_user(harness: WorkerHarness) -> None:
    """As version 0.1 left them."""
    item, one, two = stacked(harness)
    choose(harness, one, item)
    choose(harness, two, item)
    save(harness, one, two)
    assert item.title == f"New {two.id}"
    for scene in (one, two):
        harness.worker.history.choose(scene.id, ())
    writes = len(harness.plex.writes)
    save(harness, one, two, title="Again {}")
    assert len(harness.plex.writes) == writes
    assert (status(harness, one), status(harness, two)) == (Status.AMBIGUOUS, Status.AMBIGUOUS)


def test_a_choice_for_one_scene_settles_it_for_the_others(harness: WorkerHarness) -> None:
    item, one, two = stacked(harness)
    save(harness, one, two)
    choose(harness, one, item)
    save(harness, one)
    assert item.title == f"New {one.id}"
    assert status(harness, two) is Status.NOT_IN_PLEX
    save(harness, two, title="Never {}")
    assert item.title == f"New {one.id}"


def test_an_ignored_scene_is_no_rival(harness: WorkerHarness) -> None:
    item, one, two = stacked(harness)
    save(harness, one)
    assert status(harness, one) is Status.AMBIGUOUS
    harness.command("ignore", scene_id=two.id)
    harness.run_for(SOON)
    assert item.title == f"New {one.id}", "it is tried again by itself"


def test_an_ignored_scene_stays_ignored_when_another_takes_its_item(
    harness: WorkerHarness,
) -> None:
    item = harness.add_item("x/clip")
    first, second = scene_at(harness, "/data/x/clip.mp4"), scene_at(harness, "/data/y/clip.mp4")
    save(harness, first)
    harness.command("ignore", scene_id=first.id)
    save(harness, second, first)
    assert item.title == f"New {second.id}"
    assert status(harness, first) is Status.IGNORED


def test_a_scene_that_a_setting_leaves_out_is_no_rival(harness: WorkerHarness) -> None:
    harness.configure(only_organized=True)
    item, one, _ = stacked(harness)
    harness.edit(one, "Organized", organized=True)
    harness.run_for(SOON)
    assert item.title == "Organized"


def test_a_file_that_plex_converted_is_no_rival(harness: WorkerHarness) -> None:
    item = harness.plex.add_item(
        harness.library, "/media/a.mp4", versions=["/media/Plex Versions/TV/a.mp4"], size=100
    )
    scene = scene_at(harness, "/data/a.mp4")
    converted = scene_at(harness, "/data/Plex Versions/TV/a.mp4")
    save(harness, scene, converted)
    assert item.title == f"New {scene.id}"
    assert status(harness, converted) is Status.NOT_IN_PLEX


def test_of_two_scenes_at_one_path_the_one_with_the_size_has_the_item(
    harness: WorkerHarness,
) -> None:
    harness.configure(path_mappings="/disk1 => /media; /disk2 => /media")
    item = harness.plex.add_item(harness.library, "/media/clip.mp4", size=111)
    right = scene_at(harness, "/disk1/clip.mp4", size=111)
    wrong = scene_at(harness, "/disk2/clip.mp4", size=222_222)
    save(harness, wrong)
    assert harness.plex.writes == []
    save(harness, right, wrong)
    assert item.title == f"New {right.id}"
    assert status(harness, wrong) is Status.NOT_IN_PLEX


def test_two_scenes_of_one_size_at_one_path_are_ambiguous(harness: WorkerHarness) -> None:
    harness.configure(path_mappings="/disk1 => /media; /disk2 => /media")
    harness.plex.add_item(harness.library, "/media/clip.mp4", size=100)
    one, two = scene_at(harness, "/disk1/clip.mp4"), scene_at(harness, "/disk2/clip.mp4")
    save(harness, one, two)
    assert harness.plex.writes == []


def test_two_scenes_of_one_size_are_ambiguous_though_one_path_needs_no_mapping(
    harness: WorkerHarness,
) -> None:
    unmapped, mapped, item = mapped_and_unmapped(harness)
    save(harness, unmapped, mapped)
    assert harness.plex.writes == []
    assert (status(harness, unmapped), status(harness, mapped)) == (Status.AMBIGUOUS,) * 2
    harness.command("ignore", scene_id=mapped.id)
    harness.run_for(SOON)
    assert item.title == f"New {unmapped.id}"


def test_a_path_that_needs_no_mapping_goes_first_if_it_has_the_size(
    harness: WorkerHarness,
) -> None:
    unmapped, mapped, item = mapped_and_unmapped(harness, size=222)
    save(harness, mapped)
    assert harness.plex.writes == []
    save(harness, unmapped, mapped)
    assert item.title == f"New {unmapped.id}"
    assert status(harness, mapped) is Status.NOT_IN_PLEX


def mapped_and_unmapped(harness: WorkerHarness, size: int = 100) -> tuple[Scene, Scene, PlexItem]:
    """Return a scene with an item's own path, one whose path is mapped to it, and the item.

    Args:
        size: of the second scene's file.
    """
    harness.configure(path_mappings="/alias => /media")
    harness.stash.library.folders = ["/media", "/alias"]
    item = harness.plex.add_item(harness.library, "/media/x.mp4", size=100)
    mapped = scene_at(harness, "/alias/x.mp4", size=size)
    return scene_at(harness, "/media/x.mp4"), mapped, item


def test_alone_the_path_decides_whatever_the_size(harness: WorkerHarness) -> None:
    item = harness.plex.add_item(harness.library, "/media/clip.mp4", size=111)
    scene = scene_at(harness, "/data/clip.mp4", size=222)
    save(harness, scene)
    assert item.title == f"New {scene.id}"


def test_how_well_another_scene_fits_a_copy_elsewhere_does_not_count(
    harness: WorkerHarness,
) -> None:
    both = harness.plex.add_item(harness.library, "/media/1.mp4", parts=["/media/2.mp4"], size=100)
    again = harness.plex.add_library("Again", ["/media"])
    copy = harness.plex.add_item(again, "/media/2.mp4", size=222)
    one, two = scene_at(harness, "/data/1.mp4"), scene_at(harness, "/data/2.mp4", size=222)
    save(harness, one, two)
    assert (both.title, copy.title) == (f"New {one.id}", "2")
    assert status(harness, two) is Status.AMBIGUOUS


def test_a_scene_that_goes_elsewhere_by_its_first_file_is_no_rival(harness: WorkerHarness) -> None:
    first = harness.add_item("first")
    both = harness.plex.add_item(
        harness.library, "/media/second.mp4", parts=["/media/third.mp4"], size=100
    )
    merged = scene_at(harness, "/data/first.mp4", "/data/third.mp4")
    second = scene_at(harness, "/data/second.mp4")
    save(harness, second, merged)
    assert (first.title, both.title) == (f"New {merged.id}", f"New {second.id}")


# --- several items for one scene


def test_the_item_of_the_first_file_is_written_and_the_other_is_told_about(
    harness: WorkerHarness,
) -> None:
    first, second = harness.add_item("first"), harness.add_item("second")
    scene = scene_at(harness, "/data/first.mp4", "/data/second.mp4")
    save(harness, scene)
    assert (first.title, second.title) == (f"New {scene.id}", "second")
    (line,) = [text for _, text in harness.notices() if "/media/second.mp4" in text]
    assert f"Scene {scene.id}" in line
    save(harness, scene, title="Again {}")
    assert not [text for _, text in harness.notices() if "/media/second.mp4" in text], "told once"


def test_a_file_in_two_libraries_waits_for_the_user(harness: WorkerHarness) -> None:
    items, scene = copies(harness)
    save(harness, scene)
    assert [item.title for item in items] == ["a", "a"]
    (letter,) = harness.letters()
    for name in ("Scenes", "Again"):
        assert name in letter["error_message"]


def test_with_the_setting_all_copies_are_written(harness: WorkerHarness) -> None:
    harness.configure(write_all_copies=True)
    items, scene = copies(harness)
    save(harness, scene)
    assert [item.title for item in items] == [f"New {scene.id}"] * 2


def test_copies_with_files_of_two_scenes_are_left_alone(harness: WorkerHarness) -> None:
    harness.configure(write_all_copies=True)
    items = in_two_libraries(harness, "/media/1.mp4", "/media/2.mp4")
    one, two = scene_at(harness, "/data/1.mp4"), scene_at(harness, "/data/2.mp4")
    save(harness, one, two)
    assert harness.plex.writes == []
    assert (status(harness, one), status(harness, two)) == (Status.AMBIGUOUS, Status.AMBIGUOUS)
    for letter in harness.letters():
        keys = [candidate["rating_key"] for candidate in letter["details"]["candidates"]]
        assert keys == letter["details"]["keys"] == [item.rating_key for item in items]


def test_copies_at_a_path_of_two_scenes_are_left_alone(harness: WorkerHarness) -> None:
    harness.configure(write_all_copies=True, path_mappings="/disk1 => /media; /disk2 => /media")
    in_two_libraries(harness, "/media/a.mp4")
    save(harness, scene_at(harness, "/disk1/a.mp4"), scene_at(harness, "/disk2/a.mp4"))
    assert harness.plex.writes == []


def test_if_one_copy_may_be_another_scenes_none_is_written(harness: WorkerHarness) -> None:
    harness.configure(write_all_copies=True)
    items, scene = copies(harness)
    harness.plex.add_version(items[1].rating_key, "/media/b.mp4", size=100)
    other = scene_at(harness, "/data/b.mp4")
    save(harness, scene)
    assert harness.plex.writes == []
    choose(harness, other, items[1])
    save(harness, other, scene)
    assert [item.title for item in items] == [f"New {scene.id}", f"New {other.id}"]


def test_the_scene_that_has_the_copies_keeps_them(harness: WorkerHarness) -> None:
    harness.configure(write_all_copies=True)
    items, scene = copies(harness)
    save(harness, scene)
    for item in items:
        harness.plex.add_version(item.rating_key, "/media/b.mp4", size=100)
    harness.clock.advance(90)
    newcomer = scene_at(harness, "/data/b.mp4")
    save(harness, newcomer, scene)
    assert [item.title for item in items] == [f"New {scene.id}"] * 2
    assert status(harness, newcomer) is Status.AMBIGUOUS


def test_a_copy_that_you_chose_for_another_scene_is_that_scenes(harness: WorkerHarness) -> None:
    harness.configure(write_all_copies=True)
    items, scene = copies(harness)
    save(harness, scene)
    other = scene_at(harness, "/data/other.mp4")
    choose(harness, other, items[1])
    save(harness, other, scene, title="Later {}")
    assert [item.title for item in items] == [f"Later {scene.id}", f"Later {other.id}"]
    choose(harness, other, *items)
    writes = len(harness.plex.writes)
    save(harness, scene, title="Never {}")
    assert len(harness.plex.writes) == writes
    assert status(harness, scene) is Status.NOT_IN_PLEX


def test_the_setting_is_about_one_file_not_about_one_name(harness: WorkerHarness) -> None:
    harness.configure(write_all_copies=True)
    harness.add_item("x/a")
    harness.plex.add_item(harness.plex.add_library("Again", ["/again"]), "/again/y/a.mp4", size=100)
    save(harness, scene_at(harness, "/data/z/a.mp4"))
    assert harness.plex.writes == []


def copies(harness: WorkerHarness) -> tuple[list[PlexItem], Scene]:
    """Return the items of one file in two libraries, and its scene."""
    return in_two_libraries(harness, "/media/a.mp4"), scene_at(harness, "/data/a.mp4")


def in_two_libraries(harness: WorkerHarness, path: str, *parts: str) -> list[PlexItem]:
    """Add an item with these files to two libraries."""
    again = harness.plex.add_library("Again", ["/media"])
    libraries = (harness.library, again)
    return [harness.plex.add_item(one, path, parts=parts, size=100) for one in libraries]


def test_libraries_of_one_name_are_all_looked_in_and_told_apart(harness: WorkerHarness) -> None:
    harness.configure(plex_libraries="scenes")
    other = harness.plex.add_library("Scenes", ["/other"])
    item = harness.plex.add_item(other, "/other/x/y/only.mp4", size=100)
    save(harness, scene_at(harness, "/data/x/y/only.mp4"))
    assert item.title != "only"
    items = [harness.plex.add_item(one, path, size=100) for one, path in (
        (harness.library, "/media/p/1.mp4"), (other, "/other/q/1.mp4"))]  # fmt: skip
    save(harness, scene_at(harness, "/data/r/1.mp4"))
    assert [item.title for item in items] == ["1", "1"]
    (letter,) = harness.letters()
    assert "'Scenes (/media)'" in letter["error_message"]
    assert "'Scenes (/other)'" in letter["error_message"]
    harness.configure(plex_libraries="Scenes (/other)")
    harness.clock.advance(60)
    items.append(harness.plex.add_item(other, "/other/q/2.mp4", size=7))
    save(harness, scene_at(harness, "/data/s/2.mp4", size=7))
    assert items[2].title != "2"


def test_more_candidates_than_a_message_names_can_all_be_chosen(harness: WorkerHarness) -> None:
    items = [harness.add_item(f"{number}/clip") for number in range(150)]
    scene = scene_at(harness, "/data/x/clip.mp4")
    save(harness, scene)
    (letter,) = harness.letters()
    assert "150 items" in letter["error_message"] and len(letter["error_message"]) < 2_000
    assert len(letter["details"]["candidates"]) == 150
    choose(harness, scene, items[149])
    save(harness, scene)
    assert items[149].title == f"New {scene.id}"


# --- choices


def test_when_the_chosen_item_is_gone_the_other_one_is_never_written(
    harness: WorkerHarness,
) -> None:
    chosen, rejected = harness.add_item("x/clip"), harness.add_item("y/clip")
    scene = scene_at(harness, "/data/z/clip.mp4")
    choose(harness, scene, chosen)
    save(harness, scene)
    assert chosen.title == f"New {scene.id}"
    harness.plex.remove_item(chosen.rating_key)
    harness.clock.advance(60)
    save(harness, scene, title="Later {}")
    assert rejected.title == "clip"
    assert status(harness, scene) is Status.AMBIGUOUS


def test_a_choice_holds_though_a_better_item_comes(harness: WorkerHarness) -> None:
    chosen = harness.add_item("x/clip")
    scene = scene_at(harness, "/data/z/clip.mp4")
    choose(harness, scene, chosen)
    better = harness.add_item("z/clip")
    save(harness, scene)
    assert (chosen.title, better.title) == (f"New {scene.id}", "clip")


def test_a_choice_ends_when_its_item_has_another_file(harness: WorkerHarness) -> None:
    chosen = harness.add_item("x/clip")
    scene = scene_at(harness, "/data/z/clip.mp4")
    choose(harness, scene, chosen)
    harness.plex.move_file(chosen.rating_key, "/media/x/another.mp4")
    harness.clock.advance(60)
    save(harness, scene)
    assert harness.plex.writes == []


@pytest.mark.parametrize("server", ["another", ""])
def test_a_choice_for_another_server_does_not_count(harness: WorkerHarness, server: str) -> None:
    one, two = harness.add_item("x/clip"), harness.add_item("y/clip")
    scene = scene_at(harness, "/data/z/clip.mp4")
    choice = Choice(scene.id, server, one.rating_key, one.path)
    harness.worker.history.choose(scene.id, [choice])
    save(harness, scene)
    assert (one.title, two.title) == ("clip", "clip")


def both_chosen(harness: WorkerHarness) -> tuple[Scene, PlexItem, PlexItem]:
    """Return a scene and its items in two libraries, both of which the user chose."""
    other = harness.plex.add_library("Other", ["/media"])
    harness.configure(plex_libraries="Scenes, Other")
    scene, one = harness.pair("clip")
    two = harness.plex.add_item(other, one.path, size=100)
    choose(harness, scene, one, two)
    save(harness, scene)
    assert one.title == two.title == f"New {scene.id}"
    return scene, one, two


def test_when_one_of_two_chosen_items_is_gone_the_user_is_asked(harness: WorkerHarness) -> None:
    """It was added again as a new item, which the user did not choose."""
    scene, one, two = both_chosen(harness)
    new = harness.plex.replace_item(one.path)
    assert new.rating_key != one.rating_key
    harness.clock.advance(60)
    save(harness, scene, title="Later {}")
    assert (new.title, two.title) == ("clip", f"New {scene.id}")
    assert Status.AMBIGUOUS in {row.status for row in harness.worker.history.of_scene(scene.id)}
    (letter,) = harness.letters()
    assert f"the item chosen for it ({one.rating_key}) is gone" in letter["error_message"]
    choose(harness, scene, new, two)
    save(harness, scene, title="Last {}")
    assert new.title == two.title == f"Last {scene.id}"


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_chosen_item_in_a_library_that_is_not_synced_does_not_count(
    harness: WorkerHarness, is_gone: bool
) -> None:
    scene, one, two = both_chosen(harness)
    harness.configure(plex_libraries="Scenes")
    if is_gone:
        harness.plex.remove_item(two.rating_key)
    harness.clock.advance(60)
    harness.restart()
    save(harness, scene, title="Later {}")
    assert (one.title, two.title) == (f"Later {scene.id}", f"New {scene.id}")
    assert harness.letters() == []


def test_a_rejected_item_is_not_written_though_the_chosen_library_is_not_synced(
    harness: WorkerHarness,
) -> None:
    scene, one, two = both_chosen(harness)
    choose(harness, scene, two)
    harness.configure(plex_libraries="Scenes")
    harness.restart()
    save(harness, scene, title="Later {}")
    assert one.title == two.title == f"New {scene.id}"
    (letter,) = harness.letters()
    assert "is in a library that is not synced; choose again" in letter["error_message"]


# --- choices, and ignored scenes, whose id another scene got


def other_scene(harness: WorkerHarness, scene: Scene, path: str = "/data/q.mp4") -> Scene:
    """Delete a scene, and return another one that gets its id, as after a restore of Stash."""
    harness.clock.advance(60)
    harness.stash.delete_silently(scene.id)
    again = scene_at(harness, path, scene_id=scene.id)
    assert again.created_at != scene.created_at
    return again


def chosen_of_two(harness: WorkerHarness, name: str = "clip") -> tuple[Scene, PlexItem]:
    """Return a scene, and the one of two items that the user chose for it and that it has."""
    item, _ = (harness.add_item(f"{folder}/{name}") for folder in ("x", "y"))
    scene = scene_at(harness, f"/data/z/{name}.mp4")
    choose(harness, scene, item)
    save(harness, scene)
    assert item.title == f"New {scene.id}"
    return scene, item


def test_a_choice_does_not_count_for_another_scene_that_got_the_id(harness: WorkerHarness) -> None:
    scene, item = chosen_of_two(harness)
    right = harness.add_item("q")
    save(harness, other_scene(harness, scene), title="Another {}")
    assert (item.title, right.title) == (f"New {scene.id}", f"Another {scene.id}")


def test_a_choice_is_kept_until_its_scene_has_its_id_again(harness: WorkerHarness) -> None:
    """Stash was restored to an older state, and then to the newer one."""
    scene, item = chosen_of_two(harness)
    harness.add_item("q")
    save(harness, other_scene(harness, scene), title="Another {}")
    (choice,) = harness.worker.history.choices(scene.id)
    assert choice.missing_since is not None, "it is forgotten like that of a scene that is gone"
    harness.stash.delete_silently(scene.id)
    back = scene_at(harness, "/data/z/clip.mp4", scene_id=scene.id, created_at=scene.created_at)
    save(harness, back, title="Back {}")
    assert item.title == f"Back {scene.id}"
    (choice,) = harness.worker.history.choices(scene.id)
    assert choice.missing_since is None


def test_an_item_is_free_again_when_another_scene_got_the_id_of_its_own(
    harness: WorkerHarness,
) -> None:
    scene, item = chosen_of_two(harness)
    save(harness, other_scene(harness, scene))
    third = scene_at(harness, "/data/x/clip.mp4")
    save(harness, third)
    assert item.title == f"New {third.id}"


def test_a_choice_that_names_no_scene_gets_it_when_it_is_used(harness: WorkerHarness) -> None:
    """Such as one that was made before PlexSync noted the scene."""
    item = harness.add_item("x/clip")
    scene = scene_at(harness, "/data/z/clip.mp4")
    server = harness.plex.machine_identifier
    harness.worker.history.choose(scene.id, [Choice(scene.id, server, item.rating_key, item.path)])
    save(harness, scene)
    assert item.title == f"New {scene.id}"
    (choice,) = harness.worker.history.choices(scene.id)
    assert choice.created_at == scene.created_at


def test_ignore_does_not_count_for_another_scene_that_got_the_id(harness: WorkerHarness) -> None:
    scene, item = harness.pair("clip")
    save(harness, scene)
    harness.command("ignore", scene_id=scene.id)
    right = harness.add_item("q")
    save(harness, other_scene(harness, scene), title="Another {}")
    assert (item.title, right.title) == (f"New {scene.id}", f"Another {scene.id}")


def test_a_scene_can_be_ignored_before_it_is_met(harness: WorkerHarness) -> None:
    """Its id was another scene's, of which there are records."""
    scene, _ = harness.pair("clip")
    save(harness, scene)
    right = harness.add_item("q")
    again = other_scene(harness, scene)
    harness.command("ignore", scene_id=again.id, created_at=again.created_at)
    save(harness, again)
    assert right.title == "q"


def test_a_scene_with_the_id_of_an_ignored_one_is_a_rival(harness: WorkerHarness) -> None:
    """Its files are in the same item: without it, the item would be the other scene's."""
    harness.add_item("old")
    item, one, _ = stacked(harness)
    old = scene_at(harness, "/data/old.mp4")
    save(harness, old)
    harness.command("ignore", scene_id=old.id)
    two = harness.stash.scene(one.id + 1)
    harness.stash.delete_silently(two.id)
    other_scene(harness, old, "/data/part2.mp4")
    save(harness, one)
    assert item.title == "part1"
    assert status(harness, one) is Status.AMBIGUOUS


# --- names


def test_a_scene_written_by_name_leaves_the_item_to_the_one_with_the_path(
    harness: WorkerHarness,
) -> None:
    """Whatever the first has added goes with it."""
    harness.configure(path_mappings="/mapped => /media")
    item = harness.add_item("x/clip")
    by_name = scene_at(harness, "/data/y/clip.mp4", tags=["Mine"])
    save(harness, by_name)
    assert (item.title, item.genres) == (f"New {by_name.id}", ["Mine"])
    by_path = scene_at(harness, "/mapped/x/clip.mp4", tags=["Theirs"])
    save(harness, by_path)
    assert (item.title, item.genres) == (f"New {by_path.id}", ["Theirs"])
    save(harness, by_name, title="Never {}")
    assert item.title == f"New {by_path.id}"
    assert status(harness, by_name) is Status.NOT_IN_PLEX
