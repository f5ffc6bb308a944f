"""Time, waiting, randomness and the worker's durations; a test hands in its own."""

from __future__ import annotations

import dataclasses
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

IDLE_VARIABLE = "PLEXSYNC_IDLE_TIMEOUT"
SCALE_VARIABLE = "PLEXSYNC_TIME_SCALE"


@dataclass(frozen=True)
class Timing:
    """Durations in seconds."""

    #: without work, the worker leaves
    idle_timeout: float = 900.0
    #: after the circuit breaker opened, until one probe goes out
    recovery: float = 60.0
    #: while a setting is wrong: between two reads of the settings
    settings_check: float = 15.0
    #: while Plex rejects the settings and they stay the same: between two attempts
    rejected_retry: float = 600.0
    #: between two heartbeats
    heartbeat: float = 30.0
    #: for which the settings, or the index, count as fresh when a job comes in
    settings_fresh: float = 5.0
    index_fresh: float = 60.0
    #: for which the index counts as fresh when a file name, not a path, decides
    name_fresh: float = 5.0
    #: for which an item that was read with others counts as fresh when its turn comes
    ahead_fresh: float = 5.0
    #: for which an item counts as fresh when it is written: what a person changes in Plex between
    #: the read and the write may get lost
    item_fresh: float = 0.5
    #: of a write, from which Plex counts as slow: others are sent beside it
    slow_write: float = 0.01
    #: between two quick passes, and between two full ones
    quick_pass: float = 600.0
    full_pass: float = 86_400.0
    #: for which settings must rest before a pass compares all scenes with them
    settings_rest: float = 300.0
    #: between two full passes that a smaller number of tags, performers … asked for
    count_pass: float = 3_600.0
    #: after a write, until it is read back in any case
    verify_latest: float = 30.0
    #: of nothing but edits, after which one step of another kind goes first
    edits_only: float = 30.0
    #: that one slice of a pass takes at most
    slice: float = 2.0
    #: between two complete passes that must both miss a scene before it is forgotten
    forget_after: float = 72_000.0
    #: after which a choice for a scene that is gone is forgotten
    forget_choice: float = 2_592_000.0
    #: factor of the delays between retries
    scale: float = 1.0

    def scaled(self, factor: float) -> Timing:
        """Return the same with every duration but the idle one multiplied, for demo and tests."""
        names = [field.name for field in dataclasses.fields(self) if field.name != "idle_timeout"]
        return dataclasses.replace(self, **{name: getattr(self, name) * factor for name in names})


def timing_from(environ: Mapping[str, str], idle_timeout: float | None = None) -> Timing:
    """Return the durations, as the environment changes them.

    Args:
        idle_timeout: goes before PLEXSYNC_IDLE_TIMEOUT (both in seconds).

    Raises:
        ValueError: a variable is not a positive number.
    """
    timing = Timing()
    idle = idle_timeout if idle_timeout is not None else _positive(environ, IDLE_VARIABLE)
    if idle is not None:
        timing = dataclasses.replace(timing, idle_timeout=idle)
    scale = _positive(environ, SCALE_VARIABLE)
    return timing if scale is None else timing.scaled(scale)


class Env:
    """The real time and real randomness. Tests hand in a subclass."""

    #: seconds that never go back
    monotonic = staticmethod(time.monotonic)
    #: epoch seconds
    time = staticmethod(time.time)
    #: a random number from the first to the second
    uniform = staticmethod(random.uniform)

    def __init__(self, timing: Timing | None = None) -> None:
        """Use these durations, or the usual ones."""
        self.timing = timing or Timing()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until the event is set, at most `seconds`; return whether it is."""
        return event.wait(max(0.0, seconds))


def _positive(environ: Mapping[str, str], variable: str) -> float | None:
    text = environ.get(variable, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise ValueError(f"{variable} is {text!r}: must be a positive number")
    return value
