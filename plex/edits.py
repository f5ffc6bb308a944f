"""What to write to an item: pure functions from (what Plex has, what Stash says, what we wrote) to one request.

The rules (README, "What wins"):
- Stash wins; with `preserve` only what is empty in Plex, or still as we wrote it, is written.
- What Stash has nothing for is emptied only where Plex still has what we wrote.
- Of a list, what the user added in Plex stays, once we know what we wrote there ourselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from plex.history import Written
from plex.items import PlexItem, format_rating
from validation.metadata import SyncMetadata
from validation.sanitizers import sanitize_for_plex

#: Bytes of one edit, which is all URL: Plex refuses one of 33 kB (400).
LONGEST_REQUEST = 28_000
#: Bytes that a character takes in a URL at most.
_LONGEST_CHARACTER = 12
#: Bytes that a summary has in any case, however long the lists are.
_SHORTEST_SUMMARY = 2_000


@dataclass(frozen=True)
class Switches:
    """Which fields to write, and how."""

    title: bool = True
    details: bool = True
    date: bool = True
    studio: bool = True
    performers: bool = True
    tags: bool = True
    collections: bool = True
    poster: bool = True
    rating: bool = False
    lock: bool = True
    preserve: bool = False


@dataclass(frozen=True)
class Edits:
    """One request's parameters (empty: send nothing), and what is to be remembered once it went through."""

    parameters: Mapping[str, str | int] = field(default_factory=dict)
    fields: Mapping[str, str | list[str]] = field(default_factory=dict)
    #: Plex field → (what it had, what it gets), for logs and previews
    changes: Mapping[str, tuple[object, object]] = field(default_factory=dict)


def plan_edits(
    item: PlexItem, metadata: SyncMetadata, stem: str, written: Written, switches: Switches
) -> Edits:
    """Return the edits that bring `item` to what Stash says.

    Args:
        stem: the file name's stem, which stands in for an empty title.
        written: what we wrote to this item before, settled.
    """
    parameters: dict[str, str | int] = {}
    remembered: dict[str, str | list[str]] = {}
    changes: dict[str, tuple[object, object]] = {}
    metadata = _fitting(metadata)
    for name, wanted, current in _texts(item, metadata, stem, switches):
        value, ours = _decide_text(wanted, current, written.text(name), switches.preserve)
        if ours is not None:
            remembered[name] = ours
        if value is not None:
            parameters[f"{name}.value"] = value
            changes[name] = (current, value)
    for name, names, present in _lists(item, metadata, switches):
        target, ours_now = _decide_list(names, present, written.names(name), switches.preserve)
        if ours_now is not None:
            remembered[name] = list(ours_now)
        if target is not None:
            parameters.update(
                _list_parameters(name, target, present, item.characters if name == "actor" else {})
            )
            changes[name] = (present, target)
    if switches.lock:
        parameters.update({f"{name}.locked": 1 for name in changes})
    # A field whose switch is off keeps its memory for the day it is switched on again.
    return Edits(parameters, {**_untouched(written, switches), **remembered}, changes)


_SWITCH_OF = {
    "title": "title", "summary": "details", "originallyAvailableAt": "date", "year": "date", "studio": "studio",
    "userRating": "rating", "actor": "performers", "genre": "tags", "director": "performers",
    "collection": "collections",
}  # fmt: skip


def _untouched(written: Written, switches: Switches) -> dict[str, str | list[str]]:
    return {
        name: value
        for name, value in written.fields.items()
        if not getattr(switches, _SWITCH_OF[name], False)
    }


def _texts(
    item: PlexItem, metadata: SyncMetadata, stem: str, switches: Switches
) -> Iterable[tuple[str, str, str]]:
    """Yield (Plex field, what Stash says, what Plex has) of each text field that is switched on."""
    rating = format_rating(None if metadata.rating100 is None else metadata.rating100 / 10)
    fields = (
        ("title", metadata.title or sanitize_for_plex(stem), item.title),
        ("summary", metadata.details, item.summary),
        ("originallyAvailableAt", metadata.day or "", item.date),
        ("year", str(metadata.year or ""), item.year),
        ("studio", metadata.studio, item.studio),
        ("userRating", rating, item.rating),
    )
    # Neither title nor file name may be there, or hold anything visible: the title in Plex is better than none.
    return (
        one
        for one in fields
        if getattr(switches, _SWITCH_OF[one[0]]) and (one[1] or one[0] != "title")
    )


def _lists(
    item: PlexItem, metadata: SyncMetadata, switches: Switches
) -> Iterable[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Yield (Plex tag kind, what Stash says, what Plex has) of each list that is switched on."""
    directors = (metadata.director,) if metadata.director else ()
    collections = _unique(
        (*metadata.groups, metadata.studio) if metadata.studio else metadata.groups
    )
    fields = (
        ("actor", metadata.performers, item.actors),
        ("director", directors, item.directors),
        ("genre", metadata.tags, item.genres),
        ("collection", collections, item.collections),
    )
    return (one for one in fields if getattr(switches, _SWITCH_OF[one[0]]))


def _decide_text(
    wanted: str, current: str, before: str | None, preserve: bool
) -> tuple[str | None, str | None]:
    """Return (the value to write or None, what to remember as ours or None)."""
    is_ours = current == before
    if wanted == current:
        return None, current if is_ours else None
    if not wanted:
        return ("", None) if is_ours and current else (None, None)
    if preserve and current and not is_ours:
        return None, None
    return wanted, wanted


def _decide_list(
    wanted: tuple[str, ...],
    present: tuple[str, ...],
    before: tuple[str, ...] | None,
    preserve: bool,
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Return (the list to write or None, what to remember as ours or None)."""
    if before is None:
        if not wanted or (preserve and present):
            return None, None
        target = wanted
    else:
        ours = _keys(before)
        theirs = tuple(name for name in present if name.casefold() not in ours)
        removed_there = ours - _keys(present) if preserve else frozenset()
        target = _unique(
            (*(name for name in wanted if name.casefold() not in removed_there), *theirs)
        )
    return (None if _keys(target) == _keys(present) else target), wanted


def _list_parameters(
    name: str, target: tuple[str, ...], present: tuple[str, ...], characters: Mapping[str, str]
) -> dict[str, str | int]:
    """Say the list so that it comes out right whether Plex replaces a list or adds to it (which is unproven).

    The whole list by index, and a removal for each present name that is not in it.
    """
    parameters: dict[str, str | int] = {}
    for position, one in enumerate(target):
        parameters[f"{name}[{position}].tag.tag"] = one
        if one in characters:
            parameters[f"{name}[{position}].tagging.text"] = characters[one]
    kept = _keys(target)
    gone = [quote(one, safe="") for one in present if one.casefold() not in kept]
    if gone:  # quoted, as a comma separates names
        parameters[f"{name}[].tag.tag-"] = ",".join(gone)
    return parameters


def split_requests(parameters: Mapping[str, str | int]) -> list[dict[str, str | int]]:
    """Return the parameters of each request: one, but where that would be too long; a field is never split."""
    if (
        sum(len(key) + len(str(value)) for key, value in parameters.items()) * _LONGEST_CHARACTER
        < LONGEST_REQUEST
    ):
        return [dict(parameters)]
    requests: list[dict[str, str | int]] = [{}]
    for field_name in dict.fromkeys(_field_of(key) for key in parameters):
        group = {key: value for key, value in parameters.items() if _field_of(key) == field_name}
        if requests[-1] and _length(requests[-1]) + _length(group) > LONGEST_REQUEST:
            requests.append({})
        requests[-1].update(group)
    return requests


def _field_of(key: str) -> str:
    return re.split(r"[.\[]", key, maxsplit=1)[0]


def _length(parameters: Mapping[str, str | int]) -> int:
    return len(urlencode(parameters, quote_via=quote))


def _fitting(metadata: SyncMetadata) -> SyncMetadata:
    """Cut a summary that would make the request too long: non-ASCII takes up to twelve bytes a character.

    What it may have depends on the scene alone, so that the next sync comes to the same.
    """
    texts = (
        metadata.director,
        metadata.studio,
        metadata.studio,
        metadata.title,
    )  # the studio is a collection as well
    names = (*metadata.performers, *metadata.tags, *metadata.groups, *texts)
    others = sum(len(quote(name, safe="")) + len("collection%5B100%5D.tag.tag=&") for name in names)
    budget = max(_SHORTEST_SUMMARY, LONGEST_REQUEST - 1_000 - others)
    summary = metadata.details
    while (length := len(quote(summary, safe=""))) > budget:
        shorter = int(len(summary) * min(budget / length, 0.99))
        summary = sanitize_for_plex(summary, shorter, keep_newlines=True)
    return (
        metadata
        if summary == metadata.details
        else metadata.model_copy(update={"details": summary})
    )


def _keys(names: Iterable[str]) -> frozenset[str]:
    """Plex tells names apart without regard to case."""
    return frozenset(name.casefold() for name in names)


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple({name.casefold(): name for name in reversed(tuple(names))}.values())[::-1]
