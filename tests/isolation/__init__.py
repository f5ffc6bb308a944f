"""Keep tests, demo and benchmarks away from servers and files that are not their own.

Each session has its own home folder and a list of the addresses that it bound. `sitecustomize` in
this folder refuses every other address, here and in child processes.
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
#: Variables that point PlexSync to the user's own servers and files, or change its behaviour.
_PREFIXES = ("STASH_", "PLEX_", "PLEXAPI_")
_NAMES = (
    "PLEXSYNC_TIME_SCALE", "PLEXSYNC_IDLE_TIMEOUT", "PLEXSYNC_SOAK_KILL", "PYTHONDONTWRITEBYTECODE",
)  # fmt: skip
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def register(host: str, port: int) -> None:
    """Allow this address for all processes of the session."""
    folder = os.environ.get(VARIABLE)
    if folder:
        Path(folder, file_name(host, port)).touch()


def unregister(host: str, port: int) -> None:
    """Forbid the address again."""
    folder = os.environ.get(VARIABLE)
    if folder:
        Path(folder, file_name(host, port)).unlink(missing_ok=True)


def reserve(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Bind a socket that does not listen: its port refuses connections and stays reserved.

    Raises:
        OSError: the port is not free.
    """
    reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name != "nt":  # on Windows it would let two servers share the port
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((host, port))
    except OSError:
        reserved.close()
        raise
    return reserved


@functools.cache
def closed_port() -> int:
    """Return a reserved port that refuses connections."""
    reserved = reserve()
    port = int(reserved.getsockname()[1])
    register("127.0.0.1", port)
    reserved.detach()  # it stays open as long as this process lives
    return port


def closed_url() -> str:
    """Return a reserved address that refuses connections."""
    return f"http://127.0.0.1:{closed_port()}"


def search_path(*folders: str) -> str:
    """Return a PYTHONPATH with these folders; in a test session the guard's folder comes first."""
    guard = [FOLDER] if os.environ.get(VARIABLE) else []
    return os.pathsep.join([*guard, *folders])


@contextlib.contextmanager
def private_home(folder: str | None = None) -> Iterator[str]:
    """Use a temporary home folder and clear outside settings, here and in child processes.

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
    """Refuses and reports connections to unregistered addresses, here and in child processes."""

    def __init__(self, folder: str) -> None:
        """Start it.

        Args:
            folder: holds the registered addresses and the recorded refusals.
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


def started_guarded() -> bool:
    """Return whether Python has loaded the guard when this process started."""
    return hasattr(sys.modules.get("sitecustomize"), "use")


def _loaded() -> Any:
    """Return the guard's module; reuse a loaded one, so that there is only one audit hook."""
    return sys.modules["sitecustomize" if started_guarded() else "tests.isolation.sitecustomize"]
