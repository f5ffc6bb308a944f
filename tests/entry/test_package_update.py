"""An update of PlexSync that needs other packages: said at the next save and task."""

from __future__ import annotations

from pathlib import Path

import pytest

import common.layout as layout
from tests.harness.plugin import install_plugin, run, save
from tests.harness.processes import worker_pids
from tests.harness.results import queued


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    return install_plugin(tmp_path / "plugins" / "PlexSync")


def installed(entry: Path, *names: str) -> None:
    """Install packages of these versions, as far as their folders say."""
    for name in names:
        (entry.parent / "dependencies" / f"{name}.dist-info").mkdir(parents=True)


@pytest.mark.parametrize("old", ["plexapi-4.15.0", "PlexAPI-4.17.1", "PlexAPI-5.0"])
def test_a_save_queues_and_says_so(entry: Path, data_dir: Path, old: str) -> None:
    installed(entry, old, "persist_queue-1.0.0", "pydantic-2.9.2", "requests-2.32.3")
    answer = run(save(), data_dir, entry=entry)
    assert "the edit is queued, but this version of PlexSync needs other" in answer.error
    assert f"plexapi {old.partition('-')[2]} (needed: >=4.17.2,<5)" in answer.error
    assert "pydantic" not in answer.error
    assert "Install dependencies" in answer.error
    assert len(queued(data_dir)) == 1
    assert worker_pids(data_dir) == []


def test_a_task_says_so(entry: Path, data_dir: Path) -> None:
    installed(entry, "pydantic-1.10.0")
    answer = run(b'{"args": {"mode": "sync_recent"}}', data_dir, entry=entry)
    assert "pydantic 1.10.0" in answer.error


@pytest.mark.parametrize("names", [(), ("PlexAPI-4.17.2", "pydantic-2.12.1"), ("other-1.0",)])
def test_packages_that_fit_are_used(entry: Path, data_dir: Path, names: tuple[str, ...]) -> None:
    installed(entry, *names)
    assert layout.is_ready(str(data_dir), ())
    assert run(save(), data_dir, entry=entry).output["queued"] is True
