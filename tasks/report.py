"""Task *Report*: write versions, settings, status and log to one file, without secrets."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import islice
from typing import Any

from common.files import replace_private
from common.version import VERSION
from history.records import Agreement
from queue.dlq import DeadLetterQueue
from tasks import anonymous
from tasks.check import PACKAGES
from tasks.context import Context, Result, is_set
from tasks.status import collect
from validation.errors import PermanentError, SettingsError, TransientError
from worker.attention import needing_user
from worker.bootstrap import open_history_readonly
from worker.logfile import FILE as LOG_FILE
from worker.logfile import tail

#: Last lines of the log in a report.
_LINES = 500
#: Latest dead letters in a report, and scenes that need the user.
_LETTERS = 20
_SCENES = 50


def report(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Write a report into the data directory.

    Args:
        arguments: `anonymous`: leave out every text that may be private.

    Raises:
        OSError, sqlite3.Error: A file is not readable, or the report is not writable.
    """
    is_anonymous = is_set(arguments, "anonymous")
    sections = (_anonymous_sections if is_anonymous else _sections)(context)
    text = "\n\n".join(f"# {title}\n{body}" for title, body in sections.items())
    text = context.redactor.redact(text)
    path = os.path.join(context.data_dir, f"report-{time.strftime('%Y%m%d-%H%M%S')}.txt")
    replace_private(path, text + "\n")
    hint = "" if is_anonymous else ". Check it for private texts before you share it"
    return Result(f"Report: {path}{hint}", {"path": path})


def _sections(context: Context) -> dict[str, str]:
    letters, rows = _letters(context), _rows(context)
    status = {key: value for key, value in collect(context).items() if key != "log"}
    return {
        "Versions": "\n".join((*_versions(), platform.platform(), f"Stash {_stash(context)}")),
        "Settings": _settings(context),
        "Needing you": "\n".join(f"{row.status.value}: {row.reason}" for row in rows),
        "Dead letters": "\n".join(
            f"{one['error_type']}: {one['error_message']}\n{one['stack_trace']}" for one in letters
        ),
        "Log": "".join(_log(context)),
        "Status": json.dumps(status, indent=1),
    }


def _anonymous_sections(context: Context) -> dict[str, str]:
    """Return the sections of an anonymous report; see `tasks.anonymous`."""
    status = {key: value for key, value in collect(context).items() if key != "log"}
    stash = anonymous.version_of(_stash(context))
    return {
        "Versions": "\n".join(
            (*_versions(), f"{platform.system()} {platform.machine()}", f"Stash {stash}")
        ),
        "Settings": _anonymous_settings(context),
        "Needing you": "\n".join(_anonymous_row(row) for row in _rows(context)),
        "Dead letters": "\n".join(
            line for letter in _letters(context) for line in _anonymous_letter(letter)
        ),
        "Log": "\n".join(anonymous.log_lines(_log(context))),
        "Status": json.dumps(anonymous.state(status), indent=1, ensure_ascii=False),
    }


def _anonymous_row(row: Agreement) -> str:
    candidates = len((row.details or {}).get("candidates") or ())
    fields = anonymous.known_names(", ".join(row.refused_fields))
    more = f"{candidates} candidates, refused fields: {fields or 'none'}"
    return f"{row.status.value}: {anonymous.allowed(row.reason)} ({more})"


def _anonymous_letter(letter: Mapping[str, Any]) -> Iterator[str]:
    error = anonymous.known_names(str(letter["error_type"]))
    yield f"{error}: {anonymous.allowed(str(letter['error_message']))}"
    yield from anonymous.stack_trace(str(letter["stack_trace"]))


def _anonymous_settings(context: Context) -> str:
    try:
        return "\n".join(anonymous.settings(context.config().shown()))
    except (TransientError, PermanentError, SettingsError) as error:
        named = ", ".join(anonymous.settings_named(str(error))) or "none named"
        return f"{type(error).__name__}: {anonymous.allowed(str(error))} (settings: {named})"


def _letters(context: Context) -> list[dict[str, Any]]:
    with closing(DeadLetterQueue(context.data_dir, redact=context.redactor.redact)) as dlq:
        return dlq.get_recent(_LETTERS)


def _rows(context: Context) -> list[Agreement]:
    with open_history_readonly(context.data_dir) as history:
        return list(islice(needing_user(history), _SCENES))


def _log(context: Context) -> list[str]:
    return tail(os.path.join(context.data_dir, LOG_FILE), _LINES)


def _versions() -> Iterator[str]:
    from importlib.metadata import PackageNotFoundError, version

    yield f"PlexSync {VERSION}"
    yield f"Python {platform.python_version()}"
    for name in PACKAGES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name}: missing"


def _stash(context: Context) -> str:
    try:
        return context.stash.check()
    except (TransientError, PermanentError) as error:
        return str(error)


def _settings(context: Context) -> str:
    try:
        config = context.config()
    except (TransientError, PermanentError, SettingsError) as error:
        return str(error)
    return "\n".join(f"{key} = {value!r}" for key, value in config.shown().items())
