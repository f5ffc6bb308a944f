"""Upload scenes' covers as posters: when they changed, and when Plex has dropped one of ours."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from common.env import Env
from history.fields import FieldState
from history.records import POSTER, UNKNOWN_COVER, Agreement, CoverState
from history.store import History
from plex.exceptions import REFUSALS_OF_A_VALUE, PlexPermanentError
from plex.items import PlexItem
from plex.plan import may_repair
from plex.session import PlexSession
from queue.timestamps import parse_time
from stash.client import StashClient, address_of_cover
from stash.records import Cover, Scene
from worker.refusals import refuse_poster
from worker.target import SyncTarget


class Covers:
    """The covers of one Stash, for one Plex."""

    def __init__(
        self, plex: PlexSession, stash: StashClient | None, history: History, env: Env
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            stash: None: covers are left alone.
        """
        self._plex = plex
        self._stash = stash
        self._history = history
        self._env = env

    def is_wanted(self, target: SyncTarget, item: PlexItem, row: Agreement) -> bool:
        """Return whether the scene's cover may have to be uploaded.

        The cover's address carries updated_at (1 s resolution); after that second, by Stash's own
        clock, the same address means the same cover.
        """
        scene, switches, intent, cover = target.scene, target.switches, target.intent, row.cover
        if self._stash is None or scene is None or not switches.poster or not scene.cover:
            return False
        poster = row.fields.get(POSTER, FieldState())
        if poster.held or poster.take:
            return poster.take
        if not cover.sha1 and item.has_poster:  # the poster there is not ours
            if switches.preserve:
                return False
            if POSTER in item.locked and not (intent.saved or intent.force):
                return False
        if (
            cover.final
            and cover.source == address_of_cover(scene)
            and not _tries_again(target, row)
        ):
            return bool(cover.sha1) and self._may_repair(target, item, row)
        return True

    def preview(self, target: SyncTarget, item: PlexItem, row: Agreement) -> bytes | None:
        """Return the picture that would be uploaded, or None."""
        if target.scene is None or not self.is_wanted(target, item, row):
            return None
        cover = self._fetch(target.scene, item, row)
        is_new = self._is_new(target, item, row, cover)
        return cover.picture if is_new and not self._is_persons(target, item, row) else None

    def compare(self, target: SyncTarget, item: PlexItem, row: Agreement) -> Agreement | None:
        """Return the record with the cover as it is in Stash; None: it would be uploaded.

        Only the picture tells: Stash has an address for each scene, with a cover or without.
        """
        scene = target.scene
        if scene is None or not self.is_wanted(target, item, row):
            return row
        cover = self._fetch(scene, item, row)
        if cover.picture and self._is_new(target, item, row, cover):
            if not self._is_persons(target, item, row):
                return None
            row = _kept(row, _sha1(cover.picture))
        return replace(_taken(row), cover=_seen(row.cover, scene, cover))

    def upload(
        self, target: SyncTarget, scene: Scene, item: PlexItem, row: Agreement
    ) -> tuple[Agreement, bool, bool]:
        """Upload the scene's cover if it is another than the last one.

        Returns:
            (the record afterwards, whether a poster went up, whether that cover is final: it was
            read after the second of the scene's last change)
        """
        cover, state = self._fetch(scene, item, row), row.cover
        uploaded = False
        if cover.picture and self._is_new(target, item, row, cover):
            if self._is_persons(target, item, row):
                row = _kept(row, sha1=_sha1(cover.picture))
            else:
                row = self._record(target, item, row, _sha1(cover.picture))
                poster = self._try(item, row, cover.picture)
                row = replace(row, fields={**row.fields, POSTER: poster})
                uploaded = not poster.refused
            if uploaded:
                state = replace(state, sha1=_sha1(cover.picture))
        row, state = _taken(row), _seen(state, scene, cover)
        return replace(row, cover=state), uploaded, state.final or cover.at is None

    def _record(self, target: SyncTarget, item: PlexItem, row: Agreement, sha1: str) -> Agreement:
        """Record what Plex shows before an upload; return the record.

        It is on disk before the upload, as afterwards nobody could tell.
        """
        shown = self._plex.client().selected_poster(item)
        if shown.endswith(f"/{sha1}"):  # ours already: a kill came before it was recorded
            return row
        poster = row.fields.get(POSTER, FieldState())
        if poster.before is None:  # for good: what Plex showed before our first upload
            poster = replace(poster, before=shown, was_locked=POSTER in item.locked)
        with self._history.transaction():
            row = self._history.save(replace(row, fields={**row.fields, POSTER: poster}))
            self._history.changes.note(
                row, {POSTER: (shown, sha1)}, target.run, self._env.time(),
                repaired=[POSTER] if sha1 == row.cover.sha1 else (),
            )  # fmt: skip
        return row

    def _try(self, item: PlexItem, row: Agreement, picture: bytes) -> FieldState:
        """Upload a picture; return the poster's state, which tells whether Plex took it."""
        poster, sha1 = row.fields.get(POSTER, FieldState()), _sha1(picture)
        try:
            self._plex.client().upload_poster(item, picture)
        except PlexPermanentError as error:
            if error.status not in REFUSALS_OF_A_VALUE:
                raise
            return refuse_poster(poster, sha1, len(picture), error)
        repairs = poster.repairs + 1 if sha1 == row.cover.sha1 else 0
        return replace(
            poster, wanted=sha1, repairs=repairs, repaired_at=self._env.time(), refused=False,
            why="", kept=False, take=False, ours=None,
        )  # fmt: skip

    def _is_persons(self, target: SyncTarget, item: PlexItem, row: Agreement) -> bool:
        """Return whether a person chose another poster after ours, and it is to be preserved.

        The key of an upload ends in the picture's SHA-1.
        """
        if row.fields.get(POSTER, FieldState()).take:
            return False
        if not target.switches.preserve or target.intent.force or not row.cover.sha1:
            return False
        selected = self._plex.client().selected_poster(item)
        ours = row.fields.get(POSTER, FieldState()).ours or row.cover.sha1
        return bool(selected) and not selected.endswith(f"/{ours}")

    def _is_new(self, target: SyncTarget, item: PlexItem, row: Agreement, cover: Cover) -> bool:
        """Return whether a cover is to be uploaded."""
        if not cover.picture:
            return False
        sha1 = _sha1(cover.picture)
        poster = row.fields.get(POSTER, FieldState())
        if poster.refused and poster.wanted == sha1 and not _tries_again(target, row):
            return False
        return sha1 != row.cover.sha1 or poster.take or self._may_repair(target, item, row)

    def _may_repair(self, target: SyncTarget, item: PlexItem, row: Agreement) -> bool:
        """Return whether the same cover is uploaded again: without its lock Plex has dropped it."""
        state = row.fields.get(POSTER, FieldState())
        is_dropped = POSTER not in item.locked
        return is_dropped and may_repair(state, target.switches, self._env.time())

    def _fetch(self, scene: Scene, item: PlexItem, row: Agreement) -> Cover:
        assert self._stash is not None
        is_there = row.cover.sha1 not in ("", UNKNOWN_COVER) and POSTER in item.locked
        is_there = is_there and not row.fields.get(POSTER, FieldState()).take
        return self._stash.fetch_cover(scene, row.cover.etag if is_there else "")


def _kept(row: Agreement, sha1: str) -> Agreement:
    """Return the record with a person's poster that is kept instead of a picture."""
    poster = row.fields.get(POSTER, FieldState())
    return replace(row, fields={**row.fields, POSTER: replace(poster, wanted=sha1, kept=True)})


def _taken(row: Agreement) -> Agreement:
    """Return the record once Stash's cover was taken, or Stash has none."""
    poster = row.fields.get(POSTER)
    if poster is None or not poster.take:
        return row
    return replace(row, fields={**row.fields, POSTER: replace(poster, take=False)})


def _tries_again(target: SyncTarget, row: Agreement) -> bool:
    """Return whether a picture that Plex has refused is tried again."""
    poster, intent = row.fields.get(POSTER, FieldState()), target.intent
    return poster.refused and (intent.retry or intent.force)


def _seen(state: CoverState, scene: Scene, cover: Cover) -> CoverState:
    """Return the state of the cover once it was fetched."""
    changed_at = parse_time(scene.updated_at)
    is_final = cover.at is not None and changed_at is not None and cover.at >= changed_at
    return replace(state, source=address_of_cover(scene), etag=cover.etag, final=is_final)


def _sha1(cover: bytes) -> str:
    return hashlib.sha1(cover, usedforsecurity=False).hexdigest()
