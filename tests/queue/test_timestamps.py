"""Tests of the sync timestamps: saving, cost, broken files, concurrency, `is_synced`."""

from __future__ import annotations

import json
import os
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from queue.operations import load_sync_timestamps, save_sync_timestamp
from queue.timestamps import (
    FILE,
    JOURNAL,
    LazyTimestamps,
    is_synced,
    parse_time,
    save_sync_timestamps,
)
from tests.harness.size import examples
from tests.queue.support import run_at_once, run_python

NEVER_RAISES = settings(max_examples=examples(80), suppress_health_check=list(HealthCheck))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def write_many(folder: Path, count: int) -> dict[int, float]:
    stored = {scene: 1_700_000_000.25 + scene for scene in range(count)}
    (folder / FILE).write_text(
        json.dumps({str(scene): moment for scene, moment in stored.items()}), encoding="utf-8"
    )
    return stored


# --- saving and loading ---------------------------------------------------------------------------


def test_loading_without_a_file_is_empty_and_creates_none(folder: Path) -> None:
    assert load_sync_timestamps(folder) == {}
    assert load_sync_timestamps(folder / "missing") == {}
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", [str, Path])
def test_saved_timestamps_are_loaded(folder: Path, kind: type[Any]) -> None:
    save_sync_timestamp(kind(folder), 5, 1_700_000_000.123456)
    save_sync_timestamp(kind(folder), 6, 7)
    assert load_sync_timestamps(kind(folder)) == {5: 1_700_000_000.123456, 6: 7.0}
    assert all(
        type(scene) is int and type(moment) is float
        for scene, moment in load_sync_timestamps(folder).items()
    )


def test_the_file_is_an_object_of_scene_ids_and_seconds(folder: Path) -> None:
    save_sync_timestamp(folder, 5, 100.5)
    save_sync_timestamp(folder, 6, 200)
    save_sync_timestamp(folder, 5, 300.5)
    assert json.loads((folder / FILE).read_text(encoding="utf-8")) == {"5": 300.5, "6": 200.0}


def test_a_file_of_other_origin_is_read(folder: Path) -> None:
    (folder / FILE).write_text('{"1": 100, "2": 200.5}', encoding="utf-8")
    assert load_sync_timestamps(folder) == {1: 100.0, 2: 200.5}


def test_the_latest_save_wins_even_with_an_earlier_time(folder: Path) -> None:
    save_sync_timestamp(folder, 1, 200)
    save_sync_timestamp(folder, 1, 100)
    assert load_sync_timestamps(folder) == {1: 100.0}


def test_changes_are_merged_and_the_gone_are_dropped(folder: Path) -> None:
    stored = write_many(folder, 1_000)
    save_sync_timestamps(folder, {1: 5.5, 2: None, 8_888: None, 9_999: 7})
    del stored[2]
    assert load_sync_timestamps(folder) == stored | {1: 5.5, 9_999: 7.0}


def test_a_forgotten_scene_can_come_back(folder: Path) -> None:
    save_sync_timestamps(folder, {5: None})
    assert load_sync_timestamps(folder) == {}
    save_sync_timestamp(folder, 5, 2)
    assert load_sync_timestamps(folder) == {5: 2.0}


def test_no_change_loses_nothing(folder: Path) -> None:
    stored = write_many(folder, 3)
    save_sync_timestamps(folder, {})
    assert load_sync_timestamps(folder) == stored


def test_a_save_that_fails_leaves_the_file_as_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = write_many(folder, 3)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space"):
            save_sync_timestamps(folder, {1: None, 7: 7.0})
    assert load_sync_timestamps(folder) == stored
    assert [file.name for file in folder.iterdir() if ".json" in file.name] == [FILE]


# --- the journal of version 0.1 -------------------------------------------------------------------


def test_the_journal_is_read_over_the_file_without_a_write(folder: Path) -> None:
    write_many(folder, 2)
    (folder / JOURNAL).write_text("[1, 5]\n[7, 70.0]\n[0, null]\n[7, 71.0]\n", encoding="utf-8")
    assert load_sync_timestamps(folder) == {1: 5.0, 7: 71.0}
    assert (folder / JOURNAL).exists()


def test_the_first_save_folds_the_journal_into_the_file(folder: Path) -> None:
    (folder / FILE).write_text('{"1": 10.0, "2": 20.0}', encoding="utf-8")
    (folder / JOURNAL).write_text("[1, 11.0]\n[2, null]\n[3, 30.0]\n", encoding="utf-8")
    save_sync_timestamps(folder, {3: 33.0, 4: 40.0})
    assert not (folder / JOURNAL).exists()
    assert json.loads((folder / FILE).read_text(encoding="utf-8")) == {
        "1": 11.0,
        "3": 33.0,
        "4": 40.0,
    }


# --- broken files ---------------------------------------------------------------------------------

BROKEN = {
    "half": '{"1": 100.0, "2": 2',
    "empty": "",
    "zeros": "\0" * 500,
    "list": "[1, 2]",
    "number": "5",
    "names": '{"one": 1.0}',
    "texts": '{"1": "yesterday"}',
    "nulls": '{"1": null}',
    "endless": '{"1": Infinity}',
    "enormous": '{"1": 1e999}',
    "no number": '{"1": NaN}',
    "too long": '{"1": 1' + "0" * 400 + "}",
    "much too long": '{"1": 1' + "0" * 5_000 + "}",
    "too deep": "[" * 10_000,
}
every_broken = pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())


@every_broken
def test_a_broken_file_loses_only_its_own_content(folder: Path, content: str) -> None:
    (folder / FILE).write_text(content, encoding="utf-8")
    assert load_sync_timestamps(folder) == {}
    assert (folder / FILE).read_text(encoding="utf-8") == content  # reading does not change it
    save_sync_timestamp(folder, 5, 100.0)
    assert load_sync_timestamps(folder) == {5: 100.0}


@every_broken
def test_a_broken_file_is_quarantined_and_not_overwritten(folder: Path, content: str) -> None:
    (folder / FILE).write_text(content, encoding="utf-8")
    for scene in range(5, 8):
        save_sync_timestamp(folder, scene, 100.0)
    (aside,) = [file for file in folder.iterdir() if file.name not in (FILE, JOURNAL)]
    assert aside.name.startswith(FILE)
    assert aside.read_text(encoding="utf-8") == content


def test_a_large_broken_file_is_quarantined_too(folder: Path) -> None:
    content = '{"1": 100.0, ' + "x" * 20_000
    (folder / FILE).write_text(content, encoding="utf-8")
    save_sync_timestamps(folder, dict.fromkeys(range(2_000), 1.0))
    assert load_sync_timestamps(folder) == dict.fromkeys(range(2_000), 1.0)
    assert content in [file.read_text(encoding="utf-8") for file in folder.iterdir()]


def test_two_broken_files_in_one_second_are_both_kept(folder: Path) -> None:
    for n in range(3):
        (folder / FILE).write_text(f"broken {n}", encoding="utf-8")
        save_sync_timestamp(folder, n, 1.0)
    kept = {file.read_text(encoding="utf-8") for file in folder.iterdir() if "broken" in file.name}
    assert kept == {"broken 0", "broken 1", "broken 2"}


@pytest.mark.parametrize("large", [False, True], ids=["small file", "large file"])
@pytest.mark.parametrize("half", ["[1, 12", "[1", "[1, 5.0]", "\0\0\0", '"'])
def test_an_unfinished_line_of_a_killed_writer_is_skipped(
    folder: Path, half: str, large: bool
) -> None:
    write_many(folder, 5_000 if large else 0)
    (folder / JOURNAL).write_text("[7, 70.0]\n" + half, encoding="utf-8")
    save_sync_timestamp(folder, 9_999, 5.0)
    save_sync_timestamp(folder, 9_998, 6.0)
    loaded = load_sync_timestamps(folder)
    assert (loaded[9_999], loaded[9_998], loaded[7]) == (5.0, 6.0, 70.0)


LINES = [
    "5",
    "null",
    "[1]",
    "[1, 2, 3]",
    "{}",
    '["a", 1]',
    "[1, 1e999]",
    "[1e999, 1]",
    "[" * 100_000,
    f"[1, 1{'0' * 400}]",
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[:12])
def test_a_broken_line_in_the_journal_is_skipped(folder: Path, line: str) -> None:
    (folder / JOURNAL).write_text(f"[2, 20.0]\n{line}\n[3, 30.0]\n", encoding="utf-8")
    assert load_sync_timestamps(folder) == {2: 20.0, 3: 30.0}
    save_sync_timestamp(folder, 4, 40.0)
    assert load_sync_timestamps(folder) == {2: 20.0, 3: 30.0, 4: 40.0}


@NEVER_RAISES
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_loading_and_saving_work_with_any_bytes_in_the_files(
    tmp_path_factory: pytest.TempPathFactory, file: bytes, journal: bytes
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / FILE).write_bytes(file)
    (folder / JOURNAL).write_bytes(journal)
    assert all(abs(moment) < float("inf") for moment in load_sync_timestamps(folder).values())
    save_sync_timestamp(folder, 1, 2.0)
    assert load_sync_timestamps(folder)[1] == 2.0


@NEVER_RAISES
@given(
    st.dictionaries(
        st.text(max_size=3) | st.integers().map(str),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
            st.lists,
            max_leaves=3,
        ),
        max_size=3,
    )
)
def test_loading_and_saving_work_with_any_json_in_the_file(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / FILE).write_text(json.dumps(content), encoding="utf-8")
    assert all(abs(moment) < float("inf") for moment in load_sync_timestamps(folder).values())
    save_sync_timestamp(folder, 1, 2.0)
    assert load_sync_timestamps(folder)[1] == 2.0


def test_a_kill_between_file_and_journal_leaves_the_same_times(folder: Path) -> None:
    """The file is already written, the journal not yet removed."""
    (folder / FILE).write_text('{"1": 10.0, "2": 20.0}', encoding="utf-8")
    (folder / JOURNAL).write_text("[1, 10.0]\n[3, null]\n[2, 20.0]\n", encoding="utf-8")
    assert load_sync_timestamps(folder) == {1: 10.0, 2: 20.0}


# --- concurrency ----------------------------------------------------------------------------------


@pytest.mark.parametrize("others", [0, 1_000], ids=["small file", "large file"])
def test_a_reader_beside_the_writer_never_misses_a_scene(folder: Path, others: int) -> None:
    write_many(folder, others + 1)
    done = threading.Event()
    saved = [0]

    def save() -> None:
        for n in range(1, 150):
            save_sync_timestamp(folder, 0, float(n))
            saved[0] = n
        done.set()

    writer = threading.Thread(target=save)
    save_sync_timestamp(folder, 0, 0.0)
    writer.start()
    missed = older = 0
    while not done.is_set():
        floor = saved[0]
        seen = load_sync_timestamps(folder)
        missed += len(seen) != others + 1
        older += seen.get(0, -1.0) < floor
    writer.join()
    assert (missed, older) == (0, 0)


def test_processes_that_save_at_once_do_not_fail(folder: Path) -> None:
    """A foreground task and an exiting worker may save at once. A save may be lost, never fail."""
    code = (
        "import sys\n"
        "from queue.timestamps import save_sync_timestamp\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for n in range(150): save_sync_timestamp(sys.argv[1], int(sys.argv[2]), float(n))\n"
    )
    run_at_once([("-c", code, str(folder), str(me)) for me in range(3)])
    save_sync_timestamp(folder, 9, 9.0)
    assert load_sync_timestamps(folder)[9] == 9.0
    assert [file.name for file in folder.iterdir()] == [FILE]


def test_lazy_timestamps_are_read_on_first_use(folder: Path) -> None:
    lazy = LazyTimestamps(str(folder))
    save_sync_timestamp(folder, 1, 5.0)
    assert lazy.get(1) == 5.0
    assert lazy.get(2) is None


def test_one_timestamp_is_looked_up_in_the_journal_before_the_file(folder: Path) -> None:
    (folder / FILE).write_text('{"1": 10.0, "12": 12.0}', encoding="utf-8")
    (folder / JOURNAL).write_text("[1, 11.0]\n[12, null]\n", encoding="utf-8")
    lazy = LazyTimestamps(str(folder))
    assert [lazy.get(scene_id) for scene_id in (1, 12, 2)] == [11.0, None, None]


@pytest.mark.skipif(os.name != "posix", reason="file modes and links are POSIX's")
@pytest.mark.parametrize("name", [FILE, JOURNAL])
def test_a_planted_link_is_never_written_through(tmp_path: Path, name: str) -> None:
    target = tmp_path / "precious"
    target.write_text('{"1": 1.0}', encoding="utf-8")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / name).symlink_to(target)
    run_python(  # the save may fail or replace the link
        "-c",
        "import sys, contextlib; from queue.operations import save_sync_timestamp as save\n"
        "with contextlib.suppress(OSError): save(sys.argv[1], 2, 2.0)",
        str(folder),
    )
    assert target.read_text(encoding="utf-8") == '{"1": 1.0}'


# --- is_synced ------------------------------------------------------------------------------------

WHOLE = 1_714_989_600.0  # 2024-05-06T10:00:00Z
TIMES = {
    "2024-05-06T10:00:00Z": WHOLE + 1,
    "2024-05-06T10:00:00z": WHOLE + 1,
    "2024-05-06t10:00:00Z": WHOLE + 1,
    "2024-05-06 10:00:00Z": WHOLE + 1,
    " 2024-05-06T10:00:00Z\n": WHOLE + 1,
    "2024-05-06T10:00:00+00:00": WHOLE + 1,
    "2024-05-06T12:00:00+02:00": WHOLE + 1,
    "2024-05-06T04:30:00-05:30": WHOLE + 1,
    "2024-05-06T10:00:00-00:00": WHOLE + 1,
    "2024-05-06T10:00:00.5Z": WHOLE + 0.5,
    "2024-05-06T10:00:00.000Z": WHOLE,
    "2024-05-06T10:00:00.123456789Z": WHOLE + 0.123456789,
    "2024-05-06T12:00:00.25+02:00": WHOLE + 0.25,
    "2024-05-06T04:30:00.75-05:30": WHOLE + 0.75,
    "1969-12-31T23:59:59.5Z": -0.5,
}


@pytest.mark.parametrize(("text", "moment"), TIMES.items())
def test_times_are_parsed_by_rfc_3339(text: str, moment: float) -> None:
    assert parse_time(text) == pytest.approx(moment, abs=1e-6)


GARBAGE = [
    "", " ", "yesterday", "1714989600", "2024-13-06T10:00:00Z", "2024-05-06T25:00:00Z",
    "2024-02-30T10:00:00Z", "null", "2024-05-06", "20240506", "2024-05-06T10", "2024-05-06.5",
    "0", "Z", ".5", "2024-05-06T10:00:00Zjunk",
]  # fmt: skip


@pytest.mark.parametrize("text", GARBAGE)
def test_an_invalid_time_counts_as_now(text: str) -> None:
    assert parse_time(text) is None
    assert not is_synced(text, 1e10)


@NEVER_RAISES
@given(st.text() | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d*)?(Z|[+-]\d\d:\d\d)?"))
def test_parsing_any_text_raises_nothing(text: str) -> None:
    moment = parse_time(text)
    assert moment is None or abs(moment) < 1e12


@NEVER_RAISES
@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)),
    st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
def test_every_moment_with_a_fraction_comes_back_to_the_microsecond(
    moment: datetime, zone: timezone
) -> None:
    aware = moment.replace(tzinfo=zone)
    assert parse_time(aware.isoformat(timespec="microseconds")) == pytest.approx(
        aware.timestamp(), abs=2e-6
    )


@pytest.mark.parametrize(
    ("updated_at", "last_synced_at", "synced"),
    [
        (None, 100.0, False),
        (None, None, False),
        (100.0, None, False),
        (100.0, 100.0, True),
        (100.0, 100.1, True),
        (100.1, 100.0, False),
        (100, 100.0, True),
        ("2024-05-06T10:00:00Z", WHOLE + 0.5, False),
        ("2024-05-06T10:00:00Z", WHOLE + 1, True),
        ("2024-05-06T10:00:00.4Z", WHOLE + 0.5, True),
        ("2024-05-06T10:00:00.6Z", WHOLE + 0.5, False),
        ("2024-05-06T10:00:00.5Z", WHOLE + 0.5, True),
        ("2024-05-06T12:00:00+02:00", WHOLE + 1, True),
        ("2024-05-06T12:00:00-02:00", WHOLE + 1, False),
        ("rubbish", 1e10, False),
        (float("nan"), 1e10, False),
        (float("inf"), 1e10, False),
    ],
)
def test_an_event_is_old_when_it_happened_at_or_before_the_last_sync(
    updated_at: float | str | None, last_synced_at: float | None, synced: bool
) -> None:
    assert is_synced(updated_at, last_synced_at) is synced


@pytest.mark.parametrize("updated_at", [[], {"a": 1}, ["2024-05-06T10:00:00Z"]])
def test_an_updated_at_of_an_unexpected_type_counts_as_now(updated_at: Any) -> None:
    assert not is_synced(updated_at, 1e10)
