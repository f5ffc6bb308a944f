"""The system's Chromium, driven by Playwright; one for all tests of a process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from tests.browser.libraries import are_installed

#: If set, the browser tests must run: without a browser they fail instead of being skipped.
VARIABLE = "PLEXSYNC_NEED_BROWSER"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
#: It may reach this machine only, and calls nobody by itself.
_OPTIONS = (
    "--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-sync",
    "--disable-component-update", "--disable-default-apps", "--disable-dev-shm-usage",
    "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)  # fmt: skip


def executable() -> str | None:
    """Return the path of the system's browser."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


def why_not() -> str:
    """Return why the browser tests can't run, or ""."""
    if executable() is None:
        return "no Chromium is installed"
    if not are_installed():
        return "the host page's libraries are missing (make test installs them, with npm)"
    return ""


def is_needed() -> bool:
    """Return whether a missing browser is a failure."""
    return bool(os.environ.get(VARIABLE))


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start the browser; close it at the end."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=list(_OPTIONS))
        try:
            yield browser
        finally:
            browser.close()
