"""What PlexSync wrote is taken back: a field, a scene, a run; a person's edit is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from history.changes import CONFIRMED, UNDONE
from history.records import POSTER, Choice, Status
from plex.items import PlexItem as ItemInPlex
from plex.plan import Edits
from plex.session import PlexSession
from plex.undo import CHANGED_SINCE, COLLECTIONS_STAY
from queue.lease import Lease
from tests.harness.clock import HOUR
from tests.harness.in_process import WorkerHarness
from tests.simulators.httpd import Answer, Request, Reset, ResetAfter
from tests.simulators.plex import PlexItem
from tests.simulators.plex.normalize import Normalize, cut, spelled
from tests.simulators.stash import Scene
from tests.worker.support import PNG, changes_of, row_of, synced
from worker.covers import POSTER_GONE
from worker.undo import FAILED, GONE


@pytest.fixture
def harness(harness: WorkerHarness) -> WorkerHarness:
    harness.new_worker(compares=True)
    return harness


def run_of_three(harness: WorkerHarness, **fields: Any) -> tuple[list[tuple[Scene, PlexItem]], str]:
    """Return scenes that one *Sync all* has synced, and the run."""
    pairs = [harness.pair(f"s{number}", updated_at=1e9, **fields) for number in range(3)]
    harness.run_for(30)
    result = harness.command("sync")
    harness.run_for(30)
    assert [item.title for _, item in pairs] == [scene.title for scene, _ in pairs]
    return pairs, result["run"]


def undo(harness: WorkerHarness, **what: Any) -> dict[str, Any]:
    result = harness.command("undo", **what)
    harness.run_for(30)  # it is read back
    return result


def shown(item: PlexItem) -> tuple[Any, ...]:
    return item.title, item.summary, item.year, set(item.genres), set(item.actors), item.locked


# --- one scene


def test_a_scene_gets_back_what_it_had_without_our_locks(harness: WorkerHarness) -> None:
    scene, item = harness.pair("a", details="About", date="2020-01-02", tags=["T"])
    harness.plex.person_sets(item.rating_key, "summary", "Mine")
    before = shown(item)
    harness.edit(scene, "Saved")
    harness.run_for(30)
    assert (item.summary, item.year, set(item.genres)) == ("About", 2020, {"T"})

    result = undo(harness, scene_id=scene.id)

    assert shown(item) == before, "the person's own lock too"
    assert (result["scenes"], result["left"], result["reason"]) == (1, [], None)
    assert sorted(result["fields"]) == [
        "genre",
        "originallyAvailableAt",
        "summary",
        "title",
        "year",
    ]
    assert row_of(harness, scene).status is Status.IN_SYNC


def test_what_was_taken_back_stays_so_whatever_is_saved_compared_or_re_synced(
    harness: WorkerHarness,
) -> None:
    scene, item = synced(harness, tags=["T"])
    undo(harness, scene_id=scene.id)
    before = shown(item)
    harness.edit(scene, "Saved again", details="New")
    harness.run_for(30)
    harness.command("resync", scene_id=scene.id)
    harness.command("sync", force=True)
    harness.plex.refresh_item(item.rating_key)
    harness.run_for(2 * HOUR)
    assert (item.title, set(item.genres)) == (before[0], before[3])
    assert item.summary == "New", "a field that was never written is synced"
    assert row_of(harness, scene).held_fields == ["title", "genre"]


def test_a_server_that_locks_what_is_edited_keeps_no_lock(harness: WorkerHarness) -> None:
    harness.configure(lock_fields=False)
    scene, item = synced(harness, tags=["T"])
    harness.plex.settings.lock_on_edit = True
    undo(harness, scene_id=scene.id)
    assert (item.title, item.locked) == ("a", set())


def test_one_field(harness: WorkerHarness) -> None:
    scene, item = synced(harness, tags=["T"])
    result = undo(harness, scene_id=scene.id, field="genre")
    assert (item.title, item.genres) == ("Saved a", [])
    assert result["fields"] == {"genre": 1}
    assert "genre" not in item.locked
    assert "title" in item.locked


def test_an_undo_is_on_record_and_its_changes_are_marked(harness: WorkerHarness) -> None:
    scene, _ = synced(harness)
    result = undo(harness, scene_id=scene.id)
    first, second = changes_of(harness, scene)
    assert first.undone_at is not None
    assert (second.cause, second.before, second.after) == (UNDONE, "Saved a", "a")
    assert (second.run, second.status) == (result["run"], CONFIRMED)


def test_one_change_of_several(harness: WorkerHarness) -> None:
    scene, item = synced(harness)
    harness.edit(scene, "Second")
    harness.run_for(30)
    undo(harness, change=changes_of(harness, scene)[-1].id)
    assert item.title == "Saved a"
    result = undo(harness, scene_id=scene.id)
    assert item.title == "a", "the earlier value is still known as ours"
    assert result["left"] == []


def test_a_change_that_another_one_has_replaced_is_left(harness: WorkerHarness) -> None:
    scene, item = synced(harness)
    harness.edit(scene, "Second")
    harness.run_for(30)
    result = undo(harness, change=changes_of(harness, scene)[0].id)
    assert item.title == "Second"
    assert result["left"] == [[scene.id, "title", CHANGED_SINCE]]


def test_a_persons_edit_is_left_and_said(harness: WorkerHarness) -> None:
    scene, item = synced(harness, details="About")
    harness.plex.person_sets(item.rating_key, "title", "Mine")
    result = undo(harness, scene_id=scene.id)
    assert (item.title, item.summary) == ("Mine", "")
    assert "title" in item.locked
    assert result["left"] == [[scene.id, "title", CHANGED_SINCE]]
    harness.edit(scene, "Saved again")
    harness.run_for(30)
    assert item.title == "Mine"


def test_an_undo_in_between_never_makes_a_persons_value_ours(harness: WorkerHarness) -> None:
    scene, item = synced(harness)
    harness.plex.person_sets(item.rating_key, "title", "Mine")
    harness.edit(scene, "Second")
    harness.run_for(30)
    undo(harness, change=changes_of(harness, scene)[-1].id)
    assert item.title == "Mine"
    undo(harness, scene_id=scene.id)
    assert item.title == "Mine"


def test_lists_lose_what_was_added_and_get_back_what_was_there(harness: WorkerHarness) -> None:
    scene, item = harness.pair("a", tags=["Ours", "Both"], performers=["P"])
    state = harness.plex._state
    with state.lock:
        state.set_tags(item, "genre", ["There", "Both"], item.roles)
        state.changed(item)
    harness.edit(scene, "Saved")
    harness.run_for(30)
    assert set(item.genres) == {"Ours", "Both"}
    harness.plex.person_adds(item.rating_key, "genre", "Later")
    undo(harness, scene_id=scene.id)
    assert set(item.genres) == {"There", "Both", "Later"}
    assert item.actors == []


def test_two_scenes_of_one_item_are_taken_back_one_after_the_other(
    harness: WorkerHarness,
) -> None:
    item = harness.plex.add_item(harness.library, "/media/a.mp4", parts=["/media/b.mp4"])
    server, history = harness.plex.machine_identifier, harness.worker.history
    one, other = harness.add_scene("a"), harness.add_scene("b", tags=["Second"])
    for scene in (one, other):
        history.choose(scene.id, [Choice(scene.id, server, item.rating_key, item.path)])
        harness.edit(scene, "Saved")
        harness.run_for(30)
    harness.edit(one, tags=["First"])
    harness.run_for(30)
    assert set(item.genres) == {"First", "Second"}
    harness.command("remove")
    harness.run_for(30)
    assert item.genres == []


def test_a_tag_that_comes_while_other_items_are_taken_back_stays(harness: WorkerHarness) -> None:
    pairs, run = run_of_three(harness, tags=["Ours"])
    last = pairs[-1][1]
    harness.plex.person_adds(last.rating_key, "genre", "Early")

    def slow(item: PlexItem, _names: frozenset[str]) -> None:
        harness.clock.advance(1.0)
        if item is pairs[0][1]:
            harness.plex.person_adds(last.rating_key, "genre", "Mine")

    harness.plex.settings.after_edit = slow
    undo(harness, run=run)
    assert [item.genres for _, item in pairs] == [[], [], ["Early", "Mine"]]


def test_collections_stay(harness: WorkerHarness) -> None:
    scene, item = synced(harness, studio="S")
    result = undo(harness, scene_id=scene.id)
    assert item.collections == ["S"]
    assert item.studio in ("", None)
    assert [scene.id, "collection", COLLECTIONS_STAY] in result["left"]


def test_the_former_poster_is_selected_again(harness: WorkerHarness) -> None:
    harness.configure(sync_poster=True)
    scene, item = harness.pair("a", cover=PNG)
    harness.plex.person_selects_poster(item.rating_key, b"a person's")
    before = item.poster
    item.locked.clear()
    harness.edit(scene, "Saved")
    harness.run_for(30)
    assert item.poster is not before
    undo(harness, scene_id=scene.id)
    assert item.poster is before
    assert POSTER not in item.locked
    harness.edit(scene, cover=PNG + b"2")
    harness.run_for(30)
    harness.command("resync", scene_id=scene.id)
    assert item.poster is before
    assert changes_of(harness, scene)[-1].cause == UNDONE


@pytest.mark.parametrize("meanwhile", ["posters are off", "another cover is refused"])
def test_a_poster_goes_after_a_resync_that_sent_none(
    harness: WorkerHarness, meanwhile: str
) -> None:
    harness.plex.settings.own_poster = True
    harness.configure(sync_poster=True)
    scene, item = synced(harness, cover=PNG)
    if meanwhile == "posters are off":
        harness.configure(sync_poster=False)
        harness.run_for(700)
    else:
        harness.plex.settings.max_poster = 100
        harness.edit(scene, cover=PNG + bytes(100))
        harness.run_for(30)
    harness.command("resync", scene_id=scene.id)
    harness.run_for(30)
    assert item.poster is not None and item.poster.data == PNG
    assert harness.command("remove")["left"] == []
    assert harness.item_of(scene).poster is None


def test_a_poster_of_a_person_or_one_that_is_gone_is_left(harness: WorkerHarness) -> None:
    harness.configure(sync_poster=True)
    scene, _ = synced(harness, cover=PNG)
    assert [scene.id, POSTER, POSTER_GONE] in undo(harness, scene_id=scene.id)["left"]
    other, its_item = synced(harness, "b", cover=PNG + b"b")
    harness.plex.person_selects_poster(its_item.rating_key, b"a person's")
    mine = its_item.poster
    assert [other.id, POSTER, CHANGED_SINCE] in undo(harness, scene_id=other.id)["left"]
    assert its_item.poster is mine


def test_an_item_that_is_gone_is_said(harness: WorkerHarness) -> None:
    scene, item = synced(harness)
    harness.plex.remove_item(item.rating_key)
    assert undo(harness, scene_id=scene.id)["left"] == [[scene.id, "title", GONE]]


def test_what_plex_does_not_take_back_is_written_once_more_and_then_said(
    harness: WorkerHarness,
) -> None:
    scene, item = synced(harness)
    harness.plex.settings.ignored.names = {"title"}
    harness.plex.settings.ignored.times = 1
    undo(harness, scene_id=scene.id)
    assert item.title == "a"
    other, its_item = synced(harness, "b")
    harness.plex.settings.ignored.times = None
    undo(harness, scene_id=other.id)
    harness.run_for(HOUR)
    assert its_item.title == "Saved b"
    assert row_of(harness, other).status is Status.REFUSED


def test_a_value_that_was_given_back_is_never_ours(harness: WorkerHarness) -> None:
    scene, item = synced(harness)
    first = undo(harness, scene_id=scene.id)
    harness.command("take", scene_id=scene.id, field="title")
    harness.run_for(30)
    assert item.title == "Saved a"
    undo(harness, change=changes_of(harness, scene)[-1].id)
    assert item.title == "a"
    assert row_of(harness, scene).fields["title"].ours is None
    assert undo(harness, run=first["run"])["fields"] == {}, "an undo is not taken back"
    assert item.title == "a"


# --- a run


def test_a_run(harness: WorkerHarness) -> None:
    pairs, run = run_of_three(harness, tags=["T"])
    _, its_item = synced(harness, "other")
    result = undo(harness, run=run)
    assert [item.title for _, item in pairs] == ["s0", "s1", "s2"]
    assert [item.genres for _, item in pairs] == [[], [], []]
    assert [item.locked for _, item in pairs] == [set()] * 3
    assert its_item.title == "Saved other"
    assert (result["scenes"], result["fields"]) == (3, {"title": 3, "genre": 3})
    assert undo(harness, run=run)["scenes"] == 0


def test_a_run_is_taken_back_as_far_as_nobody_changed_it_since(harness: WorkerHarness) -> None:
    pairs, run = run_of_three(harness)
    (first, _), (second, its_item), _ = pairs
    harness.edit(first, "Saved since")
    harness.run_for(30)
    harness.plex.person_sets(its_item.rating_key, "title", "Mine")
    result = undo(harness, run=run)
    assert [item.title for _, item in pairs] == ["Saved since", "Mine", "s2"]
    assert result["left"] == [[one.id, "title", CHANGED_SINCE] for one in (first, second)]
    assert {one.why_left for one in changes_of(harness, first)} == {CHANGED_SINCE, ""}


def test_a_run_that_is_at_work_writes_nothing_more_once_it_is_taken_back(
    harness: WorkerHarness,
) -> None:
    scenes = [harness.pair(f"s{number:02}", updated_at=1e9) for number in range(30)]
    harness.run_for(30)
    sync = harness.commands.add("sync", {})
    ids: list[int] = []

    def undo_after_two(_request: object) -> bool:  # the first batch has twenty
        if not ids and sum(item.title != path_stem(item) for _, item in scenes) == 2:
            ids.append(harness.commands.add("undo", {"run": f"sync-{sync}"}))
        return False

    harness.plex.faults.add(Reset(), when=undo_after_two)
    harness.run_until(sync)
    harness.run_for(60)
    assert ids
    assert len(harness.plex.writes) == 2 * 20
    assert [item.title for _, item in scenes if item.title.startswith("Title")] == []


def path_stem(item: PlexItem) -> str:
    return item.path.rpartition("/")[2].removesuffix(".mp4")


@pytest.mark.parametrize("fault", [Reset(), ResetAfter(), Answer(500)], ids=str)
def test_an_outage_in_the_middle_ends_the_command_and_the_undo_goes_on_later(
    harness: WorkerHarness, fault: Any
) -> None:
    pairs, run = run_of_three(harness)
    rule = harness.plex.faults.add(fault, when=second_write(), times=None)
    harness.command("undo", run=run)
    rule.remove()
    harness.run_for(2 * HOUR)
    assert [item.title for _, item in pairs] == ["s0", "s1", "s2"]
    assert [item.locked for _, item in pairs] == [set()] * 3
    undone = [
        one for scene, _ in pairs for one in changes_of(harness, scene) if one.cause == UNDONE
    ]
    assert [one.after for one in undone] == ["s0", "s1", "s2"], "each once"


def test_an_item_at_which_plex_fails_each_time_stops_neither_the_others_nor_edits(
    harness: WorkerHarness,
) -> None:
    pairs, run = run_of_three(harness)
    (bad, its_item), *others = pairs

    def is_its_write(request: Request) -> bool:
        return request.method == "PUT" and request.first("id") == str(its_item.rating_key)

    harness.plex.faults.add(Answer(500), when=is_its_write)
    harness.command("undo", run=run)
    edited, edited_item = harness.pair("edited")
    harness.edit(edited, "Edited")
    harness.run_for(2 * HOUR)
    assert [item.title for _, item in others] == ["s1", "s2"]
    assert its_item.title == bad.title
    assert changes_of(harness, bad)[0].why_left == FAILED
    assert edited_item.title == "Edited"
    assert harness.worker.history.passes() == {}


def test_a_long_undo_lets_edits_through(harness: WorkerHarness) -> None:
    pairs = [harness.pair(f"s{number:02}", updated_at=1e9) for number in range(45)]
    harness.run_for(30)
    run = harness.command("sync")["run"]
    harness.run_for(30)
    edited, edited_item = harness.pair("edited")
    harness.edit(edited, "Edited")
    left: list[int] = []

    def note(request: Request) -> bool:
        if "Edited" in str(request.query):
            left.append(sum(item.title == scene.title for scene, item in pairs))
        return False

    harness.plex.faults.add(Reset(), when=note)
    harness.command("undo", run=run)
    assert edited_item.title == "Edited"
    assert left == [25], "after the first twenty"


class Killed(BaseException):
    """Ends a worker in the middle of a step, as SIGKILL does."""


@pytest.mark.parametrize("command", ["undo", "remove"])
def test_three_deaths_at_one_item_are_all_that_an_undo_of_many_costs(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    pairs = [harness.pair(f"s{number:02}", updated_at=1e9) for number in range(25)]
    harness.run_for(30)
    run = harness.command("sync")["run"]
    harness.run_for(HOUR)
    harness.commands.add(command, {"run": run} if command == "undo" else {})
    worker = harness.worker
    worker._step()
    key, edit = pairs[18][1].rating_key, PlexSession.write

    def die(self: PlexSession, item: ItemInPlex, edits: Edits) -> Any:
        if item.rating_key == key:
            raise Killed
        return edit(self, item, edits)

    monkeypatch.setattr(PlexSession, "write", die)
    deaths = 0
    while (undo_id := worker.passes.next_undo()) is not None:
        try:
            worker.passes.run_slice(undo_id)
        except Killed:
            deaths += 1
            worker.passes.count_death(undo_id)
    assert deaths == 3
    kept = [item.title for scene, item in pairs if item.title == scene.title]
    assert kept == [pairs[18][1].title]


def test_a_value_that_plex_keeps_in_its_own_form_is_taken_back(harness: WorkerHarness) -> None:
    harness.plex.settings.normalize = Normalize([cut("summary", 20)], [spelled({"t-1": "T 1"})])
    scene, item = synced(harness, tags=["t-1"], details="About the sea and its ships")
    harness.run_for(HOUR)
    assert (item.summary, item.genres) == ("About the sea and it", ["T 1"])
    undo(harness, scene_id=scene.id)
    assert (item.summary, item.genres) == ("", [])


def second_write() -> Callable[[Any], bool]:
    writes: list[str] = []

    def applies(request: Any) -> bool:
        if request.method == "PUT":
            writes.append(request.path)
        return len(writes) > 1

    return applies


def test_an_undo_whose_task_was_stopped_ends(harness: WorkerHarness) -> None:
    pairs, run = run_of_three(harness)
    with Lease.take(str(harness.data_dir)) as lease:
        command_id = harness.commands.add("undo", {"run": run}, lease.name)
    harness.run_until(command_id)
    assert [item.title for _, item in pairs] == [scene.title for scene, _ in pairs]
    assert harness.worker.history.passes() == {}


def test_an_undo_of_nothing_and_one_without_a_meaning(harness: WorkerHarness) -> None:
    assert harness.command("undo", run="sync-77")["scenes"] == 0
    assert "to take back" in harness.command("undo")["error"]
    assert harness.command("undo", change=77)["scenes"] == 0
