"""Edits that the server ignores, and when edits move `updatedAt`. Both are off by default."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from tests.simulators.plex.edits import Edit
from tests.simulators.plex.records import TAG_KINDS, PlexItem

T = TypeVar("T")

AfterEdit = Callable[[PlexItem, frozenset[str]], Mapping[str, object] | None]
"""Return what another tool writes over an edit, by field name, tag kind or "thumb" (bytes)."""


@dataclass
class Ignored:
    """Edits that the server accepts and does not carry out."""

    names: Collection[str] = frozenset()
    """Fields, tag kinds and "thumb" (posters): values and locks of these are ignored."""
    times: int | None = None
    """Number of edits to ignore, of items and collections together; None: all."""

    def applies(self, names: Collection[str]) -> bool:
        """Return whether an edit of these is affected, and count it."""
        if self.times == 0 or not set(names) & set(self.names):
            return False
        if self.times is not None:
            self.times -= 1
        return True

    def without(self, edit: Edit) -> Edit:
        """Return the part of an edit that is carried out."""
        if not self.applies(edit.names):
            return edit
        kept = {
            name: value
            for name, value in edit.parameters.items()
            if name.partition(".")[0].partition("[")[0] not in self.names
        }
        return replace(
            edit,
            values=self._others(edit.values),
            locks=self._others(edit.locks),
            tags=self._others(edit.tags),
            parameters=kept,
        )

    def _others(self, parts: dict[str, T]) -> dict[str, T]:
        return {name: part for name, part in parts.items() if name not in self.names}


@dataclass
class UpdatedAt:
    """When edits move an item's `updatedAt`."""

    unmoved_by: Collection[str] = frozenset()
    """Fields and tag kinds; an edit of these alone, locks included, moves nothing."""
    delay: float = 0.0
    """Seconds by the server's clock from the edit to the move."""
    moved_by_rating: bool = False
    """Whether `/:/rate` moves it too, which is not proven for the real server."""

    def moves(self, names: Collection[str]) -> bool:
        return not set(names) <= set(self.unmoved_by) or not names


TAGS_AND_RATING = frozenset({*TAG_KINDS, "userRating"})
