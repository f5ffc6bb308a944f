"""Backups of Plex's database, and another database for the same files."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

from tests.simulators.plex.records import Media, PlexCollection, PlexItem, PlexLibrary
from tests.simulators.plex.state import PlexState

R = TypeVar("R", PlexItem, PlexCollection, PlexLibrary)
Order = Callable[[list[PlexItem]], Sequence[PlexItem]]


@dataclass(frozen=True)
class Backup:
    """The database at one moment: each record, and a copy of what it held."""

    libraries: tuple[tuple[PlexLibrary, PlexLibrary], ...]
    items: tuple[tuple[PlexItem, PlexItem], ...]
    collections: tuple[tuple[PlexCollection, PlexCollection], ...]
    last_key: int


def backup(state: PlexState) -> Backup:
    return Backup(
        tuple((library, _library_copy(library)) for library in state.libraries.values()),
        tuple((item, _item_copy(item)) for item in state.items.values()),
        tuple((each, _collection_copy(each)) for each in state.collections.values()),
        state.last_key,
    )


def restore(state: PlexState, saved: Backup) -> None:
    """Put a backup back; the files on the disk stay. Records that were taken stay the same."""
    for library, before in saved.libraries:
        revision = library.revision
        _become(library, _library_copy(before))
        library.revision = revision + 1
    for item, saved_item in saved.items:
        _become(item, _item_copy(saved_item))
    for collection, saved_collection in saved.collections:
        _become(collection, _collection_copy(saved_collection))
    state.load(
        [library for library, _ in saved.libraries],
        [item for item, _ in saved.items],
        saved.last_key,
    )


def rebuild(state: PlexState, order: Order | None) -> dict[str, PlexItem]:
    """Add all items anew: no edits, and each gets the rating key of another one.

    Returns:
        The new items by path.
    """
    old = list(state.items.values())
    keys = [item.rating_key for item in old]
    files = list(order(old)) if order is not None else [*old[1:], *old[:1]]
    for library in state.libraries.values():
        library.collections.clear()
    state.load(list(state.libraries.values()), [], max(keys, default=0))
    for library in state.libraries.values():
        library.created_at = library.updated_at = state.now()
        library.uuid = str(uuid.uuid4())
    return {item.path: _again(state, item, key) for item, key in zip(files, keys, strict=True)}


def _again(state: PlexState, old: PlexItem, rating_key: int) -> PlexItem:
    item = state.add_item(
        old.library,
        [[(part.file, part.size) for part in media.parts] for media in old.media],
        values={},
        tags={},
        added_at=old.added_at,
        duration=old.parts[0].duration,
        agent_metadata=old.agent_metadata,
        rating_key=rating_key,
    )
    state.refresh(item)
    return item


def _item_copy(item: PlexItem) -> PlexItem:
    return replace(
        item,
        media=[Media(media.id, [replace(part) for part in media.parts]) for media in item.media],
        values=dict(item.values),
        tags={kind: list(names) for kind, names in item.tags.items()},
        roles=dict(item.roles),
        locked=set(item.locked),
        posters=list(item.posters),
        arts=list(item.arts),
        agent_metadata=dict(item.agent_metadata),
        rendered=None,
    )


def _collection_copy(collection: PlexCollection) -> PlexCollection:
    return replace(
        collection,
        values=dict(collection.values),
        locked=set(collection.locked),
        posters=list(collection.posters),
        arts=list(collection.arts),
    )


def _library_copy(library: PlexLibrary) -> PlexLibrary:
    return replace(
        library,
        locations=list(library.locations),
        items={},
        collections=dict(library.collections),
    )


def _become(record: R, other: R) -> None:
    for field in fields(record):
        setattr(record, field.name, getattr(other, field.name))
