"""The worker as a process: how it is started, that there is one, how it ends, and what it leaves for the next."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.simulators.httpd import Answer, Delay, Hang
from tests.simulators.plex import PlexSimulator
from tests.simulators.stash import Scene
from tests.worker.site import ROOT, Site, wait_until
from tests.worker.world import TOKEN
from worker.process import ALIVE, SILENT, WorkerLock, ensure_worker, worker_alive

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="looks at sessions, signals and modes of POSIX"
)
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(tmp_path: Path, plex: PlexSimulator) -> Iterator[MakeSite]:
    sites: list[Site] = []

    def make(name: str = "site", *, idle: float = 300.0) -> Site:
        folder = tmp_path / name
        folder.mkdir()
        sites.append(Site(folder, plex, idle=idle))
        return sites[-1]

    yield make
    for site in sites:
        site.close()


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    return make_site()


def test_a_hook_starts_a_worker_that_outlives_it_in_a_session_of_its_own(site: Site) -> None:
    scene, item = site.pair("a")

    run = site.save(scene, "New")

    assert run.ended, "stdout was closed and the process gone"
    site.wait_for_title(item, "New")
    worker = site.worker
    assert os.getsid(worker) == worker
    assert os.getsid(worker) != os.getsid(0)


@on_linux
def test_the_worker_holds_nothing_of_the_hooks_and_no_secret(site: Site) -> None:
    site.stash.set_credentials("me", "secret")
    site.stash.set_api_key("api-key-0123456789-abcdef")
    scene, item = site.pair("a")
    run = site.save(scene, "New")
    site.wait_for_title(item, "New")
    process = Path("/proc") / str(site.worker)

    held = {number.name: os.readlink(number) for number in (process / "fd").iterdir()}
    assert (held["0"], held["1"]) == ("/dev/null", "/dev/null")
    assert held["2"] == str(site.data_dir / "worker.stderr")
    assert not [target for target in held.values() if target.startswith("pipe:")]
    cookie = run.stdin["server_connection"]["SessionCookie"]["Value"]
    for place in ("cmdline", "environ"):
        content = (process / place).read_bytes().decode("utf-8", "replace")
        for secret in (TOKEN, "api-key-0123456789-abcdef", cookie):
            assert secret not in content


def test_fifty_hooks_at_once_start_one_worker_and_every_edit_arrives(site: Site) -> None:
    """`PLEXSYNC_BURSTS=20` does it twenty times over."""
    pairs = [site.pair(f"s{number}") for number in range(50)]
    for burst in range(int(os.environ.get("PLEXSYNC_BURSTS", "1"))):
        with ThreadPoolExecutor(len(pairs)) as pool:
            list(
                pool.map(
                    lambda pair, burst=burst: site.save(pair[0], f"Burst {burst} {pair[0].id}"),
                    pairs,
                )
            )
        for scene, item in pairs:
            site.wait_for_title(item, f"Burst {burst} {scene.id}", timeout=240)
    assert site.starts() == 1
    assert len(site.workers()) == 1
    said = site.log + "".join(line.text for line in site.stash.plugin_log)
    assert "locked" not in said.replace("lock_fields", "")


def test_a_second_worker_by_hand_leaves_again_at_once(site: Site) -> None:
    scene, item = site.pair("a")
    site.save(scene, "New")
    site.wait_for_title(item, "New")
    first = site.worker

    command = [
        sys.executable,
        str(ROOT / "PlexSync.py"),
        "worker",
        "--data-dir",
        str(site.data_dir),
    ]
    assert subprocess.run(command, timeout=240, check=False, capture_output=True).returncode == 0

    assert site.workers() == [first]
    assert site.starts() == 1


def test_it_leaves_after_the_idle_time_and_the_next_hook_starts_another(
    make_site: MakeSite,
) -> None:
    site = make_site(idle=0.2)
    scene, item = site.pair("a")
    for title in ("One", "Two"):
        site.save(scene, title)
        site.wait_for_title(item, title)
        site.wait_until_gone()

    assert site.starts() == 2
    assert site.log.count("Worker ends: idle") == 2
    assert (site.data_dir / "worker.stderr").read_text() == ""


def test_sigterm_ends_it_after_the_job_in_hand_and_keeps_the_rest(site: Site) -> None:
    first, first_item = site.pair("first")
    second, second_item = site.pair("second")
    slow = site.plex.faults.add(Delay(1.0), method="PUT")
    site.save(first, "First")
    assert site.plex.log.wait_for(1, "PUT", timeout=240)
    site.save(second, "Second")

    os.kill(site.worker, signal.SIGTERM)
    site.wait_until_gone()

    assert first_item.title == "First"
    assert second_item.title == "second"
    assert site.stats()["pending"] == 1
    assert site.stats()["in_progress"] == 0
    slow.remove()
    third, third_item = site.pair("third")
    site.save(third, "Third")
    site.wait_for_title(second_item, "Second")
    site.wait_for_title(third_item, "Third")


def test_a_killed_worker_is_replaced_by_the_next_hook_which_resumes_the_job_in_progress(
    site: Site,
) -> None:
    first, first_item = site.pair("first")
    second, second_item = site.pair("second")
    stuck = site.plex.faults.add(Hang(), method="PUT")
    site.save(first, "First")
    assert site.plex.log.wait_for(1, "PUT", timeout=240)

    os.kill(site.worker, signal.SIGKILL)
    site.wait_until_gone()
    assert site.stats()["in_progress"] == 1
    stuck.remove()
    site.save(second, "Second")

    site.wait_for_title(first_item, "First")
    site.wait_for_title(second_item, "Second")
    wait_until(
        lambda: site.stats()["in_progress"] == site.stats()["pending"] == 0, "an empty queue"
    )


def test_an_edit_in_the_very_moment_of_leaving_is_not_left_behind(make_site: MakeSite) -> None:
    """Thirty edits at random moments around the end of a worker; each must reach Plex without another one's help."""
    rng = random.Random(7)

    def edit_again_and_again(site: Site) -> None:
        scene, item = site.pair("a")
        for number in range(10):
            site.save(scene, f"Edit {number}")
            site.wait_for_title(item, f"Edit {number}")
            time.sleep(rng.uniform(0.0, 0.8))

    sites = [make_site(f"site{number}", idle=0.05) for number in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(edit_again_and_again, sites))

    assert sum(site.starts() for site in sites) > 3, "some edits met no worker"


def test_a_worker_that_hangs_is_reported_in_stashs_log_by_the_next_hook(site: Site) -> None:
    scene, item = site.pair("a")
    site.save(scene, "One")
    site.wait_for_title(item, "One")
    os.kill(site.worker, signal.SIGSTOP)
    long_ago = time.time() - 3600
    os.utime(site.data_dir / "worker.lock", (long_ago, long_ago))

    run = site.save(scene, "Two")

    assert [line.text for line in run.log if line.level == "warning"]
    os.kill(site.worker, signal.SIGCONT)
    site.wait_for_title(item, "Two")


# --- switched off


def let_time_pass(site: Site, seconds: float) -> None:
    """Make the mark of the worker that found the plugin switched off so much older."""
    mark = site.data_dir / "disabled"
    then = mark.stat().st_mtime - seconds
    os.utime(mark, (then, then))


def switched_off(site: Site, *scenes: Scene) -> None:
    """Save while the plugin is off, and see the worker leave."""
    site.set(enabled=False)
    for scene in scenes:
        site.save(scene, f"Off {scene.id}")
    wait_until(lambda: "switched off" in site.log, "the first worker's end")
    site.wait_until_gone()


def test_switched_off_it_leaves_keeps_jobs_and_is_not_started_at_every_save(site: Site) -> None:
    scenes = [site.pair(f"s{number}")[0] for number in range(5)]
    switched_off(site, scenes[0])

    seen = set()
    for scene in scenes[1:]:
        site.save(scene, "Off")
        seen |= set(site.workers())

    assert len(seen) <= 1, "one that waits, at most"
    assert site.starts() == 1
    assert site.stats()["pending"] == 5
    assert site.plex.writes == []


def test_switched_on_again_a_while_later_the_next_save_brings_everything(site: Site) -> None:
    pairs = [site.pair(f"s{number}") for number in range(3)]
    switched_off(site, pairs[0][0], pairs[1][0])
    let_time_pass(site, 120)

    site.set(enabled=True)
    site.save(pairs[2][0], "On")

    site.wait_for_title(pairs[0][1], f"Off {pairs[0][0].id}")
    site.wait_for_title(pairs[1][1], f"Off {pairs[1][0].id}")
    site.wait_for_title(pairs[2][1], "On")


def test_switched_on_again_soon_the_next_save_reaches_plex_without_another(site: Site) -> None:
    scene, item = site.pair("a")
    switched_off(site, scene)
    let_time_pass(site, 28)

    site.set(enabled=True)
    site.save(scene, "On")

    site.wait_for_title(item, "On", 40)


def test_a_worker_that_waits_for_the_plugin_to_be_switched_on_can_be_ended(site: Site) -> None:
    scene, _ = site.pair("a")
    switched_off(site, scene)
    site.save(scene, "Still off")

    for pid in site.workers():
        os.kill(pid, signal.SIGTERM)

    site.wait_until_gone()
    assert site.stats()["pending"] == 1


# --- privacy


def secrets_in(folder: Path, secrets: list[str]) -> list[tuple[str, str]]:
    return [
        (path.name, secret[:6])
        for path in folder.rglob("*")
        if path.is_file() and path.name != "connection.json"
        for secret in secrets
        for form in {secret, quote(secret, safe="")}
        if form.encode() in path.read_bytes()
    ]


def test_no_secret_is_anywhere_but_in_the_connection_file_and_all_files_are_private(
    make_site: MakeSite,
) -> None:
    previous = os.umask(0)
    try:
        site = make_site()
        token, wrong, key = TOKEN, "wrong-token/with+signs==0123", "api-key-0123456789-abcdef"
        site.stash.set_credentials("me", "secret")
        site.stash.set_api_key(key)
        pairs = [site.pair(f"s{number}") for number in range(3)]
        site.plex.faults.add(
            Answer(400, b"bad"), method="PUT", times=1
        )  # a dead letter with a stack trace
        runs = [site.save(pairs[0][0], "Refused")]
        wait_until(lambda: "could not be synced" in site.log, "the dead letter")
        os.kill(site.worker, signal.SIGTERM)
        site.wait_until_gone()
        site.set(plex_token=wrong)
        site.save(pairs[1][0], "With a wrong token")
        wait_until(
            lambda: "plex_token" in site.log.partition("could not be synced")[2], "the rejection"
        )
        os.kill(site.worker, signal.SIGTERM)
        site.wait_until_gone()
        site.set()
        site.stash.invalidate_sessions()
        runs.append(site.save(pairs[2][0], "Fine"))
        site.wait_for_title(pairs[1][1], "With a wrong token")
        site.wait_for_title(pairs[2][1], "Fine")
        os.kill(site.worker, signal.SIGTERM)
        site.wait_until_gone()

        cookies = [run.stdin["server_connection"]["SessionCookie"]["Value"] for run in runs]
        secrets = [token, wrong, key, *cookies]
        assert secrets_in(site.data_dir, secrets) == []
        said = " ".join(line.text for line in site.stash.plugin_log)
        assert not [secret for secret in secrets if secret in said]
        for path in (site.data_dir, *site.data_dir.rglob("*")):
            assert path.stat().st_mode & 0o077 == 0, path
    finally:
        os.umask(previous)


# --- the lock and the start, by themselves


def test_the_lock_is_held_by_one_and_free_after_release(tmp_path: Path) -> None:
    first, second = WorkerLock(str(tmp_path)), WorkerLock(str(tmp_path))
    assert first.acquire()
    assert first.acquire(), "whoever has it has it"
    assert not second.acquire()
    assert worker_alive(str(tmp_path))

    first.release()
    first.release()

    assert not worker_alive(str(tmp_path))
    assert second.acquire()
    second.release()


def test_a_look_whether_a_worker_lives_never_keeps_a_hook_from_starting_one(tmp_path: Path) -> None:
    """A task looks now and then; a hook that comes in that moment must not take the look for a worker."""
    data_dir = str(tmp_path)
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            worker_alive(data_dir)

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for _ in range(2_000):
            lock = WorkerLock(data_dir)
            assert lock.acquire()
            lock.release()
    finally:
        stop.set()
        looker.join()


def test_a_hook_tells_a_living_worker_from_a_silent_one(tmp_path: Path) -> None:
    lock = WorkerLock(str(tmp_path))
    assert lock.acquire()
    try:
        assert ensure_worker(str(tmp_path), "unused") == ALIVE
        long_ago = time.time() - 3600
        os.utime(lock.path, (long_ago, long_ago))
        assert ensure_worker(str(tmp_path), "unused") == SILENT
        lock.beat()
        assert ensure_worker(str(tmp_path), "unused") == ALIVE
    finally:
        lock.release()


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("keep")
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / "worker.lock").symlink_to(target)

    with pytest.raises(OSError):
        WorkerLock(str(data_dir)).acquire()

    assert target.read_text() == "keep"
