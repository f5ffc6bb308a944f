"""Fixtures: a browser, Stash's host page with the plugin, and canned operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.canned import Operations
from tests.browser.chromium import is_needed, open_browser, why_not
from tests.browser.libraries import modules
from tests.harness.plugin import install_plugin
from tests.simulators.stash import StashSimulator

#: Milliseconds until a step of a test gives up; a busy machine takes its time.
PATIENCE = 120_000

expect.set_options(timeout=PATIENCE)

Open = Callable[..., Page]

#: A test that breaks something on purpose adds this to the complaints: some come late.
EXPECTED = "complaints are expected"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests of this process."""
    reason = why_not()
    if reason:
        (pytest.fail if is_needed() else pytest.skip)(f"browser tests: {reason}")
    with open_browser() as opened:
        yield opened


@pytest.fixture
def stash(tmp_path: Path, browser: Browser) -> Iterator[StashSimulator]:
    """Stash with PlexSync installed, its host page, and some scenes."""
    install_plugin(tmp_path / "plugins" / "PlexSync")
    with StashSimulator(tmp_path / "plugins", host_modules=modules()) as stash:
        for number in range(1, 4):
            stash.add_scene(
                f"A film <b>{number}</b>", files=[(f"/data/films/film {number}.mp4", 100)]
            )
        yield stash


@pytest.fixture
def operations(stash: StashSimulator) -> Operations:
    """Canned answers instead of PlexSync.py."""
    operations = Operations()
    stash.plugins.run_operation = operations  # type: ignore[method-assign]
    return operations


@pytest.fixture
def complaints() -> list[str]:
    """What the browser's console said: nothing, in a good test."""
    return []


@pytest.fixture
def open_page(browser: Browser, stash: StashSimulator, complaints: list[str]) -> Iterator[Open]:
    """Return a function that opens an address of Stash in a new window."""
    contexts = []

    def open_(path: str = "/plugins/plexsync", **options: Any) -> Page:
        options = {"viewport": {"width": 1100, "height": 800}, **options}
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda line: complaints.append(line.text) if line.type == "error" else None,
        )
        page.goto(f"{stash.url}{path}")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == [] or EXPECTED in complaints
