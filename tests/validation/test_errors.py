"""Tests of the classification of errors as transient or permanent."""

from __future__ import annotations

import json
import socket
import sqlite3
import ssl

import pytest
import requests
from pydantic import ValidationError

from plex.exceptions import PlexNotFound, PlexPermanentError, PlexRejected, PlexTemporaryError
from validation.errors import (
    PermanentError,
    SettingsError,
    TransientError,
    classify_exception,
    classify_http_error,
)
from validation.metadata import SyncMetadata

TRANSIENT_4XX = {408, 425, 429}


@pytest.mark.parametrize("status", range(400, 600))
def test_every_error_status_is_classified(status: int) -> None:
    expected = PermanentError if status < 500 and status not in TRANSIENT_4XX else TransientError
    assert classify_http_error(status) is expected


@pytest.mark.parametrize("status", [0, 100, 200, 302, 600, 999])
def test_an_unknown_status_is_transient(status: int) -> None:
    assert classify_http_error(status) is TransientError


def _http_error(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError("no", response=response)


def _invalid() -> ValidationError:
    try:
        SyncMetadata.model_validate({"title": []})
    except ValidationError as error:
        return error
    raise AssertionError("an empty list is not a title")


TRANSIENT: list[BaseException] = [
    TransientError(), PlexTemporaryError(), PlexNotFound(), ConnectionError(),
    ConnectionResetError(), TimeoutError(), socket.gaierror(), ssl.SSLError(),
    ssl.SSLCertVerificationError(), OSError(28, "No space left"), BrokenPipeError(),
    requests.ConnectionError(), requests.ConnectTimeout(), requests.ReadTimeout(),
    requests.exceptions.SSLError(), requests.exceptions.ChunkedEncodingError(),
    requests.exceptions.ContentDecodingError(), requests.exceptions.ProxyError(),
    requests.exceptions.TooManyRedirects(), requests.JSONDecodeError("no", "", 0),
    json.JSONDecodeError("no", "", 0), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
    sqlite3.OperationalError(), MemoryError(), RuntimeError("unknown"), Exception("unknown"),
    _http_error(500), _http_error(503), _http_error(429), _http_error(408),
]  # fmt: skip
PERMANENT: list[BaseException] = [
    PermanentError(), PlexPermanentError(), PlexRejected(), ValueError(), TypeError(), KeyError(),
    IndexError(), AttributeError(), _invalid(), _http_error(400), _http_error(401),
    _http_error(404), _http_error(422), requests.exceptions.InvalidURL(),
    requests.exceptions.MissingSchema(), UnicodeEncodeError("ascii", "é", 0, 1, "no"),
]  # fmt: skip


@pytest.mark.parametrize("error", TRANSIENT, ids=lambda error: type(error).__name__)
def test_transient_errors(error: BaseException) -> None:
    assert classify_exception(error) is TransientError


@pytest.mark.parametrize("error", PERMANENT, ids=lambda error: type(error).__name__)
def test_permanent_errors(error: BaseException) -> None:
    assert classify_exception(error) is PermanentError


def test_the_base_classes_are_unrelated() -> None:
    assert not issubclass(TransientError, PermanentError)
    assert not issubclass(PermanentError, TransientError)
    assert not issubclass(SettingsError, (TransientError, PermanentError))
    assert PermanentError().details is None
