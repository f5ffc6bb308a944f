"""Lists and counts show plain words, not the names of exceptions."""

from __future__ import annotations

import pytest

from plex.exceptions import PlexNotFound, PlexPermanentError, PlexTemporaryError
from plex.matcher import AmbiguousMatch
from stash.client import StashUnavailable
from tasks.wording import ERROR_WORDS, counted, error_words
from validation.errors import PermanentError


@pytest.mark.parametrize(
    "error",
    [
        AmbiguousMatch,
        PlexNotFound,
        PlexTemporaryError,
        PlexPermanentError,
        StashUnavailable,
        PermanentError,
    ],
)
def test_the_usual_errors_have_plain_words(error: type[Exception]) -> None:
    assert error_words(error.__name__) == ERROR_WORDS[error.__name__]


def test_an_unknown_error_keeps_its_name_for_a_bug_report() -> None:
    assert error_words("ZeroDivisionError") == "unexpected error (ZeroDivisionError)"


def test_counts_are_one_line() -> None:
    counts = {"PlexNotFound": 7, "AmbiguousMatch": 2}
    assert counted(counts) == "7 not in Plex, 2 ambiguous"
    assert counted({}) == ""
