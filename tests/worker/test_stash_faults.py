"""Stash down, restarted, logged out, or talking nonsense: the same patience as with Plex."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulators.httpd import Answer, Fault, Hang, Request, Reset, Truncate
from tests.simulators.stash import Scene
from tests.worker.world import HOUR, World


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
        and all("retry_count" not in job for job in jobs)
    )


def all_synced(world: World, scenes: list[Scene]) -> bool:
    return world.waiting() == 0 and all(world.title(scene) == f"New {scene.id}" for scene in scenes)


@contextlib.contextmanager
def failing(world: World, fault: Fault | None, *, what: bytes = b"") -> Iterator[None]:
    """Stash stopped, or that fault for each request with `what` in its body."""
    if fault is None:
        world.stash.stop()
        yield
        world.stash.start()
    else:
        rule = world.stash.faults.add(fault, when=lambda request: what in request.body)
        yield
        rule.remove()


OUTAGES: dict[str, Fault | None] = {
    "stopped": None,
    "500": Answer(500, b"oops"),
    "502 page": Answer(502, b"<html>Bad gateway</html>"),
    "503": Answer(503),
    "404 page": Answer(404, b"404 page not found"),
    "reset": Reset(),
    "cut short": Truncate(0.5),
    "page with 200": Answer(200, b"<html>Stash is migrating</html>", {"Content-Type": "text/html"}),
    "empty": Answer(200, b""),
    "null": Answer(200, b"null"),
    "list": Answer(200, b"[]"),
    "text": Answer(200, b'"hello"'),
    "no data": Answer(200, b'{"data": null}'),
    "empty data": Answer(200, b'{"data": {}}'),
    "500 with json": Answer(500, b'{"data": {}}'),
    "errors": Answer(200, b'{"errors": [{"message": "database is locked"}], "data": null}'),
    "odd errors": Answer(200, b'{"errors": "what", "data": null}'),
    "wrong types": Answer(
        200, b'{"data": {"configuration": {"plugins": [1]}, "version": 3, "findScene": []}}'
    ),
    "400 of a proxy": Answer(400, b"<html>Bad request</html>"),
    "429": Answer(429, b"slow down"),
}


@pytest.mark.parametrize("fault", OUTAGES.values(), ids=OUTAGES.keys())
def test_whatever_stash_answers_while_it_is_unwell_no_job_is_touched_and_all_is_well_afterwards(
    world: World, scenes: list[Scene], fault: Fault | None
) -> None:
    for round_ in ("at the first request", "after work"):
        for scene in scenes:
            world.edit(scene, f"New {scene.id}", details=round_)
        with failing(world, fault):
            world.run_for(0.5 * HOUR)
            assert untouched(world)
            told = [text for _, text in world.notices()]
            assert 1 <= len(told) <= 4
            assert "Stash" in told[0]
        world.run_for(130)

        assert all_synced(world, scenes)
        assert all(world.item_of(scene).summary == round_ for scene in scenes)


def test_a_stash_that_hangs_is_an_outage(
    world: World, scenes: list[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stash.client.TIMEOUT", (0.2, 0.2))
    with failing(world, Hang()):
        world.run_for(200)
        assert untouched(world)
    world.run_for(130)

    assert all_synced(world, scenes)


def test_during_an_outage_of_stash_one_cheap_question_goes_out_per_recovery_time(
    world: World, scenes: list[Scene]
) -> None:
    with failing(world, Answer(503)):
        world.run_for(120)
        world.stash.log.clear()
        world.run_for(HOUR)
        assert len(world.stash.log) <= 2 * 61
    assert len(world.plex.log) == 0


def test_an_outage_of_both_ends_well(world: World, scenes: list[Scene]) -> None:
    world.plex.stop()
    with failing(world, None):
        world.run_for(HOUR)
        assert untouched(world)
    world.run_for(0.2 * HOUR)
    assert untouched(world)
    world.plex.start()
    world.run_for(200)

    assert all_synced(world, scenes)


NONSENSE = {
    "no findScene": Answer(200, b'{"data": {}}'),
    "half a scene": Answer(200, b'{"data": {"findScene": {"id": "1"}}}'),
    "a list": Answer(200, b'{"data": {"findScene": []}}'),
    "errors": Answer(
        200, b'{"errors": [{"message": "sql: no rows"}], "data": {"findScene": null}}'
    ),
    "500": Answer(500, b"oops"),
    "cut short": Truncate(0.6),
}


@pytest.mark.parametrize("fault", NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_about_scenes_is_retried_and_never_given_up_at_once(
    world: World, scenes: list[Scene], fault: Fault
) -> None:
    with failing(world, fault, what=b"PlexSyncScene"):
        world.run_for(3)
        assert world.letters() == []
        assert world.waiting() == 3
    world.run_for(400)

    assert all_synced(world, scenes)


@pytest.mark.parametrize("status", [400, 422])
def test_a_stash_that_rejects_our_query_concerns_all_jobs_alike_so_none_is_given_up(
    world: World, scenes: list[Scene], status: int
) -> None:
    """A new version of Stash: the queries are constant, so no scene is at fault."""
    body = b'{"errors": [{"message": "Cannot query field \\"groups\\" on type \\"Scene\\"."}], "data": null}'
    with failing(world, Answer(status, body), what=b"PlexSyncScene"):
        world.run_for(500)
        assert untouched(world)
        notices = world.notices()
        assert len(notices) == 1
        assert "groups" in notices[0][1]
    world.run_for(700)

    assert all_synced(world, scenes)


@pytest.mark.parametrize("status", [400, 422])
def test_a_stash_that_rejects_the_question_for_settings_does_not_end_the_worker(
    world: World, scenes: list[Scene], status: int
) -> None:
    body = b'{"errors": [{"message": "Unknown argument include"}], "data": null}'
    with failing(world, Answer(status, body), what=b"PlexSyncSettings"):
        world.run_for(500)
        assert untouched(world)
    world.run_for(700)

    assert all_synced(world, scenes)


def test_one_scene_that_stash_cannot_show_dies_alone(world: World, scenes: list[Scene]) -> None:
    bad = str(scenes[0].id).encode()

    def fits(request: Request) -> bool:
        return b"PlexSyncScene" in request.body and b'"' + bad + b'"' in request.body

    body = b'{"errors": [{"message": "scanning date"}], "data": {"findScene": null}}'
    world.stash.faults.add(Answer(200, body), when=fits)

    world.run_for(700)

    (letter,) = world.letters()
    assert (letter["scene_id"], letter["retry_count"]) == (scenes[0].id, 5)
    assert all(world.title(scene) == f"New {scene.id}" for scene in scenes[1:])


# --- logins


def test_after_a_restart_with_new_sessions_the_next_hooks_connection_lets_it_go_on(
    world: World, scenes: list[Scene]
) -> None:
    world.stash.set_credentials("me", "secret")
    world.log_in()
    world.run_for(5)
    assert all_synced(world, scenes)
    world.stash.invalidate_sessions()
    world.stash.restart()
    for scene in scenes:
        world.edit(scene, f"New {scene.id}")
        world.item_of(scene).values["title"] = "old"

    world.run_for(HOUR)
    assert untouched(world)
    (text,) = [text for level, text in world.notices() if level == "error"][:1]
    assert "Stash" in text

    world.log_in()  # what the hook of the next save does
    world.run_for(20)
    assert all_synced(world, scenes)


def test_an_expired_cookie_stops_nothing_when_stash_has_an_api_key(
    world: World, scenes: list[Scene]
) -> None:
    world.stash.set_credentials("me", "secret")
    world.stash.set_api_key("api-key-0123456789-abcdef")
    world.log_in()
    world.run_for(5)
    world.clock.advance(3 * HOUR)
    for scene in scenes:
        world.edit(scene, f"New {scene.id}", details="later")

    world.run_for(20)

    assert all_synced(world, scenes)
    assert all(world.item_of(scene).summary == "later" for scene in scenes)


def test_an_expired_cookie_without_api_key_keeps_jobs_until_the_next_hook(
    world: World, scenes: list[Scene]
) -> None:
    world.stash.set_credentials("me", "secret")
    world.log_in()
    world.clock.advance(3 * HOUR)

    world.run_for(HOUR)
    assert untouched(world)
    assert len([text for level, text in world.notices() if level == "error"]) <= 7

    world.log_in()
    world.run_for(20)
    assert all_synced(world, scenes)


def test_a_worker_that_talks_at_least_once_an_hour_never_needs_a_new_login(
    world: World, scenes: list[Scene]
) -> None:
    world.stash.set_credentials("me", "secret")
    world.log_in()
    for round_ in range(6):
        for scene in scenes:
            world.edit(scene, f"New {scene.id}", details=f"round {round_}")
        world.run_for(0.7 * HOUR)
        assert all_synced(world, scenes)

    assert world.letters() == []
    assert world.notices() == []


def test_without_any_connection_jobs_are_kept(world: World, scenes: list[Scene]) -> None:
    (Path(world.data_dir) / "connection.json").unlink()
    world.run_for(100)
    assert untouched(world)

    world.log_in()
    world.run_for(30)

    assert all_synced(world, scenes)


# --- covers


def test_a_cover_that_stash_cannot_deliver_does_not_keep_the_scenes_texts_from_plex(
    world: World,
) -> None:
    world.set(sync_poster=True)
    scene, item = world.pair("a", cover=b"\xff\xd8\xff\xe0picture")
    assert item is not None
    world.edit(scene, "New", details="Text")
    world.stash.faults.add(Answer(500, b"cannot read"), path=r"/scene/\d+/screenshot")

    world.run_for(800)

    assert item.title == "New"
    assert item.summary == "Text"
    assert world.plex.uploads == []


def test_a_cover_goes_up_once(world: World) -> None:
    world.set(sync_poster=True)
    scene, item = world.pair("a", cover=b"\xff\xd8\xff\xe0picture")
    assert item is not None
    for title in ("One", "Two", "Three"):
        world.edit(scene, title)
        world.run_for(10)

    assert [upload.data for upload in world.plex.uploads] == [b"\xff\xd8\xff\xe0picture"]
