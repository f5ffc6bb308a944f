"""The health of Plex, Stash and the settings: a circuit breaker per server, and pauses.

Nothing here waits: `retry_after` says how long to wait before trying.
"""

from __future__ import annotations

import logging
import math
import sqlite3
from collections.abc import Callable
from typing import Any

from plex.exceptions import PlexNotFound, PlexRejected, PlexTemporaryError
from stash.client import StashQueryError, StashRefused, StashUnavailable
from validation.config import PlexSyncConfig
from validation.errors import SettingsError
from worker.backoff import STANDARD, max_delay
from worker.circuit_breaker import CircuitBreaker, CircuitState
from worker.config_provider import RULE_PROBLEMS, ConfigProvider
from worker.listener import Listener
from worker.outages import PLEX, SETUP, STASH, Outages
from worker.parts import Parts
from worker.state import save_state

log = logging.getLogger("plexsync")

#: Errors that concern every job until a person corrects a setting.
REFUSALS = (SettingsError, PlexRejected, StashRefused, StashQueryError)
#: Errors that pass, and may concern one job or a whole server.
OUTAGES = (PlexTemporaryError, StashUnavailable)
#: The state (`Health.to_dict`) without any trouble.
ALL_WELL = {"plex": "closed", "stash": "closed", "problem": None, "action": None}
#: What solves a problem, for the page: another setting, the switch, or to look closer.
BAD_SETUP, RESUME, CHECK = "setup", "resume", "check"
#: Pause after a failure while the breaker is still closed: base and cap, in seconds.
_PAUSE = (1.0, 10.0)


class Health:
    """The health of Plex, of Stash and of the settings."""

    def __init__(self, provider: ConfigProvider, parts: Parts, listener: Listener) -> None:
        """Start with everything well."""
        self.problem: str | None = None
        self._action = CHECK
        #: whether a server failed since the last success
        self.failing = False
        self._provider = provider
        self._plex = parts.plex
        self._stash = parts.stash
        self._reporter = parts.reporter
        self._history = parts.history
        env = self._env = parts.env
        self._data_dir = parts.data_dir
        self._published: dict[str, Any] | None = None
        self._listener = listener
        #: when the worker began, and when and why it left, in epoch seconds
        self._life: dict[str, Any] = {"since": env.time(), "left_at": None, "left_because": None}
        #: the health that was published last, and since when it is so
        self._last: dict[str, Any] | None = None
        self._changed_at = env.time()
        recovery = env.timing.recovery
        self.plex = CircuitBreaker(recovery_timeout=recovery, clock=env.monotonic)
        self.stash = CircuitBreaker(recovery_timeout=recovery, clock=env.monotonic)
        self._not_before = float("-inf")
        self.outages = Outages(parts)
        #: of the server that failed last, until it answers
        self._suspect: CircuitBreaker | None = None
        self._is_quiet = False

    def ready(self) -> bool:
        """Refresh settings and probe recovering servers; return whether a job may start."""
        if (self.failing or self.problem) and self.retry_after() > 0:
            return False
        if not self.attempt(self._prepare):
            return False
        config = self._provider.config
        if config is None or not config.enabled:
            return False
        if not self.failing:
            self._reporter.withdraw()
        # A long run must not look like an outage that goes on; but settings that were wrong are
        # right when a job has gone through, as Plex may take them for reading alone.
        if self._last != ALL_WELL and not self._is_quiet and not self.outages.is_open(SETUP):
            self.publish()
        return True

    @property
    def max_retries(self) -> int:
        """Retry limit for errors that define none."""
        config = self._provider.config
        return config.max_retries if config else STANDARD[2]

    def publish(self) -> None:
        """Leave the state for *Status* when it changed."""
        state = self._state(self.to_dict())
        if state != self._published and self._data_dir is not None:
            self._published = state
            save_state(self._data_dir, state)

    def begin(self) -> None:
        """Note that the worker begins."""
        self._life.update(since=self._env.time(), left_at=None, left_because=None)

    def leave(self, why: str | None) -> None:
        """Leave the state of a worker that ends; `why` is for a person, None: it is not needed."""
        self._life.update(left_at=self._env.time(), left_because=why)
        self.publish()

    def _state(self, health: dict[str, Any]) -> dict[str, Any]:
        if health != self._last:
            self._last, self._changed_at = health, self._env.time()
        events = self._listener.to_dict()
        return {**health, "changed_at": self._changed_at, **self._life, "events": events}

    def retry_after(self) -> float:
        """Return seconds until a job, or a probe, may be tried; 0: now."""
        pause = self._not_before - self._env.monotonic()
        return max(0.0, pause, self.plex.retry_in(), self.stash.retry_in())

    def attempt(self, step: Callable[[], object]) -> bool:
        """Run a step that concerns no job in particular; return whether it went well.

        Raises:
            sqlite3.Error, OSError: our own disk fails.
        """
        try:
            step()
        except REFUSALS as error:
            self.refused(error)
        except (*OUTAGES, PlexNotFound) as error:
            self.failed(error)
        except (sqlite3.Error, OSError):
            raise  # our own disk; the network's errors were translated
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker must go on trying
            self.unexpected(error)
        else:
            return True
        return False

    def confirm(self) -> bool:
        """Ask a server that failed whether it is back, as no job does; return whether it is.

        An outage that goes on is not logged again: nothing is written while nothing happens.
        """
        self._is_quiet = self.outages.is_open()
        try:
            return self.ready() and self.attempt(self._confirm)
        finally:
            self._is_quiet = False

    def confirm_in(self) -> float:
        """Return seconds until `confirm` is due; infinity: no server is known to fail."""
        is_doubtful = self._suspect is not None or self.outages.is_open()
        return self.retry_after() if is_doubtful else math.inf

    def is_well(self, error: BaseException) -> bool:
        """Ask the server that an error is about one cheap question, and count its answer."""
        return self.attempt(lambda: self._probe(self.breaker_of(error)))

    def is_open(self) -> bool:
        """Return whether calls to one of the servers are paused."""
        return not (self.plex.can_execute() and self.stash.can_execute())

    def breaker_of(self, error: BaseException) -> CircuitBreaker:
        """Return the breaker of the server that an error is about."""
        return self.stash if isinstance(error, StashUnavailable) else self.plex

    def succeeded(self) -> None:
        """Count a job that went through: both servers are up."""
        self.plex.record_success()
        self.stash.record_success()
        self._note_answer(self.plex)
        self._note_answer(self.stash)
        self.outages.end(SETUP)
        self.failing = False
        self._reporter.withdraw()

    def refused(self, error: Exception) -> None:
        """Pause all jobs: a setting or a login is wrong until a person corrects it."""
        if isinstance(error, (SettingsError, PlexRejected)):
            self._provider.reject(str(error))
        self.pause(str(error), f"{error}. Edits are kept, and synced once this is corrected")
        if isinstance(error, (SettingsError, PlexRejected)):
            self._action = BAD_SETUP
            self.outages.begin(SETUP)
        if isinstance(error, PlexRejected):
            self.outages.end(PLEX)
        self._plex.close()

    def failed(self, error: Exception) -> None:
        """Count a server's failure: a short pause at first, then the breaker opens."""
        self.failing = True
        breaker = self._suspect = self.breaker_of(error)
        breaker.record_failure()
        who = "Plex" if breaker is self.plex else "Stash"
        if breaker.can_execute():
            base, cap = (seconds * self._env.timing.scale for seconds in _PAUSE)
            delay = self._env.uniform(0, max_delay(breaker.failures, base, cap))
            self._not_before = self._env.monotonic() + delay
            self._reporter.log("info", f"{who} fails ({error}); trying again")
            return
        self.outages.begin(PLEX if breaker is self.plex else STASH)
        if self._is_quiet:
            return
        config = self._provider.config
        where = f" at {config.plex_url}" if config and who == "Plex" else ""
        self._reporter.notify_user(
            "warning",
            f"{who} is down{where}: {error}. Edits are kept, and synced when it is back",
            passing=True,
        )

    def obstacle(self) -> str | None:
        """Return why nothing can be synced now, unless that may pass within seconds."""
        if self._provider.disabled or self.problem:
            return str(self.to_dict()["problem"])
        down = (name for name in ("plex", "stash") if self.to_dict()[name] == "open")
        return next((f"{name.capitalize()} is down" for name in down), None)

    def pause(self, problem: str, message: str | None = None) -> None:
        """Try nothing for a while.

        Args:
            problem: what keeps the worker from working, for *Status*.
            message: what the user reads now; default: the same.
        """
        self.problem, self._action = problem, CHECK
        self._not_before = self._env.monotonic() + self._env.timing.settings_check
        if not self._is_quiet:
            self._reporter.notify_user("error", message or problem, passing=True)

    def unexpected(self, error: Exception) -> None:
        """Log an error that should not have happened, and try again later."""
        log.error("Unexpected error", exc_info=error)
        self.pause(
            f"Unexpected error: {type(error).__name__}: {error}."
            " PlexSync tries again; its log has the details"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the state for *Status*, in JSON's types."""
        off = "PlexSync is switched off; edits are kept"
        is_off = self._provider.disabled
        action = RESUME if is_off else self._action if self.problem else None
        return {
            "plex": _shown(self.plex),
            "stash": _shown(self.stash),
            "problem": off if is_off else self.problem,
            "action": action,
        }

    def _prepare(self) -> None:
        if self.failing and self.stash.state is CircuitState.HALF_OPEN:
            self._recover(self.stash, "Stash")
        plex_recovers = self.failing and self.plex.state is CircuitState.HALF_OPEN
        known = self._provider.config
        # Before a probe of Plex the settings are read: its address may be new.
        config = self._provider.refresh(at_once=plex_recovers or self.problem is not None)
        if config is not known:
            self.plex.reset()
            self._plex.configure(config)
            self._say_wrong_rules(config)
        self.problem = None
        if plex_recovers:
            self._recover(self.plex, "Plex")

    def _say_wrong_rules(self, config: PlexSyncConfig) -> None:
        """Tell the user which rules are wrong, once; *Status* and the page show it meanwhile."""
        problems = [f"{one}. The last valid one stays in effect" for one in config.rule_problems]
        if problems == self._history.get(RULE_PROBLEMS, []):
            return
        self._history.set(RULE_PROBLEMS, problems)
        for problem in problems:
            self._reporter.notify_user("warning", problem)

    def _recover(self, breaker: CircuitBreaker, name: str) -> None:
        self._probe(breaker)
        self._reporter.log("info", f"{name} is back")

    def _probe(self, breaker: CircuitBreaker) -> None:
        self._ask(breaker)
        breaker.record_success()
        self._note_answer(breaker)

    def _ask(self, breaker: CircuitBreaker) -> None:
        if breaker is self.plex:
            self._plex.client().probe()
        elif self._stash is not None:
            self._stash.check()

    def _note_answer(self, breaker: CircuitBreaker) -> None:
        if self._suspect is breaker:
            self._suspect = None
        if self.outages.is_open():
            self.outages.end(PLEX if breaker is self.plex else STASH)

    def _confirm(self) -> None:
        """Ask the server that failed; its failures so far still count, as others may be alike."""
        if self.outages.is_open(SETUP):  # a login that Plex takes is not all: libraries, too
            self._plex.client().probe()
            self._plex.libraries()
            self.outages.end(SETUP)
        elif self.outages.is_open():
            self._probe(self.stash if self.outages.is_open(STASH) else self.plex)
        elif self._suspect is not None:
            self._ask(self._suspect)
            self._suspect = None


def _shown(breaker: CircuitBreaker) -> str:
    """Return whether a server is up, as *Status* reads it: before a probe, nothing is new."""
    return "closed" if breaker.state is CircuitState.CLOSED else "open"
