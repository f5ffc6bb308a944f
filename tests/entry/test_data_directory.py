"""Where the data directory is: $STASH_PLUGIN_DATA, else below the folder of Stash's config.yml.

Each Stash has one of its own. Nothing goes elsewhere where it can't be written.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from queue.spool import spooled
from tests.harness.installation import ProcessHarness
from tests.harness.plugin import PRODUCT, ROOT, Answer, install_plugin, run, save
from tests.harness.results import queued
from tests.simulators.stash.events import server_connection
from worker.process import WorkerLock

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs links and modes of POSIX")

#: The data directory below the folder of Stash's config.yml.
IN_CONFIG = Path("plugins", "PlexSync", "data")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    return install_plugin(tmp_path / "plugins" / "PlexSync")


def keep_workers_out(*folders: Path) -> list[WorkerLock]:
    locks = []
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        locks.append(WorkerLock(str(folder)))
        assert locks[-1].acquire()
    return locks


def input_of(stash: Path, scene_id: int = 7, plugin: Path | None = None) -> bytes:
    """Return the input of a save in the Stash of this folder."""
    connection = server_connection(
        cookie="a-session-cookie", folder=str(stash), plugin_folder=str(plugin or "")
    )
    return save(scene_id, connection=connection)


def saved_at(entry: Path, home: Path, data_dir: str | Path | None, *places: Path) -> list[bool]:
    """Save a scene without starting a worker; return for each place whether it has the job."""
    locks = keep_workers_out(*places)
    try:
        assert run(save(), data_dir, env={"HOME": str(home)}, entry=entry).output["queued"] is True
        return [len(queued(place)) == 1 for place in places]
    finally:
        for lock in locks:
            lock.release()


def test_the_directory_from_the_environment_goes_first(
    entry: Path, home: Path, tmp_path: Path
) -> None:
    chosen = tmp_path / "chosen"
    assert saved_at(entry, home, chosen, chosen) == [True]
    assert not (home / ".stash").exists()
    assert not (entry.parent / "data").exists()


@pytest.mark.parametrize("said", [None, "", "   "])
def test_without_the_variable_it_is_below_the_folder_of_the_config(
    entry: Path, home: Path, tmp_path: Path, said: str | None
) -> None:
    """Not in the home folder: another Stash of the same user may be there."""
    stash = tmp_path / "stash"
    place = stash / IN_CONFIG
    (lock,) = keep_workers_out(place)
    assert run(input_of(stash), said, env={"HOME": str(home)}, entry=entry).output["queued"] is True
    lock.release()
    assert len(queued(place)) == 1
    assert not (home / ".stash").exists()
    assert not (entry.parent / "data").exists()


@pytest.mark.parametrize("said", [None, ""])
def test_an_input_that_names_no_folder_means_the_usual_one(
    entry: Path, home: Path, said: str | None
) -> None:
    place = home / ".stash" / IN_CONFIG
    assert saved_at(entry, home, said, place) == [True]


@pytest.mark.parametrize("blocked", ["file", "read-only"])
def test_where_the_directory_can_not_be_written_the_save_says_so_and_nothing_goes_elsewhere(
    entry: Path, home: Path, tmp_path: Path, blocked: str
) -> None:
    place = unwritable(tmp_path, blocked)
    answer = run(input_of(tmp_path / "stash"), place, env={"HOME": str(home)}, entry=entry)
    assert_one_error(answer, "STASH_PLUGIN_DATA")
    assert not (tmp_path / "stash").exists()
    assert not (home / ".stash").exists()
    assert not (entry.parent / "data").exists()


def test_a_config_folder_that_can_not_be_written_is_said_too(
    entry: Path, home: Path, tmp_path: Path
) -> None:
    stash = tmp_path / "stash"
    stash.mkdir()
    (stash / "plugins").write_text("a file in the way", encoding="utf-8")
    answer = run(input_of(stash), env={"HOME": str(home)}, entry=entry)
    assert_one_error(answer, str(stash / "plugins"))
    assert not (home / ".stash").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
def test_a_directory_of_another_user_is_refused_and_no_other_is_used(
    entry: Path, home: Path, tmp_path: Path
) -> None:
    """He could have put another address of Stash there, and would get the token."""
    place = tmp_path / "data"
    place.mkdir(mode=0o755)
    os.chown(place, 12345, 12345)
    answer = run(save(), place, env={"HOME": str(home)}, entry=entry)
    assert_one_error(answer, f"{place} belongs to another user")
    assert list(place.iterdir()) == []
    assert not (home / ".stash").exists()
    assert stat.S_IMODE(place.stat().st_mode) == 0o755


def test_a_directory_that_was_there_keeps_its_mode(entry: Path, home: Path, tmp_path: Path) -> None:
    place = tmp_path / "shared"
    place.mkdir()
    place.chmod(0o1777)
    assert saved_at(entry, home, place, place) == [True]
    assert stat.S_IMODE(place.stat().st_mode) == 0o1777
    files = [file for file in place.rglob("*") if file.is_file()]
    assert files
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_the_programs_own_folder_is_private_under_umask_0(home: Path, tmp_path: Path) -> None:
    """Another user's code in Python's caches would run at the next save."""
    plugin = tmp_path / "plugin"
    plugin.mkdir()
    for name in PRODUCT:
        source, without_caches = ROOT / name, shutil.ignore_patterns("__pycache__")
        if source.is_dir():
            shutil.copytree(source, plugin / name, ignore=without_caches)
        else:
            shutil.copy(source, plugin / name)
    before = set(plugin.rglob("*"))
    (lock,) = keep_workers_out(tmp_path / "data")
    env = {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": ""}
    answer = run(save(), tmp_path / "data", env=env, entry=plugin / "PlexSync.py", umask=0)
    lock.release()
    assert answer.output["queued"] is True
    created = [path for path in plugin.rglob("*") if path not in before]
    assert [path for path in created if path.suffix == ".pyc"]
    assert [path for path in created if path.stat().st_mode & 0o077] == []


def test_an_unset_home_is_not_an_error(entry: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "chosen"
    (lock,) = keep_workers_out(chosen)
    assert run(save(), chosen, env={"HOME": ""}, entry=entry).output["queued"] is True
    lock.release()


@pytest.mark.parametrize("name", ["with blanks", "ünïcode", "a'b\"c", "$HOME", "%41?x=1#y"])
def test_the_directory_may_have_any_name(
    entry: Path, home: Path, tmp_path: Path, name: str
) -> None:
    assert saved_at(entry, home, tmp_path / name, tmp_path / name) == [True]


@pytest.mark.parametrize("way", [[], ["-O"], ["-OO"], ["-B"], ["-X", "utf8"]])
def test_the_data_directory_is_private_however_python_is_started(
    entry: Path, home: Path, tmp_path: Path, way: list[str]
) -> None:
    place = tmp_path / "data"
    (lock,) = keep_workers_out(place)
    answer = run(save(), place, env={"HOME": str(home)}, entry=entry, flags=way)
    lock.release()
    assert answer.output["queued"] is True
    assert stat.S_IMODE((place / "queue").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "blocker",
    ["queue", "queue/data.db", "connection.json", "worker.lock", "notices.jsonl", "worker.stderr"],
)
def test_a_folder_or_a_file_in_the_way_is_one_line_and_no_traceback(
    data_dir: Path, blocker: str
) -> None:
    """Only an unwritable folder is an error. With any other broken file the edit is queued."""
    path = data_dir / blocker
    path.parent.mkdir(exist_ok=True)
    if blocker == "queue":
        path.write_text("", encoding="utf-8")
    else:
        path.mkdir()
    answer = run(save(), data_dir)
    assert b"Traceback" not in answer.stderr
    if blocker == "queue":
        assert_one_error(answer)
    elif blocker == "queue/data.db":
        assert answer.output["queued"] is True
        assert len(spooled(str(path.parent))) == 1
    else:
        assert answer.output["queued"] is True
        assert len(queued(data_dir)) == 1
        assert sum(level in ("warning", "error") for level, _ in answer.log) <= 1


def test_a_link_in_place_of_a_file_is_not_followed(busy: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("untouched", encoding="utf-8")
    (busy / "queue").mkdir()
    (busy / "queue" / "data.db").symlink_to(target)
    assert run(save(), busy).output["queued"] is True
    assert len(spooled(str(busy / "queue"))) == 1
    assert target.read_text(encoding="utf-8") == "untouched"


def assert_one_error(answer: Answer, names: str = "") -> None:
    assert answer.log == [], "Stash logs the error"
    assert names in answer.error
    assert b"Traceback" not in answer.stderr


def unwritable(tmp_path: Path, kind: str) -> Path:
    if kind == "read-only":
        if not os.path.isdir("/proc/self"):
            pytest.skip("no place here that even root can't write")
        return Path("/proc/self/no/such/place")
    file = tmp_path / "a file"
    file.write_text("", encoding="utf-8")
    return file / "data"


@pytest.mark.skipif(os.name != "posix", reason="needs modes")
def test_a_worker_closes_to_others_what_an_older_version_left_writable(tmp_path: Path) -> None:
    with ProcessHarness(tmp_path) as harness:
        plugin = tmp_path / "plugins" / "PlexSync"
        module = plugin / "dependencies" / "package" / "module.py"
        cache = plugin / "more" / "__pycache__"
        for folder in (module.parent, cache):
            folder.mkdir(parents=True, exist_ok=True)
        compiled, other = cache / "old.pyc", plugin / "notes"
        for file in (module, compiled, other):
            file.write_text("")
        left = [plugin / "dependencies", module.parent, module, cache, compiled]
        for path in (*left, other):
            path.chmod(0o777)
        scene, item = harness.pair()
        harness.save(scene, "New")
        harness.wait_for_title(item, "New")
        assert [path.stat().st_mode & 0o777 for path in left] == [0o755] * 5
        assert other.stat().st_mode & 0o777 == 0o777
