"""Several writes on their way at once: never more than allowed, never two for one item, and nothing lost by it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from plex.edits import Edits
from plex.memory import SyncMemory, Written
from queue.models import create_sync_job
from tests.simulators.httpd import Answer, Hang
from tests.simulators.plex import PlexSimulator
from tests.simulators.stash import StashSimulator
from tests.worker.world import FakeClock, World, edited, in_sync
from validation.metadata import SyncMetadata
from worker.flights import Flight, Flights, Traffic, Visit

PNG = b"\x89PNG\r\n\x1a\n"
WRITES = "PUT"
SLOW = 0.01


class Item:
    """What `Flights` looks at of an item."""

    def __init__(self, rating_key: int) -> None:
        self.ratingKey = rating_key


class Airport:
    """Writes that take as long as a test says, and a record of what happened."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.takes = 0.0
        self.gate = threading.Event()
        self.gate.set()
        self.landed: list[int] = []
        self.errors: list[str] = []
        self.found: list[int] = []
        self._lock = threading.Lock()
        self.aloft = self.most = 0
        self.threads: set[str] = set()
        self.bad: set[int] = set()
        self.open = True
        self.unchanged: set[int] = set()
        self.traffic = Traffic(SLOW)
        self.alone: dict[int, bool] = {}

    def flights(self, at_once: int = 4) -> Flights:
        return Flights(
            self.write,
            self.land,
            lambda: self.open,
            self.traffic,
            at_once=at_once,
            now=self.clock.monotonic,
        )

    def slow_down(self) -> None:
        """Plex gets slow: one more such write, and others go beside it."""
        self.takes = 2 * SLOW
        for _ in range(2):
            self.traffic.took(self.takes)

    def write(self, visit: Visit) -> Edits:
        with self._lock:
            self.aloft += 1
            self.most = max(self.most, self.aloft)
            self.threads.add(threading.current_thread().name)
        self.clock.advance(self.takes)
        bad = visit.item.ratingKey in self.bad
        if not bad:
            self.gate.wait(10)
        with self._lock:
            self.aloft -= 1
        if bad:
            raise RuntimeError(f"item {visit.item.ratingKey}")
        return Edits({"title.value": "T"} if visit.metadata.scene_id not in self.unchanged else {})

    def open_when_aloft(self, count: int) -> None:
        """Let the writes go on once so many are under way, and would be more if more were let."""

        def watch() -> None:
            deadline = time.monotonic() + 9
            while self.aloft < count and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(0.1)
            self.gate.set()

        threading.Thread(target=watch).start()

    def land(self, flight: Flight) -> None:
        try:
            flight.outcome.result()
        except RuntimeError as error:
            self.errors.append(str(error))
            assert self.aloft == 0
        self.landed.append(flight.job["scene_id"])
        self.alone[flight.job["scene_id"]] = flight.alone

    def send(
        self, flights: Flights, scene_id: int, rating_key: int | None = None, **names: Any
    ) -> bool:
        def find() -> Visit:
            self.found.append(scene_id)
            metadata = SyncMetadata(scene_id=scene_id, title="T", **names)
            return Visit(Item(rating_key or scene_id), metadata, None, 0.0)

        return flights.send(create_sync_job(scene_id, "metadata", {}), find)


@pytest.fixture
def airport() -> Airport:
    return Airport()


def test_writes_go_one_at_a_time_in_the_callers_thread_where_plex_is_fast(airport: Airport) -> None:
    with airport.flights() as flights:
        for scene_id in range(1, 11):
            airport.send(flights, scene_id)
            assert airport.landed[-1] == scene_id, "answered for before the next is begun"
    assert airport.threads == {threading.current_thread().name}


def test_after_a_slow_write_others_go_side_by_side_and_land_in_order(airport: Airport) -> None:
    airport.slow_down()
    with airport.flights() as flights:
        airport.send(flights, 1)
        assert airport.landed == [1], "the first goes alone"
        airport.gate.clear()
        airport.open_when_aloft(4)
        for scene_id in range(2, 12):
            airport.send(flights, scene_id)
        flights.land_all()
    assert airport.landed == list(range(1, 12))
    assert airport.most == 4


def test_one_slow_write_does_not_make_a_plex_slow(airport: Airport) -> None:
    with airport.flights() as flights:
        for scene_id in range(1, 11):
            airport.takes = 0.0 if scene_id % 3 == 0 else 10 * SLOW
            airport.send(flights, scene_id)
    assert airport.threads == {threading.current_thread().name}


def test_writes_that_send_nothing_tell_nothing_of_plex(airport: Airport) -> None:
    airport.slow_down()
    airport.unchanged = {1, 2, 3, 4, 5}
    airport.takes = 0.0
    with airport.flights() as flights:
        for scene_id in range(1, 6):
            airport.send(flights, scene_id)
        airport.takes = 2 * SLOW
        airport.send(flights, 6)
        assert airport.traffic.slow


def test_now_and_then_a_write_goes_alone_to_see_whether_plex_is_still_slow(
    airport: Airport,
) -> None:
    airport.slow_down()
    with airport.flights() as flights:
        for scene_id in range(1, 42):
            airport.send(flights, scene_id)
        flights.land_all()
        assert [scene_id for scene_id, alone in airport.alone.items() if alone] == [1, 32]
        airport.takes = 0.0
        for scene_id in range(42, 80):
            airport.send(flights, scene_id)
        flights.land_all()
    assert [scene_id for scene_id, alone in airport.alone.items() if alone] == [
        1,
        32,
        *range(63, 80),
    ]
    assert airport.landed == list(range(1, 80))


def test_an_item_is_never_written_twice_at_once_and_found_anew_for_the_second(
    airport: Airport,
) -> None:
    airport.slow_down()
    with airport.flights() as flights:
        airport.send(flights, 1)
        airport.send(flights, 2, rating_key=7)
        airport.send(flights, 3)
        airport.send(flights, 4, rating_key=7)
        assert airport.landed[:3] == [1, 2, 3], (
            "all before it have landed when the second write begins"
        )
        assert airport.found == [1, 2, 3, 4, 4]
        flights.land_all()
    assert airport.landed == [1, 2, 3, 4]


def test_the_second_write_of_an_item_is_not_begun_where_the_first_closed_the_gate(
    airport: Airport,
) -> None:
    airport.slow_down()
    with airport.flights() as flights:
        airport.send(flights, 1)
        airport.send(flights, 2, rating_key=7)
        airport.open = False
        assert not airport.send(flights, 3, rating_key=7)
    assert airport.landed == [1, 2]


def test_two_writes_never_bring_the_same_new_name_at_once(airport: Airport) -> None:
    airport.slow_down()
    with airport.flights() as flights:
        airport.send(flights, 1)
        airport.send(flights, 2, tags=["New"])
        airport.send(flights, 3, performers=["Other"])
        assert airport.landed == [1]
        airport.send(flights, 4, studio="NEW")
        assert airport.landed == [1, 2, 3], (
            "the first to bring it has landed when the second is begun"
        )
        airport.send(flights, 5, tags=["new"])
        airport.send(flights, 6, director="Other")
        assert airport.landed == [1, 2, 3], "Plex knows both by now"
        flights.land_all()
    assert airport.found == [1, 2, 3, 4, 5, 6]
    assert airport.traffic.names == {"new", "other"}


def test_a_write_is_alone_only_if_no_other_was_on_its_way_at_any_time(airport: Airport) -> None:
    airport.slow_down()
    with airport.flights() as flights:
        for scene_id in range(1, 4):
            airport.send(flights, scene_id)
        flights.land_all()
    assert airport.alone == {1: True, 2: False, 3: False}


def test_where_no_thread_can_be_started_writes_go_one_at_a_time(
    airport: Airport, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def failing(thread: threading.Thread) -> None:
        if thread.name.startswith("plexsync-write"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", failing)
    airport.slow_down()
    with airport.flights() as flights:
        for scene_id in range(1, 6):
            airport.send(flights, scene_id)
        flights.land_all()
    assert airport.landed == [1, 2, 3, 4, 5]
    assert airport.threads == {threading.current_thread().name}


def test_a_failure_is_told_when_no_other_write_is_on_its_way(airport: Airport) -> None:
    airport.slow_down()
    airport.bad = {2, 5}
    with airport.flights() as flights:
        airport.send(flights, 1)
        airport.gate.clear()
        threading.Timer(0.2, airport.gate.set).start()
        for scene_id in range(2, 10):
            airport.send(flights, scene_id)
        flights.land_all()
    assert airport.errors == ["item 2", "item 5"]
    assert airport.landed == list(range(1, 10))


def test_what_can_not_be_found_lands_in_its_turn(airport: Airport) -> None:
    def nowhere() -> Visit:
        raise RuntimeError("nowhere")

    airport.slow_down()
    with airport.flights() as flights:
        airport.send(flights, 1)
        airport.send(flights, 2)
        flights.send(create_sync_job(3, "metadata", {}), nowhere)
        flights.send(create_sync_job(4, "metadata", {}), lambda: None)
        flights.land_all()
    assert airport.landed == [1, 2, 3, 4]
    assert airport.errors == ["nowhere"]


def test_nothing_is_on_its_way_any_more_when_the_caller_fails(airport: Airport) -> None:
    airport.slow_down()
    with pytest.raises(ZeroDivisionError), airport.flights() as flights:
        airport.send(flights, 1)
        airport.gate.clear()
        airport.send(flights, 2)
        threading.Timer(0.1, airport.gate.set).start()
        raise ZeroDivisionError
    assert airport.aloft == 0
    assert airport.landed == [1]


# --- the worker


@pytest.fixture
def world(world: World) -> World:
    """Where every Plex counts as slow."""
    world.timing = replace(world.timing, slow_write=float("-inf"))
    return world


@contextmanager
def at_work(world: World) -> Iterator[None]:
    """The worker drains in another thread meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        drained = pool.submit(world.worker.drain)
        yield
        drained.result(240)


def assert_at_once(
    most: int,
    world: World,
    server: PlexSimulator | StashSimulator,
    method: str,
    path: str | None = None,
) -> None:
    """Drain, and see that so many of these requests are on their way at once, and no more."""
    held = server.faults.add(Hang(), method=method, path=path)
    with at_work(world):
        assert server.log.wait_for(most, method, path)
        assert not server.log.wait_for(most + 1, method, path, timeout=0.3)
        held.remove()


def test_four_writes_are_on_their_way_at_once_and_no_more(world: World) -> None:
    scenes = edited(world, 12)
    assert_at_once(4, world, world.plex, WRITES)
    assert in_sync(world, scenes)
    assert world.waiting() == 0
    assert len(world.plex.writes) == 12


def test_a_worker_that_is_told_to_writes_one_at_a_time(world: World) -> None:
    world.use(world.make_worker(at_once=1))
    scenes = edited(world, 3)
    assert_at_once(1, world, world.plex, WRITES)
    assert in_sync(world, scenes)


def test_the_second_of_two_scenes_with_one_item_is_written_after_the_first(world: World) -> None:
    world.plex.add_item(world.library, "/plex/a.mp4", parts=["/plex/b.mp4"])
    scenes = [world.stash.add_scene(files=[(f"/data/{name}.mp4", 100)]) for name in "ab"]
    for scene in scenes:
        world.edit(scene, f"New {scene.id}", details=f"details {scene.id}")
    assert_at_once(1, world, world.plex, WRITES)
    methods = [exchange.request.method for exchange in world.plex.log.all()]
    first, second = (place for place, method in enumerate(methods) if method == WRITES)
    assert "GET" in methods[first:second], "the second looked at what the first had written"
    assert world.title(scenes[0]) == f"New {scenes[1].id}"
    assert world.item_of(scenes[0]).summary == f"details {scenes[1].id}"


def test_a_stop_lets_those_on_their_way_arrive_and_puts_the_others_back(world: World) -> None:
    scenes = edited(world, 10)
    held = world.plex.faults.add(Hang(), method=WRITES)
    with at_work(world):
        assert world.plex.log.wait_for(4, WRITES)
        world.worker.stop()
        held.remove()
    arrived = [scene for scene in scenes if world.title(scene) == f"New {scene.id}"]
    assert arrived == scenes[: len(arrived)]
    assert 4 <= len(arrived) < 10
    assert [job["scene_id"] for job in world.jobs()] == [
        scene.id for scene in scenes[len(arrived) :]
    ]
    assert world.queue.counts()["in_progress"] == 0

    world.run_for(10)

    assert in_sync(world, scenes)


def test_a_token_that_is_rejected_meanwhile_is_told_once_and_keeps_every_job(world: World) -> None:
    scenes = edited(world, 8)
    refused = world.plex.faults.add(Answer(401), method=WRITES)
    world.run_for(60)
    assert [level for level, _ in world.notices()] == ["error"]
    assert [job["scene_id"] for job in world.jobs()] == [scene.id for scene in scenes]
    assert all("retry_count" not in job for job in world.jobs())

    refused.remove()
    world.set(plex_connect_timeout=4)
    world.run_for(60)

    assert in_sync(world, scenes)


def test_writes_that_fail_side_by_side_are_held_against_nobody_until_one_fails_alone(
    world: World,
) -> None:
    scenes = edited(world, 6)
    held = world.plex.faults.add(Hang(), method=WRITES)
    world.plex.faults.add(Answer(503), method=WRITES)
    with ThreadPoolExecutor(1) as pool:
        worked = pool.submit(world.worker._work_once)
        assert world.plex.log.wait_for(4, WRITES)
        world.plex.faults.add(Answer(503))
        world.plex.log.clear()
        held.remove()
        assert worked.result(30) is False
    assert len(world.plex.log) == 0, "no probe"
    assert world.worker.gate.plex.failures == 0
    assert [job["scene_id"] for job in world.jobs()] == [scene.id for scene in scenes]

    assert world.worker._work_once() is False

    assert world.worker.gate.plex.failures == 1
    assert [job["scene_id"] for job in world.jobs()] == [scene.id for scene in scenes]
    assert all("retry_count" not in job for job in world.jobs())


def test_an_outage_that_ends_while_a_write_hangs_costs_no_retry(world: World) -> None:
    world.read_timeout = 0.5
    world.use(world.make_worker(delay=lambda retries, base, cap: 0.0))
    scenes = edited(world, 6)
    hangs = str(world.item_of(scenes[3]).rating_key)
    world.plex.faults.add(
        Hang(), when=lambda one: one.method == WRITES and one.first("id") == hangs, times=1
    )
    world.plex.faults.add(Answer(503), method=WRITES, times=3)
    world.run_for(30)
    assert in_sync(world, scenes)
    assert world.letters() == []
    assert not any("next attempt" in text for _, text in world.notices())


def test_a_write_with_the_old_token_is_not_held_against_the_new_one(world: World) -> None:
    scenes = edited(world, 8)
    held = world.plex.faults.add(Hang(), method=WRITES)
    world.plex.faults.add(Answer(401), method=WRITES, times=4)
    with at_work(world):
        assert world.plex.log.wait_for(4, WRITES)
        world.set(plex_connect_timeout=4)  # the user corrects the settings
        world.clock.advance(6)
        held.remove()
    assert in_sync(world, scenes)
    assert world.notices() == []


def test_after_a_refusal_the_second_scene_of_an_item_is_not_tried(world: World) -> None:
    world.plex.add_item(world.library, "/plex/a.mp4", parts=["/plex/b.mp4"])
    for name in "ab":
        scene = world.stash.add_scene(files=[(f"/data/{name}.mp4", 100)])
        world.edit(scene, f"New {scene.id}")
    world.plex.faults.add(Answer(401), method=WRITES)
    world.worker._work_once()
    assert world.plex.log.count(WRITES) == 1
    assert world.waiting() == 2


def test_one_bad_item_among_many_dies_alone(world: World) -> None:
    scenes = edited(world, 30)
    bad = str(world.item_of(scenes[7]).rating_key)
    world.plex.faults.add(
        Answer(500), when=lambda one: one.method == WRITES and one.first("id") == bad
    )
    world.run_for(1000)
    assert in_sync(world, scenes[:7] + scenes[8:])
    (letter,) = world.letters()
    assert (letter["scene_id"], letter["retry_count"]) == (scenes[7].id, 5)
    assert len(world.plex.writes) == 29


def test_jobs_that_a_foreground_run_could_not_answer_for_wait_again(world: World) -> None:
    class Full(SyncMemory):
        def remember(self, scene_id: int, written: Written) -> None:
            raise sqlite3.OperationalError("database or disk is full")

    edited(world, 9)
    world.use(world.make_worker(memory=Full()))
    assert world.worker.drain() is False
    assert world.queue.counts()["in_progress"] == 0
    assert world.waiting() == 9
    assert "disk is full" in world.worker.gate.state()["problem"]


@pytest.mark.parametrize("at_once", [1, 4])
def test_a_memory_that_can_not_be_written_for_a_moment_costs_no_edit(
    world: World, at_once: int
) -> None:
    class FullOnce(SyncMemory):
        left = 1

        def remember(self, scene_id: int, written: Written) -> None:
            if scene_id == scenes[2].id and self.left:
                self.left -= 1
                raise sqlite3.OperationalError("database or disk is full")
            super().remember(scene_id, written)

    scenes = edited(world, 9)
    world.use(world.make_worker(memory=FullOnce(), at_once=at_once))
    world.run_for(60)
    assert "disk is full" in world.notices()[0][1]
    assert in_sync(world, scenes)
    assert world.waiting() == 0
    assert world.queue.counts()["in_progress"] == 0
    assert world.letters() == []


def test_each_cover_goes_to_its_own_item(world: World) -> None:
    world.set(sync_poster=True)
    scenes = [world.pair(f"s{number:03}", cover=PNG + bytes([number]))[0] for number in range(24)]
    for scene in scenes:
        world.edit(scene, f"New {scene.id}")
    world.run_for(10)
    assert in_sync(world, scenes)
    for number, scene in enumerate(scenes):
        assert [poster.data for poster in world.item_of(scene).posters] == [PNG + bytes([number])]
    assert world.plex.log.count("POST") == 24


def test_stash_is_asked_for_one_cover_at_a_time(world: World) -> None:
    world.set(sync_poster=True)
    scenes = edited(world, 6, cover=PNG)
    assert_at_once(1, world, world.stash, "GET", "/scene/")
    assert in_sync(world, scenes)
