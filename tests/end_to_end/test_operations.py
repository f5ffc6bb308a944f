"""All task buttons, with and without a running worker, and their messages to the user."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from plex.exceptions import PlexNotFound
from plex.matcher import AmbiguousMatch
from queue.dlq import DeadLetterQueue
from queue.inbox import Inbox
from queue.models import create_bulk_job, create_sync_job
from queue.operations import load_sync_timestamps
from queue.spool import spool
from tests.harness.base import TOKEN
from tests.harness.installation import ProcessHarness
from tests.harness.processes import wait_until
from tests.harness.results import queued
from tests.harness.size import some
from tests.isolation import closed_url
from tests.simulators.httpd import Answer, Delay, Hang
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene
from tests.tasks import Done, refused_task, run_command, run_task
from validation.config import default_settings

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
HOUR = 3600.0
#: All tasks except the installer.
OPERATIONS = (
    "Check setup",
    "Sync recent scenes",
    "Sync all scenes",
    "Process queue now",
    "Status",
    "Show failed and ambiguous",
    "Retry failed",
    "Clear failed",
    "Clear queue",
    "Preview",
    "Preview all scenes",
    "Report",
    "Re-sync scene",
    "Approve changes",
    "Show to restricted accounts",
)
#: Size of the library in which *Sync all* is stopped; `PLEXSYNC_SCENES=10000` for a long run.
SCENES = int(os.environ.get("PLEXSYNC_SCENES", "150"))


def run_worker(harness: ProcessHarness) -> None:
    """Start a worker that has synced its first edit and is idle."""
    scene, item = harness.pair("first")
    harness.save(scene, title="First")
    harness.wait_for_title(item, "First")
    harness.wait_for_empty_queue()
    assert len(harness.workers()) == 1


def library(harness: ProcessHarness, count: int) -> list[tuple[Scene, PlexItem]]:
    """Add scenes that are not synced yet, changed long ago."""
    return [
        harness.pair(f"file{number}", title=f"Title {number}", updated_at=time.time() - 40 * HOUR)
        for number in range(count)
    ]


def puts(harness: ProcessHarness) -> Counter[str | None]:
    """Count the edits of each item."""
    return Counter(exchange.request.first("id") for exchange in harness.plex.log.matching("PUT"))


def status_that_shows(
    harness: ProcessHarness, condition: Callable[[dict[str, Any]], object]
) -> Done:
    """Run *Status* until it shows that: the worker leaves its state a moment after it logs."""
    shown: list[Done] = []

    def is_shown() -> object:
        shown.append(run_task(harness, "Status"))
        return condition(shown[-1].output)

    wait_until(is_shown, lambda: shown[-1].log)
    return shown[-1]


def writing_requests(harness: ProcessHarness) -> list[str]:
    return [
        f"{exchange.request.method} {exchange.request.path}"
        for exchange in harness.plex.log.all()
        if exchange.request.method not in ("GET", "HEAD")
    ]


def write_letters(harness: ProcessHarness, error: Exception, scene_ids: range | list[int]) -> None:
    with closing(DeadLetterQueue(harness.data_dir)) as dlq:
        for scene_id in scene_ids:
            dlq.add(create_sync_job(scene_id, "metadata", {"title": "T"}), error, 0)


# --- all of them


@pytest.mark.parametrize("with_worker", some([True, False], 1), ids=lambda one: f"worker {one}")
def test_every_task_of_the_manifest_ends_well_with_progress_and_one_line(
    harness: ProcessHarness, with_worker: bool
) -> None:
    if with_worker:
        run_worker(harness)
    harness.pair(title="T", updated_at=time.time() - HOUR)
    names = [task.name for task in harness.stash.plugins.manifests["PlexSync"].tasks]
    assert {*OPERATIONS, "Install dependencies"} == set(names)
    for name in OPERATIONS:
        done = run_task(harness, name)
        assert done.level == "info", (name, done.log)
        assert done.progress[-1:] == [1.0], name
        assert done.progress == sorted(done.progress), name
        assert done.output, name
    # A task may start a worker, to read its writes back; that of the task before may be leaving.
    wait_until(lambda: len(harness.workers()) <= 1, "at most one worker")


@pytest.mark.parametrize("name", ["Sync all scenes", "Clear failed"])
def test_the_summary_line_is_in_the_response_too(harness: ProcessHarness, name: str) -> None:
    done = run_task(harness, name)
    assert done.summary in json.dumps(done.output, ensure_ascii=False)


def test_a_waiting_retry_is_not_a_problem_for_a_task_while_a_worker_runs(
    harness: ProcessHarness,
) -> None:
    """A scene whose file Plex does not have waits for minutes; no job is due."""
    run_worker(harness)
    lost = harness.stash.add_scene(files=[("/data/not-in-plex.mp4", 1)])
    with closing(Inbox(str(harness.data_dir), lock_timeout=240)) as inbox:
        job = create_sync_job(lost.id, "metadata", {"title": "T"})
        job.update(
            {
                "retry_count": 3,
                "next_retry_at": time.time() + HOUR,
                "last_error_type": "PlexNotFound",
            }
        )
        inbox.put(job)
    done = run_task(harness, "Process queue now")
    assert (done.level, done.output["waiting"]) == ("info", 0), done.log


def test_a_task_names_a_wrong_token_even_while_a_worker_runs(harness: ProcessHarness) -> None:
    harness.configure(plex_token="a-token-that-plex-rejects")
    scene, _ = harness.pair(title="T")
    harness.save(scene, title="T")
    wait_until(lambda: "plex_token" in harness.worker_log())
    assert len(harness.workers()) == 1
    done = run_task(harness, "Sync all scenes")
    assert "plex_token" in done.summary, done.log


# --- Check setup


def samples(harness: ProcessHarness, count: int = 6) -> None:
    for number in range(count):
        harness.pair(f"deep/folder{number}/file{number}", title=f"Title {number}")


def test_check_setup_confirms_a_good_setup_with_its_details(harness: ProcessHarness) -> None:
    samples(harness)
    done = run_task(harness, "Check setup")
    assert done.summary == "Check setup: all is well"
    assert done.output["problem"] is None
    assert done.output["libraries"] == ["Scenes"]
    assert {key: done.output["matching"][key] for key in ("high", "low", "none")} == {
        "high": 6,
        "low": 0,
        "none": 0,
    }
    assert "suggested_path_mappings" not in done.output
    assert set(done.output["packages"]) == {"persist-queue", "plexapi", "requests", "pydantic"}
    assert writing_requests(harness) == []


@pytest.mark.parametrize(
    ("env", "cure"),
    [
        ({"PYTHONDONTWRITEBYTECODE": "1"}, "unset PYTHONDONTWRITEBYTECODE for Stash"),
        ({}, "let Stash's user write to "),
    ],
)
def test_check_setup_says_when_python_compiles_the_hook_at_each_save(
    make_harness: Callable[..., ProcessHarness], env: dict[str, str], cure: str
) -> None:
    nowhere = {"PYTHONPYCACHEPREFIX": os.path.join(os.devnull, "cache")}
    harness = make_harness(env={**nowhere, **env})
    samples(harness)
    done = run_task(harness, "Check setup")
    assert done.level == "info"
    assert "all is well, but each save takes longer" in done.summary
    assert cure in done.summary


PROBLEMS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "nothing is set": (
        {"plex_url": None, "plex_token": None},
        ("plex_url", "plex_token", "not set"),
    ),
    "a wrong token": ({"plex_token": "another-token-0123456789"}, ("plex_token", "401")),
    "an address of something else": ({"plex_url": "{stash}"}, ("plex_url",)),
    "an unreachable Plex": ({"plex_url": closed_url()}, ("reached",)),
    "a library that is not there": (
        {"plex_libraries": "Films"},
        ("plex_libraries", "Films", "Scenes"),
    ),
    "a number out of range": ({"max_retries": 99}, ("max_retries", "99", "1 to 20")),
    "a mapping without an arrow": ({"path_mappings": "/data"}, ("path_mappings", "=>")),
}


@pytest.mark.parametrize("what", some(PROBLEMS, 3))
def test_check_setup_names_the_error(harness: ProcessHarness, what: str) -> None:
    wrong, names = PROBLEMS[what]
    harness.configure(
        **{
            key: value and str(value).replace("{stash}", harness.stash.url)
            for key, value in wrong.items()
        }
    )
    samples(harness, 2)
    done = run_task(harness, "Check setup")
    assert done.level == "warning"
    assert all(name in done.summary for name in names), done.summary
    assert done.output["problem"]
    assert "another-token-0123456789" not in json.dumps(done.output) + " ".join(done.texts)


def test_check_setup_without_any_library_says_what_to_do(harness: ProcessHarness) -> None:
    harness.plex._state.libraries.clear()
    done = run_task(harness, "Check setup")
    assert done.level == "warning"
    assert "no video library" in done.summary


def test_check_setup_says_when_plexsync_is_switched_off(harness: ProcessHarness) -> None:
    harness.configure(enabled=False)
    samples(harness, 2)
    assert any("switched off" in text for text in run_task(harness, "Check setup").texts)


@pytest.mark.parametrize(
    "mappings",
    some(["/data/deep => /media/deep", "/data/ => /media/", "/data => /media"], 1),
)
def test_working_mappings_give_no_suggestion(harness: ProcessHarness, mappings: str) -> None:
    harness.configure(path_mappings=mappings)
    samples(harness)
    done = run_task(harness, "Check setup")
    assert done.output["matching"]["high"] == 6
    assert "suggested_path_mappings" not in done.output, done.log


@pytest.mark.parametrize("mappings", some(["/media => /data", "/elsewhere => /media", None], 1))
def test_the_suggested_mapping_lets_all_scenes_match_by_path(
    harness: ProcessHarness, mappings: str | None
) -> None:
    harness.configure(path_mappings=mappings)
    samples(harness)
    done = run_task(harness, "Check setup")
    assert done.output["suggested_path_mappings"] == "/data => /media", done.log
    harness.configure(path_mappings=done.output["suggested_path_mappings"])
    again = run_task(harness, "Check setup")
    assert again.output["matching"]["high"] == 6
    assert "suggested_path_mappings" not in again.output


def test_a_mapping_is_suggested_where_file_names_repeat(
    harness: ProcessHarness,
) -> None:
    """Equal file names in many folders are ambiguous by name, or matched by their folders."""
    harness.configure(path_mappings=None)
    for folder in ("one", "two", "three"):
        harness.pair(f"{folder}/scene")
    done = run_task(harness, "Check setup")
    assert done.output.get("suggested_path_mappings") == "/data => /media", done.log


def test_a_task_hides_secrets_that_a_server_repeats(
    make_harness: Callable[..., ProcessHarness],
) -> None:
    key = "api-key-of-stash-0123456789abcdef"
    harness = make_harness(username="user", password="secret-of-the-user", api_key=key)
    body = json.dumps({"errors": [{"message": f"no such key {key}"}], "data": None}).encode()
    harness.stash.faults.add(
        Answer(500, body), when=lambda request: b"PlexSyncVersion" in request.body
    )
    done = run_task(harness, "Check setup")
    assert done.level == "warning"
    assert key not in json.dumps(done.output) + " ".join(done.texts)
    harness.stash.faults.add(
        Answer(500, body), when=lambda request: b"PlexSyncCount" in request.body
    )
    done = run_task(harness, "Sync all scenes")
    assert done.level == "warning"
    assert key not in json.dumps(done.output) + " ".join(
        one.text for one in harness.stash.plugin_log
    )


# --- defaults on the settings page

PAGE = {"plex_url": "{plex}", "plex_token": TOKEN}


@pytest.mark.parametrize("how", ["Check setup", "Status", "a save"])
def test_the_first_task_or_worker_run_shows_every_default(
    harness: ProcessHarness, how: str
) -> None:
    given = {"plex_url": harness.plex.url, "plex_token": TOKEN}
    harness.stash.set_plugin_settings("PlexSync", given)
    scene, item = harness.pair(title="T")
    if how == "a save":
        harness.save(scene, title="Saved")
        harness.wait_for_title(item, "Saved")
    else:
        run_task(harness, how)
    assert harness.stash.plugin_settings("PlexSync") == {**default_settings(), **given}


def test_a_default_does_not_overwrite_a_setting(harness: ProcessHarness) -> None:
    given: dict[str, Any] = {
        "plexHost": "127.0.0.1",
        "plexPort": str(harness.plex.server.port),
        "plexToken": TOKEN,
        "plex_url": "",
        "plex_token": "",
        "max_retries": 0,
        "poll_interval": "",
        "sync_title": False,
        "strict_matching": False,
        "sync_rating": True,
        "plex_libraries": "",
        "dlq_retention_days": "7",
        "something_else": "of a newer version",
    }
    harness.stash.set_plugin_settings("PlexSync", given)
    harness.pair(title="T")
    assert run_task(harness, "Check setup").level == "info"
    page = harness.stash.plugin_settings("PlexSync")
    assert page == {**default_settings(), **given}


def test_a_complete_settings_page_is_not_written(harness: ProcessHarness) -> None:
    harness.configure(**{**default_settings(), "sync_title": False})
    harness.pair(title="T")
    run_task(harness, "Check setup")
    run_task(harness, "Sync all scenes")
    assert not any(
        b"configurePlugin" in exchange.request.body for exchange in harness.stash.log.all()
    )


# --- Sync all


def test_sync_all_killed_halfway_and_started_again_writes_no_scene_twice(
    harness: ProcessHarness,
) -> None:
    pairs = library(harness, SCENES)
    some_written = SCENES * 2 // 5
    held = harness.plex.faults.add(
        Delay(3600.0), method="PUT", when=lambda request: len(harness.plex.writes) >= some_written
    )
    job = harness.stash.run_task("PlexSync", "Sync all scenes")
    wait_until(lambda: len(harness.plex.writes) >= some_written, "some are written", timeout=300)
    job.stop()
    assert job.wait(240)
    assert job.status == "CANCELLED"
    assert job.run is not None and job.run.wait(240)
    moved = job.progress
    assert len(set(moved)) > some_written // 40, "every twenty scenes"
    assert moved == sorted(moved)
    held.remove()
    wait_until(
        lambda: all(exchange.status for exchange in harness.plex.log.matching("PUT")),
        "Plex has carried out what was on its way",
    )
    before = len(harness.plex.writes)
    assert before < SCENES
    done = run_task(harness, "Sync all scenes")
    assert done.output["synced"] <= SCENES - before + 20
    assert done.output["synced"] + done.output["in_sync"] == SCENES
    assert [item.title for _, item in pairs] == [scene.title for scene, _ in pairs]
    assert set(puts(harness).values()) == {1}
    assert len(puts(harness)) == SCENES
    assert run_task(harness, "Sync all scenes").output["in_sync"] == SCENES
    assert len(harness.plex.writes) == SCENES


def test_a_save_overtakes_a_running_sync_all(harness: ProcessHarness) -> None:
    library(harness, 150)
    scene, item = harness.pair("mine", title="", updated_at=time.time() - 40 * HOUR)
    slow = harness.plex.faults.add(Delay(0.03), method="PUT")
    job = harness.stash.run_task("PlexSync", "Sync all scenes")
    wait_until(lambda: len(harness.plex.writes) >= 10)
    harness.save(scene, title="Mine")
    already = len(harness.plex.writes)
    harness.wait_for_title(item, "Mine")
    titles = [write.parameters.get("title.value") for write in harness.plex.writes]
    behind = titles.index("Mine") - already
    slow.remove()
    assert job.wait(240)
    assert behind <= 45, "at most what was taken together goes before it"


def test_scenes_missing_in_plex_are_no_failure_and_sync_when_plex_has_them(
    make_harness: Callable[..., ProcessHarness],
) -> None:
    harness = make_harness(env={"PLEXSYNC_TIME_SCALE": "0.002"})
    run_worker(harness)
    long_ago = time.time() - 40 * HOUR  # otherwise the worker's own scan may find them first
    lost = [
        harness.stash.add_scene(
            title=f"Lost {number}", files=[(f"/data/lost{number}.mp4", 1000)], updated_at=long_ago
        )
        for number in range(5)
    ]
    done = run_task(harness, "Sync all scenes")
    assert (done.level, done.output["not_in_plex"], done.output["waiting"]) == ("info", 5, 0)
    assert "5 not in Plex" in done.summary
    assert any("Not in Plex: 5 in /data" in text for text in done.texts), done.texts
    assert harness.letters() == [], "dead letters are for edits"
    done = run_task(harness, "Show failed and ambiguous")
    assert done.output["counts"] == {"not_in_plex": 5}, "old, and in a folder that Plex has"
    items = [harness.add_item(f"lost{number}", size=1000) for number in range(len(lost))]
    for scene, item in zip(lost, items, strict=True):
        harness.wait_for_title(item, scene.title)


# --- Re-sync


@pytest.mark.parametrize("with_worker", [False, True], ids=["no worker", "a worker alive"])
def test_resync_reverts_changes_made_in_plex(harness: ProcessHarness, with_worker: bool) -> None:
    if with_worker:
        run_worker(harness)
    scene, item = harness.pair(title="Right", cover=PNG, updated_at=time.time() - 40 * HOUR)
    for number in (1, 2):
        item.values["title"] = "Changed in Plex"
        item.rendered = None
        done = run_task(harness, "Re-sync scene", scene_id=scene.id)
        assert done.summary == f"Scene {scene.id} is in sync", done.log
        assert item.title == "Right"
        assert len(harness.plex.uploads) == number, "its cover too"
    assert run_task(harness, "Sync all scenes").output["synced"] == 0


def test_a_resync_with_preserve_plex_edits_still_updates_our_cover(harness: ProcessHarness) -> None:
    """PlexSync uploaded the poster; a re-sync must not treat it as the user's own."""
    scene, _ = harness.pair(title="T", cover=PNG)
    run_task(harness, "Sync all scenes")
    assert len(harness.plex.uploads) == 1
    harness.configure(preserve_plex_edits=True)
    run_task(harness, "Re-sync scene", scene_id=scene.id)
    harness.stash.set_cover(scene.id, PNG + b"another")
    run_task(harness, "Re-sync scene", scene_id=scene.id)
    assert harness.plex.uploads[-1].data == PNG + b"another"


def test_resync_with_an_invalid_scene_id_names_the_argument(harness: ProcessHarness) -> None:
    for scene_id in ("x", "-3", "1 2"):
        assert "scene_id" in refused_task(harness, "Re-sync scene", scene_id=scene_id)


def test_resync_of_an_unknown_scene_or_one_without_file_or_item_says_so(
    harness: ProcessHarness,
) -> None:
    assert "no scene 12345" in refused_task(harness, "Re-sync scene", scene_id=12345)
    bare = harness.stash.add_scene(title="No file")
    lost = harness.stash.add_scene(title="Not in Plex", files=[("/data/lost.mp4", 1)])
    for scene, why in ((bare, "no file"), (lost, "Plex")):
        done = run_task(harness, "Re-sync scene", scene_id=scene.id)
        assert done.level == "warning"
        assert f"Scene {scene.id} could not be synced" in done.summary
        assert why in done.summary, done.summary


def test_resync_of_a_scene_that_is_not_organized_says_that(harness: ProcessHarness) -> None:
    harness.configure(only_organized=True)
    scene, item = harness.pair(title="T")
    done = run_task(harness, "Re-sync scene", scene_id=scene.id)
    assert done.level == "warning"
    assert item.title == "a"


# --- Status


def test_status_counts_waiting_retried_and_failed_scenes(
    harness: ProcessHarness,
) -> None:
    with closing(Inbox(str(harness.data_dir), lock_timeout=240)) as inbox:
        for scene_id in (1, 2, 3):
            inbox.put(create_sync_job(scene_id, "metadata", {"title": "T"}))
        later = create_sync_job(4, "metadata", {"title": "T"})
        later.update(
            {
                "retry_count": 1,
                "next_retry_at": time.time() + HOUR,
                "last_error_type": "PlexNotFound",
            }
        )
        inbox.put(later)
        inbox.put(create_bulk_job(5))
    write_letters(harness, PlexNotFound("nowhere"), range(10, 17))
    write_letters(harness, AmbiguousMatch("any of", []), range(20, 22))
    done = run_task(harness, "Status")
    assert (done.output["waiting"], done.output["in_progress"], done.output["retrying"]) == (
        5,
        0,
        1,
    )
    assert 0 < done.output["next_retry_at"] - time.time() <= HOUR
    assert done.output["failed"] == {"PlexNotFound": 7, "AmbiguousMatch": 2}
    assert done.output["worker"] == {
        "alive": False,
        "pid": None,
        "silent": False,
        "wanted": True,
        "possible": True,
        "since": None,
        "left_at": None,
        "left_because": None,
    }
    assert done.output["last_synced_at"] is None
    assert any(str(harness.data_dir / "worker.log") in text for text in done.texts)
    assert any("7 not in Plex, 2 ambiguous" in text for text in done.texts)
    assert not any("PlexNotFound" in text or "breaker" in text for text in done.texts)
    assert "Plex: not tried yet" in done.texts
    assert any(re.search(r"the next in 3[56]\d\d s", text) for text in done.texts), done.texts
    assert "one is started now" in done.summary


def test_status_shows_the_worker_the_last_sync_the_index_and_the_hooks(
    harness: ProcessHarness,
) -> None:
    before = time.time()
    run_worker(harness)
    done = status_that_shows(harness, lambda output: output["last_synced_at"])
    assert (done.output["worker"]["alive"], done.output["worker"]["pid"]) == (
        True,
        harness.workers()[0],
    )
    assert before - 1 <= done.output["last_synced_at"] <= time.time()
    assert (done.output["synced"], done.output["index"]["files"]) == (1, 1)
    assert before - 1 <= done.output["index"]["listed_at"] <= time.time()
    hooks = done.output["hook_ms"]
    assert hooks["count"] == 1
    assert 0 < hooks["median"] < 60_000
    assert (done.output["plex"], done.output["stash"], done.output["problem"]) == (
        "closed",
        "closed",
        None,
    )


def test_status_shows_an_open_circuit_breaker_until_the_outage_is_over(
    harness: ProcessHarness,
) -> None:
    run_worker(harness)
    scene, item = harness.pair()
    harness.plex.stop()
    harness.save(scene, title="T")
    wait_until(lambda: "Plex is down" in harness.worker_log())
    done = status_that_shows(harness, lambda output: output["plex"] in ("open", "half_open"))
    assert done.output["waiting"] + done.output["in_progress"] == 1
    harness.plex.start()
    harness.wait_for_title(item, "T")
    harness.wait_for_empty_queue()
    wait_until(lambda: run_task(harness, "Status").output["plex"] == "closed")


def test_status_names_the_problem_that_blocks_the_worker(
    harness: ProcessHarness,
) -> None:
    harness.configure(plex_token="another-token-0123456789")
    scene, _ = harness.pair()
    harness.save(scene, title="T")
    done = status_that_shows(harness, lambda output: output["problem"])
    assert done.level == "warning"
    assert "plex_token" in done.output["problem"]
    assert "plex_token" in done.summary


def test_status_says_that_plexsync_is_switched_off(harness: ProcessHarness) -> None:
    harness.configure(enabled=False)
    scene, _ = harness.pair()
    harness.save(scene, title="T")
    wait_until(lambda: "switched off" in harness.worker_log())
    harness.wait_for_exit()
    done = run_task(harness, "Status")
    assert any("switched off" in text for text in done.texts), done.texts


# --- failed scenes


def test_show_failed_finds_ambiguous_scenes_behind_thousands_missing_in_plex(
    harness: ProcessHarness,
) -> None:
    for number in range(120):
        harness.add_scene(f"lost{number}")
    for folder in ("one", "two"):
        harness.add_item(f"{folder}/c", size=7)
    scene = harness.stash.add_scene(title="Ambiguous", files=[("/nowhere/c.mp4", 7)])
    assert run_task(harness, "Sync all scenes").output["not_in_plex"] == 120
    write_letters(harness, PlexNotFound("nowhere"), range(200, 400))
    for arguments in ({}, {"reason": "ambiguous"}):
        done = run_task(harness, "Show failed and ambiguous", **arguments)
        assert done.output["counts"] == {"ambiguous": 1}
        assert [one["scene_id"] for one in done.output["failed"]] == [scene.id]
    failed = run_task(harness, "Show failed and ambiguous", reason="failed")
    assert failed.summary == "Failed: none"


def test_show_failed_names_each_scene_with_its_reason(harness: ProcessHarness) -> None:
    assert run_task(harness, "Show failed and ambiguous").summary == "Failed: none"
    write_letters(harness, ValueError("something about /data/x.mp4"), [7])
    done = run_task(harness, "Show failed and ambiguous")
    assert any("scene 7" in text and "/data/x.mp4" in text for text in done.texts)
    assert "1 unexpected error (ValueError)" in done.summary


def test_show_failed_lists_the_records_by_status(harness: ProcessHarness) -> None:
    bare = harness.stash.add_scene(title="No file")
    harness.add_scene("lost")
    old = harness.pair("gone", title="Gone")
    run_task(harness, "Sync all scenes")
    harness.plex.remove_item(old[1].rating_key)
    run_task(harness, "Re-sync scene", scene_id=old[0].id)
    done = run_task(harness, "Show failed and ambiguous")
    assert done.output["counts"] == {"failed": 1, "not_in_plex": 1}, done.log
    assert {one["scene_id"] for one in done.output["failed"]} == {bare.id, old[0].id}
    assert any(f"scene {bare.id}: failed: the scene has no file" in text for text in done.texts)
    assert any(f"scene {old[0].id}: not in Plex" in text for text in done.texts), done.texts


def test_retry_and_clear_can_be_limited_to_a_reason(harness: ProcessHarness) -> None:
    scene, item = harness.pair(title="T")
    items = [harness.add_item(f"{folder}/c", size=7) for folder in ("one", "two")]
    ambiguous = harness.stash.add_scene(title="Ambiguous", files=[("/nowhere/c.mp4", 7)])
    write_letters(harness, ValueError("by a bug"), [scene.id])
    candidates = [{"rating_key": one.rating_key} for one in items]
    write_letters(harness, AmbiguousMatch("may be any", candidates), [ambiguous.id])
    done = run_task(harness, "Retry failed", reason="ValueError")
    assert done.output["retried"] == 1
    assert [one.title for one in (item, *items)] == ["T", "c", "c"]
    assert [letter["error_type"] for letter in harness.letters()] == ["AmbiguousMatch"]
    assert run_task(harness, "Clear failed", reason="ValueError").output["dropped"] == 0
    assert run_task(harness, "Clear failed", reason="AmbiguousMatch").output["dropped"] == 1
    assert harness.letters() == []


def test_retry_failed_tries_all_and_says_how_many_fail_again(harness: ProcessHarness) -> None:
    scene, item = harness.pair(title="T")
    bare = harness.stash.add_scene(title="No file")
    write_letters(harness, ValueError("by a bug"), [scene.id, bare.id])
    done = run_task(harness, "Retry failed")
    assert (done.output["retried"], done.output["failed"]) == (2, 1)
    assert item.title == "T"
    assert [letter["scene_id"] for letter in harness.letters()] == [bare.id]


def test_clear_queue_drops_nothing_unless_confirmed(harness: ProcessHarness) -> None:
    assert run_command(harness.data_dir, "pause").exit_code == 0  # so that no worker claims them
    job = create_sync_job(0, "metadata", {"title": "T"})
    with closing(Inbox(str(harness.data_dir), lock_timeout=240)) as inbox:
        for scene in [harness.add_scene(f"s{number}") for number in range(7)]:
            job = create_sync_job(scene.id, "metadata", {"title": "T"})
            inbox.put(job)
    for arguments in ({"confirm": "false"}, {"confirm": ""}, {"confirm": "0"}):
        spool(str(harness.data_dir / "queue"), job)  # a hook that gave up waiting put it as well
        done = run_task(harness, "Clear queue", **arguments)
        assert done.output["would_drop"] == 7
        assert "7 queued" in done.summary
        assert len(queued(harness.data_dir)) == 7
    assert run_task(harness, "Clear queue", confirm="true").output["dropped"] == 7
    assert writing_requests(harness) == []


def clear_queue(harness: ProcessHarness, **arguments: str) -> int:
    """Run *Clear queue* until nothing is left; return how many edits were dropped.

    A worker that tries to reach Plex has some in hand for a moment; these are left.
    """
    dropped = run_task(harness, "Clear queue", **arguments).output["dropped"]
    while queued(harness.data_dir):
        dropped += run_task(harness, "Clear queue", confirm="true").output["dropped"]
    return int(dropped)


def test_clear_queue_drops_the_edits_when_it_is_run_twice(harness: ProcessHarness) -> None:
    harness.plex.stop()  # the first task leaves a worker for what waits
    with closing(Inbox(str(harness.data_dir), lock_timeout=240)) as inbox:
        for scene in [harness.add_scene(f"s{number}") for number in range(7)]:
            inbox.put(create_sync_job(scene.id, "metadata", {"title": "T"}))
    assert "again within a minute" in run_task(harness, "Clear queue").summary
    assert len(queued(harness.data_dir)) == 7
    assert clear_queue(harness) == 7
    assert run_task(harness, "Clear queue").output["would_drop"] == 0


def test_clear_queue_keeps_the_jobs_that_a_worker_is_processing(
    harness: ProcessHarness,
) -> None:
    hang = harness.plex.faults.add(Hang(), method="PUT")
    pairs = harness.pairs(4)
    for scene, _ in pairs:
        harness.save(scene, title=f"Title {scene.id}")
    assert harness.plex.log.wait_for(method="PUT", timeout=240)
    job = harness.stash.run_task("PlexSync", "Clear queue", {"confirm": "true"})
    time.sleep(1.0)
    hang.remove()
    assert job.wait(240)
    assert job.run is not None
    assert job.run.output["dropped"] <= 3, "what is in progress is not dropped"
    harness.wait_for_empty_queue()
    wait_until(lambda: not queued(harness.data_dir))
    scene, item = pairs[0]
    harness.save(scene, title="Later")
    harness.wait_for_title(item, "Later")


# --- Preview


def write_history_of(harness: ProcessHarness) -> bytes | None:
    """Return the records of the history as SQL, independent of its page layout."""
    file = harness.data_dir / "history.db"
    if not file.exists():
        return None
    with closing(sqlite3.connect(file)) as connection:
        return "\n".join(
            line for line in connection.iterdump() if line.startswith('INSERT INTO "agreements"')
        ).encode()


def test_preview_writes_nothing_and_shows_what_the_sync_then_does(harness: ProcessHarness) -> None:
    rich: dict[str, Any] = {
        "details": "Text",
        "date": "2024-05-06",
        "studio": "St",
        "tags": ["A", "B"],
    }
    pairs = [
        harness.pair(f"file{number}", title=f"New {number}", performers=["Ann"], **rich)
        for number in range(3)
    ]
    harness.add_item("twice/c", size=7)
    harness.add_item("again/c", size=7)
    harness.stash.add_scene(title="Ambiguous", files=[("/nowhere/c.mp4", 7)])
    harness.stash.add_scene(title="Lost", files=[("/data/lost.mp4", 7)])
    done = run_task(harness, "Preview", scope="all")
    assert writing_requests(harness) == []
    assert not write_history_of(harness)
    assert not load_sync_timestamps(harness.data_dir)
    assert queued(harness.data_dir) == []
    counts = {
        key: value
        for key, value in done.output.items()
        if key in ("changed", "ambiguous", "not_found")
    }
    assert counts == {"changed": 3, "ambiguous": 1, "not_found": 1}
    promised = {one["scene_id"]: set(one["fields"]) for one in done.output["scenes"]}
    assert any("'file0' -> 'New 0'" in text for text in done.texts), done.texts
    run_task(harness, "Sync all scenes")
    for scene, item in pairs:
        written = next(
            write.parameters for write in harness.plex.writes if write.rating_key == item.rating_key
        )
        assert {re.split(r"[.\[]", name)[0] for name in written} == promised[scene.id]
    again = run_task(harness, "Preview", scope="all")
    assert (again.output["changed"], again.output["in_sync"]) == (0, 3)


def test_preview_shows_a_cover_that_the_sync_would_upload(harness: ProcessHarness) -> None:
    _, item = harness.pair(title="T", cover=PNG)
    item.values["title"] = "T"
    done = run_task(harness, "Preview", scope="all")
    run_task(harness, "Sync all scenes")
    assert len(harness.plex.uploads) == 1
    assert done.output["changed"] == 1, done.output


def test_preview_of_recent_scenes_or_one_scene_omits_the_others(harness: ProcessHarness) -> None:
    old, _ = harness.pair("old", title="Old", updated_at=time.time() - 40 * HOUR)
    new, _ = harness.pair("new", title="New")
    recent = run_task(harness, "Preview")
    assert [one["scene_id"] for one in recent.output["scenes"]] == [new.id]
    one = run_task(harness, "Preview", scene_id=old.id)
    assert [one["scene_id"] for one in one.output["scenes"]] == [old.id]


def test_preview_refuses_invalid_scenes_and_scopes(harness: ProcessHarness) -> None:
    for arguments in (
        {"scope": "everything"},
        {"scope": "scene"},
        {"scene_id": "x"},
        {"scene_id": 99},
    ):
        assert refused_task(harness, "Preview", **arguments)


def test_a_preview_does_not_report_a_sync(harness: ProcessHarness) -> None:
    """With strict matching off the preview shows the first candidate, not synced yet."""
    harness.configure(strict_matching=False)
    for folder in ("one", "two"):
        harness.add_item(f"{folder}/c", size=7)
    harness.stash.add_scene(title="Ambiguous", files=[("/nowhere/c.mp4", 7)])
    done = run_task(harness, "Preview", scope="all")
    assert not any("Synced" in text for text in done.texts), done.log
    assert not [text for level, text in done.log if level == "error"], "a line without Stash's mark"


def test_a_preview_does_not_disturb_a_running_worker(harness: ProcessHarness) -> None:
    run_worker(harness)
    pairs = library(harness, 60)
    harness.plex.faults.add(Delay(0.01), method="PUT")
    harness.stash.bulk_save([scene.id for scene, _ in pairs[:5]], details="Text")
    run_task(harness, "Preview", scope="all")
    run_task(harness, "Check setup")
    run_task(harness, "Sync all scenes")
    assert [item.title for _, item in pairs] == [scene.title for scene, _ in pairs]
    assert max(puts(harness).values()) == 1


# --- Report


def report_of(harness: ProcessHarness, **arguments: Any) -> str:
    done = run_task(harness, "Report", **arguments)
    with open(done.output["path"], encoding="utf-8") as file:
        return file.read()


def test_a_report_holds_versions_settings_status_and_log_but_no_secret(
    make_harness: Callable[..., ProcessHarness],
) -> None:
    key = "api-key-of-stash-0123456789abcdef"
    harness = make_harness(username="user", password="secret-of-the-user", api_key=key)
    harness.pair(title="T")
    for secret in (TOKEN, key):
        harness.add_item(f"{secret[:5]}/c", size=7)
        harness.stash.add_scene(title=f"Title {secret}", files=[("/elsewhere/c.mp4", 7)])
    run_task(harness, "Sync all scenes")
    text = report_of(harness)
    for word in (
        "plexapi",
        "Stash v",
        "Python",
        "max_retries",
        '"waiting"',
        "ambiguous: Scene",
        "Settings:",
    ):
        assert word in text, word
    cookies = {
        run.stdin["server_connection"]["SessionCookie"]["Value"]
        for run in harness.stash.plugins.runs()
    }
    for secret in (TOKEN, key, "secret-of-the-user", *cookies):
        assert secret not in text
        assert secret[5:-5] not in text


PRIVATE = (
    "Ann's Private Film",
    "Plain Title Of Mine",
    "PrivateLibrary",
    "private-folder",
    "it's one; and: two",
    "Zoe's",
    "SecondLibrary",
)


def test_an_anonymous_report_holds_no_path_title_or_name(harness: ProcessHarness) -> None:
    library_ = harness.plex.add_library("PrivateLibrary", ["/media"])
    other = harness.plex.add_library("SecondLibrary", ["/media"])
    run_worker(harness)
    for where, name in (
        (library_, "Ann's Private Film"),
        (other, "Plain Title Of Mine"),
        (other, "x"),
    ):
        for folder in ("private-folder", "private-folder-2"):
            harness.plex.add_item(where, f"/media/{folder}/c.mp4", size=7, title=name)
    long_ago = time.time() - 40 * HOUR  # otherwise the worker's own scan may find them first
    scenes = [
        harness.stash.add_scene(title=title, files=[(path, size)], updated_at=long_ago)
        for title, path, size in (
            ("Plain Title Of Mine", "/elsewhere/c.mp4", 7),
            ("Ann's Private Film", "/elsewhere/c.mp4", 7),
            ("Zoe's", "/data/private-folder/it's one; and: two.mp4", 9),
            ("X", "/data/private-folder/Ann's Private Film.mp4", 9),
        )
    ]
    run_task(harness, "Sync all scenes")
    done = run_task(harness, "Status")
    assert (done.output["scenes"]["ambiguous"], done.output["scenes"]["not_in_plex"]) == (2, 2)
    assert len(scenes) == 4
    text = report_of(harness, anonymous="true")
    assert "ambiguous: Scene" in text
    leaked = [line for line in text.splitlines() if any(private in line for private in PRIVATE)]
    assert leaked == []
    assert "/media" not in text
    assert "two.mp4" not in text


def test_an_anonymous_report_after_a_refused_edit_has_neither_texts_nor_addresses(
    harness: ProcessHarness,
) -> None:
    harness.configure(path_mappings="/data => /media")
    title, name = "A Title & More of It", "Zoë Performer"
    scene, _ = harness.pair(title=title, performers=[name], details="The whole story")
    harness.stash.add_scene(title="Gone", files=[("/data/private-folder/it's gone.mp4", 9)])
    harness.plex.faults.add(Answer(400, f"bad: {title} {name}".encode()), method="PUT")
    run_task(harness, "Sync all scenes")
    run_task(harness, "Re-sync scene", scene_id=scene.id)
    text = report_of(harness, anonymous="true")
    hidden = (title, name, "The whole story", "private-folder", "it's gone", harness.plex.url)
    for private in (*hidden, f":{harness.plex.server.port}", "127.0.0.1"):
        for form in (private, quote(private), quote_plus(private), json.dumps(private)[1:-1]):
            assert form not in text, form
    assert "refused: Plex does not take … (0 candidates, refused fields: title, summary" in text


def test_an_anonymous_report_can_still_be_read(harness: ProcessHarness) -> None:
    run_worker(harness)
    text = report_of(harness, anonymous="true")
    for word in ("plexapi", "max_retries = 5", "waiting", "Worker started", "wrote title"):
        assert word in text, f"{word} in {text}"


def test_a_report_is_written_even_without_a_working_setup(harness: ProcessHarness) -> None:
    harness.configure(plex_url=None, plex_token=None)
    assert "plex_url is not set" in report_of(harness)
