"""A view of the page as a process: what it imports and leaves; *wake*, and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from queue.inbox import Inbox
from queue.models import create_sync_job
from stash.connection import load_connection
from tests.entry.test_hook_process import HEAVY, LIGHTER, modules_of_a_hook
from tests.harness.plugin import ENTRY, environment, run
from tests.harness.processes import wait_until, worker_pids
from tests.page.support import VIEWS, contents, fill
from tests.simulators.stash.events import server_connection
from worker.process import WorkerLock

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX processes")


def stdin(mode: str, **arguments: Any) -> bytes:
    """Return the stdin of `runPluginOperation`."""
    arguments = {"mode": mode, **arguments}
    return json.dumps({"server_connection": server_connection(), "args": arguments}).encode()


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    fill(tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("view", ["state", "scene", "run"])
def test_a_view_loads_no_more_than_a_hook(filled: Path, tmp_path: Path, view: str) -> None:
    loaded = modules_of_a_hook(stdin("page", view=view, **VIEWS[view]), filled, tmp_path)
    assert loaded & {*HEAVY, *LIGHTER} == set()
    assert f"page.{'changes' if view == 'run' else view}" in loaded
    ours = {name.split(".")[0] for name in loaded}
    assert ours & {"plex", "tasks", "validation"} == set()
    assert len(loaded) < 90, sorted(loaded)


def test_a_look_takes_no_notice_keeps_the_connection_and_starts_no_worker(filled: Path) -> None:
    (filled / "connection.json").write_text("{}", encoding="ascii")
    (filled / "unfinished").touch()
    before = contents(filled)
    done = run(stdin("page", view="state"), filled)
    assert done.output["must_wake"] is True
    assert done.stderr == b""
    assert contents(filled) == before
    assert worker_pids(filled) == []


def test_a_look_creates_no_data_directory(tmp_path: Path) -> None:
    assert run(stdin("page", view="state"), tmp_path / "data").output["is_set_up"] is False
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_argument_is_one_sentence_for_the_user(filled: Path) -> None:
    done = run(stdin("page", view="scene", scene_id="'\n"), filled)
    assert "scene_id is" in done.error
    assert "\n" not in done.error
    assert "view must be one of" in run(stdin("page"), filled).error


def test_a_view_needs_no_packages_and_says_that_they_are_missing(filled: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-S", str(ENTRY)],  # without site-packages
        input=stdin("page", view="state"),
        capture_output=True,
        env=environment(filled),
        check=False,
    )
    found = json.loads(done.stdout)["output"]
    assert found["problem"]["action"] == "install"
    assert "Install dependencies" in found["problem"]["text"]
    assert found["needs"] == 7


def test_wake_starts_a_worker_only_where_edits_wait_and_nobody_works(data_dir: Path) -> None:
    assert run(stdin("wake"), data_dir / "none").output == {"started": False}
    assert not (data_dir / "none").exists()
    before = contents(data_dir)
    assert run(stdin("wake"), data_dir).output == {"started": False}
    assert contents(data_dir) == before
    with closing(Inbox(str(data_dir), lock_timeout=60.0)) as inbox:
        inbox.put(create_sync_job(7, "metadata", {"title": "T"}))
    assert run(stdin("wake"), data_dir).output == {"started": True}
    wait_until(lambda: len(worker_pids(data_dir)) == 1, "a worker")
    assert run(stdin("wake"), data_dir).output == {"started": False}
    assert run(stdin("page", view="state"), data_dir).output["must_wake"] is False
    assert len(worker_pids(data_dir)) == 1


def test_wake_tells_a_worker_that_is_alive_where_stash_is_now(data_dir: Path) -> None:
    """Stash was started again with another port, and the user opens it."""
    (data_dir / "unfinished").touch()
    lock = WorkerLock(str(data_dir))
    assert lock.acquire()
    try:
        moved = server_connection(port=1)
        arguments = {"server_connection": moved, "args": {"mode": "wake"}}
        assert run(json.dumps(arguments).encode(), data_dir).output == {"started": False}
    finally:
        lock.release()
    latest = load_connection(str(data_dir))
    assert latest is not None
    assert latest.server == moved


def test_the_command_line_shows_the_same_and_writes_nothing(filled: Path) -> None:
    before = contents(filled)

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ENTRY), "page", *arguments, "--data-dir", str(filled)],
            capture_output=True, text=True, env=environment(None), check=False,
        )  # fmt: skip

    shown = command("needs", "--limit", "2", "--status", "failed", "--json")
    assert shown.returncode == 0, shown.stderr
    assert len(shown.stdout.splitlines()) == 1
    found = json.loads(shown.stdout)
    asked = run(stdin("page", view="needs", limit=2, status="failed"), filled).output
    assert {**found, "now": 0} == {**asked, "now": 0}
    wrong = command("scene", "--json")
    assert (wrong.returncode, json.loads(wrong.stdout)) == (1, {"error": "scene_id is missing"})
    assert contents(filled) == before
