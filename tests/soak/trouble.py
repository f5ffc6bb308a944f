"""Run the events of a round, each at its time."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from tests.harness.base import PLUGIN, TOKEN
from tests.harness.processes import signal_workers
from tests.simulators.httpd import Answer, Delay, Fault, Hang, Reset, ResetAfter, Response, Truncate
from tests.simulators.stash.library import NotFound
from tests.soak.harness import SoakHarness
from tests.soak.plan import Event, Round
from tests.soak.points import POINTS, anywhere

#: Number of concurrent saves.
_TABS = 6
#: Longer than the read timeout in the settings.
_HANG = 6.0
#: What no event is, within an event stream.
_GARBAGE = b"event: timeline\ndata: {\n\n\xff\x00" + b"x" * 100_000 + b"\ndata: [[[\n\n"
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
    """Run the faults of one round and end them."""

    def __init__(self, harness: SoakHarness) -> None:
        self._harness = harness
        self._saves: list[Future[Any]] = []
        self._actions: dict[str, Callable[..., object]] = {
            "save": self._as_save(harness.save_film),
            "bulk": self._as_save(harness.bulk),
            "tagger": self._as_save(harness.tagger),
            "destroy": self._as_save(harness.destroy),
            "silent": harness.silent,
            "rename": harness.rename,
            "merge": harness.merge,
            "create": harness.add_film,
            "file appears": harness.file_appears,
            "replace item": harness.replace_item,
            "remove item": harness.remove_item,
            "refresh item": harness.refresh_item,
            "plex trouble": self._plex_trouble,
            "plex well": self._plex_well,
            "plex fault": self._plex_fault,
            "drop events": harness.plex.events.drop_all,
            "garble events": lambda: harness.plex.events.send_bytes(_GARBAGE),
            "lose events": self._lose_events,
            "refuse events": self._refuse_events,
            "offer events": self._offer_events,
            "storm of events": harness.storm,
            "stash fault": self._stash_fault,
            "stash restarts": self._restart_stash,
            "sessions end": harness.stash.invalidate_sessions,
            "kill worker": harness.kill_workers,
            "kill worker at": self._kill_worker_at,
            "kill worker anywhere": self._kill_worker_anywhere,
            "kill hook at": self._arm_trap,
            "freeze worker": lambda: signal_workers(harness.data_dir, signal.SIGSTOP),
            "thaw worker": lambda: signal_workers(harness.data_dir, signal.SIGCONT),
            "task": self._task,
            "damage row": harness.damage_row,
            "damage bytes": harness.damage_bytes,
            "fill disk": harness.disk.fill,
            "free disk": harness.disk.free,
            "shift clock": harness.shift_clock,
        }

    def run(self, round_: Round) -> None:
        """Run the round's events, then end all faults."""
        start = time.monotonic()
        with ThreadPoolExecutor(_TABS, "browser-tab") as self._tabs:
            for event in round_.events:
                while time.monotonic() - start < event.at:
                    time.sleep(min(0.05, max(0.0, event.at - (time.monotonic() - start))))
                    self._harness.read_stderr()
                self._run_event(event)
            self.end_faults(round_)
            for save in self._saves:
                save.result()
        self._saves = []

    def end_faults(self, round_: Round) -> None:
        """End every fault and add the files that are still missing."""
        harness = self._harness
        signal_workers(harness.data_dir, signal.SIGCONT)
        harness.trap.clear()
        harness.disk.free()
        harness.shift_clock(0.0)
        harness.plex.faults.clear()
        harness.stash.faults.clear()
        if harness.blind:
            harness.hide_changes()
        harness.rules.clear()
        for kind in ("down", "starting up", "revoked"):
            self._plex_well(kind)
        self._lose_events(0)
        self._offer_events()
        for slot in harness.scene_ids:
            harness.file_appears(slot)
        if not harness.plex.settle():
            raise AssertionError("Plex's scans did not end")
        harness.learn_keys()

    def _run_event(self, event: Event) -> None:
        with contextlib.suppress(KeyError, NotFound):  # its scene was destroyed meanwhile
            self._actions[event.action](**event.arguments)

    def _as_save(self, save: Callable[..., object]) -> Callable[..., None]:
        def start(**arguments: Any) -> None:
            self._saves.append(self._tabs.submit(_unless_gone, save, arguments))

        return start

    # -- Plex --

    def _plex_trouble(self, kind: str) -> None:
        plex = self._harness.plex
        if kind == "down":
            plex.stop()
        elif kind == "starting up":
            plex.starting_up = True
        elif kind == "revoked":
            plex.valid_tokens.clear()
        else:
            fault = _FAULTS[kind.removeprefix("all ")]()
            self._harness.rules[kind] = plex.faults.add(fault)

    def _plex_well(self, kind: str) -> None:
        plex = self._harness.plex
        if kind == "down":
            plex.start()
        elif kind == "starting up":
            plex.starting_up = False
        elif kind == "revoked":
            plex.valid_tokens.add(TOKEN)
        elif kind in self._harness.rules:
            self._harness.rules.pop(kind).remove()

    def _plex_fault(self, kind: str, method: str | None, times: int) -> None:
        self._harness.plex.faults.add(_FAULTS[kind](), method=method, times=times)

    def _lose_events(self, every: int) -> None:
        self._harness.plex.events.lose_every = every

    def _refuse_events(self, status: int) -> None:
        events = self._harness.plex.events
        events.refusal = Response(status, b"<html>A proxy</html>", {"Content-Type": "text/html"})
        events.drop_all()

    def _offer_events(self) -> None:
        self._harness.plex.events.refusal = None

    # -- Stash --

    def _stash_fault(self, kind: str, times: int) -> None:
        self._harness.stash.faults.add(_FAULTS[kind](), times=times)

    def _restart_stash(self) -> None:
        """Restart Stash, which kills its plugins and ends all sessions."""
        self._harness.stash.stop()
        self._harness.stash.invalidate_sessions()
        self._harness.stash.start()

    def _task(self, stopped_after: float) -> None:
        job = self._harness.stash.run_task(PLUGIN, "Sync recent scenes")
        timer = threading.Timer(stopped_after, job.stop)
        timer.start()
        self._saves.append(self._tabs.submit(timer.join))

    # -- processes --

    def _kill_worker_at(self, point: str) -> None:
        """Kill the running worker and arm the point for the next one."""
        self._arm_trap(point)
        self._harness.kill_workers()

    def _kill_worker_anywhere(self, call: int) -> None:
        """Kill the running worker, and the next one at its call or return with this number."""
        self._harness.trap.arm(anywhere(call))
        self._harness.kill_workers()

    def _arm_trap(self, point: str) -> None:
        self._harness.trap.arm(POINTS[point])


def _unless_gone(save: Callable[..., object], arguments: dict[str, Any]) -> None:
    with contextlib.suppress(KeyError, NotFound):
        save(**arguments)
