"""Install the packages that PlexSync needs into `dependencies`, a folder beside PlexSync.py.

This runs before any package is installed, so it imports the standard library only. pip fills a
new folder, which replaces the old one only after its packages could be imported. After a failure
or a kill, the old packages go on working.
"""

from __future__ import annotations

import ast
import contextlib
import glob
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from common.data_dir import HERE
from common.files import close_to_others
from common.locks import try_lock
from common.texts import one_line
from stash.log import log, progress
from stash.plugin_input import write_response

_MODULES = "persistqueue, plexapi, requests, pydantic"
_PYTHON = f"Python {platform.python_version()} on {sysconfig.get_platform()}"
#: pip's settings that say where packages come from. The user's values of all others are ignored.
_SOURCES = {
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_TRUSTED_HOST",
    "PIP_PROXY", "PIP_CERT", "PIP_CLIENT_CERT", "PIP_KEYRING_PROVIDER", "PIP_TIMEOUT",
    "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES", "PIP_CACHE_DIR", "PIP_NO_CACHE_DIR", "PIP_USE_FEATURE",
    "PIP_USE_DEPRECATED",
}  # fmt: skip
_STEPS = ("Collecting ", "Processing ", "Downloading ", "Using cached ", "Installing collected ")
#: The number of such lines that an installation usually prints.
_USUAL_STEPS = 24
#: What pip or the operating system says, and what the user reads instead. The first match counts.
_ADVICE = {
    r"no space left|disk quota exceeded|errno 28\]|winerror 112\]|not enough space": (
        "The disk is full: free about 60 MB where PlexSync is"
    ),
    r"confirming the ssl certificate|certificate_verify_failed": (
        "The certificate of the package index is not trusted: if there is a proxy, set the"
        " environment variable PIP_CERT to the file with its certificate"
    ),
    r"(?:Looking in indexes: (.+)[\s\S]*)?"
    r"(?:connection broken by|max retries exceeded|connection ?error|timed out|name resolution)": (
        "The package index {0} can't be reached: check the network (for a proxy, set the"
        " environment variable HTTPS_PROXY)"
    ),
    r"(?:no matching distribution found for|satisfies the requirement) (\S+)": (
        f"There is no ready-made package of {{0}} for {_PYTHON}: choose another Python in Settings"
        " > System > Python path, 3.10 or newer but not the very newest"
    ),
    r"\[(?:errno|winerror) \d+\] .*: '(.+)' -> '": (
        "{0} can't be replaced: it is in use, or mounted there. End PlexSync's worker or remove"
        " that folder"
    ),
    r"(?:errno 1|errno 13|errno 30|winerror 5)\] .*: '(.+)'": (
        "{0} can't be written: give this user the right to write there"
    ),
}


class InstallError(Exception):
    """The installation failed and changed nothing. The text says why and what to do."""


def run_install_task() -> int:
    """Install as a task of Stash and return the exit status."""

    def report(line: str, done: float) -> None:
        log("debug", line)
        progress(done)

    progress(0.0)
    status, document = _install(report)
    if status:
        write_response(error=document["error"])  # Stash logs it
    else:
        progress(1.0)
        log("info", document["result"])
        write_response(output=document)
    return status


def run_install_command(as_json: bool) -> int:
    """Install as a shell command and return the exit status."""
    status, document = _install(lambda line, done: None if as_json else _print(line))
    if as_json:
        _print(json.dumps(document))
    elif status:
        sys.stderr.write(f"PlexSync install: {one_line(document['error'])}\n")
    else:
        _print(document["result"])
    return status


def _print(line: str) -> None:
    sys.stdout.write(f"{one_line(line)}\n")
    sys.stdout.flush()


def _install(report: Callable[[str, float], None]) -> tuple[int, dict[str, Any]]:
    """Return the exit status and either the result or `{"error": one line}`."""
    try:
        return 0, install_dependencies(HERE, report)
    except KeyboardInterrupt:
        return 130, {"error": "stopped; what was there before is untouched"}
    except InstallError as error:
        text = str(error)
    except OSError as error:
        text = explain(str(error), "The installation failed")
    except Exception as error:  # noqa: BLE001 - a user must never see a traceback
        text = f"{type(error).__name__}: {error}. Please report this"
    return 1, {"error": " ".join(mask_passwords(text).split())}


def install_dependencies(plugin_dir: str, report: Callable[[str, float], None]) -> dict[str, Any]:
    """Install the packages of requirements.txt for the Python that runs this.

    Args:
        plugin_dir: where requirements.txt is and `dependencies` will be.
        report: called at each step with a line of pip and the part that is done, 0 to 1.

    Raises:
        InstallError, OSError: the installation failed.
    """
    requirements = os.path.join(plugin_dir, "requirements.txt")
    if not os.path.isfile(requirements):
        raise InstallError(f"{requirements} is missing: install PlexSync again")
    current = os.path.join(plugin_dir, "dependencies")
    with open(requirements, "rb", buffering=0) as lock_file:
        _lock(lock_file)
        _clean_up(current)  # after an installation that was killed
        try:
            staging = tempfile.mkdtemp(prefix="dependencies.new-", dir=plugin_dir)
            _run_pip(staging, requirements, report)
            packages = _import_packages(staging)
            if os.path.lexists(current):
                os.rename(current, os.path.join(staging, "old"))
            os.rename(os.path.join(staging, "packages"), current)
        finally:
            _clean_up(current)
        close_to_others(plugin_dir, os.path.basename(current))
    return {
        "result": f"Installed for Python {platform.python_version()} in {current}: "
        + ", ".join(f"{name} {version}" for name, version in packages.items()),
        "folder": current,
        "python": platform.python_version(),
        "packages": packages,
    }


def _lock(file: IO[bytes]) -> None:
    """Lock an open file until it is closed, or until the process ends."""
    file.seek(1 << 30)  # beyond the end: on Windows, pip can't read a locked byte
    with contextlib.suppress(OSError):  # the file system has no locks
        if not try_lock(file.fileno()):
            folder = os.path.dirname(file.name)
            raise InstallError(
                f"Another installation is at work in {folder}: wait until it is done"
            )


def _clean_up(current: str) -> None:
    """Remove staging folders; put the old packages back if the new ones are not in their place."""
    for staging in glob.glob(f"{glob.escape(current)}.new-*"):
        old = os.path.join(staging, "old")
        if os.path.lexists(old) and not os.path.lexists(current):
            os.rename(old, current)
        shutil.rmtree(staging, ignore_errors=True)


def _run_pip(staging: str, requirements: str, report: Callable[[str, float], None]) -> None:
    """Fill `packages` in the staging folder, with the tested versions if this Python can."""
    pip = _find_pip(staging)
    command = [*pip, "install", "--only-binary=:all:", "--no-input", "--progress-bar=off"]
    command += ["--disable-pip-version-check", "--target", os.path.join(staging, "packages")]
    command += ["--requirement", requirements]
    tested = os.path.join(os.path.dirname(requirements), "constraints.txt")
    settings = {"PIP_RETRIES": "2", **_package_sources(pip, staging)}
    status, output = _run([*command, "--constraint", tested], staging, settings, report)
    if status and "ResolutionImpossible" in output:  # a tested version is not available
        status, output = _run(command, staging, settings, report)
    if status:
        raise InstallError(explain(output or f"exit status {status}", "pip failed"))


def _find_pip(staging: str) -> list[str]:
    """Return the command of the installed pip, or of the wheel that `ensurepip` would install."""
    if _run([sys.executable, "-c", "import pip.__main__"], staging)[0] == 0:
        return [sys.executable, "-m", "pip"]
    folders = [sysconfig.get_config_var("WHEEL_PKG_DIR")]
    with contextlib.suppress(ImportError):
        import ensurepip

        folders.append(os.path.join(os.path.dirname(ensurepip.__file__), "_bundled"))
    for folder in filter(None, folders):
        for wheel in glob.glob(os.path.join(folder, "pip-*.whl")):
            return [sys.executable, os.path.join(wheel, "pip")]  # Python runs it from the wheel
    raise InstallError(
        f"The Python {sys.executable} has no pip: install it with the system's package manager,"
        " such as 'apk add py3-pip' or 'apt install python3-pip', and run this again"
    )


def _package_sources(pip: Sequence[str], staging: str) -> dict[str, str]:
    """Return the user's pip settings of where packages come from, as environment variables."""
    # With the user's values of these three, pip could list less or nothing.
    settings = dict.fromkeys(("PIP_USER", "PIP_QUIET", "PIP_REQUIRE_VIRTUALENV"), "0")
    settings["PIP_CONFIG_FILE"] = os.environ.get("PIP_CONFIG_FILE", "")
    _, output = _run([*pip, "config", "list"], staging, settings)
    found = {}
    for _, option, value in sorted(re.findall(r"(?m)^(global|install)\.(\S+?)=(.+)$", output)):
        found["PIP_" + option.upper().replace("-", "_")] = str(ast.literal_eval(value))
    return {name: value for name, value in {**found, **os.environ}.items() if name in _SOURCES}


def _import_packages(staging: str) -> dict[str, str]:
    """Import the new packages in a child process and return all versions by name."""
    packages = os.path.join(staging, "packages")
    code = "import sys; sys.tracebacklimit = 0; sys.path.insert(0, sys.argv[1]); import "
    # -S hides the packages of the system's Python, which could stand in for missing ones.
    command = [sys.executable, "-I", "-S", "-c", code + _MODULES, packages]
    status, output = _run(command, staging)
    if status:
        raise InstallError(
            f"The new packages can't be imported by {_PYTHON}: choose another Python in Settings"
            f" > System > Python path ({output[-500:] or f'exit status {status}'})"
        )
    found = importlib.metadata.distributions(path=[packages])
    versions = {package.metadata["Name"]: package.version for package in found}
    return {name: versions[name] for name in sorted(versions, key=str.lower)}


def _run(
    command: Sequence[str],
    staging: str,
    settings: Mapping[str, str] = {},
    report: Callable[[str, float], None] | None = None,
) -> tuple[int, str]:
    """Run a child process in the staging folder and return its exit status and output.

    The child gets neither our modules and secrets nor the user's settings of pip.
    """
    hidden = ("PIP_", "PLEX", "STASH_", "PYTHONPATH", "PYTHONWARNINGS")
    environment = {k: v for k, v in os.environ.items() if not k.upper().startswith(hidden)}
    environment |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), staging)  # /tmp may be too small
    environment |= {"PYTHONIOENCODING": "utf-8", "PIP_CONFIG_FILE": os.devnull, **settings}
    lines = []
    steps = 0
    with subprocess.Popen(
        command, cwd=staging, env=environment, umask=0o077, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
    ) as child:  # fmt: skip
        try:
            for line in child.stdout or ():
                lines.append(line.strip())
                if report and lines[-1].startswith(_STEPS):
                    steps += 1
                    report(mask_passwords(lines[-1]), 0.9 * min(1.0, steps / _USUAL_STEPS))
        except BaseException:
            child.kill()
            raise
    return child.returncode, "\n".join(lines)


def explain(output: str, what_failed: str) -> str:
    """Return why the installation failed and what to do, by pip's output or an OSError's text."""
    for pattern, advice in _ADVICE.items():
        if found := re.search(pattern, output, re.IGNORECASE):
            return (
                advice.format(*(group or "" for group in found.groups())) + ", and run this again"
            )
    lines = re.findall(r"ERROR: (.+)", output) or output.splitlines()
    return f"{what_failed}: {lines[-1][:500]}"


def mask_passwords(text: str) -> str:
    """Hide the passwords of addresses."""
    return re.sub(r"//[^/@\s]+@", "//****@", text)
