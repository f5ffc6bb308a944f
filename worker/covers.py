"""Upload scenes' covers as posters: when they changed, and when Plex has dropped one of ours."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from common.env import Env
from history.fields import FieldState
from history.records import POSTER, UNKNOWN_COVER, Agreement, CoverState
from plex.items import PlexItem
from plex.plan import may_repair
from plex.session import PlexSession
from queue.timestamps import parse_time
from stash.client import StashClient, address_of_cover
from stash.records import Cover, Scene
from worker.target import SyncTarget


class Covers:
    """The covers of one Stash, for one Plex."""

    def __init__(self, plex: PlexSession, stash: StashClient | None, env: Env) -> None:
        """Prepare; nothing is sent yet.

        Args:
            stash: None: covers are left alone.
        """
        self._plex = plex
        self._stash = stash
        self._env = env

    def is_wanted(self, target: SyncTarget, item: PlexItem, row: Agreement) -> bool:
        """Return whether the scene's cover may have to be uploaded.

        The cover's address carries updated_at (1 s resolution); after that second, by Stash's own
        clock, the same address means the same cover.
        """
        scene, switches, intent, cover = target.scene, target.switches, target.intent, row.cover
        if self._stash is None or scene is None or not switches.poster or not scene.cover:
            return False
        if not cover.sha1 and item.has_poster:  # the poster there is not ours
            if switches.preserve:
                return False
            if POSTER in item.locked and not (intent.saved or intent.force):
                return False
        if cover.final and cover.source == address_of_cover(scene):
            return bool(cover.sha1) and self._may_repair(target, item, row)
        return True

    def preview(self, scene: Scene, item: PlexItem, row: Agreement) -> bytes | None:
        """Return the picture that would be uploaded, or None."""
        picture = self._fetch(scene, item, row).picture
        return picture if picture and _sha1(picture) != row.cover.sha1 else None

    def compare(self, target: SyncTarget, item: PlexItem, row: Agreement) -> Agreement | None:
        """Return the record with the cover as it is in Stash; None: it would be uploaded.

        Only the picture tells: Stash has an address for each scene, with a cover or without.
        """
        scene = target.scene
        if scene is None or not self.is_wanted(target, item, row):
            return row
        cover = self._fetch(scene, item, row)
        if self._is_new(target, item, row, cover):
            return None
        return replace(row, cover=_seen(row.cover, scene, cover))

    def upload(
        self, target: SyncTarget, scene: Scene, item: PlexItem, row: Agreement
    ) -> tuple[Agreement, bool, bool]:
        """Upload the scene's cover if it is another than the last one.

        Returns:
            (the record afterwards, whether a poster went up, whether that cover is final: it was
            read after the second of the scene's last change)
        """
        cover, poster, state = self._fetch(scene, item, row), row.fields.get(POSTER), row.cover
        sha1 = _sha1(cover.picture) if cover.picture else ""
        uploaded = False
        if cover.picture and self._is_new(target, item, row, cover):
            client = self._plex.client()
            if poster is None:  # for good: what Plex showed before our first upload
                poster = FieldState(before=client.selected_poster(item))
            client.upload_poster(item, cover.picture)
            repairs = poster.repairs + 1 if sha1 == state.sha1 else 0
            poster = replace(poster, repairs=repairs, repaired_at=self._env.time())
            row = replace(row, fields={**row.fields, POSTER: poster})
            state = replace(state, sha1=sha1)
            uploaded = True
        state = _seen(state, scene, cover)
        return replace(row, cover=state), uploaded, state.final or cover.at is None

    def _is_new(self, target: SyncTarget, item: PlexItem, row: Agreement, cover: Cover) -> bool:
        """Return whether a cover is to be uploaded."""
        if not cover.picture:
            return False
        return _sha1(cover.picture) != row.cover.sha1 or self._may_repair(target, item, row)

    def _may_repair(self, target: SyncTarget, item: PlexItem, row: Agreement) -> bool:
        """Return whether the same cover is uploaded again: without its lock Plex has dropped it."""
        state = row.fields.get(POSTER, FieldState())
        is_dropped = POSTER not in item.locked
        return is_dropped and may_repair(state, target.switches, self._env.time())

    def _fetch(self, scene: Scene, item: PlexItem, row: Agreement) -> Cover:
        assert self._stash is not None
        is_there = row.cover.sha1 not in ("", UNKNOWN_COVER) and POSTER in item.locked
        return self._stash.fetch_cover(scene, row.cover.etag if is_there else "")


def _seen(state: CoverState, scene: Scene, cover: Cover) -> CoverState:
    """Return the state of the cover once it was fetched."""
    changed_at = parse_time(scene.updated_at)
    is_final = cover.at is not None and changed_at is not None and cover.at >= changed_at
    return replace(state, source=address_of_cover(scene), etag=cover.etag, final=is_final)


def _sha1(cover: bytes) -> str:
    return hashlib.sha1(cover, usedforsecurity=False).hexdigest()
