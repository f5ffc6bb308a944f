"""Operations as a user starts them: task buttons of a simulated Stash, and commands in a shell."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.harness.installation import SCALE
from tests.harness.plugin import DEADLINE, ENTRY, environment

if TYPE_CHECKING:
    from tests.harness.installation import ProcessHarness

PLUGIN = "PlexSync"


@dataclass(frozen=True)
class Done:
    """The output of a task: Stash's log and the response."""

    output: dict[str, Any]
    #: (level, text), in order
    log: list[tuple[str, str]]
    progress: list[float]

    @property
    def summary(self) -> str:
        """Return the last line, which states the result."""
        return self.log[-1][1]

    @property
    def level(self) -> str:
        return self.log[-1][0]

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.log]


def run_task(harness: ProcessHarness, name: str, **arguments: Any) -> Done:
    """Press a task button, wait for its end, and assert success."""
    job = harness.stash.run_task(
        PLUGIN, name, {key: str(value) for key, value in arguments.items()}
    )
    assert job.wait(DEADLINE), f"{name} does not end; {harness.worker_log()[-2000:]}"
    assert job.run is not None
    assert (job.status, job.run.exit_code, job.run.error) == ("FINISHED", 0, None), job.run
    assert isinstance(job.run.output, dict), job.run.stdout
    assert b"Traceback" not in job.run.stdout
    assert not any("Traceback" in line.text for line in job.run.log)
    return Done(job.run.output, [(line.level, line.text) for line in job.run.log], job.progress)


def refused_task(harness: ProcessHarness, name: str, **arguments: Any) -> str:
    """Press a task button that must fail; return the error."""
    job = harness.stash.run_task(
        PLUGIN, name, {key: str(value) for key, value in arguments.items()}
    )
    assert job.wait(DEADLINE)
    assert job.run is not None
    assert job.run.error, job.run
    assert "\n" not in job.run.error
    assert "error" not in [line.level for line in job.run.log], "Stash logs it"
    logged = [line.text for line in harness.stash.plugin_log if job.run.error in line.text]
    assert len(logged) == 1, logged
    assert list(json.loads(job.run.stdout)) == ["error"]
    return job.run.error


@dataclass(frozen=True)
class Shown:
    """The output of a command on its terminal."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """Return the JSON document on stdout."""
        document = json.loads(self.stdout)
        assert isinstance(document, dict)
        return document


def run_command(
    data_dir: str | Path,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    terminal: int | None = None,
) -> Shown:
    """Run a command as a shell does; assert no traceback and no Stash log prefixes in its output.

    Args:
        env: added to its environment; without it, the worker's durations are short.
        terminal: a descriptor used as stderr, for output that only a terminal gets.
    """
    done = subprocess.run(
        [sys.executable, str(ENTRY), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if terminal is None else terminal,
        env=environment(data_dir, {"PLEXSYNC_TIME_SCALE": SCALE, **(env or {})}),
        timeout=DEADLINE,
        check=False,
        text=True,
        encoding="utf-8",
    )
    shown = Shown(done.returncode, done.stdout, done.stderr or "")
    assert "Traceback" not in shown.stdout + shown.stderr, shown
    return shown
