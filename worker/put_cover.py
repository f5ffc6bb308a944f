"""Upload a cover that the user's browser has scaled down, as Plex refused Stash's own."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from contextlib import suppress
from dataclasses import replace

from common.files import read_private
from history.changes import CONFIRMED, DROPPED, TAKEN
from history.fields import FieldState
from history.records import ART, POSTER, Agreement
from plex.exceptions import REFUSALS_OF_A_VALUE, PlexPermanentError
from plex.items import PlexItem
from worker.parts import Parts
from worker.refusals import reason_of, refuse_poster, status_of

#: Folder of pictures that wait: one file per scene, in base64.
FOLDER = "covers"
#: Bytes of a picture, and how a JPEG begins.
MOST = 4_000_000
_JPEG = b"\xff\xd8\xff"

NOT_SYNCED = "the scene is not synced with an item in Plex"
NO_PICTURE = "its picture is not there any more"


def picture_of(text: str) -> bytes:
    """Return a JPEG that is given in base64.

    Raises:
        ValueError: it is none, or too large.
    """
    if len(text) > 2 * MOST:
        raise ValueError(f"it is larger than {MOST // 1_000_000} MB")
    try:
        picture = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("it is not base64") from error
    if len(picture) > MOST:
        raise ValueError(f"it is larger than {MOST // 1_000_000} MB")
    if not picture.startswith(_JPEG):
        raise ValueError("it is not a JPEG")
    return picture


def file_of(data_dir: str, scene_id: int) -> str:
    """Return where a scene's picture waits."""
    return os.path.join(data_dir, FOLDER, f"{scene_id}.jpeg.base64")


def put_cover(parts: Parts, scene_id: int) -> dict[str, str]:
    """Upload the picture that waits for a scene, to its items in the Plex in use.

    Returns:
        Why it was not uploaded, by field; empty: it was.

    Raises:
        SettingsError, PlexTemporaryError, PlexPermanentError
        StashUnavailable, StashRefused, StashQueryError
    """
    assert parts.data_dir is not None
    file = file_of(parts.data_dir, scene_id)
    try:
        picture = picture_of(read_private(file))
    except (OSError, ValueError):
        return {POSTER: NO_PICTURE}
    parts.plex.identify()
    rows = [
        row
        for row in parts.history.of_scene(scene_id)
        if row.has_item and row.server == parts.plex.server
    ]
    items = {one.rating_key: one for one in parts.plex.read([row.rating_key for row in rows])}
    left = {POSTER: NOT_SYNCED}
    in_stash = _sha1_in_stash(parts, scene_id) if items else ""
    for row in rows:
        item = items.get(row.rating_key)
        if item is not None and row.path in ("", *item.paths):
            left = _put(parts, row, item, POSTER, picture, in_stash)
            if row.fields.get(ART, FieldState()).refused:
                row = next(one for one in parts.history.of_scene(scene_id) if one.id == row.id)
                left |= _put(parts, row, item, ART, picture, in_stash)
    with suppress(OSError):
        os.unlink(file)
    return left


def _sha1_in_stash(parts: Parts, scene_id: int) -> str:
    """Return the SHA-1 of Stash's cover; "": it has none.

    Raises:
        StashUnavailable, StashRefused, StashQueryError
    """
    scene = parts.stash.find_scene(scene_id) if parts.stash is not None else None
    if parts.stash is None or scene is None:
        return ""
    cover = parts.stash.fetch_cover(scene).picture
    return _sha1(cover) if cover else ""


def _sha1(picture: bytes) -> str:
    return hashlib.sha1(picture, usedforsecurity=False).hexdigest()


def _put(
    parts: Parts, row: Agreement, item: PlexItem, name: str, picture: bytes, in_stash: str
) -> dict[str, str]:
    client, history, now = parts.plex.client(), parts.history, parts.env.time()
    sha1 = _sha1(picture)
    state, shown = row.fields.get(name, FieldState()), client.selected_picture(item, name)
    if state.before is None:
        state = replace(state, before=shown, was_locked=name in item.locked)
    if not shown.endswith(f"/{sha1}"):  # else a kill came before it was recorded
        with history.transaction():
            row = history.save(row.with_field(name, state))
            history.changes.note(row, {name: (shown, sha1)}, TAKEN, now)
    outcome, cover = CONFIRMED, row.cover_of(name)
    try:
        client.upload_picture(item, name, picture)
        state = replace(state, ours=sha1, refused=False, why="", kept=False, held=False, take=False)
        # It stands in for Stash's: the one that was refused, or that was never to be uploaded.
        cover = replace(cover, sha1=str(state.wanted or in_stash or sha1))
    except PlexPermanentError as error:
        if error.status not in REFUSALS_OF_A_VALUE:
            raise
        refused = str(state.wanted or sha1)
        state, outcome = refuse_poster(state, refused, len(picture), error), DROPPED
    fields = {**row.fields, name: state}
    status = status_of(fields, is_written=row.verify_at is not None)
    with history.transaction():
        row = history.save(
            replace(row, fields=fields, status=status, reason=reason_of(fields)).with_cover(
                name, cover
            )
        )
        history.changes.settle(row, {name: outcome})
    return {} if outcome == CONFIRMED else {name: state.why}
