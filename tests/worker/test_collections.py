"""Collections: ours follow renames in Stash, and those of a person never end through us."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.harness.in_process import WorkerHarness
from tests.simulators.httpd import Answer, Delay, Reset, ResetAfter
from tests.simulators.plex import PlexCollection, PlexItem
from tests.simulators.stash import Scene

SOON, LATER = 30.0, 90.0
HOUR = 3_600.0
DAY = 24 * HOUR


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


def test_after_a_rename_a_scene_may_want_the_former_name(harness: WorkerHarness) -> None:
    """Another group has it by now: that is no edit of a person's in Plex."""
    (one, renamed), (other, item) = synced(harness, groups=["Sequel", "Series"])
    harness.stash.rename_silently("group", "Sequel", "Second")
    harness.stash.change_silently(other.id, groups=["Sequel", "Series"])
    harness.clock.advance(LATER)
    for scene in (one, other):
        harness.edit(scene)
        harness.run_for(SOON)
    assert sorted(renamed.collections) == ["Second", "Series"]
    assert sorted(item.collections) == ["Sequel", "Series"]


def test_items_leave_a_collection_whose_studio_changed_its_case_before_its_name(
    harness: WorkerHarness,
) -> None:
    """Items that were written under the first spelling are not written for the second one."""
    pairs = synced(harness, studio="Acme")
    harness.stash.rename_silently("studio", "Acme", "ACME")
    pairs.append(harness.pair("later", studio="ACME"))
    harness.edit(pairs[-1][0], "New")
    harness.run_for(SOON)
    rename_studio(harness, "ACME", "New")
    assert [item.collections for _, item in pairs] == [["New"]] * 3
    for scene, _ in pairs:
        harness.edit(scene, studio=None)
    harness.run_for(SOON)
    pass_days(harness, 3)
    assert [item.collections for _, item in pairs] == [[]] * 3


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
    assert sorted(item.collections for _, item in pairs) == [["New"], ["New", "Old"]]
    pass_days(harness, 3)
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
    assert sorted(item.collections for _, item in pairs) == [["New"], ["New", "Old"]]


@pytest.mark.parametrize(("last", "more"), [("New", []), ("Old", ["Series"])])
def test_after_a_kill_in_the_middle_of_a_rename_it_is_finished(
    harness: WorkerHarness, last: str, more: list[str]
) -> None:
    pairs = synced(harness, studio="Old")
    key = existing(harness, "Old").rating_key
    history, rename = harness.worker.history, type(harness.worker.history).rename_collection

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    history.rename_collection = kill  # type: ignore[method-assign, assignment]
    with pytest.raises(Killed):
        rename_studio(harness, "Old", "New")
    history.rename_collection = rename.__get__(history)  # type: ignore[method-assign]
    if last == "Old":
        harness.stash.rename_silently("studio", "New", "Old")
    for scene, _ in pairs:
        harness.edit(scene, groups=more)
    harness.queue.requeue_in_progress()
    harness.clock.advance(LATER)
    harness.run_for(SOON)
    assert [sorted(item.collections) for _, item in pairs] == [[last, *more]] * 2
    assert existing(harness, last).rating_key == key
    for scene, _ in pairs:
        harness.edit(scene, studio=None, groups=[])
    harness.run_for(SOON)
    assert sorted(sorted(item.collections) for _, item in pairs) == [[], [last, *more]]
    pass_days(harness, 3)
    assert [item.collections for _, item in pairs] == [[], []]


def test_where_a_person_makes_the_new_name_while_the_rename_fails_the_items_move(
    harness: WorkerHarness,
) -> None:
    pairs = synced(harness, studio="Old")
    theirs = harness.add_item("theirs")
    outage = harness.plex.faults.add(Reset(), method="PUT")
    rename_studio(harness, "Old", "New")
    harness.plex.person_adds(theirs.rating_key, "collection", "New")
    outage.remove()
    harness.run_for(HOUR)
    assert sorted(item.collections for _, item in pairs) == [["New"], ["New", "Old"]]
    pass_days(harness, 3)
    assert [item.collections for _, item in pairs] == [["New"], ["New"]]
    for scene, _ in pairs:
        harness.edit(scene, studio=None)
    harness.run_for(SOON)
    assert [item.collections for _, item in (*pairs, ("", theirs))] == [[], [], ["New"]]


# --- a person's rename


@pytest.mark.parametrize("lock", [True, False])
def test_the_items_of_a_collection_that_a_person_renamed_stay_there_alone(
    harness: WorkerHarness, lock: bool
) -> None:
    harness.configure(lock_fields=lock)
    pairs = synced(harness, studio="Acme")
    pass_days(harness, 1)
    harness.plex.edit_collection(existing(harness, "Acme"), title="My Acme")
    pass_days(harness, 1)
    for scene, _ in pairs[1:]:
        harness.edit(scene, "Saved once more")
    harness.run_for(SOON)
    pass_days(harness, 3)
    assert [item.collections for _, item in pairs] == [["My Acme"]] * 2
    harness.edit(pairs[0][0], studio="Other")
    harness.run_for(SOON)
    assert sorted(pairs[0][1].collections) == ["My Acme", "Other"], "until Stash's list changes"


def test_another_scene_begins_a_collection_of_the_former_name(harness: WorkerHarness) -> None:
    harness.configure(lock_fields=False)
    pairs = synced(harness, studio="Acme")
    pass_days(harness, 1)
    renamed = existing(harness, "Acme")
    harness.plex.edit_collection(renamed, title="My Acme")
    pass_days(harness, 1)
    scene, later = harness.pair("later", studio="Acme")
    harness.edit(scene, "Later")
    harness.run_for(SOON)
    for known, _ in pairs:
        harness.edit(known, "Saved once more")
    pass_days(harness, 3)
    assert [item.collections for _, item in pairs] == [["My Acme"]] * 2
    assert later.collections == ["Acme"]
    rename_studio(harness, "Acme", "New")
    assert existing(harness, "My Acme").rating_key == renamed.rating_key, "only ours is renamed"
    assert later.collections == ["New"]


def test_beside_a_renamed_collection_the_others_come_back(harness: WorkerHarness) -> None:
    harness.configure(lock_fields=False)
    ((scene, item),) = synced(harness, 1, groups=["Acme", "Series"])
    pass_days(harness, 1)
    harness.plex.edit_collection(existing(harness, "Acme"), title="My Acme")
    pass_days(harness, 1)
    item.tags["collection"].remove("Series")  # as a refresh does
    harness.edit(scene, "Saved once more")
    harness.run_for(SOON)
    assert "Series" in item.collections


# --- the last item


def test_our_collection_ends_after_two_full_passes_a_day_apart(harness: WorkerHarness) -> None:
    pairs = synced(harness, groups=["Series"])
    leave(harness, pairs)
    assert sorted(item.collections for _, item in pairs) == [[], ["Series"]]
    pass_days(harness, 1)
    assert find(harness, "Series") is not None, "one full pass is not enough"
    pass_days(harness, 2)
    assert find(harness, "Series") is None
    writes = len(harness.plex.writes)
    pass_days(harness, 2)
    assert len(harness.plex.writes) == writes


def test_our_collection_ends_after_a_rename_though_plex_locks_what_is_edited(
    harness: WorkerHarness,
) -> None:
    harness.plex.settings.lock_on_edit = True
    pairs = synced(harness, studio="Old")
    rename_studio(harness, "Old", "New")
    for scene, _ in pairs:
        harness.edit(scene, studio=None)
    harness.run_for(SOON)
    pass_days(harness, 3)
    assert find(harness, "New") is None


def test_a_collection_that_is_wanted_again_stays(harness: WorkerHarness) -> None:
    pairs = synced(harness, groups=["Series"])
    leave(harness, pairs)
    pass_days(harness, 1)
    harness.edit(pairs[0][0], groups=["Series"])
    harness.edit(pairs[1][0], groups=["Series"])
    harness.run_for(SOON)
    leave(harness, pairs)
    pass_days(harness, 1)
    assert find(harness, "Series") is not None, "the two passes begin anew"
    pass_days(harness, 2)
    assert find(harness, "Series") is None


def test_a_collection_that_its_last_item_wants_again_stays(harness: WorkerHarness) -> None:
    pairs = synced(harness, groups=["Series"])
    leave(harness, pairs)
    pass_days(harness, 1)
    (last,) = [pair for pair in pairs if pair[1].collections]
    harness.edit(last[0], groups=["Series"])
    pass_days(harness, 2)
    leave(harness, [last])
    pass_days(harness, 1)
    assert find(harness, "Series") is not None, "the two passes begin anew"
    pass_days(harness, 2)
    assert find(harness, "Series") is None


def test_with_preserve_an_item_gets_its_new_collection_though_it_must_not_leave_the_old_one(
    harness: WorkerHarness,
) -> None:
    ((scene, item),) = synced(harness, 1, studio="Old")
    harness.plex.edit_collection(existing(harness, "Old"), summary="A person's")
    harness.configure(preserve_plex_edits=True)
    harness.edit(scene, studio="New")
    harness.run_for(SOON)
    assert sorted(item.collections) == ["New", "Old"]


def test_a_collection_does_not_end_while_a_library_is_missing(harness: WorkerHarness) -> None:
    pairs = synced(harness, groups=["Series"])
    leave(harness, pairs)
    harness.plex.faults.add(
        Answer(500), when=lambda one: one.method == "GET" and one.path.endswith("/all"), times=500
    )
    pass_days(harness, 4)
    assert find(harness, "Series") is not None


def pass_days(harness: WorkerHarness, count: int) -> None:
    """Let days pass, each with a full pass."""
    for _ in range(count):
        harness.clock.advance(DAY)
        harness.restart()
        harness.run_for(HOUR)


def test_our_collection_ends_though_the_first_attempts_fail(harness: WorkerHarness) -> None:
    pairs = synced(harness, groups=["Series"])
    harness.plex.faults.add(Answer(503), method="PUT", times=3)
    leave(harness, pairs)
    harness.run_for(LATER)
    pass_days(harness, 3)
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
    pass_days(harness, 3)  # by then one of ours would have ended
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


@pytest.mark.parametrize("count", [2, 3])
def test_of_items_that_leave_a_changed_collection_at_once_the_last_one_stays(
    harness: WorkerHarness, count: int
) -> None:
    harness.clock.timing = replace(harness.clock.timing, slow_write=float("-inf"))
    harness.new_worker(parallel_writes=4)
    pairs = synced(harness, count, groups=["Series"])
    harness.plex.edit_collection(existing(harness, "Series"), summary="Mine")
    harness.plex.faults.add(Delay(0.3), method="PUT")
    leave(harness, pairs)
    assert sorted(item.collections for _, item in pairs) == [[]] * (count - 1) + [["Series"]]


def test_the_last_item_stays_though_there_were_many_when_collections_were_listed(
    harness: WorkerHarness,
) -> None:
    pairs = synced(harness, 7, groups=["Series"])
    harness.plex.edit_collection(existing(harness, "Series"), summary="Mine")
    harness.clock.advance(LATER)
    scene, last = pairs[0]
    harness.edit(scene, groups=["Series", "Other"])  # so that they are listed
    harness.run_for(5)
    for _, item in pairs[1:]:
        harness.plex.person_removes(item.rating_key, "collection", "Series")
    harness.edit(scene, groups=["Other"])
    harness.run_for(SOON)
    assert sorted(last.collections) == ["Other", "Series"]


def test_many_items_that_leave_at_once_cost_few_reads_of_their_collection(
    harness: WorkerHarness,
) -> None:
    pairs = synced(harness, 30, groups=["Series"])
    key = existing(harness, "Series").rating_key
    for scene, _ in pairs[:20]:
        harness.edit(scene, groups=[])
    harness.plex.log.clear()
    harness.run_for(5)
    assert [item.collections for _, item in pairs] == [[]] * 20 + [["Series"]] * 10
    reads = harness.plex.log.count("GET", f"/library/metadata/{key}")
    listings = harness.plex.log.count("GET", f"/library/sections/{harness.library.key}/collections")
    assert reads + listings <= 2


# --- collections that a person makes meanwhile


def test_a_collection_that_a_person_has_just_made_is_not_ours(harness: WorkerHarness) -> None:
    other, _ = harness.pair("other", groups=["Other"])
    scene, item = harness.pair("one", groups=["Saga"])
    theirs = harness.add_item("theirs")
    harness.edit(other, "New")  # so that the collections are listed
    harness.run_for(SOON)
    harness.edit(other, groups=["Other", "Third"])
    harness.run_for(5)
    harness.plex.person_adds(theirs.rating_key, "collection", "Saga")
    harness.edit(scene, "New")
    harness.run_for(LATER)
    assert item.collections == ["Saga"]
    rename_group(harness, scene, "Saga", "Renamed")
    assert theirs.collections == ["Saga"]
    assert item.collections == ["Renamed"]


def test_a_collection_that_plex_refused_is_not_ours_when_a_person_makes_it(
    harness: WorkerHarness,
) -> None:
    scene, item = harness.pair("one", groups=["Saga"])
    theirs = harness.add_item("theirs")
    refusal = harness.plex.faults.add(
        Answer(400), when=lambda one: one.first("collection[0].tag.tag") is not None
    )
    harness.edit(scene, "New")
    harness.run_for(1)
    refusal.remove()
    harness.plex.person_adds(theirs.rating_key, "collection", "Saga")
    harness.edit(scene, "Newer")
    harness.run_for(LATER)
    assert item.collections == ["Saga"]
    rename_group(harness, scene, "Saga", "Renamed")
    assert theirs.collections == ["Saga"]


@pytest.mark.parametrize("stop", ["outage", "kill"])
def test_a_collection_that_a_person_makes_before_our_write_arrives_is_not_ours(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    scene, item = harness.pair("one", groups=["Saga"])
    theirs = harness.add_item("theirs")
    stop_and_go_on(harness, monkeypatch, scene, stop, theirs)
    assert item.collections == ["Saga"]
    rename_group(harness, scene, "Saga", "Renamed")
    assert (theirs.collections, item.collections) == (["Saga"], ["Renamed"])


def test_such_a_collection_keeps_its_last_item(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, item = harness.pair("one", groups=["Saga"])
    theirs = harness.add_item("theirs")
    stop_and_go_on(harness, monkeypatch, scene, "outage", theirs)
    harness.plex.person_removes(theirs.rating_key, "collection", "Saga")
    leave(harness, [(scene, item)])
    pass_days(harness, 3)
    assert item.collections == ["Saga"]


def test_such_a_collection_is_not_renamed_by_the_next_write(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, item = harness.pair("one", groups=["Saga"])
    theirs = harness.add_item("theirs")
    stop_and_go_on(harness, monkeypatch, scene, "kill", theirs, new="Renamed")
    assert (theirs.collections, item.collections) == (["Saga"], ["Renamed"])


@pytest.mark.parametrize("first", ["one", "other"])
def test_a_collection_is_ours_though_the_answer_to_the_write_got_lost(
    harness: WorkerHarness, first: str
) -> None:
    pairs = {name: harness.pair(name, groups=["Saga"]) for name in ("one", "other")}
    loss = harness.plex.faults.add(ResetAfter(), method="PUT")
    harness.edit(pairs["one"][0], "New")
    harness.run_for(1)
    loss.remove()
    assert pairs["one"][1].collections == ["Saga"]
    harness.edit(pairs[first][0], "Newer")
    harness.run_for(HOUR)
    key = existing(harness, "Saga").rating_key
    rename_group(harness, pairs["one"][0], "Saga", "Renamed")
    assert existing(harness, "Renamed").rating_key == key


def stop_and_go_on(
    harness: WorkerHarness,
    monkeypatch: pytest.MonkeyPatch,
    scene: Scene,
    stop: str,
    theirs: PlexItem,
    new: str = "Saga",
) -> None:
    """Stop the first write of the group "Saga", let a person make that collection, and go on."""

    class Killed(BaseException):
        pass

    def kill(*_: object, **__: object) -> None:
        raise Killed

    harness.edit(scene, "New")
    if stop == "kill":
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(harness.worker.plex, "write", kill)
            harness.run_for(5)
    else:
        outage = harness.plex.faults.add(Reset(), method="PUT")
        harness.run_for(20)
        outage.remove()
    harness.plex.person_adds(theirs.rating_key, "collection", "Saga")
    if new != "Saga":
        harness.stash.rename_silently("group", "Saga", new)
    harness.queue.requeue_in_progress()
    harness.restart()
    harness.run_for(HOUR)


def rename_group(harness: WorkerHarness, scene: Scene, old: str, new: str) -> None:
    harness.stash.rename_silently("group", old, new)
    harness.edit(scene)
    harness.clock.advance(LATER)
    harness.run_for(SOON)


def leave(harness: WorkerHarness, pairs: list[tuple[Scene, PlexItem]]) -> None:
    """Take the scenes out of their groups in Stash."""
    for scene, _ in pairs:
        harness.edit(scene, groups=[], details=f"{harness.clock.now}")
    harness.clock.advance(LATER)
    harness.run_for(SOON)
