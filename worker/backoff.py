"""Delays between retries: full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter")."""

from __future__ import annotations

import random

from plex.exceptions import PlexNotFound

#: (base seconds, cap seconds, retries)
STANDARD = (5.0, 80.0, 5)
#: A file that Plex has not scanned yet needs patience.
NOT_FOUND = (30.0, 600.0, 12)
#: Doublings after which every cap is reached; more would only overflow.
_MOST_DOUBLINGS = 32


def max_delay(retry_count: int, base: float, cap: float) -> float:
    """Return the upper bound of the delay, `min(cap, base * 2**retry_count)`, in seconds.

    Args:
        retry_count: retries so far, from 0.
        base, cap: seconds.
    """
    return min(cap, base * 2.0 ** min(max(retry_count, 0), _MOST_DOUBLINGS))


def calculate_delay(
    retry_count: int, base: float, cap: float, jitter_seed: int | float | str | None = None
) -> float:
    """Return `uniform(0, max_delay(...))` seconds.

    Args:
        jitter_seed: makes the draw repeatable.
    """
    source = random if jitter_seed is None else random.Random(jitter_seed)
    return source.uniform(0, max_delay(retry_count, base, cap))


def get_retry_params(error: BaseException) -> tuple[float, float, int]:
    """Return (base seconds, cap seconds, retries) for an error."""
    return NOT_FOUND if isinstance(error, PlexNotFound) else STANDARD
