"""A time of day, every day, on the clock of this machine. The page loads this module.

Where the clock skips the time of day (in the night when summer time begins), it is as much later.
Where the clock shows it twice, the first time counts.
"""

from __future__ import annotations

import math
import time

#: seconds
DAY = 86_400


def next_time(clock: str, after: float) -> float:
    """Return the first moment after another one at which the clock shows a time of day.

    Args:
        clock: "HH:MM".
        after: epoch seconds.

    Returns:
        Epoch seconds.

    Raises:
        ValueError: `clock` is not a time of day.
    """
    return min(moment for moment in _around(clock, after) if moment > after)


def last_time(clock: str, until: float) -> float:
    """Return the last moment, up to another one, at which the clock showed a time of day.

    Args:
        clock: "HH:MM".
        until: epoch seconds.

    Returns:
        Epoch seconds.

    Raises:
        ValueError: `clock` is not a time of day.
    """
    return max(moment for moment in _around(clock, until) if moment <= until)


def in_words(moment: float, now: float) -> str:
    """Return a moment of these days with its zone, such as "tomorrow 03:30 CET".

    Args:
        moment, now: epoch seconds.
    """
    there = time.localtime(moment)
    days = _day(moment) - _day(now)
    day = {-1: "yesterday", 0: "today", 1: "tomorrow"}.get(days) or time.strftime("%Y-%m-%d", there)
    return f"{day} {time.strftime('%H:%M', there)} {there.tm_zone}"


def _around(clock: str, moment: float) -> list[float]:
    """Return the moments of that time of day on the days before, at, and after a moment."""
    hours, _, minutes = clock.partition(":")
    seconds = int(hours) * 3_600 + int(minutes) * 60
    today = _day(moment)
    return [_moment((today + days) * DAY + seconds) for days in (-2, -1, 0, 1, 2)]


def _moment(wall: int) -> float:
    """Return the moment at which the clock shows `wall`, seconds since 1970 by that clock."""
    offsets = {_offset(wall - DAY), _offset(wall + DAY)}
    moments = [wall - offset for offset in offsets if _offset(wall - offset) == offset]
    return float(min(moments, default=wall - min(offsets)))


def _day(moment: float) -> int:
    return math.floor((moment + _offset(moment)) / DAY)


def _offset(moment: float) -> int:
    """Return by how many seconds the clock is ahead of UTC."""
    return time.localtime(moment).tm_gmtoff
