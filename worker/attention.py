"""Which scenes need the user: the list that is shown, retried and cleared."""

from __future__ import annotations

import time
from collections.abc import Iterable

from history.counts import CLEARED, NEEDING
from history.records import Agreement, Status
from history.store import History
from plex.matcher import AmbiguousMatch

__all__ = ["CLEARED", "has_reason", "needing_user"]

#: Type of error of a dead letter: the status of its scene, where both have one name for the user.
_STATUS_OF = {AmbiguousMatch.__name__: Status.AMBIGUOUS.value}


def needing_user(history: History, reason: str | None = None) -> Iterable[Agreement]:
    """Yield the records of scenes that need the user, the ambiguous ones first.

    A scene that is not in Plex is none of them, unless it was there before, or was saved more than
    a day ago below a folder that Plex has.

    Args:
        reason: only those that `has_reason`.
    """
    seen: set[int] = set()
    for status in NEEDING:
        if not has_reason(status, reason):
            continue
        for row in history.needing_user(Status(status), time.time()):
            if row.scene_id not in seen:
                seen.add(row.scene_id)
                yield row


def has_reason(name: str, reason: str | None) -> bool:
    """Return whether a status, or a type of error, is what the user asks for; None: any."""
    return reason is None or _STATUS_OF.get(name, name) == _STATUS_OF.get(reason, reason)
