"""Settings that are missing, wrong, corrected, switched off, or stand in: the edits are kept, and arrive."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.end_to_end.conftest import TOKEN, World
from tests.harness.processes import wait_until
from tests.harness.results import queued

WRONG: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "nothing is set": (
        {"plex_url": None, "plex_token": None},
        ("plex_url", "plex_token", "not set"),
    ),
    "a number out of range": ({"max_retries": "99"}, ("max_retries", "99", "1 to 20")),
    "a library that is not there": ({"plex_libraries": "Nowhere"}, ("plex_libraries", "Nowhere")),
    "a token that Plex rejects": ({"plex_token": "another-token-0123456789"}, ("plex_token",)),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_setting_is_named_at_the_next_hook_and_correcting_it_is_enough(
    world: World, what: str
) -> None:
    wrong, names = WRONG[what]
    world.settings(**wrong)
    first, second = world.pairs(2)
    world.save(first[0], title="First")
    wait_until(lambda: (world.data_dir / "notices.jsonl").exists(), "the worker has found out")
    run = world.save(second[0], title="Second")
    told = [line.text for line in run.log if line.level in ("warning", "error")]
    assert len(told) == 1, told
    assert all(name in told[0] for name in names), told
    assert "another-token-0123456789" not in told[0]
    assert len(queued(world.data_dir)) == 2
    assert world.plex.writes == []
    world.settings()
    world.shows(first[1], "First")
    world.shows(second[1], "Second")


def test_a_plex_that_is_elsewhere_is_found_when_its_address_is_corrected(world: World) -> None:
    world.settings(plex_url="http://127.0.0.1:9")
    scene, item = world.pair()
    world.save(scene, title="T")
    wait_until(lambda: "Plex fails" in world.worker_log())
    world.settings()
    world.shows(item, "T")


def test_a_corrected_setting_is_enough_also_for_a_worker_that_died_meanwhile(world: World) -> None:
    world.settings(plex_token=None)
    scene, item = world.pair()
    world.save(scene, title="T")
    wait_until(lambda: (world.data_dir / "notices.jsonl").exists())
    (pid,) = world.workers()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not world.workers())
    world.settings()
    other, _ = world.pair("other")
    world.save(other, title="Any other save")
    world.shows(item, "T")


def test_switched_off_keeps_edits_and_the_first_save_after_switching_on_syncs_them(
    world: World,
) -> None:
    world.settings(enabled=False)
    first, second = world.pairs(2)
    world.save(first[0], title="While off")
    wait_until(lambda: "switched off" in world.worker_log())
    wait_until(lambda: not world.workers(), "the worker leaves")
    assert world.plex.writes == []
    assert len(queued(world.data_dir)) == 1
    world.settings(enabled=True)
    half_a_minute_ago = time.time() - 29
    os.utime(
        world.data_dir / "disabled", (half_a_minute_ago, half_a_minute_ago)
    )  # most of the rest is over
    world.save(second[0], title="While on")
    world.shows(second[1], "While on")
    world.shows(first[1], "While off")


def test_the_environment_stands_in_for_what_the_page_does_not_say(
    make_world: Callable[..., World],
) -> None:
    world = make_world(env={"PLEX_URL": "{plex}", "PLEX_TOKEN": TOKEN})
    world.settings(plex_url=None, plex_token="")
    scene, item = world.pair()
    world.save(scene, title="By the environment")
    world.shows(item, "By the environment")


def test_the_page_goes_before_the_environment(make_world: Callable[..., World]) -> None:
    world = make_world(
        env={"PLEX_URL": "http://127.0.0.1:9", "PLEX_TOKEN": "token-of-the-environment"}
    )
    scene, item = world.pair()
    world.save(scene, title="By the page")
    world.shows(item, "By the page")


def test_the_older_plugins_settings_on_the_page_go_before_the_environment(
    make_world: Callable[..., World],
) -> None:
    """The environment stands in where Stash says nothing; here it says something, in the older words."""
    world = make_world(
        env={"PLEX_URL": "http://127.0.0.1:9", "PLEX_TOKEN": "token-of-the-environment"}
    )
    host, _, port = world.plex.url.rpartition(":")
    world.settings(plex_url=None, plex_token=None, plexHost=host, plexPort=port, plexToken=TOKEN)
    scene, item = world.pair()
    world.save(scene, title="By the older words")
    wait_until(lambda: item.title == "By the older words", "Plex shows it", timeout=8)


def test_a_worker_follows_the_page_while_it_lives(world: World) -> None:
    scene, item = world.pair()
    world.save(scene, title="One", details="Text")
    world.shows(item, "One")
    world.settings(sync_title=False)
    world.drained()
    other, other_item = world.pair("other")
    time.sleep(0.2)  # the settings count as fresh for a tenth of a second here
    world.save(other, title="Not wanted", details="Wanted")
    wait_until(lambda: other_item.summary == "Wanted")
    assert other_item.title == "other"
