"""A library on a legacy agent: the user says once where its values came from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

import common.layout as layout
import worker.reconcile.approval as approval
from common.sqlite import connect
from history.records import Status
from history.store import FILE, History
from page.views import answer as page
from plex.undo import COLLECTIONS_STAY
from tasks.check import check
from tasks.context import Context, UsageError
from tasks.origin import library_origin
from tests.harness.clock import HOUR
from tests.harness.in_process import WorkerHarness
from tests.harness.plugin import ENTRY
from tests.simulators.plex import PlexItem
from tests.simulators.stash import Scene
from tests.worker.support import row_of

AGENT = "com.plexapp.agents.stashplexagent"
#: What the old agent left in an item, and what a scene has.
LEFT: dict[str, Any] = {
    "genres": ["Old tag", "Tag"], "actors": ["Old actor", "Actor"], "directors": ["Old director"],
    "collections": ["Old series", "Series", "With a poster"],
}  # fmt: skip
SCENE: dict[str, Any] = {
    "tags": ["Tag", "New tag"], "performers": ["Actor"], "groups": ["Series"], "updated_at": 1e9,
}  # fmt: skip
JPEG = b"\xff\xd8\xff a poster"


@pytest.fixture
def harness(harness: WorkerHarness) -> WorkerHarness:
    harness.library.agent = AGENT
    harness.new_worker(compares=True)
    return harness


def filled(harness: WorkerHarness, count: int = 3) -> list[tuple[Scene, PlexItem]]:
    """Return scenes and items full of the old agent's values; nothing is synced yet.

    One item besides is not in Stash, so that no collection ends. A collection has a poster of a
    person's, and the first item's genres were changed by one.
    """
    harness.add_item("other", **LEFT)
    pairs = [
        (harness.add_scene(f"s{number}", **SCENE), harness.add_item(f"s{number}", **LEFT))
        for number in range(count)
    ]
    harness.run_for(60)
    collection = harness.plex.collection(harness.library, "With a poster")
    assert collection is not None
    harness.plex.edit_collection(collection, poster=JPEG)
    harness.plex.person_adds(pairs[0][1].rating_key, "genre", "Mine")
    return pairs


def answer(harness: WorkerHarness, text: str | None) -> None:
    server = harness.plex.machine_identifier
    section = harness.library.key
    harness.command("library_origin", server=server, section=section, answer=text)


def sync_all(harness: WorkerHarness) -> str:
    """Run *Sync all*, and the pass after it, which must write nothing; return its run."""
    run = str(harness.command("sync")["run"])
    harness.run_for(60)
    writes = len(harness.plex.writes)
    harness.command("sync")
    harness.restart()
    harness.run_for(HOUR)
    assert harness.plex.writes[writes:] == [], "the second pass writes nothing"
    return run


def lists(item: PlexItem) -> dict[str, list[str]]:
    kinds = ("genre", "actor", "director", "collection")
    return {kind: sorted(item.tags.get(kind, [])) for kind in kinds}


def shown(item: PlexItem) -> tuple[Any, ...]:
    return item.title, item.summary, lists(item), sorted(item.locked)


TAKEN_OVER = {
    "genre": ["New tag", "Tag"], "actor": ["Actor"], "director": [],
    "collection": ["Series", "With a poster"],
}  # fmt: skip
ADDED_TO = {
    "genre": ["New tag", "Old tag", "Tag"], "actor": ["Actor", "Old actor"],
    "director": ["Old director"], "collection": ["Old series", "Series", "With a poster"],
}  # fmt: skip
#: As at any first meeting: lists that nobody locked are replaced, unless Stash has nothing.
TODAY = {
    "genre": ["New tag", "Tag"], "actor": ["Actor"], "director": ["Old director"],
    "collection": ["Old series", "Series", "With a poster"],
}  # fmt: skip


@pytest.mark.parametrize("met", [False, True])
def test_lists_become_stashs_but_for_locked_ones_and_edited_collections(
    harness: WorkerHarness, met: bool
) -> None:
    pairs = filled(harness)
    before = [shown(item) for _, item in pairs]
    if met:
        answer(harness, "mine")
        sync_all(harness)
        assert lists(pairs[1][1]) == ADDED_TO
    answer(harness, "stash")
    run = sync_all(harness)
    (_, first), *others = pairs
    assert [lists(item) for _, item in others] == [TAKEN_OVER] * len(others)
    assert lists(first) == {**TAKEN_OVER, "genre": ["Mine", "New tag", "Old tag", "Tag"]}

    result = harness.command("undo", run=run)
    harness.run_for(60)
    assert {why for _, _, why in result["left"]} <= {COLLECTIONS_STAY}
    if met:
        assert [lists(item) for _, item in others] == [ADDED_TO] * len(others)
    else:
        assert [shown(item) for _, item in pairs] == before
    writes = len(harness.plex.writes)
    harness.command("sync")
    harness.restart()
    harness.run_for(HOUR)
    assert harness.plex.writes[writes:] == [], "it is not done again"


@pytest.mark.parametrize(("text", "expected"), [("mine", ADDED_TO), (None, TODAY)])
def test_partly_mine_takes_nothing_out_and_no_answer_is_as_always(
    harness: WorkerHarness, text: str | None, expected: dict[str, list[str]]
) -> None:
    pairs = filled(harness)
    answer(harness, text)
    sync_all(harness)
    assert [lists(item) for _, item in pairs[1:]] == [expected] * 2
    assert set(lists(pairs[0][1])["genre"]) == {"Mine", "New tag", "Old tag", "Tag"}


def test_names_that_a_person_adds_later_stay(harness: WorkerHarness) -> None:
    pairs = filled(harness)
    answer(harness, "stash")
    sync_all(harness)
    item = pairs[1][1]
    harness.plex.person_adds(item.rating_key, "genre", "Old tag")
    harness.plex.person_adds(item.rating_key, "collection", "Old series")
    answer(harness, "mine")
    answer(harness, "stash")
    sync_all(harness)
    harness.edit(pairs[1][0], tags=["Other"])
    harness.run_for(60)
    assert lists(item)["genre"] == ["Old tag", "Other"]
    assert "Old series" in lists(item)["collection"]


def test_what_a_person_added_or_took_out_since_the_first_sync_stays_so(
    harness: WorkerHarness,
) -> None:
    pairs = filled(harness)
    answer(harness, "mine")
    sync_all(harness)
    item = pairs[1][1]
    harness.plex.person_adds(item.rating_key, "genre", "Added")
    harness.plex.person_removes(item.rating_key, "genre", "New tag")
    answer(harness, "stash")
    sync_all(harness)
    assert lists(item)["genre"] == ["Added", "Tag"]


def test_the_last_item_of_a_collection_that_is_not_ours_stays(harness: WorkerHarness) -> None:
    harness.add_item("other", collections=["Both"])
    harness.add_scene(**SCENE)
    item = harness.add_item(collections=["Alone", "Both"])
    harness.run_for(60)
    answer(harness, "stash")
    sync_all(harness)
    assert sorted(item.collections) == ["Alone", "Series"]


# --- without a task


def test_a_few_scenes_follow_by_themselves_as_one_run(harness: WorkerHarness) -> None:
    pairs = filled(harness)
    answer(harness, "mine")
    sync_all(harness)
    before = [lists(item) for _, item in pairs]
    answer(harness, "stash")
    harness.run_for(HOUR)
    assert lists(pairs[1][1]) == TAKEN_OVER
    changes = harness.worker.history.changes
    runs = {one.run for scene, _ in pairs for one in changes.of_scene(scene.id)}
    (run,) = [one for one in runs if one.startswith("origin-")]
    harness.command("undo", run=run)
    harness.run_for(60)
    assert [lists(item) for _, item in pairs] == before


def test_many_scenes_wait_for_a_yes(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approval, "MOST_UNASKED", 3)
    pairs = filled(harness, 4)
    answer(harness, "mine")
    sync_all(harness)
    before = [lists(item) for _, item in pairs]
    answer(harness, "stash")
    harness.run_for(HOUR)
    assert [lists(item) for _, item in pairs] == before
    held = harness.worker.history.get(approval.HELD)
    assert held["reasons"] == {"your answer about a library in Plex": 4}
    assert harness.command("approve") == {"approved": 4}
    harness.run_for(HOUR)
    assert [lists(item) for _, item in pairs[1:]] == [TAKEN_OVER] * 3
    assert row_of(harness, pairs[1][0]).status is Status.IN_SYNC


# --- replace_lists, switched on later


def test_replace_lists_that_is_switched_on_later_works_once_for_each_item(
    harness: WorkerHarness,
) -> None:
    pairs = filled(harness)
    _, item = pairs[0]
    sync_all(harness)
    assert lists(item)["genre"] == ["Mine", "New tag", "Old tag", "Tag"]
    harness.plex.person_adds(item.rating_key, "genre", "Later")
    harness.configure(replace_lists=True)
    harness.run_for(HOUR)
    assert lists(item)["genre"] == ["Later", "New tag", "Tag"]
    assert lists(item)["collection"] == TODAY["collection"], "not collections"
    harness.plex.person_adds(item.rating_key, "genre", "Old tag")
    sync_all(harness)
    assert lists(item)["genre"] == ["Later", "New tag", "Old tag", "Tag"]


@pytest.mark.parametrize("is_upgraded", [False, True])
def test_a_list_that_was_replaced_at_the_first_sync_keeps_what_a_person_adds(
    harness: WorkerHarness, is_upgraded: bool
) -> None:
    harness.configure(replace_lists=True)
    (scene, item), *_ = filled(harness)
    sync_all(harness)
    assert lists(item)["genre"] == ["New tag", "Tag"]
    harness.plex.person_adds(item.rating_key, "genre", "Old tag")
    if is_upgraded:  # an older version did not note what it had replaced
        row = row_of(harness, scene)
        fields = {name: replace(one, taken_over=False) for name, one in row.fields.items()}
        harness.worker.history.save(replace(row, fields=fields, digest=None))
    else:
        harness.configure(replace_lists=False)
        harness.run_for(HOUR)
        harness.configure(replace_lists=True)
    sync_all(harness)
    assert lists(item)["genre"] == ["New tag", "Old tag", "Tag"]


# --- asking and answering


class InThisProcess(Context):
    """A context whose commands this process's worker carries out."""

    harness: WorkerHarness

    def run(self, command: str, arguments: Any) -> dict[str, Any]:
        return self.harness.command(command, **arguments)


@pytest.fixture
def on_disk(harness: WorkerHarness) -> Iterator[WorkerHarness]:
    """Return a harness whose history is a file, as previews and the page read it."""
    path = str(harness.data_dir / FILE)
    layout.record(str(harness.data_dir), layout.VERSION, "by a test")
    with closing(connect(path, any_thread=True)) as connection:
        history = History(connection, now=harness.clock.time)
        harness.new_worker(compares=True, history=history)
        yield harness


@pytest.fixture
def context(on_disk: WorkerHarness) -> Context:
    silent: Any = lambda *_: None  # noqa: E731
    made = InThisProcess(
        str(on_disk.data_dir), str(ENTRY), on_disk.client, on_disk.redactor, silent, silent,
        environ={},
    )  # fmt: skip
    object.__setattr__(made, "harness", on_disk)
    return made


def state(harness: WorkerHarness) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page(str(harness.data_dir), {"view": "state"})["legacy"]
    return found


def test_the_question_is_asked_until_it_is_answered(
    on_disk: WorkerHarness, context: Context
) -> None:
    filled(on_disk)
    asked = check(context, {})
    assert asked.data["agents"][0]["asks"] is True
    assert "library-origin 1 stash" in asked.summary
    assert f"legacy agent {AGENT}" in asked.summary
    assert "Personal Media" in asked.summary
    assert "Lock fields is off" not in asked.summary
    (shown,) = state(on_disk)
    assert (shown["section"], shown["agent"], shown["answer"]) == (1, AGENT, None)

    library_origin(context, {"section": "scenes", "answer": "stash"})
    answered = check(context, {})
    assert answered.data["agents"][0]["answer"] == "stash"
    assert "library-origin" not in answered.summary
    assert f"legacy agent {AGENT}" in answered.summary, "Plex still removes it"
    assert state(on_disk)[0]["answer"] == "stash"
    listed = library_origin(context, {}).data["libraries"]
    assert [(one["section"], one["answer"]) for one in listed] == [(1, "stash")]

    library_origin(context, {"section": 1, "answer": "ask"})
    assert state(on_disk)[0]["answer"] is None
    on_disk.configure(lock_fields=False)
    assert "Lock fields is off" in check(context, {}).summary


@pytest.mark.parametrize(
    "agent", ["tv.plex.agents.none", "com.plexapp.agents.none", "tv.plex.agents.movie"]
)
def test_a_library_on_an_agent_of_plexs_own_is_not_asked_about(
    on_disk: WorkerHarness, context: Context, agent: str
) -> None:
    on_disk.library.agent = agent
    filled(on_disk)
    assert "agents" not in check(context, {}).data
    assert state(on_disk) == []


def test_a_custom_agent_stays_in_plex(on_disk: WorkerHarness, context: Context) -> None:
    on_disk.library.agent = "tv.plex.agents.custom.stash"
    filled(on_disk)
    summary = check(context, {}).summary
    assert "library-origin 1 stash" in summary
    assert "2026" not in summary


def test_what_an_answer_would_take_away_is_shown_before(
    on_disk: WorkerHarness, context: Context
) -> None:
    filled(on_disk)
    writes = len(on_disk.plex.writes)
    asked = {"section": 1, "answer": "stash", "preview": True}
    found = library_origin(context, asked)
    assert found.data["removed"] == {"genre": 2, "actor": 3, "director": 3, "collection": 3}
    assert found.data["items_with_removed"] == 3
    assert "11 names would go from 3 items" in found.summary
    one = next(one for one in found.data["scenes"] if one["scene_id"] == 2)
    assert set(one["fields"]["collection"]["to"]) == {"Series", "With a poster"}
    assert library_origin(context, {**asked, "answer": "mine"}).data["removed"] == {}
    assert state(on_disk)[0]["answer"] is None
    assert len(on_disk.plex.writes) == writes


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"section": "Films", "answer": "stash"}, "1 = Scenes"),
        ({"section": 1}, "answer is missing"),
        ({"answer": "mine"}, "section"),
        ({"section": 1, "answer": "yes"}, "stash, mine, ask"),
        ({"section": 1, "answer": "ask", "preview": True}, "stash or mine"),
    ],
)
def test_a_wrong_answer_is_one_sentence(
    context: Context, arguments: dict[str, Any], text: str
) -> None:
    with pytest.raises(UsageError, match=text) as caught:
        library_origin(context, arguments)
    assert "\n" not in str(caught.value)


def test_an_item_that_becomes_another_scenes_is_not_taken_over_again(
    harness: WorkerHarness,
) -> None:
    (_, _), (scene, item), *_ = filled(harness)
    answer(harness, "stash")
    sync_all(harness)
    harness.plex.person_adds(item.rating_key, "genre", "Old tag")
    harness.stash.destroy_scene(scene.id)
    other = harness.add_scene("s1", tags=["Other"])
    harness.edit(other, "Another")
    harness.run_for(60)
    assert item.title == "Another"
    assert lists(item)["genre"] == ["Old tag", "Other"]
