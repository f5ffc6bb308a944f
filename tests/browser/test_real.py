"""The page with PlexSync itself behind it: real operations, hooks and workers, started by Stash."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from common.sqlite import connect
from history.records import Agreement, Status
from history.store import History
from tests.browser.conftest import Open
from tests.browser.libraries import modules
from tests.browser.support import fold_out, press, wait_for
from tests.harness.base import PLUGIN, TOKEN
from tests.harness.installation import ProcessHarness
from tests.simulators.stash import StashSimulator


@pytest.fixture
def harness(tmp_path: Path, browser: Browser) -> Iterator[ProcessHarness]:
    with ProcessHarness(tmp_path, stash_options={"host_modules": modules()}) as harness:
        yield harness
    harness.check()


@pytest.fixture
def stash(harness: ProcessHarness) -> StashSimulator:
    """The harness's Stash, for `open_page`."""
    return harness.stash


def tab(page: Page, stash: StashSimulator, scene_id: int) -> None:
    """Open the tab *Plex* of a scene's own page."""
    page.goto(f"{stash.url}/scenes/{scene_id}")
    page.get_by_role("tab", name="Plex").click()


def test_from_nothing_to_the_first_synced_scene(open_page: Open, harness: ProcessHarness) -> None:
    scene, item = harness.pair("one", details="Some details")
    harness.stash.set_plugin_settings(PLUGIN, {})
    page = open_page()
    page.get_by_label("Plex address").fill(harness.plex.url)
    page.get_by_label("Plex token").fill("x" * 20)
    expect(page.locator(".plexsync-tried .plexsync-bad")).to_contain_text("token")
    page.get_by_label("Plex token").fill(TOKEN)
    expect(page.get_by_text("Connected to")).to_be_visible()
    press(page, "Next")
    page.get_by_role("checkbox", name=re.compile("^Scenes")).check()
    press(page, "Next")
    press(page, "Use this")
    expect(page.get_by_text("1 of 1 scenes tried are found in Plex.")).to_be_visible()
    press(page, "Next")
    press(page, "Save, and sync the first scene")
    expect(page.get_by_role("heading", name="The first scene is in Plex")).to_be_visible()
    assert (item.title, item.summary) == (scene.title, "Some details")
    expect(page.get_by_role("row", name=re.compile("Title"))).to_contain_text(scene.title)
    press(page, "Go to the page")
    expect(page.locator(".plexsync-line")).to_be_visible()
    assert TOKEN not in page.content()


def test_an_ambiguous_scene_is_chosen(open_page: Open, harness: ProcessHarness) -> None:
    scene, item = harness.pair("one")
    twin = harness.plex.add_item(
        harness.plex.add_library("Others", [harness.plex_folder]), item.path, size=100
    )
    harness.save(scene, "Chosen")
    page = open_page("/")
    expect(page.get_by_role("link", name="Stash")).to_be_visible()
    wait_for(page, lambda: harness.letters())
    page.get_by_role("link", name="PlexSync").click()
    press(page, "Choose")
    cards = page.locator(".plexsync-cards > li")
    expect(cards).to_have_count(2)
    cards.filter(has_text="Others").get_by_role("button").click()
    expect(page.get_by_text("Nothing needs you.")).to_be_visible()
    assert (twin.title, item.title == "Chosen") == ("Chosen", False)


def test_an_outage_is_one_sentence_and_nothing_is_lost(
    open_page: Open, harness: ProcessHarness
) -> None:
    scene, item = harness.pair("one")
    harness.save(scene, "Before")
    harness.wait_for_title(item, "Before")
    harness.plex.stop()
    harness.save(scene, "After")
    page = open_page()

    def is_told() -> bool:
        page.reload()
        expect(page.get_by_role("button", name="Pause")).to_be_visible()
        return page.get_by_role("alert").count() > 0

    wait_for(page, is_told)
    expect(page.get_by_role("alert")).to_contain_text("Plex")
    harness.plex.start()
    harness.wait_for_title(item, "After")


def test_a_wrong_token_leads_to_the_setup(open_page: Open, harness: ProcessHarness) -> None:
    scene, _ = harness.pair("one")
    harness.configure(plex_token="y" * 20)
    harness.save(scene, "Title")
    page = open_page()

    def is_told() -> bool:
        page.reload()
        expect(page.get_by_role("heading", name="PlexSync")).to_be_visible()
        expect(page.get_by_text("PlexSync …").or_(page.get_by_text("Loading …"))).to_have_count(0)
        return page.get_by_role("button", name="Set it up").count() > 0

    wait_for(page, is_told)
    expect(page.get_by_role("alert").first).to_contain_text("token")


def test_two_thousand_failed_scenes_are_pages(open_page: Open, harness: ProcessHarness) -> None:
    scene, item = harness.pair("one")
    harness.save(scene, "Title")
    harness.wait_for_title(item, "Title")
    harness.wait_for_empty_queue()
    harness.stop_worker()
    with closing(connect(str(harness.data_dir / "history.db"))) as database:
        History(database).save_all(
            Agreement(number, Status.FAILED, "no answer within 30 s", checked_at=1.0)
            for number in range(1000, 3000)
        )
    page = open_page()
    expect(page.get_by_text("1 to 25 of 2,000")).to_be_visible()
    assert page.locator(".plexsync-row").count() == 25
    press(page, "Next")
    expect(page.get_by_text("26 to 50 of 2,000")).to_be_visible()


def test_a_run_is_undone(open_page: Open, harness: ProcessHarness) -> None:
    scene, item = harness.pair("one")
    before = item.title
    harness.save(scene, "Ours")
    harness.wait_for_title(item, "Ours")
    harness.wait_for_empty_queue()
    page = open_page()
    fold_out(page, "Today")
    line = page.locator(".plexsync-run")
    line.get_by_role("button", name="Show").click()
    expect(line.get_by_role("row", name=re.compile("Title"))).to_contain_text("Ours")
    line.get_by_role("button", name="Undo all").click()
    line.get_by_role("group").get_by_role("button", name="Undo", exact=True).click()
    harness.wait_for_title(item, before)

    def is_told() -> bool:
        tab(page, harness.stash, scene.id)
        line = page.get_by_role("row", name=re.compile("^Title"))
        expect(line).to_be_visible()
        return "not synced" in line.inner_text()

    wait_for(page, is_told)
