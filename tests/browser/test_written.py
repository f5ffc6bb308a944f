"""*Today*: what was written, and undone; *Changes*: what a sync would write."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.canned import NOW, Operations
from tests.browser.conftest import Open
from tests.browser.support import fold_out, press, wait_for
from tests.simulators.stash import Job, StashSimulator


def run(name: str, **more: Any) -> dict[str, Any]:
    return {
        "run": name, "cause": name.partition("-")[0], "text": "", "first_at": NOW - 60,
        "last_at": NOW, "scenes": 12, "fields": 40, "can_undo": True, **more,
    }  # fmt: skip


def change(number: int, field: str, before: Any, after: Any, **more: Any) -> dict[str, Any]:
    return {
        "change": number, "scene_id": 1, "rating_key": 11, "field": field, "before": before,
        "after": after, "at": NOW, "is_undone": False, "can_undo": True, **more,
    }  # fmt: skip


@pytest.fixture
def written(operations: Operations) -> Operations:
    operations.answers["page changes"] = {
        "runs": [run("saved-2026-05-03"), run("sync-3", scenes=2934, fields=20_000)], "next": None,
    }  # fmt: skip
    operations.answers["page run"] = {
        "rows": [
            change(1, "title", "file 1", "A film"),
            change(2, "genre", ["Birds"], ["Birds", "River"], is_undone=True, can_undo=False),
        ],
        "next": None,
    }
    return operations


def test_runs_are_lines_that_fold_out(open_page: Open, written: Operations) -> None:
    page = open_page()
    fold_out(page, "Today")
    lines = page.locator(".plexsync-run")
    expect(lines).to_have_count(2)
    expect(lines.nth(0)).to_contain_text("Saved in Stash")
    expect(lines.nth(1)).to_contain_text("2,934 scenes, 20,000 fields")
    lines.nth(0).get_by_role("button", name="Show").click()
    rows = lines.nth(0).locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("file 1")
    expect(rows.nth(1)).to_contain_text("undone")
    assert written.last_look("run")["run"] == "saved-2026-05-03"


def test_a_field_a_scene_and_a_run_are_undone(open_page: Open, written: Operations) -> None:
    page = open_page()
    fold_out(page, "Today")
    first = page.locator(".plexsync-run").nth(0)
    first.get_by_role("button", name="Show").click()
    press(page, "Undo Title of A film <b>1</b>")
    wait_for(page, lambda: written.modes() == ["undo"])
    assert written.last("undo") == {"mode": "undo", "change": 1}
    press(page, "Undo scene")
    page.get_by_role("group").get_by_role("button", name="Undo scene").click()
    wait_for(page, lambda: len(written.modes()) == 2)
    assert written.last("undo") == {"mode": "undo", "scene_id": 1}
    first.get_by_role("button", name="Undo all").click()
    first.get_by_role("button", name="Cancel").click()
    assert len(written.modes()) == 2, "nothing is undone without a second click"
    first.get_by_role("button", name="Undo all").click()
    first.get_by_role("group").get_by_role("button", name="Undo", exact=True).click()
    wait_for(page, lambda: len(written.modes()) == 3)
    assert written.last("undo") == {"mode": "undo", "run": "saved-2026-05-03"}


def test_who_leaves_sees_first_what_removing_would_do(open_page: Open, written: Operations) -> None:
    written.answers["remove"] = {"summary": "2,934 scenes would change", "ok": True}
    page = open_page()
    fold_out(page, "Today")
    press(page, "Remove PlexSync from Plex …")
    expect(page.get_by_role("button", name="Remove", exact=True)).to_have_count(0)
    press(page, "Show what would change")
    expect(page.get_by_text("2,934 scenes would change")).to_be_visible()
    assert written.last("remove") == {"mode": "remove", "preview": True}
    press(page, "Remove")
    expect(page.get_by_role("group", name="Write everything back?")).to_be_visible()


# --- what would change

PREVIEW = {
    "summary": "", "ok": True, "changed": 2, "in_sync": 2900, "not_found": 12, "ambiguous": 0,
    "skipped": 0, "fields": {"title": 1, "poster": 1, "genre": 1}, "locked": {"title": 1},
    "kept": {"summary": 3}, "new": {"collection": 1, "genre": 0}, "poster_bytes": 1,
    "scenes": [
        {"scene_id": 1, "item": "file 1 (Scenes)", "kept": ["summary"], "fields": {
            "title": {"from": "file 1", "to": "A film"}, "poster": {"from": "", "to": "x"}}},
        {"scene_id": 2, "item": "file 2 (Scenes)", "kept": [],
         "fields": {"genre": {"from": [], "to": ["Birds"]}}},
    ],
}  # fmt: skip


def test_a_preview_begins_with_sums_and_goes_on_field_by_field(
    open_page: Open, operations: Operations
) -> None:
    operations.answers["preview_all"] = PREVIEW
    page = open_page()
    fold_out(page, "Changes")
    press(page, "Preview all scenes")
    expect(page.get_by_text("2 would change · 2,900 in sync · 12 not in Plex")).to_be_visible()
    expect(page.locator(".plexsync-sumtable tbody tr")).to_have_count(3)
    expect(page.get_by_text("New in Plex: Collections: 1")).to_be_visible()
    changes = page.locator(".plexsync-changed")
    expect(changes.nth(0)).to_contain_text("Stay as in Plex: Summary")
    expect(changes.nth(0).locator("img.plexsync-cover")).to_have_count(1)
    expect(changes.nth(1).locator("td").nth(1)).to_have_text("Birds")


def test_ticked_scenes_are_synced_one_after_another(
    open_page: Open, operations: Operations
) -> None:
    operations.answers["preview"] = PREVIEW
    page = open_page()
    fold_out(page, "Changes")
    press(page, "Preview the last 24 hours")
    page.get_by_role("checkbox", name="Sync A film <b>2</b>").check()
    press(page, "Sync the ticked scene")
    expect(page.get_by_text("One scene synced.")).to_be_visible()
    assert operations.last("resync") == {"mode": "resync", "scene_id": 2}


def test_a_preview_can_be_stopped(
    open_page: Open, operations: Operations, complaints: list[str]
) -> None:
    hold = threading.Event()
    operations.answers["preview_all"] = lambda _: hold.wait(60) and PREVIEW
    page = open_page()
    fold_out(page, "Changes")
    press(page, "Preview all scenes")
    wait_for(page, lambda: "preview_all" in operations.modes())
    press(page, "Stop")
    expect(page.get_by_text("Stopped. Nothing was written.")).to_be_visible()
    hold.set()


def test_twenty_scenes_are_tried_and_undone(open_page: Open, operations: Operations) -> None:
    operations.answers["try"] = {"summary": "20 scenes synced", "ok": True, "run": "try-1"}
    page = open_page()
    fold_out(page, "Changes")
    press(page, "Try 20 scenes")
    expect(page.get_by_text("20 scenes synced")).to_be_visible()
    assert operations.last("try") == {"mode": "try", "count": 20}
    press(page, "Undo these")
    wait_for(page, lambda: "undo" in operations.modes())
    assert operations.last("undo") == {"mode": "undo", "run": "try-1"}


def test_sync_all_is_a_task_with_progress_and_a_working_stop(
    open_page: Open, operations: Operations, stash: StashSimulator
) -> None:
    names: list[str | None] = []

    def wait(job: Job) -> None:
        job.cancelled.wait(60)

    def start_task(plugin_id: str, task_name: str | None, *_: object) -> object:
        names.append(task_name)
        return stash.jobs.submit("Sync all scenes", wait)

    stash.plugins.start_task = start_task  # type: ignore[method-assign, assignment]
    page = open_page()
    fold_out(page, "Changes")
    press(page, "Sync all scenes")
    page.get_by_role("group").get_by_role("button", name="Sync all scenes").click()
    expect(page.get_by_role("progressbar", name="Sync all scenes")).to_be_visible()
    press(page, "Stop")
    expect(page.get_by_text("Stopped.")).to_be_visible()
    assert names == ["Sync all scenes"]
