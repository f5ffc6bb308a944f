"""Words for counts and records."""

from __future__ import annotations

from collections.abc import Mapping

from history.records import Status

#: Status, as `--reason` takes it: how lists and counts show it to a user.
STATUS_WORDS = {
    Status.BASELINE: "not synced yet",
    Status.IN_SYNC: "in sync",
    Status.WRITTEN: "in sync",
    Status.NOT_IN_PLEX: "not in Plex",
    Status.AMBIGUOUS: "ambiguous",
    Status.FAILED: "failed",
    Status.REFUSED: "refused by Plex in part",
    Status.SKIPPED: "skipped",
    Status.IGNORED: "ignored",
    Status.HELD: "held back",
}
#: Type of error of a dead letter: how lists and counts show it to a user.
ERROR_WORDS = {
    "AmbiguousMatch": "ambiguous",
    "PlexNotFound": "not in Plex",
    "PlexTemporaryError": "Plex failed",
    "PlexPermanentError": "refused by Plex",
    "StashUnavailable": "Stash failed",
    "PermanentError": "missing or invalid data",
    "WorkerDied": "PlexSync's worker died",
}


def error_words(error_type: str) -> str:
    """Return the words for a type of error; name an unknown type itself."""
    return ERROR_WORDS.get(error_type, f"unexpected error ({error_type})")


def counted(counts: Mapping[str, int]) -> str:
    """Return counts by status or type of error in words, such as "7 not in Plex, 2 ambiguous"."""
    found: dict[str, int] = {}
    for name, count in counts.items():
        words = _words(name)
        found[words] = found.get(words, 0) + count
    return ", ".join(f"{count} {words}" for words, count in found.items() if count)


def _words(name: str) -> str:
    try:
        return STATUS_WORDS[Status(name)]
    except ValueError:
        return error_words(name)
