"""Read the outages on record (`worker.outages`). The page loads this module."""

from __future__ import annotations

from common.times import is_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

#: Keys with a length of time or a number; None: not known yet.
_AMOUNTS = ("seconds", "waiting", "caught_up_after")


def readable_outages(stored: object) -> list[dict[str, Any]]:
    """Return the outages in a stored value; leave out those that are damaged."""
    found = stored if isinstance(stored, list) else []
    return [dict(one) for one in found if isinstance(one, dict) and _is_readable(one)]


def _is_readable(one: Mapping[str, Any]) -> bool:
    if not {"cause", "since", "until", *_AMOUNTS} <= one.keys():
        return False
    is_over = one["until"] is not None
    return (
        isinstance(one["cause"], str)
        and is_time(one["since"])
        and (not is_over or is_time(one["until"]))
        and all(one[key] is None or is_time(one[key]) for key in _AMOUNTS)
        and is_over == (one["seconds"] is not None)
    )
