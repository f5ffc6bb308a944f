"""A scene that kills the worker's process: tried alone after two deaths, failed after three.

An undo leaves the item with which it died three times; a pass comes after the others.
"""

from __future__ import annotations

import os
import signal
from contextlib import closing

import pytest

from queue.operations import get_stats
from tests.harness.installation import ProcessHarness
from tests.harness.processes import wait_until
from tests.harness.results import queued
from tests.robust.support import (
    no_worker,
    prime,
    wait_for_titles,
    wait_until_said,
    waiting_edits,
)
from tests.simulators.httpd import Hang, Request, Reset
from tests.simulators.plex import PlexItem
from tests.tasks import run_task
from worker.commands import open_commands
from worker.undo import FAILED

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")


class Killer:
    """Kills the worker when it writes an item, as a crash in a library would."""

    def __init__(self, harness: ProcessHarness, item: PlexItem) -> None:
        self.deaths = 0
        self._harness = harness
        self._key = str(item.rating_key)
        harness.plex.faults.add(Reset(), method="PUT", when=self._kill)

    def _kill(self, request: Request) -> bool:
        if request.first("id") != self._key:
            return False
        self.deaths += 1
        os.kill(self._harness.worker, signal.SIGKILL)
        return True

    def wait_for(self, deaths: int) -> None:
        wait_until(lambda: self.deaths == deaths, "the worker's death")
        self._harness.wait_for_exit()


def test_it_ends_as_a_failed_scene_and_the_others_arrive(harness: ProcessHarness) -> None:
    with no_worker(harness):
        pairs = waiting_edits(harness, 6)
    victim, victim_item = pairs.pop(0)
    killer = Killer(harness, victim_item)
    other, _ = harness.pair("other")
    for deaths in range(1, 4):
        harness.save(other, f"Other {deaths}")
        killer.wait_for(deaths)
    assert [job["scene_id"] for job in queued(harness.data_dir)] == [victim.id], "it went last"
    harness.save(other, "Other 4")
    wait_until(lambda: harness.letters(), "the dead letter")
    wait_for_titles(harness, pairs)
    (letter,) = harness.letters()
    assert letter["scene_id"] == victim.id
    assert "worker died 3 times" in letter["error_message"]
    assert killer.deaths == 3
    harness.wait_for_empty_queue()
    harness.plex.faults.clear()
    harness.save(victim, "Well again")
    harness.wait_for_title(victim_item, "Well again")


def test_a_worker_that_is_asked_to_leave_counts_no_death(harness: ProcessHarness) -> None:
    harness.configure(plex_read_timeout=120)
    scene, _ = harness.pair("a")
    stuck = harness.plex.faults.add(Hang(), method="PUT")
    harness.save(scene, "New")
    assert harness.plex.log.wait_for(1, "PUT", timeout=240)
    pid = harness.worker
    os.kill(pid, signal.SIGTERM)
    wait_until(
        lambda: (
            (harness.data_dir / "in_hand").read_text().split("\n")[0].count(" ") == 1
            and not (harness.data_dir / "in_hand").read_text().split("\n")[0].split(" ")[1]
        ),
        "the worker has noted that it is leaving",
    )
    assert harness.workers() == [pid], "its write is still on its way"
    os.kill(pid, signal.SIGKILL)
    harness.wait_for_exit()
    stuck.remove()
    other, item = harness.pair("b")
    harness.plex.stop()
    harness.save(other, "Other")
    wait_until(lambda: get_stats(harness.data_dir)["in_progress"] == 0, "the row waits again")
    assert all("deaths" not in job for job in queued(harness.data_dir))
    harness.plex.start()
    harness.wait_for_title(item, "Other")


def test_an_undo_that_kills_the_worker_leaves_the_item_and_lets_edits_through(
    harness: ProcessHarness,
) -> None:
    scene, item = harness.pair("a")
    harness.save(scene, "New")
    harness.wait_for_title(item, "New")
    harness.wait_for_empty_queue()
    other, other_item = harness.pair("other")
    killer = Killer(harness, item)
    with closing(open_commands(str(harness.data_dir))) as commands:
        with no_worker(harness):
            command = commands.add("undo", {"scene_id": scene.id})
        for deaths in range(1, 4):
            harness.save(other, f"Other {deaths}")
            killer.wait_for(deaths)
        harness.save(other, "Other 4")
        harness.wait_for_title(other_item, "Other 4")
        wait_until(lambda: commands.result(command), "the end of the undo")
        assert (commands.result(command) or {})["left"] == [[scene.id, "title", FAILED]]
    assert killer.deaths == 3


def test_a_pass_that_kills_the_worker_keeps_no_edit_waiting(harness: ProcessHarness) -> None:
    """Stash's answer to the first page of a pass kills the worker."""
    prime(harness)
    scene, item = harness.pair("a")
    killed: list[int] = []

    def kill(request: Request) -> bool:
        if b"PlexSyncPage" not in request.body:
            return False
        killed.append(harness.worker)
        os.kill(killed[-1], signal.SIGKILL)
        return True

    with closing(open_commands(str(harness.data_dir))) as commands:
        with no_worker(harness):
            harness.stash.faults.add(Reset(), when=kill)
            command = commands.add("sync", {})
        for deaths in range(1, 5):
            with no_worker(harness):
                harness.save(scene, f"Edit {deaths}")
            run_task(harness, "Status")  # starts one
            wait_until(lambda: len(killed) == deaths, "the worker's death")  # noqa: B023
            harness.wait_for_exit()
            assert item.title == f"Edit {deaths}"
        harness.stash.faults.clear()
        wait_until_said(harness, "worker died 3 times while it compared scenes with Plex")
        wait_until(lambda: commands.result(command), "the end of the pass")


def test_a_new_boot_counts_no_death(harness: ProcessHarness) -> None:
    with no_worker(harness):
        pairs = waiting_edits(harness, 1)
    killer = Killer(harness, pairs[0][1])
    other, _ = harness.pair("other")
    for deaths in range(1, 5):
        harness.save(other, f"Other {deaths}")
        killer.wait_for(deaths)
        file = harness.data_dir / "in_hand"
        boot, _, rest = file.read_text().partition(" ")
        file.write_text(f"another-{boot} {rest}")
    assert harness.letters() == []
    harness.plex.faults.clear()
    harness.save(other, "Last")
    wait_for_titles(harness, pairs)
