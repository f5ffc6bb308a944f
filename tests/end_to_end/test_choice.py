"""Ambiguous scenes: the user sees the candidates and chooses an item; the choice is kept."""

from __future__ import annotations

from typing import Any

import pytest

from history.records import Status
from tests.harness.installation import SCALE, ProcessHarness
from tests.harness.processes import stop_workers, wait_until
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene
from tests.tasks import refused_task, run_command, run_task
from worker.bootstrap import open_history_readonly


def ambiguous(
    harness: ProcessHarness, folders: tuple[str, ...] = ("one", "two"), **scene: Any
) -> tuple[Scene, list[PlexItem]]:
    """Add a scene whose file name several Plex items have."""
    items = [harness.add_item(f"{folder}/same", size=7) for folder in folders]
    return harness.stash.add_scene(files=[("/elsewhere/same.mp4", 7)], **scene), items


def ambiguous_scenes(harness: ProcessHarness) -> list[int]:
    """Return the scenes that PlexSync shows as ambiguous."""
    with open_history_readonly(str(harness.data_dir)) as history:
        return [row.scene_id for row in history.with_status(Status.AMBIGUOUS)]


def titles(items: list[PlexItem]) -> list[str]:
    return [item.title for item in items]


def test_an_ambiguous_scene_is_shown_with_the_rating_keys_to_choose_from(
    harness: ProcessHarness,
) -> None:
    scene, items = ambiguous(harness, title="Mine")
    run_task(harness, "Sync all scenes")
    assert harness.plex.writes == []
    done = run_task(harness, "Show failed and ambiguous")
    assert harness.letters() == [], "nobody edited it"
    (shown,) = done.output["failed"]
    assert (shown["scene_id"], shown["status"]) == (scene.id, "ambiguous")
    assert {one["rating_key"] for one in shown["candidates"]} == {item.rating_key for item in items}
    line = next(text for text in done.texts if f"scene {scene.id}" in text)
    assert all(str(item.rating_key) in line and item.path in line for item in items)
    assert f"resync {scene.id} --rating-key" in line


def test_the_chosen_item_is_written_now_and_by_every_later_edit(harness: ProcessHarness) -> None:
    scene, (other, chosen) = ambiguous(harness, title="Mine")
    run_task(harness, "Sync all scenes")
    done = run_task(harness, "Re-sync scene", scene_id=scene.id, rating_key=chosen.rating_key)
    assert done.summary == f"Scene {scene.id} is in sync"
    assert (chosen.title, other.title) == ("Mine", "same")
    assert ambiguous_scenes(harness) == [], "it is no longer shown as failed"
    for title in ("Second", "Third"):
        harness.save(scene, title=title)
        harness.wait_for_title(chosen, title)
    harness.wait_for_empty_queue()
    run_task(harness, "Re-sync scene", scene_id=scene.id)
    assert (chosen.title, other.title) == ("Third", "same")
    assert ambiguous_scenes(harness) == []


def test_a_choice_can_be_changed(harness: ProcessHarness) -> None:
    scene, (first, second) = ambiguous(harness, title="Mine")
    run_task(harness, "Re-sync scene", scene_id=scene.id, rating_key=first.rating_key)
    run_task(harness, "Re-sync scene", scene_id=scene.id, rating_key=second.rating_key)
    assert second.title == "Mine"
    assert len(harness.plex.writes) == 2


def test_the_same_choice_can_be_made_twice(harness: ProcessHarness) -> None:
    scene, (first, _) = ambiguous(harness, title="Mine")
    for _ in range(2):
        done = run_task(harness, "Re-sync scene", scene_id=scene.id, rating_key=first.rating_key)
        assert done.summary == f"Scene {scene.id} is in sync"


def test_an_item_that_is_not_a_candidate_is_refused_with_the_list_of_candidates(
    harness: ProcessHarness,
) -> None:
    scene, items = ambiguous(harness, title="Mine")
    _, stranger = harness.pair("stranger")
    for key in (stranger.rating_key, 999_999):
        error = refused_task(harness, "Re-sync scene", scene_id=scene.id, rating_key=key)
        assert str(key) in error
        assert all(str(item.rating_key) in error and item.path in error for item in items), error
    assert harness.plex.writes == []


def test_a_choice_for_an_unambiguous_scene_must_be_its_item(harness: ProcessHarness) -> None:
    scene, item = harness.pair(title="Mine")
    _, stranger = harness.pair("stranger")
    error = refused_task(
        harness, "Re-sync scene", scene_id=scene.id, rating_key=stranger.rating_key
    )
    assert str(item.rating_key) in error or "certain" in error
    assert stranger.title == "stranger"
    assert (
        run_task(harness, "Re-sync scene", scene_id=scene.id, rating_key=item.rating_key).level
        == "info"
    )
    assert item.title == "Mine"


@pytest.mark.parametrize("key", ["x", "0"])
def test_a_rating_key_that_is_not_a_number_is_refused(harness: ProcessHarness, key: str) -> None:
    scene, _ = ambiguous(harness)
    assert "rating_key" in refused_task(harness, "Re-sync scene", scene_id=scene.id, rating_key=key)


@pytest.mark.parametrize("how", ["gone", "another file"])
def test_a_choice_whose_item_or_file_is_gone_is_reported_until_the_user_chooses_again(
    harness: ProcessHarness, how: str
) -> None:
    scene, (first, second, third) = ambiguous(harness, ("one", "two", "three"), title="Mine")
    run_task(harness, "Re-sync scene", scene_id=scene.id, rating_key=first.rating_key)
    if how == "gone":
        harness.plex.remove_item(first.rating_key)
    else:
        harness.plex.move_file(first.rating_key, "/media/one/renamed.mp4")
    harness.stash.change_silently(scene.id, title="Later")
    done = run_task(harness, "Re-sync scene", scene_id=scene.id)
    said = [
        text for level, text in done.log if level == "warning" and str(first.rating_key) in text
    ]
    assert said, done.log
    assert "chosen" in said[0]
    assert titles([second, third]) == ["same", "same"]
    assert ambiguous_scenes(harness) == [scene.id], "it is ambiguous again"
    run_task(harness, "Re-sync scene", scene_id=scene.id, rating_key=third.rating_key)
    assert titles([second, third]) == ["same", "Later"]
    assert ambiguous_scenes(harness) == []


def test_a_rejected_item_is_never_written_when_the_chosen_one_is_gone(
    harness: ProcessHarness,
) -> None:
    scene, (chosen, rejected) = ambiguous(harness, title="Mine")
    run_task(harness, "Re-sync scene", scene_id=scene.id, rating_key=chosen.rating_key)
    old_path = chosen.path
    harness.plex.move_file(chosen.rating_key, "/media/one/renamed.mp4")
    for title in ("Second", "Third"):
        harness.stash.change_silently(scene.id, title=title)
        run_task(harness, "Re-sync scene", scene_id=scene.id)
        run_task(harness, "Sync all scenes", force="true")
        assert titles([rejected]) == ["same"]
        assert ambiguous_scenes(harness) == [scene.id]
    harness.plex.move_file(chosen.rating_key, old_path)
    run_task(harness, "Re-sync scene", scene_id=scene.id)
    assert titles([chosen, rejected]) == ["Third", "same"]


def test_both_items_can_be_chosen_and_get_every_later_edit(harness: ProcessHarness) -> None:
    """The same file is in two libraries."""
    scene, items = ambiguous(harness, title="Mine")
    run_task(harness, "Sync all scenes")
    done = run_task(harness, "Re-sync scene", scene_id=scene.id, rating_key="both")
    assert done.summary == f"Scene {scene.id} is in sync", done.log
    assert titles(items) == ["Mine", "Mine"]
    assert ambiguous_scenes(harness) == []
    harness.save(scene, title="Later")
    for item in items:
        harness.wait_for_title(item, "Later")
    assert run_task(harness, "Sync all scenes").output["in_sync"] == 1


def test_several_items_can_be_chosen_by_their_numbers(harness: ProcessHarness) -> None:
    scene, (first, second, third) = ambiguous(harness, ("one", "two", "three"), title="Mine")
    keys = f"{first.rating_key}, {third.rating_key}"
    done = run_task(harness, "Re-sync scene", scene_id=scene.id, rating_key=keys)
    assert done.summary == f"Scene {scene.id} is in sync", done.log
    assert titles([first, second, third]) == ["Mine", "same", "Mine"]


def test_a_choice_does_not_carry_over_to_an_item_that_replaced_the_chosen_one(
    harness: ProcessHarness,
) -> None:
    scene, (first, second) = ambiguous(harness, title="Mine")
    run_task(harness, "Re-sync scene", scene_id=scene.id, rating_key=first.rating_key)
    new = harness.plex.replace_item(first.path)
    harness.stash.change_silently(scene.id, title="Later")
    run_task(harness, "Re-sync scene", scene_id=scene.id)
    assert titles([new, second]) == ["same", "same"]
    assert ambiguous_scenes(harness) == [scene.id]


def test_one_of_two_scenes_can_be_chosen_for_the_same_item(
    harness: ProcessHarness,
) -> None:
    """Two scenes match one item equally well until the user chooses."""
    item = harness.add_item("one/same", size=7)
    mine, other = (
        harness.stash.add_scene(title=title, files=[(f"/elsewhere/{title}/same.mp4", 7)])
        for title in ("Mine", "Other")
    )
    run_task(harness, "Sync all scenes")
    assert item.title == "same"
    assert sorted(ambiguous_scenes(harness)) == [mine.id, other.id]
    run_task(harness, "Re-sync scene", scene_id=mine.id, rating_key=item.rating_key)
    assert item.title == "Mine"
    run_task(harness, "Re-sync scene", scene_id=other.id)
    assert item.title == "Mine"


def test_a_choice_applies_to_the_preview_and_to_a_running_worker(
    harness: ProcessHarness,
) -> None:
    scene, (first, second) = ambiguous(harness, title="Mine")
    harness.save(scene, title="Saved")
    wait_until(lambda: ambiguous_scenes(harness) == [scene.id])
    assert len(harness.workers()) == 1
    resync = ("resync", str(scene.id), "--rating-key", str(second.rating_key))
    shown = run_command(harness.data_dir, *resync, env={"PLEXSYNC_TIME_SCALE": SCALE})
    assert (shown.exit_code, shown.stdout.strip()) == (0, f"Scene {scene.id} is in sync"), shown
    assert titles([first, second]) == ["same", "Saved"]
    stop_workers(harness.data_dir)  # it would sync the change, and the preview would be empty
    harness.stash.change_silently(scene.id, title="Later")
    done = run_task(harness, "Preview", scene_id=scene.id)
    assert (done.output["changed"], done.output["ambiguous"]) == (1, 0)


def test_a_choice_is_removed_with_its_scene(harness: ProcessHarness) -> None:
    scene, (first, _) = ambiguous(harness, title="Mine")
    run_task(harness, "Re-sync scene", scene_id=scene.id, rating_key=first.rating_key)
    harness.stash.destroy_scene(scene.id)
    wait_until(lambda: "gone from Stash" in harness.worker_log())
    harness.wait_for_empty_queue()
    assert first.title == "Mine"
    assert "no scene" in refused_task(harness, "Re-sync scene", scene_id=scene.id)
