"""The full pass: every scene and every record, in slices; what is gone is forgotten, with care."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import pytest

from common.env import Timing
from history.records import Status
from queue.operations import load_sync_timestamps
from tests.harness.clock import HOUR
from tests.harness.in_process import WorkerHarness
from tests.harness.size import some
from tests.simulators.httpd import Answer, Delay, Request
from tests.simulators.plex import PlexItem
from tests.simulators.plex.habits import TAGS_AND_RATING, UpdatedAt
from tests.simulators.stash import Scene
from worker.reconcile import approval, passes
from worker.reconcile.approval import HELD
from worker.reconcile.passes import FULL, SYNC

DAY = 24 * HOUR
REAL = {(passes, "PAGE"): 500, (passes, "AHEAD"): 200, (approval, "MOST_UNASKED"): 200}
FOUND = {key: getattr(*key) for key in REAL}
#: In these tests: a tenth of that, with a tenth of the scenes.
PAGE, AHEAD, MOST_UNASKED = 50, 20, 20


@pytest.fixture(autouse=True)
def a_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "PAGE", PAGE)
    monkeypatch.setattr(passes, "AHEAD", AHEAD)
    monkeypatch.setattr(approval, "MOST_UNASKED", MOST_UNASKED)


@pytest.fixture
def installed(harness: WorkerHarness) -> WorkerHarness:
    """Return a harness whose worker was installed a day ago, beside one old scene."""
    harness.take_long_steps()
    harness.pair("old", updated_at=harness.clock.now - DAY)
    harness.new_worker(compares=True)
    harness.run_for(60)
    harness.clock.advance(DAY)
    return harness


def synced(harness: WorkerHarness, count: int = 1, **fields: Any) -> list[tuple[Scene, PlexItem]]:
    """Return scenes that were synced a day ago."""
    pairs = [harness.pair(f"s{number:03}", **fields) for number in range(count)]
    harness.edit_all([scene for scene, _ in pairs])
    harness.run_for(60)
    assert harness.in_sync([scene for scene, _ in pairs])
    harness.clock.advance(DAY)
    return pairs


def day(harness: WorkerHarness) -> None:
    """Run a day's full pass in a new worker, and what it queues."""
    harness.restart()
    harness.run_for(HOUR)
    harness.clock.advance(DAY)


def statuses(harness: WorkerHarness, scene: Scene) -> list[Status]:
    return [row.status for row in harness.worker.history.of_scene(scene.id)]


def is_page(request: Request) -> bool:
    """Return whether the request is for one page of all scenes."""
    return b"PlexSyncPage" in request.body


def pages(harness: WorkerHarness) -> int:
    return sum(is_page(one.request) for one in harness.stash.log.all())


# --- what only comparing all finds


def test_an_imported_scene_with_old_dates_is_found(installed: WorkerHarness) -> None:
    item = installed.add_item("imported")
    installed.stash.import_scene(
        created_at=installed.clock.now - 900 * DAY,
        updated_at=installed.clock.now - 800 * DAY,
        title="Imported",
        files=[("/data/imported.mp4", 100)],
    )
    day(installed)
    assert item.title == "Imported"


def test_an_import_over_a_scene_is_found_though_its_date_goes_back(
    installed: WorkerHarness,
) -> None:
    ((scene, item),) = synced(installed)
    installed.stash.import_scene(
        replaces=scene.id,
        created_at=scene.created_at,
        updated_at=installed.clock.now - 800 * DAY,
        title="Imported",
    )
    day(installed)
    assert item.title == "Imported"
    day(installed)
    assert installed.worker.history.get(HELD) is None


def test_a_stash_restored_from_a_backup_waits_for_a_yes(installed: WorkerHarness) -> None:
    pairs = synced(installed, 210)
    saved = installed.stash.snapshot()
    for scene, _ in pairs:
        installed.edit(scene, f"Later {scene.id}")
    installed.run_for(60)
    assert all(item.title == f"Later {scene.id}" for scene, item in pairs)
    installed.stash.restore(saved)
    writes = len(installed.plex.writes)

    day(installed)

    assert len(installed.plex.writes) == writes
    assert installed.worker.history.get(HELD)["count"] == 210
    installed.restart()
    installed.command("approve")
    installed.run_for(HOUR)
    assert installed.in_sync([scene for scene, _ in pairs])


def test_a_change_in_plex_that_moves_no_time_is_found_in_a_month(installed: WorkerHarness) -> None:
    """Some edits leave updatedAt. A thirtieth of the items is read whole each day."""
    installed.plex.settings.updated_at = UpdatedAt(unmoved_by=TAGS_AND_RATING)
    pairs = synced(installed, 5, tags=["T"])
    for _, item in pairs:
        item.locked.discard("genre")
        item.tags["genre"] = []
        item.rendered = None
    installed.plex.log.clear()
    counts = []
    for _ in range(8):
        day(installed)
        counts.append(sum(item.genres == ["T"] for _, item in pairs))

    assert counts[-1] == 5
    assert counts[0] <= 2, "not all at once"
    assert installed.plex.log.count("GET", r"/library/metadata/") <= 30


def test_a_file_moved_in_stash_and_back_is_matched_by_its_path(installed: WorkerHarness) -> None:
    ((scene, item),) = synced(installed)
    installed.stash.move_file(scene.id, "/data/elsewhere.mp4")
    day(installed)
    assert statuses(installed, scene)[0] is Status.NOT_IN_PLEX
    installed.stash.move_file(scene.id, "/data/s000.mp4")
    day(installed)
    assert statuses(installed, scene) == [Status.IN_SYNC]
    assert installed.letters() == []
    assert item.title == f"New {scene.id}"


# --- how often, and what it costs


def test_it_runs_daily_not_more_often(installed: WorkerHarness) -> None:
    synced(installed, 3)
    installed.restart()
    installed.run_for(HOUR)
    installed.stash.log.clear()
    for _ in range(20):
        installed.restart()
        installed.run_for(HOUR)
    assert pages(installed) == 0
    installed.clock.advance(5 * HOUR)
    installed.restart()
    installed.run_for(HOUR)
    assert pages(installed) == 1


def local(moment: float) -> datetime:
    return datetime.fromtimestamp(moment)


def test_it_runs_at_the_time_of_day_that_the_setting_says(installed: WorkerHarness) -> None:
    """A worker that waits looks at that moment, not at the next look; it keeps to it every day."""
    synced(installed, 3)
    at = local(installed.clock.now).replace(minute=25) + timedelta(hours=5)
    installed.configure(compare_at=f"{at:%H:%M}", poll_interval=30)
    installed.clock.timing = dataclasses.replace(
        installed.clock.timing, quick_pass=2 * HOUR, idle_timeout=100 * DAY
    )
    installed.restart()
    installed.run_for(HOUR)  # the last one was missed: it is made up for
    installed.stash.log.clear()
    asked: list[str] = []

    def when(request: Request) -> bool:
        if is_page(request):
            asked.append(f"{local(installed.clock.now):%H:%M}")
        return False

    rule = installed.stash.faults.add(Delay(0), when=when)
    for _ in range(3):
        installed.run_for(DAY)
    rule.remove()
    assert asked == [f"{at:%H:%M}"] * 3


def test_a_missed_one_is_made_up_for_and_the_next_one_is_at_its_time(
    installed: WorkerHarness,
) -> None:
    at = local(installed.clock.now) - timedelta(hours=2)
    installed.configure(compare_at=f"{at:%H:%M}")
    day(installed)  # an hour's run, then nothing for a day
    installed.stash.log.clear()
    installed.restart()
    installed.run_for(HOUR)
    assert pages(installed) == 1
    installed.clock.advance(19.8 * HOUR)
    installed.restart()
    installed.run_for(600)
    assert pages(installed) == 1
    installed.clock.advance(2 * HOUR)
    installed.restart()
    installed.run_for(600)
    assert pages(installed) == 2


def test_another_time_of_day_counts_at_once(installed: WorkerHarness) -> None:
    installed.restart()
    installed.run_for(HOUR)
    installed.clock.advance(3 * HOUR)
    installed.restart()
    installed.stash.log.clear()
    installed.run_for(600)
    assert pages(installed) == 0
    past = local(installed.clock.now) - timedelta(minutes=30)
    installed.configure(compare_at=f"{past:%H:%M}")
    installed.run_for(1200)
    assert pages(installed) == 1


@pytest.mark.parametrize("ended_in", [DAY, 400 * DAY, -2 * DAY])
def test_an_end_in_the_future_counts_as_due(installed: WorkerHarness, ended_in: float) -> None:
    installed.worker.history.set("full_pass_ended_at", installed.clock.now + ended_in)
    installed.stash.log.clear()
    installed.restart()
    installed.run_for(60)
    assert pages(installed) == 1


def test_an_unchanged_library_costs_its_pages_and_no_item(installed: WorkerHarness) -> None:
    for _ in range(2 * PAGE + 2):
        installed.stash.add_scene(files=[], updated_at=installed.clock.now - 2 * DAY)
    synced(installed, 10)
    installed.stash.log.clear()
    day(installed)
    installed.stash.log.clear()
    installed.plex.log.clear()
    writes = len(installed.plex.writes)

    day(installed)

    assert pages(installed) == 3
    assert len(installed.plex.writes) == writes
    assert installed.plex.log.count("GET", r"/library/metadata/") <= 1


def test_a_slice_is_one_page_and_edits_go_between(installed: WorkerHarness) -> None:
    for _ in range(3 * PAGE):
        installed.stash.add_scene(files=[], updated_at=installed.clock.now - 2 * DAY)
    ((scene, item),) = synced(installed)
    installed.restart()
    asked: list[str] = []

    def when(request: Request) -> bool:
        if is_page(request):
            asked.append(item.title)
            if len(asked) == 2:
                installed.edit(scene, "Meanwhile")
        return False

    installed.stash.faults.add(Delay(0), when=when)
    installed.run_for(60)

    assert asked == [f"New {scene.id}", f"New {scene.id}", "Meanwhile", "Meanwhile"]


def test_what_it_queues_never_runs_far_ahead(installed: WorkerHarness) -> None:
    scenes = [installed.pair(f"s{number}")[0] for number in range(45)]
    most = 0

    def when(_: Request) -> bool:
        nonlocal most
        most = max(most, installed.waiting())
        return False

    installed.plex.faults.add(Delay(0), when=when)
    day(installed)
    assert [installed.title(scene) for scene in scenes] == [scene.title for scene in scenes]
    assert most <= AHEAD


# --- a pass that is interrupted


class Killed(BaseException):
    """Simulate a kill: no code catches this exception."""


@pytest.mark.parametrize("page", [1, 2, 3])
def test_a_killed_pass_goes_on_where_it_was(
    installed: WorkerHarness, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = installed.clock.now - 800 * DAY  # no quick pass reads them
    last = [installed.stash.add_scene(files=[], updated_at=old) for _ in range(3 * PAGE - 1)][-1]
    installed.pair("very last", updated_at=old)
    installed.restart()
    installed.stash.log.clear()
    read, page_after = 0, type(installed.client).page_after

    def die(*arguments: Any) -> list[Any]:
        nonlocal read
        read += 1
        if read == page:
            raise Killed
        return page_after(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(type(installed.client), "page_after", die)
        with pytest.raises(Killed):
            installed.run_for(HOUR)
    (content,) = installed.worker.history.passes().values()
    assert (content["kind"], content["cursor"] > 0) == (FULL, page > 1)
    before = pages(installed)
    assert before == page - 1

    installed.restart()
    installed.run_for(HOUR)

    assert pages(installed) - before == 4 - before, "no page is read twice"
    assert len(installed.worker.history.of_scene(last.id)) == 1
    assert installed.worker.history.passes() == {}
    assert installed.title(installed.stash.library.scenes()[-1]) == "Title of very last"


@pytest.mark.parametrize("page", [1, 2])
@pytest.mark.parametrize("server", ["stash", "plex"])
def test_an_outage_in_the_middle_concludes_nothing_and_loses_nothing(
    installed: WorkerHarness, page: int, server: str
) -> None:
    ((scene, _),) = synced(installed)
    for _ in range(PAGE + 5):
        installed.stash.add_scene(files=[], updated_at=installed.clock.now - 2 * DAY)
    missed, _ = installed.pair("missed", updated_at=installed.clock.now - 800 * DAY)
    read = 0

    def when(request: Request) -> bool:
        nonlocal read
        read += is_page(request)
        return read == page and server == "stash" and is_page(request)

    fault = installed.stash.faults.add(Answer(500), when=when)
    if server == "plex":
        fault_in_plex = installed.plex.faults.add(Answer(503), when=lambda _: read == page)
    installed.clock.after(1500, fault.remove)
    if server == "plex":
        installed.clock.after(1500, fault_in_plex.remove)
    installed.restart()
    installed.run_for(2 * HOUR)
    installed.restart()
    installed.run_for(HOUR)

    assert installed.title(missed) == "Title of missed"
    assert installed.synced_at(scene) is not None
    rows = installed.worker.history.of_scene(scene.id)
    assert [(row.status, row.missing_since) for row in rows] == [(Status.IN_SYNC, None)]


# --- deleted scenes


def test_a_scene_deleted_with_its_hook_finishes_its_job_and_is_noted(
    installed: WorkerHarness,
) -> None:
    (first, _), (second, _) = synced(installed, 2)
    installed.stash.delete_silently(first.id)
    installed.edit(first)
    installed.run_for(60)
    assert installed.waiting() == 0
    assert installed.letters() == []
    assert installed.synced_at(first) is None
    assert installed.synced_at(second) is not None
    (row,) = installed.worker.history.of_scene(first.id)
    assert row.missing_since is not None


def test_a_scene_is_forgotten_after_two_passes_a_day_apart(installed: WorkerHarness) -> None:
    (first, _), (second, _) = synced(installed, 2)
    installed.stash.delete_silently(first.id)

    day(installed)
    (row,) = installed.worker.history.of_scene(first.id)
    assert row.missing_since is not None
    assert first.id not in load_sync_timestamps(installed.data_dir)
    day(installed)

    assert installed.worker.history.of_scene(first.id) == []
    assert installed.synced_at(second) is not None
    (row,) = installed.worker.history.of_scene(second.id)
    assert row.missing_since is None


def test_two_passes_within_a_day_forget_nothing(installed: WorkerHarness) -> None:
    (first, _), _ = synced(installed, 2)
    installed.stash.delete_silently(first.id)
    for _ in range(5):
        installed.restart()
        installed.worker.passes.ask_full("asked for by the test")
        installed.run_for(HOUR)
    assert len(installed.worker.history.of_scene(first.id)) == 1


def test_a_scene_that_is_back_the_next_day_is_as_before(installed: WorkerHarness) -> None:
    ((scene, item),) = synced(installed, tags=["T"])
    saved = installed.stash.snapshot()
    installed.stash.delete_silently(scene.id)
    day(installed)
    installed.stash.restore(saved)
    day(installed)
    (row,) = installed.worker.history.of_scene(scene.id)
    assert (row.missing_since, row.status) == (None, Status.IN_SYNC)
    day(installed)
    assert len(installed.worker.history.of_scene(scene.id)) == 1
    installed.stash.change_silently(scene.id, tags=[])
    day(installed)
    assert item.genres == []


def test_a_reused_id_is_another_scene(installed: WorkerHarness) -> None:
    """Stash restored from a backup gives ids away again: what was ours there, is not here."""
    ((scene, item),) = synced(installed, tags=["Ours"])
    installed.stash.delete_silently(scene.id)
    again = installed.stash.add_scene(
        title="Another", scene_id=scene.id, files=[("/data/other.mp4", 100)]
    )
    other = installed.add_item("other")
    day(installed)
    assert again.id == scene.id
    assert other.title == "Another"
    assert (item.title, item.genres) == (f"New {scene.id}", ["Ours"])


@pytest.mark.parametrize("fault", some([Answer(200, b'{"data": null}'), Answer(500)], 1))
def test_a_failed_listing_forgets_no_scene(installed: WorkerHarness, fault: Answer) -> None:
    ((scene, _),) = synced(installed)
    installed.stash.faults.add(fault, when=is_page)
    for _ in range(2):
        day(installed)
    assert installed.synced_at(scene) is not None
    (row,) = installed.worker.history.of_scene(scene.id)
    assert row.missing_since is None


def test_a_scene_deleted_during_a_pass_affects_no_other(installed: WorkerHarness) -> None:
    pairs = synced(installed, 3)
    for _ in range(PAGE + 5):
        installed.stash.add_scene(files=[], updated_at=installed.clock.now - 2 * DAY)
    read = 0

    def destroy_first(request: Request) -> bool:
        nonlocal read
        read += is_page(request)
        if read == 2 and is_page(request):
            installed.stash.delete_silently(pairs[0][0].id)
        return False

    rule = installed.stash.faults.add(Delay(0), when=destroy_first)
    day(installed)
    rule.remove()
    assert read >= 2
    for _ in range(2):
        day(installed)
    assert installed.worker.history.of_scene(pairs[0][0].id) == []
    assert [installed.synced_at(scene) is None for scene, _ in pairs] == [True, False, False]


def test_a_stash_that_looks_empty_for_days_loses_nothing(installed: WorkerHarness) -> None:
    pairs = synced(installed, 24)
    installed.stash.looks_empty = True
    installed.edit(pairs[0][0])
    installed.notices()
    for _ in range(4):
        day(installed)
    assert all(
        row.missing_since is None
        for scene, _ in pairs
        for row in installed.worker.history.of_scene(scene.id)
    )
    assert [job["scene_id"] for job in installed.jobs()] == [pairs[0][0].id], "it keeps its place"
    assert installed.letters() == []
    assert len(load_sync_timestamps(installed.data_dir)) == 24
    assert any("of the 25 scenes" in text for _, text in installed.notices())

    installed.stash.looks_empty = False
    installed.stash.change_silently(pairs[0][0].id, title="Edited")
    for _ in range(2):
        day(installed)
    assert installed.jobs() == []
    assert pairs[0][1].title == "Edited"
    assert installed.worker.history.known_scenes() == 25


def test_scenes_that_the_user_has_deleted_are_forgotten_after_a_yes(
    installed: WorkerHarness,
) -> None:
    pairs = synced(installed, 40)
    for scene, _ in pairs[5:]:
        installed.stash.delete_silently(scene.id)
    for _ in range(3):
        day(installed)
    assert installed.worker.history.known_scenes() == 41
    installed.restart()
    installed.command("approve")
    for _ in range(3):
        day(installed)
    assert installed.worker.history.known_scenes() == 6


def after_a_yes(harness: WorkerHarness, count: int) -> list[tuple[Scene, PlexItem]]:
    """Have the user delete all of 41 scenes but some, and say so; return those that are left."""
    pairs = synced(harness, 40)
    harness.stash.delete_silently(1)  # which was there when PlexSync was installed
    for scene, _ in pairs[count:]:
        harness.stash.delete_silently(scene.id)
    day(harness)
    harness.command("approve")
    return pairs[:count]


def synced_later(harness: WorkerHarness, count: int) -> list[tuple[Scene, PlexItem]]:
    pairs = [harness.pair(f"later{number:03}") for number in range(count)]
    harness.edit_all([scene for scene, _ in pairs])
    harness.run_for(120)
    assert harness.in_sync([scene for scene, _ in pairs])
    return pairs


@pytest.mark.parametrize("left", [5, 0])
def test_a_yes_to_fewer_scenes_is_for_those_alone(installed: WorkerHarness, left: int) -> None:
    after_a_yes(installed, left)
    for _ in range(2):
        day(installed)
    assert installed.worker.history.known_scenes() == left
    ignored, item = synced_later(installed, 60)[0]
    installed.command("ignore", scene_id=ignored.id)
    installed.edit(ignored, "Private")
    installed.notices()
    installed.stash.looks_empty = True
    for _ in range(4):
        day(installed)
    assert any("Stash shows 0 of the" in text for _, text in installed.notices())
    installed.stash.looks_empty = False
    for _ in range(2):
        day(installed)
    assert item.title != "Private"


def test_a_yes_to_fewer_scenes_ends_with_their_records(installed: WorkerHarness) -> None:
    after_a_yes(installed, 5)
    for _ in range(2):
        day(installed)
    installed.restart()
    installed.run_for(HOUR)  # no further full pass sees the next scenes come
    later = synced_later(installed, 60)
    for scene, _ in later[3:]:
        installed.stash.delete_silently(scene.id)
    installed.notices()
    installed.clock.advance(DAY)
    day(installed)  # 8 of 65: more than half of those that the yes was about
    assert any("Stash shows 8 of the 65" in text for _, text in installed.notices())


def test_a_yes_to_fewer_scenes_is_no_yes_to_none(installed: WorkerHarness) -> None:
    ((scene, _), *_) = after_a_yes(installed, 5)
    installed.stash.looks_empty = True
    for _ in range(3):
        day(installed)
    (row,) = installed.worker.history.of_scene(scene.id)
    assert row.missing_since is None
    installed.stash.looks_empty = False
    for _ in range(3):
        day(installed)
    assert installed.worker.history.known_scenes() == 5, "the yes holds until it is carried out"


def test_scenes_that_come_after_a_yes_are_guarded_too(installed: WorkerHarness) -> None:
    after_a_yes(installed, 0)
    ((scene, _), *_) = synced_later(installed, 15)
    day(installed)  # of 56 scenes on record, Stash has 15
    installed.stash.looks_empty = True
    for _ in range(3):
        day(installed)
    assert [row.missing_since for row in installed.worker.history.of_scene(scene.id)] == [None]


def test_a_yes_that_was_wrong_ends_when_the_scenes_are_back(installed: WorkerHarness) -> None:
    ((scene, _), *_) = synced(installed, 24)
    installed.stash.looks_empty = True
    day(installed)
    installed.command("approve")
    installed.stash.looks_empty = False
    day(installed)
    installed.stash.looks_empty = True
    for _ in range(3):
        day(installed)
    assert [row.missing_since for row in installed.worker.history.of_scene(scene.id)] == [None]


def test_what_plex_had_before_us_is_kept_until_its_item_is_gone(installed: WorkerHarness) -> None:
    ((scene, item),) = synced(installed)
    database = installed.worker.history._db
    key = item.rating_key
    installed.stash.delete_silently(scene.id)
    for _ in range(3):
        day(installed)

    def kept() -> int:
        query = "SELECT count(*) FROM agreements WHERE rating_key = ?"
        return int(database.execute(query, (key,)).fetchone()[0])

    assert installed.worker.history.of_scene(scene.id) == []
    assert kept() == 1
    installed.plex.remove_item(key)
    for _ in range(2):
        day(installed)
    assert kept() == 0


# --- nothing big unasked


def drifted(harness: WorkerHarness, count: int) -> list[tuple[Scene, PlexItem]]:
    """Return synced scenes whose titles in Plex were changed by nobody, without a trace."""
    pairs = synced(harness, count)
    for _, item in pairs:
        drift(item)
    return pairs


def drift(item: PlexItem) -> None:
    item.values["title"] = "Drifted"
    item.locked.discard("title")
    item.updated_at -= 50
    item.rendered = None


def test_few_items_are_repaired_unasked(installed: WorkerHarness) -> None:
    pairs = drifted(installed, MOST_UNASKED)
    day(installed)
    assert installed.in_sync([scene for scene, _ in pairs])
    assert installed.worker.history.get(HELD) is None


def test_more_are_held_back_said_once_and_go_after_a_yes(installed: WorkerHarness) -> None:
    pairs = drifted(installed, MOST_UNASKED + 1)
    installed.notices()
    writes = len(installed.plex.writes)
    for _ in range(3):
        day(installed)
    assert len(installed.plex.writes) == writes
    held = installed.worker.history.get(HELD)
    assert (held["count"], held["reasons"]) == (21, {"changed in Plex": 21})
    said = [text for _, text in installed.notices() if "21 scenes would change" in text]
    assert len(said) == 1
    assert "Approve changes" in said[0]

    installed.restart()
    assert installed.command("approve") == {"approved": 21}
    installed.run_for(HOUR)

    assert installed.in_sync([scene for scene, _ in pairs])
    assert installed.worker.history.get(HELD) is None
    assert installed.worker.history.proposals() == []


def test_a_no_drops_what_was_held_back(installed: WorkerHarness) -> None:
    drifted(installed, MOST_UNASKED + 1)
    day(installed)
    writes = len(installed.plex.writes)
    assert installed.command("approve", no=True) == {"approved": 0}
    assert installed.worker.history.get(HELD) is None
    assert installed.worker.history.proposals() == []
    installed.notices()
    for _ in range(2):
        day(installed)
    assert len(installed.plex.writes) == writes
    assert not [text for _, text in installed.notices() if "would change" in text]

    _, item = installed.pair("one more")
    day(installed)
    drift(item)
    day(installed)
    assert installed.worker.history.get(HELD)["count"] == 22, "more than the user said no to"


def test_a_no_is_about_what_a_comparison_finds_again(installed: WorkerHarness) -> None:
    """A no ends for scenes that are in sync later: a refresh of one is repaired then."""
    pairs = drifted(installed, MOST_UNASKED + 1)
    day(installed)
    installed.command("approve", no=True)
    for scene, _ in pairs:
        installed.edit(scene, f"Saved {scene.id}")
    day(installed)
    for _ in range(9):
        day(installed)
    scene, item = pairs[0]
    drift(item)
    day(installed)
    assert item.title == f"Saved {scene.id}"


def test_a_no_ends_with_a_sync_of_all_scenes(installed: WorkerHarness) -> None:
    pairs = drifted(installed, MOST_UNASKED + 1)
    day(installed)
    installed.command("approve", no=True)
    installed.command("sync", force=True)
    scene, item = pairs[0]
    installed.clock.advance(9 * DAY)
    drift(item)
    day(installed)
    assert item.title == f"New {scene.id}"


def test_a_no_to_a_rule_is_none_to_the_next_one(installed: WorkerHarness) -> None:
    scene, item = installed.pair("one", tags=["One"])
    installed.edit(scene, "New")
    synced(installed, MOST_UNASKED)
    installed.configure(labels="Home")
    day(installed)
    day(installed)
    assert installed.worker.history.get(HELD)["count"] > MOST_UNASKED
    installed.command("approve", no=True)
    installed.configure(labels="tag One => Hidden")
    day(installed)
    day(installed)
    assert item.tags.get("label") == ["Hidden"]


def test_a_sync_of_all_scenes_settles_what_was_held_back(installed: WorkerHarness) -> None:
    pairs = drifted(installed, MOST_UNASKED + 1)
    day(installed)
    assert installed.worker.history.get(HELD)
    installed.command("sync")
    assert installed.in_sync([scene for scene, _ in pairs])
    assert installed.worker.history.get(HELD) is None


def test_edits_in_stash_go_whatever_is_held_back(installed: WorkerHarness) -> None:
    pairs = drifted(installed, MOST_UNASKED + 1)
    for scene, _ in pairs[:3]:
        installed.stash.change_silently(scene.id, title=f"Edited {scene.id}")
    day(installed)
    assert [item.title for _, item in pairs[:3]] == [f"Edited {scene.id}" for scene, _ in pairs[:3]]
    assert pairs[5][1].title in ("Drifted", f"New {pairs[5][0].id}")


def test_many_edits_in_stash_are_not_too_many(installed: WorkerHarness) -> None:
    pairs = synced(installed, MOST_UNASKED + 5)
    for scene, _ in pairs:
        installed.stash.change_silently(scene.id, title=f"Edited {scene.id}")
    day(installed)
    assert [item.title for _, item in pairs] == [f"Edited {scene.id}" for scene, _ in pairs]


def test_a_quick_pass_in_the_middle_of_a_full_one_decides_nothing(
    installed: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The full pass would find more than 200; half of them are proposed when the quick one runs."""
    for (module, name), number in REAL.items():
        monkeypatch.setattr(module, name, number)
    timing = installed.clock.timing
    installed.clock.timing = dataclasses.replace(timing, quick_pass=10.0, slice=0.0)
    pairs = drifted(installed, 260)
    writes = len(installed.plex.writes)

    def slowly(request: Request) -> bool:
        installed.clock.now += 0.8
        return False

    installed.plex.faults.add(Delay(0), when=slowly)
    installed.restart()
    installed.run_for(60)

    assert len(installed.plex.writes) == writes
    assert installed.worker.history.get(HELD)["count"] == len(pairs)


def test_a_yes_is_not_taken_back_while_its_scenes_are_queued(installed: WorkerHarness) -> None:
    pairs = drifted(installed, 2 * AHEAD + 5)
    day(installed)
    installed.clock.timing = dataclasses.replace(installed.clock.timing, quick_pass=5.0)
    installed.restart()
    installed.command("approve")
    installed.run_for(300)
    assert installed.in_sync([scene for scene, _ in pairs])


def test_a_new_setting_that_changes_much_waits_for_a_yes(installed: WorkerHarness) -> None:
    pairs = synced(installed, 25, rating100=80)
    writes = len(installed.plex.writes)
    installed.configure(sync_rating=True)
    installed.restart()
    installed.run_for(HOUR)
    assert len(installed.plex.writes) == writes
    held = installed.worker.history.get(HELD)
    assert list(held["reasons"].values()) == [25]
    assert installed.command("sync")["reason"] is None
    assert all(item.user_rating == 8.0 for _, item in pairs)


# --- Sync all


def test_sync_all_adopts_what_was_there_at_installation(installed: WorkerHarness) -> None:
    scenes = [installed.pair(f"s{n}", updated_at=1e9)[0] for n in range(4)]
    installed.worker.history.set("baseline_done", None)
    result = installed.command("sync")
    assert result["reason"] is None
    assert [installed.title(scene) for scene in scenes] == [scene.title for scene in scenes]
    assert installed.title(installed.stash.library.scenes()[0]) == "Title of old"
    kinds = [one["kind"] for one in installed.worker.history.passes().values()]
    assert SYNC not in kinds


def test_sync_all_leaves_what_is_in_sync(installed: WorkerHarness) -> None:
    synced(installed, 30)
    installed.command("sync")
    installed.run_for(60)
    writes, reads = len(installed.plex.writes), len(installed.plex.log)
    result = installed.command("sync")
    assert len(installed.plex.writes) == writes
    assert len(installed.plex.log) - reads <= 10
    assert result["left"] == {"in_sync": 31}


def test_a_forced_sync_goes_over_a_persons_edit(installed: WorkerHarness) -> None:
    ((scene, item),) = synced(installed)
    item.values["title"] = "Mine"
    item.rendered = None
    installed.command("sync")
    assert item.title == "Mine"
    installed.command("sync", force=True)
    assert item.title == f"New {scene.id}"


def test_a_sync_goes_on_after_a_kill(installed: WorkerHarness) -> None:
    scenes = [installed.pair(f"s{n}", updated_at=1e9)[0] for n in range(30)]
    command_id = installed.commands.add("sync", {})
    writes = 0

    def die(request: Request) -> bool:
        nonlocal writes
        writes += request.method == "PUT"
        if writes == 7:
            installed.worker.stop()
        return False

    rule = installed.plex.faults.add(Delay(0), when=die)
    installed.run_until(command_id)
    rule.remove()
    assert installed.commands.result(command_id) is None
    assert SYNC in [one["kind"] for one in installed.worker.history.passes().values()]

    installed.restart()
    installed.run_until(command_id)

    result = installed.commands.result(command_id)
    assert result is not None
    assert result["reason"] is None
    assert [installed.title(scene) for scene in scenes] == [scene.title for scene in scenes]


def test_timing_of_the_contract() -> None:
    assert (Timing().quick_pass, Timing().full_pass, Timing().settings_rest) == (600, 86_400, 300)
    assert FOUND == REAL
