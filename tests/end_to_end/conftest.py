"""A Stash and a Plex that show the same files under different mount points, and PlexSync installed in between."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.entry.processes import end_workers, make_plugin, queued, until, worker_log, worker_pids
from tests.simulators.plex import PlexItem, PlexLibrary, PlexSimulator
from tests.simulators.stash import HookRun, Scene, StashSimulator

TOKEN = "plex-token-0123456789abcdef"
TASK = "Sync recent scenes"
#: All durations of the worker but the idle time are this much shorter.
SCALE = "0.02"

collect_ignore: list[str] = [] if os.name == "posix" else ["."]


@dataclass
class World:
    """What a test acts on, and looks at."""

    stash: StashSimulator
    plex: PlexSimulator
    library: PlexLibrary
    data_dir: Path

    def pair(self, name: str = "a", **scene: Any) -> tuple[Scene, PlexItem]:
        """A file as both servers know it."""
        item = self.plex.add_item(self.library, f"/media/{name}.mp4", size=1000)
        return self.stash.add_scene(files=[(f"/data/{name}.mp4", 1000)], **scene), item

    def pairs(self, count: int, **scene: Any) -> list[tuple[Scene, PlexItem]]:
        return [self.pair(f"file{number}", **scene) for number in range(count)]

    def settings(self, **changed: Any) -> None:
        """What stands on the settings page; None takes a setting away."""
        given = {
            "plex_url": self.plex.url,
            "plex_token": TOKEN,
            "path_mappings": "/data => /media",
            "poll_interval": "0.1",
            **changed,
        }
        self.stash.set_plugin_settings(
            "PlexSync", {key: value for key, value in given.items() if value is not None}
        )

    def save(self, scene: Scene, **fields: Any) -> HookRun:
        """A save on the edit page; its one hook has queued the edit."""
        (run,) = self.stash.save_scene(scene.id, **fields).hooks
        assert run.error is None, run
        assert run.output == {"scene_id": scene.id, "queued": True}
        return run

    def shows(self, item: PlexItem, title: str) -> None:
        """Wait until Plex shows the title."""
        until(
            lambda: item.title == title,
            f"Plex shows {title!r} (now {item.title!r}); {self.worker_log()[-2000:]}",
        )

    def worker_log(self) -> str:
        return worker_log(self.data_dir)

    def drained(self) -> None:
        until(lambda: not queued(self.data_dir), "nothing waits")

    def workers(self) -> list[int]:
        return worker_pids(self.data_dir)

    def errors_in_stash(self) -> list[str]:
        return [line.text for line in self.stash.plugin_log if line.level in ("warning", "error")]


@pytest.fixture(scope="session")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plugins folder with PlexSync in it."""
    folder = tmp_path_factory.mktemp("stash") / "plugins"
    make_plugin(folder / "PlexSync")
    return folder


@pytest.fixture(autouse=True)
def quiet_environment(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def make_world(tmp_path: Path, plugins: Path) -> Iterator[Callable[..., World]]:
    """Makes the one world of a test, with a settings page that is in order; `{plex}` in `env` is Plex's address."""
    made: list[World] = []

    def make(env: Mapping[str, str] | None = None, **stash_options: Any) -> World:
        data_dir = tmp_path / "data"
        plex = PlexSimulator(token=TOKEN)
        plex.start()
        environment = {
            "STASH_PLUGIN_DATA": str(data_dir),
            "PLEXSYNC_IDLE_TIMEOUT": "600",
            "PLEXSYNC_TIME_SCALE": SCALE,
            **{key: value.replace("{plex}", plex.url) for key, value in (env or {}).items()},
        }
        stash = StashSimulator(plugins, env=environment, **stash_options)
        stash.start()
        made.append(World(stash, plex, plex.add_library("Scenes", ["/media"]), data_dir))
        made[-1].settings()
        return made[-1]

    yield make
    for world in made:
        end_workers(world.data_dir)
        world.stash.stop()
        world.plex.stop()
        assert world.stash.server.errors == []
        assert world.plex.server.errors == []
        left = world.data_dir / "worker.stderr"
        assert not left.exists() or left.read_bytes() == b""
        assert "Traceback" not in world.worker_log()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()
