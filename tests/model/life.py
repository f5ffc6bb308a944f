"""Run lives, and shrink one that fails."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.base import TOKEN
from tests.harness.clock import FakeClock
from tests.model.oracle import BrokenRule, Oracle
from tests.model.steps import DEFAULT_FAMILIES, Step, carry_out, draw_life
from tests.model.world import World
from tests.simulators.plex import PlexSimulator
from tests.simulators.stash import StashSimulator

LENGTH = 40
#: The same at each run, so that a seed gives the same life.
BEGINNING = 1_800_000_000.0


@dataclass
class Failure:
    """A rule that a life broke."""

    rule: str
    what: str
    steps: list[Step]

    def __str__(self) -> str:
        lines = [f"{self.rule}: {self.what}", *(f"    {step}" for step in self.steps)]
        return "\n".join(lines)


@dataclass
class Options:
    """What lives are made of."""

    length: int = LENGTH
    families: tuple[str, ...] = DEFAULT_FAMILIES
    off: frozenset[str] = frozenset()
    """Checks that are left out."""
    seen: Counter[str] = field(default_factory=Counter)


def life_of(seed: int, options: Options) -> list[Step]:
    """Return the steps of a seed."""
    return draw_life(random.Random(seed), options.length, options.families)


def run(steps: list[Step], options: Options) -> Failure | None:
    """Run steps in a new world; return the first broken rule."""
    clock = FakeClock(BEGINNING)
    with tempfile.TemporaryDirectory() as folder:
        plugins = Path(folder, "stash", "plugins")
        plugins.mkdir(parents=True)
        with (
            PlexSimulator(token=TOKEN, clock=clock.time) as plex,
            StashSimulator(plugins_dir=plugins, clock=clock.time) as stash,
        ):
            world = World(Path(folder), stash, plex, clock)
            oracle = Oracle(world, off=options.off, seen=options.seen)
            try:
                for number, step in enumerate(steps):
                    try:
                        carry_out(step, world, oracle)
                    except BrokenRule as broken:
                        return Failure(broken.rule, broken.what, steps[: number + 1])
            finally:
                world.close()
            assert plex.server.errors == []
            assert stash.server.errors == []
    return None


def shrink(failure: Failure, still_fails: Callable[[list[Step]], Failure | None]) -> Failure:
    """Drop steps as long as the same rule is still broken."""
    size = max(1, len(failure.steps) // 2)
    while size:
        start = 0
        while start < len(failure.steps):
            shorter = failure.steps[:start] + failure.steps[start + size :]
            broken = still_fails(shorter)
            if broken is not None and broken.rule == failure.rule:
                failure = broken
            else:
                start += size
        size //= 2
    return failure


def find(seed: int, options: Options, *, shrinks: bool = True) -> Failure | None:
    """Run the life of a seed; return its shortest failure."""
    failure = run(life_of(seed, options), options)
    if failure is None or not shrinks:
        return failure
    return shrink(failure, lambda steps: run(steps, options))
