"""A task button of Stash: run the task that `mode` names, with progress, and answer in one line."""

from __future__ import annotations

import logging
import sqlite3
from types import ModuleType
from typing import Any

from hooks.plugin import explain
from stash.client import StashClient
from stash.connection import StashConnection, save_connection
from stash.log import log, progress
from stash.notices import take_notices
from stash.plugin_input import write_answer
from stash.settings import carried_settings
from tasks.sync import sync_recent
from validation.errors import PermanentError, TransientError


def run_stash_task(entry: ModuleType, input_data: dict[str, Any]) -> int:
    """Run the task that the input's `args.mode` names; return the exit status.

    Args:
        entry: the module `PlexSync`.
    """
    try:
        return _run(entry, input_data)
    except (TransientError, PermanentError, ValueError) as error:
        return _fail(str(error))
    except (OSError, sqlite3.Error) as error:
        return _fail(explain(error))
    except Exception as error:
        logging.getLogger("plexsync").exception("A task failed")
        return _fail(f"{type(error).__name__}: {error}. Please report this")


def _run(entry: ModuleType, input_data: dict[str, Any]) -> int:
    mode = str(input_data["args"]["mode"])
    if mode != "sync_recent":
        return _fail(f"unknown task {mode[:80]!r}")
    server = input_data.get("server_connection")
    if not isinstance(server, dict):
        return _fail("the input has no server_connection: run this as a task in Stash")
    data_dir = entry.get_plugin_data_dir()
    connection = StashConnection(server, carried_settings(input_data))
    save_connection(data_dir, connection)
    for level, text in take_notices(data_dir):
        log(level, text)
    result = sync_recent(data_dir, entry.SCRIPT, StashClient(lambda: connection), _report)
    progress(1.0)
    text = f"Sync recent scenes: {result['queued']} queued, {result['in_sync']} already in sync"
    log("warning" if "waiting" in result else "info", f"{text}. {result.get('waiting', 'All done')}")
    write_answer(output=result)
    return 0


def _report(done: int, left: int) -> None:
    progress(done / max(1, done + left))


def _fail(text: str) -> int:
    log("error", text)
    write_answer(error=text)
    return 1
