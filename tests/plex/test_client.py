"""The Plex connection is lazy, has timeouts, retries quickly and keeps its token to one host."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from plex.client import PlexClient
from plex.exceptions import (
    PlexNotFound,
    PlexPermanentError,
    PlexRejected,
    PlexTemporaryError,
    translated,
)
from plex.index import FileIndex
from plex.items import read_item
from tests.harness.plex_only import PlexHarness
from tests.harness.plugin import ROOT
from tests.isolation import closed_url
from tests.plex.support import TOKEN, FakeSleep, requests_of
from tests.simulators.httpd import (
    Answer,
    Drip,
    Fault,
    Hang,
    Request,
    Reset,
    ResetAfter,
    Response,
    SimulatedServer,
    Truncate,
)
from tests.simulators.plex import PlexSimulator

PLEX_ERRORS = (PlexTemporaryError, PlexPermanentError, PlexNotFound)


class TimeoutRecorder(HTTPAdapter):
    """Record the timeouts of each request."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[Any] = []

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        self.limits.append(kwargs.get("timeout"))
        return super().send(request, *args, **kwargs)


@pytest.fixture
def other_host() -> Iterator[SimulatedServer]:
    """Start another host, which must never receive the token."""
    with SimulatedServer(
        lambda _request: Response(200, b"<MediaContainer/>"), name="other_host"
    ) as server:
        yield server


# --- lazy connection


def test_nothing_is_sent_before_the_first_use(plex: PlexSimulator, client: PlexClient) -> None:
    assert len(plex.log) == 0


def test_a_client_for_a_dead_address_can_be_made() -> None:
    client = PlexClient(closed_url(), TOKEN)
    client.close()


def test_the_server_is_connected_to_once(plex: PlexSimulator, client: PlexClient) -> None:
    first = client.server
    assert client.server is first
    assert requests_of(plex) == [("GET", "/")]


def test_a_closed_client_connects_again(plex: PlexSimulator, client: PlexClient) -> None:
    assert client.server is not None
    client.close()
    assert client.server.machineIdentifier == plex.machine_identifier


def test_a_failed_connection_is_tried_again_at_the_next_use(
    plex: PlexSimulator, client: PlexClient
) -> None:
    plex.starting_up = True
    with pytest.raises(PlexTemporaryError):
        _ = client.server
    plex.starting_up = False
    assert client.server is not None


# --- timeouts


def test_every_request_has_both_time_limits(
    plex: PlexSimulator, fake_sleep: FakeSleep, index: FileIndex
) -> None:
    library = plex.add_library("Scenes", ["/media"])
    rating_key = plex.add_item(library, "/media/a/One.mp4").rating_key
    client = PlexClient(plex.url, TOKEN, connect_timeout=2.5, read_timeout=7.5, sleep=fake_sleep)
    recorder = TimeoutRecorder()
    client._session.mount("http://", recorder)
    section = client.get_library("Scenes")
    index.refresh(client, [library.key])
    item = section.fetchItem(rating_key)
    item.reload()
    item.edit(**{"title.value": "x"})
    item.rate(5)
    item.uploadPoster(filepath=b"picture")
    item.refresh()
    section.update(path="/media/a")
    client.probe()
    client.close()
    assert len(recorder.limits) == len(plex.log)
    assert set(recorder.limits) == {(2.5, 7.5)}
    assert plex.settle()


@pytest.mark.parametrize(
    "path", ["/$", "/library/sections$", "/library/sections/1/all", "/library/metadata"]
)
def test_a_server_that_hangs_is_a_temporary_error(
    plex: PlexSimulator, fake_sleep: FakeSleep, index: FileIndex, path: str
) -> None:
    library = plex.add_library("Scenes", ["/media"])
    rating_key = plex.add_item(library, "/media/a/One.mp4").rating_key
    client = PlexClient(plex.url, TOKEN, read_timeout=0.2, sleep=fake_sleep)
    rule = plex.faults.add(Hang(), path=path)
    with pytest.raises(PlexTemporaryError, match="in time"):
        index.refresh(client, [library.key])
        client.libraries()
        with translated():
            read_item(client.server.fetchItem(rating_key))
    rule.remove()
    client.close()


def test_a_request_that_timed_out_is_not_sent_again_at_once(
    plex: PlexSimulator, fake_sleep: FakeSleep
) -> None:
    """A server that is busy gets no three requests for one."""
    client = PlexClient(plex.url, TOKEN, read_timeout=0.2, sleep=fake_sleep)
    rule = plex.faults.add(Hang())
    with pytest.raises(PlexTemporaryError, match="in time"):
        _ = client.server
    assert (len(plex.log), fake_sleep.seconds) == (1, [])
    rule.remove()
    client.close()


@pytest.mark.parametrize("head", [False, True], ids=["body", "head"])
def test_an_answer_that_comes_byte_by_byte_is_a_temporary_error(
    plex: PlexSimulator, fake_sleep: FakeSleep, head: bool
) -> None:
    """Each byte comes within the read timeout; the answer may take twice as long, not more."""
    client = PlexClient(plex.url, TOKEN, read_timeout=0.5, sleep=fake_sleep)
    plex.faults.add(Drip(0.05, head))
    with pytest.raises(PlexTemporaryError, match="in time"):
        _ = client.server
    assert (len(plex.log), fake_sleep.seconds) == (1, [])
    client.close()


# --- quick retries


@pytest.mark.parametrize("fault", [Reset(), ResetAfter(), Truncate(0.5)], ids=repr)
def test_the_third_attempt_succeeds(
    plex: PlexSimulator, client: PlexClient, fake_sleep: FakeSleep, fault: Fault
) -> None:
    plex.faults.add(fault, times=2)
    assert client.server.machineIdentifier == plex.machine_identifier
    assert len(plex.log) == 3
    assert len(fake_sleep.seconds) == 2


@pytest.mark.parametrize("fault", [Reset(), ResetAfter(), Truncate(0.5)], ids=repr)
def test_there_are_no_more_than_three_attempts(
    plex: PlexSimulator, client: PlexClient, fake_sleep: FakeSleep, fault: Fault
) -> None:
    plex.faults.add(fault)
    with pytest.raises(PlexTemporaryError):
        _ = client.server
    assert len(plex.log) == 3
    assert len(fake_sleep.seconds) == 2


def test_a_refused_connection_is_tried_three_times(fake_sleep: FakeSleep) -> None:
    with PlexSimulator(token=TOKEN) as plex:
        url = plex.url
    client = PlexClient(url, TOKEN, sleep=fake_sleep)
    with pytest.raises(PlexTemporaryError):
        _ = client.server
    client.close()
    assert len(fake_sleep.seconds) == 2


def test_pauses_begin_at_a_tenth_of_a_second_and_grow_with_jitter(fake_sleep: FakeSleep) -> None:
    for _ in range(20):
        client = PlexClient(closed_url(), TOKEN, sleep=fake_sleep)
        with pytest.raises(PlexTemporaryError):
            _ = client.server
        client.close()
    pairs = list(zip(fake_sleep.seconds[::2], fake_sleep.seconds[1::2], strict=True))
    assert all(0.1 <= first < second <= 1 for first, second in pairs)
    assert len(set(fake_sleep.seconds)) == len(fake_sleep.seconds)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500, 503])
def test_an_error_response_is_not_retried(
    plex: PlexSimulator, client: PlexClient, fake_sleep: FakeSleep, status: int
) -> None:
    plex.faults.add(Answer(status))
    with pytest.raises(PLEX_ERRORS):
        _ = client.server
    assert len(plex.log) == 1
    assert fake_sleep.seconds == []


def test_an_edit_whose_response_was_lost_is_sent_again_harmlessly(
    harness: PlexHarness, fake_sleep: FakeSleep
) -> None:
    item = harness.plex.add_item(harness.library, "/media/a/One.mp4", genres=["Old"])
    rule = harness.plex.faults.add(ResetAfter(), method="PUT", times=1)
    harness.item(item.rating_key).edit(
        **{"title.value": "New", "genre[0].tag.tag": "Fresh", "genre[].tag.tag-": "Old"}
    )
    rule.remove()
    assert (item.title, item.genres) == ("New", ["Fresh"])
    assert len(fake_sleep.seconds) == 1


# --- secrets


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
def test_a_redirect_is_not_followed_to_another_host(
    harness: PlexHarness, other_host: SimulatedServer, method: str, status: int
) -> None:
    item = harness.plex.add_item(harness.library, "/media/a/One.mp4")
    plex_item = harness.item(item.rating_key)
    harness.plex.faults.add(
        Answer(status, b"", {"Location": f"{other_host.url}/steal"}), method=method
    )
    calls: dict[str, Callable[[], object]] = {
        "GET": harness.client.probe,
        "PUT": lambda: _translated(lambda: plex_item.edit(**{"title.value": "x"})),
        "POST": lambda: _translated(lambda: plex_item.uploadPoster(filepath=b"picture")),
    }
    with pytest.raises(PLEX_ERRORS):
        calls[method]()
    assert len(other_host.log) == 0


def test_a_redirect_at_the_first_request_is_not_followed(
    plex: PlexSimulator, client: PlexClient, other_host: SimulatedServer
) -> None:
    plex.faults.add(Answer(302, b"", {"Location": other_host.url}))
    with pytest.raises(PLEX_ERRORS):
        _ = client.server
    assert len(other_host.log) == 0


def test_no_url_contains_the_token(harness: PlexHarness) -> None:
    item = harness.plex.add_item(harness.library, "/media/a/One.mp4")
    harness.refresh()
    harness.item(item.rating_key).edit(**{"title.value": "x"})
    harness.item(item.rating_key).uploadPoster(filepath=b"picture")
    assert not [exchange for exchange in harness.plex.log.all() if TOKEN in exchange.request.target]
    assert {
        exchange.request.headers.get("X-Plex-Token") for exchange in harness.plex.log.all()
    } == {TOKEN}


# --- identity


def test_all_clients_send_the_same_client_identifier(
    plex: PlexSimulator, fake_sleep: FakeSleep
) -> None:
    library = plex.add_library("Scenes", ["/media"])
    for url in (plex.url, plex.url, f"{plex.url}/"):
        client = PlexClient(url, TOKEN, sleep=fake_sleep)
        client.libraries()
        client.get_library(library.title).update()
        client.close()
    assert plex.settle()
    names = {exchange.request.headers["X-Plex-Client-Identifier"] for exchange in plex.log.all()}
    assert len(names) == 1
    assert hex(uuid.getnode()) not in names
    assert {exchange.request.headers["X-Plex-Product"] for exchange in plex.log.all()} == {
        "PlexSync"
    }


# --- libraries


@pytest.mark.parametrize("name", ["My Scenes", "my scenes", "MY SCENES", "  My Scenes  "])
def test_a_library_is_found_by_its_name(plex: PlexSimulator, client: PlexClient, name: str) -> None:
    wanted = plex.add_library("My Scenes", ["/media"])
    plex.add_library("My Scenes 2", ["/other"])
    assert int(client.get_library(name).key) == wanted.key


def test_the_exact_spelling_of_a_name_goes_before_another_case(
    plex: PlexSimulator, client: PlexClient
) -> None:
    plex.add_library("SCENES", ["/a"])
    exact = plex.add_library("Scenes", ["/b"])
    assert int(client.get_library("Scenes").key) == exact.key


def test_the_error_names_a_missing_library(plex: PlexSimulator, client: PlexClient) -> None:
    plex.add_library("Scenes", ["/media"])
    with pytest.raises(PlexNotFound, match="Nonsense"):
        client.get_library("Nonsense")


def test_a_library_added_or_renamed_later_is_seen(plex: PlexSimulator, client: PlexClient) -> None:
    first = plex.add_library("Scenes", ["/media"])
    client.libraries()
    second = plex.add_library("More", ["/more"])
    plex.rename_library(first, "Clips")
    assert [int(client.get_library(name).key) for name in ("More", "Clips")] == [
        second.key,
        first.key,
    ]
    with pytest.raises(PlexNotFound):
        client.get_library("Scenes")


def test_without_names_all_movie_libraries_are_used(
    plex: PlexSimulator, client: PlexClient
) -> None:
    wanted = [plex.add_library("A", ["/a"]).key, plex.add_library("B", ["/b"]).key]
    plex.add_library("Shows", ["/shows"], type="show")
    plex.add_library("Music", ["/music"], type="artist")
    assert [int(section.key) for section in client.libraries()] == wanted


def test_named_libraries_come_in_the_order_of_the_names(
    plex: PlexSimulator, client: PlexClient
) -> None:
    a, b, _ = (plex.add_library(name, [f"/{name}"]).key for name in "abc")
    assert [int(section.key) for section in client.libraries(("b", "a"))] == [b, a]
    with pytest.raises(PlexNotFound, match="nope"):
        client.libraries(("a", "nope"))


# --- the probe


@pytest.mark.parametrize("connected", [False, True])
def test_a_probe_is_one_request(plex: PlexSimulator, client: PlexClient, connected: bool) -> None:
    if connected:
        _ = client.server
    plex.log.clear()
    client.probe()
    assert len(plex.log) == 1


@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize(
    "fault", [Reset(), ResetAfter(), Truncate(0.3), Answer(503), Answer(520)], ids=repr
)
def test_a_probe_is_never_repeated(
    plex: PlexSimulator, client: PlexClient, fake_sleep: FakeSleep, fault: Fault, connected: bool
) -> None:
    if connected:
        _ = client.server
    plex.log.clear()
    plex.faults.add(fault)
    with pytest.raises(PlexTemporaryError):
        client.probe()
    assert len(plex.log) == 1
    assert fake_sleep.seconds == []


def test_after_a_failed_probe_other_requests_have_their_attempts_again(
    plex: PlexSimulator, client: PlexClient, fake_sleep: FakeSleep
) -> None:
    rule = plex.faults.add(Reset())
    with pytest.raises(PlexTemporaryError):
        client.probe()
    rule.remove()
    plex.faults.add(Reset(), times=2)
    assert client.server is not None
    assert len(fake_sleep.seconds) == 2


@pytest.mark.parametrize("connected", [False, True])
def test_a_probe_tells_a_rejected_token_from_an_outage(
    plex: PlexSimulator, client: PlexClient, connected: bool
) -> None:
    if connected:
        _ = client.server
    plex.valid_tokens.clear()
    with pytest.raises(PlexRejected):
        client.probe()
    plex.stop()
    with pytest.raises(PlexTemporaryError):
        client.probe()


def test_a_plex_that_starts_up_is_a_temporary_error(
    plex: PlexSimulator, client: PlexClient
) -> None:
    plex.starting_up = True
    with pytest.raises(PlexTemporaryError):
        client.probe()


# --- a wrong address


@pytest.mark.parametrize(
    "answer",
    [
        Response(200, b"<html><body><p>hello</p></body></html>", {"Content-Type": "text/html"}),
        Response(
            200, b"<!doctype html><meta charset=utf-8><p>hello", {"Content-Type": "text/html"}
        ),
        Response(200, b'{"hello": 1}', {"Content-Type": "application/json"}),
        Response(404, b"<html>no such page</html>", {"Content-Type": "text/html"}),
        Response(404),
    ],
    ids=["html", "bad html", "json", "404", "bare 404"],
)
def test_a_server_that_is_not_plex_is_reported_as_a_wrong_setting(
    fake_sleep: FakeSleep, answer: Response
) -> None:
    def handle(_request: Request) -> Response:
        return answer

    with SimulatedServer(handle, name="web") as web:
        client = PlexClient(web.url, TOKEN, sleep=fake_sleep)
        with pytest.raises(PlexRejected, match="plex_url") as caught:
            _ = client.server
        client.close()
    assert TOKEN not in str(caught.value)


def _translated(call: Callable[[], object]) -> object:
    with translated():
        return call()


@pytest.mark.parametrize(
    "first",
    ["plex.client", "plex.exceptions", "plex.matcher", "worker.outcome", "tasks.operations"],
)
@pytest.mark.parametrize("variable", [None, "PLEXAPI_LOG_SHOW_SECRETS"])
def test_the_users_configuration_of_plexapi_never_applies(
    tmp_path: Path, first: str, variable: str | None
) -> None:
    """With `show_secrets` plexapi would log the token."""
    config = tmp_path / ".config" / "plexapi" / "config.ini"
    config.parent.mkdir(parents=True)
    config.write_text("[log]\nshow_secrets = true\n", encoding="utf-8")
    code = (
        "import importlib, sys, PlexSync\n"
        "PlexSync.host_queue_package()\n"
        "importlib.import_module(sys.argv[1])\n"
        "import plexapi\n"
        "print(plexapi.CONFIG.get('log.show_secrets'))\n"
    )
    environment = {name: value for name, value in os.environ.items() if "PLEXAPI" not in name}
    if variable:
        environment[variable] = "true"
    environment |= dict.fromkeys(("HOME", "USERPROFILE"), str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", code, first],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stdout.strip() == "None", done.stderr
