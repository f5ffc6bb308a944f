"""The demo's output: colours and a live status in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text

from tests.demo.harness import Snapshot, State

T = TypeVar("T")

WIDTH = 100
_LOOK = 0.1
#: Number of saves at the same time, as from several browser tabs.
_TABS = 3
_LOOKS = {
    State.UNTOUCHED: ("·", ".", "bright_black"),
    State.WAITING: ("○", "o", "yellow"),
    State.IN_SYNC: ("●", "#", "green"),
    State.REVIEW: ("?", "?", "magenta"),
}
_PLEX_COLOURS = {"up": "green", "starting up": "yellow", "down": "red"}


class Stage:
    """Prints text, and keeps the status up to date while it waits."""

    def __init__(self, look: Callable[[], Snapshot]) -> None:
        """Args:
        look: returns the current snapshot.
        """
        console = Console(highlight=False, emoji=False)
        self.is_live = sys.stdout.isatty() and not console.is_dumb_terminal
        width = min(console.width, WIDTH) if self.is_live else WIDTH
        self.console = Console(highlight=False, emoji=False, width=width)
        self._is_ascii = self.console.options.ascii_only
        self._look = look
        self._snapshot = look()
        self._live = Live(
            console=self.console, get_renderable=self._status, refresh_per_second=10, transient=True
        )
        self._pool = ThreadPoolExecutor(_TABS, "browser-tab")

    def __enter__(self) -> Stage:
        if self.is_live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._live.stop()

    # --- output

    def say(self, text: str, style: str = "", first: str = "  ", rest: str | None = None) -> None:
        """Print one indented paragraph."""
        rest = " " * len(first) if rest is None else rest
        lines = textwrap.fill(
            text, self.console.width - 1, initial_indent=first, subsequent_indent=rest
        )
        self.console.print(Text(lines, style))

    def heading(self, text: str) -> None:
        self.console.print()
        self.say(text, "bold cyan", "")

    def chapter(self, title: str, text: str) -> None:
        self.heading(title)
        self.say(text)
        self.pause(1.5)

    def fact(self, text: str, good: bool = True) -> None:
        """Print one observed fact."""
        marks = "*!" if self._is_ascii else "✓✗"
        self.say(text, "green" if good else "red", f"  {marks[not good]} ")
        self.pause(0.6)

    def columns(self, rows: Sequence[Sequence[str]], indent: str = "    ") -> None:
        """Print a small table; the first column is dimmed."""
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for first, *others in rows:
            cells = [text.ljust(width) for text, width in zip(others, widths[1:], strict=True)]
            line = Text.assemble(indent, (first.ljust(widths[0]), "dim"), "   ", "   ".join(cells))
            line.rstrip()
            self.console.print(line)

    def print_status(self) -> None:
        """Print the status as a line if the terminal has no live status."""
        self._snapshot = self._look()
        if not self.is_live:
            self.say(f"[{_counts(self._snapshot)}]", first="    ")

    # --- actions and waits

    def run_at_once(self, actions: Iterable[Callable[[], T]]) -> list[T]:
        """Run several actions at the same time; return their results."""
        futures: list[Future[T]] = [self._pool.submit(action) for action in actions]
        self.wait_until(lambda: all(future.done() for future in futures), 60.0)
        return [future.result() for future in futures]

    def wait_until(self, reached: Callable[[], bool], patience: float) -> bool:
        """Wait for a condition and update the status; return whether it came true in time."""
        end = time.monotonic() + patience
        while not (there := reached()) and time.monotonic() < end:
            self._snapshot = self._look()
            time.sleep(_LOOK)
        self._snapshot = self._look()
        return there

    def wait_seconds(self, seconds: float) -> None:
        self.wait_until(lambda: False, seconds)

    def pause(self, seconds: float) -> None:
        """Give the user time to read; do not wait when the output is a pipe."""
        if self.is_live:
            self.wait_seconds(seconds)

    # --- the status

    def _status(self) -> RenderableType:
        snapshot = self._snapshot
        plain = self._is_ascii
        dots = Text(" ").join(
            Text(_LOOKS[state][plain], _LOOKS[state][2]) for state in snapshot.states
        )
        counts = Text("   ").join(
            Text(f"{_LOOKS[state][plain]} {state.value} {snapshot.count(state)}", _LOOKS[state][2])
            for state in State
        )
        servers = Text.assemble(
            "Plex is ",
            (snapshot.plex, _PLEX_COLOURS[snapshot.plex]),
            f"   edits in PlexSync's queue: {snapshot.queued}",
        )
        body = Group(dots, counts, servers)
        return Padding(
            Panel(body, title="your scenes", title_align="left", border_style="cyan"), (1, 0, 0, 0)
        )


def _counts(snapshot: Snapshot) -> str:
    seen = (State.IN_SYNC, State.WAITING, State.REVIEW, State.UNTOUCHED)
    return ", ".join(
        f"{snapshot.count(state)} {state.value}" for state in seen if snapshot.count(state)
    )
