"""Tests of private files: modes under any umask, symbolic links, atomic replacement."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import common.layout as layout
from common.files import (
    ForeignOwner,
    append_private,
    ensure_private,
    make_private_dir,
    open_private,
    quarantine,
    read_private,
    remove_leftovers,
    replace_private,
)

posix_only = pytest.mark.skipif(os.name != "posix", reason="file modes and links are POSIX's")
UMASKS = [0o000, 0o022, 0o077, 0o177, 0o277, 0o777]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def open_file(path: str) -> None:
    os.close(open_private(path, os.O_WRONLY | os.O_CREAT))


def append(path: str) -> None:
    append_private(path, "new\n")


def truncate(path: str) -> None:
    os.close(open_private(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))


def replace(path: str) -> None:
    replace_private(path, "new\n")


WRITERS: list[Callable[[str], None]] = [open_file, append, replace, ensure_private]
every_writer = pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)


@pytest.fixture(params=UMASKS, ids=[f"umask {umask:03o}" for umask in UMASKS])
def under_umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


# --- modes ----------------------------------------------------------------------------------------


@posix_only
def test_a_folder_is_its_owners_alone_under_every_umask(under_umask: int, tmp_path: Path) -> None:
    make_private_dir(str(tmp_path / "data"))
    assert mode_of(tmp_path / "data") == 0o700


@posix_only
def test_created_parent_folders_are_not_writable_by_others(
    under_umask: int, tmp_path: Path
) -> None:
    make_private_dir(str(tmp_path / "a" / "b" / "data"))
    for made in ("a", "a/b"):
        assert mode_of(tmp_path / made) & 0o722 == 0o700
    assert mode_of(tmp_path / "a" / "b" / "data") == 0o700


@posix_only
@every_writer
def test_a_file_is_its_owners_alone_under_every_umask(
    under_umask: int, tmp_path: Path, write: Callable[[str], None]
) -> None:
    write(str(tmp_path / "file"))
    assert mode_of(tmp_path / "file") == 0o600
    write(str(tmp_path / "file"))
    assert mode_of(tmp_path / "file") == 0o600


@posix_only
@every_writer
def test_a_file_that_others_could_read_is_closed_to_them(
    tmp_path: Path, write: Callable[[str], None]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(0o666)
    write(str(tmp_path / "file"))
    assert mode_of(tmp_path / "file") == 0o600


@posix_only
@pytest.mark.parametrize("mode", [0o700, 0o755, 0o777, 0o1777])
def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(mode)
    make_private_dir(str(tmp_path / "data"))
    assert mode_of(tmp_path / "data") == mode


as_root = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can give files away"
)


@as_root
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    with pytest.raises(ForeignOwner, match="another user"):
        make_private_dir(str(folder))
    make_private_dir(str(folder / "ours"))  # what is above a folder is not asked about


@as_root
@pytest.mark.parametrize("write", [open_file, append, ensure_private, read_private, truncate])
def test_a_file_of_another_user_is_refused_and_untouched(
    tmp_path: Path, write: Callable[[str], object]
) -> None:
    file = tmp_path / "file"
    file.write_text("his", encoding="utf-8")
    file.chmod(0o644)
    os.chown(file, 12345, 12345)
    with pytest.raises(ForeignOwner):
        write(str(file))
    assert (file.read_text(encoding="utf-8"), mode_of(file)) == ("his", 0o644)


@posix_only
def test_the_folders_above_that_were_there_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o755)
    make_private_dir(str(tmp_path / "shared" / "data"))
    assert mode_of(tmp_path / "shared") == 0o755


def test_a_folder_may_be_made_again_and_by_many_at_once(tmp_path: Path) -> None:
    failures: list[OSError] = []

    def make() -> None:
        try:
            for n in range(30):
                make_private_dir(str(tmp_path / str(n) / "a" / "b"))
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (tmp_path / "29" / "a" / "b").is_dir()


def test_a_relative_folder_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_private_dir("data")
    make_private_dir(os.path.join("one", "two"))
    assert (tmp_path / "data").is_dir()
    assert (tmp_path / "one" / "two").is_dir()


@pytest.mark.parametrize("below", ["", "data"])
def test_a_file_in_the_folders_place_is_an_error_and_stays(tmp_path: Path, below: str) -> None:
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    with pytest.raises(OSError):
        make_private_dir(str(tmp_path / "taken" / below if below else tmp_path / "taken"))
    assert (tmp_path / "taken").read_text(encoding="utf-8") == "mine"


# --- links ----------------------------------------------------------------------------------------


@posix_only
@every_writer
@pytest.mark.parametrize("there", [True, False], ids=["to a file", "to nothing"])
def test_a_planted_link_is_never_written_through(
    tmp_path: Path, write: Callable[[str], None], there: bool
) -> None:
    target = tmp_path / "precious"
    if there:
        target.write_text("mine", encoding="utf-8")
        target.chmod(0o644)
    (tmp_path / "file").symlink_to(target)
    if write is replace:
        write(str(tmp_path / "file"))  # the link itself is replaced
        assert not (tmp_path / "file").is_symlink()
    else:
        with pytest.raises(OSError, match=r"(?i)symbolic link"):
            write(str(tmp_path / "file"))
    assert target.exists() == there
    if there:
        assert target.read_text(encoding="utf-8") == "mine"
        assert mode_of(target) == 0o644


@posix_only
def test_a_link_planted_where_the_new_content_is_prepared_is_not_written_through(
    tmp_path: Path,
) -> None:
    target = tmp_path / "precious"
    target.write_text("mine", encoding="utf-8")
    (tmp_path / f"file.{os.getpid()}.tmp").symlink_to(target)
    with contextlib.suppress(OSError):
        replace_private(str(tmp_path / "file"), "new")
    assert target.read_text(encoding="utf-8") == "mine"


# --- content --------------------------------------------------------------------------------------


def test_appending_adds_lines_and_keeps_the_old_content(tmp_path: Path) -> None:
    for line in ("ä\n", "b\n"):
        append_private(str(tmp_path / "file"), line)
    assert (tmp_path / "file").read_bytes() == "ä\nb\n".encode()


def test_replacing_leaves_the_new_content_and_nothing_else(tmp_path: Path) -> None:
    replace_private(str(tmp_path / "file"), "a much longer old content\n")
    replace_private(str(tmp_path / "file"), "ü\n")
    assert (tmp_path / "file").read_bytes() == "ü\n".encode()
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_replacement_that_fails_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    replace_private(str(tmp_path / "file"), "old")
    with pytest.raises(UnicodeEncodeError):
        replace_private(str(tmp_path / "file"), "new \ud800")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "old"
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        replace_private(str(tmp_path / "folder"), "new")
    assert {entry.name for entry in tmp_path.iterdir()} == {"file", "folder"}


@posix_only
@pytest.mark.parametrize(
    "write", ["append_private(path, 'x' * 4000)", "replace_private(path, 'x' * 4000)"]
)
def test_a_full_disk_is_an_error_and_not_half_a_file(tmp_path: Path, write: str) -> None:
    """Simulate a full disk by a limit on the file size."""
    (tmp_path / "file").write_text("old" * 400, encoding="utf-8")
    code = (
        "import resource, signal, sys\n"
        "from common.files import append_private, replace_private\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))\n"
        "path = sys.argv[1]\n"
        f"try:\n    {write}\n"
        "except OSError:\n    print('raised')\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "file")],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "raised\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    if "replace" in write:
        assert (tmp_path / "file").read_text(encoding="utf-8") == "old" * 400


def test_a_quarantined_file_keeps_its_content_and_overwrites_nothing(tmp_path: Path) -> None:
    names = []
    for n in range(4):
        (tmp_path / "file").write_text(str(n), encoding="utf-8")
        names.append(quarantine(str(tmp_path / "file"), "20260101-000000"))
        assert not (tmp_path / "file").exists()
    assert [Path(name).read_text(encoding="utf-8") for name in names] == ["0", "1", "2", "3"]
    assert all(Path(name).name.startswith("file.broken-20260101-000000") for name in names)


# --- leftovers ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dead_pid() -> int:
    """Return the id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@posix_only
def test_only_leftovers_of_killed_processes_are_removed(tmp_path: Path, dead_pid: int) -> None:
    kept = [
        "file",
        "notes.tmp",
        f"file.{os.getpid()}.tmp",
        "file.abc.tmp",
        f"file.{dead_pid}",
        f"file.{dead_pid}.tmp.txt",
        ".tmp",
    ]
    for name in (*kept, f"file.{dead_pid}.tmp", f"sync_timestamps.json.{dead_pid}.tmp"):
        (tmp_path / name).touch()
    remove_leftovers(str(tmp_path))
    assert {entry.name for entry in tmp_path.iterdir()} == set(kept)


@pytest.mark.parametrize(
    "name", ["a.²³.tmp", f"a.{10**30}.tmp", "a.0.tmp", "a.-1.tmp", "a. 1.tmp", "a.١٢.tmp"]
)
def test_a_strange_name_does_not_stop_the_worker(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    remove_leftovers(str(tmp_path))


@posix_only
def test_a_folder_with_a_leftovers_name_does_not_stop_the_worker(
    tmp_path: Path, dead_pid: int
) -> None:
    (tmp_path / f"a.{dead_pid}.tmp").mkdir()
    remove_leftovers(str(tmp_path))


def test_an_interruption_right_after_a_replacement_stays_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else Ctrl-C is told as a file that can't be written."""
    replace = os.replace

    def replace_and_interrupt(source: str, target: str) -> None:
        replace(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", replace_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        replace_private(str(tmp_path / "file"), "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@posix_only
def test_a_durable_file_is_on_disk_before_its_name_and_then_the_name(
    tmp_path: Path, disk: list[tuple[str, int]]
) -> None:
    path = tmp_path / "file"
    replace_private(str(path), "text", durable=True)
    file, folder = path.stat().st_ino, tmp_path.stat().st_ino
    assert disk == [("fsync", file), ("rename", file), ("fsync", folder)]


@posix_only
def test_the_layout_is_on_disk_when_a_step_counts_as_taken(
    tmp_path: Path, disk: list[tuple[str, int]]
) -> None:
    layout.record(str(tmp_path), 1, "a step")
    file, folder = (tmp_path / layout.FILE).stat().st_ino, tmp_path.stat().st_ino
    assert disk == [("fsync", file), ("rename", file), ("fsync", folder)]


@posix_only
def test_a_new_folder_is_on_disk_with_its_parents(
    tmp_path: Path, disk: list[tuple[str, int]]
) -> None:
    make_private_dir(str(tmp_path / "a" / "b"))
    parents = [tmp_path.stat().st_ino, (tmp_path / "a").stat().st_ino]
    assert disk == [("fsync", inode) for inode in parents]
    make_private_dir(str(tmp_path / "a" / "b"))
    assert len(disk) == 2
