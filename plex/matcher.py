"""Find the Plex items that may be a scene: by path, else by name, folders and size.

`choose` decides, a pure function of what the index knows; `plex.fit` says how well two files fit.
An index may be stale, so the chosen items are read from Plex and checked for the file before
anything is written.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from common.media import MediaFile
from plex.client import PlexClient
from plex.exceptions import PlexNotFound
from plex.fit import Fit, Places, fit
from plex.index import FileIndex, IndexedFile
from plex.items import PlexItem
from plex.paths import name_of, normalize
from validation.errors import PermanentError

#: Candidates that are read and shown, and those in one request; more are only counted.
MOST_SHOWN = 500
_CHUNK = 100
#: Attempts with an index that turns out to be wrong; it is brought up to date before each.
_ATTEMPTS = 3


class MatchConfidence(enum.Enum):
    """The certainty of a match."""

    #: exactly one item has this file
    HIGH = "high"
    #: several items may have it, or one that is not certain
    LOW = "low"


class AmbiguousMatch(PermanentError):
    """Several Plex items may be this scene, or several scenes an item.

    `details`: `candidates`, described; `keys` of all candidates; `scenes`: the others.
    """

    def __init__(
        self,
        message: str,
        candidates: list[dict[str, Any]],
        *,
        keys: Iterable[int] = (),
        scenes: Iterable[int] = (),
    ) -> None:
        super().__init__(message)
        all_keys = {one["rating_key"] for one in candidates}.union(keys)
        self.details = {
            "candidates": candidates, "keys": sorted(all_keys), "scenes": sorted(scenes),
        }  # fmt: skip


@dataclass(frozen=True)
class Chosen:
    """What the index says about a scene."""

    #: indexed files of the candidates, and how well each fits
    fits: Mapping[IndexedFile, Fit] = field(default_factory=dict)
    #: files of other items that have a further file of the scene at its path
    elsewhere: tuple[IndexedFile, ...] = ()

    @property
    def files(self) -> tuple[IndexedFile, ...]:
        """The indexed files of the candidates."""
        return tuple(self.fits)

    @property
    def keys(self) -> tuple[int, ...]:
        """The rating keys of the candidates."""
        return tuple(dict.fromkeys(file.rating_key for file in self.fits))

    def fit_of(self, rating_key: int) -> Fit:
        """Return how well a candidate fits."""
        fits = [how for file, how in self.fits.items() if file.rating_key == rating_key]
        return max(fits, default=Fit.NONE)

    @property
    def is_certain(self) -> bool:
        """Return whether there is one candidate, and more than its name tells so."""
        return len(self.keys) == 1 and Fit.NAME not in self.fits.values()

    @property
    def is_copied(self) -> bool:
        """Return whether the candidates are one file, each in another library."""
        libraries = [file.section_id for file in self.files]
        sizes = {file.size for file in self.files}
        is_path = set(self.fits.values()) == {Fit.PATH} and len(sizes) == 1
        return is_path and len(self.keys) == len(libraries) == len(set(libraries)) > 1


@dataclass(frozen=True)
class Match:
    """The items that may be a scene, whole and fresh."""

    chosen: Chosen
    items: tuple[PlexItem, ...]

    @property
    def is_certain(self) -> bool:
        """Return whether it is certain that the only item is the scene's."""
        return self.chosen.is_certain


def find_items(
    client: PlexClient,
    index: FileIndex,
    files: Sequence[MediaFile],
    places: Places,
    *,
    fresh_for: float = 0.0,
    read_before: Mapping[int, PlexItem] | None = None,
) -> Match:
    """Find the items that may be a scene.

    Args:
        files: the scene's files as Stash sees them, the primary one first.
        fresh_for: seconds for which the index counts as fresh when a file name decides.
        read_before: rating key → item that was read a moment ago.

    Raises:
        PlexNotFound: no item is a candidate.
        PlexTemporaryError, PlexPermanentError: Plex fails.
    """
    if not places.library_keys:
        raise PlexNotFound("Plex has no video library of type movie to look in")
    if not index.knows(places.library_keys):
        index.refresh(client, places.library_keys)
    known = read_before or {}
    chosen = _by_path(index, files, places)
    items = _read(client, index, chosen, known)
    if not items:
        # A name decides only among all that Plex has by now: a better candidate may have come
        # since.
        if items is None or index.age() >= fresh_for:
            index.refresh(client, places.library_keys)
        for _ in range(_ATTEMPTS):
            chosen = choose(index, files, places)
            items = _read(client, index, chosen, known)
            if items is not None:
                break
            index.refresh(client, places.library_keys)
    if not items:
        raise PlexNotFound(f"no Plex item has the file {files[0].path}")
    return Match(chosen, tuple(items))


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

    Stash's library folders are not known here: any folder above the file may be one.

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
    places = Places(
        tuple(path_mappings),
        tuple(_folders_above(file.path for file in files)),
        {int(section.key): tuple(section.locations) for section in sections},
    )
    found = find_items(client, index or FileIndex(), files, places, fresh_for=fresh_for)
    items = client.fetch_plexapi_items([item.rating_key for item in found.items])
    if found.is_certain and len(items) == 1:
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
    """Return the one plexapi item that has the file, or None when it is not certain.

    Raises:
        PlexNotFound: no item has the file.
        PlexTemporaryError, PlexPermanentError: Plex fails.
    """
    return find_plex_items_with_confidence(
        library, stash_path, path_mappings, file_size, index=index
    )[1]


def choose(index: FileIndex, files: Sequence[MediaFile], places: Places) -> Chosen:
    """Return what the index says about a scene (README, "Which item?").

    The first file that is in Plex decides, by its path; else the first of which Plex has the name.

    Args:
        files: the scene's, the primary one first.
    """
    found = _by_path(index, files, places)
    if found.files:
        return found
    return next((one for file in files if (one := _by_name(index, file, places)).files), Chosen())


def describe_candidates(items: Iterable[PlexItem]) -> list[dict[str, Any]]:
    """Return what a person, or a later choice, needs of each candidate, in JSON's types."""
    return [
        {
            "rating_key": item.rating_key,
            "section": item.library_key,
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


def _by_path(index: FileIndex, files: Sequence[MediaFile], places: Places) -> Chosen:
    """Return the items that have a scene's file at its path; those of its first file in Plex."""
    found: list[Chosen] = []
    for file in files:
        there = index.by_path(places.mapped(file), places.library_keys)
        if there:
            found.append(Chosen({one: _fit(file, one, places) for one in there}))
    if not found:
        return Chosen()
    # A file that Plex converted itself decides only where nothing else does.
    chosen = next((one for one in found if Fit.CONVERTED not in one.fits.values()), found[0])
    elsewhere = {file for one in found for file in one.files if file.rating_key not in chosen.keys}
    return replace(chosen, elsewhere=tuple(sorted(elsewhere, key=lambda one: one.rating_key)))


def _by_name(index: FileIndex, file: MediaFile, places: Places) -> Chosen:
    """Return the items that have a file of this name; those that fit best by folders."""
    name = name_of(places.mapped(file))
    fits = {
        one: how
        for one in index.by_name(name, places.library_keys)
        if (how := _fit(file, one, places)) is not Fit.NONE
    }
    same_case = {one: how for one, how in fits.items() if name_of(one.normal) == name}
    fits = same_case or fits
    best = max(fits.values(), default=Fit.NONE)
    if best >= Fit.TAIL:
        return Chosen({one: how for one, how in fits.items() if how is best})
    # One whose size is not known may be the file as well.
    return Chosen(fits)


def _fit(file: MediaFile, indexed: IndexedFile, places: Places) -> Fit:
    return fit(file, MediaFile(indexed.path, indexed.size), places)


def _folders_above(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        parts = normalize(path).split("/")[:-1]
        yield from ("/".join(parts[:count]) for count in range(1, len(parts) + 1))


def _read(
    client: PlexClient,
    index: FileIndex,
    chosen: Chosen,
    read_before: Mapping[int, PlexItem],
) -> list[PlexItem] | None:
    """Return the items that were chosen, fresh from Plex; None when the index was wrong about one.

    An item that is gone, or has other files by now, leaves the index.
    """
    expected: dict[int, set[tuple[str, int | None]]] = {}
    for file in chosen.files:
        expected.setdefault(file.rating_key, set()).add((file.normal, file.size))
    keys = list(expected)[:MOST_SHOWN]
    there = {key: read_before[key] for key in keys if key in read_before}
    missing = [key for key in keys if key not in there]
    for start in range(0, len(missing), _CHUNK):
        fetched = client.fetch_items(missing[start : start + _CHUNK])
        there.update((item.rating_key, item) for item in fetched)
    items = [
        item
        for item in (there[key] for key in keys if key in there)
        if expected.get(item.rating_key, set())
        & {(normalize(file.path), file.size) for file in item.files}
    ]
    stale = set(keys) - {item.rating_key for item in items}
    for rating_key in stale:
        index.forget(rating_key)
    return None if stale else items
