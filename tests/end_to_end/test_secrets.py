"""Token, session cookie and API key: in no log, answer, dead letter, argument or environment, whatever goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.end_to_end.conftest import TASK, TOKEN, World
from tests.entry.processes import until
from tests.simulators.httpd import Answer, Reset

API_KEY = "api-key-of-stash-0123456789abcdef"
PASSWORD = "password-of-the-user"
#: The one file that is there to hold the session.
HOLDS_THE_SESSION = {"connection.json"}


def test_no_secret_is_seen_anywhere_however_much_goes_wrong(
    make_world: Callable[..., World],
) -> None:
    world = make_world(username="user", password=PASSWORD, api_key=API_KEY)
    pairs = world.pairs(3)
    world.save(pairs[0][0], title="All is well")
    world.shows(pairs[0][1], "All is well")
    (pid,) = world.workers()
    process = [Path(f"/proc/{pid}/{name}") for name in ("cmdline", "environ")]
    seen = [path.read_bytes() for path in process if path.exists()]

    go_wrong(world, pairs[1][0].id)
    world.stash.plugin_log.clear()
    world.settings()
    world.save(pairs[2][0], title="At last")
    world.shows(pairs[2][1], "At last")
    job = world.stash.run_task("PlexSync", TASK)
    assert job.wait(240)

    secrets = {TOKEN, API_KEY, PASSWORD, "rejected-token-0123456789"}
    for run in world.stash.plugins.runs():
        secrets.add(run.stdin["server_connection"]["SessionCookie"]["Value"])
        seen.append(run.stdout)
        seen += [line.text.encode() for line in run.log]
    seen += [
        file.read_bytes()
        for file in world.data_dir.rglob("*")
        if file.is_file() and file.name not in HOLDS_THE_SESSION
    ]
    for secret in secrets:
        for place in seen:
            assert secret.encode() not in place


def go_wrong(world: World, scene_id: int) -> None:
    """Everything that makes somebody speak of addresses, tokens and answers."""
    scene = world.stash.scene(scene_id)
    broken = [
        world.plex.faults.add(Answer(500, f"token={TOKEN}".encode()), times=1),
        world.plex.faults.add(Reset(), times=2),
        world.plex.faults.add(Answer(400, f"X-Plex-Token={TOKEN}".encode()), method="PUT", times=1),
        world.stash.faults.add(Answer(500, f"{API_KEY} {PASSWORD}".encode()), times=1),
    ]
    world.save(scene, title="Goes wrong")
    until(lambda: all(rule.left == 0 for rule in broken), "all has gone wrong")
    world.settings(plex_token="rejected-token-0123456789", max_retries="99")
    world.save(scene, title="Goes wrong again")
    until(lambda: "max_retries" in world.worker_log())
    world.settings(plex_token="rejected-token-0123456789")
    until(lambda: "rejects the token" in world.worker_log())
    assert json.loads((world.data_dir / "connection.json").read_text(encoding="utf-8"))
