"""The worker in its own process (see `remote`), and a bare loop that replays its requests."""

from __future__ import annotations

import os
import random
import resource
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import PlexSync

PlexSync.host_queue_package()

import requests  # noqa: E402 - after the standard queue hosts ours

from common.sqlite import connect  # noqa: E402
from history.records import Agreement, CoverState  # noqa: E402
from plex.client import PlexClient  # noqa: E402
from plex.index import FileIndex  # noqa: E402
from plex.plan import Intent  # noqa: E402
from queue.inbox import Inbox  # noqa: E402
from queue.operations import enqueue  # noqa: E402
from stash.client import address_of_cover  # noqa: E402
from stash.connection import StashConnection, save_connection  # noqa: E402
from tests.benchmarks.measure import memory  # noqa: E402 - after the standard queue hosts ours
from tests.benchmarks.remote import serve  # noqa: E402
from worker.bootstrap import build_worker  # noqa: E402
from worker.process import WorkerLock  # noqa: E402
from worker.reconcile.passes import BASELINE_DONE, FULL_ENDED, PAGE  # noqa: E402
from worker.reconcile.quick import RAN_AT  # noqa: E402
from worker.write_pool import PARALLEL_WRITES  # noqa: E402

_LOOKUPS = 20_000
#: Items that are read in one request, as by a pass.
_CHUNK = 20
#: Seconds since the items were last read whole: a full pass reads one thirtieth of them.
_READ_AGO = 20 * 86_400.0


class Subject:
    """The measured worker, with its own data directory."""

    def __init__(self) -> None:
        self._open = ExitStack()

    def open(self, data_dir: str, connection: dict[str, Any]) -> None:
        """Open a worker as its process does, without syncing."""
        save_connection(data_dir, StashConnection(connection))
        lock = WorkerLock(data_dir)
        assert lock.acquire()
        self._open.callback(lock.release)
        self.worker = self._open.enter_context(build_worker(data_dir, lock))
        self._inbox = Inbox(data_dir)
        self._open.callback(self._inbox.close)

    def close(self) -> None:
        self._open.close()

    def enqueue(self, first: int, count: int) -> None:
        """Queue the scenes' jobs as a hook does."""
        for scene_id in range(first, first + count):
            enqueue(self._inbox, scene_id, "metadata", {"title": "An edit"})

    def drain(self, at_once: int = PARALLEL_WRITES) -> dict[str, float]:
        """Run the worker until no job is due; return the cost.

        Args:
            at_once: parallel writes to a slow Plex.
        """
        worker = self.worker
        worker.batches.pool.size = at_once
        start, cpu = time.perf_counter(), time.process_time()
        while (due := worker.queue.next_due()) is not None and due <= time.time():
            worker._turn()
            if worker.health.problem:
                raise RuntimeError(f"the worker stopped: {worker.health.problem}")
        worker._end()
        return {**_since(start, cpu), "peak_mb": peak_mb()}

    def read_back(self) -> dict[str, float]:
        """Wait until all writes are due to be read back, and do it; return the cost."""
        history = self.worker.runner.history
        waiting = history.to_verify(float("inf"), 1_000_000)
        due = max((row.verify_at or 0.0 for row in waiting), default=0.0)
        time.sleep(max(0.0, due - time.time()))
        start, cpu = time.perf_counter(), time.process_time()
        while history.next_verification() is not None:
            self.worker._turn()
        return _since(start, cpu)

    # --- passes

    def adopt(self) -> None:
        """Note all scenes as synced, cover included. Plex must show them already."""
        worker = self.worker
        worker._turn()  # a quick pass, the first
        runner, stash = worker.runner, worker._parts.stash
        assert stash is not None
        last = 0
        while scenes := stash.page_after(last, PAGE):
            last = scenes[-1].id
            for start in range(0, len(scenes), _CHUNK):
                some = scenes[start : start + _CHUNK]
                runner.read_ahead(some)
                with runner.history.transaction():
                    for scene in some:
                        cover = CoverState(address_of_cover(scene), final=True)
                        runner.history.save(Agreement(scene.id, cover=cover))
                        if runner.compare(scene, time.time(), Intent()):
                            raise RuntimeError(f"scene {scene.id} is not in sync")
        rows = runner.history.rows(0, last)
        runner.history.update(
            [row.id for some in rows.values() for row in some], checked_at=time.time() - _READ_AGO
        )
        for pass_id in worker.passes.all():
            worker.passes.drop(pass_id)
        runner.history.set(BASELINE_DONE, True)
        runner.history.set(FULL_ENDED, time.time())

    def follow(self) -> None:
        """Have the worker live in a thread, as in its own process, and follow Plex's events."""
        self.worker.start()

    def usage(self) -> dict[str, float]:
        """Return the CPU seconds and the peak memory of this process."""
        return {"cpu": time.process_time(), "peak_mb": peak_mb()}

    def quick_pass(self) -> dict[str, float]:
        """Run a quick pass; return the cost."""
        history = self.worker.runner.history
        history.set(RAN_AT, None)
        start, cpu = time.perf_counter(), time.process_time()
        self.worker._turn()
        if history.get(RAN_AT) is None or self.worker.health.problem:
            raise RuntimeError(f"no quick pass was run: {self.worker.health.problem}")
        return _since(start, cpu)

    def full_pass(self) -> dict[str, float]:
        """Run a full pass from its first slice to its last; return the cost."""
        worker = self.worker
        worker.passes.ask_full("measured")
        start, cpu = time.perf_counter(), time.process_time()
        while worker.passes.next() is not None:
            worker._turn()
        taken = {**_since(start, cpu), "peak_mb": peak_mb()}
        if worker.runner.history.count_proposals() or worker.queue.size:
            raise RuntimeError("the pass found something to write")
        return taken

    # --- the index

    def open_index(self, folder: str, url: str, token: str, section: int) -> float:
        """Open an index on disk; return its size in MB."""
        file = os.path.join(folder, "index.db")
        connection = connect(file)
        self._open.callback(connection.close)
        self._index, self._sections = FileIndex(connection), [section]
        self._plex = PlexClient(url, token)
        self._open.callback(self._plex.close)
        self._plex.probe()  # connects
        return (
            sum(os.path.getsize(file + end) for end in ("", "-wal") if os.path.exists(file + end))
            / 1e6
        )

    def refresh_index(self) -> dict[str, float]:
        """Refresh the index; return the cost."""
        before, start, cpu = peak_mb(), time.perf_counter(), time.process_time()
        self._index.refresh(self._plex, self._sections)
        return {**_since(start, cpu), "grown_mb": peak_mb() - before}

    def look_up(self, items: int) -> float:
        """Return lookups by path per second."""
        paths = [f"/media/{number // 200:05}/scene {number:06}.mp4" for number in range(items)]
        wanted = random.Random(7).choices(paths, k=_LOOKUPS)
        start = time.perf_counter()
        found = sum(len(self._index.by_path(path, self._sections)) for path in wanted)
        assert found == _LOOKUPS, found
        return _LOOKUPS / (time.perf_counter() - start)

    def replay(self, recorded: list[dict[str, Any]]) -> dict[str, float]:
        """Replay requests with `requests`, over one connection to each server; return the cost."""
        start, cpu = time.perf_counter(), time.process_time()
        _send_all(recorded)
        return _since(start, cpu)


def peak_mb() -> float:
    """Return this process's peak memory."""
    try:  # on Linux `getrusage` includes the parent's memory before our start
        return memory()["VmHWM"]
    except (OSError, KeyError):
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def _since(start: float, cpu: float) -> dict[str, float]:
    return {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}


def _send_all(recorded: Iterable[dict[str, Any]]) -> None:
    with requests.Session() as session:
        session.trust_env = False
        for one in recorded:
            body = one["body"].encode("latin-1")
            answer = session.request(one["method"], one["url"], headers=one["headers"], data=body)
            answer.raise_for_status()


if __name__ == "__main__":
    subject = Subject()
    try:
        serve(subject)
    finally:
        subject.close()
