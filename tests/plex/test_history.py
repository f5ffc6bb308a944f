"""The write history: kept on disk per scene and item, deleted with the scene."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from common.sqlite import connect
from plex.history import WriteHistory, Written

WRITTEN = Written(7, {"title": "T é 👩‍👩‍👧", "genre": ["A, B", "C"], "actor": []}, cover="ab12")


def test_an_unknown_scene_has_no_history(history: WriteHistory) -> None:
    assert history.get(1, 7) == Written(7)


def test_what_was_saved_is_returned(history: WriteHistory) -> None:
    history.save(1, WRITTEN)
    assert history.get(1, 7) == WRITTEN
    assert history.get(2, 7) == Written(7)


def test_each_item_has_its_own_history(history: WriteHistory) -> None:
    history.save(1, WRITTEN)
    assert history.get(1, 8) == Written(8)


def test_only_the_newest_item_of_a_scene_is_kept(history: WriteHistory) -> None:
    history.save(1, WRITTEN)
    history.save(1, Written(8, {"title": "Later"}))
    assert history.get(1, 8).fields.get("title") == "Later"
    assert history.get(1, 7) == Written(7)


def test_deleting_one_scene_keeps_the_others(history: WriteHistory) -> None:
    history.save(1, WRITTEN)
    history.save(2, WRITTEN)
    history.delete(1)
    history.delete(99)
    assert history.get(1, 7) == Written(7)
    assert history.get(2, 7) == WRITTEN


def test_it_is_on_disk_when_save_returns(tmp_path: Path) -> None:
    path = str(tmp_path / "history.db")
    first, second = connect(path), connect(path)
    try:
        WriteHistory(first).save(1, WRITTEN)
        assert WriteHistory(second).get(1, 7) == WRITTEN
    finally:
        first.close()
        second.close()


def test_an_unfinished_write_is_kept(history: WriteHistory) -> None:
    begun = dataclasses.replace(WRITTEN, pending={"title": "New", "genre": ["D"]})
    history.save(1, begun)
    assert history.get(1, 7) == begun


# --- reconciling an unfinished write with what Plex shows


def test_a_finished_write_needs_no_reconciling() -> None:
    assert WRITTEN.reconcile_pending({"title": "Somebody else's"}) is WRITTEN


@pytest.mark.parametrize(
    ("in_plex", "ours"),
    [("Old", "Old"), ("New", "New"), ("Somebody else's", None)],
    ids=["not yet", "done", "edited"],
)
def test_a_text_is_ours_if_plex_has_it_before_or_after(in_plex: str, ours: str | None) -> None:
    begun = Written(7, {"title": "Old"}, {"title": "New"}, "ab12")
    reconciled = begun.reconcile_pending({"title": in_plex})
    assert reconciled.fields.get("title") == ours
    assert (reconciled.rating_key, reconciled.pending, reconciled.cover) == (7, None, "ab12")


@pytest.mark.parametrize(
    ("before", "begun", "in_plex", "ours"),
    [
        pytest.param(["A"], ["A", "B"], ("A",), {"A"}, id="not applied: B is still to be written"),
        pytest.param(
            ["A"],
            ["A", "B"],
            ("a", "B", "Mine"),
            {"A", "B"},
            id="applied, and the user added a name",
        ),
        pytest.param(["A", "B"], ["A"], ("A",), {"A"}, id="we removed B"),
        pytest.param(["A", "B"], ["A"], ("A", "B"), {"A", "B"}, id="B is not removed yet"),
        pytest.param(
            ["A", "B"],
            ["A", "B", "C"],
            ("A",),
            {"A", "B"},
            id="the user removed B: still in the history",
        ),
        pytest.param(["A", "B"], None, ("A",), {"A", "B"}, id="the write had other fields only"),
        pytest.param(
            None,
            ["A", "B"],
            ("A", "B", "Mine"),
            {"A", "B"},
            id="a first write that was applied",
        ),
        pytest.param(None, ["A", "B"], ("A",), None, id="a first write that was not applied"),
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
def test_a_written_record_is_immutable(attribute: str) -> None:
    with pytest.raises(AttributeError):
        setattr(WRITTEN, attribute, None)
