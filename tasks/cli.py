"""Parse the command line and run its command."""

from __future__ import annotations

import argparse
import base64
import json
import os
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING

from common.files import make_private_dir, replace_private
from common.texts import one_line
from history.records import TROUBLE
from hooks.plugin import explain, explain_import, package_problem, why_not_to_work
from stash.deferred_log import defer_log_line
from tasks.console import Console
from tasks.wording import ERROR_WORDS
from worker.process import ensure_worker_if_wanted

if TYPE_CHECKING:
    from tasks.context import Context

#: Command → help text. `tasks.operations` has operations of the same names.
_OPERATIONS = {
    "status": "show queued edits, failed scenes, and whether the worker is running",
    "check": "check the setup, from Python to the paths of 50 scenes",
    "sync": "sync the scenes that are not in sync, and process queued edits",
    "resync": "sync one scene, even if it is in sync; choose its Plex item if it is ambiguous",
    "approve": "write what PlexSync holds back because it is much, or drop it",
    "candidates": "list the items in Plex that a scene may be; writes nothing",
    "ignore": "leave a scene alone from now on, or sync it again",
    "retry": "sync failed scenes again",
    "failed": "list failed and ambiguous scenes, latest first",
    "clear": "clear the failed scenes or the queued edits",
    "preview": "show what a sync would change in Plex, field by field; writes nothing",
    "undo": "take back what was written to Plex: a change, a scene, or a run",
    "take": "decide about one field of a scene: Stash's value, or Plex's from now on",
    "pause": "write nothing to Plex until it goes on; edits are kept",
    "try": "sync some scenes that would change, as one run that can be taken back",
    "remove": "take back all that PlexSync wrote to Plex, and sync nothing until you say so",
    "cover": "put up a JPEG as the poster of a scene's item, in place of Stash's cover",
    "library-origin": "say where the values in a library of Plex came from: Stash, or partly you",
    "report": "write a file for a bug report, without secrets",
    "export": "write settings, choices and ignored scenes to a file, without secrets",
    "import": "take over settings, choices and ignored scenes from such a file",
    "wake": "start the worker if it is to run, and does not",
    "setup-test": "try an address and a token of Plex; list its libraries",
    "setup-match": "try libraries and path mappings on some scenes",
    "rules-test": "check rules that are not saved, and show what they make of one scene",
    "webhook-test": "send a test message to the webhook of the settings",
    "pictures": "print posters of items in Plex, scaled down, as data URLs",
}
#: Views of the page, in `page.views` under the same names, and their arguments.
_VIEWS = (*("state", "count", "needs", "scene", "changes", "run", "badges", "command", "details"),)
_VIEW_ARGUMENTS = {
    "scene-id": "scene: the number in the scene page's URL",
    "scene-ids": "badges: several of these, separated by commas",
    "status": "needs: only scenes in this state",
    "run": "run: its name, as changes shows it",
    "id": "command: its number",
    "after": "needs, changes, run: the next of the page before",
    "limit": "needs, changes, run: rows, 100 at most",
}


#: Bytes of a file that are read; a larger one is refused as a picture.
_MOST_READ = 5_000_000


def run_command(arguments: Sequence[str], entry: ModuleType) -> int:
    """Run a command.

    Args:
        entry: The module `PlexSync`.

    Returns:
        The exit status: 0 done, 1 failed or left to do, 2 wrong arguments.
    """
    parser = _parser()
    chosen = parser.parse_args(arguments, argparse.Namespace(entry=entry))
    if chosen.command is None:
        parser.print_help()
        return 2
    problem = package_problem(entry)
    if problem and chosen.command not in ("install", "demo", "page"):
        return _fail(problem, chosen)
    try:
        return int(chosen.run(chosen))
    except KeyboardInterrupt:
        return _fail("stopped; queued edits are kept", chosen)
    except ImportError as error:
        return _fail(explain_import(entry, error), chosen)
    except ValueError as error:
        return _fail(str(error), chosen)
    except (OSError, sqlite3.Error) as error:
        return _fail(explain(error), chosen)
    except Exception as error:
        if chosen.command != "worker":  # a terminal shows the traceback; a worker has none
            raise
        text = f"Unexpected error: {type(error).__name__}: {error}. Please report this"
        return _fail(f"{text}, with the end of worker.log", chosen)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="PlexSync.py",
        description="Sync scenes from Stash to Plex. Without arguments: run as a Stash plugin.",
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--data-dir", help="default: the plugin's data directory")
    shared.add_argument("--json", action="store_true", help="print one JSON document")
    added = {}
    for name, text in _OPERATIONS.items():
        added[name] = commands.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}.", parents=[shared]
        )
        added[name].set_defaults(run=_operate)
    _add_arguments(added)
    view = commands.add_parser(
        "page", help="print a view of the page in Stash as JSON; it reads only", parents=[shared]
    )
    view.add_argument("view", choices=_VIEWS)
    for name, text in _VIEW_ARGUMENTS.items():
        view.add_argument(f"--{name}", help=text)
    view.set_defaults(run=_page)
    install = commands.add_parser(
        "install", help="install the packages that PlexSync needs into its own folder"
    )
    install.add_argument("--json", action="store_true", help="print one JSON document")
    install.set_defaults(run=_install)
    worker = commands.add_parser(
        "worker", help="process queued edits, and exit after some time without any"
    )
    worker.add_argument("--data-dir", help="default: the plugin's data directory")
    worker.add_argument("--idle-timeout", type=float, metavar="SECONDS", help="default: 900")
    worker.add_argument("--lock", type=int, help=argparse.SUPPRESS)
    worker.add_argument("--successor", action="store_true", help=argparse.SUPPRESS)
    worker.add_argument("--rest", type=float, default=0.0, help=argparse.SUPPRESS)
    worker.set_defaults(run=_worker)
    demo = commands.add_parser(
        "demo", help="show PlexSync at work, with simulators of Stash and Plex"
    )
    demo.set_defaults(run=_demo)
    return parser


def _add_arguments(parsers: dict[str, argparse.ArgumentParser]) -> None:
    which = parsers["sync"].add_mutually_exclusive_group()
    which.add_argument(
        "--recent", action="store_true", help="only scenes changed in the last 24 hours"
    )
    which.add_argument("--queue", action="store_true", help="only queued edits")
    parsers["sync"].add_argument("--force", action="store_true", help="also scenes in sync")
    parsers["sync"].add_argument("--dry-run", action="store_true", help="same as preview")
    parsers["resync"].add_argument(
        "scene_id",
        nargs="?",
        help="the number in the scene page's URL; default: the scene saved last",
    )
    parsers["resync"].add_argument(
        "--rating-key",
        help="number of the scene's item in Plex, several, or both; PlexSync remembers it",
    )
    parsers["approve"].add_argument("--no", action="store_true", help="drop it")
    for name in ("approve", "undo", "remove"):
        parsers[name].add_argument(
            "--visible", action="store_true",
            help="also what hides items from restricted accounts: content ratings and labels",
        )  # fmt: skip
    which = parsers["ignore"].add_mutually_exclusive_group(required=True)
    which.add_argument("scene_id", nargs="?", help="the number in the scene page's URL")
    which.add_argument("--folder", help="the scenes in it that are not in Plex; as status names it")
    parsers["candidates"].add_argument("scene_id", help="the number in the scene page's URL")
    parsers["ignore"].add_argument("--off", action="store_true", help="sync it again")
    parsers["resync"].add_argument("--dry-run", action="store_true", help="same as preview")
    states = ", ".join(status.value for status in TROUBLE)
    reasons = ", ".join(f"{name} ({words})" for name, words in ERROR_WORDS.items())
    reasons = f"{states}, {reasons}"
    for name in ("retry", "failed"):
        parsers[name].add_argument("--reason", help=f"only scenes that failed with: {reasons}")
    parsers["clear"].add_argument("what", choices=("failed", "queue"))
    parsers["clear"].add_argument(
        "--reason", help=f"failed: only scenes that failed with: {reasons}"
    )
    parsers["clear"].add_argument(
        "--confirm", action="store_true", help="queue: really drop the queued edits"
    )
    parsers["preview"].add_argument(
        "--all", action="store_true", help="all scenes; default: changed in the last 24 hours"
    )
    parsers["preview"].add_argument("--scene-id", help="one scene")
    for name in ("preview", "rules-test"):
        parsers[name].add_argument(
            "--rules", help='rules that are not saved, as JSON: {"labels": "Stash"}'
        )
    parsers["rules-test"].add_argument("--scene-id", help="default: the scene saved last")
    for name in ("setup-test", "setup-match"):
        parsers[name].add_argument(
            "--plex-url", help="default: the setting; the token is PLEX_TOKEN or the setting"
        )
    parsers["setup-match"].add_argument("--plex-libraries", help="default: the setting")
    parsers["setup-match"].add_argument("--path-mappings", help="default: the setting")
    parsers["setup-match"].add_argument("--sample", help="scenes, 50 by default")
    parsers["pictures"].add_argument("items", nargs="+", help="section:rating_key of each item")
    _add_arguments_of_changes(parsers)
    parsers["report"].add_argument(
        "--anonymous", action="store_true", help="leave out every text that may be private"
    )


def _add_arguments_of_changes(parsers: dict[str, argparse.ArgumentParser]) -> None:
    fields = "title, details, date, year, studio, rating, performers, director, tags, collections"
    which = parsers["undo"].add_mutually_exclusive_group(required=True)
    which.add_argument("--change", help="the number of a change")
    which.add_argument("--scene-id", help="the number in the scene page's URL")
    which.add_argument("--run", dest="undo_run", help="a run, such as the one that try names")
    parsers["undo"].add_argument("--field", help=f"one field of the scene: {fields}, poster")
    for name in ("undo", "remove"):
        parsers[name].add_argument(
            "--preview", action="store_true", help="only show what would be taken back"
        )
    parsers["remove"].add_argument("--section", help="only this library, by its number in Plex")
    parsers["remove"].add_argument("--off", action="store_true", help="sync it again")
    parsers["take"].add_argument("scene_id", help="the number in the scene page's URL")
    parsers["take"].add_argument("field", help=f"{fields}, or poster")
    parsers["take"].add_argument(
        "from", choices=("stash", "plex"), help="write Stash's value, or keep Plex's"
    )
    parsers["take"].add_argument("--agreement", help=argparse.SUPPRESS)
    origin = parsers["library-origin"]
    origin.add_argument(
        "section", nargs="?", help="its number in Plex, or its name; none: list all"
    )
    origin.add_argument(
        "answer", nargs="?", choices=("stash", "mine", "ask"),
        help="from Stash, partly from you, or take the answer back",
    )  # fmt: skip
    origin.add_argument(
        "--preview", action="store_true", help="only show which names would go from Plex"
    )
    parsers["pause"].add_argument(
        "on", nargs="?", choices=("on", "off"), default="on", help="off: go on"
    )
    parsers["cover"].add_argument("scene_id", help="the number in the scene page's URL")
    parsers["cover"].add_argument("file", help="a JPEG of at most 4 MB")
    parsers["export"].add_argument("file", nargs="?", help="default: print it")
    parsers["import"].add_argument("file", help="as export has written it")
    parsers["import"].add_argument(
        "--preview", action="store_true", help="only show what would change"
    )
    parsers["import"].add_argument(
        "--with-plex-url",
        action="store_true",
        help="take its address of Plex, too; the token known here is then sent there",
    )
    parsers["try"].add_argument("count", nargs="?", help="scenes; default: 20")


def _operation_of(chosen: argparse.Namespace) -> str:
    """Return the name of the operation for a command and its arguments."""
    if getattr(chosen, "dry_run", False):
        return "preview"
    if chosen.command == "sync":
        return "sync_recent" if chosen.recent else "process" if chosen.queue else "sync_all"
    if chosen.command == "clear":
        return f"clear_{chosen.what}"
    return "put_cover" if chosen.command == "cover" else str(chosen.command).replace("-", "_")


def _operate(chosen: argparse.Namespace) -> int:
    from tasks.operations import OPERATIONS  # loads the worker's libraries
    from validation.errors import PermanentError, SettingsError, TransientError

    arguments = {key: value for key, value in vars(chosen).items() if value not in (None, False)}
    arguments["run"] = arguments.pop("undo_run", None)  # `run` is what carries the command out
    if arguments.get("all") or (
        arguments.get("dry_run") and chosen.command == "sync" and not chosen.recent
    ):
        arguments["scope"] = "all"
    if chosen.command.startswith("setup-") and os.environ.get("PLEX_TOKEN"):
        arguments["plex_token"] = os.environ["PLEX_TOKEN"]  # never in the arguments of a process
    if chosen.command == "cover":
        with open(chosen.file, "rb") as file:
            arguments["data"] = base64.b64encode(file.read(_MOST_READ)).decode()
    if chosen.command == "import":
        arguments["data"] = _read_text(chosen.file)
    context, console = _context(chosen), Console()
    try:
        result = OPERATIONS[_operation_of(chosen)](context, arguments)
    except (TransientError, PermanentError, SettingsError) as error:
        return _fail(context.redactor.redact(str(error)), chosen)
    finally:
        with suppress(OSError, sqlite3.Error):  # the command itself, or the next save, says why
            ensure_worker_if_wanted(context.data_dir, context.entry)
    if chosen.command == "export" and (chosen.file or not chosen.json):
        text = json.dumps(context.redactor.clean(result.data.pop("document")), indent=1)
        if not chosen.file:
            console.print_lines(*text.splitlines())
            return 0
        replace_private(os.path.abspath(chosen.file), f"{text}\n")
    if chosen.json:
        console.print(context.redactor.clean(result.to_dict()))
    else:
        console.print_lines(*map(context.redactor.redact, (*result.lines, result.summary)))
    return 0 if result.ok else 1


def _read_text(path: str) -> str:
    """Return the text of a file, no more of it than is accepted.

    Raises:
        OSError: it can't be read.
        ValueError: it is not a text.
    """
    from tasks.transfer import MOST

    try:
        with open(path, encoding="utf-8") as file:
            return file.read(MOST + 1)
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not JSON") from None


def _page(chosen: argparse.Namespace) -> int:
    from common.data_dir import find_data_dir
    from page.views import answer

    place = chosen.data_dir
    data_dir = os.path.abspath(place) if place else find_data_dir(chosen.entry.HERE)
    names = ["view", *(name.replace("-", "_") for name in _VIEW_ARGUMENTS)]
    arguments = {name: found for name in names if (found := getattr(chosen, name)) is not None}
    found = answer(data_dir, arguments, why_not_to_work(chosen.entry))
    if chosen.json:
        Console().print(found)
    else:
        Console().print_lines(*json.dumps(found, indent=2).splitlines())
    return 0


def _context(chosen: argparse.Namespace) -> Context:
    from common.redaction import Redactor
    from tasks.context import Context
    from worker.bootstrap import make_ready, open_stash

    data_dir, console, redactor = _data_dir(chosen), Console(), Redactor()
    make_ready(data_dir, chosen.entry.SCRIPT, console.notify)
    redactor.add(os.environ.get("PLEX_TOKEN"))
    stash = open_stash(data_dir, redactor)
    return Context(data_dir, chosen.entry.SCRIPT, stash, redactor, console.progress, console.notify)


def _data_dir(chosen: argparse.Namespace) -> str:
    data_dir: str = (
        os.path.abspath(chosen.data_dir) if chosen.data_dir else chosen.entry.get_plugin_data_dir()
    )
    make_private_dir(data_dir)
    return data_dir


def _worker(chosen: argparse.Namespace) -> int:
    from common.imports import skip_unused

    skip_unused()
    from worker.main import run_worker  # loads the worker's libraries

    return run_worker(
        _data_dir(chosen),
        inherited_lock=chosen.lock,
        is_successor=chosen.successor,
        idle_timeout=chosen.idle_timeout,
        rest=chosen.rest,
        entry=chosen.entry.SCRIPT,
    )


def _install(chosen: argparse.Namespace) -> int:
    from tasks.install import run_install_command

    return run_install_command(chosen.json)


def _demo(chosen: argparse.Namespace) -> int:
    try:
        from tests.demo import run_demo
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the demo needs a clone of the repository: run 'make demo' there ({error})"
        ) from None
    return int(run_demo())


def _fail(text: str, chosen: argparse.Namespace) -> int:
    if getattr(chosen, "json", False):
        Console().print({"error": text})
    sys.stderr.write(f"PlexSync {chosen.command}: {one_line(text)}\n")
    data_dir = getattr(chosen, "data_dir", None)
    if chosen.command == "worker" and data_dir:
        # Users do not see a worker's stderr, so the next hook logs the error.
        defer_log_line(data_dir, "error", f"the worker could not start: {text}")
    return 1
