"""Whose fault? While a server is down no job loses a retry; a single bad item goes its own way alone."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.simulators.httpd import Answer, Fault, Hang, Request, Reset, ResetAfter, Truncate
from tests.simulators.stash import Scene
from tests.worker.world import HOUR, World, edited, in_sync, request_times
from worker.circuit_breaker import CircuitState

Outage = Callable[[World], contextlib.AbstractContextManager[object]]
ALONE, BESIDE = "one write at a time", "several at once"


@pytest.fixture(params=[ALONE, BESIDE])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def world(world: World, way: str) -> World:
    """Where every Plex counts as fast, or as slow."""
    world.timing = replace(world.timing, slow_write=float("inf" if way == ALONE else "-inf"))
    return world


@contextlib.contextmanager
def stopped(world: World) -> Iterator[None]:
    world.plex.stop()
    yield
    world.plex.start()


@contextlib.contextmanager
def starting_up(world: World) -> Iterator[None]:
    world.plex.starting_up = True
    yield
    world.plex.starting_up = False


def to_everything(fault: Fault) -> Outage:
    @contextlib.contextmanager
    def outage(world: World) -> Iterator[None]:
        rule = world.plex.faults.add(fault)
        yield
        rule.remove()

    return outage


OUTAGES = {
    "stopped": stopped,
    "starting up": starting_up,
    "500": to_everything(Answer(500, b"oops")),
    "502 with a page": to_everything(Answer(502, b"<html><body>Bad gateway</body></html>")),
    "503": to_everything(Answer(503)),
    "429": to_everything(Answer(429)),
    "hangs": to_everything(Hang()),
    "resets": to_everything(Reset()),
    "cuts short": to_everything(Truncate(0.5)),
    "empty": to_everything(Answer(200, b"")),
}


def breaker(world: World) -> CircuitState:
    return world.worker.health.plex.state


def written_order(world: World) -> list[int]:
    return [write.rating_key for write in world.plex.writes]


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES.keys())
def test_an_outage_costs_no_job_a_retry_and_the_queue_drains_in_order_afterwards(
    world: World, way: str, outage: Outage
) -> None:
    world.read_timeout = 0.1
    scenes = [world.pair(f"s{number}")[0] for number in range(6)]
    for round_ in ("at the first request", "after work"):
        world.plex.writes.clear()
        for scene in scenes:
            world.edit(scene, f"New {scene.id}", details=round_)
        order = [job["scene_id"] for job in world.jobs()]

        with outage(world):
            world.run_for(300)
            assert breaker(world) is not CircuitState.CLOSED
            assert world.letters() == []
            assert [job["scene_id"] for job in world.jobs()] == order
            assert all("retry_count" not in job for job in world.jobs())
            assert all(job.get("next_retry_at", 0) <= world.clock.now for job in world.jobs())
        world.run_for(130)

        assert in_sync(world, scenes)
        assert all(world.item_of(scene).summary == round_ for scene in scenes)
        assert world.waiting() == 0
        if way == ALONE:
            assert written_order(world) == [world.item_of(scene).rating_key for scene in scenes]
        assert breaker(world) is CircuitState.CLOSED


def test_the_breaker_opens_after_five_failures_and_one_cheap_probe_goes_out_per_recovery_time(
    world: World,
) -> None:
    edited(world, 20)
    with request_times(world) as moments, starting_up(world):
        world.run_for(100)  # a few attempts, then it is open
        assert breaker(world) is not CircuitState.CLOSED
        assert world.worker.health.plex.failures >= 5
        opened_with = len(moments)
        assert opened_with <= 25
        world.plex.log.clear()
        del moments[:]

        world.run_for(HOUR)

        gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
        assert 58 <= len(moments) <= 61, "one request each minute"
        assert min(gaps) >= 60 - 0.01
        assert len(world.plex.log) == len(moments)
        assert {exchange.request.method for exchange in world.plex.log.all()} == {"GET"}
        assert world.plex.log.count(path=r"/library/sections/\d+/all|/library/metadata") == 0, (
            "cheap"
        )


def test_four_failures_do_not_open_the_breaker(world: World) -> None:
    scenes = edited(world, 3)
    rule = world.plex.faults.add(
        Answer(503), times=8
    )  # each failure: the job's request, then the probe

    world.run_for(59)

    assert rule.left == 0
    assert in_sync(world, scenes)


def test_a_user_is_told_once_that_plex_is_down(world: World) -> None:
    edited(world, 3)
    with stopped(world):
        world.run_for(300)
        notices = world.notices()

    assert len(notices) == 1
    (level, text) = notices[0]
    assert level in ("warning", "error")
    assert "Plex" in text
    assert world.plex.url in text


@pytest.mark.timeout(60)
def test_eight_hours_of_outage_with_500_edits_lose_nothing_and_cost_one_probe_a_minute(
    world: World,
) -> None:
    scenes = [world.pair(f"s{number:03}")[0] for number in range(125)]
    edits = iter(scenes * 4)

    def save(count: int) -> None:
        for scene in itertools.islice(edits, count):
            world.edit(scene, f"New {scene.id}", details=f"at {world.clock.now}")

    with request_times(world) as moments, starting_up(world):
        for tenth in range(10):
            world.clock.after(tenth * 0.7 * HOUR, lambda: save(50))
        world.run_for(8 * HOUR)
        assert next(edits, None) is None
        late = [moment for moment in moments if moment > moments[0] + 120]
        gaps = [later - earlier for earlier, later in itertools.pairwise(late)]
        assert min(gaps) >= 60 - 0.01
        assert len(moments) < 8 * 60 + 30
        assert world.letters() == []
        assert world.waiting() == 125, "one job for each scene"
        assert all("retry_count" not in job for job in world.jobs())

    world.run_for(200)

    assert world.waiting() == 0
    assert in_sync(world, scenes)
    assert world.letters() == []


# --- a single bad item


def on_item(world: World, scene: Scene, fault: Fault, *, write: bool) -> None:
    """That fault for each request about one scene's item."""
    key = str(world.item_of(scene).rating_key)

    def fits(request: Request) -> bool:
        if write:
            return request.method in ("PUT", "POST") and (
                request.first("id") == key or f"/metadata/{key}" in request.path
            )
        return request.method == "GET" and key in request.path.rpartition("/metadata/")[2].split(
            "/"
        )[0].split(",")

    world.plex.faults.add(fault, when=fits)


BAD = {"400": Answer(400), "500": Answer(500), "503": Answer(503), "reset": Reset()}


@pytest.mark.parametrize(
    ("fault", "write"),
    [
        *(pytest.param(fault, write, id=f"{name} {way}") for name, fault in BAD.items()
          for way, write in (("reading", False), ("writing", True))),
        pytest.param(Truncate(0.3), False, id="cut short reading"),
    ],
)  # fmt: skip
def test_an_item_that_always_fails_dies_alone_while_all_others_go_on(
    world: World, fault: Fault, write: bool
) -> None:
    scenes = edited(world, 8)
    bad = scenes[0]
    on_item(world, bad, fault, write=write)

    world.run_for(30)

    others = scenes[1:]
    assert in_sync(world, others), "the bad one, first in the queue, holds nobody up"
    assert breaker(world) is CircuitState.CLOSED

    world.run_for(700)

    (letter,) = world.letters()
    assert letter["scene_id"] == bad.id
    assert letter["retry_count"] == (0 if fault == Answer(400) else 5)
    assert world.waiting() == 0
    assert not world.worker.health.retry_after()


def test_many_bad_items_do_not_open_the_breaker(world: World) -> None:
    scenes = edited(world, 16)
    for bad in scenes[:10]:
        on_item(world, bad, Answer(500), write=False)

    world.run_for(20)

    assert in_sync(world, scenes[10:])
    assert breaker(world) is CircuitState.CLOSED


def test_an_item_that_hangs_dies_alone_too(world: World) -> None:
    world.read_timeout = 0.1
    scenes = edited(world, 3)
    on_item(world, scenes[0], Hang(), write=False)

    world.run_for(700)

    assert in_sync(world, scenes[1:])
    assert [letter["scene_id"] for letter in world.letters()] == [scenes[0].id]


def test_an_item_that_takes_plex_down_with_it_does_not_hold_up_the_others_for_ever(
    world: World,
) -> None:
    """Each time the bad item is touched, Plex is down for half a minute."""
    scenes = edited(world, 5)
    key = str(world.item_of(scenes[0]).rating_key)
    down_until = [0.0]

    def down(request: Request) -> bool:
        if key in request.path.split("/"):
            down_until[0] = world.clock.now + 30
        return world.clock.now < down_until[0]

    world.plex.faults.add(Answer(503), when=down)

    world.run_for(2 * HOUR)

    assert in_sync(world, scenes[1:])


def test_an_edit_of_a_bad_item_gives_it_a_fresh_start(world: World) -> None:
    (scene,) = edited(world, 1)
    on_item(world, scene, Answer(500), write=False)
    world.run_for(700)
    assert len(world.letters()) == 1
    world.plex.faults.clear()

    world.edit(scene, "Better now")
    world.run_for(10)

    assert world.title(scene) == "Better now"
    assert world.letters() == []


def test_a_write_that_was_carried_out_but_not_answered_is_no_dead_letter(world: World) -> None:
    (scene,) = edited(world, 1)
    world.plex.faults.add(ResetAfter(), method="PUT", times=1)

    world.run_for(60)

    assert in_sync(world, [scene])
    assert world.waiting() == 0
    assert world.letters() == []
