"""Clients' changes of items and collections, as the server's settings let them come out."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

from tests.simulators.plex.behaviour import Behaviour
from tests.simulators.plex.edits import Edit, apply_collection_edit, apply_edit, check_titles
from tests.simulators.plex.records import (
    POSTERS,
    TAG_KINDS,
    PlexCollection,
    PlexItem,
    Poster,
    Record,
    Upload,
    Write,
)
from tests.simulators.plex.state import PlexState


class Editor:
    """Carries out edits, ratings and posters, and records them."""

    def __init__(self, state: PlexState, behaviour: Behaviour) -> None:
        self._state = state
        self._behaviour = behaviour

    def edit(self, item: PlexItem, edit: Edit) -> None:
        carried_out = self._not_ignored(item, edit)
        if carried_out is None:
            return
        self.apply(item, carried_out)
        self._state.writes.append(self._write(item, carried_out.parameters))
        self._overwrite(item, carried_out.names)

    def apply(self, item: PlexItem, edit: Edit) -> None:
        """Carry out an edit without recording it."""
        apply_edit(
            self._state,
            item,
            edit,
            indexed_tags=self._behaviour.indexed_tags,
            lock_on_edit=self._behaviour.lock_on_edit,
            normalize=self._behaviour.normalize,
        )
        self.move(item, edit.names)

    def check_collections(self, collections: Sequence[PlexCollection], edit: Edit) -> None:
        """Raise BadValueError or TakenNameError for a title that they can't have."""
        check_titles(collections, edit, self._behaviour.normalize)

    def edit_collection(self, collection: PlexCollection, edit: Edit) -> None:
        """Carry out an edit that was checked before."""
        carried_out = self._not_ignored(collection, edit)
        if carried_out is not None:
            self.apply_to_collection(collection, carried_out)
            write = self._write(collection, carried_out.parameters)
            self._state.collection_writes.append(write)

    def apply_to_collection(self, collection: PlexCollection, edit: Edit) -> None:
        """Carry out an edit without recording it."""
        apply_collection_edit(
            self._state,
            collection,
            edit,
            lock_on_edit=self._behaviour.lock_on_edit,
            normalize=self._behaviour.normalize,
        )
        self._state.touch(collection)

    def rate(self, item: PlexItem, rating: str) -> None:
        """Set the user's rating; -1 unsets it."""
        if self._ignores(item, "userRating", {"rating": rating}):
            return
        self.apply_rating(item, "" if float(rating) == -1 else str(float(rating)))
        self._state.writes.append(self._write(item, {"rating": rating}))
        self._overwrite(item, {"userRating"})

    def apply_rating(self, item: PlexItem, stars: str) -> None:
        """Set the user's rating without recording it; "" unsets it."""
        stored = self._behaviour.normalize.text("userRating", stars)
        self._state.set_values(item, {"userRating": stored})
        # A rating belongs to the user, not to the item: updatedAt stays.
        if self._behaviour.updated_at.moved_by_rating:
            self.move(item, {"userRating"})

    def upload_poster(
        self, record: Record, data: bytes, url: str | None, name: str = "thumb"
    ) -> None:
        """Add a picture and select it. A URL is not fetched: it gives a blank one.

        Args:
            name: "thumb", or "art" for a background.
        """
        poster = uploaded_poster(data or (url or "").encode(), data, name)
        if self._ignores(record, name, {POSTERS[name][0]: poster.key}):
            return
        upload = Upload(record.rating_key, data, self._state.clock(), url)
        if not isinstance(record, PlexItem):
            self._state.collection_uploads.append(upload)
        elif name == "art":
            self._state.art_uploads.append(upload)
        else:
            self._state.uploads.append(upload)
        self._select(record, poster, name)

    def select_poster(self, record: Record, poster: Poster | None, name: str = "thumb") -> None:
        """Select a picture; None: Plex's own, or none."""
        key = "" if poster is None else poster.key
        if not self._ignores(record, name, {POSTERS[name][0]: key}):
            self._select(record, poster, name)

    def apply_poster(self, record: Record, poster: Poster | None, name: str = "thumb") -> None:
        """Select a picture without recording it."""
        self._state.select_poster(record, poster, name)
        if isinstance(record, PlexItem):
            self.move(record, {name})
        else:
            self._state.touch(record)

    def _select(self, record: Record, poster: Poster | None, name: str) -> None:
        self.apply_poster(record, poster, name)
        if isinstance(record, PlexItem):
            self._overwrite(record, {name})

    def _not_ignored(self, record: Record, edit: Edit) -> Edit | None:
        """Return the part of an edit to carry out, or None; record the rest."""
        carried_out = self._behaviour.ignored.without(edit)
        if len(carried_out.parameters) < len(edit.parameters):
            ignored = dict(edit.parameters.items() - carried_out.parameters.items())
            self._state.ignored_writes.append(self._write(record, ignored))
            if not carried_out.parameters:
                return None
        return carried_out

    def _ignores(self, record: Record, name: str, parameters: dict[str, str]) -> bool:
        ignores = self._behaviour.ignored.applies({name})
        if ignores:
            self._state.ignored_writes.append(self._write(record, parameters))
        return ignores

    def move(self, item: PlexItem, names: Collection[str]) -> None:
        """Move an item's `updatedAt` after a change of these names, as the settings say."""
        mode = self._behaviour.updated_at
        if not mode.moves(names):
            self._state.changed(item)
            self._state.processed(item)
        elif mode.delay:
            self._state.touch_later(item, mode.delay)
            self._state.processed(item)
        else:
            self._state.touch(item)

    def _overwrite(self, item: PlexItem, names: Collection[str]) -> None:
        """Let another tool write over the edit; it ignores locks, as every client's edit does."""
        if self._behaviour.after_edit is None:
            return
        for name, value in (self._behaviour.after_edit(item, frozenset(names)) or {}).items():
            if name in POSTERS and isinstance(value, bytes):
                self._state.select_poster(item, uploaded_poster(value, value, name), name)
            elif name in TAG_KINDS and isinstance(value, list | tuple):
                self._state.set_tags(item, name, value)
            else:
                self._state.set_values(item, {name: value})
            self._state.touch(item)

    def _write(self, record: Record, parameters: dict[str, str]) -> Write:
        return Write(record.rating_key, dict(parameters), self._state.clock())


def uploaded_poster(named_after: bytes, data: bytes, name: str = "thumb") -> Poster:
    """Return the picture of an upload; the same bytes give the same key."""
    digest = hashlib.sha1(named_after, usedforsecurity=False).hexdigest()
    return Poster(f"upload://{POSTERS[name][1]}/{digest}", data)
