#!/usr/bin/env python3
"""PlexSync: what is saved in Stash reaches Plex. The entry of hooks, tasks and the command line.

Stash runs this file for every saved scene and waits for it, so at this level nothing is imported but sys,
os and time: each of the three ways below loads what it needs, the hook next to nothing. Importing it only defines.
"""

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from hooks.session import HookSession

SCRIPT = os.path.abspath(__file__)
HERE = os.path.dirname(SCRIPT)
OLDEST_PYTHON = (3, 10)
#: Where *Install dependencies* puts the packages.
DEPENDENCIES = os.path.join(HERE, "dependencies")
#: When this process began, on the clock of `time.perf_counter`: the time that Python took to start is in its CPU time.
STARTED = time.perf_counter() - time.process_time()

_session: "HookSession | None" = None


def host_queue_package() -> None:
    """Make `queue.operations` and its kin importable where the standard `queue` was imported before ours."""
    loaded = sys.modules.get("queue")
    if loaded is not None and not hasattr(loaded, "__path__"):
        loaded.__path__ = [os.path.join(HERE, "queue")]


def get_plugin_data_dir() -> str:
    """Return the data directory (README, "Where things are kept"), made if it is missing.

    Raises:
        OSError: none of the places can be written.
    """
    from common.data_dir import plugin_data_dir

    return plugin_data_dir(HERE)


def extract_config_from_input(input_data: "dict[str, Any]") -> "dict[str, Any]":
    """Return the settings that an input carries, with PLEX_URL and PLEX_TOKEN where it says nothing.

    Stash's own inputs carry none: the worker asks for what stands on its settings page, which goes first.
    """
    from stash.settings import add_environment, carried_settings

    return add_environment(carried_settings(input_data), os.environ)


def initialize(config_dict: "dict[str, Any] | None" = None) -> None:
    """Prepare this process for events: data directory, queue, sync timestamps. Done by the first input.

    Args:
        config_dict: settings that came with the input, for the worker; unchecked, as a hook has no time to.

    Raises:
        OSError: no data directory can be written.
    """
    global _session
    host_queue_package()
    from hooks.session import HookSession

    shutdown()
    _session = HookSession(get_plugin_data_dir(), config_dict or {})


def handle_hook(hook_context: "dict[str, Any]") -> "dict[str, Any]":
    """Put what a hook says into the queue; return the answer for Stash.

    Raises:
        hooks.events.EventError: it is no event that PlexSync knows.
        OSError, sqlite3.Error: the queue can't be written.
    """
    return current_session().handle(hook_context)


def current_session() -> "HookSession":
    """Return what `initialize` opened; it is called first where it was not yet."""
    if _session is None:
        initialize()
    assert _session is not None
    return _session


def shutdown() -> None:
    """Close what `initialize` opened. May be called at any time."""
    global _session
    if _session is not None:
        _session.close()
        _session = None


def main(argv: "Sequence[str] | None" = None) -> int:
    """Run as Stash does (no arguments, input on stdin) or as a command; return the exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    host_queue_package()
    if os.path.isdir(DEPENDENCIES) and DEPENDENCIES not in sys.path:
        sys.path.insert(1, DEPENDENCIES)
    if arguments or sys.stdin is None or sys.stdin.isatty():
        from tasks.cli import run_command

        return run_command(arguments, sys.modules[__name__])
    from hooks.plugin import run_plugin

    return run_plugin(sys.modules[__name__], _run_task)


def _run_task(input_data: "dict[str, Any]") -> int:
    if input_data["args"]["mode"] == "install":
        return _install(input_data)
    from tasks.stash_task import run_stash_task  # loads the worker's libraries

    return run_stash_task(sys.modules[__name__], input_data)


def _install(input_data: "dict[str, Any]") -> int:
    from hooks.plugin import wake_worker
    from tasks.install import run_install_task

    status = run_install_task()
    if status == 0:  # edits may wait since the first save
        try:
            wake_worker(get_plugin_data_dir(), sys.modules[__name__], input_data, {})
        except OSError:  # the next save tries again, and says why not
            return status
    return status


def _leave(status: int) -> "NoReturn":
    """End at once: tearing Python down, and SQLite's checkpoint, would cost the hook a quarter of its time."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            status = status or 1
    os._exit(status)


if __name__ == "__main__":
    if sys.version_info < OLDEST_PYTHON:
        sys.stderr.write(
            "\x01e\x02PlexSync needs Python 3.10 or newer; this is %s\n" % sys.version.split()[0]
        )
        sys.stdout.write(
            '{"error": "PlexSync needs Python 3.10 or newer: set it in Settings > System > Python path"}\n'
        )
        sys.exit(1)
    # Who imports PlexSync later must get this module, not a second copy of it.
    sys.modules.setdefault("PlexSync", sys.modules["__main__"])
    _leave(main())
