"""An item that was found by its file name alone is taken only if no other scene in Stash may claim it as well."""

from __future__ import annotations

import unicodedata

import pytest

from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene
from tests.worker.world import HOUR, World

UNMAPPED = "/somewhere => /else"
"""A mapping that applies to none of the paths here."""


@pytest.fixture(autouse=True)
def _no_mapping_applies(world: World) -> None:
    world.set(path_mappings=UNMAPPED)


def scene_at(world: World, path: str, size: int = 100, *others: str) -> Scene:
    files = [(path, size), *((other, size) for other in others)]
    return world.stash.add_scene(title=f"Title of {path}", files=files)


def item_at(world: World, path: str, size: int = 100) -> PlexItem:
    return world.plex.add_item(world.library, path, size=size)


def questions(world: World) -> int:
    """How often Stash was asked who else has such a file."""
    return len([one for one in world.stash.log.all() if b"PlexSyncNamesakes" in one.request.body])


def sync(world: World, *scenes: Scene) -> None:
    for number, scene in enumerate(scenes):
        world.edit(scene, f"Edit {number}")
    world.run_for(10)


def assert_untouched(world: World) -> None:
    assert world.plex.writes == []
    assert world.plex.uploads == []


# --- nobody else


def test_a_file_name_that_one_scene_has_is_enough(world: World) -> None:
    item = item_at(world, "/plex/a/only.mp4")
    sync(world, scene_at(world, "/data/b/only.mp4"))

    assert item.title == "Edit 0"


def test_where_a_mapping_applies_nobody_is_asked(world: World) -> None:
    world.set()
    scene, _ = world.pair("mapped")
    scene_at(world, "/other/mapped.mp4")
    sync(world, scene)

    assert world.title(scene) == "Edit 0"
    assert questions(world) == 0


def test_a_scene_that_has_the_name_twice_is_no_rival_of_itself(world: World) -> None:
    item = item_at(world, "/plex/a/twice.mp4")
    sync(world, scene_at(world, "/data/b/twice.mp4", 100, "/data/c/twice.mp4"))

    assert item.title == "Edit 0"


# --- others


def test_an_item_that_is_another_scenes_by_its_folders_is_not_taken(world: World) -> None:
    item = item_at(world, "/plex/right/same.mp4")
    owner = scene_at(world, "/data/right/same.mp4")
    wrong = scene_at(world, "/data/wrong/same.mp4")
    sync(world, wrong)
    assert_untouched(world)

    sync(world, owner)
    assert item.title == "Edit 0"
    assert [write.rating_key for write in world.plex.writes] == [item.rating_key]


def test_an_item_that_is_another_scenes_by_its_very_path_is_not_taken(world: World) -> None:
    world.set(path_mappings="/mapped => /plex/x")
    item_at(world, "/plex/x/same.mp4")
    scene_at(world, "/mapped/same.mp4")
    sync(world, scene_at(world, "/data/x/same.mp4"))

    assert_untouched(world)


def test_two_scenes_with_the_same_claim_are_a_persons_to_tell_apart(world: World) -> None:
    item_at(world, "/plex/same.mp4")
    one, two = scene_at(world, "/data/one/same.mp4"), scene_at(world, "/data/two/same.mp4")
    sync(world, one, two)

    assert_untouched(world)
    assert {letter["error_type"] for letter in world.letters()} == {"AmbiguousMatch"}
    assert {letter["scene_id"] for letter in world.letters()} == {one.id, two.id}
    for path in ("/data/one/same.mp4", "/data/two/same.mp4", "/plex/same.mp4"):
        assert all(path in letter["error_message"] for letter in world.letters())
    assert [level for level, _ in world.notices()] == ["warning", "warning"]


def test_not_strict_the_item_is_taken_with_a_warning(world: World) -> None:
    world.set(path_mappings=UNMAPPED, strict_matching=False)
    item = item_at(world, "/plex/same.mp4")
    scene_at(world, "/data/two/same.mp4")
    sync(world, scene_at(world, "/data/one/same.mp4"))

    assert item.title == "Edit 0"
    assert [level for level, _ in world.notices()] == ["warning"]


def test_a_file_of_another_size_is_no_rival(world: World) -> None:
    item = item_at(world, "/plex/same.mp4", 100)
    scene_at(world, "/data/two/same.mp4", 101)
    sync(world, scene_at(world, "/data/one/same.mp4", 100))

    assert item.title == "Edit 0"


def test_a_longer_name_that_ends_alike_is_no_rival(world: World) -> None:
    item = item_at(world, "/plex/1.mp4")
    for name in ("11.mp4", "clip 1.mp4", "x_1.mp4"):
        scene_at(world, f"/data/two/{name}")
    sync(world, scene_at(world, "/data/one/1.mp4"))

    assert item.title == "Edit 0"


def test_a_rivals_second_file_counts_as_well(world: World) -> None:
    item_at(world, "/plex/same.mp4")
    scene_at(world, "/data/two/other.mp4", 100, "/data/two/same.mp4")
    sync(world, scene_at(world, "/data/one/same.mp4"))

    assert_untouched(world)


def test_the_other_scene_gone_from_stash_the_next_edit_takes_the_item(world: World) -> None:
    item = item_at(world, "/plex/same.mp4")
    one, two = scene_at(world, "/data/one/same.mp4"), scene_at(world, "/data/two/same.mp4")
    sync(world, one)
    assert_untouched(world)
    world.stash.library.remove_scene(two.id)

    sync(world, one)

    assert item.title == "Edit 0"
    assert world.letters() == []


# --- names


NAMES = {
    "percent": "100% sure.mp4",
    "underscore": "a_b_c.mp4",
    "brackets": "[Studio] Title (2020) {x}.mp4",
    "quotes": """it's "quoted" `here`.mp4""",
    "backslash": r"back\slash.mp4",
    "emoji": "\N{SEE-NO-EVIL MONKEY}\N{ZERO WIDTH JOINER}\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}.mp4",
    "japanese": "\N{CJK UNIFIED IDEOGRAPH-6620}\N{CJK UNIFIED IDEOGRAPH-753B}.mp4",
    "accents": "Am\N{LATIN SMALL LETTER E WITH ACUTE}lie \N{LATIN CAPITAL LETTER A WITH DIAERESIS}.mp4",
    "hangul": "\N{HANGUL SYLLABLE GA}\N{HANGUL SYLLABLE GAG}.mp4",
    "long": "x" * 240 + ".mp4",
    "GraphQL": "{ findScene(id: 1) { id } }.mp4",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_rival_is_found_whatever_the_name(world: World, name: str) -> None:
    item_at(world, f"/plex/{name}")
    scene_at(world, f"/data/two/{name}")
    sync(world, scene_at(world, f"/data/one/{name}"))

    assert_untouched(world)


@pytest.mark.parametrize(
    "name", [NAMES[kind] for kind in ("percent", "brackets", "quotes", "emoji", "accents")]
)
def test_without_a_rival_the_item_is_taken_whatever_the_name(world: World, name: str) -> None:
    item = item_at(world, f"/plex/{name}")
    scene_at(world, f"/data/two/not {name}x")
    sync(world, scene_at(world, f"/data/one/{name}"))

    assert item.title == "Edit 0"


@pytest.mark.parametrize("name", [NAMES["accents"], NAMES["hangul"]], ids=["accents", "hangul"])
@pytest.mark.parametrize(("ours", "theirs"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_composed_and_decomposed_names_are_the_same(
    world: World, name: str, ours: str, theirs: str
) -> None:
    item_at(world, f"/plex/{unicodedata.normalize(theirs, name)}")  # type: ignore[arg-type]
    scene_at(world, f"/data/two/{unicodedata.normalize(theirs, name)}")  # type: ignore[arg-type]
    sync(world, scene_at(world, f"/data/one/{unicodedata.normalize(ours, name)}"))  # type: ignore[arg-type]

    assert_untouched(world)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Clip.mp4", "CLIP.MP4"),
        (
            "\N{LATIN SMALL LETTER A WITH DIAERESIS}.mp4",
            "\N{LATIN CAPITAL LETTER A WITH DIAERESIS}.mp4",
        ),
        ("\N{CYRILLIC SMALL LETTER YA}.mp4", "\N{CYRILLIC CAPITAL LETTER YA}.mp4"),
        ("stra\N{LATIN SMALL LETTER SHARP S}e.mp4", "STRASSE.mp4"),
        ("STRASSE.mp4", "stra\N{LATIN SMALL LETTER SHARP S}e.mp4"),
    ],
    ids=["ascii", "umlaut", "cyrillic", "sharp s", "double s"],
)
def test_upper_and_lower_case_are_the_same(world: World, ours: str, theirs: str) -> None:
    """The matcher takes them for the same name, so they must count as rivals as well."""
    item_at(world, f"/plex/{ours}")
    scene_at(world, f"/data/two/{theirs}")
    sync(world, scene_at(world, f"/data/one/{ours}"))

    assert_untouched(world)


def test_windows_paths_on_both_sides(world: World) -> None:
    item_at(world, r"P:\Media\right\same.mp4")
    scene_at(world, r"D:\stash\right\same.mp4")
    sync(world, scene_at(world, r"D:\stash\wrong\same.mp4"))

    assert_untouched(world)


# --- very many


def test_a_thousand_scenes_whose_name_ends_alike_hide_no_rival(world: World) -> None:
    item_at(world, "/plex/1.mp4")
    ours = scene_at(world, "/data/one/1.mp4")
    for number in range(1_005):
        scene_at(world, f"/data/many/{number}1.mp4")
    scene_at(world, "/data/two/1.mp4")
    sync(world, ours)

    assert_untouched(world)


def test_a_large_library_hides_no_rival_of_a_name_without_ascii(world: World) -> None:
    name = NAMES["japanese"]
    item_at(world, f"/plex/{name}")
    ours = scene_at(world, f"/data/one/{name}")
    for number in range(1_005):
        scene_at(world, f"/data/many/clip {number}.mp4")
    scene_at(world, f"/data/two/{name}")
    sync(world, ours)

    assert_untouched(world)


def test_a_thousand_rivals_make_one_line(world: World) -> None:
    item_at(world, "/plex/video.mp4")
    ours = scene_at(world, "/data/mine/video.mp4")
    for number in range(1_005):
        scene_at(world, f"/data/{number}/video.mp4")
    sync(world, ours)

    assert_untouched(world)
    (letter,) = world.letters()
    assert len(letter["error_message"]) < 2_000
    assert len(world.notices()) == 1


# --- the memory of an earlier write


def test_with_the_memory_of_an_earlier_write_nobody_is_asked_again(world: World) -> None:
    item = item_at(world, "/plex/a/only.mp4")
    scene = scene_at(world, "/data/b/only.mp4")
    for number in range(5):
        world.edit(scene, f"Title {number}")
        world.run_for(10)

    assert item.title == "Title 4"
    assert questions(world) == 1


def test_the_memory_of_another_item_does_not_stand_in(world: World) -> None:
    item = item_at(world, "/plex/same.mp4")
    scene = scene_at(world, "/data/one/same.mp4")
    sync(world, scene)
    assert item.title == "Edit 0"
    world.plex.replace_item("/plex/same.mp4")
    scene_at(world, "/data/two/same.mp4")
    writes = len(world.plex.writes)
    world.clock.advance(HOUR)

    sync(world, scene)

    assert len(world.plex.writes) == writes
    assert questions(world) >= 2


def test_the_scene_with_the_very_path_is_not_overwritten_by_one_that_was_there_before(
    world: World,
) -> None:
    """By name alone, the first one got the item when the second was not in Stash yet. Now the owner has come."""
    world.set(path_mappings="/mapped => /plex/x")
    item = item_at(world, "/plex/x/same.mp4")
    by_name = scene_at(world, "/data/one/same.mp4")
    sync(world, by_name)
    assert item.title == "Edit 0"
    owner = scene_at(world, "/mapped/same.mp4")
    world.edit(owner, "The owner's")
    world.run_for(10)
    assert item.title == "The owner's"

    world.edit(by_name, "A stranger's")
    world.run_for(10)

    assert item.title == "The owner's"
