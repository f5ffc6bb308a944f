"""Rules that are not saved: checked, shown on one scene, and previewed. Nothing is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tasks.context import Context, Result, UsageError
from tasks.preview import preview, preview_all
from tasks.rules import TRIED, rules_test
from tests.harness.in_process import WorkerHarness
from tests.harness.plugin import ENTRY
from validation.config import RULES
from validation.errors import SettingsError
from worker.last_rules import FILE


@pytest.fixture
def context(harness: WorkerHarness) -> Iterator[Context]:
    yield Context(
        str(harness.data_dir), str(ENTRY), harness.client, harness.redactor,
        lambda *_: None, lambda *_: None, environ={},
    )  # fmt: skip
    written = [one.request for one in harness.plex.log.all() if one.request.method != "GET"]
    assert written == [], "nothing is written to Plex"
    assert not any(b"configurePlugin" in one.request.body for one in harness.stash.log.all())
    assert not (harness.data_dir / FILE).exists(), "what is tried is not valid for good"


def tried(context: Context, **arguments: Any) -> dict[str, Any]:
    found: Result = rules_test(context, arguments)
    json.dumps(found.to_dict())
    return found.to_dict()


def test_each_wrong_rule_has_its_sentence_and_the_others_are_shown_on_a_scene(
    harness: WorkerHarness, context: Context
) -> None:
    harness.configure(plex_url=None, labels="=> A")
    tag = harness.stash.add_tag("Bird")
    harness.add_scene("a")
    harness.add_scene("b", title="Latest", tags=[tag])
    rules = {"tag_rules": "A => genre", "max_tags": "0.5", "title_template": "{titel}"}
    found = tried(context, rules=rules)
    assert not found["ok"]
    assert set(found) == {"summary", "ok", "problems", "scene", "left_out", "fields"}
    assert set(found["scene"]) == {"id", "title", "path"}
    assert set(found["problems"]) == {*rules, "labels"}
    assert found["problems"]["max_tags"] == "must be a whole number from 1 to 500"
    assert found["problems"]["title_template"].startswith("{titel} is unknown; there are {title}")
    assert "title_template" in found["summary"] or "tag_rules" in found["summary"]
    assert (found["scene"]["id"], found["scene"]["title"]) == (2, "Latest")
    assert found["fields"]["title"] == "Latest"
    assert found["fields"]["genre"] == ["Bird"]
    assert found["left_out"] is None


def test_what_the_rules_make_of_a_scene_is_shown(harness: WorkerHarness, context: Context) -> None:
    tags = [harness.stash.add_tag(name) for name in ("Mood 1", "Bird", "Todo")]
    harness.add_scene("a", title="One", code="X-1", date="2026-01-02", tags=tags)
    rules = {
        "title_template": "{title} ({year}) {code}", "tag_rules": "Mood* => labels; Todo => none",
        "content_rating": "tag Bird => R", "sync_tagline": True, "labels": "Stash",
        "collections_from": "tags => Tag:", "sort_title_template": "{code}",
    }  # fmt: skip
    fields = tried(context, rules=rules)["fields"]
    assert fields | {"actor": []} == fields
    assert (fields["title"], fields["titleSort"]) == ("One (2026) X-1", "X-1")
    assert (fields["label"], fields["genre"]) == (["Stash", "Mood 1"], ["Bird"])
    assert (fields["contentRating"], fields["tagline"]) == ("R", "X-1")


def test_the_switches_of_the_form_count(harness: WorkerHarness, context: Context) -> None:
    harness.configure(sync_details=False)
    harness.add_scene(details="Some", date="2026-01-02")
    found = tried(context, rules={"sync_date": False, "sync_details": True}, scene_id="1")
    assert found["fields"]["summary"] == "Some"
    assert "year" not in found["fields"]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"only_organized": True}, "not organized"),
        ({"exclude_scenes": "path /data"}, "left out by your rule: path /data"),
        ({"include_scenes": "tag X"}, "left out: none of your rules includes it (tag X)"),
    ],
)
def test_a_scene_that_is_left_out_says_why(
    harness: WorkerHarness, context: Context, settings: dict[str, Any], why: str
) -> None:
    harness.configure(**settings)
    harness.add_scene()
    assert tried(context)["left_out"] == why


def test_rules_are_checked_without_any_scene(context: Context) -> None:
    found = tried(context, rules={"labels": "=>"})
    assert (found["scene"], found["left_out"]) == (None, "Stash has no scene")
    assert set(found["problems"]) == {"labels"}
    assert tried(context, scene_id=7)["left_out"] == "Stash has no scene 7"
    assert "scene_id" in tried(context, scene_id="x")["left_out"]


def test_a_number_beyond_all_bounds_is_a_wrong_rule(context: Context) -> None:
    assert set(tried(context, rules={"max_tags": 10**400})["problems"]) == {"max_tags"}


def test_neither_plex_nor_its_settings_are_needed(harness: WorkerHarness, context: Context) -> None:
    harness.configure(plex_token="wrong", poll_interval="never")
    harness.add_scene()
    assert tried(context)["fields"]["title"] == "Title of a"
    assert len(harness.plex.log) == 0


@pytest.mark.parametrize(
    "rules",
    [
        "[]",
        "{",
        7,
        {"plex_token": "x"},
        {"only_organized": True},
        {"labels": ["A"]},
        {"labels": "A" * 300_000},
        "[" * 100_000,
    ],
)
def test_what_is_not_a_rule_is_one_sentence(context: Context, rules: Any) -> None:
    for operation in (rules_test, preview):
        with pytest.raises(UsageError) as caught:
            operation(context, {"rules": rules})
        assert str(caught.value).startswith("rules: ")
        assert len(str(caught.value)) < 200


def test_all_rules_can_be_tried() -> None:
    assert set(RULES) < set(TRIED)
    assert {"sync_title", "sync_art", "keep_emoji", "max_tags"} < set(TRIED)


# --- preview


def test_a_preview_shows_what_rules_that_are_not_saved_would_change(
    harness: WorkerHarness, context: Context
) -> None:
    harness.pair(details="Some")
    found = preview(context, {"scene_id": 1, "rules": '{"sync_details": false}'})
    assert "summary" not in found.data["fields"]
    found = preview_all(context, {"rules": {"sync_details": True, "sync_title": False}})
    assert set(found.data["fields"]) == {"summary"}
    assert found.data["changed"] == 1


def test_a_preview_with_a_wrong_rule_says_which(harness: WorkerHarness, context: Context) -> None:
    with pytest.raises(UsageError, match="labels: '=> A': something is missing before or after"):
        preview(context, {"rules": {"labels": "=> A"}})
    with pytest.raises(SettingsError, match="sync_title is 'maybe'"):
        preview(context, {"rules": {"sync_title": "maybe"}})
