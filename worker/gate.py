"""May a job be taken now? Only with settings that are in order, and while Plex and Stash are up.

The gate holds everything that concerns all jobs alike: the settings in effect, what is wrong with them, and a
circuit breaker for each server. It waits for nothing itself: `closed_for` says how long there is no use in trying.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from plex.exceptions import PlexNotFound, PlexRejected, PlexTemporaryError
from stash.client import StashQueryError, StashRefused, StashUnavailable
from validation.config import PlexSyncConfig
from validation.errors import SettingsError
from worker.circuit_breaker import CircuitBreaker, CircuitState
from worker.reporter import Reporter
from worker.timing import Clock, Timing

log = logging.getLogger("plexsync")

#: What concerns all jobs until a person corrects it.
REFUSALS = (SettingsError, PlexRejected, StashRefused, StashQueryError)
#: What passes, and may concern one job or all.
PASSING = (PlexTemporaryError, StashUnavailable)
#: Pause after an outage while the breaker is still closed: base and cap, in seconds.
_PAUSE = (1.0, 10.0)


class Gate:
    """Lets jobs through, or not."""

    def __init__(
        self,
        config: PlexSyncConfig | None,
        *,
        load_config: Callable[[], PlexSyncConfig] | None,
        probe_plex: Callable[[], object],
        probe_stash: Callable[[], object],
        on_new_config: Callable[[PlexSyncConfig], object],
        disconnect: Callable[[], object],
        reporter: Reporter,
        clock: Clock,
        timing: Timing,
        delay: Callable[[int, float, float], float],
    ) -> None:
        """Start open.

        Args:
            load_config: asks for the settings; raises SettingsError, StashUnavailable, StashRefused.
            probe_plex, probe_stash: ask the server one cheap question; raise what it answers.
            on_new_config: called when other settings take effect.
            disconnect: gives up the connection to Plex, which was made with settings that are wrong or outdated.
            delay: (failures so far, base, cap) → seconds.
        """
        self.config = config
        self.problem: str | None = None
        self.plex = CircuitBreaker(recovery_timeout=timing.recovery, clock=clock.monotonic)
        self.stash = CircuitBreaker(recovery_timeout=timing.recovery, clock=clock.monotonic)
        self._load_config = load_config
        self._probes = {self.plex: probe_plex, self.stash: probe_stash}
        self._on_new_config = on_new_config
        self._disconnect = disconnect
        self._reporter = reporter
        self._clock = clock
        self._timing = timing
        self._delay = delay
        self._not_before = float("-inf")
        self._read_at = float("-inf")
        self._rejected: PlexSyncConfig | None = None  # Plex said no to these
        self._rejected_at = float("-inf")

    @property
    def disabled(self) -> bool:
        """Whether the user switched the plugin off."""
        return self.config is not None and not self.config.enabled

    @property
    def shut(self) -> bool:
        """Whether there is no use in trying at present."""
        return self.problem is not None or self.closed_for() > 0

    def closed_for(self) -> float:
        """Return seconds until a job, or a probe, may be tried; 0: now."""
        pause = self._not_before - self._clock.monotonic()
        return max(0.0, pause, self.plex.retry_in(), self.stash.retry_in())

    def current(self) -> PlexSyncConfig:
        """Return the settings in effect.

        Raises:
            SettingsError: there are none.
        """
        if self.config is None:
            raise SettingsError("PlexSync has no settings yet")
        return self.config

    def state(self) -> dict[str, Any]:
        """Return how things are, in JSON's types."""
        problem = "PlexSync is switched off; edits are kept" if self.disabled else self.problem
        return {"plex": self.plex.state.value, "stash": self.stash.state.value, "problem": problem}

    def enter(self) -> bool:
        """Do what is due before a job is taken, a probe or a look at the settings; return whether one may be."""
        if self.closed_for() > 0:
            return False
        for breaker in (self.stash, self.plex):
            if breaker.state is CircuitState.HALF_OPEN and not self.guard(
                partial(self._recover, breaker)
            ):
                return False
        return self.guard(self._refresh) and not self.disabled

    def guard(self, step: Callable[[], object]) -> bool:
        """Do something that concerns no job in particular; return whether it went well."""
        try:
            step()
        except REFUSALS as error:
            self.refuse(error)
        except (*PASSING, PlexNotFound) as error:
            self.fail(self.breaker_of(error), error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker must go on trying
            self.stumble(error)
        else:
            return True
        return False

    def breaker_of(self, error: BaseException) -> CircuitBreaker:
        """Return the breaker of the server that an error is about."""
        return self.stash if isinstance(error, StashUnavailable) else self.plex

    def is_well(self, breaker: CircuitBreaker) -> bool:
        """Ask a server whether it is up, after something went wrong; count its answer."""

        def ask() -> None:
            self._probes[breaker]()
            breaker.record_success()

        return self.guard(ask)

    def succeed(self) -> None:
        """A job went through: both servers are up."""
        self.plex.record_success()
        self.stash.record_success()

    def refuse(self, error: Exception) -> None:
        """A setting is wrong, or a login: nothing is tried until it is corrected, or for a while."""
        if (
            self.config is not None
            and isinstance(error, (SettingsError, PlexRejected))
            and self._rejected != self.config
        ):
            self._rejected, self._rejected_at = self.config, self._clock.monotonic()
        self.problem = str(error)
        self._not_before = self._clock.monotonic() + self._timing.settings_check
        self._reporter.notify_user(
            "error", f"{error}. Edits are kept, and synced once this is corrected"
        )
        self._disconnect()

    def fail(self, breaker: CircuitBreaker, error: Exception) -> None:
        """A server is down: a short pause at first, then the breaker opens."""
        breaker.record_failure()
        who = "Plex" if breaker is self.plex else "Stash"
        if breaker.can_execute():
            base, cap = (seconds * self._timing.scale for seconds in _PAUSE)
            self._not_before = self._clock.monotonic() + self._delay(breaker.failures, base, cap)
            self._reporter.log("info", f"{who} fails ({error}); trying again")
            return
        where = f" at {self.config.plex_url}" if self.config and who == "Plex" else ""
        self._reporter.notify_user(
            "warning", f"{who} is down{where}: {error}. Edits are kept, and synced when it is back"
        )

    def pause(self, text: str) -> None:
        """Nothing can be done for a while, for a reason on our own side."""
        self.problem = text
        self._not_before = self._clock.monotonic() + self._timing.settings_check
        self._reporter.notify_user("error", text)

    def stumble(self, error: Exception) -> None:
        """Something failed that should not have: say where, and try again later."""
        log.error("Unexpected", exc_info=error)
        self.pause(
            f"PlexSync stumbled: {type(error).__name__}: {error}. It tries again; its log has the details"
        )

    def _recover(self, breaker: CircuitBreaker) -> None:
        """One probe after the recovery time; before one of Plex, a look at the settings: its address may be new."""
        if breaker is self.plex:
            self._refresh(at_once=True)
        self._probes[breaker]()
        breaker.record_success()
        self._reporter.log("info", f"{'Plex' if breaker is self.plex else 'Stash'} is back")

    def _refresh(self, *, at_once: bool = False) -> None:
        """Ask for the settings where ours are not fresh; new ones take effect at once.

        Raises:
            SettingsError, StashUnavailable, StashRefused
        """
        now = self._clock.monotonic()
        fresh = (
            now - self._read_at < self._timing.settings_fresh
            and not at_once
            and self.problem is None
        )
        if fresh and self.config is not None:
            return
        try:
            config = self._load_config() if self._load_config else self.current()
        except SettingsError:
            self.config = self._rejected = None  # what is wrong now is no longer what Plex rejected
            raise
        self._read_at = now
        if config == self._rejected and now - self._rejected_at < self._timing.rejected_retry:
            raise SettingsError(self.problem or "Plex rejects the settings")
        if config != self.config:
            config.log_config()
            self.config = config
            self.plex.reset()
            self._disconnect()
            self._on_new_config(config)
        self.problem = self._rejected = None
