"""Tell the user's webhook of what lasts: a server that is down, a rejected token, scenes in need.

One message when a cause has lasted for a while, at most one a day for each cause, and one when it
is over, if the first one arrived. What is sent is remembered on disk before it is sent: a worker
that is killed in between, and its successor, rather lose a message than repeat it.
"""

from __future__ import annotations

import math
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from common.texts import duration_in_words
from common.version import VERSION
from history.counts import count_needs, failed_jobs
from worker.config_provider import ConfigProvider
from worker.outages import PLEX, SETUP, STASH, Outages, unfinished
from worker.parts import Parts
from worker.webhook import Delivery, Webhook

#: Further causes: scenes need the user; PlexSync can't write its files.
NEEDS, DISK = "needs_user", "disk"
#: An event of its own: the user tries the webhook.
TEST = "test"
CAUSES = (PLEX, STASH, SETUP, DISK, NEEDS)
#: State in the history: what was sent; why the webhook could not be reached.
ALERTS = "alerts"
PROBLEM = "webhook_problem"
_OVER = "_over"
#: Seconds between two attempts to send a message; after the last one it is dropped.
_RETRIES = (30.0, 120.0, 600.0)


@dataclass
class _Message:
    """A message that was remembered and has not arrived yet."""

    cause: str
    is_over: bool
    content: dict[str, Any]
    attempts: int = 0
    #: on the monotonic clock
    next_at: float = -math.inf


class Alerts:
    """Decides which message is due, and sends it."""

    def __init__(self, parts: Parts, provider: ConfigProvider, outages: Outages) -> None:
        self._parts = parts
        self._provider = provider
        self._outages = outages
        self.webhook = Webhook()
        #: cause → when a message was last sent (`at`), whether the user was told that it is there
        #: (`open`), and of how many scenes (`needs`)
        self._told: dict[str, dict[str, Any]] = parts.history.get(ALERTS, {})
        self._message: _Message | None = None
        self._needs: int | None = None
        self._counted_at = -math.inf
        self._counted_version = -1
        self._disk_failed_at = -math.inf
        self._disk_since: float | None = None

    def note_disk_failure(self) -> None:
        """Note that PlexSync could not write one of its files."""
        now = self._parts.env.monotonic()
        self._disk_failed_at = now
        if self._disk_since is None:
            self._disk_since = now

    def due_in(self) -> float:
        """Return seconds until something may be due; infinity: not before work is done."""
        if not self._provider.webhook_url:
            return math.inf
        now, timing = self._parts.env.monotonic(), self._parts.env.timing
        if self.webhook.is_busy:
            return self.webhook.seconds
        if self._message is not None:
            return max(0.0, self._message.next_at - now)
        lasting = ((cause, self._lasts_for(cause)) for cause in (PLEX, STASH, SETUP, DISK))
        waits = [
            self._threshold(cause) - seconds
            for cause, seconds in lasting
            if seconds is not None and seconds < self._threshold(cause)
        ]
        if self._parts.history.version() != self._counted_version:
            waits.append(self._counted_at + timing.count_needs - now)
        return max(0.0, min(waits, default=math.inf))

    def look(self) -> None:
        """Send what is due, and note what became of the message before.

        Raises:
            sqlite3.Error: it can't be remembered, so it is not sent.
        """
        self._look_at_disk()
        if self._provider.webhook_url is None:  # the settings were not read yet
            return
        if not self._provider.webhook_url:
            self._forget()
            return
        if self.webhook.is_busy:
            self._collect()
        if self.webhook.is_busy:
            return
        if self._message is None:
            self._count_needs()
            self._find_due()
        elif not self._message.is_over and self._lasts_for(self._message.cause) is None:
            self._message = None  # it is over, and the user was not told
        if self._message is not None:
            self._send(self._message)

    def close(self) -> None:
        """Wait a moment for a message that is on its way."""
        if self.webhook.is_busy:
            self._collect()

    # --- what is due

    def _lasts_for(self, cause: str) -> float | None:
        """Return for how many seconds a cause has been there; None: it is not."""
        if cause == NEEDS:
            return 0.0 if self._needs else None
        if cause == DISK:
            since = self._disk_since
            return None if since is None else self._parts.env.monotonic() - since
        return self._outages.open_for(cause)

    def _threshold(self, cause: str) -> float:
        timing = self._parts.env.timing
        if cause == NEEDS:
            return 0.0
        return timing.outage_alert if cause in (PLEX, STASH) else timing.setup_alert

    def _find_due(self) -> None:
        """Remember the next message that is due, to be sent then."""
        for cause in CAUSES:
            lasts, told = self._lasts_for(cause), self._told.get(cause, {})
            is_told = bool(told.get("open"))
            if lasts is None:
                if is_told and (cause != NEEDS or self._needs is not None):
                    self._remember(cause, {**told, "open": False})
                    self._message = _Message(cause, True, self._content(cause, is_over=True))
                    return
            elif self._is_there(cause, lasts) and self._is_news(cause, told):
                now = self._parts.env.time()
                # The first one does not count as told until it has arrived.
                told = {"at": now, "open": is_told, "needs": self._needs}
                self._remember(cause, told)
                self._message = _Message(cause, False, self._content(cause, is_over=False))
                return

    def _is_there(self, cause: str, lasts: float) -> bool:
        """Return whether a cause has lasted long enough, and is there now for sure."""
        if cause in (PLEX, STASH, SETUP) and not self._outages.is_confirmed(cause):
            return False  # what a worker before has seen may be over
        return lasts >= self._threshold(cause)

    def _is_news(self, cause: str, told: dict[str, Any]) -> bool:
        """Return whether the user is to be told of a cause now."""
        if told.get("open"):
            needs, known = self._needs or 0, told.get("needs") or 0
            if cause == NEEDS and needs < known:  # what comes on top of these is news again
                self._remember(cause, {**told, "needs": needs})
            if cause != NEEDS or needs <= known:
                return False
        passed = self._parts.env.time() - told.get("at", -math.inf)
        return not 0 <= passed < self._parts.env.timing.alert_again

    def _count_needs(self) -> None:
        """Count the scenes that need the user, if anything has changed for a while."""
        parts, now = self._parts, self._parts.env.monotonic()
        version = parts.history.version()
        is_new = version != self._counted_version
        if is_new and now - self._counted_at >= parts.env.timing.count_needs:
            self._needs = count_needs(parts.history.needing(), parts.dlq.ask(failed_jobs))
            self._counted_at, self._counted_version = now, version

    def _look_at_disk(self) -> None:
        """Note whether a disk that failed can be written again."""
        if self._disk_since is None:
            return
        passed = self._parts.env.monotonic() - self._disk_failed_at
        if passed >= 2 * self._parts.env.timing.settings_check:  # it was tried again in between
            self._parts.history.set(ALERTS, self._told)
            self._disk_since = None

    # --- sending

    def _remember(self, cause: str, told: dict[str, Any]) -> None:
        """Store what is about to be sent.

        That the disk is full can't be stored: it is said once by each worker.
        """
        all_told = {**self._told, cause: told}
        with suppress(*((sqlite3.Error,) if cause == DISK else ())):
            self._parts.history.set(ALERTS, all_told)
        self._told = all_told
        self._note_own_change()

    def _note_own_change(self) -> None:
        """Don't count the scenes again because of what was stored here."""
        if self._needs is not None:
            self._counted_version = self._parts.history.version()

    def _send(self, message: _Message) -> None:
        if self._parts.env.monotonic() < message.next_at:
            return
        assert self._provider.webhook_url
        message.attempts += 1
        self.webhook.start(self._provider.webhook_url, message.content)
        self._collect()

    def _collect(self) -> None:
        delivery, message = self.webhook.result(), self._message
        if delivery is None:  # on its way: the next look asks again
            return
        if message is None:  # over meanwhile
            self._note_problem(delivery.problem)
        elif delivery.problem is None:
            self._message = None
            if not message.is_over:
                self._remember(message.cause, {**self._told[message.cause], "open": True})
            self._note_problem(None)
        else:
            self._retry(message, delivery)

    def _retry(self, message: _Message, delivery: Delivery) -> None:
        """Try to send a message again later, or drop it; what goes on is told again in a day."""
        self._note_problem(delivery.problem)
        if delivery.may_retry and message.attempts <= len(_RETRIES):
            delay = _RETRIES[message.attempts - 1] * self._parts.env.timing.scale
            message.next_at = self._parts.env.monotonic() + delay
            return
        self._message = None
        text = f"The webhook can't be reached: {delivery.problem}. Check its address"
        self._parts.reporter.notify_user("warning", text)

    def _note_problem(self, problem: str | None) -> None:
        """Store why the webhook can't be reached, for *Status*."""
        known = self._parts.history.get(PROBLEM, {})
        if problem != known.get("text"):
            stored = problem and {"text": problem, "since": self._parts.env.time()}
            self._parts.history.set(PROBLEM, stored or None)
            self._note_own_change()

    def _forget(self) -> None:
        """Without a webhook, nothing was told: another one begins anew."""
        self._message = None
        if self._told:
            self._parts.history.set(ALERTS, None)
            self._told = {}
        self._note_problem(None)

    def _content(self, cause: str, *, is_over: bool) -> dict[str, Any]:
        """Return a message: counts and times, and nothing of a scene or a server."""
        waiting: int | None = None
        with suppress(sqlite3.Error):
            waiting = unfinished(self._parts.queue)
        lasts = self._lasts_for(cause) or 0.0
        since: float | None = self._parts.env.time() - lasts
        if is_over:
            one = self._outages.last(cause) or {}
            lasts, since = one.get("seconds") or 0.0, one.get("since")
        text = _over_text(cause, lasts) if is_over else _text(cause, lasts, self._needs or 0)
        if waiting and cause != NEEDS:
            text += f" {_edits(waiting)}."
        return message(
            cause, text, is_over=is_over, since=since, waiting=waiting, needs=self._needs
        )


def message(
    cause: str,
    text: str,
    *,
    is_over: bool = False,
    since: float | None = None,
    waiting: int | None = None,
    needs: int | None = None,
) -> dict[str, Any]:
    """Return what is posted to a webhook, in JSON's types.

    Args:
        cause: one of `CAUSES`, or `TEST`.
        text: a sentence.
        since: epoch seconds.
        waiting: edits that wait; None: not known.
        needs: scenes that need the user; None: not known.
    """
    sentence = f"PlexSync: {text}"
    moment = None if since is None else datetime.fromtimestamp(since, timezone.utc)
    return {
        "event": cause + _OVER if is_over else cause,
        "cause": cause,
        "since": moment and moment.isoformat(timespec="seconds"),
        "waiting": waiting,
        "needs": needs,
        "text": sentence,  # shown by Slack, Mattermost, Rocket.Chat
        "content": sentence,  # shown by Discord
        "version": VERSION,
    }


def _text(cause: str, lasts: float, needs: int) -> str:
    if cause in (PLEX, STASH):
        name = "Plex" if cause == PLEX else "Stash"
        return f"{name} has been down for {duration_in_words(lasts)}."
    if cause == SETUP:
        return "Plex rejects the token, or a setting is wrong. PlexSync's page in Stash says which."
    if cause == DISK:
        return "It can't write its files. Check the disk of the machine that runs Stash."
    return f"{needs} scenes need you." if needs > 1 else "One scene needs you."


def _over_text(cause: str, lasts: float) -> str:
    if cause in (PLEX, STASH):
        return f"{'Plex' if cause == PLEX else 'Stash'} is back after {duration_in_words(lasts)}."
    if cause == SETUP:
        return "Plex accepts the settings again."
    return "It can write its files again." if cause == DISK else "No scene needs you any more."


def _edits(waiting: int) -> str:
    return "One edit waits" if waiting == 1 else f"{waiting} edits wait"
