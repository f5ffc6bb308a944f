"""An outage costs no job a retry; an item that fails by itself affects no other job."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from history.records import Status
from plex.client import RetryingSession
from tests.harness.clock import HOUR
from tests.harness.in_process import WorkerHarness
from tests.harness.size import some
from tests.simulators.httpd import Answer, Fault, Hang, Request, Reset, ResetAfter, Truncate
from tests.simulators.stash import Scene
from worker.circuit_breaker import CircuitState
from worker.state import load_state

Outage = Callable[[WorkerHarness], contextlib.AbstractContextManager[object]]
ALONE, BESIDE = "one write at a time", "several at once"


@pytest.fixture(params=[ALONE, BESIDE])
def plex_speed(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def harness(harness: WorkerHarness, plex_speed: str) -> WorkerHarness:
    """Treat Plex as always fast or as always slow."""
    harness.clock.timing = replace(
        harness.clock.timing, slow_write=float("inf" if plex_speed == ALONE else "-inf")
    )
    return harness


@contextlib.contextmanager
def stopped(harness: WorkerHarness) -> Iterator[None]:
    harness.plex.stop()
    yield
    harness.plex.start()


@contextlib.contextmanager
def starting_up(harness: WorkerHarness) -> Iterator[None]:
    harness.plex.starting_up = True
    yield
    harness.plex.starting_up = False


def to_everything(fault: Fault) -> Outage:
    @contextlib.contextmanager
    def outage(harness: WorkerHarness) -> Iterator[None]:
        rule = harness.plex.faults.add(fault)
        yield
        rule.remove()

    return outage


class _ShortTimeout:
    """In place of a session's time limits: so short that a Plex that hangs costs little time."""

    def __get__(self, session: RetryingSession, _: object = None) -> tuple[float, float]:
        return 0.1, 0.1

    def __set__(self, session: RetryingSession, timeout: tuple[float, float]) -> None:
        vars(session)["_timeout"] = timeout  # for afterwards


@contextlib.contextmanager
def hanging(harness: WorkerHarness) -> Iterator[None]:
    """Have the worker lose its patience soon only meanwhile: a busy machine answers late."""
    with pytest.MonkeyPatch.context() as patch, to_everything(Hang())(harness):
        patch.setattr(RetryingSession, "_timeout", _ShortTimeout(), raising=False)
        yield


OUTAGES = {
    "stopped": stopped,
    "starting up": starting_up,
    "500": to_everything(Answer(500, b"oops")),
    "502 with a page": to_everything(Answer(502, b"<html><body>Bad gateway</body></html>")),
    "503": to_everything(Answer(503)),
    "429": to_everything(Answer(429)),
    "hangs": hanging,
    "resets": to_everything(Reset()),
    "cuts short": to_everything(Truncate(0.5)),
    "empty": to_everything(Answer(200, b"")),
}


def breaker(harness: WorkerHarness) -> CircuitState:
    return harness.worker.health.plex.state


def written_order(harness: WorkerHarness) -> list[int]:
    return [write.rating_key for write in harness.plex.writes]


@pytest.mark.parametrize("outage", some(OUTAGES.values(), 4), ids=some(OUTAGES, 4))
def test_an_outage_costs_no_retries_and_the_queue_drains_in_order(
    harness: WorkerHarness, plex_speed: str, outage: Outage
) -> None:
    scenes = [harness.pair(f"s{number}")[0] for number in range(6)]
    for round_ in ("at the first request", "after work"):
        harness.plex.writes.clear()
        for scene in scenes:
            harness.edit(scene, f"New {scene.id}", details=round_)
        order = [job["scene_id"] for job in harness.jobs()]

        with outage(harness):
            harness.run_for(300)
            assert breaker(harness) is not CircuitState.CLOSED
            assert harness.letters() == []
            assert [job["scene_id"] for job in harness.jobs()] == order
            assert all("retry_count" not in job for job in harness.jobs())
            assert all(job.get("next_retry_at", 0) <= harness.clock.now for job in harness.jobs())
        harness.run_for(130)

        assert harness.in_sync(scenes)
        assert all(harness.item_of(scene).summary == round_ for scene in scenes)
        assert harness.waiting() == 0
        if plex_speed == ALONE:
            assert written_order(harness) == [harness.item_of(scene).rating_key for scene in scenes]
        assert breaker(harness) is CircuitState.CLOSED


def test_the_breaker_opens_after_five_failures_and_probes_once_per_recovery_time(
    harness: WorkerHarness,
) -> None:
    harness.edited(20)
    with harness.request_times() as moments, starting_up(harness):
        harness.run_for(100)  # a few attempts open it
        assert breaker(harness) is not CircuitState.CLOSED
        assert harness.worker.health.plex.failures >= 5
        opened_with = len(moments)
        assert opened_with <= 25
        harness.plex.log.clear()
        del moments[:]

        harness.run_for(HOUR)

        gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
        assert 58 <= len(moments) <= 61, "one request each minute"
        assert min(gaps) >= 60 - 0.01
        assert len(harness.plex.log) == len(moments)
        assert {exchange.request.method for exchange in harness.plex.log.all()} == {"GET"}
        assert harness.plex.log.count(path=r"/library/sections/\d+/all|/library/metadata") == 0, (
            "cheap"
        )


def test_four_failures_do_not_open_the_breaker(harness: WorkerHarness) -> None:
    scenes = harness.edited(3)
    rule = harness.plex.faults.add(
        Answer(503), times=8
    )  # each failure: the job's request, then the probe

    harness.run_for(59)

    assert rule.left == 0
    assert harness.in_sync(scenes)


def test_the_user_is_notified_once_that_plex_is_down(harness: WorkerHarness) -> None:
    harness.edited(3)
    with stopped(harness):
        harness.run_for(300)
        reported = harness.notices()

    assert len(reported) == 1
    (level, text) = reported[0]
    assert level in ("warning", "error")
    assert "Plex" in text
    assert harness.plex.url in text


def test_a_long_outage_with_many_edits_loses_nothing_and_costs_one_probe_a_minute(
    harness: WorkerHarness,
) -> None:
    scenes = [harness.pair(f"s{number:03}")[0] for number in range(25)]
    edits = iter(scenes * 4)

    def save(count: int) -> None:
        for scene in itertools.islice(edits, count):
            harness.edit(scene, f"New {scene.id}", details=f"at {harness.clock.now}")

    with harness.request_times() as moments, starting_up(harness):
        for tenth in range(10):
            harness.clock.after(tenth * 0.7 * HOUR, lambda: save(10))
        harness.run_for(8 * HOUR)
        assert next(edits, None) is None
        late = [moment for moment in moments if moment > moments[0] + 120]
        gaps = [later - earlier for earlier, later in itertools.pairwise(late)]
        assert min(gaps) >= 60 - 0.01
        assert len(moments) < 8 * 60 + 30
        assert harness.letters() == []
        assert harness.waiting() == 25, "one job for each scene"
        assert all("retry_count" not in job for job in harness.jobs())

    harness.run_for(200)

    assert harness.waiting() == 0
    assert harness.in_sync(scenes)
    assert harness.letters() == []


# --- a single failing item


def on_item(harness: WorkerHarness, scene: Scene, fault: Fault, *, write: bool) -> None:
    """Add a fault for each request about the item of one scene."""
    key = str(harness.item_of(scene).rating_key)

    def fits(request: Request) -> bool:
        if write:
            return request.method in ("PUT", "POST") and (
                request.first("id") == key or f"/metadata/{key}" in request.path
            )
        return request.method == "GET" and key in request.path.rpartition("/metadata/")[2].split(
            "/"
        )[0].split(",")

    harness.plex.faults.add(fault, when=fits)


BAD = {"400": Answer(400), "500": Answer(500), "503": Answer(503), "reset": Reset()}


@pytest.mark.parametrize(
    ("fault", "write"),
    some([
        *(pytest.param(fault, write, id=f"{name} {direction}") for name, fault in BAD.items()
          for direction, write in (("reading", False), ("writing", True))),
        pytest.param(Truncate(0.3), False, id="truncated reading"),
    ], 5),
)  # fmt: skip
def test_only_the_failing_item_becomes_a_dead_letter(
    harness: WorkerHarness, fault: Fault, write: bool
) -> None:
    scenes = harness.edited(8)
    bad = scenes[0]
    on_item(harness, bad, fault, write=write)

    harness.run_for(30)

    others = scenes[1:]
    assert harness.in_sync(others), "the failing one, first in the queue, blocks no other"
    assert breaker(harness) is CircuitState.CLOSED

    harness.run_for(700)

    if write and fault == Answer(400):  # Plex refuses the value
        (row,) = harness.worker.history.of_scene(bad.id)
        assert (row.status, row.refused_fields) == (Status.REFUSED, ["title"])
        assert harness.letters() == []
    else:
        (letter,) = harness.letters()
        assert letter["scene_id"] == bad.id
        assert letter["retry_count"] == (0 if fault == Answer(400) else 5)
    assert harness.waiting() == 0
    assert not harness.worker.health.retry_after()


def test_many_bad_items_do_not_open_the_breaker(harness: WorkerHarness) -> None:
    scenes = harness.edited(16)
    for bad in scenes[:10]:
        on_item(harness, bad, Answer(500), write=False)

    harness.run_for(20)

    assert harness.in_sync(scenes[10:])
    assert breaker(harness) is CircuitState.CLOSED


def test_only_the_hanging_item_becomes_a_dead_letter(harness: WorkerHarness) -> None:
    harness.read_timeout = 0.1
    scenes = harness.edited(3)
    on_item(harness, scenes[0], Hang(), write=False)

    harness.run_for(700)

    assert harness.in_sync(scenes[1:])
    assert [letter["scene_id"] for letter in harness.letters()] == [scenes[0].id]


def test_an_item_that_crashes_plex_does_not_block_the_others_for_ever(
    harness: WorkerHarness,
) -> None:
    """Each request about the item stops Plex for half a minute."""
    scenes = harness.edited(5)
    key = str(harness.item_of(scenes[0]).rating_key)
    down_until = [0.0]

    def down(request: Request) -> bool:
        if key in request.path.split("/"):
            down_until[0] = harness.clock.now + 30
        return harness.clock.now < down_until[0]

    harness.plex.faults.add(Answer(503), when=down)

    harness.run_for(2 * HOUR)

    assert harness.in_sync(scenes[1:])


def test_an_edit_of_a_failing_item_resets_its_retries(harness: WorkerHarness) -> None:
    (scene,) = harness.edited(1)
    on_item(harness, scene, Answer(500), write=False)
    harness.run_for(700)
    assert len(harness.letters()) == 1
    harness.plex.faults.clear()

    harness.edit(scene, "Better now")
    harness.run_for(10)

    assert harness.title(scene) == "Better now"
    assert harness.letters() == []


def test_an_applied_write_without_a_response_is_not_a_dead_letter(
    harness: WorkerHarness,
) -> None:
    (scene,) = harness.edited(1)
    harness.plex.faults.add(ResetAfter(), method="PUT", times=1)

    harness.run_for(60)

    assert harness.in_sync([scene])
    assert harness.waiting() == 0
    assert harness.letters() == []


def test_the_state_for_status_is_well_again_while_a_long_run_goes_on(
    harness: WorkerHarness,
) -> None:
    scenes = harness.edited(40)
    refused = harness.plex.faults.add(Answer(503))
    harness.run_for(30)
    assert load_state(str(harness.data_dir))["plex"] == "open"
    refused.remove()
    seen: list[object] = []

    def look(request: Request) -> bool:
        if request.method == "PUT":
            seen.append(load_state(str(harness.data_dir))["plex"])
        return False

    harness.plex.faults.add(Answer(503), when=look)
    harness.run_for(600)
    assert len(seen) == len(scenes)
    assert seen[-1] == "closed"


def test_an_outage_is_shown_also_after_a_step_that_took_longer_than_the_pause(
    harness: WorkerHarness,
) -> None:
    for _ in range(5):
        harness.worker.health.plex.record_failure()
    harness.worker._pause(0.0)
    assert load_state(str(harness.data_dir))["plex"] == "open"
