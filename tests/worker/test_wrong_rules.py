"""A rule with a mistake stops nothing: the last valid one stays in effect, and the user is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from queue.operations import enqueue
from tasks.check import check
from tasks.context import Context
from tasks.status import status
from tests.harness.base import PLUGIN
from tests.harness.in_process import WorkerHarness
from tests.harness.plugin import ENTRY, ROOT
from tests.simulators.stash import load_manifest
from worker.config_provider import RULE_PROBLEMS
from worker.last_rules import FILE
from worker.presence import Presence

WRONG = "tag_rules is 'A => genre': 'genre' is unknown; tags go to genres, labels, collections"


def context_of(harness: WorkerHarness) -> Context:
    return Context(
        str(harness.data_dir), str(ENTRY), harness.client, harness.redactor,
        lambda *_: None, lambda *_: None, environ={},
    )  # fmt: skip


def look(harness: WorkerHarness) -> None:
    """Save a scene, so that the worker reads the settings."""
    title = f"Title at {harness.clock.now}"
    harness.stash.change_silently(1, title=title)
    enqueue(harness.queue, 1, "metadata", {"title": True})
    harness.run_for(60)
    assert [item.title for item in harness.plex.items(harness.library)] == [title]


def told(harness: WorkerHarness) -> list[str]:
    return [text for level, text in harness.notices() if level == "warning"]


def tag_rules(harness: WorkerHarness) -> str:
    return harness.worker.plex.config.tag_rules


def test_a_worker_that_waits_notices_a_wrong_rule_and_its_cure(harness: WorkerHarness) -> None:
    harness.stash.plugins.manifests[PLUGIN] = load_manifest(ROOT / "PlexSync.yml")
    harness.new_worker(presence=Presence(str(ROOT), harness.client, harness.clock))
    harness.pair()
    look(harness)
    harness.configure(tag_rules="A => genre")
    harness.run_for(120)
    (text,) = harness.worker.history.get(RULE_PROBLEMS)
    assert text.startswith(WRONG)
    harness.configure(tag_rules="A => labels")
    harness.run_for(120)
    assert harness.worker.history.get(RULE_PROBLEMS) == []


def test_the_last_valid_rule_stays_in_effect_and_the_user_is_told_once(
    harness: WorkerHarness,
) -> None:
    harness.pair()
    harness.configure(tag_rules="A => labels", max_tags="20")
    look(harness)
    assert told(harness) == []

    harness.configure(tag_rules="A => genre", max_tags="20")
    look(harness)
    assert (tag_rules(harness), harness.worker.plex.config.max_tags) == ("A => labels", 20)
    (text,) = told(harness)
    assert text.startswith(WRONG)
    assert text.endswith(". The last valid one stays in effect")
    assert harness.worker.history.get(RULE_PROBLEMS) == [text]

    harness.restart()  # as after an update, or a day later
    look(harness)
    assert tag_rules(harness) == "A => labels"
    assert told(harness) == []

    harness.configure(tag_rules="A => labels, genres")
    look(harness)
    assert tag_rules(harness) == "A => labels, genres"
    assert harness.worker.history.get(RULE_PROBLEMS) == []


def test_a_condition_with_two_names_lets_no_scene_through(harness: WorkerHarness) -> None:
    harness.pair()
    for rule in ("tag Private", "tag Private, Secret"):
        harness.configure(exclude_scenes=rule)
        look(harness)
    (text,) = told(harness)
    assert "must be one name or folder: separate conditions by semicolons" in text
    scene, item = harness.pair("private", tags=["Private"])
    harness.edit(scene, "New")
    harness.run_for(60)
    assert item.title == "private"


def test_a_rule_that_was_taken_away_does_not_come_back(harness: WorkerHarness) -> None:
    harness.pair()
    for rules in ("A => labels", None, "A => genre"):
        harness.configure(tag_rules=rules)
        look(harness)
    assert tag_rules(harness) == ""


def test_without_rules_there_is_no_file(harness: WorkerHarness) -> None:
    harness.pair()
    look(harness)
    assert not (harness.data_dir / FILE).exists()


def test_the_file_is_private_and_written_only_when_a_rule_changes(harness: WorkerHarness) -> None:
    harness.pair()
    harness.configure(labels="A")
    look(harness)
    file = harness.data_dir / FILE
    before = file.stat()
    if os.name == "posix":
        assert before.st_mode & 0o077 == 0
    harness.restart()
    look(harness)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("content", ["", "[]", '{"rules": 7}', '{"rules": {"labels": "=>"}}'])
def test_a_file_that_cant_be_used_costs_nothing_but_the_stand_in(
    harness: WorkerHarness, content: str
) -> None:
    (harness.data_dir / FILE).write_text(content)
    harness.pair()
    harness.configure(labels="=> A")
    look(harness)
    assert harness.worker.plex.config.labels == ""


def test_a_file_that_cant_be_written_costs_nothing(harness: WorkerHarness) -> None:
    (harness.data_dir / FILE).mkdir()
    harness.pair()
    harness.configure(labels="A")
    look(harness)
    assert harness.worker.plex.config.labels == "A"
    harness.configure(labels="=> B")
    look(harness)
    assert harness.worker.plex.config.labels == "A", "as long as this worker runs"


def test_check_setup_says_it(harness: WorkerHarness, tmp_path: Path) -> None:
    harness.pair()
    harness.configure(tag_rules="A => genre")
    found = check(context_of(harness), {})
    assert found.ok
    assert f"but {WRONG}" in found.summary
    assert "Wrong rules" in "\n".join(found.lines)
    assert status(context_of(harness), {}).data["rule_problems"] == [], "no worker has seen it"
