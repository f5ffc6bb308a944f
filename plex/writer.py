"""Carries out edits on a plexapi item: one request for all text and tag fields, one more for a new poster."""

from __future__ import annotations

import hashlib
from typing import Any

from plex.edits import Edits, Switches, plan_edits, split_requests
from plex.exceptions import translated
from plex.memory import Written
from plex.paths import stem_of
from plex.records import PlexItem, read_item
from validation.metadata import SyncMetadata


def plan(item: PlexItem, metadata: SyncMetadata, written: Written, switches: Switches) -> Edits:
    """Return what there is to write; see `plex.edits.plan_edits`."""
    path = metadata.path or (item.files[0].path if item.files else "")
    return plan_edits(item, metadata, stem_of(path), written, switches)


def write_item(
    plex_item: Any, metadata: SyncMetadata, cover: bytes | None, written: Written, switches: Switches
) -> tuple[Edits, Written]:
    """Bring an item to what Stash says; return what was sent, and what is to be remembered.

    Args:
        plex_item: a plexapi item; if it comes from a listing it is read whole first.
        cover: a picture, or None when there is none or it is not to be looked at.
        written: what we wrote to this item before.

    Raises:
        PlexTemporaryError, PlexPermanentError, PlexNotFound
    """
    item = read_item(plex_item)
    edits = plan(item, metadata, written, switches)
    if edits.parameters:
        with translated():
            for parameters in split_requests(edits.parameters):
                plex_item.edit(**parameters)
    poster = _upload(plex_item, item, cover, written, switches)
    return edits, Written(item.rating_key, edits.fields, poster)


def _upload(plex_item: Any, item: PlexItem, cover: bytes | None, written: Written, switches: Switches) -> str | None:
    """Upload a cover that changed; return the hash of the one that Plex has from us now."""
    if not cover or not switches.poster:
        return written.cover
    digest = hashlib.sha1(cover, usedforsecurity=False).hexdigest()
    if digest == written.cover or (switches.preserve and item.has_poster and written.cover is None):
        return written.cover
    with translated():
        plex_item.uploadPoster(filepath=cover)
    return digest
