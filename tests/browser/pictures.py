"""Take README's pictures: the real page, with the demo's scenes, in the system's Chromium.

`make pictures` writes them to docs/pictures/.
"""

from __future__ import annotations

import hashlib
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import PlexSync

PlexSync.host_queue_package()

from playwright.sync_api import Page, expect  # noqa: E402 - after the standard queue hosts ours

from tests.browser.chromium import open_browser, why_not  # noqa: E402
from tests.browser.libraries import modules  # noqa: E402
from tests.browser.support import fold_out  # noqa: E402
from tests.demo.catalogue import FIRST, SINGLES, TAGGED, TWIN  # noqa: E402
from tests.demo.harness import DemoHarness  # noqa: E402
from tests.isolation import private_home  # noqa: E402

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "pictures"
#: Bytes of a picture, at the most.
LIMIT = 200_000
_WIDTH, _HEIGHT = 1100, 720
_PATIENCE = 120.0


def main() -> int:
    """Take all pictures.

    Returns:
        The exit status.
    """
    reason = why_not()
    if reason:
        sys.stderr.write(f"No pictures: {reason}\n")
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        private_home(),
        tempfile.TemporaryDirectory(prefix="plexsync-pictures-") as folder,
        DemoHarness(Path(folder), stash_options={"host_modules": modules()}) as harness,
        open_browser() as browser,
    ):
        page = browser.new_page(viewport={"width": _WIDTH, "height": _HEIGHT})
        page.set_default_timeout(_PATIENCE * 1000)
        expect.set_options(timeout=_PATIENCE * 1000)
        harness.fill()
        _take_setup(harness, page)
        _edit(harness)
        _take_page(harness, page)
        _take_scene(harness, page)
        _take_changes(harness, page)
    return 0


def _edit(harness: DemoHarness) -> None:
    """Save scenes in Stash, change one in Plex, and wait until all is synced."""
    for sample, scene_id in harness.ids.items():
        harness.stash.set_cover(scene_id, cover(sample.name))
    for sample in (FIRST, *SINGLES, *TAGGED, TWIN):
        harness.save_sample(sample)
    samples = (FIRST, *SINGLES, *TAGGED)
    _wait(lambda: all(map(harness.in_sync, samples)) and harness.letters() and not harness.queued())
    harness.tag_in_plex(FIRST, "Watch again")
    harness.save_sample(FIRST, tags=("Birds", "Morning"))
    _wait(lambda: harness.in_sync(FIRST) and not harness.queued())


def _take_setup(harness: DemoHarness, page: Page) -> None:
    settings = dict(harness.stash.plugin_settings("PlexSync") or {})
    harness.stash.set_plugin_settings("PlexSync", {})
    page.goto(f"{harness.stash.url}/plugins/plexsync")
    page.get_by_label("Plex address").fill(harness.plex.url)
    page.get_by_label("Plex token").fill(harness.plex.token)
    expect(page.get_by_text("Connected to")).to_be_visible()
    page.get_by_role("button", name="Next").click()
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="Use this").first.click()
    expect(page.locator(".plexsync-mapping").first.locator(".text-success")).to_be_visible()
    _shoot(page, "setup", height=420)
    harness.stash.set_plugin_settings("PlexSync", settings)


def _take_page(harness: DemoHarness, page: Page) -> None:
    page.goto(f"{harness.stash.url}/plugins/plexsync")
    page.get_by_role("button", name="Choose", exact=True).click()
    expect(page.locator(".plexsync-cards .btn").first).to_be_visible()
    _shoot(page, "page", height=860)


def _take_scene(harness: DemoHarness, page: Page) -> None:
    page.goto(f"{harness.stash.url}/scenes/{harness.ids[FIRST]}")
    page.get_by_role("tab", name="Plex").click()
    expect(page.locator(".plexsync-fields")).to_be_visible()
    page.add_style_tag(content=".host-player { display: none; }")
    expect(page.locator("img.plexsync-poster")).to_be_visible()
    _shoot(page, "scene", height=760)


def _take_changes(harness: DemoHarness, page: Page) -> None:
    page.goto(f"{harness.stash.url}/plugins/plexsync")
    fold_out(page, "Today")
    page.locator(".plexsync-run").last.get_by_role("button", name="Show").click()
    expect(page.locator(".plexsync-fields tbody tr").first).to_be_visible()
    page.locator(".plexsync-part", has_text="Today").first.scroll_into_view_if_needed()
    page.locator(".plexsync-run").first.evaluate("row => window.scrollTo(0, row.offsetTop - 120)")
    _shoot(page, "today")


def _shoot(page: Page, name: str, height: int = _HEIGHT) -> None:
    page.set_viewport_size({"width": _WIDTH, "height": height})
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(0, 0)
    page.wait_for_timeout(700)  # pictures of the page are still on their way
    path = FOLDER / f"{name}.png"
    page.screenshot(path=path)
    size = path.stat().st_size
    assert size < LIMIT, f"{name} has {size} bytes"
    print(f"{path}: {size} bytes")


def _wait(condition: Callable[[], object]) -> None:
    end = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the scenes of the pictures were not synced")
        time.sleep(0.1)


def cover(text: str, width: int = 160, height: int = 90) -> bytes:
    """Return a PNG of two colours that the text decides."""
    seed = hashlib.sha256(text.encode()).digest()
    rows = bytearray()
    for y in range(height):
        rows.append(0)
        share = y / height
        colour = bytes(
            int((40 + seed[i] // 2) * (1 - share) + (30 + seed[i + 3] // 2) * share)
            for i in range(3)
        )
        rows += colour * width
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            _chunk(b"IDAT", zlib.compress(bytes(rows), 9)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


if __name__ == "__main__":
    sys.exit(main())
