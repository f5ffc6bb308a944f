"""The command line: the same operations, for people in a shell."""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
from collections.abc import Sequence

import PlexSync
from common.files import make_private_dir
from hooks.plugin import explain, how_to_install, missing_packages


def run_command(arguments: Sequence[str]) -> int:
    """Run a command; return the exit status: 0 done, 1 failed, 2 not understood."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.command is None:
        parser.print_help()
        return 2
    missing = missing_packages()
    if missing and chosen.command == "worker":
        return _fail(how_to_install(PlexSync, missing), chosen)
    try:
        return int(chosen.run(chosen))
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
    worker = commands.add_parser("worker", help="work off the queue, until there was nothing to do for a while")
    worker.add_argument("--data-dir", help="default: the plugin's own")
    worker.add_argument("--idle-timeout", type=float, metavar="SECONDS", help="default: 900")
    worker.add_argument("--lock", type=int, help=argparse.SUPPRESS)
    worker.add_argument("--rest", type=float, default=0.0, help=argparse.SUPPRESS)
    worker.set_defaults(run=_worker)
    demo = commands.add_parser("demo", help="show the main job end to end, on simulators of Plex and Stash")
    demo.set_defaults(run=_demo)
    return parser


def _worker(chosen: argparse.Namespace) -> int:
    from worker.main import run_worker  # loads the worker's libraries

    data_dir = os.path.abspath(chosen.data_dir) if chosen.data_dir else PlexSync.get_plugin_data_dir()
    make_private_dir(data_dir)
    return run_worker(data_dir, inherited_lock=chosen.lock, idle_timeout=chosen.idle_timeout, rest=chosen.rest)


def _demo(chosen: argparse.Namespace) -> int:
    try:
        from tests.demo import run_demo
    except ModuleNotFoundError as error:
        raise ValueError(f"the demo needs a checkout of the repository, and 'make demo' there ({error})") from None
    return int(run_demo())


def _fail(text: str, chosen: argparse.Namespace) -> int:
    sys.stderr.write(f"PlexSync {chosen.command}: {text}\n")
    data_dir = getattr(chosen, "data_dir", None)
    if chosen.command == "worker" and data_dir:  # nobody reads a worker's stderr: the next hook says it
        from stash.notices import leave_notice

        leave_notice(data_dir, "error", f"the worker could not start: {text}")
    return 1
