"""Raw pages of Plex's listings: at 100,000 items plexapi's objects, not HTTP, are what costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element

from plex.exceptions import PlexTemporaryError, translated

#: Items per page.
PAGE = 1000


def query(server: Any, path: str, *, start: int | None = None, size: int = PAGE) -> Element:
    """GET a path and return its `MediaContainer`.

    Args:
        server: a `plexapi.server.PlexServer`.
        start, size: the page of a listing; without `start` the answer comes whole.

    Raises:
        PlexTemporaryError: also when the answer is no MediaContainer (a proxy's page, say).
        PlexPermanentError, PlexNotFound
    """
    headers = {}
    if start is not None:
        headers = {"X-Plex-Container-Start": str(start), "X-Plex-Container-Size": str(size)}
    with translated():
        root: Element | None = server.query(path, headers=headers)
    if root is None or root.tag != "MediaContainer":
        raise PlexTemporaryError("the answer does not come from Plex")
    return root


def number(element: Element, *names: str) -> int:
    """Return the first of these attributes that is there, as a whole number; 0 when none is.

    Raises:
        PlexTemporaryError: it is no number.
    """
    text = next((element.get(name) for name in names if element.get(name)), None)
    try:
        return int(text or 0)
    except ValueError:
        raise PlexTemporaryError(f"Plex's answer can't be understood ({names[0]})") from None


def items(server: Any, path: str, *, size: int = PAGE) -> Iterator[tuple[Element, int]]:
    """Yield each element of a listing with the listing's total, one page in memory at a time.

    Raises:
        PlexTemporaryError: Plex fails, or the listing ends before its announced end.
        PlexPermanentError, PlexNotFound
    """
    start, total = 0, None
    while total is None or start < total:
        root = query(server, path, start=start, size=size)
        received = len(root)
        total = number(root, "totalSize", "size") or received
        for element in root:
            yield element, total
        if not received and start < total:
            raise PlexTemporaryError(f"Plex's listing ended at {start} of {total}")
        start += received  # an answer may hold fewer than asked for
