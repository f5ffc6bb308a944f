"""Rules under attack: kills, faults, a person's edits, other commands, and what a yes covers."""

from __future__ import annotations

from typing import Any

import pytest

from history.fields import GRANTED
from history.store import LOST_AT
from plex.names import fold
from queue.operations import enqueue
from tests.harness.in_process import WorkerHarness
from tests.harness.size import some
from tests.simulators.httpd import Answer
from tests.simulators.plex import PlexItem
from tests.simulators.plex.normalize import Normalize
from tests.worker.test_rules import HIDING, HOUR, WHOLE, days, follow, shown, synced

WRITES = "PUT"


def capital(name: str) -> str:
    """Return a label as Plex stores it."""
    return name[:1].upper() + name[1:]


def agree(harness: WorkerHarness) -> None:
    harness.command("approve", visible=True)
    harness.run_for(60)


def assert_hides_nothing(item: PlexItem) -> None:
    assert not item.tags.get("label")
    assert item.values.get("contentRating", "") == ""


# --- what a yes covers


def test_a_yes_for_one_value_is_no_yes_for_a_weaker_one(filled: WorkerHarness) -> None:
    _, item = synced(filled)
    follow(filled, content_rating="XXX")
    follow(filled, content_rating="R")
    fault = filled.plex.faults.add(Answer(503), method=WRITES)
    agree(filled)
    filled.configure(poll_interval=30, content_rating="G")
    filled.run_for(60)
    fault.remove()
    filled.run_for(HOUR)
    filled.run_for(HOUR)
    days(filled, 1)
    assert item.values["contentRating"] == "XXX"
    assert filled.worker.history.count_asking() == 1


def test_a_yes_for_a_label_is_no_yes_for_another_label(filled: WorkerHarness) -> None:
    _, item = synced(filled)
    follow(filled, labels="Private; Hidden")
    follow(filled, labels="Private")
    fault = filled.plex.faults.add(Answer(503), method=WRITES)
    agree(filled)
    filled.configure(poll_interval=30)
    filled.run_for(60)
    fault.remove()
    filled.run_for(HOUR)
    filled.run_for(HOUR)
    assert item.tags["label"].count("Private") == 1


def test_a_yes_outlives_an_outage_and_a_kill(filled: WorkerHarness) -> None:
    _, item = synced(filled)
    follow(filled, **HIDING)
    follow(filled)
    fault = filled.plex.faults.add(Answer(503), method=WRITES)
    agree(filled)
    filled.restart()
    filled.run_for(60)
    fault.remove()
    filled.run_for(HOUR)
    days(filled, 1)
    assert item.values.get("contentRating", "") == ""
    assert not item.tags.get("label")
    assert filled.worker.history.count_asking() == 0


def test_a_yes_that_was_followed_is_used_up(filled: WorkerHarness) -> None:
    _scene, item = synced(filled)
    follow(filled, content_rating="XXX")
    follow(filled, content_rating="R")
    agree(filled)
    assert item.values["contentRating"] == "R"
    follow(filled, content_rating="XXX")
    follow(filled, content_rating="R")
    days(filled, 1)
    assert item.values["contentRating"] == "XXX"


def test_a_yes_for_a_scene_that_is_left_out_meanwhile_is_not_kept_for_later(
    filled: WorkerHarness,
) -> None:
    _, item = synced(filled)
    follow(filled, content_rating="XXX")
    follow(filled, content_rating="R")
    follow(filled, content_rating="R", exclude_scenes="tag Beach")
    agree(filled)
    follow(filled, content_rating="G", exclude_scenes="tag Other")
    days(filled, 1)
    assert item.values["contentRating"] == "XXX"


@pytest.mark.parametrize("says_yes", [True, False])
def test_an_answer_is_about_the_labels_that_go_whatever_a_person_adds(
    filled: WorkerHarness, says_yes: bool
) -> None:
    _scene, item = synced(filled)
    follow(filled, labels="Hidden")
    follow(filled)
    filled.plex.person_adds(item.rating_key, "label", "Kids")
    filled.command("approve", visible=True, no=not says_yes)
    filled.run_for(60)
    days(filled, 1)
    assert sorted(item.tags["label"]) == (["Kids"] if says_yes else ["Hidden", "Kids"])
    assert filled.worker.history.count_asking() == 0


def test_a_yes_that_came_with_another_label_is_used_up(filled: WorkerHarness) -> None:
    _, item = synced(filled)
    follow(filled, labels="Hidden")
    follow(filled)
    fault = filled.plex.faults.add(Answer(503), method=WRITES)
    agree(filled)
    filled.configure(poll_interval=30, labels="Private")
    filled.run_for(120)
    fault.remove()
    filled.command("retry")
    filled.run_for(HOUR)
    assert item.tags["label"] == ["Private"]
    follow(filled)
    days(filled, 1)
    assert item.tags["label"] == ["Private"]
    assert filled.worker.history.count_asking() == 1


@pytest.mark.parametrize("change", ["rule", "tag"])
def test_a_label_that_hides_is_added_before_the_yes_for_one_that_goes(
    filled: WorkerHarness, change: str
) -> None:
    scene, item = synced(filled)
    follow(filled, labels="Hidden", tag_rules="Todo, Done => labels")
    rule = "Private" if change == "rule" else "Hidden"
    tags = ["Done"] if change == "tag" else ["Todo"]
    filled.stash.change_silently(scene.id, tags=tags)
    follow(filled, labels=rule, tag_rules="Todo, Done => labels")
    new, old = ("Private", "Hidden") if change == "rule" else ("Done", "Todo")
    assert {new, old} <= set(item.tags["label"])
    assert filled.worker.history.count_asking() == 1
    writes = len(filled.plex.writes)
    days(filled, 1)
    assert len(filled.plex.writes) == writes
    assert filled.worker.history.count_asking() == 1
    agree(filled)
    assert new in item.tags["label"]
    assert old not in item.tags["label"]
    follow(filled)
    agree(filled)
    assert not item.tags.get("label")


@pytest.mark.parametrize(
    "way", some(["force", "all", "save", "rename", "tag gone", "tags off", "undo", "remove"], 4)
)
def test_no_way_weakens_without_a_yes(filled: WorkerHarness, way: str) -> None:
    scene, item = synced(filled)
    rules = {"content_rating": "tag Beach => XXX; G", "tag_rules": "Todo => labels"}
    follow(filled, **rules)
    assert item.tags["label"] == ["Todo"]
    if way == "tags off":
        follow(filled, **rules, sync_tags=False)
    elif way == "rename":
        filled.stash.rename_tag("Beach", "Sea")
        filled.stash.rename_tag("Todo", "Done")
    else:
        filled.stash.change_silently(scene.id, tags=["Mood: calm"])
    if way == "force":
        enqueue(filled.queue, scene.id, "metadata", {"force": True})
    elif way == "all":
        filled.command("sync", force=True)
    elif way == "undo":
        filled.command("undo", scene_id=scene.id)
    elif way == "remove":
        filled.command("remove")
    elif way == "save":
        filled.edit(scene, "Other")
    filled.run_for(HOUR)
    days(filled, 2)
    assert item.values["contentRating"] == "XXX"
    assert "Todo" in item.tags["label"]


# --- taken back


def test_a_sort_title_without_locks(filled: WorkerHarness) -> None:
    _, item = synced(filled, "unlocked")
    filled.configure(lock_fields=False)
    before = shown(item)
    follow(filled, lock_fields=False, sort_title_template="{studio} {date}", sync_tagline=True)
    assert item.values["titleSort"] == "Blue 2020-01-02"
    writes = len(filled.plex.writes)
    days(filled, 3)
    assert len(filled.plex.writes) == writes
    follow(filled, lock_fields=False)
    days(filled, 2)
    assert shown(item) == before


def test_labels_that_remove_left_are_still_ours_after_a_restore(filled: WorkerHarness) -> None:
    _scene, item = synced(filled)
    follow(filled, **HIDING)
    filled.command("remove")
    filled.run_for(60)
    assert (item.values["contentRating"], item.tags["label"]) == ("XXX", ["Hidden"])
    assert item.title == "clip"
    assert filled.command("restore")["scenes"] == 1
    filled.run_for(HOUR)
    days(filled, 1)
    assert item.title == WHOLE["title"]
    assert sorted(item.tags["genre"]) == sorted(WHOLE["tags"])
    follow(filled)
    agree(filled)
    days(filled, 1)
    assert_hides_nothing(item)


def test_a_second_remove_takes_away_what_the_first_had_left(filled: WorkerHarness) -> None:
    _, item = synced(filled)
    follow(filled, **HIDING)
    filled.command("remove")
    filled.run_for(60)
    filled.command("remove", visible=True)
    filled.run_for(60)
    assert_hides_nothing(item)
    assert not item.locked & {"label", "contentRating"}


def test_a_scene_with_another_scenes_id_leaves_no_label_behind(filled: WorkerHarness) -> None:
    scene, item = synced(filled)
    follow(filled, **HIDING)
    filled.stash.destroy_scene(scene.id)
    other = filled.add_scene("clip", **{**WHOLE, "title": "Other"})
    filled.edit(other)
    filled.run_for(HOUR)
    assert item.title == "Other"
    follow(filled)
    agree(filled)
    days(filled, 1)
    assert_hides_nothing(item)


def test_another_scene_takes_over_while_no_rule_wants_the_label(filled: WorkerHarness) -> None:
    scene, item = synced(filled)
    follow(filled, content_rating="tag Beach => XXX", labels="tag Beach => Hidden")
    filled.stash.destroy_scene(scene.id)
    other = filled.add_scene("clip", **{**WHOLE, "title": "Other", "tags": ["Todo"]})
    filled.edit(other)
    filled.run_for(HOUR)
    assert item.title == "Other"
    assert (item.values["contentRating"], item.tags["label"]) == ("XXX", ["Hidden"])
    assert filled.worker.history.count_asking() == 1
    agree(filled)
    assert_hides_nothing(item)


def test_two_items_of_a_scene(filled: WorkerHarness) -> None:
    filled.configure(write_all_copies=True)
    scene, item = filled.pair("a", **WHOLE)
    second = filled.plex.add_item(filled.library, "/media/copy/a.mp4", size=100)
    filled.stash.change_silently(scene.id)
    filled.edit(scene)
    filled.run_for(60)
    before = [shown(item), shown(second)]
    follow(filled, write_all_copies=True, sync_tagline=True, **HIDING)
    follow(filled, write_all_copies=True)
    agree(filled)
    days(filled, 2)
    assert [shown(item), shown(second)] == before
    assert filled.worker.history.count_asking() == 0


def test_a_take_of_a_field_covers_that_field_only_once(filled: WorkerHarness) -> None:
    scene, item = synced(filled)
    follow(filled, **HIDING)
    filled.command("undo", scene_id=scene.id, field="contentRating")
    assert item.values.get("contentRating", "") == ""
    row = filled.worker.history.of_scene(scene.id)[0]
    filled.command("take", scene_id=scene.id, field="contentRating", row=row.id)
    filled.run_for(60)
    assert item.values["contentRating"] == "XXX"
    follow(filled, content_rating="R", labels=HIDING["labels"])
    days(filled, 1)
    assert item.values["contentRating"] == "XXX"


def test_a_refresh_between_rule_and_taking_back(filled: WorkerHarness) -> None:
    _, item = synced(filled)
    before = shown(item)
    rules: dict[str, Any] = {
        "sync_tagline": True,
        "sort_title_template": "{code}",
        "sync_original_title": True,
        "lock_fields": False,
        "labels": "L",
        "content_rating": "R",
    }
    follow(filled, **rules)
    filled.plex.refresh_item(item.rating_key)
    follow(filled)
    agree(filled)
    days(filled, 4)
    after = shown(item)
    assert {
        k: after.get(k) for k in ("tagline", "titleSort", "originalTitle", "label", "contentRating")
    } == {
        k: before.get(k)
        for k in ("tagline", "titleSort", "originalTitle", "label", "contentRating")
    }


def test_lists_become_stashs_but_no_label_does(filled: WorkerHarness) -> None:
    scene, item = filled.pair("r", **WHOLE)
    filled.plex.person_adds(item.rating_key, "label", "Kids")
    filled.plex.person_adds(item.rating_key, "label", "hidden")
    filled.edit(scene)
    follow(filled, replace_lists=True, **HIDING)
    follow(filled, replace_lists=True)
    agree(filled)
    days(filled, 2)
    assert sorted(map(fold, item.tags["label"])) == ["hidden", "kids"]


@pytest.mark.parametrize("moment", ["record", "request", "ignored"])
def test_a_kill_at_any_moment_leaves_nothing(filled: WorkerHarness, moment: str) -> None:
    _, item = synced(filled)
    filled.plex.person_sets(item.rating_key, "tagline", "Mine")
    before = shown(item)
    rules: dict[str, Any] = {
        "sync_tagline": True,
        "sync_original_title": True,
        "sort_title_template": "{code}",
        "labels": "stash",
    }
    for chosen in (rules, {}, {**rules, "labels": "Other"}, {}):
        fault = filled.plex.faults.add(Answer(503 if moment == "record" else 200), method=WRITES)
        if moment == "request":
            fault.remove()
        filled.configure(poll_interval=30, **chosen)
        filled.run_for(420)
        filled.restart()
        filled.run_for(1)
        fault.remove()
        filled.restart()
        filled.run_for(HOUR)
        agree(filled)
    days(filled, 4)
    agree(filled)
    assert shown(item) == before


def test_rules_change_in_quick_succession(filled: WorkerHarness) -> None:
    scene, item = synced(filled)
    before = shown(item)
    for number in range(6):
        filled.configure(
            poll_interval=30,
            labels=f"L{number}",
            sync_tagline=bool(number % 2),
            title_template="{code} {title}" if number % 3 else "{title}",
            collections_from=f"studio => S{number}:; groups",
        )
        filled.edit(scene, f"T{number}")
        filled.run_for(7)
    filled.edit(scene, WHOLE["title"])
    follow(filled)
    agree(filled)
    days(filled, 4)
    assert shown(item) == before


def test_a_person_takes_over_what_a_rule_wrote(filled: WorkerHarness) -> None:
    _, item = synced(filled)
    follow(
        filled,
        sync_tagline=True,
        labels="Stash; Two",
        content_rating="XXX",
        sort_title_template="{code}",
    )
    filled.plex.person_sets(item.rating_key, "tagline", "Mine")
    filled.plex.person_sets(item.rating_key, "contentRating", "PG")
    filled.plex.person_sets(item.rating_key, "titleSort", "zzz")
    filled.plex.person_removes(item.rating_key, "label", "Two")
    filled.plex.person_adds(item.rating_key, "label", "Kids")
    follow(filled)
    agree(filled)
    days(filled, 2)
    assert (item.values["tagline"], item.values["contentRating"], item.values["titleSort"]) == (
        "Mine",
        "PG",
        "zzz",
    )
    assert item.tags["label"] == ["Kids"]
    assert {"tagline", "contentRating", "titleSort", "label"} <= item.locked


@pytest.mark.parametrize("studio", ["My studio", ""], ids=["another", "emptied"])
def test_a_rule_leaves_a_persons_edits_of_other_fields(filled: WorkerHarness, studio: str) -> None:
    scene, item = synced(filled)
    filled.plex.person_sets(item.rating_key, "title", "Mine")
    filled.plex.person_sets(item.rating_key, "studio", studio)
    filled.plex.person_removes(item.rating_key, "genre", "Todo")
    filled.plex.person_adds(item.rating_key, "genre", "Own")
    days(filled, 1)
    before = shown(item)
    assert before["genre"] == ["Beach", "Mood: calm", "Own"]
    rules: dict[str, Any] = {
        "title_template": "{code} {title}", "studio_from": "both", "performer_tags": True
    }  # fmt: skip
    follow(filled, **rules)
    assert (item.title, item.values.get("studio", "")) == ("Mine", studio)
    assert sorted(item.tags["genre"]) == ["Beach", "Blond", "Mood: calm", "Own"]
    follow(filled)
    days(filled, 1)
    assert shown(item) == before
    filled.edit(scene, "Other")  # Stash's value changed: it wins
    filled.run_for(60)
    assert item.title == "Other"
    assert item.values.get("studio", "") == studio


def test_a_save_of_another_field_after_a_rule_change_leaves_a_persons_title(
    filled: WorkerHarness,
) -> None:
    scene, item = synced(filled)
    filled.plex.person_sets(item.rating_key, "title", "Mine")
    days(filled, 1)
    filled.configure(poll_interval=30, title_template="{studio} - {title}")
    filled.edit(scene, details="New")
    filled.run_for(60)
    assert (item.title, item.summary) == ("Mine", "New")
    days(filled, 1)
    assert item.title == "Mine"
    filled.edit(scene, "Other")
    filled.run_for(60)
    assert item.title == "Blue - Other"


def test_a_rule_changes_what_was_in_plex_as_stash_says(filled: WorkerHarness) -> None:
    scene, item = filled.pair("same", **WHOLE)
    filled.plex.person_sets(item.rating_key, "title", WHOLE["title"])  # as another bridge does
    filled.edit(scene)
    filled.run_for(60)
    before = shown(item)
    follow(filled, title_template="{code} {title}")
    assert item.title == "AC-1 Night with Ann 🌙"
    follow(filled)
    assert shown(item) == before


def test_preserve_and_taking_back(filled: WorkerHarness) -> None:
    filled.configure(preserve_plex_edits=True)
    _, item = filled.pair("p", **WHOLE)
    filled.plex.person_adds(item.rating_key, "label", "Kids")
    scene = filled.stash.library.scenes()[-1]
    filled.edit(scene)
    filled.run_for(60)
    before = shown(item)
    rules: dict[str, Any] = {
        "preserve_plex_edits": True,
        "sync_tagline": True,
        "labels": "Stash",
        "content_rating": "R",
    }
    follow(filled, **rules)
    follow(filled, preserve_plex_edits=True)
    agree(filled)
    days(filled, 2)
    assert shown(item) == before


def test_the_item_is_added_again_while_a_question_is_open(filled: WorkerHarness) -> None:
    _scene, item = synced(filled)
    follow(filled, **HIDING)
    follow(filled)
    filled.plex.remove_item(item.rating_key)
    filled.run_for(HOUR)
    new = filled.add_item("clip")
    days(filled, 2)
    agree(filled)
    days(filled, 1)
    assert_hides_nothing(new)
    assert filled.worker.history.count_asking() == 0


def test_what_asks_counts_only_while_it_is_there(filled: WorkerHarness) -> None:
    _, _item = synced(filled)
    follow(filled, **HIDING)
    follow(filled)
    filled.command("approve", visible=True, no=True)
    days(filled, 1)
    follow(filled, **HIDING)
    follow(filled)
    days(filled, 1)
    assert filled.worker.history.count_asking() == 1
    assert GRANTED not in [
        s.asks for r in filled.worker.history.asking() for s in r.fields.values()
    ]


# --- collections


def test_a_collection_with_a_persons_sort_title_does_not_end(filled: WorkerHarness) -> None:
    _, _item = synced(filled)
    ours = filled.plex.collection(filled.library, "Blue")
    assert ours is not None
    filled.plex.edit_collection(ours, title_sort="zzz")
    follow(filled, collection_sort_title="0 {name}")
    days(filled, 1)
    assert ours.values["titleSort"] == "zzz"
    follow(filled, collection_sort_title="0 {name}", collections_from="groups")
    days(filled, 4)
    assert filled.plex.collection(filled.library, "Blue") is not None
    follow(filled)
    days(filled, 2)
    assert ours.values["titleSort"] == "zzz"
    assert "titleSort" in ours.locked


def test_a_collection_that_plex_does_not_sort_stops_nothing(filled: WorkerHarness) -> None:
    synced(filled)
    synced(filled, "other", groups=["New"])
    ours = filled.plex.collection(filled.library, "Blue")
    new = filled.plex.collection(filled.library, "New")
    assert ours is not None
    assert new is not None
    refused = filled.plex.faults.add(
        Answer(400),
        method=WRITES,
        when=lambda request: (
            request.first("id") == str(ours.rating_key)
            and request.first("titleSort.value") is not None
        ),
    )
    follow(filled, collection_sort_title="0 {name}")
    days(filled, 2)
    assert new.values["titleSort"] == "0 New"
    assert not any("Unexpected" in text for _, text in filled.notices())
    refused.remove()
    follow(filled)
    days(filled, 2)
    assert "titleSort" not in new.locked


def test_a_group_and_a_studio_of_one_name(filled: WorkerHarness) -> None:
    filled.stash.add_studio("Same")
    _one, first = synced(filled, "one", studio="Same", groups=["Same"])
    _two, second = synced(filled, "two", studio="Blue", groups=["Same"])
    _three, third = synced(filled, "three", studio="Same", groups=[])
    follow(filled, collections_from="studio => X; groups => X")
    days(filled, 4)
    writes = len(filled.plex.writes) + len(filled.plex.collection_writes)
    days(filled, 2)
    assert len(filled.plex.writes) + len(filled.plex.collection_writes) == writes
    filled.stash.rename_studio("Same", "Other")
    filled.run_for(HOUR)
    days(filled, 4)
    assert sorted(first.tags["collection"]) == ["X Other", "X Same"]
    assert sorted(second.tags["collection"]) == ["X Blue", "X Same"]
    assert sorted(third.tags["collection"]) == ["X Other"]
    follow(filled)
    days(filled, 4)
    assert sorted(first.tags["collection"]) == ["Other", "Same"]
    assert sorted(second.tags["collection"]) == ["Blue", "Same"]
    assert sorted(third.tags["collection"]) == ["Other"]


def test_collections_from_all_kinds_come_and_go(filled: WorkerHarness) -> None:
    _, item = synced(filled)
    _, other = synced(filled, "other", performers=["Ann"], groups=["Mine"])
    theirs = filled.add_item("theirs")
    filled.plex.person_adds(theirs.rating_key, "collection", "Ann")
    before = [shown(one) for one in (item, other, theirs)]
    all_kinds = "studio, parent_studio, groups, tags, performers, rating, organized"
    for rule in (f"{all_kinds} => Blue", all_kinds, "performers => Ann"):
        follow(filled, collections_from=rule, tag_rules="Beach => collections")
        days(filled, 4)
        writes = len(filled.plex.writes) + len(filled.plex.collection_writes)
        days(filled, 2)
        assert len(filled.plex.writes) + len(filled.plex.collection_writes) == writes, rule
    follow(filled)
    days(filled, 5)
    assert [shown(one) for one in (item, other, theirs)] == before


# --- storms


ODD: dict[str, Any] = {
    "long title": {"title_template": "{title} {performers} {filename} " * 40},
    "long names": {"labels": "a" * 300 + "; " + "b, c" * 80, "content_rating": "x" * 300},
    "case": {
        "labels": "hidden; HIDDEN; Hidden; kids",
        "tag_rules": "* => labels, genres, collections",
    },
    "emoji": {
        "labels": "🌙; a🌙; 🌙a",
        "content_rating": "🌙",
        "keep_emoji": False,
        "title_template": "🌙{studio}🌙",
        "collections_from": "studio => 🌙; groups => 🌙",
    },
    "emoji only": {
        "labels": "🌙",
        "tag_rules": "* => labels",
        "collections_from": "studio => 🌙",
    },
    "commas": {
        "labels": '"a, b"; "c; d"; "e => f"',
        "content_rating": "a, b%2c",
        "collections_from": 'studio => "a, b"',
    },
    "percent": {"labels": "100%25; a%2Cb; a&b=c; <b>", "content_rating": "50% &amp;"},
    "many": {"labels": "; ".join(f"Label {n}" for n in range(1900))},
    "blank": {"sort_title_template": "  {title}  ", "title_template": " {code} - "},
}


@pytest.mark.parametrize("name", some(ODD, 3))
def test_odd_values_settle_and_go(filled: WorkerHarness, name: str) -> None:
    filled.plex.settings.normalize = Normalize(
        tags=[lambda kind, names: [capital(one) if kind == "label" else one for one in names]]
    )
    _, item = synced(filled, tags=["beach", "Mood, calm", "🌙", "Todo"])
    before = shown(item)
    follow(filled, **ODD[name])
    days(filled, 2)
    writes = len(filled.plex.writes)
    for _ in range(2):
        filled.plex.touch_item(item.rating_key)
        days(filled, 1)
    assert len(filled.plex.writes) == writes
    print(filled.notices())
    follow(filled)
    agree(filled)
    days(filled, 4)
    assert shown(item) == before


# --- what was there before the rules


def test_a_lost_history_takes_no_label_away(filled: WorkerHarness) -> None:
    scene, item = synced(filled)
    follow(filled, **HIDING)
    history = filled.worker.history
    history.retire([row.id for row in history.of_scene(scene.id)])
    with history.transaction():
        history._db.execute("DELETE FROM agreements")
    history.set(LOST_AT, filled.clock.now)
    follow(filled, content_rating="R", labels="Other")
    days(filled, 2)
    assert item.values["contentRating"] == "XXX"
    assert sorted(item.tags["label"]) == ["Hidden", "Other"]


def test_an_answer_about_a_library_is_changed_and_its_run_undone_with_rules_on(
    filled: WorkerHarness,
) -> None:
    filled.library.agent = "com.plexapp.agents.stashplexagent"
    _, item = filled.pair("legacy", **WHOLE)
    filled.plex.person_adds(item.rating_key, "label", "Kids")
    item.tags["genre"] = ["Old"]
    item.tags["collection"] = ["Old series"]
    filled.add_item("other", collections=["Old series"])
    before = shown(item)
    server, section = filled.plex.machine_identifier, filled.library.key
    rules: dict[str, Any] = {"labels": "Stash", "tag_rules": "Todo => labels"}
    for answer in ("stash", "mine", "stash"):
        filled.command("library_origin", server=server, section=section, answer=answer)
        follow(filled, **rules)
        filled.command("sync")
        filled.run_for(60)
    assert sorted(item.tags["genre"]) == ["Beach", "Mood: calm"]
    assert sorted(item.tags["label"]) == ["Kids", "Stash", "Todo"]
    follow(filled)
    agree(filled)
    days(filled, 1)
    assert sorted(item.tags["label"]) == ["Kids"]
    filled.command("remove", visible=True)
    filled.run_for(60)
    after = shown(item)
    assert after["label"] == before["label"]
    assert after["genre"] == before["genre"]
    assert "Old series" in after["collection"]


def test_the_switch_for_tags_off_and_on(filled: WorkerHarness) -> None:
    _, item = synced(filled)
    rules: dict[str, Any] = {"tag_rules": "Todo => labels", "labels": "Stash"}
    follow(filled, **rules)
    for is_on in (False, True, False):
        follow(filled, sync_tags=is_on, **rules)
        days(filled, 1)
        assert sorted(item.tags["label"]) == ["Stash", "Todo"]
        assert filled.worker.history.count_asking() == (0 if is_on else 1)
    filled.command("approve", visible=True, no=True)
    follow(filled, sync_tags=True, **rules)
    follow(filled, sync_tags=True)
    agree(filled)
    days(filled, 1)
    assert not item.tags.get("label")


def test_many_items_wait_for_one_yes_and_a_kill_in_the_middle(filled: WorkerHarness) -> None:
    pairs = [synced(filled, f"m{number}") for number in range(12)]
    follow(filled, **HIDING)
    follow(filled)
    days(filled, 1)
    filled.commands.add("approve", {"visible": True})
    filled.run_for(0.2)
    filled.restart()
    filled.run_for(0.1)
    filled.restart()
    filled.run_for(HOUR)
    days(filled, 1)
    for _, item in pairs:
        assert not item.tags.get("label")
        assert item.values.get("contentRating", "") == ""
    assert filled.worker.history.count_asking() == 0


def test_a_scene_is_left_out_while_its_question_is_open(filled: WorkerHarness) -> None:
    _scene, item = synced(filled)
    follow(filled, **HIDING)
    follow(filled, exclude_scenes="tag Beach")
    days(filled, 1)
    assert (item.values["contentRating"], item.tags["label"]) == ("XXX", ["Hidden"])
    agree(filled)
    follow(filled)
    days(filled, 1)
    assert (item.values["contentRating"], item.tags["label"]) == ("XXX", ["Hidden"])
    assert filled.worker.history.count_asking() == 1
