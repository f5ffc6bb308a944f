"""Plan a campaign as a pure function of the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from tests.soak.points import HOOK_POINTS, WORKER_POINTS

#: Seconds of faults in one round.
TROUBLE = 6.0
SCENES = 12
_FEWEST = 8
#: The share of rounds with a long outage.
_LONG_OUTAGES = 0.3
#: Seconds within which a hook is killed: about as long as it runs.
_HOOK_LIFE = 0.09
_TAGS = tuple(f"Tag {number}" for number in range(8))
_PEOPLE = ("Ann", "Bob", "Cleo", "Dan", "Eve")
_STUDIOS = ("North", "South", None)
_GROUPS = ("Series", "Sequel")
#: Kind of related object → names that are renamed; more of the same are made by later edits.
_RENAMED = {"tag": _TAGS, "performer": _PEOPLE, "studio": ("North", "South"), "group": _GROUPS}
_MERGED = {"tag": _TAGS, "performer": _PEOPLE}
#: The share of edits that never reach a hook.
_WITHOUT_HOOK = 0.1
#: The largest number of the call at which a worker is killed: what a sync and two passes take.
_LAST_CALL = 60_000
_DATES = ("2024-05-06", "2019-12-31", "2020", "2021-07", None)
_SITUATIONS = ("sync", "retry", "missed", "renamed", "drift", "gone")
#: Databases of which bytes are damaged. What the history alone knows can't be found again.
_DAMAGED = ("queue/data.db", "dlq.db", "index.db")
#: Seconds by which the clock is wrong for a while.
_OFFSETS = (-86_400.0, -3_600.0, -30.0, 30.0, 3_600.0, 86_400.0)
_KILLED_AT = tuple(point.name for point in WORKER_POINTS if point.situation in _SITUATIONS)
_HOOKS_KILLED_AT = tuple(point.name for point in HOOK_POINTS)

#: How a round ends: the running worker continues, a save starts a new one, or a task syncs.
ENDINGS = ("alive", "fresh", "task")


@dataclass(frozen=True)
class Event:
    """One event, `at` seconds after the start of its round."""

    at: float
    action: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.at:6.2f} {self.action}({arguments})"


@dataclass(frozen=True)
class Round:
    """Faults, then a time without faults."""

    number: int
    events: tuple[Event, ...]
    ending: str
    #: the scene that is saved after the last fault
    last_saved: int


def make_plan(seed: int, rounds: int, kills: int) -> list[Round]:
    """Return the campaign.

    Args:
        kills: number of kills of hooks and workers, planned for each round.
    """
    return list(_Planner(random.Random(seed), kills).rounds(rounds))


class _Planner:
    def __init__(self, rng: random.Random, kills: int) -> None:
        self._rng = rng
        self._kills = kills
        self._slots = list(range(SCENES))
        self._next_slot = SCENES
        self._version = 0
        self._events: list[Event] = []

    def rounds(self, count: int) -> list[Round]:
        return [self._round(number) for number in range(1, count + 1)]

    def _round(self, number: int) -> Round:
        self._events = []
        before = list(self._slots)  # scenes of this round; new ones are edited in the next round
        for _ in range(self._rng.randint(12, 22)):
            self._edit(before)
        self._spread(
            "silent", 4, lambda: {"slot": self._pick(before), "fields": self._fields(partial=True)}
        )
        self._related()
        self._population(before)
        self._plex_trouble(before)
        self._stash_trouble()
        self._worker_trouble()
        self._disk_trouble()
        ending = self._rng.choice(ENDINGS)
        last = self._pick(self._slots)
        return Round(number, tuple(sorted(self._events, key=lambda event: event.at)), ending, last)

    # -- edits --

    def _edit(self, slots: list[int]) -> None:
        kind = self._rng.choices(("save", "burst", "bulk", "tagger"), (8, 1, 1, 1))[0]
        some = self._rng.sample(slots, min(len(slots), self._rng.randint(2, 5)))
        if self._rng.random() < _WITHOUT_HOOK:
            self._add("silent", slot=self._pick(slots), fields=self._fields())
        elif kind == "save":
            self._add("save", slot=self._pick(slots), fields=self._fields())
        elif kind == "burst":
            moment = self._moment()
            for slot in (*some, some[0]):
                self._add("save", at=moment, slot=slot, fields=self._fields())
        elif kind == "bulk":
            tags = self._rng.sample(_TAGS, 2)
            self._add(
                "bulk", slots=some, fields={"tags": tags, "studio": self._rng.choice(_STUDIOS)}
            )
        else:
            self._add("tagger", saves=[[slot, self._fields(partial=True)] for slot in some])

    def _fields(self, *, partial: bool = False) -> dict[str, Any]:
        """Return values for a save; the harness fills in `{slot}` in texts."""
        self._version += 1
        rng = self._rng
        everything: dict[str, Any] = {
            "title": rng.choice(
                (f"Title of {{slot}}, version {self._version}", f"{{slot}} v{self._version}", "")
            ),
            "details": rng.choice((f"About {{slot}}: {self._version}", "")),
            "studio": rng.choice(_STUDIOS),
            "date": rng.choice(_DATES),
            "tags": rng.sample(_TAGS, rng.randint(0, 4)),
            "performers": rng.sample(_PEOPLE, rng.randint(0, 3)),
            "groups": rng.sample(_GROUPS, rng.randint(0, 2)),
            "cover": self._version,
        }
        names = rng.sample(sorted(everything), rng.randint(1, 3 if partial else 6))
        return {name: everything[name] for name in names}

    def _related(self) -> None:
        """Rename and merge what scenes have: no hook, and the scenes' own time stays."""
        for _ in range(self._rng.randint(1, 3)):
            kind = self._rng.choice(sorted(_RENAMED))
            self._version += 1
            which = self._rng.choice(_RENAMED[kind])
            self._add("rename", kind=kind, which=which, name=f"{which} no. {self._version}")
        if self._rng.random() < 0.5:
            kind = self._rng.choice(sorted(_MERGED))
            source, destination = self._rng.sample(_MERGED[kind], 2)
            self._add("merge", kind=kind, source=source, destination=destination)

    # -- scenes and items that are added and removed --

    def _population(self, before: list[int]) -> None:
        for action in self._rng.sample(
            ("create", "create late", "destroy"), self._rng.randint(0, 2)
        ):
            if action == "destroy":
                if len(self._slots) > _FEWEST:
                    slot = self._pick(before)
                    self._slots.remove(slot)
                    self._add("destroy", at=TROUBLE * 0.9, slot=slot)
                continue
            slot = self._next_slot
            self._next_slot += 1
            self._slots.append(slot)
            start = self._moment(0.5)
            # Without any metadata a new scene is left alone.
            fields = {**self._fields(), "title": f"New {{slot}}, version {self._version}"}
            self._add("create", at=start, slot=slot, fields=fields, late=action == "create late")
            if action == "create late":
                self._add("save", at=start + 0.1, slot=slot, fields=self._fields(partial=True))
                self._add("file appears", at=start + self._rng.uniform(0.5, 3.0), slot=slot)

    # -- faults --

    def _plex_trouble(self, slots: list[int]) -> None:
        kinds = ["down", "starting up", "revoked", "all 500", "all 503", "all 429", "slow"]
        if self._rng.random() < _LONG_OUTAGES:  # longer than all retries of a job
            kind = self._rng.choice(("down", "starting up", "all 500", "all 503"))
            kinds.remove(kind)
            self._add("plex trouble", at=0.5, kind=kind)
            self._add("plex well", at=TROUBLE - 0.5, kind=kind)
        for kind in self._rng.sample(kinds, 3):
            start = self._moment(0.8)
            self._add("plex trouble", at=start, kind=kind)
            self._add("plex well", at=start + self._rng.uniform(0.1, 1.2), kind=kind)
        for kind in self._rng.sample(
            ("reset", "reset after", "truncate", "hang"), self._rng.randint(1, 3)
        ):
            times = 1 if kind == "hang" else self._rng.randint(1, 4)
            self._add("plex fault", kind=kind, method=self._rng.choice((None, "PUT")), times=times)
        # Faults of edits count as the item's own: fewer of them than a job has retries.
        self._add(
            "plex fault",
            kind=self._rng.choice(("500", "429")),
            method="PUT",
            times=self._rng.randint(1, 3),
        )
        self._spread("replace item", self._rng.randint(0, 2), lambda: {"slot": self._pick(slots)})
        for _ in range(self._rng.randint(0, 2)):
            start, slot = self._moment(0.6), self._pick(slots)
            self._add("remove item", at=start, slot=slot)
            self._add("file appears", at=start + self._rng.uniform(0.2, 2.0), slot=slot)
        self._spread("refresh item", self._rng.randint(0, 3), lambda: {"slot": self._pick(slots)})
        self._event_trouble()

    def _event_trouble(self) -> None:
        """Plan events that are lost, garbled or too many, and streams that end or are refused."""
        self._spread("drop events", self._rng.randint(0, 3), dict)
        self._spread("garble events", self._rng.randint(0, 1), dict)
        if self._rng.random() < 0.5:
            self._add("lose events", every=self._rng.randint(1, 4))
        if self._rng.random() < 0.4:
            start = self._moment(0.7)
            self._add("refuse events", at=start, status=self._rng.choice((404, 401, 502, 503)))
            self._add("offer events", at=start + self._rng.uniform(0.2, 2.0))
        if self._rng.random() < 0.3:
            self._add("storm of events", items=self._rng.choice((50, 500, 5_000)))

    def _stash_trouble(self) -> None:
        if self._rng.random() < 0.4:
            self._add(self._rng.choice(("stash restarts", "sessions end")))
        for kind in self._rng.sample(
            ("reset", "500", "truncate", "slow", "503"), self._rng.randint(0, 2)
        ):
            self._add("stash fault", kind=kind, times=self._rng.randint(1, 5))

    def _worker_trouble(self) -> None:
        for _ in range(self._kills):
            kind = self._rng.choices(
                ("hook", "hook at", "worker", "worker at", "worker anywhere", "task"),
                (12, 3, 3, 5, 4, 1),
            )[0]
            if kind == "hook":
                after = self._rng.uniform(0.0, _HOOK_LIFE)
                self._add(
                    "save",
                    slot=self._pick(self._slots),
                    fields=self._fields(partial=True),
                    killed_after=after,
                )
            elif kind == "hook at":
                self._add("kill hook at", point=self._rng.choice(_HOOKS_KILLED_AT))
            elif kind == "worker":
                self._add("kill worker")
            elif kind == "worker at":
                self._add("kill worker at", point=self._rng.choice(_KILLED_AT))
            elif kind == "worker anywhere":
                self._add("kill worker anywhere", call=int(_LAST_CALL ** self._rng.uniform(0.3, 1)))
            else:
                self._add("task", stopped_after=self._rng.uniform(0.1, 1.0))
        for _ in range(self._rng.randint(0, 2)):
            start = self._moment(0.8)
            self._add("freeze worker", at=start)
            self._add("thaw worker", at=start + self._rng.uniform(0.1, 1.5))

    def _disk_trouble(self) -> None:
        """Plan damaged rows and bytes, a full disk and a wrong clock."""
        self._spread("damage row", self._rng.randint(0, 2), lambda: {"pick": self._rng.random()})
        if self._rng.random() < 0.3:
            name = self._rng.choice(_DAMAGED)
            self._add("damage bytes", name=name, place=self._rng.random())
        if self._rng.random() < 0.4:
            start = self._moment(0.8)
            self._add("fill disk", at=start)
            self._add("free disk", at=start + self._rng.uniform(0.1, 0.8))
        if self._rng.random() < 0.4:
            self._add("shift clock", seconds=self._rng.choice(_OFFSETS))

    # -- helpers --

    def _spread(self, action: str, count: int, arguments: Any) -> None:
        for _ in range(count):
            self._add(action, **arguments())

    def _add(self, action: str, *, at: float | None = None, **arguments: Any) -> None:
        self._events.append(
            Event(round(self._moment() if at is None else at, 3), action, arguments)
        )

    def _moment(self, until: float = 1.0) -> float:
        return self._rng.uniform(0.0, TROUBLE * until)

    def _pick(self, slots: list[int]) -> int:
        return self._rng.choice(slots)
