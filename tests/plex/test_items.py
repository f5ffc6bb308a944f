"""Fields of an item that are seldom set are read as well."""

from __future__ import annotations

import pytest

from plex.client import PlexClient
from plex.items import PlexItem
from tests.simulators.plex import PlexItem as Simulated
from tests.simulators.plex import PlexLibrary, PlexSimulator

SET = {
    "contentRating.value": "XXX",
    "tagline.value": "ABC-1",
    "originalTitle.value": "Le titre",
    "titleSort.value": "Series 01",
    "label[0].tag.tag": "stash",
    "label[1].tag.tag": "hidden",
}
LOCKED = {f"{name}.locked": 1 for name in ("contentRating", "tagline", "originalTitle", "label")}


@pytest.fixture
def library(plex: PlexSimulator) -> PlexLibrary:
    return plex.add_library("Scenes", ["/media"])


def read(client: PlexClient, item: Simulated) -> PlexItem:
    (found,) = client.fetch_items([item.rating_key])
    return found


def test_the_seldom_set_fields_are_written_read_and_emptied(
    plex: PlexSimulator, client: PlexClient, library: PlexLibrary
) -> None:
    item = plex.add_item(library, "/media/The Title.mp4")
    before = read(client, item)
    names = ("contentRating", "tagline", "originalTitle", "titleSort", "label")
    assert [before.values[name] for name in names] == ["", "", "", "", ()]

    client.edit(before, {**SET, **LOCKED, "titleSort.locked": 1})
    after = read(client, item)
    assert [after.values[name] for name in names] == [
        *("XXX", "ABC-1", "Le titre", "Series 01", ("Stash", "Hidden"))
    ]
    assert after.locked.issuperset(names)

    client.edit(
        after,
        {
            **{f"{name}.value": "" for name in names if name != "label"},
            **{f"{name}.locked": 0 for name in names},
            "label[].tag.tag-": "Stash,Hidden",
        },
    )
    assert read(client, item).values == before.values
    assert item.values["titleSort"] == "Title", "Plex derives it again"


def test_a_sort_title_that_plex_derived_is_none(
    plex: PlexSimulator, client: PlexClient, library: PlexLibrary
) -> None:
    item = plex.add_item(library, "/media/The Title.mp4")
    assert read(client, item).title_sort == ""
    client.edit(read(client, item), {"titleSort.value": "The Title", "titleSort.locked": 1})
    assert read(client, item).title_sort == "The Title", "Plex leaves out one that is the title"


def test_a_refresh_keeps_only_the_fields_that_are_locked(
    plex: PlexSimulator, client: PlexClient, library: PlexLibrary
) -> None:
    item = plex.add_item(library, "/media/a.mp4")
    client.edit(read(client, item), {**SET, "contentRating.locked": 1, "label.locked": 1})
    plex.refresh_item(item.rating_key)
    found = read(client, item)
    assert (found.content_rating, found.labels) == ("XXX", ("Stash", "Hidden"))
    assert (found.tagline, found.original_title, item.values["titleSort"]) == ("", "", "a")


def test_a_collections_sort_title_is_set_and_reset(
    plex: PlexSimulator, client: PlexClient, library: PlexLibrary
) -> None:
    plex.add_item(library, "/media/a.mp4", collections=["The Series"])
    (collection,) = client.collections(library.key)
    assert collection.title_sort == ""

    client.sort_collection(collection, "Series")
    found = client.collection(collection.rating_key)
    assert found is not None
    assert (found.title_sort, found.title, "titleSort" in found.locked) == (
        "Series", "The Series", True,
    )  # fmt: skip

    client.sort_collection(found, "")
    found = client.collection(collection.rating_key)
    assert found is not None
    assert (found.title_sort, found.locked) == ("", frozenset())


@pytest.mark.parametrize("lock_on_edit", [False, True])
@pytest.mark.parametrize("is_locked", [False, True])
def test_a_renamed_collections_title_is_locked_only_if_it_was(
    plex: PlexSimulator,
    client: PlexClient,
    library: PlexLibrary,
    lock_on_edit: bool,
    is_locked: bool,
) -> None:
    plex.settings.lock_on_edit = lock_on_edit
    plex.add_item(library, "/media/a.mp4", collections=["Series"])
    known = plex.collection(library, "Series")
    assert known is not None
    known.locked.update({"title"} if is_locked else ())
    collection = client.collection(known.rating_key)
    assert collection is not None
    client.rename_collection(collection, "Saga")
    found = client.collection(known.rating_key)
    assert found is not None
    assert (found.title, "title" in found.locked) == ("Saga", is_locked)
