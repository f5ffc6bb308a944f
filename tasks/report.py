"""Task *Report*: write versions, settings, status and log to one file, without secrets."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from itertools import islice
from typing import Any

from common.files import replace_private
from common.sqlite import connect
from common.version import VERSION
from plex.index import FileIndex
from plex.paths import name_of, stem_of
from queue.dlq import DeadLetterQueue
from tasks.check import PACKAGES
from tasks.context import Context, Result, is_set
from tasks.status import collect
from validation.errors import PermanentError, SettingsError, TransientError
from worker.attention import needing_user
from worker.bootstrap import INDEX_FILE, open_history_readonly
from worker.logfile import FILE as LOG_FILE
from worker.logfile import tail

#: Last lines of the log in a report.
_LINES = 500
#: Latest dead letters in a report, and scenes that need the user.
_LETTERS = 20
_SCENES = 50
#: Shorter private texts are not searched for: they occur inside ordinary words.
_SHORTEST = 3
# Quoted text is a title or a name. A slash begins a path, which ends at punctuation.
_QUOTED = re.compile(r"(?<!\w)'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_PATH = re.compile(r"(?<![:/\w])(?:[A-Za-z]:[\\/]|[\\/])[^\n;:'\"]+")


def report(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Write a report into the data directory.

    Args:
        arguments: `anonymous`: replace paths, titles and names by pseudonyms.

    Raises:
        OSError, sqlite3.Error: A file is not readable, or the report is not writable.
    """
    sections, status = _sections(context), collect(context)
    if is_set(arguments, "anonymous"):
        pseudonyms = Pseudonyms(_known_texts(context))
        sections = {title: pseudonyms.apply(body) for title, body in sections.items()}
        status["problem"] = pseudonyms.apply(status["problem"] or "")
        counts = status["folders"].values()
        status["folders"] = {f"folder-{number}": count for number, count in enumerate(counts, 1)}
    sections["Status"] = json.dumps(
        {key: value for key, value in status.items() if key != "log"}, indent=1
    )
    text = "\n\n".join(f"# {title}\n{body}" for title, body in sections.items())
    text = context.redactor.redact(text)
    path = os.path.join(context.data_dir, f"report-{time.strftime('%Y%m%d-%H%M%S')}.txt")
    replace_private(path, text + "\n")
    text = f"Report: {path}. Check it for private texts before you share it"
    return Result(text, {"path": path})


class Pseudonyms:
    """Replace private texts, quoted texts and paths. Equal texts get equal pseudonyms."""

    def __init__(self, private: Iterable[str] = ()) -> None:
        """Start without pseudonyms.

        Args:
            private: Titles, names and paths to replace wherever they occur.
        """
        self._private = sorted(
            {one for one in private if len(one) >= _SHORTEST}, key=len, reverse=True
        )
        self._names: dict[str, str] = {}

    def apply(self, text: str) -> str:
        """Return `text` with pseudonyms. Rather replaces too much than too little."""
        for one in self._private:
            if one in text:
                text = text.replace(one, self._pseudonym("private", one))
        # Line by line: an apostrophe must not pair with one in another line.
        return "\n".join(map(self._apply_to_line, text.split("\n")))

    def _apply_to_line(self, line: str) -> str:
        line = _QUOTED.sub(lambda found: f"'{self._pseudonym('text', found[0][1:-1])}'", line)
        return _PATH.sub(lambda found: f"/{self._pseudonym('path', found[0].strip())}", line)

    def _pseudonym(self, kind: str, original: str) -> str:
        if original in self._names.values():  # already a pseudonym
            return original
        return self._names.setdefault(original, f"{kind}-{len(self._names) + 1}")


def _known_texts(context: Context) -> Iterator[str]:
    """Yield the titles, names and paths in PlexSync's own files."""
    with suppress(TransientError, PermanentError, SettingsError):
        config = context.config()
        yield from config.plex_libraries
        yield from (path for mapping in config.path_mappings for path in mapping)
    with closing(connect(os.path.join(context.data_dir, INDEX_FILE))) as index:
        for file in FileIndex(index).paths():
            yield file
            yield name_of(file)
            yield stem_of(file)
    with open_history_readonly(context.data_dir) as history:
        yield from history.texts()
        for row in needing_user(history):
            yield from _strings(row.details)
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
    with open_history_readonly(context.data_dir) as history:
        rows = list(islice(needing_user(history), _SCENES))
    return {
        "Versions": _versions(context),
        "Settings": _settings(context),
        "Needing you": "\n".join(f"{row.status.value}: {row.reason}" for row in rows),
        "Dead letters": "\n".join(
            f"{one['error_type']}: {one['error_message']}\n{one['stack_trace']}" for one in letters
        ),
        "Log": "".join(tail(os.path.join(context.data_dir, LOG_FILE), _LINES)),
    }


def _versions(context: Context) -> str:
    from importlib.metadata import PackageNotFoundError, version

    lines = [
        f"PlexSync {VERSION}",
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
