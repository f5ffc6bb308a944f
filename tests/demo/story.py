"""The demo's chapters."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from tests.demo import catalogue
from tests.demo.catalogue import ALL, PLEX_FOLDER, STASH_FOLDER, TWIN, UNSCANNED, Sample
from tests.demo.harness import DemoHarness, State, blocked
from tests.demo.stage import Stage
from tests.harness.compare import in_plex, readable
from tests.harness.processes import kill_workers, worker_pids
from tests.simulators.httpd import Delay
from tests.simulators.stash import SaveResult
from worker.process import worker_alive

#: Scenes that must be in sync at the end.
EXPECTED = tuple(sample for sample in ALL if sample is not TWIN)
OWN_TAG = "Watch again"
_PATIENCE = 60.0
#: Seconds after which an empty queue counts as finished.
_GRACE = 1.0


def run_story(harness: DemoHarness, stage: Stage) -> None:
    """Run all chapters."""
    for chapter in (
        _opening,
        _one_save,
        _many_at_once,
        _outage,
        _ambiguous,
        _user_edits_in_plex,
        _killed,
    ):
        chapter(harness, stage)
        stage.print_status()
    stage.pause(1.0)


def _opening(harness: DemoHarness, stage: Stage) -> None:
    stage.chapter(
        "PlexSync: what you save in Stash reaches Plex",
        f"A simulated Stash with {len(ALL)} scenes and a simulated Plex with the same files. Stash"
        f" sees them in {STASH_FOLDER}, Plex in {PLEX_FOLDER}, so the plugin has one path mapping."
        " Every save runs the plugin as Stash does: one process per scene, and the save waits for"
        " it. Only the pauses between two attempts are a hundred times shorter than usual.",
    )


def _one_save(harness: DemoHarness, stage: Stage) -> None:
    stage.chapter(
        "1. You save a scene", "A file that Plex knows only by its name gets its metadata in Stash."
    )
    sample = catalogue.FIRST
    item = harness.item_at(sample)
    assert item is not None
    before = in_plex(item)
    start = time.monotonic()
    _record(harness, [harness.save_sample(sample)])
    saved = time.monotonic() - start
    _wait_for_sync(harness, stage, [sample])
    after = in_plex(item)
    names = ("title", "studio", "date", "genres", "actors", "collections")
    shown = [(name, readable(before[name]), readable(after[name])) for name in names]
    stage.columns([("", "Plex before", "Plex now"), *shown])
    stage.fact(
        f"The save took {saved * 1000:.0f} ms. Plex had it {time.monotonic() - start:.1f} s after"
        " the click, sent by a background worker that this first save started.",
        harness.in_sync(sample),
    )


def _many_at_once(harness: DemoHarness, stage: Stage) -> None:
    singles, tagged = catalogue.SINGLES, catalogue.TAGGED
    stage.chapter(
        "2. You are in a hurry",
        f"{len(singles)} scenes are saved in several browser tabs at once, {len(tagged)} more by"
        " the tagger. Right after that a bulk edit adds a tag to half of them.",
    )
    hooks, writes = len(harness.hooks), len(harness.plex.writes)
    saves = [partial(harness.save_sample, sample) for sample in singles]
    _record(harness, stage.run_at_once([partial(harness.save_tagged, tagged), *saves]))
    _record(
        harness,
        stage.run_at_once([partial(harness.add_tag, singles[:4] + tagged[:2], "Remastered")]),
    )
    good = _wait_for_sync(harness, stage, singles + tagged)
    _fact_of_saves(harness, stage, hooks)
    stage.fact(
        f"{len(harness.plex.writes) - writes} requests updated {len(singles + tagged)} scenes in"
        " Plex: each request carries all changed fields.",
        good,
    )


def _outage(harness: DemoHarness, stage: Stage) -> None:
    samples = catalogue.DURING_OUTAGE
    stage.chapter(
        "3. Plex goes down",
        f"The machine with Plex is off. You notice nothing in Stash: {len(samples)} scenes are"
        " saved, and the title of an earlier scene is changed twice.",
    )
    hooks = len(harness.hooks)
    harness.plex.stop()
    saves = [partial(harness.save_sample, sample) for sample in samples]
    _record(
        harness,
        stage.run_at_once([partial(harness.save_sample, catalogue.FIRST, title="A Heron"), *saves]),
    )
    better = "A Heron at Dawn (Director's Cut)"
    _record(
        harness, stage.run_at_once([partial(harness.save_sample, catalogue.FIRST, title=better)])
    )
    _fact_of_saves(harness, stage, hooks)
    stage.wait_seconds(1.5)
    stage.fact(
        f"{_waiting(harness)} scenes wait on disk (two edits of one scene count as one)."
        " Plex starts ...",
        harness.queued() >= _waiting(harness),
    )
    harness.plex.starting_up = True
    harness.plex.start()
    stage.wait_seconds(1.5)
    stage.fact(
        f'... and answers "503, starting up" for a while: {_waiting(harness)} still wait,'
        f" {len(harness.letters())} were given up.",
        harness.queued() >= _waiting(harness) and not harness.letters(),
    )
    harness.plex.starting_up = False
    start = time.monotonic()
    good = _wait_for_sync(harness, stage, (*samples, catalogue.FIRST))
    stage.fact(
        f"Plex was back, and {time.monotonic() - start:.1f} s later it had every edit.", good
    )


def _ambiguous(harness: DemoHarness, stage: Stage) -> None:
    stage.chapter(
        "4. Not everything is clear",
        f'"{TWIN.title}" is in two Plex libraries. Plex has not scanned "{UNSCANNED.title}" yet.',
    )
    before = len(harness.plex.writes)
    _record(
        harness,
        stage.run_at_once(
            [partial(harness.save_sample, TWIN), partial(harness.save_sample, UNSCANNED)]
        ),
    )
    stage.wait_until(lambda: bool(harness.letters()), _PATIENCE)
    stage.fact(
        f'"{TWIN.title}" may be either of two items. PlexSync does not guess: it wrote nothing'
        " and reported the scene for review.",
        bool(harness.letters()) and len(harness.plex.writes) == before,
    )
    stage.wait_seconds(1.0)
    stage.fact(
        f'"{UNSCANNED.title}" waits and is retried from time to time.'
        " Other scenes do not wait for it.",
        harness.queued() > 0,
    )
    harness.plex.add_file(UNSCANNED.plex_path, UNSCANNED.size)
    harness.plex.scan(harness.library)
    start = time.monotonic()
    good = _wait_for_sync(harness, stage, [UNSCANNED])
    stage.fact(
        f"Plex scans its folder. {time.monotonic() - start:.1f} s later the scene is in sync,"
        " without any action of yours.",
        good,
    )


def _user_edits_in_plex(harness: DemoHarness, stage: Stage) -> None:
    first = catalogue.FIRST
    stage.chapter(
        "5. Your own edits in Plex stay",
        f'You tag "{first.title}" with "{OWN_TAG}" in Plex. In Stash you replace its tags. Then'
        " you let Plex refresh the metadata of the whole library.",
    )
    harness.tag_in_plex(first, OWN_TAG)
    _record(
        harness, stage.run_at_once([partial(harness.save_sample, first, tags=("Birds", "Morning"))])
    )
    _wait_for_sync(harness, stage, [first])
    item = harness.item_at(first)
    assert item is not None
    genres = ", ".join(item.genres)
    stage.fact(
        f"Plex shows {genres}: your tag stayed, the one you removed in Stash is gone.",
        harness.in_sync(first),
    )
    saved = [sample for sample in EXPECTED if sample in harness.saved]
    for sample in saved:
        if (item := harness.item_at(sample)) is not None:
            harness.plex.refresh_item(item.rating_key)
    kept = sum(map(harness.in_sync, saved))
    stage.fact(
        f"After the refresh {kept} of {len(saved)} scenes still show the same metadata.",
        kept == len(saved),
    )


def _killed(harness: DemoHarness, stage: Stage) -> None:
    samples = catalogue.BEFORE_KILL
    stage.chapter(
        "6. The worker is killed",
        f"{len(samples)} scenes are saved while Plex is slow. In the middle of the first write the"
        " worker is killed (kill -9), as by a crash or a power cut.",
    )
    slow = harness.plex.faults.add(Delay(1.0), method="PUT")
    writes = _puts(harness)
    _record(
        harness, stage.run_at_once([partial(harness.save_sample, sample) for sample in samples])
    )
    stage.wait_until(lambda: _puts(harness) > writes, _PATIENCE)
    victims = kill_workers(harness.data_dir)
    if victims:
        gone = stage.wait_until(lambda: not worker_alive(str(harness.data_dir)), _PATIENCE)
        stage.fact(f"Worker {victims[0]} is dead. {harness.queued()} edits wait on disk.", gone)
    else:
        stage.fact("The worker's process can't be found on this system, so it lives on.", False)
    slow.remove()
    stage.pause(0.8)
    _record(harness, stage.run_at_once([partial(harness.save_sample, catalogue.AFTER_KILL)]))
    good = _wait_for_sync(harness, stage, (*samples, catalogue.AFTER_KILL))
    now = worker_pids(harness.data_dir)
    stage.fact(
        f"The next save started {f'worker {now[0]}' if now else 'another'}, which synced all of"
        " them.",
        good,
    )


def _record(harness: DemoHarness, results: Sequence[SaveResult]) -> None:
    harness.hooks += [run for result in results for run in result.hooks]


def _fact_of_saves(harness: DemoHarness, stage: Stage, since: int) -> None:
    runs = harness.hooks[since:]
    median, worst = blocked(runs)
    stage.fact(
        f"{len(runs)} saves; each waited {median:.0f} ms for PlexSync, {worst:.0f} ms at most."
    )


def _wait_for_sync(harness: DemoHarness, stage: Stage, samples: Sequence[Sample]) -> bool:
    """Wait until these are in sync, the queue stays empty, or the time is over."""
    idle_since: float | None = None

    def over() -> bool:
        nonlocal idle_since
        now = time.monotonic()
        idle_since = None if harness.queued() else idle_since or now
        return all(map(harness.in_sync, samples)) or (
            idle_since is not None and now - idle_since > _GRACE
        )

    stage.wait_until(over, _PATIENCE)
    return all(map(harness.in_sync, samples))


def _waiting(harness: DemoHarness) -> int:
    return harness.snapshot().count(State.WAITING)


def _puts(harness: DemoHarness) -> int:
    return harness.plex.log.count("PUT")


__all__ = ["EXPECTED", "run_story"]
