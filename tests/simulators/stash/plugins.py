"""Stash's plugins and their runs."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.simulators.stash.events import HookContext, hook_input, server_connection, task_input
from tests.simulators.stash.jobs import Job, JobFailed, JobQueue
from tests.simulators.stash.manifest import Manifest, Operation, load_plugins
from tests.simulators.stash.pluginlog import LogLine
from tests.simulators.stash.runner import HookRun, PluginStartError, Runner
from tests.simulators.stash.sessions import Session, Sessions

MAX_DEPTH = 10
"""Maximum nesting of equal hooks."""


class RequestCancelled(Exception):
    """The client has disconnected: committed changes stay, the rest is skipped."""


@dataclass
class Caller:
    """One request: its user, its address, and the plugin runs that it caused."""

    user: str = ""
    visited: tuple[str, ...] = ()
    base_url: str = ""
    runs: list[HookRun] = field(default_factory=list)
    resolvers: Mapping[str, Mapping[str, Callable[..., Any]]] = field(default_factory=dict)
    """Of the simulator that handles the request, by type and field."""
    _cancelled: bool = False
    _current: HookRun | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        """Kill the running plugin after the client has disconnected."""
        with self._lock:
            self._cancelled = True
            if self._current is not None:
                self._current.kill()

    def check(self) -> None:
        if self._cancelled:
            raise RequestCancelled("context canceled")

    @contextmanager
    def running(self, run: HookRun) -> Iterator[None]:
        """Let `cancel` kill the run during this block."""
        with self._lock:
            self._current = run
            if self._cancelled:
                run.kill()
        try:
            yield
        finally:
            with self._lock:
                self._current = None


class PluginError(Exception):
    """The error of a plugin's operation."""


class PluginHost:
    """Loads plugins and runs their hooks, tasks and operations."""

    def __init__(
        self,
        directory: Path,
        runner: Runner,
        sessions: Sessions,
        jobs: JobQueue,
        connection: Mapping[str, Any],
        port: Callable[[], int],
    ) -> None:
        self.log: list[LogLine] = []
        """Every line that plugins logged, and Stash's own about them, in order."""
        self.settings: dict[str, dict[str, Any]] = {}
        self.disabled: set[str] = set()
        self.manifests: dict[str, Manifest] = {}
        self._directory = directory
        self._runner = runner
        self._sessions = sessions
        self._jobs = jobs
        self._connection = dict(connection)
        self._port = port
        self._runs: list[HookRun] = []
        self._lock = threading.Lock()
        self.reload()

    def reload(self) -> None:
        self.manifests = load_plugins(self._directory, lambda text: self.say("error", text))

    def say(self, level: str, text: str, plugin: str = "") -> None:
        self.log.append(LogLine(level, text, plugin, "stash"))

    def enabled(self) -> list[Manifest]:
        return [
            manifest for manifest in self.manifests.values() if manifest.id not in self.disabled
        ]

    def connection(self, manifest: Manifest, caller: Caller) -> dict[str, Any]:
        """Return the `server_connection` of a run, with its own session cookie."""
        cookie = self._sessions.make(Session(caller.user, caller.visited))
        options = {"port": self._port(), "cookie": cookie, **self._connection}
        return server_connection(**options, plugin_folder=str(manifest.folder))

    # --- hooks

    def execute_hooks(self, context: HookContext, caller: Caller) -> None:
        """Run the matching hooks one after another; stop at one that does not start."""
        for manifest in self.enabled():
            visit = f"{manifest.id}/{context.type}"
            if Counter(caller.visited)[visit] >= MAX_DEPTH:
                self.say(
                    "error", f"plugin {manifest.id} triggered itself too often: {context.type}"
                )
                continue
            for hook in manifest.hooks_for(context.type):
                if caller.cancelled:
                    return
                if not self._run_hook(manifest, hook, context, caller, visit):
                    return

    def _run_hook(
        self, manifest: Manifest, hook: Operation, context: HookContext, caller: Caller, visit: str
    ) -> bool:
        """Run one hook; return False when it could not be started."""
        inner = Caller(caller.user, (*caller.visited, visit))
        stdin = hook_input(context, self.connection(manifest, inner), hook.default_args)
        try:
            run = self.start(manifest, hook, stdin, context.type)
        except PluginStartError as error:
            self.say("error", f"error executing post hooks: {error}", manifest.id)
            return False
        caller.runs.append(run)
        with caller.running(run):
            run.wait()
        if run.error is not None:
            self.say("error", f"error executing post hooks: {run.error}", manifest.id)
        return True

    # --- tasks

    def start_task(
        self,
        plugin_id: str,
        task_name: str | None,
        args: Mapping[str, Any] | None,
        caller: Caller,
        description: str | None = None,
    ) -> Job:
        label = description or f"Running plugin task: {task_name or plugin_id}"
        caller = Caller(caller.user, caller.visited)  # a job outlives its request
        return self._jobs.submit(
            label, lambda job: self._run_task(job, plugin_id, task_name, args, caller)
        )

    def _run_task(
        self,
        job: Job,
        plugin_id: str,
        task_name: str | None,
        args: Mapping[str, Any] | None,
        caller: Caller,
    ) -> None:
        manifest, operation = self._task(plugin_id, task_name)
        stdin = task_input(args, self.connection(manifest, caller), operation.default_args)
        try:
            job.run = self.start(
                manifest, operation, stdin, f"task: {task_name or ''}".rstrip(" :")
            )
        except PluginStartError as error:
            raise JobFailed(f"Error starting plugin task: {error}") from error
        job.when_stopped(job.run.kill)
        while not job.run.wait(0.02) and not job.cancelled.is_set():
            pass
        if job.run.ended and job.run.error is not None:
            self.say("error", f"Plugin returned error: {job.run.error}", plugin_id)

    def _task(self, plugin_id: str, task_name: str | None) -> tuple[Manifest, Operation]:
        manifest = self.manifests.get(plugin_id)
        if manifest is None:
            raise JobFailed(f"Error creating plugin task: no plugin with ID {plugin_id}")
        if task_name is None:
            return manifest, Operation()
        operation = manifest.task(task_name)
        if operation is None:
            raise JobFailed(f"Error creating plugin task: no task with name {task_name} in plugin")
        return manifest, operation

    # --- operations

    def run_operation(self, plugin_id: str, args: Mapping[str, Any] | None, caller: Caller) -> Any:
        manifest = self.manifests.get(plugin_id)
        if manifest is None:
            raise PluginError(
                "Internal system error. Error <runtime error: invalid memory address or nil"
                " pointer dereference>"
            )
        stdin = task_input(args, self.connection(manifest, caller))
        try:
            run = self.start(manifest, None, stdin, "operation")
        except PluginStartError as error:
            raise PluginError(str(error)) from error
        caller.runs.append(run)
        with caller.running(run):
            run.wait()
        caller.check()
        if run.error is not None:
            raise PluginError(run.error)
        return run.output

    # --- processes

    def start(
        self, manifest: Manifest, operation: Operation | None, stdin: dict[str, Any], source: str
    ) -> HookRun:
        if manifest.interface != "raw":
            raise PluginStartError(
                f"the simulator does not run plugins of interface {manifest.interface}"
            )
        run = self._runner.start(manifest, operation, stdin, source, self.log.append)
        with self._lock:
            self._runs.append(run)
        return run

    def runs(self) -> list[HookRun]:
        """Return all runs in the order of their start."""
        with self._lock:
            return list(self._runs)

    def kill_all(self) -> None:
        """Kill every running plugin process."""
        for run in self.runs():
            if not run.ended:
                run.kill()
