"""The cover as background art: beside the poster, kept up to date, taken back, undone."""

from __future__ import annotations

from typing import Any

import pytest

from history.changes import CONFIRMED, DROPPED
from history.records import ART, POSTER, CoverState, Status
from plex.undo import CHANGED_SINCE
from tests.harness.clock import HOUR
from tests.harness.in_process import WorkerHarness
from tests.simulators.httpd import Answer, ResetAfter
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene
from tests.worker.support import PNG, changes_of, row_of, synced
from worker.covers import ART_GONE, ART_STAYS

SECOND = PNG + b"2"


@pytest.fixture
def harness(harness: WorkerHarness) -> WorkerHarness:
    harness.configure(sync_art=True)
    harness.new_worker(compares=True)
    return harness


def with_cover(harness: WorkerHarness, name: str = "a", **fields: Any) -> tuple[Scene, PlexItem]:
    """Return a scene with a cover that was synced a while ago, and its item."""
    pair = synced(harness, name, cover=PNG, updated_at=harness.clock.now - 100, **fields)
    harness.clock.advance(100)
    return pair


def save(harness: WorkerHarness, scene: Scene, title: str, cover: bytes | None = None) -> None:
    if cover is not None:
        harness.stash.set_cover(scene.id, cover)
        harness.clock.advance(90)
    harness.edit(scene, title)
    harness.run_for(60)


def switch(harness: WorkerHarness, **settings: bool) -> None:
    """Change settings, and let the worker compare all scenes once these have rested."""
    harness.configure(**settings)
    compare(harness)


def compare(harness: WorkerHarness) -> None:
    """Let some passes go by."""
    harness.clock.advance(HOUR)
    harness.restart()
    harness.run_for(30)
    harness.clock.advance(HOUR)
    harness.run_for(120)
    harness.clock.advance(HOUR)
    harness.run_for(120)


def art_of(item: PlexItem) -> bytes | None:
    return None if item.art is None else item.art.data


def fetches(harness: WorkerHarness) -> int:
    return sum("/screenshot" in one.request.path for one in harness.stash.log.all())


def removals(harness: WorkerHarness) -> int:
    return harness.plex.log.count("DELETE")


def said(harness: WorkerHarness) -> list[str]:
    return [text for _, text in harness.notices() if "background" in text]


# --- up


def test_the_cover_becomes_the_background_without_the_poster(harness: WorkerHarness) -> None:
    scene, item = with_cover(harness)
    assert (art_of(item), item.poster, harness.plex.uploads) == (PNG, None, [])
    assert ART in item.locked and POSTER not in item.locked
    (change,) = [one for one in changes_of(harness, scene) if one.field == ART]
    assert str(change.before).startswith("media://") and change.status == CONFIRMED
    assert row_of(harness, scene).status is Status.IN_SYNC


def test_poster_and_background_are_one_fetch(harness: WorkerHarness) -> None:
    harness.configure(sync_art=False, sync_poster=True)
    with_cover(harness, "alone")
    once = fetches(harness)
    harness.configure(sync_art=True, sync_poster=True)
    scene, item = with_cover(harness)
    assert item.poster is not None and (item.poster.data, art_of(item)) == (PNG, PNG)
    assert fetches(harness) == 2 * once

    save(harness, scene, "Second", SECOND)
    assert item.poster is not None and (item.poster.data, art_of(item)) == (SECOND, SECOND)
    uploads = len(harness.plex.uploads), len(harness.plex.art_uploads)
    save(harness, scene, "Third")
    assert (len(harness.plex.uploads), len(harness.plex.art_uploads)) == uploads == (3, 2)
    assert row_of(harness, scene).status is Status.IN_SYNC


def test_switched_on_later_it_goes_up_beside_a_poster_that_is_there(
    harness: WorkerHarness,
) -> None:
    harness.configure(sync_poster=True, sync_art=False)
    scene, item = with_cover(harness)
    assert (len(harness.plex.uploads), art_of(item)) == (1, None)
    switch(harness, sync_poster=True, sync_art=True)
    assert (len(harness.plex.uploads), art_of(item)) == (1, PNG)
    assert row_of(harness, scene).status is Status.IN_SYNC


def test_a_background_of_a_person_is_replaced_only_by_a_save(harness: WorkerHarness) -> None:
    harness.configure(sync_art=False)
    scene, item = with_cover(harness)
    harness.plex.person_selects_art(item.rating_key, b"mine")
    switch(harness, sync_art=True)
    assert (art_of(item), harness.plex.art_uploads) == (b"mine", [])
    save(harness, scene, "Saved again")
    assert art_of(item) == PNG


def test_with_preserve_what_plex_had_stays(harness: WorkerHarness) -> None:
    harness.configure(sync_art=True, preserve_plex_edits=True)
    long_ago = harness.clock.now - 100
    one, its_own = harness.pair("a", cover=PNG, updated_at=long_ago)
    other, none = harness.pair("b", cover=PNG, updated_at=long_ago)
    none.own_art = False
    save(harness, one, "Saved")
    save(harness, other, "Saved")
    assert (art_of(its_own), art_of(none)) == (None, PNG)


def test_one_that_a_refresh_dropped_goes_up_again(harness: WorkerHarness) -> None:
    scene, item = with_cover(harness)
    item.locked.discard(ART)
    harness.plex.refresh_item(item.rating_key)
    item.updated_at += 100  # the simulated Plex lives in real time
    harness.plex._state.changed(item)
    assert item.art is None
    compare(harness)
    assert (art_of(item), len(harness.plex.art_uploads)) == (PNG, 2)
    assert row_of(harness, scene).fields[ART].repairs == 1


def test_one_that_plex_refuses_stops_nothing_and_is_not_tried_again(
    harness: WorkerHarness,
) -> None:
    harness.configure(sync_art=True, sync_poster=True)
    harness.plex.faults.add(
        Answer(413), when=lambda one: one.method == "POST" and one.path.endswith("/arts")
    )
    scene, item = with_cover(harness)
    assert item.poster is not None and item.poster.data == PNG
    row = row_of(harness, scene)
    assert (row.status, row.refused_fields) == (Status.REFUSED, [ART])
    assert "background" in row.reason and len(said(harness)) == 1
    assert [one.status for one in changes_of(harness, scene) if one.field == ART] == [DROPPED]
    posts = harness.plex.log.count("POST")
    save(harness, scene, "Second")
    assert (item.title, harness.plex.log.count("POST")) == ("Second", posts)


def test_a_resync_uploads_it_again(harness: WorkerHarness) -> None:
    scene, item = with_cover(harness)
    harness.plex.person_selects_art(item.rating_key, b"mine")
    harness.command("resync", scene_id=scene.id)
    harness.run_for(30)
    assert art_of(item) == PNG


def test_force_goes_over_a_persons_picture_and_sends_no_other(harness: WorkerHarness) -> None:
    harness.configure(sync_art=True, sync_poster=True)
    harness.new_worker(compares=True)
    _, item = with_cover(harness)
    _, its_poster = with_cover(harness, "b")
    harness.plex.person_selects_art(item.rating_key, b"mine")
    harness.plex.person_selects_poster(its_poster.rating_key, b"mine")
    harness.run_for(HOUR)
    known = fetches(harness)
    harness.command("sync", force=True)
    harness.run_for(HOUR)
    assert its_poster.poster is not None
    assert (art_of(item), its_poster.poster.data) == (PNG, PNG)
    assert (len(harness.plex.uploads), len(harness.plex.art_uploads)) == (3, 3)
    assert fetches(harness) == known + 2
    harness.command("sync", force=True)
    harness.run_for(HOUR)
    assert (len(harness.plex.uploads), len(harness.plex.art_uploads)) == (3, 3)
    assert fetches(harness) == known + 2


# --- taken back


def test_switched_off_the_former_background_comes_back_once(harness: WorkerHarness) -> None:
    harness.configure(sync_art=False)
    scene, item = with_cover(harness)
    harness.plex.person_selects_art(item.rating_key, b"mine")
    former = item.art
    switch(harness, sync_art=True)
    save(harness, scene, "Up")
    assert art_of(item) == PNG

    switch(harness, sync_art=False)
    assert item.art is former and ART in item.locked, "it was locked before"
    row = row_of(harness, scene)
    assert (row.status, row.art, ART in row.fields) == (Status.IN_SYNC, CoverState(), False)

    harness.plex.person_selects_art(item.rating_key, PNG)  # the same picture, chosen by a person
    puts = harness.plex.log.count("PUT")
    save(harness, scene, "Third")
    assert (art_of(item), harness.plex.log.count("PUT")) == (PNG, puts + 1)


def test_what_plex_had_made_comes_back_without_our_lock(harness: WorkerHarness) -> None:
    scene, item = with_cover(harness)
    harness.configure(sync_art=False)
    save(harness, scene, "Off")
    assert item.art is None and ART not in item.locked
    assert removals(harness) == 0


def test_where_there_was_none_a_plex_of_today_is_left_without_one(harness: WorkerHarness) -> None:
    harness.plex.settings.version = "1.43.0.1-a"
    scene, item = harness.pair("a", cover=PNG, updated_at=harness.clock.now - 100)
    item.own_art = False
    save(harness, scene, "Up")
    assert art_of(item) == PNG
    switch(harness, sync_art=False)
    assert item.art is None and ART not in item.locked
    assert (removals(harness), said(harness)) == (1, [])


def test_one_whose_answer_got_lost_goes_back_too(harness: WorkerHarness) -> None:
    harness.plex.faults.add(ResetAfter(), method="POST", times=3)
    scene, item = harness.pair("a", cover=PNG, updated_at=harness.clock.now - 100)
    harness.edit(scene, "Up")
    harness.run_for(1)
    assert art_of(item) == PNG and row_of(harness, scene).art.sha1 == "", "nothing is known yet"
    switch(harness, sync_art=False)
    assert (art_of(item), ART in item.locked) == (None, False)
    assert row_of(harness, scene).status is Status.IN_SYNC


def test_with_preserve_one_whose_answer_got_lost_is_kept_up_to_date(
    harness: WorkerHarness,
) -> None:
    harness.configure(sync_art=True, preserve_plex_edits=True)
    scene, item = harness.pair("a", cover=PNG, updated_at=harness.clock.now - 100)
    item.own_art = False
    harness.plex.faults.add(ResetAfter(), method="POST", times=3)
    save(harness, scene, "Up")
    harness.run_for(HOUR)
    save(harness, scene, "Second", SECOND)
    assert art_of(item) == SECOND


def test_where_there_was_none_an_older_plex_keeps_ours_and_that_is_said_once(
    harness: WorkerHarness,
) -> None:
    scene, item = harness.pair("a", cover=PNG, updated_at=harness.clock.now - 100)
    item.own_art = False
    save(harness, scene, "Up")
    switch(harness, sync_art=False)
    save(harness, scene, "Third")
    assert art_of(item) == PNG
    assert removals(harness) == 0, "nothing says what it would do"
    (text,) = said(harness)
    assert ART_STAYS in text
    assert row_of(harness, scene).art == CoverState()
    (_, back) = [one for one in changes_of(harness, scene) if one.field == ART]
    assert back.status == DROPPED


def test_a_former_one_that_plex_refuses_is_said_and_stops_nothing(harness: WorkerHarness) -> None:
    scene, item = with_cover(harness)
    harness.plex.faults.add(Answer(400), when=lambda one: "/art?url=" in one.target)
    harness.configure(sync_art=False)
    save(harness, scene, "Off")
    assert (item.title, art_of(item), harness.letters()) == ("Off", PNG, [])
    (text,) = said(harness)
    assert "400" in text
    save(harness, scene, "Again")
    assert (item.title, said(harness)) == ("Again", [])


def test_a_plex_that_fails_in_between_is_unlocked_later(harness: WorkerHarness) -> None:
    scene, item = with_cover(harness)
    harness.plex.faults.add(Answer(503), when=lambda one: "art.locked=0" in one.target, times=3)
    harness.configure(sync_art=False)
    save(harness, scene, "Off")
    harness.run_for(HOUR)
    assert item.art is None and ART not in item.locked
    (_, back) = [one for one in changes_of(harness, scene) if one.field == ART]
    assert (str(back.after).startswith("media://"), back.status) == (True, CONFIRMED)
    assert row_of(harness, scene).art == CoverState()


def test_one_that_a_person_chose_after_ours_is_left(harness: WorkerHarness) -> None:
    scene, item = with_cover(harness)
    harness.plex.person_selects_art(item.rating_key, b"mine")
    switch(harness, sync_art=False)
    assert art_of(item) == b"mine" and ART in item.locked
    assert row_of(harness, scene).art == CoverState()


def test_a_former_one_that_is_gone_is_said(harness: WorkerHarness) -> None:
    _, item = with_cover(harness)
    item.own_art = False
    switch(harness, sync_art=False)
    assert art_of(item) == PNG
    assert [ART_GONE in text for text in said(harness)] == [True]


# --- undone, held


def test_an_undo_brings_back_poster_and_background_and_holds_them(harness: WorkerHarness) -> None:
    harness.plex.settings.own_poster = True
    harness.configure(sync_art=True, sync_poster=True)
    scene, item = with_cover(harness)
    harness.command("undo", scene_id=scene.id)
    harness.run_for(30)
    assert (item.poster, item.art) == (None, None)
    assert {ART, POSTER}.isdisjoint(item.locked)
    assert {ART, POSTER} <= set(row_of(harness, scene).held_fields)
    save(harness, scene, "Second", SECOND)
    assert (item.poster, item.art) == (None, None)


def test_an_undo_of_the_background_alone(harness: WorkerHarness) -> None:
    harness.configure(sync_art=True, sync_poster=True)
    scene, item = with_cover(harness)
    result = harness.command("undo", scene_id=scene.id, field=ART)
    assert result["left"] == []
    assert (art_of(item), item.poster is None) == (None, False)

    other, its_item = with_cover(harness, "b")
    harness.plex.person_selects_art(its_item.rating_key, b"mine")
    result = harness.command("undo", scene_id=other.id, field=ART)
    assert result["left"] == [[other.id, ART, CHANGED_SINCE]]
    assert art_of(its_item) == b"mine"


# --- preview


def test_a_preview_names_what_would_go_up_and_what_would_go_back(harness: WorkerHarness) -> None:
    scene, _ = harness.pair("a", cover=PNG, updated_at=harness.clock.now - 100)
    runner = harness.worker.batches._runner

    def pictures() -> dict[str, bytes]:
        found = harness.client.find_scene(scene.id)
        assert found is not None
        ((_, _, shown),) = runner.preview(found)
        return shown

    harness.run_for(1)
    assert pictures() == {"background": PNG}
    save(harness, scene, "Up")
    assert pictures() == {}
    harness.configure(sync_art=False)
    harness.clock.advance(100)
    runner = harness.restart().batches._runner
    harness.run_for(1)
    assert pictures() == {"background": b""}
