"""Missing, wrong, corrected, switched-off and fallback settings: edits are kept and arrive."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness.base import TOKEN
from tests.harness.installation import ProcessHarness
from tests.harness.processes import wait_until
from tests.harness.results import queued
from tests.isolation import closed_url

WRONG: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "nothing is set": (
        {"plex_url": None, "plex_token": None},
        ("plex_url", "plex_token", "not set"),
    ),
    "a number out of range": ({"max_retries": "99"}, ("max_retries", "99", "1 to 20")),
    "a library that is not there": ({"plex_libraries": "Nowhere"}, ("plex_libraries", "Nowhere")),
    "a token that Plex rejects": ({"plex_token": "another-token-0123456789"}, ("plex_token",)),
}


def size_of(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_setting_is_named_at_the_next_hook_and_correcting_it_is_enough(
    harness: ProcessHarness, what: str
) -> None:
    wrong, names = WRONG[what]
    harness.configure(**wrong)
    first, second = harness.pairs(2)
    harness.save(first[0], title="First")
    wait_until(lambda: size_of(harness.data_dir / "notices.jsonl"), "the deferred log")
    run = harness.save(second[0], title="Second")
    told = [line.text for line in run.log if line.level in ("warning", "error")]
    assert len(told) == 1, told
    assert all(name in told[0] for name in names), told
    assert "another-token-0123456789" not in told[0]
    assert len(queued(harness.data_dir)) == 2
    assert harness.plex.writes == []
    harness.configure()
    harness.wait_for_title(first[1], "First")
    harness.wait_for_title(second[1], "Second")


def test_a_corrected_plex_address_is_used(
    harness: ProcessHarness,
) -> None:
    harness.configure(plex_url=closed_url())
    scene, item = harness.pair()
    harness.save(scene, title="T")
    wait_until(lambda: "Plex fails" in harness.worker_log())
    harness.configure()
    harness.wait_for_title(item, "T")


def test_a_corrected_setting_is_enough_even_when_the_worker_has_died(
    harness: ProcessHarness,
) -> None:
    harness.configure(plex_token=None)
    scene, item = harness.pair()
    harness.save(scene, title="T")
    wait_until(lambda: (harness.data_dir / "notices.jsonl").exists())
    (pid,) = harness.workers()
    os.kill(pid, signal.SIGKILL)
    harness.wait_for_exit()
    harness.configure()
    other, _ = harness.pair("other")
    harness.save(other, title="Any other save")
    harness.wait_for_title(item, "T")


def test_switched_off_keeps_edits_and_the_first_save_after_switching_on_syncs_them(
    harness: ProcessHarness,
) -> None:
    harness.configure(enabled=False)
    first, second = harness.pairs(2)
    harness.save(first[0], title="While off")
    wait_until(lambda: "switched off" in harness.worker_log())
    harness.wait_for_exit()
    assert harness.plex.writes == []
    assert len(queued(harness.data_dir)) == 1
    harness.configure(enabled=True)
    half_a_minute_ago = time.time() - 29
    os.utime(
        harness.data_dir / "disabled", (half_a_minute_ago, half_a_minute_ago)
    )  # most of the rest is over
    harness.save(second[0], title="While on")
    harness.wait_for_title(second[1], "While on")
    harness.wait_for_title(first[1], "While off")


def test_the_environment_fills_settings_that_the_page_leaves_unset(
    make_harness: Callable[..., ProcessHarness],
) -> None:
    harness = make_harness(env={"PLEX_URL": "{plex}", "PLEX_TOKEN": TOKEN})
    harness.configure(plex_url=None, plex_token="")
    scene, item = harness.pair()
    harness.save(scene, title="By the environment")
    harness.wait_for_title(item, "By the environment")


def test_the_page_overrides_the_environment(make_harness: Callable[..., ProcessHarness]) -> None:
    harness = make_harness(env={"PLEX_URL": closed_url(), "PLEX_TOKEN": "token-of-the-environment"})
    scene, item = harness.pair()
    harness.save(scene, title="By the page")
    harness.wait_for_title(item, "By the page")


def test_the_older_plugins_settings_override_the_environment(
    make_harness: Callable[..., ProcessHarness],
) -> None:
    """The environment only fills unset settings; here Stash has the older plugin's settings."""
    harness = make_harness(env={"PLEX_URL": closed_url(), "PLEX_TOKEN": "token-of-the-environment"})
    host, _, port = harness.plex.url.rpartition(":")
    harness.configure(plex_url=None, plex_token=None, plexHost=host, plexPort=port, plexToken=TOKEN)
    scene, item = harness.pair()
    harness.save(scene, title="By the older words")
    wait_until(lambda: item.title == "By the older words", "Plex shows it")


def test_a_running_worker_follows_changes_of_the_page(harness: ProcessHarness) -> None:
    scene, item = harness.pair()
    harness.save(scene, title="One", details="Text")
    harness.wait_for_title(item, "One")
    harness.configure(sync_title=False)
    harness.wait_for_empty_queue()
    time.sleep(0.2)  # here the settings are cached for a tenth of a second
    other, other_item = harness.pair("other")  # not before: a pass may be writing
    harness.save(other, title="Not wanted", details="Wanted")
    wait_until(lambda: other_item.summary == "Wanted")
    assert other_item.title == "other"
