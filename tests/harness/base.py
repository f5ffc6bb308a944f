"""The base harness: a Stash and a Plex with the same files, and PlexSync's settings."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from queue.operations import load_sync_timestamps
from tests.harness import results
from tests.harness.compare import differences, in_stash
from tests.simulators.httpd import FaultRule, Hang
from tests.simulators.plex import PlexItem, PlexLibrary, PlexSimulator
from tests.simulators.stash import Scene, StashSimulator

PLUGIN = "PlexSync"
TOKEN = "plex-token-0123456789abcdef"
#: Where Stash and Plex see the same files.
STASH_FOLDER, PLEX_FOLDER = "/data", "/media"
_SIZE = 100


def clock_time(moment: float) -> str:
    """Return the local time of day at a moment in epoch seconds, as the setting has it."""
    return time.strftime("%H:%M", time.localtime(moment))


class Harness:
    """Scenes in Stash, items in Plex, and PlexSync's data directory."""

    def __init__(
        self,
        stash: StashSimulator,
        plex: PlexSimulator,
        data_dir: Path,
        *,
        library: str = "Scenes",
        plex_folder: str = PLEX_FOLDER,
        settings: dict[str, Any] | None = None,
    ) -> None:
        """Add a library to Plex and fill in the settings page.

        Args:
            plex_folder: Plex's path of Stash's files.
            settings: further settings.
        """
        self.stash = stash
        self.plex = plex
        self.data_dir = data_dir
        self.plex_folder = plex_folder
        self.library: PlexLibrary = plex.add_library(library, [plex_folder])
        stash.library.folders = [STASH_FOLDER]
        self._usual = {
            "plex_url": plex.url,
            "plex_token": plex.token,
            "path_mappings": f"{STASH_FOLDER} => {plex_folder}",
            "compare_at": clock_time(time.time()),  # no test is in the middle of it
            **(settings or {}),
        }
        self.configure()

    def configure(self, **settings: Any) -> None:
        """Fill in the settings page: the test defaults with these changes; None removes one."""
        chosen = {**self._usual, **settings}
        self.stash.set_plugin_settings(
            PLUGIN, {key: value for key, value in chosen.items() if value is not None}
        )

    # --- scenes and items

    def hold_writes_after(self, count: int) -> FaultRule:
        """Have Plex take that many writes and hold the others, however late the test looks."""
        return self.plex.faults.add(
            Hang(), method="PUT", when=lambda request: len(self.plex.writes) >= count
        )

    def pair(self, name: str = "a", **scene: Any) -> tuple[Scene, PlexItem]:
        """Add a scene and the Plex item of the same file."""
        return self.add_scene(name, **scene), self.add_item(name)

    def pairs(self, count: int, **scene: Any) -> list[tuple[Scene, PlexItem]]:
        return [self.pair(f"file{number}", **scene) for number in range(count)]

    def add_scene(self, name: str = "a", **scene: Any) -> Scene:
        """Add a scene whose file Plex does not have."""
        files = [(f"{STASH_FOLDER}/{name}.mp4", _SIZE)]
        return self.stash.add_scene(**{"title": f"Title of {name}", "files": files, **scene})

    def add_item(self, name: str = "a", *, size: int = _SIZE, **item: Any) -> PlexItem:
        """Add the Plex item of a scene's file."""
        return self.plex.add_item(self.library, f"{self.plex_folder}/{name}.mp4", size=size, **item)

    def find_item(self, scene: Scene) -> PlexItem | None:
        return self.plex.find(scene.path.replace(STASH_FOLDER, self.plex_folder, 1))

    def item_of(self, scene: Scene) -> PlexItem:
        item = self.find_item(scene)
        assert item is not None
        return item

    def title(self, scene: Scene) -> str:
        """Return the title that Plex shows for a scene."""
        return self.item_of(scene).title

    # --- results

    def differences(self, scene: Scene) -> list[str]:
        """Return a line for each field that differs between Stash and Plex."""
        return differences(in_stash(self.stash, scene.id), self.find_item(scene))

    def letters(self) -> list[dict[str, Any]]:
        """Return the dead letters, the newest first."""
        return results.letters(self.data_dir)

    def synced_at(self, scene: Scene) -> float | None:
        return load_sync_timestamps(self.data_dir).get(scene.id)

    def worker_log(self) -> str:
        return results.worker_log(self.data_dir)
