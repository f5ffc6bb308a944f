"""The campaign: round after round of trouble, and after each one quiet, in which everything must come right."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from queue.operations import load_sync_timestamps
from tests.demo.processes import worker_pids
from tests.soak.plan import Round, make_plan
from tests.soak.trouble import Trouble
from tests.soak.world import IDLE, PASSWORD, PLUGIN, TOKEN, World, mark, open_world

#: Seconds that a quiet world gets to come right; retries that wait are due within 6 s.
PATIENCE = 240.0
_LOOK = 0.1
#: What no log may say. The last one: no fault here lasts for all retries of one job, so none may be given up,
#: not even one that the catch-up would find again.
_FORBIDDEN = ("database is locked", "Traceback", "Please report this", "could not be synced")


class Lost(AssertionError):
    """The campaign found something: what, and how to see it again."""


@dataclass
class Tally:
    """What a campaign did."""

    seed: int
    rounds: int = 0
    edits: int = 0
    killed_hooks: int = 0
    killed_workers: int = 0
    killed_at_points: int = 0
    seconds: float = 0.0

    @property
    def kills(self) -> int:
        return self.killed_hooks + self.killed_workers + self.killed_at_points

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.rounds} rounds, {self.edits} edits, {self.kills} kills ({self.killed_hooks} hooks"
            f" and tasks, {self.killed_workers} workers, {self.killed_at_points} at named points),"
            f" {self.seconds:.0f} s"
        )


def run_campaign(
    seed: int, rounds: int, kills: int, say: Callable[[str], object] = lambda text: None
) -> Tally:
    """Run a campaign. Under an odd seed the catch-up is blind, and the queue alone must see to it.

    Args:
        kills: of hooks and workers, planned for each round.
        say: takes a line of progress after each round.

    Raises:
        Lost: something was lost, or wrong, or left behind.
    """
    started = time.monotonic()
    tally = Tally(seed)
    with open_world(blind=bool(seed % 2)) as world:
        _first_sync(world)
        for round_ in make_plan(seed, rounds, kills):
            try:
                _live_through(world, round_)
            except Exception as error:
                raise Lost(_report(world, seed, round_, error)) from error
            tally.rounds += 1
            _count(world, tally)
            tally.seconds = time.monotonic() - started
            say(f"{tally}; round {round_.number} ended {round_.ending}")
        try:
            _leave_nothing(world)
        except Exception as error:
            raise Lost(f"seed {seed}, at the end: {error}\n{_logs(world)}") from error
    tally.seconds = time.monotonic() - started
    return tally


def _first_sync(world: World) -> None:
    """Everything is saved once, so that the catch-up knows from where on it has to look."""
    world.bulk(list(world.scene_ids), {"tags": ["Tag 0"]})
    _wait(world.unfinished)
    _wait(
        lambda: [] if Path(world.data_dir, "queue", "catch_up.json").exists() else ["no watermark"]
    )


def _live_through(world: World, round_: Round) -> None:
    Trouble(world).run(round_)
    if (
        round_.ending != "alive" or world.trap.armed
    ):  # a worker that took a trap with it would still die by it
        _assert(world.end_workers(), "a worker could not be ended")
    last = round_.last_saved if round_.last_saved in world.scene_ids else min(world.scene_ids)
    # An item that Plex made anew comes to what Stash shows with the next save of its scene, not before.
    # Where the catch-up is blind, whoever saw the hook fail saves again.
    again = world.replaced | (world.untold if world.blind else set())
    slots = sorted({last, *(again & world.scene_ids.keys())})
    world.untold.clear()
    world.tagger(
        [(slot, {"title": f"Last of {{slot}} in round {round_.number}"}) for slot in slots]
    )
    world.replaced.clear()
    if round_.ending == "task":
        world.stash.run_task(PLUGIN, "Sync recent scenes").wait(PATIENCE)
    _wait(world.unfinished)
    _check(world)


def _check(world: World) -> None:
    letters = [
        f"scene {one['scene_id']}: {one['error_type']}: {one['error_message']}"
        for one in world.letters()
    ]
    _assert(not letters, f"dead letters that do not belong there: {letters}")
    _assert(not (wrong := _wrong_writes(world)), f"writes to wrong items: {wrong}")
    world.read_stderr()
    _assert(not world.stderr, f"a worker wrote to stderr: {world.stderr}")
    said = [line.text for line in world.stash.plugin_log]
    texts = [
        *said,
        *(path.read_text(errors="replace") for path in Path(world.data_dir).glob("worker.log*")),
    ]
    for sign in _FORBIDDEN:
        _assert(not any(sign in text for text in texts), f"{sign!r} in a log")
    _assert(
        not (errors := world.plex.server.errors + world.stash.server.errors),
        f"a simulator failed: {errors}",
    )


def _wrong_writes(world: World) -> list[str]:
    """Edits of an item that is no scene's, or with another scene's texts."""
    wrong = []
    for write in world.plex.writes:
        slot = world.keys.get(write.rating_key)
        texts = [write.parameters.get(f"{name}.value") for name in ("title", "summary")]
        if slot is None or any(text and mark(slot) not in text for text in texts):
            wrong.append(f"item {write.rating_key} (slot {slot}): {write.parameters}")
    for upload in world.plex.uploads:
        slot = world.keys.get(upload.rating_key)
        if slot is None or mark(slot).encode() not in upload.data:
            wrong.append(f"poster of item {upload.rating_key} (slot {slot})")
    return wrong


def _leave_nothing(world: World) -> None:
    """A new worker tidies up, and leaves by itself; then look at what is on the disk."""
    _assert(world.end_workers(), "a worker could not be ended")
    world.save(min(world.scene_ids), {"title": "{slot} at the end"})
    _wait(world.unfinished)
    _wait(lambda: _forgotten(world))
    _wait(
        lambda: [f"process {pid} is left" for pid in worker_pids(world.data_dir)], IDLE + PATIENCE
    )
    names = sorted(path.name for path in Path(world.data_dir).rglob("*") if path.is_file())
    _assert(
        not [name for name in names if name.endswith((".tmp", ".rescue"))], f"left behind: {names}"
    )
    _assert(not [name for name in names if ".broken-" in name], f"a file broke: {names}")
    _check_privacy(world)


def _forgotten(world: World) -> list[str]:
    known, alive = set(load_sync_timestamps(world.data_dir)), set(world.scene_ids.values())
    return [f"timestamps of scenes that are gone: {known - alive}"] if known - alive else []


def _check_privacy(world: World) -> None:
    cookies = {
        run.stdin["server_connection"]["SessionCookie"]["Value"]
        for run in world.stash.plugins.runs()
    }
    secrets = [TOKEN.encode(), PASSWORD.encode(), *(cookie.encode() for cookie in cookies)]
    for path in Path(world.data_dir).rglob("*"):
        if path.is_file():
            _assert(
                path.stat().st_mode & 0o077 == 0 or os.name == "nt",
                f"{path.name} can be read by others",
            )
            content = path.read_bytes()
            leaked = path.name != "connection.json" and any(secret in content for secret in secrets)
            _assert(not leaked, f"a secret in {path.name}")
    said = "\n".join(line.text for line in world.stash.plugin_log)
    _assert(not any(secret.decode() in said for secret in secrets), "a secret in Stash's log")


def _count(world: World, tally: Tally) -> None:
    tally.edits = world.edits
    tally.killed_workers = world.killed_workers
    points = len(world.trap.sprung())
    killed_runs = sum(run.exit_code == -signal.SIGKILL for run in world.stash.plugins.runs())
    # A hook that died at a named point is a run that was killed as well: it counts once.
    tally.killed_at_points = points
    tally.killed_hooks = killed_runs - world.trap.sprung_in_hooks()


def _wait(unfinished: Callable[[], list[str]], patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while (left := unfinished()) and time.monotonic() < deadline:
        time.sleep(_LOOK)
    _assert(not left, "; ".join(left))


def _assert(is_well: object, text: str) -> None:
    if not is_well:
        raise AssertionError(text)


def _report(world: World, seed: int, round_: Round, error: BaseException) -> str:
    plan = "\n".join(map(str, round_.events))
    return (
        f"seed {seed}, round {round_.number} (ending {round_.ending}): {type(error).__name__}: {error}\n"
        f"The plan of the round:\n{plan}\nKilled at: {world.trap.sprung()[-12:]}\n{_logs(world)}"
    )


def _logs(world: World) -> str:
    said = "\n".join(f"{line.level} {line.text}" for line in world.stash.plugin_log[-40:])
    logs = sorted(Path(world.data_dir).glob("worker.log"))
    return f"Stash's log:\n{said}\nThe worker's log:\n" + "".join(
        "\n".join(path.read_text(errors="replace").splitlines()[-250:]) for path in logs
    )
