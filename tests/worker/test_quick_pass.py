"""The quick pass: changes in Stash and in Plex that no hook told, found within ten minutes."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any

import pytest

from common.env import Timing
from common.sqlite import connect
from history.records import Status
from history.store import History
from queue.operations import load_sync_timestamps
from tests.harness.clock import HOUR, FakeClock
from tests.harness.in_process import WorkerHarness
from tests.harness.size import some
from tests.simulators.httpd import Answer, Delay, Request
from tests.simulators.plex import PlexItem, PlexSimulator
from tests.simulators.stash import Scene, StashSimulator
from worker.reconcile.approval import HELD
from worker.reconcile.quick import QUICK, related_passes

DAY = 24 * HOUR
#: Long enough for a quick pass, what it queues, and the read-back of that.
TURN = Timing().quick_pass + 60


def in_zone(clock: FakeClock, seconds_ago: float, zone: tzinfo) -> str:
    """Return a time as Stash writes it in that zone."""
    return datetime.fromtimestamp(int(clock.now - seconds_ago), zone).isoformat(timespec="seconds")


@pytest.fixture
def installed(harness: WorkerHarness) -> WorkerHarness:
    """Return a harness whose worker was installed an hour ago, beside one old scene."""
    harness.pair("old", tags=["Old"], updated_at=harness.clock.now - DAY)
    install(harness)
    return harness


def install(harness: WorkerHarness) -> None:
    harness.new_worker(compares=True)
    harness.run_for(60)
    harness.clock.advance(HOUR)


def turn(harness: WorkerHarness) -> None:
    """Run the next quick pass."""
    harness.run_for(TURN)


def done(harness: WorkerHarness) -> int:
    return harness.queue.counts()["completed"]


def statuses(harness: WorkerHarness, scene: Scene) -> list[Status]:
    return [row.status for row in harness.worker.history.of_scene(scene.id)]


def old_scene(harness: WorkerHarness) -> Scene:
    return harness.stash.library.scenes()[0]


def synced(harness: WorkerHarness, name: str = "a", **fields: Any) -> tuple[Scene, PlexItem]:
    """Return a scene that was synced an hour ago."""
    scene, item = harness.pair(name, **fields)
    harness.edit(scene, f"Synced {name}")
    harness.run_for(60)
    assert item.title == f"Synced {name}"
    harness.clock.advance(HOUR)
    return scene, item


# --- the first installation


def test_the_first_run_records_a_baseline_and_syncs_nothing(harness: WorkerHarness) -> None:
    scenes = [harness.pair(f"old{number}")[0] for number in range(60)]
    harness.clock.advance(3 * DAY)
    harness.new_worker(compares=True)

    harness.run_for(3 * HOUR)
    harness.restart()
    harness.run_for(DAY)

    assert harness.plex.writes == []
    assert harness.queue.counts()["completed"] == 0
    assert load_sync_timestamps(harness.data_dir) == {}
    assert {status for scene in scenes for status in statuses(harness, scene)} == {Status.BASELINE}


def test_a_scene_that_comes_after_the_installation_is_synced(installed: WorkerHarness) -> None:
    scene, _ = installed.pair("first")
    turn(installed)
    assert installed.title(scene) == "Title of first"


def test_a_new_scene_without_metadata_is_left_out_of_a_sync_of_all_and_of_its_preview(
    installed: WorkerHarness,
) -> None:
    item = installed.add_item("new", title="By hand in Plex")
    blank = installed.add_scene("new", title="")
    installed.run_for(HOUR)
    runner = installed.worker.batches._runner

    def preview(is_asked: bool = False) -> tuple[bool, str]:
        scene = installed.client.find_scene(blank.id)
        assert scene is not None
        found = runner.preview(scene, is_asked=is_asked)
        return bool(found), runner.why_skipped(scene, is_asked=is_asked)

    assert preview() == (False, "new, and without any metadata yet")
    assert preview(is_asked=True) == (True, ""), "of this scene, or of --force"
    installed.command("sync")
    assert item.title == "By hand in Plex"
    installed.stash.change_silently(blank.id, title="Named")
    assert preview() == (True, "")


def test_an_edit_of_a_scene_that_was_there_before_is_synced(installed: WorkerHarness) -> None:
    scene = old_scene(installed)
    assert installed.title(scene) == "old"
    installed.stash.change_silently(scene.id, title="By Auto Tag")
    turn(installed)
    assert installed.title(scene) == "By Auto Tag"


def test_a_rename_alone_syncs_no_scene_that_never_was(installed: WorkerHarness) -> None:
    scene = old_scene(installed)
    installed.stash.rename_silently("tag", "Old", "Renamed")
    turn(installed)
    assert (installed.plex.writes, statuses(installed, scene)) == ([], [Status.BASELINE])

    installed.restart()
    installed.run_for(2 * DAY)
    assert installed.plex.writes == []
    installed.stash.change_silently(scene.id, title="Edited")
    installed.run_for(DAY)
    assert installed.item_of(scene).genres == ["Renamed"]


# --- changes of scenes


def test_a_change_made_without_a_worker_is_synced_at_the_next_start(
    installed: WorkerHarness,
) -> None:
    scene, _ = synced(installed)
    installed.stash.change_silently(scene.id, title="By Auto Tag")
    installed.clock.advance(DAY)
    writes = len(installed.plex.writes)

    installed.restart()
    installed.run_for(30)

    assert installed.title(scene) == "By Auto Tag"
    assert len(installed.plex.writes) == writes + 1


def test_a_change_made_during_a_worker_is_synced_without_a_hook(installed: WorkerHarness) -> None:
    scene, _ = synced(installed)
    installed.clock.after(
        100, lambda: installed.stash.change_silently(scene.id, title="By Auto Tag")
    )
    installed.run_for(100 + TURN)
    assert installed.title(scene) == "By Auto Tag"


def test_a_synced_scene_is_not_queued_again(installed: WorkerHarness) -> None:
    hooked, _ = installed.pair("hooked")
    missed, _ = installed.pair("missed")
    installed.edit(hooked, "Hooked")
    installed.stash.change_silently(missed.id, title="Missed")
    installed.clock.advance(30)
    turn(installed)
    before = done(installed)
    assert before == 2

    for _ in range(4):
        installed.clock.advance(HOUR)
        installed.restart()
        installed.run()

    assert done(installed) == before
    assert len(installed.plex.writes) == 2


def test_a_change_just_before_a_pass_is_synced_once(installed: WorkerHarness) -> None:
    scene, _ = installed.pair("a")
    for _ in range(5):
        turn(installed)
    assert installed.title(scene) == "Title of a"
    assert done(installed) == 1


@pytest.mark.parametrize("second", [{"title": "Second"}, {"tags": ["New"]}, {"director": "D"}])
def test_an_edit_in_the_second_of_a_sync_is_found(
    installed: WorkerHarness, second: dict[str, Any]
) -> None:
    clock = installed.clock
    scene, item = installed.pair("a")
    turn(installed)
    clock.advance(math.ceil(clock.now) + 0.2 - clock.now)
    installed.edit(scene, "First")
    clock.after(0.5, lambda: installed.stash.change_silently(scene.id, **second))
    installed.run_for(0.4)
    assert item.title == "First"
    first = installed.stash.scene(scene.id).updated_at

    installed.run_for(1)
    assert installed.stash.scene(scene.id).updated_at == first, "the same second"
    turn(installed)

    assert installed.differences(scene) == []


@pytest.mark.parametrize("fraction", ["", ".25", ".999999999"], ids=["whole", "quarter", "nano"])
@pytest.mark.parametrize(
    "zone", [timezone.utc, timezone(timedelta(hours=14)), timezone(timedelta(hours=-3.5))], ids=str
)
def test_time_zones_and_fractions_of_a_second_make_no_difference(
    installed: WorkerHarness, zone: tzinfo, fraction: str
) -> None:
    def at(seconds_ago: float) -> str:
        text = in_zone(installed.clock, seconds_ago, zone)
        return text[:19] + fraction + text[19:].replace("+00:00", "Z")

    missed, _ = installed.pair("missed", updated_at=at(600))
    turn(installed)
    assert installed.title(missed) == "Title of missed"
    installed.stash.change_silently(missed.id, title="Again", updated_at=at(2))
    turn(installed)
    assert installed.title(missed) == "Again"
    turn(installed)
    assert done(installed) == 2


SUMMER, WINTER = timezone(timedelta(hours=2)), timezone(timedelta(hours=1))
EAST, WEST = timezone(timedelta(hours=10)), timezone(timedelta(hours=-8))


@pytest.mark.parametrize(
    ("before", "after"),
    some([(SUMMER, WINTER), (WINTER, SUMMER), (WEST, EAST), (EAST, WEST)], 2),
    ids=str,
)
@pytest.mark.parametrize("others", [0, 150])
def test_a_stash_whose_clock_changes_its_offset_hides_no_edit(
    installed: WorkerHarness, before: tzinfo, after: tzinfo, others: int
) -> None:
    """Stash compares times as text: a clock change, or another TZ for its container."""
    clock = installed.clock
    for number in range(others):
        installed.stash.add_scene(
            title=str(number), files=[], updated_at=in_zone(clock, 60, before)
        )
    scenes = [installed.pair("before", updated_at=in_zone(clock, 60, before))[0]]
    turn(installed)
    for name in ("missed", "missed later"):
        clock.advance(45 * 60)
        scenes.append(installed.pair(name, updated_at=in_zone(clock, 30, after))[0])
        turn(installed)

    assert [installed.title(scene) for scene in scenes] == [scene.title for scene in scenes]


def test_quick_passes_work_with_a_stash_in_another_time_zone(
    tmp_path: Path, plex: PlexSimulator, clock: FakeClock
) -> None:
    plugins = tmp_path / "far" / "plugins"
    plugins.mkdir(parents=True)
    with StashSimulator(
        plugins_dir=plugins, clock=clock.time, zone=timezone(timedelta(hours=-9.5))
    ) as stash:
        harness = WorkerHarness(tmp_path, plex, stash, clock)
        scene, _ = harness.pair("a")
        install(harness)
        stash.change_silently(scene.id, title="Far")
        clock.advance(HOUR)
        for _ in range(3):
            turn(harness)
        assert harness.title(scene) == "Far"
        assert len(plex.writes) == 1
        harness.close()


def test_a_scene_dated_in_the_future_hides_no_later_edit(installed: WorkerHarness) -> None:
    """Stash keeps the date of a wrong clock or an import."""
    future, _ = installed.pair("from 2099", updated_at="2099-01-01T00:00:00Z")
    turn(installed)
    installed.clock.advance(HOUR)
    missed, _ = installed.pair("missed")
    turn(installed)
    assert installed.title(missed) == "Title of missed"
    assert installed.title(future) == "Title of from 2099"


def test_a_scene_dated_in_the_future_is_not_synced_at_every_pass(installed: WorkerHarness) -> None:
    scene, _ = synced(installed)
    before = done(installed)
    installed.stash.change_silently(
        scene.id, title="Of tomorrow", updated_at=installed.clock.now + 3 * HOUR
    )
    for _ in range(4):
        turn(installed)
    assert installed.title(scene) == "Of tomorrow"
    assert done(installed) == before + 1


def test_more_changes_than_a_page_are_all_found(installed: WorkerHarness) -> None:
    scenes = [installed.pair(f"s{number}")[0] for number in range(250)]
    installed.clock.advance(60)
    turn(installed)
    assert [installed.title(scene) for scene in scenes] == [scene.title for scene in scenes]
    assert done(installed) == 250


def page_of_recent(request: Request) -> bool:
    """Return whether the request is for a page of many recent scenes."""
    return b"PlexSyncPage" in request.body and b"updated_at" in request.body


def once(
    harness: WorkerHarness, fits: Callable[[Request], bool], action: Callable[[], Any]
) -> None:
    """Run the action once, when Stash has received such a request and not responded yet."""
    left = [action]

    def when(request: Request) -> bool:
        if left and fits(request):
            left.pop()()
        return False

    harness.stash.faults.add(Delay(0), when=when)


def test_a_scene_that_goes_or_changes_during_a_pass_hides_no_other(
    installed: WorkerHarness,
) -> None:
    early = old_scene(installed)
    scenes = [installed.pair(f"s{number}")[0] for number in range(150)]
    installed.clock.advance(60)

    def meanwhile() -> None:
        installed.stash.delete_silently(scenes[3].id)
        installed.stash.change_silently(early.id, title="Meanwhile")

    once(installed, page_of_recent, meanwhile)
    turn(installed)
    turn(installed)

    others = [early, *scenes[:3], *scenes[4:]]
    assert [installed.title(one) for one in others] == [
        installed.stash.scene(one.id).title for one in others
    ]


def test_passes_that_take_longer_than_the_time_between_two_keep_no_retry_waiting(
    installed: WorkerHarness,
) -> None:
    scene, _ = installed.pair()

    def take_long(request: Request) -> bool:
        if b"PlexSyncLatest" in request.body:
            installed.clock.advance(1_200)
        return False

    installed.stash.faults.add(Delay(0), when=take_long)
    installed.plex.faults.add(Answer(503), method="PUT", times=1)
    installed.edit(scene, "New")
    installed.run_for(6 * HOUR)
    assert installed.title(scene) == "New"


@pytest.mark.parametrize("kind", ["latest", "page"])
@pytest.mark.parametrize("status", some([500, 502], 1))
def test_an_outage_of_stash_during_a_pass_loses_nothing(
    installed: WorkerHarness, status: int, kind: str
) -> None:
    scenes = [installed.pair(f"s{number}")[0] for number in range(120)]
    query = b"PlexSyncLatest" if kind == "latest" else b"PlexSyncPage"
    rule = installed.stash.faults.add(Answer(status), when=lambda one: query in one.body)
    installed.run_for(HOUR)
    rule.remove()
    installed.restart()
    installed.run_for(HOUR)
    assert [installed.title(scene) for scene in scenes] == [scene.title for scene in scenes]


def test_stash_down_for_hours_costs_few_requests_and_loses_nothing(
    installed: WorkerHarness,
) -> None:
    scene, _ = synced(installed)
    installed.stash.change_silently(scene.id, title="Missed")
    installed.clock.advance(60)
    rule = installed.stash.faults.add(Answer(503))
    installed.stash.log.clear()
    installed.restart()
    installed.run()
    assert len(installed.stash.log) < 60
    rule.remove()

    installed.restart()
    installed.run()

    assert installed.title(scene) == "Missed"


def test_a_plugin_disabled_for_days_misses_nothing(installed: WorkerHarness) -> None:
    hooked, missed = installed.pair("hooked")[0], installed.pair("missed")[0]
    turn(installed)
    installed.configure(enabled=False)
    writes = len(installed.plex.writes)
    for day in range(3):
        installed.edit(hooked, f"Hooked on day {day}")
        installed.stash.change_silently(missed.id, title=f"Missed on day {day}")
        installed.restart()
        installed.run_for(HOUR)
        installed.clock.advance(DAY)
    assert len(installed.plex.writes) == writes

    installed.configure()
    installed.restart()
    installed.run_for(HOUR)

    assert installed.title(hooked) == "Hooked on day 2"
    assert installed.title(missed) == "Missed on day 2"


# --- clocks and state


def test_a_clock_that_was_a_year_ahead_for_a_while_hides_no_edit(
    installed: WorkerHarness,
) -> None:
    scene, _ = synced(installed)
    real = installed.clock.now
    installed.clock.now = real + 365 * DAY
    installed.edit(scene, "From the future")
    failing, _ = installed.pair("failing")
    rule = installed.plex.faults.add(Answer(500), method="PUT")
    installed.edit(failing, "Retried")
    installed.run_for(30)
    rule.remove()
    installed.clock.now = real + HOUR
    installed.clock.started = installed.clock.now  # a restart; monotonic time starts anew
    installed.restart()
    missed, _ = installed.pair("missed", updated_at=installed.clock.now - 60)

    installed.run_for(HOUR)

    assert installed.title(missed) == "Title of missed"
    assert installed.title(failing) == "Retried"
    assert installed.title(scene) == "From the future"
    installed.stash.change_silently(scene.id, title="After", updated_at=installed.clock.now)
    installed.restart()
    installed.run_for(HOUR)
    assert installed.title(scene) == "After"


def test_a_clock_a_year_behind_for_a_while_hides_no_edit(installed: WorkerHarness) -> None:
    scene, _ = synced(installed)
    real = installed.clock.now
    installed.clock.now = installed.clock.started = real - 365 * DAY
    installed.restart()
    installed.run_for(HOUR)
    installed.stash.change_silently(scene.id, title="From the past")
    installed.run_for(2 * HOUR)
    installed.clock.now = installed.clock.started = real + HOUR
    installed.restart()
    installed.run_for(DAY)
    assert installed.title(scene) == "From the past"


def test_the_state_of_the_passes_is_on_disk(harness: WorkerHarness, tmp_path: Path) -> None:
    def open_history() -> History:
        database = connect(str(tmp_path / "history.db"), any_thread=True)
        return History(database, now=harness.clock.time)

    scenes = [harness.pair(f"s{number}")[0] for number in range(4)]
    harness.new_worker(compares=True, history=open_history())
    harness.run_for(60)
    for scene in scenes:
        harness.clock.advance(HOUR)
        harness.stash.change_silently(scene.id, title=f"Round {scene.id}")
        for _ in range(2):
            harness.new_worker(compares=True, history=open_history())
            harness.run_for(60)

    assert [harness.title(scene) for scene in scenes] == [f"Round {scene.id}" for scene in scenes]
    assert len(harness.plex.writes) == len(scenes)
    harness.worker.history._db.close()


@pytest.mark.parametrize("state", [[], {"watermark": None}, {"related": {}}, {}], ids=str)
def test_a_watermark_that_was_lost_hides_no_edit_for_long(
    installed: WorkerHarness, state: Any
) -> None:
    scene, _ = synced(installed)
    installed.worker.history.set(QUICK, state)
    installed.stash.change_silently(scene.id, title="Missed")
    installed.restart()
    installed.run_for(DAY)
    installed.restart()
    installed.run_for(HOUR)
    assert installed.title(scene) == "Missed"


# --- performers, studios, tags, groups


def age(harness: WorkerHarness) -> None:
    """Let other scenes change, so that those of before are no recent ones any more."""
    harness.clock.advance(3 * HOUR)
    harness.stash.add_scene(title="newer", files=[])
    turn(harness)
    harness.clock.advance(HOUR)


KINDS: dict[str, tuple[str, str]] = {
    "performer": ("performers", "actors"),
    "studio": ("studio", "studio"),
    "tag": ("tags", "genres"),
    "group": ("groups", "collections"),
}


def shown(item: PlexItem, attribute: str) -> list[str]:
    value = getattr(item, attribute)
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("kind", some(KINDS, 2))
def test_a_rename_without_a_hook_reaches_all_its_scenes(
    installed: WorkerHarness, kind: str
) -> None:
    field, attribute = KINDS[kind]
    value: Any = "Before" if kind == "studio" else ["Before"]
    pairs = [installed.pair(f"s{number}", **{field: value}) for number in range(45)]
    other, _ = installed.pair("other")
    turn(installed)
    assert all(shown(item, attribute) == ["Before"] for _, item in pairs)
    age(installed)
    before = [scene.updated_at for scene, _ in pairs]
    count = done(installed)

    installed.stash.rename_silently(kind, "Before", "After")
    turn(installed)

    assert [installed.stash.scene(scene.id).updated_at for scene, _ in pairs] == before
    assert all("After" in shown(item, attribute) for _, item in pairs)
    assert not any("Before" in shown(item, attribute) for _, item in pairs)
    assert done(installed) == count + 45, f"scene {other.id} is not among them"
    assert installed.worker.history.passes() == {}


def test_a_rename_while_no_worker_ran_is_found_at_the_next_start(
    installed: WorkerHarness,
) -> None:
    _, item = synced(installed, tags=["Before"])
    age(installed)
    installed.stash.rename_silently("tag", "Before", "After")
    installed.clock.advance(10 * HOUR)
    installed.restart()
    installed.run_for(60)
    assert item.genres == ["After"]


def test_many_renames_at_once_are_all_found(installed: WorkerHarness) -> None:
    tags = [f"Tag {number}" for number in range(130)]
    items = [installed.pair(f"s{n}", tags=tags[n * 10 : n * 10 + 10])[1] for n in range(13)]
    turn(installed)
    age(installed)
    for tag in tags:
        installed.stash.rename_silently("tag", tag, f"New {tag}")
    turn(installed)
    assert [sorted(item.genres) for item in items] == [
        sorted(f"New {tag}" for tag in tags[n * 10 : n * 10 + 10]) for n in range(13)
    ]


def test_a_merge_without_a_hook_is_found_as_there_are_fewer(installed: WorkerHarness) -> None:
    scene, item = synced(installed, tags=["Wrong", "Kept"], performers=["Ann"])
    installed.stash.add_scene(title="other", tags=["Right"], performers=["Anne"], files=[])
    turn(installed)
    age(installed)
    installed.stash.merge_silently("tag", ["Wrong"], "Right")
    installed.stash.merge_silently("performer", ["Ann"], "Anne")
    turn(installed)
    assert (sorted(item.genres), item.actors) == (["Kept", "Right"], ["Anne"])
    assert installed.differences(scene) == []


@pytest.mark.parametrize("kind", some(KINDS, 2))
def test_what_was_deleted_without_a_hook_leaves_plex(installed: WorkerHarness, kind: str) -> None:
    field, attribute = KINDS[kind]
    value: Any = "Gone" if kind == "studio" else ["Gone"]
    installed.add_item("beside", collections=["Gone"])  # which does not end then
    scene, item = synced(installed, **{field: value})
    age(installed)
    installed.stash.destroy_silently(kind, "Gone")
    turn(installed)
    assert "Gone" not in shown(item, attribute) or kind == "group"
    if kind != "group":  # collections are left only where we added the item; so it is here, too
        assert installed.differences(scene) == []


def test_one_more_deletion_within_the_hour_waits_for_its_pass(installed: WorkerHarness) -> None:
    _, item = synced(installed, tags=["One", "Two"])
    age(installed)
    installed.stash.destroy_silently("tag", "One")
    turn(installed)
    assert item.genres == ["Two"]
    installed.stash.destroy_silently("tag", "Two")
    installed.run_for(HOUR + TURN)
    installed.restart()
    installed.run_for(TURN)
    assert item.genres == []


# --- changes in Plex


def by_a_person(harness: WorkerHarness, item: PlexItem, **values: Any) -> None:
    """Edit fields in Plex's own app, which locks them."""
    state = harness.plex._state
    with state.lock:
        state.set_values(item, values)
        item.locked |= set(values)
        item.updated_at += 100
        state.changed(item)


def by_nobody(harness: WorkerHarness, item: PlexItem, **values: Any) -> None:
    """Change fields as a refresh of unlocked ones does."""
    state = harness.plex._state
    with state.lock:
        state.set_values(item, values)
        item.locked -= set(values)
        item.updated_at += 100
        state.changed(item)


def test_an_item_removed_and_added_again_gets_its_values_back(installed: WorkerHarness) -> None:
    scene, _ = synced(installed, details="About", tags=["T"], performers=["P"], studio="S")
    new = installed.plex.replace_item("/media/a.mp4")
    assert installed.differences(scene)
    turn(installed)
    assert installed.differences(scene) == []
    assert new.title == "Synced a"


def test_an_item_that_comes_back_later_gets_its_values_back(installed: WorkerHarness) -> None:
    scene, item = synced(installed, tags=["T"])
    installed.plex.remove_item(item.rating_key)
    for _ in range(3):
        turn(installed)
    installed.clock.advance(DAY)
    installed.restart()
    turn(installed)
    assert installed.letters() == []
    installed.add_item("a")
    turn(installed)
    assert installed.differences(scene) == []


def test_an_item_emptied_by_a_refresh_gets_its_values_back(installed: WorkerHarness) -> None:
    installed.configure(lock_fields=False)
    scene, item = synced(installed, details="About", tags=["T"], studio="S")
    installed.plex.refresh_item(item.rating_key)
    by_nobody(installed, item)
    assert item.title != "Synced a"
    turn(installed)
    assert installed.differences(scene) == []


def test_a_persons_edit_in_plex_stays_until_stash_changes_that_field(
    installed: WorkerHarness,
) -> None:
    scene, item = synced(installed, details="About")
    by_a_person(installed, item, title="Mine")
    for _ in range(3):
        turn(installed)
    assert item.title == "Mine"
    installed.stash.change_silently(scene.id, details="Other field")
    turn(installed)
    assert (item.title, item.summary) == ("Mine", "Other field")
    installed.stash.change_silently(scene.id, title="Stash's")
    turn(installed)
    assert item.title == "Stash's"


def test_a_field_that_drifts_again_and_again_is_left_in_the_end(installed: WorkerHarness) -> None:
    """At once, after a day, after a week; then it is said once."""
    scene, item = synced(installed)
    installed.notices()

    def drift_and_look(wait: float) -> bool:
        by_nobody(installed, item, title="Another tool's")
        installed.clock.advance(wait)
        installed.restart()
        installed.run_for(HOUR)
        return item.title == "Synced a"

    assert drift_and_look(0)
    assert not drift_and_look(0)
    assert drift_and_look(DAY)
    assert not drift_and_look(DAY)
    assert drift_and_look(7 * DAY)
    assert not drift_and_look(30 * DAY)
    said = [text for _, text in installed.notices() if "again and again" in text]
    assert len(said) == 1
    installed.edit(scene)
    installed.run_for(60)
    assert item.title == "Synced a"


def test_without_repair_drift_stays(installed: WorkerHarness) -> None:
    installed.configure(repair_drift=False)
    _, item = synced(installed)
    by_nobody(installed, item, title="Drifted")
    for _ in range(3):
        turn(installed)
    assert item.title == "Drifted"


def test_a_plex_restored_from_a_backup_gets_its_values_back(installed: WorkerHarness) -> None:
    """Its times go back, so nothing in it is newer."""
    scene, item = synced(installed, tags=["T"])
    saved = installed.plex.backup()
    with installed.plex._state.lock:
        item.updated_at += 100
    installed.edit(scene, "Later", tags=["T", "U"])
    installed.run_for(60)
    installed.clock.advance(HOUR)
    turn(installed)
    installed.plex.restore(saved)
    assert installed.title(scene) == "Synced a"
    turn(installed)
    assert installed.title(scene) in ("Later", "Synced a")
    installed.restart()
    installed.run_for(2 * DAY)
    assert installed.worker.history.get(HELD) is None


def test_more_than_two_hundred_items_that_drifted_wait_for_a_yes(
    installed: WorkerHarness,
) -> None:
    pairs = [installed.pair(f"s{number}") for number in range(205)]
    turn(installed)
    assert all(item.title == scene.title for scene, item in pairs)
    installed.clock.advance(HOUR)
    for _, item in pairs:
        by_nobody(installed, item, title="Emptied")
    installed.notices()
    writes = len(installed.plex.writes)

    installed.run_for(HOUR)
    installed.restart()
    installed.run_for(HOUR)

    assert len(installed.plex.writes) == writes
    held = installed.worker.history.get(HELD)
    assert held["count"] == 205
    said = [text for _, text in installed.notices() if "205 scenes would change" in text]
    assert len(said) == 1

    saved, _ = pairs[3]
    installed.edit(saved, "Saved meanwhile")
    installed.run_for(60)
    assert installed.title(saved) == "Saved meanwhile"

    installed.command("approve")
    installed.run_for(HOUR)
    assert all(item.title == installed.stash.scene(scene.id).title for scene, item in pairs)
    assert installed.worker.history.get(HELD) is None


# --- settings and libraries


def test_other_settings_rest_five_minutes_before_scenes_are_compared(
    installed: WorkerHarness,
) -> None:
    scene, item = synced(installed, rating100=80)
    assert "userRating" not in item.values
    turn(installed)
    installed.configure(sync_rating=True)
    installed.run_for(Timing().quick_pass)  # notices the settings
    writes = len(installed.plex.writes)
    installed.run_for(60)
    assert len(installed.plex.writes) == writes
    installed.run_for(2 * TURN)
    assert item.user_rating == 8.0
    assert statuses(installed, scene) == [Status.IN_SYNC]


def test_settings_that_change_nothing_cost_no_pass(installed: WorkerHarness) -> None:
    synced(installed)
    turn(installed)
    installed.stash.log.clear()
    installed.configure(max_retries=7, poll_interval=2)
    installed.run_for(HOUR)
    assert not [one for one in installed.stash.log.all() if b"PlexSyncPage" in one.request.body]


def test_a_library_that_appears_later_is_offered_and_not_included(
    installed: WorkerHarness,
) -> None:
    synced(installed)
    private = installed.plex.add_library("Private", ["/private"])
    item = installed.plex.add_item(private, "/private/late.mp4", size=100)
    scene = installed.stash.add_scene(title="Late", files=[("/private/late.mp4", 100)])
    installed.notices()
    for _ in range(3):
        turn(installed)
    assert item.title == "late"
    assert statuses(installed, scene) == [Status.NOT_IN_PLEX]
    said = [text for _, text in installed.notices() if "Private" in text]
    assert len(said) == 1

    installed.configure(plex_libraries="Scenes, Private")
    installed.run_for(HOUR)
    assert item.title == "Late"


# --- failures, costs


def test_a_scene_that_fails_is_not_queued_again_and_again(installed: WorkerHarness) -> None:
    scene = installed.stash.add_scene(title="no file")
    for _ in range(5):
        turn(installed)
        installed.restart()
    assert installed.letters() == [], "nobody's edit"
    assert statuses(installed, scene) == [Status.FAILED]
    assert done(installed) == 1


def test_a_failed_scene_is_tried_again_when_it_changes(installed: WorkerHarness) -> None:
    scene = installed.stash.add_scene(title="no file")
    turn(installed)
    item = installed.add_item("now")
    installed.stash.change_silently(scene.id, files=[("/data/now.mp4", 100)])
    turn(installed)
    assert item.title == "no file"
    assert statuses(installed, scene) == [Status.IN_SYNC]


def test_passes_without_changes_cost_few_requests(installed: WorkerHarness) -> None:
    for number in range(30):
        synced(installed, f"s{number}")
    turn(installed)
    installed.stash.log.clear()
    installed.plex.log.clear()
    count = 6
    for _ in range(count):
        turn(installed)
    assert len(installed.stash.log) <= 5 * (count + 1)
    assert len(installed.plex.log) <= 6 * (count + 1)
    assert installed.plex.log.count("GET", r"/library/metadata/") == 0


def test_a_library_that_was_changed_as_a_whole_is_not_read_at_every_pass(
    installed: WorkerHarness,
) -> None:
    """After a first scan, or a bulk edit, all scenes are of the same hour."""
    for _ in range(150):
        installed.stash.add_scene(files=[])
    for _ in range(3):
        turn(installed)
    installed.stash.log.clear()
    for _ in range(6):
        turn(installed)
    pages = [one for one in installed.stash.log.all() if b"PlexSyncPage" in one.request.body]
    assert len(pages) <= 3


def test_a_pass_that_has_not_begun_is_not_asked_for_twice(installed: WorkerHarness) -> None:
    passes = installed.worker.passes
    first = passes.start(related_passes("group", 3)[0])
    assert passes.start(related_passes("group", 3)[0]) == first
    assert passes.start(related_passes("group", 4)[0]) != first
    one = passes.all()[first]
    one.cursor = 7
    passes._save(first, one)
    again = passes.start(related_passes("group", 3)[0])
    assert again != first, "the one under way may be past what has changed"
    assert passes.start(related_passes("group", 3)[0]) == again


def test_a_damaged_database_met_by_a_pass_ends_the_worker_for_a_recovery(
    installed: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr("worker.reconcile.quick.QuickPass.run", run)
    installed.restart()
    installed.run_for(TURN)
    assert isinstance(installed.worker.damage, sqlite3.DatabaseError)
