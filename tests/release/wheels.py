"""Build wheels without a network: from installed distributions, and small fakes of the packages."""

from __future__ import annotations

import base64
import hashlib
import re
import sys
import zipfile
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

#: The packages of requirements.txt with their modules.
MODULES = {
    "persist-queue": "persistqueue",
    "plexapi": "plexapi",
    "requests": "requests",
    "pydantic": "pydantic",
}
VERSIONS = {
    "persist-queue": "1.1.0",
    "plexapi": "4.18.3",
    "requests": "2.34.2",
    "pydantic": "2.14.3",
}
#: Files that only an installation has, not a wheel.
_MADE = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}


def rebuild_wheels(requirements: Path, folder: Path) -> None:
    """Make a wheel of each required distribution from its installed files."""
    waiting = [
        line
        for line in requirements.read_text(encoding="utf-8").splitlines()
        if line and line[0] != "#"
    ]
    done: set[str] = set()
    while waiting:
        requirement = Requirement(waiting.pop())
        if requirement.name in done or (
            requirement.marker and not requirement.marker.evaluate({"extra": ""})
        ):
            continue
        done.add(requirement.name)
        found = distribution(requirement.name)
        _rebuild(found, folder)
        waiting += found.requires or []


def _rebuild(found: Distribution, folder: Path) -> None:
    files: dict[str, bytes] = {}
    for file in found.files or []:
        inside = file.parts[0] != ".." and "__pycache__" not in file.parts
        if inside and not (file.parent.name.endswith(".dist-info") and file.name in _MADE):
            files[file.as_posix()] = Path(str(found.locate_file(file))).read_bytes()
    name = f"{re.sub('[-_.]+', '_', found.metadata['Name'])}-{found.version}"
    tags = re.findall(r"(?m)^Tag: (\S+)", found.read_text("WHEEL") or "")
    parts = zip(*(tag.split("-") for tag in tags), strict=True)
    tag = "-".join(".".join(dict.fromkeys(part)) for part in parts)
    (info,) = {
        path.partition("/")[0] for path in files if path.partition("/")[0].endswith(".dist-info")
    }
    _write(folder / f"{name}-{tag}.whl", info, files)


def make_wheel(
    folder: Path,
    name: str,
    *,
    version: str = "",
    source: str = "",
    tag: str = "py3-none-any",
    needs: Iterable[str] = (),
    ballast: int = 0,
) -> Path:
    """Make a wheel with one module and `ballast` uncompressed bytes."""
    version = version or VERSIONS.get(name, "1.0")
    label = f"{name.replace('-', '_')}-{version}"
    needed = "".join(f"Requires-Dist: {need}\n" for need in needs)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}"
    wheel = f"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: {tag}\n"
    files = {
        f"{MODULES.get(name, name)}/__init__.py": source.encode(),
        f"{label}.dist-info/METADATA": metadata.encode(),
        f"{label}.dist-info/WHEEL": wheel.encode(),
    }
    if ballast:
        files[f"{MODULES.get(name, name)}/ballast.bin"] = bytes(ballast)
    path = folder / f"{label}-{tag}.whl"
    _write(path, f"{label}.dist-info", files)
    return path


def make_wheels(
    folder: Path, sources: Mapping[str, str] | None = None, *, version: str = ""
) -> Path:
    """Make fakes of the four packages; `sources` maps some to other code."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in MODULES:
        make_wheel(folder, name, source=(sources or {}).get(name, ""), version=version)
    return folder


def _write(path: Path, info: str, files: Mapping[str, bytes]) -> None:
    record = "".join(
        f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in files.items()
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in {
            **files,
            f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode(),
        }.items():
            archive.writestr(name, content)


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def other_platform() -> str:
    """Return a tag that this Python does not accept."""
    python = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    return f"{python}-{python}-vax_1"
