"""Nothing big happens unasked: many writes for a reason outside Stash wait for a yes.

So does, at any number, what might show an item to restricted accounts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from history.changes import ORIGIN
from history.fields import DECLINED as SAID_NO
from history.fields import GRANTED as SAID_YES
from history.fields import OPEN
from queue.models import PASS, RUN, create_bulk_job
from worker.parts import Parts
from worker.reconcile.comparer import Reason

#: Items that a pass writes without asking, for any reason but a change in Stash.
MOST_UNASKED = 200
#: State in the history: what waits for a yes: {"count", "reasons", "since"}.
HELD = "held"
#: State: the proposals may be queued.
GRANTED = "granted"
#: State: reason → scenes of which the user said no; a later pass that finds no more stays quiet,
#: as long as the settings are the same.
DECLINED = "declined"
#: State: scenes of which the user was told that they would become visible.
VISIBLE = "would_become_visible"


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
        declined = history.get(DECLINED, {})
        if count and all(number <= declined.get(why, 0) for why, number in reasons.items()):
            return
        history.set(GRANTED, True if 0 < count <= MOST_UNASKED else None)
        if count <= MOST_UNASKED:
            history.set(HELD, None)
            return
        known = history.get(HELD, {})
        since = known.get("since", self._parts.env.time())
        history.set(HELD, {"count": count, "reasons": reasons, "since": since})
        if reasons != known.get("reasons"):
            reporter.notify_user(
                "warning", f"{describe(reasons)}. Nothing of it is written: {WHAT_TO_DO}"
            )

    def grant(self) -> int:
        """Approve the proposals that are held back; return the number of their scenes."""
        history = self._parts.history
        count = sum(history.count_proposals().values())
        history.set(HELD, None)
        self.forget_declined()
        history.set(GRANTED, True if count else None)
        return count

    def decline(self) -> None:
        """Drop the proposals that are held back, until more scenes would change."""
        history = self._parts.history
        history.set(DECLINED, history.count_proposals() or None)
        self.clear()

    def lower_declined(self) -> None:
        """Forget what the user said no to, as far as a complete pass did not find it again."""
        history = self._parts.history
        found, declined = history.count_proposals(), history.get(DECLINED, {})
        left = {why: min(found[why], count) for why, count in declined.items() if why in found}
        if left != declined:
            history.set(DECLINED, left or None)

    def forget_declined(self) -> None:
        """Let the next pass ask, or write a few, whatever the user said no to before."""
        self._parts.history.set(DECLINED, None)

    def clear(self) -> None:
        """Drop all proposals."""
        self._parts.history.drop_proposals()
        self._parts.history.set(HELD, None)

    def withdraw(self) -> None:
        """Drop all proposals, approved ones too."""
        self.clear()
        self._parts.history.set(GRANTED, None)

    def ask_visible(self) -> None:
        """Tell the user how many scenes restricted accounts would see, if the number has grown."""
        history = self._parts.history
        count, said = history.count_asking(), history.get(VISIBLE, 0)
        if count != said:
            history.set(VISIBLE, count or None)
        if count > said:
            self._parts.reporter.notify_user(
                "warning", f"{describe_visible(count)}. {WHAT_TO_DO_VISIBLE}"
            )

    def answer_visible(self, *, is_granted: bool) -> int:
        """Store what the user says about scenes that would become visible; return their number."""
        history, env = self._parts.history, self._parts.env
        rows = history.asking()
        answer = SAID_YES if is_granted else SAID_NO
        with history.transaction():
            history.save_all(
                replace(
                    row,
                    fields={
                        name: replace(state, asks=answer) if state.asks == OPEN else state
                        for name, state in row.fields.items()
                    },
                )
                for row in rows
            )
            history.set(VISIBLE, None)
        scenes = sorted({row.scene_id for row in rows})
        if is_granted:
            now = env.time()
            self._parts.queue.put_many(create_bulk_job(one, now=now) for one in scenes)
        return len(scenes)

    def is_granted(self) -> bool:
        """Return whether proposals wait to be queued."""
        return bool(self._parts.history.get(GRANTED))

    def queue_next(self, after: int, room: int, pass_id: int) -> int:
        """Queue granted proposals; return the last scene's id, or -1 when none is left.

        Args:
            pass_id: what follows the user's answer about a library is recorded as one run of it.
        """
        history = self._parts.history
        found = history.proposals(after, room) if self.is_granted() else []
        if not found:
            history.set(GRANTED, None)
            return -1
        now = self._parts.env.time()
        as_one: dict[str, Any] = {PASS: pass_id, RUN: f"{ORIGIN}-{pass_id}"}
        self._parts.queue.put_many(
            create_bulk_job(scene_id, now=now, **(as_one if why == Reason.ORIGIN.value else {}))
            for scene_id, why in found
        )
        history.drop_proposals(scene_id for scene_id, _ in found)
        return found[-1][0]


WHAT_TO_DO = "see Preview all scenes, then run Approve changes or Sync all scenes"


WHAT_TO_DO_VISIBLE = (
    "Nothing of it is written: their content ratings and labels stay until you agree, on"
    " PlexSync's page or with the task Show to restricted accounts"
)


def describe_visible(count: int) -> str:
    """Return what would become visible."""
    items = "1 item" if count == 1 else f"{count} items"
    return f"{items} would become visible to restricted accounts"


def describe(reasons: dict[str, int]) -> str:
    """Return how many scenes would change, and why."""
    count = sum(reasons.values())
    why = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
    return f"{count} scenes would change in Plex ({why})"
