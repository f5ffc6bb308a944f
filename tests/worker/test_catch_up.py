"""Edits of which no hook told: found at the worker's start and while it lives, once, whatever happens meanwhile."""

from __future__ import annotations

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
    """A time as Stash writes it in that zone."""
    return datetime.fromtimestamp(int(clock.now - seconds_ago), zone).isoformat(timespec="seconds")


def restart(harness: WorkerHarness) -> None:
    harness.new_worker(catch_up=True)
    harness.run()


def queued(harness: WorkerHarness) -> list[int]:
    return sorted(job["scene_id"] for job in harness.jobs())


def look(harness: WorkerHarness) -> list[int]:
    """One look of a worker that does nothing else; the scenes that wait after it."""
    harness.make_catch_up().scan(load_sync_timestamps(harness.data_dir))
    return queued(harness)


def empty_queue(harness: WorkerHarness) -> None:
    while (job := harness.queue.claim(harness.clock.now)) is not None:
        harness.queue.ack(id=job["pqid"])


def installed(harness: WorkerHarness) -> WorkerHarness:
    """Somebody's library, with the first look done and some time passed."""
    harness.stash.add_scene(title="the library's first")
    harness.clock.advance(HOUR)
    assert look(harness) == []
    harness.clock.advance(HOUR)
    return harness


# --- the first installation


def test_the_first_installation_pushes_nothing(harness: WorkerHarness) -> None:
    for number in range(60):
        harness.pair(f"old{number}")
    harness.clock.advance(3 * DAY)
    harness.new_worker(catch_up=True)

    harness.run_for(3 * HOUR)

    assert harness.plex.writes == []
    assert harness.queue.counts()["completed"] == 0
    assert load_sync_timestamps(harness.data_dir) == {}


def test_what_is_scanned_into_an_empty_stash_after_the_installation_arrives(
    harness: WorkerHarness,
) -> None:
    restart(harness)
    harness.clock.advance(HOUR)
    scene, _ = harness.pair("first")
    harness.clock.advance(60)

    restart(harness)

    assert harness.title(scene) == "Title of first"


# --- while nobody lived, and while somebody does


def test_a_change_made_while_no_worker_lived_arrives_at_the_next_start(
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


def test_a_change_made_while_the_worker_lives_arrives_by_itself(harness: WorkerHarness) -> None:
    scene, _ = harness.pair("a")
    harness.clock.advance(HOUR)
    harness.new_worker(catch_up=True)
    harness.clock.after(100, lambda: harness.stash.change_silently(scene.id, title="By Auto Tag"))

    harness.run_for(700)

    assert harness.title(scene) == "By Auto Tag"


def test_what_was_synced_already_is_not_queued_again(harness: WorkerHarness) -> None:
    told, _ = harness.pair("told")
    untold, _ = harness.pair("untold")
    harness.clock.advance(HOUR)
    restart(harness)
    harness.edit(told, "Told")
    harness.stash.change_silently(untold.id, title="Untold")
    harness.clock.advance(30)
    restart(harness)
    done = harness.queue.counts()["completed"]
    assert done == 2

    for _ in range(4):
        harness.clock.advance(HOUR)
        restart(harness)

    assert harness.queue.counts()["completed"] == done
    assert len(harness.plex.writes) == 2


def test_a_change_a_moment_before_a_look_is_done_once_or_twice_but_not_for_ever(
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
    assert look(harness) == []
    harness.clock.advance(DAY)
    missed = harness.stash.add_scene(title="missed", updated_at=at(HOUR))
    synced = harness.stash.add_scene(title="synced", updated_at=at(HOUR))
    save_sync_timestamp(harness.data_dir, synced.id, harness.clock.now - HOUR + 2)

    assert look(harness) == [missed.id]
    empty_queue(harness)
    assert look(harness) == []
    harness.stash.change_silently(old.id, updated_at=at(2))
    assert look(harness) == [old.id]


SUMMER, WINTER = timezone(timedelta(hours=2)), timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    ("before", "after"), [(SUMMER, WINTER), (WINTER, SUMMER)], ids=["autumn", "spring"]
)
@pytest.mark.parametrize("minutes", [1, 59])
def test_the_hour_in_which_the_clocks_change_hides_no_edit(
    harness: WorkerHarness, before: tzinfo, after: tzinfo, minutes: int
) -> None:
    installed(harness)
    last = harness.stash.add_scene(
        title="told before", updated_at=in_zone(harness.clock, 60, before)
    )
    save_sync_timestamp(harness.data_dir, last.id, harness.clock.now)
    assert look(harness) == []

    harness.clock.advance(minutes * 60)
    first = harness.stash.add_scene(title="untold", updated_at=in_zone(harness.clock, 30, after))
    assert look(harness) == [first.id]

    empty_queue(harness)
    save_sync_timestamp(harness.data_dir, first.id, harness.clock.now)
    harness.clock.advance(45 * 60)
    second = harness.stash.add_scene(
        title="untold later", updated_at=in_zone(harness.clock, 30, after)
    )
    assert look(harness) == [second.id]


EAST, WEST = timezone(timedelta(hours=10)), timezone(timedelta(hours=-8))


@pytest.mark.parametrize(
    ("before", "after"), [(EAST, WEST), (WEST, EAST)], ids=["westwards", "eastwards"]
)
def test_a_stash_that_is_started_in_another_time_zone_hides_no_edit(
    harness: WorkerHarness, before: tzinfo, after: tzinfo
) -> None:
    """Somebody sets TZ for the container. Stash compares times as text, whatever their offsets."""
    harness.stash.add_scene(title="old", updated_at=in_zone(harness.clock, 2 * HOUR, before))
    assert look(harness) == []
    untold = [
        harness.stash.add_scene(title="before", updated_at=in_zone(harness.clock, HOUR, before)).id
    ]
    harness.clock.advance(600)
    untold.append(
        harness.stash.add_scene(title="after", updated_at=in_zone(harness.clock, 60, after)).id
    )

    assert look(harness) == untold


def test_a_scene_dated_in_the_future_does_not_hide_later_edits(harness: WorkerHarness) -> None:
    """A wrong clock, once, or an import: Stash keeps that date."""
    installed(harness)
    harness.stash.add_scene(title="from 2099", updated_at="2099-01-01T00:00:00Z")
    look(harness)
    empty_queue(harness)
    harness.clock.advance(HOUR)
    untold = harness.stash.add_scene(title="untold")
    harness.clock.advance(60)

    assert untold.id in look(harness)


def test_a_scene_dated_in_the_future_is_not_synced_at_every_look(harness: WorkerHarness) -> None:
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


def test_the_watermark_survives_restarts_however_many(harness: WorkerHarness) -> None:
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
def test_a_broken_watermark_ends_nothing_for_good(harness: WorkerHarness, content: str) -> None:
    installed(harness)
    (file,) = (path for path in Path(harness.data_dir).rglob("catch_up.json"))
    file.write_text(content, encoding="utf-8")
    look(harness)
    harness.clock.advance(HOUR)
    untold = harness.stash.add_scene(title="untold")
    harness.clock.advance(60)

    assert untold.id in look(harness)


# --- a look that is cut short


class Killed(BaseException):
    """Not to be caught by anybody, as a kill."""


class DyingQueue:
    """A queue whose process is killed at the put of that number."""

    def __init__(self, harness: WorkerHarness, puts: int) -> None:
        self._harness = harness
        self._left = puts

    def put(self, job: SyncJob, /) -> int:
        if not self._left:
            raise Killed
        self._left -= 1
        return self._harness.queue.put(job)


@pytest.mark.parametrize("puts", [0, 4])
def test_a_killed_look_loses_nothing(harness: WorkerHarness, puts: int) -> None:
    installed(harness)
    changed = [harness.stash.add_scene(title=f"untold {number}").id for number in range(5)]
    harness.clock.advance(60)
    dying = harness.make_catch_up(DyingQueue(harness, puts))
    with pytest.raises(Killed):
        dying.scan({})
    assert len(queued(harness)) == puts

    assert look(harness) == changed


def test_thousands_of_changed_scenes_are_all_found_page_by_page(harness: WorkerHarness) -> None:
    installed(harness)
    changed = [harness.stash.add_scene(title="u").id for _ in range(2 * STASH_PAGE + 20)]
    harness.clock.advance(60)

    assert look(harness) == changed
    assert 3 <= len(harness.stash.log) <= 12


def on_second_page(harness: WorkerHarness, action: Callable[[], object]) -> None:
    """Do something once, when the second page of changed scenes was asked for and is not answered yet."""
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
    installed(harness)
    changed = [harness.stash.add_scene(title="u").id for _ in range(STASH_PAGE + 20)]
    harness.clock.advance(60)
    on_second_page(harness, lambda: harness.stash.library.remove_scene(changed[3]))

    found = look(harness)
    assert harness.stash.library.find_scene(changed[3]) is None, "it went between two pages"
    harness.clock.advance(HOUR)

    assert sorted({*found, *look(harness)} - {changed[3]}) == [
        one for one in changed if one != changed[3]
    ]


def test_a_scene_changed_between_two_pages_is_not_lost(harness: WorkerHarness) -> None:
    early = installed(harness).stash.library.scenes()[0]
    changed = [harness.stash.add_scene(title="u").id for _ in range(STASH_PAGE + 20)]
    harness.clock.advance(60)
    on_second_page(harness, lambda: harness.stash.change_silently(early.id, title="meanwhile"))

    look(harness)
    assert harness.stash.scene(early.id).title == "meanwhile"
    harness.clock.advance(HOUR)

    assert look(harness) == sorted([early.id, *changed])


@pytest.mark.parametrize("status", [500, 502])
def test_stash_going_down_in_the_middle_of_a_look_loses_nothing(
    harness: WorkerHarness, status: int
) -> None:
    scene, _ = harness.pair("a")
    harness.clock.advance(HOUR)
    harness.new_worker(catch_up=True)
    harness.run_for(5)
    harness.stash.change_silently(scene.id, title="Untold")
    rule = harness.stash.faults.add(
        Answer(status), when=lambda request: b"PlexSyncUpdated" in request.body
    )
    harness.clock.after(1500, rule.remove)
    harness.new_worker(catch_up=True)

    harness.run_for(2 * HOUR)
    restart(harness)

    assert harness.title(scene) == "Untold"


def test_stash_down_for_hours_costs_few_requests_and_loses_nothing(harness: WorkerHarness) -> None:
    scene, _ = harness.pair("a")
    harness.clock.advance(HOUR)
    restart(harness)
    harness.stash.change_silently(scene.id, title="Untold")
    harness.clock.advance(60)
    rule = harness.stash.faults.add(Answer(503))
    harness.stash.log.clear()
    restart(harness)
    assert len(harness.stash.log) < 60
    rule.remove()

    restart(harness)

    assert harness.title(scene) == "Untold"


def test_the_plugin_switched_off_for_days_misses_nothing(harness: WorkerHarness) -> None:
    told, _ = harness.pair("told")
    untold, _ = harness.pair("untold")
    harness.clock.advance(HOUR)
    restart(harness)
    harness.configure(enabled=False)
    for day in range(3):
        harness.edit(told, f"Told on day {day}")
        harness.stash.change_silently(untold.id, title=f"Untold on day {day}")
        restart(harness)
        harness.clock.advance(DAY)
    assert harness.plex.writes == []

    harness.configure()
    restart(harness)

    assert harness.title(told) == "Told on day 2"
    assert harness.title(untold) == "Untold on day 2"


# --- dead letters


def test_scenes_in_the_dead_letters_are_not_queued_over_and_over(harness: WorkerHarness) -> None:
    harness.clock.advance(HOUR)
    restart(harness)
    scene = harness.stash.add_scene(title="no file")
    harness.clock.advance(60)

    for _ in range(5):
        restart(harness)
        harness.clock.advance(HOUR)

    assert [letter["scene_id"] for letter in harness.letters()] == [scene.id]
    assert harness.queue.counts()["failed"] == 1


def test_an_untold_change_of_a_scene_in_the_dead_letters_is_tried_again(
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


# --- scenes that are gone


def lists_all(request: Request) -> bool:
    """Whether this lists the whole library."""
    return b"PlexSyncIds" in request.body


def synced_pair(harness: WorkerHarness, count: int) -> list[Scene]:
    scenes = [harness.pair(f"s{number}", tags=["T"])[0] for number in range(count)]
    harness.edit_all(scenes)
    return scenes


def remembers(harness: WorkerHarness, scene: Scene) -> bool:
    return bool(harness.worker.history.get(scene.id, harness.item_of(scene).rating_key).fields)


def test_a_destroyed_scene_whose_hook_told_is_forgotten(harness: WorkerHarness) -> None:
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
    "others", [0, 30], ids=["all of Stash was synced", "few of Stash were synced"]
)
def test_a_destroyed_scene_of_which_no_hook_told_is_forgotten_within_a_day(
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


def test_looking_for_gone_scenes_does_not_ask_for_all_ids_at_every_look(
    harness: WorkerHarness,
) -> None:
    synced_pair(harness, 3)
    restart(harness)
    assert any(lists_all(one.request) for one in harness.stash.log.all()), "the first look does"
    harness.stash.log.clear()

    for _ in range(6):
        harness.clock.advance(HOUR)
        restart(harness)

    asked = [one for one in harness.stash.log.all() if lists_all(one.request)]
    assert len(asked) <= 1


def test_a_scene_destroyed_while_all_ids_are_listed_takes_no_other_with_it(
    harness: WorkerHarness,
) -> None:
    """What is forgotten by mistake is the memory: tags removed in Stash would then stay in Plex for ever."""
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


def test_a_stash_that_fails_while_ids_are_listed_makes_nothing_forgotten(
    harness: WorkerHarness,
) -> None:
    (scene,) = synced_pair(harness, 1)
    harness.stash.faults.add(Answer(500), when=lists_all)

    restart(harness)

    assert any(lists_all(one.request) for one in harness.stash.log.all())
    assert harness.synced_at(scene) is not None


def test_looks_with_nothing_new_cost_a_handful_of_queries(harness: WorkerHarness) -> None:
    installed(harness)
    harness.clock.timing = replace(Timing(), idle_timeout=6 * HOUR)
    harness.new_worker(catch_up=True)
    harness.stash.log.clear()

    harness.run_for(5 * HOUR)

    looks = 5 * HOUR / Timing().catch_up
    assert len(harness.stash.log) <= looks * 8
    assert len(harness.plex.log) == 0


def test_the_first_look_sees_a_simulated_stash_in_its_own_zone(
    tmp_path: Path, plex: PlexSimulator, clock: FakeClock
) -> None:
    """From start to end with a Stash far away from here."""
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
