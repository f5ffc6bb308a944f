"""Send a message to the user's webhook: one bounded request, and what became of it.

Its address is a secret: whoever knows it can post there. No text from here contains a part of it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests
from urllib3.exceptions import NewConnectionError

from common.limited import AnswerTooLarge, LimitedSession
from common.version import VERSION

#: Bytes of an answer. It is not used.
MAX_ANSWER = 4_096
_SUCCESSES, _REDIRECTS = range(200, 300), range(300, 400)
#: Statuses that pass: too early, too many requests, and a server in trouble.
_PASSING = (408, 425, 429, *range(500, 600))


@dataclass(frozen=True)
class Delivery:
    """What became of a message."""

    #: why it did not arrive; None: it did
    problem: str | None = None
    #: it did not arrive for sure, and may do so later
    may_retry: bool = False


class Webhook:
    """Sends one message at a time, in a thread that ends with it."""

    def __init__(self, seconds: float = 5.0) -> None:
        """Send nothing yet.

        Args:
            seconds: that an exchange may take.
        """
        self.seconds = seconds
        #: seconds for which a look waits for it
        self.patience = seconds
        self._thread: threading.Thread | None = None
        self._delivery: Delivery | None = None

    def start(self, url: str, message: Mapping[str, Any]) -> None:
        """Begin to send a message; `result` says what became of it."""

        def send() -> None:
            self._delivery = deliver(url, message, self.seconds)

        self._delivery = None
        # A name server may take longer than any timeout: the worker does not wait for it.
        self._thread = threading.Thread(target=send, name="plexsync-webhook", daemon=True)
        self._thread.start()

    def result(self) -> Delivery | None:
        """Wait a moment, and return what became of the message; None: it is not known yet."""
        if self._thread is None:
            return None
        self._thread.join(self.patience)
        if self._thread.is_alive():
            return None
        self._thread = None
        return self._delivery or Delivery("it can't be sent")

    @property
    def is_busy(self) -> bool:
        """Return whether a message is on its way."""
        return self._thread is not None


def deliver(url: str, message: Mapping[str, Any], seconds: float) -> Delivery:
    """Post a message as JSON.

    Args:
        url: of the webhook; a redirect is not followed.
        message: in JSON's types.
        seconds: that the exchange may take.
    """
    statuses: list[int] = []

    def note(response: requests.Response, **_: Any) -> None:
        statuses.append(response.status_code)

    half = seconds / 2
    try:
        with LimitedSession(half, max_bytes=MAX_ANSWER) as session:
            session.post(
                url, json=message, timeout=(half, half), hooks={"response": note},
                headers={"User-Agent": f"PlexSync/{VERSION}"},
            )  # fmt: skip
    except Exception as error:  # noqa: BLE001 - a traceback would show the address
        if not statuses:
            return Delivery(_problem(error), may_retry=_is_unsent(error))
    return _judge(statuses[-1])  # an answer that is too long, or has no end, has a status too


def _judge(status: int) -> Delivery:
    if status in _REDIRECTS:
        return Delivery(f"it answers {status}, a redirect, which is not followed")
    if status not in _SUCCESSES:
        return Delivery(f"it answers {status}", may_retry=status in _PASSING)
    return Delivery()


def _is_unsent(error: Exception) -> bool:
    """Return whether no connection was made, so that the message can't have arrived."""
    if isinstance(error, requests.exceptions.SSLError):
        return False
    reason = getattr(error.args[0], "reason", None) if error.args else None
    is_refused = isinstance(reason, NewConnectionError)
    return is_refused or isinstance(error, requests.ConnectTimeout)


def _problem(error: Exception) -> str:
    """Describe an error without its text, which names the address."""
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not accepted"
    if isinstance(error, requests.Timeout):
        return "it does not answer in time"
    if isinstance(error, requests.ConnectionError):
        return "there is no connection" if _is_unsent(error) else "the connection broke"
    if isinstance(error, AnswerTooLarge):
        return "its answer is too large"
    return f"it can't be sent ({type(error).__name__})"
