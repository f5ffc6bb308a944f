"""Another Plex, or the same one with a rebuilt database: nothing known of one item serves another.

The rating keys mean other files then, whether the server keeps its identifier or not.
"""

from __future__ import annotations

import pytest

from tests.harness.in_process import WorkerHarness
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene

pytestmark = pytest.mark.parametrize("identifier", [None, "e" * 40], ids=["rebuilt", "another"])

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
#: Fake seconds in which an edit arrives.
SOON = 120.0


def choose(harness: WorkerHarness, scene: Scene, item: PlexItem) -> None:
    chosen = {
        "rating_key": item.rating_key,
        "server": harness.plex.machine_identifier,
        "path": item.path,
    }
    harness.command("choose", scene_id=scene.id, items=[chosen])
    harness.edit(scene, "First")
    harness.run_for(SOON)


def test_a_choice_is_not_applied_to_a_stranger(
    harness: WorkerHarness, identifier: str | None
) -> None:
    chosen, other = harness.add_item("x/clip"), harness.add_item("y/clip")
    stranger = harness.add_item("stranger")
    scene = harness.add_scene("z/clip")
    choose(harness, scene, chosen)
    assert chosen.title == "First"
    taken = {chosen.rating_key, other.rating_key, stranger.rating_key}

    harness.plex.rebuild(machine_identifier=identifier)
    assert {item.rating_key for item in harness.plex.items(harness.library)} == taken
    harness.restart()
    harness.edit(scene, "Second")
    harness.run_for(SOON)

    titles = {item.path: item.title for item in harness.plex.items(harness.library)}
    assert titles["/media/stranger.mp4"] == "stranger"
    if identifier is not None:  # nobody chose anything there
        assert "Second" not in titles.values()


def test_covers_go_up_again(harness: WorkerHarness, identifier: str | None) -> None:
    harness.configure(sync_poster=True)
    pairs = [harness.pair(name) for name in "ab"]
    for scene, _ in pairs:
        harness.stash.set_cover(scene.id, PNG)
        harness.edit(scene, f"First {scene.id}")
    harness.run_for(SOON)
    before = len(harness.plex.uploads)
    assert before == 2

    harness.plex.rebuild(machine_identifier=identifier)
    harness.restart()
    for scene, _ in pairs:
        harness.edit(scene, f"Second {scene.id}")
    harness.run_for(SOON)

    assert len(harness.plex.uploads) == before + 2


def synced_before_and_after_a_rebuild(
    harness: WorkerHarness, pairs: list[tuple[Scene, PlexItem]], identifier: str | None
) -> None:
    """Sync edits, rebuild Plex's database, and sync other edits with a new worker."""
    for scene, _ in pairs:
        harness.edit(scene, f"First {scene.id}")
    harness.run_for(SOON)

    harness.plex.rebuild(machine_identifier=identifier)
    harness.restart()
    for scene, _ in pairs:
        harness.edit(scene, f"Second {scene.id}")
    harness.run_for(SOON)


def test_under_preserve_lists_are_filled_again(
    harness: WorkerHarness, identifier: str | None
) -> None:
    harness.configure(preserve_plex_edits=True)
    pairs = [harness.pair(name, tags=["T"], performers=["P"]) for name in "ab"]
    synced_before_and_after_a_rebuild(harness, pairs, identifier)
    for scene, _ in pairs:
        item = harness.item_of(scene)
        assert (item.genres, item.actors) == (["T"], ["P"])


def test_files_are_found_within_minutes(harness: WorkerHarness, identifier: str | None) -> None:
    pairs = [harness.pair(name) for name in "abc"]
    synced_before_and_after_a_rebuild(harness, pairs, identifier)
    assert [harness.title(scene) for scene, _ in pairs] == [f"Second {one.id}" for one, _ in pairs]
    assert harness.letters() == []
