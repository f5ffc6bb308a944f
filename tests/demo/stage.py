"""Where the demo is seen: in a terminal with colours and a live status below the text, elsewhere as plain lines."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
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
#: Saves at the same time, as from the browser tabs of an impatient person.
_TABS = 3
_LOOKS = {
    State.UNTOUCHED: ("·", ".", "bright_black"),
    State.WAITING: ("○", "o", "yellow"),
    State.IN_SYNC: ("●", "#", "green"),
    State.REVIEW: ("?", "?", "magenta"),
}
_PLEX_COLOURS = {"up": "green", "starting up": "yellow", "down": "red"}


class Stage:
    """Says things, and keeps the status up to date while it waits."""

    def __init__(self, look: Callable[[], Snapshot]) -> None:
        """Args:
        look: how things are now.
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._live.stop()

    # --- saying

    def say(self, text: str, style: str = "", first: str = "  ", rest: str | None = None) -> None:
        """One paragraph, indented."""
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
        """One thing that was seen to happen."""
        marks = "*!" if self._is_ascii else "✓✗"
        self.say(text, "green" if good else "red", f"  {marks[not good]} ")
        self.pause(0.6)

    def columns(self, rows: Sequence[Sequence[str]], indent: str = "    ") -> None:
        """A small table; the first column is dimmed."""
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for first, *others in rows:
            cells = [text.ljust(width) for text, width in zip(others, widths[1:], strict=True)]
            line = Text.assemble(indent, (first.ljust(widths[0]), "dim"), "   ", "   ".join(cells))
            line.rstrip()
            self.console.print(line)

    def standing(self) -> None:
        """Where there is no live status, say it now and then."""
        self._snapshot = self._look()
        if not self.is_live:
            self.say(f"[{_counts(self._snapshot)}]", first="    ")

    # --- doing and waiting

    def at_once(self, actions: Iterable[Callable[[], T]]) -> list[T]:
        """Do several things at the same time; return what each returned."""
        futures: list[Future[T]] = [self._pool.submit(action) for action in actions]
        self.wait_until(lambda: all(future.done() for future in futures), 60.0)
        return [future.result() for future in futures]

    def wait_until(self, reached: Callable[[], bool], patience: float) -> bool:
        """Wait, with the status kept up to date; return whether it came to that in time."""
        end = time.monotonic() + patience
        while not (there := reached()) and time.monotonic() < end:
            self._snapshot = self._look()
            time.sleep(_LOOK)
        self._snapshot = self._look()
        return there

    def let_pass(self, seconds: float) -> None:
        self.wait_until(lambda: False, seconds)

    def pause(self, seconds: float) -> None:
        """Give a person time to read; nobody watches a pipe."""
        if self.is_live:
            self.let_pass(seconds)

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
