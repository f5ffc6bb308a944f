"""The demo succeeds as a real process without a terminal, and it can fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import PlexSync
from tests.demo import run_demo
from tests.demo.catalogue import FIRST
from tests.harness.processes import wait_until, worker_pids
from tests.harness.size import long
from tests.simulators.httpd import Answer
from tests.simulators.plex import PlexSimulator

COMMAND = [sys.executable, "-X", "utf8", "PlexSync.py", "demo"]
FORCING = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Give the demo its own temp folder; remove variables that fake a terminal."""
    kept = {name: value for name, value in os.environ.items() if name not in FORCING}
    return kept | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(tmp_path))


def nothing_is_left(tmp_path: Path) -> bool:
    return not worker_pids(tmp_path) and not list(tmp_path.glob("plexsync-demo-*"))


def test_demo_without_a_terminal(tmp_path: Path, environment: dict[str, str]) -> None:
    run = subprocess.run(
        COMMAND,
        cwd=PlexSync.HERE,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=280,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    assert "In sync      29 of 29 expected scenes" in run.stdout
    assert 'For review: scene 23 "The Kite": 2 items in Plex may be it' in run.stdout
    assert "(worst)" in run.stdout and "per synced scene" in run.stdout
    assert all(line.isprintable() for line in run.stdout.splitlines())
    assert all(line == line.rstrip() for line in run.stdout.splitlines())
    assert nothing_is_left(tmp_path)


def test_demo_has_a_private_home(monkeypatch: pytest.MonkeyPatch) -> None:
    homes: list[str] = []

    def look(_: PlexSimulator) -> None:
        homes.append(os.environ["HOME"])
        raise KeyboardInterrupt  # the demo can stop here

    before = os.environ["HOME"]
    assert run_demo(look) == 130
    assert homes and homes[0] != before and "plexsync-home-" in homes[0]
    assert os.environ["HOME"] == before


@long
def test_demo_names_the_scene_whose_edits_plex_drops(capsys: pytest.CaptureFixture[str]) -> None:
    def drop_edits(plex: PlexSimulator) -> None:
        item = plex.find(FIRST.plex_path)
        assert item is not None
        key = str(item.rating_key)
        plex.faults.add(Answer(200), method="PUT", when=lambda request: request.first("id") == key)

    assert run_demo(drop_edits) == 1
    said = capsys.readouterr().out
    assert "In sync      28 of 29 expected scenes" in said
    assert f'Not in sync: scene 1 "{FIRST.title}"' in said
    assert 'title: Stash has "A Heron at Dawn (Director\'s Cut)", Plex "heron_at_dawn"' in said


@pytest.mark.skipif(os.name == "nt", reason="there a signal can't be sent to one process alone")
def test_interrupted_demo_leaves_nothing_behind(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    demo = subprocess.Popen(
        COMMAND,
        cwd=PlexSync.HERE,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    try:
        wait_until(lambda: worker_pids(tmp_path) or demo.poll() is not None, "a worker")
        demo.send_signal(signal.SIGINT)
        said, _ = demo.communicate(timeout=240)
    finally:
        demo.kill()
        demo.wait()
    assert demo.returncode == 130
    assert said.endswith("Stopped. No process and no file is left behind.\n")
    assert nothing_is_left(tmp_path)
