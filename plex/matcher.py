"""Which Plex item is this scene? Paths first, then file names, then file names ignoring case; never a guess.

Deciding is `choose`, a pure function on what the index knows. The rest fetches what was chosen and looks
whether it still has the file: an index may be stale, an edit must not be wrong.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from plex import listing
from plex.exceptions import PlexNotFound, translated
from plex.index import FileIndex, IndexedFile
from plex.paths import map_path, name_of, normalize, shared_folders
from plex.records import PlexItem, read_item
from validation.errors import PermanentError

#: Candidates of an ambiguous scene that are fetched and shown.
_SHOWN = 20
#: Looks at an index that turns out to be wrong, each after it was brought up to date.
_ATTEMPTS = 3


class MatchConfidence(enum.Enum):
    """How sure a match is."""

    #: exactly one item has this file
    HIGH = "high"
    #: several may
    LOW = "low"


class AmbiguousMatch(PermanentError):
    """Several Plex items may be this scene: a person must choose. `details` holds the candidates."""

    def __init__(self, message: str, candidates: list[dict[str, Any]]) -> None:
        super().__init__(message)
        self.details = {"candidates": candidates}


def find_plex_items_with_confidence(
    library: Any,
    stash_path: str,
    path_mappings: Iterable[tuple[str, str]] = (),
    file_size: int | None = None,
    *,
    other_files: Iterable[tuple[str, int | None]] = (),
    index: FileIndex | None = None,
    fresh_for: float = 0.0,
    read_ahead: Callable[[int], Any] = lambda rating_key: None,
) -> tuple[MatchConfidence, Any | None, list[Any]]:
    """Find the item that has a scene's file.

    Args:
        library: a section of plexapi, or several.
        stash_path: the scene's primary file as Stash sees it.
        path_mappings: (path in Stash, path in Plex).
        file_size: bytes; None: unknown.
        other_files: (path, size) of the scene's further files.
        index: what is known of these sections; None: they are listed for this one question.
        fresh_for: seconds for which the index need not be brought up to date before a file name decides.
        read_ahead: returns an item by its rating key if it was read a moment ago, else None.

    Returns:
        (HIGH, the item, [the item]) or (LOW, None, all candidates). The items are whole and fresh.

    Raises:
        PlexNotFound: there is no candidate.
        PlexTemporaryError, PlexPermanentError: Plex fails.
    """
    sections = list(library) if isinstance(library, (list, tuple)) else [library]
    if not sections:
        raise PlexNotFound("Plex has no video library of type movie to look in")
    files = [(stash_path, file_size), *other_files]
    index, section_ids = index or FileIndex(), [int(section.key) for section in sections]
    server = sections[0]._server
    mappings = tuple(path_mappings)
    if not index.knows(section_ids):
        index.refresh(server, section_ids)
    items = _look_up(sections[0], index, _by_path(index, files, mappings, section_ids), read_ahead)
    if not items:
        # A name decides only among all that Plex has by now: a surer candidate may have come since.
        if items is None or index.age() >= fresh_for:
            index.refresh(server, section_ids)
        for _ in range(_ATTEMPTS):
            items = _look_up(
                sections[0], index, choose(index, files, mappings, section_ids), read_ahead
            )
            if items is not None:
                break
            index.refresh(server, section_ids)
    if not items:
        raise PlexNotFound(f"no Plex item has the file {stash_path}")
    return (
        (MatchConfidence.HIGH, items[0], items)
        if len(items) == 1
        else (MatchConfidence.LOW, None, items)
    )


def find_plex_item_by_path(
    library: Any,
    stash_path: str,
    path_mappings: Iterable[tuple[str, str]] = (),
    file_size: int | None = None,
    *,
    index: FileIndex | None = None,
) -> Any | None:
    """Return the one item that has the file, or None when several may.

    Raises:
        PlexNotFound: there is none.
        PlexTemporaryError, PlexPermanentError: Plex fails.
    """
    return find_plex_items_with_confidence(
        library, stash_path, path_mappings, file_size, index=index
    )[1]


def choose(
    index: FileIndex,
    files: Sequence[tuple[str, int | None]],
    mappings: tuple[tuple[str, str], ...],
    section_ids: Sequence[int],
) -> list[IndexedFile]:
    """Return the indexed files that may be one of a scene's `files` (path in Stash, size), of the surest kind.

    1. the whole path, after `mappings`;
    2. the file name, then the file name ignoring case: of these, a size known on both sides must be equal, and
       those that share the most folders with the scene's path go before the others.
    """
    exact = _by_path(index, files, mappings, section_ids)
    if exact:
        return exact
    wanted = [(map_path(path, mappings)[0], size) for path, size in files]
    named = [
        (path, found) for path, size in wanted for found in _named(index, path, size, section_ids)
    ]
    same_case = [(path, found) for path, found in named if name_of(found.normal) == name_of(path)]
    return _nearest(same_case or named)


def describe_candidates(items: Iterable[Any]) -> list[dict[str, Any]]:
    """Return what a person, or a later choice, needs of each candidate."""
    return [_candidate(read_item(item)) for item in items]


def _candidate(item: PlexItem) -> dict[str, Any]:
    return {
        "rating_key": item.rating_key,
        "library": item.library,
        "title": item.title,
        "files": [{"path": file.path, "size": file.size} for file in item.files],
    }


def _by_path(
    index: FileIndex,
    files: Sequence[tuple[str, int | None]],
    mappings: tuple[tuple[str, str], ...],
    section_ids: Sequence[int],
) -> list[IndexedFile]:
    return [
        found
        for path, _ in files
        for found in index.by_path(map_path(path, mappings)[0], section_ids)
    ]


def _named(
    index: FileIndex, path: str, size: int | None, section_ids: Sequence[int]
) -> list[IndexedFile]:
    return [
        found
        for found in index.by_name(name_of(path), section_ids)
        if size is None or found.size is None or size == found.size
    ]


def _nearest(named: list[tuple[str, IndexedFile]]) -> list[IndexedFile]:
    if len({found.rating_key for _, found in named}) < 2:
        return [found for _, found in named]
    shared = [(shared_folders(path, found.normal), found) for path, found in named]
    most = max(count for count, _ in shared)
    return [found for count, found in shared if count == most]


def _look_up(
    section: Any, index: FileIndex, chosen: list[IndexedFile], read_ahead: Callable[[int], Any]
) -> list[Any] | None:
    """Return the items that were chosen, fresh from Plex; None when the index was wrong about one of them.

    An item that is gone, or has other files by now, leaves the index.
    """
    expected: dict[int, set[tuple[str, int | None]]] = {}
    for file in chosen:
        expected.setdefault(file.rating_key, set()).add((file.normal, file.size))
    keys = list(expected)[:_SHOWN]
    known = [item for item in map(read_ahead, keys) if item is not None]
    with translated():
        asked = set(keys) - {int(item.ratingKey) for item in known}
        items = [*known, *fetch_items(section, [key for key in keys if key in asked])]
        items = [item for item in items if expected.get(int(item.ratingKey), set()) & _files(item)]
    stale = set(keys) - {int(item.ratingKey) for item in items}
    for rating_key in stale:
        index.forget(rating_key)
    return None if stale else items


def _files(item: Any) -> set[tuple[str, int | None]]:
    return {(normalize(file.path), file.size) for file in read_item(item).files}


def fetch_items(section: Any, rating_keys: list[int]) -> list[Any]:
    """Fetch items in one request; where Plex answers 404 for all because one is gone, one by one.

    Raises:
        PlexTemporaryError, PlexPermanentError
    """
    if not rating_keys:
        return []
    path = f"/library/metadata/{','.join(map(str, rating_keys))}"
    try:
        root = listing.query(section._server, path)
    except PlexNotFound:
        if len(rating_keys) == 1:
            return []
        return [item for key in rating_keys for item in fetch_items(section, [key])]
    with translated():
        items = list(section.findItems(root, initpath=path))
    for item in items:
        if item.librarySectionID is None and root.get("librarySectionID"):
            item.librarySectionID = int(root.get("librarySectionID") or 0)
    return items
