"""The cost of a sync: requests to Plex and queries to Stash, counted by the servers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.sqlite import connect
from plex.index import FileIndex
from tests.harness.clock import HOUR
from tests.harness.in_process import WorkerHarness
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene
from worker.batch import BATCH

SCENES = 50
PNG = b"\x89PNG\r\n\x1a\n" + bytes(200)
#: Requests that belong to no scene: connecting, libraries, index, settings, login.
OVERHEAD = 12

_ITEM = re.compile(r"/library/metadata/\d+$")
_OPERATION = re.compile(rb"query (\w+)")


def plex_requests(harness: WorkerHarness) -> Counter[str]:
    """Count requests by kind: item reads, writes, posters, listings and all others."""
    return Counter(kind_of(one.request.method, one.request.path) for one in harness.plex.log.all())


def kind_of(method: str, path: str) -> str:
    if method == "PUT":
        return "write"
    if method == "POST":
        return "poster"
    if _ITEM.match(path):
        return "read"
    return "listing" if path.endswith("/all") else "other"


def stash_queries(harness: WorkerHarness) -> Counter[str]:
    """Count queries by operation name; covers are separate requests."""
    counted: Counter[str] = Counter()
    for one in harness.stash.log.all():
        found = _OPERATION.search(one.request.body)
        counted[found[1].decode() if found else one.request.path.rpartition("/")[2]] += 1
    return counted


def scene_reads(harness: WorkerHarness) -> int:
    """Count queries that read complete scenes, one or several at once."""
    return sum(
        one.request.body.count(b"paths { screenshot }") > 0 for one in harness.stash.log.all()
    )


def clear_logs(harness: WorkerHarness) -> None:
    harness.plex.log.clear()
    harness.stash.log.clear()


def long_ago(harness: WorkerHarness) -> float:
    """Return a past time: within the current second, a cover is fetched twice."""
    return harness.clock.now - 100


def edit_all(
    harness: WorkerHarness, scenes: list[Scene], title: Callable[[int], str] = "Title {}".format
) -> None:
    for number, scene in enumerate(scenes):
        harness.edit(scene, title(number), updated_at=long_ago(harness))


SHAPES: dict[str, dict[str, Any]] = {
    "bare": {},
    "full": {
        "details": "Much to say. " * 40,
        "date": "2021-03-04",
        "studio": "S",
        "director": "D",
        "rating100": 80,
        "performers": ["P1", "P2", "P3", "P4"],
        "groups": ["G1", "G2"],
        "tags": ["T1"],
    },
    "many tags": {"tags": [f"Tag {number}" for number in range(60)]},
    "many performers": {"performers": [f"Performer {number}" for number in range(40)]},
}


def several(harness: WorkerHarness, shape: dict[str, Any]) -> list[Scene]:
    return [harness.pair(f"s{number:03}", **shape)[0] for number in range(SCENES)]


def several_files(harness: WorkerHarness) -> list[Scene]:
    scenes: list[Scene] = []
    for number in range(SCENES):
        files = [(f"/data/{number}-{part}.mp4", 100 + part) for part in (1, 2, 3)]
        scenes.append(harness.stash.add_scene(title="t", files=files, tags=["T"]))
        paths = [path.replace("/data/", "/media/") for path, _ in files]
        harness.plex.add_item(harness.library, paths[0], size=101, versions=paths[1:])
    return scenes


def assert_budget(
    harness: WorkerHarness,
    *,
    writes: int,
    posters: int = 0,
    listings: int = 1,
    other: int = OVERHEAD,
) -> None:
    counted = plex_requests(harness)
    assert counted["write"] == writes
    assert counted["poster"] == posters
    # Up to twenty items are read back in one request.
    assert counted["read"] <= SCENES + read_backs(writes + posters), "nothing hidden"
    assert counted["listing"] <= listings
    assert counted["other"] <= other


def read_backs(writes: int) -> int:
    """Return the most requests that read back so many writes of one batch."""
    return -(-writes // BATCH) + 1 if writes else 0


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_changed_scene_costs_a_read_and_a_write_an_unchanged_one_a_read(
    harness: WorkerHarness, shape: dict[str, Any]
) -> None:
    scenes = several(harness, shape)
    edit_all(harness, scenes)
    harness.run_for(5)
    assert_budget(harness, writes=SCENES)
    assert 1 <= scene_reads(harness) <= SCENES

    clear_logs(harness)
    edit_all(harness, scenes)
    harness.run_for(5)

    assert_budget(harness, writes=0)
    assert 1 <= scene_reads(harness) <= SCENES


def test_one_query_to_stash_per_scene_and_a_few_for_the_settings(harness: WorkerHarness) -> None:
    edit_all(harness, several(harness, SHAPES["full"]))

    harness.run_for(5)

    assert scene_reads(harness) <= SCENES
    assert stash_queries(harness).total() - scene_reads(harness) <= 5


def test_a_deleted_scene_in_a_batch_costs_one_more_query(harness: WorkerHarness) -> None:
    """Stash returns no scene of a batch if one of them was deleted."""
    scenes = several(harness, {})
    edit_all(harness, scenes)
    for scene in scenes[::25]:
        harness.stash.library.remove_scene(scene.id)

    harness.run_for(5)

    assert scene_reads(harness) <= SCENES + 10
    assert plex_requests(harness)["write"] == SCENES - 2


def test_scenes_of_several_files_cost_no_more(harness: WorkerHarness) -> None:
    edit_all(harness, several_files(harness))

    harness.run_for(5)

    assert_budget(harness, writes=SCENES)
    assert 1 <= scene_reads(harness) <= SCENES


def test_a_changed_poster_costs_one_upload_and_an_unchanged_one_none(
    harness: WorkerHarness,
) -> None:
    harness.configure(sync_poster=True)
    scenes = several(harness, {"cover": PNG})
    edit_all(harness, scenes)
    harness.run_for(5)
    # Before each upload, the poster that was selected is noted: an undo selects it again.
    assert_budget(harness, writes=SCENES, posters=SCENES, other=OVERHEAD + SCENES)

    clear_logs(harness)
    edit_all(harness, scenes, "Again {}".format)
    harness.run_for(5)
    assert_budget(harness, writes=SCENES)

    clear_logs(harness)
    for scene in scenes:
        harness.edit(scene, cover=PNG + b"another", updated_at=long_ago(harness))
    harness.run_for(5)
    assert_budget(harness, writes=0, posters=SCENES, other=OVERHEAD + SCENES)


def test_scenes_found_by_file_name_cost_one_more_query_each_time(harness: WorkerHarness) -> None:
    harness.configure(path_mappings="/none => /nowhere")
    scenes = several(harness, {})
    edit_all(harness, scenes)
    harness.run_for(5)
    assert_budget(harness, writes=SCENES)
    assert stash_queries(harness)["PlexSyncNamesakes"] == SCENES

    clear_logs(harness)
    edit_all(harness, scenes, "Again {}".format)
    harness.run_for(5)
    assert_budget(harness, writes=SCENES)
    assert stash_queries(harness)["PlexSyncNamesakes"] == SCENES


def test_an_empty_item_causes_no_hidden_requests_of_plexapi(harness: WorkerHarness) -> None:
    """plexapi reloads a partial item when an empty attribute is read (PlexPartialObject)."""
    items: list[PlexItem | None] = [harness.pair(f"s{number}")[1] for number in range(SCENES)]
    assert all(item is not None and item.studio is None and not item.genres for item in items)
    edit_all(harness, harness.stash.library.scenes(), lambda _: "")

    harness.run_for(5)

    assert plex_requests(harness)["read"] <= SCENES


def test_many_edits_of_one_scene_are_a_read_a_write_and_a_read_back(
    harness: WorkerHarness,
) -> None:
    scene, _ = harness.pair("a")
    for number in range(300):
        harness.edit(scene, f"Title {number}", updated_at=long_ago(harness))

    harness.run_for(5)

    assert plex_requests(harness)["read"] == 2
    assert plex_requests(harness)["write"] == 1
    assert scene_reads(harness) == 1


def test_edits_far_apart_refresh_the_index_without_listing_the_library(
    harness: WorkerHarness,
) -> None:
    scenes = several(harness, {})
    harness.new_worker()
    edit_all(harness, scenes)
    harness.run_for(5)
    clear_logs(harness)
    for number, scene in enumerate(scenes[:10]):
        harness.edit(scene, f"Later {number}", updated_at=long_ago(harness))
        harness.run_for(300)

    counted = plex_requests(harness)
    assert counted["write"] == 10
    assert counted["read"] <= 2 * 10
    assert counted["other"] + counted["listing"] <= 10 * 5


def test_a_worker_start_with_a_warm_index_sends_a_handful_of_requests(
    harness: WorkerHarness, tmp_path: Path
) -> None:
    for old in harness.plex.add_items(
        harness.library, [f"/media/other/{number}.mp4" for number in range(2_500)]
    ):
        old.updated_at -= 1_000
    scene, _ = harness.pair("a")
    database = connect(str(tmp_path / "index.db"), any_thread=True)
    harness.new_worker(index=FileIndex(database))
    harness.edit(scene, "Cold", updated_at=long_ago(harness))
    harness.run_for(5)
    assert plex_requests(harness)["listing"] == 3
    clear_logs(harness)

    harness.new_worker(index=FileIndex(database), history=harness.worker.history)
    harness.clock.advance(HOUR)
    harness.edit(scene, "Warm", updated_at=long_ago(harness))
    harness.run_for(5)
    database.close()

    counted = plex_requests(harness)
    assert harness.title(scene) == "Warm"
    assert (counted["read"], counted["write"]) == (2, 1)
    assert counted["listing"] <= 1, "Plex's own answer to the last write may have moved its marks"
    assert counted["other"] <= 5
    assert stash_queries(harness).total() <= 10


def test_a_start_with_nothing_changed_costs_a_handful_of_requests(
    harness: WorkerHarness,
) -> None:
    scenes = several(harness, SHAPES["full"])
    harness.new_worker(compares=True)
    edit_all(harness, scenes)
    harness.run_for(HOUR)
    harness.restart()
    harness.clock.advance(HOUR)
    clear_logs(harness)

    harness.run()

    counted = plex_requests(harness)
    assert (counted["read"], counted["write"]) == (0, 0)
    passes = 2  # it leaves after 15 minutes
    assert counted["listing"] <= passes
    assert counted["other"] <= 4 * passes
    assert stash_queries(harness).total() <= 5 * passes


def test_without_work_and_passes_plex_gets_no_request(harness: WorkerHarness) -> None:
    several(harness, {})
    harness.clock.advance(HOUR)

    harness.run()

    assert len(harness.plex.log) == 0
    assert len(harness.stash.log) == 0
