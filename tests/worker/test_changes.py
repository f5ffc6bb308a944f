"""Each field that is written to Plex is on record, with its cause and what became of it."""

from __future__ import annotations

from typing import Any

import pytest

from history.changes import CONFIRMED, DROPPED, Change
from history.records import POSTER
from tests.harness.clock import HOUR
from tests.harness.in_process import WorkerHarness
from tests.simulators.httpd import Answer, Request, ResetAfter
from tests.simulators.plex import PlexItem
from tests.worker.support import PNG, changes_of
from worker.maintenance import CUT_RUNS


@pytest.fixture
def harness(harness: WorkerHarness) -> WorkerHarness:
    harness.new_worker(compares=True)
    return harness


def brief(changes: list[Change]) -> list[tuple[str, Any, Any, str, str]]:
    return [(one.field, one.before, one.after, one.cause, one.status) for one in changes]


def is_edit(request: Request) -> bool:
    return request.method == "PUT"


def drift(harness: WorkerHarness, item: PlexItem, **values: Any) -> None:
    """Change fields as a refresh of unlocked ones does."""
    state = harness.plex._state
    with state.lock:
        state.set_values(item, values)
        item.updated_at += 100
        state.changed(item)


def test_a_saved_scene(harness: WorkerHarness) -> None:
    scene, item = harness.pair("a", tags=["T"])
    harness.edit(scene, "Saved")
    harness.run_for(30)
    found = changes_of(harness, scene)
    assert brief(found) == [
        ("title", "a", "Saved", "saved", CONFIRMED),
        ("genre", (), ("T",), "saved", CONFIRMED),
    ]
    assert {one.rating_key for one in found} == {item.rating_key}
    assert {one.run for one in found} == {found[0].run}
    harness.edit(scene, "Saved")  # nothing changed
    harness.run_for(30)
    assert changes_of(harness, scene) == found


def test_a_renamed_tag_and_a_repair_have_their_own_causes(
    harness: WorkerHarness,
) -> None:
    harness.configure(lock_fields=False)
    scene, item = harness.pair("a", tags=["Old"])
    harness.edit(scene, "Saved")
    harness.run_for(30)
    harness.run_for(HOUR)
    harness.stash.rename_silently("tag", "Old", "New")
    harness.run_for(HOUR)
    assert brief(changes_of(harness, scene))[-1] == (
        "genre", ("Old",), ("New",), "renamed", CONFIRMED
    )  # fmt: skip
    drift(harness, item, title="By an agent")
    harness.run_for(HOUR)
    assert brief(changes_of(harness, scene))[-1] == (
        "title", "By an agent", "Saved", "repaired", CONFIRMED
    )  # fmt: skip


def test_a_sync_of_all_is_one_run(harness: WorkerHarness) -> None:
    scenes = [harness.pair(f"s{number}", updated_at=1e9)[0] for number in range(3)]
    harness.run_for(30)
    harness.command("sync")
    harness.run_for(30)
    found = [one for scene in scenes for one in changes_of(harness, scene)]
    assert [(one.field, one.cause) for one in found] == [("title", "sync")] * 3
    assert len({one.run for one in found}) == 1
    harness.stash.change_silently(scenes[0].id, title="Other")
    harness.command("sync")
    harness.run_for(30)
    assert changes_of(harness, scenes[0])[-1].run not in {one.run for one in found}


def test_a_write_whose_answer_got_lost_is_recorded_once(harness: WorkerHarness) -> None:
    scene, _ = harness.pair("a")
    harness.plex.faults.add(ResetAfter(), when=is_edit, times=3)
    harness.edit(scene, "Saved")
    harness.run_for(600)
    assert brief(changes_of(harness, scene)) == [("title", "a", "Saved", "saved", CONFIRMED)]


def test_what_plex_refuses_is_dropped(harness: WorkerHarness) -> None:
    scene, _ = harness.pair("a", tags=["T"])
    harness.plex.faults.add(
        Answer(400, b""), when=lambda request: is_edit(request) and "genre" in str(request.query)
    )
    harness.edit(scene, "Saved")
    harness.run_for(60)
    assert [(one.field, one.status) for one in changes_of(harness, scene)] == [
        ("title", CONFIRMED),
        ("genre", DROPPED),
    ]


def test_what_plex_answers_and_does_not_carry_out_is_dropped(harness: WorkerHarness) -> None:
    scene, _ = harness.pair("a")
    harness.plex.settings.ignored.names = {"title"}
    harness.edit(scene, "Saved")
    harness.run_for(HOUR)
    assert brief(changes_of(harness, scene)) == [("title", "a", "Saved", "saved", DROPPED)]


def test_a_poster_is_recorded_with_the_one_that_it_replaces(harness: WorkerHarness) -> None:
    harness.configure(sync_poster=True)
    scene, item = harness.pair("a", cover=PNG)
    harness.edit(scene, "Saved")
    harness.run_for(30)
    first = changes_of(harness, scene)[-1]
    assert (first.field, first.before, first.status) == (POSTER, "", CONFIRMED)
    harness.edit(scene, cover=PNG + b"2")
    harness.run_for(30)
    second = changes_of(harness, scene)[-1]
    assert str(second.before).endswith(f"/{first.after}")
    assert item.poster is not None
    assert item.poster.key.endswith(f"/{second.after}")
    (row,) = harness.worker.history.of_scene(scene.id)
    assert row.fields[POSTER].before == "", "before our first upload"


def test_a_poster_whose_answer_got_lost_is_recorded_once(harness: WorkerHarness) -> None:
    harness.configure(sync_poster=True)
    scene, item = harness.pair("a", cover=PNG)
    harness.plex.person_selects_poster(item.rating_key, b"a person's")
    mine = item.poster
    assert mine is not None
    harness.plex.faults.add(ResetAfter(), method="POST", times=3)
    harness.edit(scene, "Saved")
    harness.run_for(HOUR)
    posters = [one for one in changes_of(harness, scene) if one.field == POSTER]
    assert [(one.before, one.status) for one in posters] == [(mine.key, CONFIRMED)]
    (row,) = harness.worker.history.of_scene(scene.id)
    assert row.fields[POSTER].before == mine.key


def test_a_poster_that_is_sent_once_more_is_recorded_once(harness: WorkerHarness) -> None:
    harness.configure(sync_poster=True)
    scene, item = harness.pair("a", cover=PNG)
    harness.edit(scene, "Saved")
    harness.run_for(30)
    harness.command("resync", scene_id=scene.id)
    harness.run_for(30)
    item.locked.discard(POSTER)
    harness.edit(scene, "Again")
    harness.run_for(30)
    assert [one.field for one in changes_of(harness, scene)].count(POSTER) == 1


def test_the_journal_stays_small(harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    from history import changes

    scene, _ = harness.pair("a", tags=["T"], date="2020-01-02")
    harness.edit(scene, "Saved")
    harness.run_for(30)
    assert len(changes_of(harness, scene)) == 4
    monkeypatch.setattr(changes, "MOST", 3)
    harness.run_for(1)  # a worker starts
    assert len(changes_of(harness, scene)) == 3
    assert harness.worker.history.get(CUT_RUNS) == [changes_of(harness, scene)[0].run]
