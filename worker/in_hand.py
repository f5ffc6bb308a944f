"""Note what is in hand, so that a job or a pass that kills the worker's process is found out.

A scene can make a library crash, or use up the memory. The next worker counts that death for each
job that was in hand (`queue.table.count_deaths`), or for the pass (`Passes.count_death`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from common.files import open_private

FILE = "in_hand"
#: Changes with each start of the computer.
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
#: Before the id of a pass.
_PASS = "pass:"


@dataclass(frozen=True)
class DiedInHand:
    """What a worker had in hand when its process died: jobs or a pass, or neither."""

    row_ids: Sequence[int] = ()
    pass_id: int | None = None


class InHand:
    """The row ids of the jobs in hand, or the id of the pass, in a small file.

    The file is not synced to the disk: it matters only if the process dies and the system lives.
    """

    def __init__(self, data_dir: str | None) -> None:
        """Open the file.

        Args:
            data_dir: None: note nothing.

        Raises:
            OSError: the file can't be written.
        """
        self._lock = threading.Lock()
        self._prefix = f"{_boot_id()} ".encode("ascii")
        self._descriptor: int | None = None
        #: what was in hand when the last worker died
        self.last = DiedInHand() if data_dir is None else died_in_hand(data_dir)
        if data_dir is not None:
            path = os.path.join(data_dir, FILE)
            self._descriptor = open_private(path, os.O_RDWR | os.O_CREAT)
            self.note(())

    def note(self, row_ids: Iterable[int]) -> None:
        """Note that exactly these jobs are in hand."""
        self._write(" ".join(map(str, row_ids)))

    def note_pass(self, pass_id: int) -> None:
        """Note that a pass is in hand."""
        self._write(f"{_PASS}{pass_id}")

    def _write(self, text: str) -> None:
        line = self._prefix + text.encode("ascii") + b"\n"
        with self._lock:
            if self._descriptor is None:
                return
            with suppress(OSError):  # a full disk: without the note, the work goes on
                os.lseek(self._descriptor, 0, os.SEEK_SET)
                os.write(self._descriptor, line)  # of an older, longer line, only the first counts

    def close(self) -> None:
        """Note no jobs from here on: the process is asked to end, and may be killed next."""
        self.note(())
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None


def died_in_hand(data_dir: str) -> DiedInHand:
    """Return what a worker had in hand when its process died; nothing after a new boot."""
    try:
        with open(os.path.join(data_dir, FILE), encoding="ascii", errors="replace") as file:
            boot, _, rest = file.readline().rstrip("\n").partition(" ")
        if boot != _boot_id():
            return DiedInHand()
        if rest.startswith(_PASS):
            return DiedInHand(pass_id=int(rest.removeprefix(_PASS)))
        return DiedInHand([int(one) for one in rest.split(" ") if one.strip()])
    except (OSError, ValueError):
        return DiedInHand()


def _boot_id() -> str:
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except OSError:  # other systems do not tell
        return "-"
