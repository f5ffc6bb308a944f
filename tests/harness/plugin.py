"""Installs the plugin, and runs PlexSync.py by hand as Stash's runner does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.simulators.stash.events import encode, hook_input, scene_update, server_connection
from tests.simulators.stash.pluginlog import decode_line

ROOT = Path(__file__).resolve().parents[2]
ENTRY = ROOT / "PlexSync.py"
#: The contents of a plugin folder besides the data; `tests` and the tools are not needed.
PRODUCT = (
    *("PlexSync.py", "PlexSync.yml", "requirements.txt"),
    *("common", "history", "hooks", "page", "plex", "queue", "stash", "tasks", "ui", "validation"),
    "worker",
)
DEADLINE = 240.0


@dataclass(frozen=True)
class Answer:
    """The output of a run of the plugin."""

    stdout: bytes
    stderr: bytes
    exit_code: int

    @property
    def document(self) -> dict[str, Any]:
        """Return the JSON document on stdout; it has exactly one of two keys."""
        document = json.loads(self.stdout)
        assert isinstance(document, dict)
        assert len(document) == 1
        return document

    @property
    def output(self) -> Any:
        assert self.exit_code == 0, self
        return self.document["output"]

    @property
    def error(self) -> str:
        error = self.document["error"]
        assert isinstance(error, str)
        assert error.strip()
        assert self.exit_code in (0, 1)
        return error

    @property
    def log(self) -> list[tuple[str, str]]:
        """Return (level, text) of each line; every line follows Stash's protocol."""
        lines = self.stderr.splitlines()
        assert all(line[:1] == b"\x01" and line[2:3] == b"\x02" for line in lines), self.stderr
        return [decode_line(line) for line in lines]


def run(
    stdin: bytes,
    data_dir: str | Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    flags: Sequence[str] = (),
    entry: Path = ENTRY,
    umask: int = -1,
    before_exec: Callable[[], None] | None = None,
) -> Answer:
    """Run the plugin once."""
    done = subprocess.run(
        [sys.executable, *flags, str(entry)],
        input=stdin,
        capture_output=True,
        env=environment(data_dir, env),
        umask=umask,
        preexec_fn=before_exec,
        timeout=DEADLINE,
        check=False,
    )
    return Answer(done.stdout, done.stderr, done.returncode)


def environment(
    data_dir: str | Path | None, more: Mapping[str, str] | None = None
) -> dict[str, str]:
    place = {} if data_dir is None else {"STASH_PLUGIN_DATA": str(data_dir)}
    return {**os.environ, **place, **(more or {})}


def save(scene_id: int = 7, *, connection: Mapping[str, Any] | None = None, **fields: Any) -> bytes:
    """Return the stdin of a single save, as Stash writes it."""
    context = scene_update({"id": str(scene_id), **(fields or {"title": f"Title {scene_id}"})})
    return encode(hook_input(context, connection or server_connection(cookie="a-session-cookie")))


def hook(context: object, **arguments: Any) -> bytes:
    """Return the stdin of a hook with any context."""
    arguments = {"hookContext": context, **arguments}
    return json.dumps({"server_connection": server_connection(), "args": arguments}).encode()


def install_plugin(folder: Path) -> Path:
    """Make a plugin folder of links or copies; return the path of its PlexSync.py."""
    folder.mkdir(parents=True)
    for name in PRODUCT:
        source, target = ROOT / name, folder / name
        try:
            target.symlink_to(source, target_is_directory=source.is_dir())
        except (OSError, NotImplementedError):  # Windows without permission to create links
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    return folder / "PlexSync.py"
