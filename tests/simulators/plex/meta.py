"""The `Meta` part of a listing: the fields, operators and orders that the server advertises."""

from __future__ import annotations

from tests.simulators.plex.markup import element
from tests.simulators.plex.records import PlexLibrary

VOCABULARIES = (
    "genre",
    "collection",
    "director",
    "actor",
    "writer",
    "producer",
    "country",
    "label",
)

_SORTS = (
    "titleSort",
    "year",
    "originallyAvailableAt",
    "rating",
    "userRating",
    "duration",
    "addedAt",
)
_FIELDS = {
    "title": "string",
    "studio": "string",
    "userRating": "integer",
    "contentRating": "tag",
    "year": "integer",
    "originallyAvailableAt": "date",
    "unmatched": "boolean",
    "duplicate": "boolean",
    "addedAt": "date",
    **dict.fromkeys(VOCABULARIES, "tag"),
}
_OPERATORS = {
    "tag": ("=", "!="),
    "integer": ("=", "!=", ">>=", "<<="),
    "string": ("=", "!=", "==", "!==", "<=", ">="),
    "boolean": ("=", "!="),
    "date": ("<<=", ">>="),
}


def meta_element(library: PlexLibrary, kind: str) -> str:
    """Return the `Meta` element; `kind` is the library's own type, or `collection`."""
    base = f"/library/sections/{library.key}"
    filters = [
        element(
            "Filter",
            {
                "filter": name,
                "filterType": "string",
                "key": f"{base}/{name}",
                "title": name,
                "type": "filter",
            },
        )
        for name in (*VOCABULARIES, "studio")
    ]
    sorts = [
        element(
            "Sort",
            {
                "active": 1 if name == "titleSort" else None,
                "defaultDirection": "asc" if name == "titleSort" else "desc",
                "descKey": f"{name}:desc",
                "key": name,
                "title": name,
            },
        )
        for name in _SORTS
    ]
    fields = [
        element("Field", {"key": name, "title": name, "type": kind_})
        for name, kind_ in _FIELDS.items()
    ]
    listed = "collections" if kind == "collection" else "all"
    type_ = element(
        "Type",
        {"key": f"{base}/{listed}", "type": kind, "title": library.title, "active": 1},
        *filters,
        *sorts,
        *fields,
    )
    field_types = [
        element(
            "FieldType",
            {"type": name},
            *(element("Operator", {"key": key, "title": key}) for key in keys),
        )
        for name, keys in _OPERATORS.items()
    ]
    return element("Meta", {}, type_, *field_types)
