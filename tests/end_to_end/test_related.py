"""Renames, merged tags and new scenes: changes in Plex without a save of a scene."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from queue.inbox import Inbox
from queue.models import create_related_job
from tests.entry.test_hook_process import HEAVY, LIGHTER, modules_of_a_hook
from tests.harness.installation import ProcessHarness
from tests.harness.plugin import run
from tests.harness.processes import wait_until
from tests.harness.results import queued
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene
from tests.simulators.stash.events import (
    HookContext,
    destroyed,
    encode,
    group_events,
    hook_input,
    performer_update,
    scene_create,
    scene_destroy,
    studio_update,
    tag_update,
    tags_merge,
)
from tests.tasks import run_task
from worker.process import WorkerLock

#: kind → (field of the scene, reader of the item's values in Plex)
KINDS: dict[str, tuple[str, Callable[[PlexItem], object], object]] = {
    "performer": ("performers", lambda item: item.actors, ["New"]),
    "studio": ("studio", lambda item: item.studio, "New"),
    "tag": ("tags", lambda item: item.genres, ["New"]),
    "group": ("groups", lambda item: item.collections, ["New"]),
}


def add_scene_with(
    harness: ProcessHarness, kind: str, name: str, value: str = "Old"
) -> tuple[Scene, PlexItem]:
    field = KINDS[kind][0]
    return harness.pair(
        name, **{field: value if field == "studio" else [value]}, updated_at=time.time() - 90_000
    )


def synced(harness: ProcessHarness, pairs: list[tuple[Scene, PlexItem]]) -> None:
    for scene, item in pairs:
        harness.save(scene, title=f"Saved {scene.id}")
        harness.wait_for_title(item, f"Saved {scene.id}")
    harness.wait_for_empty_queue()


def mutate(
    harness: ProcessHarness, mutation: str, type_name: str, **input_: Any
) -> list[dict[str, Any]]:
    """Send a mutation as Stash's own page does; return the output of PlexSync's hooks."""
    before = len(harness.stash.plugins.runs())
    harness.stash.graphql(
        f"mutation M($input: {type_name}!) {{ {mutation}(input: $input) {{ id }} }}",
        {"input": input_},
    )
    return [json.loads(hook.stdout)["output"] for hook in harness.stash.plugins.runs()[before:]]


# --- renames


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_name_reaches_all_synced_scenes_and_no_other(
    harness: ProcessHarness, kind: str
) -> None:
    _, shown, new = KINDS[kind]
    pairs = [add_scene_with(harness, kind, f"synced{number}") for number in range(4)]
    never, never_item = add_scene_with(harness, kind, "never")
    synced(harness, pairs)
    _, without_item = without = harness.pair("without")
    synced(harness, [without])
    writes = len(harness.plex.writes)
    entity = {"performer": harness.stash.rename_performer, "studio": harness.stash.rename_studio}
    rename = (
        entity.get(kind)
        or {"tag": harness.stash.rename_tag, "group": harness.stash.rename_group}[kind]
    )
    runs = rename("Old", "New").hooks
    assert [(run.error, run.output["queued"]) for run in runs] == [(None, True)], (
        "one hook, even where events come twice"
    )
    wait_until(
        lambda: all(shown(item) == new for _, item in pairs),
        lambda: f"{[shown(item) for _, item in pairs]}; {harness.worker_log()[-1500:]}",
    )
    harness.wait_for_empty_queue()
    assert never_item.title == "never", f"scene {never.id} was never synced"
    written = [write.rating_key for write in harness.plex.writes[writes:]]
    if kind == "group":  # its collection is renamed, and no item is written
        assert (written, len(harness.plex.collection_writes)) == ([], 1)
    else:
        assert sorted(written) == sorted(item.rating_key for _, item in pairs)
    assert without_item.title.startswith("Saved")


@pytest.mark.parametrize(
    ("mutation", "type_name", "change"),
    [
        ("performerUpdate", "PerformerUpdateInput", {"details": "Text", "favorite": True}),
        ("studioUpdate", "StudioUpdateInput", {"details": "Text"}),
        ("tagUpdate", "TagUpdateInput", {"description": "Text"}),
        ("groupUpdate", "GroupUpdateInput", {"synopsis": "Text"}),
    ],
)
def test_an_update_without_a_new_name_queues_nothing(
    harness: ProcessHarness, mutation: str, type_name: str, change: dict[str, Any]
) -> None:
    for add in (
        harness.stash.add_performer,
        harness.stash.add_studio,
        harness.stash.add_tag,
        harness.stash.add_group,
    ):
        add("Old")
    answers = mutate(harness, mutation, type_name, id="1", **change)
    assert [answer["queued"] for answer in answers] == [False]
    assert queued(harness.data_dir) == []
    assert harness.workers() == []


def test_renames_while_plex_is_down_arrive_when_it_is_back(harness: ProcessHarness) -> None:
    pair = add_scene_with(harness, "performer", "a")
    synced(harness, [pair])
    harness.plex.stop()
    harness.stash.rename_performer("Old", "Between")
    harness.stash.rename_performer("Between", "New")
    wait_until(lambda: "Plex" in harness.worker_log().rpartition("changed; ")[2])
    harness.plex.start()
    wait_until(lambda: pair[1].actors == ["New"])
    harness.wait_for_empty_queue()
    assert not harness.letters()


def test_a_rename_without_scenes_sends_no_request_to_plex(harness: ProcessHarness) -> None:
    harness.stash.add_tag("Old")
    harness.stash.rename_tag("Old", "New")
    wait_until(lambda: "its scenes are compared" in harness.worker_log())
    harness.wait_for_empty_queue()
    assert harness.plex.writes == []


def test_a_renamed_object_that_was_deleted_meanwhile_is_skipped(harness: ProcessHarness) -> None:
    with closing(Inbox(str(harness.data_dir), lock_timeout=240)) as inbox:
        for kind in KINDS:
            inbox.put(create_related_job(kind, 4711))
    done = run_task(harness, "Process queue now")
    assert done.level == "info"
    assert queued(harness.data_dir) == []
    assert not harness.letters()


def test_renames_that_fail_are_kept_one_by_one(harness: ProcessHarness) -> None:
    with closing(Inbox(str(harness.data_dir), lock_timeout=240)) as inbox:
        for kind in KINDS:
            inbox.put({**create_related_job(kind, 5), "data": {"id": "of another version"}})
    run_task(harness, "Process queue now")
    assert sorted(letter["job"]["job_key"] for letter in harness.letters()) == [
        f"{kind}_5" for kind in sorted(KINDS)
    ]
    shown = run_task(harness, "Show failed and ambiguous")
    assert not any("scene 0" in text for text in shown.texts), "there is no scene 0"


# --- merges


def test_scenes_of_a_merged_tag_show_its_new_name(harness: ProcessHarness) -> None:
    source, target = harness.stash.add_tag("Source"), harness.stash.add_tag("Target")
    pairs = [harness.pair(f"file{number}", tags=["Source"]) for number in range(3)]
    synced(harness, pairs)
    assert [item.genres for _, item in pairs] == [["Source"]] * 3
    answers = mutate(
        harness, "tagsMerge", "TagsMergeInput", source=[str(source)], destination=str(target)
    )
    assert [answer["queued"] for answer in answers] == [True]
    wait_until(
        lambda: all(item.genres == ["Target"] for _, item in pairs),
        lambda: [item.genres for _, item in pairs],
    )


def test_a_merged_scene_never_writes_its_title_to_the_sources_item(harness: ProcessHarness) -> None:
    """Stash fires no hook for a merge. The target has both files, and Plex has an item for each."""
    (target, target_item), (source, source_item) = pairs = harness.pairs(2)
    synced(harness, pairs)
    merge = "mutation M($input: SceneMergeInput!) { sceneMerge(input: $input) { id } }"
    values = {"id": str(target.id), "title": "Merged"}
    harness.stash.graphql(
        merge,
        {"input": {"source": [str(source.id)], "destination": str(target.id), "values": values}},
    )
    run_task(harness, "Sync recent scenes")
    assert source_item.title == f"Saved {source.id}"
    if target_item.title != "Merged":  # a sync reports it as ambiguous, so that the user can choose
        shown = run_task(harness, "Show failed and ambiguous")
        assert [one["scene_id"] for one in shown.output["failed"]] == [target.id]
        run_task(harness, "Re-sync scene", scene_id=target.id, rating_key=target_item.rating_key)
    assert (target_item.title, source_item.title) == ("Merged", f"Saved {source.id}")


# --- new scenes


def test_a_scene_created_with_metadata_is_synced(harness: ProcessHarness) -> None:
    item = harness.add_item("new", size=7)
    _, result = harness.stash.scan_create(title="Created", files=[("/data/new.mp4", 7)])
    assert [hook.output["queued"] for hook in result.hooks] == [True]
    harness.wait_for_title(item, "Created")


def test_an_empty_scene_of_a_scan_leaves_plex_alone_until_it_is_saved(
    harness: ProcessHarness,
) -> None:
    item = harness.add_item("new", size=7, title="By hand in Plex")
    scene, _ = harness.stash.scan_create(files=[("/data/new.mp4", 7)])
    wait_until(lambda: "without any metadata yet" in harness.worker_log())
    harness.wait_for_empty_queue()
    assert (item.title, harness.plex.writes) == ("By hand in Plex", [])
    harness.save(scene, details="Text")
    wait_until(lambda: item.summary == "Text")


def test_an_empty_scene_that_is_saved_before_its_job_runs_is_synced(
    harness: ProcessHarness,
) -> None:
    item = harness.add_item("new", size=7)
    harness.configure(enabled=False)
    scene, _ = harness.stash.scan_create(files=[("/data/new.mp4", 7)])
    harness.save(scene, title="Saved")
    harness.wait_for_exit()
    harness.configure()
    run_task(harness, "Process queue now")
    harness.wait_for_title(item, "Saved")


def test_a_quick_pass_does_not_sync_empty_scenes(
    make_harness: Callable[..., ProcessHarness],
) -> None:
    """The worker looks for missed edits every few minutes; here several times a second."""
    harness = make_harness(env={"PLEXSYNC_TIME_SCALE": "0.0003"})
    synced(harness, [harness.pair("first")])
    looks = harness.stash.log.count()
    item = harness.add_item("new", size=7, title="By hand in Plex")
    harness.stash.scan_create(files=[("/data/new.mp4", 7)])
    wait_until(lambda: "without any metadata yet" in harness.worker_log())

    def asked() -> int:
        requests = [exchange.request for exchange in harness.stash.log.all()[looks:]]
        return sum(b"PlexSyncLatest" in request.body for request in requests)

    before = asked()
    wait_until(lambda: asked() >= before + 3, "quick passes")
    harness.wait_for_empty_queue()
    assert item.title == "By hand in Plex", harness.worker_log()[-800:]


# --- the cost of these hooks


EVENTS: dict[str, HookContext] = {
    "performer": performer_update({"id": "7", "name": "N"}),
    "studio": studio_update({"id": "7", "name": "N"}),
    "tag": tag_update({"id": "7", "name": "N"}),
    "merge": tags_merge(["1"], "7"),
    "group": group_events("Update", 7, {"id": "7", "name": "N"}, ("id", "name"))[0],
    "create": scene_create(7),
    "destroy": scene_destroy({"id": "7"}, 7),
    "destroyed tag": destroyed("Tag", 7, {"id": "7"}),
    "destroyed group": destroyed("Group", 7, ["7", "8"]),
}


@pytest.fixture
def busy(tmp_path: Path) -> Any:
    """Return a data directory with a held lock, so that every hook finds a running worker."""
    folder = tmp_path / "busy"
    folder.mkdir(mode=0o700)
    lock = WorkerLock(str(folder))
    assert lock.acquire()
    yield folder
    lock.release()


@pytest.mark.parametrize("event", EVENTS)
def test_these_hooks_load_few_modules(busy: Path, tmp_path: Path, event: str) -> None:
    loaded = modules_of_a_hook(encode(hook_input(EVENTS[event])), busy, tmp_path)
    assert loaded & {*HEAVY, *LIGHTER} == set()
    (job,) = queued(busy)
    assert len(json.dumps(job)) < 250, "a small job"


@pytest.mark.parametrize("object_id", [0, -1, None, "7", True, 2**63, 1.5])
@pytest.mark.parametrize("kind", ["Tag.Update.Post", "Scene.Create.Post"])
def test_an_event_without_an_id_is_reported_in_one_line(
    busy: Path, kind: str, object_id: object
) -> None:
    context = {"type": kind, "id": object_id, "input": {"name": "N"}}
    answer = run(json.dumps({"args": {"hookContext": context}}).encode(), busy)
    assert "id" in answer.error
    assert queued(busy) == []


def test_the_same_rename_many_times_is_one_job(busy: Path) -> None:
    for name in ("A", "B", "C"):
        run(encode(hook_input(tag_update({"id": "7", "name": name}))), busy)
    run(encode(hook_input(tags_merge(["1"], "7"))), busy)
    (job,) = queued(busy)
    assert (job["job_key"], job["update_type"], job["data"]) == ("tag_7", "tag", {"id": 7})
