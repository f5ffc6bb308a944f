"""Tests of the GraphQL client over HTTP: login, covers, paging, errors, secrets."""

from __future__ import annotations

import dataclasses
import gzip
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
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
from stash.records import Scene
from tests.isolation import closed_url
from tests.simulators.httpd import Answer, Drip, Endless, Reset, Truncate
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

    def save(self, **changes: Any) -> str:
        cookie = changes.pop("cookie", None) or self._stash.cookie()
        server = server_connection(**{"port": self._stash.server.port, "cookie": cookie, **changes})
        self.latest = StashConnection(server)
        return str(cookie)

    def __call__(self) -> StashConnection | None:
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


# --- pages of scenes


def ids(scenes: Iterable[Scene]) -> list[int]:
    return [scene.id for scene in scenes]


def all_after(client: StashClient, size: int, scene_filter: dict[str, Any] | None) -> list[int]:
    """Return the ids on all pages."""
    found: list[int] = []
    while True:
        page = ids(client.page_after(found[-1] if found else 0, size, scene_filter))
        found += page
        if len(page) < size:
            return found


@pytest.mark.parametrize("count", [0, 1, 3, 6, 7])
def test_all_pages_have_each_scene_once_by_id(
    stash: StashSimulator, client: StashClient, count: int
) -> None:
    scenes = [stash.add_scene(f"s{number % 3}", updated_at=1e9 - number) for number in range(count)]

    assert all_after(client, 3, None) == [scene.id for scene in scenes]


def test_a_page_has_whole_scenes(stash: StashSimulator, client: StashClient) -> None:
    scene = stash.add_scene("t", performers=["p"], studio="s", tags=["g"], cover=JPEG)

    assert client.page_after(0, 500) == [client.find_scene(scene.id)]


def test_a_scene_that_is_deleted_between_two_pages_hides_no_other(
    stash: StashSimulator, client: StashClient
) -> None:
    scenes = [stash.add_scene() for _ in range(6)]
    first = client.page_after(0, 3)
    stash.delete_silently(scenes[0].id)

    assert ids(client.page_after(first[-1].id, 3)) == [scene.id for scene in scenes[3:]]


def test_a_page_can_be_filtered(stash: StashSimulator, client: StashClient) -> None:
    tagged = [stash.add_scene(tags=["x"] if number % 2 else ["y"]) for number in range(6)]
    tag_id = stash.library.tags.id_of("x")
    scene_filter = {"tags": {"value": [str(tag_id)], "modifier": "INCLUDES"}}

    assert all_after(client, 2, scene_filter) == [scene.id for scene in tagged[1::2]]
    assert client.scene_count(scene_filter) == 3
    assert client.scene_count() == 6


def test_an_empty_stash_has_no_scenes(client: StashClient) -> None:
    assert client.scene_count() == 0
    assert client.latest(1, 100) == []


# --- the latest changes


def test_the_latest_scenes_come_first_and_page_by_page(
    stash: StashSimulator, client: StashClient, now: Now
) -> None:
    scenes = [stash.add_scene(updated_at=now() - age * HOUR) for age in (3, 1, 4, 2)]
    three, one, four, two = (scene.id for scene in scenes)

    assert ids(client.latest(1, 3)) == [one, two, three]
    assert ids(client.latest(2, 3)) == [four]
    assert client.latest(1, 1) == [client.find_scene(one)]


def test_the_latest_related_objects_of_each_kind_are_counted_and_dated(
    stash: StashSimulator, client: StashClient, now: Now
) -> None:
    scene = stash.add_scene(performers=["p", "q"], studio="s", tags=["a", "b", "c"], groups=["g"])
    now.seconds += 60
    stash.rename_silently("tag", "b", "bb")
    tag_id = stash.library.tags.id_of("bb")

    found = client.latest_related(1, 2)

    assert {kind: count for kind, (count, _) in found.items()} == {
        "performer": 2,
        "studio": 1,
        "tag": 3,
        "group": 1,
    }
    count, tags = found["tag"]
    assert (count, len(tags), tags[0][0]) == (3, 2, tag_id)
    assert parse_time(tags[0][1]) == pytest.approx(now(), abs=1.1)
    assert len(client.latest_related(2, 2)["tag"][1]) == 1
    assert client.find_scene(scene.id) is not None  # a rename leaves scenes as they are


def test_a_stash_without_related_objects_has_none(client: StashClient) -> None:
    assert client.latest_related(1, 100) == dict.fromkeys(
        ("performer", "studio", "tag", "group"), (0, [])
    )


@pytest.mark.parametrize("hours", [-9.5, 0, 2, 13])
def test_the_filter_of_changes_covers_them_in_any_utc_offset_of_stash(
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

        found = client.page_after(0, 500, client.updated_filter(now() - HOUR))
        client._session.close()

    assert ids(found) == [recent.id, newest.id]
    assert old.id not in ids(found)
    assert parse_time(found[1].updated_at) == pytest.approx(now(), abs=1.1)


def test_the_filter_of_changes_survives_a_clock_change_that_makes_times_look_older(
    stash: StashSimulator, client: StashClient, now: Now
) -> None:
    summer = stash.add_scene("s", updated_at=now())
    winter = timezone(timedelta(hours=-1))
    text = datetime.fromtimestamp(int(now() - 10), winter).isoformat()
    stash.change_silently(summer.id, updated_at=text)
    stash.add_scene("after", updated_at=now())

    assert summer.id in ids(client.page_after(0, 9, client.updated_filter(now() - 60)))


def test_the_filter_of_changes_works_for_an_empty_stash(client: StashClient, now: Now) -> None:
    assert client.scene_count(client.updated_filter(now() - HOUR)) == 0


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
            client.settimeout(60)
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


def test_a_certificate_is_verified_anywhere_else(
    stash: StashSimulator, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is how Stash is called, as the name of another machine may lead anywhere."""
    resolve = socket.getaddrinfo

    def resolve_here(host: Any, *arguments: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if host == "stash.test" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_here)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with _relay(socket.AF_INET, "127.0.0.1", stash.server.port, context) as port:
        saved = SavedConnection(stash)
        saved.save(scheme="https", host="stash.test", port=port)
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
) -> None:
    guarded.set_api_key(API_KEY)
    client.check()
    now.seconds += 30 * HOUR

    assert client.check() == "v0.30.0"
    asked = [one.request.body for one in guarded.log.all()]
    assert sum(b"apiKey" in body for body in asked) == 1
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


def test_an_unchanged_cover_is_not_sent_again(
    stash: StashSimulator, client: StashClient, now: Now
) -> None:
    scene_id = stash.add_scene(cover=JPEG).id
    scene = client.find_scene(scene_id)
    assert scene is not None
    first = client.fetch_cover(scene)
    assert first.etag
    assert first.at == pytest.approx(time.time(), abs=60)  # by Stash's own clock

    again = client.fetch_cover(scene, first.etag)

    assert (again.picture, again.is_unchanged, again.etag) == (None, True, first.etag)
    assert again.at == pytest.approx(time.time(), abs=60)
    asked = [exchange.request for exchange in stash.log.matching("GET", r"/scene/")]
    assert [request.headers.get("If-None-Match") for request in asked] == [None, first.etag]


def test_another_cover_under_the_same_address_is_sent(
    stash: StashSimulator, client: StashClient
) -> None:
    """Within a second Stash gives a second cover the address of the first."""
    scene_id = stash.add_scene(cover=JPEG, updated_at=1e9).id
    scene = client.find_scene(scene_id)
    assert scene is not None
    first = client.fetch_cover(scene)
    stash.change_silently(scene_id, cover=PNG, updated_at=1e9)
    assert client.find_scene(scene_id) == scene

    second = client.fetch_cover(scene, first.etag)

    assert (second.picture, second.is_unchanged) == (PNG, False)
    assert second.etag not in ("", first.etag)


def test_what_is_no_cover_has_no_etag(stash: StashSimulator, client: StashClient) -> None:
    scene = client.find_scene(stash.add_scene().id)
    assert scene is not None
    placeholder = client.fetch_cover(scene)
    assert (placeholder.picture, placeholder.etag, placeholder.is_unchanged) == (None, "", False)
    nothing = client.fetch_cover(dataclasses.replace(scene, cover=""), "x")
    assert (nothing.picture, nothing.at, nothing.etag) == (None, None, "")


def test_a_cover_without_a_date_has_none(stash: StashSimulator, client: StashClient) -> None:
    scene = client.find_scene(stash.add_scene(cover=JPEG).id)
    assert scene is not None
    stash.faults.add(Answer(200, JPEG, {"Date": "yesterday"}), path=r"/scene/")

    cover = client.fetch_cover(scene)

    assert (cover.picture, cover.at) == (JPEG, None)


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


def test_an_answer_that_lacks_what_was_asked_for_names_it(
    stash: StashSimulator, client: StashClient
) -> None:
    answer = b'{"data": {"findScenes": {"scenes": []}}}'
    stash.faults.add(Answer(200, answer, {"Content-Type": "application/json"}))
    with pytest.raises(StashUnavailable, match=r"can't be understood \(no hierarchy\)"):
        client.latest(1, 1)


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


@pytest.mark.parametrize("head", [False, True], ids=["body", "head"])
def test_an_answer_that_comes_byte_by_byte_is_given_up(
    stash: StashSimulator, saved: SavedConnection, monkeypatch: pytest.MonkeyPatch, head: bool
) -> None:
    """Each byte comes within the read timeout; the answer may take twice as long, not more."""
    monkeypatch.setattr("stash.client.TIMEOUT", (0.4, 0.4))
    client = StashClient(saved)
    stash.faults.add(Drip(0.05, head))

    with pytest.raises(StashUnavailable, match=f"Stash does not answer at .*:{stash.server.port}"):
        client.check()

    assert len(stash.log) == 1
    client._session.close()


def page_of(ids: Iterable[int]) -> Answer:
    one = {"organized": False, "created_at": "", "files": []}
    scenes = [{"id": str(key), **one} for key in ids]
    return Answer(200, json.dumps({"data": {"findScenes": {"scenes": scenes}}}).encode())


def test_pages_that_repeat_the_same_scenes_come_to_an_end(
    stash: StashSimulator, client: StashClient
) -> None:
    client.check()
    stash.log.clear()
    stash.faults.add(page_of(range(1, 501)))
    with pytest.raises(StashUnavailable, match="the same scenes again"):
        client.scenes_with_name(["a.mp4"])
    assert len(stash.log) == 2


TOO_MUCH = {
    "endless": Endless(b" " * 65_536),
    "gzip bomb": Answer(200, gzip.compress(bytes(40_000_000)), {"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("fault", TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_an_answer_that_is_too_large_makes_stash_unavailable(
    stash: StashSimulator, client: StashClient, fault: Any
) -> None:
    client.check()
    stash.faults.add(fault)
    with pytest.raises(StashUnavailable, match="too large"):
        client.check()


def test_an_answer_that_is_packed_twice_makes_stash_unavailable(
    stash: StashSimulator, client: StashClient
) -> None:
    client.check()
    stash.faults.add(Answer(200, gzip.compress(b"{}"), {"Content-Encoding": "gzip, gzip"}))
    with pytest.raises(StashUnavailable, match="packed in a way"):
        client.check()


@pytest.mark.parametrize("fault", TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_a_cover_without_measure_counts_as_none(
    stash: StashSimulator, client: StashClient, fault: Any
) -> None:
    """The scene's texts still go to Plex."""
    scene = client.find_scene(stash.add_scene(cover=JPEG).id)
    assert scene is not None
    stash.faults.add(fault, method="GET")
    assert client.fetch_cover(scene).picture is None


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


# --- what a scene has by way of others


def test_a_scene_has_code_ids_and_what_is_above_its_studio_and_tags(
    stash: StashSimulator, client: StashClient
) -> None:
    stash.add_tag("World")
    stash.add_tag("Places", parents=["World"])
    stash.add_tag("Sunny")
    stash.add_tag("Beach", parents=["Places", "Sunny"])
    stash.add_tag("Looks")
    stash.add_tag("Tall", parents=["Looks"])
    ann = stash.add_performer("Ann", tags=["Tall", "Sunny"])
    bob = stash.add_performer("Bob", tags=["Tall", "Beach"])
    network = stash.add_studio("Network")
    stash.add_studio("Site", parent="Network")
    made = stash.add_scene(
        code="ABC-1", studio="Site", performers=["Ann", "Bob"], tags=["Sunny", "Beach"],
        stash_ids=[{"endpoint": "https://example.org", "stash_id": "x", "updated_at": "2026"}],
    )  # fmt: skip

    for scene in (client.find_scene(made.id), *client.find_scenes([made.id]), *client.latest(1, 9)):
        assert scene is not None
        assert (scene.code, scene.has_stash_id) == ("ABC-1", True)
        assert (scene.parent_studio, scene.parent_studio_id) == ("Network", network)
        assert scene.performer_ids == (ann, bob)
        assert scene.tags == ("Beach", "Sunny")
        assert [stash.library.tags.get(one).name for one in scene.tag_ids] == ["Beach", "Sunny"]
        assert scene.performer_tags == ("Sunny", "Tall", "Beach")
        assert scene.tag_ancestors == {
            "Beach": ("Places", "Sunny", "World"),
            "Places": ("World",),
            "Tall": ("Looks",),
        }
        assert scene.as_metadata()["tag_ancestors"] == scene.tag_ancestors


def test_a_scene_with_nothing_above_it(stash: StashSimulator, client: StashClient) -> None:
    scene = client.find_scene(stash.add_scene(studio="S", tags=["T"], performers=["P"]).id)
    assert scene is not None
    assert (scene.code, scene.has_stash_id, scene.parent_studio) == ("", False, "")
    assert (scene.performer_tags, scene.tag_ancestors) == ((), {})
