"""A webhook with real processes: told once, also after a kill, and its address is nowhere."""

from __future__ import annotations

import json
from pathlib import Path

from tests.harness.installation import ProcessHarness
from tests.harness.processes import kill_workers, wait_until
from tests.simulators.webhook import PATH, WebhookReceiver
from tests.tasks import run_command


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_scenes_that_need_the_user_are_told_once(harness: ProcessHarness) -> None:
    for folder in ("a", "b"):
        harness.add_item(f"{folder}/twice")
    twice, (scene, item) = harness.add_scene("c/twice"), harness.pair("one")

    def needs() -> int:
        answer = harness.stash.run_operation("PlexSync", {"mode": "page", "view": "count"})
        assert isinstance(answer, dict)
        return int(answer["needs"])

    harness.save(twice, title="T")
    wait_until(lambda: needs() == 1, "a scene that needs the user")
    with WebhookReceiver() as receiver:
        harness.configure(webhook_url=receiver.url)
        harness.save(scene, title="First")
        harness.wait_for_title(item, "First")
        assert receiver.server.log.wait_for(1)
        wait_until(lambda: receiver.events() == ["needs_user"], "the message")
        assert receiver.messages[0]["needs"] == 1
        assert kill_workers(harness.data_dir)
        harness.save(scene, title="Second")
        harness.wait_for_title(item, "Second")
        harness.wait_for_empty_queue()
        assert receiver.events() == ["needs_user"]

        tried = harness.stash.run_operation("PlexSync", {"mode": "webhook_test"})
        shown = run_command(harness.data_dir, "webhook-test", "--json")
        assert json.loads(shown.stdout)["ok"] is True
        assert receiver.events() == ["needs_user", "test", "test"]
    run_command(harness.data_dir, "report")
    harness.stop_worker()  # it replaces files while they are read
    secret = PATH.rpartition("/")[2]
    assert secret not in json.dumps(tried) + shown.stdout + shown.stderr
    assert secret.encode() not in everything_in(harness.data_dir)
