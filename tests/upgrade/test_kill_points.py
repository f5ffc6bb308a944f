"""A start that is killed while it opens the history: the next one comes to the same end."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from queue.dlq import DeadLetterQueue
from tests.harness.clock import FakeClock
from tests.harness.size import some
from tests.upgrade import old_data
from tests.upgrade.harness import dump
from worker.reporter import Reporter
from worker.upgrade import open_history

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

NOW = 1_800_000_000.0
#: The lines of these files are the steps between which a start is killed.
#: Of so many lines, one is where a process is killed; `make soak` takes each.
STRIDE = 1 if os.environ.get("PLEXSYNC_KILL_POINTS") == "all" else 3
_STEPS = ("worker/upgrade.py", "history/schema.py", "common/files.py")


def start(folder: Path) -> None:
    """Open the history as a starting worker does, and leave."""
    reporter = Reporter(str(folder))
    with (
        closing(DeadLetterQueue(folder)) as dlq,
        open_history(str(folder), dlq, reporter, FakeClock(NOW)),
    ):
        pass


def killed_at(step: int, action: Callable[[], None], steps: tuple[str, ...] = _STEPS) -> bool:
    """Run an action in another process and kill it there; return False if it ended before.

    Args:
        step: how many different lines of the files in `steps` it may reach.
    """
    pid = os.fork()
    if pid == 0:
        try:
            _die_at(step, steps)
            action()
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the start failed"
    return os.WIFSIGNALED(status)


def _die_at(step: int, steps: tuple[str, ...]) -> None:
    reached: set[tuple[str, int]] = set()

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        if not frame.f_code.co_filename.endswith(steps):
            return None
        if event == "line":
            reached.add((frame.f_code.co_filename, frame.f_lineno))
            if len(reached) > step:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def files(folder: Path) -> set[str]:
    """Return the names of the files, without what SQLite and a killed process leave."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if not name.endswith((".tmp", "-wal", "-shm", "notices.jsonl"))}


def lost(folder: Path) -> None:
    """Bring about a loss: the upgrade is over, and the history gone."""
    start(folder)
    for path in folder.glob("history.db*"):
        path.unlink()


def damaged(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "memory.db")) as database:
        database.execute("DROP TABLE choices")
    (folder / "sync_timestamps.json").write_text('{"1": 1795281804.5, "2": 17952')


@pytest.mark.parametrize("prepare", some([None, damaged, lost], 1))
def test_a_start_that_is_killed_anywhere_is_made_good(
    tmp_path: Path, prepare: Callable[[Path], None] | None
) -> None:
    model = tmp_path / "model"
    old_data.restore(model)
    if prepare is not None:
        prepare(model)
    whole = tmp_path / "whole"
    shutil.copytree(model, whole)
    start(whole)
    expected = dump(whole), files(whole)
    step, kills = 0, 0
    while True:
        folder = tmp_path / f"killed-{step}"
        shutil.copytree(model, folder)
        is_killed = killed_at(step, lambda folder=folder: start(folder))  # type: ignore[misc]
        kills += is_killed
        start(folder)
        assert (dump(folder), files(folder)) == expected, step
        start(folder)
        assert (dump(folder), files(folder)) == expected, step
        shutil.rmtree(folder)
        if not is_killed:
            break
        step += STRIDE
    assert kills > 40 / STRIDE
