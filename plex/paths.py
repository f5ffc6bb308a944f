"""Compare paths that two programs on different machines write. Pure functions on strings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_DRIVE = re.compile(r"[A-Za-z]:(?=[\\/]|$)")
_LONG_PREFIX = re.compile(r"^(?:\\\\|//)\?[\\/](?:UNC[\\/])?", re.IGNORECASE)


def normalize(path: str) -> str:
    r"""Return `path` with forward slashes and in NFC; `\\?\` of Windows' long paths is dropped.

    A backslash separates folders in Windows' paths alone: in others it belongs to the name.
    """
    path = unicodedata.normalize("NFC", path)
    if _is_windows(path):
        long_unc = path[2:7].upper() in ("?\\UNC", "?/UNC")
        path = (
            ("//" if long_unc else "") + _LONG_PREFIX.sub("", path)
            if _LONG_PREFIX.match(path)
            else path
        )
        path = path.replace("\\", "/")
        if _DRIVE.match(path):
            path = path[0].lower() + path[1:]
    return path


def name_of(path: str) -> str:
    """Return the file name of a normalized path."""
    return path.rpartition("/")[2]


def stem_of(path: str) -> str:
    """Return the file name of any path without its last extension."""
    name = name_of(normalize(path))
    stem, dot, _ = name.rpartition(".")
    return stem if dot and stem else name


def folded(name: str) -> str:
    """Return a name as it is compared when upper and lower case don't count."""
    return unicodedata.normalize("NFC", name.casefold())


def map_path(path: str, mappings: Iterable[tuple[str, str]]) -> tuple[str, bool]:
    """Return a path of Stash in Plex's terms, normalized, and whether a mapping applied.

    The longest prefix of whole folders wins; slashes at the end of a prefix don't matter.
    """
    path = normalize(path)
    pairs = [
        (normalize(stash).rstrip("/"), normalize(plex).rstrip("/")) for stash, plex in mappings
    ]
    for stash, plex in sorted(pairs, key=lambda pair: -len(pair[0])):
        if path == stash or path.startswith(f"{stash}/"):
            return plex + path[len(stash) :], True
    return path, False


def shared_folders(one: str, other: str) -> int:
    """Return how many folders two normalized paths share, counted from the file up."""
    count = 0
    for left, right in zip(
        reversed(one.split("/")[:-1]), reversed(other.split("/")[:-1]), strict=False
    ):
        if folded(left) != folded(right) or not left:
            break
        count += 1
    return count


def _is_windows(path: str) -> bool:
    return bool(_DRIVE.match(path)) or path.startswith("\\\\")
