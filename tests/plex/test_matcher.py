"""The matcher finds a certain item or none, even with a stale index."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import Any

import pytest

from plex.exceptions import PlexNotFound, PlexTemporaryError
from plex.items import read_item
from plex.matcher import (
    AmbiguousMatch,
    MatchConfidence,
    describe_candidates,
    find_plex_item_by_path,
    find_plex_items_with_confidence,
)
from tests.harness.plex_only import PlexHarness
from tests.plex.support import MAPPINGS, TOKEN, requests_of
from tests.simulators.httpd import Answer, Request
from tests.simulators.plex import PlexItem
from validation.errors import PermanentError

HIGH, LOW = MatchConfidence.HIGH, MatchConfidence.LOW


@pytest.fixture(params=[True, False], ids=["index", "no index"])
def indexed(request: pytest.FixtureRequest) -> bool:
    """Run with and without an index: the result is the same, only the cost differs."""
    return bool(request.param)


def add(harness: PlexHarness, *paths: str, size: int = 100, **more: Any) -> list[PlexItem]:
    return [harness.plex.add_item(harness.library, path, size=size, **more) for path in paths]


def assert_high(found: tuple[MatchConfidence, int | None, list[int]], item: PlexItem) -> None:
    assert found == (HIGH, item.rating_key, [item.rating_key])


def assert_low(found: tuple[MatchConfidence, int | None, list[int]], *items: PlexItem) -> None:
    assert found[:2] == (LOW, None)
    assert sorted(found[2]) == sorted(item.rating_key for item in items)


# --- matching steps, in order


def test_the_mapped_path_decides_before_all_names(harness: PlexHarness, indexed: bool) -> None:
    right, *_ = add(harness, "/media/a/1.mp4", "/media/b/1.mp4", "/x/a/1.mp4")
    assert_high(harness.find("/data/a/1.mp4", 100, indexed=indexed), right)


def test_the_path_decides_even_when_the_size_differs(harness: PlexHarness, indexed: bool) -> None:
    (right,) = add(harness, "/media/a/1.mp4", size=200)
    add(harness, "/media/b/1.mp4", size=100)
    assert_high(harness.find("/data/a/1.mp4", 100, indexed=indexed), right)


def test_without_the_path_the_name_decides(harness: PlexHarness, indexed: bool) -> None:
    right, _ = add(harness, "/elsewhere/One.mp4", "/elsewhere/Two.mp4")
    assert_high(harness.find("/stash/One.mp4", 100, indexed=indexed), right)


def test_a_name_in_its_own_case_goes_before_another_case(
    harness: PlexHarness, indexed: bool
) -> None:
    right, _ = add(harness, "/a/One.mp4", "/b/ONE.mp4")
    assert_high(harness.find("/stash/One.mp4", 100, indexed=indexed), right)


def test_a_name_in_another_case_is_found_last(harness: PlexHarness, indexed: bool) -> None:
    (right,) = add(harness, "/elsewhere/ONE.MP4")
    assert_high(harness.find("/stash/one.mp4", 100, indexed=indexed), right)


def test_without_a_fitting_file_nothing_is_found(harness: PlexHarness, indexed: bool) -> None:
    add(harness, "/media/a/Other.mp4")
    with pytest.raises(PlexNotFound, match=r"One\.mp4"):
        harness.find("/data/a/One.mp4", 100, indexed=indexed)


@pytest.mark.parametrize(
    "name", ["One", "One.mp", "ne.mp4", "One.mp4.part", "One .mp4", "%.mp4", "*.mp4", "_ne.mp4"]
)
def test_a_partial_name_or_a_pattern_does_not_match(harness: PlexHarness, name: str) -> None:
    add(harness, "/media/a/One.mp4")
    with pytest.raises(PlexNotFound):
        harness.find(f"/data/a/{name}", 100)


def test_in_an_empty_library_nothing_is_found(harness: PlexHarness, indexed: bool) -> None:
    with pytest.raises(PlexNotFound):
        harness.find("/data/a/One.mp4", 100, indexed=indexed)


def test_without_a_library_nothing_is_found() -> None:
    with pytest.raises(PlexNotFound):
        find_plex_items_with_confidence([], "/data/a/One.mp4")


# --- sizes


def test_a_size_narrows_names(harness: PlexHarness, indexed: bool) -> None:
    (right,) = add(harness, "/a/1.mp4", size=100)
    add(harness, "/b/1.mp4", size=200)
    assert_high(harness.find("/stash/1.mp4", 100, indexed=indexed), right)


def test_another_size_is_another_file(harness: PlexHarness, indexed: bool) -> None:
    add(harness, "/a/1.mp4", size=200)
    with pytest.raises(PlexNotFound):
        harness.find("/stash/1.mp4", 100, indexed=indexed)


def test_the_size_decides_before_the_case_of_the_name(harness: PlexHarness, indexed: bool) -> None:
    add(harness, "/a/One.mp4", size=200)
    (right,) = add(harness, "/b/ONE.mp4", size=100)
    assert_high(harness.find("/stash/One.mp4", 100, indexed=indexed), right)


def test_the_size_decides_before_the_folders(harness: PlexHarness, indexed: bool) -> None:
    add(harness, "/m/harness/a/1.mp4", size=200)
    (right,) = add(harness, "/m/else/1.mp4", size=100)
    assert_high(harness.find("/stash/harness/a/1.mp4", 100, indexed=indexed), right)


def test_without_a_size_a_name_alone_is_not_certain(harness: PlexHarness, indexed: bool) -> None:
    (only,) = add(harness, "/media/a/1.mp4", size=200)
    assert_low(harness.find("/stash/1.mp4", None, indexed=indexed), only)


def test_without_a_size_the_same_path_below_the_libraries_is_certain(
    harness: PlexHarness, indexed: bool
) -> None:
    right, _ = add(harness, "/media/a/1.mp4", "/media/b/1.mp4", size=200)
    assert_high(harness.find("/stash/a/1.mp4", None, indexed=indexed), right)
    assert_high(harness.find("/stash/A/1.mp4", None, indexed=indexed), right)


def test_without_a_size_the_end_of_a_path_is_not_certain(
    harness: PlexHarness, indexed: bool
) -> None:
    (only,) = add(harness, "/media/x/a/b/1.mp4", size=200)
    assert_low(harness.find("/stash/a/b/1.mp4", None, indexed=indexed), only)


def test_zero_is_a_size(harness: PlexHarness) -> None:
    add(harness, "/a/1.mp4", size=200)
    with pytest.raises(PlexNotFound):
        harness.find("/stash/1.mp4", 0)


# --- folders


def test_the_same_path_below_the_libraries_decides(harness: PlexHarness, indexed: bool) -> None:
    right, *_ = add(harness, "/media/x/a/1.mp4", "/media/y/a/1.mp4", "/media/z/x/a/1.mp4")
    assert_high(harness.find("/stash/x/a/1.mp4", 100, indexed=indexed), right)


def test_the_end_of_a_path_decides_with_two_folders(harness: PlexHarness, indexed: bool) -> None:
    right, *_ = add(harness, "/media/top/x/a/1.mp4", "/media/top/y/a/1.mp4")
    assert_high(harness.find("/stash/x/a/1.mp4", 100, indexed=indexed), right)


def test_one_shared_folder_is_no_reason_to_guess(harness: PlexHarness, indexed: bool) -> None:
    items = add(harness, "/media/x/2020/clip.mp4", "/media/y/other/clip.mp4")
    assert_low(harness.find("/stash/z/2020/clip.mp4", 100, indexed=indexed), *items)


def test_paths_that_part_above_shared_folders_are_no_reason_to_guess(
    harness: PlexHarness, indexed: bool
) -> None:
    items = add(harness, "/media/p/x/a/1.mp4", "/media/p/y/a/1.mp4")
    assert_low(harness.find("/stash/q/x/a/1.mp4", 100, indexed=indexed), *items)


def test_equal_ends_of_paths_are_ambiguous(harness: PlexHarness, indexed: bool) -> None:
    items = add(harness, "/media/p/x/a/1.mp4", "/media/q/x/a/1.mp4")
    add(harness, "/media/p/y/a/1.mp4")
    assert_low(harness.find("/stash/x/a/1.mp4", 100, indexed=indexed), *items)


def test_several_by_name_alone_are_all_candidates(harness: PlexHarness, indexed: bool) -> None:
    items = add(harness, "/m/x/1.mp4", "/m/y/1.mp4", "/m/z/1.mp4")
    assert_low(harness.find("/stash/1.mp4", 100, indexed=indexed), *items)


def test_many_candidates_are_ambiguous_too(harness: PlexHarness) -> None:
    add(harness, *(f"/m/{number}/1.mp4" for number in range(50)))
    confidence, item, candidates = harness.find("/stash/1.mp4", 100)
    assert (confidence, item) == (LOW, None)
    assert len(candidates) > 1


# --- several files, versions, libraries


def test_two_files_of_one_item_find_that_item(harness: PlexHarness, indexed: bool) -> None:
    (right,) = add(harness, "/media/a/1.mp4", versions=["/media/a/1-4k.mkv"])
    others = [("/data/a/1-4k.mkv", 100)]
    assert_high(harness.find("/data/a/1.mp4", 100, others=others, indexed=indexed), right)


def test_any_part_of_an_item_finds_it(harness: PlexHarness, indexed: bool) -> None:
    (right,) = add(
        harness, "/media/a/CD1.avi", parts=["/media/a/CD2.avi"], versions=["/media/a/whole.mkv"]
    )
    for name in ("CD1.avi", "CD2.avi", "whole.mkv"):
        assert_high(harness.find(f"/data/a/{name}", 100, indexed=indexed), right)


def test_a_further_file_finds_the_item_when_the_first_is_not_in_plex(
    harness: PlexHarness, indexed: bool
) -> None:
    (right,) = add(harness, "/media/a/2.mp4")
    assert_high(
        harness.find("/data/a/1.mp4", 7, others=[("/data/a/2.mp4", 100)], indexed=indexed), right
    )


def test_of_two_files_in_two_items_the_first_decides(harness: PlexHarness, indexed: bool) -> None:
    first, second = add(harness, "/media/a/1.mp4", "/media/a/2.mp4")
    one, two = ("/data/a/1.mp4", 100), ("/data/a/2.mp4", 100)
    assert_high(harness.find(*one, others=[two], indexed=indexed), first)
    assert_high(harness.find(*two, others=[one], indexed=indexed), second)


def test_a_file_that_plex_converted_decides_last(harness: PlexHarness, indexed: bool) -> None:
    converted, right = add(harness, "/media/Plex Versions/TV/1.mp4", "/media/a/1.mp4")
    files = [("/data/Plex Versions/TV/1.mp4", 100), ("/data/a/1.mp4", 100)]
    assert_high(harness.find(*files[0], others=files[1:], indexed=indexed), right)
    assert_high(harness.find(*files[0], indexed=indexed), converted)


def test_a_file_in_two_libraries_is_ambiguous(harness: PlexHarness, indexed: bool) -> None:
    (one,) = add(harness, "/media/a/1.mp4")
    other = harness.plex.add_item(
        harness.plex.add_library("Again", ["/media"]), "/media/a/1.mp4", size=100
    )
    assert_low(harness.find("/data/a/1.mp4", 100, indexed=indexed), one, other)


def test_libraries_that_were_not_chosen_do_not_count(harness: PlexHarness, indexed: bool) -> None:
    (one,) = add(harness, "/media/a/1.mp4")
    harness.plex.add_item(harness.plex.add_library("Again", ["/media"]), "/media/a/1.mp4", size=100)
    harness.refresh()
    harness._sections = harness.client.libraries(("Scenes",))
    assert_high(harness.find("/data/a/1.mp4", 100, indexed=indexed), one)


def test_a_file_in_another_library_than_the_first_is_found(
    harness: PlexHarness, indexed: bool
) -> None:
    other = harness.plex.add_item(
        harness.plex.add_library("More", ["/more"]), "/more/1.mp4", size=100
    )
    assert_high(harness.find("/stash/1.mp4", 100, indexed=indexed), other)


# --- unusual names

ODD = [
    "[harness] 100% 'real' \"x\".mp4",
    " leading and trailing .mp4",
    "a&b=c?d#e.mp4",
    "a+b c;d,e.mp4",
    "👩‍👩‍👧 🇩🇪.mp4",
    "Ünïcödé – “x”….mp4",
    "한국어 日本語.mp4",
    "back\\slash.mp4",
    "no suffix",
    "tab\tname.mp4",
]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("folder", ["/data/a", "/unmapped"])
def test_any_name_is_found_in_either_form_of_unicode(
    harness: PlexHarness, name: str, form: str, folder: str
) -> None:
    (right,) = add(
        harness, unicodedata.normalize("NFD" if form == "NFC" else "NFC", f"/media/a/{name}")
    )
    add(harness, "/media/a/decoy.mp4", "/media/a/decoy")
    path = unicodedata.normalize(form, f"{folder}/{name}")  # type: ignore[arg-type]
    assert_high(harness.find(path, 100), right)


@pytest.mark.parametrize(
    ("stash", "there", "mapping"),
    [
        (r"D:\v\a\1.mp4", "/media/a/1.mp4", ("D:\\v", "/media")),
        ("/data/a/1.mp4", r"D:\media\a\1.mp4", ("/data", "D:\\media\\")),
        ("/data/a/1.mp4", r"\\?\D:\media\a\1.mp4", ("/data", "d:/media")),
        ("/data/a/1.mp4", r"\\nas\media\a\1.mp4", ("/data/", r"\\nas\media")),
        (r"\\nas\v\a\1.mp4", "/media/a/1.mp4", (r"\\nas\v", "/media")),
    ],
)
def test_windows_and_posix_paths_of_one_file_match(
    harness: PlexHarness, stash: str, there: str, mapping: tuple[str, str]
) -> None:
    (right,) = add(harness, there)
    add(harness, there.replace("a", "z"))
    assert_high(harness.find(stash, 100, mappings=[mapping]), right)
    harness.stash_folders = [r"D:\v", "/data", r"\\nas\v"]
    harness._sections = [
        replace(one, locations=("/media", r"D:\media", r"\\nas\media")) for one in harness.sections
    ]
    assert_high(harness.find(stash, 100, mappings=[]), right)


# --- a stale index


def stale(harness: PlexHarness) -> None:
    harness.refresh()
    harness.clock.advance(10)


def test_a_moved_file_is_found_at_its_new_place(harness: PlexHarness) -> None:
    (item,) = add(harness, "/media/a/1.mp4")
    stale(harness)
    harness.plex.move_file(item.rating_key, "/media/b/2.mp4")
    assert_high(harness.find("/data/b/2.mp4", 100), item)


def test_a_file_that_moved_away_is_not_found_at_its_old_place(harness: PlexHarness) -> None:
    (item,) = add(harness, "/media/a/1.mp4")
    stale(harness)
    harness.plex.move_file(item.rating_key, "/media/b/2.mp4")
    with pytest.raises(PlexNotFound):
        harness.find("/data/a/1.mp4", 100)


def test_files_that_swapped_paths_are_distinguished(harness: PlexHarness) -> None:
    one, other = add(harness, "/media/a/1.mp4", "/media/b/1.mp4")
    stale(harness)
    harness.plex.move_file(one.rating_key, "/media/aside.mp4")
    harness.plex.move_file(other.rating_key, "/media/a/1.mp4")
    harness.plex.move_file(one.rating_key, "/media/b/1.mp4")
    assert_high(harness.find("/data/a/1.mp4", 100), other)
    assert_high(harness.find("/data/b/1.mp4", 100), one)


def test_a_replaced_item_is_found_under_its_new_key(harness: PlexHarness) -> None:
    add(harness, "/media/a/1.mp4", "/media/b/1.mp4")
    stale(harness)
    fresh = harness.plex.replace_item("/media/a/1.mp4")
    assert_high(harness.find("/data/a/1.mp4", 100), fresh)


def test_a_removed_item_is_not_replaced_by_another_match(harness: PlexHarness) -> None:
    (item,) = add(harness, "/media/a/1.mp4")
    add(harness, "/media/b/1.mp4", size=200)
    stale(harness)
    harness.plex.remove_item(item.rating_key)
    with pytest.raises(PlexNotFound):
        harness.find("/data/a/1.mp4", 100)


def test_a_new_item_at_the_path_goes_before_an_indexed_namesake(harness: PlexHarness) -> None:
    add(harness, "/media/a/1.mp4")
    stale(harness)
    (right,) = add(harness, "/media/b/1.mp4")
    assert_high(harness.find("/data/b/1.mp4", 100), right)


def test_a_new_namesake_makes_a_match_by_name_ambiguous(harness: PlexHarness) -> None:
    items = add(harness, "/x/1.mp4")
    stale(harness)
    items += add(harness, "/y/1.mp4")
    assert_low(harness.find("/stash/1.mp4", 100), *items)


def test_a_replaced_file_under_the_same_key_and_path_is_noticed(harness: PlexHarness) -> None:
    (item,) = add(harness, "/x/1.mp4", size=100)
    stale(harness)
    item.parts[0].size = 999
    harness.plex.refresh_item(item.rating_key)
    with pytest.raises(PlexNotFound):
        harness.find("/stash/1.mp4", 100)


def test_a_failed_refresh_never_leads_to_a_namesake(harness: PlexHarness) -> None:
    add(harness, "/media/a/1.mp4", "/media/b/1.mp4")
    stale(harness)
    assert harness.sections
    fresh = harness.plex.replace_item("/media/a/1.mp4")
    rule = harness.plex.faults.add(Answer(503), path="/library/sections")
    with pytest.raises(PlexTemporaryError):
        harness.find("/data/a/1.mp4", 100)
    rule.remove()
    assert_high(harness.find("/data/a/1.mp4", 100), fresh)


def test_one_removed_candidate_hides_no_other(harness: PlexHarness) -> None:
    items = add(harness, *(f"/m/{number}/1.mp4" for number in range(3)))
    stale(harness)
    harness.plex.remove_item(items[0].rating_key)
    assert_low(harness.find("/stash/1.mp4", 100), *items[1:])


def test_when_plex_answers_404_for_a_batch_the_others_are_still_read(harness: PlexHarness) -> None:
    """It is unverified whether Plex skips an unknown key in a batch or refuses the batch."""
    items = add(harness, *(f"/m/{number}/1.mp4" for number in range(3)))
    stale(harness)
    gone = items[1].rating_key
    harness.plex.remove_item(gone)

    def is_batch_with_the_removed_item(request: Request) -> bool:
        keys = request.path.rpartition("/")[2].split(",")
        return len(keys) > 1 and str(gone) in keys

    harness.plex.faults.add(
        Answer(404), path="/library/metadata/", when=is_batch_with_the_removed_item
    )
    assert_low(harness.find("/stash/1.mp4", 100), items[0], items[2])


# --- results and their cost


def test_an_exact_match_with_a_warm_index_is_one_request(harness: PlexHarness) -> None:
    (item,) = add(harness, "/media/a/1.mp4")
    add(harness, *(f"/media/b/{number}.mp4" for number in range(50)))
    harness.refresh()
    harness.plex.log.clear()
    harness.find("/data/a/1.mp4", 100)
    assert requests_of(harness.plex) == [("GET", f"/library/metadata/{item.rating_key}")]


def test_a_match_by_name_with_a_warm_index_is_few_requests(harness: PlexHarness) -> None:
    add(harness, "/elsewhere/1.mp4")
    harness.refresh()
    harness.plex.log.clear()
    harness.find("/stash/1.mp4", 100)
    assert len(harness.plex.log) <= 2


def test_a_miss_with_a_warm_index_is_one_request(harness: PlexHarness) -> None:
    add(harness, "/media/a/1.mp4")
    harness.refresh()
    harness.plex.log.clear()
    with pytest.raises(PlexNotFound):
        harness.find("/data/a/2.mp4", 100)
    assert requests_of(harness.plex) == [("GET", "/library/sections")]


def test_the_returned_items_are_complete(harness: PlexHarness) -> None:
    genres = ["A", "B", "C", "D"]
    add(harness, "/media/a/1.mp4", genres=genres, locked=["genre"])
    _, item, _ = find_plex_items_with_confidence(
        harness.client.get_library("Scenes"), "/data/a/1.mp4", MAPPINGS, index=harness.index
    )
    harness.plex.log.clear()
    assert item is not None
    assert describe_candidates([read_item(item)])[0]["title"] == "1"
    assert [tag.tag for tag in item.genres] == genres
    assert len(harness.plex.log) == 0


def test_a_single_library_needs_no_list(harness: PlexHarness) -> None:
    (right,) = add(harness, "/media/a/1.mp4")
    section = harness.client.get_library("Scenes")
    found = find_plex_item_by_path(section, "/data/a/1.mp4", MAPPINGS)
    assert found is not None and int(found.ratingKey) == right.rating_key


def test_find_by_path_is_none_when_ambiguous_and_raises_when_there_is_nothing(
    harness: PlexHarness,
) -> None:
    add(harness, "/x/1.mp4", "/y/1.mp4")
    sections = [harness.client.get_library("Scenes")]
    assert find_plex_item_by_path(sections, "/stash/1.mp4", index=harness.index) is None
    with pytest.raises(PlexNotFound):
        find_plex_item_by_path(sections, "/stash/2.mp4", index=harness.index)


def test_candidates_are_described_for_a_later_choice(harness: PlexHarness) -> None:
    add(harness, "/x/1.mp4", title="First", size=5)
    add(harness, "/y/1.mp4", title="Second", size=5)
    _, _, candidates = find_plex_items_with_confidence(
        [harness.client.get_library("Scenes")], "/stash/1.mp4", (), 5, index=harness.index
    )
    described = describe_candidates(map(read_item, candidates))
    assert [(one["library"], one["title"], one["files"]) for one in described] == [
        ("Scenes", "First", [{"path": "/x/1.mp4", "size": 5}]),
        ("Scenes", "Second", [{"path": "/y/1.mp4", "size": 5}]),
    ]
    error = AmbiguousMatch("several", described)
    assert isinstance(error, PermanentError)
    keys = [one["rating_key"] for one in described]
    assert error.details == {"candidates": described, "keys": keys, "scenes": []}
    assert TOKEN not in repr(described)
