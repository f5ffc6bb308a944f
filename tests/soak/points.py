"""The named points at which a process is killed: before, after and within each write."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.isolation import search_path
from tests.soak.killing.sitecustomize import VARIABLE

KILLING = Path(__file__).parent / "killing"


@dataclass(frozen=True)
class Point:
    """A point in the code of a hook or a worker."""

    name: str
    #: the situation that reaches the point; see `test_kill_points`
    situation: str
    file: str
    function: str
    #: "call", "return", or "c_call": just before `function` calls the built-in `callee`
    event: str = "call"
    callee: str = ""
    #: only if a function of this name is among the callers
    within: str = ""
    #: required values of local variables
    where: Mapping[str, str] = field(default_factory=dict)
    nth: int = 1
    role: str = "worker"


def _around(
    name: str, situation: str, file: str, function: str, *, within: str = "", nth: int = 1
) -> tuple[Point, Point]:
    before = Point(f"before {name}", situation, file, function, within=within, nth=nth)
    return before, dataclasses.replace(before, name=f"after {name}", event="return")


def _commit(name: str, situation: str, within: str, nth: int = 2) -> Point:
    """Return the point in a transaction just before its COMMIT."""
    return Point(
        f"before the commit of {name}",
        situation,
        "common/sqlite.py",
        "write",
        "c_call",
        "execute",
        within,
        nth=nth,
    )


def _replace(name: str, situation: str, within: str) -> Point:
    return Point(
        f"before {name} replaces the old file",
        situation,
        "common/files.py",
        "replace_private",
        "c_call",
        "replace",
        within,
    )


_PUT, _POST = {"method": "PUT"}, {"method": "POST"}
_SESSION = ("plex/client.py", "request")
_LIBRARY = "persistqueue/sqlackqueue.py"

WORKER_POINTS = (
    # the start
    *_around("the lock is signed", "sync", "worker/process.py", "sign"),
    *_around("jobs in progress are resumed", "sync", "queue/table.py", "resume"),
    *_around("finished rows are dropped", "sync", "queue/table.py", "drop_finished"),
    *_around("the settings are read", "sync", "worker/config_provider.py", "load"),
    # one job
    *_around("a job is claimed", "sync", "queue/table.py", "claim"),
    _commit("claiming a job", "sync", "claim"),
    *_around("the scene is read", "sync", "stash/client.py", "find_scene"),
    *_around("the index is refreshed", "sync", "plex/index.py", "refresh"),
    _commit("the index", "sync", "_list_all"),
    Point("before the edit goes to Plex", "sync", *_SESSION, where=_PUT),
    Point("after the edit went to Plex", "sync", *_SESSION, "return", where=_PUT),
    Point("before the poster goes to Plex", "sync", *_SESSION, where=_POST),
    Point("after the poster went to Plex", "sync", *_SESSION, "return", where=_POST),
    *_around("the pending write is saved", "sync", "plex/history.py", "save"),
    *_around("the finished write is saved", "sync", "plex/history.py", "save", nth=2),
    *_around("the cover is saved", "sync", "plex/history.py", "save", nth=3),
    *_around("the timestamp is appended", "sync", "queue/timestamps.py", "_append"),
    *_around("the timestamps are folded", "sync", "queue/timestamps.py", "_fold"),
    _replace("the timestamps' fold", "sync", "_fold"),
    Point("between the timestamps' replace and unlink", "sync", "queue/timestamps.py", "_fold",
          "c_call", "unlink"),
    *_around("a scene's dead letters are deleted", "sync", "queue/dlq.py", "delete_scene"),
    *_around("a job is acknowledged", "sync", _LIBRARY, "ack"),
    # its retry
    *_around("a retry is requeued", "retry", "queue/table.py", "requeue"),
    _commit("a retry", "retry", "requeue"),
    # its dead letter
    *_around("the dead letter is written", "dead", "queue/dlq.py", "add"),
    _commit("the dead letter", "dead", "add"),
    *_around("the job is failed", "dead", _LIBRARY, "ack_failed"),
    *_around("a deferred log line is written", "dead", "stash/deferred_log.py", "defer_log_line"),
    *_around("a dead letter's scene is requeued", "revive", "queue/operations.py", "enqueue",
             within="_retry_found_files"),
    *_around("a requeued dead letter is deleted", "revive", "queue/dlq.py", "delete_scene",
             within="_retry_found_files"),
    # a scene that is gone
    *_around("a timestamp is forgotten", "gone", "queue/timestamps.py", "forget_sync_timestamp"),
    *_around("the write history of a scene is deleted", "gone", "plex/history.py", "delete"),
    # the catch-up
    *_around("a missed scene is queued", "missed", "queue/operations.py", "enqueue", within="scan"),
    _commit("a missed scene", "missed", "scan"),
    *_around("the watermark is noted", "missed", "worker/catch_up.py", "_note"),
    _replace("the watermark", "missed", "_note"),
    # a damaged database
    Point("before the damaged journal is renamed", "damage", "queue/recovery.py", "_rename",
          "call"),
    Point("between the renamed journal and the database", "damage", "common/files.py", "quarantine",
          within="_rename"),
    Point("after the damaged database is renamed", "damage", "queue/recovery.py", "_rename",
          "return"),
    Point("before a recovery guard is removed", "damage", "queue/recovery.py",
          "quarantine_database", "c_call", "unlink"),
    *_around("damaged jobs are salvaged", "damage", "queue/recovery.py", "salvage"),
    Point("after a damaged job is put", "damage", "queue/table.py", "put", "return",
          within="salvage"),
    Point("before a damaged database counts as salvaged", "damage", "queue/recovery.py", "salvage",
          "c_call", "replace"),
    # the end
    *_around("the lock is released", "sync", "worker/process.py", "release"),
    *_around("the last look at the queue", "sync", "worker/main.py", "_anything_waits"),
)  # fmt: skip

HOOK_POINTS = tuple(
    dataclasses.replace(point, role="hook")
    for point in (
        *_around("the hook puts its job", "hook", "queue/table.py", "put"),
        _commit("the hook's job", "hook", "put"),
        *_around(
            "the hook leaves the connection", "hook", "stash/connection.py", "save_connection"
        ),
        _replace("the connection", "hook", "save_connection"),
        *_around("the hook acquires the lock", "hook", "worker/process.py", "acquire"),
        *_around("the hook starts the worker", "hook", "worker/process.py", "_start"),
        Point(
            "between the deferred log's rename and unlink",
            "hook",
            "stash/deferred_log.py",
            "take_deferred_lines",
            "c_call",
            "unlink",
        ),
        *_around("the hook answers", "hook", "stash/plugin_input.py", "write_response"),
    )
)
POINTS = {point.name: point for point in (*WORKER_POINTS, *HOOK_POINTS)}


class Trap:
    """Hand a kill point to the next process that starts."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "kill-at.json"
        self._log = folder / "kill-at.json.log"

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of a process that this trap can kill."""
        return {VARIABLE: str(self.path), "PYTHONPATH": search_path(str(KILLING))}

    def arm(self, point: Point) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(dataclasses.asdict(point)), encoding="utf-8")
        os.replace(fresh, self.path)

    def clear(self) -> None:
        """Remove a point that no process has loaded."""
        self.path.unlink(missing_ok=True)

    @property
    def armed(self) -> bool:
        """Return whether the last process that loaded a point may still reach it."""
        taken = Path(f"{self.path}.taken")
        if not taken.exists():
            return False
        reached = self.reached()
        return not reached or json.loads(taken.read_text(encoding="utf-8"))["name"] != reached[-1]

    def reached_in_hooks(self) -> int:
        return sum(POINTS[name].role == "hook" for name in self.reached())

    def reached(self) -> list[str]:
        """Return the names of the points at which a process was killed so far."""
        return self._log.read_text(encoding="utf-8").splitlines() if self._log.exists() else []
