"""A damaged value in the dead letters hides none of the others."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest

from queue.models import create_sync_job
from tasks.context import Context
from tasks.failed import show_failed
from tasks.report import report
from tasks.status import status
from tests.harness.in_process import WorkerHarness
from tests.harness.plugin import ENTRY
from tests.harness.size import some
from validation.errors import PermanentError
from worker.reporter import NullReporter
from worker.upgrade import open_history

COLUMNS = (
    *("scene_id", "job", "error_type", "error_message", "stack_trace", "details", "retry_count"),
    *("failed_at", "job_key", "enqueued_at"),
)
VALUES = ("CAST(x'ff00fe' AS TEXT)", "x'ff00fe'", "'{'", "'[1]'", "7", "1e300")
#: These stopped *Show failed*, *Report* or *Status*, or the start of a worker.
WORST = [
    ("error_type", VALUES[0]),
    ("stack_trace", VALUES[0]),
    ("error_message", VALUES[1]),
    ("details", VALUES[3]),
    ("failed_at", VALUES[2]),
    ("failed_at", VALUES[5]),
]
DAMAGE = WORST + some([(column, value) for column in COLUMNS for value in VALUES], 7)


class Refused(PermanentError):
    """An error with details, as that of an ambiguous scene."""

    details = {"candidates": [], "files": []}  # noqa: RUF012


@pytest.fixture
def context(harness: WorkerHarness) -> Context:
    """Put two letters, of which the first one is going to be damaged."""
    for scene_id in (1001, 1002):
        harness.dlq.add(create_sync_job(scene_id, "metadata", {}), Refused("no"), 0)
    return Context(
        str(harness.data_dir), str(ENTRY), harness.client, harness.redactor,
        lambda *_: None, lambda *_: None, environ={},
    )  # fmt: skip


def damage(harness: WorkerHarness, column: str, value: str) -> None:
    harness.dlq._connection.execute(f"UPDATE dead_letters SET {column} = {value} WHERE id = 1")


@pytest.mark.parametrize(("column", "value"), DAMAGE)
def test_all_are_shown_and_retried(
    harness: WorkerHarness, context: Context, column: str, value: str
) -> None:
    damage(harness, column, value)
    shown = show_failed(context, {})
    assert [one["scene_id"] for one in shown.data["failed"]][-2:].count(1002) == 1
    assert len(shown.lines) == 2
    json.dumps(shown.to_dict())
    json.dumps(status(context, {}).to_dict())
    for arguments in ({}, {"anonymous": True}):
        assert report(context, arguments).ok
    retried = harness.command("retry")["retried"]
    assert retried in (1, 2)
    assert harness.command("clear_failed")["dropped"] == 2 - retried


@pytest.mark.parametrize(("column", "value"), DAMAGE)
def test_a_worker_starts_on_the_letters_of_version_0_1(
    harness: WorkerHarness, context: Context, column: str, value: str
) -> None:
    """The history is begun with them."""
    damage(harness, column, value)
    with ExitStack() as stack:
        history = stack.enter_context(
            open_history(str(harness.data_dir), harness.dlq, NullReporter(), harness.clock)
        )
        assert history.of_scene(1002)
