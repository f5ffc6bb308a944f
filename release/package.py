"""Build the package for a Stash plugin source: `dist/PlexSync.zip` and `dist/index.yaml`.

The build is reproducible: the same tree gives the same bytes on every machine. So names are sorted,
all files have one time, one mode and Unix line ends, and nothing is compressed, because versions of
zlib compress differently.

Stash loads every `.yml` below its plugins folder as a plugin, and users clone the repository there.
So the index in `dist/` is named `index.yaml`; in a folder outside the repository it is `index.yml`.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

import yaml

ROOT = Path(__file__).resolve().parents[1]
ID = "PlexSync"
MANIFEST = f"{ID}.yml"
#: Files and folders that may be in the package. Everything else stays out, such as tests.
FILES = (
    "PlexSync.py",
    MANIFEST,
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "requirements.txt",
    "constraints.txt",
)
FOLDERS = (
    *("common", "docs", "history", "hooks", "page", "plex", "queue", "stash", "tasks", "ui"),
    *("validation", "worker"),
)
SUFFIXES = (".py", ".md", ".js", ".css")
#: Files and folders for people who work on PlexSync in a clone.
DEVELOPERS_DOCS = ("docs/contributing.md", "docs/decisions/", "docs/page.md", "docs/pictures/")
#: The plugin does not work without these.
NEEDED = ("PlexSync.py", MANIFEST, "requirements.txt", "constraints.txt")

_MODE = 0o100644
_UNIX = 3
#: The earliest time in a zip file, 1 January 1980.
_EARLIEST = 315_532_800


class PackageError(Exception):
    """Report why the package can't be built, in one line."""


@dataclass(frozen=True)
class Package:
    """Hold a built package and what the index says about it."""

    zip: bytes
    name: str
    version: str
    description: str
    date: datetime

    @property
    def sha256(self) -> str:
        """Return the checksum of the zip file."""
        return hashlib.sha256(self.zip).hexdigest()

    def index(self) -> str:
        """Return the index of a plugin source that offers this package."""
        lines = (
            f"- id: {_quoted(ID)}",
            f"  name: {_quoted(self.name)}",
            "  metadata:",
            f"    description: {_quoted(self.description)}",
            f"  version: {_quoted(self.version)}",
            f"  date: {_quoted(self.date.strftime('%Y-%m-%d %H:%M:%S'))}",
            f"  path: {_quoted(f'{ID}.zip')}",
            f"  sha256: {_quoted(self.sha256)}",
            "  requires: []",
        )
        return "\n".join(lines) + "\n"


def build(root: Path, environment: Mapping[str, str]) -> Package:
    """Build the package of the plugin in `root`.

    Args:
        environment: `SOURCE_DATE_EPOCH` sets the date. Default: the last commit's.

    Raises:
        PackageError: A file is missing or invalid.
    """
    date = _date(root, environment)
    names = packaged(root, environment)
    manifest = _manifest(root / MANIFEST)
    return Package(zip=_zip(root, names, date), date=date, **manifest)


def packaged(root: Path, environment: Mapping[str, str]) -> list[str]:
    """Return the sorted names of the files in git that belong in the package.

    Raises:
        PackageError: See `build`.
    """
    known = _tracked(root, environment) if (root / ".git").exists() else _found(root)
    names = sorted(name for name in known if belongs(name))
    missing = [
        name
        for name in (*NEEDED, *names)
        if not (root / name).is_file() or (root / name).is_symlink()
    ]
    if missing or not set(NEEDED) <= set(names):
        lacking = sorted({*missing, *(set(NEEDED) - set(names))})
        raise PackageError(f"these files are missing, or not in git: {', '.join(lacking)}")
    unknown = sorted(
        {file for name in names if name.endswith(".py") for file in _imported(root, name)}
        - set(names)
    )
    if unknown:
        raise PackageError(f"these files are imported, but not in git: {', '.join(unknown)}")
    return names


def belongs(name: str) -> bool:
    """Return whether a file of the repository belongs in the package."""
    path = PurePosixPath(name)
    if name in FILES:
        return True
    if path.parts[0] not in FOLDERS or path.suffix not in SUFFIXES:
        return False
    if name.startswith(DEVELOPERS_DOCS):
        return False
    return not any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def index_name(folder: Path, root: Path) -> str:
    """Return the index's file name in `folder`; in the repository `root` one that Stash ignores."""
    return "index.yaml" if folder.resolve().is_relative_to(root.resolve()) else "index.yml"


def write(package: Package, folder: Path, index: str) -> None:
    """Write `PlexSync.zip` and the index, which is named `index`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (
        (f"{ID}.zip", package.zip),
        (index, package.index().encode("utf-8")),
    ):
        temporary = folder / f".{name}.new"
        temporary.write_bytes(content)
        os.replace(temporary, folder / name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build and write the package.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        prog="release.package", description="Build PlexSync's package and its index."
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository; default: this one")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="default: dist in the repository")
    chosen = parser.parse_args(arguments)
    folder = chosen.to or chosen.root / "dist"
    try:
        package = build(chosen.root, os.environ)
        write(package, folder, index_name(folder, chosen.root))
    except (PackageError, OSError) as error:
        sys.stderr.write(f"The package can't be built: {error}\n")
        return 1
    sys.stdout.write(
        f"{folder / f'{ID}.zip'}: version {package.version}"
        f" of {package.date:%Y-%m-%d %H:%M:%S} UTC,"
        f" {len(package.zip)} bytes, sha256 {package.sha256}\n"
    )
    return 0


def _imported(root: Path, name: str) -> Iterator[str]:
    """Yield the files of the plugin that a module imports."""
    try:
        tree = ast.parse((root / name).read_bytes(), name)
    except (SyntaxError, ValueError) as error:
        raise PackageError(f"{name} is not valid Python: {error}") from None
    for node in ast.walk(tree):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for module in modules:
            place = module.replace(".", "/")
            # Not the demo, which reports itself that it needs the repository.
            yield from (
                file
                for file in (f"{place}.py", f"{place}/__init__.py")
                if belongs(file) and (root / file).is_file()
            )


def _zip(root: Path, names: Sequence[str], date: datetime) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            # Not a fixed date: Python recognizes an outdated .pyc by its source's time and size.
            entry = zipfile.ZipInfo(name, date.timetuple()[:6])
            entry.create_system = _UNIX
            entry.external_attr = _MODE << 16
            archive.writestr(entry, (root / name).read_bytes().replace(b"\r\n", b"\n"))
    return buffer.getvalue()


def _manifest(path: Path) -> dict[str, str]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PackageError(
            f"{MANIFEST} is not valid YAML: {' '.join(str(error).split())}"
        ) from None
    manifest = content if isinstance(content, dict) else {}
    found = {key: manifest.get(key) for key in ("name", "version", "description")}
    for key, value in found.items():
        if not isinstance(value, str) or not value.strip() or len(value.splitlines()) > 1:
            raise PackageError(f"{key} in {MANIFEST} must be one line of text, not {value!r}")
    return {key: str(value) for key, value in found.items()}


def _date(root: Path, environment: Mapping[str, str]) -> datetime:
    given = environment.get("SOURCE_DATE_EPOCH", "").strip()
    if not given:
        if not (root / ".git").exists():
            raise PackageError("there is no commit to take the date from: set SOURCE_DATE_EPOCH")
        given = _git(root, environment, "log", "-1", "--format=%ct").strip()
    try:
        return datetime.fromtimestamp(max(int(given), _EARLIEST), timezone.utc)
    except (ValueError, OverflowError, OSError):
        raise PackageError(f"SOURCE_DATE_EPOCH must be seconds since 1970, not {given!r}") from None


def _tracked(root: Path, environment: Mapping[str, str]) -> list[str]:
    return [name for name in _git(root, environment, "ls-files", "-z").split("\0") if name]


def _found(root: Path) -> list[str]:
    """Return the files of an unpacked archive, which has no git."""
    paths = [root / name for name in FILES]
    paths += [path for folder in FOLDERS for path in (root / folder).rglob("*")]
    return [path.relative_to(root).as_posix() for path in paths if path.is_file()]


def _git(root: Path, environment: Mapping[str, str], *arguments: str) -> str:
    # When git runs this from one of its hooks, GIT_DIR and others point to that repository.
    usual = {key: value for key, value in environment.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            env=usual,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except OSError as error:
        raise PackageError(
            f"git can't be run ({error.strerror}): it lists the files of the package"
        ) from None
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise PackageError(
            f"git {arguments[0]}: {lines[0] if lines else f'exit status {done.returncode}'}"
        )
    return done.stdout.decode("utf-8")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
