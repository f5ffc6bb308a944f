"""The page's operations through Stash's `runPluginOperation` and in a shell, after a real sync."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.harness.base import TOKEN
from tests.harness.installation import SCALE, ProcessHarness
from tests.harness.processes import wait_until
from tests.tasks import run_command, run_task

PLUGIN = "PlexSync"


def ask(harness: ProcessHarness, mode: str, **arguments: Any) -> dict[str, Any]:
    """Run an operation as the browser does."""
    output = harness.stash.run_operation(PLUGIN, {"mode": mode, **arguments})
    assert isinstance(output, dict)
    assert TOKEN not in json.dumps(output)
    return output


def view(harness: ProcessHarness, name: str, **arguments: Any) -> dict[str, Any]:
    return ask(harness, "page", view=name, **arguments)


def test_the_page_after_a_save(harness: ProcessHarness) -> None:
    before = view(harness, "state")
    assert (before["is_set_up"], before["worker"]["alive"]) == (False, False)
    scene, item = harness.pair("a", title="Before")
    lost = harness.add_scene("lost")
    harness.save(scene, title="After")
    harness.wait_for_title(item, "After")
    harness.wait_for_empty_queue()
    harness.save(lost, title="Lost")

    wait_until(lambda: view(harness, "state")["counts"]["in_sync"] == 1, "a read-back")
    state = view(harness, "state")
    assert state["plex"] == {"name": harness.plex.settings.friendly_name, "libraries": ["Scenes"]}
    assert (state["is_set_up"], state["problem"], state["worker"]["alive"]) == (True, None, True)
    assert state["last_change_at"] >= state["now"] - 300

    shown = view(harness, "scene", scene_id=scene.id)
    (one,) = shown["items"]
    title = next(field for field in one["fields"] if field["name"] == "title")
    assert (title["wanted"], title["state"], title["last"]["by"]) == (
        "After", "in_sync", "plexsync",
    )  # fmt: skip
    assert (one["library"], one["rating_key"]) == ("Scenes", item.rating_key)
    (run,) = view(harness, "changes")["runs"]
    assert run["cause"] == "saved"
    rows = view(harness, "run", run=run["run"])["rows"]
    assert [row["after"] for row in rows if row["field"] == "title"] == ["After"]
    assert view(harness, "badges", scene_ids=[scene.id])["statuses"] == {str(scene.id): "in_sync"}
    assert "Worker started" in "\n".join(view(harness, "details")["lines"])
    key = f"{one['section']}:{one['rating_key']}"
    assert ask(harness, "pictures", items=[key])["pictures"][key].startswith("data:image/")
    assert ask(harness, "wake") == {"started": False}


def test_a_wrong_setting_is_shown_with_what_mends_it(harness: ProcessHarness) -> None:
    harness.configure(plex_token="wrong-token-0123456789")
    scene, _ = harness.pair()
    harness.save(scene, title="T")
    seen: list[Any] = []  # while the worker tries again, no problem is shown for a moment

    def has_problem() -> bool:
        seen.append(view(harness, "state")["problem"])
        return seen[-1] is not None

    wait_until(has_problem, "a problem")
    problem = seen[-1]
    assert (problem["action"], "token" in problem["text"]) == ("setup", True)
    tried = ask(harness, "setup_test", plex_url=harness.plex.url, plex_token=TOKEN)
    assert tried["ok"] is True
    harness.configure()
    wait_until(lambda: view(harness, "state")["problem"] is None, "no problem any more")


def test_the_same_in_a_shell(harness: ProcessHarness, tmp_path: Path) -> None:
    _, item = harness.pair()
    run_task(harness, "Status")  # the command line knows Stash from it
    harness.configure(plex_token=None)

    def command(*arguments: str) -> dict[str, Any]:
        env = {"PLEXSYNC_TIME_SCALE": SCALE, "PLEX_TOKEN": TOKEN}
        shown = run_command(harness.data_dir, *arguments, "--json", env=env)
        assert TOKEN not in shown.stdout + shown.stderr
        document = json.loads(shown.stdout)
        assert isinstance(document, dict)
        return document

    tried = command("setup-test", "--plex-url", harness.plex.url)
    assert [one["name"] for one in tried["libraries"]] == ["Scenes"]
    matched = command("setup-match", "--path-mappings", "/data => /media", "--sample", "3")
    assert (matched["matched"], matched["mappings"][0]["hits"]) == (1, 1)
    key = f"{item.library.key}:{item.rating_key}"
    assert list(command("pictures", key)["pictures"]) == [key]
    assert command("wake")["started"] is False
    assert command("page", "state")["counts"]["in_sync"] == 0
