"""Run a task button of Stash: the operation that `mode` names."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from types import ModuleType
from typing import Any

from common.env import Env
from common.redaction import Redactor
from hooks.plugin import explain
from stash.client import StashClient
from stash.connection import StashConnection, save_connection
from stash.deferred_log import take_deferred_lines
from stash.log import log, progress
from stash.plugin_input import write_response
from stash.settings import carried_settings
from tasks.context import Context
from tasks.operations import OPERATIONS
from validation.errors import PermanentError, SettingsError, TransientError
from worker.bootstrap import make_ready
from worker.page_defaults import PageDefaults
from worker.process import ensure_worker_if_wanted

#: Operations that answer the page at every look at it: Stash's log is not filled with them.
QUIET = ("pictures", "setup_test", "setup_match", "rules_test", "wake")
#: Lines of details that go into Stash's log.
_MOST_LINES = 200


def run_stash_task(entry: ModuleType, input_data: dict[str, Any]) -> int:
    """Run the task that the input's `args.mode` names.

    Args:
        entry: The module `PlexSync`.

    Returns:
        The exit status.
    """
    redactor = Redactor()
    redactor.add(os.environ.get("PLEX_TOKEN"))
    try:
        return _run(entry, input_data, redactor)
    except (TransientError, PermanentError, SettingsError, ValueError) as error:
        return _fail(redactor.redact(str(error)))
    except (OSError, sqlite3.Error) as error:
        return _fail(redactor.redact(explain(error)))
    except Exception as error:  # noqa: BLE001 - a user must never see a traceback
        text = f"Unexpected error: {type(error).__name__}: {error}. Please report this"
        return _fail(redactor.redact(text))


def _run(entry: ModuleType, input_data: dict[str, Any], redactor: Redactor) -> int:
    arguments = input_data["args"]
    operation = OPERATIONS.get(str(arguments["mode"]))
    if operation is None:
        return _fail(f"unknown task {str(arguments['mode'])[:80]!r}")
    server = input_data.get("server_connection")
    if not isinstance(server, dict):
        return _fail("the input has no server_connection: run this as a task in Stash")
    data_dir = entry.get_plugin_data_dir(server)
    connection = StashConnection(server, carried_settings(input_data))
    save_connection(data_dir, connection)
    make_ready(data_dir, entry.SCRIPT, log)
    for level, text in take_deferred_lines(data_dir):
        log(level, text)
    stash = StashClient(lambda: connection, redactor=redactor)
    try:
        result = operation(
            Context(data_dir, entry.SCRIPT, stash, redactor, _report, log), arguments
        )
    finally:
        with suppress(OSError, sqlite3.Error):  # the task itself, or the next save, says why
            ensure_worker_if_wanted(data_dir, entry.SCRIPT)
    is_quiet = arguments["mode"] in QUIET
    for line in () if is_quiet else result.lines[:_MOST_LINES]:
        log("info", redactor.redact(line))
    with suppress(TransientError, PermanentError):
        PageDefaults(stash, data_dir, Env()).look(stash.plugin_settings())
    progress(1.0)
    answer = redactor.clean(result.to_dict())
    log("debug" if is_quiet else "info" if result.ok else "warning", answer["summary"])
    write_response(output=answer)
    return 0


def _report(done: int, left: int) -> None:
    progress(done / max(1, done + left))


def _fail(text: str) -> int:
    """Report a failure; Stash logs it, so no line of ours does."""
    write_response(error=text)
    return 1
