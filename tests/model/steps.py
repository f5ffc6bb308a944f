"""The steps of a life: what each does, and how one is drawn at random.

A step names scenes and items by a number, and does nothing where it does not apply: so any steps
can be left out, and the others still mean something.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.model.oracle import Before, Oracle
from tests.model.world import DAY, DEFAULTS, World, fold, picture
from tests.simulators.httpd import Answer, Reset, ResetAfter

Action = Callable[..., None]
Draw = Callable[[random.Random], dict[str, Any]]

#: The number of scenes and items that a life begins with.
SLOTS = 5
TAGS = ("Red", "Blue", "Green", "Été")
PEOPLE = ("Ann", "Bea", "Cid", "Dan")
STUDIOS = ("North", "South", "West")
GROUPS = ("Saga", "Cycle")
DATES = ("2020-01-02", "2021-03-04", "2022", "2023-05", "")


@dataclass(frozen=True)
class Step:
    """One step with its arguments."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        given = ", ".join(f"{key}={value!r}" for key, value in self.arguments.items())
        return f"{self.name}({given})"


@dataclass(frozen=True)
class _Kind:
    action: Action
    draw: Draw
    weight: float


FAMILIES: dict[str, dict[str, _Kind]] = {}
"""Kinds of steps by family and name. A life draws from some families only."""


def step(family: str, draw: Draw, weight: float = 1.0) -> Callable[[Action], Action]:
    """Register a kind of step under its function's name."""

    def register(action: Action) -> Action:
        FAMILIES.setdefault(family, {})[action.__name__] = _Kind(action, draw, weight)
        return action

    return register


def draw_step(rng: random.Random, families: list[str]) -> Step:
    """Return a random step of these families."""
    family = FAMILIES[rng.choice(families)]
    (name,) = rng.choices(list(family), [kind.weight for kind in family.values()])
    return Step(name, family[name].draw(rng))


def carry_out(step: Step, world: World, oracle: Oracle) -> None:
    """Do a step, a few seconds after the one before."""
    world.clock.advance(3)
    for family in FAMILIES.values():
        if step.name in family:
            action = family[step.name].action
            if step.name in _JUDGED:
                action(world, oracle, **step.arguments)
            else:
                action(world, **step.arguments)


def _slot(rng: random.Random) -> dict[str, Any]:
    return {"slot": rng.randrange(SLOTS)}


def _told(rng: random.Random) -> dict[str, Any]:
    return {**_slot(rng), "told": rng.random() < 0.7}


def _with(draw: Draw, **choices: Any) -> Draw:
    """Return a draw that also chooses one of several values for each name."""

    def drawn(rng: random.Random) -> dict[str, Any]:
        return {**draw(rng), **{name: rng.choice(values) for name, values in choices.items()}}

    return drawn


def _nothing(rng: random.Random) -> dict[str, Any]:
    return {}


# --- the beginning


@step("begin", _nothing)
def pair(
    world: World,
    slot: int,
    how: str = "path",
    stash: dict[str, Any] | None = None,
    plex: dict[str, Any] | None = None,
) -> None:
    """Add a scene and the item of its file.

    Args:
        how: `path`: a mapped path; `second`: the same in the second library; `name`: only the name
            and the size tell.
    """
    ours, theirs = {
        "path": (f"/data/k/{slot}.mp4", f"/media/k/{slot}.mp4"),
        "second": (f"/data2/k/{slot}.mp4", f"/more/k/{slot}.mp4"),
        "name": (f"/elsewhere/{slot}.mp4", f"/media/x{slot}/{slot}.mp4"),
    }[how]
    given = dict(stash or {})
    cover = given.pop("cover", None)
    scene = world.stash.add_scene(
        files=[(ours, 100 + slot)],
        cover=None if cover is None else picture(cover),
        **given,
    )
    world.scenes[slot] = scene.id
    library = world.copies if how == "second" else world.movies
    item = world.plex.add_item(library, theirs, size=100 + slot, **(plex or {}))
    world.added(slot, item)


@step("begin", _nothing)
def install(world: World) -> None:
    """Run PlexSync for the first time."""
    world.install()


@step("begin", _nothing)
def settings(world: World, **changes: Any) -> None:
    """Fill in the settings page."""
    world.configure(**changes)


@step("begin", _nothing)
def indexed_tags(world: World, meaning: str) -> None:
    """Set what an indexed list in a request means to Plex."""
    world.plex.settings.indexed_tags = meaning  # type: ignore[assignment]


def draw_pair(rng: random.Random, slot: int) -> Step:
    """Return a step that adds a scene with random metadata and an item with an agent's."""
    stash: dict[str, Any] = {
        "title": rng.choice(["", f"Title {slot}", f"Title {slot}"]),
        "details": rng.choice(["", f"Details {slot}"]),
        "date": rng.choice(DATES) or None,
        "director": rng.choice(["", "Dora"]),
        "studio": rng.choice([None, *STUDIOS]),
        "tags": _some(rng, TAGS),
        "performers": _some(rng, PEOPLE),
        "groups": _some(rng, GROUPS),
        "cover": rng.choice([None, slot * 100]),
    }
    if not stash["title"] and not stash["tags"]:
        stash["title"] = f"Title {slot}"  # one without metadata waits for its first save
    agent = {
        "title": f"Agent {slot}",
        "summary": f"Agent's summary {slot}",
        "studio": "Agent's studio",
        "genre": ["Drama"],
        "actor": ["Extra"],
    }
    plex: dict[str, Any] = {"agent_metadata": agent}
    if rng.random() < 0.7:
        plex |= {
            "title": f"Agent {slot}",
            "genres": rng.choice([[], ["Drama"], ["Drama", "red"]]),
            "actors": rng.choice([[], ["Extra"], ["Ann"]]),
            "collections": rng.choice([[], ["Best"], ["North"]]),
            "summary": rng.choice(["", f"Agent's summary {slot}"]),
            "locked": _some(rng, ("title", "summary", "genre", "actor", "collection")),
        }
    how = rng.choices(["path", "second", "name"], [4, 1, 1])[0]
    return Step("pair", {"slot": slot, "how": how, "stash": stash, "plex": plex})


def _some(rng: random.Random, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if rng.random() < 0.35]


# --- saves in Stash


@step("stash", _with(_told, text=["", "Alpha", "Beta", "Gamma", "Delta"]), 2)
def title(world: World, slot: int, text: str, told: bool) -> None:
    """Change a title."""
    _save(world, slot, told, title=f"{text} {slot}" if text else "")


@step("stash", _with(_told, text=["", "Long", "Longer"]))
def details(world: World, slot: int, text: str, told: bool) -> None:
    """Change a scene's details."""
    _save(world, slot, told, details=f"{text} {slot}" if text else "")


@step("stash", _with(_told, date=DATES))
def date(world: World, slot: int, date: str, told: bool) -> None:
    """Change a date."""
    _save(world, slot, told, date=date or None)


@step("stash", _with(_told, name=[*STUDIOS, None]), 2)
def studio(world: World, slot: int, name: str | None, told: bool) -> None:
    """Change a studio."""
    _save(world, slot, told, studio=name)


@step("stash", _with(_told, name=["Dora", "Emil", ""]))
def director(world: World, slot: int, name: str, told: bool) -> None:
    """Change a director."""
    _save(world, slot, told, director=name)


@step("stash", _with(_told, name=TAGS), 3)
def toggle_tag(world: World, slot: int, name: str, told: bool) -> None:
    """Add or remove a tag."""
    _toggle(world, slot, told, "tags", "tag", name)


@step("stash", _with(_told, name=PEOPLE), 2)
def toggle_performer(world: World, slot: int, name: str, told: bool) -> None:
    """Add or remove a performer."""
    _toggle(world, slot, told, "performers", "performer", name)


@step("stash", _with(_told, name=GROUPS), 2)
def toggle_group(world: World, slot: int, name: str, told: bool) -> None:
    """Add or remove a group."""
    _toggle(world, slot, told, "groups", "group", name)


@step("stash", _with(_told, number=range(1, 4)), 2)
def cover(world: World, slot: int, number: int, told: bool) -> None:
    """Change a cover."""
    _save(world, slot, told, cover=picture(slot * 100 + number))


@step("stash", _with(_told, stars=[None, 40, 80]))
def rating(world: World, slot: int, stars: int | None, told: bool) -> None:
    """Change a rating."""
    _save(world, slot, told, rating100=stars)


@step("stash", _slot)
def save(world: World, slot: int) -> None:
    """Save without a change."""
    scene = world.scene(slot)
    if scene is not None:
        world.save(scene, True, code=scene.code + "x")


@step("names", _with(_nothing, kind=["tag", "studio", "group", "performer"], number=range(4)))
def rename(world: World, kind: str, number: int) -> None:
    """Rename a tag, studio, group or performer in Stash; no hook tells of it."""
    entities = world.stash.library.shelf(kind).all()
    if entities:
        entity = entities[number % len(entities)]
        name = entity.name[:-1] if entity.name.endswith("2") else f"{entity.name}2"
        if all(one.name != name for one in entities):
            world.rename(kind, entity.id, name)


def _save(world: World, slot: int, told: bool, **fields: Any) -> None:
    scene = world.scene(slot)
    if scene is not None:
        world.save(scene, told, **fields)


def _toggle(world: World, slot: int, told: bool, field: str, kind: str, name: str) -> None:
    scene = world.scene(slot)
    if scene is None:
        return
    shelf = world.stash.library.shelf(kind)
    ids = [one[0] for one in scene.group_ids] if kind == "group" else getattr(scene, f"{kind}_ids")
    names = [shelf.get(one).name for one in ids]
    names = [one for one in names if one != name] if name in names else [*names, name]
    world.save(scene, told, **{field: names})


# --- a person's changes in Plex


@step("person", _with(_slot, name=["title", "summary"], text=["Mine", "My own"]), 2)
def person_text(world: World, slot: int, name: str, text: str) -> None:
    """Change a text in Plex."""
    item = world.item(slot)
    if item is not None and item.values.get(name) != f"{text} {slot}":
        world.person_sets(item, name, f"{text} {slot}")


@step("person", _with(_slot, name=["summary", "studio", "originallyAvailableAt", "year"]))
def person_clears(world: World, slot: int, name: str) -> None:
    """Empty a field in Plex."""
    item = world.item(slot)
    if item is not None and item.values.get(name):
        world.person_sets(item, name, "")


@step("person", _with(_slot, value=["My studio", "North"]))
def person_studio(world: World, slot: int, value: str) -> None:
    """Change a studio in Plex."""
    item = world.item(slot)
    if item is not None and item.values.get("studio") != value:
        world.person_sets(item, "studio", value)


@step("person", _with(_slot, value=["2001-01-01", "2020-01-02"]))
def person_date(world: World, slot: int, value: str) -> None:
    """Change a date in Plex."""
    item = world.item(slot)
    if item is not None and item.values.get("originallyAvailableAt") != value:
        world.person_sets(item, "originallyAvailableAt", value)


_NAMES = {
    "genre": (*TAGS, "Mine", "blue"),
    "actor": (*PEOPLE, "Zoe"),
    "director": ("Dora", "Yan"),
    "collection": (*STUDIOS, *GROUPS, "Best"),
}


def _a_name(rng: random.Random) -> dict[str, Any]:
    kind = rng.choice(["genre", "genre", "actor", "collection", "collection", "director"])
    return {**_slot(rng), "kind": kind, "name": rng.choice(_NAMES[kind])}


@step("person", _a_name, 3)
def person_adds(world: World, slot: int, kind: str, name: str) -> None:
    """Add a name to a list in Plex."""
    item = world.item(slot)
    if item is not None:
        names = {fold(one) for one in item.tags.get(kind, [])}
        if fold(name) not in names:
            world.person_adds(item, kind, name)


@step("person", _with(_a_name, number=range(3)), 3)
def person_removes(world: World, slot: int, kind: str, name: str, number: int) -> None:
    """Remove a name from a list in Plex."""
    item = world.item(slot)
    if item is not None and (names := item.tags.get(kind, [])):
        world.person_removes(item, kind, names[number % len(names)])


@step("person", _with(_slot, number=[7, 8]), 2)
def person_poster(world: World, slot: int, number: int) -> None:
    """Choose a poster in Plex."""
    item = world.item(slot)
    if item is not None:
        world.person_selects_poster(item, picture(slot * 100 + number))


_PERSONS = ("person_text", "person_clears", "person_adds", "person_removes", "person_poster")


def _a_change(rng: random.Random) -> dict[str, Any]:
    kinds = FAMILIES["person"]
    name = rng.choice(_PERSONS)
    return {"change": name, "seconds": rng.choice([1, 3, 8]), **kinds[name].draw(rng)}


@step("meanwhile", _a_change)
def meanwhile(
    world: World, oracle: Oracle, change: str, seconds: float, slot: int, **rest: Any
) -> None:
    """Let a person change an item while the worker runs: after its write, or before."""
    action = FAMILIES["person"][change].action
    before = oracle.begin()
    world.clock.after(seconds, lambda: action(world, slot, **rest))
    world.run(60)
    oracle.after(before, checked=False)


# --- what Plex does


@step("plex", _slot, 2)
def refresh(world: World, slot: int) -> None:
    """Let Plex's agent refresh an item."""
    item = world.item(slot)
    if item is not None:
        world.refresh(item)


@step("plex", _slot)
def replace(world: World, slot: int) -> None:
    """Remove an item and add it again, under another rating key."""
    item = world.item(slot)
    if item is not None and len(world.plex._state.at_path(item.path)) == 1:
        world.added(slot, world.plex.replace_item(item.path))


@step("versions", _with(_slot, other=range(SLOTS)), 2)
def merge(world: World, slot: int, other: int) -> None:
    """Merge two items; the first keeps its key and metadata."""
    one, two = world.item(slot), world.item(other)
    if one is not None and two is not None and one is not two and one.library is two.library:
        world.merge(one, two)


@step("versions", _slot)
def split(world: World, slot: int) -> None:
    """Split a merged item."""
    item = world.item(slot)
    if item is not None:
        world.split(item)


# --- faults


@step("faults", _with(_nothing, times=[1, 2, 3]), 2)
def lose_answer(world: World, times: int) -> None:
    """Let Plex carry out edits without an answer."""
    world.lose(ResetAfter(), "PUT", times)


@step("faults", _with(_nothing, times=[1, 2]))
def lose_poster_answer(world: World, times: int) -> None:
    """Let Plex take posters without an answer."""
    world.lose(ResetAfter(), "POST", times)


@step("faults", _with(_nothing, times=[1, 3], method=["PUT", "GET", "POST"]))
def lose_request(world: World, times: int, method: str) -> None:
    """Let requests never arrive."""
    world.lose(Reset(), method, times)


@step("faults", _with(_nothing, times=[1, 3], status=[500, 503], method=["PUT", "GET"]))
def refuse_request(world: World, times: int, status: int, method: str) -> None:
    """Let Plex fail."""
    world.lose(Answer(status), method, times)


@step("faults", _with(_nothing, times=[1, 2]))
def stash_fails(world: World, times: int) -> None:
    """Let Stash fail."""
    world.round.faults = True
    world.stash.faults.add(Answer(500), method="POST", times=times)


@step("faults", _with(_nothing, seconds=[5, 60, 400]), 3)
def run(world: World, oracle: Oracle, seconds: float) -> None:
    """Run the worker with the faults that are there."""
    before = oracle.before()
    world.run(seconds)
    oracle.after(before, checked=False)


@step("faults", _nothing, 2)
def kill(world: World, oracle: Oracle) -> None:
    """End the worker at its first edit, whose answer is lost, and start another."""
    before = oracle.before()
    world.round.faults = True
    world.install()

    def end(_: object) -> bool:
        world.harness.worker.stop()
        return True

    rule = world.plex.faults.add(ResetAfter(), method="PUT", when=end)
    world.run(30)
    rule.remove()
    oracle.after(before, checked=False)
    world.restart()


# --- settings


_TURNED = [
    "sync_tags", "sync_collections", "sync_poster", "sync_details", "preserve_plex_edits",
    "lock_fields", "repair_drift", "replace_lists", "sync_rating", "sync_performers",
    "sync_studio",
]  # fmt: skip


@step("settings", _with(_nothing, name=_TURNED))
def turn(world: World, name: str) -> None:
    """Turn a switch; PlexSync reads the settings every 15 seconds."""
    world.configure(**{name: not world.settings[name]})
    world.clock.advance(20)


# --- commands


@step("commands", _slot)
def resync(world: World, oracle: Oracle, slot: int) -> None:
    """Run *Re-sync scene*."""
    scene = world.scene(slot)
    if scene is None or scene.id in world.ignored:
        return
    world.install()
    world.old.discard(scene.id)
    world.round.resynced.add(scene.id)
    world.round.told.add(scene.id)
    world.round.changed.add(scene.id)
    before = oracle.before()
    if world.round.faults or scene.id not in before.must.values():
        world.late_resyncs.add(scene.id)
    world.command("resync", scene_id=scene.id)
    oracle.after(before, checked=False)


@step("commands", _nothing)
def sweep(world: World, oracle: Oracle) -> None:
    """Run *Sync all scenes*."""
    world.install()
    world.old.clear()
    world.round.swept = True
    before = oracle.before()
    world.command("sync")
    oracle.after(before, checked=False)


@step("commands", _slot, 0.5)
def ignore(world: World, oracle: Oracle, slot: int) -> None:
    """Leave a scene alone from now on, or no longer."""
    scene = world.scene(slot)
    if scene is None:
        return
    off = scene.id in world.ignored
    before = oracle.before()
    world.command("ignore", scene_id=scene.id, **({"off": True} if off else {}))
    world.ignored ^= {scene.id}
    if off:
        world.old.discard(scene.id)
        world.round.changed.add(scene.id)
    oracle.after(before, checked=False)


# --- time and checks


@step("time", _with(_nothing, days=[0.1, 1, 8]))
def wait(world: World, days: float) -> None:
    """Let time pass without a worker."""
    world.clock.advance(days * DAY)


@step("check", _nothing, 1)
def soon(world: World, oracle: Oracle) -> None:
    """Check what was saved a moment ago."""
    told = frozenset(one for one in world.round.waiting if oracle.is_steady(one))
    before = oracle.before()
    world.run(90)
    oracle.after(before, checked=not world.round.faults, only=told)
    world.round.waiting.clear()


@step("check", _nothing, 2)
def settle(world: World, oracle: Oracle) -> None:
    """Let everything arrive, and check all."""
    _settle(world, oracle)


def _settle(world: World, oracle: Oracle) -> Before:
    world.install()
    world.heal()
    before = oracle.before()
    world.run(60)
    world.next_day()
    oracle.after(before, checked=True)
    world.new_round()
    return before


@step("check", _nothing, 1)
def settle_twice(world: World, oracle: Oracle) -> None:
    """Check all, and that another day brings no further writes."""
    turned = bool(world.round.turned)
    before = [_settle(world, oracle), oracle.before()]
    world.next_day()
    oracle.quiet(before, turned)


_JUDGED = {
    "run",
    "meanwhile",
    "kill",
    "resync",
    "sweep",
    "ignore",
    "soon",
    "settle",
    "settle_twice",
}
DEFAULT_FAMILIES = (
    "stash", "names", "person", "meanwhile", "plex", "versions", "faults", "settings", "commands",
    "time",
)  # fmt: skip


def draw_life(rng: random.Random, length: int, families: tuple[str, ...]) -> list[Step]:
    """Return the steps of a life."""
    some = [name for name in families if rng.random() < 0.55] or [rng.choice(families)]
    if "stash" not in some:
        some.append("stash")
    changes = {name: not DEFAULTS[name] for name in _TURNED if rng.random() < 0.12}
    begin = [Step("indexed_tags", {"meaning": rng.choice(["replace", "add"])})]
    if changes:
        begin.append(Step("settings", changes))
    begin += [draw_pair(rng, slot) for slot in range(SLOTS)]
    begin.insert(rng.choice([0, len(begin)]) if rng.random() < 0.5 else 0, Step("install"))
    begin.append(draw_step(rng, ["check"]))
    steps = begin
    while len(steps) < length:
        for _ in range(rng.choice([1, 2, 4, 6, 8])):
            steps.append(draw_step(rng, some))
        steps.append(draw_step(rng, ["check"]))
    return [*steps, Step("settle_twice")]
