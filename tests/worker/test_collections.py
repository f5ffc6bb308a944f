"""Collections: ours follow renames in Stash, and those of a person never end through us."""

from __future__ import annotations

import pytest

from tests.harness.in_process import WorkerHarness
from tests.simulators.httpd import Answer
from tests.simulators.plex import PlexCollection, PlexItem
from tests.simulators.stash import Scene

SOON, LATER = 30.0, 90.0


def synced(
    harness: WorkerHarness, count: int = 2, **fields: object
) -> list[tuple[Scene, PlexItem]]:
    pairs = [harness.pair(f"s{number}", **fields) for number in range(count)]
    for scene, _ in pairs:
        harness.edit(scene, f"New {scene.id}")
    harness.run_for(SOON)
    return pairs


def find(harness: WorkerHarness, name: str) -> PlexCollection | None:
    return harness.plex.collection(harness.library, name)


def existing(harness: WorkerHarness, name: str) -> PlexCollection:
    found = find(harness, name)
    assert found is not None
    return found


def rename_studio(harness: WorkerHarness, old: str, new: str) -> None:
    """Rename in Stash, and queue its scenes as the pass over them does."""
    harness.stash.rename_silently("studio", old, new)
    for scene in harness.stash.library.scenes():
        harness.edit(scene)
    harness.clock.advance(LATER)
    harness.run_for(SOON)


@pytest.mark.parametrize("mode", ["replace", "add"])
def test_a_renamed_studios_collection_keeps_key_and_poster(
    harness: WorkerHarness, mode: str
) -> None:
    harness.plex.settings.indexed_tags = mode  # type: ignore[assignment]
    pairs = synced(harness, studio="Old", groups=["Series"])
    before = existing(harness, "Old")
    harness.plex.edit_collection(before, poster=b"\xff\xd8\xff a poster", summary="Mine")
    writes = len(harness.plex.collection_writes)
    rename_studio(harness, "Old", "New")
    after = existing(harness, "New")
    assert after.rating_key == before.rating_key
    assert (after.summary, after.poster) == ("Mine", before.poster)
    assert find(harness, "Old") is None
    assert all(sorted(item.collections) == ["New", "Series"] for _, item in pairs)
    assert all(item.values["studio"] == "New" for _, item in pairs)
    assert len(harness.plex.collection_writes) == writes + 1

    for scene, _ in pairs:  # the name is still known as ours
        harness.edit(scene, studio=None)
    harness.run_for(SOON)
    assert pairs[0][1].collections == ["Series"]


def test_a_collection_that_was_there_before_is_not_renamed(harness: WorkerHarness) -> None:
    theirs = harness.add_item("theirs", collections=["Old"])
    pairs = synced(harness, studio="Old")
    rename_studio(harness, "Old", "New")
    assert theirs.collections == ["Old"]
    assert [item.collections for _, item in pairs] == [["New"], ["New"]]


def test_a_collection_is_not_renamed_to_one_that_exists(harness: WorkerHarness) -> None:
    pairs = synced(harness, studio="Old")
    harness.add_item("theirs", collections=["New"])
    rename_studio(harness, "Old", "New")
    assert [item.collections for _, item in pairs] == [["New"], ["New"]]
    assert find(harness, "Old") is None, "it was ours, and nobody had changed it"


def test_a_collection_that_a_group_and_a_studio_share_is_not_renamed(
    harness: WorkerHarness,
) -> None:
    (_, one), (_, other) = synced(harness, studio="Both", groups=["Both"])
    rename_studio(harness, "Both", "New")
    assert sorted(one.collections) == sorted(other.collections) == ["Both", "New"]


def test_where_plex_refuses_the_name_the_items_move(harness: WorkerHarness) -> None:
    pairs = synced(harness, studio="Old")
    harness.plex.faults.add(
        Answer(409), when=lambda one: one.method == "PUT" and one.first("type") == "18"
    )
    rename_studio(harness, "Old", "New")
    assert [item.collections for _, item in pairs] == [["New"], ["New"]]


def test_after_a_kill_in_the_middle_of_a_rename_it_is_finished(harness: WorkerHarness) -> None:
    pairs = synced(harness, studio="Old")
    history, rename = harness.worker.history, type(harness.worker.history).rename_collection

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    history.rename_collection = kill  # type: ignore[method-assign, assignment]
    with pytest.raises(Killed):
        rename_studio(harness, "Old", "New")
    history.rename_collection = rename.__get__(history)  # type: ignore[method-assign]
    harness.queue.requeue_in_progress()
    harness.clock.advance(LATER)
    harness.run_for(SOON)
    assert [item.collections for _, item in pairs] == [["New"], ["New"]]
    for scene, _ in pairs:
        harness.edit(scene, studio=None)
    harness.run_for(SOON)
    assert [item.collections for _, item in pairs] == [[], []]


# --- the last item


def test_our_collection_ends_with_its_last_item(harness: WorkerHarness) -> None:
    pairs = synced(harness, groups=["Series"])
    leave(harness, pairs)
    assert find(harness, "Series") is None


def test_our_collection_ends_though_the_first_attempts_fail(harness: WorkerHarness) -> None:
    pairs = synced(harness, groups=["Series"])
    harness.plex.faults.add(Answer(503), method="PUT", times=3)
    leave(harness, pairs)
    harness.run_for(LATER)
    assert [item.collections for _, item in pairs] == [[], []]


@pytest.mark.parametrize(
    "change", [{"summary": "Mine"}, {"title_sort": "0 first"}, {"poster": b"\xff\xd8\xff mine"}]
)
def test_a_collection_that_a_person_changed_keeps_its_last_item(
    harness: WorkerHarness, change: dict[str, str | bytes]
) -> None:
    pairs = synced(harness, groups=["Series"])
    harness.plex.edit_collection(existing(harness, "Series"), **change)  # type: ignore[arg-type]
    leave(harness, pairs)
    assert sorted(item.collections for _, item in pairs) == [[], ["Series"]]
    writes = len(harness.plex.writes)
    leave(harness, pairs)
    later = [name for write in harness.plex.writes[writes:] for name in write.parameters]
    assert "summary.value" in later
    assert not [name for name in later if "collection" in name], "it is a person's from now on"


def test_a_collection_that_was_there_before_keeps_its_last_item(harness: WorkerHarness) -> None:
    theirs = harness.add_item("theirs", collections=["Series"])
    pairs = synced(harness, groups=["Series"])
    harness.plex.remove_item(theirs.rating_key)
    leave(harness, pairs)
    assert sorted(item.collections for _, item in pairs) == [[], ["Series"]]


def test_a_collection_of_that_name_made_anew_by_a_person_keeps_its_last_item(
    harness: WorkerHarness,
) -> None:
    pairs = synced(harness, groups=["Series"])
    for _, item in pairs:
        harness.plex.person_removes(item.rating_key, "collection", "Series")
    harness.plex.person_adds(pairs[0][1].rating_key, "collection", "Series")
    harness.clock.advance(LATER)
    leave(harness, pairs)
    assert sorted(item.collections for _, item in pairs) == [[], ["Series"]]


def leave(harness: WorkerHarness, pairs: list[tuple[Scene, PlexItem]]) -> None:
    """Take the scenes out of their groups in Stash."""
    for scene, _ in pairs:
        harness.edit(scene, groups=[], details=f"{harness.clock.now}")
    harness.clock.advance(LATER)
    harness.run_for(SOON)
