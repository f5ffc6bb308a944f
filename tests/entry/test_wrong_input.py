"""Any stdin yields one JSON document and one log line, no traceback, and no wrong job."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.harness.plugin import Answer, hook, run, save
from tests.harness.results import queued
from tests.simulators.stash.events import encode, hook_input, scan_update

UPDATE = {"type": "Scene.Update.Post", "input": {"title": "T"}, "inputFields": ["title"]}
MEGABYTES = 10_000_000

NO_INPUT: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \r\n\t ",
    "not JSON": b"hello",
    "half a document": save()[:-5],
    "two documents": save() + save(),
    "text after the document": save() + b" x",
    "null": b"null",
    "a list": b"[]",
    "a number": b"17",
    "a text": b'"text"',
    "true": b"true",
    "a number of 10,000 digits": b'{"args": ' + b"1" * 10_000 + b"}",
    "invalid UTF-8": save().replace(b"Title", b"T\xff\xfetle"),
    "NUL bytes": b"\x00" * 1_000,
    "a NUL in the document": save().replace(b"Title", b"Ti\x00le"),
    "a newline in a text": save().replace(b"Title", b"Ti\nle"),
    "deeply nested lists": b"[" * 200_000,
    "deeply nested lists that end": b"[" * 200_000 + b"]" * 200_000,
    "deeply nested objects": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "10 MB of zeros": b"\x00" * MEGABYTES,
    "10 MB of noise": os.urandom(1000) * (MEGABYTES // 1000),
    "10 MB of a text that never ends": b'{"args": "' + b"x" * MEGABYTES,
    "10 MB of blanks": b" " * MEGABYTES,
    "10 MB of a list": b"[" + b"1," * (MEGABYTES // 2) + b"1]",
}
NO_EVENT: dict[str, bytes] = {
    "an empty object": b"{}",
    "args is null": b'{"args": null}',
    "args is empty": b'{"args": {}}',
    "args is a list": b'{"args": []}',
    "args is a text": b'{"args": "hookContext"}',
    "args is a number": b'{"args": 5}',
    "args is false": b'{"args": false}',
    "hookContext is null": hook(None),
    "hookContext is a list": hook([{**UPDATE, "id": 7}]),
    "hookContext is a text": hook("Scene.Update.Post"),
    "hookContext is a number": hook(7),
    "hookContext is empty": hook({}),
    "an unknown hook": hook({**UPDATE, "id": 7, "type": "Gallery.Update.Post"}),
    "a hook of megabytes": hook({**UPDATE, "id": 7, "type": "x\n" * (MEGABYTES // 2)}),
    "a hook that is a list": hook({**UPDATE, "id": 7, "type": ["Scene.Update.Post"]}),
    "a hook of control characters": hook({**UPDATE, "id": 7, "type": "\x01e\x02\r\n\x00\ud800"}),
    "no hook": hook({"id": 7, "input": {"title": "T"}}),
    "no scene id": hook(UPDATE),
    "an unknown mode": b'{"args": {"mode": "no such task"}}',
    "a mode that is null": b'{"args": {"mode": null}}',
    "a mode of megabytes": json.dumps({"args": {"mode": "x\n" * 1_000_000}}).encode(),
    **{
        f"a scene id that is {scene_id!r:.30}": hook({**UPDATE, "id": scene_id})
        for scene_id in (
            None,
            "7",
            "",
            "seven",
            7.0,
            7.5,
            True,
            False,
            0,
            -7,
            [7],
            {"id": 7},
            2**63,
            10**300,
        )
    },
    "10 MB of JSON without an event": json.dumps({"args": {"cover": "A" * MEGABYTES}}).encode(),
    "10 MB of JSON without a scene": hook(
        {**UPDATE, "input": {"title": "T", "cover_image": "A" * MEGABYTES}}
    ),
}


def assert_one_clear_error(answer: Answer) -> None:
    assert len(answer.error) < 1_000
    assert "\n" not in answer.error
    assert answer.log == [], "Stash logs the error"
    assert b"Traceback" not in answer.stderr + answer.stdout
    assert answer.stdout.count(b"\n") <= 1


@pytest.mark.parametrize("name", NO_INPUT)
def test_input_that_is_not_json_is_one_clear_error(busy: Path, name: str) -> None:
    assert_one_clear_error(run(NO_INPUT[name], busy))
    assert queued(busy) == []


@pytest.mark.parametrize("name", NO_EVENT)
def test_json_that_is_not_an_event_is_one_clear_error(busy: Path, name: str) -> None:
    assert_one_clear_error(run(NO_EVENT[name], busy))
    assert queued(busy) == []


UNUSUAL_BUT_VALID: dict[str, bytes] = {
    "blanks around it": b"\n\n " + save() + b" \r\n",
    "a byte order mark": b"\xef\xbb\xbf" + save(),
    "another encoding": save().decode().encode("utf-16"),
    "10 MB of cover": save(title="T", cover_image="data:image/png;base64," + "A" * MEGABYTES),
    "1 MB of title": save(title="é" * 1_000_000),
    "a lone surrogate": hook({**UPDATE, "id": 7, "input": {"title": "\ud83c"}}),
    "a lone surrogate in bytes": save(title="MARK").replace(b"MARK", b"\xed\xa0\xbc"),
    "a NUL in a text": save(title="a\x00b"),
    "an emoji": save(title="🎬 \u202e \u2028"),
    "control characters": hook({**UPDATE, "id": 7, "input": {"title": "\x01e\x02\r\n\x1b[31m"}}),
    "SQL": save(title="'); DROP TABLE ack_queue_default; --"),
    "unknown fields": hook(
        {**UPDATE, "id": 7, "input": {"title": "T", "pqid": 1, "job_key": "x", "": {}}}
    ),
    "an input of our own names": save(title="T").replace(b'"clientMutationId"', b'"pqid"'),
    "a deep value": hook({**UPDATE, "id": 7, "extra": json.loads("[" * 400 + "]" * 400)}),
    "the largest id": hook({**UPDATE, "id": 2**63 - 1}),
    "no server": json.dumps({"args": {"hookContext": {**UPDATE, "id": 7}}}).encode(),
    "a server that is a list": json.dumps(
        {"server_connection": [], "args": {"hookContext": {**UPDATE, "id": 7}}}
    ).encode(),
    "a server without a session": json.dumps(
        {"server_connection": {"SessionCookie": None}, "args": {"hookContext": {**UPDATE, "id": 7}}}
    ).encode(),
    "a mode beside the hook": hook({**UPDATE, "id": 7}, mode="hook"),
    "a config that is a list": hook({**UPDATE, "id": 7}, config=[1]),
}


@pytest.mark.parametrize("name", UNUSUAL_BUT_VALID)
def test_an_unusual_but_valid_event_is_queued(busy: Path, name: str) -> None:
    answer = run(UNUSUAL_BUT_VALID[name], busy)
    assert answer.output["queued"] is True
    assert {level for level, _ in answer.log} <= {"debug"}
    (job,) = queued(busy)
    assert job["job_key"] == f"scene_{job['scene_id']}"
    assert len(json.dumps(job)) < 10_000


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "1e999"])
def test_a_number_out_of_range_damages_nothing(busy: Path, constant: str) -> None:
    """The edit is queued or refused, without an error about an intact database."""
    answer = run(save(rating100=12345).replace(b"12345", constant.encode()), busy)
    assert b"database" not in answer.stdout
    assert ("output" in answer.document) == (len(queued(busy)) == 1)
    assert run(save(8), busy).output["queued"] is True


@pytest.mark.parametrize(
    ("stdin", "reason"),
    [
        (encode(hook_input(scan_update(7))), "a scan"),
        (save(play_count=3), "a play"),
        (save(o_counter=3), "a counter"),
        (save(resume_time=3.5, play_duration=9.5), "a position"),
        (save(gallery_ids=["1"], primary_file_id="2"), "files"),
    ],
)
def test_a_change_that_plex_does_not_show_is_skipped(busy: Path, stdin: bytes, reason: str) -> None:
    answer = run(stdin, busy)
    assert answer.output == {"scene_id": 7, "queued": False}, reason
    assert answer.log == []
    assert queued(busy) == []


def test_a_closed_stdout_loses_no_edit_and_causes_no_traceback(busy: Path) -> None:
    if os.name != "posix":
        pytest.skip("needs POSIX descriptors")
    reader, writer = os.pipe()
    os.close(reader)

    def break_stdout() -> None:
        os.dup2(writer, 1)

    try:
        answer = run(save(), busy, before_exec=break_stdout)
    finally:
        os.close(writer)
    assert len(queued(busy)) == 1
    assert b"Traceback" not in answer.stderr


def test_output_is_plain_ascii_in_any_locale(busy: Path) -> None:
    any_locale: dict[str, Any] = {
        "LC_ALL": "C",
        "PYTHONIOENCODING": "ascii:strict",
        "PYTHONUTF8": "0",
    }
    answer = run(hook({**UPDATE, "id": "ünïcode \ud800"}), busy, env=any_locale)
    assert answer.stdout.isascii()
    assert_one_clear_error(answer)
