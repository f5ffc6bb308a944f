"""A new user's path: from the package to the first synced scene, with a bare Python. POSIX only."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.installation import ProcessHarness
from tests.harness.processes import wait_until
from tests.harness.results import queued
from tests.release.conftest import Python
from tests.release.wheels import MODULES
from tests.simulators.stash import Job

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes of POSIX")

TASK = "Install dependencies"


class NewUserHarness(ProcessHarness):
    """A Stash with a bare Python, the unpacked package and filled-in settings."""

    def __init__(self, folder: Path, plugin: Path, python: Python) -> None:
        self.plugin = plugin
        super().__init__(
            folder,
            plugins=plugin.parents[1],
            env=dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), ""),
            stash_options={"python_path": python.path},
        )

    def install(self) -> Job:
        job = self.stash.run_task("PlexSync", TASK)
        assert job.wait(240)
        return job

    def worker_log(self) -> str:
        stderr = self.data_dir / "worker.stderr"
        said = stderr.read_text(encoding="utf-8") if stderr.exists() else ""
        return f"{super().worker_log()}\n{said}"


@pytest.fixture
def harness(plugin: Path, bare: Python, tmp_path: Path) -> Iterator[NewUserHarness]:
    with NewUserHarness(tmp_path, plugin, bare) as harness:
        yield harness


@pytest.fixture
def with_pip(plugin: Path, python: Python, tmp_path: Path) -> Iterator[NewUserHarness]:
    """The same with a Python that has pip, which is faster."""
    with NewUserHarness(tmp_path, plugin, python) as harness:
        yield harness


def test_from_the_package_to_the_first_scene_in_plex(
    harness: NewUserHarness, real_wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(real_wheels))
    (early, early_item), (late, late_item) = harness.pair("early"), harness.pair("late")

    (run,) = harness.stash.save_scene(early.id, title="Saved before").hooks
    assert run.error is not None
    assert all(module in run.error for module in MODULES.values())
    assert TASK in run.error, "it says which button to press"
    assert [job["scene_id"] for job in queued_with_these_packages(harness)] == [early.id]

    job = harness.install()
    assert job.run is not None
    assert job.run.error is None, job.run
    assert "pydantic" in job.run.output["result"]
    assert job.run.progress[-1] == 1.0
    assert (harness.plugin / "dependencies" / "pydantic").is_dir()

    (run,) = harness.stash.save_scene(late.id, title="Saved after").hooks
    assert (run.error, run.output) == (None, {"scene_id": late.id, "queued": True}), (
        harness.worker_log()
    )
    harness.wait_for_title(late_item, "Saved after")
    harness.wait_for_title(early_item, "Saved before")
    assert "Traceback" not in harness.worker_log()
    yml = [path.name for path in harness.plugin.rglob("*") if path.suffix.lower() == ".yml"]
    assert yml == ["PlexSync.yml"], "Stash would take any other for a plugin"
    harness.stash.plugins.reload()
    assert [line.text for line in harness.stash.plugin_log if "Error loading" in line.text] == []


def queued_with_these_packages(harness: NewUserHarness) -> list[dict[str, object]]:
    """Read the queue with the tests' own persist-queue, which the plugin may lack."""
    return queued(harness.data_dir)


def test_the_task_shows_its_error_in_stash(with_pip: NewUserHarness) -> None:
    harness = with_pip
    job = harness.install()  # there is no index
    assert job.run is not None
    assert "ready-made package of persist-queue" in (job.run.error or "")
    errors = [line.text for line in harness.stash.plugin_log if line.level == "error"]
    assert errors == [f"Plugin returned error: {job.run.error}"]
    assert not (harness.plugin / "dependencies").exists()


def test_packages_of_another_python_are_reported_at_the_next_save(
    with_pip: NewUserHarness, wheels: Path
) -> None:
    """After an update of Python the compiled modules in the installed packages can't be loaded."""
    harness = with_pip
    assert (job := harness.install()).run is not None and job.run.error is None
    broken = harness.plugin / "dependencies" / "pydantic" / "__init__.py"
    broken.write_text("raise ImportError('compiled for another Python')", encoding="utf-8")
    scene, _ = harness.pair("a")

    def reported() -> bool:
        (run,) = harness.stash.save_scene(scene.id, title="New").hooks
        return any(line.level == "error" and TASK in line.text for line in run.log)

    wait_until(
        reported,
        f"a save reports that the packages must be installed again\n{harness.worker_log()}",
        timeout=240,
    )
    assert [job["scene_id"] for job in queued_with_these_packages(harness)] == [scene.id]


def test_in_a_shell_the_same_is_one_command(
    plugin: Path, python: Python, wheels: Path, tmp_path: Path
) -> None:
    script = str(plugin / "PlexSync.py")
    for arguments in (["install", "--json"], ["install"]):
        done = subprocess.run(
            [python.path, script, *arguments],
            cwd=tmp_path,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert (plugin / "dependencies" / "pydantic").is_dir()
        if "--json" in arguments:
            assert sorted(json.loads(done.stdout)["packages"]) == sorted(MODULES)
        else:
            assert done.stdout.decode().splitlines()[-1].startswith("Installed for Python")


def test_a_failed_installation_in_a_shell_is_one_line_and_exit_status_1(
    plugin: Path, python: Python, tmp_path: Path
) -> None:
    done = subprocess.run(
        [python.path, str(plugin / "PlexSync.py"), "install"],
        cwd=tmp_path, capture_output=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, b"")
    assert len(done.stderr.splitlines()) == 1
    assert b"ready-made package of persist-queue" in done.stderr
