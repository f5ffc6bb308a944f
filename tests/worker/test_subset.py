"""A Plex library that holds a part of Stash on purpose: the rest waits without noise, work or requests."""

from __future__ import annotations

import logging

import pytest

from common.env import Timing
from plex.index import FileIndex
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene
from tests.worker.world import HOUR, World

RETRIES = 12
PATIENCE = 2 * HOUR
"""In which twelve retries with the longest jitter are over."""


class Subset:
    """All scenes were edited once; some are in Plex."""

    def __init__(self, world: World, scenes: int, in_plex: int) -> None:
        self.world = world
        self.use_new_worker()
        pairs = [world.pair(f"s{number:03}", in_plex=number < in_plex) for number in range(scenes)]
        self.scenes = [scene for scene, _ in pairs]
        self.present, self.missing = self.scenes[:in_plex], self.scenes[in_plex:]
        for scene in self.scenes:
            world.edit(scene, f"New {scene.id}", updated_at=world.clock.now - 100)

    def use_new_worker(self) -> None:
        if self.world._worker is not None:
            self.world.worker.close()
        self.world.use(self.world.make_worker(index=FileIndex(now=self.world.clock.time)))

    def appear(self, scene: Scene) -> PlexItem:
        path = scene.files[0].path.replace("/data/", "/plex/")
        return self.world.plex.add_item(self.world.library, path, size=100)

    def settle(self) -> None:
        """Until all that are missing have become dead letters; what was logged until then is forgotten."""
        self.world.run_for(PATIENCE)
        assert len(self.world.letters()) == len(self.missing)
        assert self.world.waiting() == 0
        self.world.plex.log.clear()
        self.world.stash.log.clear()

    def is_synced(self, scene: Scene) -> bool:
        return self.world.title(scene) == f"New {scene.id}"


@pytest.fixture
def large(world: World, caplog: pytest.LogCaptureFixture) -> Subset:
    caplog.set_level(logging.DEBUG, logger="plexsync")
    return Subset(world, 300, 50)


@pytest.fixture
def small(world: World) -> Subset:
    return Subset(world, 30, 5)


def said(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= level]


def assert_few_requests(world: World, seconds: float) -> None:
    log, timing = world.plex.log, Timing()
    assert log.count("GET", r"/library/sections/\d+/all") <= 3, "nothing changed in Plex"
    items = log.count("GET", r"/library/metadata/")
    assert items <= log.count("PUT")
    refreshes = len(log) - items - log.count("PUT")
    assert refreshes <= seconds / timing.name_fresh + 3 * seconds / timing.index_fresh
    assert refreshes <= (RETRIES + 1) * 20 + 50, "retries that are due together share one look"


def test_what_plex_has_is_synced_first_and_at_once(large: Subset) -> None:
    large.world.run_for(20)

    assert all(large.is_synced(scene) for scene in large.present)
    assert large.world.waiting() == len(large.missing)


def test_what_plex_has_not_waits_without_noise_and_requests(
    large: Subset, caplog: pytest.LogCaptureFixture
) -> None:
    large.world.run_for(PATIENCE)

    assert said(caplog, logging.WARNING) == []
    assert large.world.notices() == []
    assert len(said(caplog)) <= len(large.missing) * (RETRIES + 2) + len(large.present) + 400
    assert {letter["error_type"] for letter in large.world.letters()} == {"PlexNotFound"}
    assert {letter["retry_count"] for letter in large.world.letters()} == {RETRIES}
    assert_few_requests(large.world, PATIENCE)
    assert len(large.world.stash.log) <= len(large.scenes) + len(large.missing) * RETRIES + 100
    assert large.world.worker.health.plex.failures == 0


def test_a_scene_that_plex_has_not_is_a_few_lines_not_one_per_attempt(
    small: Subset, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="plexsync")
    small.world.run_for(PATIENCE)

    assert len(said(caplog)) <= 4 * len(small.scenes)


def test_while_all_of_them_are_dead_letters_the_worker_is_idle_and_leaves(
    small: Subset, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="plexsync")
    small.settle()
    caplog.clear()
    start = small.world.clock.now

    small.world.run()

    assert small.world.clock.now - start <= Timing().idle_timeout + 60
    looks = Timing().idle_timeout / Timing().revival + 1
    assert len(small.world.plex.log) <= 6 * looks
    assert small.world.plex.log.count("GET", r"/library/sections/\d+/all") <= 1
    assert len(small.world.stash.log) <= 8 * looks
    assert len(said(caplog)) <= 3


def test_one_file_that_appears_is_synced_by_itself_while_the_worker_lives(small: Subset) -> None:
    small.settle()
    scene = small.missing[7]
    writes = len(small.world.plex.writes)
    small.world.clock.after(100, lambda: small.appear(scene))

    small.world.run_for(850)

    assert small.is_synced(scene)
    assert len(small.world.plex.writes) == writes + 1
    assert len(small.world.letters()) == len(small.missing) - 1


def test_one_file_that_appears_while_no_worker_lives_is_synced_at_the_next_start(
    small: Subset,
) -> None:
    small.settle()
    scene = small.missing[7]
    small.appear(scene)
    small.world.clock.advance(24 * HOUR)
    small.use_new_worker()

    small.world.run_for(60)

    assert small.is_synced(scene)
    assert len(small.world.letters()) == len(small.missing) - 1


def test_one_file_that_appears_during_the_retries_is_synced_by_the_next_one(small: Subset) -> None:
    scene = small.missing[7]
    small.world.run_for(100)
    small.appear(scene)

    small.world.run_for(700)

    assert small.is_synced(scene)


def test_all_files_that_appear_at_once_are_synced_with_few_listings(small: Subset) -> None:
    small.settle()
    for scene in small.missing:
        small.appear(scene)

    small.world.run_for(850)

    assert all(small.is_synced(scene) for scene in small.scenes)
    assert small.world.letters() == []
    assert small.world.plex.log.count("GET", r"/library/sections/\d+/all") <= 8


def test_a_second_round_of_edits_leaves_one_letter_per_scene(small: Subset) -> None:
    small.settle()
    for scene in small.missing[:20]:
        small.world.edit(scene, f"Newer {scene.id}", updated_at=small.world.clock.now - 100)

    small.world.run_for(PATIENCE)

    assert sorted(letter["scene_id"] for letter in small.world.letters()) == [
        one.id for one in small.missing
    ]


def test_a_missing_scene_whose_letter_is_too_old_is_tried_again_at_its_next_edit(
    small: Subset,
) -> None:
    small.settle()
    small.world.clock.advance(31 * 24 * HOUR)
    small.use_new_worker()
    scene = small.missing[0]
    small.world.edit(scene, f"New {scene.id}", updated_at=small.world.clock.now - 100)
    small.world.run_for(5)
    assert small.world.letters() == []
    small.appear(scene)

    small.world.run_for(100)

    assert small.is_synced(scene)
