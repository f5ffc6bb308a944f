"""The connection to Plex: made on first use, with time limits on every request and a few quick attempts."""

from __future__ import annotations

import os
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from xml.etree.ElementTree import ParseError

import requests
from plexapi.server import PlexServer
from requests.utils import get_environ_proxies

from common.http import send
from plex import listing
from plex.exceptions import PlexNotFound, PlexPermanentError, PlexRejected, translated

#: Attempts at a request when the network fails, and the pause before the second, in seconds; it doubles.
ATTEMPTS = 3
FIRST_PAUSE = 0.1
_FORBIDDEN = 403
_NETWORK_ERRORS = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


class PlexSession(requests.Session):
    """Carries every request of plexapi: time limits, quick attempts, no redirects to strangers, our own name."""

    def __init__(
        self,
        url: str,
        timeout: tuple[float, float],
        headers: dict[str, str],
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Args:
        url: where Plex is.
        timeout: seconds to connect, and between two bytes of an answer.
        headers: go before plexapi's own, which name the machine's MAC address.
        """
        super().__init__()
        # What requests would look up for every request. No .netrc: the token is all we send.
        self.proxies.update(get_environ_proxies(url))
        self._verify = (
            os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        )
        self._limits = timeout
        self._own_headers = headers
        self._sleep = sleep
        self.attempts = ATTEMPTS

    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: object = None,
        allow_redirects: object = None,
        **content: Any,
    ) -> requests.Response:
        """Send a request; edits may be sent again, as sending one twice does the same as once.

        plexapi's own wishes for time limits and redirects do not count.
        """
        headers = {**(headers or {}), **self._own_headers}
        for attempt in range(1, self.attempts + 1):
            try:
                return send(
                    self,
                    method,
                    url,
                    headers=headers,
                    timeout=self._limits,
                    verify=self._verify,
                    **content,
                )
            except _NETWORK_ERRORS:
                if attempt >= self.attempts:
                    raise
                self._sleep(FIRST_PAUSE * 2 ** (attempt - 1) * random.uniform(1, 1.5))
        raise AssertionError("unreachable")


class PlexClient:
    """One conversation with a Plex server. Several threads may write items; the rest is for one at a time."""

    def __init__(
        self,
        url: str,
        token: str,
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
        *,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Nothing is sent yet.

        Args:
            connect_timeout: seconds.
            read_timeout: seconds between two bytes of an answer.
        """
        self.url = url.rstrip("/")
        self._token = token
        self._session = PlexSession(
            self.url, (connect_timeout, read_timeout), _identity(self.url), sleep
        )
        self._server: Any = None

    @property
    def server(self) -> Any:
        """The `plexapi.server.PlexServer`; connects when it is first read.

        Raises:
            PlexTemporaryError: Plex is down or starting up.
            PlexRejected: it rejects the token, or is no Plex.
        """
        if self._server is None:
            with _server_errors():
                self._server = self._connect()
        return self._server

    def get_library(self, name: str) -> Any:
        """Return the library section with this name; upper and lower case count only between two.

        Raises:
            PlexNotFound: there is none.
            PlexRejected, PlexTemporaryError
        """
        return self.libraries((name,))[0]

    def libraries(self, names: tuple[str, ...] = ()) -> list[Any]:
        """Return the named sections, or without names every one of type movie.

        Raises:
            PlexNotFound: one of the names is not there.
            PlexRejected, PlexTemporaryError
        """
        with _server_errors():
            sections = self._sections()
        if not names:
            return [section for section in sections if section.type == "movie"]
        return [_named(sections, name) for name in names]

    def probe(self) -> None:
        """Ask one cheap question that proves address, token and health; never more than one request.

        Raises:
            PlexTemporaryError: Plex is down, starting up or unwell.
            PlexRejected: it rejects the token, or is no Plex.
        """
        attempts, self._session.attempts = self._session.attempts, 1
        try:
            if self._server is None:
                self.server  # noqa: B018 - connecting is the question
            else:
                with _server_errors():
                    listing.query(self._server, "/library")  # 403 when the token is not the owner's
        finally:
            self._session.attempts = attempts

    def close(self) -> None:
        self._session.close()
        self._server = None

    def _sections(self) -> list[Any]:
        """All sections, asked for anew: plexapi never forgets the ones it has seen."""
        library = self.server.library
        library.reload()
        return list(library.sections())

    def _connect(self) -> Any:
        try:
            server: Any = PlexServer(self.url, self._token, session=self._session)  # type: ignore[no-untyped-call]
        except ParseError:
            raise PlexRejected(
                f"{self.url} answers, but not as Plex does: check plex_url"
            ) from None
        if not server.machineIdentifier:
            raise PlexRejected(f"{self.url} answers, but is no Plex server: check plex_url")
        return server


@contextmanager
def _server_errors() -> Iterator[None]:
    """The door for requests that are about no item: what is refused here is refused for every job."""
    try:
        with translated():
            yield
    except PlexRejected:
        raise
    except PlexPermanentError as error:
        hint = (
            "the token is not the server owner's"
            if error.status == _FORBIDDEN
            else "check plex_url"
        )
        raise PlexRejected(f"{error}: {hint}", status=error.status) from error
    except PlexNotFound as error:
        raise PlexRejected("what answers is no Plex (404): check plex_url", status=404) from error


def _named(sections: list[Any], name: str) -> Any:
    wanted = name.strip()
    alike = [
        section for section in sections if section.title.strip().casefold() == wanted.casefold()
    ]
    for section in sorted(
        alike, key=lambda one: one.title.strip() != wanted
    ):  # the exact spelling first
        return section
    there = ", ".join(repr(section.title) for section in sections) or "none"
    raise PlexNotFound(f"Plex has no library named {name!r}, but: {there}")


def _identity(url: str) -> dict[str, str]:
    """A client identifier that stays the same: Plex announces a new device for each new one."""
    return {
        "X-Plex-Product": "PlexSync",
        "X-Plex-Device-Name": "PlexSync",
        "X-Plex-Client-Identifier": str(
            uuid.uuid5(uuid.NAMESPACE_URL, f"plexsync:{urlsplit(url).netloc}")
        ),
    }
