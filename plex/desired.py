"""Compute each Plex field's value from a scene of Stash, for the fields that are synced."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from plex.items import format_rating
from plex.names import unique
from validation.config import PlexSyncConfig
from validation.metadata import SyncMetadata
from validation.sanitizers import sanitize_for_plex

#: Bytes of one edit, which is all URL: Plex refuses one of 33 kB (400).
LONGEST_REQUEST = 28_000
#: Bytes that a character takes in a URL at most.
LONGEST_CHARACTER = 12

_SWITCH_OF = {
    "title": "title", "summary": "details", "originallyAvailableAt": "date", "year": "date",
    "studio": "studio", "userRating": "rating", "actor": "performers", "genre": "tags",
    "director": "performers", "collection": "collections",
}  # fmt: skip


@dataclass(frozen=True)
class Switches:
    """Which fields to write, and how."""

    title: bool = True
    details: bool = True
    date: bool = True
    studio: bool = True
    performers: bool = True
    tags: bool = True
    collections: bool = True
    poster: bool = True
    rating: bool = False
    lock: bool = True
    preserve: bool = False
    repair: bool = True
    replace_lists: bool = False


def switches_of(config: PlexSyncConfig) -> Switches:
    """Return what the settings say about writing."""
    return Switches(
        title=config.sync_title,
        details=config.sync_details,
        date=config.sync_date,
        studio=config.sync_studio,
        performers=config.sync_performers,
        tags=config.sync_tags,
        collections=config.sync_collections,
        poster=config.sync_poster,
        rating=config.sync_rating,
        lock=config.lock_fields,
        preserve=config.preserve_plex_edits,
        repair=config.repair_drift,
        replace_lists=config.replace_lists,
    )


def texts(metadata: SyncMetadata, stem: str, switches: Switches) -> list[tuple[str, str]]:
    """Return (Plex field, what Stash says) of each text that is synced.

    Args:
        stem: the file name's stem, the title of a scene without one.
    """
    rating = format_rating(None if metadata.rating100 is None else metadata.rating100 / 10)
    fields = (
        ("title", metadata.title or sanitize_for_plex(stem)),
        ("summary", _fitting_summary(metadata.details)),
        ("originallyAvailableAt", metadata.day or ""),
        ("year", str(metadata.year or "")),
        ("studio", metadata.studio),
        ("userRating", rating),
    )
    # Without a title and a visible file name, the title in Plex is better than none.
    return [one for one in fields if _is_on(switches, one[0]) and (one[1] or one[0] != "title")]


def lists(metadata: SyncMetadata, switches: Switches) -> list[tuple[str, tuple[str, ...]]]:
    """Return (Plex tag kind, names that Stash says) of each list that is synced."""
    directors = (metadata.director,) if metadata.director else ()
    studio = (metadata.studio,) if metadata.studio else ()
    fields = (
        ("actor", metadata.performers),
        ("director", directors),
        ("genre", metadata.tags),
        ("collection", (*metadata.groups, *studio)),
    )
    return [(name, unique(names)) for name, names in fields if _is_on(switches, name)]


def _is_on(switches: Switches, name: str) -> bool:
    return bool(getattr(switches, _SWITCH_OF[name]))


def _fitting_summary(summary: str) -> str:
    """Cut a summary that is too long for a request of its own."""
    longest = LONGEST_REQUEST - 1_000
    if len(summary) * LONGEST_CHARACTER <= longest:
        return summary
    while (length := len(quote(summary, safe=""))) > longest:
        shorter = int(len(summary) * min(longest / length, 0.99))
        summary = sanitize_for_plex(summary, shorter, keep_newlines=True)
    return summary
