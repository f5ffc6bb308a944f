"""The demo: real hooks and a real worker, with simulators of Stash and Plex on this machine."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tests.demo.harness import Prepare, open_harness
from tests.demo.stage import Stage
from tests.demo.story import run_story
from tests.demo.summary import judge, show
from tests.isolation import private_home

__all__ = ["run_demo"]

_INTERRUPTED = 130
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


def run_demo(prepare: Prepare = lambda plex: None) -> int:
    """Run the demo; return 0 when every expected scene is in sync, else 1.

    Args:
        prepare: called with the simulated Plex before the first save, so that a test can break it.
    """
    try:
        with _ended_by_signals(), private_home(), open_harness(prepare) as harness:
            with Stage(harness.snapshot) as stage:
                run_story(harness, stage)
            result = judge(harness)
            show(stage, result, harness)
            return 0 if result.good else 1
    except KeyboardInterrupt:
        print("\nStopped. No process and no file is left behind.")
        return _INTERRUPTED


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """End the demo cleanly on the first signal; ignore further signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
