"""One scene: in *Find a scene*, and in the tab on the scene's own page."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.canned import NOW, Operations, candidate, field
from tests.browser.conftest import Open
from tests.browser.support import fold_out, press, wait_for


@pytest.fixture
def scene(operations: Operations) -> dict[str, Any]:
    """A scene with an item whose fields differ in their states."""
    fields = [
        field("title", "A film", "A film", actions=["undo"]),
        field("summary", "Ours", "Theirs", "kept", why="kept: changed in Plex on 3 May",
              last={"by": "person", "at": NOW}, actions=["take_stash"]),
        field("genre", ["Birds", "River"], ["Birds"], "refused", why="Plex does not take it",
              actions=["take_stash", "keep_plex"]),
    ]  # fmt: skip
    item = {
        "agreement": 5, "rating_key": 11, "section": 1, "library": "Scenes", "path": "/media/a.mp4",
        "plex_url": "http://127.0.0.1:9/web", "status": "in_sync", "reason": "", "checked_at": NOW,
        "synced_at": NOW, "fields": fields, "cover": field("", "cover of 3 May", "cover of 3 May"),
    }  # fmt: skip
    del item["cover"]["name"]
    answer = {
        "scene_id": 1, "status": "in_sync", "reason": "", "at": NOW, "choice": [11],
        "is_ignored": False, "items": [item], "candidates": [candidate(11), candidate(12)],
    }  # fmt: skip
    operations.answers["page scene"] = answer
    return answer


def test_the_tab_on_a_scenes_page_shows_its_item_and_a_row_per_field(
    open_page: Open, operations: Operations, scene: dict[str, Any]
) -> None:
    page = open_page("/scenes/1")
    expect(page.get_by_role("tab", name="Plex")).to_be_visible()
    assert operations.asked == [], "the tab costs nothing until it is opened"
    page.get_by_role("tab", name="Plex").click()
    rows = page.locator(".plexsync-fields tbody tr")
    expect(rows).to_have_count(4)
    expect(rows.nth(1)).to_contain_text("kept: changed in Plex on 3 May")
    expect(rows.nth(1)).to_contain_text("last by a person in Plex")
    expect(rows.nth(2)).to_contain_text("refused")
    expect(rows.nth(3)).to_contain_text("Poster")
    link = page.get_by_role("link", name="Open in Plex")
    assert link.get_attribute("href") == "http://127.0.0.1:9/web"
    assert operations.asked[0] == {"mode": "page", "view": "scene", "scene_id": 1}


@pytest.mark.parametrize(
    ("label", "sent"),
    [
        ("Take Stash's: Summary", {"mode": "take", "field": "summary", "from": "stash"}),
        ("Keep Plex's: Genres", {"mode": "take", "field": "genre", "from": "plex"}),
        ("Undo: Title", {"mode": "undo", "field": "title"}),
    ],
)
def test_each_field_can_be_decided(
    open_page: Open, operations: Operations, scene: dict[str, Any], label: str, sent: dict[str, Any]
) -> None:
    page = open_page("/scenes/1")
    page.get_by_role("tab", name="Plex").click()
    press(page, label)
    wait_for(page, lambda: operations.modes() == [sent["mode"]])
    given = operations.last(sent["mode"])
    assert given["scene_id"] == 1
    assert sent.items() <= given.items()
    assert given.get("agreement", 5) == 5


def test_sync_choose_another_and_ignore(
    open_page: Open, operations: Operations, scene: dict[str, Any]
) -> None:
    operations.answers["ignore"] = lambda given: scene.update(is_ignored=not given.get("off"))
    page = open_page("/scenes/1")
    page.get_by_role("tab", name="Plex").click()
    press(page, "Sync now")
    wait_for(page, lambda: operations.modes() == ["resync"])
    press(page, "Choose another")
    expect(page.locator(".plexsync-cards > li").nth(0)).to_contain_text("chosen")
    press(page, "This one: /media/scenes/a film 12.mp4")
    wait_for(page, lambda: operations.modes() == ["resync", "resync"])
    assert operations.last("resync")["rating_key"] == "12"
    press(page, "Ignore")
    press(page, "Sync it again")
    wait_for(page, lambda: len(operations.modes()) == 4)
    assert operations.last("ignore") == {"mode": "ignore", "scene_id": 1, "off": True}


def test_the_items_of_a_scene_that_has_one_are_looked_up(
    open_page: Open, operations: Operations, scene: dict[str, Any]
) -> None:
    scene.update(candidates=[], choice=[])
    files = [{"path": "/media/b.mp4", "size": 700}]
    found = [{"rating_key": key, "section": 1, "library": "B", "files": files} for key in (11, 14)]
    operations.answers["candidates"] = {"summary": "", "ok": True, "candidates": found}
    page = open_page("/scenes/1")
    page.get_by_role("tab", name="Plex").click()
    press(page, "Choose another")
    cards = page.locator(".plexsync-cards > li")
    expect(cards.nth(0)).to_contain_text("chosen")
    expect(cards.nth(1)).to_contain_text("/media/b.mp4")
    cards.nth(1).get_by_role("button").click()
    wait_for(page, lambda: "resync" in operations.modes())
    assert operations.last("resync")["rating_key"] == "14"


def test_a_scene_that_is_not_in_plex_says_so(open_page: Open, operations: Operations) -> None:
    operations.answers["page scene"] = {"status": "not_in_plex", "reason": "", "items": []}
    page = open_page("/scenes/1")
    page.get_by_role("tab", name="Plex").click()
    expect(page.get_by_text("No item in Plex has this scene's file.")).to_be_visible()


def test_an_address_that_is_no_web_address_is_no_link(
    open_page: Open, operations: Operations, scene: dict[str, Any]
) -> None:
    scene["items"][0]["plex_url"] = "javascript:alert(1)"
    page = open_page("/scenes/1")
    page.get_by_role("tab", name="Plex").click()
    expect(page.get_by_text("/media/a.mp4")).to_be_visible()
    expect(page.get_by_role("link", name="Open in Plex")).to_have_count(0)


def test_a_scene_is_found_by_its_title_and_by_its_number(
    open_page: Open, operations: Operations, scene: dict[str, Any]
) -> None:
    page = open_page()
    fold_out(page, "Find a scene")
    search = page.get_by_label("Title, file or number of a scene")
    search.fill("film")
    expect(page.locator(".plexsync-found")).to_have_count(3)
    search.fill("2")
    expect(page.locator(".plexsync-found")).to_have_count(1)
    page.locator(".plexsync-found").click()
    expect(page.locator(".plexsync-fields tbody tr")).to_have_count(4)
    assert operations.last_look("scene")["scene_id"] == 2
    search.fill("no such scene")
    expect(page.get_by_text("Stash has no such scene.")).to_be_visible()
