"""Settings that are wrong, missing or rejected: Plex calls stop, one clear error, no job is touched."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.simulators.httpd import Answer, Delay, Request, Response, SimulatedServer
from tests.simulators.plex import PlexSimulator
from tests.simulators.stash import Scene
from tests.worker.world import TOKEN, World

QUICK = 65.0
"""Seconds after which a corrected setting must have taken effect: no longer than the breaker's recovery time."""

PAGE = b"<!DOCTYPE html><html><head><title>Not Plex</title></head><body><p>Hello</body></html>"
XHTML = b"<html><body><p>Well-formed, and still no Plex</p></body></html>"


@pytest.fixture
def scenes(world: World) -> list[Scene]:
    scenes = [world.pair(name)[0] for name in ("a", "b", "c")]
    for scene in scenes:
        world.edit(scene, f"New {scene.id}")
    return scenes


def untouched(world: World) -> bool:
    jobs = world.jobs()
    return (
        world.letters() == []
        and [job["scene_id"] for job in jobs] == [1, 2, 3]
        and all("retry_count" not in job and "next_retry_at" not in job for job in jobs)
    )


def all_synced(world: World, scenes: list[Scene]) -> bool:
    return world.waiting() == 0 and all(world.title(scene) == f"New {scene.id}" for scene in scenes)


def errors(world: World) -> list[str]:
    return [text for level, text in world.notices() if level == "error"]


# --- a rejected token


def test_a_rejected_token_stops_plex_calls_with_one_clear_error_and_keeps_every_job(
    world: World, scenes: list[Scene]
) -> None:
    world.set(plex_token="wrong-token-0123456789")

    world.run_for(500)

    assert untouched(world)
    (text,) = errors(world)
    assert "plex_token" in text
    assert "wrong-token-0123456789" not in text
    assert len(world.plex.log) <= 3, "no call after the refusal"


def test_correcting_the_token_in_stash_is_enough_and_quick(
    world: World, scenes: list[Scene]
) -> None:
    world.set(plex_token="wrong-token-0123456789")
    world.run_for(500)

    world.set()
    world.run_for(QUICK)

    assert all_synced(world, scenes)


def test_a_token_that_becomes_valid_again_is_found_out(world: World, scenes: list[Scene]) -> None:
    world.plex.valid_tokens.clear()
    world.run_for(500)
    assert untouched(world)

    world.plex.valid_tokens.add(TOKEN)
    world.run_for(700)

    assert all_synced(world, scenes)


def test_a_token_that_is_revoked_in_the_middle_keeps_the_rest(
    world: World, scenes: list[Scene]
) -> None:
    def revoke(request: Request) -> bool:
        if request.method == "PUT":
            world.plex.valid_tokens.clear()
        return False

    world.plex.faults.add(Delay(0), when=revoke)

    world.run_for(300)

    assert world.letters() == []
    assert [job["scene_id"] for job in world.jobs()] == [1, 2, 3]
    assert all("retry_count" not in job for job in world.jobs())
    assert len(errors(world)) == 1


def test_a_token_that_may_read_but_not_write_is_a_rejected_token(
    world: World, scenes: list[Scene]
) -> None:
    """A token of somebody the library is shared with: every write is forbidden."""
    world.plex.valid_tokens.clear()
    world.plex.shared_tokens.add(TOKEN)

    world.run_for(500)

    assert untouched(world)
    (text,) = errors(world)
    assert "token" in text

    world.plex.valid_tokens.add("the-owners-token-1234")
    world.set(plex_token="the-owners-token-1234")
    world.run_for(QUICK)
    assert all_synced(world, scenes)


def test_without_a_source_of_settings_a_rejected_token_keeps_every_job_too(
    world: World, scenes: list[Scene]
) -> None:
    world.use(world.make_worker(config=world.config(plex_token="wrong-token-0123456789")))

    world.run_for(600)

    assert untouched(world)
    assert len(errors(world)) == 1
    assert len(world.plex.log) <= 10, "plex calls have stopped"


# --- a wrong address


def test_an_address_where_nobody_listens_keeps_every_job_and_can_be_corrected(
    world: World, scenes: list[Scene]
) -> None:
    with SimulatedServer(lambda request: Response(200)) as gone:
        url = gone.url
    world.set(plex_url=url)
    world.run_for(1000)
    assert untouched(world)
    notices = world.notices()
    assert len(notices) <= 2, "it is not said again and again"
    assert url in notices[0][1]

    world.set()
    world.run_for(QUICK)

    assert all_synced(world, scenes)


STRANGERS = {
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


@pytest.mark.parametrize("answer", STRANGERS.values(), ids=STRANGERS.keys())
def test_a_server_that_is_no_plex_keeps_every_job_and_can_be_corrected(
    world: World, scenes: list[Scene], answer: Response
) -> None:
    seen: list[Request] = []

    def handle(request: Request) -> Response:
        seen.append(request)
        return Response(answer.status, answer.body, dict(answer.headers))

    with SimulatedServer(handle) as stranger:
        world.set(plex_url=stranger.url)
        world.run_for(500)
        assert untouched(world)
        notices = world.notices()
        assert len(notices) == 1
        assert {request.method for request in seen} == {"GET"}
        assert len(seen) < 40

        world.set()
        world.run_for(QUICK)

    assert all_synced(world, scenes)
    assert stranger.errors == []


@pytest.mark.parametrize("status", [400, 403, 405])
def test_a_probe_that_is_answered_by_something_else_does_not_end_the_worker(
    world: World, scenes: list[Scene], status: int
) -> None:
    """Plex is down, and then a proxy in front of it has its own opinion."""
    world.plex.starting_up = True
    world.run_for(200)
    world.plex.starting_up = False
    rule = world.plex.faults.add(Answer(status, PAGE))

    world.run_for(300)

    assert untouched(world)
    rule.remove()
    world.run_for(700)
    assert all_synced(world, scenes)


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
def test_a_missing_or_wrong_setting_is_named_once_and_correcting_it_is_enough(
    world: World, scenes: list[Scene], setting: str, value: Any, named: str
) -> None:
    world.set(**{setting: value})

    world.run_for(500)

    assert untouched(world)
    (text,) = errors(world)
    assert setting in text
    assert named in text
    assert len(world.plex.log) == 0

    world.set()
    world.run_for(20)
    assert all_synced(world, scenes)


def test_a_wrong_setting_while_running_keeps_what_waits(world: World) -> None:
    scene, _ = world.pair("a")
    world.edit(scene, "First")
    world.run_for(10)
    world.set(poll_interval="fast")
    world.edit(scene, "Second")
    world.run_for(100)
    assert world.title(scene) == "First"
    assert len(errors(world)) == 1

    world.set()
    world.run_for(20)

    assert world.title(scene) == "Second"


def test_an_unknown_library_is_named_and_no_job_is_touched(
    world: World, scenes: list[Scene]
) -> None:
    world.set(plex_libraries="Scenes, No such library")

    world.run_for(500)

    assert untouched(world)
    (text,) = errors(world)
    assert "plex_libraries" in text
    assert "No such library" in text

    world.set(plex_libraries=" scenes ")
    world.run_for(20)
    assert all_synced(world, scenes)


def test_a_library_that_is_made_in_plex_later_is_found(world: World, scenes: list[Scene]) -> None:
    world.set(plex_libraries="Scenes, Later")
    world.run_for(100)
    assert untouched(world)
    world.plex.add_library("Later", locations=["/later"])

    world.run_for(700)

    assert all_synced(world, scenes)


def test_other_settings_take_effect_with_the_next_job(world: World) -> None:
    scene, item = world.pair("a", details="Text")
    assert item is not None
    world.edit(scene, "First")
    world.run_for(10)
    world.set(sync_title=False, lock_fields="false")

    world.edit(scene, "Second", details="Other")
    world.run_for(10)

    assert item.title == "First"
    assert item.summary == "Other"


def test_another_plex_takes_effect_with_the_next_job(world: World, scenes: list[Scene]) -> None:
    world.run_for(10)
    with PlexSimulator(token="another-token-123456", machine_identifier="f" * 40) as other:
        library = other.add_library("Elsewhere", locations=["/plex"])
        item = other.add_item(library, "/plex/a.mp4", size=100)
        world.set(plex_url=other.url, plex_token="another-token-123456")
        written = len(world.plex.writes)
        world.edit(scenes[0], "For the other")

        world.run_for(100)

        assert item.title == "For the other"
        assert len(world.plex.writes) == written


# --- switched off


def test_a_plugin_that_is_switched_off_ends_the_worker_and_keeps_jobs(
    world: World, scenes: list[Scene]
) -> None:
    world.set(enabled="false")
    start = world.clock.now

    world.run()

    assert world.clock.now - start < 60, "it leaves at once"
    assert world.worker.disabled
    assert untouched(world)
    assert len(world.plex.log) == 0

    world.worker.close()
    world.use(world.make_worker())
    world.set(enabled=True)
    world.run_for(10)
    assert all_synced(world, scenes)


def test_switched_off_while_running_ends_it_with_the_next_job(world: World) -> None:
    scene, _ = world.pair("a")
    world.edit(scene, "First")
    world.clock.after(100, lambda: world.set(enabled=False))
    world.clock.after(101, lambda: world.edit(scene, "Second"))

    world.run()

    assert world.worker.disabled
    assert world.title(scene) == "First"
    assert world.waiting() == 1
    assert world.letters() == []


def test_rejections_that_take_turns_are_told_once_each(world: World, scenes: list[Scene]) -> None:
    for token in itertools.islice(itertools.cycle(("wrong-token-0123456789", "")), 6):
        world.set(plex_token=token)
        world.run_for(60)

    assert untouched(world)
    assert len(errors(world)) <= 3
