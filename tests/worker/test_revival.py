"""Items that return under another rating key; dead letters that are requeued, once."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from history.records import Status
from queue.models import create_bulk_job
from tests.harness.clock import HOUR
from tests.harness.in_process import WorkerHarness
from tests.simulators.httpd import Answer
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
PATIENCE = 2 * HOUR


@pytest.fixture(autouse=True)
def _one_clock(harness: WorkerHarness) -> None:
    """Have a worker that compares, with the harness clock for the age of the index too."""
    harness.take_long_steps()
    harness.new_worker(compares=True)


def edit(harness: WorkerHarness, scene: Scene, title: str, **fields: Any) -> None:
    harness.edit(scene, title, **{"updated_at": harness.clock.now - 100, **fields})


def synced(harness: WorkerHarness, **fields: Any) -> tuple[Scene, PlexItem]:
    scene, item = harness.pair("a", **fields)
    edit(harness, scene, "First")
    harness.run_for(5)
    assert item.title == "First"
    return scene, item


def dead_scene(harness: WorkerHarness, name: str = "late") -> Scene:
    """Return a scene that became a dead letter because its file is not in Plex."""
    scene = harness.add_scene(name)
    edit(harness, scene, f"New {name}")
    harness.run_for(PATIENCE)
    assert scene.id in {letter["scene_id"] for letter in harness.letters()}
    return scene


def done(harness: WorkerHarness) -> int:
    counts = harness.queue.counts()
    return counts["completed"] + counts["failed"]


# --- an item under another key


@pytest.mark.parametrize("minutes", [0, 2, 600])
def test_an_item_deleted_and_added_again_gets_its_fields_at_the_next_edit(
    harness: WorkerHarness, minutes: int
) -> None:
    full: dict[str, Any] = {
        "details": "About",
        "tags": ["T"],
        "performers": ["P"],
        "studio": "S",
        "date": "2020-01-02",
    }
    scene, old = synced(harness, **full)
    harness.clock.advance(minutes * 60)
    new = harness.plex.replace_item("/media/a.mp4")
    assert new.rating_key != old.rating_key
    assert new.title == "a"

    edit(harness, scene, "Second")
    harness.run_for(120)

    assert (new.title, new.summary, new.studio, new.year) == ("Second", "About", "S", 2020)
    assert (new.genres, new.actors) == (["T"], ["P"])


def test_the_new_item_inherits_what_is_ours(harness: WorkerHarness) -> None:
    """The same file came back: what PlexSync wrote to it goes, what the user added there stays."""
    scene, _ = synced(harness, details="About", tags=["Shared", "Kept"])
    new = harness.plex.replace_item("/media/a.mp4")
    new.values["summary"] = "About"
    new.tags["genre"] = ["Shared", "Mine"]

    edit(harness, scene, "Second", details="", tags=[])
    harness.run_for(120)

    assert (new.title, new.summary, new.genres) == ("Second", "", ["Mine"])


def test_a_text_of_the_new_item_that_is_not_ours_is_never_emptied(harness: WorkerHarness) -> None:
    scene, _ = synced(harness, details="About")
    new = harness.plex.replace_item("/media/a.mp4")
    new.values["summary"] = "Of another agent"

    edit(harness, scene, "Second", details="")
    harness.run_for(120)

    assert (new.title, new.summary) == ("Second", "Of another agent")


@pytest.mark.parametrize(("there", "stays"), [("First", False), ("Mine", True), ("", False)])
def test_under_preserve_only_what_is_not_ours_is_kept_in_the_new_item(
    harness: WorkerHarness, there: str, stays: bool
) -> None:
    harness.configure(preserve_plex_edits=True)
    scene, old = harness.pair("a", details="About")
    old.values["title"] = ""
    edit(harness, scene, "First")
    harness.run_for(5)
    assert old.title == "First"
    new = harness.plex.replace_item("/media/a.mp4")
    new.values["title"] = there

    edit(harness, scene, "Second")
    harness.run_for(120)

    assert new.title == ("Mine" if stays else "Second")
    assert new.summary == "About"


@pytest.mark.parametrize(("there", "stars"), [(None, "8.0"), (6.0, "6.0")])
def test_stars_come_back_unless_the_new_item_has_some(
    harness: WorkerHarness, there: float | None, stars: str
) -> None:
    harness.configure(sync_rating=True)
    scene, old = synced(harness, rating100=80)
    assert old.values["userRating"] == "8.0"
    new = harness.plex.replace_item("/media/a.mp4")
    if there is not None:
        harness.plex.person_sets(new.rating_key, "userRating", there)

    edit(harness, scene, "Second")
    harness.run_for(120)

    assert (new.title, new.values["userRating"]) == ("Second", stars)


def test_the_poster_is_uploaded_to_the_new_item(harness: WorkerHarness) -> None:
    harness.configure(sync_poster=True)
    scene, _ = synced(harness, cover=PNG)
    assert len(harness.plex.uploads) == 1
    new = harness.plex.replace_item("/media/a.mp4")

    edit(harness, scene, "Second")
    harness.run_for(120)

    assert [upload.rating_key for upload in harness.plex.uploads[1:]] == [new.rating_key]


def test_an_item_that_is_missing_for_a_while_is_retried(harness: WorkerHarness) -> None:
    scene, old = synced(harness)
    harness.plex.remove_item(old.rating_key)
    edit(harness, scene, "Second")
    harness.run_for(10)
    assert harness.waiting() == 1
    new = harness.add_item("a")

    harness.run_for(600)

    assert new.title == "Second"
    assert harness.letters() == []


def test_a_rating_key_that_belongs_to_another_file_now_is_not_written(
    harness: WorkerHarness,
) -> None:
    """The item has another file now, so its rating key proves nothing."""
    scene, item = synced(harness)
    harness.plex.move_file(item.rating_key, "/media/quite another.mp4")
    writes = len(harness.plex.writes)

    edit(harness, scene, "Second")
    harness.run_for(20)

    assert len(harness.plex.writes) == writes
    assert item.title == "First"


def test_a_file_moved_on_both_sides_keeps_its_item_and_its_write_history(
    harness: WorkerHarness,
) -> None:
    scene, item = synced(harness, tags=["Ours"])
    item.tags["genre"] = ["Ours", "Mine"]
    harness.plex.move_file(item.rating_key, "/media/moved/a.mp4")
    harness.stash.move_file(scene.id, "/data/moved/a.mp4")

    edit(harness, scene, "Second", tags=[])
    harness.run_for(120)

    assert item.title == "Second"
    assert item.genres == ["Mine"]


def test_a_rebuilt_plex_that_gives_away_rating_keys_keeps_what_is_known_of_each_file(
    harness: WorkerHarness,
) -> None:
    pairs = [harness.pair(name, tags=["Ours"]) for name in "abc"]
    for scene, _ in pairs:
        edit(harness, scene, f"First {scene.id}")
    harness.run_for(5)
    before = {scene.id: harness.item_of(scene).rating_key for scene, _ in pairs}
    harness.plex.rebuild()
    assert {harness.item_of(scene).rating_key for scene, _ in pairs} == {*before.values()}
    assert all(harness.item_of(scene).rating_key != before[scene.id] for scene, _ in pairs)
    for scene, _ in pairs:
        harness.item_of(scene).tags["genre"] = ["Ours", "Mine"]

    for scene, _ in pairs:
        edit(harness, scene, f"Second {scene.id}", tags=[])
    harness.run_for(120)

    assert [harness.title(scene) for scene, _ in pairs] == [f"Second {one.id}" for one, _ in pairs]
    assert [harness.item_of(scene).genres for scene, _ in pairs] == [["Mine"]] * 3
    rows = [harness.worker.history.of_scene(scene.id) for scene, _ in pairs]
    assert [[row.rating_key for row in found] for found in rows] == [
        [harness.item_of(scene).rating_key] for scene, _ in pairs
    ]


# --- dead letters


def test_a_dead_letter_is_requeued_when_its_file_appears(harness: WorkerHarness) -> None:
    scene = dead_scene(harness)
    item = harness.add_item("late")

    harness.run_for(700)

    assert item.title == "New late"
    assert harness.letters() == []
    assert harness.synced_at(scene) is not None


def test_a_dead_letter_is_requeued_once(harness: WorkerHarness) -> None:
    dead_scene(harness)
    harness.add_item("late")
    before = done(harness)

    harness.run_for(3 * HOUR)

    assert done(harness) == before + 1
    assert len(harness.plex.writes) == 1


def test_without_its_file_a_dead_letter_is_not_requeued(harness: WorkerHarness) -> None:
    dead_scene(harness)
    before = done(harness)
    (letter,) = harness.letters()
    harness.add_item("some other")

    for _ in range(5):
        harness.run_for(HOUR)

    assert done(harness) == before
    assert [one["id"] for one in harness.letters()] == [letter["id"]]


def test_a_file_of_the_same_name_and_another_size_is_tried_in_vain_once(
    harness: WorkerHarness,
) -> None:
    dead_scene(harness)
    before = done(harness)
    item = harness.add_item("elsewhere/late", size=77)

    for _ in range(3):
        harness.run_for(PATIENCE)

    assert done(harness) == before + 1
    assert len(harness.letters()) == 1
    assert item.title == "late"


def test_a_scene_whose_match_was_rejected_is_requeued_when_its_own_file_appears(
    harness: WorkerHarness,
) -> None:
    harness.add_item("right/late")
    harness.add_scene("right/late", title="owner")
    dead_scene(harness)
    mine = harness.add_item("late")

    harness.run_for(700)

    assert mine.title == "New late"
    assert harness.letters() == []


def test_a_scene_whose_match_was_rejected_is_not_requeued_again_and_again(
    harness: WorkerHarness,
) -> None:
    harness.add_item("right/late")
    harness.add_scene("right/late", title="owner")
    dead_scene(harness)
    before = done(harness)
    (letter,) = harness.letters()

    for _ in range(4):
        harness.run_for(PATIENCE)

    assert done(harness) == before
    assert [one["id"] for one in harness.letters()] == [letter["id"]]
    assert harness.plex.writes == []


def test_a_scene_that_becomes_ambiguous_is_reported_once(
    harness: WorkerHarness,
) -> None:
    dead_scene(harness)
    for folder in ("one", "two"):
        harness.add_item(f"{folder}/late")

    harness.run_for(4 * HOUR)

    (letter,) = harness.letters()
    assert letter["error_type"] == "AmbiguousMatch"
    assert len(harness.notices()) == 1
    assert harness.plex.writes == []


def test_the_dead_letter_of_a_destroyed_scene_is_deleted_when_the_file_appears(
    harness: WorkerHarness,
) -> None:
    scene = dead_scene(harness)
    harness.stash.library.remove_scene(scene.id)
    harness.add_item("late")

    harness.run_for(700)

    assert harness.letters() == []
    assert harness.plex.writes == []


def test_a_file_renamed_in_stash_is_searched_by_its_new_name_at_the_next_edit(
    harness: WorkerHarness,
) -> None:
    scene = dead_scene(harness)
    item = harness.add_item("renamed")
    harness.stash.move_file(scene.id, "/data/renamed.mp4")
    edit(harness, scene, "By its new name")

    harness.run_for(60)

    assert item.title == "By its new name"
    assert harness.letters() == []


def test_a_corrected_mapping_requeues_its_dead_letters(
    harness: WorkerHarness,
) -> None:
    harness.configure(path_mappings="/data => /wrong")
    scene = dead_scene(harness, "same")
    harness.add_item("same", size=55)
    harness.run_for(700)
    assert harness.synced_at(scene) is None

    harness.configure()
    harness.clock.advance(HOUR)
    other, _ = harness.pair("other")
    edit(harness, other, "So that the settings are read")
    harness.run_for(1300)

    assert harness.title(scene) == "New same"
    assert harness.letters() == []


def test_after_a_restart_the_dead_letters_are_checked_at_once(harness: WorkerHarness) -> None:
    scene = dead_scene(harness)
    harness.add_item("late")
    harness.restart()

    harness.run_for(5)

    assert harness.title(scene) == "New late"


def test_a_busy_worker_still_requeues_dead_letters(harness: WorkerHarness) -> None:
    scene = dead_scene(harness)
    harness.add_item("late")
    for number in range(30):
        other, _ = harness.pair(f"busy{number}")
        harness.clock.after(number * 40, partial(edit, harness, other, "Busy"))

    harness.run_for(1_250)

    assert harness.title(scene) == "New late"


def test_a_bulk_job_whose_item_was_gone_at_the_write_is_synced_when_the_item_is_there(
    harness: WorkerHarness,
) -> None:
    scene, item = harness.pair("a", updated_at=harness.clock.now - 100)
    harness.queue.put(create_bulk_job(scene.id, now=harness.clock.now))
    gone = harness.plex.faults.add(Answer(404), method="PUT")
    harness.run_for(60)
    gone.remove()
    assert harness.letters() == [], "nobody's edit"
    assert [row.status for row in harness.worker.history.of_scene(scene.id)] == [Status.NOT_IN_PLEX]
    harness.run_for(PATIENCE)
    assert item.title == scene.title
