"""When each scene was last synced: `sync_timestamps.json`, a journal beside it, and the rule of "newer".

Saving must not cost more as the file grows. So a save appends one line to the journal, and the journal is
folded into the file when that is cheap: while the file is small, or once as much was appended as it holds.
"""

from __future__ import annotations

import contextlib
import json
import os
import time

from common.files import append_private, quarantine, replace_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FILE = "sync_timestamps.json"
JOURNAL = "sync_timestamps.journal"
#: Bytes up to which the file is simply written anew, and bytes of journal that are kept at least before it is.
_SMALL = 1_024
_SHORT = 16_384
#: Epoch seconds that no clock shows (the year 5138): JSON knows Infinity, which would mean "synced for ever".
_END_OF_TIME = 1e11
#: What reading a broken file may raise; huge numbers and deep nesting among it.
_BROKEN = (ValueError, TypeError, OverflowError, RecursionError)


def load_sync_timestamps(data_dir: str | os.PathLike[str]) -> dict[int, float]:
    """Return scene id → epoch seconds of its last sync. Writes nothing: hooks read while the worker writes.

    A broken file or line is left out: that costs a sync too many, never an edit.
    """
    folder = os.fspath(data_dir)
    try:
        stored = _read(os.path.join(folder, FILE))
    except _BROKEN:
        stored = {}
    for scene_id, moment in _journal(os.path.join(folder, JOURNAL)):
        if moment is None:
            stored.pop(scene_id, None)
        else:
            stored[scene_id] = moment
    return stored


def save_sync_timestamp(data_dir: str | os.PathLike[str], scene_id: int, timestamp: float) -> None:
    """Record when the version of a scene that was synced was read (epoch seconds).

    Raises:
        OSError: it can't be written.
    """
    _append(os.fspath(data_dir), scene_id, float(timestamp))


def forget_sync_timestamp(data_dir: str | os.PathLike[str], scene_id: int) -> None:
    """Drop a scene that Stash no longer has.

    Raises:
        OSError: it can't be written.
    """
    _append(os.fspath(data_dir), scene_id, None)


def is_synced(updated_at: object, last_synced_at: float | None) -> bool:
    """Whether a scene that was changed at `updated_at` was synced after that.

    Args:
        updated_at: epoch seconds, or RFC 3339 as Stash writes it; without a fraction it means that whole
            second, so its end counts. Anything else: now.
        last_synced_at: epoch seconds; None: never.
    """
    if last_synced_at is None or isinstance(updated_at, bool):
        return False
    if isinstance(updated_at, str):
        updated_at = parse_time(updated_at)
    return isinstance(updated_at, (int, float)) and updated_at <= last_synced_at


def parse_time(text: str) -> float | None:
    """Return an RFC 3339 time in epoch seconds (the end of its second when it has no fraction), or None."""
    from datetime import datetime, timezone  # not on the hook's usual way

    whole, dot, rest = text.strip().replace("Z", "+00:00").replace("z", "+00:00").partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    if len(whole) < len("2024-05-06T10:20:30"):  # a date alone is no time
        return None
    try:
        moment = datetime.fromisoformat(whole + rest[len(digits) :])
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp() + (float(f"0.{digits}") if dot and digits else 1.0)


def _append(folder: str, scene_id: int, moment: float | None) -> None:
    journal, file = os.path.join(folder, JOURNAL), os.path.join(folder, FILE)
    # A line break before as well: the line of a writer that was killed may lack its own.
    append_private(journal, f"\n{json.dumps([scene_id, moment])}\n")
    size = _size(file)
    if size <= _SMALL or _size(journal) >= max(size, _SHORT):
        _fold(folder)


def _fold(folder: str) -> None:
    """Write file and journal as one file. A kill between the two steps leaves lines that say the same twice."""
    file = os.path.join(folder, FILE)
    try:
        _read(file)
    except _BROKEN:
        quarantine(file, time.strftime("%Y%m%d-%H%M%S"))
    merged = load_sync_timestamps(folder)
    replace_private(
        file, json.dumps({str(scene_id): moment for scene_id, moment in merged.items()})
    )
    with contextlib.suppress(FileNotFoundError):  # another process folded as well
        os.unlink(os.path.join(folder, JOURNAL))


def _read(file: str) -> dict[int, float]:
    """Raises one of `_BROKEN` when the file is not what it should be."""
    try:
        with open(file, encoding="utf-8") as stored:
            content = json.load(stored)
    except FileNotFoundError:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"{FILE} holds no object")
    return {int(scene_id): _moment(moment) for scene_id, moment in content.items()}


def _journal(file: str) -> Iterator[tuple[int, float | None]]:
    try:
        with open(file, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    scene_id, moment = json.loads(line)
                    yield int(scene_id), None if moment is None else _moment(moment)
                except _BROKEN:  # the last line of a process that was killed
                    continue
    except FileNotFoundError:
        return


def _moment(value: object) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not abs(value) < _END_OF_TIME
    ):
        raise ValueError(f"no time: {value!r}")
    return float(value)


def _size(file: str) -> int:
    try:
        return os.stat(file).st_size
    except FileNotFoundError:
        return 0


class LazyTimestamps:
    """The timestamps of a data directory, read when somebody first asks: a hook seldom needs them."""

    def __init__(self, data_dir: str) -> None:
        self._data_dir = data_dir
        self._loaded: Mapping[int, float] | None = None

    def get(self, scene_id: int) -> float | None:
        """Return epoch seconds of the scene's last sync, or None."""
        if self._loaded is None:
            try:
                return _look_up(self._data_dir, scene_id)
            except (*_BROKEN, OSError):
                self._loaded = load_sync_timestamps(self._data_dir)
        return self._loaded.get(scene_id)


def _look_up(folder: str, scene_id: int) -> float | None:
    """Find one scene without reading all of JSON: that takes ten times as long as all of a hook, for 100,000.

    Raises one of `_BROKEN` when what is found makes no sense.
    """
    journal = b"\n" + _content(os.path.join(folder, JOURNAL))
    place = journal.rfind(b"\n[%d," % scene_id)
    if place >= 0:
        moment = json.loads(journal[place:].split(b"\n", 2)[1])[1]
        return None if moment is None else _moment(moment)
    content = _content(os.path.join(folder, FILE))
    name = b'"%d":' % scene_id
    place = content.find(name)
    if place < 0:
        return None
    value, _ = json.JSONDecoder().raw_decode(
        content[place + len(name) : place + len(name) + 40].decode().lstrip()
    )
    return _moment(value)


def _content(file: str) -> bytes:
    try:
        with open(file, "rb") as stored:
            return stored.read()
    except FileNotFoundError:
        return b""
