"""Puts the packages that PlexSync needs into a folder of its own beside it; nothing else is touched.

It runs where nothing is installed, so it loads the standard library only. pip works into a new folder, and only when
everything there can be imported does that folder take the place of the old one. So whatever fails, or is killed,
the old one goes on working.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from common.data_dir import HERE
from stash.log import log, progress
from stash.plugin_input import write_response
from tasks.install_errors import InstallError, explain
from tasks.install_folder import FOLDER, alone, staging, swap, tidy
from tasks.install_pip import check, look, run_pip

REQUIREMENTS = "requirements.txt"


@dataclass(frozen=True)
class Installed:
    """What was installed."""

    folder: str
    python: str
    packages: dict[str, str]
    """Version by name."""

    def sentence(self) -> str:
        """Return it as one line."""
        names = ", ".join(
            f"{name} {self.packages[name]}" for name in sorted(self.packages, key=str.lower)
        )
        return f"Installed for Python {self.python} in {self.folder}: {names}"


def install_dependencies(
    plugin_dir: str | os.PathLike[str],
    *,
    python: str = sys.executable,
    say: Callable[[str], object] = lambda line: None,
    report: Callable[[float], object] = lambda fraction: None,
) -> Installed:
    """Install what `requirements.txt` in `plugin_dir` names into `dependencies` there.

    Args:
        python: the Python that is to import the packages; its pip is used, or the one that it could install.
        say: called with each step, one line.
        report: called with how much is done, 0 to 1.

    Raises:
        InstallError: it was not possible.
    """
    place = os.path.abspath(plugin_dir)
    requirements = os.path.join(place, REQUIREMENTS)
    if not os.path.isfile(requirements):
        raise InstallError(f"{requirements} is missing: install PlexSync again")
    try:
        with alone(place):
            tidy(place, say)
            with staging(place, say) as folder:
                return _install(place, folder, python or "python3", say, report)
    except OSError as error:
        raise InstallError(explain(error, place)) from None


def run_install_task() -> int:
    """Install as a task of Stash; return the exit status."""
    progress(0.0)
    try:
        result = install_dependencies(HERE, say=lambda line: log("debug", line), report=progress)
    except InstallError as error:
        return _fail_task(str(error))
    except Exception as error:  # noqa: BLE001 - a user must never see a traceback
        return _fail_task(f"{type(error).__name__}: {error}. Please report this")
    progress(1.0)
    log("info", result.sentence())
    write_response(output=_document(result))
    return 0


def run_install_command(as_json: bool) -> int:
    """Install as a command of a shell, which reads plain lines or one JSON document; return the exit status."""
    say = _ignore if as_json else _print
    try:
        result = install_dependencies(HERE, say=say)
    except InstallError as error:
        return _fail_command(str(error), as_json)
    except KeyboardInterrupt:
        _fail_command("stopped; what was there before is untouched", as_json)
        return 130
    except Exception as error:  # noqa: BLE001 - a user must never see a traceback
        return _fail_command(f"{type(error).__name__}: {error}. Please report this", as_json)
    _print(json.dumps(_document(result)) if as_json else result.sentence())
    return 0


def _install(
    place: str,
    folder: str,
    path: str,
    say: Callable[[str], object],
    report: Callable[[float], object],
) -> Installed:
    python = look(path, place, folder)
    new = os.path.join(folder, "packages")
    run_pip(python, os.path.join(place, REQUIREMENTS), new, say, report)
    packages = check(python, new)
    swap(place, new)
    return Installed(os.path.join(place, FOLDER), python.version, packages)


def _document(result: Installed) -> dict[str, object]:
    return {
        "result": result.sentence(),
        "folder": result.folder,
        "python": result.python,
        "packages": dict(sorted(result.packages.items())),
    }


def _fail_task(text: str) -> int:
    log("error", text)
    write_response(error=text)
    return 1


def _fail_command(text: str, as_json: bool) -> int:
    if as_json:
        _print(json.dumps({"error": text}))
    else:
        sys.stderr.write(f"PlexSync install: {text}\n")
    return 1


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _ignore(line: str) -> None:
    """Say nothing: stdout is for the one document."""
