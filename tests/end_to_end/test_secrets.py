"""Secrets stay out of logs, outputs, dead letters, arguments and environments, despite errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.end_to_end.conftest import TASK
from tests.harness.base import TOKEN
from tests.harness.installation import ProcessHarness
from tests.harness.processes import wait_until
from tests.simulators.httpd import Answer, Reset

API_KEY = "api-key-of-stash-0123456789abcdef"
PASSWORD = "password-of-the-user"
#: The only file that may hold the session.
HOLDS_THE_SESSION = {"connection.json"}


def test_no_secret_is_visible_anywhere_after_many_errors(
    make_harness: Callable[..., ProcessHarness],
) -> None:
    harness = make_harness(username="user", password=PASSWORD, api_key=API_KEY)
    pairs = harness.pairs(3)
    harness.save(pairs[0][0], title="All is well")
    harness.wait_for_title(pairs[0][1], "All is well")
    (pid,) = harness.workers()
    process = [Path(f"/proc/{pid}/{name}") for name in ("cmdline", "environ")]
    seen = [path.read_bytes() for path in process if path.exists()]

    cause_errors(harness, pairs[1][0].id)
    harness.stash.plugin_log.clear()
    harness.configure()
    harness.save(pairs[2][0], title="At last")
    harness.wait_for_title(pairs[2][1], "At last")
    job = harness.stash.run_task("PlexSync", TASK)
    assert job.wait(240)
    harness.stop_worker()  # it replaces files while they are read

    secrets = {TOKEN, API_KEY, PASSWORD, "rejected-token-0123456789"}
    for run in harness.stash.plugins.runs():
        secrets.add(run.stdin["server_connection"]["SessionCookie"]["Value"])
        seen.append(run.stdout)
        seen += [line.text.encode() for line in run.log]
    seen += [
        file.read_bytes()
        for file in harness.data_dir.rglob("*")
        if file.is_file() and file.name not in HOLDS_THE_SESSION
    ]
    for secret in secrets:
        for place in seen:
            assert secret.encode() not in place


def cause_errors(harness: ProcessHarness, scene_id: int) -> None:
    """Cause all errors whose messages could show addresses, tokens or responses."""
    scene = harness.stash.scene(scene_id)
    broken = [
        harness.plex.faults.add(Answer(500, f"token={TOKEN}".encode()), times=1),
        harness.plex.faults.add(Reset(), times=2),
        harness.plex.faults.add(
            Answer(400, f"X-Plex-Token={TOKEN}".encode()), method="PUT", times=1
        ),
        harness.stash.faults.add(Answer(500, f"{API_KEY} {PASSWORD}".encode()), times=1),
    ]
    harness.save(scene, title="Goes wrong")
    wait_until(lambda: all(rule.left == 0 for rule in broken), "all faults have happened")
    harness.configure(plex_token="rejected-token-0123456789", max_retries="99")
    harness.save(scene, title="Goes wrong again")
    wait_until(lambda: "max_retries" in harness.worker_log())
    harness.configure(plex_token="rejected-token-0123456789")
    wait_until(lambda: "rejects the token" in harness.worker_log())
    assert json.loads((harness.data_dir / "connection.json").read_text(encoding="utf-8"))
