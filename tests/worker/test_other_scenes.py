"""A match by file name alone is accepted only if no other scene in Stash fits as well."""

from __future__ import annotations

import unicodedata

import pytest

from tests.harness.clock import HOUR
from tests.harness.in_process import WorkerHarness
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene

UNMAPPED = "/somewhere => /else"
"""A mapping that applies to none of the paths here."""


@pytest.fixture(autouse=True)
def _no_mapping_applies(harness: WorkerHarness) -> None:
    harness.configure(path_mappings=UNMAPPED)


def scene_at(harness: WorkerHarness, path: str, size: int = 100, *others: str) -> Scene:
    files = [(path, size), *((other, size) for other in others)]
    return harness.stash.add_scene(title=f"Title of {path}", files=files)


def item_at(harness: WorkerHarness, path: str, size: int = 100) -> PlexItem:
    return harness.plex.add_item(harness.library, path, size=size)


def ownership_queries(harness: WorkerHarness) -> int:
    """Count the queries for other scenes with such a file."""
    return len([one for one in harness.stash.log.all() if b"PlexSyncNamesakes" in one.request.body])


def sync(harness: WorkerHarness, *scenes: Scene) -> None:
    for number, scene in enumerate(scenes):
        harness.edit(scene, f"Edit {number}")
    harness.run_for(10)


def assert_untouched(harness: WorkerHarness) -> None:
    assert harness.plex.writes == []
    assert harness.plex.uploads == []


# --- no other scene


def test_a_unique_file_name_is_enough(harness: WorkerHarness) -> None:
    item = item_at(harness, "/media/a/only.mp4")
    sync(harness, scene_at(harness, "/data/b/only.mp4"))

    assert item.title == "Edit 0"


def test_with_a_path_mapping_stash_is_not_asked_for_other_scenes(harness: WorkerHarness) -> None:
    harness.configure()
    scene, _ = harness.pair("mapped")
    scene_at(harness, "/other/mapped.mp4")
    sync(harness, scene)

    assert harness.title(scene) == "Edit 0"
    assert ownership_queries(harness) == 0


def test_two_files_of_one_scene_with_the_same_name_are_one_owner(harness: WorkerHarness) -> None:
    item = item_at(harness, "/media/a/twice.mp4")
    sync(harness, scene_at(harness, "/data/b/twice.mp4", 100, "/data/c/twice.mp4"))

    assert item.title == "Edit 0"


# --- other scenes


def test_an_item_that_fits_another_scene_by_its_folders_is_rejected(harness: WorkerHarness) -> None:
    item = item_at(harness, "/media/right/same.mp4")
    owner = scene_at(harness, "/data/right/same.mp4")
    wrong = scene_at(harness, "/data/wrong/same.mp4")
    sync(harness, wrong)
    assert_untouched(harness)

    sync(harness, owner)
    assert item.title == "Edit 0"
    assert [write.rating_key for write in harness.plex.writes] == [item.rating_key]


def test_an_item_that_fits_another_scene_by_its_path_is_rejected(
    harness: WorkerHarness,
) -> None:
    harness.configure(path_mappings="/mapped => /media/x")
    item_at(harness, "/media/x/same.mp4")
    scene_at(harness, "/mapped/same.mp4")
    sync(harness, scene_at(harness, "/data/x/same.mp4"))

    assert_untouched(harness)


def test_two_scenes_that_fit_equally_well_are_both_rejected(harness: WorkerHarness) -> None:
    item_at(harness, "/media/same.mp4")
    one, two = scene_at(harness, "/data/one/same.mp4"), scene_at(harness, "/data/two/same.mp4")
    sync(harness, one, two)

    assert_untouched(harness)
    assert {letter["error_type"] for letter in harness.letters()} == {"AmbiguousMatch"}
    assert {letter["scene_id"] for letter in harness.letters()} == {one.id, two.id}
    for path in ("/data/one/same.mp4", "/data/two/same.mp4", "/media/same.mp4"):
        assert all(path in letter["error_message"] for letter in harness.letters())
    assert [level for level, _ in harness.notices()] == ["warning", "warning"]


def test_not_even_without_strict_matching_two_scenes_share_an_item(harness: WorkerHarness) -> None:
    harness.configure(path_mappings=UNMAPPED, strict_matching=False)
    item_at(harness, "/media/same.mp4")
    scene_at(harness, "/data/two/same.mp4")
    sync(harness, scene_at(harness, "/data/one/same.mp4"))

    assert_untouched(harness)


def test_without_strict_matching_two_scenes_do_not_take_the_same_first_item(
    harness: WorkerHarness,
) -> None:
    harness.configure(path_mappings=UNMAPPED, strict_matching=False)
    items = [item_at(harness, f"/media/{folder}/same.mp4") for folder in ("p", "q")]
    one, two = scene_at(harness, "/data/one/same.mp4"), scene_at(harness, "/data/two/same.mp4")
    sync(harness, one, two)

    assert_untouched(harness)
    assert [letter["error_type"] for letter in harness.letters()] == ["AmbiguousMatch"] * 2
    keys = [item.rating_key for item in items]
    assert [letter["details"]["keys"] for letter in harness.letters()] == [keys] * 2


def test_without_strict_matching_an_item_of_which_no_size_is_known_is_not_shared(
    harness: WorkerHarness,
) -> None:
    harness.configure(path_mappings=UNMAPPED, strict_matching=False)
    harness.plex.add_item(harness.library, "/media/same.mp4", size=0)
    sync(harness, *(scene_at(harness, f"/data/{one}/same.mp4") for one in ("one", "two")))

    assert_untouched(harness)


def test_without_strict_matching_the_first_item_that_is_no_other_scenes_is_taken(
    harness: WorkerHarness,
) -> None:
    harness.configure(path_mappings="/mapped => /media", strict_matching=False)
    items = [item_at(harness, f"/media/{folder}/same.mp4") for folder in ("p", "q")]
    owner = scene_at(harness, "/mapped/p/same.mp4")
    other = scene_at(harness, "/data/one/same.mp4")
    harness.edit(owner, "The owner's")
    harness.run_for(10)
    sync(harness, other)

    assert [item.title for item in items] == ["The owner's", "Edit 0"]


def test_without_strict_matching_each_scene_takes_the_copy_of_its_size(
    harness: WorkerHarness,
) -> None:
    harness.configure(path_mappings="/one => /media; /two => /media", strict_matching=False)
    again = harness.plex.add_library("Again", ["/media"])
    items = [
        harness.plex.add_item(library, "/media/same.mp4", size=size)
        for library, size in ((harness.library, 111), (again, 222))
    ]
    sync(harness, scene_at(harness, "/one/same.mp4", 222), scene_at(harness, "/two/same.mp4", 111))

    assert [item.title for item in items] == ["Edit 1", "Edit 0"]


def test_without_strict_matching_the_first_item_is_the_same_one_in_every_batch(
    harness: WorkerHarness,
) -> None:
    """Whichever item was read before, for another scene of the batch."""
    harness.configure(path_mappings="/mapped => /media", strict_matching=False)
    paths = ("p/same.mp4", "q/same.mp4", "third.mp4")
    items = [item_at(harness, f"/media/{path}") for path in paths]
    ignored = scene_at(harness, "/mapped/q/same.mp4")
    harness.command("ignore", scene_id=ignored.id)
    third = scene_at(harness, "/mapped/third.mp4")
    sync(harness, ignored, third, scene_at(harness, "/data/one/same.mp4"))

    assert [item.title for item in items] == ["Edit 2", "same", "Edit 1"]


def test_a_scene_with_another_file_size_does_not_count(harness: WorkerHarness) -> None:
    item = item_at(harness, "/media/same.mp4", 100)
    scene_at(harness, "/data/two/same.mp4", 101)
    sync(harness, scene_at(harness, "/data/one/same.mp4", 100))

    assert item.title == "Edit 0"


def test_a_scene_with_a_longer_file_name_does_not_count(harness: WorkerHarness) -> None:
    item = item_at(harness, "/media/1.mp4")
    for name in ("11.mp4", "clip 1.mp4", "x_1.mp4"):
        scene_at(harness, f"/data/two/{name}")
    sync(harness, scene_at(harness, "/data/one/1.mp4"))

    assert item.title == "Edit 0"


def test_the_second_file_of_another_scene_counts_too(harness: WorkerHarness) -> None:
    item_at(harness, "/media/same.mp4")
    scene_at(harness, "/data/two/other.mp4", 100, "/data/two/same.mp4")
    sync(harness, scene_at(harness, "/data/one/same.mp4"))

    assert_untouched(harness)


def test_the_item_is_accepted_after_the_other_scene_was_deleted(
    harness: WorkerHarness,
) -> None:
    item = item_at(harness, "/media/same.mp4")
    one, two = scene_at(harness, "/data/one/same.mp4"), scene_at(harness, "/data/two/same.mp4")
    sync(harness, one)
    assert_untouched(harness)
    harness.stash.library.remove_scene(two.id)

    sync(harness, one)

    assert item.title == "Edit 0"
    assert harness.letters() == []


# --- names


NAMES = {
    "percent": "100% sure.mp4",
    "underscore": "a_b_c.mp4",
    "brackets": "[Studio] Title (2020) {x}.mp4",
    "quotes": """it's "quoted" `here`.mp4""",
    "backslash": r"back\slash.mp4",
    "emoji": (
        "\N{SEE-NO-EVIL MONKEY}\N{ZERO WIDTH JOINER}"
        "\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}.mp4"
    ),
    "japanese": "\N{CJK UNIFIED IDEOGRAPH-6620}\N{CJK UNIFIED IDEOGRAPH-753B}.mp4",
    "accents": (
        "Am\N{LATIN SMALL LETTER E WITH ACUTE}lie \N{LATIN CAPITAL LETTER A WITH DIAERESIS}.mp4"
    ),
    "hangul": "\N{HANGUL SYLLABLE GA}\N{HANGUL SYLLABLE GAG}.mp4",
    "long": "x" * 240 + ".mp4",
    "GraphQL": "{ findScene(id: 1) { id } }.mp4",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_another_scene_is_found_under_any_file_name(harness: WorkerHarness, name: str) -> None:
    item_at(harness, f"/media/{name}")
    scene_at(harness, f"/data/two/{name}")
    sync(harness, scene_at(harness, f"/data/one/{name}"))

    assert_untouched(harness)


@pytest.mark.parametrize(
    "name", [NAMES[kind] for kind in ("percent", "brackets", "quotes", "emoji", "accents")]
)
def test_without_another_scene_the_item_is_accepted_under_any_file_name(
    harness: WorkerHarness, name: str
) -> None:
    item = item_at(harness, f"/media/{name}")
    scene_at(harness, f"/data/two/not {name}x")
    sync(harness, scene_at(harness, f"/data/one/{name}"))

    assert item.title == "Edit 0"


@pytest.mark.parametrize("name", [NAMES["accents"], NAMES["hangul"]], ids=["accents", "hangul"])
@pytest.mark.parametrize(("ours", "theirs"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_composed_and_decomposed_names_are_the_same(
    harness: WorkerHarness, name: str, ours: str, theirs: str
) -> None:
    item_at(harness, f"/media/{unicodedata.normalize(theirs, name)}")  # type: ignore[arg-type]
    scene_at(harness, f"/data/two/{unicodedata.normalize(theirs, name)}")  # type: ignore[arg-type]
    our_name = unicodedata.normalize(ours, name)  # type: ignore[arg-type]
    sync(harness, scene_at(harness, f"/data/one/{our_name}"))

    assert_untouched(harness)


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
def test_upper_and_lower_case_are_the_same(harness: WorkerHarness, ours: str, theirs: str) -> None:
    """The matcher treats them as the same name, so such scenes must count as well."""
    item_at(harness, f"/media/{ours}")
    scene_at(harness, f"/data/two/{theirs}")
    sync(harness, scene_at(harness, f"/data/one/{ours}"))

    assert_untouched(harness)


def test_windows_paths_on_both_sides(harness: WorkerHarness) -> None:
    item_at(harness, r"P:\Media\right\same.mp4")
    scene_at(harness, r"D:\stash\right\same.mp4")
    sync(harness, scene_at(harness, r"D:\stash\wrong\same.mp4"))

    assert_untouched(harness)


# --- many scenes


def test_a_thousand_similar_names_do_not_hide_another_scene(harness: WorkerHarness) -> None:
    item_at(harness, "/media/1.mp4")
    ours = scene_at(harness, "/data/one/1.mp4")
    for number in range(1_005):
        scene_at(harness, f"/data/many/{number}1.mp4")
    scene_at(harness, "/data/two/1.mp4")
    sync(harness, ours)

    assert_untouched(harness)


def test_a_large_library_does_not_hide_a_scene_with_a_non_ascii_name(
    harness: WorkerHarness,
) -> None:
    name = NAMES["japanese"]
    item_at(harness, f"/media/{name}")
    ours = scene_at(harness, f"/data/one/{name}")
    for number in range(1_005):
        scene_at(harness, f"/data/many/clip {number}.mp4")
    scene_at(harness, f"/data/two/{name}")
    sync(harness, ours)

    assert_untouched(harness)


def test_a_thousand_other_scenes_make_one_log_line(harness: WorkerHarness) -> None:
    item_at(harness, "/media/video.mp4")
    ours = scene_at(harness, "/data/mine/video.mp4")
    for number in range(1_005):
        scene_at(harness, f"/data/{number}/video.mp4")
    sync(harness, ours)

    assert_untouched(harness)
    (letter,) = harness.letters()
    assert len(letter["error_message"]) < 2_000
    assert len(harness.notices()) == 1


# --- the write history


def test_for_a_match_by_name_stash_is_asked_each_time(harness: WorkerHarness) -> None:
    item = item_at(harness, "/media/a/only.mp4")
    scene = scene_at(harness, "/data/b/only.mp4")
    for number in range(5):
        harness.edit(scene, f"Title {number}")
        harness.run_for(10)

    assert item.title == "Title 4"
    assert ownership_queries(harness) == 5


def test_the_write_history_of_another_item_does_not_count(harness: WorkerHarness) -> None:
    item = item_at(harness, "/media/same.mp4")
    scene = scene_at(harness, "/data/one/same.mp4")
    sync(harness, scene)
    assert item.title == "Edit 0"
    harness.plex.replace_item("/media/same.mp4")
    scene_at(harness, "/data/two/same.mp4")
    writes = len(harness.plex.writes)
    harness.clock.advance(HOUR)

    sync(harness, scene)

    assert len(harness.plex.writes) == writes
    assert ownership_queries(harness) >= 2


def test_an_earlier_owner_does_not_overwrite_the_scene_with_the_exact_path(
    harness: WorkerHarness,
) -> None:
    """The first scene matched by name before the real owner was added to Stash."""
    harness.configure(path_mappings="/mapped => /media/x")
    item = item_at(harness, "/media/x/same.mp4")
    by_name = scene_at(harness, "/data/one/same.mp4")
    sync(harness, by_name)
    assert item.title == "Edit 0"
    owner = scene_at(harness, "/mapped/same.mp4")
    harness.edit(owner, "The owner's")
    harness.run_for(10)
    assert item.title == "The owner's"

    harness.edit(by_name, "A stranger's")
    harness.run_for(10)

    assert item.title == "The owner's"
