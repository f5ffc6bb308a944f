"""Tests of `requires_plex_sync` with every field of Stash's inputs, in every shape."""

from __future__ import annotations

from typing import Any

import pytest

from hooks.handlers import requires_plex_sync
from tests.simulators.stash.events import SCENE_FIELDS

WANTED: dict[str, Any] = {
    # the contract's names
    "title": "T",
    "details": "D",
    "date": "2024-05-06",
    "rating": 5,
    "studio": "S",
    "performers": ["Ann"],
    "tags": ["One"],
    "groups": [{"group_id": "1"}],
    "director": "Dee",
    "code": "ABC-1",
    "cover": "data:image/png;base64,AAAA",
    "organized": True,
    "urls": ["https://example.org"],
    # Stash's names for the same
    "url": "https://example.org",
    "rating100": 80,
    "studio_id": "1",
    "performer_ids": ["1"],
    "tag_ids": ["1"],
    "movies": [{"movie_id": "1"}],
    "group_ids": {"ids": ["1"], "mode": "ADD"},
    "movie_ids": {"ids": ["1"], "mode": "ADD"},
    "cover_image": "data:image/png;base64,AAAA",
    "stash_ids": [{"endpoint": "e", "stash_id": "s"}],
}
UNWANTED: dict[str, Any] = {
    "clientMutationId": "x",
    "o_counter": 3,
    "play_count": 3,
    "play_duration": 12.5,
    "resume_time": 3.5,
    "last_played_at": "2024-01-01T00:00:00Z",
    "gallery_ids": ["1"],
    "scene_markers": [{"id": "1"}],
    "primary_file_id": "1",
    "file_ids": ["1"],
    "created_at": "2024-01-01T00:00:00Z",
    "updated_at": "2024-01-01T00:00:00Z",
}


def full(**sent: Any) -> dict[str, Any]:
    """Return an input as Stash sends it: every key, null if the client did not pass it."""
    return {**dict.fromkeys(SCENE_FIELDS.split()), "id": "7", **sent}


@pytest.mark.parametrize("field", WANTED)
def test_a_field_that_plex_shows_is_wanted(field: str) -> None:
    assert requires_plex_sync({"id": "7", field: WANTED[field]}) is True


@pytest.mark.parametrize("field", WANTED)
def test_a_field_among_nulls_is_wanted(field: str) -> None:
    assert requires_plex_sync(full(**{field: WANTED[field]})) is True


@pytest.mark.parametrize("field", WANTED)
def test_a_field_that_was_passed_as_null_is_wanted(field: str) -> None:
    assert requires_plex_sync({**full(), "inputFields": ["id", field]}) is True


@pytest.mark.parametrize("field", WANTED)
def test_a_field_that_is_null_and_was_not_passed_is_not_wanted(field: str) -> None:
    assert requires_plex_sync({"id": "7", field: None}) is False


@pytest.mark.parametrize("field", UNWANTED)
def test_a_field_that_plex_does_not_show_is_not_wanted(field: str) -> None:
    assert requires_plex_sync({"id": "7", field: UNWANTED[field]}) is False
    assert (
        requires_plex_sync({**full(**{field: UNWANTED[field]}), "inputFields": ["id", field]})
        is False
    )


@pytest.mark.parametrize("field", ["title", "tag_ids", "cover_image"])
def test_a_value_that_the_client_did_not_pass_does_not_count(field: str) -> None:
    assert (
        requires_plex_sync({**full(**{field: WANTED[field]}), "inputFields": ["id", "play_count"]})
        is False
    )


@pytest.mark.parametrize("value", ["", 0, False, []])
def test_an_empty_value_is_a_value(value: Any) -> None:
    assert requires_plex_sync({"id": "7", "rating100": value}) is True


def test_every_input_field_of_a_single_save_is_covered_here() -> None:
    assert set(SCENE_FIELDS.split()) - {"id"} <= {*WANTED, *UNWANTED}


@pytest.mark.parametrize(
    "update", [{}, {"id": "7"}, {"ids": ["7", "8"]}, {"inputFields": []}, full()]
)
def test_an_empty_update_is_not_wanted(update: dict[str, Any]) -> None:
    assert requires_plex_sync(update) is False


@pytest.mark.parametrize("fields", [None, "title", {"title": 1}, 5])
def test_input_fields_that_are_not_a_list_are_ignored(fields: Any) -> None:
    assert requires_plex_sync({**full(title="T"), "inputFields": fields}) is True
    assert requires_plex_sync({**full(), "inputFields": fields}) is False


def test_invalid_entries_of_input_fields_are_ignored() -> None:
    assert requires_plex_sync({**full(), "inputFields": [None, 5, ["x"], {}, "title"]}) is True
    assert requires_plex_sync({**full(), "inputFields": [None, 5, ["x"], {}, "Title"]}) is False
