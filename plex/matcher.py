"""Find the Plex item of a scene: by path, then by file name, then by file name ignoring case.

`choose` decides, a pure function of what the index knows. An index may be stale, so the chosen
items are read from Plex and checked for the file before anything is written.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.media import MediaFile
from plex.client import PlexClient
from plex.exceptions import PlexNotFound
from plex.index import FileIndex, IndexedFile
from plex.items import PlexItem
from plex.paths import map_path, name_of, normalize, shared_folders
from validation.errors import PermanentError

#: Candidates of an ambiguous scene that are fetched and shown.
_SHOWN = 20
#: Attempts with an index that turns out to be wrong; it is brought up to date before each.
_ATTEMPTS = 3


class MatchConfidence(enum.Enum):
    """The certainty of a match."""

    #: exactly one item has this file
    HIGH = "high"
    #: several items may have it
    LOW = "low"


class AmbiguousMatch(PermanentError):
    """Several Plex items may be this scene; `details` holds the candidates."""

    def __init__(self, message: str, candidates: list[dict[str, Any]]) -> None:
        super().__init__(message)
        self.details = {"candidates": candidates}


@dataclass(frozen=True)
class Match:
    """The items that may be a scene, whole and fresh; one when it is certain."""

    items: list[PlexItem]
    #: found at the very path that the mappings say, not by file name alone
    by_path: bool


def find_items(
    client: PlexClient,
    index: FileIndex,
    library_keys: Sequence[int],
    files: Sequence[MediaFile],
    mappings: Sequence[tuple[str, str]] = (),
    *,
    fresh_for: float = 0.0,
    read_before: Mapping[int, PlexItem] | None = None,
) -> Match:
    """Find the items that may be a scene.

    Args:
        files: the scene's files as Stash sees them, the primary one first.
        mappings: (path in Stash, path in Plex).
        fresh_for: seconds for which the index counts as fresh when a file name decides.
        read_before: rating key → item that was read a moment ago.

    Raises:
        PlexNotFound: no item is a candidate.
        PlexTemporaryError, PlexPermanentError: Plex fails.
    """
    if not library_keys:
        raise PlexNotFound("Plex has no video library of type movie to look in")
    if not index.knows(library_keys):
        index.refresh(client, library_keys)
    known = read_before or {}
    by_path = True
    items = _read(client, index, _by_path(index, files, mappings, library_keys), known)
    if not items:
        # A name decides only among all that Plex has by now: a better candidate may have come
        # since.
        if items is None or index.age() >= fresh_for:
            index.refresh(client, library_keys)
        for _ in range(_ATTEMPTS):
            chosen, by_path = choose(index, files, mappings, library_keys)
            items = _read(client, index, chosen, known)
            if items is not None:
                break
            index.refresh(client, library_keys)
    if not items:
        raise PlexNotFound(f"no Plex item has the file {files[0].path}")
    return Match(items, by_path)


def find_plex_items_with_confidence(
    library: Any,
    stash_path: str,
    path_mappings: Iterable[tuple[str, str]] = (),
    file_size: int | None = None,
    *,
    other_files: Iterable[tuple[str, int | None]] = (),
    index: FileIndex | None = None,
    fresh_for: float = 0.0,
) -> tuple[MatchConfidence, Any | None, list[Any]]:
    """Find the item that has a scene's file, as plexapi's objects; see `find_items`.

    Args:
        library: a section of plexapi, or several.
        stash_path: the scene's primary file as Stash sees it.
        file_size: bytes; None: unknown.
        other_files: (path, size) of the scene's further files.
        index: the files of these sections; None: they are listed for this call.

    Returns:
        (HIGH, the item, [the item]) or (LOW, None, all candidates).

    Raises:
        PlexNotFound: no item is a candidate.
        PlexTemporaryError, PlexPermanentError: Plex fails.
    """
    sections = list(library) if isinstance(library, (list, tuple)) else [library]
    if not sections:
        raise PlexNotFound("Plex has no video library of type movie to look in")
    files = [MediaFile(stash_path, file_size), *(MediaFile(*file) for file in other_files)]
    client = PlexClient("", "", server=sections[0]._server)
    keys = [int(section.key) for section in sections]
    mappings = tuple(path_mappings)
    found = find_items(client, index or FileIndex(), keys, files, mappings, fresh_for=fresh_for)
    items = client.fetch_plexapi_items([item.rating_key for item in found.items])
    if len(items) == 1:
        return MatchConfidence.HIGH, items[0], items
    return MatchConfidence.LOW, None, items


def find_plex_item_by_path(
    library: Any,
    stash_path: str,
    path_mappings: Iterable[tuple[str, str]] = (),
    file_size: int | None = None,
    *,
    index: FileIndex | None = None,
) -> Any | None:
    """Return the one plexapi item that has the file, or None when several may.

    Raises:
        PlexNotFound: no item has the file.
        PlexTemporaryError, PlexPermanentError: Plex fails.
    """
    return find_plex_items_with_confidence(
        library, stash_path, path_mappings, file_size, index=index
    )[1]


def choose(
    index: FileIndex,
    files: Sequence[MediaFile],
    mappings: Sequence[tuple[str, str]],
    library_keys: Sequence[int],
) -> tuple[list[IndexedFile], bool]:
    """Return the indexed files that may be one of a scene's, and whether the path was found.

    1. the whole path, after `mappings`;
    2. the file name, then the file name ignoring case: of these, a size known on both sides must be
       equal, and those that share the most folders with the scene's path go before the others.
    """
    exact = _by_path(index, files, mappings, library_keys)
    if exact:
        return exact, True
    named = [
        (path, found)
        for path, size in ((map_path(file.path, mappings)[0], file.size) for file in files)
        for found in index.by_name(name_of(path), library_keys)
        if size is None or found.size is None or size == found.size
    ]
    same_case = [(path, found) for path, found in named if name_of(found.normal) == name_of(path)]
    return _nearest(same_case or named), False


def describe_candidates(items: Iterable[PlexItem]) -> list[dict[str, Any]]:
    """Return what a person, or a later choice, needs of each candidate, in JSON's types."""
    return [
        {
            "rating_key": item.rating_key,
            "library": item.library,
            "title": item.title,
            "files": [{"path": file.path, "size": file.size} for file in item.files],
        }
        for item in items
    ]


def describe(candidates: Iterable[dict[str, Any]]) -> str:
    """Return candidates in one line: library, title, path and size of each."""
    return "; ".join(
        f"{one['library']!r}: {one['title']!r} "
        + ", ".join(f"{file['path']} ({file['size']} bytes)" for file in one["files"])
        for one in candidates
    )


def _by_path(
    index: FileIndex,
    files: Sequence[MediaFile],
    mappings: Sequence[tuple[str, str]],
    library_keys: Sequence[int],
) -> list[IndexedFile]:
    return [
        found
        for file in files
        for found in index.by_path(map_path(file.path, mappings)[0], library_keys)
    ]


def _nearest(named: list[tuple[str, IndexedFile]]) -> list[IndexedFile]:
    if len({found.rating_key for _, found in named}) < 2:
        return [found for _, found in named]
    shared = [(shared_folders(path, found.normal), found) for path, found in named]
    most = max(count for count, _ in shared)
    return [found for count, found in shared if count == most]


def _read(
    client: PlexClient,
    index: FileIndex,
    chosen: Sequence[IndexedFile],
    read_before: Mapping[int, PlexItem],
) -> list[PlexItem] | None:
    """Return the items that were chosen, fresh from Plex; None when the index was wrong about one.

    An item that is gone, or has other files by now, leaves the index.
    """
    expected: dict[int, set[tuple[str, int | None]]] = {}
    for file in chosen:
        expected.setdefault(file.rating_key, set()).add((file.normal, file.size))
    keys = list(expected)[:_SHOWN]
    known = {key: read_before[key] for key in keys if key in read_before}
    fetched = client.fetch_items([key for key in keys if key not in known])
    items = [
        item
        for item in (*known.values(), *fetched)
        if expected.get(item.rating_key, set())
        & {(normalize(file.path), file.size) for file in item.files}
    ]
    stale = set(keys) - {item.rating_key for item in items}
    for rating_key in stale:
        index.forget(rating_key)
    return None if stale else items
