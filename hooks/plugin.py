"""Run the plugin for Stash: JSON on stdin, JSON on stdout, log lines on stderr.

Every failure ends as one line that says what happened and what to do.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from contextlib import suppress
from importlib.machinery import PathFinder

from common.data_dir import find_data_dir
from common.files import ForeignOwner
from common.hook_times import record_hook_time
from common.locks import NoLocks
from hooks.events import EventError
from stash.connection import StashConnection, save_connection
from stash.deferred_log import take_deferred_lines
from stash.log import log
from stash.plugin_input import InputError, read_input, write_response
from stash.settings import carried_settings
from worker.process import (
    SILENT,
    STARTED,
    ensure_worker,
    ensure_worker_if_wanted,
    is_unfinished,
    mark_if_wanted,
    mark_opened,
    mark_unfinished,
    worker_alive,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

#: Mode of the task that installs the packages; the only one that runs without them.
INSTALL = "install"
#: Modes that are answered without the packages: a view of the page, and the start of a worker.
PAGE, WAKE = "page", "wake"
_REQUIRED = ("persistqueue", "plexapi", "requests", "pydantic")


def run_plugin(
    entry: ModuleType,
    run_task: Callable[[dict[str, Any]], int],
    show_page: Callable[[dict[str, Any], str | None], dict[str, Any]],
) -> int:
    """Read the input, run its hook, task or view, and return the exit status.

    Args:
        entry: the module `PlexSync`.
        run_task: runs a task; called only if all packages are installed, or to install them.
        show_page: returns the answer of a view of the page to an input; its second argument says
            why tasks can't run, or is None. A `ValueError` is one line for the user.
    """
    try:
        input_data = read_input(sys.stdin.buffer)
    except InputError as error:
        return _fail(str(error))
    arguments = input_data.get("args") or {}
    if "hookContext" in arguments:
        return _run_hook(entry, input_data, arguments["hookContext"])
    if arguments.get("mode") == PAGE:
        return _show_page(entry, input_data, show_page)
    if arguments.get("mode") == WAKE:
        return _run_wake(entry, input_data)
    if "mode" in arguments:
        if sys.version_info < entry.OLDEST_PYTHON:
            return _fail(entry.explain_python())
        problem = package_problem(entry) if arguments["mode"] != INSTALL else None
        if problem:
            return _fail(problem)
        try:
            return run_task(input_data)
        except ImportError as error:
            return _fail(explain_import(entry, error))
    return _fail(
        "args holds neither hookContext nor mode: run PlexSync by a hook or a task button of Stash"
    )


def missing_packages() -> list[str]:
    """Return the required packages that are not installed, without importing any."""
    return [name for name in _REQUIRED if PathFinder.find_spec(name) is None]


def why_not_to_work(entry: ModuleType) -> str | None:
    """Return in one line why this Python can't run tasks and the worker, or None."""
    if sys.version_info < entry.OLDEST_PYTHON:
        return str(entry.explain_python())
    return package_problem(entry)


def outdated_packages(entry: ModuleType) -> list[str]:
    """Return the installed packages that this version of PlexSync can't use, with what it needs.

    Only those that *Install dependencies* installed: the folder names their versions.
    """
    try:
        found = os.listdir(entry.DEPENDENCIES)
    except OSError:
        return []
    versions = {}
    for folder in found:
        name, _, rest = folder.partition("-")
        if rest.endswith(".dist-info"):
            versions[_plain(name)] = rest[: -len(".dist-info")]
    return unfit_packages(entry.HERE, versions)


def unfit_packages(plugin_dir: str, versions: dict[str, str]) -> list[str]:
    """Return the packages that this version of PlexSync can't use, with what it needs.

    Args:
        versions: name of a package, in lower case and with hyphens → its version.
    """
    try:
        with open(os.path.join(plugin_dir, "requirements.txt"), encoding="utf-8") as file:
            lines = file.readlines()
    except OSError:
        return []
    unfit = []
    for line in lines:
        needed = line.partition("#")[0].strip()
        name, _, limits = needed.partition(">=")
        version = versions.get(_plain(name))
        lowest, _, highest = limits.partition(",<")
        if version and not _numbers(lowest) <= _numbers(version) < _numbers(highest or "9999"):
            unfit.append(f"{name} {version} (needed: {limits and '>='}{limits})")
    return unfit


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "-")


def _numbers(version: str) -> list[int]:
    parts = version.split(".")
    return [int(part) for part in parts if part.isdecimal()]


def how_to_update(entry: ModuleType, outdated: list[str]) -> str:
    """Return a one-line instruction for packages of the wrong version."""
    return (
        f"this version of PlexSync needs other Python packages: {', '.join(outdated)}. Run the"
        " task Install dependencies, or in a shell:"
        f" {sys.executable or 'python3'} {entry.SCRIPT} install"
    )


def package_problem(entry: ModuleType) -> str | None:
    """Return what is wrong with the installed packages and what to do, in one line, or None."""
    missing = missing_packages()
    if missing:
        return how_to_install(entry, missing)
    outdated = outdated_packages(entry)
    return how_to_update(entry, outdated) if outdated else None


def how_to_install(entry: ModuleType, missing: list[str]) -> str:
    """Return a one-line instruction for missing packages."""
    return (
        f"Python packages are missing: {', '.join(missing)}. Run the task Install dependencies,"
        f" or in a shell: {sys.executable or 'python3'} {entry.SCRIPT} install"
    )


def explain_import(entry: ModuleType, error: ImportError) -> str:
    """Return a one-line instruction for packages that are installed but can't be imported."""
    return (
        f"the Python packages can't be loaded by this Python ({error}):"
        " run the task Install dependencies again,"
        f" or in a shell: {sys.executable or 'python3'} {entry.SCRIPT} install"
    )


def _show_page(
    entry: ModuleType,
    input_data: dict[str, Any],
    show_page: Callable[[dict[str, Any], str | None], dict[str, Any]],
) -> int:
    """Answer a view of the page. Nothing is written and nothing is started."""
    try:
        answer = show_page(input_data, why_not_to_work(entry))
    except ValueError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(explain(error))
    except Exception as error:  # noqa: BLE001 - the user never sees a traceback
        return _fail(f"Unexpected error: {type(error).__name__}: {error}. Please report this")
    write_response(output=answer)
    return 0


def _run_wake(entry: ModuleType, input_data: dict[str, Any]) -> int:
    """Start a worker if one is wanted and none is alive; tell the living one that Stash is used."""
    problem = why_not_to_work(entry)
    if problem:
        return _fail(problem)
    try:
        data_dir = find_data_dir(entry.HERE, _server(input_data))
        is_there = os.path.isdir(data_dir)
        started = is_there and wake_if_waiting(data_dir, entry.SCRIPT, input_data)
    except (OSError, sqlite3.Error) as error:
        return _fail(explain(error))
    write_response(output={"started": started})
    return 0


def wake_if_waiting(data_dir: str, entry: str, input_data: dict[str, Any] | None = None) -> bool:
    """Start a worker if one is wanted and none is alive; return whether one was started.

    One that is alive learns that Stash is used.

    Args:
        entry: path of `PlexSync.py`.
        input_data: of Stash; its connection is kept for the worker. None: the last one is used.

    Raises:
        OSError, sqlite3.Error: the queue can't be read, or no process could be started.
    """
    mark_if_wanted(data_dir)
    if not is_unfinished(data_dir):
        return False
    server = None if input_data is None else _server(input_data)
    if input_data is not None and server is not None:  # for one that is alive it may be new, too
        save_connection(data_dir, StashConnection(server, carried_settings(input_data)))
    if worker_alive(data_dir):
        mark_opened(data_dir)
        return False
    return ensure_worker_if_wanted(data_dir, entry) == STARTED


def _run_hook(entry: ModuleType, input_data: dict[str, Any], hook_context: Any) -> int:
    """Queue the event; return the exit status."""
    try:
        entry.initialize(carried_settings(input_data), _server(input_data))
        response = entry.handle_hook(hook_context)
    except EventError as error:
        return _fail(str(error))
    except (OSError, sqlite3.Error) as error:
        return _fail(
            f"this edit could not be queued: {explain(error)} Then save the scene again, or wait:"
            " PlexSync finds the edit when it next compares Stash and Plex"
        )
    except Exception as error:  # noqa: BLE001 - the user never sees a traceback
        return _fail(
            f"this edit could not be queued: {type(error).__name__}: {error}. Please report this"
        )
    if response["queued"]:
        return _after_queueing(entry, input_data, response)
    session = entry.current_session()
    is_wanted = is_unfinished(session.data_dir) or session.is_outdated()
    if is_wanted and not why_not_to_work(entry):
        _wake(entry, input_data, "edits wait")
    write_response(output=response)
    return 0


def _after_queueing(entry: ModuleType, input_data: dict[str, Any], response: dict[str, Any]) -> int:
    """Start the worker for a queued edit. A failure here is reported; the edit stays queued."""
    session = entry.current_session()
    data_dir = session.data_dir
    with suppress(OSError):  # without the mark, only the next save starts a worker
        mark_unfinished(data_dir)
    log("debug", " ".join(f"{key}={value}" for key, value in response.items()))
    problem = why_not_to_work(entry)
    if problem:
        return _fail(f"the edit is queued, but {problem}")
    _wake(entry, input_data, "the edit is queued")
    for level, text in take_deferred_lines(data_dir):
        log(level, text)
    record_hook_time(data_dir, time.perf_counter() - entry.STARTED)
    write_response(output=response)
    return 0


def _wake(entry: ModuleType, input_data: dict[str, Any], what: str) -> None:
    """Start a worker; report a failure, which costs no edit."""
    session = entry.current_session()
    try:
        wake_worker(session.data_dir, entry, input_data, session.settings)
    except OSError as error:
        log("warning", f"{what}, but no worker could be started: {explain(error)}")


def wake_worker(
    data_dir: str, entry: ModuleType, input_data: dict[str, Any], settings: dict[str, Any]
) -> None:
    """Save the connection to Stash for the worker, and start a worker if none is running.

    Args:
        settings: the settings in the input.

    Raises:
        OSError: the worker could not be started.
    """
    server = _server(input_data)
    if server is not None:
        save_connection(data_dir, StashConnection(server, settings))
    if ensure_worker(data_dir, entry.SCRIPT) == SILENT:
        log(
            "warning",
            f"PlexSync's worker makes no progress; edits are kept. Its log is in {data_dir}",
        )


def _server(input_data: dict[str, Any]) -> dict[str, Any] | None:
    server = input_data.get("server_connection")
    return server if isinstance(server, dict) else None


def explain(error: Exception) -> str:
    """Describe an error of the data directory and what to do about it."""
    text = str(error)
    if isinstance(error, NoLocks):
        return f"{text}."
    if "disk is full" in text or getattr(error, "errno", None) == 28:
        return f"the disk is full ({text}). Free some space."
    if "disk I/O error" in text:  # SQLite's words also where a side file finds no space
        return f"the disk is full, or fails ({text}). Free some space."
    if "not a database" in text or "malformed" in text:
        return (
            f"a database of PlexSync is damaged ({text})."
            " The worker sets it aside: save any scene, then try again."
        )
    if isinstance(error, ForeignOwner):
        return (
            f"{error.filename} belongs to another user, so nothing in it can be trusted."
            " Give it to the user that runs Stash (chown -R), or rename it."
        )
    if isinstance(error, OSError) and error.filename:
        return (
            f"{error.strerror} ({error.filename}). Give Stash's user the right to write there, or"
            " set STASH_PLUGIN_DATA to a folder that it can write."
        )
    return f"{type(error).__name__}: {text}."


def _fail(text: str) -> int:
    """Report a failure; Stash logs it, so no line of ours does."""
    write_response(error=text)
    return 1
