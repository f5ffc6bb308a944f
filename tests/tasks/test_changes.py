"""Undo, take, pause, try and remove: their arguments, previews and words. No worker is needed."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from common.redaction import Redactor
from common.sqlite import connect
from history.fields import FieldState
from history.records import POSTER, Agreement, CoverState
from history.store import FILE, History
from stash.client import StashClient
from tasks import changes
from tasks.context import Context, Result, UsageError
from tasks.cover import put_cover
from worker.maintenance import CUT_RUNS
from worker.put_cover import MOST, file_of, picture_of


class Answering(Context):
    """A context whose commands are answered at once, as a worker does."""

    def run(self, command: str, arguments: Any) -> dict[str, Any]:
        self.environ["asked"] = [command, dict(arguments)]  # type: ignore[index]
        return self.environ["answer"]  # type: ignore[return-value]


@pytest.fixture
def context(tmp_path: Path) -> Context:
    client = StashClient(lambda: None)
    environ: Any = {}
    return Answering(
        str(tmp_path), "PlexSync.py", client, Redactor(), lambda *_: None, lambda *_: None, environ
    )


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with closing(connect(str(tmp_path / FILE), any_thread=True)) as connection:
        yield History(connection)


def asked(context: Context) -> Any:
    environ: Any = context.environ
    return environ["asked"]


def answer(context: Context, **result: Any) -> None:
    environ: Any = context.environ
    environ["answer"] = result


def written(history: History, scene_id: int, run: str, **more: FieldState) -> Agreement:
    """Store a scene whose title, tags and poster were written."""
    state = FieldState(before="old", ours="new", wanted="new", observed="new")
    tags = FieldState(before=("X",), ours=("T",), wanted=("T",), observed=("T",))
    poster = FieldState(before="upload://posters/1", wanted="ab")
    row = history.save(
        Agreement(
            scene_id, server="plex", rating_key=scene_id + 100, path="/a",
            fields={"title": state, "genre": tags, POSTER: poster, **more},
            cover=CoverState(sha1="ab"),
        )
    )  # fmt: skip
    values: Any = {"title": ("old", "new"), "genre": (("X",), ("T",)),
                   POSTER: ("upload://posters/1", "ab")}  # fmt: skip
    history.changes.note(row, values, run, 1.0)
    return row


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ({"change": "7"}, {"change": 7}),
        ({"run": " sync-1 "}, {"run": "sync-1"}),
        ({"scene_id": "7", "field": "tags"}, {"scene_id": 7, "field": "genre"}),
        ({"scene_id": 7, "field": "genre", "run": ""}, {"scene_id": 7, "field": "genre"}),
        ({"scene_id": 7}, {"scene_id": 7}),
    ],
)
def test_an_undo_names_one_thing(
    context: Context, arguments: dict[str, Any], command: dict[str, Any]
) -> None:
    answer(context, scenes=0, fields={}, left=[], left_count=0)
    changes.undo(context, arguments)
    assert asked(context) == ["undo", command]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"change": "x"},
        {"change": "7", "run": "sync-1"},
        {"scene_id": "-7"},
        {"scene_id": "7", "field": "code"},
        {"scene_id": "7", "field": ["title"]},
    ],
)
def test_a_wrong_undo_is_one_sentence(context: Context, arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        changes.undo(context, arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"scene_id": 7, "field": "title"},
        {"scene_id": 7, "field": "title", "from": "me"},
        {"scene_id": 7, "from": "stash"},
        {"field": "title", "from": "stash"},
        {"scene_id": 7, "field": "title", "from": "plex", "agreement": "x"},
    ],
)
def test_a_wrong_take_is_one_sentence(context: Context, arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        changes.take(context, arguments)


def test_stashs_value_is_a_write_and_plexs_a_hold(context: Context, history: History) -> None:
    answer(context, reason=None)
    found = changes.take(context, {"scene_id": "7", "field": "details", "from": "Stash"})
    assert asked(context) == ["take", {"scene_id": 7, "field": "summary"}]
    assert found.ok
    changes.take(context, {"scene_id": 7, "field": "poster", "from": "plex", "agreement": "3"})
    assert asked(context) == ["hold", {"scene_id": 7, "field": POSTER, "agreement": 3}]


def test_a_value_that_waits_or_is_refused_is_said(context: Context, history: History) -> None:
    answer(context, reason=None)
    row = written(history, 7, "saved", year=FieldState(take=True))
    arguments = {"scene_id": 7, "field": "year", "from": "stash"}
    assert "queued" in changes.take(context, arguments).summary
    refused = {"year": FieldState(refused=True)}
    history.save(Agreement(7, id=row.id, rating_key=1, reason="Plex takes no year", fields=refused))
    found = changes.take(context, arguments)
    assert (found.ok, "Plex takes no year" in found.summary) == (False, True)
    answer(context, reason="PlexSync is paused")
    assert not changes.take(context, arguments).ok


def test_the_words_of_an_undo(context: Context, history: History) -> None:
    left = [[7, "title", "it was changed in Plex since"], [8, POSTER, "it is gone"]]
    answer(context, scenes=2, fields={"title": 2, "genre": 1}, left=left, left_count=2, run="u-1")
    found = changes.undo(context, {"run": "sync-1"})
    assert found.summary == (
        "Undo: 3 fields of 2 scenes are as before, 2 fields were left"
        " (1: it was changed in Plex since; 1: it is gone)"
    )
    assert found.lines[1] == "Scene 8: poster left: it is gone"
    assert found.data["left"][0] == {
        "scene_id": 7, "field": "title", "why": "it was changed in Plex since"
    }  # fmt: skip
    answer(context, reason="Plex is down")
    assert changes.undo(context, {"run": "sync-1"}).summary == "Undo: Plex is down"
    answer(context)
    assert changes.undo(context, {"run": "sync-1"}).summary == "Undo: nothing to take back"
    history.set(CUT_RUNS, ["sync-1"])
    assert not changes.undo(context, {"run": "sync-1"}).ok


def brief(found: Result) -> list[tuple[Any, ...]]:
    return [
        (one["scene_id"], one["field"], one["now"], one["back"]) for one in found.data["changes"]
    ]


def test_a_preview_shows_what_a_run_would_get_back(context: Context, history: History) -> None:
    for scene_id in (1, 2):
        written(history, scene_id, "sync-1")
    written(history, 3, "sync-2")
    found = changes.undo(context, {"run": "sync-1", "preview": "true"})
    assert brief(found)[:3] == [
        (1, "title", "new", "old"),
        (1, "genre", ["T"], ["X"]),
        (1, POSTER, None, "upload://posters/1"),
    ]
    assert (found.data["scenes"], found.data["fields"]["title"]) == (2, 2)
    assert "6 fields of 2 scenes would be as before" in found.summary
    assert history.changes.count_run("sync-1") == (2, 6), "nothing is noted"


def test_a_preview_right_after_a_write_takes_it_for_done(
    context: Context, history: History
) -> None:
    sent = FieldState(before="old", wanted="new", observed="old", sent="new", replaced="old")
    written(history, 1, "try-1", title=sent)
    found = changes.undo(context, {"run": "try-1", "preview": "true"})
    assert brief(found)[0] == (1, "title", "new", "old")


def test_a_preview_of_a_removal_counts_all_and_what_would_be_left(
    context: Context, history: History
) -> None:
    mine = FieldState(before="a", ours="b", wanted="b", observed="mine")
    written(history, 1, "sync-1", summary=mine)
    written(history, 2, "saved")
    found = changes.remove(context, {"preview": True})
    assert found.data["fields"] == {"title": 2, "genre": 2, POSTER: 2}
    assert (found.data["scenes"], found.data["left_count"]) == (2, 1)
    assert changes.remove(context, {"preview": True, "section": "9"}).data["scenes"] == 0


def test_removal_and_its_end(context: Context) -> None:
    answer(context, scenes=3)
    changes.remove(context, {"section": "2"})
    assert asked(context) == ["remove", {"section": 2}]
    assert "3 scenes are synced again" in changes.remove(context, {"off": "true"}).summary
    assert asked(context)[0] == "restore"
    with pytest.raises(UsageError):
        changes.remove(context, {"section": "x"})


@pytest.mark.parametrize(("value", "on"), [(None, True), ("on", True), ("off", False), (0, False)])
def test_a_pause_and_its_end(context: Context, value: Any, on: bool) -> None:
    answer(context, paused=on)
    assert changes.pause(context, {"on": value}).ok
    assert asked(context) == ["pause", {"on": on}]


def test_a_try_has_a_number_and_names_its_run(context: Context) -> None:
    answer(context, worked={"in_sync": 20}, run="try-5")
    found = changes.try_some(context, {})
    assert asked(context)[1]["count"] == 20
    assert (found.data["run"], found.summary) == ("try-5", "Try 20 scenes: 20 synced")
    assert found.lines == ["To take it back: undo --run try-5"]
    for wrong in ("x", "0", "1001"):
        with pytest.raises(UsageError):
            changes.try_some(context, {"count": wrong})


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("", "not a JPEG"),
        ("%%%", "not base64"),
        ("é", "not base64"),
        (base64.b64encode(b"\x89PNG").decode(), "not a JPEG"),
        (base64.b64encode(b"\xff\xd8\xff" + bytes(MOST)).decode(), "larger than 4 MB"),
    ],
    ids=["nothing", "junk", "no ASCII", "a PNG", "too large"],
)
def test_a_cover_is_checked_before_it_is_kept(
    context: Context, tmp_path: Path, data: str, problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        put_cover(context, {"scene_id": "7", "data": data})
    assert not (tmp_path / "covers").exists()


def test_a_cover_waits_in_a_private_file_and_its_fate_is_said(
    context: Context, tmp_path: Path
) -> None:
    data = base64.b64encode(b"\xff\xd8\xff picture").decode()
    answer(context, left=[])
    assert put_cover(context, {"scene_id": "7", "data": data}).ok
    assert asked(context) == ["put_cover", {"scene_id": 7}]
    file = Path(file_of(str(tmp_path), 7))
    assert picture_of(file.read_text()).endswith(b"picture")
    if os.name == "posix":
        assert file.stat().st_mode & 0o077 == 0
    answer(context, left=[[7, POSTER, "too large"]])
    assert "too large" in put_cover(context, {"scene_id": "7", "data": data}).summary
