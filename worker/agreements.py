"""Find and retire what the history knows of a scene and its items."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from history.fields import FieldState
from history.records import IN_PLEX, PICTURES, UNTOUCHABLE, Agreement, CoverState
from history.store import OTHER_SERVER, History
from plex.items import PlexItem
from plex.plan import NEVER_REPAIRED
from plex.session import PlexSession
from queue.timestamps import parse_time
from stash.records import Scene
from worker.target import SyncTarget


class Created(Protocol):
    """A scene, or something that is known of one."""

    @property
    def created_at(self) -> str:
        """When Stash created the scene; "": not known."""


class Agreements:
    """The history's records, as far as they are about the Plex in use."""

    def __init__(self, history: History, plex: PlexSession) -> None:
        self._history = history
        self._plex = plex

    def of_scene(self, scene_id: int, scene: Scene | None) -> list[Agreement]:
        """Return the records of a scene that may be about the Plex in use.

        Args:
            scene: as it was read; records of a scene that had its id before are left out.
        """
        return [
            row
            for row in self._history.of_scene(scene_id)
            if self._is_here(row) and (scene is None or is_same(row, scene))
        ]

    def find(self, target: SyncTarget, item: PlexItem) -> Agreement:
        """Return the record of the scene and this item, in a form about just these two.

        A file that came back under a new rating key inherits its record, and one that was moved
        keeps it.
        """
        path = item.paths[0] if item.paths else ""
        found = Agreement(target.metadata.scene_id or 0)
        takes_row = self._takes_row_without_item(target, item)
        for row in target.rows:
            is_there = self._is_about(row, item)
            if is_there or (not row.has_item and not found.id and takes_row):
                found = row
            elif row.has_item and self._came_back(row, item):
                found = replace(row, fields=_as_new(row, item))
            if is_there:
                break
        if not found.has_item:
            found = self._inherit(found, item)
        return replace(
            found,
            server=self._plex.server,
            section=item.library_key,
            rating_key=item.rating_key,
            path=found.path if found.path in item.paths else path,
            files=target.scene.files if target.scene else found.files,
        )

    def _inherit(self, row: Agreement, item: PlexItem) -> Agreement:
        """Take over what an earlier scene had written to an item: it is ours, not a person's."""
        server, key = self._plex.server, item.rating_key
        last = self._history.last_of_item(server, key)
        if last is None or (last.path and last.path not in item.paths):
            return row
        if last.scene_id in self._choosers(item):
            return row  # the user wants both scenes there
        fields = {
            name: FieldState(
                before=state.before,
                ours=state.ours,
                observed=state.observed,
                held=state.held,
                was_locked=state.was_locked,
                taken_over=state.taken_over,
            )
            for name, state in last.fields.items()
        }
        for name in PICTURES:
            row = row.with_cover(name, CoverState(sha1=last.cover_of(name).sha1))
        return replace(row, fields=fields)

    def retire_others(self, target: SyncTarget) -> None:
        """Forget agreements with items that are not the scene's any more, or with none.

        One with an item that is gone stays, as its file may come back; but not as a reason to show
        a scene as ambiguous that has found its item.
        """
        kept = {self.find(target, item).id for item in target.items}
        self._history.retire(
            row.id
            for row in target.rows
            if row.id not in kept and (not row.has_item or self._is_other(row, target))
        )
        for item in target.items:
            self._take_from_others(target, item)

    def _take_from_others(self, target: SyncTarget, item: PlexItem) -> None:
        """Forget the agreements of other scenes with an item that is this scene's now."""
        server, key = self._plex.server, item.rating_key
        others = self._history.owners(server, key, item.paths) - {target.metadata.scene_id}
        others -= self._choosers(item)
        if others:
            rows = self._history.of_items(server, [key])
            self._history.retire(
                row.id for row in rows if row.scene_id in others and row.status not in UNTOUCHABLE
            )

    def _choosers(self, item: PlexItem) -> set[int]:
        """Return the scenes for which the user chose an item."""
        choices = self._history.choosers(self._plex.server, item.rating_key, item.paths)
        return {choice.scene_id for choice in choices}

    def _is_other(self, row: Agreement, target: SyncTarget) -> bool:
        return (
            row.server == self._plex.server
            and row.rating_key not in target.keys
            and (self._exists(row.rating_key) or row.status not in IN_PLEX)
        )

    def _is_about(self, row: Agreement, item: PlexItem) -> bool:
        return row.rating_key == item.rating_key and (
            not row.path or row.path in item.paths or self._was_moved(row, item)
        )

    def _takes_row_without_item(self, target: SyncTarget, item: PlexItem) -> bool:
        """Return whether an item is the first of the scene's that has no record of its own."""
        new = (
            one.rating_key
            for one in target.items
            if not any(self._is_about(row, one) for row in target.rows)
        )
        return next(new, None) == item.rating_key

    def _is_here(self, row: Agreement) -> bool:
        """Return whether a row may be about the Plex in use, as far as that is known yet."""
        if not self._plex.server:
            return row.server != OTHER_SERVER
        return row.server in ("", self._plex.server)

    def _came_back(self, row: Agreement, item: PlexItem) -> bool:
        """Return whether an item is the record's file under a new rating key.

        Version 0.1 did not note the file: then the scene's own match speaks for it.
        """
        if not row.path:
            return not self._exists(row.rating_key)
        # Another file may have the rating key by now.
        found = self._plex.index.by_path(row.path, self._plex.keys)
        is_indexed = any(file.rating_key == row.rating_key for file in found)
        return row.path in item.paths and not is_indexed

    def _was_moved(self, row: Agreement, item: PlexItem) -> bool:
        """Return whether an item has its record's file at another path.

        Then no item has the old path, and the size is the same. A rebuilt Plex, which may give the
        rating key to another file, has an item with the old path.
        """
        sizes = {file.size for file in row.files if file.size}
        is_gone = not self._plex.index.by_path(row.path, self._plex.keys)
        return is_gone and any(file.size in sizes for file in item.files)

    def _exists(self, rating_key: int) -> bool:
        return bool(self._plex.index.updated_at([rating_key]))


def is_same(row: Created, scene: Created) -> bool:
    """Return whether a record is about this scene, and not one that had its id before."""
    if not row.created_at or not scene.created_at or row.created_at == scene.created_at:
        return True
    return parse_time(row.created_at) == parse_time(scene.created_at)


def is_untouchable(history: History, scene_id: int, scene: Created | None) -> bool:
    """Return whether the user said that the scene is left alone.

    Args:
        scene: None: it was not read. Then the records of any scene with this id count.
    """
    return any(
        row.status in UNTOUCHABLE and (scene is None or is_same(row, scene))
        for row in history.rows_of([scene_id]).get(scene_id, ())
    )


def _as_new(row: Agreement, item: PlexItem) -> dict[str, FieldState]:
    """Return the fields for an item that was added again.

    Nothing was written, repaired, refused or kept there yet. A field that is never repaired counts
    as never met if it is empty, so that it is written; any value in it is a person's.
    """
    fields = {
        name: replace(
            state, repairs=0, refused=False, why="", kept=False, sent=None, replaced=None,
            claim=None, misses=0,
        )
        for name, state in row.fields.items()
    }  # fmt: skip
    for name in fields.keys() & set(NEVER_REPAIRED):
        if not item.values[name]:
            fields[name] = replace(fields[name], wanted=None)
    return fields
