"""Tests of parsing Stash's hook contexts, and of the data that a job keeps."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hooks.events import EventError, changed_fields, job_data, read_event
from tests.simulators.stash import events
from tests.simulators.stash.events import HookContext


def read_update(context: Any) -> tuple[int, dict[str, Any]]:
    kind, scene_id, update = read_event(context)
    assert kind == "Scene.Update.Post"
    return scene_id, update


def read(context: HookContext) -> tuple[int, dict[str, Any]]:
    """Parse a context after a round trip through JSON, as the hook receives it."""
    return read_update(json.loads(json.dumps(context.to_json())))


def job_of(context: HookContext) -> tuple[int, dict[str, Any]]:
    """Return the scene id and the data of its job."""
    scene_id, update = read(context)
    return scene_id, job_data(update)


def test_a_single_save_keeps_what_the_client_passed() -> None:
    context = events.scene_update({"id": "7", "title": "T", "studio_id": None, "play_count": 2})
    assert job_of(context) == (7, {"title": "T", "studio_id": None, "play_count": 2})


def test_a_bulk_edit_is_about_the_contexts_own_scene() -> None:
    tags = {"ids": ["4"], "mode": "ADD"}
    context = events.bulk_scene_update(
        {"ids": ["7", "8", "9"], "rating100": 50, "tag_ids": tags}, 8
    )
    assert job_of(context) == (8, {"rating100": 50, "tag_ids": tags})


@pytest.mark.parametrize(("scene_id", "title"), [(7, "Seven"), (8, "Eight"), (9, "Nine")])
def test_the_taggers_list_gives_each_scene_its_own_input(scene_id: int, title: str) -> None:
    inputs = [
        {"id": "7", "title": "Seven"},
        {"id": "8", "title": "Eight"},
        {"id": "9", "title": "Nine"},
    ]
    assert job_of(events.scenes_update(inputs, scene_id)) == (scene_id, {"title": title})


def test_a_list_without_the_scene_still_counts_by_its_input_fields() -> None:
    context = {
        "id": 5,
        "type": "Scene.Update.Post",
        "input": [{"id": "7", "title": "T"}],
        "inputFields": ["title"],
    }
    scene_id, update = read_update(context)
    assert (scene_id, changed_fields(update)) == (5, {"title"})


@pytest.mark.parametrize("entries", [[], [None, 5, "x", []], [{"id": None}], [{"title": "no id"}]])
def test_a_list_of_odd_entries_gives_nothing(entries: list[Any]) -> None:
    assert read_update({"id": 7, "type": "Scene.Update.Post", "input": entries}) == (7, {})


def test_a_scan_changes_no_field() -> None:
    scene_id, update = read(events.scan_update(7))
    assert (scene_id, changed_fields(update)) == (7, set())


def test_identify_brings_its_groups_as_movies() -> None:
    context = events.identify(
        {"id": "7", "title": "T", "groups": [{"group_id": "3"}], "details": None}
    )
    assert job_of(context) == (7, {"title": "T", "movies": [{"group_id": "3"}]})


@pytest.mark.parametrize("sent", ["text", 5, True, 1.5])
def test_an_input_of_another_type_changes_no_field(sent: Any) -> None:
    assert read_update({"id": 7, "type": "Scene.Update.Post", "input": sent}) == (7, {})


def test_the_scene_id_is_the_contexts_not_the_inputs() -> None:
    context = {"id": 7, "type": "Scene.Update.Post", "input": {"id": "8", "title": "T"}}
    assert read_update(context)[0] == 7


def test_a_deleted_scene_is_named_by_the_context() -> None:
    for context in (
        events.scene_destroy({"id": "7"}, 7, path="/data/x.mp4"),
        events.scene_clean(7, path="/data/x.mp4"),
    ):
        kind, scene_id, _ = read_event(json.loads(json.dumps(context.to_json())))
        assert (kind, scene_id) == ("Scene.Destroy.Post", 7)


@pytest.mark.parametrize("kind", ["Performer", "Studio", "Tag", "Group"])
@pytest.mark.parametrize("sent", [{"id": "7"}, ["7", "8"]], ids=["one", "several"])
def test_a_deleted_related_object_is_named_by_the_context(kind: str, sent: Any) -> None:
    context = events.destroyed(kind, 7, sent)
    read_kind, object_id, _ = read_event(json.loads(json.dumps(context.to_json())))
    assert (read_kind, object_id) == (f"{kind}.Destroy.Post", 7)


@pytest.mark.parametrize(
    "context", [None, [], "x", 5, True, [{"id": 7, "type": "Scene.Update.Post"}]]
)
def test_a_context_that_is_not_an_object_is_refused(context: Any) -> None:
    with pytest.raises(EventError, match="hookContext is not an object"):
        read_event(context)


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        5,
        [],
        {},
        "Scene.Merge.Post",
        "Tag.Create.Post",
        "Movie.Update.Post",
        "scene.update.post",
    ],
)
def test_another_hook_is_refused_by_its_name(kind: Any) -> None:
    with pytest.raises(EventError, match="unknown hook"):
        read_event({"id": 7, "type": kind, "input": {"title": "T"}})


@pytest.mark.parametrize(
    "scene_id", [None, "7", "", 7.0, 7.5, True, False, 0, -1, [], {}, [7], 2**63, 10**30]
)
def test_a_scene_id_that_stash_cannot_have_is_refused(scene_id: Any) -> None:
    with pytest.raises(EventError, match="scene id"):
        read_event({"id": scene_id, "type": "Scene.Update.Post", "input": {"title": "T"}})


def test_a_missing_scene_id_is_refused() -> None:
    with pytest.raises(EventError, match="scene id"):
        read_event({"type": "Scene.Update.Post", "input": {"id": "7", "title": "T"}})


def test_a_refusal_is_one_short_line() -> None:
    for context in (
        {"id": 1, "type": "x" * 10_000_000},
        {"id": "y\n" * 1_000_000, "type": "Scene.Update.Post"},
    ):
        with pytest.raises(EventError) as caught:
            read_event(context)
        assert len(str(caught.value)) < 300
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["cover_image", "cover"])
@pytest.mark.parametrize(
    "picture", ["data:image/png;base64," + "A" * 5_000_000, "https://example.org/a.jpg"]
)
def test_a_cover_is_noted_and_not_stored(field: str, picture: str) -> None:
    data = job_data({"id": "7", field: picture, "inputFields": ["id", field]})
    assert data == {field: True}


def test_a_removed_cover_is_noted_too() -> None:
    assert "cover_image" in job_data({"cover_image": None, "inputFields": ["cover_image"]})


@pytest.mark.parametrize(
    "value",
    [
        "x" * 1_000_000,
        ["y" * 1000] * 1000,
        {"ids": [str(n) for n in range(100_000)], "mode": "SET"},
    ],
)
def test_a_large_value_is_only_noted(value: Any) -> None:
    data = job_data({"details": value, "inputFields": ["details"]})
    assert set(data) == {"details"}
    assert len(json.dumps(data)) < 4_000


def test_fields_that_identify_the_request_are_not_kept() -> None:
    update = {
        "id": "7",
        "ids": ["7"],
        "clientMutationId": "c",
        "title": "T",
        "inputFields": ["id", "ids", "title"],
    }
    assert job_data(update) == {"title": "T"}


def test_the_event_itself_is_not_modified() -> None:
    context = {
        "id": 7,
        "type": "Scene.Update.Post",
        "input": {"title": "T"},
        "inputFields": ["title"],
    }
    before = json.dumps(context)
    _, update = read_update(context)
    update["title"] = "changed"
    job_data(update)
    assert json.dumps(context) == before
