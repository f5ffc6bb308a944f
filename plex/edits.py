"""Encode planned edits of an item as the parameters of its requests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from plex.desired import LONGEST_REQUEST
from plex.items import PlexItem
from plex.names import without
from plex.plan import Edits

#: Bytes that a character takes in a URL at most.
_LONGEST_CHARACTER = 12

Parameters = dict[str, str | int]


def encode_edits(item: PlexItem, edits: Edits) -> list[Parameters]:
    """Return the parameters of each request: mostly one; fields stay whole."""
    parameters: Parameters = {}
    for name, (present, target) in edits.changes.items():
        if isinstance(target, str):
            parameters[f"{name}.value"] = target
        else:
            characters = item.characters if name == "actor" else {}
            parameters |= _list_parameters(name, target, present, characters)
    if edits.lock:
        parameters |= {f"{name}.locked": 1 for name in edits.changes}
    return _split(parameters) if parameters else []


def _list_parameters(
    name: str, target: tuple[str, ...], present: object, characters: Mapping[str, str]
) -> Parameters:
    """Encode a list so that the result is the same whether Plex replaces or appends (unverified).

    That is the whole list by index, and a removal for each present name that is not in it.
    """
    parameters: Parameters = {}
    for position, one in enumerate(target):
        parameters[f"{name}[{position}].tag.tag"] = one
        if one in characters:
            parameters[f"{name}[{position}].tagging.text"] = characters[one]
    present = present if isinstance(present, tuple) else ()
    gone = [quote(one, safe="") for one in without(present, target)]
    if gone:  # quoted, as a comma separates names
        parameters[f"{name}[].tag.tag-"] = ",".join(gone)
    return parameters


def _split(parameters: Parameters) -> list[Parameters]:
    """Split parameters that are too long for one request; fields stay whole."""
    characters = sum(len(key) + len(str(value)) for key, value in parameters.items())
    if characters * _LONGEST_CHARACTER < LONGEST_REQUEST:
        return [parameters]
    requests: list[Parameters] = [{}]
    for field_name in dict.fromkeys(_field_of(key) for key in parameters):
        group = {key: value for key, value in parameters.items() if _field_of(key) == field_name}
        if requests[-1] and _length(requests[-1]) + _length(group) > LONGEST_REQUEST:
            requests.append({})
        requests[-1].update(group)
    return requests


def _field_of(key: str) -> str:
    return re.split(r"[.\[]", key, maxsplit=1)[0]


def _length(parameters: Parameters) -> int:
    return len(urlencode(parameters, quote_via=quote))
