"""What keeps the queue and the dead letters small, visible, and not dead for longer than need be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from queue.ack_queue import JobQueue
from queue.dlq import DeadLetterQueue
from queue.operations import enqueue
from worker.reporter import Reporter

#: Jobs between two status lines while there are dead letters, and between two clean-ups of the queue.
STATUS_EVERY = 10
COMPACT_EVERY = 500
NOT_FOUND = "PlexNotFound"


class Upkeep:
    """Looks after one queue and its dead letters."""

    def __init__(self, queue: JobQueue, dlq: DeadLetterQueue, reporter: Reporter) -> None:
        self._queue = queue
        self._dlq = dlq
        self._reporter = reporter

    def drop_old(self, days: int) -> None:
        """Drop dead letters that are older than `days` days."""
        self._dlq.delete_older_than(days)

    def at_start(self) -> None:
        """Drop finished rows, then say how things are."""
        self._queue.compact()
        self.report()

    def after_job(self, done: int) -> None:
        """Now and then, by the number of jobs done."""
        if done % STATUS_EVERY == 0:
            self.report()
        if done % COMPACT_EVERY == 0:
            self._queue.compact()

    def report(self) -> None:
        """Say how many wait and failed, while any have failed."""
        letters = self._dlq.count_by_error()
        if letters:
            reasons = ", ".join(f"{count} {error}" for error, count in letters.items())
            self._reporter.log("info", f"{self._queue.size} waiting; dead letters: {reasons}")

    def has_unfound(self) -> bool:
        """Whether scenes were given up because Plex did not have their file."""
        return NOT_FOUND in self._dlq.count_by_error()

    def take_up_again(
        self, items_with: Callable[[Sequence[tuple[str, int | None]]], set[int]]
    ) -> None:
        """Queue the scenes again whose file Plex has by now.

        Args:
            items_with: returns the rating keys of the items that have one of these files (path in Stash, size).
        """
        for letter in self._dlq.get_by_error(NOT_FOUND):
            details = letter["details"] or {}
            files = [(path, size) for path, size in details.get("files", [])]
            if items_with(files).difference(
                details.get("not", ())
            ):  # those are known to be another scene's
                scene_id = letter["scene_id"]
                enqueue(self._queue, scene_id, "metadata", letter["job"].get("data") or {})
                self._dlq.delete_scene(scene_id)
                self._reporter.log("info", f"Scene {scene_id}: Plex has its file now")
