"""JSON values as Stash parses them."""

from __future__ import annotations

import json
from typing import Any


class Exponent(float):
    """A number with an exponent and without a decimal point."""


def load_json(text: bytes) -> Any:
    return json.loads(
        text, parse_float=lambda number: (float if "." in number else Exponent)(number)
    )


def to_map(value: Any) -> Any:
    """Convert to the scalar Map: a number without a point is an integer, so 1e3 becomes 0."""
    if not isinstance(value, dict):
        raise TypeError(f"{type(value).__name__} is not a Map")
    return {key: _inner(inner) for key, inner in value.items()}


def _inner(value: Any) -> Any:
    if isinstance(value, dict):
        return to_map(value)
    if isinstance(value, list):
        return [_inner(item) for item in value]
    return 0 if isinstance(value, Exponent) else value
