"""Versions of items: add, merge and split, as Plex's scanner and its web app do."""

from __future__ import annotations

from collections.abc import Sequence

from tests.simulators.plex.records import Media, Part, PlexItem
from tests.simulators.plex.state import PlexState


def add_version(state: PlexState, item: PlexItem, path: str, size: int) -> Media:
    """Add a version of one file; edits and rating key of the item stay."""
    duration = item.parts[0].duration
    part = Part(state.new_key(), path, size, duration, state.now())
    media = Media(state.new_key(), [part])
    state.add_media(item, media)
    state.touch(item)
    return media


def merge(state: PlexState, item: PlexItem, others: Sequence[PlexItem]) -> None:
    """Move the versions of other items to this one and remove the others with their metadata."""
    if item in others or any(other.library is not item.library for other in others):
        raise ValueError("only other items of the same library can be merged")
    for other in dict.fromkeys(others):
        state.remove_item(other)
        for media in other.media:
            state.add_media(item, media)
    state.touch(item)


def split(state: PlexState, item: PlexItem) -> list[PlexItem]:
    """Make an item of each version but the first, without edits and titled by file name."""
    return [item, *[_split_off(state, item, media) for media in item.media[1:]]]


def _split_off(state: PlexState, item: PlexItem, media: Media) -> PlexItem:
    state.remove_media(item, media)
    state.touch(item)
    first = media.parts[0]
    file = state.files.get(first.file)
    new = state.add_item(
        item.library,
        [[(part.file, part.size) for part in media.parts]],
        values={},
        tags={},
        added_at=first.modified_at,
        duration=first.duration,
        agent_metadata=file.agent_metadata if file is not None else {},
    )
    # Plex moves the version itself, so it keeps its ids.
    new.media = [media]
    return new
