"""What happens in the demo, chapter by chapter."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from tests.demo import catalogue
from tests.demo.catalogue import ALL, PLEX_FOLDER, STASH_FOLDER, TWIN, UNSCANNED, Sample
from tests.demo.compare import in_plex, readable
from tests.demo.processes import kill_workers, worker_pids
from tests.demo.stage import Stage
from tests.demo.world import State, World, blocked
from tests.simulators.httpd import Delay
from tests.simulators.stash import SaveResult
from worker.process import worker_alive

#: Scenes that must be in sync at the end.
EXPECTED = tuple(sample for sample in ALL if sample is not TWIN)
OWN_TAG = "Watch again"
_PATIENCE = 60.0
#: Seconds after which an empty queue has nothing more to say.
_GRACE = 1.0


def tell(world: World, stage: Stage) -> None:
    """The whole story."""
    for chapter in (_opening, _one_save, _many_at_once, _outage, _unclear, _yours, _killed):
        chapter(world, stage)
        stage.standing()
    stage.pause(1.0)


def _opening(world: World, stage: Stage) -> None:
    stage.chapter(
        "PlexSync: what you save in Stash reaches Plex",
        f"A simulated Stash with {len(ALL)} scenes, a simulated Plex with the same files. Stash sees them below"
        f" {STASH_FOLDER}, Plex below {PLEX_FOLDER}, so the plugin is given one path mapping. Every save below runs"
        " the plugin as Stash does: one process per scene, and the save waits for it. Only the pauses between two"
        " attempts are a hundred times shorter here than at home.",
    )


def _one_save(world: World, stage: Stage) -> None:
    stage.chapter(
        "1. You save a scene", "A file that Plex knows only by its name gets its metadata in Stash."
    )
    sample = catalogue.FIRST
    item = world.item(sample)
    assert item is not None
    before = in_plex(item)
    start = time.monotonic()
    _record(world, [world.save(sample)])
    saved = time.monotonic() - start
    _settle(world, stage, [sample])
    after = in_plex(item)
    names = ("title", "studio", "date", "genres", "actors", "collections")
    shown = [(name, readable(before[name]), readable(after[name])) for name in names]
    stage.columns([("", "Plex before", "Plex now"), *shown])
    stage.fact(
        f"The save took {saved * 1000:.0f} ms. Plex had it {time.monotonic() - start:.1f} s after the click,"
        " sent by a worker in the background that this first save has started.",
        world.in_sync(sample),
    )


def _many_at_once(world: World, stage: Stage) -> None:
    singles, tagged = catalogue.SINGLES, catalogue.TAGGED
    stage.chapter(
        "2. You are in a hurry",
        f"{len(singles)} scenes saved in several browser tabs at once, {len(tagged)} more by the tagger, and right"
        " after that a bulk edit gives half of them one more tag.",
    )
    hooks, writes = len(world.hooks), len(world.plex.writes)
    saves = [partial(world.save, sample) for sample in singles]
    _record(world, stage.at_once([partial(world.save_tagged, tagged), *saves]))
    _record(world, stage.at_once([partial(world.add_tag, singles[:4] + tagged[:2], "Remastered")]))
    good = _settle(world, stage, singles + tagged)
    _fact_of_saves(world, stage, hooks)
    stage.fact(
        f"{len(world.plex.writes) - writes} requests brought all of it to Plex, {len(singles + tagged)} scenes: each"
        " carries every field that changed.",
        good,
    )


def _outage(world: World, stage: Stage) -> None:
    samples = catalogue.DURING_OUTAGE
    stage.chapter(
        "3. Plex goes down",
        f"The machine with Plex is off. You notice nothing in Stash: {len(samples)} scenes are saved, and one from"
        " before is given another title, and then a better one.",
    )
    hooks = len(world.hooks)
    world.plex.stop()
    saves = [partial(world.save, sample) for sample in samples]
    _record(world, stage.at_once([partial(world.save, catalogue.FIRST, title="A Heron"), *saves]))
    better = "A Heron at Dawn (Director's Cut)"
    _record(world, stage.at_once([partial(world.save, catalogue.FIRST, title=better)]))
    _fact_of_saves(world, stage, hooks)
    stage.let_pass(1.5)
    stage.fact(
        f"{_waiting(world)} scenes wait on disk (two edits of one scene count as one). Plex starts ...",
        world.queued() >= _waiting(world),
    )
    world.plex.starting_up = True
    world.plex.start()
    stage.let_pass(1.5)
    stage.fact(
        f'... and answers "503, starting up" for a while: {_waiting(world)} go on waiting,'
        f" {len(world.letters())} were given up.",
        world.queued() >= _waiting(world) and not world.letters(),
    )
    world.plex.starting_up = False
    start = time.monotonic()
    good = _settle(world, stage, (*samples, catalogue.FIRST))
    stage.fact(
        f"Plex was back, and {time.monotonic() - start:.1f} s later it had every edit.", good
    )


def _unclear(world: World, stage: Stage) -> None:
    stage.chapter(
        "4. Not everything is clear",
        f'"{TWIN.title}" lies in two libraries of Plex; "{UNSCANNED.title}" is so new that Plex has not scanned it.',
    )
    before = len(world.plex.writes)
    _record(world, stage.at_once([partial(world.save, TWIN), partial(world.save, UNSCANNED)]))
    stage.wait_until(lambda: bool(world.letters()), _PATIENCE)
    stage.fact(
        f'"{TWIN.title}" may be either of two items. PlexSync does not guess: nothing was written, and it is'
        " reported for review.",
        bool(world.letters()) and len(world.plex.writes) == before,
    )
    stage.let_pass(1.0)
    stage.fact(
        f'"{UNSCANNED.title}" waits and is tried again, now and then. Nothing else waits for it.',
        world.queued() > 0,
    )
    world.plex.add_file(UNSCANNED.plex_path, UNSCANNED.size)
    world.plex.scan(world.films)
    start = time.monotonic()
    good = _settle(world, stage, [UNSCANNED])
    stage.fact(
        f"Plex scans its folder. {time.monotonic() - start:.1f} s later the scene is in sync, by itself.",
        good,
    )


def _yours(world: World, stage: Stage) -> None:
    first = catalogue.FIRST
    stage.chapter(
        "5. What is yours in Plex stays yours",
        f'You tag "{first.title}" with "{OWN_TAG}" in Plex. In Stash you replace its tags. Then you let Plex refresh'
        " the metadata of the whole library.",
    )
    world.tag_in_plex(first, OWN_TAG)
    _record(world, stage.at_once([partial(world.save, first, tags=("Birds", "Morning"))]))
    _settle(world, stage, [first])
    item = world.item(first)
    assert item is not None
    genres = ", ".join(item.genres)
    stage.fact(
        f"Plex shows {genres}: your tag stayed, the one you removed in Stash is gone.",
        world.in_sync(first),
    )
    saved = [sample for sample in EXPECTED if sample in world.saved]
    for sample in saved:
        if (item := world.item(sample)) is not None:
            world.plex.refresh_item(item.rating_key)
    kept = sum(map(world.in_sync, saved))
    stage.fact(
        f"After the refresh {kept} of {len(saved)} scenes show what they showed.",
        kept == len(saved),
    )


def _killed(world: World, stage: Stage) -> None:
    samples = catalogue.BEFORE_KILL
    stage.chapter(
        "6. The worker is killed",
        f"{len(samples)} scenes are saved while Plex is slow. In the middle of the first write the worker is ended"
        " the hard way (kill -9), as by a crash or a power cut.",
    )
    slow = world.plex.faults.add(Delay(1.0), method="PUT")
    writes = _puts(world)
    _record(world, stage.at_once([partial(world.save, sample) for sample in samples]))
    stage.wait_until(lambda: _puts(world) > writes, _PATIENCE)
    victims = kill_workers(world.data_dir)
    if victims:
        gone = stage.wait_until(lambda: not worker_alive(world.data_dir), _PATIENCE)
        stage.fact(f"Worker {victims[0]} is dead. {world.queued()} edits wait on disk.", gone)
    else:
        stage.fact("The worker's process can't be found on this system, so it lives on.", False)
    slow.remove()
    stage.pause(0.8)
    _record(world, stage.at_once([partial(world.save, catalogue.AFTER_KILL)]))
    good = _settle(world, stage, (*samples, catalogue.AFTER_KILL))
    now = worker_pids(world.data_dir)
    stage.fact(
        f"The next save started {f'worker {now[0]}' if now else 'another'}, which took up all of them.",
        good,
    )


def _record(world: World, results: Sequence[SaveResult]) -> None:
    world.hooks += [run for result in results for run in result.hooks]


def _fact_of_saves(world: World, stage: Stage, since: int) -> None:
    runs = world.hooks[since:]
    median, worst = blocked(runs)
    stage.fact(
        f"{len(runs)} saves; each waited {median:.0f} ms for PlexSync, {worst:.0f} ms at most."
    )


def _settle(world: World, stage: Stage, samples: Sequence[Sample]) -> bool:
    """Wait until these are in sync; not for ever, and not where nothing more is under way."""
    idle_since: float | None = None

    def over() -> bool:
        nonlocal idle_since
        now = time.monotonic()
        idle_since = None if world.queued() else idle_since or now
        return all(map(world.in_sync, samples)) or (
            idle_since is not None and now - idle_since > _GRACE
        )

    stage.wait_until(over, _PATIENCE)
    return all(map(world.in_sync, samples))


def _waiting(world: World) -> int:
    return world.snapshot().count(State.WAITING)


def _puts(world: World) -> int:
    return world.plex.log.count("PUT")


__all__ = ["EXPECTED", "tell"]
