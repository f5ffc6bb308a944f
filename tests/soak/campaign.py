"""Run rounds of faults; after each round, without faults, everything must get in sync."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from history.records import Status
from queue.operations import load_sync_timestamps
from tests.harness.base import PLUGIN, TOKEN
from tests.harness.processes import stop_workers, wait_until, worker_pids
from tests.harness.results import jobs_left
from tests.soak.harness import IDLE, PASSWORD, SoakHarness, mark, open_harness
from tests.soak.plan import Round, make_plan
from tests.soak.trouble import Trouble
from worker.reconcile.passes import FULL_ENDED
from worker.reconcile.quick import QUICK

#: Seconds until everything must be in sync after the faults; all retries are due within 6 s.
PATIENCE = 240.0
#: Texts that no log may contain. The last one: no fault here outlasts all retries of a job, so no
#: job may become a dead letter, not even one that a pass would find again.
_FORBIDDEN = ("database is locked", "Traceback", "Please report this", "could not be synced")


#: Statuses of scenes that Plex shows as Stash does.
_SYNCED = {Status.IN_SYNC.value, Status.WRITTEN.value}


class CampaignError(AssertionError):
    """Report what went wrong and how to repeat it."""


@dataclass
class Tally:
    """Count what a campaign did."""

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
            f"seed {self.seed}: {self.rounds} rounds, {self.edits} edits,"
            f" {self.kills} kills ({self.killed_hooks} hooks and tasks,"
            f" {self.killed_workers} workers, {self.killed_at_points} at named points),"
            f" {self.seconds:.0f} s"
        )


def run_campaign(
    seed: int, rounds: int, kills: int, say: Callable[[str], object] = lambda text: None
) -> Tally:
    """Run a campaign.

    With an odd seed the passes are blind, so the queue alone must lose nothing. With every third
    one, written fields are not locked, so that a refresh empties them.

    Args:
        kills: number of kills of hooks and workers, planned for each round.
        say: called with a line of progress after each round.

    Raises:
        CampaignError: an edit was lost, a write was wrong, or a file was left behind.
    """
    started = time.monotonic()
    tally = Tally(seed)
    with open_harness(blind=bool(seed % 2), locks=bool(seed % 3)) as harness:
        _sync_all_once(harness)
        for round_ in make_plan(seed, rounds, kills):
            try:
                _run_round(harness, round_)
            except Exception as error:
                raise CampaignError(_report(harness, seed, round_, error)) from error
            tally.rounds += 1
            _count(harness, tally)
            tally.seconds = time.monotonic() - started
            say(f"{tally}; round {round_.number} ended {round_.ending}")
        try:
            _check_leftovers(harness)
        except Exception as error:
            raise CampaignError(f"seed {seed}, at the end: {error}\n{_logs(harness)}") from error
    tally.seconds = time.monotonic() - started
    return tally


def _sync_all_once(harness: SoakHarness) -> None:
    """Save everything once, and let the first passes end."""
    harness.bulk(list(harness.scene_ids), {"tags": ["Tag 0"]})
    _wait(harness.unfinished)
    for state in (QUICK, FULL_ENDED):
        _wait(partial(_missing_state, harness, state))
    if harness.blind:
        harness.hide_changes()


def _missing_state(harness: SoakHarness, name: str) -> list[str]:
    return [] if harness.state(name) else [f"no {name}"]


def _run_round(harness: SoakHarness, round_: Round) -> None:
    Trouble(harness).run(round_)
    # A worker that loaded a kill point would still die at it, so it is replaced.
    if round_.ending != "alive" or harness.trap.armed:
        _assert(stop_workers(harness.data_dir), "a worker could not be ended")
    last = round_.last_saved if round_.last_saved in harness.scene_ids else min(harness.scene_ids)
    # What drifts a second time is repaired after a day, or with a save. If the passes are blind, a
    # user who saw the hook fail saves again.
    least = 1 if harness.blind else 2
    again = {slot for slot, count in harness.disturbed.items() if count >= least}
    if harness.blind:
        again |= harness.missed_slots
    slots = sorted({last, *(again & harness.scene_ids.keys())})
    harness.missed_slots.clear()
    harness.tagger(
        [(slot, {"title": f"Last of {{slot}} in round {round_.number}"}) for slot in slots]
    )
    if not harness.blind:
        harness.ask_for_full_pass()
    if round_.ending == "task":
        harness.stash.run_task(PLUGIN, "Sync recent scenes").wait(PATIENCE)
    _wait(lambda: [f"{left} jobs are left"] if (left := jobs_left(harness.data_dir)) else [])
    # A user who reads that the worker was killed three times with a scene saves it again.
    if died := harness.died():
        harness.tagger([(slot, {"title": f"Again {{slot}}, {round_.number}"}) for slot in died])
    _wait_for_sync(harness, last)
    _check(harness)


def _wait_for_sync(harness: SoakHarness, last: int) -> None:
    """Wait until Plex shows what Stash has.

    An item that stayed in a collection as the last one there, until another came, leaves it with
    the next full pass only.
    """
    try:
        _wait(harness.unfinished, PATIENCE / 2)
    except AssertionError:
        if not all(": collections: " in line for line in harness.unfinished()):
            raise
        harness.ask_for_full_pass()
        harness.tagger([(last, {"title": "A day later, {slot}"})])  # which starts a worker
        _wait(harness.unfinished)


def _check(harness: SoakHarness) -> None:
    letters = [
        f"scene {one['scene_id']}: {one['error_type']}: {one['error_message']}"
        for one in harness.letters()
        if one["error_type"] != "WorkerDied"
    ]
    _assert(not letters, f"dead letters that do not belong there: {letters}")
    statuses = harness.statuses()
    unsynced = {
        scene_id: found
        for scene_id in harness.scene_ids.values()
        if not (found := statuses.get(scene_id, set())) <= _SYNCED or not found
    }
    _assert(not unsynced, f"scenes that are not on record as in sync: {unsynced}")
    _assert(not (wrong := _writes_to_wrong_items(harness)), f"writes to wrong items: {wrong}")
    harness.read_stderr()
    # A worker that could not start on the full disk says so, and the next hook starts another.
    said = {text for text in harness.stderr if "the disk is full" not in text}
    _assert(not said, f"a worker wrote to stderr: {said}")
    lines = [line.text for line in harness.stash.plugin_log]
    for path in harness.data_dir.glob("worker.log*"):
        lines += path.read_text(errors="replace").splitlines()
    texts = [line for line in lines if "worker died" not in line]
    for sign in _FORBIDDEN:
        _assert(not any(sign in text for text in texts), f"{sign!r} in a log")
    _assert(
        not (errors := harness.plex.server.errors + harness.stash.server.errors),
        f"a simulator failed: {errors}",
    )


def _writes_to_wrong_items(harness: SoakHarness) -> list[str]:
    """Return edits of items without a scene, or with another scene's texts."""
    wrong = []
    for write in harness.plex.writes:
        slot = harness.keys.get(write.rating_key)
        texts = [write.parameters.get(f"{name}.value") for name in ("title", "summary")]
        if slot is None or any(text and mark(slot) not in text for text in texts):
            wrong.append(f"item {write.rating_key} (slot {slot}): {write.parameters}")
    for upload in harness.plex.uploads:
        slot = harness.keys.get(upload.rating_key)
        if slot is None or mark(slot).encode() not in upload.data:
            wrong.append(f"poster of item {upload.rating_key} (slot {slot})")
    return wrong


def _check_leftovers(harness: SoakHarness) -> None:
    """Let a new worker clean up and exit by itself, then check the files on disk."""
    _assert(stop_workers(harness.data_dir), "a worker could not be ended")
    harness.save_film(min(harness.scene_ids), {"title": "{slot} at the end"})
    _wait(harness.unfinished)
    _wait(lambda: _stale_timestamps(harness))
    _wait(
        lambda: [f"process {pid} is left" for pid in worker_pids(harness.data_dir)], IDLE + PATIENCE
    )
    names = sorted(path.name for path in harness.data_dir.rglob("*") if path.is_file())
    _assert(
        not [name for name in names if name.endswith((".tmp", ".rescue"))], f"left behind: {names}"
    )
    broken = [name for name in names if ".broken-" in name]
    _assert(not broken or harness.is_damaged, f"a file broke: {names}")
    _check_privacy(harness)


def _stale_timestamps(harness: SoakHarness) -> list[str]:
    known, alive = set(load_sync_timestamps(harness.data_dir)), set(harness.scene_ids.values())
    return [f"timestamps of scenes that are gone: {known - alive}"] if known - alive else []


def _check_privacy(harness: SoakHarness) -> None:
    cookies = {
        run.stdin["server_connection"]["SessionCookie"]["Value"]
        for run in harness.stash.plugins.runs()
    }
    secrets = [TOKEN.encode(), PASSWORD.encode(), *(cookie.encode() for cookie in cookies)]
    for path in harness.data_dir.rglob("*"):
        if path.is_file():
            _assert(
                path.stat().st_mode & 0o077 == 0 or os.name == "nt",
                f"{path.name} can be read by others",
            )
            content = path.read_bytes()
            leaked = path.name != "connection.json" and any(secret in content for secret in secrets)
            _assert(not leaked, f"a secret in {path.name}")
    said = "\n".join(line.text for line in harness.stash.plugin_log)
    _assert(not any(secret.decode() in said for secret in secrets), "a secret in Stash's log")


def _count(harness: SoakHarness, tally: Tally) -> None:
    tally.edits = harness.edits
    tally.killed_workers = harness.killed_workers
    points = len(harness.trap.reached())
    killed_runs = sum(run.exit_code == -signal.SIGKILL for run in harness.stash.plugins.runs())
    # A hook that died at a named point is also a killed run: count it once.
    tally.killed_at_points = points
    tally.killed_hooks = killed_runs - harness.trap.reached_in_hooks()


def _wait(unfinished: Callable[[], list[str]], patience: float = PATIENCE) -> None:
    wait_until(lambda: not unfinished(), lambda: "; ".join(unfinished()), patience)


def _assert(is_well: object, text: str) -> None:
    if not is_well:
        raise AssertionError(text)


def _report(harness: SoakHarness, seed: int, round_: Round, error: BaseException) -> str:
    plan = "\n".join(map(str, round_.events))
    return (
        f"seed {seed}, round {round_.number} (ending {round_.ending}):"
        f" {type(error).__name__}: {error}\n"
        f"The plan of the round:\n{plan}\n"
        f"Killed at: {harness.trap.reached()[-12:]}\n{_logs(harness)}"
    )


def _logs(harness: SoakHarness) -> str:
    said = "\n".join(f"{line.level} {line.text}" for line in harness.stash.plugin_log[-40:])
    logs = sorted(harness.data_dir.glob("worker.log"))
    return f"Stash's log:\n{said}\nThe worker's log:\n" + "".join(
        "\n".join(path.read_text(errors="replace").splitlines()[-250:]) for path in logs
    )
