"""The package: the right files, reproducible bytes, and an index that Stash can read."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import shutil
import subprocess
import zipfile
from datetime import datetime
from io import BytesIO
from pathlib import Path, PurePosixPath

import pytest
import yaml

from release.package import DEVELOPERS_DOCS, FOLDERS, Package, PackageError, belongs, build, main
from tests.harness.size import some
from tests.release.conftest import EPOCH, ROOT, install_as_stash
from tests.simulators.stash import load_plugins


def names(package: Package) -> list[str]:
    with zipfile.ZipFile(BytesIO(package.zip)) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def content(package: Package, name: str) -> bytes:
    with zipfile.ZipFile(BytesIO(package.zip)) as archive:
        return archive.read(name)


def copied(tree: Path, folder: Path) -> Path:
    return Path(shutil.copytree(tree, folder))


def at(epoch: str) -> dict[str, str]:
    return {**os.environ, "SOURCE_DATE_EPOCH": epoch}


# --- the bytes


def test_two_builds_of_equal_trees_are_equal_whatever_their_times_modes_and_line_ends(
    package: Package, tree: Path, tmp_path: Path
) -> None:
    other = copied(tree, tmp_path / "elsewhere")
    for number, path in enumerate(sorted(other.rglob("*.py"))):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
        path.chmod(0o755)
        os.utime(path, (number, number))
    again = build(other, at(EPOCH))
    assert again.zip == package.zip
    assert again.index() == package.index()


def test_a_changed_file_makes_another_package(package: Package, tree: Path, tmp_path: Path) -> None:
    other = copied(tree, tmp_path / "elsewhere")
    with (other / "hooks" / "plugin.py").open("a", encoding="utf-8") as file:
        file.write("\n")
    assert build(other, at(EPOCH)).sha256 != package.sha256


def test_every_entry_is_plain(package: Package) -> None:
    with zipfile.ZipFile(BytesIO(package.zip)) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {entry.date_time for entry in entries} == {(2026, 1, 2, 3, 4, 6)}
    assert {(entry.create_system, entry.external_attr >> 16) for entry in entries} == {
        (3, 0o100644)
    }
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}


# --- contents


def test_it_has_the_manifest_at_its_root_and_no_other_yml(package: Package) -> None:
    assert [name for name in names(package) if name.lower().endswith((".yml", ".yaml"))] == [
        "PlexSync.yml"
    ]
    assert {"PlexSync.py", "README.md", "requirements.txt"} <= set(names(package))


def test_it_has_the_plugins_files_and_no_development_files(package: Package) -> None:
    tops = {name.partition("/")[0] for name in names(package) if "/" in name}
    assert tops == set(FOLDERS)
    for name in names(package):
        parts = PurePosixPath(name).parts
        assert not any(part.startswith(".") or part == "__pycache__" for part in parts), name
        assert name not in DEVELOPERS_DOCS
        assert content(package, name) != b"rubbish", name


def test_it_has_the_files_of_the_page(package: Package) -> None:
    ui = yaml.safe_load(content(package, "PlexSync.yml"))["ui"]
    packed = set(names(package))
    assert {*ui["javascript"], *ui["css"]} <= packed
    script = content(package, ui["javascript"][0]).decode()
    later = re.search(r"const FILES = \[(.*?)\];", script)
    assert later is not None
    files = re.findall(r'"([^"]+)"', later[1])
    assert files
    assert {f"{ui['assets']['/']}/{name}" for name in files} <= packed


def test_its_root_has_the_licence_if_there_is_one(package: Package) -> None:
    assert ("LICENSE" in names(package)) == (ROOT / "LICENSE").exists()


def test_it_has_every_module_of_ours_that_it_imports(package: Package) -> None:
    packed = set(names(package))
    for name in packed:
        if name.endswith(".py"):
            for module in _imports(content(package, name)):
                place = module.replace(".", "/")
                top = place.partition("/")[0]
                if (
                    ROOT / top
                ).is_dir() and top != "tests":  # the demo says itself that it needs the repository
                    assert packed & {f"{place}.py", f"{place}/__init__.py"}, (name, module)


def _imports(source: bytes) -> set[str]:
    nodes = list(ast.walk(ast.parse(source)))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {
        node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module
    }


def test_it_has_every_page_that_its_pages_link_to(package: Package) -> None:
    packed = set(names(package))
    for name in packed:
        if name.endswith(".md"):
            for link in re.findall(r"\]\(([^)#]+)", content(package, name).decode("utf-8")):
                if "://" not in link:
                    target = os.path.normpath(PurePosixPath(name).parent / link).replace(
                        os.sep, "/"
                    )
                    for_developers = f"{target}/".startswith(DEVELOPERS_DOCS)
                    assert target in packed or for_developers or target in ("docs", "."), (
                        name,
                        link,
                    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("PlexSync.py", True),
        ("worker/process.py", True),
        ("docs/architecture.md", True),
        ("docs/contributing.md", False),
        ("docs/decisions/0002-persist-queue.md", False),
        ("CHANGELOG.md", True),
        ("docs/picture.yml", False),
        ("tests/release/test_package.py", False),
        ("release/package.py", False),
        ("conftest.py", False),
        ("pyproject.toml", False),
        ("requirements-dev.txt", False),
        ("Makefile", False),
        (".gitignore", False),
        ("worker/__pycache__/process.py", False),
        ("worker/.cache/x.py", False),
        ("queue/data.db", False),
        ("sub/PlexSync.py", False),
    ],
)
def test_which_files_belong_to_the_package(name: str, expected: bool) -> None:
    assert belongs(name) is expected


# --- files tracked by git


@pytest.fixture
def clone(tree: Path, tmp_path: Path) -> Path:
    """Create a repository with all of the plugin's files in one commit."""
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    folder = copied(tree, tmp_path / "clone")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "one")
    return folder


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    environment = {
        **os.environ,
        "GIT_COMMITTER_DATE": "2025-06-07T08:09:10 +0000",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
    command = ["git", "-C", str(folder), *who, *arguments]
    subprocess.run(command, check=True, env=environment, capture_output=True)


def test_a_file_that_git_does_not_track_is_left_out(clone: Path) -> None:
    (clone / "hooks" / "scratch.py").write_text("rubbish", encoding="utf-8")
    assert "hooks/scratch.py" not in names(build(clone, at(EPOCH)))
    git(clone, "add", "hooks/scratch.py")
    assert "hooks/scratch.py" in names(build(clone, at(EPOCH)))


@pytest.mark.parametrize(
    "line", some(["from hooks import fresh", "import hooks.fresh", "from hooks.fresh import x"], 1)
)
def test_an_imported_module_that_git_does_not_track_is_an_error(clone: Path, line: str) -> None:
    """Otherwise the zip would lack it, and each user would see an error."""
    (clone / "hooks" / "fresh.py").write_text("x = 1", encoding="utf-8")
    with (clone / "hooks" / "plugin.py").open("a", encoding="utf-8") as file:
        file.write(f"\n\ndef later():\n    {line}\n")
    with pytest.raises(PackageError, match=r"hooks/fresh\.py"):
        build(clone, at(EPOCH))


def test_the_package_is_the_same_with_and_without_git(clone: Path, package: Package) -> None:
    assert build(clone, at(EPOCH)).zip == package.zip


def test_its_date_is_the_last_commits_and_never_the_clock(clone: Path) -> None:
    package = build(clone, dict(os.environ))
    assert package.date.isoformat() == "2025-06-07T08:09:10+00:00"
    assert build(clone, dict(os.environ)).zip == package.zip


def test_the_environment_of_a_git_hook_does_not_select_another_repository(
    clone: Path, tmp_path: Path
) -> None:
    package = build(
        clone, {**at(EPOCH), "GIT_DIR": str(tmp_path / "nowhere"), "GIT_INDEX_FILE": "nowhere"}
    )
    assert "PlexSync.py" in names(package)


def test_a_missing_file_that_git_tracks_is_an_error(clone: Path) -> None:
    (clone / "hooks" / "plugin.py").unlink()
    with pytest.raises(PackageError, match=r"hooks/plugin\.py"):
        build(clone, at(EPOCH))


def test_a_repository_that_git_refuses_is_an_error_and_not_another_list(clone: Path) -> None:
    (clone / ".git" / "HEAD").write_text("broken", encoding="utf-8")
    with pytest.raises(PackageError, match="git"):
        build(clone, at(EPOCH))


# --- the index


def test_the_index_has_the_fields_that_stash_needs(package: Package) -> None:
    (entry,) = yaml.safe_load(package.index())
    manifest = yaml.safe_load((ROOT / "PlexSync.yml").read_text(encoding="utf-8"))
    assert entry == {
        "id": "PlexSync",
        "name": manifest["name"],
        "version": manifest["version"],
        "metadata": {"description": manifest["description"]},
        "date": "2026-01-02 03:04:06",
        "path": "PlexSync.zip",
        "sha256": hashlib.sha256(package.zip).hexdigest(),
        "requires": [],
    }
    assert datetime.strptime(entry["date"], "%Y-%m-%d %H:%M:%S")
    assert all(isinstance(entry[key], str) for key in ("version", "date"))


def test_a_description_with_quotes_colons_and_foreign_letters_is_read_back(
    tree: Path, tmp_path: Path
) -> None:
    other = copied(tree, tmp_path / "elsewhere")
    text = 'Brings "x": y # to \\ Plex – schön 🎬'
    manifest = yaml.safe_load((other / "PlexSync.yml").read_text(encoding="utf-8"))
    (other / "PlexSync.yml").write_text(
        yaml.safe_dump({**manifest, "description": text}), encoding="utf-8"
    )
    (entry,) = yaml.safe_load(build(other, at(EPOCH)).index())
    assert entry["metadata"]["description"] == text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 1.0}, "version"),
        ({"version": ""}, "version"),
        ({"description": "two\nlines"}, "description"),
        ({"name": None}, "name"),
    ],
)
def test_a_manifest_that_stash_could_not_show_is_an_error(
    tree: Path, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    other = copied(tree, tmp_path / "elsewhere")
    manifest = yaml.safe_load((other / "PlexSync.yml").read_text(encoding="utf-8"))
    (other / "PlexSync.yml").write_text(yaml.safe_dump({**manifest, **change}), encoding="utf-8")
    with pytest.raises(PackageError, match=said):
        build(other, at(EPOCH))


@pytest.mark.parametrize("epoch", ["", "yesterday", "9" * 30])
def test_without_a_usable_date_nothing_is_built(tree: Path, epoch: str) -> None:
    with pytest.raises(PackageError, match="SOURCE_DATE_EPOCH"):
        build(tree, at(epoch))


# --- the command, and Stash


def test_the_command_writes_both_files_and_nothing_else(
    tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    package: Package,
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)
    for _ in range(2):
        assert main(["--root", str(tree), "--to", str(tmp_path / "dist")]) == 0
        assert package.sha256 in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "dist").iterdir()) == [
        "PlexSync.zip",
        "index.yml",
    ]
    assert (tmp_path / "dist" / "PlexSync.zip").read_bytes() == package.zip
    assert (tmp_path / "dist" / "index.yml").read_text(encoding="utf-8") == package.index()


def test_the_build_writes_no_plugin_file_into_the_repository(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: Package
) -> None:
    """A clone may lie in Stash's plugins folder."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)
    clone = copied(tree, tmp_path / "plugins" / "PlexSync")
    for rubbish in ("dist/index.yml", "docs/a.yml"):
        (clone / rubbish).unlink()
    assert main(["--root", str(clone)]) == 0
    assert main(["--root", str(clone), "--to", str(clone / "docs" / "here")]) == 0
    complaints: list[str] = []
    assert list(load_plugins(tmp_path / "plugins", complaints.append)) == ["PlexSync"]
    assert complaints == []
    assert (clone / "dist" / "PlexSync.zip").read_bytes() == package.zip
    assert (clone / "dist" / "index.yaml").read_text(encoding="utf-8") == package.index()


def test_the_command_reports_an_error_in_one_line(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)
    other = copied(tree, tmp_path / "elsewhere")
    (other / "requirements.txt").unlink()
    assert main(["--root", str(other), "--to", str(tmp_path / "dist")]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "requirements.txt" in said.err
    assert not (tmp_path / "dist").exists()


def test_stash_loads_the_unpacked_package_without_an_error(
    package: Package, tmp_path: Path
) -> None:
    complaints: list[str] = []
    folder = install_as_stash(package, tmp_path / "plugins")
    plugins = load_plugins(tmp_path / "plugins", complaints.append)
    assert complaints == []
    assert [manifest.folder for manifest in plugins.values()] == [folder]
