"""The commands of tasks and the command line, as the worker carries them out."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from history.records import Status
from history.store import History
from queue.commands import DONE, DROPPED, STARTED, WAITING
from queue.lease import Lease
from queue.models import PASS
from tests.harness.clock import HOUR
from tests.harness.in_process import WorkerHarness
from tests.simulators.httpd import Answer, Delay, Request
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene
from worker.reconcile.approval import GRANTED, HELD
from worker.reconcile.passes import SYNC

DAY = 24 * HOUR
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


@pytest.fixture
def harness(harness: WorkerHarness) -> WorkerHarness:
    harness.new_worker(compares=True)
    return harness


@pytest.fixture
def lease(harness: WorkerHarness) -> Iterator[Lease]:
    with Lease.take(str(harness.data_dir)) as lease:
        yield lease


def synced(harness: WorkerHarness, name: str = "a", **fields: Any) -> tuple[Scene, PlexItem]:
    """Return a scene that was synced a moment ago."""
    scene, item = harness.pair(name, **fields)
    harness.edit(scene, f"Synced {name}")
    harness.run_for(30)
    assert item.title == f"Synced {name}"
    return scene, item


def ambiguous(harness: WorkerHarness) -> tuple[Scene, list[PlexItem]]:
    """Return a scene with two items that it may be, and a dead letter for it."""
    scene = harness.add_scene("x/a")
    items = [harness.add_item(f"{folder}/x/a") for folder in ("one", "two")]
    harness.edit(scene, "Which?")
    harness.run_for(30)
    assert statuses(harness, scene) == [Status.AMBIGUOUS]
    assert [letter["scene_id"] for letter in harness.letters()] == [scene.id]
    return scene, items


def choices_of(harness: WorkerHarness, *items: PlexItem) -> list[dict[str, object]]:
    """Return these items as a task names them in its command."""
    server = harness.plex.machine_identifier
    return [{"rating_key": item.rating_key, "server": server, "path": item.path} for item in items]


def old_pairs(harness: WorkerHarness, count: int) -> list[tuple[Scene, PlexItem]]:
    """Return scenes that were there at installation, and are not synced."""
    pairs = [harness.pair(f"s{number:03}", updated_at=1e9) for number in range(count)]
    harness.run_for(30)
    assert [item.title for _, item in pairs] == [f"s{number:03}" for number in range(count)]
    return pairs


def statuses(harness: WorkerHarness, scene: Scene) -> list[Status]:
    return [row.status for row in harness.worker.history.of_scene(scene.id)]


def status_of(harness: WorkerHarness, command_id: int) -> int:
    command = harness.commands.get(command_id)
    assert command is not None
    return command.status


def in_sync(harness: WorkerHarness, pairs: list[tuple[Scene, PlexItem]]) -> bool:
    return all(item.title == harness.stash.scene(scene.id).title for scene, item in pairs)


def by_a_person(item: PlexItem, title: str) -> None:
    item.values["title"] = title
    item.locked.add("title")
    item.rendered = None


# --- any command


def test_commands_are_carried_out_in_their_order(harness: WorkerHarness) -> None:
    scene, _ = synced(harness)
    ids = [
        harness.commands.add("ignore", {"scene_id": scene.id}),
        harness.commands.add("ignore", {"scene_id": scene.id, "off": True}),
        harness.commands.add("ignore", {"scene_id": scene.id}),
    ]
    harness.run_until(ids[-1])
    assert [status_of(harness, one) for one in ids] == [DONE] * 3
    assert statuses(harness, scene) == [Status.IGNORED]


def test_an_unknown_command_ends_with_an_error(harness: WorkerHarness) -> None:
    assert "dance" in harness.command("dance")["error"]


@pytest.mark.parametrize("name", ["resync", "choose", "ignore"])
@pytest.mark.parametrize("arguments", [{}, {"scene_id": "x"}, {"scene_id": None}], ids=str)
def test_a_command_that_makes_no_sense_ends_with_an_error_and_stops_nothing(
    harness: WorkerHarness, name: str, arguments: dict[str, Any]
) -> None:
    scene, item = harness.pair("a")
    harness.edit(scene, "Edited")
    assert name in harness.command(name, **arguments)["error"]
    harness.run_for(10)
    assert item.title == "Edited"
    assert harness.worker.health.problem is None


def test_a_command_that_met_a_full_disk_is_carried_out_later(harness: WorkerHarness) -> None:
    class FullOnce(History):
        left = 1

        def save_all(self, agreements: Any) -> None:
            if self.left:
                self.left -= 1
                raise sqlite3.OperationalError("database or disk is full")
            super().save_all(agreements)

    scene, _ = harness.pair("a")
    history = FullOnce(now=harness.clock.time)
    harness.new_worker(history=history)
    assert harness.command("ignore", scene_id=scene.id) == {"scene_id": scene.id}
    assert [row.status for row in history.of_scene(scene.id)] == [Status.IGNORED]


def test_a_command_of_a_task_that_is_gone_is_dropped(harness: WorkerHarness, lease: Lease) -> None:
    scene, _ = synced(harness)
    command_id = harness.commands.add("ignore", {"scene_id": scene.id}, lease.name)
    lease.release()
    harness.run_for(5)
    assert status_of(harness, command_id) == DROPPED
    assert statuses(harness, scene) == [Status.IN_SYNC]


def test_a_command_of_a_task_that_waits_is_carried_out(
    harness: WorkerHarness, lease: Lease
) -> None:
    scene, _ = synced(harness)
    command_id = harness.commands.add("ignore", {"scene_id": scene.id}, lease.name)
    harness.run_for(5)
    assert status_of(harness, command_id) == DONE


def test_a_command_interrupted_by_a_kill_is_carried_out_by_the_next_worker(
    harness: WorkerHarness,
) -> None:
    scene, _ = synced(harness)
    command_id = harness.commands.add("ignore", {"scene_id": scene.id})
    harness.commands.start(command_id)
    harness.restart()
    harness.run_for(5)
    assert status_of(harness, command_id) == DONE
    assert statuses(harness, scene) == [Status.IGNORED]


def test_old_results_are_forgotten(harness: WorkerHarness) -> None:
    first = harness.commands.add("clear_failed", {})
    harness.run_for(5)
    harness.clock.advance(2 * DAY)
    harness.restart()
    harness.run_for(5)
    assert harness.commands.get(first) is None


# --- resync, choose, ignore


def test_resync_goes_over_a_persons_edit(harness: WorkerHarness) -> None:
    scene, item = synced(harness)
    by_a_person(item, "Mine")
    result = harness.command("resync", scene_id=scene.id)
    assert (result["reason"], item.title) == (None, "Synced a")
    assert sum(result["worked"].values()) == 1


def test_resync_uploads_the_cover_again(harness: WorkerHarness) -> None:
    harness.configure(sync_poster=True)
    scene, item = synced(harness, cover=PNG, updated_at=harness.clock.now - 100)
    assert len(harness.plex.uploads) == 1
    harness.run_for(30)
    harness.command("resync", scene_id=scene.id)
    assert [upload.rating_key for upload in harness.plex.uploads] == [item.rating_key] * 2


def test_resync_of_a_failing_scene_ends_when_its_job_waits(harness: WorkerHarness) -> None:
    scene, item = synced(harness)
    bad = harness.plex.faults.add(Answer(500), method="PUT")
    by_a_person(item, "Mine")
    start = harness.clock.now
    result = harness.command("resync", scene_id=scene.id)
    assert result
    assert harness.clock.now - start < 60
    bad.remove()
    harness.run_for(HOUR)
    assert item.title == "Synced a"


def test_resync_with_items_chooses_them(harness: WorkerHarness) -> None:
    scene, (first, second) = ambiguous(harness)
    harness.command("resync", scene_id=scene.id, items=choices_of(harness, second))
    assert (first.title, second.title) == ("a", "Which?")
    assert harness.letters() == []
    (choice,) = harness.worker.history.choices(scene.id)
    assert (choice.server, choice.path) == (harness.plex.machine_identifier, "/media/two/x/a.mp4")


def test_both_items_can_be_chosen(harness: WorkerHarness) -> None:
    scene, items = ambiguous(harness)
    harness.command("resync", scene_id=scene.id, items=choices_of(harness, *items))
    harness.run_for(30)
    assert [item.title for item in items] == ["Which?", "Which?"]
    assert statuses(harness, scene) == [Status.IN_SYNC] * 2
    harness.edit(scene, "Both")
    harness.run_for(30)
    assert [item.title for item in items] == ["Both", "Both"]


def test_a_choice_can_be_taken_back(harness: WorkerHarness) -> None:
    scene, (first, _) = ambiguous(harness)
    harness.command("choose", scene_id=scene.id, items=choices_of(harness, first))
    assert len(harness.worker.history.choices(scene.id)) == 1
    harness.command("choose", scene_id=scene.id, items=[])
    assert harness.worker.history.choices(scene.id) == []
    harness.edit(scene, "Again")
    harness.run_for(30)
    assert first.title == "a"


def test_an_ignored_scene_is_left_alone_until_it_is_not(harness: WorkerHarness) -> None:
    scene, item = synced(harness)
    harness.command("ignore", scene_id=scene.id)
    harness.edit(scene, "Edited")
    harness.run_for(30)
    harness.stash.change_silently(scene.id, title="Missed")
    harness.run_for(DAY)
    harness.command("sync", force=True)
    assert item.title == "Synced a"
    assert statuses(harness, scene) == [Status.IGNORED]
    assert harness.waiting() == 0

    harness.command("ignore", scene_id=scene.id, off=True)
    harness.restart()
    harness.run_for(DAY)
    harness.restart()
    harness.run_for(HOUR)
    assert item.title == "Missed"


def test_ignoring_a_scene_that_failed_deletes_its_dead_letter(harness: WorkerHarness) -> None:
    scene, _ = ambiguous(harness)
    harness.command("ignore", scene_id=scene.id)
    assert harness.letters() == []


def test_the_scenes_of_a_folder_that_are_not_in_plex_are_ignored_together(
    harness: WorkerHarness,
) -> None:
    lacking = [harness.add_scene(name) for name in ("shelf/a", "shelf/b", "other/c")]
    there, _ = harness.pair("shelf/d")
    for scene in (*lacking, there):
        harness.edit(scene)
    harness.run()
    (folder,) = {name for name in harness.worker.history.count_folders() if "shelf" in name}
    assert harness.command("ignore", folder=folder) == {"folder": folder, "scenes": 2}
    statuses = [harness.worker.history.of_scene(scene.id)[0].status for scene in (*lacking, there)]
    assert statuses == [Status.IGNORED, Status.IGNORED, Status.NOT_IN_PLEX, Status.IN_SYNC]
    assert harness.command("ignore", folder=folder, off=True)["scenes"] == 2
    harness.add_item("shelf/a")
    harness.command("sync")
    assert harness.differences(lacking[0]) == []
    assert harness.worker.history.of_scene(lacking[1].id)[0].status is Status.NOT_IN_PLEX


def test_a_scene_that_was_never_synced_can_be_ignored(harness: WorkerHarness) -> None:
    scene, item = harness.pair("a")
    harness.command("ignore", scene_id=scene.id)
    harness.edit(scene, "Edited")
    harness.run_for(60)
    assert item.title == "a"


# --- retry, clear


def test_retry_takes_dead_letters_and_what_passes_could_not_sync(harness: WorkerHarness) -> None:
    first, _ = ambiguous(harness)
    by_pass = harness.stash.add_scene(title="By a pass")
    harness.run_for(700)
    assert statuses(harness, by_pass) == [Status.FAILED]
    item = harness.add_item("late")
    harness.stash.change_silently(by_pass.id, files=[("/data/late.mp4", 100)], updated_at=1e9)
    assert harness.command("retry")["retried"] == 2
    harness.run_for(120)
    assert [letter["scene_id"] for letter in harness.letters()] == [first.id], "in vain"
    assert item.title == "By a pass"


def test_retry_of_one_reason_leaves_the_others(harness: WorkerHarness) -> None:
    ambiguous(harness)
    nofile = harness.stash.add_scene(title="no file")
    harness.edit(nofile, "No file")
    harness.run_for(30)
    by_scene = {letter["scene_id"]: letter["error_type"] for letter in harness.letters()}
    assert harness.command("retry", reason=by_scene[nofile.id])["retried"] == 1
    harness.run_for(30)
    assert len(harness.letters()) == 2, "in vain"


def test_a_retried_letter_keeps_its_edit_and_loses_its_retries(harness: WorkerHarness) -> None:
    scene = harness.add_scene("late")
    harness.edit(scene, "Late")
    harness.run_for(2 * HOUR)
    (letter,) = harness.letters()
    assert letter["retry_count"] == 12
    harness.restart()
    command_id = harness.commands.add("retry", {})
    harness.run_until(command_id)
    (job,) = harness.jobs()
    assert (job["data"]["title"], "retry_count" in job) == (True, False)
    assert harness.letters() == []


def test_clearing_failures_leaves_the_scenes_on_record(harness: WorkerHarness) -> None:
    scene, _ = ambiguous(harness)
    assert harness.command("clear_failed")["dropped"] == 1
    assert harness.letters() == []
    assert statuses(harness, scene) == [Status.AMBIGUOUS]


def test_a_cleared_queue_is_found_again_by_the_next_pass(harness: WorkerHarness) -> None:
    harness.stash.add_scene(files=[])
    harness.run_for(30)
    harness.clock.advance(HOUR)
    scenes = harness.edited(5)
    assert harness.command("clear_queue") == {"dropped": 5}
    assert harness.waiting() == 0
    harness.restart()
    harness.run_for(DAY)
    harness.restart()
    harness.run_for(HOUR)
    assert harness.in_sync(scenes)


# --- approve


def propose(harness: WorkerHarness, count: int) -> list[tuple[Scene, PlexItem]]:
    """Return synced scenes that drifted, and wait for a yes."""
    pairs = [harness.pair(f"s{number:03}") for number in range(count)]
    harness.edit_all([scene for scene, _ in pairs])
    harness.run_for(60)
    for _, item in pairs:
        by_a_person(item, "Drifted")
        item.locked.clear()
        item.updated_at -= 50
    harness.clock.advance(DAY)
    harness.restart()
    harness.run_for(HOUR)
    assert harness.worker.history.get(HELD)["count"] == count
    return pairs


def test_approved_scenes_are_written_in_portions(harness: WorkerHarness) -> None:
    pairs = propose(harness, 230)
    most = 0

    def when(_: Request) -> bool:
        nonlocal most
        most = max(most, harness.waiting())
        return False

    harness.plex.faults.add(Delay(0), when=when)
    assert harness.command("approve") == {"approved": 230}
    harness.run_for(HOUR)
    assert in_sync(harness, pairs)
    assert most <= 200


def test_a_yes_survives_a_kill(harness: WorkerHarness) -> None:
    pairs = propose(harness, 210)
    harness.command("approve")
    assert harness.worker.history.get(GRANTED) is True
    harness.restart()
    harness.run_for(HOUR)
    assert in_sync(harness, pairs)


def test_without_anything_held_back_a_yes_does_nothing(harness: WorkerHarness) -> None:
    assert harness.command("approve") == {"approved": 0}
    assert harness.worker.history.get(GRANTED) is None
    assert harness.worker.history.passes() == {}


# --- drain


def test_drain_works_off_what_is_due_and_reports_its_progress(harness: WorkerHarness) -> None:
    harness.new_worker()
    scenes = harness.edited(45)
    seen: list[tuple[int, int]] = []
    command_id = harness.commands.add("drain", {})
    harness.worker.run_until(command_id, lambda done, left: seen.append((done, left)))
    assert harness.in_sync(scenes)
    assert seen[0][0] < 45
    assert [done + left for done, left in seen] == [45] * len(seen)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    result = harness.commands.result(command_id)
    assert result is not None
    assert (result["reason"], result["waiting"]) == (None, 0)
    assert sum(result["worked"].values()) == 45


def test_drain_does_not_wait_for_retries(harness: WorkerHarness) -> None:
    harness.add_scene("late")
    harness.edit(harness.stash.library.scenes()[0], "Late")
    start = harness.clock.now
    assert harness.drain()
    assert harness.clock.now - start < 20
    assert harness.waiting() == 1


@pytest.mark.parametrize("server", ["stash", "plex"])
def test_drain_ends_with_the_reason_when_a_server_is_down(
    harness: WorkerHarness, server: str
) -> None:
    scenes = harness.edited(3)
    (harness.stash if server == "stash" else harness.plex).stop()
    result = harness.command("drain")
    assert server in result["reason"].lower()
    assert harness.waiting() == 3
    (harness.stash if server == "stash" else harness.plex).start()
    harness.log_in()
    harness.run_for(200)
    assert harness.in_sync(scenes)


def test_drain_ends_with_the_reason_when_a_setting_is_wrong(harness: WorkerHarness) -> None:
    harness.edited(3)
    harness.configure(max_retries=99)
    assert "max_retries" in harness.command("drain")["reason"]
    assert harness.waiting() == 3


# --- sync


def test_sync_of_a_scope_leaves_the_others(harness: WorkerHarness) -> None:
    pairs = old_pairs(harness, 6)
    for scene, _ in pairs[:3]:
        harness.stash.change_silently(scene.id, tags=["x"], updated_at=1e9)
    tag_id = harness.stash.library.tags.id_of("x")
    scene_filter = {"tags": {"value": [str(tag_id)], "modifier": "INCLUDES"}}
    result = harness.command("sync", filter=scene_filter)
    assert result["reason"] is None
    assert in_sync(harness, pairs[:3])
    assert [item.title for _, item in pairs[3:]] == ["s003", "s004", "s005"]


def test_sync_of_recent_scenes_leaves_older_ones(harness: WorkerHarness) -> None:
    pairs = old_pairs(harness, 4)
    moment = harness.clock.now - HOUR
    for scene, _ in pairs[:2]:
        harness.stash.change_silently(scene.id, updated_at=moment + 60)
    harness.command("sync", since=moment, filter=harness.client.updated_filter(moment))
    assert in_sync(harness, pairs[:2])
    assert [item.title for _, item in pairs[2:]] == ["s002", "s003"]


def test_the_result_of_a_sync_counts_each_outcome(harness: WorkerHarness) -> None:
    old_pairs(harness, 3)
    harness.add_scene("nowhere/x", updated_at=1e9)
    harness.stash.add_scene(title="no file", updated_at=1e9)
    for folder in ("one", "two"):
        harness.add_item(f"{folder}/x/b")
    harness.add_scene("x/b", updated_at=1e9)
    result = harness.command("sync")
    worked = {"written": 3, "not_in_plex": 1, "failed": 1, "ambiguous": 1}
    assert result["worked"] == worked
    assert result["not_in_plex"] == {"/data/nowhere": 1}
    assert sum(result["failures"].values()) == 1
    assert (result["reason"], result["waiting"]) == (None, 0)
    assert harness.letters() == [], "nobody's edit"


def sync_until(
    harness: WorkerHarness, lease: Lease | None, writes: int, action: Callable[[], object]
) -> int:
    """Start a sync, do something at that many writes, and run on; return the command's id."""
    command_id = harness.commands.add("sync", {}, lease.name if lease else None)
    count = 0

    def when(request: Request) -> bool:
        nonlocal count
        count += request.method == "PUT"
        if count == writes and request.method == "PUT":
            count += 1
            action()
        return False

    rule = harness.plex.faults.add(Delay(0), when=when)
    harness.run_until(command_id)
    rule.remove()
    return command_id


def test_a_stopped_sync_drops_its_rows_and_keeps_the_edits_in_them(
    harness: WorkerHarness, lease: Lease
) -> None:
    pairs = old_pairs(harness, 150)
    saved = [pairs[n] for n in (140, 145)]

    def stop() -> None:
        assert sum(PASS in job["data"] for job in harness.jobs()) > 100
        for scene, _ in saved:
            harness.edit(scene, f"Saved {scene.id}")
        lease.release()

    command_id = sync_until(harness, lease, 5, stop)
    assert status_of(harness, command_id) == DROPPED
    harness.run_for(60)

    assert [item.title for _, item in saved] == [f"Saved {scene.id}" for scene, _ in saved]
    assert SYNC not in [one["kind"] for one in harness.worker.history.passes().values()]
    written = [item for _, item in pairs if item.title.startswith("Title")]
    assert 5 <= len(written) <= 45, "what was started is finished, no more"
    assert harness.waiting() == 0


def test_a_worker_killed_in_a_sync_is_followed_by_one_that_goes_on(
    harness: WorkerHarness, lease: Lease
) -> None:
    pairs = old_pairs(harness, 60)
    command_id = sync_until(harness, lease, 30, lambda: harness.worker.stop())
    assert status_of(harness, command_id) == STARTED
    writes = len(harness.plex.writes)
    assert 30 <= writes < 60

    harness.restart()._step()
    kinds = [one["kind"] for one in harness.worker.history.passes().values()]
    assert kinds.count(SYNC) == 1, "it goes on with the first worker's pass"
    harness.run_until(command_id)

    assert in_sync(harness, pairs)
    assert len(harness.plex.writes) == 60, "none is written twice"
    result = harness.commands.result(command_id)
    assert result is not None
    assert sum(result["worked"].values()) == 60, "the first worker's are counted, too"


def test_a_task_and_its_worker_killed_together_leave_nothing_behind(
    harness: WorkerHarness, lease: Lease
) -> None:
    pairs = old_pairs(harness, 60)

    def kill() -> None:
        lease.release()
        harness.worker.stop()

    command_id = sync_until(harness, lease, 5, kill)
    harness.restart()
    harness.run_for(60)
    assert status_of(harness, command_id) == DROPPED
    assert harness.waiting() == 0
    assert sum(item.title.startswith("Title") for _, item in pairs) < 60


def test_a_sync_while_plex_is_down_ends_and_goes_on_later_by_itself(
    harness: WorkerHarness, lease: Lease
) -> None:
    pairs = old_pairs(harness, 30)
    command_id = sync_until(harness, lease, 3, harness.plex.stop)
    result = harness.commands.result(command_id)
    assert result is not None
    assert "Plex" in result["reason"]
    lease.release()
    harness.plex.start()
    harness.run_for(HOUR)
    assert in_sync(harness, pairs)


def test_saves_go_first_while_a_sync_runs(harness: WorkerHarness) -> None:
    pairs = old_pairs(harness, 150)
    scene, item = pairs[-1]
    seen = []

    def save() -> None:
        harness.edit(scene, "Saved")
        harness.clock.after(0, lambda: None)

    def when(request: Request) -> bool:
        if item.title == "Saved":
            seen.append(sum(one.title.startswith("Title") for _, one in pairs))
        return False

    harness.plex.faults.add(Delay(0), when=when)
    sync_until(harness, None, 5, save)
    assert seen[0] <= 45


def test_a_command_waits_no_longer_than_a_batch(harness: WorkerHarness) -> None:
    harness.edited(100)
    command_id = harness.commands.add("clear_failed", {})
    assert status_of(harness, command_id) == WAITING
    harness.run_until(command_id)
    assert harness.waiting() == 100
