"""Which scenes need the user: the list that is shown, retried and cleared."""

from __future__ import annotations

import time
from collections.abc import Iterable

from history.records import TROUBLE, Agreement, Status
from history.store import History
from plex.matcher import AmbiguousMatch
from plex.paths import normalize
from plex.session import LOCATIONS
from queue.timestamps import parse_time

#: Key in a record's details: the user does not want to see it any more.
CLEARED = "cleared"
#: Type of error of a dead letter: the status of its scene, where both have one name for the user.
_STATUS_OF = {AmbiguousMatch.__name__: Status.AMBIGUOUS.value}
#: Seconds after which a saved scene should be in Plex, if Plex has its folder.
_DAY = 86_400.0


def needing_user(history: History, reason: str | None = None) -> Iterable[Agreement]:
    """Yield the records of scenes that need the user, the ambiguous ones first.

    A scene that is not in Plex is none of them, unless it was there before, or was saved more than
    a day ago below a folder that Plex has.

    Args:
        reason: only those that `has_reason`.
    """
    seen: set[int] = set()
    locations = [normalize(one).rstrip("/") + "/" for one in history.get(LOCATIONS) or ()]
    for status in (*TROUBLE, Status.NOT_IN_PLEX):
        if not has_reason(status.value, reason):
            continue
        for row in history.with_status(status):
            is_trouble = status is not Status.NOT_IN_PLEX or _is_missed(row, locations)
            if is_trouble and row.scene_id not in seen and not (row.details or {}).get(CLEARED):
                seen.add(row.scene_id)
                yield row


def has_reason(name: str, reason: str | None) -> bool:
    """Return whether a status, or a type of error, is what the user asks for; None: any."""
    return reason is None or _STATUS_OF.get(name, name) == _STATUS_OF.get(reason, reason)


def _is_missed(row: Agreement, locations: Iterable[str]) -> bool:
    """Return whether it is strange that Plex does not have a scene."""
    if row.has_item and row.synced_at is not None:
        return True
    changed = parse_time(row.updated_at)
    if changed is None or time.time() - changed < _DAY or not row.path:
        return False
    return any(row.path.startswith(location) for location in locations)
