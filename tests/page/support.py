"""A data directory with something of everything, and what the tests ask about it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import common.layout as layout
from common.media import MediaFile
from common.sqlite import connect
from history.counts import CLEARED, LOCATIONS
from history.fields import FieldState
from history.records import Agreement, Choice, CoverState, Status
from history.store import History
from page.views import answer
from plex.exceptions import PlexNotFound
from plex.index import FileIndex
from plex.session import PLEX
from queue.commands import Commands
from queue.dlq import DeadLetterQueue
from queue.inbox import Inbox
from queue.models import create_sync_job
from validation.errors import PermanentError
from worker.alerts import PROBLEM
from worker.config_provider import RULE_PROBLEMS
from worker.logfile import FILE as LOG_FILE
from worker.outages import OUTAGES
from worker.reconcile.passes import COMPARE_AT

NOW = time.time()
OLD = "2020-01-01T00:00:00Z"
SERVER = "server-1"
CANDIDATES = [
    {
        "rating_key": key,
        "section": 2,
        "library": "Films",
        "title": "One",
        "files": [{"path": f"/media/{key}/one.mp4", "size": 100}],
    }
    for key in range(1, 13)
]
WRONG_RULE = "labels is '=>': something is missing. The last valid one stays in effect"
OUTAGE = {
    "cause": "plex_down", "since": 1000.0, "until": 4600.0, "seconds": 3600.0, "waiting": 12,
    "caught_up_after": 30.0,
}  # fmt: skip
FIELDS = {
    "title": FieldState(before="Old", ours="T", wanted="T", observed="T"),
    "genre": FieldState((), ("A",), ("A",), ("a", "Mine")),
    "summary": FieldState(wanted="S", observed="Mine", kept=True),
    "studio": FieldState(wanted="X", refused=True, why="'X': no"),
    "thumb": FieldState(
        wanted="0123456789abcdef", refused=True, why="21.0 MB: Plex answered 413 Payload Too Large"
    ),
    "art": FieldState(before="media://of-plex-itself", wanted="fedcba9876543210"),
}
#: Each view with arguments that fit `fill`.
VIEWS: dict[str, dict[str, Any]] = {
    "state": {},
    "count": {},
    "needs": {},
    "scene": {"scene_id": 5},
    "changes": {},
    "run": {"run": "saved-2026-01-01"},
    "badges": {"scene_ids": [1, 2, 5]},
    "command": {"id": 1},
    "details": {},
}


def record(scene_id: int, status: Status, rating_key: int = 0, **more: Any) -> Agreement:
    values = {
        "server": SERVER,
        "section": 2,
        "checked_at": 1000.0 + scene_id,
        "updated_at": OLD,
        "path": f"/media/a/{scene_id}.mp4",
        "files": (MediaFile(f"/data/a/{scene_id}.mp4", 100),),
        **more,
    }
    return Agreement(scene_id, status, rating_key=rating_key, **values)


def records() -> list[Agreement]:
    """Return records of every kind."""
    elsewhere = (MediaFile("/data/elsewhere/9.mp4", 1),)
    details = {"candidates": CANDIDATES, "keys": [one["rating_key"] for one in CANDIDATES]}
    return [
        record(1, Status.IN_SYNC, 10, synced_at=900.0, fields={"title": FIELDS["title"]}),
        record(2, Status.AMBIGUOUS, reason="may be any of 12", details=details),
        record(3, Status.FAILED, reason="no date"),
        record(4, Status.FAILED, reason="seen", details={CLEARED: True}),
        record(5, Status.REFUSED, 50, reason="no", synced_at=901.0, fields=FIELDS,
               cover=CoverState(sha1="ab"), art=CoverState(sha1="fedcba9876543210")),
        record(6, Status.NOT_IN_PLEX, reason="strange: Plex has the folder"),
        record(7, Status.NOT_IN_PLEX, 70, synced_at=1.0, path="/other/7.mp4"),
        record(8, Status.NOT_IN_PLEX, path="/other/8.mp4"),
        record(9, Status.NOT_IN_PLEX, updated_at="2999-01-01T00:00:00Z", files=elsewhere),
        record(11, Status.IGNORED, reason="ignored by you"),
        record(12, Status.SKIPPED, reason="not organized"),
        record(13, Status.BASELINE),
        record(14, Status.WRITTEN, 14, synced_at=902.0),
        # two items: the one that needs the user counts
        record(15, Status.IN_SYNC, 15, synced_at=903.0),
        record(15, Status.FAILED, 16, reason="the second item"),
    ]  # fmt: skip


def fill(data_dir: Path) -> None:
    """Write records, dead letters, edits, commands, an index and a log."""
    folder = str(data_dir)
    data_dir.mkdir(mode=0o700, exist_ok=True)
    layout.record(folder, layout.VERSION, "by a test")
    with closing(connect(os.path.join(folder, "history.db"))) as db:
        history = History(db)
        history.save_all(records())
        history.choose(2, [Choice(2, SERVER, 3, "/media/3/one.mp4")])
        history.set(LOCATIONS, ["/media/"])
        libraries = [{"key": 2, "name": "Films"}]
        history.set(
            PLEX,
            {"server": SERVER, "name": "NAS", "url": "http://nas:32400", "libraries": libraries},
        )
        history.set("quick_pass_ran_at", 2000.0)
        history.set("full_pass_ended_at", 1990.0)
        history.set(COMPARE_AT, "03:30")
        history.set(RULE_PROBLEMS, [WRONG_RULE])
        history.set(OUTAGES, [OUTAGE])
        history.set(PROBLEM, {"text": "it answers 404", "since": 1995.0})
        (row,) = history.of_scene(5)
        history.changes.note(row, {"title": ("Old", "T")}, "saved", 3000.0)
        history.changes.note(row, {"genre": ((), ("A",))}, "repaired", 3001.0)
        (row,) = history.of_scene(1)
        history.changes.note(row, {"title": ("Old", "T")}, "saved", 3002.0)
    with closing(DeadLetterQueue(data_dir, now=lambda: 500.0)) as dlq:
        dlq.add(create_sync_job(3, "metadata", {}), PermanentError("no date"), 5)
        dlq.add(create_sync_job(21, "metadata", {}), PermanentError("never on record"), 5)
        dlq.add(create_sync_job(22, "metadata", {}), PlexNotFound("may come"), 5)
    with closing(Inbox(folder, lock_timeout=60.0)) as inbox:
        for scene_id in (5, 31):
            inbox.put(create_sync_job(scene_id, "metadata", {"title": "T"}))
    with closing(Commands(os.path.join(folder, "queue", "data.db"))) as commands:
        commands.start(commands.add("sync", {}))
        commands.finish(commands.add("approve", {}), {"approved": 3})
    with closing(connect(os.path.join(folder, "index.db"))) as db:
        FileIndex(db).use_server(SERVER)
    (data_dir / LOG_FILE).write_text("a line\na \x1b[31mred line\n", encoding="utf-8")
    (data_dir / "hook_times.log").write_text("10.0\n20.0\n30.0\n", encoding="ascii")
    (data_dir / "notices.jsonl").write_text('["warning", "for the next hook"]\n', encoding="ascii")


def ask(data_dir: Path, view: str, **arguments: Any) -> dict[str, Any]:
    return answer(str(data_dir), {"mode": "page", "view": view, **arguments})


def contents(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Return each file's bytes, mode and time of change.

    Call it only while this process has no database open: reading one would drop its locks.
    """
    return {
        str(path.relative_to(folder)): (
            path.read_bytes() if path.is_file() else b"",
            path.stat().st_mode,
            path.stat().st_mtime_ns,
        )
        for path in sorted(folder.rglob("*"))
    }


#: Opens databases as our stores do, and obeys lines on stdin.
_WRITER = """
import sqlite3, sys
opened = [sqlite3.connect(path, isolation_level=None) for path in sys.argv[1:]]
for one in opened:
    one.execute("PRAGMA journal_mode=WAL")
    one.execute("PRAGMA wal_autocheckpoint=0")
    one.execute("SELECT count(*) FROM sqlite_master").fetchone()
print("open", flush=True)
for line in sys.stdin:
    for one in opened:
        one.execute(line.strip())
    print("done", flush=True)
"""


class Writer:
    """Another process that has databases open."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def run(self, statement: str) -> None:
        """Run one statement in each database."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(statement + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def writer(*databases: Path) -> Iterator[Writer]:
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, *map(str, databases)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield Writer(process)
    finally:
        process.kill()
        process.communicate()
