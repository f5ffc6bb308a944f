"""The family of errors, and into which branch a foreign one belongs.

TransientError                      try again later
├── plex.exceptions.PlexTemporaryError
├── plex.exceptions.PlexNotFound    (longer patience)
└── stash.client.StashUnavailable, StashRefused
PermanentError                      a person must help: to the dead letters
├── plex.exceptions.PlexPermanentError
│   └── plex.exceptions.PlexRejected   (a setting is wrong: no job is touched)
├── plex.matcher.AmbiguousMatch
└── stash.client.StashQueryError
SettingsError                       nothing can go on until a setting is corrected; no job is touched
"""

from __future__ import annotations

import json
import ssl
from typing import Any


class TransientError(Exception):
    """It may work later."""


class PermanentError(Exception):
    """It will fail again the same way."""

    #: What a person needs to decide, in JSON's types; kept in the dead letter.
    details: Any = None


class SettingsError(Exception):
    """A setting is missing or wrong, or the server rejects it. The text is one line for the user."""


_TIMEOUT, _TOO_EARLY, _TOO_MANY = 408, 425, 429
#: A garbled answer, though a ValueError, is the server's passing fault and not the data's.
_GARBLED = (json.JSONDecodeError, UnicodeDecodeError)
_DATA_ERRORS = (ValueError, TypeError, KeyError, IndexError, AttributeError)


def classify_http_error(status: int) -> type[Exception]:
    """Return `TransientError` or `PermanentError` for an HTTP status (RFC 9110, RFC 6585).

    A request that was refused (4xx) is refused again, but for time-outs and "too many requests".
    """
    if 400 <= status < 500 and status not in (_TIMEOUT, _TOO_EARLY, _TOO_MANY):
        return PermanentError
    return TransientError


def classify_exception(exc: BaseException) -> type[Exception]:
    """Return `TransientError` or `PermanentError` for any exception; unknown ones are transient.

    An error that the data cause (ValueError, KeyError, pydantic's ValidationError …) comes again with them.
    """
    if isinstance(exc, PermanentError):
        return PermanentError
    if isinstance(exc, (TransientError, *_GARBLED)):
        return TransientError
    status = getattr(getattr(exc, "response", None), "status_code", None)
    if isinstance(status, int):
        return classify_http_error(status)
    if isinstance(exc, _DATA_ERRORS) and not _is_network_error(exc):
        return PermanentError
    return TransientError


def _is_network_error(exc: BaseException) -> bool:
    """Requests' network errors are OSErrors; its complaints about a bad URL are ValueErrors as well.

    So is a certificate that can't be verified; but that is a matter of the network.
    """
    return isinstance(exc, ssl.SSLError) or (
        isinstance(exc, OSError) and not isinstance(exc, ValueError)
    )
