"""Define the base error classes and classify any exception as transient or permanent.

TransientError                      retry later
├── plex.exceptions.PlexTemporaryError
├── plex.exceptions.PlexNotFound    (retried for longer)
└── stash.client.StashUnavailable, StashRefused
PermanentError                      dead-letter: a user must act
├── plex.exceptions.PlexPermanentError
│   └── plex.exceptions.PlexRejected   (a setting is wrong: jobs wait unchanged)
├── plex.matcher.AmbiguousMatch
└── stash.client.StashQueryError
SettingsError                       jobs wait unchanged until a setting is corrected
"""

from __future__ import annotations

import json
import ssl
from typing import Any


class TransientError(Exception):
    """Signal an error that a retry may fix."""


class PermanentError(Exception):
    """Signal an error that no retry can fix."""

    #: JSON data that helps the user decide, such as candidates; stored in the dead letter.
    details: Any = None


class SettingsError(Exception):
    """Signal a setting that is missing, invalid or rejected by the server.

    The message is one line for the user.
    """


#: Request timeout, too early, too many requests.
_TRANSIENT_4XX = (408, 425, 429)
#: ValueErrors that mean a malformed response, not invalid data of ours.
_MALFORMED_RESPONSE = (json.JSONDecodeError, UnicodeDecodeError)
_DATA_ERRORS = (ValueError, TypeError, KeyError, IndexError, AttributeError)


def classify_http_error(status: int) -> type[Exception]:
    """Return `TransientError` or `PermanentError` for an HTTP status (RFC 9110, RFC 6585).

    A 4xx status is permanent, except for timeouts and "too many requests".
    """
    if 400 <= status < 500 and status not in _TRANSIENT_4XX:
        return PermanentError
    return TransientError


def classify_exception(exc: BaseException) -> type[Exception]:
    """Return `TransientError` or `PermanentError` for any exception; unknown ones are transient.

    Invalid data (ValueError, KeyError, pydantic's ValidationError …) is a permanent error.
    """
    if isinstance(exc, PermanentError):
        return PermanentError
    if isinstance(exc, (TransientError, *_MALFORMED_RESPONSE)):
        return TransientError
    status = getattr(getattr(exc, "response", None), "status_code", None)
    if isinstance(status, int):
        return classify_http_error(status)
    if isinstance(exc, _DATA_ERRORS) and not _is_network_error(exc):
        return PermanentError
    return TransientError


def _is_network_error(exc: BaseException) -> bool:
    """Tell whether an exception is a network error.

    The network errors of requests are OSErrors. Its errors about invalid URLs are ValueErrors too,
    and so is a failed certificate verification, which does count as a network error.
    """
    return isinstance(exc, ssl.SSLError) or (
        isinstance(exc, OSError) and not isinstance(exc, ValueError)
    )
