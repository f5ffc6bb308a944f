"""*Report*: one file for a bug report: versions, settings, status, the end of the log; without secrets."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from common.files import replace_private
from queue.dlq import DeadLetterQueue
from tasks.check import PACKAGES
from tasks.context import Context, Result, is_set
from tasks.status import collect
from validation.errors import PermanentError, SettingsError, TransientError
from worker.logfile import FILE as LOG_FILE
from worker.logfile import tail

#: Lines of the log, and dead letters, that go into a report.
_LINES = 500
_LETTERS = 20
# What stands in quotes is a title or a name; what follows a slash is a path up to where a sentence goes on.
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_PATH = re.compile(r"(?<![:/\w])(?:[A-Za-z]:[\\/]|[\\/])[^\n;:'\"]+")


def report(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Write a report into the data directory.

    Args:
        arguments: `anonymous`: stand-ins in place of paths, titles and names.

    Raises:
        OSError, sqlite3.Error: a file can't be read, or the report can't be written.
    """
    text = "\n\n".join(f"# {title}\n{body}" for title, body in _sections(context).items())
    text = context.redactor.redact(text)
    if is_set(arguments, "anonymous"):
        text = StandIns().apply(text)
    path = os.path.join(context.data_dir, f"report-{time.strftime('%Y%m%d-%H%M%S')}.txt")
    replace_private(path, text + "\n")
    return Result(f"Report: {path}. Please look through it before you pass it on", {"path": path})


class StandIns:
    """Replaces each quoted text and each path by a stand-in, the same one everywhere."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def apply(self, text: str) -> str:
        """Return `text` without them. It errs on the safe side: more may go than need be."""
        text = _QUOTED.sub(lambda found: f"'{self._stand_in('text', found[0][1:-1])}'", text)
        return _PATH.sub(lambda found: f"/{self._stand_in('path', found[0].strip())}", text)

    def _stand_in(self, kind: str, original: str) -> str:
        return self._known.setdefault(original, f"{kind}-{len(self._known) + 1}")


def _sections(context: Context) -> dict[str, str]:
    status = collect(context)
    with closing(DeadLetterQueue(context.data_dir, redact=context.redactor.redact)) as dlq:
        letters = dlq.get_recent(_LETTERS)
    return {
        "Versions": _versions(context),
        "Settings": _settings(context),
        "Status": json.dumps({key: value for key, value in status.items() if key != "log"}, indent=1),
        "Failed": "\n".join(f"{one['error_type']}: {one['error_message']}\n{one['stack_trace']}" for one in letters),
        "Log": "".join(tail(os.path.join(context.data_dir, LOG_FILE), _LINES)),
    }


def _versions(context: Context) -> str:
    from importlib.metadata import PackageNotFoundError, version

    lines = [f"PlexSync {plugin_version(context.entry)}", f"Python {sys.version}", platform.platform()]
    for name in PACKAGES:
        try:
            lines.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            lines.append(f"{name}: missing")
    try:
        lines.append(f"Stash {context.stash.check()}")
    except (TransientError, PermanentError) as error:
        lines.append(f"Stash: {error}")
    return "\n".join(lines)


def _settings(context: Context) -> str:
    try:
        config = context.config()
    except (TransientError, PermanentError, SettingsError) as error:
        return str(error)
    return "\n".join(f"{key} = {value!r}" for key, value in config.shown().items())


def plugin_version(entry: str) -> str:
    """Return the version in the manifest beside the entry, or "unknown"."""
    try:
        with open(os.path.join(os.path.dirname(entry), "PlexSync.yml"), encoding="utf-8") as manifest:
            found = re.search(r"^version: *(\S+)", manifest.read(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else "unknown"
