"""The operations of the guided setup, against both simulators; the token leaves in no answer."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from common.sqlite import connect
from plex.index import FileIndex
from tasks.context import Context, Result, UsageError
from tasks.setup import pictures, setup_match, setup_test
from tests.harness.base import TOKEN
from tests.harness.in_process import WorkerHarness
from tests.harness.plugin import ENTRY
from tests.isolation import closed_port
from tests.simulators.plex import PlexSimulator
from validation.errors import SettingsError

JPEG = b"\xff\xd8\xff\xe0" + bytes(200)
OTHER_TOKEN = "another-token-0123456789"


@pytest.fixture
def answers(harness: WorkerHarness) -> Iterator[list[Result]]:
    """Collect all answers, and check that none of them holds a token."""
    collected: list[Result] = []
    yield collected
    for one in collected:
        text = json.dumps(one.to_dict()) + "\n".join(one.lines)
        assert TOKEN not in text
        assert OTHER_TOKEN not in text
    assert all(exchange.request.method == "GET" for exchange in harness.plex.log.all()), (
        "nothing is written"
    )


class Asker:
    """Runs operations as the page does."""

    def __init__(self, harness: WorkerHarness, answers: list[Result]) -> None:
        self.answers = answers
        self.context = Context(
            str(harness.data_dir),
            str(ENTRY),
            harness.client,
            harness.redactor,
            lambda *_: None,
            lambda *_: None,
            environ={},
        )

    def __call__(self, operation: Any, **arguments: Any) -> dict[str, Any]:
        result: Result = operation(self.context, arguments)
        self.answers.append(result)
        return result.to_dict()


@pytest.fixture
def ask(harness: WorkerHarness, answers: list[Result]) -> Asker:
    return Asker(harness, answers)


# --- setup_test


def test_an_address_and_a_token_are_tried_before_they_are_saved(
    harness: WorkerHarness, ask: Asker
) -> None:
    harness.plex.add_library("Shows", ["/shows"], type="show")
    harness.add_item("a")
    harness.add_item("b")
    harness.configure(plex_url=None, plex_token=None)
    found = ask(setup_test, plex_url=f" {harness.plex.url}/ ", plex_token=TOKEN)
    assert (found["ok"], found["name"]) == (True, harness.plex.settings.friendly_name)
    assert found["version"]
    assert [(one["name"], one["type"], one["items"]) for one in found["libraries"]] == [
        ("Scenes", "movie", 2), ("Shows", "show", None),
    ]  # fmt: skip
    scenes = found["libraries"][0]
    assert (scenes["folders"], bool(scenes["agent"])) == (["/media"], True)
    assert "1 libraries of type movie" in found["message"]


def test_the_settings_stand_in_for_what_is_not_given(ask: Asker) -> None:
    assert ask(setup_test)["ok"] is True


@pytest.mark.parametrize("token", [OTHER_TOKEN, "x"])
def test_a_wrong_token_is_said_and_not_repeated(ask: Asker, token: str) -> None:
    found = ask(setup_test, plex_token=token)
    assert found["ok"] is False
    assert "token" in found["message"]
    assert (found["libraries"], token in found["message"].split()) == ([], False)


def test_a_server_that_does_not_answer_is_said(ask: Asker) -> None:
    found = ask(setup_test, plex_url=f"http://127.0.0.1:{closed_port()}", plex_token=TOKEN)
    assert found["ok"] is False
    assert "\n" not in found["message"]


def test_the_token_of_the_settings_goes_to_the_address_of_the_settings_alone(
    harness: WorkerHarness, ask: Asker
) -> None:
    with PlexSimulator(token=TOKEN) as stranger:
        with pytest.raises(UsageError, match="plex_token is missing"):
            ask(setup_test, plex_url=stranger.url)
        with pytest.raises(UsageError, match="plex_token is missing"):
            ask(setup_match, plex_url=stranger.url)
        assert stranger.log.all() == []
    assert ask(setup_test, plex_url=harness.plex.url)["ok"] is True


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"plex_url": "nas"}, "plex_url is 'nas': must be an address"),
        ({"plex_url": ["http://nas"]}, "plex_url must be a text"),
        ({"plex_token": "a b"}, "plex_token is"),
        ({"plex_token": 7}, "plex_token must be a text"),
        ({"plex_url": "http://nas/" + "x" * 5000}, "plex_url must be a text of 4000"),
    ],
)
def test_wrong_arguments_of_setup_test(ask: Asker, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises((UsageError, SettingsError), match=text):
        ask(setup_test, **arguments)


# --- setup_match


def test_libraries_and_path_mappings_show_what_they_find(
    harness: WorkerHarness, ask: Asker
) -> None:
    harness.pairs(4)
    harness.add_scene("only-in-stash")
    films = harness.plex.add_library("Films", ["/films"])
    harness.stash.add_scene(title="F", files=[("/data/f/film.mp4", 7)])
    harness.plex.add_item(films, "/films/f/film.mp4", size=7)
    mappings = "/data => /media; /nowhere => /films"
    found = ask(setup_match, plex_libraries="", path_mappings=mappings)
    assert (found["scenes"], found["matched"], found["ambiguous"]) == (6, 5, 0)
    assert {one["name"]: one["matched"] for one in found["libraries"]} == {"Scenes": 4, "Films": 1}
    assert found["mappings"] == [
        {"text": "/data => /media", "hits": 4, "sample": 6},
        {"text": "/nowhere => /films", "hits": 0, "sample": 0},
    ]
    one = ask(setup_match, plex_libraries="Films", path_mappings="/data => /films")
    assert (one["matched"], one["mappings"][0]["hits"]) == (1, 1)
    assert [library["name"] for library in one["libraries"]] == ["Films"]


def test_without_path_mappings_those_are_suggested_that_would_hit(
    harness: WorkerHarness, ask: Asker
) -> None:
    harness.pairs(5)
    found = ask(setup_match, path_mappings="")
    assert (found["matched"], found["mappings"]) == (5, [])
    assert found["suggestions"] == [{"text": "/data => /media", "hits": 5}]
    assert ask(setup_match, path_mappings="/data => /media")["suggestions"] == []


def test_nothing_that_matches_is_not_ok_and_no_scene_at_all_is(
    harness: WorkerHarness, ask: Asker
) -> None:
    assert ask(setup_match)["ok"] is True
    harness.add_scene("only-in-stash")
    assert ask(setup_match)["ok"] is False


def test_a_trial_with_another_plex_leaves_the_workers_index(
    harness: WorkerHarness, ask: Asker
) -> None:
    harness.pairs(3)
    ask(setup_match)
    file = str(harness.data_dir / "index.db")
    connection = connect(file)
    index = FileIndex(connection)
    assert (index.server, index.count()) == (harness.plex.settings.machine_identifier, 3)
    with PlexSimulator(token=OTHER_TOKEN, machine_identifier="another") as other:
        other.add_library("Scenes", ["/media"])
        found = ask(setup_match, plex_url=other.url, plex_token=OTHER_TOKEN)
        assert (found["scenes"], found["matched"]) == (3, 0)
    assert (index.server, index.count()) == (harness.plex.settings.machine_identifier, 3)
    connection.close()


@pytest.mark.parametrize("sample", ["0", 201, "x", -1, [5], "9" * 20])
def test_a_wrong_size_of_the_sample_is_refused(ask: Asker, sample: object) -> None:
    with pytest.raises(UsageError, match="sample must be a number from 1 to 200"):
        ask(setup_match, sample=sample)


def test_an_unknown_library_is_said_with_those_that_are_there(ask: Asker) -> None:
    with pytest.raises(SettingsError, match="'Scenes'"):
        ask(setup_match, plex_libraries="Other")


# --- pictures


def add_poster(harness: WorkerHarness, name: str, picture: bytes) -> str:
    """Add an item with a poster; return how the page names it."""
    item = harness.add_item(name)
    harness.plex.person_selects_poster(item.rating_key, picture)
    return f"{item.library.key}:{item.rating_key}"


def test_posters_come_as_data_urls_scaled_by_plex(harness: WorkerHarness, ask: Asker) -> None:
    key, frame = add_poster(harness, "a", JPEG), harness.add_item("b")
    other = f"{frame.library.key}:{frame.rating_key}"
    found = ask(pictures, items=[key, other])["pictures"]
    assert base64.b64decode(found[key].removeprefix("data:image/jpeg;base64,")) == JPEG
    assert found[other].startswith("data:image/png;base64,")
    asked = [one.request for one in harness.plex.log.all() if "transcode" in one.request.path]
    assert [one.first("width") for one in asked] == ["320", "320"]
    assert all("X-Plex-Token" not in one.target for one in asked)


@pytest.mark.parametrize(
    "picture", [b"<html>login</html>", b"GIF89a" + bytes(50), JPEG + bytes(500_000)]
)
def test_what_is_no_small_picture_is_left_out(
    harness: WorkerHarness, ask: Asker, picture: bytes
) -> None:
    assert ask(pictures, items=add_poster(harness, "a", picture))["pictures"] == {}


def test_items_that_are_gone_or_of_another_library_are_left_out(
    harness: WorkerHarness, ask: Asker
) -> None:
    key = add_poster(harness, "a", JPEG)
    section, _, number = key.partition(":")
    found = ask(pictures, items=f"{section}:999999,{key},{int(section) + 1}:{number}")
    assert list(found["pictures"]) == [key]
    assert ask(pictures, items=f"{section}:999999")["pictures"] == {}


@pytest.mark.parametrize(
    "items",
    [None, "", [], "1", "1:2:3", "a:b", [7], {"1": 2}, ["1:2"] * 25, "1:2/../../status", "-1:2"],
)
def test_wrong_items_are_refused(ask: Asker, items: object) -> None:
    with pytest.raises(UsageError, match="items"):
        ask(pictures, items=items)
