"""The order of the loop's steps, and that none of them waits for ever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from history.records import Agreement, Status
from queue.models import create_bulk_job, create_sync_job
from queue.spool import spool
from tests.harness.in_process import WorkerHarness
from worker.reconcile.passes import FULL, FULL_ENDED, RELATED, SYNC, Pass
from worker.reconcile.quick import RAN_AT

#: Steps, the most urgent first.
ORDER = ["edits", "quick pass", "read-backs", "retries", "bulk", "slice"]


class Steps:
    """Record the steps of a worker instead of doing them."""

    def __init__(self, harness: WorkerHarness) -> None:
        self.harness = harness
        self.taken: list[str] = []
        worker = harness.new_worker(compares=True)
        self.worker = worker
        worker.history.set(RAN_AT, harness.clock.now)
        worker.batches.run = self._batch  # type: ignore[method-assign]
        worker._quick.run = self._note("quick pass")  # type: ignore[method-assign]
        worker._read_back.run = self._note("read-backs")  # type: ignore[method-assign]
        worker.passes.run_slice = self._slice  # type: ignore[method-assign]
        self.passes: list[str] = []

    def _note(self, name: str) -> Callable[..., None]:
        def note(*_: object) -> None:
            self.taken.append(name)

        return note

    def _batch(self, kind: str | None = None) -> bool:
        assert kind is not None
        self.taken.append(kind)
        return True

    def _slice(self, pass_id: int) -> None:
        self.taken.append("slice")
        self.passes.append(self.worker.passes.all()[pass_id].kind)

    # --- what is due

    def add(self, *names: str) -> None:
        for name in names:
            getattr(self, f"_add_{name.replace(' ', '_').replace('-', '_')}")()

    def _add_edits(self) -> None:
        self.harness.queue.put(create_sync_job(1, "metadata", {"title": True}))

    def _add_quick_pass(self) -> None:
        self.worker.history.set(RAN_AT, None)

    def _add_read_backs(self) -> None:
        """Add a write that has waited for its read-back as long as it may."""
        self.worker._read_back._started = True
        self.add_written(age=30)

    def add_written(self, *, age: float, count: int = 1) -> None:
        """Add writes that were due to be read back that many seconds ago."""
        due = self.harness.clock.now - age
        for number in range(count):
            row = Agreement(100 + number, Status.WRITTEN, rating_key=7, server="x", verify_at=due)
            self.worker.history.save(row)

    def _add_retries(self) -> None:
        job = create_sync_job(2, "metadata", {"title": True})
        job["next_retry_at"] = self.harness.clock.now - 1
        self.harness.queue.put(job)

    def _add_bulk(self) -> None:
        self.harness.queue.put_many([create_bulk_job(3, now=self.harness.clock.now - 1)])

    def _add_slice(self) -> None:
        self.worker.passes.start(Pass(FULL))

    # --- what is done

    def next(self) -> str | None:
        """Take the next step; return its name."""
        before = len(self.taken)
        step = self.worker._next_step()
        if step is not None:
            step()
        return self.taken[-1] if len(self.taken) > before else None


@pytest.fixture
def steps(harness: WorkerHarness) -> Steps:
    return Steps(harness)


def test_without_work_there_is_no_step(steps: Steps) -> None:
    assert steps.next() is None


@pytest.mark.parametrize("name", ORDER)
def test_each_step_is_taken_when_it_is_due_alone(steps: Steps, name: str) -> None:
    steps.add(name)
    assert steps.next() == name


@pytest.mark.parametrize("place", range(len(ORDER)))
def test_the_most_urgent_step_goes_first(steps: Steps, place: int) -> None:
    steps.add(*reversed(ORDER[place:]))
    assert [steps.next() for _ in range(3)] == [ORDER[place]] * 3


def test_commands_go_before_edits(steps: Steps) -> None:
    steps.add("edits")
    command_id = steps.harness.commands.add("clear_failed", {})
    steps.worker._step()
    assert steps.taken == []
    assert steps.harness.commands.result(command_id) == {"dropped": 0}
    steps.worker._step()
    assert steps.taken == ["edits"]


def test_delayed_jobs_are_no_step(steps: Steps) -> None:
    job = create_sync_job(2, "metadata", {"title": True})
    job["next_retry_at"] = steps.harness.clock.now + 5
    steps.harness.queue.put(job)
    steps.harness.queue.put_many([create_bulk_job(3, now=steps.harness.clock.now, delay=5)])
    assert steps.next() is None
    steps.harness.clock.advance(6)
    assert steps.next() == "retries"


@pytest.mark.parametrize("name", ORDER[1:])
def test_after_half_a_minute_of_edits_one_lower_step_goes_first(steps: Steps, name: str) -> None:
    steps.add("edits", name)
    seen = []
    for _ in range(65):
        seen.append(steps.next())
        steps.harness.clock.advance(1)
    lower = [second for second, step in enumerate(seen) if step == name]
    assert len(lower) == 2
    assert 29 <= lower[0] <= 31
    assert lower[1] - lower[0] == 30
    assert set(seen) == {"edits", name}


def test_after_a_lower_step_edits_go_on_at_once(steps: Steps) -> None:
    steps.add(*ORDER)
    steps.harness.clock.advance(31)
    assert [steps.next() for _ in range(3)] == ["quick pass", "edits", "edits"]


def test_edits_after_a_pause_need_not_wait_for_a_lower_step(steps: Steps) -> None:
    """The half minute is of nothing but edits; a quiet hour is none."""
    assert steps.next() is None
    steps.harness.clock.advance(3600)
    steps.worker.history.set(RAN_AT, steps.harness.clock.now)
    assert steps.next() is None
    steps.add("edits", "slice")
    assert steps.next() == "edits"


def test_writes_of_a_moment_ago_wait_for_their_read_back(steps: Steps) -> None:
    steps.add("bulk", "slice")
    steps.worker._read_back._started = True
    steps.add_written(age=5)
    assert steps.next() == "bulk"


def test_twenty_writes_are_read_back_together_before_bulk_work(steps: Steps) -> None:
    steps.add("bulk", "slice")
    steps.worker._read_back._started = True
    steps.add_written(age=1, count=20)
    assert steps.next() == "read-backs"


def test_when_nothing_else_is_due_a_write_is_read_back_at_once(steps: Steps) -> None:
    steps.worker._read_back._started = True
    steps.add_written(age=0)
    assert steps.next() == "read-backs"


def test_at_the_start_writes_are_read_back_before_bulk_work(steps: Steps) -> None:
    steps.add("bulk")
    steps.add_written(age=0)
    assert steps.next() == "read-backs"


def test_a_write_whose_time_lies_far_ahead_is_read_back_now(steps: Steps) -> None:
    """It was written while the clock was wrong."""
    steps.add_written(age=-86_400)
    assert steps.next() == "read-backs"


def test_passes_go_in_the_order_of_their_urgency(steps: Steps) -> None:
    ids = {kind: steps.worker.passes.start(Pass(kind)) for kind in (FULL, SYNC, RELATED)}
    for kind in (RELATED, SYNC, FULL):
        assert steps.next() == "slice"
        assert steps.passes[-1] == kind
        steps.worker.history.end_pass(ids[kind])
    assert steps.next() is None


def test_a_pass_waits_while_many_of_its_rows_do(steps: Steps) -> None:
    steps.add("slice")
    now = steps.harness.clock.now
    steps.harness.queue.put_many(create_bulk_job(n, now=now, delay=60) for n in range(200, 400))
    assert steps.next() is None
    steps.harness.queue.claim_many(1, now + 60)
    assert steps.next() == "slice"


def test_a_worker_that_does_not_compare_runs_no_quick_pass(harness: WorkerHarness) -> None:
    worker = harness.new_worker()
    assert worker._next_step() is None


# --- the loop as a whole


def test_edits_that_never_end_let_everything_else_through(harness: WorkerHarness) -> None:
    harness.configure(poll_interval=1)
    timing = harness.clock.timing
    harness.clock.timing = replace(timing, edits_only=5.0)
    missed, _ = harness.pair("missed")
    scene, item = harness.pair("busy")
    harness.new_worker(compares=True)
    harness.run_for(1)
    harness.clock.advance(3600)
    harness.stash.change_silently(missed.id, title="Missed")
    count = 0

    def edit() -> None:
        nonlocal count
        count += 1
        if count < 1000:
            harness.edit(scene, f"Edit {count}")
            harness.clock.after(0.5, edit)

    edit()
    harness.run_for(100)

    assert count > 150
    assert harness.title(missed) == "Missed"
    rows = harness.worker.history.of_scene(missed.id)
    assert [row.status for row in rows] == [Status.IN_SYNC], "read back, too"
    assert item.title in [f"Edit {number}" for number in range(count - 3, count + 1)]


def test_a_pass_with_which_three_workers_died_comes_after_the_others(steps: Steps) -> None:
    passes = steps.worker.passes
    passes.start(Pass(SYNC))
    passes.start(Pass(FULL))
    (sync,) = (key for key, one in passes.all().items() if one.kind == SYNC)
    for _ in range(2):
        passes.count_death(sync)
        assert passes.next() == sync
    passes.count_death(sync)
    assert passes.all()[passes.next() or 0].kind == FULL


def test_an_edit_that_is_spooled_while_the_worker_looks_ends_its_wait(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.configure(poll_interval=1)
    worker = harness.new_worker(compares=True)
    harness.run_for(60)
    job = create_sync_job(1, "metadata", {"title": True})
    look = worker._next_step

    def look_slowly() -> Callable[[], bool] | None:
        found = look()
        monkeypatch.setattr(worker, "_next_step", look)
        spool(str(harness.data_dir / "queue"), job)
        return found

    monkeypatch.setattr(worker, "_next_step", look_slowly)
    before = harness.clock.now
    worker._step()
    assert harness.clock.now - before <= 1


def test_a_worker_with_passes_leaves_when_there_is_nothing_else(harness: WorkerHarness) -> None:
    harness.pair("a")
    harness.new_worker(compares=True)
    start = harness.clock.now
    harness.run()
    passed = harness.clock.now - start
    assert 900 <= passed <= 1000


def test_a_worker_does_not_leave_before_what_it_wrote_was_read_back(
    harness: WorkerHarness,
) -> None:
    harness.clock.timing = replace(harness.clock.timing, idle_timeout=0.0)
    (scene,) = harness.edited(1)
    harness.new_worker(compares=True)
    harness.run()
    (row,) = harness.worker.history.of_scene(scene.id)
    assert (row.status, row.verify_at) == (Status.IN_SYNC, None)
    assert harness.worker.history.passes() == {}


def test_a_worker_does_not_leave_before_it_has_done_what_its_last_step_found(
    harness: WorkerHarness,
) -> None:
    harness.clock.timing = replace(harness.clock.timing, idle_timeout=0.0)
    worker = harness.new_worker(compares=True)
    harness.run()
    assert worker.history.get(FULL_ENDED) is not None
    assert worker.history.passes() == {}


@pytest.mark.parametrize("server", ["stash", "plex"])
def test_a_server_that_is_down_keeps_no_worker_that_has_nothing_to_do(
    harness: WorkerHarness, server: str
) -> None:
    """Only the quick pass is due; the next hook starts a worker again."""
    (harness.stash if server == "stash" else harness.plex).stop()
    harness.new_worker(compares=True)
    start = harness.clock.now
    harness.run()
    assert harness.clock.now - start <= 1100


def test_jobs_keep_the_worker_while_a_server_is_down(harness: WorkerHarness) -> None:
    scenes = harness.edited(3)
    harness.plex.stop()
    harness.new_worker(compares=True)
    harness.clock.after(5000, harness.plex.start)
    harness.run()
    assert harness.in_sync(scenes)
