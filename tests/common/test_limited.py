"""The session of both clients: no answer is longer, slower or elsewhere than allowed."""

from __future__ import annotations

import gzip
import itertools
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import pytest
import requests

from common.limited import (
    MAX_BYTES,
    MAX_ERROR_BYTES,
    MAX_SECONDS,
    AnswerTooLarge,
    AnswerTooSlow,
    LimitedSession,
    UnknownEncoding,
)
from tests.simulators.httpd import (
    Answer,
    Drip,
    Endless,
    Fault,
    Request,
    Response,
    SimulatedServer,
    Truncate,
)
from worker.process import SILENT_AFTER

SMALL = 1_000
TIMEOUT = (30.0, 30.0)


@pytest.fixture
def server() -> Iterator[SimulatedServer]:
    def answer(request: Request) -> Response:
        return Response(200, b"x" * int(request.first("size", "10") or 0))

    with SimulatedServer(answer) as server:
        yield server
    assert server.errors == []


@pytest.fixture
def session() -> Iterator[LimitedSession]:
    with LimitedSession(30.0, max_bytes=SMALL) as session:
        yield session


def leaping_clock(seconds: float) -> Callable[[], float]:
    """Return a clock that goes on by `seconds` whenever it is read."""
    times = itertools.count(0.0, seconds)
    return lambda: next(times)


@pytest.mark.parametrize("size", [0, 1, SMALL - 1, SMALL])
def test_an_answer_within_the_limit_is_whole(
    server: SimulatedServer, session: LimitedSession, size: int
) -> None:
    response = session.get(f"{server.url}/?size={size}", timeout=TIMEOUT)
    assert response.content == b"x" * size
    assert len(response.text) == size


def test_connections_are_used_again(server: SimulatedServer, session: LimitedSession) -> None:
    for _ in range(5):
        session.get(server.url, timeout=TIMEOUT)
    assert server.connections == 1


TOO_LARGE = {
    "long": Answer(200, b"x" * (SMALL + 1)),
    "endless": Endless(b"x" * 700),
    "endless chunks": Endless(b"5\r\nxxxxx\r\n", {"Transfer-Encoding": "chunked"}),
    "gzip bomb": Answer(200, gzip.compress(b"x" * 10_000_000), {"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("fault", TOO_LARGE.values(), ids=TOO_LARGE)
def test_an_answer_beyond_the_limit_is_refused(
    server: SimulatedServer, session: LimitedSession, fault: Fault
) -> None:
    server.faults.add(fault, times=1)
    with pytest.raises(AnswerTooLarge):
        session.get(server.url, timeout=TIMEOUT)
    assert session.get(server.url, timeout=TIMEOUT).ok


def test_a_gzip_bomb_does_not_fill_the_memory(server: SimulatedServer) -> None:
    bomb = gzip.compress(bytes(8 * MAX_BYTES))
    server.faults.add(Answer(200, bomb, {"Content-Encoding": "gzip"}))
    tracemalloc.start()
    try:
        with LimitedSession(30.0) as session, pytest.raises(AnswerTooLarge):
            session.get(server.url, timeout=TIMEOUT)
        assert tracemalloc.get_traced_memory()[1] < 3 * MAX_BYTES
    finally:
        tracemalloc.stop()


TWICE = gzip.compress(gzip.compress(bytes(8 * MAX_BYTES)))


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize(
    "encoding", ["gzip, gzip", "deflate,gzip", "identity, gzip", "br", "zstd", "gzip,", "x\x1b"]
)
def test_an_answer_that_is_packed_otherwise_is_refused_unread(
    server: SimulatedServer, session: LimitedSession, encoding: str, status: int
) -> None:
    """An older urllib3 unpacks what is packed twice without a limit."""
    server.faults.add(Answer(status, TWICE, {"Content-Encoding": encoding}), times=1)
    with pytest.raises(UnknownEncoding) as caught:
        session.get(server.url, timeout=TIMEOUT)
    assert isinstance(caught.value, requests.RequestException)
    assert str(caught.value).isprintable()
    assert session.get(server.url, timeout=TIMEOUT).ok


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("GZip", gzip.compress),
        ("deflate", zlib.compress),
        ("identity", bytes),
        ("", bytes),
    ],
)
def test_an_answer_that_is_packed_as_asked_is_read(
    server: SimulatedServer,
    session: LimitedSession,
    encoding: str,
    pack: Callable[[bytes], bytes],
) -> None:
    server.faults.add(Answer(200, pack(b"x" * 900), {"Content-Encoding": encoding}))
    assert session.get(server.url, timeout=TIMEOUT).content == b"x" * 900


def test_nothing_else_is_asked_for_where_python_could_unpack_more(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("requests.utils.DEFAULT_ACCEPT_ENCODING", "gzip, deflate, br, zstd")
    with LimitedSession(30.0) as session:
        session.get(server.url, timeout=TIMEOUT)
    assert server.log.all()[0].request.headers["Accept-Encoding"] == "gzip, deflate"


def test_an_error_page_is_cut_and_not_refused(server: SimulatedServer) -> None:
    server.faults.add(Answer(500, b"e" * 20_000_000), times=1)
    with LimitedSession(30.0) as session:
        response = session.get(server.url, timeout=TIMEOUT)
        assert (response.status_code, len(response.content)) == (500, MAX_ERROR_BYTES)
        assert session.get(server.url, timeout=TIMEOUT).ok


@pytest.mark.parametrize("head", [False, True], ids=["body", "head"])
def test_a_server_that_sends_byte_by_byte_is_given_up(server: SimulatedServer, head: bool) -> None:
    """Each byte comes in time; the whole answer does not. The clock is a fake one."""
    server.faults.add(Drip(0.001, head))
    with (
        LimitedSession(30.0, clock=leaping_clock(15.0)) as session,
        pytest.raises(AnswerTooSlow, match="60 seconds"),
    ):
        session.get(f"{server.url}/?size=900", timeout=TIMEOUT)


def test_an_endless_answer_ends_at_the_time_limit_too(server: SimulatedServer) -> None:
    server.faults.add(Endless(b"x"))
    with LimitedSession(30.0, clock=leaping_clock(2.0)) as session, pytest.raises(AnswerTooSlow):
        session.get(server.url, timeout=TIMEOUT)


def test_three_attempts_are_shorter_than_a_worker_may_be_silent() -> None:
    assert 3 * MAX_SECONDS < SILENT_AFTER


@pytest.mark.parametrize("location", ["http://[bad", "http://", "//", "/elsewhere", "\x1b"])
def test_a_redirect_is_an_answer_and_is_not_followed(
    server: SimulatedServer, session: LimitedSession, location: str
) -> None:
    server.faults.add(Answer(302, b"", {"Location": location}), times=1)
    assert session.get(server.url, timeout=TIMEOUT, allow_redirects=True).status_code == 302
    assert len(server.log) == 1


def test_no_cookie_is_kept(server: SimulatedServer, session: LimitedSession) -> None:
    server.faults.add(Answer(200, b"", {"Set-Cookie": "a=b"}), times=1)
    assert session.get(server.url, timeout=TIMEOUT).cookies.get("a") == "b"
    session.get(server.url, timeout=TIMEOUT)
    assert "Cookie" not in server.log.all()[-1].request.headers


def test_a_truncated_answer_is_still_a_network_error(
    server: SimulatedServer, session: LimitedSession
) -> None:
    server.faults.add(Truncate(0.5))
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        session.get(f"{server.url}/?size=100", timeout=TIMEOUT)
