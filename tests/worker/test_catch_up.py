"""The catch-up finds edits without a hook, at the worker's start and while it runs, once."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path

import pytest

from common.env import Timing
from queue.models import SyncJob
from queue.operations import load_sync_timestamps, save_sync_timestamp
from tests.harness.clock import HOUR, FakeClock
from tests.harness.in_process import WorkerHarness
from tests.simulators.httpd import Answer, Delay, Request
from tests.simulators.plex import PlexSimulator
from tests.simulators.stash import Scene, StashSimulator

DAY = 24 * HOUR
STASH_PAGE = 500
"""What one page of changed scenes holds."""


def in_zone(clock: FakeClock, seconds_ago: float, zone: tzinfo) -> str:
    """Return a time as Stash writes it in that zone."""
    return datetime.fromtimestamp(int(clock.now - seconds_ago), zone).isoformat(timespec="seconds")


def restart(harness: WorkerHarness) -> None:
    harness.new_worker(catch_up=True)
    harness.run()


def queued(harness: WorkerHarness) -> list[int]:
    return sorted(job["scene_id"] for job in harness.jobs())


def scan(harness: WorkerHarness) -> list[int]:
    """Run one catch-up scan; return the scenes waiting after it."""
    harness.make_catch_up().scan(load_sync_timestamps(harness.data_dir))
    return queued(harness)


def empty_queue(harness: WorkerHarness) -> None:
    while (job := harness.queue.claim(harness.clock.now)) is not None:
        harness.queue.ack(id=job["pqid"])


def first_scan_done(harness: WorkerHarness) -> WorkerHarness:
    """Return a harness whose first scan was an hour ago."""
    harness.stash.add_scene(title="the library's first")
    harness.clock.advance(HOUR)
    assert scan(harness) == []
    harness.clock.advance(HOUR)
    return harness


# --- the first installation


def test_the_first_run_syncs_nothing(harness: WorkerHarness) -> None:
    for number in range(60):
        harness.pair(f"old{number}")
    harness.clock.advance(3 * DAY)
    harness.new_worker(catch_up=True)

    harness.run_for(3 * HOUR)

    assert harness.plex.writes == []
    assert harness.queue.counts()["completed"] == 0
    assert load_sync_timestamps(harness.data_dir) == {}


def test_scenes_scanned_after_the_installation_are_synced(
    harness: WorkerHarness,
) -> None:
    restart(harness)
    harness.clock.advance(HOUR)
    scene, _ = harness.pair("first")
    harness.clock.advance(60)

    restart(harness)

    assert harness.title(scene) == "Title of first"


# --- changes without and with a running worker


def test_a_change_made_without_a_worker_is_synced_at_the_next_start(
    harness: WorkerHarness,
) -> None:
    scene, _ = harness.pair("a")
    harness.clock.advance(HOUR)
    restart(harness)
    harness.clock.advance(DAY)
    harness.stash.change_silently(scene.id, title="By Auto Tag")
    harness.clock.advance(DAY)

    restart(harness)

    assert harness.title(scene) == "By Auto Tag"
    assert len(harness.plex.writes) == 1


def test_a_change_made_during_a_worker_is_synced_without_a_hook(harness: WorkerHarness) -> None:
    scene, _ = harness.pair("a")
    harness.clock.advance(HOUR)
    harness.new_worker(catch_up=True)
    harness.clock.after(100, lambda: harness.stash.change_silently(scene.id, title="By Auto Tag"))

    harness.run_for(700)

    assert harness.title(scene) == "By Auto Tag"


def test_a_synced_scene_is_not_queued_again(harness: WorkerHarness) -> None:
    hooked, _ = harness.pair("hooked")
    missed, _ = harness.pair("missed")
    harness.clock.advance(HOUR)
    restart(harness)
    harness.edit(hooked, "Hooked")
    harness.stash.change_silently(missed.id, title="Missed")
    harness.clock.advance(30)
    restart(harness)
    done = harness.queue.counts()["completed"]
    assert done == 2

    for _ in range(4):
        harness.clock.advance(HOUR)
        restart(harness)

    assert harness.queue.counts()["completed"] == done
    assert len(harness.plex.writes) == 2


def test_a_change_just_before_a_scan_is_synced_once_or_twice(
    harness: WorkerHarness,
) -> None:
    scene, _ = harness.pair("a")
    harness.clock.advance(HOUR)
    restart(harness)
    harness.stash.change_silently(scene.id, title="Just now")

    for _ in range(5):
        restart(harness)

    assert harness.title(scene) == "Just now"
    assert harness.queue.counts()["completed"] <= 2


@pytest.mark.parametrize("fraction", ["", ".25", ".999999999"], ids=["whole", "quarter", "nano"])
@pytest.mark.parametrize(
    "zone", [timezone.utc, timezone(timedelta(hours=14)), timezone(timedelta(hours=-3.5))], ids=str
)
def test_time_zones_and_fractions_of_a_second_make_no_difference(
    harness: WorkerHarness, zone: tzinfo, fraction: str
) -> None:
    def at(seconds_ago: float) -> str:
        text = in_zone(harness.clock, seconds_ago, zone)
        return text[:19] + fraction + text[19:].replace("+00:00", "Z")

    old = harness.stash.add_scene(title="old", updated_at=at(2 * DAY))
    assert scan(harness) == []
    harness.clock.advance(DAY)
    missed = harness.stash.add_scene(title="missed", updated_at=at(HOUR))
    synced = harness.stash.add_scene(title="synced", updated_at=at(HOUR))
    save_sync_timestamp(harness.data_dir, synced.id, harness.clock.now - HOUR + 2)

    assert scan(harness) == [missed.id]
    empty_queue(harness)
    assert scan(harness) == []
    harness.stash.change_silently(old.id, updated_at=at(2))
    assert scan(harness) == [old.id]


SUMMER, WINTER = timezone(timedelta(hours=2)), timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    ("before", "after"), [(SUMMER, WINTER), (WINTER, SUMMER)], ids=["autumn", "spring"]
)
@pytest.mark.parametrize("minutes", [1, 59])
def test_the_hour_in_which_the_clocks_change_hides_no_edit(
    harness: WorkerHarness, before: tzinfo, after: tzinfo, minutes: int
) -> None:
    first_scan_done(harness)
    last = harness.stash.add_scene(
        title="synced before", updated_at=in_zone(harness.clock, 60, before)
    )
    save_sync_timestamp(harness.data_dir, last.id, harness.clock.now)
    assert scan(harness) == []

    harness.clock.advance(minutes * 60)
    first = harness.stash.add_scene(title="missed", updated_at=in_zone(harness.clock, 30, after))
    assert scan(harness) == [first.id]

    empty_queue(harness)
    save_sync_timestamp(harness.data_dir, first.id, harness.clock.now)
    harness.clock.advance(45 * 60)
    second = harness.stash.add_scene(
        title="missed later", updated_at=in_zone(harness.clock, 30, after)
    )
    assert scan(harness) == [second.id]


EAST, WEST = timezone(timedelta(hours=10)), timezone(timedelta(hours=-8))


@pytest.mark.parametrize(
    ("before", "after"), [(EAST, WEST), (WEST, EAST)], ids=["westwards", "eastwards"]
)
def test_a_stash_that_is_started_in_another_time_zone_hides_no_edit(
    harness: WorkerHarness, before: tzinfo, after: tzinfo
) -> None:
    """A new TZ for the container: Stash compares times as text and ignores their offsets."""
    harness.stash.add_scene(title="old", updated_at=in_zone(harness.clock, 2 * HOUR, before))
    assert scan(harness) == []
    missed = [
        harness.stash.add_scene(title="before", updated_at=in_zone(harness.clock, HOUR, before)).id
    ]
    harness.clock.advance(600)
    missed.append(
        harness.stash.add_scene(title="after", updated_at=in_zone(harness.clock, 60, after)).id
    )

    assert scan(harness) == missed


def test_a_scene_dated_in_the_future_does_not_hide_later_edits(harness: WorkerHarness) -> None:
    """Stash keeps the date of a wrong clock or an import."""
    first_scan_done(harness)
    harness.stash.add_scene(title="from 2099", updated_at="2099-01-01T00:00:00Z")
    scan(harness)
    empty_queue(harness)
    harness.clock.advance(HOUR)
    missed = harness.stash.add_scene(title="missed")
    harness.clock.advance(60)

    assert missed.id in scan(harness)


def test_a_scene_dated_in_the_future_is_not_synced_at_every_scan(harness: WorkerHarness) -> None:
    scene, _ = harness.pair("a")
    harness.clock.advance(HOUR)
    restart(harness)
    harness.stash.change_silently(
        scene.id, title="Of tomorrow", updated_at=harness.clock.now + 3 * HOUR
    )

    for _ in range(3):
        harness.clock.advance(600)
        restart(harness)

    assert harness.title(scene) == "Of tomorrow"
    assert harness.queue.counts()["completed"] <= 2


# --- the watermark


def test_the_watermark_survives_many_restarts(harness: WorkerHarness) -> None:
    scenes = [harness.pair(f"s{number}")[0] for number in range(4)]
    harness.clock.advance(HOUR)
    restart(harness)
    for scene in scenes:
        harness.clock.advance(HOUR)
        harness.stash.change_silently(scene.id, title=f"Round {scene.id}")
        harness.clock.advance(60)
        restart(harness)
        restart(harness)

    assert [harness.title(scene) for scene in scenes] == [f"Round {scene.id}" for scene in scenes]
    assert len(harness.plex.writes) == len(scenes)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"seen_until": "x"}', '{"seen_until": null}', '{"seen_until": NaN}']
)
def test_a_broken_watermark_does_not_stop_the_catch_up(
    harness: WorkerHarness, content: str
) -> None:
    first_scan_done(harness)
    (file,) = (path for path in Path(harness.data_dir).rglob("catch_up.json"))
    file.write_text(content, encoding="utf-8")
    scan(harness)
    harness.clock.advance(HOUR)
    missed = harness.stash.add_scene(title="missed")
    harness.clock.advance(60)

    assert missed.id in scan(harness)


# --- an interrupted scan


class Killed(BaseException):
    """Simulate a kill: no code catches this exception."""


class DyingQueue:
    """A queue whose process is killed at the given number of puts."""

    def __init__(self, harness: WorkerHarness, puts: int) -> None:
        self._harness = harness
        self._left = puts

    def put(self, job: SyncJob, /) -> int:
        if not self._left:
            raise Killed
        self._left -= 1
        return self._harness.queue.put(job)


@pytest.mark.parametrize("puts", [0, 4])
def test_a_killed_scan_loses_nothing(harness: WorkerHarness, puts: int) -> None:
    first_scan_done(harness)
    changed = [harness.stash.add_scene(title=f"missed {number}").id for number in range(5)]
    harness.clock.advance(60)
    dying = harness.make_catch_up(DyingQueue(harness, puts))
    with pytest.raises(Killed):
        dying.scan({})
    assert len(queued(harness)) == puts

    assert scan(harness) == changed


def test_thousands_of_changed_scenes_are_all_found_page_by_page(harness: WorkerHarness) -> None:
    first_scan_done(harness)
    changed = [harness.stash.add_scene(title="u").id for _ in range(2 * STASH_PAGE + 20)]
    harness.clock.advance(60)

    assert scan(harness) == changed
    assert 3 <= len(harness.stash.log) <= 12


def on_second_page(harness: WorkerHarness, action: Callable[[], object]) -> None:
    """Run `action` once, when Stash has received the query for the second page."""
    pages = 0

    def when(request: Request) -> bool:
        nonlocal pages
        pages += b"PlexSyncUpdated" in request.body
        if pages == 2 and b"PlexSyncUpdated" in request.body:
            pages += 1
            action()
        return False

    harness.stash.faults.add(Delay(0), when=when)


def test_a_scene_destroyed_between_two_pages_hides_no_other(harness: WorkerHarness) -> None:
    first_scan_done(harness)
    changed = [harness.stash.add_scene(title="u").id for _ in range(STASH_PAGE + 20)]
    harness.clock.advance(60)
    on_second_page(harness, lambda: harness.stash.library.remove_scene(changed[3]))

    found = scan(harness)
    assert harness.stash.library.find_scene(changed[3]) is None, "it went between two pages"
    harness.clock.advance(HOUR)

    assert sorted({*found, *scan(harness)} - {changed[3]}) == [
        one for one in changed if one != changed[3]
    ]


def test_a_scene_changed_between_two_pages_is_not_lost(harness: WorkerHarness) -> None:
    early = first_scan_done(harness).stash.library.scenes()[0]
    changed = [harness.stash.add_scene(title="u").id for _ in range(STASH_PAGE + 20)]
    harness.clock.advance(60)
    on_second_page(harness, lambda: harness.stash.change_silently(early.id, title="meanwhile"))

    scan(harness)
    assert harness.stash.scene(early.id).title == "meanwhile"
    harness.clock.advance(HOUR)

    assert scan(harness) == sorted([early.id, *changed])


@pytest.mark.parametrize("status", [500, 502])
def test_an_outage_of_stash_during_a_scan_loses_nothing(
    harness: WorkerHarness, status: int
) -> None:
    scene, _ = harness.pair("a")
    harness.clock.advance(HOUR)
    harness.new_worker(catch_up=True)
    harness.run_for(5)
    harness.stash.change_silently(scene.id, title="Missed")
    rule = harness.stash.faults.add(
        Answer(status), when=lambda request: b"PlexSyncUpdated" in request.body
    )
    harness.clock.after(1500, rule.remove)
    harness.new_worker(catch_up=True)

    harness.run_for(2 * HOUR)
    restart(harness)

    assert harness.title(scene) == "Missed"


def test_stash_down_for_hours_costs_few_requests_and_loses_nothing(harness: WorkerHarness) -> None:
    scene, _ = harness.pair("a")
    harness.clock.advance(HOUR)
    restart(harness)
    harness.stash.change_silently(scene.id, title="Missed")
    harness.clock.advance(60)
    rule = harness.stash.faults.add(Answer(503))
    harness.stash.log.clear()
    restart(harness)
    assert len(harness.stash.log) < 60
    rule.remove()

    restart(harness)

    assert harness.title(scene) == "Missed"


def test_a_plugin_disabled_for_days_misses_nothing(harness: WorkerHarness) -> None:
    hooked, _ = harness.pair("hooked")
    missed, _ = harness.pair("missed")
    harness.clock.advance(HOUR)
    restart(harness)
    harness.configure(enabled=False)
    for day in range(3):
        harness.edit(hooked, f"Hooked on day {day}")
        harness.stash.change_silently(missed.id, title=f"Missed on day {day}")
        restart(harness)
        harness.clock.advance(DAY)
    assert harness.plex.writes == []

    harness.configure()
    restart(harness)

    assert harness.title(hooked) == "Hooked on day 2"
    assert harness.title(missed) == "Missed on day 2"


# --- dead letters


def test_scenes_with_dead_letters_are_not_queued_again_and_again(harness: WorkerHarness) -> None:
    harness.clock.advance(HOUR)
    restart(harness)
    scene = harness.stash.add_scene(title="no file")
    harness.clock.advance(60)

    for _ in range(5):
        restart(harness)
        harness.clock.advance(HOUR)

    assert [letter["scene_id"] for letter in harness.letters()] == [scene.id]
    assert harness.queue.counts()["failed"] == 1


def test_a_missed_change_of_a_scene_with_a_dead_letter_is_tried_again(
    harness: WorkerHarness,
) -> None:
    harness.stash.add_scene(title="the library's first")
    harness.clock.advance(HOUR)
    restart(harness)
    scene = harness.stash.add_scene(title="no file")
    harness.clock.advance(60)
    restart(harness)
    assert len(harness.letters()) == 1
    item = harness.add_item("now")
    harness.clock.advance(HOUR)
    harness.stash.change_silently(scene.id, files=[("/data/now.mp4", 100)])
    harness.clock.advance(60)

    restart(harness)

    assert item.title == "no file"
    assert harness.letters() == []


# --- deleted scenes


def lists_all(request: Request) -> bool:
    """Return whether the request lists the whole library."""
    return b"PlexSyncIds" in request.body


def synced_pair(harness: WorkerHarness, count: int) -> list[Scene]:
    scenes = [harness.pair(f"s{number}", tags=["T"])[0] for number in range(count)]
    harness.edit_all(scenes)
    return scenes


def remembers(harness: WorkerHarness, scene: Scene) -> bool:
    return bool(harness.worker.history.get(scene.id, harness.item_of(scene).rating_key).fields)


def test_a_destroyed_scene_is_forgotten_by_its_hook(harness: WorkerHarness) -> None:
    first, second = synced_pair(harness, 2)
    restart(harness)
    assert remembers(harness, first)
    harness.stash.library.remove_scene(first.id)
    harness.edit(first)

    harness.run()

    assert (harness.synced_at(first), remembers(harness, first)) == (None, False)
    assert harness.synced_at(second) is not None
    assert remembers(harness, second)


@pytest.mark.parametrize(
    "others", [0, 30], ids=["all scenes were synced", "few scenes were synced"]
)
def test_a_destroyed_scene_without_a_hook_is_forgotten_within_a_day(
    harness: WorkerHarness, others: int
) -> None:
    for number in range(others):
        harness.stash.add_scene(title=f"never synced {number}")
    first, second = synced_pair(harness, 2)
    history = harness.worker.history
    restart(harness)
    harness.new_worker(catch_up=True, history=history)
    harness.run()
    harness.stash.library.remove_scene(first.id)
    harness.clock.advance(DAY + HOUR)
    harness.new_worker(catch_up=True, history=history)

    harness.run()

    assert (harness.synced_at(first), remembers(harness, first)) == (None, False)
    assert harness.synced_at(second) is not None


def test_not_every_scan_lists_all_scene_ids(
    harness: WorkerHarness,
) -> None:
    synced_pair(harness, 3)
    restart(harness)
    assert any(lists_all(one.request) for one in harness.stash.log.all()), "the first scan does"
    harness.stash.log.clear()

    for _ in range(6):
        harness.clock.advance(HOUR)
        restart(harness)

    asked = [one for one in harness.stash.log.all() if lists_all(one.request)]
    assert len(asked) <= 1


def test_a_scene_destroyed_during_the_listing_of_ids_affects_no_other(
    harness: WorkerHarness,
) -> None:
    """Without the write history, tags removed in Stash would stay in Plex for ever."""
    scenes = [harness.stash.add_scene(title="s").id for _ in range(5_010)]
    pages = 0

    def destroy_first(request: Request) -> bool:
        nonlocal pages
        pages += b"findScenes" in request.body
        if pages == 2 and b"findScenes" in request.body:
            pages += 1
            harness.stash.library.remove_scene(scenes[0])
        return False

    harness.stash.faults.add(Delay(0), when=destroy_first)

    gone = harness.make_catch_up().vanished(dict.fromkeys(scenes, harness.clock.now))

    assert harness.stash.library.find_scene(scenes[0]) is None, "it went between two pages"
    assert gone <= {scenes[0]}


def test_a_failed_listing_of_ids_forgets_no_scene(
    harness: WorkerHarness,
) -> None:
    (scene,) = synced_pair(harness, 1)
    harness.stash.faults.add(Answer(500), when=lists_all)

    restart(harness)

    assert any(lists_all(one.request) for one in harness.stash.log.all())
    assert harness.synced_at(scene) is not None


def test_scans_without_changes_cost_few_queries(harness: WorkerHarness) -> None:
    first_scan_done(harness)
    harness.clock.timing = replace(Timing(), idle_timeout=6 * HOUR)
    harness.new_worker(catch_up=True)
    harness.stash.log.clear()

    harness.run_for(5 * HOUR)

    scans = 5 * HOUR / Timing().catch_up
    assert len(harness.stash.log) <= scans * 8
    assert len(harness.plex.log) == 0


def test_catch_up_works_with_a_stash_in_another_time_zone(
    tmp_path: Path, plex: PlexSimulator, clock: FakeClock
) -> None:
    """Stash runs in a time zone far from ours."""
    plugins = tmp_path / "far" / "plugins"
    plugins.mkdir(parents=True)
    with StashSimulator(
        plugins_dir=plugins, clock=clock.time, zone=timezone(timedelta(hours=-9.5))
    ) as stash:
        harness = WorkerHarness(tmp_path, plex, stash, clock)
        scene, _ = harness.pair("a")
        clock.advance(HOUR)
        restart(harness)
        stash.change_silently(scene.id, title="Far")
        clock.advance(HOUR)
        restart(harness)
        restart(harness)
        assert harness.title(scene) == "Far"
        assert len(plex.writes) == 1
        harness.close()


def test_a_damaged_database_met_by_the_scan_ends_the_worker_for_a_recovery(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scan(*_: object) -> int:
        raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr("worker.catch_up.CatchUp.scan", scan)
    harness.new_worker(catch_up=True)
    harness.run_for(60)
    assert isinstance(harness.worker.damage, sqlite3.DatabaseError)
