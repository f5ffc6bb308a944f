"""Plugins of the same id are found wherever Stash looks for plugins."""

from __future__ import annotations

from pathlib import Path

from stash.connection import StashConnection, save_connection
from tasks.copies import other_copies


def _plugin(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "PlexSync.yml").write_text("name: PlexSync\n")
    return folder


def test_a_copy_of_another_package_source_is_found_in_a_folder_of_ones_own(tmp_path: Path) -> None:
    plugins = tmp_path / "my plugins"
    own = _plugin(plugins / "stable" / "PlexSync")
    other = _plugin(plugins / "community" / "plexsync")
    data = tmp_path / "data"
    assert other_copies(str(data), str(own), str(plugins)) == [str(other)]
    assert other_copies(str(data), str(own), "") == []


def test_no_folder_of_ours_is_another(tmp_path: Path) -> None:
    """Stash may have run one copy before, and a shell another one now."""
    plugins, data = tmp_path / "plugins", tmp_path / "data"
    before, own = _plugin(plugins / "a" / "PlexSync"), _plugin(plugins / "b" / "PlexSync")
    data.mkdir()
    save_connection(str(data), StashConnection({"PluginDir": str(before)}))
    assert other_copies(str(data), str(own), str(plugins)) == []
