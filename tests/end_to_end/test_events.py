"""Plex's events with real processes: hook, worker, and a stream that stays open.

All durations are the usual ones: no pass is due within a test, so only an event can be the reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from history.records import Status
from tests.harness.installation import ProcessHarness
from tests.harness.processes import wait_until
from tests.harness.size import long
from tests.simulators.httpd import Response
from tests.simulators.stash import Scene
from worker.bootstrap import open_history_readonly

USUAL = {"PLEXSYNC_TIME_SCALE": "1"}

Make = Callable[..., ProcessHarness]


def statuses(harness: ProcessHarness, scene: Scene) -> list[Status]:
    with open_history_readonly(str(harness.data_dir)) as history:
        return [row.status for row in history.of_scene(scene.id)]


def wait_for_stream(harness: ProcessHarness) -> None:
    wait_until(lambda: harness.plex.events.streams == 1, harness.worker_log)


def wait_until_read_back(harness: ProcessHarness, scene: Scene) -> None:
    """Wait until a write was read back, and Plex's clock shows another second."""
    wait_until(lambda: statuses(harness, scene) == [Status.IN_SYNC], harness.worker_log)
    passed = time.time() + 1
    wait_until(lambda: time.time() > passed)


def test_a_new_file_is_synced_after_plexs_scan_without_a_retry(make_harness: Make) -> None:
    harness = make_harness(env=USUAL)
    harness.configure(plex_events=True, trigger_plex_scan=True)
    harness.library.agent = "tv.plex.agents.movie"
    first, item = harness.pair("first")
    harness.save(first, "First")
    harness.wait_for_title(item, "First")
    wait_for_stream(harness)

    scene = harness.add_scene("late")
    harness.plex.add_file("/media/late.mp4", 100)
    harness.save(scene, "Late")

    wait_until(lambda: harness.find_item(scene), harness.worker_log)
    harness.wait_for_title(harness.item_of(scene), "Late")
    assert f"Scene {scene.id}: Plex has a file of that name now" in harness.worker_log()


@long
def test_what_a_refresh_overwrote_comes_back_also_after_a_lost_connection(
    make_harness: Make,
) -> None:
    harness = make_harness(env=USUAL)
    harness.configure(plex_events=True)
    pairs = [harness.pair(name) for name in ("seen", "missed")]
    for scene, item in pairs:
        harness.save(scene, "Saved")
        harness.wait_for_title(item, "Saved")
    wait_for_stream(harness)
    for scene, _ in pairs:
        wait_until_read_back(harness, scene)
    (_, seen), (_, missed) = pairs

    seen.locked.clear()
    harness.plex.refresh_item(seen.rating_key)
    assert seen.title == "seen"
    harness.wait_for_title(seen, "Saved")

    harness.plex.events.refusal = Response(503)
    assert harness.plex.events.drop_all() == 1
    missed.locked.clear()
    harness.plex.refresh_item(missed.rating_key)
    harness.plex.events.refusal = None
    harness.wait_for_title(missed, "Saved")
    wait_for_stream(harness)
