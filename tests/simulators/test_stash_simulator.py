"""The simulator behaves as Stash does, quirks included."""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.simulators.stash import GraphQLFailure, NotFound, StashSimulator
from tests.simulators.support import START, Clock

JPEG = b"\xff\xd8\xff\xe0 a picture"


@pytest.fixture
def guarded(tmp_path: Path, clock: Clock) -> Iterator[StashSimulator]:
    with StashSimulator(
        tmp_path / "plugins", clock=clock, username="ann", password="pw", api_key="key"
    ) as simulator:
        yield simulator
        assert simulator.server.errors == []


def ask(
    stash: StashSimulator, query: str = "{ version { version } }", **options: Any
) -> requests.Response:
    variables = options.pop("variables", None)
    body = {"query": query, "variables": variables}
    return requests.post(f"{stash.url}/graphql", json=body, timeout=10, **options)


def titles(stash: StashSimulator, arguments: str) -> list[str]:
    found = stash.graphql(f"{{ findScenes({arguments}) {{ scenes {{ title }} }} }}")
    return [scene["title"] for scene in found["findScenes"]["scenes"]]


# --- scenes


def test_an_unset_scene_has_empty_texts_and_null_numbers(stash: StashSimulator) -> None:
    stash.add_scene()
    fields = "title code details director date rating100 studio { id } files { id } urls organized"
    assert stash.graphql(f"{{ findScene(id: 1) {{ {fields} }} }}")["findScene"] == {
        "title": "", "code": "", "details": "", "director": "", "date": None, "rating100": None,
        "studio": None, "files": [], "urls": [], "organized": False,
    }  # fmt: skip
    assert stash.graphql("{ findScene(id: 2) { id } }") == {"findScene": None}


def test_a_scene_can_be_given_its_id_and_a_tag_its_times(stash: StashSimulator) -> None:
    stash.add_tag("T", created_at="2025-01-01T00:00:00Z", updated_at="2025-02-01T00:00:00Z")
    assert stash.library.tags.get(1).updated_at == "2025-02-01T00:00:00Z"
    assert [stash.add_scene(scene_id=id_).id for id_ in (7, 3, None)] == [7, 3, 8]
    with pytest.raises(ValueError, match="already exists"):
        stash.add_scene(scene_id=3)


def test_a_whole_scene(stash: StashSimulator) -> None:
    stash.add_studio("Big")
    stash.add_studio("Small", parent="Big")
    for name in ("Zoe", "Ann"):
        stash.add_performer(name)
    stash.add_scene(
        "T", date="2024-05", studio="Small", performers=["Ann", "Zoe"], tags=["b", "a", "C"],
        groups=["G"],
        files=[("/data/a/b.mp4", 5_000_000_000), "C:\\v\\c.mp4"], urls=["u"],
    )  # fmt: skip
    scene = stash.graphql(
        "{ findScene(id: 1) { id date urls"
        " studio { name parent_studio { name parent_studio { id } } }"
        " performers { id name } tags { name } groups { group { name } scene_index }"
        " created_at updated_at files { path basename size duration"
        ' fingerprints { type value } fingerprint(type: "oshash") } } }'
    )["findScene"]
    first, second = scene.pop("files")
    assert scene == {
        "id": "1", "date": "2024-05", "urls": ["u"],
        "studio": {"name": "Small", "parent_studio": {"name": "Big", "parent_studio": None}},
        "performers": [{"id": "1", "name": "Zoe"}, {"id": "2", "name": "Ann"}],
        "tags": [{"name": "a"}, {"name": "b"}, {"name": "C"}],
        "groups": [{"group": {"name": "G"}, "scene_index": None}],
        "created_at": "2026-01-05T10:00:00+01:00", "updated_at": "2026-01-05T10:00:00+01:00",
    }  # fmt: skip
    assert (first["path"], first["basename"], first["size"]) == (
        "/data/a/b.mp4",
        "b.mp4",
        5_000_000_000,
    )
    assert second["basename"] == "c.mp4"
    assert first["fingerprints"] == [{"type": "oshash", "value": first["fingerprint"]}]


def test_a_save_bumps_updated_at_and_a_rename_does_not(stash: StashSimulator, clock: Clock) -> None:
    stash.add_scene(studio="S")
    clock.now += 61.9
    stash.rename_studio("S", "S2")
    assert stash.scene(1).updated_at == "2026-01-05T10:00:00+01:00"
    stash.graphql('mutation { sceneUpdate(input: {id: 1, title: "x"}) { id } }')
    assert stash.scene(1).updated_at == "2026-01-05T10:01:01+01:00"
    assert stash.graphql("{ findScene(id: 1) { title studio { name } } }")["findScene"] == {
        "title": "x", "studio": {"name": "S2"},
    }  # fmt: skip


def test_silent_changes_and_moves(stash: StashSimulator, clock: Clock) -> None:
    before = stash.add_scene(files=["/a/x.mp4"])
    clock.now += 60
    moved = stash.move_file(1, "/b/x.mp4")
    assert (moved.path, moved.updated_at) == ("/b/x.mp4", before.updated_at)
    changed = stash.change_silently(1, tags=["T"], studio="S", performers=["P"])
    assert (changed.tag_ids, changed.studio_id, changed.performer_ids) == ((1,), 1, (1,))
    assert changed.updated_at > before.updated_at


def test_an_unset_variable_in_a_literal_object_clears_the_field(stash: StashSimulator) -> None:
    stash.add_scene("T", date="2020-01-01")
    literal = "mutation($date: String) { sceneUpdate(input: {id: 1, date: $date}) { date } }"
    assert stash.graphql(literal)["sceneUpdate"] == {"date": None}
    stash.save_scene(1, date="2021")
    whole = "mutation($input: SceneUpdateInput!) { sceneUpdate(input: $input) { date title } }"
    assert stash.graphql(whole, {"input": {"id": "1", "title": None}})["sceneUpdate"] == {
        "date": "2021", "title": "",
    }  # fmt: skip


def test_a_save_of_everything(stash: StashSimulator) -> None:
    stash.add_scene(performers=["Old"], tags=["Old"], files=["/1", "/2"])
    image = "data:image/jpeg;base64," + base64.b64encode(JPEG).decode()
    result = stash.save_scene(
        1, title="T", rating100=80, performers=["B", "Old"], tags=[], studio="S", groups=["G"],
        cover_image=image, urls=["u"], organized=True, primary_file_id=2,
    )  # fmt: skip
    scene = stash.scene(1)
    assert result.hooks == []
    assert (scene.title, scene.rating100, scene.performer_ids, scene.tag_ids) == (
        "T",
        80,
        (1, 2),
        (),
    )
    assert (scene.studio_id, scene.group_ids, scene.cover, scene.path) == (
        1,
        ((1, None),),
        JPEG,
        "/2",
    )
    with pytest.raises(TypeError, match="tittle"):
        stash.save_scene(1, tittle="T")


def test_a_refused_save_changes_nothing(stash: StashSimulator) -> None:
    stash.add_scene("T")
    for input_ in ('id: 1, title: "x", tag_ids: [9]', 'id: 1, title: "x", date: "May"', "id: 9"):
        with pytest.raises(GraphQLFailure):
            stash.graphql(f"mutation {{ sceneUpdate(input: {{{input_}}}) {{ id }} }}")
    assert stash.scene(1).title == "T"


def test_bulk_modes(stash: StashSimulator) -> None:
    stash.add_scene(tags=["A", "B"])
    stash.add_tag("C")
    for ids, mode, left in (
        (["3"], "ADD", (1, 2, 3)),
        (["1"], "REMOVE", (2, 3)),
        (["1"], "SET", (1,)),
    ):
        stash.bulk_save([1], tag_ids={"ids": ids, "mode": mode})
        assert stash.scene(1).tag_ids == left


def test_scenes_come_and_go(stash: StashSimulator) -> None:
    stash.graphql('mutation { sceneCreate(input: {title: "New", urls: ["u"]}) { id } }')
    assert (stash.scene(1).title, stash.scene(1).urls) == ("New", ("u",))
    stash.graphql('mutation { tagCreate(input: {name: "T"}) { id } }')
    stash.save_scene(1, tag_ids=["1"])
    stash.graphql("mutation { tagsDestroy(ids: [1]) }")
    assert stash.scene(1).tag_ids == ()
    stash.graphql("mutation { scenesDestroy(input: {ids: [1]}) }")
    with pytest.raises(NotFound):
        stash.scene(1)


# --- findScenes


def test_pages(stash: StashSimulator) -> None:
    for number in range(30):
        stash.add_scene(str(number))
    assert len(titles(stash, "filter: {}")) == 25
    assert len(titles(stash, "filter: {per_page: -1}")) == 30
    assert titles(stash, "filter: {per_page: 0}") == []
    assert (
        stash.graphql("{ findScenes(filter: {per_page: 0}) { count } }")["findScenes"]["count"]
        == 30
    )
    assert titles(stash, 'filter: {per_page: 4, page: 2, sort: "id"}') == ["4", "5", "6", "7"]
    assert titles(stash, 'filter: {per_page: 1, sort: "id", direction: DESC}') == ["29"]


def test_without_a_sort_and_among_equals_there_is_no_order(stash: StashSimulator) -> None:
    for number in range(30):
        stash.add_scene("same", date=None, files=[f"/{number}"])
    query = "{ findScenes(filter: {per_page: -1%s}) { scenes { id } } }"
    for sort in ("", ', sort: "updated_at"'):
        answers = [str(stash.graphql(query % sort)) for _ in range(3)]
        assert len(set(answers)) > 1


def test_titles_break_ties_in_natural_order(stash: StashSimulator) -> None:
    for title in ("a10", "a9", "A1"):
        stash.add_scene(title)
    assert titles(stash, 'filter: {sort: "updated_at"}') == ["A1", "a9", "a10"]
    with pytest.raises(GraphQLFailure, match="invalid sort"):
        titles(stash, 'filter: {sort: "colour"}')


def test_ids_ignore_the_filters_and_an_unknown_one_fails_the_query(stash: StashSimulator) -> None:
    for title in "abc":
        stash.add_scene(title)
    organized = "scene_filter: {organized: true}, filter: {per_page: 0}"
    assert titles(stash, f"ids: [3, 1], {organized}") == ["c", "a"]
    assert titles(stash, f"scene_ids: [2], {organized}") == ["b"]
    response = ask(stash, "{ findScenes(ids: [1, 9]) { scenes { id } } }")
    assert response.status_code == 200
    assert response.json()["data"] is None
    assert "scene with id 9 not found" in response.json()["errors"][0]["message"]


def test_updated_at_is_compared_as_text(stash: StashSimulator) -> None:
    """10:00+01:00 is the same time as 09:00Z, but not the same text."""
    stash.add_scene("a")
    filter_ = 'scene_filter: {updated_at: {value: "%s", modifier: %s}}'
    assert titles(stash, filter_ % ("2026-01-05T09:30:00Z", "GREATER_THAN")) == ["a"]
    assert titles(stash, filter_ % ("2026-01-05T10:00:00+01:00", "GREATER_THAN")) == []
    assert titles(stash, filter_ % ("2026-01-05T10:00:01+01:00", "LESS_THAN")) == ["a"]
    between = 'scene_filter: {updated_at: {value: "%s", value2: "%s", modifier: BETWEEN}}'
    assert titles(stash, between % (("2026-01-05T10:00:00+01:00",) * 2)) == ["a"]


@pytest.mark.parametrize(
    ("criteria", "found"),
    [
        ("organized: true", ["b"]),
        ('path: {value: "/data/a.mp4", modifier: EQUALS}', ["a"]),
        ('path: {value: "/DATA/_.mp4", modifier: EQUALS}', ["a", "b"]),
        ('path: {value: "%.mkv", modifier: EQUALS}', ["c"]),
        ('path: {value: "data", modifier: INCLUDES}', ["a", "b"]),
        ('path: {value: "data", modifier: EXCLUDES}', ["c"]),
        ('path: {value: "[ac]\\\\.m", modifier: MATCHES_REGEX}', ["a", "c"]),
        ('performers: {value: ["1"], modifier: INCLUDES}', ["a", "b"]),
        ('performers: {value: ["1", "2"], modifier: INCLUDES_ALL}', ["b"]),
        ("performers: {modifier: IS_NULL}", ["c"]),
        ('tags: {value: ["1"], modifier: EXCLUDES}', ["b", "c"]),
        ('studios: {value: ["1"], modifier: INCLUDES}', ["b"]),
        ('studios: {value: ["1"], modifier: INCLUDES, depth: -1}', ["a", "b"]),
        ('groups: {value: ["1"], modifier: INCLUDES}', ["c"]),
        ("rating100: {value: 20, modifier: GREATER_THAN}", ["c"]),
        ('NOT: {title: {value: "a", modifier: EQUALS}}', ["b", "c"]),
        ('title: {value: "a", modifier: EQUALS}, OR: {organized: true}', ["a", "b"]),
        ('is_missing: "studio"', ["c"]),
    ],
)
def test_filters(stash: StashSimulator, criteria: str, found: list[str]) -> None:
    stash.add_studio("Parent")
    stash.add_studio("Child", parent="Parent")
    stash.add_scene(
        "a", files=["/data/a.mp4"], performers=["P"], tags=["T"], studio="Child", rating100=10
    )
    stash.add_scene(
        "b", files=["/data/b.mp4"], performers=["P", "Q"], organized=True, studio="Parent"
    )
    stash.add_scene("c", files=["/other/c.mkv"], groups=["G"], rating100=30)
    assert titles(stash, f'scene_filter: {{{criteria}}}, filter: {{sort: "id"}}') == found


def test_a_large_library_is_fast_enough(stash: StashSimulator) -> None:
    for number in range(10_000):
        stash.add_scene(str(number), files=[(f"/d/{number}", number)], tags=["T"])
    page = 'filter: {per_page: 100, sort: "id", page: 90}'
    query = f"{{ findScenes({page}) {{ count scenes {{ id tags {{ name }} }} }} }}"
    found = stash.graphql(query)["findScenes"]
    assert (found["count"], found["scenes"][0]["id"]) == (10_000, "8901")


# --- GraphQL over HTTP


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ("{ findScene(id: 1) { id colour } }", None),
        ("{ findScene(id: 1) { custom_fields } }", None),
        ("query($id: ID!) { findScene(id: $id) { id } }", None),
        ("query($n: Int) { findScenes(scene_ids: [$n]) { count } }", {"n": "many"}),
        (
            "mutation($i: SceneUpdateInput!) { sceneUpdate(input: $i) { id } }",
            {"i": {"id": 1, "names": 2}},
        ),
        ("{ findScene(", None),
        ("", None),
    ],
)
def test_a_document_that_does_not_fit_the_schema_is_refused(
    stash: StashSimulator, query: str, variables: dict[str, Any] | None
) -> None:
    modern = ask(stash, query, variables=variables)  # requests sends Accept: */*
    assert modern.status_code == 400
    assert modern.headers["Content-Type"] == "application/graphql-response+json"
    plain = ask(stash, query, variables=variables, headers={"Accept": "application/json"})
    assert plain.status_code == 422
    assert plain.headers["Content-Type"] == "application/json"
    assert plain.json()["errors"]
    assert plain.json()["data"] is None


def test_errors_of_resolvers_come_with_200_and_partial_data(stash: StashSimulator) -> None:
    stash.add_scene()
    response = ask(stash, '{ good: findScene(id: 1) { id } bad: findScene(id: "x") { id } }')
    assert response.status_code == 200
    assert response.json()["data"] == {"good": {"id": "1"}, "bad": None}
    assert response.json()["errors"][0]["path"] == ["bad"]


def test_bad_json_is_refused(stash: StashSimulator) -> None:
    headers = {"Content-Type": "application/json"}
    response = requests.post(f"{stash.url}/graphql", data=b"{", headers=headers, timeout=240)
    assert response.status_code == 400
    assert response.json()["errors"]


def test_ids_may_be_numbers(stash: StashSimulator) -> None:
    stash.add_scene("a")
    query = "query($id: ID) { findScene(id: $id) { title } }"
    assert stash.graphql(query, {"id": 1}) == stash.graphql(query, {"id": "1"})


# --- authentication


def test_without_credentials_all_is_open_except_for_a_wrong_key(
    stash: StashSimulator,
) -> None:
    assert ask(stash).status_code == 200
    assert ask(stash, headers={"ApiKey": "wrong"}).status_code == 401
    assert ask(stash, headers={"Cookie": "session=forged"}).status_code == 200


def test_methods_of_authentication(guarded: StashSimulator) -> None:
    cookie = {"Cookie": f"session={guarded.cookie()}"}
    assert ask(guarded).status_code == 401
    assert ask(guarded, headers={"ApiKey": "key"}).status_code == 200
    assert ask(guarded, params={"apikey": "key"}).status_code == 200
    assert ask(guarded, headers=cookie).status_code == 200
    assert ask(guarded, headers={**cookie, "ApiKey": "old"}).status_code == 401  # the key wins
    assert ask(guarded, headers={"Cookie": "session=forged"}).status_code == 401


def test_a_login_gives_a_cookie(guarded: StashSimulator) -> None:
    with requests.Session() as browser:
        form = {"username": "ann", "password": "no"}
        assert browser.post(f"{guarded.url}/login", data=form, timeout=240).status_code == 401
        browser.post(f"{guarded.url}/login", data={**form, "password": "pw"}, timeout=240)
        body = {"query": "{ version { version } }"}
        assert browser.post(f"{guarded.url}/graphql", json=body, timeout=240).status_code == 200


def test_a_cookie_lives_an_hour_and_each_answer_renews_it(
    guarded: StashSimulator, clock: Clock
) -> None:
    original = {"Cookie": f"session={guarded.cookie()}"}
    clock.now += 3000
    renewed = ask(guarded, headers=original).cookies["session"]
    clock.now += 3000
    assert ask(guarded, headers=original).status_code == 401
    assert ask(guarded, headers={"Cookie": f"session={renewed}"}).status_code == 200


def test_a_cookie_survives_a_restart_and_a_new_password_but_no_invalidation(
    guarded: StashSimulator,
) -> None:
    headers = {"Cookie": f"session={guarded.cookie()}"}
    port = guarded.server.port
    guarded.stop()
    with pytest.raises(requests.ConnectionError):
        ask(guarded, headers=headers)
    guarded.start()
    guarded.set_credentials("ann", "another")
    assert guarded.server.port == port
    assert ask(guarded, headers=headers).status_code == 200
    guarded.invalidate_sessions()
    assert ask(guarded, headers=headers).status_code == 401


def test_a_cookie_from_before_the_login_was_required_is_invalid(stash: StashSimulator) -> None:
    headers = {"Cookie": f"session={stash.cookie()}"}
    assert ask(stash, headers=headers).status_code == 200
    stash.set_credentials("ann", "pw")
    assert ask(stash, headers=headers).status_code == 401


def test_a_new_key_replaces_the_old_one(guarded: StashSimulator) -> None:
    query = "{ configuration { general { apiKey username } } }"
    assert guarded.graphql(query)["configuration"]["general"] == {
        "apiKey": "key",
        "username": "ann",
    }
    made = guarded.graphql("mutation { generateAPIKey(input: {}) }")["generateAPIKey"]
    assert ask(guarded, headers={"ApiKey": "key"}).status_code == 401
    assert ask(guarded, headers={"ApiKey": made}).status_code == 200


def test_a_key_needs_a_username(stash: StashSimulator) -> None:
    general = stash.graphql("{ configuration { general { apiKey } } }")["configuration"]["general"]
    assert general == {"apiKey": ""}
    with pytest.raises(GraphQLFailure, match="username"):
        stash.graphql("mutation { generateAPIKey(input: {}) }")


# --- other addresses


def test_covers(stash: StashSimulator) -> None:
    stash.add_scene(cover=JPEG)
    stash.add_scene()
    first = stash.graphql("{ findScene(id: 1) { paths { screenshot } } }")["findScene"]["paths"][
        "screenshot"
    ]
    assert first == f"{stash.url}/scene/1/screenshot?t={int(START)}"
    picture = requests.get(first, timeout=240)
    assert (picture.content, picture.headers["Content-Type"]) == (JPEG, "image/jpeg")
    default = requests.get(f"{stash.url}/scene/2/screenshot", timeout=240)
    assert (default.status_code, default.headers["Content-Type"]) == (200, "image/svg+xml")
    assert requests.get(f"{stash.url}/scene/3/screenshot", timeout=240).status_code == 404


def test_a_cover_is_sent_again_only_if_it_changed(stash: StashSimulator) -> None:
    stash.add_scene(cover=JPEG)
    stash.add_scene()
    url = f"{stash.url}/scene/1/screenshot"
    first = requests.get(url, timeout=240)
    etag = first.headers["ETag"]
    assert etag == f'"{hashlib.md5(JPEG).hexdigest()}"'
    assert first.headers["Cache-Control"] == "no-cache"
    for condition in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        same = requests.get(url, headers={"If-None-Match": condition}, timeout=240)
        assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", etag)
        assert not {"Content-Type", "Content-Length"} & set(same.headers)
    assert requests.get(url, headers={"If-None-Match": '"other"'}, timeout=240).content == JPEG

    stash.set_cover(1, JPEG + b"2")
    changed = requests.get(url, headers={"If-None-Match": etag}, timeout=240)
    assert (changed.status_code, changed.content) == (200, JPEG + b"2")
    assert requests.get(f"{stash.url}/scene/2/screenshot", timeout=240).headers["ETag"] != etag
    dated = requests.get(f"{url}?t=1", timeout=240)
    assert dated.headers["Cache-Control"] == "private, max-age=31536000, immutable"


def test_a_cover_without_login_is_a_page(guarded: StashSimulator) -> None:
    guarded.add_scene(cover=JPEG)
    url = f"{guarded.url}/scene/1/screenshot"
    redirect = requests.get(url, allow_redirects=False, timeout=240)
    assert (redirect.status_code, redirect.headers["Location"].partition("?")[0]) == (302, "/login")
    page = requests.get(url, timeout=240)
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assert requests.get(url, params={"apikey": "key"}, timeout=240).content == JPEG
    assert requests.get(f"{guarded.url}/app.js", timeout=240).status_code == 401
    assert requests.get(f"{guarded.url}/healthz", timeout=240).status_code == 200


def test_addresses_are_built_from_the_requests_host(stash: StashSimulator) -> None:
    stash.add_scene()
    headers = {"Host": "stash.example", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/s"}
    answer = ask(stash, "{ findScene(id: 1) { paths { stream } } }", headers=headers).json()
    assert (
        answer["data"]["findScene"]["paths"]["stream"] == "https://stash.example/s/scene/1/stream"
    )


# --- settings


def test_plugin_settings_are_replaced_as_a_whole(stash: StashSimulator) -> None:
    query = '{ configuration { plugins(include: ["P"]) } }'
    assert stash.graphql(query)["configuration"]["plugins"] == {}
    configure = 'mutation($input: Map!) { configurePlugin(plugin_id: "P", input: $input) }'
    stash.graphql(configure, {"input": {"a": 1, "b": "", "c": None}})
    stash.graphql(configure, {"input": {"a": 2.0}})
    stash.set_plugin_settings("Other", {"x": True})
    assert stash.graphql(query)["configuration"]["plugins"] == {"P": {"a": 2.0}}
    assert stash.plugin_settings("P") == {"a": 2.0}
    assert stash.plugin_settings("Q") is None
    assert set(stash.graphql("{ configuration { plugins } }")["configuration"]["plugins"]) == {
        "P",
        "Other",
    }


def test_a_number_with_an_exponent_becomes_zero_in_a_map(stash: StashSimulator) -> None:
    query = "mutation($m: Map!) { configurePlugin(plugin_id: 1, input: $m) }"
    body = f'{{"query": "{query}", "variables": {{"m": {{"a": 1e3, "b": 1.5}}}}}}'
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{stash.url}/graphql", data=body, headers=headers, timeout=240).json()
    assert answer["data"]["configurePlugin"] == {"a": 0, "b": 1.5}


# --- a client that disconnects


def test_hooks_are_killed_when_the_client_closes_its_connection(tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "slow.py").write_text("import time\ntime.sleep(60)\n", encoding="utf-8")
    (folder / "Slow.yml").write_text(
        'exec: [python3, "{pluginDir}/slow.py"]\nhooks: [{triggeredBy: [Scene.Update.Post]}]\n',
        encoding="utf-8",
    )
    with StashSimulator(folder) as stash:
        stash.add_scene()
        stash.add_scene()
        body = (
            b'{"query": "mutation {'
            b' bulkSceneUpdate(input: {ids: [1, 2], title: \\"x\\"}) { id } }"}'
        )
        head = "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}"
        with socket.create_connection((stash.server.host, stash.server.port)) as client:
            client.sendall(head.encode() + b"\r\n\r\n" + body)
            pause = threading.Event()
            while not stash.plugins.runs():
                pause.wait(0.01)
        (run,) = stash.plugins.runs()
        assert run.wait(240)
        assert run.exit_code != 0
    assert len(stash.plugins.runs()) == 1
    assert [stash.scene(id_).title for id_ in (1, 2)] == ["x", "x"]
