"""As a new user would: from the package to the first scene in Plex, with a Python that has nothing. POSIX only."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.entry.processes import end_workers, queued, until
from tests.release.conftest import Python
from tests.release.wheels import MODULES
from tests.simulators.plex import PlexItem, PlexLibrary, PlexSimulator
from tests.simulators.stash import Job, Scene, StashSimulator

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes of POSIX")

TASK = "Install dependencies"
TOKEN = "plex-token-0123456789abcdef"


@dataclass(frozen=True)
class Site:
    stash: StashSimulator
    plex: PlexSimulator
    library: PlexLibrary
    plugin: Path
    data_dir: Path

    def pair(self, name: str) -> tuple[Scene, PlexItem]:
        item = self.plex.add_item(self.library, f"/media/{name}.mp4", size=100)
        return self.stash.add_scene(title="Old", files=[(f"/data/{name}.mp4", 100)]), item

    def shows(self, item: PlexItem, title: str) -> None:
        until(lambda: item.title == title, f"Plex shows {title!r}\n{self.log()}")

    def log(self) -> str:
        files = [self.data_dir / name for name in ("worker.log", "worker.stderr")]
        return "\n".join(file.read_text(encoding="utf-8") for file in files if file.exists())[
            -3000:
        ]

    def install(self) -> Job:
        job = self.stash.run_task("PlexSync", TASK)
        assert job.wait(240)
        return job


@pytest.fixture
def site(plugin: Path, bare: Python, tmp_path: Path) -> Iterator[Site]:
    """A Stash whose Python has nothing, with the package unpacked and its settings filled in, and a Plex."""
    data_dir = tmp_path / "data"
    environment = {
        "STASH_PLUGIN_DATA": str(data_dir),
        "PLEXSYNC_IDLE_TIMEOUT": "60",
        "PLEXSYNC_TIME_SCALE": "0.02",
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), ""),
    }
    stash = StashSimulator(plugin.parents[1], python_path=bare.path, env=environment)
    with PlexSimulator(token=TOKEN) as plex, stash:
        settings = {"plex_url": plex.url, "plex_token": TOKEN, "path_mappings": "/data => /media"}
        stash.set_plugin_settings("PlexSync", {**settings, "poll_interval": "0.1"})
        try:
            yield Site(stash, plex, plex.add_library("Scenes", ["/media"]), plugin, data_dir)
        finally:
            end_workers(data_dir)


def test_from_the_package_to_the_first_scene_in_plex(
    site: Site, real_wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(real_wheels))
    (early, early_item), (late, late_item) = site.pair("early"), site.pair("late")

    (run,) = site.stash.save_scene(early.id, title="Saved before").hooks
    assert run.error is not None
    assert all(module in run.error for module in MODULES.values())
    assert TASK in run.error, "it says which button to press"
    assert [job["scene_id"] for job in queued_with_these_packages(site)] == [early.id]

    job = site.install()
    assert job.run is not None
    assert job.run.error is None, job.run
    assert "pydantic" in job.run.output["result"]
    assert job.run.progress[-1] == 1.0
    assert (site.plugin / "dependencies" / "pydantic").is_dir()

    (run,) = site.stash.save_scene(late.id, title="Saved after").hooks
    assert (run.error, run.output) == (None, {"scene_id": late.id, "queued": True}), site.log()
    site.shows(late_item, "Saved after")
    site.shows(early_item, "Saved before")
    assert "Traceback" not in site.log()
    yml = [path.name for path in site.plugin.rglob("*") if path.suffix.lower() == ".yml"]
    assert yml == ["PlexSync.yml"], "Stash would take any other for a plugin"
    site.stash.plugins.reload()
    assert [line.text for line in site.stash.plugin_log if "Error loading" in line.text] == []


def queued_with_these_packages(site: Site) -> list[dict[str, object]]:
    """The tests have persist-queue, even where the plugin has not."""
    return queued(site.data_dir)


def test_the_task_says_in_stash_what_is_wrong(site: Site) -> None:
    job = site.install()  # there is no index
    assert job.run is not None
    assert "ready-made package of persist-queue" in (job.run.error or "")
    errors = [line.text for line in job.run.log if line.level == "error"]
    assert errors == [job.run.error]
    assert not (site.plugin / "dependencies").exists()


def test_packages_of_another_python_are_told_at_the_next_save(site: Site, wheels: Path) -> None:
    """Stash got a newer Python: the folders are there, and what was compiled in them can't be loaded."""
    assert (job := site.install()).run is not None and job.run.error is None
    broken = site.plugin / "dependencies" / "pydantic" / "__init__.py"
    broken.write_text("raise ImportError('compiled for another Python')", encoding="utf-8")
    scene, _ = site.pair("a")

    def told() -> bool:
        (run,) = site.stash.save_scene(scene.id, title="New").hooks
        return any(line.level == "error" and TASK in line.text for line in run.log)

    until(
        told, f"a save says that the packages must be installed again\n{site.log()}", deadline=240
    )
    assert [job["scene_id"] for job in queued_with_these_packages(site)] == [scene.id]


def test_in_a_shell_the_same_is_one_word(
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


def test_a_wrong_answer_in_a_shell_is_one_line_and_exit_status_1(
    plugin: Path, python: Python, tmp_path: Path
) -> None:
    done = subprocess.run(
        [python.path, str(plugin / "PlexSync.py"), "install"],
        cwd=tmp_path, capture_output=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, b"")
    assert len(done.stderr.splitlines()) == 1
    assert b"ready-made package of persist-queue" in done.stderr
