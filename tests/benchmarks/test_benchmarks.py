"""A smoke run of the benchmarks at the smallest scale: tables and JSON hold every figure."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from common.data_dir import NOTE_FILE
from tests.benchmarks.__main__ import MEASUREMENTS, main
from tests.benchmarks.hooks import event, hook_case, make_data_dir, worker_held
from tests.benchmarks.measure import Log, Result, Scale
from tests.harness.size import some

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(
    os.name == "nt", reason="the benchmarks end processes as POSIX does"
)


def run(*arguments: str) -> str:
    command = [sys.executable, "-X", "utf8", "-m", "tests.benchmarks", "--tiny", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


#: The ratio that has the worker's target.
WORKER = "Plex at once: worker's scenes/s of the bare loop's, each item by itself"


@pytest.mark.parametrize(
    ("name", "figure", "compared"),
    some(
        [
            ("hook", "hook, worker alive", "hook, worker alive, of the floor"),
            ("index", "10 items", None),
            ("throughput", "Plex at once: worker", WORKER),
            ("page", "poll: state", "poll: state, of the hook"),
        ],
        2,
    ),
)
def test_a_measurement_shows_its_figures_and_writes_them_as_json(
    name: str, figure: str, compared: str | None, tmp_path: Path
) -> None:
    shown = run("--only", name, "--json", str(tmp_path / "figures.json"))
    figures: dict[str, Any] = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    result = figures["results"][name]
    assert list(figures["results"]) == [name]
    assert figure in shown
    assert all(value is None or value >= 0 for value in result["rows"][figure])
    assert compared is None or compared in [one["name"] for one in result["ratios"]]


def test_a_hook_gets_a_reserved_port_without_a_server() -> None:
    port = json.loads(event())["server_connection"]["Port"]
    with socket.socket() as other, pytest.raises(OSError):
        other.bind(("127.0.0.1", port))
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) != 0


def test_the_measured_hook_queues_an_edit_and_leaves_no_note_in_the_repository(
    tmp_path: Path,
) -> None:
    note = ROOT / NOTE_FILE
    before = note.read_bytes() if note.exists() else None
    data_dir = make_data_dir(str(tmp_path), "data")
    case = hook_case("hook", data_dir)
    with worker_held(data_dir):
        for _ in range(10):  # a busy machine may have one spooled
            subprocess.run(
                case.command, input=case.stdin, env=case.environ, capture_output=True, check=True
            )
    with sqlite3.connect(tmp_path / "data" / "queue" / "data.db") as database:
        assert database.execute("SELECT count(*) FROM ack_queue_default").fetchone() == (1,)
    database.close()
    assert (note.read_bytes() if note.exists() else None) == before


def test_benchmarks_run_with_a_private_home(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def look(scale: Scale, log: Log) -> Result:
        seen.extend(os.environ.get(name, "") for name in ("HOME", "PLEX_URL", "STASH_PLUGIN_DATA"))
        return Result("A look")

    before = os.environ["HOME"]
    monkeypatch.setenv("PLEX_URL", "http://a-plex-of-the-user")
    monkeypatch.setenv("STASH_PLUGIN_DATA", "/a/folder/of/the/user")
    monkeypatch.setitem(MEASUREMENTS, "hook", look)
    main(["--tiny", "--only", "hook"])
    assert "plexsync-home-" in seen[0] and seen[0] != before
    assert seen[1:] == ["", ""]
    assert os.environ["HOME"] == before


def test_an_unknown_measurement_is_refused_with_the_known_names() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--only", "speed"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "throughput" in done.stderr
