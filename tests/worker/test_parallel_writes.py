"""Parallel writes: never more than allowed, never two for one item, and none is lost."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast
from xml.etree.ElementTree import Element

import pytest

from history.records import Agreement, Choice
from history.store import History
from plex.desired import Switches, switches_of
from plex.items import parse_item
from plex.plan import Intent
from tests.harness.base import TOKEN
from tests.harness.clock import FakeClock
from tests.harness.in_process import WorkerHarness
from tests.simulators.httpd import Answer, Delay, Hang, Request
from tests.simulators.plex import PlexSimulator
from tests.simulators.stash import Scene, StashSimulator
from validation.config import validate_config
from validation.metadata import SyncMetadata
from worker.job_runner import JobRunner
from worker.target import SyncTarget, Written
from worker.write_pool import WritePool

PNG = b"\x89PNG\r\n\x1a\n"
WRITES = "PUT"
SLOW = 0.01


def target(scene_id: int, rating_key: int | None = None, **names: Any) -> SyncTarget:
    item = parse_item(Element("Video", ratingKey=str(rating_key or scene_id)))
    metadata = SyncMetadata(scene_id=scene_id, title="T", **names)
    return SyncTarget((item,), metadata, None, 0.0, Switches(), Intent(), ())


class Runner:
    """Simulate writes of a given duration; with `hold`, each waits until all have started."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.takes = 0.0
        self.hold: threading.Barrier | None = None
        self.threads: set[str] = set()
        self.bad: set[int] = set()
        self.unchanged = False
        self.pool = WritePool(cast(JobRunner, self), self.clock)

    def write(self, target: SyncTarget) -> Written:
        self.threads.add(threading.current_thread().name)
        if self.hold is not None:
            self.hold.wait(240)
        self.clock.advance(self.takes)
        (key,) = target.keys
        if key in self.bad:
            raise RuntimeError(f"item {key}")
        return Written() if self.unchanged else Written(("title",))

    def write_alone(self, *seconds: float) -> None:
        """Run one write at a time, with these durations."""
        for self.takes in seconds:
            self.pool.write([target(1)])


@pytest.fixture
def runner() -> Runner:
    return Runner()


def test_a_fast_plex_is_written_one_at_a_time_in_the_callers_thread(runner: Runner) -> None:
    runner.write_alone(0.0, 0.0, 0.0, 0.0)
    assert runner.pool.width == 1
    assert runner.threads == {threading.current_thread().name}


def test_one_slow_write_is_not_enough_for_parallel_writes(runner: Runner) -> None:
    runner.write_alone(10 * SLOW, 10 * SLOW, 0.0, 10 * SLOW, 10 * SLOW)
    assert runner.pool.width == 1


def test_after_three_slow_writes_others_run_in_parallel_and_keep_their_order(
    runner: Runner,
) -> None:
    runner.write_alone(2 * SLOW, 2 * SLOW, 2 * SLOW)
    assert runner.pool.width == 4
    runner.hold = threading.Barrier(4)  # passes only with four at once
    runner.bad = {12}

    results = runner.pool.write([target(number) for number in (11, 12, 13, 14)])

    assert [isinstance(result, Written) for result in results] == [True, False, True, True]
    assert str(results[1]) == "item 12"


def test_writes_without_a_request_do_not_count_as_fast(runner: Runner) -> None:
    runner.write_alone(2 * SLOW, 2 * SLOW, 2 * SLOW)
    runner.unchanged = True
    runner.write_alone(0.0, 0.0)
    assert runner.pool.width == 4


def test_sometimes_a_write_runs_alone_to_measure_plex_again(runner: Runner) -> None:
    runner.write_alone(2 * SLOW, 2 * SLOW, 2 * SLOW)
    waves = 0
    while runner.pool.width > 1:
        runner.pool.write([target(number) for number in range(1, 5)])
        waves += 1
    assert 4 * (waves - 1) < 30 <= 4 * waves
    runner.write_alone(2 * SLOW)
    assert runner.pool.width == 4
    runner.pool.write([target(number) for number in range(1, 5)])
    runner.write_alone(0.0)
    assert runner.pool.width == 1


def test_one_item_never_has_two_writes_at_once(runner: Runner) -> None:
    wave = [target(1), target(2, rating_key=7)]
    assert runner.pool.conflicts(target(3, rating_key=7), wave) is True
    assert runner.pool.conflicts(target(3), wave) is False


def test_two_parallel_writes_never_add_the_same_new_name(runner: Runner) -> None:
    wave = [target(2, tags=["New"]), target(3, performers=["Other"])]
    assert runner.pool.conflicts(target(4, studio="NEW"), wave) is True
    runner.bad = {3}
    runner.pool.write(wave)
    assert runner.pool.conflicts(target(4, studio="NEW"), wave) is False
    assert runner.pool.conflicts(target(5, director="other"), wave) is True


@pytest.mark.parametrize(
    "names",
    [
        {"parent_studio": "New"},
        {"tags": ["Below"], "tag_ancestors": {"Below": ["New"]}},
        {"performer_tags": ["New"]},
    ],
)
def test_a_new_name_that_comes_of_the_rules_counts_too(
    runner: Runner, names: dict[str, Any]
) -> None:
    rules = {
        "collections_from": "studio; groups; parent_studio",
        "tag_parents": True,
        "performer_tags": True,
    }
    config, problem = validate_config({"plex_url": "http://plex", "plex_token": "t" * 20, **rules})
    assert config is not None, problem
    one = replace(target(1, **names), switches=switches_of(config))
    assert runner.pool.conflicts(one, [target(2, tags=["New"])]) is True


@pytest.fixture
def only_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one thread of a pool start, as a container with a limit may."""
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def limited(thread: threading.Thread) -> None:
        if thread.name.startswith("plexsync-write"):
            started.append(thread)
            if len(started) > 1:
                raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)


def test_without_threads_the_next_writes_run_one_at_a_time(
    runner: Runner, only_one_thread: None
) -> None:
    runner.write_alone(2 * SLOW, 2 * SLOW, 2 * SLOW)
    results = runner.pool.write([target(number) for number in range(1, 5)])
    assert isinstance(results[0], Written)
    assert any(isinstance(result, RuntimeError) for result in results)
    assert runner.pool.width == 1


# --- the worker


@pytest.fixture
def harness(harness: WorkerHarness) -> WorkerHarness:
    """Treat Plex as always slow."""
    harness.clock.timing = replace(harness.clock.timing, slow_write=float("-inf"))
    return harness


@contextmanager
def draining(harness: WorkerHarness) -> Iterator[None]:
    """Let the worker drain in another thread."""
    with ThreadPoolExecutor(1) as pool:
        drained = pool.submit(harness.drain)
        yield
        drained.result(240)


def assert_at_once(
    most: int,
    harness: WorkerHarness,
    server: PlexSimulator | StashSimulator,
    method: str,
    path: str | None = None,
) -> None:
    """Drain and assert that exactly so many of these requests run in parallel."""
    held = server.faults.add(Hang(), method=method, path=path)
    with draining(harness):
        assert server.log.wait_for(most, method, path)
        assert not server.log.wait_for(most + 1, method, path, timeout=0.3)
        held.remove()


def test_at_most_four_writes_run_in_parallel(harness: WorkerHarness) -> None:
    scenes = harness.edited(12)
    assert_at_once(4, harness, harness.plex, WRITES)
    assert harness.in_sync(scenes)
    assert harness.waiting() == 0
    assert len(harness.plex.writes) == 12


def test_a_worker_with_one_parallel_write_writes_one_at_a_time(harness: WorkerHarness) -> None:
    harness.new_worker(parallel_writes=1)
    scenes = harness.edited(3)
    assert_at_once(1, harness, harness.plex, WRITES)
    assert harness.in_sync(scenes)


def scenes_of_one_item(harness: WorkerHarness) -> list[Scene]:
    """Return two scenes for which the user chose the same item."""
    item = harness.plex.add_item(harness.library, "/media/a.mp4", parts=["/media/b.mp4"])
    scenes = [harness.stash.add_scene(files=[(f"/data/{name}.mp4", 100)]) for name in "ab"]
    server, history = harness.plex.machine_identifier, harness.worker.history
    for scene in scenes:
        history.choose(scene.id, [Choice(scene.id, server, item.rating_key, item.path)])
    return scenes


def test_the_second_of_two_scenes_with_one_item_is_written_after_the_first(
    harness: WorkerHarness,
) -> None:
    scenes = scenes_of_one_item(harness)
    for scene in scenes:
        harness.edit(scene, f"New {scene.id}", details=f"details {scene.id}")
    assert_at_once(1, harness, harness.plex, WRITES)
    methods = [exchange.request.method for exchange in harness.plex.log.all()]
    first, second = (place for place, method in enumerate(methods) if method == WRITES)
    assert "GET" in methods[first:second], "the second looked at what the first had written"
    assert harness.title(scenes[0]) == f"New {scenes[1].id}"
    assert harness.item_of(scenes[0]).summary == f"details {scenes[1].id}"


def test_a_tag_that_came_before_the_item_was_read_for_the_second_scene_stays(
    harness: WorkerHarness,
) -> None:
    first, second = scenes_of_one_item(harness)
    item = harness.item_of(first)
    reads: list[Request] = []

    def add(request: Request) -> bool:
        if request.method == "GET" and request.path == f"/library/metadata/{item.rating_key}":
            reads.append(request)
            if len(reads) == 1:
                harness.clock.advance(3.0)
            if len(reads) == 2:
                harness.plex.person_adds(item.rating_key, "genre", "Mine")
        return False

    for scene in (first, second):
        harness.edit(scene, tags=["Ours"])
    harness.plex.faults.add(Delay(0), when=add)
    harness.run_for(30)
    assert sorted(item.genres) == ["Mine", "Ours"]


def test_a_stop_finishes_running_writes_and_requeues_the_others(
    harness: WorkerHarness,
) -> None:
    scenes = harness.edited(10)
    held = harness.plex.faults.add(Hang(), method=WRITES)
    with draining(harness):
        assert harness.plex.log.wait_for(4, WRITES)
        harness.worker.stop()
        held.remove()
    arrived = [scene for scene in scenes if harness.title(scene) == f"New {scene.id}"]
    assert arrived == scenes[: len(arrived)]
    assert 4 <= len(arrived) < 10
    assert [job["scene_id"] for job in harness.jobs()] == [
        scene.id for scene in scenes[len(arrived) :]
    ]
    assert harness.queue.counts()["in_progress"] == 0

    harness.run_for(10)

    assert harness.in_sync(scenes)


def test_a_token_rejected_during_writes_is_reported_once_and_keeps_every_job(
    harness: WorkerHarness,
) -> None:
    scenes = harness.edited(8)
    refused = harness.plex.faults.add(Answer(401), method=WRITES)
    harness.run_for(60)
    assert [level for level, _ in harness.notices()] == ["error"]
    assert [job["scene_id"] for job in harness.jobs()] == [scene.id for scene in scenes]
    assert all("retry_count" not in job for job in harness.jobs())

    refused.remove()
    harness.configure(plex_connect_timeout=4)
    harness.run_for(60)

    assert harness.in_sync(scenes)


def test_failed_parallel_writes_count_as_one_failure_after_a_failed_retry_alone(
    harness: WorkerHarness,
) -> None:
    scenes = harness.edited(6)
    held = harness.plex.faults.add(Hang(), method=WRITES)
    harness.plex.faults.add(Answer(503), method=WRITES)
    with ThreadPoolExecutor(1) as pool:
        worked = pool.submit(harness.worker.run_batch)
        assert harness.plex.log.wait_for(4, WRITES)
        assert harness.worker.health.plex.failures == 0
        harness.plex.faults.add(Answer(503))
        held.remove()
        assert worked.result(240) is False
    assert harness.worker.health.plex.failures == 1
    assert [job["scene_id"] for job in harness.jobs()] == [scene.id for scene in scenes]
    assert all("retry_count" not in job for job in harness.jobs())


def test_an_outage_that_ends_while_a_write_hangs_costs_no_retry(harness: WorkerHarness) -> None:
    harness.read_timeout = 0.5
    harness.new_worker()
    scenes = harness.edited(6)
    hangs = str(harness.item_of(scenes[3]).rating_key)
    harness.plex.faults.add(
        Hang(), when=lambda one: one.method == WRITES and one.first("id") == hangs, times=1
    )
    harness.plex.faults.add(Answer(503), method=WRITES, times=3)
    harness.run_for(30)
    assert harness.in_sync(scenes)
    assert harness.letters() == []
    assert not any("next attempt" in text for _, text in harness.notices())


def test_a_failed_write_with_the_old_token_does_not_reject_the_new_one(
    harness: WorkerHarness,
) -> None:
    scenes = harness.edited(8)
    held = harness.plex.faults.add(Hang(), method=WRITES)
    harness.plex.faults.add(Answer(401), method=WRITES, times=4)
    with draining(harness):
        assert harness.plex.log.wait_for(4, WRITES)
        harness.configure(plex_connect_timeout=4)  # the user corrects the settings
        harness.clock.advance(6)
        held.remove()
    assert harness.in_sync(scenes)
    assert harness.notices() == []


def test_after_a_rejection_the_second_scene_of_an_item_is_not_tried(harness: WorkerHarness) -> None:
    for scene in scenes_of_one_item(harness):
        harness.edit(scene, f"New {scene.id}")
    harness.plex.faults.add(Answer(401), method=WRITES)
    harness.worker.run_batch()
    assert harness.plex.log.count(WRITES) == 1
    assert harness.waiting() == 2


def test_of_many_items_only_the_failing_one_becomes_a_dead_letter(harness: WorkerHarness) -> None:
    scenes = harness.edited(30)
    bad = str(harness.item_of(scenes[7]).rating_key)
    harness.plex.faults.add(
        Answer(500), when=lambda one: one.method == WRITES and one.first("id") == bad
    )
    harness.run_for(1000)
    assert harness.in_sync(scenes[:7] + scenes[8:])
    (letter,) = harness.letters()
    assert (letter["scene_id"], letter["retry_count"]) == (scenes[7].id, 5)
    assert len(harness.plex.writes) == 29


def test_jobs_that_a_foreground_run_could_not_finish_are_requeued(harness: WorkerHarness) -> None:
    class Full(History):
        def save(self, agreement: Agreement) -> Agreement:
            raise sqlite3.OperationalError("database or disk is full")

    harness.edited(9)
    harness.new_worker(history=Full())
    assert not harness.drain()
    assert harness.queue.counts()["in_progress"] == 0
    assert harness.waiting() == 9
    assert "disk is full" in harness.worker.health.to_dict()["problem"]


@pytest.mark.parametrize("at_once", [1, 4])
def test_a_write_history_that_fails_once_loses_no_edit(
    harness: WorkerHarness, at_once: int
) -> None:
    class FullOnce(History):
        left = 1

        def save(self, agreement: Agreement) -> Agreement:
            if agreement.scene_id == scenes[2].id and self.left:
                self.left -= 1
                raise sqlite3.OperationalError("database or disk is full")
            return super().save(agreement)

    scenes = harness.edited(9)
    harness.new_worker(history=FullOnce(), parallel_writes=at_once)
    harness.run_for(60)
    assert harness.notices() == [], "its cause is gone"
    assert harness.in_sync(scenes)
    assert harness.waiting() == 0
    assert harness.queue.counts()["in_progress"] == 0
    assert harness.letters() == []


def test_each_cover_is_uploaded_to_its_own_item(harness: WorkerHarness) -> None:
    harness.configure(sync_poster=True)
    scenes = [harness.pair(f"s{number:03}", cover=PNG + bytes([number]))[0] for number in range(24)]
    harness.edit_all(scenes)
    harness.run_for(10)
    assert harness.in_sync(scenes)
    for number, scene in enumerate(scenes):
        assert [poster.data for poster in harness.item_of(scene).posters] == [PNG + bytes([number])]
    assert harness.plex.log.count("POST") == 24


def test_stash_is_asked_for_one_cover_at_a_time(harness: WorkerHarness) -> None:
    harness.configure(sync_poster=True)
    scenes = harness.edited(6, cover=PNG)
    assert_at_once(1, harness, harness.stash, "GET", "/scene/")
    assert harness.in_sync(scenes)


def test_without_threads_each_item_is_read_again_before_its_second_write(
    harness: WorkerHarness, only_one_thread: None
) -> None:
    scenes = [harness.pair(f"s{number}", tags=["Old"])[0] for number in range(4)]
    for scene in scenes:
        harness.edit(scene, f"New {scene.id}")
    harness.new_worker(parallel_writes=1)
    harness.run()
    harness.new_worker(history=harness.worker.history)
    for scene in scenes:
        harness.edit(scene, tags=["Fresh"])
    harness.run()
    assert [harness.item_of(scene).genres for scene in scenes] == [["Fresh"]] * 4


def test_an_item_matched_in_one_plex_is_never_written_in_another(
    harness: WorkerHarness,
) -> None:
    """The settings change while a job waits for others that bring the same new tag."""
    harness.configure(plex_libraries="Scenes")
    first, second, third = (harness.pair(name, tags=[name])[0] for name in "abc")
    for scene in (first, second):
        harness.edit(scene, f"New {scene.id}")
    harness.edit(third, "New third", tags=["a"])
    with PlexSimulator(token=TOKEN, machine_identifier="f" * 40) as other:
        library = other.add_library("Scenes", ["/media"])
        strangers = [other.add_item(library, f"/media/other{n}.mp4", size=9) for n in range(9)]
        titles = [stranger.title for stranger in strangers]

        def move(request: Request) -> bool:
            if request.method == WRITES:
                harness.configure(plex_url=other.url)
                harness.clock.now += 10
            return request.method == WRITES

        harness.plex.faults.add(Answer(503), when=move)
        harness.run_for(60)
        assert [stranger.title for stranger in strangers] == titles
        assert other.writes == []
    assert harness.synced_at(third) is None


def test_a_drain_that_is_switched_off_half_way_does_not_say_that_it_finished(
    harness: WorkerHarness,
) -> None:
    harness.new_worker(parallel_writes=1)
    scenes = harness.edited(6)

    def switch_off(request: Request) -> bool:
        if request.method == WRITES:
            harness.configure(enabled=False)
            harness.clock.now += 10
        return False

    harness.plex.faults.add(Answer(503), when=switch_off)
    assert not harness.drain()
    assert 0 < harness.queue.counts()["pending"] < len(scenes)


def test_a_drain_ends_while_stash_is_down(harness: WorkerHarness) -> None:
    scenes = harness.edited(3)
    harness.stash.faults.add(Answer(503))
    assert not harness.drain()
    assert harness.queue.counts()["pending"] == len(scenes)
