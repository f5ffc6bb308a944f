"""Fixtures: a Python without packages, wheels in place of the internet, a clean environment."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest

from release.package import FILES, FOLDERS, Package, build
from tests.isolation import closed_url, guard_python, search_path
from tests.release.wheels import make_wheels, rebuild_wheels

ROOT = Path(__file__).resolve().parents[2]
#: The package date in tests: 2026-01-02 03:04:06 UTC.
EPOCH = "1767323046"


@pytest.fixture(autouse=True)
def quiet_environment(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Remove outside settings of pip and Python; use an empty home and no index."""
    for variable in list(os.environ):
        if variable.startswith(("PIP_", "GIT_", "SOURCE_DATE_")):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("PYTHONPATH", search_path())
    home = tmp_path_factory.mktemp("home")
    for variable in (
        "HOME",
        "USERPROFILE",
        "APPDATA",
        "LOCALAPPDATA",
        "XDG_CONFIG_HOME",
        "XDG_CACHE_HOME",
    ):
        monkeypatch.setenv(variable, str(home))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(home))
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(
            variable, closed_url()
        )  # so that an error in a test does not reach the internet
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(variable, "127.0.0.1,localhost")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    return home


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the plugin's files without git, as in an unpacked archive, with files not to pack."""
    folder = tmp_path_factory.mktemp("tree")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name)
    for name in FILES:
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, folder / name)
    (folder / "docs" / "contributing.md").write_text("for developers", encoding="utf-8")
    for rubbish in (
        "tests/test_x.py",
        "hooks/.hidden.py",
        "queue/data.db",
        "note.md",
        "dist/index.yml",
        "docs/a.yml",
    ):
        (folder / rubbish).parent.mkdir(exist_ok=True)
        (folder / rubbish).write_text("rubbish", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def package(tree: Path) -> Package:
    return build(tree, {**os.environ, "SOURCE_DATE_EPOCH": EPOCH})


def install_as_stash(package: Package, plugins: Path) -> Path:
    """Unpack it where Stash does, with Stash's list of files; return the plugin's folder."""
    folder = plugins / "community" / "PlexSync"
    with zipfile.ZipFile(BytesIO(package.zip)) as archive:
        archive.extractall(folder)
        listed = "".join(f"- {name}\n" for name in archive.namelist())
    (folder / "manifest").write_text(f"id: PlexSync\nfiles:\n{listed}", encoding="utf-8")
    return folder


@pytest.fixture
def plugin(package: Package, tmp_path: Path) -> Path:
    """Return the folder of a PlexSync installed from its package, without dependencies."""
    return install_as_stash(package, tmp_path / "plugins")


@dataclass(frozen=True)
class Python:
    """A virtual environment."""

    folder: Path

    @property
    def path(self) -> str:
        return str(self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python3"))

    @property
    def site(self) -> Path:
        command = [self.path, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        return Path(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        )


def make_python(folder: Path) -> Python:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    made = Python(folder)
    guard_python(folder, made.site)
    return made


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Python:
    """Return a Python without packages; only ensurepip's wheel is there, as in a fresh Python."""
    if importlib.util.find_spec("ensurepip") is None:
        pytest.skip("this Python came without pip")
    return make_python(tmp_path_factory.mktemp("bare") / "venv")


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Python:
    """Return a Python that has only pip."""
    made = make_python(tmp_path_factory.mktemp("python") / "venv")
    found = importlib.util.find_spec("pip")
    if found is None or found.origin is None:
        pytest.skip("there is no pip to copy")
    shutil.copytree(
        Path(found.origin).parent, made.site / "pip", ignore=shutil.ignore_patterns("*.exe")
    )
    return made


@pytest.fixture(scope="session")
def without_pip(tmp_path_factory: pytest.TempPathFactory) -> Python:
    """Return a Python with neither pip nor its wheel, as in Debian and Ubuntu."""
    made = make_python(tmp_path_factory.mktemp("without_pip") / "venv")
    # Not a sitecustomize: Debian's Python has one in its standard library, which comes first.
    made.site.joinpath("no_pip.pth").write_text("import no_pip\n", encoding="utf-8")
    made.site.joinpath("no_pip.py").write_text(
        "import sys, sysconfig\n"
        "sysconfig.get_config_vars()['WHEEL_PKG_DIR'] = None\n"
        "class Missing:\n"
        "    @staticmethod\n"
        "    def find_spec(name, *_):\n"
        "        if name in ('pip', 'ensurepip'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing)\n",
        encoding="utf-8",
    )
    return made


@pytest.fixture(scope="session")
def real_wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return wheels of the real packages, in the versions installed here."""
    folder = tmp_path_factory.mktemp("real_wheels")
    rebuild_wheels(ROOT / "requirements.txt", folder)
    return folder


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put small packages with the right names where pip finds them."""
    folder = make_wheels(tmp_path / "wheels")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """Mount a small file system; skip the test where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        done = False
    if not done:
        pytest.skip("nothing may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
