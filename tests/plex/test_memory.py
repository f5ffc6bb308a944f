"""What PlexSync last wrote: kept per scene and item, on disk, and forgotten with the scene."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from common.sqlite import connect
from plex.memory import SyncMemory, Written

WRITTEN = Written(7, {"title": "T é 👩‍👩‍👧", "genre": ["A, B", "C"], "actor": []}, cover="ab12")


def test_an_unknown_scene_has_no_memory(memory: SyncMemory) -> None:
    assert memory.recall(1, 7) == Written(7)


def test_what_was_remembered_is_recalled(memory: SyncMemory) -> None:
    memory.remember(1, WRITTEN)
    assert memory.recall(1, 7) == WRITTEN
    assert memory.recall(2, 7) == Written(7)


def test_another_item_has_no_memory_of_this_one(memory: SyncMemory) -> None:
    memory.remember(1, WRITTEN)
    assert memory.recall(1, 8) == Written(8)


def test_the_newest_counts(memory: SyncMemory) -> None:
    memory.remember(1, WRITTEN)
    memory.remember(1, Written(8, {"title": "Later"}))
    assert memory.recall(1, 8).texts("title") == {"Later"}
    assert memory.recall(1, 7) == Written(7)


def test_a_scene_is_forgotten_alone(memory: SyncMemory) -> None:
    memory.remember(1, WRITTEN)
    memory.remember(2, WRITTEN)
    memory.forget(1)
    memory.forget(99)
    assert memory.recall(1, 7) == Written(7)
    assert memory.recall(2, 7) == WRITTEN


def test_it_is_on_disk_when_remember_returns(tmp_path: Path) -> None:
    path = str(tmp_path / "memory.db")
    first, second = connect(path), connect(path)
    try:
        SyncMemory(first).remember(1, WRITTEN)
        assert SyncMemory(second).recall(1, 7) == WRITTEN
    finally:
        first.close()
        second.close()


def test_texts_and_lists_are_told_apart() -> None:
    assert WRITTEN.texts("title") == {"T é 👩‍👩‍👧"}
    assert WRITTEN.names("genre") == ("A, B", "C")
    assert WRITTEN.names("actor") == ()
    assert not WRITTEN.texts("genre")
    assert not WRITTEN.texts("none")
    assert WRITTEN.names("title") is WRITTEN.names("none") is None


def test_what_may_have_been_written_counts_as_ours_too(memory: SyncMemory) -> None:
    memory.remember(1, dataclasses.replace(WRITTEN, pending={"title": "New", "genre": ["D"], "director": ["E"]}))
    written = memory.recall(1, 7)
    assert written.texts("title") == {"T é 👩‍👩‍👧", "New"}
    assert set(written.names("genre") or ()) == {"A, B", "C", "D"}
    assert written.names("director") == ("E",)


@pytest.mark.parametrize("attribute", ["rating_key", "fields", "pending", "cover"])
def test_a_memory_does_not_change_in_the_hand(attribute: str) -> None:
    with pytest.raises(AttributeError):
        setattr(WRITTEN, attribute, None)
