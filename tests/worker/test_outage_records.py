"""What is remembered of each outage: from when to when, what waited, and when it was done."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.harness.clock import HOUR
from tests.harness.in_process import WorkerHarness
from tests.simulators.httpd import Answer, Delay, Request
from worker.outages import OUTAGES, Outages
from worker.state import load_state

MINUTE = 60.0
#: An outage that is over and caught up with.
WHOLE = {
    "cause": "plex_down", "since": 1.0, "until": 61.0, "seconds": 60.0, "waiting": 2,
    "caught_up_after": 0.0,
}  # fmt: skip


@pytest.fixture
def steady(harness: WorkerHarness) -> WorkerHarness:
    """Return a harness whose worker stays and has seen Plex."""
    harness.clock.timing = replace(harness.clock.timing, idle_timeout=1000 * HOUR)
    harness.new_worker(compares=True)
    harness.run_for(MINUTE)
    return harness


def outages(harness: WorkerHarness) -> list[dict[str, Any]]:
    return list(harness.worker.history.get(OUTAGES, []))


def cut_off(harness: WorkerHarness, seconds: float, edits: int = 3) -> None:
    """Have Plex down for a time in which edits come."""
    harness.plex.stop()
    for number in range(edits):
        harness.edit(harness.pair(f"{harness.clock.now:.0f}-{number}")[0], "New")
    harness.run_for(seconds)
    harness.plex.start()


def test_an_outage_has_its_times_and_what_waited(steady: WorkerHarness) -> None:
    began = steady.clock.now
    cut_off(steady, 20 * MINUTE)
    ended = steady.clock.now
    steady.run_for(10 * MINUTE)
    (one,) = outages(steady)
    assert one["cause"] == "plex_down"
    assert began <= one["since"] <= began + MINUTE
    assert ended <= one["until"] <= ended + MINUTE
    assert one["seconds"] == pytest.approx(one["until"] - one["since"])
    assert one["waiting"] == 3
    assert 0 <= one["caught_up_after"] <= MINUTE


def test_edits_of_an_outage_are_caught_up_with_when_none_is_due(steady: WorkerHarness) -> None:
    """Also by the next worker."""
    steady.edit(steady.pair("one")[0], "New")
    records = steady.worker.health.outages
    records.begin("plex_down")
    records.end("plex_down")
    steady.clock.advance(5 * MINUTE)
    records.look()
    assert outages(steady)[0]["caught_up_after"] is None
    steady.restart()
    steady.run_for(MINUTE)
    assert outages(steady)[0]["caught_up_after"] == pytest.approx(5 * MINUTE, abs=30)


def test_a_short_failure_is_none(steady: WorkerHarness) -> None:
    rule = steady.plex.faults.add(Answer(503), times=3)
    steady.edit(steady.pair("one")[0], "New")
    steady.run_for(10 * MINUTE)
    rule.remove()
    assert outages(steady) == []


def test_an_outage_goes_on_in_the_next_worker(steady: WorkerHarness) -> None:
    cut_off(steady, 20 * MINUTE)
    steady.plex.stop()
    (before,) = outages(steady)
    for _ in range(3):
        steady.restart()
        steady.run_for(20 * MINUTE)
    assert outages(steady) == [before]
    steady.plex.start()
    steady.restart()
    steady.run_for(MINUTE)
    (one,) = outages(steady)
    assert one["since"] == before["since"]
    assert one["seconds"] == pytest.approx(80 * MINUTE, abs=2 * MINUTE)
    assert (one["waiting"], one["caught_up_after"] is None) == (3, False)


def test_one_that_ended_while_no_worker_was_there_ends_at_its_first_look(
    steady: WorkerHarness,
) -> None:
    """Also where nothing is to be synced: Plex is asked."""
    cut_off(steady, 20 * MINUTE)
    steady.commands.add("clear_queue", {})
    steady.clock.advance(5 * HOUR)
    steady.restart()
    started = steady.clock.now
    steady.run_for(MINUTE)
    assert outages(steady)[0]["until"] == pytest.approx(started, abs=30)


def test_a_rejected_token_is_an_outage_until_plex_takes_it(steady: WorkerHarness) -> None:
    """It is tried every ten minutes: that is no end."""
    steady.configure(plex_token="wrong-token-0123456789")
    steady.edit(steady.pair("one")[0], "New")
    steady.run_for(2 * HOUR)
    steady.configure()
    steady.run_for(MINUTE)
    (one,) = outages(steady)
    assert one["cause"] == "setup"
    assert one["seconds"] == pytest.approx(2 * HOUR, abs=MINUTE)
    assert one["waiting"] == 1


@pytest.mark.parametrize("edits", [0, 1])
@pytest.mark.parametrize(
    "wrong", [{"plex_token": "wrong-token-0123456789"}, {"plex_libraries": "Nowhere"}]
)
def test_a_wrong_setting_is_one_outage_and_shown_all_the_time(
    steady: WorkerHarness, wrong: dict[str, str], edits: int
) -> None:
    """Also each time it is tried whether Plex takes it now, with or without an edit that waits."""
    steady.clock.timing = replace(steady.clock.timing, quick_pass=15 * MINUTE)
    steady.configure(**wrong)
    for number in range(edits):
        steady.edit(steady.pair(f"{number}")[0], "New")
    shown: list[object] = []

    def note(_request: Request) -> bool:
        if steady.worker.health.outages.is_open():
            shown.append((load_state(str(steady.data_dir)) or {})["problem"])
        return False

    steady.plex.faults.add(Delay(0), when=note)
    steady.run_for(2 * HOUR)
    assert len(shown) > 5
    assert None not in shown
    steady.configure()
    steady.run_for(30 * MINUTE)
    (one,) = outages(steady)
    assert one["cause"] == "setup"
    assert one["until"] is not None
    assert steady.worker.health.problem is None


def test_a_token_that_may_only_read_is_one_outage_and_shown_all_the_time(
    steady: WorkerHarness,
) -> None:
    steady.edit(steady.pair("one")[0], "New")
    rule = steady.plex.faults.add(Answer(401), method="PUT")
    shown: list[object] = []

    def note(_request: Request) -> bool:
        if steady.worker.health.outages.is_open():
            shown.append((load_state(str(steady.data_dir)) or {})["problem"])
        return False

    steady.plex.faults.add(Delay(0), when=note)
    steady.run_for(HOUR)
    assert len(shown) > 5
    assert None not in shown
    rule.remove()
    steady.run_for(HOUR)
    (one,) = outages(steady)
    assert one["until"] is not None
    assert (steady.worker.health.problem, steady.waiting()) == (None, 0)


@pytest.mark.parametrize("leap", [-400 * 24 * HOUR, 400 * 24 * HOUR])
def test_a_clock_that_is_set_does_not_make_it_longer(steady: WorkerHarness, leap: float) -> None:
    outages_ = Outages(steady.worker._parts)
    outages_.begin("plex_down")
    steady.clock.advance(10 * MINUTE)
    steady.clock.now += leap
    steady.clock.started += leap  # the monotonic clock stays
    outages_.end("plex_down")
    one = outages_.last("plex_down")
    assert one is not None
    assert one["seconds"] == 10 * MINUTE
    assert one["since"] < one["until"] == steady.clock.now


def test_one_that_began_in_the_future_began_now(steady: WorkerHarness) -> None:
    now = steady.clock.now
    one = {
        "cause": "plex_down", "since": now + 9 * HOUR, "until": None, "seconds": None,
        "waiting": None, "caught_up_after": None,
    }  # fmt: skip
    steady.worker.history.set(OUTAGES, [one])
    steady.restart()
    assert steady.worker.health.outages.open_for("plex_down") == 0
    last = steady.worker.health.outages.last("plex_down")
    assert last is not None
    assert last["since"] == now


@pytest.mark.parametrize(
    "damage",
    [
        *({"-" + key: None} for key in WHOLE),
        *({key: 1e63} for key in ("since", "until")),
        *({key: "1"} for key in WHOLE if key != "cause"),
        *({"since": True}, {"until": -1.0}, {"waiting": {}}),
        *({"cause": None}, {"since": None}, {"seconds": None}, {"until": None}),
    ],
    ids=str,
)
def test_a_damaged_one_is_left_out_and_stops_no_worker(
    steady: WorkerHarness, damage: dict[str, Any]
) -> None:
    broken = {**WHOLE, **damage}
    for key in damage:
        broken.pop(key[1:], None)
    steady.worker.history.set(OUTAGES, [WHOLE, broken, 7])
    steady.restart()
    assert steady.worker.health.outages._all == [WHOLE]
    steady.plex.stop()
    steady.edit(steady.pair("one")[0], "New")
    steady.run_for(10 * MINUTE)
    assert [one["until"] for one in outages(steady)] == [WHOLE["until"], None]


@pytest.mark.parametrize("damaged", [{}, "7", 7, None])
def test_without_a_list_there_are_none(steady: WorkerHarness, damaged: object) -> None:
    steady.worker.history._db.execute(
        "INSERT OR REPLACE INTO state VALUES (?, ?)", (OUTAGES, json.dumps(damaged))
    )
    steady.restart()
    assert steady.worker.health.outages.last("plex_down") is None


def test_the_last_fifty_are_kept_and_nothing_is_written_in_between(steady: WorkerHarness) -> None:
    outages_ = Outages(steady.worker._parts)
    for number in range(60):
        outages_.begin("stash_down")
        steady.clock.advance(1 + number)
        outages_.end("stash_down")
        outages_.look()
    kept = outages(steady)
    assert [round(one["seconds"]) for one in kept] == list(range(11, 61))
    before = steady.worker.history.version()
    for _ in range(100):
        outages_.look()
    assert steady.worker.history.version() == before


@pytest.mark.parametrize("wrong", ["plex is down", "the token is wrong"])
def test_while_one_goes_on_and_nothing_is_to_be_done_nothing_is_written(
    steady: WorkerHarness, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    """Plex is asked once a minute all the same."""
    steady.clock.timing = replace(steady.clock.timing, quick_pass=2 * HOUR)
    if wrong == "plex is down":
        steady.plex.faults.add(Answer(503))
    else:
        steady.configure(plex_token="wrong-token-0123456789")
    seen: list[tuple[object, ...]] = []
    asked: list[int] = []

    def look() -> None:
        files = {path: path.stat().st_mtime_ns for path in steady.data_dir.rglob("*")}
        seen.append((files, steady.worker.history.version(), len(caplog.records)))
        asked.append(len(steady.plex.log) + len(steady.stash.log))

    for minutes in (140, 200):
        steady.clock.after(minutes * MINUTE, look)
    steady.run_for(210 * MINUTE)
    assert steady.worker.health.outages.is_open()
    assert seen[0] == seen[1]
    assert asked[1] - asked[0] >= 50
