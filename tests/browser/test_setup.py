"""*Setup*: the first run of four steps, and the form in place of Stash's raw one."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.canned import Operations
from tests.browser.conftest import Open
from tests.browser.support import fold_out, press, wait_for
from tests.harness.plugin import ROOT
from tests.simulators.stash import StashSimulator
from validation.config import validate_config

TOKEN = "a-token-that-nobody-may-see"
SERVER = {
    "ok": True, "name": "NAS", "version": "1.40", "message": "",
    "libraries": [
        {"key": 1, "name": "Scenes", "type": "movie", "items": 2946, "folders": ["/media/films"]},
        {"key": 2, "name": "Movies", "type": "movie", "items": 812, "folders": ["/media/movies"]},
        {"key": 3, "name": "Series", "type": "show", "items": 90, "folders": ["/media/series"]},
    ],
}  # fmt: skip


@pytest.fixture
def plex(operations: Operations) -> Operations:
    """A Plex that answers, and in which 47 of 50 scenes are found."""
    operations.answers["setup_test"] = lambda args: (
        SERVER if "wrong" not in str(args) else {"ok": False, "message": "Plex rejects the token"}
    )
    operations.answers["setup_match"] = lambda args: {
        "summary": "", "ok": True, "scenes": 50, "matched": 47,
        "libraries": [{"name": "Scenes", "matched": 47}, {"name": "Movies", "matched": 0}],
        "mappings": [{"text": one.strip(), "hits": 47} for one in
                     str(args["path_mappings"]).split(";") if one.strip()],
        "suggestions": [{"text": "/data => /media", "hits": 50}],
    }  # fmt: skip
    return operations


@pytest.fixture
def fresh(plex: Operations) -> Operations:
    """An installation that was never set up."""
    plex.state.update(is_set_up=False, problem={"text": "plex_url is not set", "action": "setup"})
    return plex


def test_a_first_run_of_four_steps_ends_with_the_first_synced_scene(
    open_page: Open, fresh: Operations, stash: StashSimulator
) -> None:
    fresh.answers["try"] = {"summary": "1 scene synced", "ok": True, "run": "try-1"}
    fresh.answers["page run"] = {"rows": [{"scene_id": 1, "change": 1}], "next": None}
    fresh.answers["page scene"] = {"status": "in_sync", "items": [], "reason": "It is in sync"}
    page = open_page()
    expect(page.get_by_role("heading", name="Step 1 of 4")).to_be_visible()
    expect(page.get_by_role("button", name="Next")).to_be_disabled()
    page.get_by_label("Plex address").fill("http://nas:32400")
    page.get_by_label("Plex token").fill(TOKEN)
    expect(page.get_by_text("Connected to 'NAS', version 1.40.")).to_be_visible()
    press(page, "Next")
    expect(page.get_by_role("heading", name="Step 2 of 4")).to_be_focused()
    for name in ("Scenes", "Movies"):
        expect(page.get_by_role("checkbox", name=re.compile(f"^{name}"))).not_to_be_checked()
    expect(page.get_by_text("Series")).to_have_count(0)  # only libraries of type movie
    expect(page.get_by_text("2,946 items · 47 of 50 scenes match")).to_be_visible()
    expect(page.get_by_role("button", name="Next")).to_be_disabled()
    page.get_by_role("checkbox", name=re.compile("^Scenes")).check()
    press(page, "Next")
    expect(page.get_by_text("47 of 50 scenes tried are found in Plex.")).to_be_visible()
    press(page, "Use this")
    expect(page.get_by_label("Path in Stash").first).to_have_value("/data")
    expect(page.get_by_text("47 files")).to_be_visible()
    assert fresh.modes().count("try") == 0
    assert stash.plugin_settings("PlexSync") is None, "nothing is saved before the last step"
    press(page, "Next")
    page.get_by_label("Tags").uncheck(force=True)
    press(page, "Save, and sync the first scene")
    expect(page.get_by_role("heading", name="The first scene is in Plex")).to_be_visible()
    saved = stash.plugin_settings("PlexSync") or {}
    expected = {
        "plex_url": "http://nas:32400", "plex_token": TOKEN, "plex_libraries": "Scenes",
        "path_mappings": "/data => /media", "sync_tags": False, "sync_title": True, "enabled": True,
    }  # fmt: skip
    assert expected.items() <= saved.items()
    assert fresh.last("try") == {"mode": "try", "count": 1}


def test_a_wrong_token_is_said_while_one_types(open_page: Open, fresh: Operations) -> None:
    page = open_page()
    page.get_by_label("Plex address").fill("http://nas:32400")
    page.get_by_label("Plex token").fill("wrong")
    expect(page.get_by_text("Plex rejects the token")).to_be_visible()
    expect(page.get_by_role("button", name="Next")).to_be_disabled()
    page.get_by_label("Plex token").fill(TOKEN)
    expect(page.get_by_text("Connected to 'NAS'")).to_be_visible()


def test_missing_packages_come_first(
    open_page: Open, fresh: Operations, stash: StashSimulator
) -> None:
    fresh.state["problem"] = {"text": "Python packages are missing", "action": "install"}

    def start_task(plugin_id: str, task_name: str | None, *_: object) -> object:
        assert task_name == "Install dependencies"
        fresh.state["problem"] = {"text": "plex_url is not set", "action": "setup"}
        return stash.jobs.submit("Install", lambda job: None)

    stash.plugins.start_task = start_task  # type: ignore[method-assign, assignment]
    page = open_page()
    press(page, "Install")
    expect(page.get_by_role("heading", name="Step 1 of 4")).to_be_visible()


# --- the form


def settings(stash: StashSimulator, **more: Any) -> None:
    usual = {"plex_url": "http://nas:32400", "plex_token": TOKEN, "plex_libraries": "Scenes"}
    stash.set_plugin_settings("PlexSync", {**usual, "sync_tags": False, **more})


def test_the_form_stands_in_place_of_the_raw_one_on_stashs_page(
    open_page: Open, plex: Operations, stash: StashSimulator
) -> None:
    settings(stash)
    page = open_page("/settings?tab=plugins")
    expect(page.get_by_label("Plex address")).to_have_value("http://nas:32400")
    expect(page.get_by_text("Connected to 'NAS'")).to_be_visible()
    expect(page.locator(".plugin-settings")).to_have_count(0)
    expect(page.get_by_label("Tags")).not_to_be_checked()
    expect(page.get_by_label("Title")).to_be_checked()  # the real default of what is unset


def test_the_saved_token_is_not_in_the_page_and_is_kept(
    open_page: Open, plex: Operations, stash: StashSimulator
) -> None:
    settings(stash)
    page = open_page("/settings?tab=plugins")
    expect(page.get_by_text("Connected to 'NAS'")).to_be_visible()
    token = page.get_by_label("Plex token")
    expect(token).to_have_value("")
    assert token.get_attribute("type") == "password"
    assert TOKEN not in page.content()
    assert TOKEN not in str(plex.asked)
    page.get_by_label("Rating").check(force=True)
    expect(page.get_by_text("Not saved yet")).to_be_visible()
    press(page, "Save")
    expect(page.get_by_text("Saved.")).to_be_visible()
    saved = stash.plugin_settings("PlexSync") or {}
    assert saved == {
        "plex_url": "http://nas:32400", "plex_token": TOKEN, "plex_libraries": "Scenes",
        "sync_tags": False, "sync_rating": True,
    }  # fmt: skip


def test_what_another_page_saved_meanwhile_stays(
    open_page: Open, plex: Operations, stash: StashSimulator
) -> None:
    settings(stash)
    page = open_page()
    fold_out(page, "Setup")
    page.get_by_label("Rating").check(force=True)
    settings(stash, max_retries=9)
    press(page, "Save")
    expect(page.get_by_text("Saved.")).to_be_visible()
    saved = stash.plugin_settings("PlexSync") or {}
    assert (saved["max_retries"], saved["sync_rating"]) == (9, True)


def test_a_library_that_plex_lacks_can_be_taken_out(
    open_page: Open, plex: Operations, stash: StashSimulator
) -> None:
    settings(stash, plex_libraries="scenes, Old")
    page = open_page("/settings?tab=plugins")
    expect(page.get_by_text("Plex has no library 'Old'.")).to_be_visible()
    press(page, "Take it out")
    press(page, "Save")
    expect(page.get_by_text("Saved.")).to_be_visible()
    assert (stash.plugin_settings("PlexSync") or {})["plex_libraries"] == "scenes"


def test_advanced_settings_are_folded_and_keep_their_types(
    open_page: Open, plex: Operations, stash: StashSimulator
) -> None:
    settings(stash)
    page = open_page("/settings?tab=plugins")
    expect(page.get_by_label("Retries")).to_be_hidden()
    page.get_by_text("Advanced").click()
    page.get_by_label("Retries").fill("7")
    page.get_by_label("Poll interval").fill("0.5")
    press(page, "Save")
    expect(page.get_by_text("Saved.")).to_be_visible()
    saved = stash.plugin_settings("PlexSync") or {}
    assert (saved["max_retries"], saved["poll_interval"]) == (7, "0.5")


WEBHOOK = "https://example.org/hook/that-nobody-may-see"


def test_the_time_of_day_and_the_webhook_have_fields_of_their_own(
    open_page: Open, plex: Operations, stash: StashSimulator
) -> None:
    """The saved address is not in the page; a test goes to what is typed, else to the saved one."""
    settings(stash, webhook_url=WEBHOOK)
    plex.answers["page details"] = {"clock": "14:05 CET", "lines": []}
    plex.answers["webhook_test"] = lambda args: (
        {"summary": "The test message has arrived at the webhook", "ok": True}
        if "webhook_url" not in args
        else {"summary": "The webhook can't be reached: it answers 404", "ok": False}
    )
    page = open_page("/settings?tab=plugins")
    page.get_by_text("Advanced").click()
    expect(page.get_by_text("It is 14:05 CET there now.")).to_be_visible()
    at = page.get_by_label("Daily comparison")
    expect(at).to_have_value("03:30")
    at.fill("22:15")
    address = page.get_by_label("Webhook")
    expect(address).to_have_value("")
    assert address.get_attribute("type") == "password"
    press(page, "Send a test")
    expect(page.get_by_text("The test message has arrived")).to_be_visible()
    assert WEBHOOK not in page.content() + str(plex.asked)
    address.fill(f" {WEBHOOK}2 ")
    press(page, "Send a test")
    expect(page.get_by_text("it answers 404")).to_be_visible()
    assert plex.last("webhook_test") == {"mode": "webhook_test", "webhook_url": f"{WEBHOOK}2"}
    press(page, "Save")
    expect(page.get_by_text("Saved.")).to_be_visible()
    saved = stash.plugin_settings("PlexSync") or {}
    assert (saved["compare_at"], saved["webhook_url"]) == ("22:15", f"{WEBHOOK}2")
    assert not {"new_webhook", "has_webhook"} & set(saved)
    press(page, "Remove the webhook")
    press(page, "Save")
    expect(page.get_by_role("button", name="Send a test")).to_be_disabled()
    wait_for(page, lambda: (stash.plugin_settings("PlexSync") or {})["webhook_url"] == "")


def test_the_defaults_of_the_form_are_those_of_the_code(
    open_page: Open, operations: Operations
) -> None:
    page = open_page()
    fold_out(page, "Setup")
    config, _ = validate_config({"plex_url": "http://plex:32400", "plex_token": "t" * 20})
    assert config is not None
    for key, value in page.evaluate("window.PlexSync.form.DEFAULTS").items():
        default = "" if getattr(config, key) is None else getattr(config, key)
        same = default == value if isinstance(default, str) else float(default) == float(value)
        assert same, key


def test_details_show_the_log_and_write_a_report(open_page: Open, operations: Operations) -> None:
    operations.answers["page details"] = {
        "hook_ms": {"median": 31, "p95": 44, "count": 9}, "log": "/x/worker.log", "data_dir": "/x",
        "python": "3.12.1", "index": {"files": 3000, "listed_at": 1}, "lines": ["<i>a line</i>"],
        "full_at": 1, "next_full": {"at": 2, "text": "tomorrow 03:30 CET"},
        "webhook_problem": {"text": "it answers 404", "since": 1},
        "outages": [
            {"cause": "stash_down", "since": 1, "until": 7300, "seconds": 7299, "waiting": 1,
             "caught_up_after": None},
            {"cause": "plex_down", "since": 9000, "until": None, "seconds": None,
             "waiting": None, "caught_up_after": None},
        ],
    }  # fmt: skip
    operations.answers["report"] = {"summary": "Report: /x/report.txt", "ok": True}
    page = open_page()
    fold_out(page, "Details")
    expect(page.locator("pre")).to_have_text("<i>a line</i>")
    expect(page.get_by_text("31 ms")).to_be_visible()
    expect(page.get_by_text("tomorrow 03:30 CET")).to_be_visible()
    expect(page.get_by_text("it answers 404")).to_be_visible()
    expect(page.locator(".plexsync-outages li")).to_contain_text(
        ["Plex was not reachable since", "(2 hours); one edit waited, not done yet"]
    )
    press(page, "Write a report for a bug")
    expect(page.get_by_text("Report: /x/report.txt")).to_be_visible()


def test_the_version_in_the_script_is_the_manifests() -> None:
    manifest = (ROOT / "PlexSync.yml").read_text(encoding="utf-8")
    version = re.search(r"^version: (\S+)$", manifest, re.M)
    assert version is not None
    script = (ROOT / "ui" / "plexsync.js").read_text(encoding="utf-8")
    assert f'const VERSION = "{version[1]}";' in script


def test_every_text_that_the_page_names_is_in_the_table() -> None:
    folder = ROOT / "ui"
    table = set(re.findall(r'(?:"([\w.]+)"|\b(\w+)): "', _read(folder / "texts.js")))
    known = {quoted or bare for quoted, bare in table}
    for file in folder.glob("*.js"):
        for key in re.findall(r'\bt\("([\w.]+)"', _read(file)):
            assert key in known, f"{file.name}: {key}"


def _read(path: Any) -> str:
    return str(path.read_text(encoding="utf-8"))
