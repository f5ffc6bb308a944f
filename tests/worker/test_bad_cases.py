"""Servers, tools and clocks that misbehave: the result is right, and no work goes on for ever."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import requests

from history.records import Agreement, Status
from queue.models import create_sync_job
from queue.spool import spool, spooled
from tests.harness.base import TOKEN
from tests.harness.clock import HOUR, FakeClock
from tests.harness.in_process import WorkerHarness
from tests.harness.size import some
from tests.simulators.httpd import Answer, Request
from tests.simulators.plex import PlexItem, PlexSimulator
from tests.simulators.plex.habits import TAGS_AND_RATING, UpdatedAt
from tests.simulators.plex.normalize import (
    Normalize,
    cut,
    in_order,
    spelled,
    trimmed,
    whole_stars,
)
from tests.simulators.stash import Scene, StashSimulator
from worker import state
from worker.backoff import NOT_FOUND
from worker.reconcile import passes, quick

DAY = 24 * HOUR
YEAR = 365 * DAY
MONTH = 30
#: Writes of one field in a month that are no war: once, and three repairs with their second tries.
_FEW = 8


@pytest.fixture
def plex(clock: FakeClock) -> Iterator[PlexSimulator]:
    with PlexSimulator(token=TOKEN, clock=clock.time) as simulator:
        yield simulator
        assert simulator.server.errors == []


@pytest.fixture
def harness(
    tmp_path: Path, plex: PlexSimulator, stash: StashSimulator, clock: FakeClock
) -> Iterator[WorkerHarness]:
    harness = WorkerHarness(tmp_path, plex, stash, clock)
    harness.take_long_steps()
    harness.new_worker(compares=True)
    harness.run()  # the installation: what is there is only noted
    yield harness
    harness.close()


@pytest.mark.parametrize("damage", ["a bad sector", "half of it"])
def test_a_spooled_edit_that_cannot_be_read_is_said_once_and_its_scene_compared(
    harness: WorkerHarness, damage: str
) -> None:
    pairs = [harness.pair(name) for name in ("a", "b")]
    for scene, _ in pairs:
        harness.edit(scene, "Old")
    harness.run_for(HOUR)
    harness.notices()
    for scene, _ in pairs:
        harness.stash.change_silently(scene.id, title="New")
    folder = str(harness.data_dir / "queue")
    if damage == "a bad sector":
        Path(folder, "spool", "0-1.json").mkdir(parents=True)
    else:
        spool(folder, create_sync_job(pairs[0][0].id, "metadata", {"title": True}))
        file = Path(folder, "spool", spooled(folder)[0])
        file.write_text(file.read_text()[:10])
    spool(folder, create_sync_job(pairs[1][0].id, "metadata", {"title": True}))
    harness.run_for(HOUR)
    harness.restart()
    harness.run_for(HOUR)
    assert [item.title for _, item in pairs] == ["New", "New"]
    assert [text for _, text in harness.notices()] == [
        "1 queued edit could not be read. All scenes are compared with Plex now, so nothing is lost"
    ]


def live(harness: WorkerHarness, days: int) -> None:
    """Run a worker once a day, until it is idle."""
    for _ in range(days):
        harness.clock.advance(DAY)
        harness.run()


def synced(harness: WorkerHarness, count: int, **fields: object) -> list[Scene]:
    """Add scenes with their items, and have them synced."""
    scenes = [harness.pair(f"s{number:04}", **fields)[0] for number in range(count)]
    for scene in scenes:
        harness.edit(scene)
    harness.run()
    for scene in scenes:
        assert harness.differences(scene) == []
    return scenes


def edit_in_plex(harness: WorkerHarness, item: PlexItem, **values: str) -> None:
    """Edit as another client does, `genre=` sets the only one."""
    named = {"type": "1", "id": str(item.rating_key)}
    for name, value in values.items():
        named[f"{name}[0].tag.tag" if name == "genre" else f"{name}.value"] = value
    answer = requests.put(
        f"{harness.plex.url}/library/sections/{item.library.key}/all",
        params=named,
        headers={"X-Plex-Token": TOKEN},
        timeout=10,
    )
    assert answer.status_code == 200


def statuses(harness: WorkerHarness, scene: Scene) -> list[Status]:
    return [row.status for row in harness.worker.history.of_scene(scene.id)]


def writes_since(harness: WorkerHarness, before: int) -> list[Mapping[str, str]]:
    return [write.parameters for write in harness.plex.writes[before:]]


class TestAnotherTool:
    @pytest.mark.parametrize(
        ("field", "locks"),
        some([("genre", True), ("summary", True), ("summary", False), ("genre", False)], 1),
    )
    def test_that_answers_every_edit_starts_no_war(
        self, harness: WorkerHarness, field: str, locks: bool
    ) -> None:
        harness.configure(lock_fields=locks)
        number = 0

        def overwrite(_item: PlexItem, names: frozenset[str]) -> dict[str, object] | None:
            nonlocal number
            number += 1
            text = f"The tool's, {number}"
            return {field: [text] if field == "genre" else text} if field in names else None

        harness.plex.settings.after_edit = overwrite
        scene, item = harness.pair(details="Ours", tags=["Ours"])
        harness.edit(scene)
        harness.run()
        live(harness, MONTH)
        assert item.title == scene.title
        assert len(harness.plex.writes) <= _FEW
        assert harness.waiting() == 0

    @pytest.mark.parametrize("locks", some([False, True], 1))
    def test_that_writes_every_day_starts_no_war(self, harness: WorkerHarness, locks: bool) -> None:
        harness.configure(lock_fields=locks)
        (scene,) = synced(harness, 1, details="Ours")
        item = harness.item_of(scene)
        before = len(harness.plex.writes)
        for day in range(MONTH):
            edit_in_plex(harness, item, summary=f"The tool's of day {day}")
            live(harness, 1)
        ours = [one for one in writes_since(harness, before) if one.get("summary.value") == "Ours"]
        assert len(ours) <= _FEW
        # Stash's next change of that field wins again.
        harness.edit(scene, details="Ours anew")
        harness.run()
        assert item.summary == "Ours anew"

    def test_that_writes_twice_a_day_is_repaired_again_after_a_day(
        self, harness: WorkerHarness
    ) -> None:
        harness.configure(lock_fields=False)
        (scene,) = synced(harness, 1, details="Ours")
        item = harness.item_of(scene)
        for text in ("The tool's, first", "The tool's, second"):
            edit_in_plex(harness, item, summary=text)
            harness.run_for(HOUR)
        assert item.summary == "The tool's, second", "repaired a moment ago"
        live(harness, 2)
        assert harness.differences(scene) == []

    def test_that_unlocks_and_writes_is_left_and_told_of(self, harness: WorkerHarness) -> None:
        harness.configure(lock_fields=False)
        (scene,) = synced(harness, 1, details="Ours")
        harness.notices()
        for day in range(MONTH):
            edit_in_plex(harness, harness.item_of(scene), summary=f"The tool's of day {day}")
            live(harness, 1)
        told = [text for _, text in harness.notices() if "changes again and again" in text]
        assert len(told) == 1
        # The user saves the scene: then it goes.
        harness.edit(scene, "Saved")
        harness.run()
        assert harness.differences(scene) == []


class TestNormalizingPlex:
    @pytest.fixture(autouse=True)
    def _normalizes(self, harness: WorkerHarness) -> None:
        harness.plex.settings.normalize = Normalize(
            texts=(trimmed, cut("summary", 20), whole_stars),
            tags=(in_order(), spelled({"jane doe": "Jane Doe", "Sci-Fi": "Sci Fi"})),
        )
        harness.configure(sync_rating=True)

    @pytest.fixture
    def scene(self, harness: WorkerHarness) -> Scene:
        scene, _ = harness.pair(
            title="A title...", details="A summary that is longer than what Plex keeps",
            performers=["jane doe", "Al"], tags=["Zoo", "Sci-Fi", "Art"], rating100=73,
        )  # fmt: skip
        harness.edit(scene)
        harness.run()
        return scene

    def test_has_what_it_can_have(self, harness: WorkerHarness, scene: Scene) -> None:
        item = harness.item_of(scene)
        assert (item.title, item.summary) == ("A title", "A summary that is lo")
        assert item.genres == ["Art", "Sci Fi", "Zoo"]
        assert set(item.actors) == {"Al", "Jane Doe"}
        assert statuses(harness, scene) == [Status.IN_SYNC]

    def test_is_not_written_again(self, harness: WorkerHarness, scene: Scene) -> None:
        before = len(harness.plex.writes)
        live(harness, MONTH + 10)  # each item was read whole once more
        assert writes_since(harness, before) == []
        assert statuses(harness, scene) == [Status.IN_SYNC]

    def test_an_edit_of_another_field_leaves_its_form(
        self, harness: WorkerHarness, scene: Scene
    ) -> None:
        harness.edit(scene, "Another title")
        harness.run()
        assert set(harness.plex.writes[-1].parameters) == {"title.value", "title.locked"}

    def test_what_leaves_stash_leaves_plex_in_its_form(
        self, harness: WorkerHarness, scene: Scene
    ) -> None:
        harness.edit(scene, details="", tags=["Art"], performers=[])
        harness.run()
        item = harness.item_of(scene)
        assert (item.summary, item.genres, item.actors) == ("", ["Art"], [])


class TestUpdatedAt:
    def test_that_does_not_move_hides_drift_for_a_month_at_most(
        self, harness: WorkerHarness
    ) -> None:
        harness.configure(lock_fields=False)
        harness.plex.settings.updated_at = UpdatedAt(unmoved_by=TAGS_AND_RATING)
        scenes = synced(harness, MONTH, tags=["Ours"])
        live(harness, 1)
        for scene in scenes:
            edit_in_plex(harness, harness.item_of(scene), genre="A tool's")
        live(harness, MONTH + 1)
        # A repair puts back what is ours, and takes nothing away.
        for scene in scenes:
            assert set(harness.item_of(scene).genres) == {"A tool's", "Ours"}
        before = len(harness.plex.writes)
        live(harness, 3)
        assert writes_since(harness, before) == []

    @pytest.mark.parametrize(
        "mode",
        some([UpdatedAt(delay=7.0), UpdatedAt(delay=1.0), UpdatedAt(moved_by_rating=True)], 2),
    )
    def test_that_moves_late_makes_no_endless_work(
        self, harness: WorkerHarness, mode: UpdatedAt
    ) -> None:
        harness.configure(sync_rating=True)
        harness.plex.settings.updated_at = mode
        scenes = synced(harness, 5, tags=["Ours"], rating100=80)
        live(harness, 2)
        before = len(harness.plex.writes)
        harness.plex.log.clear()
        live(harness, 1)
        read = [one.request.path for one in harness.plex.log.all()]
        assert writes_since(harness, before) == []
        assert sum(path.startswith("/library/metadata/") for path in read) <= 1
        assert [statuses(harness, scene) for scene in scenes] == [[Status.IN_SYNC]] * 5

    def test_that_moves_late_hides_no_edit(self, harness: WorkerHarness) -> None:
        harness.plex.settings.updated_at = UpdatedAt(delay=7.0)
        (scene,) = synced(harness, 1)
        harness.plex.refresh_item(harness.item_of(scene).rating_key)
        live(harness, 1)
        assert harness.differences(scene) == []

    def test_that_goes_back_with_a_backup_is_noticed(self, harness: WorkerHarness) -> None:
        (early,) = synced(harness, 1, details="Early")
        saved = harness.plex.backup()
        harness.clock.advance(HOUR)
        late, _ = harness.pair("late", details="Late")
        harness.edit(early, details="Changed")
        harness.edit(late)
        harness.run()
        assert harness.differences(early) == []
        harness.plex.restore(saved)
        harness.add_item("late")
        live(harness, 2)
        # The backup has our old value, locked: to PlexSync that is a person's edit.
        assert harness.differences(late) == []
        assert harness.differences(early) in ([], ['summary: Stash has "Changed", Plex "Early"'])
        before = len(harness.plex.writes)
        live(harness, MONTH)
        assert writes_since(harness, before) == []


class TestClocks:
    def move(self, clock: FakeClock, seconds: float) -> None:
        """Set the clock; the monotonic one stays."""
        clock.now += seconds
        clock.started += seconds

    def test_a_year_ahead_and_back_loses_nothing(self, harness: WorkerHarness) -> None:
        with_hook, missed, renamed = synced(harness, 3, tags=["Tag"])
        self.move(harness.clock, YEAR)
        harness.edit(with_hook, "Ahead")
        harness.stash.change_silently(missed.id, title="Ahead, missed")
        harness.run()
        for scene in (with_hook, missed):
            assert harness.differences(scene) == []
        self.move(harness.clock, -YEAR)
        harness.edit(with_hook, "Back")
        harness.stash.change_silently(missed.id, title="Back, missed")
        harness.stash.rename_silently("tag", "Tag", "Renamed")
        harness.run()
        live(harness, 1)
        for scene in (with_hook, missed, renamed):
            assert harness.differences(scene) == []
        assert harness.worker.history.next_verification() is None

    @pytest.mark.parametrize("ahead", [HOUR, YEAR], ids=["an hour", "a year"])
    def test_a_retry_that_was_put_off_while_the_clock_was_ahead_is_not_late(
        self, harness: WorkerHarness, ahead: float
    ) -> None:
        self.move(harness.clock, ahead)
        (scene,) = synced(harness, 1)
        fault = harness.plex.faults.add(Answer(500), method="PUT")
        harness.edit(scene, "Waits")
        harness.run_for(1)
        assert harness.waiting() == 1
        self.move(harness.clock, -ahead)
        fault.remove()
        harness.run_for(NOT_FOUND[1])
        assert harness.differences(scene) == []
        assert harness.waiting() == 0

    def test_a_scene_dated_in_the_future_hides_no_other(self, harness: WorkerHarness) -> None:
        scene, missed = synced(harness, 2)
        future = harness.clock.now + YEAR
        harness.stash.change_silently(scene.id, title="From the future", updated_at=future)
        harness.run()
        assert harness.differences(scene) == []
        live(harness, 1)
        harness.stash.change_silently(missed.id, title="Missed")
        harness.run_for(700)
        assert harness.differences(missed) == []
        harness.stash.change_silently(scene.id, details="Once more", updated_at=future)
        harness.run_for(700)
        assert harness.differences(scene) == []
        before = len(harness.plex.writes)
        live(harness, 3)
        assert writes_since(harness, before) == []


class TestFailingPasses:
    """A server fails in the middle of a full pass over four pages."""

    COUNT, PAGE = 12, 3

    @pytest.fixture(autouse=True)
    def _small_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(passes, "PAGE", self.PAGE)

    def pages(self, harness: WorkerHarness) -> list[bytes]:
        return [
            one.request.body
            for one in harness.stash.log.all()
            if b"PlexSyncPage" in one.request.body
        ]

    def third_page(self, request: Request) -> bool:
        after = 2 * self.PAGE
        return b"PlexSyncPage" in request.body and f'"value": {after}'.encode() in request.body

    def test_stash_fails_and_nothing_is_concluded(self, harness: WorkerHarness) -> None:
        scenes = synced(harness, self.COUNT)
        gone = scenes[-1]
        harness.stash.delete_silently(gone.id)
        harness.clock.advance(DAY)
        harness.stash.log.clear()
        down = harness.stash.faults.add(Answer(503), when=self.third_page)
        harness.run_for(300)
        assert len(self.pages(harness)) >= 3
        assert all(row.missing_since is None for row in self.rows(harness, gone))
        harness.stash.log.clear()
        down.remove()
        harness.run_for(300)
        later = self.pages(harness)
        assert all(b'"value": 0' not in body for body in later), "it begins where it was"
        assert self.third_page_was_read(later)

    def third_page_was_read(self, bodies: list[bytes]) -> bool:
        return any(f'"value": {2 * self.PAGE}'.encode() in body for body in bodies)

    def rows(self, harness: WorkerHarness, scene: Scene) -> list[Agreement]:
        return harness.worker.history.of_scene(scene.id)

    def test_stash_loses_its_database_in_the_middle(self, harness: WorkerHarness) -> None:
        scenes = synced(harness, self.COUNT)
        harness.clock.advance(DAY)

        def vanish(request: Request) -> bool:
            if self.third_page(request):
                harness.stash.looks_empty = True
            return False

        harness.stash.faults.add(Answer(503), when=vanish)
        harness.run_for(1_000)
        harness.stash.faults.clear()
        harness.stash.looks_empty = False
        live(harness, 3)
        assert all(row.missing_since is None for one in scenes for row in self.rows(harness, one))
        assert [len(self.rows(harness, scene)) for scene in scenes] == [1] * self.COUNT
        assert harness.worker.history.known_scenes() == self.COUNT

    def test_plex_fails_and_the_pass_goes_on_later(self, harness: WorkerHarness) -> None:
        harness.configure(lock_fields=False)
        scenes = synced(harness, self.COUNT, details="Ours")
        harness.clock.advance(DAY)
        for scene in scenes:
            edit_in_plex(harness, harness.item_of(scene), summary="A refresh")
        down = harness.plex.faults.add(Answer(503), path="/library/metadata/*")
        harness.run_for(600)
        assert not any(row.missing_since for one in scenes for row in self.rows(harness, one))
        assert {state for one in scenes for state in statuses(harness, one)} == {Status.IN_SYNC}
        down.remove()
        harness.run_for(1_000)
        live(harness, 1)
        assert [scene.id for scene in scenes if harness.differences(scene)] == []
        assert harness.letters() == []

    def test_a_worker_that_is_replaced_goes_on_where_it_was(self, harness: WorkerHarness) -> None:
        scenes = synced(harness, self.COUNT)
        harness.stash.change_silently(
            scenes[-1].id, title="Missed", updated_at=harness.clock.now - 10 * DAY
        )
        harness.clock.advance(DAY)
        harness.stash.faults.add(Answer(503), when=self.third_page)
        harness.run_for(300)
        harness.stash.faults.clear()
        harness.stash.log.clear()
        worker = harness.worker
        harness.new_worker(compares=True, history=worker.history, index=worker.plex.index)
        harness.run()
        assert self.third_page_was_read(self.pages(harness)[:1])
        assert harness.differences(scenes[-1]) == []


class TestManyRecentChanges:
    """More scenes change at once than a quick pass reads."""

    COUNT, PAGE = 12, 4

    @pytest.fixture(autouse=True)
    def _small_page(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(quick, "_PAGE", self.PAGE)

    def pages(self, harness: WorkerHarness) -> int:
        bodies = [one.request.body for one in harness.stash.log.all()]
        harness.stash.log.clear()
        return sum(b"PlexSyncPage" in body for body in bodies)

    def change_all(self, harness: WorkerHarness, scenes: list[Scene], title: str) -> None:
        for scene in scenes:
            harness.stash.change_silently(scene.id, title=title)

    def test_all_are_found_and_the_library_is_not_read_every_ten_minutes(
        self, harness: WorkerHarness
    ) -> None:
        scenes = synced(harness, self.COUNT)
        live(harness, 1)
        self.change_all(harness, scenes, "Changed together")
        harness.run_for(700)
        assert [scene.id for scene in scenes if harness.differences(scene)] == []
        self.pages(harness)
        harness.run_for(3 * HOUR)
        assert self.pages(harness) <= 6
        live(harness, 2)
        self.pages(harness)
        harness.run_for(HOUR)
        assert self.pages(harness) == 0
        self.change_all(harness, scenes, "And again")
        harness.run_for(700)
        assert [scene.id for scene in scenes if harness.differences(scene)] == []


def test_timestamps_that_a_killed_worker_did_not_write_are_written_by_the_next(
    harness: WorkerHarness,
) -> None:
    (gone,) = synced(harness, 1)
    scene, _ = harness.pair()
    harness.stash.delete_silently(gone.id)
    harness.edit(gone)
    harness.edit(scene)
    kept = harness.synced_at(gone)
    history = harness.worker.history
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "save_sync_timestamps", lambda data_dir, changes: None)
        harness.run()
    history.set("in_use", True)  # as a kill leaves it
    assert (harness.synced_at(scene), harness.synced_at(gone)) == (None, kept)
    harness.new_worker(compares=True, history=history)
    harness.run()
    assert harness.synced_at(scene) is not None
    assert harness.synced_at(gone) is None
