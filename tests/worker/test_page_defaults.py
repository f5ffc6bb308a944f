"""Defaults on Stash's settings page: written again where a page in a browser wiped them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stash.client import StashClient
from stash.connection import StashConnection
from tests.harness.clock import FakeClock
from tests.simulators.stash import StashSimulator
from tests.simulators.stash.events import server_connection
from validation.config import default_settings
from worker.page_defaults import PageDefaults

TYPED = {"plex_url": "http://127.0.0.1:1"}
MINUTE = 60.0


class Page:
    """A settings page, and what looks at it."""

    def __init__(self, stash: StashSimulator, folder: Path) -> None:
        self.stash, self.folder = stash, folder
        self.clock = FakeClock()
        server = server_connection(port=stash.server.port, cookie=stash.cookie())
        self.client = StashClient(lambda: StashConnection(server))

    def look(self, after: float = 0.0) -> None:
        """Read the page as a new process does."""
        self.clock.advance(after)
        PageDefaults(self.client, str(self.folder), self.clock).look(self.client.plugin_settings())

    def type(self, **settings: Any) -> None:
        """Store a browser's own copy, as typing into a field does."""
        self.stash.set_plugin_settings("PlexSync", settings)

    @property
    def is_complete(self) -> bool:
        return set(default_settings()) <= set(self.client.plugin_settings())

    @property
    def writes(self) -> int:
        return sum(b"configurePlugin" in one.request.body for one in self.stash.log.all())


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    (tmp_path / "plugins").mkdir()
    with StashSimulator(tmp_path / "plugins") as stash:
        yield Page(stash, tmp_path)


def test_the_first_look_writes_them(page: Page) -> None:
    page.look()
    assert page.is_complete


def test_what_typing_wiped_is_written_again_when_the_page_rests(page: Page) -> None:
    """The README's own order: install, then type the address without loading the page anew."""
    page.look()
    page.type(**TYPED)
    for _ in range(5):  # the first look sees the change; then it must rest for a minute
        page.look(10)
        assert not page.is_complete
    page.type(**TYPED, plex_token="secret-of-the-owner")
    page.look(MINUTE)
    assert set(page.client.plugin_settings()) == {"plex_url", "plex_token"}, "it changed since"
    page.look(MINUTE)
    assert page.client.plugin_settings() == {
        **default_settings(),
        **TYPED,
        "plex_token": "secret-of-the-owner",
    }
    assert "secret-of-the-owner" not in (page.folder / "settings_page.json").read_text()


def test_never_over_a_value(page: Page) -> None:
    page.type(sync_title=False, max_retries=0, plex_url="")
    page.look()
    found = page.client.plugin_settings()
    assert (found["sync_title"], found["max_retries"], found["plex_url"]) == (False, 0, "")


def test_at_most_three_times_a_day(page: Page) -> None:
    for _ in range(6):
        page.type(**TYPED)
        page.look(MINUTE)
        page.look(MINUTE)
    assert page.writes == 3
    page.clock.advance(90_000)
    page.look()
    page.look(MINUTE)
    assert page.is_complete


def test_a_value_typed_right_before_the_write_stays(page: Page) -> None:
    defaults = PageDefaults(page.client, str(page.folder), page.clock)
    old = page.client.plugin_settings()
    page.type(**TYPED)
    defaults.look(old)
    assert page.client.plugin_settings() == TYPED
    page.look()
    page.look(MINUTE)
    assert page.client.plugin_settings() == {**default_settings(), **TYPED}


def test_what_is_wiped_right_after_the_write_must_rest_anew(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.type(**TYPED)
    page.look()
    page.type(**TYPED)
    page.look()
    configure = page.client.configure_plugin

    def configure_while_somebody_types(settings: dict[str, Any], *_: object) -> None:
        configure(settings)
        page.type(**TYPED, plex_token="typed right after")

    monkeypatch.setattr(page.client, "configure_plugin", configure_while_somebody_types)
    page.clock.advance(MINUTE)
    PageDefaults(page.client, str(page.folder), page.clock).look(page.client.plugin_settings())
    assert page.writes == 2
    monkeypatch.undo()
    page.look(MINUTE / 2)
    assert page.writes == 2
    page.look(MINUTE / 2)
    assert page.is_complete, "a minute after the last change, not after two"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"written": 5}'])
def test_a_broken_record_is_begun_anew(page: Page, content: str) -> None:
    (page.folder / "settings_page.json").write_text(content)
    page.look()
    assert page.is_complete
