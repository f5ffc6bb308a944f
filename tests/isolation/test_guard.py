"""The guard: an unregistered address is refused and fails the test, also in child processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.plugin import ENTRY, environment, run
from tests.harness.processes import wait_until
from tests.harness.results import worker_log
from tests.isolation import (
    FOLDER,
    VARIABLE,
    closed_port,
    pauses,
    register,
    search_path,
    unregister,
)
from tests.simulators.httpd import Response, SimulatedServer
from tests.simulators.stash.events import encode, hook_input, scene_update, server_connection

ROOT = Path(__file__).resolve().parents[2]
CONNECT = (
    "import socket, sys\nsocket.create_connection(('127.0.0.1', int(sys.argv[1])), 5).close()\n"
)
WITHOUT_GUARD = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'pass'], env={})\n"


@pytest.fixture
def foreign() -> Iterator[int]:
    """Return the port of a server that is unknown to the guard."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.fixture
def session(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a process with its own session and refusals."""
    folder = tmp_path / "session"
    folder.mkdir()
    return {**os.environ, VARIABLE: str(folder)}


def notes(session: dict[str, str]) -> str:
    file = Path(session[VARIABLE], "refused.txt")
    return file.read_text(encoding="utf-8") if file.exists() else ""


def python(
    code: str, session: dict[str, str], *arguments: object
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(
        command, env=session, capture_output=True, text=True, timeout=240, check=False
    )


def test_a_process_that_connects_elsewhere_is_refused_and_recorded(
    session: dict[str, str], foreign: int
) -> None:
    done = python(CONNECT, session, foreign)
    assert "Refused" in done.stderr
    assert f"('127.0.0.1', {foreign})" in notes(session)


def test_a_registered_address_is_reachable_until_it_is_unregistered(
    session: dict[str, str], foreign: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, session[VARIABLE])
    register("127.0.0.1", foreign)
    assert python(CONNECT, session, foreign).returncode == 0
    assert notes(session) == ""
    unregister("127.0.0.1", foreign)
    assert python(CONNECT, session, foreign).returncode == 1


def test_a_process_can_reach_the_address_that_it_bound(session: dict[str, str]) -> None:
    code = (
        "import socket\n"
        "with socket.create_server(('127.0.0.1', 0)) as server:\n"
        "    socket.create_connection(server.getsockname(), 5).close()\n"
    )
    assert python(code, session).returncode == 0
    assert notes(session) == ""


@pytest.mark.parametrize(
    "code",
    [
        "import socket\nsocket.create_server(('127.0.0.1', {port}))",
        "import socket\nsocket.getaddrinfo('stash.example.org', 80)",
        "import socket\nsocket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))",
        "import socket\nsocket.socket().connect_ex(('127.0.0.1', {port}))",
    ],
    ids=["a fixed port", "a name server", "a datagram", "connect_ex"],
)
def test_other_network_calls_are_recorded_too(session: dict[str, str], code: str) -> None:
    python(code.format(port=closed_port()), session)
    assert len(notes(session).splitlines()) == 1


def test_a_python_process_without_the_guard_is_recorded(session: dict[str, str]) -> None:
    assert python(WITHOUT_GUARD, session).returncode == 0
    assert "unguarded child" in notes(session)


def test_a_worker_that_a_hook_started_is_guarded(
    session: dict[str, str], foreign: int, data_dir: Path
) -> None:
    """The hook gets the address of an unregistered Stash."""
    stdin = encode(
        hook_input(
            scene_update({"id": "7", "title": "T"}), server_connection(port=foreign, cookie="c")
        )
    )
    assert run(stdin, data_dir, env=session).output["queued"] is True
    wait_until(lambda: str(foreign) in notes(session), f"it is noted; {worker_log(data_dir)}")
    assert "'worker'" in notes(session)


def test_another_sitecustomize_on_the_path_is_run_as_well(
    session: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text("print(__name__, 'ran')\n", encoding="utf-8")
    done = python("", {**session, "PYTHONPATH": search_path(str(tmp_path))})
    assert done.stdout == "sitecustomize ran\n"


def test_the_guard_imports_no_further_modules(session: dict[str, str]) -> None:
    code = "import sys; print(*sorted(sys.modules))"
    session = {**session, pauses.VARIABLE: ""}
    bare = {**session, "PYTHONPATH": ""}
    command = [sys.executable, "-c", code]
    without = subprocess.run(
        [sys.executable, "-I", *command[1:]], env=bare, capture_output=True, text=True, check=True
    )
    assert set(python(code, session).stdout.split()) - set(without.stdout.split()) <= {
        "sitecustomize"
    }


NESTED = """
import socket, subprocess, sys

def test_in_process():
    try:
        socket.create_connection(("127.0.0.1", {port}), 5)
    except OSError:
        pass  # as a client does that tries again later

def test_in_a_child():
    subprocess.run([sys.executable, "-c", {connect!r}, "{port}"])

def test_of_its_own():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), 5).close()
"""


def test_a_test_that_connects_elsewhere_fails(tmp_path: Path, foreign: int) -> None:
    """With the project's own conftest.py, in a pytest of its own."""
    for name in ("conftest.py", "pyproject.toml", "PlexSync.py", "queue", "common"):
        (tmp_path / name).symlink_to(ROOT / name)
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "isolation").symlink_to(FOLDER)
    (tests / "test_nested.py").write_text(NESTED.format(port=foreign, connect=CONNECT))
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={tmp_path / 'inner'}")
    command = [sys.executable, "-m", "pytest", *options, "tests/test_nested.py"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False
    )
    assert "3 passed, 2 errors" in done.stdout, done.stdout + done.stderr
    for name in ("test_in_process", "test_in_a_child"):
        assert f"ERROR tests/test_nested.py::{name} - Failed: not started by this" in done.stdout


# --- related guarantees


def test_the_port_of_a_stopped_simulator_stays_reserved() -> None:
    with SimulatedServer(lambda request: Response(200)) as server:
        server.stop()
        with socket.socket() as other, pytest.raises(OSError):
            other.bind(("127.0.0.1", server.port))
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", server.port)) != 0
        server.start()
        socket.create_connection(("127.0.0.1", server.port), 5).close()


def test_home_is_temporary_for_everything(data_dir: Path) -> None:
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); import PlexSync\n"
        "print(os.path.expanduser('~'))"
    )
    home = subprocess.run(
        [sys.executable, "-c", code, str(ENTRY.parent)],
        env=environment(data_dir), capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert "plexsync-" in home
    assert os.environ["HOME"] == os.environ["XDG_CONFIG_HOME"] == os.environ["USERPROFILE"] == home


WITHOUT = """
import sys
from importlib.machinery import PathFinder
class Lacking:
    @staticmethod
    def find_spec(name, *where):
        return None if name in {names!r} else PathFinder.find_spec(name, *where)
sys.meta_path[sys.meta_path.index(PathFinder)] = Lacking
import pytest
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


@pytest.mark.parametrize("options", [(), ("-n", "2"), ("tests/common",)])
def test_missing_packages_are_reported_in_one_line(options: tuple[str, ...]) -> None:
    names = ("pytest_timeout", "xdist", "hypothesis", "graphql", "yaml", "rich")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(names=names), *options],
        cwd=ROOT,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode != 0
    lines = (done.stdout + done.stderr).strip().splitlines()
    assert len(lines) == 1, lines
    for package in ("pytest-timeout", "pytest-xdist", "hypothesis", "graphql-core", "pyyaml"):
        assert package in lines[0]
    assert "make test" in lines[0]
    assert "requests" not in lines[0]
