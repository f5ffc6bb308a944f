"""Stash with the plugin installed: real hook processes, which start real worker processes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from common.data_dir import NOTE_FILE
from tests.harness import results
from tests.harness.base import PLUGIN, TOKEN, Harness
from tests.harness.plugin import install_plugin
from tests.harness.processes import PATIENCE, stop_workers, wait_until, worker_pids
from tests.simulators.plex import PlexItem, PlexSimulator
from tests.simulators.stash import HookRun, Scene, StashSimulator

#: All of the worker's durations except the idle time are multiplied by this.
SCALE = "0.02"
_LOCAL = "127.0.0.1,localhost"

Self = TypeVar("Self", bound="ProcessHarness")


class ProcessHarness(Harness):
    """An installation: a save runs the hook, which starts the worker. Close it at the end."""

    def __init__(
        self,
        folder: Path,
        *,
        data_dir: Path | None = None,
        plex: PlexSimulator | None = None,
        token: str = TOKEN,
        plugins: Path | None = None,
        keeps_note: bool = False,
        env: Mapping[str, str] | None = None,
        stash_options: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """Start the servers.

        Args:
            folder: for Stash's plugins and the data directory.
            data_dir: default: below `folder`.
            plex: default: a new one with `token`.
            plugins: Stash's plugins folder with PlexSync in it; default: one below `folder`.
            keeps_note: whether `plugins` and its data directory were this Stash's before.
            env: added to the plugin's environment; `{plex}` becomes Plex's address.
            stash_options: for `StashSimulator`.
            options: for `Harness`.
        """
        data_dir = data_dir or folder / "data"
        if plugins is None:
            plugins = folder / "plugins"
            install_plugin(plugins / PLUGIN)
        if not keeps_note:  # of an earlier harness: its data directory would be moved here
            (plugins / PLUGIN / NOTE_FILE).unlink(missing_ok=True)
        with ExitStack() as stack:
            plex = plex or stack.enter_context(PlexSimulator(token=token))
            self.environment = {
                "STASH_PLUGIN_DATA": str(data_dir),
                "PLEXSYNC_IDLE_TIMEOUT": "600",
                "PLEXSYNC_TIME_SCALE": SCALE,
                "NO_PROXY": _LOCAL,
                "no_proxy": _LOCAL,
                **{key: value.replace("{plex}", plex.url) for key, value in (env or {}).items()},
            }
            stash = StashSimulator(plugins, env=self.environment, **(stash_options or {}))
            stack.enter_context(stash)
            super().__init__(
                stash,
                plex,
                data_dir,
                # With events it would look seldom while nothing is used: too seldom to wait for.
                settings={"poll_interval": "0.1", "plex_events": False, **(settings or {})},
                **options,
            )
            self._open = stack.pop_all()

    def save(self, scene: Scene, title: str | None = None, **fields: Any) -> HookRun:
        """Save on the edit page; assert that the one hook queued the edit."""
        if title is not None:
            fields["title"] = title
        (run,) = self.stash.save_scene(scene.id, **fields).hooks
        assert (run.exit_code, run.error) == (0, None), run
        assert run.output == {"scene_id": scene.id, "queued": True}
        return run

    def workers(self) -> list[int]:
        """Return the process ids of the workers."""
        return worker_pids(self.data_dir)

    @property
    def worker(self) -> int:
        (pid,) = self.workers()
        return pid

    def wait_for_title(self, item: PlexItem, title: str, timeout: float = PATIENCE) -> None:
        """Wait until Plex shows the title."""
        wait_until(
            lambda: item.title == title,
            lambda: f"{title!r} in Plex, not {item.title!r}; {self.worker_log()[-2000:]}",
            timeout,
        )

    def wait_for_empty_queue(self) -> None:
        wait_until(lambda: not results.queued(self.data_dir), "an empty queue")

    def wait_for_exit(self) -> None:
        """Wait until no worker is left."""
        wait_until(
            lambda: not self.workers(), lambda: f"the worker's end; {self.worker_log()[-2000:]}"
        )

    def stop_worker(self) -> None:
        """Ask the worker to leave, and wait for its end."""
        assert stop_workers(self.data_dir)

    def errors_in_stash(self) -> list[str]:
        return [line.text for line in self.stash.plugin_log if line.level in ("warning", "error")]

    def close(self) -> None:
        """End every process and the servers."""
        self.stash.stop()  # first, because a running hook could start a worker
        self.plex.faults.clear()
        try:
            assert stop_workers(self.data_dir), "a worker could not be ended"
        finally:
            self._open.close()

    def check(self) -> None:
        """Assert, after `close`, that there was no hidden error."""
        assert self.stash.server.errors == []
        assert self.plex.server.errors == []
        stderr = self.data_dir / "worker.stderr"
        assert not stderr.exists() or stderr.read_bytes() == b""
        assert "Traceback" not in self.worker_log()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
