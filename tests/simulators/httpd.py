"""A small threaded HTTP/1.1 server for simulators, with a request log and fault injection.

A simulator is a function from `Request` to `Response`. `SimulatedServer` serves it on a port, keeps
the `RequestLog`, and lets a test add `Faults`: late, wrong, truncated or missing responses.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

from tests import isolation

MAX_SIZE = 64 << 20
"""Maximum bytes of a request's head, and of its body."""

_RECEIVE = 1 << 16
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_RST_ON_CLOSE = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


class Headers(Mapping[str, str]):
    """Header fields with case-insensitive lookup."""

    def __init__(self, fields: Mapping[str, str] | None = None) -> None:
        self._fields = {name.lower(): value for name, value in (fields or {}).items()}

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"Headers({self._fields!r})"


@dataclass(frozen=True)
class Request:
    """One received request."""

    method: str
    path: str
    """Decoded, without the query."""
    query: tuple[tuple[str, str], ...] = ()
    """Decoded pairs in their order, blank values kept."""
    headers: Mapping[str, str] = field(default_factory=Headers)
    body: bytes = b""
    target: str = ""
    """The request target as sent."""

    def first(self, name: str, default: str | None = None) -> str | None:
        """Return the first value of a query parameter."""
        return next((value for key, value in self.query if key == name), default)


class Channel:
    """The open end of a long answer: what a simulator sends, from any thread, as it comes."""

    def __init__(self, *, chunked: bool = True) -> None:
        """Open a channel.

        Args:
            chunked: frame the pieces as HTTP/1.1 does; else the end of the connection ends them.
        """
        self.chunked = chunked
        self._lock = threading.Lock()
        self._pieces: deque[bytes] = deque()
        self._is_closed = self._is_reset = False
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)

    @property
    def is_closed(self) -> bool:
        """Return whether nothing more can be sent."""
        return self._is_closed

    def send(self, piece: bytes) -> None:
        """Send some bytes; after the end they are dropped."""
        with self._lock:
            if not self._is_closed:
                self._pieces.append(piece)
                self._notify()

    def close(self, *, reset: bool = False) -> None:
        """End the answer after what was sent.

        Args:
            reset: reset the connection instead, at once.
        """
        with self._lock:
            self._is_reset = reset
            self._is_closed = True
            self._notify()

    def _notify(self) -> None:
        with contextlib.suppress(OSError):  # full: the other side is awake anyway
            self._wake.send(b"x")

    def _take(self) -> tuple[bytes, bool, bool]:
        """Return the bytes to be sent, whether the answer ends with them, and how."""
        with contextlib.suppress(OSError):
            self._woken.recv(_RECEIVE)
        with self._lock:
            pieces, self._pieces = self._pieces, deque()
            return b"".join(pieces), self._is_closed, self._is_reset

    def _release(self) -> None:
        with self._lock:
            self._is_closed = True
            self._wake.close()
            self._woken.close()


@dataclass
class Response:
    """The response to a request."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    channel: Channel | None = None
    """Where further bytes come from, until it is closed, the client leaves or the server stops."""


@dataclass(frozen=True)
class Exchange:
    """A request and its outcome."""

    request: Request
    status: int
    """0 without a response."""
    seconds: float
    """From the request's arrival to the first byte of the response."""
    at: float


class RequestLog:
    """The requests since the start or the last `clear`, oldest first. Thread-safe.

    A request is logged on arrival, so that a hanging one is visible. Its status is logged before
    the client can read the response.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._exchanges: dict[int, Exchange] = {}
        self._next = 0

    def all(self) -> list[Exchange]:
        with self._changed:
            return list(self._exchanges.values())

    def matching(self, method: str | None = None, path: str | None = None) -> list[Exchange]:
        """Return the exchanges with this method whose path matches the pattern from its start."""
        pattern = re.compile(path) if path is not None else None
        return [exchange for exchange in self.all() if _matches(exchange.request, method, pattern)]

    def count(self, method: str | None = None, path: str | None = None) -> int:
        return len(self.matching(method, path))

    def wait_for(
        self,
        count: int = 1,
        method: str | None = None,
        path: str | None = None,
        timeout: float = 240.0,
    ) -> bool:
        """Wait until that many such requests have arrived; return False on a timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: self.count(method, path) >= count, timeout)

    def clear(self) -> None:
        with self._changed:
            self._exchanges.clear()

    def __len__(self) -> int:
        with self._changed:
            return len(self._exchanges)

    def _arrived(self, request: Request) -> int:
        with self._changed:
            self._next += 1
            self._exchanges[self._next] = Exchange(request, 0, 0.0, time.time())
            self._changed.notify_all()
            return self._next

    def _ended(self, number: int, status: int, seconds: float) -> None:
        with self._changed:
            arrived = self._exchanges.get(number)
            if arrived is not None:  # otherwise the log was cleared in between
                self._exchanges[number] = Exchange(arrived.request, status, seconds, arrived.at)
                self._changed.notify_all()


@dataclass(frozen=True)
class Delay:
    """Carry the request out late, even if the client has disconnected by then."""

    seconds: float


@dataclass(frozen=True)
class Hang:
    """Hold the response for this time, or until the rule is removed or the server stops.

    A request whose client has disconnected by then is not carried out.
    """

    seconds: float = 3600.0


@dataclass(frozen=True)
class Answer:
    """Send this response and don't carry the request out."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reset:
    """Reset the connection; the request is not carried out."""


@dataclass(frozen=True)
class ResetAfter:
    """Carry the request out, then reset the connection instead of responding."""


@dataclass(frozen=True)
class Truncate:
    """Announce the whole body, send only this share of it, and close."""

    keep: float = 0.5


@dataclass(frozen=True)
class Drip:
    """Send the body byte by byte."""

    seconds_per_byte: float
    head: bool = False
    """Send the head like that too."""


@dataclass(frozen=True)
class Endless:
    """Don't carry the request out; send a body without an end, until the client leaves."""

    piece: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


Fault = Delay | Hang | Answer | Reset | ResetAfter | Truncate | Drip | Endless


class FaultRule:
    """A fault and the filter of its requests, as returned by `Faults.add`."""

    def __init__(
        self,
        owner: Faults,
        fault: Fault,
        method: str | None,
        path: str | None,
        when: Callable[[Request], bool] | None,
        times: int | None,
    ) -> None:
        self.fault = fault
        self.left = times
        """How many more times it happens; None for always."""
        self._owner = owner
        self._method = method
        self._path = re.compile(path) if path is not None else None
        self._when = when

    def remove(self) -> None:
        """Remove the rule and release the requests that it holds."""
        self._owner._remove(self)

    def _applies(self, request: Request) -> bool:
        return (
            self.left != 0
            and _matches(request, self._method, self._path)
            and (self._when is None or self._when(request))
        )


class Faults:
    """The active faults in the order they were added. Thread-safe.

    Delays add up; the first fault of another kind decides. `path` is a pattern that the decoded
    path must match from its beginning.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._rules: list[FaultRule] = []
        self._stops = 0

    def add(
        self,
        fault: Fault,
        *,
        method: str | None = None,
        path: str | None = None,
        when: Callable[[Request], bool] | None = None,
        times: int | None = None,
    ) -> FaultRule:
        rule = FaultRule(self, fault, method, path, when, times)
        with self._changed:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        with self._changed:
            self._rules.clear()
            self._changed.notify_all()

    def _remove(self, rule: FaultRule) -> None:
        with self._changed:
            if rule in self._rules:
                self._rules.remove(rule)
            self._changed.notify_all()

    def _take(self, request: Request) -> list[FaultRule]:
        """Return the rules for this request: any number of delays, then at most one other."""
        taken: list[FaultRule] = []
        with self._changed:
            for rule in self._rules:
                if not rule._applies(request):
                    continue
                if rule.left is not None:
                    rule.left -= 1
                taken.append(rule)
                if not isinstance(rule.fault, Delay | Hang):
                    break
        return taken

    def _wait(self, rule: FaultRule, seconds: float) -> bool:
        """Wait for that time or until the rule is removed; return False if the server stopped."""
        with self._changed:
            stops = self._stops
            self._changed.wait_for(lambda: self._stops != stops or rule not in self._rules, seconds)
            return self._stops == stops

    def _stop(self) -> None:
        with self._changed:
            self._stops += 1
            self._changed.notify_all()


class SimulatedServer:
    """Serves a handler on its own port; can be stopped and restarted on the same port.

    While it is stopped, the port stays bound and refuses connections, as long as this object lives.
    """

    def __init__(
        self,
        handle: Callable[[Request], Response],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        name: str = "sim",
        max_request_line: int = 1 << 20,
        idle_timeout: float | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.log = RequestLog()
        self.faults = Faults()
        self.errors: list[BaseException] = []
        """What the handler raised; a test may assert that it is empty."""
        self.max_request_line = max_request_line
        self._handle = handle
        self._name = name
        self._idle_timeout = idle_timeout
        self._lock = threading.Lock()
        self._acceptor: _Acceptor | None = None
        self._reserved = _Reserved(host)
        self._connections: dict[_Connection, threading.Thread] = {}

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def running(self) -> bool:
        return self._acceptor is not None

    @property
    def connections(self) -> int:
        """Return the number of open connections."""
        with self._lock:
            return len(self._connections)

    def start(self) -> None:
        if self.running:
            return
        listener = _listen(self.host, self.port, self._reserved)
        self.port = listener.getsockname()[1]
        self._reserved.listening(self.port)
        self._acceptor = _Acceptor(listener, self._adopt, f"{self._name}-accept")

    def stop(self) -> None:
        """Refuse new connections, close the open ones, and wait for their threads."""
        with self._lock:
            acceptor, self._acceptor = self._acceptor, None
        if acceptor is None:
            return
        acceptor.stop()
        self._reserved.stopped()
        self.faults._stop()
        with self._lock:
            open_connections = dict(self._connections)
        for connection in open_connections:
            connection.abort()
        for thread in open_connections.values():
            if thread is not threading.current_thread():
                thread.join(60.0)

    def restart(self) -> None:
        self.stop()
        self.start()

    def __enter__(self) -> SimulatedServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _adopt(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(client, self._idle_timeout)
        thread = threading.Thread(
            target=self._serve, args=(connection,), name=f"{self._name}-connection", daemon=True
        )
        with self._lock:
            self._connections[connection] = thread
        thread.start()

    def _serve(self, connection: _Connection) -> None:
        try:
            while self.running and (request := connection.receive()) is not None:
                if not self._exchange(connection, request):
                    break
        except _BadRequest as error:
            with contextlib.suppress(OSError):
                connection.send(Response(error.status), close=True)
        except OSError:
            pass  # the client disconnected or `stop` closed the connection
        finally:
            connection.close()
            with self._lock:
                del self._connections[connection]

    def _exchange(self, connection: _Connection, request: Request) -> bool:
        """Respond to one request or inject a fault; return True to keep the connection."""
        started = time.perf_counter()
        number = self.log._arrived(request)
        rules = self.faults._take(request)
        if not self._wait_out(connection, rules):
            return False
        rule = rules[-1] if rules else None
        fault = rule.fault if rule is not None else None
        if isinstance(fault, Reset):
            connection.reset()
            return False
        if isinstance(fault, Endless):
            self.log._ended(number, 200, time.perf_counter() - started)
            connection.send_endless(fault, lambda: self.running)
            return False
        response = self._answer(request, fault)
        if isinstance(fault, ResetAfter):
            if response.channel is not None:
                response.channel._release()
            connection.reset()
            return False
        self.log._ended(number, response.status, time.perf_counter() - started)
        close = request.headers.get("Connection", "").lower() == "close" or isinstance(
            fault, Truncate
        )
        if response.channel is not None:
            connection.send_as_it_comes(response, response.channel)
            return False
        drip = self._drip(rule) if rule is not None else None
        connection.send(
            response,
            close=close,
            head_only=request.method == "HEAD",
            keep=fault.keep if isinstance(fault, Truncate) else 1.0,
            between_bytes=drip,
            drips_head=isinstance(fault, Drip) and fault.head,
        )
        return not close

    def _wait_out(self, connection: _Connection, rules: list[FaultRule]) -> bool:
        """Wait for the delays; return False when the request must not be carried out."""
        for rule in rules:
            if isinstance(rule.fault, Delay | Hang):
                if not self.faults._wait(rule, rule.fault.seconds):
                    return False
                if isinstance(rule.fault, Hang) and connection.abandoned():
                    return False
        return True

    def _drip(self, rule: FaultRule) -> Callable[[], bool] | None:
        fault = rule.fault
        if not isinstance(fault, Drip):
            return None
        seconds = fault.seconds_per_byte
        return lambda: self.faults._wait(rule, seconds)

    def _answer(self, request: Request, fault: Fault | None) -> Response:
        if isinstance(fault, Answer):
            return Response(fault.status, fault.body, dict(fault.headers))
        if len(request.method) + len(request.target) + len("  HTTP/1.1") > self.max_request_line:
            return Response(414)
        try:
            return self._handle(request)
        except Exception as error:  # noqa: BLE001 - kept for the test
            self.errors.append(error)
            return Response(500)


class _BadRequest(Exception):
    """The input is not an HTTP request that this server accepts."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Acceptor:
    """A thread that accepts connections from a listening socket until `stop`."""

    def __init__(
        self, listener: socket.socket, adopt: Callable[[socket.socket], None], name: str
    ) -> None:
        self._listener = listener
        self._adopt = adopt
        # Closing a socket does not wake its accepting thread on every system; a byte on a socket
        # pair does.
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._woken in ready:
                    return
                with contextlib.suppress(
                    OSError
                ):  # a client that disconnected before it was accepted
                    client, _ = self._listener.accept()
                    client.setblocking(True)
                    self._adopt(client)

    def stop(self) -> None:
        self._wake.send(b"x")
        self._thread.join(60.0)
        for sock in (self._listener, self._wake, self._woken):
            sock.close()


class _Connection:
    """One client's socket: reads requests from the stream and sends responses."""

    def __init__(self, client: socket.socket, idle_timeout: float | None) -> None:
        self._socket = client
        self._idle_timeout = idle_timeout
        self._buffer = bytearray()

    def receive(self) -> Request | None:
        """Return the next request; None when the client has closed or was idle for too long."""
        head = self._head()
        if head is None:
            return None
        line, *fields = head.decode("latin-1").split("\r\n")
        method, target = _request_line(line)
        headers = _headers(fields)
        body = self._body(headers)
        path, _, query = target.partition("?")
        pairs = parse_qsl(query, keep_blank_values=True) if query else []
        return Request(method, unquote(path), tuple(pairs), headers, body, target)

    def send(
        self,
        response: Response,
        *,
        close: bool,
        head_only: bool = False,
        keep: float = 1.0,
        between_bytes: Callable[[], bool] | None = None,
        drips_head: bool = False,
    ) -> None:
        lines = [f"HTTP/1.1 {response.status} {_REASONS.get(response.status, '')}"]
        lines += [f"{name}: {value}" for name, value in response.headers.items()]
        if response.status != 304:  # it has no body, and no length either
            lines.append(f"Content-Length: {len(response.body)}")
        lines.append(f"Connection: {'close' if close else 'keep-alive'}")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        body = b"" if head_only else response.body[: int(len(response.body) * keep)]
        if between_bytes is None:
            self._socket.sendall(head + body)
            return
        if not drips_head:
            self._socket.sendall(head)
        slow = head + body if drips_head else body
        for index in range(len(slow)):
            if not between_bytes():
                raise OSError("the server stopped")
            self._socket.sendall(slow[index : index + 1])

    def send_endless(self, fault: Endless, is_running: Callable[[], bool]) -> None:
        """Send the fault's piece again and again; raise OSError when the client has left."""
        lines = ["HTTP/1.1 200 OK", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in fault.headers.items()]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        while is_running():
            self._socket.sendall(fault.piece)

    def send_as_it_comes(self, response: Response, channel: Channel) -> None:
        """Send a long answer until its end, or until the client leaves or `abort` is called."""
        fields = {**response.headers, "Connection": "close"}
        if channel.chunked:
            fields["Transfer-Encoding"] = "chunked"
        lines = [f"HTTP/1.1 {response.status} {_REASONS.get(response.status, '')}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        try:
            self._socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
            self._send_piece(response.body, channel)
            with selectors.DefaultSelector() as selector:
                selector.register(self._socket, selectors.EVENT_READ)
                selector.register(channel._woken, selectors.EVENT_READ)
                while True:
                    ready = [key.fileobj for key, _ in selector.select()]
                    if self._socket in ready:  # it sends no more: it has left, or `abort`
                        return
                    content, is_end, is_reset = channel._take()
                    if is_reset:
                        self.reset()
                        return
                    self._send_piece(content, channel)
                    if is_end:
                        self._socket.sendall(b"0\r\n\r\n" if channel.chunked else b"")
                        return
        finally:
            channel._release()

    def _send_piece(self, content: bytes, channel: Channel) -> None:
        if content and channel.chunked:
            content = b"%x\r\n%b\r\n" % (len(content), content)
        self._socket.sendall(content)

    def abandoned(self) -> bool:
        """Return whether the client has closed its side without sending more."""
        self._socket.setblocking(False)
        try:
            return self._socket.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        finally:
            self._socket.setblocking(True)

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
        self._socket.close()

    def abort(self) -> None:
        """Wake the thread that reads or writes here. Callable from another thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            # Otherwise unread bytes turn the close into a reset and lose the last response.
            self._socket.shutdown(socket.SHUT_WR)
        self._socket.close()

    def _head(self) -> bytes | None:
        buffer, searched = self._buffer, 0
        while (end := buffer.find(b"\r\n\r\n", searched)) < 0:
            if len(buffer) > MAX_SIZE:
                raise _BadRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            searched = max(0, len(buffer) - 3)
            if not self._more(None if buffer else self._idle_timeout):
                return None
        head = bytes(buffer[:end])
        del buffer[: end + 4]
        return head

    def _body(self, headers: Headers) -> bytes:
        if "Transfer-Encoding" in headers:
            raise _BadRequest(HTTPStatus.LENGTH_REQUIRED)
        length = headers.get("Content-Length", "0")
        if not length.isdecimal():
            raise _BadRequest(HTTPStatus.BAD_REQUEST)
        size = int(length)
        if size > MAX_SIZE:
            raise _BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if size and headers.get("Expect", "").lower() == "100-continue":
            self._socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(self._buffer) < size:
            if not self._more(None):
                raise ConnectionError("the client left in the middle of a body")
        body = bytes(self._buffer[:size])
        del self._buffer[:size]
        return body

    def _more(self, timeout: float | None) -> bool:
        if self._socket.gettimeout() != timeout:
            self._socket.settimeout(timeout)
        try:
            received = self._socket.recv(_RECEIVE)
        except TimeoutError:
            return False
        self._buffer += received
        return bool(received)


def _request_line(line: str) -> tuple[str, str]:
    parts = line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise _BadRequest(HTTPStatus.BAD_REQUEST)
    return parts[0], parts[1]


def _headers(lines: list[str]) -> Headers:
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise _BadRequest(HTTPStatus.BAD_REQUEST)
        fields[name] = value.strip()
    return Headers(fields)


def _matches(request: Request, method: str | None, path: re.Pattern[str] | None) -> bool:
    return (method is None or request.method == method) and (
        path is None or path.match(request.path) is not None
    )


class _Reserved:
    """Keeps a stopped server's port bound and registered as long as its server object lives."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._port = 0
        # A descriptor: a socket in a circle of garbage may complain before it is closed here.
        self._descriptor: int | None = None
        self._pid = os.getpid()

    def listening(self, port: int) -> None:
        self._port = port
        isolation.register(self._host, port)
        self.release()

    def stopped(self) -> None:
        with contextlib.suppress(OSError):  # another process was faster; `start` will raise
            self._descriptor = isolation.reserve(self._host, self._port).detach()

    def release(self) -> None:
        if self._descriptor is not None:
            socket.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.release()
        if self._port and os.getpid() == self._pid:
            isolation.unregister(self._host, self._port)


def _listen(host: str, port: int, reserved: _Reserved, patience: float = 60.0) -> socket.socket:
    """Return a listening socket; wait while the port's last user still releases it."""
    deadline = time.monotonic() + patience
    while True:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if os.name != "nt":  # on Windows it would let two servers share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(1024)
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
            reserved.release()  # not every system lets both be bound at once
            time.sleep(0.02)
        else:
            listener.setblocking(False)
            return listener
