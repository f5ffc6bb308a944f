"""What the worker looks after while no job is due: edits of which no hook told, files that Plex did not have."""

from __future__ import annotations

from collections.abc import Callable

from plex.matcher import choose
from queue.ack_queue import JobQueue
from queue.dlq import DeadLetterQueue
from queue.operations import enqueue, load_sync_timestamps, save_sync_timestamp
from stash.client import StashClient
from stash.records import Scene
from worker.catch_up import CatchUp
from worker.gate import Gate
from worker.plex_side import PlexSide
from worker.recheck import RecheckList
from worker.reporter import Reporter
from worker.timing import Clock, Timing
from worker.upkeep import Upkeep


class Patrol:
    """Makes its rounds between jobs; what it finds becomes jobs."""

    def __init__(
        self,
        queue: JobQueue,
        dlq: DeadLetterQueue,
        data_dir: str | None,
        *,
        stash: StashClient | None,
        catch_up: CatchUp | None,
        plex: PlexSide,
        gate: Gate,
        upkeep: Upkeep,
        forget: Callable[[int], object],
        reporter: Reporter,
        clock: Clock,
        timing: Timing,
    ) -> None:
        """Args:
        catch_up: finds edits of which no hook told; None: nobody does.
        forget: drops all that is known of a scene that is gone from Stash.
        """
        self._queue = queue
        self._dlq = dlq
        self._data_dir = data_dir
        self._stash = stash
        self._catch_up = catch_up
        self._plex = plex
        self._gate = gate
        self._upkeep = upkeep
        self._forget = forget
        self._reporter = reporter
        self._clock = clock
        self._timing = timing
        self._unsettled = RecheckList()
        self._looked_at = float("-inf")
        self._revived_at = float("-inf")

    def was_synced(self, scene: Scene, read_at: float) -> None:
        """Take note of a scene that was synced as it was read at `read_at` (epoch seconds)."""
        self._unsettled.add(scene, read_at)

    def look_around(self) -> bool:
        """Do the next round that is due; return whether one was, so that there may be work now."""
        now = self._clock.monotonic()
        if self._unsettled.are_due(self._clock.time()) and self._gate.enter():
            return self._gate.guard(self._settle)
        if (
            self._catch_up is not None
            and now - self._looked_at >= self._timing.catch_up
            and self._gate.enter()
        ):
            self._looked_at = now
            return self._gate.guard(self._find_missed)
        if (
            now - self._revived_at >= self._timing.revival
            and self._upkeep.has_unfound()
            and self._gate.enter()
        ):
            self._revived_at = now
            return self._gate.guard(self._find_files)
        return False

    def _settle(self) -> None:
        assert self._stash is not None
        read_at = self._clock.time()
        same, changed = self._unsettled.settle(self._stash)
        for scene_id in same:
            if self._data_dir is not None:
                save_sync_timestamp(self._data_dir, scene_id, read_at)
        for scene_id in changed:
            enqueue(self._queue, scene_id, "metadata", {})

    def _find_missed(self) -> None:
        assert self._catch_up is not None
        synced = load_sync_timestamps(self._data_dir) if self._data_dir is not None else {}
        missed = self._catch_up.look({**synced, **self._dlq.failed_scenes()})
        if missed:
            self._reporter.log(
                "info", f"{missed} scenes were changed without PlexSync being told; queued"
            )
        for scene_id in self._catch_up.vanished(synced):
            self._forget(scene_id)

    def _find_files(self) -> None:
        self._plex.libraries()
        mappings, sections = self._gate.current().path_mappings, self._plex.section_ids()
        index = self._plex.index
        self._upkeep.take_up_again(
            lambda files: {found.rating_key for found in choose(index, files, mappings, sections)}
        )
