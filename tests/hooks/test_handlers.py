"""Tests of `on_scene_update`: jobs written, merged and skipped."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from hooks.handlers import (
    is_scene_pending,
    mark_scene_pending,
    on_related_destroyed,
    on_related_update,
    on_scene_update,
    unmark_scene_pending,
)
from queue.inbox import Inbox
from queue.manager import QueueManager
from queue.models import create_sync_job
from queue.operations import ack_job, get_pending, get_stats, save_sync_timestamp
from tests.hooks.conftest import Rows

SCENE = 71
#: 1970-01-01T00:16:40Z
SYNCED_AT = 1000.0


@pytest.fixture(autouse=True)
def nothing_pending() -> None:
    unmark_scene_pending(SCENE)


def handle(inbox: Inbox, update: dict[str, Any], **more: Any) -> bool:
    return on_scene_update(SCENE, update, inbox, **more)


def test_a_related_object_counts_if_its_scenes_may_show_it(inbox: Inbox) -> None:
    for number, (kind, field) in enumerate(
        [
            ("Performer", "name"), ("Performer", "tag_ids"), ("Studio", "parent_id"),
            ("Tag", "parent_ids"), ("Tag", "child_ids"), ("Tag", "name"),
        ],
        1,
    ):  # fmt: skip
        event = f"{kind}.Update.Post"
        assert on_related_update(event, number, {"inputFields": ["id", field]}, inbox)
        assert not on_related_update(event, number, {"inputFields": ["id", "favorite"]}, inbox)
    assert on_related_update("Tag.Merge.Post", 9, {}, inbox)


@pytest.mark.parametrize("kind", ["performer", "studio", "tag", "group"])
def test_deleted_related_objects_of_a_kind_become_one_job(
    inbox: Inbox, jobs: Rows, kind: str
) -> None:
    """Stash does not tell which scenes had them, so all are compared once."""
    for _ in range(3):
        assert on_related_destroyed(f"{kind.capitalize()}.Destroy.Post", inbox)
    (job,) = jobs()
    assert (job["job_key"], job["update_type"], job["data"]) == (f"{kind}_deleted", kind, {})


def test_an_edit_becomes_a_job_with_the_contracts_keys(inbox: Inbox, jobs: Rows) -> None:
    before = time.time()
    assert handle(inbox, {"title": "T", "inputFields": ["title"]}) is True
    (job,) = jobs()
    assert before <= job.pop("enqueued_at") <= time.time()
    assert job == {
        "scene_id": SCENE,
        "update_type": "metadata",
        "data": {"title": "T"},
        "job_key": f"scene_{SCENE}",
    }


def test_an_edit_that_plex_does_not_show_leaves_no_job_and_no_mark(
    inbox: Inbox, data_dir: str, jobs: Rows
) -> None:
    assert (
        handle(inbox, {"play_count": 3, "inputFields": ["play_count"]}, data_dir=data_dir) is False
    )
    assert jobs() == []
    assert not is_scene_pending(SCENE)


def test_a_large_cover_takes_only_a_few_bytes_in_the_queue(
    inbox: Inbox, data_dir: str, jobs: Rows
) -> None:
    cover = "data:image/png;base64," + "iVBORw0K" * 650_000
    assert (
        handle(inbox, {"title": "T", "cover_image": cover, "inputFields": ["title", "cover_image"]})
        is True
    )
    (job,) = jobs()
    assert set(job["data"]) == {"title", "cover_image"}
    assert len(json.dumps(job)) < 1_000
    assert sum(os.path.getsize(file) for file in Path(data_dir, "queue").iterdir()) < 1_000_000


def test_a_second_edit_is_merged_into_the_waiting_job(inbox: Inbox, jobs: Rows) -> None:
    handle(inbox, {"title": "Old", "details": "D"})
    first = jobs()[0]["enqueued_at"]
    handle(inbox, {"title": "New", "rating100": None, "inputFields": ["title", "rating100"]})
    (job,) = jobs()
    assert job["data"] == {"title": "New", "details": "D", "rating100": None}
    assert job["enqueued_at"] == first


def test_an_edit_during_a_sync_is_a_new_job(inbox: Inbox, data_dir: str) -> None:
    handle(inbox, {"title": "Old"})
    manager = QueueManager(data_dir)
    try:
        job = get_pending(manager.get_queue())
        assert job is not None
        assert handle(inbox, {"title": "New"}) is True
        assert get_stats(data_dir)["pending"] == 1
        ack_job(manager.get_queue(), job)
        later = get_pending(manager.get_queue())
        assert later is not None
        assert later["data"] == {"title": "New"}
    finally:
        manager.shutdown()


def test_a_mark_never_keeps_an_edit_out_of_the_queue(inbox: Inbox, jobs: Rows) -> None:
    mark_scene_pending(SCENE)
    assert handle(inbox, {"title": "T"}) is True
    assert len(jobs()) == 1


def test_marks_are_set_by_an_edit_and_can_be_removed(inbox: Inbox) -> None:
    assert not is_scene_pending(SCENE)
    handle(inbox, {"title": "T"})
    assert is_scene_pending(SCENE)
    assert not is_scene_pending(SCENE + 1)
    unmark_scene_pending(SCENE)
    unmark_scene_pending(SCENE)
    assert not is_scene_pending(SCENE)


@pytest.mark.parametrize(
    "updated_at",
    [
        1000,
        1000.0,
        999.9,
        0,
        "1970-01-01T00:16:39Z",  # no fraction: its end counts, which is the moment of the sync
        "1970-01-01T00:16:40.000Z",
        "1970-01-01T01:16:40.0+01:00",
        "1969-12-31T19:16:39.999999999-05:00",
    ],
)
def test_an_update_that_was_synced_already_is_skipped(
    inbox: Inbox, data_dir: str, jobs: Rows, updated_at: float | str
) -> None:
    save_sync_timestamp(data_dir, SCENE, SYNCED_AT)
    assert handle(inbox, {"title": "T", "updated_at": updated_at}, data_dir=data_dir) is False
    assert (
        handle(inbox, {"title": "T", "updated_at": updated_at}, sync_timestamps={SCENE: SYNCED_AT})
        is False
    )
    assert jobs() == []
    assert not is_scene_pending(SCENE)


@pytest.mark.parametrize(
    "updated_at",
    [
        1000.001,
        1001,
        "1970-01-01T00:16:40Z",  # no fraction: it may be as late as the end of that second
        "1970-01-01T01:16:40+01:00",
        "1970-01-01T00:16:40.001Z",
        "2026-01-05T10:00:00+01:00",
        None,
    ],
)
def test_an_update_that_may_be_newer_is_queued(
    inbox: Inbox, data_dir: str, updated_at: float | str | None
) -> None:
    save_sync_timestamp(data_dir, SCENE, SYNCED_AT)
    assert handle(inbox, {"title": "T", "updated_at": updated_at}, data_dir=data_dir) is True


@pytest.mark.parametrize(
    "updated_at", ["", "yesterday", "1000", [], {}, [1], {"a": 1}, True, "2026-13-01T00:00:00Z"]
)
def test_an_unreadable_time_counts_as_now(inbox: Inbox, data_dir: str, updated_at: Any) -> None:
    save_sync_timestamp(data_dir, SCENE, SYNCED_AT)
    assert handle(inbox, {"title": "T", "updated_at": updated_at}, data_dir=data_dir) is True


def test_a_missing_time_counts_as_now(inbox: Inbox, data_dir: str) -> None:
    save_sync_timestamp(data_dir, SCENE, time.time() + 3600)
    assert handle(inbox, {"title": "T"}, data_dir=data_dir) is True


def test_another_scenes_sync_skips_nothing(inbox: Inbox) -> None:
    assert (
        handle(inbox, {"title": "T", "updated_at": 5}, sync_timestamps={SCENE + 1: SYNCED_AT})
        is True
    )


def test_without_timestamps_nothing_is_skipped(inbox: Inbox, data_dir: str) -> None:
    assert handle(inbox, {"title": "T", "updated_at": 5}) is True
    assert handle(inbox, {"title": "T", "updated_at": 5}, data_dir=data_dir) is True


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"71": "x"}', b"\xff\x00"])
def test_broken_timestamps_cost_a_sync_too_many_never_an_edit(
    inbox: Inbox, data_dir: str, content: bytes
) -> None:
    file = Path(data_dir, "sync_timestamps.json")
    file.write_bytes(content)
    assert handle(inbox, {"title": "T", "updated_at": 5}, data_dir=data_dir) is True
    assert file.read_bytes() == content


def test_without_queue_and_spool_it_is_an_error_and_no_mark(inbox: Inbox) -> None:
    inbox.put(create_sync_job(SCENE + 1, "metadata", {}))
    assert inbox._opened is not None
    inbox._opened[0].execute("PRAGMA query_only=1")
    Path(inbox._folder, "spool").write_text("", encoding="utf-8")
    with pytest.raises(OSError, match="spool"):
        handle(inbox, {"title": "T"})
    assert not is_scene_pending(SCENE)


@pytest.mark.parametrize(
    "title",
    ["\ud800 lone", "nul \x00 inside", "🎬 emoji", "\u202e right to left", "x" * 100_000, "\ufffe"],
)
def test_odd_text_is_queued(inbox: Inbox, jobs: Rows, title: str) -> None:
    assert handle(inbox, {"title": title}) is True
    assert len(jobs()) == 1


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 10**400, -0.0, 1e308])
def test_odd_numbers_are_queued(inbox: Inbox, jobs: Rows, value: float) -> None:
    assert handle(inbox, {"rating100": value}) is True
    assert len(jobs()) == 1


def test_a_deep_value_is_queued(inbox: Inbox, jobs: Rows) -> None:
    deep: Any = []
    for _ in range(900):
        deep = [deep]
    assert handle(inbox, {"title": "T", "tag_ids": deep}) is True
    assert len(jobs()) == 1
