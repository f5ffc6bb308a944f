"""Whole jobs: what is read from Stash, written to Plex, recorded, and left in queue and dead letters."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

import pytest

from common.env import Env
from plex.index import FileIndex, IndexedFile
from queue.manager import QueueManager
from queue.operations import enqueue
from tests.simulators.httpd import Delay
from tests.simulators.stash import Scene
from tests.worker.world import World
from worker.processor import PermanentError, SyncWorker, TransientError


def lines(caplog: pytest.LogCaptureFixture, *words: str) -> list[logging.LogRecord]:
    return [one for one in caplog.records if all(word in one.getMessage() for word in words)]


@pytest.fixture(autouse=True)
def _all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="plexsync")


def test_an_edit_reaches_plex_and_leaves_nothing_behind(world: World) -> None:
    scene, item = world.pair(
        "a", details="About it", tags=["T"], performers=["P"], studio="S", date="2024-05-06"
    )
    assert item is not None
    world.edit(scene, "New title")
    before = world.clock.now

    world.run()

    assert (item.title, item.summary, item.studio, item.year) == (
        "New title",
        "About it",
        "S",
        2024,
    )
    assert (item.genres, item.actors) == (["T"], ["P"])
    assert len(world.plex.writes) == 1
    assert world.waiting() == 0
    assert world.letters() == []
    assert world.notices() == []
    assert world.synced_at(scene) == pytest.approx(before)


def test_what_was_read_goes_before_what_the_job_carries(world: World) -> None:
    scene, _ = world.pair("a")
    world.stash.change_silently(scene.id, title="As Stash has it")
    enqueue(
        world.queue,
        scene.id,
        "metadata",
        {"title": "As the event said", "details": True, "date": "nonsense"},
    )

    world.run()

    assert world.title(scene) == "As Stash has it"
    assert world.letters() == []


def test_a_scene_gone_from_stash_is_done_and_its_timestamp_forgotten(world: World) -> None:
    scene, item = world.pair("a")
    other, _ = world.pair("b")
    world.edit(scene, "First")
    world.edit(other, "Other")
    world.run()
    assert world.synced_at(scene) is not None
    world.edit(scene, "Second")
    world.stash.destroy_scene(scene.id)
    written = len(world.plex.writes)

    world.run()

    assert world.waiting() == 0
    assert world.letters() == []
    assert world.synced_at(scene) is None
    assert world.synced_at(other) is not None
    assert item is not None
    assert item.title == "First"
    assert len(world.plex.writes) == written


def test_without_a_stash_client_the_job_says_it_all(world: World) -> None:
    item = world.plex.add_item(world.library, "/plex/b.mp4", size=5)
    world.asks_stash = False
    world.use(world.make_worker(config=world.config()))
    data = {"path": "/data/b.mp4", "title": "Carried", "tags": ["One"], "details": "Text"}
    enqueue(world.queue, 9, "metadata", data)

    world.run()

    assert (item.title, item.summary, item.genres) == ("Carried", "Text", ["One"])
    assert world.waiting() == 0
    assert world.letters() == []


def test_without_a_stash_client_a_job_without_path_is_a_dead_letter_at_once(world: World) -> None:
    world.asks_stash = False
    world.use(world.make_worker(config=world.config()))
    enqueue(world.queue, 9, "metadata", {"title": "Where?"})

    world.run()

    (letter,) = world.letters()
    assert (letter["scene_id"], letter["retry_count"]) == (9, 0)
    assert "file" in letter["error_message"]
    assert world.plex.writes == []


@pytest.mark.parametrize(
    "data", [{"title": ["no", "title"]}, {"date": "31st of May"}, {"rating100": 700}]
)
def test_invalid_metadata_are_a_dead_letter_at_once_and_nothing_is_written(
    world: World, data: dict[str, object]
) -> None:
    world.plex.add_item(world.library, "/plex/b.mp4", size=5)
    world.asks_stash = False
    world.use(world.make_worker(config=world.config()))
    enqueue(world.queue, 9, "metadata", {"path": "/data/b.mp4", **data})

    world.run()

    (letter,) = world.letters()
    assert letter["retry_count"] == 0
    assert next(iter(data)) in letter["error_message"], "the text names the field"
    assert letter["job"]["data"]["path"] == "/data/b.mp4"
    assert "Traceback" in letter["stack_trace"]
    assert world.plex.writes == []


def test_process_job_raises_what_the_contract_names(world: World) -> None:
    scene, _ = world.pair("a", in_plex=False)
    worker: SyncWorker = world.make_worker(config=world.config())
    world.use(worker)  # type: ignore[arg-type]
    with pytest.raises(TransientError):
        worker._process_job(enqueue(world.queue, scene.id, "metadata", {}))
    no_file, _ = world.pair("b", in_plex=False, files=[])
    with pytest.raises(PermanentError):
        worker._process_job(enqueue(world.queue, no_file.id, "metadata", {}))


def test_update_metadata_takes_a_plain_dict(world: World) -> None:
    item = world.plex.add_item(world.library, "/plex/b.mp4", size=5)
    worker = world.make_worker(config=world.config())
    world.use(worker)
    plex_item = worker._get_plex_client().server.fetchItem(item.rating_key)

    worker._update_metadata(plex_item, {"scene_id": 4, "title": "By hand"})

    assert item.title == "By hand"
    with pytest.raises(PermanentError):
        worker._update_metadata(plex_item, {"title": 5})


# --- organized only


def test_a_scene_that_is_not_organized_waits_for_the_day_it_is(world: World) -> None:
    scene, item = world.pair("a")
    assert item is not None
    world.set(only_organized=True)
    world.edit(scene, "Not yet")
    world.run()
    assert world.plex.writes == []
    assert world.waiting() == 0
    assert world.letters() == []
    assert world.synced_at(scene) is None, "it was not synced"

    world.edit(scene, organized=True)
    world.run()

    assert item.title == "Not yet"


# --- several candidates


def ambiguous(world: World) -> Scene:
    for folder in ("one", "two"):
        world.plex.add_item(
            world.library, f"/elsewhere/{folder}/same.mp4", size=100, title=f"In {folder}"
        )
    return world.stash.add_scene(title="Which?", files=[("/data/same.mp4", 100)])


def test_strict_an_ambiguous_scene_is_not_written_but_reported_with_its_candidates(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    scene = ambiguous(world)
    certain, _ = world.pair("certain")
    world.edit(scene, "Which one?")
    world.edit(certain, "This one")

    world.run()

    assert [write.rating_key for write in world.plex.writes] == [world.item_of(certain).rating_key]
    (letter,) = world.letters()
    paths = {
        file["path"] for candidate in letter["details"]["candidates"] for file in candidate["files"]
    }
    assert paths == {"/elsewhere/one/same.mp4", "/elsewhere/two/same.mp4"}
    assert letter["retry_count"] == 0
    (line,) = lines(caplog, "same.mp4")
    assert line.levelno >= logging.WARNING
    for part in (str(scene.id), "/data/same.mp4", *paths):
        assert part in line.getMessage()
    assert "\n" not in line.getMessage()
    assert [level for level, text in world.notices() if "/elsewhere/two/same.mp4" in text] == [
        "warning"
    ]
    assert world.synced_at(scene) is None


def test_not_strict_the_first_candidate_is_written_and_the_same_line_is_a_warning(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    scene = ambiguous(world)
    world.set(strict_matching=False)
    world.edit(scene, "The first")

    world.run()

    assert [item.title for item in world.plex.items(world.library)] == ["The first", "In two"]
    assert world.letters() == []
    (line,) = lines(
        caplog,
        "/elsewhere/one/same.mp4",
        "/elsewhere/two/same.mp4",
        "/data/same.mp4",
        str(scene.id),
    )
    assert line.levelno == logging.WARNING


def test_an_ambiguous_scene_whose_path_holds_a_line_break_is_still_one_log_line(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in ("one", "two"):
        world.plex.add_item(world.library, f"/elsewhere/{folder}/a\nb.mp4", size=100)
    scene = world.stash.add_scene(title="t", files=[("/data/a\nb.mp4", 100)])
    world.edit(scene, "Which one?")

    world.run()

    assert world.plex.writes == []
    assert [one.getMessage() for one in caplog.records if "\n" in one.getMessage()] == []


# --- not in Plex (yet)


def test_a_missing_file_is_looked_for_with_patience_then_a_dead_letter(world: World) -> None:
    scene, _ = world.pair("late", in_plex=False)
    fresh, _ = world.pair("fresh")
    world.edit(scene, "Late")
    world.edit(fresh, "Fresh")
    start = world.clock.now

    world.run_for(1)

    (job,) = world.jobs()
    assert world.title(fresh) == "Fresh"
    assert (job["retry_count"], job["last_error_type"]) == (1, "PlexNotFound")
    assert job["next_retry_at"] == pytest.approx(start + 30, abs=0.5)

    world.run_for(31)
    (job,) = world.jobs()
    assert job["retry_count"] == 2
    assert job["next_retry_at"] == pytest.approx(start + 90, abs=3)

    world.run_for(6000)
    (letter,) = world.letters()
    assert world.waiting() == 0
    assert (letter["error_type"], letter["retry_count"], letter["scene_id"]) == (
        "PlexNotFound",
        12,
        scene.id,
    )
    assert world.worker.health.plex.failures == 0, "it is about an item, not about the server"


def test_a_file_that_appears_while_its_job_waits_is_synced_at_the_next_attempt(
    world: World,
) -> None:
    scene, _ = world.pair("late", in_plex=False)
    world.edit(scene, "Late")
    world.run_for(20)
    world.plex.add_item(world.library, "/plex/late.mp4", size=100)

    world.run_for(200)

    assert world.title(scene) == "Late"
    assert world.waiting() == 0


def test_a_dead_letter_is_taken_up_again_when_its_file_appears_in_plex(world: World) -> None:
    scene, _ = world.pair("late", in_plex=False)
    never, _ = world.pair("never", in_plex=False)
    world.edit(scene, "Late")
    world.edit(never, "Never")
    world.run_for(6200)
    assert len(world.letters()) == 2
    world.plex.add_item(world.library, "/plex/late.mp4", size=100)

    world.run_for(890)  # shorter than the time after which an idle worker leaves

    assert world.title(scene) == "Late"
    assert [letter["scene_id"] for letter in world.letters()] == [never.id]
    assert world.waiting() == 0


def test_a_worker_that_starts_later_takes_dead_letters_up_too(world: World) -> None:
    scene, _ = world.pair("late", in_plex=False)
    world.edit(scene, "Late")
    world.run()
    assert len(world.letters()) == 1
    world.plex.add_item(world.library, "/plex/late.mp4", size=100)
    world.worker.close()
    world.use(world.make_worker())

    world.run()

    assert world.title(scene) == "Late"
    assert world.letters() == []


def test_the_dead_letters_of_a_scene_go_when_it_syncs(world: World) -> None:
    scene = ambiguous(world)
    other = world.stash.add_scene(title="o", files=[])
    world.edit(scene, "Which?")
    world.edit(other, "No file")
    world.run()
    assert len(world.letters()) == 2
    world.plex.remove_item(world.plex.items(world.library)[0].rating_key)
    world.clock.advance(120)

    world.edit(scene, "That one")
    world.run()

    assert [letter["scene_id"] for letter in world.letters()] == [other.id]
    assert world.plex.items(world.library)[0].title == "That one"


def test_dead_letters_older_than_the_setting_go_at_start(world: World) -> None:
    world.set(dlq_retention_days="3")
    world.edit(world.stash.add_scene(title="o", files=[]), "No file")
    world.run()
    assert len(world.letters()) == 1
    world.clock.advance(4 * 86_400)
    world.worker.close()
    world.use(world.make_worker())
    fine, _ = world.pair("fine")
    world.edit(fine, "Fine")

    world.run()

    assert world.letters() == []


# --- edits that follow one another


def test_edits_of_a_waiting_scene_are_one_job_with_the_newest_values(world: World) -> None:
    scene, _ = world.pair("a")
    world.edit(scene, "One")
    world.edit(scene, "Two", details="More")
    world.edit(scene, "Three")
    assert world.waiting() == 1

    world.run()

    assert world.title(scene) == "Three"
    assert world.item_of(scene).summary == "More"
    assert len(world.plex.writes) == 1


def on_first(world: World, fits: Callable[[object], bool], action: Callable[[], object]) -> None:
    """Do something once, in the moment in which a request has come in and is not answered yet."""
    left = [action]

    def when(request: object) -> bool:
        if left and fits(request):
            left.pop()()
        return False

    for simulator in (world.plex, world.stash):
        simulator.faults.add(Delay(0), when=when)


def is_read(request: object) -> bool:
    return b"PlexSyncScene" in getattr(request, "body", b"")


def is_write(request: object) -> bool:
    return getattr(request, "method", "") == "PUT"


@pytest.mark.parametrize("moment", [is_read, is_write], ids=["during the read", "during the write"])
def test_an_edit_made_while_its_scene_is_being_synced_ends_in_plex(
    world: World, moment: Callable[[object], bool]
) -> None:
    scene, _ = world.pair("a")
    world.edit(scene, "Second")
    on_first(world, moment, lambda: world.edit(scene, "Third", details="Newest"))

    world.run()

    assert world.title(scene) == "Third"
    assert world.item_of(scene).summary == "Newest"
    assert world.waiting() == 0


def test_an_edit_made_while_its_scene_fails_starts_again_at_once_with_the_newest_values(
    world: World,
) -> None:
    scene, _ = world.pair("late", in_plex=False)
    world.edit(scene, "First")
    world.run_for(400)
    (job,) = world.jobs()
    assert job["retry_count"] >= 3
    on_first(world, is_read, lambda: world.edit(scene, "Second"))
    world.plex.add_item(world.library, "/plex/late.mp4", size=100)
    world.edit(scene, "Between")

    world.run_for(5)

    assert world.title(scene) == "Second"
    assert world.waiting() == 0


def test_last_synced_at_is_the_moment_before_the_read(world: World) -> None:
    scene, _ = world.pair("a")
    # Long ago: of an edit in this very second Stash could not say whether another one followed.
    world.edit(scene, "New", updated_at=world.clock.now - 100)
    moments: list[float] = []

    def read() -> None:
        moments.append(world.clock.now)
        world.clock.advance(10)  # the read takes ten seconds, the write twenty more

    on_first(world, is_read, read)
    on_first(world, is_write, lambda: world.clock.advance(20))

    world.run()

    assert world.synced_at(scene) == pytest.approx(moments[0], abs=0.01)


def test_a_killed_workers_job_in_progress_is_done_again(world: World) -> None:
    scene, _ = world.pair("a")
    world.edit(scene, "New")
    assert world.queue.claim(world.clock.now) is not None
    world.manager.shutdown()
    world.manager = QueueManager(world.data_dir, auto_resume=True)
    world.queue = world.manager.get_queue()

    world.run()

    assert world.title(scene) == "New"


# --- the loop itself


def test_start_and_stop_work_in_a_daemon_thread(world: World) -> None:
    scene, _ = world.pair("a")
    world.edit(scene, "New")
    world.use(world.make_worker(env=Env()))
    worker = world.worker
    worker.start()
    worker.start()  # twice is once
    assert worker._thread is not None
    assert worker._thread.daemon
    deadline = time.monotonic() + 20
    while world.title(scene) != "New" and time.monotonic() < deadline:
        time.sleep(0.005)

    worker.stop()

    assert world.title(scene) == "New"
    assert not worker.running
    assert world.waiting() == 0


def test_an_idle_worker_leaves_after_the_idle_time(world: World) -> None:
    start = world.clock.now

    world.run()

    assert world.clock.now - start == pytest.approx(900, abs=31)


def test_drain_works_off_what_is_due_and_reports_progress(world: World) -> None:
    scenes = [world.pair(str(number))[0] for number in range(5)]
    for scene in scenes:
        world.edit(scene, f"New {scene.id}")
    seen: list[tuple[int, int]] = []

    assert world.worker.drain(lambda done, left: seen.append((done, left)))

    assert seen == [(1, 4), (2, 3), (3, 2), (4, 1), (5, 0)]
    assert all(world.title(scene) == f"New {scene.id}" for scene in scenes)


def test_a_bug_about_one_scene_stops_none_of_those_that_are_taken_with_it(world: World) -> None:
    class Buggy(FileIndex):
        def by_path(self, normal: str, section_ids: Iterable[int]) -> list[IndexedFile]:
            if "bad" in normal:
                raise ValueError("a bug")
            return super().by_path(normal, section_ids)

    scenes = {name: world.pair(name)[0] for name in ("first", "bad", "last")}
    world.use(world.make_worker(index=Buggy()))
    for name, scene in scenes.items():
        world.edit(scene, f"New {name}")
    world.run()

    assert (world.title(scenes["first"]), world.title(scenes["last"])) == ("New first", "New last")
    assert [letter["scene_id"] for letter in world.letters()] == [scenes["bad"].id]
    assert world.waiting() == 0
