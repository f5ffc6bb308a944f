"""A person's edits in Plex between a write and its read-back stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.harness.in_process import WorkerHarness
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene

HOUR = 3600.0
THEIRS = "A person's own"


def meanwhile(harness: WorkerHarness, item: PlexItem, act: Callable[[], Any]) -> None:
    """Do something a second after the next write to an item: before it is read back."""
    is_done: list[bool] = []

    def after(edited: PlexItem, _names: object) -> None:
        if edited is item and not is_done:
            is_done.append(True)
            harness.clock.after(1.0, act)

    harness.plex.settings.after_edit = after


def save(harness: WorkerHarness, scene: Scene, **fields: Any) -> None:
    harness.edit(scene, **fields)
    harness.run_for(120)


def with_their_summary(harness: WorkerHarness) -> tuple[Scene, PlexItem]:
    """Sync a scene, and have a person replace the summary before it is read back."""
    scene, item = harness.pair(details="First")
    meanwhile(harness, item, lambda: harness.plex.person_sets(item.rating_key, "summary", THEIRS))
    save(harness, scene)
    return scene, item


@pytest.mark.parametrize("preserve", [False, True])
def test_a_text_is_not_emptied(harness: WorkerHarness, preserve: bool) -> None:
    harness.configure(preserve_plex_edits=preserve)
    scene, item = with_their_summary(harness)
    save(harness, scene, details="")
    assert item.summary == THEIRS


@pytest.mark.parametrize(("preserve", "last"), [(False, "Second"), (True, THEIRS)])
def test_a_text_is_replaced_by_the_next_edit_only(
    harness: WorkerHarness, preserve: bool, last: str
) -> None:
    harness.configure(preserve_plex_edits=preserve)
    scene, item = with_their_summary(harness)
    save(harness, scene, title="Other")
    assert item.summary == THEIRS
    save(harness, scene, details="Second")
    assert item.summary == last


def test_stars_beside_ours_are_not_taken_for_plexs_rounding(harness: WorkerHarness) -> None:
    harness.configure(sync_rating=True)
    scene, item = harness.pair(rating100=80)
    key = item.rating_key
    meanwhile(harness, item, lambda: harness.plex.person_sets(key, "userRating", "9.0"))
    save(harness, scene)
    save(harness, scene, rating100=None)
    assert item.user_rating == 9.0


def test_a_title_stays_when_stash_drops_its_own(harness: WorkerHarness) -> None:
    scene, item = harness.pair()
    meanwhile(harness, item, lambda: harness.plex.person_sets(item.rating_key, "title", THEIRS))
    save(harness, scene)
    save(harness, scene, title="")
    assert item.title == THEIRS


def test_an_undo_leaves_it(harness: WorkerHarness) -> None:
    scene, item = harness.pair(details="First")
    item.values["summary"] = "Agent"
    meanwhile(harness, item, lambda: harness.plex.person_sets(item.rating_key, "summary", THEIRS))
    save(harness, scene)
    harness.command("undo", scene_id=scene.id)
    harness.run_for(60)
    assert item.summary == THEIRS


def test_hours_of_a_worker_that_was_gone_make_no_difference(harness: WorkerHarness) -> None:
    scene, item = harness.pair(details="First", tags=["A", "B"])
    harness.edit(scene)
    harness.run_for(1.0)
    assert item.summary == "First"
    harness.clock.advance(3 * HOUR)
    harness.plex.person_sets(item.rating_key, "summary", THEIRS)
    harness.plex.person_removes(item.rating_key, "genre", "B")
    harness.plex.person_adds(item.rating_key, "genre", "Mine")
    harness.restart()
    harness.run_for(120)
    save(harness, scene, details="", tags=["A", "C"])
    assert item.summary == THEIRS
    assert sorted(item.genres) == ["A", "C", "Mine"]


def test_a_tag_in_place_of_one_of_ours_stays(harness: WorkerHarness) -> None:
    scene, item = harness.pair(tags=["A", "B"])

    def swap() -> None:
        harness.plex.person_removes(item.rating_key, "genre", "B")
        harness.plex.person_adds(item.rating_key, "genre", "Mine")

    meanwhile(harness, item, swap)
    save(harness, scene)
    assert sorted(item.genres) == ["A", "Mine"]
    save(harness, scene, tags=["A", "C"])
    assert sorted(item.genres) == ["A", "C", "Mine"]


def test_a_tag_beside_a_list_of_several_requests_stays(harness: WorkerHarness) -> None:
    tags = [f"Some English tag {number:04}" for number in range(1200)]
    scene, item = harness.pair(tags=tags)
    meanwhile(harness, item, lambda: harness.plex.person_adds(item.rating_key, "genre", "Mine"))
    save(harness, scene)
    assert "Mine" in item.genres
    save(harness, scene, tags=tags[:10])
    assert sorted(item.genres) == ["Mine", *tags[:10]]


def test_what_a_refresh_writes_without_locks_is_repaired(harness: WorkerHarness) -> None:
    harness.configure(lock_fields=False)
    scene, item = harness.pair(details="First")
    seen: list[str] = []

    def refresh() -> None:
        seen.append(item.summary)
        item.values["summary"] = "Agent"

    def after(_item: PlexItem, _names: object) -> None:
        if len(seen) < 2:
            harness.clock.after(1.0, refresh)

    harness.plex.settings.after_edit = after
    save(harness, scene)
    assert seen == ["First", "First"]
    assert item.summary == "First"


def test_what_a_refresh_does_to_other_fields_is_repaired(harness: WorkerHarness) -> None:
    harness.configure(lock_fields=False)
    scene, item = harness.pair(details="First")
    save(harness, scene, title="Ours")

    def refresh() -> None:
        item.values["title"] = "Agent"

    meanwhile(harness, item, refresh)
    save(harness, scene, details="Second")
    assert (item.title, item.summary) == ("Ours", "Second")


def test_a_persons_edit_of_another_field_makes_no_request(harness: WorkerHarness) -> None:
    scene, item = harness.pair(details="First")
    save(harness, scene)
    meanwhile(harness, item, lambda: harness.plex.person_sets(item.rating_key, "studio", "Mine"))
    writes = len(harness.plex.writes)
    save(harness, scene, details="Second")
    assert len(harness.plex.writes) == writes + 1
    assert item.values["studio"] == "Mine"
