"""The log protocol of plugins: what Stash makes of the bytes on a plugin's stderr."""

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
    """What ran: the event, the task or the operation; "stash" for Stash's own words about the plugin."""


def decode_line(line: bytes, default_level: str = DEFAULT_LEVEL) -> tuple[str, str]:
    """The level and the text of one line without its end."""
    if len(line) >= 4 and line[:1] == b"\x01" and line[2:3] == b"\x02" and line[1:2] in LEVELS:
        return LEVELS[line[1:2]], line[3:].decode("utf-8", "replace").strip()
    return default_level, line.decode("utf-8", "replace")


def default_level(err_log: str) -> str:
    """The level of unmarked lines, as the manifest's `errLog` names it."""
    return err_log if err_log in (*LEVELS.values(), "none") else DEFAULT_LEVEL


class LineSplitter:
    """Cuts a stream into lines and gives up at one that is too long."""

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
        """The last line, when it has no end."""
        if self._rest and not self.gave_up:
            yield self._rest
