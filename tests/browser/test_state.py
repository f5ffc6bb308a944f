"""The first lines of the page: one line on most days, a problem in its place, and what waits."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.canned import NOW, Operations, need
from tests.browser.conftest import Open
from tests.browser.support import press, wait_for
from tests.simulators.stash import StashSimulator


def test_on_most_days_it_is_one_line(open_page: Open, operations: Operations) -> None:
    page = open_page()
    line = page.locator(".plexsync-line")
    expect(line).to_contain_text("All 2,934 scenes that are synced are up to date.")
    expect(line).to_contain_text("Plex 'NAS', library Scenes")
    assert operations.modes() == [], "a look changes nothing"


def test_small_sums_stand_below_and_folders_fold_out(
    open_page: Open, operations: Operations
) -> None:
    page = open_page()
    sums = page.locator(".plexsync-sums")
    expect(sums).to_contain_text("34 kept as changed in Plex")
    expect(sums).to_contain_text("3 ignored")
    page.get_by_text("12 are not in Plex (normal), by folder").click()
    expect(sums.get_by_text("/data/new")).to_be_visible()
    page.get_by_label("Ignore the scenes in /data/new that are not in Plex").click()
    expect(sums).to_contain_text("Leave these 12 scenes alone from now on?")
    sums.get_by_role("button", name="Ignore", exact=True).click()
    wait_for(page, lambda: "ignore" in operations.modes())
    assert operations.last("ignore") == {"mode": "ignore", "folder": "/data/new"}


@pytest.mark.parametrize(
    ("action", "label", "mode"),
    [
        ("check", "Check setup", "check"),
        ("resume", "Resume", "pause"),
        ("retry", "Try now", "retry"),
    ],
)
def test_a_problem_takes_the_lines_place_with_the_button_that_mends_it(
    open_page: Open, operations: Operations, action: str, label: str, mode: str
) -> None:
    text = "Plex has not answered since 18:20. 41 edits wait; nothing is lost."
    operations.state["problem"] = {"text": text, "action": action, "since": NOW}
    page = open_page()
    expect(page.get_by_role("alert")).to_contain_text(f"{text} (since ")
    expect(page.locator(".plexsync-line")).to_have_count(0)
    page.get_by_role("alert").get_by_role("button", name=label).click()
    expect(page.get_by_role("alert")).to_contain_text(f"{mode}: done")
    assert operations.modes() == [mode]


def test_a_wrong_setting_leads_to_the_setup(open_page: Open, operations: Operations) -> None:
    operations.state["problem"] = {"text": "Plex rejects the token", "action": "setup"}
    page = open_page()
    press(page, "Set it up")
    expect(page.get_by_label("Plex address")).to_be_visible()


def test_missing_packages_are_installed_by_a_task(
    open_page: Open, operations: Operations, stash: StashSimulator
) -> None:
    operations.state["problem"] = {"text": "Python packages are missing", "action": "install"}
    started: list[str | None] = []
    start = stash.plugins.start_task

    def start_task(plugin_id: str, task_name: str | None, *rest: object) -> object:
        started.append(task_name)
        return start(plugin_id, "no such task", *rest)  # type: ignore[arg-type]

    stash.plugins.start_task = start_task  # type: ignore[method-assign, assignment]
    page = open_page()
    press(page, "Install them")
    expect(page.get_by_role("alert")).to_contain_text("Started.")
    assert started == ["Install dependencies"]


def test_what_waits_for_approval_can_be_shown_approved_and_dropped(
    open_page: Open, operations: Operations
) -> None:
    operations.state["approval"] = {"count": 812, "reason": "the setting Sync tags was changed"}
    operations.answers["preview_all"] = {
        "summary": "", "ok": True, "changed": 812, "fields": {"genre": 812}, "scenes": [],
    }  # fmt: skip
    page = open_page()
    note = page.locator(".plexsync-warn")
    expect(note).to_contain_text("812 scenes would change in Plex without an edit of yours")
    note.get_by_role("button", name="Show").click()
    expect(note).to_contain_text("812 would change")
    note.get_by_role("button", name="Keep as it is").click()
    expect(note).to_contain_text("approve: done")
    assert operations.last("approve") == {"mode": "approve", "no": True}
    note.get_by_role("button", name="Go on").click()
    expect(note.get_by_text("approve: done")).to_have_count(2)
    assert operations.last("approve") == {"mode": "approve"}


def test_a_stash_that_lost_scenes_waits_for_approval_without_a_preview(
    open_page: Open, operations: Operations
) -> None:
    reason = "Stash shows 3 of the 2,934 scenes that PlexSync knows"
    operations.state["approval"] = {"count": 2931, "reason": reason, "kind": "fewer_scenes"}
    note = open_page().locator(".plexsync-warn")
    expect(note).to_contain_text(reason)
    assert note.get_by_role("button").all_inner_texts() == ["Go on", "Keep as it is"]


def test_it_can_be_paused_and_resumed(open_page: Open, operations: Operations) -> None:
    page = open_page()
    operations.answers["pause"] = lambda args: (
        operations.state.update(paused=args["on"]) or {"summary": "Paused", "ok": True}
    )
    press(page, "Pause")
    press(page, "Resume")
    expect(page.get_by_role("button", name="Pause", exact=True)).to_be_visible()
    assert [one["on"] for one in operations.asked if one["mode"] == "pause"] == [True, False]


def test_waiting_edits_wake_a_worker_once(open_page: Open, operations: Operations) -> None:
    operations.state.update(must_wake=True, waiting=3)
    page = open_page()
    expect(page.locator(".plexsync-line")).to_contain_text("3 scenes are being synced")
    wait_for(page, lambda: "wake" in operations.modes())
    press(page, "Pause")
    expect(page.get_by_text("pause: done")).to_be_visible()
    assert operations.modes().count("wake") == 1


def test_any_page_of_stash_wakes_the_worker(open_page: Open, operations: Operations) -> None:
    operations.state.update(must_wake=True)
    page = open_page("/")
    expect(page.get_by_role("link", name="PlexSync")).to_be_visible()
    wait_for(page, lambda: "wake" in operations.modes())


def test_since_when_the_worker_is_awake_or_asleep(open_page: Open, operations: Operations) -> None:
    operations.state["worker"] = {"alive": True, "since": 1.0}
    page = open_page()
    expect(page.locator(".plexsync-awake")).to_contain_text("PlexSync is awake since")
    operations.state["worker"] = {"alive": False, "left_at": 1.0, "left_because": "Stash is gone"}
    press(page, "Pause")
    expect(page.locator(".plexsync-awake")).to_contain_text("(Stash is gone).")


def test_an_error_of_a_look_is_one_sentence_and_can_be_tried_again(
    open_page: Open, operations: Operations
) -> None:
    operations.answers["page state"] = "history.db can't be read: disk I/O error"
    page = open_page()
    expect(page.get_by_role("alert")).to_contain_text("history.db can't be read: disk I/O error")
    del operations.answers["page state"]
    press(page, "Try again")
    expect(page.locator(".plexsync-line")).to_contain_text("up to date")


def test_the_navigation_bar_shows_how_many_need_the_user(
    open_page: Open, operations: Operations
) -> None:
    operations.needs = [need(1), need(2)]
    page = open_page("/")
    link = page.get_by_role("link", name="PlexSync: 2 scenes need you")
    expect(link).to_have_text("2")
    assert [one.get("view") for one in operations.asked] == ["count"], "nothing else is asked"
    link.click()
    expect(page).to_have_url(re.compile("/plugins/plexsync$"))
    expect(page.get_by_role("heading", name="PlexSync")).to_be_visible()


def test_it_polls_only_while_it_is_seen(open_page: Open, operations: Operations) -> None:
    page = open_page()
    expect(page.locator(".plexsync-line")).to_be_visible()
    page.clock.install()
    page.reload()
    expect(page.locator(".plexsync-line")).to_be_visible()
    looks = _looks(operations)
    page.clock.run_for(10_500)
    wait_for(page, lambda: _looks(operations) == looks + 1)
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true})")
    page.clock.run_for(60_000)
    for _ in range(3):  # whatever was asked before these has arrived too
        page.evaluate("window.PlexSync.call({mode: 'page', view: 'badges'})")
    assert _looks(operations) == looks + 1


def _looks(operations: Operations) -> int:
    return sum(one.get("view") == "state" for one in operations.asked)


def test_a_library_on_a_legacy_agent_is_asked_about_once(
    open_page: Open, operations: Operations
) -> None:
    library = {"section": 2, "name": "Films", "agent": "com.plexapp.agents.old", "is_legacy": True}
    operations.state["legacy"] = [{**library, "locks": False, "answer": None}]
    operations.answers["library_origin"] = lambda args: (
        {"summary": "", "ok": True, "changed": 3, "fields": {"genre": 3}, "scenes": [],
         "removed": {"genre": 1204}, "items_with_removed": 312}
        if args.get("preview")
        else operations.state["legacy"][0].update(answer=args["answer"])
        or {"summary": "Noted", "ok": True}
    )  # fmt: skip
    page = open_page()
    note = page.locator(".plexsync-warn")
    expect(note).to_contain_text("legacy agent com.plexapp.agents.old")
    expect(note).to_contain_text("'Lock what is written' is off")
    press(page, "Show what would go if from Stash")
    expect(note).to_contain_text("Names would go from 312 items: Genres: 1,204")
    press(page, "All from Stash")
    expect(note).to_contain_text("Take out of Plex what Stash does not have?")
    note.get_by_role("group").get_by_role("button", name="All from Stash").click()
    expect(page.get_by_text("Library 'Films': its lists come from Stash.")).to_be_visible()
    expect(note).to_have_count(0)
    given = [one for one in operations.asked if one["mode"] == "library_origin"]
    asked = {"mode": "library_origin", "section": 2, "answer": "stash"}
    assert given == [{**asked, "preview": True}, asked]
