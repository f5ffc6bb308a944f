"""Kill a process at every named point; the next process must finish its work."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from common.media import MediaFile
from common.sqlite import connect
from history.changes import UNDONE
from history.records import Agreement, Status
from history.store import FILE, History
from plex.exceptions import PlexNotFound
from queue.dlq import DeadLetterQueue
from queue.inbox import Inbox
from queue.operations import enqueue, load_sync_timestamps, save_sync_timestamp
from stash.connection import StashConnection, save_connection
from tests.harness.installation import ProcessHarness
from tests.harness.plugin import ENTRY, run
from tests.harness.processes import wait_until
from tests.harness.results import jobs_left
from tests.harness.size import some
from tests.simulators.httpd import ResetAfter
from tests.simulators.stash import Scene, events
from tests.soak.points import POINTS, Point, Trap, anywhere
from worker.commands import open_commands
from worker.reconcile.passes import FULL_ENDED
from worker.reconcile.quick import RAN_AT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL, which only POSIX has")

#: Kill at every point (`make soak` does), not only at some.
ALL = os.environ.get("PLEXSYNC_KILL_POINTS") == "all"
PATIENCE = 240.0
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(200))


class HistoryOnDisk(History):
    """The history, without a worker."""

    def close(self) -> None:
        self._db.close()

    def __init__(self, file: Path) -> None:
        super().__init__(connect(str(file)))


class KillPointHarness(ProcessHarness):
    """Run workers and hooks, kill them at a point, and run their successors."""

    def __init__(self, folder: Path) -> None:
        self.trap = Trap(folder)
        super().__init__(
            folder,
            env={
                **self.trap.environment,
                "PLEXSYNC_TIME_SCALE": "0.01",
                "PLEXSYNC_IDLE_TIMEOUT": "5",
            },
        )
        self.started_at = time.time()
        #: when scenes were changed: before the installation, so that no pass hides a lost job
        self.long_ago = self.started_at - 7 * 86_400.0
        self._stderr = folder / "stderr"
        self._processes: list[subprocess.Popen[bytes]] = []
        os.makedirs(self.data_dir, mode=0o700)
        save_connection(
            str(self.data_dir),
            StashConnection(events.server_connection(port=self.stash.server.port, cookie="")),
        )

    def add_scene(self, name: str = "a", **scene: Any) -> Scene:
        usual: dict[str, Any] = {
            "details": "Some details", "date": "2024-05-06", "studio": "Studio",
            "performers": ["Ann", "Bob"], "tags": ["One", "Two"], "groups": ["Series"],
            "cover": PNG, "updated_at": self.long_ago,
        }  # fmt: skip
        return super().add_scene(name, **{**usual, **scene})

    def enqueue(self, scene_id: int) -> None:
        inbox = Inbox(str(self.data_dir), lock_timeout=240)
        enqueue(inbox, scene_id, "metadata", {"title": True, "cover_image": True})
        inbox.close()

    def edit(self, scene: Scene, **fields: Any) -> None:
        self.stash.change_silently(scene.id, **fields, updated_at=self.long_ago)
        self.enqueue(scene.id)

    def run_worker(self) -> None:
        """Run a worker until nothing is left to do."""
        assert self.start_worker(idle=0.5).wait(PATIENCE) == 0, self.worker_log()

    def history(self) -> closing[HistoryOnDisk]:
        """Open the history. Only while no worker is alive."""
        return closing(HistoryOnDisk(self.data_dir / FILE))

    def make_passes_due(self) -> None:
        """Have the next worker begin with a quick pass, and go on with a full one."""
        with self.history() as history:
            history.set(RAN_AT, None)
            history.set(FULL_ENDED, None)

    def start_worker(self, idle: float) -> subprocess.Popen[bytes]:
        options = ["--data-dir", str(self.data_dir), "--idle-timeout", str(idle)]
        with self._stderr.open("ab") as stderr:
            process = subprocess.Popen(
                [sys.executable, str(ENTRY), "worker", *options],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        self._processes.append(process)
        return process

    def kill_worker_at(self, point: Point) -> None:
        """Run a worker that is killed at that point."""
        self.trap.arm(point)
        assert self.start_worker(0.2).wait(PATIENCE) == -signal.SIGKILL, self.worker_log()
        assert self.trap.reached()[-1:] == [point.name]

    def run_hook(self, scene: Scene) -> int:
        """Run a hook as Stash does after the commit of a save."""
        context = events.scene_update({"id": str(scene.id), "title": scene.title}, random.Random(0))
        stdin = json.dumps(self.stash.hook_input(context)).encode()
        return run(stdin, env=self.environment).exit_code

    def unfinished(self, scene: Scene) -> list[str]:
        """Return what is missing in Plex, a missing timestamp, and the jobs left."""
        found = self.differences(scene)
        if (self.synced_at(scene) or 0.0) < self.started_at:
            found.append("its timestamp is not saved")
        return found + self.jobs_left()

    def jobs_left(self) -> list[str]:
        try:
            left = jobs_left(self.data_dir)
        except sqlite3.DatabaseError as error:  # not yet in quarantine
            return [str(error)]
        return [f"{left} jobs are left"] if left else []

    def finish(self, scene: Scene) -> None:
        """Start a worker and wait until the scene is in sync."""
        self.start_worker(idle=30)
        self.wait(lambda: self.unfinished(scene))

    def wait(self, unfinished: Callable[[], list[str]]) -> None:
        wait_until(
            lambda: not unfinished(), lambda: f"{unfinished()}; {self.worker_log()}", PATIENCE
        )

    def worker_log(self) -> str:
        stderr = self._stderr.read_text(errors="replace") if self._stderr.exists() else ""
        return super().worker_log() + stderr

    def close(self) -> None:
        super().close()
        for process in self._processes:
            process.wait(PATIENCE)


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[KillPointHarness]:
    with KillPointHarness(tmp_path) as harness:
        yield harness
    harness.check()
    assert "database is locked" not in harness.worker_log()


def _points(situation: str) -> pytest.MarkDecorator:
    """Return the points of a situation; a few of them, unless all were asked for."""
    points = [point for point in POINTS.values() if point.situation == situation]
    if not ALL:
        points = some(points, 1 + len(points) // 11)
    return pytest.mark.parametrize("point", points, ids=lambda point: point.name.replace(" ", "-"))


@_points("sync")
def test_a_killed_sync_is_finished_by_the_next_worker(
    harness: KillPointHarness, point: Point
) -> None:
    scene, _ = harness.pair()
    harness.enqueue(scene.id)
    harness.kill_worker_at(point)
    harness.finish(scene)
    assert harness.letters() == []
    item = harness.item_of(scene)
    assert [poster.data for poster in item.posters] == [PNG]
    assert {write.rating_key for write in harness.plex.writes} == {item.rating_key}
    assert len(harness.plex.writes) == 1, "what Plex has already is not written again"
    # The written values count as ours, so removing them in Stash removes them in Plex.
    harness.edit(
        scene, details="", studio=None, date=None, tags=["Two"], performers=["Bob"], groups=[]
    )
    harness.wait(lambda: harness.unfinished(scene))


@pytest.mark.parametrize(
    "name",
    [
        "after the edit went to Plex",
        "after the planned write is saved",
        "before the read back is saved",
        *(("before the edit goes to Plex", "before the planned write is saved") if ALL else ()),
        *(("after the read back is saved",) if ALL else ()),
    ],
)
def test_values_removed_in_stash_after_a_kill_are_removed_in_plex(
    harness: KillPointHarness, name: str
) -> None:
    scene, _ = harness.pair()
    harness.enqueue(scene.id)
    harness.kill_worker_at(POINTS[name])
    harness.edit(scene, details="", studio=None, tags=["Two"], performers=["Bob"], groups=[])
    harness.finish(scene)


@pytest.mark.parametrize("name", ["after the edit went to Plex", "before the read back is saved"])
def test_a_second_edit_that_was_interrupted_counts_as_ours(
    harness: KillPointHarness, name: str
) -> None:
    scene, _ = harness.pair()
    harness.enqueue(scene.id)
    harness.start_worker(idle=0.2).wait(PATIENCE)
    harness.edit(scene, details="Others", tags=["Two", "Three"])
    harness.kill_worker_at(POINTS[name])
    harness.edit(scene, details="", tags=["Two"])
    harness.finish(scene)


def test_after_two_kills_in_a_row_our_values_still_count_as_ours(
    harness: KillPointHarness,
) -> None:
    scene, _ = harness.pair()
    harness.enqueue(scene.id)
    harness.kill_worker_at(POINTS["after the edit went to Plex"])
    harness.edit(
        scene, details="Others", studio="Another", tags=["Two", "Three"], performers=["Cleo"]
    )
    harness.kill_worker_at(POINTS["before the edit goes to Plex"])
    harness.edit(scene, details="", studio=None, tags=["Two"], performers=[])
    harness.finish(scene)


def test_an_edit_whose_response_was_lost_counts_as_ours(harness: KillPointHarness) -> None:
    scene, _ = harness.pair()
    harness.enqueue(scene.id)
    # as many as the client's quick retries
    harness.plex.faults.add(ResetAfter(), method="PUT", times=3)
    harness.finish(scene)
    harness.edit(scene, details="", studio=None, tags=["Two"])
    harness.wait(lambda: harness.unfinished(scene))


@_points("retry")
def test_a_retry_is_not_lost(harness: KillPointHarness, point: Point) -> None:
    scene = harness.add_scene()
    harness.enqueue(scene.id)
    harness.kill_worker_at(point)
    harness.add_item("a")
    harness.finish(scene)
    assert harness.letters() == []


@_points("dead")
def test_a_permanent_failure_leaves_one_dead_letter(
    harness: KillPointHarness, point: Point
) -> None:
    scene, _ = harness.pair(files=[])
    harness.enqueue(scene.id)
    harness.kill_worker_at(point)
    assert harness.letters() or harness.jobs_left(), "it must be in one of the two"
    harness.start_worker(idle=30)
    harness.wait(lambda: harness.jobs_left() or [] if harness.letters() else ["no letter"])
    assert [(letter["scene_id"], letter["error_type"]) for letter in harness.letters()] == [
        (scene.id, "PermanentError")
    ]


@_points("revive")
def test_a_scene_whose_file_appears_is_not_lost(harness: KillPointHarness, point: Point) -> None:
    scene, _ = harness.pair()
    files = (MediaFile("/data/a.mp4", 100),)
    error = PlexNotFound("no Plex item has the file")
    dlq = DeadLetterQueue(harness.data_dir)
    dlq.add({"scene_id": scene.id, "update_type": "metadata", "data": {}, "enqueued_at": 1.0,
             "job_key": f"scene_{scene.id}"}, error, 12)  # fmt: skip
    dlq.close()
    with harness.history() as history:
        history.save(Agreement(scene.id, Status.NOT_IN_PLEX, files=files, digest="before"))
    harness.kill_worker_at(point)
    assert harness.letters() or harness.jobs_left(), "it must be in one of the two"
    harness.make_passes_due()
    harness.finish(scene)
    assert harness.letters() == []


@_points("gone")
def test_a_scene_that_is_gone_is_forgotten(harness: KillPointHarness, point: Point) -> None:
    save_sync_timestamp(harness.data_dir, 77, harness.started_at)
    with harness.history() as history:
        history.save(Agreement(77, Status.IN_SYNC, synced_at=harness.started_at))
    harness.enqueue(77)
    harness.kill_worker_at(point)
    harness.start_worker(idle=30)
    harness.wait(
        lambda: harness.jobs_left() or [str(one) for one in load_sync_timestamps(harness.data_dir)]
    )
    assert harness.letters() == [] and harness.plex.writes == []


@_points("missed")
def test_a_missed_edit_is_found_again(harness: KillPointHarness, point: Point) -> None:
    scene, _ = harness.pair()
    harness.run_worker()
    harness.stash.change_silently(scene.id, title="Missed")
    harness.make_passes_due()
    harness.kill_worker_at(point)
    harness.make_passes_due()
    harness.finish(scene)
    assert harness.letters() == []


@_points("renamed")
def test_a_rename_is_found_again(harness: KillPointHarness, point: Point) -> None:
    scene, _ = harness.pair()
    harness.enqueue(scene.id)
    harness.run_worker()
    harness.stash.rename_silently("tag", "One", "Another")
    harness.make_passes_due()
    harness.kill_worker_at(point)
    harness.make_passes_due()
    harness.finish(scene)


@_points("drift")
def test_an_item_that_was_added_again_gets_its_values(
    harness: KillPointHarness, point: Point
) -> None:
    scene, item = harness.pair()
    harness.enqueue(scene.id)
    harness.run_worker()
    harness.plex.replace_item(item.path)
    harness.make_passes_due()
    harness.kill_worker_at(point)
    harness.make_passes_due()
    harness.finish(scene)


@_points("command")
def test_a_command_is_carried_out(harness: KillPointHarness, point: Point) -> None:
    scene, _ = harness.pair()
    with closing(open_commands(str(harness.data_dir))) as commands:
        command = commands.add("sync", {})
        harness.kill_worker_at(point)
        harness.finish(scene)
        harness.wait(lambda: [] if commands.result(command) is not None else ["no result"])


@_points("undo")
def test_an_undo_that_was_killed_is_finished_and_recorded_once(
    harness: KillPointHarness, point: Point
) -> None:
    scene = harness.add_scene()
    item = harness.add_item(genres=["There"])
    harness.plex.person_selects_poster(item.rating_key, b"a person's")
    item.locked.clear()
    before = (item.title, item.summary, item.year, set(item.genres), item.poster)
    harness.enqueue(scene.id)
    harness.run_worker()
    assert item.title == scene.title
    assert item.poster is not before[-1]
    with closing(open_commands(str(harness.data_dir))) as commands:
        command = commands.add("undo", {"scene_id": scene.id})
        harness.kill_worker_at(point)
        harness.run_worker()
        result = commands.result(command)
    assert result is not None
    assert result["reason"] is None
    assert (item.title, item.summary, item.year, set(item.genres), item.poster) == before
    assert item.locked == set()
    with harness.history() as history:
        (row,) = history.of_scene(scene.id)
        found = history.changes.of_scene(scene.id)
    undone = [one.field for one in found if one.cause == UNDONE]
    assert sorted(undone) == sorted(set(undone)), "each once"
    ours = [one for one in found if one.cause != UNDONE and one.field != "collection"]
    assert len(ours) == len(undone)
    assert all(one.undone_at for one in ours)
    assert {*row.held_fields} == {one.field for one in found}
    assert row.verify_at is None


@_points("upgrade")
def test_records_of_version_0_1_are_taken_over(harness: KillPointHarness, point: Point) -> None:
    scene = harness.add_scene(details="", tags=["Two"])
    item = harness.add_item(summary="From 0.1", locked=["summary"])
    other, _ = harness.pair("b")
    save_sync_timestamp(harness.data_dir, scene.id, harness.started_at - 1.0)
    _write_old_history(harness.data_dir, scene.id, item.rating_key, {"summary": "From 0.1"})
    harness.kill_worker_at(point)
    harness.enqueue(scene.id)
    harness.finish(scene)
    assert harness.find_item(other) is not None and harness.title(other) != other.title


@pytest.mark.parametrize(
    "nth",
    [300, 1_000, 2_000, 3_500, 5_000, 7_000, 9_000, 12_000] if ALL else [1_000, 5_000],
)
def test_a_sync_that_was_killed_anywhere_is_finished(harness: KillPointHarness, nth: int) -> None:
    scene, _ = harness.pair()
    harness.enqueue(scene.id)
    harness.trap.arm(anywhere(nth))
    assert harness.start_worker(0.2).wait(PATIENCE) in (0, -signal.SIGKILL)
    harness.finish(scene)
    assert len(harness.plex.writes) == 1


@_points("damage")
def test_a_job_in_a_damaged_database_is_salvaged(harness: KillPointHarness, point: Point) -> None:
    scene, _ = harness.pair()
    harness.enqueue(scene.id)
    _damage(Path(harness.data_dir, "queue", "data.db"))
    harness.kill_worker_at(point)
    harness.finish(scene)
    assert len(list(Path(harness.data_dir, "queue").glob("data.db.broken-*.carried"))) == 1
    assert harness.letters() == []


@_points("row")
def test_a_row_that_holds_no_job_stops_no_other_and_its_scene_is_compared(
    harness: KillPointHarness, point: Point
) -> None:
    scenes = [harness.pair(name)[0] for name in "ab"]
    for scene in scenes:
        harness.enqueue(scene.id)
    harness.run_worker()
    for scene in scenes:
        harness.edit(scene, title=f"New title of {scene.id}")
    with closing(sqlite3.connect(Path(harness.data_dir, "queue", "data.db"))) as queue:
        queue.execute(
            "UPDATE ack_queue_default SET data = '[]' WHERE CAST(data AS TEXT) LIKE '%\"scene_1\"%'"
        )
        queue.commit()
    harness.kill_worker_at(point)
    for scene in scenes:
        harness.finish(scene)
    assert harness.letters() == []


@_points("hook")
def test_an_edit_whose_hook_was_killed_is_synced(harness: KillPointHarness, point: Point) -> None:
    Path(harness.data_dir, "notices.jsonl").write_text('["info", "Something to say"]\n')
    (scene, _), (other, _) = (harness.pair(name) for name in "ab")
    harness.run_worker()
    for one in (scene, other):
        harness.stash.change_silently(one.id, title=f"New title of {one.id}")
    harness.trap.arm(point)
    assert harness.run_hook(scene) == -signal.SIGKILL
    assert harness.trap.reached() == [point.name]
    assert harness.run_hook(other) == 0  # its worker finds the first by a pass
    harness.wait(lambda: harness.unfinished(scene) + harness.unfinished(other))
    assert harness.letters() == []


def _write_old_history(
    data_dir: Path, scene_id: int, rating_key: int, fields: dict[str, Any]
) -> None:
    """Write the history of version 0.1."""
    with closing(sqlite3.connect(data_dir / "memory.db")) as connection, connection:
        connection.execute(
            "CREATE TABLE written (scene_id INTEGER PRIMARY KEY, rating_key INTEGER, fields TEXT,"
            " pending TEXT, cover TEXT, cover_source TEXT)"
        )
        connection.execute("CREATE TABLE choices (scene_id INTEGER, rating_key INTEGER)")
        connection.execute(
            "INSERT INTO written VALUES (?, ?, ?, NULL, NULL, NULL)",
            (scene_id, rating_key, json.dumps(fields)),
        )


def _damage(database: Path) -> None:
    """Overwrite an index; the table stays readable."""
    connection = sqlite3.connect(database)
    size = connection.execute("PRAGMA page_size").fetchone()[0]
    page = connection.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = 'due_jobs'"
    ).fetchone()[0]
    connection.close()
    content = bytearray(database.read_bytes())
    content[(page - 1) * size : page * size] = b"\xaa" * size
    database.write_bytes(content)
