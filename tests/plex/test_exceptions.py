"""Every error of plexapi, requests and urllib3 becomes one of our three, without secrets."""

from __future__ import annotations

import http.client
import pkgutil
import socket
import ssl
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType
from xml.etree.ElementTree import ParseError

import plexapi
import plexapi.exceptions
import pytest
import requests
import urllib3.exceptions

from plex.client import PlexClient
from plex.exceptions import (
    PlexNotFound,
    PlexPermanentError,
    PlexRejected,
    PlexTemporaryError,
    translate_plex_exception,
    translated,
)
from plex.index import FileIndex
from tests.harness.plex_only import PlexHarness
from tests.plex.support import TOKEN, FakeSleep
from tests.simulators.httpd import Answer, Fault, Hang, Reset, ResetAfter, Truncate
from tests.simulators.plex import PlexSimulator
from validation.errors import PermanentError, TransientError

PLEX_ERRORS = (PlexTemporaryError, PlexPermanentError, PlexNotFound)
URL = (
    f"http://plex:32400/library/sections/1/all?id=7&title.value=Secret%20Title&X-Plex-Token={TOKEN}"
)
SECRETS = (TOKEN, "Secret", "title.value", "X-Plex-Token=")
PERMANENT = {
    plexapi.exceptions.BadRequest,
    plexapi.exceptions.Unauthorized,
    plexapi.exceptions.TwoFactorRequired,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidProxyURL,
    requests.exceptions.MissingSchema,
}
EITHER = {requests.exceptions.InvalidSchema, requests.exceptions.InvalidHeader}


def _exceptions_of(package: ModuleType) -> Iterator[type[Exception]]:
    """Yield every exception class that a package's modules define, except warnings."""
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if found.name.rpartition(".")[2] not in ("exceptions", "base", "server", "utils"):
            continue
        for one in vars(import_module(found.name)).values():
            if not isinstance(one, type) or not one.__module__.startswith(package.__name__):
                continue
            if issubclass(one, Exception) and not issubclass(one, Warning):
                yield one


def _all_exceptions() -> list[type[Exception]]:
    found = {one for package in (plexapi, requests, urllib3) for one in _exceptions_of(package)}
    return sorted(found, key=lambda one: f"{one.__module__}.{one.__qualname__}")


def _build(kind: type[Exception], text: str) -> Exception:
    """Create an exception of any class, even if its constructor needs arguments."""
    made: Exception = kind.__new__(kind, text)
    return made


def _assert_no_secrets(error: BaseException) -> None:
    assert not [secret for secret in SECRETS if secret in str(error)], str(error)


def test_the_collected_exceptions_include_the_known_ones() -> None:
    assert {
        plexapi.exceptions.TwoFactorRequired,
        requests.ReadTimeout,
        urllib3.exceptions.MaxRetryError,
    } <= set(_all_exceptions())


@pytest.mark.parametrize(
    "kind", _all_exceptions(), ids=lambda one: f"{one.__module__}.{one.__name__}"
)
def test_every_exception_of_the_libraries_becomes_one_of_ours(kind: type[Exception]) -> None:
    ours = translate_plex_exception(_build(kind, URL))
    _assert_no_secrets(ours)
    if kind in EITHER:
        assert isinstance(ours, PLEX_ERRORS)
    elif kind in PERMANENT:
        assert isinstance(ours, PlexPermanentError)
    elif issubclass(kind, plexapi.exceptions.NotFound):
        assert isinstance(ours, PlexNotFound)
    else:
        assert isinstance(ours, PlexTemporaryError)


@pytest.mark.parametrize(
    "error",
    [
        ParseError(f"not well-formed: {URL}"),
        TypeError("'NoneType' object is not subscriptable"),
        AttributeError("'NoneType' object has no attribute 'attrib'"),
        OSError(f"no route to {URL}"),
        ConnectionResetError(104, "reset"),
        TimeoutError("timed out"),
        socket.gaierror(-2, "Name or service not known"),
        ssl.SSLCertVerificationError("certificate verify failed"),
        http.client.IncompleteRead(b"part"),
        http.client.InvalidURL(f"URL can't contain control characters. {URL!r}"),
        ValueError(f"cannot do {URL}"),
        KeyError(URL),
        RuntimeError(f"unknown: {URL}"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_other_exceptions_are_temporary_and_contain_no_query_string(error: Exception) -> None:
    ours = translate_plex_exception(error)
    assert isinstance(ours, PlexTemporaryError)
    _assert_no_secrets(ours)


def test_an_answer_that_is_packed_twice_is_plexs_fault_and_not_the_networks(
    plex: PlexSimulator, harness: PlexHarness
) -> None:
    plex.faults.add(Answer(200, b"", {"Content-Encoding": "gzip, gzip"}))
    with pytest.raises(PlexTemporaryError, match="answer is packed in a way"):
        harness.client.probe()


@pytest.mark.parametrize(
    "ours", [PlexTemporaryError("a"), PlexPermanentError("b"), PlexRejected("c"), PlexNotFound("d")]
)
def test_our_exceptions_pass_unchanged(ours: Exception) -> None:
    assert translate_plex_exception(ours) is ours
    with pytest.raises(type(ours)) as caught, translated():
        raise ours
    assert caught.value is ours


def test_the_translation_keeps_the_place_for_the_stack_trace_and_not_the_text() -> None:
    def fail() -> None:
        raise requests.ConnectionError(URL)

    with pytest.raises(PlexTemporaryError) as caught, translated():
        fail()
    trace = "".join(traceback.format_exception(caught.value))
    assert "in fail" in trace
    assert TOKEN not in trace


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_the_translation_lets_a_stop_through(stop: type[BaseException]) -> None:
    with pytest.raises(stop), translated():
        raise stop


def test_the_three_exceptions_are_plex_sync_errors() -> None:
    assert issubclass(PlexTemporaryError, TransientError)
    assert issubclass(PlexNotFound, TransientError)
    assert issubclass(PlexPermanentError, PermanentError)
    assert issubclass(PlexRejected, PlexPermanentError)


# --- HTTP statuses

STATUSES: list[tuple[int, type[Exception]]] = [
    *(
        (status, PlexPermanentError)
        for status in (400, 401, 403, 405, 406, 409, 410, 413, 414, 415, 422, 431, 451)
    ),
    (404, PlexNotFound),
    *(
        (status, PlexTemporaryError)
        for status in (408, 425, 429, 500, 501, 502, 503, 504, 505, 507)
    ),
    *(
        (status, PlexTemporaryError)
        for status in (508, 520, 521, 522, 524, 525, 527, 530, 598, 599)
    ),
]
BODY = f"<html><body>Error at {URL}</body></html>".encode()


@pytest.mark.parametrize(("status", "expected"), STATUSES)
def test_each_status_becomes_the_right_exception(
    plex: PlexSimulator, client: PlexClient, status: int, expected: type[Exception]
) -> None:
    assert client.server
    plex.faults.add(Answer(status, BODY))
    with pytest.raises(PLEX_ERRORS) as caught:
        client.get("/library/metadata/7")
    assert isinstance(caught.value, expected)
    _assert_no_secrets(caught.value)


@pytest.mark.parametrize("status", [400, 409, 429, 500, 502, 503, 504])
def test_the_status_is_kept(plex: PlexSimulator, client: PlexClient, status: int) -> None:
    assert client.server
    plex.faults.add(Answer(status, BODY))
    with pytest.raises((PlexTemporaryError, PlexPermanentError)) as caught:
        client.get("/library/metadata/7")
    assert getattr(caught.value, "status", None) == status
    assert str(status) in str(caught.value)


def test_a_probe_tells_a_read_only_token_from_a_protected_item(
    harness: PlexHarness,
) -> None:
    """Both writes fail with 403; only the probe that follows shows that it is the token."""
    item = harness.plex.add_item(harness.library, "/media/a/One.mp4")
    found = harness.read(item.rating_key)
    harness.plex.valid_tokens.clear()
    harness.plex.shared_tokens.add(TOKEN)
    with pytest.raises(PlexPermanentError) as caught:
        harness.write(found, title="New")
    assert caught.value.status == 403
    with pytest.raises(PlexRejected, match="owner"):
        harness.client.probe()


BROKEN: dict[str, Fault] = {
    "reset": Reset(),
    "reset after": ResetAfter(),
    "truncated": Truncate(0.5),
    "hang": Hang(),
    "html": Answer(200, b"<html><body><p>log in</p></body></html>", {"Content-Type": "text/html"}),
    "bad html": Answer(200, b"<!doctype html><br><p>log in", {"Content-Type": "text/html"}),
    "empty": Answer(200),
    "no content": Answer(204),
    "json": Answer(200, b'{"MediaContainer": {}}', {"Content-Type": "application/json"}),
    "bad gzip": Answer(200, b"not gzip at all", {"Content-Encoding": "gzip"}),
    "half xml": Answer(
        200, b'<?xml version="1.0"?><MediaContainer size="1"><Video', {"Content-Type": "text/xml"}
    ),
    "maintenance": Answer(
        200, b'<Response code="503" title="Maintenance"/>', {"Content-Type": "text/xml"}
    ),
    "bytes": Answer(200, bytes(range(256)), {"Content-Type": "text/xml"}),
    "bad numbers": Answer(
        200,
        b'<MediaContainer size="1" totalSize="1">'
        b'<Video ratingKey="one" updatedAt="now"/></MediaContainer>',
    ),
    "500": Answer(500, BODY),
    "520": Answer(520, BODY),
    "599": Answer(599, BODY),
}


def _steps(
    harness: PlexHarness, rating_key: int
) -> dict[str, tuple[str, str, Callable[[], object]]]:
    """Return each step's (method, path to break, call); the steps before it succeeded."""
    found = harness.read(rating_key)
    harness.refresh()

    def listed() -> object:
        harness.clock.advance(10)
        harness.plex.add_item(harness.library, f"/media/new/{harness.clock.now}.mp4")
        return harness.refresh()

    return {
        "sections": ("GET", "/library", harness.client.libraries),
        "marks": ("GET", "/library/sections$", harness.refresh),
        "listing": ("GET", "/library/sections/1/all", listed),
        "item": ("GET", "/library/metadata", lambda: harness.find("/data/a/One.mp4")),
        "edit": (
            "PUT",
            "/",
            lambda: harness.write(found, title="New"),
        ),
        "poster": ("POST", "/", lambda: harness.client.upload_picture(found, "thumb", b"picture")),
    }


HARMLESS = {
    "truncated",
    "html",
    "bad html",
    "empty",
    "no content",
    "json",
    "bytes",
    "half xml",
    "maintenance",
    "bad numbers",
}


@pytest.mark.parametrize("step", ["sections", "marks", "listing", "item", "edit", "poster"])
@pytest.mark.parametrize("broken", BROKEN)
def test_only_our_exceptions_are_raised_at_any_step(
    plex: PlexSimulator, harness: PlexHarness, fake_sleep: FakeSleep, broken: str, step: str
) -> None:
    item = plex.add_item(harness.library, "/media/a/One.mp4")
    harness.client._session._timeout = (2.0, 0.5)
    method, path, call = _steps(harness, item.rating_key)[step]
    rule = plex.faults.add(BROKEN[broken], method=method, path=path)
    try:
        call()
    except PLEX_ERRORS as error:
        _assert_no_secrets(error)
        assert isinstance(error, PlexTemporaryError | PlexRejected), (
            f"a passing fault, but {error!r}"
        )
    else:
        without_our_section = (step, broken) == ("marks", "bad numbers")
        assert without_our_section or (step in ("edit", "poster") and broken in HARMLESS), (
            "taken for a good answer"
        )
    finally:
        rule.remove()


@pytest.mark.parametrize("broken", [name for name in BROKEN if name not in ("hang", "bad numbers")])
def test_a_broken_answer_at_any_step_leaves_the_index_usable(
    plex: PlexSimulator, harness: PlexHarness, index: FileIndex, broken: str
) -> None:
    item = plex.add_item(harness.library, "/media/a/One.mp4", size=5)
    plex.add_item(harness.library, "/media/b/One.mp4", size=5)
    for method, path, call in list(_steps(harness, item.rating_key).values())[:4]:
        rule = plex.faults.add(BROKEN[broken], method=method, path=path)
        with pytest.raises(PLEX_ERRORS):
            call()
        rule.remove()
    assert harness.find("/data/a/One.mp4", 5)[1] == item.rating_key


@pytest.mark.parametrize("status", [400, 500])
def test_no_stack_trace_has_the_text_of_an_edit(
    plex: PlexSimulator, harness: PlexHarness, status: int
) -> None:
    """plexapi's own exception has the whole URL: title, summary and names."""
    item = harness.read(plex.add_item(harness.library, "/media/a/One.mp4").rating_key)
    text = "A Secret Title"
    plex.faults.add(Answer(status, text.encode()), method="PUT")
    with pytest.raises(PLEX_ERRORS) as caught:
        harness.client.edit(item, {"title.value": text, "title.locked": 1})
    trace = "".join(traceback.format_exception(caught.value))
    assert "Secret" not in trace
    assert "plexapi" in trace  # where it happened is still known
