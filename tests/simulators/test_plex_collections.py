"""Collections of the simulated Plex, with raw requests and with the real plexapi."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import pytest
import requests
from plexapi.exceptions import NotFound
from plexapi.server import PlexServer

from tests.simulators.plex import (
    Ignored,
    Normalize,
    PlexCollection,
    PlexItem,
    PlexLibrary,
    PlexSimulator,
    TakenNameError,
    trimmed,
)
from tests.simulators.support import FOLDER, START, TOKEN, Clock

HEADERS = {"X-Plex-Token": TOKEN}
PICTURE = b"\xff\xd8 a picture"


@pytest.fixture
def items(plex: PlexSimulator, scenes: PlexLibrary) -> list[PlexItem]:
    return [
        plex.add_item(scenes, f"{FOLDER}/One.mp4", collections=["Drama"]),
        plex.add_item(scenes, f"{FOLDER}/Two.mp4", collections=["First", "Drama"]),
    ]


@pytest.fixture
def drama(plex: PlexSimulator, scenes: PlexLibrary, items: list[PlexItem]) -> PlexCollection:
    collection = plex.collection(scenes, "drama")
    assert collection is not None
    return collection


def get(plex: PlexSimulator, path: str) -> ElementTree.Element:
    answer = requests.get(plex.url + path, headers=HEADERS, timeout=10)
    assert answer.status_code == 200, answer.text
    return ElementTree.fromstring(answer.content)


def put(plex: PlexSimulator, path: str, **parameters: str) -> int:
    names = {name.replace("__", "."): value for name, value in parameters.items()}
    more = ("&" if "?" in path else "?") + urlencode(names) if names else ""
    return requests.put(plex.url + path + more, headers=HEADERS, timeout=10).status_code


def edit(plex: PlexSimulator, collection: PlexCollection, **parameters: str) -> int:
    path = f"/library/sections/{collection.library.key}/all?type=18&id={collection.rating_key}"
    return put(plex, path, **parameters)


def upload(plex: PlexSimulator, collection: PlexCollection, data: bytes) -> int:
    url = f"{plex.url}/library/metadata/{collection.rating_key}/posters"
    return requests.post(url, data, headers=HEADERS, timeout=10).status_code


def tag(plex: PlexSimulator, item: PlexItem, *names: str) -> None:
    tags = {f"collection[{n}].tag.tag": name for n, name in enumerate(names)}
    path = f"/library/metadata/{item.rating_key}?{urlencode(tags or {'collection[].tag': ''})}"
    assert put(plex, path) == 200


def full(plex: PlexSimulator, record: PlexItem | PlexCollection) -> ElementTree.Element:
    return get(plex, f"/library/metadata/{record.rating_key}")[0]


def locks(element: ElementTree.Element) -> list[tuple[str | None, str | None]]:
    return [(one.get("name"), one.get("locked")) for one in element.iter("Field")]


def tags(plex: PlexSimulator, item: PlexItem) -> list[str | None]:
    return [one.get("tag") for one in full(plex, item).iter("Collection")]


def section_of(plex: PlexSimulator) -> Any:
    return PlexServer(plex.url, TOKEN).library.section("Scenes")  # type: ignore[no-untyped-call]


class TestListings:
    @pytest.mark.parametrize("path", ["collections", "all?type=18"])
    def test_each_collection_is_an_item_with_a_key(
        self, plex: PlexSimulator, scenes: PlexLibrary, drama: PlexCollection, path: str
    ) -> None:
        first, second = get(plex, f"/library/sections/{scenes.key}/{path}")
        key = str(drama.rating_key)
        assert first.attrib == {
            "ratingKey": key,
            "key": f"/library/collections/{key}/children",
            "guid": f"collection://{drama.rating_key:024x}",
            "type": "collection",
            "subtype": "movie",
            "title": "Drama",
            "summary": "",
            "childCount": "2",
            "addedAt": str(START),
            "updatedAt": str(START),
        }
        assert (second.get("title"), second.get("childCount")) == ("First", "1")
        assert second.get("ratingKey") not in (key, *map(str, scenes.items))

    def test_edits_and_posters_are_listed_without_locks(
        self, plex: PlexSimulator, clock: Clock, scenes: PlexLibrary, drama: PlexCollection
    ) -> None:
        clock.now += 60
        edit(plex, drama, titleSort__value="zzz", summary__value="S", summary__locked="1")
        assert upload(plex, drama, PICTURE) == 200
        [_, last] = get(plex, f"/library/sections/{scenes.key}/collections")
        assert (last.get("title"), last.get("titleSort"), last.get("summary")) == (
            "Drama", "zzz", "S",
        )  # fmt: skip
        assert (last.get("updatedAt"), last.get("addedAt")) == (str(START + 60), str(START))
        assert list(last) == []
        picture = requests.get(plex.url + last.attrib["thumb"], headers=HEADERS, timeout=10)
        assert picture.content == PICTURE

    def test_pages_and_filters(
        self, plex: PlexSimulator, scenes: PlexLibrary, drama: PlexCollection
    ) -> None:
        base = f"/library/sections/{scenes.key}/all?type=18"
        page = get(plex, base + "&X-Plex-Container-Start=1&X-Plex-Container-Size=1")
        assert (page.get("totalSize"), [one.get("title") for one in page]) == ("2", ["First"])
        for more in ("&title=dram", f"&id={drama.rating_key}", "&limit=1", "&updatedAt>=1&title=D"):
            assert [one.get("title") for one in get(plex, base + more)] == ["Drama"]
        assert [one.get("title") for one in get(plex, base + "&sort=id:desc")] == ["First", "Drama"]

    def test_the_whole_collection(
        self, plex: PlexSimulator, scenes: PlexLibrary, drama: PlexCollection
    ) -> None:
        edit(plex, drama, summary__value="S", summary__locked="1", thumb__locked="1")
        found = full(plex, drama)
        assert (found.tag, found.get("summary"), found.get("childCount")) == ("Directory", "S", "2")
        assert locks(found) == [("summary", "1"), ("thumb", "1")]
        assert (found.get("librarySectionID"), found.get("librarySectionTitle")) == ("1", "Scenes")
        again = get(plex, f"/library/collections/{drama.rating_key}")[0]
        assert ElementTree.tostring(again) == ElementTree.tostring(found)

    def test_keys_of_items_and_collections_may_be_mixed(
        self, plex: PlexSimulator, items: list[PlexItem], drama: PlexCollection
    ) -> None:
        keys = [items[1].rating_key, drama.rating_key, 99_999, items[0].rating_key]
        found = get(plex, f"/library/metadata/{','.join(map(str, keys))}")
        assert [(one.tag, one.get("title")) for one in found] == [
            ("Video", "Two"),
            ("Directory", "Drama"),
            ("Video", "One"),
        ]
        path = f"/library/metadata/{items[0].rating_key},{drama.rating_key}"
        assert put(plex, path, summary__value="S") == 200
        assert (items[0].summary, drama.summary) == ("S", "S")
        assert put(plex, path, studio__value="S") == 400
        twice = f"/library/metadata/{drama.rating_key},{drama.rating_key}"
        assert put(plex, twice, title__value="Tragedy") == 200
        assert [write.parameters for write in plex.collection_writes] == [
            {"summary.value": "S"}, {"title.value": "Tragedy"},
        ]  # fmt: skip
        assert items[0].studio is None

    def test_an_item_is_no_collection(self, plex: PlexSimulator, items: list[PlexItem]) -> None:
        for path in ("", "/children"):
            url = f"{plex.url}/library/collections/{items[0].rating_key}{path}"
            assert requests.get(url, headers=HEADERS, timeout=10).status_code == 404

    def test_by_plexapi(self, plex: PlexSimulator, drama: PlexCollection) -> None:
        section = section_of(plex)
        collection = section.collection("drama")
        assert [item.title for item in collection.items()] == ["One", "Two"]
        collection.editSummary("S").editSortTitle("D").editTitle("Tragedy")
        collection.uploadPoster(filepath=PICTURE)
        collection.reload()
        assert (collection.title, collection.titleSort, collection.summary) == (
            "Tragedy", "D", "S",
        )  # fmt: skip
        assert {field.name for field in collection.fields if field.locked} == {
            "summary", "thumb", "title", "titleSort",
        }  # fmt: skip
        assert [poster.selected for poster in collection.posters()] == [True]
        assert section.collections(title="Tragedy")[0].ratingKey == drama.rating_key
        with pytest.raises(NotFound):
            section.collection("Drama")


class TestLife:
    def test_it_stays_as_long_as_an_item_has_it(
        self, plex: PlexSimulator, scenes: PlexLibrary, items: list[PlexItem], drama: PlexCollection
    ) -> None:
        upload(plex, drama, PICTURE)
        tag(plex, items[1], "First")
        assert full(plex, drama).get("childCount") == "1"
        # An edit that keeps the tag of the only item keeps the collection.
        tag(plex, items[0], "Other", "Drama")
        assert plex.collection(scenes, "Drama") is drama
        assert full(plex, drama).get("thumb") is not None
        tag(plex, items[0])
        assert plex.collection(scenes, "Drama") is None
        url = f"{plex.url}/library/metadata/{drama.rating_key}"
        assert requests.get(url, headers=HEADERS, timeout=10).status_code == 404
        tag(plex, items[0], "drama")
        again = plex.collection(scenes, "Drama")
        assert again is not None
        assert (again.title, again.rating_key != drama.rating_key, again.poster) == (
            "Drama", True, None,
        )  # fmt: skip
        assert plex.collections(scenes) == ["Drama", "First"]

    def test_the_same_name_in_two_libraries_is_two_collections(
        self, plex: PlexSimulator, drama: PlexCollection
    ) -> None:
        other = plex.add_library("Other", ["/other"])
        item = plex.add_item(other, "/other/a.mp4", collections=["drama"])
        theirs = plex.collection(other, "Drama")
        assert theirs is not None and theirs.rating_key != drama.rating_key
        assert edit(plex, drama, title__value="Tragedy") == 200
        assert tags(plex, item) == ["Drama"]
        path = f"/library/sections/{other.key}/all?type=18&id={drama.rating_key}&summary.value=S"
        assert put(plex, path) == 404

    def test_an_item_cannot_be_given_its_key(
        self, plex: PlexSimulator, scenes: PlexLibrary, drama: PlexCollection
    ) -> None:
        with pytest.raises(ValueError, match="taken"):
            plex.add_item(scenes, f"{FOLDER}/c.mp4", rating_key=drama.rating_key)

    def test_a_backup_holds_it(
        self, plex: PlexSimulator, scenes: PlexLibrary, items: list[PlexItem], drama: PlexCollection
    ) -> None:
        edit(plex, drama, summary__value="S", summary__locked="1")
        upload(plex, drama, PICTURE)
        before = ElementTree.tostring(full(plex, drama))
        saved = plex.backup()
        edit(plex, drama, title__value="New", summary__value="T", summary__locked="0")
        upload(plex, drama, PICTURE + b"2")
        tag(plex, items[0], "Later")
        tag(plex, items[1])
        assert plex.collections(scenes) == ["Later"]

        plex.restore(saved)
        assert plex.collections(scenes) == ["Drama", "First"]
        assert plex.collection(scenes, "Drama") is drama
        assert ElementTree.tostring(full(plex, drama)) == before
        assert edit(plex, drama, summary__value="Again") == 200
        plex.restore(saved)
        assert drama.summary == "S"

    def test_another_database_has_only_those_of_the_agent(
        self, plex: PlexSimulator, scenes: PlexLibrary, drama: PlexCollection
    ) -> None:
        says = {"collection": ["Series"]}
        plex.add_item(scenes, f"{FOLDER}/c.mp4", agent_metadata=says)
        new = plex.rebuild()
        assert plex.collections(scenes) == ["Series"]
        series = plex.collection(scenes, "Series")
        assert series is not None
        assert series.rating_key not in {item.rating_key for item in new.values()}
        assert full(plex, series).get("childCount") == "1"


class TestEdits:
    def test_fields_are_set_and_locked(
        self, plex: PlexSimulator, clock: Clock, items: list[PlexItem], drama: PlexCollection
    ) -> None:
        clock.now += 60
        parameters = {
            "summary.value": "S",
            "summary.locked": "1",
            "titleSort.value": "zzz",
            "contentRating.value": "R",
            "art.locked": "1",
        }
        assert edit(plex, drama, **parameters) == 200
        found = full(plex, drama)
        assert [found.get(name) for name in ("summary", "titleSort", "contentRating")] == [
            "S", "zzz", "R",
        ]  # fmt: skip
        assert locks(found) == [("art", "1"), ("summary", "1")]
        assert found.get("updatedAt") == str(START + 60)
        assert (drama.summary, drama.title_sort, drama.content_rating) == ("S", "zzz", "R")
        [write] = plex.collection_writes
        assert (write.rating_key, write.parameters, write.at) == (
            drama.rating_key, parameters, START + 60,
        )  # fmt: skip
        assert plex.writes == []
        assert {item.updated_at for item in items} == {START}

        path = f"/library/metadata/{drama.rating_key}"
        assert put(plex, path, summary__value="", titleSort__value="", art__locked="0") == 200
        found = full(plex, drama)
        assert (found.get("summary"), found.get("titleSort")) == ("", None)
        assert locks(found) == [("summary", "1")]

    def test_a_new_name_is_the_tag_of_all_its_items(
        self,
        plex: PlexSimulator,
        clock: Clock,
        scenes: PlexLibrary,
        items: list[PlexItem],
        drama: PlexCollection,
    ) -> None:
        upload(plex, drama, PICTURE)
        changed_at = scenes.content_changed_at
        clock.now += 60
        assert edit(plex, drama, title__value="Tragedy", title__locked="1") == 200
        assert [tags(plex, item) for item in items] == [["Tragedy"], ["First", "Tragedy"]]
        listing = get(plex, f"/library/sections/{scenes.key}/all?type=1&collection=tragedy")
        assert [one.get("updatedAt") for one in listing] == [str(START)] * 2
        found = full(plex, drama)
        assert (found.get("title"), found.get("childCount")) == ("Tragedy", "2")
        assert found.get("updatedAt") == str(START + 60)
        assert (drama.poster is not None, scenes.content_changed_at > changed_at) == (True, True)
        assert plex.collections(scenes) == ["First", "Tragedy"]
        assert plex.collection(scenes, "Drama") is None
        assert plex.collection(scenes, "TRAGEDY") is drama
        vocabulary = get(plex, f"/library/sections/{scenes.key}/collection")
        assert [one.get("title") for one in vocabulary] == ["First", "Tragedy"]

        tag(plex, items[0], "Drama")
        assert plex.collections(scenes) == ["Drama", "First", "Tragedy"]
        assert full(plex, drama).get("childCount") == "1"

    def test_only_the_case_of_a_name_may_change(
        self, plex: PlexSimulator, scenes: PlexLibrary, items: list[PlexItem], drama: PlexCollection
    ) -> None:
        assert edit(plex, drama, title__value="DRAMA") == 200
        assert (plex.collections(scenes), plex.collection(scenes, "Drama")) == (
            ["DRAMA", "First"], drama,
        )  # fmt: skip
        tag(plex, items[0], "drama")
        assert [tags(plex, item) for item in items] == [["DRAMA"], ["First", "DRAMA"]]
        assert full(plex, drama).get("childCount") == "2"

    @pytest.mark.parametrize(
        ("query", "status"),
        [
            ("title.value=First", 409),
            ("title.value=fIRST", 409),
            ("title.value=", 500),
            ("summary.locked=yes", 500),
            ("studio.value=S", 400),
            ("genre.locked=1", 400),
            ("theme.locked=1", 400),
            ("collection%5B0%5D.tag.tag=C", 400),
        ],
    )
    def test_bad_edits_change_nothing(
        self, plex: PlexSimulator, drama: PlexCollection, query: str, status: int
    ) -> None:
        for path in (
            f"/library/sections/1/all?type=18&id={drama.rating_key}&",
            f"/library/metadata/{drama.rating_key}?",
        ):
            assert put(plex, f"{path}contentRating.value=R&{query}") == status
        assert (drama.title, drama.content_rating, drama.locked) == ("Drama", None, set())
        assert plex.collection_writes == []

    def test_the_type_and_the_key_must_fit(
        self, plex: PlexSimulator, items: list[PlexItem], drama: PlexCollection
    ) -> None:
        base = "/library/sections/1/all?summary.value=S"
        assert put(plex, f"{base}&type=1&id={drama.rating_key}") == 404
        assert put(plex, f"{base}&type=18&id={items[0].rating_key}") == 404
        assert put(plex, f"{base}&type=18&id=99999") == 404
        assert put(plex, f"{base}&type=18&id={drama.rating_key},99999") == 404
        assert put(plex, "/library/metadata/99999?summary.value=S") == 404
        assert (drama.summary, items[0].summary) == ("", "")
        plex.settings.skip_unknown_ids = True
        assert put(plex, f"{base}&type=18&id={drama.rating_key},99999") == 200
        assert drama.summary == "S"

    def test_without_an_id_every_collection_is_edited(
        self, plex: PlexSimulator, scenes: PlexLibrary, drama: PlexCollection
    ) -> None:
        base = f"/library/sections/{scenes.key}/all?type=18"
        assert put(plex, f"{base}&title.value=Same") == 409
        assert put(plex, f"{base}&summary.value=S") == 200
        found = get(plex, f"/library/sections/{scenes.key}/collections")
        assert [one.get("summary") for one in found] == ["S", "S"]
        assert len(plex.collection_writes) == 2

    def test_settings_for_edits_of_items_apply_here_too(
        self, plex: PlexSimulator, drama: PlexCollection
    ) -> None:
        plex.settings.normalize = Normalize(texts=[trimmed])
        plex.settings.lock_on_edit = True
        plex.settings.ignored = Ignored({"contentRating"})
        assert edit(plex, drama, title__value=" first. ") == 409
        assert edit(plex, drama, summary__value=" S. ", contentRating__value="R") == 200
        assert (drama.summary, drama.content_rating, drama.locked) == ("S", None, {"summary"})
        assert [write.parameters for write in plex.ignored_writes] == [{"contentRating.value": "R"}]
        assert plex.collection_writes[0].parameters == {"summary.value": " S. "}


class TestPosters:
    def test_uploads_are_selected_and_kept_apart_from_those_of_items(
        self, plex: PlexSimulator, clock: Clock, drama: PlexCollection
    ) -> None:
        base = f"/library/metadata/{drama.rating_key}"
        thumb = requests.get(f"{plex.url}{base}/thumb", headers=HEADERS, timeout=10)
        assert (full(plex, drama).get("thumb"), thumb.status_code) == (None, 404)
        clock.now += 60
        assert upload(plex, drama, PICTURE) == 200
        assert upload(plex, drama, PICTURE + b"2") == 200
        first, second = get(plex, f"{base}/posters")
        assert (first.get("selected"), second.get("selected")) == ("0", "1")
        assert put(plex, f"{base}/poster", url=first.attrib["ratingKey"]) == 200
        found = full(plex, drama)
        assert (locks(found), found.get("updatedAt")) == ([("thumb", "1")], str(START + 60))
        picture = requests.get(plex.url + found.attrib["thumb"], headers=HEADERS, timeout=10)
        assert picture.content == PICTURE
        assert (plex.uploads, plex.writes, plex.collection_writes) == ([], [], [])
        assert [(one.rating_key, one.data) for one in plex.collection_uploads] == [
            (drama.rating_key, PICTURE),
            (drama.rating_key, PICTURE + b"2"),
        ]

    def test_they_may_be_refused(self, plex: PlexSimulator, drama: PlexCollection) -> None:
        plex.settings.max_poster = 20
        plex.settings.poster_kinds = frozenset({"jpeg"})
        assert upload(plex, drama, PICTURE + b"x" * 20) == 413
        assert upload(plex, drama, b"GIF89a") == 415
        plex.settings.ignored = Ignored({"thumb"})
        assert upload(plex, drama, PICTURE) == 200
        assert (drama.posters, plex.collection_uploads) == ([], [])


class TestPersons:
    def test_a_persons_edit_is_locked_and_not_recorded(
        self, plex: PlexSimulator, clock: Clock, items: list[PlexItem], drama: PlexCollection
    ) -> None:
        clock.now += 60
        plex.edit_collection(drama, summary="Mine", poster=PICTURE)
        found = full(plex, drama)
        assert (found.get("summary"), locks(found)) == ("Mine", [("summary", "1"), ("thumb", "1")])
        assert found.get("updatedAt") == str(START + 60)
        plex.edit_collection(drama, title="Tragedy", title_sort="zzz")
        found = full(plex, drama)
        assert (found.get("title"), found.get("titleSort")) == ("Tragedy", "zzz")
        assert {name for name, _ in locks(found)} == {"summary", "thumb", "title", "titleSort"}
        assert tags(plex, items[0]) == ["Tragedy"]
        assert (plex.collection_writes, plex.collection_uploads) == ([], [])
        assert (plex.writes, plex.uploads) == ([], [])

    def test_what_plex_refuses_raises(
        self, plex: PlexSimulator, items: list[PlexItem], drama: PlexCollection
    ) -> None:
        with pytest.raises(TakenNameError):
            plex.edit_collection(drama, title="first", summary="S")
        assert (drama.title, drama.summary) == ("Drama", "")
        for item in items:
            tag(plex, item)
        with pytest.raises(KeyError):
            plex.edit_collection(drama, summary="S")
