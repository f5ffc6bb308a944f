"""Measure the structure: `python -m tools.structure` (`--calls` lists the calls between modules).

One job is traced, the second edit of a scene that was synced before: a worker in this process, real
HTTP to both simulators. Calls inside libraries, tests and simulators are not counted.
"""

from __future__ import annotations

import ast
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import PlexSync  # noqa: E402

PlexSync.host_queue_package()

from tests.harness.base import TOKEN  # noqa: E402
from tests.harness.clock import FakeClock  # noqa: E402
from tests.harness.in_process import WorkerHarness  # noqa: E402
from tests.isolation import Guard, private_home  # noqa: E402
from tests.simulators.plex import PlexSimulator  # noqa: E402
from tests.simulators.stash import StashSimulator  # noqa: E402

PACKAGES = (
    *("common", "history", "queue", "validation", "stash", "plex", "hooks", "page", "worker"),
    "tasks",
)


class Trace:
    """Counts calls of the product's functions, by module."""

    def __init__(self) -> None:
        self.modules: Counter[str] = Counter()
        self.between: Counter[tuple[str, str, str]] = Counter()
        self.depth_at_put = 0

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Count a call (a profile function of `sys.setprofile`)."""
        module = module_of(frame)
        if event != "call" or module is None:
            return
        self.modules[module] += 1
        caller = frame.f_back
        while caller is not None and module_of(caller) is None:
            caller = caller.f_back
        origin = module_of(caller) if caller else None
        if origin not in (None, module):
            self.between[str(origin), module, frame.f_code.co_name] += 1
        if frame.f_code.co_name == "request" and frame.f_locals.get("method") == "PUT":
            self.depth_at_put = depth(frame)


def module_of(frame: FrameType) -> str | None:
    """Return the product's module that a frame runs in, or None."""
    name = frame.f_code.co_filename
    if not name.startswith(str(ROOT)):
        return None
    parts = Path(name).relative_to(ROOT).parts
    return "/".join(parts) if parts[0] in PACKAGES else None


def depth(frame: FrameType | None) -> int:
    """Return the number of frames on the stack, those of libraries included."""
    count = 0
    while frame is not None:
        frame, count = frame.f_back, count + 1
    return count


def trace_one_job(folder: Path) -> Trace:
    """Trace the second edit of a scene."""
    with (
        PlexSimulator(token=TOKEN) as plex,
        StashSimulator(plugins_dir=folder / "plugins") as stash,
    ):
        harness = WorkerHarness(folder, plex, stash, FakeClock())
        scene, _ = harness.pair("one", studio="S", performers=["Ann", "Bob"], tags=["t1", "t2"])
        for title in ("First", "Second"):
            harness.edit(scene, title)
            harness.clock.advance(1)
            trace = Trace()
            harness.worker._stop.clear()
            sys.setprofile(trace)
            harness.worker._step()
            sys.setprofile(None)
            assert harness.title(scene) == title
        harness.close()
    return trace


def measure_source() -> dict[str, str]:
    """Return the figures that the source alone tells."""
    files = [ROOT / "PlexSync.py"]
    files += [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    sources = [path.read_text(encoding="utf-8") for path in files]
    lines = sum(len(source.splitlines()) for source in sources)
    functions = [
        node
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
    ]
    callables = sum(
        "Callable" in ast.unparse(argument.annotation)
        for function in functions
        for argument in (*function.args.args, *function.args.kwonlyargs)
        if argument.annotation is not None
    )
    constructors = sorted(
        len(function.args.args) + len(function.args.kwonlyargs) - 1
        for function in functions
        if function.name == "__init__"
    )
    return {
        "product lines": f"{lines:,} in {len(files)} modules",
        "Callable parameters per 1,000 lines": f"{callables / lines * 1000:.1f}",
        "constructor parameters, 90th percentile": str(constructors[len(constructors) * 9 // 10]),
    }


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder, private_home():
        Path(folder, "plugins").mkdir()
        Guard(folder)
        trace = trace_one_job(Path(folder))
    figures = {
        "calls for one job": str(sum(trace.modules.values())),
        "modules entered": str(len(trace.modules)),
        "calls from one module into another": str(sum(trace.between.values())),
        "stack depth at the PUT": str(trace.depth_at_put),
        **measure_source(),
    }
    for name, value in figures.items():
        print(f"{name:42} {value}")
    if "--calls" in sys.argv:
        for (origin, module, function), count in trace.between.most_common():
            print(f"{count:4}  {origin} -> {module}: {function}")


if __name__ == "__main__":
    main()
