"""A value of a scene's record that can't be read costs no edit of that scene."""

from __future__ import annotations

import pytest

from history.store import _NAMES
from tests.harness.in_process import WorkerHarness
from tests.harness.size import some

DAMAGE = [
    (column, value)
    for column in _NAMES
    if column not in ("id", "scene_id")
    for value in (b"\xff\xfe", "{", 7)
]


@pytest.mark.parametrize(("column", "value"), some(DAMAGE, 23))
def test_the_scene_syncs_again(harness: WorkerHarness, column: str, value: object) -> None:
    """At its next edit and by *Re-sync*; `tests/robust/test_files.py` has it with processes."""
    scene, item = harness.pair(tags=["One"])
    harness.edit(scene, "One")
    harness.run_for(60)
    assert item.title == "One"
    place = "CAST(? AS TEXT)" if isinstance(value, bytes) else "?"
    harness.worker.history._db.execute(f"UPDATE agreements SET {column} = {place}", (value,))
    harness.restart()
    harness.edit(scene, "Two")
    harness.run_for(60)
    assert item.title == "Two"
    harness.plex.person_sets(item.rating_key, "title", "By hand")
    harness.command("resync", scene_id=scene.id)
    harness.run_for(60)
    assert item.title == "Two"
    assert harness.jobs() == []
    assert harness.letters() == []
