"""Kill the process that imports this module at one exact point, if a file names one.

Python imports a module of this name when it starts. The file in PLEXSYNC_SOAK_KILL holds a point
(see `tests.soak.points`). The first process of the right role renames the file, so only that
process is killed, once. The module watches the interpreter's calls and returns and replaces no
product code.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

VARIABLE = "PLEXSYNC_SOAK_KILL"
#: Names a file with the seconds by which the clock of the next processes is wrong.
CLOCK = "PLEXSYNC_SOAK_CLOCK"
_DEEPEST = 14


def _arm() -> None:
    path = os.environ.get(VARIABLE)
    if not path or not os.path.exists(path):
        return
    import json

    role = "worker" if "worker" in sys.orig_argv else "hook"
    try:
        with open(path, encoding="utf-8") as file:
            point = json.load(file)
        if point["role"] != role:
            return
        os.rename(path, f"{path}.taken.{os.getpid()}")  # only one process succeeds
    except (OSError, ValueError):
        return
    _watch(point, f"{path}.log")


def _shift_clock() -> None:
    """Have this process live with a wrong clock."""
    import time

    try:
        with open(os.environ[CLOCK], encoding="ascii") as file:
            offset = float(file.read())
    except (KeyError, OSError, ValueError):
        return
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + offset
    time.time_ns = lambda: real_ns() + int(offset * 1e9)


def _watch(point: dict[str, Any], log: str) -> None:
    import signal
    import threading

    file, function, event = point["file"].replace("/", os.sep), point["function"], point["event"]
    callee, within, where = point["callee"], point["within"], point["where"]
    left, root, tests = [point["nth"]], _root(), f"{os.sep}tests{os.sep}"

    def look(frame: FrameType, happened: str, argument: Any) -> None:
        code = frame.f_code
        if not function:  # any call or return of the product
            if not code.co_filename.startswith(root) or tests in code.co_filename:
                return
        elif happened != event or code.co_name != function or not code.co_filename.endswith(file):
            return
        if callee and getattr(argument, "__name__", "") != callee:
            return
        if any(str(frame.f_locals.get(name)) != value for name, value in where.items()):
            return
        if within and within not in _callers(frame):
            return
        left[0] -= 1
        if left[0] == 0:
            with open(log, "a", encoding="utf-8") as lines:
                lines.write(point["name"] + "\n")
            os.kill(os.getpid(), signal.SIGKILL)

    _watch_new_threads(look)
    threading.setprofile(look)
    sys.setprofile(look)


def _watch_new_threads(look: Callable[..., None]) -> None:
    """Watch also threads of which `threading` does not know, as the hook starts one."""
    import _thread

    start: Any = _thread.start_new_thread

    def start_watched(run: Callable[..., object], arguments: tuple[Any, ...], *more: Any) -> int:
        def run_watched(*given: Any) -> None:
            sys.setprofile(look)
            run(*given)

        return int(start(run_watched, arguments, *more))

    _thread.start_new_thread = start_watched


def _root() -> str:
    """Return the folder of the product: `sys.argv` is not there yet."""
    entry = next((one for one in sys.orig_argv if one.endswith("PlexSync.py")), "")
    return os.path.dirname(os.path.realpath(entry)) + os.sep


def _callers(frame: FrameType | None) -> set[str]:
    names: set[str] = set()
    for _ in range(_DEEPEST):
        frame = frame.f_back if frame else None
        if frame is None:
            break
        names.add(frame.f_code.co_name)
    return names


_arm()
if any(one.endswith("PlexSync.py") for one in sys.orig_argv):
    _shift_clock()
