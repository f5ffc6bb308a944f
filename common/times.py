"""Moments in epoch seconds. The page loads this module."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeGuard

#: Epoch seconds of the year 5138. A damaged time may be too large to be shown.
_MAX_TIME = 1e11


def is_time(value: object) -> TypeGuard[float]:
    """Return whether a value can be epoch seconds that the system's calendar knows."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 <= value < _MAX_TIME  # type: ignore[operator]
