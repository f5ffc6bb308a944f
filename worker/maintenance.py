"""Clean-ups that are due: finished rows, old dead letters, and the status line."""

from __future__ import annotations

import math

from validation.config import PlexSyncConfig
from worker.backoff import NOT_FOUND
from worker.origins import note_settings
from worker.parts import Parts

#: Jobs between two status lines while there are dead letters, and between two clean-ups of the
#: queue.
STATUS_EVERY = 10
COMPACT_EVERY = 500


#: State in the history: a worker is at work, or was killed.
IN_USE = "in_use"
#: Seconds: short delays do not follow the scale of time.
_SHORT_DELAY = 10.0
#: State in the history: runs of which the first changes are not on record any more.
CUT_RUNS = "cut_runs"
_MOST_CUT = 50


class Maintenance:
    """Keeps one queue and its dead letters small."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._config: PlexSyncConfig | None = None
        self._retention: int | None = None
        self._dropped_at = -math.inf

    def at_start(self) -> None:
        """Drop finished rows, complete the sync timestamps, then log how things are."""
        self._parts.queue.compact()
        self._trim_changes()
        history = self._parts.history
        if history.get(IN_USE):  # the last worker was killed: it may have left some out
            self._parts.times.restore(history.synced(), history.missing())
        history.set(IN_USE, True)
        self.log_status()

    def at_end(self) -> None:
        """Write the sync timestamps that are left."""
        self._parts.times.flush()
        self._parts.history.set(IN_USE, None)

    def configure(self, config: PlexSyncConfig) -> None:
        """Note new settings. Drop dead letters past their retention: a new one, and once a day."""
        if config is not self._config:
            self._config = config
            note_settings(self._parts.history, config)
        now = self._parts.env.monotonic()
        is_long_ago = now - self._dropped_at >= self._parts.env.timing.full_pass
        if is_long_ago or config.dlq_retention_days != self._retention:
            self._parts.dlq.delete_older_than(config.dlq_retention_days)
            self._retention, self._dropped_at = config.dlq_retention_days, now

    def correct_due_times(self) -> bool:
        """Make jobs due that were delayed while the clock was ahead; return whether any were."""
        now, timing = self._parts.env.time(), self._parts.env.timing
        longest = max(NOT_FOUND[1] * timing.scale, timing.quick_pass, _SHORT_DELAY)
        return self._parts.queue.pull_in(now + longest, now) > 0

    def after_job(self, done: int) -> None:
        """Do what is due every `STATUS_EVERY` jobs; `done` is the number of jobs so far."""
        self.log_status()
        if done % COMPACT_EVERY == 0:
            self._parts.queue.compact()
            self._trim_changes()

    def _trim_changes(self) -> None:
        """Drop old changes from the journal; note which runs can't be taken back whole."""
        history = self._parts.history
        cut = history.changes.trim(self._parts.env.time())
        if cut:
            known = [run for run in history.get(CUT_RUNS, []) if run not in cut]
            history.set(CUT_RUNS, [*known, *cut][-_MOST_CUT:])

    def log_status(self) -> None:
        """Log how many jobs wait and how many failed, while any have failed."""
        letters = self._parts.dlq.count_by_error()
        if letters:
            reasons = ", ".join(f"{count} {error}" for error, count in letters.items())
            text = f"{self._parts.queue.size} waiting; dead letters: {reasons}"
            self._parts.reporter.log("info", text)
