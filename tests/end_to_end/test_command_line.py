"""Commands in a shell: help, exit codes, one JSON document for programs, never a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import PlexSync
from plex.matcher import AmbiguousMatch
from queue.dlq import DeadLetterQueue
from queue.inbox import Inbox
from queue.models import create_sync_job
from tasks.cli import run_command as run_in_this_process
from tests.harness.base import TOKEN
from tests.harness.installation import SCALE, ProcessHarness
from tests.harness.plugin import ENTRY, environment
from tests.harness.processes import stop_workers, wait_until
from tests.harness.results import queued
from tests.harness.size import some
from tests.isolation import search_path
from tests.simulators.httpd import Delay
from tests.tasks import Shown, run_command, run_task

COMMANDS = (
    "status",
    "check",
    "sync",
    "resync",
    "approve",
    "ignore",
    "retry",
    "failed",
    "clear",
    "preview",
    "report",
    "undo",
    "take",
    "pause",
    "try",
    "remove",
    "cover",
    "worker",
    "install",
    *("page", "wake", "setup-test", "setup-match", "pictures", "webhook-test"),
    *("rules-test", "export", "import"),
)
#: Commands that need a known Stash, and change nothing but their own files.
ASKING: dict[str, tuple[str, ...]] = {
    "status": ("status",),
    "check": ("check",),
    "failed": ("failed",),
    "failed with a reason": ("failed", "--reason", "ambiguous"),
    "clear failed": ("clear", "failed"),
    "clear queue": ("clear", "queue"),
    "preview": ("preview",),
    "preview all": ("preview", "--all"),
    "preview one": ("preview", "--scene-id", "1"),
    "dry run": ("sync", "--dry-run"),
    "dry run of recent": ("sync", "--recent", "--dry-run"),
    "dry run of one": ("resync", "1", "--dry-run"),
    "report": ("report",),
    "anonymous report": ("report", "--anonymous"),
    "a trial of the address": ("setup-test",),
    "a trial of the mappings": ("setup-match", "--sample", "5"),
    "a picture": ("pictures", "1:1"),
    "wake": ("wake",),
    "rules that are not saved": ("rules-test", "--rules", '{"labels": "Stash"}'),
    "an export": ("export",),
    "where values came from": ("library-origin",),
    "what an answer would do": ("library-origin", "1", "stash", "--preview"),
}
ACTING: dict[str, tuple[str, ...]] = {
    "sync": ("sync",),
    "sync recent": ("sync", "--recent"),
    "sync queue": ("sync", "--queue"),
    "sync by force": ("sync", "--force"),
    "resync": ("resync", "1"),
    "resync the last": ("resync",),
    "retry": ("retry",),
    "retry with a reason": ("retry", "--reason", "ValueError"),
    "clear queue": ("clear", "queue", "--confirm"),
    "approve": ("approve",),
    "approve nothing": ("approve", "--no"),
    "ignore": ("ignore", "1"),
    "ignore no more": ("ignore", "1", "--off"),
    "an answer about a library": ("library-origin", "Scenes", "mine"),
}


def command(harness: ProcessHarness, *arguments: str, **options: Any) -> Shown:
    shown = run_command(harness.data_dir, *arguments, env={"PLEXSYNC_TIME_SCALE": SCALE, **options})
    assert "\x01" not in shown.stderr, "Stash's marks are not for a shell"
    return shown


@pytest.fixture
def known(harness: ProcessHarness) -> ProcessHarness:
    """Run a task of Stash, so that the command line knows Stash's address."""
    harness.pair(title="Title", details="Text")
    run_task(harness, "Status")
    return harness


# --- help and usage errors


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_each_command_has_a_help_text(capsys: pytest.CaptureFixture[str], name: str) -> None:
    with pytest.raises(SystemExit) as left:
        run_in_this_process([*filter(None, [name]), "--help"], PlexSync)
    stdout, stderr = capsys.readouterr()
    assert (left.value.code, stderr) == (0, "")
    assert f"PlexSync.py {name}".strip() in stdout
    assert all(one in stdout for one in COMMANDS) or name


def test_the_process_shows_its_help(tmp_path: Path) -> None:
    shown = run_command(tmp_path, "--help")
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert "resync" in shown.stdout


WRONG: dict[str, tuple[str, ...]] = {
    "no such command": ("dance",),
    "no such option": ("status", "--dance"),
    "no scene": ("ignore",),
    "two scenes": ("resync", "1", "2"),
    "nothing to clear": ("clear",),
    "nothing to take back": ("undo",),
    "two things to take back": ("undo", "--run", "sync-1", "--change", "1"),
    "neither Stash's nor Plex's": ("take", "1", "title", "mine"),
    "half a pause": ("pause", "maybe"),
    "something else to clear": ("clear", "everything"),
    "two kinds of sync": ("sync", "--recent", "--queue"),
    "no number": ("worker", "--idle-timeout", "x"),
    "an option without its value": ("failed", "--reason"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_usage_error_ends_with_2_and_points_to_the_help(
    capsys: pytest.CaptureFixture[str], what: str
) -> None:
    with pytest.raises(SystemExit) as left:
        run_in_this_process(WRONG[what], PlexSync)
    stdout, stderr = capsys.readouterr()
    assert (left.value.code, stdout) == (2, "")
    assert "usage: PlexSync.py" in stderr


def test_a_usage_error_ends_the_process_with_2(tmp_path: Path) -> None:
    shown = run_command(tmp_path, "dance", "--json")
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert "dance" in shown.stderr


@pytest.mark.parametrize("value", ["x", "-1"])
def test_an_invalid_number_is_reported_in_one_line(known: ProcessHarness, value: str) -> None:
    asked = (
        ("resync", "--", value),
        ("resync", f"--rating-key={value}", "1"),
        ("preview", f"--scene-id={value}"),
    )
    for arguments in asked:
        shown = command(known, *arguments)
        assert shown.exit_code in (1, 2)
        assert shown.stdout == ""
        assert "scene_id" in shown.stderr or "rating_key" in shown.stderr, shown
        assert len(shown.stderr.splitlines()) == 1
    assert known.plex.writes == []


# --- all commands


def test_queries_end_with_0_and_one_document_even_in_parallel(
    known: ProcessHarness,
) -> None:
    with ThreadPoolExecutor(3) as pool:
        answers = dict(
            zip(
                ASKING,
                pool.map(lambda asked: command(known, *asked, "--json"), ASKING.values()),
                strict=True,
            )
        )
    for what, shown in answers.items():
        assert (shown.exit_code, shown.stderr, shown.stdout.count("\n")) == (0, "", 1), (
            what,
            shown,
        )
        assert shown.document["ok"] is True, what
        assert "\n" not in shown.document["summary"], what
    assert known.plex.log.count("PUT") == 0


@pytest.mark.parametrize("what", some(["preview", "status", "check"], 1))
def test_without_json_a_command_prints_readable_lines(known: ProcessHarness, what: str) -> None:
    shown = command(known, *ASKING[what])
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert len(shown.stdout.splitlines()) > 1
    assert not shown.stdout.startswith("{")


@pytest.mark.parametrize("with_worker", some([False, True], 1), ids=lambda one: f"worker {one}")
def test_every_command_that_acts_ends_with_0_and_one_document(
    known: ProcessHarness, with_worker: bool
) -> None:
    if with_worker:
        scene, item = known.pair("other")
        known.save(scene, title="First")
        known.wait_for_title(item, "First")
    for what, arguments in list(ACTING.items())[:5] if with_worker else ACTING.items():
        shown = command(known, *arguments, "--json")
        assert (shown.exit_code, shown.stderr, shown.stdout.count("\n")) == (0, "", 1), (
            what,
            shown,
        )
        assert shown.document["ok"] is True, what
    assert [write.parameters["title.value"] for write in known.plex.writes][-1] == "Title"
    # A worker may read back what was written; that of the command before may be leaving.
    wait_until(lambda: len(known.workers()) <= 1, "at most one worker")


def test_an_export_is_a_private_file_that_can_be_imported(
    known: ProcessHarness, tmp_path: Path
) -> None:
    file = tmp_path / "some.json"
    shown = command(known, "export", str(file), "--json")
    assert (shown.exit_code, "document" in shown.document) == (0, False)
    if os.name == "posix":
        assert file.stat().st_mode & 0o077 == 0
    document = json.loads(file.read_text(encoding="utf-8"))
    assert document["settings"]["plex_url"] == known.plex.url
    document["settings"]["labels"] = "Imported"
    document["ignores"] = [{"scene_id": 1, "created_at": "", "path": "/data/a.mp4"}]
    file.write_text(json.dumps(document), encoding="utf-8")
    shown = command(known, "import", str(file))
    assert shown.exit_code == 0
    assert "labels: '' -> 'Imported'" in shown.stdout
    assert (known.stash.plugin_settings("PlexSync") or {})["labels"] == "Imported"
    found = command(known, "import", str(file), "--preview", "--json").document
    assert (found["settings"], found["ignores"]) == ({}, 0)
    file.write_bytes(b"\xff\xfe")
    shown = command(known, "import", str(file))
    assert (shown.exit_code, "is not JSON" in shown.stderr) == (1, True)


def test_what_was_tried_is_taken_back_and_all_of_it_is_removed(known: ProcessHarness) -> None:
    item = known.plex.find("/media/a.mp4")
    assert item is not None
    run = command(known, "try", "5", "--json").document["run"]
    assert item.title == "Title"
    shown = command(known, "undo", "--run", run, "--preview", "--json").document
    assert (shown["scenes"], shown["fields"]) == (1, {"title": 1, "summary": 1})
    assert {one["field"]: one["back"] for one in shown["changes"]} == {"title": "a", "summary": ""}
    assert item.title == "Title"
    done = command(known, "undo", "--run", run)
    assert (done.exit_code, "2 fields of 1 scenes are as before" in done.stdout) == (0, True)
    assert (item.title, item.summary, item.locked) == ("a", "", set())
    taken = command(known, "take", "1", "title", "stash")
    assert (taken.exit_code, item.title) == (0, "Title")
    assert command(known, "take", "1", "title", "plex").exit_code == 0
    assert "1 title" in command(known, "remove", "--preview").stdout
    removed = command(known, "remove", "--json").document
    assert (removed["undone"], removed["left_count"], item.title) == (1, 0, "a")
    assert "Paused" in command(known, "status").stdout
    assert command(known, "remove", "--off", "--json").document["scenes"] == 1
    assert command(known, "pause", "off").exit_code == 0
    assert "Paused" not in command(known, "status").stdout


def test_a_cover_is_put_up_from_a_file(known: ProcessHarness, tmp_path: Path) -> None:
    item = known.plex.find("/media/a.mp4")
    assert item is not None
    assert command(known, "sync").exit_code == 0
    picture = tmp_path / "small.jpeg"
    shown = command(known, "cover", "1", str(picture))
    assert (shown.exit_code, shown.stderr.count("\n")) == (1, 1), "there is no such file"
    picture.write_bytes(b"\xff\xd8\xff picture")
    assert command(known, "cover", "1", str(picture)).exit_code == 0
    assert item.poster is not None
    assert item.poster.data == picture.read_bytes()


def test_a_dry_run_shows_what_the_run_then_does(known: ProcessHarness) -> None:
    promised = command(known, "sync", "--dry-run").stdout
    assert "'a' -> 'Title'" in promised
    assert "Text" in promised
    assert known.plex.writes == []
    done = command(known, "sync")
    assert "1 synced" in done.stdout
    assert len(known.plex.writes) == 1
    assert "1 already in sync" in command(known, "sync").stdout
    assert "1 synced" in command(known, "sync", "--force").stdout
    assert len(known.plex.writes) == 1, "what is the same is not sent again"


# --- errors


@pytest.mark.parametrize("what", ["check", "dry run", "sync"])
def test_before_the_first_save_the_user_reads_what_to_do(tmp_path: Path, what: str) -> None:
    arguments = {**ACTING, **ASKING}[what]
    try:
        shown = run_command(tmp_path, *arguments, "--json")
    finally:
        assert stop_workers(tmp_path)  # one goes on with what a command began
    assert shown.exit_code == 1
    assert "save any scene" in json.dumps(shown.document)


def test_commands_without_stash_work_before_the_first_save(tmp_path: Path) -> None:
    names = ("failed", "clear failed", "clear queue", "report", "sync queue", "retry")

    def run(what: str) -> Shown:
        return run_command(tmp_path, *{**ACTING, **ASKING}[what], "--json")

    try:
        all_shown = [run("status")]  # alone: once a worker has said what is missing, it is not well
        with ThreadPoolExecutor(4) as pool:
            all_shown += pool.map(run, names)
        for shown in all_shown:
            assert (shown.exit_code, shown.document["ok"]) == (0, True), shown
    finally:
        assert stop_workers(tmp_path)


@pytest.mark.parametrize("what", ["check", "preview"])
def test_with_plex_down_a_command_ends_with_1_and_the_reason(
    known: ProcessHarness, what: str
) -> None:
    known.plex.stop()
    shown = command(known, *{**ACTING, **ASKING}[what])
    assert shown.exit_code == 1
    assert "Plex" in shown.stdout + shown.stderr


def test_with_plex_down_json_is_still_one_document(known: ProcessHarness) -> None:
    known.plex.stop()
    shown = command(known, "sync", "--json")
    assert shown.exit_code == 1
    assert shown.document["ok"] is False
    assert "Plex is down" in shown.document["summary"]


def test_packages_that_are_too_old_are_named_wherever_they_are(
    known: ProcessHarness, tmp_path: Path
) -> None:
    folder = tmp_path / "packages" / "plexapi-4.15.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: plexapi\nVersion: 4.15.0\n")
    shown = command(known, "check", PYTHONPATH=search_path(str(folder.parent)))
    assert "other versions of packages: plexapi 4.15.0 (needed: >=4.17.2,<5)" in shown.stdout
    assert "other versions" not in command(known, "check").stdout


def test_a_wrong_token_is_named_and_not_shown(known: ProcessHarness) -> None:
    known.configure(plex_token="another-token-0123456789")
    for what in ("check", "preview", "sync"):
        shown = command(known, *{**ACTING, **ASKING}[what])
        assert shown.exit_code == 1
        assert "plex_token" in shown.stdout + shown.stderr
        assert "another-token-0123456789" not in shown.stdout + shown.stderr


def test_an_expired_session_is_one_line_with_advice(
    make_harness: Callable[..., ProcessHarness],
) -> None:
    """The command line only has the session of the last save or task."""
    harness = make_harness(username="user", password="secret-of-the-user")
    run_task(harness, "Status")
    harness.stash.invalidate_sessions()
    shown = command(harness, "preview")
    assert shown.exit_code == 1
    assert len(shown.stderr.splitlines()) == 1
    assert "save any scene" in shown.stderr


@pytest.mark.parametrize("what", ["status", "sync"])
def test_an_impossible_data_directory_is_reported_in_one_line(tmp_path: Path, what: str) -> None:
    file = tmp_path / "file"
    file.write_text("no folder")
    shown = run_command(
        tmp_path, *{**ACTING, **ASKING}[what], "--data-dir", str(file / "data"), "--json"
    )
    assert shown.exit_code == 1
    assert list(shown.document) == ["error"]
    assert len(shown.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "name",
    some(["history.db", "dlq.db", "index.db", os.path.join("queue", "data.db"), "memory.db"], 3),
)
def test_a_damaged_database_is_reported_in_one_line_by_queries(tmp_path: Path, name: str) -> None:
    (tmp_path / "queue").mkdir(mode=0o700)
    (tmp_path / name).write_bytes(b"no database at all, whatever its name says" * 100)
    shown = run_command(tmp_path, "report", "--json")
    assert shown.exit_code in (0, 1)
    assert len(shown.document) >= 1
    assert len(shown.stderr.splitlines()) <= 1


def test_a_wrong_environment_variable_is_reported_in_one_line(tmp_path: Path) -> None:
    with closing(Inbox(str(tmp_path), lock_timeout=240)) as inbox:
        inbox.put(create_sync_job(1, "metadata", {"title": "T"}))
    shown = run_command(tmp_path, "sync", "--queue", env={"PLEXSYNC_TIME_SCALE": "x"})
    assert shown.exit_code == 1
    assert "PLEXSYNC_TIME_SCALE" in shown.stderr
    assert len(shown.stderr.splitlines()) == 1


# --- the terminal


def write_letter(folder: Path, text: str) -> None:
    with closing(DeadLetterQueue(folder)) as dlq:
        dlq.add(create_sync_job(7, "metadata", {"title": "T"}), AmbiguousMatch(text, []), 0)


def test_a_terminal_shows_question_marks_for_characters_that_it_lacks(tmp_path: Path) -> None:
    write_letter(tmp_path, "日本語 may be any of two ☃")
    shown = run_command(tmp_path, "failed", env={"PYTHONIOENCODING": "ascii"})
    assert shown.exit_code == 0
    assert "??? may be any of two ?" in shown.stdout


def test_a_line_break_in_a_title_makes_no_second_line(tmp_path: Path) -> None:
    write_letter(tmp_path, "Scene 7 'a\nb' may be any")
    lines = run_command(tmp_path, "failed").stdout.splitlines()
    assert len(lines) == 2, lines


@pytest.mark.skipif(os.name != "posix", reason="pipes that close early are POSIX's")
def test_a_closed_pipe_causes_no_traceback(tmp_path: Path) -> None:
    for number in range(200):
        write_letter(tmp_path, f"{number} " + "x" * 2000)
    process = subprocess.Popen(
        [sys.executable, str(ENTRY), "failed"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    stderr = process.stderr.read()
    process.stderr.close()
    process.wait(240)
    assert b"Traceback" not in stderr
    assert b"Exception ignored" not in stderr


@pytest.mark.skipif(os.name != "posix", reason="a terminal of its own is POSIX's")
def test_progress_is_shown_only_on_a_terminal(known: ProcessHarness) -> None:
    for number in range(5):
        known.pair(f"more{number}", title=f"More {number}")
    ours, theirs = os.openpty()
    try:
        shown = run_command(known.data_dir, "sync", terminal=theirs)
        os.set_blocking(ours, False)
        seen = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "6 synced" in shown.stdout
    assert seen.rstrip().endswith("6 of 6")
    assert "\x01" not in seen
    assert command(known, "sync", "--force").stderr == ""


# --- the worker


def test_the_worker_command_processes_the_queue_and_exits(known: ProcessHarness) -> None:
    with closing(Inbox(str(known.data_dir), lock_timeout=240)) as inbox:
        inbox.put(create_sync_job(1, "metadata", {"title": "T"}))
    shown = command(known, "worker", "--idle-timeout", "0.2")
    assert (shown.exit_code, shown.stdout, shown.stderr) == (0, "", "")
    assert len(known.plex.writes) == 1
    assert queued(known.data_dir) == []


def test_a_second_worker_exits_at_once(known: ProcessHarness) -> None:
    scene, item = known.pair("other")
    known.save(scene, title="T")
    known.wait_for_title(item, "T")
    assert command(known, "worker").exit_code == 0
    assert len(known.workers()) == 1


def test_the_data_directory_can_be_named(known: ProcessHarness, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shown = run_command(known.data_dir, "status", "--data-dir", str(elsewhere), "--json")
    assert shown.document["log"] == str(elsewhere / "worker.log")
    assert shown.document["waiting"] == 0


def test_a_command_that_is_interrupted_says_so_and_keeps_what_was_queued(
    harness: ProcessHarness,
) -> None:
    for number in range(30):
        harness.pair(f"file{number}", title=f"T{number}", updated_at=time.time())
    run_task(harness, "Status")
    harness.plex.faults.add(Delay(1.0), method="PUT")
    held = harness.hold_writes_after(3)
    process = subprocess.Popen(
        [sys.executable, str(ENTRY), "sync"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(harness.data_dir, {"PLEXSYNC_TIME_SCALE": SCALE}),
        text=True,
        # a shell's background job and its children ignore SIGINT
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until(lambda: len(harness.plex.writes) >= 3)
    process.send_signal(signal.SIGINT)
    held.remove()
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "stopped" in stderr
    assert "Traceback" not in stdout + stderr
    assert TOKEN not in stdout + stderr
    harness.plex.faults.clear()
    assert command(harness, "sync").exit_code == 0
    assert {item.title for item in harness.plex.items(harness.library)} == {
        f"T{number}" for number in range(30)
    }
    assert len(harness.plex.writes) == 30
