"""Which item is a scene's: the sure one, or none at all; an index that lags behind changes nothing about that."""

from __future__ import annotations

import unicodedata
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
from tests.plex.support import MAPPINGS, TOKEN, World, requests_of
from tests.simulators.httpd import Answer, Request
from tests.simulators.plex import PlexItem
from validation.errors import PermanentError

HIGH, LOW = MatchConfidence.HIGH, MatchConfidence.LOW


@pytest.fixture(params=[True, False], ids=["index", "no index"])
def indexed(request: pytest.FixtureRequest) -> bool:
    """Whether the caller has an index; it decides nothing but the costs."""
    return bool(request.param)


def add(world: World, *paths: str, size: int = 100, **more: Any) -> list[PlexItem]:
    return [world.plex.add_item(world.scenes, path, size=size, **more) for path in paths]


def assert_high(found: tuple[MatchConfidence, int | None, list[int]], item: PlexItem) -> None:
    assert found == (HIGH, item.rating_key, [item.rating_key])


def assert_low(found: tuple[MatchConfidence, int | None, list[int]], *items: PlexItem) -> None:
    assert found[:2] == (LOW, None)
    assert sorted(found[2]) == sorted(item.rating_key for item in items)


# --- the steps, one after the other -------------------------------------------------------------------------


def test_the_mapped_path_decides_before_all_names(world: World, indexed: bool) -> None:
    right, *_ = add(world, "/media/a/1.mp4", "/media/b/1.mp4", "/x/a/1.mp4")
    assert_high(world.find("/data/a/1.mp4", 100, indexed=indexed), right)


def test_the_path_decides_even_when_the_size_differs(world: World, indexed: bool) -> None:
    (right,) = add(world, "/media/a/1.mp4", size=200)
    add(world, "/media/b/1.mp4", size=100)
    assert_high(world.find("/data/a/1.mp4", 100, indexed=indexed), right)


def test_without_the_path_the_name_decides(world: World, indexed: bool) -> None:
    right, _ = add(world, "/elsewhere/One.mp4", "/elsewhere/Two.mp4")
    assert_high(world.find("/stash/One.mp4", 100, indexed=indexed), right)


def test_a_name_in_its_own_case_goes_before_another_case(world: World, indexed: bool) -> None:
    right, _ = add(world, "/a/One.mp4", "/b/ONE.mp4")
    assert_high(world.find("/stash/One.mp4", 100, indexed=indexed), right)


def test_in_the_end_the_case_of_a_name_does_not_matter(world: World, indexed: bool) -> None:
    (right,) = add(world, "/elsewhere/ONE.MP4")
    assert_high(world.find("/stash/one.mp4", 100, indexed=indexed), right)


def test_nothing_that_fits_is_not_found(world: World, indexed: bool) -> None:
    add(world, "/media/a/Other.mp4")
    with pytest.raises(PlexNotFound, match=r"One\.mp4"):
        world.find("/data/a/One.mp4", 100, indexed=indexed)


@pytest.mark.parametrize(
    "name", ["One", "One.mp", "ne.mp4", "One.mp4.part", "One .mp4", "%.mp4", "*.mp4", "_ne.mp4"]
)
def test_a_part_of_a_name_or_a_pattern_is_no_name(world: World, name: str) -> None:
    add(world, "/media/a/One.mp4")
    with pytest.raises(PlexNotFound):
        world.find(f"/data/a/{name}", 100)


def test_a_library_without_items_is_not_found(world: World, indexed: bool) -> None:
    with pytest.raises(PlexNotFound):
        world.find("/data/a/One.mp4", 100, indexed=indexed)


def test_no_library_at_all_is_not_found() -> None:
    with pytest.raises(PlexNotFound):
        find_plex_items_with_confidence([], "/data/a/One.mp4")


# --- sizes --------------------------------------------------------------------------------------------------


def test_a_size_narrows_names(world: World, indexed: bool) -> None:
    (right,) = add(world, "/a/1.mp4", size=100)
    add(world, "/b/1.mp4", size=200)
    assert_high(world.find("/stash/1.mp4", 100, indexed=indexed), right)


def test_another_size_is_another_file(world: World, indexed: bool) -> None:
    add(world, "/a/1.mp4", size=200)
    with pytest.raises(PlexNotFound):
        world.find("/stash/1.mp4", 100, indexed=indexed)


def test_the_size_decides_before_the_case_of_the_name(world: World, indexed: bool) -> None:
    add(world, "/a/One.mp4", size=200)
    (right,) = add(world, "/b/ONE.mp4", size=100)
    assert_high(world.find("/stash/One.mp4", 100, indexed=indexed), right)


def test_the_size_decides_before_the_folders(world: World, indexed: bool) -> None:
    add(world, "/m/site/a/1.mp4", size=200)
    (right,) = add(world, "/m/else/1.mp4", size=100)
    assert_high(world.find("/stash/site/a/1.mp4", 100, indexed=indexed), right)


def test_an_unknown_size_rejects_nothing(world: World, indexed: bool) -> None:
    (right,) = add(world, "/a/1.mp4", size=200)
    assert_high(world.find("/stash/1.mp4", None, indexed=indexed), right)


def test_zero_is_a_size(world: World) -> None:
    add(world, "/a/1.mp4", size=200)
    with pytest.raises(PlexNotFound):
        world.find("/stash/1.mp4", 0)


# --- folders ------------------------------------------------------------------------------------------------


def test_the_most_shared_folders_decide(world: World, indexed: bool) -> None:
    right, *_ = add(world, "/m/site/a/1.mp4", "/m/other/a/1.mp4", "/m/site/b/1.mp4")
    assert_high(world.find("/stash/site/a/1.mp4", 100, indexed=indexed), right)


def test_as_many_shared_folders_decide_nothing(world: World, indexed: bool) -> None:
    items = add(world, "/m/x/a/1.mp4", "/m/y/a/1.mp4")
    add(world, "/m/y/b/1.mp4")
    assert_low(world.find("/stash/site/a/1.mp4", 100, indexed=indexed), *items)


def test_several_by_name_alone_are_all_candidates(world: World, indexed: bool) -> None:
    items = add(world, "/m/x/1.mp4", "/m/y/1.mp4", "/m/z/1.mp4")
    assert_low(world.find("/stash/1.mp4", 100, indexed=indexed), *items)


def test_many_candidates_are_ambiguous_too(world: World) -> None:
    add(world, *(f"/m/{number}/1.mp4" for number in range(50)))
    confidence, item, candidates = world.find("/stash/1.mp4", 100)
    assert (confidence, item) == (LOW, None)
    assert len(candidates) > 1


# --- several files, versions, libraries ---------------------------------------------------------------------


def test_an_item_that_two_files_lead_to_is_one_item(world: World, indexed: bool) -> None:
    (right,) = add(world, "/media/a/1.mp4", versions=["/media/a/1-4k.mkv"])
    others = [("/data/a/1-4k.mkv", 100)]
    assert_high(world.find("/data/a/1.mp4", 100, others=others, indexed=indexed), right)


def test_any_part_of_an_item_leads_to_it(world: World, indexed: bool) -> None:
    (right,) = add(
        world, "/media/a/CD1.avi", parts=["/media/a/CD2.avi"], versions=["/media/a/whole.mkv"]
    )
    for name in ("CD1.avi", "CD2.avi", "whole.mkv"):
        assert_high(world.find(f"/data/a/{name}", 100, indexed=indexed), right)


def test_a_further_file_finds_the_item_when_the_first_is_not_in_plex(
    world: World, indexed: bool
) -> None:
    (right,) = add(world, "/media/a/2.mp4")
    assert_high(
        world.find("/data/a/1.mp4", 7, others=[("/data/a/2.mp4", 100)], indexed=indexed), right
    )


def test_two_files_that_lead_to_two_items_are_ambiguous(world: World, indexed: bool) -> None:
    items = add(world, "/media/a/1.mp4", "/media/a/2.mp4")
    assert_low(
        world.find("/data/a/1.mp4", 100, others=[("/data/a/2.mp4", 100)], indexed=indexed), *items
    )


def test_a_file_in_two_libraries_is_ambiguous(world: World, indexed: bool) -> None:
    (one,) = add(world, "/media/a/1.mp4")
    other = world.plex.add_item(
        world.plex.add_library("Again", ["/media"]), "/media/a/1.mp4", size=100
    )
    assert_low(world.find("/data/a/1.mp4", 100, indexed=indexed), one, other)


def test_libraries_that_were_not_chosen_do_not_count(world: World, indexed: bool) -> None:
    (one,) = add(world, "/media/a/1.mp4")
    world.plex.add_item(world.plex.add_library("Again", ["/media"]), "/media/a/1.mp4", size=100)
    world.refresh()
    world._sections = world.client.libraries(("Scenes",))
    assert_high(world.find("/data/a/1.mp4", 100, indexed=indexed), one)


def test_a_file_in_another_library_than_the_first_is_found(world: World, indexed: bool) -> None:
    other = world.plex.add_item(world.plex.add_library("More", ["/more"]), "/more/1.mp4", size=100)
    assert_high(world.find("/stash/1.mp4", 100, indexed=indexed), other)


# --- odd names ----------------------------------------------------------------------------------------------

ODD = [
    "[site] 100% 'real' \"x\".mp4",
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
    world: World, name: str, form: str, folder: str
) -> None:
    (right,) = add(
        world, unicodedata.normalize("NFD" if form == "NFC" else "NFC", f"/media/a/{name}")
    )
    add(world, "/media/a/decoy.mp4", "/media/a/decoy")
    assert_high(world.find(unicodedata.normalize(form, f"{folder}/{name}"), 100), right)  # type: ignore[arg-type]


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
def test_paths_of_two_systems_meet(
    world: World, stash: str, there: str, mapping: tuple[str, str]
) -> None:
    (right,) = add(world, there)
    add(world, there.replace("a", "z"))
    assert_high(world.find(stash, 100, mappings=[mapping]), right)
    assert_high(world.find(stash, 100, mappings=[]), right)


# --- an index that lags behind ------------------------------------------------------------------------------


def stale(world: World) -> None:
    world.refresh()
    world.clock.tick()


def test_a_moved_file_is_found_at_its_new_place(world: World) -> None:
    (item,) = add(world, "/media/a/1.mp4")
    stale(world)
    world.plex.move_file(item.rating_key, "/media/b/2.mp4")
    assert_high(world.find("/data/b/2.mp4", 100), item)


def test_a_file_that_moved_away_is_not_found_at_its_old_place(world: World) -> None:
    (item,) = add(world, "/media/a/1.mp4")
    stale(world)
    world.plex.move_file(item.rating_key, "/media/b/2.mp4")
    with pytest.raises(PlexNotFound):
        world.find("/data/a/1.mp4", 100)


def test_files_that_changed_places_are_told_apart(world: World) -> None:
    one, other = add(world, "/media/a/1.mp4", "/media/b/1.mp4")
    stale(world)
    world.plex.move_file(one.rating_key, "/media/aside.mp4")
    world.plex.move_file(other.rating_key, "/media/a/1.mp4")
    world.plex.move_file(one.rating_key, "/media/b/1.mp4")
    assert_high(world.find("/data/a/1.mp4", 100), other)
    assert_high(world.find("/data/b/1.mp4", 100), one)


def test_a_replaced_item_is_found_under_its_new_key(world: World) -> None:
    add(world, "/media/a/1.mp4", "/media/b/1.mp4")
    stale(world)
    fresh = world.plex.replace_item("/media/a/1.mp4")
    assert_high(world.find("/data/a/1.mp4", 100), fresh)


def test_a_removed_item_gives_way_to_no_other(world: World) -> None:
    (item,) = add(world, "/media/a/1.mp4")
    add(world, "/media/b/1.mp4", size=200)
    stale(world)
    world.plex.remove_item(item.rating_key)
    with pytest.raises(PlexNotFound):
        world.find("/data/a/1.mp4", 100)


def test_a_new_item_goes_before_a_namesake_that_is_known(world: World) -> None:
    add(world, "/media/a/1.mp4")
    stale(world)
    (right,) = add(world, "/media/b/1.mp4")
    assert_high(world.find("/data/b/1.mp4", 100), right)


def test_a_new_namesake_makes_a_match_by_name_ambiguous(world: World) -> None:
    items = add(world, "/x/1.mp4")
    stale(world)
    items += add(world, "/y/1.mp4")
    assert_low(world.find("/stash/1.mp4", 100), *items)


def test_another_file_under_the_same_key_and_path_is_another_file(world: World) -> None:
    (item,) = add(world, "/x/1.mp4", size=100)
    stale(world)
    item.parts[0].size = 999
    world.plex.refresh_item(item.rating_key)
    with pytest.raises(PlexNotFound):
        world.find("/stash/1.mp4", 100)


def test_a_refresh_that_fails_leads_to_no_namesake_later(world: World) -> None:
    add(world, "/media/a/1.mp4", "/media/b/1.mp4")
    stale(world)
    assert world.sections
    fresh = world.plex.replace_item("/media/a/1.mp4")
    rule = world.plex.faults.add(Answer(503), path="/library/sections")
    with pytest.raises(PlexTemporaryError):
        world.find("/data/a/1.mp4", 100)
    rule.remove()
    assert_high(world.find("/data/a/1.mp4", 100), fresh)


def test_one_removed_candidate_of_many_takes_no_other_with_it(world: World) -> None:
    items = add(world, *(f"/m/{number}/1.mp4" for number in range(3)))
    stale(world)
    world.plex.remove_item(items[0].rating_key)
    assert_low(world.find("/stash/1.mp4", 100), *items[1:])


def test_where_plex_answers_404_for_all_the_others_are_still_read(world: World) -> None:
    """Whether Plex skips an unknown key among many or refuses all is not known."""
    items = add(world, *(f"/m/{number}/1.mp4" for number in range(3)))
    stale(world)
    gone = items[1].rating_key
    world.plex.remove_item(gone)

    def asks_for_several_and_the_gone_one(request: Request) -> bool:
        keys = request.path.rpartition("/")[2].split(",")
        return len(keys) > 1 and str(gone) in keys

    world.plex.faults.add(
        Answer(404), path="/library/metadata/", when=asks_for_several_and_the_gone_one
    )
    assert_low(world.find("/stash/1.mp4", 100), items[0], items[2])


# --- what comes back, and what it costs ---------------------------------------------------------------------


def test_an_exact_match_with_a_warm_index_is_one_request(world: World) -> None:
    (item,) = add(world, "/media/a/1.mp4")
    add(world, *(f"/media/b/{number}.mp4" for number in range(50)))
    world.refresh()
    world.plex.log.clear()
    world.find("/data/a/1.mp4", 100)
    assert requests_of(world.plex) == [("GET", f"/library/metadata/{item.rating_key}")]


def test_a_match_by_name_with_a_warm_index_is_few_requests(world: World) -> None:
    add(world, "/elsewhere/1.mp4")
    world.refresh()
    world.plex.log.clear()
    world.find("/stash/1.mp4", 100)
    assert len(world.plex.log) <= 2


def test_a_miss_with_a_warm_index_is_one_request(world: World) -> None:
    add(world, "/media/a/1.mp4")
    world.refresh()
    world.plex.log.clear()
    with pytest.raises(PlexNotFound):
        world.find("/data/a/2.mp4", 100)
    assert requests_of(world.plex) == [("GET", "/library/sections")]


def test_the_items_that_come_back_are_whole(world: World) -> None:
    genres = ["A", "B", "C", "D"]
    add(world, "/media/a/1.mp4", genres=genres, locked=["genre"])
    _, item, _ = find_plex_items_with_confidence(
        world.client.get_library("Scenes"), "/data/a/1.mp4", MAPPINGS, index=world.index
    )
    world.plex.log.clear()
    assert item is not None
    assert describe_candidates([read_item(item)])[0]["title"] == "1"
    assert [tag.tag for tag in item.genres] == genres
    assert len(world.plex.log) == 0


def test_a_single_library_may_be_given_as_it_is(world: World) -> None:
    (right,) = add(world, "/media/a/1.mp4")
    section = world.client.get_library("Scenes")
    found = find_plex_item_by_path(section, "/data/a/1.mp4", MAPPINGS)
    assert found is not None and int(found.ratingKey) == right.rating_key


def test_find_by_path_is_none_when_ambiguous_and_raises_when_there_is_nothing(world: World) -> None:
    add(world, "/x/1.mp4", "/y/1.mp4")
    sections = [world.client.get_library("Scenes")]
    assert find_plex_item_by_path(sections, "/stash/1.mp4", index=world.index) is None
    with pytest.raises(PlexNotFound):
        find_plex_item_by_path(sections, "/stash/2.mp4", index=world.index)


def test_candidates_are_described_for_a_later_choice(world: World) -> None:
    add(world, "/x/1.mp4", title="First", size=5)
    add(world, "/y/1.mp4", title="Second", size=5)
    _, _, candidates = find_plex_items_with_confidence(
        [world.client.get_library("Scenes")], "/stash/1.mp4", (), 5, index=world.index
    )
    described = describe_candidates(map(read_item, candidates))
    assert [(one["library"], one["title"], one["files"]) for one in described] == [
        ("Scenes", "First", [{"path": "/x/1.mp4", "size": 5}]),
        ("Scenes", "Second", [{"path": "/y/1.mp4", "size": 5}]),
    ]
    error = AmbiguousMatch("several", described)
    assert isinstance(error, PermanentError)
    assert error.details == {"candidates": described}
    assert TOKEN not in repr(described)
