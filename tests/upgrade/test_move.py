"""The data directory of an older version is in another place: it is moved, and nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import common.layout as layout
import worker.migration as migration
from common.data_dir import owner_of
from queue.dlq import DeadLetterQueue
from queue.manager import QueueManager
from queue.models import create_sync_job
from queue.operations import enqueue
from queue.spool import spool
from stash.connection import StashConnection, save_connection
from tests.harness.clock import FakeClock
from tests.harness.installation import ProcessHarness
from tests.harness.processes import wait_until
from tests.harness.results import queued
from tests.harness.size import some
from tests.upgrade import old_data
from tests.upgrade.harness import dump
from tests.upgrade.test_kill_points import NOW, STRIDE, files, killed_at
from tests.upgrade.test_processes import is_settled, process
from worker.bootstrap import make_ready
from worker.process import WorkerLock
from worker.reporter import Reporter
from worker.upgrade import open_history

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

IN_CONFIG = Path("plugins", "PlexSync", "data")
#: The lines of these files are the steps between which a start is killed.
_STEPS = ("worker/migration.py", "common/layout.py")


def ignore(level: str, text: str) -> None:
    pass


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no other file system here")
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


def of_version_0_1(place: Path, stash: Path) -> None:
    """Restore a data directory of version 0.1 that belongs to the Stash of this folder."""
    old_data.restore(place)
    connection = json.loads((place / "connection.json").read_text())
    connection["server_connection"]["Dir"] = str(stash)
    (place / "connection.json").write_text(json.dumps(connection))


def hooked(stash: Path, scene_id: int = 4711) -> Path:
    """Do what the first hook of this version does; return the new data directory."""
    place = stash / IN_CONFIG
    place.mkdir(parents=True, exist_ok=True)
    save_connection(str(place), StashConnection({"Dir": str(stash)}))
    spool(str(place / "queue"), create_sync_job(scene_id, "metadata", {"title": True}))
    return place


def start(place: Path) -> None:
    """Open the data directory as a starting worker does, and leave."""
    make_ready(str(place), "unused", ignore)
    with (
        closing(DeadLetterQueue(place)) as dlq,
        open_history(str(place), dlq, Reporter(), FakeClock(NOW)),
    ):
        pass


def state(place: Path) -> tuple[object, object, object]:
    """Return what the data directory says."""
    queue = [(job["job_key"], job["data"]) for job in queued(place)]
    names = {name for name in files(place) if not name.startswith("queue/")}
    return dump(place), sorted(queue, key=repr), names


def in_home(folder: Path) -> Path:
    return folder / ".stash" / IN_CONFIG


def test_it_is_moved_with_all_that_it_knows(tmp_path: Path, home: Path) -> None:
    stash = tmp_path / "stash"
    of_version_0_1(in_home(home), stash)
    of_version_0_1(tmp_path / "model", stash)
    place = hooked(stash)
    start(place)
    start(tmp_path / "model")
    assert dump(place) == dump(tmp_path / "model")
    jobs = {job["job_key"] for job in queued(place)}
    assert jobs == {*(job["job_key"] for job in queued(tmp_path / "model")), "scene_4711"}
    assert not in_home(home).exists(), "nothing is left there"
    assert owner_of(str(place)) == str(stash)
    steps = [step["step"] for step in layout.load(str(place))["steps"]]
    assert steps == ["move begun", "moved", "up to date"]


def test_the_folder_beside_the_script_is_moved_too(tmp_path: Path, home: Path) -> None:
    stash = tmp_path / "stash"
    plugin = stash / "plugins" / "community" / "PlexSync"
    of_version_0_1(plugin / "data", stash)
    place = hooked(stash)
    server = {"Dir": str(stash), "PluginDir": str(plugin)}
    save_connection(str(place), StashConnection(server))
    start(place)
    assert (place / "memory.db.imported").exists()
    assert not (plugin / "data").exists()


def test_that_of_another_stash_stays_where_it_is(tmp_path: Path, home: Path) -> None:
    of_version_0_1(in_home(home), tmp_path / "another")
    before = files(in_home(home))
    place = hooked(tmp_path / "stash")
    start(place)
    assert files(in_home(home)) == before
    assert not (place / "memory.db.imported").exists()


def test_a_place_that_is_also_another_stashs_own_is_copied(tmp_path: Path, home: Path) -> None:
    """Both used it; which record is whose is not known. Each goes on with all of them."""
    stash = tmp_path / "stash"
    of_version_0_1(in_home(home), stash)
    (home / ".stash" / "config.yml").touch()
    before = files(in_home(home))
    place = hooked(stash)
    start(place)
    assert files(in_home(home)) == before
    assert (place / "memory.db.imported").exists()
    assert {job["job_key"] for job in queued(place)} > {"scene_4711"}
    start(place)
    assert files(in_home(home)) == before


def test_a_directory_in_use_is_not_overwritten(tmp_path: Path, home: Path) -> None:
    stash = tmp_path / "stash"
    of_version_0_1(in_home(home), stash)
    place = hooked(stash)
    (place / "sync_timestamps.json").write_text("{}")
    start(place)
    assert (in_home(home) / "memory.db").exists()
    assert not (place / "memory.db.imported").exists()


def test_a_queue_that_another_program_began_here_is_kept(tmp_path: Path, home: Path) -> None:
    stash = tmp_path / "stash"
    of_version_0_1(in_home(home), stash)
    waiting = {job["job_key"] for job in queued(in_home(home))}
    place = hooked(stash)
    with QueueManager(place) as queue:
        enqueue(queue, 815, "metadata", {"title": True})
    start(place)
    with QueueManager(place, auto_resume=True):
        pass
    jobs = {job["job_key"] for job in queued(place)}
    assert jobs == {*waiting, "scene_815", "scene_4711"}


@pytest.mark.parametrize(
    ("way", "system"), some([("moved", "same"), ("moved", "other"), ("copied", "same")], 1)
)
def test_a_move_that_is_killed_anywhere_is_made_good(
    tmp_path: Path, home: Path, way: str, system: str, request: pytest.FixtureRequest
) -> None:
    base = request.getfixturevalue("far") if system == "other" else tmp_path

    def prepare(name: str) -> Path:
        stash = base / name
        shutil.rmtree(in_home(home), ignore_errors=True)
        of_version_0_1(in_home(home), stash)
        if way == "copied":
            (home / ".stash" / "config.yml").touch()
        return hooked(stash)

    def action(place: Path) -> Callable[[], None]:
        return lambda: make_ready(str(place), "unused", ignore)

    whole = prepare("whole")
    start(whole)
    expected = state(whole)
    step, kills = 0, 0
    while True:
        place = prepare(f"killed-{step}")
        is_killed = killed_at(step, action(place), _STEPS)
        kills += is_killed
        start(place)
        assert state(place) == expected, step
        start(place)
        assert state(place) == expected, step
        assert (in_home(home) / "memory.db").exists() == (way == "copied"), step
        shutil.rmtree(place.parents[2])
        if not is_killed:
            break
        step += STRIDE
    assert kills > 40 / STRIDE


def test_its_worker_is_asked_to_leave_first(tmp_path: Path, home: Path) -> None:
    stash = tmp_path / "stash"
    of_version_0_1(in_home(home), stash)
    place = hooked(stash)
    lock = str(in_home(home) / "worker.lock")
    with process(tmp_path, "worker", "hold", lock) as old_worker:
        start(place)
        assert old_worker.wait(240) == 15
    assert (place / "memory.db.imported").exists()


def test_hooks_spool_while_its_worker_does_not_leave(tmp_path: Path, home: Path) -> None:
    stash = tmp_path / "stash"
    of_version_0_1(in_home(home), stash)
    place = hooked(stash)
    there = WorkerLock(str(in_home(home)))  # a frozen process, say
    assert there.acquire()
    starting = threading.Thread(target=start, args=(place,))
    starting.start()
    wait_until(lambda: layout.FILE not in os.listdir(place), "it waits")
    assert (in_home(home) / "memory.db").exists()
    there.release()
    starting.join(240)
    assert (place / "memory.db.imported").exists()


def test_a_save_after_the_upgrade_brings_everything_along(tmp_path: Path, home: Path) -> None:
    """Real processes: the first hook spools, its worker moves, takes over and syncs."""
    later = old_data.since_left()
    stash = tmp_path / "stash"
    (stash / "plugins").mkdir(parents=True)
    old_data.restore(in_home(home), later)
    connection = json.loads((in_home(home) / "connection.json").read_text())
    connection["server_connection"]["Dir"] = str(stash)
    (in_home(home) / "connection.json").write_text(json.dumps(connection))
    with ProcessHarness(
        stash,
        data_dir=stash / IN_CONFIG,
        settings=old_data.expected(later)["settings"],
        env={"STASH_PLUGIN_DATA": "", "HOME": str(home)},
    ) as harness:
        old_data.populate(harness.stash, harness.plex, later)
        there = old_data.expected(later)
        item = harness.plex.item(there["items"]["9"])
        harness.save(harness.stash.scene(9), "Saved after the upgrade")
        harness.wait_for_title(item, "Saved after the upgrade")
        wait_until(lambda: is_settled(harness), lambda: harness.worker_log()[-3000:])
        assert (harness.data_dir / "memory.db.imported").exists()
        assert not in_home(home).exists()
        assert harness.errors_in_stash() == []
    harness.check()


def test_a_folder_that_the_variable_names_later_gets_the_files_and_back(
    tmp_path: Path, home: Path
) -> None:
    """README, "Backup and moving"."""
    stash, there = tmp_path / "stash", tmp_path / "there"
    for step, (data_dir, variable) in enumerate(
        [(stash / IN_CONFIG, ""), (there, str(there)), (stash / IN_CONFIG, "")]
    ):
        with ProcessHarness(
            stash,
            data_dir=data_dir,
            plugins=stash / "plugins" if step else None,
            keeps_note=True,
            env={"STASH_PLUGIN_DATA": variable, "HOME": str(home)},
        ) as harness:
            scene, item = harness.pair()
            harness.save(scene, f"Saved {step}")
            harness.wait_for_title(item, f"Saved {step}")
            harness.wait_for_empty_queue()
            markers = [place / "installed.json" for place in (stash / IN_CONFIG, there)]
            assert [file.exists() for file in markers] == [step != 1, step == 1]
        harness.check()
    steps = [step["step"] for step in layout.load(str(stash / IN_CONFIG))["steps"]]
    assert "moved" in steps


def test_two_stashes_with_one_home_sync_to_their_own_plex(tmp_path: Path, home: Path) -> None:
    """Their scenes have the same ids: an edit of one was answered from the other's records."""
    env = {"STASH_PLUGIN_DATA": "", "HOME": str(home)}
    one, two = tmp_path / "one", tmp_path / "two"
    with (
        ProcessHarness(one, data_dir=one / IN_CONFIG, env=env) as first,
        ProcessHarness(two, data_dir=two / IN_CONFIG, env=env) as second,
    ):
        scenes = [harness.pair() for harness in (first, second)]
        assert scenes[0][0].id == scenes[1][0].id
        for harness, (scene, item), title in zip((first, second), scenes, "AB", strict=True):
            harness.save(scene, title)
            harness.wait_for_title(item, title)
        for harness, (scene, item), title in zip((first, second), scenes, "CD", strict=True):
            harness.save(scene, title)
            harness.wait_for_title(item, title)
        assert [item.title for _, item in scenes] == ["C", "D"]
    first.check()
    second.check()


def test_a_file_from_another_file_system_is_on_disk_before_the_old_one_goes(
    tmp_path: Path, disk: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "old", tmp_path / "new"
    source.write_text("all that there is", encoding="utf-8")

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "rename", refuse)
    seen: list[bool] = []
    unlink = os.unlink

    def recorded_unlink(path: str) -> None:
        if path == str(source):
            new, folder = target.stat().st_ino, tmp_path.stat().st_ino
            seen.append(disk == [("fsync", new), ("rename", new), ("fsync", folder)])
        unlink(path)

    monkeypatch.setattr(os, "unlink", recorded_unlink)
    migration._move(str(source), str(target))
    assert seen == [True]
    assert target.read_text(encoding="utf-8") == "all that there is"
