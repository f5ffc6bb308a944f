"""A worker with everything around it, in this process: real queue, real HTTP to both simulators, a clock that jumps."""

from __future__ import annotations

import heapq
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.env import Env, Timing
from common.redaction import Redactor
from plex.client import PlexClient
from plex.history import WriteHistory
from plex.index import FileIndex
from plex.session import PlexSession
from queue.ack_queue import JobQueue
from queue.dlq import DeadLetterQueue
from queue.manager import QueueManager
from queue.models import SyncJob
from queue.operations import enqueue, load_sync_timestamps
from stash.client import StashClient
from stash.connection import StashConnection, load_connection, save_connection
from stash.deferred_log import take_deferred_lines
from tests.simulators.httpd import Delay, Request
from tests.simulators.plex import PlexItem, PlexLibrary, PlexSimulator
from tests.simulators.stash import Scene, StashSimulator
from tests.simulators.stash.events import server_connection
from validation.config import PlexSyncConfig, validate_config
from worker.catch_up import CatchUp
from worker.config_provider import StashConfigProvider
from worker.processor import SyncWorker
from worker.reporter import Reporter

TOKEN = "tok-1234567890-abcdef"
HOUR = 3600.0


class FakeClock(Env):
    """Waiting moves it on, nothing else does; actions can be planned for moments that a wait passes."""

    def __init__(self) -> None:
        super().__init__()
        self.started = time.time()
        self.now = self.started
        self._planned: list[tuple[float, int, Callable[[], object]]] = []
        self._number = itertools.count()

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now - self.started + 1000.0

    def uniform(self, low: float, high: float) -> float:
        """The upper bound of the jitter, so that due times are known."""
        return high

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.advance(max(0.001, seconds))
        return event.is_set()

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._planned and self._planned[0][0] <= end:
            moment, _, action = heapq.heappop(self._planned)
            self.now = max(self.now, moment)
            action()
        self.now = max(self.now, end)

    def after(self, seconds: float, action: Callable[[], object]) -> int:
        """Plan an action for when that time has passed; `cancel` takes the number that this returns."""
        number = next(self._number)
        heapq.heappush(self._planned, (self.now + seconds, number, action))
        return number

    def cancel(self, number: int) -> None:
        self._planned = [one for one in self._planned if one[1] != number]
        heapq.heapify(self._planned)


class ImmediatePlexClient(PlexClient):
    """A client whose quick retries follow one another without a pause."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, sleep=lambda seconds: None)


class WorldConfig(StashConfigProvider):
    """The settings of Stash's page; a read timeout goes below what they allow."""

    read_timeout: float | None = None

    def load(self) -> PlexSyncConfig:
        config = super().load()
        if self.read_timeout is None:
            return config
        return config.model_copy(update={"plex_read_timeout": self.read_timeout})


class PatientlessWorker(SyncWorker):
    """The worker, but it can be run again after a stop."""

    def run_again(self) -> None:
        self._stop.clear()
        self.run()

    def close(self) -> None:
        self._plex.close()


class World:
    """Scenes in Stash, items in Plex, and one worker between them."""

    def __init__(
        self, folder: Path, plex: PlexSimulator, stash: StashSimulator, clock: FakeClock
    ) -> None:
        self.clock = clock
        self.plex = plex
        self.stash = stash
        self.data_dir = str(folder / "data")
        self.library: PlexLibrary = plex.add_library("Scenes", locations=["/plex"])
        self.manager = QueueManager(self.data_dir, auto_resume=True)
        self.queue: JobQueue = self.manager.get_queue()
        self.redactor = Redactor()
        self.dlq = DeadLetterQueue(self.data_dir, redact=self.redactor.redact, now=clock.time)
        self.client = StashClient(
            lambda: load_connection(self.data_dir),
            learn_secret=self.redactor.add,
            learn_cookie=self.redactor.add_passing,
            clock=clock.monotonic,
        )
        self.read_timeout: float | None = None
        self._worker: PatientlessWorker | None = None
        self.asks_stash = True
        self.set()
        self.log_in()

    @property
    def timing(self) -> Timing:
        return self.clock.timing

    @timing.setter
    def timing(self, timing: Timing) -> None:
        self.clock.timing = timing

    # -- what there is --

    def set(self, **settings: Any) -> None:
        """What stands on the settings page; further values replace or (None) remove the usual ones."""
        usual = {"plex_url": self.plex.url, "plex_token": TOKEN, "path_mappings": "/data => /plex"}
        chosen = {**usual, "sync_poster": False, **settings}
        self.stash.set_plugin_settings(
            "PlexSync", {key: value for key, value in chosen.items() if value is not None}
        )

    def log_in(self) -> None:
        """A hook leaves the latest connection."""
        server = server_connection(port=self.stash.server.port, cookie=self.stash.cookie())
        save_connection(self.data_dir, StashConnection(server))

    def config(self, **changes: Any) -> PlexSyncConfig:
        """The settings, checked, without asking Stash."""
        config, problem = validate_config(
            {**(self.stash.plugin_settings("PlexSync") or {}), **changes}
        )
        assert config is not None, problem
        return config

    def pair(
        self, name: str, *, in_plex: bool = True, **scene: Any
    ) -> tuple[Scene, PlexItem | None]:
        """A scene and the item of the same file."""
        made = self.stash.add_scene(
            **{"title": f"Title of {name}", "files": [(f"/data/{name}.mp4", 100)], **scene}
        )
        item = self.plex.add_item(self.library, f"/plex/{name}.mp4", size=100) if in_plex else None
        return made, item

    def item_of(self, scene: Scene) -> PlexItem:
        item = self.plex.find(scene.files[0].path.replace("/data/", "/plex/"))
        assert item is not None
        return item

    def title(self, scene: Scene) -> str:
        """What Plex shows for a scene."""
        return self.item_of(scene).title

    def edit(self, scene: Scene, title: str | None = None, **fields: Any) -> None:
        """A save in Stash, and its hook's entry in the queue."""
        if title is not None:
            fields["title"] = title
        if fields:
            self.stash.change_silently(scene.id, **fields)
        enqueue(self.queue, scene.id, "metadata", dict.fromkeys(fields, True))

    # -- the worker --

    @property
    def worker(self) -> PatientlessWorker:
        if self._worker is None:
            self._worker = self.make_worker()
        return self._worker

    def make_worker(
        self,
        *,
        config: PlexSyncConfig | None = None,
        index: FileIndex | None = None,
        history: WriteHistory | None = None,
        catch_up: CatchUp | None = None,
        parallel_writes: int | None = None,
        max_retries: int = 5,
        env: Env | None = None,
    ) -> PatientlessWorker:
        """A worker on this world; with `config` it asks no Stash for settings."""
        provider = WorldConfig(
            self.client, self.data_dir, self.redactor, environ={}, env=self.clock
        )
        provider.read_timeout = self.read_timeout
        worker = PatientlessWorker(
            self.queue,
            self.dlq,
            config,
            self.data_dir,
            max_retries,
            provider=provider if config is None else None,
            stash=self.client if self.asks_stash else None,
            plex=PlexSession(index or FileIndex(), self.clock, client_class=ImmediatePlexClient),
            history=history,
            catch_up=catch_up,
            reporter=Reporter(self.data_dir, redactor=self.redactor, clock=self.clock.monotonic),
            env=env or self.clock,
        )
        worker.pool.size = parallel_writes or worker.pool.size
        return worker

    def use(self, worker: PatientlessWorker) -> None:
        self._worker = worker

    def run(self) -> None:
        """Until nothing was left to do for the idle time."""
        self.worker.run_again()

    def run_for(self, seconds: float) -> None:
        """For so long on the fake clock, however much is left."""
        end = self.clock.now + seconds
        plan = self.clock.after(seconds, self.worker.stop)
        self.worker.run_again()
        self.clock.cancel(plan)
        self.clock.advance(max(0.0, end - self.clock.now))

    # -- what became of it --

    def jobs(self) -> list[SyncJob]:
        """What waits, in the order of the rows."""
        rows = self.queue._putter.execute(
            "SELECT data FROM ack_queue_default WHERE status < 2 ORDER BY _id"
        )
        return [json.loads(row[0]) for row in rows]

    def waiting(self) -> int:
        return self.queue.counts()["pending"]

    def letters(self) -> list[dict[str, Any]]:
        return self.dlq.get_recent(10_000)

    def synced_at(self, scene: Scene) -> float | None:
        return load_sync_timestamps(self.data_dir).get(scene.id)

    def notices(self) -> list[tuple[str, str]]:
        return list(take_deferred_lines(self.data_dir))

    def close(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker.close()
        self.client._session.close()
        self.dlq.close()
        self.manager.shutdown()


def edited(world: World, count: int, **fields: Any) -> list[Scene]:
    """Scenes with their items, each with an edit that waits."""
    scenes = [world.pair(f"s{number:04}", **fields)[0] for number in range(count)]
    for scene in scenes:
        world.edit(scene, f"New {scene.id}")
    return scenes


def in_sync(world: World, scenes: list[Scene]) -> bool:
    """Whether Plex shows those edits."""
    return all(world.title(scene) == f"New {scene.id}" for scene in scenes)


@contextmanager
def request_times(world: World) -> Iterator[list[float]]:
    """The moments on the fake clock in which requests come to Plex. Enter it before faults are added."""
    moments: list[float] = []

    def note(_request: Request) -> bool:
        moments.append(world.clock.now)
        return False

    rule = world.plex.faults.add(Delay(0), when=note)
    try:
        yield moments
    finally:
        rule.remove()
