"""The hook's cost as its data grows: waiting jobs, timestamps, dead letters, finished jobs."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack

from tests.benchmarks.hooks import (
    add_dead_letters,
    add_seen,
    add_timestamps,
    add_waiting,
    event,
    hook_case,
    make_data_dir,
    worker_held,
)
from tests.benchmarks.measure import SPREAD, Log, Result, Scale, ratio, run_in_turn, spread

#: Highest allowed time, as a multiple of the time with an empty data directory.
TARGET = 1.2
#: Stash's hooks carry no `updated_at`. When another caller sends one, the timestamps are read.
_NOW = "2031-05-06T07:08:09Z"


def measure(scale: Scale, log: Log) -> Result:
    """Measure the hook in growing data directories."""
    with tempfile.TemporaryDirectory(prefix="plexsync-bench-") as folder, ExitStack() as held:
        log("filling queues")
        empty = make_data_dir(folder, "empty")
        cases = [
            hook_case("nothing there", empty),
            hook_case("nothing there, event with updated_at", empty, _dated()),
        ]
        for count in scale.waiting[1:]:
            data_dir = make_data_dir(folder, f"waiting-{count}")
            add_waiting(data_dir, count)
            cases.append(hook_case(f"{count:,} waiting jobs", data_dir))
        stamped = make_data_dir(folder, "timestamps")
        add_timestamps(stamped, scale.timestamps)
        cases.append(hook_case(f"{scale.timestamps:,} timestamps", stamped))
        cases.append(
            hook_case(f"{scale.timestamps:,} timestamps, event with updated_at", stamped, _dated())
        )
        dead = make_data_dir(folder, "dead")
        add_dead_letters(dead, scale.dead_letters)
        cases.append(hook_case(f"{scale.dead_letters:,} dead letters", dead))
        seen = make_data_dir(folder, "seen")
        add_seen(seen, scale.seen)
        cases.append(hook_case(f"{scale.seen:,} jobs seen", seen))
        for data_dir in {case.environ["STASH_PLUGIN_DATA"] for case in cases if case.environ}:
            held.enter_context(worker_held(data_dir))
        rounds = max(1, scale.rounds // 2)
        log(f"{rounds} rounds of {len(cases)}")
        run_in_turn(cases, rounds)
    result = Result("Growth of the hook", SPREAD)
    result.rows = {case.name: spread(case.seconds) for case in cases}
    for case in cases[2:]:
        base = cases[1 if "updated_at" in case.name else 0]
        result.ratios.append(
            ratio(f"{case.name}, of nothing there", case.seconds, base.seconds, at_most=TARGET)
        )
    return result


def _dated() -> bytes:
    return event(updated_at=_NOW)
