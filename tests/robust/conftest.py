"""Fixtures: an installation, and help to damage its files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.installation import ProcessHarness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ProcessHarness]:
    """Stash, Plex and PlexSync; no worker is alive yet."""
    with ProcessHarness(tmp_path, settings={"sync_poster": False}) as harness:
        yield harness
