"""Upload scenes' covers as posters and backgrounds, again when Plex has dropped one of ours."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from common.env import Env
from history.changes import DROPPED, SENT
from history.fields import FieldState
from history.records import ART, PICTURES, POSTER, UNKNOWN_COVER, Agreement, CoverState
from history.store import History
from plex.client import PlexClient
from plex.exceptions import REFUSALS_OF_A_VALUE, PlexPermanentError, PlexTemporaryError
from plex.items import PlexItem
from plex.plan import may_repair
from plex.session import PlexSession
from queue.timestamps import parse_time
from stash.client import StashClient, address_of_cover
from stash.records import Cover, Scene
from worker.refusals import refuse_poster
from worker.reporter import Reporter
from worker.target import SyncTarget

#: Why a picture of ours stays.
POSTER_GONE = "the former poster is not in Plex any more"
ART_GONE = "the former background is not in Plex any more"
ART_STAYS = "there was none before, and this version of Plex can't be left without one again"


@dataclass(frozen=True)
class Uploaded:
    """The outcome for the cover of one item."""

    row: Agreement
    #: pictures that Plex shows now: names of `PICTURES`
    sent: tuple[str, ...] = ()
    #: it was read after the second of the scene's last change
    is_final: bool = True


class Covers:
    """The covers of one Stash, for one Plex."""

    def __init__(
        self,
        plex: PlexSession,
        stash: StashClient | None,
        history: History,
        reporter: Reporter,
        env: Env,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            stash: None: covers are left alone.
        """
        self._plex = plex
        self._stash = stash
        self._history = history
        self._reporter = reporter
        self._env = env

    def is_wanted(self, target: SyncTarget, item: PlexItem, row: Agreement) -> bool:
        """Return whether the scene's cover may have to be uploaded, or taken away."""
        if _is_over(target, row) or self._in_doubt(target, row):
            return True
        return bool(self._wanted(target, item, row))

    def preview(self, target: SyncTarget, item: PlexItem, row: Agreement) -> dict[str, bytes]:
        """Return name for the user → picture that would be uploaded; b"": it would go back."""
        found = {PICTURES[ART]: b""} if _is_over(target, row) else {}
        row, _ = self._resolve(target, item, row)
        names = self._wanted(target, item, row)
        if target.scene is None or not names:
            return found
        cover = self._fetch(target, target.scene, item, row, names)
        for name in names:
            is_new = self._is_new(target, item, row, cover, name)
            if cover.picture and is_new and not self._is_persons(target, item, row, name):
                found[PICTURES[name]] = cover.picture
        return found

    def compare(self, target: SyncTarget, item: PlexItem, row: Agreement) -> Agreement | None:
        """Return the record with the cover as it is in Stash; None: something would be sent.

        Only the picture tells: Stash has an address for each scene, with a cover or without.
        """
        if _is_over(target, row) or self._in_doubt(target, row):
            return None
        scene, names = target.scene, self._wanted(target, item, row)
        if scene is None or not names:
            return row
        cover = self._fetch(target, scene, item, row, names)
        for name in names:
            if cover.picture and self._is_new(target, item, row, cover, name):
                if not self._is_persons(target, item, row, name):
                    return None
                row = _kept(row, name, _sha1(cover.picture))
            row = _seen(_taken(row, name), name, scene, cover)
        return row

    def upload(self, target: SyncTarget, scene: Scene, item: PlexItem, row: Agreement) -> Uploaded:
        """Upload the scene's cover where it is another than the last one.

        It is fetched once for the poster and the background.
        """
        sent: list[str] = []
        if _is_over(target, row):
            row, is_back = self._take_back(target, item, row)
            sent += [ART] if is_back else []
        row, arrived = self._resolve(target, item, row)
        sent += arrived
        names = self._wanted(target, item, row)
        if not names:
            return Uploaded(row, tuple(sent))
        cover = self._fetch(target, scene, item, row, names)
        if cover.picture:  # which may have taken Stash long
            item = self._plex.renewed(item)
            row = self.note_left(target, item, row)
            names = self._wanted(target, item, row)
        for name in names:
            row, is_sent = self._put(target, item, row, cover, name)
            sent += [name] if is_sent and name not in sent else []
            row = _seen(_taken(row, name), name, scene, cover)
        is_final = cover.at is None or all(row.cover_of(name).final for name in names)
        return Uploaded(row, tuple(sent), is_final)

    def note_left(self, target: SyncTarget, item: PlexItem, row: Agreement) -> Agreement:
        """Return the record with the cover's address also where another's picture stays in Plex.

        Without it, each comparison would take the cover for an edit that was missed.
        """
        for name in self._switched_on(target):
            assert target.scene is not None
            source, cover = address_of_cover(target.scene), row.cover_of(name)
            is_unknown = not cover.sha1 and cover.source != source
            if is_unknown and not self._wants(target, item, row, name):
                # Not final: with other settings it may be uploaded.
                row = row.with_cover(name, replace(cover, source=source, final=False))
        return row

    def _switched_on(self, target: SyncTarget) -> list[str]:
        """Return the pictures of an item that the settings make of the cover."""
        if self._stash is None or target.scene is None or not target.scene.cover:
            return []
        on = {POSTER: target.switches.poster, ART: target.switches.art}
        return [name for name in PICTURES if on[name]]

    def _in_doubt(self, target: SyncTarget, row: Agreement) -> list[str]:
        """Return the pictures whose last upload may have arrived, though no answer did."""
        fields = row.fields
        return [name for name in self._switched_on(target) if name in fields and fields[name].sent]

    def _resolve(
        self, target: SyncTarget, item: PlexItem, row: Agreement
    ) -> tuple[Agreement, list[str]]:
        """Look whether uploads in doubt arrived; return the record, and the pictures that did."""
        arrived = []
        for name in self._in_doubt(target, row):
            shown = self._plex.client().selected_picture(item, name)
            arrived += [name] if has_arrived(row, name, shown) else []
            row = resolved(row, name, shown)
        return row, arrived

    def _wanted(self, target: SyncTarget, item: PlexItem, row: Agreement) -> list[str]:
        """Return the pictures of an item that the cover may have to become."""
        return [name for name in self._switched_on(target) if self._wants(target, item, row, name)]

    def _wants(self, target: SyncTarget, item: PlexItem, row: Agreement, name: str) -> bool:
        """Return whether the scene's cover may have to be uploaded.

        The cover's address carries updated_at (1 s resolution); after that second, by Stash's own
        clock, the same address means the same cover.
        """
        scene, intent, cover = target.scene, target.intent, row.cover_of(name)
        assert scene is not None
        state = row.fields.get(name, FieldState())
        if state.held or state.take:
            return state.take
        has_one = item.has_art if name == ART else item.has_poster
        if not cover.sha1 and has_one:  # the picture there is not ours
            if target.switches.preserve:
                return False
            if name in item.locked and not (intent.saved or intent.force):
                return False
        if (
            cover.final
            and cover.source == address_of_cover(scene)
            and not _tries_again(target, row, name)
        ):
            return bool(cover.sha1) and self._may_repair(target, item, row, name)
        return True

    def _put(
        self, target: SyncTarget, item: PlexItem, row: Agreement, cover: Cover, name: str
    ) -> tuple[Agreement, bool]:
        """Upload a cover if it is to be; return the record, and whether Plex shows it now."""
        if not cover.picture or not self._is_new(target, item, row, cover, name):
            return row, False
        sha1 = _sha1(cover.picture)
        if self._is_persons(target, item, row, name):
            return _kept(row, name, sha1), False
        row = self._record(target, item, row, name, sha1)
        state = self._try(target, item, row, name, cover.picture)
        row = row.with_field(name, state)
        return (row, False) if state.refused else (_uploaded(row, name, sha1), True)

    def _record(
        self, target: SyncTarget, item: PlexItem, row: Agreement, name: str, sha1: str
    ) -> Agreement:
        """Record what Plex shows before an upload, and what is sent; return the record.

        It is on disk before the upload: afterwards, neither the former picture nor that the new
        one is ours can be found out.
        """
        shown = self._plex.client().selected_picture(item, name)
        if shown.endswith(f"/{sha1}"):  # sent once more, as the user asks for it
            return row
        state = row.fields.get(name, FieldState())
        if state.before is None:  # for good: what Plex showed before our first upload
            state = replace(state, before=shown, was_locked=name in item.locked)
        state = replace(state, sent=sha1)
        with self._history.transaction():
            row = self._history.save(row.with_field(name, state))
            self._history.changes.note(
                row, {name: (shown, sha1)}, target.run, self._env.time(),
                repaired=[name] if sha1 == row.cover_of(name).sha1 else (),
            )  # fmt: skip
        return row

    def _try(
        self, target: SyncTarget, item: PlexItem, row: Agreement, name: str, picture: bytes
    ) -> FieldState:
        """Upload a picture; return the field's state, which tells whether Plex took it.

        An upload that failed at each attempt, though Plex is there, counts as refused.
        """
        state, sha1 = row.fields.get(name, FieldState()), _sha1(picture)
        client = self._plex.client()
        try:
            client.upload_picture(item, name, picture)
        except PlexPermanentError as error:
            if error.status not in REFUSALS_OF_A_VALUE:
                raise
            return refuse_poster(replace(state, sent=None), sha1, len(picture), error)
        except PlexTemporaryError as error:
            if not target.intent.is_last:
                raise
            client.get("/library")  # raises if it is Plex that fails
            return refuse_poster(state, sha1, len(picture), error)
        repairs = state.repairs + 1 if sha1 == row.cover_of(name).sha1 else 0
        return replace(state, repairs=repairs, repaired_at=self._env.time(), refused=False)

    def _take_back(
        self, target: SyncTarget, item: PlexItem, row: Agreement
    ) -> tuple[Agreement, bool]:
        """Give the background back what it was, as it is not synced any more; once for an item.

        Returns:
            The record, which knows of no background of ours any more; whether something was sent.
        """
        client = self._plex.client()
        selected = client.selected_picture(item, ART)
        row = resolved(row, ART, selected)
        state = row.fields.get(ART, FieldState())
        before = str(state.before or "")
        fields = {name: one for name, one in row.fields.items() if name != ART}
        after = replace(row, fields=fields, art=CoverState())
        changes = self._history.changes
        noted = changes.of_field(row.scene_id, row.id, ART)[-1:]
        is_noted = any(one.after == before and one.status == SENT for one in noted)
        if not is_ours(row, ART, selected):
            is_back = is_noted and selected == before  # else a person chose another one
            if is_back and ART in item.locked and not state.was_locked:
                client.edit(item, {f"{ART}.locked": 0})  # a kill came before it
            return after, is_back
        if not is_noted:
            changes.note(row, {ART: (selected, before)}, target.run, self._env.time())
        try:
            why = restore_picture(client, item, ART, before, was_locked=state.was_locked)
        except PlexPermanentError as error:
            if error.status not in REFUSALS_OF_A_VALUE:
                raise
            why = str(error)
        if why:
            changes.settle(row, {ART: DROPPED})
            self._reporter.notify_user(
                "warning",
                f"Scene {row.scene_id}, {item.title!r} in {item.library!r}: the cover stays as the"
                f" background: {why}",
            )
        return after, not why

    def _is_persons(self, target: SyncTarget, item: PlexItem, row: Agreement, name: str) -> bool:
        """Return whether a person chose another picture after ours, and it is to be preserved."""
        if row.fields.get(name, FieldState()).take:
            return False
        if not target.switches.preserve or target.intent.force or not row.cover_of(name).sha1:
            return False
        selected = self._plex.client().selected_picture(item, name)
        return bool(selected) and not is_ours(row, name, selected)

    def _is_new(
        self, target: SyncTarget, item: PlexItem, row: Agreement, cover: Cover, name: str
    ) -> bool:
        """Return whether a cover is to be uploaded."""
        if not cover.picture:
            return False
        sha1 = _sha1(cover.picture)
        state = row.fields.get(name, FieldState())
        if state.refused and state.wanted == sha1 and not _tries_again(target, row, name):
            return False
        last = row.cover_of(name).sha1
        if last == UNKNOWN_COVER and not target.intent.force:
            last = str(state.wanted or last)  # a re-sync that was to send it again did not
        return sha1 != last or state.take or self._may_repair(target, item, row, name)

    def _may_repair(self, target: SyncTarget, item: PlexItem, row: Agreement, name: str) -> bool:
        """Return whether the same cover is uploaded again: without its lock Plex has dropped it.

        A save brings it back whatever the settings, unless Plex still shows it; force does so also
        over the lock of a person's picture.
        """
        intent, is_locked = target.intent, name in item.locked
        state = row.fields.get(name, FieldState())
        if not is_locked and may_repair(state, target.switches, self._env.time()):
            return True
        if not intent.force and (is_locked or not intent.saved):
            return False
        return not is_ours(row, name, self._plex.client().selected_picture(item, name))

    def _fetch(
        self, target: SyncTarget, scene: Scene, item: PlexItem, row: Agreement, names: list[str]
    ) -> Cover:
        """Fetch the cover; if the same one would not be uploaded, only if it has changed."""
        assert self._stash is not None
        etags = {row.cover_of(name).etag for name in names}
        are_settled = all(_is_settled(target, item, row, name) for name in names)
        return self._stash.fetch_cover(
            scene, etags.pop() if are_settled and len(etags) == 1 else ""
        )


def is_ours(row: Agreement, name: str, selected: str) -> bool:
    """Return whether a picture that Plex shows is one of ours.

    The key of an upload ends in the picture's SHA-1.

    Args:
        selected: its key in Plex.
    """
    ours = sha1_in_plex(row, name)
    return bool(ours) and selected.endswith(f"/{ours}")


def sha1_in_plex(row: Agreement, name: str) -> str:
    """Return the SHA-1 of the picture of ours that Plex took last; "": none, or not known."""
    state, sha1 = row.fields.get(name, FieldState()), row.cover_of(name).sha1
    return str(state.ours or (state.wanted if sha1 == UNKNOWN_COVER else sha1) or "")


def has_arrived(row: Agreement, name: str, selected: str) -> bool:
    """Return whether Plex shows a picture of ours whose upload got no answer."""
    sent = row.fields.get(name, FieldState()).sent
    return bool(sent) and selected.endswith(f"/{sent}")


def resolved(row: Agreement, name: str, selected: str) -> Agreement:
    """Return the record once a look at Plex has shown whether an upload in doubt arrived."""
    state = row.fields.get(name)
    if state is None or not state.sent:
        return row
    if has_arrived(row, name, selected):
        return _uploaded(row.with_cover(name, CoverState()), name, str(state.sent))
    return row.with_field(name, replace(state, sent=None))


def restore_picture(
    client: PlexClient, item: PlexItem, name: str, before: str, *, was_locked: bool
) -> str:
    """Have Plex show a former picture, without our lock.

    Args:
        before: its key in Plex; "": there was none.

    Returns:
        Why the one of now stays; "": it does not.

    Raises:
        PlexTemporaryError, PlexPermanentError, PlexNotFound
    """
    if before:
        if before not in client.picture_keys(item, name):
            return ART_GONE if name == ART else POSTER_GONE
        client.select_picture(item, name, before)  # which locks
    elif name != ART:
        return POSTER_GONE
    elif not client.remove_art(item):
        return ART_STAYS
    if not was_locked:
        client.edit(item, {f"{name}.locked": 0})
    return ""


def _is_over(target: SyncTarget, row: Agreement) -> bool:
    """Return whether Plex shows a background of ours that is not synced any more."""
    state = row.fields.get(ART, FieldState())
    return bool(row.art.sha1 or state.sent) and not target.switches.art and not state.held


def _is_settled(target: SyncTarget, item: PlexItem, row: Agreement, name: str) -> bool:
    """Return whether only another cover in Stash would be uploaded."""
    is_known = row.cover_of(name).sha1 not in ("", UNKNOWN_COVER)
    takes = row.fields.get(name, FieldState()).take or target.intent.force
    return is_known and name in item.locked and not (takes or _tries_again(target, row, name))


def _uploaded(row: Agreement, name: str, sha1: str) -> Agreement:
    """Return the record of a cover that Plex took."""
    state = replace(
        row.fields.get(name, FieldState()), wanted=sha1, sent=None, refused=False, why="",
        kept=False, take=False, ours=None,
    )  # fmt: skip
    cover = replace(row.cover_of(name), sha1=sha1)
    return row.with_field(name, state).with_cover(name, cover)


def _kept(row: Agreement, name: str, sha1: str) -> Agreement:
    """Return the record with a person's picture that is kept instead of a cover."""
    state = row.fields.get(name, FieldState())
    return row.with_field(name, replace(state, wanted=sha1, kept=True))


def _taken(row: Agreement, name: str) -> Agreement:
    """Return the record once Stash's cover was taken, or Stash has none."""
    state = row.fields.get(name)
    if state is None or not state.take:
        return row
    return row.with_field(name, replace(state, take=False))


def _tries_again(target: SyncTarget, row: Agreement, name: str) -> bool:
    """Return whether a picture that Plex has refused is tried again."""
    state, intent = row.fields.get(name, FieldState()), target.intent
    return state.refused and (intent.retry or intent.force)


def _seen(row: Agreement, name: str, scene: Scene, cover: Cover) -> Agreement:
    """Return the record once the cover was fetched."""
    changed_at = parse_time(scene.updated_at)
    is_final = cover.at is not None and changed_at is not None and cover.at >= changed_at
    state = replace(
        row.cover_of(name), source=address_of_cover(scene), etag=cover.etag, final=is_final
    )
    return row.with_cover(name, state)


def _sha1(cover: bytes) -> str:
    return hashlib.sha1(cover, usedforsecurity=False).hexdigest()
