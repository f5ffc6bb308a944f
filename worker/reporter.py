"""What the worker says: everything to its log, and what a user must act on also to Stash's log, later."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from stash.deferred_log import defer_log_line

log = logging.getLogger("plexsync")
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
#: Seconds for which the same sentence is not said again, in the log and to the user.
SAY_AGAIN = 60.0
TELL_AGAIN = 600.0
#: Sentences that are remembered.
_REMEMBERED = 1_000


class Reporter:
    """Says each thing once a while."""

    def __init__(
        self,
        data_dir: str | None = None,
        *,
        redact: Callable[[str], str] = str,
        tell: Callable[[str, str], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        data_dir: where notices for Stash's log are left; None: nowhere.
        redact: takes secrets out of a notice.
        tell: where (level, text) goes instead, when Stash listens to this process.
        """
        self._redact = redact
        self._data_dir = data_dir
        self._tell = tell or self._leave
        self._clock = clock
        self._said: dict[str, float] = {}
        self._told: dict[str, float] = {}

    def log(self, level: str, text: str) -> None:
        """Write a line to the log: one, whatever line breaks a file's name has."""
        text = " ".join(text.splitlines())
        if self._is_due(self._said, text, SAY_AGAIN):
            log.log(_LEVELS[level], "%s", text)

    def notify_user(self, level: str, text: str) -> None:
        """Write a line to the log, and leave it for Stash's: a person should act on it."""
        self.log(level, text)
        if self._is_due(self._told, text, TELL_AGAIN):
            self._tell(level, self._redact(text))

    def _leave(self, level: str, text: str) -> None:
        if self._data_dir is not None:
            defer_log_line(self._data_dir, level, text)

    def _is_due(self, when: dict[str, float], text: str, pause: float) -> bool:
        now = self._clock()
        if now - when.get(text, float("-inf")) < pause:
            return False
        if len(when) >= _REMEMBERED:
            when.clear()
        when[text] = now
        return True


class NullReporter(Reporter):
    """Says nothing: for whoever only wants to know what would be."""

    def log(self, level: str, text: str) -> None:
        """Say nothing."""

    def notify_user(self, level: str, text: str) -> None:
        """Say nothing."""
