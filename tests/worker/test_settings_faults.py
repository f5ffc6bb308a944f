"""Wrong, missing or rejected settings stop all Plex calls with one error and keep every job."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.harness.base import TOKEN
from tests.harness.in_process import WorkerHarness
from tests.harness.size import some
from tests.simulators.httpd import Answer, Delay, Request, Response, SimulatedServer
from tests.simulators.plex import PlexSimulator
from tests.simulators.stash import Scene

QUICK = 65.0
"""Seconds until a corrected setting takes effect, near the breaker's recovery time."""

PAGE = b"<!DOCTYPE html><html><head><title>Not Plex</title></head><body><p>Hello</body></html>"
XHTML = b"<html><body><p>Well-formed, and still no Plex</p></body></html>"


@pytest.fixture
def scenes(harness: WorkerHarness) -> list[Scene]:
    scenes = [harness.pair(name)[0] for name in ("a", "b", "c")]
    harness.edit_all(scenes)
    return scenes


def untouched(harness: WorkerHarness) -> bool:
    jobs = harness.jobs()
    return (
        harness.letters() == []
        and [job["scene_id"] for job in jobs] == [1, 2, 3]
        and all("retry_count" not in job and "next_retry_at" not in job for job in jobs)
    )


def all_synced(harness: WorkerHarness, scenes: list[Scene]) -> bool:
    return harness.waiting() == 0 and all(
        harness.title(scene) == f"New {scene.id}" for scene in scenes
    )


def errors(harness: WorkerHarness) -> list[str]:
    return [text for level, text in harness.notices() if level == "error"]


# --- a rejected token


def test_a_rejected_token_stops_plex_calls_with_one_clear_error_and_keeps_every_job(
    harness: WorkerHarness, scenes: list[Scene]
) -> None:
    harness.configure(plex_token="wrong-token-0123456789")

    harness.run_for(500)

    assert untouched(harness)
    (text,) = errors(harness)
    assert "plex_token" in text
    assert "wrong-token-0123456789" not in text
    assert len(harness.plex.log) <= 3, "no call after the refusal"


def test_a_corrected_token_takes_effect_quickly(
    harness: WorkerHarness, scenes: list[Scene]
) -> None:
    harness.configure(plex_token="wrong-token-0123456789")
    harness.run_for(500)

    harness.configure()
    harness.run_for(QUICK)

    assert all_synced(harness, scenes)


def test_a_token_that_becomes_valid_again_is_noticed(
    harness: WorkerHarness, scenes: list[Scene]
) -> None:
    harness.plex.valid_tokens.clear()
    harness.run_for(500)
    assert untouched(harness)

    harness.plex.valid_tokens.add(TOKEN)
    harness.run_for(700)

    assert all_synced(harness, scenes)


def test_a_token_revoked_during_a_run_keeps_the_other_jobs(
    harness: WorkerHarness, scenes: list[Scene]
) -> None:
    def revoke(request: Request) -> bool:
        if request.method == "PUT":
            harness.plex.valid_tokens.clear()
        return False

    harness.plex.faults.add(Delay(0), when=revoke)

    harness.run_for(300)

    assert harness.letters() == []
    assert [job["scene_id"] for job in harness.jobs()] == [1, 2, 3]
    assert all("retry_count" not in job for job in harness.jobs())
    assert len(errors(harness)) == 1


def test_a_read_only_token_counts_as_rejected(harness: WorkerHarness, scenes: list[Scene]) -> None:
    """The token of a user with a shared library: every write is forbidden."""
    harness.plex.valid_tokens.clear()
    harness.plex.shared_tokens.add(TOKEN)

    harness.run_for(500)

    assert untouched(harness)
    (text,) = errors(harness)
    assert "token" in text

    harness.plex.valid_tokens.add("the-owners-token-1234")
    harness.configure(plex_token="the-owners-token-1234")
    harness.run_for(QUICK)
    assert all_synced(harness, scenes)


def test_without_a_settings_source_a_rejected_token_keeps_every_job_too(
    harness: WorkerHarness, scenes: list[Scene]
) -> None:
    harness.new_worker(config=harness.config(plex_token="wrong-token-0123456789"))

    harness.run_for(600)

    assert untouched(harness)
    assert len(errors(harness)) == 1
    assert len(harness.plex.log) <= 10, "plex calls have stopped"


# --- a wrong address


def test_an_unreachable_address_keeps_every_job_and_can_be_corrected(
    harness: WorkerHarness, scenes: list[Scene]
) -> None:
    with SimulatedServer(lambda request: Response(200)) as gone:
        url = gone.url
    harness.configure(plex_url=url)
    harness.run_for(1000)
    assert untouched(harness)
    reported = harness.notices()
    assert len(reported) <= 2, "it is not reported again and again"
    assert url in reported[0][1]

    harness.configure()
    harness.run_for(QUICK)

    assert all_synced(harness, scenes)


NOT_PLEX = {
    "a page": Response(200, PAGE, {"Content-Type": "text/html"}),
    "well-formed page": Response(200, XHTML, {"Content-Type": "text/html"}),
    "some json": Response(200, b'{"a": 1}', {"Content-Type": "application/json"}),
    "another container": Response(200, b'<?xml version="1.0"?><MediaContainer size="0"/>'),
    "nothing": Response(200, b""),
    "redirect": Response(302, b"", {"Location": "/login"}),
    "bad request": Response(400, b"The plain HTTP request was sent to HTTPS port"),
    "unauthorized": Response(401, b"", {"WWW-Authenticate": "Basic"}),
    "forbidden": Response(403, PAGE),
    "not found": Response(404, PAGE),
    "method not allowed": Response(405),
    "gone": Response(410),
    "server error": Response(500, PAGE),
}


@pytest.mark.parametrize("answer", some(NOT_PLEX.values(), 6), ids=some(NOT_PLEX, 6))
def test_a_server_that_is_not_plex_keeps_every_job_and_can_be_corrected(
    harness: WorkerHarness, scenes: list[Scene], answer: Response
) -> None:
    seen: list[Request] = []

    def handle(request: Request) -> Response:
        seen.append(request)
        return Response(answer.status, answer.body, dict(answer.headers))

    with SimulatedServer(handle) as stranger:
        harness.configure(plex_url=stranger.url)
        harness.run_for(500)
        assert untouched(harness)
        reported = harness.notices()
        assert len(reported) == 1
        assert {request.method for request in seen} == {"GET"}
        assert len(seen) < 40

        harness.configure()
        harness.run_for(QUICK)

    assert all_synced(harness, scenes)
    assert stranger.errors == []


@pytest.mark.parametrize("status", [400, 403, 405])
def test_an_unexpected_response_to_a_probe_does_not_end_the_worker(
    harness: WorkerHarness, scenes: list[Scene], status: int
) -> None:
    """Plex is down, and then a proxy in front of it responds instead."""
    harness.plex.starting_up = True
    harness.run_for(200)
    harness.plex.starting_up = False
    rule = harness.plex.faults.add(Answer(status, PAGE))

    harness.run_for(300)

    assert untouched(harness)
    rule.remove()
    harness.run_for(700)
    assert all_synced(harness, scenes)


# --- missing and impossible settings


@pytest.mark.parametrize(
    ("setting", "value", "named"),
    [
        ("plex_url", None, "plex_url"),
        ("plex_token", "", "plex_token"),
        ("plex_url", "ftp://plex", "plex_url"),
        ("max_retries", "lots", "max_retries"),
        ("plex_read_timeout", 500, "120"),
        ("path_mappings", "/only/one/side", "path_mappings"),
    ],
)
def test_a_missing_or_wrong_setting_is_reported_once_and_can_be_corrected(
    harness: WorkerHarness, scenes: list[Scene], setting: str, value: Any, named: str
) -> None:
    harness.configure(**{setting: value})

    harness.run_for(500)

    assert untouched(harness)
    (text,) = errors(harness)
    assert setting in text
    assert named in text
    assert len(harness.plex.log) == 0

    harness.configure()
    harness.run_for(20)
    assert all_synced(harness, scenes)


def test_a_wrong_setting_at_runtime_keeps_every_job(harness: WorkerHarness) -> None:
    scene, _ = harness.pair("a")
    harness.edit(scene, "First")
    harness.run_for(10)
    harness.configure(poll_interval="fast")
    harness.edit(scene, "Second")
    harness.run_for(100)
    assert harness.title(scene) == "First"
    assert len(errors(harness)) == 1

    harness.configure()
    harness.run_for(20)

    assert harness.title(scene) == "Second"


def test_an_unknown_library_is_reported_and_keeps_every_job(
    harness: WorkerHarness, scenes: list[Scene]
) -> None:
    harness.configure(plex_libraries="Scenes, No such library")

    harness.run_for(500)

    assert untouched(harness)
    (text,) = errors(harness)
    assert "plex_libraries" in text
    assert "No such library" in text

    harness.configure(plex_libraries=" scenes ")
    harness.run_for(20)
    assert all_synced(harness, scenes)


def test_a_library_created_later_is_found(harness: WorkerHarness, scenes: list[Scene]) -> None:
    harness.configure(plex_libraries="Scenes, Later")
    harness.run_for(100)
    assert untouched(harness)
    harness.plex.add_library("Later", locations=["/later"])

    harness.run_for(700)

    assert all_synced(harness, scenes)


def test_other_settings_take_effect_with_the_next_job(harness: WorkerHarness) -> None:
    scene, item = harness.pair("a", details="Text")
    assert item is not None
    harness.edit(scene, "First")
    harness.run_for(10)
    harness.configure(sync_title=False, lock_fields="false")

    harness.edit(scene, "Second", details="Other")
    harness.run_for(10)

    assert item.title == "First"
    assert item.summary == "Other"


def test_another_plex_takes_effect_with_the_next_job(
    harness: WorkerHarness, scenes: list[Scene]
) -> None:
    harness.run_for(10)
    with PlexSimulator(token="another-token-123456", machine_identifier="f" * 40) as other:
        library = other.add_library("Elsewhere", locations=["/media"])
        item = other.add_item(library, "/media/a.mp4", size=100)
        harness.configure(plex_url=other.url, plex_token="another-token-123456")
        written = len(harness.plex.writes)
        harness.edit(scenes[0], "For the other")

        harness.run_for(100)

        assert item.title == "For the other"
        assert len(harness.plex.writes) == written


# --- disabled plugin


def test_a_disabled_plugin_ends_the_worker_and_keeps_jobs(
    harness: WorkerHarness, scenes: list[Scene]
) -> None:
    harness.configure(enabled="false")
    start = harness.clock.now

    harness.run()

    assert harness.clock.now - start < 60, "it leaves at once"
    assert harness.worker.disabled
    assert untouched(harness)
    assert len(harness.plex.log) == 0

    harness.new_worker()
    harness.configure(enabled=True)
    harness.run_for(10)
    assert all_synced(harness, scenes)


def test_disabling_the_plugin_ends_the_worker_at_the_next_job(harness: WorkerHarness) -> None:
    scene, _ = harness.pair("a")
    harness.edit(scene, "First")
    harness.clock.after(100, lambda: harness.configure(enabled=False))
    harness.clock.after(101, lambda: harness.edit(scene, "Second"))

    harness.run()

    assert harness.worker.disabled
    assert harness.title(scene) == "First"
    assert harness.waiting() == 1
    assert harness.letters() == []


def test_alternating_rejections_are_reported_once_each(
    harness: WorkerHarness, scenes: list[Scene]
) -> None:
    for token in itertools.islice(itertools.cycle(("wrong-token-0123456789", "")), 6):
        harness.configure(plex_token=token)
        harness.run_for(60)

    assert untouched(harness)
    assert len(errors(harness)) <= 3
