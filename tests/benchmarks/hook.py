"""The hook as Stash runs it, against Python's own start and the smallest possible hook."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile

from tests.benchmarks.hooks import end_worker, environ, event, hook_case, make_data_dir, worker_held
from tests.benchmarks.measure import (
    ENTRY,
    SPREAD,
    Case,
    Log,
    Result,
    Scale,
    floor_command,
    ratio,
    run_in_turn,
    run_measured,
    spread,
)

#: Highest allowed time, as a multiple of the smallest hook's.
ALIVE, STARTS = 1.8, 2.5
_MEMORY_RUNS = 3
_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|\s+(\S+)")
_DEAREST = 12


def measure(scale: Scale, log: Log) -> Result:
    """Measure the hook."""
    log(f"{scale.rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="plexsync-bench-") as folder:
        alive, starts = (make_data_dir(folder, name) for name in ("alive", "starts"))
        cases = [
            Case("python -c pass", [sys.executable, "-c", "pass"]),
            Case("floor", floor_command(f"{folder}/floor.db"), event()),
            hook_case("hook, worker alive", alive),
            hook_case("hook, starts a worker", starts),
        ]
        cases[3].after = lambda: end_worker(starts)
        with worker_held(alive):
            run_in_turn(cases, scale.rounds)
            peaks = [_peak(case) for case in cases]
            imports = _imports(alive)
    bare, floor, with_worker, without = (case.seconds for case in cases)
    result = Result("The hook, start to exit", (*SPREAD, "peak MB"))
    result.rows = {
        case.name: [*spread(case.seconds), peak] for case, peak in zip(cases, peaks, strict=True)
    }
    result.ratios = [
        ratio("floor, of python -c pass", floor, bare),
        ratio("hook, worker alive, of the floor", with_worker, floor, at_most=ALIVE),
        ratio("hook, starts a worker, of the floor", without, floor, at_most=STARTS),
    ]
    dear = sorted(imports.items(), key=lambda pair: -pair[1])
    shown = ", ".join(f"{name} {cost / 1000:.1f}" for name, cost in dear[:_DEAREST])
    result.notes.append(
        f"{len(imports)} modules, {sum(imports.values()) / 1000:.1f} ms in all (ms each): {shown}"
    )
    return result


def _peak(case: Case) -> float | None:
    if sys.platform == "win32":
        return None
    peaks = []
    for _ in range(_MEMORY_RUNS):
        peaks.append(run_measured(case.command, case.stdin, case.environ).peak_mb)
        case.after()
    return statistics.median(peaks)


def _imports(data_dir: str) -> dict[str, int]:
    """Return the import time of each of the hook's modules that a bare Python lacks.

    The times are in microseconds and exclude nested imports.
    """
    bare = _import_times([sys.executable, "-X", "importtime", "-c", "pass"], data_dir)
    hook = _import_times([sys.executable, "-X", "importtime", str(ENTRY)], data_dir)
    return {name: cost for name, cost in hook.items() if name not in bare}


def _import_times(command: list[str], data_dir: str) -> dict[str, int]:
    done = subprocess.run(
        command, input=event(), capture_output=True, env=environ(data_dir), check=True
    )
    lines = _IMPORT.finditer(done.stderr.decode(errors="replace"))
    return {found[3]: int(found[1]) for found in lines}
