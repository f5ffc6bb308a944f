"""Note which jobs are in hand, so that a job that kills the worker's process is found out.

A scene can make a library crash, or use up the memory. The next worker counts that death for each
job that was in hand (`queue.table.count_deaths`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable

from common.files import open_private

FILE = "in_hand"
#: Changes with each start of the computer.
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class InHand:
    """The row ids of the jobs in hand, in a small file.

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
        if data_dir is not None:
            path = os.path.join(data_dir, FILE)
            self._descriptor = open_private(path, os.O_RDWR | os.O_CREAT)
            self.note(())

    def note(self, row_ids: Iterable[int]) -> None:
        """Note that exactly these jobs are in hand."""
        line = self._prefix + " ".join(map(str, row_ids)).encode("ascii") + b"\n"
        with self._lock:
            if self._descriptor is not None:  # of an older, longer line, only the first counts
                os.lseek(self._descriptor, 0, os.SEEK_SET)
                os.write(self._descriptor, line)

    def close(self) -> None:
        """Note no jobs from here on: the process is asked to end, and may be killed next."""
        self.note(())
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None


def died_in_hand(data_dir: str) -> list[int]:
    """Return the rows that a worker had in hand when its process died; empty after a new boot."""
    try:
        with open(os.path.join(data_dir, FILE), encoding="ascii", errors="replace") as file:
            boot, *row_ids = file.readline().split(" ")
            return [int(one) for one in row_ids if one.strip()] if boot == _boot_id() else []
    except (OSError, ValueError):
        return []


def _boot_id() -> str:
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except OSError:  # other systems do not tell
        return "-"
