"""Print the results of commands: lines, a JSON document, progress on a terminal."""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

from common.texts import one_line, printable


class Console:
    """Print results to stdout, messages and progress to stderr."""

    def __init__(self, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr

    def print_lines(self, *lines: str) -> None:
        """Print lines; replace characters that the terminal's encoding lacks by question marks."""
        encoding = self._stdout.encoding or "utf-8"
        for line in lines:
            line = printable(" ".join(line.splitlines()))
            self._stdout.write(line.encode(encoding, "replace").decode(encoding) + "\n")

    def print(self, document: dict[str, Any]) -> None:
        """Print one JSON document."""
        self._stdout.write(json.dumps(document) + "\n")

    def notify(self, level: str, text: str) -> None:
        """Print a message to the user while a command runs."""
        self._stderr.write(f"{level}: {one_line(text)}\n")

    def progress(self, done: int, left: int) -> None:
        """Show progress in one line that is overwritten; only on a terminal."""
        if self._stderr.isatty():
            self._stderr.write(f"\r{done} of {done + left} " + ("" if left else "\n"))
            self._stderr.flush()
