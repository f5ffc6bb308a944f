"""Write the distinct items of a batch: one after the other, or side by side where Plex is slow."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from common.env import Env
from worker.job_runner import JobRunner
from worker.target import SyncTarget, Written

#: Writes on their way at once; docs/benchmarks.md shows what each number gains.
PARALLEL_WRITES = 4
#: Writes alone that must all have been slow: a single one is, now and then, for any reason.
_SAMPLES = 3
#: Writes side by side after which one goes alone, as only that shows how long Plex takes.
_MEASURE_AGAIN = 30


class WritePool:
    """Writes targets, as many at once as `width` says."""

    def __init__(self, runner: JobRunner, env: Env, size: int = PARALLEL_WRITES) -> None:
        self.size = size
        self._runner = runner
        self._env = env
        self._alone = deque([0.0] * _SAMPLES, maxlen=_SAMPLES)  # seconds of the last writes alone
        self._beside = 0
        self._known_names: set[str] = set()  # tags that Plex has by now

    @property
    def width(self) -> int:
        """Return how many writes may go at once: one, unless Plex was slow again and again."""
        slow = min(self._alone) >= self._env.timing.slow_write and self._beside < _MEASURE_AGAIN
        return self.size if slow else 1

    def conflicts(self, target: SyncTarget, others: Sequence[SyncTarget]) -> bool:
        """Return whether a target must wait for others: the same item, or the same new tag.

        What Plex does with a tag that two requests create at once is not documented.
        """
        new = target.names - self._known_names
        return any(target.keys & other.keys or new & other.names for other in others)

    def write(self, targets: Sequence[SyncTarget]) -> list[Written | Exception]:
        """Write targets that don't conflict; return what was written, or each one's error."""
        if len(targets) == 1:
            start = self._env.monotonic()
            results = [self._attempt(targets[0])]
            if isinstance(results[0], Exception) or results[0].fields:
                self._alone.append(self._env.monotonic() - start)
                self._beside = 0
        else:
            self._beside += len(targets)
            with ThreadPoolExecutor(len(targets), "plexsync-write") as pool:
                futures = [self._submit(pool, target) for target in targets]
            results = [future.result() for future in futures]
        for target, result in zip(targets, results, strict=True):
            if not isinstance(result, Exception):
                self._known_names |= target.names
        return results

    def _submit(self, pool: ThreadPoolExecutor, target: SyncTarget) -> Future[Written | Exception]:
        try:
            return pool.submit(self._attempt, target)
        except RuntimeError as error:  # no more threads, as in a container that limits them
            self.size = 1
            failed: Future[Written | Exception] = Future()
            failed.set_result(error)
            return failed

    def _attempt(self, target: SyncTarget) -> Written | Exception:
        try:
            return self._runner.write(target)
        except Exception as error:  # noqa: BLE001 - the caller decides what becomes of it
            return error
