"""How long saves had to wait for their hooks: a line each in `hook_times.log`, for *Status*."""

from __future__ import annotations

import os

from common.files import append_private, replace_private

FILE = "hook_times.log"
#: Bytes from which the file is cut, and lines that then stay.
_LONG = 65_536
_KEPT = 1_000


def note_hook_time(data_dir: str, seconds: float) -> None:
    """Add a hook's time; where that fails, there is one less."""
    try:
        append_private(os.path.join(data_dir, FILE), f"{seconds * 1000:.1f}\n")
    except OSError:
        return


def hook_times(data_dir: str) -> list[float]:
    """Return the milliseconds that the last hooks took, the latest last."""
    try:
        with open(os.path.join(data_dir, FILE), encoding="ascii", errors="replace") as file:
            return [
                float(line)
                for line in file.readlines()[-_KEPT:]
                if line.replace(".", "", 1).strip().isdigit()
            ]
    except OSError:
        return []


def trim_hook_times(data_dir: str) -> None:
    """Keep the latest lines of a file that has become long. Only for the holder of the worker's lock.

    Raises:
        OSError: it can't be written.
    """
    path = os.path.join(data_dir, FILE)
    if os.path.exists(path) and os.stat(path).st_size > _LONG:
        replace_private(path, "".join(f"{time:.1f}\n" for time in hook_times(data_dir)))
