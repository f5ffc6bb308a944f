"""The index of Plex's files is complete after every change and cheap without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.sqlite import IN_MEMORY, connect
from plex.client import PAGE
from plex.exceptions import PlexListingError, PlexTemporaryError
from plex.index import SECOND_LOOK, FileIndex
from plex.paths import normalize
from tests.harness.clock import FakeClock
from tests.harness.plex_only import PlexHarness
from tests.plex.support import open_index
from tests.simulators.httpd import Answer, Delay, Request, Reset
from tests.simulators.plex import PlexLibrary, PlexSimulator


def files_in_plex(plex: PlexSimulator, *libraries: PlexLibrary) -> set[tuple[int, str, int]]:
    """Return (rating key, path, size) of every part in Plex."""
    return {
        (item.rating_key, part.file, part.size)
        for library in libraries
        for item in plex.items(library)
        for part in item.parts
    }


def files_in_index(
    index: FileIndex, plex: PlexSimulator, *libraries: PlexLibrary
) -> set[tuple[int, str, int | None]]:
    """Return what the index knows about the paths in Plex."""
    keys = [library.key for library in libraries]
    paths = {path for _, path, _ in files_in_plex(plex, *libraries)}
    return {
        (one.rating_key, one.path, one.size)
        for path in paths
        for one in index.by_path(normalize(path), keys)
    }


def paths_in(index: FileIndex) -> set[str]:
    return {row[0] for row in index._db.execute("SELECT path FROM files WHERE path != ''")}


def fill(harness: PlexHarness, count: int, folder: str = "/media/many") -> None:
    """Add items at fifty a second."""
    for start in range(0, count, 50):
        numbers = range(start, min(count, start + 50))
        harness.plex.add_items(
            harness.library, [f"{folder}/{number:05d}.mp4" for number in numbers]
        )
        harness.clock.advance(1)


def assert_complete(harness: PlexHarness) -> None:
    assert files_in_index(harness.index, harness.plex, harness.library) == files_in_plex(
        harness.plex, harness.library
    )
    assert harness.index.count() == len(files_in_plex(harness.plex, harness.library))


# --- the first listing


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2000])
def test_a_library_of_any_size_is_listed_whole(harness: PlexHarness, count: int) -> None:
    fill(harness, count)
    harness.refresh()
    assert_complete(harness)
    pages = harness.plex.log.count("GET", "/library/sections/1/all")
    assert pages == max(1, -(-count // PAGE))


@pytest.mark.parametrize(("count", "page"), [(10, 3), (9, 3), (25, 7), (1005, 400)])
def test_pages_that_hold_fewer_items_than_asked_for_lose_none(
    harness: PlexHarness, count: int, page: int
) -> None:
    harness.plex.settings.max_page = page
    fill(harness, count)
    harness.refresh()
    assert_complete(harness)


def test_twenty_thousand_items_are_listed_in_pages(harness: PlexHarness) -> None:
    fill(harness, 20_000)
    harness.refresh()
    assert harness.index.count() == 20_000
    assert harness.plex.log.count("GET", "/library/sections/1/all") == 20
    sizes = {
        one.request.headers.get("X-Plex-Container-Size")
        for one in harness.plex.log.matching("GET", r".*/all")
    }
    assert sizes == {"1000"}
    assert [one.path for one in harness.index.by_name("12345.MP4", [1])] == [
        "/media/many/12345.mp4"
    ]
    harness.plex.log.clear()
    harness.clock.advance(10)
    harness.plex.add_item(harness.library, "/media/new.mp4")
    assert harness.refresh()
    assert harness.index.by_path("/media/new.mp4", [1])
    assert len(harness.plex.log) == 2


def test_every_part_of_every_version_is_known(harness: PlexHarness) -> None:
    item = harness.plex.add_item(
        harness.library, "/media/CD1.avi", parts=["/media/CD2.avi"], versions=["/media/4k.mkv"]
    )
    harness.refresh()
    for path in ("/media/CD1.avi", "/media/CD2.avi", "/media/4k.mkv"):
        assert [one.rating_key for one in harness.index.by_path(path, [1])] == [item.rating_key]


def test_a_listing_makes_no_request_per_item(harness: PlexHarness) -> None:
    fill(harness, 50)
    harness.refresh()
    assert harness.plex.log.count("GET", "/library/metadata") == 0


def test_an_item_without_a_file_costs_no_full_listing_at_every_change(harness: PlexHarness) -> None:
    fill(harness, 2500)
    harness.plex.add_item(harness.library, "/media/ghost.mp4").parts[0].file = ""
    harness.refresh()
    harness.plex.log.clear()
    harness.clock.advance(10)
    harness.plex.add_item(harness.library, "/media/new.mp4")
    harness.refresh()
    assert len(harness.plex.log) <= 3


def test_only_the_sections_asked_for_are_searched(harness: PlexHarness) -> None:
    other = harness.plex.add_library("Other", ["/other"])
    harness.plex.add_item(harness.library, "/media/a.mp4")
    harness.plex.add_item(other, "/other/a.mp4")
    harness.refresh()
    assert len(harness.index.by_name("a.mp4", [harness.library.key, other.key])) == 2
    assert [one.path for one in harness.index.by_name("a.mp4", [other.key])] == ["/other/a.mp4"]
    assert harness.index.by_name("a.mp4", []) == []
    assert harness.index.knows([harness.library.key, other.key])
    assert not harness.index.knows([harness.library.key, 99])


# --- refreshes


def test_a_refresh_without_changes_is_one_request(harness: PlexHarness) -> None:
    fill(harness, 30)
    harness.refresh()
    harness.plex.log.clear()
    assert not harness.refresh()
    assert [one.request.path for one in harness.plex.log.all()] == ["/library/sections"]


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


def _change(harness: PlexHarness, kind: str) -> None:
    plex, library = harness.plex, harness.library
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
def test_after_any_change_the_index_is_complete(
    harness: PlexHarness, kind: str, later: float
) -> None:
    fill(harness, 40)
    harness.refresh()
    before = {path for _, path, _ in files_in_plex(harness.plex, harness.library)}
    harness.clock.advance(later)
    _change(harness, kind)
    assert harness.refresh()
    assert_complete(harness)
    gone = before - {path for _, path, _ in files_in_plex(harness.plex, harness.library)}
    assert not [path for path in gone if harness.index.by_path(path, [harness.library.key])]
    assert not harness.refresh()


def test_a_change_in_the_second_of_the_last_look_is_seen_behind_a_page_of_others(
    harness: PlexHarness,
) -> None:
    """Plex's times are whole seconds, and items of one second come in any order."""
    fill(harness, 100)
    harness.plex.add_items(
        harness.library, [f"/media/same/{number:03d}.mp4" for number in range(150)]
    )
    harness.refresh()
    for item in harness.plex.items(harness.library)[100:]:
        harness.plex.move_file(item.rating_key, f"/media/moved/{item.rating_key}.mp4")
    harness.refresh()
    assert_complete(harness)


def test_the_age_counts_from_the_question(harness: PlexHarness, clock: FakeClock) -> None:
    """What changes while Plex answers may not be in its answer."""
    connection = connect(IN_MEMORY)
    index = FileIndex(connection, now=clock.time)

    def take_long(_request: Request) -> bool:
        clock.advance(7)
        return False

    rule = harness.plex.faults.add(Delay(0), when=take_long)
    index.refresh(harness.client, harness.section_ids)
    rule.remove()
    assert index.age() >= 7
    connection.close()


def test_a_few_changes_in_a_large_library_cost_few_requests(harness: PlexHarness) -> None:
    fill(harness, 5000)
    harness.refresh()
    harness.plex.log.clear()
    for number in range(3):
        harness.clock.advance(10)
        harness.plex.add_item(harness.library, f"/media/new/{number}.mp4")
        harness.refresh()
    assert len(harness.plex.log) == 6
    assert_complete(harness)


def test_a_change_in_one_library_costs_the_other_nothing(harness: PlexHarness) -> None:
    other = harness.plex.add_library("Other", ["/other"])
    harness.plex.add_item(other, "/other/a.mp4")
    fill(harness, 5)
    harness.refresh()
    harness.plex.log.clear()
    harness.clock.advance(10)
    harness.plex.add_item(harness.library, "/media/new.mp4")
    harness.refresh()
    assert harness.plex.log.count("GET", f"/library/sections/{other.key}/all") == 0


def test_a_deleted_entry_comes_back_with_the_next_refresh(harness: PlexHarness) -> None:
    """An entry that is dropped by mistake must not be lost for ever."""
    fill(harness, 5)
    harness.refresh()
    harness.index.forget(harness.plex.items(harness.library)[2].rating_key)
    harness.refresh()
    assert_complete(harness)


def test_an_index_is_stale_after_the_clock_was_set_back(
    harness: PlexHarness, clock: FakeClock
) -> None:
    """Time that the clock lost must not make the index look fresh."""
    connection = connect(IN_MEMORY)
    index = FileIndex(connection, now=clock.time)
    index.refresh(harness.client, harness.section_ids)
    assert index.age() == 0
    clock.now -= 3600
    assert not index.age() < 0
    connection.close()


def test_an_aborted_listing_leaves_no_stale_entries(harness: PlexHarness) -> None:
    fill(harness, 2500)
    gone = harness.plex.items(harness.library)[10]
    rule = harness.plex.faults.add(
        Answer(503),
        path="/library/sections/1/all",
        when=lambda request: request.headers.get("X-Plex-Container-Start") == "1000",
    )
    with pytest.raises(PlexTemporaryError):
        harness.refresh()
    rule.remove()
    harness.plex.remove_item(gone.rating_key)
    harness.refresh()
    assert harness.index.by_path(gone.path, [1]) == []
    assert_complete(harness)


def test_the_refresh_after_an_aborted_one_is_complete(harness: PlexHarness) -> None:
    fill(harness, 20)
    harness.refresh()
    harness.clock.advance(10)
    _change(harness, "move and remove")
    rule = harness.plex.faults.add(Reset(), path="/library/sections/1/all")
    with pytest.raises(PlexTemporaryError):
        harness.refresh()
    rule.remove()
    harness.refresh()
    assert_complete(harness)


def test_a_listing_that_ends_early_counts_as_incomplete(harness: PlexHarness) -> None:
    fill(harness, 20)
    harness.refresh()
    harness.clock.advance(10)
    _change(harness, "replace")
    body = b'<MediaContainer size="0" totalSize="20" offset="0"/>'
    rule = harness.plex.faults.add(Answer(200, body), path="/library/sections/1/all")
    with pytest.raises(PlexTemporaryError):
        harness.refresh()
    rule.remove()
    harness.refresh()
    assert_complete(harness)


def test_items_removed_while_the_pages_are_read_hide_no_others(harness: PlexHarness) -> None:
    fill(harness, 3000)
    first = harness.plex.items(harness.library)[0]

    def remove_one(request: object) -> bool:
        if (
            first.rating_key in harness.library.items
            and harness.plex.log.count("GET", "/library/sections/1/all") == 2
        ):
            harness.plex.remove_item(first.rating_key)
        return False

    harness.plex.faults.add(Answer(500), path="/library/sections/1/all", when=remove_one)
    harness.refresh()
    harness.refresh()
    assert_complete(harness)


# --- on disk


def test_an_index_on_disk_is_as_warm_after_a_restart(harness: PlexHarness, tmp_path: Path) -> None:
    fill(harness, 30)
    with open_index(tmp_path / "index.db") as index:
        index.refresh(harness.client, harness.section_ids)
    harness.plex.log.clear()
    with open_index(tmp_path / "index.db") as index:
        assert index.knows(harness.section_ids)
        assert index.count() == 30
        assert not index.refresh(harness.client, harness.section_ids)
        assert len(harness.plex.log) == 1
        harness.clock.advance(10)
        _change(harness, "add and remove")
        index.refresh(harness.client, harness.section_ids)
        assert files_in_index(index, harness.plex, harness.library) == files_in_plex(
            harness.plex, harness.library
        )
        assert index.count() == 30


# --- what passes need of it


def test_another_server_begins_a_new_index(harness: PlexHarness) -> None:
    """Its rating keys mean other items."""
    harness.plex.add_item(harness.library, "/media/a.mp4")
    harness.index.use_server("one")
    harness.refresh()
    first = harness.index.id
    harness.index.use_server("one")
    assert (harness.index.id, harness.index.count()) == (first, 1)
    harness.index.use_server("other")
    assert harness.index.id != first
    assert harness.index.count() == 0
    assert not harness.index.knows(harness.section_ids)
    harness.refresh()
    assert_complete(harness)


def test_the_first_server_keeps_what_was_listed(harness: PlexHarness) -> None:
    harness.plex.add_item(harness.library, "/media/a.mp4")
    harness.refresh()
    harness.index.use_server("one")
    assert harness.index.count() == 1


def test_times_of_items_are_known_and_noted(harness: PlexHarness) -> None:
    items = [harness.plex.add_item(harness.library, f"/media/{name}.mp4") for name in "ab"]
    harness.refresh()
    keys = [item.rating_key for item in items]
    read = {key: harness.read(key).updated_at for key in keys}
    assert harness.index.updated_at([*keys, 999]) == read
    assert harness.index.updated_at([]) == {}
    assert set(harness.index.updated_at([*keys, *range(1000, 2500)])) == set(keys)
    harness.clock.advance(60)
    harness.plex.refresh_item(keys[0])
    later = harness.read(keys[0])
    assert later.updated_at != read[keys[0]]
    harness.index.note_read([later])
    assert harness.index.updated_at(keys) == {**read, keys[0]: later.updated_at}


def test_changed_items_are_collected_until_they_are_taken(harness: PlexHarness) -> None:
    items = [harness.plex.add_item(harness.library, f"/media/{name}.mp4") for name in "abc"]
    harness.refresh()
    assert harness.index.changed == {item.rating_key for item in items}  # never seen before
    harness.index.changed.clear()
    harness.refresh()
    assert harness.index.changed == set()
    harness.clock.advance(60)
    harness.plex.refresh_item(items[1].rating_key)
    harness.refresh()
    assert harness.index.changed == {items[1].rating_key}


def test_paths_of_new_files_are_told_once(harness: PlexHarness) -> None:
    first = harness.plex.add_item(harness.library, "/media/One.mp4")
    harness.refresh()
    paths, last = harness.index.new_paths(0)
    assert paths == ["/media/One.mp4"]
    assert harness.index.new_paths(last) == ([], last)
    harness.clock.advance(60)
    harness.plex.refresh_item(first.rating_key)  # the same file in a changed item
    harness.plex.add_item(harness.library, "/media/Two.MP4")
    harness.refresh()
    paths, newest = harness.index.new_paths(last)
    assert paths == ["/media/Two.MP4"]
    assert newest > last
    harness.plex.move_file(first.rating_key, "/media/Moved.mp4")
    harness.clock.advance(60)
    harness.plex.refresh_item(first.rating_key)
    harness.refresh()
    assert harness.index.new_paths(newest)[0] == ["/media/Moved.mp4"]


def test_a_look_finds_what_plexs_marks_do_not_tell(harness: PlexHarness) -> None:
    fill(harness, 3)
    keys = {item.rating_key for item in harness.plex.items(harness.library)}
    harness.refresh()
    connection = harness.index._db
    connection.execute("UPDATE sections SET newest = newest + 1000")
    connection.execute("UPDATE files SET updated_at = updated_at + 1000")  # a restored Plex
    harness.index.changed.clear()
    harness.plex.log.clear()
    assert not harness.refresh()
    assert len(harness.plex.log) == 1
    assert harness.index.refresh(harness.client, harness.section_ids, look=True)
    assert harness.index.changed == keys
    assert harness.index.updated_at(list(keys)) == {
        key: harness.read(key).updated_at for key in keys
    }


def test_a_section_is_listed_whole_again_after_a_day(harness: PlexHarness) -> None:
    clock = harness.clock
    index = FileIndex(now=clock.time)
    fill(harness, 3)
    index.refresh(harness.client, harness.section_ids)
    clock.advance(86_399)
    assert not index.refresh(harness.client, harness.section_ids)
    assert index.is_complete(harness.section_ids)
    clock.advance(2)
    assert index.refresh(harness.client, harness.section_ids)
    clock.now -= 7 * 86_400  # listed in the future: the clock was wrong
    assert not index.is_complete(harness.section_ids)
    assert index.refresh(harness.client, harness.section_ids)
    assert index.is_complete(harness.section_ids)


def test_what_is_gone_is_only_known_from_a_complete_listing(harness: PlexHarness) -> None:
    index = FileIndex(now=harness.clock.time)
    assert not index.is_complete([1])
    assert index.listed_at() is None
    item = harness.plex.add_item(harness.library, "/media/a.mp4")
    index.refresh(harness.client, [1])
    assert index.listed_at() == harness.clock.time()
    assert index.is_complete([1])
    assert not index.is_complete([1, 2])
    index.forget(item.rating_key)
    assert not index.is_complete([1])
    index.refresh(harness.client, [1])
    assert index.is_complete([1])
    harness.clock.advance(2 * 86_400)
    assert not index.is_complete([1])


def test_a_listing_in_which_items_came_or_went_is_not_complete(harness: PlexHarness) -> None:
    fill(harness, 1500)
    index = FileIndex(now=harness.clock.time)
    first = harness.plex.items(harness.library)[0]

    def remove_one(request: object) -> bool:
        if (
            first.rating_key in harness.library.items
            and harness.plex.log.count("GET", "/library/sections/1/all") == 2
        ):
            harness.plex.remove_item(first.rating_key)
        return False

    harness.plex.faults.add(Answer(500), path="/library/sections/1/all", when=remove_one)
    index.refresh(harness.client, [1])
    assert not index.is_complete([1])
    index.refresh(harness.client, [1])
    assert index.is_complete([1])


def test_an_index_of_another_version_is_made_anew(tmp_path: Path, harness: PlexHarness) -> None:
    fill(harness, 2)
    with open_index(tmp_path / "index.db") as index:
        index.refresh(harness.client, [1])
        first = index.id
        index._db.execute("PRAGMA user_version=1")
    with open_index(tmp_path / "index.db") as index:
        assert index.id != first
        assert index.count() == 0
        assert not index.knows([1])


# --- listings that are not believed at once

LISTING = "/library/sections/1/all"
SHORT = {
    "empty": b"<MediaContainer/>",
    "empty with sizes": b'<MediaContainer size="0" totalSize="0"/>',
    "nearly empty": (
        b'<MediaContainer size="1" totalSize="1"><Video ratingKey="999999" updatedAt="9">'
        b'<Media><Part file="/media/new.mp4" size="1"/></Media></Video></MediaContainer>'
    ),
}


@pytest.mark.parametrize("body", SHORT.values(), ids=SHORT)
def test_a_listing_that_lost_most_items_is_not_believed_at_once(
    harness: PlexHarness, body: bytes
) -> None:
    index = FileIndex(now=harness.clock.time)
    fill(harness, 30)
    index.refresh(harness.client, [1])
    paths = paths_in(index)
    harness.clock.advance(90_000)
    rule = harness.plex.faults.add(Answer(200, body), path=LISTING)
    for _ in range(3):
        index.refresh(harness.client, [1])
        assert paths <= paths_in(index)
        assert not index.is_complete([1])
        harness.clock.advance(SECOND_LOOK / 4)
    rule.remove()
    index.refresh(harness.client, [1])
    assert index.is_complete([1])
    assert paths_in(index) - {"/media/new.mp4"} == paths


def test_a_listing_that_stays_short_is_believed_at_the_second_look(harness: PlexHarness) -> None:
    index = FileIndex(now=harness.clock.time)
    fill(harness, 30)
    index.refresh(harness.client, [1])
    for item in harness.plex.items(harness.library)[:20]:
        harness.plex.remove_item(item.rating_key)
    index.refresh(harness.client, [1])
    assert index.count() == 30
    harness.clock.advance(SECOND_LOOK - 1)
    index.refresh(harness.client, [1])
    assert (index.count(), index.is_complete([1])) == (30, False)
    harness.clock.advance(1)
    index.refresh(harness.client, [1])
    assert (index.count(), index.is_complete([1])) == (10, True)


def test_each_short_listing_has_a_second_look_of_its_own(harness: PlexHarness) -> None:
    index = FileIndex(now=harness.clock.time)
    fill(harness, 30)
    index.refresh(harness.client, [1])
    for _ in range(2):
        harness.clock.advance(90_000)
        rule = harness.plex.faults.add(Answer(200, SHORT["empty"]), path=LISTING)
        index.refresh(harness.client, [1])
        assert index.count() == 30
        rule.remove()
        index.refresh(harness.client, [1])
        assert index.is_complete([1])


def test_a_listing_without_half_of_the_items_is_believed_at_once(harness: PlexHarness) -> None:
    index = FileIndex(now=harness.clock.time)
    fill(harness, 30)
    index.refresh(harness.client, [1])
    for item in harness.plex.items(harness.library)[:15]:
        harness.plex.remove_item(item.rating_key)
    index.refresh(harness.client, [1])
    assert (index.count(), index.is_complete([1])) == (15, True)


def test_a_library_that_was_empty_at_first_is_looked_at_again(harness: PlexHarness) -> None:
    fill(harness, 3)
    index = FileIndex(now=harness.clock.time)
    rule = harness.plex.faults.add(Answer(200, SHORT["empty"]), path=LISTING)
    index.refresh(harness.client, [1])
    assert index.count() == 0
    rule.remove()
    assert index.refresh(harness.client, [1])
    assert index.count() == 3


ABSURD = {
    "total": b'<MediaContainer size="1" totalSize="999999999999"><Video ratingKey="1"/>'
    b"</MediaContainer>",
    "number": b'<MediaContainer size="1"><Video ratingKey="99999999999999999999"/>'
    b"</MediaContainer>",
    "no xml": b"it works",
    "page": b"<html><body>log in</body></html>",
}


@pytest.mark.parametrize("body", ABSURD.values(), ids=ABSURD)
def test_an_absurd_listing_is_an_error_of_the_listing(harness: PlexHarness, body: bytes) -> None:
    harness.plex.faults.add(Answer(200, body), path=LISTING)
    with pytest.raises(PlexListingError, match="its list of files can't be read"):
        harness.refresh()
    assert harness.plex.log.count("GET", LISTING) == 1


def test_a_listing_without_an_end_is_given_up(
    harness: PlexHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plex.client.MAX_PAGES", 20)
    body = b'<MediaContainer size="1" totalSize="4000000"><Video ratingKey="1"/></MediaContainer>'
    harness.plex.faults.add(Answer(200, body), path=LISTING)
    with pytest.raises(PlexListingError, match="no end"):
        harness.refresh()
    assert harness.plex.log.count("GET", LISTING) == 20
