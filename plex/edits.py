"""Encode planned edits of an item as the parameters of its requests."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlencode

from history.fields import Value
from plex.desired import LONGEST_CHARACTER, LONGEST_REQUEST
from plex.items import PlexItem
from plex.names import within, without
from plex.plan import Edits, names_of

#: Bytes of a request's fields: the address, the item and its type take some more.
_LONGEST_QUERY = LONGEST_REQUEST - 500
#: Bytes that the position of a name takes in a URL at most.
_DIGITS = 8

Parameters = dict[str, str | int]


def encode_edits(item: PlexItem, edits: Edits) -> list[Parameters]:
    """Return the parameters of each request: mostly one. Texts and short lists stay whole."""
    groups = [
        group
        for name, (present, target) in edits.changes.items()
        for group in _encode_field(item, edits, name, present, target)
    ]
    groups += [{f"{name}.locked": 0} for name in sorted(edits.unlock.difference(edits.changes))]
    requests: list[Parameters] = []
    for group in groups:
        if requests and not _is_long(requests[-1], group):
            requests[-1].update(group)
        else:
            requests.append(group)
    return requests


def by_field(parameters: Parameters) -> dict[str, Parameters]:
    """Return field → its parameters among those of a request."""
    found: dict[str, Parameters] = {}
    for key, value in parameters.items():
        found.setdefault(re.split(r"[.\[]", key, maxsplit=1)[0], {})[key] = value
    return found


def _encode_field(
    item: PlexItem, edits: Edits, name: str, present: Value, target: Value
) -> list[Parameters]:
    """Return the parameters of a field, in groups that each fit into one request."""
    # Without its lock, a sort title can't be told from one that Plex derived.
    is_locked = edits.lock or name == "titleSort"
    lock: Parameters = {f"{name}.locked": 1} if is_locked else {}
    if name in edits.unlock:
        lock = {f"{name}.locked": 0}
    if isinstance(target, str):
        return [{f"{name}.value": target, **lock}]
    characters = item.characters if name == "actor" else {}
    gone = [quote(one, safe="") for one in without(names_of(present), target)]
    whole = {**_indexed(name, target, characters), **_removal(name, gone), **lock}
    if not _is_long(whole):
        return [whole]
    removals = [{**_removal(name, some), **lock} for some in _chunks(gone)]
    ours = names_of(edits.fields[name].claim)
    return removals + [
        {**_indexed(name, some, characters), **lock}
        for some in _slices(name, without(target, ours), within(target, ours), characters)
    ]


def _slices(
    name: str, theirs: tuple[str, ...], ours: tuple[str, ...], characters: Mapping[str, str]
) -> list[tuple[str, ...]]:
    """Split a list that is too long for one request, the first part last.

    Whether Plex replaces a list by an indexed one or appends it is not known. So each part holds
    all that is not ours. Appended, all arrive; replaced, the last request counts: all that is not
    ours, and as many of ours as fit, in Stash's order.
    """
    costs = {one: _length(_indexed(name, (one,), characters)) + _DIGITS for one in (*theirs, *ours)}
    room = _LONGEST_QUERY - sum(costs[one] for one in theirs)
    if room < max((costs[one] for one in ours), default=0):
        return []  # nothing could be sent without a loss; the read-back reports the field
    parts: list[list[str]] = [[]]
    left = room
    for one in ours:
        if costs[one] > left:
            parts.append([])
            left = room
        parts[-1].append(one)
        left -= costs[one]
    return [(*part, *theirs) for part in reversed(parts)]


def _indexed(name: str, names: Sequence[str], characters: Mapping[str, str]) -> Parameters:
    parameters: Parameters = {}
    for position, one in enumerate(names):
        parameters[f"{name}[{position}].tag.tag"] = one
        if one in characters:
            parameters[f"{name}[{position}].tagging.text"] = characters[one]
    return parameters


def _removal(name: str, quoted: Sequence[str]) -> Parameters:
    """Encode names to remove; they are quoted, as a comma separates them.

    Together with the whole list by index, the result is the same whether Plex replaces a list or
    appends to it.
    """
    return {f"{name}[].tag.tag-": ",".join(quoted)} if quoted else {}


def _chunks(quoted: Sequence[str]) -> list[list[str]]:
    """Split quoted names into lists that each fit into one request."""
    chunks: list[list[str]] = []
    left = 0
    for one in quoted:
        cost = len(quote(f"{one},", safe=""))
        if cost > left:
            chunks.append([])
            left = _LONGEST_QUERY // 2
        chunks[-1].append(one)
        left -= cost
    return chunks


def _is_long(*parameters: Parameters) -> bool:
    """Return whether parameters are too long for one request."""
    characters = sum(
        len(key) + len(str(value)) + 2 for some in parameters for key, value in some.items()
    )
    if characters * LONGEST_CHARACTER < _LONGEST_QUERY:
        return False
    return sum(map(_length, parameters)) > _LONGEST_QUERY


def _length(parameters: Parameters) -> int:
    """Return the bytes that parameters take in a URL."""
    return len(urlencode(parameters, quote_via=quote)) + 1
