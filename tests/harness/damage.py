"""Values of the history's table `state` as a faulty disk may leave them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def damaged(value: Any) -> Iterator[Any]:
    """Yield what one damaged character may make of a value, and values of other types."""
    yield from _changed(value)
    yield from ("text", 7, ["text"], {"text": "text"}, True)


def _changed(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, inner in value.items():
            others = {name: one for name, one in value.items() if name != key}
            yield {**others, f"~{key}": inner}
            yield from ({**others, key: one} for one in _changed(inner))
    elif isinstance(value, list) and value:
        yield from ([one, *value[1:]] for one in _changed(value[0]))
    elif isinstance(value, str):
        yield f"{value[:1]}~{value[2:]}"
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from (1e63, -value)
