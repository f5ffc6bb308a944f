"""Rules at work: rule → what Plex gets; taken back, Plex is as before; what waits for a yes."""

from __future__ import annotations

import copy
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness.in_process import WorkerHarness
from tests.harness.size import examples
from tests.simulators.httpd import Answer, Request
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene
from worker.reconcile.approval import HELD, MOST_UNASKED

HOUR = 3_600.0
DAY = 24 * HOUR
#: All that a rule can go by.
WHOLE: dict[str, Any] = {
    "title": "Night with Ann 🌙", "date": "2020-01-02", "code": "AC-1", "details": "Text ⭐",
    "rating100": 80, "organized": True, "studio": "Blue", "performers": ["Ann", "Bob"],
    "tags": ["Beach", "Mood: calm", "Todo"], "groups": ["Series 1"],
}  # fmt: skip


def synced(harness: WorkerHarness, name: str = "clip", **fields: Any) -> tuple[Scene, PlexItem]:
    scene, item = harness.pair(name, **{**WHOLE, **fields})
    harness.edit(scene)
    harness.run_for(60)
    return scene, item


def follow(harness: WorkerHarness, **rules: Any) -> None:
    """Change the rules, and let PlexSync follow them."""
    harness.configure(poll_interval=30, **rules)
    harness.run_for(HOUR)
    harness.run_for(HOUR)  # settings have to rest, then another look follows them


def days(harness: WorkerHarness, count: int) -> None:
    for _ in range(count):
        harness.clock.advance(DAY)
        harness.restart()
        harness.run_for(HOUR)


def shown(item: PlexItem) -> dict[str, Any]:
    """Return what a person sees of an item, and its locks."""
    values = {name: value for name, value in item.values.items() if value != ""}
    tags = {kind: sorted(names) for kind, names in item.tags.items() if names}
    return copy.deepcopy({**values, **tags, "locked": sorted(item.locked)})


# --- golden: rule → Plex

GOLDEN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a title": (
        {"title_template": "{performers} - {title} ({studio}, {year})"},
        {"title": "Ann, Bob - Night with Ann 🌙 (Blue, 2020)"},
    ),
    "a title without a performer twice": (
        {"title_template": "{performers} - {title}", "title_without_performers": True},
        {"title": "Bob - Night with Ann 🌙"},
    ),
    "a title from the file": ({"title_template": "{filename} {code}"}, {"title": "clip AC-1"}),
    "a sort title": ({"sort_title_template": "{studio} {date}"}, {"titleSort": "Blue 2020-01-02"}),
    "no tags but": ({"tag_rules": "Beach => genres; * => none"}, {"genre": ["Beach"]}),
    "all tags but": ({"tag_rules": "Todo, Mood* => none"}, {"genre": ["Beach"]}),
    "tags below": (
        {"tag_rules": "below Place => labels, collections"},
        {"genre": ["Mood: calm", "Todo"], "label": ["Beach"],
         "collection": ["Beach", "Blue", "Series 1"]},
    ),
    "parents of tags": (
        {"tag_parents": True, "tag_rules": "above Beach => genres; * => none"},
        {"genre": ["Nature", "Place"]},
    ),
    "performers' tags": (
        {"performer_tags": True}, {"genre": ["Beach", "Blond", "Mood: calm", "Todo"]},
    ),
    "a limit": ({"max_tags": 2}, {"genre": ["Beach", "Mood: calm"]}),
    "the studio's parent": ({"studio_from": "parent"}, {"studio": "Acme"}),
    "the studio and its parent": ({"studio_from": "both"}, {"studio": "Acme / Blue"}),
    "collections with prefixes": (
        {"collections_from": "studio => Studio:; parent_studio; performers => With; rating;"
         " organized; groups"},
        {"collection": ["4 stars", "Acme", "Organized", "Series 1", "Studio: Blue", "With Ann",
                        "With Bob"]},
    ),
    "a content rating": ({"content_rating": "tag Other => G; XXX"}, {"contentRating": "XXX"}),
    "labels": ({"labels": "stash; tag Beach => Sunny; tag Other => No"},
               {"label": ["Stash", "Sunny"]}),
    "a tagline": ({"sync_tagline": True}, {"tagline": "AC-1"}),
    "an original title": (
        {"sync_original_title": True, "title_template": "{code}"},
        {"originalTitle": "Night with Ann 🌙", "title": "AC-1"},
    ),
    "no emoji": ({"keep_emoji": False}, {"title": "Night with Ann", "summary": "Text"}),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_a_rule_and_what_plex_gets(filled: WorkerHarness, name: str) -> None:
    rules, wanted = GOLDEN[name]
    _, item = synced(filled)
    before = shown(item)
    follow(filled, **rules)
    after = shown(item)
    assert {key: after.get(key) for key in wanted} == wanted
    unchanged = before.keys() - wanted.keys() - {"locked", "titleSort"}
    assert {key: after.get(key) for key in unchanged} == {key: before[key] for key in unchanged}

    writes = len(filled.plex.writes)
    days(filled, 2)
    assert len(filled.plex.writes) == writes, "a second pass writes nothing"

    follow(filled)  # what waits for a yes comes below
    filled.command("approve", visible=True)
    filled.run_for(60)
    days(filled, 4)
    assert shown(item) == before
    assert filled.worker.history.count_asking() == 0


@pytest.mark.parametrize("repair", [True, False])
def test_a_content_rating_comes_back_after_each_refresh(
    filled: WorkerHarness, repair: bool
) -> None:
    filled.configure(content_rating="XXX", lock_fields=False, repair_drift=repair)
    _, item = synced(filled)
    filled.clock.advance(HOUR)
    for _ in range(3):
        item.values["contentRating"] = "G"
        item.updated_at += 7
        item.rendered = None
        filled.run_for(HOUR / 2)  # two looks, at most
        assert item.values["contentRating"] == "XXX"


def test_a_rule_counts_at_once_for_a_command(filled: WorkerHarness) -> None:
    _, item = synced(filled)
    filled.run_for(1)  # the settings were just read
    filled.configure(poll_interval=30, labels="Home")
    filled.command("sync")
    assert item.tags["label"] == ["Home"]


def test_a_field_that_was_undone_shows_no_rule_that_is_gone(filled: WorkerHarness) -> None:
    filled.configure(poll_interval=30, content_rating="R")
    scene, item = synced(filled)
    filled.command("undo", scene_id=scene.id, field="contentRating", visible=True)
    filled.run_for(60)
    assert not item.values.get("contentRating")
    filled.configure(poll_interval=30)
    filled.edit(scene, "Saved")
    filled.run_for(60)
    (row,) = filled.worker.history.of_scene(scene.id)
    assert row.fields["contentRating"].held
    assert row.fields["contentRating"].wanted == ""


def test_without_emoji_a_text_of_emoji_alone_is_none(filled: WorkerHarness) -> None:
    _, item = synced(filled, title="🌙", tags=["🔥", "Beach"])
    _, other = synced(filled, "second")
    follow(filled, keep_emoji=False, max_tags=1, collections_from="studio => 🎬; groups")
    assert (item.title, item.tags["genre"]) == ("clip", ["Beach"])
    assert {*item.tags["collection"], *other.tags["collection"]} == {"Blue", "Series 1"}
    writes = len(filled.plex.writes)
    days(filled, 3)
    assert len(filled.plex.writes) == writes


# --- what hides items from restricted accounts

HIDING = {"content_rating": "tag Soft => R; XXX", "labels": "tag Beach => Hidden"}


@pytest.mark.parametrize(
    "weaker",
    [{}, {"content_rating": "R", "labels": "Hidden"}, {"content_rating": "XXX"},
     {"content_rating": "18+", "labels": "tag Beach => Hidden"}],
)  # fmt: skip
def test_nothing_gets_weaker_without_a_question(
    filled: WorkerHarness, weaker: dict[str, str]
) -> None:
    pairs = [synced(filled, f"clip{number}") for number in range(3)]
    follow(filled, **HIDING)
    follow(filled, **weaker)
    days(filled, 2)
    for _, item in pairs:
        assert item.values["contentRating"] == "XXX"
        assert item.tags["label"] == ["Hidden"]
    asked = [text for _, text in filled.notices() if "visible to restricted" in text]
    assert asked == [text for text in asked if text.startswith("3 items would become visible")]
    assert len(asked) == 1
    assert filled.command("approve", visible=True)["approved"] == 3
    filled.run_for(60)
    for _, item in pairs:
        assert item.values.get("contentRating", "") == weaker.get("content_rating", "")
        assert item.tags.get("label", []) == (["Hidden"] if "labels" in weaker else [])
    assert filled.worker.history.count_asking() == 0


def test_a_no_is_remembered_until_the_rule_says_something_else(filled: WorkerHarness) -> None:
    _, item = synced(filled)
    follow(filled, content_rating="XXX")
    follow(filled, content_rating="R")
    filled.command("approve", visible=True, no=True)
    days(filled, 3)
    assert item.values["contentRating"] == "XXX"
    assert filled.worker.history.count_asking() == 0
    follow(filled, content_rating="PG")
    days(filled, 1)
    assert filled.worker.history.count_asking() == 1


def test_a_save_that_would_show_an_item_asks_and_the_rest_is_written(filled: WorkerHarness) -> None:
    scene, item = synced(filled)
    follow(filled, labels="tag Beach => Hidden")
    filled.edit(scene, "Other", tags=["Todo"])
    filled.run_for(60)
    assert (item.title, item.tags["genre"]) == ("Other", ["Todo"])
    assert item.tags["label"] == ["Hidden"]
    assert any(
        "label in Plex stays as it is until you agree" in text for _, text in filled.notices()
    )
    filled.edit(scene, tags=["Beach"])  # wanted again: there is nothing to ask
    filled.run_for(60)
    assert filled.worker.history.count_asking() == 0


def test_a_stronger_rating_is_written_at_once(filled: WorkerHarness) -> None:
    _, item = synced(filled)
    follow(filled, content_rating="PG-13")
    follow(filled, content_rating="XXX")
    assert item.values["contentRating"] == "XXX"


def test_what_hides_an_item_is_repaired_again_and_again(filled: WorkerHarness) -> None:
    _, item = synced(filled)
    follow(filled, lock_fields=False, **HIDING)
    for _ in range(6):
        filled.plex.refresh_item(item.rating_key)
        item.values["contentRating"] = "G"
        item.tags["label"] = []
        days(filled, 1)
        assert (item.values["contentRating"], item.tags["label"]) == ("XXX", ["Hidden"])


def test_an_undo_leaves_what_hides_items_unless_it_is_asked_for(filled: WorkerHarness) -> None:
    scene, item = synced(filled)
    follow(filled, sync_tagline=True, **HIDING)
    result = filled.command("undo", scene_id=scene.id)
    assert "tagline" not in item.values or item.values["tagline"] == ""
    assert (item.values["contentRating"], item.tags["label"]) == ("XXX", ["Hidden"])
    left = {field: why for _, field, why in result["left"]}
    assert all("restricted accounts" in left[field] for field in ("contentRating", "label"))
    filled.command("undo", scene_id=scene.id, field="label")
    assert not item.tags.get("label")


def test_a_persons_own_labels_and_rating_are_left_alone(filled: WorkerHarness) -> None:
    scene, item = filled.pair("theirs", **WHOLE)
    filled.plex.person_adds(item.rating_key, "label", "Kids")
    filled.plex.person_sets(item.rating_key, "contentRating", "PG")
    filled.edit(scene)
    follow(filled, labels="Stash")
    assert sorted(item.tags["label"]) == ["Kids", "Stash"]
    follow(filled)
    filled.command("approve", visible=True)
    filled.run_for(60)
    assert (item.tags["label"], item.values["contentRating"]) == (["Kids"], "PG")
    assert {"label", "contentRating"} <= item.locked


# --- which scenes


def test_why_a_scene_is_left_out_is_on_record_and_it_comes_back(filled: WorkerHarness) -> None:
    scene, item = synced(filled)
    follow(filled, exclude_scenes="tag Beach and organized", include_scenes="path /data")
    filled.edit(scene, "Other")
    filled.run_for(60)
    assert item.title == WHOLE["title"]
    (row,) = filled.worker.history.of_scene(scene.id)
    assert (row.status.value, row.reason) == (
        "skipped", "left out by your rule: tag Beach and organized",
    )  # fmt: skip
    assert filled.worker.history.count_skipped() == {row.reason: 1}
    follow(filled)
    assert item.title == "Other"


def test_a_scene_that_a_rule_leaves_out_is_no_rival(filled: WorkerHarness) -> None:
    scene, item = filled.pair("clip", **WHOLE)
    filled.add_scene("clip", title="Copy", tags=["Copy"])
    follow(filled, exclude_scenes="tag Copy")
    filled.edit(scene)
    filled.run_for(60)
    assert item.title == WHOLE["title"]


# --- collections


def test_a_prefix_renames_our_collections(filled: WorkerHarness) -> None:
    pairs = [synced(filled, f"clip{number}") for number in range(2)]
    before = filled.plex.collection(filled.library, "Blue")
    assert before is not None
    follow(filled, collections_from="studio => Studio:; groups")
    after = filled.plex.collection(filled.library, "Studio: Blue")
    assert after is not None
    assert after.rating_key == before.rating_key
    assert all(sorted(item.tags["collection"]) == ["Series 1", "Studio: Blue"] for _, item in pairs)
    assert filled.plex.collection(filled.library, "Blue") is None


def test_sort_titles_of_our_collections_come_and_go(filled: WorkerHarness) -> None:
    theirs = filled.add_item("theirs", collections=["Series 1"])
    synced(filled)
    rules = {"collections_from": "studio => Studio:; groups", "collection_sort_title": "0 {name}"}
    follow(filled, **rules)
    days(filled, 1)
    ours = filled.plex.collection(filled.library, "Studio: Blue")
    other = filled.plex.collection(filled.library, "Series 1")
    assert ours is not None
    assert other is not None
    assert (ours.values["titleSort"], "titleSort" in ours.locked) == ("0 Blue", True)
    assert "titleSort" not in other.values, "a person's"
    writes = len(filled.plex.collection_writes)
    days(filled, 1)
    assert len(filled.plex.collection_writes) == writes
    synced(filled, "later")  # joins it
    follow(filled, collections_from=rules["collections_from"])
    days(filled, 1)
    assert "titleSort" not in ours.locked
    assert theirs.tags["collection"] == ["Series 1"]


# --- any rules, taken back

TEXT_RULES = st.fixed_dictionaries(
    {},
    optional={
        "title_template": st.sampled_from(["{code} {title}", "{studio}: {title}", "{filename}"]),
        "sort_title_template": st.sampled_from(["{date}", "{studio} {title}"]),
        "tag_rules": st.sampled_from(
            ["* => none", "* => labels", "Beach => collections; Mood* => labels, genres"]
        ),
        "studio_from": st.sampled_from(["parent", "both"]),
        "collections_from": st.sampled_from(["groups", "studio => S:; performers; rating", "tags"]),
        "content_rating": st.sampled_from(["XXX", "tag Beach => R; G", "tag Other => X"]),
        "labels": st.sampled_from(["Stash", "tag Beach => Sunny; kids", "tag Other => X"]),
        "performer_tags": st.just(True),
        "tag_parents": st.just(True),
        "max_tags": st.just(1),
        "sync_tagline": st.just(True),
        "sync_original_title": st.just(True),
        "keep_emoji": st.just(False),
        "title_without_performers": st.just(True),
    },
)


@settings(
    max_examples=examples(12),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(st.lists(TEXT_RULES, min_size=1, max_size=2))
def test_any_rules_taken_back_leave_plex_as_if_they_had_never_been(
    filled: WorkerHarness, rules: list[dict[str, Any]]
) -> None:
    number = len(filled.stash.library.scenes())
    _, item = synced(filled, f"clip{number}", tags=["Beach", "Mood: calm", "Kids"])
    filled.plex.person_adds(item.rating_key, "label", "Kids")
    filled.plex.person_sets(item.rating_key, "tagline", "Mine")
    before = shown(item)
    for some in rules:
        follow(filled, **some)
        filled.command("approve", visible=True)
        filled.run_for(60)
        days(filled, 1)
        writes = len(filled.plex.writes)
        days(filled, 1)
        assert len(filled.plex.writes) <= writes + 1, "but for a collection's last item"
    follow(filled)
    filled.command("approve", visible=True)
    filled.run_for(60)
    days(filled, 4)
    assert shown(item) == before


# --- many scenes


def many(harness: WorkerHarness, count: int, hidden: int) -> list[tuple[Scene, PlexItem]]:
    """Return synced scenes; each of `hidden` of them has the tag Private."""
    harness.configure(poll_interval=30)
    pairs = [
        harness.pair(f"file{number:05}", tags=["Private"] if number < hidden else ["Beach"])
        for number in range(count)
    ]
    harness.edit_all([scene for scene, _ in pairs])
    harness.run_for(HOUR)
    assert harness.in_sync([scene for scene, _ in pairs])
    return pairs


def test_sync_all_after_a_rule_change_writes_exactly_the_scenes_that_it_affects(
    filled: WorkerHarness,
) -> None:
    count = int(os.environ.get("PLEXSYNC_RULE_SCENES", "60"))
    affected = count // 3
    pairs = many(filled, count, affected)
    writes = len(filled.plex.writes)
    filled.configure(poll_interval=30, labels="tag Private => Hidden")
    filled.command("sync")
    filled.run_for(60)
    assert len(filled.plex.writes) == writes + affected
    written = [item.tags.get("label", []) for _, item in pairs]
    assert written == [["Hidden"]] * affected + [[]] * (count - affected)


def test_many_changes_by_a_rule_wait_for_a_yes(filled: WorkerHarness) -> None:
    pairs = many(filled, MOST_UNASKED + 1, 0)
    writes = len(filled.plex.writes)
    follow(filled, sync_original_title=True)
    assert len(filled.plex.writes) == writes
    assert filled.worker.history.get(HELD)["count"] == len(pairs)
    filled.command("approve")
    filled.run_for(HOUR)
    assert len(filled.plex.writes) == writes + len(pairs)


def test_what_hides_many_items_is_repaired_without_a_yes(filled: WorkerHarness) -> None:
    pairs = many(filled, MOST_UNASKED + 1, MOST_UNASKED + 1)
    follow(filled, lock_fields=False, labels="tag Private => Hidden")
    filled.command("approve")
    filled.run_for(HOUR)
    filled.restart()
    for _, item in pairs:
        assert item.tags["label"] == ["Hidden"]
        item.tags["label"] = []
        item.updated_at += 10
        item.rendered = None
    days(filled, 1)
    assert [item.tags["label"] for _, item in pairs] == [["Hidden"]] * len(pairs)
    assert filled.worker.history.get(HELD) is None


def test_what_plex_does_not_take_back_is_tried_and_then_reported(filled: WorkerHarness) -> None:
    _, item = synced(filled)
    follow(filled, sync_tagline=True)
    refused: list[Request] = []

    def refuse(one: Request) -> bool:
        if one.first("tagline.value") is not None:
            refused.append(one)
        return refused[-1:] == [one]

    filled.plex.faults.add(Answer(400), when=refuse)
    follow(filled)
    days(filled, 1)
    (row,) = filled.worker.history.of_scene(1)
    assert (row.refused_fields, item.values["tagline"]) == (["tagline"], "AC-1")
    writes = len(refused)
    days(filled, 2)
    assert len(refused) == writes, "not again and again"
