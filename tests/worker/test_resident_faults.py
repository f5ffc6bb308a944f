"""A worker that stays, when something goes wrong: looks that fail, sleep, another address."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import PlexSync
from common.env import Timing
from stash.deferred_log import take_deferred_lines
from tests.harness.base import PLUGIN
from tests.harness.clock import HOUR, FakeClock
from tests.harness.in_process import WorkerHarness, WorkerInTest
from tests.harness.plugin import ROOT
from tests.simulators.httpd import Answer
from tests.simulators.stash import StashSimulator, load_manifest
from worker.main import run_worker
from worker.presence import GONE, Presence
from worker.process import is_unfinished, mark_opened
from worker.reconcile.quick import RAN_AT

MINUTE = 60.0


@pytest.fixture
def worker(harness: WorkerHarness, clock: FakeClock) -> WorkerInTest:
    """A worker that stays, hears Plex's events, and has had nothing to do for a while."""
    harness.stash.plugins.manifests[PLUGIN] = load_manifest(ROOT / "PlexSync.yml")
    presence = Presence(str(ROOT), harness.client, clock, data_dir=str(harness.data_dir))
    worker = harness.new_worker(compares=True, presence=presence)
    harness.run_for(MINUTE)
    worker.listener._state = {"connected": True, "since": 0.0, "problem": None}
    harness.run_for(20 * MINUTE)
    return worker


# --- looks that fail


def test_a_look_that_fails_when_stash_is_used_is_repeated_soon(
    harness: WorkerHarness, worker: WorkerInTest
) -> None:
    """A disk that has to wake may let the first question time out."""
    scene, item = harness.pair()
    harness.run_for(15 * MINUTE)
    harness.edit(scene, "Edited")
    harness.run_for(25 * MINUTE)
    assert item.title == "Edited"
    ran_at = worker.history.get(RAN_AT)
    harness.stash.change_silently(scene.id, title="By a script")
    failure = harness.stash.faults.add(Answer(500), when=lambda it: b"findScenes" in it.body)
    mark_opened(str(harness.data_dir))
    harness.run_for(MINUTE)
    failure.remove()
    assert worker.history.get(RAN_AT) > ran_at, "it has tried"
    harness.run_for(14 * MINUTE)
    assert item.title == "By a script"


def test_idle_with_wrong_settings_it_leaves_and_is_woken_when_stash_is_used(
    harness: WorkerHarness, worker: WorkerInTest
) -> None:
    """Without valid settings it does not know whether to stay."""
    harness.configure(plex_url=None)
    worker.presence._is_in_use = True
    harness.clock.after(2 * HOUR, worker.ask_to_stop)
    harness.worker.run_again()
    assert worker.health.problem is not None
    assert not worker.stays
    assert worker.is_to_be_woken


@pytest.mark.parametrize("is_right", [True, False])
def test_the_mark_of_a_worker_that_could_not_read_its_settings_stays(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch, is_right: bool
) -> None:
    """With right settings that let it leave, the mark goes."""
    harness.stash.plugins.manifests[PLUGIN] = load_manifest(ROOT / "PlexSync.yml")
    changes = {"stay": False} if is_right else {"plex_url": None}
    harness.configure(**changes)
    timing = replace(Timing().scaled(0.01), idle_timeout=0.5)
    monkeypatch.setattr("worker.bootstrap.timing_from", lambda *_: timing)
    monkeypatch.setattr("worker.main.signal.signal", lambda *_: None)
    assert run_worker(str(harness.data_dir), entry=str(ROOT / "PlexSync.py")) == 0
    assert is_unfinished(str(harness.data_dir)) is not is_right


def test_a_spooled_edit_that_cannot_be_read_keeps_no_worker(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves when idle, and does not start anew for the sake of that edit."""
    harness.stash.plugins.manifests[PLUGIN] = load_manifest(ROOT / "PlexSync.yml")
    harness.configure(stay=False)
    (harness.data_dir / "queue" / "spool" / "0-1.json").mkdir(parents=True)
    timing = replace(Timing().scaled(0.01), idle_timeout=0.5)
    monkeypatch.setattr("worker.bootstrap.timing_from", lambda *_: timing)
    monkeypatch.setattr("worker.main.signal.signal", lambda *_: None)
    assert run_worker(str(harness.data_dir), entry=str(ROOT / "PlexSync.py")) == 0
    assert (harness.data_dir / "worker.log").read_text().count("Worker started") == 1
    (line,) = take_deferred_lines(str(harness.data_dir))
    assert line[1].startswith("1 queued edit could not be read. All scenes are compared")


@pytest.mark.parametrize("error", [KeyError("until"), ZeroDivisionError("by zero")])
def test_whatever_stops_a_worker_is_said_by_the_next_hook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The traceback is in the worker's own log."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("worker.bootstrap.SyncWorker", fail)
    monkeypatch.setattr("worker.main.signal.signal", lambda *_: None)
    assert PlexSync.main(["worker", "--data-dir", str(tmp_path)]) == 1
    ((level, text),) = take_deferred_lines(str(tmp_path))
    said = f"the worker could not start: Unexpected error: {type(error).__name__}: {error}. "
    assert (level, text.startswith(said)) == ("error", True), text
    assert "Traceback" not in text
    log = (tmp_path / "worker.log").read_text()
    assert log.count("Traceback") == log.count(type(error).__name__) == 1


def test_a_failure_with_a_sentence_of_its_own_leaves_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("worker.bootstrap.SyncWorker", fail)
    monkeypatch.setattr("worker.main.signal.signal", lambda *_: None)
    assert PlexSync.main(["worker", "--data-dir", str(tmp_path)]) == 1
    ((_, text),) = take_deferred_lines(str(tmp_path))
    assert "the disk is full" in text
    assert "Traceback" not in (tmp_path / "worker.log").read_text()


def test_a_worker_that_stays_forgets_old_results_and_failed_scenes(
    harness: WorkerHarness, worker: WorkerInTest
) -> None:
    harness.configure(dlq_retention_days="3")
    harness.edit(harness.stash.add_scene(title="o", files=[]), "No file")
    old = harness.commands.add("pause", {"on": False})
    harness.run_for(MINUTE)
    assert len(harness.letters()) == 1
    assert harness.commands.get(old) is not None
    harness.clock.advance(4 * 24 * HOUR)
    harness.commands.add("pause", {"on": False})
    harness.run_for(MINUTE)
    assert harness.letters() == []
    assert harness.commands.get(old) is None


# --- frozen


def freeze(harness: WorkerHarness, seconds: float) -> None:
    """Let time pass within a wait of the worker, as while its process is stopped."""
    harness.clock.after(MINUTE, lambda: setattr(harness.clock, "now", harness.clock.now + seconds))


def test_frozen_for_an_hour_it_goes_on(harness: WorkerHarness, worker: WorkerInTest) -> None:
    scene, item = harness.pair()
    harness.clock.after(2 * MINUTE, lambda: harness.edit(scene, "While it was frozen"))
    freeze(harness, HOUR)
    harness.run_for(HOUR + 2 * MINUTE)
    assert item.title == "While it was frozen"
    assert worker.presence.reason is None
    assert harness.waiting() == 0


def test_silence_of_stash_around_an_hours_sleep_is_not_taken_for_its_end(
    harness: WorkerHarness, worker: WorkerInTest
) -> None:
    """The last question before and the first one after find no network."""
    harness.stash.faults.add(Answer(503))
    freeze(harness, HOUR)
    harness.clock.after(HOUR + 2 * MINUTE, harness.stash.faults.clear)
    harness.run_for(HOUR + 5 * MINUTE)
    assert worker.presence.reason is None
    harness.stash.faults.add(Answer(503))
    harness.run_for(11 * MINUTE)
    assert worker.presence.reason == GONE


# --- another address


def test_stash_at_another_address_is_found_by_what_it_tells(
    harness: WorkerHarness, worker: WorkerInTest, tmp_path: Path, clock: FakeClock
) -> None:
    scene, item = harness.pair()
    old = harness.stash
    old.faults.add(Answer(503))
    plugins = tmp_path / "elsewhere"
    plugins.mkdir()
    with StashSimulator(plugins_dir=plugins, clock=clock.time) as other:
        other.plugins.manifests[PLUGIN] = load_manifest(ROOT / "PlexSync.yml")
        other.set_plugin_settings(PLUGIN, old.plugin_settings(PLUGIN) or {})
        other.library.folders = old.library.folders
        harness.run_for(5 * MINUTE)
        assert worker.presence.reason is None
        moved = other.add_scene(title=scene.title, files=[("/data/a.mp4", 100)])
        assert moved.id == scene.id
        harness.stash = other
        harness.log_in()
        harness.edit(moved, "At another address")
        harness.run_for(15 * MINUTE)
        assert item.title == "At another address"
        assert worker.presence.reason is None
        worker.listener.stop()
        assert other.server.errors == []
