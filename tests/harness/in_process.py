"""A worker in this process: the real queue, real HTTP to both simulators, a fake clock."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.env import Env
from common.redaction import Redactor
from history.store import History
from plex.client import PlexClient
from plex.index import FileIndex
from plex.session import PlexSession
from queue.ack_queue import JobQueue
from queue.commands import Commands
from queue.dlq import DeadLetterQueue
from queue.inbox import DATABASE
from queue.manager import QueueManager
from queue.models import SyncJob
from queue.operations import enqueue
from stash.client import StashClient
from stash.connection import StashConnection, load_connection, save_connection
from stash.deferred_log import take_deferred_lines
from tests.harness.base import PLUGIN, Harness, clock_time
from tests.harness.clock import FakeClock
from tests.simulators.httpd import Delay, Request
from tests.simulators.plex import PlexSimulator
from tests.simulators.stash import Scene, StashSimulator
from tests.simulators.stash.events import server_connection
from validation.config import PlexSyncConfig, validate_config
from worker.config_provider import StashConfigProvider
from worker.presence import Presence
from worker.process import WorkerLock
from worker.processor import SyncWorker
from worker.reporter import Reporter
from worker.write_pool import WritePool


class ImmediatePlexClient(PlexClient):
    """A client that retries without a pause."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, sleep=lambda seconds: None)


class ShortTimeoutProvider(StashConfigProvider):
    """The settings of Stash's page, with a read timeout shorter than they allow."""

    read_timeout: float | None = None

    def load(self) -> PlexSyncConfig:
        config = super().load()
        if self.read_timeout is None:
            return config
        return config.model_copy(update={"plex_read_timeout": self.read_timeout})


class WorkerInTest(SyncWorker):
    """A worker that exposes the private parts that tests use."""

    def run_again(self) -> None:
        """Run, even after a stop."""
        self._stop.clear()
        self._wake.clear()
        self.run()

    def run_batch(self) -> bool:
        return self.batches.run()

    def close(self) -> None:
        self.listener.stop()
        thread = self.listener._thread
        if thread is not None:
            thread.join(60)  # else it might connect to a server that is gone by then
        self._parts.plex.close()

    @property
    def pool(self) -> WritePool:
        return self.batches.pool

    @property
    def plex(self) -> PlexSession:
        return self._parts.plex

    @property
    def history(self) -> History:
        return self._parts.history

    @property
    def index(self) -> FileIndex:
        return self._parts.plex.index


def make_worker(
    queue: JobQueue,
    dlq: DeadLetterQueue,
    config: PlexSyncConfig | None = None,
    data_dir: str | None = None,
    max_retries: int = 5,
    **parts: Any,
) -> WorkerInTest:
    """Construct a worker. All tests construct workers here."""
    return WorkerInTest(queue, dlq, config, data_dir, max_retries, **parts)


class WorkerHarness(Harness):
    """One worker between both servers."""

    def __init__(
        self, folder: Path, plex: PlexSimulator, stash: StashSimulator, clock: FakeClock
    ) -> None:
        self.clock = clock
        self.manager = QueueManager(folder / "data", auto_resume=True)
        self.queue: JobQueue = self.manager.get_queue()
        self.commands = Commands(os.path.join(self.manager.queue_path, DATABASE), now=clock.time)
        self.redactor = Redactor()
        self.dlq = DeadLetterQueue(folder / "data", redact=self.redactor.redact, now=clock.time)
        self.client = StashClient(
            self._connection,
            redactor=self.redactor,
            clock=clock.monotonic,
        )
        self.read_timeout: float | None = None
        self.asks_stash = True
        self._worker: WorkerInTest | None = None
        self._indexes: list[FileIndex] = []
        compare_at = clock_time(clock.now)
        settings = {
            "sync_poster": False,
            "plex_events": False,
            "compare_at": compare_at,
            "poll_interval": 10,  # the clock is simulated: looks at the queue cost more than waits
        }
        super().__init__(stash, plex, folder / "data", settings=settings)
        self.log_in()

    def take_long_steps(self) -> None:
        """Let a worker without work wait for long, so that days go by fast.

        It sees later what the test puts into the queue while it waits.
        """
        self.clock.timing = replace(self.clock.timing, heartbeat=600.0, presence=600.0)
        self._usual["poll_interval"] = 30
        self.configure()

    def _connection(self) -> StashConnection | None:
        return load_connection(str(self.data_dir))

    def log_in(self) -> None:
        """Save the latest connection, as a hook does."""
        server = server_connection(port=self.stash.server.port, cookie=self.stash.cookie())
        save_connection(str(self.data_dir), StashConnection(server))

    def config(self, **changes: Any) -> PlexSyncConfig:
        """Return the validated settings without asking Stash."""
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
        """Add scenes with their items, each with a queued edit."""
        scenes = [self.pair(f"s{number:04}", **fields)[0] for number in range(count)]
        self.edit_all(scenes)
        return scenes

    def edit_all(self, scenes: list[Scene]) -> None:
        for scene in scenes:
            self.edit(scene, f"New {scene.id}")

    def in_sync(self, scenes: list[Scene]) -> bool:
        """Return whether Plex shows those edits."""
        return all(self.title(scene) == f"New {scene.id}" for scene in scenes)

    # --- the worker

    @property
    def worker(self) -> WorkerInTest:
        return self._worker or self.new_worker()

    def new_worker(
        self,
        *,
        compares: bool = False,
        config: PlexSyncConfig | None = None,
        index: FileIndex | None = None,
        history: History | None = None,
        parallel_writes: int | None = None,
        env: Env | None = None,
        presence: Presence | None = None,
        lock: WorkerLock | None = None,
    ) -> WorkerInTest:
        """Replace the worker, as a restart does.

        Args:
            compares: whether it compares all scenes again and again.
            config: the settings; default: ask Stash.
            presence: with one, the worker stays, as the setting says.
        """
        if self._worker is not None:
            self._worker.close()
        provider = ShortTimeoutProvider(
            self.client, str(self.data_dir), self.redactor, environ={}, env=self.clock
        )
        provider.read_timeout = self.read_timeout
        env = env or self.clock
        index = index or FileIndex(now=self.clock.time)
        history = history or History(now=self.clock.time)
        self._worker = make_worker(
            self.queue,
            self.dlq,
            config,
            str(self.data_dir),
            provider=provider if config is None else None,
            stash=self.client if self.asks_stash else None,
            plex=PlexSession(index, self.clock, history=history, client_class=ImmediatePlexClient),
            history=history,
            commands=self.commands,
            compares=compares,
            reporter=Reporter(
                str(self.data_dir), redactor=self.redactor, clock=self.clock.monotonic
            ),
            env=env,
            presence=presence,
            lock=lock,
        )
        if parallel_writes is not None:
            self._worker.pool.size = parallel_writes
        return self._worker

    def restart(self) -> WorkerInTest:
        """Replace the worker by one that compares, with the same history and index on disk."""
        old = self.worker
        self._indexes.append(old.index)  # its database ends with it
        index = FileIndex(old.index._db, now=self.clock.time)
        return self.new_worker(compares=True, history=old.history, index=index)

    def run(self) -> None:
        """Run the worker until its idle time is over."""
        self.worker.run_again()

    def run_for(self, seconds: float) -> None:
        """Run the worker for this time on the fake clock."""
        end = self.clock.now + seconds
        plan = self.clock.after(seconds, self.worker.ask_to_stop)
        self.worker.run_again()
        self.clock.cancel(plan)
        self.clock.advance(max(0.0, end - self.clock.now))

    def command(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Run the worker in this thread until a command is done; return its result.

        Empty if the worker left before.
        """
        command_id = self.commands.add(name, arguments)
        self.run_until(command_id)
        return self.commands.result(command_id) or {}

    def run_until(self, command_id: int) -> None:
        """Run the worker in this thread until a command is done."""
        self.worker._stop.clear()
        self.worker._wake.clear()
        self.worker.run_until(command_id)

    def drain(self) -> bool:
        """Work in this thread until no job is due; return whether that was reached."""
        result = self.command("drain")
        return bool(result) and result["reason"] is None

    # --- results

    def jobs(self) -> list[SyncJob]:
        """Return the waiting jobs in the order of their rows."""
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
        """Record the fake time of requests to Plex. Enter it before adding faults."""
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
        self.commands.close()
        self.manager.shutdown()
