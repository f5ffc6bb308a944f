"""The session with a Stash that has a login and no API key, while edits wait for long."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.harness.base import PLUGIN
from tests.harness.clock import HOUR
from tests.harness.in_process import WorkerHarness
from tests.harness.size import some
from tests.simulators.httpd import Answer


@pytest.mark.parametrize("hours", some([2, 30], 1))
def test_an_outage_of_plex_longer_than_the_session_needs_no_other_save(
    harness: WorkerHarness, hours: int
) -> None:
    if hours > 10:  # Plex is asked less often, so that the time goes by in fewer steps
        harness.clock.timing = replace(harness.clock.timing, recovery=600.0, heartbeat=600.0)
    harness.stash.set_credentials("me", "secret")
    harness.log_in()
    scene, item = harness.pair()
    harness.plex.faults.add(Answer(503))
    harness.edit(scene, "Waits")
    harness.run_for(hours * HOUR)
    assert harness.waiting() == 1
    harness.plex.faults.clear()
    harness.run_for(1800)
    assert item.title == "Waits"


def test_it_is_kept_alive_while_a_setting_is_wrong(harness: WorkerHarness) -> None:
    harness.stash.set_credentials("me", "secret")
    harness.log_in()
    scene, item = harness.pair()
    harness.configure(plex_token="wrong-token-0123456789")
    harness.edit(scene, "Waits")
    harness.run_for(3 * HOUR)
    harness.configure()
    harness.run_for(900)
    assert item.title == "Waits"


def test_the_question_whether_the_plugin_is_there_renews_it(harness: WorkerHarness) -> None:
    harness.stash.set_credentials("me", "secret")
    harness.log_in()
    for _ in range(8):
        harness.clock.advance(HOUR / 2)
        harness.client.plugin_use(PLUGIN)
    assert harness.client.check()
