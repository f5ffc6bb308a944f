"""A worker in this process: the real queue, real HTTP to both simulators, a fake clock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.redaction import Redactor
from plex.client import PlexClient
from plex.history import WriteHistory
from plex.index import FileIndex
from queue.ack_queue import JobQueue
from queue.dlq import DeadLetterQueue
from queue.manager import QueueManager
from queue.models import SyncJob
from queue.operations import enqueue
from stash.client import StashClient
from stash.connection import StashConnection, load_connection, save_connection
from stash.deferred_log import take_deferred_lines
from tests.harness.base import PLUGIN, Harness
from tests.harness.clock import FakeClock
from tests.simulators.httpd import Delay, Request
from tests.simulators.plex import PlexSimulator
from tests.simulators.stash import Scene, StashSimulator
from tests.simulators.stash.events import server_connection
from validation.config import PlexSyncConfig, validate_config
from worker.catch_up import CatchUp
from worker.circuit_breaker import CircuitState
from worker.processor import SyncWorker
from worker.reporter import Reporter
from worker.settings import load_config
from worker.timing import Timing

if TYPE_CHECKING:
    from queue.operations import Putter


def max_jitter(retries: int, base: float, cap: float) -> float:
    """Return the upper bound of the jitter, so that due times are known."""
    return min(cap, base * 2.0**retries)


def connect_without_pauses(config: PlexSyncConfig) -> PlexClient:
    """Return a client whose quick attempts follow one another without a pause."""
    return PlexClient(
        config.plex_url,
        config.plex_token,
        config.plex_connect_timeout,
        config.plex_read_timeout,
        sleep=lambda seconds: None,
    )


class WorkerInTest(SyncWorker):
    """The worker, and what tests ask of its parts: no test reaches into them elsewhere."""

    def run_again(self) -> None:
        """Run, also after a stop."""
        self._stop.clear()
        self.run()

    def work_once(self) -> bool:
        return self._work_once()

    def close(self) -> None:
        self._plex.close()

    @property
    def history(self) -> WriteHistory:
        return self._memory

    @property
    def plex_failures(self) -> int:
        """Failures of Plex in a row."""
        return self.gate.plex.failures

    @property
    def plex_state(self) -> CircuitState:
        """The circuit breaker's state."""
        return self.gate.plex.state

    @property
    def is_paused(self) -> bool:
        return self.gate.shut

    @property
    def is_disabled(self) -> bool:
        return self.gate.disabled

    @property
    def problem(self) -> str:
        return str(self.gate.state()["problem"])


def make_worker(
    queue: JobQueue,
    dlq: DeadLetterQueue,
    config: PlexSyncConfig | None = None,
    data_dir: str | None = None,
    max_retries: int = 5,
    **parts: Any,
) -> WorkerInTest:
    """Construct a worker. No other test code calls the constructor."""
    return WorkerInTest(queue, dlq, config, data_dir, max_retries, **parts)


class WorkerHarness(Harness):
    """One worker between both servers."""

    def __init__(
        self, folder: Path, plex: PlexSimulator, stash: StashSimulator, clock: FakeClock
    ) -> None:
        self.clock = clock
        self.manager = QueueManager(folder / "data", auto_resume=True)
        self.queue: JobQueue = self.manager.get_queue()
        self.redactor = Redactor()
        self.dlq = DeadLetterQueue(folder / "data", redact=self.redactor.redact, now=clock.time)
        self.client = StashClient(
            self._connection,
            learn_secret=self.redactor.add,
            learn_cookie=self.redactor.add_passing,
            clock=clock.monotonic,
        )
        self.read_timeout: float | None = None
        self.timing = Timing()
        self._worker: WorkerInTest | None = None
        super().__init__(stash, plex, folder / "data", settings={"sync_poster": False})
        self.log_in()

    def _connection(self) -> StashConnection | None:
        return load_connection(str(self.data_dir))

    def log_in(self) -> None:
        """Leave the latest connection, as a hook does."""
        server = server_connection(port=self.stash.server.port, cookie=self.stash.cookie())
        save_connection(str(self.data_dir), StashConnection(server))

    def config(self, **changes: Any) -> PlexSyncConfig:
        """Return the checked settings, without asking Stash."""
        config, problem = validate_config({**(self.stash.plugin_settings(PLUGIN) or {}), **changes})
        assert config is not None, problem
        return config

    def edit(self, scene: Scene, title: str | None = None, **fields: Any) -> None:
        """Save in Stash and queue the edit, without a hook process."""
        if title is not None:
            fields["title"] = title
        if fields:
            self.stash.change_silently(scene.id, **fields)
        enqueue(self.queue, scene.id, "metadata", dict.fromkeys(fields, True))

    def edited(self, count: int, **fields: Any) -> list[Scene]:
        """Add scenes with their items, each with an edit that waits."""
        scenes = [self.pair(f"s{number:04}", **fields)[0] for number in range(count)]
        for scene in scenes:
            self.edit(scene, f"New {scene.id}")
        return scenes

    def in_sync(self, scenes: list[Scene]) -> bool:
        """Return whether Plex shows those edits."""
        return all(self.title(scene) == f"New {scene.id}" for scene in scenes)

    # --- the worker

    @property
    def worker(self) -> WorkerInTest:
        return self._worker or self.new_worker()

    def new_worker(self, *, catch_up: bool = False, **parts: Any) -> WorkerInTest:
        """Replace the worker, as a restart does.

        Args:
            catch_up: it looks for missed edits.
            parts: other arguments of the constructor.
        """
        if self._worker is not None:
            self._worker.close()
        usual: dict[str, Any] = {
            "data_dir": str(self.data_dir),
            "stash": self.client,
            "load_config": self.load_config,
            "index": FileIndex(now=self.clock.time),
            "memory": WriteHistory(),
            "catch_up": self.make_catch_up() if catch_up else None,
            "connect": connect_without_pauses,
            "reporter": Reporter(
                str(self.data_dir), redact=self.redactor.redact, clock=self.clock.monotonic
            ),
            "clock": self.clock,
            "timing": self.timing,
            "delay": max_jitter,
        }
        self._worker = make_worker(self.queue, self.dlq, **{**usual, **parts})
        return self._worker

    def make_catch_up(self, queue: Putter | None = None) -> CatchUp:
        """Make what finds missed edits, with the harness's queue or another."""
        return CatchUp(str(self.data_dir), self.client, queue or self.queue, now=self.clock.time)

    def load_config(self) -> PlexSyncConfig:
        config = load_config(self.client, self._connection, {}, self.redactor.add)
        if self.read_timeout is None:
            return config
        return config.model_copy(update={"plex_read_timeout": self.read_timeout})

    def run(self) -> None:
        """Run the worker until it had nothing to do for the idle time."""
        self.worker.run_again()

    def run_for(self, seconds: float) -> None:
        """Run the worker for so long on the fake clock, however much is left."""
        end = self.clock.now + seconds
        plan = self.clock.after(seconds, self.worker.stop)
        self.worker.run_again()
        self.clock.cancel(plan)
        self.clock.advance(max(0.0, end - self.clock.now))

    # --- results

    def jobs(self) -> list[SyncJob]:
        """Return the jobs that wait, in the order of the rows."""
        rows = self.queue._putter.execute(
            "SELECT data FROM ack_queue_default WHERE status < 2 ORDER BY _id"
        )
        return [json.loads(row[0]) for row in rows]

    def waiting(self) -> int:
        return self.queue.counts()["pending"]

    def letters(self) -> list[dict[str, Any]]:
        return self.dlq.get_recent(10_000)

    def notices(self) -> list[tuple[str, str]]:
        return list(take_deferred_lines(str(self.data_dir)))

    @contextmanager
    def request_times(self) -> Iterator[list[float]]:
        """Note the fake time of requests to Plex. Enter it before faults are added."""
        moments: list[float] = []

        def note(_request: Request) -> bool:
            moments.append(self.clock.now)
            return False

        rule = self.plex.faults.add(Delay(0), when=note)
        try:
            yield moments
        finally:
            rule.remove()

    def close(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker.close()
        self.client._session.close()
        self.dlq.close()
        self.manager.shutdown()
