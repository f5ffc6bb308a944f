"""Tell Plex's own form of a value from another value."""

from __future__ import annotations

import pytest

from plex.forms import is_form_of

LONG = "A summary that is longer than what Plex keeps of it"


@pytest.mark.parametrize(
    ("shown", "sent"),
    [
        ("A title", "A title..."),
        ("Jane Doe", "jane doe"),
        ("Sci Fi", "Sci-Fi"),
        ("Emile", "Émile"),
        ("two lines", "two\n\nlines"),
        (LONG[:30], LONG),
        (f"{LONG[:30].rstrip()}…", LONG),
        ("8.0", "7.3"),
        ("8.0", "7.0"),
        ("6.0", "7.0"),
        ("0.0", "0.9"),
        ("2024-05-06 00:00:00"[:10], "2024-05-06"),
    ],
)
def test_a_form_of_what_was_sent(shown: str, sent: str) -> None:
    assert is_form_of(shown, sent)


@pytest.mark.parametrize(
    ("shown", "sent"),
    [
        ("", "A title"),
        ("A person's own", "A title"),
        ("A", "A title"),  # too short to be a cut
        ("Science Fiction", "Sci-Fi"),
        ("2.0", "7.3"),
        ("9.0", "8.0"),  # whole stars need no rounding
        ("7.0", "8.0"),
        ("9.0", "8.5"),  # not whole stars
        ("8", "7"),
        ("2025", "2024"),
        ("!", "?"),
        ("", ""),
    ],
)
def test_another_value(shown: str, sent: str) -> None:
    assert not is_form_of(shown, sent)
