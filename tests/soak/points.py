"""The named points at which a process is killed: before, after and within each write."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from common.files import is_alive
from tests.isolation import search_path
from tests.soak.killing.sitecustomize import CLOCK, VARIABLE

KILLING = Path(__file__).parent / "killing"


@dataclass(frozen=True)
class Point:
    """A point in the code of a hook or a worker."""

    name: str
    #: the situation that reaches the point; see `test_kill_points`
    situation: str
    file: str
    function: str
    #: "call", "return", or "c_call": just before `function` calls the built-in `callee`;
    #: "" with an empty `function`: any of them, in the files whose path contains `file`
    event: str = "call"
    callee: str = ""
    #: only if a function of this name is among the callers
    within: str = ""
    #: required values of local variables
    where: Mapping[str, str] = field(default_factory=dict)
    nth: int = 1
    role: str = "worker"


def _around(
    name: str,
    situation: str,
    file: str,
    function: str,
    *,
    within: str = "",
    where: Mapping[str, str] | None = None,
) -> tuple[Point, Point]:
    before = Point(f"before {name}", situation, file, function, within=within, where=where or {})
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
_LIBRARY, _HISTORY = "persistqueue/sqlackqueue.py", "history/store.py"
_QUICK, _INDEX = {"name": "quick_pass"}, {"name": "index"}

WORKER_POINTS = (
    # the start
    *_around("the lock is signed", "sync", "worker/process.py", "sign"),
    *_around("the history is opened", "sync", "worker/upgrade.py", "open_history"),
    _replace("the marker", "sync", "open_history"),
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
    *_around("the planned write is saved", "sync", _HISTORY, "save", within="write_fields"),
    *_around("the cover is saved", "sync", _HISTORY, "save", within="_write_cover"),
    *_around("the sync is noted", "sync", "worker/batch.py", "record"),
    _replace("the timestamps", "sync", "save_sync_timestamps"),
    *_around("a scene's dead letters are deleted", "sync", "queue/dlq.py", "delete_scene"),
    *_around("a job is acknowledged", "sync", _LIBRARY, "ack"),
    # its read back
    *_around("writes are read back", "sync", "worker/reconcile/read_back.py", "run"),
    *_around("the read back is saved", "sync", _HISTORY, "save", within="_verify"),
    _commit("the read back", "sync", "_run_read_back"),
    # its retry
    *_around("a retry is requeued", "retry", "queue/table.py", "requeue"),
    _commit("a retry", "retry", "requeue"),
    *_around("a scene is noted as not in Plex", "retry", "worker/job_runner.py", "record"),
    # its dead letter
    *_around("the failure is noted", "dead", _HISTORY, "save_all", within="_give_up"),
    *_around("the dead letter is written", "dead", "queue/dlq.py", "add"),
    _commit("the dead letter", "dead", "add"),
    *_around("the job is failed", "dead", _LIBRARY, "ack_failed"),
    *_around("a deferred log line is written", "dead", "stash/deferred_log.py", "defer_log_line"),
    # its file appears in Plex
    *_around("a scene that Plex has now is queued", "revive",
             "worker/reconcile/plex_changes.py",
             "_revive"),
    *_around("the index is noted as seen", "revive", _HISTORY, "set", where=_INDEX),
    # a scene that is gone
    *_around("a scene is noted as gone", "gone", "worker/reconcile/forgetting.py", "scene_gone"),
    _replace("the timestamps without it", "gone", "save_sync_timestamps"),
    # an edit that no hook told of
    *_around("recent scenes are compared", "missed", "worker/reconcile/comparer.py", "compare"),
    *_around("a missed scene is queued", "missed", "queue/table.py", "put_many", within="compare"),
    _commit("a missed scene", "missed", "compare"),
    *_around("the watermark is noted", "missed", _HISTORY, "set", where=_QUICK),
    # a renamed tag
    *_around("the pass over a tag's scenes is stored", "renamed", _HISTORY, "save_pass"),
    *_around("a slice of a pass is run", "renamed", "worker/reconcile/passes.py", "_slice"),
    *_around("a pass queues scenes", "renamed", "queue/table.py", "put_many", within="_slice"),
    *_around("how far a pass is gets stored", "renamed", _HISTORY, "save_pass", within="_slice"),
    *_around("a pass is ended", "renamed", _HISTORY, "end_pass"),
    # a change in Plex
    *_around("scenes are compared with their items", "drift", "worker/reconcile/comparer.py",
             "_compare_items"),
    *_around("a repair is proposed", "drift", _HISTORY, "propose"),
    *_around("proposals are granted", "drift", "worker/reconcile/approval.py", "decide"),
    *_around("proposals are queued", "drift", "worker/reconcile/approval.py", "queue_next"),
    *_around("queued proposals are dropped", "drift", _HISTORY, "drop_proposals",
             within="queue_next"),
    # a command
    *_around("a command is started", "command", "queue/commands.py", "start"),
    *_around("a command begins its pass", "command", "worker/reconcile/passes.py", "start",
             within="_start_long"),
    *_around("a command is finished", "command", "queue/commands.py", "finish"),
    # an undo
    Point("after what an undo sends is saved", "undo", "worker/undo.py", "_save", "return"),
    Point("after the former values went to Plex", "undo", "plex/client.py", "edit", "return"),
    Point("after the former poster was selected", "undo", "plex/client.py", "select_picture",
          "return"),
    Point("after an undo is concluded", "undo", "worker/undo.py", "_conclude", "return"),
    # records of version 0.1
    *_around("records of 0.1 are taken over", "upgrade", "worker/upgrade.py", "_take_over"),
    _commit("the records of 0.1", "upgrade", "_take_over"),
    *_around("files of 0.1 are put away", "upgrade", "worker/upgrade.py", "_put_away"),
    *_around("the server of records is decided", "upgrade", "worker/reconcile/adoption.py", "run"),
    *_around("the server of records is stored", "upgrade", _HISTORY, "set_server"),
    # a damaged database
    Point("before the damaged journal is renamed", "damage", "queue/recovery.py", "rename_database",
          "call"),
    Point("between the renamed journal and the database", "damage", "common/files.py", "quarantine",
          within="rename_database"),
    Point("after the damaged database is renamed", "damage", "queue/recovery.py", "rename_database",
          "return"),
    Point("before a recovery guard is removed", "damage", "queue/recovery.py",
          "quarantine_database", "c_call", "unlink"),
    *_around("damaged jobs are salvaged", "damage", "queue/recovery.py", "salvage"),
    Point("after a damaged job is put", "damage", "queue/table.py", "put", "return",
          within="salvage"),
    Point("before a damaged database counts as salvaged", "damage", "queue/recovery.py",
          "mark_salvaged", "c_call", "replace"),
    # a row that holds no job, and the jobs that a dead worker had in hand
    *_around("rows that hold no job are set aside", "row", "queue/table.py", "quarantine_rows"),
    _commit("rows that hold no job", "row", "quarantine_rows"),
    *_around("the rows that were set aside are reported", "row", "queue/table.py", "mark_reported"),
    *_around("a worker's death is counted", "row", "queue/table.py", "count_deaths"),
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
            "_take_lines",
            "c_call",
            "unlink",
        ),
        *_around("the hook answers", "hook", "stash/plugin_input.py", "write_response"),
    )
)


def anywhere(nth: int) -> Point:
    """Return the point at a worker's call or return with that number, whatever it is."""
    return Point(f"call {nth}", "", "", "", "", nth=nth)


POINTS = {point.name: point for point in (*WORKER_POINTS, *HOOK_POINTS)}


class Trap:
    """Hand a kill point to the next process that starts."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "kill-at.json"
        self._log = folder / "kill-at.json.log"
        self.clock = folder / "clock"

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of a process that this trap can kill."""
        return {
            VARIABLE: str(self.path),
            CLOCK: str(self.clock),
            "PYTHONPATH": search_path(str(KILLING)),
        }

    def arm(self, point: Point) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(dataclasses.asdict(point)), encoding="utf-8")
        os.replace(fresh, self.path)

    def clear(self) -> None:
        """Remove a point that no process has loaded."""
        self.path.unlink(missing_ok=True)

    @property
    def armed(self) -> bool:
        """Return whether a process that loaded a point is alive and may still reach it."""
        loaded = self.path.parent.glob(f"{self.path.name}.taken.*")
        return any(is_alive(int(file.suffix[1:])) for file in loaded)

    def reached_in_hooks(self) -> int:
        return sum(name in POINTS and POINTS[name].role == "hook" for name in self.reached())

    def reached(self) -> list[str]:
        """Return the names of the points at which a process was killed so far."""
        return self._log.read_text(encoding="utf-8").splitlines() if self._log.exists() else []
