"""Record the duration of each hook in `hook_times.log`, for the *Status* task."""

from __future__ import annotations

import os

from common.files import append_private, replace_private

FILE = "hook_times.log"
#: File size in bytes from which the file is trimmed.
_MAX_SIZE = 65_536
#: Lines that are kept.
_KEPT_LINES = 1_000


def record_hook_time(data_dir: str, seconds: float) -> None:
    """Record a hook's duration; ignore a failed write."""
    try:
        append_private(os.path.join(data_dir, FILE), f"{seconds * 1000:.1f}\n")
    except OSError:
        return


def hook_times(data_dir: str) -> list[float]:
    """Return the durations of the last hooks in milliseconds, oldest first."""
    try:
        with open(os.path.join(data_dir, FILE), encoding="ascii", errors="replace") as file:
            return [
                float(line)
                for line in file.readlines()[-_KEPT_LINES:]
                if line.replace(".", "", 1).strip().isdigit()
            ]
    except OSError:
        return []


def summarize_hook_times(times: list[float]) -> dict[str, float]:
    """Return count, median, 95th percentile and maximum; nothing without times."""
    if not times:
        return {}
    ordered = sorted(times)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    p95 = ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)]
    return {"count": len(ordered), "median": median, "p95": p95, "worst": ordered[-1]}


def trim_hook_times(data_dir: str) -> None:
    """Trim a large file to its latest lines. Only the holder of the worker lock may call this.

    Raises:
        OSError: the file can't be written.
    """
    path = os.path.join(data_dir, FILE)
    if os.path.exists(path) and os.stat(path).st_size > _MAX_SIZE:
        replace_private(path, "".join(f"{time:.1f}\n" for time in hook_times(data_dir)))
