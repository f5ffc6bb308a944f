"""Scans and refreshes: requested now, carried out a little later in two steps."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence

from tests.simulators.plex.notifications import DOWNLOADING, MATCHING, NO_AGENT, PROCESSING
from tests.simulators.plex.records import PlexItem, PlexLibrary
from tests.simulators.plex.state import PlexState, within

Steps = Generator[None, None, None]

_DONE = object()


class Scanner:
    """Finds new and deleted files on the simulated disk."""

    def __init__(self, state: PlexState, delay: float) -> None:
        self.delay = delay
        """Seconds until new items show, and again until their metadata comes."""
        self._state = state
        self._changed = threading.Condition()
        self._jobs: set[threading.Thread] = set()
        self._cancelled = threading.Event()
        self._turn = 0
        """How often the waiting jobs were told not to wait for the delay."""

    def request_scan(
        self, library: PlexLibrary, path: str | None = None, *, force: bool = False
    ) -> None:
        """Start a scan of a section or a folder in it; ignore other folders and files."""
        if path is None or (covers(library, path) and path not in self._state.files):
            self._start(self._scan_in_steps(library, path, force))

    def request_refresh(self, item: PlexItem) -> None:
        self._start(self._refresh_in_steps(item))

    def scan(self, library: PlexLibrary, path: str | None = None) -> list[PlexItem]:
        """Run the first step: remove items of deleted files, add new ones titled by file name."""
        with self._state.lock:
            for item in [item for item in library.items.values() if self._vanished(item, path)]:
                self._state.remove_item(item)
            added = [self._add(library, file) for file in self._new_files(library, path)]
            library.scanned_at = self._state.now()
            return added

    def wait_until_idle(self, timeout: float = 240.0) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._jobs, timeout)

    def run_next_steps(self) -> None:
        """Let each job that waits for the delay carry out its next step now."""
        with self._changed:
            self._turn += 1
            self._changed.notify_all()

    def cancel(self) -> None:
        """Drop pending steps, as a stopping server does."""
        with self._changed:
            cancelled, self._cancelled = self._cancelled, threading.Event()
            jobs = list(self._jobs)
            cancelled.set()
            self._changed.notify_all()
        for job in jobs:
            job.join(10.0)

    def _scan_in_steps(self, library: PlexLibrary, path: str | None, force: bool) -> Steps:
        library.scans += 1
        try:
            yield
            added = self.scan(library, path)
            chosen = list(library.items.values()) if force else added
            yield
            self._refresh_all(chosen, added)
        finally:
            library.scans -= 1

    def _refresh_in_steps(self, item: PlexItem) -> Steps:
        yield
        self._refresh_all([item])

    def _refresh_all(self, items: list[PlexItem], added: Sequence[PlexItem] = ()) -> None:
        """Refresh items; new ones of a library without an agent are not told of again."""
        new = set(added)
        for item in items:
            # It may have been removed since, and its key taken by another item.
            if self._state.items.get(item.rating_key) is item:
                self._state.refresh(item)
                if item in new and item.library.agent == NO_AGENT:
                    continue
                if item in new:
                    self._state.notifications.tell(item, MATCHING, DOWNLOADING, PROCESSING)
                self._state.processed(item)

    def _vanished(self, item: PlexItem, path: str | None) -> bool:
        inside = path is None or all(within(file, path) for file in item.paths)
        return inside and not any(file in self._state.files for file in item.paths)

    def _new_files(self, library: PlexLibrary, path: str | None) -> list[str]:
        folders = library.locations if path is None else [path]
        known = {file for item in library.items.values() for file in item.paths}
        return [
            file
            for file in sorted(self._state.files)
            if file not in known and any(within(file, folder) for folder in folders)
        ]

    def _add(self, library: PlexLibrary, path: str) -> PlexItem:
        file = self._state.files[path]
        return self._state.add_item(
            library,
            [[(path, file.size)]],
            values={},
            tags={},
            added_at=file.modified_at,
            duration=1_200_000,
            agent_metadata=file.agent_metadata,
        )

    def _start(self, steps: Steps) -> None:
        """Run the first step now and the others in a thread, each after the delay."""
        self._step(steps)
        with self._changed:
            args = (steps, self._cancelled, self._turn)
            job = threading.Thread(target=self._run, args=args, name="plex-job", daemon=True)
            self._jobs.add(job)
            job.start()

    def _run(self, steps: Steps, cancelled: threading.Event, turn: int) -> None:
        try:
            while True:
                self._wait(cancelled, turn)
                turn = self._turn  # read before the step shows: what is asked for then is the next
                if cancelled.is_set() or not self._step(steps):
                    break
        finally:
            with self._state.lock:
                steps.close()
            with self._changed:
                self._jobs.discard(threading.current_thread())
                self._changed.notify_all()

    def _wait(self, cancelled: threading.Event, turn: int) -> None:
        """Wait for the delay, for `run_next_steps` or for the end."""
        with self._changed:
            self._changed.wait_for(lambda: cancelled.is_set() or self._turn > turn, self.delay)

    def _step(self, steps: Steps) -> bool:
        with self._state.lock:
            return next(steps, _DONE) is not _DONE


def covers(library: PlexLibrary, path: str) -> bool:
    """Return whether a path is one of a library's locations or a folder inside one."""
    return any(within(path, location) for location in library.locations)
