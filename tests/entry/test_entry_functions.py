"""The functions of PlexSync.py, called in this process, and importing it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import PlexSync
from hooks.events import EventError
from queue.operations import save_sync_timestamp
from tests.harness.plugin import ENTRY, ROOT, environment, install_plugin, save
from tests.harness.results import queued

UPDATE = {"id": 7, "type": "Scene.Update.Post", "input": {"title": "T"}, "inputFields": ["title"]}


@pytest.fixture(autouse=True)
def session_ends() -> Iterator[None]:
    yield
    PlexSync.shutdown()


@pytest.fixture
def here(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STASH_PLUGIN_DATA", str(data_dir))
    return data_dir


def python(code: str, home: Path, cwd: Path = ROOT) -> Any:
    """Run code in a fresh Python, by default in the project's root; return the JSON it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=environment(None, {"HOME": str(home)}),
        capture_output=True,
        timeout=240,
        check=True,
    )
    assert done.stderr == b""
    return json.loads(done.stdout)


def test_importing_has_no_side_effects(tmp_path: Path) -> None:
    home, plugin = tmp_path / "home", tmp_path / "plugin"
    home.mkdir()
    install_plugin(plugin)  # one of its own: other tests may leave files in the project's root
    before = sorted(os.listdir(plugin))
    loaded = python(
        "import sys; before = set(sys.modules)\n"
        "import PlexSync\n"
        "new = sorted(set(sys.modules) - before)\n"
        "import json, threading\n"
        "print(json.dumps([new, threading.active_count(), PlexSync._session]))",
        home,
        plugin,
    )
    assert loaded == [["PlexSync"], 1, None]
    assert os.listdir(home) == []
    assert sorted(name for name in os.listdir(plugin) if name != "__pycache__") == before


def test_importing_does_not_change_an_already_imported_queue_module(tmp_path: Path) -> None:
    assert python(
        "import sys, json; sys.path.reverse(); import queue as standard; sys.path.reverse()\n"
        "import PlexSync; before = hasattr(standard, '__path__')\n"
        "PlexSync.host_queue_package(); from queue.operations import enqueue\n"
        "print(json.dumps([before, sys.modules['queue'] is standard, enqueue.__module__]))",
        tmp_path,
    ) == [False, True, "queue.operations"]


def test_handle_hook_initializes_by_itself_and_queues(here: Path) -> None:
    assert PlexSync.handle_hook(UPDATE) == {"scene_id": 7, "queued": True}
    assert [job["data"] for job in queued(here)] == [{"title": "T"}]


def test_initialize_makes_the_data_directory_and_takes_any_settings(here: Path) -> None:
    shutil.rmtree(here)
    PlexSync.initialize({"plex_url": 5, "nonsense": [1]})
    assert here.is_dir()
    PlexSync.initialize()
    PlexSync.initialize({})
    assert PlexSync.handle_hook(UPDATE)["queued"] is True


def test_sync_timestamps_are_loaded_and_count(here: Path) -> None:
    save_sync_timestamp(here, 7, 2000.0)
    PlexSync.initialize()
    old = {**UPDATE, "input": {"title": "T", "updated_at": 1999}}
    new = {**UPDATE, "input": {"title": "T", "updated_at": 2001}}
    assert PlexSync.handle_hook(old) == {"scene_id": 7, "queued": False}
    assert PlexSync.handle_hook(new) == {"scene_id": 7, "queued": True}


def test_shutdown_works_at_any_time_and_the_next_event_starts_again(here: Path) -> None:
    PlexSync.shutdown()
    PlexSync.initialize()
    PlexSync.shutdown()
    PlexSync.shutdown()
    PlexSync.handle_hook(UPDATE)
    PlexSync.shutdown()
    assert PlexSync.handle_hook({**UPDATE, "id": 8})["queued"] is True
    # On a slow machine the first one was spooled, and comes later.
    assert sorted(job["scene_id"] for job in queued(here)) == [7, 8]


def test_a_wrong_event_raises_the_documented_error(here: Path) -> None:
    with pytest.raises(EventError):
        PlexSync.handle_hook({"type": "Tag.Create.Post", "id": 7})


def test_the_data_directory_is_made_and_absolute(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    monkeypatch.setenv("STASH_PLUGIN_DATA", os.path.join("relative", "data"))
    assert PlexSync.get_plugin_data_dir() == str(here / "relative" / "data")
    assert (here / "relative" / "data").is_dir()


@pytest.mark.parametrize(
    ("input_data", "expected"),
    [
        ({}, {}),
        ({"args": None, "pluginSettings": None, "server_connection": None}, {}),
        ({"args": [], "pluginSettings": "x", "server_connection": 5}, {}),
        (
            {"args": {"config": {"plex_url": "a", "strict_matching": False}}},
            {"plex_url": "a", "strict_matching": False},
        ),
        ({"args": {"config": None, "mode": "x"}}, {}),
        (
            {"pluginSettings": {"plex_url": "a", "max_retries": 3}},
            {"plex_url": "a", "max_retries": 3},
        ),
        (
            {"pluginSettings": {"PlexSync": {"plex_url": "a"}, "Other": {"plex_url": "b"}}},
            {"plex_url": "a"},
        ),
        (
            {"server_connection": {"plex_url": "a", "plex_token": "t"}},
            {"plex_url": "a", "plex_token": "t"},
        ),
        ({"args": {"config": {"plex_url": "  ", "plex_token": "", "enabled": None}}}, {}),
        (
            {"args": {"config": {"enabled": False, "max_retries": 0}}},
            {"enabled": False, "max_retries": 0},
        ),
    ],
)
def test_settings_are_found_anywhere_in_the_input(input_data: Any, expected: Any) -> None:
    assert PlexSync.extract_config_from_input(input_data) == expected


def test_the_connection_of_stash_is_not_a_setting() -> None:
    assert PlexSync.extract_config_from_input(json.loads(save())) == {}


def test_a_blank_value_does_not_hide_another_one() -> None:
    carried = {"args": {"config": {"plex_url": ""}}, "pluginSettings": {"plex_url": "a"}}
    assert PlexSync.extract_config_from_input(carried) == {"plex_url": "a"}


def test_the_environment_is_used_only_for_missing_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PLEX_URL", "http://environment:32400")
    monkeypatch.setenv("PLEX_TOKEN", "token-of-the-environment")
    extract = PlexSync.extract_config_from_input
    both = {"plex_url": "http://environment:32400", "plex_token": "token-of-the-environment"}
    assert extract({}) == both
    assert extract({"args": {"config": {"plex_url": "a"}}}) == {**both, "plex_url": "a"}
    assert extract({"pluginSettings": {"plex_token": " "}}) == both
    assert extract({"pluginSettings": {"plexHost": "old"}})["plexHost"] == "old"
    assert "plex_url" not in extract({"pluginSettings": {"plexHost": "old"}})


@pytest.mark.parametrize("blank", ["", "  "])
def test_blank_environment_variables_are_ignored(
    monkeypatch: pytest.MonkeyPatch, blank: str
) -> None:
    monkeypatch.setenv("PLEX_URL", blank)
    assert PlexSync.extract_config_from_input({}) == {}


def test_the_command_line_has_a_help_text(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        PlexSync.main(["--help"])
    assert left.value.code == 0
    assert "worker" in capsys.readouterr().out


def test_an_unknown_command_is_refused_without_a_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ENTRY), "dance"], capture_output=True, timeout=240, check=False
    )
    assert done.returncode == 2
    assert b"dance" in done.stderr
    assert b"Traceback" not in done.stderr
