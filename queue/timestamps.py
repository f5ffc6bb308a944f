"""Store when each scene was last synced, in `sync_timestamps.json`. Loaded by the hook.

The file is an output of the history, for hooks and other programs. The worker collects changes and
writes the file every few seconds. Version 0.1 also left a journal, which is read until then.
"""

from __future__ import annotations

import contextlib
import json
import os
import time

from common.files import quarantine, replace_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Loader = Callable[[str], Mapping[int, float]]

FILE = "sync_timestamps.json"
JOURNAL = "sync_timestamps.journal"
#: Upper limit of a timestamp in epoch seconds (the year 5138). JSON allows Infinity, with which a
#: scene would count as synced forever.
_MAX_TIMESTAMP = 1e11
#: Errors of reading a broken file, huge numbers and deep nesting included.
_BROKEN = (ValueError, TypeError, OverflowError, RecursionError)


def load_sync_timestamps(data_dir: str | os.PathLike[str]) -> dict[int, float]:
    """Return scene id → epoch seconds of its last sync. Never writes: hooks read at any time.

    A broken file or line is skipped. That can cause an unnecessary sync, but never loses an edit.
    """
    folder = os.fspath(data_dir)
    try:
        stored = _read(os.path.join(folder, FILE))
    except _BROKEN:
        stored = {}
    for scene_id, moment in _read_journal(os.path.join(folder, JOURNAL)):
        if moment is None:
            stored.pop(scene_id, None)
        else:
            stored[scene_id] = moment
    return stored


def is_broken(data_dir: str | os.PathLike[str]) -> bool:
    """Return whether the file is there and can't be read as timestamps."""
    try:
        _read(os.path.join(os.fspath(data_dir), FILE))
    except _BROKEN:
        return True
    return False


def save_sync_timestamp(data_dir: str | os.PathLike[str], scene_id: int, timestamp: float) -> None:
    """Save when a scene was last synced.

    Args:
        timestamp: epoch seconds just before the synced version was read from Stash.

    Raises:
        OSError: the file can't be written.
    """
    save_sync_timestamps(data_dir, {scene_id: float(timestamp)})


def save_sync_timestamps(
    data_dir: str | os.PathLike[str], changes: Mapping[int, float | None]
) -> None:
    """Save when scenes were last synced, at once: the whole file is written.

    A broken file is set aside.

    Args:
        changes: scene id → epoch seconds; None: the scene is gone.

    Raises:
        OSError: the file can't be written.
    """
    folder = os.fspath(data_dir)
    file = os.path.join(folder, FILE)
    try:
        _read(file)
    except _BROKEN:
        quarantine(file, time.strftime("%Y%m%d-%H%M%S"))
    merged: dict[int, float | None] = {**load_sync_timestamps(folder), **changes}
    kept = {str(scene_id): moment for scene_id, moment in merged.items() if moment is not None}
    replace_private(file, json.dumps(kept))
    with contextlib.suppress(FileNotFoundError):  # of version 0.1, folded into the file now
        os.unlink(os.path.join(folder, JOURNAL))


def is_synced(updated_at: object, last_synced_at: float | None) -> bool:
    """Tell whether a scene was synced after its change at `updated_at`.

    Args:
        updated_at: epoch seconds, or RFC 3339 as Stash writes it. A time without a fraction stands
            for the end of that second. Anything else means now.
        last_synced_at: epoch seconds; None: never.
    """
    if last_synced_at is None or isinstance(updated_at, bool):
        return False
    if isinstance(updated_at, str):
        updated_at = parse_time(updated_at)
    return isinstance(updated_at, (int, float)) and updated_at <= last_synced_at


def parse_time(text: str) -> float | None:
    """Parse an RFC 3339 time.

    Returns:
        Epoch seconds, the end of the second if the time has no fraction; None if invalid.
    """
    from datetime import datetime, timezone  # here, because most hooks do not need it

    whole, dot, rest = text.strip().replace("Z", "+00:00").replace("z", "+00:00").partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    if len(whole) < len("2024-05-06T10:20:30"):  # a date without a time
        return None
    try:
        moment = datetime.fromisoformat(whole + rest[len(digits) :])
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp() + (float(f"0.{digits}") if dot and digits else 1.0)


def _read(file: str) -> dict[int, float]:
    """Read the file; raise one of `_BROKEN` if it is invalid."""
    try:
        with open(file, encoding="utf-8") as stored:
            content = json.load(stored)
    except FileNotFoundError:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"{FILE} is not an object")
    return {int(scene_id): _moment(moment) for scene_id, moment in content.items()}


def _read_journal(file: str) -> Iterator[tuple[int, float | None]]:
    try:
        with open(file, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    scene_id, moment = json.loads(line)
                    yield int(scene_id), None if moment is None else _moment(moment)
                except _BROKEN:  # the unfinished line of a killed process
                    continue
    except FileNotFoundError:
        return


def _moment(value: object) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not abs(value) < _MAX_TIMESTAMP
    ):
        raise ValueError(f"not a timestamp: {value!r}")
    return float(value)


class LazyTimestamps:
    """The timestamps of a data directory, read on first use: most hooks do not need them."""

    def __init__(self, data_dir: str, load: Loader = load_sync_timestamps) -> None:
        """Read nothing yet.

        Args:
            load: reads all timestamps where one can't be looked up alone.
        """
        self._data_dir = data_dir
        self._load = load
        self._loaded: Mapping[int, float] | None = None

    def get(self, scene_id: int) -> float | None:
        """Return the epoch seconds of the scene's last sync, or None."""
        if self._loaded is None:
            try:
                return _look_up(self._data_dir, scene_id)
            except (*_BROKEN, OSError):
                self._loaded = self._load(self._data_dir)
        return self._loaded.get(scene_id)


def _look_up(folder: str, scene_id: int) -> float | None:
    """Find one timestamp without parsing all of the JSON; raise one of `_BROKEN` if invalid.

    Parsing 100,000 timestamps takes ten times as long as the rest of the hook.
    """
    journal = b"\n" + _read_bytes(os.path.join(folder, JOURNAL))
    position = journal.rfind(b"\n[%d," % scene_id)
    if position >= 0:
        moment = json.loads(journal[position:].split(b"\n", 2)[1])[1]
        return None if moment is None else _moment(moment)
    content = _read_bytes(os.path.join(folder, FILE))
    key = b'"%d":' % scene_id
    position = content.find(key)
    if position < 0:
        return None
    start = position + len(key)
    value, _ = json.JSONDecoder().raw_decode(content[start : start + 40].decode().lstrip())
    return _moment(value)


def _read_bytes(file: str) -> bytes:
    try:
        with open(file, "rb") as stored:
            return stored.read()
    except FileNotFoundError:
        return b""
