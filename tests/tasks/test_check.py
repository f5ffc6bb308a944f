"""*Check setup*: what it says about Stash's version."""

from __future__ import annotations

import pytest

from tasks.check import lacks_page


@pytest.mark.parametrize(
    ("version", "is_old"),
    [
        ("v0.27.2", True),
        ("0.9.0", True),
        ("v0.28.0", False),
        ("v0.31.1-92-g0123abc", False),
        ("v1.0.0", False),
        ("unknown", False),
    ],
)
def test_a_stash_that_is_too_old_for_the_page_is_told(version: str, is_old: bool) -> None:
    assert lacks_page(version) is is_old
