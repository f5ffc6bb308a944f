"""Words for what is stored under the names of exceptions."""

from __future__ import annotations

#: Type of error, as `--reason` takes it: how lists and counts show it to a user.
ERROR_WORDS = {
    "AmbiguousMatch": "ambiguous",
    "PlexNotFound": "not in Plex",
    "PlexTemporaryError": "Plex failed",
    "PlexPermanentError": "refused by Plex",
    "StashUnavailable": "Stash failed",
    "PermanentError": "missing or invalid data",
}


def error_words(error_type: str) -> str:
    """Return the words for a type of error; name an unknown type itself."""
    return ERROR_WORDS.get(error_type, f"unexpected error ({error_type})")


def counted(counts: dict[str, int]) -> str:
    """Return counts by type of error in words, such as "7 not in Plex, 2 ambiguous"."""
    return ", ".join(f"{count} {error_words(error)}" for error, count in counts.items())
