"""PlexSync in Stash's page: it adds its parts, costs little, and never takes the page down."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.canned import Operations, need
from tests.browser.conftest import EXPECTED, Open
from tests.browser.support import fold_out
from tests.harness.plugin import ROOT
from tests.simulators.stash import StashSimulator


def test_the_button_in_tools_is_shown_once(open_page: Open, operations: Operations) -> None:
    page = open_page("/settings?tab=tools")
    link = page.locator(".setting").get_by_role("link", name="PlexSync")
    expect(link).to_have_count(1)
    link.click()
    expect(page).to_have_url(re.compile("/plugins/plexsync$"))


def test_a_page_of_stash_loads_one_small_script_and_asks_one_thing(
    open_page: Open, operations: Operations, stash: StashSimulator
) -> None:
    page = open_page("/scenes/1")
    expect(page.get_by_role("tab", name="Plex")).to_be_visible()
    expect(page.get_by_role("link", name="PlexSync")).to_have_count(1)
    paths = [one.request.path for one in stash.log.all() if "PlexSync" in one.request.path]
    assert sorted(paths) == ["/plugin/PlexSync/css", "/plugin/PlexSync/javascript"]
    assert (ROOT / "ui" / "plexsync.js").stat().st_size < 12_000, "every page of Stash waits for it"


@pytest.mark.parametrize("broken", ["Page", "SceneTab", "SettingsForm"])
def test_an_error_of_ours_leaves_stashs_page_alone(
    open_page: Open, operations: Operations, complaints: list[str], broken: str
) -> None:
    places = {"Page": "/plugins/plexsync", "SceneTab": "/scenes/1"}
    page = open_page("/")
    expect(page.get_by_role("link", name="PlexSync")).to_be_visible()
    page.evaluate(
        """name => Object.defineProperty(window.PlexSync.views, name, {
            set() {}, get: () => () => { throw new Error("broken on purpose"); }})""",
        broken,
    )
    page.evaluate(
        "path => { history.pushState({}, '', path); dispatchEvent(new PopStateEvent('popstate')) }",
        places.get(broken, "/settings?tab=plugins"),
    )
    if broken == "SceneTab":
        page.get_by_role("tab", name="Plex").click()
    if broken == "SettingsForm":  # then Stash's own form is there
        expect(page.locator(".plugin-settings")).to_contain_text("Plex address")
    else:
        expect(page.get_by_text("broken on purpose")).to_be_visible()
        expect(page.get_by_role("button", name="Try again")).to_be_visible()
    expect(page.get_by_role("link", name="Stash")).to_be_visible()
    assert any("broken on purpose" in line for line in complaints)
    complaints.append(EXPECTED)


def test_a_file_of_ours_that_is_missing_leaves_stashs_page_alone(
    open_page: Open, operations: Operations, complaints: list[str]
) -> None:
    page = open_page("/")
    page.route("**/assets/page.js*", lambda route: route.abort())
    page.get_by_role("link", name="PlexSync").click()
    expect(page.get_by_text("page.js can't be loaded")).to_be_visible()
    expect(page.get_by_role("link", name="Stash")).to_be_visible()
    complaints.append(EXPECTED)
    page.unroute("**/assets/page.js*")


def test_an_answer_of_another_shape_leaves_stashs_page_alone(
    open_page: Open, operations: Operations, complaints: list[str]
) -> None:
    operations.state["counts"] = None
    operations.state["folders"] = [1, {"x": 2}]
    operations.state["plex"] = "NAS"
    operations.answers["page needs"] = {"rows": [{"scene_id": "1; drop", "reason": {"a": 1}}]}
    operations.needs = [need(1)]
    page = open_page()
    expect(page.get_by_role("link", name="Stash")).to_be_visible()
    expect(
        page.get_by_role("heading", name="PlexSync").or_(page.get_by_role("alert"))
    ).to_be_visible()
    complaints.append(EXPECTED)


@pytest.mark.parametrize(
    "without",
    [
        "register.route,patch.instead,components.Setting",
        "patch.before",
        "register,patch",
        "libraries",
        "libraries.Bootstrap,libraries.ReactRouterDOM",
        "React",
    ],
)
def test_a_stash_without_a_part_of_the_api_goes_on(
    open_page: Open, operations: Operations, without: str
) -> None:
    page = open_page(f"/settings?tab=tools&without={without}")
    expect(page.get_by_role("heading", name="Scene Tools", exact=True)).to_be_visible()
    page.goto(page.url.replace("tab=tools", "tab=plugins"))
    expect(page.get_by_role("heading", name=re.compile(r"PlexSync \("))).to_be_visible()


def test_a_narrow_window_shows_everything_without_scrolling_sideways(
    open_page: Open, operations: Operations
) -> None:
    operations.needs = [need(1, reason="a_reason_that_is_one_long_word" * 8)]
    page = open_page(viewport={"width": 360, "height": 700})
    expect(page.locator(".plexsync-row")).to_be_visible()
    fold_out(page, "Setup")
    expect(page.get_by_label("Plex address")).to_be_visible()
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 360


def test_the_page_can_be_used_with_the_keyboard(open_page: Open, operations: Operations) -> None:
    page = open_page()
    toggle = page.get_by_role("button", name="Find a scene")
    toggle.focus()
    page.keyboard.press("Enter")
    expect(toggle).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Title, file or number of a scene")).to_be_focused()
    page.keyboard.type("film")
    expect(page.locator(".plexsync-found")).to_have_count(3)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".plexsync-found").first).to_have_attribute("aria-pressed", "true")
