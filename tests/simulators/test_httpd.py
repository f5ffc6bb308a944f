"""The simulators' HTTP server: handler requests, request log and fault injection."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import requests

from tests.simulators.httpd import (
    Answer,
    Delay,
    Drip,
    Hang,
    Request,
    Reset,
    ResetAfter,
    Response,
    SimulatedServer,
    Truncate,
)

SOON = 240.0


class Echo:
    """A handler that records the requests that it carried out."""

    def __init__(self) -> None:
        self.seen: list[Request] = []

    def __call__(self, request: Request) -> Response:
        self.seen.append(request)
        return Response(200, b"0123456789", {"Content-Type": "text/plain"})


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def server(echo: Echo) -> Iterator[SimulatedServer]:
    with SimulatedServer(echo) as server:
        yield server
    assert server.errors == []


def test_the_handler_gets_the_request_decoded(server: SimulatedServer, echo: Echo) -> None:
    answer = requests.post(
        server.url + "/a%20b/%C3%A9?x=1&y=&x=%2C", data=b"body", headers={"X-One": "Two"}
    )

    request = echo.seen[0]
    assert (answer.status_code, answer.text) == (200, "0123456789")
    assert (request.method, request.path, request.body) == ("POST", "/a b/é", b"body")
    assert request.query == (("x", "1"), ("y", ""), ("x", ","))
    assert (request.first("x"), request.first("y"), request.first("z", "none")) == ("1", "", "none")
    assert request.headers["x-one"] == request.headers["X-ONE"] == "Two"
    assert request.target == "/a%20b/%C3%A9?x=1&y=&x=%2C"


def test_a_connection_serves_many_requests(server: SimulatedServer) -> None:
    with requests.Session() as session:
        for _ in range(3):
            session.get(server.url)
        assert server.connections == 1


def test_large_bodies_pass_in_both_directions() -> None:
    with SimulatedServer(lambda request: Response(200, request.body)) as server:
        data = bytes(range(256)) * 20_000
        assert requests.post(server.url, data=data).content == data


def test_head_has_the_length_and_no_body(server: SimulatedServer) -> None:
    answer = requests.head(server.url)
    assert (answer.headers["Content-Length"], answer.content) == ("10", b"")


def test_the_log_holds_requests_and_responses(server: SimulatedServer) -> None:
    requests.get(server.url + "/one")
    requests.put(server.url + "/two?x=1")

    assert [(e.request.method, e.request.path, e.status) for e in server.log.all()] == [
        ("GET", "/one", 200),
        ("PUT", "/two", 200),
    ]
    assert len(server.log) == 2
    assert [
        server.log.count("PUT"),
        server.log.count(path="/o"),
        server.log.count("GET", "/two"),
    ] == [
        1,
        1,
        0,
    ]
    server.log.clear()
    assert server.log.all() == []


def test_an_error_in_the_handler_is_500_and_recorded() -> None:
    def broken(_request: Request) -> Response:
        raise KeyError("oops")

    with SimulatedServer(broken) as server:
        assert requests.get(server.url).status_code == 500
    assert [type(error) for error in server.errors] == [KeyError]


def test_a_request_line_that_is_too_long_is_414(echo: Echo) -> None:
    with SimulatedServer(echo, max_request_line=1000) as server:
        fits = "/" + "x" * (1000 - len("GET / HTTP/1.1"))
        assert requests.get(server.url + fits).status_code == 200
        assert requests.get(server.url + fits + "x").status_code == 414
    assert len(echo.seen) == 1


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n"])
def test_an_invalid_http_request_is_400(server: SimulatedServer, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), SOON) as client:
        client.sendall(sent)
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_an_idle_connection_is_closed(echo: Echo) -> None:
    with (
        SimulatedServer(echo, idle_timeout=0.05) as server,
        socket.create_connection(("127.0.0.1", server.port), SOON) as client,
    ):
        assert client.recv(1) == b""


class TestFaults:
    def test_answer_replaces_the_handler(self, server: SimulatedServer, echo: Echo) -> None:
        server.faults.add(Answer(503, b"later", {"Retry-After": "7"}))

        answer = requests.get(server.url)

        assert (answer.status_code, answer.text, answer.headers["Retry-After"]) == (
            503,
            "later",
            "7",
        )
        assert echo.seen == []
        assert [exchange.status for exchange in server.log.all()] == [503]

    def test_a_rule_applies_only_to_its_requests(self, server: SimulatedServer) -> None:
        server.faults.add(
            Answer(500), method="PUT", path="/a/.*/c", when=lambda r: r.first("x") == "1"
        )

        put = requests.put
        assert put(server.url + "/a/b/c?x=1").status_code == 500
        assert requests.get(server.url + "/a/b/c?x=1").status_code == 200
        assert put(server.url + "/b/b/c?x=1").status_code == 200
        assert put(server.url + "/a/b/c?x=2").status_code == 200

    def test_a_rule_applies_a_number_of_times_and_then_the_next_one(
        self, server: SimulatedServer
    ) -> None:
        server.faults.add(Answer(500), times=2)
        server.faults.add(Answer(429), times=1)

        assert [requests.get(server.url).status_code for _ in range(4)] == [500, 500, 429, 200]

    def test_rules_can_be_removed(self, server: SimulatedServer) -> None:
        first = server.faults.add(Answer(500))
        server.faults.add(Answer(429))

        first.remove()
        assert requests.get(server.url).status_code == 429
        server.faults.clear()
        assert requests.get(server.url).status_code == 200

    def test_delay(self, server: SimulatedServer, echo: Echo) -> None:
        server.faults.add(Delay(0.1), times=1)

        started = time.monotonic()
        assert requests.get(server.url).status_code == 200
        assert time.monotonic() - started >= 0.1
        assert server.log.all()[0].seconds >= 0.1

    def test_a_delayed_request_is_carried_out_even_if_the_client_leaves(
        self, server: SimulatedServer, echo: Echo
    ) -> None:
        delay = server.faults.add(Delay(60))
        with pytest.raises(requests.ReadTimeout):
            requests.get(server.url, timeout=0.05)

        delay.remove()
        assert _eventually(lambda: len(echo.seen) == 1)

    def test_reset(self, server: SimulatedServer, echo: Echo) -> None:
        server.faults.add(Reset())

        with pytest.raises(requests.ConnectionError):
            requests.get(server.url)
        assert echo.seen == []
        assert [exchange.status for exchange in server.log.all()] == [0]

    def test_reset_after_the_request_was_carried_out(
        self, server: SimulatedServer, echo: Echo
    ) -> None:
        server.faults.add(ResetAfter())

        with pytest.raises(requests.ConnectionError):
            requests.put(server.url)
        assert len(echo.seen) == 1
        assert [exchange.status for exchange in server.log.all()] == [0]

    def test_reset_is_a_reset(self, server: SimulatedServer) -> None:
        server.faults.add(Reset())
        with socket.create_connection(("127.0.0.1", server.port), SOON) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                client.recv(1)

    def test_truncate(self, server: SimulatedServer) -> None:
        server.faults.add(Truncate(0.3))
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SOON)
        client.request("GET", "/")

        with pytest.raises(http.client.IncompleteRead) as error:
            client.getresponse().read()
        client.close()
        assert (error.value.partial, error.value.expected) == (b"012", 7)

    def test_truncate_is_an_error_for_requests(self, server: SimulatedServer) -> None:
        server.faults.add(Truncate())
        with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
            requests.get(server.url)

    def test_drip(self, server: SimulatedServer) -> None:
        server.faults.add(Drip(0.2))

        started = time.monotonic()
        # The time between bytes is far below the timeout, the whole is above it.
        assert requests.get(server.url, timeout=1.9).text == "0123456789"
        assert time.monotonic() - started >= 2.0

    def test_hang_until_the_client_gives_up(self, server: SimulatedServer, echo: Echo) -> None:
        server.faults.add(Hang())
        with pytest.raises(requests.ReadTimeout):
            requests.get(server.url, timeout=0.05)

        assert server.log.wait_for(1), "the server hangs, and has not only been slow"
        server.faults.clear()
        assert _eventually(lambda: server.connections == 0)
        assert echo.seen == []
        assert [exchange.status for exchange in server.log.all()] == [0]

    def test_a_hanging_request_continues_when_the_faults_are_cleared(
        self, server: SimulatedServer
    ) -> None:
        server.faults.add(Hang())
        answers: list[int] = []
        client = threading.Thread(
            target=lambda: answers.append(requests.get(server.url).status_code)
        )
        client.start()
        assert server.log.wait_for(1)

        assert answers == []
        server.faults.clear()
        client.join(SOON)
        assert answers == [200]

    def test_a_hanging_request_ends_with_the_server(
        self, server: SimulatedServer, echo: Echo
    ) -> None:
        server.faults.add(Hang())
        failures: list[Exception] = []

        def ask() -> None:
            try:
                requests.get(server.url)
            except requests.RequestException as error:
                failures.append(error)

        client = threading.Thread(target=ask)
        client.start()
        assert server.log.wait_for(1)
        server.stop()
        client.join(SOON)

        assert server.connections == 0
        assert [type(failure) for failure in failures] == [requests.ConnectionError]
        assert echo.seen == []


def test_a_stopped_server_refuses_and_comes_back_on_its_port(server: SimulatedServer) -> None:
    with requests.Session() as session:
        assert session.get(server.url).status_code == 200
        url = server.url

        server.stop()
        assert not server.running
        with pytest.raises(requests.ConnectionError):
            session.get(url)

        server.start()
        assert (server.running, server.url) == (True, url)
        assert session.get(url).status_code == 200


def test_stopping_and_starting_leaks_nothing(server: SimulatedServer) -> None:
    threads = threading.active_count()
    with requests.Session() as session:
        for _ in range(20):
            session.get(server.url)
            server.restart()
    assert server.connections == 0
    assert threading.active_count() <= threads


def test_many_clients_at_once(server: SimulatedServer, echo: Echo) -> None:
    def ask() -> None:
        with requests.Session() as session:
            for _ in range(10):
                session.get(server.url)

    clients = [threading.Thread(target=ask) for _ in range(20)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(SOON)
    assert len(echo.seen) == len(server.log) == 200


def _eventually(happened: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SOON
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.005)
    return happened()
