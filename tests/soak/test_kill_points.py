"""A process is killed at every named point of its work; the next one must bring everything to its end."""

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

import PlexSync
from plex.exceptions import PlexNotFound
from queue.dlq import DeadLetterQueue
from queue.inbox import Inbox
from queue.operations import enqueue, get_stats, load_sync_timestamps, save_sync_timestamp
from stash.connection import StashConnection, save_connection
from tests.demo.compare import differences, in_stash
from tests.demo.processes import stop_workers
from tests.demo.world import install_plugin
from tests.simulators.httpd import ResetAfter
from tests.simulators.plex import PlexItem, PlexSimulator
from tests.simulators.stash import Scene, StashSimulator, events
from tests.soak.points import POINTS, Point, Trap

pytestmark = pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a matter of POSIX")

TOKEN = "kill-point-token-0123456789"
PATIENCE = 240.0
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(200))
_RECENTLY = 3_600.0


class Site:
    """Stash, Plex, a data directory, and the worker processes that were started on it."""

    def __init__(
        self,
        folder: Path,
        plex: PlexSimulator,
        stash: StashSimulator,
        trap: Trap,
        environ: dict[str, str],
    ):
        self.folder = folder
        self.data_dir = str(folder / "data")
        self.plex, self.stash, self.trap = plex, stash, trap
        self.environ = environ
        self.library = plex.add_library("Films", locations=["/media"])
        self.started_at = time.time()
        #: when scenes were changed: so the catch-up does not see it, and can't make up for a job that was lost
        self.long_ago = self.started_at - 7 * 86_400.0
        self._processes: list[subprocess.Popen[bytes]] = []
        stash.set_plugin_settings(
            "PlexSync",
            {
                "plex_url": plex.url,
                "plex_token": TOKEN,
                "path_mappings": "/data => /media",
                "poll_interval": "0.1",
            },
        )
        os.makedirs(self.data_dir, mode=0o700)
        save_connection(
            self.data_dir,
            StashConnection(events.server_connection(port=stash.server.port, cookie="")),
        )

    def add(self, name: str = "a", *, in_plex: bool = True, **fields: Any) -> Scene:
        usual: dict[str, Any] = {
            "title": f"Title of {name}", "details": "Some details", "date": "2024-05-06", "studio": "Studio",
            "performers": ["Ann", "Bob"], "tags": ["One", "Two"], "groups": ["Series"], "cover": PNG,
            "files": [(f"/data/{name}.mp4", 100)], "updated_at": self.long_ago,
        }  # fmt: skip
        if in_plex:
            self.plex.add_item(self.library, f"/media/{name}.mp4", size=100)
        return self.stash.add_scene(**{**usual, **fields})

    def enqueue(self, scene_id: int) -> None:
        inbox = Inbox(self.data_dir)
        enqueue(inbox, scene_id, "metadata", {"title": True, "cover_image": True})
        inbox.close()

    def edit(self, scene: Scene, **fields: Any) -> None:
        self.stash.change_silently(scene.id, **fields, updated_at=self.long_ago)
        self.enqueue(scene.id)

    def watch_from(self, moment: float) -> None:
        """The catch-up has looked until then."""
        folder = Path(self.data_dir, "queue")
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "catch_up.json").write_text(json.dumps({"seen_until": moment}))

    # -- processes --

    def start_worker(self, idle: float) -> subprocess.Popen[bytes]:
        command = [
            PlexSync.SCRIPT,
            "worker",
            "--data-dir",
            self.data_dir,
            "--idle-timeout",
            str(idle),
        ]
        with open(self.folder / "stderr", "ab") as stderr:
            process = subprocess.Popen(
                [sys.executable, *command],
                env=self.environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
            )  # fmt: skip
        self._processes.append(process)
        return process

    def killed_at(self, point: Point) -> None:
        """Run a worker that dies there."""
        self.trap.lay(point)
        # What a worker does without a job it does only until it is idle for so long.
        idle = 10.0 if point.situation in ("missed", "revive") else 0.2
        assert self.start_worker(idle).wait(PATIENCE) == -signal.SIGKILL, self.log()
        assert self.trap.sprung()[-1:] == [point.name]

    def run_hook(self, scene: Scene) -> int:
        """A hook as Stash runs it, for a save that has just been committed."""
        context = events.scene_update({"id": str(scene.id), "title": scene.title}, random.Random(0))
        stdin = json.dumps(self.stash.hook_input(context)).encode()
        return subprocess.run(
            [sys.executable, PlexSync.SCRIPT],
            input=stdin,
            env=self.environ,
            capture_output=True,
            timeout=PATIENCE,
        ).returncode

    def stop(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        for process in self._processes:
            process.wait(PATIENCE)
        assert stop_workers(self.data_dir)

    # -- what became of it --

    def item(self, scene: Scene) -> PlexItem:
        item = self.plex.find(scene.path.replace("/data/", "/media/"))
        assert item is not None
        return item

    def differences(self, scene: Scene) -> list[str]:
        return differences(in_stash(self.stash, scene.id), self.item(scene))

    def unfinished(self, scene: Scene) -> list[str]:
        """What is still to be done for a scene: nothing, when Plex shows it, on disk it is said, and no job is left."""
        found = self.differences(scene)
        if load_sync_timestamps(self.data_dir).get(scene.id, 0.0) < self.started_at:
            found.append("its timestamp is not saved")
        return found + self.jobs_left()

    def jobs_left(self) -> list[str]:
        try:
            stats = get_stats(self.data_dir)
        except sqlite3.DatabaseError as error:  # nobody has set it aside yet
            return [str(error)]
        left = stats["pending"] + stats["in_progress"]
        return [f"{left} jobs are left"] if left else []

    def letters(self) -> list[dict[str, Any]]:
        dlq = DeadLetterQueue(self.data_dir)
        try:
            return dlq.get_recent(100)
        finally:
            dlq.close()

    def wait(self, unfinished: Callable[[], list[str]]) -> None:
        deadline = time.monotonic() + PATIENCE
        while (left := unfinished()) and time.monotonic() < deadline:
            time.sleep(0.03)
        assert left == [], self.log()  # it was so at one moment; the worker may look again later

    def log(self) -> str:
        return "".join(
            path.read_text(errors="replace")
            for path in (Path(self.data_dir, "worker.log"), self.folder / "stderr")
            if path.exists()
        )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    trap = Trap(tmp_path)
    environ = {
        **os.environ, **trap.environment, "STASH_PLUGIN_DATA": str(tmp_path / "data"),
        "PLEXSYNC_TIME_SCALE": "0.01", "PLEXSYNC_IDLE_TIMEOUT": "5", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    plugins = tmp_path / "plugins"
    install_plugin(plugins / "PlexSync")
    with PlexSimulator(token=TOKEN) as plex, StashSimulator(plugins) as stash:
        site = Site(tmp_path, plex, stash, trap, environ)
        try:
            yield site
        finally:
            site.stop()
        log = site.log()
        assert "Traceback" not in log and "database is locked" not in log, log
        assert plex.server.errors == [] and stash.server.errors == []


def _points(situation: str) -> pytest.MarkDecorator:
    points = [point for point in POINTS.values() if point.situation == situation]
    return pytest.mark.parametrize("point", points, ids=lambda point: point.name.replace(" ", "-"))


@_points("sync")
def test_a_scene_ends_in_plex_as_stash_shows_it(site: Site, point: Point) -> None:
    scene = site.add()
    site.enqueue(scene.id)
    site.killed_at(point)
    site.start_worker(idle=30)
    site.wait(lambda: site.unfinished(scene))
    assert site.letters() == []
    item = site.item(scene)
    assert [poster.data for poster in item.posters] == [PNG]
    assert {write.rating_key for write in site.plex.writes} == {item.rating_key}
    assert len(site.plex.writes) == 1, "what Plex has already is not written again"
    # What was written is known to be ours: so it also goes again.
    site.edit(
        scene, details="", studio=None, date=None, tags=["Two"], performers=["Bob"], groups=[]
    )
    site.wait(lambda: site.unfinished(scene))


@pytest.mark.parametrize(
    "name",
    ["before the edit goes to Plex", "after the edit went to Plex", "before what was begun is remembered",
     "after what was begun is remembered", "before what was written is remembered",
     "after what was written is remembered"],
)  # fmt: skip
def test_what_was_taken_away_in_stash_while_the_worker_lay_dead_goes_from_plex(
    site: Site, name: str
) -> None:
    scene = site.add()
    site.enqueue(scene.id)
    site.killed_at(POINTS[name])
    site.edit(scene, details="", studio=None, tags=["Two"], performers=["Bob"], groups=[])
    site.start_worker(idle=30)
    site.wait(lambda: site.unfinished(scene))


@pytest.mark.parametrize(
    "name", ["after the edit went to Plex", "before what was written is remembered"]
)
def test_a_second_edit_that_was_cut_short_is_known_to_be_ours(site: Site, name: str) -> None:
    scene = site.add()
    site.enqueue(scene.id)
    site.start_worker(idle=0.2).wait(PATIENCE)
    site.edit(scene, details="Others", tags=["Two", "Three"])
    site.killed_at(POINTS[name])
    site.edit(scene, details="", tags=["Two"])
    site.start_worker(idle=30)
    site.wait(lambda: site.unfinished(scene))


def test_two_deaths_in_a_row_leave_nothing_that_is_taken_for_the_users_own(site: Site) -> None:
    scene = site.add()
    site.enqueue(scene.id)
    site.killed_at(POINTS["after the edit went to Plex"])
    site.edit(scene, details="Others", studio="Another", tags=["Two", "Three"], performers=["Cleo"])
    site.killed_at(POINTS["before the edit goes to Plex"])
    site.edit(scene, details="", studio=None, tags=["Two"], performers=[])
    site.start_worker(idle=30)
    site.wait(lambda: site.unfinished(scene))


def test_an_edit_whose_answer_was_lost_is_known_to_be_ours(site: Site) -> None:
    scene = site.add()
    site.enqueue(scene.id)
    site.plex.faults.add(ResetAfter(), method="PUT", times=3)  # all of the client's quick attempts
    site.start_worker(idle=30)
    site.wait(lambda: site.unfinished(scene))
    site.edit(scene, details="", studio=None, tags=["Two"])
    site.wait(lambda: site.unfinished(scene))


@_points("retry")
def test_a_retry_is_not_lost(site: Site, point: Point) -> None:
    scene = site.add(in_plex=False)
    site.enqueue(scene.id)
    site.killed_at(point)
    site.plex.add_item(site.library, "/media/a.mp4", size=100)
    site.start_worker(idle=30)
    site.wait(lambda: site.unfinished(scene))
    assert site.letters() == []


@_points("dead")
def test_a_job_that_fails_for_good_leaves_one_letter(site: Site, point: Point) -> None:
    scene = site.add(files=[])
    site.enqueue(scene.id)
    site.killed_at(point)
    assert site.letters() or site.jobs_left(), "it must be in one of the two"
    site.start_worker(idle=30)
    site.wait(lambda: site.jobs_left() or [] if site.letters() else ["no letter"])
    assert [(letter["scene_id"], letter["error_type"]) for letter in site.letters()] == [
        (scene.id, "PermanentError")
    ]


@_points("revive")
def test_a_letter_that_is_taken_up_again_is_not_lost(site: Site, point: Point) -> None:
    scene = site.add()
    error = PlexNotFound("no Plex item has the file")
    error.details = {"files": [["/data/a.mp4", 100]]}
    dlq = DeadLetterQueue(site.data_dir)
    dlq.add({"scene_id": scene.id, "update_type": "metadata", "data": {}, "enqueued_at": 1.0,
             "job_key": f"scene_{scene.id}"}, error, 12)  # fmt: skip
    dlq.close()
    site.killed_at(point)
    assert site.letters() or site.jobs_left(), "it must be in one of the two"
    site.start_worker(idle=30)
    site.wait(lambda: site.unfinished(scene))
    assert site.letters() == []


@_points("gone")
def test_a_scene_that_is_gone_is_forgotten(site: Site, point: Point) -> None:
    save_sync_timestamp(site.data_dir, 77, time.time())
    site.enqueue(77)
    site.killed_at(point)
    site.start_worker(idle=30)
    site.wait(site.jobs_left)
    assert load_sync_timestamps(site.data_dir) == {}
    assert site.letters() == [] and site.plex.writes == []


@_points("missed")
def test_a_missed_edit_is_found_again(site: Site, point: Point) -> None:
    site.watch_from(time.time() - _RECENTLY)
    scene = site.add(updated_at=time.time())
    site.killed_at(point)
    site.start_worker(idle=30)
    site.wait(lambda: site.unfinished(scene))
    assert site.letters() == []


@_points("damage")
def test_a_job_in_a_damaged_database_is_carried_over(site: Site, point: Point) -> None:
    scene = site.add()
    site.enqueue(scene.id)
    _damage(Path(site.data_dir, "queue", "data.db"))
    site.killed_at(point)
    site.start_worker(idle=30)
    site.wait(lambda: site.unfinished(scene))
    assert len(list(Path(site.data_dir, "queue").glob("data.db.broken-*.carried"))) == 1
    assert site.letters() == []


@_points("hook")
def test_an_edit_whose_hook_was_killed_arrives_all_the_same(site: Site, point: Point) -> None:
    site.watch_from(time.time() - _RECENTLY)
    Path(site.data_dir, "notices.jsonl").write_text('["info", "Something to say"]\n')
    scene, other = site.add("a", updated_at=time.time()), site.add("b", updated_at=time.time())
    site.trap.lay(point)
    assert site.run_hook(scene) == -signal.SIGKILL
    assert site.trap.sprung() == [point.name]
    assert site.run_hook(other) == 0
    site.wait(lambda: site.unfinished(scene) + site.unfinished(other))
    assert site.letters() == []


def _damage(database: Path) -> None:
    """Overwrite an index, so that the table is still readable."""
    connection = sqlite3.connect(database)
    size = connection.execute("PRAGMA page_size").fetchone()[0]
    page = connection.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = 'due_jobs'"
    ).fetchone()[0]
    connection.close()
    content = bytearray(database.read_bytes())
    content[(page - 1) * size : page * size] = b"\xaa" * size
    database.write_bytes(content)
