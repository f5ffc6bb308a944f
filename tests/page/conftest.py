"""Fixtures: a data directory with something of everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.page.support import fill


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    fill(tmp_path / "data")
    return tmp_path / "data"
