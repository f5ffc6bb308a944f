"""A task button of Stash: run the operation that `mode` names, with progress, and answer in one line."""

from __future__ import annotations

import logging
import os
import sqlite3
from types import ModuleType
from typing import Any

from common.redaction import Redactor
from hooks.plugin import explain
from stash.client import StashClient
from stash.connection import StashConnection, save_connection
from stash.log import log, progress
from stash.notices import take_notices
from stash.plugin_input import write_answer
from stash.settings import carried_settings
from tasks.context import Context
from tasks.operations import OPERATIONS
from validation.errors import PermanentError, SettingsError, TransientError

#: Lines of details in Stash's log; the answer has them all.
_MOST_LINES = 200


def run_stash_task(entry: ModuleType, input_data: dict[str, Any]) -> int:
    """Run the task that the input's `args.mode` names; return the exit status.

    Args:
        entry: the module `PlexSync`.
    """
    try:
        return _run(entry, input_data)
    except (TransientError, PermanentError, SettingsError, ValueError) as error:
        return _fail(str(error))
    except (OSError, sqlite3.Error) as error:
        return _fail(explain(error))
    except Exception as error:
        logging.getLogger("plexsync").exception("A task failed")
        return _fail(f"{type(error).__name__}: {error}. Please report this")


def _run(entry: ModuleType, input_data: dict[str, Any]) -> int:
    arguments = input_data["args"]
    operation = OPERATIONS.get(str(arguments["mode"]))
    if operation is None:
        return _fail(f"unknown task {str(arguments['mode'])[:80]!r}")
    server = input_data.get("server_connection")
    if not isinstance(server, dict):
        return _fail("the input has no server_connection: run this as a task in Stash")
    data_dir = entry.get_plugin_data_dir()
    connection = StashConnection(server, carried_settings(input_data))
    save_connection(data_dir, connection)
    for level, text in take_notices(data_dir):
        log(level, text)
    redactor = Redactor()
    redactor.add(os.environ.get("PLEX_TOKEN"))
    stash = StashClient(lambda: connection, learn_secret=redactor.add, learn_cookie=redactor.add_passing)
    result = operation(Context(data_dir, entry.SCRIPT, stash, redactor, _report, log), arguments)
    for line in result.lines[:_MOST_LINES]:
        log("info", redactor.redact(line))
    progress(1.0)
    log("info" if result.ok else "warning", redactor.redact(result.summary))
    write_answer(output=result.data)
    return 0


def _report(done: int, left: int) -> None:
    progress(done / max(1, done + left))


def _fail(text: str) -> int:
    log("error", text)
    write_answer(error=text)
    return 1
