"""Edits as in Plex: all in the query string of a PUT, validated completely before the write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Literal
from urllib.parse import unquote

from tests.simulators.plex.normalize import Normalize
from tests.simulators.plex.records import (
    MOVIE,
    NUMBER_FIELDS,
    Editable,
    PlexCollection,
    PlexItem,
    Record,
)
from tests.simulators.plex.state import PlexState, folded

IndexedTags = Literal["replace", "add"]
"""Whether `genre[0].tag.tag=` sets the whole list or adds to it: not proven for the real server."""

_TAG = re.compile(r"(\w+)\[(\d*)\]\.(tag\.tag-|tag\.tag|tag|tagging\.text)")


class UnknownFieldError(ValueError):
    """The item or collection has no such field; Plex responds with 400."""


class BadValueError(ValueError):
    """A known field can't hold this value; Plex responds with 500."""


class TakenNameError(ValueError):
    """Another collection of the library has this title; Plex responds with 409."""


@dataclass
class TagEdit:
    """The changes to an item's tags of one kind."""

    clear: bool = False
    remove: list[str] = field(default_factory=list)
    indexed: dict[int, str] = field(default_factory=dict)
    roles: dict[int, str] = field(default_factory=dict)


@dataclass
class Edit:
    """One parsed PUT."""

    values: dict[str, str] = field(default_factory=dict)
    locks: dict[str, bool] = field(default_factory=dict)
    tags: dict[str, TagEdit] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """Return the fields and tag kinds that the edit concerns."""
        return frozenset({*self.values, *self.locks, *self.tags})


def is_edit(name: str) -> bool:
    """Return whether a parameter holds a value to write; the others select items."""
    return "." in name or "[" in name


def parse_edit(query: Iterable[tuple[str, str]], editable: Editable = MOVIE) -> Edit:
    edit = Edit(parameters={name: value for name, value in query if is_edit(name)})
    for name, value in edit.parameters.items():
        base, _, what = name.rpartition(".")
        if what == "value" and base in editable.fields:
            edit.values[base] = checked(base, value)
        elif what == "locked" and any(base in names for names in editable):
            edit.locks[base] = _flag(value)
        else:
            _parse_tag(edit, name, value, editable)
    return edit


def apply_edit(
    state: PlexState,
    item: PlexItem,
    edit: Edit,
    *,
    indexed_tags: IndexedTags,
    lock_on_edit: bool,
    normalize: Normalize,
) -> None:
    """Change an item; the caller moves its `updatedAt`."""
    _apply_locks(item, edit, lock_on_edit)
    state.set_values(item, {name: normalize.text(name, text) for name, text in edit.values.items()})
    for kind, change in edit.tags.items():
        names, roles = _changed_tags(item, kind, change, indexed_tags)
        stored = normalize.names(kind, names)
        state.set_tags(item, kind, stored, roles)


def apply_collection_edit(
    state: PlexState,
    collection: PlexCollection,
    edit: Edit,
    *,
    lock_on_edit: bool,
    normalize: Normalize,
) -> None:
    """Change a collection; the caller checks the title before and moves `updatedAt`."""
    _apply_locks(collection, edit, lock_on_edit)
    values = {name: normalize.text(name, text) for name, text in edit.values.items()}
    state.set_collection_values(collection, values)


def check_titles(collections: Sequence[PlexCollection], edit: Edit, normalize: Normalize) -> None:
    """Check that the collections can have the title of an edit.

    Raises:
        BadValueError: the title is empty.
        TakenNameError: another collection has it, or several would get it.
    """
    if "title" not in edit.values:
        return
    title = normalize.text("title", edit.values["title"])
    if not title:
        raise BadValueError("title=")
    holders = {collection.library.collections.get(folded(title)) for collection in collections}
    if len(collections) > 1 or holders - {None, *collections}:
        raise TakenNameError(title)


def _apply_locks(record: Record, edit: Edit, lock_on_edit: bool) -> None:
    locks = dict.fromkeys((*edit.values, *edit.tags), True) if lock_on_edit else {}
    locks |= edit.locks
    record.locked |= {name for name, locked in locks.items() if locked}
    record.locked -= {name for name, locked in locks.items() if not locked}


def _parse_tag(edit: Edit, name: str, value: str, editable: Editable) -> None:
    match = _TAG.fullmatch(name)
    if match is None or match[1] not in editable.tags:
        raise UnknownFieldError(name)
    kind, index, what = match.groups()
    change = edit.tags.setdefault(kind, TagEdit())
    if index and what == "tag.tag":
        change.indexed[int(index)] = value
    elif index and what == "tagging.text":
        change.roles[int(index)] = value
    elif not index and what == "tag.tag-":
        # Clients quote each name once more, so that a comma inside a name survives the split.
        change.remove += [unquote(each) for each in value.split(",")]
    elif not index and what == "tag" and not value:
        change.clear = True
    else:
        raise UnknownFieldError(name)


def _changed_tags(
    item: PlexItem, kind: str, change: TagEdit, indexed_tags: IndexedTags
) -> tuple[list[str], dict[str, str]]:
    """Return the names after an edit, and the roles by name."""
    removed = {folded(name) for name in change.remove}
    present = (
        [] if change.clear else [n for n in item.tags.get(kind, ()) if folded(n) not in removed]
    )
    wanted = [change.indexed[index] for index in sorted(change.indexed)]
    if indexed_tags == "replace" and wanted:
        present = []
    roles = {name: role for name, role in item.roles.items() if name in present}
    roles |= {
        change.indexed[index]: role
        for index, role in change.roles.items()
        if index in change.indexed
    }
    return [*present, *wanted], roles


def checked(name: str, value: str) -> str:
    """Return a field's value as it is stored, or raise BadValueError."""
    try:
        if name == "originallyAvailableAt" and value:
            if date.fromisoformat(value).isoformat() != value:
                raise ValueError(value)
        elif name in ("year", "addedAt") and value:
            return str(int(value))
        elif name in NUMBER_FIELDS and value:
            return str(float(value))
    except ValueError as error:
        raise BadValueError(f"{name}={value}") from error
    if name == "addedAt":  # the only field that can't be unset
        raise BadValueError(f"{name}=")
    return value


def _flag(value: str) -> bool:
    if value not in ("0", "1"):
        raise BadValueError(value)
    return value == "1"
