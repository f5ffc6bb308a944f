"""What the browser tests share."""

from __future__ import annotations

import time
from collections.abc import Callable

from playwright.sync_api import Page

#: Seconds until a wait gives up; a busy machine takes its time.
_PATIENCE = 120.0


def press(page: Page, name: str) -> None:
    """Click a button."""
    page.get_by_role("button", name=name, exact=True).click()


def fold_out(page: Page, title: str) -> None:
    """Open a part of the page, if it is closed."""
    toggle = page.locator(".plexsync-toggle", has_text=title)
    if toggle.get_attribute("aria-expanded") != "true":
        toggle.click()


def wait_for(page: Page, condition: Callable[[], object]) -> None:
    """Wait until a condition on this side holds; the browser goes on meanwhile."""
    end = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never became true"
        page.wait_for_timeout(20)
