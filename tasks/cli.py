"""The command line: the operations of the task buttons, and the worker, for people in a shell."""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from common.files import make_private_dir
from hooks.plugin import explain, explain_import, how_to_install, missing_packages
from stash.connection import load_connection
from stash.deferred_log import defer_log_line
from tasks.console import Console

if TYPE_CHECKING:
    from tasks.context import Context

#: command → what it does; operations of the same names are in `tasks.operations`.
_OPERATIONS = {
    "status": "how things are: what waits, what failed, whether the worker lives",
    "check": "check the setup, from Python to the paths of real scenes",
    "sync": "sync the scenes that are not in sync, and work off what waits",
    "resync": "sync one scene, whether it is in sync or not; choose its item where several may be it",
    "retry": "try failed scenes again",
    "failed": "show failed and ambiguous scenes, the latest first",
    "clear": "drop failed scenes, or the edits that wait",
    "preview": "what a sync would change in Plex, field by field, without writing anything",
    "report": "write one file for a bug report, without secrets",
}


def run_command(arguments: Sequence[str], entry: ModuleType) -> int:
    """Run a command; return the exit status: 0 done, 1 failed or something to do, 2 not understood.

    Args:
        entry: the module `PlexSync`.
    """
    parser = _parser()
    chosen = parser.parse_args(arguments, argparse.Namespace(entry=entry))
    if chosen.command is None:
        parser.print_help()
        return 2
    missing = missing_packages()
    if missing and chosen.command not in ("install", "demo"):
        return _fail(how_to_install(entry, missing), chosen)
    try:
        return int(chosen.run(chosen))
    except KeyboardInterrupt:
        return _fail("stopped; what was queued stays queued", chosen)
    except ImportError as error:
        return _fail(explain_import(entry, error), chosen)
    except ValueError as error:
        return _fail(str(error), chosen)
    except (OSError, sqlite3.Error) as error:
        return _fail(explain(error), chosen)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="PlexSync.py",
        description="What is saved in Stash reaches Plex. Without arguments: as Stash runs it.",
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--data-dir", help="default: the plugin's own")
    shared.add_argument("--json", action="store_true", help="print one JSON document")
    added = {}
    for name, text in _OPERATIONS.items():
        added[name] = commands.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}.", parents=[shared]
        )
        added[name].set_defaults(run=_operate)
    _add_arguments(added)
    install = commands.add_parser(
        "install", help="put the packages that PlexSync needs into a folder beside it"
    )
    install.add_argument("--json", action="store_true", help="print one JSON document")
    install.set_defaults(run=_install)
    worker = commands.add_parser(
        "worker", help="work off the queue, until there was nothing to do for a while"
    )
    worker.add_argument("--data-dir", help="default: the plugin's own")
    worker.add_argument("--idle-timeout", type=float, metavar="SECONDS", help="default: 900")
    worker.add_argument("--lock", type=int, help=argparse.SUPPRESS)
    worker.add_argument("--rest", type=float, default=0.0, help=argparse.SUPPRESS)
    worker.set_defaults(run=_worker)
    demo = commands.add_parser(
        "demo", help="show the main job end to end, on simulators of Plex and Stash"
    )
    demo.set_defaults(run=_demo)
    return parser


def _add_arguments(parsers: dict[str, argparse.ArgumentParser]) -> None:
    which = parsers["sync"].add_mutually_exclusive_group()
    which.add_argument(
        "--recent", action="store_true", help="only those changed in the last 24 hours"
    )
    which.add_argument("--queue", action="store_true", help="only what waits already")
    parsers["sync"].add_argument("--force", action="store_true", help="also those that are in sync")
    parsers["sync"].add_argument("--dry-run", action="store_true", help="as preview: write nothing")
    parsers["resync"].add_argument(
        "scene_id", help="the number in the address of the scene's page in Stash"
    )
    parsers["resync"].add_argument(
        "--rating-key", help="the item of Plex that it is; it is remembered"
    )
    parsers["resync"].add_argument(
        "--dry-run", action="store_true", help="as preview: write nothing"
    )
    for name in ("retry", "failed"):
        parsers[name].add_argument(
            "--reason", help="only those with this type of error, such as PlexNotFound"
        )
    parsers["clear"].add_argument("what", choices=("failed", "queue"))
    parsers["clear"].add_argument(
        "--reason", help="failed scenes only: those with this type of error"
    )
    parsers["clear"].add_argument(
        "--confirm", action="store_true", help="needed for the queue: really drop the edits"
    )
    parsers["preview"].add_argument(
        "--all", action="store_true", help="all scenes; default: those of 24 hours"
    )
    parsers["preview"].add_argument("--scene-id", help="one scene")
    parsers["report"].add_argument(
        "--anonymous", action="store_true", help="stand-ins for paths, titles and names"
    )


def _operation_of(chosen: argparse.Namespace) -> str:
    """Return the name of the operation that a command with its arguments stands for."""
    if getattr(chosen, "dry_run", False):
        return "preview"
    if chosen.command == "sync":
        return "sync_recent" if chosen.recent else "process" if chosen.queue else "sync_all"
    return f"clear_{chosen.what}" if chosen.command == "clear" else str(chosen.command)


def _operate(chosen: argparse.Namespace) -> int:
    from tasks.operations import OPERATIONS  # loads the worker's libraries
    from validation.errors import PermanentError, SettingsError, TransientError

    arguments = {key: value for key, value in vars(chosen).items() if value not in (None, False)}
    if arguments.get("all") or (
        arguments.get("dry_run") and chosen.command == "sync" and not chosen.recent
    ):
        arguments["scope"] = "all"
    context, console = _context(chosen), Console()
    try:
        result = OPERATIONS[_operation_of(chosen)](context, arguments)
    except (TransientError, PermanentError, SettingsError) as error:
        return _fail(context.redactor.redact(str(error)), chosen)
    if chosen.json:
        console.print(context.redactor.clean(result.to_dict()))
    else:
        console.say(*map(context.redactor.redact, (*result.lines, result.summary)))
    return 0 if result.ok else 1


def _context(chosen: argparse.Namespace) -> Context:
    from common.redaction import Redactor
    from stash.client import StashClient
    from tasks.context import Context

    data_dir, console, redactor = _data_dir(chosen), Console(), Redactor()
    redactor.add(os.environ.get("PLEX_TOKEN"))
    stash = StashClient(
        lambda: load_connection(data_dir),
        learn_secret=redactor.add,
        learn_cookie=redactor.add_passing,
    )
    return Context(data_dir, chosen.entry.SCRIPT, stash, redactor, console.progress, console.tell)


def _data_dir(chosen: argparse.Namespace) -> str:
    data_dir: str = (
        os.path.abspath(chosen.data_dir) if chosen.data_dir else chosen.entry.get_plugin_data_dir()
    )
    make_private_dir(data_dir)
    return data_dir


def _worker(chosen: argparse.Namespace) -> int:
    from worker.main import run_worker  # loads the worker's libraries

    return run_worker(
        _data_dir(chosen),
        inherited_lock=chosen.lock,
        idle_timeout=chosen.idle_timeout,
        rest=chosen.rest,
    )


def _install(chosen: argparse.Namespace) -> int:
    from tasks.install import run_install_command

    return run_install_command(chosen.json)


def _demo(chosen: argparse.Namespace) -> int:
    try:
        from tests.demo import run_demo
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the demo needs a checkout of the repository, and 'make demo' there ({error})"
        ) from None
    return int(run_demo())


def _fail(text: str, chosen: argparse.Namespace) -> int:
    if getattr(chosen, "json", False):
        Console().print({"error": text})
    sys.stderr.write(f"PlexSync {chosen.command}: {text}\n")
    data_dir = getattr(chosen, "data_dir", None)
    if (
        chosen.command == "worker" and data_dir
    ):  # nobody reads a worker's stderr: the next hook says it
        defer_log_line(data_dir, "error", f"the worker could not start: {text}")
    return 1
