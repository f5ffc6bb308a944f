"""PlexSync.yml passes Stash's strict parser, is complete and matches the script."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hooks.events import RELATED, RELATED_DESTROYED, SCENE_CREATE, SCENE_DESTROY, SCENE_UPDATE
from tasks.operations import OPERATIONS
from tests.harness.plugin import ROOT, run
from tests.simulators.stash import Manifest, load_manifest, load_plugins

BOOLEANS = (
    *(
        "enabled",
        "strict_matching",
        "preserve_plex_edits",
        "only_organized",
        "lock_fields",
        "trigger_plex_scan",
    ),
    *("sync_title", "sync_details", "sync_date", "sync_studio", "sync_performers", "sync_tags"),
    *("sync_collections", "sync_poster", "sync_rating", "repair_drift", "replace_lists"),
    "write_all_copies",
    *("stay", "plex_events", "title_without_performers", "performer_tags", "tag_parents"),
    *("sync_tagline", "sync_original_title", "sync_art", "keep_emoji"),
)
TEXTS = (
    *("plex_url", "plex_token", "plex_libraries", "path_mappings", "compare_at", "webhook_url"),
    *("title_template", "sort_title_template", "tag_rules", "studio_from", "collections_from"),
    *("collection_sort_title", "content_rating", "labels", "include_scenes", "exclude_scenes"),
)
WHOLE_NUMBERS = (
    *("max_retries", "plex_connect_timeout", "plex_read_timeout", "dlq_retention_days"),
    "max_tags",
)
#: Stash's settings page accepts whole numbers only, and 0.1 is a valid value.
FRACTIONS = ("poll_interval",)
#: Folders that are not part of a clone.
NOT_OURS = {".venv", ".git", "dependencies", "node_modules"}


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return load_manifest(ROOT / "PlexSync.yml")


def test_it_has_the_structure_that_stash_expects(manifest: Manifest) -> None:
    assert (manifest.id, manifest.name, manifest.interface) == ("PlexSync", "PlexSync", "raw")
    assert manifest.exec == ("python3", "{pluginDir}/PlexSync.py")
    assert manifest.err_log in ("", "error", "warning", "info", "debug", "trace", "none")
    assert manifest.description
    version = manifest.version or ""
    assert version.count(".") == 2
    assert version.replace(".", "").isdigit()


def test_it_is_the_only_manifest_in_the_repository() -> None:
    assert list(manifests(ROOT)) == [ROOT / "PlexSync.yml"]


def manifests(folder: Path) -> Iterator[Path]:
    """Yield manifests as Stash finds them, including upper-case extensions."""
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and entry.name not in NOT_OURS and not entry.is_symlink():
            yield from manifests(entry)
        elif entry.suffix.lower() == ".yml":
            yield entry


def test_stash_loads_it_from_a_clone_without_a_complaint(tmp_path: Path) -> None:
    complaints: list[str] = []
    folder = tmp_path / "plugins" / "PlexSync"
    folder.mkdir(parents=True)
    (folder / "PlexSync.yml").write_bytes((ROOT / "PlexSync.yml").read_bytes())
    plugins = load_plugins(tmp_path / "plugins", complaints.append)
    assert list(plugins) == ["PlexSync"]
    assert complaints == []


def test_exactly_the_known_settings_are_declared(manifest: Manifest) -> None:
    keys = [setting.key for setting in manifest.settings]
    assert sorted(keys) == sorted({*BOOLEANS, *TEXTS, *WHOLE_NUMBERS, *FRACTIONS})


def test_every_setting_has_a_suitable_type(manifest: Manifest) -> None:
    types = {setting.key: setting.type for setting in manifest.settings}
    assert {types[key] for key in BOOLEANS} == {"BOOLEAN"}
    assert {types[key] for key in (*TEXTS, *FRACTIONS)} == {"STRING"}
    assert {types[key] for key in WHOLE_NUMBERS} == {"NUMBER"}


def test_every_setting_has_a_description_and_its_default(manifest: Manifest) -> None:
    for setting in manifest.settings:
        assert setting.display_name.strip(), setting.key
        assert "Default: " in setting.description or "Required" in setting.description, setting.key
    names = [setting.display_name for setting in manifest.settings]
    assert len(set(names)) == len(names)


def test_defaults_and_ranges_in_the_texts_are_those_of_the_code(manifest: Manifest) -> None:
    from validation.config import validate_config

    config, _ = validate_config({"plex_url": "http://plex:32400", "plex_token": "t" * 20})
    assert config is not None
    texts = {setting.key: setting.description for setting in manifest.settings}
    for key in BOOLEANS:
        assert f"Default: {'on' if getattr(config, key) else 'off'}" in texts[key], key
    for key in (*WHOLE_NUMBERS, *FRACTIONS):
        default = getattr(config, key)
        shown = "no limit" if default is None else f"{default:g}"
        assert f"Default: {shown}." in texts[key], key


def test_only_events_that_affect_plex_run_a_hook(manifest: Manifest) -> None:
    triggers = [trigger for hook in manifest.hooks for trigger in hook.triggered_by]
    assert set(triggers) == {
        *(SCENE_UPDATE, SCENE_CREATE, SCENE_DESTROY),
        *RELATED,
        *RELATED_DESTROYED,
    }
    assert len(set(triggers)) == len(triggers), "each hook is a process more"
    assert all(hook.name and hook.description for hook in manifest.hooks)


def test_every_task_has_arguments_of_its_own(manifest: Manifest) -> None:
    assert "Sync recent scenes" in [task.name for task in manifest.tasks]
    assert all(task.description for task in manifest.tasks)
    arguments = [tuple(sorted(task.default_args.items())) for task in manifest.tasks]
    assert len(set(arguments)) == len(arguments)


def test_every_tasks_mode_is_known_to_the_script(manifest: Manifest, busy: Path) -> None:
    """`tests/end_to_end/test_operations.py` runs each task, `tests/release` the installation."""
    unknown = run(json.dumps({"args": {"mode": "no_such_task"}}).encode(), busy).error
    assert "no_such_task" in unknown
    modes = {task.default_args["mode"] for task in manifest.tasks}
    assert modes - {"install"} <= set(OPERATIONS)


def test_every_file_that_the_manifest_runs_exists(manifest: Manifest) -> None:
    for task in (None, *manifest.tasks, *manifest.hooks):
        words = manifest.command(task)
        assert os.path.isfile(words[1])
