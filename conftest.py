"""Check the test requirements, load our `queue` package, and isolate the session."""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import tempfile
from collections.abc import Iterator

#: Module: package. The test packages of `requirements-dev.txt` and PlexSync's own dependencies.
_NEEDED = {
    "graphql": "graphql-core",
    "hypothesis": "hypothesis",
    "persistqueue": "persist-queue",
    "playwright": "playwright",
    "plexapi": "plexapi",
    "pydantic": "pydantic",
    "pytest_timeout": "pytest-timeout",
    "requests": "requests",
    "rich": "rich",
    "xdist": "pytest-xdist",
    "yaml": "pyyaml",
}
_MISSING = sorted(name for module, name in _NEEDED.items() if not importlib.util.find_spec(module))
if _MISSING:  # otherwise pytest fails on an option or an import
    raise SystemExit(
        f"The tests need {', '.join(_MISSING)}: run `make test`, which installs them,"
        " or `python -m pip install -r requirements-dev.txt`"
    )

import hypothesis  # noqa: E402 - after the check
import pytest  # noqa: E402

import PlexSync  # noqa: E402

# pytest has imported the standard `queue` long before.
PlexSync.host_queue_package()

from tests import isolation  # noqa: E402 - after the standard queue hosts ours
from tests.isolation import pauses  # noqa: E402

# The same examples in each usual run: none fails by chance. A long one looks for others.
hypothesis.settings.register_profile(
    "plexsync", deadline=None, database=None, derandomize=not os.environ.get("PLEXSYNC_LONG")
)
hypothesis.settings.load_profile("plexsync")

_session = contextlib.ExitStack()
atexit.register(_session.close)  # pytest-xdist ends some workers without calling a pytest hook
# An xdist worker's folder lies in the folder of its parent process, which lives longer.
_parent = os.environ.get(isolation.VARIABLE) if "PYTEST_XDIST_WORKER" in os.environ else None
_folder = _session.enter_context(
    tempfile.TemporaryDirectory(prefix="plexsync-tests-", dir=_parent, ignore_cleanup_errors=True)
)
_session.enter_context(isolation.private_home(_folder))
_guard = isolation.Guard(_folder)
if not isolation.started_guarded():  # else they have begun with the process
    pauses.begin()


def _fail_on_refusals() -> None:
    refusals = _guard.refusals()
    if refusals:
        pytest.fail("not started by this session of tests: " + "; ".join(refusals), pytrace=False)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Say loudly, and last, that the tests in a browser did not run."""
    yield
    skipped = [
        report
        for report in terminalreporter.stats.get("skipped", ())
        if str(report.nodeid).startswith("tests/browser/")
    ]
    if skipped:
        terminalreporter.section("THE BROWSER TESTS DID NOT RUN", red=True, bold=True)
        why = {str(report.longrepr[2]) for report in skipped if isinstance(report.longrepr, tuple)}
        for line in sorted(why):
            terminalreporter.line(f"{len(skipped)} tests of the page: {line}", red=True)


@pytest.fixture(scope="session", autouse=True)
def _guard_session() -> Iterator[None]:
    """Fail at the end when a process was refused after its test."""
    yield
    _fail_on_refusals()


@pytest.fixture(autouse=True)
def _guard_test(_guard_session: None) -> Iterator[None]:
    """Fail a test that tried, itself or by a process, to reach a foreign server."""
    yield
    _fail_on_refusals()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Record what is forced to the disk (inode), and what is renamed (inode), in order."""
    calls: list[tuple[str, int]] = []
    fsync, rename = os.fsync, os.replace

    def recorded_fsync(descriptor: int) -> None:
        calls.append(("fsync", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def recorded_rename(source: str, target: str) -> None:
        calls.append(("rename", os.stat(source).st_ino))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_rename)
    return calls
