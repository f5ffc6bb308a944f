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

    #: without work, the worker leaves, unless it stays (setting `stay`)
    idle_timeout: float = 900.0
    #: `idle_timeout` was asked for, so it holds for a worker that would stay, too
    ends_when_idle: bool = False
    #: after the circuit breaker opened, until one probe goes out
    recovery: float = 60.0
    #: while a setting is wrong: between two reads of the settings
    settings_check: float = 15.0
    #: while Plex rejects the settings and they stay the same: between two attempts
    rejected_retry: float = 600.0
    #: between two heartbeats
    heartbeat: float = 30.0
    #: for which the settings page must rest before absent defaults are written there again
    page_rest: float = 60.0
    #: between two questions to Stash whether PlexSync is still there and enabled, and in use
    presence: float = 25.0
    #: without an answer of Stash, after which the worker leaves
    stash_gone: float = 600.0
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
    #: between two quick passes, and between two while neither Stash nor Plex is used: a look at
    #: their databases wakes disks that sleep
    quick_pass: float = 600.0
    quiet_pass: float = 3_600.0
    #: between two full passes
    full_pass: float = 86_400.0
    #: for which settings must rest before a pass compares all scenes with them
    settings_rest: float = 300.0
    #: between two full passes that a smaller number of tags, performers … asked for
    count_pass: float = 3_600.0
    #: after a write, until it is read back in any case
    verify_latest: float = 30.0
    #: of nothing but edits, after which one step of another kind goes first
    edits_only: float = 30.0
    #: of an outage, and of rejected settings or an unwritable disk, after which the webhook is told
    outage_alert: float = 3_600.0
    setup_alert: float = 600.0
    #: between two messages to the webhook about one cause
    alert_again: float = 86_400.0
    #: between two counts of the scenes that need the user, for the webhook
    count_needs: float = 600.0
    #: that one slice of a pass takes at most
    slice: float = 2.0
    #: between two complete passes that must both miss a scene before it is forgotten
    forget_after: float = 72_000.0
    #: after which a choice for a scene that is gone is forgotten
    forget_choice: float = 2_592_000.0
    #: for which Plex's events rest before their items are read, and at most while more come
    event_rest: float = 1.0
    event_latest: float = 5.0
    #: after an event that is an item's last only in some libraries, until it is taken for that
    event_hint: float = 10.0
    #: between two looks at the latest changes while very many items change
    storm_look: float = 30.0
    #: without a byte, after which Plex's event stream is connected anew. Plex may be silent for
    #: hours, and each connection costs a quick pass; a peer that is gone shows by TCP's own probes
    stream_silent: float = 3_600.0
    #: between two attempts to connect after the connection was lost: the first delay and the cap
    stream_lost: float = 1.0
    stream_lost_latest: float = 300.0
    #: the same where no stream is offered
    stream_refused: float = 30.0
    stream_refused_latest: float = 3_600.0
    #: of a connection, after which a loss of it counts as the first
    stream_stable: float = 60.0
    #: between two scans of one folder that are asked for
    scan_rest: float = 10.0
    #: factor of the delays between retries
    scale: float = 1.0

    def scaled(self, factor: float) -> Timing:
        """Return the same with every duration but the idle one multiplied, for demo and tests."""
        others = ("idle_timeout", "ends_when_idle")
        names = [field.name for field in dataclasses.fields(self) if field.name not in others]
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
        timing = dataclasses.replace(timing, idle_timeout=idle, ends_when_idle=True)
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
