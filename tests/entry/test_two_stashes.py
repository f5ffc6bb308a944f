"""Two Stashes of one user: each has its own data directory, whatever they share."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common import data_dir
from common.data_dir import NOTE_FILE, owner_of
from tests.entry.test_data_directory import IN_CONFIG, input_of, keep_workers_out
from tests.harness.plugin import ROOT, install_plugin, run
from tests.harness.processes import stop_workers
from tests.harness.results import queued

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs links and modes of POSIX")


class Stashes:
    """Stashes in folders of one user, with one plugin folder each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()

    def make(self, name: str) -> Path:
        stash = self.folder / name
        install_plugin(stash / "plugins" / "PlexSync")
        (stash / "config.yml").touch()
        return stash

    def save(self, stash: Path, scene_id: int, shared: Path | None = None) -> None:
        """Save a scene, without a worker."""
        plugin = stash / "plugins" / "PlexSync"
        answer = run(
            input_of(stash, scene_id, plugin),
            shared,
            env={"HOME": str(self.home), "PLEXSYNC_IDLE_TIMEOUT": "0.1"},
            entry=plugin / "PlexSync.py",
        )
        assert answer.output["queued"] is True

    def command(self, stash: Path, *arguments: str, **env: str) -> str:
        """Run a command as a user does, who knows nothing of Stash's environment."""
        script = stash / "plugins" / "PlexSync" / "PlexSync.py"
        done = subprocess.run(
            [sys.executable, str(script), *arguments],
            env={**os.environ, "HOME": str(self.home), **env},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        return done.stdout + done.stderr


@pytest.fixture
def stashes(tmp_path: Path):  # type: ignore[no-untyped-def]
    yield Stashes(tmp_path)
    stop_workers(tmp_path)


def inside_of(shared: Path, stash: Path) -> Path:
    """Return the folder of a further Stash below a shared one."""
    return shared / f"stash-{zlib.crc32(str(stash).encode()):08x}"


def scenes(place: Path) -> list[int]:
    """Return the queued scenes; on a busy machine, hooks spool some, which come later."""
    return sorted(job["scene_id"] for job in queued(place))


def test_each_has_its_own_directory(stashes: Stashes) -> None:
    one, two = stashes.make("one"), stashes.make("two")
    locks = keep_workers_out(one / IN_CONFIG, two / IN_CONFIG)
    stashes.save(one, 1)
    stashes.save(two, 2)
    assert (scenes(one / IN_CONFIG), scenes(two / IN_CONFIG)) == ([1], [2])
    assert owner_of(str(one / IN_CONFIG)) == str(one)
    for lock in locks:
        lock.release()


def test_under_one_variable_the_second_gets_a_folder_inside(stashes: Stashes) -> None:
    one, two, shared = stashes.make("one"), stashes.make("two"), stashes.folder / "shared"
    inside = inside_of(shared, two)
    locks = keep_workers_out(shared, inside)
    stashes.save(one, 1, shared)
    stashes.save(two, 2, shared)
    stashes.save(two, 3, shared)
    stashes.save(one, 4, shared)
    assert (scenes(shared), scenes(inside)) == ([1, 4], [2, 3])
    for lock in locks:
        lock.release()


def test_a_folder_that_names_its_stash_by_the_connection_alone_is_not_taken(
    stashes: Stashes,
) -> None:
    """Version 0.1 left the connection only."""
    one, two, shared = stashes.make("one"), stashes.make("two"), stashes.folder / "shared"
    shared.mkdir()
    (shared / "connection.json").write_text(json.dumps({"server_connection": {"Dir": str(one)}}))
    (lock,) = keep_workers_out(shared)
    stashes.save(two, 2, shared)
    stashes.save(one, 1, shared)
    lock.release()
    (inside,) = shared.glob("stash-*")
    assert owner_of(str(inside)) == str(two)
    assert owner_of(str(shared)) == str(one)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"dir": 5}', "\0" * 50])
def test_a_record_that_can_not_be_read_refuses_no_save(stashes: Stashes, content: str) -> None:
    one, shared = stashes.make("one"), stashes.folder / "shared"
    (lock,) = keep_workers_out(shared)
    (shared / "stash.json").write_text(content)
    stashes.save(one, 1, shared)
    lock.release()
    assert scenes(shared) == [1]
    assert owner_of(str(shared)) == str(one)


def test_of_hooks_of_two_stashes_at_once_one_gets_the_folder(stashes: Stashes) -> None:
    both = [stashes.make("one"), stashes.make("two")]
    shared = stashes.folder / "shared"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: stashes.save(both[n % 2], n + 1, shared), range(8)))
    (inside,) = shared.glob("stash-*")
    assert {owner_of(str(shared)), owner_of(str(inside))} == {str(stash) for stash in both}


def test_of_two_hooks_of_one_stash_both_use_the_folder_that_one_has_claimed(
    stashes: Stashes, monkeypatch: pytest.MonkeyPatch
) -> None:
    stash, shared = stashes.make("one"), stashes.folder / "shared"
    claim = data_dir._claim

    def claim_too_late(place: str, stash_dir: str) -> bool:
        assert claim(place, stash_dir), "the other hook"
        return claim(place, stash_dir)

    monkeypatch.setattr(data_dir, "_claim", claim_too_late)
    monkeypatch.setenv("STASH_PLUGIN_DATA", str(shared))
    found = data_dir.plugin_data_dir(str(stash / "plugins" / "PlexSync"), {"Dir": str(stash)})
    assert found == str(shared)


def test_a_stash_that_moved_keeps_its_directory(stashes: Stashes) -> None:
    one, two, shared = stashes.make("one"), stashes.make("two"), stashes.folder / "shared"
    inside = inside_of(shared, two)
    locks = keep_workers_out(shared, inside)
    stashes.save(one, 1, shared)
    stashes.save(two, 2, shared)
    shutil.move(one, stashes.folder / "elsewhere")
    stashes.save(stashes.folder / "elsewhere", 3, shared)
    shutil.move(two, stashes.folder / "else")
    stashes.save(stashes.folder / "else", 4, shared)
    assert (scenes(shared), scenes(inside)) == ([1, 3], [2, 4])
    for lock in locks:
        lock.release()


def test_a_folder_that_moved_with_everything_in_it_is_used_where_it_is(stashes: Stashes) -> None:
    one = stashes.make("one")
    (lock,) = keep_workers_out(one / IN_CONFIG)
    stashes.save(one, 1)
    lock.release()
    there = stashes.folder / "there"
    shutil.move(one, there)
    (lock,) = keep_workers_out(there / IN_CONFIG)
    stashes.save(there, 2)
    lock.release()
    assert scenes(there / IN_CONFIG) == [1, 2]
    assert not one.exists()
    assert owner_of(str(there / IN_CONFIG)) == str(there)


def test_the_command_line_finds_the_place_of_the_last_hook(stashes: Stashes) -> None:
    """It is in a private file in the plugin's folder; the variable is Stash's, not the shell's."""
    one, shared = stashes.make("one"), stashes.folder / "shared"
    (lock,) = keep_workers_out(shared)
    stashes.save(one, 1, shared)
    note = one / "plugins" / "PlexSync" / NOTE_FILE
    assert note.stat().st_mode & 0o777 == 0o600
    assert scenes(shared) == [1]
    assert "Status: 1 waiting" in stashes.command(one, "status")
    assert "Status: 1 waiting" in stashes.command(one, "status", STASH_PLUGIN_DATA=str(shared))
    lock.release()
    assert not (stashes.home / ".stash").exists()


def test_the_command_line_of_the_second_stash_finds_its_own(stashes: Stashes) -> None:
    one, two, shared = stashes.make("one"), stashes.make("two"), stashes.folder / "shared"
    inside = inside_of(shared, two)
    locks = keep_workers_out(shared, inside)
    stashes.save(one, 1, shared)
    stashes.save(two, 2, shared)
    stashes.save(two, 3, shared)
    assert (scenes(shared), scenes(inside)) == ([1], [2, 3])
    assert "2 waiting" in stashes.command(two, "status", STASH_PLUGIN_DATA=str(shared))
    assert "1 waiting" in stashes.command(one, "status", STASH_PLUGIN_DATA=str(shared))
    for lock in locks:
        lock.release()


def test_before_the_first_hook_the_command_line_uses_the_folder_of_its_stash(
    stashes: Stashes,
) -> None:
    one = stashes.make("one")
    assert "Status: 0 waiting" in stashes.command(one, "status")
    assert (one / IN_CONFIG / "layout.json").exists()
    assert not (stashes.home / ".stash").exists()


def test_a_plugin_folder_that_can_not_be_written_refuses_no_save(stashes: Stashes) -> None:
    one = stashes.make("one")
    (one / "plugins" / "PlexSync" / NOTE_FILE).mkdir()
    (lock,) = keep_workers_out(one / IN_CONFIG)
    stashes.save(one, 1)
    lock.release()
    assert scenes(one / IN_CONFIG) == [1]


def test_a_hook_leaves_its_note_only_in_the_plugin_folder_that_stash_names(
    stashes: Stashes,
) -> None:
    one = stashes.make("one")
    (lock,) = keep_workers_out(one / IN_CONFIG)
    env = {"HOME": str(stashes.home)}
    assert run(input_of(one, plugin=one / "else"), env=env).output["queued"] is True
    lock.release()
    note = ROOT / NOTE_FILE  # other tests' hooks may have left theirs
    assert not note.exists() or str(one) not in note.read_text()
