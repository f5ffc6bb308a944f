"""A Plex library with only a part of Stash: the rest waits without notices or requests."""

from __future__ import annotations

import logging
from pathlib import PurePosixPath

import pytest

from common.env import Timing
from tests.harness.clock import HOUR
from tests.harness.in_process import WorkerHarness
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene

RETRIES = 12
PATIENCE = 2 * HOUR
"""Seconds in which twelve retries end, even with the longest jitter."""


class Subset:
    """Edit all scenes once; only some of them are in Plex."""

    def __init__(self, harness: WorkerHarness, scenes: int, in_plex: int) -> None:
        self.harness = harness
        harness.new_worker(compares=True)
        self.scenes = [harness.add_scene(f"s{number:03}") for number in range(scenes)]
        for number in range(in_plex):
            harness.add_item(f"s{number:03}")
        self.present, self.missing = self.scenes[:in_plex], self.scenes[in_plex:]
        for scene in self.scenes:
            harness.edit(scene, f"New {scene.id}", updated_at=harness.clock.now - 100)

    def appear(self, scene: Scene) -> PlexItem:
        return self.harness.add_item(PurePosixPath(scene.path).stem)

    def wait_for_dead_letters(self) -> None:
        """Wait until all missing scenes are dead letters, then clear the request logs."""
        self.harness.run_for(PATIENCE)
        assert len(self.harness.letters()) == len(self.missing)
        assert self.harness.waiting() == 0
        self.harness.plex.log.clear()
        self.harness.stash.log.clear()

    def is_synced(self, scene: Scene) -> bool:
        return self.harness.title(scene) == f"New {scene.id}"


@pytest.fixture
def large(harness: WorkerHarness, caplog: pytest.LogCaptureFixture) -> Subset:
    caplog.set_level(logging.DEBUG, logger="plexsync")
    return Subset(harness, 90, 15)


@pytest.fixture
def small(harness: WorkerHarness) -> Subset:
    return Subset(harness, 30, 5)


def said(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= level]


def assert_few_requests(harness: WorkerHarness, seconds: float) -> None:
    log, timing = harness.plex.log, Timing()
    listings = log.count("GET", r"/library/sections/\d+/all")
    assert listings <= 3 + seconds / timing.quick_pass, "nothing changed in Plex"
    items = log.count("GET", r"/library/metadata/")
    assert items <= log.count("PUT")
    refreshes = len(log) - items - log.count("PUT")
    assert refreshes <= seconds / timing.name_fresh + 3 * seconds / timing.index_fresh
    assert refreshes <= (RETRIES + 1) * 20 + 50, "retries that are due together share one refresh"


def test_scenes_in_plex_are_synced_first_and_at_once(large: Subset) -> None:
    large.harness.run_for(20)

    assert all(large.is_synced(scene) for scene in large.present)
    assert large.harness.waiting() == len(large.missing)


def test_scenes_not_in_plex_wait_without_notifications_and_requests(
    large: Subset, caplog: pytest.LogCaptureFixture
) -> None:
    large.harness.run_for(PATIENCE)

    assert said(caplog, logging.WARNING) == []
    assert large.harness.notices() == []
    assert len(said(caplog)) <= len(large.missing) * (RETRIES + 2) + len(large.present) + 400
    assert {letter["error_type"] for letter in large.harness.letters()} == {"PlexNotFound"}
    assert {letter["retry_count"] for letter in large.harness.letters()} == {RETRIES}
    assert_few_requests(large.harness, PATIENCE)
    assert len(large.harness.stash.log) <= len(large.scenes) + len(large.missing) * RETRIES + 100
    assert large.harness.worker.health.plex.failures == 0


def test_a_scene_not_in_plex_makes_few_log_lines_not_one_per_attempt(
    small: Subset, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="plexsync")
    small.harness.run_for(PATIENCE)

    assert len(said(caplog)) <= 4 * len(small.scenes)


def test_with_dead_letters_only_the_worker_is_idle_and_exits(
    small: Subset, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="plexsync")
    small.wait_for_dead_letters()
    caplog.clear()
    start = small.harness.clock.now

    small.harness.run()

    assert small.harness.clock.now - start <= Timing().idle_timeout + 60
    checks = Timing().idle_timeout / Timing().quick_pass + 1
    assert len(small.harness.plex.log) <= 6 * checks
    assert small.harness.plex.log.count("GET", r"/library/sections/\d+/all") <= checks
    assert len(small.harness.stash.log) <= 8 * checks
    assert len(said(caplog)) <= 3


def test_a_file_that_appears_during_a_worker_is_synced(small: Subset) -> None:
    small.wait_for_dead_letters()
    scene = small.missing[7]
    writes = len(small.harness.plex.writes)
    small.harness.clock.after(100, lambda: small.appear(scene))

    small.harness.run_for(850)

    assert small.is_synced(scene)
    assert len(small.harness.plex.writes) == writes + 1
    assert len(small.harness.letters()) == len(small.missing) - 1


def test_a_file_that_appears_without_a_worker_is_synced_at_the_next_start(
    small: Subset,
) -> None:
    small.wait_for_dead_letters()
    scene = small.missing[7]
    small.appear(scene)
    small.harness.clock.advance(24 * HOUR)
    small.harness.restart()

    small.harness.run_for(60)

    assert small.is_synced(scene)
    assert len(small.harness.letters()) == len(small.missing) - 1


def test_a_file_that_appears_during_the_retries_is_synced_by_the_next_retry(small: Subset) -> None:
    scene = small.missing[7]
    small.harness.run_for(100)
    small.appear(scene)

    small.harness.run_for(700)

    assert small.is_synced(scene)


def test_all_files_that_appear_at_once_are_synced_with_few_listings(small: Subset) -> None:
    small.wait_for_dead_letters()
    for scene in small.missing:
        small.appear(scene)

    small.harness.run_for(850)

    assert all(small.is_synced(scene) for scene in small.scenes)
    assert small.harness.letters() == []
    assert small.harness.plex.log.count("GET", r"/library/sections/\d+/all") <= 8


def test_a_second_round_of_edits_leaves_one_letter_per_scene(small: Subset) -> None:
    small.wait_for_dead_letters()
    for scene in small.missing[:20]:
        small.harness.edit(scene, f"Newer {scene.id}", updated_at=small.harness.clock.now - 100)

    small.harness.run_for(PATIENCE)

    assert sorted(letter["scene_id"] for letter in small.harness.letters()) == [
        one.id for one in small.missing
    ]


def test_a_scene_whose_dead_letter_expired_is_tried_again_at_its_next_edit(
    small: Subset,
) -> None:
    small.wait_for_dead_letters()
    small.harness.clock.advance(31 * 24 * HOUR)
    small.harness.restart()
    scene = small.missing[0]
    small.harness.edit(scene, f"New {scene.id}", updated_at=small.harness.clock.now - 100)
    small.harness.run_for(5)
    assert small.harness.letters() == []
    small.appear(scene)

    small.harness.run_for(100)

    assert small.is_synced(scene)
