"""Tests of the dead letters: content, one per job, redaction, retention, concurrency."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.redaction import Redactor
from queue.dlq import DeadLetterQueue
from queue.models import SyncJob, create_sync_job
from tests.harness.size import examples
from tests.queue.support import run_at_once

DAY = 86_400.0
TOKEN = "tok-1234567890abcdef"


class Clock:
    """A clock that only moves when a test sets it."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class AmbiguousError(Exception):
    """An error with details."""

    def __init__(self, text: str, details: Any) -> None:
        super().__init__(text)
        self.details = details


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def letters(data_dir: Path, clock: Clock) -> Iterator[DeadLetterQueue]:
    redactor = Redactor()
    redactor.add(TOKEN)
    with closing(DeadLetterQueue(data_dir, redact=redactor.redact, now=clock)) as opened:
        yield opened


def job(scene_id: int, **data: Any) -> SyncJob:
    return create_sync_job(scene_id, "metadata", data, now=float(scene_id))


def letter(letters: DeadLetterQueue, dlq_id: int) -> dict[str, Any]:
    found = letters.get_by_id(dlq_id)
    assert found is not None
    return found


def raised(error: Exception) -> Exception:
    """Return an error that went through a function called `raising_function`."""

    def raising_function() -> None:
        raise error

    try:
        raising_function()
    except type(error) as caught:
        return caught
    raise AssertionError


def test_no_text_in_a_dead_letter_is_longer_than_a_page(letters: DeadLetterQueue) -> None:
    long = "x" * 2_000_000
    error = AmbiguousError(long, [{"path": long}])
    lines = RuntimeError("\n".join(["y" * 10_000] * 1_000))
    for number, one in enumerate((error, lines)):
        found = letter(letters, letters.add(job(number, title=long), raised(one), 0))
        assert sum(map(len, map(str, found.values()))) < 70_000


def test_a_dead_letter_holds_the_whole_job_and_the_error(
    letters: DeadLetterQueue, clock: Clock, data_dir: Path
) -> None:
    failed: SyncJob = {
        **job(7, title="Ü"),
        "retry_count": 3,
        "last_error_type": "PlexNotFound",
        "pqid": 12,
    }
    dlq_id = letters.add(
        failed, raised(AmbiguousError("two fit", [{"path": "/a"}, {"path": "/b"}])), 3
    )
    with closing(DeadLetterQueue(data_dir)) as reopened:
        found = letter(reopened, dlq_id)
    assert found["job"] == {
        **job(7, title="Ü"),
        "retry_count": 3,
        "last_error_type": "PlexNotFound",
    }
    assert (found["scene_id"], found["error_type"], found["error_message"]) == (
        7,
        "AmbiguousError",
        "two fit",
    )
    assert "raising_function" in found["stack_trace"]
    assert "AmbiguousError: two fit" in found["stack_trace"]
    assert found["details"] == [{"path": "/a"}, {"path": "/b"}]
    assert (found["retry_count"], found["failed_at"]) == (3, clock.now)


def test_a_letter_keeps_little_of_a_huge_foreign_message(letters: DeadLetterQueue) -> None:
    body = "x" * 2_000_000
    try:
        try:
            raise ValueError(f"500: {body}")
        except ValueError as error:
            raise RuntimeError(f"Plex answered {body}") from error
    except RuntimeError as error:
        found = letter(letters, letters.add(job(7), error, 0))
    assert len(json.dumps(found)) < 20_000
    assert "500: xxx" in found["stack_trace"]
    assert found["error_message"].startswith("Plex answered xxx")


def test_the_stack_trace_includes_the_cause(letters: DeadLetterQueue) -> None:
    try:
        try:
            raise KeyError("the cause")
        except KeyError as cause:
            raise ValueError("the end") from cause
    except ValueError as error:
        found = letter(letters, letters.add(job(1), error, 0))
    assert "the cause" in found["stack_trace"]


def test_an_error_that_was_never_raised_can_be_stored(letters: DeadLetterQueue) -> None:
    assert letter(letters, letters.add(job(1), ValueError(), 0))["error_type"] == "ValueError"


def test_the_same_job_twice_is_one_letter_with_the_latest_error(
    letters: DeadLetterQueue, clock: Clock
) -> None:
    letters.add(job(1), ValueError("first"), 1)
    clock.now += 5
    dlq_id = letters.add(job(1), KeyError("second"), 2)
    assert letters.get_count() == 1
    found = letter(letters, dlq_id)
    assert (found["error_type"], found["retry_count"], found["failed_at"]) == (
        "KeyError",
        2,
        clock.now,
    )


def test_a_later_job_of_the_scene_is_a_letter_of_its_own(letters: DeadLetterQueue) -> None:
    letters.add(job(1), ValueError(), 0)
    letters.add({**job(1), "enqueued_at": 99.0}, ValueError(), 0)
    assert letters.get_count() == 2


def test_the_newest_letters_come_first_up_to_the_limit(
    letters: DeadLetterQueue, clock: Clock
) -> None:
    for scene in range(15):
        clock.now += 1
        letters.add(job(scene), ValueError(), 0)
    assert [found["scene_id"] for found in letters.get_recent()] == list(range(14, 4, -1))
    assert [found["scene_id"] for found in letters.get_recent(limit=2)] == [14, 13]
    assert len(letters.get_recent(100)) == letters.get_count() == 15


def test_letters_of_one_moment_are_ordered_by_id(letters: DeadLetterQueue) -> None:
    for scene in range(3):
        letters.add(job(scene), ValueError(), 0)
    assert [found["scene_id"] for found in letters.get_recent()] == [2, 1, 0]


def test_an_unknown_letter_is_none_and_an_empty_queue_is_empty(letters: DeadLetterQueue) -> None:
    assert letters.get_by_id(1) is None
    assert letters.get_recent() == []
    assert letters.get_count() == 0
    assert letters.delete_older_than() == 0


@pytest.mark.parametrize(("days", "left"), [(30, 2), (29, 1), (31, 3), (1, 1), (365, 3)])
def test_letters_older_than_the_retention_are_deleted(
    letters: DeadLetterQueue, clock: Clock, days: int, left: int
) -> None:
    for age in (30 * DAY + 1, 30 * DAY, 0):
        moment = Clock()
        moment.now = clock.now - age
        letters._now = moment
        letters.add(job(int(age)), ValueError(), 0)
    letters._now = clock
    assert letters.delete_older_than(days=days) == 3 - left
    assert letters.get_count() == left


def test_thirty_days_are_the_default(letters: DeadLetterQueue, clock: Clock) -> None:
    letters.add(job(1), ValueError(), 0)
    clock.now += 30 * DAY
    assert letters.delete_older_than() == 0
    clock.now += 1
    assert letters.delete_older_than() == 1


def test_ids_are_never_reused(letters: DeadLetterQueue, clock: Clock) -> None:
    first = letters.add(job(1), ValueError(), 0)
    clock.now += 40 * DAY
    letters.delete_older_than()
    assert letters.add(job(2), ValueError(), 0) > first


def test_only_one_scenes_letters_are_deleted(letters: DeadLetterQueue) -> None:
    letters.add(job(1), ValueError(), 0)
    letters.add({**job(1), "enqueued_at": 9.0}, ValueError(), 0)
    letters.add(job(11), ValueError(), 0)
    assert letters.delete_scene(1) == 2
    assert letters.delete_scene(1) == 0
    assert [found["scene_id"] for found in letters.get_recent()] == [11]


def test_letters_are_counted_and_found_by_error(letters: DeadLetterQueue) -> None:
    for scene, error in enumerate([ValueError("a"), KeyError("b"), ValueError("c")]):
        letters.add(job(scene), error, 0)
    assert letters.count_by_error() == {"ValueError": 2, "KeyError": 1}
    assert [found["scene_id"] for found in letters.get_by_error("ValueError")] == [0, 2]


# --- secrets --------------------------------------------------------------------------------------


def test_the_database_never_contains_a_secret(letters: DeadLetterQueue, data_dir: Path) -> None:
    error = raised(
        AmbiguousError(f"GET http://plex/?X-Plex-Token={TOKEN}", {"url": f"http://plex/{TOKEN}"})
    )
    letters.add(job(1, title=f"a {TOKEN} b", **{TOKEN: 1}), error, 0)
    letters.close()
    for file in data_dir.glob("dlq.db*"):
        assert TOKEN.encode() not in file.read_bytes(), file.name


@pytest.mark.parametrize(
    "secret", ['quo"te-secret', "back\\slash-secret", "ümläut-sécret", "with/slash and space"]
)
def test_a_secret_that_json_escapes_is_redacted_too(data_dir: Path, secret: str) -> None:
    redactor = Redactor()
    redactor.add(secret)
    with closing(DeadLetterQueue(data_dir, redact=redactor.redact)) as letters:
        found = letter(
            letters, letters.add(job(1, title=f"a {secret} b"), AmbiguousError(secret, [secret]), 0)
        )
    assert secret not in json.dumps(found, ensure_ascii=False).replace('\\"', '"').replace(
        "\\\\", "\\"
    )


TITLES = [
    'The session: "Live"',
    "session: 日本語日本語日本語",
    'cookie="x"',
    "api_key=\\",
    'session="',
    "cookie: \\\\",
    "a;b,}c",
]


@pytest.mark.parametrize("title", TITLES)
def test_a_title_that_looks_like_a_secret_leaves_the_letter_readable(
    letters: DeadLetterQueue, title: str
) -> None:
    error = AmbiguousError(title, {"candidates": [title], "session": 5, "cookie": None})
    letters.add(job(1, title=title, session=5, cookie=None, api_key=True), error, 0)
    letters.add(job(2, title="fine"), ValueError(), 0)
    assert [found["scene_id"] for found in letters.get_recent()] == [2, 1]


@pytest.mark.parametrize(
    "title", ['The session: "Live"', "Cookie: the Movie", "session: 日本語", "The Session"]
)
def test_an_innocent_title_is_kept_word_for_word(letters: DeadLetterQueue, title: str) -> None:
    assert letter(letters, letters.add(job(1, title=title), ValueError(), 0))["job"] == job(
        1, title=title
    )


@settings(max_examples=examples(60), suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(
        st.sampled_from(["title", "session", "cookie", "api_key", "plex_token"]),
        st.text() | st.integers() | st.none() | st.lists(st.text(), max_size=2),
    )
)
def test_any_job_can_be_read_back_from_its_letter(
    letters: DeadLetterQueue, data: dict[str, Any]
) -> None:
    found = letter(letters, letters.add(job(1, **data), ValueError(), 0))
    assert found["job"]["data"].keys() == data.keys()


# --- concurrency ----------------------------------------------------------------------------------


def test_threads_may_add_and_read_at_once(letters: DeadLetterQueue) -> None:
    def add(first: int) -> None:
        for scene in range(first, first + 10):
            letters.add(job(scene), ValueError(), 0)
            letters.get_recent()

    threads = [threading.Thread(target=add, args=(10 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {found["scene_id"] for found in letters.get_recent(100)} == set(range(40))


def test_processes_may_open_a_new_file_and_add_at_once(data_dir: Path) -> None:
    code = (
        "import sys\n"
        "from queue.dlq import DeadLetterQueue\n"
        "from queue.models import create_sync_job as new\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "letters, me = DeadLetterQueue(sys.argv[1]), int(sys.argv[2])\n"
        "for n in range(10):\n"
        "    letters.add(new(me * 10 + n, 'metadata', {}), ValueError(), 0)\n"
        "    letters.add(new(1000, 'metadata', {}, now=1.0), ValueError(), me)\n"
    )
    run_at_once([("-c", code, str(data_dir), str(me)) for me in range(6)])
    with closing(DeadLetterQueue(data_dir)) as letters:
        assert sorted(found["scene_id"] for found in letters.get_recent(100)) == [*range(60), 1000]


def test_one_unreadable_row_does_not_hide_the_others(
    letters: DeadLetterQueue, data_dir: Path
) -> None:
    bad = letters.add(job(1), ValueError(), 0)
    letters.add(job(2), ValueError(), 0)
    with closing(sqlite3.connect(data_dir / "dlq.db")) as connection, connection:
        connection.execute("UPDATE dead_letters SET job = '{\"half' WHERE id = ?", (bad,))
    assert 2 in [found["scene_id"] for found in letters.get_recent()]


@pytest.mark.skipif(os.name != "posix", reason="file modes and links are POSIX's")
def test_a_planted_link_is_not_followed(data_dir: Path, tmp_path: Path) -> None:
    data_dir.mkdir()
    (data_dir / "dlq.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="link"):
        DeadLetterQueue(data_dir)
    assert not (tmp_path / "elsewhere").exists()
