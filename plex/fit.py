"""Judge how well a scene's file fits a file of a Plex item. Pure functions on paths and sizes."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from common.media import MediaFile
from plex.paths import folded, map_path, name_of, normalize

#: The folder in which Plex keeps files that it converted itself.
_PLEX_VERSIONS = "Plex Versions"
#: Folders that two paths must share where one is the end of the other.
_FEWEST_FOLDERS = 2


class Fit(enum.IntEnum):
    """How well two files fit; the larger, the better."""

    NONE = 0
    #: the path of a file that Plex made itself from another one
    CONVERTED = 1
    #: the same name; a size is not known
    NAME = 2
    NAME_AND_SIZE = 3
    #: the same size, and one path below its library's folder is the end of the other
    TAIL = 4
    #: the same path below the libraries' folders, and no other size
    RELATIVE_PATH = 5
    #: the very path, but another size
    PATH_ONLY = 6
    #: the very path, and no other size
    PATH = 7


@dataclass(frozen=True)
class Places:
    """Where the files of a Stash and a Plex are."""

    #: (path in Stash, path in Plex)
    mappings: Sequence[tuple[str, str]] = ()
    #: Stash's library folders
    stash_folders: Sequence[str] = ()
    #: key of each chosen Plex library → its folders
    plex_folders: Mapping[int, Sequence[str]] = field(default_factory=dict)

    @property
    def library_keys(self) -> list[int]:
        """The keys of the chosen Plex libraries."""
        return list(self.plex_folders)

    def mapped(self, file: MediaFile) -> str:
        """Return where Plex should have a scene's file."""
        return map_path(file.path, self.mappings)[0]

    def is_shared(self, path: str) -> bool:
        """Return whether several paths of Stash lead to a normalized path of Plex.

        A path that needs no mapping is one of them if it is in a library folder of Stash.
        """
        sources = {
            stash + path[len(plex) :]
            for stash, plex in (
                (normalize(one).rstrip("/"), normalize(other).rstrip("/"))
                for one, other in self.mappings
            )
            if path.startswith(f"{plex}/")
        }
        if any(path.startswith(top) for top in _tops(self.stash_folders)):
            sources.add(path)
        return sum(map_path(one, self.mappings)[0] == path for one in sources) > 1


def is_converted(path: str) -> bool:
    """Return whether Plex has made a file itself, as an optimized version of another one."""
    return _PLEX_VERSIONS in normalize(path).split("/")[:-1]


def fit(ours: MediaFile, theirs: MediaFile, places: Places) -> Fit:
    """Judge a file of a scene and a file of an item.

    Args:
        ours: as Stash sees it.
        theirs: as Plex sees it.
    """
    mapped, path = places.mapped(ours), normalize(theirs.path)
    sizes_known = ours.size is not None and theirs.size is not None
    differs = sizes_known and ours.size != theirs.size
    if mapped == path:
        if is_converted(path):
            return Fit.CONVERTED
        return Fit.PATH_ONLY if differs else Fit.PATH
    if differs or is_converted(path) or folded(name_of(mapped)) != folded(name_of(path)):
        return Fit.NONE
    in_stash = _relative(normalize(ours.path), places.stash_folders)
    in_plex = _relative(path, [one for some in places.plex_folders.values() for one in some])
    if any(one == other for one in in_stash for other in in_plex):
        return Fit.RELATIVE_PATH
    if not sizes_known:
        return Fit.NAME
    is_tail = any(_is_tail(one, other) for one in in_stash for other in in_plex)
    return Fit.TAIL if is_tail else Fit.NAME_AND_SIZE


def best_fit(ours: Iterable[MediaFile], theirs: Sequence[MediaFile], places: Places) -> Fit:
    """Return the best fit of any of a scene's files and any of an item's."""
    return max((fit(one, other, places) for one in ours for other in theirs), default=Fit.NONE)


def _relative(path: str, folders: Sequence[str]) -> list[list[str]]:
    """Return the parts of a path below each of the folders that it is in; else all its parts."""
    below = [path[len(top) :] for top in _tops(folders) if path.startswith(top)]
    return [folded(one).split("/") for one in below or [path.lstrip("/")]]


def _tops(folders: Iterable[str]) -> list[str]:
    """Return folders, normalized, as the beginnings of the paths in them."""
    return [normalize(folder).rstrip("/") + "/" for folder in folders]


def _is_tail(one: list[str], other: list[str]) -> bool:
    shorter = min(len(one), len(other))
    return shorter > _FEWEST_FOLDERS and one[-shorter:] == other[-shorter:]
