"""What PlexSync last wrote: kept per scene and item, on disk, and forgotten with the scene."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from common.sqlite import connect
from plex.history import WriteHistory, Written

WRITTEN = Written(7, {"title": "T é 👩‍👩‍👧", "genre": ["A, B", "C"], "actor": []}, cover="ab12")


def test_an_unknown_scene_has_no_memory(memory: WriteHistory) -> None:
    assert memory.get(1, 7) == Written(7)


def test_what_was_remembered_is_recalled(memory: WriteHistory) -> None:
    memory.save(1, WRITTEN)
    assert memory.get(1, 7) == WRITTEN
    assert memory.get(2, 7) == Written(7)


def test_another_item_has_no_memory_of_this_one(memory: WriteHistory) -> None:
    memory.save(1, WRITTEN)
    assert memory.get(1, 8) == Written(8)


def test_the_newest_counts(memory: WriteHistory) -> None:
    memory.save(1, WRITTEN)
    memory.save(1, Written(8, {"title": "Later"}))
    assert memory.get(1, 8).fields.get("title") == "Later"
    assert memory.get(1, 7) == Written(7)


def test_a_scene_is_forgotten_alone(memory: WriteHistory) -> None:
    memory.save(1, WRITTEN)
    memory.save(2, WRITTEN)
    memory.delete(1)
    memory.delete(99)
    assert memory.get(1, 7) == Written(7)
    assert memory.get(2, 7) == WRITTEN


def test_it_is_on_disk_when_remember_returns(tmp_path: Path) -> None:
    path = str(tmp_path / "memory.db")
    first, second = connect(path), connect(path)
    try:
        WriteHistory(first).save(1, WRITTEN)
        assert WriteHistory(second).get(1, 7) == WRITTEN
    finally:
        first.close()
        second.close()


def test_an_unfinished_write_is_kept(memory: WriteHistory) -> None:
    begun = dataclasses.replace(WRITTEN, pending={"title": "New", "genre": ["D"]})
    memory.save(1, begun)
    assert memory.get(1, 7) == begun


# --- an unfinished write, once Plex shows how much of it was carried out


def test_what_was_finished_needs_no_settling() -> None:
    assert WRITTEN.reconcile_pending({"title": "Somebody else's"}) is WRITTEN


@pytest.mark.parametrize(
    ("in_plex", "ours"),
    [("Old", "Old"), ("New", "New"), ("Somebody else's", None)],
    ids=["not yet", "done", "edited"],
)
def test_a_text_is_ours_if_plex_has_it_before_or_after(in_plex: str, ours: str | None) -> None:
    begun = Written(7, {"title": "Old"}, {"title": "New"}, "ab12")
    settled = begun.reconcile_pending({"title": in_plex})
    assert settled.fields.get("title") == ours
    assert (settled.rating_key, settled.pending, settled.cover) == (7, None, "ab12")


@pytest.mark.parametrize(
    ("before", "begun", "in_plex", "ours"),
    [
        pytest.param(
            ["A"], ["A", "B"], ("A",), {"A"}, id="not carried out: B is still to be written"
        ),
        pytest.param(
            ["A"],
            ["A", "B"],
            ("a", "B", "Mine"),
            {"A", "B"},
            id="carried out, and the user added one",
        ),
        pytest.param(["A", "B"], ["A"], ("A",), {"A"}, id="B was taken out by us"),
        pytest.param(["A", "B"], ["A"], ("A", "B"), {"A", "B"}, id="B is not out yet"),
        pytest.param(
            ["A", "B"],
            ["A", "B", "C"],
            ("A",),
            {"A", "B"},
            id="B was taken out by the user: still known",
        ),
        pytest.param(["A", "B"], None, ("A",), {"A", "B"}, id="the write was about other fields"),
        pytest.param(
            None,
            ["A", "B"],
            ("A", "B", "Mine"),
            {"A", "B"},
            id="a first write that was carried out",
        ),
        pytest.param(None, ["A", "B"], ("A",), None, id="a first write that was not"),
    ],
)
def test_names_are_ours_if_plex_has_them_or_lost_them(
    before: list[str] | None,
    begun: list[str] | None,
    in_plex: tuple[str, ...],
    ours: set[str] | None,
) -> None:
    fields = {} if before is None else {"genre": before}
    pending = {"title": "T"} if begun is None else {"genre": begun}
    names = Written(7, fields, pending).reconcile_pending({"genre": in_plex}).fields.get("genre")
    assert (None if names is None else set(names)) == ours


@pytest.mark.parametrize("attribute", ["rating_key", "fields", "pending", "cover"])
def test_a_memory_does_not_change_in_the_hand(attribute: str) -> None:
    with pytest.raises(AttributeError):
        setattr(WRITTEN, attribute, None)
