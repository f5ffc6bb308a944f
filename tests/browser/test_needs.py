"""*Needs you*: ambiguous, refused and failed scenes, ten thousand of them too."""

from __future__ import annotations

import base64

from playwright.sync_api import Page, expect

from tests.browser.canned import Operations, candidate, need
from tests.browser.conftest import Open
from tests.browser.support import press, wait_for
from tests.simulators.stash import StashSimulator

#: A red pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)


def ambiguous(operations: Operations) -> None:
    operations.needs = [
        need(1, "ambiguous", candidates=[candidate(11), candidate(12, "Other")], more_candidates=0)
    ]


def cleared(operations: Operations) -> dict[str, object]:
    operations.needs = []
    return {"summary": "Scene 1 is in sync", "ok": True}


def test_a_row_has_title_folder_reason_and_buttons(open_page: Open, operations: Operations) -> None:
    operations.needs = [need(1), need(2, "refused", fields=["poster"])]
    rows = open_page().locator(".plexsync-row")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("A film <b>1</b>")  # a stranger's text is only a text
    expect(rows.nth(0)).to_contain_text("/data/films")
    expect(rows.nth(0)).to_contain_text("why 1")
    expect(rows.nth(1)).to_contain_text("Plex did not take: Poster")
    assert rows.nth(0).get_by_role("button").all_inner_texts() == ["Retry", "Ignore"]


def test_candidates_stand_side_by_side_and_one_is_chosen(
    open_page: Open, operations: Operations
) -> None:
    ambiguous(operations)
    operations.answers["resync"] = lambda _: cleared(operations)
    page = open_page()
    press(page, "Choose")
    cards = page.locator(".plexsync-cards > li")
    expect(cards).to_have_count(2)
    for text in ("Other", "/media/other/a film 12.mp4", "1.4 GB", "30:30"):
        expect(cards.nth(1)).to_contain_text(text)
    press(page, "This one: /media/other/a film 12.mp4")
    expect(page.get_by_text("Nothing needs you.")).to_be_visible()
    assert operations.last("resync") == {"mode": "resync", "scene_id": 1, "rating_key": "12"}


def test_both_and_neither(open_page: Open, operations: Operations) -> None:
    ambiguous(operations)
    page = open_page()
    press(page, "Choose")
    press(page, "Both")
    wait_for(page, lambda: "resync" in operations.modes())
    assert operations.last("resync")["rating_key"] == "both"
    press(page, "Neither: leave the scene alone")
    wait_for(page, lambda: "ignore" in operations.modes())
    assert operations.last("ignore") == {"mode": "ignore", "scene_id": 1}


def test_posters_of_candidates_come_as_data_in_one_call(
    open_page: Open, operations: Operations
) -> None:
    ambiguous(operations)
    data = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    operations.answers["pictures"] = {"pictures": {"1:11": data, "1:12": "https://elsewhere/x"}}
    page = open_page()
    press(page, "Choose")
    expect(page.get_by_alt_text("Poster in Plex")).to_have_count(1)  # no address, only data
    asked = [one["items"] for one in operations.asked if one["mode"] == "pictures"]
    assert asked == [["1:11", "1:12"]]


def test_retry_and_ignore_name_the_scene(open_page: Open, operations: Operations) -> None:
    operations.needs = [need(3)]
    page = open_page()
    press(page, "Retry")
    press(page, "Ignore")
    wait_for(page, lambda: len(operations.modes()) == 2)
    assert operations.last("retry") == {"mode": "retry", "scene_id": 3}
    assert operations.last("ignore") == {"mode": "ignore", "scene_id": 3}


def test_a_cover_is_scaled_down_in_the_browser_and_sent_as_jpeg(
    open_page: Open, operations: Operations, stash: StashSimulator
) -> None:
    stash.set_cover(1, PNG)
    operations.needs = [need(1, "refused", fields=["poster"])]
    page = open_page()
    press(page, "Scale the cover down")
    expect(page.get_by_text("put_cover: done")).to_be_visible()
    sent = operations.last("put_cover")
    assert sent["scene_id"] == 1
    assert base64.b64decode(sent["data"])[:3] == b"\xff\xd8\xff"


def test_what_an_operation_refuses_is_said_beside_its_button(
    open_page: Open, operations: Operations
) -> None:
    operations.needs = [need(1)]
    operations.answers["retry"] = "Plex is down: connection refused"
    page = open_page()
    press(page, "Retry")
    expect(page.locator(".plexsync-row")).to_contain_text("Plex is down: connection refused")
    expect(page.get_by_role("button", name="Retry", exact=True)).to_be_enabled()


def test_ten_thousand_rows_are_pages_of_few(open_page: Open, operations: Operations) -> None:
    operations.needs = [need(number, reason="x") for number in range(1, 10_001)]
    page = open_page()
    expect(page.get_by_text("1 to 25 of 10,000")).to_be_visible()
    expect(page.locator(".plexsync-toggle .badge")).to_have_text("10,000")
    assert rows(page) == 25
    press(page, "Next")
    expect(page.get_by_text("26 to 50 of 10,000")).to_be_focused()
    press(page, "Previous")
    expect(page.get_by_text("1 to 25 of 10,000")).to_be_visible()
    assert rows(page) == 25


def test_scenes_that_stash_has_no_longer_are_shown_all_the_same(
    open_page: Open, operations: Operations
) -> None:
    operations.needs = [need(99), {**need(1), "scene_id": None}]
    page = open_page()
    expect(page.get_by_text("Scene 99 (not in Stash any more)")).to_be_visible()
    expect(page.get_by_text("An edit without a scene")).to_be_visible()


def test_only_one_kind_is_shown_and_retried(open_page: Open, operations: Operations) -> None:
    operations.needs = [need(1), need(2, "ambiguous")]
    page = open_page()
    page.get_by_label("Show").select_option("failed")
    expect(page.locator(".plexsync-row")).to_have_count(1)
    press(page, "Retry all")
    page.get_by_role("group", name="Sync this scene again?").get_by_role(
        "button", name="Retry all"
    ).click()
    wait_for(page, lambda: "retry" in operations.modes())
    assert operations.last("retry") == {"mode": "retry", "reason": "failed"}


def rows(page: Page) -> int:
    return page.locator(".plexsync-row").count()
