"""Tasks that rest on the records: adoption, stopping, approval, previews, exclusion."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from queue.operations import get_stats
from tests.end_to_end.test_compare import OFTEN, PNG, edit_in_plex, settle, watch
from tests.harness.installation import ProcessHarness
from tests.harness.processes import kill_workers, stop_workers, wait_until
from tests.harness.results import queued
from tests.harness.size import long
from tests.simulators.httpd import Delay
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Job, Scene
from tests.tasks import Done, run_command, run_task
from worker.reconcile.approval import MOST_UNASKED

HOUR = 3600.0
Pairs = list[tuple[Scene, PlexItem]]
Make = Callable[..., ProcessHarness]


def old_pairs(harness: ProcessHarness, count: int, **fields: Any) -> Pairs:
    """Add scenes that were changed long ago."""
    long_ago = time.time() - 40 * HOUR
    return [harness.pair(f"f{number}", updated_at=long_ago, **fields) for number in range(count)]


def status(harness: ProcessHarness) -> Done:
    return run_task(harness, "Status")


def start(harness: ProcessHarness, name: str, **arguments: str) -> Job:
    return harness.stash.run_task("PlexSync", name, arguments)


def command(harness: ProcessHarness, *arguments: str) -> str:
    shown = run_command(harness.data_dir, *arguments, env=harness.environment)
    assert shown.exit_code == 0, shown
    return shown.stdout


# --- a fresh installation


def test_an_installation_pushes_nothing_until_sync_all_adopts_the_library(
    make_harness: Make,
) -> None:
    harness = make_harness(env=OFTEN)
    pairs = old_pairs(harness, 5, performers=["Old"])
    watch(harness)
    wait_until(lambda: status(harness).output["scenes"].get("baseline") == 5)
    harness.stash.rename_silently("performer", "Old", "New")
    settle(harness)
    assert all(item.title == f"f{number}" for number, (_, item) in enumerate(pairs))
    assert len(harness.plex.writes) == 1
    assert "5 not synced yet" in " ".join(status(harness).texts)

    done = run_task(harness, "Sync all scenes")
    assert (done.output["synced"], done.output["baseline"]) == (5, 0), done.log
    assert [item.actors for _, item in pairs] == [["New"]] * 5
    harness.stash.rename_silently("performer", "New", "Newest")
    wait_until(
        lambda: all(item.actors == ["Newest"] for _, item in pairs),
        lambda: harness.worker_log()[-3000:],
    )


def test_a_scene_of_the_installation_is_synced_once_it_is_edited_itself(make_harness: Make) -> None:
    harness = make_harness(env=OFTEN)
    (first, first_item), (second, second_item), (_, third_item) = old_pairs(harness, 3)
    watch(harness)
    harness.save(first, title="By its hook")
    harness.stash.change_silently(second.id, title="Without a hook")
    harness.wait_for_title(first_item, "By its hook")
    harness.wait_for_title(second_item, "Without a hook")
    settle(harness)
    assert third_item.title == "f2"


# --- stopping


@long
@pytest.mark.parametrize("with_worker", [True, False], ids=lambda one: f"worker {one}")
def test_a_stopped_sync_all_is_dropped_but_not_the_edits_made_meanwhile(
    harness: ProcessHarness, with_worker: bool
) -> None:
    pairs = old_pairs(harness, 120)
    if with_worker:
        watch(harness)
    slow = harness.plex.faults.add(Delay(0.3), method="PUT")
    before = len(harness.plex.writes)
    job = start(harness, "Sync all scenes")
    wait_until(lambda: len(harness.plex.writes) >= before + 25, "some are written")
    edited, item = pairs[90]
    harness.save(edited, title="Edited meanwhile")  # its row of the pass waits
    job.stop()
    assert job.wait(240)
    assert job.status == "CANCELLED"
    harness.wait_for_title(
        item, "Edited meanwhile"
    )  # without a worker, the task's successor does it
    harness.wait_for_empty_queue()
    slow.remove()
    written = len(harness.plex.writes)
    settle(harness)
    assert len(harness.plex.writes) == written, "nothing more"
    assert written - before < 90
    done = run_task(harness, "Sync all scenes")
    assert done.output["synced"] + done.output["in_sync"] >= 120, done.log
    assert [item.title for _, item in pairs] == [
        harness.stash.scene(one.id).title for one, _ in pairs
    ]


@long
def test_a_killed_worker_does_not_end_the_task_that_waits_for_it(harness: ProcessHarness) -> None:
    pairs = old_pairs(harness, 60)
    watch(harness)
    slow = harness.plex.faults.add(Delay(0.05), method="PUT")
    job = start(harness, "Sync all scenes")
    wait_until(lambda: len(harness.plex.writes) >= 10)
    assert kill_workers(harness.data_dir)
    slow.remove()
    assert job.wait(240)
    assert job.run is not None and job.run.output["ok"], job.run
    assert [item.title for _, item in pairs] == [scene.title for scene, _ in pairs]


# --- approval


MANY = MOST_UNASKED + 10


def held(harness: ProcessHarness) -> Pairs:
    """Sync many scenes, then change a setting that would change them all."""
    harness.configure(sync_tags=False)
    pairs = old_pairs(harness, MANY, tags=["One"])
    assert run_task(harness, "Sync all scenes").output["synced"] == MANY
    watch(harness)
    wait_until(lambda: status(harness).output["full_pass_at"], "a full pass")
    harness.configure(sync_tags=True)
    wait_until(lambda: status(harness).output["held"], lambda: harness.worker_log()[-3000:])
    return pairs


@long
def test_much_that_nobody_asked_for_waits_for_a_yes(make_harness: Make) -> None:
    harness = make_harness(env=OFTEN)
    pairs = held(harness)
    settle(harness)
    assert not any(item.genres for _, item in pairs)
    shown = status(harness)
    line = next(text for text in shown.texts if "approval" in text)
    assert str(MANY) in line
    assert "settings" in line
    scene, item = pairs[0]
    run = harness.save(scene, title="A save goes on")
    told = [one.text for one in harness.stash.plugin_log if str(MANY) in one.text]
    assert told or any(str(MANY) in one.text for one in run.log), harness.worker_log()[-2000:]
    harness.wait_for_title(item, "A save goes on")
    harness.wait_for_empty_queue()

    done = run_task(harness, "Approve changes")
    assert done.level == "info", done.log
    wait_until(lambda: all(item.genres == ["One"] for _, item in pairs))
    assert status(harness).output["held"] is None
    again = run_task(harness, "Approve changes")
    assert again.summary == "Approve changes: nothing waits for your approval"


@long
def test_what_is_refused_is_not_written(make_harness: Make) -> None:
    harness = make_harness(env=OFTEN)
    pairs = held(harness)
    done = run_task(harness, "Approve changes", no="true")
    assert done.summary == "Approve changes: dropped; Plex stays as it is"
    settle(harness)
    assert not any(item.genres for _, item in pairs)
    assert status(harness).output["held"] is None


def test_a_few_changes_need_no_approval(make_harness: Make) -> None:
    harness = make_harness(env=OFTEN)
    harness.configure(sync_tags=False)
    pairs = old_pairs(harness, 5, tags=["One"])
    run_task(harness, "Sync all scenes")
    watch(harness)
    harness.configure(sync_tags=True)
    wait_until(lambda: all(item.genres == ["One"] for _, item in pairs), "new genres")


# --- Preview


def test_a_preview_begins_with_sums_and_marks_what_is_kept(harness: ProcessHarness) -> None:
    fields: dict[str, Any] = {"tags": ["Known", "New"], "groups": ["Group"], "performers": ["Ann"]}
    pairs = old_pairs(harness, 3, cover=PNG, **fields)
    harness.add_item("other", genres=["Known"])
    edit_in_plex(harness, pairs[0][1], title="By hand in Plex")
    before = harness.plex.log.count("PUT")
    done = run_task(harness, "Preview", scope="all")
    assert harness.plex.log.count("PUT") == before
    assert done.output["fields"]["title"] == 2
    assert done.output["fields"]["poster"] == 3
    assert done.output["poster_bytes"] == 3 * len(PNG)
    assert done.output["kept"] == {"title": 1}
    assert done.output["new"] == {"genre": 1, "collection": 1, "actor": 1, "label": 0}
    first = next(n for n, text in enumerate(done.texts) if text.startswith("Scene "))
    sums = done.texts[:first]
    assert any(text.startswith("title: 2 scenes would change") for text in sums), done.texts
    assert any("New genres in Plex: 1 ('New')" in text for text in sums), sums
    assert any("New collections in Plex: 1" in text for text in sums)
    assert any("title: kept in 1 scenes" in text for text in sums)
    assert any(
        text.startswith(f"Scene {pairs[0][0].id} title: kept") for text in done.texts[first:]
    )
    run_task(harness, "Sync all scenes")
    assert pairs[0][1].title == "By hand in Plex"
    harness.save(pairs[0][0], title="Saved itself")
    harness.wait_for_title(pairs[0][1], "Saved itself")


def test_a_preview_counts_what_is_locked_in_plex(harness: ProcessHarness) -> None:
    ((scene, item),) = old_pairs(harness, 1)
    run_task(harness, "Sync all scenes")
    assert stop_workers(harness.data_dir)
    harness.stash.change_silently(scene.id, title="Later")
    done = run_task(harness, "Preview", scope="all")
    assert done.output["locked"] == {"title": 1}, item.locked
    assert any("1 of them locked in Plex" in text for text in done.texts)


# --- Re-sync


def test_resync_without_an_argument_takes_the_scene_saved_last(harness: ProcessHarness) -> None:
    old_pairs(harness, 3)
    scene, item = harness.pair("latest", title="Latest")
    done = run_task(harness, "Re-sync scene")
    assert done.summary == f"Scene {scene.id} is in sync", done.log
    assert item.title == "Latest"
    assert len(harness.plex.writes) == 1


def test_resync_goes_over_an_edit_made_in_plex(harness: ProcessHarness) -> None:
    ((scene, item),) = old_pairs(harness, 1)
    run_task(harness, "Sync all scenes")
    edit_in_plex(harness, item, title="By hand")
    run_task(harness, "Sync all scenes")
    assert item.title == "By hand"
    run_task(harness, "Re-sync scene", scene_id=scene.id)
    assert item.title == scene.title


# --- Ignore


def test_an_ignored_scene_is_left_alone_until_the_user_says_so(make_harness: Make) -> None:
    harness = make_harness(env=OFTEN)
    ((scene, item), (_, other)) = old_pairs(harness, 2)
    run_task(harness, "Sync all scenes")
    assert "left alone" in command(harness, "ignore", str(scene.id))
    harness.save(scene, title="Saved")
    watch(harness)
    settle(harness)
    run_task(harness, "Sync all scenes", force="true")
    assert item.title == "Title of f0"
    assert other.title == "Title of f1"
    assert status(harness).output["scenes"]["ignored"] == 1
    assert run_task(harness, "Show failed and ambiguous").summary == "Failed: none"
    command(harness, "ignore", str(scene.id), "--off")
    run_task(harness, "Sync all scenes")
    assert item.title == "Saved"
    assert "ignored" not in status(harness).output["scenes"]


def test_a_resync_ends_the_exclusion(harness: ProcessHarness) -> None:
    ((scene, item),) = old_pairs(harness, 1)
    run_task(harness, "Status")
    command(harness, "ignore", str(scene.id))
    done = run_task(harness, "Re-sync scene", scene_id=scene.id)
    assert done.summary == f"Scene {scene.id} is in sync", done.log
    assert item.title == scene.title


# --- failed scenes and the queue


def test_cleared_scenes_are_not_shown_until_they_fail_anew(harness: ProcessHarness) -> None:
    bare = harness.stash.add_scene(title="No file")
    run_task(harness, "Sync all scenes")
    assert run_task(harness, "Show failed and ambiguous").output["counts"] == {"failed": 1}
    run_task(harness, "Clear failed")
    assert run_task(harness, "Show failed and ambiguous").summary == "Failed: none"
    assert status(harness).output["needing_you"] == 0
    harness.stash.change_silently(bare.id, title="Still none")
    run_task(harness, "Sync all scenes")
    assert run_task(harness, "Show failed and ambiguous").output["counts"] == {"failed": 1}


def test_retry_syncs_what_a_pass_could_not(harness: ProcessHarness) -> None:
    scene = harness.stash.add_scene(title="Mine", files=[("/elsewhere/same.mp4", 7)])
    items = [harness.add_item(f"{folder}/same", size=7) for folder in ("one", "two")]
    done = run_task(harness, "Sync all scenes")
    assert (done.level, done.output["ambiguous"]) == ("warning", 1), done.log
    assert "1 ambiguous" in done.summary
    again = run_task(harness, "Retry failed")
    assert (again.level, again.output["retried"], again.output["ambiguous"]) == ("warning", 1, 1)
    assert stop_workers(harness.data_dir)
    harness.plex.remove_item(items[0].rating_key)
    last = run_task(harness, "Retry failed", reason="ambiguous")
    assert (last.level, last.output["synced"]) == ("info", 1), last.log
    assert items[1].title == scene.title


def test_clear_queue_beside_a_worker_that_waits_for_plex(make_harness: Make) -> None:
    harness = make_harness(env=OFTEN)
    pairs = old_pairs(harness, 4)
    watch(harness)
    harness.plex.stop()
    for scene, _ in pairs:
        harness.save(scene, title=f"During {scene.id}")
    wait_until(lambda: "Plex is down" in harness.worker_log())
    assert len(harness.workers()) == 1
    wait_until(lambda: not get_stats(harness.data_dir)["in_progress"], "nothing is in hand")
    assert run_task(harness, "Clear queue").output["would_drop"] == 4
    assert run_task(harness, "Clear queue", confirm="true").output["dropped"] == 4
    assert queued(harness.data_dir) == []
    harness.plex.start()
    for scene, item in pairs:  # the next comparison finds them
        harness.wait_for_title(item, f"During {scene.id}")


def test_status_counts_scenes_by_state(make_harness: Make) -> None:
    harness = make_harness(env=OFTEN)
    old_pairs(harness, 2)
    harness.stash.add_scene(title="No file")
    harness.add_scene("lost", updated_at=time.time())
    for folder in ("one", "two"):
        harness.add_item(f"{folder}/same", size=7)
    harness.stash.add_scene(files=[("/elsewhere/same.mp4", 7)])
    run_task(harness, "Sync all scenes")
    watch(harness)
    counts = {"in_sync": 3, "not_in_plex": 1, "ambiguous": 1, "failed": 1}
    wait_until(  # until all is read back
        lambda: status(harness).output["scenes"] == counts,
        lambda: status(harness).output["scenes"],
    )
    done = status(harness)
    assert done.output["needing_you"] == 2
    assert done.output["folders"] == {"/data": 1}
    assert done.output["quick_pass_at"] and done.output["full_pass_at"]
    text = " ".join(done.texts)
    for words in ("3 in sync", "1 not in Plex", "1 ambiguous", "1 failed", "Needing you: 2"):
        assert words in text, done.texts
    assert os.fspath(harness.data_dir / "worker.log") in text
