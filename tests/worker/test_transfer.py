"""Export and import: all settings, choices and ignored scenes as one file without secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from common.sqlite import connect
from history.records import Choice, Status
from history.store import FILE, History
from plex.session import PLEX
from tasks.context import Context, Result, UsageError
from tasks.transfer import SETTINGS, export_all, import_all
from tests.harness.base import PLUGIN, TOKEN
from tests.harness.in_process import WorkerHarness
from tests.harness.plugin import ENTRY
from worker.last_rules import LastRules

WEBHOOK = "https://example.org/a-secret-address"


class Running(Context):
    """A context whose commands the harness's worker carries out."""

    def run(self, command: str, arguments: Any) -> dict[str, Any]:
        harness: Any = self.environ["harness"]
        found: dict[str, Any] = harness.command(command, **arguments)
        return {"reason": found["error"]} if "error" in found else found


@pytest.fixture
def history(harness: WorkerHarness) -> Iterator[History]:
    with closing(connect(str(harness.data_dir / FILE), any_thread=True)) as connection:
        history = History(connection, now=harness.clock.time)
        harness.new_worker(history=history)
        yield history
        harness.worker.stop()


@pytest.fixture
def context(harness: WorkerHarness, history: History) -> Context:
    environ: Any = {"harness": harness}
    return Running(
        str(harness.data_dir), str(ENTRY), harness.client, harness.redactor,
        lambda *_: None, lambda *_: None, environ=environ,
    )  # fmt: skip


def exported(context: Context) -> dict[str, Any]:
    found = export_all(context, {})
    assert TOKEN not in json.dumps(found.to_dict())
    document: dict[str, Any] = found.data["document"]
    return document


def imported(context: Context, document: Any, **arguments: Any) -> Result:
    return import_all(context, {"data": json.dumps(document), **arguments})


def choose(harness: WorkerHarness, scene_id: int, *keys: int) -> None:
    items = [{"server": "s", "rating_key": key, "path": f"/media/{key}.mp4"} for key in keys]
    harness.command("choose", scene_id=scene_id, items=items)


def page(harness: WorkerHarness) -> dict[str, Any]:
    return dict(harness.stash.plugin_settings(PLUGIN) or {})


def test_what_was_exported_comes_back(
    harness: WorkerHarness, context: Context, history: History
) -> None:
    for name in "abcd":
        harness.add_scene(name)
    harness.configure(tag_rules="A => labels", max_retries="7", sync_rating=True)
    choose(harness, 1, 11, 12)
    choose(harness, 2, 21)
    harness.command("ignore", scene_id=3)
    document = exported(context)
    assert set(document["settings"]) == set(SETTINGS)
    assert [one["rating_key"] for one in document["choices"]] == [11, 12, 21]

    for scene_id in (1, 2):
        choose(harness, scene_id)
    harness.command("ignore", scene_id=3, off=True)
    harness.configure(labels="X", sync_title=False)
    before = page(harness)
    found = imported(context, document, preview=True)
    assert found.summary == ("Import: would take over 5 settings, 2 chosen and 1 ignored scene")
    assert found.data["settings"] == {
        "tag_rules": ["", "A => labels"], "max_retries": [5, "7"], "sync_rating": [False, True],
        "labels": ["X", ""], "sync_title": [False, True],
    }  # fmt: skip
    assert set(found.data) == {"settings", "choices", "ignores", "plex_url", "notes"}
    assert page(harness) == before, "a preview changes nothing"
    assert history.all_choices() == []

    assert imported(context, document).ok
    created_at = {number: harness.stash.scene(number).created_at for number in (1, 2)}
    assert sorted(history.all_choices(), key=lambda one: one.rating_key) == [
        Choice(1, "s", 11, "/media/11.mp4", created_at=created_at[1]),
        Choice(1, "s", 12, "/media/12.mp4", created_at=created_at[1]),
        Choice(2, "s", 21, "/media/21.mp4", created_at=created_at[2]),
    ]
    assert [row.scene_id for row in history.with_status(Status.IGNORED)] == [3]
    assert page(harness) == {
        **before, "tag_rules": "A => labels", "max_retries": "7", "sync_rating": True,
        "labels": "", "sync_title": True,
    }  # fmt: skip
    again = imported(context, document)
    assert "0 settings, 0 chosen and 0 ignored scenes" in again.summary


def test_no_secret_leaves_and_none_is_taken(harness: WorkerHarness, context: Context) -> None:
    harness.configure(webhook_url=WEBHOOK, plex_url=f"http://user:{TOKEN}@nas:32400")
    document = exported(context)
    assert WEBHOOK not in json.dumps(document)
    assert not {"plex_url", "plex_token", "plexToken", "webhook_url"} & set(document["settings"])
    document["settings"] = {"plex_token": "x" * 20, "webhook_url": "http://x", "labels": "A"}
    found = imported(context, document)
    assert found.data["notes"] == [
        "Left out, as secrets are never imported: plex_token, webhook_url"
    ]
    saved = page(harness)
    assert (saved["labels"], saved["plex_token"], saved["webhook_url"]) == ("A", TOKEN, WEBHOOK)


def test_another_address_of_plex_gets_the_token_only_if_the_user_says_so(
    harness: WorkerHarness, context: Context
) -> None:
    ours = page(harness)["plex_url"]
    document = {**exported(context), "settings": {"plex_url": "http://other:32400"}}
    found = imported(context, document)
    assert found.data["plex_url"] == "http://other:32400"
    assert any("http://other:32400" in note for note in found.data["notes"])
    assert page(harness)["plex_url"] == ours
    assert imported(context, document, with_plex_url="true").data["plex_url"] is None
    assert page(harness)["plex_url"] == "http://other:32400"
    harness.configure(plex_url=None, plex_token=None)  # a new installation: no token can leak
    imported(context, document)
    assert page(harness)["plex_url"] == "http://other:32400"


def test_scenes_of_another_stash_are_left_out(
    harness: WorkerHarness, context: Context, history: History
) -> None:
    for name in "abc":
        harness.add_scene(name)
    for scene_id in (1, 2, 3):
        harness.command("ignore", scene_id=scene_id)
    document = exported(context)
    for scene_id in (1, 2, 3):
        harness.command("ignore", scene_id=scene_id, off=True)
    one, two, three = document["ignores"]
    one["path"] = "/moved.mp4"  # the same scene: it was created at the same time
    two["created_at"] = "2001-01-01T00:00:00Z"  # the same file, scanned again
    three.update(created_at="2001-01-01T00:00:00Z", path="/other.mp4")
    document["choices"] = [
        {**three, "scene_id": 99, "server": "s", "rating_key": 1, "item_path": ""}
    ]
    found = imported(context, document)
    assert (found.data["ignores"], found.data["choices"]) == (2, 0)
    assert [row.scene_id for row in history.with_status(Status.IGNORED)] == [1, 2]
    assert found.data["notes"] == ["Left out, as their scenes are not here, or others: 2 of 4"]
    document["ignores"] = [three]
    assert "may come from another Stash" in imported(context, document).data["notes"][0]


def test_what_was_said_of_a_scene_that_had_the_id_before_is_not_exported(
    harness: WorkerHarness, context: Context, history: History
) -> None:
    for name in "abcd":
        harness.add_scene(name)
    before = "2001-01-01T00:00:00Z"
    history.choose(1, [Choice(1, "s", 11, "/media/11.mp4", created_at=before)])
    choose(harness, 2, 21)
    harness.command("ignore", scene_id=3, created_at=before)
    harness.command("ignore", scene_id=4)
    document = exported(context)
    assert [one["scene_id"] for one in document["choices"]] == [2]
    assert [one["scene_id"] for one in document["ignores"]] == [4]

    entry = {"scene_id": 3, "created_at": "", "path": "/data/c.mp4"}
    assert imported(context, {**document, "ignores": [entry]}).data["ignores"] == 1
    created_at = {row.created_at for row in history.of_scene(3)}
    assert harness.stash.scene(3).created_at in created_at


def test_an_ambiguous_scene_is_synced_once_its_item_is_imported(
    harness: WorkerHarness, context: Context, history: History
) -> None:
    scene, item = harness.pair("a", title="Chosen")
    other = harness.plex.add_library("Others", [harness.plex_folder])
    harness.plex.add_item(other, item.path, size=100)
    harness.edit(scene, "New")
    harness.run_for(60)
    assert [row.status for row in history.of_scene(1)] == [Status.AMBIGUOUS]
    entry = {
        "scene_id": 1, "created_at": "", "path": scene.path, "item_path": item.path,
        "server": history.get(PLEX)["server"], "rating_key": item.rating_key,
    }  # fmt: skip
    assert imported(context, {**exported(context), "choices": [entry]}).data["notes"] == []
    harness.run_for(60)
    assert item.title == "New"
    entry["server"] = "elsewhere"
    found = imported(context, {**exported(context), "choices": [entry]}, preview=True)
    assert found.data["notes"] == ["1 choices are for another Plex, and count only there"]


def test_a_wrong_rule_is_not_exported_but_the_one_in_its_place(
    harness: WorkerHarness, context: Context
) -> None:
    LastRules(context.data_dir).keep(harness.config(labels="Last valid"))
    harness.configure(labels="=> A")
    assert exported(context)["settings"]["labels"] == "Last valid"
    harness.configure(labels="=> A", plex_token="")
    assert exported(context)["settings"]["labels"] == "Last valid", "whatever else is wrong"


def test_a_text_that_looks_like_a_number_is_a_text(
    harness: WorkerHarness, context: Context
) -> None:
    harness.configure(labels="1,2", content_rating="18", max_tags="7")
    document = exported(context)
    harness.configure(labels="1.2", content_rating="18.0", max_tags="7.0")
    imported(context, document)
    found = page(harness)
    assert (found["labels"], found["content_rating"], found["max_tags"]) == ("1,2", "18", "7.0")


def test_unknown_settings_are_said_and_left_out(harness: WorkerHarness, context: Context) -> None:
    settings = {"labels": "A", "from_the_future": 1, "rule_problems": "x", "stash_folders": "y"}
    found = imported(context, {**exported(context), "settings": settings})
    assert found.data["notes"] == [
        "Left out, as this PlexSync has no such settings: from_the_future, rule_problems,"
        " stash_folders"
    ]
    assert not set(settings) - {"labels"} & set(page(harness))


GOOD = {"format": "plexsync-export", "format_version": 1}
SCENE = {"scene_id": 1, "created_at": "", "path": "/a"}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("", "data: the content of a file is missing"),
        ("{", "The file is not JSON"),
        ("[" * 100_000, "The file is not JSON"),
        ('{"format": "plexsync-export", "settings": {"labels": NaN}}', "The file is not JSON"),
        ({**GOOD, "settings": {"max_tags": 10**400}}, "must be a whole number from 1 to 500"),
        ("[]", "The file was not made by PlexSync's export"),
        ('{"format": "x"}', "The file was not made by PlexSync's export"),
        (" " * 20_000_000 + "{}", "The file has more than 20 MB"),
        ({**GOOD, "format_version": 2, "version": "9.1"}, "it was made by version 9.1"),
        ({**GOOD, "settings": []}, "settings are not an object"),
        ({**GOOD, "settings": {"labels": ["A"]}}, "setting labels must be a text"),
        ({**GOOD, "settings": {"labels": "A =>"}}, "nothing is imported: labels is 'A =>'"),
        ({**GOOD, "settings": {"labels": "A", "max_retries": 99}}, "max_retries is '99'"),
        ({**GOOD, "choices": {}}, "choices must be a list"),
        ({**GOOD, "ignores": [SCENE, 7]}, "ignores, entry 2: it is not an object"),
        ({**GOOD, "ignores": [{**SCENE, "scene_id": "1"}]}, "entry 1: scene_id is not a number"),
        ({**GOOD, "ignores": [{"scene_id": 1, "path": ""}]}, "entry 1: created_at is not a text"),
        ({**GOOD, "choices": [SCENE]}, "choices, entry 1: server is not a text"),
        ({**GOOD, "choices": [{**SCENE, "server": "", "rating_key": True}]}, "rating_key is not"),
    ],
)
def test_a_wrong_file_is_one_sentence_and_changes_nothing(
    harness: WorkerHarness, context: Context, history: History, data: Any, sentence: str
) -> None:
    before = page(harness)
    harness.add_scene()
    text = data if isinstance(data, str) else json.dumps({"settings": {"labels": "A"}, **data})
    with pytest.raises(UsageError) as caught:
        import_all(context, {"data": text})
    assert sentence in str(caught.value).replace("is 99:", "is '99':")
    assert len(str(caught.value).splitlines()) == 1
    assert page(harness) == before
    assert list(history.with_status(Status.IGNORED)) == []


def test_settings_stay_as_they_are_where_the_worker_could_not_take_over_the_scenes(
    harness: WorkerHarness, context: Context
) -> None:
    harness.add_scene()
    document = {
        **GOOD, "settings": {"labels": "A"}, "ignores": [{**SCENE, "path": "/data/a.mp4"}]
    }  # fmt: skip

    class Refusing(Running):
        def run(self, command: str, arguments: Any) -> dict[str, Any]:
            return {"reason": "the worker makes no progress"}

    refusing = Refusing(**{name: getattr(context, name) for name in context.__dataclass_fields__})
    found = import_all(refusing, {"data": json.dumps(document)})
    assert not found.ok
    assert found.summary.endswith("no setting was changed: the worker makes no progress")
    assert "labels" not in page(harness)
