"""Helpers of the queue's tests: Python processes in the project's root, rows on disk."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import PlexSync
from tests.isolation import search_path

ROOT = Path(PlexSync.HERE)
#: Seconds after which a process counts as hung; not a performance limit.
PROCESS_TIMEOUT = 240.0


def environment(**extra: str) -> dict[str, str]:
    """Return this process's environment without variables that change how Python finds modules."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PYTEST", "STASH_"))
    }
    return {**kept, "PYTHONPATH": search_path(), **extra}


@contextmanager
def python(*arguments: str, cwd: Path = ROOT, **extra: str) -> Iterator[subprocess.Popen[str]]:
    """Start a Python process; kill it at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment(**extra),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()
    finally:
        process.wait()


def run_python(*arguments: str, cwd: Path = ROOT, stdin: str = "", **extra: str) -> str:
    """Run a Python process that must succeed; return its output."""
    with python(*arguments, cwd=cwd, **extra) as process:
        out, err = process.communicate(stdin, timeout=PROCESS_TIMEOUT)
    assert process.returncode == 0, f"exit status {process.returncode}\n{out}\n{err}"
    return out


def run_at_once(commands: Sequence[Sequence[str]]) -> list[str]:
    """Run Python processes that wait for a line on stdin, so that they start together.

    Returns:
        Their outputs.
    """
    started = [
        subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=environment(),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for command in commands
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.stdout.read()
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        outputs = [process.communicate(timeout=PROCESS_TIMEOUT)[0] for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()
    failed = [
        output for process, output in zip(started, outputs, strict=True) if process.returncode
    ]
    assert not failed, failed[0]
    return outputs


def rows(data_dir: Path) -> list[tuple[int, dict[str, Any], int]]:
    """Return id, job and status of each row of the queue, as another process sees them."""
    with closing(sqlite3.connect(data_dir / "queue" / "data.db")) as connection:
        found = connection.execute(
            "SELECT _id, data, status FROM ack_queue_default ORDER BY _id"
        ).fetchall()
    return [(row_id, json.loads(data), status) for row_id, data, status in found]


def waiting(data_dir: Path) -> dict[int, dict[str, Any]]:
    """Return scene id → `data` of the waiting jobs; fail if a scene has two."""
    jobs = [job for _, job, status in rows(data_dir) if status < 2]
    found = {job["scene_id"]: job["data"] for job in jobs}
    assert len(found) == len(jobs), "a scene has two waiting jobs"
    return found


def integrity(database: Path) -> str:
    """Return the result of SQLite's integrity check; "ok" if the database is intact."""
    with closing(sqlite3.connect(database)) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
