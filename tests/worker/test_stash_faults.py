"""Stash down, restarted, logged out or with invalid responses: jobs wait as with Plex."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.clock import HOUR
from tests.harness.in_process import WorkerHarness
from tests.harness.size import some
from tests.simulators.httpd import Answer, Fault, Hang, Request, Reset, Truncate
from tests.simulators.stash import Scene
from worker.state import load_state


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
        and all("retry_count" not in job for job in jobs)
    )


def all_synced(harness: WorkerHarness, scenes: list[Scene]) -> bool:
    return harness.waiting() == 0 and all(
        harness.title(scene) == f"New {scene.id}" for scene in scenes
    )


@contextlib.contextmanager
def failing(harness: WorkerHarness, fault: Fault | None, *, what: bytes = b"") -> Iterator[None]:
    """Stop Stash, or add the fault to each request with `what` in its body."""
    if fault is None:
        harness.stash.stop()
        yield
        harness.stash.start()
    else:
        rule = harness.stash.faults.add(fault, when=lambda request: what in request.body)
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


@pytest.mark.parametrize("fault", some(OUTAGES.values(), 8), ids=some(OUTAGES, 8))
def test_an_outage_of_stash_keeps_every_job_and_all_sync_afterwards(
    harness: WorkerHarness, scenes: list[Scene], fault: Fault | None
) -> None:
    for round_ in ("at the first request", "after work"):
        for scene in scenes:
            harness.edit(scene, f"New {scene.id}", details=round_)
        with failing(harness, fault):
            harness.run_for(0.5 * HOUR)
            assert untouched(harness)
            told = [text for _, text in harness.notices()]
            assert 1 <= len(told) <= 4
            assert "Stash" in told[0]
        harness.run_for(130)

        assert all_synced(harness, scenes)
        assert all(harness.item_of(scene).summary == round_ for scene in scenes)


def test_an_outage_of_stash_is_not_shown_as_plexs(
    harness: WorkerHarness, scenes: list[Scene]
) -> None:
    with failing(harness, Answer(503)):
        harness.run_for(600)
        state = load_state(str(harness.data_dir)) or {}
        assert (state["stash"], state["plex"]) == ("open", "closed")
        assert [text.split(":")[0] for _, text in harness.notices()] == ["Stash is down"]


def test_a_stash_that_hangs_is_an_outage(
    harness: WorkerHarness, scenes: list[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, failing(harness, Hang()):
        patch.setattr("stash.client.TIMEOUT", (0.2, 0.2))
        harness.run_for(200)
        assert untouched(harness)
    harness.run_for(130)

    assert all_synced(harness, scenes)


def test_an_outage_of_stash_costs_one_probe_per_recovery_time(
    harness: WorkerHarness, scenes: list[Scene]
) -> None:
    with failing(harness, Answer(503)):
        harness.run_for(120)
        harness.stash.log.clear()
        harness.run_for(HOUR)
        assert len(harness.stash.log) <= 2 * 61
    assert len(harness.plex.log) == 0


def test_after_an_outage_of_both_servers_all_jobs_sync(
    harness: WorkerHarness, scenes: list[Scene]
) -> None:
    harness.plex.stop()
    with failing(harness, None):
        harness.run_for(HOUR)
        assert untouched(harness)
    harness.run_for(0.2 * HOUR)
    assert untouched(harness)
    harness.plex.start()
    harness.run_for(200)

    assert all_synced(harness, scenes)


INVALID_RESPONSES = {
    "no findScene": Answer(200, b'{"data": {}}'),
    "half a scene": Answer(200, b'{"data": {"findScene": {"id": "1"}}}'),
    "a list": Answer(200, b'{"data": {"findScene": []}}'),
    "errors": Answer(
        200, b'{"errors": [{"message": "sql: no rows"}], "data": {"findScene": null}}'
    ),
    "500": Answer(500, b"oops"),
    "cut short": Truncate(0.6),
}


@pytest.mark.parametrize("fault", INVALID_RESPONSES.values(), ids=INVALID_RESPONSES.keys())
def test_invalid_responses_about_scenes_are_retried(
    harness: WorkerHarness, scenes: list[Scene], fault: Fault
) -> None:
    with failing(harness, fault, what=b"PlexSyncScene"):
        harness.run_for(3)
        assert harness.letters() == []
        assert harness.waiting() == 3
    harness.run_for(400)

    assert all_synced(harness, scenes)


@pytest.mark.parametrize("status", [400, 422])
def test_a_rejected_query_makes_no_dead_letter(
    harness: WorkerHarness, scenes: list[Scene], status: int
) -> None:
    """The queries are constant, so a new version of Stash rejects them for every scene."""
    message = b'Cannot query field \\"groups\\" on type \\"Scene\\".'
    body = b'{"errors": [{"message": "' + message + b'"}], "data": null}'
    with failing(harness, Answer(status, body), what=b"PlexSyncScene"):
        harness.run_for(500)
        assert untouched(harness)
        reported = harness.notices()
        assert len(reported) == 1
        assert "groups" in reported[0][1]
    harness.run_for(700)

    assert all_synced(harness, scenes)


@pytest.mark.parametrize("status", [400, 422])
def test_a_rejected_query_for_settings_does_not_end_the_worker(
    harness: WorkerHarness, scenes: list[Scene], status: int
) -> None:
    body = b'{"errors": [{"message": "Unknown argument include"}], "data": null}'
    with failing(harness, Answer(status, body), what=b"PlexSyncSettings"):
        harness.run_for(500)
        assert untouched(harness)
    harness.run_for(700)

    assert all_synced(harness, scenes)


def test_only_the_scene_that_stash_cannot_show_becomes_a_dead_letter(
    harness: WorkerHarness, scenes: list[Scene]
) -> None:
    bad = str(scenes[0].id).encode()

    def fits(request: Request) -> bool:
        return b"PlexSyncScene" in request.body and b'"' + bad + b'"' in request.body

    body = b'{"errors": [{"message": "scanning date"}], "data": {"findScene": null}}'
    harness.stash.faults.add(Answer(200, body), when=fits)

    harness.run_for(700)

    (letter,) = harness.letters()
    assert (letter["scene_id"], letter["retry_count"]) == (scenes[0].id, 5)
    assert all(harness.title(scene) == f"New {scene.id}" for scene in scenes[1:])


# --- logins


def test_after_a_restart_of_stash_the_worker_uses_the_next_hooks_connection(
    harness: WorkerHarness, scenes: list[Scene]
) -> None:
    harness.stash.set_credentials("me", "secret")
    harness.log_in()
    harness.run_for(5)
    assert all_synced(harness, scenes)
    harness.stash.invalidate_sessions()
    harness.stash.restart()
    for scene in scenes:
        harness.edit(scene, f"Newer {scene.id}")

    harness.run_for(HOUR)
    assert untouched(harness)
    (text,) = [text for level, text in harness.notices() if level == "error"][:1]
    assert "Stash" in text

    harness.log_in()  # as the hook of the next save does
    harness.run_for(20)
    assert harness.waiting() == 0
    assert [harness.title(scene) for scene in scenes] == [f"Newer {one.id}" for one in scenes]


def test_an_expired_cookie_does_not_matter_with_an_api_key(
    harness: WorkerHarness, scenes: list[Scene]
) -> None:
    harness.stash.set_credentials("me", "secret")
    harness.stash.set_api_key("api-key-0123456789-abcdef")
    harness.log_in()
    harness.run_for(5)
    harness.clock.advance(3 * HOUR)
    for scene in scenes:
        harness.edit(scene, f"New {scene.id}", details="later")

    harness.run_for(20)

    assert all_synced(harness, scenes)
    assert all(harness.item_of(scene).summary == "later" for scene in scenes)


def test_an_expired_cookie_without_api_key_keeps_jobs_until_the_next_hook(
    harness: WorkerHarness, scenes: list[Scene]
) -> None:
    harness.stash.set_credentials("me", "secret")
    harness.log_in()
    harness.clock.advance(3 * HOUR)

    harness.run_for(HOUR)
    assert untouched(harness)
    assert len([text for level, text in harness.notices() if level == "error"]) <= 7

    harness.log_in()
    harness.run_for(20)
    assert all_synced(harness, scenes)


def test_a_worker_that_calls_stash_hourly_never_needs_a_new_login(
    harness: WorkerHarness, scenes: list[Scene]
) -> None:
    harness.stash.set_credentials("me", "secret")
    harness.log_in()
    for round_ in range(6):
        for scene in scenes:
            harness.edit(scene, f"New {scene.id}", details=f"round {round_}")
        harness.run_for(0.7 * HOUR)
        assert all_synced(harness, scenes)

    assert harness.letters() == []
    assert harness.notices() == []


def test_without_any_connection_jobs_are_kept(harness: WorkerHarness, scenes: list[Scene]) -> None:
    (Path(harness.data_dir) / "connection.json").unlink()
    harness.run_for(100)
    assert untouched(harness)

    harness.log_in()
    harness.run_for(30)

    assert all_synced(harness, scenes)


# --- covers


def test_a_missing_cover_does_not_stop_the_other_fields(
    harness: WorkerHarness,
) -> None:
    harness.configure(sync_poster=True)
    scene, item = harness.pair("a", cover=b"\xff\xd8\xff\xe0picture")
    assert item is not None
    harness.edit(scene, "New", details="Text")
    harness.stash.faults.add(Answer(500, b"cannot read"), path=r"/scene/\d+/screenshot")

    harness.run_for(800)

    assert item.title == "New"
    assert item.summary == "Text"
    assert harness.plex.uploads == []


def test_a_cover_is_uploaded_once(harness: WorkerHarness) -> None:
    harness.configure(sync_poster=True)
    scene, item = harness.pair("a", cover=b"\xff\xd8\xff\xe0picture")
    assert item is not None
    for title in ("One", "Two", "Three"):
        harness.edit(scene, title)
        harness.run_for(10)

    assert [upload.data for upload in harness.plex.uploads] == [b"\xff\xd8\xff\xe0picture"]
