"""Read what records hold in JSON, as far as it can be read: a damaged one must not end a view."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

#: Candidates of an ambiguous scene that are shown.
_MOST_CANDIDATES = 8
#: Status of a scene with several records: the first of these that one of them has.
_FIRST = (
    *("failed", "ambiguous", "refused", "held", "ignored", "not_in_plex", "written"),
    *("in_sync", "skipped", "baseline"),
)
#: Values of a field that are only named where they equal `wanted` (`history.fields`).
_SAME = "same"


def brief_status(statuses: Iterable[str]) -> str:
    """Return the one status of a scene that has several records."""
    found = list(statuses)
    return min(found, key=lambda one: _FIRST.index(one) if one in _FIRST else len(_FIRST))


def decoded(stored: object) -> dict[str, Any]:
    """Return the JSON object in a text; an empty one if it can't be read."""
    try:
        found = json.loads(stored)  # type: ignore[arg-type]
    except (ValueError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def fields_of(stored: object) -> dict[str, dict[str, Any]]:
    """Return field → what the history knows of it (`history.fields.FieldState`)."""
    found = {}
    for name, one in decoded(stored).items():
        if isinstance(one, dict):
            same = one.get(_SAME)
            known = (
                dict.fromkeys(map(str, same), one.get("wanted")) if isinstance(same, list) else {}
            )
            found[name] = {**one, **known}
    return found


def pictures_of(stored: object) -> dict[str, str]:
    """Return field → hash of the picture in Plex that came from us, where one is known."""
    covers = decoded(stored)
    return {
        name: sha1
        for name, one in (("thumb", covers), ("art", covers.get("art")))
        if isinstance(one, dict) and isinstance(sha1 := one.get("sha1"), str) and len(sha1) > 1
    }


def candidates_of(stored: object) -> tuple[list[dict[str, Any]], int]:
    """Return the first candidates in a record's details, and how many more there are."""
    details = decoded(stored)
    candidates, keys = details.get("candidates"), details.get("keys")
    every = candidates if isinstance(candidates, list) else []
    shown = [_candidate(one) for one in every[:_MOST_CANDIDATES] if isinstance(one, dict)]
    count = max(len(every), len(keys) if isinstance(keys, list) else 0)
    return shown, max(0, count - len(shown))


def _candidate(one: dict[str, Any]) -> dict[str, Any]:
    files = one.get("files")
    first = files[0] if isinstance(files, list) and files and isinstance(files[0], dict) else {}
    return {
        "rating_key": one.get("rating_key"),
        "section": one.get("section"),
        "library": one.get("library"),
        "title": one.get("title"),
        "path": first.get("path"),
        "size": first.get("size"),
        "files": len(files) if isinstance(files, list) else 0,
    }
