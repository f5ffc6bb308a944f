"""Plugins of the same id are found wherever Stash looks for plugins."""

from __future__ import annotations

from pathlib import Path

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
