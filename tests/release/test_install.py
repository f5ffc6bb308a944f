"""Installing dependencies beside the plugin, with all kinds of pips, settings and disks."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tasks.install import explain, mask_passwords
from tests.harness.processes import wait_until
from tests.harness.size import some
from tests.isolation import closed_port, search_path
from tests.release.conftest import ROOT, Python, mounted
from tests.release.wheels import VERSIONS, make_wheel, make_wheels, other_platform
from tests.simulators.httpd import Hang, Request, Response, SimulatedServer
from tests.simulators.stash.pluginlog import decode_line

posix_only = pytest.mark.skipif(os.name != "posix", reason="signals and mounts of POSIX")


def run(
    plugin: Path, python: Python, call: str = "run_install_command(True)", before: str = ""
) -> subprocess.CompletedProcess[bytes]:
    """Run the code `before` and then the installer in a process."""
    code = f"import os, sys; {before}\nfrom tasks.install import *; sys.exit({call})"
    return subprocess.run(
        [python.path, "-c", code], cwd=plugin, capture_output=True, timeout=240, check=False
    )


def install(plugin: Path, python: Python) -> dict[str, Any]:
    """Install and return the result."""
    done = run(plugin, python)
    assert (done.returncode, done.stderr) == (0, b""), done.stdout
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def refusal(plugin: Path, python: Python) -> str:
    """Assert that the installation fails with one line and leaves no file; return the line."""
    before = tree_of(plugin)
    done = run(plugin, python)
    assert (done.returncode, done.stderr) == (1, b""), done.stdout
    text = str(json.loads(done.stdout)["error"])
    assert len(text.splitlines()) == 1
    assert "Traceback" not in text
    assert tree_of(plugin) == before, "what was there is untouched, and nothing is left"
    return text


def tree_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    }


def make_dependencies(plugin: Path) -> Path:
    """Create an earlier dependencies folder."""
    old = plugin / "dependencies"
    (old / "persistqueue").mkdir(parents=True)
    (old / "persistqueue" / "__init__.py").write_text("old = True", encoding="utf-8")
    return old


def created_names(plugin: Path) -> list[str]:
    """Return the names that an installation created in the plugin's folder."""
    return sorted(path.name for path in plugin.iterdir() if path.name.startswith("dependencies"))


# --- success


def test_the_packages_are_put_beside_the_plugin_and_reported(
    plugin: Path, python: Python, wheels: Path
) -> None:
    """As a task: with one document and its progress."""
    done = run(plugin, python, "run_install_task()")
    assert done.returncode == 0
    result = json.loads(done.stdout)["output"]
    assert result == {
        "result": result["result"],
        "folder": str(plugin / "dependencies"),
        "python": ".".join(map(str, sys.version_info[:3])),
        "packages": VERSIONS,
    }
    assert (plugin / "dependencies" / "plexapi" / "__init__.py").is_file()
    assert created_names(plugin) == ["dependencies"]
    for name, version in VERSIONS.items():
        assert f"{name} {version}" in result["result"]
    assert result["folder"] in result["result"]
    lines = [decode_line(line) for line in done.stderr.splitlines()]
    assert any("plexapi" in text for level, text in lines if level == "debug")
    assert {level for level, _ in lines} == {"debug", "info", "progress"}
    assert [text for level, text in lines if level == "info"] == [result["result"]]
    seen = [float(text) for level, text in lines if level == "progress"]
    assert (seen[0], seen[-1], seen) == (0.0, 1.0, sorted(seen))
    assert len(set(seen)) > 3


def test_a_python_without_pip_uses_the_bundled_pip(
    plugin: Path, bare: Python, wheels: Path
) -> None:
    before = tree_of(bare.folder)
    assert install(plugin, bare)["packages"] == VERSIONS
    assert tree_of(bare.folder) == before, "the Python itself is as it was"


def test_a_later_installation_replaces_the_whole_folder(
    plugin: Path, python: Python, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_dependencies(plugin).joinpath("stale.py").touch()
    monkeypatch.setenv("PIP_FIND_LINKS", str(make_wheels(tmp_path / "newer", {}, version="4.99")))
    (plugin / "requirements.txt").write_text("\n".join(VERSIONS), encoding="utf-8")
    assert set(install(plugin, python)["packages"].values()) == {"4.99"}
    assert not (plugin / "dependencies" / "stale.py").exists()
    assert created_names(plugin) == ["dependencies"]


def test_a_link_in_its_place_is_replaced_and_its_target_stays(
    plugin: Path, python: Python, wheels: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.txt").touch()
    try:
        (plugin / "dependencies").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    except OSError:
        pytest.skip("no links here")
    install(plugin, python)
    assert not (plugin / "dependencies").is_symlink()
    assert (tmp_path / "elsewhere" / "mine.txt").exists()
    assert created_names(plugin) == ["dependencies"]


# --- unusual environments

#: pip must see none of them. Those that could hide others are apart.
ENVIRONMENTS: dict[str, dict[str, str]] = {
    "another place": {
        "PIP_TARGET": "{tmp}/elsewhere",
        "PIP_PREFIX": "{tmp}/elsewhere",
        "PIP_ROOT": "{tmp}/elsewhere",
        "PYTHONWARNINGS": "error",
        "LC_ALL": "C",
        "LANG": "C",
    },
    "other packages": {
        "PIP_USER": "1",
        "pip_user": "1",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_NO_BINARY": ":all:",
        "PIP_REQUIRE_HASHES": "1",
        "PIP_PLATFORM": "vax_1",
        "PIP_QUIET": "3",
        "PYTHONPATH": "{guard}{sep}{plugin}{sep}{plugin}/..",
    },
    "less of it": {"PIP_NO_DEPS": "1", "PIP_DRY_RUN": "1"},
}


@pytest.mark.parametrize("name", some(ENVIRONMENTS, 1))
def test_pip_ignores_misleading_environment_variables(
    plugin: Path,
    python: Python,
    wheels: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    places = {"tmp": tmp_path, "plugin": plugin, "guard": search_path(), "sep": os.pathsep}
    for variable, value in ENVIRONMENTS[name].items():
        monkeypatch.setenv(variable, value.format(**places))
    # The plugin's `queue`, and modules of other plugins, must not replace Python's.
    for folder in (plugin.parent, plugin):
        (folder / "optparse.py").write_text("raise SystemExit('not Python's')", encoding="utf-8")
    assert install(plugin, python)["packages"] == VERSIONS
    assert not (tmp_path / "elsewhere").exists()


@posix_only
def test_it_works_without_a_home_folder(
    plugin: Path, python: Python, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOME")
    assert install(plugin, python)["packages"] == VERSIONS
    assert not (plugin / "~").exists()


@pytest.mark.parametrize("place", some(["named by a variable", "in the home"], 1))
def test_a_pip_config_file_only_sets_the_index(
    plugin: Path,
    python: Python,
    wheels: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    settings = tmp_path / "pip.conf"
    if place == "in the home":
        settings = Path.home() / ("pip/pip.ini" if os.name == "nt" else ".pip/pip.conf")
        settings.parent.mkdir()
    else:
        monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    settings.write_text(
        "[global]\nuser = true\nrequire-virtualenv = true\nno-binary = :all:\n"
        "constraint = /nowhere\nquiet = 3\n"
        f"no-index = true\n[install]\nprefix = {tmp_path}/elsewhere\n"
        f"target = {tmp_path}/elsewhere\n"
        f"find-links =\n    {tmp_path}/empty\n    {wheels}\n",
        encoding="utf-8",
    )
    (tmp_path / "empty").mkdir()
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.delenv("PIP_NO_INDEX")
    assert install(plugin, python)["packages"] == VERSIONS
    assert not (tmp_path / "elsewhere").exists()


def test_a_password_in_a_pip_config_file_reaches_the_index(
    plugin: Path, python: Python, index: Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    address = index.server.url.replace("//", "//me:secret@")
    (tmp_path / "pip.conf").write_text(
        f"[install]\nno-index = true\nfind-links = {address}/files/\n", encoding="utf-8"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert install(plugin, python)["packages"] == VERSIONS
    credentials = base64.b64encode(b"me:secret").decode()
    assert index.server.log.all()[0].request.headers["Authorization"] == f"Basic {credentials}"


def test_pip_does_not_get_the_token_of_plex(
    plugin: Path, python: Python, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLEX_TOKEN", "secret")
    seen = tmp_path / "seen"
    look = python.site / "look.pth"  # Debian's Python has a sitecustomize of its own
    look.write_text(
        f"import os; open({str(seen)!r}, 'a').write("
        "f\"{os.getpid()} {os.environ.get('PLEX_TOKEN')}\\n\")\n",
        encoding="utf-8",
    )
    try:
        install(plugin, python)
    finally:
        look.unlink()
    # By process: Python may run such a line twice.
    tokens = dict(line.split() for line in seen.read_text(encoding="utf-8").splitlines())
    ours, *children = tokens.values()
    assert ours == "secret"
    assert children and set(children) == {"None"}


@posix_only
def test_the_packages_are_private_under_any_umask(
    plugin: Path, python: Python, wheels: Path
) -> None:
    assert run(plugin, python, before="os.umask(0)").returncode == 0
    folder = plugin / "dependencies"
    modes = {path: path.stat().st_mode & 0o077 for path in (folder, *folder.rglob("*"))}
    assert len(modes) > len(VERSIONS)
    assert set(modes.values()) == {0}


@posix_only
def test_what_an_older_version_left_writable_for_all_no_longer_is(
    plugin: Path, python: Python, wheels: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere" / "__pycache__"
    others = [elsewhere, plugin / "mine"]
    left = [make_dependencies(plugin), plugin / "__pycache__", plugin / "stash" / "__pycache__"]
    for folder in (*others, *left):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
    (plugin / "common" / "link").symlink_to(elsewhere.parent)
    (plugin / "mine" / "__pycache__").symlink_to(elsewhere)

    install(plugin, python)

    assert [folder.stat().st_mode & 0o022 for folder in left] == [0, 0, 0]
    assert [folder.stat().st_mode & 0o777 for folder in others] == [0o777, 0o777], "not ours"


@posix_only
def test_the_caches_of_another_user_stay_as_they_are(
    plugin: Path, python: Python, wheels: Path
) -> None:
    cache = plugin / "__pycache__"
    cache.mkdir(exist_ok=True)
    cache.chmod(0o777)
    if os.geteuid() == 0:
        os.chown(cache, 65_534, -1)
    stranger = "" if os.geteuid() == 0 else "os.geteuid = lambda: 65_534"
    assert run(plugin, python, before=stranger).returncode == 0
    assert cache.stat().st_mode & 0o777 == 0o777


def test_it_works_with_an_externally_managed_python(
    plugin: Path, python: Python, wheels: Path, tmp_path: Path
) -> None:
    """PEP 668: the marker lies in the standard library and applies outside virtual environments."""
    code = (
        "import pathlib, runpy, sys, sysconfig\n"
        f"sysconfig.get_path = lambda *_, **__: {str(tmp_path)!r}\n"
        "sys.prefix = sys.base_prefix\n"
        "sys.argv = ['pip', *sys.argv[1:]]\n"
        "runpy.run_module('pip', run_name='__main__')\n"
    )
    (tmp_path / "EXTERNALLY-MANAGED").write_text(
        "[externally-managed]\nError=managed\n", encoding="utf-8"
    )
    options = ["install", "--only-binary=:all:", "persist-queue"]
    refused = subprocess.run(
        [python.path, "-c", code, *options], capture_output=True, text=True, check=False
    )
    assert "externally-managed" in refused.stderr, "the mark works"
    target = str(tmp_path / "target")
    done = subprocess.run(
        [python.path, "-c", code, *options, "--target", target], capture_output=True, check=False
    )
    assert done.returncode == 0, (
        "and does not hold for --target, which is why the installation uses it"
    )


def test_it_works_with_a_broken_pip_config_file(
    plugin: Path, python: Python, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.conf").write_bytes(b"[global\nuser\xff")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    assert install(plugin, python)["packages"] == VERSIONS


# --- which versions


def test_the_tested_versions_are_preferred(plugin: Path, python: Python, wheels: Path) -> None:
    make_wheel(wheels, "plexapi", version="4.99.0")
    make_wheel(wheels, "pydantic", version="2.99.0")
    assert install(plugin, python)["packages"] == VERSIONS


def test_another_version_replaces_a_missing_tested_one(
    plugin: Path, python: Python, wheels: Path
) -> None:
    next(wheels.glob("pydantic-*.whl")).unlink()
    make_wheel(wheels, "pydantic", version="2.99.0")
    assert install(plugin, python)["packages"] == {**VERSIONS, "pydantic": "2.99.0"}


def test_another_version_replaces_a_tested_one_with_missing_dependencies(
    plugin: Path, python: Python, wheels: Path
) -> None:
    """For example the compiled part of pydantic, on a Python that it no longer supports."""
    make_wheel(wheels, "pydantic", needs=["pydantic-core==2.50.4"])
    make_wheel(wheels, "pydantic-core", version="2.50.4", tag=other_platform())
    make_wheel(wheels, "pydantic", version="2.9.0", needs=["pydantic-core==2.1.0"])
    make_wheel(wheels, "pydantic-core", version="2.1.0")
    packages = install(plugin, python)["packages"]
    assert (packages["pydantic"], packages["pydantic-core"]) == ("2.9.0", "2.1.0")


def test_the_tested_versions_are_those_of_the_tests(real_wheels: Path) -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {line for line in lines if not line.startswith("#")}
    assert pins <= set((ROOT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines())
    needed = {path.name.partition("-")[0] for path in real_wheels.iterdir()}
    assert {pin.partition("==")[0].replace("-", "_").lower() for pin in pins} == {
        name.lower() for name in needed
    }


# --- failures: one line, and the old folder stays


def test_no_pip_says_how_to_get_one(plugin: Path, without_pip: Python) -> None:
    make_dependencies(plugin)
    said = refusal(plugin, without_pip)
    assert "no pip" in said
    assert "py3-pip" in said and "python3-pip" in said


def test_a_missing_network_and_a_missing_package_have_different_errors(
    plugin: Path, python: Python, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_dependencies(plugin)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv(
        "PIP_INDEX_URL", f"http://somebody:a-secret-password@127.0.0.1:{closed_port()}/simple"
    )
    monkeypatch.setenv("PIP_RETRIES", "1")
    said = refusal(plugin, python)
    assert "can't be reached" in said and f"127.0.0.1:{closed_port()}" in said and "network" in said
    assert "a-secret-password" not in said


def test_a_missing_package_for_this_python_is_named_with_the_version(
    plugin: Path, python: Python, wheels: Path
) -> None:
    make_dependencies(plugin)
    next(wheels.glob("pydantic-*.whl")).unlink()
    make_wheel(wheels, "pydantic", tag=other_platform())
    said = refusal(plugin, python)
    assert "pydantic" in said and ".".join(map(str, sys.version_info[:3])) in said
    assert "Python path" in said
    assert "network" not in said


def test_a_package_with_sources_only_is_not_built(
    plugin: Path, python: Python, wheels: Path, tmp_path: Path
) -> None:
    next(wheels.glob("persist_queue-*.whl")).unlink()
    project = tmp_path / "persist-queue-1.1.0"
    project.mkdir()
    (project / "setup.py").write_text(f"open({str(tmp_path / 'built')!r}, 'w')", encoding="utf-8")
    with tarfile.open(wheels / "persist-queue-1.1.0.tar.gz", "w:gz") as archive:
        archive.add(project, project.name)
    assert "persist-queue" in refusal(plugin, python)
    assert not (tmp_path / "built").exists()


def test_packages_that_can_not_be_imported_do_not_replace_working_ones(
    plugin: Path, python: Python, wheels: Path
) -> None:
    make_dependencies(plugin)
    make_wheels(wheels, {"pydantic": "raise ImportError('no\\n _pydantic_core for this Python')"})
    said = refusal(plugin, python)
    assert "pydantic" in said and "_pydantic_core for this Python" in said


def test_a_package_that_only_the_systems_python_has_does_not_count(
    plugin: Path, python: Python, wheels: Path, tmp_path: Path
) -> None:
    (plugin / "requirements.txt").write_text("persist-queue\nplexapi\nrequests\n", encoding="utf-8")
    (python.site / "pydantic.py").touch()
    try:
        said = refusal(plugin, python)
    finally:
        (python.site / "pydantic.py").unlink()
    assert "pydantic" in said


@pytest.mark.parametrize("damage", [b"", b"this is no wheel"])
def test_a_damaged_wheel_is_reported_in_one_line(
    plugin: Path, python: Python, wheels: Path, damage: bytes
) -> None:
    make_dependencies(plugin)
    next(wheels.glob("plexapi-*.whl")).write_bytes(damage)
    assert "pip failed" in refusal(plugin, python)


def test_a_plugin_folder_without_its_list_says_so(plugin: Path, python: Python) -> None:
    (plugin / "requirements.txt").unlink()
    assert "requirements.txt" in refusal(plugin, python)


@posix_only
def test_a_full_disk_is_reported_in_one_line(
    plugin: Path, python: Python, wheels: Path, tmp_path: Path
) -> None:
    make_wheel(wheels, "requests", ballast=8 << 20)
    with mounted(tmp_path / "disk", "size=3m", "mode=0755") as disk:
        shutil.copytree(plugin, disk, dirs_exist_ok=True)
        make_dependencies(disk)
        assert "disk is full" in refusal(disk, python)
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        assert "disk is full" in refusal(disk, python)


@posix_only
def test_it_works_with_a_small_tmp(
    plugin: Path, python: Python, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(wheels, "requests", ballast=1 << 20)
    with mounted(tmp_path / "small", "size=64k") as small:
        for variable in ("TMPDIR", "TEMP", "TMP"):
            monkeypatch.setenv(variable, str(small))
        assert install(plugin, python)["packages"] == VERSIONS


#: Code that lets the second of the two renames fail.
SECOND_RENAME = """
rename = os.rename
def fail(source, target):
    if os.path.basename(source) == "packages":
        {failure}
    rename(source, target)
os.rename = fail
"""


def test_the_old_folder_is_restored_when_the_new_one_can_not_replace_it(
    plugin: Path, python: Python, wheels: Path
) -> None:
    old = make_dependencies(plugin)
    failure = 'raise OSError(16, "busy", source, None, target)'
    done = run(plugin, python, before=SECOND_RENAME.format(failure=failure))
    assert "can't be replaced" in json.loads(done.stdout)["error"]
    assert (old / "persistqueue" / "__init__.py").is_file()
    assert created_names(plugin) == ["dependencies"]


def test_a_password_in_an_address_is_not_shown() -> None:
    text = mask_passwords("see https://me:secret@host/x and https://token@host/y")
    assert text == "see https://****@host/x and https://****@host/y"


@posix_only
def test_a_read_only_plugin_folder_is_reported_in_one_line(
    plugin: Path, python: Python, tmp_path: Path
) -> None:
    with mounted(tmp_path / "disk", "size=3m", "mode=0755") as disk:
        shutil.copytree(plugin, disk, dirs_exist_ok=True)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        said = refusal(disk, python)
    assert str(disk) in said
    assert "right to write" in said


@posix_only
def test_a_plugin_folder_of_another_user_is_reported_in_one_line(
    plugin: Path, python: Python
) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    plugin.chmod(0o500)
    try:
        assert "right to write" in refusal(plugin, python)
    finally:
        plugin.chmod(0o700)


@posix_only
def test_a_folder_that_is_mounted_there_is_not_replaced(
    plugin: Path, python: Python, wheels: Path
) -> None:
    with mounted(plugin / "dependencies", "size=1m"):
        (plugin / "dependencies" / "mine.txt").touch()
        assert "remove that folder" in refusal(plugin, python)


# --- killed, and several at once


class Index:
    """A package index that keeps pip waiting, so that a test can act during an installation."""

    def __init__(self, wheels: Path) -> None:
        self.wheels = wheels
        self.server = SimulatedServer(self._answer, name="index")

    def _answer(self, request: Request) -> Response:
        file = self.wheels / Path(request.path).name
        if file.suffix == ".whl":
            return Response(200, file.read_bytes(), {"Content-Type": "application/octet-stream"})
        links = "".join(
            f'<a href="/files/{path.name}">{path.name}</a>' for path in self.wheels.iterdir()
        )
        page = f"<!DOCTYPE html><html><body>{links}</body></html>"
        return Response(200, page.encode(), {"Content-Type": "text/html"})


@pytest.fixture
def index(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    made = Index(wheels)
    made.server.start()
    monkeypatch.setenv("PIP_FIND_LINKS", f"{made.server.url}/files/")
    yield made
    made.server.stop()


#: As a task of Stash, by a Python without packages.
TASK = "import sys; from tasks.install import run_install_task; sys.exit(run_install_task())"


def start(plugin: Path, python: Python, code: str = TASK) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [python.path, "-c", code], cwd=plugin, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill it with its children, and wait until all have ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@posix_only
@pytest.mark.parametrize("moment", some(["a package", "the page of links"], 1))
def test_a_killed_installation_leaves_the_old_one_and_the_next_cleans_up(
    plugin: Path, python: Python, index: Index, moment: str
) -> None:
    old = make_dependencies(plugin)
    path = "/files/" if moment == "the page of links" else "/files/requests-2.34.2-py3-none-any.whl"
    hang = index.server.faults.add(Hang(), path=path)
    process = start(plugin, python)
    try:
        assert index.server.log.wait_for(path=path, timeout=240)
        process.kill()  # only the process itself, as Stash does
        process.wait()
        assert (old / "persistqueue" / "__init__.py").read_text(encoding="utf-8") == "old = True"
        assert any(name.startswith("dependencies.new-") for name in created_names(plugin))
        hang.remove()
        assert install(plugin, python)["packages"] == VERSIONS
    finally:
        hang.remove()
        end(process)
    assert (plugin / "dependencies" / "plexapi").is_dir()
    wait_until(lambda: created_names(plugin) == ["dependencies"], "nothing is left")


def test_the_next_run_recovers_from_a_kill_between_the_two_renames(
    plugin: Path, python: Python, without_pip: Python, wheels: Path
) -> None:
    make_dependencies(plugin)
    assert run(plugin, python, before=SECOND_RENAME.format(failure="os._exit(9)")).returncode == 9
    assert not (plugin / "dependencies").exists()
    assert "no pip" in json.loads(run(plugin, without_pip).stdout)["error"]
    assert created_names(plugin) == ["dependencies"]
    assert (plugin / "dependencies" / "persistqueue" / "__init__.py").is_file()


def test_a_kill_after_the_two_renames_leaves_the_new_folder(
    plugin: Path, without_pip: Python, wheels: Path
) -> None:
    make_dependencies(plugin)
    (plugin / "dependencies.new-abc" / "old").mkdir(parents=True)
    assert "no pip" in json.loads(run(plugin, without_pip).stdout)["error"]
    assert created_names(plugin) == ["dependencies"]
    assert (plugin / "dependencies" / "persistqueue").is_dir()


@posix_only
def test_a_second_installation_is_refused_while_the_first_continues(
    plugin: Path, python: Python, index: Index
) -> None:
    hang = index.server.faults.add(Hang(), path="/files/")
    process = start(plugin, python)
    try:
        assert index.server.log.wait_for(path="/files/", timeout=240)
        second = json.loads(run(plugin, python).stdout)
        assert "Another installation is at work" in second["error"]
        hang.remove()
        stdout, _ = process.communicate(timeout=240)
    finally:
        end(process)
    assert json.loads(stdout)["output"]["packages"] == dict(sorted(VERSIONS.items()))
    assert created_names(plugin) == ["dependencies"]


@posix_only
def test_ctrl_c_stops_it_and_leaves_the_old_folder(
    plugin: Path, python: Python, index: Index
) -> None:
    make_dependencies(plugin)
    before = tree_of(plugin)
    index.server.faults.add(Hang(), path="/files/")
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from tasks.install import run_install_command; sys.exit(run_install_command(False))"
    )
    process = start(plugin, python, code)
    try:
        assert index.server.log.wait_for(path="/files/", timeout=240)
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=240)
    finally:
        end(process)
    said = b"PlexSync install: stopped; what was there before is untouched\n"
    assert (process.returncode, stderr) == (130, said)
    assert tree_of(plugin) == before


def test_of_many_parallel_installations_at_least_one_succeeds_and_none_is_damaged(
    plugin: Path, python: Python, wheels: Path
) -> None:
    def attempt(_: int) -> str:
        document = json.loads(run(plugin, python).stdout)
        return str(document.get("result") or document["error"])

    with ThreadPoolExecutor(3) as pool:
        said = list(pool.map(attempt, range(3)))
    assert any(text.startswith("Installed") for text in said)
    assert all(text.startswith(("Installed", "Another installation")) for text in said), said
    assert created_names(plugin) == ["dependencies"]
    assert len(list((plugin / "dependencies").glob("*.dist-info"))) == len(VERSIONS)


# --- messages in Stash and in a shell


def test_as_a_task_it_fails_with_one_document(plugin: Path, python: Python) -> None:
    done = run(plugin, python, "run_install_task()")
    error = json.loads(done.stdout)["error"]
    assert done.returncode == 1
    lines = [decode_line(line) for line in done.stderr.splitlines()]
    assert error
    assert "error" not in [level for level, _ in lines], "Stash logs it"


def test_in_a_shell_it_prints_plain_lines(plugin: Path, python: Python, wheels: Path) -> None:
    done = run(plugin, python, "run_install_command(False)")
    lines = done.stdout.decode().splitlines()
    assert (done.returncode, done.stderr) == (0, b"")
    assert lines[-1].startswith("Installed for Python ")
    assert any("plexapi" in line for line in lines[:-1])


def test_a_failure_is_one_line_in_a_shell(plugin: Path, python: Python) -> None:
    """In a script it is one document: `refusal` asserts that."""
    done = run(plugin, python, "run_install_command(False)")
    assert (done.returncode, done.stdout) == (1, b"")
    text = done.stderr.decode()
    assert "persist-queue" in text
    assert len(text.splitlines()) == 1


def test_it_imports_no_third_party_module(plugin: Path, python: Python) -> None:
    code = (
        "import sys; before = set(sys.modules); import tasks.install;"
        "loaded = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(loaded - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run(
        [python.path, "-c", code], cwd=plugin, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['common', 'stash', 'tasks']"


# --- messages of pip

NOT_INSTALLED = "ERROR: Could not install packages due to an OSError"
#: pip's output: a part of our message.
PIP_OUTPUT = {
    f"{NOT_INSTALLED}: [Errno 28] No space left on device": "disk is full",
    f"{NOT_INSTALLED}: [Errno 122] Disk quota exceeded": "disk is full",
    "Could not fetch URL https://pypi.org/simple/x/: There was a problem confirming the ssl"
    " certificate: x\n"
    "ERROR: No matching distribution found for x": "PIP_CERT",
    "WARNING: Retrying (Retry(total=4)) after connection broken by 'ReadTimeoutError(\"Read timed"
    " out.\")': /x\n"
    "ERROR: No matching distribution found for x": "can't be reached",
    f"{NOT_INSTALLED}: HTTPSConnectionPool(host='x', port=443): "
    "Max retries exceeded with url: /y": "can't be reached",
    "ERROR: No matching distribution found for pydantic-core==9": (
        "ready-made package of pydantic-core==9"
    ),
    f"{NOT_INSTALLED}: [Errno 13] Permission denied: '/x/y'": "/x/y can't be",
    "one\nERROR: first\nERROR: HTTP error 403 while getting x\n\nnotice": (
        "pip failed: HTTP error 403 while getting x"
    ),
    "no such option: --x": "pip failed: no such option: --x",
    "": "pip failed: exit status 3",
}


@pytest.mark.parametrize("pip_output", PIP_OUTPUT)
def test_messages_of_pip_become_advice(pip_output: str) -> None:
    told = explain(pip_output or "exit status 3", "pip failed")
    assert PIP_OUTPUT[pip_output] in told
    assert len(told.splitlines()) == 1
    assert "{" not in told
