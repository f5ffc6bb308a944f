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
from tests.simulators.httpd import Answer, Delay, Request
from tests.simulators.plex import PlexSimulator
from tests.simulators.stash import Scene, StashSimulator
from tests.worker.world import HOUR, FakeClock, World
from worker.catch_up import CatchUp

DAY = 24 * HOUR
STASH_PAGE = 500
"""What one page of changed scenes holds."""


def in_zone(clock: FakeClock, seconds_ago: float, zone: tzinfo) -> str:
    """A time as Stash writes it in that zone."""
    return datetime.fromtimestamp(int(clock.now - seconds_ago), zone).isoformat(timespec="seconds")


def make_catch_up(world: World) -> CatchUp:
    return CatchUp(world.data_dir, world.client, world.queue, now=world.clock.time)


def start_worker(world: World) -> None:
    """A worker as a new process has it: nothing in memory but what is on disk (index and memory of Plex aside)."""
    if world._worker is not None:
        world.worker.close()
    world.use(world.make_worker(catch_up=make_catch_up(world)))


def restart(world: World) -> None:
    start_worker(world)
    world.run()


def queued(world: World) -> list[int]:
    return sorted(job["scene_id"] for job in world.jobs())


def look(world: World) -> list[int]:
    """One look of a worker that does nothing else; the scenes that wait after it."""
    make_catch_up(world).look(load_sync_timestamps(world.data_dir))
    return queued(world)


def empty_queue(world: World) -> None:
    while (job := world.queue.claim(world.clock.now)) is not None:
        world.queue.ack(id=job["pqid"])


def installed(world: World) -> World:
    """Somebody's library, with the first look done and some time passed."""
    world.stash.add_scene(title="the library's first")
    world.clock.advance(HOUR)
    assert look(world) == []
    world.clock.advance(HOUR)
    return world


# --- the first installation


def test_the_first_installation_pushes_nothing(world: World) -> None:
    for number in range(60):
        world.pair(f"old{number}")
    world.clock.advance(3 * DAY)
    start_worker(world)

    world.run_for(3 * HOUR)

    assert world.plex.writes == []
    assert world.queue.counts()["completed"] == 0
    assert load_sync_timestamps(world.data_dir) == {}


def test_what_is_scanned_into_an_empty_stash_after_the_installation_arrives(world: World) -> None:
    restart(world)
    world.clock.advance(HOUR)
    scene, _ = world.pair("first")
    world.clock.advance(60)

    restart(world)

    assert world.title(scene) == "Title of first"


# --- while nobody lived, and while somebody does


def test_a_change_made_while_no_worker_lived_arrives_at_the_next_start(world: World) -> None:
    scene, _ = world.pair("a")
    world.clock.advance(HOUR)
    restart(world)
    world.clock.advance(DAY)
    world.stash.change_silently(scene.id, title="By Auto Tag")
    world.clock.advance(DAY)

    restart(world)

    assert world.title(scene) == "By Auto Tag"
    assert len(world.plex.writes) == 1


def test_a_change_made_while_the_worker_lives_arrives_by_itself(world: World) -> None:
    scene, _ = world.pair("a")
    world.clock.advance(HOUR)
    start_worker(world)
    world.clock.after(100, lambda: world.stash.change_silently(scene.id, title="By Auto Tag"))

    world.run_for(700)

    assert world.title(scene) == "By Auto Tag"


def test_what_was_synced_already_is_not_queued_again(world: World) -> None:
    told, _ = world.pair("told")
    untold, _ = world.pair("untold")
    world.clock.advance(HOUR)
    restart(world)
    world.edit(told, "Told")
    world.stash.change_silently(untold.id, title="Untold")
    world.clock.advance(30)
    restart(world)
    done = world.queue.counts()["completed"]
    assert done == 2

    for _ in range(4):
        world.clock.advance(HOUR)
        restart(world)

    assert world.queue.counts()["completed"] == done
    assert len(world.plex.writes) == 2


def test_a_change_a_moment_before_a_look_is_done_once_or_twice_but_not_for_ever(
    world: World,
) -> None:
    scene, _ = world.pair("a")
    world.clock.advance(HOUR)
    restart(world)
    world.stash.change_silently(scene.id, title="Just now")

    for _ in range(5):
        restart(world)

    assert world.title(scene) == "Just now"
    assert world.queue.counts()["completed"] <= 2


@pytest.mark.parametrize("fraction", ["", ".25", ".999999999"], ids=["whole", "quarter", "nano"])
@pytest.mark.parametrize(
    "zone", [timezone.utc, timezone(timedelta(hours=14)), timezone(timedelta(hours=-3.5))], ids=str
)
def test_time_zones_and_fractions_of_a_second_make_no_difference(
    world: World, zone: tzinfo, fraction: str
) -> None:
    def at(seconds_ago: float) -> str:
        text = in_zone(world.clock, seconds_ago, zone)
        return text[:19] + fraction + text[19:].replace("+00:00", "Z")

    old = world.stash.add_scene(title="old", updated_at=at(2 * DAY))
    assert look(world) == []
    world.clock.advance(DAY)
    missed = world.stash.add_scene(title="missed", updated_at=at(HOUR))
    synced = world.stash.add_scene(title="synced", updated_at=at(HOUR))
    save_sync_timestamp(world.data_dir, synced.id, world.clock.now - HOUR + 2)

    assert look(world) == [missed.id]
    empty_queue(world)
    assert look(world) == []
    world.stash.change_silently(old.id, updated_at=at(2))
    assert look(world) == [old.id]


SUMMER, WINTER = timezone(timedelta(hours=2)), timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    ("before", "after"), [(SUMMER, WINTER), (WINTER, SUMMER)], ids=["autumn", "spring"]
)
@pytest.mark.parametrize("minutes", [1, 59])
def test_the_hour_in_which_the_clocks_change_hides_no_edit(
    world: World, before: tzinfo, after: tzinfo, minutes: int
) -> None:
    installed(world)
    last = world.stash.add_scene(title="told before", updated_at=in_zone(world.clock, 60, before))
    save_sync_timestamp(world.data_dir, last.id, world.clock.now)
    assert look(world) == []

    world.clock.advance(minutes * 60)
    first = world.stash.add_scene(title="untold", updated_at=in_zone(world.clock, 30, after))
    assert look(world) == [first.id]

    empty_queue(world)
    save_sync_timestamp(world.data_dir, first.id, world.clock.now)
    world.clock.advance(45 * 60)
    second = world.stash.add_scene(title="untold later", updated_at=in_zone(world.clock, 30, after))
    assert look(world) == [second.id]


EAST, WEST = timezone(timedelta(hours=10)), timezone(timedelta(hours=-8))


@pytest.mark.parametrize(
    ("before", "after"), [(EAST, WEST), (WEST, EAST)], ids=["westwards", "eastwards"]
)
def test_a_stash_that_is_started_in_another_time_zone_hides_no_edit(
    world: World, before: tzinfo, after: tzinfo
) -> None:
    """Somebody sets TZ for the container. Stash compares times as text, whatever their offsets."""
    world.stash.add_scene(title="old", updated_at=in_zone(world.clock, 2 * HOUR, before))
    assert look(world) == []
    untold = [
        world.stash.add_scene(title="before", updated_at=in_zone(world.clock, HOUR, before)).id
    ]
    world.clock.advance(600)
    untold.append(
        world.stash.add_scene(title="after", updated_at=in_zone(world.clock, 60, after)).id
    )

    assert look(world) == untold


def test_a_scene_dated_in_the_future_does_not_hide_later_edits(world: World) -> None:
    """A wrong clock, once, or an import: Stash keeps that date."""
    installed(world)
    world.stash.add_scene(title="from 2099", updated_at="2099-01-01T00:00:00Z")
    look(world)
    empty_queue(world)
    world.clock.advance(HOUR)
    untold = world.stash.add_scene(title="untold")
    world.clock.advance(60)

    assert untold.id in look(world)


def test_a_scene_dated_in_the_future_is_not_synced_at_every_look(world: World) -> None:
    scene, _ = world.pair("a")
    world.clock.advance(HOUR)
    restart(world)
    world.stash.change_silently(
        scene.id, title="Of tomorrow", updated_at=world.clock.now + 3 * HOUR
    )

    for _ in range(3):
        world.clock.advance(600)
        restart(world)

    assert world.title(scene) == "Of tomorrow"
    assert world.queue.counts()["completed"] <= 2


# --- the watermark


def test_the_watermark_survives_restarts_however_many(world: World) -> None:
    scenes = [world.pair(f"s{number}")[0] for number in range(4)]
    world.clock.advance(HOUR)
    restart(world)
    for scene in scenes:
        world.clock.advance(HOUR)
        world.stash.change_silently(scene.id, title=f"Round {scene.id}")
        world.clock.advance(60)
        restart(world)
        restart(world)

    assert [world.title(scene) for scene in scenes] == [f"Round {scene.id}" for scene in scenes]
    assert len(world.plex.writes) == len(scenes)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"seen_until": "x"}', '{"seen_until": null}', '{"seen_until": NaN}']
)
def test_a_broken_watermark_ends_nothing_for_good(world: World, content: str) -> None:
    installed(world)
    (file,) = (path for path in Path(world.data_dir).rglob("catch_up.json"))
    file.write_text(content, encoding="utf-8")
    look(world)
    world.clock.advance(HOUR)
    untold = world.stash.add_scene(title="untold")
    world.clock.advance(60)

    assert untold.id in look(world)


# --- a look that is cut short


class Killed(BaseException):
    """Not to be caught by anybody, as a kill."""


class DyingQueue:
    """A queue whose process is killed at the put of that number."""

    def __init__(self, world: World, puts: int) -> None:
        self._world = world
        self._left = puts

    def put(self, job: SyncJob, /) -> int:
        if not self._left:
            raise Killed
        self._left -= 1
        return self._world.queue.put(job)


@pytest.mark.parametrize("puts", [0, 4])
def test_a_killed_look_loses_nothing(world: World, puts: int) -> None:
    installed(world)
    changed = [world.stash.add_scene(title=f"untold {number}").id for number in range(5)]
    world.clock.advance(60)
    dying = CatchUp(world.data_dir, world.client, DyingQueue(world, puts), now=world.clock.time)
    with pytest.raises(Killed):
        dying.look({})
    assert len(queued(world)) == puts

    assert look(world) == changed


def test_thousands_of_changed_scenes_are_all_found_page_by_page(world: World) -> None:
    installed(world)
    changed = [world.stash.add_scene(title="u").id for _ in range(2 * STASH_PAGE + 20)]
    world.clock.advance(60)

    assert look(world) == changed
    assert 3 <= len(world.stash.log) <= 12


def on_second_page(world: World, action: Callable[[], object]) -> None:
    """Do something once, when the second page of changed scenes was asked for and is not answered yet."""
    pages = 0

    def when(request: Request) -> bool:
        nonlocal pages
        pages += b"PlexSyncUpdated" in request.body
        if pages == 2 and b"PlexSyncUpdated" in request.body:
            pages += 1
            action()
        return False

    world.stash.faults.add(Delay(0), when=when)


def test_a_scene_destroyed_between_two_pages_hides_no_other(world: World) -> None:
    installed(world)
    changed = [world.stash.add_scene(title="u").id for _ in range(STASH_PAGE + 20)]
    world.clock.advance(60)
    on_second_page(world, lambda: world.stash.library.remove_scene(changed[3]))

    found = look(world)
    assert world.stash.library.find_scene(changed[3]) is None, "it went between two pages"
    world.clock.advance(HOUR)

    assert sorted({*found, *look(world)} - {changed[3]}) == [
        one for one in changed if one != changed[3]
    ]


def test_a_scene_changed_between_two_pages_is_not_lost(world: World) -> None:
    early = installed(world).stash.library.scenes()[0]
    changed = [world.stash.add_scene(title="u").id for _ in range(STASH_PAGE + 20)]
    world.clock.advance(60)
    on_second_page(world, lambda: world.stash.change_silently(early.id, title="meanwhile"))

    look(world)
    assert world.stash.scene(early.id).title == "meanwhile"
    world.clock.advance(HOUR)

    assert look(world) == sorted([early.id, *changed])


@pytest.mark.parametrize("status", [500, 502])
def test_stash_going_down_in_the_middle_of_a_look_loses_nothing(world: World, status: int) -> None:
    scene, _ = world.pair("a")
    world.clock.advance(HOUR)
    start_worker(world)
    world.run_for(5)
    world.stash.change_silently(scene.id, title="Untold")
    rule = world.stash.faults.add(
        Answer(status), when=lambda request: b"PlexSyncUpdated" in request.body
    )
    world.clock.after(1500, rule.remove)
    start_worker(world)

    world.run_for(2 * HOUR)
    restart(world)

    assert world.title(scene) == "Untold"


def test_stash_down_for_hours_costs_few_requests_and_loses_nothing(world: World) -> None:
    scene, _ = world.pair("a")
    world.clock.advance(HOUR)
    restart(world)
    world.stash.change_silently(scene.id, title="Untold")
    world.clock.advance(60)
    rule = world.stash.faults.add(Answer(503))
    world.stash.log.clear()
    restart(world)
    assert len(world.stash.log) < 60
    rule.remove()

    restart(world)

    assert world.title(scene) == "Untold"


def test_the_plugin_switched_off_for_days_misses_nothing(world: World) -> None:
    told, _ = world.pair("told")
    untold, _ = world.pair("untold")
    world.clock.advance(HOUR)
    restart(world)
    world.set(enabled=False)
    for day in range(3):
        world.edit(told, f"Told on day {day}")
        world.stash.change_silently(untold.id, title=f"Untold on day {day}")
        restart(world)
        world.clock.advance(DAY)
    assert world.plex.writes == []

    world.set()
    restart(world)

    assert world.title(told) == "Told on day 2"
    assert world.title(untold) == "Untold on day 2"


# --- dead letters


def test_scenes_in_the_dead_letters_are_not_queued_over_and_over(world: World) -> None:
    world.clock.advance(HOUR)
    restart(world)
    scene = world.stash.add_scene(title="no file")
    world.clock.advance(60)

    for _ in range(5):
        restart(world)
        world.clock.advance(HOUR)

    assert [letter["scene_id"] for letter in world.letters()] == [scene.id]
    assert world.queue.counts()["failed"] == 1


def test_an_untold_change_of_a_scene_in_the_dead_letters_is_tried_again(world: World) -> None:
    world.stash.add_scene(title="the library's first")
    world.clock.advance(HOUR)
    restart(world)
    scene = world.stash.add_scene(title="no file")
    world.clock.advance(60)
    restart(world)
    assert len(world.letters()) == 1
    item = world.plex.add_item(world.library, "/plex/now.mp4", size=100)
    world.clock.advance(HOUR)
    world.stash.change_silently(scene.id, files=[("/data/now.mp4", 100)])
    world.clock.advance(60)

    restart(world)

    assert item.title == "no file"
    assert world.letters() == []


# --- scenes that are gone


def lists_all(request: Request) -> bool:
    """Whether this lists the whole library."""
    return b"PlexSyncIds" in request.body


def synced_pair(world: World, count: int) -> list[Scene]:
    scenes = [world.pair(f"s{number}", tags=["T"])[0] for number in range(count)]
    for scene in scenes:
        world.edit(scene, f"New {scene.id}")
    return scenes


def remembers(world: World, scene: Scene) -> bool:
    return bool(world.worker._runner.history.get(scene.id, world.item_of(scene).rating_key).fields)


def test_a_destroyed_scene_whose_hook_told_is_forgotten(world: World) -> None:
    first, second = synced_pair(world, 2)
    restart(world)
    assert remembers(world, first)
    world.stash.library.remove_scene(first.id)
    world.edit(first)

    world.run()

    assert (world.synced_at(first), remembers(world, first)) == (None, False)
    assert world.synced_at(second) is not None
    assert remembers(world, second)


@pytest.mark.parametrize(
    "others", [0, 30], ids=["all of Stash was synced", "few of Stash were synced"]
)
def test_a_destroyed_scene_of_which_no_hook_told_is_forgotten_within_a_day(
    world: World, others: int
) -> None:
    for number in range(others):
        world.stash.add_scene(title=f"never synced {number}")
    first, second = synced_pair(world, 2)
    history = world.worker._runner.history
    restart(world)
    world.use(world.make_worker(catch_up=make_catch_up(world), history=history))
    world.run()
    world.stash.library.remove_scene(first.id)
    world.clock.advance(DAY + HOUR)
    world.worker.close()
    world.use(world.make_worker(catch_up=make_catch_up(world), history=history))

    world.run()

    assert (world.synced_at(first), remembers(world, first)) == (None, False)
    assert world.synced_at(second) is not None


def test_looking_for_gone_scenes_does_not_ask_for_all_ids_at_every_look(world: World) -> None:
    synced_pair(world, 3)
    restart(world)
    assert any(lists_all(one.request) for one in world.stash.log.all()), "the first look does"
    world.stash.log.clear()

    for _ in range(6):
        world.clock.advance(HOUR)
        restart(world)

    asked = [one for one in world.stash.log.all() if lists_all(one.request)]
    assert len(asked) <= 1


def test_a_scene_destroyed_while_all_ids_are_listed_takes_no_other_with_it(world: World) -> None:
    """What is forgotten by mistake is the memory: tags removed in Stash would then stay in Plex for ever."""
    scenes = [world.stash.add_scene(title="s").id for _ in range(5_010)]
    pages = 0

    def destroy_first(request: Request) -> bool:
        nonlocal pages
        pages += b"findScenes" in request.body
        if pages == 2 and b"findScenes" in request.body:
            pages += 1
            world.stash.library.remove_scene(scenes[0])
        return False

    world.stash.faults.add(Delay(0), when=destroy_first)

    gone = make_catch_up(world).vanished(dict.fromkeys(scenes, world.clock.now))

    assert world.stash.library.find_scene(scenes[0]) is None, "it went between two pages"
    assert gone <= {scenes[0]}


def test_a_stash_that_fails_while_ids_are_listed_makes_nothing_forgotten(world: World) -> None:
    (scene,) = synced_pair(world, 1)
    world.stash.faults.add(Answer(500), when=lists_all)

    restart(world)

    assert any(lists_all(one.request) for one in world.stash.log.all())
    assert world.synced_at(scene) is not None


def test_looks_with_nothing_new_cost_a_handful_of_queries(world: World) -> None:
    installed(world)
    world.timing = replace(Timing(), idle_timeout=6 * HOUR)
    world.use(world.make_worker(catch_up=make_catch_up(world)))
    world.stash.log.clear()

    world.run_for(5 * HOUR)

    looks = 5 * HOUR / Timing().catch_up
    assert len(world.stash.log) <= looks * 8
    assert len(world.plex.log) == 0


def test_the_first_look_sees_a_simulated_stash_in_its_own_zone(
    tmp_path: Path, plex: PlexSimulator, clock: FakeClock
) -> None:
    """From start to end with a Stash far away from here."""
    plugins = tmp_path / "far" / "plugins"
    plugins.mkdir(parents=True)
    with StashSimulator(
        plugins_dir=plugins, clock=clock.time, zone=timezone(timedelta(hours=-9.5))
    ) as stash:
        world = World(tmp_path, plex, stash, clock)
        scene, _ = world.pair("a")
        clock.advance(HOUR)
        restart(world)
        stash.change_silently(scene.id, title="Far")
        clock.advance(HOUR)
        restart(world)
        restart(world)
        assert world.title(scene) == "Far"
        assert len(plex.writes) == 1
        world.close()
