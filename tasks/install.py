"""Puts the packages that PlexSync needs into a folder of its own beside it; nothing else is touched.

It runs where nothing is installed, so it loads the standard library only. pip works into a new folder, and only when
everything there can be imported does that folder take the place of the old one. So whatever fails, or is killed,
the old one goes on working.
"""

from __future__ import annotations

import ast
import contextlib
import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from common.files import open_private
from stash.log import log, progress
from stash.plugin_input import write_answer

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

FOLDER = "dependencies"
REQUIREMENTS = "requirements.txt"
#: What must be importable in the end.
MODULES = ("persistqueue", "plexapi", "requests", "pydantic")

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_LOCK = f"{FOLDER}.lock"
_NEW, _OLD = f"{FOLDER}.new-", f"{FOLDER}.old-"
_OLDEST_PYTHON = [3, 10]
_SPACE = "about 60 MB"
#: The user's settings of pip that say where packages come from. All others are about where they go to, or which.
_SOURCES = (
    *("index-url", "extra-index-url", "no-index", "find-links", "trusted-host", "proxy", "cert", "client-cert"),
    *("timeout", "default-timeout", "retries", "cache-dir", "no-cache-dir", "keyring-provider"),
    *("use-feature", "use-deprecated"),  # which certificates are trusted
)
_VARIABLES = {name: "PIP_" + name.upper().replace("-", "_") for name in _SOURCES}
#: Lines of pip that tell a person how far it is.
_STEPS = ("Collecting ", "Processing ", "Downloading ", "Using cached ", "Installing collected packages")
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


class InstallError(Exception):
    """Nothing was installed, and what was there is untouched. The text is one line: what is wrong, what to do."""


@dataclass(frozen=True)
class Installed:
    """What was installed."""

    folder: str
    python: str
    packages: dict[str, str]
    """Version by name."""

    def sentence(self) -> str:
        """Return it as one line."""
        names = ", ".join(f"{name} {self.packages[name]}" for name in sorted(self.packages, key=str.lower))
        return f"Installed for Python {self.python} in {self.folder}: {names}"


@dataclass(frozen=True)
class _Python:
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
    ) -> _Ended:
        return _run(command, self.folder, {**self.environment, **(more or {})}, on_line)


@dataclass(frozen=True)
class _Ended:
    """What a child said."""

    status: int
    text: str


def install_dependencies(
    plugin_dir: str | os.PathLike[str],
    *,
    python: str = sys.executable,
    say: Callable[[str], object] = lambda line: None,
    report: Callable[[float], object] = lambda fraction: None,
) -> Installed:
    """Install what `requirements.txt` in `plugin_dir` names into `dependencies` there.

    Args:
        python: the Python that is to import the packages; its pip is used, or the one that it could install.
        say: called with each step, one line.
        report: called with how much is done, 0 to 1.

    Raises:
        InstallError: it was not possible.
    """
    place = os.path.abspath(plugin_dir)
    requirements = os.path.join(place, REQUIREMENTS)
    if not os.path.isfile(requirements):
        raise InstallError(f"{requirements} is missing: install PlexSync again")
    try:
        with _alone(place):
            _tidy(place, say)
            with _staging(place, say) as staging:
                return _install(place, staging, python or "python3", say, report)
    except OSError as error:
        raise InstallError(_explain(error, place)) from None


def run_install_task() -> int:
    """Install as a task of Stash; return the exit status."""
    progress(0.0)
    try:
        result = install_dependencies(_HERE, say=lambda line: log("debug", line), report=progress)
    except InstallError as error:
        return _fail_task(str(error))
    except Exception as error:  # noqa: BLE001 - a user must never see a traceback
        return _fail_task(f"{type(error).__name__}: {error}. Please report this")
    progress(1.0)
    log("info", result.sentence())
    write_answer(output=_document(result))
    return 0


def run_install_command(as_json: bool) -> int:
    """Install as a command of a shell, which reads plain lines or one JSON document; return the exit status."""
    say = _ignore if as_json else _print
    try:
        result = install_dependencies(_HERE, say=say)
    except InstallError as error:
        return _fail_command(str(error), as_json)
    except KeyboardInterrupt:
        _fail_command("stopped; what was there before is untouched", as_json)
        return 130
    except Exception as error:  # noqa: BLE001 - a user must never see a traceback
        return _fail_command(f"{type(error).__name__}: {error}. Please report this", as_json)
    _print(json.dumps(_document(result)) if as_json else result.sentence())
    return 0


def _install(
    place: str, staging: str, path: str, say: Callable[[str], object], report: Callable[[float], object]
) -> Installed:
    python = _look(path, place, staging)
    new = os.path.join(staging, "packages")
    _run_pip(python, os.path.join(place, REQUIREMENTS), new, say, report)
    packages = _check(python, new)
    _swap(place, new, _OLD + os.path.basename(staging)[len(_NEW) :])
    return Installed(os.path.join(place, FOLDER), python.version, packages)


def _look(path: str, place: str, staging: str) -> _Python:
    """Find out what Python this is, and how to run pip with it."""
    working = os.path.join(staging, "tmp")
    os.mkdir(working)
    environment = _environment(place, working)
    try:
        looked = _run([path, "-c", _LOOK], working, environment)
        facts = json.loads(looked.text.splitlines()[-1]) if looked.status == 0 else None
    except (OSError, ValueError, IndexError):
        facts = None
    if facts is None:
        raise InstallError(f"The Python {path} can't be run: choose another in Settings > System > Python path")
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
    return _Python(path, version, facts["platform"], pip, working, environment)


def _environment(place: str, working: str) -> dict[str, str]:
    """Return the environment of our children, which shall neither find our modules nor fill a small /tmp.

    Stash puts the folder above the plugin on PYTHONPATH. `queue` there, or here, would be taken for Python's own.
    """
    ours = {os.path.realpath(place), os.path.realpath(os.path.dirname(place))}
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = os.pathsep.join(path for path in paths if os.path.isabs(path) and os.path.realpath(path) not in ours)
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


def _run_pip(
    python: _Python, requirements: str, target: str, say: Callable[[str], object], report: Callable[[float], object]
) -> None:
    sources = _sources(python)
    settings = {"PIP_RETRIES": "2", **sources, "PIP_CONFIG_FILE": os.devnull, "PIP_ROOT_USER_ACTION": "ignore"}
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
        raise InstallError(_reason(ended, python))


def _sources(python: _Python) -> dict[str, str]:
    """Return the user's settings of where packages come from, from pip's files and the environment."""
    # Of these, one would make pip list a part of them, one nothing at all, and one refuse.
    harmless = {"PIP_USER": "0", "PIP_QUIET": "0", "PIP_REQUIRE_VIRTUALENV": "0"}
    given = {name: os.environ[name] for name in (*_VARIABLES.values(), "PIP_CONFIG_FILE") if name in os.environ}
    listed = python.run([*python.pip, "config", "list"], {**given, **harmless})
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}}  # the later goes first
    for line in listed.text.splitlines() if listed.status == 0 else ():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in found and name in _VARIABLES:
            with contextlib.suppress(ValueError, SyntaxError):
                found[section][_VARIABLES[name]] = str(ast.literal_eval(value))
    given.pop("PIP_CONFIG_FILE", None)
    return {**found["global"], **found["install"], **{name: value for name, value in given.items() if value}}


def _check(python: _Python, folder: str) -> dict[str, str]:
    """Import the packages as the worker will, and return the versions of all that is there."""
    ended = python.run([python.path, "-I", "-c", _CHECK, folder, *MODULES])
    try:
        answer = json.loads(ended.text.splitlines()[-1])
        wrong, packages = str(answer["wrong"]), dict(answer["packages"])
    except (ValueError, IndexError, KeyError, TypeError):
        wrong, packages = f"importing them ended with exit status {ended.status}", {}
    if wrong:
        text = " ".join(wrong.split())[:500]
        raise InstallError(f"What pip brought does not work with Python {python.version} on {python.platform}: {text}")
    return packages


def _swap(place: str, new: str, aside: str) -> None:
    """Give the new folder its name. A kill between the two renames is put right by the next `_tidy`."""
    current, old = os.path.join(place, FOLDER), os.path.join(place, aside)
    try:
        if os.path.lexists(current):
            os.rename(current, old)
        try:
            os.rename(new, current)
        except OSError:
            if os.path.lexists(old):
                os.rename(old, current)
            raise
    except OSError as error:
        raise InstallError(
            f"{current} can't be replaced ({error.strerror}): it is in use, or mounted there."
            " End PlexSync's worker or remove that folder, and run this again"
        ) from None
    _remove(old)


def _tidy(place: str, say: Callable[[str], object]) -> None:
    """Remove what a killed installation left. Only for who holds the lock."""
    current = os.path.join(place, FOLDER)
    for name in sorted(os.listdir(place)):
        path = os.path.join(place, name)
        if name.startswith(_OLD) and not os.path.lexists(current):
            os.rename(path, current)
        elif name.startswith((_OLD, _NEW)) and not _remove(path):
            say(f"{path} can't be removed; it is not needed any more")


@contextlib.contextmanager
def _staging(place: str, say: Callable[[str], object]) -> Iterator[str]:
    """A new folder beside the old one, on the same file system."""
    folder = tempfile.mkdtemp(prefix=_NEW, dir=place)
    try:
        yield folder
    finally:
        if not _remove(folder):
            say(f"{folder} can't be removed; it is not needed any more")


def _remove(path: str) -> bool:
    """Remove a folder, or a link to one; return whether it is gone."""
    if os.path.islink(path):
        with contextlib.suppress(OSError):
            os.unlink(path)
    else:
        shutil.rmtree(path, ignore_errors=True)
    return not os.path.lexists(path)


@contextlib.contextmanager
def _alone(place: str) -> Iterator[None]:
    """Keep other installations into the same folder out; the operating system ends this with the process."""
    path = os.path.join(place, _LOCK)
    while True:
        descriptor = open_private(path, os.O_RDWR | os.O_CREAT)
        try:
            if not _lock(descriptor):
                raise InstallError(f"Another installation is at work in {place}: wait until it is done")
            if not _is_still(path, descriptor):
                continue  # whoever had it has just removed it
            try:
                yield
            finally:
                with contextlib.suppress(OSError):  # on Windows it is in use, and stays
                    os.unlink(path)
            return
        finally:
            os.close(descriptor)


def _is_still(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


if sys.platform == "win32":

    def _lock(descriptor: int) -> bool:
        """Take the lock, if nobody holds it."""
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def _lock(descriptor: int) -> bool:
        """Take the lock, if nobody holds it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:  # a file system without locks: each works in a folder of its own all the same
            return error.errno not in (errno.EAGAIN, errno.EACCES)
        return True


def _run(
    command: Sequence[str],
    folder: str,
    environment: dict[str, str],
    on_line: Callable[[str], object] = lambda line: None,
) -> _Ended:
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
    return _Ended(child.returncode, "\n".join(lines))


def _without_secrets(line: str) -> str:
    """An address may hold a name and a password."""
    return re.sub(r"//[^/@\s]+@", "//****@", line)


#: What pip's words mean: the first that is found, and what to tell the user. More than one may be found.
_MEANINGS: tuple[tuple[str, str], ...] = (
    (
        r"(?i)no space left|disk quota exceeded|\[errno 28\]|\[winerror 112\]|not enough space",
        "The disk is full: free {space} where the plugin is, and run this again",
    ),
    (
        r"(?i)problem confirming the ssl certificate|certificate_verify_failed",
        "The certificate of the package index is not trusted: if a proxy stands in between, set the environment"
        " variable PIP_CERT to the file with its certificate, and run this again",
    ),
    (
        r"(?i)after connection broken by|max retries exceeded|connection ?error|timed out|name resolution",
        "The package index can't be reached from here{index}: check the network (a proxy goes into the environment"
        " variable HTTPS_PROXY), and run this again",
    ),
    (
        r"(?i)no matching distribution found for (?P<what>\S+)|could not find a version that satisfies the"
        r" requirement (?P<also>\S+)",
        "There is no ready-made package of {what} for Python {version} on {platform}: choose another Python in"
        " Settings > System > Python path, 3.10 or newer but not the very newest",
    ),
    (
        r"(?i)permission denied: (?P<what>\S+)|read-only file system: (?P<also>\S+)",
        "{what} can't be written: give this user the right to write there, and run this again",
    ),
)


def _reason(ended: _Ended, python: _Python) -> str:
    """Return one line that says why pip failed, and what to do."""
    for pattern, meaning in _MEANINGS:
        found = re.search(pattern, ended.text)
        if found:
            groups = found.groupdict()
            index = re.search(r"Looking in indexes: (.+)", ended.text)
            return meaning.format(
                what=(groups.get("what") or groups.get("also") or "").strip("'\""),
                index=f" ({index[1]})" if index else "",
                version=python.version,
                platform=python.platform,
                space=_SPACE,
            )
    lines = [line for line in ended.text.splitlines() if line] or [f"exit status {ended.status}"]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return f"pip failed: {(errors or lines)[-1][:500]}"


def _explain(error: OSError, place: str) -> str:
    """Return one line that says why a file can't be made, and what to do."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return f"The disk is full: free {_SPACE} where {place} is, and run this again"
    return (
        f"{error.filename or place} can't be written ({error.strerror or error}): give this user the right to write"
        f" in {place}, and run this again"
    )


def _document(result: Installed) -> dict[str, object]:
    return {
        "result": result.sentence(),
        "folder": result.folder,
        "python": result.python,
        "packages": dict(sorted(result.packages.items())),
    }


def _fail_task(text: str) -> int:
    log("error", text)
    write_answer(error=text)
    return 1


def _fail_command(text: str, as_json: bool) -> int:
    if as_json:
        _print(json.dumps({"error": text}))
    else:
        sys.stderr.write(f"PlexSync install: {text}\n")
    return 1


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _ignore(line: str) -> None:
    """Say nothing: stdout is for the one document."""
