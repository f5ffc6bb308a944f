"""Install the libraries of the host page (React and others, as Stash's own page uses) from npm.

`python -m tests.browser.libraries` puts them into the virtual environment; `make test` runs it.
Without npm nothing is installed, and the browser tests say that they did not run.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.simulators.stash.host import FOLDER, LIBRARIES

_LISTS = ("package.json", "package-lock.json")


def modules() -> Path:
    """Return the folder that has the libraries once they are installed."""
    return Path(sys.prefix) / "host" / "node_modules"


def are_installed() -> bool:
    """Return whether all libraries are there."""
    return all((modules() / file).is_file() for file in LIBRARIES.values())


def install() -> str:
    """Install the libraries; return why that was not possible, or "" if they are there."""
    folder = modules().parent
    lists = [(FOLDER / name).read_bytes() for name in _LISTS]
    known = [(folder / name) for name in _LISTS]
    if are_installed() and [file.read_bytes() for file in known if file.is_file()] == lists:
        return ""
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not installed"
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in zip(known, lists, strict=True):
        file.write_bytes(content)
    done = subprocess.run(
        [npm, "ci", "--ignore-scripts", "--legacy-peer-deps", "--no-audit", "--no-fund"],
        cwd=folder,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode == 0 and are_installed():
        return ""
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return f"npm ci failed: {lines[-1] if lines else f'exit status {done.returncode}'}"


if __name__ == "__main__":
    problem = install()
    if problem:
        print(f"The host page's libraries are missing, so no browser tests: {problem}")
