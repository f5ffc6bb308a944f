"""Nothing big happens unasked: many writes for a reason outside Stash wait for a yes."""

from __future__ import annotations

from queue.models import create_bulk_job
from worker.parts import Parts

#: Items that a pass writes without asking, for any reason but a change in Stash.
MOST_UNASKED = 200
#: State in the history: what waits for a yes: {"count", "reasons", "since"}.
HELD = "held"
#: State: the proposals may be queued.
GRANTED = "granted"
#: State: reason → scenes of which the user said no; a later pass that finds no more stays quiet.
DECLINED = "declined"


class Approval:
    """What passes propose to write, and whether they may."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def decide(self) -> None:
        """Grant a few proposals; hold back many, and say so."""
        history, reporter = self._parts.history, self._parts.reporter
        if self.is_granted():
            return
        reasons = history.count_proposals()
        count = sum(reasons.values())
        declined = history.get(DECLINED) or {}
        if count and all(number <= declined.get(why, 0) for why, number in reasons.items()):
            return
        history.set(GRANTED, True if 0 < count <= MOST_UNASKED else None)
        if count <= MOST_UNASKED:
            history.set(HELD, None)
            return
        known = history.get(HELD) or {}
        since = known.get("since", self._parts.env.time())
        history.set(HELD, {"count": count, "reasons": reasons, "since": since})
        if reasons != known.get("reasons"):
            reporter.notify_user(
                "warning", f"{describe(reasons)}. Nothing of it is written: {WHAT_TO_DO}"
            )

    def grant(self) -> int:
        """Approve what is held back; return how many scenes that are."""
        history = self._parts.history
        count = sum(history.count_proposals().values())
        history.set(HELD, None)
        history.set(DECLINED, None)
        history.set(GRANTED, True if count else None)
        return count

    def decline(self) -> None:
        """Leave in Plex what is held back as it is, until more scenes would change."""
        history = self._parts.history
        history.set(DECLINED, history.count_proposals() or None)
        self.clear()

    def clear(self) -> None:
        """Drop all proposals."""
        self._parts.history.drop_proposals()
        self._parts.history.set(HELD, None)

    def is_granted(self) -> bool:
        """Return whether proposals wait to be queued."""
        return bool(self._parts.history.get(GRANTED))

    def queue_next(self, after: int, room: int) -> int:
        """Queue granted proposals; return the last scene's id, or -1 when none is left."""
        history = self._parts.history
        found = history.proposals(after, room) if self.is_granted() else []
        if not found:
            history.set(GRANTED, None)
            return -1
        now = self._parts.env.time()
        self._parts.queue.put_many(create_bulk_job(scene_id, now=now) for scene_id, _ in found)
        history.drop_proposals(scene_id for scene_id, _ in found)
        return found[-1][0]


WHAT_TO_DO = "see Preview all scenes, then run Approve changes or Sync all scenes"


def describe(reasons: dict[str, int]) -> str:
    """Return how many scenes would change, and why."""
    count = sum(reasons.values())
    why = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
    return f"{count} scenes would change in Plex ({why})"
