"""Keeps tests, demo and benchmarks away from all that they did not start.

Each session has a home folder of its own and knows the addresses that it bound. `sitecustomize` in this folder
refuses every other address, here and in child processes.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.isolation.sitecustomize import GUARDED, NOTES, VARIABLE, file_name

__all__ = ["VARIABLE"]

FOLDER = str(Path(__file__).resolve().parent)
_HOME = ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA")
_XDG = ("CONFIG_HOME", "CACHE_HOME", "DATA_HOME", "STATE_HOME", "CONFIG_DIRS", "RUNTIME_DIR")
#: Variables that would lead PlexSync to the user's own servers and files, or change what it does.
_PREFIXES = ("STASH_", "PLEX_", "PLEXAPI_")
_NAMES = ("PLEXSYNC_TIME_SCALE", "PLEXSYNC_IDLE_TIMEOUT", "PLEXSYNC_SOAK_KILL")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def register(host: str, port: int) -> None:
    """Allow this address to all processes of the session."""
    folder = os.environ.get(VARIABLE)
    if folder:
        Path(folder, file_name(host, port)).touch()


def unregister(host: str, port: int) -> None:
    """Forbid the address again."""
    folder = os.environ.get(VARIABLE)
    if folder:
        Path(folder, file_name(host, port)).unlink(missing_ok=True)


def reserve(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Return a socket that is bound but does not listen: its port refuses connections and stays ours.

    Raises:
        OSError: the port is not free.
    """
    reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name != "nt":  # there it would let two servers share the port
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((host, port))
    except OSError:
        reserved.close()
        raise
    return reserved


@functools.cache
def closed_port() -> int:
    """Return a port of this process on which no server ever listens."""
    reserved = reserve()
    port = int(reserved.getsockname()[1])
    register("127.0.0.1", port)
    reserved.detach()  # it stays open as long as this process lives
    return port


def closed_url() -> str:
    """Return an address on which no server ever listens."""
    return f"http://127.0.0.1:{closed_port()}"


def search_path(*folders: str) -> str:
    """Return a PYTHONPATH with these folders; in a session of tests the guard's folder is the first."""
    guard = [FOLDER] if os.environ.get(VARIABLE) else []
    return os.pathsep.join([*guard, *folders])


@contextlib.contextmanager
def private_home(folder: str | None = None) -> Iterator[str]:
    """Have a temporary home folder, and no setting from outside, here and in child processes.

    Args:
        folder: where to make it; default: among the temporary files.
    """
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(
        prefix="plexsync-home-", dir=folder, ignore_cleanup_errors=True
    ) as home:
        for name in list(os.environ):
            if name.startswith(_PREFIXES) or name in _NAMES or name.upper() in _PROXIES:
                del os.environ[name]
        os.environ.update(dict.fromkeys((*_HOME, *(f"XDG_{name}" for name in _XDG)), home))
        try:
            yield home
        finally:
            os.environ.clear()
            os.environ.update(before)


def guard_python(folder: Path, site: Path) -> None:
    """Have a virtual environment load the guard also where a program hides PYTHONPATH from it.

    Args:
        folder: of the environment.
        site: its `site-packages`.
    """
    line = f"import sys; sys.path.insert(0, {FOLDER!r})\n"
    site.joinpath("guard.pth").write_text(line, encoding="utf-8")
    folder.joinpath(GUARDED).touch()


class Guard:
    """Refuses connections to unregistered addresses, in this process and its children, and reports them."""

    def __init__(self, folder: str) -> None:
        """Start it.

        Args:
            folder: for the registered addresses and the notes of refusals.
        """
        self._notes = Path(folder, NOTES)
        self._seen = 0
        os.environ[VARIABLE] = folder
        others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        os.environ["PYTHONPATH"] = search_path(*(one for one in others if one not in ("", FOLDER)))
        _loaded().use(folder)

    def refusals(self) -> list[str]:
        """Return the refusals since the last call."""
        if not self._notes.exists():
            return []
        lines = self._notes.read_text(encoding="utf-8", errors="replace").splitlines()
        new, self._seen = lines[self._seen :], len(lines)
        return new


def _loaded() -> Any:
    """Return the guard's module; a process that was started with it must not have a second hook."""
    first = sys.modules.get("sitecustomize")
    ours = sys.modules["tests.isolation.sitecustomize"]
    return first if hasattr(first, "use") else ours
