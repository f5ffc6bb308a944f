"""Plan what to write to an item: from (Plex has, Stash says, we wrote) to one request.

The rules (README, "What is synced"):
- Stash wins; with `preserve` only what is empty in Plex, or still as we wrote it, is written.
- A field that Stash has nothing for is emptied only where Plex still has what we wrote.
- Names that the user added to a list in Plex stay, once we know what we wrote there ourselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from plex.history import Fields
from plex.items import PlexItem, format_rating
from validation.config import PlexSyncConfig
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


def switches_of(config: PlexSyncConfig) -> Switches:
    """Return what the settings say about writing."""
    return Switches(
        title=config.sync_title,
        details=config.sync_details,
        date=config.sync_date,
        studio=config.sync_studio,
        performers=config.sync_performers,
        tags=config.sync_tags,
        collections=config.sync_collections,
        poster=config.sync_poster,
        rating=config.sync_rating,
        lock=config.lock_fields,
        preserve=config.preserve_plex_edits,
    )


@dataclass(frozen=True)
class Edits:
    """Planned edits of one item."""

    #: the request's parameters; empty: send nothing
    parameters: Mapping[str, str | int] = field(default_factory=dict)
    #: Plex field → what is ours there once the request went through
    fields: Fields = field(default_factory=dict)
    #: Plex field → (what it had, what it gets), for logs and previews
    changes: Mapping[str, tuple[object, object]] = field(default_factory=dict)


def plan_edits(
    item: PlexItem, metadata: SyncMetadata, stem: str, ours: Fields, switches: Switches
) -> Edits:
    """Plan the edits that bring `item` to what Stash says.

    Args:
        stem: the file name's stem, the title of a scene without one.
        ours: what we wrote to this item before.
    """
    preserve = switches.preserve
    parameters: dict[str, str | int] = {}
    # A field whose switch is off keeps its history for the day it is switched on again.
    fields = {name: value for name, value in ours.items() if not _is_on(switches, name)}
    changes: dict[str, tuple[object, object]] = {}
    metadata = _fitting(metadata)
    for name, wanted, current in _texts(item, metadata, stem, switches):
        value, kept = _decide_text(wanted, current, ours.get(name), preserve)
        if kept is not None:
            fields[name] = kept
        if value is not None:
            parameters[f"{name}.value"] = value
            changes[name] = (current, value)
    for name, names, present in _lists(item, metadata, switches):
        target, is_ours = _decide_list(names, present, ours.get(name), preserve)
        if is_ours:
            fields[name] = list(names)
        if target is not None:
            characters = item.characters if name == "actor" else {}
            parameters.update(_list_parameters(name, target, present, characters))
            changes[name] = (present, target)
    if switches.lock:
        parameters.update({f"{name}.locked": 1 for name in changes})
    return Edits(parameters, fields, changes)


_SWITCH_OF = {
    "title": "title", "summary": "details", "originallyAvailableAt": "date", "year": "date",
    "studio": "studio", "userRating": "rating", "actor": "performers", "genre": "tags",
    "director": "performers", "collection": "collections",
}  # fmt: skip


def _is_on(switches: Switches, name: str) -> bool:
    return bool(getattr(switches, _SWITCH_OF[name], False))


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
    # Without a title and a visible file name, the title in Plex is better than none.
    return [one for one in fields if _is_on(switches, one[0]) and (one[1] or one[0] != "title")]


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
    return [one for one in fields if _is_on(switches, one[0])]


def _decide_text(
    wanted: str, current: str, before: object, preserve: bool
) -> tuple[str | None, str | None]:
    """Return (the value to write or None, the value that is ours then or None)."""
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
    before: object,
    preserve: bool,
) -> tuple[tuple[str, ...] | None, bool]:
    """Return (the list to write or None, whether the wanted names are ours then)."""
    if not isinstance(before, list):
        if not wanted or (preserve and present):
            return None, False
        target = wanted
    else:
        ours = _keys(before)
        theirs = tuple(name for name in present if name.casefold() not in ours)
        removed_there = ours - _keys(present) if preserve else frozenset()
        kept = [name for name in wanted if name.casefold() not in removed_there]
        target = _unique((*kept, *theirs))
    return (None if _keys(target) == _keys(present) else target), True


def _list_parameters(
    name: str, target: tuple[str, ...], present: tuple[str, ...], characters: Mapping[str, str]
) -> dict[str, str | int]:
    """Encode a list so that the result is the same whether Plex replaces or appends (unverified).

    That is the whole list by index, and a removal for each present name that is not in it.
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
    """Return each request's parameters: one, or more if that is too long; fields stay whole."""
    characters = sum(len(key) + len(str(value)) for key, value in parameters.items())
    if characters * _LONGEST_CHARACTER < LONGEST_REQUEST:
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
    """Cut a summary that would make the request too long: a character takes up to twelve bytes.

    Its limit depends on the scene alone, so that the next sync cuts it the same way.
    """
    studio = (metadata.studio, metadata.studio)  # it is a collection as well
    names = (*metadata.performers, *metadata.tags, *metadata.groups, *studio)
    names = (*names, metadata.director, metadata.title)
    others = sum(len(quote(name, safe="")) + len("collection%5B100%5D.tag.tag=&") for name in names)
    budget = max(_SHORTEST_SUMMARY, LONGEST_REQUEST - 1_000 - others)
    summary = metadata.details
    while (length := len(quote(summary, safe=""))) > budget:
        shorter = int(len(summary) * min(budget / length, 0.99))
        summary = sanitize_for_plex(summary, shorter, keep_newlines=True)
    if summary == metadata.details:
        return metadata
    return metadata.model_copy(update={"details": summary})


def _keys(names: Iterable[str]) -> frozenset[str]:
    """Return names as they are compared: Plex ignores case."""
    return frozenset(name.casefold() for name in names)


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple({name.casefold(): name for name in reversed(tuple(names))}.values())[::-1]
