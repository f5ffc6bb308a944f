#!/usr/bin/env python3
"""Run PlexSync's hooks, tasks and command line.

Stash runs this file for every saved scene and waits for it. So the module imports only sys, os and
time, and each entry path loads what it needs. Importing this module has no side effects.
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
#: The oldest one that can run a hook, so that an edit is queued before the error is shown.
OLDEST_FOR_HOOKS = (3, 8)
#: The task *Install dependencies* puts the packages here.
DEPENDENCIES = os.path.join(HERE, "dependencies")
#: Start of this process on the clock of `time.perf_counter`.
#: Its CPU time so far is subtracted, to include Python's own startup.
STARTED = time.perf_counter() - time.process_time()

_session: "HookSession | None" = None


def host_queue_package() -> None:
    """Make `queue.operations` importable where the standard `queue` was imported first."""
    loaded = sys.modules.get("queue")
    if loaded is not None and not hasattr(loaded, "__path__"):
        loaded.__path__ = [os.path.join(HERE, "queue")]


def get_plugin_data_dir(server: "dict[str, Any] | None" = None) -> str:
    """Return the data directory and create it if it is missing.

    README, "Where things are kept", says where it is.

    Args:
        server: `server_connection` of the input, which names the Stash. Default: the Stash that the
            last hook came from.

    Raises:
        OSError: It can't be created or written.
    """
    from common.data_dir import plugin_data_dir

    return plugin_data_dir(HERE, server)


def extract_config_from_input(input_data: "dict[str, Any]") -> "dict[str, Any]":
    """Return the settings in an input, completed by PLEX_URL and PLEX_TOKEN.

    Stash's own inputs carry no settings: the worker reads Stash's settings page, and that wins.
    """
    from stash.settings import add_environment, carried_settings

    return add_environment(carried_settings(input_data), os.environ)


def initialize(
    config_dict: "dict[str, Any] | None" = None, server: "dict[str, Any] | None" = None
) -> None:
    """Open the data directory, the queue and the sync timestamps.

    The first input calls this.

    Args:
        config_dict: Settings from the input, for the worker. A hook has no time to validate them.
        server: `server_connection` of the input.

    Raises:
        OSError: The data directory can't be written.
    """
    global _session
    host_queue_package()
    from hooks.session import HookSession
    from queue.operations import load_sync_timestamps

    shutdown()
    data_dir = get_plugin_data_dir(server)
    _session = HookSession(data_dir, config_dict or {}, load_sync_timestamps, HERE, server)


def handle_hook(hook_context: "dict[str, Any]") -> "dict[str, Any]":
    """Queue the event of a hook and return the response for Stash.

    Raises:
        hooks.events.EventError: The event is unknown.
        OSError, sqlite3.Error: The queue is not writable.
    """
    return current_session().handle(hook_context)


def current_session() -> "HookSession":
    """Return the open session; open it on the first call."""
    if _session is None:
        initialize()
    assert _session is not None
    return _session


def shutdown() -> None:
    """Close the session if one is open."""
    global _session
    if _session is not None:
        _session.close()
        _session = None


def main(argv: "Sequence[str] | None" = None) -> int:
    """Run as a Stash plugin (no arguments, input on stdin) or as a command.

    Returns:
        The exit status.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    host_queue_package()
    if os.path.isdir(DEPENDENCIES) and DEPENDENCIES not in sys.path:
        sys.path.insert(1, DEPENDENCIES)
    if arguments or sys.stdin is None or sys.stdin.isatty():
        if sys.version_info < OLDEST_PYTHON:
            sys.stderr.write(explain_python() + "\n")
            return 1
        from tasks.cli import run_command

        return run_command(arguments, sys.modules[__name__])
    from hooks.plugin import run_plugin

    return run_plugin(sys.modules[__name__], _run_task, _show_page)


def explain_python() -> str:
    """Return in one line that this Python is too old, and what to do."""
    return (
        "PlexSync needs Python 3.10 or newer, and this is %s: set it in Settings > System > Python"
        " path" % sys.version.split()[0]
    )


def _show_page(input_data: "dict[str, Any]", obstacle: "str | None") -> "dict[str, Any]":
    from common.data_dir import find_data_dir
    from page.views import answer

    server = input_data.get("server_connection")
    data_dir = find_data_dir(HERE, server if isinstance(server, dict) else None)
    return answer(data_dir, input_data["args"], obstacle)


def _run_task(input_data: "dict[str, Any]") -> int:
    if input_data["args"]["mode"] == "install":
        return _install(input_data)
    from tasks.stash_task import run_stash_task  # loads the worker's libraries

    return run_stash_task(sys.modules[__name__], input_data)


def _install(input_data: "dict[str, Any]") -> int:
    from hooks.plugin import wake_worker
    from tasks.install import run_install_task

    status = run_install_task()
    if status == 0:  # edits may be queued since the first save
        try:
            server = input_data.get("server_connection")
            data_dir = get_plugin_data_dir(server if isinstance(server, dict) else None)
            wake_worker(data_dir, sys.modules[__name__], input_data, {})
        except OSError:  # the next save tries again and logs the reason
            return status
    return status


def _leave(status: int) -> "NoReturn":
    """Exit without teardown: Python's and SQLite's take a quarter of a hook's time."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            status = status or 1
    os._exit(status)


if __name__ == "__main__":
    # First of all: Stash may run with umask 0, as in a container. All that this process and its
    # children create, Python's caches included, is writable by this user alone.
    os.umask(0o077)
    if sys.version_info < OLDEST_FOR_HOOKS:
        sys.stderr.write("\x01e\x02%s\n" % explain_python())
        sys.stdout.write('{"error": "%s"}\n' % explain_python())
        sys.exit(1)
    # Register under its real name so that a later import reuses this module.
    sys.modules.setdefault("PlexSync", sys.modules["__main__"])
    _leave(main())
