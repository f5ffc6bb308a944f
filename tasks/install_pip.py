"""The Python that is to have the packages, and its pip: found, run and asked what came of it."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tasks.install_errors import InstallError, reason

#: What must be importable in the end.
MODULES = ("persistqueue", "plexapi", "requests", "pydantic")
_OLDEST_PYTHON = [3, 10]
#: The user's settings of pip that say where packages come from. All others are about where they go to, or which.
_SOURCES = (
    *(
        "index-url",
        "extra-index-url",
        "no-index",
        "find-links",
        "trusted-host",
        "proxy",
        "cert",
        "client-cert",
    ),
    *("timeout", "default-timeout", "retries", "cache-dir", "no-cache-dir", "keyring-provider"),
    *("use-feature", "use-deprecated"),  # which certificates are trusted
)
_VARIABLES = {name: "PIP_" + name.upper().replace("-", "_") for name in _SOURCES}
#: Lines of pip that tell a person how far it is.
_STEPS = (
    "Collecting ",
    "Processing ",
    "Downloading ",
    "Using cached ",
    "Installing collected packages",
)
#: As many steps as there usually are, for the progress bar.
_USUAL_STEPS = 24

# Run by the Python that is to have the packages. "pip" may be missing while the wheel it could be installed from
# is there: a wheel of pip can be run as it is.
_LOOK = """
import glob, importlib.util, json, os, sys, sysconfig
def found(name):
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
places = [sysconfig.get_config_var("WHEEL_PKG_DIR")]
if found("ensurepip"):
    places.append(os.path.join(os.path.dirname(found("ensurepip").origin), "_bundled"))
wheels = [wheel for place in places if place for wheel in sorted(glob.glob(os.path.join(place, "pip-*.whl")))]
print(json.dumps({
    "version": list(sys.version_info[:3]),
    "platform": sysconfig.get_platform(),
    "pip": bool(found("pip") and found("pip.__main__")),
    "wheel": wheels[-1] if wheels else "",
}))
"""

# Run with nothing but the new folder in front of the standard library.
_CHECK = """
import importlib, importlib.metadata, json, os, sys
folder, names = sys.argv[1], sys.argv[2:]
sys.path.insert(0, folder)
wrong = ""
for name in names:
    try:
        place = importlib.import_module(name).__file__ or ""
    except BaseException as error:
        wrong = f"{name} can't be imported ({type(error).__name__}: {error})"
        break
    if os.path.commonpath([os.path.realpath(place), os.path.realpath(folder)]) != os.path.realpath(folder):
        wrong = f"{name} is not in it but in {place}"
        break
packages = {found.metadata["Name"]: found.version for found in importlib.metadata.distributions(path=[folder])}
print()
print(json.dumps({"wrong": wrong, "packages": packages}))
"""


@dataclass(frozen=True)
class Python:
    """The Python that is to have the packages, and how its children run."""

    path: str
    version: str
    platform: str
    pip: Sequence[str]
    folder: str
    environment: dict[str, str]

    def run(
        self,
        command: Sequence[str],
        more: Mapping[str, str] | None = None,
        on_line: Callable[[str], object] = lambda line: None,
    ) -> Ended:
        return _run(command, self.folder, {**self.environment, **(more or {})}, on_line)


@dataclass(frozen=True)
class Ended:
    """What a child said."""

    status: int
    text: str


def look(path: str, place: str, staging: str) -> Python:
    """Find out what Python this is, and how to run pip with it.

    Args:
        path: the Python's program.
        place: the plugin's folder, whose modules it must not see.
        staging: where its temporary files may lie.

    Raises:
        InstallError: it can't be run, is too old, or has no pip.
    """
    working = os.path.join(staging, "tmp")
    os.mkdir(working)
    environment = _environment(place, working)
    try:
        looked = _run([path, "-c", _LOOK], working, environment)
        facts = json.loads(looked.text.splitlines()[-1]) if looked.status == 0 else None
    except (OSError, ValueError, IndexError):
        facts = None
    if facts is None:
        raise InstallError(
            f"The Python {path} can't be run: choose another in Settings > System > Python path"
        )
    version = ".".join(str(number) for number in facts["version"])
    if facts["version"] < _OLDEST_PYTHON:
        raise InstallError(f"PlexSync needs Python 3.10 or newer, and {path} is {version}")
    if not facts["pip"] and not facts["wheel"]:
        raise InstallError(
            f"The Python {path} ({version}) has no pip: install it with the system's package manager, such as"
            " 'apk add py3-pip' or 'apt install python3-pip', and run this again"
        )
    # Given as a file, a wheel is a program.
    pip = [path, "-m", "pip"] if facts["pip"] else [path, os.path.join(facts["wheel"], "pip")]
    return Python(path, version, facts["platform"], pip, working, environment)


def _environment(place: str, working: str) -> dict[str, str]:
    """Return the environment of our children, which shall neither find our modules nor fill a small /tmp.

    Stash puts the folder above the plugin on PYTHONPATH. `queue` there, or here, would be taken for Python's own.
    """
    ours = {os.path.realpath(place), os.path.realpath(os.path.dirname(place))}
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = os.pathsep.join(
        path for path in paths if os.path.isabs(path) and os.path.realpath(path) not in ours
    )
    environment = {
        **{key: value for key, value in os.environ.items() if not _leads_astray(key)},
        **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), working),
        "PYTHONPATH": kept,
        "PYTHONIOENCODING": "utf-8",
    }
    if not kept:
        del environment["PYTHONPATH"]
    return environment


def _leads_astray(variable: str) -> bool:
    return variable.upper().startswith("PIP_") or variable == "PYTHONWARNINGS"


def run_pip(
    python: Python,
    requirements: str,
    target: str,
    say: Callable[[str], object],
    report: Callable[[float], object],
) -> None:
    """Have pip put the packages into `target`.

    Args:
        requirements: the file that names them.
        say: called with each step, one line.
        report: called with how much is done, 0 to 1.

    Raises:
        InstallError: it was not possible.
    """
    sources = _sources(python)
    settings = {
        "PIP_RETRIES": "2",
        **sources,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    steps = 0

    def tell(line: str) -> None:
        nonlocal steps
        if line.startswith(_STEPS):
            steps += 1
            report(0.9 * min(1.0, steps / _USUAL_STEPS))
            say(line)

    command = [*python.pip, "install", "--target", target, "--requirement", requirements]
    command += ["--only-binary=:all:", "--no-input", "--progress-bar=off"]
    command += ["--no-warn-script-location", "--disable-pip-version-check"]
    ended = python.run(command, settings, tell)
    if ended.status:
        raise InstallError(reason(ended.text, ended.status, python.version, python.platform))


def _sources(python: Python) -> dict[str, str]:
    """Return the user's settings of where packages come from, from pip's files and the environment."""
    # Of these, one would make pip list a part of them, one nothing at all, and one refuse.
    harmless = {"PIP_USER": "0", "PIP_QUIET": "0", "PIP_REQUIRE_VIRTUALENV": "0"}
    given = {
        name: os.environ[name]
        for name in (*_VARIABLES.values(), "PIP_CONFIG_FILE")
        if name in os.environ
    }
    listed = python.run([*python.pip, "config", "list"], {**given, **harmless})
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}}  # the later goes first
    for line in listed.text.splitlines() if listed.status == 0 else ():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in found and name in _VARIABLES:
            with contextlib.suppress(ValueError, SyntaxError):
                found[section][_VARIABLES[name]] = str(ast.literal_eval(value))
    given.pop("PIP_CONFIG_FILE", None)
    return {
        **found["global"],
        **found["install"],
        **{name: value for name, value in given.items() if value},
    }


def check(python: Python, folder: str) -> dict[str, str]:
    """Import the packages as the worker will, and return the versions of all that is there.

    Raises:
        InstallError: one can't be imported.
    """
    ended = python.run([python.path, "-I", "-c", _CHECK, folder, *MODULES])
    try:
        answer = json.loads(ended.text.splitlines()[-1])
        wrong, packages = str(answer["wrong"]), dict(answer["packages"])
    except (ValueError, IndexError, KeyError, TypeError):
        wrong, packages = f"importing them ended with exit status {ended.status}", {}
    if wrong:
        text = " ".join(wrong.split())[:500]
        raise InstallError(
            f"What pip brought does not work with Python {python.version} on {python.platform}: {text}"
        )
    return packages


def _run(
    command: Sequence[str],
    folder: str,
    environment: dict[str, str],
    on_line: Callable[[str], object] = lambda line: None,
) -> Ended:
    """Run a child to its end; it does not outlive an error here."""
    lines: list[str] = []
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                lines.append(_without_secrets(line.strip()))
                on_line(lines[-1])
        except BaseException:
            child.kill()
            raise
    return Ended(child.returncode, "\n".join(lines))


def _without_secrets(line: str) -> str:
    """An address may hold a name and a password."""
    return re.sub(r"//[^/@\s]+@", "//****@", line)
