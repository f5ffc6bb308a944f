"""What the command line shows: lines, one JSON document for programs, progress on a terminal."""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO


class Console:
    """Writes answers to stdout, and what concerns the way there to stderr."""

    def __init__(self, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr

    def say(self, *lines: str) -> None:
        """Write lines; what the terminal's encoding does not have becomes a question mark."""
        encoding = self._stdout.encoding or "utf-8"
        for line in (" ".join(line.splitlines()) for line in lines):
            self._stdout.write(line.encode(encoding, "replace").decode(encoding) + "\n")

    def print(self, document: dict[str, Any]) -> None:
        """Write the one JSON document."""
        self._stdout.write(json.dumps(document) + "\n")

    def tell(self, level: str, text: str) -> None:
        """Write what a person should know meanwhile."""
        self._stderr.write(f"{level}: {text}\n")

    def progress(self, done: int, left: int) -> None:
        """Show how far it is, in one line that changes; only on a terminal."""
        if self._stderr.isatty():
            self._stderr.write(f"\r{done} of {done + left} " + ("" if left else "\n"))
            self._stderr.flush()
