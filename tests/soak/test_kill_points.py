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
from pathlib import Path
from typing import Any

import pytest

from plex.exceptions import PlexNotFound
from queue.dlq import DeadLetterQueue
from queue.inbox import Inbox
from queue.operations import enqueue, load_sync_timestamps, save_sync_timestamp
from stash.connection import StashConnection, save_connection
from tests.harness.installation import ProcessHarness
from tests.harness.plugin import ENTRY, run
from tests.harness.processes import wait_until
from tests.harness.results import jobs_left
from tests.simulators.httpd import ResetAfter
from tests.simulators.stash import Scene, events
from tests.soak.points import POINTS, Point, Trap

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL, which only POSIX has")

PATIENCE = 240.0
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(200))
_RECENTLY = 3_600.0


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
        #: when scenes were changed: too long ago for the catch-up, which would hide a lost job
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
        inbox = Inbox(str(self.data_dir))
        enqueue(inbox, scene_id, "metadata", {"title": True, "cover_image": True})
        inbox.close()

    def edit(self, scene: Scene, **fields: Any) -> None:
        self.stash.change_silently(scene.id, **fields, updated_at=self.long_ago)
        self.enqueue(scene.id)

    def write_watermark(self, moment: float) -> None:
        """Write the watermark of a catch-up that last ran at that moment."""
        folder = self.data_dir / "queue"
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "catch_up.json").write_text(json.dumps({"seen_until": moment}))

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
        # The maintenance of an idle worker runs only until the idle timeout.
        idle = 10.0 if point.situation in ("missed", "revive") else 0.2
        assert self.start_worker(idle).wait(PATIENCE) == -signal.SIGKILL, self.worker_log()
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
    points = [point for point in POINTS.values() if point.situation == situation]
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
        "before the edit goes to Plex",
        "after the edit went to Plex",
        "before the pending write is saved",
        "after the pending write is saved",
        "before the finished write is saved",
        "after the finished write is saved",
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


@pytest.mark.parametrize(
    "name", ["after the edit went to Plex", "before the finished write is saved"]
)
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
def test_a_requeued_dead_letter_is_not_lost(harness: KillPointHarness, point: Point) -> None:
    scene, _ = harness.pair()
    error = PlexNotFound("no Plex item has the file")
    error.details = {"files": [["/data/a.mp4", 100]]}
    dlq = DeadLetterQueue(harness.data_dir)
    dlq.add({"scene_id": scene.id, "update_type": "metadata", "data": {}, "enqueued_at": 1.0,
             "job_key": f"scene_{scene.id}"}, error, 12)  # fmt: skip
    dlq.close()
    harness.kill_worker_at(point)
    assert harness.letters() or harness.jobs_left(), "it must be in one of the two"
    harness.finish(scene)
    assert harness.letters() == []


@_points("gone")
def test_a_scene_that_is_gone_is_forgotten(harness: KillPointHarness, point: Point) -> None:
    save_sync_timestamp(harness.data_dir, 77, time.time())
    harness.enqueue(77)
    harness.kill_worker_at(point)
    harness.start_worker(idle=30)
    harness.wait(harness.jobs_left)
    assert load_sync_timestamps(harness.data_dir) == {}
    assert harness.letters() == [] and harness.plex.writes == []


@_points("missed")
def test_a_missed_edit_is_found_again(harness: KillPointHarness, point: Point) -> None:
    harness.write_watermark(time.time() - _RECENTLY)
    scene, _ = harness.pair(updated_at=time.time())
    harness.kill_worker_at(point)
    harness.finish(scene)
    assert harness.letters() == []


@_points("damage")
def test_a_job_in_a_damaged_database_is_salvaged(harness: KillPointHarness, point: Point) -> None:
    scene, _ = harness.pair()
    harness.enqueue(scene.id)
    _damage(Path(harness.data_dir, "queue", "data.db"))
    harness.kill_worker_at(point)
    harness.finish(scene)
    assert len(list(Path(harness.data_dir, "queue").glob("data.db.broken-*.carried"))) == 1
    assert harness.letters() == []


@_points("hook")
def test_an_edit_whose_hook_was_killed_is_synced(harness: KillPointHarness, point: Point) -> None:
    harness.write_watermark(time.time() - _RECENTLY)
    Path(harness.data_dir, "notices.jsonl").write_text('["info", "Something to say"]\n')
    (scene, _), (other, _) = (harness.pair(name, updated_at=time.time()) for name in "ab")
    harness.trap.arm(point)
    assert harness.run_hook(scene) == -signal.SIGKILL
    assert harness.trap.reached() == [point.name]
    assert harness.run_hook(other) == 0
    harness.wait(lambda: harness.unfinished(scene) + harness.unfinished(other))
    assert harness.letters() == []


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
