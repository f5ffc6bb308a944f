"""The worker's lock: a file system without locks, a deleted lock file, an exchanged folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from queue.operations import get_stats, load_sync_timestamps
from tests.harness.base import PLUGIN
from tests.harness.installation import ProcessHarness
from tests.harness.processes import wait_until
from tests.isolation import search_path

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs flock")

#: Runs in each child, before anything else: the kernel of a file system without locks.
NO_LOCKS = """
import fcntl

def flock(descriptor, operation):
    raise OSError({number}, "no locks here")

fcntl.flock = flock
"""


@pytest.fixture(params=["ENOLCK", "EOPNOTSUPP", "ENOSYS"])
def without_locks(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ProcessHarness]:
    folder = tmp_path / "site"
    folder.mkdir()
    code = NO_LOCKS.format(number=getattr(errno, request.param))
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    with ProcessHarness(
        tmp_path, env={"PYTHONPATH": search_path(str(folder))}, settings={"sync_poster": False}
    ) as harness:
        yield harness


def test_a_file_system_without_locks_is_said_everywhere(without_locks: ProcessHarness) -> None:
    harness = without_locks
    scene, _ = harness.pair("a")
    run = harness.save(scene, "New")
    warnings = [line.text for line in run.log if line.level == "warning"]
    assert any("no file locks" in text and "STASH_PLUGIN_DATA" in text for text in warnings)
    for name, part in (
        ("Check setup", "no file locks"),
        ("Status", "can't run here"),
        ("Sync recent scenes", "no file locks"),
    ):
        harness.stash.run_task(PLUGIN, name).wait(240)
        texts = [line.text for line in harness.stash.plugin_log]
        assert any(part in text for text in texts), (name, texts)
    texts = [line.text for line in harness.stash.plugin_log]
    assert not any("all is well" in text or "Worker: running" in text for text in texts)
    assert get_stats(harness.data_dir)["pending"] == 1


def test_a_deleted_lock_file_leaves_one_worker(harness: ProcessHarness) -> None:
    scene, item = harness.pair("a")
    harness.save(scene, "One")
    harness.wait_for_title(item, "One")
    first = harness.worker
    (harness.data_dir / "worker.lock").unlink()
    harness.save(scene, "Two")
    harness.wait_for_title(item, "Two")
    wait_until(lambda: len(harness.workers()) == 1, harness.workers)
    wait_until(lambda: harness.workers() != [first], "the one that lost its lock has left")
    harness.save(scene, "Three")
    harness.wait_for_title(item, "Three")
    assert len(harness.workers()) == 1


def test_an_exchanged_data_directory_is_left_alone_by_the_old_worker(
    harness: ProcessHarness, tmp_path: Path
) -> None:
    scene, item = harness.pair("a")
    harness.save(scene, "One")
    harness.wait_for_title(item, "One")
    first = harness.worker
    harness.data_dir.rename(tmp_path / "before")
    harness.data_dir.mkdir(mode=0o700)
    wait_until(lambda: first not in harness.workers(), "the old worker's end")
    assert load_sync_timestamps(harness.data_dir) == {}, "nothing of the old one gets in"
    harness.save(scene, "Two")
    harness.wait_for_title(item, "Two")
    assert len(harness.workers()) == 1
