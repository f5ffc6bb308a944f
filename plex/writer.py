"""Carries out edits on a plexapi item: one request for all text and tag fields, one more for a new poster."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

from plex.edits import Edits, Switches, plan_edits, split_requests
from plex.exceptions import translated
from plex.history import Written
from plex.paths import stem_of
from plex.records import PlexItem, read_item
from validation.metadata import SyncMetadata


def plan(item: PlexItem, metadata: SyncMetadata, written: Written, switches: Switches) -> Edits:
    """Return what there is to write; see `plex.edits.plan_edits`."""
    path = metadata.path or (item.files[0].path if item.files else "")
    return plan_edits(item, metadata, stem_of(path), written.settled(item.values), switches)


def write_item(
    plex_item: Any,
    metadata: SyncMetadata,
    written: Written,
    switches: Switches,
    remember: Callable[[Written], object],
) -> Edits:
    """Bring an item's texts and lists to what Stash says; return what was sent.

    Args:
        plex_item: a plexapi item; if it comes from a listing it is read whole first.
        written: what we wrote to this item before.
        remember: keeps what is written, on disk: before the write, as nobody may learn whether it got there, and
            after it.

    Raises:
        PlexTemporaryError, PlexPermanentError, PlexNotFound
    """
    item = read_item(plex_item)
    edits = plan(item, metadata, written, switches)
    if edits.parameters:
        remember(dataclasses.replace(written.settled(item.values), pending=edits.fields))
        with translated():
            for parameters in split_requests(edits.parameters):
                plex_item.edit(**parameters)
    after = dataclasses.replace(written, fields=edits.fields, pending=None)
    if edits.parameters or after != written:
        remember(after)
    return edits


def wants_poster(plex_item: Any, written: Written, switches: Switches) -> bool:
    """Whether a cover would be uploaded if it were another than the last one."""
    return switches.poster and not (
        switches.preserve and written.cover is None and read_item(plex_item).has_poster
    )


def is_new_poster(cover: bytes, written: Written) -> bool:
    """Whether a cover is another than the one that Plex has from us."""
    return _digest(cover) != written.cover


def upload_poster(plex_item: Any, cover: bytes, written: Written) -> Written:
    """Upload a cover unless it is the one that Plex has from us; return what is to be remembered.

    Raises:
        PlexTemporaryError, PlexPermanentError, PlexNotFound
    """
    digest = _digest(cover)
    if digest == written.cover:
        return written
    with translated():
        plex_item.uploadPoster(filepath=cover)
    return dataclasses.replace(written, cover=digest)


def _digest(cover: bytes) -> str:
    return hashlib.sha1(cover, usedforsecurity=False).hexdigest()
