"""The items of a listing: type, filters, order, page."""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tests.simulators.httpd import Request
from tests.simulators.plex.records import (
    ITEM_TYPES,
    TAG_KINDS,
    PlexCollection,
    PlexItem,
    PlexLibrary,
    Record,
)
from tests.simulators.plex.state import PlexState, folded

T = TypeVar("T")
R = TypeVar("R", PlexItem, PlexCollection)
Test = Callable[[PlexItem], bool]
ValueTest = Callable[[Record], bool]

_FILTER = re.compile(r"(?:\w+\.)?(\w+)(!=|!|=|>>|<<|>|<)?")
_AGO = re.compile(r"-(\d+)(mon|[smhdwy])")
_SECONDS = {
    "s": 1,
    "m": 60,
    "h": 3600,
    "d": 86400,
    "w": 7 * 86400,
    "mon": 30 * 86400,
    "y": 365 * 86400,
}
_TEXTS = ("title", "titleSort", "studio", "summary", "contentRating")
_NUMBERS = ("year", "rating", "audienceRating", "userRating")
_TIMES = ("addedAt", "updatedAt", "originallyAvailableAt")
_NEIGHBOUR_EVERY = 5


class Listings:
    """Selects items of a state; caches sorted libraries until they change."""

    def __init__(self, state: PlexState) -> None:
        self._state = state
        self._sorted: dict[tuple[int, str], tuple[int, list[PlexItem]]] = {}

    def select(self, library: PlexLibrary, query: Iterable[tuple[str, str]]) -> list[PlexItem]:
        """Return the items that pass every known filter; ignore unknown filters, as Plex does."""
        pairs = list(query)
        values = dict(pairs)
        if values.get("type", "") not in ("", str(ITEM_TYPES[library.type])):
            return []
        ids, sort = values.get("id", ""), values.get("sort", "")
        # An empty list of ids counts as no filter: an edit then applies to every item.
        items = _by_id(library.items, ids, sort) if ids else self._ordered(library, sort)
        for name, value in pairs:
            if name == "file":
                items = _near(items, value)
            elif (test := self._test(name, value)) is not None:
                items = [item for item in items if test(item)]
        return _limited(items, values)

    def select_collections(
        self, library: PlexLibrary, query: Iterable[tuple[str, str]]
    ) -> list[PlexCollection]:
        """Return the collections that pass the filters of texts, numbers and times."""
        pairs = list(query)
        values = dict(pairs)
        ids, sort = values.get("id", ""), values.get("sort", "")
        records = {each.rating_key: each for each in library.collections.values()}
        found = _by_id(records, ids, sort) if ids else sorted_items(records.values(), sort)
        for parameter, value in pairs:
            match = _FILTER.fullmatch(parameter)
            test = match and self._value_test(match[1], match[2] or "", value)
            if test is not None:
                found = [collection for collection in found if test(collection)]
        return _limited(found, values)

    def _ordered(self, library: PlexLibrary, sort: str) -> list[PlexItem]:
        version, items = self._sorted.get((library.key, sort), (-1, []))
        if version != library.revision:
            items = sorted_items(library.items.values(), sort)
            self._sorted[library.key, sort] = (library.revision, items)
        return items

    def _test(self, parameter: str, value: str) -> Test | None:
        match = _FILTER.fullmatch(parameter)
        if match is None:
            return None
        name, operator = match[1], match[2] or ""
        if name in TAG_KINDS:
            return self._tag_test(name, operator, value.split(","))
        return self._value_test(name, operator, value)

    def _value_test(self, name: str, operator: str, value: str) -> ValueTest | None:
        if name in _TEXTS:
            return _text_test(name, operator, [folded(choice) for choice in value.split(",")])
        if name in _NUMBERS or name in _TIMES:
            return _number_test(name, operator, value, self._state.now())
        return None

    def _tag_test(self, kind: str, operator: str, choices: list[str]) -> Test:
        wanted = {folded(choice) for choice in choices}

        def has(item: PlexItem) -> bool:
            return any(
                folded(tag) in wanted or str(self._state.tag_id(kind, tag)) in wanted
                for tag in item.tags.get(kind, ())
            )

        return (lambda item: not has(item)) if operator.startswith("!") else has


def _by_id(records: Mapping[int, R], ids: str, sort: str) -> list[R]:
    wanted = {int(key) for key in ids.split(",") if key.isdecimal()}
    return sorted_items((records[key] for key in wanted if key in records), sort)


def _limited(records: list[R], values: Mapping[str, str]) -> list[R]:
    limit = values.get("limit", "")
    return records[: int(limit)] if limit.isdecimal() else records


def sorted_items(items: Iterable[R], sort: str) -> list[R]:
    """Sort by `field[:desc],field…`, with optional type prefix; by sort title by default."""
    ordered = list(items)
    known = [
        (key, direction) for key, direction in map(_sort_field, sort.split(",")) if key is not None
    ]
    for key, direction in reversed(known or [(_title_key, "")]):
        ordered.sort(key=key, reverse=direction == "desc")
    return ordered


@dataclass(frozen=True)
class Page(Generic[T]):
    """The part of a listing in one response."""

    items: Sequence[T]
    total: int
    offset: int
    paged: bool

    @property
    def attributes(self) -> dict[str, object]:
        """Return the page's attributes; `totalSize` and `offset` only when a page was requested."""
        attributes: dict[str, object] = {"size": len(self.items)}
        if self.paged:
            attributes |= {"totalSize": self.total, "offset": self.offset}
        return attributes


def page_of(items: Sequence[T], request: Request, max_page: int | None) -> Page[T]:
    """Return the requested page. A size without a start is ignored in the query, not in headers."""
    start, size = request.first("X-Plex-Container-Start"), request.first("X-Plex-Container-Size")
    if start is None or size is None:
        start = request.headers.get("X-Plex-Container-Start", "0")
        size = request.headers.get("X-Plex-Container-Size")
    if size is None or not (start.isdecimal() and size.isdecimal()):
        return Page(items, len(items), 0, paged=False)
    offset, length = int(start), int(size)
    if max_page is not None:
        length = min(length, max_page)
    return Page(items[offset : offset + length], len(items), offset, paged=True)


def _near(items: list[PlexItem], value: str) -> list[PlexItem]:
    """Search by file as Plex does: any part of the path, ignoring case, sometimes a neighbour."""
    wanted = [text.casefold() for text in value.split(",")]
    hits: dict[int, PlexItem] = {}
    for index, item in enumerate(items):
        paths = "\n".join([part.file for media in item.media for part in media.parts]).casefold()
        if any(text in paths for text in wanted):
            hits[item.rating_key] = item
            if item.rating_key % _NEIGHBOUR_EVERY == 0 and index + 1 < len(items):
                hits[items[index + 1].rating_key] = items[index + 1]
    return list(hits.values())


def _text_test(name: str, operator: str, choices: list[str]) -> ValueTest:
    compare: Callable[[str, str], bool] = {
        "": lambda text, choice: choice in text,
        "!": lambda text, choice: choice in text,
        "=": lambda text, choice: text == choice,
        "!=": lambda text, choice: text == choice,
        "<": lambda text, choice: text.startswith(choice),
        ">": lambda text, choice: text.endswith(choice),
    }.get(operator, lambda _text, _choice: False)
    negated = operator.startswith("!")

    def test(item: Record) -> bool:
        text = folded(item.values.get(name, ""))
        return any(compare(text, choice) for choice in choices) != negated

    return test


def _number_test(name: str, operator: str, value: str, now: int) -> ValueTest | None:
    limit = _number(value, now)
    if limit is None:
        return None
    compare: Callable[[float], bool] = {
        "": lambda number: number == limit,
        "=": lambda number: number == limit,
        "!": lambda number: number != limit,
        "!=": lambda number: number != limit,
        ">>": lambda number: number > limit,
        "<<": lambda number: number < limit,
        ">": lambda number: number >= limit,
        "<": lambda number: number <= limit,
    }[operator]

    def test(item: Record) -> bool:
        number = _numeric(item, name)
        return number is not None and compare(number)

    return test


def _number(value: str, now: int) -> float | None:
    ago = _AGO.fullmatch(value)
    if ago is not None:
        return now - int(ago[1]) * _SECONDS[ago[2]]
    try:
        return float(value)
    except ValueError:
        return None


def _numeric(item: Record, name: str) -> float | None:
    if name == "addedAt":
        return item.added_at
    if name == "updatedAt":
        return item.updated_at
    value = item.values.get(name)
    if value is None:
        return None
    if name == "originallyAvailableAt":
        return calendar.timegm(time.strptime(value, "%Y-%m-%d"))
    return float(value)


def _title_key(item: Record) -> str:
    return item.values.get("titleSort", item.title).casefold()


def _sort_field(sort: str) -> tuple[Callable[[Record], float | str] | None, str]:
    field, _, direction = sort.strip().partition(":")
    name = field.rpartition(".")[2]
    if name == "id":
        return (lambda item: item.rating_key), direction
    if name == "titleSort":
        return _title_key, direction
    if name in _TIMES or name in _NUMBERS:
        return (lambda item: _numeric(item, name) or 0.0), direction
    if name in _TEXTS:
        return (lambda item: item.values.get(name, "").casefold()), direction
    return None, direction
