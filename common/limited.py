"""An HTTP session that limits what a server may send: in bytes, in time, without redirects.

Both clients send their requests through it. Nothing that Plex, Stash or a proxy between answers can
fill the memory or keep a worker waiting for good.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import threading
import time
from collections.abc import Callable, Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from common.texts import cut, one_line

#: Bytes of an answer, unpacked. The largest real ones: a cover of 32 MiB, and Plex's list of
#: 100,000 actors (15 MB). A page of 1,000 items or 500 scenes has about 5 MB.
MAX_BYTES = 32 * 1024 * 1024
#: Bytes that are kept of an answer with an error status. Its first lines say what is wrong.
MAX_ERROR_BYTES = 65_536
#: Maximum seconds of one exchange, from the request to the answer's last byte. Three attempts stay
#: below `worker.process.SILENT_AFTER` (600 s), after which a worker counts as hanging.
MAX_SECONDS = 180.0
#: The codings of an answer that are unpacked: one of them, once. An older urllib3 unpacks
#: "gzip, gzip" without a limit within one read: 3 kB become gigabytes.
_ENCODINGS = ("gzip", "deflate")
#: Bytes that are read, and unpacked, at once.
_CHUNK = 16_384
_OK, _FIRST_ERROR = 200, 400
_POOLS = ("http", "https")
#: Of a stream: seconds without a byte until the first probe, between two, and unanswered ones.
_PROBES = {"TCP_KEEPIDLE": 60, "TCP_KEEPALIVE": 60, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 4}


class AnswerTooLarge(requests.RequestException):
    """Signal that an answer has more bytes than allowed."""


class UnknownEncoding(requests.RequestException):
    """Signal that an answer is packed in a way that was not asked for. Its body is not read."""


class AnswerTooSlow(requests.Timeout):
    """Signal that an answer was not complete within the time for a whole exchange."""


class LimitedSession(requests.Session):
    """Sends requests whose answers are limited. Uses no cookies, no .netrc, no redirects."""

    def __init__(
        self,
        read_timeout: float,
        *,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare a session.

        Args:
            read_timeout: seconds between two bytes; the whole exchange may take twice as long, at
                most `MAX_SECONDS`.
            max_bytes: of an answer, unpacked.
            clock: monotonic seconds.
        """
        super().__init__()
        self.trust_env = False
        # requests would ask for more where Python has the modules for it.
        self.headers["Accept-Encoding"] = ", ".join(_ENCODINGS)
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._seconds = min(2 * read_timeout, MAX_SECONDS)
        self._max_bytes = max_bytes
        self._clock = clock
        for scheme in _POOLS:
            self.mount(f"{scheme}://", _LimitedAdapter())

    def send(self, request: requests.PreparedRequest, **arguments: Any) -> requests.Response:
        """Send a request and read its whole answer; of a stream that was accepted only the head.

        Raises:
            AnswerTooLarge, AnswerTooSlow, UnknownEncoding, requests.RequestException
        """
        _exchange.clock, _exchange.end = self._clock, self._clock() + self._seconds
        is_stream = bool(arguments.get("stream"))
        arguments |= {"stream": True, "allow_redirects": False}
        try:
            response = super().send(request, **arguments)
            if is_stream and response.status_code == _OK:
                return response
            try:
                _keep(response, self._read(response))
            except BaseException:
                response.close()
                raise
        except requests.RequestException as error:
            if _time_left() <= 0:
                raise AnswerTooSlow(f"not complete after {self._seconds:g} seconds") from error
            raise
        finally:
            _exchange.end = None
        return response

    def open_stream(self, url: str, *, headers: Mapping[str, str]) -> LimitedStream:
        """GET an answer without an end; its head is limited as every answer, its body is not read.

        Raises:
            AnswerTooSlow, requests.RequestException
        """
        response = self.request("GET", url, headers=dict(headers), stream=True)
        return LimitedStream(response)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: a redirect is an answer like any other, and its address is not parsed."""

    def _read(self, response: requests.Response) -> bytes:
        is_error = response.status_code >= _FIRST_ERROR
        limit = min(MAX_ERROR_BYTES, self._max_bytes) if is_error else self._max_bytes
        encoding = response.headers.get("Content-Encoding", "").lower()
        if encoding not in ("", "identity", *_ENCODINGS):
            raise UnknownEncoding(f"its Content-Encoding is {cut(one_line(encoding), 40)}")
        content = bytearray()
        for chunk in response.iter_content(_CHUNK):
            content += chunk
            if len(content) > limit:
                if is_error:
                    response.close()
                    break
                raise AnswerTooLarge(f"more than {limit} bytes")
            if _time_left() <= 0:
                raise AnswerTooSlow(f"not complete after {self._seconds:g} seconds")
        return bytes(content[:limit])


class LimitedStream:
    """The answer to `LimitedSession.open_stream`, read piece by piece as it comes."""

    def __init__(self, response: requests.Response) -> None:
        self.status = response.status_code
        self.kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        #: compressed bytes are not unpacked here, where they have no limit
        self.is_packed = response.headers.get("Content-Encoding", "identity") != "identity"
        self._response = response
        raw: Any = response.raw._original_response
        self._raw = raw if isinstance(raw, _TimedResponse) else None
        if self._raw is not None:
            self._raw.keep_alive()

    def read(self) -> bytes:
        """Return the next bytes, at most 16 KiB; b"": it has ended. Waits for the read timeout.

        Raises:
            OSError, http.client.HTTPException: the connection was lost, or was silent for too long.
        """
        return b"" if self._raw is None else self._raw.read1(_CHUNK)

    def close(self) -> None:
        """End it, also while another thread reads."""
        if self._raw is not None:
            self._raw.interrupt()

    def release(self) -> None:
        """Close the connection; for the thread that reads."""
        self._response.close()


def _keep(response: requests.Response, content: bytes) -> None:
    """Make `content` the response's content."""
    response._content = content
    # Both servers speak UTF-8. requests would guess from the content, which takes long.
    response.encoding = response.encoding or "utf-8"


class _Exchange(threading.local):
    """The exchange that a thread is in."""

    clock: Callable[[], float] = staticmethod(time.monotonic)
    #: when it must be complete; None: no exchange
    end: float | None = None


_exchange = _Exchange()


def _time_left() -> float:
    return float("inf") if _exchange.end is None else _exchange.end - _exchange.clock()


class _TimedReader(io.RawIOBase):
    """Reads from a socket while time is left for the exchange.

    The socket's own timeout is between two bytes: a server that sends one byte a second never
    reaches it.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._timeout = connection.gettimeout()
        self._raw = connection.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = _time_left()
        if left <= 0:
            raise TimeoutError("no time left for this exchange")
        self._socket.settimeout(left if self._timeout is None else min(self._timeout, left))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    """Reads its head and body through `_TimedReader`."""

    def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self.fp.close()
        self.fp = io.BufferedReader(_TimedReader(sock))
        self._socket = sock

    def keep_alive(self) -> None:
        """Have the system notice a peer that is gone without a word, by probes of its own."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, seconds in _PROBES.items():
                if hasattr(socket, name):
                    self._socket.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)

    def interrupt(self) -> None:
        """End a read in another thread."""
        with contextlib.suppress(OSError):
            # not TLS's own `shutdown`, which another thread may be reading through
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _TimedConnection(HTTPConnection):
    response_class = _TimedResponse


class _TimedTLSConnection(HTTPSConnection):
    response_class = _TimedResponse


class _TimedPool(HTTPConnectionPool):
    ConnectionCls = _TimedConnection


class _TimedTLSPool(HTTPSConnectionPool):
    ConnectionCls = _TimedTLSConnection


class _LimitedAdapter(HTTPAdapter):
    """Opens connections that keep to the time of an exchange, also through a proxy."""

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        super().init_poolmanager(*arguments, **named)
        _use_timed_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **named: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **named)
        _use_timed_pools(manager)
        return manager


def _use_timed_pools(manager: Any) -> None:
    manager.pool_classes_by_scheme = dict(zip(_POOLS, (_TimedPool, _TimedTLSPool), strict=True))
