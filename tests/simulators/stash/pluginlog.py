"""The log protocol of plugins: Stash's parsing of a plugin's stderr."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

LEVELS = {
    b"t": "trace",
    b"d": "debug",
    b"i": "info",
    b"w": "warning",
    b"e": "error",
    b"p": "progress",
}
DEFAULT_LEVEL = "error"
MAX_LINE = 64 * 1024
"""A line of this many bytes makes Stash close the pipe."""


@dataclass(frozen=True)
class LogLine:
    level: str
    text: str
    plugin: str = ""
    source: str = ""
    """The event, task or operation that ran; "stash" for Stash's own messages about the plugin."""


def decode_line(line: bytes, default_level: str = DEFAULT_LEVEL) -> tuple[str, str]:
    """Return the level and the text of one line."""
    if len(line) >= 4 and line[:1] == b"\x01" and line[2:3] == b"\x02" and line[1:2] in LEVELS:
        return LEVELS[line[1:2]], line[3:].decode("utf-8", "replace").strip()
    return default_level, line.decode("utf-8", "replace")


def default_level(err_log: str) -> str:
    """Return the level of unmarked lines, from the manifest's `errLog`."""
    return err_log if err_log in (*LEVELS.values(), "none") else DEFAULT_LEVEL


class LineSplitter:
    """Splits a stream into lines and stops at one that is too long."""

    def __init__(self) -> None:
        self._rest = b""
        self.gave_up = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if len(line) >= MAX_LINE:
                self.gave_up = True
                return
            if line.rstrip(b"\r"):
                yield line.rstrip(b"\r")
        self.gave_up = len(self._rest) >= MAX_LINE

    def end(self) -> Iterator[bytes]:
        """Return an unterminated last line."""
        if self._rest and not self.gave_up:
            yield self._rest
