"""A worker that stays: for how long, when it leaves, how often it looks, and what it writes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from tests.harness.base import PLUGIN
from tests.harness.clock import HOUR, FakeClock
from tests.harness.in_process import WorkerHarness, WorkerInTest
from tests.harness.plugin import ROOT
from tests.simulators.httpd import Answer, Delay, Request
from tests.simulators.stash import load_manifest
from worker.presence import DISABLED, GONE, UNINSTALLED, Presence
from worker.process import SILENT_AFTER, WorkerLock, mark_opened
from worker.reconcile.quick import RAN_AT
from worker.state import load_state

MINUTE = 60.0


@pytest.fixture
def presence(harness: WorkerHarness, clock: FakeClock) -> Presence:
    """What a worker looks at whose plugin is installed."""
    harness.stash.plugins.manifests[PLUGIN] = load_manifest(ROOT / "PlexSync.yml")
    return Presence(str(ROOT), harness.client, clock, data_dir=str(harness.data_dir))


@pytest.fixture
def worker(harness: WorkerHarness, presence: Presence) -> WorkerInTest:
    worker = harness.new_worker(compares=True, presence=presence)
    harness.run_for(MINUTE)
    return worker


def ended_after(harness: WorkerHarness, patience: float) -> float | None:
    """Return the fake seconds after which the worker left by itself, or None."""
    began = harness.clock.now
    plan = harness.clock.after(patience, harness.worker.stop)
    harness.worker.run_again()
    harness.clock.cancel(plan)
    passed = harness.clock.now - began
    return None if passed >= patience else passed


def quick_passes(harness: WorkerHarness, seconds: float) -> int:
    """Return the number of quick passes in this time."""
    seen: set[float] = set()
    steps = int(seconds / MINUTE)
    for step in range(steps):
        harness.clock.after(step * MINUTE, lambda: seen.add(harness.worker.history.get(RAN_AT)))
    harness.run_for(seconds)
    return len(seen | {harness.worker.history.get(RAN_AT)}) - 1


# --- for how long


def test_it_waits_for_the_next_edit_however_long(
    harness: WorkerHarness, worker: WorkerInTest
) -> None:
    scene, item = harness.pair()
    harness.clock.after(5 * HOUR, lambda: harness.edit(scene, "After five hours"))
    assert ended_after(harness, 6 * HOUR) is None
    assert item.title == "After five hours"


def test_with_the_setting_off_it_leaves_after_a_quarter_of_an_hour(
    harness: WorkerHarness, worker: WorkerInTest
) -> None:
    harness.configure(stay=False)
    harness.edit(harness.pair()[0], "Read the settings")
    left = ended_after(harness, 6 * HOUR)
    assert left is not None
    assert 15 * MINUTE <= left < 17 * MINUTE


def test_the_setting_is_noticed_while_nothing_happens(
    harness: WorkerHarness, worker: WorkerInTest
) -> None:
    worker.listener._state = {"connected": True, "since": 0.0, "problem": None}
    harness.run_for(HOUR)
    harness.configure(stay=False)
    left = ended_after(harness, 6 * HOUR)
    assert left is not None
    assert left < 30 * MINUTE


# --- when it leaves


def test_it_leaves_ten_minutes_after_stash_is_gone(
    harness: WorkerHarness, worker: WorkerInTest
) -> None:
    harness.stash.faults.add(Answer(503))
    left = ended_after(harness, 6 * HOUR)
    assert left is not None
    assert 10 * MINUTE <= left <= 11 * MINUTE
    assert worker.presence.reason == GONE
    state = load_state(str(harness.data_dir))
    assert (state["left_at"], state["left_because"]) == (harness.clock.now, GONE)


def test_it_leaves_also_with_edits_waiting_and_keeps_them(
    harness: WorkerHarness, worker: WorkerInTest
) -> None:
    harness.stash.faults.add(Answer(503))
    harness.edit(harness.pair()[0], "Waits")
    assert ended_after(harness, 6 * HOUR) is not None
    assert harness.waiting() == 1


def test_a_shorter_outage_of_stash_is_no_reason(
    harness: WorkerHarness, worker: WorkerInTest
) -> None:
    for start in (0.0, HOUR):
        harness.clock.after(start, lambda: harness.stash.faults.add(Answer(503)))
        harness.clock.after(start + 9 * MINUTE, harness.stash.faults.clear)
    assert ended_after(harness, 6 * HOUR) is None


def test_a_stash_that_refuses_is_there(harness: WorkerHarness, worker: WorkerInTest) -> None:
    harness.stash.faults.add(Answer(401))
    assert ended_after(harness, HOUR) is None


def test_it_leaves_within_a_minute_when_disabled(
    harness: WorkerHarness, worker: WorkerInTest
) -> None:
    harness.stash.plugins.disabled.add(PLUGIN)
    left = ended_after(harness, HOUR)
    assert left is not None
    assert left <= MINUTE
    assert worker.presence.reason == DISABLED


@pytest.mark.parametrize(
    ("seconds", "leaves"), [(20, False), (3 * MINUTE, True)], ids=["reloaded", "uninstalled"]
)
def test_it_leaves_when_stash_does_not_know_the_plugin_twice_in_a_row(
    harness: WorkerHarness, worker: WorkerInTest, seconds: float, leaves: bool
) -> None:
    """Once is not enough: Stash may just be loading its plugins."""
    manifest = harness.stash.plugins.manifests.pop(PLUGIN)
    harness.stash.server.log.clear()
    harness.clock.after(seconds, lambda: harness.stash.plugins.manifests.update({PLUGIN: manifest}))
    left = ended_after(harness, HOUR)
    assert (left is not None) is leaves
    assert worker.presence.reason == (UNINSTALLED if leaves else None)
    if left is not None:
        assert left <= MINUTE
        asked = [one.request.body for one in harness.stash.server.log.all()]
        assert sum(b"PlexSyncUse" in body for body in asked) == 2


def test_uninstalled_right_after_a_look_it_leaves_within_a_minute(
    harness: WorkerHarness, worker: WorkerInTest
) -> None:
    """It looks as it starts, so a second later two whole intervals are to come."""
    harness.clock.after(1.0, lambda: harness.stash.plugins.manifests.pop(PLUGIN))
    left = ended_after(harness, HOUR)
    assert left is not None
    assert left - 1.0 <= MINUTE
    assert worker.presence.reason == UNINSTALLED


def test_disabled_while_plex_is_slow_it_leaves_the_rest_of_the_edits(
    harness: WorkerHarness, worker: WorkerInTest
) -> None:
    """Each write takes 20 seconds, so a batch takes minutes."""

    def take_long(request: Request) -> bool:
        harness.stash.plugins.disabled.add(PLUGIN)
        harness.clock.advance(20.0)
        return False

    worker.pool.size = 1
    scenes = harness.edited(20)
    slow = harness.plex.faults.add(Delay(0), method="PUT", when=take_long)
    left = ended_after(harness, HOUR)
    assert worker.presence.reason == DISABLED
    assert left is not None
    assert left <= MINUTE
    assert harness.waiting() == len(scenes) - len(harness.plex.writes)
    assert harness.plex.writes
    slow.remove()
    harness.stash.plugins.disabled.clear()
    again = Presence(str(ROOT), harness.client, harness.clock, data_dir=str(harness.data_dir))
    harness.new_worker(presence=again)
    harness.run_for(MINUTE)
    assert harness.in_sync(scenes)


# --- how often it looks


def test_while_nothing_is_used_and_plex_tells_of_its_changes_it_looks_once_an_hour(
    harness: WorkerHarness, worker: WorkerInTest
) -> None:
    worker.listener._state = {"connected": True, "since": 0.0, "problem": None}
    harness.run_for(15 * MINUTE)
    harness.stash.server.log.clear()
    harness.plex.log.clear()
    assert quick_passes(harness, 6 * HOUR) == 6
    asked = [one.request.body for one in harness.stash.server.log.all()]
    assert asked
    # The other questions are answered from memory, so that Stash's disk may sleep.
    assert sum(b"PlexSyncUse" not in body for body in asked) <= 6 * 5
    assert len(harness.plex.log) <= 6 * 5


def test_where_plex_does_not_tell_it_looks_every_ten_minutes(
    harness: WorkerHarness, worker: WorkerInTest
) -> None:
    assert quick_passes(harness, 2 * HOUR) >= 11


@pytest.mark.parametrize("use", ["job", "settings", "page", "edit"])
def test_when_stash_is_used_the_next_look_is_due(
    harness: WorkerHarness, worker: WorkerInTest, use: str
) -> None:
    worker.listener._state = {"connected": True, "since": 0.0, "problem": None}
    is_over = threading.Event()

    def work(job: object) -> None:
        is_over.wait(60.0)

    scene, _ = harness.pair()
    harness.run_for(20 * MINUTE)
    uses: dict[str, Callable[[], object]] = {
        "job": lambda: harness.stash.jobs.submit("Auto tagging", work),
        "settings": lambda: harness.configure(sync_rating=True),
        "page": lambda: mark_opened(str(harness.data_dir)),
        "edit": lambda: harness.edit(scene, "Edited"),
    }
    ran_at = worker.history.get(RAN_AT)
    uses[use]()
    harness.run_for(2 * MINUTE)
    assert worker.history.get(RAN_AT) != ran_at
    ran_at = worker.history.get(RAN_AT)
    is_over.set()
    harness.stash.jobs.wait_idle()
    harness.run_for(MINUTE)
    ran_at = worker.history.get(RAN_AT)
    harness.run_for(6 * MINUTE)
    assert worker.history.get(RAN_AT) == ran_at, "ten minutes apart at least"


# --- what it writes


def test_while_it_waits_it_does_not_touch_its_files(
    harness: WorkerHarness, presence: Presence
) -> None:
    lock = WorkerLock(str(harness.data_dir))
    assert lock.acquire()
    worker = harness.new_worker(compares=True, presence=presence, lock=lock)
    worker.listener._state = {"connected": True, "since": 0.0, "problem": None}
    harness.run_for(15 * MINUTE)
    seen: list[dict[str, int]] = []
    for minutes in (5, 35):
        harness.clock.after(minutes * MINUTE, lambda: seen.append(stamps(harness)))
    harness.run_for(36 * MINUTE)
    assert seen[0] == seen[1]
    assert lock.silent_for() == 0.0
    lock.release()


def stamps(harness: WorkerHarness) -> dict[str, int]:
    """Return when each file of the data directory was last changed."""
    found = {}
    for folder, _, names in os.walk(harness.data_dir):
        for name in names:
            path = os.path.join(folder, name)
            found[path] = os.stat(path).st_mtime_ns
    return found


def test_one_that_waits_and_does_not_take_up_work_counts_as_hanging(
    harness: WorkerHarness,
) -> None:
    lock = WorkerLock(str(harness.data_dir))
    assert lock.acquire()
    lock.rest()
    assert lock.silent_for() == 0.0
    rested_at = os.stat(lock.path).st_mtime
    lock.expect_beat()
    assert os.stat(lock.path).st_mtime != rested_at
    assert lock.silent_for() < SILENT_AFTER
    past = os.stat(lock.path).st_mtime - 2 * SILENT_AFTER
    os.utime(lock.path, (past, past))
    lock.expect_beat()
    assert lock.silent_for() > SILENT_AFTER, "later work does not hide it"
    lock.release()
