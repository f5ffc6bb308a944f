"""The three exceptions of Plex, and the translation of plexapi's and requests' into them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree.ElementTree import ParseError

import requests
from plexapi.exceptions import BadRequest, NotFound, PlexApiException, Unauthorized
from urllib3.exceptions import HTTPError

from common.limited import AnswerTooLarge, UnknownEncoding
from validation.errors import PermanentError, TransientError, classify_http_error

#: plexapi keeps the status only in its text: "(503) service_unavailable; <URL> <body>".
_STATUS = re.compile(r"^\((\d{3})\) ?(\w*)")


class PlexTemporaryError(TransientError):
    """Plex, or the way to it, fails for now."""

    def __init__(self, message: str = "", *, status: int | None = None) -> None:
        """Keep the HTTP status; None: there was no answer."""
        super().__init__(message)
        self.status = status


class PlexListingError(PlexTemporaryError):
    """Plex's libraries, or the files in them, can't be listed: it concerns every job."""


class PlexPermanentError(PermanentError):
    """Plex refuses the request, and will again."""

    def __init__(self, message: str = "", *, status: int | None = None) -> None:
        """Keep the HTTP status; None: the request was never sent."""
        super().__init__(message)
        self.status = status


class PlexRejected(PlexPermanentError):
    """Plex rejects the token, or the address is not a Plex server: every request would fail."""


class PlexNotFound(TransientError):
    """Plex has no such item (yet)."""

    #: Which files were looked for, in JSON's types; kept in the dead letter.
    details: dict[str, Any] | None = None


#: HTTP statuses that are about a value (a wrong one, one that is too large, another kind of
#: picture) and not about the server or the item.
REFUSALS_OF_A_VALUE = (400, 409, 413, 414, 415, 422)
#: Plex answers so when it fails, and for bad data in a known field: only attempts tell which it is.
FAILURE_OR_BAD_DATA = 500
#: All that leaves the package `plex`.
PLEX_ERRORS = (PlexTemporaryError, PlexPermanentError, PlexNotFound)


def translate_plex_exception(exc: BaseException) -> Exception:
    """Return the Plex exception for an exception of plexapi, requests or urllib3.

    Unknown exceptions are temporary. Messages leave out a URL's query, which holds titles and
    paths.
    """
    if isinstance(exc, PLEX_ERRORS):
        return exc
    if isinstance(exc, Unauthorized):
        return PlexRejected("Plex rejects the token (401): check plex_token", status=401)
    if isinstance(exc, NotFound):
        return PlexNotFound("Plex has no such item (404)")
    if isinstance(exc, BadRequest):
        return _from_status(str(exc))
    if isinstance(exc, (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema)):
        return PlexRejected(f"Plex's address is not valid ({type(exc).__name__}): check plex_url")
    if isinstance(exc, (requests.RequestException, HTTPError, OSError)):
        return PlexTemporaryError(_network_failure(exc))
    if isinstance(exc, ParseError):
        return PlexTemporaryError("Plex's answer is not XML")
    if isinstance(exc, (PlexApiException, TypeError, AttributeError)):
        # plexapi raises the last two for a status without a name, and for an empty answer
        return PlexTemporaryError(f"Plex's answer can't be understood ({type(exc).__name__})")
    return PlexTemporaryError(f"{type(exc).__name__}: {_shown(str(exc))}")


@contextmanager
def translated() -> Iterator[None]:
    """Translate anything raised inside into a Plex exception.

    plexapi's own exception is not kept: its text has the URL of an edit, with titles and names.

    Raises:
        PlexTemporaryError, PlexPermanentError, PlexNotFound
    """
    try:
        yield
    except PLEX_ERRORS:
        raise
    except Exception as error:  # noqa: BLE001 - every exception is translated
        raise translate_plex_exception(error).with_traceback(error.__traceback__) from None


def _network_failure(exc: Exception) -> str:
    if isinstance(exc, AnswerTooLarge):
        return "Plex's answer is too large"
    if isinstance(exc, UnknownEncoding):
        return "Plex's answer is packed in a way that PlexSync does not read"
    name = type(exc).__name__
    if isinstance(exc, requests.Timeout):
        return f"Plex did not answer in time ({name})"
    return f"Plex can't be reached ({name})"


def _shown(text: str) -> str:
    return text.partition("?")[0][:200]


def _from_status(text: str) -> Exception:
    found = _STATUS.match(text)
    if found is None:  # plexapi's own complaint about its arguments
        return PlexPermanentError(f"plexapi refuses the request: {_shown(text)}")
    status, name = int(found.group(1)), found.group(2)
    message = f"Plex answered {status} {name}".rstrip()
    if issubclass(classify_http_error(status), TransientError):
        return PlexTemporaryError(message, status=status)
    return PlexPermanentError(message, status=status)
