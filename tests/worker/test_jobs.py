"""Whole jobs: read from Stash, written to Plex, recorded, and removed or dead-lettered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import pytest

from common.env import Env
from plex.client import PlexClient
from plex.index import FileIndex, IndexedFile
from queue.manager import QueueManager
from queue.operations import enqueue
from tests.harness.base import TOKEN
from tests.harness.in_process import WorkerHarness
from tests.harness.processes import wait_until
from tests.isolation import closed_url
from tests.simulators.httpd import Delay, Request
from tests.simulators.stash import Scene
from worker.processor import PermanentError, TransientError


def lines(caplog: pytest.LogCaptureFixture, *words: str) -> list[logging.LogRecord]:
    return [one for one in caplog.records if all(word in one.getMessage() for word in words)]


@pytest.fixture(autouse=True)
def _all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="plexsync")


def test_an_edit_reaches_plex_and_leaves_no_job(harness: WorkerHarness) -> None:
    scene, item = harness.pair(
        "a", details="About it", tags=["T"], performers=["P"], studio="S", date="2024-05-06"
    )
    assert item is not None
    harness.edit(scene, "New title")
    before = harness.clock.now

    harness.run()

    assert (item.title, item.summary, item.studio, item.year) == (
        "New title",
        "About it",
        "S",
        2024,
    )
    assert (item.genres, item.actors) == (["T"], ["P"])
    assert len(harness.plex.writes) == 1
    assert harness.waiting() == 0
    assert harness.letters() == []
    assert harness.notices() == []
    assert harness.synced_at(scene) == pytest.approx(before)


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_edited_while_scenes_are_read_counts_as_newer(
    harness: WorkerHarness, count: int
) -> None:
    """One scene is read alone, several in one query."""
    scenes = harness.edited(count)
    asked: list[float] = []

    def take_long(request: Request) -> bool:
        if b"findScene" in request.body:
            asked.append(harness.clock.now)
            harness.clock.advance(5)
        return False

    harness.stash.faults.add(Delay(0), when=take_long)
    harness.run_for(60)
    for scene in scenes:
        synced_at = harness.synced_at(scene)
        assert synced_at is not None
        assert synced_at <= asked[0]


def test_values_read_from_stash_replace_those_in_the_job(harness: WorkerHarness) -> None:
    scene, _ = harness.pair("a")
    harness.stash.change_silently(scene.id, title="As Stash has it")
    enqueue(
        harness.queue,
        scene.id,
        "metadata",
        {"title": "As the event said", "details": True, "date": "nonsense"},
    )

    harness.run()

    assert harness.title(scene) == "As Stash has it"
    assert harness.letters() == []


def test_a_job_of_a_deleted_scene_is_done_and_its_timestamp_forgotten(
    harness: WorkerHarness,
) -> None:
    scene, item = harness.pair("a")
    other, _ = harness.pair("b")
    harness.edit(scene, "First")
    harness.edit(other, "Other")
    harness.run()
    assert harness.synced_at(scene) is not None
    harness.edit(scene, "Second")
    harness.stash.destroy_scene(scene.id)
    written = len(harness.plex.writes)

    harness.run()

    assert harness.waiting() == 0
    assert harness.letters() == []
    assert harness.synced_at(scene) is None
    assert harness.synced_at(other) is not None
    assert item is not None
    assert item.title == "First"
    assert len(harness.plex.writes) == written


def test_without_a_stash_client_the_job_data_is_used(harness: WorkerHarness) -> None:
    item = harness.add_item("b", size=5)
    harness.asks_stash = False
    harness.new_worker(config=harness.config())
    data = {"path": "/data/b.mp4", "title": "Carried", "tags": ["One"], "details": "Text"}
    enqueue(harness.queue, 9, "metadata", data)

    harness.run()

    assert (item.title, item.summary, item.genres) == ("Carried", "Text", ["One"])
    assert harness.waiting() == 0
    assert harness.letters() == []


def test_without_a_stash_client_a_job_without_path_is_a_dead_letter_at_once(
    harness: WorkerHarness,
) -> None:
    harness.asks_stash = False
    harness.new_worker(config=harness.config())
    enqueue(harness.queue, 9, "metadata", {"title": "Where?"})

    harness.run()

    (letter,) = harness.letters()
    assert (letter["scene_id"], letter["retry_count"]) == (9, 0)
    assert "file" in letter["error_message"]
    assert harness.plex.writes == []


@pytest.mark.parametrize(
    "data", [{"title": ["no", "title"]}, {"date": "31st of May"}, {"rating100": 700}]
)
def test_invalid_metadata_are_a_dead_letter_at_once_and_nothing_is_written(
    harness: WorkerHarness, data: dict[str, object]
) -> None:
    harness.add_item("b", size=5)
    harness.asks_stash = False
    harness.new_worker(config=harness.config())
    enqueue(harness.queue, 9, "metadata", {"path": "/data/b.mp4", **data})

    harness.run()

    (letter,) = harness.letters()
    assert letter["retry_count"] == 0
    assert next(iter(data)) in letter["error_message"], "the text names the field"
    assert letter["job"]["data"]["path"] == "/data/b.mp4"
    assert "Traceback" in letter["stack_trace"]
    assert harness.plex.writes == []


def test_process_job_raises_the_errors_of_the_contract(harness: WorkerHarness) -> None:
    scene = harness.add_scene("a")
    worker = harness.new_worker(config=harness.config())
    with pytest.raises(TransientError):
        worker._process_job(enqueue(harness.queue, scene.id, "metadata", {}))
    no_file = harness.add_scene("b", files=[])
    with pytest.raises(PermanentError):
        worker._process_job(enqueue(harness.queue, no_file.id, "metadata", {}))


def test_a_plex_client_replaced_on_the_instance_is_what_syncing_uses(
    harness: WorkerHarness,
) -> None:
    scene, item = harness.pair("a")
    harness.new_worker(config=harness.config(plex_url=closed_url()))
    client = PlexClient(harness.plex.url, TOKEN)
    harness.worker._get_plex_client = lambda: client  # type: ignore[method-assign]
    try:
        harness.worker._process_job(enqueue(harness.queue, scene.id, "metadata", {}))
        assert item is not None
        assert item.title == scene.title

        harness.edit(scene, "Through the queue")
        harness.run()
        assert item.title == "Through the queue"
    finally:
        client.close()


def test_update_metadata_takes_a_plain_dict(harness: WorkerHarness) -> None:
    item = harness.add_item("b", size=5)
    worker = harness.new_worker(config=harness.config())
    plex_item = worker._get_plex_client().server.fetchItem(item.rating_key)

    worker._update_metadata(plex_item, {"scene_id": 4, "title": "By hand"})

    assert item.title == "By hand"
    with pytest.raises(PermanentError):
        worker._update_metadata(plex_item, {"title": 5})


# --- organized only


def test_an_unorganized_scene_is_synced_once_it_is_organized(harness: WorkerHarness) -> None:
    scene, item = harness.pair("a")
    assert item is not None
    harness.configure(only_organized=True)
    harness.edit(scene, "Not yet")
    harness.run()
    assert harness.plex.writes == []
    assert harness.waiting() == 0
    assert harness.letters() == []
    assert harness.synced_at(scene) is None, "it was not synced"

    harness.edit(scene, organized=True)
    harness.run()

    assert item.title == "Not yet"


# --- several candidates


def ambiguous(harness: WorkerHarness) -> Scene:
    for folder in ("one", "two"):
        harness.plex.add_item(
            harness.library, f"/elsewhere/{folder}/same.mp4", size=100, title=f"In {folder}"
        )
    return harness.add_scene("same", title="Which?")


def test_strict_matching_reports_the_candidates_of_an_ambiguous_scene(
    harness: WorkerHarness, caplog: pytest.LogCaptureFixture
) -> None:
    scene = ambiguous(harness)
    certain, _ = harness.pair("certain")
    harness.edit(scene, "Which one?")
    harness.edit(certain, "This one")

    harness.run()

    assert [write.rating_key for write in harness.plex.writes] == [
        harness.item_of(certain).rating_key
    ]
    (letter,) = harness.letters()
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
    assert [level for level, text in harness.notices() if "/elsewhere/two/same.mp4" in text] == [
        "warning"
    ]
    assert harness.synced_at(scene) is None


def test_loose_matching_writes_the_first_candidate_with_a_warning(
    harness: WorkerHarness, caplog: pytest.LogCaptureFixture
) -> None:
    scene = ambiguous(harness)
    harness.configure(strict_matching=False)
    harness.edit(scene, "The first")

    harness.run()

    assert [item.title for item in harness.plex.items(harness.library)] == ["The first", "In two"]
    assert harness.letters() == []
    (line,) = lines(
        caplog,
        "/elsewhere/one/same.mp4",
        "/elsewhere/two/same.mp4",
        "/data/same.mp4",
        str(scene.id),
    )
    assert line.levelno == logging.WARNING


def test_an_ambiguous_scene_whose_path_holds_a_line_break_is_still_one_log_line(
    harness: WorkerHarness, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in ("one", "two"):
        harness.plex.add_item(harness.library, f"/elsewhere/{folder}/a\nb.mp4", size=100)
    scene = harness.add_scene("a\nb", title="t")
    harness.edit(scene, "Which one?")

    harness.run()

    assert harness.plex.writes == []
    assert [one.getMessage() for one in caplog.records if "\n" in one.getMessage()] == []


# --- not in Plex (yet)


def test_a_missing_file_is_retried_then_becomes_a_dead_letter(
    harness: WorkerHarness,
) -> None:
    scene = harness.add_scene("late")
    fresh, _ = harness.pair("fresh")
    harness.edit(scene, "Late")
    harness.edit(fresh, "Fresh")
    start = harness.clock.now

    harness.run_for(1)

    (job,) = harness.jobs()
    assert harness.title(fresh) == "Fresh"
    assert (job["retry_count"], job["last_error_type"]) == (1, "PlexNotFound")
    assert job["next_retry_at"] == pytest.approx(start + 30, abs=0.5)

    harness.run_for(31)
    (job,) = harness.jobs()
    assert job["retry_count"] == 2
    assert job["next_retry_at"] == pytest.approx(start + 90, abs=3)

    harness.run_for(6000)
    (letter,) = harness.letters()
    assert harness.waiting() == 0
    assert (letter["error_type"], letter["retry_count"], letter["scene_id"]) == (
        "PlexNotFound",
        12,
        scene.id,
    )
    assert harness.worker.health.plex.failures == 0, "it is about an item, not about the server"


def test_a_file_that_appears_while_its_job_waits_is_synced_at_the_next_attempt(
    harness: WorkerHarness,
) -> None:
    scene = harness.add_scene("late")
    harness.edit(scene, "Late")
    harness.run_for(20)
    harness.add_item("late")

    harness.run_for(200)

    assert harness.title(scene) == "Late"
    assert harness.waiting() == 0


def test_a_dead_letter_is_requeued_when_its_file_appears_in_plex(
    harness: WorkerHarness,
) -> None:
    scene = harness.add_scene("late")
    never = harness.add_scene("never")
    harness.new_worker(compares=True)
    harness.edit(scene, "Late")
    harness.edit(never, "Never")
    harness.run_for(6200)
    assert len(harness.letters()) == 2
    harness.add_item("late")

    harness.run_for(890)

    assert harness.title(scene) == "Late"
    assert [letter["scene_id"] for letter in harness.letters()] == [never.id]
    assert harness.waiting() == 0


def test_a_worker_that_starts_later_requeues_dead_letters_too(harness: WorkerHarness) -> None:
    scene = harness.add_scene("late")
    harness.edit(scene, "Late")
    harness.run()
    assert len(harness.letters()) == 1
    harness.add_item("late")
    harness.restart()

    harness.run()

    assert harness.title(scene) == "Late"
    assert harness.letters() == []


def test_a_sync_deletes_the_dead_letters_of_the_scene(harness: WorkerHarness) -> None:
    scene = ambiguous(harness)
    other = harness.stash.add_scene(title="o", files=[])
    harness.edit(scene, "Which?")
    harness.edit(other, "No file")
    harness.run()
    assert len(harness.letters()) == 2
    harness.plex.remove_item(harness.plex.items(harness.library)[0].rating_key)
    harness.clock.advance(120)

    harness.edit(scene, "That one")
    harness.run()

    assert [letter["scene_id"] for letter in harness.letters()] == [other.id]
    assert harness.plex.items(harness.library)[0].title == "That one"


def test_dead_letters_older_than_the_setting_are_deleted_at_start(harness: WorkerHarness) -> None:
    harness.configure(dlq_retention_days="3")
    harness.edit(harness.stash.add_scene(title="o", files=[]), "No file")
    harness.run()
    assert len(harness.letters()) == 1
    harness.clock.advance(4 * 86_400)
    harness.new_worker()
    fine, _ = harness.pair("fine")
    harness.edit(fine, "Fine")

    harness.run()

    assert harness.letters() == []


# --- edits that follow one another


def test_edits_of_a_waiting_scene_are_one_job_with_the_newest_values(
    harness: WorkerHarness,
) -> None:
    scene, _ = harness.pair("a")
    harness.edit(scene, "One")
    harness.edit(scene, "Two", details="More")
    harness.edit(scene, "Three")
    assert harness.waiting() == 1

    harness.run()

    assert harness.title(scene) == "Three"
    assert harness.item_of(scene).summary == "More"
    assert len(harness.plex.writes) == 1


def on_first(
    harness: WorkerHarness, fits: Callable[[object], bool], action: Callable[[], object]
) -> None:
    """Run the action once, when a server has received a request and not responded yet."""
    left = [action]

    def when(request: object) -> bool:
        if left and fits(request):
            left.pop()()
        return False

    for simulator in (harness.plex, harness.stash):
        simulator.faults.add(Delay(0), when=when)


def is_read(request: object) -> bool:
    return b"PlexSyncScene" in getattr(request, "body", b"")


def is_write(request: object) -> bool:
    return getattr(request, "method", "") == "PUT"


@pytest.mark.parametrize("moment", [is_read, is_write], ids=["during the read", "during the write"])
def test_an_edit_made_during_a_sync_of_its_scene_reaches_plex(
    harness: WorkerHarness, moment: Callable[[object], bool]
) -> None:
    scene, _ = harness.pair("a")
    harness.edit(scene, "Second")
    on_first(harness, moment, lambda: harness.edit(scene, "Third", details="Newest"))

    harness.run()

    assert harness.title(scene) == "Third"
    assert harness.item_of(scene).summary == "Newest"
    assert harness.waiting() == 0


def test_an_edit_made_during_a_failing_sync_is_tried_at_once(
    harness: WorkerHarness,
) -> None:
    scene = harness.add_scene("late")
    harness.edit(scene, "First")
    harness.run_for(400)
    (job,) = harness.jobs()
    assert job["retry_count"] >= 3
    on_first(harness, is_read, lambda: harness.edit(scene, "Second"))
    harness.add_item("late")
    harness.edit(scene, "Between")

    harness.run_for(5)

    assert harness.title(scene) == "Second"
    assert harness.waiting() == 0


def test_last_synced_at_is_the_moment_before_the_read(harness: WorkerHarness) -> None:
    scene, _ = harness.pair("a")
    # Long ago: an edit in the current second would be rechecked.
    harness.edit(scene, "New", updated_at=harness.clock.now - 100)
    moments: list[float] = []

    def read() -> None:
        moments.append(harness.clock.now)
        harness.clock.advance(10)  # the read takes ten seconds, the write twenty more

    on_first(harness, is_read, read)
    on_first(harness, is_write, lambda: harness.clock.advance(20))

    harness.run()

    assert harness.synced_at(scene) == pytest.approx(moments[0], abs=0.01)


def test_a_killed_workers_job_in_progress_is_done_again(harness: WorkerHarness) -> None:
    scene, _ = harness.pair("a")
    harness.edit(scene, "New")
    assert harness.queue.claim(harness.clock.now) is not None
    harness.manager.shutdown()
    harness.manager = QueueManager(harness.data_dir, auto_resume=True)
    harness.queue = harness.manager.get_queue()

    harness.run()

    assert harness.title(scene) == "New"


# --- the loop itself


def test_start_and_stop_work_in_a_daemon_thread(harness: WorkerHarness) -> None:
    scene, _ = harness.pair("a")
    harness.edit(scene, "New")
    harness.new_worker(env=Env())
    worker = harness.worker
    worker.start()
    worker.start()  # a second start has no effect
    assert worker._thread is not None
    assert worker._thread.daemon
    wait_until(lambda: harness.title(scene) == "New", "the title in Plex")

    worker.stop(timeout=None)

    assert harness.title(scene) == "New"
    assert not worker.running
    assert harness.waiting() == 0


def test_an_idle_worker_exits_after_the_idle_timeout(harness: WorkerHarness) -> None:
    start = harness.clock.now

    harness.run()

    assert harness.clock.now - start == pytest.approx(900, abs=31)


def test_an_unexpected_error_affects_only_its_own_scene_of_a_batch(
    harness: WorkerHarness,
) -> None:
    class Buggy(FileIndex):
        def by_path(self, normal: str, section_ids: Iterable[int]) -> list[IndexedFile]:
            if "bad" in normal:
                raise ValueError("a bug")
            return super().by_path(normal, section_ids)

    scenes = {name: harness.pair(name)[0] for name in ("first", "bad", "last")}
    harness.new_worker(index=Buggy())
    for name, scene in scenes.items():
        harness.edit(scene, f"New {name}")
    harness.run()

    assert (harness.title(scenes["first"]), harness.title(scenes["last"])) == (
        "New first",
        "New last",
    )
    assert [letter["scene_id"] for letter in harness.letters()] == [scenes["bad"].id]
    assert harness.waiting() == 0
