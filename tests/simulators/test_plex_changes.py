"""A Plex that normalizes, ignores and overwrites edits, and whose database is another one."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
import requests

from tests.simulators.plex import (
    TAGS_AND_RATING,
    BadValueError,
    Ignored,
    Normalize,
    PlexItem,
    PlexLibrary,
    PlexSimulator,
    UpdatedAt,
    cut,
    in_order,
    picture_kind,
    spelled,
    trimmed,
    whole_stars,
)
from tests.simulators.support import FOLDER, START, TOKEN, Clock

HEADERS = {"X-Plex-Token": TOKEN}
RATE = "/:/rate?identifier=com.plexapp.plugins.library"


@pytest.fixture
def item(plex: PlexSimulator, scenes: PlexLibrary) -> PlexItem:
    return plex.add_item(scenes, f"{FOLDER}/One.mp4")


def get(plex: PlexSimulator, path: str) -> ElementTree.Element:
    answer = requests.get(plex.url + path, headers=HEADERS, timeout=10)
    assert answer.status_code == 200, answer.text
    return ElementTree.fromstring(answer.content)


def edit(plex: PlexSimulator, item: PlexItem, **parameters: str) -> None:
    names = {"type": "1", "id": str(item.rating_key)}
    names |= {name.replace("__", "."): value for name, value in parameters.items()}
    url = f"{plex.url}/library/sections/{item.library.key}/all"
    answer = requests.put(url, params=names, headers=HEADERS, timeout=10)
    assert (answer.status_code, answer.content) == (200, b"")


def tag(plex: PlexSimulator, item: PlexItem, kind: str, *names: str) -> None:
    edit(plex, item, **{f"{kind}[{n}].tag.tag": name for n, name in enumerate(names)})


def rate(plex: PlexSimulator, item: PlexItem, rating: float) -> None:
    url = f"{plex.url}{RATE}&key={item.rating_key}&rating={rating}"
    assert requests.put(url, headers=HEADERS, timeout=10).status_code == 200


def full(plex: PlexSimulator, item: PlexItem) -> ElementTree.Element:
    return get(plex, f"/library/metadata/{item.rating_key}")[0]


def names(element: ElementTree.Element, kind: str) -> list[Any]:
    return [one.get("tag") for one in element.iter(kind)]


def listed(plex: PlexSimulator, library: PlexLibrary, more: str = "") -> list[ElementTree.Element]:
    return list(get(plex, f"/library/sections/{library.key}/all?type=1{more}"))


class TestNormalize:
    def test_nothing_is_changed_by_default(self, plex: PlexSimulator, item: PlexItem) -> None:
        edit(plex, item, title__value=" a. ", summary__value="x" * 500)
        tag(plex, item, "genre", "z", "a")
        rate(plex, item, 7.3)
        found = full(plex, item)
        assert (found.get("title"), len(found.get("summary", ""))) == (" a. ", 500)
        assert (names(found, "Genre"), found.get("userRating")) == (["z", "a"], "7.3")

    def test_texts(self, plex: PlexSimulator, item: PlexItem) -> None:
        plex.settings.normalize = Normalize(texts=[trimmed, cut("summary", 10), whole_stars])
        edit(plex, item, title__value=" A title. ", summary__value="0123456789ab")
        for rating, stored in ((7.0, "8.0"), (6.9, "6.0"), (10.0, "10.0"), (-1, None)):
            rate(plex, item, rating)
            assert full(plex, item).get("userRating") == stored
        edit(plex, item, userRating__value="3.1")
        found = full(plex, item)
        assert [found.get(name) for name in ("title", "summary", "userRating")] == [
            "A title", "0123456789", "4.0",
        ]  # fmt: skip
        assert plex.writes[0].parameters["title.value"] == " A title. "

    def test_tags(self, plex: PlexSimulator, item: PlexItem) -> None:
        plex.settings.normalize = Normalize(tags=[spelled({"Sci-Fi": "Science Fiction"})])
        tag(plex, item, "genre", "Sci-Fi", "Drama", "Action")
        assert names(full(plex, item), "Genre") == ["Science Fiction", "Drama", "Action"]
        plex.settings.normalize = Normalize(tags=[spelled({"b": "B!"}), in_order()])
        tag(plex, item, "genre", "c", "b", "a")
        assert names(full(plex, item), "Genre") == ["a", "B!", "c"]
        plex.settings.normalize = Normalize(tags=[lambda _, given: given[::-1]])
        tag(plex, item, "collection", "x", "y")
        assert names(full(plex, item), "Collection") == ["y", "x"]


class TestIgnoredEdits:
    def test_chosen_fields_stay_as_they_were(
        self, plex: PlexSimulator, clock: Clock, item: PlexItem
    ) -> None:
        plex.settings.ignored = Ignored({"title", "genre"})
        clock.now += 60
        edit(plex, item, title__value="New", title__locked="1")
        tag(plex, item, "genre", "G")
        found = full(plex, item)
        assert (found.get("title"), names(found, "Genre"), list(found.iter("Field"))) == (
            "One",
            [],
            [],
        )
        assert (found.get("updatedAt"), plex.writes) == (str(START), [])
        assert [write.parameters for write in plex.ignored_writes] == [
            {"title.value": "New", "title.locked": "1"},
            {"genre[0].tag.tag": "G"},
        ]

        edit(plex, item, title__value="New", summary__value="S", **{"genre[0].tag.tag": "G"})
        found = full(plex, item)
        assert (found.get("title"), found.get("summary")) == ("One", "S")
        assert plex.writes[0].parameters == {"summary.value": "S"}

    def test_only_so_many_times(self, plex: PlexSimulator, item: PlexItem) -> None:
        plex.settings.ignored = Ignored({"title"}, times=2)
        edit(plex, item, summary__value="does not count")
        for _ in range(2):
            edit(plex, item, title__value="New")
            assert full(plex, item).get("title") == "One"
        edit(plex, item, title__value="New")
        assert full(plex, item).get("title") == "New"

    def test_ratings_and_posters(self, plex: PlexSimulator, item: PlexItem) -> None:
        plex.settings.ignored = Ignored({"userRating", "thumb"})
        rate(plex, item, 8)
        url = f"{plex.url}/library/metadata/{item.rating_key}/posters"
        assert requests.post(url, b"\xff\xd8", headers=HEADERS, timeout=10).status_code == 200
        assert (full(plex, item).get("userRating"), item.posters, plex.uploads) == (None, [], [])
        plex.settings.ignored = Ignored()
        requests.post(url, b"\xff\xd8", headers=HEADERS, timeout=10)
        assert len(item.posters) == 1


class TestUpdatedAt:
    def test_edits_of_tags_and_ratings_may_leave_it(
        self, plex: PlexSimulator, clock: Clock, scenes: PlexLibrary, item: PlexItem
    ) -> None:
        plex.settings.updated_at = UpdatedAt(unmoved_by=TAGS_AND_RATING)
        clock.now += 60
        tag(plex, item, "genre", "G")
        edit(plex, item, userRating__value="4", genre__locked="1")
        tag(plex, item, "collection", "C")
        [found] = listed(plex, scenes)
        assert (found.get("updatedAt"), names(found, "Genre")) == (str(START), ["G"])
        edit(plex, item, title__value="T", **{"genre[0].tag.tag": "H"})
        assert listed(plex, scenes)[0].get("updatedAt") == str(START + 60)

    def test_a_rating_may_move_it(self, plex: PlexSimulator, clock: Clock, item: PlexItem) -> None:
        clock.now += 60
        rate(plex, item, 8)
        assert item.updated_at == START
        plex.settings.updated_at = UpdatedAt(moved_by_rating=True)
        rate(plex, item, 6)
        assert item.updated_at == START + 60

    def test_it_may_move_late(
        self, plex: PlexSimulator, clock: Clock, scenes: PlexLibrary, item: PlexItem
    ) -> None:
        plex.settings.updated_at = UpdatedAt(delay=5)
        clock.now += 60
        edit(plex, item, title__value="T")
        [found] = listed(plex, scenes)
        assert (found.get("title"), found.get("updatedAt")) == ("T", str(START))
        clock.now += 4.9
        assert listed(plex, scenes)[0].get("updatedAt") == str(START)
        clock.now += 10
        assert plex.item(item.rating_key).updated_at == START + 65
        assert listed(plex, scenes)[0].get("updatedAt") == str(START + 65)

    def test_the_newest_come_first_in_pages(
        self, plex: PlexSimulator, clock: Clock, scenes: PlexLibrary
    ) -> None:
        items = []
        for number in range(5):
            clock.now += 60
            items.append(plex.add_item(scenes, f"{FOLDER}/{number}.mp4"))
        clock.now += 60
        edit(plex, items[1], title__value="edited")
        found = []
        for start in (0, 2, 4):
            more = f"&sort=updatedAt:desc&X-Plex-Container-Start={start}&X-Plex-Container-Size=2"
            page = get(plex, f"/library/sections/{scenes.key}/all?type=1{more}")
            assert (page.get("totalSize"), page.get("offset")) == ("5", str(start))
            found += [(one.get("title"), int(one.get("updatedAt", 0)) - START) for one in page]
        assert found == [("edited", 360), ("4", 300), ("3", 240), ("2", 180), ("0", 60)]

    def test_locks_are_only_in_the_full_item(
        self, plex: PlexSimulator, scenes: PlexLibrary, item: PlexItem
    ) -> None:
        edit(plex, item, title__locked="1", genre__locked="1", thumb__locked="1")
        [found] = listed(plex, scenes)
        assert list(found.iter("Field")) == []
        locks = [(one.get("name"), one.get("locked")) for one in full(plex, item).iter("Field")]
        assert locks == [("genre", "1"), ("thumb", "1"), ("title", "1")]
        edit(plex, item, thumb__locked="0")
        assert [one.get("name") for one in full(plex, item).iter("Field")] == ["genre", "title"]


class TestBackups:
    def test_an_older_database_has_the_older_state(
        self, plex: PlexSimulator, clock: Clock, scenes: PlexLibrary, item: PlexItem
    ) -> None:
        other = plex.add_item(scenes, f"{FOLDER}/Two.mp4")
        tag(plex, item, "collection", "C")
        url = f"{plex.url}/library/metadata/{item.rating_key}/posters"
        requests.post(url, b"\xff\xd8 one", headers=HEADERS, timeout=10)
        saved = plex.backup()
        before = ElementTree.tostring(full(plex, item))
        changed_at = scenes.content_changed_at

        clock.now += 60
        edit(plex, item, title__value="New", title__locked="1", **{"collection[].tag": ""})
        requests.post(url, b"\xff\xd8 two", headers=HEADERS, timeout=10)
        plex.remove_item(other.rating_key)
        added = plex.add_item(scenes, f"{FOLDER}/Three.mp4")
        assert [one.get("title") for one in listed(plex, scenes)] == ["New", "Three"]
        assert plex.collections(scenes) == []

        plex.restore(saved)
        assert [one.get("title") for one in listed(plex, scenes)] == ["One", "Two"]
        assert ElementTree.tostring(full(plex, item)) == before
        assert full(plex, item).get("updatedAt") == str(START)
        assert (plex.collections(scenes), scenes.content_changed_at) == (["C"], changed_at)
        assert plex.find(f"{FOLDER}/Three.mp4") is None
        assert plex.find(f"{FOLDER}/Two.mp4") is other
        assert plex.add_item(scenes, f"{FOLDER}/Four.mp4").rating_key == added.rating_key

        edit(plex, item, title__value="Again")
        plex.restore(saved)
        assert item.title == "One"

    def test_another_server_uses_the_keys_for_other_files(
        self, plex: PlexSimulator, clock: Clock, scenes: PlexLibrary
    ) -> None:
        old = [plex.add_item(scenes, f"{FOLDER}/{name}.mp4") for name in "abc"]
        edit(plex, old[0], title__value="edited", title__locked="1")
        tag(plex, old[0], "collection", "C")
        uuid = get(plex, "/library/sections")[0].get("uuid")
        clock.now += 60
        new = plex.rebuild(machine_identifier="f" * 40)
        assert get(plex, "/identity").get("machineIdentifier") == "f" * 40
        assert get(plex, "/library/sections")[0].get("uuid") != uuid
        found = {
            int(one.get("ratingKey", 0)): one.find("Media/Part").get("file")  # type: ignore[union-attr]
            for one in listed(plex, scenes)
        }
        assert set(found) == {item.rating_key for item in old}
        assert all(found[item.rating_key] != item.path for item in old)
        assert {path: item.rating_key for path, item in new.items()} == {
            path: key for key, path in found.items()
        }
        again = full(plex, new[old[0].path])
        assert (again.get("title"), again.get("updatedAt")) == ("a", str(START + 60))
        assert (list(again.iter("Field")), plex.collections(scenes)) == ([], [])
        assert plex.add_item(scenes, f"{FOLDER}/d.mp4").rating_key not in found

    def test_a_refresh_of_the_old_database_does_not_reach_the_new_one(
        self, plex: PlexSimulator, scenes: PlexLibrary
    ) -> None:
        old = [plex.add_item(scenes, f"{FOLDER}/{name}.mp4", genres=["G"]) for name in "ab"]
        url = f"{plex.url}/library/metadata/{old[0].rating_key}/refresh"
        assert requests.put(url, headers=HEADERS, timeout=10).status_code == 200
        plex.rebuild()
        assert plex.settle()
        assert old[0].genres == ["G"]

    def test_the_same_server_with_a_chosen_order(
        self, plex: PlexSimulator, scenes: PlexLibrary
    ) -> None:
        identifier = plex.machine_identifier
        old = [plex.add_item(scenes, f"{FOLDER}/{name}.mp4") for name in "abc"]
        new = plex.rebuild(order=lambda items: items[::-1])
        assert new[old[0].path].rating_key == old[2].rating_key
        assert new[old[1].path].rating_key == old[1].rating_key
        assert plex.machine_identifier == identifier


class TestSecondTool:
    def test_it_overwrites_chosen_fields_after_every_edit(
        self, plex: PlexSimulator, clock: Clock, item: PlexItem
    ) -> None:
        seen = []

        def overwrite(edited: PlexItem, changed: frozenset[str]) -> dict[str, object]:
            seen.append((edited.rating_key, set(changed)))
            return (
                {"title": f"[4K] {edited.title}", "genre": ["Tool"]} if "title" in changed else {}
            )

        plex.settings.after_edit = overwrite
        clock.now += 60
        edit(plex, item, title__value="T", title__locked="1", summary__value="S")
        found = full(plex, item)
        assert (found.get("title"), found.get("summary")) == ("[4K] T", "S")
        assert names(found, "Genre") == ["Tool"]
        assert [write.parameters["title.value"] for write in plex.writes] == ["T"]
        rate(plex, item, 8)
        assert seen == [
            (item.rating_key, {"title", "summary"}),
            (item.rating_key, {"userRating"}),
        ]
        plex.settings.after_edit = None
        edit(plex, item, title__value="T")
        assert full(plex, item).get("title") == "T"

    def test_it_may_set_another_poster(self, plex: PlexSimulator, item: PlexItem) -> None:
        plex.settings.after_edit = lambda _, changed: (
            {"thumb": b"\xff\xd8 tool"} if "thumb" in changed else None
        )
        url = f"{plex.url}/library/metadata/{item.rating_key}/posters"
        requests.post(url, b"\xff\xd8 ours", headers=HEADERS, timeout=10)
        assert item.poster is not None
        assert item.poster.data == b"\xff\xd8 tool"
        assert len(plex.uploads) == 1


class TestBackgrounds:
    def arts(self, plex: PlexSimulator, item: PlexItem) -> list[Any]:
        found = get(plex, f"/library/metadata/{item.rating_key}/arts")
        return [dict(photo.attrib) for photo in found.iter("Photo")]

    def send(self, plex: PlexSimulator, item: PlexItem, method: str, **more: Any) -> int:
        ending = "arts" if method == "POST" else "art"
        url = f"{plex.url}/library/metadata/{item.rating_key}/{ending}"
        return requests.request(method, url, headers=HEADERS, timeout=10, **more).status_code

    def test_they_are_like_posters(self, plex: PlexSimulator, item: PlexItem) -> None:
        [own] = self.arts(plex, item)
        assert own["ratingKey"].startswith("media://") and full(plex, item).get("art")
        assert self.send(plex, item, "POST", data=b"one") == 200
        _, ours = self.arts(plex, item)
        assert (ours["selected"], "art" in item.locked, item.posters) == ("1", True, [])
        assert (plex.uploads, [one.data for one in plex.art_uploads]) == ([], [b"one"])
        assert requests.get(plex.url + ours["key"], headers=HEADERS, timeout=10).content == b"one"
        assert self.send(plex, item, "PUT", params={"url": own["ratingKey"]}) == 200
        assert [one["selected"] for one in self.arts(plex, item)] == ["1", "0"]
        assert self.send(plex, item, "PUT", params={"url": "upload://arts/unknown"}) == 404

    def test_a_refresh_drops_one_that_is_not_locked(
        self, plex: PlexSimulator, item: PlexItem
    ) -> None:
        plex.person_selects_art(item.rating_key, b"mine")
        plex.refresh_item(item.rating_key)
        assert item.art is not None
        edit(plex, item, art__locked="0")
        plex.refresh_item(item.rating_key)
        assert item.art is None

    def test_since_1_43_an_item_can_be_left_without_one(
        self, plex: PlexSimulator, item: PlexItem
    ) -> None:
        item.own_art = False
        assert (self.arts(plex, item), full(plex, item).get("art")) == ([], None)
        plex.person_selects_art(item.rating_key, b"mine")
        assert (self.send(plex, item, "DELETE"), item.art is None) == (404, False)
        plex.settings.version = "1.43.0.1-a"
        assert (self.send(plex, item, "DELETE"), item.art, "art" in item.locked) == (
            200,
            None,
            True,
        )


class TestPosters:
    def posters(self, plex: PlexSimulator, item: PlexItem) -> list[Any]:
        found = get(plex, f"/library/metadata/{item.rating_key}/posters")
        return [dict(photo.attrib) for photo in found.iter("Photo")]

    def select(self, plex: PlexSimulator, item: PlexItem, key: str) -> int:
        url = f"{plex.url}/library/metadata/{item.rating_key}/poster"
        return requests.put(url, params={"url": key}, headers=HEADERS, timeout=10).status_code

    def upload(self, plex: PlexSimulator, item: PlexItem, data: bytes) -> None:
        url = f"{plex.url}/library/metadata/{item.rating_key}/posters"
        assert requests.post(url, data, headers=HEADERS, timeout=10).status_code == 200

    def test_the_selected_one_is_marked_with_its_key(
        self, plex: PlexSimulator, item: PlexItem
    ) -> None:
        assert self.posters(plex, item) == []
        for data in (b"one", b"two"):
            self.upload(plex, item, data)
        first, second = self.posters(plex, item)
        assert [first["selected"], second["selected"]] == ["0", "1"]
        assert second["ratingKey"].startswith("upload://posters/")
        assert second["key"] == second["thumb"]
        assert requests.get(plex.url + second["key"], headers=HEADERS, timeout=10).content == b"two"

        assert self.select(plex, item, first["ratingKey"]) == 200
        assert [one["selected"] for one in self.posters(plex, item)] == ["1", "0"]
        assert self.select(plex, item, "upload://posters/unknown") == 404

    def test_an_unlocked_poster_goes_with_the_next_refresh(
        self, plex: PlexSimulator, item: PlexItem
    ) -> None:
        self.upload(plex, item, b"one")
        plex.refresh_item(item.rating_key)
        assert [one["selected"] for one in self.posters(plex, item)] == ["1"]
        edit(plex, item, thumb__locked="0")
        assert [one["selected"] for one in self.posters(plex, item)] == ["1"]
        plex.refresh_item(item.rating_key)
        assert [one["selected"] for one in self.posters(plex, item)] == ["0"]

    def test_plexs_own_picture_may_be_in_the_list(
        self, plex: PlexSimulator, item: PlexItem
    ) -> None:
        plex.settings.own_poster = True
        [own] = self.posters(plex, item)
        assert (own["selected"], own["ratingKey"].startswith("media://")) == ("1", True)
        self.upload(plex, item, b"one")
        assert [one["selected"] for one in self.posters(plex, item)] == ["0", "1"]
        assert self.select(plex, item, own["ratingKey"]) == 200
        assert [one["selected"] for one in self.posters(plex, item)] == ["1", "0"]
        assert "thumb" in item.locked
        picture = requests.get(plex.url + own["key"], headers=HEADERS, timeout=10)
        assert picture.content.startswith(b"\x89PNG")

    def test_large_pictures_may_be_refused(self, plex: PlexSimulator, item: PlexItem) -> None:
        plex.settings.max_poster = 10
        url = f"{plex.url}/library/metadata/{item.rating_key}/posters"
        assert requests.post(url, b"x" * 11, headers=HEADERS, timeout=10).status_code == 413
        assert (item.posters, plex.uploads) == ([], [])
        self.upload(plex, item, b"x" * 10)
        assert len(plex.uploads) == 1

    @pytest.mark.parametrize(
        ("data", "kind", "status"),
        [
            (b"\xff\xd8\xff\xe0 one", "jpeg", 200),
            (b"\x89PNG\r\n\x1a\n one", "png", 200),
            (b"RIFF\0\0\0\0WEBPVP8 ", "webp", 415),
            (b"\0\0\0\x1cftypavif", "avif", 415),
            (b"GIF89a", "gif", 415),
            (b"<svg/>", "svg", 415),
            (b"no picture", "", 415),
        ],
    )
    def test_some_kinds_of_pictures_may_be_refused(
        self, plex: PlexSimulator, item: PlexItem, data: bytes, kind: str, status: int
    ) -> None:
        url = f"{plex.url}/library/metadata/{item.rating_key}/posters"
        plex.settings.poster_kinds = frozenset({"jpeg", "png"})
        assert picture_kind(data) == kind
        assert requests.post(url, data, headers=HEADERS, timeout=10).status_code == status
        assert len(plex.uploads) == (status == 200)
        plex.settings.poster_kinds = None
        self.upload(plex, item, data)


class TestPersons:
    """A person's changes in Plex's web app."""

    def locks(self, element: ElementTree.Element) -> list[str | None]:
        return [one.get("name") for one in element.iter("Field")]

    def test_a_text_is_set_and_locked(
        self, plex: PlexSimulator, clock: Clock, item: PlexItem
    ) -> None:
        clock.now += 60
        plex.person_sets(item.rating_key, "title", "The Title")
        plex.person_sets(item.rating_key, "year", 2020)
        found = full(plex, item)
        assert (found.get("title"), found.get("titleSort"), found.get("year")) == (
            "The Title", "Title", "2020",
        )  # fmt: skip
        assert (self.locks(found), found.get("updatedAt")) == (["title", "year"], str(START + 60))
        plex.person_sets(item.rating_key, "year", None)
        found = full(plex, item)
        assert (found.get("year"), self.locks(found)) == (None, ["title", "year"])
        assert plex.writes == []

    def test_a_rating_is_not_locked_and_moves_no_time(
        self, plex: PlexSimulator, clock: Clock, item: PlexItem
    ) -> None:
        clock.now += 60
        plex.person_sets(item.rating_key, "userRating", 8)
        found = full(plex, item)
        assert (found.get("userRating"), found.get("updatedAt")) == ("8.0", str(START))
        assert (self.locks(found), plex.writes) == ([], [])

    def test_tags_are_added_and_removed(
        self, plex: PlexSimulator, clock: Clock, scenes: PlexLibrary, item: PlexItem
    ) -> None:
        tag(plex, item, "genre", "A", "B")
        edit(plex, item, **{"actor[0].tag.tag": "Ann", "actor[0].tagging.text": "The Cat"})
        plex.writes.clear()
        clock.now += 60
        plex.person_adds(item.rating_key, "genre", "Mine")
        plex.person_removes(item.rating_key, "genre", "a")
        plex.person_adds(item.rating_key, "actor", "Bea")
        plex.person_adds(item.rating_key, "collection", "C")
        found = full(plex, item)
        assert names(found, "Genre") == ["B", "Mine"]
        assert [(one.get("tag"), one.get("role")) for one in found.iter("Role")] == [
            ("Ann", "The Cat"), ("Bea", None),
        ]  # fmt: skip
        assert self.locks(found) == ["actor", "collection", "genre"]
        assert (found.get("updatedAt"), plex.writes) == (str(START + 60), [])
        assert plex.collections(scenes) == ["C"]

    def test_a_poster_is_selected_and_locked(
        self, plex: PlexSimulator, clock: Clock, item: PlexItem
    ) -> None:
        clock.now += 60
        plex.person_selects_poster(item.rating_key, b"\xff\xd8 mine")
        found = full(plex, item)
        assert (self.locks(found), found.get("updatedAt")) == (["thumb"], str(START + 60))
        picture = requests.get(plex.url + found.attrib["thumb"], headers=HEADERS, timeout=10)
        assert picture.content == b"\xff\xd8 mine"
        photos = get(plex, f"/library/metadata/{item.rating_key}/posters")
        assert [photo.get("selected") for photo in photos] == ["1"]
        assert (plex.uploads, plex.writes) == ([], [])

    def test_the_server_changes_their_values_too(
        self, plex: PlexSimulator, clock: Clock, item: PlexItem
    ) -> None:
        plex.settings.normalize = Normalize(texts=[trimmed])
        plex.settings.updated_at = UpdatedAt(unmoved_by=TAGS_AND_RATING)
        clock.now += 60
        plex.person_adds(item.rating_key, "genre", "Mine")
        assert full(plex, item).get("updatedAt") == str(START)
        plex.person_sets(item.rating_key, "title", " Mine. ")
        found = full(plex, item)
        assert (found.get("title"), found.get("updatedAt")) == ("Mine", str(START + 60))

    def test_mistakes_of_a_test_raise(self, plex: PlexSimulator, item: PlexItem) -> None:
        key = item.rating_key
        with pytest.raises(ValueError, match="no field"):
            plex.person_sets(key, "genre", "G")
        with pytest.raises(BadValueError):
            plex.person_sets(key, "year", "now")
        with pytest.raises(ValueError, match="no kind of tag"):
            plex.person_adds(key, "title", "T")
        with pytest.raises(ValueError, match="has no genre"):
            plex.person_removes(key, "genre", "G")
        assert item.locked == set()


class TestVersions:
    def files(self, element: ElementTree.Element) -> list[list[str | None]]:
        return [
            [part.get("file") for part in media.iter("Part")] for media in element.iter("Media")
        ]

    def put(self, plex: PlexSimulator, path: str) -> int:
        return requests.put(plex.url + path, headers=HEADERS, timeout=10).status_code

    @pytest.fixture
    def items(self, plex: PlexSimulator, scenes: PlexLibrary) -> list[PlexItem]:
        first = plex.add_item(scenes, "/media/scenes/a.mp4", genres=["G"], locked=["genre"])
        second = plex.add_item(scenes, "/media/scenes/b 1.mp4", parts=["/media/scenes/b 2.mp4"])
        third = plex.add_item(scenes, "/media/scenes/c.mp4", collections=["C"])
        return [first, second, third]

    @pytest.mark.parametrize("by_http", [False, True])
    def test_merged_items_are_versions_of_the_first(
        self,
        plex: PlexSimulator,
        clock: Clock,
        scenes: PlexLibrary,
        items: list[PlexItem],
        by_http: bool,
    ) -> None:
        first, *others = items
        keys = [other.rating_key for other in others]
        ids = [media.id for item in items for media in item.media]
        clock.now += 60
        if by_http:
            joined = ",".join(map(str, keys))
            path = f"/library/metadata/{first.rating_key}/merge?ids={joined}"
            assert self.put(plex, path) == 200
        else:
            assert plex.merge_items(first.rating_key, keys) is first
        [found] = listed(plex, scenes)
        assert self.files(found) == [
            ["/media/scenes/a.mp4"],
            ["/media/scenes/b 1.mp4", "/media/scenes/b 2.mp4"],
            ["/media/scenes/c.mp4"],
        ]
        assert [int(media.get("id", 0)) for media in found.iter("Media")] == ids
        assert (found.get("ratingKey"), found.get("title"), names(found, "Genre")) == (
            str(first.rating_key), "a", ["G"],
        )  # fmt: skip
        assert found.get("updatedAt") == str(START + 60)
        assert [one.get("name") for one in full(plex, first).iter("Field")] == ["genre"]
        url = f"{plex.url}/library/metadata/{keys[0]}"
        assert requests.get(url, headers=HEADERS, timeout=10).status_code == 404
        assert plex.find("/media/scenes/b 2.mp4") is first
        assert plex.collections(scenes) == []
        assert plex.writes == []
        plex.scan(scenes)
        assert plex.settle()
        assert len(listed(plex, scenes)) == 1

    @pytest.mark.parametrize("by_http", [False, True])
    def test_each_version_of_a_split_item_is_an_item(
        self,
        plex: PlexSimulator,
        clock: Clock,
        scenes: PlexLibrary,
        items: list[PlexItem],
        by_http: bool,
    ) -> None:
        first = plex.merge_items(items[0].rating_key, [item.rating_key for item in items[1:]])
        plex.person_sets(first.rating_key, "title", "Mine")
        old_keys = {item.rating_key for item in items}
        ids = [media.id for media in first.media]
        clock.now += 60
        if by_http:
            assert self.put(plex, f"/library/metadata/{first.rating_key}/split") == 200
        else:
            split = plex.split_item(first.rating_key)
            assert [item.rating_key for item in split] == sorted(scenes.items)
        found = listed(plex, scenes, "&sort=id")
        assert [one.get("title") for one in found] == ["Mine", "b 1", "c"]
        assert [len(self.files(one)) for one in found] == [1, 1, 1]
        assert self.files(found[1]) == [["/media/scenes/b 1.mp4", "/media/scenes/b 2.mp4"]]
        assert [int(m.get("id", 0)) for one in found for m in one.iter("Media")] == ids
        keys = [int(one.get("ratingKey", 0)) for one in found]
        assert keys[0] == first.rating_key
        assert not set(keys[1:]) & old_keys
        assert names(found[0], "Genre") == ["G"]
        assert {one.get("updatedAt") for one in found} == {str(START + 60)}
        for key in keys[1:]:
            [new] = get(plex, f"/library/metadata/{key}")
            assert [list(new.iter(kind)) for kind in ("Field", "Genre", "Collection")] == [[]] * 3
        assert plex.find("/media/scenes/b 2.mp4") is plex.item(keys[1])

    def test_an_item_of_one_version_stays(
        self, plex: PlexSimulator, clock: Clock, item: PlexItem
    ) -> None:
        clock.now += 60
        assert plex.split_item(item.rating_key) == [item]
        assert full(plex, item).get("updatedAt") == str(START)

    def test_what_cannot_be_merged(
        self, plex: PlexSimulator, scenes: PlexLibrary, item: PlexItem
    ) -> None:
        other = plex.add_item(plex.add_library("Other", ["/other"]), "/other/a.mp4")
        base = f"/library/metadata/{item.rating_key}"
        assert self.put(plex, f"{base}/merge?ids={item.rating_key}") == 400
        assert self.put(plex, f"{base}/merge?ids={other.rating_key}") == 400
        assert self.put(plex, f"{base}/merge?ids=99999") == 404
        assert self.put(plex, f"{base}/merge") == 404
        assert self.put(plex, "/library/metadata/99999/split") == 404
        assert (len(listed(plex, scenes)), len(item.media)) == (1, 1)

    def test_a_version_is_added(
        self, plex: PlexSimulator, clock: Clock, scenes: PlexLibrary, item: PlexItem
    ) -> None:
        clock.now += 60
        plex.add_version(item.rating_key, f"{FOLDER}/One 4K.mkv", size=77)
        optimized = f"{FOLDER}/Plex Versions/Optimized for TV/One.mp4"
        plex.add_version(item.rating_key, optimized)
        [found] = listed(plex, scenes)
        assert self.files(found) == [[f"{FOLDER}/One.mp4"], [f"{FOLDER}/One 4K.mkv"], [optimized]]
        assert [one.get("size") for one in found.iter("Part")] == ["1000000", "77", "1000000"]
        marks = [(one.get("proxyType"), one.get("target")) for one in found.iter("Media")]
        assert marks == [(None, None), (None, None), ("42", "Optimized for TV")]
        assert found.get("updatedAt") == str(START + 60)
        assert plex.find(optimized) is item
        plex.scan(scenes)
        assert plex.settle()
        assert len(listed(plex, scenes)) == 1
