"""Stash over HTTP: authentication, GraphQL, covers, and the login page."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from tests.simulators.httpd import Request, Response
from tests.simulators.stash.execution import Executor
from tests.simulators.stash.host import HostPage
from tests.simulators.stash.library import Library
from tests.simulators.stash.plugins import Caller
from tests.simulators.stash.resolvers import Account
from tests.simulators.stash.sessions import COOKIE, Session, Sessions
from tests.simulators.stash.values import load_json

HTML = "text/html; charset=utf-8"
LOGIN_PAGE = (
    b"<!DOCTYPE html><html><head><title>Login</title></head><body><form></form></body></html>"
)
APP_PAGE = b"<!DOCTYPE html><html><head><title>Stash</title></head><body></body></html>"
DEFAULT_COVER = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 9">'
    b'<rect width="16" height="9"/></svg>\n'
)
SCREENSHOT = re.compile(r"/scene/(\d+)/screenshot")
LOOK_SECONDS = 0.05
"""Seconds between two checks for a disconnected client."""

ClientLeft = Callable[[], bool]


class Web:
    """The handler of the simulated server."""

    def __init__(
        self,
        library: Library,
        executor: Executor,
        sessions: Sessions,
        account: Account,
        host: HostPage,
        *,
        client_left: Callable[[], ClientLeft],
        external_host: str = "",
    ) -> None:
        self._library = library
        self._executor = executor
        self._sessions = sessions
        self._account = account
        self._host = host
        self._client_left = client_left
        self._external_host = external_host

    def handle(self, request: Request) -> Response:
        response = self._handle(request)
        response.headers["Date"] = formatdate(
            self._library.epoch(), usegmt=True
        )  # as Go's HTTP server does
        return response

    def _handle(self, request: Request) -> Response:
        if request.path == "/healthz":
            return Response(200, b"")
        if request.path == "/login":
            return self._login(request)
        session, cookie = self._session(request)
        if session is None or (self._account.required and not session.user):
            return _unauthorised(request)
        response = self._answer(request, session)
        if cookie is not None:
            response.headers["Set-Cookie"] = cookie
        return response

    def _session(self, request: Request) -> tuple[Session | None, str | None]:
        """Return a request's session and the cookie that renews it; None for a wrong key."""
        key = request.headers.get("ApiKey") or request.first("apikey")
        if key:
            return (Session(self._account.username) if key == self._account.api_key else None), None
        session = self._sessions.read(_cookie(request))
        if session is None:
            return Session(""), None
        return session, self._renewed(session)

    def _renewed(self, session: Session) -> str:
        age = int(self._sessions.max_age)
        value = self._sessions.make(session)
        return f"{COOKIE}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax"

    def _login(self, request: Request) -> Response:
        if request.method != "POST":
            return Response(200, LOGIN_PAGE, {"Content-Type": HTML})
        form = {
            key: values[0]
            for key, values in parse_qs(request.body.decode("utf-8", "replace")).items()
        }
        account = self._account
        if (form.get("username"), form.get("password")) != (account.username, account.password):
            return Response(
                401, b"Username or password is invalid\n", {"Content-Type": "text/plain"}
            )
        return Response(200, b"", {"Set-Cookie": self._renewed(Session(account.username))})

    def _answer(self, request: Request, session: Session) -> Response:
        if request.path == "/graphql":
            caller = Caller(session.user, session.visited, self._base_url(request))
            with _watching(caller, self._client_left()):
                return self._graphql(request, caller)
        if match := SCREENSHOT.fullmatch(request.path):
            return self._screenshot(request, int(match[1]))
        if (found := self._host.answer(request.path)) is not None:
            return found
        if _has_extension(request.path):
            return Response(
                404, b"404 page not found\n", {"Content-Type": "text/plain; charset=utf-8"}
            )
        return Response(200, self._host.page() or APP_PAGE, {"Content-Type": HTML})

    def _base_url(self, request: Request) -> str:
        if self._external_host:
            return self._external_host.rstrip("/")
        scheme = request.headers.get("X-Forwarded-Proto") or "http"
        prefix = (request.headers.get("X-Forwarded-Prefix") or "").rstrip("/")
        return f"{scheme}://{request.headers.get('Host', '')}{prefix}"

    def _graphql(self, request: Request, caller: Caller) -> Response:
        accepted = request.headers.get("Accept") or ""
        modern = "*/*" in accepted or "application/graphql-response+json" in accepted
        kind = "application/graphql-response+json" if modern else "application/json"
        media_type = request.headers.get("Content-Type", "").partition(";")[0].strip()
        if request.method != "POST" or media_type != "application/json":
            return _json(
                400, {"errors": [{"message": "transport not supported"}], "data": None}, kind
            )
        try:
            asked = load_json(request.body)
            text, variables = asked.get("query") or "", asked.get("variables")
            name = asked.get("operationName")
        except (ValueError, AttributeError) as error:
            message = f"json request body could not be decoded: {error}"
            return _json(400, {"errors": [{"message": message}], "data": None}, kind)
        if not isinstance(text, str) or not isinstance(variables, dict | None):
            message = "json request body could not be decoded: wrong type"
            return _json(400, {"errors": [{"message": message}], "data": None}, kind)
        outcome = self._executor.run(text, variables, name, caller)
        refused = 400 if modern else 422
        return _json(200 if outcome.valid else refused, outcome.body, kind)

    def _screenshot(self, request: Request, scene_id: int) -> Response:
        scene = self._library.find_scene(scene_id)
        if scene is None:
            return Response(404, b"Not Found\n", {"Content-Type": "text/plain; charset=utf-8"})
        if scene.cover is None:
            return _picture(request, DEFAULT_COVER, "image/svg+xml")
        return _picture(request, scene.cover, _image_type(scene.cover))


@contextmanager
def _watching(caller: Caller, client_left: ClientLeft) -> Iterator[None]:
    """Cancel the request of a client that disconnects during this block."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(LOOK_SECONDS):
            if client_left():
                caller.cancel()
                return

    watcher = threading.Thread(target=watch, name="stash-watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()  # it must not read the socket while the response is written


def _unauthorised(request: Request) -> Response:
    if request.path == "/graphql" or _has_extension(request.path):
        return Response(401, b"", {"WWW-Authenticate": "FormBased"})
    return Response(302, b"", {"Location": f"/login?returnURL={request.path}"})


def _has_extension(path: str) -> bool:
    return "." in path.rpartition("/")[2]


def _cookie(request: Request) -> str:
    try:
        found = SimpleCookie(request.headers.get("Cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _json(status: int, body: object, kind: str) -> Response:
    return Response(
        status,
        json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"),
        {"Content-Type": kind},
    )


def _picture(request: Request, data: bytes, kind: str) -> Response:
    """Respond with a picture or 304. An address with `t` may be cached for a year."""
    etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
    dated = request.first("t") is not None
    headers = {
        "Cache-Control": "private, max-age=31536000, immutable" if dated else "no-cache",
        "ETag": etag,
    }
    if _names_tag(request.headers.get("If-None-Match", ""), etag):
        return Response(304, b"", headers)
    return Response(200, data, {**headers, "Content-Type": kind, "Accept-Ranges": "bytes"})


def _names_tag(condition: str, etag: str) -> bool:
    """Return whether If-None-Match holds this tag, weak or strong, or `*`."""
    known = [tag.strip().removeprefix("W/") for tag in condition.split(",")]
    return etag in known or known == ["*"]


def _image_type(data: bytes) -> str:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return "image/jpeg" if data.startswith(b"\xff\xd8\xff") else "application/octet-stream"
