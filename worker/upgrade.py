"""Open the history: take over the records of version 0.1, and notice a history that was lost.

Kill this at any instruction: the next start goes on to the same end. Each step is one transaction
or one renaming, and a later one never needs what an earlier one has put away.
"""

from __future__ import annotations

import json
import math
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from common.env import Env
from common.files import quarantine, replace_private
from common.media import MediaFile
from common.sqlite import connect
from history.fields import FieldState, Value
from history.records import UNKNOWN_COVER, Agreement, Choice, CoverState, Status
from history.store import FILE, LOST_AT, History
from plex.exceptions import PlexNotFound
from plex.matcher import AmbiguousMatch
from queue.dlq import DeadLetterQueue
from queue.inbox import QUEUE_DIR
from queue.recovery import is_damage
from queue.timestamps import FILE as TIMES_FILE
from queue.timestamps import JOURNAL, is_broken, load_sync_timestamps
from worker.job_runner import LONGEST_REASON
from worker.reconcile.adoption import UNDECIDED
from worker.reconcile.passes import BASELINE
from worker.reconcile.quick import QUICK
from worker.reporter import Reporter

#: Says that there was a history: without it, one that is missing was lost.
MARKER = "installed.json"
#: Files of version 0.1: what was written to which item, and the watermark of its scans.
OLD_HISTORY = "memory.db"
OLD_WATERMARK = os.path.join(QUEUE_DIR, "catch_up.json")
#: Plex's files by item. This version begins it anew, so it is read before.
OLD_INDEX = "index.db"
_IMPORTED = ".imported"
#: State in the history: it was begun, with all that was known then.
BEGUN = "begun"
#: Latest time in epoch seconds that is taken seriously (the year 5138).
_MAX_TIME = 1e11
#: Error of a dead letter → what it says of the scene.
_STATUS_OF = {
    PlexNotFound.__name__: Status.NOT_IN_PLEX,
    AmbiguousMatch.__name__: Status.AMBIGUOUS,
}
_TIMESTAMP = re.compile(r'"(\d{1,18})"\s*:\s*(\d+(?:\.\d+)?)')


@contextmanager
def open_history(
    data_dir: str, dlq: DeadLetterQueue, reporter: Reporter, env: Env
) -> Iterator[History]:
    """Open the history of a data directory. Only for the holder of the worker's lock.

    Raises:
        NewerSchema: a newer PlexSync has used this data directory.
        OSError, sqlite3.Error: a file can't be used.
    """
    file, marker = os.path.join(data_dir, FILE), os.path.join(data_dir, MARKER)
    with closing(connect(file, any_thread=True)) as connection:
        history = History(connection, now=env.time)
        if not history.get(BEGUN):  # it is not enough that the file is there: see above
            if os.path.exists(marker):
                _begin_anew(data_dir, history, reporter, env)
            else:
                _take_over(data_dir, history, dlq, reporter, env)
        if not os.path.exists(marker):
            replace_private(marker, json.dumps({"history": FILE}), durable=True)
        _put_away(data_dir)
        yield history


def _begin_anew(data_dir: str, history: History, reporter: Reporter, env: Env) -> None:
    """Begin a history in place of one that was lost: scenes are compared, lists only added to."""
    reporter.notify_user(
        "warning",
        "PlexSync's history is gone. All scenes are compared with Plex; nothing is taken out of"
        " lists there, as it is not known any more what PlexSync has added",
    )
    for name in (TIMES_FILE, JOURNAL):
        path = os.path.join(data_dir, name)
        if os.path.exists(path):
            quarantine(path, str(int(env.time())))
    with history.transaction():
        history.set(LOST_AT, env.time())
        history.set(BASELINE, 0.0)  # nothing counts as never synced
        history.set(BEGUN, True)


@dataclass
class _Old:
    """What could be read of version 0.1's records."""

    times: dict[int, float] = field(default_factory=dict)
    written: dict[int, Agreement] = field(default_factory=dict)
    choices: dict[int, int] = field(default_factory=dict)
    watermark: float | None = None
    #: what was written to Plex is not known of all scenes
    is_incomplete: bool = False
    #: what could not be read, for the user
    problems: list[str] = field(default_factory=list)


def _take_over(
    data_dir: str, history: History, dlq: DeadLetterQueue, reporter: Reporter, env: Env
) -> None:
    """Take over the records of version 0.1, at once or not at all; there may be none."""
    old = _Old()
    _read_times(data_dir, old)
    _read_records(data_dir, old)
    _read_watermark(data_dir, old, env.time())
    paths = _old_paths(data_dir) if old.choices else {}
    found = {
        scene_id: replace(
            old.written.get(scene_id, Agreement(scene_id)),
            status=Status.IN_SYNC,
            synced_at=old.times.get(scene_id),
        )
        for scene_id in {*old.times, *old.written}
    }
    for letter in reversed(dlq.get_recent(-1)):
        _add_letter(letter, found)
    if old.problems:
        reporter.notify_user(
            "warning",
            "Not all that version 0.1 knew can be read:"
            f" {'; '.join(old.problems)}. The scenes concerned are compared with Plex",
        )
    with history.transaction():
        history.save_all(found.values())
        for scene_id, rating_key in old.choices.items():
            path = paths.get(rating_key, "")
            history.choose(scene_id, [Choice(scene_id, "", rating_key, path)])
        if old.watermark is not None:
            history.set(QUICK, {"watermark": old.watermark})
            history.set(BASELINE, old.watermark)
        if old.is_incomplete:  # nothing may be taken out of lists that are not known
            history.set(LOST_AT, env.time())
            if not old.times:
                history.set(BASELINE, 0.0)
        has_items = bool(old.choices) or any(one.has_item for one in found.values())
        history.set(UNDECIDED, True if has_items else None)
        history.set(BEGUN, True)
    if found:
        reporter.log("info", f"The records of {len(found)} scenes of version 0.1 were taken over")


def _add_letter(letter: dict[str, Any], found: dict[int, Agreement]) -> None:
    """Note why a scene is not in Plex; a scene that was synced before stays due."""
    scene_id, error = letter["scene_id"], letter["error_type"]
    if not _is_id(scene_id):
        return
    row = found.get(scene_id)
    status = _STATUS_OF.get(error, Status.FAILED)
    if row is not None and row.status is Status.IN_SYNC and status is not Status.NOT_IN_PLEX:
        return  # it is compared anyway
    details = letter["details"] if isinstance(letter["details"], dict) else {}
    files = row.files if row is not None else ()
    with suppress(TypeError, ValueError):
        files = tuple(MediaFile(str(path), size) for path, size in details.get("files", ()))
    found[scene_id] = replace(
        row or Agreement(scene_id),
        status=status,
        reason=str(letter["error_message"])[:LONGEST_REASON],
        details=details,
        files=files,
    )


# --- the files of version 0.1


def _read_times(data_dir: str, old: _Old) -> None:
    """Read when scenes were synced; of a broken file, each entry that is whole."""
    file = os.path.join(data_dir, TIMES_FILE)
    try:
        old.times = load_sync_timestamps(data_dir)
        if not is_broken(data_dir):
            return
        with open(file, encoding="utf-8", errors="replace") as stored:
            entries = _TIMESTAMP.findall(stored.read())
    except OSError as error:
        old.problems.append(f"{TIMES_FILE} ({error.strerror})")
        return
    for scene_id, moment in entries:
        if float(moment) < _MAX_TIME:
            old.times.setdefault(int(scene_id), float(moment))
    old.problems.append(f"{TIMES_FILE} is damaged ({len(entries)} scenes could be read)")


def _read_records(data_dir: str, old: _Old) -> None:
    """Read what was written, and the user's choices; of a damaged file, what can be read."""
    file = os.path.join(data_dir, OLD_HISTORY)
    if not os.path.exists(file):
        if old.times:
            old.is_incomplete = True
            old.problems.append(f"{OLD_HISTORY} is missing")
        return
    try:
        with closing(connect(file)) as connection:
            connection.text_factory = lambda text: text.decode("utf-8", "replace")
            rows = _rows(connection, "written", "rating_key, fields, pending, cover, cover_source")
            for scene_id, *values in rows:
                _add_record(scene_id, values, old)
            for scene_id, rating_key in _rows(connection, "choices", "rating_key"):
                if _is_id(scene_id) and _is_id(rating_key):
                    old.choices[scene_id] = rating_key
            if not _has_table(connection, "choices"):
                old.problems.append(f"{OLD_HISTORY}: it has no table choices")
            unread = _count_unread(connection, old)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise  # locked, or a full disk: nothing is concluded
        unread = "it is damaged"
    if unread:
        old.is_incomplete = True
        old.problems.append(f"{OLD_HISTORY}: {unread}")


def _rows(connection: sqlite3.Connection, table: str, columns: str) -> Iterator[tuple[Any, ...]]:
    """Yield the readable rows of a table: forwards up to the damage, then backwards up to it."""
    seen: set[int] = set()
    for order in ("", "DESC"):
        try:
            for row in connection.execute(
                f"SELECT scene_id, {columns} FROM {table} ORDER BY scene_id {order}"
            ):
                if row[0] not in seen:
                    seen.add(row[0])
                    yield row
        except sqlite3.DatabaseError as error:
            if not (is_damage(error) or _is_missing(error)):
                raise
        else:
            return


def _count_unread(connection: sqlite3.Connection, old: _Old) -> str:
    """Return what of the writes could not be read, for the user; "" when all could."""
    if not _has_table(connection, "written"):
        return "it has no table written"
    if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        return f"it is damaged ({len(old.written)} scenes could be read)"
    (count,) = connection.execute("SELECT count(*) FROM written").fetchone()
    broken = count - len(old.written)
    return f"the records of {broken} scenes are broken" if broken else ""


def _has_table(connection: sqlite3.Connection, table: str) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return connection.execute(query, (table,)).fetchone() is not None


def _is_missing(error: sqlite3.Error) -> bool:
    return "no such" in str(error)


def _add_record(scene_id: object, values: list[Any], old: _Old) -> None:
    """Add one row; one that makes no sense is left out."""
    rating_key, fields, pending, cover, source = values
    if not (_is_id(scene_id) and _is_id(rating_key)):
        return
    assert isinstance(scene_id, int)
    with suppress(ValueError, TypeError, AttributeError, RecursionError):
        old.written[scene_id] = Agreement(
            scene_id,
            rating_key=rating_key,
            fields=_fields(fields, pending),
            cover=_cover(cover, source),
        )


def _fields(fields: str, pending: str | None) -> dict[str, FieldState]:
    """Return the states of fields that version 0.1 wrote, and of a write that it did not confirm.

    It remembered of a list what it wanted, not what it added.
    """
    written = {name: _value(value) for name, value in json.loads(fields).items()}
    begun = {name: _value(value) for name, value in json.loads(pending or "{}").items()}
    states = {
        name: FieldState(ours=value, wanted=value, observed=value)
        for name, value in written.items()
    }
    for name, value in begun.items():
        if value != written.get(name):
            before = states.get(name, FieldState())
            # Of a list that arrived, only our names are ours, whatever else Plex has there.
            claim = value if isinstance(value, tuple) else None
            states[name] = replace(before, wanted=value, sent=value, claim=claim)
    return states


def _value(stored: Any) -> Value:
    if isinstance(stored, (str, list)):
        return stored if isinstance(stored, str) else tuple(map(str, stored))
    raise ValueError("neither a text nor a list")


def _cover(cover: object, source: object) -> CoverState:
    """Return the state of the cover; an empty one is ours, and was to be uploaded again."""
    if cover == "":
        return CoverState(sha1=UNKNOWN_COVER)
    address = source if isinstance(source, str) else ""
    return CoverState(address, cover if isinstance(cover, str) else "", final=bool(address))


def _read_watermark(data_dir: str, old: _Old, now: float) -> None:
    file = os.path.join(data_dir, OLD_WATERMARK)
    try:
        with open(file, encoding="utf-8") as stored:
            moment = float(json.load(stored)["seen_until"])
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        moment = math.nan
    if not 0 <= moment < _MAX_TIME:
        old.problems.append(f"{os.path.basename(file)} is damaged")
        return
    old.watermark = min(moment, now)


def _old_paths(data_dir: str) -> dict[int, str]:
    """Return item → its file, as version 0.1 last listed them; nothing if it can't be read."""
    file = os.path.join(data_dir, OLD_INDEX)
    if not os.path.exists(file):
        return {}
    try:
        with closing(connect(file)) as connection:
            return dict(connection.execute("SELECT rating_key, normal FROM files WHERE path != ''"))
    except sqlite3.DatabaseError:  # then the file's name has to do
        return {}


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


def _put_away(data_dir: str) -> None:
    """Rename the files that were taken over; nothing is deleted, nothing overwritten."""
    for name in (OLD_HISTORY, OLD_WATERMARK):
        path = os.path.join(data_dir, name)
        target = path + _IMPORTED
        count = 1
        while os.path.exists(target):
            count += 1
            target = f"{path}{_IMPORTED}-{count}"
        for side in ("-wal", "-shm", ""):  # the file itself last: it chooses the name
            if os.path.exists(path + side):
                os.replace(path + side, target + side)
