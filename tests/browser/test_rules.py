"""The rules in the form: checked while one types, previewed, saved; export and import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.canned import Operations
from tests.browser.conftest import Open
from tests.browser.support import fold_out, press, wait_for
from tests.simulators.stash import StashSimulator

URL = {"plex_url": "http://nas:32400", "plex_token": "t" * 20, "plex_libraries": "Scenes"}


def tried(args: dict[str, Any]) -> dict[str, Any]:
    """Answer as `tasks.rules.rules_test`; a rule with "genre" in it is wrong."""
    rules = args["rules"]
    wrong = {"tag_rules": "'genre' is unknown"} if "=> genre;" in f"{rules['tag_rules']};" else {}
    scene_id = int(args.get("scene_id") or 1)
    return {
        "summary": "", "ok": not wrong, "problems": wrong, "left_out": "not organized",
        "scene": {"id": scene_id, "title": "A <b>film</b>", "path": "/data/a.mp4"},
        "fields": {"title": f"Made of {rules['title_template']}", "label": ["Mood"], "studio": ""},
    }  # fmt: skip


@pytest.fixture
def rules(operations: Operations, stash: StashSimulator) -> Operations:
    operations.answers["setup_test"] = {"ok": True, "name": "NAS", "version": "1", "libraries": []}
    operations.answers["setup_match"] = {"scenes": 0, "matched": 0, "libraries": []}
    operations.answers["rules_test"] = tried
    stash.set_plugin_settings("PlexSync", {**URL, "tag_rules": 'A => labels; "B; C" => genres'})
    return operations


def test_rules_are_checked_while_one_types_previewed_and_saved(
    open_page: Open, rules: Operations, stash: StashSimulator
) -> None:
    rules.answers["preview_all"] = {
        "summary": "", "ok": True, "changed": 7, "fields": {"label": 7}, "scenes": [],
        "skipped": 2, "left_out": {"left out by your rule: path /x": 2}, "visible": 1,
    }  # fmt: skip
    page = open_page()
    fold_out(page, "Setup")
    tags = page.get_by_label("Where tags go")  # a rule is set, so the rules are open
    expect(tags).to_have_value('A => labels\n"B; C" => genres')
    tags.press("End")
    tags.press_sequentially(", genre\n\nD*=>none\n", delay=0)
    expect(tags).to_have_value('A => labels, genre\n\nD*=>none\n\n"B; C" => genres')
    expect(page.get_by_text("'genre' is unknown")).to_have_count(0)
    tags.fill("A => genre\n")
    expect(page.get_by_text("'genre' is unknown")).to_be_visible()
    expect(tags).to_have_attribute("aria-invalid", "true")
    press(page, "Example: Mood*, below Private => labels")
    expect(tags).to_have_value("A => genre\nMood*, below Private => labels")
    tags.fill('"B; C" => none;\nA => labels')
    expect(page.get_by_text("'genre' is unknown")).to_have_count(0)

    page.get_by_label("Title template", exact=True).first.fill("{code}")
    row = page.get_by_role("row", name="Title Made of")
    expect(row).to_contain_text("Made of {code}")
    expect(page.get_by_text("Not synced: not organized")).to_be_visible()
    page.get_by_label("Number of a scene").fill("3")
    expect(page.get_by_role("link", name="A <b>film</b>")).to_have_attribute("href", "/scenes/3")
    assert rules.last("rules_test")["rules"]["keep_emoji"] == ""

    page.get_by_label("Most genres of a scene").fill("12")
    press(page, "Preview")
    expect(page.get_by_text("7 would change · 2 left out")).to_be_visible()
    expect(page.get_by_text("2 scenes: left out by your rule: path /x")).to_be_visible()
    expect(page.get_by_text("One item would become visible to restricted")).to_be_visible()
    asked = rules.last("preview_all")["rules"]
    assert asked["tag_rules"] == '"B; C" => none; A => labels'
    assert asked["title_template"] == "{code}"
    page.get_by_label("Emoji").uncheck(force=True)
    expect(page.get_by_text("7 would change")).to_have_count(0)  # it was of other rules

    press(page, "Save")
    expect(page.get_by_text("rested for five minutes")).to_be_visible()
    saved = stash.plugin_settings("PlexSync") or {}
    assert saved == {
        **URL, "tag_rules": '"B; C" => none; A => labels', "title_template": "{code}",
        "keep_emoji": False, "max_tags": 12,
    }  # fmt: skip


def test_a_wrong_rule_is_on_the_page_and_leads_to_the_form(
    open_page: Open, rules: Operations
) -> None:
    rules.state["rule_problems"] = ["labels is '=>': wrong. The last valid one stays in effect"]
    page = open_page()
    expect(page.get_by_text("labels is '=>': wrong")).to_be_visible()
    press(page, "Correct it")
    expect(page.get_by_label("Where tags go")).to_be_visible()


def test_export_is_a_file_and_import_is_shown_before_it_is_done(
    open_page: Open, rules: Operations, tmp_path: Path
) -> None:
    rules.answers["export"] = {"summary": "", "name": "plexsync.json", "document": {"é": [1]}}
    rules.answers["import"] = lambda args: (
        {"summary": "Import: 2 settings, 5 choices", "ok": True, "plex_url": "http://new:32400",
         "settings": {"labels": ["", "Stash"]}, "notes": ["unknown settings: x"]}
        if args.get("preview")
        else {"summary": "Imported", "ok": True}
    )  # fmt: skip
    page = open_page("/settings?tab=plugins")
    page.get_by_text("Export and import").click()
    with page.expect_download() as started:
        press(page, "Export")
    assert started.value.suggested_filename == "plexsync.json"
    content = Path(started.value.path()).read_text(encoding="utf-8")
    assert json.loads(content) == {"é": [1]}

    file = tmp_path / "some.json"
    file.write_text(content, encoding="utf-8")
    page.get_by_label("Import a file").set_input_files(file)
    expect(page.get_by_text("Import: 2 settings, 5 choices")).to_be_visible()
    expect(page.get_by_role("row", name="labels empty")).to_contain_text("Stash")
    expect(page.get_by_text("unknown settings: x")).to_be_visible()
    assert rules.last("import") == {"mode": "import", "data": content, "preview": True}
    page.get_by_label("Take the Plex address http://new:32400").check()
    press(page, "Import")
    expect(page.get_by_text("Imported")).to_be_visible()
    wait_for(page, lambda: "with_plex_url" in rules.last("import"))
    assert rules.last("import") == {"mode": "import", "data": content, "with_plex_url": True}
