"""The simulated Plex with the real plexapi: it behaves like the real server, quirks included."""

from __future__ import annotations

import hashlib
import threading
from datetime import datetime
from typing import Any
from xml.etree import ElementTree

import pytest
import requests
from plexapi.exceptions import BadRequest, NotFound, Unauthorized
from plexapi.server import PlexServer

from tests.harness.processes import wait_until
from tests.simulators.httpd import Answer
from tests.simulators.plex import PlexItem, PlexLibrary, PlexSimulator
from tests.simulators.support import FOLDER, TOKEN, Clock

PICTURE = b"\xff\xd8 a picture"


@pytest.fixture
def item(plex: PlexSimulator, scenes: PlexLibrary) -> PlexItem:
    return plex.add_item(scenes, f"{FOLDER}/a/One.mp4")


def connect(plex: PlexSimulator, token: str = TOKEN) -> Any:
    return PlexServer(plex.url, token)  # type: ignore[no-untyped-call]


def section_of(plex: PlexSimulator, title: str = "Scenes") -> Any:
    return connect(plex).library.section(title)


def full(plex: PlexSimulator, item: PlexItem) -> Any:
    return connect(plex).fetchItem(item.rating_key).reload()


def get(plex: PlexSimulator, path: str, **headers: str) -> ElementTree.Element:
    answer = requests.get(plex.url + path, headers={"X-Plex-Token": TOKEN, **headers})
    assert answer.status_code == 200, answer.text
    return ElementTree.fromstring(answer.content)


def put(plex: PlexSimulator, path: str) -> int:
    return requests.put(plex.url + path, headers={"X-Plex-Token": TOKEN}).status_code


class TestServer:
    def test_connecting_needs_one_request_and_identifies_the_server(
        self, plex: PlexSimulator
    ) -> None:
        server = connect(plex)
        assert (server.friendlyName, server.machineIdentifier) == (
            "Simulated Plex",
            plex.machine_identifier,
        )
        assert [exchange.request.target for exchange in plex.log.all()] == ["/"]

    def test_a_wrong_token_is_refused(self, plex: PlexSimulator) -> None:
        with pytest.raises(Unauthorized, match="401 Unauthorized"):
            connect(plex, "wrong")

    def test_a_token_can_be_revoked_and_another_one_given(self, plex: PlexSimulator) -> None:
        server = connect(plex)
        plex.valid_tokens.remove(TOKEN)
        with pytest.raises(Unauthorized):
            server.query("/library/sections")

        plex.valid_tokens.add("new")
        assert requests.get(plex.url + "/library/sections?X-Plex-Token=new").status_code == 200

    def test_identity_needs_no_token(self, plex: PlexSimulator) -> None:
        root = ElementTree.fromstring(requests.get(plex.url + "/identity").content)
        assert root.get("machineIdentifier") == plex.machine_identifier

    def test_starting_up_is_503_for_everything(self, plex: PlexSimulator) -> None:
        plex.starting_up = True
        answer = requests.get(plex.url + "/identity")
        assert (answer.status_code, 'title="Maintenance"' in answer.text) == (503, True)
        with pytest.raises(BadRequest, match=r"^\(503\) service_unavailable"):
            connect(plex)

        plex.starting_up = False
        connect(plex)

    def test_shared_users_can_read_but_not_write(self, plex: PlexSimulator, item: PlexItem) -> None:
        plex.shared_tokens.add("friend")
        server = connect(plex, "friend")
        assert [section.title for section in server.library.sections()] == ["Scenes"]
        assert plex.log.all()[-3].status == 403  # GET /library; plexapi tries the sections then

        with pytest.raises(BadRequest, match=r"^\(403\)"):
            server.fetchItem(item.rating_key).editTitle("Mine")
        assert plex.writes == []

    def test_unknown_paths_are_404_in_html(self, plex: PlexSimulator) -> None:
        answer = requests.get(plex.url + "/library/nothing", headers={"X-Plex-Token": TOKEN})
        assert (answer.status_code, "<h1>404 Not Found</h1>" in answer.text) == (404, True)

    def test_faults_reach_plexapi(self, plex: PlexSimulator, item: PlexItem) -> None:
        section = section_of(plex)
        plex.faults.add(Answer(500), path="/library/sections/1/all", times=1)
        with pytest.raises(BadRequest, match=r"^\(500\)"):
            section.all()
        assert len(section.all()) == 1

    def test_it_can_be_restarted_with_its_library(
        self, plex: PlexSimulator, item: PlexItem
    ) -> None:
        server, url = connect(plex), plex.url
        plex.stop()
        with pytest.raises(requests.ConnectionError):
            server.query("/")
        plex.start()
        assert (plex.url, server.fetchItem(item.rating_key).title) == (url, "One")


class TestSections:
    def test_sections(self, plex: PlexSimulator, scenes: PlexLibrary) -> None:
        plex.add_library(
            "Shows", ["/media/shows", "/more"], type="show", agent="tv.plex.agents.series"
        )
        sections = connect(plex).library.sections()
        assert [(s.key, s.title, s.type, s.agent) for s in sections] == [
            (1, "Scenes", "movie", "tv.plex.agents.none"),
            (2, "Shows", "show", "tv.plex.agents.series"),
        ]
        assert sections[1].locations == ["/media/shows", "/more"]
        assert sections[0].uuid != sections[1].uuid

    def test_two_libraries_can_have_the_same_title(
        self, plex: PlexSimulator, scenes: PlexLibrary
    ) -> None:
        other = plex.add_library("Scenes", ["/media/more"])
        plex.add_item(other, "/media/more/Two.mp4")
        sections = connect(plex).library.sections()
        assert [(s.key, s.title) for s in sections] == [
            (scenes.key, "Scenes"),
            (other.key, "Scenes"),
        ]
        assert [len(s.all()) for s in sections] == [0, 1]

    def test_content_changed_at_is_a_counter_that_every_edit_increases(
        self, plex: PlexSimulator, clock: Clock, item: PlexItem
    ) -> None:
        before = int(get(plex, "/library/sections")[0].attrib["contentChangedAt"])
        full(plex, item).editTitle("New")
        after = int(get(plex, "/library/sections")[0].attrib["contentChangedAt"])
        assert before < after < clock.now / 1000

    def test_a_renamed_library_is_seen_after_a_reload(
        self, plex: PlexSimulator, scenes: PlexLibrary
    ) -> None:
        library = connect(plex).library
        library.sections()
        plex.rename_library(scenes, "Other")
        assert library.section("Scenes").title == "Scenes"
        library.reload()
        assert library.section("Other").key == scenes.key


class TestListings:
    def test_all_pages_through_the_section(self, plex: PlexSimulator, scenes: PlexLibrary) -> None:
        plex.add_items(scenes, (f"{FOLDER}/{n:03}.mp4" for n in range(250)))
        section = section_of(plex)
        plex.log.clear()

        titles = [item.title for item in section.all()]

        assert titles == [f"{n:03}" for n in range(250)]
        assert plex.log.count("GET", "/library/sections/1/all") == 3

    def test_size_and_offset_are_returned_only_for_pages(
        self, plex: PlexSimulator, scenes: PlexLibrary
    ) -> None:
        plex.add_items(scenes, (f"{FOLDER}/{n}.mp4" for n in range(5)))
        whole = get(plex, "/library/sections/1/all")
        assert (whole.get("size"), whole.get("totalSize"), whole.get("offset")) == ("5", None, None)

        start_and_size = {"X-Plex-Container-Start": "3", "X-Plex-Container-Size": "9"}
        page = get(plex, "/library/sections/1/all", **start_and_size)
        assert (page.get("size"), page.get("totalSize"), page.get("offset")) == ("2", "5", "3")
        assert section_of(plex).totalSize == 5

    def test_in_the_query_a_size_needs_a_start(
        self, plex: PlexSimulator, scenes: PlexLibrary
    ) -> None:
        plex.add_items(scenes, (f"{FOLDER}/{n}.mp4" for n in range(5)))
        url = "/library/sections/1/all?X-Plex-Container-Size=2"
        assert len(get(plex, url)) == 5
        assert len(get(plex, url + "&X-Plex-Container-Start=0")) == 2

    def test_plexapi_loses_items_when_answers_are_shorter_than_asked(
        self, plex: PlexSimulator, scenes: PlexLibrary
    ) -> None:
        plex.add_items(scenes, (f"{FOLDER}/{n:03}.mp4" for n in range(250)))
        plex.settings.max_page = 60
        # It advances by the requested 100, not by the number of items that it got.
        assert len(section_of(plex).all()) == 60 + 60 + 50

    def test_items_are_partial(self, plex: PlexSimulator, scenes: PlexLibrary) -> None:
        plex.add_item(
            scenes,
            f"{FOLDER}/a.mp4",
            genres=["A", "B", "C"],
            directors=["D", "E", "F"],
            actors=["G", "H", "I", "J"],
            labels=["L"],
            locked=["title"],
        )
        video = get(plex, "/library/sections/1/all?type=1")[0]

        assert [tag.attrib for tag in video.iter("Genre")] == [{"tag": "A"}, {"tag": "B"}]
        assert [len(list(video.iter(kind))) for kind in ("Director", "Role")] == [2, 3]
        assert [list(video.iter(kind)) for kind in ("Label", "Field", "Stream", "Producer")] == [
            []
        ] * 4
        assert "librarySectionTitle" not in video.attrib

    def test_full_items_have_everything(self, plex: PlexSimulator, scenes: PlexLibrary) -> None:
        created = plex.add_item(
            scenes,
            f"{FOLDER}/a.mp4",
            size=4711,
            genres=["A", "B", "C"],
            labels=["l"],
            locked=["title", "genre"],
            guids=["tmdb://1"],
        )
        item = full(plex, created)

        assert [(genre.tag, genre.filter) for genre in item.genres] == [
            (name, f"genre={genre.id}") for name, genre in zip("ABC", item.genres, strict=True)
        ]
        assert [label.tag for label in item.labels] == ["L"]
        assert {field.name for field in item.fields if field.locked} == {"title", "genre"}
        assert (item.librarySectionID, item.librarySectionTitle) == (scenes.key, "Scenes")
        assert [guid.id for guid in item.guids] == ["tmdb://1"]
        assert [(part.file, part.size) for part in item.iterParts()] == [(f"{FOLDER}/a.mp4", 4711)]

    def test_reading_an_empty_field_costs_a_hidden_request(
        self, plex: PlexSimulator, item: PlexItem
    ) -> None:
        listed = section_of(plex).all()[0]
        plex.log.clear()

        assert (listed.title, listed.locations, len(plex.log)) == ("One", item.paths, 0)
        assert listed.studio is None
        assert [exchange.request.path for exchange in plex.log.all()] == [
            f"/library/metadata/{item.rating_key}"
        ]

    def test_several_items_at_once(self, plex: PlexSimulator, scenes: PlexLibrary) -> None:
        keys = [
            i.rating_key for i in plex.add_items(scenes, (f"{FOLDER}/{n}.mp4" for n in range(3)))
        ]
        assert [i.ratingKey for i in connect(plex).fetchItems([keys[2], keys[0], 999_999])] == [
            keys[2],
            keys[0],
        ]

    def test_versions_and_parts(self, plex: PlexSimulator, scenes: PlexLibrary) -> None:
        created = plex.add_item(scenes, "/a/CD1.avi", parts=["/a/CD2.avi"], versions=["/a/HD.mkv"])
        media = full(plex, created).media
        assert [[part.file for part in version.parts] for version in media] == [
            ["/a/CD1.avi", "/a/CD2.avi"],
            ["/a/HD.mkv"],
        ]

    def test_texts_survive_in_numeric_references(
        self, plex: PlexSimulator, scenes: PlexLibrary
    ) -> None:
        path, summary = f"{FOLDER}/e\u0300.mp4", 'it\'s\n<ä> & "b" \U0001f600'
        created = plex.add_item(scenes, path, summary=summary)
        raw = requests.get(
            plex.url + "/library/sections/1/all", headers={"X-Plex-Token": TOKEN}
        ).content

        assert raw.startswith(b"<?xml") and raw.isascii()
        assert b"it&#39;s&#10;&lt;&#228;&gt;" in raw
        item = full(plex, created)
        assert (item.summary, item.locations) == (summary, [path])

    def test_elements_and_fields_can_be_left_out(
        self, plex: PlexSimulator, scenes: PlexLibrary
    ) -> None:
        plex.add_item(scenes, f"{FOLDER}/a.mp4", genres=["A"], summary="long")
        url = "/library/sections/1/all?excludeElements=Genre,Role&excludeFields=summary"
        video = get(plex, url)[0]
        assert (list(video.iter("Genre")), video.get("summary"), len(list(video.iter("Part")))) == (
            [],
            None,
            1,
        )
        assert get(plex, "/library/sections/1/all")[0].get("summary") == "long"

    def test_a_removed_item_is_not_found(self, plex: PlexSimulator, item: PlexItem) -> None:
        listed = section_of(plex).all()[0]
        plex.remove_item(item.rating_key)
        with pytest.raises(NotFound):
            _ = listed.studio
        assert plex.find(f"{FOLDER}/a/One.mp4") is None

    def test_a_replaced_item_has_another_key(self, plex: PlexSimulator, item: PlexItem) -> None:
        new = plex.replace_item(item.path)
        assert (new.path, plex.find(item.path), new.rating_key != item.rating_key) == (
            item.path,
            new,
            True,
        )

    def test_a_moved_file_keeps_its_item(self, plex: PlexSimulator, item: PlexItem) -> None:
        assert section_of(plex).all()[0].locations == item.paths
        plex.move_file(item.rating_key, f"{FOLDER}/b/Two.mp4")
        assert section_of(plex).all()[0].locations == [f"{FOLDER}/b/Two.mp4"]
        assert plex.find(f"{FOLDER}/b/Two.mp4") is item

    def test_a_large_library_is_listed_whole(
        self, plex: PlexSimulator, scenes: PlexLibrary
    ) -> None:
        plex.add_items(scenes, (f"{FOLDER}/{n}.mp4" for n in range(5000)))
        seen: set[str] = set()
        while len(seen) < 5000:
            page = {"X-Plex-Container-Start": str(len(seen)), "X-Plex-Container-Size": "1000"}
            keys = {
                video.attrib["ratingKey"]
                for video in get(plex, "/library/sections/1/all?sort=id", **page)
            }
            assert keys and not keys & seen
            seen |= keys

    def test_an_item_can_be_given_its_key_and_later_keys_follow(
        self, plex: PlexSimulator, scenes: PlexLibrary
    ) -> None:
        given = plex.add_item(scenes, f"{FOLDER}/a.mp4", rating_key=500)
        later = plex.add_item(scenes, f"{FOLDER}/b.mp4")
        assert given.rating_key == 500 < later.rating_key
        assert plex.libraries == [scenes]
        with pytest.raises(ValueError, match="taken"):
            plex.add_item(scenes, f"{FOLDER}/c.mp4", rating_key=500)


class TestFilters:
    def test_items_changed_since_a_time(
        self, plex: PlexSimulator, clock: Clock, scenes: PlexLibrary
    ) -> None:
        old, new = plex.add_items(scenes, [f"{FOLDER}/old.mp4", f"{FOLDER}/new.mp4"])
        clock.now += 100
        full(plex, new).editSummary("changed")
        section = section_of(plex)

        since = datetime.fromtimestamp(clock.now - 50)
        assert [i.title for i in section.search(filters={"updatedAt>>": since})] == ["new"]
        assert [i.title for i in section.search(filters={"updatedAt<<": since})] == ["old"]
        assert [i.title for i in section.search(sort="updatedAt:desc")] == ["new", "old"]
        assert old.updated_at == new.updated_at - 100

    @pytest.mark.parametrize(
        ("operator", "count"), [("%3E%3E", 0), ("%3E", 1), ("%3C%3C", 0), ("%3C", 1), ("", 1)]
    )
    def test_time_operators(
        self, plex: PlexSimulator, clock: Clock, item: PlexItem, operator: str, count: int
    ) -> None:
        url = f"/library/sections/1/all?updatedAt{operator}={int(clock.now)}"
        assert len(get(plex, url)) == count

    def test_a_title_search_means_contains(self, plex: PlexSimulator, scenes: PlexLibrary) -> None:
        plex.add_items(scenes, [f"{FOLDER}/{name}.mp4" for name in ("Night", "A Night Out", "Day")])
        assert [i.title for i in section_of(plex).search(title="night")] == ["Night", "A Night Out"]

    def test_tags(self, plex: PlexSimulator, scenes: PlexLibrary) -> None:
        plex.add_item(scenes, f"{FOLDER}/a.mp4", genres=["Drama"], collections=["C"])
        plex.add_item(scenes, f"{FOLDER}/b.mp4", genres=["Comedy"])
        section = section_of(plex)
        assert [i.title for i in section.search(genre="drama")] == ["a"]
        assert [choice.title for choice in section.listFilterChoices("genre")] == [
            "Comedy",
            "Drama",
        ]

    def test_file_is_fuzzy(self, plex: PlexSimulator, scenes: PlexLibrary) -> None:
        items = plex.add_items(scenes, (f"{FOLDER}/{n}/Scene.mp4" for n in range(10, 60)))
        exact, neighbours = 0, 0
        for item in items:
            found = {
                v.attrib["ratingKey"]
                for v in get(plex, f"/library/sections/1/all?file={item.path.upper()}")
            }
            assert str(item.rating_key) in found
            exact, neighbours = exact + (len(found) == 1), neighbours + (len(found) == 2)
        assert exact > neighbours > 0

    def test_unknown_filters_are_ignored(self, plex: PlexSimulator, item: PlexItem) -> None:
        assert len(get(plex, "/library/sections/1/all?nonsense=1")) == 1

    def test_another_type_has_no_items(self, plex: PlexSimulator, item: PlexItem) -> None:
        assert len(get(plex, "/library/sections/1/all?type=4")) == 0

    def test_plexapi_refuses_a_search_by_file(self, plex: PlexSimulator, item: PlexItem) -> None:
        section = section_of(plex)
        with pytest.raises(BadRequest):
            section.search(Media__Part__file=item.path)
        with pytest.raises(NotFound):
            section.search(file=item.path)
        assert [i.title for i in section.search(Media__Part__file__exact=item.path)] == ["One"]


class TestEdits:
    def test_many_fields_in_one_request(
        self, plex: PlexSimulator, clock: Clock, item: PlexItem
    ) -> None:
        movie = full(plex, item)
        clock.now += 10
        plex.log.clear()
        movie.batchEdits()
        movie.editTitle("The Été").editSummary("Lang\nund é").editStudio(
            "S"
        ).editOriginallyAvailable("2020-02-03")
        movie.editTags("actor", ["A", "B"]).saveEdits()

        movie.reload()
        assert (movie.title, movie.titleSort, movie.summary, movie.studio) == (
            "The Été",
            "Ete",
            "Lang\nund é",
            "S",
        )
        assert movie.originallyAvailableAt == datetime(2020, 2, 3)
        assert [role.tag for role in movie.roles] == ["A", "B"]
        assert movie.isLocked("title") and movie.isLocked("actor") and not movie.isLocked("genre")
        assert plex.log.count("PUT") == 1
        assert item.updated_at == int(clock.now)
        [write] = plex.writes
        assert (write.rating_key, write.at, write.parameters["studio.value"]) == (
            item.rating_key,
            clock.now,
            "S",
        )

    def test_setting_a_value_does_not_lock(self, plex: PlexSimulator, item: PlexItem) -> None:
        full(plex, item).edit(**{"title.value": "T"})
        assert (item.title, item.locked) == ("T", set())
        plex.settings.lock_on_edit = True
        full(plex, item).edit(**{"title.value": "U"})
        assert item.locked == {"title"}
        full(plex, item).edit(**{"title.locked": 0})
        assert (item.title, item.locked) == ("U", set())

    def test_the_sort_title_can_be_set_and_locked(
        self, plex: PlexSimulator, item: PlexItem
    ) -> None:
        full(plex, item).editSortTitle("zzz")
        full(plex, item).editTitle("The Other")
        assert full(plex, item).titleSort == "zzz"

    @pytest.mark.parametrize("mode", ["replace", "add"])
    def test_one_request_gives_the_wanted_tags_in_both_modes(
        self, plex: PlexSimulator, scenes: PlexLibrary, mode: Any
    ) -> None:
        plex.settings.indexed_tags = mode
        item = plex.add_item(scenes, f"{FOLDER}/a.mp4", genres=["Old, with comma", "Kept", "Gone"])
        full(plex, item).edit(
            **{
                "genre[0].tag.tag": "Kept",
                "genre[1].tag.tag": "New",
                "genre[].tag.tag-": "Old%2C%20with%20comma,Gone",
            }
        )
        assert item.genres == ["Kept", "New"]

    @pytest.mark.parametrize(("mode", "genres"), [("replace", ["B"]), ("add", ["A", "B"])])
    def test_the_effect_of_an_indexed_list_alone_depends_on_the_mode(
        self, plex: PlexSimulator, scenes: PlexLibrary, mode: Any, genres: list[str]
    ) -> None:
        plex.settings.indexed_tags = mode
        item = plex.add_item(scenes, f"{FOLDER}/a.mp4", genres=["A"])
        full(plex, item).edit(**{"genre[0].tag.tag": "B"})
        assert item.genres == genres

    def test_a_name_in_both_lists_ends_up_present(
        self, plex: PlexSimulator, scenes: PlexLibrary
    ) -> None:
        item = plex.add_item(scenes, f"{FOLDER}/a.mp4", genres=["A"])
        full(plex, item).edit(**{"genre[0].tag.tag": "A", "genre[].tag.tag-": "A"})
        assert item.genres == ["A"]

    def test_extending_a_cut_list_loses_the_rest(
        self, plex: PlexSimulator, scenes: PlexLibrary
    ) -> None:
        item = plex.add_item(scenes, f"{FOLDER}/a.mp4", genres=["A", "B", "C"])
        section_of(plex).all()[0].addGenre("D")
        assert item.genres == ["A", "B", "D"]

    def test_tags_by_plexapi(self, plex: PlexSimulator, item: PlexItem) -> None:
        full(plex, item).addLabel("first").addCollection(["X", "Y, Z"])
        assert (item.labels, item.collections) == (["First"], ["X", "Y, Z"])
        full(plex, item).removeCollection("Y, Z")
        assert item.collections == ["X"]
        full(plex, item).edit(**{"collection[].tag": ""})
        assert item.collections == []

    def test_the_first_spelling_of_a_tag_wins_everywhere(
        self, plex: PlexSimulator, scenes: PlexLibrary
    ) -> None:
        plex.add_item(scenes, f"{FOLDER}/a.mp4", genres=["Drama", "É"])
        item = plex.add_item(scenes, f"{FOLDER}/b.mp4")
        full(plex, item).editTags("genre", ["drama", "é", "DRAMA"])
        assert item.genres == ["Drama", "é"]  # only ASCII letters are alike

    def test_a_collection_goes_with_its_last_item(
        self, plex: PlexSimulator, item: PlexItem
    ) -> None:
        full(plex, item).addCollection("C")
        section = section_of(plex)
        [first] = section.collections()
        assert [first.title] == plex.collections(item.library) == ["C"]
        full(plex, item).removeCollection("C")
        assert section.collections() == []
        full(plex, item).addCollection("c")
        [again] = section.collections()
        assert (again.title, again.ratingKey != first.ratingKey) == ("C", True)

    def test_characters(self, plex: PlexSimulator, item: PlexItem) -> None:
        full(plex, item).edit(**{"actor[0].tag.tag": "Ann", "actor[0].tagging.text": "The Cat"})
        assert [(role.tag, role.role) for role in full(plex, item).roles] == [("Ann", "The Cat")]

    @pytest.mark.parametrize(
        ("query", "status"),
        [
            ("title.value=T", 200),
            ("nonsense.value=T", 400),
            ("role%5B0%5D.tag.tag=A", 400),
            ("genre.value=A", 400),
            ("genre%5Bx%5D.tag.tag=A", 400),
            ("year.value=abc", 500),
            ("year.value=2020", 200),
            ("originallyAvailableAt.value=2020-13-01", 500),
            ("originallyAvailableAt.value=today", 500),
            ("userRating.value=good", 500),
            ("title.locked=True", 500),
        ],
    )
    def test_bad_edits_change_nothing(
        self, plex: PlexSimulator, item: PlexItem, query: str, status: int
    ) -> None:
        url = f"/library/sections/1/all?type=1&id={item.rating_key}&summary.value=S&{query}"
        assert put(plex, url) == status
        assert (item.summary, len(plex.writes)) == (("S", 1) if status == 200 else ("", 0))

    def test_an_unknown_id_refuses_all_unless_told_to_skip_it(
        self, plex: PlexSimulator, item: PlexItem
    ) -> None:
        url = f"/library/sections/1/all?type=1&id={item.rating_key},99999&title.value=T"
        assert put(plex, url) == 404
        assert item.title == "One"
        plex.settings.skip_unknown_ids = True
        assert put(plex, url) == 200
        assert item.title == "T"
        assert put(plex, "/library/sections/1/all?type=1&id=99999&title.value=T") == 404

    @pytest.mark.parametrize("ids", ["", "&id="])
    def test_without_an_id_every_item_is_edited(
        self, plex: PlexSimulator, scenes: PlexLibrary, ids: str
    ) -> None:
        items = plex.add_items(scenes, (f"{FOLDER}/{n}.mp4" for n in range(3)))
        assert put(plex, f"/library/sections/1/all?type=1{ids}&studio.value=S") == 200
        assert [item.studio for item in items] == ["S"] * 3
        assert {write.rating_key for write in plex.writes} == {item.rating_key for item in items}

    def test_several_items_in_one_request(self, plex: PlexSimulator, scenes: PlexLibrary) -> None:
        items = plex.add_items(scenes, (f"{FOLDER}/{n}.mp4" for n in range(3)))
        section = section_of(plex)
        section.multiEdit(section.all()[:2], **{"studio.value": "S"})
        assert [item.studio for item in items] == ["S", "S", None]

    def test_the_older_form(self, plex: PlexSimulator, item: PlexItem) -> None:
        assert put(plex, f"/library/metadata/{item.rating_key}?title.value=Old") == 200
        assert item.title == "Old"
        assert put(plex, "/library/metadata/99999?title.value=Old") == 404

    def test_a_line_that_is_too_long_is_refused(self, plex: PlexSimulator, item: PlexItem) -> None:
        movie = full(plex, item)
        movie.editSummary("x" * 30_000)
        with pytest.raises(BadRequest, match=r"^\(400\)"):
            movie.editSummary("é" * 30_000)
        assert item.summary == "x" * 30_000

    def test_a_proxy_may_refuse_a_long_line_with_414(
        self, plex: PlexSimulator, item: PlexItem
    ) -> None:
        plex.settings.max_request_line = 8_190
        plex.settings.long_request_status = 414
        with pytest.raises(BadRequest, match=r"^\(414\)"):
            full(plex, item).editSummary("x" * 8_190)
        assert (item.summary, plex.writes) == ("", [])

    def test_rating(self, plex: PlexSimulator, clock: Clock, item: PlexItem) -> None:
        movie = full(plex, item)
        clock.now += 5
        movie.rate(7.5)
        assert (item.user_rating, full(plex, item).userRating, item.updated_at) == (
            7.5,
            7.5,
            int(clock.now) - 5,
        )
        movie.rate(None)
        assert item.user_rating is None
        assert put(plex, "/:/rate?key=99999&identifier=com.plexapp.plugins.library&rating=5") == 404
        assert (
            put(
                plex,
                f"/:/rate?key={item.rating_key}&identifier=com.plexapp.plugins.library&rating=x",
            )
            == 400
        )

    def test_edits_from_many_threads_are_all_kept(
        self, plex: PlexSimulator, scenes: PlexLibrary
    ) -> None:
        items = plex.add_items(scenes, (f"{FOLDER}/{n}.mp4" for n in range(40)))

        def edit(item: PlexItem) -> None:
            put(
                plex,
                f"/library/sections/1/all?type=1&id={item.rating_key}&collection%5B0%5D.tag.tag=C",
            )

        threads = [threading.Thread(target=edit, args=(item,)) for item in items]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert [item.collections for item in items] == [["C"]] * 40
        assert len(plex.writes) == 40


class TestRefresh:
    def test_locked_fields_survive_and_the_others_do_not(
        self, plex: PlexSimulator, item: PlexItem
    ) -> None:
        movie = full(plex, item)
        movie.editTitle("Mine").editTags("genre", ["Mine"])
        movie.editSummary("Mine", locked=False).editTags("label", ["Mine"], locked=False)

        movie.refresh()
        assert plex.settle()

        movie.reload()
        assert (movie.title, movie.summary) == ("Mine", "")
        assert ([g.tag for g in movie.genres], movie.labels) == (["Mine"], [])

    def test_a_refresh_applies_the_agents_metadata(
        self, plex: PlexSimulator, scenes: PlexLibrary
    ) -> None:
        says = {"title": "Known", "summary": "From the agent", "genre": ["G"]}
        item = plex.add_item(scenes, f"{FOLDER}/a.mp4", agent_metadata=says)
        plex.refresh_item(item.rating_key)
        assert (item.title, item.summary, item.genres) == ("Known", "From the agent", ["G"])

    def test_an_unknown_item(self, plex: PlexSimulator) -> None:
        assert put(plex, "/library/metadata/99999/refresh") == 404


class TestScans:
    def test_a_new_file_appears_after_a_scan_of_its_folder(
        self, plex: PlexSimulator, scenes: PlexLibrary
    ) -> None:
        plex.add_file(f"{FOLDER}/new/Fresh.mp4", 77, modified_at=1234)
        plex.add_file(f"{FOLDER}/other/Else.mp4")
        section = section_of(plex)
        section.update(f"{FOLDER}/new")
        assert plex.settle()

        [item] = section.all()
        assert (item.title, item.locations) == ("Fresh", [f"{FOLDER}/new/Fresh.mp4"])
        assert item.addedAt == datetime.fromtimestamp(1234)
        section.update()
        assert plex.settle()
        assert len(section.all()) == 2

    def test_it_is_asynchronous_and_in_two_steps(
        self, plex: PlexSimulator, scenes: PlexLibrary
    ) -> None:
        plex.scan_delay = 3600
        path = f"{FOLDER}/Fresh.mp4"
        plex.add_file(path, agent_metadata={"title": "From the agent", "summary": "S"})
        section = section_of(plex)
        section.update(FOLDER)
        assert (plex.find(path), section.reload().refreshing, len(connect(plex).activities)) == (
            None,
            True,
            1,
        )

        plex.run_next_steps()
        wait_until(lambda: plex.find(path) is not None)
        item = plex.find(path)
        assert item is not None
        assert item.title == "Fresh"
        full(plex, item).edit(**{"title.value": "Mine", "title.locked": 1, "summary.value": "Mine"})
        assert (item.title, item.summary) == ("Mine", "Mine")
        plex.run_next_steps()
        assert plex.settle()
        assert (item.title, item.summary) == ("Mine", "S")
        assert (section.reload().refreshing, connect(plex).activities) == (False, [])

    @pytest.mark.parametrize(
        "path", ["/elsewhere", "/media/Scenes", "/media/scenes-2", f"{FOLDER}/a.mp4", "/media"]
    )
    def test_a_wrong_path_is_accepted_and_does_nothing(
        self, plex: PlexSimulator, scenes: PlexLibrary, path: str
    ) -> None:
        for file in (f"{FOLDER}/a.mp4", "/elsewhere/b.mp4", "/media/scenes-2/c.mp4"):
            plex.add_file(file)
        section_of(plex).update(path)
        assert plex.settle()
        assert plex.items(scenes) == []

    def test_the_item_of_a_deleted_file_is_removed(
        self, plex: PlexSimulator, clock: Clock, item: PlexItem
    ) -> None:
        plex.remove_file(item.path)
        section = section_of(plex)
        assert len(section.all()) == 1
        clock.now += 60
        section.update(f"{FOLDER}/a/")
        assert plex.settle()
        assert section.all() == []
        assert get(plex, "/library/sections")[0].get("scannedAt") == str(int(clock.now))

    def test_stopping_drops_running_scans(self, plex: PlexSimulator, scenes: PlexLibrary) -> None:
        plex.scan_delay = 60
        plex.add_file(f"{FOLDER}/a.mp4")
        section_of(plex).update()
        plex.stop()
        assert plex.settle(0)
        assert (plex.items(scenes), scenes.scans) == ([], 0)


class TestPosters:
    def test_an_upload_is_selected_and_locks_the_thumb(
        self, plex: PlexSimulator, clock: Clock, item: PlexItem
    ) -> None:
        movie = full(plex, item)
        thumb = movie.thumb
        clock.now += 1
        movie.uploadPoster(filepath=PICTURE)

        [poster] = movie.posters()
        assert poster.ratingKey == "upload://posters/" + hashlib.sha1(PICTURE).hexdigest()
        movie.reload()
        assert (poster.selected, movie.isLocked("thumb"), movie.thumb != thumb) == (
            True,
            True,
            True,
        )
        assert requests.get(movie.thumbUrl).content == PICTURE
        assert [(upload.rating_key, upload.data) for upload in plex.uploads] == [
            (item.rating_key, PICTURE)
        ]

    def test_the_same_bytes_are_one_entry_and_one_can_choose(
        self, plex: PlexSimulator, item: PlexItem
    ) -> None:
        movie = full(plex, item)
        for data in (b"one", b"two", b"one"):
            movie.uploadPoster(filepath=data)
        assert [poster.selected for poster in movie.posters()] == [True, False]
        movie.setPoster(movie.posters()[1])
        assert [poster.selected for poster in movie.posters()] == [False, True]
        assert len(plex.uploads) == 3

    def test_a_refresh_drops_the_poster_only_when_the_thumb_is_not_locked(
        self, plex: PlexSimulator, item: PlexItem
    ) -> None:
        movie = full(plex, item).uploadPoster(filepath=PICTURE)
        plex.refresh_item(item.rating_key)
        assert [poster.selected for poster in movie.posters()] == [True]
        movie.unlockPoster()
        plex.refresh_item(item.rating_key)
        assert [poster.selected for poster in movie.posters()] == [False]

    def test_a_url_is_not_fetched_and_still_accepted(
        self, plex: PlexSimulator, item: PlexItem
    ) -> None:
        full(plex, item).uploadPoster(url="http://192.0.2.1/x.jpg")
        assert [(upload.data, upload.url) for upload in plex.uploads] == [
            (b"", "http://192.0.2.1/x.jpg")
        ]

    def test_without_a_poster_there_is_a_frame(self, plex: PlexSimulator, item: PlexItem) -> None:
        assert requests.get(full(plex, item).thumbUrl).content.startswith(b"\x89PNG")
