"""Put what the last worker's process died in after all else.

A pass, say, that uses up the memory would otherwise be begun first again by each next worker, and
nothing behind it would ever have its turn. Jobs and undos are not put off: a death counts as a
failed attempt at them (`queue.table.count_deaths`, `Passes.count_failure`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from worker.parts import Parts
from worker.reconcile.passes import Passes

#: Name of the step that takes changes back.
UNDO_STEP = "undo"
#: State in the history: the step that a worker's process died in, and how often in a row.
DEADLY, DEATHS = "deadly_step", "deadly_step_deaths"
#: Deaths in a row after which the user is told.
_MANY = 3


@dataclass(frozen=True)
class Step:
    """One thing to do, of those that are due."""

    #: returns False if it has to wait, as a server does not answer
    run: Callable[[], bool]
    #: ASCII word that is noted while it runs; "": nothing is. A batch notes its jobs itself; a look
    #: at what has changed has its next turn only after a while, and may write nothing at rest.
    name: str = ""
    #: for a person: "PlexSync's worker died while it …"
    doing: str = ""


class DeadlyStep:
    """Notes the step in hand, and knows in which one workers died."""

    def __init__(self, parts: Parts, passes: Passes) -> None:
        self._parts = parts
        self._passes = passes
        self._name = ""

    def at_start(self) -> None:
        """Count the last worker's death, if it died in a step."""
        history, died_in = self._parts.history, self._parts.in_hand.last.step
        self._name = history.get(DEADLY, "")
        if died_in == UNDO_STEP:
            self._passes.count_failure()
        elif died_in:
            deaths = history.get(DEATHS, 0) if died_in == self._name else 0
            history.set(DEADLY, died_in)
            history.set(DEATHS, deaths + 1)
            self._name = died_in

    def first(self, due: Iterable[Step]) -> Step | None:
        """Return the first step that no worker died in, else the first of all."""
        last = None
        for step in due:
            if not step.name or step.name != self._name:
                return step
            last = last or step
        return last

    def run(self, step: Step) -> bool:
        """Run a step; if the process dies in it, the next worker knows.

        Raises:
            what the step raises
        """
        if not step.name:
            return step.run()
        if step.name == self._name:
            self._tell(step)
        self._parts.in_hand.note_step(step.name)
        try:
            return step.run()
        finally:
            self._parts.in_hand.note(())
            if step.name == self._name:  # it can be done after all
                self._name = ""
                self._parts.history.set(DEADLY, None)
                self._parts.history.set(DEATHS, None)

    def _tell(self, step: Step) -> None:
        deaths = self._parts.history.get(DEATHS, 0)
        if deaths == _MANY:
            self._parts.reporter.notify_user(
                "warning",
                f"PlexSync's worker died {deaths} times in a row while it {step.doing}. That comes"
                " last now; edits are synced before it",
            )
