"""A row of the queue that can't be read is set aside; the other edits go on."""

from __future__ import annotations

import pytest

from tests.harness.installation import ProcessHarness
from tests.harness.processes import wait_until
from tests.harness.results import jobs_left, queued
from tests.harness.size import some
from tests.robust.support import (
    damage_row,
    no_worker,
    prime,
    run_sql,
    said,
    wait_for_titles,
    wait_until_said,
    waiting_edits,
)

BAD_ROWS = {
    "a flipped bit": b'{"scene_id":1,"update_type"*"metadata"}',
    "no JSON": b"garbage",
    "not UTF-8": b'{"scene_id":1,"update_type":"\xff"}',
    "a list": b"[1,2,3]",
    "a number": b"7",
    "null": b"null",
    "no scene": b'{"update_type":"metadata","data":{},"enqueued_at":1,"job_key":"scene_1"}',
    "no key": b'{"scene_id":1,"update_type":"metadata","data":{},"enqueued_at":1}',
    "a scene that is text": (
        b'{"scene_id":"1","update_type":"metadata","data":{},"enqueued_at":1,"job_key":"scene_1"}'
    ),
    "data that is a list": (
        b'{"scene_id":1,"update_type":"metadata","data":[],"enqueued_at":1,"job_key":"scene_1"}'
    ),
    "pickled": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94K\x01s.",
}


@pytest.mark.parametrize("kind", some(BAD_ROWS, 4))
def test_the_other_edits_go_on_and_the_scene_is_compared(
    harness: ProcessHarness, kind: str
) -> None:
    prime(harness)
    with no_worker(harness):
        pairs = waiting_edits(harness, 4)
        damage_row(harness, pairs[1][0], BAD_ROWS[kind])
        damage_row(harness, pairs[2][0], BAD_ROWS[kind])
    pairs.append(harness.pair("last"))
    harness.save(pairs[-1][0], "Last")
    wait_for_titles(harness, pairs)  # those of the two rows too: the next pass finds them
    wait_until_said(harness, "could not be read")
    assert said(harness, "could not be read") == 1
    file = harness.data_dir / "queue" / "data.db"
    assert run_sql(file, "SELECT count(*) FROM quarantined_jobs") == [(2,)]
    wait_until(lambda: not jobs_left(harness.data_dir), "an empty queue")


def test_a_row_that_breaks_under_a_living_worker(harness: ProcessHarness) -> None:
    scene, item = harness.pair("first")
    harness.save(scene, "First")
    harness.wait_for_title(item, "First")
    first = harness.worker
    file = harness.data_dir / "queue" / "data.db"
    run_sql(
        file,
        "INSERT INTO ack_queue_default (data, timestamp, status) VALUES (?, 1, 0)",
        b"[1]",
    )
    harness.save(scene, "Second")
    harness.wait_for_title(item, "Second")
    wait_until(
        lambda: run_sql(file, "SELECT reason FROM quarantined_jobs") == [("it is a list",)],
        "the row is set aside",
    )
    assert harness.worker == first


def test_an_edit_of_the_scene_whose_row_is_damaged_is_queued(harness: ProcessHarness) -> None:
    """The index still names the row, so the hook reads it."""
    prime(harness)
    with no_worker(harness):
        pairs = waiting_edits(harness, 2)
        damage_row(harness, pairs[0][0], b"garbage")
        harness.save(pairs[0][0], "Once more")
    last, item = harness.pair("last")
    harness.save(last, "Last")
    harness.wait_for_title(item, "Last")
    wait_for_titles(harness, pairs)


def test_one_bad_row_does_not_stop_the_salvage_of_a_damaged_database(
    harness: ProcessHarness,
) -> None:
    """Read forwards and backwards, rows between two bad ones were lost."""
    prime(harness)
    with no_worker(harness):
        pairs = waiting_edits(harness, 5)
        damage_row(harness, pairs[1][0], b"garbage")
        damage_row(harness, pairs[3][0], b"[]")
        folder = harness.data_dir / "queue"
        (folder / "data.db").rename(folder / "data.db.broken-20260101-000000")
        for side in ("-wal", "-shm"):
            (folder / f"data.db{side}").unlink(missing_ok=True)
    scene = harness.pair("last")[0]
    harness.plex.stop()
    harness.save(scene, "Last")
    wait_until(lambda: list(folder.glob("*.carried")), "the salvage")
    wait_until(
        lambda: (
            {job["scene_id"] for job in queued(harness.data_dir)}
            >= {pairs[0][0].id, pairs[2][0].id, pairs[4][0].id}
        ),
        "the readable jobs",
    )
    harness.plex.start()
    wait_for_titles(harness, pairs)
