"""Run a plugin as Stash does: one process, JSON on stdin, result on stdout, log on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.simulators.stash.events import encode
from tests.simulators.stash.manifest import Manifest, Operation
from tests.simulators.stash.pluginlog import LineSplitter, LogLine, decode_line, default_level

PYTHON_WORDS = ("python", "python3")


class PluginStartError(Exception):
    """The process could not be started."""


@dataclass
class HookRun:
    """One run of a plugin; filled while it runs."""

    plugin: str
    source: str
    """The event, or `task: name`, or `operation`."""
    stdin: dict[str, Any]
    pid: int | None = None
    stdout: bytes = b""
    exit_code: int | None = None
    output: Any = None
    error: str | None = None
    log: list[LogLine] = field(default_factory=list)
    progress: list[float] = field(default_factory=list)
    seconds: float = 0.0
    """Time from the start until stdout was closed and the process had ended."""
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _ended: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait as Stash does: for the end of stdout, then for the process."""
        return self._ended.wait(timeout)

    def kill(self) -> None:
        """Send SIGKILL to this process only; its children continue."""
        if self._process is not None:
            with contextlib.suppress(OSError):
                self._process.kill()


@dataclass(frozen=True)
class Runner:
    """The folder and environment in which plugins run."""

    cwd: Path
    python_path: str = sys.executable
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables added to this process's environment."""

    def start(
        self,
        manifest: Manifest,
        operation: Operation | None,
        stdin: dict[str, Any],
        source: str,
        on_log: Callable[[LogLine], None] = lambda _: None,
    ) -> HookRun:
        run = HookRun(manifest.id, source, stdin)
        command = self._command(manifest, operation)
        started = time.perf_counter()
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self.cwd,
                env=self._environment(manifest),
            )
        except OSError as error:
            raise PluginStartError(
                f'error running plugin: exec: "{command[0]}": {error.strerror}'
            ) from error
        run._process, run.pid = process, process.pid
        assert (
            process.stdin is not None and process.stdout is not None and process.stderr is not None
        )
        _thread(_write, process.stdin, encode(stdin))
        gone = threading.Event()
        reader = _thread(
            _read_log, process.stderr, run, default_level(manifest.err_log), on_log, gone
        )
        _thread(_finish, process, process.stdout, run, started, gone, reader)
        return run

    def _command(self, manifest: Manifest, operation: Operation | None) -> list[str]:
        command = manifest.command(operation)
        if not command:
            raise PluginStartError(
                f"empty exec value in operation {operation.name if operation is not None else ''}"
            )
        if command[0] in PYTHON_WORDS:
            command[0] = self.python_path
        elif shutil.which(command[0]) is None:
            command[0] = str(manifest.folder / command[0])
        return command

    def _environment(self, manifest: Manifest) -> dict[str, str]:
        environment = {**os.environ, **self.env}
        if manifest.exec and manifest.exec[0] in PYTHON_WORDS:
            paths = [environment.get("PYTHONPATH"), str(manifest.folder.parent)]
            environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        return environment


def parse_output(stdout: bytes) -> tuple[Any, str | None]:
    """Parse stdout into output and error; text that is not the right JSON is raw output."""
    text = stdout.decode("utf-8", "replace")
    try:
        document = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text, None
    if document is None:
        return None, None
    if not isinstance(document, dict):
        return text, None
    answer = {key.lower(): value for key, value in document.items()}
    if not isinstance(answer.get("error"), str | None):
        return text, None
    return answer.get("output"), answer.get("error")


def exit_error(exit_code: int) -> str | None:
    """Return the exit error in Go's wording; None for success."""
    if exit_code == 0:
        return None
    if exit_code > 0 or os.name == "nt":
        return f"exit status {exit_code}"
    names = {
        signal.SIGTERM: "terminated",
        signal.SIGINT: "interrupt",
        signal.SIGSEGV: "segmentation fault",
    }
    killed = signal.Signals(-exit_code)
    return f"signal: {names.get(killed, killed.name.removeprefix('SIG').lower())}".replace(
        "kill", "killed"
    )


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _thread(target: Callable[..., None], *args: Any) -> threading.Thread:
    thread = threading.Thread(target=target, args=args, name="stash-plugin", daemon=True)
    thread.start()
    return thread


def _write(pipe: IO[bytes], document: bytes) -> None:
    with contextlib.suppress(OSError):  # a plugin may exit without reading its input
        pipe.write(document)
    with contextlib.suppress(OSError):
        pipe.close()


def _finish(
    process: subprocess.Popen[bytes],
    stdout: IO[bytes],
    run: HookRun,
    started: float,
    gone: threading.Event,
    reader: threading.Thread,
) -> None:
    with stdout:
        run.stdout = stdout.read()
    run.exit_code = process.wait()
    run.seconds = time.perf_counter() - started
    run.output, error = parse_output(run.stdout)
    run.error = error if error is not None else exit_error(run.exit_code)
    gone.set()
    reader.join(None if os.name != "nt" else 0.2)
    run._ended.set()


def _read_log(
    pipe: IO[bytes],
    run: HookRun,
    unmarked_level: str,
    on_log: Callable[[LogLine], None],
    gone: threading.Event,
) -> None:
    """Read until the end, an overlong line or the exit of the process; then close the pipe."""
    splitter = LineSplitter()
    with pipe:
        for chunk in _chunks(pipe, gone):
            for line in splitter.feed(chunk):
                _log_line(line, run, unmarked_level, on_log)
            if splitter.gave_up:
                return
        for line in splitter.end():
            _log_line(line, run, unmarked_level, on_log)


def _chunks(pipe: IO[bytes], gone: threading.Event) -> Iterator[bytes]:
    descriptor = pipe.fileno()
    if os.name == "nt":  # no select on pipes there
        while chunk := os.read(descriptor, 65536):
            yield chunk
        return
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            was_gone = gone.is_set()
            if selector.select(0 if was_gone else 0.02):
                if not (chunk := os.read(descriptor, 65536)):
                    return
                yield chunk
            elif was_gone:  # only a child that inherited stderr still has it open
                return


def _log_line(
    line: bytes, run: HookRun, unmarked_level: str, on_log: Callable[[LogLine], None]
) -> None:
    level, text = decode_line(line, unmarked_level)
    if level == "progress":
        try:
            run.progress.append(float(text))
            return
        except ValueError as error:
            level, text = "error", f"Error parsing progress value '{text}': {error}"
    if level != "none":
        decoded = LogLine(level, text, run.plugin, run.source)
        run.log.append(decoded)
        on_log(decoded)
