"""Decide whether an item that was found by file name belongs to this scene or to another one.

The matcher looks at Plex alone. Another scene with a file of that name and size may fit the item
better.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from common.media import MediaFile
from plex.exceptions import PlexNotFound
from plex.items import PlexItem
from plex.matcher import AmbiguousMatch, describe, describe_candidates
from plex.paths import folded, map_path, name_of, normalize, shared_folders

Mappings = Sequence[tuple[str, str]]
#: Shared folders of an equal path: more than any two different paths have.
_SAME = 1_000_000


def found_by_path(item: PlexItem, files: Iterable[MediaFile], mappings: Mappings) -> bool:
    """Return whether the item has one of the scene's files at its mapped path."""
    paths = {normalize(file.path) for file in item.files}
    return any(map_path(file.path, mappings)[0] in paths for file in files)


def check_ownership(
    item: PlexItem,
    scene_id: int,
    files: Sequence[MediaFile],
    other_scenes: Iterable[tuple[int, Sequence[MediaFile]]],
    mappings: Mappings,
) -> None:
    """Reject a file-name match that another Stash scene claims equally well.

    Args:
        other_scenes: (id, files) of the scenes that have a file of that name.

    Raises:
        PlexNotFound: the item is another scene's.
        AmbiguousMatch: it may be either's.
    """
    ours = _closeness(item, files, mappings)
    for other_id, other_files in other_scenes:
        theirs = _closeness(item, other_files, mappings)
        if other_id == scene_id or theirs < ours or theirs < 0:
            continue
        if theirs > ours:
            raise PlexNotFound(
                f"the item with this file name, {item.files[0].path}, belongs to scene {other_id}"
            )
        described = describe_candidates([item])
        raise AmbiguousMatch(
            f"Scene {scene_id} {files[0].path} and scene {other_id} {other_files[0].path} may both"
            f" be {describe(described)}",
            described,
        )


def _closeness(item: PlexItem, files: Sequence[MediaFile], mappings: Mappings) -> int:
    """Return how many folders an item's and a scene's file share; -1: no common name."""
    best = -1
    for plex_file in item.files:
        normal = normalize(plex_file.path)
        for file in files:
            mapped = map_path(file.path, mappings)[0]
            if mapped == normal:
                return _SAME
            same_name = folded(name_of(mapped)) == folded(name_of(normal))
            if same_name and (None in (file.size, plex_file.size) or file.size == plex_file.size):
                best = max(best, shared_folders(mapped, normal))
    return best
