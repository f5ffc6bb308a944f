"""Stash with the plugin installed, running real hook processes, which start real workers. POSIX only."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from queue.operations import get_stats
from tests.entry.processes import worker_log
from tests.simulators.plex import PlexItem, PlexLibrary, PlexSimulator
from tests.simulators.stash import HookRun, Scene, StashSimulator

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 240.0
"""Seconds to wait for what must happen sooner or later."""


def wait_until(condition: Callable[[], object], what: str, timeout: float = PATIENCE) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"in vain waited for: {what}"
        time.sleep(0.01)


class Site:
    """One installation: a Stash, its plugin folder, its data directory, and a library in Plex."""

    def __init__(self, folder: Path, plex: PlexSimulator, *, idle: float = 300.0) -> None:
        self.data_dir = folder / "data"
        self.plex = plex
        plugins = folder / "stash" / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "PlexSync").symlink_to(ROOT, target_is_directory=True)
        environment = {"STASH_PLUGIN_DATA": str(self.data_dir), "PLEXSYNC_IDLE_TIMEOUT": str(idle)}
        self.stash = StashSimulator(plugins_dir=plugins, env=environment)
        self.stash.start()
        self.name = folder.name
        self.library: PlexLibrary = plex.add_library(
            f"Library of {self.name}", locations=[f"/plex/{self.name}"]
        )
        self.set()

    def set(self, **settings: object) -> None:
        usual = {
            "plex_url": self.plex.url,
            "plex_token": self.plex.token,
            "plex_libraries": self.library.title,
            "path_mappings": f"/data => /plex/{self.name}",
            "poll_interval": "0.1",
            "sync_poster": False,
        }
        self.stash.set_plugin_settings("PlexSync", {**usual, **settings})

    def pair(self, name: str) -> tuple[Scene, PlexItem]:
        scene = self.stash.add_scene(title=f"Title of {name}", files=[(f"/data/{name}.mp4", 100)])
        return scene, self.plex.add_item(self.library, f"/plex/{self.name}/{name}.mp4", size=100)

    def save(self, scene: Scene, title: str) -> HookRun:
        """Save in Stash, with the hook process; it must go well."""
        (run,) = self.stash.save_scene(scene.id, title=title).hooks
        assert (run.exit_code, run.error) == (0, None), (run.error, run.log)
        return run

    def workers(self) -> list[int]:
        """The worker processes of this data directory, zombies left out."""
        return [
            pid
            for pid, command in _processes()
            if " worker " in command and str(self.data_dir) in command
        ]

    @property
    def worker(self) -> int:
        (pid,) = self.workers()
        return pid

    @property
    def log(self) -> str:
        return worker_log(self.data_dir)

    def starts(self) -> int:
        return self.log.count("Worker started")

    def stats(self) -> dict[str, int]:
        return get_stats(self.data_dir)

    def wait_for_title(self, item: PlexItem, title: str, timeout: float = PATIENCE) -> None:
        wait_until(
            lambda: item.title == title,
            f"{title!r} in Plex, not {item.title!r}\n{self.log[-2000:]}",
            timeout,
        )

    def wait_until_gone(self) -> None:
        wait_until(lambda: not self.workers(), f"the worker's end\n{self.log[-2000:]}")

    def close(self) -> None:
        for send in (signal.SIGCONT, signal.SIGTERM):
            for pid in self.workers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, send)
        self.plex.faults.clear()
        try:
            wait_until(lambda: not self.workers(), "the end of the worker", 30)
        finally:
            for pid in self.workers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.stash.stop()


def _processes() -> list[tuple[int, str]]:
    if not Path("/proc/self/cmdline").exists():
        listed = subprocess.run(
            ["ps", "-ax", "-o", "pid=,args="], capture_output=True, text=True, check=True
        ).stdout
        pairs = [line.strip().partition(" ") for line in listed.splitlines()]
        return [(int(pid), f"{command} ") for pid, _, command in pairs]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                command = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                )
                found.append((int(entry.name), command))
    return found
