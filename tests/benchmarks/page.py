"""The page's views as Stash runs them, against the hook, over a large history and many letters."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import closing

from common.media import MediaFile
from common.sqlite import connect
from history.counts import LOCATIONS
from history.fields import FieldState, Value
from history.records import Agreement, Status
from history.store import History
from tests.benchmarks.hooks import (
    add_dead_letters,
    event,
    hook_case,
    make_data_dir,
    worker_held,
)
from tests.benchmarks.measure import SPREAD, Case, Log, Result, Scale, ratio, run_in_turn, spread

#: Highest allowed time of a view that is polled, as a multiple of the hook's.
TARGET = 3.0
#: The views that are polled, and those of the first look at the page.
_POLLED: dict[str, dict[str, object]] = {
    "poll: count": {"view": "count"},
    "poll: state": {"view": "state"},
}
_FIRST: dict[str, dict[str, object]] = {
    "first rows: needs": {"view": "needs", "limit": 50},
    "first runs: changes": {"view": "changes", "limit": 20},
    "one scene": {"view": "scene", "scene_id": 5},
    "badges of 100 cards": {"view": "badges", "scene_ids": list(range(1, 101))},
}
#: Changes on record, at most 200,000 (`history.changes`).
_CHANGES = 100_000


def measure(scale: Scale, log: Log) -> Result:
    """Measure the page's views."""
    scenes = scale.timestamps
    log(f"filling a history of {scenes:,} scenes")
    with tempfile.TemporaryDirectory(prefix="plexsync-bench-") as folder:
        empty, large = (make_data_dir(folder, name) for name in ("empty", "large"))
        fill(large, scenes)
        add_dead_letters(large, scale.dead_letters)
        hook = hook_case("hook, worker alive", empty)
        cases = [
            view_case(name, large, arguments) for name, arguments in (_POLLED | _FIRST).items()
        ]
        rounds = max(1, scale.rounds // 4)
        log(f"{rounds} rounds of {len(cases) + 1}")
        with worker_held(empty), worker_held(large):
            run_in_turn([hook, *cases], rounds)
    result = Result(f"The page: {scenes:,} scenes, {scale.dead_letters:,} dead letters", SPREAD)
    result.rows = {case.name: spread(case.seconds) for case in (hook, *cases)}
    result.ratios = [
        ratio(
            f"{case.name}, of the hook",
            case.seconds,
            hook.seconds,
            at_most=TARGET if case.name in _POLLED else None,
        )
        for case in cases
    ]
    return result


def view_case(name: str, data_dir: str, arguments: dict[str, object]) -> Case:
    """Return a view's command as Stash runs it."""
    content = json.loads(event())
    content["args"] = {"mode": "page", **arguments}
    return hook_case(name, data_dir, json.dumps(content).encode())


def fill(data_dir: str, scenes: int) -> None:
    """Fill the history: a tenth of the scenes failed, another is not in Plex."""
    with closing(connect(os.path.join(data_dir, "history.db"))) as db:
        history = History(db)
        history.save_all(_records(scenes))
        history.set(LOCATIONS, ["/plex/"])
        db.executemany(
            "INSERT INTO changes (at, run, cause, agreement, scene_id, server, section, rating_key,"
            " field, before, after, status)"
            " VALUES (?, ?, 'sync', ?, ?, 's', 1, ?, 'title', '\"a\"', '\"b\"', 'confirmed')",
            (
                (float(number), f"sync-{number % 7}", number, number, number)
                for number in range(1, min(scenes, _CHANGES) + 1)
            ),
        )


def _records(scenes: int) -> Iterator[Agreement]:
    for number in range(1, scenes + 1):
        place = f"{number // 200}/{number}.mp4"
        status = {1: Status.FAILED, 2: Status.NOT_IN_PLEX}.get(number % 10, Status.IN_SYNC)
        is_there = status is Status.IN_SYNC
        values: dict[str, Value] = {
            "title": f"Title {number}",
            "summary": "Some words of a summary. " * 10,
            "genre": tuple(f"Genre {number % 7 + one}" for one in range(8)),
        }
        fields = {
            name: FieldState(before="", ours=value, wanted=value, observed=value)
            for name, value in values.items()
        }
        yield Agreement(
            number,
            status,
            reason="" if is_there else "it is so",
            server="s" * 40,
            section=1,
            rating_key=number if is_there else 0,
            path=f"/plex/{place}",
            files=(MediaFile(f"/stash/{place}", number),),
            updated_at="2026-05-06T07:08:09Z",
            checked_at=float(number),
            synced_at=float(number) if is_there else None,
            fields=fields if is_there else {},
        )
