"""Changes that run no hook, lists of related objects, backups and an empty database."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tests.simulators.stash import GraphQLFailure, NotFound, StashSimulator
from tests.simulators.stash.mutations import InvalidInput
from tests.simulators.support import START, Clock

AT_START = "2026-01-05T10:00:00+01:00"
LATER = "2026-01-05T10:01:00+01:00"
KINDS = ("performer", "studio", "tag", "group")


def scenes(stash: StashSimulator, filter_: str = 'sort: "id"') -> list[dict[str, Any]]:
    fields = "id title created_at updated_at"
    found = stash.graphql(f"{{ findScenes(filter: {{{filter_}}}) {{ scenes {{ {fields} }} }} }}")
    result: list[dict[str, Any]] = found["findScenes"]["scenes"]
    return result


def related(stash: StashSimulator, kind: str, arguments: str = "") -> tuple[int, list[Any]]:
    query = f"find{kind.capitalize()}s"
    fields = f"count {kind}s {{ id name created_at updated_at scene_count }}"
    found = stash.graphql(f"{{ {query}{arguments} {{ {fields} }} }}")[query]
    return found["count"], found[f"{kind}s"]


def names(stash: StashSimulator, kind: str, filter_: str) -> list[str]:
    return [one["name"] for one in related(stash, kind, f"(filter: {{{filter_}}})")[1]]


def add(stash: StashSimulator, kind: str, name: str) -> int:
    made: int = getattr(stash, f"add_{kind}")(name)
    return made


def full_scene(stash: StashSimulator) -> None:
    stash.add_scene(performers=["Old"], studio="Old", tags=["Old"], groups=["Old"])


# --- lists


def test_the_newest_scenes_come_first_with_their_dates(stash: StashSimulator, clock: Clock) -> None:
    for title in "abc":
        stash.add_scene(title)
        clock.now += 60
    stash.save_scene(2, title="b2")
    newest = 'sort: "updated_at", direction: DESC, per_page: 2, page: %d'
    assert [scene["title"] for scene in scenes(stash, newest % 1)] == ["b2", "c"]
    assert scenes(stash, newest % 2) == [
        {"id": "1", "title": "a", "created_at": AT_START, "updated_at": AT_START}
    ]
    assert scenes(stash, newest % 1)[0]["created_at"] == LATER


@pytest.mark.parametrize("kind", KINDS)
def test_related_objects_are_listed_in_pages(
    stash: StashSimulator, clock: Clock, kind: str
) -> None:
    for name in ("b10", "b9", "A", "c"):
        add(stash, kind, name)
        clock.now += 60
    stash.rename_silently(kind, "b9", "z")
    assert names(stash, kind, "") == ["A", "b10", "c", "z"]
    assert names(stash, kind, 'sort: "name", direction: DESC') == ["z", "c", "b10", "A"]
    assert names(stash, kind, 'sort: "id", per_page: 3, page: 2') == ["c"]
    assert names(stash, kind, 'sort: "updated_at", direction: DESC, per_page: 2') == ["z", "c"]
    assert names(stash, kind, 'sort: "created_at"') == ["b10", "z", "A", "c"]
    assert related(stash, kind, "(filter: {per_page: 0})") == (4, [])
    count, found = related(stash, kind, "(ids: [2])")
    assert (count, found[0]["created_at"], found[0]["updated_at"]) == (
        1,
        LATER,
        "2026-01-05T10:04:00+01:00",
    )
    for sort in ("colour", ""):
        with pytest.raises(GraphQLFailure, match="invalid sort"):
            names(stash, kind, f'sort: "{sort}"')


def test_related_objects_by_their_number_of_scenes(stash: StashSimulator) -> None:
    stash.add_scene(tags=["a", "b"], performers=["P"])
    stash.add_scene(tags=["b"])
    assert names(stash, "tag", 'sort: "scenes_count", direction: DESC') == ["b", "a"]
    assert [tag["scene_count"] for tag in related(stash, "tag")[1]] == [1, 2]


# --- silent changes of related objects


@pytest.mark.parametrize("kind", KINDS)
def test_a_silent_rename_moves_only_its_own_time(
    stash: StashSimulator, clock: Clock, kind: str
) -> None:
    full_scene(stash)
    clock.now += 60
    stash.rename_silently(kind, "Old", "New")
    [found] = related(stash, kind)[1]
    assert (found["name"], found["created_at"], found["updated_at"]) == ("New", AT_START, LATER)
    assert scenes(stash)[0]["updated_at"] == AT_START
    assert stash.plugin_log == []
    with pytest.raises(NotFound):
        stash.rename_silently(kind, "Old", "x")


@pytest.mark.parametrize("kind", KINDS)
def test_a_silent_deletion_shrinks_the_count_and_leaves_no_trace(
    stash: StashSimulator, clock: Clock, kind: str
) -> None:
    full_scene(stash)
    add(stash, kind, "Other")
    clock.now += 60
    stash.destroy_silently(kind, "Old")
    count, [left] = related(stash, kind)
    assert (count, left["name"], left["updated_at"]) == (1, "Other", AT_START)
    assert scenes(stash)[0]["updated_at"] == AT_START
    scene = stash.scene(1)
    gone = {
        "performer": scene.performer_ids, "studio": scene.studio_id, "tag": scene.tag_ids,
        "group": scene.group_ids,
    }  # fmt: skip
    assert not gone[kind]
    assert sum(map(bool, gone.values())) == 3


def test_merged_tags_move_no_time_at_all(stash: StashSimulator, clock: Clock) -> None:
    stash.add_scene(tags=["a", "b"])
    stash.add_scene(tags=["b"])
    clock.now += 60
    stash.merge_silently("tag", ["b"], "a")
    assert [stash.scene(id_).tag_ids for id_ in (1, 2)] == [(1,), (1,)]
    count, [tag] = related(stash, "tag")
    assert (count, tag["name"], tag["updated_at"], tag["scene_count"]) == (1, "a", AT_START, 2)
    assert stash.graphql("{ findTag(id: 1) { aliases } }") == {"findTag": {"aliases": ["b"]}}
    assert {scene["updated_at"] for scene in scenes(stash)} == {AT_START}
    with pytest.raises(ValueError, match="source == destination"):
        stash.merge_silently("tag", ["a"], "a")


def test_merged_performers_move_the_time_of_the_one_that_stays(
    stash: StashSimulator, clock: Clock
) -> None:
    stash.add_scene(performers=["a", "b"])
    clock.now += 60
    stash.merge_silently("performer", ["a"], "b")
    count, [performer] = related(stash, "performer")
    assert (count, performer["name"], performer["updated_at"]) == (1, "b", LATER)
    assert (stash.scene(1).performer_ids, stash.scene(1).updated_at) == ((2,), AT_START)


# --- silent changes of scenes


def test_an_imported_scene_keeps_its_dates(stash: StashSimulator, clock: Clock) -> None:
    stash.add_scene("a")
    old: dict[str, Any] = {
        "created_at": "2020-01-01T00:00:00+01:00",
        "updated_at": "2021-01-01T00:00:00+01:00",
    }
    stash.import_scene(title="b", tags=["T"], **old)
    assert scenes(stash)[1] == {"id": "2", "title": "b", **old}
    assert scenes(stash, 'sort: "updated_at", direction: DESC')[0]["title"] == "a"
    stash.import_scene(replaces=1, title="a2", **old)
    assert scenes(stash)[0] == {"id": "1", "title": "a2", **old}


def test_a_cover_of_the_same_second_keeps_the_address(stash: StashSimulator, clock: Clock) -> None:
    scene = stash.add_scene(cover=b"\xff\xd8\xff one")
    query = "{ findScene(id: 1) { updated_at paths { screenshot } } }"
    before = stash.graphql(query)
    clock.now += 0.9
    assert stash.set_cover(1, b"\xff\xd8\xff two").updated_at == scene.updated_at
    assert stash.graphql(query) == before
    url = before["findScene"]["paths"]["screenshot"]
    assert requests.get(url, timeout=10).content == b"\xff\xd8\xff two"
    clock.now += 0.1
    stash.set_cover(1, None)
    assert stash.graphql(query)["findScene"]["paths"]["screenshot"] != url


def test_a_scene_of_the_future_stays_the_newest(stash: StashSimulator, clock: Clock) -> None:
    stash.add_scene("future", updated_at=START + 86_400)
    stash.add_scene("now")
    newest = 'sort: "updated_at", direction: DESC, per_page: 1'
    clock.now += 60
    stash.save_scene(2, title="later")
    assert scenes(stash, newest)[0]["title"] == "future"
    stash.save_scene(1, title="back")
    assert scenes(stash, newest)[0]["updated_at"] == LATER


def test_a_silent_deletion_of_a_scene(stash: StashSimulator) -> None:
    stash.add_scene("a")
    stash.delete_silently(1)
    assert (scenes(stash), stash.plugin_log) == ([], [])


# --- the database as a whole


def test_an_empty_database_answers_nothing_until_the_real_one_is_back(
    stash: StashSimulator,
) -> None:
    full_scene(stash)
    stash.looks_empty = True
    counts = " ".join(f"find{kind.capitalize()}s {{ count {kind}s {{ id }} }}" for kind in KINDS)
    found = stash.graphql(f"{{ findScene(id: 1) {{ id }} findScenes {{ count }} {counts} }}")
    assert found["findScene"] is None
    assert found["findScenes"] == {"count": 0}
    assert found["findTags"] == {"count": 0, "tags": []}
    assert [found[f"find{kind.capitalize()}s"]["count"] for kind in KINDS] == [0] * 4
    with pytest.raises(GraphQLFailure, match="scene with id 1 not found"):
        stash.graphql("{ findScenes(ids: [1]) { count } }")
    assert requests.get(f"{stash.url}/scene/1/screenshot", timeout=10).status_code == 404
    assert stash.looks_empty
    stash.looks_empty = False
    assert len(scenes(stash)) == 1
    assert [related(stash, kind)[0] for kind in KINDS] == [1] * 4


def test_a_backup_brings_the_old_state_and_ids_are_used_again(
    stash: StashSimulator, clock: Clock
) -> None:
    stash.add_scene("kept", tags=["Old"])
    stash.add_scene("deleted")
    backup = stash.snapshot()
    clock.now += 60
    stash.save_scene(1, title="edited")
    stash.rename_silently("tag", "Old", "New")
    stash.delete_silently(2)
    stash.add_scene("new", tags=["Later"])
    assert [scene["id"] for scene in scenes(stash)] == ["1", "3"]

    stash.restore(backup)
    assert scenes(stash) == [
        {"id": "1", "title": "kept", "created_at": AT_START, "updated_at": AT_START},
        {"id": "2", "title": "deleted", "created_at": AT_START, "updated_at": AT_START},
    ]
    assert names(stash, "tag", "") == ["Old"]
    assert related(stash, "tag")[1][0]["updated_at"] == AT_START
    again = stash.add_scene("another")
    assert (again.id, again.created_at) == (3, LATER)
    assert stash.add_tag("Another") == 2


def test_a_new_scene_can_take_the_id_of_a_deleted_one(stash: StashSimulator, clock: Clock) -> None:
    stash.add_scene("a")
    stash.add_scene("b")
    with pytest.raises(ValueError, match="scene 1 already exists"):
        stash.add_scene("x", scene_id=1)
    stash.delete_silently(1)
    clock.now += 60
    stash.add_scene("x", scene_id=1)
    assert [(scene["id"], scene["title"], scene["created_at"]) for scene in scenes(stash)] == [
        ("1", "x", LATER),
        ("2", "b", AT_START),
    ]
    assert stash.add_scene("c").id == 3


# --- what is above and below


@pytest.fixture
def nested(stash: StashSimulator, clock: Clock) -> StashSimulator:
    """Return a Stash in which scenes 1 to 4 have a tag each, the first the topmost one."""
    stash.add_tag("Top")
    stash.add_tag("Middle", parents=["Top"])
    stash.add_tag("Low", parents=["Middle"])
    stash.add_studio("Network")
    stash.add_studio("Site", parent="Network")
    stash.add_performer("Ann", tags=["Low"])
    for tag in ("Top", "Middle", "Low"):
        stash.add_scene(tags=[tag])
    stash.add_scene(performers=["Ann"], studio="Site")
    clock.now += 60
    return stash


def found(stash: StashSimulator, criteria: str) -> list[int]:
    query = f'{{ findScenes(scene_filter: {{{criteria}}}, filter: {{sort: "id"}}) {{'
    return [
        int(one["id"])
        for one in stash.graphql(query + " scenes { id } } }")["findScenes"]["scenes"]
    ]


@pytest.mark.parametrize(
    ("criteria", "ids"),
    [
        ("tags: {value: [1], modifier: INCLUDES}", [1]),
        ("tags: {value: [1], modifier: INCLUDES, depth: 1}", [1, 2]),
        ("tags: {value: [1], modifier: INCLUDES, depth: -1}", [1, 2, 3]),
        ("tags: {value: [2], modifier: EXCLUDES, depth: -1}", [1, 4]),
        ("performer_tags: {value: [3], modifier: INCLUDES}", [4]),
        ("performer_tags: {value: [1], modifier: INCLUDES, depth: -1}", [4]),
        ("performer_tags: {value: [1], modifier: INCLUDES}", []),
        ("studios: {value: [1], modifier: INCLUDES}", []),
        ("studios: {value: [1], modifier: INCLUDES, depth: -1}", [4]),
    ],
)
def test_a_filter_goes_down_as_many_levels_as_it_says(
    nested: StashSimulator, criteria: str, ids: list[int]
) -> None:
    assert found(nested, criteria) == ids


@pytest.mark.parametrize("inner", ["AND", "OR", "NOT"])
def test_a_filter_within_a_filter_cant_ask_for_performers_tags(
    nested: StashSimulator, inner: str
) -> None:
    within = f"{inner}: {{performer_tags: {{value: [3], modifier: INCLUDES}}}}"
    with pytest.raises(GraphQLFailure, match="no such table: performer_tags"):
        found(nested, f"tags: {{value: [1], modifier: INCLUDES}}, {within}")


def test_tags_with_parents_are_listed_with_them(nested: StashSimulator) -> None:
    query = """{ findTags(
        tag_filter: {parent_count: {value: 0, modifier: GREATER_THAN}}, filter: {per_page: -1}
    ) { tags { name parent_count child_count parents { name } children { name } } } }"""
    low, middle = nested.graphql(query)["findTags"]["tags"]
    top, counts = {"name": "Top"}, ("parent_count", "child_count")
    assert [tag["name"] for tag in (low, middle)] == ["Low", "Middle"]
    assert ([low[name] for name in counts], low["parents"]) == ([1, 0], [{"name": "Middle"}])
    assert ([middle[name] for name in counts], middle["parents"]) == ([1, 1], [top])
    assert (low["children"], middle["children"]) == ([], [{"name": "Low"}])


def test_only_the_tag_that_was_saved_has_another_date(nested: StashSimulator) -> None:
    dates = [tag.updated_at for tag in nested.library.tags.all()]
    nested.set_children("Top", "Low")
    assert [tag.parent_ids for tag in nested.library.tags.all()] == [(), (), (2, 1)]
    nested.set_parents("Middle", "Top")
    now = nested.library.now()
    after = nested.library.tags.all()
    assert [tag.parent_ids for tag in after] == [(), (1,), (2, 1)]
    assert [tag.updated_at for tag in after] == [now, now, dates[2]]


def test_a_circle_is_refused(nested: StashSimulator) -> None:
    with pytest.raises(InvalidInput):
        nested.set_parents("Top", "Low")
    with pytest.raises(InvalidInput):
        nested.set_children("Low", "Top")
    with pytest.raises(InvalidInput):
        nested.set_parent_studio("Network", "Site")


def test_what_was_deleted_or_merged_is_above_nothing(nested: StashSimulator) -> None:
    nested.destroy_silently("tag", "Middle")
    assert [tag.parent_ids for tag in nested.library.tags.all()] == [(), ()]
    nested.add_tag("Other", parents=["Low"])
    nested.merge_silently("tag", ["Low"], "Top")
    top, other = nested.library.tags.all()
    assert (top.parent_ids, other.parent_ids) == ((), (top.id,))
    assert nested.library.performers.get(1).tag_ids == (top.id,)
    nested.destroy_silently("studio", "Network")
    assert nested.library.studios.known("Site").parent_id is None
