"""Tests of the GraphQL client over HTTP: login, covers, paging, errors, secrets."""

from __future__ import annotations

import dataclasses
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from common.redaction import Redactor
from queue.timestamps import parse_time
from stash.client import (
    StashClient,
    StashQueryError,
    StashRefused,
    StashUnavailable,
    address_of_cover,
    is_picture,
)
from stash.connection import StashConnection
from tests.isolation import closed_url
from tests.simulators.httpd import Answer, Drip, Reset, Truncate
from tests.simulators.stash import StashSimulator
from tests.simulators.stash.events import server_connection

HOUR = 3600.0
JPEG = b"\xff\xd8\xff\xe0" + b"jpeg" * 10
PNG = b"\x89PNG\r\n\x1a\n" + b"png"
WEBP = b"RIFF\x00\x00\x00\x00WEBPVP8 "
GIF = b"GIF89a" + b"gif"
API_KEY = "api-key-0123456789-abcdef"


class Now:
    def __init__(self) -> None:
        self.seconds = time.time()

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def stash(tmp_path: Path, now: Now) -> Iterator[StashSimulator]:
    plugins = tmp_path / "stash" / "plugins"
    plugins.mkdir(parents=True)
    with StashSimulator(plugins_dir=plugins, clock=now) as simulator:
        yield simulator


class SavedConnection:
    """Replaces `load_connection`: returns what `save` was called with last."""

    def __init__(self, stash: StashSimulator) -> None:
        self._stash = stash
        self.latest: StashConnection | None = None
        self.loads = 0

    def save(self, **changes: Any) -> str:
        cookie = changes.pop("cookie", None) or self._stash.cookie()
        server = server_connection(**{"port": self._stash.server.port, "cookie": cookie, **changes})
        self.latest = StashConnection(server)
        return str(cookie)

    def __call__(self) -> StashConnection | None:
        self.loads += 1
        return self.latest


@pytest.fixture
def saved(stash: StashSimulator) -> SavedConnection:
    saved = SavedConnection(stash)
    saved.save()
    return saved


@pytest.fixture
def learned() -> list[str]:
    return []


@pytest.fixture
def client(saved: SavedConnection, learned: list[str], now: Now) -> Iterator[StashClient]:
    class Recorder(Redactor):
        def add(self, *secrets: str | None) -> None:
            learned.extend(secret or "" for secret in secrets)

        def add_passing(self, secret: str | None) -> None:
            learned.append(secret or "")

    client = StashClient(saved, redactor=Recorder(), clock=now)
    yield client
    client._session.close()


# --- scenes


def test_a_scene_is_read_with_all_its_metadata(stash: StashSimulator, client: StashClient) -> None:
    made = stash.add_scene(
        "A \"title\" with 'quotes' } and {",
        details="Line one\nLine two",
        date="2024-05",
        director="D",
        rating100=55,
        organized=True,
        studio="S",
        performers=["B", "A"],
        tags=["T1", "T2"],
        groups=["G"],
        files=[("/data/ä b.mp4", 5_000_000_000), ("/data/other.mp4", 7)],
    )

    scene = client.find_scene(made.id)

    assert scene is not None
    assert (scene.id, scene.title, scene.details) == (made.id, made.title, "Line one\nLine two")
    assert (scene.date, scene.director, scene.rating100, scene.organized) == (
        "2024-05",
        "D",
        55,
        True,
    )
    assert (scene.studio, scene.tags, scene.groups) == ("S", ("T1", "T2"), ("G",))
    assert set(scene.performers) == {"A", "B"}
    assert [(file.path, file.size) for file in scene.files] == [
        ("/data/ä b.mp4", 5_000_000_000),
        ("/data/other.mp4", 7),
    ]


def test_a_bare_scene_has_empty_fields_and_a_missing_one_is_none(
    stash: StashSimulator, client: StashClient
) -> None:
    scene = client.find_scene(stash.add_scene().id)

    assert scene is not None
    assert (scene.title, scene.details, scene.date, scene.rating100) == ("", "", None, None)
    assert (scene.studio, scene.performers, scene.tags, scene.groups, scene.files) == (
        "",
        (),
        (),
        (),
        (),
    )
    assert client.find_scene(4711) is None


def test_plugin_settings_do_not_include_other_plugins(
    stash: StashSimulator, client: StashClient
) -> None:
    assert client.plugin_settings() == {}
    stash.set_plugin_settings(
        "PlexSync", {"plex_url": "http://x", "max_retries": 3, "enabled": False}
    )
    stash.set_plugin_settings("Other", {"plex_url": "http://y"})

    assert client.plugin_settings() == {"plex_url": "http://x", "max_retries": 3, "enabled": False}


def test_values_travel_as_variables_and_never_in_the_query(
    stash: StashSimulator, client: StashClient
) -> None:
    for scene_id in (12345, 54321):
        client.find_scene(scene_id)

    sent = [
        json.loads(exchange.request.body)
        for exchange in stash.log.matching("POST")
        if b"findScene(" in exchange.request.body
    ]
    assert len({body["query"] for body in sent}) == 1
    assert [body["variables"] for body in sent] == [{"id": "12345"}, {"id": "54321"}]


# --- updated_since


@pytest.mark.parametrize("hours", [-9.5, 0, 2, 13])
def test_updated_since_finds_newer_scenes_in_any_utc_offset_of_stash(
    tmp_path: Path, now: Now, hours: float
) -> None:
    plugins = tmp_path / "elsewhere" / "plugins"
    plugins.mkdir(parents=True)
    with StashSimulator(
        plugins_dir=plugins, clock=now, zone=timezone(timedelta(hours=hours))
    ) as stash:
        old = stash.add_scene("old", updated_at=now() - 30 * HOUR)
        recent = stash.add_scene("recent", updated_at=now() - 0.5 * HOUR)
        newest = stash.add_scene("newest", updated_at=now())
        saved = SavedConnection(stash)
        saved.save()
        client = StashClient(saved)

        found = dict(client.updated_since(now() - HOUR))
        client._session.close()

    assert set(found) == {recent.id, newest.id}
    assert old.id not in found
    assert parse_time(found[newest.id]) == pytest.approx(now(), abs=1.1)


def test_updated_since_survives_a_clock_change_that_makes_times_look_older(
    stash: StashSimulator, client: StashClient, now: Now
) -> None:
    summer = stash.add_scene("s", updated_at=now())
    winter = timezone(timedelta(hours=-1))
    text = datetime.fromtimestamp(int(now() - 10), winter).isoformat()
    stash.change_silently(summer.id, updated_at=text)
    stash.add_scene("after", updated_at=now())

    assert summer.id in dict(client.updated_since(now() - 60))


def test_updated_since_reads_all_pages_each_scene_once(
    stash: StashSimulator, client: StashClient, now: Now
) -> None:
    scenes = [stash.add_scene(f"s{number % 3}") for number in range(1_001)]

    found = [scene_id for scene_id, _ in client.updated_since(now() - HOUR)]

    assert found == [scene.id for scene in scenes]


@pytest.mark.parametrize("count", [0, 500])
def test_updated_since_ends_at_an_empty_library_and_at_a_full_page(
    stash: StashSimulator, client: StashClient, now: Now, count: int
) -> None:
    for _ in range(count):
        stash.add_scene()

    assert len(list(client.updated_since(now() - HOUR))) == count


# --- addresses


@pytest.mark.parametrize("host", ["0.0.0.0", "", "127.0.0.1", "localhost"])
def test_the_listening_address_leads_to_this_machine(
    client: StashClient, saved: SavedConnection, host: str
) -> None:
    saved.save(host=host)

    assert client.check() == "v0.30.0"


@pytest.mark.parametrize("host", ["::", "[::]", "::1", "[::1]"])
def test_an_ipv6_address_leads_to_this_machine(stash: StashSimulator, host: str) -> None:
    with _relay(socket.AF_INET6, "::1", stash.server.port) as port:
        saved = SavedConnection(stash)
        saved.save(host=host, port=port)
        client = StashClient(saved)
        assert client.check() == "v0.30.0"
        client._session.close()


def test_a_proxy_in_the_environment_is_not_used(
    client: StashClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, closed_url())
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    assert client.check() == "v0.30.0"


class _relay:  # noqa: N801 - reads as a verb
    """Relay connections to the simulator, optionally over TLS or IPv6."""

    def __init__(
        self, family: int, host: str, target: int, context: ssl.SSLContext | None = None
    ) -> None:
        self._context = context
        self._target = target
        self._listener = socket.socket(family)
        try:
            self._listener.bind((host, 0))
        except OSError:
            self._listener.close()
            pytest.skip(f"{host} can't be used here")
        self._listener.listen()
        self._listener.settimeout(0.05)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._accept)

    def __enter__(self) -> int:
        self._thread.start()
        return int(self._listener.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            with client:
                self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        """Relay one request and its response."""
        try:
            client.settimeout(5)
            stream = (
                self._context.wrap_socket(client, server_side=True) if self._context else client
            )
            with stream, socket.create_connection(("127.0.0.1", self._target)) as server:
                request = b""
                while b"\r\n\r\n" not in request:
                    request += stream.recv(65_536)
                head, _, body = request.partition(b"\r\n\r\n")
                length = next(
                    (
                        int(line.partition(b":")[2])
                        for line in head.split(b"\r\n")
                        if line.lower().startswith(b"content-l")
                    ),
                    0,
                )
                while len(body) < length:
                    body += stream.recv(65_536)
                head = head.replace(b"Connection: keep-alive", b"Connection: close")
                server.sendall(head + b"\r\n\r\n" + body)
                while piece := server.recv(65_536):
                    stream.sendall(piece)
        except OSError:
            return


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Create a self-signed certificate for a host name, not for the loopback address."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    file = tmp_path / "stash.pem"
    command = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=stash.lan",
    ]
    subprocess.run(
        [*command, "-keyout", str(file), "-out", str(tmp_path / "crt")],
        check=True,
        capture_output=True,
    )
    file.write_text(file.read_text() + (tmp_path / "crt").read_text())
    return file


def test_a_self_signed_certificate_is_taken_on_the_loopback_address(
    stash: StashSimulator, certificate: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with _relay(socket.AF_INET, "127.0.0.1", stash.server.port, context) as port:
        saved = SavedConnection(stash)
        saved.save(scheme="https", port=port)
        client = StashClient(saved)
        assert client.check() == "v0.30.0"
        client._session.close()


@pytest.mark.skipif(sys.platform == "darwin", reason="a machine's own name may not resolve there")
def test_a_certificate_is_verified_anywhere_else(stash: StashSimulator, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    try:
        own = next(
            info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)
        )
    except OSError:
        pytest.skip("this machine's name has no address")
    if str(own).startswith("127."):
        pytest.skip("this machine has only a loopback address")
    with _relay(socket.AF_INET, str(own), stash.server.port, context) as port:
        saved = SavedConnection(stash)
        saved.save(scheme="https", host=str(own), port=port)
        client = StashClient(saved)
        with pytest.raises(StashUnavailable, match="SSL"):
            client.check()
        client._session.close()


# --- logins


@pytest.fixture
def guarded(stash: StashSimulator, saved: SavedConnection) -> StashSimulator:
    """Return a Stash that requires a login."""
    stash.set_credentials("me", "secret")
    saved.save()
    return stash


def cookies_sent(stash: StashSimulator) -> list[list[str]]:
    """Return the session cookies of each request."""
    headers = [exchange.request.headers.get("Cookie", "") for exchange in stash.log.all()]
    return [[part.partition("=")[2] for part in header.split("; ") if part] for header in headers]


def test_each_request_carries_one_session_cookie(
    guarded: StashSimulator, client: StashClient
) -> None:
    """Of several cookies with one name Stash (Go's Request.Cookie) uses the first, the old one."""
    for _ in range(4):
        client.check()

    assert [len(values) for values in cookies_sent(guarded)] == [1] * len(guarded.log)


def test_the_cookie_that_stash_renews_replaces_the_old_one(
    guarded: StashSimulator, client: StashClient, now: Now
) -> None:
    for _ in range(5):
        client.check()
        now.seconds += 0.8 * HOUR
    sent = [values[0] for values in cookies_sent(guarded)]

    assert len(set(sent)) >= 4, "a new one after each pause"
    assert {exchange.status for exchange in guarded.log.all()} == {200}


def test_a_renewed_cookie_replaces_the_old_one_on_localhost_too(
    guarded: StashSimulator, saved: SavedConnection, client: StashClient
) -> None:
    saved.save(host="localhost")
    for _ in range(3):
        client.check()

    assert [len(values) for values in cookies_sent(guarded)] == [1] * len(guarded.log)


def test_the_api_key_is_fetched_while_the_cookie_is_valid_and_used_afterwards(
    guarded: StashSimulator,
    client: StashClient,
    now: Now,
    learned: list[str],
    saved: SavedConnection,
) -> None:
    guarded.set_api_key(API_KEY)
    client.check()
    now.seconds += 30 * HOUR

    assert client.check() == "v0.30.0"
    assert saved.loads == 1
    assert guarded.log.all()[-1].request.headers.get("ApiKey") == API_KEY
    assert API_KEY in learned, "it must be kept out of logs"


def test_an_expired_cookie_is_refused_until_a_hook_saves_a_new_one(
    guarded: StashSimulator,
    saved: SavedConnection,
    client: StashClient,
    now: Now,
    learned: list[str],
) -> None:
    client.check()
    now.seconds += 2 * HOUR
    with pytest.raises(StashRefused, match="session"):
        client.check()

    fresh = saved.save()

    assert client.check() == "v0.30.0"
    assert fresh in learned


def test_a_restart_that_forgets_sessions_is_survived_with_the_next_connection(
    guarded: StashSimulator, saved: SavedConnection, client: StashClient
) -> None:
    client.check()
    guarded.invalidate_sessions()
    guarded.restart()
    saved.save()

    assert client.check() == "v0.30.0"


def test_a_regenerated_api_key_is_fetched_anew(
    guarded: StashSimulator, saved: SavedConnection, client: StashClient
) -> None:
    guarded.set_api_key(API_KEY)
    client.check()
    guarded.set_api_key("another-key-0123456789")
    saved.save()

    assert client.check() == "v0.30.0"
    assert guarded.log.all()[-1].request.headers.get("ApiKey") == "another-key-0123456789"


def test_the_client_follows_stash_to_another_address(
    stash: StashSimulator, saved: SavedConnection, client: StashClient
) -> None:
    client.check()
    stash.stop()
    stash.server.port = 0
    stash.start()
    saved.save()

    for _ in range(2):  # the old address may fail once, then the new one is used
        try:
            assert client.check() == "v0.30.0"
        except StashUnavailable:
            continue
        return
    raise AssertionError("the client did not find Stash at its new port")


def test_without_a_connection_the_text_says_what_to_do(
    saved: SavedConnection, client: StashClient
) -> None:
    saved.latest = None

    with pytest.raises(StashRefused, match="save any scene"):
        client.check()


def test_no_cookie_at_all_is_fine_where_stash_asks_for_none(
    saved: SavedConnection, client: StashClient
) -> None:
    assert saved.latest is not None
    saved.latest.server["SessionCookie"] = None

    assert client.check() == "v0.30.0"


# --- covers


@pytest.mark.parametrize("picture", [JPEG, PNG, WEBP, GIF])
def test_a_picture_is_returned_unchanged(
    stash: StashSimulator, client: StashClient, picture: bytes
) -> None:
    scene = client.find_scene(stash.add_scene(cover=picture).id)

    assert scene is not None
    assert client.fetch_cover(scene).picture == picture


@pytest.mark.parametrize(
    "content", [b"<svg xmlns=''/>", b"<!DOCTYPE html><html>", b"", b"\xff\xd8", b"RIFF....WAVE"]
)
def test_content_that_is_not_a_picture_is_not_a_cover(
    stash: StashSimulator, client: StashClient, content: bytes
) -> None:
    assert not is_picture(content)
    scene = client.find_scene(stash.add_scene(cover=JPEG).id)
    assert scene is not None
    stash.faults.add(Answer(200, content, {"Content-Type": "image/jpeg"}), path=r"/scene/")

    assert client.fetch_cover(scene).picture is None


def test_the_placeholder_for_a_missing_cover_is_not_a_cover(
    stash: StashSimulator, client: StashClient
) -> None:
    scene = client.find_scene(stash.add_scene().id)

    assert scene is not None
    assert scene.cover
    assert client.fetch_cover(scene).picture is None


def test_a_cover_that_is_too_large_is_ignored(
    stash: StashSimulator, client: StashClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stash.client._MAX_COVER_SIZE", 1000)
    for size, wanted in ((1000, True), (1001, False)):
        scene = client.find_scene(stash.add_scene(cover=JPEG.ljust(size, b"x")).id)
        assert scene is not None
        assert (client.fetch_cover(scene).picture is not None) is wanted


def test_a_cover_request_with_an_expired_cookie_is_retried_after_a_new_login(
    guarded: StashSimulator, saved: SavedConnection, client: StashClient, now: Now
) -> None:
    """Stash redirects such a request to its login page; it never answers 401."""
    scene = client.find_scene(guarded.add_scene(cover=JPEG).id)
    assert scene is not None
    now.seconds += 2 * HOUR
    saved.save()

    assert client.fetch_cover(scene).picture == JPEG


def test_a_login_page_instead_of_a_cover_is_a_refusal(
    guarded: StashSimulator, client: StashClient, now: Now
) -> None:
    scene = client.find_scene(guarded.add_scene(cover=JPEG).id)
    assert scene is not None
    now.seconds += 2 * HOUR

    with pytest.raises(StashRefused):
        client.fetch_cover(scene)


def test_the_cover_is_fetched_from_our_address_not_from_the_host_in_its_url(
    tmp_path: Path, now: Now
) -> None:
    plugins = tmp_path / "proxied" / "plugins"
    plugins.mkdir(parents=True)
    with StashSimulator(
        plugins_dir=plugins, clock=now, external_host="https://stash.example.org"
    ) as stash:
        saved = SavedConnection(stash)
        saved.save()
        client = StashClient(saved)
        scene = client.find_scene(stash.add_scene(cover=JPEG).id)
        assert scene is not None
        assert scene.cover.startswith("https://stash.example.org")

        assert client.fetch_cover(scene).picture == JPEG
        client._session.close()


@pytest.mark.parametrize("cover", ["@stranger.example/x", "//@stranger.example/x", "x?y=@z"])
def test_a_cover_url_never_leads_to_another_host(
    stash: StashSimulator, client: StashClient, cover: str
) -> None:
    scene = client.find_scene(stash.add_scene(cover=JPEG).id)
    assert scene is not None
    url = urlsplit(stash.url + address_of_cover(dataclasses.replace(scene, cover=cover)))
    assert (url.hostname, url.port) == ("127.0.0.1", stash.server.port)


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("[::1]", True),
        ("localhost", True),
        ("127.example.org", False),
        ("127.0.0.1.example.org", False),
        ("192.168.1.10", False),
    ],
)
def test_only_this_machine_counts_as_loopback(
    client: StashClient, host: str, is_loopback: bool
) -> None:
    client._address = f"https://{host}:9999"
    assert client._is_loopback is is_loopback


# --- errors


UNAVAILABLE = {
    "500": Answer(500, b"oops"),
    "503": Answer(503),
    "500 with data": Answer(500, b'{"data": {"version": {"version": "x"}}}'),
    "page": Answer(200, b"<html>hello</html>"),
    "null": Answer(200, b"null"),
    "list": Answer(200, b"[1]"),
    "number": Answer(200, b"3"),
    "no data": Answer(200, b'{"data": null}'),
    "empty data": Answer(200, b'{"data": {}}'),
    "other data": Answer(200, b'{"data": {"version": 5}}'),
    "errors": Answer(
        200, b'{"errors": [{"message": "locked"}], "data": {"version": {"version": "v"}}}'
    ),
    "redirect": Answer(302, b"", {"Location": f"{closed_url()}/evil"}),
    "redirect to nonsense": Answer(302, b"", {"Location": "http://[bad"}),
    "truncated": Truncate(0.5),
    "reset": Reset(),
    "not utf-8": Answer(200, b'{"data": "\xff\xfe"}'),
    "deep": Answer(200, b"[" * 100_000),
}


@pytest.mark.parametrize("fault", UNAVAILABLE.values(), ids=UNAVAILABLE.keys())
def test_any_other_response_raises_stash_unavailable(
    stash: StashSimulator, client: StashClient, fault: Any
) -> None:
    client.check()
    stash.faults.add(fault)

    with pytest.raises(StashUnavailable) as caught:
        client.check()

    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


def test_a_stopped_stash_is_unavailable_and_the_message_names_its_address(
    stash: StashSimulator, client: StashClient
) -> None:
    stash.stop()

    with pytest.raises(StashUnavailable, match=str(stash.server.port)):
        client.check()


def test_a_rejected_query_quotes_stashs_message(client: StashClient) -> None:
    with pytest.raises(StashQueryError, match="nonsense"):
        client.query("query { nonsense }")


def test_a_slow_response_ends_at_the_timeout(
    stash: StashSimulator, client: StashClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stash.client.TIMEOUT", (0.2, 0.2))
    stash.faults.add(Drip(60))

    with pytest.raises(StashUnavailable):
        client.check()


SECRETFUL = {
    "refused": Answer(401),
    "500": Answer(500, b"oops"),
    "reset": Reset(),
    "garbage": Answer(200, b"<html>"),
    "rejected": Answer(422, b'{"errors": [{"message": "no"}]}'),
}


@pytest.mark.parametrize("fault", SECRETFUL.values(), ids=SECRETFUL.keys())
def test_no_exception_text_or_traceback_carries_a_secret(
    guarded: StashSimulator,
    saved: SavedConnection,
    client: StashClient,
    learned: list[str],
    fault: Any,
) -> None:
    guarded.set_api_key(API_KEY)
    cookie = saved.save()
    client.check()
    guarded.faults.add(fault)

    with pytest.raises((StashUnavailable, StashRefused, StashQueryError)) as caught:
        client.check()

    text = "".join(traceback.format_exception(caught.value))
    assert API_KEY not in text
    assert cookie not in text
    assert {API_KEY, cookie} <= set(learned)
