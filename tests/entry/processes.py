"""Runs PlexSync.py by hand, as Stash's runner does, and looks at what it answers and leaves behind."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from queue.ack_queue import JobQueue
from tests.simulators.stash.events import encode, hook_input, scene_update, server_connection
from tests.simulators.stash.pluginlog import decode_line

ROOT = Path(__file__).resolve().parents[2]
ENTRY = ROOT / "PlexSync.py"
#: What a plugin folder holds besides the data; `tests` and the tools are not needed to run.
PRODUCT = (
    *("PlexSync.py", "PlexSync.yml", "requirements.txt"),
    *("common", "hooks", "plex", "queue", "stash", "tasks", "validation", "worker"),
)
DEADLINE = 240.0


@dataclass(frozen=True)
class Answer:
    """What a run of the plugin left on its pipes."""

    stdout: bytes
    stderr: bytes
    exit_code: int

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout, with one key of the two."""
        document = json.loads(self.stdout)
        assert isinstance(document, dict)
        assert len(document) == 1
        return document

    @property
    def output(self) -> Any:
        assert self.exit_code == 0, self
        return self.document["output"]

    @property
    def error(self) -> str:
        error = self.document["error"]
        assert isinstance(error, str)
        assert error.strip()
        assert self.exit_code in (0, 1)
        return error

    @property
    def log(self) -> list[tuple[str, str]]:
        """(level, text) of each line; every line is in Stash's protocol."""
        lines = self.stderr.splitlines()
        assert all(line[:1] == b"\x01" and line[2:3] == b"\x02" for line in lines), self.stderr
        return [decode_line(line) for line in lines]


def run(
    stdin: bytes,
    data_dir: str | Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    flags: Sequence[str] = (),
    entry: Path = ENTRY,
    umask: int = -1,
    before_exec: Callable[[], None] | None = None,
) -> Answer:
    """Run the plugin once."""
    done = subprocess.run(
        [sys.executable, *flags, str(entry)],
        input=stdin,
        capture_output=True,
        env=environment(data_dir, env),
        umask=umask,
        preexec_fn=before_exec,
        timeout=DEADLINE,
        check=False,
    )
    return Answer(done.stdout, done.stderr, done.returncode)


def environment(
    data_dir: str | Path | None, more: Mapping[str, str] | None = None
) -> dict[str, str]:
    place = {} if data_dir is None else {"STASH_PLUGIN_DATA": str(data_dir)}
    return {**os.environ, **place, **(more or {})}


def save(scene_id: int = 7, *, connection: Mapping[str, Any] | None = None, **fields: Any) -> bytes:
    """The stdin of a single save, as Stash writes it."""
    context = scene_update({"id": str(scene_id), **(fields or {"title": f"Title {scene_id}"})})
    return encode(hook_input(context, connection or server_connection(cookie="a-session-cookie")))


def hook(context: object, **arguments: Any) -> bytes:
    """The stdin of a hook with any context."""
    arguments = {"hookContext": context, **arguments}
    return json.dumps({"server_connection": server_connection(), "args": arguments}).encode()


def queued(data_dir: str | Path) -> list[dict[str, Any]]:
    """The jobs on disk that are not done, as the worker would find them; the database must be sound."""
    file = Path(data_dir, "queue", "data.db")
    if not file.exists():
        return []
    with closing(JobQueue(str(file.parent))) as queue:
        queue.import_spool()
    with closing(sqlite3.connect(file, timeout=DEADLINE)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = connection.execute(
            "SELECT data FROM ack_queue_default WHERE status < 5 ORDER BY _id"
        ).fetchall()
    return [json.loads(row[0]) for row in rows]


def make_plugin(folder: Path) -> Path:
    """A plugin folder of links to the product; return its PlexSync.py."""
    folder.mkdir(parents=True)
    for name in PRODUCT:
        (folder / name).symlink_to(ROOT / name)
    return folder / "PlexSync.py"


def until(condition: Callable[[], Any], what: str = "", deadline: float = DEADLINE) -> None:
    """Wait for something to come true."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, f"it did not come true: {what or condition}"
        time.sleep(0.02)


def worker_log(data_dir: str | Path) -> str:
    """What the workers of a data directory have logged; nothing, before the first of them came to it."""
    log = Path(data_dir, "worker.log")
    return log.read_text(encoding="utf-8") if log.exists() else ""


def worker_pids(data_dir: str | Path) -> list[int]:
    """The worker processes of a data directory, or of one below it, that are alive."""
    listing = subprocess.run(
        ["ps", "axww", "-o", "pid=,stat=,args="], capture_output=True, text=True, check=True
    ).stdout
    found = []
    for line in listing.splitlines():
        pid, state, arguments = line.split(None, 2)
        if (
            "PlexSync.py worker " in arguments
            and f"--data-dir {data_dir}" in arguments
            and state[0] != "Z"
        ):
            found.append(int(pid))
    return found


def end_workers(data_dir: str | Path) -> None:
    """Have the workers of a data directory end, gently at first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in worker_pids(data_dir):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        with suppress(AssertionError):
            until(lambda: not worker_pids(data_dir), deadline=10)
            return
