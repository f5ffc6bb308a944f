"""Clients' changes of items, as the server's settings let them come out."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from tests.simulators.plex.behaviour import Behaviour
from tests.simulators.plex.edits import Edit, apply_edit
from tests.simulators.plex.records import TAG_KINDS, PlexItem, Poster, Upload, Write
from tests.simulators.plex.state import PlexState


class Editor:
    """Carries out edits, ratings and posters, and records them."""

    def __init__(self, state: PlexState, behaviour: Behaviour) -> None:
        self._state = state
        self._behaviour = behaviour

    def edit(self, item: PlexItem, edit: Edit) -> None:
        carried_out = self._behaviour.ignored.without(edit)
        if len(carried_out.parameters) < len(edit.parameters):
            ignored = dict(edit.parameters.items() - carried_out.parameters.items())
            self._state.ignored_writes.append(self._write(item, ignored))
            if not carried_out.parameters:
                return
        apply_edit(
            self._state,
            item,
            carried_out,
            indexed_tags=self._behaviour.indexed_tags,
            lock_on_edit=self._behaviour.lock_on_edit,
            normalize=self._behaviour.normalize,
        )
        self._state.writes.append(self._write(item, carried_out.parameters))
        self._move(item, carried_out.names)
        self._overwrite(item, carried_out.names)

    def rate(self, item: PlexItem, rating: str) -> None:
        """Set the user's rating; -1 unsets it."""
        if self._ignores(item, "userRating", {"rating": rating}):
            return
        stars = "" if float(rating) == -1 else str(float(rating))
        stored = self._behaviour.normalize.text("userRating", stars)
        self._state.set_values(item, {"userRating": stored})
        # A rating belongs to the user, not to the item: updatedAt stays.
        if self._behaviour.updated_at.moved_by_rating:
            self._move(item, {"userRating"})
        self._state.writes.append(self._write(item, {"rating": rating}))
        self._overwrite(item, {"userRating"})

    def upload_poster(self, item: PlexItem, data: bytes, url: str | None) -> None:
        """Add a poster and select it. A URL is not fetched: it gives a blank poster."""
        poster = uploaded_poster(data or (url or "").encode(), data)
        if not self._ignores(item, "thumb", {"poster": poster.key}):
            self._state.uploads.append(Upload(item.rating_key, data, self._state.clock(), url))
            self._select(item, poster)

    def select_poster(self, item: PlexItem, poster: Poster | None) -> None:
        """Select a poster; None: Plex's own picture."""
        key = "" if poster is None else poster.key
        if not self._ignores(item, "thumb", {"poster": key}):
            self._select(item, poster)

    def _select(self, item: PlexItem, poster: Poster | None) -> None:
        self._state.select_poster(item, poster)
        self._move(item, {"thumb"})
        self._overwrite(item, {"thumb"})

    def _ignores(self, item: PlexItem, name: str, parameters: dict[str, str]) -> bool:
        ignores = self._behaviour.ignored.applies({name})
        if ignores:
            self._state.ignored_writes.append(self._write(item, parameters))
        return ignores

    def _move(self, item: PlexItem, names: Collection[str]) -> None:
        mode = self._behaviour.updated_at
        if not mode.moves(names):
            self._state.changed(item)
        elif mode.delay:
            self._state.touch_later(item, mode.delay)
        else:
            self._state.touch(item)

    def _overwrite(self, item: PlexItem, names: Collection[str]) -> None:
        """Let another tool write over the edit; it ignores locks, as every client's edit does."""
        if self._behaviour.after_edit is None:
            return
        for name, value in (self._behaviour.after_edit(item, frozenset(names)) or {}).items():
            if name == "thumb" and isinstance(value, bytes):
                self._state.select_poster(item, uploaded_poster(value, value))
            elif name in TAG_KINDS and isinstance(value, list | tuple):
                self._state.set_tags(item, name, value)
            else:
                self._state.set_values(item, {name: value})
            self._state.touch(item)

    def _write(self, item: PlexItem, parameters: dict[str, str]) -> Write:
        return Write(item.rating_key, dict(parameters), self._state.clock())


def uploaded_poster(named_after: bytes, data: bytes) -> Poster:
    """Return the poster of an upload; the same bytes give the same key."""
    digest = hashlib.sha1(named_after, usedforsecurity=False).hexdigest()
    return Poster(f"upload://posters/{digest}", data)
