"""The hook as a process: its imports, its files, starting a worker, and kills."""

from __future__ import annotations

import json
import os
import random
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.harness.plugin import ENTRY, Answer, environment, run, save
from tests.harness.processes import wait_until, worker_pids
from tests.harness.results import queued, worker_log
from tests.isolation import search_path
from tests.simulators.stash.events import encode, hook_input, scan_update

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX processes")

#: Modules that no hook may import, not even one that starts a worker.
HEAVY = (
    "pydantic",
    "requests",
    "plexapi",
    "asyncio",
    "ssl",
    "persistqueue",
    "urllib3",
    "logging",
    "http.client",
)
#: Modules that a hook may import only to start a worker.
LIGHTER = (
    *(
        "threading",
        "typing",
        "subprocess",
        "socket",
        "dataclasses",
        "inspect",
        "tempfile",
        "shutil",
        "pathlib",
    ),
    *(
        "random",
        "urllib.parse",
        "argparse",
        "email",
        "traceback",
        "concurrent.futures",
        "ast",
        "signal",
    ),
)
REPORT_MODULES = """
import os, sys
before = set(sys.modules)
end = os._exit
def leave(status):
    with open(os.path.join(os.environ["MODULES_DIR"], str(os.getpid())), "w") as report:
        report.write("\\n".join(sorted(set(sys.modules) - before)))
    end(status)
os._exit = leave
"""


def modules_of_a_hook(stdin: bytes, data_dir: Path, tmp_path: Path) -> set[str]:
    """Run a hook and return all modules that it imported, without those of a bare Python."""
    start, reports = tmp_path / "start", tmp_path / "reports"
    for folder in (start, reports):
        folder.mkdir()
    (start / "sitecustomize.py").write_text(REPORT_MODULES, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, str(ENTRY)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(
            data_dir, {"PYTHONPATH": search_path(str(start)), "MODULES_DIR": str(reports)}
        ),
    )
    stdout, stderr = process.communicate(stdin, timeout=240)
    assert "output" in json.loads(stdout), stderr
    return set((reports / str(process.pid)).read_text(encoding="utf-8").split())


def test_a_hook_that_finds_a_worker_loads_few_modules(busy: Path, tmp_path: Path) -> None:
    loaded = modules_of_a_hook(save(), busy, tmp_path)
    assert loaded & {*HEAVY, *LIGHTER} == set()
    assert {"json", "sqlite3", "hooks.handlers", "queue.operations"} <= loaded
    assert len(loaded) < 80, sorted(loaded)


def test_a_hook_that_starts_a_worker_loads_none_of_the_workers_libraries(
    data_dir: Path, tmp_path: Path
) -> None:
    loaded = modules_of_a_hook(save(), data_dir, tmp_path)
    assert "subprocess" in loaded
    assert loaded & set(HEAVY) == set()
    rooms = {
        name
        for name in loaded
        if name.split(".")[0] in ("plex", "worker", "validation", "tasks", "stash")
    }
    assert rooms <= {
        *("worker", "worker.process"),
        *(
            "stash",
            "stash.settings",
            "stash.connection",
            "stash.log",
            "stash.deferred_log",
            "stash.plugin_input",
        ),
    }


def test_a_scan_does_not_open_the_queue(busy: Path, tmp_path: Path) -> None:
    modules_of_a_hook(encode(hook_input(scan_update(7))), busy, tmp_path)
    assert not (busy / "queue").exists()


def test_a_save_stores_the_connection_for_the_worker(busy: Path) -> None:
    run(save(), busy)
    left = json.loads((busy / "connection.json").read_text(encoding="utf-8"))
    assert left["server_connection"]["SessionCookie"]["Value"] == "a-session-cookie"


def test_all_files_are_private_under_any_umask(data_dir: Path) -> None:
    inner = data_dir / "made"
    assert run(save(), inner, umask=0).output["queued"] is True
    wait_until(lambda: (inner / "worker.log").exists(), "the worker logs")
    wait_until(lambda: (inner / "history.db").exists(), "the worker has opened everything")
    for folder, _, files in os.walk(inner):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700, folder
        for name in files:
            file = Path(folder, name)
            with suppress(FileNotFoundError):  # SQLite creates and removes its own files
                assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_all_created_folders_are_private_under_any_umask(busy: Path) -> None:
    run(save(), busy / "x" / "y" / "z", umask=0)
    for folder in (busy / "x", busy / "x" / "y"):
        assert stat.S_IMODE(folder.stat().st_mode) & 0o022 == 0, "others may rename what lies in it"


def test_the_worker_outlives_the_hook(data_dir: Path) -> None:
    answer = run(
        save(), data_dir
    )  # run returns once stdout and stderr are closed and the process has exited
    assert answer.output == {"scene_id": 7, "queued": True}
    (pid,) = worker_pids(data_dir)
    assert os.getsid(pid) == os.getpgid(pid) == pid, "it must have a session of its own"
    if Path("/proc/self/fd").exists():
        links = {number: os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 1, 2)}
        assert links == {0: os.devnull, 1: os.devnull, 2: str(data_dir / "worker.stderr")}
    assert worker_pids(data_dir) == [pid]


def test_a_second_hook_starts_no_second_worker(data_dir: Path) -> None:
    run(save(1), data_dir)
    pids = worker_pids(data_dir)
    assert len(pids) == 1
    for scene_id in range(2, 6):
        run(save(scene_id), data_dir)
    assert worker_pids(data_dir) == pids


def test_fifty_hooks_at_once_start_one_worker_and_lose_nothing(data_dir: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda scene_id: run(save(scene_id), data_dir), range(1, 51)))
    assert [answer.output["queued"] for answer in answers] == [True] * 50
    wait_until(lambda: "Worker started" in worker_log(data_dir), "the worker runs")
    wait_until(lambda: len(worker_pids(data_dir)) == 1, "one worker is alive")
    assert worker_log(data_dir).count("Worker started") == 1
    assert {job["scene_id"] for job in queued(data_dir)} == set(range(1, 51))


def test_fifty_hooks_of_one_scene_leave_one_job(busy: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: run(save(7, title=f"T{number}"), busy), range(50)))
    assert all(answer.output["queued"] for answer in answers)
    assert len(queued(busy)) == 1


def killed_hook(stdin: bytes, data_dir: Path, delay: float) -> bool:
    """Start a hook and kill it after `delay` seconds.

    Returns:
        Whether it had reported that the edit is queued.
    """
    process = subprocess.Popen(
        [sys.executable, str(ENTRY)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(data_dir),
    )
    assert process.stdin is not None
    try:
        process.stdin.write(stdin)
        process.stdin.close()
    except BrokenPipeError:
        pass
    time.sleep(delay)
    process.kill()
    process.stdin = None
    stdout, _ = process.communicate(timeout=240)
    try:
        return bool(json.loads(stdout)["output"]["queued"])
    except ValueError:
        assert stdout == b"", "half an answer"
        return False


def test_hooks_killed_at_any_moment_lose_no_acknowledged_edit(busy: Path) -> None:
    rng = random.Random(20240506)
    scenes = {scene_id: rng.uniform(0.0, 0.06) for scene_id in range(1, 101)}
    with ThreadPoolExecutor(3) as pool:
        kills = pool.map(lambda scene: killed_hook(save(scene[0]), busy, scene[1]), scenes.items())
        answered = dict(zip(scenes, kills, strict=True))
    assert run(save(1000), busy).output["queued"] is True
    jobs = {job["scene_id"]: job for job in queued(busy)}  # queued() also checks the database
    assert {scene_id for scene_id, safe in answered.items() if safe} <= set(jobs)
    assert all(job["data"] == {"title": f"Title {scene_id}"} for scene_id, job in jobs.items())


def test_hooks_killed_while_starting_a_worker_do_not_block_the_next(data_dir: Path) -> None:
    rng = random.Random(7)
    for scene_id in range(1, 13):
        killed_hook(save(scene_id), data_dir, rng.uniform(0.03, 0.08))
    answer = run(save(1000), data_dir)
    assert answer.output["queued"] is True
    wait_until(lambda: len(worker_pids(data_dir)) == 1, "one worker is alive")
    assert 1000 in {job["scene_id"] for job in queued(data_dir)}


def test_repeating_an_edit_after_a_kill_leaves_one_job(busy: Path) -> None:
    killed_hook(save(7), busy, 0.05)
    answers: list[Answer] = [run(save(7), busy) for _ in range(2)]
    assert all(answer.output["queued"] for answer in answers)
    assert len(queued(busy)) == 1
