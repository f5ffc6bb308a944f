"""Carries out a round's events, each at its moment."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from tests.simulators.httpd import Answer, Delay, Fault, Hang, Reset, ResetAfter, Truncate
from tests.simulators.stash.library import NotFound
from tests.soak.plan import Event, Round
from tests.soak.points import POINTS
from tests.soak.world import PLUGIN, TOKEN, World

#: Saves at the same time.
_TABS = 6
#: Longer than the read timeout in the settings.
_HANG = 6.0
_FAULTS: dict[str, Callable[[], Fault]] = {
    "reset": Reset,
    "reset after": ResetAfter,
    "truncate": Truncate,
    "hang": lambda: Hang(_HANG),
    "slow": lambda: Delay(0.3),
    "429": lambda: Answer(429),
    "500": lambda: Answer(500, b"<html>500</html>"),
    "503": lambda: Answer(503),
}


class Trouble:
    """One round's trouble, and its end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._saves: list[Future[Any]] = []
        self._actions: dict[str, Callable[..., object]] = {
            "save": self._saving(world.save),
            "bulk": self._saving(world.bulk),
            "tagger": self._saving(world.tagger),
            "destroy": self._saving(world.destroy),
            "silent": world.silent,
            "create": world.add_scene,
            "file appears": world.file_appears,
            "replace item": world.replace_item,
            "refresh item": self._refresh_item,
            "plex trouble": self._plex_trouble,
            "plex well": self._plex_well,
            "plex fault": self._plex_fault,
            "stash fault": self._stash_fault,
            "stash restarts": self._restart_stash,
            "sessions end": world.stash.invalidate_sessions,
            "kill worker": world.kill_workers,
            "kill worker at": self._kill_worker_at,
            "kill hook at": self._lay,
            "freeze worker": lambda: world.signal_workers(signal.SIGSTOP),
            "thaw worker": lambda: world.signal_workers(signal.SIGCONT),
            "task": self._task,
        }

    def run(self, round_: Round) -> None:
        """Live through the round's events, then make everything well again."""
        start = time.monotonic()
        with ThreadPoolExecutor(_TABS, "browser-tab") as self._tabs:
            for event in round_.events:
                while time.monotonic() - start < event.at:
                    time.sleep(min(0.05, max(0.0, event.at - (time.monotonic() - start))))
                    self._world.read_stderr()
                self._carry_out(event)
            self.make_well(round_)
            for save in self._saves:
                save.result()
        self._saves = []

    def make_well(self, round_: Round) -> None:
        """End every fault; files that were to come are there now."""
        world = self._world
        world.signal_workers(signal.SIGCONT)
        world.trap.clear()
        world.plex.faults.clear()
        world.stash.faults.clear()
        world.rules.clear()
        for kind in ("down", "starting up", "revoked"):
            self._plex_well(kind)
        for slot in world.scene_ids:
            world.file_appears(slot)
        if not world.plex.settle():
            raise AssertionError("Plex's scans did not end")
        world.learn_keys()

    def _carry_out(self, event: Event) -> None:
        with contextlib.suppress(KeyError, NotFound):  # its scene is gone by now
            self._actions[event.action](**event.arguments)

    def _saving(self, save: Callable[..., object]) -> Callable[..., None]:
        def start(**arguments: Any) -> None:
            self._saves.append(self._tabs.submit(_unless_gone, save, arguments))

        return start

    # -- Plex --

    def _plex_trouble(self, kind: str) -> None:
        plex = self._world.plex
        if kind == "down":
            plex.stop()
        elif kind == "starting up":
            plex.starting_up = True
        elif kind == "revoked":
            plex.valid_tokens.clear()
        else:
            fault = _FAULTS[kind.removeprefix("all ")]()
            self._world.rules[kind] = plex.faults.add(fault)

    def _plex_well(self, kind: str) -> None:
        plex = self._world.plex
        if kind == "down":
            plex.start()
        elif kind == "starting up":
            plex.starting_up = False
        elif kind == "revoked":
            plex.valid_tokens.add(TOKEN)
        elif kind in self._world.rules:
            self._world.rules.pop(kind).remove()

    def _plex_fault(self, kind: str, method: str | None, times: int) -> None:
        self._world.plex.faults.add(_FAULTS[kind](), method=method, times=times)

    def _refresh_item(self, slot: int) -> None:
        item = self._world.item(slot)
        if item is not None:
            self._world.plex.refresh_item(item.rating_key)

    # -- Stash --

    def _stash_fault(self, kind: str, times: int) -> None:
        self._world.stash.faults.add(_FAULTS[kind](), times=times)

    def _restart_stash(self) -> None:
        """It kills its plugins, and knows no session of before."""
        self._world.stash.stop()
        self._world.stash.invalidate_sessions()
        self._world.stash.start()

    def _task(self, stopped_after: float) -> None:
        job = self._world.stash.run_task(PLUGIN, "Sync recent scenes")
        timer = threading.Timer(stopped_after, job.stop)
        timer.start()
        self._saves.append(self._tabs.submit(timer.join))

    # -- processes --

    def _kill_worker_at(self, point: str) -> None:
        """The next worker dies there; the present one makes room for it."""
        self._lay(point)
        self._world.kill_workers()

    def _lay(self, point: str) -> None:
        self._world.trap.lay(POINTS[point])


def _unless_gone(save: Callable[..., object], arguments: dict[str, Any]) -> None:
    with contextlib.suppress(KeyError, NotFound):
        save(**arguments)
