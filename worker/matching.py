"""One item for one scene, and one scene for one item: what the matcher found is taken only if it is certain.

The matcher looks at Plex alone. If it found an item by its file name, Stash is asked as well: another scene with
a file of that name and size may have the better claim to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from plex.exceptions import PlexNotFound
from plex.matcher import AmbiguousMatch, describe_candidates
from plex.paths import folded, map_path, name_of, normalize, shared_folders
from plex.records import read_item

Files = Sequence[tuple[str, int | None]]
Mappings = Iterable[tuple[str, str]]
#: Shared folders of a path that is the very same: more than any two different paths have.
_SAME = 1_000_000


def found_by_path(item: Any, files: Files, mappings: Mappings) -> bool:
    """Whether the item has one of the scene's files under the very path that the mappings say."""
    paths = {normalize(file.path) for file in read_item(item).files}
    return any(map_path(path, mappings)[0] in paths for path, _ in files)


def check_claim(
    item: Any, scene_id: int, files: Files, rivals: Iterable[tuple[int, Files]], mappings: Mappings
) -> None:
    """Let the scene have an item that was found by file name only if no other scene has as good a claim to it.

    Args:
        item: of plexapi.
        files: (path in Stash, size) of the scene.
        rivals: the same of other scenes that have a file of that name.

    Raises:
        PlexNotFound: the item is another scene's.
        AmbiguousMatch: it may be either's.
    """
    record = read_item(item)
    mappings = tuple(mappings)
    ours = max((_claim(file, files, mappings) for file in record.files), default=-1)
    for rival_id, rival_files in rivals:
        theirs = max((_claim(file, rival_files, mappings) for file in record.files), default=-1)
        if rival_id == scene_id or theirs < ours or theirs < 0:
            continue
        if theirs > ours:
            raise PlexNotFound(
                f"the item with this file name, {record.files[0].path}, belongs to scene {rival_id}"
            )
        raise AmbiguousMatch(
            f"Scene {scene_id} {files[0][0]} and scene {rival_id} {rival_files[0][0]} may both be"
            f" {describe(describe_candidates([item]))}",
            describe_candidates([item]),
        )


def describe(candidates: Iterable[dict[str, Any]]) -> str:
    """Return the candidates in one line: library, title, path and size of each."""
    return "; ".join(
        f"{one['library']!r}: {one['title']!r} "
        + ", ".join(f"{file['path']} ({file['size']} bytes)" for file in one["files"])
        for one in candidates
    )


def _claim(plex_file: Any, files: Files, mappings: Mappings) -> int:
    """Return how well a Plex file fits the best of a scene's files: -1 not at all, else by shared folders."""
    normal = normalize(plex_file.path)
    best = -1
    for path, size in files:
        mapped = map_path(path, mappings)[0]
        if mapped == normal:
            return _SAME
        same_name = folded(name_of(mapped)) == folded(name_of(normal))
        if same_name and (size is None or plex_file.size is None or size == plex_file.size):
            best = max(best, shared_folders(mapped, normal))
    return best
