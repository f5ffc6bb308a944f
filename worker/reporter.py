"""The worker's messages: all to its log, those for the user also to Stash's log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from common.redaction import Redactor
from common.texts import cut
from stash.deferred_log import defer_log_line, withdraw_passing_lines

log = logging.getLogger("plexsync")
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
#: Seconds for which the same message is not repeated, in the log and to the user.
LOG_AGAIN = 60.0
NOTIFY_AGAIN = 600.0
#: Messages that are remembered.
_REMEMBERED = 1_000


class Reporter:
    """Writes messages, each once a while."""

    def __init__(
        self,
        data_dir: str | None = None,
        *,
        redactor: Redactor | None = None,
        tell: Callable[[str, str], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Say nothing yet.

        Args:
            data_dir: where lines for Stash's log are left; None: nowhere.
            redactor: removes secrets from what the user reads.
            tell: where (level, text) goes instead, when Stash listens to this process.
        """
        self._redactor = redactor or Redactor()
        self._data_dir = data_dir
        self._tell = tell
        self._clock = clock
        self._logged: dict[str, float] = {}
        self._notified: dict[str, float] = {}
        self._passing: set[str] = set()
        self._may_withdraw = True  # an earlier worker may have left such lines

    def log(self, level: str, text: str) -> None:
        """Write one line to the log, whatever line breaks a file's name has."""
        text = " ".join(text.splitlines())
        if self._is_due(self._logged, text, LOG_AGAIN):
            log.log(_LEVELS[level], "%s", text)

    def notify_user(self, level: str, text: str, *, passing: bool = False) -> None:
        """Write a line to the log and to Stash's log: a person should act on it.

        Args:
            passing: `withdraw` deletes it unread.
        """
        self.log(level, text)
        if not self._is_due(self._notified, text, NOTIFY_AGAIN):
            return
        if passing:
            self._passing.add(text)
            self._may_withdraw = True
        text = cut(self._redactor.redact(text))
        if self._tell is not None:
            self._tell(level, text)
        elif self._data_dir is not None:
            defer_log_line(self._data_dir, level, text, passing=passing)

    def withdraw(self) -> None:
        """Take back passing lines that no hook or task has logged yet: their cause is gone."""
        if not self._may_withdraw:
            return
        self._may_withdraw = False
        for text in self._passing:
            self._notified.pop(text, None)
        self._passing.clear()
        if self._data_dir is not None:
            withdraw_passing_lines(self._data_dir)

    def _is_due(self, when: dict[str, float], text: str, pause: float) -> bool:
        now = self._clock()
        if now - when.get(text, float("-inf")) < pause:
            return False
        if len(when) >= _REMEMBERED:
            when.clear()
        when[text] = now
        return True


class NullReporter(Reporter):
    """Writes nothing, for callers that only want to know what would be."""

    def log(self, level: str, text: str) -> None:
        """Write nothing."""

    def notify_user(self, level: str, text: str, *, passing: bool = False) -> None:
        """Write nothing."""

    def withdraw(self) -> None:
        """Take back nothing."""
