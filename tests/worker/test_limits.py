"""Answers without measure, or without sense, cost no job a retry and block no other."""

from __future__ import annotations

import gzip

import pytest

from history.records import Status
from plex.index import SECOND_LOOK
from tests.harness.in_process import WorkerHarness
from tests.harness.size import some
from tests.simulators.httpd import Answer, Endless, Fault
from worker.circuit_breaker import CircuitState

SECTIONS, LISTING = "/library/sections$", "/library/sections/1/all"
BROKEN: dict[str, Fault] = {
    "no xml": Answer(200, b"it works"),
    "a page": Answer(200, b"<html><body>log in</body></html>"),
    "absurd total": Answer(200, b'<MediaContainer size="0" totalSize="999999999999"/>'),
    "400": Answer(400, b"no"),
    "gzip bomb": Answer(200, gzip.compress(bytes(40_000_000)), {"Content-Encoding": "gzip"}),
    "endless": Endless(b"<Video/>" * 8_192),
}


#: Reading that much costs a second each time; one session reads both.
LARGE = ("gzip bomb", "endless")


@pytest.mark.parametrize(
    ("name", "path"),
    some(
        [(name, LISTING) for name in BROKEN]
        + [(name, SECTIONS) for name in BROKEN if name not in ("absurd total", *LARGE)],
        3,
    ),
)
def test_a_listing_that_cannot_be_read_is_not_blamed_on_the_job(
    harness: WorkerHarness, name: str, path: str
) -> None:
    scenes = [harness.pair(f"s{number}")[0] for number in range(2)]
    rule = harness.plex.faults.add(BROKEN[name], method="GET", path=path)
    harness.edit_all(scenes)
    harness.run_for(400)
    assert harness.letters() == []
    assert all("retry_count" not in job for job in harness.jobs())
    assert harness.waiting() == 2
    rule.remove()
    harness.run_for(700)
    assert harness.in_sync(scenes)
    assert harness.worker.health.plex.state is CircuitState.CLOSED


def test_an_empty_listing_loses_no_scene(harness: WorkerHarness) -> None:
    scenes = [harness.pair(f"s{number}")[0] for number in range(3)]
    harness.edit_all(scenes)
    harness.run_for(60)
    assert harness.in_sync(scenes)
    rule = harness.plex.faults.add(Answer(200, b"<MediaContainer/>"), path=LISTING)
    harness.clock.advance(90_000)
    harness.edit_all(scenes)
    harness.run_for(SECOND_LOOK / 2)
    assert harness.in_sync(scenes)
    rule.remove()
    harness.run_for(120)
    rows = [row for scene in scenes for row in harness.worker.history.of_scene(scene.id)]
    assert {row.status for row in rows} <= {Status.IN_SYNC, Status.WRITTEN}
    assert len(rows) == len(scenes)


def test_a_plex_that_shows_no_library_any_more_is_an_outage(harness: WorkerHarness) -> None:
    scene, _ = harness.pair()
    harness.edit(scene, "Before")
    harness.run_for(60)
    rule = harness.plex.faults.add(Answer(200, b"<MediaContainer/>"), path=SECTIONS)
    harness.edit_all([scene])
    harness.run_for(400)
    assert harness.letters() == []
    assert any("none of the libraries" in text for _, text in harness.notices())
    rule.remove()
    harness.run_for(200)
    assert harness.in_sync([scene])
