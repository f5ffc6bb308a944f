"""*Report*: one file for a bug report: versions, settings, status, the end of the log; without secrets."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from typing import Any

from common.files import replace_private
from common.sqlite import connect
from plex.history import WriteHistory
from plex.index import FileIndex
from plex.paths import name_of, stem_of
from queue.dlq import DeadLetterQueue
from tasks.check import PACKAGES
from tasks.context import Context, Result, is_set
from tasks.status import collect
from validation.errors import PermanentError, SettingsError, TransientError
from worker.bootstrap import HISTORY_FILE, INDEX_FILE
from worker.logfile import FILE as LOG_FILE
from worker.logfile import tail

#: Lines of the log, and dead letters, that go into a report.
_LINES = 500
_LETTERS = 20
#: Characters below which a known text is left to the other rules.
_SHORTEST = 3
# What stands in quotes is a title or a name; what follows a slash is a path up to where a sentence goes on.
_QUOTED = re.compile(r"(?<!\w)'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_PATH = re.compile(r"(?<![:/\w])(?:[A-Za-z]:[\\/]|[\\/])[^\n;:'\"]+")


def report(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Write a report into the data directory.

    Args:
        arguments: `anonymous`: stand-ins in place of paths, titles and names.

    Raises:
        OSError, sqlite3.Error: a file can't be read, or the report can't be written.
    """
    sections, status = _sections(context), collect(context)
    if is_set(arguments, "anonymous"):
        pseudonyms = Pseudonyms(_known_texts(context))
        sections = {title: pseudonyms.apply(body) for title, body in sections.items()}
        status["problem"] = pseudonyms.apply(status["problem"] or "")
    sections["Status"] = json.dumps(
        {key: value for key, value in status.items() if key != "log"}, indent=1
    )
    text = "\n\n".join(f"# {title}\n{body}" for title, body in sections.items())
    text = context.redactor.redact(text)
    path = os.path.join(context.data_dir, f"report-{time.strftime('%Y%m%d-%H%M%S')}.txt")
    replace_private(path, text + "\n")
    return Result(f"Report: {path}. Please look through it before you pass it on", {"path": path})


class Pseudonyms:
    """Replaces what is known to be private, and whatever is quoted or looks like a path; alike everywhere."""

    def __init__(self, private: Iterable[str] = ()) -> None:
        """Args:
        private: titles, names and paths.
        """
        self._private = sorted(
            {one for one in private if len(one) >= _SHORTEST}, key=len, reverse=True
        )
        self._names: dict[str, str] = {}

    def apply(self, text: str) -> str:
        """Return `text` without them. It errs on the safe side: more may go than need be."""
        for one in self._private:
            if one in text:
                text = text.replace(one, self._stand_in("private", one))
        return "\n".join(
            map(self._apply_to_line, text.split("\n"))
        )  # an apostrophe must not swallow other lines

    def _apply_to_line(self, line: str) -> str:
        line = _QUOTED.sub(lambda found: f"'{self._stand_in('text', found[0][1:-1])}'", line)
        return _PATH.sub(lambda found: f"/{self._stand_in('path', found[0].strip())}", line)

    def _stand_in(self, kind: str, original: str) -> str:
        if original in self._names.values():  # it is one already
            return original
        return self._names.setdefault(original, f"{kind}-{len(self._names) + 1}")


def _known_texts(context: Context) -> Iterator[str]:
    """Yield titles, names and paths that our own files hold."""
    with suppress(TransientError, PermanentError, SettingsError):
        config = context.config()
        yield from config.plex_libraries
        yield from (path for mapping in config.path_mappings for path in mapping)
    with closing(connect(os.path.join(context.data_dir, INDEX_FILE))) as index:
        for file in FileIndex(index).paths():
            yield file
            yield name_of(file)
            yield stem_of(file)
    with closing(connect(os.path.join(context.data_dir, HISTORY_FILE))) as memory:
        yield from WriteHistory(memory).texts()
    with closing(DeadLetterQueue(context.data_dir)) as dlq:
        for letter in dlq.get_recent(dlq.get_count()):
            yield from _strings(letter["details"])
            yield from _strings(letter["job"].get("data"))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        if "/" in value or "\\" in value:
            yield stem_of(value)
    elif isinstance(value, (dict, list)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _strings(one)


def _sections(context: Context) -> dict[str, str]:
    with closing(DeadLetterQueue(context.data_dir, redact=context.redactor.redact)) as dlq:
        letters = dlq.get_recent(_LETTERS)
    return {
        "Versions": _versions(context),
        "Settings": _settings(context),
        "Failed": "\n".join(
            f"{one['error_type']}: {one['error_message']}\n{one['stack_trace']}" for one in letters
        ),
        "Log": "".join(tail(os.path.join(context.data_dir, LOG_FILE), _LINES)),
    }


def _versions(context: Context) -> str:
    from importlib.metadata import PackageNotFoundError, version

    lines = [
        f"PlexSync {plugin_version(context.entry)}",
        f"Python {sys.version}",
        platform.platform(),
    ]
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
        with open(
            os.path.join(os.path.dirname(entry), "PlexSync.yml"), encoding="utf-8"
        ) as manifest:
            found = re.search(r"^version: *(\S+)", manifest.read(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else "unknown"
